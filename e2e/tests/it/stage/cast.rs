//! The usual actors: a resource that knows two actions, and agents that may read there.

use std::time::Duration;

use accredit::Verifier;
use accredit::verifier::Builder;
use serde_json::{Value, json};

use super::{Server, until};

/// The audience of the usual resource.
pub(crate) const CRM: &str = "https://crm.example/";

/// By when a verifier has written down what it holds, however busy the disk is.
const KEPT_WITHIN: Duration = Duration::from_secs(30);

/// The usual actors at a server.
pub(crate) struct Cast {
    pub(crate) server: Server,
    /// The resource `crm`.
    pub(crate) resource: String,
    /// Its own credential.
    pub(crate) resource_secret: String,
}

/// Whoever gets tokens: an agent or an instance.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    /// The agent.
    pub(crate) agent: String,
    /// The agent again, or the instance.
    pub(crate) id: String,
    pub(crate) credential: String,
    pub(crate) secret: String,
}

pub(crate) fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_else(|| panic!("no `{name}` in {value}")).to_owned()
}

impl Cast {
    /// On a server of its own.
    pub(crate) async fn new() -> Self {
        Self::at(Server::dev().await, 60).await
    }

    /// At a server; `age_max` is how old a verifier's state may be, in seconds.
    pub(crate) async fn at(server: Server, age_max: u32) -> Self {
        let body = json!({"name": "crm", "audience": CRM, "actions": ["read", "update"],
            "revocations_age_max": age_max});
        let resource = text(&server.post("/v1/resources", body).await, "id");
        let body = json!({"resource": resource, "type": "client-secret"});
        let credential = server.post("/v1/credentials", body).await;
        Self { server, resource, resource_secret: text(&credential, "client_secret") }
    }

    /// An active agent that may read and update, without a credential.
    pub(crate) async fn bare_agent(&self, name: &str) -> String {
        let body = json!({"name": name, "owner_email": format!("{name}@example.com"),
            "purpose": "to be in a story", "allow": ["crm:read", "crm:update"], "activate": true});
        text(&self.server.post("/v1/agents", body).await, "id")
    }

    /// The same with a secret.
    pub(crate) async fn agent(&self, name: &str) -> Client {
        let agent = self.bare_agent(name).await;
        self.secret_of(&agent).await
    }

    /// One more secret for an agent.
    pub(crate) async fn secret_of(&self, agent: &str) -> Client {
        let body = json!({"agent": agent, "type": "client-secret"});
        let made = self.server.post("/v1/credentials", body).await;
        let (agent, credential) = (agent.to_owned(), text(&made, "id"));
        Client { id: agent.clone(), agent, credential, secret: text(&made, "client_secret") }
    }

    /// One more instance of an agent.
    pub(crate) async fn instance_of(&self, agent: &str) -> Client {
        let made = self.server.post("/v1/instances", json!({"agent": agent})).await;
        Client {
            agent: agent.to_owned(),
            id: text(&made, "id"),
            credential: text(&made, "credential"),
            secret: text(&made, "client_secret"),
        }
    }

    /// A token to read, which there must be.
    pub(crate) async fn token(&self, client: &Client) -> String {
        let answer = self.server.token(&client.agent, &client.secret, "crm:read").await;
        text(&answer.good(), "access_token")
    }

    /// Waits until a verifier has written into its folder a checkpoint of the log as long as it is
    /// now. Checkpoints come a second behind, what is held is written at a heartbeat, and on a busy
    /// disk more seldom: a restart goes on from what was written, whatever was known.
    pub(crate) async fn kept(&self, state_dir: &str) {
        let log = self.server.get("/v1/log").await;
        let sizes = |lanes: &Value| -> Vec<u64> {
            let lanes = lanes.as_array().expect("lanes").iter();
            lanes.map(|lane| lane["size"].as_u64().expect("a size")).collect()
        };
        let now = sizes(&log["lanes"]);
        let file = std::path::Path::new(state_dir).join("revocations");
        until("what the verifier holds is written", KEPT_WITHIN, async || {
            let Ok(kept) = std::fs::read_to_string(&file) else { return false };
            let header: Value =
                serde_json::from_str(kept.lines().next().expect("a header")).expect("JSON");
            let kept = sizes(&header["lanes"]);
            kept.len() == now.len() && kept.iter().zip(&now).all(|(kept, now)| kept >= now)
        })
        .await;
    }

    /// A verifier of the resource.
    pub(crate) fn verifier(&self) -> Builder {
        Verifier::builder(&self.server.issuer, CRM).credential(self.resource_secret.clone())
    }

    /// A verifier of the resource, connected.
    pub(crate) async fn connected(&self) -> Verifier {
        self.verifier().connect().await.expect("a verifier")
    }
}
