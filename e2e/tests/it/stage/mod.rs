//! What every story stands on: the binary, a running server, a raw HTTP client, the actors.

pub(crate) mod binary;
pub(crate) mod cast;
pub(crate) mod front;
pub(crate) mod http;
pub(crate) mod keys;
pub(crate) mod planted;
pub(crate) mod postgres;
pub(crate) mod reader;
pub(crate) mod server;
pub(crate) mod service;

use std::time::{Duration, Instant};

pub(crate) use cast::Cast;
pub(crate) use http::{Answer, Ask};
pub(crate) use server::Server;

/// How soon a verifier that follows the feed must know of a revocation, here with time to spare
/// for a loaded machine. The benchmark measures the milliseconds.
pub(crate) const FOLLOWS_WITHIN: Duration = Duration::from_secs(3);

/// Asks again and again until the answer is yes; how long that took.
pub(crate) async fn until(
    what: &str,
    max: Duration,
    mut ask: impl AsyncFnMut() -> bool,
) -> Duration {
    let start = Instant::now();
    while !ask().await {
        assert!(start.elapsed() < max, "{what}: not within {max:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    start.elapsed()
}

/// The time in seconds, as JWTs count it.
pub(crate) fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.expect("a clock").as_secs().try_into().expect("a time")
}

/// Text that no other call returns.
pub(crate) fn unique() -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    format!("u{}-{}", nanos.expect("a clock").as_nanos(), NEXT.fetch_add(1, Ordering::Relaxed))
}
