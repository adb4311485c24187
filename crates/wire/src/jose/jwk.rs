//! RFC 7517, RFC 7518 section 6.2, RFC 8037, RFC 7638: JSON Web Keys, key sets and thumbprints.
//!
//! Two kinds of key exist here, EC on P-256 and OKP with Ed25519, each with one algorithm. A
//! public key that arrives with private members is refused loudly: its owner has just published
//! it. Absent on purpose: RSA, symmetric keys, X.509 members (ignored), key generation.

use std::fmt;

use serde::ser::{Serialize, SerializeStruct as _, Serializer};
use zeroize::Zeroizing;

use super::jws::kid_of;
use super::{KID_BYTES_MAX, alg_is, alg_name, b64url_decode_array, b64url_encode};
use crate::crypto::{Algorithm, PrivateKey, PublicKey, sha256_of};
use crate::json::{Json, JsonError, quoted};

/// The most keys in a set, used or ignored.
pub const JWK_SET_KEYS_MAX: usize = 64;

/// The longest text of one key, in bytes. A certificate chain that is ignored fits.
pub const JWK_BYTES_MAX: usize = 16 * 1024;

/// The longest text of a key set, in bytes.
pub const JWK_SET_BYTES_MAX: usize = 64 * 1024;

/// Members that only a private or symmetric key has (RFC 7518 sections 6.2.2, 6.3.2, 6.4.1).
const PRIVATE_MEMBERS: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// Why a key or a key set is not accepted. Never holds key material.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JwkError {
    /// Not acceptable JSON.
    Json(JsonError),
    /// A key or a key set is not an object.
    NotAnObject,
    /// A member is missing, or has the wrong type, length or encoding.
    Member {
        /// Which.
        name: &'static str,
        /// What it must be.
        rule: &'static str,
    },
    /// A public key has this private member.
    PrivateMember(&'static str),
    /// Neither EC on P-256 nor OKP with Ed25519; what it is, as [`quoted`] repeats it.
    Unsupported {
        /// `kty` or `crv`.
        name: &'static str,
        /// Its value.
        found: String,
    },
    /// `alg` names another algorithm than the key has.
    Alg {
        /// What the member says, as [`quoted`] repeats it.
        found: String,
        /// What the key has.
        expected: Algorithm,
    },
    /// `use` or `key_ops` says that the key is not for verifying signatures.
    NotForSignatures,
    /// The point is not on the curve, or is of small order.
    Point,
    /// The private and the public half do not belong together.
    Halves,
    /// A set of more than [`JWK_SET_KEYS_MAX`] keys.
    TooManyKeys(usize),
    /// Two keys of a set have this `kid`, or are one key twice.
    DuplicateKid(String),
}

impl fmt::Display for JwkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json(error) => write!(f, "{error}"),
            Self::NotAnObject => f.write_str("a JWK, or a JWK set, is a JSON object"),
            Self::Member { name, rule } => write!(f, "the JWK member `{name}` must be {rule}"),
            Self::PrivateMember(name) => write!(
                f,
                "the JWK has the private member `{name}`; send the public key only, and replace \
                 this key, since it is no longer secret"
            ),
            Self::Unsupported { name, found } => write!(
                f,
                "the JWK has `{name}` `{found}`; accepted are `EC` with `P-256` (ES256) and `OKP` \
                 with `Ed25519` (EdDSA)"
            ),
            Self::Alg { found, expected } => write!(
                f,
                "the JWK has `alg` `{found}`, but a key of its type is for `{}`",
                alg_name(*expected)
            ),
            Self::NotForSignatures => f.write_str(
                "the JWK is not for verifying: `use` must be `sig` and `key_ops` have `verify`",
            ),
            Self::Point => f.write_str("the JWK is not a valid point of its curve"),
            Self::Halves => f.write_str("`d` is not the private half of the public key"),
            Self::TooManyKeys(count) => {
                write!(f, "the set has {count} keys; at most {JWK_SET_KEYS_MAX} are accepted")
            }
            Self::DuplicateKid(kid) => write!(f, "the set has the `kid` `{kid}` twice"),
        }
    }
}

impl std::error::Error for JwkError {}

impl From<JsonError> for JwkError {
    fn from(error: JsonError) -> Self {
        Self::Json(error)
    }
}

/// A public key and the name under which its owner publishes it.
#[derive(Clone, Debug)]
pub struct VerifyingKey {
    /// Names the key among those of one issuer.
    pub kid: String,
    /// The key; it has one algorithm.
    pub key: PublicKey,
}

/// A public JSON Web Key.
#[derive(Clone, Debug)]
pub struct Jwk {
    key: PublicKey,
    kid: Option<String>,
}

