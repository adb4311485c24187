//! RFC 8414: the issuer, what it publishes about itself, and where its endpoints are.
//!
//! An issuer is one organization of one Accredit server. Whoever configures this library names
//! the issuer; everything else must lie on the issuer's own origin, so that a changed metadata
//! document cannot send a credential elsewhere.

use std::fmt;
use std::path::PathBuf;

use accredit_net::{Client, Config, ConfigError, Egress, NetError, RESPONSE_BODY_MAX, Shown};
use accredit_wire::oauth::metadata::{Metadata, WellKnown};
use accredit_wire::secret::Secret;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, StatusCode, Uri};

/// The longest issuer, in bytes.
const ISSUER_BYTES_MAX: usize = 512;

/// Why a text cannot be an issuer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IssuerInvalid;

impl fmt::Display for IssuerInvalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "an issuer is an absolute https URL without query, fragment, user and final `/`, such \
             as `https://id.example/o/dev` (http only on loopback)",
        )
    }
}

impl std::error::Error for IssuerInvalid {}

/// Why the issuer could not be asked, or its answer not be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IssuerError {
    /// The request did not get an answer.
    Net(NetError),
    /// It answered with this status.
    Status {
        /// What was asked for.
        what: &'static str,
        /// The status.
        status: StatusCode,
    },
    /// It answered with what is not the thing asked for.
    Malformed {
        /// What was asked for.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

impl IssuerError {
    pub(crate) fn malformed(what: &'static str, reason: impl fmt::Display) -> Self {
        Self::Malformed { what, reason: reason.to_string() }
    }
}

impl fmt::Display for IssuerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Net(error) => write!(f, "{error}"),
            Self::Status { what, status } if matches!(status.as_u16(), 401 | 403) => write!(
                f,
                "the issuer answered {} to {what}; check the credential and whose it is",
                status.as_u16()
            ),
            Self::Status { what, status } => {
                write!(f, "the issuer answered {} to {what}", status.as_u16())
            }
            Self::Malformed { what, reason } => {
                write!(f, "the issuer's {what} cannot be used: {reason}")
            }
        }
    }
}

impl std::error::Error for IssuerError {}

impl From<NetError> for IssuerError {
    fn from(error: NetError) -> Self {
        Self::Net(error)
    }
}

/// An issuer's URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Issuer {
    text: String,
    /// `https://host:port`.
    origin: String,
    /// Where the metadata is.
    metadata: String,
}

