//! RFC 7515: JSON Web Signature, compact serialization only.
//!
//! [`Unverified`] is what a stranger sent; [`Unverified::verify`] is the only way to a
//! [`Verified`], and only that gives out the payload. The algorithm is the key's: the header's
//! `alg` has to equal it and chooses nothing. `jku`, `x5u`, `jwk` and `x5c` are never followed;
//! `crit` and `b64` are refused, since nothing critical is understood here.
//!
//! Signing is in two steps, [`SigningInput::new`] and [`SigningInput::finish`], because the key
//! vault in between may be a remote one.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use serde::Deserialize;

use super::foreign_keys::ForeignKey;
use super::issuer_keys::IssuerKey;
use super::jwk::{Jwk, VerifyingKey};
use super::jwt::{Claims, ClaimsError};
use super::{
    KID_BYTES_MAX, TOKEN_BYTES_MAX, alg_is, alg_name, b64url_append, b64url_decode,
    b64url_decode_array, b64url_encode, b64url_len,
};
use crate::crypto::{Algorithm, CryptoError};
use crate::json::{Json, JsonError, quoted};

/// Bytes of a signature of either algorithm.
pub const SIGNATURE_BYTES: usize = 64;

/// Which `typ` (RFC 7515 section 4.1.9) a token must say it is. Compared without regard to case
/// and to a leading `application/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TypRule {
    /// Exactly this type, such as `at+jwt`.
    Required(&'static str),
    /// This type, `JWT`, or none at all: for client assertions, where RFC 7523bis has to live
    /// with clients that came before it.
    RequiredOrAbsent(&'static str),
    /// `JWT`, or none at all: for the tokens of others' issuers that say who a user is (OpenID
    /// Connect Core 1.0 names no type). Whatever says that it is something else is that.
    JwtOrAbsent,
    /// `JWT`, `JOSE`, or none at all: for JWT-SVIDs (section 2.1.3).
    JwtJoseOrAbsent,
}

impl TypRule {
    fn expected(self) -> &'static str {
        match self {
            Self::Required(typ) | Self::RequiredOrAbsent(typ) => typ,
            Self::JwtOrAbsent | Self::JwtJoseOrAbsent => "JWT",
        }
    }

    fn check(self, typ: Option<&str>) -> Result<(), JwsError> {
        let media_type = typ.map(without_application);
        let accepted = match (self, media_type) {
            (Self::Required(expected), Some(found)) => found.eq_ignore_ascii_case(expected),
            (Self::Required(_), None) => false,
            (Self::RequiredOrAbsent(expected), Some(found)) => {
                found.eq_ignore_ascii_case(expected) || found.eq_ignore_ascii_case("JWT")
            }
            (Self::JwtOrAbsent, Some(found)) => found.eq_ignore_ascii_case("JWT"),
            (Self::JwtJoseOrAbsent, Some(found)) => {
                found.eq_ignore_ascii_case("JWT") || found.eq_ignore_ascii_case("JOSE")
            }
            (Self::RequiredOrAbsent(_) | Self::JwtOrAbsent | Self::JwtJoseOrAbsent, None) => true,
        };
        if accepted {
            return Ok(());
        }
        Err(JwsError::Typ { found: typ.map(quoted), expected: self.expected() })
    }
}

fn without_application(typ: &str) -> &str {
    const PREFIX: &str = "application/";
    match typ.split_at_checked(PREFIX.len()) {
        Some((prefix, rest)) if prefix.eq_ignore_ascii_case(PREFIX) => rest,
        _ => typ,
    }
}

/// Which of the three segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Segment {
    /// The first.
    Header,
    /// The second.
    Payload,
    /// The third.
    Signature,
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Header => "header",
            Self::Payload => "payload",
            Self::Signature => "signature",
        })
    }
}

