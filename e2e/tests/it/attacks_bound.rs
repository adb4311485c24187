//! A stolen token that is bound to a key: of no use to whoever lacks the key, at the real binary and at
//! a service of somebody's.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use accredit::{Agent, Secret};
use accredit_wire::binding::dpop::{ProofKey, ToProve};
use accredit_wire::crypto::{Algorithm, PrivateKey};
use accredit_wire::time::Time;
use axum::http::{HeaderMap, Method};
use serde_json::json;

use crate::stage::cast::{Client, text};
use crate::stage::{Answer, Ask, Cast, now, service};

/// Where the service says it is reached; its socket is another one, as behind a proxy.
const URL: &str = "https://crm.example/who";

struct Stage {
    cast: Cast,
    client: Client,
    agent: Agent,
    service: SocketAddr,
}

/// A key of somebody's.
fn key() -> ProofKey {
    let (private, _) = PrivateKey::generate(Algorithm::Es256).expect("a key");
    ProofKey::new(private).expect("a key")
}

fn prove(key: &ProofKey, method: &str, url: &str, token: Option<&str>) -> String {
    prove_with(key, method, url, (token, None))
}

fn prove_with(
    key: &ProofKey,
    method: &str,
    url: &str,
    (token, nonce): (Option<&str>, Option<&str>),
) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let jti = u128::from(NEXT.fetch_add(1, Ordering::Relaxed)).to_be_bytes();
    let request = ToProve { method, url, token, nonce };
    key.prove(&request, jti, Time::from_seconds(now())).expect("a proof")
}

impl Stage {
    async fn new() -> Self {
        let cast = Cast::new().await;
        let client = cast.agent("planner").await;
        let agent =
            Agent::new(&cast.server.issuer, &client.agent, Secret::new(client.secret.clone()));
        let verifier = cast.verifier().public_url("https://crm.example").connect().await;
        let service = service::start(&verifier.expect("a verifier")).await;
        Self { agent: agent.expect("an agent"), cast, client, service }
    }

    async fn ask(&self, headers: &HeaderMap) -> Answer {
        let mut ask = Ask::get("/who");
        for (name, value) in headers {
            ask = ask.header(name.as_str(), value.to_str().expect("text"));
        }
        ask.send(self.service).await
    }

    async fn ask_with(&self, scheme: &str, token: &str, proofs: &[&str]) -> Answer {
        let ask = Ask::get("/who").header("authorization", &format!("{scheme} {token}"));
        let ask = proofs.iter().fold(ask, |ask, proof| ask.header("dpop", proof));
        ask.send(self.service).await
    }

