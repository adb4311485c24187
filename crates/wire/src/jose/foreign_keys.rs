//! SPIFFE JWT-SVID section 2.1.1, RFC 7518 sections 3.3 to 3.5: the keys by which another trust domain's
//! JWT-SVIDs are checked.
//!
//! A bundle names no algorithm as a rule, so that a key stands for each that one of its kind can have: an
//! RSA key for the six of RSA, one of P-256 for ES256 and one of P-384 for ES384. Where it names one, it
//! stands for that alone. They verify and do nothing else.
//!
//! Absent on purpose: EdDSA, which the standard does not know, `none` and HMAC; P-521, whose keys are left
//! out as those of any other kind that is not known here.

use serde_json::{Value, json};

use super::issuer_keys::uint_member;
use super::jwk::{JwkError, refuse_duplicates, refuse_private_members, text_member};
use super::jws::kid_of;
use super::{b64url_decode_array, b64url_encode};
use crate::crypto::{CryptoError, P384PublicKey, PublicKey, RsaAlgorithm, RsaPublicKey};
use crate::json::{Json, quoted};

/// A public key of another trust domain, and its name.
#[derive(Clone, Debug)]
pub struct ForeignKey {
    kid: String,
    ways: Vec<Way>,
    /// Whether its only algorithm was named.
    named: bool,
}

/// One algorithm of a key.
#[derive(Clone, Debug)]
pub(super) enum Way {
    P256(PublicKey),
    P384(Box<P384PublicKey>),
    Rsa(RsaPublicKey),
}

impl Way {
    fn name(&self) -> &'static str {
        match self {
            Self::P256(_) => "ES256",
            Self::P384(_) => "ES384",
            Self::Rsa(key) => key.algorithm().name(),
        }
    }

    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        match self {
            Self::P256(key) => key.verify(message, signature),
            Self::P384(key) => key.verify(message, signature),
            Self::Rsa(key) => key.verify(message, signature),
        }
    }

    fn of_rsa(algorithm: RsaAlgorithm, json: &Json<'_>) -> Result<Self, JwkError> {
        let (modulus, exponent) = (uint_member(json, "n")?, uint_member(json, "e")?);
        let key = RsaPublicKey::new(algorithm, &modulus, &exponent);
        key.map(Self::Rsa).map_err(|_| JwkError::Unsupported {
            name: "n",
            found: format!("{} bits", modulus.len() * 8),
        })
    }
}

/// A coordinate of a curve whose points have `N` bytes.
fn coordinate<const N: usize>(
    json: &Json<'_>,
    name: &'static str,
    rule: &'static str,
) -> Result<[u8; N], JwkError> {
    b64url_decode_array(text_member(json, name)?).map_err(|_| JwkError::Member { name, rule })
}

fn p256(json: &Json<'_>) -> Result<Way, JwkError> {
    let rule = "32 bytes in base64url without padding";
    let mut point = [4; 65];
    point[1..33].copy_from_slice(&coordinate::<32>(json, "x", rule)?);
    point[33..].copy_from_slice(&coordinate::<32>(json, "y", rule)?);
    PublicKey::p256(&point).map(Way::P256).map_err(|_| JwkError::Point)
}

fn p384(json: &Json<'_>) -> Result<Way, JwkError> {
    let rule = "48 bytes in base64url without padding";
    let mut point = [4; 97];
    point[1..49].copy_from_slice(&coordinate::<48>(json, "x", rule)?);
    point[49..].copy_from_slice(&coordinate::<48>(json, "y", rule)?);
    P384PublicKey::new(&point).map(|key| Way::P384(Box::new(key))).map_err(|_| JwkError::Point)
}

fn ways(json: &Json<'_>) -> Result<Vec<Way>, JwkError> {
    let kty = text_member(json, "kty")?;
    match kty {
        "RSA" => RsaAlgorithm::ALL.into_iter().map(|one| Way::of_rsa(one, json)).collect(),
        "EC" => match text_member(json, "crv")? {
            "P-256" => Ok(vec![p256(json)?]),
            "P-384" => Ok(vec![p384(json)?]),
            other => Err(JwkError::Unsupported { name: "crv", found: quoted(other) }),
        },
        _ => Err(JwkError::Unsupported { name: "kty", found: quoted(kty) }),
    }
}

impl ForeignKey {
    /// Reads a key whose `use` the caller knows; it must have a `kid`.
    fn read(json: &Json<'_>) -> Result<Self, JwkError> {
        refuse_private_members(json)?;
        let rule = "a string of 1 to 256 bytes";
        let kid = json.get("kid").and_then(kid_of);
        let kid = kid.ok_or(JwkError::Member { name: "kid", rule })?.to_owned();
        let mut ways = ways(json)?;
        let alg = json.get("alg");
        if let Some(alg) = alg {
            ways.retain(|way| Some(way.name()) == alg.as_str());
            if ways.is_empty() {
                let rule = "an algorithm of the key's kind that a JWT-SVID may have";
                return Err(JwkError::Member { name: "alg", rule });
            }
        }
        Ok(Self { kid, ways, named: alg.is_some() })
    }

    /// Reads those keys that have this `use`. Those of kinds that are not known are left out; one that is
    /// malformed, private, without a `kid` or with one that another has makes the whole of it unread.
    pub fn of_use(keys: &[Json<'_>], usage: &str) -> Result<Vec<Self>, JwkError> {
        let mut read = Vec::new();
        let of_use = |key: &&Json<'_>| key.get("use").and_then(Json::as_str) == Some(usage);
        for key in keys.iter().filter(of_use) {
            match Self::read(key) {
                Ok(key) => read.push(key),
                Err(JwkError::Unsupported { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        refuse_duplicates(read.iter().map(Self::kid))?;
        Ok(read)
    }

    /// Names the key among those of its trust domain.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// How it verifies this `alg`, compared exactly.
    pub(super) fn way(&self, alg: &str) -> Option<&Way> {
        self.ways.iter().find(|way| way.name() == alg)
    }

    /// The first of its algorithms.
    pub(super) fn usual_alg(&self) -> &'static str {
        self.ways.first().map_or("", Way::name)
    }

    /// As a JWK of this `use`, which reads back as the same key.
    pub fn to_json(&self, usage: &str) -> Value {
        let mut jwk = match self.ways.first() {
            Some(Way::P256(key)) => point("P-256", key.bytes()),
            Some(Way::P384(key)) => point("P-384", key.point()),
            Some(Way::Rsa(key)) => json!({
                "kty": "RSA",
                "n": b64url_encode(key.modulus()),
                "e": b64url_encode(key.exponent()),
            }),
            None => json!({}),
        };
        jwk["use"] = usage.into();
        jwk["kid"] = self.kid.as_str().into();
        if self.named {
            jwk["alg"] = self.usual_alg().into();
        }
        jwk
    }
}

/// The members of a point, `0x04 || x || y`.
fn point(curve: &str, point: &[u8]) -> Value {
    let (x, y) =
        point.split_at_checked(1).map_or((point, point), |(_, both)| both.split_at(both.len() / 2));
    json!({"kty": "EC", "crv": curve, "x": b64url_encode(x), "y": b64url_encode(y)})
}
