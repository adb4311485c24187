//! A piece of a snapshot: entries of fixed width, in the order of the table that they go into.
//!
//! A snapshot of a million entries as one message takes its reader a few hundred megabytes. So what
//! is signed is a head that names its pieces by their hashes ([`super::feed`]), and each piece goes
//! straight into the shard of the table that it belongs to. An entry is 32 bytes, integers
//! big-endian: the id as [`AnyId::key`](crate::ids::AnyId::key) (16), `below` (8), `keep_until` (8).
//! A piece travels as base64url on one line.

use std::fmt;

use super::state::State;
use super::table::{Order, Row, id_of_key};
use crate::crypto;
use crate::jose::{b64url_decode, b64url_encode, b64url_len};
use crate::tlog::Hash;

/// Bytes of an entry.
pub const ENTRY_BYTES: usize = 32;

/// The most entries of a piece.
pub const PIECE_ENTRIES_MAX: usize = 8192;

/// The longest text of a piece.
pub const PIECE_TEXT_BYTES_MAX: usize = b64url_len(PIECE_ENTRIES_MAX * ENTRY_BYTES);

/// A piece, as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece(Vec<u8>);

impl Piece {
    /// Of rows in their order.
    pub(super) fn new(rows: &[Row]) -> Self {
        let mut bytes = Vec::with_capacity(rows.len() * ENTRY_BYTES);
        for Row { key, below, keep_until } in rows {
            bytes.extend_from_slice(&key.to_be_bytes());
            bytes.extend_from_slice(&below.to_be_bytes());
            bytes.extend_from_slice(&keep_until.to_be_bytes());
        }
        Self(bytes)
    }

    /// What the head of its snapshot names it by: SHA-256 of its bytes.
    pub fn hash(&self) -> Hash {
        Hash::new(crypto::sha256(&self.0))
    }

    /// Its line, without the end.
    pub fn text(&self) -> String {
        b64url_encode(&self.0)
    }

    /// Reads a line.
    pub fn parse(text: &str) -> Result<Self, PieceError> {
        if text.len() > PIECE_TEXT_BYTES_MAX {
            return Err(PieceError::TooLong);
        }
        b64url_decode(text).map(Self).map_err(|_| PieceError::Malformed)
    }

    /// Its rows: of ids, in the order, and all of them behind `after`.
    pub(super) fn rows(&self, after: Option<Order>) -> Result<Vec<Row>, PieceError> {
        let (entries, rest) = self.0.as_chunks::<ENTRY_BYTES>();
        if entries.is_empty() || !rest.is_empty() {
            return Err(PieceError::Malformed);
        }
        let mut rows = Vec::with_capacity(entries.len());
        let mut last = after;
        for entry in entries {
            let row = read(entry).ok_or(PieceError::Malformed)?;
            if id_of_key(row.key).is_none() {
                return Err(PieceError::Malformed);
            }
            let place = Some(row.order());
            if place <= last {
                return Err(PieceError::Disorder);
            }
            last = place;
            rows.push(row);
        }
        Ok(rows)
    }
}

fn read(entry: &[u8; ENTRY_BYTES]) -> Option<Row> {
    let (key, numbers) = entry.split_first_chunk()?;
    let (below, keep_until) = numbers.split_first_chunk()?;
    Some(Row {
        key: u128::from_be_bytes(*key),
        below: u64::from_be_bytes(*below),
        keep_until: i64::from_be_bytes(keep_until.try_into().ok()?),
    })
}

/// The pieces of a state, cut as they are asked for: all but the last are full. What was cut is let go
/// of, so that a state that changes meanwhile is held twice for ever less of it.
#[derive(Clone, Debug)]
pub struct Pieces {
    state: State,
    after: Option<Order>,
}

impl Pieces {
    /// All pieces of a state.
    pub fn of(state: State) -> Self {
        Self { state, after: None }
    }
}

impl Iterator for Pieces {
    type Item = Piece;

    fn next(&mut self) -> Option<Piece> {
        let rows: Vec<Row> = self.state.rows_after(self.after).take(PIECE_ENTRIES_MAX).collect();
        let last = rows.last()?.order();
        self.after = Some(last);
        self.state.let_go_before(last);
        Some(Piece::new(&rows))
    }
}

/// Why a line is not a piece, or not the one that comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PieceError {
    /// Longer than [`PIECE_TEXT_BYTES_MAX`].
    TooLong,
    /// Not base64url of entries, or without any.
    Malformed,
    /// Its entries are not in the order, or not behind those of the piece before.
    Disorder,
    /// Not the piece that the head of the snapshot names here.
    Foreign,
    /// An entry is above the counter of the snapshot.
    Above,
}

impl fmt::Display for PieceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(f, "it is longer than {PIECE_TEXT_BYTES_MAX} bytes"),
            Self::Malformed => f.write_str("it is not base64url of whole entries"),
            Self::Disorder => f.write_str("its entries are not in their order"),
            Self::Foreign => f.write_str("it is not the one that the snapshot names here"),
            Self::Above => f.write_str("an entry is above the counter of the snapshot"),
        }
    }
}

impl std::error::Error for PieceError {}
