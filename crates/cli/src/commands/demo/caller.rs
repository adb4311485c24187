//! An agent's side: calls of the resource, and streams whose end is timed where it is noticed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use accredit::AccessToken;
use accredit_net::{Chunks, Client, Config, Egress, NetError, RESPONSE_BODY_MAX};
use accredit_wire::secret::Secret;
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use serde_json::Value;
use tokio::task::JoinHandle;

use super::clock;

/// How long an answer of the resource may take.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);

/// A client of the resource.
#[derive(Clone)]
pub(super) struct Caller {
    client: Client,
    url: String,
}

/// What the resource answered.
pub(super) struct Answered {
    /// The status.
    pub(super) status: StatusCode,
    /// The body; null where it is not JSON.
    pub(super) body: Value,
}

impl Answered {
    /// A text of the body.
    pub(super) fn text(&self, name: &str) -> &str {
        self.body.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// What the resource says of who called.
    pub(super) fn caller(&self, what: &str) -> Option<&str> {
        self.body.get("caller")?.get(what)?.as_str()
    }

    /// In a few words, for where something else was expected.
    pub(super) fn seen(&self) -> String {
        format!("the resource answered {}: {}", self.status.as_u16(), self.body)
    }
}

impl Caller {
    /// A client of the resource at `url`.
    pub(super) fn new(url: &str) -> Result<Self, String> {
        let mut config = Config::new(Egress::Named);
        config.exchange_timeout = ANSWER_TIME_MAX;
        config.idle_timeout = ANSWER_TIME_MAX;
        let client = Client::new(config).map_err(|error| error.to_string())?;
        Ok(Self { client, url: url.to_owned() })
    }

    /// The resource's address.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// One call.
    pub(super) async fn call(
        &self,
        method: Method,
        path: &str,
        token: &AccessToken,
    ) -> Result<Answered, String> {
        let answered = self.call_while_ending(method, path, token).await?;
        answered.map_err(|broken| broken.to_string())
    }

    /// One call while the token's end is under way: an answer that it meets is broken off, which is
    /// the inner error.
    pub(super) async fn call_while_ending(
        &self,
        method: Method,
        path: &str,
        token: &AccessToken,
    ) -> Result<Result<Answered, NetError>, String> {
        let headers = HeaderMap::from_iter([(AUTHORIZATION, token.authorization())]);
        self.send(method, path, &headers).await
    }

    /// One call with these headers.
    pub(super) async fn call_with(
        &self,
        method: Method,
        path: &str,
        headers: &HeaderMap,
    ) -> Result<Answered, String> {
        let answered = self.send(method, path, headers).await?;
        answered.map_err(|broken| broken.to_string())
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &HeaderMap,
    ) -> Result<Result<Answered, NetError>, String> {
        let request = self.request(method, path, headers)?;
        match self.client.send(request, RESPONSE_BODY_MAX).await {
            Ok(answer) => {
                let body = serde_json::from_slice(answer.body()).unwrap_or_default();
                Ok(Ok(Answered { status: answer.status(), body }))
            }
            Err(broken @ NetError::Broken { .. }) => Ok(Err(broken)),
            Err(error) => Err(error.to_string()),
        }
    }

    /// One call with a bearer token that was got by hand.
    pub(super) async fn call_bearing(
        &self,
        method: Method,
        path: &str,
        token: &Secret,
    ) -> Result<Answered, String> {
        let mut value = HeaderValue::try_from(format!("Bearer {}", token.expose()))
            .map_err(|error| error.to_string())?;
        value.set_sensitive(true);
        self.call_with(method, path, &HeaderMap::from_iter([(AUTHORIZATION, value)])).await
    }

    /// Opens the stream and goes on reading it.
    pub(super) async fn follow(&self, token: &AccessToken) -> Result<Following, String> {
        let headers = HeaderMap::from_iter([(AUTHORIZATION, token.authorization())]);
        let request = self.request(Method::GET, "/stream", &headers)?;
        let answer = self.client.stream(request).await.map_err(|error| error.to_string())?;
        if answer.status() != StatusCode::OK {
            return Err(format!("the stream was answered {}", answer.status().as_u16()));
        }
        let lines = Arc::<AtomicU64>::default();
        let reading = tokio::spawn(read(answer.into_body(), Arc::clone(&lines)));
        Ok(Following { lines, reading })
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        headers: &HeaderMap,
    ) -> Result<Request<Bytes>, String> {
        let request = Request::builder().method(method).uri(format!("{}{path}", self.url));
        let mut request = request.body(Bytes::new()).map_err(|error| error.to_string())?;
        request.headers_mut().extend(headers.clone());
        Ok(request)
    }
}

/// A stream that is being read. Dropping it stops reading.
pub(super) struct Following {
    lines: Arc<AtomicU64>,
    reading: JoinHandle<End>,
}

/// How a stream ended, and when that was noticed.
pub(super) struct End {
    /// When.
    pub(super) at: Instant,
    /// The error that broke it off; nothing where it ended as if it were complete.
    pub(super) broken: Option<String>,
}

impl Following {
    /// How many lines came until now.
    pub(super) fn lines(&self) -> u64 {
        self.lines.load(Ordering::Relaxed)
    }

    /// Whether lines can still come.
    pub(super) fn goes_on(&self) -> bool {
        !self.reading.is_finished()
    }

    /// Waits for its end.
    pub(super) async fn end(&mut self) -> Result<End, String> {
        (&mut self.reading).await.map_err(|error| error.to_string())
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

async fn read(mut chunks: Chunks, lines: Arc<AtomicU64>) -> End {
    loop {
        match chunks.next().await {
            Ok(Some(bytes)) => {
                let more = bytes.split(|byte| *byte == b'\n').count() - 1;
                lines.fetch_add(more as u64, Ordering::Relaxed);
            }
            Ok(None) => return End { at: clock::now(), broken: None },
            Err(error) => return End { at: clock::now(), broken: Some(error.to_string()) },
        }
    }
}
