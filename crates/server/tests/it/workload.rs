//! Workloads that prove where they run with a token of their platform: whose token they get, what is
//! refused, and what ends it.

use std::time::Duration;

use accredit_domain::attestation::birth::BIRTHS_WITHIN;
use accredit_domain::federation::KEYS_KEPT_MAX;
use accredit_server::jobs;
use accredit_testkit::fixture::Scene;
use accredit_testkit::idp::Idp;
use accredit_testkit::{Answer, Ask, Org, Signer, TestWorld};
use accredit_wire::crypto::{Algorithm, MacKey, sha256};
use accredit_wire::jose::{b64url_decode, b64url_encode};
use accredit_wire::oauth::client_auth::ASSERTION_TYPE;
use accredit_wire::oauth::token_request::JWT_BEARER;
use serde_json::{Value, json};

use crate::certificates::{csr, standing};
use crate::events;

const READ: (&str, &str) = ("scope", "crm:read");
const ACCOUNT: &str = "system:serviceaccount:prod:planner";

/// The members of an object, others instead; null takes one away.
fn with(mut object: Value, other: &Value) -> Value {
    let members = object.as_object_mut().expect("an object");
    members.extend(other.as_object().expect("an object").clone());
    members.retain(|_, value| !value.is_null());
    object
}

pub(crate) struct Platform {
    pub(crate) idp: Idp,
    pub(crate) key: Signer,
}

impl Platform {
    /// A platform that is registered as `name` in an organization, and has no users.
    pub(crate) async fn begin(world: &TestWorld, org: &Org, name: &str) -> Self {
        let (idp, key) = (Idp::start().await, Signer::new(Algorithm::Es256, "k1", [3; 32]));
        idp.has(&[&key]);
        world.outside.0.allow(&[idp.address]).expect("allowed");
        let platform = Self { idp, key };
        platform.register(world, org, name).await;
        platform
    }

    pub(crate) async fn register(&self, world: &TestWorld, org: &Org, name: &str) -> String {
        let body = json!({"name": name, "issuer": self.idp.issuer(),
            "jwks_url": self.idp.jwks_url()});
        world.admin(org, "POST", "/v1/federations", Some(body)).await.expect(201).member("id")
    }

    /// What a projected token of a Kubernetes service account claims, for an organization.
    pub(crate) fn claims(&self, world: &TestWorld, org: &Org, other: &Value) -> Value {
        let now = world.now().seconds();
        let random: [u8; 9] = world.world.random();
        let claims = json!({
            "aud": [org.issuer], "exp": now + 3607, "iat": now, "nbf": now,
            "iss": self.idp.issuer(), "jti": b64url_encode(&random), "sub": ACCOUNT,
            "kubernetes.io": {
                "namespace": "prod", "node": {"name": "n1", "uid": "node-1"},
                "pod": {"name": "planner-0", "uid": "pod-1"},
                "serviceaccount": {"name": "planner", "uid": "account-1"},
            },
        });
        with(claims, other)
    }

    pub(crate) fn sign(&self, claims: &Value) -> String {
        // As an API server writes it: without a type.
        self.key.sign(&json!({"alg": "ES256", "kid": "k1"}), claims)
    }

    pub(crate) fn token(&self, world: &TestWorld, org: &Org, other: &Value) -> String {
        self.sign(&self.claims(world, org, other))
    }
}

/// A rule on the service account of an agent.
pub(crate) fn rule(federation: &str, other: &Value) -> Value {
    let rule = json!({"federation": federation, "claims": {"sub": ACCOUNT},
        "instance_by": ["/kubernetes.io/pod/uid"]});
    with(rule, other)
}

pub(crate) async fn add_rule(world: &TestWorld, org: &Org, agent: &str, rule: Value) -> Answer {
    let body = json!({"agent": agent, "type": "workload", "workload": rule});
    world.admin(org, "POST", "/v1/credentials", Some(body)).await
}

/// Asks with a token as the grant itself.
pub(crate) async fn granted(
    world: &TestWorld,
    org: &Org,
    token: &str,
    more: &[(&str, &str)],
) -> Answer {
    let form = [&[("grant_type", JWT_BEARER), ("assertion", token), READ][..], more].concat();
    world.ask(Ask::post(org.path("/oauth/token")).form(&form)).await
}

struct Case {
    world: TestWorld,
    scene: Scene,
    platform: Platform,
    rule: String,
}

impl Case {
    /// A platform with a rule on the service account of `planner`.
    async fn begin(seed: u64) -> Self {
        let world = TestWorld::new(seed).await;
        let scene = world.scene().await;
        let platform = Platform::begin(&world, &scene.org, "k8s").await;
        let made = add_rule(&world, &scene.org, "planner", rule("k8s", &json!({}))).await;
        let rule = made.expect(201).member("id");
        Self { world, scene, platform, rule }
    }

    fn org(&self) -> &Org {
        &self.scene.org
    }

    fn token(&self, other: &Value) -> String {
        self.platform.token(&self.world, self.org(), other)
    }

    /// A token of another pod.
    fn of_pod(&self, uid: &str) -> String {
        self.token(&json!({"kubernetes.io": {"pod": {"uid": uid}}}))
    }

    async fn granted(&self, token: &str) -> Answer {
        granted(&self.world, self.org(), token, &[]).await
    }

    /// Asks with a token as a client's authentication.
    async fn client(&self, token: &str, more: &[(&str, &str)]) -> Answer {
        self.world.token_by(self.org(), token, &[&[READ][..], more].concat()).await
    }

    /// The instance in the token that came of a token.
    async fn instance(&self, token: &str) -> String {
        instance_in(&self.granted(token).await.expect(200).member("access_token"))
    }

