//! What issuing reads: after each change, read from a warm cache, it is as it now stands.

use accredit_domain::issuance::admission::{CredentialFacts, HolderFacts, ProofFacts};
use accredit_domain::ports::{Admissions as _, KeysWanted, Lookup, Registry as _, Row};
use accredit_domain::registry::admin_key::Administrator;
use accredit_domain::registry::agent::AgentState;
use accredit_domain::registry::credential::{AdminPermission, CredentialState, Holder};
use accredit_domain::registry::instance::InstanceState;
use accredit_domain::registry::{Agent, Credential, Instance, State};
use accredit_wire::authority::Authority;
use accredit_wire::ids::AgentId;
use accredit_wire::time::Time;
use std::sync::Arc;
use std::time::Duration;

use crate::given::{
    NOW, World, authority, found_organization, instance, person, public_key, unique,
};

#[tokio::test]
async fn an_agents_facts_follow_agent_owner_and_resource() {
    let world = World::new().await;
    let (store, org) = (&world.store, world.org);
    let mut crm = world.resource("crm").await;
    let bot = world.agent("bot").await;
    let facts = async || store.agent_facts(org, bot.id).await.expect("read").expect("there");
    let first = facts().await;
    assert_eq!(&*first.name, "bot");
    assert_eq!(first.entitlements.authority, authority("crm"));
    assert_eq!(first.owner, Some((bot.owner.expect("an owner"), State::Active)));
    assert_eq!(first.entitlements.resources[0].id, crm.id);
    assert_eq!((first.token_lifetime, first.may_delegate), (300, true));
    assert!(Arc::ptr_eq(&first, &facts().await), "the second is from memory");

    crm.state = State::Suspended;
    world.commit(vec![Row::Resource(crm)]).await.expect("committed");
    assert_eq!(facts().await.entitlements.resources[0].state, State::Suspended);

    let owner = store.person(org, Lookup::Id(bot.owner.expect("an owner"))).await;
    let mut owner = owner.expect("read").expect("there");
    owner.state = State::Suspended;
    world.commit(vec![Row::Person(owner)]).await.expect("committed");
    assert_eq!(facts().await.owner.expect("an owner").1, State::Suspended);

    let stopped = Agent { state: AgentState::Suspended, ..bot.clone() };
    world.commit(vec![Row::Agent(stopped)]).await.expect("committed");
    assert_eq!(facts().await.state, AgentState::Suspended);

    let other = found_organization(store, "other").await;
    assert!(store.agent_facts(other, bot.id).await.expect("read").is_none());
    let nobody = AgentId::new(1, unique());
    assert!(store.agent_facts(org, nobody).await.expect("read").is_none());
}

#[tokio::test]
async fn limits_come_back_as_they_were_and_are_held_once_for_all_who_hold_the_same() {
    let world = World::new().await;
    let (store, org) = (&world.store, world.org);
    world.resource("crm").await;
    let held = [
        "crm:read",
        "crm:update(/customers/eu/*; amount<=100; currency in CHF,EUR)",
        "crm:update(note=\"a \\\"quoted\\\" \u{e9}\"; until 2030-12-31T23:59:59Z)",
    ];
    let held = Authority::new(held.map(|text| text.parse().expect(text))).expect("bounded");
    let narrowed = held.plain();
    let agents = [world.agent("one").await, world.agent("two").await];
    for agent in &agents {
        let limited = Agent { permissions: held.clone(), ..agent.clone() };
        world.commit(vec![Row::Agent(limited)]).await.expect("committed");
        let row = store.agent(org, Lookup::Id(agent.id), NOW).await.expect("read").expect("there");
        assert_eq!(row.permissions, held);
    }
    let facts =
        async |n: usize| store.agent_facts(org, agents[n].id).await.expect("read").expect("there");
    let (one, two) = (facts(0).await, facts(1).await);
    assert_eq!(one.entitlements.authority, held);
    assert!(Arc::ptr_eq(&one.entitlements, &two.entitlements), "one value for both");
    assert_eq!(one.entitlements.resources.len(), 1, "a resource once, however many permissions");
    let row = store.agent(org, Lookup::Id(agents[0].id), NOW).await.expect("read").expect("there");
    let row = Agent { permissions: narrowed.clone(), ..row };
    world.commit(vec![Row::Agent(row)]).await.expect("committed");
    assert_eq!(facts(0).await.entitlements.authority, narrowed);
    assert_eq!(facts(1).await.entitlements.authority, held);
}

