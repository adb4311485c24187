//! Places for connections: a bound on all, and one on those of a network, so that nobody takes
//! every place. Who gets none is counted, and told in our log at most once a minute.
//!
//! Absent on purpose: a queue. A connection without a place is closed at once, and its client tries
//! again.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::shares::{Reached, Shares, SharesMax, network_of};

/// Connections at a time.
pub const CONNECTIONS_MAX: usize = 16_384;
/// Connections of one network (/24 or /48) at a time: a quarter, so that it takes several to keep
/// everybody else out, and an office behind one address is not in its own way.
pub const CONNECTIONS_OF_NETWORK_MAX: usize = CONNECTIONS_MAX / 4;
/// How long our log says nothing more about refused connections once it has.
pub const TOLD_EVERY: Duration = Duration::from_mins(1);

/// Why a connection got no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoPlace {
    /// All places are taken.
    Full,
    /// Its network has taken its part.
    Network,
}

impl NoPlace {
    /// Every reason.
    pub const ALL: [Self; 2] = [Self::Full, Self::Network];

    /// The stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Network => "network",
        }
    }

    const fn index(self) -> usize {
        match self {
            Self::Full => 0,
            Self::Network => 1,
        }
    }
}

/// The connections of this process.
#[derive(Debug)]
pub struct Connections {
    max: AtomicUsize,
    open: Mutex<Shares>,
    refused: [AtomicU64; NoPlace::ALL.len()],
    told: Mutex<Option<Instant>>,
}

impl Default for Connections {
    fn default() -> Self {
        Self {
            max: AtomicUsize::new(CONNECTIONS_MAX),
            open: Mutex::default(),
            refused: Default::default(),
            told: Mutex::default(),
        }
    }
}

impl Connections {
    /// Lowers the bound to what the process has descriptors for.
    pub fn at_most(&self, max: usize) {
        self.max.store(max.min(CONNECTIONS_MAX), Ordering::Relaxed);
    }

    fn open(&self) -> MutexGuard<'_, Shares> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place for a connection from `peer`.
    pub fn enter(self: &Arc<Self>, peer: IpAddr) -> Result<Place, NoPlace> {
        let all = self.max.load(Ordering::Relaxed);
        let (network, max) = (network_of(peer), CONNECTIONS_OF_NETWORK_MAX);
        let refusal = match self.open().take(network, 1, SharesMax { all, network: max }) {
            Ok(()) => return Ok(Place { of: Arc::clone(self), network }),
            Err(Reached::All) => NoPlace::Full,
            Err(Reached::Network) => NoPlace::Network,
        };
        self.refused[refusal.index()].fetch_add(1, Ordering::Relaxed);
        Err(refusal)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.open().all()
    }

    /// How many were refused for this reason.
    pub fn refused(&self, why: NoPlace) -> u64 {
        self.refused[why.index()].load(Ordering::Relaxed)
    }

    /// Whether our log is to say at `now` what went wrong with a connection.
    pub(crate) fn is_told(&self, now: Instant) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let is_told = told.is_none_or(|last| now.saturating_duration_since(last) >= TOLD_EVERY);
        if is_told {
            *told = Some(now);
        }
        is_told
    }
}

/// A place; given back when dropped.
#[derive(Debug)]
pub struct Place {
    of: Arc<Connections>,
    network: Option<IpAddr>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.of.open().give_back(self.network, 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv6Addr;

    fn address(third: u8, last: u8) -> IpAddr {
        IpAddr::from([192, 0, third, last])
    }

    #[test]
    fn beyond_its_bound_nobody_gets_a_place_until_somebody_leaves() {
        let connections = Arc::new(Connections::default());
        connections.at_most(3);
        let mut places: Vec<_> =
            (0..3).map(|n| connections.enter(address(n, 1)).expect("a place")).collect();
        assert_eq!(connections.enter(address(9, 1)).err(), Some(NoPlace::Full));
        assert_eq!(connections.enter(IpAddr::from([127, 0, 0, 1])).err(), Some(NoPlace::Full));
        places.pop();
        drop(connections.enter(address(9, 1)).expect("a place"));
        assert_eq!((connections.count(), connections.refused(NoPlace::Full)), (2, 2));
        connections.at_most(usize::MAX);
        assert_eq!(connections.max.load(Ordering::Relaxed), CONNECTIONS_MAX);
    }

    #[test]
    fn one_network_keeps_nobody_else_out() {
        let connections = Arc::new(Connections::default());
        let greedy = |n: usize| address(2, (n % 250) as u8);
        let places: Vec<_> = (0..CONNECTIONS_OF_NETWORK_MAX)
            .map(|n| connections.enter(greedy(n)).expect("a place"))
            .collect();
        assert_eq!(connections.enter(greedy(0)).err(), Some(NoPlace::Network));
        let other = connections.enter(address(3, 1)).expect("another network");
        let v6 = IpAddr::from(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1));
        drop((connections.enter(v6).expect("another network"), other));
        assert_eq!(connections.refused(NoPlace::Network), 1);
        drop(places);
        assert_eq!(connections.count(), 0);
        assert_eq!(connections.open().networks(), 0, "who has left is forgotten");
        drop(connections.enter(greedy(0)).expect("a place"));
    }

    #[test]
    fn a_proxy_on_loopback_is_no_network() {
        let connections = Arc::new(Connections::default());
        let proxy = IpAddr::from([127, 0, 0, 1]);
        let places: Vec<_> = (0..=CONNECTIONS_OF_NETWORK_MAX)
            .map(|_| connections.enter(proxy).expect("a place"))
            .collect();
        assert_eq!(places.len(), connections.count());
    }

    #[test]
    fn what_is_refused_is_told_once_a_minute() {
        let connections = Connections::default();
        let begin = crate::metrics::begin();
        let told = [0, 1, 59, 60, 61, 119, 120, 500]
            .map(|second| connections.is_told(begin + Duration::from_secs(second)));
        assert_eq!(told, [true, false, false, true, false, false, true, true]);
    }
}
