//! RFC 9449 at the token endpoint and in introspection: a proof binds the token to its key.

use accredit_domain::issuance::possession::NoncePolicy;
use accredit_testkit::{Answer, Ask, Client, Scene, TestWorld};
use accredit_wire::binding::dpop::{ProofKey, ToProve};
use accredit_wire::binding::nonce::Nonces;
use accredit_wire::crypto::{Algorithm, PrivateKey};
use serde_json::json;

use crate::{claims, events};

const READ: (&str, &str) = ("scope", "crm:read");
const GRANT: (&str, &str) = ("grant_type", "client_credentials");

struct Bound {
    world: TestWorld,
    scene: Scene,
    key: ProofKey,
}

fn key() -> ProofKey {
    let (private, _) = PrivateKey::generate(Algorithm::Es256).expect("a key");
    ProofKey::new(private).expect("a key")
}

impl Bound {
    async fn begin() -> Self {
        let world = TestWorld::new(17).await;
        let scene = world.scene().await;
        Self { world, scene, key: key() }
    }

    fn endpoint(&self) -> String {
        format!("{}/oauth/token", self.scene.org.issuer)
    }

    fn prove(&self, method: &str, url: &str, nonce: Option<&str>) -> String {
        let request = ToProve { method, url, token: None, nonce };
        self.key.prove(&request, self.world.world.random(), self.world.now()).expect("a proof")
    }

    fn good(&self) -> String {
        self.prove("POST", &self.endpoint(), None)
    }

    async fn token(&self, proofs: &[&str]) -> Answer {
        let ask = Ask::post(self.scene.org.path("/oauth/token")).basic(&self.scene.client);
        let ask = proofs.iter().fold(ask, |ask, proof| ask.header("dpop", proof));
        self.world.ask(ask.form(&[GRANT, READ])).await
    }
}

#[tokio::test]
async fn a_proof_binds_the_token_to_its_key_and_the_log_says_so() {
    let bound = Bound::begin().await;
    let answer = bound.token(&[&bound.good()]).await.expect(200);
    assert_eq!(answer.header("dpop-nonce"), "", "none is needed");
    let answer = answer.json();
    assert_eq!(answer["token_type"], "DPoP");
    let token = answer["access_token"].as_str().expect("a token");
    let thumbprint = bound.key.thumbprint().to_string();
    assert_eq!(claims(token)["cnf"], json!({ "jkt": thumbprint }));
    let issued = events(&bound.world, &bound.scene.org, "token.issued").await;
    assert_eq!(issued.last().expect("an event")["payload"]["bound_to"], thumbprint);

    let crm = bound.world.resource_secret(&bound.scene.org, "crm").await;
    let ask = Ask::post(bound.scene.org.path("/oauth/introspect")).basic(&crm);
    let told = bound.world.ask(ask.form(&[("token", token)])).await.expect(200).json();
    assert_eq!((&told["active"], &told["token_type"]), (&json!(true), &json!("DPoP")));
    assert_eq!(told["cnf"], json!({ "jkt": thumbprint }));

    let plain = bound.token(&[]).await.expect(200).json();
    assert_eq!(plain["token_type"], "Bearer");
    assert!(claims(plain["access_token"].as_str().expect("a token")).get("cnf").is_none());
    let ask = Ask::post(bound.scene.org.path("/oauth/revoke")).basic(&bound.scene.client);
    bound.world.ask(ask.form(&[("token", token)])).await.expect(200);
    let ask = Ask::post(bound.scene.org.path("/oauth/introspect")).basic(&crm);
    let told = bound.world.ask(ask.form(&[("token", token)])).await.expect(200).json();
    assert_eq!(told, json!({ "active": false }), "its client ended it");
}

