//! The bench's look at the world: arguments, clocks, waiting and randomness.
//!
//! A bench measures real time on a real machine, so all of it is ambient; it stands in one file so
//! that the rest shows where time enters.
#![expect(clippy::disallowed_methods, reason = "a bench measures real time")]

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use accredit_wire::time::Time;

/// The words after the program's name.
pub(crate) fn args() -> Vec<String> {
    std::env::args().skip(1).collect()
}

/// Monotonic time.
pub(crate) fn instant() -> Instant {
    Instant::now()
}

/// The wall clock.
pub(crate) fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// Blocks this thread.
pub(crate) fn sleep(duration: Duration) {
    std::thread::sleep(duration);
}

/// Waits in a task.
pub(crate) async fn wait_until(at: Instant) {
    tokio::time::sleep_until(at.into()).await;
}

/// Numbers that look random and are the same in each run: what is measured must not depend on
/// luck. (SplitMix64.)
pub(crate) struct Numbers(u64);

impl Numbers {
    /// A sequence of its own for each seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A sequence that no other run has.
    pub(crate) fn fresh() -> Self {
        Self(now().micros() as u64 ^ (u64::from(std::process::id()) << 44))
    }

    /// The next 64 bits.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Ten bytes, as an id takes them.
    pub(crate) fn ten(&mut self) -> [u8; 10] {
        let mut bytes = [0; 10];
        bytes[..8].copy_from_slice(&self.next().to_le_bytes());
        bytes[8..].copy_from_slice(&(self.next() as u16).to_le_bytes());
        bytes
    }
}
