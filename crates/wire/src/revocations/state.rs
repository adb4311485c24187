//! What has ended: a compact set of revocation entries and the counter it stands at.
//!
//! A follower looks up a dozen ids for each request and applies a delta now and then, while other
//! threads read. So the set is two immutable parts behind `Arc`: a large *base* in shards
//! ([`super::table`]) and a small *overlay*. A delta copies the overlay only; when that has grown
//! past [`OVERLAY_MAX`], what belongs to one shard of the base moves there, and nothing else is
//! made anew. Pieces of a snapshot go to the base at once. A new [`State`] is always the union of
//! the old and what arrived: nothing that was dead comes back to life, in whatever order messages
//! come.
//!
//! Absent on purpose: removal. An entry leaves only where its shard is made anew after its
//! `keep_until`, as told by [`State::forgetting`]: by a clock that surely did not run ahead, which a
//! message's time is not.

use std::sync::Arc;

use super::table::{Order, Row, Shard, Table, hash, sorted, union};
use crate::ids::{AnyId, KeyId, Kind};
use crate::time::Time;

/// Entries that the overlay holds at most; with one more, a part of it moves to the base.
///
/// Copying so many, or one shard of the base, takes some tens of microseconds: a delta costs no
/// more than that.
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
    overlay: Arc<Shard>,
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
        let (overlay, over) = (Arc::default(), Time::default());
        let state = Self { base: Arc::default(), overlay, generation, rev, at, over };
        state.with_rows(&sorted(entries))
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

    /// How many entries are held; one that stands in both parts counts twice.
    pub fn len(&self) -> usize {
        self.base.len() + self.overlay.len()
    }

    /// Whether no entry is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes that the set takes.
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
        let new = sorted(entries);
        // Nothing expires from the overlay alone, so that the union stays exact between merges.
        let all = union(self.overlay.rows_after(None), new.into_iter(), i64::MIN);
        let mut rows: Vec<Row> = all.collect();
        while rows.len() > OVERLAY_MAX {
            let run = next.base.longest_run(&rows);
            let moved: Vec<Row> = rows.drain(run).collect();
            Arc::make_mut(&mut next.base).add(&moved, self.over.seconds());
        }
        next.overlay = Arc::new(Shard::new(0, &rows));
        next
    }

    /// This state with more rows, which are in their order: what is kept of a piece of a snapshot.
    #[must_use]
    pub(super) fn with_rows(&self, rows: &[Row]) -> Self {
        let mut next = self.clone();
        Arc::make_mut(&mut next.base).add(rows, self.over.seconds());
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
    pub fn entries(&self) -> impl Iterator<Item = Entry> {
        self.rows_after(None).filter_map(Row::entry)
    }

    /// Whether nothing of the large part was made anew between the two.
    #[cfg(test)]
    pub(super) fn shares_all_with(&self, other: &Self) -> bool {
        self.base.is_shared_with(&other.base)
    }

    /// The rows behind a place in the order, as [`State::entries`] has them.
    pub(super) fn rows_after(&self, after: Option<Order>) -> impl Iterator<Item = Row> {
        let over = self.over.seconds();
        union(self.base.rows_after(after), self.overlay.rows_after(after), over)
    }

    /// Lets go of what is before a place in the order, as far as that is cheap: of use to one that
    /// goes through a state and does not come back.
    pub(super) fn let_go_before(&mut self, place: Order) {
        Arc::make_mut(&mut self.base).let_go_before(place);
    }
}
