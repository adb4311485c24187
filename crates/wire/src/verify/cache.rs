//! Tokens whose signature and claims were checked before, found by their whole text.
//!
//! A look-up is one hash of the text with a key drawn at random by this process, and one
//! comparison of the text: SHA-256 of a token would cost more than everything else together. Only
//! tokens that were accepted by signature and claims enter, so nobody fills it with garbage; each
//! is tied to the version of the key ring that accepted it.
//!
//! Bounded in bytes. Where it is full, a few tokens are looked at from a place that follows from
//! the new one's hash: an expired one leaves, else one that was not asked for since it was last
//! looked at, else the first. So a working set that is a little too large loses a little, where
//! throwing out the oldest would lose nearly all.

use std::hash::BuildHasher as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashbrown::HashTable;

use crate::biscuit::Attenuable;
use crate::jose::jwt::SKEW_MAX;
use crate::time::Time;
use crate::token::AccessToken;

/// Parts of the cache, each with its own lock.
const SHARDS: usize = 32;

/// Bytes that an entry takes beside its text and its lists: the claims and what points to them.
const ENTRY_BYTES: usize = size_of::<Slot>() + size_of::<Known>() + 128;

/// How many tokens are looked at for one that leaves.
const LOOKED_AT: usize = 8;

/// Bytes counted for one element of a claim's list.
const ELEMENT_BYTES: usize = 96;

/// A token whose signature and claims hold.
#[derive(Debug)]
pub(super) struct Known {
    says: Says,
    /// The version of the revocation state in which it was found alive; 0 for none.
    alive_in: AtomicU64,
}

/// What it says, by its format.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "most are JWTs, and each is behind a pointer already"
)]
enum Says {
    Jwt(AccessToken),
    Biscuit(Box<Attenuable>),
}

impl Known {
    pub(super) fn new(token: AccessToken) -> Self {
        Self { says: Says::Jwt(token), alive_in: AtomicU64::new(0) }
    }

    pub(super) fn attenuable(token: Attenuable) -> Self {
        Self { says: Says::Biscuit(Box::new(token)), alive_in: AtomicU64::new(0) }
    }

    pub(super) fn token(&self) -> &AccessToken {
        match &self.says {
            Says::Jwt(token) => token,
            Says::Biscuit(token) => token.token(),
        }
    }

    /// More of it, where it is an attenuable one.
    pub(super) fn as_attenuable(&self) -> Option<&Attenuable> {
        match &self.says {
            Says::Jwt(_) => None,
            Says::Biscuit(token) => Some(token),
        }
    }

    pub(super) fn was_alive_in(&self, version: u64) -> bool {
        self.alive_in.load(Ordering::Relaxed) == version
    }

    pub(super) fn set_alive_in(&self, version: u64) {
        self.alive_in.store(version, Ordering::Relaxed);
    }

    fn bytes(&self) -> usize {
        let token = self.token();
        let more = self.as_attenuable().map_or(0, Attenuable::words);
        let words = more + token.delegable.words() + token.details.authority().words();
        let elements = token.scope.len() + token.further.len() + token.chain.len();
        token.issuer.len() + token.audience.len() + ELEMENT_BYTES * (elements + words)
    }
}

#[derive(Debug)]
pub(super) struct Cache {
    hasher: foldhash::fast::RandomState,
    shards: Box<[Mutex<Shard>]>,
    shard_bytes_max: usize,
}

#[derive(Debug, Default)]
struct Shard {
    /// Places in `slots`, by hash.
    table: HashTable<u32>,
    slots: Vec<Slot>,
    bytes: usize,
}

#[derive(Debug)]
struct Slot {
    hash: u64,
    ring: u64,
    text: Box<str>,
    known: Arc<Known>,
    bytes: usize,
    /// Asked for since it was last looked at for one that leaves.
    asked: bool,
}

