//! Organizations, resources, agents and credentials, made by the domain's own functions.

use std::sync::Arc;

use accredit_domain::audit::event::Body;
use accredit_domain::registry::agent::{self, Agent, CreateAgent};
use accredit_domain::registry::credential::{self, AdminPermission, CreateCredential};
use accredit_domain::registry::find_agent;
use accredit_domain::registry::instance::{self, CreateInstance};
use accredit_domain::registry::organization::{CreateOrganization, found, new_admin};
use accredit_domain::registry::resource::{self, CreateResource, Resource};
use accredit_domain::revocation::{self, RevocationView, Revoke};
use accredit_domain::tenant::Tenant;
use accredit_domain::terms::Terms;
use accredit_domain::{Caller, Cx, Error};
use accredit_wire::crypto::Algorithm;
use accredit_wire::ids::{AgentId, InstanceId, RequestId};
use serde_json::Value;

use crate::assertion::Signer;
use crate::http::{Answer, Ask};
use crate::world::{PUBLIC_URL, TestWorld};

/// An organization and the key of its first administrator.
#[derive(Clone, Debug)]
pub struct Org {
    /// Its name.
    pub name: String,
    /// Its issuer.
    pub issuer: String,
    /// A key that may do everything.
    pub admin: String,
}

impl Org {
    /// The path of something under the issuer.
    pub fn path(&self, rest: &str) -> String {
        format!("/o/{}{rest}", self.name)
    }
}

/// Somebody with a secret.
#[derive(Clone, Debug)]
pub struct Client {
    /// What it calls itself: the id of its agent or resource.
    pub id: String,
    /// Its secret.
    pub secret: String,
    /// The credential, `crd_`.
    pub credential: String,
    /// The instance that holds it.
    pub instance: Option<InstanceId>,
}

/// What most tests need: one resource, one agent that may read and update it, one secret.
pub struct Scene {
    /// The organization.
    pub org: Org,
    /// `crm`, with `read`, `update` and `delete`.
    pub crm: Resource,
    /// `planner`, which may `crm:read` and `crm:update`.
    pub planner: Agent,
    /// The agent's own secret.
    pub client: Client,
}

impl TestWorld {
    /// Founds an organization whose first administrator may do everything.
    pub async fn found(&self, name: &str) -> Org {
        let asked = CreateOrganization { name: name.to_owned(), display_name: None };
        let all = AdminPermission::ALL.to_vec();
        let made = found(&self.world, self.now(), &asked, all, Body::default()).await;
        let admin = made.expect("a new organization").admin_token.expose().to_owned();
        let issuer = format!("{PUBLIC_URL}/o/{name}");
        Org { name: name.to_owned(), issuer, admin }
    }

    /// What most tests need.
    pub async fn scene(&self) -> Scene {
        let org = self.found("acme").await;
        let crm = self.resource(&org, "crm", &["read", "update", "delete"]).await;
        let planner = self.agent(&org, "planner", &["crm:read", "crm:update"]).await;
        let client = self.agent_secret(&org, "planner", None).await;
        Scene { org, crm, planner, client }
    }

    /// The organization in memory.
    pub async fn tenant(&self, org: &Org) -> Arc<Tenant> {
        let found = self.server.tenants.get(&org.name, self.now()).await;
        found.expect("a readable store").expect("an organization that was founded")
    }

    /// A context of the system itself, which may do everything.
    pub async fn cx(&self, org: &Org) -> Cx {
        let now = self.now();
        Cx {
            world: Arc::clone(&self.world),
            tenant: self.tenant(org).await,
            caller: Caller::System,
            request: RequestId::new(now.millis(), self.world.random()),
            source: None,
            now,
            terms: Terms::default(),
        }
    }

    /// A further administrator's key with these permissions.
    pub async fn admin_with(&self, org: &Org, permissions: &[AdminPermission]) -> String {
        let tenant = self.tenant(org).await;
        let made = new_admin(&self.world, &tenant, self.now(), permissions.to_vec()).await;
        made.expect("an administrator").expose().to_owned()
    }

    /// A further administrator's key that may do everything but found organizations.
    pub async fn admin_without_organizations(&self, org: &Org) -> String {
        let wanted = |permission: &_| *permission != AdminPermission::Organizations;
        let permissions: Vec<_> = AdminPermission::ALL.into_iter().filter(wanted).collect();
        self.admin_with(org, &permissions).await
    }

    /// The id of the agent called `name`.
    pub async fn agent_id(&self, org: &Org, name: &str) -> AgentId {
        find_agent(&self.cx(org).await, name).await.expect("an agent").id
    }

    /// A resource with the audience `https://NAME.example/`.
    pub async fn resource(&self, org: &Org, name: &str, actions: &[&str]) -> Resource {
        let asked = CreateResource {
            name: name.to_owned(),
            audience: format!("https://{name}.example/"),
            actions: actions.iter().map(ToString::to_string).collect(),
            environment: None,
            revocations_age_max: None,
            agent: None,
            bound_only: false,
            status_list: false,
        };
        resource::create(&self.cx(org).await, &asked).await.expect("a new resource")
    }

    /// An active agent that may do this.
    pub async fn agent(&self, org: &Org, name: &str, allow: &[&str]) -> Agent {
        let allow = allow.iter().map(ToString::to_string).collect();
        let asked = CreateAgent { name: name.to_owned(), allow, ..CreateAgent::default() };
        self.agent_like(org, asked).await
    }

