//! RFC 6962 section 2.1: is the log in the store still what was signed?
//!
//! Everything is computed again from the leaves: each payload's digest, each leaf's hash from the
//! one before, each tile, the root of each checkpoint and its signature. What a lane says of another is
//! compared with that one's checkpoints.

use std::collections::BTreeMap;

use accredit_wire::tlog::Hash;
use accredit_wire::tlog::checkpoint::{self, Checkpoint};
use accredit_wire::tlog::claim::{CHECKPOINTED, Claim};
use accredit_wire::tlog::leaf::{leaf_hash, payload_digest};
use accredit_wire::tlog::tile::{Integrator, Tile};
use accredit_wire::tlog::tree::Frontier;
use serde::Serialize;

use crate::context::World;
use crate::ports::{LaneHead, Leaf, LeafBody};
use crate::refusal::Fault;
use crate::tenant::Tenant;

/// Leaves read at a time.
pub const FSCK_LEAVES_MAX: usize = 2000;
/// Findings that are kept; after so many it is clear enough.
pub const FSCK_FINDINGS_MAX: usize = 100;

/// What a check of one organization's log found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct FsckReport {
    /// Whether everything agrees.
    pub ok: bool,
    /// Leaves computed again.
    pub leaves: u64,
    /// Checkpoints computed again.
    pub checkpoints: u64,
    /// Claims of lanes about each other that were compared.
    pub claims: u64,
    /// What does not agree, each a sentence.
    pub findings: Vec<String>,
}

impl FsckReport {
    fn find(&mut self, finding: String) {
        if self.findings.len() < FSCK_FINDINGS_MAX {
            self.findings.push(finding);
        }
    }
}

/// Checks every lane of an organization's log.
pub async fn fsck(world: &World, tenant: &Tenant) -> Result<FsckReport, Fault> {
    let mut report = FsckReport::default();
    let lanes = world.store.lanes(tenant.id).await?;
    for lane in &lanes {
        check_lane(world, tenant, (lane, &lanes), &mut report).await?;
    }
    report.ok = report.findings.is_empty();
    Ok(report)
}

async fn check_lane(
    world: &World,
    tenant: &Tenant,
    (lane, lanes): (&LaneHead, &[LaneHead]),
    report: &mut FsckReport,
) -> Result<(), Fault> {
    let number = lane.lane;
    let vkeys = tenant.log_vkeys_ever(lane)?;
    let empty = BTreeMap::<(u8, u64), Vec<u8>>::new();
    let mut tree =
        Integrator::resume(Frontier::new(), &empty).map_err(|error| Fault::new("fsck", error))?;
    let mut roots = Frontier::new();
    let (mut previous, mut next) = (Hash::ZERO, 0u64);
    let mut notes = world.store.checkpoints(tenant.id, number, 0, FSCK_LEAVES_MAX).await?;
    notes.reverse();
    loop {
        let leaves = world.store.leaves(tenant.id, number, next, FSCK_LEAVES_MAX).await?;
        if leaves.is_empty() {
            break;
        }
        for leaf in leaves {
            if leaf.sequence != next {
                report.find(format!("lane {number}: leaf {next} is missing"));
                next = leaf.sequence;
            }
            let digest = match &leaf.body {
                LeafBody::Kept { salt, payload } => payload_digest(salt, payload.as_bytes()),
                LeafBody::Pruned { digest } => Hash::new(*digest),
            };
            let computed = leaf_hash(leaf.sequence, &previous, &leaf.kind, leaf.at, &digest);
            let kept = Hash::new(leaf.hash);
            if computed != kept {
                report.find(format!("lane {number}: leaf {next} was edited"));
            }
            previous = kept;
            next += 1;
            report.leaves += 1;
            if Claim::is_made_by(&leaf.kind) {
                check_claims(world, tenant, (&leaf, lanes), report).await?;
            }
            roots.append(kept);
            if next <= lane.integrated {
                tree.append(kept);
            }
            while let Some((_, note)) = notes.pop_if(|(size, _)| *size <= next) {
                report.checkpoints += 1;
                match checkpoint::open(note.as_bytes(), &vkeys) {
                    Ok(signed) if signed.size == next && signed.root == roots.root() => {}
                    Ok(signed) => report.find(format!(
                        "lane {number}: the checkpoint of size {} covers other leaves",
                        signed.size
                    )),
                    Err(error) => report.find(format!("lane {number}: a checkpoint: {error}")),
                }
                if notes.is_empty() {
                    notes =
                        world.store.checkpoints(tenant.id, number, next, FSCK_LEAVES_MAX).await?;
                    notes.reverse();
                }
            }
        }
        // What is full is compared at once: the tiles of a whole log would not fit into memory.
        for tile in tree.take_full() {
            if !matches!(stands(world, tenant, number, &tile).await?, Stands::Alike) {
                report.find(unfounded(number, &tile));
            }
        }
    }
    // Who is being written to meanwhile has grown since its head was read, and only that.
    let mut grown = Vec::new();
    for tile in tree.finish().tiles {
        match stands(world, tenant, number, &tile).await? {
            Stands::Alike => {}
            Stands::Longer => grown.push(unfounded(number, &tile)),
            Stands::Otherwise => report.find(unfounded(number, &tile)),
        }
    }
    let now = world.store.lanes(tenant.id).await?;
    let now = now.iter().find(|now| now.lane == number).unwrap_or(lane);
    if now.integrated == lane.integrated {
        for finding in grown {
            report.find(finding);
        }
    }
    if next < lane.sequenced || next > now.sequenced {
        report.find(format!(
            "lane {number}: {} leaves were sequenced, {next} are there",
            now.sequenced
        ));
    }
    Ok(())
}

