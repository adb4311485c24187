//! What is recorded of refusals: bounded for each client, and counted before authentication.

use std::time::Duration;

use accredit_domain::audit::refusals::{REFUSAL_EVENTS_MAX, REFUSAL_WINDOW};
use accredit_server::jobs;
use accredit_testkit::{Ask, Client, TestWorld};
use serde_json::{Value, json};

use crate::events;

const TOO_MUCH: (&str, &str) = ("scope", "crm:delete");

#[tokio::test]
async fn a_refusal_is_an_event_and_a_flood_of_them_is_a_count() {
    let world = TestWorld::new(3).await;
    let scene = world.scene().await;
    let flood = REFUSAL_EVENTS_MAX as usize + 7;
    for _ in 0..flood {
        let answer = world.token(&scene.org, &scene.client, &[TOO_MUCH]).await;
        answer.refused(400, "invalid_scope", "scope-not-held");
    }
    let recorded = events(&world, &scene.org, "token.refused").await;
    assert_eq!(recorded.len(), REFUSAL_EVENTS_MAX as usize);
    let first = &recorded[0]["payload"];
    assert_eq!(first["actor"]["id"], scene.client.id);
    assert_eq!(first["credential"], scene.client.credential);
    assert_eq!(first["decision"], "deny");
    assert_eq!(first["rule"], "scope-not-held");
    assert_eq!(first["source"]["ip"], "192.0.2.7");
    assert!(recorded.iter().all(|event| event["payload"].get("count").is_none()));
    // Another client has an allowance of its own.
    world.agent(&scene.org, "worker", &["crm:read"]).await;
    let worker = world.agent_secret(&scene.org, "worker", None).await;
    world.token(&scene.org, &worker, &[TOO_MUCH]).await.expect(400);
    let count = events(&world, &scene.org, "token.refused").await.len();
    assert_eq!(count, REFUSAL_EVENTS_MAX as usize + 1);
    // In the next window the first one tells how many were left out.
    world.clock.advance(REFUSAL_WINDOW + Duration::from_micros(1));
    world.token(&scene.org, &scene.client, &[TOO_MUCH]).await.expect(400);
    world.token(&scene.org, &scene.client, &[TOO_MUCH]).await.expect(400);
    let recorded = events(&world, &scene.org, "token.refused").await;
    let [told, after] = &recorded[recorded.len() - 2..] else { panic!("two more") };
    assert_eq!(told["payload"]["count"], 7);
    assert!(after["payload"].get("count").is_none());
}

#[tokio::test]
async fn failed_authentication_is_counted_and_becomes_one_event() {
    let world = TestWorld::new(3).await;
    let scene = world.scene().await;
    let wrong = Client { secret: "acr_agent_wrong".to_owned(), ..scene.client.clone() };
    for _ in 0..5 {
        let answer = world.token(&scene.org, &wrong, &[("scope", "crm:read")]).await;
        answer.refused(401, "invalid_client", "client-authentication");
    }
    let stranger = Client { id: "nobody\u{20}<b>".to_owned(), ..wrong };
    world.token(&scene.org, &stranger, &[]).await.expect(401);
    assert!(events(&world, &scene.org, "authentication.failed").await.is_empty());
    jobs::flush_all(&world.server).await;
    let recorded = events(&world, &scene.org, "authentication.failed").await;
    let counts = |client: &str| -> Vec<&Value> {
        let of = recorded.iter().filter(|event| event["payload"]["client"] == client);
        of.map(|event| &event["payload"]["count"]).collect()
    };
    assert_eq!(counts(&scene.client.id), [5], "{recorded:?}");
    assert_eq!(counts("nobodyb"), [1], "stripped of what is not plain: {recorded:?}");
    assert_eq!(recorded.len(), 2);
    assert!(recorded.iter().all(|event| event["payload"]["source"]["ip"] == "192.0.2.0"));
    assert!(!format!("{recorded:?}").contains("acr_agent_wrong"), "a secret in the log");
    jobs::flush_all(&world.server).await;
    assert_eq!(events(&world, &scene.org, "authentication.failed").await.len(), 2);
}

#[tokio::test]
async fn a_wrong_administrators_key_is_counted_too() {
    let world = TestWorld::new(3).await;
    let scene = world.scene().await;
    // The right credential with a secret of another kind: well formed, and wrong.
    let mut bent = scene.org.admin.clone();
    let at = bent.len() - 20;
    let other = if bent.as_bytes()[at] == b'0' { "1" } else { "0" };
    bent.replace_range(at..=at, other);
    for secret in [&*bent, "acr_admin_x", "", &scene.client.secret] {
        world.ask(Ask::get("/v1/agents").bearer(secret)).await.problem(401, "admin-key");
    }
    world.ask(Ask::get("/v1/agents")).await.problem(401, "admin-key");
    let twice = Ask::get("/v1/agents").bearer(&scene.org.admin).bearer(&scene.org.admin);
    world.ask(twice).await.problem(401, "admin-key");
}

