//! The agent: one request for many callers, renewal in time, and refusals that say what to do.

use std::time::Duration;

use accredit::{Agent, AgentError, IssuerError};
use accredit_wire::crypto::Algorithm;
use accredit_wire::crypto::PrivateKey;
use accredit_wire::jose::b64url_encode;
use accredit_wire::jose::jwk::{Jwk, PrivateJwk};
use accredit_wire::jose::jws::{TypRule, Unverified};
use accredit_wire::secret::Secret;
use axum::http::header;

use crate::issuer::{Issuer, now};

const CLIENT: &str = "agt_client";

fn agent(issuer: &Issuer) -> Agent {
    Agent::new(issuer.url(), CLIENT, Secret::new("s:e c".to_owned())).expect("an agent")
}

fn requests(issuer: &Issuer) -> usize {
    issuer.inner().token_requests.lock().expect("not poisoned").len()
}

fn last_form(issuer: &Issuer) -> Vec<(String, String)> {
    let requests = issuer.inner().token_requests.lock().expect("not poisoned");
    let (_, body) = requests.last().expect("a request");
    form_urlencoded::parse(body.as_bytes()).into_owned().collect()
}

#[tokio::test]
async fn many_callers_make_one_request() {
    let issuer = Issuer::start().await;
    issuer.token_answers().delay = Duration::from_millis(100);
    let agent = agent(&issuer);
    let calls = (0..20).map(|_| agent.token("crm:read"));
    let tokens = futures_util::future::join_all(calls).await;
    assert!(tokens.iter().all(|token| token.as_ref().expect("a token").text().expose() == "t1"));
    assert_eq!(requests(&issuer), 1);
    let other = agent.token("crm:write").await.expect("a token");
    assert_eq!(other.text().expose(), "t2");
    let at = agent.token_at("crm:read", Some("https://crm.example")).await.expect("a token");
    assert_eq!(at.text().expose(), "t3");
    assert!(last_form(&issuer).contains(&("resource".into(), "https://crm.example".into())));
}

#[tokio::test]
async fn a_token_is_asked_for_in_the_trace_that_the_work_is_in() {
    let issuer = Issuer::start().await;
    let agent = agent(&issuer);
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    agent.in_trace(trace).token("crm:read").await.expect("a token");
    agent.token("crm:read").await.expect("the same token, which is held");
    agent.token("crm:write").await.expect("a token");
    agent.in_trace("00-0-0-01\r\nx: y").token("crm:delete").await.expect("a token");
    let requests = issuer.inner().token_requests.lock().expect("not poisoned");
    let traces: Vec<_> = requests.iter().map(|(headers, _)| headers.get("traceparent")).collect();
    assert_eq!(traces.len(), 3, "held tokens are shared");
    assert_eq!(traces[0].expect("its trace"), trace);
    assert_eq!(traces[1..], [None, None], "no trace, and one that is none");
}

#[tokio::test]
async fn a_secret_goes_into_the_header_form_encoded() {
    let issuer = Issuer::start().await;
    agent(&issuer).token("crm:read").await.expect("a token");
    let requests = issuer.inner().token_requests.lock().expect("not poisoned");
    let (headers, body) = requests.last().expect("a request");
    // base64("agt_client:s%3Ae+c")
    assert_eq!(headers[header::AUTHORIZATION], "Basic YWd0X2NsaWVudDpzJTNBZStj");
    assert_eq!(body, "grant_type=client_credentials&scope=crm%3Aread");
}

#[tokio::test]
async fn a_token_is_renewed_at_two_thirds_and_serves_to_its_end_when_that_fails() {
    let issuer = Issuer::start().await;
    issuer.token_answers().expires_in = 3;
    let agent = agent(&issuer);
    let text = async || agent.token("crm:read").await.map(|token| token.text().expose().to_owned());
    assert_eq!(text().await.as_deref(), Ok("t1"));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(text().await.as_deref(), Ok("t1"), "not yet");
    tokio::time::sleep(Duration::from_millis(1200)).await;
    issuer.token_answers().delay = Duration::from_millis(200);
    for _ in 0..10 {
        assert_eq!(text().await.as_deref(), Ok("t1"), "nobody waits for a renewal");
    }
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(text().await.as_deref(), Ok("t2"));
    assert_eq!(requests(&issuer), 2, "one renewal");
    issuer.set_down(true);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(text().await.as_deref(), Ok("t2"), "still good");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(matches!(text().await, Err(AgentError::Issuer(IssuerError::Status { .. }))));
}

