//! The nouns: what is written is what is read, versions and names are held.

use accredit_domain::attestation::{Workload, Workloads as _};
use accredit_domain::federation::{Federation, Identity};
use accredit_domain::issuance::admission::HolderFacts;
use accredit_domain::keys::{KeyPurpose, KeyState};
use accredit_domain::ports::{
    Admissions as _, CommitError, Ledger as _, Lookup, Page, Registry as _, Revocations as _, Room,
    RoomOf, Row, Use,
};
use accredit_domain::registry::admin_key::Administrator;
use accredit_domain::registry::agent::AgentState;
use accredit_domain::registry::born::Born;
use accredit_domain::registry::credential::{AdminPermission, CredentialState, Holder, Proof};
use accredit_domain::registry::durable::DurableGrant;
use accredit_domain::registry::instance::InstanceState;
use accredit_domain::registry::jwks::Followed;
use accredit_domain::registry::task::{Task, TaskState};
use accredit_domain::registry::{Agent, Credential, Instance, Person, Resource, State};
use accredit_domain::trust_domains::{FOREIGN_DOMAINS_MAX, ForeignDomain, Source};
use accredit_wire::ids::{AgentId, OrganizationId};
use accredit_wire::time::Time;
use accredit_wire::token::Actor;
use accredit_wire::x509::bundle::Bundle;
use accredit_wire::x509::spiffe::SpiffeId;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use crate::given::{
    self, NOW, World, agent, authority, found_organization, person, public_key, resource, secret,
    signing_key, task,
};

fn taken(outcome: Result<accredit_domain::ports::Committed, CommitError>) -> &'static str {
    match outcome {
        Err(CommitError::Taken(what)) => what,
        other => panic!("{other:?}"),
    }
}

fn stale(outcome: Result<accredit_domain::ports::Committed, CommitError>) {
    assert!(matches!(outcome, Err(CommitError::Stale)), "{outcome:?}");
}

fn page(limit: usize) -> Page {
    Page { limit, ..Page::default() }
}

#[tokio::test]
async fn an_organization_is_read_as_written_and_its_name_is_taken_for_ever() {
    let world = World::new().await;
    let by_name = world.store.organization(Lookup::Name("dev".into())).await.expect("read");
    let mut org = by_name.expect("there");
    assert_eq!((org.id, org.version, org.rev, org.generation), (world.org, 1, 0, 1));
    assert_eq!(org.issuer, "https://id.example/o/dev");
    org.display_name = Some("Development".to_owned());
    world.commit(vec![Row::Organization(org.clone())]).await.expect("committed");
    stale(world.commit(vec![Row::Organization(org)]).await);
    let again = crate::given::organization("dev");
    let id = again.id;
    let outcome =
        crate::given::commit(&world.store, id, vec![Row::Organization(again)], None).await;
    assert_eq!(taken(outcome), "name");
    let other = found_organization(&world.store, "other").await;
    let all = world.store.organizations(page(10)).await.expect("listed").items;
    assert_eq!(all.iter().map(|org| org.id).collect::<Vec<_>>(), [world.org, other]);
    assert_eq!(all[0].display_name.as_deref(), Some("Development"));
    let after = Page { cursor: Some(world.org.to_string()), ..page(10) };
    assert_eq!(world.store.organizations(after).await.expect("listed").items.len(), 1);
}

#[tokio::test]
async fn a_person_is_read_as_written_and_an_address_is_taken() {
    let world = World::new().await;
    let mia = person("mia@example.com");
    world.commit(vec![Row::Person(mia.clone())]).await.expect("committed");
    assert_eq!(taken(world.commit(vec![Row::Person(person("mia@example.com"))]).await), "email");
    let found = world.store.person(world.org, Lookup::Name("mia@example.com".into())).await;
    let found = found.expect("read").expect("there");
    assert_eq!((found.id, found.version, found.state), (mia.id, 1, State::Active));
    let changed = Person { name: Some("Mia".into()), state: State::Suspended, ..found };
    world.commit(vec![Row::Person(changed.clone())]).await.expect("committed");
    stale(world.commit(vec![Row::Person(changed)]).await);
    let found = world.store.person(world.org, Lookup::Id(mia.id)).await.expect("read");
    let found = found.expect("there");
    assert_eq!((found.name.as_deref(), found.state), (Some("Mia"), State::Suspended));
    let other = found_organization(&world.store, "other").await;
    let foreign = world.store.person(other, Lookup::Id(mia.id)).await.expect("read");
    assert!(foreign.is_none(), "organizations never meet");
}

