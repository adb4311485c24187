//! How Merkle proofs travel: JSON with hashes in base64, after C2SP tlog-proof's contents.
//!
//! A proof is worth what the root is worth that it leads to: take roots from checkpoints that
//! [`super::checkpoint::open`] accepted.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Hash;
use super::tree::{self, HashReader, PROOF_LEN_MAX, ProofError, ProofRejection};

/// That a leaf stands in a tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InclusionProof {
    /// The leaf's place, from 0: its sequence number.
    pub index: u64,
    /// The number of leaves of the tree.
    pub size: u64,
    /// The siblings on the way to the root, lowest first.
    #[serde(with = "base64_hashes")]
    pub hashes: Vec<Hash>,
}

impl InclusionProof {
    /// The proof for the leaf `index` in the tree of `size` leaves.
    pub fn new(reader: &impl HashReader, index: u64, size: u64) -> Result<Self, ProofError> {
        Ok(Self { index, size, hashes: tree::inclusion_proof(reader, index, size)? })
    }

    /// Checks the proof for a leaf hash against the root of the tree.
    pub fn verify(&self, leaf: &Hash, root: &Hash) -> Result<(), ProofRejection> {
        tree::verify_inclusion(&self.hashes, self.index, self.size, leaf, root)
    }
}

/// That a tree is a prefix of a later one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsistencyProof {
    /// The number of leaves of the earlier tree.
    pub old: u64,
    /// The number of leaves of the later tree.
    pub new: u64,
    /// The hashes, in the order of RFC 9162 section 2.1.4.
    #[serde(with = "base64_hashes")]
    pub hashes: Vec<Hash>,
}

impl ConsistencyProof {
    /// The proof that the tree of `old` leaves is a prefix of the tree of `new` leaves.
    pub fn new(reader: &impl HashReader, old: u64, new: u64) -> Result<Self, ProofError> {
        Ok(Self { old, new, hashes: tree::consistency_proof(reader, old, new)? })
    }

    /// Checks the proof against the two roots.
    pub fn verify(&self, old_root: &Hash, new_root: &Hash) -> Result<(), ProofRejection> {
        tree::verify_consistency(&self.hashes, self.old, self.new, old_root, new_root)
    }
}

/// At most [`PROOF_LEN_MAX`] hashes, each standard base64 with padding.
mod base64_hashes {
    use super::*;

    pub(super) fn serialize<S: Serializer>(hashes: &[Hash], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(hashes.iter().map(|hash| STANDARD.encode(hash.bytes())))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Hash>, D::Error> {
        let texts = Vec::<Cow<'de, str>>::deserialize(from)?;
        if texts.len() > PROOF_LEN_MAX {
            return Err(D::Error::custom("a proof has at most 63 hashes"));
        }
        let hash = |text: &Cow<'de, str>| Hash::from_slice(&STANDARD.decode(&**text).ok()?);
        let hashes: Option<Vec<Hash>> = texts.iter().map(hash).collect();
        hashes.ok_or_else(|| D::Error::custom("expected 32 bytes in base64"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tree over the entries `a` and `b`.
    struct Two;

    impl HashReader for Two {
        fn hash(&self, level: u8, index: u64) -> Option<Hash> {
            let entry: &[u8] = if index == 0 { b"a" } else { b"b" };
            (level == 0).then(|| tree::entry_hash(entry))
        }
    }

    #[test]
    fn proofs_travel_as_json_and_verify_on_the_other_side() {
        let leaves = [tree::entry_hash(b"a"), tree::entry_hash(b"b")];
        let root = tree::root(&leaves);
        let proof = InclusionProof::new(&Two, 1, 2).expect("a proof");
        let json = serde_json::to_string(&proof).expect("JSON");
        let sibling = STANDARD.encode(leaves[0].bytes());
        assert_eq!(json, format!(r#"{{"index":1,"size":2,"hashes":["{sibling}"]}}"#));
        let again: InclusionProof = serde_json::from_str(&json).expect("the proof again");
        assert_eq!(again.verify(&leaves[1], &root), Ok(()));
        assert_eq!(again.verify(&leaves[0], &root), Err(ProofRejection::Root));

        let proof = ConsistencyProof::new(&Two, 1, 2).expect("a proof");
        let json = serde_json::to_string(&proof).expect("JSON");
        let again: ConsistencyProof = serde_json::from_str(&json).expect("the proof again");
        assert_eq!(again.verify(&leaves[0], &root), Ok(()));
        assert_eq!(again.verify(&leaves[1], &root), Err(ProofRejection::Root));
    }

    #[test]
    fn hashes_of_another_length_and_endless_proofs_are_refused() {
        let hash = STANDARD.encode([1; 32]);
        let json = |hashes: &[&str]| {
            serde_json::json!({"index": 1, "size": 2, "hashes": hashes}).to_string()
        };
        let read = |json: String| serde_json::from_str::<InclusionProof>(&json);
        assert!(read(json(&[&hash])).is_ok());
        assert!(read(json(&vec![hash.as_str(); 63])).is_ok());
        assert!(read(json(&vec![hash.as_str(); 64])).is_err());
        assert!(read(json(&[&hash[1..]])).is_err());
        assert!(read(json(&[&STANDARD.encode([1; 31])])).is_err());
        assert!(read(json(&[hash.trim_end_matches('=')])).is_err());
    }
}
