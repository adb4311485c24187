//! All background work: what runs by the clock rather than at somebody's request.
//!
//! Each piece is a function of the time; the loops and sleeps are here and nowhere else.

use std::sync::Arc;
use std::time::Duration;

use accredit_domain::audit::{flush, integrate};
use accredit_domain::keys::rotation;
use accredit_domain::ports::LaneHead;
use accredit_domain::registry::jwks;
use accredit_domain::registry::rotation_schedule;
use accredit_domain::tenant::Tenant;
use accredit_domain::terms::Terms;
use accredit_domain::{Caller, Cx};
use accredit_wire::ids::RequestId;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::Server;

/// How often the log is integrated and a checkpoint signed.
pub const INTEGRATE_EVERY: Duration = Duration::from_secs(1);
/// How often it is looked whether a heartbeat is due.
pub const HEARTBEAT_EVERY: Duration = Duration::from_millis(250);
/// How often use times and counters are written.
pub const FLUSH_EVERY: Duration = Duration::from_mins(1);

/// How often it is measured how long tasks wait for their turn.
pub const LAP_EVERY: Duration = Duration::from_millis(50);

/// How often it is looked what is due for rotation.
pub const ROTATE_EVERY: Duration = Duration::from_mins(1);

/// How often it is looked whose key sets are due.
pub const FOLLOW_EVERY: Duration = Duration::from_secs(15);

/// How long is waited where a connection could not be accepted.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Starts all jobs; they end when the set is dropped.
pub fn start(server: &Arc<Server>) -> JoinSet<()> {
    let mut jobs = JoinSet::new();
    let hub = Arc::clone(&server.hub);
    jobs.spawn(async move { hub.run().await });
    let beating = Arc::clone(server);
    jobs.spawn(async move {
        let mut every = every(HEARTBEAT_EVERY);
        loop {
            every.tick().await;
            beating.hub.tick(beating.world.clock.now()).await;
            beating.look();
        }
    });
    let timing = Arc::clone(server);
    jobs.spawn(async move {
        let mut every = every(LAP_EVERY);
        loop {
            every.tick().await;
            timing.room.lap().await;
        }
    });
    let integrating = Arc::clone(server);
    jobs.spawn(async move {
        let mut every = every(INTEGRATE_EVERY);
        loop {
            every.tick().await;
            integrate_all(&integrating).await;
            try_again(&integrating).await;
        }
    });
    let rotating = Arc::clone(server);
    jobs.spawn(async move {
        let mut every = every(ROTATE_EVERY);
        loop {
            every.tick().await;
            rotate_all(&rotating).await;
        }
    });
    let following = Arc::clone(server);
    jobs.spawn(async move {
        let mut every = every(FOLLOW_EVERY);
        loop {
            every.tick().await;
            follow_all(&following).await;
        }
    });
    let flushing = Arc::clone(server);
    jobs.spawn(async move {
        let mut every = every(FLUSH_EVERY);
        loop {
            every.tick().await;
            flush_all(&flushing).await;
        }
    });
    jobs
}

#[expect(clippy::disallowed_methods, reason = "the loops that the rest is kept free of")]
fn every(period: Duration) -> tokio::time::Interval {
    let mut interval = tokio::time::interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

/// Waits a moment, where trying again at once would do harm.
#[expect(clippy::disallowed_methods, reason = "the loops that the rest is kept free of")]
pub(crate) async fn pause(time: Duration) {
    tokio::time::sleep(time).await;
}

/// Integrates the log of every organization in memory.
pub async fn integrate_all(server: &Server) {
    let (mut failed, mut behind) = (false, 0);
    for tenant in server.tenants.all() {
        let integrated = match integrate::integrate(&server.world, &tenant).await {
            Ok(lanes) => {
                let waiting = |lane: &LaneHead| lane.sequenced.saturating_sub(lane.integrated);
                behind += lanes.iter().map(waiting).sum::<u64>();
                server.hub.show(&tenant, &lanes).await
            }
            Err(fault) => Err(fault),
        };
        if let Err(fault) = integrated {
            failed = true;
            tracing::error!(%fault, org = %tenant.name, "log not integrated");
        }
    }
    server.watch.integrated(failed, behind);
}

/// Writes where writing failed before, so that its recovery is noticed also without requests.
pub async fn try_again(server: &Server) {
    if server.world.store.health().trouble.is_some() {
        // It fails again, and that is known already.
        drop(server.world.store.check().await);
    }
}

/// One turn of rotation in every organization: its signing keys, and the warnings about its agents'
/// credentials. All of them are in memory from here on, so that the other jobs see them, too.
pub async fn rotate_all(server: &Server) {
    if let Err(fault) = server.tenants.load_all(server.world.clock.now()).await {
        tracing::error!(%fault, "organizations not loaded");
    }
    for tenant in server.tenants.all() {
        let cx = system(server, Arc::clone(&tenant));
        if let Err(fault) = rotation::tick(&cx).await {
            tracing::error!(%fault, org = %tenant.name, "signing keys not rotated on");
        }
        if let Err(fault) = rotation_schedule::tick(&cx).await {
            tracing::error!(%fault, org = %tenant.name, "rotations that are due not announced");
        }
    }
}

/// Fetches the key sets of agents that are due, in every organization.
pub async fn follow_all(server: &Server) {
    for tenant in server.tenants.all() {
        let org = tenant.name.clone();
        if let Err(fault) = jwks::tick(&system(server, tenant)).await {
            tracing::error!(%fault, %org, "key sets not followed");
        }
    }
}

/// The context of what the system does by the clock.
fn system(server: &Server, tenant: Arc<Tenant>) -> Cx {
    let now = server.world.clock.now();
    Cx {
        world: Arc::clone(&server.world),
        tenant,
        caller: Caller::System,
        request: RequestId::new(now.millis(), server.world.random()),
        source: None,
        now,
        terms: Terms::default(),
    }
}

/// Writes what is kept in memory, and forgets what is surely over.
pub async fn flush_all(server: &Server) {
    let now = server.world.clock.now();
    server.look();
    let surely = server.watch.surely(server.world.clock.elapsed());
    for tenant in server.tenants.all() {
        if let Err(fault) = flush::flush(&server.world, &tenant, now).await {
            tracing::error!(%fault, org = %tenant.name, "uses and counters not written");
        }
    }
    let Some(surely) = surely else { return };
    for tenant in server.tenants.all() {
        tenant.forget(surely);
    }
    if let Err(fault) = server.world.store.forget_before(surely).await {
        tracing::error!(%fault, "nothing forgotten");
    }
}
