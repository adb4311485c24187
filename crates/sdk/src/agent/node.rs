//! RFC 7523: nodes, which prove themselves once by what their platform or an administrator gave them, and
//! then bring instances of agents into being for the processes that they attest (docs/formats.md).
//!
//! Keys are made by whoever asks and never sent: what is registered is the public half, and each instance
//! proves itself by its own key from then on (`private_key_jwt`).

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use accredit_net::{RESPONSE_BODY_MAX, Shown};
use accredit_wire::jose::jwk::PrivateJwk;
use accredit_wire::oauth::client_auth::ASSERTION_TYPE;
use accredit_wire::secret::Secret;
use accredit_wire::selectors::Selectors;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Request, Response, StatusCode};
use serde::Deserialize;

use super::{Agent, AgentError, AgentSetupError, issuer_client};
use crate::issuer::{Issuer, IssuerClient, IssuerError};

/// The longest time after which it is asked again, whatever the issuer says.
const LATER_MAX: Duration = Duration::from_mins(5);
/// How long where it does not say.
const LATER: Duration = Duration::from_secs(5);
/// The longest id or name that is believed.
const NAME_BYTES_MAX: usize = 256;

/// What a node proves itself by when it joins.
#[derive(Debug)]
pub enum NodeProof {
    /// A join token, which is of use once.
    JoinToken(Secret),
    /// A token that the node's platform signed (RFC 7523 section 2.2): of Kubernetes, of a cloud, of CI.
    PlatformToken(Secret),
    /// A certificate of its own (RFC 8705), whose key is registered for an instance of the agent `client_id`.
    /// The files are read at each try.
    Certificate {
        /// The agent, `agt_…`.
        client_id: String,
        /// The certificate, in a PEM file.
        certificate: PathBuf,
        /// Its key, in another.
        key: PathBuf,
    },
}

/// An instance that was just brought into being, or was there and has a new key.
#[derive(Clone, Debug)]
pub struct Birth {
    /// Its id, by which it is ended.
    pub instance: String,
    /// The agent that it is an instance of.
    pub client_id: String,
    /// What that agent is called, where the issuer says.
    pub name: Option<String>,
    /// The instance as an OAuth client, by its own key.
    pub agent: Agent,
}

/// Why there was no birth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BirthError {
    /// The issuer says no, or does not answer.
    Agent(AgentError),
    /// There were too many lately; it is worth asking again after this time.
    Later(Duration),
    /// The issuer's URL or the certificate authorities cannot be used.
    Setup(AgentSetupError),
}

impl fmt::Display for BirthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent(error) => error.fmt(f),
            Self::Setup(error) => error.fmt(f),
            Self::Later(time) => {
                write!(f, "too many were born lately; ask again after {} s", time.as_secs())
            }
        }
    }
}

impl std::error::Error for BirthError {}

impl From<AgentError> for BirthError {
    fn from(error: AgentError) -> Self {
        Self::Agent(error)
    }
}

impl From<IssuerError> for BirthError {
    fn from(error: IssuerError) -> Self {
        Self::Agent(error.into())
    }
}

/// What the issuer answers.
#[derive(Deserialize)]
struct Answer {
    id: String,
    client_id: String,
    #[serde(default)]
    agent_name: Option<String>,
}

/// Joins as a node: an instance of an agent, which proves itself by `key` from then on. `authorities` is a
/// PEM file with certificate authorities to trust beside the built-in ones.
pub async fn join(
    issuer: &str,
    authorities: Option<PathBuf>,
    proof: &NodeProof,
    key: PrivateJwk,
) -> Result<Birth, BirthError> {
    let shows = match proof {
        NodeProof::Certificate { certificate, key, .. } => {
            let shown = Shown { certificate: certificate.clone(), key: key.clone() };
            let issuer = Issuer::parse(issuer).map_err(AgentSetupError::Issuer);
            let shows = issuer.and_then(|issuer| {
                IssuerClient::showing(issuer, shown, authorities.clone())
                    .map_err(AgentSetupError::Net)
            });
            Some(shows.map_err(BirthError::Setup)?)
        }
        NodeProof::JoinToken(_) | NodeProof::PlatformToken(_) => None,
    };
    // From then on the node proves itself by its own key, and shows nothing besides.
    let issuer = issuer_client(issuer, authorities).map_err(BirthError::Setup)?;
    let request = joining(&issuer, proof, &key)?;
    let http = &shows.as_ref().unwrap_or(&issuer).http;
    let response = http.send(request, RESPONSE_BODY_MAX).await;
    born(&response.map_err(IssuerError::Net)?, &issuer, key)
}

