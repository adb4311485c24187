//! How much of something is taken, by all together and by each network: two bounds, so that nobody
//! takes everything.
//!
//! Loopback is no network: there stands a proxy, through which everybody comes.

use std::collections::HashMap;
use std::net::IpAddr;

use accredit_domain::audit::refusals::network;

/// What is taken now.
#[derive(Debug, Default)]
pub(crate) struct Shares {
    all: usize,
    of: HashMap<IpAddr, usize>,
}

/// The most that may be taken at a time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SharesMax {
    /// By all.
    pub(crate) all: usize,
    /// By one network.
    pub(crate) network: usize,
}

/// Which bound was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reached {
    /// That of all.
    All,
    /// That of a network.
    Network,
}

/// The network of an address (/24 or /48), where it is of one.
pub(crate) fn network_of(peer: IpAddr) -> Option<IpAddr> {
    (!peer.is_loopback()).then(|| network(peer))
}

impl Shares {
    /// Takes so much more for a network, or nothing.
    pub(crate) fn take(
        &mut self,
        network: Option<IpAddr>,
        more: usize,
        max: SharesMax,
    ) -> Result<(), Reached> {
        let of = network.map_or(0, |network| self.of.get(&network).copied().unwrap_or(0));
        let (all, of) = (self.all.saturating_add(more), of.saturating_add(more));
        if all > max.all {
            return Err(Reached::All);
        }
        if let Some(network) = network {
            if of > max.network {
                return Err(Reached::Network);
            }
            self.of.insert(network, of);
        }
        self.all = all;
        Ok(())
    }

    /// Gives back what was taken. A network that has nothing any longer is forgotten.
    pub(crate) fn give_back(&mut self, network: Option<IpAddr>, taken: usize) {
        self.all = self.all.saturating_sub(taken);
        let Some(network) = network else { return };
        if let Some(of) = self.of.get_mut(&network) {
            *of = of.saturating_sub(taken);
            if *of == 0 {
                self.of.remove(&network);
            }
        }
    }

    /// What is taken by all.
    pub(crate) fn all(&self) -> usize {
        self.all
    }

    /// How many networks have taken something.
    #[cfg(test)]
    pub(crate) fn networks(&self) -> usize {
        self.of.len()
    }
}
