//! What was kept in memory becomes durable: use times, and counters of failed authentication.

use accredit_wire::time::Time;

use super::event::{Actor, Body, Event, EventKind, Source};
use super::reads;
use crate::context::World;
use crate::ports::Audited;
use crate::refusal::Fault;
use crate::tenant::Tenant;

/// Writes what an organization has in memory: one event for each kind of failure.
pub async fn flush(world: &World, tenant: &Tenant, now: Time) -> Result<(), Fault> {
    let uses = tenant.uses.take(tenant.id);
    if !uses.is_empty() {
        world.store.record_uses(uses).await?;
    }
    for (kind, count) in tenant.refusals.take() {
        let body = Body {
            actor: Some(Actor { id: None, kind: "system" }),
            client: kind.client,
            count: Some(count),
            decision: Some("deny"),
            rule: kind.rule.map(crate::Rule::code),
            source: kind.network.map(|ip| Source { ip }),
            ..Body::default()
        };
        let event = Event::new(EventKind::AuthenticationFailed, now, world.random(), body);
        world.store.record_event(Audited::new((tenant.id, None), event)).await?;
    }
    for (reader, count) in tenant.reads.take(now) {
        let event = reads::late(reader, count, now, world.random());
        world.store.record_event(Audited::new((tenant.id, None), event)).await?;
    }
    Ok(())
}
