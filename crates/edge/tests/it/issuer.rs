//! An issuer as the local end sees one: it gives certificates and tokens, refuses, or does not answer.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use accredit::{Agent, NodeProof, PrivateJwk, Secret};
use accredit_edge::{Identity, Node};
use accredit_wire::crypto::{Algorithm, PrivateKey};
use accredit_wire::jose::jws::{ProtectedHeader, SigningInput};
use accredit_wire::jwt_svid::authorities::halves;
use axum::Router;
use axum::extract::State;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};

/// What the issuer answers from now on.
pub(crate) const GOOD: u32 = 0;
pub(crate) const REFUSES: u32 = 1;
pub(crate) const SUSPENDED: u32 = 2;
pub(crate) const BROKEN: u32 = 3;

/// Whose certificates they are.
pub(crate) const ID: &str = "spiffe://dev.id.example/agent/planner/instance/ins_1";

/// The node that joins.
pub(crate) const NODE: &str = "ins_node";

#[derive(Clone)]
pub(crate) struct Issuer {
    url: String,
    mood: Arc<AtomicU32>,
    /// The life of the next certificate, seconds.
    life: Arc<AtomicU64>,
    /// How many certificates it gave.
    pub(crate) given: Arc<AtomicU32>,
    /// How many instances ended themselves.
    pub(crate) ended: Arc<AtomicU32>,
    /// How many JWT-SVIDs it gave, and which key signs them.
    pub(crate) told: Arc<AtomicU32>,
    key: Arc<PrivateKey>,
    /// What it tells of other trust domains, and how often it did.
    pub(crate) others: Arc<Mutex<(Value, u32)>>,
    /// What it knows of nodes and their processes.
    pub(crate) nodes: Arc<Mutex<Nodes>>,
}

/// What an issuer knows of a node and its processes, and how it answers them.
#[derive(Default)]
pub(crate) struct Nodes {
    /// Which agent a program is, by its path.
    pub(crate) rules: HashMap<String, String>,
    /// What was asked: selectors and process.
    pub(crate) asked: Vec<(Value, String)>,
    /// The instance of each process and agent.
    pub(crate) instances: HashMap<(String, String), String>,
    /// The instance of each key.
    keys: HashMap<String, String>,
    /// Which were ended, by the node.
    pub(crate) ended: Vec<String>,
    /// Which were ended by an administrator.
    pub(crate) revoked: Vec<String>,
    /// Agents that may not act.
    pub(crate) suspended: Vec<String>,
    /// The hosts that were asked for with certificates, by instance.
    pub(crate) hosts: Vec<(String, String)>,
    /// Whether the node is refused.
    pub(crate) is_node_refused: bool,
    /// How long a birth takes.
    pub(crate) delay: Duration,
    /// How many births are refused for there being too many.
    pub(crate) too_many: u32,
}

impl Issuer {
    pub(crate) async fn start(life: Duration) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/o/dev", listener.local_addr().expect("an address"));
        let issuer = Self {
            url,
            mood: Arc::default(),
            life: Arc::new(AtomicU64::new(life.as_secs())),
            given: Arc::default(),
            ended: Arc::default(),
            told: Arc::default(),
            key: Arc::new(PrivateKey::generate(Algorithm::Es256).expect("a key").0),
            others: Arc::new(Mutex::new((json!({}), 0))),
            nodes: Arc::default(),
        };
        let metadata = "/.well-known/oauth-authorization-server/o/dev";
        let routes = Router::new()
            .route(metadata, get(described))
            .route("/o/dev/oauth/token", post(token))
            .route("/o/dev/oauth/instances/join", post(join))
            .route("/o/dev/oauth/instances/attested", post(attested))
            .route("/o/dev/oauth/certificates", post(certificate))
            .route("/o/dev/oauth/instances/end", post(end))
            .route("/o/dev/oauth/jwt-svids", post(jwt_svid))
            .route("/o/dev/oauth/federated-bundles", post(federated))
            .route("/o/dev/spiffe/bundle", get(bundle))
            .with_state(issuer.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        issuer
    }

