//! A listener's certificate and key in files, which are read again while it serves.
//!
//! Whoever renews a certificate puts the new one in its place and does nothing more. A certificate without
//! its key, as the two files are while somebody is replacing them, changes nothing.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use accredit_wire::crypto::sha256_of;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use zeroize::Zeroizing;

use crate::serve::ServeError;

/// A certificate and its key, as they were read last.
pub(super) struct Files {
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

impl Files {
    /// Reads both.
    pub(super) fn read(
        (certificates, key): (&Path, &Path),
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, ServeError> {
        let (certificates, key) = (certificates.to_owned(), key.to_owned());
        let texts = Texts::read(&certificates, &key)?;
        let certified = texts.certified((&certificates, &key), &provider)?;
        let held = Held { certified: Arc::new(certified), seen: texts.digest() };
        Ok(Self { certificates, key, provider, held: RwLock::new(held) })
    }

    /// Reads the files again; whether they have changed. One that cannot be used is told once.
    pub(super) fn look(&self) -> Result<bool, ServeError> {
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

    /// What is shown.
    pub(super) fn certified(&self) -> Arc<CertifiedKey> {
        self.held().certified
    }

    fn held(&self) -> Held {
        self.held.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Both files as they are.
struct Texts {
    certificates: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
}

fn failed(what: &Path, error: &dyn std::fmt::Display) -> ServeError {
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
    use rustls::crypto::aws_lc_rs::default_provider;

    use super::*;

    struct Stage {
        _folder: tempfile::TempDir,
        certificates: PathBuf,
        key: PathBuf,
    }

    impl Stage {
        fn new() -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            let (certificates, key) =
                (folder.path().join("tls.pem"), folder.path().join("tls.key"));
            Self { _folder: folder, certificates, key }
        }

        /// Puts a certificate there, with its key or without; its DER.
        fn put(&self, with_key: bool) -> Vec<u8> {
            let Made { cert, signing_key } =
                generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
            std::fs::write(&self.certificates, cert.pem()).expect("written");
            if with_key {
                std::fs::write(&self.key, signing_key.serialize_pem()).expect("written");
            }
            cert.der().to_vec()
        }

        fn read(&self) -> Result<Files, ServeError> {
            Files::read((&self.certificates, &self.key), Arc::new(default_provider()))
        }
    }

    fn served(own: &Files) -> Vec<u8> {
        own.certified().cert[0].to_vec()
    }

    #[test]
    fn a_renewed_certificate_is_taken_with_its_key_and_not_without() {
        let files = Stage::new();
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
            std::fs::write(&files.certificates, wrong).expect("written");
            assert!(own.look().is_err(), "{wrong}");
            assert_eq!(served(&own), second);
        }
        std::fs::remove_file(&files.key).expect("removed");
        let why = own.look().expect_err("gone").to_string();
        assert!(why.contains("tls.key"), "{why}");
        assert_eq!(served(&own), second);
    }
}
