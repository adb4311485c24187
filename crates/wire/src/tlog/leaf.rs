//! RFC 6962 section 2.1 leaf hashes over our own entry: one event as the Merkle tree sees it.
//!
//! The bytes of an entry are fixed for ever, since every leaf hash covers them and the hash before:
//!
//! | bytes | what |
//! |---|---|
//! | 1 | version, 1 |
//! | 8 | sequence number in its lane, from 0, big-endian |
//! | 32 | leaf hash of the entry before; zero bytes at sequence 0 |
//! | 2 | length of the type, big-endian |
//! | 1 to 64 | type, characters `a-z 0-9 . _ -` |
//! | 8 | time, microseconds of Unix time, big-endian, signed |
//! | 32 | SHA-256(salt, payload) |
//!
//! The payload is not in the entry: it and its salt can be erased, and the tree still stands. The
//! salt keeps an erased payload from being guessed. The lane is not in it either: each lane is a
//! log of its own, named by its checkpoints.

use std::fmt;

use super::{HASH_LEN, Hash};
use crate::crypto;
use crate::time::Time;

/// The version byte of every entry.
pub const ENTRY_VERSION: u8 = 1;

/// The longest type of an event, in characters.
pub const KIND_LEN_MAX: usize = 64;

/// Bytes of a payload's salt.
pub const SALT_LEN: usize = 16;

/// Bytes of an entry without its type.
const FIXED_LEN: usize = 1 + 8 + HASH_LEN + 2 + 8 + HASH_LEN;

/// The longest entry, in bytes.
pub const ENTRY_LEN_MAX: usize = FIXED_LEN + KIND_LEN_MAX;

/// What the tree holds of one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The number in its lane, counted from 0 without gaps.
    pub sequence: u64,
    /// The leaf hash of the entry before, [`Hash::ZERO`] at sequence 0.
    pub previous: Hash,
    /// The event's type, such as `token.issued`.
    pub kind: String,
    /// When it was written.
    pub at: Time,
    /// [`payload_digest`] of its payload.
    pub digest: Hash,
}

/// Why bytes are not an entry, or a value cannot be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryError {
    /// The first byte is not [`ENTRY_VERSION`].
    Version(u8),
    /// There are fewer or more bytes than the entry says.
    Length,
    /// The type is not 1 to 64 characters of `a-z 0-9 . _ -`.
    Kind,
    /// The entry with sequence 0 names a previous leaf.
    FirstHasPrevious,
}

impl fmt::Display for EntryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => {
                write!(f, "the entry has version {version}; this program reads version 1")
            }
            Self::Length => f.write_str("the entry is shorter or longer than it says"),
            Self::Kind => f.write_str("an event type is 1 to 64 characters of `a-z0-9._-`"),
            Self::FirstHasPrevious => f.write_str(
                "the entry with sequence 0 must name 32 zero bytes as the previous leaf",
            ),
        }
    }
}

impl std::error::Error for EntryError {}

/// Whether `kind` may be the type of an event: 1 to 64 characters of `a-z 0-9 . _ -`.
pub fn is_kind(kind: &str) -> bool {
    (1..=KIND_LEN_MAX).contains(&kind.len())
        && kind.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-'))
}

/// SHA-256 of `salt || payload`. The payload's bytes are canonical JSON, exactly as exported.
pub fn payload_digest(salt: &[u8; SALT_LEN], payload: &[u8]) -> Hash {
    Hash::new(crypto::sha256_of(&[salt, payload]))
}

/// The leaf hash of the entry with these values: SHA-256(0x00 || entry). Allocates nothing.
///
/// `kind` must satisfy [`is_kind`]; the hash of any other is one that no entry has.
pub fn leaf_hash(sequence: u64, previous: &Hash, kind: &str, at: Time, digest: &Hash) -> Hash {
    let mut buffer = [0; 1 + ENTRY_LEN_MAX];
    let (separator, entry) = buffer.split_at_mut(1);
    separator[0] = 0x00;
    let Some(length) = write_entry(entry, sequence, previous, kind, at, digest) else {
        // Under a separator of its own, so that it can be neither a leaf nor a node.
        return Hash::new(crypto::sha256_of(&[&[0xff], kind.as_bytes(), digest.bytes()]));
    };
    Hash::new(crypto::sha256(&buffer[..=length]))
}

/// Writes an entry to the start of `out` and says how long it is; `None` where it has no room,
/// which only a type that is too long can cause.
fn write_entry(
    out: &mut [u8],
    sequence: u64,
    previous: &Hash,
    kind: &str,
    at: Time,
    digest: &Hash,
) -> Option<usize> {
    let length = FIXED_LEN + kind.len();
    let kind_len = u16::try_from(kind.len()).ok()?;
    let (head, rest) = out.get_mut(..length)?.split_first_chunk_mut::<43>()?;
    head[0] = ENTRY_VERSION;
    head[1..9].copy_from_slice(&sequence.to_be_bytes());
    head[9..41].copy_from_slice(previous.bytes());
    head[41..].copy_from_slice(&kind_len.to_be_bytes());
    let (text, tail) = rest.split_at_mut(kind.len());
    text.copy_from_slice(kind.as_bytes());
    tail[..8].copy_from_slice(&at.micros().to_be_bytes());
    tail[8..].copy_from_slice(digest.bytes());
    Some(length)
}

impl Entry {
    /// The entry's bytes.
    pub fn encode(&self) -> Result<Vec<u8>, EntryError> {
        self.check()?;
        let mut bytes = vec![0; FIXED_LEN + self.kind.len()];
        let kind = &self.kind;
        write_entry(&mut bytes, self.sequence, &self.previous, kind, self.at, &self.digest)
            .ok_or(EntryError::Kind)?;
        Ok(bytes)
    }

