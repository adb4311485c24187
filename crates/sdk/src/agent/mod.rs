//! RFC 6749 section 4.4, RFC 8693, RFC 9449: an agent's access tokens, for itself by the client
//! credentials grant and on behalf of others by exchange ([`Acting`]).
//!
//! A token is asked for once and handed out until two thirds of its life are over. Then it is
//! renewed in the background and still handed out meanwhile; if that fails, it serves until it
//! ends. The secret goes to the issuer's own token endpoint and nowhere else.
//!
//! Tokens are bound to a key that this process makes and never shows (RFC 9449), unless the builder
//! says otherwise: then a token goes with a proof that is made anew for each request.

mod assertion;
mod cache;
mod node;
mod on_behalf;
mod possession;
#[cfg(feature = "mtls")]
pub(crate) mod revoked;
mod svid;
mod token;

use std::path::PathBuf;
use std::sync::Arc;

use accredit_net::{ConfigError, RESPONSE_BODY_MAX};
use accredit_wire::binding::Confirmation;
use accredit_wire::binding::dpop::PROOF_HEADER;
use accredit_wire::biscuit::{self, Held, NarrowError, Narrowing};
use accredit_wire::ids::TaskId;
use accredit_wire::jose::jwk::PrivateJwk;
use accredit_wire::oauth::ErrorCode;
use accredit_wire::oauth::authorization_details::AuthorizationDetails;
use accredit_wire::oauth::token_response::TokenType;
use accredit_wire::secret::Secret;
use accredit_wire::trace::TraceId;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, StatusCode};
use tokio::sync::OnceCell;

use crate::ambient;
use crate::issuer::{Issuer, IssuerClient, IssuerError, IssuerInvalid};
use crate::principal::Principal;
use cache::{Cache, Wanted};
pub use node::{Birth, BirthError, NodeProof, join};
pub use on_behalf::Acting;
use on_behalf::Subject;
use possession::Holder;
#[cfg(feature = "mtls")]
pub use revoked::RevokedCertificates;
pub use svid::{FederatedBundles, JwtSvid, X509Svid};
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
    /// This machine has no randomness to make a key from.
    Key,
}

impl std::fmt::Display for AgentSetupError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Issuer(error) => error.fmt(f),
            Self::Net(error) => error.fmt(f),
            Self::Key => f.write_str("cannot make a key: the operating system has no randomness"),
        }
    }
}

impl std::error::Error for AgentSetupError {}

/// The settings of an [`Agent`].
#[derive(Debug)]
#[must_use = "`build` makes the agent"]
pub struct AgentBuilder {
    issuer: String,
    client_id: String,
    proof: Proof,
    authorities: Option<PathBuf>,
    token_type: TokenType,
    attenuable: bool,
}

impl AgentBuilder {
    /// A PEM file with certificate authorities to trust beside the built-in ones.
    pub fn authorities(mut self, path: impl Into<PathBuf>) -> Self {
        self.authorities = Some(path.into());
        self
    }

    /// Asks for plain tokens, which whoever has them may use: for resources that check no proofs.
    pub fn bearer_tokens(mut self) -> Self {
        self.token_type = TokenType::Bearer;
        self
    }

    /// Asks for attenuable tokens (Biscuit v3), which the agent narrows and hands on without asking
    /// anybody: [`Agent::narrow`].
    pub fn attenuable_tokens(mut self) -> Self {
        self.attenuable = true;
        self
    }

    /// The agent. Nothing is sent yet.
    pub fn build(self) -> Result<Agent, AgentSetupError> {
        let issuer = issuer_client(&self.issuer, self.authorities)?;
        let holder = match self.token_type {
            TokenType::Bearer => None,
            TokenType::Dpop => Some(Holder::generate().ok_or(AgentSetupError::Key)?),
        };
        let inner = Inner {
            issuer,
            client_id: self.client_id,
            proof: Arc::new(self.proof),
            holder,
            attenuable: self.attenuable,
            token_endpoint: Arc::default(),
            cache: Cache::default(),
        };
        Ok(Agent { inner: Arc::new(inner), trace: None, task: None, dns_names: None })
    }
}

/// The issuer of that URL as something to talk to.
fn issuer_client(url: &str, authorities: Option<PathBuf>) -> Result<IssuerClient, AgentSetupError> {
    let issuer = Issuer::parse(url).map_err(AgentSetupError::Issuer)?;
    IssuerClient::new(issuer, None, authorities).map_err(AgentSetupError::Net)
}

/// W3C Trace Context: the header by which a request names its trace.
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// An agent as an OAuth client. Cheap to clone; clones share their tokens.
#[derive(Clone, Debug)]
pub struct Agent {
    inner: Arc<Inner>,
    /// The trace that its requests for tokens name.
    trace: Option<HeaderValue>,
    /// The task that its tokens are for.
    task: Option<TaskId>,
    /// The hosts that its certificates are to name, with blanks between.
    dns_names: Option<Arc<str>>,
}

