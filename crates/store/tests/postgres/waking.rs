//! A node that tells of a change wakes the others. That is a hint: what is told without it, or while
//! nobody listens, is there all the same.

use std::time::Duration;

use accredit_domain::ports::Store as _;
use accredit_store::SqlStore;

use crate::engine;
use crate::given::World;
use crate::nodes::{Told, WATCHED, node};

/// How long somebody who is to be woken is waited for.
const WOKEN_WITHIN: Duration = Duration::from_secs(10);

async fn is_woken(store: &SqlStore, within: Duration) -> bool {
    tokio::time::timeout(within, store.woken()).await.is_ok()
}

/// Lets a node listen; nothing is left to be heard.
async fn listens(store: &SqlStore) {
    assert!(is_woken(store, WOKEN_WITHIN).await, "it looks as soon as it listens");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_wakes_the_other_nodes_and_a_token_does_not() {
    let world = World::new().await;
    let agent = world.agent("a").await.id.any();
    let other = node(&world);
    let told = Told::by(&other);
    listens(&world.store).await;
    listens(&other).await;
    for rev in 1..=3 {
        world.revoke(agent, Vec::new()).await;
        assert!(is_woken(&other, WOKEN_WITHIN).await);
        other.catch_up().await.expect("caught up");
        assert_eq!(told.revoked().last(), Some(&(rev, agent)));
    }
    assert!(!is_woken(&other, WATCHED).await, "once for each");
    world.issue(vec![world.org.any()], 3, None).await.expect("issued");
    assert!(!is_woken(&other, WATCHED).await, "a token is nobody's change");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_was_woken_for_is_found_by_looking() {
    let world = World::new().await;
    let agent = world.agent("a").await.id.any();
    let other = node(&world);
    let told = Told::by(&other);
    listens(&other).await;
    // It does not listen itself, so it does not know that the engine can tell anybody.
    world.revoke(agent, Vec::new()).await;
    assert!(!is_woken(&other, WATCHED).await);
    other.catch_up().await.expect("caught up");
    assert_eq!(told.revoked(), [(1, agent)]);

    listens(&world.store).await;
    engine::script(
        &world.folder,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE datname = current_database() AND query LIKE 'LISTEN%'",
    );
    world.revoke(agent, Vec::new()).await;
    other.catch_up().await.expect("caught up");
    assert_eq!(told.revoked(), [(1, agent), (2, agent)], "while nobody listens");
    for store in [&world.store, &other] {
        assert!(is_woken(store, WOKEN_WITHIN).await, "it listens again, and looks");
    }
    other.catch_up().await.expect("caught up");
    world.revoke(agent, Vec::new()).await;
    assert!(is_woken(&other, WOKEN_WITHIN).await);
}