#[tokio::test]
async fn a_resource_is_read_as_written_and_name_and_audience_are_taken() {
    let world = World::new().await;
    let crm = world.resource("crm").await;
    assert_eq!(taken(world.commit(vec![Row::Resource(resource("crm"))]).await), "name");
    let same_audience = Resource { audience: crm.audience.clone(), ..resource("crm2") };
    assert_eq!(taken(world.commit(vec![Row::Resource(same_audience)]).await), "audience");
    let found = world.store.resource(world.org, Lookup::Name("crm".into())).await.expect("read");
    let found = found.expect("there");
    assert_eq!((found.id, &found.actions), (crm.id, &crm.actions));
    assert_eq!(world.store.revocations_age_min(world.org).await.expect("read"), Some(60));
    let changed = Resource { revocations_age_max: 5, state: State::Suspended, ..found };
    world.commit(vec![Row::Resource(changed.clone())]).await.expect("committed");
    stale(world.commit(vec![Row::Resource(changed)]).await);
    assert_eq!(world.store.revocations_age_min(world.org).await.expect("read"), None);
    let found = world.store.resource(world.org, Lookup::Id(crm.id)).await.expect("read");
    assert_eq!(found.expect("there").revocations_age_max, 5);
    assert_eq!(world.store.resources(world.org, page(10)).await.expect("listed").items.len(), 1);
}

#[tokio::test]
async fn an_agent_is_read_as_written_with_owner_rotation_and_use() {
    let world = World::new().await;
    let (mia, bot) = (person("mia@example.com"), agent("bot", None));
    let bot = Agent { owner: Some(mia.id), ..bot };
    world.commit(vec![Row::Person(mia), Row::Agent(bot.clone())]).await.expect("committed");
    assert_eq!(taken(world.commit(vec![Row::Agent(agent("bot", None))]).await), "name");
    world.credential(Holder::Agent(bot.id)).await;
    let seen = NOW.plus(Duration::from_mins(1));
    for at in [seen, NOW] {
        let used = Use { org: world.org, id: bot.id.any(), at, source: None };
        world.store.record_uses(vec![used]).await.expect("recorded");
    }
    let found = world.store.agent(world.org, Lookup::Name("bot".into()), NOW).await.expect("read");
    let found = found.expect("there");
    assert_eq!(found.owner_email.as_deref(), Some("mia@example.com"));
    assert_eq!(found.last_rotated_at, Some(NOW));
    assert_eq!(found.last_seen_at, Some(seen), "the newest, in whatever order they come");
    assert_eq!(found.version, 1, "use does not change the row");
    let expected = Agent {
        owner_email: found.owner_email.clone(),
        last_seen_at: Some(seen),
        last_rotated_at: Some(NOW),
        look_at: Some(NOW.plus(std::time::Duration::from_hours(23 * 24))),
        credential_made_at: Some(NOW),
        version: 1,
        ..bot.clone()
    };
    assert_eq!(format!("{found:?}"), format!("{expected:?}"));
    let changed = Agent {
        state: AgentState::Suspended,
        permissions: authority("ledger"),
        default_scope: None,
        may_delegate: false,
        token_lifetime: 60,
        purpose: None,
        last_reviewed_at: Some(NOW),
        ..found
    };
    world.commit(vec![Row::Agent(changed.clone())]).await.expect("committed");
    stale(world.commit(vec![Row::Agent(changed.clone())]).await);
    let found = world.store.agent(world.org, Lookup::Id(bot.id), NOW).await.expect("read");
    let changed = Agent { look_at: Some(Time::from_micros(0)), version: 2, ..changed };
    assert_eq!(format!("{:?}", found.expect("there")), format!("{changed:?}"));
}

#[tokio::test]
async fn lists_go_on_from_their_cursor_and_keep_to_their_filters() {
    let world = World::new().await;
    let mut ids = Vec::new();
    for n in 0..5 {
        ids.push(world.agent(&format!("a{n}")).await.id);
    }
    let (store, org) = (&world.store, world.org);
    let first = store.agents(org, page(2)).await.expect("listed").items;
    assert_eq!(first.iter().map(|row| row.id).collect::<Vec<_>>(), ids[..2]);
    let next = Page { cursor: Some(ids[1].to_string()), ..page(10) };
    let rest = store.agents(org, next).await.expect("listed").items;
    assert_eq!(rest.iter().map(|row| row.id).collect::<Vec<_>>(), ids[2..]);
    let suspended = Agent { state: AgentState::Suspended, ..first[0].clone() };
    world.commit(vec![Row::Agent(suspended)]).await.expect("committed");
    let stopped = Page { state: Some("suspended".to_owned()), ..page(10) };
    assert_eq!(store.agents(org, stopped).await.expect("listed").items[0].id, ids[0]);

    let crm = world.resource("crm").await;
    let of_resource = world.credential(Holder::Resource(crm.id)).await;
    let (instance, of_instance) = world.instance(ids[3]).await;
    world.instance(ids[4]).await;
    let by_agent = Page { agent: Some(ids[3]), ..page(10) };
    let found = store.instances(org, by_agent.clone()).await.expect("listed").items;
    assert_eq!(found.iter().map(|row| row.id).collect::<Vec<_>>(), [instance.id]);
    assert_eq!(store.instances(org, page(10)).await.expect("listed").items.len(), 2);
    let found = store.credentials(org, by_agent).await.expect("listed").items;
    assert_eq!(found.iter().map(|row| row.id).collect::<Vec<_>>(), [of_instance.id]);
    let by_resource = Page { resource: Some(crm.id), ..page(10) };
    let found = store.credentials(org, by_resource).await.expect("listed").items;
    assert_eq!(found.iter().map(|row| row.id).collect::<Vec<_>>(), [of_resource.id]);
    assert_eq!(store.credentials(org, page(10)).await.expect("listed").items.len(), 3);
}

