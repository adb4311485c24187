//! Several nodes on one database: one truth about what has ended, and each hears what the others did.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use accredit_domain::ports::{
    Admissions as _, NotRecorded, Notice, Observer, Registry as _, Row, Store as _,
};
use accredit_domain::registry::State;
use accredit_domain::registry::credential::{Credential, CredentialState, Holder};
use accredit_store::driver::around::{Around, DriverAround, Step};
use accredit_store::driver::{Driver, DriverError};
use accredit_store::{Options, SqlStore};
use accredit_wire::ids::AnyId;

use crate::engine;
use crate::given::{World, commit, issue, revocation, unique};
use crate::log::check_chain;

/// How long somebody who waits for another node's transaction is watched doing so.
pub(crate) const WATCHED: Duration = Duration::from_millis(300);

/// What observers of a node are told.
#[derive(Default)]
pub(crate) struct Told {
    revs: Mutex<Vec<(u64, Option<AnyId>)>>,
    lost: AtomicBool,
}

impl Observer for Told {
    fn committed(&self, notice: &Notice) {
        let target = notice.revocation.as_ref().map(|entry| entry.target);
        self.revs.lock().expect("the list").push((notice.rev, target));
    }

    fn lost(&self) {
        self.lost.store(true, Ordering::SeqCst);
    }
}

impl Told {
    pub(crate) fn by(store: &SqlStore) -> Arc<Self> {
        let told = Arc::new(Self::default());
        store.observe(Arc::clone(&told) as Arc<dyn Observer>);
        told
    }

    pub(crate) fn revoked(&self) -> Vec<(u64, AnyId)> {
        let revs = self.revs.lock().expect("the list");
        revs.iter().filter_map(|(rev, target)| Some((*rev, (*target)?))).collect()
    }
}

/// Another node on the database of a world.
pub(crate) fn node(world: &World) -> Arc<SqlStore> {
    crate::given::open(&world.folder)
}

/// Holds the writer between its last statement and its COMMIT.
#[derive(Default)]
pub(crate) struct Gate {
    state: Mutex<(bool, bool)>,
    moved: Condvar,
}

impl Gate {
    pub(crate) fn shut(&self) {
        *self.state.lock().expect("the state") = (true, false);
    }

    pub(crate) fn open(&self) {
        self.state.lock().expect("the state").0 = false;
        self.moved.notify_all();
    }

    /// Waits until a batch stands before its COMMIT.
    pub(crate) fn is_reached(&self) {
        let state = self.state.lock().expect("the state");
        drop(self.moved.wait_while(state, |(_, reached)| !*reached).expect("the state"));
    }
}

impl Around for Gate {
    fn writing<T: Default>(
        &self,
        step: Step,
        run: impl FnOnce() -> Result<T, DriverError>,
    ) -> Result<T, DriverError> {
        if step == Step::Commit {
            let mut state = self.state.lock().expect("the state");
            if state.0 {
                state.1 = true;
                self.moved.notify_all();
                drop(self.moved.wait_while(state, |(shut, _)| *shut).expect("the state"));
            }
        }
        run()
    }
}

pub(crate) fn gated(world: &World) -> (Arc<SqlStore>, Arc<Gate>) {
    gated_on(engine::driver(&world.folder))
}

pub(crate) fn gated_on(driver: Arc<dyn Driver>) -> (Arc<SqlStore>, Arc<Gate>) {
    let gate = Arc::new(Gate::default());
    let driver: Arc<dyn Driver> = Arc::new(DriverAround::new(driver, Arc::clone(&gate)));
    (SqlStore::open_on(driver, &Options::default()).expect("a node"), gate)
}

