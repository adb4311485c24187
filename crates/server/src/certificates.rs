//! RFC 8446 section 4.3.2, RFC 8705 section 7.3: clients are asked for a certificate, and none needs
//! one.
//!
//! Whether its holder has the key is checked here, by the signature of the handshake, for whatever
//! certificate can be read. Whether anybody is known by it is not: that is the domain's to decide, by
//! the organization that a request names, and no connection is of one. So there are no roots here, and
//! a certificate that nobody knows opens nothing.
//!
//! Absent on purpose: names of authorities in what is asked for. Browsers would offer their users what
//! these have signed; who has a certificate for us knows so.

use std::sync::Arc;

use accredit_wire::binding::PeerCertificate;
use accredit_wire::x509::presented::Presented;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, ServerConnection,
    SignatureScheme,
};

/// Whether clients are asked for a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientCertificates {
    /// They are not, and none is looked at.
    #[default]
    Ignored,
    /// They are, and may have none.
    Asked,
}

impl ClientCertificates {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Ignored, Self::Asked];

    /// As it is written in a configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ignored => "ignored",
            Self::Asked => "asked",
        }
    }
}

/// Asks every client for a certificate, and takes none at its word.
#[derive(Debug)]
pub struct Asking(Arc<CryptoProvider>);

impl Asking {
    /// With the signatures of a provider.
    pub fn new(provider: Arc<CryptoProvider>) -> Self {
        Self(provider)
    }
}

impl ClientCertVerifier for Asking {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        match Presented::read(end_entity) {
            Ok(_) => Ok(ClientCertVerified::assertion()),
            Err(_) => Err(Error::InvalidCertificate(CertificateError::BadEncoding)),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// The certificate of a connection's client, where it has shown one.
pub(crate) fn shown(connection: &ServerConnection) -> Option<PeerCertificate> {
    let chain = connection.peer_certificates()?;
    chain.first().map(|own| PeerCertificate::new(own))
}
