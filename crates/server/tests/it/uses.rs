//! One secret for each use of a holder, but while one takes another's place.

use accredit_testkit::fixture::Scene;
use accredit_testkit::{Answer, Ask, Client, Org, TestWorld};
use serde_json::{Value, json};

use crate::events;

const READ: (&str, &str) = ("scope", "crm:read");

async fn create(world: &TestWorld, org: &Org, more: Value) -> Answer {
    let mut body = json!({"type": "client-secret"});
    body.as_object_mut().expect("an object").extend(more.as_object().expect("members").clone());
    world.admin(org, "POST", "/v1/credentials", Some(body)).await
}

fn client(answer: &Answer) -> Client {
    Client {
        id: answer.member("client_id"),
        secret: answer.member("client_secret"),
        credential: answer.member("id"),
        instance: None,
    }
}

#[tokio::test]
async fn an_agent_has_one_secret_for_each_use() {
    let world = TestWorld::new(70).await;
    let Scene { org, .. } = world.scene().await;
    let ci = || json!({"agent": "planner", "use": "ci"});
    let first = create(&world, &org, ci()).await.expect(201);
    assert_eq!(first.member("use"), "ci");
    let refused = create(&world, &org, ci()).await;
    refused.problem(409, "use-taken");
    assert!(refused.text().contains(&first.member("id")), "names the other: {}", refused.text());
    // Another use, another holder, and a key are something else.
    create(&world, &org, json!({"agent": "planner", "use": "prod-worker"})).await.expect(201);
    world.agent(&org, "worker", &["crm:read"]).await;
    create(&world, &org, json!({"agent": "worker", "use": "ci"})).await.expect(201);
    create(&world, &org, json!({"resource": "crm", "use": "ci"})).await.expect(201);
    let jwk = accredit_testkit::Signer::new(accredit_wire::crypto::Algorithm::EdDsa, "k", [3; 32]);
    let jwk: Value = serde_json::from_str(&jwk.public_jwk()).expect("JSON");
    let key = json!({"agent": "planner", "use": "ci", "type": "public-key", "jwk": jwk});
    create(&world, &org, key).await.expect(201);
    // What it is for is told wherever it is shown.
    let listed = world.admin(&org, "GET", "/v1/credentials?agent=worker", None).await.json();
    assert_eq!(listed["items"][0]["use"], "ci");
    let made = events(&world, &org, "credential.created").await;
    let of_first = made.iter().find(|e| e["payload"]["credential"] == first.member("id").as_str());
    assert_eq!(of_first.expect("its event")["payload"]["changes"]["use"], "ci");
    let found = json!({"secret": first.member("client_secret")});
    let told = world.admin(&org, "POST", "/v1/credentials/identify", Some(found)).await;
    assert_eq!(told.expect(200).json()["credential"]["use"], "ci");
    // It proves at the token endpoint, and nothing as a bearer key there.
    world.token(&org, &client(&first), &[READ]).await.expect(200);
    let form = [("grant_type", "client_credentials"), READ];
    let bearer = Ask::post(org.path("/oauth/token")).bearer(&first.member("client_secret"));
    assert_eq!(world.ask(bearer.form(&form)).await.status, 401);
}

#[tokio::test]
async fn a_use_is_free_again_when_its_secret_is_over() {
    let world = TestWorld::new(71).await;
    let Scene { org, .. } = world.scene().await;
    let ci = |seconds: u64| json!({"agent": "planner", "use": "ci", "expires_in": seconds});
    let first = create(&world, &org, ci(3600)).await.expect(201);
    world.revoke(&org, first.member("id")).await.expect("revoked");
    create(&world, &org, ci(60)).await.expect(201);
    world.advance(59);
    create(&world, &org, ci(60)).await.problem(409, "use-taken");
    world.advance(1);
    create(&world, &org, ci(60)).await.expect(201);
}

#[tokio::test]
async fn rotation_keeps_the_use_and_overlaps() {
    let world = TestWorld::new(72).await;
    let Scene { org, .. } = world.scene().await;
    let ci = || json!({"agent": "planner", "use": "ci"});
    let first = create(&world, &org, ci()).await.expect(201);
    let rotate = async |id: String| {
        let path = format!("/v1/credentials/{id}/rotate");
        world.admin(&org, "POST", &path, Some(json!({"overlap": 60}))).await
    };
    let second = rotate(first.member("id")).await.expect(201);
    assert_eq!(second.member("use"), "ci");
    for live in [&first, &second] {
        world.token(&org, &client(live), &[READ]).await.expect(200);
    }
    // While both work there is no room for a third.
    let refused = create(&world, &org, ci()).await;
    refused.problem(409, "use-taken");
    assert!(refused.text().contains(&second.member("id")));
    let third = rotate(second.member("id")).await.expect(201);
    // The successor revoked, the use is free although the old ones still end by themselves.
    world.revoke(&org, third.member("id")).await.expect("revoked");
    create(&world, &org, ci()).await.expect(201);
    let rotated = events(&world, &org, "credential.rotated").await;
    assert_eq!(rotated[0]["payload"]["changes"]["use"], "ci");
}

