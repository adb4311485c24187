//! RFC 7517: the identity provider of the demo's users, on loopback, with one key.

use std::net::SocketAddr;

use accredit_wire::crypto::{Algorithm, PrivateKey};
use accredit_wire::jose::b64url_encode;
use accredit_wire::jose::jwk::Jwk;
use accredit_wire::secret::Secret;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use axum::{Router, serve};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::clock;

/// The `kid` of its key.
const KID: &str = "demo";
/// What its tokens name as audience.
pub(super) const AUDIENCE: &str = "accredit";
/// The group of all its users.
pub(super) const GROUP: &str = "sales";
/// How long a user's token lives, seconds.
const TOKEN_SECONDS: u64 = 300;

/// The running provider. Dropping it ends it.
pub(super) struct Idp {
    /// Where it listens.
    pub(super) address: SocketAddr,
    key: PrivateKey,
    serving: JoinHandle<()>,
}

impl Idp {
    /// Starts it with a new key.
    pub(super) async fn start() -> Result<Self, String> {
        let told = |error: &dyn std::fmt::Display| format!("the identity provider: {error}");
        let (key, _) = PrivateKey::generate(Algorithm::Es256).map_err(|error| told(&error))?;
        let public = key.public().map_err(|error| told(&error))?;
        let jwk = Jwk::new(public, Some(KID.to_owned())).map_err(|error| told(&error))?;
        let set = json!({ "keys": [jwk] }).to_string();
        let bound = TcpListener::bind("127.0.0.1:0").await;
        let listener = bound.map_err(|error| told(&error))?;
        let address = listener.local_addr().map_err(|error| told(&error))?;
        let keys = move || async move { ([(CONTENT_TYPE, "application/json")], set) };
        let app = Router::new().route("/jwks", get(keys));
        let serving = tokio::spawn(async move {
            // It ends only by being dropped.
            let _ = serve(listener, app).await;
        });
        Ok(Self { address, key, serving })
    }

    /// What it calls itself.
    pub(super) fn issuer(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where its keys are.
    pub(super) fn jwks_url(&self) -> String {
        format!("{}/jwks", self.issuer())
    }

    /// A token of a user who has logged in.
    pub(super) fn token(&self, user: &str) -> Result<Secret, String> {
        let now = clock::seconds();
        let header = json!({"alg": "ES256", "kid": KID});
        let claims = json!({
            "iss": self.issuer(), "sub": user, "aud": AUDIENCE, "iat": now,
            "exp": now + TOKEN_SECONDS, "groups": [GROUP],
        });
        let parts = [header, claims].map(|part| b64url_encode(part.to_string().as_bytes()));
        let signed = parts.join(".");
        let signature = self.key.sign(signed.as_bytes()).map_err(|error| error.to_string())?;
        Ok(Secret::new(format!("{signed}.{}", b64url_encode(&signature))))
    }
}

impl Drop for Idp {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
