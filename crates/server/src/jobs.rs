//! All background work: what runs by the clock rather than at somebody's request.
//!
//! Each piece is a function of the time; the loops and sleeps are here and nowhere else.

use std::sync::Arc;
use std::time::Duration;

use accredit_domain::audit::{flush, integrate};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::Server;

/// How often the log is integrated and a checkpoint signed.
pub const INTEGRATE_EVERY: Duration = Duration::from_secs(1);
/// How often it is looked whether a heartbeat is due.
pub const HEARTBEAT_EVERY: Duration = Duration::from_millis(250);
/// How often use times and counters are written.
pub const FLUSH_EVERY: Duration = Duration::from_mins(1);

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
        }
    });
    let integrating = Arc::clone(server);
    jobs.spawn(async move {
        let mut every = every(INTEGRATE_EVERY);
        loop {
            every.tick().await;
            integrate_all(&integrating).await;
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
    for tenant in server.tenants.all() {
        let integrated = match integrate::integrate(&server.world, &tenant).await {
            Ok(lanes) => server.hub.show(&tenant, &lanes).await,
            Err(fault) => Err(fault),
        };
        if let Err(fault) = integrated {
            tracing::error!(%fault, org = %tenant.name, "log not integrated");
        }
    }
}

/// Writes what is kept in memory, and forgets what is over.
pub async fn flush_all(server: &Server) {
    let now = server.world.clock.now();
    for tenant in server.tenants.all() {
        if let Err(fault) = flush::flush(&server.world, &tenant, now).await {
            tracing::error!(%fault, org = %tenant.name, "uses and counters not written");
        }
    }
    if let Err(fault) = server.world.store.forget_before(now).await {
        tracing::error!(%fault, "nothing forgotten");
    }
}