#[derive(Debug)]
struct Inner {
    issuer: IssuerClient,
    client_id: String,
    /// Shared with the same agent that gets tokens of the other type.
    proof: Arc<Proof>,
    /// The key that tokens are bound to; none where they are plain.
    holder: Option<Holder>,
    /// Whether tokens are to be attenuable ones.
    attenuable: bool,
    token_endpoint: Arc<OnceCell<String>>,
    cache: Cache,
}

impl Agent {
    /// The agent `client_id` of `issuer`. Nothing is sent yet.
    pub fn new(
        issuer: &str,
        client_id: &str,
        proof: impl Into<Proof>,
    ) -> Result<Self, AgentSetupError> {
        Self::builder(issuer, client_id, proof).build()
    }

    /// The settings of an agent, to change some of them.
    pub fn builder(issuer: &str, client_id: &str, proof: impl Into<Proof>) -> AgentBuilder {
        AgentBuilder {
            issuer: issuer.to_owned(),
            client_id: client_id.to_owned(),
            proof: proof.into(),
            authorities: None,
            token_type: TokenType::Dpop,
            attenuable: false,
        }
    }

    /// With a credential of its own on connections that others have too.
    fn on(issuer: IssuerClient, client_id: &str, key: PrivateJwk) -> Option<Self> {
        let inner = Inner {
            issuer,
            client_id: client_id.to_owned(),
            proof: Arc::new(Proof::Key(key)),
            holder: Some(Holder::generate()?),
            attenuable: false,
            token_endpoint: Arc::default(),
            cache: Cache::default(),
        };
        Some(Self { inner: Arc::new(inner), trace: None, task: None, dns_names: None })
    }

    /// Like [`Agent::new`], trusting the certificate authorities in a PEM file too.
    pub fn with_authorities(
        issuer: &str,
        client_id: &str,
        proof: impl Into<Proof>,
        authorities: Option<PathBuf>,
    ) -> Result<Self, AgentSetupError> {
        let mut builder = Self::builder(issuer, client_id, proof);
        builder.authorities = authorities;
        builder.build()
    }

    /// The same client by the same credential, whose tokens are plain ones, which whoever has them may
    /// use. It shares its connections with this one, and no token.
    #[must_use]
    pub fn with_bearer_tokens(&self) -> Self {
        let inner = Inner {
            issuer: self.inner.issuer.clone(),
            client_id: self.inner.client_id.clone(),
            proof: Arc::clone(&self.inner.proof),
            holder: None,
            attenuable: self.inner.attenuable,
            token_endpoint: Arc::clone(&self.inner.token_endpoint),
            cache: Cache::default(),
        };
        Self { inner: Arc::new(inner), ..self.clone() }
    }

    /// What goes into the headers of one request to a resource: `Authorization`, and `DPoP` where the
    /// token is bound. They are of no use for another request. `url` is the whole URL.
    ///
    /// Where the resource then answers 401 with a `DPoP-Nonce`, ask [`Agent::learn`] whether to send
    /// the request once more, with new headers.
    pub async fn authorize(
        &self,
        scope: &str,
        method: &Method,
        url: &str,
    ) -> Result<HeaderMap, AgentError> {
        let token = self.token(scope).await?;
        self.headers_for(&token, method, url)
    }

    /// [`Agent::authorize`] with a token of this agent that is at hand.
    pub fn headers_for(
        &self,
        token: &AccessToken,
        method: &Method,
        url: &str,
    ) -> Result<HeaderMap, AgentError> {
        let mut headers = HeaderMap::with_capacity(2);
        headers.insert(AUTHORIZATION, token.authorization());
        if token.is_bound() {
            let holder = self.inner.holder.as_ref().ok_or(AgentError::Signing)?;
            let proof = holder.prove(method.as_str(), url, Some(token.text().expose()))?;
            headers.insert(PROOF_HEADER, proof);
        }
        Ok(headers)
    }

    /// The headers of one request with an attenuable token that another agent handed to this one, by
    /// the thumbprint of this one's key ([`Agent::thumbprint`]).
    pub fn headers_for_held(
        &self,
        token: &Secret,
        method: &Method,
        url: &str,
    ) -> Result<HeaderMap, AgentError> {
        let holder = self.inner.holder.as_ref().ok_or(AgentError::Signing)?;
        let value = Secret::new(format!("DPoP {}", token.expose()));
        let mut value = HeaderValue::try_from(value.expose()).map_err(|_| AgentError::Signing)?;
        value.set_sensitive(true);
        let mut headers = HeaderMap::with_capacity(2);
        headers.insert(AUTHORIZATION, value);
        headers.insert(PROOF_HEADER, holder.prove(method.as_str(), url, Some(token.expose()))?);
        Ok(headers)
    }

