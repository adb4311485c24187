//! The checkers over the log: one chain, one tree, in order, an event for each token, and nothing
//! of anybody else.

use std::collections::BTreeMap;

use accredit_domain::audit::fsck;
use accredit_domain::ports::{Leaf, LeafBody};
use accredit_domain::tenant::Tenant;
use accredit_wire::time::Time;
use accredit_wire::tlog::leaf::{leaf_hash, payload_digest};
use accredit_wire::tlog::{Hash, checkpoint, succession};
use serde_json::Value;

use super::model::Side;
use super::{Broke, Flaw, Invariant, must};
use crate::{Org, TestWorld};

impl Written {
    /// The payload without what is a key or a signature, which are drawn outside of the seed.
    pub(super) fn masked(&self) -> Value {
        let mut payload = self.payload.clone();
        if let Some(changes) = payload.get_mut("changes").and_then(Value::as_object_mut) {
            changes.remove("statement");
        }
        payload
    }
}

/// Leaves read at a time.
const LEAVES_MAX: usize = 500;

/// An event as it was written.
pub(super) struct Written {
    pub(super) kind: String,
    pub(super) at: Time,
    pub(super) payload: Value,
}

/// Every event of an organization, in order; their leaves chain without a gap.
pub(super) async fn events(world: &TestWorld, org: &Org) -> Result<Vec<Written>, Broke> {
    let tenant = world.tenant(org).await;
    let store = &world.world.store;
    let (mut written, mut previous) = (Vec::new(), Hash::ZERO);
    loop {
        let from = written.len() as u64;
        let leaves = store.leaves(tenant.id, 0, from, LEAVES_MAX).await.map_err(failed)?;
        if leaves.is_empty() {
            break;
        }
        for leaf in leaves {
            let place = written.len() as u64;
            must(leaf.sequence == place, Invariant::LogIsWhole, || {
                format!("leaf {} stands at {place}", leaf.sequence)
            })?;
            written.push(read(&leaf, &mut previous)?);
        }
    }
    let head = store.lanes(tenant.id).await.map_err(failed)?[0].sequenced;
    must(head == written.len() as u64, Invariant::LogIsWhole, || {
        format!("the head says {head} and there are {}", written.len())
    })?;
    Ok(written)
}

fn read(leaf: &Leaf, previous: &mut Hash) -> Result<Written, Broke> {
    let LeafBody::Kept { salt, payload } = &leaf.body else {
        return Err((Invariant::LogIsWhole, format!("leaf {} was pruned", leaf.sequence)));
    };
    let digest = payload_digest(salt, payload.as_bytes());
    let hash = leaf_hash(leaf.sequence, previous, &leaf.kind, leaf.at, &digest);
    must(hash == Hash::new(leaf.hash), Invariant::LogIsWhole, || {
        format!("leaf {} does not follow the one before", leaf.sequence)
    })?;
    *previous = hash;
    let payload = serde_json::from_str(payload).expect("a payload that was written as JSON");
    Ok(Written { kind: leaf.kind.clone(), at: leaf.at, payload })
}

