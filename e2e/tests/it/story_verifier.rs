//! A resource verifies offline: what its guard tells callers, how a stream ends in the middle, and
//! how long it goes on when the server is gone.

use std::time::Duration;

use accredit::verifier::Builder;
use accredit::{Agent, AgentError, Secret, Verifier};

use crate::stage::cast::CRM;
use crate::stage::{Answer, Ask, Cast, FOLLOWS_WITHIN, Server, service, until};

/// Checks what the guard answers to whom it does not let through (RFC 6750 section 3).
#[track_caller]
fn check_challenged(answer: &Answer, status: u16, error: Option<&str>, rule: &str) {
    let body = answer.json();
    assert_eq!((answer.status, body["rule"].as_str()), (status, Some(rule)), "{body}");
    let challenge = answer.header("www-authenticate").expect("a challenge");
    assert!(challenge.starts_with("Bearer "), "{challenge}");
    assert!(challenge.contains("scope=\"crm:read\""), "{challenge}");
    let said = challenge.split("error=\"").nth(1).and_then(|rest| rest.split('"').next());
    assert_eq!(said, error, "{challenge}");
    assert!(body["hint"].as_str().is_some_and(|hint| !hint.is_empty()), "{body}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_guard_lets_in_whom_it_should_and_tells_the_others_why() {
    let cast = Cast::new().await;
    let agent = cast.agent("planner").await;
    let service = service::start(&cast.connected().await).await;
    let who = async |ask: Ask| ask.send(service).await;

    let token = cast.token(&agent).await;
    let let_in = who(Ask::get("/who").bearer(&token)).await;
    assert_eq!((let_in.status, let_in.text()), (200, agent.agent.clone()));

    let update = cast.server.token(&agent.id, &agent.secret, "crm:update").await.good();
    let update = update["access_token"].as_str().expect("a token").to_owned();
    let (signed, _) = token.rsplit_once('.').expect("a signature");
    let forged = format!("{signed}.{}", "A".repeat(86));
    check_challenged(&who(Ask::get("/who")).await, 401, None, "credential-missing");
    for (bad, status, error, rule) in [
        (forged.as_str(), 401, "invalid_token", "token-not-accepted"),
        (update.as_str(), 403, "insufficient_scope", "scope-insufficient"),
        (agent.secret.as_str(), 401, "invalid_token", "token-not-accepted"),
    ] {
        let answer = who(Ask::get("/who").bearer(bad)).await;
        check_challenged(&answer, status, Some(error), rule);
    }
    let twice = who(Ask::get("/who").bearer(&token).bearer(&token)).await;
    assert_eq!((twice.status, twice.rule().as_str()), (400, "credential-not-single"));
    let query = who(Ask::get(&format!("/who?access_token={token}")).bearer(&token)).await;
    assert_eq!((query.status, query.rule().as_str()), (400, "token-in-query"));

    cast.server.revoke(&agent.agent).await;
    until("the guard follows", FOLLOWS_WITHIN, async || {
        who(Ask::get("/who").bearer(&token)).await.status == 401
    })
    .await;
    let dead = who(Ask::get("/who").bearer(&token)).await;
    check_challenged(&dead, 401, Some("invalid_token"), "token-revoked");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_breaks_off_when_its_caller_is_revoked() {
    let cast = Cast::new().await;
    let agent = cast.agent("planner").await;
    let (doomed, sibling) =
        (cast.instance_of(&agent.agent).await, cast.instance_of(&agent.agent).await);
    let service = service::start(&cast.connected().await).await;
    let mut streams = Vec::new();
    for client in [&doomed, &sibling] {
        let token = cast.token(client).await;
        let mut stream = Ask::get("/ticks").bearer(&token).stream(service).await;
        while !stream.seen().contains("tick") {
            assert!(stream.more().await, "{}", stream.seen());
        }
        streams.push(stream);
    }
    let mut alive = streams.pop().expect("two");
    let mut cut = streams.pop().expect("two");
    cast.server.revoke(&doomed.id).await;
    let end = async { while cut.more().await {} };
    tokio::time::timeout(FOLLOWS_WITHIN, end).await.expect("cut in time");
    assert!(!cut.seen().ends_with("0\r\n\r\n"), "a part must not look like the whole");
    let before = alive.seen().len();
    while alive.seen().len() < before + 50 {
        assert!(alive.more().await, "the sibling goes on");
    }
}

/// The silence that a verifier stands: longer than it takes to start it again on a busy machine.
const SILENCE_MAX: Duration = Duration::from_secs(8);

/// A verifier that does not stand more than [`SILENCE_MAX`], and remembers.
fn impatient(cast: &Cast) -> Builder {
    let state = cast.server.folder().file("state");
    cast.verifier().age_max(SILENCE_MAX).state_dir(state)
}

async fn is_stale(verifier: &Verifier, token: &str) -> bool {
    match verifier.verify_token(token).await {
        Ok(_) => false,
        Err(refusal) => {
            assert_eq!(refusal.body().rule(), Some("revocations-stale"), "{refusal}");
            assert_eq!(refusal.status().as_u16(), 503);
            true
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_dies_and_verifying_goes_on_within_its_bound() {
    let mut cast = Cast::at(Server::dev().await, 3).await;
    let agent = cast.agent("planner").await;
    let token = cast.token(&agent).await;
    let verifier = impatient(&cast).connect().await.expect("a verifier");
    verifier.verify_token(&token).await.expect("alive");
    let state = cast.server.folder().path().join("state").join("revocations");
    until("the state is kept", FOLLOWS_WITHIN, async || state.exists()).await;

    let seen = verifier.status().expect("a state").signed_at;
    until("the server beats", FOLLOWS_WITHIN, async || {
        verifier.status().is_some_and(|status| status.signed_at > seen)
    })
    .await;
    cast.server.kill();
    let died = std::time::Instant::now();
    verifier.verify_token(&token).await.expect("it goes on");

    // The service restarts while the server is down.
    drop(verifier);
    let verifier = async || impatient(&cast).connect().await;
    let mut restarted = None;
    until("the folder is free again", Duration::from_secs(2), async || {
        restarted = verifier().await.ok();
        restarted.is_some()
    })
    .await;
    let verifier = restarted.expect("restarted");
    verifier.verify_token(&token).await.expect("it still goes on");

    // Issuing fails closed, and says whom it could not reach.
    let library = Agent::new(&cast.server.issuer, &agent.agent, Secret::new(agent.secret.clone()));
    let failed = library.expect("an agent").token("crm:read").await.expect_err("nobody issues");
    assert!(matches!(failed, AgentError::Issuer(_)), "{failed}");
    let secret = cast.server.folder().file("secret");
    std::fs::write(&secret, &agent.secret).expect("a file");
    let mut get = vec!["token", "get", "--org", "dev", "--client-id", &agent.agent];
    get.extend(["--scope", "crm:read", "--secret-file", &secret]);
    let ran = cast.server.cli(&get);
    assert_eq!((ran.code, ran.out.as_str()), (8, ""), "{ran:?}");

    until("it refuses what it cannot know", SILENCE_MAX * 2, async || {
        is_stale(&verifier, &token).await
    })
    .await;
    // What it knew was signed at the last heartbeat before.
    assert!(died.elapsed() < SILENCE_MAX + Duration::from_secs(3), "not within its bound");

    // And goes on by itself when the server is back.
    cast.server = cast.server.again().await;
    until("it goes on", Duration::from_secs(8), async || {
        verifier.verify_token(&token).await.is_ok()
    })
    .await;
    assert_eq!(verifier.alarms(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_verifier_needs_its_own_credential_and_audience() {
    let cast = Cast::new().await;
    let agent = cast.agent("planner").await;
    let token = cast.token(&agent).await;
    let issuer = &cast.server.issuer;
    for secret in [&agent.secret, &cast.server.admin] {
        let other = Verifier::builder(issuer, CRM).credential(secret.clone()).connect().await;
        other.expect_err("not a resource's");
    }
    let mut wrong = cast.resource_secret.clone();
    wrong.replace_range(20..21, if &wrong[20..21] == "0" { "1" } else { "0" });
    Verifier::builder(issuer, CRM).credential(wrong).connect().await.expect_err("wrong");
    let slash = Verifier::builder(issuer, "https://crm.example");
    let slash = slash.credential(cast.resource_secret.clone()).connect().await.expect("connected");
    let refusal = slash.verify_token(&token).await.expect_err("another audience");
    assert_eq!(refusal.body().rule(), Some("token-audience"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_told_to_stop_does_not_wait_for_its_followers() {
    let mut cast = Cast::new().await;
    let agent = cast.agent("planner").await;
    let verifiers = [cast.connected().await, cast.connected().await];
    let token = cast.token(&agent).await;
    let told = std::time::Instant::now();
    assert_eq!(cast.server.stop(), Some(0));
    assert!(told.elapsed() < Duration::from_secs(5), "{:?}", told.elapsed());
    for verifier in &verifiers {
        verifier.verify_token(&token).await.expect("they go on");
    }
}