#[tokio::test]
async fn instances_and_credentials_are_read_as_written() {
    let world = World::new().await;
    let bot = world.agent("bot").await;
    let (instance, credential) = world.instance(bot.id).await;
    let (store, org) = (&world.store, world.org);
    let from = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));
    let used = |id| Use { org, id, at: NOW, source: Some(from) };
    let uses = vec![used(instance.id.any()), used(credential.id.any())];
    store.record_uses(uses).await.expect("recorded");
    let mut found = store.instance(org, instance.id).await.expect("read").expect("there");
    assert_eq!((found.agent, found.credential), (bot.id, credential.id));
    assert_eq!((found.last_seen_at, found.version), (Some(NOW), 1));
    found.state = InstanceState::Revoked;
    let rows = vec![Row::Instance(found.clone()), Row::EndInstance(instance.id)];
    assert_eq!(world.commit(rows).await.expect("committed").ended, 1);
    stale(world.commit(vec![Row::Instance(found)]).await);
    let found = store.credential(org, credential.id).await.expect("read").expect("there");
    assert_eq!(found.holder, Holder::Instance(instance.id, bot.id));
    assert_eq!((found.state, found.last_used_at), (CredentialState::Revoked, Some(NOW)));
    assert_eq!(found.last_used_from, Some(from));
    assert_eq!(found.version, 2);
    stale(world.commit(vec![Row::Credential(credential)]).await);
    let permissions = vec![AdminPermission::Read, AdminPermission::Audit];
    let admin = Holder::Admin(Administrator::first(permissions));
    let key = world.credential(admin.clone()).await;
    let found = store.credential(org, key.id).await.expect("read").expect("there");
    assert_eq!(found.holder, admin);
}

#[tokio::test]
async fn what_a_user_grants_is_read_as_written_and_found_by_its_id() {
    let world = World::new().await;
    let bot = world.agent("bot").await;
    let (federation, keys) = given::federation("corp");
    let mia = given::person("mia@example.com");
    let rows = [
        Row::Person(mia.clone()),
        Row::Federation(federation.clone()),
        Row::FederationKeys(Box::new(keys)),
    ];
    world.commit(rows.to_vec()).await.expect("committed");
    let grant = given::grant(mia.id, &federation);
    let row = Task { grant: Some(Box::new(grant.clone())), ..task(bot.id) };
    world.commit(vec![Row::Task(row.clone())]).await.expect("committed");
    let (store, org) = (&world.store, world.org);
    let read = async || store.task_with_grant(org, grant.id).await.expect("read");
    let found = read().await.expect("there");
    assert_eq!(format!("{found:?}"), format!("{:?}", Task { version: 1, ..row }));
    let listed = store.tasks(org, Page { limit: 9, ..Page::default() }).await.expect("read");
    assert!(listed.items.iter().any(|task| format!("{task:?}") == format!("{found:?}")));
    let facts = async || store.task_facts(org, found.id).await.expect("read").expect("there");
    assert!(facts().await.grant.as_ref().is_some_and(|grant| !grant.revoked));
    let revoked = DurableGrant { revoked: true, ..grant.clone() };
    let revoked = Task { grant: Some(Box::new(revoked)), ..found.clone() };
    world.commit(vec![Row::Task(revoked)]).await.expect("committed");
    assert!(facts().await.grant.as_ref().is_some_and(|grant| grant.revoked), "not as remembered");
    let elsewhere = OrganizationId::new(9, [9; 10]);
    assert!(store.task_with_grant(elsewhere, grant.id).await.expect("read").is_none());
    // Each suspension is counted, and nothing else is.
    let suspensions = async || {
        let (id, issuer) = (federation.id, federation.issuer.as_str());
        let of_federation = store.federation_facts(org, issuer).await.expect("read");
        let of_person = store.person_facts(org, id, "user-1").await.expect("read");
        (of_person.map(|it| it.suspensions), of_federation.expect("there").suspensions)
    };
    let subject = "user-1".to_owned();
    let identity = Identity { person: mia.id, federation: federation.id, subject, created_at: NOW };
    world.commit(vec![Row::Identity(Box::new(identity))]).await.expect("committed");
    assert_eq!(suspensions().await, (Some(0), 0));
    for (version, (state, counted)) in (1..).zip([
        (State::Suspended, 1),
        (State::Suspended, 1),
        (State::Active, 1),
        (State::Suspended, 2),
    ]) {
        let rows = vec![
            Row::Person(Person { state, version, ..mia.clone() }),
            Row::Federation(Federation { state, version, ..federation.clone() }),
        ];
        world.commit(rows).await.expect("committed");
        assert_eq!(suspensions().await, (Some(counted), counted));
    }
}