    async fn token_with(&self, proofs: &[&str]) -> Answer {
        let form = [("grant_type", "client_credentials"), ("scope", "crm:read")];
        let ask = Ask::form(&self.cast.server.at("/oauth/token"), &form);
        let ask = ask.basic(&self.client.agent, &self.client.secret);
        let ask = proofs.iter().fold(ask, |ask, proof| ask.header("dpop", proof));
        self.cast.server.send(ask).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thief_of_a_bound_token_gets_nowhere() {
    let stage = Stage::new().await;
    let headers = stage.agent.authorize("crm:read", &Method::GET, URL).await.expect("headers");
    let answer = stage.ask(&headers).await;
    assert_eq!((answer.status, answer.text()), (200, stage.client.agent.clone()));

    // The thief has all of that request, and a key of their own.
    let seen = headers["dpop"].to_str().expect("text");
    let authorization = headers["authorization"].to_str().expect("text");
    let token = authorization.strip_prefix("DPoP ").expect("a bound token");
    let thief = key();
    let own = prove(&thief, "GET", URL, Some(token));
    for (scheme, proofs, rule) in [
        ("DPoP", vec![seen], "dpop-replayed"),
        ("Bearer", vec![], "token-bound"),
        ("Bearer", vec![seen], "token-bound"),
        ("DPoP", vec![], "dpop-absent"),
        ("DPoP", vec![seen, seen], "dpop-several"),
        ("DPoP", vec![own.as_str()], "dpop-other-key"),
    ] {
        let answer = stage.ask_with(scheme, token, &proofs).await;
        assert_eq!((answer.status, text(&answer.json(), "rule").as_str()), (401, rule), "{scheme}");
    }

    // A proof of the holder's for another request.
    let (method, other) = (Method::POST, "https://crm.example/ticks");
    for (proof, rule) in [
        (stage.agent.authorize("crm:read", &method, URL).await, "dpop-method"),
        (stage.agent.authorize("crm:read", &Method::GET, other).await, "dpop-uri"),
    ] {
        let proof = proof.expect("headers");
        let answer = stage.ask_with("DPoP", token, &[proof["dpop"].to_str().expect("text")]).await;
        assert_eq!((answer.status, text(&answer.json(), "rule").as_str()), (401, rule));
    }

    // The resource may ask the issuer instead, and is told to whom it is bound.
    let ask = Ask::form(&stage.cast.server.at("/oauth/introspect"), &[("token", token)]);
    let ask = ask.basic(&stage.cast.resource, &stage.cast.resource_secret);
    let told = stage.cast.server.send(ask).await.good();
    let jkt = stage.agent.thumbprint().expect("a key");
    assert_eq!((&told["token_type"], &told["cnf"]), (&json!("DPoP"), &json!({ "jkt": jkt })));

    // Revoked, it is over for its holder as well.
    stage.cast.server.cli(&["revoke", &stage.client.agent, "--reason", "stolen"]).good();
    crate::stage::until("it is refused", std::time::Duration::from_secs(5), async || {
        let again = stage.agent.authorize("crm:read", &Method::GET, URL).await.expect("headers");
        stage.ask(&again).await.status == 401
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proof_for_one_server_is_none_at_the_other() {
    let stage = Stage::new().await;
    let (key, endpoint) = (key(), format!("{}/oauth/token", stage.cast.server.issuer));
    let at_issuer = prove(&key, "POST", &endpoint, None);
    let token = text(&stage.token_with(&[&at_issuer]).await.good(), "access_token");
    let answer = stage.token_with(&[&at_issuer]).await;
    answer.refused(400, "invalid_dpop_proof", "dpop-replayed");
    let two = [at_issuer.as_str(), at_issuer.as_str()];
    stage.token_with(&two).await.refused(400, "invalid_dpop_proof", "dpop-proof");

    for (proof, rule) in [
        (prove(&key, "POST", &endpoint, None), "dpop-method"),
        (prove(&key, "GET", &endpoint, Some(&token)), "dpop-uri"),
        (prove(&key, "GET", URL, None), "dpop-malformed"),
        (prove(&key, "GET", URL, Some("another")), "dpop-token"),
    ] {
        let answer = stage.ask_with("DPoP", &token, &[&proof]).await;
        assert_eq!((answer.status, text(&answer.json(), "rule").as_str()), (401, rule));
    }
    let at_resource = prove(&key, "GET", URL, Some(&token));
    stage.token_with(&[&at_resource]).await.refused(400, "invalid_dpop_proof", "dpop-proof");

    // The issuer's nonce is none of the resource's.
    let foreign = prove_with(&key, "POST", &endpoint, (None, Some("x")));
    let answer = stage.token_with(&[&foreign]).await;
    answer.refused(400, "use_dpop_nonce", "dpop-nonce");
    let nonce = answer.header("dpop-nonce").expect("a nonce").to_owned();
    let at_issuer = prove_with(&key, "POST", &endpoint, (None, Some(&nonce)));
    stage.token_with(&[&at_issuer]).await.good();
    let proof = prove_with(&key, "GET", URL, (Some(&token), Some(&nonce)));
    let answer = stage.ask_with("DPoP", &token, &[&proof]).await;
    assert_eq!((answer.status, text(&answer.json(), "error").as_str()), (401, "use_dpop_nonce"));
    let nonce = answer.header("dpop-nonce").expect("a nonce").to_owned();
    let proof = prove_with(&key, "GET", URL, (Some(&token), Some(&nonce)));
    assert_eq!(stage.ask_with("DPoP", &token, &[&proof]).await.status, 200);
    assert_eq!(
        stage.ask_with("DPoP", &token, &[&at_resource]).await.status,
        200,
        "nothing that was refused used a proof up"
    );
}
