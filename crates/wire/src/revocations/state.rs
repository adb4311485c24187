//! What has ended: a compact set of revocation entries and the counter it stands at.
//!
//! A follower looks up a dozen ids for each request and applies a delta now and then, while other
//! threads read. So the set is two immutable tables behind `Arc`: a large *base* and a small
//! *overlay*. A delta copies the overlay only, and a new base is made when the overlay has grown
//! past [`OVERLAY_MAX`]. A new [`State`] is always the union of the old and what arrived: nothing
//! that was dead comes back to life, in whatever order messages come.
//!
//! Absent on purpose: removal. An entry leaves only at a merge after its `keep_until`, as told by
//! [`State::forgetting`]: by a clock that surely did not run ahead, which a message's time is not.

use std::sync::Arc;

use crate::ids::{
    AgentId, AnyId, BlockId, CredentialId, EventId, FederationId, InstanceId, KeyId, Kind,
    OrganizationId, PersonId, RequestId, ResourceId, RevocationId, TaskId, TokenId,
};
use crate::time::Time;

/// Entries that the overlay holds at most; one more, and it is merged into a new base.
///
/// Copying so many takes some tens of microseconds, so a delta costs no more than that.
pub const OVERLAY_MAX: usize = 4096;

/// One entry of the revocation graph: whatever has `target` in its lineage and a smaller `rev`
/// than `below` is dead; where the target is a signing key, whatever the `rev`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The id that was revoked.
    pub target: AnyId,
    /// The first value of the organization's counter at which things are alive again.
    pub below: u64,
    /// When the entry may be forgotten, seconds of Unix time.
    pub keep_until: i64,
}

/// The revocation state of one organization as of `rev`: cheap to clone, never changed in place.
#[derive(Clone, Debug)]
pub struct State {
    base: Arc<Table>,
    overlay: Arc<Table>,
    generation: u64,
    rev: u64,
    at: Time,
    /// What is to be kept until before this may be forgotten.
    over: Time,
}

impl State {
    /// The state before the first snapshot: nothing is known, and any snapshot is newer.
    pub fn unknown() -> Self {
        Self::new(0, 0, Time::from_micros(0), &[])
    }

    /// A complete state: all entries of `generation` up to `rev`, as read at `at`.
    pub fn new(generation: u64, rev: u64, at: Time, entries: &[Entry]) -> Self {
        let base = Arc::new(Table::new(entries.iter().map(Row::from).collect()));
        let (overlay, over) = (Arc::new(Table::default()), Time::default());
        Self { base, overlay, generation, rev, at, over }
    }

    /// The organization's counter up to which this state is complete.
    pub fn rev(&self) -> u64 {
        self.rev
    }

    /// The generation of the server's store; grows when it is restored from a backup. 0 only
    /// before the first snapshot.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The server's signed time of day in the newest message that was applied.
    pub fn server_time(&self) -> Time {
        self.at
    }

    /// How many entries are held; one that stands in both tables counts twice.
    pub fn len(&self) -> usize {
        self.base.keys.len() + self.overlay.keys.len()
    }

    /// Whether no entry is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes that the tables take.
    pub fn bytes(&self) -> usize {
        self.base.bytes() + self.overlay.bytes()
    }

    /// The first id of `lineage` whose revocation covers a thing decided at `rev`.
    ///
    /// A signing key's is final: whoever has stolen it writes any `rev` that they like.
    pub fn is_dead(&self, lineage: impl IntoIterator<Item = AnyId>, rev: u64) -> Option<AnyId> {
        let is_dead = |id: &AnyId| {
            let below = self.below(id.key());
            below.is_some_and(|below| rev < below || id.kind() == Kind::Key)
        };
        lineage.into_iter().find(is_dead)
    }

    /// Whether there is an entry for this signing key.
    pub fn has_key(&self, key: KeyId) -> bool {
        self.below(key.any().key()).is_some()
    }

    /// The counter at which the last of `lineage` ended that covers a thing decided at `rev`: a
    /// state at or above it says so.
    pub fn ended_at(&self, lineage: impl IntoIterator<Item = AnyId>, rev: u64) -> Option<u64> {
        let below = lineage.into_iter().filter_map(|id| self.below(id.key()));
        below.filter(|below| rev < *below).max()
    }

    /// The largest `below` known for a target.
    fn below(&self, key: u128) -> Option<u64> {
        let hash = hash(key);
        // Both are asked: an entry of the base may have been raised by a later one.
        self.overlay.below(hash, key).max(self.base.below(hash, key))
    }

