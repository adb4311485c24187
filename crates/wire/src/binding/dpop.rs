//! RFC 9449: demonstrating proof of possession. A proof is a JWT signed by the key that it brings
//! along, made for one request: its method, its URI, its moment and, at a resource, its token.
//!
//! [`Proof::check`] reads one; whether it was seen before is [`super::replay`]'s, which needs a
//! memory. [`ProofKey`] makes them. What the proof's key may do is not said here: the caller compares
//! [`Proof::key`] with the `cnf` of a token, or binds a new token to it.
//!
//! Absent on purpose: RSA keys, a key by reference, and the request's own `Host`: the URI to compare
//! with is given.

use std::fmt;
use std::time::Duration;

use super::Thumbprint;
use super::nonce::{NONCE_BYTES_MAX, Nonces};
use super::uri::{Target, UriError};
use crate::biscuit::{Held, HolderKey, NarrowError, Narrowing};
use crate::crypto::{CryptoError, PrivateKey, equal_in_constant_time, sha256, sha256_of};
use crate::jose::jwk::{Jwk, JwkError, VerifyingKey};
use crate::jose::jws::{JwsError, ProtectedHeader, SigningInput, TypRule, Unverified};
use crate::jose::jwt::{Claims, ClaimsError};
use crate::jose::{TOKEN_BYTES_MAX, b64url_decode_array, b64url_encode};
use crate::json::Json;
use crate::oauth::errors::ErrorCode;
use crate::time::Time;
use crate::token::{push, push_string};

/// The `typ` of a proof's header (RFC 9449 section 4.2).
pub const PROOF_TYPE: &str = "dpop+jwt";

/// The name of the header that carries a proof, as it is compared.
pub const PROOF_HEADER: &str = "dpop";

/// The name of the header that gives a nonce, as it is compared.
pub const NONCE_HEADER: &str = "dpop-nonce";

/// The algorithms of proofs (RFC 9449 section 5.1, `dpop_signing_alg_values_supported`).
pub const PROOF_ALGORITHMS: [&str; 2] = ["ES256", "EdDSA"];

/// The longest proof, in bytes: a key, the longest URI and claims of usual length.
pub const PROOF_BYTES_MAX: usize = 4096;

/// By how much a proof's `iat` may differ from our time, on either side: what clocks may differ by,
/// and the time in which a proof must be remembered.
pub const PROOF_WINDOW_MAX: Duration = Duration::from_mins(1);

/// Whether a proof needs a nonce. One that has a nonce needs one of ours in any case.
#[derive(Clone, Copy, Debug)]
pub enum NonceRule<'a> {
    /// It may come without.
    Accepted(&'a Nonces),
    /// It may not.
    Required(&'a Nonces),
}

/// What a proof must have been made for.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The request's method, compared exactly.
    pub method: &'a str,
    /// Where the request went, as we know ourselves.
    pub target: &'a Target,
    /// The token that came with it: at a resource always, at the token endpoint never.
    pub token: Option<&'a str>,
    /// Whether a nonce is needed.
    pub nonces: NonceRule<'a>,
}

/// A proof that holds. Whether it was seen before is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proof {
    key: Thumbprint,
    digest: [u8; 32],
    issued_at: Time,
}

impl Proof {
    /// Reads and checks the proof in the values of *all* `DPoP` headers of a request.
    pub fn check<'v>(
        values: impl IntoIterator<Item = &'v [u8]>,
        expected: &Expected<'_>,
        now: Time,
    ) -> Result<Self, ProofError> {
        Self::check_text(the_one(values)?, expected, now)
    }

    /// Checks one proof, in the order of RFC 9449 section 4.3.
    pub fn check_text(text: &str, expected: &Expected<'_>, now: Time) -> Result<Self, ProofError> {
        if text.len() > PROOF_BYTES_MAX {
            return Err(ProofError::TooLong { bytes: text.len() });
        }
        let unverified = Unverified::parse(text).map_err(ProofError::Malformed)?;
        let key = embedded_key(unverified.peek_unverified_header())?;
        let thumbprint = Thumbprint::of(&key.key);
        let verified = unverified
            .verify(&key, TypRule::Required(PROOF_TYPE))
            .map_err(ProofError::Malformed)?;
        let claims = verified.claims().map_err(ProofError::Claims)?;
        let jti = claims.jti().ok_or(ProofError::Missing("jti"))?;
        if text_claim(&claims, "htm")? != expected.method {
            return Err(ProofError::Method);
        }
        let target = Target::parse(text_claim(&claims, "htu")?).map_err(|_| ProofError::Uri)?;
        if target != *expected.target {
            return Err(ProofError::Uri);
        }
        let issued_at = check_times(&claims, now)?;
        if let Some(token) = expected.token {
            check_token(&claims, token)?;
        }
        check_nonce(&claims, expected.nonces, now)?;
        Ok(Self { digest: digest(&thumbprint, jti, expected), key: thumbprint, issued_at })
    }

    /// The key that made it.
    pub fn key(&self) -> Thumbprint {
        self.key
    }

    /// Names the proof among all that were ever made: a digest of its key, its `jti`, its method
    /// and its URI.
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// Its `iat`.
    pub fn issued_at(&self) -> Time {
        self.issued_at
    }

    /// Until when it must be remembered that it was seen.
    pub fn remembered_until(&self) -> Time {
        self.issued_at.plus(PROOF_WINDOW_MAX)
    }
}

