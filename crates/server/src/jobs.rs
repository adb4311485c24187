//! All background work: what runs by the clock rather than at somebody's request.
//!
//! Each piece is a function of the time; the loops and sleeps are here and nowhere else.
//!
//! A job that panics is told in our log, named on `/readyz` for a while, and started again
//! ([`keep`]). The process goes on: nothing of a job is kept from one turn to the next, and what
//! makes one panic may be what somebody sent, which must not be a way to stop all the others. The
//! hub's queue outlives its job; a delta that is lost with it is seen by the next message.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use accredit_domain::audit::checkpointed::{self, Pen};
use accredit_domain::audit::flush::Which;
use accredit_domain::audit::{flush, integrate};
use accredit_domain::federation;
use accredit_domain::keys::rotation;
use accredit_domain::lease::BEAT_EVERY;
use accredit_domain::ports::LaneHead;
use accredit_domain::registry::jwks;
use accredit_domain::registry::rotation_schedule;
use accredit_domain::revocation::time_boxed;
use accredit_domain::tenant::Tenant;
use accredit_domain::trust_domains;
use accredit_domain::{Caller, Cx, Fault};
use accredit_wire::ids::RequestId;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::Server;
use crate::{drill, nodes, slots, turns};

/// How often the log is integrated and a checkpoint signed.
pub const INTEGRATE_EVERY: Duration = Duration::from_secs(1);
/// How often it is looked whether a heartbeat is due.
pub const HEARTBEAT_EVERY: Duration = Duration::from_millis(250);
/// How often it is looked what other nodes wrote, where there may be others and nothing was heard of them.
pub const CATCH_UP_EVERY: Duration = Duration::from_millis(25);
/// How long is waited where the store did not say.
pub const CATCH_UP_PAUSE: Duration = Duration::from_millis(250);
/// How often use times and counters are written.
pub const FLUSH_EVERY: Duration = Duration::from_mins(1);

/// How often it is looked in which organizations lanes of the log are to tell of each other.
pub const CHECKPOINTED_LOOK_EVERY: Duration = Duration::from_secs(1);
/// Organizations in which they do so at the same time, so that they share commits.
pub const CHECKPOINTED_AT_A_TIME_MAX: usize = 32;

/// How often it is measured how long tasks wait for their turn.
pub const LAP_EVERY: Duration = Duration::from_millis(50);

/// How often it is looked what is due for rotation.
pub const ROTATE_EVERY: Duration = Duration::from_mins(1);

/// How often it is looked whether a drill is due.
pub const DRILL_LOOK_EVERY: Duration = Duration::from_secs(1);

/// How often it is looked which kills for a time are over.
pub const LIFT_EVERY: Duration = Duration::from_secs(5);

/// How often it is looked whose key sets are due.
pub const FOLLOW_EVERY: Duration = Duration::from_secs(15);

/// Organizations whose key sets are fetched at the same time. Hosts that do not answer hold up
/// their own organization, and others only where so many organizations have such hosts.
pub const FOLLOWING_MAX: usize = 32;

/// Turns of that job at a time: each but the newest waits for organizations that no other does.
pub const TURNS_MAX: usize = 64;

/// How long a job that panicked rests before it is started again.
pub const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// How long is waited where a connection could not be accepted.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Starts all jobs; they end when the set is dropped.
pub fn start(server: &Arc<Server>) -> JoinSet<()> {
    let mut jobs = JoinSet::new();
    keep(&mut jobs, server, "feed", async |server| server.hub.run().await);
    keep(&mut jobs, server, "heartbeat", async |server| {
        let mut every = every(HEARTBEAT_EVERY);
        loop {
            every.tick().await;
            if !server.world.view.is_current(&*server.world.clock) {
                // A heartbeat would say that what followers hold is all there is.
                server.hub.close();
            }
            server.hub.tick(server.world.clock.now()).await;
            server.look();
        }
    });
    if server.world.store.is_shared() {
        keep(&mut jobs, server, "view", async |server| {
            let mut every = every(CATCH_UP_EVERY);
            loop {
                tokio::select! {
                    _ = every.tick() => {}
                    () = server.world.store.woken() => {}
                }
                if !catch_up(&server).await {
                    pause(CATCH_UP_PAUSE).await;
                }
            }
        });
    }
    if server.world.store.is_shared() {
        keep(&mut jobs, server, "tell", async |server| nodes::run(&server).await);
        keep(&mut jobs, server, "turn", async |server| {
            let mut every = every(BEAT_EVERY);
            loop {
                every.tick().await;
                if let Err(fault) = turns::look(&server).await {
                    tracing::warn!(%fault, "it is not known which node does what one does for all");
                }
                if let Err(fault) = slots::look(&server).await {
                    tracing::warn!(%fault, "it is not known which lanes are this node's");
                }
            }
        });
    }
    keep(&mut jobs, server, "lap", async |server| {
        let mut every = every(LAP_EVERY);
        loop {
            every.tick().await;
            server.room.lap().await;
        }
    });
    keep(&mut jobs, server, "integrate", async |server| {
        let mut every = every(INTEGRATE_EVERY);
        loop {
            every.tick().await;
            integrate_all(&server).await;
            try_again(&server).await;
        }
    });
    keep(&mut jobs, server, "checkpointed", async |server| {
        let mut every = every(CHECKPOINTED_LOOK_EVERY);
        loop {
            every.tick().await;
            checkpointed_all(&server).await;
        }
    });
    keep(&mut jobs, server, "rotate", async |server| {
        let mut every = every(ROTATE_EVERY);
        loop {
            every.tick().await;
            server.world.vault.forget_replaced(server.world.clock.now());
            rotate_all(&server).await;
        }
    });
    keep(&mut jobs, server, "lift", async |server| {
        let mut every = every(LIFT_EVERY);
        loop {
            every.tick().await;
            lift_all(&server).await;
        }
    });
    keep(&mut jobs, server, "drill", async |server| {
        let (mut every, mut last) = (every(DRILL_LOOK_EVERY), server.world.clock.elapsed());
        loop {
            every.tick().await;
            let Some(period) = server.drill_every.get() else { continue };
            let up = server.world.clock.elapsed();
            if !server.turns.is_own(up) {
                // A node that takes over begins with a whole period.
                last = up;
            } else if up.saturating_sub(last) >= *period {
                last = up;
                drill_all(&server).await;
            }
        }
    });
    keep(&mut jobs, server, "follow", follow);
    keep(&mut jobs, server, "flush", async |server| {
        let mut every = every(FLUSH_EVERY);
        loop {
            every.tick().await;
            flush_each(&server, Which::Due).await;
        }
    });
    jobs
}

