//! RFC 7523 section 3 with its successor's narrowing: assertions that are refused, and why.

use accredit_testkit::fixture::Scene;
use accredit_testkit::{Signer, TestWorld};
use accredit_wire::crypto::Algorithm;
use accredit_wire::jose::b64url_encode;
use serde_json::{Value, json};

const READ: (&str, &str) = ("scope", "crm:read");

async fn begin(algorithm: Algorithm) -> (TestWorld, Scene, Signer) {
    let world = TestWorld::new(2).await;
    let scene = world.scene().await;
    let signer = world.agent_key(&scene.org, "planner", "k1", algorithm).await;
    (world, scene, signer)
}

#[tokio::test]
async fn a_good_assertion_of_either_algorithm_gets_a_token() {
    for algorithm in [Algorithm::Es256, Algorithm::EdDsa] {
        let (world, scene, signer) = begin(algorithm).await;
        let now = world.now();
        world.token_by(&scene.org, &signer.assertion(now, "a"), &[READ]).await.expect(200);
        // Without `typ`, with the old one, and without `kid` where there are few keys.
        for (name, value) in [("typ", Value::Null), ("typ", json!("JWT")), ("kid", Value::Null)] {
            let nonce = format!("{name}{value}");
            let assertion = signer.assertion_headed(now, &nonce, name, value);
            world.token_by(&scene.org, &assertion, &[READ]).await.expect(200);
        }
        let with_id = [READ, ("client_id", &*signer.client)];
        world.token_by(&scene.org, &signer.assertion(now, "b"), &with_id).await.expect(200);
    }
}

#[tokio::test]
async fn the_audience_is_the_issuer_alone() {
    let (world, scene, signer) = begin(Algorithm::EdDsa).await;
    let issuer = scene.org.issuer.clone();
    let other = world.found("other").await.issuer;
    for (n, aud) in [
        json!(format!("{issuer}/oauth/token")),
        json!([issuer, other]),
        json!([issuer, issuer]),
        json!([]),
        json!(format!("{issuer}/")),
        json!(other),
        Value::Null,
    ]
    .into_iter()
    .enumerate()
    {
        let assertion = signer.assertion_with(world.now(), &n.to_string(), "aud", aud.clone());
        let answer = world.token_by(&scene.org, &assertion, &[READ]).await;
        assert_eq!(answer.member("error"), "invalid_client", "{aud}: {}", answer.text());
        let rule = answer.member("rule");
        assert!(["assertion-audience", "assertion-invalid"].contains(&&*rule), "{aud}: {rule}");
    }
    // An array of the issuer alone is the issuer alone.
    let assertion = signer.assertion_with(world.now(), "one", "aud", json!([issuer]));
    world.token_by(&scene.org, &assertion, &[READ]).await.expect(200);
}

#[tokio::test]
async fn an_assertion_lives_shortly_and_now() {
    let (world, scene, signer) = begin(Algorithm::EdDsa).await;
    let now = world.now().seconds();
    let lifetime = "assertion-lifetime";
    let refused: Vec<(&str, Value, &str)> = vec![
        ("exp", json!(now + 361), lifetime),
        ("exp", json!(i64::MAX), "assertion-invalid"),
        ("exp", json!(now - 61), lifetime),
        ("exp", json!("soon"), "assertion-invalid"),
        ("exp", json!(-1), "assertion-invalid"),
        ("exp", Value::Null, "assertion-invalid"),
        ("iat", json!(now + 61), lifetime),
        ("nbf", json!(now + 61), lifetime),
        ("jti", Value::Null, "assertion-invalid"),
        ("jti", json!(""), "assertion-invalid"),
        ("jti", json!(7), "assertion-invalid"),
        ("jti", json!("j".repeat(300)), "assertion-invalid"),
        ("iss", json!(scene.planner.name), "assertion-invalid"),
        ("iss", Value::Null, "assertion-invalid"),
    ];
    for (n, (claim, value, rule)) in refused.into_iter().enumerate() {
        let assertion = signer.assertion_with(world.now(), &n.to_string(), claim, value.clone());
        let answer = world.token_by(&scene.org, &assertion, &[READ]).await;
        assert_eq!(answer.member("rule"), rule, "{claim} {value}: {}", answer.text());
        assert_eq!((answer.status, answer.member("error")), (401, "invalid_client".to_owned()));
    }
    for (claim, value) in [("exp", now + 300), ("iat", now + 59), ("nbf", now - 5)] {
        let assertion = signer.assertion_with(world.now(), claim, claim, json!(value));
        world.token_by(&scene.org, &assertion, &[READ]).await.expect(200);
    }
}

