//! C2SP tlog-tiles: the tree cut into tiles of 256 hashes, as it is stored and served.
//!
//! The tile of level L and index N holds the roots of 256 complete subtrees of height 8 L. A full
//! tile never changes; the one at the right edge of each level grows, and its shorter versions are
//! its prefixes, so one stored version, the longest, serves all. [`Integrator`] says which tiles
//! change when leaves are appended; [`TiledHashes`] reads proofs out of tiles.
//!
//! Absent on purpose: where tiles are kept. A [`TileReader`] is a look-up in memory; who reads from
//! elsewhere asks [`edge_tiles`], [`inclusion_tiles`] or [`consistency_tiles`] what to fetch first.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

mod bundle;
mod integrator;
mod path;

pub use bundle::{BundleError, decode_bundle, encode_bundle};
pub use integrator::{Integrated, IntegrationError, Integrator};
pub use path::{TileKind, TilePath, TilePathError};

use super::tree::{self, HashReader, ProofError};
use super::{HASH_LEN, Hash};

/// Hashes in a full tile.
pub const TILE_WIDTH_MAX: u16 = 256;

/// The highest level of a tile: level 7 holds the roots of subtrees of 2^56 leaves.
pub const TILE_LEVEL_MAX: u8 = 7;

/// Levels of the tree in one level of tiles.
const TILE_HEIGHT: u8 = 8;

/// A tile of hashes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tile {
    /// The level, 0 to [`TILE_LEVEL_MAX`].
    pub level: u8,
    /// The place among the tiles of the level.
    pub index: u64,
    /// 1 to 256 hashes of 32 bytes.
    pub bytes: Vec<u8>,
}

impl Tile {
    /// How many hashes the tile holds.
    pub fn width(&self) -> u16 {
        (self.bytes.len() / HASH_LEN) as u16
    }
}

/// Where stored tiles are looked up.
pub trait TileReader {
    /// The longest stored version of a tile: up to 256 hashes of 32 bytes. `None` where it is not
    /// stored.
    fn tile(&self, level: u8, index: u64) -> Option<Cow<'_, [u8]>>;
}

impl<T: TileReader + ?Sized> TileReader for &T {
    fn tile(&self, level: u8, index: u64) -> Option<Cow<'_, [u8]>> {
        (**self).tile(level, index)
    }
}

/// Tiles fetched beforehand, by level and index.
impl TileReader for BTreeMap<(u8, u64), Vec<u8>> {
    fn tile(&self, level: u8, index: u64) -> Option<Cow<'_, [u8]>> {
        self.get(&(level, index)).map(|bytes| Cow::Borrowed(bytes.as_slice()))
    }
}

/// The hashes of all complete subtrees, computed from tiles.
pub struct TiledHashes<T>(
    /// Where the tiles are looked up.
    pub T,
);

impl<T: TileReader> HashReader for TiledHashes<T> {
    fn hash(&self, level: u8, index: u64) -> Option<Hash> {
        let place = Place::of(level, index)?;
        let tile = self.0.tile(place.level, place.index)?;
        complete_root(tile.get(place.first * HASH_LEN..(place.first + place.count) * HASH_LEN)?)
    }
}

/// Where the hash of a complete subtree is found: it is the root over `count` hashes of a tile.
struct Place {
    level: u8,
    index: u64,
    first: usize,
    count: usize,
}

impl Place {
    fn of(level: u8, index: u64) -> Option<Self> {
        let (tile_level, height) = (level / TILE_HEIGHT, level % TILE_HEIGHT);
        if tile_level > TILE_LEVEL_MAX || index.leading_zeros() < u32::from(height) {
            return None;
        }
        let first = index << height;
        let width = u64::from(TILE_WIDTH_MAX);
        Some(Self {
            level: tile_level,
            index: first / width,
            first: (first % width) as usize,
            count: 1 << height,
        })
    }
}

/// The root over hashes whose count is a power of two.
fn complete_root(bytes: &[u8]) -> Option<Hash> {
    let mut hashes: Vec<Hash> =
        bytes.chunks(HASH_LEN).map(Hash::from_slice).collect::<Option<_>>()?;
    while hashes.len() > 1 {
        hashes = hashes
            .chunks(2)
            .map(|pair| match pair {
                [left, right] => Some(tree::node_hash(left, right)),
                _ => None,
            })
            .collect::<Option<_>>()?;
    }
    hashes.pop()
}

/// Level and index of the partial tiles at the right edge of a tree of `size` leaves, lowest level
/// first: what [`Integrator::resume`] reads.
pub fn edge_tiles(size: u64) -> Vec<(u8, u64)> {
    edges(size).filter(|edge| edge.width > 0).map(|edge| (edge.level, edge.index)).collect()
}

/// The tile under construction at one level.
struct Edge {
    level: u8,
    index: u64,
    width: usize,
}

fn edges(size: u64) -> impl DoubleEndedIterator<Item = Edge> {
    (0..=TILE_LEVEL_MAX).map(move |level| {
        let hashes = size >> (level * TILE_HEIGHT);
        let width = u64::from(TILE_WIDTH_MAX);
        Edge { level, index: hashes / width, width: (hashes % width) as usize }
    })
}

/// Level and index of the tiles that [`tree::inclusion_proof`] reads.
pub fn inclusion_tiles(index: u64, size: u64) -> Result<Vec<(u8, u64)>, ProofError> {
    let asked = Asked::default();
    tree::inclusion_proof(&asked, index, size)?;
    Ok(asked.0.into_inner().into_iter().collect())
}

/// Level and index of the tiles that [`tree::consistency_proof`] reads.
pub fn consistency_tiles(old: u64, new: u64) -> Result<Vec<(u8, u64)>, ProofError> {
    let asked = Asked::default();
    tree::consistency_proof(&asked, old, new)?;
    Ok(asked.0.into_inner().into_iter().collect())
}

/// Writes down which tiles are asked for, and answers anything.
#[derive(Default)]
struct Asked(std::cell::RefCell<BTreeSet<(u8, u64)>>);

impl HashReader for Asked {
    fn hash(&self, level: u8, index: u64) -> Option<Hash> {
        let place = Place::of(level, index)?;
        self.0.borrow_mut().insert((place.level, place.index));
        Some(Hash::ZERO)
    }
}

impl fmt::Display for Tile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = TileKind::Hashes(self.level);
        fmt::Display::fmt(&TilePath { kind, index: self.index, width: self.width() }, f)
    }
}

#[cfg(test)]
mod tests;
