//! RFC 7662, RFC 7009: who is told what about a token, and who may end one.

use accredit_domain::registry::credential::AdminPermission;
use accredit_testkit::fixture::Scene;
use accredit_testkit::{Answer, Ask, Client, Org, TestWorld};
use accredit_wire::crypto::Algorithm;
use serde_json::json;

const READ: (&str, &str) = ("scope", "crm:read");

async fn begin() -> (TestWorld, Scene, String) {
    let world = TestWorld::new(5).await;
    let scene = world.scene().await;
    let token = world.token(&scene.org, &scene.client, &[READ]).await.member("access_token");
    (world, scene, token)
}

async fn introspect(world: &TestWorld, org: &Org, client: &Client, token: &str) -> Answer {
    let ask = Ask::post(org.path("/oauth/introspect")).basic(client).form(&[("token", token)]);
    world.ask(ask).await
}

async fn introspect_by(world: &TestWorld, org: &Org, key: &str, token: &str) -> Answer {
    let ask = Ask::post(org.path("/oauth/introspect")).bearer(key).form(&[("token", token)]);
    world.ask(ask).await
}

/// Exactly what is said of a token that never was.
#[track_caller]
fn inactive(answer: Answer) {
    assert_eq!(answer.expect(200).json(), json!({"active": false}));
}

#[tokio::test]
async fn the_tokens_own_resource_is_told_everything() {
    let (world, scene, token) = begin().await;
    let crm = world.resource_secret(&scene.org, "crm").await;
    let told = introspect(&world, &scene.org, &crm, &token).await.expect(200);
    assert_eq!(told.header("cache-control"), "no-store");
    let told = told.json();
    assert_eq!(told["active"], true);
    let claims = crate::claims(&token);
    for name in ["iss", "sub", "client_id", "aud", "scope", "iat", "exp", "jti", "accredit"] {
        assert_eq!(told[name], claims[name], "{name}");
    }
    // Its secret as bearer key does as well.
    let told = introspect_by(&world, &scene.org, &crm.secret, &token).await.expect(200).json();
    assert_eq!(told["active"], true);
}

#[tokio::test]
async fn nobody_else_can_tell_a_live_token_from_none() {
    let (world, scene, token) = begin().await;
    world.resource(&scene.org, "mail", &["send"]).await;
    let mail = world.resource_secret(&scene.org, "mail").await;
    inactive(introspect(&world, &scene.org, &mail, &token).await);
    let agent = introspect(&world, &scene.org, &scene.client, &token).await;
    agent.refused(403, "unauthorized_client", "not-entitled");
    let other = world.found("other").await;
    world.resource(&other, "crm", &["read"]).await;
    let foreign = world.resource_secret(&other, "crm").await;
    inactive(introspect(&world, &other, &foreign, &token).await);
    inactive(introspect_by(&world, &other, &other.admin, &token).await);
    let here = introspect(&world, &scene.org, &foreign, &token).await;
    here.refused(401, "invalid_client", "client-authentication");
    let here = introspect_by(&world, &scene.org, &other.admin, &token).await;
    here.refused(401, "invalid_client", "client-authentication");
    let nobody = Ask::post(scene.org.path("/oauth/introspect")).form(&[("token", &*token)]);
    world.ask(nobody).await.refused(401, "invalid_client", "client-unauthenticated");
}

#[tokio::test]
async fn an_administrator_who_may_read_is_told() {
    let (world, scene, token) = begin().await;
    let told = introspect_by(&world, &scene.org, &scene.org.admin, &token).await.expect(200);
    assert_eq!(told.json()["active"], true);
    let reader = world.admin_with(&scene.org, &[AdminPermission::Read]).await;
    let told = introspect_by(&world, &scene.org, &reader, &token).await.expect(200);
    assert_eq!(told.json()["active"], true);
    let auditor = world.admin_with(&scene.org, &[AdminPermission::Audit]).await;
    inactive(introspect_by(&world, &scene.org, &auditor, &token).await);
}

