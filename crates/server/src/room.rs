//! RFC 9110 section 15.6.4: what cannot be worked on soon is refused at once, with a time to come
//! back.
//!
//! A queue that grows while it is being offered more than the machine can do makes everybody wait
//! and helps nobody. There are two such queues, and a bound on each.
//!
//! Where the store is what is slow, requests wait for their batch: there is room for as many as fill
//! two, one that is being synced and one that waits. A place is taken once the request was read
//! whole, so that whoever sends slowly keeps nobody out. Where the processor is, requests wait
//! unread in their sockets, and nobody can count them; but how long they wait is how long a task
//! that yields waits for its next turn, and that is measured all the time ([`Room::lap`]).
//!
//! Health is asked without a place. Whoever comes to stop something and is refused one has a few
//! apart, however long turns take: a flood is when something most needs to be stopped. Those are
//! given to who has shown a right key. Showing one takes a place at the door, for as long as the
//! key is looked up; a flood of invented keys has few of these and none of the others, which are
//! for keys that were right lately ([`crate::acquainted`]).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::StatusCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::failure::Failure;
use crate::metrics;

/// Requests that are worked on at a time.
pub const REQUESTS_MAX: usize = 512;

/// Requests to stop something that are worked on besides, where there is no other place.
pub const STOPS_MAX: usize = 32;
/// Keys that are looked up at a time at the door, of those that were right lately.
pub const ACQUAINTED_AT_DOOR_MAX: usize = 64;
/// Keys that are looked up at a time at the door, of all others.
pub const STRANGERS_AT_DOOR_MAX: usize = 8;
/// How long a task may wait for its turn before requests are refused.
pub const TURN_MAX: Duration = Duration::from_millis(200);

/// The places of a server, and how long it takes until each task had its turn.
#[derive(Debug)]
pub struct Room {
    places: Arc<Semaphore>,
    stops: Arc<Semaphore>,
    acquainted: Arc<Semaphore>,
    strangers: Arc<Semaphore>,
    /// What the times below are counted from.
    opened: Instant,
    /// When the lap under way began, microseconds; 0 where none is under way.
    began: AtomicU64,
    /// How long the last lap took, microseconds.
    took: AtomicU64,
}

/// A place; given back when dropped.
#[derive(Debug)]
pub struct Place(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

impl Default for Room {
    fn default() -> Self {
        Self {
            places: Arc::new(Semaphore::new(REQUESTS_MAX)),
            stops: Arc::new(Semaphore::new(STOPS_MAX)),
            acquainted: Arc::new(Semaphore::new(ACQUAINTED_AT_DOOR_MAX)),
            strangers: Arc::new(Semaphore::new(STRANGERS_AT_DOOR_MAX)),
            opened: metrics::begin(),
            began: AtomicU64::new(0),
            took: AtomicU64::new(0),
        }
    }
}

impl Room {
    /// Takes a place for a request that came at `now`, if there is one and turns come soon enough.
    pub fn enter(&self, now: Instant) -> Result<Place, Failure> {
        if self.turn(now) > TURN_MAX {
            return Err(overloaded(format!(
                "requests wait longer than {} ms for their turn",
                TURN_MAX.as_millis()
            )));
        }
        let place = Arc::clone(&self.places).try_acquire_owned();
        let full = |_| overloaded(format!("{REQUESTS_MAX} requests are being worked on"));
        place.map(Place).map_err(full)
    }

    /// Takes every ordinary place that there is, so that nobody else gets one.
    pub fn fill(&self) -> Vec<Place> {
        let place = || Arc::clone(&self.places).try_acquire_owned().ok().map(Place);
        std::iter::from_fn(place).collect()
    }

    /// Takes a place at the door for a request to stop something whose key is looked up, if there is
    /// one.
    pub fn knock(&self, is_acquainted: bool) -> Result<Place, Failure> {
        let door = if is_acquainted { &self.acquainted } else { &self.strangers };
        let place = Arc::clone(door).try_acquire_owned();
        let full = |_| overloaded("too many wait to show their key".to_owned());
        place.map(Place).map_err(full)
    }

    /// Takes a place for a request to stop something, whose key was right, if there is one.
    pub fn enter_to_stop(&self) -> Result<Place, Failure> {
        let place = Arc::clone(&self.stops).try_acquire_owned();
        let full = |_| {
            overloaded(format!(
                "{REQUESTS_MAX} requests and {STOPS_MAX} more to stop something are being worked on"
            ))
        };
        place.map(Place).map_err(full)
    }

    /// One lap: lets all tasks that are ready have their turn, and notes how long that took.
    pub async fn lap(&self) {
        let began = self.micros(metrics::begin());
        self.began.store(began, Ordering::Relaxed);
        tokio::task::yield_now().await;
        let took = self.micros(metrics::begin()).saturating_sub(began);
        self.took.store(took, Ordering::Relaxed);
        self.began.store(0, Ordering::Relaxed);
    }

    /// How long a task waits for its turn: as the last one did, or as the one under way has so far.
    fn turn(&self, now: Instant) -> Duration {
        let under_way = match self.began.load(Ordering::Relaxed) {
            0 => 0,
            began => self.micros(now).saturating_sub(began),
        };
        Duration::from_micros(under_way.max(self.took.load(Ordering::Relaxed)))
    }

    /// Microseconds since this began, never 0.
    fn micros(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.opened).as_micros() as u64 + 1
    }
}

/// The refusal of what is one too many.
pub(crate) fn overloaded(detail: String) -> Failure {
    Failure::Http {
        status: StatusCode::SERVICE_UNAVAILABLE,
        rule: "overloaded",
        detail,
        hint: "nothing was done: try again after `Retry-After`, and with fewer at a time"
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_room_refuses_until_somebody_leaves() {
        let room = Room::default();
        let now = room.opened;
        let mut places: Vec<Place> =
            (0..REQUESTS_MAX).map(|_| room.enter(now).expect("a place")).collect();
        refused(&room, now);
        // There is still room for whoever comes to stop something, and a bound on that too.
        let stops: Vec<Place> =
            (0..STOPS_MAX).map(|_| room.enter_to_stop().expect("a place")).collect();
        assert!(room.enter_to_stop().is_err());
        drop(stops);
        places.pop();
        assert!(room.enter(now).is_ok() && room.enter_to_stop().is_ok());
    }

    #[track_caller]
    fn refused(room: &Room, now: Instant) {
        let Err(Failure::Http { status, rule, .. }) = room.enter(now) else { panic!("taken") };
        assert_eq!((status, rule), (StatusCode::SERVICE_UNAVAILABLE, "overloaded"));
    }

    #[tokio::test]
    async fn who_would_wait_too_long_for_a_turn_is_refused_until_turns_come_sooner() {
        let room = Room::default();
        let after = |time: Duration| room.opened + time;
        // A lap that has begun and does not end: some task, or many, take all the time.
        room.began.store(1, Ordering::Relaxed);
        assert!(room.enter(after(TURN_MAX)).is_ok());
        refused(&room, after(TURN_MAX + Duration::from_millis(1)));
        // It has ended; the next one will be as long, for all that is known.
        room.began.store(0, Ordering::Relaxed);
        room.took.store(TURN_MAX.as_micros() as u64 + 1, Ordering::Relaxed);
        refused(&room, after(Duration::ZERO));
        room.lap().await;
        assert!(room.enter(after(TURN_MAX * 9)).is_ok(), "nobody else is here");
    }
}