#[tokio::test]
async fn a_workload_is_one_instance_until_that_is_over_and_its_rule_is_its_platforms() {
    let world = World::new().await;
    let (store, org) = (&world.store, world.org);
    let bot = world.agent("bot").await;
    let (federation, keys) = given::federation("prod");
    let rows = vec![Row::Federation(federation.clone()), Row::FederationKeys(Box::new(keys))];
    world.commit(rows).await.expect("committed");
    let rules = async || {
        let facts = store.federation_facts(org, &federation.issuer).await.expect("read");
        facts.expect("there").workloads.clone()
    };
    assert!(rules().await.is_empty());
    let made = given::workload(bot.id, federation.id, "pod-1");
    let (rule, instance) = (made.rule.clone(), made.instance.clone());
    let (workload, again) = (made.workload.clone(), made.workload.clone());
    world.commit(made.into_rows()).await.expect("committed");
    // The rule is read as written, by its id and by its platform, which was remembered before.
    let found = store.credential(org, rule.id).await.expect("read").expect("there");
    assert_eq!(format!("{found:?}"), format!("{:?}", Credential { version: 1, ..rule.clone() }));
    let held = rules().await;
    assert_eq!((held.len(), held[0].credential, held[0].agent), (1, rule.id, bot.id));
    assert!(matches!(&rule.proof, Proof::Workload(rule) if **rule == held[0].rule));
    // So is the workload, by what it is called and by nothing else.
    let of = (federation.id, bot.id);
    let read = async |of, name: &'static str| {
        let found = store.workload(org, of, name).await.expect("read");
        found.map(|born| (born.instance, born.state))
    };
    assert_eq!(read(of, "pod-1").await, Some((instance.id, InstanceState::Active)));
    for (of, name) in [
        (of, "pod-2"),
        (of, "POD-1"),
        ((given::federation("other").0.id, bot.id), "pod-1"),
        ((federation.id, given::agent("other", None).id), "pod-1"),
    ] {
        assert_eq!(read(of, name).await, None, "{name}");
    }
    let elsewhere = OrganizationId::new(9, [9; 10]);
    assert!(store.workload(elsewhere, of, "pod-1").await.expect("read").is_none());
    // Another instance takes its place only where it says which one was there.
    let (second, _) = given::instance(bot.id);
    let to = Workload { instance: second.id, born_at: NOW.plus(Duration::from_hours(1)), ..again };
    let stale = vec![Row::Instance(second.clone()), Row::Workload(Box::new(to.clone()))];
    assert!(matches!(world.commit(stale).await, Err(CommitError::Stale)));
    assert_eq!(read(of, "pod-1").await, Some((instance.id, InstanceState::Active)));
    let to = Workload { before: Some(instance.id), ..to };
    let rows = vec![Row::Instance(second.clone()), Row::Workload(Box::new(to))];
    world.commit(rows).await.expect("committed");
    assert_eq!(read(of, "pod-1").await, Some((second.id, InstanceState::Active)));
    // Births are counted since a time, rules while they are live.
    let born = async |at: Time| {
        let room = Room { of: RoomOf::BirthsBy(workload.credential), at, max: 9 };
        store.held_of(org, room).await.expect("counted")
    };
    assert_eq!((born(NOW).await, born(NOW.plus(Duration::from_hours(1))).await), (1, 0));
    let live = async |at: Time| {
        let room = Room { of: RoomOf::RulesOf(federation.id), at, max: 9 };
        store.held_of(org, room).await.expect("counted")
    };
    assert_eq!((live(NOW).await, live(rule.expires_at).await), (1, 0));
    let over = Instance { state: InstanceState::Revoked, version: 1, ..second };
    world.commit(vec![Row::Instance(over.clone())]).await.expect("committed");
    assert_eq!(read(of, "pod-1").await, Some((over.id, InstanceState::Revoked)));
    let ended = Credential { state: CredentialState::Revoked, version: 1, ..rule };
    world.commit(vec![Row::Credential(ended)]).await.expect("committed");
    assert!(rules().await.is_empty(), "not as remembered");
    assert_eq!(live(NOW).await, 0);
}

