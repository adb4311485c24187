//! `/v1/revocations`: what can be ended, what is told, and what is kept.

use accredit_testkit::{Ask, TestWorld};
use accredit_wire::ids::{AgentId, EventId, KeyId, OrganizationId, RevocationId, TokenId};
use serde_json::{Value, json};

const READ: (&str, &str) = ("scope", "crm:read");

#[tokio::test]
async fn the_answer_says_what_was_ended() {
    let world = TestWorld::new(11).await;
    let scene = world.scene().await;
    let org = &scene.org;
    let instance = world.instance(org, "planner", None).await;
    for client in [&scene.client, &instance, &instance] {
        world.token(org, client, &[READ]).await.expect(200);
    }
    let revoke = async |target: &str, reason: &str| {
        let body = json!({"target": target, "reason": reason});
        world.admin(org, "POST", "/v1/revocations", Some(body)).await
    };
    let id = instance.instance.expect("one").to_string();
    let told = revoke(&id, " left on a train ").await.expect(201).json();
    assert_eq!(told["target"], id);
    assert_eq!(told["reason"], "left on a train");
    assert_eq!(told["rev"], 1);
    assert_eq!(told["revoked_at"], world.now().to_string());
    assert_eq!(told["blast"]["instances"], 1);
    assert_eq!(told["blast"]["credentials"], 1);
    assert!(told["blast"]["tokens_at_most"].as_u64().is_some_and(|most| most >= 2), "{told}");
    let agent = scene.planner.id.to_string();
    let told = revoke(&agent, "a test").await.expect(201).json();
    assert_eq!((&told["rev"], &told["blast"]["agents"]), (&json!(2), &json!(1)));
    // The list has them, newest first, and the log has one event for each.
    let page = world.admin(org, "GET", "/v1/revocations", None).await.expect(200).json();
    let targets: Vec<&Value> =
        page["items"].as_array().expect("items").iter().map(|entry| &entry["target"]).collect();
    assert_eq!(targets, [&json!(agent), &json!(id)]);
    let ended = crate::events(&world, org, "instance.revoked").await;
    assert_eq!(ended.len(), 1);
    assert_eq!(ended[0]["payload"]["rev"], 1);
    assert_eq!(ended[0]["payload"]["reason"], "left on a train");
    assert_eq!(ended[0]["payload"]["actor"]["kind"], "admin");
    let shown = world.admin(org, "GET", "/v1/orgs/acme", None).await.json();
    assert_eq!(shown["rev"], 2);
}

#[tokio::test]
async fn what_would_end_is_told_before_and_nothing_ends_by_that() {
    let world = TestWorld::new(11).await;
    let scene = world.scene().await;
    let org = &scene.org;
    let instance = world.instance(org, "planner", None).await;
    world.token(org, &instance, &[READ]).await.expect(200);
    let before = crate::events(&world, org, "").await.len();
    let preview = async |target: &str| {
        world.admin(org, "GET", &format!("/v1/revocations/preview?target={target}"), None).await
    };
    let agent = scene.planner.id.to_string();
    let told = preview(&agent).await.expect(200).json();
    assert_eq!(told["target"], agent);
    let id = instance.instance.expect("one").to_string();
    let below = preview(&id).await.expect(200).json();
    assert_eq!((&below["blast"]["instances"], &below["blast"]["agents"]), (&json!(1), &json!(0)));
    // It is what the revocation then says that it ended.
    for (target, told) in [(&id, below), (&agent, Value::Null)] {
        let body = json!({"target": target, "reason": "a test"});
        let ended = world.admin(org, "POST", "/v1/revocations", Some(body)).await.expect(201);
        if !told.is_null() {
            assert_eq!(ended.json()["blast"], told["blast"]);
        }
    }
    let events = crate::events(&world, org, "").await;
    let kinds: Vec<&Value> = events[before..].iter().map(|event| &event["type"]).collect();
    assert!(
        kinds.iter().all(|kind| !kind.as_str().is_some_and(|kind| kind.contains("preview"))),
        "{kinds:?}"
    );
    // What is not there, or not theirs, cannot be looked at either.
    for (target, status) in [
        ("", 400),
        ("planner", 400),
        (AgentId::new(1, [1; 10]).to_string().as_str(), 404),
        (KeyId::new(1, [1; 10]).to_string().as_str(), 404),
        (OrganizationId::new(1, [1; 10]).to_string().as_str(), 404),
        (EventId::at(1, 0, 1).to_string().as_str(), 400),
    ] {
        assert_eq!(preview(target).await.status, status, "{target}");
    }
}

