//! Who takes part: a resource, an owner, two agents and three instances, registered over HTTP.

use std::time::Duration;

use accredit::{Agent, AgentBuilder};
use accredit_wire::crypto::{Algorithm, PrivateKey};
use accredit_wire::secret::Secret;
use accredit_wire::x509::certificate::{Certificate, SERIAL_BYTES};
use accredit_wire::x509::{all_decoded, crl, decoded, request};
use http::Method;
use serde_json::{Value, json};

use super::idp::{self, Idp};
use super::resource::AUDIENCE;
use super::server::Ready;
use crate::api::Api;
use crate::args::GlobalFlags;
use crate::client_settings::ClientSettings;
use crate::errors::Failure;
use crate::output::Answer;
use crate::request_path::RequestPath;

/// The person who answers for the agents.
pub(super) const OWNER: &str = "mia@example.com";

/// An instance and the agent that it is a copy of.
pub(super) struct Actor {
    /// The id of the agent.
    pub(super) agent_id: String,
    /// The id of the instance.
    pub(super) instance_id: String,
    /// What gets its tokens.
    pub(super) agent: Agent,
}

/// Everybody.
pub(super) struct Cast {
    /// The owner's id.
    pub(super) owner_id: String,
    /// The resource's own key.
    pub(super) resource_credential: Secret,
    /// The first copy of `planner`, who may read and update.
    pub(super) planner: Actor,
    /// The second copy.
    pub(super) sibling: Actor,
    /// The only copy of `reporter`, who may read.
    pub(super) reporter: Actor,
}

/// A secret of an agent, and what gets tokens with it.
#[derive(Clone)]
pub(super) struct Held {
    /// The credential's id.
    pub(super) id: String,
    /// The secret.
    pub(super) secret: Secret,
    /// What gets tokens.
    pub(super) agent: Agent,
}

/// An agent and what it asks for tokens with, by hand.
pub(super) struct Party {
    /// The agent's id.
    pub(super) id: String,
    secret: Secret,
}

/// The administration of the server.
pub(super) struct Office {
    api: Api,
    url: String,
    issuer: String,
}

impl Office {
    /// With the key that the server printed.
    pub(super) fn new(ready: &Ready) -> Result<Self, String> {
        Self::with(&ready.url, ready.admin_token(), &ready.issuer)
    }

    fn with(url: &str, token: Secret, issuer: &str) -> Result<Self, String> {
        let settings = ClientSettings { url: url.to_owned(), token: Some(token) };
        let api = Api::new(settings, &GlobalFlags::default());
        let api = api.map_err(|failure| told(&failure))?;
        Ok(Self { api, url: url.to_owned(), issuer: issuer.to_owned() })
    }

    /// The client of the API.
    pub(super) fn api(&self) -> &Api {
        &self.api
    }

    /// Registers everybody.
    pub(super) async fn register(&self) -> Result<Cast, String> {
        let resource = json!({
            "name": "crm", "audience": AUDIENCE, "actions": ["read", "update"],
        });
        self.post("/v1/resources", resource).await?;
        let credential = json!({"resource": "crm", "type": "client-secret"});
        let credential = self.post("/v1/credentials", credential).await?;
        let planner = self.agent("planner", "plans visits", &["crm:read", "crm:update"]).await?;
        self.agent("reporter", "writes the weekly report", &["crm:read"]).await?;
        Ok(Cast {
            owner_id: member(&planner, "owner")?.to_owned(),
            resource_credential: Secret::new(member(&credential, "client_secret")?.to_owned()),
            planner: self.instance("planner").await?,
            sibling: self.instance("planner").await?,
            reporter: self.instance("reporter").await?,
        })
    }

    /// Registers the resource of a worker, and the identity provider of those who may have it look
    /// customers up.
    pub(super) async fn federate(&self, idp: &Idp) -> Result<(), String> {
        let federation = json!({
            "name": "corp", "issuer": idp.issuer(), "jwks_url": idp.jwks_url(),
            "audiences": [idp::AUDIENCE],
            "rules": [format!("groups contains {} => worker:run crm:read", idp::GROUP)],
        });
        let resource = json!({
            "name": "worker", "audience": "https://worker.example", "actions": ["run"],
        });
        self.post("/v1/resources", resource).await?;
        self.post("/v1/federations", federation).await.map(drop)
    }

