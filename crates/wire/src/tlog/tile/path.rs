//! C2SP tlog-tiles: the paths of tiles, `tile/<L>/<N>[.p/<W>]` and `tile/entries/<N>[.p/<W>]`.
//!
//! N is written in groups of three digits, all but the last behind an `x`, so that no folder holds
//! more than 1,000 names. A path has exactly one spelling.

use std::fmt;
use std::str::FromStr;

use super::{TILE_LEVEL_MAX, TILE_WIDTH_MAX};

/// What a tile holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TileKind {
    /// Hashes, at this level.
    Hashes(u8),
    /// Entries, in a bundle.
    Entries,
}

/// The name of a tile, as a path relative to the log's address: `tile/0/x001/x234/067.p/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TilePath {
    /// Hashes of a level, or entries.
    pub kind: TileKind,
    /// The place among the tiles of its kind.
    pub index: u64,
    /// How many hashes or entries: 1 to 255 for a partial tile, 256 for a full one.
    pub width: u16,
}

/// The text is not the path of a tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TilePathError;

impl fmt::Display for TilePathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected a tile path such as `tile/0/x001/x234/067` or `tile/entries/000.p/8`")
    }
}

impl std::error::Error for TilePathError {}

impl fmt::Display for TilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            TileKind::Hashes(level) => write!(f, "tile/{level}/")?,
            TileKind::Entries => f.write_str("tile/entries/")?,
        }
        let mut unit = 1;
        while self.index / unit >= 1000 {
            unit *= 1000;
        }
        while unit > 1 {
            write!(f, "x{:03}/", self.index / unit % 1000)?;
            unit /= 1000;
        }
        write!(f, "{:03}", self.index % 1000)?;
        if self.width < TILE_WIDTH_MAX { write!(f, ".p/{}", self.width) } else { Ok(()) }
    }
}

impl FromStr for TilePath {
    type Err = TilePathError;

    fn from_str(text: &str) -> Result<Self, TilePathError> {
        let path = read(text).ok_or(TilePathError)?;
        // One spelling: what is read must be written the same.
        if path.to_string() == text { Ok(path) } else { Err(TilePathError) }
    }
}

fn read(text: &str) -> Option<TilePath> {
    let (kind, rest) = text.strip_prefix("tile/")?.split_once('/')?;
    let kind = match kind {
        "entries" => TileKind::Entries,
        level => TileKind::Hashes(level.parse().ok().filter(|level| *level <= TILE_LEVEL_MAX)?),
    };
    let (index, width) = match rest.split_once(".p/") {
        Some((index, width)) => {
            (index, width.parse().ok().filter(|width| (1..TILE_WIDTH_MAX).contains(width))?)
        }
        None => (rest, TILE_WIDTH_MAX),
    };
    let mut value: u64 = 0;
    for group in index.split('/') {
        let digits = group.strip_prefix('x').unwrap_or(group);
        value = value.checked_mul(1000)?.checked_add(u64::from(digits.parse::<u16>().ok()?))?;
    }
    Some(TilePath { kind, index: value, width })
}
