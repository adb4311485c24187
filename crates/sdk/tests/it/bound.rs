//! Bound tokens: an agent proves its key by itself, a guard lets nobody else through.

use std::sync::atomic::{AtomicU64, Ordering};

use accredit::{Agent, AgentError, Verifier};
use accredit_wire::binding::Confirmation;
use accredit_wire::binding::dpop::{ProofKey, ToProve};
use accredit_wire::crypto::{Algorithm, PrivateKey};
use accredit_wire::secret::Secret;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, Response, StatusCode, header};
use axum::routing::get;
use tower::ServiceExt as _;

use crate::issuer::{Grant, Issuer, now};

/// Where the service is reached: behind a proxy that takes `/api` away.
const PUBLIC: &str = "https://crm.example/api";
const URL: &str = "https://crm.example/api/who?page=2";

fn agent(issuer: &Issuer) -> Agent {
    Agent::new(issuer.url(), "agt_client", Secret::new("secret".to_owned())).expect("an agent")
}

struct Stage {
    verifier: Verifier,
    key: ProofKey,
    token: String,
}

impl Stage {
    async fn new(change: fn(accredit::verifier::Builder) -> accredit::verifier::Builder) -> Self {
        let issuer = Issuer::start().await;
        let (private, _) = PrivateKey::generate(Algorithm::Es256).expect("a key");
        let key = ProofKey::new(private).expect("a key");
        let grant = Grant { cnf: Some(Confirmation::Key(key.thumbprint())), ..Grant::default() };
        let token = issuer.token(&grant);
        let verifier = change(issuer.builder().public_url(PUBLIC)).connect().await;
        Self { verifier: verifier.expect("a verifier"), key, token }
    }

    fn prove(&self, method: &str, url: &str, nonce: Option<&str>) -> String {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let request = ToProve { method, url, token: Some(&self.token), nonce };
        let jti = u128::from(NEXT.fetch_add(1, Ordering::Relaxed)).to_be_bytes();
        self.key.prove(&request, jti, now()).expect("a proof")
    }

    async fn ask(&self, scheme: &str, proofs: &[&str]) -> Response<Body> {
        let routes = axum::Router::new().route("/who", get(async || "it was you"));
        let routes = routes.layer(self.verifier.guard().require("crm:read"));
        let mut request = Request::get("/who?page=2")
            .header(header::HOST, "evil.example")
            .header(header::AUTHORIZATION, format!("{scheme} {}", self.token));
        for proof in proofs {
            request = request.header("dpop", *proof);
        }
        let request = request.body(Body::empty()).expect("a request");
        routes.oneshot(request).await.expect("an answer")
    }
}

#[track_caller]
fn challenge(response: &Response<Body>) -> &str {
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    response.headers()[header::WWW_AUTHENTICATE].to_str().expect("text")
}

#[tokio::test]
async fn a_guard_takes_a_bound_token_with_a_proof_for_this_request_once() {
    let stage = Stage::new(|builder| builder).await;
    let good = stage.prove("GET", URL, None);
    let answer = stage.ask("DPoP", &[&good]).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert!(!answer.headers().contains_key("dpop-nonce"), "none is needed");
    let answer = stage.ask("DPoP", &[&good]).await;
    let said = challenge(&answer);
    assert!(said.starts_with("DPoP realm=\"accredit\", error=\"invalid_dpop_proof\""), "{said}");
    assert!(said.ends_with("algs=\"ES256 EdDSA\""), "{said}");
}

#[tokio::test]
async fn everything_else_is_told_why() {
    let stage = Stage::new(|builder| builder).await;
    let good = || stage.prove("GET", URL, None);
    let bearer = stage.ask("Bearer", &[&good()]).await;
    assert!(challenge(&bearer).starts_with("DPoP realm=\"accredit\", error=\"invalid_token\""));
    assert!(challenge(&stage.ask("DPoP", &[]).await).contains("no DPoP proof"));
    let two = stage.ask("DPoP", &[&good(), &good()]).await;
    assert!(challenge(&two).contains("more than one"));
    for (method, url) in [
        ("POST", URL),
        ("GET", "https://crm.example/who"),
        ("GET", "https://evil.example/api/who"),
        ("GET", "http://crm.example/api/who"),
    ] {
        let answer = stage.ask("DPoP", &[&stage.prove(method, url, None)]).await;
        assert!(challenge(&answer).contains("error=\"invalid_dpop_proof\""), "{method} {url}");
    }
    let refused = stage.verifier.verify_token(&stage.token).await.expect_err("refused");
    assert_eq!(refused.rejection().rule(), "token-bound");
}