/// Why a token is not accepted, or cannot be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JwsError {
    /// Longer than [`TOKEN_BYTES_MAX`].
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// Not three segments between two dots: the JSON serialization, a JWE, or no token at all.
    NotThreeSegments,
    /// A segment is empty or not strict base64url.
    Encoding(Segment),
    /// The header is not acceptable JSON.
    HeaderJson(JsonError),
    /// The header is JSON, but no object.
    HeaderNotAnObject,
    /// The header lacks `alg`, or it is empty or no string.
    AlgMissing,
    /// `typ` is no string.
    TypNotText,
    /// `kid` is no string, is empty or exceeds [`KID_BYTES_MAX`].
    Kid,
    /// The header has `crit`.
    Crit,
    /// The header has `b64`.
    UnencodedPayload,
    /// `alg` is not the key's.
    Alg {
        /// What the header says, as [`quoted`] repeats it.
        found: String,
        /// The `alg` of what the key verifies.
        expected: &'static str,
    },
    /// `typ` is not what is expected here.
    Typ {
        /// What the header says, as [`quoted`] repeats it.
        found: Option<String>,
        /// What is expected.
        expected: &'static str,
    },
    /// The signature does not have [`SIGNATURE_BYTES`] bytes.
    SignatureLength,
    /// The signature does not hold.
    Signature,
}

impl fmt::Display for JwsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { bytes } => {
                write!(f, "the token has {bytes} bytes; at most {TOKEN_BYTES_MAX} are accepted")
            }
            Self::NotThreeSegments => f.write_str(
                "a token is three segments between two dots; send the compact serialization",
            ),
            Self::Encoding(segment) => write!(
                f,
                "the {segment} is empty or not base64url; send no padding and no whitespace"
            ),
            Self::HeaderJson(error) => write!(f, "in the header: {error}"),
            Self::HeaderNotAnObject => f.write_str("the header is not a JSON object"),
            Self::AlgMissing => f.write_str("the header needs `alg`, a string that is not empty"),
            Self::TypNotText => f.write_str("`typ` in the header must be a string"),
            Self::Kid => {
                write!(f, "`kid` in the header must be a string of 1 to {KID_BYTES_MAX} bytes")
            }
            Self::Crit => f.write_str("`crit` in the header: no extension is understood here"),
            Self::UnencodedPayload => f.write_str("`b64` in the header: leave it out"),
            Self::Alg { found, expected } => {
                write!(f, "`alg` is `{found}`, but this key verifies only `{expected}`")
            }
            Self::Typ { found: Some(found), expected } => {
                write!(f, "`typ` is `{found}`, but only `{expected}` is accepted here")
            }
            Self::Typ { found: None, expected } => {
                write!(f, "the header needs `typ`; only `{expected}` is accepted here")
            }
            Self::SignatureLength => write!(f, "the signature must have {SIGNATURE_BYTES} bytes"),
            Self::Signature => f.write_str("the signature does not hold"),
        }
    }
}

impl std::error::Error for JwsError {}

/// `alg` as the header says it. The usual ones are kept without allocation.
#[derive(Debug)]
enum HeaderAlg {
    Known(&'static str),
    Other(String),
}

impl HeaderAlg {
    fn new(alg: &str) -> Self {
        match ["ES256", "EdDSA", "Ed25519"].into_iter().find(|known| *known == alg) {
            Some(known) => Self::Known(known),
            None => Self::Other(alg.to_owned()),
        }
    }