#[tokio::test]
async fn a_proof_is_used_up_by_an_answer_and_by_a_refusal_and_over_a_restart() {
    let mut bound = Bound::begin().await;
    let proof = bound.good();
    bound.token(&[&proof]).await.expect(200);
    bound.token(&[&proof]).await.refused(400, "invalid_dpop_proof", "dpop-replayed");
    let refused = events(&bound.world, &bound.scene.org, "token.refused").await;
    assert_eq!(refused.last().expect("an event")["payload"]["rule"], "dpop-replayed");

    let used = bound.good();
    let ask = Ask::post(bound.scene.org.path("/oauth/token")).basic(&bound.scene.client);
    let ask = ask.header("dpop", &used).form(&[GRANT, ("scope", "crm:delete")]);
    bound.world.ask(ask).await.refused(400, "invalid_scope", "scope-not-held");
    bound.token(&[&used]).await.refused(400, "invalid_dpop_proof", "dpop-replayed");

    bound.world = bound.world.reopened(18).await;
    bound.token(&[&proof]).await.refused(400, "invalid_dpop_proof", "dpop-replayed");
    bound.token(&[&used]).await.refused(400, "invalid_dpop_proof", "dpop-replayed");
    bound.token(&[&bound.good()]).await.expect(200);
}

#[tokio::test]
async fn whoever_is_not_known_uses_up_no_proof() {
    let bound = Bound::begin().await;
    let proof = bound.good();
    let mut wrong = bound.scene.client.clone();
    wrong.secret = bound.world.agent_secret(&bound.scene.org, "planner", None).await.secret + "x";
    let ask = Ask::post(bound.scene.org.path("/oauth/token")).basic(&wrong).header("dpop", &proof);
    let answer = bound.world.ask(ask.form(&[GRANT, READ])).await;
    answer.refused(401, "invalid_client", "client-authentication");
    bound.token(&[&proof]).await.expect(200);
}

#[tokio::test]
async fn an_assertion_and_a_proof_are_used_up_together_or_not_at_all() {
    let bound = Bound::begin().await;
    let org = &bound.scene.org;
    let signer = bound.world.agent_key(org, "planner", "key-1", Algorithm::Es256).await;
    let ask = |assertion: &str, proof: &str| {
        let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
        let form = [GRANT, READ, ("client_assertion_type", kind), ("client_assertion", assertion)];
        Ask::post(org.path("/oauth/token")).header("dpop", proof).form(&form)
    };
    let assertion = |nonce| signer.assertion(bound.world.now(), nonce);
    let (first, second, proof) = (assertion("1"), assertion("2"), bound.good());
    bound.world.ask(ask(&first, &proof)).await.expect(200);
    let replayed = bound.world.ask(ask(&second, &proof)).await;
    replayed.refused(400, "invalid_dpop_proof", "dpop-replayed");
    let again = bound.world.ask(ask(&second, &bound.good())).await;
    again.refused(401, "invalid_client", "assertion-replayed");
    let fresh = bound.good();
    let stale = bound.world.ask(ask(&first, &fresh)).await;
    stale.refused(401, "invalid_client", "assertion-replayed");
    bound.world.ask(ask(&assertion("3"), &fresh)).await.expect(200);
}

#[tokio::test]
async fn a_proof_for_something_else_is_refused() {
    let bound = Bound::begin().await;
    let endpoint = bound.endpoint();
    let good = bound.good();
    let two = bound.token(&[&good, &bound.good()]).await;
    two.refused(400, "invalid_dpop_proof", "dpop-proof");
    let elsewhere = endpoint.replace("/o/acme/", "/o/other/");
    for (method, url) in [
        ("GET", endpoint.as_str()),
        ("POST", "https://crm.example/oauth/token"),
        ("POST", elsewhere.as_str()),
        ("POST", bound.scene.org.issuer.as_str()),
    ] {
        let answer = bound.token(&[&bound.prove(method, url, None)]).await;
        answer.refused(400, "invalid_dpop_proof", "dpop-proof");
    }
    // What a request says of its host is the caller's word.
    let evil = bound.prove("POST", "https://evil.example/o/acme/oauth/token", None);
    let ask = Ask::post(bound.scene.org.path("/oauth/token")).basic(&bound.scene.client);
    let ask = ask.header("dpop", &evil).header("host", "evil.example");
    let ask = ask.header("x-forwarded-host", "evil.example").form(&[GRANT, READ]);
    bound.world.ask(ask).await.refused(400, "invalid_dpop_proof", "dpop-proof");
    for wrong in ["", "x", "a.b.c", "eyJ.eyJ."] {
        bound.token(&[wrong]).await.refused(400, "invalid_dpop_proof", "dpop-proof");
    }
    bound.world.advance(61);
    bound.token(&[&good]).await.refused(400, "invalid_dpop_proof", "dpop-proof");
    bound.token(&[&bound.prove("POST", &format!("{endpoint}?a=b"), None)]).await.expect(200);
}

