//! The clock, the timer and the randomness of this process: the one file here that asks the world for
//! them. The daemon's decisions hang on nothing else.
#![expect(
    clippy::disallowed_methods,
    reason = "the edge at which ambient time and randomness enter"
)]

use std::time::{Duration, Instant, SystemTime};

use accredit_wire::time::Time;

/// The time of day, for what somebody else has dated.
pub(crate) fn now() -> Time {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Time::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// Monotonic time.
pub(crate) fn instant() -> Instant {
    Instant::now()
}

/// Waits.
pub(crate) async fn sleep(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// A duration drawn evenly from `half of longest ..= longest`, so that many programs that lost one
/// server do not come back at one instant.
pub(crate) fn jittered(longest: Duration) -> Duration {
    let mut bytes = [0; 2];
    let drawn = aws_lc_rs::rand::fill(&mut bytes).map_or(u16::MAX, |()| u16::from_le_bytes(bytes));
    longest / 2 + longest.mul_f64(f64::from(drawn) / f64::from(u16::MAX) / 2.0)
}
