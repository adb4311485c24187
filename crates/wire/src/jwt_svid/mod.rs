//! SPIFFE JWT-SVID: who an instance is, as a token for one audience or a few, and on what it hangs.
//!
//! Any library reads `sub`, `aud` and `exp`. What stands under `accredit` is ours: the ids by whose
//! revocation it ends, so that whoever knows the revocation graph says whether it still stands, and nobody
//! keeps a row of it. It grants nothing. The only key that it is checked with is one of the bundle
//! ([`authorities`]), which signs nothing else.
//!
//! Absent on purpose: algorithms other than ES256, which is what we sign with (those of other trust domains
//! are [`authorities`]' work); EdDSA, which the standard does not know; the JSON serialization.

pub mod authorities;

#[cfg(test)]
mod tests;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::crypto::Algorithm;
use crate::ids::{
    AgentId, AnyId, CredentialId, InstanceId, KeyId, OrganizationId, PersonId, TokenId,
};
use crate::jose::alg_is;
use crate::jose::jwk::JwkSet;
use crate::jose::jws::{JwsError, ProtectedHeader, TypRule, Unverified};
use crate::jose::jwt::{self, Claims};
use crate::token::LINEAGE_MAX;

/// The `typ` that we write (JWT-SVID section 2.1.3); read are it, `JOSE` and none.
pub const TYPE: &str = "JWT";
/// The types that are read (section 2.1.3).
const TYP: TypRule = TypRule::JwtJoseOrAbsent;
/// The `use` of its keys in a bundle (JWT-SVID section 4.1).
pub const KEY_USE: &str = "jwt-svid";
/// The most audiences that we write. The standard advises one: whoever of them has it can show it to the
/// others.
pub const AUDIENCES_MAX: usize = 4;
/// The longest audience that we write, bytes.
pub const AUDIENCE_BYTES_MAX: usize = 256;
/// The version of the `accredit` object that is written and read here.
const ACCREDIT_VERSION: u8 = 1;

/// Whether a text may be an audience: visible ASCII, so that several stand in one line.
pub fn is_audience(text: &str) -> bool {
    (1..=AUDIENCE_BYTES_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// What a JWT-SVID of ours says, and the id of the key that signed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtSvid {
    /// `sub`: the instance's SPIFFE ID.
    pub spiffe_id: String,
    /// `aud`: for whom it is, 1 to [`AUDIENCES_MAX`].
    pub audiences: Vec<String>,
    /// `iat`, seconds.
    pub issued_at: i64,
    /// `exp`, seconds.
    pub expires_at: i64,
    /// `jti`, by which it is revoked.
    pub id: TokenId,
    /// `kid` of the header.
    pub key: KeyId,
    /// The organization.
    pub organization: OrganizationId,
    /// The instance's agent.
    pub agent: AgentId,
    /// Whom it names.
    pub instance: InstanceId,
    /// The credential that it was got with.
    pub credential: CredentialId,
    /// The person who answers for the agent.
    pub owner: PersonId,
    /// Further ids of the lineage: a task, whoever stands before the instance, a certificate.
    pub further: Vec<AnyId>,
    /// The organization's revocation counter as the decision saw it.
    pub rev: u64,
}

/// Why a text is no JWT-SVID of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JwtSvidError {
    /// No token, of no type or algorithm that a JWT-SVID has, or by a key that is none of the bundle.
    Signature(JwsError),
    /// No key of the bundle has its `kid`.
    Key,
    /// Signed, and says something that we do not.
    Claims(&'static str),
}

impl fmt::Display for JwtSvidError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signature(error) => error.fmt(f),
            Self::Key => f.write_str("no key of the bundle has its `kid`"),
            Self::Claims(what) => write!(f, "`{what}` is missing, malformed or unknown"),
        }
    }
}

impl std::error::Error for JwtSvidError {}

/// The claims as they are written.
#[derive(Serialize)]
struct Written<'a> {
    sub: &'a str,
    aud: &'a [String],
    iat: i64,
    exp: i64,
    jti: TokenId,
    accredit: Accredit,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Accredit {
    v: u8,
    lin: Vec<AnyId>,
    rev: u64,
}

impl JwtSvid {
    /// The header under a key of ours.
    pub fn header(key: KeyId) -> Result<ProtectedHeader, JwsError> {
        ProtectedHeader::new(TYPE, Algorithm::Es256, Some(&key.to_string()))
    }

