//! Administrators' keys and the installation's operator: roles, rotation, separation of duties.

use accredit_domain::audit::event::Body;
use accredit_domain::registry::credential::AdminPermission::{Administrators, Audit, Read, Revoke};
use accredit_domain::registry::operator::renew;
use accredit_domain::registry::organization::{CreateOrganization, found_first};
use accredit_testkit::{Answer, Ask, Org, TestWorld};
use serde_json::{Value, json};

use crate::events;

const DAY: u64 = 24 * 3600;

async fn begin() -> (TestWorld, Org) {
    let world = TestWorld::new(31).await;
    let org = world.found("acme").await;
    (world, org)
}

async fn post(world: &TestWorld, key: &str, path: &str, body: Value) -> Answer {
    world.ask(Ask::post(path).bearer(key).json(&body)).await
}

/// A new key: its id and its secret.
async fn made(world: &TestWorld, by: &str, role: &str, expires_in: u64) -> (String, String) {
    let body = json!({"role": role, "purpose": "a test", "expires_in": expires_in});
    let answer = post(world, by, "/v1/admin-keys", body).await.expect(201);
    (answer.member("id"), answer.member("admin_token"))
}

async fn revoke(world: &TestWorld, by: &str, id: &str) -> Answer {
    post(world, by, "/v1/revocations", json!({"target": id, "reason": "a test"})).await
}

/// The id in a key's text.
fn id_of(key: &str) -> String {
    format!("crd_{}", key.split('_').nth(2).expect("a credential"))
}

#[tokio::test]
async fn a_key_says_what_it_is_for_and_its_secret_once() {
    let (world, org) = begin().await;
    let body = json!({"role": "security", "purpose": "pager", "permissions": ["revoke", "read"]});
    let answer = post(&world, &org.admin, "/v1/admin-keys", body).await.expect(201).json();
    assert_eq!(answer["role"], "security");
    assert_eq!(answer["permissions"], json!(["read", "revoke"]));
    assert_eq!(answer["purpose"], "pager");
    assert_eq!(answer["created_by"], id_of(&org.admin));
    assert_eq!(answer["organization"], world.tenant(&org).await.id.to_string());
    let secret = answer["admin_token"].as_str().expect("a secret").to_owned();
    let id = answer["id"].as_str().expect("an id");
    assert_eq!(id, id_of(&secret));
    // It works, and only so far.
    world.ask(Ask::get("/v1/agents").bearer(&secret)).await.expect(200);
    world.ask(Ask::get("/v1/events").bearer(&secret)).await.problem(403, "not-entitled");
    for path in ["/v1/admin-keys".to_owned(), format!("/v1/admin-keys/{id}")] {
        let answer = world.admin(&org, "GET", &path, None).await.expect(200);
        assert!(answer.text().contains("pager") && !answer.text().contains(&secret));
    }
    let listed = world.admin(&org, "GET", "/v1/admin-keys", None).await.json();
    assert_eq!(listed["items"].as_array().expect("items").len(), 2, "the first owner's and this");
    let created = &events(&world, &org, "credential.created").await[0]["payload"];
    assert_eq!(created["changes"]["role"], "security");
    assert_eq!(created["changes"]["purpose"], "pager");
    assert_eq!(created["actor"]["id"], id_of(&org.admin));
    // Other credentials are no administrators' keys, and other organizations' are not there.
    let crm = world.resource(&org, "crm", &["read"]).await;
    let other = world.resource_secret(&org, &crm.name.to_string()).await.credential;
    let path = format!("/v1/admin-keys/{other}");
    world.admin(&org, "GET", &path, None).await.problem(404, "not-found");
    let second = world.found("second").await;
    let path = format!("/v1/admin-keys/{id}");
    world.admin(&second, "GET", &path, None).await.problem(404, "not-found");
    let path = path + "/rotate";
    world.admin(&second, "POST", &path, Some(json!({}))).await.problem(404, "not-found");
}

