//! setrlimit(2) RLIMIT_NOFILE: a server takes as many file descriptors as it is allowed.
//!
//! The soft limit is often 1,024, for programs that are not made for more. Each connection takes a
//! descriptor; those of the store and of the log must not be what is missing.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors that are not connections: store, log, listeners, requests of ours to others.
const APART: u64 = 256;

/// Raises the soft limit to the hard one. How many connections there can be.
pub(crate) fn raise() -> usize {
    let limit = getrlimit(Resource::Nofile);
    if setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).is_err() {
        tracing::warn!("the limit on file descriptors was not raised");
    }
    let now = getrlimit(Resource::Nofile).current;
    let connections = now.map_or(u64::MAX, |now| now.saturating_sub(APART).max(1));
    usize::try_from(connections).unwrap_or(usize::MAX)
}