    fn as_str(&self) -> &str {
        match self {
            Self::Known(alg) => alg,
            Self::Other(alg) => alg,
        }
    }
}

/// What we use of a protected header.
#[derive(Debug)]
struct Header {
    json: Vec<u8>,
    alg: HeaderAlg,
    typ: Option<String>,
    kid: Option<String>,
}

impl Header {
    fn parse(bytes: Vec<u8>) -> Result<Self, JwsError> {
        let json = Json::parse(&bytes, TOKEN_BYTES_MAX).map_err(JwsError::HeaderJson)?;
        let (mut alg, mut typ, mut kid) = (None, None, None);
        for (name, value) in json.as_object().ok_or(JwsError::HeaderNotAnObject)? {
            match name.as_ref() {
                "alg" => alg = value.as_str().filter(|alg| !alg.is_empty()).map(HeaderAlg::new),
                "typ" => typ = Some(value.as_str().ok_or(JwsError::TypNotText)?.to_owned()),
                "kid" => kid = Some(kid_of(value).ok_or(JwsError::Kid)?.to_owned()),
                "crit" => return Err(JwsError::Crit),
                "b64" => return Err(JwsError::UnencodedPayload),
                _ => {}
            }
        }
        let alg = alg.ok_or(JwsError::AlgMissing)?;
        drop(json);
        Ok(Self { json: bytes, alg, typ, kid })
    }
}

/// The `kid` in a value, where it is one.
pub(super) fn kid_of<'j>(value: &'j Json<'_>) -> Option<&'j str> {
    value.as_str().filter(|kid| (1..=KID_BYTES_MAX).contains(&kid.len()))
}

/// A token that was taken apart and not believed. Its text outlives it.
#[derive(Debug)]
pub struct Unverified<'a> {
    text: &'a str,
    /// What the signature covers: the text up to the second dot.
    signed: &'a str,
    header: Header,
    payload: Vec<u8>,
    /// `None` where its length is not one that we verify.
    signature: Option<[u8; SIGNATURE_BYTES]>,
}

impl<'a> Unverified<'a> {
    /// Takes a compact serialization apart: strict base64url, strict JSON in the header.
    pub fn parse(text: &'a str) -> Result<Self, JwsError> {
        if text.len() > TOKEN_BYTES_MAX {
            return Err(JwsError::TooLong { bytes: text.len() });
        }
        Self::parse_unbounded(text)
    }

    /// [`Unverified::parse`] of a text whose length the caller has bounded: a snapshot of the
    /// revocation graph is larger than any token.
    pub(crate) fn parse_unbounded(text: &'a str) -> Result<Self, JwsError> {
        let (header, rest) = text.split_once('.').ok_or(JwsError::NotThreeSegments)?;
        let (payload, signature) = rest.split_once('.').ok_or(JwsError::NotThreeSegments)?;
        if signature.contains('.') {
            return Err(JwsError::NotThreeSegments);
        }
        let signed = &text[..header.len() + 1 + payload.len()];
        let header = decode(Segment::Header, header)?;
        let payload = decode(Segment::Payload, payload)?;
        let signature = decode_signature(signature)?;
        Ok(Self { text, signed, header: Header::parse(header)?, payload, signature })
    }

    /// The header's `kid`, at most [`KID_BYTES_MAX`] bytes: an opaque string for a look-up among
    /// the issuer's own keys, never a path or a URL.
    pub fn peek_unverified_kid(&self) -> Option<&str> {
        self.header.kid.as_deref()
    }

    /// The header's `alg`.
    pub fn peek_unverified_alg(&self) -> &str {
        self.header.alg.as_str()
    }

    /// The header's `typ`.
    pub fn peek_unverified_typ(&self) -> Option<&str> {
        self.header.typ.as_deref()
    }

    /// The header's JSON, for DPoP's `jwk` (RFC 9449 section 4.2) only: a key that the token
    /// brings along proves nothing by itself.
    pub fn peek_unverified_header(&self) -> &[u8] {
        &self.header.json
    }

