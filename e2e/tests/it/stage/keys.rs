//! RFC 7523: keys of a client, and assertions signed with them, also wrong ones.

use accredit_wire::crypto::{Algorithm, PrivateKey};
use accredit_wire::jose::b64url_encode;
use accredit_wire::jose::jwk::Jwk;
use accredit_wire::jose::jws::{ProtectedHeader, SigningInput};
use serde_json::{Value, json};

use super::{Ask, now, unique};

/// The one type of client assertion.
pub(crate) const ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// A key pair of a client.
pub(crate) struct ClientKey {
    pub(crate) key: PrivateKey,
    pub(crate) kid: Option<String>,
}

impl ClientKey {
    pub(crate) fn new(algorithm: Algorithm, kid: Option<&str>) -> Self {
        let (key, _) = PrivateKey::generate(algorithm).expect("a key");
        Self { key, kid: kid.map(str::to_owned) }
    }

    /// The public half, to be registered.
    pub(crate) fn jwk(&self) -> Value {
        let public = self.key.public().expect("a public half");
        let jwk = Jwk::new(public, self.kid.clone()).expect("a JWK");
        serde_json::to_value(jwk).expect("JSON")
    }

    /// Signs claims under the header that fits.
    pub(crate) fn sign(&self, claims: &Value) -> String {
        self.sign_as("client-authentication+jwt", claims.to_string().as_bytes())
    }

    /// Asks a token endpoint for a token with a new assertion, which may be shown more than once.
    pub(crate) fn asks(&self, endpoint: &str, client: &str, issuer: &str) -> Ask {
        let assertion = self.assertion(client, issuer);
        let form = [
            ("grant_type", "client_credentials"),
            ("scope", "crm:read"),
            ("client_assertion_type", ASSERTION),
            ("client_assertion", assertion.as_str()),
        ];
        Ask::form(endpoint, &form)
    }

    /// Signs any payload under any type.
    pub(crate) fn sign_as(&self, typ: &str, payload: &[u8]) -> String {
        let header = ProtectedHeader::new(typ, self.key.algorithm(), self.kid.as_deref());
        let input = SigningInput::new(&header.expect("a header"), payload).expect("short enough");
        let signature = self.key.sign(input.bytes()).expect("signed");
        input.finish(&signature)
    }

    /// Signs any payload under any header.
    pub(crate) fn sign_under(&self, header: &str, payload: &str) -> String {
        let input =
            format!("{}.{}", b64url_encode(header.as_bytes()), b64url_encode(payload.as_bytes()));
        let signature = self.key.sign(input.as_bytes()).expect("signed");
        format!("{input}.{}", b64url_encode(&signature))
    }

    /// A good assertion.
    pub(crate) fn assertion(&self, client: &str, issuer: &str) -> String {
        self.sign(&claims(client, issuer))
    }
}

/// What a good assertion claims.
pub(crate) fn claims(client: &str, issuer: &str) -> Value {
    json!({"iss": client, "sub": client, "aud": issuer, "iat": now(), "exp": now() + 60,
        "jti": unique()})
}
