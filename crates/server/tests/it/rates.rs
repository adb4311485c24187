//! Rate limits: who is over one is told how long to wait, and nobody else notices.

use accredit_domain::limits::Rates;
use accredit_testkit::{Answer, Ask, Client, Org, TestWorld};
use accredit_wire::forwarded::{ForwardedHeader, TrustedProxies};
use serde_json::json;

fn off() -> Rates {
    Rates { client: 0, failures: 0, organization: 0 }
}

async fn token(world: &TestWorld, org: &Org, client: &Client) -> Answer {
    world.token(org, client, &[("scope", "crm:read")]).await
}

#[tokio::test]
async fn without_a_limit_nothing_is_told_and_nobody_is_refused() {
    let world = TestWorld::new(91).await;
    let scene = world.scene().await;
    world.world.limits.set(off());
    for _ in 0..200 {
        let answer = token(&world, &scene.org, &scene.client).await.expect(200);
        assert_eq!(answer.header("ratelimit"), "");
    }
    let answer = world.admin(&scene.org, "GET", "/v1/agents", None).await.expect(200);
    assert_eq!(answer.header("ratelimit-policy"), "");
}

#[tokio::test]
async fn a_client_over_its_limit_waits_and_its_neighbour_does_not() {
    let world = TestWorld::new(92).await;
    let scene = world.scene().await;
    let org = &scene.org;
    world.agent(org, "other", &["crm:read"]).await;
    let other = world.agent_secret(org, "other", None).await;
    world.world.limits.set(Rates { client: 3, ..off() });
    for left in [2, 1, 0] {
        let answer = token(&world, org, &scene.client).await.expect(200);
        assert_eq!(answer.header("ratelimit-policy"), "\"minute\";q=3;w=60");
        assert!(answer.header("ratelimit").starts_with(&format!("\"minute\";r={left};t=")));
    }
    let refused = token(&world, org, &scene.client).await;
    refused.refused(429, "temporarily_unavailable", "rate-limited");
    assert_eq!(refused.header("retry-after"), "20");
    assert_eq!(refused.header("ratelimit"), "\"minute\";r=0;t=20");
    // The same client by another way of proving itself, and at another endpoint.
    let revoke = Ask::post(org.path("/oauth/revoke")).basic(&scene.client);
    let answer = world.ask(revoke.form(&[("token", "x")])).await;
    answer.refused(429, "temporarily_unavailable", "rate-limited");
    // A stranger who only claims to be it takes nothing from it, and is not told.
    let liar = Client { secret: other.secret.clone(), ..scene.client.clone() };
    token(&world, org, &liar).await.refused(401, "invalid_client", "client-authentication");
    token(&world, org, &other).await.expect(200);
    world.advance(20);
    token(&world, org, &scene.client).await.expect(200);
    let refusals = crate::events(&world, org, "token.refused").await;
    assert_eq!(refusals[0]["payload"]["rule"], "rate-limited");
}

#[tokio::test]
async fn a_resource_that_introspects_has_a_limit_too() {
    let world = TestWorld::new(93).await;
    let scene = world.scene().await;
    let crm = world.resource_secret(&scene.org, "crm").await;
    world.world.limits.set(Rates { client: 2, ..off() });
    let ask = || {
        let ask = Ask::post(scene.org.path("/oauth/introspect")).bearer(&crm.secret);
        ask.form(&[("token", "x")])
    };
    let answer = world.ask(ask()).await.expect(200);
    assert!(answer.header("ratelimit").starts_with("\"minute\";r=1;"));
    world.ask(ask()).await.expect(200);
    world.ask(ask()).await.refused(429, "temporarily_unavailable", "rate-limited");
}

#[tokio::test]
async fn who_fails_too_often_is_not_heard_for_a_while() {
    let world = TestWorld::new(94).await;
    let scene = world.scene().await;
    let org = &scene.org;
    world.world.limits.set(Rates { failures: 5, ..off() });
    let wrong = Client { secret: "wrong".to_owned(), ..scene.client.clone() };
    for _ in 0..5 {
        let answer = token(&world, org, &wrong).await;
        answer.refused(401, "invalid_client", "client-authentication");
    }
    let answer = token(&world, org, &wrong).await;
    answer.refused(429, "temporarily_unavailable", "rate-limited");
    assert_eq!(answer.header("retry-after"), "12");
    // Whoever claims something else is heard.
    let unknown = Client { id: "agt_unknown".to_owned(), ..wrong.clone() };
    let answer = token(&world, org, &unknown).await;
    answer.refused(401, "invalid_client", "client-authentication");
    world.advance(60);
    token(&world, org, &scene.client).await.expect(200);
}

/// Asks for a token through a proxy, which is the peer, with lines of a header.
async fn through(
    world: &TestWorld,
    (org, client): (&Org, &Client),
    header: &str,
    lines: &[&str],
) -> Answer {
    let form = [("grant_type", "client_credentials"), ("scope", "crm:read")];
    let ask = Ask::post(org.path("/oauth/token")).basic(client).form(&form);
    world.ask(lines.iter().fold(ask, |ask, line| ask.header(header, line))).await
}

