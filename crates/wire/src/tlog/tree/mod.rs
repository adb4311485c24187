//! RFC 6962 section 2.1 and RFC 9162 section 2.1: the Merkle tree, its roots and its proofs.
//!
//! A leaf is hashed under 0x00 and a node under 0x01, so that neither passes for the other. A tree
//! of n leaves is split at the largest power of two below n. A tree grows by a [`Frontier`], which
//! holds only its right edge; proofs are read from the hashes of complete subtrees, which never
//! change once they are complete ([`HashReader`]).

use std::fmt;

use super::Hash;
use crate::crypto;

/// The most hashes in a proof: one for each level of a tree of 2^63 leaves.
pub const PROOF_LEN_MAX: usize = 63;

/// The hash of a leaf whose entry is `entry`: SHA-256(0x00 || entry).
pub fn entry_hash(entry: &[u8]) -> Hash {
    Hash::new(crypto::sha256_of(&[&[0x00], entry]))
}

/// The hash of an inner node: SHA-256(0x01 || left || right).
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut buffer = [0x01; 65];
    buffer[1..33].copy_from_slice(left.bytes());
    buffer[33..].copy_from_slice(right.bytes());
    Hash::new(crypto::sha256(&buffer))
}

/// The root of the tree without leaves: SHA-256 of nothing.
pub fn empty_root() -> Hash {
    Hash::new(crypto::sha256(b""))
}

/// The root of the tree with these leaf hashes, by the definition. For tests and small trees.
pub fn root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => empty_root(),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(split(leaves.len() as u64) as usize);
            node_hash(&root(left), &root(right))
        }
    }
}

/// The largest power of two below `size`, which must be at least 2.
fn split(size: u64) -> u64 {
    1 << (size - 1).ilog2()
}

/// The right edge of a growing tree: the roots of its complete subtrees, at most 64 hashes.
///
/// It is all one needs to append leaves and to know the root after each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    hashes: Vec<Hash>,
}

impl Frontier {
    /// The frontier of the tree without leaves.
    pub fn new() -> Self {
        Self::default()
    }

    /// The frontier of a tree of `size` leaves from its [`Frontier::hashes`]; `None` where their
    /// count does not fit the size.
    pub fn from_hashes(size: u64, hashes: Vec<Hash>) -> Option<Self> {
        (hashes.len() == size.count_ones() as usize).then_some(Self { size, hashes })
    }

    /// How many leaves the tree has.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The roots of the complete subtrees, largest (leftmost) first: one for each bit of the size.
    pub fn hashes(&self) -> &[Hash] {
        &self.hashes
    }

    /// Appends a leaf by its hash. A tree holds fewer than 2^63 leaves.
    pub fn append(&mut self, leaf: Hash) {
        self.append_seen(leaf, |_, _, _| {});
    }

    /// Appends a leaf and shows each subtree that became complete: level, index and hash, the leaf
    /// itself (level 0) first.
    pub(super) fn append_seen(&mut self, leaf: Hash, mut seen: impl FnMut(u8, u64, Hash)) {
        let (mut level, mut index, mut hash) = (0, self.size, leaf);
        seen(level, index, hash);
        while index & 1 == 1 {
            let Some(left) = self.hashes.pop() else { break };
            hash = node_hash(&left, &hash);
            level += 1;
            index >>= 1;
            seen(level, index, hash);
        }
        self.hashes.push(hash);
        self.size += 1;
    }

    /// The root of the tree.
    pub fn root(&self) -> Hash {
        self.hashes
            .iter()
            .copied()
            .rev()
            .reduce(|right, left| node_hash(&left, &right))
            .unwrap_or_else(empty_root)
    }
}

/// Where the hashes of complete subtrees are read from.
pub trait HashReader {
    /// The root of the complete subtree over the leaves `index * 2^level .. (index + 1) * 2^level`;
    /// `None` where it is not stored.
    fn hash(&self, level: u8, index: u64) -> Option<Hash>;
}

/// Why a proof could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProofError {
    /// The index is not below the size, or the old size is above the new one.
    OutOfRange,
    /// The reader does not have this hash.
    Missing {
        /// The height of the subtree.
        level: u8,
        /// Its place among the subtrees of that height.
        index: u64,
    },
}

impl fmt::Display for ProofError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfRange => f.write_str("the tree does not have that many leaves"),
            Self::Missing { level, index } => {
                write!(f, "the hash at level {level}, index {index} of the tree is not stored")
            }
        }
    }
}

impl std::error::Error for ProofError {}

/// The inclusion proof of the leaf `index` in the tree of `size` leaves (RFC 9162 section
/// 2.1.3.1), lowest sibling first.
pub fn inclusion_proof(
    reader: &impl HashReader,
    index: u64,
    size: u64,
) -> Result<Vec<Hash>, ProofError> {
    if index >= size {
        return Err(ProofError::OutOfRange);
    }
    let (mut start, mut end) = (0, size);
    let mut proof = Vec::new();
    while end - start > 1 {
        let middle = start + split(end - start);
        if index < middle {
            proof.push(range_root(reader, middle, end)?);
            end = middle;
        } else {
            proof.push(range_root(reader, start, middle)?);
            start = middle;
        }
    }
    proof.reverse();
    Ok(proof)
}

