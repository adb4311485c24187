//! The control plane over HTTP: OAuth, the admin API, the feed and the log.
//!
//! Reading order: [`endpoints`] is the table of everything that can be asked; [`dispatch`] takes a
//! request to its row and checks who asks; [`http`] holds the handlers, which extract, call one
//! domain function and render; [`hub`] fans revocations out; [`jobs`] is all background work;
//! [`serve`] listens, and drains when told to stop.
//!
//! Absent on purpose: rules. Whether something is allowed is decided in the domain.

pub mod caller;
pub mod dispatch;
pub mod endpoints;
pub mod failure;
pub mod http;
pub mod hub;
pub mod jobs;
pub mod openapi;
pub mod reply;
pub mod serve;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use accredit_domain::World;
use accredit_domain::tenant::Tenants;

use crate::hub::Hub;

/// Everything a request may need.
pub struct Server {
    /// The outside world.
    pub world: Arc<World>,
    /// The organizations in memory.
    pub tenants: Arc<Tenants>,
    /// The revocation feed.
    pub hub: Arc<Hub>,
    /// Set when the process is told to stop: readiness says no, streams end.
    pub stopping: Arc<AtomicBool>,
}

impl Server {
    /// A server over a world. The tenants and the hub are registered with the store, so that both
    /// know of a commit before its caller is answered.
    pub fn new(world: Arc<World>) -> Arc<Self> {
        let tenants = Arc::new(Tenants::new(Arc::clone(&world.store)));
        let hub = Arc::new(Hub::new(Arc::clone(&world)));
        // The order matters: a frame is made from what the tenant already knows.
        world.store.observe(Arc::clone(&tenants) as Arc<dyn accredit_domain::ports::Observer>);
        world.store.observe(Arc::clone(&hub) as Arc<dyn accredit_domain::ports::Observer>);
        Arc::new(Self { world, tenants, hub, stopping: Arc::new(AtomicBool::new(false)) })
    }
}
