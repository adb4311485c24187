//! RFC 6749 section 4.4, RFC 8707, RFC 9068: what is granted, where, and for how long.

use accredit_domain::registry::agent::CreateAgent;
use accredit_testkit::fixture::Scene;
use accredit_testkit::{Answer, Client, TestWorld};
use serde_json::json;

use crate::claims;

async fn begin() -> (TestWorld, Scene) {
    let world = TestWorld::new(1).await;
    let scene = world.scene().await;
    (world, scene)
}

const READ: (&str, &str) = ("scope", "crm:read");

/// Parameters beside the grant.
type Asked<'a> = &'a [(&'a str, &'a str)];

/// Seconds from issue to expiry, as the token and the answer agree.
#[track_caller]
fn life(answer: Answer) -> i64 {
    let answer = answer.expect(200).json();
    let claims = claims(answer["access_token"].as_str().expect("a token"));
    let life = claims["exp"].as_i64().expect("exp") - claims["iat"].as_i64().expect("iat");
    assert_eq!(answer["expires_in"], life);
    life
}

#[tokio::test]
async fn a_token_says_what_was_asked_and_nothing_more() {
    let (world, scene) = begin().await;
    let answer = world.token(&scene.org, &scene.client, &[READ]).await.expect(200);
    assert_eq!(answer.header("cache-control"), "no-store");
    let answer = answer.json();
    assert_eq!(answer["scope"], "crm:read");
    assert_eq!(answer["token_type"], "Bearer");
    let claims = claims(answer["access_token"].as_str().expect("a token"));
    assert_eq!(claims["iss"], scene.org.issuer);
    assert_eq!(claims["sub"], scene.client.id);
    assert_eq!(claims["client_id"], scene.client.id);
    assert_eq!(claims["aud"], "https://crm.example/");
    assert_eq!(claims["scope"], "crm:read");
    assert_eq!(claims["accredit"]["v"], 1);
    assert_eq!(claims["accredit"]["depth"], 0);
    assert!(claims["accredit"].get("dlg").is_none(), "nothing may be passed on: {claims}");
    assert!(claims.get("act").is_none());
}

#[tokio::test]
async fn an_expired_credential_gets_nothing_and_only_its_holder_hears_why() {
    let (world, scene) = begin().await;
    let short = world.agent_secret(&scene.org, "planner", Some(100)).await;
    world.token(&scene.org, &short, &[READ]).await.expect(200);
    world.advance(99);
    world.token(&scene.org, &short, &[READ]).await.expect(200);
    world.advance(1);
    let late = world.token(&scene.org, &short, &[READ]).await;
    late.refused(401, "invalid_client", "credential-expired");
    let guess = Client { secret: scene.client.secret.clone(), ..short.clone() };
    let wrong = Client { id: world.found("other").await.issuer, ..guess };
    let answer = world.token(&scene.org, &wrong, &[READ]).await;
    answer.refused(401, "invalid_client", "client-authentication");
    assert!(answer.header("www-authenticate").starts_with("Basic "), "{answer:?}");
}

#[tokio::test]
async fn an_expired_instance_gets_nothing_and_its_sibling_goes_on() {
    let (world, scene) = begin().await;
    let short = world.instance(&scene.org, "planner", Some(100)).await;
    let sibling = world.instance(&scene.org, "planner", None).await;
    let first = world.token(&scene.org, &short, &[READ]).await.expect(200).member("access_token");
    let instance = short.instance.expect("an instance").to_string();
    assert_eq!(claims(&first)["accredit"]["ins"], instance);
    world.advance(100);
    let late = world.token(&scene.org, &short, &[READ]).await;
    late.refused(401, "invalid_client", "credential-expired");
    world.token(&scene.org, &sibling, &[READ]).await.expect(200);
    // A second credential of the same instance outlives the instance, and helps nobody.
    let (world, scene) = begin().await;
    let short = world.instance(&scene.org, "planner", Some(100)).await;
    let asked = json!({"instance": short.instance.expect("one").to_string(),
        "type": "client-secret", "expires_in": 5000});
    let made = world.admin(&scene.org, "POST", "/v1/credentials", Some(asked)).await.expect(201);
    let second = Client { secret: made.member("client_secret"), ..short };
    assert_eq!(
        life(world.token(&scene.org, &second, &[READ]).await),
        100,
        "capped by its instance"
    );
    world.advance(100);
    let late = world.token(&scene.org, &second, &[READ]).await;
    late.refused(400, "unauthorized_client", "instance-not-active");
}

