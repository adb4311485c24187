//! SPIFFE X509-SVID and JWT-SVID: certificates and tokens that say who an agent's instance is, what they
//! are checked against, and the instance's own end.
//!
//! The key never comes near: who asks for a certificate brings a certification request, signed with a
//! key of its own.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use accredit_net::RESPONSE_BODY_MAX;
use accredit_wire::jose::TOKEN_BYTES_MAX;
use accredit_wire::secret::Secret;
use accredit_wire::time::Time;
use bytes::Bytes;
use http::{Request, StatusCode};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Agent, AgentError};
use crate::ambient;
use crate::issuer::IssuerError;

/// The longest life of a certificate or JWT-SVID that is believed; one that says more is renewed after this.
const LIFE_MAX: Duration = Duration::from_hours(24);
/// The longest answer about other trust domains, bytes: as many bundles as an organization may hold, each as
/// long as it may be.
const FEDERATED_BYTES_MAX: usize = 5 * 1024 * 1024;

/// A certificate of an instance.
#[derive(Clone, Debug)]
pub struct X509Svid {
    /// Its id, by which it is revoked.
    pub id: String,
    /// Whom it names.
    pub spiffe_id: String,
    /// The certificate and, behind it, what signed it (RFC 7468).
    pub certificate: String,
    /// When it ends, by this machine's clock.
    pub expires_at: Time,
    /// The same in monotonic time.
    pub ends: Instant,
}

/// A token that says who an instance is, for the audiences that it names, and grants nothing.
#[derive(Clone, Debug)]
pub struct JwtSvid {
    /// Its id, by which it is revoked.
    pub id: String,
    /// Whom it names.
    pub spiffe_id: String,
    /// The token. Whoever has it can show it.
    pub token: Secret,
    /// When it ends, by this machine's clock.
    pub expires_at: Time,
    /// The same in monotonic time.
    pub ends: Instant,
    /// When two thirds of its life are over.
    pub renew: Instant,
}

/// The bundles of other trust domains, as an agent's instances are told of them.
#[derive(Clone, Debug)]
pub struct FederatedBundles {
    /// Each by the name of its trust domain: JSON, as it came (SPIFFE Trust Domain and Bundle section 4).
    pub bundles: BTreeMap<String, String>,
    /// After how long to ask again.
    pub refresh: Duration,
}

/// What the issuer answers about other trust domains (docs/formats.md).
#[derive(Deserialize)]
struct Federated {
    trust_domains: BTreeMap<String, FederatedBundle>,
    refresh_hint: u64,
}

#[derive(Deserialize)]
struct FederatedBundle {
    bundle: Box<RawValue>,
}

/// What the issuer answers about a JWT-SVID (docs/formats.md).
#[derive(Deserialize)]
struct Token {
    id: String,
    spiffe_id: String,
    svid: String,
    expires_in: u64,
}

/// What the issuer answers about a certificate (docs/formats.md).
#[derive(Deserialize)]
struct Answer {
    id: String,
    spiffe_id: String,
    certificate: String,
    expires_in: u64,
}

impl Agent {
    /// A certificate for the key that signed `csr`, a certification request (RFC 2986, PEM); for
    /// `life` at most, where it says. For an agent that proves itself as an instance.
    pub async fn certificate(
        &self,
        csr: &str,
        life: Option<Duration>,
    ) -> Result<X509Svid, AgentError> {
        let life = life.map(|life| life.as_secs().to_string());
        let task = self.task.map(|task| task.to_string());
        let hosts = self.dns_names.as_deref();
        let optional =
            [("expires_in", life.as_deref()), ("task", task.as_deref()), ("dns_names", hosts)];
        let request = self.ask_for("/oauth/certificates", ("csr", csr), &optional)?;
        // Its life counts from before it was asked for.
        let (asked_at, now) = (ambient::instant(), ambient::now());
        let body = self.answer(request).await?;
        let malformed = |reason: &str| IssuerError::malformed("certificate answer", reason);
        let answer: Answer = serde_json::from_slice(&body)
            .map_err(|_| malformed("it is not an answer with a certificate"))?;
        if answer.expires_in == 0 || !answer.spiffe_id.starts_with("spiffe://") {
            return Err(malformed("the certificate has no life, or names nobody").into());
        }
        let life = Duration::from_secs(answer.expires_in).min(LIFE_MAX);
        Ok(X509Svid {
            id: answer.id,
            spiffe_id: answer.spiffe_id,
            certificate: answer.certificate,
            expires_at: now.plus(life),
            ends: asked_at + life,
        })
    }