#[tokio::test]
async fn only_an_owner_manages_keys_and_gives_no_more_than_they_hold() {
    let (world, org) = begin().await;
    for role in ["security", "operator", "auditor"] {
        let (_, key) = made(&world, &org.admin, role, DAY).await;
        let (other, _) = made(&world, &org.admin, "auditor", DAY).await;
        let body = json!({"role": "auditor", "purpose": "mine"});
        post(&world, &key, "/v1/admin-keys", body).await.problem(403, "not-entitled");
        let path = format!("/v1/admin-keys/{other}/rotate");
        post(&world, &key, &path, json!({})).await.problem(403, "not-entitled");
        // Also where the role revokes other things.
        revoke(&world, &key, &other).await.problem(403, "not-entitled");
        revoke(&world, &key, &id_of(&org.admin)).await.problem(403, "not-entitled");
    }
    let narrow = world.admin_with(&org, &[Read, Revoke, Administrators]).await;
    for role in ["owner", "auditor", "security", "operator"] {
        let body = json!({"role": role, "purpose": "mine"});
        let answer = post(&world, &narrow, "/v1/admin-keys", body).await;
        answer.problem(403, "separation-of-duties");
    }
    let path = format!("/v1/admin-keys/{}/rotate", id_of(&org.admin));
    post(&world, &narrow, &path, json!({})).await.problem(403, "separation-of-duties");
    let body = json!({"role": "auditor", "purpose": "less", "permissions": ["read"]});
    post(&world, &narrow, "/v1/admin-keys", body).await.expect(201);
    // The bootstrap key's permission to found organizations is in no role: it is not given away.
    let (_, second) = made(&world, &org.admin, "owner", 90 * DAY).await;
    post(&world, &second, &path, json!({})).await.problem(403, "separation-of-duties");
    let asked = json!({"name": "mine"});
    post(&world, &second, "/v1/orgs", asked).await.problem(403, "not-entitled");
}

#[tokio::test]
async fn a_request_for_a_key_that_makes_no_sense_is_refused() {
    let (world, org) = begin().await;
    for body in [
        json!({}),
        json!({"role": "owner"}),
        json!({"purpose": "x"}),
        json!({"role": "root", "purpose": "x"}),
        json!({"role": "auditor", "purpose": " "}),
        json!({"role": "auditor", "purpose": "x", "permissions": ["registry"]}),
        json!({"role": "owner", "purpose": "x", "permissions": ["organizations"]}),
        json!({"role": "auditor", "purpose": "x", "expires_in": 0}),
        json!({"role": "auditor", "purpose": "x", "expires_in": 367 * DAY}),
        json!({"role": "auditor", "purpose": "x", "created_by": "crd_x"}),
    ] {
        let answer = post(&world, &org.admin, "/v1/admin-keys", body.clone()).await;
        assert_eq!(answer.status, 400, "{body}: {}", answer.text());
    }
    let (id, _) = made(&world, &org.admin, "auditor", DAY).await;
    for body in [
        json!({"overlap": 59}),
        json!({"overlap": DAY + 1}),
        json!({"overlap": 7200, "expires_in": 7200}),
        json!({"role": "owner"}),
    ] {
        let path = format!("/v1/admin-keys/{id}/rotate");
        let answer = post(&world, &org.admin, &path, body.clone()).await;
        assert_eq!(answer.status, 400, "{body}: {}", answer.text());
    }
}

