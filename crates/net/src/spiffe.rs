//! SPIFFE Federation section 5.2.2, X509-SVID section 5: a server that proves by an X.509-SVID whom it is,
//! and not which host.
//!
//! Its certificate names exactly the one id that was asked for, and has a path to one of the roots that were
//! given; public authorities count for nothing. One connection is made for one fetch: nothing of it
//! is kept for another that may hold to other roots.

use std::fmt;
use std::sync::Arc;

use accredit_wire::x509::svid;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, RootCertStore,
    SignatureScheme,
};

use crate::error::ConfigError;

/// Whom a server must be.
#[derive(Clone, Debug)]
pub struct SpiffeServer {
    /// Its SPIFFE ID.
    pub id: String,
    /// The roots of its trust domain, DER.
    pub roots: Vec<Vec<u8>>,
}

/// The server shows the certificate of somebody else.
#[derive(Debug)]
struct AnotherServer(String);

impl fmt::Display for AnotherServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for AnotherServer {}

impl SpiffeServer {
    /// TLS with this server and no other.
    pub(crate) fn client_config(&self) -> Result<Arc<ClientConfig>, ConfigError> {
        let mut roots = RootCertStore::empty();
        for root in &self.roots {
            // One that TLS has no use for stands above nobody; without any there is no path.
            let _ = roots.add(CertificateDer::from(root.as_slice()));
        }
        // RFC 5280 section 6.1.1: of an anchor the name and the key count. webpki believes nothing below one that
        // constrains URIs, as ours do; that the URI is of the trust domain is seen to by comparing all of it.
        for root in &mut roots.roots {
            root.name_constraints = None;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = Verifier { id: self.id.clone(), roots, algorithms: algorithms(&provider) };
        let mut config = crate::tls::versions(provider)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        config.resumption = Resumption::disabled();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

fn algorithms(provider: &CryptoProvider) -> WebPkiSupportedAlgorithms {
    provider.signature_verification_algorithms
}

#[derive(Debug)]
struct Verifier {
    id: String,
    roots: RootCertStore,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let another = |why: String| {
            let other = OtherError(Arc::new(AnotherServer(why)));
            Error::InvalidCertificate(CertificateError::Other(other))
        };
        let leaf = svid::read(end_entity).map_err(|error| another(error.to_string()))?;
        if leaf.spiffe_id != self.id {
            return Err(another(format!("the certificate is not that of `{}`", self.id)));
        }
        let parsed = ParsedCertificate::try_from(end_entity)?;
        verify_server_cert_signed_by_trust_anchor(
            &parsed,
            &self.roots,
            intermediates,
            now,
            self.algorithms.all,
        )?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