    async fn admin(&self, method: &str, path: &str, body: Option<Value>) -> Answer {
        self.world.admin(self.org(), method, path, body).await
    }

    async fn revoke(&self, target: &str) {
        let body = json!({"target": target, "reason": "a test"});
        self.admin("POST", "/v1/revocations", Some(body)).await.expect(201);
    }

    async fn is_active(&self, token: &str) -> bool {
        let ask = Ask::post(self.org().path("/oauth/introspect"));
        let answer = self.world.ask(ask.bearer(&self.org().admin).form(&[("token", token)])).await;
        answer.expect(200).json()["active"] == true
    }

    async fn born(&self) -> Vec<Value> {
        let events = events(&self.world, self.org(), "instance.created").await;
        events.into_iter().map(|event| event["payload"].clone()).collect()
    }
}

fn payload(token: &str) -> Value {
    let part = token.split('.').nth(1).expect("a payload");
    serde_json::from_slice(&b64url_decode(part).expect("base64url")).expect("JSON")
}

fn instance_in(token: &str) -> String {
    let text = payload(token).to_string();
    let at = text.find("ins_").expect("an instance");
    text[at..].chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect()
}

#[tokio::test]
async fn a_pod_gets_a_token_as_an_instance_of_its_agent() {
    let case = Case::begin(7600).await;
    let token = case.granted(&case.token(&json!({}))).await.expect(200).member("access_token");
    let said = payload(&token);
    assert_eq!(said["client_id"], case.scene.planner.id.to_string());
    let text = said.to_string();
    let shown = case.admin("GET", "/v1/federations/k8s", None).await.expect(200).json();
    let federation = shown["id"].as_str().expect("an id").to_owned();
    assert!(text.contains(&federation) && text.contains(&case.rule), "{text}");
    // The log says how it was born, and by what.
    let instance = instance_in(&token);
    let born = case.born().await;
    assert_eq!(born.len(), 1);
    for (member, value) in [
        ("instance", instance.as_str()),
        ("federation", &federation),
        ("issuer", &case.platform.idp.issuer()),
        ("subject", ACCOUNT),
        ("credential", &case.rule),
        ("name", "pod-1"),
    ] {
        assert_eq!(born[0][member], value, "{member}: {}", born[0]);
    }
    assert_eq!(born[0]["changes"]["workload"], "pod-1");
    assert_eq!(born[0]["actor"]["id"], case.scene.planner.id.to_string());
    let issued = events(&case.world, case.org(), "token.issued").await;
    let issued = &issued.iter().rfind(|event| event["payload"]["token"] == said["jti"]);
    let issued = &issued.expect("an event")["payload"];
    for (member, value) in [
        ("method", "jwt_bearer"),
        ("instance", instance.as_str()),
        ("federation", &federation),
        ("issuer", &case.platform.idp.issuer()),
        ("subject", ACCOUNT),
        ("credential", &case.rule),
        ("lineage", &federation),
    ] {
        assert_eq!(issued[member], value, "{member}: {issued}");
    }
    // The same pod is the same instance, also as a client; another pod is another one.
    assert_eq!(case.instance(&case.token(&json!({}))).await, instance);
    let client = case.client(&case.token(&json!({})), &[]).await.expect(200);
    assert_eq!(instance_in(&client.member("access_token")), instance);
    let id = case.scene.planner.id.to_string();
    let client = case.client(&case.token(&json!({})), &[("client_id", &id)]).await.expect(200);
    assert_eq!(instance_in(&client.member("access_token")), instance);
    assert_ne!(case.instance(&case.of_pod("pod-2")).await, instance);
    assert_eq!(case.born().await.len(), 2);
    let listed = case.admin("GET", "/v1/instances?agent=planner", None).await.expect(200).json();
    let listed = listed["items"].as_array().expect("items");
    assert!(listed.iter().any(|row| row["id"] == *instance && row["credential"] == *case.rule));
}

#[tokio::test]
async fn a_token_is_taken_once_whatever_it_is_shown_as() {
    let case = Case::begin(7601).await;
    let replayed = |answer: &Answer| {
        ["assertion-replayed", "grant-assertion-replayed"].contains(&&*answer.member("rule"))
    };
    for jti in [Value::String("a".into()), Value::Null] {
        let token = case.token(&json!({ "jti": jti }));
        case.granted(&token).await.expect(200);
        let answer = case.granted(&token).await;
        answer.refused(400, "invalid_grant", "grant-assertion-replayed");
        let answer = case.client(&token, &[]).await;
        answer.refused(401, "invalid_client", "assertion-replayed");
    }
    // One that was refused is used up, too.
    let token = case.token(&json!({}));
    let form = [("grant_type", JWT_BEARER), ("assertion", &*token), ("scope", "crm:delete")];
    let ask = Ask::post(case.org().path("/oauth/token")).form(&form);
    case.world.ask(ask).await.refused(400, "invalid_scope", "scope-not-held");
    assert!(replayed(&case.granted(&token).await));
    // The same name by another signature, and after a restart.
    let first = case.token(&json!({"jti": "b"}));
    case.granted(&first).await.expect(200);
    let again = case.token(&json!({"jti": "b", "extra": 1}));
    assert!(replayed(&case.granted(&again).await));
    let Case { world, scene, platform, rule } = case;
    let world = world.reopened(7602).await;
    world.outside.0.allow(&[platform.idp.address]).expect("allowed");
    let case = Case { world, scene, platform, rule };
    assert!(replayed(&case.granted(&first).await));
    // Until it is over by itself.
    case.world.advance(3607 - 1);
    let answer = case.granted(&first).await;
    assert_eq!(answer.status, 400, "{}", answer.text());
}