#[tokio::test]
async fn expired_revoked_bent_and_foreign_tokens_are_inactive() {
    let (world, scene, token) = begin().await;
    let crm = world.resource_secret(&scene.org, "crm").await;
    let mut bent = token.clone();
    let last = if bent.ends_with('A') { "B" } else { "A" };
    bent.replace_range(bent.len() - 1.., last);
    let (head, _) = token.rsplit_once('.').expect("three segments");
    let padded = format!("{token}=");
    // Signed by us, or by the client itself, but not as an access token.
    let tenant = world.tenant(&scene.org).await;
    let feed = world.server.hub.snapshot(&tenant, None).await.expect("a snapshot").head;
    let key = world.agent_key(&scene.org, "planner", "k", Algorithm::EdDsa).await;
    let assertion = key.assertion(world.now(), "a");
    let kid = tenant.token_key().id.to_string();
    let claims = crate::claims(&token);
    let forged = key.sign(&json!({"alg": "EdDSA", "kid": kid, "typ": "at+jwt"}), &claims);
    let own_kid = key.sign(&json!({"alg": "EdDSA", "kid": "k", "typ": "at+jwt"}), &claims);
    for wrong in [&feed, &assertion, &forged, &own_kid] {
        inactive(introspect(&world, &scene.org, &crm, wrong).await);
    }
    for wrong in [&*bent, head, &padded, "x", &scene.client.secret, &"a".repeat(20_000)] {
        inactive(introspect(&world, &scene.org, &crm, wrong).await);
    }
    let jti = crate::claims(&token)["jti"].as_str().expect("jti").to_owned();
    let second = world.token(&scene.org, &scene.client, &[READ]).await.member("access_token");
    world.revoke(&scene.org, &jti).await.expect("revoked");
    inactive(introspect(&world, &scene.org, &crm, &token).await);
    let told = introspect(&world, &scene.org, &crm, &second).await.json();
    assert_eq!(told["active"], true, "its sibling lives");
    // It ends when it says: the clock that set its end is asked, and there is no skew to forgive.
    world.advance(299);
    assert_eq!(introspect(&world, &scene.org, &crm, &second).await.json()["active"], true);
    world.advance(1);
    inactive(introspect(&world, &scene.org, &crm, &second).await);
}

#[tokio::test]
async fn a_token_is_ended_by_its_own_client_alone() {
    let (world, scene, token) = begin().await;
    let crm = world.resource_secret(&scene.org, "crm").await;
    let end = |client: &Client, token: &str| {
        let form = [("token", token), ("token_type_hint", "access_token")];
        world.ask(Ask::post(scene.org.path("/oauth/revoke")).basic(client).form(&form))
    };
    world.agent(&scene.org, "worker", &["crm:read"]).await;
    let worker = world.agent_secret(&scene.org, "worker", None).await;
    let instance = world.instance(&scene.org, "planner", None).await;
    let sibling = world.instance(&scene.org, "planner", None).await;
    let own = world.token(&scene.org, &instance, &[READ]).await.member("access_token");
    for (who, whose) in [(&worker, &token), (&crm, &token), (&instance, &token), (&sibling, &own)] {
        end(who, whose).await.refused(403, "unauthorized_client", "token-not-yours");
    }
    for alive in [&token, &own] {
        assert_eq!(introspect(&world, &scene.org, &crm, alive).await.json()["active"], true);
    }
    end(&instance, &own).await.expect(200);
    inactive(introspect(&world, &scene.org, &crm, &own).await);
    assert_eq!(introspect(&world, &scene.org, &crm, &token).await.json()["active"], true);
    // Again, and for what never was: nothing needs to be done.
    for nothing in [&*own, "x", "acr_agent_x"] {
        end(&instance, nothing).await.expect(200);
    }
    end(&scene.client, &token).await.expect(200);
    inactive(introspect(&world, &scene.org, &crm, &token).await);
    let recorded = crate::events(&world, &scene.org, "token.revoked").await;
    assert_eq!(recorded.len(), 2);
    assert_eq!(recorded[0]["payload"]["token"], crate::claims(&own)["jti"]);
}

