//! Documents from outside, over the hardened client: a test names the loopback addresses it serves.

use std::net::SocketAddr;
use std::sync::{PoisonError, RwLock};

use accredit_domain::ports::{BoxFuture, Outbound};
use accredit_net::{ConfigError, Documents};
use accredit_wire::jose::jwk::JWK_SET_BYTES_MAX;

/// The types under which a JWK set is served (RFC 7517 section 8.5, and what most servers say).
const JWK_SET_TYPES: [&str; 2] = ["application/jwk-set+json", "application/json"];

/// Fetches from the public internet, and from loopback addresses that the settings name.
pub struct Outside(RwLock<Documents>);

impl Outside {
    /// From the public internet alone.
    pub fn new() -> Result<Self, ConfigError> {
        Documents::new(Vec::new()).map(|documents| Self(RwLock::new(documents)))
    }

    /// From these loopback addresses too.
    pub fn allow(&self, loopback: &[SocketAddr]) -> Result<(), ConfigError> {
        let documents = Documents::new(loopback.to_vec())?;
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = documents;
        Ok(())
    }

    fn documents(&self) -> Documents {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Outbound for Outside {
    fn check(&self, url: &str) -> Result<(), String> {
        self.documents().check(url).map_err(|error| error.to_string())
    }

    fn fetch_jwks<'a>(&'a self, url: &'a str) -> BoxFuture<'a, Result<Vec<u8>, String>> {
        let documents = self.documents();
        Box::pin(async move {
            let fetched = documents.get(url, &JWK_SET_TYPES, JWK_SET_BYTES_MAX).await;
            fetched.map(Vec::from).map_err(|error| error.to_string())
        })
    }
}