#[tokio::test]
async fn use_is_noted_outside_of_decisions() {
    let world = TestWorld::new(3).await;
    let scene = world.scene().await;
    let instance = world.instance(&scene.org, "planner", None).await;
    world.advance(5);
    world.token(&scene.org, &instance, &[("scope", "crm:read")]).await.expect(200);
    let path = format!("/v1/instances/{}", instance.instance.expect("one"));
    let seen = world.admin(&scene.org, "GET", &path, None).await.json();
    assert!(seen["last_seen_at"].is_null());
    jobs::flush_all(&world.server).await;
    let seen = world.admin(&scene.org, "GET", &path, None).await.member("last_seen_at");
    assert_eq!(seen, world.now().to_string());
    let agent = world.admin(&scene.org, "GET", "/v1/agents/planner", None).await;
    assert_eq!(agent.member("last_seen_at"), world.now().to_string());
}

#[tokio::test]
async fn what_an_administrator_may_not_do_is_an_event() {
    let world = TestWorld::new(4).await;
    let scene = world.scene().await;
    let asked = json!({"role": "auditor", "purpose": "to look", "expires_in": 3600});
    let made = world.admin(&scene.org, "POST", "/v1/admin-keys", Some(asked)).await.expect(201);
    let auditor = made.member("admin_token");
    let body = json!({"email": "ann@example.com"});
    for _ in 0..REFUSAL_EVENTS_MAX + 3 {
        let ask = Ask::post("/v1/persons").bearer(&auditor).json(&body);
        world.ask(ask).await.problem(403, "not-entitled");
    }
    let recorded = events(&world, &scene.org, "access.refused").await;
    assert_eq!(recorded.len(), REFUSAL_EVENTS_MAX as usize);
    let first = &recorded[0]["payload"];
    assert_eq!(first["actor"], json!({"id": made.member("id"), "kind": "admin"}));
    assert_eq!((&first["name"], &first["rule"]), (&json!("create_person"), &json!("not-entitled")));
    assert_eq!((&first["decision"], &first["source"]["ip"]), (&json!("deny"), &json!("192.0.2.7")));
    // What a decision refuses is as good a reason: nobody makes a key that is wider than theirs.
    let asked = json!({"role": "security", "purpose": "to end", "expires_in": 3600});
    let made = world.admin(&scene.org, "POST", "/v1/admin-keys", Some(asked)).await.expect(201);
    let asked = json!({"role": "owner", "purpose": "to grow", "expires_in": 3600});
    let ask = Ask::post("/v1/admin-keys").bearer(&made.member("admin_token")).json(&asked);
    world.ask(ask).await.problem(403, "not-entitled");
    let recorded = events(&world, &scene.org, "access.refused").await;
    assert_eq!(recorded.last().expect("one more")["payload"]["name"], "create_admin_key");
    // An agent has nothing to look for in the feed.
    let ask = Ask::get(scene.org.path("/revocations")).basic(&scene.client);
    world.ask(ask).await.refused(403, "unauthorized_client", "not-entitled");
    let recorded = events(&world, &scene.org, "access.refused").await;
    assert_eq!(recorded.last().expect("one more")["payload"]["actor"]["id"], scene.client.id);
}

