//! Two nodes and the lease of what one does for all: a change under it and a take-over wait for each
//! other, so that what stood still writes nothing once another has begun.

use std::sync::Arc;

use accredit_domain::ports::{CommitError, Committed, Leases as _, Lookup, Registry as _};
use accredit_store::SqlStore;
use tokio::task::JoinHandle;

use crate::given::{World, commit};
use crate::leases::{JOB, lease, under};
use crate::nodes::{Gate, WATCHED, gated};

type Written = JoinHandle<Result<Committed, CommitError>>;

/// A holder whose change under the lease is held up before its commit.
async fn under_way() -> (World, Arc<SqlStore>, Arc<Gate>, Written) {
    let world = World::new().await;
    let (holder, gate) = gated(&world);
    assert!(holder.move_lease(JOB, None, lease("a", 1, 0)).await.expect("answered"));
    gate.shut();
    let (org, writing) = (world.org, Arc::clone(&holder));
    let written =
        tokio::spawn(async move { commit(&writing, org, under(1, "a@example.com"), None).await });
    tokio::task::block_in_place(|| gate.is_reached());
    (world, holder, gate, written)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_take_over_waits_for_a_change_under_the_lease_and_what_comes_later_is_refused() {
    let (world, holder, gate, written) = under_way().await;
    let (org, first, second) = (world.org, lease("a", 1, 0), lease("b", 2, 0));
    let store = Arc::clone(&world.store);
    let mut taken = tokio::spawn(async move { store.move_lease(JOB, Some(first), second).await });
    assert!(tokio::time::timeout(WATCHED, &mut taken).await.is_err(), "it waits");
    gate.open();
    written.await.expect("a task").expect("it came first");
    assert!(taken.await.expect("a task").expect("answered"), "and then it is taken");
    let late = commit(&holder, org, under(1, "late@example.com"), None).await;
    assert!(matches!(late, Err(CommitError::Fault(_))), "{late:?}");
    let key = Lookup::Name("late@example.com".to_owned());
    assert!(world.store.person(org, key).await.expect("read").is_none());
}

/// A holder that stands still in the middle of what it does is overtaken, and writes nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_holder_that_stood_still_before_its_commit_and_wakes_has_written_nothing() {
    let (world, holder, gate, written) = under_way().await;
    let (org, first, second) = (world.org, lease("a", 1, 0), lease("b", 2, 0));
    // Its transaction is ended by the database, and the lease is free for whoever waits.
    assert!(world.store.move_lease(JOB, Some(first), second).await.expect("answered"));
    gate.open();
    let woken = written.await.expect("a task");
    assert!(matches!(woken, Err(CommitError::Fault(_))), "{woken:?}");
    let again = commit(&holder, org, under(1, "b@example.com"), None).await;
    assert!(again.is_err(), "{again:?}");
    for email in ["a@example.com", "b@example.com"] {
        let found = world.store.person(org, Lookup::Name(email.to_owned())).await.expect("read");
        assert!(found.is_none(), "{email}");
    }
    assert_eq!(holder.lease(JOB).await.expect("read"), Some(lease("b", 2, 0)));
}
