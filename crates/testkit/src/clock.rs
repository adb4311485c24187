//! A clock that stands until a test moves it.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use accredit_domain::ports::Clock;
use accredit_wire::time::Time;

/// When every world begins: 2026-01-01T00:00:00Z.
pub const BEGINNING: Time = Time::from_seconds(1_767_225_600);

/// The machine has run for a while.
const BOOTED_BEFORE: Duration = Duration::from_hours(1);

/// A clock that a test sets: the time of day, and the monotonic clock beside it.
pub struct SettableClock {
    now: AtomicI64,
    elapsed: AtomicU64,
}

impl Default for SettableClock {
    fn default() -> Self {
        let elapsed = BOOTED_BEFORE.as_micros() as u64;
        Self { now: AtomicI64::new(BEGINNING.micros()), elapsed: AtomicU64::new(elapsed) }
    }
}

impl SettableClock {
    /// Time goes by.
    pub fn advance(&self, by: Duration) {
        self.elapsed.fetch_add(by.as_micros() as u64, Ordering::SeqCst);
        self.set(self.now().plus(by));
    }

    /// How long the world has been there, whatever its time of day was set to.
    pub fn passed(&self) -> Duration {
        self.elapsed().saturating_sub(BOOTED_BEFORE)
    }

    /// The time of day, had nobody ever set it.
    pub fn right(&self) -> Time {
        BEGINNING.plus(self.passed())
    }

    /// Sets the time of day, also backwards, without any time going by.
    pub fn set(&self, to: Time) {
        self.now.store(to.micros(), Ordering::SeqCst);
    }
}

impl Clock for SettableClock {
    fn now(&self) -> Time {
        Time::from_micros(self.now.load(Ordering::SeqCst))
    }

    fn elapsed(&self) -> Duration {
        Duration::from_micros(self.elapsed.load(Ordering::SeqCst))
    }
}
