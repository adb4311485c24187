//! The log as a store keeps it: what is sequenced with the writes of other ports is read and integrated
//! here.

use std::ops::Range;

use accredit_wire::ids::OrganizationId;
use accredit_wire::time::Time;

use super::checkpointed::OtherLanes;
use crate::page::Order;
use crate::ports::{Audited, BoxFuture};
use crate::refusal::Fault;
use crate::restoration::NewGeneration;

/// A leaf whose payload and salt are to be deleted.
#[derive(Clone, Copy, Debug)]
pub struct Pruned {
    /// Its place in its lane.
    pub sequence: u64,
    /// SHA-256(salt ‖ payload), which stays.
    pub digest: [u8; 32],
}

/// One leaf as the log keeps it.
#[derive(Clone, Debug)]
pub struct Leaf {
    /// Its lane.
    pub lane: u16,
    /// Its place in the lane.
    pub sequence: u64,
    /// Its type, such as `token.issued`.
    pub kind: String,
    /// When.
    pub at: Time,
    /// Its RFC 6962 leaf hash.
    pub hash: [u8; 32],
    /// What the digest covers, or the digest alone once that was pruned.
    pub body: LeafBody,
}

/// The part of a leaf that may be pruned.
#[derive(Clone, Debug)]
pub enum LeafBody {
    /// Salt and canonical JSON.
    Kept {
        /// 16 random bytes.
        salt: [u8; 16],
        /// Canonical JSON.
        payload: String,
    },
    /// SHA-256(salt ‖ payload).
    Pruned {
        /// The digest.
        digest: [u8; 32],
    },
}

/// A stored tile: up to 256 hashes of one level.
#[derive(Clone, Debug)]
pub struct Tile {
    /// 0 holds leaves.
    pub level: u8,
    /// Which, from the left.
    pub index: u64,
    /// 32 bytes each.
    pub hashes: Vec<u8>,
}

/// Tiles and the checkpoint that covers them.
#[derive(Clone, Debug)]
pub struct Integrated {
    /// New and changed tiles.
    pub tiles: Vec<Tile>,
    /// Leaves covered from now on.
    pub size: u64,
    /// The checkpoint, a signed note.
    pub note: String,
}

/// Where a lane's log stands.
#[derive(Clone, Debug)]
pub struct LaneHead {
    /// Which lane.
    pub lane: u16,
    /// The generation of the store in which it began; it stands in the lane's origin.
    pub generation: u64,
    /// The slot whose node writes to it; nothing where it is the one that all share.
    pub slot: Option<u16>,
    /// Leaves sequenced.
    pub sequenced: u64,
    /// Leaves from the first on whose payloads are deleted, but for those that tell of other lanes.
    pub pruned: u64,
    /// Leaves covered by the newest checkpoint, 0 where there is none.
    pub integrated: u64,
    /// The newest checkpoint, a signed note.
    pub note: Option<String>,
}

/// The log: leaves are sequenced by the writes above; here they are read and integrated.
pub trait Log: Send + Sync {
    /// The lanes of an organization.
    fn lanes(&self, org: OrganizationId) -> BoxFuture<'_, Result<Vec<LaneHead>, Fault>>;

    /// At most `limit` leaves of a lane from `from` on.
    fn leaves(
        &self,
        org: OrganizationId,
        lane: u16,
        from: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Leaf>, Fault>>;

    /// At most `limit` leaves of a lane at `places`, of these types, none of which is
    /// `token.issued`; oldest or newest first.
    fn leaves_of(
        &self,
        org: OrganizationId,
        lane: u16,
        kinds: Vec<String>,
        places: Range<u64>,
        order_and_limit: (Order, usize),
    ) -> BoxFuture<'_, Result<Vec<Leaf>, Fault>>;

    /// At most `limit` leaf hashes of a lane from `from` on.
    fn leaf_hashes(
        &self,
        org: OrganizationId,
        lane: u16,
        from: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<[u8; 32]>, Fault>>;

    /// Begins a generation of an organization's store, in one transaction: its counter, the entry
    /// that ends all its tokens, closed issuing, and a new lane whose first event this is.
    fn begin_generation(
        &self,
        generation: Audited<NewGeneration>,
    ) -> BoxFuture<'_, Result<(), Fault>>;

    /// Records in a lane what the checkpoints of others are. False where it is not written: the lane is not
    /// this node's to write to any more or not in this batch, or a checkpoint is not there.
    fn record_checkpoints(&self, others: Audited<OtherLanes>)
    -> BoxFuture<'_, Result<bool, Fault>>;

    /// Deletes payloads and salts of a lane from where it was left off, in order, keeps their digests
    /// and notes how far that is ([`LaneHead::pruned`]), in one transaction. Its event
    /// was recorded before; see [`crate::audit::prune`].
    fn prune(
        &self,
        org: OrganizationId,
        lane: u16,
        pruned: Vec<Pruned>,
    ) -> BoxFuture<'_, Result<(), Fault>>;

    /// One stored tile.
    fn tile(
        &self,
        org: OrganizationId,
        lane: u16,
        level: u8,
        index: u64,
    ) -> BoxFuture<'_, Result<Option<Vec<u8>>, Fault>>;

    /// Stores tiles and the checkpoint that covers them, in one transaction, where the lane is
    /// still integrated up to exactly `from`. Without tiles and of size `from` it is the newest
    /// checkpoint again, under further signatures. False where somebody else went on from there.
    fn integrate(
        &self,
        org: OrganizationId,
        lane: u16,
        from: u64,
        integrated: Integrated,
    ) -> BoxFuture<'_, Result<bool, Fault>>;

    /// Checkpoints of sizes above `after`, ascending, at most `limit`: `(size, note)`.
    fn checkpoints(
        &self,
        org: OrganizationId,
        lane: u16,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(u64, String)>, Fault>>;
}
