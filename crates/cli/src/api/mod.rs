//! The client of the HTTP API: the only file here that names the outbound client.
//!
//! It adds the administrator's key, bounds what is read, follows cursors, and turns whatever is
//! not an answer into a [`Failure`]. A creation carries a random `Idempotency-Key`, so that it may
//! be sent again where the connection broke before its answer came. Absent on purpose: any other
//! retry. A command that changes something tells how it went once, and a person or a script
//! decides.

mod bound;

use std::path::PathBuf;
use std::time::Duration;

use accredit_domain::ports::Entropy as _;
use accredit_net::{Chunks, Client, Config, Egress, NetError};
use accredit_wire::secret::Secret;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderName, RETRY_AFTER};
use http::{HeaderValue, Method, Request, StatusCode};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use crate::args::GlobalFlags;
use crate::client_settings::ClientSettings;
use crate::commands;
use crate::compose::SystemEntropy;
use crate::errors::{Failure, plain};
use crate::exit::Exit;
use crate::output::{Answer, Page};
use crate::request_path::RequestPath;

/// The largest answer that is read whole.
pub(crate) const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The header under whose value a creation is carried out once.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Says that an answer was given before.
const IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// The most items the server gives at once.
pub(crate) const PAGE_ITEMS_MAX: usize = 200;

/// The most pages that are asked for in a row.
const LIST_PAGES_MAX: u32 = 10_000;

/// How long an answer may take: a large revocation counts what it ends.
const ANSWER_TIME_MAX: Duration = Duration::from_mins(1);

/// A server, and the key with which it is asked.
#[derive(Debug)]
pub(crate) struct Api {
    client: Client,
    url: String,
    token: Option<Secret>,
    /// Whether nothing may be changed.
    dry_run: bool,
}

/// A list as the API answers it.
#[derive(Deserialize)]
struct ListAnswer {
    items: Vec<Box<RawValue>>,
    #[serde(default)]
    next: Option<String>,
}

impl Api {
    /// The server that the settings name. Opens no connection.
    pub(crate) fn new(settings: ClientSettings, flags: &GlobalFlags) -> Result<Self, Failure> {
        let client = Self::plain_client(flags)?;
        Ok(Self { client, url: settings.url, token: settings.token, dry_run: flags.dry_run })
    }

    /// A client that holds no key: for what a server says to anybody.
    pub(crate) fn plain_client(flags: &GlobalFlags) -> Result<Client, Failure> {
        let mut config = Config::new(Egress::Named);
        config.authorities =
            flags.ca_file.as_ref().filter(|file| !file.is_empty()).map(PathBuf::from);
        config.exchange_timeout = ANSWER_TIME_MAX;
        Client::new(config).map_err(|error| {
            Failure::usage("the client cannot be set up", &error.to_string(), "check --ca-file")
        })
    }

    /// The server's address.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Whether there is an administrator's key to ask with.
    pub(crate) fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// One object.
    pub(crate) async fn get(&self, path: RequestPath) -> Result<Answer, Failure> {
        self.call(Method::GET, path, None).await
    }