/// The value of the one `DPoP` header.
///
/// RFC 9449 section 4.3: "There is not more than one DPoP HTTP request header field."
pub fn the_one<'v>(values: impl IntoIterator<Item = &'v [u8]>) -> Result<&'v str, ProofError> {
    let mut values = values.into_iter();
    let value = match (values.next(), values.next()) {
        (None, _) => return Err(ProofError::Absent),
        (Some(value), None) => value,
        (Some(_), Some(_)) => return Err(ProofError::Several),
    };
    std::str::from_utf8(value).map_err(|_| ProofError::Malformed(JwsError::NotThreeSegments))
}

/// The public key in a header. It proves nothing by itself.
fn embedded_key(header: &[u8]) -> Result<VerifyingKey, ProofError> {
    let header = Json::parse(header, TOKEN_BYTES_MAX).map_err(|_| ProofError::Missing("jwk"))?;
    let jwk = header.get("jwk").ok_or(ProofError::Missing("jwk"))?;
    let jwk = Jwk::from_json(jwk).map_err(ProofError::Key)?;
    Ok(VerifyingKey { kid: String::new(), key: jwk.key().clone() })
}

fn text_claim<'c>(claims: &'c Claims<'_>, name: &'static str) -> Result<&'c str, ProofError> {
    let value = claims.get(name).ok_or(ProofError::Missing(name))?;
    value.as_str().ok_or(ProofError::Missing(name))
}

/// RFC 9449 section 11.1: within a short window, on either side. `exp` and `nbf` are not of a proof,
/// and yet one that says it is over is over.
fn check_times(claims: &Claims<'_>, now: Time) -> Result<Time, ProofError> {
    let issued_at = claims.iat().ok_or(ProofError::Missing("iat"))?;
    let is_new = now <= issued_at.plus(PROOF_WINDOW_MAX);
    let is_past = issued_at <= now.plus(PROOF_WINDOW_MAX);
    let is_over = claims.exp().is_some_and(|exp| now >= exp.plus(PROOF_WINDOW_MAX));
    let begins = claims.nbf().is_none_or(|nbf| nbf <= now.plus(PROOF_WINDOW_MAX));
    if is_new && is_past && begins && !is_over {
        return Ok(issued_at);
    }
    Err(ProofError::Time { issued_at, now })
}

/// RFC 9449 section 4.3: "the value of the ath claim equals the hash of that access token".
fn check_token(claims: &Claims<'_>, token: &str) -> Result<(), ProofError> {
    let ath = text_claim(claims, "ath")?;
    let ath: [u8; 32] = b64url_decode_array(ath).map_err(|_| ProofError::Token)?;
    if equal_in_constant_time(&ath, &sha256(token.as_bytes())) {
        Ok(())
    } else {
        Err(ProofError::Token)
    }
}

fn check_nonce(claims: &Claims<'_>, rule: NonceRule<'_>, now: Time) -> Result<(), ProofError> {
    let nonces = match (claims.get("nonce"), rule) {
        (None, NonceRule::Accepted(_)) => return Ok(()),
        (None, NonceRule::Required(_)) => return Err(ProofError::Nonce),
        (Some(_), NonceRule::Accepted(nonces) | NonceRule::Required(nonces)) => nonces,
    };
    let nonce = claims.get("nonce").and_then(Json::as_str);
    let is_ours = nonce.is_some_and(|nonce| nonces.takes(nonce, now));
    if is_ours { Ok(()) } else { Err(ProofError::Nonce) }
}