#[tokio::test]
async fn a_token_never_outlives_what_it_was_got_with() {
    let (world, scene) = begin().await;
    let secret = world.agent_secret(&scene.org, "planner", Some(1000)).await;
    assert_eq!(life(world.token(&scene.org, &secret, &[READ]).await), 300);
    world.advance(800);
    assert_eq!(life(world.token(&scene.org, &secret, &[READ]).await), 200);
    world.advance(199);
    assert_eq!(life(world.token(&scene.org, &secret, &[READ]).await), 1);
    let instance = world.instance(&scene.org, "planner", Some(120)).await;
    assert_eq!(life(world.token(&scene.org, &instance, &[READ]).await), 120);
}

#[tokio::test]
async fn expires_in_shortens_and_never_lengthens() {
    let (world, scene) = begin().await;
    for (asked, given) in [("1", 1), ("60", 60), ("300", 300), ("301", 300), ("4294967295", 300)] {
        let answer = world.token(&scene.org, &scene.client, &[READ, ("expires_in", asked)]).await;
        assert_eq!(life(answer), given, "asked for {asked}");
    }
    for asked in ["0", "-5", "+60", "1.5", "60s", "4294967296", " 60", "0x3c"] {
        let answer = world.token(&scene.org, &scene.client, &[READ, ("expires_in", asked)]).await;
        answer.refused(400, "invalid_request", "expires-in-malformed");
    }
}

#[tokio::test]
async fn no_agent_has_tokens_of_more_than_an_hour() {
    let (world, scene) = begin().await;
    let asked = |name: &str, token_lifetime: u32| {
        json!({"name": name, "owner_email": "mia@example.com", "purpose": "p",
            "allow": ["crm:read"], "activate": true, "token_lifetime": token_lifetime})
    };
    for wrong in [0, 3601] {
        let body = Some(asked("long", wrong));
        world.admin(&scene.org, "POST", "/v1/agents", body).await.problem(400, "field-invalid");
    }
    world.admin(&scene.org, "POST", "/v1/agents", Some(asked("hour", 3600))).await.expect(201);
    let hour = world.agent_secret(&scene.org, "hour", None).await;
    assert_eq!(life(world.token(&scene.org, &hour, &[READ]).await), 3600);
    let long = world.token(&scene.org, &hour, &[READ, ("expires_in", "86400")]).await;
    assert_eq!(life(long), 3600);
    for expires_in in [0, 366 * 24 * 3600 + 1] {
        let body = json!({"agent": "hour", "type": "client-secret", "expires_in": expires_in});
        let answer = world.admin(&scene.org, "POST", "/v1/credentials", Some(body)).await;
        answer.problem(400, "field-invalid");
    }
}

#[tokio::test]
async fn nothing_asked_is_nothing_granted_unless_there_is_a_default() {
    let (world, scene) = begin().await;
    let nothing = world.token(&scene.org, &scene.client, &[]).await;
    nothing.refused(400, "invalid_scope", "scope-missing");
    // Named without scope: a token that says who, and allows nothing.
    let audience = ("resource", "https://crm.example/");
    let bare = world.token(&scene.org, &scene.client, &[audience]).await.expect(200).json();
    assert!(claims(bare["access_token"].as_str().expect("a token")).get("scope").is_none());
    assert!(bare.get("scope").is_none_or(|scope| scope == ""), "{bare}");
    let asked = CreateAgent {
        name: "reader".to_owned(),
        allow: vec!["crm:read".to_owned(), "crm:update".to_owned()],
        default_scope: Some("crm:read".to_owned()),
        ..CreateAgent::default()
    };
    world.agent_like(&scene.org, asked).await;
    let reader = world.agent_secret(&scene.org, "reader", None).await;
    let by_default = world.token(&scene.org, &reader, &[]).await.expect(200);
    assert_eq!(by_default.member("scope"), "crm:read");
    let explicit = world.token(&scene.org, &reader, &[("scope", "crm:update")]).await.expect(200);
    assert_eq!(explicit.member("scope"), "crm:update");
}

