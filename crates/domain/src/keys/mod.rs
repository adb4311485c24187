//! Signing keys: wrapped at rest, rotating through the slots next, active, retiring and retired,
//! or revoked.
//!
//! One key of a purpose is active. Of each purpose another is next: published before
//! it signs, so that whoever keeps a copy of the key set has it in time. See [`rotation`].

pub mod held;
pub mod rotation;

use accredit_wire::crypto::{Algorithm, PublicKey};
use accredit_wire::ids::{KeyId, OrganizationId};
use accredit_wire::time::Time;
use accredit_wire::tlog::succession;
use serde::Serialize;

use crate::ca;
use crate::context::{Cx, World};
use crate::ports::Page;
use crate::refusal::{Error, Fault};
use crate::registry::credential::AdminPermission;
use crate::registry::{Listed, known_state};

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
    /// Attenuable tokens: the authority blocks of Biscuits.
    Biscuit,
    /// Certificates of the authority of its organization, or of the installation, its own among them; see
    /// [`crate::ca`].
    CaRoot,
    /// Certificates of instances.
    Ca,
    /// JWT-SVIDs of instances.
    JwtSvid,
}

impl KeyPurpose {
    /// All purposes.
    pub const ALL: [Self; 7] =
        [Self::Token, Self::Feed, Self::Log, Self::Biscuit, Self::CaRoot, Self::Ca, Self::JwtSvid];

    /// As stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Feed => "feed",
            Self::Log => "log",
            Self::Biscuit => "biscuit",
            Self::CaRoot => "ca-root",
            Self::Ca => "ca",
            Self::JwtSvid => "jwt-svid",
        }
    }

    /// From how it is stored.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|purpose| purpose.as_str() == text)
    }

    /// The algorithm of new keys. Tokens must be verified by whatever a resource server has, and
    /// every JOSE library knows ES256; JWT-SVIDs as well, which have no EdDSA; certificates by every TLS stack; the others are read by us, by C2SP's tools and by Biscuit's,
    /// whose Ed25519 leaves nobody two signatures to choose from.
    pub const fn algorithm(self) -> Algorithm {
        match self {
            Self::Token | Self::CaRoot | Self::Ca | Self::JwtSvid => Algorithm::Es256,
            Self::Feed | Self::Log | Self::Biscuit => Algorithm::EdDsa,
        }
    }
}

/// Where a key is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyState {
    /// It is published, and signs nothing yet; one of the log signs along.
    Next,
    /// It signs, and is published.
    Active,
    /// It is still published; what it signed is believed. It signs no more; one of the log signs
    /// along.
    Retiring,
    /// It is published no more.
    Retired,
    /// Nothing it signed is believed.
    Revoked,
}

impl KeyState {
    /// Every state.
    pub const ALL: [Self; 5] =
        [Self::Next, Self::Active, Self::Retiring, Self::Retired, Self::Revoked];

    /// As stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Next => "next",
            Self::Active => "active",
            Self::Retiring => "retiring",
            Self::Retired => "retired",
            Self::Revoked => "revoked",
        }
    }

    /// From how it is stored.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Next, Self::Active, Self::Retiring, Self::Retired, Self::Revoked]
            .into_iter()
            .find(|state| state.as_str() == text)
    }
}

/// A signing key as it is kept: the private half encrypted.
#[derive(Clone, Debug)]
pub struct SealedKey {
    /// Whose; nobody's where it is the installation's own.
    pub org: Option<OrganizationId>,
    /// Its id, also the `kid`.
    pub id: KeyId,
    /// What it signs.
    pub purpose: KeyPurpose,
    /// Its algorithm, and no other.
    pub algorithm: Algorithm,
    /// The public half.
    pub public: PublicKey,
    /// Under which of the store's root keys it is wrapped.
    pub root: u32,
    /// PKCS#8 under the root key, see [`crate::vault`]; or which object of a token it is, see [`held`].
    pub wrapped: Vec<u8>,
}

impl SealedKey {
    /// The organization whose it is.
    pub(crate) fn organization(&self) -> Result<OrganizationId, Fault> {
        self.org.ok_or_else(|| Fault::new("signing keys", format!("{} is of nobody", self.id)))
    }
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
    /// When it came into its state; nothing where it was made in it.
    pub changed_at: Option<Time>,
    /// For a key of the log that has a predecessor: the signed note in which that one names it. For
    /// one of the certificate authority: its certificate ([`crate::ca::Certified`]).
    pub statement: Option<String>,
    /// The row's version.
    pub version: i64,
}

/// A signing key as it is shown.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct SigningKeyView {
    /// Its id, also the `kid`.
    pub id: String,
    /// `token`, `feed`, `log`, `biscuit`, `ca-root`, `ca` or `jwt-svid`.
    pub purpose: &'static str,
    /// `ES256` or `EdDSA`.
    pub algorithm: &'static str,
    /// `next`, `active`, `retiring`, `retired` or `revoked`.
    pub state: &'static str,
    /// Where its private half is: `software`, wrapped in the store, or `pkcs11`, in a token that never
    /// gives it out.
    pub held: &'static str,
    /// When it was made.
    #[schema(value_type = String)]
    pub created_at: Time,
    /// When it came into its state; nothing where it was made in it.
    #[schema(value_type = Option<String>)]
    pub changed_at: Option<Time>,
}

impl SigningKey {
    /// As it is shown.
    pub fn view(&self) -> SigningKeyView {
        SigningKeyView {
            id: self.sealed.id.to_string(),
            purpose: self.sealed.purpose.as_str(),
            algorithm: accredit_wire::jose::alg_name(self.sealed.algorithm),
            state: self.state.as_str(),
            held: self.sealed.held().as_str(),
            created_at: self.created_at,
            changed_at: self.changed_at,
        }
    }