    /// This state with more entries and the same counter and time: what is kept of a message that
    /// was not accepted as a whole. More entries can only make more things dead.
    #[must_use]
    pub(super) fn with(&self, entries: &[Entry]) -> Self {
        let mut next = self.clone();
        if entries.is_empty() {
            return next;
        }
        let delta = Table::new(entries.iter().map(Row::from).collect());
        // Nothing expires from the overlay alone, so that the union stays exact between merges.
        let overlay = Table::union(&self.overlay, &delta, i64::MIN);
        if overlay.keys.len() > OVERLAY_MAX {
            next.base = Arc::new(Table::union(&self.base, &overlay, self.over.seconds()));
            next.overlay = Arc::new(Table::default());
        } else {
            next.overlay = Arc::new(overlay);
        }
        next
    }

    /// This state at a later counter, and at another time where there is one.
    #[must_use]
    pub(super) fn moved_to(mut self, generation: u64, rev: u64, at: Option<Time>) -> Self {
        self.generation = generation.max(self.generation);
        self.rev = rev.max(self.rev);
        self.at = at.unwrap_or(self.at);
        self
    }

    /// This state after one more entry at `rev`: what the issuer itself holds after a commit.
    #[must_use]
    pub fn advanced(&self, rev: u64, at: Time, entry: Option<Entry>) -> Self {
        self.with(entry.as_slice()).moved_to(self.generation, rev, Some(at))
    }

    /// This state, which may forget what was to be kept until before `over`: a time that has come,
    /// whatever the clocks said meanwhile. Nothing is forgotten at once.
    #[must_use]
    pub fn forgetting(mut self, over: Time) -> Self {
        self.over = over.max(self.over);
        self
    }

    /// What is to be kept until before this time may be forgotten.
    pub fn over(&self) -> Time {
        self.over
    }

    /// Every entry that is not past its `keep_until`, each target once, in no order of meaning.
    pub fn entries(&self) -> Vec<Entry> {
        let all = Table::union(&self.base, &self.overlay, self.over.seconds());
        all.rows().filter_map(Row::entry).collect()
    }
}

/// One entry as it is kept: the target's [`AnyId::key`], `below`, `keep_until`.
#[derive(Clone, Copy)]
struct Row {
    key: u128,
    below: u64,
    keep_until: i64,
}

impl Row {
    fn order(&self) -> (u64, u128) {
        (hash(self.key), self.key)
    }

    fn joined(self, other: Self) -> Self {
        Self {
            key: self.key,
            below: self.below.max(other.below),
            keep_until: self.keep_until.max(other.keep_until),
        }
    }

    fn entry(self) -> Option<Entry> {
        let target = id_of_key(self.key)?;
        Some(Entry { target, below: self.below, keep_until: self.keep_until })
    }
}

impl From<&Entry> for Row {
    fn from(entry: &Entry) -> Self {
        Self { key: entry.target.key(), below: entry.below, keep_until: entry.keep_until }
    }
}

/// An immutable hash table: rows ordered by hash, and where each bucket starts.
///
/// 32 bytes of row, one of tag, and two to four of bucket for each entry. A look-up that finds
/// nothing, which is nearly each, reads a bucket and one or two tags and seldom a key.
#[derive(Debug, Default)]
struct Table {
    /// `starts[b]..starts[b + 1]` are the rows whose hash begins with the bits `b`.
    starts: Box<[u32]>,
    /// How far to shift a hash right to get its bucket.
    shift: u32,
    tags: Box<[u8]>,
    keys: Box<[u128]>,
    below: Box<[u64]>,
    keep_until: Box<[i64]>,
}

/// Mixes the 128 bits of a key. Fixed, because the keys are made and signed by the server; ids
/// share their leading bits when made at one time, so that they must be mixed.
fn hash(key: u128) -> u64 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let folded = ((key >> 64) as u64).wrapping_mul(0xd6e8_feb8_6659_fd93) ^ (key as u64);
    let wide = u128::from(folded) * u128::from(ODD);
    let mixed = (wide >> 64) as u64 ^ wide as u64;
    mixed.wrapping_mul(0xff51_afd7_ed55_8ccd) ^ (mixed >> 32)
}

fn tag(hash: u64) -> u8 {
    hash as u8
}

impl Table {
    fn new(mut rows: Vec<Row>) -> Self {
        rows.sort_unstable_by_key(Row::order);
        let mut build = Builder::with_capacity(rows.len());
        for row in rows {
            build.push(row);
        }
        build.finish()
    }

