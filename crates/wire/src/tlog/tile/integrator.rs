//! Appending leaves to a tiled tree: which tiles change, and what the right edge is afterwards.
//!
//! Pure: the caller reads the few tiles at the right edge, appends leaf hashes, and stores what
//! comes out. The same leaves give the same tiles however they are batched.

use std::fmt;

use super::super::tree::Frontier;
use super::super::{HASH_LEN, Hash};
use super::{TILE_HEIGHT, TILE_LEVEL_MAX, TILE_WIDTH_MAX, Tile, TileReader, complete_root, edges};

/// A tree being appended to.
pub struct Integrator {
    frontier: Frontier,
    growing: Vec<Growing>,
    full: Vec<Tile>,
}

/// The tile at the right edge of one level, and whether it changed.
struct Growing {
    tile: Tile,
    changed: bool,
}

/// What came out of an integration.
#[derive(Debug, PartialEq, Eq)]
pub struct Integrated {
    /// New and changed tiles by level and index, each in its longest version. At most the last of
    /// each level is partial.
    pub tiles: Vec<Tile>,
    /// The right edge of the tree, from which its size and root follow.
    pub frontier: Frontier,
}

/// Why a stored tree cannot be appended to. Each means that storage lost or altered something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IntegrationError {
    /// A tile at the right edge is not stored, or is shorter than the size of the tree says.
    Missing {
        /// The tile's level.
        level: u8,
        /// Its place in the level.
        index: u64,
    },
    /// The tiles at the right edge do not give the frontier's hashes.
    Disagree,
}

impl fmt::Display for IntegrationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { level, index } => {
                write!(f, "the tile at level {level}, index {index} is missing or too short")
            }
            Self::Disagree => f.write_str("the stored tiles disagree with the stored frontier"),
        }
    }
}

impl std::error::Error for IntegrationError {}

impl Integrator {
    /// Takes up a tree where `frontier` left it, with the tiles that [`super::edge_tiles`] names.
    /// Tiles and frontier are stored apart and checked against each other here.
    pub fn resume(frontier: Frontier, tiles: &impl TileReader) -> Result<Self, IntegrationError> {
        let mut growing = Vec::new();
        let mut expected = frontier.hashes().iter().rev();
        for edge in edges(frontier.size()) {
            let (level, index) = (edge.level, edge.index);
            let bytes = if edge.width == 0 {
                Vec::new()
            } else {
                let stored = tiles.tile(level, index);
                let prefix = stored.as_deref().and_then(|tile| tile.get(..edge.width * HASH_LEN));
                prefix.ok_or(IntegrationError::Missing { level, index })?.to_vec()
            };
            if !subtrees(&bytes).all(|root| root.is_some() && root.as_ref() == expected.next()) {
                return Err(IntegrationError::Disagree);
            }
            growing.push(Growing { tile: Tile { level, index, bytes }, changed: false });
        }
        Ok(Self { frontier, growing, full: Vec::new() })
    }

    /// Appends a leaf by its hash.
    pub fn append(&mut self, leaf: Hash) {
        let (growing, full) = (&mut self.growing, &mut self.full);
        self.frontier.append_seen(leaf, |level, _, hash| {
            if level % TILE_HEIGHT == 0
                && let Some(growing) = growing.get_mut(usize::from(level / TILE_HEIGHT))
            {
                full.extend(growing.push(&hash));
            }
        });
    }

    /// The tiles that are full by now, which nothing changes any more. They are not given again.
    pub fn take_full(&mut self) -> Vec<Tile> {
        std::mem::take(&mut self.full)
    }

    /// How many leaves the tree has by now.
    pub fn size(&self) -> u64 {
        self.frontier.size()
    }

    /// The new and changed tiles, and the new frontier.
    pub fn finish(self) -> Integrated {
        let partial = self.growing.into_iter().filter(|growing| growing.changed);
        let mut tiles = self.full;
        tiles.extend(partial.map(|growing| growing.tile).filter(|tile| !tile.bytes.is_empty()));
        tiles.sort_by_key(|tile| (tile.level, tile.index));
        Integrated { tiles, frontier: self.frontier }
    }
}

impl Growing {
    /// Appends a hash; where the tile is full, gives it away and begins the next one.
    fn push(&mut self, hash: &Hash) -> Option<Tile> {
        self.tile.bytes.extend_from_slice(hash.bytes());
        self.changed = true;
        if self.tile.width() < TILE_WIDTH_MAX {
            return None;
        }
        let (level, index) = (self.tile.level, self.tile.index);
        debug_assert!(level <= TILE_LEVEL_MAX);
        Some(std::mem::replace(&mut self.tile, Tile { level, index: index + 1, bytes: Vec::new() }))
    }
}

/// The roots of the complete subtrees over the hashes of a partial tile, smallest (rightmost)
/// first.
fn subtrees(bytes: &[u8]) -> impl Iterator<Item = Option<Hash>> {
    let mut end = bytes.len() / HASH_LEN;
    std::iter::from_fn(move || {
        let count = if end == 0 { return None } else { 1 << end.trailing_zeros() };
        let slice = bytes.get((end - count) * HASH_LEN..end * HASH_LEN);
        end -= count;
        Some(slice.and_then(complete_root))
    })
}
