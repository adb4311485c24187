//! What the writer's thread and the callers of the store share.

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use accredit_domain::ports::{Observer, OwnSlot};

use crate::cache::Stamps;
use crate::changes::Changes;
use crate::member::Member;
use crate::queue::Queue;
use crate::writer::Counters;

/// Shared between the writer and everybody else.
pub(crate) struct Shared {
    pub(crate) queue: Queue<Member>,
    pub(crate) stamps: Stamps,
    pub(crate) observers: RwLock<Vec<Arc<dyn Observer>>>,
    pub(crate) stats: Counters,
    pub(crate) linger: Duration,
    /// How far this node has come in what all commit; nothing where no other process writes.
    pub(crate) changes: Option<Changes>,
    /// The slot whose lanes are this node's, where it has one.
    pub(crate) slot: Mutex<Option<OwnSlot>>,
}

impl Shared {
    /// The slot whose lanes are this node's, as far as it knows.
    pub(crate) fn slot(&self) -> Option<OwnSlot> {
        *self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A slot turned out to be another node's.
    pub(crate) fn left(&self, slot: OwnSlot) {
        let mut own = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
        if *own == Some(slot) {
            tracing::warn!(lease = slot.lease, "the lanes of this node are another's by now");
            *own = None;
        }
    }

    /// Tells each observer, in the order in which they came.
    pub(crate) fn each_observer(&self, tell: impl Fn(&dyn Observer)) {
        let observers = self.observers.read().unwrap_or_else(PoisonError::into_inner);
        observers.iter().for_each(|observer| tell(&**observer));
    }

    /// Whatever is in memory may be newer than what is there, and is to be read anew.
    pub(crate) fn reverted(&self) {
        self.stamps.touch_all();
        self.each_observer(|observer| observer.reverted());
    }

    /// Whatever is in memory is to be read anew.
    pub(crate) fn lost(&self) {
        self.stamps.touch_all();
        self.each_observer(|observer| observer.lost());
    }
}