    pub(crate) fn is(&self, mood: u32) {
        self.mood.store(mood, Ordering::SeqCst);
    }

    pub(crate) fn life(&self, life: Duration) {
        self.life.store(life.as_secs(), Ordering::SeqCst);
    }

    /// A node that joined.
    pub(crate) async fn node(&self) -> Node {
        let (key, _) = PrivateKey::generate(Algorithm::Es256).expect("a key");
        let key = PrivateJwk::named_by_thumbprint(key).expect("a key");
        let proof = NodeProof::JoinToken(Secret::new("acr_join_test".to_owned()));
        Node::new(accredit::join(&self.url, None, &proof, key).await.expect("joined"))
    }

    pub(crate) fn nodes(&self) -> std::sync::MutexGuard<'_, Nodes> {
        self.nodes.lock().expect("whole")
    }

    /// Tells this of other trust domains from now on; null, where it knows of no such question.
    pub(crate) fn knows(&self, others: Value) {
        self.others.lock().expect("whole").0 = others;
    }

    fn agent(&self, is_bound: bool) -> Agent {
        let secret = Secret::new("acr_instance_test".to_owned());
        let builder = Agent::builder(&self.url, "agt_1", secret);
        let builder = if is_bound { builder } else { builder.bearer_tokens() };
        builder.build().expect("an agent")
    }

    /// An instance that keeps itself.
    pub(crate) async fn identity(&self) -> Arc<Identity> {
        let begun = Identity::begin(self.agent(true), self.agent(false)).await;
        let identity = begun.expect("an identity");
        let kept = Arc::clone(&identity);
        tokio::spawn(async move { kept.keep().await });
        identity
    }

    /// Claims, signed by the key of JWT-SVIDs.
    pub(crate) fn signed(&self, claims: &Value) -> String {
        let header = ProtectedHeader::new("JWT", Algorithm::Es256, Some("k")).expect("a header");
        let input = SigningInput::new(&header, claims.to_string().as_bytes()).expect("an input");
        let signature = self.key.sign(input.bytes()).expect("signed");
        input.finish(&signature)
    }

    /// What it says instead of an answer, where it does.
    fn says(&self) -> Option<Response> {
        let refusal = |status: StatusCode, error: &str, rule: &str| {
            let body = json!({"error": error, "error_description": "no", "rule": rule});
            Some(said(status, &body))
        };
        match self.mood.load(Ordering::SeqCst) {
            REFUSES => refusal(StatusCode::UNAUTHORIZED, "invalid_client", "instance-not-active"),
            SUSPENDED => {
                refusal(StatusCode::BAD_REQUEST, "unauthorized_client", "agent-not-active")
            }
            BROKEN => Some(StatusCode::BAD_GATEWAY.into_response()),
            _ => None,
        }
    }
}

/// The parameters of a form, and the name of the key that signed its assertion.
fn read(form: &str) -> (HashMap<String, String>, Option<String>) {
    let form: HashMap<_, _> = form_urlencoded::parse(form.as_bytes()).into_owned().collect();
    let kid = form.get("client_assertion").and_then(|assertion| {
        let head = accredit_wire::jose::b64url_decode(assertion.split('.').next()?).ok()?;
        let head: Value = serde_json::from_slice(&head).ok()?;
        Some(head["kid"].as_str()?.to_owned())
    });
    (form, kid)
}

fn refusal(status: StatusCode, error: &str, rule: &str) -> Response {
    said(status, &json!({"error": error, "error_description": "no", "rule": rule}))
}

