//! C2SP tlog-tiles entry bundles: up to 256 entries, each behind its length in two bytes.

use std::fmt;

use super::TILE_WIDTH_MAX;

/// Why bytes are not an entry bundle, or entries do not fit one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BundleError {
    /// There are more than 256 entries.
    TooMany,
    /// An entry is longer than 65,535 bytes.
    TooLong,
    /// The bytes end inside an entry.
    Cut,
}

impl fmt::Display for BundleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooMany => "an entry bundle holds at most 256 entries",
            Self::TooLong => "an entry of a bundle is at most 65535 bytes long",
            Self::Cut => "the entry bundle ends inside an entry",
        })
    }
}

impl std::error::Error for BundleError {}

/// Joins up to 256 entries, each behind its length as two bytes, big-endian.
pub fn encode_bundle<E: AsRef<[u8]>>(
    entries: impl IntoIterator<Item = E>,
) -> Result<Vec<u8>, BundleError> {
    let mut bytes = Vec::new();
    for (count, entry) in entries.into_iter().enumerate() {
        if count >= usize::from(TILE_WIDTH_MAX) {
            return Err(BundleError::TooMany);
        }
        let entry = entry.as_ref();
        let length = u16::try_from(entry.len()).map_err(|_| BundleError::TooLong)?;
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(entry);
    }
    Ok(bytes)
}

/// Splits a bundle into its entries.
pub fn decode_bundle(mut bytes: &[u8]) -> Result<Vec<&[u8]>, BundleError> {
    let mut entries = Vec::new();
    while !bytes.is_empty() {
        if entries.len() >= usize::from(TILE_WIDTH_MAX) {
            return Err(BundleError::TooMany);
        }
        let (length, rest) = bytes.split_first_chunk::<2>().ok_or(BundleError::Cut)?;
        let length = usize::from(u16::from_be_bytes(*length));
        let (entry, rest) = rest.split_at_checked(length).ok_or(BundleError::Cut)?;
        entries.push(entry);
        bytes = rest;
    }
    Ok(entries)
}