#[tokio::test]
async fn where_a_nonce_is_required_the_refusal_gives_one_and_so_does_each_answer() {
    let mut bound = Bound::begin().await;
    let endpoint = bound.endpoint();
    bound.world.world.nonces.set(NoncePolicy::Required).expect("not set before");
    let refused = bound.token(&[&bound.good()]).await;
    refused.refused(400, "use_dpop_nonce", "dpop-nonce");
    let nonce = refused.header("dpop-nonce").to_owned();
    let answer = bound.token(&[&bound.prove("POST", &endpoint, Some(&nonce))]).await.expect(200);
    assert_eq!(answer.header("dpop-nonce"), nonce);
    assert_eq!(answer.member("token_type"), "DPoP");
    let foreign = Nonces::new(&[1; 32]).at(bound.world.now());
    let answer = bound.token(&[&bound.prove("POST", &endpoint, Some(&foreign))]).await;
    answer.refused(400, "use_dpop_nonce", "dpop-nonce");
    let plain = bound.token(&[]).await.expect(200);
    assert_eq!(plain.header("dpop-nonce"), "", "a plain token needs none");
    // Nothing of it is kept in memory, and it ends.
    bound.world = bound.world.reopened(18).await;
    bound.world.world.nonces.set(NoncePolicy::Required).expect("not set before");
    bound.token(&[&bound.prove("POST", &endpoint, Some(&nonce))]).await.expect(200);
    bound.world.advance(301);
    let answer = bound.token(&[&bound.prove("POST", &endpoint, Some(&nonce))]).await;
    answer.refused(400, "use_dpop_nonce", "dpop-nonce");
}

#[tokio::test]
async fn a_nonce_of_another_server_is_refused_even_where_none_is_needed() {
    let bound = Bound::begin().await;
    let foreign = Nonces::new(&[1; 32]).at(bound.world.now());
    let proof = bound.prove("POST", &bound.endpoint(), Some(&foreign));
    let answer = bound.token(&[&proof]).await;
    answer.refused(400, "use_dpop_nonce", "dpop-nonce");
    let nonce = answer.header("dpop-nonce").to_owned();
    bound.token(&[&bound.prove("POST", &bound.endpoint(), Some(&nonce))]).await.expect(200);
}

#[tokio::test]
async fn an_agent_or_a_resource_may_take_bound_tokens_only() {
    let bound = Bound::begin().await;
    let org = &bound.scene.org;
    let crm = bound.world.resource_secret(org, "crm").await;
    let is_active = async |token: &str| {
        let ask = Ask::post(org.path("/oauth/introspect")).basic(&crm);
        bound.world.ask(ask.form(&[("token", token)])).await.expect(200).json()["active"] == true
    };
    for path in ["/v1/agents/planner", "/v1/resources/crm"] {
        let plain = bound.token(&[]).await.expect(200).member("access_token");
        assert!(is_active(&plain).await);
        let only = |only: bool| Some(json!({ "bound_only": only }));
        let changed = bound.world.admin(org, "PATCH", path, only(true)).await.expect(200);
        assert_eq!(changed.json()["bound_only"], true);
        assert!(!is_active(&plain).await, "what whoever steals it may use ends with that");
        let refused = bound.token(&[]).await;
        refused.refused(400, "invalid_dpop_proof", "dpop-required");
        let token = bound.token(&[&bound.good()]).await.expect(200).member("access_token");
        assert!(is_active(&token).await);
        bound.world.admin(org, "PATCH", path, only(true)).await.expect(200);
        assert!(is_active(&token).await, "nothing became narrower");
        bound.world.admin(org, "PATCH", path, only(false)).await.expect(200);
        assert!(is_active(&token).await);
        bound.token(&[]).await.expect(200);
    }
    let agent = json!({"name": "careful", "owner_email": "ann@example.com", "purpose": "cares",
        "allow": ["crm:read"], "bound_only": true, "activate": true});
    let agent = bound.world.admin(org, "POST", "/v1/agents", Some(agent)).await.expect(201);
    assert_eq!(agent.json()["bound_only"], true);
    let careful = bound.world.agent_secret(org, "careful", None).await;
    let answer = bound.world.token(org, &careful, &[READ]).await;
    answer.refused(400, "invalid_dpop_proof", "dpop-required");
}