#[tokio::test]
async fn what_is_not_quite_a_token_for_us_is_refused() {
    let case = Case::begin(7603).await;
    // Warm: whatever is remembered of a good token helps no bad one.
    case.granted(&case.token(&json!({}))).await.expect(200);
    let now = case.world.now().seconds();
    let issuer = case.org().issuer.clone();
    let other = case.world.found("other").await.issuer;
    let (invalid, audience) = ("grant-assertion-invalid", "grant-assertion-audience");
    let (lifetime, unknown) = ("grant-assertion-lifetime", "grant-assertion-unknown");
    for (claims, rule) in [
        (json!({"aud": other}), audience),
        (json!({"aud": format!("{issuer}/")}), audience),
        (json!({"aud": format!("{issuer}/oauth/token")}), audience),
        (json!({"aud": issuer.to_uppercase()}), audience),
        (json!({"aud": [issuer, other]}), audience),
        (json!({"aud": [issuer, issuer]}), audience),
        (json!({"aud": "https://kubernetes.default.svc"}), audience),
        (json!({"aud": null}), audience),
        (json!({"aud": []}), invalid),
        (json!({"exp": now - 61}), lifetime),
        (json!({"exp": now + 24 * 3600 + 61}), lifetime),
        (json!({"iat": now - 3600 - 60}), lifetime),
        (json!({"iat": now + 61}), lifetime),
        (json!({"nbf": now + 61}), lifetime),
        (json!({"exp": null}), invalid),
        (json!({"exp": "soon"}), invalid),
        (json!({"iat": null}), invalid),
        (json!({"sub": null}), invalid),
        (json!({"sub": "a\nb"}), invalid),
        (json!({"events": {}}), invalid),
        (json!({"cnf": {"jkt": "x"}}), invalid),
        (json!({"act": {"sub": "x"}}), invalid),
        (json!({"kubernetes.io": {"pod": {"name": "planner-0"}}}), invalid),
        (json!({"kubernetes.io": {"pod": {"uid": ""}}}), invalid),
        (json!({"kubernetes.io": {"pod": {"uid": "x".repeat(257)}}}), invalid),
        (json!({"iss": "https://other.example"}), unknown),
        (json!({"iss": format!("{}/", case.platform.idp.issuer())}), unknown),
        (json!({"iss": issuer}), unknown),
        (json!({"iss": null}), unknown),
        (json!({"sub": "system:serviceaccount:prod:planner2"}), "workload-agent"),
        (json!({"sub": "system:serviceaccount:dev:planner"}), "workload-agent"),
        (json!({"sub": "SYSTEM:serviceaccount:prod:planner"}), "workload-agent"),
    ] {
        let answer = case.granted(&case.token(&claims)).await;
        assert_eq!(answer.member("rule"), rule, "{claims}: {}", answer.text());
        let error = if rule == "workload-agent" { "unauthorized_client" } else { "invalid_grant" };
        assert_eq!((answer.status, answer.member("error")), (400, error.to_owned()), "{claims}");
    }
    // As a client's authentication the same says who is wrong.
    for (claims, rule) in [
        (json!({"aud": other}), "assertion-audience"),
        (json!({"exp": now - 61}), "assertion-lifetime"),
        (json!({"iss": "https://other.example"}), "client-authentication"),
        (json!({"events": {}}), "assertion-invalid"),
    ] {
        let answer = case.client(&case.token(&claims), &[]).await;
        answer.refused(401, "invalid_client", rule);
    }
    assert_eq!(case.born().await.len(), 1, "nothing was brought into being");
    // What is right with all of this is taken.
    for claims in [
        json!({"aud": issuer}),
        json!({"exp": now + 24 * 3600}),
        json!({"iat": now - 3600}),
        json!({"nbf": now + 59, "exp": now - 59}),
    ] {
        case.granted(&case.token(&claims)).await.expect(200);
    }
}

