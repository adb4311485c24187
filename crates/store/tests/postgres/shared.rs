//! Two stores on one database, as two nodes have it: what one has used up is used for the other.

use std::collections::BTreeSet;

use accredit_domain::ports::{Ledger as _, NotRecorded, SingleUse};
use accredit_wire::ids::AgentId;

use crate::engine;
use crate::given::{NOW, World, issue, open, single_use, unique};

/// Values that are used at two stores at the same time.
const VALUES: u8 = 60;

fn value(hash: u8) -> SingleUse {
    single_use(AgentId::new(1, [1; 10]).any(), hash)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_equal_values_at_two_stores_exactly_one_is_used() {
    let here = World::new().await;
    let there = open(&here.folder);
    let mut tasks = Vec::new();
    for hash in 0..VALUES {
        for store in [&here.store, &there] {
            let (store, org) = (std::sync::Arc::clone(store), here.org);
            tasks.push((
                hash,
                tokio::spawn(async move {
                    store.consume_once(org, value(hash)).await.expect("answered")
                }),
            ));
        }
    }
    let mut used = Vec::new();
    for (hash, task) in tasks {
        if task.await.expect("no panic") {
            used.push(hash);
        }
    }
    used.sort_unstable();
    assert_eq!(used, (0..VALUES).collect::<Vec<_>>(), "each once, and none twice");
    let third = open(&here.folder);
    for hash in 0..VALUES {
        let again = third.consume_once(here.org, value(hash)).await.expect("answered");
        assert!(!again, "after a start too");
    }
    for store in [here.store, there, third] {
        store.close();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[expect(clippy::disallowed_methods, reason = "all of them have to wait")]
async fn of_two_equal_values_in_one_batch_exactly_one_is_used() {
    let world = World::new().await;
    world.store.hold_writer();
    let agent = AgentId::new(NOW.millis(), unique()).any();
    let asked = (0..3).map(|_| {
        let (store, org) = (std::sync::Arc::clone(&world.store), world.org);
        tokio::spawn(async move { issue(&store, org, vec![agent], 0, Some(value(7))).await })
    });
    let asked: Vec<_> = asked.collect();
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    let store = std::sync::Arc::clone(&world.store);
    tokio::task::spawn_blocking(move || store.step_writer()).await.expect("stepped");
    world.store.release_writer();
    let mut used = 0;
    for task in asked {
        match task.await.expect("no panic") {
            Ok(_) => used += 1,
            Err(refused) => assert!(matches!(refused, NotRecorded::Replayed), "{refused:?}"),
        }
    }
    assert_eq!(used, 1);
    let rows = engine::number(
        &world.folder,
        "SELECT count(*) FROM spent WHERE org = $1 AND $2 = ''",
        [&world.org.to_string(), ""],
    );
    assert_eq!(rows, 1);
}

/// Whoever comes second with a place in the log reads the head again, and writes behind it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_place_in_the_log_that_is_taken_is_no_failure() {
    let here = World::new().await;
    let there = open(&here.folder);
    let agent = AgentId::new(NOW.millis(), unique()).any();
    let mut tokens = BTreeSet::new();
    for _ in 0..8 {
        for store in [&here.store, &there] {
            tokens.insert(issue(store, here.org, vec![agent], 0, None).await.expect("issued"));
        }
    }
    assert_eq!(tokens.len(), 16);
    let gaps = engine::number(
        &here.folder,
        "SELECT count(*) - MAX(seq) - 1 FROM event WHERE org = $1 AND $2 = ''",
        [&here.org.to_string(), ""],
    );
    assert_eq!(gaps, 0);
    there.close();
}