#[tokio::test]
async fn behind_a_trusted_proxy_who_fails_shuts_out_their_own_network_alone() {
    const BOTH: [&str; 2] = ["x-forwarded-for", "forwarded"];
    for header in ForwardedHeader::ALL {
        let world = TestWorld::new(97).await;
        let scene = world.scene().await;
        let networks = vec!["192.0.2.7".parse().expect("a network")];
        let proxies = TrustedProxies { networks, header };
        world.server.proxies.set(proxies).expect("set once");
        world.world.limits.set(Rates { failures: 3, ..off() });
        let wrong = Client { secret: "wrong".to_owned(), ..scene.client.clone() };
        let (right, wrong) = ((&scene.org, &scene.client), (&scene.org, &wrong));
        let (own, other) = (header.name(), BOTH.into_iter().find(|it| *it != header.name()));
        let other = other.expect("the other one");
        let hop = |address: &str| match header {
            ForwardedHeader::XForwardedFor => address.to_owned(),
            ForwardedHeader::Forwarded => format!("for={address}"),
        };
        // Whatever they write before what the proxy adds, and in the other header.
        let attacker = hop("203.0.113.9");
        for lie in ["198.51.100.1", "for=198.51.100.1", "for=\"", ""] {
            through(&world, wrong, own, &[lie, &attacker]).await;
        }
        let refused = through(&world, wrong, own, &[&hop("198.51.100.1"), &attacker]).await;
        refused.refused(429, "temporarily_unavailable", "rate-limited");
        through(&world, right, own, &[&hop("198.51.100.1")]).await.expect(200);
        through(&world, right, own, &[&attacker]).await.expect(429);
        // The header that the proxy does not write says nothing: that is the proxy's own address.
        for _ in 0..3 {
            through(&world, wrong, other, &["198.51.100.1", "for=198.51.100.1"]).await.expect(401);
        }
        through(&world, wrong, other, &["203.0.113.77"]).await.expect(429);
        through(&world, right, own, &[&hop("198.51.100.1")]).await.expect(200);
        // What is recorded is where it came from.
        let issued = crate::events(&world, &scene.org, "token.issued").await;
        assert_eq!(issued[0]["payload"]["source"]["ip"], "198.51.100.1");
    }
}

#[tokio::test]
async fn nobody_is_believed_as_to_where_they_come_from_unless_it_is_set() {
    let world = TestWorld::new(98).await;
    let scene = world.scene().await;
    let client = (&scene.org, &scene.client);
    for (header, line) in [("x-forwarded-for", "198.51.100.1"), ("forwarded", "for=198.51.100.1")] {
        through(&world, client, header, &[line]).await.expect(200);
    }
    let issued = crate::events(&world, &scene.org, "token.issued").await;
    assert!(issued.iter().all(|event| event["payload"]["source"]["ip"] == "192.0.2.7"));
    assert_eq!(issued.len(), 2);
}

#[tokio::test]
async fn an_organizations_administrators_share_one_allowance() {
    let world = TestWorld::new(95).await;
    let scene = world.scene().await;
    let colleague = world.admin_without_organizations(&scene.org).await;
    let stranger = world.found("other").await;
    world.world.limits.set(Rates { organization: 4, ..off() });
    for key in [&scene.org.admin, &colleague] {
        world.ask(Ask::get("/v1/agents").bearer(key)).await.expect(200);
        let missing = world.ask(Ask::get("/v1/agents/none").bearer(key)).await;
        missing.problem(404, "not-found");
        assert_eq!(missing.header("ratelimit-policy"), "\"minute\";q=4;w=60");
    }
    for key in [&scene.org.admin, &colleague] {
        let body = json!({"email": "ann@example.com"});
        let answer = world.ask(Ask::post("/v1/persons").bearer(key).json(&body)).await;
        answer.problem(429, "rate-limited");
        assert_eq!(answer.header("retry-after"), "15");
    }
    world.ask(Ask::get("/v1/agents").bearer(&stranger.admin)).await.expect(200);
    // The limit is for administration: clients go on.
    token(&world, &scene.org, &scene.client).await.expect(200);
    world.advance(15);
    world.ask(Ask::get("/v1/agents").bearer(&scene.org.admin)).await.expect(200);
}

#[tokio::test]
async fn who_fails_too_often_with_an_administrators_key_is_not_heard_under_it_for_a_while() {
    let world = TestWorld::new(96).await;
    let scene = world.scene().await;
    world.world.limits.set(Rates { failures: 5, ..off() });
    // Another credential's key of the right form: known to nobody.
    let stranger = TestWorld::new(97).await.found("other").await.admin;
    let ask = |key: &str| world.ask(Ask::get("/v1/agents").bearer(key));
    for _ in 0..5 {
        ask(&stranger).await.problem(401, "admin-key");
    }
    let refused = ask(&stranger).await;
    refused.problem(429, "rate-limited");
    assert_eq!(refused.header("retry-after"), "12");
    // Whoever has another key is heard, at every door.
    ask(&scene.org.admin).await.expect(200);
    let feed = world.ask(Ask::get(scene.org.path("/revocations")).bearer(&stranger)).await;
    assert_eq!(feed.status, 429, "{}", feed.text());
    world.advance(12);
    ask(&stranger).await.problem(401, "admin-key");
}
