//! Who takes part: a resource, an owner, two agents and three instances, registered over HTTP.

use accredit::Agent;
use accredit_wire::secret::Secret;
use http::Method;
use serde_json::{Value, json};

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

/// The administration of the server.
pub(super) struct Office {
    api: Api,
    issuer: String,
}

impl Office {
    /// With the key that the server printed.
    pub(super) fn new(ready: &Ready) -> Result<Self, String> {
        let settings = ClientSettings { url: ready.url.clone(), token: Some(ready.admin_token()) };
        let api = Api::new(settings, &GlobalFlags::default());
        let api = api.map_err(|failure| told(&failure))?;
        Ok(Self { api, issuer: ready.issuer.clone() })
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

    /// Ends something, and answers what the server said.
    pub(super) async fn revoke(&self, target: &str, reason: &str) -> Result<Answer, String> {
        self.post("/v1/revocations", json!({"target": target, "reason": reason})).await
    }

    async fn agent(&self, name: &str, purpose: &str, allow: &[&str]) -> Result<Answer, String> {
        let agent = json!({
            "name": name, "owner_email": OWNER, "purpose": purpose, "allow": allow,
            "activate": true,
        });
        self.post("/v1/agents", agent).await
    }

    async fn instance(&self, agent: &str) -> Result<Actor, String> {
        let instance = self.post("/v1/instances", json!({"agent": agent})).await?;
        let secret = Secret::new(member(&instance, "client_secret")?.to_owned());
        let client_id = member(&instance, "client_id")?;
        let agent = Agent::new(&self.issuer, client_id, secret);
        Ok(Actor {
            agent_id: client_id.to_owned(),
            instance_id: member(&instance, "id")?.to_owned(),
            agent: agent.map_err(|error| error.to_string())?,
        })
    }

    async fn post(&self, path: &'static str, body: Value) -> Result<Answer, String> {
        let answer = self.api.call(Method::POST, RequestPath::new(path), Some(body)).await;
        answer.map_err(|failure| format!("{path}: {}", told(&failure)))
    }
}

fn member<'a>(answer: &'a Answer, name: &str) -> Result<&'a str, String> {
    answer.member(name).ok_or_else(|| format!("the server's answer has no `{name}`"))
}

/// A failure in one sentence.
pub(super) fn told(failure: &Failure) -> String {
    format!("{}: {}; {}", failure.title, failure.detail, failure.hint)
}