const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// A planner that may delegate and holds a bound token for the resource that a worker serves.
struct Delegation {
    bound: Bound,
    worker: Client,
    token: String,
}

impl Delegation {
    async fn begin() -> Self {
        let bound = Bound::begin().await;
        let (world, org) = (&bound.world, &bound.scene.org);
        world.agent(org, "worker", &["crm:read"]).await;
        let worker = world.agent_secret(org, "worker", None).await;
        let served = json!({"name": "worker-api", "audience": "https://worker.example/",
            "actions": ["ask"], "agent": "worker"});
        world.admin(org, "POST", "/v1/resources", Some(served)).await.expect(201);
        let path = "/v1/agents/planner/permissions/worker-api";
        let actions = json!({"actions": ["ask"]});
        world.admin(org, "PUT", path, Some(actions)).await.expect(200);
        let may = json!({"may_delegate": true});
        world.admin(org, "PATCH", "/v1/agents/planner", Some(may)).await.expect(200);
        let ask = Ask::post(org.path("/oauth/token")).basic(&bound.scene.client);
        let ask = ask.header("dpop", &bound.good()).form(&[GRANT, ("scope", "worker-api:ask")]);
        let token = world.ask(ask).await.expect(200).member("access_token");
        Self { bound, worker, token }
    }

    /// Exchanges the planner's token as somebody, with a proof by a key or with none.
    async fn exchange(&self, client: &Client, key: Option<&ProofKey>) -> Answer {
        let form = [
            ("grant_type", EXCHANGE),
            ("subject_token", self.token.as_str()),
            ("subject_token_type", ACCESS_TOKEN),
            READ,
        ];
        let mut ask = Ask::post(self.bound.scene.org.path("/oauth/token")).basic(client);
        if let Some(key) = key {
            let (url, world) = (self.bound.endpoint(), &self.bound.world);
            let request = ToProve { method: "POST", url: &url, token: None, nonce: None };
            let proof = key.prove(&request, world.world.random(), world.now()).expect("a proof");
            ask = ask.header("dpop", &proof);
        }
        self.bound.world.ask(ask.form(&form)).await
    }
}

#[tokio::test]
async fn a_bound_token_is_exchanged_by_its_holder_with_a_proof_by_its_key_alone() {
    let story = Delegation::begin().await;
    let holder = &story.bound.scene.client;
    let required = ("invalid_dpop_proof", "dpop-required");
    story.exchange(holder, None).await.refused(400, required.0, required.1);
    story.exchange(holder, Some(&key())).await.refused(400, required.0, required.1);
    let answer = story.exchange(holder, Some(&story.bound.key)).await.expect(200).json();
    assert_eq!(answer["token_type"], "DPoP");
    let claims = claims(answer["access_token"].as_str().expect("a token"));
    assert_eq!(claims["cnf"]["jkt"], story.bound.key.thumbprint().to_string());
}

#[tokio::test]
async fn whoever_was_sent_a_bound_token_exchanges_it_with_a_proof_of_their_own() {
    let story = Delegation::begin().await;
    let own = key();
    let without = story.exchange(&story.worker, None).await;
    without.refused(400, "invalid_dpop_proof", "dpop-required");
    let answer = story.exchange(&story.worker, Some(&own)).await.expect(200).json();
    assert_eq!(answer["token_type"], "DPoP");
    let claims = claims(answer["access_token"].as_str().expect("a token"));
    assert_eq!(claims["cnf"]["jkt"], own.thumbprint().to_string(), "bound to the presenter");
    assert_eq!(claims["act"]["sub"], story.worker.id);

    // Somebody who is neither, and has the token, the holder's proof aside.
    let (world, org) = (&story.bound.world, &story.bound.scene.org);
    world.agent(org, "thief", &["crm:read"]).await;
    let thief = world.agent_secret(org, "thief", None).await;
    for key in [None, Some(&own), Some(&story.bound.key)] {
        let answer = story.exchange(&thief, key).await;
        assert_eq!(
            (answer.status, answer.member("rule").as_str()),
            (400, "subject-token-not-yours")
        );
    }
}
