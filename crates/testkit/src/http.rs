//! Asking the router without a socket.

use std::net::IpAddr;

use accredit_server::dispatch::Peer;
use accredit_wire::binding::PeerCertificate;
use accredit_wire::oauth::client_auth::authorization_basic;
use accredit_wire::secret::Secret;
use axum::body::Body;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, Request};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tower::ServiceExt as _;

use crate::TestWorld;
use crate::fixture::Client;

/// The content type of a form.
pub const FORM: &str = "application/x-www-form-urlencoded";

/// A request on its way.
#[derive(Clone)]
pub struct Ask {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    certificate: Option<PeerCertificate>,
}

impl Ask {
    /// Any method.
    pub fn new(method: &str, path: impl Into<String>) -> Self {
        let (method, path) = (method.to_owned(), path.into());
        Self { method, path, headers: Vec::new(), body: Vec::new(), certificate: None }
    }

    /// GET.
    pub fn get(path: impl Into<String>) -> Self {
        Self::new("GET", path)
    }

    /// POST.
    pub fn post(path: impl Into<String>) -> Self {
        Self::new("POST", path)
    }

    /// With a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Over a connection whose client holds the key of this certificate, DER.
    #[must_use]
    pub fn over(mut self, certificate: &[u8]) -> Self {
        self.certificate = Some(PeerCertificate::new(certificate));
        self
    }

    /// With a bearer credential: an administrator's or a resource's key, or a token.
    #[must_use]
    pub fn bearer(self, secret: &str) -> Self {
        self.header(AUTHORIZATION.as_str(), &format!("Bearer {secret}"))
    }

    /// With `client_secret_basic`.
    #[must_use]
    pub fn basic(self, client: &Client) -> Self {
        let value = authorization_basic(&client.id, &Secret::new(client.secret.clone()));
        self.header(AUTHORIZATION.as_str(), value.expose())
    }

    /// With a body.
    #[must_use]
    pub fn body(mut self, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self.header(CONTENT_TYPE.as_str(), content_type)
    }

    /// With a JSON body.
    #[must_use]
    pub fn json(self, body: &Value) -> Self {
        self.body("application/json", body.to_string())
    }

    /// With a form.
    #[must_use]
    pub fn form(self, pairs: &[(&str, &str)]) -> Self {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(pairs);
        self.body(FORM, form.finish())
    }

    fn into_request(self) -> Request<Body> {
        let mut request = Request::builder().method(self.method.as_str()).uri(self.path);
        for (name, value) in self.headers {
            request = request.header(name, value);
        }
        if let Some(certificate) = self.certificate {
            request = request.extension(certificate);
        }
        request
            .extension(Peer(IpAddr::from([192, 0, 2, 7])))
            .body(Body::from(self.body))
            .expect("a request that can be written down")
    }
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, whole.
    pub body: Bytes,
}

impl Answer {
    /// The body as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        match serde_json::from_slice(&self.body) {
            Ok(value) => value,
            Err(error) => panic!("{error}: {} {}", self.status, self.text()),
        }
    }

    /// A header, or the empty text.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }

    /// A member of the JSON body as text, or the empty text.
    #[track_caller]
    pub fn member(&self, name: &str) -> String {
        self.json()[name].as_str().unwrap_or_default().to_owned()
    }

    /// Demands a status.
    #[expect(clippy::return_self_not_must_use, reason = "the demand itself may be all there is")]
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text());
        self
    }

    /// Demands a refusal in OAuth's words.
    #[track_caller]
    pub fn refused(&self, status: u16, error: &str, rule: &str) {
        let body = self.json();
        let told = (self.status, body["error"].as_str(), body["rule"].as_str());
        assert_eq!(told, (status, Some(error), Some(rule)), "{body}");
        assert!(!body["hint"].as_str().unwrap_or_default().is_empty(), "no hint: {body}");
    }

    /// Demands a problem (RFC 9457).
    #[track_caller]
    pub fn problem(&self, status: u16, rule: &str) {
        let body = self.json();
        assert_eq!(self.header("content-type"), "application/problem+json", "{body}");
        let told = (self.status, body["type"].as_str());
        assert_eq!(told, (status, Some(&*format!("urn:accredit:problem:{rule}"))), "{body}");
        assert_eq!(body["status"], status, "{body}");
        assert_eq!(body["request_id"], self.header("request-id"), "{body}");
    }
}

/// A stream of server-sent events.
pub struct Events {
    body: Body,
    read: String,
}

impl Events {
    /// The `id` and the `data` of the next message; `None` where the stream has ended.
    pub async fn next(&mut self) -> Option<(String, String)> {
        self.event("revocations").await
    }

    /// The next piece of a snapshot.
    pub async fn piece(&mut self) -> Option<String> {
        self.event("piece").await.map(|(_, data)| data)
    }

    async fn event(&mut self, expected: &str) -> Option<(String, String)> {
        loop {
            if let Some((event, rest)) = self.read.split_once("\n\n") {
                let field = |name: &str| {
                    let line = event.lines().find_map(|line| line.strip_prefix(name));
                    line.unwrap_or_default().trim_start().to_owned()
                };
                assert_eq!(field("event:"), expected);
                let fields = (field("id:"), field("data:"));
                let read = self.read.len() - rest.len();
                self.read.drain(..read);
                return Some(fields);
            }
            let frame = self.body.frame().await?.expect("a stream that goes on");
            let bytes = frame.into_data().expect("no trailers");
            self.read.push_str(std::str::from_utf8(&bytes).expect("text"));
        }
    }
}

impl TestWorld {
    async fn send(&self, ask: Ask) -> http::Response<Body> {
        let Ok(response) = self.router.clone().oneshot(ask.into_request()).await;
        response
    }

    /// Asks, and waits for the whole answer.
    pub async fn ask(&self, ask: Ask) -> Answer {
        let (parts, body) = self.send(ask).await.into_parts();
        let body = body.collect().await.expect("a whole answer").to_bytes();
        Answer { status: parts.status.as_u16(), headers: parts.headers, body }
    }

    /// Asks, and waits for no more than the status: also where the answer never ends.
    pub async fn status(&self, ask: Ask) -> u16 {
        self.send(ask).await.status().as_u16()
    }

    /// Asks for a stream of events.
    pub async fn events(&self, ask: Ask) -> Events {
        let response = self.send(ask).await;
        assert_eq!(response.status().as_u16(), 200);
        Events { body: response.into_body(), read: String::new() }
    }
}
