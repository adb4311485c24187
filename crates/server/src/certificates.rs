//! RFC 8446 section 4.3.2, RFC 8705 section 7.3, RFC 9440: clients are asked for a certificate, and none
//! needs one.
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
use accredit_wire::client_cert::{self, Malformed};
use accredit_wire::x509::presented::Presented;
use http::request::Parts;
use http::{HeaderValue, StatusCode};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, ServerConnection,
    SignatureScheme,
};

use crate::Server;
use crate::failure::Failure;

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

/// The certificate whose key the client of a request has proved to hold: that of the connection, or
/// what a proxy says that is believed. A proxy's own is never its client's.
pub(crate) fn of_request(
    server: &Server,
    parts: &Parts,
) -> Result<Option<PeerCertificate>, Failure> {
    let own = parts.extensions.get::<PeerCertificate>();
    let is_proxy = |own: &PeerCertificate| {
        server.certified_proxies.get().is_some_and(|proxies| proxies.trusts(own))
    };
    if !own.is_some_and(is_proxy) {
        return Ok(own.cloned());
    }
    let lines = parts.headers.get_all(client_cert::HEADER).iter().map(HeaderValue::as_bytes);
    let said = client_cert::read(lines);
    let is_read = |said: &Option<PeerCertificate>| {
        said.as_ref().is_none_or(|said| Presented::read(said.der()).is_ok())
    };
    said.ok().filter(is_read).ok_or_else(|| Failure::Http {
        status: StatusCode::BAD_REQUEST,
        rule: "client-cert-malformed",
        detail: Malformed.to_string(),
        hint: "the proxy writes the header itself, once, and takes out what it was sent".to_owned(),
    })
}

/// The certificate of a connection's client, where it has shown one.
pub(crate) fn shown(connection: &ServerConnection) -> Option<PeerCertificate> {
    let chain = connection.peer_certificates()?;
    chain.first().map(|own| PeerCertificate::new(own))
}

#[cfg(test)]
mod tests {
    use std::io;

    use rcgen::{
        CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519,
        SignatureAlgorithm,
    };
    use rustls::client::ResolvesClientCert;
    use rustls::crypto::aws_lc_rs::{default_provider, sign::any_supported_type};
    use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
    use rustls::sign::CertifiedKey;
    use rustls::version::{TLS12, TLS13};
    use rustls::{
        ClientConfig, ClientConnection, RootCertStore, ServerConfig, SupportedProtocolVersion,
    };

    use super::*;

    fn made(algorithm: &'static SignatureAlgorithm) -> (CertificateDer<'static>, KeyPair) {
        let pair = KeyPair::generate_for(algorithm).expect("a key");
        let mut params = CertificateParams::new(["localhost".to_owned()]).expect("a name");
        // Long over: no connection is refused for that, and the domain decides.
        params.not_after = rcgen::date_time_ymd(2001, 1, 1);
        (params.self_signed(&pair).expect("a certificate").der().clone(), pair)
    }

    fn private(pair: &KeyPair) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(pair.serialize_der()).into()
    }

    /// Shows whatever certificate with whatever key.
    #[derive(Debug)]
    struct Shows(Option<Arc<CertifiedKey>>);

    impl ResolvesClientCert for Shows {
        fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
            self.0.clone()
        }

        fn has_certs(&self) -> bool {
            self.0.is_some()
        }
    }

    /// A handshake in memory: what the server knows of the client, or why there is no connection.
    fn connect(
        version: &'static SupportedProtocolVersion,
        shows: Option<(&CertificateDer<'static>, &KeyPair)>,
    ) -> Result<Option<PeerCertificate>, Error> {
        let provider = Arc::new(default_provider());
        let named = rcgen::generate_simple_self_signed(["localhost".to_owned()]);
        let named = named.expect("a certificate");
        let (certificate, pair) = (named.cert.der().clone(), named.signing_key);
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[version])
            .expect("a version")
            .with_client_cert_verifier(Arc::new(Asking::new(Arc::clone(&provider))))
            .with_single_cert(vec![certificate.clone()], private(&pair))
            .expect("a server");
        let mut roots = RootCertStore::empty();
        roots.add(certificate).expect("a root");
        let shown = shows.map(|(certificate, pair)| {
            let key = any_supported_type(&private(pair)).expect("a key");
            Arc::new(CertifiedKey::new(vec![certificate.clone()], key))
        });
        let client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .expect("a version")
            .with_root_certificates(roots)
            .with_client_cert_resolver(Arc::new(Shows(shown)));
        let name = ServerName::try_from("localhost").expect("a name");
        let mut client = ClientConnection::new(Arc::new(client), name).expect("a client");
        let mut server = ServerConnection::new(Arc::new(server)).expect("a server");
        for _ in 0..10 {
            let mut wire = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut wire).expect("written");
            }
            let mut wire = io::Cursor::new(wire);
            while server.read_tls(&mut wire).expect("read") > 0 {
                server.process_new_packets()?;
            }
            let mut wire = Vec::new();
            while server.wants_write() {
                server.write_tls(&mut wire).expect("written");
            }
            let mut wire = io::Cursor::new(wire);
            while client.read_tls(&mut wire).expect("read") > 0 {
                client.process_new_packets()?;
            }
        }
        assert!(!server.is_handshaking() && !client.is_handshaking(), "it came to an end");
        Ok(super::shown(&server))
    }

    #[test]
    fn whoever_holds_its_key_is_connected_with_a_certificate_and_anybody_without() {
        for version in [&TLS12, &TLS13] {
            assert_eq!(connect(version, None), Ok(None));
            for algorithm in [&PKCS_ECDSA_P256_SHA256, &PKCS_ED25519, &PKCS_ECDSA_P384_SHA384] {
                let (certificate, pair) = made(algorithm);
                let shown = connect(version, Some((&certificate, &pair)));
                assert_eq!(shown, Ok(Some(PeerCertificate::new(&certificate))));
            }
        }
    }

    #[test]
    fn whoever_shows_anothers_certificate_gets_no_connection() {
        let (certificate, _) = made(&PKCS_ECDSA_P256_SHA256);
        let (_, thief) = made(&PKCS_ECDSA_P256_SHA256);
        for version in [&TLS12, &TLS13] {
            let refused = connect(version, Some((&certificate, &thief))).expect_err("refused");
            let bad = Error::InvalidCertificate(CertificateError::BadSignature);
            assert_eq!(refused, bad);
        }
    }

    #[test]
    fn what_is_no_certificate_gets_no_connection() {
        let (certificate, pair) = made(&PKCS_ECDSA_P256_SHA256);
        let cut = CertificateDer::from(certificate[..certificate.len() - 1].to_vec());
        let long = CertificateDer::from([&certificate[..], vec![0; 20_000].as_slice()].concat());
        for wrong in [cut, long, CertificateDer::from(vec![0x30, 0])] {
            for version in [&TLS12, &TLS13] {
                let refused = connect(version, Some((&wrong, &pair))).expect_err("refused");
                let bad = Error::InvalidCertificate(CertificateError::BadEncoding);
                assert_eq!(refused, bad);
            }
        }
    }
}
