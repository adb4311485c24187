//! How old a revocation state is, by the server's signed time and a local clock that may be wrong.
//!
//! Each message says when the server signed it (`at`); the local clock says when it came and what
//! time it is now. The clocks need not agree. The rule: *a wrong local clock can make a state look
//! older, never younger than it is.*
//!
//! - A local clock that runs **ahead** makes the state look older by as much. That cannot be told
//!   from a message that was held back on its way, so it counts.
//! - A local clock that runs **behind** is caught by any message whose `at` lies in its future. The
//!   largest such distance is remembered and added to the local clock from then on, so that a
//!   message which is held back later cannot use it.
//! - A local clock that is **set back** while a state is held cannot tell the age at all: the age
//!   is unknown until the next message.
//!
//! Callers should pass a time that does not jump, such as the wall clock at the start of the
//! process plus a monotonic clock since; then only the first two cases can arise.

use std::time::Duration;

use crate::time::Time;

/// How far the local time may go backwards between two looks at it without being taken for a
/// clock that was set back: requests read the clock once and may overtake each other.
pub const BACKWARDS_MAX: Duration = Duration::from_secs(5);

/// When a state was signed and when it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anchor {
    at: Time,
    received_at: Time,
    behind: Duration,
}

impl Anchor {
    /// The anchor of a first message, signed at `at` and received at the local time `received_at`.
    pub fn new(at: Time, received_at: Time) -> Self {
        Self { at, received_at, behind: at.since(received_at) }
    }

    /// The anchor with all its parts, as it was stored.
    pub fn from_parts(at: Time, received_at: Time, behind: Duration) -> Self {
        Self { at, received_at, behind }
    }

    /// The anchor of a later message.
    #[must_use]
    pub fn next(self, at: Time, received_at: Time) -> Self {
        Self { at, received_at, behind: self.behind.max(at.since(received_at)) }
    }

    /// The server's signed time.
    pub fn at(self) -> Time {
        self.at
    }

    /// The local time at which the message came.
    pub fn received_at(self) -> Time {
        self.received_at
    }

    /// By how much the local clock is known to be behind the server's.
    pub fn behind(self) -> Duration {
        self.behind
    }

    /// The age at the local time `now`, where `latest` is the latest local time seen since the
    /// message came. `None` where the local clock was set back, so that nobody knows.
    pub fn age(self, now: Time, latest: Time) -> Option<Duration> {
        if now.plus(BACKWARDS_MAX) < latest.max(self.received_at) {
            return None;
        }
        Some(self.server_time(now).since(self.at))
    }

    /// The server's time at the local time `now`, as far as it is known: never before `now`,
    /// never before the last signed time.
    pub fn server_time(self, now: Time) -> Time {
        now.plus(self.behind).max(self.at)
    }
}
