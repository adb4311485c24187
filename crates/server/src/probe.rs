//! Whether a write would succeed now, asked of the store once for all who ask at one time.
//!
//! Readiness is asked by anybody, without a place and as often as they like, and the honest answer
//! costs a durable write. So one write serves everybody who asks while it is under way or within
//! [`KEPT`] after it, and goes on where whoever asked first has hung up.

use std::sync::Arc;
use std::time::Duration;

use accredit_domain::World;
use accredit_wire::time::Time;
use tokio::sync::Mutex;

/// How long an answer is good for: far less than between two questions of a balancer.
pub const KEPT: Duration = Duration::from_millis(250);

/// The last answer: when, and whether it was yes.
#[derive(Debug, Default)]
pub struct Probe(Arc<Mutex<Option<(Time, bool)>>>);

impl Probe {
    /// Whether the store writes.
    pub async fn writes(&self, world: &Arc<World>) -> bool {
        let mut last = Arc::clone(&self.0).lock_owned().await;
        // Only now, since it may have waited; and either way, since a clock may be set back.
        let now = world.clock.now();
        if let Some((at, writes)) = *last
            && now < at.plus(KEPT)
            && at < now.plus(KEPT)
            // No other write has shown the contrary.
            && writes == world.store.health().trouble.is_none()
        {
            return writes;
        }
        let world = Arc::clone(world);
        let asked = tokio::spawn(async move {
            let written = world.store.check().await;
            if let Err(fault) = &written {
                tracing::error!(%fault, "not ready");
            }
            *last = Some((world.clock.now(), written.is_ok()));
            written.is_ok()
        });
        asked.await.unwrap_or(false)
    }
}
