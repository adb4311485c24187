//! Whether this node does by the clock what one does for all (see [`accredit_domain::lease`]).
//!
//! Where a process has its store alone, it always does, and no lease is written.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use accredit_domain::Fault;
use accredit_domain::lease::Turn;
use accredit_domain::ports::{Fence, Job};
use accredit_domain::terms::Terms;

use crate::Server;
use crate::nodes::name_of;

/// Whose turn it is, as far as this node knows.
#[derive(Debug)]
pub struct Turns {
    /// Nothing where no other process writes to the store.
    turn: Option<Mutex<Turn>>,
}

impl Turns {
    /// Of a process that has its store alone.
    pub fn alone() -> Self {
        Self { turn: None }
    }

    /// Of one of several, which is called so by itself alone.
    pub fn of(name: u64) -> Self {
        Self { turn: Some(Mutex::new(Turn::of(name_of(name)))) }
    }

    fn turn(&self) -> Option<MutexGuard<'_, Turn>> {
        let turn = self.turn.as_ref()?;
        Some(turn.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether it is this node's at `up`, of the monotonic clock.
    pub fn is_own(&self, up: Duration) -> bool {
        self.terms(up).is_some()
    }

    /// The terms of what this node does by the clock at `up`; nothing where another one does it.
    pub fn terms(&self, up: Duration) -> Option<Terms> {
        let Some(turn) = self.turn() else { return Some(Terms::default()) };
        let lease = Fence { job: Job::Scheduled, lease: turn.held(up)? };
        Some(Terms { lease: Some(lease), ..Terms::default() })
    }
}

/// Shows that this node lives, where it has the lease, or takes it, where nobody else does.
pub async fn look(server: &Server) -> Result<(), Fault> {
    let (store, clock) = (&server.world.store, &server.world.clock);
    if server.turns.turn.is_none() {
        return Ok(());
    }
    let seen = store.lease(Job::Scheduled).await?;
    let to = server.turns.turn().and_then(|mut turn| turn.look(seen.as_ref(), clock.elapsed()));
    let Some(to) = to else { return Ok(()) };
    let began = clock.elapsed();
    let is_new = seen.as_ref().is_none_or(|seen| seen.lease != to.lease);
    let is_written = store.move_lease(Job::Scheduled, seen, to.clone()).await?;
    let Some(mut turn) = server.turns.turn() else { return Ok(()) };
    if is_written {
        turn.written(&to, began);
    } else {
        turn.lost();
    }
    if is_written && is_new {
        tracing::info!(lease = to.lease, "this node does from now on what one does for all");
    }
    Ok(())
}

/// Gives the lease back, so that another node need not find out that this one has ended.
pub async fn give_back(server: &Server) -> Result<(), Fault> {
    if server.turns.turn.is_none() {
        return Ok(());
    }
    let Some(seen) = server.world.store.lease(Job::Scheduled).await? else { return Ok(()) };
    let to = server.turns.turn().and_then(|mut turn| turn.give_back(seen.clone()));
    let Some(to) = to else { return Ok(()) };
    server.world.store.move_lease(Job::Scheduled, Some(seen), to).await.map(drop)
}
