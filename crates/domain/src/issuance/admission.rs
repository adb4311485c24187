//! The facts that issuing reads: small, shared, and cached by the store.

use std::sync::Arc;

use accredit_wire::authority::{ActionName, Authority, ResourceName, Scope};
use accredit_wire::ids::{
    AgentId, AnyId, CredentialId, FederationId, InstanceId, OrganizationId, PersonId, ResourceId,
    TaskId,
};
use accredit_wire::jose::jwk::VerifyingKey;
use accredit_wire::time::Time;
use accredit_wire::token::Actor;
use accredit_wire::x509::dns_name::DnsName;
use std::collections::BTreeSet;

use crate::registry::State;
use crate::registry::agent::AgentState;
use crate::registry::credential::AdminPermission;
use crate::registry::environment::Environment;
use crate::registry::instance::InstanceState;

/// An agent as issuing sees it.
#[derive(Debug)]
pub struct AgentFacts {
    /// Its id.
    pub id: AgentId,
    /// Its name.
    pub name: Box<str>,
    /// Where it is in its life.
    pub state: AgentState,
    /// Its owner and whether the owner may act; an agent without one is never active.
    pub owner: Option<(PersonId, State)>,
    /// Where it runs.
    pub environment: Environment,
    /// What it may ask for.
    pub entitlements: Arc<Entitlements>,
    /// Whether its tokens carry a delegable Authority.
    pub may_delegate: bool,
    /// Whether it gets tokens only that are bound to a key.
    pub bound_only: bool,
    /// For whom it may act without being named in `act`.
    pub impersonates: Vec<AnyId>,
    /// The life of its tokens, seconds.
    pub token_lifetime: u32,
    /// The life of its instances' certificates, seconds.
    pub certificate_lifetime: u32,
    /// The hosts that those may name.
    pub dns_names: Box<[DnsName]>,
    /// When a change last asked for its credential to be rotated.
    pub rotation_asked_at: Option<Time>,
}

/// What an agent holds: one value for all agents that hold the same.
#[derive(Debug, Default)]
pub struct Entitlements {
    /// What it may ask for.
    pub authority: Authority,
    /// The resources of other environments that it may reach.
    pub across: BTreeSet<ResourceName>,
    /// What is granted where nothing is asked for.
    pub default_scope: Option<Scope>,
    /// The resources that its authority names.
    pub resources: Vec<Arc<ResourceFacts>>,
}

/// A resource as issuing sees it.
#[derive(Debug)]
pub struct ResourceFacts {
    /// Its id.
    pub id: ResourceId,
    /// Its name.
    pub name: ResourceName,
    /// Its audience URI.
    pub audience: String,
    /// What it knows to allow.
    pub actions: BTreeSet<ActionName>,
    /// Whether there are tokens for it.
    pub state: State,
    /// Whether those are bound to a key.
    pub bound_only: bool,
    /// Whether those have a place in a status list.
    pub status_list: bool,
    /// Where it runs.
    pub environment: Environment,
    /// The agent that serves it, and so may exchange what is sent to it.
    pub agent: Option<AgentId>,
}

/// Whose a credential is, with what may end it.
#[derive(Debug)]
pub enum HolderFacts {
    /// An agent.
    Agent(AgentId),
    /// An instance of an agent.
    Instance {
        /// The instance.
        id: InstanceId,
        /// Its agent.
        agent: AgentId,
        /// Whether it was revoked.
        state: InstanceState,
        /// When it ends by itself.
        expires_at: Option<Time>,
        /// From whom it descends, where it was brought into being.
        descent: Option<Arc<Descent>>,
        /// Who vouched for it, where it came into being by somebody's word.
        vouched: Option<Arc<Vouched>>,
    },
    /// A resource server.
    Resource(Arc<ResourceFacts>),
    /// An administrator.
    Admin(Vec<AdminPermission>),
}

/// From whom an instance descends, as its rows and theirs say.
#[derive(Debug)]
pub struct Descent {
    /// Whoever stands before it, the nearest first; the last began.
    pub ancestors: Vec<Actor>,
    /// The task that it works in.
    pub task: TaskId,
    /// What was passed on to it, and nothing that was not passed on to those before it.
    pub authority: Authority,
    /// The credentials that asked for it and for those before it.
    pub credentials: Vec<CredentialId>,
    /// By whose word the instance that began is who it is, where it is by somebody's.
    pub vouched: Option<Arc<Vouched>>,
    /// When the task or one of them is over by itself.
    pub expires_at: Time,
    /// Whether the task, one of them or such a credential was ended.
    pub over: bool,
}

/// By whose word an instance came into being, as its rows and theirs say: it ends with each of them.
#[derive(Debug)]
pub struct Vouched {
    /// The node, with its agent, where one vouched for it.
    pub node: Option<(AgentId, InstanceId)>,
    /// The platform, with its issuer, where one vouched for it or for that node.
    pub federation: Option<(FederationId, Box<str>)>,
    /// The rules by which they did.
    pub rules: Vec<CredentialId>,
    /// When the first of them is over by itself.
    pub expires_at: Time,
    /// Whether one of them was ended.
    pub over: bool,
}

/// How a credential proves.
#[derive(Debug)]
pub enum ProofFacts {
    /// By a secret whose MAC is kept.
    Secret {
        /// Under which pepper.
        pepper: u32,
        /// The MAC.
        mac: [u8; 32],
    },
    /// By a signature.
    Key(Box<VerifyingKey>),
    /// By a rule on the tokens of a platform, or on what nodes say.
    Workload,
    /// By a secret that is good for one thing, once: becoming a node.
    Join {
        /// Under which pepper.
        pepper: u32,
        /// The MAC.
        mac: [u8; 32],
    },
}

/// A credential as authentication sees it.
#[derive(Debug)]
pub struct CredentialFacts {
    /// Its id.
    pub id: CredentialId,
    /// The organization it belongs to.
    pub org: OrganizationId,
    /// Whose it is.
    pub holder: HolderFacts,
    /// How it proves.
    pub proof: ProofFacts,
    /// Whether it was revoked.
    pub revoked: bool,
    /// When it ends by itself.
    pub expires_at: Time,
}

impl CredentialFacts {
    /// A rule on a platform's tokens, which is its agent's, as the credential of an instance that it
    /// brought into being.
    pub(super) fn of_workload(
        &self,
        (agent, id): (AgentId, InstanceId),
        (state, expires_at): (InstanceState, Option<Time>),
    ) -> Self {
        Self {
            id: self.id,
            org: self.org,
            // What vouched for it stands beside it, or in its certificate.
            holder: HolderFacts::Instance {
                id,
                agent,
                state,
                expires_at,
                descent: None,
                vouched: None,
            },
            proof: ProofFacts::Workload,
            revoked: self.revoked,
            expires_at: self.expires_at,
        }
    }

    /// When it ends by itself, at the latest with its instance.
    pub fn ends_at(&self) -> Time {
        match &self.holder {
            HolderFacts::Instance { expires_at: Some(end), .. } => self.expires_at.min(*end),
            _ => self.expires_at,
        }
    }
}