#[tokio::test]
async fn an_assertion_is_used_once() {
    let (world, scene, signer) = begin(Algorithm::EdDsa).await;
    let used = signer.assertion(world.now(), "once");
    world.token_by(&scene.org, &used, &[READ]).await.expect(200);
    for _ in 0..2 {
        let again = world.token_by(&scene.org, &used, &[READ]).await;
        again.refused(401, "invalid_client", "assertion-replayed");
    }
    // Also where another key pair of the same client signs the same `jti`.
    let second = world.agent_key(&scene.org, "planner", "k2", Algorithm::Es256).await;
    let same = second.assertion(world.now(), "once");
    let again = world.token_by(&scene.org, &same, &[READ]).await;
    again.refused(401, "invalid_client", "assertion-replayed");
    // Another client may choose the same `jti`.
    world.agent(&scene.org, "worker", &["crm:read"]).await;
    let worker = world.agent_key(&scene.org, "worker", "k1", Algorithm::EdDsa).await;
    world.token_by(&scene.org, &worker.assertion(world.now(), "once"), &[READ]).await.expect(200);
}

#[tokio::test]
async fn an_assertion_is_used_up_by_a_refusal_too() {
    let (world, scene, signer) = begin(Algorithm::EdDsa).await;
    let used = signer.assertion(world.now(), "once");
    let first = world.token_by(&scene.org, &used, &[("scope", "crm:delete")]).await;
    first.refused(400, "invalid_scope", "scope-not-held");
    let again = world.token_by(&scene.org, &used, &[READ]).await;
    again.refused(401, "invalid_client", "assertion-replayed");
    // A second refusal is not told as a fault either.
    let twice = world.token_by(&scene.org, &used, &[("scope", "crm:delete")]).await;
    assert!((400..500).contains(&twice.status), "{}", twice.text());
    // Also where refusals are no longer recorded one by one.
    for n in 0..30 {
        let assertion = signer.assertion(world.now(), &format!("flood-{n}"));
        world.token_by(&scene.org, &assertion, &[("scope", "crm:delete")]).await.expect(400);
        let again = world.token_by(&scene.org, &assertion, &[READ]).await;
        again.refused(401, "invalid_client", "assertion-replayed");
    }
}

#[tokio::test]
async fn a_replay_is_refused_for_as_long_as_the_assertion_lives() {
    let (world, scene, signer) = begin(Algorithm::EdDsa).await;
    let now = world.now();
    let used = signer.assertion_with(now, "long", "exp", json!(now.seconds() + 300));
    world.token_by(&scene.org, &used, &[READ]).await.expect(200);
    for _ in 0..12 {
        world.advance(30);
        accredit_server::jobs::flush_all(&world.server).await;
        let again = world.token_by(&scene.org, &used, &[READ]).await;
        assert_eq!(again.status, 401, "at {}: {}", world.now(), again.text());
    }
}