    /// One call of the administration.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: RequestPath,
        body: Option<Value>,
    ) -> Result<Answer, Failure> {
        if self.dry_run && method != Method::GET {
            return Err(commands::no_dry_run());
        }
        let mut request = self.request(method, &path, body)?;
        let once = request.method() == Method::POST && creates(&path.text());
        if once {
            let key = HeaderValue::from_str(&random_key()).map_err(|error| unsendable(&error))?;
            request.headers_mut().insert(IDEMPOTENCY_KEY, key);
        }
        let mut sent = self.client.send(request.clone(), ANSWER_BYTES_MAX).await;
        if once && matches!(sent, Err(NetError::Broken { .. })) {
            sent = self.client.send(request, ANSWER_BYTES_MAX).await;
        }
        let (answer, replayed) = self.taken(sent)?;
        let text = String::from_utf8(answer.to_vec())
            .map_err(|_| Failure::not_understood(&self.url, "it is not UTF-8"))?;
        if text.trim().is_empty() {
            return Ok(Answer { text: String::new(), value: Value::Null, replayed });
        }
        let value = serde_json::from_str(&text)
            .map_err(|error| Failure::not_understood(&self.url, &error.to_string()))?;
        Ok(Answer { text, value, replayed })
    }

    /// At most `items_max` items of a list, from `cursor` on.
    pub(crate) async fn list(
        &self,
        path: RequestPath,
        items_max: usize,
        cursor: Option<String>,
    ) -> Result<Page, Failure> {
        let mut page = Page { items: Vec::new(), next: cursor };
        for _ in 0..LIST_PAGES_MAX {
            let wanted = (items_max - page.items.len()).min(PAGE_ITEMS_MAX);
            let part = path.clone().query("limit", &wanted.to_string());
            let part = part.query_opt("cursor", page.next.as_deref());
            let ListAnswer { items, next } = self.list_answer(part).await?;
            page.items.extend(items.into_iter().take(wanted));
            // A cursor that leads to itself would lead there for ever. A page without items is
            // no end: the server looked through what it may at once and found nothing yet.
            let stuck = next == page.next;
            page.next = next;
            if page.next.is_none() || page.items.len() >= items_max || stuck {
                break;
            }
        }
        Ok(page)
    }

    async fn list_answer(&self, path: RequestPath) -> Result<ListAnswer, Failure> {
        let answer = self.get(path).await?;
        serde_json::from_str(&answer.text)
            .map_err(|error| Failure::not_understood(&self.url, &error.to_string()))
    }

    /// A body that comes in pieces.
    pub(crate) async fn stream(&self, path: RequestPath) -> Result<Pieces, Failure> {
        let request = self.request(Method::GET, &path, None)?;
        let answer = self.client.stream(request).await.map_err(|error| self.failure(&error))?;
        let (head, body) = answer.into_parts();
        if head.status != StatusCode::OK {
            let body =
                body.collect(ANSWER_BYTES_MAX).await.map_err(|error| self.failure(&error))?;
            return Err(Failure::of_answer(head.status, &body));
        }
        Ok(Pieces { body, url: self.url.clone() })
    }

    /// A token, asked for with a form and HTTP Basic authentication (RFC 6749 section 2.3.1).
    pub(crate) async fn token(
        &self,
        issuer: &str,
        (client_id, secret): (&str, &Secret),
        form: &str,
    ) -> Result<Answer, Failure> {
        self.client(issuer, "token", (client_id, secret), form).await
    }

    /// Asks an OAuth endpoint of an issuer as a client.
    pub(crate) async fn client(
        &self,
        issuer: &str,
        endpoint: &str,
        who: (&str, &Secret),
        form: &str,
    ) -> Result<Answer, Failure> {
        let request = Self::client_request(&format!("{issuer}/oauth/{endpoint}"), who, form)?;
        read_answer(issuer, &self.send(request).await?)
    }

    /// RFC 6749 section 2.3.1: a form, sent by a client with its secret.
    fn client_request(
        url: &str,
        (client_id, secret): (&str, &Secret),
        form: &str,
    ) -> Result<Request<Bytes>, Failure> {
        // "encoded using the application/x-www-form-urlencoded encoding algorithm"
        let encode =
            |text: &str| -> String { form_urlencoded::byte_serialize(text.as_bytes()).collect() };
        let pair = Zeroizing::new(format!("{}:{}", encode(client_id), encode(secret.expose())));
        let basic = Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())));
        Request::post(url)
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(AUTHORIZATION, sensitive(&basic)?)
            .body(Bytes::from(form.to_owned()))
            .map_err(|error| unsendable(&error))
    }

    fn request(
        &self,
        method: Method,
        path: &RequestPath,
        body: Option<Value>,
    ) -> Result<Request<Bytes>, Failure> {
        let Some(token) = &self.token else {
            return Err(Failure::new(
                Exit::NotAuthenticated,
                "no-key",
                "no administrator's key was given",
                "neither --token-file nor ACCREDIT_TOKEN is set, and client.toml names no file",
                "export ACCREDIT_TOKEN=… (`accredit dev` and `accredit init` print it once)",
            ));
        };
        let bearer = Zeroizing::new(format!("Bearer {}", token.expose()));
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{}", self.url, path.text()))
            .header(ACCEPT, "application/json, application/x-ndjson")
            .header(AUTHORIZATION, sensitive(&bearer)?);
        let body = match body {
            Some(body) => {
                request = request.header(CONTENT_TYPE, "application/json");
                Bytes::from(body.to_string())
            }
            None => Bytes::new(),
        };
        request.body(body).map_err(|error| unsendable(&error))
    }

    async fn send(&self, request: Request<Bytes>) -> Result<Bytes, Failure> {
        let sent = self.client.send(request, ANSWER_BYTES_MAX).await;
        Ok(self.taken(sent)?.0)
    }

    /// The body of an answer that is a success, and whether it was given before.
    fn taken(
        &self,
        sent: Result<http::Response<Bytes>, NetError>,
    ) -> Result<(Bytes, bool), Failure> {
        let (head, body) = sent.map_err(|error| self.failure(&error))?.into_parts();
        if head.status.is_success() {
            return Ok((body, head.headers.contains_key(IDEMPOTENT_REPLAYED)));
        }
        let mut failure = Failure::of_answer(head.status, &body);
        if failure.request_id.is_none() {
            let id = head.headers.get("request-id").and_then(|id| id.to_str().ok());
            failure.request_id = id.map(|id| plain(id).into());
        }
        let wait = head.headers.get(RETRY_AFTER).and_then(|wait| wait.to_str().ok()?.parse().ok());
        if let (StatusCode::TOO_MANY_REQUESTS, Some(seconds)) = (head.status, wait) {
            let seconds: u32 = seconds;
            failure.hint = format!("wait {seconds} s, then run it again").into();
        }
        Err(failure)
    }

    fn failure(&self, error: &NetError) -> Failure {
        net_failure(&self.url, error)
    }
}

