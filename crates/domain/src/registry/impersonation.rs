//! RFC 8693 section 1.1: for whom an agent may act without being named in `act`.
//!
//! Delegation names both; impersonation hides the agent from resources that look at `sub` alone. So
//! nobody may until an owner of the organization names the pair, an agent and a subject, with a reason;
//! the token then still says in our own claim who acts, dies with the agent, and is marked in the log.
//! Absent on purpose: pairs for groups, for all users of a federation, or for any agent.

use accredit_wire::ids::{AnyId, Kind};
use accredit_wire::time::Time;
use serde::{Deserialize, Serialize};

use super::agent::{Agent, alive};
use super::{
    DecideError, commit, decide, ending, find_agent, find_person, rotation_schedule, text,
};
use crate::audit::changes;
use crate::audit::event::{Body, EventKind};
use crate::context::Cx;
use crate::ports::Row;
use crate::refusal::{Error, Refusal};
use crate::registry::credential::AdminPermission;
use crate::revocation::Revocation;

/// Subjects of one agent: whoever needs more wants delegation.
pub const IMPERSONATIONS_MAX: usize = 16;

/// One subject for whom an agent may act unnamed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Impersonation {
    /// The person or the agent.
    #[schema(value_type = String)]
    pub subject: AnyId,
    /// Why, in a person's words.
    pub reason: String,
    /// Since when.
    #[schema(value_type = String)]
    pub allowed_at: Time,
}

/// A pair that is allowed or ended; its agent stands in the path.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Impersonate {
    /// The person, by id or e-mail address, or the agent, by id or name.
    pub subject: String,
    /// Why.
    pub reason: String,
}

/// Lets an agent act for a subject without being named in `act`. For owners of the organization.
pub async fn allow(cx: &Cx, key: &str, asked: &Impersonate) -> Result<Agent, Error> {
    cx.require(AdminPermission::Administrators)?;
    let reason = text("reason", &asked.reason)?;
    decide(|| async {
        let mut agent = alive(cx, key).await?;
        cx.terms.expected.check(agent.version)?;
        let before = agent.clone();
        let subject = subject(cx, &asked.subject).await?;
        if subject == agent.id.any() {
            let hint = "an agent that acts for itself has tokens in its own name";
            return Err(Refusal::field("subject", "is the agent itself", hint).into());
        }
        if agent.impersonates.iter().any(|held| held.subject == subject) {
            return Err(super::already("impersonation", "allowed").into());
        }
        if agent.impersonates.len() >= IMPERSONATIONS_MAX {
            let why = format!("would be one more than {IMPERSONATIONS_MAX}");
            let hint = "let it act by delegation, which needs no permission of this kind";
            return Err(Refusal::field("subject", why, hint).into());
        }
        let allowed = Impersonation { subject, reason: reason.clone(), allowed_at: cx.now };
        agent.impersonates.push(allowed);
        let said = (EventKind::AgentImpersonationAllowed, subject, &*reason);
        write(cx, (&before, agent), said, None).await
    })
    .await
}

/// Lets an agent act for a subject by delegation alone. Ends its live tokens.
pub async fn end(cx: &Cx, key: &str, asked: &Impersonate) -> Result<Agent, Error> {
    cx.require(AdminPermission::Revoke)?;
    let reason = text("reason", &asked.reason)?;
    decide(|| async {
        let mut agent = alive(cx, key).await?;
        cx.terms.expected.check(agent.version)?;
        let before = agent.clone();
        let subject = subject(cx, &asked.subject).await?;
        agent.impersonates.retain(|held| held.subject != subject);
        if agent.impersonates.len() == before.impersonates.len() {
            return Err(super::already("impersonation", "ended, or never was").into());
        }
        let entry = ending(cx, agent.id.any(), &reason);
        let said = (EventKind::AgentImpersonationEnded, subject, &*reason);
        write(cx, (&before, agent), said, Some(entry)).await
    })
    .await
}

/// Writes an agent whose pairs have changed.
async fn write(
    cx: &Cx,
    (before, mut agent): (&Agent, Agent),
    (kind, subject, reason): (EventKind, AnyId, &str),
    entry: Option<Revocation>,
) -> Result<Agent, DecideError> {
    let body = Body {
        agent: Some(agent.id),
        changes: changes::made_different(before, &agent)?,
        reason: Some(reason.to_owned()),
        root: Some(subject),
        target: Some(agent.id.any()),
        ..Body::default()
    };
    commit(cx, vec![Row::Agent(agent.clone())], entry, cx.event(kind, body)).await?;
    agent.version += 1;
    Ok(rotation_schedule::at(agent, cx.now))
}

/// The person or agent that is named.
async fn subject(cx: &Cx, named: &str) -> Result<AnyId, Error> {
    let is_person = match named.parse::<AnyId>() {
        Ok(id) => id.kind() == Kind::Person,
        Err(_) => named.contains('@'),
    };
    if is_person {
        Ok(find_person(cx, named).await?.id.any())
    } else {
        Ok(find_agent(cx, named).await?.id.any())
    }
}
