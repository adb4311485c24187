//! Signing keys: one per organization and purpose, wrapped at rest, rotating through states.

use accredit_wire::crypto::{Algorithm, PublicKey};
use accredit_wire::ids::{KeyId, OrganizationId};
use accredit_wire::time::Time;
use serde::Serialize;

use crate::context::{Cx, World};
use crate::refusal::{Error, Fault};
use crate::registry::Listed;
use crate::registry::credential::AdminPermission;

/// What a key signs; a key signs one kind of thing only, so that nothing signed for one purpose
/// can be offered for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyPurpose {
    /// Access tokens.
    Token,
    /// Revocation snapshots and deltas.
    Feed,
    /// Checkpoints of the log.
    Log,
}

impl KeyPurpose {
    /// All purposes.
    pub const ALL: [Self; 3] = [Self::Token, Self::Feed, Self::Log];

    /// As stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Feed => "feed",
            Self::Log => "log",
        }
    }

    /// From how it is stored.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|purpose| purpose.as_str() == text)
    }

    /// The algorithm of new keys. Tokens must be verified by whatever a resource server has, and
    /// every JOSE library knows ES256; the other two are read by us and by C2SP's tools.
    pub const fn algorithm(self) -> Algorithm {
        match self {
            Self::Token => Algorithm::Es256,
            Self::Feed | Self::Log => Algorithm::EdDsa,
        }
    }
}

/// Where a key is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyState {
    /// It signs, and is published.
    Active,
    /// It signs no more; what it signed is still believed until it expires.
    Retiring,
    /// Nothing it signed is believed.
    Revoked,
}

impl KeyState {
    /// As stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Retiring => "retiring",
            Self::Revoked => "revoked",
        }
    }

    /// From how it is stored.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Active, Self::Retiring, Self::Revoked]
            .into_iter()
            .find(|state| state.as_str() == text)
    }
}

/// A signing key as it is kept: the private half encrypted.
#[derive(Clone, Debug)]
pub struct SealedKey {
    /// Whose.
    pub org: OrganizationId,
    /// Its id, also the `kid`.
    pub id: KeyId,
    /// What it signs.
    pub purpose: KeyPurpose,
    /// Its algorithm, and no other.
    pub algorithm: Algorithm,
    /// The public half.
    pub public: PublicKey,
    /// PKCS#8 under the root key; see [`crate::vault`].
    pub wrapped: Vec<u8>,
}

/// A signing key and where it is in its life.
#[derive(Clone, Debug)]
pub struct SigningKey {
    /// The key.
    pub sealed: SealedKey,
    /// Its state.
    pub state: KeyState,
    /// When it was made.
    pub created_at: Time,
    /// The row's version.
    pub version: i64,
}

/// A signing key as it is shown.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct SigningKeyView {
    /// Its id, also the `kid`.
    pub id: String,
    /// `token`, `feed` or `log`.
    pub purpose: &'static str,
    /// `ES256` or `EdDSA`.
    pub algorithm: &'static str,
    /// `active`, `retiring` or `revoked`.
    pub state: &'static str,
    /// When it was made.
    #[schema(value_type = String)]
    pub created_at: Time,
}

/// Makes a new active key.
pub async fn generate(
    world: &World,
    org: OrganizationId,
    purpose: KeyPurpose,
    now: Time,
) -> Result<SigningKey, Fault> {
    let id = KeyId::new(now.millis(), world.random());
    let sealed = world.vault.generate(org, id, purpose, purpose.algorithm()).await?;
    Ok(SigningKey { sealed, state: KeyState::Active, created_at: now, version: 0 })
}

/// The signing keys of the organization.
pub async fn list(cx: &Cx) -> Result<Listed<SigningKeyView>, Error> {
    cx.require(AdminPermission::Read)?;
    let keys = cx.world.store.signing_keys(cx.tenant.id).await?;
    let items = keys
        .iter()
        .map(|key| SigningKeyView {
            id: key.sealed.id.to_string(),
            purpose: key.sealed.purpose.as_str(),
            algorithm: accredit_wire::jose::alg_name(key.sealed.algorithm),
            state: key.state.as_str(),
            created_at: key.created_at,
        })
        .collect();
    Ok(Listed { items, next: None })
}
