//! What the listener shows by the installation's own authority: a certificate that is over within a day,
//! for a key that was made here and is nowhere else.
//!
//! Each node makes its own. It makes another one when half of its time is over, when another root signs,
//! and when the time of day was set back to before it. Where none can be made, the last one is shown on.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use accredit_domain::Fault;
use accredit_domain::ca::listener::{self, SHOWN_RENEWED_AFTER, Shown};
use accredit_wire::crypto::{Algorithm, PrivateKey};
use accredit_wire::ids::KeyId;
use accredit_wire::time::Time;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;

use crate::Server;

const OPERATION: &str = "make the listener's certificate";
/// A time of day that is back by less is no reason for another certificate: each says that it holds from a
/// minute before it was made.
const BACK_MAX: Duration = Duration::from_secs(30);

/// The certificate that is shown, once there is one.
#[derive(Default)]
pub(super) struct OwnCa {
    held: RwLock<Option<Held>>,
}

#[derive(Clone)]
struct Held {
    certified: Arc<CertifiedKey>,
    root: KeyId,
    from: Time,
}

impl Held {
    /// Whether it is to be shown on at `now`, where this root signs.
    fn is_fresh(&self, root: KeyId, now: Time) -> bool {
        let is_new = now < self.from.plus(SHOWN_RENEWED_AFTER);
        self.root == root && is_new && now.plus(BACK_MAX) >= self.from
    }
}

impl OwnCa {
    /// Shows another certificate where the one that is shown is not fresh; whether it was not.
    pub(super) async fn look(&self, server: &Server) -> Result<bool, Fault> {
        let (world, now) = (&server.world, server.world.clock.now());
        let root = listener::tick(world, now).await?.active;
        if self.held().is_some_and(|held| held.is_fresh(root.key.id, now)) {
            return Ok(false);
        }
        let failed = |error: &dyn std::fmt::Display| Fault::new(OPERATION, error);
        let (private, der) =
            PrivateKey::generate(Algorithm::Es256).map_err(|error| failed(&error))?;
        let public = private.public().map_err(|error| failed(&error))?;
        let Shown { certificate, root, from } = listener::show(world, &root, &public, now).await?;
        let chain = vec![CertificateDer::from(certificate.der().to_vec())];
        // No copy of its bytes is left behind.
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(der.as_slice()));
        let key = any_supported_type(&key).map_err(|error| failed(&error))?;
        let certified = Arc::new(CertifiedKey::new(chain, key));
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        *held = Some(Held { certified, root, from });
        server.metrics.listener_certified(certificate.until());
        tracing::info!(%root, until = %certificate.until(), "a certificate for the listener was made");
        Ok(true)
    }

    /// What is shown.
    pub(super) fn certified(&self) -> Option<Arc<CertifiedKey>> {
        self.held().map(|held| held.certified)
    }

    fn held(&self) -> Option<Held> {
        self.held.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