    /// The payload's `iss`, to choose among the *configured* issuers. `None` where there is no
    /// such string; [`Claims`] checks it properly after the signature.
    pub fn peek_unverified_issuer(&self) -> Option<Cow<'_, str>> {
        self.peek().and_then(|names| names.iss)
    }

    /// The payload's `sub`, to find a client's keys. `None` where there is no such string.
    pub fn peek_unverified_subject(&self) -> Option<Cow<'_, str>> {
        self.peek().and_then(|names| names.sub)
    }

    fn peek(&self) -> Option<Names<'_>> {
        serde_json::from_slice(&self.payload).ok()
    }

    /// Checks `alg`, `typ` and the signature, in this order.
    pub fn verify(self, key: &VerifyingKey, typ: TypRule) -> Result<Verified<'a>, JwsError> {
        let expected = key.key.algorithm();
        let alg = self.header.alg.as_str();
        if !alg_is(expected, alg) {
            return Err(JwsError::Alg { found: quoted(alg), expected: alg_name(expected) });
        }
        typ.check(self.header.typ.as_deref())?;
        let signature = self.signature.ok_or(JwsError::SignatureLength)?;
        key.key.verify(self.signed.as_bytes(), &signature).map_err(|_| JwsError::Signature)?;
        Ok(Verified { text: self.text, header: self.header, payload: self.payload })
    }

    /// As [`Unverified::verify`], by a key of somebody else's issuer, which may be an RSA key.
    pub fn verify_by_issuer(self, key: &IssuerKey, typ: TypRule) -> Result<Verified<'a>, JwsError> {
        if !key.is_alg(self.header.alg.as_str()) {
            return Err(self.other_alg(key.alg()));
        }
        self.verify_by(typ, |signed, signature| key.verify(signed, signature))
    }

    /// As [`Unverified::verify`], by a key of another trust domain, which may verify several algorithms.
    pub fn verify_by_foreign(
        self,
        key: &ForeignKey,
        typ: TypRule,
    ) -> Result<Verified<'a>, JwsError> {
        let Some(way) = key.way(self.header.alg.as_str()) else {
            return Err(self.other_alg(key.usual_alg()));
        };
        self.verify_by(typ, |signed, signature| way.verify(signed, signature))
    }

    fn other_alg(&self, expected: &'static str) -> JwsError {
        JwsError::Alg { found: quoted(self.header.alg.as_str()), expected }
    }

    /// Checks `typ` and a signature whose length is the key's to judge; that it is base64url was checked.
    fn verify_by(
        self,
        typ: TypRule,
        verify: impl FnOnce(&[u8], &[u8]) -> Result<(), CryptoError>,
    ) -> Result<Verified<'a>, JwsError> {
        typ.check(self.header.typ.as_deref())?;
        let signature = match self.signature {
            Some(signature) => signature.to_vec(),
            None => decode(Segment::Signature, &self.text[self.signed.len() + 1..])?,
        };
        verify(self.signed.as_bytes(), &signature).map_err(|_| JwsError::Signature)?;
        Ok(Verified { text: self.text, header: self.header, payload: self.payload })
    }
}

/// The two claims that may be looked at before the signature. Everything else is skipped.
#[derive(Deserialize)]
struct Names<'a> {
    #[serde(borrow, default)]
    iss: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    sub: Option<Cow<'a, str>>,
}

fn decode(segment: Segment, text: &str) -> Result<Vec<u8>, JwsError> {
    match b64url_decode(text) {
        Ok(bytes) if !bytes.is_empty() => Ok(bytes),
        Ok(_) | Err(_) => Err(JwsError::Encoding(segment)),
    }
}

/// The signature may be empty here, so that `alg: none` is refused for what it is.
fn decode_signature(text: &str) -> Result<Option<[u8; SIGNATURE_BYTES]>, JwsError> {
    let wrong = |_| JwsError::Encoding(Segment::Signature);
    if text.len() == b64url_len(SIGNATURE_BYTES) {
        return b64url_decode_array(text).map(Some).map_err(wrong);
    }
    b64url_decode(text).map(|_| None).map_err(wrong)
}

/// A token whose signature, algorithm and type hold. Says nothing about time, audience, standing.
#[derive(Debug)]
pub struct Verified<'a> {
    text: &'a str,
    header: Header,
    payload: Vec<u8>,
}

impl<'a> Verified<'a> {
    /// The token as it was sent.
    pub fn text(&self) -> &'a str {
        self.text
    }

    /// The header's `kid`.
    pub fn kid(&self) -> Option<&str> {
        self.header.kid.as_deref()
    }

    /// The header's `typ` as it was written.
    pub fn typ(&self) -> Option<&str> {
        self.header.typ.as_deref()
    }

    /// The header's JSON, for the members that a profile defines.
    pub fn header(&self) -> Result<Json<'_>, JsonError> {
        Json::parse(&self.header.json, TOKEN_BYTES_MAX)
    }

    /// The payload's bytes.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The payload's bytes, kept.
    pub fn into_payload(self) -> Vec<u8> {
        self.payload
    }

    /// The payload as RFC 7519 claims.
    pub fn claims(&self) -> Result<Claims<'_>, ClaimsError> {
        Claims::parse(&self.payload)
    }
}

