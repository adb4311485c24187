//! The log: a chain without gaps, times that never go back, integration from where it stands.

use std::time::Duration;

use accredit_domain::audit::event::{Body, Event, EventKind};
use accredit_domain::ports::{
    Audited, Installation, Integrated, Leaf, LeafBody, Ledger as _, Log as _, Lookup,
    Registry as _, Revocations as _, SingleUse, Store as _, Tile, UsedUp,
};
use accredit_domain::restoration::{Issuing, NewGeneration, first_rev};
use accredit_store::SqlStore;
use accredit_wire::crypto::sha256_of;
use accredit_wire::ids::OrganizationId;
use accredit_wire::time::Time;
use accredit_wire::tlog::{Hash, leaf::leaf_hash};

use crate::given::{self, NOW, World, found_organization};

/// Recomputes every leaf of every lane from what is stored, and hands over those of the first lane.
pub(crate) async fn check_chain(store: &SqlStore, org: OrganizationId) -> Vec<Leaf> {
    let mut first = None;
    for head in store.lanes(org).await.expect("lanes") {
        let leaves = store.leaves(org, head.lane, 0, 10_000).await.expect("leaves");
        let (mut previous, mut last) = (Hash::ZERO, Time::from_micros(i64::MIN));
        for (sequence, leaf) in leaves.iter().enumerate() {
            let digest = Hash::new(match &leaf.body {
                LeafBody::Kept { salt, payload } => sha256_of(&[salt, payload.as_bytes()]),
                LeafBody::Pruned { digest } => *digest,
            });
            assert_eq!(leaf.sequence, sequence as u64, "no gap");
            assert!(leaf.at >= last, "time does not go back");
            let hash = leaf_hash(leaf.sequence, &previous, &leaf.kind, leaf.at, &digest);
            assert_eq!(&leaf.hash, hash.bytes(), "leaf {sequence} hangs on the one before");
            (previous, last) = (hash, leaf.at);
        }
        assert_eq!(head.sequenced, leaves.len() as u64, "the head is at the end");
        first.get_or_insert(leaves);
    }
    first.expect("a lane")
}

fn at(seconds: i64) -> Audited<(OrganizationId, UsedUp)> {
    let org = OrganizationId::new(0, [0; 10]);
    let time = Time::from_seconds(seconds);
    Audited::new(
        (org, UsedUp::NOTHING),
        Event::new(EventKind::TokenRefused, time, [1; 16], Body::default()),
    )
}

async fn record(world: &World, seconds: i64) {
    let ((_, value), event) = at(seconds).into_parts();
    let audited = Audited::new((world.org, value), event);
    world.store.record_event(audited).await.expect("recorded");
}

#[tokio::test]
async fn leaves_are_a_chain_and_time_does_not_go_back() {
    let world = World::new().await;
    for seconds in [2_000_000_000, 1_999_999_999, 2_000_000_001] {
        record(&world, seconds).await;
    }
    let leaves = check_chain(&world.store, world.org).await;
    let times: Vec<_> = leaves.iter().map(|leaf| leaf.at.seconds()).collect();
    assert_eq!(times[1..], [2_000_000_000, 2_000_000_000, 2_000_000_001]);
    let hashes = world.store.leaf_hashes(world.org, 0, 1, 2).await.expect("hashes");
    assert_eq!(hashes, [leaves[1].hash, leaves[2].hash]);
    let some = world.store.leaves(world.org, 0, 2, 1).await.expect("leaves");
    assert_eq!(some.len(), 1);
    assert_eq!(some[0].sequence, 2);
}

