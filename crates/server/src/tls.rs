//! RFC 8446: how the listener speaks TLS, and with which certificate.
//!
//! The files are read again while it serves: whoever renews a certificate puts the new one in its place and
//! does nothing more. New connections get it, those that are open keep theirs. A certificate without its
//! key, as the two files are while somebody is replacing them, changes nothing.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use accredit_wire::crypto::sha256_of;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, SupportedProtocolVersion};
use tokio_rustls::TlsAcceptor;
use zeroize::Zeroizing;

use crate::certificates::{Asking, ClientCertificates};
use crate::jobs;
use crate::serve::ServeError;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(10);

static SINCE_TLS12: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
static SINCE_TLS13: [&SupportedProtocolVersion; 1] = [&TLS13];

/// The oldest version that is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MinVersion {
    /// TLS 1.2 (RFC 5246), with ephemeral keys and authenticated encryption alone (RFC 9325).
    #[default]
    Tls12,
    /// TLS 1.3.
    Tls13,
}

impl MinVersion {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Tls12, Self::Tls13];

    /// As it is written in a configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tls12 => "1.2",
            Self::Tls13 => "1.3",
        }
    }

    fn versions(self) -> &'static [&'static SupportedProtocolVersion] {
        match self {
            Self::Tls12 => &SINCE_TLS12,
            Self::Tls13 => &SINCE_TLS13,
        }
    }
}

/// How the listener speaks TLS.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The certificate chain, PEM.
    pub certificates: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
    /// The oldest version.
    pub min_version: MinVersion,
    /// Whether clients are asked for a certificate of theirs.
    pub of_clients: ClientCertificates,
}

/// TLS with a certificate that is renewed while it is used.
#[derive(Clone)]
pub struct Tls {
    pub(crate) acceptor: TlsAcceptor,
    own: Arc<Own>,
}

impl Tls {
    /// Reads the certificate and its key. An error says which file is wrong.
    pub fn read(settings: &Settings) -> Result<Self, ServeError> {
        let provider = Arc::new(default_provider());
        let own = Arc::new(Own::read(settings, Arc::clone(&provider))?);
        let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(settings.min_version.versions())
            .map_err(|error| ServeError::Tls(error.to_string()))?;
        let config = match settings.of_clients {
            ClientCertificates::Ignored => config.with_no_client_auth(),
            ClientCertificates::Asked => {
                config.with_client_cert_verifier(Arc::new(Asking::new(provider)))
            }
        };
        let resolver = Arc::clone(&own);
        let mut config = config.with_cert_resolver(resolver);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)), own })
    }

    /// Goes on looking at the files, for as long as it is polled.
    pub(crate) async fn renew(&self) {
        loop {
            jobs::pause(LOOK_EVERY).await;
            let own = Arc::clone(&self.own);
            match tokio::task::spawn_blocking(move || own.look()).await {
                Ok(Ok(false)) => {}
                Ok(Ok(true)) => tracing::info!("the listener's certificate was read anew"),
                Ok(Err(error)) => {
                    tracing::warn!(%error, "the listener goes on with the certificate that it has");
                }
                Err(error) => {
                    tracing::warn!(%error, "the listener's certificate was not looked at");
                }
            }
        }
    }
}

/// The listener's own certificate and key.
struct Own {
    certificates: PathBuf,
    key: PathBuf,
    provider: Arc<CryptoProvider>,
    held: RwLock<Held>,
}

#[derive(Clone)]
struct Held {
    certified: Arc<CertifiedKey>,
    /// SHA-256 of both files, or of those that could not be used last.
    seen: [u8; 32],
}

impl Own {
    fn read(settings: &Settings, provider: Arc<CryptoProvider>) -> Result<Self, ServeError> {
        let (certificates, key) = (settings.certificates.clone(), settings.key.clone());
        let texts = Texts::read(&certificates, &key)?;
        let certified = texts.certified((&certificates, &key), &provider)?;
        let held = Held { certified: Arc::new(certified), seen: texts.digest() };
        Ok(Self { certificates, key, provider, held: RwLock::new(held) })
    }

    /// Reads the files again; whether they have changed. One that cannot be used is told once.
    fn look(&self) -> Result<bool, ServeError> {
        let texts = Texts::read(&self.certificates, &self.key)?;
        let seen = texts.digest();
        if self.held().seen == seen {
            return Ok(false);
        }
        let certified = texts.certified((&self.certificates, &self.key), &self.provider);
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        held.seen = seen;
        held.certified = Arc::new(certified?);
        Ok(true)
    }