#[tokio::test]
async fn what_is_refused_to_who_has_proved_an_ended_credential_is_an_event() {
    let world = TestWorld::new(5).await;
    let scene = world.scene().await;
    let org = &scene.org;
    let expired = world.agent_secret(org, "planner", Some(60)).await;
    let instance = world.instance(org, "planner", Some(60)).await;
    let key = world.short_key(org, "planner", None, "k", 60).await;
    let crm = world.resource_secret(org, "crm").await;
    world.revoke(org, &scene.client.credential).await.expect("revoked");
    world.revoke(org, &crm.credential).await.expect("revoked");
    world.advance(60);
    let read = [("scope", "crm:read")];
    world.token(org, &expired, &read).await.refused(401, "invalid_client", "credential-expired");
    world.token(org, &scene.client, &read).await.expect(401);
    world.token(org, &instance, &read).await.expect(401);
    let signed = key.assertion(world.now(), "a");
    world.token_by(org, &signed, &read).await.refused(401, "invalid_client", "credential-expired");
    world.token_by(org, &signed, &read).await.expect(401);
    let told: Vec<_> = events(&world, org, "token.refused").await;
    let told: Vec<_> = told.iter().map(|event| &event["payload"]).collect();
    let rules: Vec<_> = told.iter().map(|payload| &payload["rule"]).collect();
    let (expiry, revoked) = ("credential-expired", "credential-revoked");
    assert_eq!(rules, [expiry, revoked, expiry, expiry, expiry]);
    assert_eq!(told[0]["credential"], expired.credential);
    assert_eq!(told[0]["actor"], json!({"id": scene.client.id, "kind": "agent"}));
    assert_eq!(told[3]["method"], "private_key_jwt");
    // At the other doors, too.
    let form = [("token", "x")];
    for path in ["/oauth/introspect", "/oauth/revoke"] {
        let ask = Ask::post(org.path(path)).basic(&crm).form(&form);
        world.ask(ask).await.refused(401, "invalid_client", revoked);
    }
    let feed = Ask::get(org.path("/revocations")).bearer(&crm.secret);
    world.ask(feed).await.refused(401, "invalid_client", revoked);
    let asked = json!({"role": "auditor", "purpose": "to look", "expires_in": 60});
    let admin = world.admin(org, "POST", "/v1/admin-keys", Some(asked)).await.expect(201);
    world.advance(60);
    let ask = || Ask::get("/v1/agents").bearer(&admin.member("admin_token"));
    world.ask(ask()).await.problem(401, expiry);
    let told: Vec<_> = events(&world, org, "access.refused").await;
    let names: Vec<_> = told.iter().map(|event| event["payload"]["name"].clone()).collect();
    assert_eq!(names, ["introspect", "revoke", "revocations_snapshot", "list_agents"], "{told:?}");
    assert_eq!(told[0]["payload"]["credential"], crm.credential);
    // A flood of them is a count, and nothing of it is counted as a stranger's.
    for _ in 0..REFUSAL_EVENTS_MAX * 2 {
        world.ask(ask()).await.problem(401, expiry);
        world.token(org, &expired, &read).await.expect(401);
    }
    let most = REFUSAL_EVENTS_MAX as usize;
    assert_eq!(events(&world, org, "access.refused").await.len(), 3 + most);
    assert_eq!(events(&world, org, "token.refused").await.len(), 5 + most);
    jobs::flush_all(&world.server).await;
    assert!(events(&world, org, "authentication.failed").await.is_empty());
    // A wrong proof of an ended credential is a stranger's.
    let forged = Client { secret: crm.secret, ..expired };
    world.token(org, &forged, &read).await.refused(401, "invalid_client", "client-authentication");
    jobs::flush_all(&world.server).await;
    assert_eq!(events(&world, org, "authentication.failed").await.len(), 1);
}

#[tokio::test]
async fn what_cannot_be_flushed_is_kept_for_the_next_time() {
    let world = TestWorld::new(6).await;
    let scene = world.scene().await;
    let org = &scene.org;
    let wrong = Client { secret: "acr_agent_wrong".to_owned(), ..scene.client.clone() };
    let fail = async |n: usize| {
        for _ in 0..n {
            world.token(org, &wrong, &[("scope", "crm:read")]).await.expect(401);
        }
    };
    world.token(org, &scene.client, &[("scope", "crm:read")]).await.expect(200);
    fail(3).await;
    let path = "/v1/events?limit=1";
    for _ in 0..3 {
        world.admin(org, "GET", path, None).await.expect(200);
    }
    world.advance(120);
    world.faults.disk(Some(accredit_testkit::DiskTrouble::Full));
    jobs::flush_all(&world.server).await;
    fail(2).await;
    jobs::flush_all(&world.server).await;
    world.faults.disk(None);
    // The database fails in the middle: what came before it is written, the rest is kept.
    for commit in [1, 2, 2] {
        world.faults.arm(accredit_testkit::fault::FailAt::BeforeCommit(commit));
        jobs::flush_all(&world.server).await;
        assert!(world.faults.disarm(), "commit {commit}");
    }
    jobs::flush_all(&world.server).await;
    let agent = world.admin(org, "GET", "/v1/agents/planner", None).await.json();
    assert!(agent["last_seen_at"].is_string(), "{agent}");
    let count = |events: Vec<Value>| -> u64 {
        events.iter().filter_map(|event| event["payload"]["count"].as_u64()).sum()
    };
    assert_eq!(count(events(&world, org, "authentication.failed").await), 5);
    // Three reads before, and those of this test's own look since.
    assert!(count(events(&world, org, "log.read").await) >= 4);
}
