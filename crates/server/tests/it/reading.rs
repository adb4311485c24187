//! Reading the log is an event; and a request's trace stands in what it caused.

use accredit_domain::registry::credential::AdminPermission;
use accredit_testkit::{Ask, TestWorld};
use serde_json::json;

#[tokio::test]
async fn a_reader_is_recorded_once_a_minute_with_a_count() {
    let world = TestWorld::new(81).await;
    let org = world.found("acme").await;
    let auditor = world.admin_with(&org, &[AdminPermission::Audit]).await;
    for path in ["/v1/events", "/v1/events/0", "/v1/events?sort=-created_at&limit=1"] {
        let page = world.ask(Ask::get(path).bearer(&auditor)).await.expect(200);
        let own = path == "/v1/events" && page.text().contains("log.read");
        assert!(!own, "the first page shows its own reading");
    }
    world.ask(Ask::post("/v1/log/fsck").bearer(&auditor)).await.expect(200);
    let reads = crate::events(&world, &org, "log.read").await;
    assert_eq!(reads.len(), 1, "{reads:?}");
    assert_eq!(reads[0]["payload"]["count"], 1);
    assert_eq!(reads[0]["payload"]["actor"]["kind"], "admin");
    assert!(reads[0]["payload"]["request"].is_string());
    // The minute is over: the next read tells of the three before it and of itself.
    world.advance(61);
    world.ask(Ask::get("/v1/events").bearer(&auditor)).await.expect(200);
    let reads = crate::events(&world, &org, "log.read").await;
    let counts: Vec<_> = reads.iter().map(|read| read["payload"]["count"].clone()).collect();
    assert_eq!(counts, [json!(1), json!(1), json!(4)], "auditor, administrator, auditor");
}

#[tokio::test]
async fn reads_that_nothing_follows_are_recorded_by_the_flush() {
    let world = TestWorld::new(82).await;
    let org = world.found("acme").await;
    for _ in 0..5 {
        crate::events(&world, &org, "log.read").await;
    }
    world.advance(61);
    accredit_server::jobs::flush_all(&world.server).await;
    let reads = crate::events(&world, &org, "log.read").await;
    let counts: Vec<_> = reads.iter().map(|read| read["payload"]["count"].clone()).collect();
    assert_eq!(counts, [json!(1), json!(4)]);
}

/// The line: what shows entries, or where the log stands to an auditor, is reading it; checkpoints,
/// proofs and tiles of hashes, which verifiers poll, are not.
#[tokio::test]
async fn bundles_of_entries_and_the_lanes_are_read_and_what_verifiers_poll_is_not() {
    let world = TestWorld::new(85).await;
    let scene = world.scene().await;
    let org = &scene.org;
    accredit_server::jobs::integrate_all(&world.server).await;
    let auditor = world.admin_with(org, &[AdminPermission::Read, AdminPermission::Audit]).await;
    let reads = async || {
        let lane = world.tenant(org).await.id;
        let leaves = world.world.store.leaves(lane, 0, 0, 200).await.expect("leaves");
        leaves.iter().filter(|leaf| leaf.kind == "log.read").count()
    };
    for path in
        ["checkpoint", "consistency?from=1&to=2", "inclusion?index=0&size=2", "tile/0/000.p/2"]
    {
        let path = org.path(&format!("/log/g1l0/{path}"));
        world.ask(Ask::get(path).bearer(&auditor)).await.expect(200);
    }
    assert_eq!(reads().await, 0);
    let missing = org.path("/log/g1l0/tile/entries/077.p/2");
    world.ask(Ask::get(missing).bearer(&auditor)).await;
    assert_eq!(reads().await, 0, "nothing was shown");
    let bundle = org.path("/log/g1l0/tile/entries/000.p/2");
    for path in [bundle.as_str(), "/v1/log", bundle.as_str()] {
        world.ask(Ask::get(path).bearer(&auditor)).await.expect(200);
        assert_eq!(reads().await, 1, "{path}");
        world.advance(20);
    }
    world.advance(21);
    world.ask(Ask::get("/v1/log").bearer(&auditor)).await.expect(200);
    assert_eq!(reads().await, 2);
}

#[tokio::test]
async fn an_unauthorized_reader_is_not_recorded_as_one() {
    let world = TestWorld::new(83).await;
    let org = world.found("acme").await;
    let clerk = world.admin_with(&org, &[AdminPermission::Read]).await;
    world.ask(Ask::get("/v1/events").bearer(&clerk)).await.problem(403, "not-entitled");
    assert!(crate::events(&world, &org, "log.read").await.is_empty());
}

#[tokio::test]
async fn the_trace_of_a_request_stands_in_its_event_and_the_request_id_stays_ours() {
    let world = TestWorld::new(84).await;
    let scene = world.scene().await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let parent = format!("00-{trace}-00f067aa0ba902b7-01");
    let body = json!({"email": "ann@example.com"});
    let ask = || Ask::post("/v1/persons").bearer(&scene.org.admin).header("request-id", "mine");
    let made = world.ask(ask().header("traceparent", &parent).json(&body)).await.expect(201);
    assert!(made.header("request-id").starts_with("req_"));
    let form = [("grant_type", "client_credentials"), ("scope", "crm:read")];
    let ask = Ask::post(scene.org.path("/oauth/token")).basic(&scene.client).form(&form);
    world.ask(ask.header("traceparent", &parent)).await.expect(200);
    let operator = crate::root::operator(&world).await;
    let ask = Ask::post("/v1/root/rotate").bearer(&operator);
    world.ask(ask.header("traceparent", &parent)).await.expect(200);
    for kind in ["person.created", "token.issued", "root_key.rotated"] {
        let events = crate::events(&world, &scene.org, kind).await;
        assert_eq!(events.last().expect("one")["payload"]["trace"], trace, "{kind}");
    }
    let body = json!({"email": "ben@example.com"});
    let broken = Ask::post("/v1/persons").bearer(&scene.org.admin).json(&body);
    world.ask(broken.header("traceparent", "00-nonsense")).await.expect(201);
    let events = crate::events(&world, &scene.org, "person.created").await;
    assert!(events.last().expect("one")["payload"].get("trace").is_none());
}