    fn held(&self) -> Held {
        self.held.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Debug for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Own({})", self.certificates.display())
    }
}

impl ResolvesServerCert for Own {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.held().certified)
    }
}

/// Both files as they are.
struct Texts {
    certificates: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
}

fn failed(what: &Path, error: &dyn fmt::Display) -> ServeError {
    ServeError::Tls(format!("{}: {error}", what.display()))
}

impl Texts {
    fn read(certificates: &Path, key: &Path) -> Result<Self, ServeError> {
        let read = |path: &Path| std::fs::read(path).map_err(|error| failed(path, &error));
        Ok(Self { certificates: read(certificates)?, key: Zeroizing::new(read(key)?) })
    }

    fn digest(&self) -> [u8; 32] {
        let length = (self.certificates.len() as u64).to_be_bytes();
        sha256_of(&[&length, &self.certificates, &self.key])
    }

    /// The chain with its key, which must be that of its first certificate.
    fn certified(
        &self,
        (certificates, key): (&Path, &Path),
        provider: &CryptoProvider,
    ) -> Result<CertifiedKey, ServeError> {
        let chain: Vec<CertificateDer<'static>> =
            CertificateDer::pem_slice_iter(&self.certificates)
                .collect::<Result<_, _>>()
                .map_err(|error| failed(certificates, &error))?;
        if chain.is_empty() {
            return Err(failed(certificates, &"it holds no certificate"));
        }
        let private =
            PrivateKeyDer::from_pem_slice(&self.key).map_err(|error| failed(key, &error))?;
        CertifiedKey::from_der(chain, private, provider)
            .map_err(|error| failed(certificates, &error))
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertifiedKey as Made, generate_simple_self_signed};

    use super::*;

    struct Files {
        _folder: tempfile::TempDir,
        settings: Settings,
    }

    impl Files {
        fn new() -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            let settings = Settings {
                certificates: folder.path().join("tls.pem"),
                key: folder.path().join("tls.key"),
                min_version: MinVersion::Tls13,
                of_clients: ClientCertificates::Ignored,
            };
            Self { _folder: folder, settings }
        }

        /// Puts a certificate there, with its key or without; its DER.
        fn put(&self, with_key: bool) -> Vec<u8> {
            let Made { cert, signing_key } =
                generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
            std::fs::write(&self.settings.certificates, cert.pem()).expect("written");
            if with_key {
                std::fs::write(&self.settings.key, signing_key.serialize_pem()).expect("written");
            }
            cert.der().to_vec()
        }

        fn read(&self) -> Result<Own, ServeError> {
            Own::read(&self.settings, Arc::new(default_provider()))
        }
    }

    fn served(own: &Own) -> Vec<u8> {
        own.held().certified.cert[0].to_vec()
    }

    #[test]
    fn a_renewed_certificate_is_taken_with_its_key_and_not_without() {
        let files = Files::new();
        assert!(files.read().is_err(), "there is none");
        let first = files.put(true);
        let own = files.read().expect("read");
        assert_eq!(served(&own), first);
        assert!(!own.look().expect("unchanged"));

        files.put(false);
        let why = own.look().expect_err("of another key").to_string();
        assert!(why.contains("tls.pem"), "{why}");
        assert_eq!(served(&own), first);
        assert!(!own.look().expect("told once"));
        assert!(files.read().is_err(), "and nothing is started with it");

        let second = files.put(true);
        assert!(own.look().expect("renewed"));
        assert_eq!(served(&own), second);

        for wrong in ["", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "x"] {
            std::fs::write(&files.settings.certificates, wrong).expect("written");
            assert!(own.look().is_err(), "{wrong}");
            assert_eq!(served(&own), second);
        }
        std::fs::remove_file(&files.settings.key).expect("removed");
        let why = own.look().expect_err("gone").to_string();
        assert!(why.contains("tls.key"), "{why}");
        assert_eq!(served(&own), second);
    }

    #[test]
    fn no_version_is_spoken_that_is_older_than_asked_for() {
        for (min, versions) in [(MinVersion::Tls12, 2), (MinVersion::Tls13, 1)] {
            assert_eq!(min.versions().len(), versions);
            assert_eq!(min.versions()[0].version, rustls::ProtocolVersion::TLSv1_3);
        }
    }
}
