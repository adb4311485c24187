//! The `Idempotency-Key` header: a creation is carried out once, however often it is sent.

use std::sync::Arc;

use accredit_testkit::{Answer, Ask, Org, TestWorld};
use serde_json::{Value, json};

fn creation(org: &Org, path: &str, body: &Value, key: &str) -> Ask {
    Ask::post(path).bearer(&org.admin).header("idempotency-key", key).json(body)
}

fn is_replay(answer: &Answer) -> bool {
    answer.header("idempotent-replayed") == "true"
}

/// That every creation is done once is in `semantics.rs`, over the table of endpoints.
#[tokio::test]
async fn both_spellings_of_a_key_are_one_and_the_key_itself_is_not_kept() {
    let world = TestWorld::new(71).await;
    let org = world.found("acme").await;
    let ann = json!({"email": "ann@example.com"});
    let key = "a-key-that-is-written-nowhere";
    world.ask(creation(&org, "/v1/persons", &ann, key)).await.expect(201);
    // The draft writes the key as a string.
    let quoted = format!("\"{key}\"");
    assert!(is_replay(&world.ask(creation(&org, "/v1/persons", &ann, &quoted)).await));
    let kept = world.bytes_at_rest();
    assert!(!kept.windows(key.len()).any(|bytes| bytes == key.as_bytes()), "the key is kept");
}

#[tokio::test]
async fn a_key_is_bound_to_its_request_its_caller_and_a_day() {
    let world = TestWorld::new(72).await;
    let scene = world.scene().await;
    let org = &scene.org;
    let (ann, ben) = (json!({"email": "ann@example.com"}), json!({"email": "ben@example.com"}));
    world.ask(creation(org, "/v1/persons", &ann, "k")).await.expect(201);
    let other_body = world.ask(creation(org, "/v1/persons", &ben, "k")).await;
    other_body.problem(422, "idempotency-key-reused");
    let other_path = world.ask(creation(org, "/v1/agents", &ann, "k")).await;
    other_path.problem(422, "idempotency-key-reused");
    // Another administrator's key of the same text is another key, and so is another tenant's.
    let admin = world.admin_without_organizations(org).await;
    let colleague = Org { admin, ..org.clone() };
    world.ask(creation(&colleague, "/v1/persons", &ben, "k")).await.expect(201);
    let stranger = world.found("other").await;
    let theirs = world.ask(creation(&stranger, "/v1/persons", &ann, "k")).await.expect(201);
    assert!(!is_replay(&theirs));
    // A refusal is no answer that is kept: nothing was made.
    let wrong = json!({"email": "nobody"});
    world.ask(creation(org, "/v1/persons", &wrong, "w")).await.problem(400, "field-invalid");
    let right = json!({"email": "cid@example.com"});
    assert!(!is_replay(&world.ask(creation(org, "/v1/persons", &right, "w")).await.expect(201)));
    // Without a key, and after a day, it is a new request.
    world.admin(org, "POST", "/v1/persons", Some(ann.clone())).await.problem(409, "name-taken");
    world.advance(24 * 3600 - 1);
    assert!(is_replay(&world.ask(creation(org, "/v1/persons", &ann, "k")).await));
    world.advance(1);
    world.ask(creation(org, "/v1/persons", &ann, "k")).await.problem(409, "name-taken");
    let dan = json!({"email": "dan@example.com"});
    world.ask(creation(org, "/v1/persons", &dan, "k")).await.expect(201);
}

#[tokio::test]
async fn a_key_that_is_none_is_refused_before_anything_is_made() {
    let world = TestWorld::new(73).await;
    let org = world.found("acme").await;
    let ann = json!({"email": "ann@example.com"});
    for key in ["", "a b", "\"\"", &"k".repeat(129)] {
        let answer = world.ask(creation(&org, "/v1/persons", &ann, key)).await;
        answer.problem(400, "field-invalid");
    }
    let twice = creation(&org, "/v1/persons", &ann, "a").header("idempotency-key", "b");
    world.ask(twice).await.problem(400, "field-invalid");
    let listed = world.admin(&org, "GET", "/v1/persons", None).await.json();
    assert_eq!(listed["items"], json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sixteen_at_once_make_one_thing() {
    let world = Arc::new(TestWorld::new(74).await);
    let scene = world.scene().await;
    let org = scene.org.clone();
    let target = json!({"target": scene.planner.id.to_string(), "reason": "a test"});
    for (path, body, list) in [
        ("/v1/credentials", json!({"resource": "crm", "type": "client-secret"}), "?resource=crm"),
        ("/v1/agents", json!({"name": "worker", "owner_email": "eve@example.com"}), "?q=worker"),
        ("/v1/revocations", target, ""),
    ] {
        let mut asked = tokio::task::JoinSet::new();
        for _ in 0..16 {
            let (world, org, body) = (Arc::clone(&world), org.clone(), body.clone());
            asked.spawn(async move { world.ask(creation(&org, path, &body, path)).await });
        }
        let answers = asked.join_all().await;
        let ids: Vec<String> = answers.iter().map(|answer| answer.member("id")).collect();
        assert!(answers.iter().all(|answer| answer.status == 201), "{answers:?}");
        assert!(ids.iter().all(|id| *id == ids[0] && !id.is_empty()), "{path}: {ids:?}");
        let first = answers.iter().filter(|answer| !is_replay(answer)).count();
        assert_eq!(first, 1, "{path}");
        let listed = world.admin(&org, "GET", &format!("{path}{list}"), None).await.json();
        assert_eq!(listed["items"].as_array().expect("items").len(), 1, "{path}");
    }
}

#[tokio::test]
async fn a_creation_that_was_not_committed_is_carried_out_when_it_comes_again() {
    let world = TestWorld::new(75).await;
    let org = world.found("acme").await;
    let ann = json!({"email": "ann@example.com"});
    world.advance(1);
    world.server.world.store.forget_before(world.now()).await.expect("forgotten");
    world.ask(creation(&org, "/v1/persons", &ann, "k")).await.expect(201);
    world.server.world.store.forget_before(world.now()).await.expect("forgotten");
    assert!(is_replay(&world.ask(creation(&org, "/v1/persons", &ann, "k")).await), "too early");
    world.advance(24 * 3600 + 1);
    world.server.world.store.forget_before(world.now()).await.expect("forgotten");
    world.ask(creation(&org, "/v1/persons", &ann, "k")).await.problem(409, "name-taken");
}
