//! Leases of what one node does for all: moved on where they are as they were seen, and named by what
//! is written under them.

use accredit_domain::ports::{
    CommitError, Fence, Job, Lease, Leases as _, Lookup, Registry as _, Row,
};

use crate::given::{World, person};

pub(crate) const JOB: Job = Job::Scheduled;

pub(crate) fn lease(holder: &str, lease: u64, beat: u64) -> Lease {
    Lease { holder: Some(holder.to_owned()), lease, beat }
}

/// A change under a lease: a person, whose e-mail address this is.
pub(crate) fn under(lease: u64, email: &str) -> Vec<Row> {
    vec![Row::Leased(Fence { job: JOB, lease }), Row::Person(person(email))]
}

/// Whether a change under a lease was committed; refused, nothing of it is there.
async fn is_written(world: &World, lease: u64, email: &str) -> bool {
    let done = world.commit(under(lease, email)).await;
    let key = Lookup::Name(email.to_owned());
    let found = world.store.person(world.org, key).await.expect("read");
    match done {
        Ok(_) => assert!(found.is_some()),
        Err(CommitError::Fault(fault)) => {
            assert!(fault.to_string().contains("another node"), "{fault}");
            assert!(found.is_none());
            return false;
        }
        Err(other) => panic!("{other:?}"),
    }
    true
}

#[tokio::test]
async fn a_lease_moves_on_from_what_it_was_seen_to_be_and_from_nothing_else() {
    let world = World::new().await;
    let store = &world.store;
    let moved = async |seen: Option<Lease>, to: &Lease| {
        store.move_lease(JOB, seen, to.clone()).await.expect("answered")
    };
    assert_eq!(store.lease(JOB).await.expect("read"), None);
    let (first, second) = (lease("a", 1, 0), lease("b", 2, 0));
    assert!(!moved(Some(first.clone()), &second).await, "there is none yet");
    assert!(moved(None, &first).await);
    assert!(!moved(None, &second).await, "somebody was faster");
    assert_eq!(store.lease(JOB).await.expect("read"), Some(first.clone()));
    let beat = lease("a", 1, 1);
    assert!(moved(Some(first.clone()), &beat).await);
    assert!(!moved(Some(first), &second).await, "it has beaten since");
    assert!(moved(Some(beat.clone()), &second).await);
    assert!(!moved(Some(beat), &lease("a", 1, 2)).await, "it is another's");
    let free = Lease { holder: None, ..second.clone() };
    assert!(moved(Some(second), &free).await);
    let world = world.reopened();
    assert_eq!(world.store.lease(JOB).await.expect("read"), Some(free));
}

#[tokio::test]
async fn what_is_written_under_a_lease_is_refused_once_that_has_moved() {
    let world = World::new().await;
    assert!(!is_written(&world, 1, "nobody@example.com").await, "nobody has it");
    let (first, second) = (lease("a", 1, 0), lease("b", 2, 0));
    assert!(world.store.move_lease(JOB, None, first.clone()).await.expect("answered"));
    assert!(is_written(&world, 1, "one@example.com").await);
    assert!(!is_written(&world, 0, "before@example.com").await);
    assert!(world.store.move_lease(JOB, Some(first), second.clone()).await.expect("answered"));
    assert!(!is_written(&world, 1, "late@example.com").await);
    assert!(is_written(&world, 2, "two@example.com").await);
    let free = Lease { holder: None, ..second.clone() };
    assert!(world.store.move_lease(JOB, Some(second), free).await.expect("answered"));
    assert!(!is_written(&world, 2, "after@example.com").await, "it was given back");
    // Others in the same batch are not refused with it.
    assert!(world.commit(vec![Row::Person(person("any@example.com"))]).await.is_ok());
}