    /// Registers a worker, which serves a resource and may update customers, and an agent that may
    /// call it, read customers, and pass on what it may.
    pub(super) async fn register_chain(&self) -> Result<[Party; 2], String> {
        self.agent("worker", "looks customers up", &["crm:read", "crm:update"]).await?;
        let lead = json!({
            "name": "lead", "owner_email": OWNER, "purpose": "has customers looked up",
            "allow": ["worker:run", "crm:read"], "may_delegate": true, "activate": true,
        });
        self.post("/v1/agents", lead).await?;
        let path = RequestPath::new("/v1/resources").segment("worker");
        let served = self.api.call(Method::PATCH, path, Some(json!({"agent": "worker"}))).await;
        served.map_err(|failure| told(&failure))?;
        Ok([self.party("worker").await?, self.party("lead").await?])
    }

    async fn party(&self, agent: &str) -> Result<Party, String> {
        let instance = self.post("/v1/instances", json!({"agent": agent})).await?;
        let secret = Secret::new(member(&instance, "client_secret")?.to_owned());
        Ok(Party { id: member(&instance, "client_id")?.to_owned(), secret })
    }

    /// A token, asked for with a form.
    pub(super) async fn ask_token(
        &self,
        party: &Party,
        form: &[(&str, &str)],
    ) -> Result<Secret, Failure> {
        let mut body = form_urlencoded::Serializer::new(String::new());
        body.extend_pairs(form);
        let body = Secret::new(body.finish());
        let by = (party.id.as_str(), &party.secret);
        let answer = self.api.token(&self.issuer, by, body.expose()).await?;
        let token = answer.member("access_token");
        let token =
            token.ok_or_else(|| Failure::not_understood(&self.issuer, "it has no token"))?;
        Ok(Secret::new(token.to_owned()))
    }

    /// Ends something, and answers what the server said.
    pub(super) async fn revoke(&self, target: &str, reason: &str) -> Result<Answer, String> {
        self.post("/v1/revocations", json!({"target": target, "reason": reason})).await
    }

    /// A certificate of an instance, for a key that is forgotten at once.
    pub(super) async fn certificate(&self, of: &Actor) -> Result<Certificate, String> {
        let (key, _) = PrivateKey::generate(Algorithm::Es256).map_err(|error| error.to_string())?;
        let csr = request::write(&key).map_err(|error| error.to_string())?;
        let got = of.agent.certificate(&csr, None).await.map_err(|error| error.to_string())?;
        let chain = all_decoded("CERTIFICATE", &got.certificate);
        let leaf = chain.ok_or("the certificate is no PEM")?.remove(0);
        Certificate::parse(&leaf).map_err(|error| error.to_string())
    }

    /// The serial numbers on the lists of revoked certificates, as any TLS library reads them.
    pub(super) async fn listed(&self) -> Result<Vec<[u8; SERIAL_BYTES]>, String> {
        let answer = self.api.get(RequestPath::new("/v1/ca/crls")).await;
        let answer = answer.map_err(|failure| told(&failure))?;
        let lists = answer.value.get("lists").and_then(Value::as_array);
        let mut listed = Vec::new();
        for list in lists.ok_or("the server's answer has no lists")? {
            let text = list.get("crl").and_then(Value::as_str).unwrap_or_default();
            let der = decoded("X509 CRL", text).ok_or("a list is no PEM")?;
            listed.extend(crl::numbers(&der).map_err(|error| error.to_string())?);
        }
        Ok(listed)
    }

    /// What the enforcement points said of a revocation by now: for each its name and how long it took
    /// from the request; nothing where it has not said so.
    pub(super) async fn acknowledged(
        &self,
        rev: u64,
    ) -> Result<Vec<(String, Option<Duration>)>, String> {
        let path = RequestPath::new("/v1/revocations/acknowledgements");
        let answer = self.api.get(path.query("rev", &rev.to_string())).await;
        let answer = answer.map_err(|failure| told(&failure))?;
        let points = answer.value.get("points").and_then(Value::as_array);
        let points = points.ok_or("the server's answer names no points")?.iter().map(|point| {
            let text = |name: &str| point.get(name).and_then(Value::as_str).unwrap_or("?");
            let took = point.get("microseconds").and_then(Value::as_u64);
            (format!("{}/{}", text("resource"), text("name")), took.map(Duration::from_micros))
        });
        Ok(points.collect())
    }

    /// Gives an agent a secret of its own.
    pub(super) async fn credential(&self, agent: &str) -> Result<Held, String> {
        let asked = json!({"agent": agent, "type": "client-secret"});
        self.held(&self.post("/v1/credentials", asked).await?)
    }

