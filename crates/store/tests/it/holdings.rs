//! How much an organization has: the counts are what is there, whatever happened to the rows.

use std::time::Duration;

use accredit_domain::Fault;
use accredit_domain::audit::event::{Body, EventKind};
use accredit_domain::ports::{Audited, Change, CommitError, Ledger as _, Registry as _, Row};
use accredit_domain::registry::admin_key::Administrator;
use accredit_domain::registry::credential::{AdminPermission, CredentialState, Holder};
use accredit_domain::registry::instance::InstanceState;
use accredit_domain::registry::quota::{Counted, Quotas, Reached};
use accredit_domain::registry::task::{Task, TaskState};
use accredit_domain::registry::{Credential, Instance};
use accredit_wire::ids::OrganizationId;

use crate::engine;
use crate::given::{
    NOW, World, event, found_organization, instance, person, resource, secret, task,
};

/// Counts of an organization, in the order of [`Counted::ALL`], of a store that nobody has open.
pub(crate) fn counts(folder: &tempfile::TempDir, org: OrganizationId) -> Vec<u64> {
    let org = org.to_string();
    let read = |counted: Counted| {
        let sql = "SELECT held FROM holding WHERE org = $1 AND noun = $2";
        engine::number(folder, sql, [&org, counted.as_str()])
    };
    Counted::ALL.map(read).to_vec()
}

async fn commit(world: &World, quotas: Quotas, rows: Vec<Row>) -> Result<(), CommitError> {
    let change = Change { org: world.org, at: NOW, rows, revocation: None, quotas };
    let event = event(EventKind::AgentUpdated, Body::default());
    world.store.commit(Audited::new(change, event)).await.map(drop)
}

fn reached(outcome: Result<(), CommitError>) -> Reached {
    match outcome {
        Err(CommitError::Reached(reached)) => reached,
        other => panic!("{other:?}"),
    }
}

/// Everything that adds to a count and takes off it.
async fn busy() -> World {
    let world = World::new().await;
    found_organization(&world.store, "other").await;
    let (first, second) = (world.agent("first").await, world.agent("second").await);
    let crm = world.resource("crm").await;
    world.credential(Holder::Resource(crm.id)).await;
    let administrator = Administrator::first(vec![AdminPermission::Read]);
    world.credential(Holder::Admin(administrator)).await;
    for _ in 0..2 {
        world.instance(first.id).await;
        world.instance(second.id).await;
    }
    let revoked = world.credential(Holder::Agent(second.id)).await;
    let (ended, _) = world.instance(second.id).await;
    let (over, goes_on) = (task(second.id), task(second.id));
    let rows = [over.clone(), goes_on, task(first.id)].map(Row::Task);
    world.commit(rows.to_vec()).await.expect("committed");
    world
        .commit(vec![
            Row::Credential(Credential { state: CredentialState::Revoked, ..revoked }),
            Row::Instance(Instance { state: InstanceState::Revoked, ..ended.clone() }),
            Row::EndInstance(ended.id),
            Row::Task(Task { state: TaskState::Ended, version: 1, ..over }),
            Row::EndAgent(first.id),
        ])
        .await
        .expect("committed");
    world
}

#[tokio::test]
async fn the_counts_are_what_is_there() {
    let world = busy().await;
    let (org, folder) = (world.org, world.folder);
    world.store.close();
    // Agents, persons, resources; two instances of the second agent; their secrets and the
    // resource's; the administrator's; a task of the second agent.
    assert_eq!(counts(&folder, org), [2, 2, 1, 2, 3, 1, 0, 1]);
}

#[tokio::test]
async fn what_has_expired_is_taken_off_once_and_revoking_it_takes_nothing_off() {
    let world = World::new().await;
    let bot = world.agent("bot").await;
    let soon = NOW.plus(Duration::from_mins(1));
    let brief = Task { deadline: soon, ..task(bot.id) };
    world.commit(vec![Row::Task(brief)]).await.expect("committed");
    let short = Credential { expires_at: soon, ..secret(Holder::Agent(bot.id)) };
    world.commit(vec![Row::Credential(short.clone())]).await.expect("committed");
    let (instance, key) = instance(bot.id);
    let instance = Instance { expires_at: Some(soon), ..instance };
    world.commit(vec![Row::Instance(instance), Row::Credential(key)]).await.expect("committed");
    let forget = async |world: &World, after: u64| -> Result<(), Fault> {
        world.store.forget_before(NOW.plus(Duration::from_secs(after))).await
    };
    for after in [61, 61, 10, 62] {
        forget(&world, after).await.expect("taken off");
    }
    let found = world.store.credential(world.org, short.id).await.expect("read").expect("there");
    let revoked = Credential { state: CredentialState::Revoked, ..found };
    world.commit(vec![Row::Credential(revoked)]).await.expect("committed");
    let (org, folder) = (world.org, world.folder);
    world.store.close();
    assert_eq!(counts(&folder, org), [1, 1, 0, 0, 1, 0, 0, 0]);
}

#[tokio::test]
async fn one_more_than_there_may_be_is_refused_and_nothing_of_it_is_written() {
    let world = World::new().await;
    let quotas = Quotas::UNLIMITED.with(Counted::Persons, 2).with(Counted::Resources, 1);
    let first = vec![Row::Person(person("a@example.com")), Row::Person(person("b@example.com"))];
    commit(&world, quotas, first).await.expect("two persons");
    let third = vec![Row::Resource(resource("crm")), Row::Person(person("c@example.com"))];
    let refused = reached(commit(&world, quotas, third).await);
    assert_eq!(refused, Reached { counted: Counted::Persons, max: 2 });
    // Neither the resource nor its count is there, and the other organization is not concerned.
    commit(&world, quotas, vec![Row::Resource(resource("crm"))]).await.expect("one resource");
    let refused = reached(commit(&world, quotas, vec![Row::Resource(resource("db"))]).await);
    assert_eq!(refused.counted, Counted::Resources);
    let other = found_organization(&world.store, "other").await;
    let here = World { org: other, store: world.store.clone(), folder: world.folder };
    commit(&here, quotas, vec![Row::Person(person("c@example.com"))]).await.expect("a person");
}

/// Where the maximum is reached, a secret that should be replaced still is.
#[tokio::test]
async fn a_rotation_may_go_over_by_as_much_again() {
    let world = World::new().await;
    let bot = world.agent("bot").await;
    let mut newest = world.credential(Holder::Agent(bot.id)).await;
    let quotas = Quotas::UNLIMITED.with(Counted::Credentials, 1);
    for rotation in 1..3 {
        let next = secret(Holder::Agent(bot.id));
        let old = Credential { successor: Some(next.id), ..newest };
        let rows = vec![Row::Credential(old), Row::Credential(next.clone())];
        let outcome = commit(&world, quotas, rows).await;
        if rotation == 1 {
            outcome.expect("over by one");
        } else {
            assert_eq!(reached(outcome), Reached { counted: Counted::Credentials, max: 1 });
        }
        newest = Credential { version: 1, ..next };
    }
}
