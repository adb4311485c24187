//! Which lanes of the log this node writes to (see [`accredit_domain::lease::Slot`]).
//!
//! Where other processes write to the same store, a node looks for a slot that nobody has, or whose holder
//! has been seen to stand still, and shows each second that it lives. With one, what it issues goes to lanes
//! of its own; without one it writes to those that all share, which is slower and no less right. Where a
//! process has its store alone, no lease is written.

use std::sync::{Mutex, MutexGuard, PoisonError};

use accredit_domain::Fault;
use accredit_domain::lease::{LANE_SLOTS_MAX, Turn};
use accredit_domain::ports::{Job, OwnSlot, Slot};

use crate::Server;
use crate::nodes::name_of;

/// The slots, as far as this node knows.
#[derive(Debug)]
pub struct Slots {
    /// Nothing where no other process writes to the store.
    known: Option<Mutex<Known>>,
}

#[derive(Debug)]
struct Known {
    /// One for each slot.
    turns: [Turn; LANE_SLOTS_MAX],
    /// The one that is this node's.
    own: Option<Slot>,
}

impl Known {
    fn turn(&mut self, slot: Slot) -> Option<&mut Turn> {
        self.turns.get_mut(usize::from(slot.number()))
    }
}

impl Slots {
    /// Of a process that has its store alone.
    pub fn alone() -> Self {
        Self { known: None }
    }

    /// Of one of several, which is called so by itself alone.
    pub fn of(name: u64) -> Self {
        let turns = std::array::from_fn(|_| Turn::of(name_of(name)));
        Self { known: Some(Mutex::new(Known { turns, own: None })) }
    }

    fn known(&self) -> Option<MutexGuard<'_, Known>> {
        let known = self.known.as_ref()?;
        Some(known.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The slot that is this node's, as far as it knows.
    pub fn own(&self) -> Option<Slot> {
        self.known()?.own
    }
}

/// Shows that this node lives, where it has a slot, or takes one, where there is one to be had.
pub async fn look(server: &Server) -> Result<(), Fault> {
    if server.slots.known.is_none() {
        return Ok(());
    }
    if let Some(slot) = server.slots.own() {
        if look_at(server, slot).await? {
            return Ok(());
        }
        if let Some(mut known) = server.slots.known() {
            known.own = None;
        }
        server.world.store.write_in(None);
    }
    for slot in Slot::ALL {
        if look_at(server, slot).await? {
            break;
        }
    }
    Ok(())
}

/// Whether a slot is this node's, after it has tried.
async fn look_at(server: &Server, slot: Slot) -> Result<bool, Fault> {
    let (store, clock) = (&server.world.store, &server.world.clock);
    let turn = |known: &mut Known, seen: Option<&_>| known.turn(slot)?.look(seen, clock.elapsed());
    let seen = store.lease(Job::Lane(slot)).await?;
    let to = server.slots.known().and_then(|mut known| turn(&mut known, seen.as_ref()));
    let Some(to) = to else { return Ok(false) };
    let began = clock.elapsed();
    let is_written = store.move_lease(Job::Lane(slot), seen, to.clone()).await?;
    let Some(mut known) = server.slots.known() else { return Ok(false) };
    let Some(turn) = known.turn(slot) else { return Ok(false) };
    if !is_written {
        turn.lost();
        return Ok(false);
    }
    turn.written(&to, began);
    if known.own.replace(slot) != Some(slot) {
        tracing::info!(slot = slot.number(), "this node writes what it issues to lanes of its own");
    }
    drop(known);
    store.write_in(Some(OwnSlot { slot, lease: to.lease }));
    Ok(true)
}

/// Gives the slot back, so that another node need not find out that this one has ended.
pub async fn give_back(server: &Server) -> Result<(), Fault> {
    let Some(slot) = server.slots.own() else { return Ok(()) };
    server.world.store.write_in(None);
    let Some(seen) = server.world.store.lease(Job::Lane(slot)).await? else { return Ok(()) };
    let to = server.slots.known().and_then(|mut known| {
        known.own = None;
        known.turn(slot)?.give_back(seen.clone())
    });
    let Some(to) = to else { return Ok(()) };
    server.world.store.move_lease(Job::Lane(slot), Some(seen), to).await.map(drop)
}