impl Issuer {
    pub(crate) fn parse(text: &str) -> Result<Self, IssuerInvalid> {
        let uri: Uri = text.parse().map_err(|_| IssuerInvalid)?;
        let authority = uri.authority().ok_or(IssuerInvalid)?.as_str();
        let scheme = uri.scheme_str().filter(|scheme| matches!(*scheme, "https" | "http"));
        let odd = text.contains(['?', '#', '@']) || text.ends_with('/');
        if odd || authority.is_empty() || text.len() > ISSUER_BYTES_MAX {
            return Err(IssuerInvalid);
        }
        let origin = format!("{}://{authority}", scheme.ok_or(IssuerInvalid)?);
        if !text.starts_with(&origin) {
            // Another spelling of the scheme or the host: the issuer is compared byte for byte.
            return Err(IssuerInvalid);
        }
        let metadata = WellKnown::of(text).map_err(|_| IssuerInvalid)?.authorization_server;
        Ok(Self { text: text.to_owned(), origin, metadata })
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// `{issuer}{path}`.
    pub(crate) fn endpoint(&self, path: &str) -> String {
        format!("{}{path}", self.text)
    }

    /// Whether `url` lies on this issuer's origin.
    fn owns(&self, url: &str) -> bool {
        url.strip_prefix(&self.origin).is_some_and(|rest| rest.starts_with('/'))
    }
}

/// Where the issuer's endpoints are, as its metadata says.
#[derive(Clone, Debug)]
pub(crate) struct Endpoints {
    pub(crate) token: String,
    pub(crate) jwks: String,
    pub(crate) feed_jwks: String,
    /// The keys of attenuable tokens, where the issuer mints such.
    pub(crate) biscuit_jwks: Option<String>,
    pub(crate) revocations: String,
    pub(crate) feed: String,
    /// Where it is said what was applied, where the issuer asks for it.
    pub(crate) acknowledgements: Option<String>,
    /// The keys of the audit log's lanes, as they stand in the metadata.
    pub(crate) log_keys: Vec<String>,
    /// The statements by which one named the next, oldest first.
    pub(crate) log_statements: Vec<String>,
}

const METADATA: &str = "metadata";

impl Endpoints {
    fn read(issuer: &Issuer, text: &[u8]) -> Result<Self, IssuerError> {
        let metadata: Metadata = serde_json::from_slice(text)
            .map_err(|_| IssuerError::malformed(METADATA, "it is not a metadata document"))?;
        // RFC 8414 section 3.3: where the issuer is not identical, the data MUST NOT be used.
        metadata.check(issuer.as_str()).map_err(|error| IssuerError::malformed(METADATA, error))?;
        let own = |name: &str, url: Option<String>, path: &str| {
            let url = url.unwrap_or_else(|| issuer.endpoint(path));
            if issuer.owns(&url) {
                return Ok(url);
            }
            let reason = format!("`{name}` must be a URL on the issuer's own origin");
            Err(IssuerError::malformed(METADATA, reason))
        };
        Ok(Self {
            token: own("token_endpoint", Some(metadata.token_endpoint), "")?,
            jwks: own("jwks_uri", Some(metadata.jwks_uri), "")?,
            feed_jwks: own(
                "accredit_feed_jwks_uri",
                metadata.accredit_feed_jwks_uri,
                "/.well-known/feed-jwks.json",
            )?,
            biscuit_jwks: match metadata.accredit_biscuit_jwks_uri {
                Some(url) => Some(own("accredit_biscuit_jwks_uri", Some(url), "")?),
                None => None,
            },
            revocations: own(
                "accredit_revocations_uri",
                metadata.accredit_revocations_uri,
                "/revocations",
            )?,
            feed: own("accredit_feed_uri", metadata.accredit_feed_uri, "/revocations/feed")?,
            acknowledgements: match metadata.accredit_acknowledgements_uri {
                Some(url) => Some(own("accredit_acknowledgements_uri", Some(url), "")?),
                None => None,
            },
            log_keys: metadata.accredit_log_keys,
            log_statements: metadata.accredit_log_key_statements,
        })
    }
}

/// The issuer as something to talk to.
#[derive(Clone, Debug)]
pub(crate) struct IssuerClient {
    pub(crate) issuer: Issuer,
    pub(crate) http: Client,
    /// The API key sent along, where the endpoint wants one.
    key: Option<Secret>,
}

impl IssuerClient {
    pub(crate) fn new(
        issuer: Issuer,
        key: Option<Secret>,
        authorities: Option<PathBuf>,
    ) -> Result<Self, ConfigError> {
        let http = Client::new(Config { authorities, ..Config::new(Egress::Named) })?;
        Ok(Self { issuer, http, key })
    }

    /// One that is shown a certificate of the client's own.
    pub(crate) fn showing(
        issuer: Issuer,
        shown: Shown,
        authorities: Option<PathBuf>,
    ) -> Result<Self, ConfigError> {
        let config = Config { authorities, shown: Some(shown), ..Config::new(Egress::Named) };
        Ok(Self { issuer, http: Client::new(config)?, key: None })
    }

    pub(crate) async fn endpoints(&self) -> Result<Endpoints, IssuerError> {
        let request = request(&self.issuer.metadata, "application/json", METADATA)?;
        let body = self.body(request, METADATA, RESPONSE_BODY_MAX).await?;
        Endpoints::read(&self.issuer, &body)
    }

    /// `GET url` without a credential.
    pub(crate) async fn public(&self, url: &str, what: &'static str) -> Result<Bytes, IssuerError> {
        self.body(request(url, "application/json", what)?, what, RESPONSE_BODY_MAX).await
    }

    /// The same of any form, with a body of up to `body_max` bytes.
    #[cfg(feature = "mtls")]
    pub(crate) async fn public_up_to(
        &self,
        url: &str,
        what: &'static str,
        body_max: usize,
    ) -> Result<Bytes, IssuerError> {
        self.body(request(url, "*/*", what)?, what, body_max).await
    }

    /// `GET url` with the API key.
    pub(crate) async fn private(
        &self,
        url: &str,
        what: &'static str,
        body_max: usize,
    ) -> Result<Bytes, IssuerError> {
        self.body(self.authorized(url, "*/*", what)?, what, body_max).await
    }