    /// Narrows an attenuable token without asking anybody, and hands it on where the narrowing names a
    /// holder: the agent that acts from then on, and its key. A token that is bound to this agent's key
    /// is handed on by that key and by nothing else. What would widen the token is refused and named.
    pub fn narrow(&self, token: &Secret, narrowing: &Narrowing) -> Result<Secret, NarrowError> {
        let held = Held::read(token.expose()).map_err(NarrowError::Token)?;
        let random = ambient::random::<32>().ok_or(NarrowError::Key)?;
        let narrowed = match &self.inner.holder {
            Some(holder) => holder.narrow(&held, narrowing, &random),
            None => held.narrow(narrowing, &random, None),
        };
        narrowed.map(Secret::new)
    }

    /// Keeps the nonce that the server at `url` gave in the headers of an answer, for later proofs.
    /// Says whether there was a new one: if the answer was a refusal, the request may be sent once
    /// more, with headers from [`Agent::authorize`].
    pub fn learn(&self, url: &str, headers: &HeaderMap) -> bool {
        self.inner.holder.as_ref().is_some_and(|holder| holder.learn(url, headers))
    }

    /// The thumbprint of the key that tokens are bound to (RFC 7638); none where they are plain.
    pub fn thumbprint(&self) -> Option<String> {
        self.inner.holder.as_ref().map(|holder| holder.thumbprint().to_string())
    }

    /// The same agent, with the same tokens, at work in the trace that `traceparent` names (W3C Trace
    /// Context): where it asks for a token it says so, and the issuer's events and log name the
    /// trace. A text that is not well formed names none.
    #[must_use]
    pub fn in_trace(&self, traceparent: &str) -> Self {
        let trace = TraceId::from_traceparent(traceparent);
        let value = trace.and_then(|_| HeaderValue::from_str(traceparent).ok());
        Self { trace: value, ..self.clone() }
    }

    /// The same agent, whose tokens are for one task: they are of no use outside it, and end with it.
    #[must_use]
    pub fn in_task(&self, task: TaskId) -> Self {
        Self { task: Some(task), ..self.clone() }
    }

