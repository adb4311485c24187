//! A key that the listener shows a certificate for: made in this process and nowhere else.

use std::fmt;
use std::sync::Arc;

use accredit_domain::Fault;
use accredit_wire::crypto::{Algorithm, PrivateKey, PublicKey};
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use zeroize::Zeroizing;

/// A new key.
pub(super) struct FreshKey {
    /// Its public half.
    pub(super) public: PublicKey,
    der: Zeroizing<Vec<u8>>,
}

fn failed(error: &dyn fmt::Display) -> Fault {
    Fault::new("make a key for the listener", error)
}

impl FreshKey {
    /// Of P-256.
    pub(super) fn make() -> Result<Self, Fault> {
        let made = PrivateKey::generate(Algorithm::Es256);
        let (private, der) = made.map_err(|error| failed(&error))?;
        let public = private.public().map_err(|error| failed(&error))?;
        Ok(Self { public, der })
    }

    /// The key with a certificate for it and those behind it, DER. No copy of its bytes is left behind.
    pub(super) fn certified(self, chain: Vec<Vec<u8>>) -> Result<Arc<CertifiedKey>, Fault> {
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.der.as_slice()));
        let key = any_supported_type(&key).map_err(|error| failed(&error))?;
        let chain = chain.into_iter().map(CertificateDer::from).collect();
        Ok(Arc::new(CertifiedKey::new(chain, key)))
    }
}
