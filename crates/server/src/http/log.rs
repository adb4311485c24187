//! C2SP tlog-tiles, RFC 6962: the log for those who check it: checkpoints, tiles and proofs.

use std::collections::BTreeMap;

use accredit_domain::audit::{integrate, reads};
use accredit_domain::ports::{LaneHead, LeafBody};
use accredit_domain::registry::credential::AdminPermission;
use accredit_domain::{Cx, Fault, Refusal, Rule};
use accredit_wire::tlog::Hash;
use accredit_wire::tlog::leaf::{Entry, payload_digest};
use accredit_wire::tlog::proof::InclusionProof;
use accredit_wire::tlog::tile::{
    TILE_WIDTH_MAX, TileKind, TilePath, TiledHashes, encode_bundle, inclusion_tiles,
};
use http::StatusCode;

use crate::dispatch::{Call, Handled};
use crate::failure::Failure;
use crate::reply;

fn missing(what: &str) -> Refusal {
    Refusal::new(
        Rule::NotFound,
        format!("there is no such {what} in this log"),
        "the newest `checkpoint` says how large the log is; `/v1/log` names its lanes",
    )
}

/// The lane that the path's log id names: `g<generation>l<lane>`, with the generation in which the
/// lane began.
async fn lane(call: &Call, cx: &Cx) -> Result<LaneHead, Failure> {
    let lanes = cx.world.store.lanes(cx.tenant.id).await?;
    let id = call.path("log");
    let mut lanes = lanes.into_iter();
    let named = lanes.find(|head| id == format!("g{}l{}", head.generation, head.lane));
    Ok(named.ok_or_else(|| missing("log"))?)
}

fn number(call: &Call, name: &'static str) -> Result<u64, Failure> {
    let value = call.query(name).and_then(|value| value.parse().ok());
    Ok(value.ok_or_else(|| Refusal::field(name, "must be a number", "send it in the query"))?)
}

/// The size that a checkpoint covers: proofs reach no further.
fn covered(lane: &LaneHead, size: u64) -> Result<(), Refusal> {
    if size <= lane.integrated { Ok(()) } else { Err(missing("size")) }
}

/// The newest checkpoint, a signed note.
pub fn checkpoint(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        let note = lane(&call, &cx).await?.note;
        let note = note.ok_or_else(|| missing("checkpoint"))?;
        Ok(reply::bytes("text/plain; charset=utf-8", note))
    })
}

/// The proof that one size of the tree extends another.
pub fn consistency(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        let lane = lane(&call, &cx).await?;
        let (from, to) = (number(&call, "from")?, number(&call, "to")?);
        if from > to {
            return Err(Refusal::field("from", "is larger than `to`", "swap them").into());
        }
        covered(&lane, to)?;
        let proof = integrate::consistency(&cx.world, &cx.tenant, lane.lane, from, to).await?;
        Ok(reply::json(StatusCode::OK, &proof)?)
    })
}

/// The proof that a leaf is in the tree of a size.
pub fn inclusion(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        let lane = lane(&call, &cx).await?;
        let (index, size) = (number(&call, "index")?, number(&call, "size")?);
        covered(&lane, size)?;
        let wanted = inclusion_tiles(index, size)
            .map_err(|error| Refusal::field("index", error, "ask for a leaf below `size`"))?;
        let mut tiles = BTreeMap::new();
        for (level, index) in wanted {
            if let Some(bytes) = cx.world.store.tile(cx.tenant.id, lane.lane, level, index).await? {
                tiles.insert((level, index), bytes);
            }
        }
        let proof = InclusionProof::new(&TiledHashes(&tiles), index, size)
            .map_err(|error| Fault::new("inclusion", error))?;
        Ok(reply::json(StatusCode::OK, &proof)?)
    })
}

/// A tile of hashes, or, for auditors, of entries.
pub fn tile(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        let lane = lane(&call, &cx).await?;
        let path = format!("tile/{}", call.path("tile"));
        let path: TilePath = path.parse().map_err(|_| missing("tile"))?;
        let bytes = match path.kind {
            TileKind::Hashes(level) => {
                let stored =
                    cx.world.store.tile(cx.tenant.id, lane.lane, level, path.index).await?;
                let width = usize::from(path.width) * 32;
                stored.and_then(|bytes| bytes.get(..width).map(<[u8]>::to_vec))
            }
            TileKind::Entries => {
                cx.require(AdminPermission::Audit)?;
                let entries = entries(&cx, &lane, path.index, path.width).await?;
                if entries.is_some() {
                    reads::record(&cx).await?;
                }
                entries
            }
        };
        let bytes = bytes.ok_or_else(|| missing("tile"))?;
        Ok(reply::bytes("application/octet-stream", bytes))
    })
}

/// Leaf entries: what the tree hashes. Payloads are apart (`/v1/events/export`).
async fn entries(
    cx: &Cx,
    lane: &LaneHead,
    index: u64,
    width: u16,
) -> Result<Option<Vec<u8>>, Failure> {
    let from = index.saturating_mul(u64::from(TILE_WIDTH_MAX));
    let end = from + u64::from(width);
    if covered(lane, end).is_err() {
        return Ok(None);
    }
    // One more at the front: each entry holds the hash of the leaf before it.
    let first = from.saturating_sub(1);
    let count = (end - first) as usize;
    let leaves = cx.world.store.leaves(cx.tenant.id, lane.lane, first, count).await?;
    let mut previous = Hash::ZERO;
    let mut encoded = Vec::with_capacity(usize::from(width));
    for leaf in leaves {
        if leaf.sequence >= from {
            let digest = match &leaf.body {
                LeafBody::Kept { salt, payload } => payload_digest(salt, payload.as_bytes()),
                LeafBody::Pruned { digest } => Hash::new(*digest),
            };
            let entry = Entry {
                sequence: leaf.sequence,
                previous,
                kind: leaf.kind.clone(),
                at: leaf.at,
                digest,
            };
            encoded.push(entry.encode().map_err(|error| Fault::new("entries", error))?);
        }
        previous = Hash::new(leaf.hash);
    }
    let bundle = encode_bundle(&encoded).map_err(|error| Fault::new("entries", error))?;
    Ok(Some(bundle))
}