    /// A `GET` request with the API key.
    pub(crate) fn authorized(
        &self,
        url: &str,
        accept: &'static str,
        what: &'static str,
    ) -> Result<Request<Bytes>, IssuerError> {
        let mut request = request(url, accept, what)?;
        if let Some(key) = &self.key {
            request.headers_mut().insert(AUTHORIZATION, bearer(key, what)?);
        }
        Ok(request)
    }

    /// `POST url` with the API key and a JSON body; the status of the answer.
    pub(crate) async fn say(
        &self,
        url: &str,
        body: Vec<u8>,
        what: &'static str,
    ) -> Result<StatusCode, IssuerError> {
        let mut request = self.authorized(url, "*/*", what)?;
        *request.method_mut() = Method::POST;
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        *request.body_mut() = Bytes::from(body);
        Ok(self.http.send(request, RESPONSE_BODY_MAX).await?.status())
    }

    async fn body(
        &self,
        request: Request<Bytes>,
        what: &'static str,
        body_max: usize,
    ) -> Result<Bytes, IssuerError> {
        let response = self.http.send(request, body_max).await?;
        match response.status() {
            StatusCode::OK => Ok(response.into_body()),
            status => Err(IssuerError::Status { what, status }),
        }
    }
}

fn request(
    url: &str,
    accept: &'static str,
    what: &'static str,
) -> Result<Request<Bytes>, IssuerError> {
    Request::get(url)
        .header(ACCEPT, HeaderValue::from_static(accept))
        .body(Bytes::new())
        .map_err(|_| IssuerError::malformed(what, "its address is not a URL"))
}

/// `Bearer <text>`, marked as not to be logged.
fn bearer(text: &Secret, what: &'static str) -> Result<HeaderValue, IssuerError> {
    let mut value = HeaderValue::try_from(format!("Bearer {}", text.expose()))
        .map_err(|_| IssuerError::malformed(what, "the credential cannot stand in a header"))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_has_one_spelling() {
        for good in
            ["https://id.example", "https://id.example/o/dev", "http://127.0.0.1:8080/o/dev"]
        {
            assert_eq!(Issuer::parse(good).expect(good).as_str(), good);
        }
        for wrong in [
            "",
            "id.example/o/dev",
            "/o/dev",
            "ftp://id.example",
            "https://id.example/o/dev/",
            "https://id.example/o/dev?x",
            "https://id.example/o/dev#x",
            "https://u:p@id.example",
            "HTTPS://id.example/o/dev",
            "https:///o/dev",
        ] {
            assert_eq!(Issuer::parse(wrong), Err(IssuerInvalid), "{wrong}");
        }
        assert!(Issuer::parse(&format!("https://id.example/{}", "x".repeat(600))).is_err());
    }

    #[test]
    fn the_well_known_part_stands_before_the_path() {
        let issuer = Issuer::parse("https://id.example/o/dev").expect("an issuer");
        let expected = "https://id.example/.well-known/oauth-authorization-server/o/dev";
        assert_eq!(issuer.metadata, expected);
    }

    #[test]
    fn metadata_of_another_issuer_or_with_endpoints_elsewhere_is_refused() {
        let issuer = Issuer::parse("https://id.example/o/dev").expect("an issuer");
        let read = |text: &str| Endpoints::read(&issuer, text.as_bytes());
        let text = |iss: &str, token: &str| {
            format!(
                r#"{{"issuer":"{iss}","token_endpoint":"{token}","jwks_uri":"https://id.example/j"}}"#
            )
        };
        let own = "https://id.example/o/dev/oauth/token";
        assert!(read(&text("https://id.example/o/dev", own)).is_ok());
        for (iss, token) in [
            ("https://id.example/o/dev/", own),
            ("https://id.example/o/DEV", own),
            ("https://id.example/o/dev", "https://id.example.evil/token"),
            ("https://id.example/o/dev", "http://id.example/token"),
            ("https://id.example/o/dev", "https://id.example:8443/token"),
        ] {
            assert!(read(&text(iss, token)).is_err(), "{iss} {token}");
        }
        assert!(read(r#"{"issuer":"https://id.example/o/dev"}"#).is_err());
    }
}
