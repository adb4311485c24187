//! The limit: the least that any server of this kind must do, in the same HTTP stack.
//!
//! It checks one MAC of a secret (or one ES256 signature of an assertion, or both that and one of the
//! token that is exchanged), signs one ES256 token
//! as long as ours, and replies in the same shape. Asked for a certificate it checks the MAC and the
//! request's signature, and signs one with the same library. No store, no log, no tracing, hardly a
//! parser.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use accredit_wire::crypto::{Algorithm, MacKey, PrivateKey, PublicKey, equal_in_constant_time};
use accredit_wire::ids::InstanceId;
use accredit_wire::jose::b64url_decode;
use accredit_wire::jose::jws::{ProtectedHeader, SigningInput};
use accredit_wire::time::Time;
use accredit_wire::x509::certificate::{Life, Named, Pointers, SERIAL_BYTES, Unsigned};
use accredit_wire::x509::request;
use accredit_wire::x509::spiffe::TrustDomain;
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

/// The authority's key, and what it is called: as long as the names of a real one.
const KEY: &str = "key_01m8h8rwwef1k9k0vb4h0c9d40";
const AUTHORITY: &str = "Accredit key_01m8h8rwwef1k9k0vb4h0c9d40";
/// How long a certificate lives.
const CERTIFICATE_LIFE: Duration = Duration::from_hours(1);

struct Limit {
    authority: Authority,
    mac: MacKey,
    secrets: HashMap<String, [u8; 32]>,
    /// Instances by the MAC of their secret: they share the id of their agent.
    instances: HashMap<[u8; 32], String>,
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
        let mut instances = HashMap::new();
        for client in &plan.clients {
            match plan.method {
                Method::Assertion => {
                    let key = client.private_key()?.public().map_err(|e| e.to_string())?;
                    keys.insert(client.id.clone(), key);
                }
                Method::Certificate => {
                    instances.insert(mac.mac(client.secret.as_bytes()), client.kid.clone());
                }
                Method::Basic | Method::Exchange => {
                    secrets.insert(client.id.clone(), mac.mac(client.secret.as_bytes()));
                }
            }
        }
        let subjects = match plan.method {
            Method::Exchange => {
                let bytes = b64url_decode(&plan.subject_key).map_err(|e| e.to_string())?;
                let point = <&[u8; 65]>::try_from(bytes.as_slice()).map_err(|e| e.to_string())?;
                Some(PublicKey::p256(point).map_err(|e| e.to_string())?)
            }
            Method::Basic | Method::Assertion | Method::Certificate => None,
        };
        let (signing, _) = PrivateKey::generate(Algorithm::Es256).map_err(|e| e.to_string())?;
        let header = ProtectedHeader::new("at+jwt", Algorithm::Es256, Some(&"k".repeat(30)));
        let header = header.map_err(|e| e.to_string())?;
        let mut limit = Self {
            authority: Authority::new(&plan.issuer)?,
            mac,
            secrets,
            instances,
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
        if self.plan.method == Method::Certificate {
            return self.instances.get(&self.mac.mac(secret.as_bytes())).cloned();
        }
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

    /// What an authenticated client is answered, as JSON.
    fn reply(&self, client: &str, body: &[u8]) -> Answer<Vec<u8>> {
        let reply = match self.plan.method {
            Method::Certificate => serde_json::to_vec(&self.authority.certify(client, body)?),
            Method::Basic | Method::Assertion | Method::Exchange => {
                let (access_token, scope) = (self.token(client)?, self.plan.scope.as_str());
                let kind = "Bearer";
                serde_json::to_vec(&Reply {
                    access_token,
                    token_type: kind,
                    expires_in: 300,
                    scope,
                })
            }
        };
        reply.map_err(|error| error.to_string())
    }

    async fn answer(&self, request: Request) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.map(Collected::to_bytes).unwrap_or_default();
        let client = match parts.headers.get(AUTHORIZATION) {
            Some(value) => self.by_secret(value),
            None => self.by_assertion(&body),
        };
        let client = client.filter(|_| self.holds(&body));
        let reply = client.and_then(|client| self.reply(&client, &body).ok());
        let mut response = Response::new(Body::empty());
        let Some(reply) = reply else {
            *response.status_mut() = StatusCode::UNAUTHORIZED;
            return response;
        };
        *response.body_mut() = Body::from(reply);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

/// Who signs certificates.
struct Authority {
    domain: TrustDomain,
    pointers: Pointers,
    key: PrivateKey,
    public: PublicKey,
    /// Sent behind each certificate: its own, as long as that of an intermediate.
    chain: String,
    count: AtomicU64,
}

/// A certificate, in the real server's shape.
#[derive(Serialize)]
struct Svid {
    id: String,
    spiffe_id: String,
    certificate: String,
    expires_at: Time,
    expires_in: u32,
}

/// That of a certificate from now on.
fn life() -> Life {
    let from = ambient::now();
    Life { from, until: from.plus(CERTIFICATE_LIFE) }
}

impl Authority {
    fn new(issuer: &str) -> Answer<Self> {
        let pointers = Pointers {
            crl: format!("{issuer}/ca/{KEY}/crl"),
            ocsp: format!("{issuer}/ocsp"),
            issuer: format!("{issuer}/ca/{KEY}/certificate"),
        };
        let domain = TrustDomain::parse("dev.bench.example").map_err(|e| e.to_string())?;
        let (key, _) = PrivateKey::generate(Algorithm::Es256).map_err(|e| e.to_string())?;
        let public = key.public().map_err(|e| e.to_string())?;
        let mut authority =
            Self { domain, pointers, key, public, chain: String::new(), count: AtomicU64::new(0) };
        let own = Named::new(AUTHORITY, &authority.public);
        let serial = authority.serial();
        let unsigned = Unsigned::intermediate(
            &authority.domain,
            (own, own),
            &authority.pointers,
            &serial,
            life(),
        );
        authority.chain = authority.signed(unsigned.map_err(|e| e.to_string())?)?;
        Ok(authority)
    }

    fn serial(&self) -> [u8; SERIAL_BYTES] {
        let mut serial = [1; SERIAL_BYTES];
        let count = self.count.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        serial.iter_mut().skip(1).zip(count).for_each(|(byte, of_count)| *byte = of_count);
        serial
    }

    fn signed(&self, unsigned: Unsigned) -> Answer<String> {
        let signature = self.key.sign(unsigned.signing_input()).map_err(|e| e.to_string())?;
        Ok(unsigned.finish(&signature).map_err(|e| e.to_string())?.pem())
    }

    fn certify(&self, client: &str, body: &[u8]) -> Answer<Svid> {
        let csr = form_urlencoded::parse(body).find(|(name, _)| name == "csr");
        let (_, csr) = csr.ok_or("no request for a certificate")?;
        let key = request::parse(&csr).map_err(|error| error.to_string())?;
        let instance: InstanceId = client.parse().map_err(|_| "no instance")?;
        let id = self.domain.instance("planner", instance).map_err(|e| e.to_string())?;
        let (own, life) = (Named::new(AUTHORITY, &self.public), life());
        let unsigned = Unsigned::instance(
            (&id, &BTreeSet::new()),
            (own, &self.pointers),
            (client, &key),
            &self.serial(),
            life,
        );
        let certificate = self.signed(unsigned.map_err(|e| e.to_string())?)? + &self.chain;
        Ok(Svid {
            id: client.to_owned(),
            spiffe_id: id.as_str().to_owned(),
            certificate,
            expires_at: life.until,
            expires_in: 3600,
        })
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