#[tokio::test]
async fn one_token_is_for_one_resource_that_the_agent_holds() {
    let (world, scene) = begin().await;
    world.resource(&scene.org, "mail", &["send"]).await;
    world.resource(&scene.org, "vault", &["open"]).await;
    world.agent(&scene.org, "worker", &["crm:read", "mail:send"]).await;
    let worker = world.agent_secret(&scene.org, "worker", None).await;
    let (crm, mail) = (("resource", "https://crm.example/"), ("resource", "https://mail.example/"));
    let cases: &[(Asked<'_>, &str, &str)] = &[
        (&[("scope", "crm:read mail:send")], "invalid_target", "target-two"),
        (&[crm, mail], "invalid_target", "target-two"),
        (&[READ, mail], "invalid_target", "target-mismatch"),
        (&[READ, ("resource", "https://crm.example")], "invalid_target", "target-unknown"),
        (&[READ, ("resource", "https://CRM.example/")], "invalid_target", "target-unknown"),
        (&[READ, ("resource", "https://crm.example/x")], "invalid_target", "target-unknown"),
        // What it does not hold and what is not there get the same answer.
        (&[("resource", "https://vault.example/")], "invalid_target", "target-unknown"),
        (&[("resource", "https://none.example/")], "invalid_target", "target-unknown"),
        (&[("resource", "crm")], "invalid_target", "resource-malformed"),
        (&[("resource", "https://crm.example/#x")], "invalid_target", "resource-malformed"),
        (&[("scope", "vault:open")], "invalid_scope", "scope-not-held"),
        (&[("scope", "none:open")], "invalid_scope", "scope-not-held"),
        (&[("scope", "crm:read crm:update")], "invalid_scope", "scope-not-held"),
    ];
    for (asked, error, rule) in cases {
        let answer = world.token(&scene.org, &worker, asked).await;
        answer.refused(400, error, rule);
        assert!(!answer.text().contains("vault.example"), "enumerates: {}", answer.text());
    }
    let named = world.token(&scene.org, &worker, &[READ, crm]).await.expect(200);
    assert_eq!(claims(&named.member("access_token"))["aud"], "https://crm.example/");
    world.revoke(&scene.org, scene.crm.id).await.expect("suspended");
    let suspended = world.token(&scene.org, &worker, &[READ]).await;
    suspended.refused(400, "invalid_target", "target-not-active");
    world.token(&scene.org, &worker, &[("scope", "mail:send")]).await.expect(200);
}

#[tokio::test]
async fn scopes_are_compared_as_bytes() {
    let (world, scene) = begin().await;
    for scope in [
        "crm:rea",
        "crm:readwrite",
        "crm:READ",
        "CRM:read",
        "crm:*",
        "*:read",
        "*",
        "crm:",
        ":read",
        "crm:r\u{435}ad",
        "crm:read\u{a0}crm:update",
        "crm:read\tcrm:update",
        "crm:read\n",
        " crm:read",
        "crm:read ",
        "crm:read  crm:update",
        "crm:read\\",
        "crm:\"read\"",
        "crm:read:x",
    ] {
        let answer = world.token(&scene.org, &scene.client, &[("scope", scope)]).await;
        assert_eq!(answer.status, 400, "{scope:?}: {}", answer.text());
        assert_eq!(answer.member("error"), "invalid_scope", "{scope:?}: {}", answer.text());
    }
}

#[tokio::test]
async fn each_no_of_the_registry_stops_issuing_and_says_its_rule() {
    let (world, scene) = begin().await;
    let Scene { org, planner, client, .. } = &scene;
    let suspend = |path: String| (path.clone() + "/suspend", path + "/activate");
    let cases = [
        (format!("/v1/persons/{}", planner.owner.expect("an owner")), "owner-not-active"),
        ("/v1/agents/planner".to_owned(), "agent-not-active"),
        ("/v1/orgs/acme".to_owned(), "organization-not-active"),
    ];
    for (path, rule) in cases {
        let (off, on) = suspend(path);
        let reason = || Some(json!({"reason": "a test"}));
        world.admin(org, "POST", &off, reason()).await.expect(200);
        let answer = world.token(org, client, &[READ]).await;
        answer.refused(400, "unauthorized_client", rule);
        world.admin(org, "POST", &on, reason()).await.expect(200);
        world.token(org, client, &[READ]).await.expect(200);
    }
    world.revoke(org, &client.credential).await.expect("revoked");
    let answer = world.token(org, client, &[READ]).await;
    answer.refused(401, "invalid_client", "credential-revoked");
    let again = world.agent_secret(org, "planner", None).await;
    let gone = json!({"reason": "over"});
    world.admin(org, "POST", "/v1/agents/planner/decommission", Some(gone)).await.expect(200);
    let answer = world.token(org, &again, &[READ]).await;
    answer.refused(401, "invalid_client", "credential-revoked");
    // A resource's credential gets no tokens.
    let resource = world.resource_secret(org, "crm").await;
    let answer = world.token(org, &resource, &[READ]).await;
    answer.refused(400, "unauthorized_client", "grant-not-for-client");
}

#[tokio::test]
async fn one_organizations_secret_is_nothing_to_another() {
    let (world, scene) = begin().await;
    let other = world.found("other").await;
    let answer = world.token(&other, &scene.client, &[READ]).await;
    answer.refused(401, "invalid_client", "client-authentication");
    let nowhere = accredit_testkit::Org { name: "nowhere".to_owned(), ..other };
    let answer = world.token(&nowhere, &scene.client, &[READ]).await;
    answer.refused(404, "invalid_request", "not-found");
}

#[tokio::test]
async fn a_store_that_cannot_commit_gives_no_token() {
    let (world, scene) = begin().await;
    world.token(&scene.org, &scene.client, &[READ]).await.expect(200);
    world.faults.arm(accredit_testkit::fault::FailAt::BeforeCommit(1));
    let answer = world.token(&scene.org, &scene.client, &[READ]).await;
    assert!(world.faults.disarm(), "the fault was met");
    answer.refused(503, "temporarily_unavailable", "fault");
    assert_eq!(answer.header("retry-after"), "1");
    assert!(!answer.text().contains("the test asked for"), "the cause is not for outside");
    world.token(&scene.org, &scene.client, &[READ]).await.expect(200);
}

#[tokio::test]
async fn what_may_be_passed_on_is_what_the_agent_holds_where_it_may_delegate() {
    let (world, scene) = begin().await;
    let path = "/v1/agents/planner";
    let may = |may: bool| Some(json!({"may_delegate": may}));
    world.admin(&scene.org, "PATCH", path, may(true)).await.expect(200);
    let token = world.token(&scene.org, &scene.client, &[READ]).await.member("access_token");
    let delegable = json!([{"resource": "crm", "actions": ["read", "update"]}]);
    assert_eq!(claims(&token)["accredit"]["dlg"], delegable);
    assert_eq!(claims(&token)["scope"], "crm:read", "and none of it is to be used here");
    world.admin(&scene.org, "PATCH", path, may(false)).await.expect(200);
    let tenant = world.tenant(&scene.org).await;
    assert!(tenant.verifier.verify_token(&token, world.now()).is_err(), "ended with the right");
    let token = world.token(&scene.org, &scene.client, &[READ]).await.member("access_token");
    assert!(claims(&token)["accredit"].get("dlg").is_none());
}

/// RFC 8707: whatever a resource can be registered with can be asked for, and nothing else.
#[tokio::test]
async fn a_resource_can_be_asked_for_by_the_audience_it_was_registered_with() {
    let world = TestWorld::new(1).await;
    let scene = world.scene().await;
    let register = async |name: &str, audience: &str| {
        let body = json!({"name": name, "audience": audience, "actions": ["read"]});
        world.admin(&scene.org, "POST", "/v1/resources", Some(body)).await
    };
    let good = [
        "https://a.example/v1?tenant=1&x=y",
        "urn:example:orders",
        "https://[2001:db8::1]:8443/%7Euser/(a)*;b=c,d!$'",
        &format!("https:{}", "x".repeat(506)),
    ];
    for (n, audience) in good.iter().enumerate() {
        let name = format!("good-{n}");
        register(&name, audience).await.expect(201);
        let agent = format!("bot-{n}");
        world.agent(&scene.org, &agent, &[&format!("{name}:read")]).await;
        let client = world.agent_secret(&scene.org, &agent, None).await;
        let asked = [("resource", *audience), ("scope", &format!("{name}:read"))];
        let token = world.token(&scene.org, &client, &asked).await.expect(200);
        assert_eq!(crate::claims(&token.member("access_token"))["aud"], *audience);
    }
    let wrong = [
        "crm.example",
        "https:",
        "/relative",
        "https://a.example/#f",
        "https://a.example/{x}",
        "https://a.example/a|b",
        "https://a.example/a^b",
        "https://a.example/`",
        "1a:b",
        "https://a.example/%zz",
        "https://a.example/%4",
        "https://a.example/a b",
        "https://\u{e9}.example/",
        "https://a.example/\"",
        &format!("https:{}", "x".repeat(507)),
    ];
    for (n, audience) in wrong.iter().enumerate() {
        register(&format!("wrong-{n}"), audience).await.problem(400, "field-invalid");
        let asked = [("resource", *audience), ("scope", "crm:read")];
        let answer = world.token(&scene.org, &scene.client, &asked).await;
        answer.refused(400, "invalid_target", "resource-malformed");
    }
}
