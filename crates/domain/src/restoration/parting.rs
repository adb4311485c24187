//! Where a lane of the old log parts from the store's own, after a declared loss.
//!
//! A standby that was behind takes the primary's place, and a node that misses nothing may add leaves
//! before the others notice. Then two histories go on from what the standby had: the lost one, which
//! the export tells, and the store's own. Both are signed by the log's key. A leaf covers the one
//! before it, so the first place where the leaves differ is where they part, and they have all before it
//! in common. Absent on purpose: joining them. What the store has of its own stays where it is, and
//! the lost events are read for what they ended.
//!
//! A lane may part only where the generation that closed it was begun by a declared loss, which the
//! log itself says. After a restored backup the store has nothing of its own, and an export that
//! parts from it is another log's.

use std::collections::{BTreeMap, VecDeque};

use accredit_wire::tlog::Hash;
use serde::Deserialize;

use super::{CAUSE, DECLARED_LOSS};
use crate::audit::event::EventKind;
use crate::audit::read::READ_LEAVES_MAX;
use crate::context::Cx;
use crate::ports::{LaneHead, LeafBody};
use crate::refusal::Fault;

/// Where the lost log and the store's own part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parting {
    /// The lane.
    pub lane: u16,
    /// Its origin.
    pub origin: String,
    /// The sequence number of the first event that is not the same in both.
    pub at: u64,
    /// How many events the store has of its own from there on. They stay.
    pub own: u64,
}

/// The lanes that may part, by origin.
#[derive(Debug, Default)]
pub(super) struct Partings(BTreeMap<String, Own>);

/// The store's own leaves of a lane, while an export is compared with them.
#[derive(Debug)]
struct Own {
    lane: u16,
    /// Whether it is the first of its generation, whose first event was written with the generation.
    is_first: bool,
    /// Whether it is a slot's.
    is_slots: bool,
    size: u64,
    /// The sequence number that is compared next.
    next: u64,
    /// Hashes from there on that were read already.
    read: VecDeque<[u8; 32]>,
    parted: Option<u64>,
}

/// What an event says of the generation that it begins.
#[derive(Deserialize)]
struct Begun {
    changes: BTreeMap<String, String>,
}

impl Partings {
    /// The lanes that the tenant's generation closed, where a declared loss began it; otherwise none.
    pub(super) async fn of(cx: &Cx, lanes: &[LaneHead]) -> Result<Self, Fault> {
        if !by_declared_loss(cx, lanes).await? {
            return Ok(Self::default());
        }
        let before = || lanes.iter().filter(|lane| lane.generation < cx.tenant.generation);
        let last = before().map(|lane| lane.generation).max();
        let closed = before().filter(|lane| Some(lane.generation) == last);
        let mut first = true;
        let own = closed.map(|lane| {
            let own = Own {
                lane: lane.lane,
                is_first: std::mem::take(&mut first),
                is_slots: lane.slot.is_some(),
                size: lane.sequenced,
                next: 0,
                read: VecDeque::new(),
                parted: None,
            };
            (cx.tenant.origin(lane), own)
        });
        Ok(Self(own.collect()))
    }

    /// Whether this lane may part.
    pub(super) fn has(&self, origin: &str) -> bool {
        self.0.contains_key(origin)
    }

    /// Whether the export may lack this lane: one of a slot, which may have begun only after what was lost,
    /// and in which nothing is ended.
    pub(super) fn may_lack(&self, origin: &str) -> bool {
        self.0.get(origin).is_some_and(|own| own.is_slots)
    }

    /// Whether the store has this event of the export; nothing where the lane may not part.
    pub(super) async fn is_common(
        &mut self,
        cx: &Cx,
        origin: &str,
        (sequence, leaf): (u64, &Hash),
    ) -> Result<Option<bool>, Fault> {
        match self.0.get_mut(origin) {
            Some(own) => own.has(cx, sequence, leaf).await.map(Some),
            None => Ok(None),
        }
    }

    /// Where they part, once the export was read; what is wrong where they have nothing in common.
    pub(super) fn found(self) -> Result<Vec<Parting>, String> {
        let mut found = Vec::new();
        for (origin, own) in self.0 {
            let Some(at) = own.parted else { continue };
            if at == 0 && own.is_first {
                return Err(format!(
                    "its lane {} has no event in common with the store's",
                    own.lane
                ));
            }
            found.push(Parting { lane: own.lane, origin, at, own: own.size - at });
        }
        Ok(found)
    }
}

impl Own {
    async fn has(&mut self, cx: &Cx, sequence: u64, leaf: &Hash) -> Result<bool, Fault> {
        if self.parted.is_some() || sequence >= self.size {
            return Ok(false);
        }
        if sequence != self.next {
            // Out of its place: the auditor says so.
            return Ok(sequence < self.next);
        }
        if self.read.is_empty() {
            let (store, org) = (&cx.world.store, cx.tenant.id);
            let read = store.leaf_hashes(org, self.lane, self.next, READ_LEAVES_MAX).await?;
            self.read.extend(read);
        }
        let own = self.read.pop_front();
        let own = own.ok_or_else(|| Fault::new("reconcile", "a leaf of the log is not there"))?;
        self.next += 1;
        if own == *leaf.bytes() {
            return Ok(true);
        }
        self.parted = Some(sequence);
        Ok(false)
    }
}

/// Whether a declared loss began the tenant's generation. Not where that was pruned.
async fn by_declared_loss(cx: &Cx, lanes: &[LaneHead]) -> Result<bool, Fault> {
    let Some(first) = lanes.iter().find(|lane| lane.generation == cx.tenant.generation) else {
        return Ok(false);
    };
    let leaves = cx.world.store.leaves(cx.tenant.id, first.lane, 0, 1).await?;
    let Some(leaf) = leaves.first() else { return Ok(false) };
    let LeafBody::Kept { payload, .. } = &leaf.body else { return Ok(false) };
    if leaf.kind != EventKind::LogGenerationStarted.as_str() {
        return Ok(false);
    }
    let begun: Begun =
        serde_json::from_str(payload).map_err(|error| Fault::new("reconcile", error))?;
    Ok(begun.changes.get(CAUSE).is_some_and(|cause| cause == DECLARED_LOSS))
}
