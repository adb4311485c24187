//! Quotas: one more than an organization may have is refused, with the limit and what to do.

use accredit_domain::registry::quota::{Counted, Quotas};
use accredit_testkit::{Answer, Org, TestWorld};
use serde_json::{Value, json};

fn only(counted: Counted, max: u64) -> Quotas {
    Quotas::UNLIMITED.with(counted, max)
}

async fn post(world: &TestWorld, org: &Org, path: &str, body: &Value) -> Answer {
    world.admin(org, "POST", path, Some(body.clone())).await
}

#[tokio::test]
async fn one_more_of_each_kind_is_refused_and_says_the_limit_and_what_to_do() {
    let world = TestWorld::new(6).await;
    let (org, other) = (world.found("acme").await, world.found("other").await);
    let (idp, _) = world.idp().await;
    for org in [&org, &other] {
        world.federation(org, &idp, "corp").await;
        world.resource(org, "crm", &["read"]).await;
        world.agent(org, "bot", &["crm:read"]).await;
        world.instance(org, "bot", None).await;
        let task = json!({"agent": "bot", "purpose": "to be counted"});
        post(&world, org, "/v1/tasks", &task).await.expect(201);
    }
    for (counted, there_are, path, body) in [
        (Counted::Agents, 1, "/v1/agents", json!({"name": "one-more"})),
        (Counted::Persons, 1, "/v1/persons", json!({"email": "one-more@example.com"})),
        // The owner that is born with an agent is a person as well.
        (
            Counted::Persons,
            1,
            "/v1/agents",
            json!({"name": "one-more", "owner_email": "one-more@example.com"}),
        ),
        (
            Counted::Resources,
            1,
            "/v1/resources",
            json!({"name": "db", "audience": "https://db.example/", "actions": ["read"]}),
        ),
        (Counted::Instances, 1, "/v1/instances", json!({"agent": "bot"})),
        (Counted::Credentials, 1, "/v1/instances", json!({"agent": "bot"})),
        (
            Counted::Credentials,
            1,
            "/v1/credentials",
            json!({"agent": "bot", "type": "client-secret"}),
        ),
        (Counted::Tasks, 1, "/v1/tasks", json!({"agent": "bot", "purpose": "one more"})),
        (
            Counted::AdminKeys,
            1,
            "/v1/admin-keys",
            json!({"role": "auditor", "purpose": "one more"}),
        ),
        (
            Counted::Federations,
            1,
            "/v1/federations",
            json!({"name": "one-more", "issuer": idp.issuer(), "jwks_url": idp.jwks_url(),
                "audiences": ["accredit"]}),
        ),
    ] {
        let what = format!("{counted:?} by {path}");
        world.world.limits.set_quotas(only(counted, there_are));
        let before = world.admin(&org, "GET", path, None).await.expect(200).json();
        let refused = post(&world, &org, path, &body).await;
        assert_eq!(refused.status, 409, "{what}: {}", refused.json());
        refused.problem(409, "quota-reached");
        let text = refused.json().to_string();
        assert!(text.contains(&format!("more than {there_are} ")), "{what}: {text}");
        assert!(text.contains(&format!("limits.{}_max", counted.as_str())), "{what}: {text}");
        let after = world.admin(&org, "GET", path, None).await.expect(200).json();
        assert_eq!(after, before, "{what}");
    }
    // With room for one more it is made, once: the other organization has room of its own.
    world.world.limits.set_quotas(only(Counted::Persons, 2));
    for org in [&org, &other] {
        let body = json!({"email": "one-more@example.com"});
        post(&world, org, "/v1/persons", &body).await.expect(201);
        let body = json!({"email": "two-more@example.com"});
        post(&world, org, "/v1/persons", &body).await.problem(409, "quota-reached");
    }
}

#[tokio::test]
async fn what_was_revoked_or_has_expired_makes_room_and_a_rotation_needs_none() {
    let world = TestWorld::new(6).await;
    let org = world.found("acme").await;
    world.resource(&org, "crm", &["read"]).await;
    world.agent(&org, "bot", &["crm:read"]).await;
    let first = world.agent_secret(&org, "bot", Some(3_600)).await;
    world.world.limits.set_quotas(only(Counted::Credentials, 1));
    let more = json!({"agent": "bot", "type": "client-secret", "use": "batch"});
    post(&world, &org, "/v1/credentials", &more).await.problem(409, "quota-reached");

    let path = format!("/v1/credentials/{}/rotate", first.credential);
    let second = post(&world, &org, &path, &json!({})).await.expect(201).member("id");
    world.revoke(&org, &first.credential).await.expect("revoked");
    post(&world, &org, "/v1/credentials", &more).await.problem(409, "quota-reached");
    world.revoke(&org, &second).await.expect("revoked");
    let short = json!({"agent": "bot", "type": "client-secret", "use": "batch", "expires_in": 60});
    post(&world, &org, "/v1/credentials", &short).await.expect(201);

    world.advance(61);
    let next = json!({"agent": "bot", "type": "client-secret", "use": "next"});
    post(&world, &org, "/v1/credentials", &next).await.problem(409, "quota-reached");
    world.world.store.forget_before(world.now()).await.expect("taken off");
    post(&world, &org, "/v1/credentials", &next).await.expect(201);
}

/// Who has lost all keys gets in again where the server runs, however many there are.
#[tokio::test]
async fn a_new_owner_where_the_server_runs_is_not_counted_against_anything() {
    let world = TestWorld::new(6).await;
    let org = world.found("acme").await;
    world.world.limits.set_quotas(only(Counted::AdminKeys, 1));
    let body = json!({"role": "auditor", "purpose": "one more"});
    post(&world, &org, "/v1/admin-keys", &body).await.problem(409, "quota-reached");
    let tenant = world.tenant(&org).await;
    let permissions = accredit_domain::registry::admin_key::AdminRole::Owner.permissions().to_vec();
    let made = accredit_domain::registry::organization::new_admin(
        &world.world,
        &tenant,
        world.now(),
        permissions,
    );
    made.await.expect("a key");
}
