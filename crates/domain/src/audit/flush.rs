//! What was kept in memory becomes durable: use times, and counters of failed authentication.

use accredit_wire::time::Time;

use super::event::{Actor, Body, Event, EventKind, Source};
use super::reads;
use super::refusals::FailureKind;
use crate::context::World;
use crate::ports::{Audited, UsedUp};
use crate::refusal::Fault;
use crate::tenant::Tenant;

/// Uses that are written before the next ones are taken up.
const USES_AT_A_TIME_MAX: usize = 5_000;

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// Everything, because nothing will be remembered.
    All,
    /// Not times of use that can wait.
    Due,
}

/// Writes what an organization has in memory: an event for each of the largest kinds of failure, and
/// one for the others. What cannot be
/// written is kept for the next time; where nobody knows whether it was, it may be told twice.
pub async fn flush(
    world: &World,
    tenant: &Tenant,
    (which, now): (Which, Time),
) -> Result<(), Fault> {
    let mut uses = match which {
        Which::All => tenant.uses.take(),
        Which::Due => tenant.uses.take_due(now),
    };
    while !uses.is_empty() {
        let next = uses.next(USES_AT_A_TIME_MAX, tenant.id);
        if let Err(fault) = world.store.record_uses(next).await {
            tenant.uses.put_back(&uses, tenant.id);
            return Err(fault);
        }
        uses.written(USES_AT_A_TIME_MAX);
    }
    let record = async |event| {
        world.store.record_event(Audited::new((tenant.id, UsedUp::NOTHING), event)).await
    };
    let mut failures = tenant.refusals.take().into_iter();
    while let Some((kind, count)) = failures.next() {
        let event = failed(&kind, count, now, world.random());
        if let Err(fault) = record(event).await {
            tenant.refusals.put_back(std::iter::once((kind, count)).chain(failures));
            return Err(fault);
        }
    }
    let mut readers = tenant.reads.take(now).into_iter();
    while let Some((reader, count)) = readers.next() {
        if let Err(fault) = record(reads::late(reader, count, now, world.random())).await {
            tenant.reads.put_back(std::iter::once((reader, count)).chain(readers));
            return Err(fault);
        }
    }
    Ok(())
}

/// The event of failed authentications of one kind.
fn failed(kind: &FailureKind, count: u64, now: Time, salt: [u8; 16]) -> Event {
    let body = Body {
        actor: Some(Actor { id: None, kind: "system" }),
        client: kind.client.clone(),
        count: Some(count),
        decision: Some("deny"),
        rule: kind.rule.map(crate::Rule::code),
        source: kind.network.map(|ip| Source { ip }),
        ..Body::default()
    };
    Event::new(EventKind::AuthenticationFailed, now, salt, body)
}