#[tokio::test]
async fn what_was_born_is_read_as_written_and_ends_with_whoever_stands_before_it() {
    let world = World::new().await;
    let (store, org) = (&world.store, world.org);
    let (bot, worker) = (world.agent("bot").await, world.agent("worker").await);
    let work = task(bot.id);
    world.commit(vec![Row::Task(work.clone())]).await.expect("committed");
    let (parent, asked) = world.instance(bot.id).await;
    let (child, secret) = given::instance(worker.id);
    let born = Born {
        parent: parent.id.any(),
        task: work.id,
        credential: Some(asked.id),
        authority: authority("crm"),
    };
    let expires_at = Some(work.deadline);
    let child = Instance { born: Some(Box::new(born)), expires_at, ..child };
    let rows = vec![Row::Instance(child.clone()), Row::Credential(secret.clone())];
    world.commit(rows).await.expect("committed");
    let read = async || store.instance(org, child.id).await.expect("read").expect("there");
    let expected = Instance { version: 1, ..child.clone() };
    assert_eq!(format!("{:?}", read().await), format!("{expected:?}"));
    let descent = async || {
        let found = store.credential_facts(org, secret.id).await.expect("read").found;
        match &found.expect("there").holder {
            HolderFacts::Instance { descent: Some(descent), .. } => Arc::clone(descent),
            other => panic!("{other:?}"),
        }
    };
    let known = descent().await;
    let before = Actor { agent: bot.id, instance: Some(parent.id) };
    assert_eq!((&known.ancestors, &known.credentials), (&vec![before], &vec![asked.id]));
    assert_eq!((known.task, known.expires_at, known.over), (work.id, work.deadline, false));
    // What is remembered is told of the end of whatever it hangs on.
    let ended = Credential { state: CredentialState::Revoked, ..asked };
    world.commit(vec![Row::Credential(ended)]).await.expect("committed");
    assert!(descent().await.over, "the credential that asked");
    let room = Room { of: RoomOf::BornIn(work.id), at: NOW, max: 9 };
    assert_eq!(store.held_of(org, room).await.expect("read"), 1);
    for target in [work.id.any(), parent.id.any()] {
        let blast = store.rows_below(org, target).await.expect("read");
        let own = u64::from(target == parent.id.any());
        assert_eq!((blast.instances, blast.credentials), (1 + own, 1), "{target}");
    }
    let over = Instance { state: InstanceState::Revoked, ..parent.clone() };
    let rows = vec![Row::Instance(over), Row::EndInstance(parent.id)];
    world.revoke(parent.id.any(), rows).await;
    assert_eq!(read().await.state, InstanceState::Revoked);
    let found = store.credential(org, secret.id).await.expect("read").expect("there");
    assert_eq!(found.state, CredentialState::Revoked);
    assert_eq!(store.held_of(org, room).await.expect("read"), 0);
}