impl Jwk {
    /// The JWK of a public key. A `kid` has 1 to [`KID_BYTES_MAX`] bytes.
    pub fn new(key: PublicKey, kid: Option<String>) -> Result<Self, JwkError> {
        if kid.as_ref().is_some_and(|kid| !(1..=KID_BYTES_MAX).contains(&kid.len())) {
            return Err(KID_RULE);
        }
        Ok(Self { key, kid })
    }

    /// Reads one public key of at most [`JWK_BYTES_MAX`] bytes.
    pub fn parse(text: &[u8]) -> Result<Self, JwkError> {
        Self::from_json(&Json::parse(text, JWK_BYTES_MAX)?)
    }

    /// Reads one public key that is part of something else, such as a DPoP header.
    pub fn from_json(json: &Json<'_>) -> Result<Self, JwkError> {
        json.as_object().ok_or(JwkError::NotAnObject)?;
        refuse_private_members(json)?;
        let key = PublicMembers::read(json)?.key()?;
        check_alg(json, key.algorithm())?;
        check_purpose(json, "verify")?;
        Ok(Self { key, kid: read_kid(json)?.map(str::to_owned) })
    }

    /// Reads one public key of P-256 whose `use` is another's to define, such as a SPIFFE bundle's, and
    /// has been looked at.
    pub fn of_use(json: &Json<'_>, usage: &str) -> Result<Self, JwkError> {
        json.as_object().ok_or(JwkError::NotAnObject)?;
        refuse_private_members(json)?;
        if json.get("use").and_then(Json::as_str) != Some(usage) {
            return Err(JwkError::NotForSignatures);
        }
        let PublicMembers::P256(point) = PublicMembers::read(json)? else {
            return Err(JwkError::Unsupported { name: "crv", found: "Ed25519".to_owned() });
        };
        let key = PublicMembers::P256(point).key()?;
        check_alg(json, key.algorithm())?;
        Ok(Self { key, kid: read_kid(json)?.map(str::to_owned) })
    }

    /// The key.
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    /// The `kid`, if it has one.
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// The RFC 7638 thumbprint with SHA-256, in base64url: 43 characters.
    pub fn thumbprint(&self) -> String {
        thumbprint(&self.key)
    }

    /// The key for verifying; without a `kid` it is named by its thumbprint.
    pub fn into_verifying_key(self) -> VerifyingKey {
        let kid = self.kid.unwrap_or_else(|| thumbprint(&self.key));
        VerifyingKey { kid, key: self.key }
    }

    /// Its required members only, in the order of RFC 7638: what a thumbprint covers and what a
    /// DPoP proof carries.
    pub fn bare_json(&self) -> String {
        bare_json(&self.key)
    }
}

/// Writes `kty`, `crv`, `x`, `y` (EC only), `alg`, `use` and, where there is one, `kid`.
impl Serialize for Jwk {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize_key(&self.key, self.kid.as_deref(), serializer)
    }
}

/// The RFC 7638 thumbprint of a key with SHA-256, in base64url: 43 characters.
pub fn thumbprint(key: &PublicKey) -> String {
    b64url_encode(&thumbprint_bytes(key))
}

/// [`thumbprint`] before it is encoded.
pub fn thumbprint_bytes(key: &PublicKey) -> [u8; 32] {
    sha256_of(&[bare_json(key).as_bytes()])
}

fn bare_json(key: &PublicKey) -> String {
    match coordinates(key) {
        (x, Some(y)) => format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#),
        (x, None) => format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#),
    }
}

/// `x` and, for EC, `y`, in base64url.
fn coordinates(key: &PublicKey) -> (String, Option<String>) {
    match key.algorithm() {
        Algorithm::Es256 => {
            let (x, y) = key.bytes()[1..].split_at(32);
            (b64url_encode(x), Some(b64url_encode(y)))
        }
        Algorithm::EdDsa => (b64url_encode(key.bytes()), None),
    }
}

fn serialize_key<S: Serializer>(
    key: &PublicKey,
    kid: Option<&str>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let (x, y) = coordinates(key);
    let members = 5 + usize::from(y.is_some()) + usize::from(kid.is_some());
    let mut out = serializer.serialize_struct("Jwk", members)?;
    let (kty, crv) = if y.is_some() { ("EC", "P-256") } else { ("OKP", "Ed25519") };
    out.serialize_field("kty", kty)?;
    out.serialize_field("crv", crv)?;
    out.serialize_field("x", &x)?;
    if let Some(y) = y {
        out.serialize_field("y", &y)?;
    }
    out.serialize_field("alg", alg_name(key.algorithm()))?;
    out.serialize_field("use", "sig")?;
    if let Some(kid) = kid {
        out.serialize_field("kid", kid)?;
    }
    out.end()
}

/// The members that make a public key.
enum PublicMembers {
    P256([u8; 65]),
    Ed25519([u8; 32]),
}

