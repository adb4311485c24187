//! SPIFFE JWT-SVID sections 4 and 5, Trust Domain and Bundle section 4.2: the keys that a trust domain signs
//! JWT-SVIDs with, and how one that was sent by somebody is checked with them.
//!
//! That is what any SPIFFE library does: it says who somebody is, and not whether they were ended since.

use serde_json::{Value, json};

use super::{JwtSvidError, KEY_USE, TYP};
use crate::crypto::PublicKey;
use crate::jose::b64url_encode;
use crate::jose::foreign_keys::ForeignKey;
use crate::jose::jwk::{JWK_SET_BYTES_MAX, JWK_SET_KEYS_MAX, JwkError};
use crate::jose::jws::Unverified;
use crate::jose::jwt::{ClaimsError, SKEW_MAX};
use crate::json::Json;
use crate::time::Time;
use crate::x509::spiffe::{SpiffeId, TrustDomain};

/// The keys of one trust domain: those of ours are of P-256, others' may be of P-384 or RSA keys.
#[derive(Clone, Debug, Default)]
pub struct Authorities {
    keys: Vec<ForeignKey>,
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
        Self::of_keys(keys_of(&json)?)
    }

    /// Those among the keys of a bundle.
    pub(crate) fn of_keys(keys: &[Json<'_>]) -> Result<Self, JwkError> {
        Ok(Self { keys: ForeignKey::of_use(keys, KEY_USE)? })
    }

    /// The names (`kid`) of the keys.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(ForeignKey::kid)
    }

    /// Each key as a JWK.
    pub(crate) fn jwks(&self) -> impl Iterator<Item = Value> {
        self.keys.iter().map(|key| key.to_json(KEY_USE))
    }

    /// As one document of its own, as the Workload API gives it (JWT-SVID section 6).
    pub fn document(&self) -> String {
        json!({ "keys": self.jwks().collect::<Vec<_>>() }).to_string()
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
        let named = unverified.peek_unverified_kid();
        let key = self.keys.iter().find(|key| Some(key.kid()) == named);
        let key = key.ok_or(NotBelieved::Signature(JwtSvidError::Key))?;
        let verified = unverified.verify_by_foreign(key, TYP).map_err(JwtSvidError::Signature);
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

/// The keys of a bundle, of whatever use.
pub(crate) fn keys_of<'j, 't>(bundle: &'j Json<'t>) -> Result<&'j [Json<'t>], JwkError> {
    bundle.as_object().ok_or(JwkError::NotAnObject)?;
    let keys = bundle.get("keys").and_then(Json::as_array);
    let keys = keys.ok_or(JwkError::Member { name: "keys", rule: "an array" })?;
    if keys.len() > JWK_SET_KEYS_MAX {
        return Err(JwkError::TooManyKeys(keys.len()));
    }
    Ok(keys)
}

/// The trust domain that a JWT-SVID says it is of, by whose keys it is to be checked. Nothing of it is
/// believed yet.
pub fn named_by(token: &str) -> Option<TrustDomain> {
    let unverified = Unverified::parse(token).ok()?;
    TrustDomain::of_id(&unverified.peek_unverified_subject()?)
}

/// The coordinates of a point of P-256, in base64url.
pub fn halves(key: &PublicKey) -> Option<(String, String)> {
    let (x, y) = key.bytes().get(1..65)?.split_at(32);
    Some((b64url_encode(x), b64url_encode(y)))
}
