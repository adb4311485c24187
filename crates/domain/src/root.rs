//! NIST SP 800-57 part 1, section 5.3: a root key ends, and another one takes its place, without a
//! stop.
//!
//! The order is such that a crash at any moment leaves a store that exactly one file opens: the new
//! key is written beside the old one and synced; all that is wrapped is read and written under it
//! in one transaction, with its events; then the files change their names. Who wrapped a key before
//! and comes to write it afterwards is told that it is stale: the store knows which root key it is
//! under, and each wrapped key says under which it is. It is told only after the vault has the new
//! one in use ([`crate::ports::Observer::rewrapped`]), so that a second try is right.
//!
//! Absent on purpose: a root key in a request, an answer, an event or a log.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use accredit_wire::ids::OrganizationId;
use accredit_wire::time::Time;
use serde::Serialize;

use crate::audit::event::{Body, Event, EventKind};
use crate::context::World;
use crate::keys::SealedKey;
use crate::ports::{CommitError, Entropy, RootKeyPlace};
use crate::refusal::{Error, Fault, Refusal, Rule};
use crate::registry::operator::Operator;
use crate::vault::{NumberedRoot, SoftVault, WrappedPepper};

/// The root key's place, and whether a rotation is under way.
pub struct Root {
    place: Arc<dyn RootKeyPlace>,
    is_under_way: AtomicBool,
}

/// Lets the next rotation begin when it is dropped.
struct Alone<'a>(&'a AtomicBool);

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl Root {
    /// A root key that is kept at this place.
    pub fn new(place: Arc<dyn RootKeyPlace>) -> Self {
        Self { place, is_under_way: AtomicBool::new(false) }
    }

    fn alone(&self) -> Result<Alone<'_>, Refusal> {
        if self.is_under_way.swap(true, Ordering::Acquire) {
            return Err(Refusal::new(
                Rule::StateForbids,
                "another rotation of the root key is under way",
                "wait for that one: it takes moments",
            ));
        }
        Ok(Alone(&self.is_under_way))
    }
}

/// How everything that is wrapped comes from one root key under another, and what is recorded of
/// it. The store carries it out inside its transaction.
pub struct Rewrapping {
    from: NumberedRoot,
    to: NumberedRoot,
    entropy: Arc<dyn Entropy>,
    at: Time,
    body: Body,
}

impl Rewrapping {
    /// From one root key to another at `at`; `body` says who asked for it.
    pub fn new(
        [from, to]: [NumberedRoot; 2],
        entropy: Arc<dyn Entropy>,
        at: Time,
        body: Body,
    ) -> Self {
        Self { from, to, entropy, at, body }
    }

    /// Under which of its root keys the store must be.
    pub fn from(&self) -> u32 {
        self.from.number
    }

    /// Under which it comes.
    pub fn to(&self) -> u32 {
        self.to.number
    }

    /// When it was decided.
    pub fn at(&self) -> Time {
        self.at
    }

    /// A pepper under the new root key. A fault where it is not under the old one.
    pub fn pepper(&self, pepper: &WrappedPepper) -> Result<WrappedPepper, Fault> {
        SoftVault::rewrap_pepper((&self.from.key, &self.to.key), self.entropy.as_ref(), pepper)
    }

    /// A signing key under the new root key. A fault where it is not under the old one.
    pub fn key(&self, key: &SealedKey) -> Result<SealedKey, Fault> {
        SoftVault::rewrap_key((&self.from, &self.to), self.entropy.as_ref(), key)
    }

    /// The event in the log of one organization.
    pub fn event(&self, org: OrganizationId) -> Event {
        let mut salt = [0u8; 16];
        self.entropy.fill(&mut salt);
        let body = Body { target: Some(org.any()), ..self.body.clone() };
        Event::new(EventKind::RootKeyRotated, self.at, salt, body)
    }
}

/// That everything that is wrapped came under another root key.
#[derive(Clone, Debug)]
pub struct Rewrapped {
    /// Under which of the store's.
    pub root: u32,
    /// When it was decided.
    pub at: Time,
    /// Every signing key of an organization as it is wrapped now, those of an organization one after the other.
    pub keys: Vec<SealedKey>,
}

/// A rotation of the root key that is done.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct RotatedRoot {
    /// Which of the store's root keys is in use now, counted from 1.
    pub root: u32,
    /// The signing keys that are under it now.
    pub keys: u64,
    /// The peppers that are under it now.
    pub peppers: u64,
    /// Whether its file has the name that the configuration says. Where not, it still ends in
    /// `.next`, and the next start of the server or the next rotation finishes that.
    pub in_place: bool,
    /// When it was decided.
    #[schema(value_type = String)]
    pub rotated_at: Time,
}

/// Rotates the root key at the wish of the installation's operator. Must run to its end: whoever
/// waits for it may go away.
pub async fn rotate_by(by: &Operator) -> Result<RotatedRoot, Error> {
    rotate(&by.world, by.now, by.body()).await
}

/// Rotates the root key. One at a time: another one meanwhile is refused.
pub async fn rotate(world: &World, now: Time, body: Body) -> Result<RotatedRoot, Error> {
    const OPERATION: &str = "rotate the root key";
    let _alone = world.root.alone()?;
    let place = &world.root.place;
    let installation = world.store.installation().await?;
    let peppers = installation.map(|installation| installation.peppers);
    let peppers = peppers.ok_or_else(|| Fault::new(OPERATION, "the store was never founded"))?;
    let count = peppers.len() as u64;
    let roots = world.vault.prepare(place.make_next(peppers).await?);
    let root = roots[1].number;
    let rewrapping = Rewrapping::new(roots, Arc::clone(&world.entropy), now, body);
    let keys = match world.store.rewrap(rewrapping).await {
        Ok(keys) => keys,
        Err(CommitError::Fault(fault)) => return Err(fault.into()),
        // An earlier rotation was committed and its answer lost; this process does not know.
        Err(CommitError::Stale | CommitError::Taken(_) | CommitError::Reached(_)) => {
            return Err(Refusal::new(
                Rule::StateForbids,
                "the store is under another root key than this process has in use",
                "start the server again: it takes the one that opens the store",
            )
            .into());
        }
    };
    // The store is under the new key: from here on it is done, whatever becomes of the names.
    let in_place = match place.put_in_place().await {
        Ok(()) => true,
        Err(fault) => {
            tracing::error!(%fault, "the new root key opens the store, and is not in its place");
            false
        }
    };
    tracing::info!(root, keys, in_place, "the root key was rotated");
    Ok(RotatedRoot { root, keys, peppers: count, in_place, rotated_at: now })
}