/// What scripts rely on that say no use: a further secret is made, under a name of its own.
#[tokio::test]
async fn who_says_no_use_gets_the_first_that_is_free() {
    let world = TestWorld::new(73).await;
    let Scene { org, client: first, .. } = world.scene().await;
    let unsaid = || json!({"agent": "planner"});
    let second = create(&world, &org, unsaid()).await.expect(201);
    let third = create(&world, &org, unsaid()).await.expect(201);
    assert_eq!((&*second.member("use"), &*third.member("use")), ("default-2", "default-3"));
    for live in [&first, &client(&second), &client(&third)] {
        world.token(&org, live, &[READ]).await.expect(200);
    }
    world.revoke(&org, &first.credential).await.expect("revoked");
    let again = create(&world, &org, unsaid()).await.expect(201);
    assert_eq!(again.member("use"), "default");
    let said = create(&world, &org, json!({"agent": "planner", "use": "default"})).await;
    said.problem(409, "use-taken");
    // An instance is born with its own.
    let instance = world.instance(&org, "planner", None).await;
    let id = instance.instance.expect("one").to_string();
    let further = create(&world, &org, json!({"instance": id})).await.expect(201);
    assert_eq!(further.member("use"), "default-2");
    // Also called so.
    let key = create(&world, &org, json!({"agent": "planner", "type": "api-key", "use": "x"}));
    assert_eq!(key.await.expect(201).member("type"), "client-secret");
}

#[tokio::test]
async fn a_use_has_a_plain_and_short_name() {
    let world = TestWorld::new(74).await;
    let Scene { org, .. } = world.scene().await;
    let long = "x".repeat(64);
    for wrong in ["", " ", "CI", "-ci", "c i", "c\u{202e}i", "\u{e9}", "ci\n", &*long] {
        let answer = create(&world, &org, json!({"agent": "planner", "use": wrong})).await;
        answer.problem(400, "field-invalid");
    }
    let longest = json!({"agent": "planner", "use": "x".repeat(63)});
    create(&world, &org, longest).await.expect(201);
}

#[tokio::test]
async fn of_many_requests_for_one_use_at_the_same_time_one_succeeds() {
    let world = TestWorld::new(75).await;
    let Scene { org, .. } = world.scene().await;
    let asked = || create(&world, &org, json!({"agent": "planner", "use": "ci"}));
    let many = tokio::join!(asked(), asked(), asked(), asked(), asked(), asked());
    let answers = [many.0, many.1, many.2, many.3, many.4, many.5];
    let made = answers.iter().filter(|answer| answer.status == 201).count();
    assert_eq!(made, 1);
    for refused in answers.iter().filter(|answer| answer.status != 201) {
        refused.problem(409, "use-taken");
    }
    // Without a use each gets one.
    let unsaid = || create(&world, &org, json!({"agent": "planner"}));
    let many = tokio::join!(unsaid(), unsaid(), unsaid(), unsaid());
    let names: std::collections::BTreeSet<_> =
        [many.0, many.1, many.2, many.3].map(|answer| answer.expect(201).member("use")).into();
    assert_eq!(names.len(), 4, "{names:?}");
}

#[tokio::test]
async fn what_an_instance_gets_is_no_rotation_of_its_agent() {
    let world = TestWorld::new(76).await;
    let Scene { org, .. } = world.scene().await;
    let rotated = async || {
        world.admin(&org, "GET", "/v1/agents/planner", None).await.member("last_rotated_at")
    };
    let before = rotated().await;
    world.advance(60);
    let instance = world.instance(&org, "planner", None).await;
    let id = instance.instance.expect("one").to_string();
    create(&world, &org, json!({"instance": id})).await.expect(201);
    assert_eq!(rotated().await, before);
    create(&world, &org, json!({"agent": "planner"})).await.expect(201);
    assert_eq!(rotated().await, world.now().to_string());
}
