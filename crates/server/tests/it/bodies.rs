//! Bodies that are refused: JSON with surprises, forms with surprises, too much of either.

use std::net::SocketAddr;

use accredit_server::bodies::BODIES_OF_NETWORK_BYTES_MAX;
use accredit_server::endpoints::JSON_BYTES_MAX;
use accredit_server::serve::Listening;
use accredit_testkit::http::FORM;
use accredit_testkit::{Ask, TestWorld};
use accredit_wire::forwarded::TrustedProxies;
use accredit_wire::oauth::form::FORM_BYTES_MAX;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;

#[tokio::test]
async fn json_is_one_object_of_known_members_each_once() {
    let world = TestWorld::new(7).await;
    let org = world.found("acme").await;
    let wrong = [
        r#"{"email":"mia@example.com","admin":true}"#,
        r#"{"email":"mia@example.com","email":"eve@example.com"}"#,
        r#"{"email":"mia@example.com","na\u006de":"a","name":"b"}"#,
        r#"{"email":["mia@example.com"]}"#,
        r#"{"email":null}"#,
        "{}",
        "",
        "[]",
        "null",
        r#""text""#,
        r#"{"email":"mia@example.com"} x"#,
        r#"{"email":"mia@example.com",}"#,
        r#"{"email":"\ud800@example.com"}"#,
        r#"{"email":1e400}"#,
        "{\"email\":\"a\u{0}b\"}",
        "{\"__proto__\":{\"email\":\"x\"}}",
    ];
    for body in wrong {
        let ask = Ask::post("/v1/persons").bearer(&org.admin).body("application/json", body);
        let answer = world.ask(ask).await;
        assert_eq!(answer.status, 400, "{body}: {}", answer.text());
        answer.problem(400, "field-invalid");
    }
    let deep = format!("{{\"email\":{}{}}}", "[".repeat(200), "]".repeat(200));
    let ask = Ask::post("/v1/persons").bearer(&org.admin).body("application/json", deep);
    world.ask(ask).await.problem(400, "field-invalid");
    let ask = Ask::post("/v1/persons").bearer(&org.admin).body("application/json", [0xff, 0xfe]);
    world.ask(ask).await.problem(400, "field-invalid");
    let page = world.admin(&org, "GET", "/v1/persons", None).await.json();
    assert_eq!(page["items"], json!([]), "nothing came of any of them");
}

#[tokio::test]
async fn the_content_type_must_be_the_one_that_is_read() {
    let world = TestWorld::new(7).await;
    let scene = world.scene().await;
    let body = r#"{"email":"mia@example.com"}"#;
    for wrong in ["text/plain", FORM, "application/json5", "", "application/jsonx"] {
        let ask = Ask::post("/v1/persons").bearer(&scene.org.admin).body(wrong, body);
        world.ask(ask).await.problem(415, "content-type");
    }
    for (right, status) in [("application/json; charset=utf-8", 201), ("Application/JSON", 409)] {
        let ask = Ask::post("/v1/persons").bearer(&scene.org.admin).body(right, body);
        world.ask(ask).await.expect(status);
    }
    let form = "grant_type=client_credentials&scope=crm:read";
    for wrong in ["application/json", "text/plain", "multipart/form-data", ""] {
        let path = scene.org.path("/oauth/token");
        let ask = Ask::post(path).basic(&scene.client).body(wrong, form);
        world.ask(ask).await.refused(400, "invalid_request", "content-type-not-form");
    }
}

#[tokio::test]
async fn a_body_over_its_bound_is_refused() {
    let world = TestWorld::new(7).await;
    let scene = world.scene().await;
    let long = format!("{{\"email\":\"{}\"}}", "a".repeat(JSON_BYTES_MAX));
    let ask = Ask::post("/v1/persons").bearer(&scene.org.admin).body("application/json", long);
    world.ask(ask).await.problem(413, "body-too-large");
    let long = format!("grant_type=client_credentials&x={}", "a".repeat(70_000));
    let ask = Ask::post(scene.org.path("/oauth/token")).basic(&scene.client).body(FORM, long);
    world.ask(ask).await.refused(413, "invalid_request", "body-too-large");
    let ask = Ask::get(scene.org.path("/.well-known/jwks.json")).body("text/plain", "x");
    assert_eq!(world.ask(ask).await.status, 413, "a body where none belongs");
}

