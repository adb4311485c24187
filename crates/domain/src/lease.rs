//! Which node does by the clock what is to be done once for all of them.
//!
//! Where other processes write to the same store, one of them holds the lease of a job: a row with
//! its name, a number that every change of hands raises, and a beat that the holder raises while it
//! lives. Nobody compares clocks: a lease is over for whoever has seen it stand still for
//! [`LEASE_AGE_MAX`] by its own monotonic clock, and a holder believes its own last beat for
//! [`LEASE_SURE`], which is less. So two act at a time only where a process stands still between its
//! look and its write; that write then names the number of its lease ([`Fence`]), and is refused by
//! the store in its own transaction, because the number has moved.
//!
//! A lease of another kind is that of a slot ([`Slot`]): who has one writes what it issues to lanes of the
//! log that nobody else writes to meanwhile, so that nodes need not wait for each other. Its number is
//! checked in each of these transactions, too.
//!
//! There is one lease for all that is scheduled, not one for each organization or job: what has to
//! beat and to be watched is one row a second, a dead node is noticed once for all it did, and what is
//! done for one organization needs no other node's memory. It is light work: the requests, of which
//! there are many, are every node's.
//!
//! Absent on purpose: a leader. Who holds it decides nothing for others, and what each node must know
//! for itself (the view, the feed, its counters) is every node's own.

use std::time::Duration;

use crate::ports::BoxFuture;
use crate::refusal::Fault;

/// How long a lease must have stood still before another node takes it.
pub const LEASE_AGE_MAX: Duration = Duration::from_secs(5);
/// How long a holder goes on after its last beat that was written.
pub const LEASE_SURE: Duration = Duration::from_secs(3);
/// How often a holder beats, and how often the others look.
pub const BEAT_EVERY: Duration = Duration::from_secs(1);

/// Slots of an installation, and so nodes that write to lanes of their own at a time; any further one
/// writes to the lanes that all share.
pub const LANE_SLOTS_MAX: usize = 8;

/// A slot: which lanes of the log are written to by the node that has its lease, one of each
/// organization. A slot and its lanes outlive the nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    number: u16,
    name: &'static str,
}

impl Slot {
    /// Each of them, in their order.
    pub const ALL: [Self; LANE_SLOTS_MAX] = [
        Self { number: 0, name: "lane-0" },
        Self { number: 1, name: "lane-1" },
        Self { number: 2, name: "lane-2" },
        Self { number: 3, name: "lane-3" },
        Self { number: 4, name: "lane-4" },
        Self { number: 5, name: "lane-5" },
        Self { number: 6, name: "lane-6" },
        Self { number: 7, name: "lane-7" },
    ];

    /// Its number.
    pub const fn number(self) -> u16 {
        self.number
    }
}

/// A slot that this process has, under the number of its lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnSlot {
    /// Which.
    pub slot: Slot,
    /// The number.
    pub lease: u64,
}

impl OwnSlot {
    /// What is checked in each transaction that writes to its lanes.
    pub const fn fence(self) -> Fence {
        Fence { job: Job::Lane(self.slot), lease: self.lease }
    }
}

/// What is leased.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Job {
    /// All that is done by the clock once for all nodes: rotation, the end of kills for a time, key
    /// sets that are followed, drills, and the tree of the log.
    Scheduled,
    /// Writing to the lanes of a slot.
    Lane(Slot),
}

impl Job {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Lane(slot) => slot.name,
        }
    }
}

/// A lease as it stands in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The name of the process that has it; nothing where it was given back.
    pub holder: Option<String>,
    /// How often it has changed hands.
    pub lease: u64,
    /// How often its holder has shown that it lives.
    pub beat: u64,
}

/// Under which lease something is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fence {
    /// Of what.
    pub job: Job,
    /// Its number.
    pub lease: u64,
}

/// The leases of a store.
pub trait Leases: Send + Sync {
    /// A lease as it stands; nothing where nobody ever had it.
    fn lease(&self, job: Job) -> BoxFuture<'_, Result<Option<Lease>, Fault>>;

    /// Writes a lease where it still is as it was seen. False where somebody was faster.
    fn move_lease(
        &self,
        job: Job,
        seen: Option<Lease>,
        to: Lease,
    ) -> BoxFuture<'_, Result<bool, Fault>>;

    /// Says in whose lanes this process writes what it issues and what it only records, from its next
    /// batch on: those of a slot whose lease it has, or those that all share. Each batch checks that the
    /// lease is as it was, so what is said here may be late.
    fn write_in(&self, own: Option<OwnSlot>);
}

/// A lease as one process knows it.
#[derive(Debug)]
pub struct Turn {
    /// The name of this process, which no other one has.
    name: String,
    /// Another's lease, and since when it has been seen to stand still.
    seen: Option<(Lease, Duration)>,
    /// The number of the lease that this process has, and when its last beat was begun.
    own: Option<(u64, Duration)>,
}

impl Turn {
    /// Of a process with this name.
    pub fn of(name: String) -> Self {
        Self { name, seen: None, own: None }
    }

