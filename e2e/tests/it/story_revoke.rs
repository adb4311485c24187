//! One revoke ends everything that hangs on it and nothing else: at introspection at once, at a
//! running verifier within its bound.

use accredit::Verifier;
use serde_json::{Value, json};

use crate::stage::cast::{Client, text};
use crate::stage::keys::ClientKey;
use crate::stage::{Ask, Cast, FOLLOWS_WITHIN, until};

/// A token is dead: at introspection now, at the verifier soon, for the reason given.
async fn check_dead(cast: &Cast, verifier: &Verifier, token: &str) {
    assert!(!cast.server.is_active(token).await, "introspection does not wait");
    let took = until("the verifier follows", FOLLOWS_WITHIN, async || {
        verifier.verify_token(token).await.is_err()
    })
    .await;
    let refusal = verifier.verify_token(token).await.expect_err("dead");
    assert_eq!(refusal.body().rule(), Some("token-revoked"), "after {took:?}: {refusal}");
}

async fn check_alive(cast: &Cast, verifier: &Verifier, token: &str) {
    assert!(cast.server.is_active(token).await);
    verifier.verify_token(token).await.expect("alive");
}

/// What a client is told when it asks for a token.
async fn asks(cast: &Cast, client: &Client) -> crate::stage::Answer {
    cast.server.token(&client.agent, &client.secret, "crm:read").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_ends_and_its_sibling_goes_on() {
    let cast = Cast::new().await;
    let verifier = cast.connected().await;
    let agent = cast.agent("planner").await;
    let (doomed, sibling) =
        (cast.instance_of(&agent.agent).await, cast.instance_of(&agent.agent).await);
    let (dead, alive, own) =
        (cast.token(&doomed).await, cast.token(&sibling).await, cast.token(&agent).await);
    for token in [&dead, &alive, &own] {
        check_alive(&cast, &verifier, token).await;
    }
    let ended = cast.server.revoke(&doomed.id).await;
    assert_eq!(ended["blast"]["instances"], 1, "{ended}");
    check_dead(&cast, &verifier, &dead).await;
    check_alive(&cast, &verifier, &alive).await;
    check_alive(&cast, &verifier, &own).await;
    let again = asks(&cast, &doomed).await;
    assert!([400, 401].contains(&again.status), "{}", again.text());
    asks(&cast, &sibling).await.good();
    asks(&cast, &agent).await.good();
    let shown = cast.server.get(&format!("/v1/instances/{}", doomed.id)).await;
    assert_eq!(shown["state"], "revoked");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_credential_a_token_and_an_agent_each_end_what_is_theirs() {
    let cast = Cast::new().await;
    let verifier = cast.connected().await;
    let (agent, other) = (cast.agent("planner").await, cast.agent("worker").await);
    let second = cast.secret_of(&agent.agent).await;

    let (first, alive) = (cast.token(&agent).await, cast.token(&second).await);
    cast.server.revoke(&agent.credential).await;
    check_dead(&cast, &verifier, &first).await;
    check_alive(&cast, &verifier, &alive).await;
    asks(&cast, &agent).await.refused(401, "invalid_client", "credential-revoked");

    let doomed = cast.token(&second).await;
    let claims = claims(&doomed);
    cast.server.revoke(&text(&claims, "jti")).await;
    check_dead(&cast, &verifier, &doomed).await;
    check_alive(&cast, &verifier, &alive).await;
    asks(&cast, &second).await.good();

    let (by_other, by_instance) =
        (cast.token(&other).await, cast.token(&cast.instance_of(&agent.agent).await).await);
    let ended = cast.server.revoke(&agent.agent).await;
    assert!(ended["blast"]["tokens_at_most"].as_u64() >= Some(2), "{ended}");
    check_dead(&cast, &verifier, &alive).await;
    check_dead(&cast, &verifier, &by_instance).await;
    check_alive(&cast, &verifier, &by_other).await;
    asks(&cast, &second).await.refused(400, "unauthorized_client", "agent-not-active");

    // Suspended, not gone: what is issued after it is active again lives, what was before stays
    // dead.
    let path = format!("/v1/agents/{}/activate", agent.agent);
    cast.server.post(&path, json!({"reason": "looked at"})).await;
    let fresh = cast.token(&second).await;
    check_alive(&cast, &verifier, &fresh).await;
    check_dead(&cast, &verifier, &alive).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_a_resource_and_the_organization_end_all_below_them() {
    let cast = Cast::new().await;
    let verifier = cast.connected().await;
    let (mias, noras) = (cast.agent("mia").await, cast.agent("nora").await);
    let (of_mia, of_nora) = (cast.token(&mias).await, cast.token(&noras).await);

    let mia = cast.server.get("/v1/persons/mia@example.com").await;
    cast.server.revoke(&text(&mia, "id")).await;
    check_dead(&cast, &verifier, &of_mia).await;
    check_alive(&cast, &verifier, &of_nora).await;
    asks(&cast, &mias).await.refused(400, "unauthorized_client", "owner-not-active");

    cast.server.revoke(&cast.resource).await;
    check_dead(&cast, &verifier, &of_nora).await;
    asks(&cast, &noras).await.refused(400, "invalid_target", "target-not-active");
    let path = format!("/v1/resources/{}/activate", cast.resource);
    cast.server.post(&path, json!({"reason": "mended"})).await;
    let fresh = cast.token(&noras).await;
    check_alive(&cast, &verifier, &fresh).await;

    let org = cast.server.get(&format!("/v1/orgs/{}", cast.server.org)).await;
    cast.server.revoke(&text(&org, "id")).await;
    check_dead(&cast, &verifier, &fresh).await;
    asks(&cast, &noras).await.refused(400, "unauthorized_client", "organization-not-active");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signing_key_ends_all_it_signed_and_a_new_one_takes_its_place() {
    let cast = Cast::new().await;
    let verifier = cast.connected().await;
    let agent = cast.agent("planner").await;
    let old = cast.token(&agent).await;
    check_alive(&cast, &verifier, &old).await;
    let kids = async || {
        let jwks = Ask::get(&cast.server.at("/.well-known/jwks.json"));
        let jwks = cast.server.send(jwks).await.good();
        let keys = jwks["keys"].as_array().expect("keys").clone();
        keys.iter().map(|key| text(key, "kid")).collect::<Vec<_>>()
    };
    let before = kids().await;
    let key = text(&header(&old), "kid");
    assert!(before.contains(&key));
    cast.server.revoke(&key).await;
    let after = kids().await;
    assert!(!after.contains(&key), "a revoked key is not published: {after:?}");
    assert!(after.iter().any(|kid| !before.contains(kid)), "a new key: {after:?}");
    assert!(!cast.server.is_active(&old).await);
    until("the verifier follows", FOLLOWS_WITHIN, async || {
        verifier.verify_token(&old).await.is_err()
    })
    .await;

    // The running verifier learns the new key when it meets it, though it does not ask for keys
    // more often than every two seconds, whoever presents what.
    let new = cast.token(&agent).await;
    assert_ne!(text(&header(&new), "kid"), key);
    until("the verifier learns the key", FOLLOWS_WITHIN, async || {
        verifier.verify_token(&new).await.is_ok()
    })
    .await;
    check_alive(&cast, &verifier, &new).await;
    assert!(verifier.verify_token(&old).await.is_err());

    // The keys that verifiers hold the log to are not ended this way.
    let keys = cast.server.get("/v1/signing-keys").await;
    for kept in keys["items"].as_array().expect("keys") {
        if kept["purpose"] == "log" {
            let body = json!({"target": kept["id"], "reason": "tries"});
            cast.server.api("POST", "/v1/revocations", body).await.problem(409, "state-forbids");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn decommissioning_is_final_and_takes_all_with_it() {
    let cast = Cast::new().await;
    let server = &cast.server;
    let verifier = cast.connected().await;
    let agent = cast.agent("planner").await;
    let instance = cast.instance_of(&agent.agent).await;
    let key = ClientKey::new(accredit_wire::crypto::Algorithm::Es256, None);
    let register = json!({"agent": agent.agent, "type": "public-key", "jwk": key.jwk()});
    server.post("/v1/credentials", register.clone()).await;
    let tokens = [cast.token(&agent).await, cast.token(&instance).await];

    server.api("POST", "/v1/credentials", register).await.problem(409, "key-taken");
    let other = cast.bare_agent("worker").await;
    let taken = json!({"agent": other, "type": "public-key", "jwk": key.jwk()});
    server.api("POST", "/v1/credentials", taken.clone()).await.problem(409, "key-taken");

    let path = format!("/v1/agents/{}", agent.agent);
    server.post(&format!("{path}/decommission"), json!({"reason": "done"})).await;
    for token in &tokens {
        check_dead(&cast, &verifier, token).await;
    }
    let rows = server.get(&format!("/v1/instances?agent={}", agent.agent)).await;
    check_all_revoked(&rows, 1);
    let rows = server.get(&format!("/v1/credentials?agent={}", agent.agent)).await;
    check_all_revoked(&rows, 3);
    for client in [&agent, &instance] {
        let refused = asks(&cast, client).await;
        refused.refused(401, "invalid_client", "credential-revoked");
    }
    for verb in ["activate", "suspend", "decommission"] {
        let body = json!({"reason": "tries"});
        let again = server.api("POST", &format!("{path}/{verb}"), body).await;
        again.problem(409, "state-forbids");
    }

    // Neither its name nor its key is ever anybody else's.
    let body = json!({"name": "planner", "owner_email": "mia@example.com", "purpose": "again"});
    server.api("POST", "/v1/agents", body).await.problem(409, "name-taken");
    server.api("POST", "/v1/credentials", taken).await.problem(409, "key-taken");
    server.revoke(&cast.resource).await;
    let body = json!({"name": "crm", "audience": "https://new.example/", "actions": ["read"]});
    server.api("POST", "/v1/resources", body).await.problem(409, "name-taken");
}

fn check_all_revoked(rows: &Value, count: usize) {
    let rows = rows["items"].as_array().expect("items");
    assert_eq!(rows.len(), count, "{rows:?}");
    assert!(rows.iter().all(|row| row["state"] == "revoked"), "{rows:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn narrowing_what_an_agent_may_do_ends_what_it_holds() {
    let cast = Cast::new().await;
    let server = &cast.server;
    let verifier = cast.connected().await;
    let agent = cast.agent("planner").await;
    let path = format!("/v1/agents/{}/permissions/crm", agent.agent);

    let wide = server.token(&agent.id, &agent.secret, "crm:read crm:update").await.good();
    let wide = text(&wide, "access_token");
    check_alive(&cast, &verifier, &wide).await;
    server.api("PUT", &path, json!({"actions": ["read"]})).await.good();
    check_dead(&cast, &verifier, &wide).await;
    let again = server.token(&agent.id, &agent.secret, "crm:read crm:update").await;
    again.refused(400, "invalid_scope", "scope-not-held");

    let narrow = cast.token(&agent).await;
    check_alive(&cast, &verifier, &narrow).await;
    server.api("PUT", &path, json!({"actions": ["read", "update"]})).await.good();
    check_alive(&cast, &verifier, &narrow).await;

    // An active agent keeps one permission at least.
    let last = server.api("DELETE", &path, Value::Null).await;
    last.problem(409, "agent-incomplete");
    let erp = json!({"name": "erp", "audience": "https://erp.example/", "actions": ["read"]});
    server.post("/v1/resources", erp).await;
    let of_erp = format!("/v1/agents/{}/permissions/erp", agent.agent);
    server.api("PUT", &of_erp, json!({"actions": ["read"]})).await.good();
    check_alive(&cast, &verifier, &narrow).await;
    server.api("DELETE", &path, Value::Null).await.good();
    check_dead(&cast, &verifier, &narrow).await;
    let again = server.token(&agent.id, &agent.secret, "crm:read").await;
    again.refused(400, "invalid_scope", "scope-not-held");

    // A resource that no longer knows an action ends the tokens that carry it.
    server.api("PUT", &path, json!({"actions": ["read", "update"]})).await.good();
    let update = server.token(&agent.id, &agent.secret, "crm:update").await.good();
    let update = text(&update, "access_token");
    let path = format!("/v1/resources/{}", cast.resource);
    server.api("PATCH", &path, json!({"actions": ["read"]})).await.good();
    check_dead(&cast, &verifier, &update).await;
}

fn part(token: &str, index: usize) -> Value {
    let part = token.split('.').nth(index).expect("a part");
    let bytes = accredit_wire::jose::b64url_decode(part).expect("base64url");
    serde_json::from_slice(&bytes).expect("JSON")
}

fn header(token: &str) -> Value {
    part(token, 0)
}

fn claims(token: &str) -> Value {
    part(token, 1)
}