#[tokio::test]
async fn a_signature_that_does_not_hold_is_one_answer_with_an_issuer_that_is_not_believed() {
    let case = Case::begin(7604).await;
    let good = case.token(&json!({}));
    let (signed, _) = good.rsplit_once('.').expect("a token");
    let claims = signed.split_once('.').expect("claims").1;
    let unknown = case.granted(&case.token(&json!({"iss": "https://other.example"}))).await;
    let mut tokens = Vec::new();
    for header in [
        json!({"alg": "none", "kid": "k1"}),
        json!({"alg": "RS256", "kid": "k1"}),
        json!({"alg": "EdDSA", "kid": "k1"}),
        json!({"alg": "es256", "kid": "k1"}),
        json!({"alg": "ES256", "kid": "k2"}),
        json!({"alg": "ES256", "kid": "../k1"}),
    ] {
        tokens.push(case.platform.key.sign(&header, &payload(&good)));
    }
    // Under HMAC with the public key for a secret.
    let secret = sha256(case.platform.key.public_jwk().as_bytes());
    let input = format!("{}.{claims}", b64url_encode(br#"{"alg":"HS256","kid":"k1"}"#));
    let mac = MacKey::new(&secret).mac(input.as_bytes());
    tokens.push(format!("{input}.{}", b64url_encode(&mac)));
    // Headers that bring keys along, or say where some are.
    let thief = Signer::new(Algorithm::Es256, "k1", [9; 32]);
    let own: Value = serde_json::from_str(&thief.public_jwk()).expect("JSON");
    for header in [
        json!({"alg": "ES256", "kid": "k1", "jwk": own}),
        json!({"alg": "ES256", "kid": "k1", "jku": case.platform.idp.jwks_url()}),
        json!({"alg": "ES256", "kid": "k1", "x5u": "https://thief.example/x", "x5c": ["AA=="]}),
    ] {
        tokens.push(thief.sign(&header, &payload(&good)));
    }
    for token in &tokens {
        let answer = case.granted(token).await;
        answer.refused(400, "invalid_grant", "grant-assertion-unknown");
        for member in ["error_description", "hint"] {
            assert_eq!(answer.member(member), unknown.member(member), "{token}");
        }
    }
    for header in [
        json!({"alg": "ES256", "kid": "k1", "typ": "at+jwt"}),
        json!({"alg": "ES256", "kid": "k1", "typ": "dpop+jwt"}),
        json!({"alg": "ES256", "kid": "k1", "crit": ["exp"]}),
        json!({"alg": "ES256", "kid": "k1", "b64": false}),
    ] {
        let token = case.platform.key.sign(&header, &payload(&good));
        let answer = case.granted(&token).await;
        answer.refused(400, "invalid_grant", "grant-assertion-invalid");
    }
    for text in ["a.b.c", &format!("{good}="), signed, &format!("{signed}.")] {
        assert_eq!(case.granted(text).await.status, 400, "{text}");
    }
    let none = format!("{}.{claims}.", b64url_encode(br#"{"alg":"none"}"#));
    assert_eq!(case.granted(&none).await.status, 400);
    let twice = payload(&good).to_string().replacen('{', r#"{"sub":"other","#, 1);
    let twice = case.platform.key.sign_text(r#"{"alg":"ES256","kid":"k1"}"#, &twice);
    assert_eq!(case.granted(&twice).await.status, 400);
    assert!(case.born().await.is_empty());
    case.granted(&good).await.expect(200);
}

#[tokio::test]
async fn an_assertion_that_is_the_grant_stands_alone() {
    let case = Case::begin(7605).await;
    let token = case.token(&json!({}));
    let grant = [("grant_type", JWT_BEARER), ("assertion", &*token), READ];
    let path = case.org().path("/oauth/token");
    let with_basic = Ask::post(&path).basic(&case.scene.client).form(&grant);
    let other =
        [("client_id", &*case.scene.client.id), ("client_secret", &case.scene.client.secret)];
    let with_post = Ask::post(&path).form(&[&grant[..], &other].concat());
    let other = [("client_assertion_type", ASSERTION_TYPE), ("client_assertion", &token)];
    let with_assertion = Ask::post(&path).form(&[&grant[..], &other].concat());
    for ask in [with_basic, with_post, with_assertion] {
        let answer = case.world.ask(ask).await;
        assert_eq!((answer.status, answer.member("error")), (400, "invalid_request".to_owned()));
    }
    let without = Ask::post(&path).form(&[("grant_type", JWT_BEARER), READ]);
    assert_eq!(case.world.ask(without).await.member("error"), "invalid_request");
    // It is no grant of ours to give: an own assertion, an own token.
    let own = case.world.agent_key(case.org(), "planner", "own", Algorithm::Es256).await;
    let own = own.assertion(case.world.now(), "n");
    case.granted(&own).await.refused(400, "invalid_grant", "grant-assertion-unknown");
    let issued = case.world.token(case.org(), &case.scene.client, &[READ]).await.expect(200);
    let answer = case.granted(&issued.member("access_token")).await;
    answer.refused(400, "invalid_grant", "grant-assertion-unknown");
    // And it proves nobody where no token is asked for.
    for path in ["/oauth/introspect", "/oauth/revoke"] {
        let form = [
            ("token", "x"),
            ("client_assertion_type", ASSERTION_TYPE),
            ("client_assertion", &*token),
        ];
        let answer = case.world.ask(Ask::post(case.org().path(path)).form(&form)).await;
        assert_eq!(answer.status, 401, "{path}: {}", answer.text());
    }
    case.granted(&token).await.expect(200);
}

#[tokio::test]
async fn the_client_id_chooses_among_agents_and_makes_none() {
    let case = Case::begin(7606).await;
    let worker = case.world.agent(case.org(), "worker", &["crm:read"]).await.id.to_string();
    let planner = case.scene.planner.id.to_string();
    let named = [("client_id", worker.as_str())];
    let answer = granted(&case.world, case.org(), &case.token(&json!({})), &named).await;
    answer.refused(400, "unauthorized_client", "workload-agent");
    add_rule(&case.world, case.org(), "worker", rule("k8s", &json!({}))).await.expect(201);
    let answer = case.granted(&case.token(&json!({}))).await;
    answer.refused(400, "unauthorized_client", "workload-agent");
    for agent in [&planner, &worker] {
        let named = [("client_id", agent.as_str())];
        let answer = granted(&case.world, case.org(), &case.token(&json!({})), &named).await;
        let token = answer.expect(200).member("access_token");
        assert_eq!(payload(&token)["client_id"], **agent);
    }
    for other in ["planner", "agt_x", &case.scene.crm.id.to_string()] {
        let named = [("client_id", other)];
        let answer = granted(&case.world, case.org(), &case.token(&json!({})), &named).await;
        answer.refused(400, "unauthorized_client", "workload-agent");
    }
}

#[tokio::test]
async fn a_rule_that_somebody_else_could_come_under_is_refused() {
    let case = Case::begin(7607).await;
    for other in [
        json!({"claims": {}}),
        json!({"claims": {"sub": "system:serviceaccount:prod:*"}}),
        json!({"claims": {"sub": "*"}}),
        json!({"claims": {"sub": "repo:acme/*"}}),
        json!({"claims": {"sub": "repo:acme/app:ref:refs/heads/main"}}),
        json!({"claims": {"sub": "system:serviceaccount:planner"}}),
        json!({"claims": {"sub": ""}}),
        json!({"claims": {"repository": "acme/app"}}),
        json!({"claims": {"repository_owner_id": "65"}}),
        json!({"claims": {"environment": "prod"}}),
        json!({"claims": {"email": "planner@example.com"}}),
        json!({"claims": {"/kubernetes.io/serviceaccount/name": "planner"}}),
        json!({"claims": {"/kubernetes.io/namespace": "prod"}}),
        json!({"claims": {"sub": ACCOUNT, "/kubernetes.io/pod/name": "planner-0"}}),
        json!({"instance_by": ["a", "b", "c", "d"]}),
        json!({"instance_by": ["jti", "jti"]}),
        json!({"instance_by": ["a b"]}),
        json!({"audience": "https://kubernetes.default.svc"}),
        json!({"audience": case.platform.idp.issuer()}),
        json!({"audience": "*"}),
        json!({"age_max": 0}),
        json!({"age_max": 24 * 3600 + 1}),
        json!({"births_per_hour": 0}),
        json!({"births_per_hour": 10_001}),
        json!({"instance_lifetime": 30 * 24 * 3600 + 1}),
        json!({"unknown": 1}),
    ] {
        let answer = add_rule(&case.world, case.org(), "planner", rule("k8s", &other)).await;
        assert_eq!(answer.status, 400, "{other}: {}", answer.text());
    }
    let none = add_rule(&case.world, case.org(), "planner", rule("other", &json!({}))).await;
    none.problem(404, "not-found");
    // A rule is an agent's, and goes with its own type alone.
    let instance = case.instance(&case.token(&json!({}))).await;
    let good = rule("k8s", &json!({}));
    let jwk: Value = serde_json::from_str(&case.platform.key.public_jwk()).expect("JSON");
    for body in [
        json!({"instance": instance, "type": "workload", "workload": good}),
        json!({"resource": "crm", "type": "workload", "workload": good}),
        json!({"agent": "planner", "type": "workload"}),
        json!({"agent": "planner", "type": "client-secret", "workload": good}),
        json!({"agent": "planner", "type": "workload", "workload": good, "jwk": jwk}),
    ] {
        let answer = case.admin("POST", "/v1/credentials", Some(body.clone())).await;
        assert_eq!(answer.status, 400, "{body}: {}", answer.text());
    }
    let path = format!("/v1/credentials/{}/rotate", case.rule);
    case.admin("POST", &path, Some(json!({}))).await.problem(409, "state-forbids");
    // It is shown as it stands, and the log has it.
    let path = format!("/v1/credentials/{}", case.rule);
    let shown = case.admin("GET", &path, None).await.expect(200).json();
    assert_eq!(shown["type"], "workload");
    assert_eq!(shown["workload"]["claims"], json!({"sub": ACCOUNT}));
    assert_eq!(shown["workload"]["age_max"], 3600);
    let made = events(&case.world, case.org(), "credential.created").await;
    let made = made.iter().find(|event| event["payload"]["credential"] == *case.rule);
    let made = &made.expect("an event")["payload"];
    assert!(made["changes"]["workload"].as_str().is_some_and(|rule| rule.contains(ACCOUNT)));
    assert!(made["federation"].as_str().is_some_and(|id| id.starts_with("fed_")));
}

#[tokio::test]
async fn what_is_for_users_is_not_for_workloads() {
    let case = Case::begin(7608).await;
    // A platform without audiences has no users.
    let users = [
        ("subject_token", &*case.token(&json!({}))),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:jwt"),
        READ,
    ];
    let answer = crate::exchange::ask(&case.world, case.org(), &case.scene.client, &users).await;
    answer.refused(400, "invalid_request", "subject-token-audience");
    // Where a provider knows both, one audience is not the other.
    let patch = json!({"audiences": ["app"]});
    case.admin("PATCH", "/v1/federations/k8s", Some(patch)).await.expect(200);
    let both = rule("k8s", &json!({"audience": "app"}));
    add_rule(&case.world, case.org(), "planner", both).await.problem(400, "field-invalid");
    let answer = case.granted(&case.token(&json!({"aud": "app"}))).await;
    answer.refused(400, "invalid_grant", "grant-assertion-audience");
    // Not even where it became that later.
    let patch = json!({"audiences": ["app", case.org().issuer]});
    case.admin("PATCH", "/v1/federations/k8s", Some(patch)).await.expect(200);
    let answer = case.granted(&case.token(&json!({}))).await;
    answer.refused(400, "invalid_grant", "grant-assertion-audience");
    let named = rule("k8s", &json!({"audience": "api://accredit"}));
    add_rule(&case.world, case.org(), "planner", named).await.expect(201);
    case.granted(&case.token(&json!({"aud": "api://accredit"}))).await.expect(200);
}

#[tokio::test]
async fn one_platform_never_speaks_for_anothers_workloads() {
    let case = Case::begin(7609).await;
    let second = Platform::begin(&case.world, case.org(), "other").await;
    // Its own keys and its own name: no rule of its own.
    let token = second.token(&case.world, case.org(), &json!({}));
    case.granted(&token).await.refused(400, "unauthorized_client", "workload-agent");
    // The first one's name under the second one's key, whatever it calls that.
    let claims = json!({"iss": case.platform.idp.issuer()});
    let thief = Signer::new(Algorithm::Es256, "k1", [8; 32]);
    let forged = thief.sign(
        &json!({"alg": "ES256", "kid": "k1"}),
        &second.claims(&case.world, case.org(), &claims),
    );
    case.granted(&forged).await.refused(400, "invalid_grant", "grant-assertion-unknown");
    // The same pod uid there is another copy here.
    add_rule(&case.world, case.org(), "planner", rule("other", &json!({}))).await.expect(201);
    let first = case.instance(&case.token(&json!({}))).await;
    let token = second.token(&case.world, case.org(), &json!({}));
    assert_ne!(case.instance(&token).await, first);
}

#[tokio::test]
async fn one_organizations_rule_is_no_others() {
    let case = Case::begin(7610).await;
    let other = case.world.found("other").await;
    let token = case.platform.token(&case.world, &other, &json!({}));
    let answer = granted(&case.world, &other, &token, &[]).await;
    answer.refused(400, "invalid_grant", "grant-assertion-unknown");
    // Also where both know the platform: what is for the one is not for the other.
    case.platform.register(&case.world, &other, "k8s").await;
    case.world.resource(&other, "crm", &["read"]).await;
    case.world.agent(&other, "planner", &["crm:read"]).await;
    add_rule(&case.world, &other, "planner", rule("k8s", &json!({}))).await.expect(201);
    let ours = case.token(&json!({}));
    let answer = granted(&case.world, &other, &ours, &[]).await;
    answer.refused(400, "invalid_grant", "grant-assertion-audience");
    let theirs = case.platform.token(&case.world, &other, &json!({}));
    case.granted(&theirs).await.refused(400, "invalid_grant", "grant-assertion-audience");
    let theirs = granted(&case.world, &other, &theirs, &[]).await.expect(200);
    assert_ne!(instance_in(&theirs.member("access_token")), case.instance(&ours).await);
    // Nor is its rule found, shown or ended from there.
    let path = format!("/v1/credentials/{}", case.rule);
    case.world.admin(&other, "GET", &path, None).await.problem(404, "not-found");
    let body = json!({"target": case.rule, "reason": "a test"});
    case.world.admin(&other, "POST", "/v1/revocations", Some(body)).await.problem(404, "not-found");
    let body = json!({"agent": "planner", "type": "workload",
        "workload": rule("k8s", &json!({}))});
    let federation = case.admin("GET", "/v1/federations/k8s", None).await.expect(200).member("id");
    let mut foreign = body;
    foreign["workload"]["federation"] = federation.into();
    let answer = case.world.admin(&other, "POST", "/v1/credentials", Some(foreign)).await;
    answer.problem(404, "not-found");
}

#[tokio::test]
async fn an_instance_that_was_ended_does_not_come_back() {
    let case = Case::begin(7611).await;
    let token = case.granted(&case.token(&json!({}))).await.expect(200).member("access_token");
    let sibling = case.granted(&case.of_pod("pod-2")).await.expect(200).member("access_token");
    case.revoke(&instance_in(&token)).await;
    assert!(!case.is_active(&token).await && case.is_active(&sibling).await);
    let answer = case.granted(&case.token(&json!({}))).await;
    answer.refused(400, "unauthorized_client", "instance-not-active");
    // Nor by another rule of its agent.
    let other = rule("k8s", &json!({"claims": {"/kubernetes.io/serviceaccount/uid": "account-1"}}));
    add_rule(&case.world, case.org(), "planner", other).await.expect(201);
    case.revoke(&case.rule).await;
    let answer = case.granted(&case.token(&json!({}))).await;
    answer.refused(400, "unauthorized_client", "instance-not-active");
    // Its refusal stands in the log, with who it was.
    let refused = events(&case.world, case.org(), "token.refused").await;
    let refused = &refused.last().expect("an event")["payload"];
    assert_eq!(refused["actor"]["id"], case.scene.planner.id.to_string());
    assert_eq!(refused["rule"], "instance-not-active");
    // One whose time is over makes room for another one of the same pod.
    case.world.advance(24 * 3600 + 1);
    let fresh = case.granted(&case.of_pod("pod-3")).await;
    assert_eq!(fresh.status, 400, "the account's uid is not in it: {}", fresh.text());
    let answer = case.granted(&case.token(&json!({}))).await;
    answer.refused(400, "unauthorized_client", "instance-not-active");
}

#[tokio::test]
async fn a_copy_that_outlives_its_instance_gets_another_one() {
    let case = Case::begin(7612).await;
    let first = case.instance(&case.token(&json!({}))).await;
    case.world.advance(24 * 3600 - 1);
    let token = case.granted(&case.token(&json!({}))).await.expect(200);
    assert_eq!(token.json()["expires_in"], 1, "no token outlives its instance");
    case.world.advance(1);
    let second = case.instance(&case.token(&json!({}))).await;
    assert_ne!(first, second);
    assert_eq!(case.instance(&case.token(&json!({}))).await, second);
    case.revoke(&second).await;
    case.world.advance(2 * 24 * 3600);
    jobs::follow_all(&case.world.server).await;
    let answer = case.granted(&case.token(&json!({}))).await;
    answer.refused(400, "unauthorized_client", "instance-not-active");
}

#[tokio::test]
async fn births_of_a_rule_are_bounded_by_the_hour() {
    let case = Case::begin(7613).await;
    case.revoke(&case.rule).await;
    let few = rule("k8s", &json!({"births_per_hour": 2}));
    add_rule(&case.world, case.org(), "planner", few).await.expect(201);
    for pod in ["a", "b"] {
        case.granted(&case.of_pod(pod)).await.expect(200);
    }
    let answer = case.granted(&case.of_pod("c")).await;
    answer.refused(429, "temporarily_unavailable", "births-too-many");
    assert!(answer.headers.contains_key("retry-after"));
    assert_eq!(case.born().await.len(), 2);
    // Those that are there go on.
    case.granted(&case.of_pod("a")).await.expect(200);
    case.world.advance(BIRTHS_WITHIN.as_secs() - 1);
    case.granted(&case.of_pod("c")).await.refused(
        429,
        "temporarily_unavailable",
        "births-too-many",
    );
    case.world.advance(1);
    case.granted(&case.of_pod("c")).await.expect(200);
    assert_eq!(Duration::from_hours(1), BIRTHS_WITHIN, "as the member's name says");
}

#[tokio::test]
async fn many_tokens_of_a_new_copy_at_once_are_one_instance() {
    let case = Case::begin(7614).await;
    let tokens: Vec<String> = (0..8).map(|_| case.token(&json!({}))).collect();
    let asked = tokens.iter().map(|token| case.instance(token));
    let instances = futures_util::future::join_all(asked).await;
    assert!(instances.iter().all(|one| *one == instances[0]), "{instances:?}");
    assert_eq!(case.born().await.len(), 1);
}

#[tokio::test]
async fn the_rule_the_platform_and_the_agent_end_the_certificates_too() {
    let case = Case::begin(7620).await;
    let suspend = json!({"reason": "a test"});
    for ended_by in ["/v1/federations/k8s", "/v1/agents/planner", ""] {
        let (csr, assertion) = (csr(), case.token(&json!({})));
        let form = [
            ("client_assertion_type", ASSERTION_TYPE),
            ("client_assertion", assertion.as_str()),
            ("csr", csr.as_str()),
        ];
        let ask = Ask::post(case.org().path("/oauth/certificates")).form(&form);
        let id = case.world.ask(ask).await.expect(200).member("id");
        assert_eq!(standing(&case.world, case.org(), &id).await, "valid");
        if ended_by.is_empty() {
            case.revoke(&case.rule).await;
        } else {
            let path = |verb: &str| format!("{ended_by}/{verb}");
            case.admin("POST", &path("suspend"), Some(suspend.clone())).await.expect(200);
            case.admin("POST", &path("activate"), Some(suspend.clone())).await.expect(200);
        }
        assert_eq!(standing(&case.world, case.org(), &id).await, "revoked", "{ended_by}");
    }
}

#[tokio::test]
async fn the_rule_the_platform_and_the_agent_end_what_came_of_them() {
    let case = Case::begin(7615).await;
    let suspend = json!({"reason": "a test"});
    let token = async || {
        let token = case.token(&json!({}));
        case.granted(&token).await.expect(200).member("access_token")
    };
    let first = token().await;
    case.admin("POST", "/v1/federations/k8s/suspend", Some(suspend.clone())).await.expect(200);
    assert!(!case.is_active(&first).await);
    let answer = case.granted(&case.token(&json!({}))).await;
    answer.refused(400, "invalid_grant", "grant-assertion-unknown");
    case.admin("POST", "/v1/federations/k8s/activate", Some(suspend.clone())).await.expect(200);
    assert!(!case.is_active(&first).await, "what ended stays so");
    let second = token().await;
    case.admin("POST", "/v1/agents/planner/suspend", Some(suspend.clone())).await.expect(200);
    assert!(!case.is_active(&second).await);
    let born = case.born().await.len();
    let answer = case.granted(&case.of_pod("pod-9")).await;
    answer.refused(400, "unauthorized_client", "agent-not-active");
    assert_eq!(case.born().await.len(), born, "nothing is born of a suspended agent");
    case.admin("POST", "/v1/agents/planner/activate", Some(suspend)).await.expect(200);
    let third = token().await;
    case.revoke(&case.rule).await;
    assert!(!case.is_active(&third).await);
    let answer = case.granted(&case.token(&json!({}))).await;
    answer.refused(400, "unauthorized_client", "workload-agent");
}

#[tokio::test]
async fn a_rule_expires_like_any_credential() {
    let case = Case::begin(7616).await;
    case.revoke(&case.rule).await;
    let body = json!({"agent": "planner", "type": "workload", "expires_in": 100,
        "workload": rule("k8s", &json!({}))});
    case.admin("POST", "/v1/credentials", Some(body)).await.expect(201);
    let answer = case.granted(&case.token(&json!({}))).await.expect(200);
    assert_eq!(answer.json()["expires_in"], 100);
    case.world.advance(100);
    let answer = case.granted(&case.token(&json!({}))).await;
    answer.refused(401, "invalid_client", "credential-expired");
}

#[tokio::test]
async fn an_unknown_key_is_asked_for_once_a_minute_and_keys_are_kept_for_a_day() {
    let case = Case::begin(7617).await;
    case.granted(&case.token(&json!({}))).await.expect(200);
    let fetched = case.platform.idp.count();
    let new = Signer::new(Algorithm::EdDsa, "k2", [5; 32]);
    let signed = || {
        let claims = case.platform.claims(&case.world, case.org(), &json!({}));
        new.sign(&json!({"alg": "EdDSA", "kid": "k2", "typ": "JWT"}), &claims)
    };
    for _ in 0..4 {
        let answer = case.granted(&signed()).await;
        answer.refused(400, "invalid_grant", "grant-assertion-unknown");
    }
    assert_eq!(case.platform.idp.count(), fetched + 1, "asked once");
    case.platform.idp.has(&[&new]);
    case.world.advance(60);
    case.granted(&signed()).await.expect(200);
    let answer = case.granted(&case.token(&json!({}))).await;
    answer.refused(400, "invalid_grant", "grant-assertion-unknown");
    case.platform.idp.says("/jwks", "503 Service Unavailable", "text/plain", "");
    case.world.advance(KEYS_KEPT_MAX.as_secs());
    case.granted(&signed()).await.refused(503, "temporarily_unavailable", "federation-keys");
}

#[tokio::test]
async fn a_workflow_run_is_known_by_ids_and_each_attempt_is_a_copy() {
    let world = TestWorld::new(7618).await;
    let scene = world.scene().await;
    let platform = Platform::begin(&world, &scene.org, "ci").await;
    let rule = json!({
        "federation": "ci", "claims": {"repository_id": "74", "environment": "prod"},
        "instance_by": ["run_id", "run_attempt"], "age_max": 600,
    });
    add_rule(&world, &scene.org, "planner", rule).await.expect(201);
    let now = world.now().seconds();
    let run = |other: &Value| {
        let random: [u8; 9] = world.world.random();
        let claims = json!({
            "iss": platform.idp.issuer(), "aud": scene.org.issuer, "jti": b64url_encode(&random),
            "sub": "repo:acme/app:environment:prod", "iat": now, "nbf": now - 300,
            "exp": now + 300, "repository": "acme/app", "repository_id": "74",
            "repository_owner": "acme", "repository_owner_id": "65", "run_id": "19",
            "run_attempt": "1", "environment": "prod", "ref": "refs/heads/main",
            "event_name": "push", "actor": "mia", "actor_id": "12",
        });
        platform.key.sign(
            &json!({"alg": "ES256", "kid": "k1", "typ": "JWT", "x5t": "AAAA"}),
            &with(claims, other),
        )
    };
    let instance = async |other: Value| {
        let answer = granted(&world, &scene.org, &run(&other), &[]).await;
        instance_in(&answer.expect(200).member("access_token"))
    };
    let first = instance(json!({})).await;
    // The repository was renamed: its id is what it was.
    let renamed = json!({"repository": "acme/new", "sub": "repo:acme/new:environment:prod"});
    assert_eq!(instance(renamed).await, first);
    assert_ne!(instance(json!({"run_attempt": "2"})).await, first);
    for other in [
        // Somebody else took the old name.
        json!({"repository_id": "75"}),
        json!({"environment": "dev"}),
        json!({"environment": null}),
        json!({"repository_id": 74}),
    ] {
        let answer = granted(&world, &scene.org, &run(&other), &[]).await;
        answer.refused(400, "unauthorized_client", "workload-agent");
    }
    let old = json!({"iat": now - 661});
    let answer = granted(&world, &scene.org, &run(&old), &[]).await;
    answer.refused(400, "invalid_grant", "grant-assertion-lifetime");
}

#[tokio::test]
async fn a_workload_acts_for_a_user_and_dies_with_its_platform() {
    let case = Case::begin(7619).await;
    let idp =
        Platform { idp: Idp::start().await, key: Signer::new(Algorithm::Es256, "k1", [4; 32]) };
    idp.idp.has(&[&idp.key]);
    case.world.outside.0.allow(&[idp.idp.address]).expect("allowed");
    let corp = json!({"name": "corp", "issuer": idp.idp.issuer(), "jwks_url": idp.idp.jwks_url(),
        "audiences": ["accredit"], "rules": ["groups contains sales => crm:read"]});
    case.admin("POST", "/v1/federations", Some(corp)).await.expect(201);
    let now = case.world.now().seconds();
    let user = idp.sign(&json!({"iss": idp.idp.issuer(), "sub": "mia", "aud": "accredit",
        "iat": now, "exp": now + 300, "groups": ["sales"]}));
    let form = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("subject_token", user.as_str()),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:jwt"),
        ("client_assertion_type", ASSERTION_TYPE),
        ("client_assertion", &case.token(&json!({}))),
        READ,
    ];
    let ask = Ask::post(case.org().path("/oauth/token")).form(&form);
    let token = case.world.ask(ask).await.expect(200).member("access_token");
    let platform = case.admin("GET", "/v1/federations/k8s", None).await.expect(200).member("id");
    assert!(payload(&token).to_string().contains(&platform));
    assert!(case.is_active(&token).await);
    let suspend = json!({"reason": "a test"});
    case.admin("POST", "/v1/federations/k8s/suspend", Some(suspend)).await.expect(200);
    assert!(!case.is_active(&token).await);
}

/// Whoever is an instance by its platform's word gets a certificate, by which it is that instance.
#[tokio::test]
async fn a_workloads_certificate_gets_tokens_until_platform_rule_or_instance_end() {
    for (seed, ends, rule) in [
        (7201, "platform", "certificate-revoked"),
        (7202, "rule", "credential-revoked"),
        (7203, "instance", "instance-not-active"),
    ] {
        let case = Case::begin(seed).await;
        let csr = crate::certificates::csr();
        let token = case.token(&json!({}));
        let form = [
            ("csr", csr.as_str()),
            ("client_assertion_type", ASSERTION_TYPE),
            ("client_assertion", &token),
        ];
        let ask = Ask::post(case.org().path("/oauth/certificates")).form(&form);
        let issued = case.world.ask(ask).await.expect(200).json();
        let [der, _] = crate::certificates::chain(&issued);
        let agent = case.scene.planner.id.to_string();
        let over =
            async || crate::mtls::over(&case.world, case.org(), (&agent, &der), &[READ]).await;
        let got = over().await.expect(200).member("access_token");
        let instance = case.born().await[0]["instance"].as_str().expect("one").to_owned();
        assert_eq!(instance_in(&got), instance);
        assert_eq!(case.born().await.len(), 1, "it is the one that its platform named");
        let lineage = payload(&got)["accredit"]["lin"].to_string();
        let federations = case.admin("GET", "/v1/federations", None).await.expect(200).json();
        let platform = federations["items"][0]["id"].as_str().expect("an id").to_owned();
        for id in [&platform, &case.rule] {
            assert!(lineage.contains(id), "{id} is not in {lineage}");
        }
        match ends {
            "platform" => {
                let reason = Some(json!({"reason": "a test"}));
                let path = format!("/v1/federations/{platform}/suspend");
                case.admin("POST", &path, reason).await.expect(200);
            }
            "rule" => case.revoke(&case.rule).await,
            _ => case.revoke(&instance).await,
        }
        let refused = over().await;
        assert_eq!(refused.member("rule"), rule, "{refused:?}");
        assert!(!case.is_active(&got).await, "and what was got with it ended: {ends}");
    }
}
