//! Documents from outside, over the hardened client: a test names the loopback addresses it serves.

use accredit_domain::ports::{self, BoxFuture, Outbound};
use accredit_net::{JwkSets, SpiffeServer};

/// The port, on what the settings allow.
pub struct Outside(pub JwkSets);

impl Outbound for Outside {
    fn check(&self, url: &str) -> Result<(), String> {
        self.0.check(url).map_err(|error| error.to_string())
    }

    fn fetch_metadata<'a>(&'a self, url: &'a str) -> BoxFuture<'a, Result<Vec<u8>, String>> {
        Box::pin(async move {
            let fetched = self.0.fetch_metadata(url).await;
            fetched.map(Vec::from).map_err(|error| error.to_string())
        })
    }

    fn fetch_jwks<'a>(&'a self, url: &'a str) -> BoxFuture<'a, Result<Vec<u8>, String>> {
        Box::pin(async move {
            self.0.fetch(url).await.map(Vec::from).map_err(|error| error.to_string())
        })
    }

    fn fetch_bundle<'a>(
        &'a self,
        url: &'a str,
        server: Option<ports::SpiffeServer>,
    ) -> BoxFuture<'a, Result<Vec<u8>, String>> {
        Box::pin(async move {
            let server = server.map(|server| SpiffeServer { id: server.id, roots: server.roots });
            let fetched = self.0.fetch_bundle(url, server.as_ref()).await;
            fetched.map(Vec::from).map_err(|error| error.to_string())
        })
    }
}
