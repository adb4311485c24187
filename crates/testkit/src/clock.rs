//! A clock that stands until a test moves it.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use accredit_domain::ports::Clock;
use accredit_wire::time::Time;

/// When every world begins: 2026-01-01T00:00:00Z.
pub const BEGINNING: Time = Time::from_seconds(1_767_225_600);

/// A clock that a test sets.
pub struct SettableClock(AtomicI64);

impl Default for SettableClock {
    fn default() -> Self {
        Self(AtomicI64::new(BEGINNING.micros()))
    }
}

impl SettableClock {
    /// Moves the time forwards.
    pub fn advance(&self, by: Duration) {
        self.set(self.now().plus(by));
    }

    /// Sets the time, also backwards.
    pub fn set(&self, to: Time) {
        self.0.store(to.micros(), Ordering::SeqCst);
    }
}

impl Clock for SettableClock {
    fn now(&self) -> Time {
        Time::from_micros(self.0.load(Ordering::SeqCst))
    }
}