#[tokio::test]
async fn the_key_decides_the_algorithm_and_the_client_the_keys() {
    let (world, scene, signer) = begin(Algorithm::EdDsa).await;
    let now = world.now();
    for (n, alg) in ["none", "None", "nOnE", "", "HS256", "RS256", "ES256", "ES256K", "eddsa"]
        .into_iter()
        .enumerate()
    {
        let assertion = signer.assertion_headed(now, &format!("alg{n}"), "alg", json!(alg));
        let answer = world.token_by(&scene.org, &assertion, &[READ]).await;
        assert_eq!((answer.status, &*answer.member("error")), (401, "invalid_client"), "{alg}");
    }
    // `HS256` with the public key as the secret, and no signature at all.
    let header = b64url_encode(json!({"alg": "none", "kid": "k1"}).to_string().as_bytes());
    let payload = b64url_encode(signer.claims(now, "none").to_string().as_bytes());
    for forged in [format!("{header}.{payload}."), format!("{header}.{payload}")] {
        let answer = world.token_by(&scene.org, &forged, &[READ]).await;
        assert_eq!((answer.status, &*answer.member("error")), (401, "invalid_client"), "{forged}");
    }
    for typ in ["at+jwt", "accredit-revocations+jwt", "dpop+jwt", "secevent+jwt"] {
        let assertion = signer.assertion_headed(now, typ, "typ", json!(typ));
        let answer = world.token_by(&scene.org, &assertion, &[READ]).await;
        assert_eq!((answer.status, &*answer.member("error")), (401, "invalid_client"), "{typ}");
    }
    for (name, value) in [
        ("crit", json!(["exp"])),
        ("b64", json!(false)),
        ("kid", json!("../../etc/passwd")),
        ("kid", json!("k1' OR 1=1 --")),
        ("kid", json!("k".repeat(5000))),
        ("kid", json!("k1\u{0}")),
        ("kid", json!(7)),
    ] {
        let assertion = signer.assertion_headed(now, &format!("{name}{value}"), name, value);
        let answer = world.token_by(&scene.org, &assertion, &[READ]).await;
        assert_eq!((answer.status, &*answer.member("error")), (401, "invalid_client"));
    }
    // Pointers to keys are not followed: the registered key decides, and it did sign.
    for name in ["jku", "x5u"] {
        let there = json!("https://evil.example/keys");
        let assertion = signer.assertion_headed(now, name, name, there);
        world.token_by(&scene.org, &assertion, &[READ]).await.expect(200);
    }
}

#[tokio::test]
async fn a_key_of_another_agent_or_organization_signs_for_nobody_else() {
    let (world, scene, signer) = begin(Algorithm::EdDsa).await;
    let now = world.now();
    world.agent(&scene.org, "worker", &["crm:read"]).await;
    let worker = world.agent_key(&scene.org, "worker", "w1", Algorithm::EdDsa).await;
    let other = world.found("other").await;
    world.resource(&other, "crm", &["read"]).await;
    world.agent(&other, "planner", &["crm:read"]).await;
    let foreign = world.agent_key(&other, "planner", "k1", Algorithm::EdDsa).await;
    let claims = |nonce: &str| signer.claims(now, nonce);
    let forged = [
        worker.sign(&worker.header(), &claims("a")),
        // With the victim's own `kid`, and with none.
        worker.sign(&signer.header(), &claims("b")),
        worker.sign(&json!({"alg": "EdDSA"}), &claims("c")),
        foreign.sign(&foreign.header(), &claims("d")),
        foreign.sign(&json!({"alg": "EdDSA"}), &claims("e")),
    ];
    for assertion in forged {
        let answer = world.token_by(&scene.org, &assertion, &[READ]).await;
        answer.refused(401, "invalid_client", "client-authentication");
    }
    // Good at home, nothing elsewhere.
    let home = foreign.assertion(now, "home");
    let answer = world.token_by(&scene.org, &home, &[READ]).await;
    answer.refused(401, "invalid_client", "client-authentication");
    world.token_by(&other, &home, &[READ]).await.expect(200);
    // `client_id` beside the assertion must be its subject.
    let assertion = signer.assertion(now, "f");
    let answer =
        world.token_by(&scene.org, &assertion, &[READ, ("client_id", &*worker.client)]).await;
    answer.refused(401, "invalid_client", "assertion-invalid");
    // After the key is revoked it signs for nobody at all.
    world.revoke(&scene.org, &signer.credential).await.expect("revoked");
    let answer = world.token_by(&scene.org, &signer.assertion(now, "g"), &[READ]).await;
    assert_eq!((answer.status, &*answer.member("error")), (401, "invalid_client"));
}