/// The proof that the tree of `old` leaves is a prefix of the tree of `new` leaves (RFC 9162
/// section 2.1.4.1). Empty where `old` is 0 or equal to `new`.
pub fn consistency_proof(
    reader: &impl HashReader,
    old: u64,
    new: u64,
) -> Result<Vec<Hash>, ProofError> {
    if old > new {
        return Err(ProofError::OutOfRange);
    }
    let mut proof = Vec::new();
    if old == 0 || old == new {
        return Ok(proof);
    }
    let (mut start, mut end) = (0, new);
    while end != old {
        let middle = start + split(end - start);
        if old <= middle {
            proof.push(range_root(reader, middle, end)?);
            end = middle;
        } else {
            proof.push(range_root(reader, start, middle)?);
            start = middle;
        }
    }
    // The old tree is a complete subtree of the new one: its root is known to who asks.
    if start != 0 {
        proof.push(range_root(reader, start, end)?);
    }
    proof.reverse();
    Ok(proof)
}

/// The root over the leaves `start..end`, where `start` is where a subtree of that size may begin.
fn range_root(reader: &impl HashReader, start: u64, end: u64) -> Result<Hash, ProofError> {
    let mut at = end;
    let mut root: Option<Hash> = None;
    while at > start {
        let level = (at - start).trailing_zeros() as u8;
        at -= 1 << level;
        let index = at >> level;
        let left = reader.hash(level, index).ok_or(ProofError::Missing { level, index })?;
        root = Some(root.map_or(left, |right| node_hash(&left, &right)));
    }
    root.ok_or(ProofError::OutOfRange)
}

/// Why a proof is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProofRejection {
    /// The index is not below the size, or the old size is above the new one.
    OutOfRange,
    /// There are more or fewer hashes than these sizes need.
    Length,
    /// The hashes do not lead to the root.
    Root,
}

impl fmt::Display for ProofRejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OutOfRange => "the proof is for a place that the tree does not have",
            Self::Length => "the proof has more or fewer hashes than its sizes need",
            Self::Root => "the proof does not lead to the root",
        })
    }
}

impl std::error::Error for ProofRejection {}

/// Checks that `leaf` is the leaf hash at `index` of the tree with `size` leaves and this root
/// (RFC 9162 section 2.1.3.2).
pub fn verify_inclusion(
    proof: &[Hash],
    index: u64,
    size: u64,
    leaf: &Hash,
    root: &Hash,
) -> Result<(), ProofRejection> {
    if index >= size {
        return Err(ProofRejection::OutOfRange);
    }
    let mut walk = Walk { node: index, last: size - 1 };
    let mut hash = *leaf;
    for sibling in proof {
        hash = match walk.step()? {
            Side::Left => node_hash(sibling, &hash),
            Side::Right => node_hash(&hash, sibling),
        };
    }
    walk.end()?;
    if hash == *root { Ok(()) } else { Err(ProofRejection::Root) }
}

/// Checks that the tree of `old` leaves with `old_root` is a prefix of the tree of `new` leaves
/// with `new_root` (RFC 9162 section 2.1.4.2).
///
/// The tree without leaves is a prefix of every tree: its proof is empty, and its root is not
/// looked at.
pub fn verify_consistency(
    proof: &[Hash],
    old: u64,
    new: u64,
    old_root: &Hash,
    new_root: &Hash,
) -> Result<(), ProofRejection> {
    if old > new {
        return Err(ProofRejection::OutOfRange);
    }
    if old == 0 || old == new {
        return match (proof.is_empty(), old == 0 || old_root == new_root) {
            (false, _) => Err(ProofRejection::Length),
            (true, false) => Err(ProofRejection::Root),
            (true, true) => Ok(()),
        };
    }
    // "If first is an exact power of 2, then prepend first_hash to the consistency_path array."
    let (first, rest) = if old.is_power_of_two() {
        (old_root, proof)
    } else {
        proof.split_first().ok_or(ProofRejection::Length)?
    };
    let shared = (old - 1).trailing_ones();
    let mut walk = Walk { node: (old - 1) >> shared, last: (new - 1) >> shared };
    let (mut old_hash, mut new_hash) = (*first, *first);
    for sibling in rest {
        match walk.step()? {
            Side::Left => {
                old_hash = node_hash(sibling, &old_hash);
                new_hash = node_hash(sibling, &new_hash);
            }
            Side::Right => new_hash = node_hash(&new_hash, sibling),
        }
    }
    walk.end()?;
    if old_hash == *old_root && new_hash == *new_root { Ok(()) } else { Err(ProofRejection::Root) }
}

/// On which side of the path a proof's hash stands.
enum Side {
    Left,
    Right,
}

/// A climb from a node to the root: `fn` and `sn` of RFC 9162.
struct Walk {
    node: u64,
    last: u64,
}

impl Walk {
    /// "If LSB(fn) is set, or if fn is equal to sn": the sibling stands on the left, and levels
    /// without a sibling are skipped.
    fn step(&mut self) -> Result<Side, ProofRejection> {
        if self.last == 0 {
            return Err(ProofRejection::Length);
        }
        let side = if self.node & 1 == 1 || self.node == self.last {
            let skipped = self.node.trailing_zeros();
            self.node >>= skipped;
            self.last >>= skipped;
            Side::Left
        } else {
            Side::Right
        };
        self.node >>= 1;
        self.last >>= 1;
        Ok(side)
    }

    fn end(&self) -> Result<(), ProofRejection> {
        if self.last == 0 { Ok(()) } else { Err(ProofRejection::Length) }
    }
}

#[cfg(test)]
mod tests;
