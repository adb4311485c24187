//! Everything at once: issuing after a kill switch, and replays in parallel. That requests met is
//! asserted as well: one after the other they would prove nothing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use accredit_wire::crypto::Algorithm;
use serde_json::{Value, json};
use tokio::sync::Barrier;

use crate::stage::cast::text;
use crate::stage::keys::ClientKey;
use crate::stage::{Answer, Ask, Cast};

/// How many ask at once.
const TASKS: usize = 32;

/// A token, the counter that its decision saw, and when it came.
struct Got {
    token: String,
    rev: u64,
    at: Instant,
}

/// An answer, and when it was under way.
struct Met {
    answer: Answer,
    sent: Instant,
    at: Instant,
}

impl Met {
    fn met(&self, other: &Self) -> bool {
        self.sent < other.at && other.sent < self.at
    }
}

/// Sends all of them at one moment.
async fn at_once(asks: Vec<Ask>, to: SocketAddr) -> Vec<Met> {
    let start = Arc::new(Barrier::new(asks.len()));
    let sent: Vec<_> = asks
        .into_iter()
        .map(|ask| {
            let start = Arc::clone(&start);
            tokio::spawn(async move {
                start.wait().await;
                let sent = Instant::now();
                let answer = ask.send(to).await;
                Met { answer, sent, at: Instant::now() }
            })
        })
        .collect();
    let mut met = Vec::new();
    for sent in sent {
        met.push(sent.await.expect("an answer"));
    }
    met
}

/// Of all that were sent at once one was done, and others were under way meanwhile and were not.
fn check_one_won(all: &[Met], status: u16, refused: impl Fn(&Answer)) {
    let (won, lost): (Vec<_>, Vec<_>) = all.iter().partition(|met| met.answer.status == status);
    let [winner] = won[..] else { panic!("{} of {} won", won.len(), all.len()) };
    assert_eq!(lost.len(), all.len() - 1);
    for met in &lost {
        refused(&met.answer);
    }
    assert!(lost.iter().any(|met| met.met(winner)), "they came one after the other");
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
                    let (mut got, mut times) = (Vec::new(), Vec::new());
                    while !stop.load(Ordering::Relaxed) {
                        let sent = Instant::now();
                        let answer = ask.send(to).await;
                        let at = Instant::now();
                        times.push((sent, at));
                        if answer.status == 200 {
                            let token = text(&answer.json(), "access_token");
                            let rev = claims(&token)["accredit"]["rev"].as_u64().expect("a rev");
                            got.push(Got { token, rev, at });
                        } else {
                            answer.refused(400, "unauthorized_client", "agent-not-active");
                        }
                    }
                    (got, times)
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(120)).await;
        let asked = Instant::now();
        let revoked = cast.server.revoke(&agent.agent).await;
        let answered = Instant::now();
        tokio::time::sleep(Duration::from_millis(80)).await;
        stop.store(true, Ordering::Relaxed);
        let rev = revoked["rev"].as_u64().expect("a counter");
        let (mut all, mut times) = (Vec::new(), Vec::new());
        for racer in racers {
            let (got, asked) = racer.await.expect("a racer");
            all.extend(got);
            times.extend(asked);
        }
        let meanwhile = times.iter().filter(|(sent, at)| *sent < answered && asked < *at).count();
        assert!(meanwhile >= TASKS, "only {meanwhile} asked while it was revoked");
        assert!(times.len() > all.len(), "nobody was refused");
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
    let ask = key.asks(&cast.server.at("/oauth/token"), &agent, &cast.server.issuer);
    let to = cast.server.address;
    let all = at_once(vec![ask; TASKS], to).await;
    check_one_won(&all, 200, |answer| {
        answer.refused(401, "invalid_client", "assertion-replayed");
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_who_take_one_name_or_one_key_do_not_both_get_it() {
    let cast = Cast::new().await;
    let key = ClientKey::new(Algorithm::EdDsa, None);
    let (one, other) = (cast.bare_agent("one").await, cast.bare_agent("other").await);
    let mut asks = Vec::new();
    for place in 0..8 {
        let holder = if place % 2 == 0 { &one } else { &other };
        for (path, body) in [
            ("/v1/agents", json!({"name": "wanted"})),
            ("/v1/credentials", json!({"agent": holder, "type": "public-key", "jwk": key.jwk()})),
        ] {
            asks.push(Ask::json("POST", path, &body).bearer(&cast.server.admin));
        }
    }
    let all = at_once(asks, cast.server.address).await;
    // In the order in which they were asked for: by turns.
    let (agents, keys): (Vec<_>, Vec<_>) =
        all.into_iter().enumerate().partition(|(place, _)| place % 2 == 0);
    for (met, rule) in [(agents, "name-taken"), (keys, "key-taken")] {
        let met: Vec<_> = met.into_iter().map(|(_, met)| met).collect();
        check_one_won(&met, 201, |answer| answer.problem(409, rule));
    }
}
