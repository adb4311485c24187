use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// All complete subtrees of a tree, kept in a map.
#[derive(Default)]
pub(crate) struct Stored(BTreeMap<(u8, u64), Hash>);

impl HashReader for Stored {
    fn hash(&self, level: u8, index: u64) -> Option<Hash> {
        self.0.get(&(level, index)).copied()
    }
}

fn stored(leaves: &[Hash]) -> (Stored, Frontier) {
    let mut stored = Stored::default();
    let mut frontier = Frontier::new();
    for leaf in leaves {
        frontier.append_seen(*leaf, |level, index, hash| {
            assert!(stored.0.insert((level, index), hash).is_none());
        });
    }
    (stored, frontier)
}

fn leaves(count: u64) -> Vec<Hash> {
    (0..count).map(|n| entry_hash(&n.to_be_bytes())).collect()
}

fn hex(text: &str) -> Vec<Hash> {
    text.split_whitespace().map(|hash| Hash::from_hex(hash).expect("a hash")).collect()
}

fn ct_leaves() -> Vec<Hash> {
    let entries: [&[u8]; 8] = [
        b"",
        b"\x00",
        b"\x10",
        b"\x20\x21",
        b"\x30\x31",
        b"\x40\x41\x42\x43",
        b"\x50\x51\x52\x53\x54\x55\x56\x57",
        b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
    ];
    entries.into_iter().map(entry_hash).collect()
}

/// The roots of the certificate transparency test tree at each size.
const CT_ROOTS: &str = "
    e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
    6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d
    fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125
    aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77
    d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7
    4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4
    76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef
    ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c
    5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328";

#[test]
fn the_roots_are_those_of_the_certificate_transparency_vectors() {
    let leaves = ct_leaves();
    let mut frontier = Frontier::new();
    for (size, expected) in hex(CT_ROOTS).into_iter().enumerate() {
        assert_eq!(root(&leaves[..size]), expected, "by definition at {size}");
        assert_eq!(frontier.root(), expected, "by frontier at {size}");
        if let Some(leaf) = leaves.get(size) {
            frontier.append(*leaf);
        }
    }
}