#[tokio::test]
async fn a_key_is_registered_once_for_ever() {
    let (world, scene, signer) = begin(Algorithm::EdDsa).await;
    world.agent(&scene.org, "worker", &["crm:read"]).await;
    let jwk: Value = serde_json::from_str(&signer.public_jwk()).expect("JSON");
    let renamed = {
        let mut jwk = jwk.clone();
        jwk["kid"] = json!("another-name");
        jwk
    };
    let register =
        |agent: &str, jwk: &Value| Some(json!({"agent": agent, "type": "public-key", "jwk": jwk}));
    for (agent, jwk) in [("planner", &jwk), ("worker", &jwk), ("worker", &renamed)] {
        let body = register(agent, jwk);
        world.admin(&scene.org, "POST", "/v1/credentials", body).await.problem(409, "key-taken");
    }
    let gone = json!({"reason": "over"});
    let path = "/v1/agents/planner/decommission";
    world.admin(&scene.org, "POST", path, Some(gone)).await.expect(200);
    let body = register("worker", &renamed);
    world.admin(&scene.org, "POST", "/v1/credentials", body).await.problem(409, "key-taken");
    // Another organization is another world.
    let other = world.found("other").await;
    world.resource(&other, "crm", &["read"]).await;
    world.agent(&other, "planner", &["crm:read"]).await;
    let body = register("planner", &jwk);
    world.admin(&other, "POST", "/v1/credentials", body).await.expect(201);
}

const UNKNOWN: &str = "client-authentication";

/// An assertion that names no key.
fn nameless(world: &TestWorld, signer: &Signer, nonce: &str) -> String {
    signer.assertion_headed(world.now(), nonce, "kid", Value::Null)
}

#[tokio::test]
async fn without_kid_the_newest_eight_live_keys_are_tried() {
    let (world, scene, oldest) = begin(Algorithm::EdDsa).await;
    let org = &scene.org;
    let mut newer = Vec::new();
    for n in 2..=8 {
        world.advance(1);
        newer.push(world.agent_key(org, "planner", &format!("k{n}"), Algorithm::EdDsa).await);
    }
    let token = async |assertion: &str| world.token_by(org, assertion, &[READ]).await;
    token(&nameless(&world, &oldest, "1")).await.expect(200);
    world.advance(1);
    newer.push(world.agent_key(org, "planner", "k9", Algorithm::EdDsa).await);
    // Of nine the oldest is not tried, as nobody's is; by its name it is found.
    token(&nameless(&world, &oldest, "2")).await.refused(401, "invalid_client", UNKNOWN);
    for (n, key) in newer.iter().enumerate() {
        token(&nameless(&world, key, &format!("newer{n}"))).await.expect(200);
    }
    token(&oldest.assertion(world.now(), "3")).await.expect(200);
    // One revoked makes room again.
    world.revoke(org, &newer[7].credential).await.expect("revoked");
    token(&nameless(&world, &oldest, "4")).await.expect(200);
}

#[tokio::test]
async fn keys_that_have_ended_keep_no_live_one_from_being_tried() {
    let (world, scene, live) = begin(Algorithm::EdDsa).await;
    let org = &scene.org;
    let instance = world.instance(org, "planner", Some(60)).await.instance.expect("one");
    let mut ended = Vec::new();
    for n in 0..9 {
        world.advance(1);
        // Of the agent itself, and of an instance that is over.
        let of = (n == 8).then(|| instance.to_string());
        ended.push(world.short_key(org, "planner", of, &format!("e{n}"), 60).await);
    }
    let token = async |assertion: &str| world.token_by(org, assertion, &[READ]).await;
    token(&nameless(&world, &ended[7], "warm")).await.expect(200);
    world.advance(60);
    token(&nameless(&world, &live, "1")).await.expect(200);
    // Who signs with one that has ended is told so, by its name and, of the last ones, without.
    for (n, key) in ended.iter().enumerate() {
        let answer = token(&key.assertion(world.now(), &format!("named{n}"))).await;
        answer.refused(401, "invalid_client", "credential-expired");
    }
    let told = async |n: usize| {
        token(&nameless(&world, &ended[n], &format!("nameless{n}"))).await.member("rule")
    };
    let mut expired = 0;
    for n in 0..9 {
        expired += usize::from(told(n).await == "credential-expired");
    }
    assert_eq!(expired, accredit_domain::issuance::authenticate::ENDED_KEYS_TRIED_MAX);
    // Who signs with none of them is told nothing.
    let stranger = stranger(&live);
    for (kid, nonce) in [(json!("e0"), "s0"), (json!("k1"), "s1"), (Value::Null, "s2")] {
        let forged = stranger.assertion_headed(world.now(), nonce, "kid", kid);
        token(&forged).await.refused(401, "invalid_client", UNKNOWN);
    }
}

