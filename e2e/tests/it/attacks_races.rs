//! Everything at once: issuing after a kill switch, and replays in parallel.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use accredit_wire::crypto::Algorithm;
use serde_json::{Value, json};

use crate::stage::cast::text;
use crate::stage::keys::{ASSERTION, ClientKey};
use crate::stage::{Ask, Cast};

/// How many ask at once.
const TASKS: usize = 32;

/// A token, the counter that its decision saw, and when it came.
struct Got {
    token: String,
    rev: u64,
    at: Instant,
}

fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).expect("a payload");
    let bytes = accredit_wire::jose::b64url_decode(payload).expect("base64url");
    serde_json::from_slice(&bytes).expect("JSON")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_token_of_a_revoked_agent_lives_however_close_the_race() {
    let cast = Cast::new().await;
    let verifier = cast.connected().await;
    for round in 0..3 {
        let agent = cast.agent(&format!("racer{round}")).await;
        let stop = Arc::new(AtomicBool::new(false));
        let form = [("grant_type", "client_credentials"), ("scope", "crm:read")];
        let ask = Ask::form(&cast.server.at("/oauth/token"), &form);
        let ask = ask.basic(&agent.id, &agent.secret);
        let to = cast.server.address;
        let racers: Vec<_> = (0..TASKS)
            .map(|_| {
                let (ask, stop) = (ask.clone(), Arc::clone(&stop));
                tokio::spawn(async move {
                    let mut got = Vec::new();
                    while !stop.load(Ordering::Relaxed) {
                        let answer = ask.send(to).await;
                        let at = Instant::now();
                        if answer.status == 200 {
                            let token = text(&answer.json(), "access_token");
                            let rev = claims(&token)["accredit"]["rev"].as_u64().expect("a rev");
                            got.push(Got { token, rev, at });
                        } else {
                            answer.refused(400, "unauthorized_client", "agent-not-active");
                        }
                    }
                    got
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(120)).await;
        let revoked = cast.server.revoke(&agent.agent).await;
        let answered = Instant::now();
        tokio::time::sleep(Duration::from_millis(80)).await;
        stop.store(true, Ordering::Relaxed);
        let rev = revoked["rev"].as_u64().expect("a counter");
        let mut all = Vec::new();
        for racer in racers {
            all.extend(racer.await.expect("a racer"));
        }
        let late = all.iter().filter(|got| got.at > answered).count();
        assert!(all.len() > TASKS, "only {} tokens before the revocation", all.len());
        // A token that names the revocation's own counter would outlive it.
        let survivors = all.iter().filter(|got| got.rev >= rev).count();
        assert_eq!(survivors, 0, "of {} tokens, {late} of them late", all.len());
        // The newest are the interesting ones: each is dead at introspection and at a verifier.
        all.sort_by_key(|got| std::cmp::Reverse(got.at));
        for got in all.iter().take(40) {
            assert!(!cast.server.is_active(&got.token).await, "round {round}");
            verifier.verify_token(&got.token).await.expect_err("dead");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_assertion_that_many_send_at_once_is_good_for_one_token() {
    let cast = Cast::new().await;
    let agent = cast.bare_agent("planner").await;
    let key = ClientKey::new(Algorithm::Es256, None);
    let body = json!({"agent": agent, "type": "public-key", "jwk": key.jwk()});
    cast.server.post("/v1/credentials", body).await;
    let assertion = key.assertion(&agent, &cast.server.issuer);
    let form = [
        ("grant_type", "client_credentials"),
        ("scope", "crm:read"),
        ("client_assertion_type", ASSERTION),
        ("client_assertion", assertion.as_str()),
    ];
    let ask = Ask::form(&cast.server.at("/oauth/token"), &form);
    let to = cast.server.address;
    let sent: Vec<_> = (0..TASKS)
        .map(|_| {
            let ask = ask.clone();
            tokio::spawn(async move { ask.send(to).await })
        })
        .collect();
    let mut issued = 0;
    for answer in sent {
        let answer = answer.await.expect("an answer");
        match answer.status {
            200 => issued += 1,
            _ => answer.refused(401, "invalid_client", "assertion-replayed"),
        }
    }
    assert_eq!(issued, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_who_take_one_name_or_one_key_do_not_both_get_it() {
    let cast = Cast::new().await;
    let key = ClientKey::new(Algorithm::EdDsa, None);
    let (one, other) = (cast.bare_agent("one").await, cast.bare_agent("other").await);
    let mut sent = Vec::new();
    for place in 0..8 {
        let holder = if place % 2 == 0 { &one } else { &other };
        for (path, body) in [
            ("/v1/agents", json!({"name": "wanted"})),
            ("/v1/credentials", json!({"agent": holder, "type": "public-key", "jwk": key.jwk()})),
        ] {
            let ask = Ask::json("POST", path, &body).bearer(&cast.server.admin);
            let to = cast.server.address;
            sent.push((path, tokio::spawn(async move { ask.send(to).await })));
        }
    }
    let (mut agents, mut keys) = (0, 0);
    for (path, answer) in sent {
        let answer = answer.await.expect("an answer");
        let (count, rule) = match path {
            "/v1/agents" => (&mut agents, "name-taken"),
            _ => (&mut keys, "key-taken"),
        };
        if answer.status < 300 {
            *count += 1;
        } else {
            answer.problem(409, rule);
        }
    }
    assert_eq!((agents, keys), (1, 1));
}
