//! The places of tokens in status lists: written with the event or not at all, and gone when over.

use std::time::Duration;

use accredit_domain::audit::event::{Body, EventKind};
use accredit_domain::ports::{
    Audited, Issuance, Ledger as _, NotRecorded, StatusLists as _, StatusPlace, UsedUp,
};
use accredit_domain::status_list::ListId;
use accredit_wire::ids::{AgentId, AnyId, Kind};

use crate::given::{NOW, World, event, found_organization, unique};

pub(crate) const LIST: ListId = ListId { generation: 1, number: 7 };

pub(crate) fn place(index: u32) -> StatusPlace {
    StatusPlace { list: LIST, index, until: NOW.plus(Duration::from_mins(6)) }
}

pub(crate) async fn issue(
    world: &World,
    lineage: &[AnyId],
    rev: u64,
    place: StatusPlace,
) -> Result<(), NotRecorded> {
    let (org, lineage) = (world.org, lineage.to_vec());
    let (used_up, status) = (UsedUp::NOTHING, Some(place));
    let issuance = Issuance { org, lineage, rev, used_up, status, certificate: None };
    let issued = event(EventKind::TokenIssued, Body::default());
    world.store.record_issuance(Audited::new(issuance, issued)).await
}

async fn indexes(world: &World, from: u32, limit: usize) -> Vec<u32> {
    let rows = world.store.listed_tokens(world.org, LIST, from, limit).await.expect("read");
    rows.iter().map(|row| row.index).collect()
}

#[tokio::test]
async fn what_was_written_is_read_in_order_and_by_its_own_organization_alone() {
    let world = World::new().await;
    let (agent, key) = (AgentId::new(1, unique()).any(), world.org.any());
    world.revoke(AgentId::new(1, unique()).any(), Vec::new()).await;
    for index in [9, 131_071, 0, 500] {
        issue(&world, &[agent, key], 1, place(index)).await.expect("issued");
    }
    assert_eq!(indexes(&world, 0, 10).await, [0, 9, 500, 131_071]);
    assert_eq!(indexes(&world, 1, 2).await, [9, 500]);
    let rows = world.store.listed_tokens(world.org, LIST, 0, 1).await.expect("read");
    assert_eq!((rows[0].rev, &*rows[0].lineage), (1, &[agent, key][..]));
    let other = found_organization(&world.store, "other").await;
    assert!(world.store.listed_tokens(other, LIST, 0, 10).await.expect("read").is_empty());
    let another = StatusPlace { list: ListId { number: 6, ..LIST }, ..place(1) };
    issue(&world, &[agent], 1, another).await.expect("issued");
    let lists = world.store.status_lists(world.org, 10).await.expect("read");
    assert_eq!(lists, [another.list, LIST]);
    assert_eq!(world.store.status_lists(world.org, 1).await.expect("read"), [another.list]);
    assert!(world.store.status_lists(other, 10).await.expect("read").is_empty());
}

#[tokio::test]
async fn no_place_is_given_twice_and_a_token_that_is_not_issued_has_none() {
    let world = World::new().await;
    let agent = AgentId::new(1, unique()).any();
    issue(&world, &[agent], 0, place(3)).await.expect("issued");
    assert!(matches!(issue(&world, &[agent], 0, place(3)).await, Err(NotRecorded::Fault(_))));
    world.revoke(agent, Vec::new()).await;
    assert!(matches!(issue(&world, &[agent], 0, place(4)).await, Err(NotRecorded::Overtaken(_))));
    assert_eq!(indexes(&world, 0, 10).await, [3]);
    // Both members in one savepoint each: what was refused left no leaf behind.
    issue(&world, &[agent], 1, place(5)).await.expect("issued");
    assert_eq!(agent.kind(), Kind::Agent);
    let world = world.reopened();
    assert_eq!(indexes(&world, 0, 10).await, [3, 5]);
}

#[tokio::test]
async fn a_place_is_forgotten_when_it_is_over_and_not_before() {
    let world = World::new().await;
    let agent = AgentId::new(1, unique()).any();
    let later = StatusPlace { until: place(0).until.plus(Duration::from_secs(1)), ..place(2) };
    for place in [place(1), later] {
        issue(&world, &[agent], 0, place).await.expect("issued");
    }
    world.store.forget_before(place(1).until).await.expect("forgotten");
    assert_eq!(indexes(&world, 0, 10).await, [1, 2]);
    world.store.forget_before(later.until).await.expect("forgotten");
    assert_eq!(indexes(&world, 0, 10).await, [2]);
}