#[tokio::test]
async fn a_process_is_found_by_what_its_node_calls_it_and_ends_with_the_node() {
    let world = World::new().await;
    let (store, org) = (&world.store, world.org);
    let (bot, edge) = (world.agent("bot").await, world.agent("node").await);
    let (node, secret) = given::instance(edge.id);
    let rows = vec![Row::Instance(node.clone()), Row::Credential(secret)];
    world.commit(rows).await.expect("committed");
    let made = given::process(bot.id, (edge.id, node.id), "boot.1.2");
    let (rule, instance) = (made.rule.clone(), made.instance.clone());
    world.commit(made.into_rows()).await.expect("committed");
    // The rule is read as written, by its id and by whose nodes it is on.
    let found = store.credential(org, rule.id).await.expect("read").expect("there");
    assert_eq!(format!("{found:?}"), format!("{:?}", Credential { version: 1, ..rule.clone() }));
    let rules = async |edge, now| {
        let found = store.process_rules(org, edge, now).await.expect("read");
        found.iter().map(|rule| rule.credential).collect::<Vec<_>>()
    };
    assert_eq!(rules(edge.id, NOW).await, [rule.id]);
    assert!(
        rules(bot.id, NOW).await.is_empty() && rules(edge.id, rule.expires_at).await.is_empty()
    );
    let live = Room { of: RoomOf::RulesOfNodes(edge.id), at: NOW, max: 9 };
    assert_eq!(store.held_of(org, live).await.expect("counted"), 1);
    let born =
        Room { of: RoomOf::BirthsBy(rule.id), at: NOW.minus(Duration::from_secs(1)), max: 9 };
    assert_eq!(store.held_of(org, born).await.expect("counted"), 1);
    let read = async |of, name: &'static str| {
        let found = store.process(org, of, name).await.expect("read");
        found.map(|born| (born.instance, born.state, born.rule))
    };
    let of = (node.id, bot.id);
    let expected = Some((instance.id, InstanceState::Active, rule.id));
    assert_eq!(read(of, "boot.1.2").await, expected);
    for (of, name) in
        [(of, "boot.1.3"), ((instance.id, bot.id), "boot.1.2"), ((node.id, edge.id), "boot.1.2")]
    {
        assert_eq!(read(of, name).await, None, "{name}");
    }
    // Its key hangs on both, and is remembered no longer than they stand.
    let key = public_key(Holder::Instance(instance.id, bot.id), "k1");
    world.commit(vec![Row::Credential(key.clone())]).await.expect("committed");
    let facts = async || {
        let found = store.credential_facts(org, key.id).await.expect("read").found;
        match &found.expect("there").holder {
            HolderFacts::Instance { vouched: Some(vouched), .. } => Arc::clone(vouched),
            other => panic!("{other:?}"),
        }
    };
    let vouched = facts().await;
    assert_eq!(
        (vouched.node, vouched.rules.as_slice()),
        (Some((edge.id, node.id)), &[rule.id][..])
    );
    assert!(!vouched.over && vouched.federation.is_none());
    let target = store.rows_below(org, node.id.any()).await.expect("counted");
    assert_eq!((target.instances, target.credentials), (2, 2));
    // The node ends, with all that was born there.
    let over = Instance { state: InstanceState::Revoked, version: 1, ..node.clone() };
    let rows = vec![Row::Instance(over), Row::EndInstance(node.id)];
    world.commit(rows).await.expect("committed");
    assert!(facts().await.over, "not as remembered");
    let gone = Some((instance.id, InstanceState::Revoked, rule.id));
    assert_eq!(read(of, "boot.1.2").await, gone);
    let key = store.credential(org, key.id).await.expect("read").expect("there");
    assert_eq!(key.state, CredentialState::Revoked);
    // A join token reads back, too.
    let token = given::join_token(edge.id);
    world.commit(vec![Row::Credential(token.clone())]).await.expect("committed");
    let found = store.credential(org, token.id).await.expect("read").expect("there");
    assert_eq!(format!("{found:?}"), format!("{:?}", Credential { version: 1, ..token }));
}

#[tokio::test]
async fn where_there_is_no_room_a_change_is_stale() {
    let world = World::new().await;
    let bot = world.agent("bot").await;
    let room = Room { of: RoomOf::Tasks(bot.id), at: NOW, max: 2 };
    let make = async |task: Task| world.commit(vec![Row::Room(room), Row::Task(task)]).await;
    make(task(bot.id)).await.expect("room");
    world
        .commit(vec![Row::Task(Task { deadline: NOW, ..task(bot.id) })])
        .await
        .expect("over already");
    let last = task(bot.id);
    make(last.clone()).await.expect("room");
    stale(make(task(bot.id)).await);
    assert_eq!(world.store.held_of(world.org, room).await.expect("read"), 2);
    let ended = Task { state: TaskState::Ended, version: 1, ..last };
    world.commit(vec![Row::Task(ended)]).await.expect("committed");
    make(task(bot.id)).await.expect("room again");
}

#[tokio::test]
async fn a_task_is_read_as_written_and_ends_with_its_agent() {
    let world = World::new().await;
    let bot = world.agent("bot").await;
    let row = task(bot.id);
    world.commit(vec![Row::Task(row.clone())]).await.expect("committed");
    let read = async || world.store.task(world.org, row.id).await.expect("read").expect("there");
    let found = read().await;
    assert_eq!(format!("{found:?}"), format!("{:?}", Task { version: 1, ..row.clone() }));
    let facts = async || world.store.task_facts(world.org, row.id).await.expect("read");
    assert_eq!(facts().await.expect("there").state, TaskState::Active);
    world.commit(vec![Row::EndAgent(bot.id)]).await.expect("committed");
    assert_eq!(read().await.state, TaskState::Ended);
    assert_eq!(facts().await.expect("there").state, TaskState::Ended, "not as remembered");
    stale(world.commit(vec![Row::Task(found)]).await);
    let elsewhere = OrganizationId::new(9, [9; 10]);
    assert!(world.store.task(elsewhere, row.id).await.expect("read").is_none());
    assert!(world.store.task_facts(elsewhere, row.id).await.expect("read").is_none());
}

