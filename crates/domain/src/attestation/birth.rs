//! The instance that a workload is: found by what its platform calls it, or brought into being.
//!
//! One that was revoked stays so for what it was called: no new token, no other rule of its agent brings it
//! back. One whose time is over makes room for another. How many a rule brings into being in an hour is
//! bounded, so that a platform gone wrong fills neither the registry nor the log.

use std::time::Duration;

use accredit_wire::authority::ResourceName;
use accredit_wire::ids::{AgentId, CredentialId, FederationId, InstanceId, OrganizationId};
use accredit_wire::time::Time;

use super::process_rule::ProcessRuleFacts;
use super::rule::RuleFacts;
use super::verify::Evidence;
use crate::audit::changes;
use crate::audit::event::{Actor, Body, EventKind};
use crate::context::Cx;
use crate::ports::{BoxFuture, CommitError, Room, RoomOf, Row};
use crate::refusal::{Error, Fault, Refusal, Rule};
use crate::registry::commit;
use crate::registry::instance::{Instance, InstanceState};

/// The time in which births are counted.
pub const BIRTHS_WITHIN: Duration = Duration::from_hours(1);
/// How often it is tried to bring one into being, while others try it too.
pub(super) const BIRTH_TRIES_MAX: usize = 3;

/// Who vouches for a workload.
#[derive(Clone, Copy, Debug)]
pub enum Voucher {
    /// A platform, by a token.
    Platform(FederationId),
    /// A node, for a process of its own.
    Node(InstanceId),
}

/// What whoever vouches for it calls a workload of an agent, and the instance that it is.
#[derive(Clone, Debug)]
pub struct Workload {
    /// Who vouches for it.
    pub by: Voucher,
    /// Of which agent.
    pub agent: AgentId,
    /// What it is called there.
    pub name: String,
    /// The instance that it is.
    pub instance: InstanceId,
    /// By which rule.
    pub credential: CredentialId,
    /// When it was brought into being.
    pub born_at: Time,
    /// The instance that it was before, whose time is over.
    pub before: Option<InstanceId>,
}

/// The instance that a workload is or was.
#[derive(Clone, Copy, Debug)]
pub struct Born {
    /// The instance.
    pub instance: InstanceId,
    /// Whether it was revoked.
    pub state: InstanceState,
    /// When it ends by itself.
    pub expires_at: Option<Time>,
    /// By which rule it was brought into being.
    pub rule: CredentialId,
}

/// What is known of workloads: reads that are current.
pub trait Workloads: Send + Sync {
    /// The instance that a workload of an agent is, by what its platform calls it.
    fn workload<'a>(
        &'a self,
        org: OrganizationId,
        of: (FederationId, AgentId),
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<Born>, Fault>>;

    /// The instance that a process of a node is, by what the node calls it.
    fn process<'a>(
        &'a self,
        org: OrganizationId,
        of: (InstanceId, AgentId),
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<Born>, Fault>>;

    /// The live rules by which nodes of an agent vouch, those that live longest first.
    fn process_rules(
        &self,
        org: OrganizationId,
        edge: AgentId,
        now: Time,
    ) -> BoxFuture<'_, Result<Vec<ProcessRuleFacts>, Fault>>;
}

/// Finds the instance, or brings it into being. Its end, too.
pub(crate) async fn instance(
    cx: &Cx,
    evidence: &Evidence,
    (rule, name): (&RuleFacts, &str),
) -> Result<(InstanceId, Option<Time>), Error> {
    let (store, org) = (&cx.world.store, cx.tenant.id);
    for _ in 0..BIRTH_TRIES_MAX {
        let found = store.workload(org, (evidence.federation.id, rule.agent), name).await?;
        match found {
            Some(born) if born.state == InstanceState::Revoked => {
                return Err(Refusal::new(
                    Rule::InstanceNotActive,
                    format!("instance `{}`, which this workload is, was revoked", born.instance),
                    "it does not come back: start another copy, which its platform calls otherwise",
                )
                .into());
            }
            Some(born) if born.expires_at.is_none_or(|end| end > cx.now) => {
                return Ok((born.instance, born.expires_at));
            }
            _ => {}
        }
        let room = Room {
            of: RoomOf::BirthsBy(rule.credential),
            at: cx.now.minus(BIRTHS_WITHIN),
            max: rule.rule.births_per_hour.into(),
        };
        if store.held_of(org, room).await? >= room.max {
            return Err(too_many(room.max).into());
        }
        match bring(cx, evidence, (rule, name), (room, found)).await {
            Ok(made) => return Ok(made),
            // Somebody else did it meanwhile, or took the room.
            Err(CommitError::Stale | CommitError::Taken(_)) => {}
            Err(CommitError::Reached(reached)) => return Err(Refusal::from(reached).into()),
            Err(CommitError::Fault(fault)) => return Err(fault.into()),
        }
    }
    Err(Fault::new("bring an instance into being", "it kept changing meanwhile").into())
}

pub(super) fn too_many(max: u64) -> Refusal {
    let mut refusal = Refusal::new(
        Rule::BirthsTooMany,
        format!("the rule has brought {max} instances into being within an hour"),
        "let each copy be named by what stays while it runs; an administrator can let a rule bring \
         more into being",
    );
    refusal.retry_after = u32::try_from(BIRTHS_WITHIN.as_secs() / 60).ok();
    refusal
}

async fn bring(
    cx: &Cx,
    evidence: &Evidence,
    (rule, name): (&RuleFacts, &str),
    (room, before): (Room, Option<Born>),
) -> Result<(InstanceId, Option<Time>), CommitError> {
    let (millis, random) = cx.seed();
    let ends = cx.now.plus(Duration::from_secs(rule.rule.instance_lifetime.into()));
    let made = Instance {
        id: InstanceId::new(millis, random),
        agent: rule.agent,
        // What people call it, where the platform's word can be a name.
        name: ResourceName::new(name).ok().map(|name| name.to_string()),
        state: InstanceState::Active,
        credential: rule.credential,
        born: None,
        vouched_by: Some(evidence.federation.id.any()),
        created_at: cx.now,
        expires_at: Some(ends),
        last_seen_at: None,
        version: 0,
    };
    let mut body = Body {
        actor: Some(Actor { id: Some(rule.agent.any()), kind: "agent" }),
        agent: Some(rule.agent),
        credential: Some(rule.credential),
        expires_at: Some(ends.micros()),
        federation: Some(evidence.federation.id.any()),
        instance: Some(made.id),
        issuer: Some(evidence.federation.issuer.clone()),
        name: made.name.clone(),
        subject: Some(evidence.subject.clone()),
        ..Body::default()
    };
    body.changes = changes::made(&made.view(cx.now), &body)?;
    body.changes.insert("workload".into(), name.to_owned());
    let workload = Workload {
        by: Voucher::Platform(evidence.federation.id),
        agent: rule.agent,
        name: name.to_owned(),
        instance: made.id,
        credential: rule.credential,
        born_at: cx.now,
        before: before.map(|born| born.instance),
    };
    let event = cx.event(EventKind::InstanceCreated, body);
    let id = made.id;
    let rows = vec![Row::Room(room), Row::Instance(made), Row::Workload(Box::new(workload))];
    commit(cx, rows, None, event).await?;
    Ok((id, Some(ends)))
}