    /// The same agent, with the same tokens, whose certificates name these hosts too: what its policy lets
    /// it name, or it gets none.
    #[must_use]
    pub fn naming<'a>(&self, hosts: impl IntoIterator<Item = &'a str>) -> Self {
        let hosts = hosts.into_iter().collect::<Vec<_>>().join(" ");
        Self { dns_names: (!hosts.is_empty()).then(|| hosts.into()), ..self.clone() }
    }

    /// This agent on behalf of whoever sent it a request: what it then gets is for the same subject
    /// and names both. The token that came with the request is shown to the issuer alone, and there
    /// is no way to pass it on. For the agent that serves the resource.
    pub fn on_behalf_of(&self, caller: &Principal) -> Acting {
        Acting::new(self, Subject::received(caller))
    }

    /// This agent on behalf of a user, by the JWT that the user's own identity provider issued and
    /// that is meant for Accredit (its `aud`). It begins a chain.
    pub fn on_behalf_of_user(&self, token: Secret) -> Acting {
        Acting::new(self, Subject::user(token))
    }

    /// This agent with a token that it got itself, to have less of it, for another resource too. It
    /// adds nobody to the chain.
    pub fn narrowing(&self, token: &AccessToken) -> Acting {
        Acting::new(self, Subject::own(token))
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
        self.wanted(Wanted {
            scope: scope.to_owned(),
            details: String::new(),
            resource: resource.map(str::to_owned),
            task: self.task,
            subject: None,
        })
        .await
    }

    /// An access token for `scope`, which may be empty, and for what is allowed within limits:
    /// `AuthorizationDetails::of(&authority)`. Nobody is granted its default scope beside those.
    pub async fn token_within(
        &self,
        scope: &str,
        details: &AuthorizationDetails,
    ) -> Result<Arc<AccessToken>, AgentError> {
        self.wanted(Wanted {
            scope: scope.to_owned(),
            details: text_of(details)?,
            resource: None,
            task: self.task,
            subject: None,
        })
        .await
    }

    async fn wanted(&self, wanted: Wanted) -> Result<Arc<AccessToken>, AgentError> {
        let slot = self.inner.cache.slot(&wanted);
        let agent = self.clone();
        slot.get(async move { agent.fetch(&wanted, None).await }, true).await
    }

    /// Drops `token`, so that the next call asks for another: for when a resource has refused it.
    pub fn forget(&self, token: &AccessToken) {
        self.inner.cache.forget(token);
    }

    /// Drops every token, so that each is asked for again.
    pub fn forget_all(&self) {
        self.inner.cache.forget_all();
    }

    async fn fetch(
        &self,
        wanted: &Wanted,
        subject: Option<&Subject>,
    ) -> Result<AccessToken, AgentError> {
        let endpoint = self.inner.token_endpoint.get_or_try_init(|| async {
            Ok::<_, IssuerError>(self.inner.issuer.endpoints().await?.token)
        });
        let endpoint = endpoint.await?;
        match self.ask(endpoint, wanted, subject).await? {
            Asked::Token(token) => Ok(token),
            // RFC 9449 section 8: once more, with the nonce that the refusal gave.
            Asked::WithNonce(_) => match self.ask(endpoint, wanted, subject).await? {
                Asked::Token(token) => Ok(token),
                Asked::WithNonce(refusal) => Err(refusal),
            },
        }
    }

    async fn ask(
        &self,
        endpoint: &str,
        wanted: &Wanted,
        subject: Option<&Subject>,
    ) -> Result<Asked, AgentError> {
        let request = self.request(endpoint, wanted, subject)?;
        // The life of a token counts from before it was asked for, so that no delay prolongs it.
        let asked_at = ambient::instant();
        let now = ambient::now();
        let response = self.inner.issuer.http.send(request, RESPONSE_BODY_MAX).await;
        let response = response.map_err(IssuerError::Net)?;
        let is_new = self.learn(endpoint, response.headers());
        let holder = self.inner.holder.as_ref();
        let token_type = TokenType::of(holder.map(Holder::thumbprint).map(Confirmation::Key));
        match response.status() {
            StatusCode::OK => {
                AccessToken::read(response.body(), token_type, asked_at, now).map(Asked::Token)
            }
            status => match AgentError::from_answer(status, response.body()) {
                AgentError::Refused(refusal)
                    if refusal.error() == ErrorCode::UseDpopNonce && is_new =>
                {
                    Ok(Asked::WithNonce(AgentError::Refused(refusal)))
                }
                error => Err(error),
            },
        }
    }

    fn request(
        &self,
        endpoint: &str,
        wanted: &Wanted,
        subject: Option<&Subject>,
    ) -> Result<Request<Bytes>, AgentError> {
        let mut form = form_urlencoded::Serializer::new(String::new());
        match subject {
            None => drop(form.append_pair("grant_type", "client_credentials")),
            Some(subject) => subject.write(&mut form),
        }
        if self.inner.attenuable {
            form.append_pair("requested_token_type", biscuit::TOKEN_TYPE);
        }
        if !wanted.scope.is_empty() {
            form.append_pair("scope", &wanted.scope);
        }
        if !wanted.details.is_empty() {
            form.append_pair("authorization_details", &wanted.details);
        }
        if let Some(resource) = &wanted.resource {
            form.append_pair("resource", resource);
        }
        if let Some(task) = wanted.task {
            form.append_pair("task", &task.to_string());
        }
        let mut request = self.post(endpoint, form)?;
        if let Some(holder) = &self.inner.holder {
            request.headers_mut().insert(PROOF_HEADER, holder.prove("POST", endpoint, None)?);
        }
        Ok(request)
    }

    /// A form to one of the issuer's endpoints, with what the agent proves itself by.
    fn post(
        &self,
        endpoint: &str,
        mut form: form_urlencoded::Serializer<'_, String>,
    ) -> Result<Request<Bytes>, AgentError> {
        let mut authorization = None;
        match &*self.inner.proof {
            Proof::Secret(secret) => authorization = Some(basic(&self.inner.client_id, secret)?),
            Proof::Key(key) => {
                let issuer = self.inner.issuer.issuer.as_str();
                let assertion = assertion::sign(key, issuer, &self.inner.client_id)?;
                form.append_pair("client_id", &self.inner.client_id);
                form.append_pair("client_assertion_type", assertion::TYPE);
                form.append_pair("client_assertion", assertion.expose());
            }
        }
        let mut request = Request::post(endpoint)
            .header(ACCEPT, HeaderValue::from_static("application/json"))
            .header(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"))
            .body(Bytes::from(form.finish()))
            .map_err(|_| IssuerError::malformed("metadata", "an endpoint is not a URL"))?;
        if let Some(value) = authorization {
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        if let Some(trace) = &self.trace {
            request.headers_mut().insert(TRACEPARENT, trace.clone());
        }
        Ok(request)
    }
}

/// Authorization details as a request has them; nothing where there are none.
fn text_of(details: &AuthorizationDetails) -> Result<String, AgentError> {
    if details.is_empty() {
        return Ok(String::new());
    }
    serde_json::to_string(details).map_err(|_| AgentError::Signing)
}

/// What the token endpoint answered.
enum Asked {
    Token(AccessToken),
    /// It wants the nonce in the proof that it gave with this refusal.
    WithNonce(AgentError),
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
