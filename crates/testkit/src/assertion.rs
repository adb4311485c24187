//! RFC 7523: client assertions, right ones and any other.

use accredit_wire::crypto::{Algorithm, PrivateKey};
use accredit_wire::jose::jwk::Jwk;
use accredit_wire::jose::{alg_name, b64url_encode};
use accredit_wire::time::Time;
use serde_json::{Value, json};

/// A client's key pair.
pub struct Signer {
    /// The `kid` under which it is registered.
    pub kid: String,
    /// The client, `agt_` or `res_`.
    pub client: String,
    /// The credential, `crd_`.
    pub credential: String,
    /// The issuer it asks for tokens.
    pub issuer: String,
    key: PrivateKey,
}

impl Signer {
    /// A new key pair that is registered nowhere. An Ed25519 key follows from `seed`.
    pub fn new(algorithm: Algorithm, kid: &str, seed: [u8; 32]) -> Self {
        let key = match algorithm {
            Algorithm::EdDsa => PrivateKey::ed25519_from_seed(&seed),
            Algorithm::Es256 => PrivateKey::generate(algorithm).map(|(key, _)| key),
        };
        Self {
            kid: kid.to_owned(),
            client: String::new(),
            credential: String::new(),
            issuer: String::new(),
            key: key.expect("a key pair"),
        }
    }

    /// The public half with its `kid`.
    pub fn public_jwk(&self) -> String {
        let public = self.key.public().expect("a public half");
        let jwk = Jwk::new(public, Some(self.kid.clone())).expect("a JWK");
        serde_json::to_string(&jwk).expect("JSON")
    }

    /// The claims of a good assertion, used once: `jti` is different for each `nonce`.
    pub fn claims(&self, now: Time, nonce: &str) -> Value {
        json!({
            "iss": self.client, "sub": self.client, "aud": self.issuer,
            "iat": now.seconds(), "exp": now.seconds() + 60, "jti": format!("jti-{nonce}"),
        })
    }

    /// The header of a good assertion.
    pub fn header(&self) -> Value {
        json!({
            "alg": alg_name(self.key.algorithm()), "kid": self.kid,
            "typ": "client-authentication+jwt",
        })
    }

    /// Signs whatever header and claims.
    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        self.sign_text(&header.to_string(), &claims.to_string())
    }

    /// Signs whatever two texts.
    pub fn sign_text(&self, header: &str, payload: &str) -> String {
        let encoded = |text: &str| b64url_encode(text.as_bytes());
        let input = format!("{}.{}", encoded(header), encoded(payload));
        let signature = self.key.sign(input.as_bytes()).expect("a signature");
        format!("{input}.{}", b64url_encode(&signature))
    }

    /// A good assertion.
    pub fn assertion(&self, now: Time, nonce: &str) -> String {
        self.sign(&self.header(), &self.claims(now, nonce))
    }

    /// A good assertion but for one claim; null takes the claim away.
    pub fn assertion_with(&self, now: Time, nonce: &str, claim: &str, value: Value) -> String {
        let mut claims = self.claims(now, nonce);
        set(&mut claims, claim, value);
        self.sign(&self.header(), &claims)
    }

    /// A good assertion but for one member of its header; null takes the member away.
    pub fn assertion_headed(&self, now: Time, nonce: &str, name: &str, value: Value) -> String {
        let mut header = self.header();
        set(&mut header, name, value);
        self.sign(&header, &self.claims(now, nonce))
    }
}

fn set(object: &mut Value, name: &str, value: Value) {
    let members = object.as_object_mut().expect("an object");
    if value.is_null() {
        members.remove(name);
    } else {
        members.insert(name.to_owned(), value);
    }
}
