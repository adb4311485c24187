//! The clock, the timer and the randomness of this process: the one file of the library that
//! asks the world for them.
//!
//! A library inside somebody else's program has no composition root to be given them from.
#![expect(
    clippy::disallowed_methods,
    reason = "the edge at which ambient time and randomness enter"
)]

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use accredit_wire::time::Time;

/// The wall clock and the monotonic one at the first look at them.
static START: OnceLock<(Time, Instant)> = OnceLock::new();

/// The time: the later of the wall clock and of the wall clock at the start plus the monotonic
/// time since.
///
/// So it does not follow a clock that is set back, and it does follow one that went on while this
/// machine was suspended. Where the two differ, things look older, never younger.
pub(crate) fn now() -> Time {
    let wall = wall();
    let (start, since) = START.get_or_init(|| (wall, Instant::now()));
    wall.max(start.plus(since.elapsed()))
}

/// Before 1970, 1970.
fn wall() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
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

/// Random bytes from the operating system, or nothing where it has none to give.
pub(crate) fn random<const N: usize>() -> Option<[u8; N]> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).ok().map(|()| bytes)
}

/// A duration drawn evenly from `half of longest ..= longest`, so that many programs that lost
/// one server do not come back at one instant.
pub(crate) fn jittered(longest: Duration) -> Duration {
    let fraction = random::<2>().map_or(u16::MAX, u16::from_le_bytes);
    longest / 2 + longest.mul_f64(f64::from(fraction) / f64::from(u16::MAX) / 2.0)
}