/// An answer of an OAuth endpoint.
fn read_answer(issuer: &str, body: &[u8]) -> Result<Answer, Failure> {
    let text = String::from_utf8_lossy(body).into_owned();
    let value = serde_json::from_str(&text)
        .map_err(|error| Failure::not_understood(issuer, &error.to_string()))?;
    Ok(Answer { text, value, replayed: false })
}

/// The bytes of a long answer.
#[derive(Debug)]
pub(crate) struct Pieces {
    body: Chunks,
    url: String,
}

impl Pieces {
    /// The next bytes; nothing at the orderly end.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        self.body.next().await.map_err(|error| net_failure(&self.url, &error))
    }
}

fn net_failure(url: &str, error: &NetError) -> Failure {
    let mut failure = Failure::unreachable(url, &error.to_string());
    match error {
        NetError::Untrusted { .. } => {
            failure.hint = "name the server's certificate authority with --ca-file".into();
        }
        NetError::Unsendable { .. } => failure.exit = Exit::Usage,
        NetError::TooLarge { .. } => failure.exit = Exit::Failure,
        NetError::Refused { .. }
        | NetError::Unresolved { .. }
        | NetError::Unreachable { .. }
        | NetError::TimedOut { .. }
        | NetError::Broken { .. } => {}
    }
    failure
}

/// Whether a POST to this path creates something that a repetition would create again.
fn creates(path: &str) -> bool {
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    matches!(segments.as_slice(), ["v1", _] | ["v1", "credentials" | "admin-keys", _, "rotate"])
}

/// 128 random bits.
fn random_key() -> String {
    let mut bytes = [0u8; 16];
    SystemEntropy.fill(&mut bytes);
    format!("{:032x}", u128::from_be_bytes(bytes))
}

fn sensitive(text: &str) -> Result<HeaderValue, Failure> {
    let mut value = HeaderValue::from_str(text).map_err(|_| {
        Failure::usage(
            "the secret cannot be sent",
            "it holds letters that no secret of Accredit has",
            "check that the file or variable holds the secret alone",
        )
    })?;
    value.set_sensitive(true);
    Ok(value)
}

fn unsendable(error: &dyn std::fmt::Display) -> Failure {
    Failure::usage(
        "the request cannot be sent",
        &error.to_string(),
        "check --url and the names given",
    )
}

#[cfg(test)]
mod tests;
