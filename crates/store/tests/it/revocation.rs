//! The graph: gapless, in commit order, told to observers before callers; and the blast.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use accredit_domain::keys::KeyPurpose;
use accredit_domain::ports::{
    Notice, Observer, Order, Page, Registry as _, Revocations as _, Row, Store as _,
};
use accredit_domain::registry::State;
use accredit_domain::registry::agent::AgentState;
use accredit_domain::registry::credential::Holder;
use accredit_wire::ids::TokenId;

use crate::given::{
    NOW, World, commit, found_organization, resource, revocation, signing_key, unique,
};
use crate::log::check_chain;

#[derive(Default)]
struct Told(Mutex<Vec<Notice>>);

impl Observer for Told {
    fn committed(&self, notice: &Notice) {
        self.0.lock().expect("the list").push(notice.clone());
    }
}

#[tokio::test]
async fn kills_for_a_time_are_found_by_when_they_end_and_others_are_not() {
    let world = World::new().await;
    let agent = world.agent("a").await.id.any();
    let other = found_organization(&world.store, "other").await;
    let at = |minutes: u64| Some(NOW.plus(Duration::from_mins(minutes)));
    for (org, ends_at) in
        [(world.org, at(9)), (world.org, None), (other, at(2)), (world.org, at(3))]
    {
        let entry = accredit_domain::revocation::Revocation { ends_at, ..revocation(agent) };
        commit(&world.store, org, Vec::new(), Some(entry)).await.expect("committed");
    }
    let found = world.store.time_boxed(world.org).await.expect("read");
    let ends: Vec<_> = found.iter().map(|entry| entry.ends_at).collect();
    assert_eq!(ends, [at(3), at(9)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_count_has_no_gap_and_observers_hear_it_in_order() {
    let world = World::new().await;
    let agent = world.agent("a").await.id.any();
    let told = Arc::new(Told::default());
    world.store.observe(Arc::clone(&told) as Arc<dyn Observer>);
    let tasks: Vec<_> = (0..50)
        .map(|_| {
            let (store, org) = (Arc::clone(&world.store), world.org);
            tokio::spawn(
                async move { commit(&store, org, Vec::new(), Some(revocation(agent))).await },
            )
        })
        .collect();
    let mut counts = Vec::new();
    for task in tasks {
        counts.push(task.await.expect("a task").expect("committed").rev);
    }
    counts.sort_unstable();
    assert_eq!(counts, (1..=50).collect::<Vec<_>>());
    let notices = told.0.lock().expect("the list").clone();
    let heard: Vec<_> = notices.iter().map(|notice| notice.rev).collect();
    assert_eq!(heard, counts);
    for notice in &notices {
        let entry = notice.revocation.as_ref().expect("an entry");
        assert_eq!((entry.rev, entry.target, notice.at), (notice.rev, agent, NOW));
    }
    let org = world.store.organization(accredit_domain::ports::Lookup::Id(world.org)).await;
    assert_eq!(org.expect("read").expect("there").rev, 50);
    let leaves = check_chain(&world.store, world.org).await;
    for (index, leaf) in leaves[2..].iter().enumerate() {
        let accredit_domain::ports::LeafBody::Kept { payload, .. } = &leaf.body else {
            panic!("nothing was pruned")
        };
        let rev = format!("\"rev\":{}", index + 1);
        assert!(payload.contains(&rev), "{payload} has the count of its change");
    }
}

#[tokio::test]
async fn entries_are_read_in_order_and_listed_newest_first() {
    let world = World::new().await;
    for _ in 0..5 {
        world.revoke(TokenId::new(1, unique()).any(), Vec::new()).await;
    }
    let after = world.store.revocations_after(world.org, 2, NOW).await.expect("read");
    assert_eq!(after.iter().map(|entry| entry.rev).collect::<Vec<_>>(), [3, 4, 5]);
    let later = NOW.plus(Duration::from_mins(62));
    assert!(world.store.revocations_after(world.org, 0, later).await.expect("read").is_empty());
    let page = Page { limit: 2, order: Order::Newest, ..Page::default() };
    let first = world.store.revocations(world.org, page.clone()).await.expect("listed").items;
    assert_eq!(first.iter().map(|entry| entry.rev).collect::<Vec<_>>(), [5, 4]);
    let next = Page { cursor: Some("4".to_owned()), ..page };
    let second = world.store.revocations(world.org, next).await.expect("listed").items;
    assert_eq!(second.iter().map(|entry| entry.rev).collect::<Vec<_>>(), [3, 2]);
    let other = found_organization(&world.store, "other").await;
    assert!(world.store.revocations_after(other, 0, NOW).await.expect("read").is_empty());
}

#[tokio::test]
async fn observers_hear_of_keys_organizations_and_age_bounds_as_they_now_stand() {
    let world = World::new().await;
    let told = Arc::new(Told::default());
    world.store.observe(Arc::clone(&told) as Arc<dyn Observer>);
    let key = signing_key(world.org, KeyPurpose::Token);
    let mut slow = resource("slow");
    slow.revocations_age_max = 90;
    let mut fast = resource("fast");
    fast.revocations_age_max = 10;
    world.commit(vec![Row::Resource(slow), Row::Resource(fast.clone())]).await.expect("committed");
    fast.version = 1;
    fast.state = State::Suspended;
    world.commit(vec![Row::Resource(fast), Row::Key(key)]).await.expect("committed");
    let found = world.store.organization(accredit_domain::ports::Lookup::Name("dev".into())).await;
    let mut org = found.expect("read").expect("there");
    org.state = State::Suspended;
    world.revoke(world.org.any(), vec![Row::Organization(org)]).await;

    let notices = told.0.lock().expect("the list");
    assert_eq!(notices[0].revocations_age_min, Some(10));
    assert_eq!(notices[1].revocations_age_min, Some(90), "a suspended resource has no verifiers");
    assert_eq!(notices[1].keys.len(), 1);
    assert_eq!(notices[1].keys[0].version, 1);
    let org = notices[2].organization.as_ref().expect("the organization");
    assert_eq!((org.state, org.rev, org.version), (State::Suspended, 1, 2));
    assert_eq!(notices[2].revocations_age_min, None);
}

#[tokio::test]
async fn decommissioning_ends_instances_and_credentials_with_one_event() {
    let world = World::new().await;
    let (agent, other) = (world.agent("a").await, world.agent("b").await);
    let (instance, born_with) = world.instance(agent.id).await;
    let (spared, _) = world.instance(other.id).await;
    let own = world.credential(Holder::Agent(agent.id)).await;
    let before = check_chain(&world.store, world.org).await.len();
    let mut ended = agent.clone();
    ended.state = AgentState::Decommissioned;
    let rows = vec![Row::Agent(ended), Row::EndAgent(agent.id)];
    let done = world.revoke(agent.id.any(), rows).await;
    assert_eq!((done.rev, done.ended), (1, 3));
    let (store, org) = (&world.store, world.org);
    assert_eq!(check_chain(store, org).await.len(), before + 1);
    for credential in [born_with.id, own.id] {
        let found = store.credential(org, credential).await.expect("read").expect("there");
        assert_eq!(found.view(NOW).state, "revoked");
    }
    let found = store.instance(org, instance.id).await.expect("read").expect("there");
    assert_eq!(found.view(NOW).state, "revoked");
    let found = store.instance(org, spared.id).await.expect("read").expect("there");
    assert_eq!(found.view(NOW).state, "active");
    assert_eq!(store.revocations_after(org, 0, NOW).await.expect("read").len(), 1, "one entry");
}

#[tokio::test]
async fn a_blast_is_exact_for_rows_and_no_less_than_the_tokens() {
    let world = World::new().await;
    let (a, b) = (world.agent("a").await, world.agent("b").await);
    let (instance, _) = world.instance(a.id).await;
    world.instance(a.id).await;
    world.credential(Holder::Agent(a.id)).await;
    let crm = world.resource("crm").await;
    let of_resource = world.credential(Holder::Resource(crm.id)).await;
    for agent in [a.id, a.id, b.id] {
        world.issue(vec![agent.any()], 0, None).await.expect("issued");
    }
    let count = async |target, since| {
        let rows = world.store.rows_below(world.org, target).await.expect("counted");
        let tokens = world.store.tokens_below(world.org, target, since).await.expect("counted");
        (rows.agents, rows.instances, rows.credentials, tokens)
    };
    assert_eq!(count(a.id.any(), NOW).await, (1, 2, 3, 2));
    assert_eq!(count(b.id.any(), NOW).await, (1, 0, 0, 1));
    assert_eq!(count(instance.id.any(), NOW).await, (0, 1, 1, 0));
    assert_eq!(count(crm.id.any(), NOW).await, (0, 0, 1, 0));
    assert_eq!(count(of_resource.id.any(), NOW).await, (0, 0, 1, 0));
    assert_eq!(count(a.owner.expect("an owner").any(), NOW).await, (1, 2, 3, 0));
    assert_eq!(count(world.org.any(), NOW).await, (2, 2, 4, 3));
    assert_eq!(count(TokenId::new(1, unique()).any(), NOW).await, (0, 0, 0, 1));
    let later = NOW.plus(Duration::from_secs(1));
    assert_eq!(count(a.id.any(), later).await, (1, 2, 3, 0), "none issued since");
}

#[tokio::test]
async fn a_change_in_an_unknown_organization_is_a_fault() {
    let world = World::new().await;
    let nowhere = accredit_wire::ids::OrganizationId::new(1, unique());
    let outcome = commit(&world.store, nowhere, Vec::new(), Some(revocation(nowhere.any()))).await;
    assert!(matches!(outcome, Err(accredit_domain::ports::CommitError::Fault(_))));
    let foreign = vec![Row::Key(signing_key(nowhere, KeyPurpose::Log))];
    assert!(world.commit(foreign).await.is_err(), "a key of another organization");
    let foreign = vec![Row::Organization(crate::given::organization("third"))];
    assert!(world.commit(foreign).await.is_err(), "another organization's row");
    assert_eq!(check_chain(&world.store, world.org).await.len(), 1);
}