#[tokio::test]
async fn a_public_key_has_one_holder_for_ever() {
    let world = World::new().await;
    let (a, b) = (world.agent("a").await, world.agent("b").await);
    let key = public_key(Holder::Agent(a.id), "k1");
    world.commit(vec![Row::Credential(key.clone())]).await.expect("committed");
    let found = world.store.credential(world.org, key.id).await.expect("read").expect("there");
    assert_eq!(found.view(NOW).thumbprint, key.view(NOW).thumbprint);
    assert_eq!(found.view(NOW).kid.as_deref(), Some("k1"));
    let mut ended = found;
    ended.state = CredentialState::Revoked;
    world.commit(vec![Row::Credential(ended)]).await.expect("committed");
    let again = accredit_domain::registry::Credential {
        id: secret(Holder::Agent(b.id)).id,
        holder: Holder::Agent(b.id),
        ..key
    };
    assert_eq!(taken(world.commit(vec![Row::Credential(again.clone())]).await), "key");
    let other = found_organization(&world.store, "other").await;
    let elsewhere = accredit_domain::registry::Credential {
        holder: Holder::Admin(Administrator::first(vec![AdminPermission::Read])),
        ..again
    };
    let rows = vec![Row::Credential(elsewhere)];
    crate::given::commit(&world.store, other, rows, None).await.expect("another organization");
}

#[tokio::test]
async fn signing_keys_are_read_as_written_oldest_first() {
    let world = World::new().await;
    let keys: Vec<_> =
        KeyPurpose::ALL.into_iter().map(|purpose| signing_key(world.org, purpose)).collect();
    let rows = keys.iter().cloned().map(Row::Key).collect();
    world.commit(rows).await.expect("committed");
    let mut found = world.store.signing_keys(world.org).await.expect("read");
    for (found, key) in found.iter().zip(&keys) {
        assert_eq!(found.sealed.id, key.sealed.id);
        assert_eq!(found.sealed.purpose, key.sealed.purpose);
        assert_eq!(found.sealed.public.bytes(), key.sealed.public.bytes());
        assert_eq!(found.sealed.wrapped, key.sealed.wrapped);
        assert_eq!((found.version, found.created_at), (1, NOW));
    }
    let mut first = found.remove(0);
    first.state = KeyState::Revoked;
    first.changed_at = Some(NOW.plus(Duration::from_secs(1)));
    world.commit(vec![Row::Key(first.clone())]).await.expect("committed");
    stale(world.commit(vec![Row::Key(first)]).await);
    let found = world.store.signing_keys(world.org).await.expect("read");
    assert_eq!(found[0].state, KeyState::Revoked);
    assert_eq!(found[0].changed_at, Some(NOW.plus(Duration::from_secs(1))));
}

#[tokio::test]
async fn a_change_is_written_whole_or_not_at_all() {
    let world = World::new().await;
    world.agent("bot").await;
    let mia = person("mia@example.com");
    let rows = vec![Row::Person(mia.clone()), Row::Agent(agent("bot", Some(&mia)))];
    assert_eq!(taken(world.commit(rows).await), "name");
    let found = world.store.person(world.org, Lookup::Id(mia.id)).await.expect("read");
    assert!(found.is_none(), "the person was undone with the agent");
    let orphan = agent("orphan", Some(&person("nobody@example.com")));
    let outcome = world.commit(vec![Row::Agent(orphan)]).await;
    assert!(matches!(outcome, Err(CommitError::Fault(_))), "its owner is not there");
    assert_eq!(crate::log::check_chain(&world.store, world.org).await.len(), 2);
}

#[tokio::test]
async fn the_newest_use_of_each_holder_is_kept_however_many_are_written_at_once() {
    let world = World::new().await;
    let mut bots = Vec::new();
    for number in 0..300 {
        bots.push(world.agent(&format!("bot-{number}")).await.id);
    }
    let at = |id: AgentId, micros| Use {
        org: world.org,
        id: id.any(),
        at: Time::from_micros(micros),
        source: None,
    };
    // More than one chunk, each holder more than once, in one call and in several at a time.
    let up: Vec<_> = (0..900).map(|n| at(bots[n % 300], n as i64)).collect();
    let down: Vec<_> = up.iter().rev().cloned().collect();
    let store = &world.store;
    let (first, second, third) = tokio::join!(
        store.record_uses(down.clone()),
        store.record_uses(up),
        store.record_uses(down)
    );
    for done in [first, second, third] {
        done.expect("recorded");
    }
    for (number, id) in bots.into_iter().enumerate() {
        let found = store.agent(world.org, Lookup::Id(id), NOW).await.expect("read");
        let newest = Time::from_micros(600 + number as i64);
        assert_eq!(found.expect("there").last_seen_at, Some(newest));
    }
}