    /// Rotates a credential: its successor, and when the old one ends.
    pub(super) async fn rotate_credential(
        &self,
        id: &str,
        overlap: Duration,
    ) -> Result<(Held, String), String> {
        let path = RequestPath::new("/v1/credentials").segment(id).segment("rotate");
        let answer = self.send(path, json!({"overlap": overlap.as_secs()})).await;
        let answer = answer.map_err(|failure| told(&failure))?;
        Ok((self.held(&answer)?, member(&answer, "replaced_until")?.to_owned()))
    }

    /// Lets the next key sign at once: its id.
    pub(super) async fn rotate_signing_key(&self) -> Result<String, String> {
        let path = RequestPath::new("/v1/signing-keys").segment("rotate");
        let answer = self.send(path, json!({"now": true})).await;
        let answer = answer.map_err(|failure| told(&failure))?;
        let id = answer.value.pointer("/active/id").and_then(Value::as_str);
        Ok(id.ok_or("the server's answer names no active key")?.to_owned())
    }

    /// Asks whose a secret is.
    pub(super) async fn identify(&self, secret: &str) -> Result<Answer, Failure> {
        let path = RequestPath::new("/v1/credentials").segment("identify");
        self.send(path, json!({"secret": secret})).await
    }

    /// The administration of another organization on the same server.
    pub(super) async fn stranger(&self) -> Result<Self, String> {
        let answer = self.post("/v1/orgs", json!({"name": "elsewhere"})).await?;
        let token = Secret::new(member(&answer, "admin_token")?.to_owned());
        Self::with(&self.url, token, member(&answer, "issuer")?)
    }

    fn held(&self, answer: &Answer) -> Result<Held, String> {
        let secret = Secret::new(member(answer, "client_secret")?.to_owned());
        let agent = Agent::builder(&self.issuer, member(answer, "client_id")?, secret.clone());
        let agent = agent.bearer_tokens().build();
        let agent = agent.map_err(|error| error.to_string())?;
        Ok(Held { id: member(answer, "id")?.to_owned(), secret, agent })
    }

    async fn agent(&self, name: &str, purpose: &str, allow: &[&str]) -> Result<Answer, String> {
        let agent = json!({
            "name": name, "owner_email": OWNER, "purpose": purpose, "allow": allow,
            "activate": true,
        });
        self.post("/v1/agents", agent).await
    }

    /// A new instance of an agent, which gets plain tokens.
    async fn instance(&self, agent: &str) -> Result<Actor, String> {
        self.instance_with(agent, AgentBuilder::bearer_tokens).await
    }

    /// A new instance of an agent, whose tokens are bound to a key of its own.
    pub(super) async fn bound_instance(&self, agent: &str) -> Result<Actor, String> {
        self.instance_with(agent, |builder| builder).await
    }

    /// The same, whose tokens can be narrowed without asking anybody.
    pub(super) async fn attenuating_instance(&self, agent: &str) -> Result<Actor, String> {
        self.instance_with(agent, AgentBuilder::attenuable_tokens).await
    }

    async fn instance_with(
        &self,
        agent: &str,
        change: fn(AgentBuilder) -> AgentBuilder,
    ) -> Result<Actor, String> {
        let instance = self.post("/v1/instances", json!({"agent": agent})).await?;
        let secret = Secret::new(member(&instance, "client_secret")?.to_owned());
        let client_id = member(&instance, "client_id")?;
        let agent = change(Agent::builder(&self.issuer, client_id, secret)).build();
        Ok(Actor {
            agent_id: client_id.to_owned(),
            instance_id: member(&instance, "id")?.to_owned(),
            agent: agent.map_err(|error| error.to_string())?,
        })
    }

    async fn post(&self, path: &'static str, body: Value) -> Result<Answer, String> {
        let answer = self.send(RequestPath::new(path), body).await;
        answer.map_err(|failure| format!("{path}: {}", told(&failure)))
    }

    async fn send(&self, path: RequestPath, body: Value) -> Result<Answer, Failure> {
        self.api.call(Method::POST, path, Some(body)).await
    }
}

fn member<'a>(answer: &'a Answer, name: &str) -> Result<&'a str, String> {
    answer.member(name).ok_or_else(|| format!("the server's answer has no `{name}`"))
}

/// A failure in one sentence.
pub(super) fn told(failure: &Failure) -> String {
    format!("{}: {}; {}", failure.title, failure.detail, failure.hint)
}
