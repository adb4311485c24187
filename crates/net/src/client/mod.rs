//! RFC 9110 and RFC 9112: one request, one answer, within bounds of time and size.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{HOST, HeaderValue, USER_AGENT};
use http::{Request, Response, Uri, Version};
use http_body::Body as _;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;

use crate::connect::{Connector, Resolve, Target, host_of, system_resolver};
use crate::egress::Egress;
use crate::error::{ConfigError, NetError, Phase};
use crate::tls;

/// The largest body of an answer that is read where the caller names no other bound: 1 MiB.
pub const RESPONSE_BODY_MAX: usize = 1024 * 1024;

/// The most header lines of an answer.
const RESPONSE_HEADERS_MAX: usize = 64;

/// The largest head of an answer, in bytes.
const RESPONSE_HEAD_MAX: usize = 64 * 1024;

/// The most idle connections kept to one host.
const IDLE_PER_HOST_MAX: usize = 8;

/// How long an idle connection is kept.
const IDLE_CONNECTION_MAX: Duration = Duration::from_secs(30);

/// A certificate of the client's own (RFC 8446 section 4.4.2) and its key, each in a PEM file.
#[derive(Clone, Debug)]
pub struct Shown {
    /// The certificate, and behind it what signed it, if anything.
    pub certificate: PathBuf,
    /// Its key, in PKCS #8, SEC 1 or PKCS #1.
    pub key: PathBuf,
}

/// What a [`Client`] may do. Start from [`Config::new`] and change what differs.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who names the destinations of this client.
    pub egress: Egress,
    /// Loopback addresses that a stranger may name all the same, also in plain `http`: none.
    pub loopback: Vec<SocketAddr>,
    /// A PEM file with certificate authorities to trust beside the built-in ones.
    pub authorities: Option<PathBuf>,
    /// What the client shows of itself where it is asked for a certificate: nothing.
    pub shown: Option<Shown>,
    /// Name resolution, TCP and TLS together: 5 s.
    pub connect_timeout: Duration,
    /// The whole exchange of [`Client::send`], and the head of [`Client::stream`]: 10 s.
    pub exchange_timeout: Duration,
    /// The longest silence inside a stream: 60 s.
    pub idle_timeout: Duration,
}

impl Config {
    /// The defaults for `egress`.
    pub fn new(egress: Egress) -> Self {
        Self {
            egress,
            loopback: Vec::new(),
            authorities: None,
            shown: None,
            connect_timeout: Duration::from_secs(5),
            exchange_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_mins(1),
        }
    }
}

/// The client. Cheap to clone; clones share their connections. Belongs to a tokio runtime.
#[derive(Clone)]
pub struct Client {
    inner: legacy::Client<Connector, Full<Bytes>>,
    exchange_timeout: Duration,
    idle_timeout: Duration,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

impl Client {
    /// A client with these settings. Reads the files that they name, opens no connection.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        Self::with_resolver(config, system_resolver())
    }

    pub(crate) fn with_resolver(config: Config, resolve: Resolve) -> Result<Self, ConfigError> {
        let tls = tls::client_config(config.authorities.as_deref(), config.shown.as_ref())?;
        Ok(Self::with_tls(config, resolve, tls))
    }