impl Nodes {
    /// The instance that has a key; nothing where it is over.
    fn of(&self, kid: Option<&String>) -> Option<String> {
        let found = self.keys.get(kid?)?;
        let is_over = self.ended.contains(found) || self.revoked.contains(found);
        let is_refused = is_over || found == NODE && self.is_node_refused;
        (!is_refused).then(|| found.clone())
    }
}

async fn described(State(issuer): State<Issuer>) -> Response {
    let url = &issuer.url;
    let (token, jwks) = (format!("{url}/oauth/token"), format!("{url}/jwks"));
    issuer.says().unwrap_or_else(|| {
        said(StatusCode::OK, &json!({"issuer": url, "token_endpoint": token, "jwks_uri": jwks}))
    })
}

async fn token(State(issuer): State<Issuer>, form: String) -> Response {
    let (_, kid) = read(&form);
    match (issuer.says(), issuer.nodes().of(kid.as_ref())) {
        (Some(no), _) => no,
        (None, None) => refusal(StatusCode::UNAUTHORIZED, "invalid_client", "client-unknown"),
        (None, Some(_)) => {
            let token = json!({"access_token": "a", "token_type": "Bearer", "expires_in": 300});
            said(StatusCode::OK, &token)
        }
    }
}

fn kid_of(form: &HashMap<String, String>) -> String {
    let jwk: Value = serde_json::from_str(&form["jwk"]).expect("a JWK");
    assert!(jwk.get("d").is_none(), "a private key was sent");
    jwk["kid"].as_str().expect("a name").to_owned()
}

async fn join(State(issuer): State<Issuer>, form: String) -> Response {
    let (form, _) = read(&form);
    assert!(form["join_token"].starts_with("acr_join_"));
    issuer.nodes().keys.insert(kid_of(&form), NODE.to_owned());
    said(StatusCode::OK, &json!({"id": NODE, "client_id": "agt_node", "agent": "agt_node"}))
}

async fn attested(State(issuer): State<Issuer>, form: String) -> Response {
    if let Some(no) = issuer.says() {
        return no;
    }
    let (form, kid) = read(&form);
    let (selectors, process) = (&form["selectors"], form["process"].clone());
    let told: Value = serde_json::from_str(selectors).expect("selectors");
    let delay = {
        let mut nodes = issuer.nodes();
        if nodes.of(kid.as_ref()).as_deref() != Some(NODE) {
            return refusal(StatusCode::UNAUTHORIZED, "invalid_client", "instance-not-active");
        }
        nodes.asked.push((told.clone(), process.clone()));
        nodes.delay
    };
    tokio::time::sleep(delay).await;
    let mut nodes = issuer.nodes();
    if nodes.too_many > 0 {
        nodes.too_many -= 1;
        let body = json!({"error": "temporarily_unavailable", "error_description": "no"});
        return (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "1")], body.to_string())
            .into_response();
    }
    let agent = told["path"].as_str().and_then(|path| nodes.rules.get(path)).cloned();
    let Some(agent) = agent else {
        return refusal(StatusCode::BAD_REQUEST, "unauthorized_client", "workload-agent");
    };
    if nodes.suspended.contains(&agent) {
        return refusal(StatusCode::BAD_REQUEST, "unauthorized_client", "agent-not-active");
    }
    let count = nodes.instances.len();
    let found = nodes.instances.entry((process, agent.clone()));
    let instance = found.or_insert_with(|| format!("ins_{count}")).clone();
    if nodes.revoked.contains(&instance) {
        return refusal(StatusCode::UNAUTHORIZED, "invalid_client", "instance-not-active");
    }
    nodes.keys.insert(kid_of(&form), instance.clone());
    said(StatusCode::OK, &json!({"id": instance, "client_id": agent, "agent": agent}))
}