#[tokio::test]
async fn forms_say_each_thing_once_and_only_in_the_body() {
    let world = TestWorld::new(7).await;
    let scene = world.scene().await;
    let grant = "grant_type=client_credentials";
    let cases = [
        (format!("{grant}&{grant}"), "parameter-twice"),
        (format!("{grant}&scope=crm:read&scope=crm:update"), "parameter-twice"),
        (format!("{grant}&expires_in=1&expires_in=2"), "parameter-twice"),
        (format!("{grant}&unknown=1&unknown=2"), "parameter-twice"),
        (format!("{grant}&scope=%zz"), "form-encoding"),
        (format!("{grant}&scope=%ff"), "form-encoding"),
        ("scope=crm:read".to_owned(), "parameter-missing"),
        (format!("{grant}&client_secret={}", scene.client.secret), "two-client-authentications"),
        (format!("{grant}&client_id={}", scene.crm.id), "client-id-differs"),
        (format!("{grant}&client_assertion=x"), "two-client-authentications"),
    ];
    for (form, rule) in cases {
        let path = scene.org.path("/oauth/token");
        let ask = Ask::post(path).basic(&scene.client).body(FORM, form.as_str());
        let answer = world.ask(ask).await;
        answer.refused(400, "invalid_request", rule);
        assert!(!answer.text().contains(&scene.client.secret), "echoes the secret");
    }
    let ask = Ask::post(scene.org.path("/oauth/token?scope=crm:read")).basic(&scene.client);
    let answer = world.ask(ask.form(&[("grant_type", "client_credentials")])).await;
    answer.refused(400, "invalid_request", "query-not-allowed");
    let two = Ask::post(scene.org.path("/oauth/token")).basic(&scene.client).basic(&scene.client);
    let answer = world.ask(two.form(&[("grant_type", "client_credentials")])).await;
    answer.refused(400, "invalid_request", "authorization-twice");
    let password = [("grant_type", "password"), ("username", "a"), ("password", "b")];
    let ask = Ask::post(scene.org.path("/oauth/token")).basic(&scene.client).form(&password);
    world.ask(ask).await.refused(400, "unsupported_grant_type", "grant-type-unsupported");
}

#[tokio::test]
async fn basic_is_read_strictly_and_a_bearer_gets_no_token() {
    let world = TestWorld::new(7).await;
    let scene = world.scene().await;
    for value in [
        "Basic",
        "Basic ",
        "Basic !!!!",
        "Basic bm9jb2xvbg==",
        "Basic OnNlY3JldA==",
        "basic  eA==",
        "Digest x",
        "Negotiate",
        "Basic JXp6OnNlY3JldA==",
    ] {
        let ask = Ask::post(scene.org.path("/oauth/token")).header("authorization", value);
        let answer = world.ask(ask.form(&[("grant_type", "client_credentials")])).await;
        assert_eq!((answer.status, &*answer.member("error")), (401, "invalid_client"), "{value}");
        assert!(answer.header("www-authenticate").starts_with("Basic"), "{value}");
    }
    let ask = Ask::post(scene.org.path("/oauth/token")).bearer(&scene.client.secret);
    let answer = world.ask(ask.form(&[("grant_type", "client_credentials")])).await;
    answer.refused(401, "invalid_client", "authorization-scheme");
    let post = [
        ("grant_type", "client_credentials"),
        ("scope", "crm:read"),
        ("client_id", &scene.client.id),
        ("client_secret", &scene.client.secret),
    ];
    world.ask(Ask::post(scene.org.path("/oauth/token")).form(&post)).await.expect(200);
    let no_id = [post[0], post[1], post[3]];
    let answer = world.ask(Ask::post(scene.org.path("/oauth/token")).form(&no_id)).await;
    answer.refused(400, "invalid_request", "parameter-missing");
}

