//! RFC 9449 section 11.1: proofs that were seen, so that each is taken once.
//!
//! A proof is remembered by half a digest of its key, its `jti`, its URI and its method, for as long
//! as its `iat` would be accepted. The number of proofs is bounded. Where it is reached no further
//! proof is taken until remembered ones are over, two minutes at the longest: to forget one early
//! would be to take it again. Only proofs that hold are remembered, so it takes keys of tokens that
//! are good to fill it.

use std::collections::BTreeMap;
use std::hash::BuildHasherDefault;
use std::sync::{Mutex, PoisonError};

use hashbrown::HashSet;

use super::dpop::{PROOF_WINDOW_MAX, Proof};
use crate::time::Time;

/// Proofs remembered at a time, where nobody says otherwise: some 30 MB, or 4,000 requests a second
/// with clocks that agree.
pub const REPLAY_ENTRIES_MAX: usize = 500_000;

/// Parts, each with its own lock.
const SHARDS: usize = 16;

/// Bytes that one remembered proof takes: its key, its place and the room that a table keeps free.
pub const REPLAY_ENTRY_BYTES: usize = 64;

/// Remembered proofs are forgotten together, so many seconds of them.
const BUCKET_SECONDS: i64 = 10;

/// What came of showing a proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// For the first time.
    First,
    /// It was seen before, or so long ago that nobody knows.
    Before,
    /// Nobody can remember another one now.
    Full,
}

/// The keys are digests.
#[derive(Clone, Copy, Default)]
struct AsIs(u64);

impl std::hash::Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.0 ^= u64::from_le_bytes(word);
        }
    }

    fn write_u128(&mut self, value: u128) {
        self.0 = (value >> 64) as u64;
    }
}

type Keys = HashSet<u128, BuildHasherDefault<AsIs>>;

/// The proofs that one server has seen. Shared by all its threads.
#[derive(Debug)]
pub struct Replays {
    shards: Box<[Mutex<Shard>]>,
    shard_entries_max: usize,
}

#[derive(Debug, Default)]
struct Shard {
    /// By the bucket in which they end.
    buckets: BTreeMap<i64, Keys>,
    len: usize,
    /// What ends before this bucket was forgotten.
    forgotten_before: i64,
}

impl Replays {
    /// None seen. At most `entries_max` are remembered, a few more or less.
    pub fn new(entries_max: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            shard_entries_max: entries_max.div_ceil(SHARDS),
        }
    }

    /// Remembers a proof that holds at `now`.
    pub fn see(&self, proof: &Proof, now: Time) -> Seen {
        let key = proof.digest().first_chunk().copied().map_or(0, u128::from_be_bytes);
        let until = bucket(proof.issued_at().plus(PROOF_WINDOW_MAX));
        let Some(shard) = self.shards.get(key as usize % SHARDS) else { return Seen::Full };
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        shard.forget(bucket(now));
        // Where the clock was set back, it may be one that was forgotten.
        if until < shard.forgotten_before {
            return Seen::Before;
        }
        // Whatever its `iat`: the same `jti` is the same proof.
        if shard.buckets.values().any(|keys| keys.contains(&key)) {
            return Seen::Before;
        }
        if shard.len >= self.shard_entries_max {
            return Seen::Full;
        }
        shard.buckets.entry(until).or_default().insert(key);
        shard.len += 1;
        Seen::First
    }

    /// How many are remembered.
    pub fn len(&self) -> usize {
        let len = |shard: &Mutex<Shard>| shard.lock().unwrap_or_else(PoisonError::into_inner).len;
        self.shards.iter().map(len).sum()
    }

    /// Whether none is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Shard {
    fn forget(&mut self, now: i64) {
        if now <= self.forgotten_before {
            return;
        }
        self.forgotten_before = now;
        let kept = self.buckets.split_off(&now);
        let over = std::mem::replace(&mut self.buckets, kept);
        self.len -= over.values().map(HashSet::len).sum::<usize>();
    }
}

fn bucket(at: Time) -> i64 {
    at.seconds().div_euclid(BUCKET_SECONDS)
}
