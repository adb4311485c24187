//! RFC 8446 and RFC 5246: how the other side proves which host it is, and this side who it is.
//!
//! The roots are the ones compiled in, plus the operator's own; the system's store is not read,
//! so that the same binary trusts the same authorities everywhere.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier};
use zeroize::Zeroizing;

use crate::client::Shown;
use crate::error::ConfigError;

/// TLS 1.3 and 1.2 with the built-in roots and those in the PEM file `authorities`; what is `shown` is shown
/// to whoever asks for a certificate.
pub(crate) fn client_config(
    authorities: Option<&Path>,
    shown: Option<&Shown>,
) -> Result<Arc<ClientConfig>, ConfigError> {
    let mut roots = RootCertStore::empty();
    roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    if let Some(path) = authorities {
        add_authorities(&mut roots, path)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = versions(provider)?.with_root_certificates(roots);
    let mut config = match shown {
        None => builder.with_no_client_auth(),
        Some(shown) => {
            let (chain, key) = (chain(&shown.certificate)?, key(&shown.key)?);
            let not_its = |_| ConfigError::ShownInvalid { path: shown.certificate.clone() };
            builder.with_client_auth_cert(chain, key).map_err(not_its)?
        }
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// The versions that are spoken.
pub(crate) fn versions(
    provider: Arc<CryptoProvider>,
) -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, ConfigError> {
    ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|_| ConfigError::Tls)
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, ConfigError> {
    let unreadable = |error: std::io::Error| ConfigError::ShownUnreadable {
        path: path.to_owned(),
        reason: error.kind(),
    };
    std::fs::read(path).map(Zeroizing::new).map_err(unreadable)
}

fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(path)?).collect();
    let chain = chain.ok().filter(|chain| !chain.is_empty());
    chain.ok_or_else(|| ConfigError::ShownInvalid { path: path.to_owned() })
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>, ConfigError> {
    let key = PrivateKeyDer::from_pem_slice(&read(path)?);
    key.map_err(|_| ConfigError::ShownInvalid { path: path.to_owned() })
}

fn add_authorities(roots: &mut RootCertStore, path: &Path) -> Result<(), ConfigError> {
    let unreadable = |error: std::io::Error| ConfigError::AuthoritiesUnreadable {
        path: path.to_owned(),
        reason: error.kind(),
    };
    let invalid = || ConfigError::AuthoritiesInvalid { path: path.to_owned() };
    let text = std::fs::read(path).map_err(unreadable)?;
    let mut count = 0;
    for certificate in CertificateDer::pem_slice_iter(&text) {
        roots.add(certificate.map_err(|_| invalid())?).map_err(|_| invalid())?;
        count += 1;
    }
    if count == 0 { Err(invalid()) } else { Ok(()) }
}