    /// Both tables in one; rows whose `keep_until` lies before `now` are left out.
    fn union(a: &Self, b: &Self, now: i64) -> Self {
        let mut build = Builder::with_capacity(a.keys.len() + b.keys.len());
        let (mut left, mut right) = (a.rows().peekable(), b.rows().peekable());
        loop {
            let row = match (left.peek(), right.peek()) {
                (Some(x), Some(y)) if x.order() <= y.order() => left.next(),
                (Some(_), None) => left.next(),
                _ => right.next(),
            };
            let Some(row) = row else { return build.finish() };
            if row.keep_until >= now {
                build.push(row);
            }
        }
    }

    fn rows(&self) -> impl Iterator<Item = Row> {
        let rest = self.below.iter().zip(&self.keep_until);
        let row = |(&key, (&below, &keep_until))| Row { key, below, keep_until };
        self.keys.iter().zip(rest).map(row)
    }

    fn below(&self, hash: u64, key: u128) -> Option<u64> {
        if self.keys.is_empty() {
            return None;
        }
        let bucket = (hash >> self.shift) as usize;
        let start = *self.starts.get(bucket)? as usize;
        let end = *self.starts.get(bucket + 1)? as usize;
        let tags = self.tags.get(start..end)?;
        let mut found = tags.iter().enumerate().filter(|&(_, &other)| other == tag(hash));
        let hit = found.find(|&(offset, _)| self.keys.get(start + offset) == Some(&key))?;
        self.below.get(start + hit.0).copied()
    }

    fn bytes(&self) -> usize {
        self.starts.len() * 4 + self.keys.len() * (1 + 16 + 8 + 8)
    }
}

/// Collects rows in their order into a [`Table`], joining those with one key.
struct Builder {
    keys: Vec<u128>,
    below: Vec<u64>,
    keep_until: Vec<i64>,
}

impl Builder {
    fn with_capacity(rows: usize) -> Self {
        Self {
            keys: Vec::with_capacity(rows),
            below: Vec::with_capacity(rows),
            keep_until: Vec::with_capacity(rows),
        }
    }

    fn push(&mut self, mut row: Row) {
        if self.keys.last() == Some(&row.key)
            && let (Some(below), Some(keep_until)) = (self.below.pop(), self.keep_until.pop())
        {
            self.keys.pop();
            row = row.joined(Row { key: row.key, below, keep_until });
        }
        self.keys.push(row.key);
        self.below.push(row.below);
        self.keep_until.push(row.keep_until);
    }

    fn finish(self) -> Table {
        // Between half a bucket and one for each row, at least two.
        let bits = usize::BITS - (self.keys.len() / 2).leading_zeros();
        let shift = 64 - bits.max(1);
        let buckets = 1usize << (64 - shift);
        let mut starts = Vec::with_capacity(buckets + 1);
        let mut tags = Vec::with_capacity(self.keys.len());
        for (index, &key) in self.keys.iter().enumerate() {
            let hash = hash(key);
            let bucket = (hash >> shift) as usize;
            while starts.len() <= bucket {
                starts.push(index as u32);
            }
            tags.push(tag(hash));
        }
        starts.resize(buckets + 1, self.keys.len() as u32);
        Table {
            starts: starts.into_boxed_slice(),
            shift,
            tags: tags.into_boxed_slice(),
            keys: self.keys.into_boxed_slice(),
            below: self.below.into_boxed_slice(),
            keep_until: self.keep_until.into_boxed_slice(),
        }
    }
}

/// The id that has this [`AnyId::key`].
fn id_of_key(key: u128) -> Option<AnyId> {
    let number = ((key >> 76) & 0xf) as u8;
    let bits = key & !(0xf << 76) | (7 << 76);
    let kind = Kind::ALL.into_iter().find(|&kind| kind as u8 == number)?;
    match kind {
        Kind::Organization => OrganizationId::from_bits(bits).map(AnyId::from),
        Kind::Person => PersonId::from_bits(bits).map(AnyId::from),
        Kind::Agent => AgentId::from_bits(bits).map(AnyId::from),
        Kind::Instance => InstanceId::from_bits(bits).map(AnyId::from),
        Kind::Resource => ResourceId::from_bits(bits).map(AnyId::from),
        Kind::Credential => CredentialId::from_bits(bits).map(AnyId::from),
        Kind::Token => TokenId::from_bits(bits).map(AnyId::from),
        Kind::Task => TaskId::from_bits(bits).map(AnyId::from),
        Kind::Revocation => RevocationId::from_bits(bits).map(AnyId::from),
        Kind::Event => EventId::from_bits(bits).map(AnyId::from),
        Kind::Key => KeyId::from_bits(bits).map(AnyId::from),
        Kind::Request => RequestId::from_bits(bits).map(AnyId::from),
        Kind::Federation => FederationId::from_bits(bits).map(AnyId::from),
        Kind::Block => BlockId::from_bits(bits).map(AnyId::from),
    }
}
