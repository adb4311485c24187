//! Nodes whose time of day is off by minutes share a database with one whose clock is right. What
//! was ended stays ended at each of them, an assertion is good once, and the log's time never goes
//! back; tokens of such a node are of no use elsewhere, which is said.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use accredit_wire::crypto::Algorithm;
use serde_json::{Value, json};

use crate::stage::cast::text;
use crate::stage::keys::ClientKey;
use crate::stage::server::{Folder, free_port};
use crate::stage::{Cast, FOLLOWS_WITHIN, Server, binary, postgres, until};
use crate::story_nodes::{init, jti, logged, says};

/// How far a clock is off, in seconds: more than a token lives (300), and what is forgiven (60).
const OFF: i64 = 400;

/// A node whose clock is off.
async fn node_off(founded: &Value, library: &std::path::Path, by: i64) -> Server {
    let address = format!("127.0.0.1:{}", free_port());
    let config = founded["config"].as_str().expect("a path");
    let mut command = binary::command(&["serve", "--config", config, "--listen", &address]);
    command.env("LD_PRELOAD", library).env("CLOCK_SHIFT", by.to_string());
    let mut here = founded.clone();
    here["url"] = format!("http://{address}").into();
    Server::serve_by(command, Folder::new(), &here).await
}

/// When a token says that it was issued.
fn issued_at(token: &str) -> i64 {
    let payload = token.split('.').nth(1).expect("a payload");
    let bytes = accredit_wire::jose::b64url_decode(payload).expect("base64url");
    let claims: Value = serde_json::from_slice(&bytes).expect("JSON");
    claims["iat"].as_i64().expect("a time")
}

/// The times of the events in the last export, lane by lane in their order.
fn check_times(server: &Server) -> usize {
    let export = std::fs::read_to_string(server.folder().file("log.ndjson")).expect("an export");
    let lines = export.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let mut times = BTreeMap::<u64, Vec<i64>>::new();
    for event in lines.map(|line| line["event"].clone()).filter(|event| !event.is_null()) {
        let lane = event["lane"].as_u64().expect("a lane");
        times.entry(lane).or_default().push(event["at"].as_i64().expect("a time"));
    }
    for (lane, times) in &times {
        assert!(times.is_sorted(), "the time of lane {lane} goes back: {times:?}");
    }
    times.values().map(Vec::len).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_whose_clocks_are_off_bring_nothing_back_and_use_nothing_twice() {
    let library = binary::shim("clock");
    let (folder, store) = (Folder::new(), postgres::url_at(postgres::start().await));
    let founded = init(&folder, &store);
    let right = Server::serve(Folder::new(), &founded).await;
    let (ahead, behind) =
        (node_off(&founded, &library, OFF).await, node_off(&founded, &library, -OFF).await);
    let cast = Cast::at(right, 60).await;
    let verifier = cast.connected().await;
    let nodes = [&cast.server, &ahead, &behind];

    // Whoever ends an agent, and whoever gave its token: nobody takes it or gives it anew afterwards.
    let mut held = BTreeSet::new();
    for (n, ender) in nodes.into_iter().enumerate() {
        for (m, giver) in nodes.into_iter().enumerate() {
            let agent = cast.agent(&format!("short-{n}-{m}")).await;
            let answer = giver.token(&agent.agent, &agent.secret, "crm:read").await.good();
            let token = text(&answer, "access_token");
            held.insert(jti(&token));
            let off = issued_at(&token) - crate::stage::now();
            assert!(
                (off - [0, OFF, -OFF][m]).abs() < 30,
                "the clock of node {m} is not off: {off}"
            );
            assert_eq!(says(giver, &token).await, Some(true), "it believes its own clock");
            ender.revoke(&agent.agent).await;
            for node in nodes {
                until("its end is known", FOLLOWS_WITHIN, async || {
                    says(node, &token).await == Some(false)
                })
                .await;
                let again = node.token(&agent.agent, &agent.secret, "crm:read").await;
                assert!((400..500).contains(&again.status), "{}", again.text());
            }
            until("the verifier knows", FOLLOWS_WITHIN, async || {
                verifier.verify_token(&token).await.is_err()
            })
            .await;
        }
    }

    // Tokens of such a node are of no use elsewhere.
    let worker = cast.agent("worker").await;
    for (giver, rule) in [(&ahead, "token-not-yet-valid"), (&behind, "token-expired")] {
        let answer = giver.token(&worker.agent, &worker.secret, "crm:read").await.good();
        let token = text(&answer, "access_token");
        held.insert(jti(&token));
        assert_eq!(says(&cast.server, &token).await, Some(false));
        let refused = verifier.verify_token(&token).await.expect_err("another clock");
        assert_eq!(refused.body().rule(), Some(rule), "{refused}");
    }

    // An assertion of now is too old for one node and too new for another, and good once.
    let (prover, key) = (cast.bare_agent("prover").await, ClientKey::new(Algorithm::Es256, None));
    let body = json!({"agent": prover, "type": "public-key", "jwk": key.jwk()});
    cast.server.post("/v1/credentials", body).await;
    let ask = key.asks(&cast.server.at("/oauth/token"), &prover, &cast.server.issuer);
    for (node, rule) in [(&ahead, "assertion-lifetime"), (&behind, "assertion-lifetime")] {
        node.send(ask.clone()).await.refused(401, "invalid_client", rule);
    }
    held.insert(jti(&text(&cast.server.send(ask.clone()).await.good(), "access_token")));
    for node in nodes {
        let again = node.send(ask.clone()).await;
        assert_eq!(again.status, 401, "{}", again.text());
    }

    tokio::time::sleep(Duration::from_secs(2)).await;
    let logged = logged(&cast.server);
    assert!(held.is_subset(&logged));
    assert!(check_times(&cast.server) > 30);
    assert_eq!(cast.server.cli_json(&["fsck"])["ok"], true);
    assert_eq!(verifier.alarms(), []);
    let token = cast.token(&worker).await;
    verifier.verify_token(&token).await.expect("who asks the node that is right is served");
}