    /// A client that knows servers as `tls` says.
    pub(crate) fn with_tls(config: Config, resolve: Resolve, tls: Arc<ClientConfig>) -> Self {
        let connector = Connector {
            egress: config.egress,
            loopback: config.loopback.into(),
            resolve,
            tls,
            connect_timeout: config.connect_timeout,
        };
        let inner = legacy::Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE_CONNECTION_MAX)
            .pool_max_idle_per_host(IDLE_PER_HOST_MAX)
            .pool_timer(TokioTimer::new())
            .http1_max_headers(RESPONSE_HEADERS_MAX)
            .http1_max_buf_size(RESPONSE_HEAD_MAX)
            .build(connector);
        Self { inner, exchange_timeout: config.exchange_timeout, idle_timeout: config.idle_timeout }
    }

    /// Sends `request` and reads the whole answer, whose body may have up to `body_max` bytes
    /// (usually [`RESPONSE_BODY_MAX`]). Any status is an answer, also a redirect.
    pub async fn send(
        &self,
        request: Request<Bytes>,
        body_max: usize,
    ) -> Result<Response<Bytes>, NetError> {
        let host = host_of(request.uri());
        let exchange = async {
            let (head, body) = self.head(request).await?.into_parts();
            let body = collect(body, body_max, &host).await?;
            Ok(Response::from_parts(head, body))
        };
        match tokio::time::timeout(self.exchange_timeout, exchange).await {
            Ok(outcome) => outcome,
            Err(_) => Err(NetError::TimedOut { host, phase: Phase::Exchange }),
        }
    }

    /// Sends `request` and answers as soon as the head is there; the body comes in [`Chunks`],
    /// for as long as it is never silent beyond [`Config::idle_timeout`].
    pub async fn stream(&self, request: Request<Bytes>) -> Result<Response<Chunks>, NetError> {
        let host = host_of(request.uri());
        let idle_timeout = self.idle_timeout;
        match tokio::time::timeout(self.exchange_timeout, self.head(request)).await {
            Ok(response) => Ok(response?.map(|body| Chunks { body, host, idle_timeout })),
            Err(_) => Err(NetError::TimedOut { host, phase: Phase::Exchange }),
        }
    }

    async fn head(&self, request: Request<Bytes>) -> Result<Response<Incoming>, NetError> {
        let target = request.uri().clone();
        Target::of(&target)?;
        let mut request = request.map(Full::new);
        *request.version_mut() = Version::HTTP_11;
        let headers = request.headers_mut();
        // The host is the URI's: another one here would be another destination behind a proxy.
        headers.remove(HOST);
        if !headers.contains_key(USER_AGENT) {
            headers.insert(USER_AGENT, HeaderValue::from_static(USER_AGENT_TEXT));
        }
        self.inner.request(request).await.map_err(|error| transport_error(&target, &error))
    }
}

const USER_AGENT_TEXT: &str = concat!("accredit/", env!("CARGO_PKG_VERSION"));

/// The connector's own error where there is one; whatever else happened, the connection broke.
fn transport_error(target: &Uri, error: &legacy::Error) -> NetError {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(current) = source {
        if let Some(ours) = current.downcast_ref::<NetError>() {
            return ours.clone();
        }
        source = current.source();
    }
    NetError::Broken { host: host_of(target) }
}

async fn collect(mut body: Incoming, max: usize, host: &str) -> Result<Bytes, NetError> {
    let too_large = || NetError::TooLarge { host: host.to_owned(), max };
    if body.size_hint().lower() > max as u64 {
        return Err(too_large());
    }
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| NetError::Broken { host: host.to_owned() })?;
        if let Ok(data) = frame.into_data() {
            if data.len() > max - whole.len() {
                return Err(too_large());
            }
            whole.extend_from_slice(&data);
        }
    }
    Ok(whole.freeze())
}

/// A body that arrives in pieces.
#[derive(Debug)]
pub struct Chunks {
    body: Incoming,
    host: String,
    idle_timeout: Duration,
}

impl Chunks {
    /// The next bytes; nothing at the orderly end. Cancelling the wait loses nothing.
    pub async fn next(&mut self) -> Result<Option<Bytes>, NetError> {
        loop {
            let frame = tokio::time::timeout(self.idle_timeout, self.body.frame()).await;
            match frame {
                Err(_) => {
                    return Err(NetError::TimedOut { host: self.host.clone(), phase: Phase::Idle });
                }
                Ok(None) => return Ok(None),
                Ok(Some(Err(_))) => return Err(NetError::Broken { host: self.host.clone() }),
                Ok(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }

    /// Changes the longest silence for this stream.
    pub fn set_idle_timeout(&mut self, idle_timeout: Duration) {
        self.idle_timeout = idle_timeout;
    }

    /// The rest of the body as one piece of at most `max` bytes: for an answer that turned out
    /// not to be a stream, such as an error.
    pub async fn collect(self, max: usize) -> Result<Bytes, NetError> {
        let phase = Phase::Exchange;
        match tokio::time::timeout(self.idle_timeout, collect(self.body, max, &self.host)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(NetError::TimedOut { host: self.host, phase }),
        }
    }

    /// The host this body comes from.
    pub fn host(&self) -> &str {
        &self.host
    }
}

#[cfg(test)]
mod tests;
