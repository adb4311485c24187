//! Nodes with lanes of their own: they issue beside each other, and what ends something waits for each of
//! them and is waited for, under every isolation that an engine may have.

use std::sync::Arc;

use accredit_domain::audit::checkpointed::{OtherLanes, Pen};
use accredit_domain::audit::event::{Body, Event, EventKind};
use accredit_domain::ports::{
    Audited, Fence, Integrated, Job, Lease, Leases as _, Log as _, Lookup, NotRecorded, OwnSlot,
    Registry as _, Revocations as _, Slot,
};
use accredit_domain::restoration::first_rev;
use accredit_store::driver::Driver;
use accredit_store::driver::postgres::{Isolation, PostgresDriver};
use accredit_store::{Options, SqlStore};
use accredit_wire::ids::{AnyId, OrganizationId};
use accredit_wire::tlog::Hash;
use accredit_wire::tlog::checkpoint::Checkpoint;
use accredit_wire::tlog::claim::Claim;
use tokio::task::JoinHandle;

use crate::given::{NOW, World, commit, issue, revocation};
use crate::leases::lease;
use crate::log::{check_chain, generation};
use crate::nodes::{Gate, WATCHED, gated_on};
use crate::server;

const ALL: [Isolation; 3] =
    [Isolation::ReadCommitted, Isolation::RepeatableRead, Isolation::Serializable];

type Issued = JoinHandle<Result<accredit_wire::ids::TokenId, NotRecorded>>;

fn driver(world: &World, isolation: Isolation) -> Arc<dyn Driver> {
    let driver = PostgresDriver::new(server::database_of(&world.folder)).expect("a driver");
    Arc::new(driver.isolated(isolation))
}

fn node(world: &World, isolation: Isolation) -> Arc<SqlStore> {
    SqlStore::open_on(driver(world, isolation), &Options::default()).expect("a node")
}

/// Takes a slot that nobody ever had.
async fn take(store: &SqlStore, number: usize, holder: &str) -> Slot {
    let slot = Slot::ALL[number];
    let to = lease(holder, 1, 0);
    let job = OwnSlot { slot, lease: 1 }.fence().job;
    assert!(store.move_lease(job, None, to).await.expect("answered"));
    store.write_in(Some(OwnSlot { slot, lease: 1 }));
    slot
}

/// Takes a slot over.
async fn take_over(store: &SqlStore, slot: Slot, seen: Lease, holder: &str) {
    let job = OwnSlot { slot, lease: 1 }.fence().job;
    let to = lease(holder, seen.lease + 1, 0);
    let number = to.lease;
    assert!(store.move_lease(job, Some(seen), to).await.expect("answered"));
    store.write_in(Some(OwnSlot { slot, lease: number }));
}

/// A node with a slot, which has a lane already, and a gate before its commits.
async fn with_lane(
    world: &World,
    isolation: Isolation,
    number: usize,
) -> (Arc<SqlStore>, Arc<Gate>) {
    let (store, gate) = gated_on(driver(world, isolation));
    take(&store, number, &format!("node-{number}")).await;
    let rev = 0;
    for _ in 0..2 {
        // The first begins the lane, in the one that all share.
        issue(&store, world.org, vec![other()], rev, None).await.expect("issued");
    }
    (store, gate)
}

/// An id that nothing ends.
fn other() -> AnyId {
    accredit_wire::ids::TokenId::new(1, crate::given::unique()).any()
}

fn issuing(store: &Arc<SqlStore>, org: OrganizationId, agent: AnyId) -> Issued {
    let store = Arc::clone(store);
    tokio::spawn(async move { issue(&store, org, vec![agent], 0, None).await })
}

