//! `/v1`: the life of an agent and of what hangs on it.

use accredit_testkit::{Ask, TestWorld};
use serde_json::{Value, json};

#[tokio::test]
async fn an_agent_becomes_active_with_owner_purpose_and_permission_and_not_before() {
    let world = TestWorld::new(12).await;
    let scene = world.scene().await;
    let org = &scene.org;
    let post = |path: &str, body: Value| {
        let path = path.to_owned();
        let (world, org) = (&world, org);
        async move { world.admin(org, "POST", &path, Some(body)).await }
    };
    let draft = post("/v1/agents", json!({"name": "late"})).await.expect(201).json();
    assert_eq!(draft["state"], "draft");
    assert_eq!(draft["environment"], "dev");
    let activate = || post("/v1/agents/late/activate", json!({}));
    activate().await.problem(409, "agent-incomplete");
    post("/v1/instances", json!({"agent": "late"})).await.problem(409, "state-forbids");
    let patch = async |body: Value| world.admin(org, "PATCH", "/v1/agents/late", Some(body)).await;
    patch(json!({"owner_email": "Mia@Example.com"})).await.expect(200);
    activate().await.problem(409, "agent-incomplete");
    patch(json!({"purpose": "to be late"})).await.expect(200);
    activate().await.problem(409, "agent-incomplete");
    let path = "/v1/agents/late/permissions/crm";
    let body = || Some(json!({"actions": ["read"]}));
    world.admin(org, "PUT", path, body()).await.expect(200);
    assert_eq!(activate().await.expect(200).member("state"), "active");
    activate().await.problem(409, "state-forbids");
    world.admin(org, "DELETE", path, None).await.problem(409, "agent-incomplete");
    let shown = world.admin(org, "GET", "/v1/agents/late", None).await.json();
    assert_eq!(shown["owner_email"], "mia@example.com");
    assert_eq!(shown["permissions"], json!([{"resource": "crm", "actions": ["read"]}]));
    let asked = json!({"name": "late"});
    post("/v1/agents", asked).await.problem(409, "name-taken");
    for name in ["Late", "", "-late", "la te", "l\u{e4}te", &"x".repeat(64)] {
        post("/v1/agents", json!({"name": name})).await.problem(400, "field-invalid");
    }
    for allow in ["crm", "crm:*", "crm:none", "CRM:read"] {
        let answer = post("/v1/agents", json!({"name": "other", "allow": [allow]})).await;
        answer.problem(400, "field-invalid");
    }
    let answer = post("/v1/agents", json!({"name": "other", "allow": ["none:read"]})).await;
    answer.problem(404, "not-found");
}

#[tokio::test]
async fn decommissioning_is_final_and_takes_everything_with_it_in_one_event() {
    let world = TestWorld::new(12).await;
    let scene = world.scene().await;
    let org = &scene.org;
    let instances =
        [world.instance(org, "planner", None).await, world.instance(org, "planner", None).await];
    // The first look at the log is an event itself.
    crate::events(&world, org, "").await;
    let before = crate::events(&world, org, "").await.len();
    let reason = || Some(json!({"reason": "over"}));
    let path = "/v1/agents/planner/decommission";
    let gone = world.admin(org, "POST", path, reason()).await.expect(200);
    assert_eq!(gone.member("state"), "decommissioned");
    assert_eq!(crate::events(&world, org, "").await.len(), before + 1, "of any type");
    for noun in ["instances", "credentials"] {
        let path = format!("/v1/{noun}?agent=planner");
        let page = world.admin(org, "GET", &path, None).await.expect(200).json();
        let items = page["items"].as_array().expect("items");
        assert!(items.len() >= 2);
        assert!(items.iter().all(|item| item["state"] == "revoked"), "{page}");
    }
    for client in &instances {
        let answer = world.token(org, client, &[("scope", "crm:read")]).await;
        assert_eq!((answer.status, &*answer.member("error")), (401, "invalid_client"));
    }
    for path in ["activate", "suspend", "decommission"] {
        let path = format!("/v1/agents/planner/{path}");
        world.admin(org, "POST", &path, reason()).await.problem(409, "state-forbids");
    }
    for (path, body) in [
        ("/v1/instances", json!({"agent": "planner"})),
        ("/v1/credentials", json!({"agent": "planner", "type": "client-secret"})),
        ("/v1/agents", json!({"name": "planner"})),
    ] {
        let answer = world.admin(org, "POST", path, Some(body)).await;
        assert_eq!(answer.status, 409, "{path}: {}", answer.text());
    }
    let ended = crate::events(&world, org, "agent.decommissioned").await;
    assert_eq!(ended.len(), 1);
}

#[tokio::test]
async fn nothing_that_was_told_once_lies_in_clear_in_the_store() {
    let world = TestWorld::new(12).await;
    let scene = world.scene().await;
    let instance = world.instance(&scene.org, "planner", None).await;
    let crm = world.resource_secret(&scene.org, "crm").await;
    let token = world.token(&scene.org, &instance, &[("scope", "crm:read")]).await;
    let token = token.member("access_token");
    accredit_server::jobs::integrate_all(&world.server).await;
    accredit_server::jobs::flush_all(&world.server).await;
    let stored = world.bytes_at_rest();
    let contains = |needle: &[u8]| stored.windows(needle.len()).any(|window| window == needle);
    assert!(contains(b"planner"), "what is looked through is the store");
    for secret in [&scene.org.admin, &scene.client.secret, &instance.secret, &crm.secret] {
        let bits = secret.rsplit('_').nth(1).expect("the secret part");
        assert!(bits.len() == 52 && !contains(bits.as_bytes()));
    }
    let signature = token.rsplit('.').next().expect("a signature");
    assert!(!contains(signature.as_bytes()), "a token in the store");
    // PKCS#8 of a P-256 or an Ed25519 key begins so after its version; no key lies unwrapped.
    let p256 = [0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
    let ed25519 = [0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22];
    assert!(!contains(&p256) && !contains(&ed25519), "a private key in clear");
}

#[tokio::test]
async fn a_credential_says_when_it_was_last_used_and_from_where() {
    let world = TestWorld::new(13).await;
    let scene = world.scene().await;
    let path = format!("/v1/credentials/{}", scene.client.credential);
    let shown = async || world.admin(&scene.org, "GET", &path, None).await.expect(200).json();
    let unused = shown().await;
    assert!(unused["last_used_at"].is_null() && unused["last_used_from"].is_null(), "{unused}");
    world.token(&scene.org, &scene.client, &[("scope", "crm:read")]).await.expect(200);
    accredit_server::jobs::flush_all(&world.server).await;
    let used = shown().await;
    assert_eq!(used["last_used_at"], world.now().to_string());
    assert_eq!(used["last_used_from"], "192.0.2.7");
    // A resource's key is used by introspecting, too.
    let resource = world.resource_secret(&scene.org, "crm").await;
    let path = format!("/v1/credentials/{}", resource.credential);
    let token = world.token(&scene.org, &scene.client, &[("scope", "crm:read")]).await;
    let form = [("token", &*token.member("access_token"))];
    let ask = Ask::post(scene.org.path("/oauth/introspect")).basic(&resource);
    world.ask(ask.form(&form)).await.expect(200);
    accredit_server::jobs::flush_all(&world.server).await;
    let used = world.admin(&scene.org, "GET", &path, None).await.expect(200).json();
    assert_eq!(used["last_used_at"], world.now().to_string());
}
