//! RFC 6962 and RFC 9162 Merkle trees, C2SP tiles, checkpoints and signed notes: the audit log.
//!
//! Everything about the log that is arithmetic stands here, so that the server that writes it,
//! the Verifier that witnesses it and the auditor who distrusts both compute the same bytes. In
//! reading order: [`leaf`] is one event as the tree sees it; [`tree`] is the tree, its roots and
//! its proofs; [`tile`] is how the tree is stored and served; [`note`] and [`checkpoint`] are what
//! the log's keys sign, and [`succession`] how one follows another; [`claim`] is what a lane says of
//! the others; [`proof`] is how a proof travels; [`export`] is the file that an auditor takes away, and
//! its verifier.
//!
//! Absent on purpose: storage, HTTP, keys and clocks. A signature is made elsewhere, over the bytes
//! that [`checkpoint`] names.

pub mod checkpoint;
pub mod claim;
pub mod export;
pub mod leaf;
pub mod note;
pub mod proof;
pub mod succession;
pub mod tile;
pub mod tree;

use std::fmt;

/// Bytes of a hash.
pub const HASH_LEN: usize = 32;

/// A SHA-256 hash: of a leaf, of an inner node, of a payload, or of a whole tree. As text, 64
/// lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Hash([u8; HASH_LEN]);

impl Hash {
    /// 32 zero bytes: what stands for the previous leaf in the first entry of a log.
    pub const ZERO: Self = Self([0; HASH_LEN]);

    /// The hash with these bytes.
    pub const fn new(bytes: [u8; HASH_LEN]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn bytes(&self) -> &[u8; HASH_LEN] {
        &self.0
    }

    /// The hash in a slice of exactly 32 bytes.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The hash written as exactly 64 lower-case hexadecimal digits. There is no second spelling.
    pub fn from_hex(text: &str) -> Option<Self> {
        lower_hex(text).map(Self)
    }
}

/// The bytes written as exactly twice as many lower-case hexadecimal digits. There is no second
/// spelling.
pub(crate) fn lower_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = (hex_value(pair[0])? << 4) | hex_value(pair[1])?;
    }
    Some(bytes)
}

fn hex_value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; 2 * HASH_LEN];
        for (pair, byte) in text.chunks_exact_mut(2).zip(self.0) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_hash_has_one_spelling(bytes: [u8; 32]) {
            let hash = Hash::new(bytes);
            let text = hash.to_string();
            prop_assert_eq!(Hash::from_hex(&text), Some(hash));
            prop_assert_eq!(Hash::from_hex(&text[1..]), None);
            let upper = text.to_uppercase();
            prop_assert_eq!(Hash::from_hex(&upper).is_some(), upper == text);
        }
    }
}