/// The log against what ought to be: each token has its event, once and with its scope; the
/// revocations stand in order; nothing that one covers is written after it unless it saw it; and
/// the tree is that of the leaves.
pub(super) async fn check(world: &TestWorld, side: &Side, events: &[Written]) -> Result<(), Broke> {
    let mut issued: BTreeMap<&str, &Written> = BTreeMap::new();
    let mut ended = 0;
    for (place, event) in events.iter().enumerate() {
        let rev = event.payload["rev"].as_u64();
        if event.kind == "token.issued" {
            let token = event.payload["token"].as_str().unwrap_or_default();
            let twice = issued.insert(token, event).is_some();
            must(!twice, Invariant::EveryTokenHasItsEvent, || format!("{token} has two"))?;
            let lineage = lineage(&event.payload, &side.id.to_string());
            for (target, at) in &side.revocations[..ended] {
                let covered = lineage.contains(&target.to_string()) && rev < Some(*at);
                must(!covered, Invariant::LogIsWhole, || {
                    format!("event {place} of {token} comes after the revocation {at} of {target}")
                })?;
            }
        } else if let Some(rev) = rev {
            ended += 1;
            must(rev == ended as u64, Invariant::LogIsWhole, || {
                format!("event {place} has the counter {rev} and is the {ended}th that counts")
            })?;
        }
    }
    must(ended == side.revocations.len(), Invariant::LogIsWhole, || {
        format!("{ended} events for {} revocations", side.revocations.len())
    })?;
    for left in &side.tokens {
        let token = left.token.id.to_string();
        let event = issued.get(token.as_str());
        let scope = event.map(|event| event.payload["scope"].as_str().unwrap_or_default());
        must(
            scope == Some(&left.token.scope.to_string()),
            Invariant::EveryTokenHasItsEvent,
            || format!("{token} left with `{}`, and its event says {scope:?}", left.token.scope),
        )?;
    }
    let back = events.windows(2).position(|two| two[0].at > two[1].at);
    must(back.is_none(), Invariant::LogIsWhole, || {
        format!("the time goes back behind event {back:?}")
    })?;
    accredit_server::jobs::integrate_all(&world.server).await;
    let tenant = world.tenant(&side.org).await;
    check_keys(world, &tenant, side).await?;
    let report = fsck::fsck(&world.world, &tenant).await.map_err(failed)?;
    must(report.ok && report.leaves == events.len() as u64, Invariant::LogIsWhole, || {
        format!("{report:?}")
    })
}

/// The checkpoint is signed by every key of the log that is published, and whoever knows only the
/// first one is led to each of them.
async fn check_keys(world: &TestWorld, tenant: &Tenant, side: &Side) -> Result<(), Broke> {
    let mut statements = tenant.keys().log_statements();
    if side.flaw == Some(Flaw::LogKeyIsNotNamed) {
        statements.clear();
    }
    let name = succession::log_name(&side.org.issuer);
    let believed = succession::follow(&name, [side.log_key.clone()], &statements);
    for lane in world.world.store.lanes(tenant.id).await.map_err(failed)? {
        let note = lane.note.clone().unwrap_or_default();
        for (n, vkey) in tenant.log_vkeys(&lane).map_err(failed)?.iter().enumerate() {
            let opened = checkpoint::open(note.as_bytes(), std::slice::from_ref(vkey));
            let size = opened.map(|checkpoint| checkpoint.size);
            must(size == Ok(lane.sequenced), Invariant::LogIsWhole, || {
                format!("key {n} signs {size:?} of {} leaves", lane.sequenced)
            })?;
            let is_known = succession::is_among(vkey.key(), &believed);
            must(is_known, Invariant::LogIsWhole, || {
                format!("nobody named key {n} of {}", statements.len())
            })?;
        }
    }
    Ok(())
}

/// No event names anything of the other organization.
pub(super) fn check_apart(events: &[Written], own: &Side, other: &Side) -> Result<(), Broke> {
    let credentials = other.clients.iter().map(|client| client.credential.clone());
    let agents = other.agents.iter().map(|agent| agent.id.to_string());
    let tokens = other.tokens.iter().map(|left| left.token.id.to_string());
    let itself = [other.id.to_string(), other.org.issuer.clone()];
    let foreign = credentials.chain(agents).chain(tokens).chain(itself);
    let foreign: Vec<String> = foreign.filter(|id| !own.named.contains(id)).collect();
    for event in events {
        // A claim of somebody who was not authenticated is theirs, not ours.
        if event.kind == "authentication.failed" {
            continue;
        }
        let text = event.payload.to_string();
        let named = foreign.iter().find(|id| text.contains(id.as_str()));
        must(named.is_none(), Invariant::OrganizationsNeverMeet, || {
            format!("{} names {named:?} of the other organization: {text}", event.kind)
        })?;
    }
    Ok(())
}

/// What a token's event says it hangs on.
fn lineage(payload: &Value, org: &str) -> Vec<String> {
    let member = |value: &Value| value.as_str().map(str::to_owned);
    let names = ["credential", "instance", "key", "owner", "resource", "token"];
    let named = names.iter().filter_map(|name| member(&payload[*name]));
    named.chain(member(&payload["actor"]["id"])).chain([org.to_owned()]).collect()
}

fn failed(fault: accredit_domain::Fault) -> Broke {
    (Invariant::StepEndsWell, fault.to_string())
}
