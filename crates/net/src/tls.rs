//! RFC 8446 and RFC 5246: how the other side proves which host it is.
//!
//! The roots are the ones compiled in, plus the operator's own; the system's store is not read,
//! so that the same binary trusts the same authorities everywhere.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

use crate::error::ConfigError;

/// TLS 1.3 and 1.2 with the built-in roots and those in the PEM file `authorities`.
pub(crate) fn client_config(authorities: Option<&Path>) -> Result<Arc<ClientConfig>, ConfigError> {
    let mut roots = RootCertStore::empty();
    roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    if let Some(path) = authorities {
        add_authorities(&mut roots, path)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|_| ConfigError::Tls)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
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
