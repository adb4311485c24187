//! Instances that an agent brings into being: of another agent, inside a task, with no more than it
//! passes on, and for no longer than the task and whoever stands before them.
//!
//! Each carries its lineage: it is refused once its parent, the parent's parent, the credential that
//! asked for it or the task is ended, and its tokens name them all. An agent brings into being
//! whom an administrator lets it: the one that serves a resource at which it holds the action
//! [`SPAWN`]. An administrator may give an instance a parent, too, and needs no such permission.

use std::sync::Arc;

use accredit_wire::authority::{ActionName, Authority, attenuate};
use accredit_wire::ids::{AgentId, AnyId, CredentialId, InstanceId, TaskId};
use accredit_wire::oauth::instance_request::InstanceRequest;
use accredit_wire::time::Time;
use accredit_wire::token::{Actor, CHAIN_DEPTH_MAX};

use super::durable::wanted;
use super::instance::{self, CreateInstance, InstanceView, NewInstance};
use super::{find_agent, lookup, permission, task};
use crate::context::Cx;
use crate::issuance::admission::{AgentFacts, HolderFacts};
use crate::issuance::authenticate::{AuthenticatedClient, holder_usable};
use crate::issuance::grants::actor::acting;
use crate::issuance::grants::descent;
use crate::issuance::permit::{listed, own};
use crate::issuance::svid::not_by_own;
use crate::issuance::vouched;
use crate::ports::{Lookup, Room, RoomOf};
use crate::refusal::{Error, Refusal, Rule};
use crate::registry::agent::AgentState;

/// Instances that are born into one task and not over, at most.
pub const BORN_IN_TASK_MAX: u64 = 256;
/// Whoever stands before an instance, at most: as many parties as a chain may have.
pub const PARENTS_MAX: usize = CHAIN_DEPTH_MAX;
/// The action at a resource by which an agent may bring into being the agent that serves it.
pub const SPAWN: &str = "spawn";

/// From whom an instance is, and what it was born with.
#[derive(Clone, Debug)]
pub struct Born {
    /// The instance that stands before it, or the agent, where its own credential asked.
    pub parent: AnyId,
    /// The task that it works in.
    pub task: TaskId,
    /// The credential that asked for it; none where an administrator did.
    pub credential: Option<CredentialId>,
    /// What was passed on to it.
    pub authority: Authority,
}

/// Who stands before an instance that is to be born.
struct Parent {
    agent: Arc<AgentFacts>,
    /// Itself, then whoever stands before it; the last began.
    line: Vec<Actor>,
    /// The credential with which it asks itself.
    credential: Option<CredentialId>,
    /// The task in which it was born.
    task: Option<TaskId>,
    /// What it may pass on.
    authority: Authority,
    /// When it is over.
    ends: Option<Time>,
}

/// What an instance is to be.
struct Wish<'a> {
    task: Option<TaskId>,
    authority: Authority,
    name: Option<&'a str>,
    expires_in: Option<u64>,
}

/// Brings an instance into being, by the parent's own credential.
pub async fn spawn(
    cx: &Cx,
    client: &AuthenticatedClient,
    asked: &InstanceRequest,
) -> Result<InstanceView, Error> {
    not_by_own(client)?;
    let (agent, _) = acting(cx, client).await?;
    let authority = wanted(&agent, (&asked.scope, &asked.details))?;
    let holder = &client.credential.holder;
    let parent =
        Parent { credential: Some(client.credential.id), ..of_holder(cx, agent, holder).await? };
    let child = may_spawn(cx, &parent, &asked.agent).await?;
    let expires_in = asked.expires_in.map(u64::from);
    let name = asked.name.as_deref();
    birth(cx, &parent, &child, Wish { task: asked.task, authority, name, expires_in }).await
}