/// The lengths stand before what a caller chose, so that no two proofs make one text.
fn digest(key: &Thumbprint, jti: &str, expected: &Expected<'_>) -> [u8; 32] {
    let lengths = [jti.len(), expected.method.len()].map(|length| (length as u64).to_be_bytes());
    sha256_of(&[
        b"accredit dpop proof 1",
        key.bytes(),
        &lengths[0],
        jti.as_bytes(),
        &lengths[1],
        expected.method.as_bytes(),
        expected.target.as_str().as_bytes(),
    ])
}

/// Why there is no proof, or why it does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProofError {
    /// The request has no `DPoP` header.
    Absent,
    /// It has more than one.
    Several,
    /// Longer than [`PROOF_BYTES_MAX`].
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// Not a signed text of the right type, or its signature does not hold.
    Malformed(JwsError),
    /// The header's `jwk` is not a public key that we take.
    Key(JwkError),
    /// Its claims are not acceptable.
    Claims(ClaimsError),
    /// It lacks this member, or it is not of its type.
    Missing(&'static str),
    /// `htm` is not the method of the request.
    Method,
    /// `htu` is not where the request went.
    Uri,
    /// `iat` is too far from our time.
    Time {
        /// The claim.
        issued_at: Time,
        /// The time it was compared with.
        now: Time,
    },
    /// `ath` is not the hash of the token that came with it.
    Token,
    /// The token is bound to another key.
    OtherKey,
    /// It has no nonce of ours, or one that is over.
    Nonce,
    /// It was seen before.
    Replayed,
    /// Too many proofs are remembered to take another.
    Full,
}

impl ProofError {
    /// The OAuth error code (RFC 9449 sections 5, 7.1, 8 and 9).
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Nonce => ErrorCode::UseDpopNonce,
            Self::Full => ErrorCode::TemporarilyUnavailable,
            Self::Absent
            | Self::Several
            | Self::TooLong { .. }
            | Self::Malformed(_)
            | Self::Key(_)
            | Self::Claims(_)
            | Self::Missing(_)
            | Self::Method
            | Self::Uri
            | Self::Time { .. }
            | Self::Token
            | Self::OtherKey
            | Self::Replayed => ErrorCode::InvalidDpopProof,
        }
    }

    /// The stable name of the rule that was broken.
    pub const fn rule(&self) -> &'static str {
        match self {
            Self::Absent => "dpop-absent",
            Self::Several => "dpop-several",
            Self::TooLong { .. } | Self::Malformed(_) | Self::Claims(_) | Self::Missing(_) => {
                "dpop-malformed"
            }
            Self::Key(_) => "dpop-key",
            Self::Method => "dpop-method",
            Self::Uri => "dpop-uri",
            Self::Time { .. } => "dpop-time",
            Self::Token => "dpop-token",
            Self::OtherKey => "dpop-other-key",
            Self::Nonce => "dpop-nonce",
            Self::Replayed => "dpop-replayed",
            Self::Full => "dpop-full",
        }
    }

    /// What the caller or its developer can do.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Absent => "send a `DPoP` header with a proof for this request (RFC 9449)",
            Self::Several => "send one `DPoP` header",
            Self::TooLong { .. } | Self::Malformed(_) | Self::Claims(_) | Self::Missing(_) => {
                "send a compact JWS of type `dpop+jwt` with `jwk`, `jti`, `htm`, `htu` and `iat`"
            }
            Self::Key(_) => "put the public key into `jwk`: EC on P-256, or Ed25519",
            Self::Method => "set `htm` to the method of the request, in upper case",
            Self::Uri => {
                "set `htu` to the URL of the request without query; the server compares it with \
                 the public URL that its operator configured"
            }
            Self::Time { .. } => {
                "make a new proof for each request, and check this machine's clock"
            }
            Self::Token => "set `ath` to the base64url of the token's SHA-256",
            Self::OtherKey => "sign the proof with the key that the token was got with",
            Self::Nonce => {
                "make a proof with the nonce in this answer's `DPoP-Nonce`, and ask again"
            }
            Self::Replayed => "make a new proof, with a new `jti`, for each request",
            Self::Full => "try again in a minute or two",
        }
    }
}

