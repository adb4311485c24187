//! What other lanes say of one, compared with it while it is read.
//!
//! A claim names a checkpoint of the lane. If that many events were not read yet it waits for them; if
//! more were, its root must be among those that are kept. An export has the lanes beside each other, by
//! time, so both are short; where they are not, the smallest sizes go, and what was not compared is
//! counted and makes a report incomplete. A larger tree covers a smaller one: what is left says more
//! than what went.

use std::collections::{BTreeMap, VecDeque};

use super::super::Hash;

/// Roots that are kept of all lanes together, each lane its part: some 10 MB.
pub const ROOTS_KEPT_MAX: usize = 1 << 18;

/// Claims that wait in all lanes together, each lane its part: some 20 MB.
pub const CLAIMS_WAITING_MAX: usize = 1 << 18;

/// A claim about this lane.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claimed {
    /// The lane and sequence number of the event that makes it.
    pub(super) by: (u16, u64),
    pub(super) size: u64,
    pub(super) root: Hash,
}

/// The claims about one lane, and the roots that they are compared with.
pub(super) struct Claims {
    /// The last signed roots that the events gave, by size.
    roots: VecDeque<(u64, Hash)>,
    roots_max: usize,
    /// By size and in the order in which they came.
    waiting: BTreeMap<(u64, u64), Claimed>,
    waiting_max: usize,
    /// How many came, ever.
    came: u64,
}

impl Claims {
    /// Of one of so many lanes.
    pub(super) fn of_one_of(lanes: usize) -> Self {
        let part = |max: usize| (max / lanes.max(1)).max(1);
        Self {
            roots: VecDeque::new(),
            roots_max: part(ROOTS_KEPT_MAX),
            waiting: BTreeMap::new(),
            waiting_max: part(CLAIMS_WAITING_MAX),
            came: 0,
        }
    }

    /// A signed root that the events up to here give.
    pub(super) fn root(&mut self, size: u64, root: Hash) {
        if self.roots.len() >= self.roots_max {
            self.roots.pop_front();
        }
        self.roots.push_back((size, root));
    }

    /// The root of this size, where it is kept.
    pub(super) fn root_at(&self, size: u64) -> Option<Hash> {
        let place = self.roots.binary_search_by_key(&size, |(size, _)| *size).ok()?;
        self.roots.get(place).map(|(_, root)| *root)
    }

    /// Has a claim wait for the events that it is about; gives the one that waits no longer for it.
    pub(super) fn wait(&mut self, claim: Claimed) -> Option<Claimed> {
        self.waiting.insert((claim.size, self.came), claim);
        self.came += 1;
        let is_full = self.waiting.len() > self.waiting_max;
        is_full.then(|| self.waiting.pop_first()).flatten().map(|(_, claim)| claim)
    }

    /// The next claim that waits for no more than so many events.
    pub(super) fn next_up_to(&mut self, size: u64) -> Option<Claimed> {
        let first = self.waiting.first_entry()?;
        (first.key().0 <= size).then(|| first.remove())
    }

    /// The claims that still wait: how many, and the largest.
    pub(super) fn left(&self) -> Option<(u64, Claimed)> {
        let (_, largest) = self.waiting.last_key_value()?;
        Some((self.waiting.len() as u64, *largest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claimed(size: u64, seq: u64) -> Claimed {
        Claimed { by: (1, seq), size, root: Hash::ZERO }
    }

    #[test]
    fn what_is_kept_is_bounded_and_the_largest_stays() {
        let mut claims = Claims::of_one_of(ROOTS_KEPT_MAX / 4);
        for size in 1..=10 {
            claims.root(size, Hash::new([size as u8; 32]));
        }
        assert_eq!(claims.root_at(6), None);
        assert_eq!(claims.root_at(7), Some(Hash::new([7; 32])));
        assert_eq!(claims.root_at(11), None);
        let gone: Vec<_> = [9, 3, 7, 3, 8, 5]
            .into_iter()
            .zip(0..)
            .filter_map(|(size, seq)| claims.wait(claimed(size, seq)))
            .map(|claim| (claim.size, claim.by.1))
            .collect();
        assert_eq!(gone, [(3, 1), (3, 3)]);
        assert_eq!(claims.left().map(|(count, claim)| (count, claim.size)), Some((4, 9)));
        let due = std::iter::from_fn(|| claims.next_up_to(7)).map(|claim| claim.size);
        assert_eq!(due.collect::<Vec<_>>(), [5, 7]);
        assert!(
            Claims::of_one_of(usize::MAX).wait(claimed(1, 0)).is_none(),
            "one of each at least"
        );
    }
}