#[tokio::test]
async fn an_agent_that_was_absent_is_there_once_it_is_registered() {
    let world = World::new().await;
    let bot = crate::given::agent("bot", None);
    assert!(world.store.agent_facts(world.org, bot.id).await.expect("read").is_none());
    world.commit(vec![Row::Agent(bot.clone())]).await.expect("committed");
    let found = world.store.agent_facts(world.org, bot.id).await.expect("read").expect("there");
    assert!(found.owner.is_none());
    assert!(found.entitlements.resources.is_empty(), "there is no resource of that name yet");
    world.resource("crm").await;
    let found = world.store.agent_facts(world.org, bot.id).await.expect("read").expect("there");
    assert_eq!(found.entitlements.resources.len(), 1);
}

#[tokio::test]
async fn a_credentials_facts_follow_it_and_its_instance() {
    let world = World::new().await;
    let (store, org) = (&world.store, world.org);
    let bot = world.agent("bot").await;
    let (instance, credential) = world.instance(bot.id).await;
    let facts =
        async |id| store.credential_facts(org, id).await.expect("read").found.expect("there");
    let first = facts(credential.id).await;
    assert_eq!((first.org, first.revoked), (org, false));
    assert!(matches!(first.proof, ProofFacts::Secret { pepper: 1, mac } if mac == [7; 32]));
    let active = |facts: &HolderFacts| match facts {
        HolderFacts::Instance { id, agent, state, .. } => {
            assert_eq!((*id, *agent), (instance.id, bot.id));
            *state == InstanceState::Active
        }
        other => panic!("{other:?}"),
    };
    assert!(active(&first.holder));
    assert!(Arc::ptr_eq(&first, &facts(credential.id).await), "the second is from memory");

    let mut revoked = instance.clone();
    revoked.state = InstanceState::Revoked;
    world.commit(vec![Row::Instance(revoked)]).await.expect("committed");
    assert!(!active(&facts(credential.id).await.holder));
    world.commit(vec![Row::EndInstance(instance.id)]).await.expect("committed");
    assert!(facts(credential.id).await.revoked);

    let own = world.credential(Holder::Agent(bot.id)).await;
    assert!(!facts(own.id).await.revoked);
    let ended = Credential { state: CredentialState::Revoked, ..own.clone() };
    world.commit(vec![Row::Credential(ended)]).await.expect("committed");
    assert!(facts(own.id).await.revoked);

    let last = world.credential(Holder::Agent(bot.id)).await;
    assert!(!facts(last.id).await.revoked);
    world.commit(vec![Row::EndAgent(bot.id)]).await.expect("committed");
    assert!(facts(last.id).await.revoked);

    let other = found_organization(store, "other").await;
    assert!(store.credential_facts(other, own.id).await.expect("read").found.is_none());
}