/// Makes an instance with a parent, for an administrator.
pub(super) async fn with_parent(
    cx: &Cx,
    parent: &str,
    asked: &CreateInstance,
) -> Result<InstanceView, Error> {
    let parent = match lookup::<InstanceId>(parent) {
        Lookup::Id(id) => {
            let row = instance::find_live(cx, &id.to_string()).await?;
            let found = cx.world.store.credential_facts(cx.tenant.id, row.credential).await?.found;
            let facts = found.ok_or_else(|| Refusal::not_found("instance", id))?;
            // A rule is its agent's: what is born would hang on the agent, and not on this instance.
            if !matches!(&facts.holder, HolderFacts::Instance { id, .. } if *id == row.id) {
                return Err(Refusal::field(
                    "parent",
                    "is who it is by the word of a platform or a node",
                    "let it ask itself, with what proves it: `POST /oauth/instances`",
                )
                .into());
            }
            holder_usable(cx, &facts.holder)?;
            of_holder(cx, facts_of(cx, row.agent).await?, &facts.holder).await?
        }
        Lookup::Name(name) => {
            let agent = facts_of(cx, find_agent(cx, &name).await?.id).await?;
            let holder = HolderFacts::Agent(agent.id);
            of_holder(cx, agent, &holder).await?
        }
    };
    is_active(&parent.agent)?;
    let child = facts_of(cx, find_agent(cx, &asked.agent).await?.id).await?;
    let at = (&*child.name, child.environment);
    let authority = permission::resolve(cx, at, &asked.allow).await?;
    let task = asked.task.as_deref().map(|task| {
        let wrong = |error| Refusal::field("task", error, "take it from `accredit task list`");
        task.parse::<TaskId>().map_err(wrong)
    });
    let (name, expires_in) = (asked.name.as_deref(), asked.expires_in);
    birth(cx, &parent, &child, Wish { task: task.transpose()?, authority, name, expires_in }).await
}

/// What of a holder counts for its children.
async fn of_holder(cx: &Cx, agent: Arc<AgentFacts>, holder: &HolderFacts) -> Result<Parent, Error> {
    if !agent.may_delegate {
        return Err(Refusal::new(
            Rule::DelegationNone,
            format!("agent `{}` passes nothing on", agent.name),
            "an administrator lets an agent delegate: `accredit agent update --may-delegate`",
        )
        .into());
    }
    let (mut authority, mut task, mut ends) = (own(&agent), None, None);
    let mut line = vec![Actor { agent: agent.id, instance: None }];
    if let HolderFacts::Instance { id, expires_at, descent, vouched, .. } = holder {
        if let Some(vouched) = vouched {
            vouched::lineage(cx, vouched).await?;
        }
        line = vec![Actor { agent: agent.id, instance: Some(*id) }];
        ends = *expires_at;
        if let Some(descent) = descent {
            authority = descent::bound(cx, descent).await?.ceiling.meet(&authority);
            line.extend_from_slice(&descent.ancestors);
            task = Some(descent.task);
            ends = Some(ends.unwrap_or(descent.expires_at).min(descent.expires_at));
        }
    }
    Ok(Parent { agent, line, credential: None, task, authority, ends })
}

async fn facts_of(cx: &Cx, agent: AgentId) -> Result<Arc<AgentFacts>, Error> {
    let found = cx.world.store.agent_facts(cx.tenant.id, agent).await?;
    Ok(found.ok_or_else(|| Refusal::not_found("agent", agent))?)
}

fn is_active(agent: &AgentFacts) -> Result<(), Refusal> {
    if agent.state == AgentState::Active {
        return Ok(());
    }
    Err(Refusal::new(
        Rule::StateForbids,
        format!("agent `{}` is {}", agent.name, agent.state.as_str()),
        "an administrator can activate it, unless it is decommissioned",
    ))
}

/// The agent of which a parent may bring an instance into being. To whoever may not, all agents are
/// as unknown as one that there is not.
async fn may_spawn(cx: &Cx, parent: &Parent, key: &str) -> Result<Arc<AgentFacts>, Error> {
    let spawn = ActionName::new(SPAWN).map_err(|error| crate::Fault::new("spawn", error))?;
    let by = parent.agent.entitlements.resources.iter();
    let by = by.filter(|resource| parent.authority.allows(&resource.name, &spawn));
    for agent in by.filter_map(|resource| resource.agent) {
        let facts = facts_of(cx, agent).await?;
        if facts.id.to_string() == key || *facts.name == *key {
            return Ok(facts);
        }
    }
    Err(Refusal::new(
        Rule::SpawnNotHeld,
        format!("the client may bring no `{key}` into being"),
        format!("it needs the action `{SPAWN}` at a resource that this agent serves"),
    )
    .into())
}

