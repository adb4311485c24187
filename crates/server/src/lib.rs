//! The control plane over HTTP: OAuth, the admin API, the feed and the log.
//!
//! Reading order: [`endpoints`] is the table of everything that can be asked; [`dispatch`] takes a
//! request to its row and checks who asks; [`http`] holds the handlers, which extract, call one
//! domain function and render; [`hub`] fans revocations out; [`jobs`] is all background work;
//! [`serve`] listens, and drains when told to stop.
//!
//! Absent on purpose: rules. Whether something is allowed is decided in the domain.

mod access_log;
pub mod acquainted;
pub mod bodies;
pub mod caller;
pub mod certificate_status;
pub mod certificates;
pub mod conditions;
pub mod connections;
pub mod course;
pub mod dispatch;
pub mod drill;
pub mod endpoints;
pub mod failure;
pub mod followers;
pub mod http;
pub mod hub;
pub mod jobs;
pub mod kept;
pub mod metrics;
pub mod metrics_listener;
pub mod nodes;
pub mod openapi;
pub mod patience;
pub mod points;
pub mod probe;
pub mod propagation;
mod rates;
pub mod reply;
pub mod room;
pub mod serve;
mod shares;
pub mod slots;
pub mod status_lists;
pub mod tls;
pub mod turns;
pub mod waiting;
pub mod watch;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use accredit_domain::World;
use accredit_domain::audit::refusals::Refusals;
use accredit_domain::restoration::Issuing;
use accredit_domain::tenant::{Tenant, Tenants};
use accredit_wire::client_cert::TrustedCertificates;
use accredit_wire::forwarded::TrustedProxies;
use accredit_wire::time::Time;

use crate::acquainted::Acquainted;
use crate::bodies::Bodies;
use crate::certificate_status::CertificateStatus;
use crate::certificates::ClientCertificates;
use crate::connections::Connections;
use crate::hub::Hub;
use crate::metrics::Metrics;
use crate::nodes::Others;
use crate::probe::Probe;
use crate::room::Room;
use crate::slots::Slots;
use crate::status_lists::StatusLists;
use crate::turns::Turns;
use crate::watch::{Known, State, Watch};

/// Everything a request may need.
pub struct Server {
    /// The outside world.
    pub world: Arc<World>,
    /// The organizations in memory.
    pub tenants: Arc<Tenants>,
    /// The revocation feed.
    pub hub: Arc<Hub>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// The degraded states.
    pub watch: Watch,
    /// Whether the store writes.
    pub probe: Probe,
    /// Failed authentications of administrators whom no organization knows, since metrics were told
    /// last. No log tells of them; they are counted as those are whom one knows, so that the time
    /// does not tell which.
    pub strangers: Refusals,
    /// Whose keys were right lately.
    pub acquainted: Acquainted,
    /// Places for requests.
    pub room: Room,
    /// Places for connections.
    pub connections: Arc<Connections>,
    /// What is being read.
    pub bodies: Arc<Bodies>,
    /// Which proxies are believed as to where a request came from: nobody, where it is not set.
    pub proxies: OnceLock<TrustedProxies>,
    /// Whether clients are asked for a certificate: they are not, where it is not set.
    pub client_certificates: OnceLock<ClientCertificates>,
    /// Which proxies are believed as to their clients' certificates: nobody, where it is not set.
    pub certified_proxies: OnceLock<TrustedCertificates>,
    /// Held by the drill that is under way.
    pub drilling: tokio::sync::Mutex<()>,
    /// How often each organization is drilled by the clock: never, where it is not set.
    pub drill_every: OnceLock<Duration>,
    /// What this node knows of the others on its store.
    pub others: Others,
    /// Whether this node does by the clock what one does for all.
    pub turns: Turns,
    /// Which lanes of the log this node writes to.
    pub slots: Slots,
    /// Status lists as they are served.
    pub status_lists: StatusLists,
    /// What is said of certificates, as it is served.
    pub certificate_status: CertificateStatus,
    /// Set when the process is told to stop: readiness says no, streams end.
    pub stopping: Arc<AtomicBool>,
}

impl Server {
    /// A server over a world. The tenants and the hub are registered with the store, so that both
    /// know of a commit before its caller is answered.
    pub fn new(world: Arc<World>) -> Arc<Self> {
        let tenants = Arc::new(Tenants::new(Arc::clone(&world.store)));
        let hub = Arc::new(Hub::new(Arc::clone(&world)));
        // The vault first: whoever is told how a key is wrapped now finds that root key there.
        world.store.observe(Arc::clone(&world.vault) as Arc<dyn accredit_domain::ports::Observer>);
        // The order matters: a frame is made from what the tenant already knows.
        world.store.observe(Arc::clone(&tenants) as Arc<dyn accredit_domain::ports::Observer>);
        world.store.observe(Arc::clone(&hub) as Arc<dyn accredit_domain::ports::Observer>);
        let metrics = Arc::new(Metrics::new(world.clock.now()));
        world.store.observe(Arc::clone(&metrics) as Arc<dyn accredit_domain::ports::Observer>);
        hub.points.count_in(&metrics);
        let stopping = Arc::new(AtomicBool::new(false));
        let watch = Watch::new(Arc::clone(&world.latest));
        let room = Room::default();
        let (probe, connections) = (Probe::default(), Arc::new(Connections::default()));
        let acquainted = Acquainted::default();
        let (others, is_shared) = (Others::of(hub.process()), world.store.is_shared());
        let turns = if is_shared { Turns::of(hub.process()) } else { Turns::alone() };
        let slots = if is_shared { Slots::of(hub.process()) } else { Slots::alone() };
        Arc::new(Self {
            world,
            tenants,
            hub,
            metrics,
            watch,
            probe,
            strangers: Refusals::default(),
            acquainted,
            room,
            connections,
            bodies: Arc::default(),
            proxies: OnceLock::new(),
            client_certificates: OnceLock::new(),
            certified_proxies: OnceLock::new(),
            drilling: tokio::sync::Mutex::new(()),
            drill_every: OnceLock::new(),
            others,
            turns,
            slots,
            status_lists: StatusLists::default(),
            certificate_status: CertificateStatus::default(),
            stopping,
        })
    }

    /// Looks at how the process is doing: its degraded states, each with the time since when.
    pub fn look(&self) -> Vec<(State, Time)> {
        let stopping = self.stopping.load(Ordering::Relaxed);
        let is_closed = |tenant: &Arc<Tenant>| tenant.issuing() == Issuing::Closed;
        self.watch.issuing(self.tenants.all().iter().any(is_closed));
        let clock = &self.world.clock;
        let lost = self.world.store.loss().is_found();
        self.watch.store(lost);
        let view = &self.world.view;
        self.watch.view(match view.known_at() {
            _ if lost || view.is_current(&**clock) => Known::Current,
            Some(_) => Known::Stale,
            None => Known::Nothing,
        });
        let time = (clock.now(), clock.elapsed());
        self.watch.look(time, &self.world.store.health(), stopping)
    }
}
