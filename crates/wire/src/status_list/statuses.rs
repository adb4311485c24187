//! Token Status List section 4: the array of statuses, and how it is compressed.
//!
//! "The least significant bit" of a byte comes first: entry `i` of `bits` bits stands in byte
//! `i * bits / 8`, shifted by `i * bits % 8`. Compression is DEFLATE in the ZLIB format (RFC 1950,
//! RFC 1951); reading stops at a bound, whatever the stream would inflate to.

use std::io::Write as _;

use flate2::write::ZlibEncoder;
use flate2::{Compression, Decompress, FlushDecompress};

use super::{ENTRIES_MAX, INFLATED_BYTES_MAX, StatusListError};
use crate::jose::{b64url_decode, b64url_encode};

/// What an entry says (section 7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// 0: not revoked.
    Valid,
    /// 1: revoked, for good.
    Invalid,
    /// 2: suspended for now.
    Suspended,
    /// Another value: what it means, we do not know, and so it is not valid.
    Other(u8),
}

impl From<u8> for Status {
    fn from(value: u8) -> Self {
        match value {
            0 => Self::Valid,
            1 => Self::Invalid,
            2 => Self::Suspended,
            other => Self::Other(other),
        }
    }
}

/// The statuses of a list, inflated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statuses {
    /// Bits of one entry: 1, 2, 4 or 8.
    bits: u8,
    bytes: Vec<u8>,
}

impl Statuses {
    /// `entries` entries of one bit, all valid; rounded up to whole bytes.
    pub fn new(entries: usize) -> Self {
        Self { bits: 1, bytes: vec![0; entries.div_ceil(8)] }
    }

    /// Bits of one entry.
    pub fn bits(&self) -> u8 {
        self.bits
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.bytes.len() * 8 / usize::from(self.bits)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// What an entry says; nothing where the list has none such.
    pub fn get(&self, index: u32) -> Option<Status> {
        let bit = usize::try_from(index).ok()?.checked_mul(usize::from(self.bits))?;
        let mask = u8::MAX >> (8 - self.bits);
        let byte = self.bytes.get(bit / 8)?;
        Some(Status::from((byte >> (bit % 8)) & mask))
    }

    /// Says of an entry of one bit that it is revoked. An entry that there is not stays away.
    pub fn revoke(&mut self, index: u32) {
        let place = usize::try_from(index / 8).ok().and_then(|place| self.bytes.get_mut(place));
        if let Some(byte) = place.filter(|_| self.bits == 1) {
            *byte |= 1 << (index % 8);
        }
    }

    /// `lst`: deflated as small as can be, in base64url.
    pub fn compressed(&self) -> String {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
        // Writing to memory does not fail; if it did, the stream would lack its end and be refused.
        let written = encoder.write_all(&self.bytes).and_then(|()| encoder.finish());
        b64url_encode(&written.unwrap_or_default())
    }

    /// Reads `bits` and `lst`.
    pub fn inflate(bits: u8, lst: &str) -> Result<Self, StatusListError> {
        if !matches!(bits, 1 | 2 | 4 | 8) {
            return Err(StatusListError::Malformed("bits"));
        }
        let deflated = b64url_decode(lst).map_err(|_| StatusListError::Compression)?;
        let entries_bytes = ENTRIES_MAX / 8 * usize::from(bits);
        let most = INFLATED_BYTES_MAX.min(entries_bytes);
        // Room for one byte too many, and no more: whatever the stream would inflate to.
        let mut bytes = Vec::with_capacity(most + 1);
        let mut inflater = Decompress::new(true);
        let status = inflater.decompress_vec(&deflated, &mut bytes, FlushDecompress::Finish);
        let status = status.map_err(|_| StatusListError::Compression)?;
        if bytes.len() > most {
            return Err(StatusListError::TooLarge);
        }
        // Cut short, or something behind the stream: one spelling for each list.
        if status != flate2::Status::StreamEnd || inflater.total_in() != deflated.len() as u64 {
            return Err(StatusListError::Compression);
        }
        bytes.shrink_to_fit();
        Ok(Self { bits, bytes })
    }
}