impl fmt::Display for ProofError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("the request has no DPoP proof"),
            Self::Several => f.write_str("the request has more than one `DPoP` header"),
            Self::TooLong { bytes } => {
                write!(f, "the proof has {bytes} bytes; at most {PROOF_BYTES_MAX} are accepted")
            }
            Self::Malformed(error) => write!(f, "in the proof: {error}"),
            Self::Key(error) => write!(f, "in the proof: {error}"),
            Self::Claims(error) => write!(f, "in the proof: {error}"),
            Self::Missing(name) => write!(f, "the proof needs `{name}`"),
            Self::Method => f.write_str("the proof was made for another method"),
            Self::Uri => f.write_str("the proof was made for another URL"),
            Self::Time { issued_at, now } => {
                write!(f, "the proof was made at {issued_at}, now is {now}")
            }
            Self::Token => f.write_str("the proof was made for another token"),
            Self::OtherKey => f.write_str("the proof is of another key than the token is bound to"),
            Self::Nonce => f.write_str("the proof has no current nonce of this server"),
            Self::Replayed => f.write_str("the proof was used before"),
            Self::Full => f.write_str("too many proofs are remembered to take another one"),
        }
    }
}

impl std::error::Error for ProofError {}

/// A private key that makes proofs, with what is the same in all of them. Wiped when dropped, by the
/// back end that holds it.
pub struct ProofKey {
    private: PrivateKey,
    header: ProtectedHeader,
    thumbprint: Thumbprint,
}

impl fmt::Debug for ProofKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProofKey({})", self.thumbprint)
    }
}

/// A request to make a proof for.
#[derive(Clone, Copy, Debug)]
pub struct ToProve<'a> {
    /// The method.
    pub method: &'a str,
    /// The whole URL. Query and fragment are left out of the proof.
    pub url: &'a str,
    /// The token that goes with it, at a resource.
    pub token: Option<&'a str>,
    /// The nonce that the server gave last.
    pub nonce: Option<&'a str>,
}

impl ProofKey {
    /// Makes proofs with this key.
    pub fn new(private: PrivateKey) -> Result<Self, CryptoError> {
        let jwk = Jwk::new(private.public()?, None).map_err(|_| CryptoError)?;
        let header = ProtectedHeader::with_jwk(PROOF_TYPE, &jwk).map_err(|_| CryptoError)?;
        Ok(Self { thumbprint: Thumbprint::of(jwk.key()), private, header })
    }

    /// What tokens are bound to.
    pub fn thumbprint(&self) -> Thumbprint {
        self.thumbprint
    }

    /// Narrows an attenuable token, and where it is bound to this key hands it on by a signature that
    /// nobody can take for a proof. `random` is fresh.
    pub fn narrow(
        &self,
        held: &Held,
        narrowing: &Narrowing,
        random: &[u8; 32],
    ) -> Result<String, NarrowError> {
        let public = self.private.public().map_err(|_| NarrowError::Key)?;
        let sign = |message: &[u8]| self.private.sign(message);
        held.narrow(narrowing, random, Some(HolderKey { public: &public, sign: &sign }))
    }

    /// A proof for one request at `now`, called by 16 random bytes (RFC 9449 section 4.2 asks for 96
    /// bits).
    pub fn prove(
        &self,
        request: &ToProve<'_>,
        jti: [u8; 16],
        now: Time,
    ) -> Result<String, ProofUnmade> {
        let target = Target::parse(request.url).map_err(ProofUnmade::Url)?;
        if request.nonce.is_some_and(|nonce| nonce.len() > NONCE_BYTES_MAX) {
            return Err(ProofUnmade::Signing);
        }
        let mut claims = String::with_capacity(320);
        push(&mut claims, format_args!("{{\"jti\":\"{}\",\"htm\":", b64url_encode(&jti)));
        push_string(&mut claims, request.method);
        claims.push_str(",\"htu\":");
        push_string(&mut claims, target.as_str());
        push(&mut claims, format_args!(",\"iat\":{}", now.seconds()));
        if let Some(token) = request.token {
            let ath = b64url_encode(&sha256(token.as_bytes()));
            push(&mut claims, format_args!(",\"ath\":\"{ath}\""));
        }
        if let Some(nonce) = request.nonce {
            claims.push_str(",\"nonce\":");
            push_string(&mut claims, nonce);
        }
        claims.push('}');
        let input = SigningInput::new(&self.header, claims.as_bytes());
        let input = input.map_err(|_| ProofUnmade::Signing)?;
        let signature = self.private.sign(input.bytes()).map_err(|_| ProofUnmade::Signing)?;
        Ok(input.finish(&signature))
    }
}

/// Why a proof could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProofUnmade {
    /// The URL of the request is none.
    Url(UriError),
    /// The key could not sign, or the nonce is longer than any.
    Signing,
}

impl fmt::Display for ProofUnmade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(error) => error.fmt(f),
            Self::Signing => f.write_str("the proof of possession could not be signed"),
        }
    }
}

impl std::error::Error for ProofUnmade {}