    /// What is to be written, having found this when the monotonic clock showed `up` at the latest:
    /// a beat of one's own, or the lease taken over. Nothing where it is another's who lives.
    pub fn look(&mut self, found: Option<&Lease>, up: Duration) -> Option<Lease> {
        let Some(found) = found else {
            self.own = None;
            return Some(Lease { holder: Some(self.name.clone()), lease: 1, beat: 0 });
        };
        if found.holder.as_ref() == Some(&self.name) {
            // Also where it is not known here: what was written last may have been answered wrongly.
            return Some(Lease { beat: found.beat + 1, ..found.clone() });
        }
        self.own = None;
        let since = match &self.seen {
            Some((seen, since)) if seen == found => *since,
            _ => {
                self.seen = Some((found.clone(), up));
                up
            }
        };
        let is_over = up.saturating_sub(since) >= LEASE_AGE_MAX;
        let free = found.holder.is_none() || is_over;
        free.then(|| Lease { holder: Some(self.name.clone()), lease: found.lease + 1, beat: 0 })
    }

    /// What [`Self::look`] said was written, by a request that began at `began`.
    pub fn written(&mut self, to: &Lease, began: Duration) {
        self.seen = None;
        self.own = Some((to.lease, began));
    }

    /// Somebody was faster.
    pub fn lost(&mut self) {
        self.own = None;
    }

    /// Under which number this process has it at `up`.
    pub fn held(&self, up: Duration) -> Option<u64> {
        let (lease, began) = self.own?;
        (up.saturating_sub(began) < LEASE_SURE).then_some(lease)
    }

    /// What is to be written to give it back, having found this; nothing where it is not one's own.
    pub fn give_back(&mut self, found: Lease) -> Option<Lease> {
        self.own = None;
        (found.holder.as_ref() == Some(&self.name)).then_some(Lease { holder: None, ..found })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn a_lease_is_taken_where_it_is_free_and_beats_while_it_is_held() {
        let mut turn = Turn::of("a".to_owned());
        assert_eq!(turn.held(secs(0)), None);
        let first = turn.look(None, secs(1)).expect("nobody had it");
        assert_eq!(turn.held(secs(1)), None, "not before it is written");
        turn.written(&first, secs(1));
        assert_eq!(turn.held(secs(1)), Some(1));
        let beat = turn.look(Some(&first), secs(2)).expect("a beat");
        assert_eq!((beat.lease, beat.beat), (1, 1));
        turn.written(&beat, secs(2));
        assert_eq!(
            turn.held((secs(2) + LEASE_SURE).saturating_sub(Duration::from_nanos(1))),
            Some(1)
        );
        assert_eq!(turn.held(secs(2) + LEASE_SURE), None, "it stood still");
        let back = turn.give_back(beat.clone()).expect("its own");
        assert_eq!((back.holder.clone(), turn.held(secs(2))), (None, None));
        let mut other = Turn::of("b".to_owned());
        assert_eq!(other.look(Some(&back), secs(0)).expect("free").lease, 2);
        assert!(other.give_back(beat).is_none(), "another's");
    }

    #[test]
    fn another_ones_lease_is_taken_once_it_has_been_seen_to_stand_still_for_long() {
        let held = |beat| Lease { holder: Some("a".to_owned()), lease: 7, beat };
        let mut turn = Turn::of("b".to_owned());
        assert_eq!(turn.look(Some(&held(1)), secs(100)), None, "however long before it beat");
        let almost = (secs(100) + LEASE_AGE_MAX).saturating_sub(Duration::from_nanos(1));
        assert_eq!(turn.look(Some(&held(1)), almost), None);
        assert_eq!(turn.look(Some(&held(2)), almost), None, "it lives");
        let over = almost + LEASE_AGE_MAX;
        let taken = turn.look(Some(&held(2)), over).expect("it is over");
        assert_eq!((taken.holder.as_deref(), taken.lease, taken.beat), (Some("b"), 8, 0));
        // Somebody else took it: it is another lease, which lives.
        turn.lost();
        let others = Lease { holder: Some("c".to_owned()), ..taken };
        assert_eq!(turn.look(Some(&others), over), None);
        assert_eq!(turn.held(over), None);
    }

    proptest! {
        /// Whatever nodes do and for how long they stand still between reading, writing and acting:
        /// nobody acts while it is not the row's holder, except where it stands still in between,
        /// which is what the number is for.
        #[test]
        fn no_two_processes_believe_to_hold_it_at_the_same_time(
            steps in prop::collection::vec((0usize..3, 0u64..2500, 0u64..2500, any::<bool>()), 1..200),
        ) {
            let mut row: Option<Lease> = None;
            let mut turns = ["a", "b", "c"].map(|name| Turn::of(name.to_owned()));
            let mut up = Duration::from_secs(10);
            for (who, before, between, is_answered) in steps {
                up += Duration::from_millis(before);
                let found = row.clone();
                let to = turns[who].look(found.as_ref(), up);
                let began = up;
                up += Duration::from_millis(between);
                if let Some(to) = to {
                    // The store compares; an answer may be lost.
                    prop_assert_eq!(&row, &found);
                    row = Some(to.clone());
                    if is_answered {
                        turns[who].written(&to, began);
                    }
                }
                let holders: Vec<_> =
                    turns.iter().filter(|turn| turn.held(up).is_some()).map(|it| &it.name).collect();
                prop_assert!(holders.len() <= 1, "{:?}", holders);
                if let (Some(holder), Some(row)) = (holders.first(), &row) {
                    prop_assert_eq!(Some(*holder), row.holder.as_ref());
                }
            }
        }
    }
}
