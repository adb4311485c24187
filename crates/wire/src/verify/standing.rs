//! Whether a token is still alive: the revocation state, and how old that may be.
//!
//! Three answers are no: an id of the lineage is dead; the state is older than allowed, so that
//! nobody knows; the token was decided after the state, so that the state cannot know. The last
//! two end when the follower catches up.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use super::Rejection;
use super::cache::Known;
use crate::biscuit::Attenuable;
use crate::revocations::{Anchor, Follower, State};
use crate::time::Time;

/// How much later than the latest local time seen another must be to be noted. Looking is cheap;
/// noting makes other cores wait.
const NOTED_EVERY: Duration = Duration::from_millis(100);

/// A revocation state and its age.
#[derive(Debug)]
pub struct Standing {
    state: State,
    /// Nothing where it is never older than now: [`Standing::own`].
    anchor: Option<Anchor>,
    /// The latest local time seen with this state, microseconds.
    latest: AtomicI64,
}

impl Standing {
    /// What a follower holds; none before its first snapshot.
    pub fn of(follower: &Follower) -> Option<Self> {
        Some(Self::new(follower.state().clone(), follower.anchor()?, follower.seen()))
    }

    /// The state of who makes it: it is as young as can be, whatever is done to the clock, and the
    /// server's time is the time that is asked about.
    pub fn own(state: State) -> Self {
        Self { state, anchor: None, latest: AtomicI64::default() }
    }

    /// The state as it was read from its source at the local time `now`.
    pub fn current(state: State, now: Time) -> Self {
        Self::new(state, Anchor::current(now), now)
    }

    fn new(state: State, anchor: Anchor, seen: Time) -> Self {
        let latest = AtomicI64::new(seen.max(anchor.received_at()).micros());
        Self { state, anchor: Some(anchor), latest }
    }

    /// The state.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The server's time at the local time `now`, as far as it is known.
    pub fn server_time(&self, now: Time) -> Time {
        self.anchor.map_or(now, |anchor| anchor.server_time(now))
    }

    /// How old the state is at the local time `now`; `None` where the local clock was set back.
    pub fn age(&self, now: Time) -> Option<Duration> {
        let Some(anchor) = self.anchor else { return Some(Duration::ZERO) };
        let latest = self.latest.load(Ordering::Relaxed);
        if now.since(Time::from_micros(latest)) >= NOTED_EVERY {
            self.latest.fetch_max(now.micros(), Ordering::Relaxed);
        }
        anchor.age(now, Time::from_micros(latest))
    }

    /// Refuses where the state is older than `age_max`.
    pub(super) fn check_age(&self, now: Time, age_max: Duration) -> Result<(), Rejection> {
        match self.age(now) {
            Some(age) if age <= age_max => Ok(()),
            age => Err(Rejection::Stale { age, age_max }),
        }
    }
}

/// Looks for the dead in a token's lineage, unless that was done in this version of the state.
pub(super) fn check(known: &Known, standing: &Standing, version: u64) -> Result<(), Rejection> {
    if known.was_alive_in(version) {
        return Ok(());
    }
    let token = known.token();
    let state = &standing.state;
    // Of agents that a holder named, the issuer decided nothing: whatever is known of them counts.
    let named = known.as_attenuable().into_iter().flat_map(Attenuable::named);
    let dead = state.is_dead(token.lineage(), token.rev).or_else(|| state.is_dead(named, 0));
    if let Some(id) = dead {
        return Err(Rejection::Revoked { id });
    }
    if token.rev > state.rev() {
        return Err(Rejection::Behind { token: token.rev, state: state.rev() });
    }
    known.set_alive_in(version);
    Ok(())
}