impl PublicMembers {
    fn read(json: &Json<'_>) -> Result<Self, JwkError> {
        let kty = text_member(json, "kty")?;
        if kty != "EC" && kty != "OKP" {
            return Err(JwkError::Unsupported { name: "kty", found: quoted(kty) });
        }
        let crv = text_member(json, "crv")?;
        match (kty, crv) {
            ("EC", "P-256") => {
                let mut point = [4u8; 65];
                point[1..33].copy_from_slice(&bytes_member(json, "x")?);
                point[33..].copy_from_slice(&bytes_member(json, "y")?);
                Ok(Self::P256(point))
            }
            ("OKP", "Ed25519") => Ok(Self::Ed25519(bytes_member(json, "x")?)),
            _ => Err(JwkError::Unsupported { name: "crv", found: quoted(crv) }),
        }
    }

    fn key(&self) -> Result<PublicKey, JwkError> {
        match self {
            Self::P256(point) => PublicKey::p256(point),
            Self::Ed25519(bytes) => PublicKey::ed25519(bytes),
        }
        .map_err(|_| JwkError::Point)
    }
}

const KID_RULE: JwkError =
    JwkError::Member { name: "kid", rule: "a string of 1 to 256 bytes where it is given" };

pub(super) fn text_member<'j>(json: &'j Json<'_>, name: &'static str) -> Result<&'j str, JwkError> {
    json.get(name).and_then(Json::as_str).ok_or(JwkError::Member { name, rule: "a string" })
}

fn bytes_member(json: &Json<'_>, name: &'static str) -> Result<[u8; 32], JwkError> {
    let rule = "32 bytes in base64url without padding (43 characters)";
    b64url_decode_array(text_member(json, name)?).map_err(|_| JwkError::Member { name, rule })
}

pub(super) fn read_kid<'j>(json: &'j Json<'_>) -> Result<Option<&'j str>, JwkError> {
    json.get("kid").map(|value| kid_of(value).ok_or(KID_RULE)).transpose()
}

pub(crate) fn refuse_private_members(json: &Json<'_>) -> Result<(), JwkError> {
    match PRIVATE_MEMBERS.into_iter().find(|name| json.get(name).is_some()) {
        Some(name) => Err(JwkError::PrivateMember(name)),
        None => Ok(()),
    }
}

fn check_alg(json: &Json<'_>, expected: Algorithm) -> Result<(), JwkError> {
    let Some(alg) = json.get("alg") else { return Ok(()) };
    let alg = alg.as_str().ok_or(JwkError::Member { name: "alg", rule: "a string" })?;
    if alg_is(expected, alg) {
        return Ok(());
    }
    Err(JwkError::Alg { found: quoted(alg), expected })
}

/// `use` and `key_ops` (RFC 7517 sections 4.2 and 4.3), where they are given.
pub(super) fn check_purpose(json: &Json<'_>, operation: &str) -> Result<(), JwkError> {
    let use_fits = json.get("use").is_none_or(|value| value.as_str() == Some("sig"));
    let operations_fit = json.get("key_ops").is_none_or(|value| {
        let operations = value.as_array().unwrap_or_default();
        operations.iter().any(|found| found.as_str() == Some(operation))
    });
    if use_fits && operations_fit { Ok(()) } else { Err(JwkError::NotForSignatures) }
}

/// The keys of one issuer or client (RFC 7517 section 5).
#[derive(Clone, Debug, Default)]
pub struct JwkSet {
    keys: Vec<VerifyingKey>,
    ignored: usize,
}

impl JwkSet {
    /// A set of these keys, at most [`JWK_SET_KEYS_MAX`], no two with one `kid`.
    pub fn new(keys: Vec<VerifyingKey>) -> Result<Self, JwkError> {
        if keys.len() > JWK_SET_KEYS_MAX {
            return Err(JwkError::TooManyKeys(keys.len()));
        }
        let set = Self { keys, ignored: 0 };
        refuse_duplicates(set.keys.iter().map(|key| key.kid.as_str()))?;
        Ok(set)
    }

    /// Reads a set of at most [`JWK_SET_BYTES_MAX`] bytes.
    pub fn parse(text: &[u8]) -> Result<Self, JwkError> {
        Self::from_json(&Json::parse(text, JWK_SET_BYTES_MAX)?)
    }