#[tokio::test]
async fn a_forgotten_token_is_asked_for_again() {
    let issuer = Issuer::start().await;
    let agent = agent(&issuer);
    let first = agent.token("crm:read").await.expect("a token");
    agent.forget(&first);
    assert_eq!(agent.token("crm:read").await.expect("a token").text().expose(), "t2");
    agent.forget(&first);
    assert_eq!(agent.token("crm:read").await.expect("a token").text().expose(), "t2");
}

#[tokio::test]
async fn a_refusal_says_rule_and_hint() {
    let issuer = Issuer::start().await;
    {
        let mut answers = issuer.token_answers();
        answers.status = 400;
        answers.body = Some(
            r#"{"error":"invalid_scope","error_description":"too much","rule":"ceiling","hint":"ask for crm:read"}"#
                .to_owned(),
        );
    }
    let error = agent(&issuer).token("crm:write").await.expect_err("refused");
    let AgentError::Refused(refusal) = &error else { panic!("{error:?}") };
    assert_eq!((refusal.rule(), refusal.hint()), (Some("ceiling"), Some("ask for crm:read")));
    assert!(error.to_string().contains("ceiling"), "{error}");
}

#[tokio::test]
async fn a_key_signs_an_assertion_for_this_issuer_alone() {
    let issuer = Issuer::start().await;
    let seed = [3; 32];
    let public = PrivateKey::ed25519_from_seed(&seed).and_then(|key| key.public()).expect("a key");
    let text = serde_json::json!({
        "kty": "OKP", "crv": "Ed25519", "kid": "k1",
        "x": b64url_encode(public.bytes()), "d": b64url_encode(&seed),
    });
    let key = PrivateJwk::parse(text.to_string().as_bytes()).expect("a private key");
    let agent = Agent::new(issuer.url(), CLIENT, key).expect("an agent");
    agent.token("").await.expect("a token");
    let form = last_form(&issuer);
    let value = |name: &str| {
        let pair = form.iter().find(|(found, _)| found == name);
        pair.map(|(_, value)| value.as_str())
    };
    assert_eq!(value("scope"), None);
    let expected = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
    assert_eq!(value("client_assertion_type"), Some(expected));
    let assertion = Unverified::parse(value("client_assertion").expect("one")).expect("a JWS");
    let jwk = Jwk::new(public, Some("k1".to_owned())).expect("a key").into_verifying_key();
    assert_eq!(jwk.key.algorithm(), Algorithm::EdDsa);
    assert_eq!(assertion.peek_unverified_kid(), Some("k1"));
    let verified =
        assertion.verify(&jwk, TypRule::Required("client-authentication+jwt")).expect("signed");
    let claims = verified.claims().expect("claims");
    assert_eq!(claims.sole_audience(), Some(issuer.url()));
    assert_eq!((claims.iss(), claims.sub()), (Some(CLIENT), Some(CLIENT)));
    claims.check_life(now(), Duration::from_mins(1), Duration::from_secs(1)).expect("a minute");
    assert!(claims.jti().is_some_and(|jti| jti.len() == 22));
}

#[tokio::test]
async fn metadata_of_another_issuer_gets_no_secret() {
    let issuer = Issuer::start().await;
    let other = issuer.url().replace("127.0.0.1", "localhost");
    let agent = Agent::new(&other, CLIENT, Secret::new("secret".to_owned())).expect("an agent");
    let error = agent.token("crm:read").await.expect_err("refused");
    assert!(matches!(error, AgentError::Issuer(IssuerError::Malformed { .. })), "{error:?}");
    assert_eq!(requests(&issuer), 0);
}
