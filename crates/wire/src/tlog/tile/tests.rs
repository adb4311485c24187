use proptest::prelude::*;

use super::super::tree::{Frontier, consistency_proof, entry_hash, inclusion_proof, root};
use super::*;

type Tiles = BTreeMap<(u8, u64), Vec<u8>>;

fn leaves(count: u64) -> Vec<Hash> {
    (0..count).map(|n| entry_hash(&n.to_be_bytes())).collect()
}

/// Integrates in batches of these sizes, storing what comes out of each.
fn integrate(batches: &[&[Hash]]) -> (Tiles, Frontier) {
    let mut tiles = Tiles::new();
    let mut frontier = Frontier::new();
    for batch in batches {
        let known = edge_tiles(frontier.size());
        let edge: Tiles = known.iter().map(|key| (*key, tiles[key].clone())).collect();
        let mut integrator = Integrator::resume(frontier, &edge).expect("the stored tree");
        batch.iter().for_each(|leaf| integrator.append(*leaf));
        let integrated = integrator.finish();
        for tile in integrated.tiles {
            assert!((1..=TILE_WIDTH_MAX).contains(&tile.width()));
            if let Some(old) = tiles.insert((tile.level, tile.index), tile.bytes.clone()) {
                assert!(old.len() < tile.bytes.len() && tile.bytes.starts_with(&old), "{tile}");
            }
        }
        frontier = integrated.frontier;
    }
    (tiles, frontier)
}

#[test]
fn tiles_hold_the_roots_of_each_eighth_level() {
    let leaves = leaves(66_000);
    let (tiles, frontier) = integrate(&[&leaves]);
    assert_eq!(frontier.root(), root(&leaves));
    assert_eq!(tiles.keys().filter(|(level, _)| *level == 0).count(), 258);
    assert_eq!(tiles[&(0, 257)].len(), (66_000 - 257 * 256) * HASH_LEN);
    assert_eq!(tiles[&(1, 1)].len(), HASH_LEN);
    assert_eq!(tiles[&(1, 0)][..HASH_LEN], *root(&leaves[..256]).bytes());
    assert_eq!(tiles[&(2, 0)], root(&leaves[..65_536]).bytes());
    assert_eq!(edge_tiles(66_000), [(0, 257), (1, 1), (2, 0)]);
    assert_eq!(edge_tiles(65_536), [(2, 0)]);
    let reader = TiledHashes(tiles);
    for index in [0, 255, 256, 65_535, 65_536, 65_999] {
        let proof = inclusion_proof(&reader, index, 66_000).expect("a proof");
        let leaf = &leaves[index as usize];
        let verdict = tree::verify_inclusion(&proof, index, 66_000, leaf, &frontier.root());
        assert_eq!(verdict, Ok(()), "{index}");
    }
}

#[test]
fn a_tree_whose_tiles_were_lost_or_altered_is_not_appended_to() {
    let leaves = leaves(700);
    let (tiles, frontier) = integrate(&[&leaves]);
    assert!(Integrator::resume(frontier.clone(), &tiles).is_ok());
    for key in edge_tiles(700) {
        let mut lost = tiles.clone();
        lost.remove(&key);
        assert_eq!(
            Integrator::resume(frontier.clone(), &lost).err(),
            Some(IntegrationError::Missing { level: key.0, index: key.1 })
        );
        let mut short = tiles.clone();
        short.get_mut(&key).expect("a tile").pop();
        assert!(Integrator::resume(frontier.clone(), &short).is_err());
        for byte in [0, tiles[&key].len() - 1] {
            let mut bent = tiles.clone();
            bent.get_mut(&key).expect("a tile")[byte] ^= 1;
            assert_eq!(
                Integrator::resume(frontier.clone(), &bent).err(),
                Some(IntegrationError::Disagree)
            );
        }
    }
}

