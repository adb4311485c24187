//! The contract of the HTTP API over real sockets: versions, repetitions, limits, and who read
//! the log.

use std::io::Write as _;

use serde_json::{Value, json};

use crate::stage::cast::text;
use crate::stage::server::{Folder, free_port};
use crate::stage::{Answer, Ask, Cast, Server, binary};

async fn change(server: &Server, tag: &str, purpose: &str) -> Answer {
    let body = json!({ "purpose": purpose });
    let ask = Ask::json("PATCH", "/v1/agents/planner", &body).bearer(&server.admin);
    server.send(ask.header("If-Match", tag)).await
}

fn tag(answer: &Answer) -> String {
    answer.header("etag").expect("an entity tag").to_owned()
}

#[tokio::test]
async fn two_who_read_the_same_version_cannot_both_write_it() {
    let cast = Cast::new().await;
    cast.agent("planner").await;
    let server = &cast.server;
    let read = tag(&server.api("GET", "/v1/agents/planner", Value::Null).await);
    let first = change(server, &read, "by the first").await;
    assert_eq!(first.good()["purpose"], "by the first");
    change(server, &read, "by the second").await.problem(412, "precondition-failed");
    let now = server.api("GET", "/v1/agents/planner", Value::Null).await;
    assert_eq!(now.good()["purpose"], "by the first");
    assert_eq!(tag(&now), tag(&first));
    assert_eq!(change(server, &tag(&now), "by the second").await.status, 200);
    assert_eq!(change(server, "*", "by whoever").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sixteen_repetitions_at_once_and_after_a_crash_make_one_instance() {
    let cast = Cast::new().await;
    let client = cast.agent("planner").await;
    // The key that the server prints at its second start is another one.
    let admin = cast.server.admin.clone();
    let create = |server: &Server| {
        let ask = Ask::json("POST", "/v1/instances", &json!({"agent": client.agent}));
        (ask.bearer(&admin).header("Idempotency-Key", "\"one\""), server.address)
    };
    let asked: Vec<_> = (0..16)
        .map(|_| {
            let (ask, to) = create(&cast.server);
            tokio::spawn(async move { ask.send(to).await })
        })
        .collect();
    let mut ids = Vec::new();
    let mut secrets = 0;
    for answer in asked {
        let answer = answer.await.expect("an answer");
        assert_eq!(answer.status, 201, "{}", answer.text());
        let told = answer.json()["client_secret"].is_string();
        assert_eq!(told, answer.header("idempotent-replayed").is_none());
        secrets += usize::from(told);
        ids.push(text(&answer.json(), "id"));
    }
    ids.dedup();
    assert_eq!((ids.len(), secrets), (1, 1), "one instance, and its secret is told once");
    let mut server = cast.server;
    server.kill();
    let server = server.again().await;
    let (ask, to) = create(&server);
    let again = ask.send(to).await;
    assert_eq!((again.status, again.header("idempotent-replayed")), (201, Some("true")));
    assert_eq!(text(&again.json(), "id"), ids[0]);
    let listed = server.get("/v1/instances").await;
    assert_eq!(listed["items"].as_array().expect("items").len(), 1);
}

#[tokio::test]
async fn a_limit_of_the_configuration_holds_and_the_command_line_says_how_long_to_wait() {
    let folder = Folder::new();
    let address = format!("127.0.0.1:{}", free_port());
    let (data, url) = (folder.file("data"), format!("http://{address}"));
    let args = ["init", "--data", &data, "--org", "acme", "--public-url", &url, "--listen"];
    let founded =
        binary::run(binary::command(&[&args[..], &[&address, "--output", "json"]].concat())).json();
    let config = text(&founded, "config");
    let mut file = std::fs::OpenOptions::new().append(true).open(&config).expect("the file");
    file.write_all(b"\n[limits]\norganization = 5\n").expect("written");
    let server = Server::serve(folder, &founded).await;
    let mut answers = Vec::new();
    for _ in 0..6 {
        answers.push(server.api("GET", "/v1/agents", Value::Null).await);
    }
    assert_eq!(answers[0].header("ratelimit-policy"), Some("\"minute\";q=5;w=60"));
    assert!(answers[..5].iter().all(|answer| answer.status == 200));
    answers[5].problem(429, "rate-limited");
    let wait: u32 = answers[5].header("retry-after").expect("a time").parse().expect("seconds");
    assert!((1..=12).contains(&wait), "{wait}");
    let ran = server.cli(&["agent", "list"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains("wait 1") && ran.err.contains(" s, then run it again"), "{ran:?}");
    // What is not administration goes on.
    assert_eq!(Ask::get("/readyz").send(server.address).await.status, 200);
}

#[tokio::test]
async fn who_reads_the_log_stands_in_it() {
    let cast = Cast::new().await;
    let server = &cast.server;
    for _ in 0..10 {
        server.get("/v1/events?sort=-created_at&limit=1").await;
    }
    let reads = server.get("/v1/events?type=log.read").await;
    let reads = reads["items"].as_array().expect("items").clone();
    assert_eq!(reads.len(), 1, "one a minute: {reads:?}");
    assert_eq!(reads[0]["payload"]["actor"]["kind"], "admin");
}
