//! What ought to be: what each agent holds, which tokens left and which revocation covers them.
//! Kept from what was asked for and answered, never read back from the code under test.

use std::collections::{BTreeMap, BTreeSet};

use accredit_domain::registry::find_agent;
use accredit_wire::crypto::PublicKey;
use accredit_wire::ids::{AgentId, AnyId};
use accredit_wire::time::Time;
use accredit_wire::token::AccessToken;

use super::network::Point;
use super::{Flaw, Plan};
use crate::{Client, Org, TestWorld};

/// Actions that every resource knows.
pub(super) const ACTIONS: [&str; 3] = ["read", "update", "delete"];
/// The resources of an organization.
pub(super) const RESOURCES: [&str; 2] = ["crm", "mail"];
/// The agents of an organization.
pub(super) const AGENTS: [&str; 2] = ["planner", "worker"];

/// A token that left.
pub(super) struct Left {
    /// As its client holds it.
    pub(super) text: String,
    /// What it says.
    pub(super) token: AccessToken,
    /// The counter of the revocation that ended it.
    pub(super) ended: Option<u64>,
}

/// An agent.
pub(super) struct Held {
    pub(super) id: AgentId,
    /// What it may, by resource.
    pub(super) may: BTreeMap<&'static str, BTreeSet<&'static str>>,
}

/// One organization and all that is known about it.
pub(super) struct Side {
    pub(super) org: Org,
    /// The organization's id.
    pub(super) id: AnyId,
    pub(super) agents: Vec<Held>,
    pub(super) clients: Vec<Client>,
    pub(super) tokens: Vec<Left>,
    /// Every revocation, in order: what, and at which counter.
    pub(super) revocations: Vec<(AnyId, u64)>,
    /// What is broken on purpose.
    pub(super) flaw: Option<Flaw>,
    /// The first key of the log.
    pub(super) log_key: PublicKey,
    pub(super) points: Vec<Point>,
    /// Ids of the other organization that somebody here named.
    pub(super) named: Vec<String>,
    /// When credentials end that were rotated.
    pub(super) overlaps: BTreeMap<String, Time>,
}

impl Side {
    pub(super) async fn new(world: &TestWorld, name: &str, plan: Plan) -> Self {
        let org = world.found(name).await;
        for resource in RESOURCES {
            world.resource(&org, resource, &ACTIONS).await;
        }
        let (mut agents, mut clients) = (Vec::new(), Vec::new());
        for name in AGENTS {
            world.agent(&org, name, &["crm:read", "crm:update", "mail:read"]).await;
            let id = world.agent_id(&org, name).await;
            let crm = BTreeSet::from(["read", "update"]);
            let may = BTreeMap::from([("crm", crm), ("mail", BTreeSet::from(["read"]))]);
            agents.push(Held { id, may });
            clients.push(world.agent_secret(&org, name, None).await);
            clients.push(world.instance(&org, name, None).await);
        }
        let tenant = world.tenant(&org).await;
        let (id, log_key) = (tenant.id.any(), tenant.log_key().sealed.public.clone());
        let points = ["crm", "crm", "mail"].map(|at| Point::new(&org, at, plan.flaw)).into();
        let (tokens, revocations, named) = (Vec::new(), Vec::new(), Vec::new());
        let overlaps = BTreeMap::new();
        Self {
            org,
            id,
            agents,
            clients,
            tokens,
            revocations,
            flaw: plan.flaw,
            log_key,
            points,
            named,
            overlaps,
        }
    }

    /// The organization's revocation counter.
    pub(super) fn rev(&self) -> u64 {
        self.revocations.len() as u64
    }

    /// Notes a revocation, and what it ends.
    pub(super) fn revoked(&mut self, target: AnyId) {
        let rev = self.rev() + 1;
        self.revocations.push((target, rev));
        for left in &mut self.tokens {
            if left.ended.is_none() && left.token.rev < rev && hangs_on(&left.token, target) {
                left.ended = Some(rev);
            }
        }
    }

    /// Notes a token that left.
    pub(super) fn left(&mut self, text: String, token: AccessToken) {
        let covers = |(target, rev): &&(AnyId, u64)| token.rev < *rev && hangs_on(&token, *target);
        let ended = self.revocations.iter().find(covers).map(|(_, rev)| *rev);
        self.tokens.push(Left { text, token, ended });
    }

    /// Whether an agent holds a permission.
    pub(super) fn holds(&self, agent: AgentId, resource: &str, action: &str) -> bool {
        let agent = self.agents.iter().find(|held| held.id == agent);
        agent.and_then(|held| held.may.get(resource)).is_some_and(|may| may.contains(action))
    }

    /// The owner of an agent, as the registry says now.
    pub(super) async fn owner(&self, world: &TestWorld, agent: &str) -> String {
        let cx = world.cx(&self.org).await;
        let agent = find_agent(&cx, agent).await.expect("an agent");
        agent.owner.expect("an owner").to_string()
    }
}

/// Whether revoking `target` is to end the token: in words, without asking its lineage.
pub(super) fn hangs_on(token: &AccessToken, target: AnyId) -> bool {
    target == token.organization.any()
        || target == token.client_id.any()
        || token.instance.is_some_and(|id| id.any() == target)
        || target == token.credential.any()
        || target == token.owner.any()
        || target == token.resource.any()
        || target == token.key.any()
        || target == token.id.any()
}