#[tokio::test]
async fn a_resources_credential_follows_the_resource() {
    let world = World::new().await;
    let mut crm = world.resource("crm").await;
    let credential = world.credential(Holder::Resource(crm.id)).await;
    let state = async || {
        let facts = world.store.credential_facts(world.org, credential.id).await;
        match &facts.expect("read").found.expect("there").holder {
            HolderFacts::Resource(resource) => resource.state,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(state().await, State::Active);
    crm.state = State::Suspended;
    world.commit(vec![Row::Resource(crm)]).await.expect("committed");
    assert_eq!(state().await, State::Suspended);
}

#[tokio::test]
async fn an_administrators_key_finds_its_organization() {
    let world = World::new().await;
    let admin =
        world.credential(Holder::Admin(Administrator::first(vec![AdminPermission::Read]))).await;
    let bot = world.agent("bot").await;
    let own = world.credential(Holder::Agent(bot.id)).await;
    let found = world.store.admin_organization(admin.id).await.expect("read");
    assert_eq!(found, Some(world.org));
    assert_eq!(world.store.admin_organization(own.id).await.expect("read"), None);
    let facts = world.store.credential_facts(world.org, admin.id).await.expect("read");
    let facts = facts.found.expect("there");
    assert!(matches!(&facts.holder, HolderFacts::Admin(p) if *p == [AdminPermission::Read]));
}

#[tokio::test]
async fn live_public_keys_are_found_by_kid_or_all() {
    let world = World::new().await;
    let (store, org) = (&world.store, world.org);
    let bot = world.agent("bot").await;
    let names = async |kid: Option<&str>, limit| {
        let found = store.agent_keys(org, bot.id, wanted(kid, limit)).await.expect("read");
        kids(&found.found.keys)
    };
    assert!(names(None, 9).await.is_empty());
    world.credential(Holder::Agent(bot.id)).await;
    let first = public_key(Holder::Agent(bot.id), "k1");
    world.commit(vec![Row::Credential(first.clone())]).await.expect("committed");
    assert_eq!(names(None, 9).await, ["k1"]);
    assert_eq!(names(Some("k1"), 9).await, ["k1"]);
    let (instance, _) = world.instance(bot.id).await;
    let second = public_key(Holder::Instance(instance.id, bot.id), "k2");
    world.commit(vec![Row::Credential(second)]).await.expect("committed");
    assert_eq!(names(None, 9).await, ["k2", "k1"], "its instances' keys too, the newest first");
    assert_eq!(names(None, 1).await, ["k2"]);
    assert!(names(Some("k3"), 9).await.is_empty());

    let mut ended = first;
    ended.version = 1;
    ended.state = CredentialState::Revoked;
    world.commit(vec![Row::Credential(ended)]).await.expect("committed");
    assert_eq!(names(None, 9).await, ["k2"]);
    assert!(names(Some("k1"), 9).await.is_empty());
    world.commit(vec![Row::EndInstance(instance.id)]).await.expect("committed");
    assert!(names(Some("k2"), 9).await.is_empty());

    let crm = world.resource("crm").await;
    let key = public_key(Holder::Resource(crm.id), "k4");
    world.commit(vec![Row::Credential(key)]).await.expect("committed");
    let keys = async |kid| {
        let found = store.resource_keys(org, crm.id, wanted(kid, 9)).await.expect("read");
        kids(&found.found.keys)
    };
    assert_eq!(keys(Some("k4")).await.len(), 1);
    assert_eq!(keys(None).await.len(), 1);
    assert!(keys(Some("k2")).await.is_empty());
}

/// Keys that are live when the tests begin.
const fn wanted(kid: Option<&str>, live: usize) -> KeysWanted<'_> {
    KeysWanted { kid, live, ended: 0, now: NOW }
}

fn kids(found: &[Arc<CredentialFacts>]) -> Vec<String> {
    let kid = |facts: &Arc<CredentialFacts>| match &facts.proof {
        ProofFacts::Key(key) => key.kid.clone(),
        ProofFacts::Secret { .. } | ProofFacts::Workload | ProofFacts::Join { .. } => {
            panic!("it is no key")
        }
    };
    found.iter().map(kid).collect()
}

#[tokio::test]
async fn keys_end_by_themselves_also_in_a_warm_cache() {
    let world = World::new().await;
    let (store, org) = (&world.store, world.org);
    let bot = world.agent("bot").await;
    let after = |minutes| NOW.plus(Duration::from_mins(minutes));
    let add = async |holder, kid: &str, minutes| {
        let key = Credential { expires_at: after(minutes), ..public_key(holder, kid) };
        world.commit(vec![Row::Credential(key)]).await.expect("committed");
    };
    let own = Holder::Agent(bot.id);
    add(own.clone(), "short", 10).await;
    add(own.clone(), "long", 60).await;
    let mut brief = given_instance(bot.id, after(20));
    brief.1.expires_at = after(60);
    let of_brief = Holder::Instance(brief.0.id, bot.id);
    let rows = vec![Row::Instance(brief.0), Row::Credential(brief.1)];
    world.commit(rows).await.expect("committed");
    add(of_brief, "of-brief", 60).await;
    let at = async |minutes, kid, live, ended| {
        let wanted = KeysWanted { kid, live, ended, now: after(minutes) };
        let found = store.agent_keys(org, bot.id, wanted).await.expect("read");
        (kids(&found.found.keys), found.from_memory)
    };
    let all = ["of-brief", "long", "short"].map(str::to_owned).to_vec();
    assert_eq!(at(0, None, 8, 4).await, (all.clone(), false));
    assert_eq!(at(9, None, 8, 4).await, (all.clone(), true));
    // What has ended comes last, and does not count among the live ones.
    assert_eq!(at(10, None, 2, 4).await, (all, false));
    assert_eq!(at(10, None, 8, 0).await.0, ["of-brief", "long"]);
    assert_eq!(at(20, None, 8, 4).await.0, ["long", "of-brief", "short"]);
    assert_eq!(at(20, None, 8, 1).await.0, ["long", "of-brief"]);
    assert_eq!(at(20, Some("of-brief"), 8, 4).await.0, ["of-brief"]);
    assert_eq!(at(60, None, 8, 2).await.0.len(), 2);
    assert_eq!(at(60, Some("long"), 8, 0).await, (Vec::new(), false));
}

fn given_instance(agent: AgentId, expires_at: Time) -> (Instance, Credential) {
    let (made, credential) = instance(agent);
    (Instance { expires_at: Some(expires_at), ..made }, credential)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_races_with_changes_never_sees_an_older_state_after_a_newer() {
    let world = World::new().await;
    let bot = world.agent("bot").await;
    let (store, org) = (Arc::clone(&world.store), world.org);
    let reader = tokio::spawn(async move {
        let mut newest = 0;
        while newest < 50 {
            let facts = store.agent_facts(org, bot.id).await.expect("read").expect("there");
            assert!(facts.token_lifetime >= newest || facts.token_lifetime == 300);
            if facts.token_lifetime != 300 {
                newest = facts.token_lifetime;
            }
            tokio::task::yield_now().await;
        }
    });
    for lifetime in 1..=50 {
        let found = world.store.agent(org, Lookup::Id(bot.id), NOW).await.expect("read");
        let changed = Agent { token_lifetime: lifetime, ..found.expect("there") };
        world.commit(vec![Row::Agent(changed)]).await.expect("committed");
        let facts = world.store.agent_facts(org, bot.id).await.expect("read").expect("there");
        assert_eq!(facts.token_lifetime, lifetime, "a committed change is seen at once");
    }
    reader.await.expect("the reader");
}

#[tokio::test]
async fn a_new_person_ends_no_cached_facts() {
    let world = World::new().await;
    let bot = world.agent("bot").await;
    let before = world.store.agent_facts(world.org, bot.id).await.expect("read").expect("there");
    world.commit(vec![Row::Person(person("new@example.com"))]).await.expect("committed");
    world.instance(bot.id).await;
    let after = world.store.agent_facts(world.org, bot.id).await.expect("read").expect("there");
    assert!(Arc::ptr_eq(&before, &after), "births of instances leave the cache warm");
}