#[tokio::test]
async fn concurrent_events_of_two_organizations_are_two_chains() {
    let world = World::new().await;
    let other = found_organization(&world.store, "other").await;
    let tasks = (0..200).map(|n| {
        let store = std::sync::Arc::clone(&world.store);
        let org = if n % 2 == 0 { world.org } else { other };
        tokio::spawn(async move {
            let ((_, value), event) = at(n).into_parts();
            store.record_event(Audited::new((org, value), event)).await.expect("recorded");
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.expect("a task");
    }
    for org in [world.org, other] {
        assert_eq!(check_chain(&world.store, org).await.len(), 101);
    }
}

#[tokio::test]
async fn an_event_of_an_unknown_organization_is_a_fault() {
    let world = World::new().await;
    assert!(world.store.record_event(at(1)).await.is_err());
    assert_eq!(check_chain(&world.store, world.org).await.len(), 1);
}

fn integrated(size: u64, byte: u8) -> Integrated {
    let tile = Tile { level: 0, index: 0, hashes: vec![byte; 32 * size as usize] };
    Integrated { tiles: vec![tile], size, note: format!("a checkpoint of {size}\n") }
}

#[tokio::test]
async fn integration_goes_on_from_where_it_stands_only() {
    let world = World::new().await;
    let (store, org) = (&world.store, world.org);
    record(&world, 1).await;
    assert!(store.integrate(org, 0, 0, integrated(1, 1)).await.expect("integrated"));
    let head = store.lanes(org).await.expect("lanes").remove(0);
    assert_eq!((head.sequenced, head.integrated, head.generation), (2, 1, 1));
    assert_eq!(head.note.as_deref(), Some("a checkpoint of 1\n"));
    assert!(!store.integrate(org, 0, 0, integrated(2, 9)).await.expect("answered"), "from 0 again");
    assert_eq!(store.tile(org, 0, 0, 0).await.expect("read"), Some(vec![1; 32]), "nothing of it");
    assert!(store.integrate(org, 0, 1, integrated(2, 2)).await.expect("integrated"));
    assert_eq!(store.tile(org, 0, 0, 0).await.expect("read"), Some(vec![2; 64]));
    assert_eq!(store.tile(org, 0, 0, 1).await.expect("read"), None);
    assert!(store.integrate(org, 0, 2, integrated(2, 2)).await.is_err(), "no new leaf");
    assert!(store.integrate(org, 0, 2, integrated(3, 2)).await.is_err(), "no such leaf");
    let all = store.checkpoints(org, 0, 0, 10).await.expect("checkpoints");
    assert_eq!(all.iter().map(|(size, _)| *size).collect::<Vec<_>>(), [1, 2]);
    let later = store.checkpoints(org, 0, 1, 10).await.expect("checkpoints");
    assert_eq!(later, [(2, "a checkpoint of 2\n".to_owned())]);
}

#[tokio::test]
async fn the_newest_checkpoint_is_signed_again_under_the_same_text_only() {
    let world = World::new().await;
    let (store, org) = (&world.store, world.org);
    record(&world, 1).await;
    let note = |text: &str, by: &str| format!("{text}\n\n{by}\n");
    let at = |size: u64, note: String| Integrated { note, ..integrated(size, 1) };
    let again = |size: u64, note: String| Integrated { tiles: Vec::new(), size, note };
    assert!(store.integrate(org, 0, 0, at(1, note("one", "a"))).await.expect("integrated"));
    assert!(store.integrate(org, 0, 1, again(1, note("one", "a\nb"))).await.expect("signed again"));
    let head = store.lanes(org).await.expect("lanes").remove(0);
    assert_eq!((head.integrated, head.note.as_deref()), (1, Some("one\n\na\nb\n")));
    for wrong in [note("two", "a"), "one".to_owned(), String::new()] {
        assert!(store.integrate(org, 0, 1, again(1, wrong)).await.is_err(), "another text");
    }
    assert!(store.integrate(org, 0, 1, at(1, note("one", "c"))).await.is_err(), "with tiles");
    assert!(store.integrate(org, 0, 1, at(2, note("two", "a"))).await.expect("integrated"));
    let older = again(1, note("one", "c"));
    assert!(!store.integrate(org, 0, 1, older).await.expect("answered"), "not the newest");
}

pub(crate) fn generation(org: OrganizationId, generation: u64) -> Audited<NewGeneration> {
    let revocation = given::revocation(org.any());
    let spent_before = NOW.plus(Duration::from_mins(7));
    let new = NewGeneration { org, generation, revocation, spent_before, keys: Vec::new() };
    Audited::new(new, given::event(EventKind::LogGenerationStarted, Body::default()))
}

#[tokio::test]
async fn a_generation_closes_the_lanes_and_goes_on_in_the_next() {
    let world = World::new().await;
    let public_url = "https://id.example".to_owned();
    let founded = Installation { peppers: Vec::new(), root: 1, public_url };
    world.store.found(founded).await.expect("founded");
    let other = found_organization(&world.store, "other").await;
    let (store, org) = (&world.store, world.org);
    record(&world, 2).await;
    record(&world, 3).await;
    store.begin_generation(generation(org, 3)).await.expect("begun");
    record(&world, 2).await;
    record(&world, 3).await;
    check_chain(store, org).await;
    let lanes = store.lanes(org).await.expect("lanes");
    let told: Vec<_> =
        lanes.iter().map(|lane| (lane.lane, lane.generation, lane.sequenced)).collect();
    assert_eq!(told, [(0, 1, 3), (1, 3, 3)], "at once, in the process that began it");
    let first = store.leaves(org, 1, 0, 1).await.expect("leaves").remove(0);
    assert_eq!(first.kind, "log.generation_started");
    let found = store.organization(Lookup::Id(org)).await.expect("read").expect("there");
    let rev = first_rev(3);
    assert_eq!((found.generation, found.rev, found.issuing), (3, rev, Issuing::Closed));
    let entries = store.revocations_after(org, 0, NOW).await.expect("entries");
    assert_eq!(entries.last().map(|entry| (entry.target, entry.rev)), Some((org.any(), rev)));
    // What is decided now is alive, and what follows counts on.
    let next = world.revoke(org.any(), Vec::new()).await;
    assert_eq!(next.rev, rev + 1);

    // No number twice, and none below; another organization is as it was.
    for again in [1, 2, 3] {
        assert!(store.begin_generation(generation(org, again)).await.is_err(), "{again}");
    }
    let found = store.organization(Lookup::Id(other)).await.expect("read").expect("there");
    assert_eq!((found.generation, found.issuing), (1, Issuing::Open));

    // A proof that may have been used in what was lost is used up, for this process's successors.
    let world = world.reopened();
    let value = |minutes| SingleUse {
        until: NOW.plus(Duration::from_mins(minutes)),
        ..given::single_use(org.any(), minutes as u8)
    };
    assert!(!world.store.consume_once(world.org, value(6)).await.expect("answered"));
    assert!(world.store.consume_once(world.org, value(8)).await.expect("answered"));
}
