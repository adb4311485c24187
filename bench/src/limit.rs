//! The limit: the least that any server of this kind must do, in the same HTTP stack.
//!
//! It checks one MAC of a secret (or one ES256 signature of an assertion, or both that and one of the
//! token that is exchanged), signs one ES256 token
//! as long as ours, and replies in the same shape. No store, no log, no tracing, hardly a parser.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use accredit_wire::crypto::{Algorithm, MacKey, PrivateKey, PublicKey, equal_in_constant_time};
use accredit_wire::jose::b64url_decode;
use accredit_wire::jose::jws::{ProtectedHeader, SigningInput};
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::{BodyExt as _, Collected};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use serde::Serialize;
use tokio::net::TcpListener;
use tower::Service as _;

use crate::plan::{Method, Plan};
use crate::{Answer, ambient};

/// The time in which a head must come, as the real server has it.
const HEADER_TIME_MAX: Duration = Duration::from_secs(10);

struct Limit {
    mac: MacKey,
    secrets: HashMap<String, [u8; 32]>,
    keys: HashMap<String, PublicKey>,
    subjects: Option<PublicKey>,
    signing: PrivateKey,
    header: ProtectedHeader,
    pad: String,
    count: AtomicU64,
    plan: Plan,
}

#[derive(Serialize)]
struct Reply<'a> {
    access_token: String,
    token_type: &'static str,
    expires_in: u32,
    scope: &'a str,
}

impl Limit {
    fn new(plan: Plan) -> Answer<Self> {
        let mac = MacKey::new(&[7; 32]);
        let (mut secrets, mut keys) = (HashMap::new(), HashMap::new());
        for client in &plan.clients {
            if plan.method == Method::Assertion {
                let key = client.private_key()?.public().map_err(|e| e.to_string())?;
                keys.insert(client.id.clone(), key);
            } else {
                secrets.insert(client.id.clone(), mac.mac(client.secret.as_bytes()));
            }
        }
        let subjects = match plan.method {
            Method::Exchange => {
                let bytes = b64url_decode(&plan.subject_key).map_err(|e| e.to_string())?;
                let point = <&[u8; 65]>::try_from(bytes.as_slice()).map_err(|e| e.to_string())?;
                Some(PublicKey::p256(point).map_err(|e| e.to_string())?)
            }
            Method::Basic | Method::Assertion => None,
        };
        let (signing, _) = PrivateKey::generate(Algorithm::Es256).map_err(|e| e.to_string())?;
        let header = ProtectedHeader::new("at+jwt", Algorithm::Es256, Some(&"k".repeat(30)));
        let header = header.map_err(|e| e.to_string())?;
        let mut limit = Self {
            mac,
            secrets,
            keys,
            subjects,
            signing,
            header,
            pad: String::new(),
            count: 0.into(),
            plan,
        };
        let id = limit.plan.clients.first().map_or("", |client| &client.id);
        let missing = limit.plan.token_bytes.saturating_sub(limit.token(id)?.len());
        limit.pad = "x".repeat(missing * 3 / 4);
        Ok(limit)
    }

    fn token(&self, client: &str) -> Answer<String> {
        let (now, pad, issuer) = (ambient::now().seconds(), &self.pad, &self.plan.issuer);
        let (jti, until) = (self.count.fetch_add(1, Ordering::Relaxed), now + 300);
        let payload = format!(
            r#"{{"iss":"{issuer}","sub":"{client}","iat":{now},"exp":{until},"jti":"{jti:020}","pad":"{pad}"}}"#
        );
        let input =
            SigningInput::new(&self.header, payload.as_bytes()).map_err(|e| e.to_string())?;
        let signature = self.signing.sign(input.bytes()).map_err(|e| e.to_string())?;
        Ok(input.finish(&signature))
    }

    /// The client whose secret is right.
    fn by_secret(&self, value: &HeaderValue) -> Option<String> {
        let pair = STANDARD.decode(value.as_bytes().strip_prefix(b"Basic ")?).ok()?;
        let (id, secret) = std::str::from_utf8(&pair).ok()?.split_once(':')?;
        let right = equal_in_constant_time(&self.mac.mac(secret.as_bytes()), self.secrets.get(id)?);
        right.then(|| id.to_owned())
    }

    /// The client whose assertion's signature holds.
    fn by_assertion(&self, body: &[u8]) -> Option<String> {
        let form = std::str::from_utf8(body).ok()?;
        let field = |name| form.split('&').find_map(|field| field.strip_prefix(name));
        let (id, assertion) = (field("client_id=")?, field("client_assertion=")?);
        let (signed, signature) = assertion.rsplit_once('.')?;
        let signature = b64url_decode(signature).ok()?;
        self.keys.get(id)?.verify(signed.as_bytes(), &signature).ok()?;
        Some(id.to_owned())
    }

    /// Whether the signature of the token that is exchanged holds, where one is.
    fn holds(&self, body: &[u8]) -> bool {
        let Some(key) = &self.subjects else { return true };
        let held = || {
            let form = std::str::from_utf8(body).ok()?;
            let token = form.split('&').find_map(|field| field.strip_prefix("subject_token="))?;
            let (signed, signature) = token.rsplit_once('.')?;
            key.verify(signed.as_bytes(), &b64url_decode(signature).ok()?).ok()
        };
        held().is_some()
    }

    async fn answer(&self, request: Request) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.map(Collected::to_bytes).unwrap_or_default();
        let client = match parts.headers.get(AUTHORIZATION) {
            Some(value) => self.by_secret(value),
            None => self.by_assertion(&body),
        };
        let client = client.filter(|_| self.holds(&body));
        let token = client.and_then(|client| self.token(&client).ok());
        let mut response = Response::new(Body::empty());
        let (Some(access_token), scope) = (token, &self.plan.scope) else {
            *response.status_mut() = StatusCode::UNAUTHORIZED;
            return response;
        };
        let reply = Reply { access_token, token_type: "Bearer", expires_in: 300, scope };
        *response.body_mut() = Body::from(serde_json::to_vec(&reply).unwrap_or_default());
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

/// Serves on a free port, which it prints, until it is killed.
#[tokio::main]
pub(crate) async fn serve(plan: &Path) -> Answer<()> {
    let limit = Arc::new(Limit::new(Plan::read(plan)?)?);
    let path = limit.plan.path.clone();
    let handler = move |request| async move { limit.answer(request).await };
    let router = Router::new().route(&path, post(handler));
    let listener = TcpListener::bind("127.0.0.1:0").await.map_err(|e| e.to_string())?;
    println!("{}", listener.local_addr().map_err(|e| e.to_string())?);
    loop {
        let (stream, _) = listener.accept().await.map_err(|e| e.to_string())?;
        let _ = stream.set_nodelay(true);
        let router = router.clone();
        let service = hyper::service::service_fn(move |request| router.clone().call(request));
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIME_MAX);
        builder.http2().timer(TokioTimer::new()).max_concurrent_streams(256);
        tokio::spawn(builder.serve_connection(TokioIo::new(stream), service).into_owned());
    }
}