/// Takes over what other nodes wrote. Whether it is known now what was durable when this began.
pub async fn catch_up(server: &Server) -> bool {
    // Before it is asked: what is answered is at least as new.
    let began = server.world.clock.elapsed();
    match server.world.store.catch_up().await {
        Ok(()) => server.world.view.confirmed(began),
        Err(fault) => {
            tracing::error!(%fault, "what other nodes wrote was not taken over");
            return false;
        }
    }
    true
}

/// Brings this node to where any other was when this began, where there may be others: whoever was
/// shown a counter or a checkpoint there is to be shown no less here.
pub async fn level(server: &Server, tenant: &Tenant) -> Result<(), Fault> {
    let store = &server.world.store;
    if !store.is_shared() {
        return Ok(());
    }
    store.catch_up().await?;
    server.hub.show(tenant, &store.lanes(tenant.id).await?).await
}

/// Begins a turn every [`FOLLOW_EVERY`], also where the last one is not over: it goes on for those
/// whose hosts are slow, and the next one passes them by.
async fn follow(server: Arc<Server>) {
    let (mut every, mut turns) = (every(FOLLOW_EVERY), JoinSet::new());
    let places = Arc::new(Semaphore::new(FOLLOWING_MAX));
    loop {
        tokio::select! {
            _ = every.tick(), if turns.len() < TURNS_MAX => {
                let (server, places) = (Arc::clone(&server), Arc::clone(&places));
                turns.spawn(async move { follow_in(&server, &places).await });
            }
            Some(ended) = turns.join_next() => if let Err(error) = ended
                && let Ok(panic) = error.try_into_panic()
            {
                std::panic::resume_unwind(panic);
            }
        }
    }
}

