//! A server on loopback for tests: it answers whatever the test says and remembers what it was
//! asked.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::response::Response;

/// One request as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    /// The method and the path with its query.
    pub(crate) line: String,
    /// The header of that name, or nothing.
    pub(crate) authorization: String,
    /// The `Idempotency-Key`, or nothing.
    pub(crate) idempotency_key: String,
    /// The body.
    pub(crate) body: String,
}

/// The server: where it is, and what it was asked.
pub(crate) struct FakeServer {
    /// Its address.
    pub(crate) url: String,
    seen: Arc<Mutex<Vec<Asked>>>,
}

impl FakeServer {
    /// A server that answers each request line as `answer` says, with status and body.
    pub(crate) async fn start(answer: fn(&str) -> (u16, String)) -> Self {
        let seen = Arc::<Mutex<Vec<Asked>>>::default();
        let log = Arc::clone(&seen);
        let app = Router::new().fallback(move |request: Request| {
            let log = Arc::clone(&log);
            async move {
                let (head, body) = request.into_parts();
                let body = to_bytes(body, 1 << 20).await.expect("a body");
                let header = |name: &str| {
                    let value = head.headers.get(name).map(|value| value.to_str().expect("text"));
                    value.unwrap_or_default().to_owned()
                };
                let line = format!("{} {}", head.method, head.uri);
                let (status, text) = answer(&line);
                log.lock().expect("the log").push(Asked {
                    line,
                    authorization: header("authorization"),
                    idempotency_key: header("idempotency-key"),
                    body: String::from_utf8(body.to_vec()).expect("text"),
                });
                let mut answer = Response::builder().status(status);
                answer = answer.header("request-id", "req_head");
                if status == 429 {
                    answer = answer.header("retry-after", "17");
                }
                answer.body(Body::from(text)).expect("an answer")
            }
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url, seen }
    }

    /// What it was asked until now.
    pub(crate) fn seen(&self) -> Vec<Asked> {
        self.seen.lock().expect("the log").clone()
    }

    /// The request lines until now.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.seen().into_iter().map(|asked| asked.line).collect()
    }
}