#[tokio::test]
async fn whether_another_clients_token_lives_is_not_told() {
    let (world, scene, first) = begin().await;
    let org = &scene.org;
    let crm = world.resource_secret(org, "crm").await;
    world.resource(org, "mail", &["send"]).await;
    let mail = world.resource_secret(org, "mail").await;
    world.agent(org, "worker", &["crm:read"]).await;
    let worker = world.agent_secret(org, "worker", None).await;
    let instance = world.instance(org, "planner", None).await;
    let token = async || world.token(org, &scene.client, &[READ]).await.member("access_token");
    let (revoked, live) = (token().await, token().await);
    let end = |client: &Client, token: &str| {
        world.ask(Ask::post(org.path("/oauth/revoke")).basic(client).form(&[("token", token)]))
    };
    world.advance(100);
    end(&scene.client, &revoked).await.expect(200);
    let younger = token().await;
    world.advance(200);
    // One expired and dead, one expired within the skew, one revoked, one alive: one answer.
    let tokens = [&revoked, &first, &live, &younger];
    for (who, what) in [(&worker, "client"), (&crm, "client"), (&instance, "instance")] {
        let mut answers = Vec::new();
        for token in tokens {
            let answer = end(who, token).await;
            answers.push((
                answer.status,
                answer.member("hint"),
                answer.member("error_description"),
            ));
        }
        assert_eq!(answers[0].0, 403, "{answers:?}");
        assert!(answers[0].2.contains(&format!("another {what}")), "{answers:?}");
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    }
    for token in tokens {
        inactive(introspect(&world, org, &mail, token).await);
    }
    // Its own client and its own resource are told; nothing happened to the live one.
    assert_eq!(introspect(&world, org, &crm, &younger).await.json()["active"], true);
    for dead in [&revoked, &first, &live] {
        inactive(introspect(&world, org, &crm, dead).await);
        end(&scene.client, dead).await.expect(200);
    }
    // What ended less than the skew ago, and what lives, was revoked; nothing else.
    end(&scene.client, &younger).await.expect(200);
    world.advance(60);
    end(&scene.client, &live).await.expect(200);
    assert_eq!(crate::events(&world, org, "token.revoked").await.len(), 4);
}

#[tokio::test]
async fn no_kind_of_revocation_leaves_its_tokens_alive_or_ends_others() {
    let (world, scene, _) = begin().await;
    let org = &scene.org;
    let crm = world.resource_secret(org, "crm").await;
    world.agent(org, "worker", &["crm:read"]).await;
    let worker = world.agent_secret(org, "worker", None).await;
    let second = world.agent_secret(org, "planner", None).await;
    let instance = world.instance(org, "planner", None).await;
    // What is revoked, and which of the tokens of client, second, instance and worker live on.
    let owner = scene.planner.owner.expect("an owner").to_string();
    let cases = [
        (scene.client.credential.clone(), [false, true, true, true]),
        (instance.instance.expect("one").to_string(), [false, true, false, true]),
        (owner, [false, false, false, true]),
        (scene.crm.id.to_string(), [false, false, false, false]),
    ];
    let mut tokens = Vec::new();
    for client in [&scene.client, &second, &instance, &worker] {
        let token = world.token(org, client, &[READ]).await.expect(200).member("access_token");
        tokens.push(token);
    }
    for (target, alive) in cases {
        world.revoke(org, &target).await.expect("revoked");
        for (token, alive) in tokens.iter().zip(alive) {
            let told = introspect(&world, org, &crm, token).await.expect(200).json();
            assert_eq!(told["active"], alive, "after {target}");
        }
    }
}