/// axum's `nest` takes its prefix off the URI that a layer inside it sees: `public_url` has to have it.
#[tokio::test]
async fn under_a_nest_the_public_url_has_the_prefix_that_was_taken_off() {
    let ask = async |stage: &Stage, url: &str| {
        let routes = axum::Router::new().route("/who", get(async || "it was you"));
        let guarded = routes.layer(stage.verifier.guard().require("crm:read"));
        let request = Request::get("/api/who?page=2")
            .header(header::AUTHORIZATION, format!("DPoP {}", stage.token))
            .header("dpop", stage.prove("GET", url, None));
        let request = request.body(Body::empty()).expect("a request");
        axum::Router::new().nest("/api", guarded).oneshot(request).await.expect("an answer")
    };
    // `PUBLIC` ends in `/api`: the guard stands behind what takes it off.
    let stage = Stage::new(|builder| builder).await;
    assert_eq!(ask(&stage, URL).await.status(), StatusCode::OK);
    let bare = Stage::new(|builder| builder.public_url("https://crm.example")).await;
    let answer = ask(&bare, URL).await;
    assert!(challenge(&answer).contains("error=\"invalid_dpop_proof\""));
}

#[tokio::test]
async fn a_request_without_a_token_is_told_of_both_ways() {
    let stage = Stage::new(|builder| builder).await;
    let routes = axum::Router::new().route("/who", get(async || "you"));
    let routes = routes.layer(stage.verifier.guard());
    let request = Request::get("/who").body(Body::empty()).expect("a request");
    let answer = routes.oneshot(request).await.expect("an answer");
    let all: Vec<_> = answer.headers().get_all(header::WWW_AUTHENTICATE).iter().collect();
    assert_eq!(all.len(), 2, "{all:?}");
    assert_eq!(all[1], "DPoP realm=\"accredit\", algs=\"ES256 EdDSA\"");
}

#[tokio::test]
async fn where_nonces_are_required_the_refusal_gives_one_and_so_does_each_answer() {
    let stage = Stage::new(accredit::verifier::Builder::require_nonces).await;
    let refused = stage.ask("DPoP", &[&stage.prove("GET", URL, None)]).await;
    assert!(challenge(&refused).contains("error=\"use_dpop_nonce\""));
    let nonce = refused.headers()["dpop-nonce"].to_str().expect("text").to_owned();
    let answer = stage.ask("DPoP", &[&stage.prove("GET", URL, Some(&nonce))]).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert!(answer.headers().contains_key("dpop-nonce"));
}

#[tokio::test]
async fn where_too_many_proofs_are_remembered_bound_tokens_wait() {
    let stage = Stage::new(|builder| builder.proofs_remembered_max(1)).await;
    let mut last = StatusCode::OK;
    for _ in 0..200 {
        last = stage.ask("DPoP", &[&stage.prove("GET", URL, None)]).await.status();
        if last != StatusCode::OK {
            break;
        }
    }
    assert_eq!(last, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn an_agent_proves_the_key_of_its_process_in_every_request() {
    let issuer = Issuer::start().await;
    let agent = agent(&issuer);
    let first = agent.authorize("crm:read", &Method::GET, URL).await.expect("headers");
    let second = agent.authorize("crm:read", &Method::GET, URL).await.expect("headers");
    assert_eq!(first[header::AUTHORIZATION], "DPoP t1");
    assert_eq!(first[header::AUTHORIZATION], second[header::AUTHORIZATION]);
    assert_ne!(first["dpop"], second["dpop"], "a new one for each request");
    let requests = issuer.inner().token_requests.lock().expect("not poisoned").clone();
    assert!(requests.iter().all(|(headers, _)| headers.contains_key("dpop")));
    assert!(agent.thumbprint().is_some_and(|thumbprint| thumbprint.len() == 43));
    let other = crate::bound::agent(&issuer);
    assert_ne!(agent.thumbprint(), other.thumbprint(), "each process, and each agent, its own");
    let wrong = agent.authorize("crm:read", &Method::GET, "not a url").await.expect_err("refused");
    assert!(matches!(wrong, AgentError::Url(_)));
}

#[tokio::test]
async fn an_agent_may_ask_for_plain_tokens() {
    let issuer = Issuer::start().await;
    let secret = Secret::new("secret".to_owned());
    let agent = Agent::builder(issuer.url(), "agt_client", secret).bearer_tokens();
    let agent = agent.build().expect("an agent");
    let headers = agent.authorize("crm:read", &Method::GET, URL).await.expect("headers");
    assert_eq!(headers[header::AUTHORIZATION], "Bearer t1");
    assert!(!headers.contains_key("dpop") && agent.thumbprint().is_none());
    assert!(!agent.learn(
        URL,
        &HeaderMap::from_iter([(
            "dpop-nonce".parse().expect("a name"),
            header::HeaderValue::from_static("n")
        )])
    ));
}

#[tokio::test]
async fn an_issuer_that_binds_nothing_does_not_go_unnoticed() {
    let issuer = Issuer::start().await;
    issuer.token_answers().body =
        Some(r#"{"access_token":"t","token_type":"Bearer","expires_in":60}"#.to_owned());
    let error = agent(&issuer).token("crm:read").await.expect_err("refused");
    assert!(error.to_string().contains("bearer_tokens"), "{error}");
}