/// Between a fetch and its write an agent may change: the write sees it in its own transaction.
#[tokio::test]
async fn a_followed_key_is_written_for_the_agent_that_was_seen_alone() {
    let world = World::new().await;
    let bot = world.agent("bot").await;
    let url = "https://keys.example/jwks";
    let follow = |url: &str| Row::Follow(Box::new(Followed::new(bot.id, url.to_owned(), NOW)));
    world.commit(vec![follow(url)]).await.expect("committed");
    let seen = world.store.followed(world.org, bot.id).await.expect("read").expect("there");
    assert_eq!(seen.agent_version, 1);
    let due = world.store.followed_due(world.org, NOW, 9).await.expect("read");
    assert_eq!(due, vec![seen.clone()]);
    let made = || Credential { followed: true, ..public_key(Holder::Agent(bot.id), "k") };
    let key = || vec![Row::StillFollows(Box::new(seen.clone())), Row::Credential(made())];
    world.commit(key()).await.expect("nothing has changed");
    let keys = async || {
        let page = Page { limit: 9, agent: Some(bot.id), ..Page::default() };
        world.store.credentials(world.org, page).await.expect("read").items.len()
    };
    assert_eq!(keys().await, 1);
    world.commit(vec![follow("https://keys.example/other")]).await.expect("committed");
    assert!(matches!(world.commit(key()).await, Err(CommitError::Stale)), "another URL");
    world.commit(vec![follow(url), Row::Agent(bot.clone())]).await.expect("committed");
    assert!(matches!(world.commit(key()).await, Err(CommitError::Stale)), "another version");
    world.commit(vec![Row::Unfollow(bot.id)]).await.expect("committed");
    assert!(matches!(world.commit(key()).await, Err(CommitError::Stale)), "none");
    assert_eq!(keys().await, 1);
}

#[tokio::test]
async fn another_trust_domain_is_read_as_written_followed_and_forgotten() {
    let world = World::new().await;
    let (store, org) = (&world.store, world.org);
    let row = |domain: ForeignDomain| vec![Row::ForeignDomain(Box::new(domain))];
    let endpoint = SpiffeId::parse("spiffe://b.example/bundle").expect("an id");
    let url = "https://b.example/".to_owned();
    let all = [
        ForeignDomain {
            source: Source::ByHand,
            due_at: None,
            agents: vec!["bot".to_owned(), "planner".to_owned()],
            ..given::foreign_domain("a.example")
        },
        ForeignDomain {
            source: Source::Spiffe { url, endpoint },
            failing_since: Some(NOW),
            failure: Some("gone".to_owned()),
            ..given::foreign_domain("b.example")
        },
        ForeignDomain {
            due_at: Some(NOW.minus(Duration::from_secs(1))),
            ..given::foreign_domain("c.example")
        },
    ];
    for domain in &all {
        world.commit(row(domain.clone())).await.expect("committed");
        stale(world.commit(row(domain.clone())).await);
    }
    let all = all.map(|domain| ForeignDomain { version: 1, ..domain });
    assert_eq!(store.foreign_domains(org).await.expect("listed"), all);
    let find = async |domain: &ForeignDomain| {
        store.foreign_domain(org, domain.name.clone()).await.expect("read")
    };
    assert_eq!(find(&all[1]).await.as_ref(), Some(&all[1]));
    let due = async |at| {
        let due = store.foreign_domains_due(org, at, 9).await.expect("read");
        due.into_iter().map(|domain| domain.name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(due(NOW).await, ["c.example", "b.example"], "the longest due first");
    assert_eq!(due(NOW.minus(Duration::from_secs(1))).await, ["c.example"]);

    // A note is of a row as it was seen, and no change of it; a new bundle is one.
    let later = NOW.plus(Duration::from_mins(5));
    let noted = ForeignDomain { due_at: Some(later), fetched_at: later, ..all[2].clone() };
    store.note_foreign_domain(org, noted.clone()).await.expect("noted");
    assert_eq!(find(&all[2]).await, Some(noted.clone()));
    let bundle = Bundle::parse(&noted.name, br#"{"spiffe_sequence":2,"keys":[]}"#);
    let changed = ForeignDomain { bundle: bundle.expect("a bundle"), ..noted.clone() };
    world.commit(row(changed.clone())).await.expect("committed");
    stale(world.commit(row(changed.clone())).await);
    let changed = ForeignDomain { version: 2, ..changed };
    let late = ForeignDomain { failure: Some("late".to_owned()), ..noted.clone() };
    store.note_foreign_domain(org, late).await.expect("nothing is noted");
    assert_eq!(find(&all[2]).await, Some(changed.clone()));

    let other = found_organization(store, "other").await;
    assert_eq!(store.foreign_domains(other).await.expect("listed"), [], "they never meet");
    let end = |domain: &ForeignDomain| vec![Row::EndForeignDomain(Box::new(domain.clone()))];
    stale(world.commit(end(&noted)).await);
    world.commit(end(&changed)).await.expect("committed");
    assert_eq!(find(&all[2]).await, None);
    world.commit(row(given::foreign_domain("c.example"))).await.expect("its name is free");

    for n in 3..FOREIGN_DOMAINS_MAX {
        let name = format!("n{n}.example");
        world.commit(row(given::foreign_domain(&name))).await.expect("committed");
    }
    stale(world.commit(row(given::foreign_domain("z.example"))).await);
}