    /// An agent as asked, active, with an owner and a purpose where none is said.
    pub async fn agent_like(&self, org: &Org, asked: CreateAgent) -> Agent {
        let address = format!("{}-owner@example.com", asked.name);
        let asked = CreateAgent {
            owner_email: asked.owner_email.or(Some(address)),
            purpose: asked.purpose.or_else(|| Some("to be tested".to_owned())),
            activate: true,
            ..asked
        };
        agent::create(&self.cx(org).await, &asked).await.expect("a new agent")
    }

    async fn secret(&self, org: &Org, asked: CreateCredential) -> Client {
        let made = credential::create(&self.cx(org).await, &asked).await.expect("a credential");
        Client {
            id: made.client_id.expect("of a client"),
            secret: made.client_secret.expect("a secret").expose().to_owned(),
            credential: made.id,
            instance: None,
        }
    }

    /// A secret of an agent's own, for 30 days or so many seconds.
    pub async fn agent_secret(&self, org: &Org, agent: &str, expires_in: Option<u64>) -> Client {
        let asked = CreateCredential {
            agent: Some(agent.to_owned()),
            expires_in,
            ..new_credential("client-secret")
        };
        self.secret(org, asked).await
    }

    /// A secret of a resource server.
    pub async fn resource_secret(&self, org: &Org, resource: &str) -> Client {
        let asked = CreateCredential {
            resource: Some(resource.to_owned()),
            ..new_credential("client-secret")
        };
        self.secret(org, asked).await
    }

    /// A key pair of an agent's own, registered under a `kid`.
    pub async fn agent_key(&self, org: &Org, agent: &str, kid: &str, alg: Algorithm) -> Signer {
        let signer = Signer::new(alg, kid, self.world.random());
        let holder = CreateCredential { agent: Some(agent.to_owned()), ..new_credential("") };
        self.key(org, holder, signer).await
    }

    /// A key pair of an agent's own or of one of its instances, for so many seconds.
    pub async fn short_key(
        &self,
        org: &Org,
        agent: &str,
        instance: Option<String>,
        kid: &str,
        seconds: u64,
    ) -> Signer {
        let signer = Signer::new(Algorithm::EdDsa, kid, self.world.random());
        let agent = instance.is_none().then(|| agent.to_owned());
        let expires_in = Some(seconds);
        let holder = CreateCredential { agent, instance, expires_in, ..new_credential("") };
        self.key(org, holder, signer).await
    }

    /// A key pair of a resource server, registered under a `kid`.
    pub async fn resource_key(&self, org: &Org, resource: &str, kid: &str) -> Signer {
        let signer = Signer::new(Algorithm::EdDsa, kid, self.world.random());
        let holder = CreateCredential { resource: Some(resource.to_owned()), ..new_credential("") };
        self.key(org, holder, signer).await
    }

    async fn key(&self, org: &Org, holder: CreateCredential, mut signer: Signer) -> Signer {
        let jwk = serde_json::value::RawValue::from_string(signer.public_jwk());
        let asked = CreateCredential {
            r#type: "public-key".to_owned(),
            jwk: Some(jwk.expect("a JWK")),
            ..holder
        };
        let made = credential::create(&self.cx(org).await, &asked).await.expect("a key");
        signer.client = made.client_id.expect("of a client");
        signer.credential = made.id;
        signer.issuer = org.issuer.clone();
        signer
    }

    /// An instance of an agent, with its secret.
    pub async fn instance(&self, org: &Org, agent: &str, expires_in: Option<u64>) -> Client {
        let asked =
            CreateInstance { agent: agent.to_owned(), expires_in, ..CreateInstance::default() };
        let made = instance::create(&self.cx(org).await, &asked).await.expect("an instance");
        Client {
            id: made.client_id.to_string(),
            secret: made.client_secret.expect("a secret").expose().to_owned(),
            credential: made.credential.to_string(),
            instance: Some(made.id),
        }
    }

    /// Revokes an id.
    pub async fn revoke(&self, org: &Org, target: impl ToString) -> Result<RevocationView, Error> {
        let (target, reason) = (target.to_string(), "a test".to_owned());
        let asked = Revoke { target, reason, expires_in: None };
        revocation::revoke(&self.cx(org).await, &asked).await
    }

    /// Asks the admin API with the organization's first key.
    pub async fn admin(&self, org: &Org, method: &str, path: &str, body: Option<Value>) -> Answer {
        let ask = Ask::new(method, path).bearer(&org.admin);
        self.ask(match body {
            Some(body) => ask.json(&body),
            None => ask,
        })
        .await
    }

    /// Asks for a token with a secret.
    pub async fn token(&self, org: &Org, client: &Client, more: &[(&str, &str)]) -> Answer {
        let mut form = vec![("grant_type", "client_credentials")];
        form.extend_from_slice(more);
        self.ask(Ask::post(org.path("/oauth/token")).basic(client).form(&form)).await
    }

    /// Asks for a token with an assertion.
    pub async fn token_by(&self, org: &Org, assertion: &str, more: &[(&str, &str)]) -> Answer {
        let kind = accredit_wire::oauth::client_auth::ASSERTION_TYPE;
        let mut form = vec![
            ("grant_type", "client_credentials"),
            ("client_assertion_type", kind),
            ("client_assertion", assertion),
        ];
        form.extend_from_slice(more);
        self.ask(Ask::post(org.path("/oauth/token")).form(&form)).await
    }
}

fn new_credential(kind: &str) -> CreateCredential {
    CreateCredential {
        agent: None,
        instance: None,
        resource: None,
        r#type: kind.to_owned(),
        r#use: None,
        jwk: None,
        workload: None,
        node: None,
        expires_in: None,
    }
}