/// A request for a token of which all but the last byte has come, from behind a proxy.
async fn all_but_the_last_byte(to: SocketAddr, source: &str) -> TcpStream {
    let mut stream = TcpStream::connect(to).await.expect("connected");
    let head = format!(
        "POST /o/acme/oauth/token HTTP/1.1\r\nhost: a\r\nx-forwarded-for: {source}\r\n\
         content-type: {FORM}\r\ncontent-length: {FORM_BYTES_MAX}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.expect("sent");
    // Refused meanwhile, it is not read on.
    let _ = stream.write_all(&vec![b'a'; FORM_BYTES_MAX - 1]).await;
    stream
}

#[tokio::test]
async fn bodies_that_do_not_end_take_a_bounded_memory_and_their_own_networks_part_of_it() {
    let world = TestWorld::new(7).await;
    world.found("acme").await;
    let networks = vec!["127.0.0.1".parse().expect("a network")];
    let proxies = TrustedProxies { networks, ..TrustedProxies::default() };
    world.server.proxies.set(proxies).expect("set once");
    let listening = Listening::bind(([127, 0, 0, 1], 0).into(), None).await.expect("a port");
    let address = listening.address().expect("an address");
    let (stop, stopped) = watch::channel(false);
    let serving = tokio::spawn(listening.serve(world.server.clone(), stopped));

    let bodies = &world.server.bodies;
    let places = BODIES_OF_NETWORK_BYTES_MAX / FORM_BYTES_MAX;
    let mut held = Vec::new();
    for at in 0..places {
        held.push(all_but_the_last_byte(address, &format!("203.0.113.{}", at % 200)).await);
    }
    while bodies.bytes() < places * (FORM_BYTES_MAX - 1) {
        tokio::task::yield_now().await;
    }
    for _ in 0..3 {
        let mut refused = all_but_the_last_byte(address, "203.0.113.9").await;
        let mut told = vec![0; 12];
        refused.read_exact(&mut told).await.expect("an answer");
        assert_eq!(told, b"HTTP/1.1 503");
        assert!(bodies.bytes() <= BODIES_OF_NETWORK_BYTES_MAX);
    }
    // Another network is read, to its end.
    let mut other = all_but_the_last_byte(address, "198.51.100.1").await;
    other.write_all(b"a").await.expect("sent");
    let mut told = vec![0; 12];
    other.read_exact(&mut told).await.expect("an answer");
    assert_eq!(told, b"HTTP/1.1 401");
    // And who hangs up gives back what was held.
    drop((held, other));
    while bodies.bytes() > 0 {
        tokio::task::yield_now().await;
    }
    stop.send(true).expect("it listens");
    serving.await.expect("stopped");
}

#[tokio::test]
async fn keys_that_prove_nothing_are_not_registered() {
    let world = TestWorld::new(7).await;
    let scene = world.scene().await;
    let zeros = "A".repeat(43);
    let wrong = [
        json!({"kty": "oct", "k": "c2VjcmV0"}),
        json!({"kty": "RSA", "n": "AQAB", "e": "AQAB"}),
        json!({"kty": "OKP", "crv": "Ed25519", "x": zeros}),
        json!({"kty": "OKP", "crv": "X25519", "x": zeros}),
        json!({"kty": "EC", "crv": "P-256", "x": zeros, "y": zeros}),
        json!({"kty": "EC", "crv": "secp256k1", "x": zeros, "y": zeros}),
        json!({"kty": "OKP", "crv": "Ed25519", "x": zeros, "d": zeros}),
        json!({}),
        json!("text"),
    ];
    for jwk in wrong {
        let body = json!({"agent": "planner", "type": "public-key", "jwk": jwk});
        let answer = world.admin(&scene.org, "POST", "/v1/credentials", Some(body)).await;
        answer.problem(400, "field-invalid");
    }
    for body in [
        json!({"type": "client-secret"}),
        json!({"agent": "planner", "resource": "crm", "type": "client-secret"}),
        json!({"agent": "planner", "type": "password"}),
        json!({"agent": "planner", "type": "public-key"}),
        json!({"agent": "planner", "type": "client-secret", "jwk": {}}),
    ] {
        let answer = world.admin(&scene.org, "POST", "/v1/credentials", Some(body)).await;
        answer.problem(400, "field-invalid");
    }
}

#[tokio::test]
async fn secrets_are_shown_once_and_stand_in_no_list_and_no_event() {
    let world = TestWorld::new(7).await;
    let scene = world.scene().await;
    let instance = world.instance(&scene.org, "planner", None).await;
    let crm = world.resource_secret(&scene.org, "crm").await;
    let token = world.token(&scene.org, &instance, &[("scope", "crm:read")]).await;
    let token = token.member("access_token");
    accredit_server::jobs::flush_all(&world.server).await;
    let mut told = String::new();
    for path in [
        "/v1/agents",
        "/v1/instances",
        "/v1/credentials",
        "/v1/events?limit=200",
        "/v1/orgs",
        "/v1/resources",
        "/v1/events/export",
        "/v1/signing-keys",
    ] {
        told += world.admin(&scene.org, "GET", path, None).await.expect(200).text();
    }
    for secret in [&scene.client.secret, &instance.secret, &crm.secret, &scene.org.admin] {
        // Neither the whole nor the part of it that is secret.
        let bits = secret.rsplit('_').nth(1).expect("the secret part");
        assert!(bits.len() == 52 && !told.contains(bits));
    }
    let signature = token.rsplit('.').next().expect("a signature");
    assert!(!told.contains(signature));
    assert!(!told.contains("client_secret\""), "not even empty");
}
