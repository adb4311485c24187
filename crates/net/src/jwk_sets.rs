//! JWK sets (RFC 7517) and the metadata that leads to them (RFC 8414, OpenID Connect Discovery 1.0),
//! as strangers serve them, and from where they are taken just now.

use std::net::SocketAddr;
use std::sync::{PoisonError, RwLock};

use accredit_wire::jose::jwk::JWK_SET_BYTES_MAX;
use bytes::Bytes;

use crate::document::{DocumentError, Documents};
use crate::error::ConfigError;

/// The types under which a JWK set is served (RFC 7517 section 8.5, and what most servers say).
const TYPES: [&str; 2] = ["application/jwk-set+json", "application/json"];

/// The type under which metadata is served (RFC 8414 section 3.2).
const METADATA_TYPES: [&str; 1] = ["application/json"];
/// The type under which a bundle is served (SPIFFE Federation section 5.1.2).
#[cfg(feature = "spiffe")]
const BUNDLE_TYPES: [&str; 1] = ["application/json"];
/// Bytes of metadata: what is served today has a few thousand.
const METADATA_BYTES_MAX: usize = 64 * 1024;

/// Fetches JWK sets from the public internet, and from loopback addresses that are allowed.
pub struct JwkSets(RwLock<Documents>);

impl JwkSets {
    /// From the public internet alone.
    pub fn new() -> Result<Self, ConfigError> {
        Documents::new(Vec::new()).map(|documents| Self(RwLock::new(documents)))
    }

    /// From these loopback addresses too, and no others.
    pub fn allow(&self, loopback: &[SocketAddr]) -> Result<(), ConfigError> {
        let documents = Documents::new(loopback.to_vec())?;
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = documents;
        Ok(())
    }

    /// Whether a URL is one that is fetched from.
    pub fn check(&self, url: &str) -> Result<(), DocumentError> {
        self.documents().check(url)
    }

    /// The set at a URL, as it came.
    pub async fn fetch(&self, url: &str) -> Result<Bytes, DocumentError> {
        self.documents().get(url, &TYPES, JWK_SET_BYTES_MAX).await
    }

    /// The metadata of an issuer at a URL, as it came.
    pub async fn fetch_metadata(&self, url: &str) -> Result<Bytes, DocumentError> {
        self.documents().get(url, &METADATA_TYPES, METADATA_BYTES_MAX).await
    }

    /// The bundle of a trust domain at a URL, as it came (SPIFFE Federation section 5.1): from whoever has the
    /// name by public authorities, or from `server`.
    #[cfg(feature = "spiffe")]
    pub async fn fetch_bundle(
        &self,
        url: &str,
        server: Option<&crate::SpiffeServer>,
    ) -> Result<Bytes, DocumentError> {
        use accredit_wire::x509::bundle::BUNDLE_BYTES_MAX;
        match server {
            None => self.documents().get(url, &BUNDLE_TYPES, BUNDLE_BYTES_MAX).await,
            Some(server) => {
                self.documents().get_from(server, url, (&BUNDLE_TYPES, BUNDLE_BYTES_MAX)).await
            }
        }
    }

    fn documents(&self) -> Documents {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
