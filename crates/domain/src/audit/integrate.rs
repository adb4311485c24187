//! RFC 6962 section 2.1, C2SP tlog-tiles: building the tree behind the log.
//!
//! Sequencing is durable in the transaction of each change; here what was sequenced is taken into
//! the tree in batches, and a checkpoint over it is signed, by every log key that is
//! published, and stored with its tiles in one transaction. The tree is taken up from its stored right edge, which must give the root of the
//! last checkpoint: a log that lost something is not signed on.

use std::collections::BTreeMap;

use accredit_wire::tlog::Hash;
use accredit_wire::tlog::checkpoint::{self, Checkpoint};
use accredit_wire::tlog::note::{self, Vkey};
use accredit_wire::tlog::proof::ConsistencyProof;
use accredit_wire::tlog::tile::{Integrator, TiledHashes, consistency_tiles, edge_tiles};
use accredit_wire::tlog::tree::{Frontier, HashReader as _};

use crate::context::World;
use crate::ports::{Integrated, LaneHead, Tile};
use crate::refusal::Fault;
use crate::tenant::Tenant;

/// Leaves taken into the tree in one transaction.
pub const INTEGRATE_LEAVES_MAX: usize = 1024;
/// Transactions of one run, so that a run ends even where leaves keep coming.
pub const INTEGRATE_BATCHES_MAX: usize = 8192;

fn failed(error: impl std::fmt::Display) -> Fault {
    Fault::new("integrate", error)
}

/// Takes everything sequenced so far into the tree; returns the lanes as they stand then.
pub async fn integrate(world: &World, tenant: &Tenant) -> Result<Vec<LaneHead>, Fault> {
    for lane in world.store.lanes(tenant.id).await? {
        let target = lane.sequenced;
        let mut lane = lane;
        for _ in 0..INTEGRATE_BATCHES_MAX {
            if lane.integrated >= target {
                break;
            }
            lane = step(world, tenant, lane).await?;
        }
        sign_again(world, tenant, &lane).await?;
    }
    world.store.lanes(tenant.id).await
}

/// One batch of one lane.
async fn step(world: &World, tenant: &Tenant, lane: LaneHead) -> Result<LaneHead, Fault> {
    let store = &world.store;
    let from = lane.integrated;
    let leaves = store.leaf_hashes(tenant.id, lane.lane, from, INTEGRATE_LEAVES_MAX).await?;
    if leaves.is_empty() {
        return Err(failed("the log says it has leaves that are not there"));
    }
    let mut tiles = BTreeMap::new();
    for (level, index) in edge_tiles(from) {
        if let Some(bytes) = store.tile(tenant.id, lane.lane, level, index).await? {
            tiles.insert((level, index), bytes);
        }
    }
    let frontier = frontier(from, &tiles)?;
    check_root(&lane, &frontier)?;
    let mut integrator = Integrator::resume(frontier, &tiles).map_err(failed)?;
    for leaf in &leaves {
        integrator.append(Hash::new(*leaf));
    }
    let done = integrator.finish();
    let size = done.frontier.size();
    let checkpoint = Checkpoint { origin: tenant.origin(&lane), size, root: done.frontier.root() };
    let note = sign(world, tenant, &checkpoint).await?;
    let tiles = done
        .tiles
        .into_iter()
        .map(|tile| Tile { level: tile.level, index: tile.index, hashes: tile.bytes })
        .collect();
    let integrated = Integrated { tiles, size, note };
    let first = store.integrate(tenant.id, lane.lane, from, integrated.clone()).await?;
    if first {
        return Ok(LaneHead { integrated: size, note: Some(integrated.note), ..lane });
    }
    // Somebody else integrated from there: go on from where they left it.
    let lanes = store.lanes(tenant.id).await?;
    lanes.into_iter().find(|l| l.lane == lane.lane).ok_or_else(|| failed("the lane is gone"))
}

/// The checkpoint under the signature of every log key that is published.
async fn sign(world: &World, tenant: &Tenant, checkpoint: &Checkpoint) -> Result<String, Fault> {
    let (bytes, keys) = (checkpoint.bytes_to_sign(), tenant.keys());
    let mut lines = String::new();
    for key in keys.log_signers() {
        let vkey = Vkey::new(&checkpoint.origin, &key.public).map_err(failed)?;
        let signature = world.vault.sign(key, &bytes).await?;
        lines.push_str(&vkey.signature_line(&signature));
    }
    Ok(note::assemble(&checkpoint.to_string(), &lines))
}

/// Has the newest checkpoint of a lane signed by the keys that came since, so that who knows only
/// them verifies every lane, also one that does not grow. Only what a published key signed is signed
/// again: a note that somebody put into the store is not.
async fn sign_again(world: &World, tenant: &Tenant, lane: &LaneHead) -> Result<(), Fault> {
    let Some(note) = &lane.note else { return Ok(()) };
    let vkeys = tenant.log_vkeys(lane)?;
    if vkeys.iter().all(|vkey| note::bears(note, vkey)) {
        return Ok(());
    }
    let checkpoint = checkpoint::open(note.as_bytes(), &vkeys).map_err(failed)?;
    let note = sign(world, tenant, &checkpoint).await?;
    let size = checkpoint.size;
    let again = Integrated { tiles: Vec::new(), size, note };
    // Somebody else integrated or signed meanwhile: the next turn looks again.
    world.store.integrate(tenant.id, lane.lane, size, again).await?;
    Ok(())
}

/// The right edge of a stored tree of `size` leaves, computed from its tiles.
pub(super) fn frontier(size: u64, tiles: &BTreeMap<(u8, u64), Vec<u8>>) -> Result<Frontier, Fault> {
    let reader = TiledHashes(tiles);
    let hashes = (0..64u8)
        .rev()
        .filter(|bit| size >> bit & 1 == 1)
        .map(|bit| reader.hash(bit, (size >> bit) - 1))
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| failed("a tile at the right edge is missing or too short"))?;
    Frontier::from_hashes(size, hashes).ok_or_else(|| failed("the stored tiles disagree"))
}

/// The tree that is taken up must be the one that was signed last.
fn check_root(lane: &LaneHead, frontier: &Frontier) -> Result<(), Fault> {
    let Some(note) = &lane.note else { return Ok(()) };
    let text = note.split("\n\n").next().map(|text| format!("{text}\n")).unwrap_or_default();
    let signed = Checkpoint::parse(&text).map_err(failed)?;
    if signed.size == frontier.size() && signed.root == frontier.root() {
        return Ok(());
    }
    Err(failed("the stored tiles do not give the root of the last checkpoint; run `accredit fsck`"))
}

/// The proof that the tree of `new` leaves extends the tree of `old`.
pub async fn consistency(
    world: &World,
    tenant: &Tenant,
    lane: u16,
    old: u64,
    new: u64,
) -> Result<ConsistencyProof, Fault> {
    let mut tiles = BTreeMap::new();
    for (level, index) in consistency_tiles(old, new).map_err(failed)? {
        if let Some(bytes) = world.store.tile(tenant.id, lane, level, index).await? {
            tiles.insert((level, index), bytes);
        }
    }
    ConsistencyProof::new(&TiledHashes(&tiles), old, new).map_err(failed)
}