#[test]
fn paths_are_those_of_the_specification() {
    for (text, kind, index, width) in [
        ("tile/0/x001/x234/067", TileKind::Hashes(0), 1_234_067, 256),
        ("tile/3/x001/x234/067.p/8", TileKind::Hashes(3), 1_234_067, 8),
        ("tile/entries/000.p/255", TileKind::Entries, 0, 255),
        ("tile/7/999", TileKind::Hashes(7), 999, 256),
        ("tile/1/x001/000", TileKind::Hashes(1), 1000, 256),
    ] {
        let path = TilePath { kind, index, width };
        assert_eq!(path.to_string(), text);
        assert_eq!(text.parse(), Ok(path));
    }
    for wrong in [
        "tile/0/1",
        "tile/00/001",
        "tile/8/001",
        "tile/0/x000/001",
        "tile/0/001/002",
        "tile/0/x001",
        "tile/0/+01",
        "tile/0/0001",
        "tile/0/001.p/0",
        "tile/0/001.p/256",
        "tile/0/001.p/08",
        "tile/0/001.p/",
        "tile/0/001/",
        "/tile/0/001",
        "tile/0/x999/x999/x999/x999/x999/x999/x999/999",
        "tile/data/001",
        "tile/0/",
        "",
    ] {
        assert_eq!(wrong.parse::<TilePath>(), Err(TilePathError), "{wrong}");
    }
}

#[test]
fn bundles_hold_entries_up_to_their_bounds() {
    let longest = vec![7; 65_535];
    let entries = [b"one".as_slice(), b"", &longest];
    let bytes = encode_bundle(entries).expect("a bundle");
    assert_eq!(bytes[..5], *b"\0\x03one");
    assert_eq!(decode_bundle(&bytes), Ok(entries.to_vec()));
    assert_eq!(decode_bundle(&bytes[..bytes.len() - 1]), Err(BundleError::Cut));
    assert_eq!(decode_bundle(&[0]), Err(BundleError::Cut));
    assert_eq!(encode_bundle([vec![0; 65_536]]), Err(BundleError::TooLong));
    assert_eq!(encode_bundle(vec![b"x"; 257]), Err(BundleError::TooMany));
    assert_eq!(decode_bundle(&[0; 514]), Err(BundleError::TooMany));
    assert_eq!(decode_bundle(&[0; 512]).map(|entries| entries.len()), Ok(256));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_same_leaves_give_the_same_tiles_in_any_batches(
        sizes in prop::collection::vec(0usize..600, 0..8),
    ) {
        let leaves = leaves(sizes.iter().sum::<usize>() as u64);
        let mut rest = leaves.as_slice();
        let mut batches = Vec::new();
        for size in sizes {
            let (batch, others) = rest.split_at(size);
            batches.push(batch);
            rest = others;
        }
        let (by_batch, edge) = integrate(&batches);
        let (at_once, same_edge) = integrate(&[&leaves]);
        prop_assert_eq!(by_batch, at_once);
        prop_assert_eq!(&edge, &same_edge);
        prop_assert_eq!(edge.root(), root(&leaves));
    }

    #[test]
    fn proofs_read_from_tiles_need_only_the_tiles_they_name(
        new in 2u64..2000, a: prop::sample::Index, b: prop::sample::Index,
    ) {
        let leaves = leaves(new + 300);
        let (tiles, _) = integrate(&[&leaves]);
        let new_root = root(&leaves[..new as usize]);
        let only = |keys: Vec<(u8, u64)>| {
            TiledHashes(keys.into_iter().map(|key| (key, tiles[&key].clone())).collect::<Tiles>())
        };
        let index = a.index(new as usize) as u64;
        let reader = only(inclusion_tiles(index, new).expect("tiles"));
        let proof = inclusion_proof(&reader, index, new).expect("a proof");
        let leaf = &leaves[index as usize];
        prop_assert_eq!(tree::verify_inclusion(&proof, index, new, leaf, &new_root), Ok(()));

        let old = 1 + b.index(new as usize) as u64;
        let old_root = root(&leaves[..old as usize]);
        let reader = only(consistency_tiles(old, new).expect("tiles"));
        let proof = consistency_proof(&reader, old, new).expect("a proof");
        let verdict = tree::verify_consistency(&proof, old, new, &old_root, &new_root);
        prop_assert_eq!(verdict, Ok(()));
    }

    #[test]
    fn paths_round_trip(level in 0u8..=7, index: u64, width in 1u16..=256, entries: bool) {
        let kind = if entries { TileKind::Entries } else { TileKind::Hashes(level) };
        let path = TilePath { kind, index, width };
        prop_assert_eq!(path.to_string().parse(), Ok(path));
    }
}