#[tokio::test]
async fn what_another_node_revoked_overtakes_an_issuance_and_is_known_when_that_is_said() {
    let world = World::new().await;
    let (dead, alive) = (world.agent("dead").await.id.any(), world.agent("alive").await.id.any());
    let other = node(&world);
    let told = Told::by(&other);
    issue(&other, world.org, vec![dead], 0, None).await.expect("before");
    assert_eq!(world.revoke(dead, Vec::new()).await.rev, 1);
    match issue(&other, world.org, vec![dead], 0, None).await {
        Err(NotRecorded::Overtaken(id)) => assert_eq!(id, dead),
        other => panic!("{other:?}"),
    }
    assert_eq!(told.revoked(), [(1, dead)], "whoever decides again knows why");
    issue(&other, world.org, vec![alive], 0, None).await.expect("another lineage");
    let leaves = check_chain(&world.store, world.org).await;
    assert_eq!(leaves.iter().filter(|leaf| leaf.kind == "token.issued").count(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revocation_waits_for_a_batch_before_its_commit_and_comes_after_it() {
    let world = World::new().await;
    let agent = world.agent("a").await.id.any();
    let (other, gate) = gated(&world);
    gate.shut();
    let (org, issuing) = (world.org, Arc::clone(&other));
    let issued = tokio::spawn(async move { issue(&issuing, org, vec![agent], 0, None).await });
    tokio::task::block_in_place(|| gate.is_reached());
    let store = Arc::clone(&world.store);
    let mut revoked = tokio::spawn(async move {
        commit(&store, org, Vec::new(), Some(revocation(agent))).await.expect("committed").rev
    });
    assert!(tokio::time::timeout(WATCHED, &mut revoked).await.is_err(), "it waits");
    gate.open();
    issued.await.expect("a task").expect("written first");
    assert_eq!(revoked.await.expect("a task"), 1, "and ends that token: its decision saw 0");
    let kinds: Vec<_> =
        check_chain(&world.store, org).await.into_iter().map(|leaf| leaf.kind).collect();
    assert_eq!(kinds[kinds.len() - 2], "token.issued", "{kinds:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_issuance_waits_for_a_revocation_before_its_commit_and_is_overtaken() {
    let world = World::new().await;
    let agent = world.agent("a").await.id.any();
    let (other, gate) = gated(&world);
    gate.shut();
    let (org, revoking) = (world.org, Arc::clone(&other));
    let revoked = tokio::spawn(async move {
        commit(&revoking, org, Vec::new(), Some(revocation(agent))).await.expect("committed").rev
    });
    tokio::task::block_in_place(|| gate.is_reached());
    let store = Arc::clone(&world.store);
    let mut issued = tokio::spawn(async move { issue(&store, org, vec![agent], 0, None).await });
    assert!(tokio::time::timeout(WATCHED, &mut issued).await.is_err(), "it waits");
    gate.open();
    assert_eq!(revoked.await.expect("a task"), 1);
    assert!(
        matches!(issued.await.expect("a task"), Err(NotRecorded::Overtaken(id)) if id == agent)
    );
    let leaves = check_chain(&world.store, org).await;
    assert!(leaves.iter().all(|leaf| leaf.kind != "token.issued"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_write_one_chain_and_all_hear_every_revocation_in_its_order() {
    const EACH: u64 = 40;
    let world = World::new().await;
    let agent = world.agent("a").await.id.any();
    let nodes = [Arc::clone(&world.store), node(&world), node(&world)];
    let told: Vec<_> = nodes.iter().map(|node| Told::by(node)).collect();
    let mut tasks = Vec::new();
    for store in &nodes {
        for n in 0..EACH {
            let (store, org) = (Arc::clone(store), world.org);
            tasks.push(tokio::spawn(async move {
                if n % 4 == 0 {
                    let entry = Some(revocation(agent));
                    commit(&store, org, Vec::new(), entry).await.expect("committed");
                } else {
                    // Of a lineage that nothing ends: it is never overtaken.
                    let other = accredit_wire::ids::TokenId::new(1, unique()).any();
                    issue(&store, org, vec![other], 0, None).await.expect("issued");
                }
            }));
        }
    }
    for task in tasks {
        task.await.expect("a task");
    }
    let leaves = check_chain(&world.store, world.org).await;
    let issued = leaves.iter().filter(|leaf| leaf.kind == "token.issued").count() as u64;
    assert_eq!(issued, 3 * EACH * 3 / 4);
    let all: Vec<_> = (1..=3 * EACH / 4).map(|rev| (rev, agent)).collect();
    for (node, told) in nodes.iter().zip(&told) {
        node.catch_up().await.expect("caught up");
        assert_eq!(told.revoked(), all, "each once, in order");
        assert!(!told.lost.load(Ordering::SeqCst));
    }
}

#[tokio::test]
async fn what_is_kept_in_memory_is_another_nodes_change_until_it_is_caught_up_with() {
    let world = World::new().await;
    let agent = world.agent("a").await;
    let own = world.credential(Holder::Agent(agent.id)).await;
    let other = node(&world);
    let told = Told::by(&other);
    let state = async || {
        let found = other.credential_facts(world.org, own.id).await.expect("read");
        found.found.expect("there").revoked
    };
    assert!(!state().await);
    let ended = Credential { state: CredentialState::Revoked, ..own.clone() };
    world.revoke(own.id.any(), vec![Row::Credential(ended)]).await;
    assert!(!state().await, "from memory: the fence is what holds meanwhile");
    other.catch_up().await.expect("caught up");
    assert!(state().await);
    assert_eq!(told.revoked(), [(1, own.id.any())]);

    let key = accredit_domain::ports::Lookup::Id(world.org);
    let mut org = world.store.organization(key).await.expect("read").expect("there");
    org.state = State::Suspended;
    world.revoke(world.org.any(), vec![Row::Organization(org)]).await;
    other.catch_up().await.expect("caught up");
    assert_eq!(told.revoked().last(), Some(&(2, world.org.any())));
}

#[tokio::test]
async fn a_node_that_missed_what_is_kept_no_more_forgets_everything() {
    let world = World::new().await;
    let agent = world.agent("a").await;
    let other = node(&world);
    let told = Told::by(&other);
    other.agent_facts(world.org, agent.id).await.expect("read");
    let changed = accredit_domain::registry::Agent { token_lifetime: 77, ..agent.clone() };
    world.commit(vec![Row::Agent(changed)]).await.expect("committed");
    world.revoke(agent.id.any(), Vec::new()).await;
    engine::script(
        &world.folder,
        "DELETE FROM change WHERE place < (SELECT place FROM change_head)",
    );
    other.catch_up().await.expect("caught up");
    assert!(told.lost.load(Ordering::SeqCst));
    let facts = other.agent_facts(world.org, agent.id).await.expect("read").expect("there");
    assert_eq!(facts.token_lifetime, 77);
    world.revoke(agent.id.any(), Vec::new()).await;
    other.catch_up().await.expect("caught up");
    assert_eq!(told.revoked(), [(2, agent.id.any())], "and goes on from there");
}

/// What a node holds when it is stopped for good is let go, and what it then does is undone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_stands_still_in_a_batch_holds_nobody_up_and_writes_nothing_when_it_goes_on() {
    let world = World::new().await;
    let agent = world.agent("a").await.id.any();
    let (stopped, gate) = gated(&world);
    gate.shut();
    let (org, issuing) = (world.org, Arc::clone(&stopped));
    let issued = tokio::spawn(async move { issue(&issuing, org, vec![agent], 0, None).await });
    tokio::task::block_in_place(|| gate.is_reached());
    assert_eq!(world.revoke(agent, Vec::new()).await.rev, 1, "the other goes on");
    gate.open();
    assert!(issued.await.expect("a task").is_err());
    let refused = issue(&stopped, org, vec![agent], 0, None).await;
    assert!(matches!(refused, Err(NotRecorded::Overtaken(_))), "{refused:?}");
    issue(&stopped, org, vec![agent], 1, None).await.expect("decided again");
    let leaves = check_chain(&world.store, org).await;
    assert_eq!(leaves.iter().filter(|leaf| leaf.kind == "token.issued").count(), 1);
}

#[tokio::test]
async fn a_node_whose_root_key_another_one_has_replaced_knows_nothing_any_more() {
    let world = World::new().await;
    let other = node(&world);
    other.catch_up().await.expect("caught up");
    // As a batch with a new root key writes it.
    let rewrapped = "UPDATE change_head SET place = place + 1; \
         INSERT INTO change (place, rev, at, what, tags, credentials) \
         SELECT place, 0, 0, 64, '', '[]' FROM change_head";
    engine::script(&world.folder, rewrapped);
    for _ in 0..2 {
        let fault = other.catch_up().await.expect_err("it opens nothing");
        assert!(fault.to_string().contains("root key"), "{fault}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_nodes_that_make_the_next_key_at_the_same_time_one_comes_too_late() {
    use accredit_domain::keys::{KeyPurpose, KeyState, SigningKey};
    let world = World::new().await;
    let other = node(&world);
    let next = || {
        let key = crate::given::signing_key(world.org, KeyPurpose::Token);
        vec![Row::Key(SigningKey { state: KeyState::Next, ..key })]
    };
    let (here, there) = tokio::join!(
        commit(&world.store, world.org, next(), None),
        commit(&other, world.org, next(), None)
    );
    assert_eq!(usize::from(here.is_ok()) + usize::from(there.is_ok()), 1, "{here:?} {there:?}");
    let late = if here.is_ok() { there } else { here };
    assert!(matches!(late, Err(accredit_domain::ports::CommitError::Stale)));
}
