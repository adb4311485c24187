//! SPIFFE JWT-SVID sections 4 and 5, Trust Domain and Bundle section 4.2: the keys that a trust domain signs
//! JWT-SVIDs with, and how one that was sent by somebody is checked with them.
//!
//! That is what any SPIFFE library does: it says who somebody is, and not whether they were ended since.

use serde_json::{Value, json};

use super::{JwtSvidError, KEY_USE, verified};
use crate::crypto::PublicKey;
use crate::jose::jwk::{JWK_SET_BYTES_MAX, JWK_SET_KEYS_MAX, Jwk, JwkError, JwkSet, VerifyingKey};
use crate::jose::jws::Unverified;
use crate::jose::jwt::{ClaimsError, SKEW_MAX};
use crate::jose::{KID_BYTES_MAX, b64url_encode};
use crate::json::Json;
use crate::time::Time;
use crate::x509::spiffe::{SpiffeId, TrustDomain};

/// The keys of one trust domain.
#[derive(Clone, Debug, Default)]
pub struct Authorities {
    keys: JwkSet,
}

/// Who somebody is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// Whom it names.
    pub spiffe_id: SpiffeId,
    /// All that it claims: a JSON object.
    pub claims: Vec<u8>,
}

/// Why a JWT-SVID is not believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotBelieved {
    /// It is none that the trust domain signed.
    Signature(JwtSvidError),
    /// A claim that every one has is missing or malformed, or it is over.
    Claims(ClaimsError),
    /// It is for somebody else.
    Audience,
    /// It names nobody, or somebody of another trust domain.
    TrustDomain,
}

impl std::fmt::Display for NotBelieved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Signature(error) => error.fmt(f),
            Self::Claims(error) => error.fmt(f),
            Self::Audience => f.write_str("it is for another audience"),
            Self::TrustDomain => f.write_str("`sub` is no SPIFFE ID of the trust domain"),
        }
    }
}

impl std::error::Error for NotBelieved {}

/// Equal where they are the same keys, in the same order.
impl PartialEq for Authorities {
    fn eq(&self, other: &Self) -> bool {
        self.document() == other.document()
    }
}

impl Eq for Authorities {}

impl Authorities {
    /// Those of a bundle. Keys of other uses and of kinds that we do not know are left out; a key for
    /// JWT-SVIDs without a `kid`, one that is private, or one that is there twice makes the whole of it
    /// unread.
    pub fn of_bundle(text: &[u8]) -> Result<Self, JwkError> {
        let json = Json::parse(text, JWK_SET_BYTES_MAX)?;
        json.as_object().ok_or(JwkError::NotAnObject)?;
        let keys = json.get("keys").and_then(Json::as_array);
        let keys = keys.ok_or(JwkError::Member { name: "keys", rule: "an array" })?;
        if keys.len() > JWK_SET_KEYS_MAX {
            return Err(JwkError::TooManyKeys(keys.len()));
        }
        let mut read = Vec::new();
        for key in keys {
            if key.get("use").and_then(Json::as_str) != Some(KEY_USE) {
                continue;
            }
            let rule = "a string of 1 to 256 bytes";
            let kid = key.get("kid").and_then(Json::as_str);
            let kid = kid.filter(|kid| (1..=KID_BYTES_MAX).contains(&kid.len()));
            let kid = kid.ok_or(JwkError::Member { name: "kid", rule })?;
            match Jwk::of_use(key, KEY_USE) {
                Ok(jwk) => read.push(VerifyingKey { kid: kid.to_owned(), key: jwk.key().clone() }),
                Err(JwkError::Unsupported { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Self { keys: JwkSet::new(read)? })
    }

    /// As one document of its own, as the Workload API gives it (JWT-SVID section 6).
    pub fn document(&self) -> String {
        let keys: Vec<Value> = self.keys.keys().iter().filter_map(document_of).collect();
        json!({ "keys": keys }).to_string()
    }

    /// Says who somebody is that sent a JWT-SVID which is for `audience` (JWT-SVID section 5).
    pub fn check(
        &self,
        token: &str,
        (domain, audience): (&TrustDomain, &str),
        now: Time,
    ) -> Result<Checked, NotBelieved> {
        let parsed = Unverified::parse(token).map_err(JwtSvidError::Signature);
        let unverified = parsed.map_err(NotBelieved::Signature)?;
        let key = unverified.peek_unverified_kid().and_then(|kid| self.keys.find(Some(kid)));
        let key = key.ok_or(NotBelieved::Signature(JwtSvidError::Key))?;
        let verified = verified(unverified, |token, typ| token.verify(key, typ));
        let verified = verified.map_err(NotBelieved::Signature)?;
        let claims = verified.claims().map_err(NotBelieved::Claims)?;
        claims.check_times(now, SKEW_MAX).map_err(NotBelieved::Claims)?;
        if !claims.is_for(audience) {
            return Err(NotBelieved::Audience);
        }
        let subject = claims.sub().and_then(|sub| SpiffeId::parse(sub).ok());
        let spiffe_id = subject.filter(|id| id.trust_domain() == domain.as_str());
        let spiffe_id = spiffe_id.ok_or(NotBelieved::TrustDomain)?;
        Ok(Checked { spiffe_id, claims: verified.payload().to_vec() })
    }
}

fn document_of(key: &VerifyingKey) -> Option<Value> {
    let (x, y) = halves(&key.key)?;
    Some(json!({"kty": "EC", "crv": "P-256", "x": x, "y": y, "use": KEY_USE, "kid": key.kid}))
}

/// The coordinates of a point of P-256, in base64url.
pub fn halves(key: &PublicKey) -> Option<(String, String)> {
    let (x, y) = key.bytes().get(1..65)?.split_at(32);
    Some((b64url_encode(x), b64url_encode(y)))
}