/// The birth itself, whoever asks for it.
async fn birth(
    cx: &Cx,
    parent: &Parent,
    child: &AgentFacts,
    wish: Wish<'_>,
) -> Result<InstanceView, Error> {
    is_active(child)?;
    may_follow(parent, child, cx.tenant.chain_depth_max())?;
    let authority = passed_on(parent, child, &wish.authority)?;
    let task = task_of(cx, parent, wish.task).await?;
    let ends = task.deadline.min(parent.ends.unwrap_or(task.deadline));
    let by = parent.line.first().map_or(parent.agent.id.any(), |actor| {
        actor.instance.map_or(actor.agent.any(), AnyId::from)
    });
    let born = Born { parent: by, task: task.id, credential: parent.credential, authority };
    let room = Room { of: RoomOf::BornIn(task.id), at: cx.now, max: BORN_IN_TASK_MAX };
    let new = NewInstance { name: wish.name, expires_in: wish.expires_in, ends: Some(ends) };
    instance::make(cx, &child.id.to_string(), new, Some((born, room))).await
}

/// There are as many in a task as there may be.
pub(super) fn full() -> Refusal {
    Refusal::new(
        Rule::QuotaReached,
        format!("{BORN_IN_TASK_MAX} instances that are not over were born into this task"),
        "end those that are done: `accredit instance revoke`",
    )
}

/// Refuses a child that may not stand behind its parent.
fn may_follow(parent: &Parent, child: &AgentFacts, depth_max: usize) -> Result<(), Refusal> {
    if parent.agent.environment != child.environment {
        return Err(Refusal::new(
            Rule::EnvironmentBoundary,
            "parent and child are in different environments",
            "bring into being an agent of the parent's own environment",
        ));
    }
    if parent.line.iter().any(|before| before.agent == child.id) {
        return Err(Refusal::new(
            Rule::ChainCycle,
            "the agent stands before itself in this lineage",
            "let the instance that there is do it",
        ));
    }
    if parent.line.len() > depth_max {
        return Err(Refusal::new(
            Rule::ChainTooDeep,
            format!("the lineage has {depth_max} parties already, and may have no more"),
            "let an earlier party do this step",
        ));
    }
    Ok(())
}

/// What is passed on: all that is asked for, or a refusal that says what is too much.
fn passed_on(parent: &Parent, child: &AgentFacts, asked: &Authority) -> Result<Authority, Refusal> {
    if asked.is_empty() {
        return Err(Refusal::new(
            Rule::ScopeMissing,
            "nothing was asked for that the instance is to do",
            "ask for what its work needs, and no more",
        ));
    }
    let within = attenuate(&parent.authority, asked).map_err(|excess| {
        let hint = format!("what the parent may pass on: {}", listed(&parent.authority));
        Refusal::new(Rule::DelegationExceeded, excess.to_string(), hint)
    })?;
    attenuate(&own(child), &within).map_err(|excess| {
        let hint = "ask for what the agent itself holds";
        Refusal::new(Rule::DelegationExceeded, excess.to_string(), hint)
    })
}

/// The task of the birth: the parent's, in which it was born itself, or one of its agent's.
async fn task_of(
    cx: &Cx,
    parent: &Parent,
    named: Option<TaskId>,
) -> Result<Arc<task::TaskFacts>, Error> {
    let held = match (parent.task, named) {
        (Some(held), Some(named)) if held != named => {
            return Err(descent::another_task(held).into());
        }
        (Some(held), _) => {
            let found = cx.world.store.task_facts(cx.tenant.id, held).await?;
            return Ok(found.ok_or_else(|| task::unknown(held))?);
        }
        (None, Some(named)) => named,
        (None, None) => {
            return Err(Refusal::field(
                "task",
                "an instance is born into a task",
                "name a task of the parent's: `accredit task create`",
            )
            .into());
        }
    };
    task::for_token(cx, held, parent.agent.id).await
}