/// Compares what a leaf says of other lanes with what was signed there, which is compared with their
/// leaves.
async fn check_claims(
    world: &World,
    tenant: &Tenant,
    (leaf, lanes): (&Leaf, &[LaneHead]),
    report: &mut FsckReport,
) -> Result<(), Fault> {
    let place = format!("lane {}: leaf {}", leaf.lane, leaf.sequence);
    let LeafBody::Kept { payload, .. } = &leaf.body else {
        // Earlier versions pruned what a generation began with.
        if leaf.kind == CHECKPOINTED {
            report.find(format!("{place} told of other lanes and was pruned"));
        }
        return Ok(());
    };
    let Some(claims) = Claim::read(&leaf.kind, payload) else {
        report.find(format!("{place} does not say of other lanes what it should"));
        return Ok(());
    };
    for claim in claims {
        report.claims += 1;
        let Claim { origin, size, root } = claim;
        let of_it = |lanes: &[LaneHead]| {
            lanes
                .iter()
                .find(|lane| tenant.origin(lane) == origin)
                .map(|it| (it.lane, it.sequenced))
        };
        let mut found = of_it(lanes).filter(|(_, has)| *has >= size);
        if found.is_none() {
            // It may have begun, or grown, since the lanes were read.
            found = of_it(&world.store.lanes(tenant.id).await?);
        }
        let Some((number, has)) = found else {
            report.find(format!("{place} tells of the log `{origin}`, which is not there"));
            continue;
        };
        if has < size {
            report
                .find(format!("{place} tells of {size} leaves of lane {number}, which has {has}"));
            continue;
        }
        let signed = world.store.checkpoints(tenant.id, number, size - 1, 1).await?;
        let text = Checkpoint { origin, size, root }.to_string();
        let is_it = signed.first().is_some_and(|(_, note)| {
            note.strip_prefix(text.as_str()).is_some_and(|rest| rest.starts_with('\n'))
        });
        if !is_it {
            report
                .find(format!("{place} tells of another checkpoint of lane {number}, size {size}"));
        }
    }
    Ok(())
}

/// How a tile stands in the store.
enum Stands {
    Alike,
    /// It goes on where the computed one ends.
    Longer,
    Otherwise,
}

async fn stands(
    world: &World,
    tenant: &Tenant,
    lane: u16,
    computed: &Tile,
) -> Result<Stands, Fault> {
    let kept = world.store.tile(tenant.id, lane, computed.level, computed.index).await?;
    let kept = kept.unwrap_or_default();
    Ok(match kept.strip_prefix(&*computed.bytes) {
        Some([]) => Stands::Alike,
        Some(_) => Stands::Longer,
        None => Stands::Otherwise,
    })
}

fn unfounded(lane: u16, tile: &Tile) -> String {
    format!(
        "lane {lane}: tile {} of level {} does not follow from the leaves",
        tile.index, tile.level
    )
}