fn joining(
    issuer: &IssuerClient,
    proof: &NodeProof,
    key: &PrivateJwk,
) -> Result<Request<Bytes>, BirthError> {
    let mut form = form_urlencoded::Serializer::new(String::new());
    match proof {
        NodeProof::JoinToken(token) => drop(form.append_pair("join_token", token.expose())),
        NodeProof::PlatformToken(token) => {
            form.append_pair("client_assertion_type", ASSERTION_TYPE);
            form.append_pair("client_assertion", token.expose());
        }
        NodeProof::Certificate { client_id, .. } => drop(form.append_pair("client_id", client_id)),
    }
    form.append_pair("jwk", &public(key)?);
    let request = Request::post(issuer.issuer.endpoint("/oauth/instances/join"))
        .header(ACCEPT, HeaderValue::from_static("application/json"))
        .header(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"))
        .body(Bytes::from(form.finish()));
    Ok(request.map_err(|_| IssuerError::malformed("address", "it is not a URL"))?)
}

impl Agent {
    /// For a node: an instance for one process, `process`, of whichever agent the rules of its organization
    /// say that a process with these selectors is. The same process with another key is the same instance.
    pub async fn attested(
        &self,
        selectors: &Selectors,
        process: &str,
        key: PrivateJwk,
    ) -> Result<Birth, BirthError> {
        let more = [("process", Some(process)), ("jwk", Some(&*public(&key)?))];
        let selectors = selectors.to_json();
        let asked = ("selectors", &*selectors);
        let request = self.ask_for("/oauth/instances/attested", asked, &more)?;
        let issuer = &self.inner.issuer;
        let response = issuer.http.send(request, RESPONSE_BODY_MAX).await;
        born(&response.map_err(IssuerError::Net)?, issuer, key)
    }

    /// For a node: ends an instance that it brought into being, for ever. For when its process is over.
    pub async fn end_instance(&self, instance: &str, reason: &str) -> Result<(), AgentError> {
        let with = [("instance", Some(instance))];
        let request = self.ask_for("/oauth/instances/end", ("reason", reason), &with)?;
        self.answer(request).await.map(drop)
    }
}

/// The public half, as it is registered.
fn public(key: &PrivateJwk) -> Result<String, AgentError> {
    let public = key.public().map_err(|_| AgentError::Signing)?;
    serde_json::to_string(&public).map_err(|_| AgentError::Signing)
}

fn born(
    response: &Response<Bytes>,
    issuer: &IssuerClient,
    key: PrivateJwk,
) -> Result<Birth, BirthError> {
    match response.status() {
        StatusCode::OK => {}
        StatusCode::TOO_MANY_REQUESTS => return Err(BirthError::Later(later(response))),
        status => return Err(AgentError::from_answer(status, response.body()).into()),
    }
    let malformed = |reason: &str| IssuerError::malformed("answer to a birth", reason);
    let answer: Answer =
        serde_json::from_slice(response.body()).map_err(|_| malformed("it names no instance"))?;
    let is_name = |text: &str| {
        (1..=NAME_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control)
    };
    if !is_name(&answer.id) || !is_name(&answer.client_id) {
        return Err(malformed("an id in it is none").into());
    }
    let agent = Agent::on(issuer.clone(), &answer.client_id, key);
    Ok(Birth {
        instance: answer.id,
        name: answer.agent_name.filter(|name| is_name(name)),
        agent: agent.ok_or(AgentError::Signing)?,
        client_id: answer.client_id,
    })
}

fn later(response: &Response<Bytes>) -> Duration {
    let said = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let seconds = said.and_then(|text| text.parse().ok()).map(Duration::from_secs);
    seconds.unwrap_or(LATER).min(LATER_MAX)
}