impl Cache {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            hasher: foldhash::fast::RandomState::default(),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            shard_bytes_max: bytes_max / SHARDS,
        }
    }

    /// The token with this text, where the ring of this version accepted it.
    pub(super) fn find(&self, text: &str, ring: u64) -> Option<Arc<Known>> {
        let hash = self.hasher.hash_one(text);
        self.shard(hash)?.find(hash, text, ring)
    }

    /// Remembers a token that the ring of this version accepted.
    pub(super) fn insert(&self, text: &str, ring: u64, known: &Arc<Known>, now: Time) {
        let bytes = text.len() + ENTRY_BYTES + known.bytes();
        let hash = self.hasher.hash_one(text);
        if bytes > self.shard_bytes_max || has_expired(known, now) {
            return;
        }
        let Some(mut shard) = self.shard(hash) else { return };
        shard.remove_text(hash, text);
        shard.make_room(hash, self.shard_bytes_max - bytes, now);
        let (text, known) = (Box::from(text), Arc::clone(known));
        shard.push(Slot { hash, ring, text, known, bytes, asked: false });
    }

    /// Forgets everything.
    pub(super) fn clear(&self) {
        for shard in &self.shards {
            *lock(shard) = Shard::default();
        }
    }

    fn shard(&self, hash: u64) -> Option<MutexGuard<'_, Shard>> {
        // The table below uses the highest and the lowest bits.
        self.shards.get((hash >> 32) as usize % SHARDS).map(lock)
    }

    #[cfg(test)]
    pub(super) fn bytes_and_len(&self) -> (usize, usize) {
        let shards = self.shards.iter().map(lock);
        shards.fold((0, 0), |(bytes, len), shard| (bytes + shard.bytes, len + shard.slots.len()))
    }
}

/// Nothing is left half done by a panic in between: a slot more or less is harmless.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

fn has_expired(known: &Known, now: Time) -> bool {
    now >= Time::from_seconds(known.token().expires_at).plus(SKEW_MAX)
}

impl Shard {
    fn place(&self, hash: u64, text: &str) -> Option<usize> {
        let is_it = |&place: &u32| {
            let slot = self.slots.get(place as usize);
            slot.is_some_and(|slot| slot.hash == hash && *slot.text == *text)
        };
        self.table.find(hash, is_it).map(|&place| place as usize)
    }

    fn find(&mut self, hash: u64, text: &str, ring: u64) -> Option<Arc<Known>> {
        let place = self.place(hash, text)?;
        let slot = self.slots.get_mut(place)?;
        if slot.ring != ring {
            return None;
        }
        if !slot.asked {
            slot.asked = true;
        }
        Some(Arc::clone(&slot.known))
    }

    fn push(&mut self, slot: Slot) {
        let place = self.slots.len() as u32;
        self.bytes += slot.bytes;
        let hash = slot.hash;
        self.slots.push(slot);
        let slots = &self.slots;
        let hash_of = |&place: &u32| slots.get(place as usize).map_or(0, |slot| slot.hash);
        self.table.insert_unique(hash, place, hash_of);
    }

    fn remove_text(&mut self, hash: u64, text: &str) {
        if let Some(place) = self.place(hash, text) {
            self.remove(place);
        }
    }

    /// Removes the slot at `place`; the last slot takes its place.
    fn remove(&mut self, place: usize) {
        let last = self.slots.len().saturating_sub(1);
        let Some(hash) = self.slots.get(place).map(|slot| slot.hash) else { return };
        if let Ok(entry) = self.table.find_entry(hash, |&found| found as usize == place) {
            entry.remove();
        }
        let removed = self.slots.swap_remove(place);
        self.bytes = self.bytes.saturating_sub(removed.bytes);
        if let Some(moved) = self.slots.get(place)
            && let Some(found) = self.table.find_mut(moved.hash, |&found| found as usize == last)
        {
            *found = place as u32;
        }
    }

    /// Removes slots until at most `bytes` are taken.
    fn make_room(&mut self, hash: u64, bytes: usize, now: Time) {
        while self.bytes > bytes && !self.slots.is_empty() {
            let place = self.choose(hash as usize % self.slots.len(), now);
            self.remove(place);
        }
    }

    /// The slot that leaves, among those that follow `first` in a circle.
    fn choose(&mut self, first: usize, now: Time) -> usize {
        let len = self.slots.len();
        let mut unasked = None;
        for place in (first..first + LOOKED_AT.min(len)).map(|place| place % len) {
            let Some(slot) = self.slots.get_mut(place) else { continue };
            if has_expired(&slot.known, now) {
                return place;
            }
            if !slot.asked && unasked.is_none() {
                unasked = Some(place);
            }
            slot.asked = false;
        }
        unasked.unwrap_or(first)
    }
}