#[test]
fn the_proofs_are_those_of_the_certificate_transparency_vectors() {
    let (reader, _) = stored(&ct_leaves());
    let inclusion = |index, size| inclusion_proof(&reader, index, size).expect("a proof");
    let consistency = |old, new| consistency_proof(&reader, old, new).expect("a proof");
    assert_eq!(
        inclusion(5, 8),
        hex("bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b
             ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0
             d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7")
    );
    assert_eq!(
        inclusion(2, 3),
        hex("fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125")
    );
    assert_eq!(
        consistency(3, 7),
        hex("0298d122906dcfc10892cb53a73992fc5b9f493ea4c9badb27b791b4127a7fe7
             07506a85fd9dd2f120eb694f86011e5bb4662e5c415a62917033d4a9624487e7
             fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125
             837dbb152e9b079010717e84e865da4ebc0fa198a806d59d31bf15accef22d0e")
    );
    assert_eq!(
        consistency(6, 8),
        hex("0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a
             ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0
             d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7")
    );
}

#[test]
fn every_proof_of_a_small_tree_verifies_and_nothing_near_it_does() {
    const SIZE: u64 = 40;
    let leaves = leaves(SIZE);
    let (reader, _) = stored(&leaves);
    let roots: Vec<Hash> = (0..=SIZE).map(|size| root(&leaves[..size as usize])).collect();
    for new in 1..=SIZE {
        let new_root = &roots[new as usize];
        for index in 0..new {
            let leaf = &leaves[index as usize];
            let proof = inclusion_proof(&reader, index, new).expect("a proof");
            assert_eq!(verify_inclusion(&proof, index, new, leaf, new_root), Ok(()));
            for other in (0..SIZE).filter(|other| *other != index) {
                assert!(verify_inclusion(&proof, other, new, leaf, new_root).is_err());
            }
            assert!(verify_inclusion(&proof, index, new, leaf, &roots[new as usize - 1]).is_err());
            let mut longer = proof.clone();
            longer.push(*leaf);
            assert_eq!(
                verify_inclusion(&longer, index, new, leaf, new_root),
                Err(ProofRejection::Length)
            );
            if let Some((_, shorter)) = proof.split_last() {
                assert_eq!(
                    verify_inclusion(shorter, index, new, leaf, new_root),
                    Err(ProofRejection::Length)
                );
            }
        }
        for old in 0..=new {
            let old_root = &roots[old as usize];
            let proof = consistency_proof(&reader, old, new).expect("a proof");
            assert!(proof.len() <= PROOF_LEN_MAX);
            assert_eq!(verify_consistency(&proof, old, new, old_root, new_root), Ok(()));
            let mut longer = proof.clone();
            longer.push(*old_root);
            assert_eq!(
                verify_consistency(&longer, old, new, old_root, new_root),
                Err(ProofRejection::Length)
            );
            if old == 0 {
                continue;
            }
            for other in (1..=new).filter(|other| *other != old) {
                let verdict = verify_consistency(&proof, other, new, old_root, new_root);
                assert!(verdict.is_err(), "{old} passes for {other} in {new}");
            }
            assert!(
                verify_consistency(&proof, old, new, &roots[old as usize - 1], new_root).is_err()
            );
            assert!(verify_consistency(&proof, old, new, old_root, &Hash::ZERO).is_err());
        }
    }
}

#[test]
fn places_outside_the_tree_have_no_proof() {
    let (reader, _) = stored(&leaves(4));
    assert_eq!(inclusion_proof(&reader, 4, 4), Err(ProofError::OutOfRange));
    assert_eq!(inclusion_proof(&reader, 0, 0), Err(ProofError::OutOfRange));
    assert_eq!(consistency_proof(&reader, 5, 4), Err(ProofError::OutOfRange));
    assert_eq!(
        inclusion_proof(&reader, 0, 5),
        Err(ProofError::Missing { level: 0, index: 4 }),
        "the reader has four leaves only"
    );
    let zero = Hash::ZERO;
    assert_eq!(verify_inclusion(&[], 0, 0, &zero, &zero), Err(ProofRejection::OutOfRange));
    assert_eq!(verify_consistency(&[], 2, 1, &zero, &zero), Err(ProofRejection::OutOfRange));
    assert_eq!(verify_consistency(&[], 1, 2, &zero, &zero), Err(ProofRejection::Length));
    assert_eq!(verify_consistency(&[], 0, 2, &zero, &zero), Ok(()));
    assert_eq!(verify_consistency(&[zero], 0, 2, &zero, &zero), Err(ProofRejection::Length));
    assert_eq!(verify_consistency(&[], 2, 2, &zero, &empty_root()), Err(ProofRejection::Root));
}

#[test]
fn a_frontier_is_rebuilt_only_from_as_many_hashes_as_its_size_needs() {
    let (_, frontier) = stored(&leaves(11));
    let again = Frontier::from_hashes(11, frontier.hashes().to_vec()).expect("a frontier");
    assert_eq!(again, frontier);
    assert_eq!(Frontier::from_hashes(12, frontier.hashes().to_vec()), None);
}

#[test]
fn sizes_no_computer_holds_do_not_overflow() {
    struct Everything;
    impl HashReader for Everything {
        fn hash(&self, _: u8, _: u64) -> Option<Hash> {
            Some(Hash::ZERO)
        }
    }
    for size in [u64::MAX, 1 << 63, (1 << 62) + 1] {
        let proof = inclusion_proof(&Everything, size - 1, size).expect("a proof");
        let walked = verify_inclusion(&proof, size - 1, size, &Hash::ZERO, &Hash::ZERO);
        assert_eq!(walked, Err(ProofRejection::Root), "the length is right for {size}");
        let proof = consistency_proof(&Everything, size / 2 + 1, size).expect("a proof");
        let walked = verify_consistency(&proof, size / 2 + 1, size, &Hash::ZERO, &Hash::ZERO);
        assert_eq!(walked, Err(ProofRejection::Root), "the length is right for {size}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_frontier_has_the_reference_root(size in 0u64..1200) {
        let leaves = leaves(size);
        let (_, frontier) = stored(&leaves);
        prop_assert_eq!(frontier.root(), root(&leaves));
        prop_assert_eq!(frontier.size(), size);
    }

    #[test]
    fn a_proof_with_one_bent_bit_is_refused(
        new in 2u64..1000, at: prop::sample::Index, old: prop::sample::Index, bit in 0usize..256,
        hash: prop::sample::Index,
    ) {
        let leaves = leaves(new);
        let (reader, frontier) = stored(&leaves);
        let new_root = frontier.root();
        let index = at.index(new as usize) as u64;
        let leaf = &leaves[index as usize];
        let proof = inclusion_proof(&reader, index, new).expect("a proof");
        prop_assert_eq!(verify_inclusion(&proof, index, new, leaf, &new_root), Ok(()));
        let bent = bend(&proof, hash, bit);
        prop_assert!(verify_inclusion(&bent, index, new, leaf, &new_root).is_err());

        let old = 1 + old.index(new as usize - 1) as u64;
        let old_root = root(&leaves[..old as usize]);
        let proof = consistency_proof(&reader, old, new).expect("a proof");
        prop_assert_eq!(verify_consistency(&proof, old, new, &old_root, &new_root), Ok(()));
        let bent = bend(&proof, hash, bit);
        prop_assert!(verify_consistency(&bent, old, new, &old_root, &new_root).is_err());
    }

    #[test]
    fn arbitrary_proofs_are_refused(
        proof in prop::collection::vec(any::<[u8; 32]>(), 0..70), index: u64, size: u64,
    ) {
        let proof: Vec<Hash> = proof.into_iter().map(Hash::new).collect();
        let root = entry_hash(b"root");
        prop_assert!(verify_inclusion(&proof, index, size, &entry_hash(b"leaf"), &root).is_err());
        let verdict = verify_consistency(&proof, index, size, &entry_hash(b"old"), &root);
        prop_assert!(index == 0 && proof.is_empty() || verdict.is_err());
    }
}

fn bend(proof: &[Hash], which: prop::sample::Index, bit: usize) -> Vec<Hash> {
    let mut proof = proof.to_vec();
    let which = which.index(proof.len());
    let mut bytes = *proof[which].bytes();
    bytes[bit / 8] ^= 1 << (bit % 8);
    proof[which] = Hash::new(bytes);
    proof
}