#[tokio::test]
async fn old_and_new_key_work_together_for_the_overlap() {
    let (world, org) = begin().await;
    let (id, old) = made(&world, &org.admin, "auditor", 30 * DAY).await;
    let path = format!("/v1/admin-keys/{id}/rotate");
    let body = json!({"overlap": 600, "expires_in": 60 * DAY});
    let answer = post(&world, &org.admin, &path, body).await.expect(201);
    let new = answer.member("admin_token");
    assert_eq!(answer.member("replaces"), id);
    assert_eq!(answer.member("role"), "auditor");
    let reads = async |key: &str| world.ask(Ask::get("/v1/events").bearer(key)).await;
    world.advance(599);
    reads(&old).await.expect(200);
    reads(&new).await.expect(200);
    world.advance(1);
    reads(&old).await.problem(401, "credential-expired");
    reads(&new).await.expect(200);
    // Its time is over: it has no second successor.
    post(&world, &org.admin, &path, json!({})).await.problem(409, "state-forbids");
    let rotated = &events(&world, &org, "credential.rotated").await[0]["payload"];
    assert_eq!(rotated["target"], id);
    assert_eq!(rotated["credential"], id_of(&new));
    let listed = async |state: &str| {
        let path = format!("/v1/admin-keys?state={state}");
        let found = world.admin(&org, "GET", &path, None).await.expect(200).json();
        let items = found["items"].as_array().expect("items").clone();
        items.iter().map(|item| item["id"].as_str().expect("an id").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(listed("expired").await, std::slice::from_ref(&id));
    // Made in one instant, they stand in any order.
    let active = listed("active").await;
    assert!(active.len() == 2 && active.contains(&id_of(&new)), "{active:?}");
    // Nor before, while it still works.
    let path = format!("/v1/admin-keys/{}/rotate", id_of(&new));
    post(&world, &org.admin, &path, json!({})).await.expect(201);
    post(&world, &org.admin, &path, json!({})).await.problem(409, "state-forbids");
    // A key that would have ended sooner does not live longer for being rotated.
    let (id, short) = made(&world, &org.admin, "auditor", 100).await;
    let path = format!("/v1/admin-keys/{id}/rotate");
    post(&world, &org.admin, &path, json!({})).await.expect(201);
    world.advance(100);
    reads(&short).await.problem(401, "credential-expired");
}

#[tokio::test]
async fn an_organization_never_loses_its_last_owner() {
    let (world, org) = begin().await;
    let first = id_of(&org.admin);
    revoke(&world, &org.admin, &first).await.problem(409, "state-forbids");
    // One that ends within a day is none to be left with.
    let (_, brief) = made(&world, &org.admin, "owner", DAY - 1).await;
    revoke(&world, &brief, &first).await.problem(409, "last-owner");
    // Nor is an owner replaced by one.
    let path = format!("/v1/admin-keys/{first}/rotate");
    let body = json!({"overlap": 60, "expires_in": DAY - 1});
    post(&world, &org.admin, &path, body).await.problem(409, "last-owner");
    let (second, lasting) = made(&world, &org.admin, "owner", 30 * DAY).await;
    revoke(&world, &lasting, &first).await.expect(201);
    world.ask(Ask::get("/v1/agents").bearer(&org.admin)).await.problem(401, "credential-revoked");
    revoke(&world, &brief, &second).await.problem(409, "last-owner");
    // It may replace itself, and then goes.
    let path = format!("/v1/admin-keys/{second}/rotate");
    let third = post(&world, &lasting, &path, json!({"overlap": 60})).await.expect(201);
    world.advance(60);
    let third = third.member("admin_token");
    world.ask(Ask::get("/v1/agents").bearer(&third)).await.expect(200);
    // Stopping the organization does not take its keys away.
    let path = "/v1/orgs/acme/suspend";
    post(&world, &third, path, json!({"reason": "a test"})).await.expect(200);
    revoke(&world, &brief, &id_of(&third)).await.problem(409, "last-owner");
}

#[tokio::test]
async fn two_owners_cannot_end_each_other_at_the_same_time() {
    for round in 0..8 {
        let world = TestWorld::new(round).await;
        let org = world.found("acme").await;
        let (second, key) = made(&world, &org.admin, "owner", 30 * DAY).await;
        let first = id_of(&org.admin);
        let (one, other) =
            tokio::join!(revoke(&world, &org.admin, &second), revoke(&world, &key, &first));
        let ended = [&one, &other].iter().filter(|answer| answer.status == 201).count();
        assert_eq!(ended, 1, "{} {}", one.text(), other.text());
        let left = if one.status == 201 { &org.admin } else { &key };
        world.ask(Ask::get("/v1/agents").bearer(left)).await.expect(200);
    }
}

/// The first organization of an installation: the owner's and the operator's key.
async fn installed(world: &TestWorld) -> (Org, String) {
    let asked = CreateOrganization { name: "acme".to_owned(), display_name: None };
    let held = vec![Read, Revoke, Audit, Administrators];
    let made = found_first(&world.world, world.now(), &asked, held, Body::default()).await;
    let (made, operator) = made.expect("founded");
    let admin = made.admin_token.expose().to_owned();
    let (name, issuer) = ("acme".to_owned(), made.organization.issuer);
    (Org { name, issuer, admin }, operator.expose().to_owned())
}

#[tokio::test]
async fn the_operator_undoes_the_end_of_an_organization_and_is_seen_in_its_log() {
    let world = TestWorld::new(32).await;
    let (org, operator) = installed(&world).await;
    let id = world.tenant(&org).await.id.to_string();
    revoke(&world, &org.admin, &id).await.expect(201);
    let path = format!("/v1/orgs/{id}");
    let shown = world.ask(Ask::get(&path).bearer(&operator)).await.expect(200);
    assert_eq!(shown.member("state"), "suspended");
    let body = json!({"reason": "it was a mistake"});
    let answer = post(&world, &operator, "/v1/orgs/acme/activate", body).await.expect(200);
    assert_eq!(answer.member("state"), "active");
    let event = &events(&world, &org, "organization.activated").await[0]["payload"];
    assert_eq!(event["actor"], json!({"id": id_of(&operator), "kind": "operator"}));
    assert_eq!(event["reason"], "it was a mistake");
    let founded = &events(&world, &org, "organization.created").await[0]["payload"];
    assert_eq!(founded["changes"]["operator_key"], id_of(&operator));
    // It makes others, whose owner it is not.
    let made = post(&world, &operator, "/v1/orgs", json!({"name": "second"})).await.expect(201);
    let theirs = made.member("admin_token");
    let listed = world.ask(Ask::get("/v1/orgs").bearer(&operator)).await.expect(200).json();
    assert_eq!(listed["items"].as_array().expect("items").len(), 2);
    let event = world.ask(Ask::get("/v1/events").bearer(&theirs)).await.expect(200).json();
    assert_eq!(event["items"][0]["payload"]["actor"]["kind"], "operator");
    let body = json!({"reason": "unpaid"});
    let suspend = |tag: &str| {
        let ask = Ask::post("/v1/orgs/second/suspend").bearer(&operator).json(&body);
        world.ask(ask.header("if-match", tag))
    };
    suspend("\"g1v7\"").await.problem(412, "precondition-failed");
    suspend("\"g1v1\"").await.expect(200);
    post(&world, &operator, "/v1/orgs/third/suspend", json!({})).await.problem(404, "not-found");
}

#[tokio::test]
async fn the_operator_reaches_nothing_inside_an_organization() {
    let world = TestWorld::new(33).await;
    let (org, operator) = installed(&world).await;
    for path in ["/v1/agents", "/v1/events", "/v1/admin-keys", "/v1/credentials", "/v1/log"] {
        world.ask(Ask::get(path).bearer(&operator)).await.problem(401, "admin-key");
    }
    let body = json!({"display_name": "Mine"});
    let ask = Ask::new("PATCH", "/v1/orgs/acme").bearer(&operator).json(&body);
    world.ask(ask).await.problem(401, "admin-key");
    revoke(&world, &operator, &id_of(&org.admin)).await.problem(401, "admin-key");
    let introspect = Ask::post("/o/acme/oauth/introspect").bearer(&operator);
    let answer = world.ask(introspect.form(&[("token", "x")])).await;
    answer.refused(401, "invalid_client", "client-authentication");
    // Nor does an administrator's key pass for it, nor a made-up one.
    let (_, _, rest) = {
        let mut parts = operator.splitn(3, '_');
        (parts.next(), parts.next(), parts.next().expect("the rest").to_owned())
    };
    for wrong in [format!("acr_admin_{rest}"), operator.replace("acr_o", "acr_O")] {
        world.ask(Ask::get("/v1/orgs").bearer(&wrong)).await.problem(401, "admin-key");
    }
    let stranger = TestWorld::new(34).await;
    let (_, unknown) = installed(&stranger).await;
    world.ask(Ask::get("/v1/orgs").bearer(&unknown)).await.problem(401, "admin-key");
}

#[tokio::test]
async fn a_renewed_operators_key_ends_the_earlier_ones() {
    let world = TestWorld::new(35).await;
    let (org, first) = installed(&world).await;
    let tenant = world.tenant(&org).await;
    let second = renew(&world.world, &tenant, world.now()).await.expect("renewed");
    let second = second.expose().to_owned();
    let lists = async |key: &str| world.ask(Ask::get("/v1/orgs").bearer(key)).await;
    lists(&first).await.problem(401, "credential-revoked");
    lists(&second).await.expect(200);
    world.advance(366 * DAY);
    lists(&second).await.problem(401, "credential-expired");
}