    /// A token that says to `audiences`, best a single one, who the agent is: a new one with each call, for
    /// five minutes at most. For an agent that proves itself as an instance.
    pub async fn jwt_svid(&self, audiences: &[&str]) -> Result<JwtSvid, AgentError> {
        let (first, others) = audiences.split_first().unwrap_or((&"", &[]));
        let task = self.task.map(|task| task.to_string());
        let mut more: Vec<_> = others.iter().map(|other| ("audience", Some(*other))).collect();
        more.push(("task", task.as_deref()));
        let request = self.ask_for("/oauth/jwt-svids", ("audience", first), &more)?;
        let (asked_at, now) = (ambient::instant(), ambient::now());
        let body = self.answer(request).await?;
        let malformed = |reason: &str| IssuerError::malformed("JWT-SVID answer", reason);
        let answer: Token = serde_json::from_slice(&body)
            .map_err(|_| malformed("it is not an answer with a JWT-SVID"))?;
        let token = Secret::new(answer.svid);
        let is_one = (1..=TOKEN_BYTES_MAX).contains(&token.expose().len());
        if answer.expires_in == 0 || !is_one || !answer.spiffe_id.starts_with("spiffe://") {
            return Err(
                malformed("the token is empty, too long, has no life, or names nobody").into()
            );
        }
        let life = Duration::from_secs(answer.expires_in).min(LIFE_MAX);
        Ok(JwtSvid {
            id: answer.id,
            spiffe_id: answer.spiffe_id,
            token,
            expires_at: now.plus(life),
            ends: asked_at + life,
            renew: asked_at + life * 2 / 3,
        })
    }

    /// What the certificates and JWT-SVIDs of the organization are checked against, as published: a SPIFFE bundle
    /// (JSON). Nobody needs to prove anything to have it.
    pub async fn bundle(&self) -> Result<Bytes, AgentError> {
        let issuer = &self.inner.issuer;
        Ok(issuer.public(&issuer.issuer.endpoint("/spiffe/bundle"), "bundle").await?)
    }

    /// The bundles of the other trust domains whose workloads the agent's instances may know, all of them; one
    /// that is missing is known no longer.
    pub async fn federated_bundles(&self) -> Result<FederatedBundles, AgentError> {
        let form = form_urlencoded::Serializer::new(String::new());
        let request =
            self.post(&self.inner.issuer.issuer.endpoint("/oauth/federated-bundles"), form)?;
        let body = self.answer_up_to(request, FEDERATED_BYTES_MAX).await?;
        let malformed = |reason| IssuerError::malformed("answer about other trust domains", reason);
        let answer: Federated = serde_json::from_slice(&body)
            .map_err(|_| malformed("it is not an answer with bundles"))?;
        let bundles = answer.trust_domains.into_iter();
        Ok(FederatedBundles {
            bundles: bundles.map(|(name, one)| (name, one.bundle.get().to_owned())).collect(),
            refresh: Duration::from_secs(answer.refresh_hint),
        })
    }

    /// As whom the agent proves itself to its issuer.
    pub fn client_id(&self) -> &str {
        &self.inner.client_id
    }

    /// Ends the instance as which the agent proves itself, for ever, and everything that it got. For
    /// when its process is over.
    pub async fn end(&self, reason: &str) -> Result<(), AgentError> {
        let request = self.ask_for("/oauth/instances/end", ("reason", reason), &[])?;
        self.answer(request).await.map(drop)
    }

    /// A form to an endpoint under the issuer.
    pub(super) fn ask_for(
        &self,
        path: &str,
        (name, value): (&str, &str),
        optional: &[(&str, Option<&str>)],
    ) -> Result<Request<Bytes>, AgentError> {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair(name, value);
        form.extend_pairs(optional.iter().filter_map(|(name, value)| Some((*name, (*value)?))));
        self.post(&self.inner.issuer.issuer.endpoint(path), form)
    }

    /// What an endpoint under the issuer answers.
    pub(super) async fn answer(&self, request: Request<Bytes>) -> Result<Bytes, AgentError> {
        self.answer_up_to(request, RESPONSE_BODY_MAX).await
    }

    async fn answer_up_to(
        &self,
        request: Request<Bytes>,
        bytes_max: usize,
    ) -> Result<Bytes, AgentError> {
        let response = self.inner.issuer.http.send(request, bytes_max).await;
        let response = response.map_err(IssuerError::Net)?;
        match response.status() {
            StatusCode::OK => Ok(response.into_body()),
            status => Err(AgentError::from_answer(status, response.body())),
        }
    }
}