    /// Reads a set that is part of something else, such as a client's registration.
    ///
    /// Keys of a type or curve that we do not know, or not for signatures, are ignored and
    /// counted; what is malformed, private or twice there is refused.
    pub fn from_json(json: &Json<'_>) -> Result<Self, JwkError> {
        json.as_object().ok_or(JwkError::NotAnObject)?;
        let keys = json.get("keys").and_then(Json::as_array);
        let keys = keys.ok_or(JwkError::Member { name: "keys", rule: "an array" })?;
        if keys.len() > JWK_SET_KEYS_MAX {
            return Err(JwkError::TooManyKeys(keys.len()));
        }
        let mut set = Self { keys: Vec::with_capacity(keys.len()), ignored: 0 };
        let mut kids_ignored = Vec::new();
        for json in keys {
            match Jwk::from_json(json) {
                Ok(jwk) => set.keys.push(jwk.into_verifying_key()),
                Err(JwkError::Unsupported { .. } | JwkError::NotForSignatures) => {
                    set.ignored += 1;
                    kids_ignored.extend(read_kid(json)?);
                }
                Err(error) => return Err(error),
            }
        }
        refuse_duplicates(set.keys.iter().map(|key| key.kid.as_str()).chain(kids_ignored))?;
        Ok(set)
    }

    /// Leaves out the keys for which `keep` says no.
    pub fn retain(&mut self, keep: impl FnMut(&VerifyingKey) -> bool) {
        self.keys.retain(keep);
    }

    /// The keys that can be used.
    pub fn keys(&self) -> &[VerifyingKey] {
        &self.keys
    }

    /// How many keys were ignored, to tell an empty set from one without a usable key.
    pub fn ignored(&self) -> usize {
        self.ignored
    }

    /// The key that a token means: by exact `kid`, or without one the set's only key.
    pub fn find(&self, kid: Option<&str>) -> Option<&VerifyingKey> {
        match (kid, self.keys.as_slice()) {
            (Some(kid), keys) => keys.iter().find(|key| key.kid == kid),
            (None, [only]) => Some(only),
            (None, _) => None,
        }
    }
}

impl Serialize for JwkSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct Published<'k>(&'k VerifyingKey);
        impl Serialize for Published<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serialize_key(&self.0.key, Some(&self.0.kid), serializer)
            }
        }
        let keys: Vec<_> = self.keys.iter().map(Published).collect();
        let mut out = serializer.serialize_struct("JwkSet", 1)?;
        out.serialize_field("keys", &keys)?;
        out.end()
    }
}

pub(super) fn refuse_duplicates<'k>(kids: impl Iterator<Item = &'k str>) -> Result<(), JwkError> {
    let mut kids: Vec<&str> = kids.collect();
    kids.sort_unstable();
    match kids.array_windows().find(|[a, b]| a == b) {
        Some([kid, _]) => Err(JwkError::DuplicateKid(quoted(kid))),
        None => Ok(()),
    }
}

/// A private JSON Web Key, for programs that sign for themselves: the SDK and the command line.
pub struct PrivateJwk {
    key: PrivateKey,
    kid: Option<String>,
}

impl PrivateJwk {
    /// Reads one private key of at most [`JWK_BYTES_MAX`] bytes; its halves must belong together.
    pub fn parse(text: &[u8]) -> Result<Self, JwkError> {
        let json = Json::parse(text, JWK_BYTES_MAX)?;
        json.as_object().ok_or(JwkError::NotAnObject)?;
        let public = PublicMembers::read(&json)?;
        let d = Zeroizing::new(bytes_member(&json, "d")?);
        let key = match public {
            PublicMembers::P256(point) => {
                public.key()?;
                PrivateKey::p256_from_scalar(&d, &point).map_err(|_| JwkError::Halves)?
            }
            PublicMembers::Ed25519(x) => {
                let key = PrivateKey::ed25519_from_seed(&d).map_err(|_| JwkError::Halves)?;
                let derived = key.public().map_err(|_| JwkError::Halves)?;
                if derived.bytes() != x {
                    return Err(JwkError::Halves);
                }
                key
            }
        };
        check_alg(&json, key.algorithm())?;
        check_purpose(&json, "sign")?;
        let kid = read_kid(&json)?.map(str::to_owned);
        Ok(Self { key, kid })
    }

    /// A key that was made here, named by its thumbprint (RFC 7638).
    pub fn named_by_thumbprint(key: PrivateKey) -> Result<Self, JwkError> {
        let public = key.public().map_err(|_| JwkError::Halves)?;
        Ok(Self { kid: Some(thumbprint(&public)), key })
    }

    /// The private key.
    pub fn key(&self) -> &PrivateKey {
        &self.key
    }

    /// The private key, kept.
    pub fn into_key(self) -> PrivateKey {
        self.key
    }

    /// The `kid`, if it has one.
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// The public half, to publish or to register.
    pub fn public(&self) -> Result<Jwk, JwkError> {
        let key = self.key.public().map_err(|_| JwkError::Halves)?;
        Ok(Jwk { key, kid: self.kid.clone() })
    }
}

impl fmt::Debug for PrivateJwk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrivateJwk").field("kid", &self.kid).finish_non_exhaustive()
    }
}
