//! Pruning: what old events say is deleted, and the log stays what was signed.
//!
//! A leaf holds the digest of its payload and salt. Both go, the digest stays: every hash, proof and
//! checkpoint is as before, and an export says of which events it no longer knows the words. What is
//! gone cannot be guessed from its digest, because the salt went with it. That it was done is an
//! event, written before the first payload goes.
//!
//! What lanes say of each other stays: it names nobody, and without it a lane that was dropped would not
//! be missed.

use std::time::Duration;

use accredit_wire::time::Time;
use accredit_wire::tlog::claim::Claim;
use accredit_wire::tlog::leaf::payload_digest;
use serde::{Deserialize, Serialize};

use super::event::{Body, EventKind};
use crate::context::Cx;
use crate::ports::{Audited, LeafBody, Pruned, UsedUp};
use crate::refusal::{Error, Fault, Refusal};
use crate::registry::credential::AdminPermission;

/// Events younger than this keep their payloads.
pub const PRUNE_AGE_MIN: Duration = Duration::from_hours(24);
/// Payloads that one request deletes; what is left is deleted by the next.
pub const PRUNED_MAX: u64 = 50_000;
/// Leaves read at a time, and payloads deleted in one transaction.
pub const PRUNED_IN_CHUNK_MAX: usize = 250;

/// What is to be deleted.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Prune {
    /// Payloads of events older than so many seconds; at least a day.
    pub older_than: u64,
}

/// What was deleted.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct PruneReport {
    /// Payloads that were deleted.
    pub pruned: u64,
    /// Events before this time have none, where nothing is left to do.
    #[schema(value_type = String)]
    pub before: Time,
    /// Whether there are more: ask again.
    pub more: bool,
}

/// Deletes the payloads of old events.
pub async fn prune(cx: &Cx, asked: &Prune) -> Result<PruneReport, Error> {
    cx.require(AdminPermission::Administrators)?;
    let age = Duration::from_secs(asked.older_than);
    if age < PRUNE_AGE_MIN {
        let least = PRUNE_AGE_MIN.as_secs();
        return Err(Refusal::field(
            "older_than",
            format!("must be at least {least} seconds"),
            "what is younger than a day may still be needed to understand what goes on",
        )
        .into());
    }
    let before = cx.now.minus(age);
    let (org, store) = (cx.tenant.id, &cx.world.store);
    let body = Body { changes: [("before".into(), before.to_string())].into(), ..Body::default() };
    let event = cx.event(EventKind::LogPruned, body);
    store.record_event(Audited::new((org, UsedUp::NOTHING), event)).await?;
    let mut report = PruneReport { pruned: 0, before, more: false };
    for lane in store.lanes(org).await? {
        let mut from = lane.pruned;
        while let Some((chunk, next)) = chunk(cx, lane.lane, from, before).await? {
            from = next;
            if chunk.is_empty() {
                continue;
            }
            if report.pruned >= PRUNED_MAX {
                report.more = true;
                return Ok(report);
            }
            report.pruned += chunk.len() as u64;
            store.prune(org, lane.lane, chunk).await?;
        }
    }
    Ok(report)
}

/// What of the next leaves is to be deleted, and where to go on; nothing at the first that is too
/// young, or at the end.
async fn chunk(
    cx: &Cx,
    lane: u16,
    from: u64,
    before: Time,
) -> Result<Option<(Vec<Pruned>, u64)>, Fault> {
    let leaves = cx.world.store.leaves(cx.tenant.id, lane, from, PRUNED_IN_CHUNK_MAX).await?;
    let old = leaves.iter().take_while(|leaf| leaf.at < before);
    let Some(last) = old.clone().last() else { return Ok(None) };
    let goes = old.filter(|leaf| !Claim::is_made_by(&leaf.kind));
    let pruned = goes.filter_map(|leaf| match &leaf.body {
        LeafBody::Kept { salt, payload } => Some(Pruned {
            sequence: leaf.sequence,
            digest: *payload_digest(salt, payload.as_bytes()).bytes(),
        }),
        LeafBody::Pruned { .. } => None,
    });
    Ok(Some((pruned.collect(), last.sequence + 1)))
}
