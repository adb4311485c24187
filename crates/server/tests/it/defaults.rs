//! What holds where nobody says, and what is refused where somebody says too much.

use accredit_testkit::{Ask, Org, TestWorld};
use accredit_wire::time::Time;
use serde_json::{Value, json};

async fn post(world: &TestWorld, org: &Org, path: &str, body: Value) -> Value {
    world.admin(org, "POST", path, Some(body)).await.expect(201).json()
}

/// Seconds from now to a time in an object.
fn until(world: &TestWorld, object: &Value, name: &str) -> i64 {
    let at: Time = object[name].as_str().expect("a time").parse().expect("RFC 3339");
    at.seconds() - world.now().seconds()
}

#[tokio::test]
async fn a_credential_lives_for_thirty_days_where_nobody_says() {
    const DAY: i64 = 24 * 3600;
    let world = TestWorld::new(8).await;
    let scene = world.scene().await;
    let secret = |holder: Value| {
        let mut asked = json!({"type": "client-secret", "use": "another"});
        asked.as_object_mut().expect("an object").extend(holder.as_object().expect("one").clone());
        asked
    };
    for holder in [json!({"agent": "planner"}), json!({"resource": "crm"})] {
        let made = post(&world, &scene.org, "/v1/credentials", secret(holder)).await;
        assert_eq!(until(&world, &made, "expires_at"), 30 * DAY);
    }
    let asked = secret(json!({"agent": "planner", "use": "third", "expires_in": 60}));
    let made = post(&world, &scene.org, "/v1/credentials", asked).await;
    assert_eq!(until(&world, &made, "expires_at"), 60);
    for much in [json!(0), json!(-1), json!(10 * 366 * DAY), json!("30d")] {
        let asked = secret(json!({"agent": "planner", "use": "fourth", "expires_in": much}));
        let answer = world.admin(&scene.org, "POST", "/v1/credentials", Some(asked)).await;
        answer.problem(400, "field-invalid");
    }
}

#[tokio::test]
async fn a_review_is_due_in_its_time_and_noted_when_it_was_done() {
    let world = TestWorld::new(8).await;
    let scene = world.scene().await;
    let (org, path) = (&scene.org, "/v1/agents/planner");
    let before = world.admin(org, "GET", path, None).await.expect(200).json();
    assert_eq!(before["last_reviewed_at"], Value::Null);
    assert!(until(&world, &before, "review_due_at") > 24 * 3600, "{before}");
    world.advance(3600);
    let patch = async |body: Value| world.admin(org, "PATCH", path, Some(body)).await;
    let due = "2027-03-01T00:00:00Z";
    let after = patch(json!({"reviewed": true, "review_due_at": due})).await.expect(200).json();
    assert_eq!(until(&world, &after, "last_reviewed_at"), 0);
    let told: Time = after["review_due_at"].as_str().expect("a time").parse().expect("RFC 3339");
    assert_eq!(told, due.parse().expect("RFC 3339"));
    // Anything else leaves it as it is; what is no time, or over, is refused.
    world.advance(60);
    let other = patch(json!({"purpose": "plans more"})).await.expect(200).json();
    assert_eq!(other["last_reviewed_at"], after["last_reviewed_at"]);
    assert_eq!(other["review_due_at"], after["review_due_at"]);
    for wrong in [json!("tomorrow"), json!("2027-03-01"), json!(1), json!("")] {
        patch(json!({"review_due_at": wrong})).await.problem(400, "field-invalid");
    }
}

#[tokio::test]
async fn a_default_scope_is_no_wider_than_what_an_agent_holds() {
    let world = TestWorld::new(8).await;
    let scene = world.scene().await;
    let org = &scene.org;
    let path = "/v1/agents/planner";
    for wider in ["crm:delete", "crm:read crm:delete", "erp:read", "crm", "*", "crm:*"] {
        let body = json!({"default_scope": wider});
        let answer = world.admin(org, "PATCH", path, Some(body)).await;
        assert_eq!(answer.status, 400, "{wider}: {}", answer.text());
        let body = json!({"name": "eager", "owner_email": "m@example.com", "allow": ["crm:read"],
            "default_scope": wider});
        let answer = world.admin(org, "POST", "/v1/agents", Some(body)).await;
        assert_eq!(answer.status, 400, "{wider}: {}", answer.text());
    }
    // Nothing is granted where nothing is asked for and there is no default.
    world.token(org, &scene.client, &[]).await.refused(400, "invalid_scope", "scope-missing");
    let body = json!({"default_scope": "crm:read"});
    world.admin(org, "PATCH", path, Some(body)).await.expect(200);
    assert_eq!(world.token(org, &scene.client, &[]).await.expect(200).member("scope"), "crm:read");
    // What is taken away is granted no more, by default either.
    let body = json!({"actions": ["update"]});
    let path = "/v1/agents/planner/permissions/crm";
    let taken = world.admin(org, "PUT", path, Some(body)).await;
    let token = world.token(org, &scene.client, &[]).await;
    assert_ne!(token.status, 200, "{} {}", taken.text(), token.text());
}

#[tokio::test]
async fn signing_keys_and_permissions_come_in_pages_as_everything_does() {
    let world = TestWorld::new(8).await;
    let scene = world.scene().await;
    let org = &scene.org;
    for n in 0..4 {
        let name = format!("r{n}");
        world.resource(org, &name, &["read"]).await;
        let path = format!("/v1/agents/planner/permissions/{name}");
        world.admin(org, "PUT", &path, Some(json!({"actions": ["read"]}))).await.expect(200);
        let now = json!({"purpose": "token", "now": true});
        world.admin(org, "POST", "/v1/signing-keys/rotate", Some(now)).await.expect(201);
        world.advance(7200);
    }
    for (path, key) in [
        ("/v1/signing-keys?", "id"),
        ("/v1/signing-keys?state=next&", "id"),
        ("/v1/agents/planner/permissions?", "resource"),
    ] {
        let page = async |query: String| {
            let answer = world.ask(Ask::get(format!("{path}{query}")).bearer(&org.admin)).await;
            let page = answer.expect(200).json();
            let items = page["items"].as_array().expect("items").clone();
            (items, page["next"].as_str().map(str::to_owned))
        };
        let (whole, end) = page("limit=200".to_owned()).await;
        assert!(!whole.is_empty() && end.is_none(), "{path}: {whole:?}");
        assert!(whole.is_sorted_by(|a, b| a[key].as_str() < b[key].as_str()), "{whole:?}");
        let (mut walked, mut cursor) = (Vec::new(), String::new());
        loop {
            let (items, next) = page(format!("limit=2&cursor={cursor}")).await;
            assert!(items.len() <= 2);
            walked.extend(items);
            match next {
                Some(next) => cursor = next,
                None => break,
            }
        }
        assert_eq!(walked, whole, "{path}");
    }
    for wrong in ["limit=0", "limit=201", "state=sleeping"] {
        let path = format!("/v1/signing-keys?{wrong}");
        world.admin(org, "GET", &path, None).await.problem(400, "field-invalid");
    }
}