    /// Reads an entry. What it accepts, [`Entry::encode`] writes again byte for byte.
    pub fn decode(bytes: &[u8]) -> Result<Self, EntryError> {
        let (&version, rest) = bytes.split_first().ok_or(EntryError::Length)?;
        if version != ENTRY_VERSION {
            return Err(EntryError::Version(version));
        }
        let (sequence, rest) = rest.split_first_chunk::<8>().ok_or(EntryError::Length)?;
        let (previous, rest) = rest.split_first_chunk::<HASH_LEN>().ok_or(EntryError::Length)?;
        let (kind_len, rest) = rest.split_first_chunk::<2>().ok_or(EntryError::Length)?;
        let kind_len = usize::from(u16::from_be_bytes(*kind_len));
        let (kind, rest) = rest.split_at_checked(kind_len).ok_or(EntryError::Length)?;
        let (at, digest) = rest.split_first_chunk::<8>().ok_or(EntryError::Length)?;
        let entry = Self {
            sequence: u64::from_be_bytes(*sequence),
            previous: Hash::new(*previous),
            kind: std::str::from_utf8(kind).map_err(|_| EntryError::Kind)?.to_owned(),
            at: Time::from_micros(i64::from_be_bytes(*at)),
            digest: Hash::from_slice(digest).ok_or(EntryError::Length)?,
        };
        entry.check()?;
        Ok(entry)
    }

    /// The leaf hash, SHA-256(0x00 || entry).
    pub fn hash(&self) -> Hash {
        leaf_hash(self.sequence, &self.previous, &self.kind, self.at, &self.digest)
    }

    fn check(&self) -> Result<(), EntryError> {
        if !is_kind(&self.kind) {
            return Err(EntryError::Kind);
        }
        if self.sequence == 0 && self.previous != Hash::ZERO {
            return Err(EntryError::FirstHasPrevious);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry() -> Entry {
        Entry {
            sequence: 7,
            previous: Hash::new([9; 32]),
            kind: "token.issued".to_owned(),
            at: Time::from_micros(1_763_717_400_123_456),
            digest: payload_digest(&[1; 16], br#"{"a":1}"#),
        }
    }

    #[test]
    fn the_bytes_of_an_entry_are_fixed_for_ever() {
        let bytes = entry().encode().expect("an entry");
        let mut by_hand = vec![1, 0, 0, 0, 0, 0, 0, 0, 7];
        by_hand.extend([9; 32]);
        by_hand.extend([0, 12]);
        by_hand.extend(b"token.issued");
        by_hand.extend(1_763_717_400_123_456_i64.to_be_bytes());
        by_hand.extend(crypto::sha256(
            b"\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01{\"a\":1}",
        ));
        assert_eq!(bytes, by_hand);
        let mut under_separator = vec![0];
        under_separator.extend(&bytes);
        assert_eq!(entry().hash().bytes(), &crypto::sha256(&under_separator));
    }

    #[test]
    fn bytes_near_an_entry_are_refused() {
        let good = entry().encode().expect("an entry");
        for length in 0..good.len() {
            assert!(Entry::decode(&good[..length]).is_err(), "{length} bytes");
        }
        let mut long = good.clone();
        long.push(0);
        assert_eq!(Entry::decode(&long), Err(EntryError::Length));
        let mut version = good.clone();
        version[0] = 2;
        assert_eq!(Entry::decode(&version), Err(EntryError::Version(2)));
        let mut first = good.clone();
        first[8] = 0;
        assert_eq!(Entry::decode(&first), Err(EntryError::FirstHasPrevious));
        for wrong in [b'T', b' ', b'/', 0xc3, 0] {
            let mut kind = good.clone();
            kind[43] = wrong;
            assert_eq!(Entry::decode(&kind), Err(EntryError::Kind), "{wrong}");
        }
    }

    #[test]
    fn a_type_too_long_has_a_hash_that_no_entry_has() {
        let long = "a".repeat(KIND_LEN_MAX + 1);
        let hash = |kind: &str| leaf_hash(1, &Hash::ZERO, kind, Time::default(), &Hash::ZERO);
        assert_ne!(hash(&long), hash(&long[1..]));
        assert!(Entry { kind: long, ..entry() }.encode().is_err());
        assert!(Entry { kind: String::new(), ..entry() }.encode().is_err());
    }

    proptest! {
        #[test]
        fn entries_round_trip_and_each_field_is_in_the_hash(
            sequence in 1u64.., previous: [u8; 32], kind in "[a-z0-9._-]{1,64}", at: i64,
            digest: [u8; 32],
        ) {
            let entry = Entry {
                sequence,
                previous: Hash::new(previous),
                kind,
                at: Time::from_micros(at),
                digest: Hash::new(digest),
            };
            let bytes = entry.encode().expect("an entry");
            prop_assert_eq!(Entry::decode(&bytes), Ok(entry.clone()));
            prop_assert_eq!(entry.hash(), Hash::new(crypto::sha256_of(&[&[0], &bytes])));
            let other = Entry { sequence: sequence ^ 2, ..entry.clone() };
            prop_assert_ne!(other.hash(), entry.hash());
            let other = Entry { at: Time::from_micros(at ^ 1), ..entry.clone() };
            prop_assert_ne!(other.hash(), entry.hash());
            let (previous, digest) = (entry.digest, entry.previous);
            let other = Entry { previous, digest, ..entry.clone() };
            prop_assert!(digest == previous || other.hash() != entry.hash());
        }
    }
}