/// A header that is the same for all tokens of one type under one key, encoded once.
#[derive(Clone, Debug)]
pub struct ProtectedHeader {
    algorithm: Algorithm,
    /// base64url and the dot that follows.
    encoded: String,
}

impl ProtectedHeader {
    /// The header `{"alg", "typ", "kid"}`.
    pub fn new(typ: &str, algorithm: Algorithm, kid: Option<&str>) -> Result<Self, JwsError> {
        Self::from_members(typ, algorithm, kid, None)
    }

    /// The header `{"alg", "typ", "jwk"}` of a DPoP proof (RFC 9449 section 4.2).
    pub fn with_jwk(typ: &str, jwk: &Jwk) -> Result<Self, JwsError> {
        Self::from_members(typ, jwk.key().algorithm(), None, Some(jwk))
    }

    fn from_members(
        typ: &str,
        algorithm: Algorithm,
        kid: Option<&str>,
        jwk: Option<&Jwk>,
    ) -> Result<Self, JwsError> {
        if kid.is_some_and(|kid| !(1..=KID_BYTES_MAX).contains(&kid.len())) {
            return Err(JwsError::Kid);
        }
        let mut json =
            format!("{{\"alg\":\"{}\",\"typ\":{}", alg_name(algorithm), json_string(typ));
        if let Some(kid) = kid {
            json.push_str(",\"kid\":");
            json.push_str(&json_string(kid));
        }
        if let Some(jwk) = jwk {
            json.push_str(",\"jwk\":");
            json.push_str(&jwk.bare_json());
        }
        json.push('}');
        let mut encoded = b64url_encode(json.as_bytes());
        encoded.push('.');
        Ok(Self { algorithm, encoded })
    }

    /// The algorithm with which the input is to be signed.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

/// `text` as a JSON string. Escapes what RFC 8259 section 7 demands and nothing else.
fn json_string(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            '\0'..='\x1f' => {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{:04x}", u32::from(character));
            }
            _ => out.push(character),
        }
    }
    out.push('"');
    out
}

/// A token but for its signature, in a buffer that has room for it.
#[derive(Debug)]
pub struct SigningInput {
    token: String,
}

impl SigningInput {
    /// Joins a header and a payload. The error is [`JwsError::TooLong`]: we make no token that
    /// we would not accept.
    pub fn new(header: &ProtectedHeader, payload: &[u8]) -> Result<Self, JwsError> {
        let signature = 1 + b64url_len(SIGNATURE_BYTES);
        let bytes = header.encoded.len() + b64url_len(payload.len()) + signature;
        if bytes > TOKEN_BYTES_MAX {
            return Err(JwsError::TooLong { bytes });
        }
        Ok(Self::new_unbounded(header, payload))
    }

    /// [`SigningInput::new`] of a payload whose length the caller has bounded.
    pub(crate) fn new_unbounded(header: &ProtectedHeader, payload: &[u8]) -> Self {
        let signature = 1 + b64url_len(SIGNATURE_BYTES);
        let bytes = header.encoded.len() + b64url_len(payload.len()) + signature;
        let mut token = String::with_capacity(bytes);
        token.push_str(&header.encoded);
        b64url_append(payload, &mut token);
        Self { token }
    }

    /// What is to be signed.
    pub fn bytes(&self) -> &[u8] {
        self.token.as_bytes()
    }

    /// The token.
    pub fn finish(mut self, signature: &[u8; SIGNATURE_BYTES]) -> String {
        self.token.push('.');
        b64url_append(signature, &mut self.token);
        self.token
    }
}