    /// Whether its private half is to be in a token at `now`: it was made there, and it signs or may come
    /// to sign. An intermediate that is retired signs what is said of its certificates until they are over.
    pub fn is_needed_in_token(&self, now: Time) -> bool {
        let is_needed = match self.state {
            KeyState::Next | KeyState::Active | KeyState::Retiring => true,
            KeyState::Retired => {
                let since = self.changed_at.unwrap_or(self.created_at);
                self.sealed.purpose == KeyPurpose::Ca && since.plus(ca::INTERMEDIATE_LIFE) > now
            }
            KeyState::Revoked => false,
        };
        is_needed && self.sealed.held() == held::Held::Pkcs11
    }

    /// The key in another state from `now` on.
    #[must_use]
    pub fn turned(self, state: KeyState, now: Time) -> Self {
        Self { state, changed_at: Some(now), ..self }
    }
}

/// Makes the first keys of a purpose: one that signs, and one that follows it one day. Those of an
/// intermediate need a root, which is among `before`.
pub async fn first(
    world: &World,
    (org, issuer): (OrganizationId, &str),
    purpose: KeyPurpose,
    before: &[SigningKey],
    now: Time,
) -> Result<[SigningKey; 2], Fault> {
    let active = generate(world, org, purpose, KeyState::Active, now).await?;
    let active = match purpose {
        KeyPurpose::CaRoot => ca::self_signed(world, issuer, active, now).await?,
        KeyPurpose::Ca => {
            let root = of(before, KeyPurpose::CaRoot).rfind(|key| key.state == KeyState::Active);
            let root = root.ok_or_else(|| Fault::new("signing keys", "no root to sign with"))?;
            ca::signed_by(world, issuer, root, active, now).await?
        }
        KeyPurpose::Token
        | KeyPurpose::Feed
        | KeyPurpose::Log
        | KeyPurpose::Biscuit
        | KeyPurpose::JwtSvid => active,
    };
    let next = generate_next(world, issuer, &active.sealed, now).await?;
    Ok([active, next])
}

/// Makes a new key in a state: active, or next.
pub async fn generate(
    world: &World,
    org: OrganizationId,
    purpose: KeyPurpose,
    state: KeyState,
    now: Time,
) -> Result<SigningKey, Fault> {
    let id = KeyId::new(now.millis(), world.random());
    generate_as(world, (org, id), purpose, state, now).await
}

async fn generate_as(
    world: &World,
    (org, id): (OrganizationId, KeyId),
    purpose: KeyPurpose,
    state: KeyState,
    now: Time,
) -> Result<SigningKey, Fault> {
    let sealed = world.vault.generate(Some(org), id, purpose, purpose.algorithm()).await?;
    Ok(SigningKey { sealed, state, created_at: now, changed_at: None, statement: None, version: 0 })
}

/// Makes a key that follows `predecessor` one day. A key of the log is named by its predecessor, so
/// that whoever holds the log to that one believes this one, too.
pub async fn generate_next(
    world: &World,
    issuer: &str,
    predecessor: &SealedKey,
    now: Time,
) -> Result<SigningKey, Fault> {
    let (org, purpose) = (predecessor.organization()?, predecessor.purpose);
    // Keys are told in the order of their ids, and whoever is led from key to key needs them in the
    // order in which they followed one another, whatever was done to the clock.
    let millis = now.millis().max(predecessor.id.millis() + 1);
    let id = KeyId::new(millis, world.random());
    let next = generate_as(world, (org, id), purpose, KeyState::Next, now).await?;
    match purpose {
        KeyPurpose::Token
        | KeyPurpose::Feed
        | KeyPurpose::Biscuit
        | KeyPurpose::Ca
        | KeyPurpose::JwtSvid => {
            return Ok(next);
        }
        KeyPurpose::CaRoot => return ca::self_signed(world, issuer, next, now).await,
        KeyPurpose::Log => {}
    }
    let failed = |error| Fault::new("name a log key", error);
    let name = succession::log_name(issuer);
    let text = succession::text(&name, &next.sealed.public).map_err(failed)?;
    let signature = world.vault.sign(predecessor, text.as_bytes()).await?;
    let (old, new) = (&predecessor.public, &next.sealed.public);
    let statement = succession::statement(&name, old, new, &signature).map_err(failed)?;
    Ok(SigningKey { statement: Some(statement), ..next })
}

/// Those of a purpose.
pub(crate) fn of(
    keys: &[SigningKey],
    purpose: KeyPurpose,
) -> impl DoubleEndedIterator<Item = &SigningKey> + Clone {
    keys.iter().filter(move |key| key.sealed.purpose == purpose)
}

/// The signing keys of the organization.
pub async fn list(cx: &Cx, page: Page) -> Result<Listed<SigningKeyView>, Error> {
    cx.require(AdminPermission::Read)?;
    known_state(&page, &KeyState::ALL.map(KeyState::as_str))?;
    // All of them are read: there are as many as were ever rotated.
    let mut keys = cx.world.store.signing_keys(cx.tenant.id).await?;
    keys.retain(|key| {
        let state = page.state.as_ref().is_none_or(|state| state == key.state.as_str());
        state && page.created.holds(key.created_at)
    });
    let listed = Listed::of(keys, &page, |key| key.sealed.id.to_string());
    Ok(listed.shown(|key| key.view()))
}
