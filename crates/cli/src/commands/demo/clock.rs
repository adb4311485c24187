//! The demo's clock: real time, because what is shown is how long things take.
//!
//! Nothing waits longer than it must: whatever is waited for is looked at again and again, up to
//! a bound, and what did not come within its bound counts as not held.
#![expect(clippy::disallowed_methods, reason = "measures and waits for real processes")]

use std::future::Future;
use std::time::{Duration, Instant, SystemTime};

/// How often something that is waited for is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// Monotonic time.
pub(super) fn now() -> Instant {
    Instant::now()
}

/// The time of day, seconds since 1970: for what is signed.
pub(super) fn seconds() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}

/// Waits.
pub(super) async fn pause(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// Waits until `holds`, at most for `bound`; the error names `what` did not come.
pub(super) async fn until(
    bound: Duration,
    what: &str,
    mut holds: impl FnMut() -> bool,
) -> Result<(), String> {
    let looked = async {
        while !holds() {
            pause(LOOK_EVERY).await;
        }
    };
    within(bound, what, looked).await
}

/// What `future` gives, at most after `bound`; the error names `what` did not come.
pub(super) async fn within<T>(
    bound: Duration,
    what: &str,
    future: impl Future<Output = T>,
) -> Result<T, String> {
    let outcome = tokio::time::timeout(bound, future).await;
    outcome.map_err(|_| format!("{what} did not come within {} s", bound.as_secs()))
}