/// How many tokens were issued in each lane, by slot.
async fn issued(world: &World) -> Vec<(Option<u16>, usize)> {
    check_chain(&world.store, world.org).await;
    let mut all = Vec::new();
    for head in world.store.lanes(world.org).await.expect("lanes") {
        let leaves = world.store.leaves(world.org, head.lane, 0, 1000).await.expect("leaves");
        let count = leaves.iter().filter(|leaf| leaf.kind == "token.issued").count();
        all.push((head.slot, count));
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_with_lanes_of_their_own_do_not_wait_for_each_other() {
    let world = World::new().await;
    let (first, gate) = with_lane(&world, Isolation::default(), 0).await;
    let (second, _) = with_lane(&world, Isolation::default(), 1).await;
    assert_eq!(issued(&world).await, [(None, 2), (Some(0), 1), (Some(1), 1)]);
    gate.shut();
    let waiting = issuing(&first, world.org, other());
    tokio::task::block_in_place(|| gate.is_reached());
    for _ in 0..3 {
        issue(&second, world.org, vec![other()], 0, None).await.expect("beside it");
    }
    world.agent("changed").await;
    gate.open();
    waiting.await.expect("a task").expect("issued");
    assert_eq!(issued(&world).await, [(None, 2), (Some(0), 2), (Some(1), 4)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revocation_waits_for_what_is_issued_in_each_lane_and_ends_it() {
    for isolation in ALL {
        let world = World::new().await;
        let agent = world.agent("a").await.id.any();
        let (first, gate) = with_lane(&world, isolation, 0).await;
        let revoker = node(&world, isolation);
        gate.shut();
        let waiting = issuing(&first, world.org, agent);
        tokio::task::block_in_place(|| gate.is_reached());
        let (store, org) = (Arc::clone(&revoker), world.org);
        let mut revoked = tokio::spawn(async move {
            commit(&store, org, Vec::new(), Some(revocation(agent))).await.expect("committed").rev
        });
        assert!(tokio::time::timeout(WATCHED, &mut revoked).await.is_err(), "{isolation:?}");
        gate.open();
        waiting.await.expect("a task").expect("it came first, by a decision that saw 0");
        assert_eq!(revoked.await.expect("a task"), 1, "{isolation:?}: and that ends it");
        let late = issue(&first, world.org, vec![agent], 0, None).await;
        assert!(matches!(late, Err(NotRecorded::Overtaken(_))), "{isolation:?}: {late:?}");
        issue(&first, world.org, vec![other()], 0, None).await.expect("another lineage");
        assert_eq!(issued(&world).await, [(None, 1), (Some(0), 3)], "{isolation:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_issued_in_a_lane_of_its_own_waits_for_a_revocation_and_is_overtaken() {
    for isolation in ALL {
        let world = World::new().await;
        let agent = world.agent("a").await.id.any();
        let (first, _) = with_lane(&world, isolation, 0).await;
        let (revoker, gate) = gated_on(driver(&world, isolation));
        gate.shut();
        let (store, org) = (Arc::clone(&revoker), world.org);
        let revoked = tokio::spawn(async move {
            commit(&store, org, Vec::new(), Some(revocation(agent))).await.expect("committed").rev
        });
        tokio::task::block_in_place(|| gate.is_reached());
        let mut late = issuing(&first, world.org, agent);
        assert!(tokio::time::timeout(WATCHED, &mut late).await.is_err(), "{isolation:?}");
        gate.open();
        assert_eq!(revoked.await.expect("a task"), 1);
        let late = late.await.expect("a task");
        assert!(matches!(late, Err(NotRecorded::Overtaken(id)) if id == agent), "{isolation:?}");
        assert_eq!(issued(&world).await, [(None, 1), (Some(0), 1)], "{isolation:?}");
    }
}

/// A lane that begins while something is ended is not one that nobody has told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lane_that_begins_beside_a_revocation_knows_of_it() {
    for isolation in ALL {
        let world = World::new().await;
        let agent = world.agent("a").await.id.any();
        let (first, gate) = gated_on(driver(&world, isolation));
        take(&first, 0, "a").await;
        let revoker = node(&world, isolation);
        gate.shut();
        // It begins the lane, and is written in the one that all share.
        let waiting = issuing(&first, world.org, other());
        tokio::task::block_in_place(|| gate.is_reached());
        let (store, org) = (Arc::clone(&revoker), world.org);
        let mut revoked = tokio::spawn(async move {
            commit(&store, org, Vec::new(), Some(revocation(agent))).await.expect("committed").rev
        });
        assert!(tokio::time::timeout(WATCHED, &mut revoked).await.is_err(), "{isolation:?}");
        gate.open();
        waiting.await.expect("a task").expect("issued");
        assert_eq!(revoked.await.expect("a task"), 1, "{isolation:?}");
        let late = issue(&first, world.org, vec![agent], 0, None).await;
        assert!(matches!(late, Err(NotRecorded::Overtaken(_))), "{isolation:?}: {late:?}");
        issue(&first, world.org, vec![other()], 1, None).await.expect("issued");
        assert_eq!(issued(&world).await, [(None, 1), (Some(0), 1)], "{isolation:?}");
    }
}

#[tokio::test]
async fn a_node_whose_slot_was_taken_over_writes_to_the_lane_that_all_share() {
    let world = World::new().await;
    let (first, _) = with_lane(&world, Isolation::default(), 0).await;
    let second = node(&world, Isolation::default());
    take_over(&second, Slot::ALL[0], lease("node-0", 1, 0), "b").await;
    issue(&first, world.org, vec![other()], 0, None).await.expect("run again there");
    assert_eq!(issued(&world).await, [(None, 2), (Some(0), 1)]);
    issue(&second, world.org, vec![other()], 0, None).await.expect("in the lane taken over");
    issue(&first, world.org, vec![other()], 0, None).await.expect("it knows by now");
    assert_eq!(issued(&world).await, [(None, 3), (Some(0), 2)]);
    // Given back, it is nobody's.
    let free = Lease { holder: None, ..lease("b", 2, 0) };
    let job = OwnSlot { slot: Slot::ALL[0], lease: 2 }.fence().job;
    assert!(second.move_lease(job, Some(lease("b", 2, 0)), free).await.expect("answered"));
    issue(&second, world.org, vec![other()], 0, None).await.expect("issued");
    assert_eq!(issued(&world).await, [(None, 4), (Some(0), 2)]);
}

/// One that is stopped in the middle of a batch holds its lane until the database ends its session; what
/// it then does is undone, and the lane goes on under another node.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_holder_that_stood_still_before_its_commit_leaves_no_trace_in_its_lane() {
    let world = World::new().await;
    let agent = world.agent("a").await.id.any();
    let (stopped, gate) = with_lane(&world, Isolation::default(), 0).await;
    gate.shut();
    let waiting = issuing(&stopped, world.org, agent);
    tokio::task::block_in_place(|| gate.is_reached());
    let second = node(&world, Isolation::default());
    take_over(&second, Slot::ALL[0], lease("node-0", 1, 0), "b").await;
    issue(&second, world.org, vec![other()], 0, None).await.expect("in the lane taken over");
    assert_eq!(world.revoke(agent, Vec::new()).await.rev, 1);
    gate.open();
    let woken = waiting.await.expect("a task");
    assert!(woken.is_err(), "{woken:?}");
    for _ in 0..2 {
        // Its session was ended: an attempt may find that out first.
        drop(issue(&stopped, world.org, vec![agent], 0, None).await);
    }
    assert_eq!(issued(&world).await, [(None, 1), (Some(0), 2)], "no token of what was ended");
    let again = issue(&stopped, world.org, vec![other()], 1, None).await;
    again.expect("it goes on where all write");
    assert_eq!(issued(&world).await, [(None, 2), (Some(0), 2)]);
}

/// A checkpoint of one leaf of a lane, as it is stored, and what another lane says of it.
async fn signed(world: &World, lane: u16) -> (u16, Claim) {
    let (origin, root) = (format!("id.example/o/acme/log/g1l{lane}"), Hash::new([lane as u8; 32]));
    let claim = Claim { origin: origin.clone(), size: 1, root };
    let note = format!(
        "{}\n\u{2014} {origin} AAAA\n",
        Checkpoint { origin: origin.clone(), size: 1, root }
    );
    let integrated = Integrated { tiles: Vec::new(), size: 1, note };
    assert!(world.store.integrate(world.org, lane, 0, integrated).await.expect("integrated"));
    (lane, claim)
}

/// Has a node say in a lane what another is.
async fn tell(
    store: &SqlStore,
    org: OrganizationId,
    (lane, pen): (u16, Pen),
    claim: &(u16, Claim),
) -> bool {
    let said = OtherLanes { org, lane, pen, claims: vec![claim.clone()] };
    let event = Event::new(EventKind::LogCheckpointed, NOW, [3; 16], Body::default());
    store.record_checkpoints(Audited::new(said, event)).await.expect("answered")
}

#[tokio::test]
async fn a_lane_tells_of_others_by_right_alone_and_only_of_what_was_signed() {
    let world = World::new().await;
    let (org, [own, all]) = (world.org, [Pen::Slot(Slot::ALL[0]), Pen::Turn(None)]);
    let (first, _) = with_lane(&world, Isolation::default(), 0).await;
    let (shared, of_slot) = (signed(&world, 0).await, signed(&world, 1).await);
    assert!(tell(&first, org, (1, own), &shared).await);
    assert!(tell(&world.store, org, (0, all), &of_slot).await);

    // Not in a lane that the batch does not add to; not of what nobody signed.
    assert!(!tell(&first, org, (0, own), &of_slot).await);
    assert!(!tell(&first, org, (1, all), &shared).await);
    assert!(!tell(&world.store, org, (1, own), &shared).await, "it has no slot");
    let larger = Claim { size: 2, ..shared.1.clone() };
    let other_root = Claim { root: Hash::new([9; 32]), ..shared.1.clone() };
    let other_log = Claim { origin: of_slot.1.origin.clone(), ..shared.1.clone() };
    for wrong in [larger, other_root, other_log] {
        assert!(!tell(&first, org, (1, own), &(0, wrong.clone())).await, "{wrong}");
    }

    // Under the lease of the turn, while it is held.
    let turn = |lease| Pen::Turn(Some(Fence { job: Job::Scheduled, lease }));
    assert!(!tell(&world.store, org, (0, turn(1)), &of_slot).await, "nobody has it");
    let taken = world.store.move_lease(Job::Scheduled, None, lease("a", 1, 0)).await;
    assert!(taken.expect("answered"));
    assert!(tell(&world.store, org, (0, turn(1)), &of_slot).await);
    assert!(!tell(&world.store, org, (0, turn(2)), &of_slot).await);

    // A slot that was taken over is not this node's to tell by.
    let second = node(&world, Isolation::default());
    take_over(&second, Slot::ALL[0], lease("node-0", 1, 0), "b").await;
    assert!(!tell(&first, org, (1, own), &shared).await);
    assert!(tell(&second, org, (1, own), &shared).await);

    check_chain(&world.store, org).await;
    let mut told = Vec::new();
    for head in world.store.lanes(org).await.expect("lanes") {
        let leaves = world.store.leaves(org, head.lane, 0, 100).await.expect("leaves");
        told.push(leaves.iter().filter(|leaf| leaf.kind == "log.checkpointed").count());
    }
    assert_eq!(told, [2, 2]);
}

/// Each node tells, in its own lane and in the one that all share, while both issue and things are ended:
/// nobody waits in a circle.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lanes_that_tell_of_each_other_while_things_are_ended_wait_for_nobody_for_ever() {
    let world = World::new().await;
    let org = world.org;
    let mut nodes = Vec::new();
    for number in 0..2 {
        nodes.push(with_lane(&world, Isolation::default(), number).await.0);
    }
    let claims = [signed(&world, 0).await, signed(&world, 1).await, signed(&world, 2).await];
    let telling = nodes.iter().zip(1u16..).map(|(store, lane)| {
        let (store, claims) = (Arc::clone(store), claims.clone());
        tokio::spawn(async move {
            let own = (lane, Pen::Slot(Slot::ALL[usize::from(lane) - 1]));
            let mut told = 0;
            for _ in 0..20 {
                let (in_own, in_shared) = tokio::join!(
                    tell(&store, org, own, &claims[0]),
                    tell(&store, org, (0, Pen::Turn(None)), &claims[usize::from(lane)]),
                );
                told += usize::from(in_own) + usize::from(in_shared);
            }
            told
        })
    });
    let telling: Vec<_> = telling.collect();
    for _ in 0..10 {
        commit(&world.store, org, Vec::new(), Some(revocation(other()))).await.expect("ended");
        issue(&nodes[0], org, vec![other()], rev_of(&world).await, None).await.expect("issued");
    }
    let mut told = 0;
    for task in telling {
        told += task.await.expect("a task");
    }
    // Where both come in one batch it adds to the shared lane alone, and the other says so.
    assert!((40..=80).contains(&told), "{told}");
    check_chain(&world.store, org).await;
}

/// The revocation counter as it stands.
async fn rev_of(world: &World) -> u64 {
    let found = world.store.organization(Lookup::Id(world.org)).await.expect("read");
    found.expect("there").rev
}

#[tokio::test]
async fn nobody_adds_to_a_lane_whose_generation_is_over() {
    let world = World::new().await;
    let (first, _) = with_lane(&world, Isolation::default(), 0).await;
    world.store.begin_generation(generation(world.org, 3)).await.expect("begun");
    let rev = first_rev(3);
    for _ in 0..3 {
        issue(&first, world.org, vec![other()], rev, None).await.expect("issued");
    }
    let lanes = world.store.lanes(world.org).await.expect("lanes");
    let told: Vec<_> = lanes.iter().map(|lane| (lane.lane, lane.generation, lane.slot)).collect();
    assert_eq!(told, [(0, 1, None), (1, 1, Some(0)), (2, 3, None), (3, 3, Some(0))]);
    assert_eq!(issued(&world).await, [(None, 1), (Some(0), 1), (None, 1), (Some(0), 2)]);
}

#[tokio::test]
async fn what_a_revocation_may_end_is_counted_in_all_lanes() {
    let world = World::new().await;
    let agent = world.agent("a").await.id.any();
    let (first, _) = with_lane(&world, Isolation::default(), 0).await;
    let (second, _) = with_lane(&world, Isolation::default(), 1).await;
    for store in [&first, &second, &world.store] {
        issue(store, world.org, vec![agent], 0, None).await.expect("issued");
    }
    assert_eq!(world.store.tokens_below(world.org, agent, NOW).await.expect("read"), 3);
}