/// Somebody who claims to be this client and has another key.
fn stranger(client: &Signer) -> Signer {
    let mut made = Signer::new(Algorithm::EdDsa, "k1", [9; 32]);
    made.client.clone_from(&client.client);
    made.issuer.clone_from(&client.issuer);
    made
}

#[tokio::test]
async fn a_revoked_key_says_so_to_who_signs_with_it_and_to_nobody_else() {
    let (world, scene, signer) = begin(Algorithm::EdDsa).await;
    let org = &scene.org;
    let second = world.agent_key(org, "planner", "k2", Algorithm::EdDsa).await;
    world.revoke(org, &signer.credential).await.expect("revoked");
    let token = async |assertion: &str| world.token_by(org, assertion, &[READ]).await;
    let now = world.now();
    for assertion in [signer.assertion(now, "1"), nameless(&world, &signer, "2")] {
        token(&assertion).await.refused(401, "invalid_client", "credential-revoked");
    }
    // As for a secret.
    world.revoke(org, &scene.client.credential).await.expect("revoked");
    let answer = world.token(org, &scene.client, &[READ]).await;
    answer.refused(401, "invalid_client", "credential-revoked");
    // Another of its keys under the revoked one's name proves nothing of it.
    let renamed = second.assertion_headed(now, "3", "kid", json!("k1"));
    token(&renamed).await.refused(401, "invalid_client", UNKNOWN);
    token(&stranger(&signer).assertion(now, "4")).await.refused(401, "invalid_client", UNKNOWN);
    token(&second.assertion(now, "5")).await.expect(200);
}

#[tokio::test]
async fn duplicate_members_are_refused_before_any_is_believed() {
    let (world, scene, signer) = begin(Algorithm::EdDsa).await;
    let now = world.now();
    let header = signer.header().to_string();
    let claims = signer.claims(now, "dup").to_string();
    let doubled = claims.replacen('{', &format!("{{\"aud\":\"{}\",", signer.issuer), 1);
    let answer = world.token_by(&scene.org, &signer.sign_text(&header, &doubled), &[READ]).await;
    answer.refused(401, "invalid_client", "assertion-invalid");
    let header = header.replacen('{', "{\"alg\":\"none\",", 1);
    let answer = world.token_by(&scene.org, &signer.sign_text(&header, &claims), &[READ]).await;
    answer.refused(401, "invalid_client", "assertion-invalid");
}

#[tokio::test]
async fn a_resource_may_prove_itself_by_key_where_it_introspects() {
    let (world, scene, _) = begin(Algorithm::EdDsa).await;
    let signer = world.resource_key(&scene.org, "crm", "r1").await;
    let token = world.token(&scene.org, &scene.client, &[READ]).await.member("access_token");
    let assertion = signer.assertion(world.now(), "a");
    let kind = accredit_wire::oauth::client_auth::ASSERTION_TYPE;
    let form =
        [("client_assertion_type", kind), ("client_assertion", &*assertion), ("token", &*token)];
    let ask = || accredit_testkit::Ask::post(scene.org.path("/oauth/introspect")).form(&form);
    assert_eq!(world.ask(ask()).await.expect(200).json()["active"], true);
    world.ask(ask()).await.refused(401, "invalid_client", "assertion-replayed");
}
