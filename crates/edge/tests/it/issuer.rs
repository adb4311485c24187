//! An issuer as the local end sees one: it gives certificates and tokens, refuses, or does not answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use accredit::{Agent, Secret};
use accredit_edge::Identity;
use accredit_wire::crypto::{Algorithm, PrivateKey};
use accredit_wire::jose::jws::{ProtectedHeader, SigningInput};
use accredit_wire::jwt_svid::authorities::halves;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
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
        };
        let routes = Router::new()
            .route("/o/dev/oauth/certificates", post(certificate))
            .route("/o/dev/oauth/instances/end", post(end))
            .route("/o/dev/oauth/jwt-svids", post(jwt_svid))
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

/// A certificate that says which it is: nobody here looks into it.
async fn certificate(State(issuer): State<Issuer>) -> Response {
    if let Some(no) = issuer.says() {
        return no;
    }
    let number = issuer.given.fetch_add(1, Ordering::SeqCst);
    let leaf = accredit_wire::x509::pem("CERTIFICATE", format!("leaf {number}").as_bytes());
    let above = accredit_wire::x509::pem("CERTIFICATE", b"|intermediate");
    let life = issuer.life.load(Ordering::SeqCst);
    let chain = format!("{leaf}{above}");
    let body = json!({"id": "tok_1", "spiffe_id": ID, "certificate": chain, "expires_in": life});
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

async fn end(State(issuer): State<Issuer>) -> Response {
    issuer.ended.fetch_add(1, Ordering::SeqCst);
    said(StatusCode::OK, &json!({}))
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