/// A certificate that says which it is: nobody here looks into it.
async fn certificate(State(issuer): State<Issuer>, form: String) -> Response {
    if let Some(no) = issuer.says() {
        return no;
    }
    let (form, kid) = read(&form);
    let id = if form.contains_key("client_assertion") {
        match issuer.nodes().of(kid.as_ref()) {
            Some(instance) => format!("spiffe://dev.id.example/agent/a/instance/{instance}"),
            None => return refusal(StatusCode::UNAUTHORIZED, "invalid_client", "client-unknown"),
        }
    } else {
        ID.to_owned()
    };
    let hosts = form.get("dns_names").cloned().unwrap_or_default();
    issuer.nodes().hosts.push((id.clone(), hosts));
    let number = issuer.given.fetch_add(1, Ordering::SeqCst);
    let leaf = accredit_wire::x509::pem("CERTIFICATE", format!("leaf {number}").as_bytes());
    let above = accredit_wire::x509::pem("CERTIFICATE", b"|intermediate");
    let life = issuer.life.load(Ordering::SeqCst);
    let chain = format!("{leaf}{above}");
    let body = json!({"id": "tok_1", "spiffe_id": id, "certificate": chain, "expires_in": life});
    said(StatusCode::OK, &body)
}

/// A JWT-SVID as long-lived as the certificates are.
async fn jwt_svid(State(issuer): State<Issuer>, body: String) -> Response {
    if let Some(no) = issuer.says() {
        return no;
    }
    issuer.told.fetch_add(1, Ordering::SeqCst);
    let form = form_urlencoded::parse(body.as_bytes());
    let audience: Vec<_> = form.filter(|(name, _)| name == "audience").map(|it| it.1).collect();
    let life = issuer.life.load(Ordering::SeqCst);
    let svid = issuer.signed(&json!({"sub": ID, "aud": audience, "exp": now() + life}));
    let body = json!({"id": "tok_1", "spiffe_id": ID, "svid": svid, "expires_in": life});
    said(StatusCode::OK, &body)
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH);
    now.expect("after 1970").as_secs()
}

async fn end(State(issuer): State<Issuer>, form: String) -> Response {
    if let Some(no) = issuer.says() {
        return no;
    }
    let (form, _) = read(&form);
    match form.get("instance") {
        Some(instance) => issuer.nodes().ended.push(instance.clone()),
        None => drop(issuer.ended.fetch_add(1, Ordering::SeqCst)),
    }
    said(StatusCode::OK, &json!({}))
}

/// What is told of other trust domains: to whoever proves who they are.
async fn federated(State(issuer): State<Issuer>, headers: HeaderMap, form: String) -> Response {
    if let Some(no) = issuer.says() {
        return no;
    }
    let (form, _) = read(&form);
    let is_proved = headers.contains_key(AUTHORIZATION) || form.contains_key("client_assertion");
    assert!(is_proved, "nobody asks without a proof");
    let mut others = issuer.others.lock().expect("whole");
    others.1 += 1;
    if others.0.is_null() {
        return said(StatusCode::NOT_FOUND, &json!({"error": "invalid_request"}));
    }
    let each = others.0.as_object().expect("an object").iter();
    let each = each.map(|(name, bundle)| (name.clone(), json!({"bundle": bundle})));
    let each: serde_json::Map<_, _> = each.collect();
    said(StatusCode::OK, &json!({"trust_domains": each, "refresh_hint": 1}))
}

async fn bundle(State(issuer): State<Issuer>) -> Response {
    let key = json!({"use": "x509-svid", "kty": "EC", "x5c": ["cm9vdA=="]});
    let (x, y) = halves(&issuer.key.public().expect("its public half")).expect("a point");
    let its = json!({"use": "jwt-svid", "kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": "k"});
    let body = json!({"spiffe_refresh_hint": 300, "keys": [key, its]});
    let is_broken = issuer.mood.load(Ordering::SeqCst) == BROKEN;
    issuer.says().filter(|_| is_broken).unwrap_or_else(|| said(StatusCode::OK, &body))
}

fn said(status: StatusCode, body: &Value) -> Response {
    (status, [(CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}
