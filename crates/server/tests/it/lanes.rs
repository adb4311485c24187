//! A node with lanes of its own: whose slot it takes, and several lanes read as one list.

use std::time::Duration;

use accredit_domain::audit::event::{Body, Event, EventKind};
use accredit_domain::ports::{Audited, Job, Lease, OwnSlot, Slot, UsedUp};
use accredit_server::slots;
use accredit_testkit::{Org, TestWorld};
use accredit_wire::ids::{EventId, OrganizationId};
use serde_json::Value;

type Place = (String, u64, u64);

struct Stage {
    world: TestWorld,
    org: Org,
    id: OrganizationId,
}

impl Stage {
    async fn begin() -> Self {
        let world = TestWorld::shared(5).await;
        let org = world.found("acme").await;
        let id = world.tenant(&org).await.id;
        Self { world, org, id }
    }

    async fn record(&self, seconds: u64) {
        let at = self.world.now().plus(Duration::from_secs(seconds));
        let event = Event::new(EventKind::TokenRefused, at, [7; 16], Body::default());
        let recorded = Audited::new((self.id, UsedUp::NOTHING), event);
        self.world.world.store.record_event(recorded).await.expect("recorded");
    }

    /// All pages of events, each on from the cursor of the one before.
    async fn pages(&self, query: &str, mut after: Option<String>) -> Vec<Place> {
        let mut all = Vec::new();
        loop {
            let place = after.map(|after| format!("&{after}")).unwrap_or_default();
            let path = format!("/v1/events?limit=7{query}{place}");
            let page = self.world.admin(&self.org, "GET", &path, None).await.expect(200).json();
            all.extend(page["items"].as_array().expect("items").iter().map(place_of));
            match page["next"].as_str() {
                Some(next) => after = Some(format!("cursor={next}")),
                None => return all,
            }
        }
    }
}

fn place_of(event: &Value) -> Place {
    let number = |name: &str| event[name].as_u64().expect("a number");
    (event["time"].as_str().expect("a time").to_owned(), number("lane"), number("seq"))
}

#[tokio::test]
async fn a_node_takes_a_slot_that_is_free_and_gives_it_back() {
    let stage = Stage::begin().await;
    let (server, store) = (&stage.world.server, &stage.world.world.store);
    let other = Lease { holder: Some("another".to_owned()), lease: 4, beat: 1 };
    let first = Job::Lane(Slot::ALL[0]);
    assert!(store.move_lease(first, None, other.clone()).await.expect("answered"));
    slots::look(server).await.expect("looked");
    assert_eq!(server.slots.own(), Some(Slot::ALL[1]), "the first is another's");
    slots::look(server).await.expect("looked");
    let held = store.lease(Job::Lane(Slot::ALL[1])).await.expect("read").expect("there");
    assert_eq!((held.lease, held.beat), (1, 1), "it beats");
    // Taken over while this one stood still, it is another's; and there are others.
    let over = Lease { holder: Some("another".to_owned()), lease: 2, beat: 0 };
    let moved = store.move_lease(Job::Lane(Slot::ALL[1]), Some(held), over);
    assert!(moved.await.expect("answered"));
    stage.record(1).await;
    slots::look(server).await.expect("looked");
    assert_eq!(server.slots.own(), Some(Slot::ALL[2]));
    slots::give_back(server).await.expect("given back");
    assert_eq!(server.slots.own(), None);
    let free = store.lease(Job::Lane(Slot::ALL[2])).await.expect("read").expect("there");
    assert_eq!(free.holder, None);
    stage.record(2).await;
    let lanes = store.lanes(stage.id).await.expect("lanes");
    let elsewhere = lanes.iter().filter(|lane| lane.slot.is_some() && lane.sequenced > 0);
    assert_eq!(elsewhere.count(), 0, "nothing went to a lane of somebody else's");
}

#[tokio::test]
async fn several_lanes_are_one_list_by_time_whose_cursors_miss_nothing() {
    let stage = Stage::begin().await;
    slots::look(&stage.world.server).await.expect("looked");
    let own = OwnSlot { slot: stage.world.server.slots.own().expect("a slot"), lease: 1 };
    let store = &stage.world.world.store;
    stage.record(1).await;
    for n in 0..40 {
        store.write_in((n % 3 > 0).then_some(own));
        stage.record(2 + n / 2).await;
    }
    let lanes = store.lanes(stage.id).await.expect("lanes");
    assert_eq!(lanes.iter().map(|lane| lane.slot).collect::<Vec<_>>(), [None, Some(0)]);

    // Whoever reads is recorded once; after that nothing comes.
    stage.pages("", None).await;
    let all = stage.pages("", None).await;
    let lanes = store.lanes(stage.id).await.expect("lanes");
    assert_eq!(all.len() as u64, lanes.iter().map(|lane| lane.sequenced).sum::<u64>());
    assert!(all.is_sorted() && all.windows(2).all(|two| two[0] != two[1]), "{all:?}");
    let mut newest = stage.pages("&sort=-created_at", None).await;
    newest.reverse();
    assert_eq!(newest, all);

    let refused = stage.pages("&type=token.refused", None).await;
    assert!(refused.len() == 41 && refused.is_sorted(), "{refused:?}");
    let mut newest = stage.pages("&type=token.refused&sort=-created_at", None).await;
    newest.reverse();
    assert_eq!(newest, refused);

    // From an event on, whichever lane it is in; and from a lane that began later on.
    for (n, (_, lane, seq)) in all.iter().enumerate() {
        let id = format!("after={}", EventId::at(0, *lane as u16, *seq));
        assert_eq!(stage.pages("", Some(id.clone())).await, all[n + 1..]);
        let mut before = stage.pages("&sort=-created_at", Some(id)).await;
        before.reverse();
        assert_eq!(before, all[..n]);
    }
    let late = format!("after=0.{}", lanes[0].sequenced);
    let of_lane: Vec<_> = all.iter().filter(|(_, lane, _)| *lane == 1).cloned().collect();
    assert_eq!(stage.pages("", Some(late)).await, of_lane);
    let many = (0..65).map(|lane| format!("{lane}.1")).collect::<Vec<_>>().join("-");
    for wrong in ["x", "1.", ".1", "0.1-", "0.1-0.2", "0.1-70000.1", "0.-1", &many] {
        let path = format!("/v1/events?after={wrong}");
        stage.world.admin(&stage.org, "GET", &path, None).await.expect(400);
    }
}
