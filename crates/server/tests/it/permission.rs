//! Every row of the table is tried by those who may not.

use accredit_domain::registry::credential::AdminPermission;
use accredit_server::caller::Requirement;
use accredit_server::endpoints::{ENDPOINTS, Endpoint};
use accredit_testkit::fixture::Scene;
use accredit_testkit::{Ask, TestWorld};
use serde_json::json;

/// A request to a row, well formed as far as its path goes.
fn ask(endpoint: &Endpoint) -> Ask {
    let path = endpoint
        .path
        .replace("{org}", "acme")
        .replace("{log}", "g1l0")
        .replace("{*tile}", "0/000")
        .replace("{key}", "planner")
        .replace("{resource}", "crm");
    let ask = Ask::new(endpoint.method.as_str(), path);
    if endpoint.body_max > 0 && endpoint.method.as_str() != "GET" {
        return ask.json(&json!({}));
    }
    ask
}

async fn begin() -> (TestWorld, Scene) {
    let world = TestWorld::new(8).await;
    let scene = world.scene().await;
    (world, scene)
}

#[tokio::test]
async fn a_key_that_lacks_the_rows_permission_is_refused() {
    let (world, scene) = begin().await;
    let mut rows = 0;
    for permission in AdminPermission::ALL {
        let others: Vec<_> =
            AdminPermission::ALL.into_iter().filter(|held| *held != permission).collect();
        let lacking = world.admin_with(&scene.org, &others).await;
        let holding = world.admin_with(&scene.org, &[permission]).await;
        for endpoint in ENDPOINTS {
            if endpoint.caller != Requirement::Admin(permission) {
                continue;
            }
            rows += 1;
            let answer = world.ask(ask(endpoint).bearer(&lacking)).await;
            assert_eq!(answer.status, 403, "{}: {}", endpoint.operation, answer.text());
            answer.problem(403, "not-entitled");
            let answer = world.ask(ask(endpoint).bearer(&holding)).await;
            assert!(
                ![401, 403, 503].contains(&answer.status),
                "{} needs more than `{}`: {}",
                endpoint.operation,
                permission.as_str(),
                answer.text()
            );
        }
    }
    let admin = |row: &&Endpoint| matches!(row.caller, Requirement::Admin(_));
    assert_eq!(rows, ENDPOINTS.iter().filter(admin).count());
}

#[tokio::test]
async fn without_expired_or_revoked_key_nobody_administers() {
    let (world, scene) = begin().await;
    let crm = world.resource_secret(&scene.org, "crm").await;
    let token = world.token(&scene.org, &scene.client, &[("scope", "crm:read")]).await;
    let token = token.member("access_token");
    let revoked = world.admin_with(&scene.org, &AdminPermission::ALL).await;
    let id = revoked.split('_').nth(2).map(|id| format!("crd_{id}")).expect("a credential's id");
    world.revoke(&scene.org, &id).await.expect("revoked");
    for endpoint in ENDPOINTS.iter().filter(|row| matches!(row.caller, Requirement::Admin(_))) {
        world.ask(ask(endpoint)).await.problem(401, "admin-key");
        for wrong in [&*token, &scene.client.secret, &crm.secret] {
            world.ask(ask(endpoint).bearer(wrong)).await.problem(401, "admin-key");
        }
        world.ask(ask(endpoint).basic(&scene.client)).await.problem(401, "admin-key");
        world.ask(ask(endpoint).bearer(&revoked)).await.problem(401, "credential-revoked");
    }
    world.advance(90 * 24 * 3600);
    for endpoint in ENDPOINTS.iter().filter(|row| matches!(row.caller, Requirement::Admin(_))) {
        let late = world.ask(ask(endpoint).bearer(&scene.org.admin)).await;
        late.problem(401, "credential-expired");
    }
}

#[tokio::test]
async fn the_feed_and_the_log_are_for_resources_and_administrators() {
    let (world, scene) = begin().await;
    let crm = world.resource_secret(&scene.org, "crm").await;
    let instance = world.instance(&scene.org, "planner", None).await;
    let blind: Vec<_> =
        AdminPermission::ALL.into_iter().filter(|p| *p != AdminPermission::Read).collect();
    let blind = world.admin_with(&scene.org, &blind).await;
    let other = world.found("other").await;
    world.resource(&other, "crm", &["read"]).await;
    let foreign = world.resource_secret(&other, "crm").await;
    for endpoint in ENDPOINTS.iter().filter(|row| row.caller == Requirement::Verifier) {
        let name = endpoint.operation;
        let refused = |ask: Ask| world.ask(ask);
        let answer = refused(ask(endpoint)).await;
        assert_eq!(answer.status, 401, "{name}: {}", answer.text());
        assert!(answer.header("www-authenticate").starts_with("Bearer"), "{name}");
        for agent in [&scene.client, &instance] {
            let answer = refused(ask(endpoint).basic(agent)).await;
            answer.refused(403, "unauthorized_client", "not-entitled");
        }
        let answer = refused(ask(endpoint).bearer(&blind)).await;
        answer.refused(403, "unauthorized_client", "not-entitled");
        for stranger in [&foreign.secret, &other.admin] {
            let answer = refused(ask(endpoint).bearer(stranger)).await;
            answer.refused(401, "invalid_client", "client-authentication");
            assert!(answer.header("www-authenticate").starts_with("Bearer"), "{name}");
        }
        if name != "revocations_feed" {
            for who in [&crm.secret, &scene.org.admin] {
                let answer = world.ask(ask(endpoint).bearer(who)).await;
                assert!(![401, 403, 503].contains(&answer.status), "{name}: {}", answer.text());
            }
            let answer = world.ask(ask(endpoint).basic(&crm)).await;
            assert!(![401, 403, 503].contains(&answer.status), "{name}: {}", answer.text());
        }
    }
    // What the log's entries say is for auditors.
    let entries = || Ask::get("/o/acme/log/g1l0/tile/entries/000.p/1");
    accredit_server::jobs::integrate_all(&world.server).await;
    let answer = world.ask(entries().bearer(&crm.secret)).await;
    answer.refused(403, "unauthorized_client", "not-entitled");
    world.ask(entries().bearer(&scene.org.admin)).await.expect(200);
}

#[tokio::test]
async fn a_key_of_one_organization_creates_others_only_where_it_may_and_sees_none() {
    let (world, scene) = begin().await;
    let body = json!({"name": "second"});
    let made = world.admin(&scene.org, "POST", "/v1/orgs", Some(body)).await.expect(201);
    let key = made.member("admin_token");
    let again = Some(json!({"name": "second"}));
    world.admin(&scene.org, "POST", "/v1/orgs", again).await.problem(409, "name-taken");
    let third = Ask::post("/v1/orgs").bearer(&key).json(&json!({"name": "third"}));
    world.ask(third).await.problem(403, "not-entitled");
    // Who founded it sees that it exists, and administers it not.
    world.admin(&scene.org, "GET", "/v1/orgs/second", None).await.expect(200);
    for (verb, path) in
        [("suspend", "/v1/orgs/second/suspend"), ("activate", "/v1/orgs/second/activate")]
    {
        let body = Some(json!({"reason": "a test"}));
        let answer = world.admin(&scene.org, "POST", path, body).await;
        assert_eq!(answer.status, 403, "{verb}: {}", answer.text());
    }
    let own = Ask::get("/v1/orgs/second").bearer(&key);
    assert_eq!(world.ask(own).await.expect(200).member("name"), "second");
    world.ask(Ask::get("/v1/orgs/acme").bearer(&key)).await.problem(404, "not-found");
}