#[tokio::test]
async fn what_cannot_be_ended_is_refused_and_changes_nothing() {
    let world = TestWorld::new(11).await;
    let scene = world.scene().await;
    let org = &scene.org;
    let revoke = async |target: &str, reason: Value| {
        let body = json!({"target": target, "reason": reason});
        world.admin(org, "POST", "/v1/revocations", Some(body)).await
    };
    let random = world.world.random();
    let event = EventId::at(1, 0, 1).to_string();
    let entry = RevocationId::new(1, random).to_string();
    for target in ["", "planner", "agt_", "tok_zzz", &event, &entry] {
        revoke(target, json!("a test")).await.problem(400, "field-invalid");
    }
    let agent = scene.planner.id.to_string();
    for reason in
        [json!(""), json!("  "), json!("a\nb"), json!("a\u{202e}b"), json!("x".repeat(501))]
    {
        revoke(&agent, reason).await.problem(400, "field-invalid");
    }
    let upper = agent.to_uppercase();
    revoke(&upper, json!("one id has one spelling")).await.problem(400, "field-invalid");
    let mut missing = agent.clone();
    let other = if missing.ends_with('0') { "4" } else { "0" };
    missing.replace_range(missing.len() - 1.., other);
    for noun in ["agt", "ins", "crd", "usr", "res", "key"] {
        let target = missing.replacen("agt", noun, 1);
        revoke(&target, json!("a test")).await.problem(404, "not-found");
    }
    // A key does not end itself.
    let own = org.admin.split('_').nth(2).map(|id| format!("crd_{id}")).expect("an id");
    revoke(&own, json!("a test")).await.problem(409, "state-forbids");
    let shown = world.admin(org, "GET", "/v1/orgs/acme", None).await.json();
    assert_eq!(shown["rev"], 0, "nothing was ended");
    world.token(org, &scene.client, &[READ]).await.expect(200);
    // What is ended for ever is ended once.
    revoke(&scene.client.credential, json!("a test")).await.expect(201);
    revoke(&scene.client.credential, json!("a test")).await.problem(409, "state-forbids");
    // A token is no row: any id of one can be ended, also twice.
    let token = TokenId::new(1, random).to_string();
    revoke(&token, json!("a test")).await.expect(201);
}

#[tokio::test]
async fn entries_are_kept_until_nothing_they_end_can_live() {
    let world = TestWorld::new(11).await;
    let scene = world.scene().await;
    let token = world.token(&scene.org, &scene.client, &[READ]).await.member("access_token");
    world.revoke(&scene.org, &scene.client.credential).await.expect("revoked");
    let tenant = world.tenant(&scene.org).await;
    for _ in 0..13 {
        assert!(tenant.verifier.verify_token(&token, world.now()).is_err(), "at {}", world.now());
        world.advance(300);
        accredit_server::jobs::flush_all(&world.server).await;
    }
    // A day later than after an hour and the skew it is forgotten, and `rev` is not.
    world.advance(86_400);
    accredit_server::jobs::flush_all(&world.server).await;
    let page = world.admin(&scene.org, "GET", "/v1/revocations", None).await.json();
    assert_eq!(page["items"], json!([]));
    assert_eq!(tenant.rev(), 1);
    let crm = world.resource_secret(&scene.org, "crm").await;
    let ask = Ask::get(scene.org.path("/revocations/feed?gen=1&rev=1")).bearer(&crm.secret);
    let (id, _) = world.events(ask).await.next().await.expect("an event");
    assert_eq!(id, "1.1");
}
