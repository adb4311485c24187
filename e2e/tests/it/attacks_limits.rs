//! What is too large, too deep or too many is refused with a clear
//! error, and costs nobody else anything.

use std::time::Duration;

use accredit_wire::crypto::Algorithm;
use accredit_wire::jose::b64url_encode;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::stage::cast::Client;
use crate::stage::keys::{ASSERTION, ClientKey};
use crate::stage::{Answer, Ask, Cast};

fn no(answer: &Answer, statuses: &[u16], why: &str) {
    assert!(statuses.contains(&answer.status), "{why}: {} {}", answer.status, answer.text());
    // A short no, which does not send the bomb back.
    assert!(answer.body.len() < 4096, "{why}: {} bytes", answer.body.len());
}

async fn scoped(cast: &Cast, client: &Client, scope: &str) -> Answer {
    cast.server.token(&client.agent, &client.secret, scope).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bombs_are_refused_and_nobody_else_notices() {
    let cast = Cast::new().await;
    let client = cast.agent("planner").await;
    let server = &cast.server;
    let token_path = server.at("/oauth/token");

    // Scopes: too many, too long, and a body beyond its bound.
    let many: Vec<String> = (0..2000).map(|n| format!("crm:a{n}")).collect();
    no(&scoped(&cast, &client, &many.join(" ")).await, &[400, 413], "2,000 scopes");
    no(&scoped(&cast, &client, &"crm:read ".repeat(2000)).await, &[400, 413], "one scope often");
    let long = format!("crm:{}", "a".repeat(5000));
    no(&scoped(&cast, &client, &long).await, &[400], "one long scope");
    no(&scoped(&cast, &client, &"a".repeat(1 << 20)).await, &[413], "a mebibyte of scope");
    let pairs = "a=1&".repeat(5000);
    let flood = Ask::raw_form(&token_path, format!("{pairs}grant_type=client_credentials"));
    no(&server.send(flood).await, &[400, 413], "5,000 parameters");
    let resources = "resource=https%3A%2F%2Fcrm.example%2F&".repeat(400);
    let flood = Ask::raw_form(&token_path, format!("{resources}grant_type=client_credentials"));
    let flood = flood.basic(&client.agent, &client.secret);
    no(&server.send(flood).await, &[400, 413], "400 resources");

    // Tokens and assertions: long, deep, and with an object that never ends.
    let header = b64url_encode(br#"{"alg":"ES256","typ":"at+jwt","kid":"k"}"#);
    let deep = format!(r#"{{"sub":{}1{}}}"#, "[".repeat(3000), "]".repeat(3000));
    let bombs = [
        format!("{header}.{}.{}", "A".repeat(60_000), "A".repeat(86)),
        format!("{header}.{}.{}", b64url_encode(deep.as_bytes()), "A".repeat(86)),
        ".".repeat(50_000),
        "A".repeat(60_000),
    ];
    for bomb in &bombs {
        let ask = Ask::form(&server.at("/oauth/introspect"), &[("token", bomb)]);
        let answer = server.send(ask.bearer(&server.admin)).await;
        if answer.status == 200 {
            assert_eq!(answer.json(), json!({"active": false}));
        } else {
            no(&answer, &[400, 413], "a token to introspect");
        }
        let form = [
            ("grant_type", "client_credentials"),
            ("client_assertion_type", ASSERTION),
            ("client_assertion", bomb.as_str()),
        ];
        no(&server.send(Ask::form(&token_path, &form)).await, &[400, 401, 413], "an assertion");
        let ask = Ask::get("/v1/agents").bearer(bomb);
        no(&server.send(ask).await, &[400, 401, 431], "a bearer credential");
    }
    // Truly signed, and still too deep.
    let key = ClientKey::new(Algorithm::EdDsa, None);
    let register = json!({"agent": client.agent, "type": "public-key", "jwk": key.jwk()});
    server.post("/v1/credentials", register).await;
    let good = key.assertion(&client.agent, &server.issuer);
    let padded = format!("{good}{}", "A".repeat(20_000));
    let form = [
        ("grant_type", "client_credentials"),
        ("client_assertion_type", ASSERTION),
        ("client_assertion", padded.as_str()),
    ];
    no(&server.send(Ask::form(&token_path, &form)).await, &[400, 401, 413], "a padded signature");

    // Objects of the admin API: lists and texts beyond their bounds.
    let actions: Vec<String> = (0..1500).map(|n| format!("a{n}")).collect();
    let resource = json!({"name": "wide", "audience": "https://wide.example/", "actions": actions});
    no(&server.api("POST", "/v1/resources", resource).await, &[400, 413], "1,500 actions");
    let allow: Vec<String> = (0..3000).map(|n| format!("crm:a{n}")).collect();
    let agent = json!({"name": "wide", "owner_email": "m@example.com", "allow": allow});
    no(&server.api("POST", "/v1/agents", agent).await, &[400, 413, 422], "3,000 permissions");
    for field in ["purpose", "owner_email", "name"] {
        let mut agent = json!({"name": "long", "owner_email": "m@example.com"});
        agent[field] = Value::from("a".repeat(50_000));
        no(&server.api("POST", "/v1/agents", agent).await, &[400], field);
    }
    let reason = json!({"target": client.credential, "reason": "a".repeat(50_000)});
    no(&server.api("POST", "/v1/revocations", reason).await, &[400], "a long reason");

    // Nothing happened to anybody: the same client asks, and is answered.
    assert!(scoped(&cast, &client, "crm:read").await.good()["access_token"].is_string());
    let agents = server.get("/v1/agents").await;
    assert_eq!(agents["items"].as_array().map(Vec::len), Some(1), "{agents}");
    // What was refused is bounded in the log as well.
    let log = std::fs::read(server.folder().file("log")).expect("a log");
    assert!(log.len() < 64 * 1024, "{} bytes of log", log.len());
    let events = server.get("/v1/events?limit=200").await;
    assert!(events.to_string().len() < 200 * 1024, "the events are small");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let cast = Cast::new().await;
    let client = cast.agent("planner").await;
    let path = cast.server.at("/oauth/token");
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: a\r\ncontent-type: application/x-www-form-urlencoded\r\n\
         content-length: 29\r\n\r\ngrant_type=client_credentials"
    );
    let mut stream = TcpStream::connect(cast.server.address).await.expect("connected");
    // All but the last byte.
    stream.write_all(&head.as_bytes()[..head.len() - 1]).await.expect("sent");
    let mut told = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut told));
    read.await.expect("it ends by itself").expect("read");
    let told = String::from_utf8(told).expect("text");
    assert!(told.starts_with("HTTP/1.1 408 ") && told.contains("\"body-too-slow\""), "{told}");
    assert_eq!(scoped(&cast, &client, "crm:read").await.status, 200);
}