    /// Every id whose revocation ends it.
    pub fn lineage(&self) -> Vec<AnyId> {
        let mut lineage = self.own().to_vec();
        lineage.extend([self.key.any(), self.id.any()]);
        lineage.extend(&self.further);
        lineage
    }

    /// Those that stand in `lin` in their places.
    fn own(&self) -> [AnyId; 5] {
        [
            self.organization.any(),
            self.agent.any(),
            self.instance.any(),
            self.credential.any(),
            self.owner.any(),
        ]
    }

    /// The payload to be signed: compact JSON. Nothing, where it hangs on more than is read back.
    pub fn to_payload(&self) -> Option<Vec<u8>> {
        let lin: Vec<AnyId> = self.own().into_iter().chain(self.further.iter().copied()).collect();
        if lin.len() > LINEAGE_MAX {
            return None;
        }
        let accredit = Accredit { v: ACCREDIT_VERSION, lin, rev: self.rev };
        let written = Written {
            sub: &self.spiffe_id,
            aud: &self.audiences,
            iat: self.issued_at,
            exp: self.expires_at,
            jti: self.id,
            accredit,
        };
        serde_json::to_vec(&written).ok()
    }

    /// Reads one that a key of `keys` signed. Says nothing of time, audience and standing.
    pub fn read(token: &str, keys: &JwkSet) -> Result<Self, JwtSvidError> {
        let unverified = Unverified::parse(token).map_err(JwtSvidError::Signature)?;
        let key = unverified.peek_unverified_kid().and_then(|kid| keys.find(Some(kid)));
        let key = key.ok_or(JwtSvidError::Key)?;
        let id = key.kid.parse().map_err(|_| JwtSvidError::Key)?;
        // Section 2.1.1: of the algorithms that it may have, ours; whatever key has the `kid`.
        let alg = unverified.peek_unverified_alg();
        if !alg_is(Algorithm::Es256, alg) {
            let found = crate::json::quoted(alg);
            return Err(JwtSvidError::Signature(JwsError::Alg { found, expected: "ES256" }));
        }
        let verified = unverified.verify(key, TYP).map_err(JwtSvidError::Signature)?;
        Self::parse(verified.payload(), id)
    }

    /// Reads the claims of a payload whose signature was made by `key`.
    pub fn parse(payload: &[u8], key: KeyId) -> Result<Self, JwtSvidError> {
        let claims = Claims::parse(payload).map_err(|_| JwtSvidError::Claims("claims"))?;
        let wrong = |what| move || JwtSvidError::Claims(what);
        let accredit = claims.get("accredit").ok_or_else(wrong("accredit"))?;
        let accredit = Accredit::deserialize(accredit).map_err(|_| wrong("accredit")())?;
        if accredit.v != ACCREDIT_VERSION || accredit.lin.len() > LINEAGE_MAX {
            return Err(wrong("accredit")());
        }
        let mut lineage = accredit.lin.into_iter();
        let audiences: Vec<String> = claims.aud().map(str::to_owned).collect();
        if !(1..=AUDIENCES_MAX).contains(&audiences.len()) {
            return Err(wrong("aud")());
        }
        Ok(Self {
            spiffe_id: claims.sub().ok_or_else(wrong("sub"))?.to_owned(),
            audiences,
            issued_at: claims.iat().ok_or_else(wrong("iat"))?.seconds(),
            expires_at: claims.exp().ok_or_else(wrong("exp"))?.seconds(),
            id: claims.jti().and_then(|jti| jti.parse().ok()).ok_or_else(wrong("jti"))?,
            key,
            organization: next(&mut lineage)?,
            agent: next(&mut lineage)?,
            instance: next(&mut lineage)?,
            credential: next(&mut lineage)?,
            owner: next(&mut lineage)?,
            further: lineage.collect(),
            rev: accredit.rev,
        })
    }
}

fn next<T: TryFrom<AnyId>>(ids: &mut impl Iterator<Item = AnyId>) -> Result<T, JwtSvidError> {
    let id = ids.next().and_then(|id| T::try_from(id).ok());
    id.ok_or(JwtSvidError::Claims("lin"))
}

const _: () =
    assert!(AUDIENCES_MAX <= jwt::AUDIENCES_MAX && AUDIENCE_BYTES_MAX <= jwt::NAME_BYTES_MAX);
