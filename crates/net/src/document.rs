//! Documents that a stranger named: a JWK set, client metadata. Fetched once, whole, small.
//!
//! The address is judged after resolution and the connection goes to the very address that was
//! judged ([`crate::egress`]). Only `https`, only status 200, only the types that were asked for,
//! no credential sent, no redirect followed, nothing decompressed. Whoever runs the program may
//! name loopback addresses that are reached all the same, for tests and for a key set that is
//! served beside it; plain `http` is spoken with those alone.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue};
use http::{Request, StatusCode, Uri};

use crate::client::{Client, Config};
use crate::connect::Target;
use crate::egress::Egress;
use crate::error::{ConfigError, NetError};
#[cfg(feature = "spiffe")]
use crate::{connect::system_resolver, spiffe::SpiffeServer};

/// How long name resolution, TCP and TLS may take.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(3);
/// How long a whole fetch may take.
const FETCH_TIME_MAX: Duration = Duration::from_secs(5);
/// Bytes of a document's URL.
pub const URL_BYTES_MAX: usize = 512;

/// Fetches documents.
#[derive(Clone, Debug)]
pub struct Documents {
    client: Client,
    loopback: Vec<SocketAddr>,
}

/// Why a document was not fetched. Names the host alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DocumentError {
    /// No answer came.
    Net(NetError),
    /// The URL is none that is fetched from.
    Url(&'static str),
    /// The answer is not 200: also a redirect.
    Status {
        /// The host.
        host: String,
        /// The status.
        status: StatusCode,
    },
    /// The answer is of another type, or encoded.
    Type {
        /// The host.
        host: String,
    },
}

impl From<NetError> for DocumentError {
    fn from(error: NetError) -> Self {
        Self::Net(error)
    }
}

impl fmt::Display for DocumentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Net(error) => error.fmt(f),
            Self::Url(rule) => f.write_str(rule),
            Self::Status { host, status } => {
                write!(f, "`{host}` answered {status}; it must be 200, and no redirect")
            }
            Self::Type { host } => {
                write!(f, "the answer of `{host}` is of another type than asked for, or encoded")
            }
        }
    }
}

impl std::error::Error for DocumentError {}

fn config(loopback: &[SocketAddr]) -> Config {
    Config {
        loopback: loopback.to_vec(),
        connect_timeout: CONNECT_TIME_MAX,
        exchange_timeout: FETCH_TIME_MAX,
        ..Config::new(Egress::Public)
    }
}

impl Documents {
    /// Fetches from the public internet, and from these loopback addresses.
    pub fn new(loopback: Vec<SocketAddr>) -> Result<Self, ConfigError> {
        Ok(Self { client: Client::new(config(&loopback))?, loopback })
    }

    /// Fetches a document as [`Self::get`] does, from a server that proves by an X.509-SVID whom it is.
    #[cfg(feature = "spiffe")]
    pub async fn get_from(
        &self,
        server: &SpiffeServer,
        url: &str,
        (types, body_max): (&[&str], usize),
    ) -> Result<Bytes, DocumentError> {
        if self.uri(url)?.scheme_str() != Some("https") {
            return Err(DocumentError::Url("whom a server is, is proved over `https://`"));
        }
        let tls = server.client_config().map_err(|_| DocumentError::Url("TLS cannot be set up"))?;
        let client = Client::with_tls(config(&self.loopback), system_resolver(), tls);
        let other = Self { client, loopback: self.loopback.clone() };
        other.get(url, types, body_max).await
    }

    /// Whether a URL may be fetched from at all, as far as it says itself: a name is judged when
    /// it is resolved.
    pub fn check(&self, url: &str) -> Result<(), DocumentError> {
        self.uri(url).map(drop)
    }

    fn uri(&self, url: &str) -> Result<Uri, DocumentError> {
        if url.len() > URL_BYTES_MAX || !url.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(DocumentError::Url("a URL is visible ASCII, at most 512 bytes"));
        }
        if url.contains('#') {
            return Err(DocumentError::Url("a document's URL has no fragment"));
        }
        let uri: Uri = url.parse().map_err(|_| DocumentError::Url("it is no URL"))?;
        let target = Target::of(&uri)?;
        let address = target.judge_literal(&self.loopback)?;
        if !target.is_encrypted() && address.is_none() {
            return Err(DocumentError::Url("a document's URL begins with `https://`"));
        }
        Ok(uri)
    }

    /// Fetches a document of one of these types, of at most `body_max` bytes.
    pub async fn get(
        &self,
        url: &str,
        types: &[&str],
        body_max: usize,
    ) -> Result<Bytes, DocumentError> {
        let uri = self.uri(url)?;
        let host = crate::connect::host_of(&uri);
        let mut request =
            Request::get(uri).body(Bytes::new()).map_err(|_| DocumentError::Url("it is no URL"))?;
        let accept = HeaderValue::from_str(&types.join(", "))
            .map_err(|_| DocumentError::Url("the types asked for are none"))?;
        request.headers_mut().insert(ACCEPT, accept);
        request.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let answer = self.client.send(request, body_max).await?;
        if answer.status() != StatusCode::OK {
            return Err(DocumentError::Status { host, status: answer.status() });
        }
        let typed = answer.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let typed = typed.and_then(|value| value.split(';').next()).map_or("", str::trim);
        let encoded = answer.headers().contains_key(CONTENT_ENCODING);
        if encoded || !types.iter().any(|known| known.eq_ignore_ascii_case(typed)) {
            return Err(DocumentError::Type { host });
        }
        Ok(answer.into_body())
    }
}
