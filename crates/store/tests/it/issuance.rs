//! Issuances: fenced, replayed at most never, and each answered for itself.

use accredit_domain::audit::event::{Body, EventKind};
use accredit_domain::ports::{
    Audited, Issuance, Ledger as _, NotRecorded, Registry as _, Revocations as _, Row, UsedUp,
};
use accredit_domain::revocation::KEPT_LONGER;
use accredit_wire::ids::{AgentId, OrganizationId};
use std::sync::Arc;
use std::time::Duration;

use crate::given::{NOW, World, event, issue, person, single_use, unique};
use crate::log::check_chain;

#[tokio::test]
async fn a_revocation_overtakes_what_was_decided_before_it_in_its_lineage_only() {
    let world = World::new().await;
    let (dead, alive) = (world.agent("dead").await.id.any(), world.agent("alive").await.id.any());
    assert_eq!(world.revoke(dead, Vec::new()).await.rev, 1);
    let org = world.org.any();
    match world.issue(vec![org, dead], 0, None).await {
        Err(NotRecorded::Overtaken(id)) => assert_eq!(id, dead),
        other => panic!("{other:?}"),
    }
    world.issue(vec![org, alive], 0, None).await.expect("another lineage");
    world.issue(vec![org, dead], 1, None).await.expect("decided after the revocation");
    assert!(
        matches!(world.issue(vec![org, alive], 2, None).await, Err(NotRecorded::Fault(_))),
        "a decision cannot have seen what is not there"
    );
    let leaves = check_chain(&world.store, world.org).await;
    assert_eq!(leaves.iter().filter(|leaf| leaf.kind == "token.issued").count(), 2);
}