/// Runs a job until it ends, and starts it again where it panics.
pub fn keep<F>(
    jobs: &mut JoinSet<()>,
    server: &Arc<Server>,
    name: &'static str,
    job: impl Fn(Arc<Server>) -> F + Send + 'static,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let server = Arc::clone(server);
    jobs.spawn(async move {
        while AssertUnwindSafe(job(Arc::clone(&server))).catch_unwind().await.is_err() {
            tracing::error!(job = name, "a job panicked: it is started again");
            server.watch.panicked(server.world.clock.elapsed());
            pause(RESTART_PAUSE).await;
        }
    });
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

/// Integrates the log of every organization in memory, where no other node does, and takes over how
/// far that is.
pub async fn integrate_all(server: &Server) {
    let (mut failed, mut behind) = (false, 0);
    for tenant in server.tenants.all() {
        let lanes = if server.turns.is_own(server.world.clock.elapsed()) {
            integrate::integrate(&server.world, &tenant).await
        } else {
            server.world.store.lanes(tenant.id).await
        };
        let integrated = match lanes {
            Ok(lanes) => {
                tenant.noted.saw(&lanes);
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

/// Has the lanes that this node writes to tell of the others, in every organization whose lanes have
/// grown by what [`integrate_all`] has seen.
pub async fn checkpointed_all(server: &Server) {
    let up = server.world.clock.elapsed();
    let mut pens: Vec<Pen> = server.slots.own().map(Pen::Slot).into_iter().collect();
    pens.extend(server.turns.terms(up).map(|terms| Pen::Turn(terms.lease)));
    if pens.is_empty() {
        return;
    }
    let due = server.tenants.all().into_iter().filter(|tenant| tenant.noted.is_due(up));
    let tell = async |tenant: Arc<Tenant>| {
        let times = (server.world.clock.now(), up);
        if let Err(fault) = checkpointed::tick(&server.world, &tenant, &pens, times).await {
            tracing::error!(%fault, org = %tenant.name, "lanes of the log did not tell of each other");
        }
    };
    stream::iter(due).for_each_concurrent(CHECKPOINTED_AT_A_TIME_MAX, tell).await;
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
    server.look();
    let surely = server.watch.surely(server.world.clock.elapsed());
    for tenant in in_order(server) {
        let Some(cx) = scheduled(server, &tenant) else { return };
        if let Err(fault) = rotation::tick(&cx, surely).await {
            tracing::error!(%fault, org = %tenant.name, "signing keys not rotated on");
        }
        if let Err(fault) = rotation_schedule::tick(&cx).await {
            tracing::error!(%fault, org = %tenant.name, "rotations that are due not announced");
        }
    }
}

/// A drill in every organization that somebody follows.
pub async fn drill_all(server: &Server) {
    for tenant in server.tenants.all() {
        match nodes::followed(server, tenant.id).await {
            Ok(followed) if followed.is_empty() => continue,
            Ok(_) => {}
            Err(fault) => {
                tracing::error!(%fault, org = %tenant.name, "a drill was not begun");
                continue;
            }
        }
        let Some(cx) = scheduled(server, &tenant) else { return };
        match drill::run(server, &cx, &drill::RunDrill::default()).await {
            Ok(drilled) if drilled.passed => {}
            Ok(drilled) => {
                let told = &drilled.acknowledgements;
                tracing::warn!(
                    org = %tenant.name,
                    acknowledged = told.acknowledged,
                    waiting = told.waiting,
                    silent = told.silent,
                    gone = told.gone,
                    unheard = told.unheard,
                    "a drill failed: not every enforcement point acknowledged"
                );
            }
            Err(error) => tracing::error!(%error, org = %tenant.name, "a drill was not finished"),
        }
    }
}

/// Lets go on what was ended for a time that is surely over, in every organization.
pub async fn lift_all(server: &Server) {
    let Some(surely) = server.watch.surely(server.world.clock.elapsed()) else { return };
    for tenant in server.tenants.all() {
        let Some(cx) = scheduled(server, &tenant) else { return };
        if let Err(fault) = time_boxed::tick(&cx, surely).await {
            tracing::error!(%fault, org = %tenant.name, "a kill for a time was not lifted");
        }
    }
}

/// Fetches the key sets of agents and of external issuers, and the bundles of other trust domains, that are due,
/// in every organization.
pub async fn follow_all(server: &Server) {
    follow_in(server, &Semaphore::new(FOLLOWING_MAX)).await;
}

/// The same, in so many organizations at a time as there are places.
async fn follow_in(server: &Server, places: &Semaphore) {
    // A place before anything is begun, so that few wait in memory.
    let placed =
        stream::iter(server.tenants.all()).then(async |tenant| (tenant, places.acquire().await));
    let turn = async |(tenant, place): (Arc<Tenant>, Result<_, _>)| {
        let (Some(turn), Ok(_place)) = (tenant.follows.turn(), place) else { return };
        let Some(cx) = scheduled(server, &tenant) else { return };
        if let Err(fault) = federation::tick(&cx).await {
            tracing::error!(%fault, org = %tenant.name, "external issuers' keys not fetched");
        }
        let Some(cx) = scheduled(server, &tenant) else { return };
        if let Err(fault) = trust_domains::follow::tick(&cx).await {
            tracing::error!(%fault, org = %tenant.name, "bundles of other trust domains not followed");
        }
        let Some(cx) = scheduled(server, &tenant) else { return };
        if let Err(fault) = jwks::tick(&cx, turn).await {
            tracing::error!(%fault, org = %tenant.name, "key sets not followed");
        }
    };
    placed.for_each_concurrent(None, turn).await;
}

/// The organizations in memory, always in the same order: what is recorded of each draws on chance.
fn in_order(server: &Server) -> Vec<Arc<Tenant>> {
    let mut tenants = server.tenants.all();
    tenants.sort_unstable_by_key(|tenant| tenant.id);
    tenants
}

/// The context of what is done by the clock once for all nodes; nothing where another one does it.
fn scheduled(server: &Server, tenant: &Arc<Tenant>) -> Option<Cx> {
    let terms = server.turns.terms(server.world.clock.elapsed())?;
    let now = server.world.clock.now();
    Some(Cx {
        world: Arc::clone(&server.world),
        tenant: Arc::clone(tenant),
        caller: Caller::System,
        request: RequestId::new(now.millis(), server.world.random()),
        source: None,
        now,
        terms,
    })
}

/// Writes what is kept in memory, and forgets what is surely over.
pub async fn flush_all(server: &Server) {
    flush_each(server, Which::All).await;
}

async fn flush_each(server: &Server, which: Which) {
    let now = server.world.clock.now();
    server.look();
    let surely = server.watch.surely(server.world.clock.elapsed());
    for tenant in in_order(server) {
        if let Err(fault) = flush::flush(&server.world, &tenant, (which, now)).await {
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
