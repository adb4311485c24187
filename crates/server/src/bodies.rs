//! The bytes of bodies that have begun and not ended: a bound on all of them together, and one on
//! those of a network.
//!
//! A body is read before it is known who sends it and before its request has a place
//! ([`crate::room`]), so that whoever sends slowly keeps nobody out. What is read so far waits in
//! memory, at most for [`BODY_TIME_MAX`](crate::dispatch::BODY_TIME_MAX), and there may be as many
//! as there are streams. So it is counted here; a body that comes in one piece never waits, and is
//! not. Beyond the bounds a request is refused as one too many is.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::shares::{Shares, SharesMax, network_of};

/// Bytes of all bodies that are being read.
pub const BODIES_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The same of those from one network (/24 or /48): a quarter, as of the connections.
pub const BODIES_OF_NETWORK_BYTES_MAX: usize = BODIES_BYTES_MAX / 4;

/// The bodies that are being read.
#[derive(Debug, Default)]
pub struct Bodies {
    held: Mutex<Shares>,
}

impl Bodies {
    fn held(&self) -> MutexGuard<'_, Shares> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to read a body that `peer` sends.
    pub fn begin(self: &Arc<Self>, peer: Option<IpAddr>) -> Reading {
        Reading { of: Arc::clone(self), network: peer.and_then(network_of), bytes: 0 }
    }

    /// Bytes that are held now.
    pub fn bytes(&self) -> usize {
        self.held().all()
    }
}

/// One body that is being read. Dropped, its bytes are counted no more.
#[derive(Debug)]
pub struct Reading {
    of: Arc<Bodies>,
    network: Option<IpAddr>,
    bytes: usize,
}

impl Reading {
    /// Counts what came; false where that is beyond a bound.
    #[must_use]
    pub fn more(&mut self, bytes: usize) -> bool {
        let max = SharesMax { all: BODIES_BYTES_MAX, network: BODIES_OF_NETWORK_BYTES_MAX };
        let is_within = self.of.held().take(self.network, bytes, max).is_ok();
        if is_within {
            self.bytes += bytes;
        }
        is_within
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.of.held().give_back(self.network, self.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_bounded_for_all_and_for_a_network_and_given_back() {
        let bodies = Arc::new(Bodies::default());
        let from = |third: u8, last: u8| Some(IpAddr::from([192, 0, third, last]));
        let mut first = bodies.begin(from(1, 1));
        assert!(first.more(BODIES_OF_NETWORK_BYTES_MAX - 10));
        let mut neighbour = bodies.begin(from(1, 2));
        assert!(neighbour.more(10) && !neighbour.more(1), "their network has its part");
        let mut others: Vec<Reading> = (2..5).map(|third| bodies.begin(from(third, 1))).collect();
        assert!(others.iter_mut().all(|other| other.more(BODIES_OF_NETWORK_BYTES_MAX)));
        assert_eq!(bodies.bytes(), BODIES_BYTES_MAX);
        assert!(!bodies.begin(from(9, 1)).more(1), "all is taken");
        assert!(!bodies.begin(None).more(1));
        drop(first);
        assert!(neighbour.more(20));
        drop((neighbour, others));
        assert_eq!(bodies.bytes(), 0);
        assert_eq!(bodies.held().networks(), 0, "who has left is forgotten");
        let mut proxy = bodies.begin(Some(IpAddr::from([127, 0, 0, 1])));
        assert!(proxy.more(BODIES_BYTES_MAX), "a proxy on loopback is no network");
        assert!(!proxy.more(1));
    }
}