#[tokio::test]
async fn an_overtaken_issuance_does_not_use_up_its_proof() {
    let world = World::new().await;
    let agent = world.agent("a").await.id.any();
    world.revoke(agent, Vec::new()).await;
    let value = single_use(agent, 1);
    let first = world.issue(vec![agent], 0, Some(value.clone())).await;
    assert!(matches!(first, Err(NotRecorded::Overtaken(_))));
    world.issue(vec![agent], 1, Some(value.clone())).await.expect("decided again");
    let again = world.issue(vec![agent], 1, Some(value)).await;
    assert!(matches!(again, Err(NotRecorded::Replayed)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_equal_single_use_values_in_one_batch_one_counts() {
    let world = World::new().await;
    let agent = world.agent("a").await.id.any();
    let tasks: Vec<_> = (0..40)
        .map(|n| {
            let (store, org) = (Arc::clone(&world.store), world.org);
            let value = single_use(agent, n % 10);
            tokio::spawn(async move { issue(&store, org, vec![agent], 0, Some(value)).await })
        })
        .collect();
    let (mut recorded, mut replayed) = (0, 0);
    for task in tasks {
        match task.await.expect("a task") {
            Ok(_) => recorded += 1,
            Err(NotRecorded::Replayed) => replayed += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((recorded, replayed), (10, 30));
    assert!(world.store.stats().members_max > 1, "they came together");
    let leaves = check_chain(&world.store, world.org).await;
    assert_eq!(leaves.iter().filter(|leaf| leaf.kind == "token.issued").count(), 10);
}

#[tokio::test]
async fn single_use_values_are_of_one_client_and_of_one_organization() {
    let world = World::new().await;
    let (a, b) = (world.agent("a").await.id.any(), world.agent("b").await.id.any());
    let store = &world.store;
    assert!(store.consume_once(world.org, single_use(a, 1)).await.expect("consumed"));
    assert!(!store.consume_once(world.org, single_use(a, 1)).await.expect("answered"));
    assert!(store.consume_once(world.org, single_use(b, 1)).await.expect("consumed"));
    let other = crate::given::found_organization(store, "other").await;
    assert!(store.consume_once(other, single_use(a, 1)).await.expect("consumed"));
    let replayed = world.issue(vec![a], 0, Some(single_use(a, 1))).await;
    assert!(matches!(replayed, Err(NotRecorded::Replayed)));
}

#[tokio::test]
async fn an_issuance_by_a_proof_of_possession_that_was_used_uses_up_nothing_else() {
    let world = World::new().await;
    let agent = world.agent("a").await.id.any();
    let issue = async |assertion: u8, possession: u8| {
        let used_up = UsedUp {
            assertion: Some(single_use(agent, assertion)),
            possession: Some(single_use(agent, possession)),
        };
        let issuance = Issuance {
            org: world.org,
            lineage: vec![agent],
            rev: 0,
            used_up,
            status: None,
            certificate: None,
        };
        let issued = event(EventKind::TokenIssued, Body::default());
        world.store.record_issuance(Audited::new(issuance, issued)).await
    };
    assert!(issue(1, 101).await.is_ok());
    assert!(matches!(issue(2, 101).await, Err(NotRecorded::ProofReplayed)));
    assert!(matches!(issue(1, 102).await, Err(NotRecorded::Replayed)));
    assert!(issue(2, 102).await.is_ok(), "neither was used up by what was refused");
    let leaves = check_chain(&world.store, world.org).await;
    assert_eq!(leaves.iter().filter(|leaf| leaf.kind == "token.issued").count(), 2);
}

#[tokio::test]
async fn a_refusal_uses_up_the_proof_and_is_recorded_even_where_it_was_used() {
    let world = World::new().await;
    let agent = world.agent("a").await.id.any();
    for _ in 0..2 {
        let what = (world.org, UsedUp::from(single_use(agent, 1)));
        let refusal = event(EventKind::TokenRefused, Body::default());
        world.store.record_event(Audited::new(what, refusal)).await.expect("recorded");
    }
    let replayed = world.issue(vec![agent], 0, Some(single_use(agent, 1))).await;
    assert!(matches!(replayed, Err(NotRecorded::Replayed)));
    let leaves = check_chain(&world.store, world.org).await;
    assert_eq!(leaves.iter().filter(|leaf| leaf.kind == "token.refused").count(), 2);
}

#[tokio::test]
async fn what_is_over_is_forgotten_and_nothing_else() {
    let world = World::new().await;
    let agent = world.agent("a").await.id.any();
    for hash in 0..3 {
        let mut value = single_use(agent, hash);
        value.until = NOW.plus(Duration::from_mins(u64::from(hash)));
        assert!(world.store.consume_once(world.org, value).await.expect("consumed"));
    }
    world.revoke(agent, Vec::new()).await;
    world.store.forget_before(NOW.plus(Duration::from_mins(2))).await.expect("forgotten");
    for (hash, fresh) in [(0, true), (1, true), (2, false)] {
        let again = world.store.consume_once(world.org, single_use(agent, hash)).await;
        assert_eq!(again.expect("answered"), fresh, "value {hash}");
    }
    assert_eq!(world.store.revocations_after(world.org, 0, NOW).await.expect("read").len(), 1);
    world.store.forget_before(NOW.plus(Duration::from_secs(4000))).await.expect("forgotten");
    let kept = world.store.revocations_after(world.org, 0, NOW).await.expect("read");
    assert_eq!(kept.len(), 1, "longer than it has to be");
    world.store.forget_before(NOW.plus(KEPT_LONGER * 2)).await.expect("forgotten");
    assert_eq!(world.store.revocations_after(world.org, 0, NOW).await.expect("read").len(), 0);
    assert_eq!(world.revoke(agent, Vec::new()).await.rev, 2, "the count goes on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_fails_does_not_disturb_the_others() {
    let world = World::new().await;
    let agent = world.agent("a").await.id.any();
    let nowhere = OrganizationId::new(1, [9; 10]);
    let tasks: Vec<_> = (0..90)
        .map(|n| {
            let (store, org) = (Arc::clone(&world.store), world.org);
            tokio::spawn(async move {
                match n % 3 {
                    0 => issue(&store, org, vec![agent], 0, None).await.is_ok(),
                    1 => issue(&store, nowhere, vec![agent], 0, None).await.is_ok(),
                    _ => {
                        // The second row is refused after the first was written.
                        let rows = vec![
                            Row::Person(person(&format!("p{n}@example.com"))),
                            Row::Person(person("a@example.com")),
                        ];
                        crate::given::commit(&store, org, rows, None).await.is_ok()
                    }
                }
            })
        })
        .collect();
    for (n, task) in tasks.into_iter().enumerate() {
        assert_eq!(task.await.expect("a task"), n % 3 == 0, "member {n}");
    }
    let leaves = check_chain(&world.store, world.org).await;
    assert_eq!(leaves.iter().filter(|leaf| leaf.kind == "token.issued").count(), 30);
    assert_eq!(leaves.len(), 32);
    let page = accredit_domain::ports::Page { limit: 100, ..Default::default() };
    assert_eq!(world.store.persons(world.org, page).await.expect("persons").items.len(), 1);
}

#[tokio::test]
async fn an_issuance_of_an_unknown_organization_is_a_fault() {
    let world = World::new().await;
    let issuance = Issuance {
        org: OrganizationId::new(1, unique()),
        lineage: vec![AgentId::new(1, unique()).any()],
        rev: 0,
        used_up: UsedUp::NOTHING,
        status: None,
        certificate: None,
    };
    let issued = event(EventKind::TokenIssued, Body::default());
    let outcome = world.store.record_issuance(Audited::new(issuance, issued)).await;
    assert!(matches!(outcome, Err(NotRecorded::Fault(_))));
}
