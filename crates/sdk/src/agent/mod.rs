//! RFC 6749 section 4.4: an agent's access tokens by the client credentials grant.
//!
//! A token is asked for once and handed out until two thirds of its life are over. Then it is
//! renewed in the background and still handed out meanwhile; if that fails, it serves until it
//! ends. The key or secret goes to the issuer's own token endpoint and nowhere else.

mod assertion;
mod cache;
mod token;

use std::path::PathBuf;
use std::sync::Arc;

use accredit_net::{ConfigError, RESPONSE_BODY_MAX};
use accredit_wire::jose::jwk::PrivateJwk;
use accredit_wire::secret::Secret;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{Request, StatusCode};
use tokio::sync::OnceCell;

use crate::ambient;
use crate::issuer::{Issuer, IssuerClient, IssuerError, IssuerInvalid};
use cache::{Cache, Wanted};
pub use token::{AccessToken, AgentError};

/// What an agent proves itself with.
#[derive(Debug)]
pub enum Proof {
    /// A client secret, `acr_agent_…` or `acr_instance_…` (RFC 6749 section 2.3.1).
    Secret(Secret),
    /// A private key whose public half is registered (RFC 7523 section 2.2, `private_key_jwt`).
    Key(PrivateJwk),
}

impl From<Secret> for Proof {
    fn from(secret: Secret) -> Self {
        Self::Secret(secret)
    }
}

impl From<PrivateJwk> for Proof {
    fn from(key: PrivateJwk) -> Self {
        Self::Key(key)
    }
}

/// Why an [`Agent`] could not be set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentSetupError {
    /// The issuer is not a URL of the right kind.
    Issuer(IssuerInvalid),
    /// The certificate authorities cannot be used.
    Net(ConfigError),
}

impl std::fmt::Display for AgentSetupError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Issuer(error) => error.fmt(f),
            Self::Net(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for AgentSetupError {}

/// An agent as an OAuth client. Cheap to clone; clones share their tokens.
#[derive(Clone, Debug)]
pub struct Agent(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    issuer: IssuerClient,
    client_id: String,
    proof: Proof,
    token_endpoint: OnceCell<String>,
    cache: Cache,
}

impl Agent {
    /// The agent `client_id` of `issuer`. Nothing is sent yet.
    pub fn new(
        issuer: &str,
        client_id: &str,
        proof: impl Into<Proof>,
    ) -> Result<Self, AgentSetupError> {
        Self::with_authorities(issuer, client_id, proof, None)
    }

    /// Like [`Agent::new`], trusting the certificate authorities in a PEM file too.
    pub fn with_authorities(
        issuer: &str,
        client_id: &str,
        proof: impl Into<Proof>,
        authorities: Option<PathBuf>,
    ) -> Result<Self, AgentSetupError> {
        let issuer = Issuer::parse(issuer).map_err(AgentSetupError::Issuer)?;
        let issuer = IssuerClient::new(issuer, None, authorities).map_err(AgentSetupError::Net)?;
        Ok(Self(Arc::new(Inner {
            issuer,
            client_id: client_id.to_owned(),
            proof: proof.into(),
            token_endpoint: OnceCell::new(),
            cache: Cache::default(),
        })))
    }

    /// An access token for `scope`, such as `crm:read crm:write`. An empty scope asks for the
    /// agent's default one.
    pub async fn token(&self, scope: &str) -> Result<Arc<AccessToken>, AgentError> {
        self.token_at(scope, None).await
    }

    /// An access token for `scope` at one resource, named by its audience (RFC 8707).
    pub async fn token_at(
        &self,
        scope: &str,
        resource: Option<&str>,
    ) -> Result<Arc<AccessToken>, AgentError> {
        let wanted = Wanted { scope: scope.to_owned(), resource: resource.map(str::to_owned) };
        let slot = self.0.cache.slot(&wanted);
        let agent = self.clone();
        slot.get(async move { agent.fetch(&wanted).await }).await
    }

    /// Drops `token`, so that the next call asks for another: for when a resource has refused it.
    pub fn forget(&self, token: &AccessToken) {
        self.0.cache.forget(token);
    }

    async fn fetch(&self, wanted: &Wanted) -> Result<AccessToken, AgentError> {
        let endpoint = self.0.token_endpoint.get_or_try_init(|| async {
            Ok::<_, IssuerError>(self.0.issuer.endpoints().await?.token)
        });
        let request = self.request(endpoint.await?, wanted)?;
        // The life of a token counts from before it was asked for, so that no delay prolongs it.
        let asked_at = ambient::instant();
        let now = ambient::now();
        let response = self.0.issuer.http.send(request, RESPONSE_BODY_MAX).await;
        let response = response.map_err(IssuerError::Net)?;
        match response.status() {
            StatusCode::OK => AccessToken::read(response.body(), asked_at, now),
            status => Err(AgentError::from_answer(status, response.body())),
        }
    }

    fn request(&self, endpoint: &str, wanted: &Wanted) -> Result<Request<Bytes>, AgentError> {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "client_credentials");
        if !wanted.scope.is_empty() {
            form.append_pair("scope", &wanted.scope);
        }
        if let Some(resource) = &wanted.resource {
            form.append_pair("resource", resource);
        }
        let mut authorization = None;
        match &self.0.proof {
            Proof::Secret(secret) => authorization = Some(basic(&self.0.client_id, secret)?),
            Proof::Key(key) => {
                let issuer = self.0.issuer.issuer.as_str();
                let assertion = assertion::sign(key, issuer, &self.0.client_id)?;
                form.append_pair("client_id", &self.0.client_id);
                form.append_pair("client_assertion_type", assertion::TYPE);
                form.append_pair("client_assertion", assertion.expose());
            }
        }
        let mut request = Request::post(endpoint)
            .header(ACCEPT, HeaderValue::from_static("application/json"))
            .header(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"))
            .body(Bytes::from(form.finish()))
            .map_err(|_| IssuerError::malformed("metadata", "`token_endpoint` is not a URL"))?;
        if let Some(value) = authorization {
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        Ok(request)
    }
}

/// RFC 6749 section 2.3.1: both parts are form-encoded before they are joined.
fn basic(client_id: &str, secret: &Secret) -> Result<HeaderValue, AgentError> {
    let encode =
        |text: &str| -> String { form_urlencoded::byte_serialize(text.as_bytes()).collect() };
    let pair = Secret::new(format!("{}:{}", encode(client_id), encode(secret.expose())));
    let value = Secret::new(format!("Basic {}", STANDARD.encode(pair.expose())));
    let mut value = HeaderValue::try_from(value.expose()).map_err(|_| AgentError::Signing)?;
    value.set_sensitive(true);
    Ok(value)
}
