//! The schedule of rotation: when an agent's credential is due, who is told, and what follows.
//!
//! Due runs from the newest credential of the agent itself for each of its uses, so that an
//! agent is due as soon as one of them is; what its instances hold is as short-lived as they are. It
//! is due after so many days, or at once where what it stands for has
//! changed: the agent's owner, its permissions or its environment. A warning is one event for each
//! due time, written a week before. Where the organization enforces it, a credential that is older
//! than such a change gets no tokens any more a day after it.
//! Absent on purpose: rotating by ourselves, since a new secret has to be carried to its holder.

use std::time::Duration;

use accredit_wire::ids::AgentId;
use accredit_wire::time::Time;
use serde::{Deserialize, Serialize};

use super::agent::{Agent, AgentState};
use super::commit;
use crate::audit::event::{Body, EventKind};
use crate::context::Cx;
use crate::ports::CommitError;
use crate::refusal::{Fault, Refusal};

/// Days after which a credential is due where nobody said.
pub const ROTATION_DAYS_DEFAULT: u32 = 30;
/// The longest time between two rotations, days.
pub const ROTATION_DAYS_MAX: u32 = 366;
/// How long before the due time a warning is written.
pub const WARN_AHEAD: Duration = Duration::from_hours(7 * 24);
/// How long a credential that is older than a change of its agent still gets tokens, where rotation
/// is enforced.
pub const ENFORCED_AFTER: Duration = Duration::from_hours(24);
/// Agents that are read at a time.
pub const AGENTS_AT_A_TIME_MAX: usize = 250;
/// Agents that one turn of the job looks at, in each organization; the next one goes on.
pub const AGENTS_IN_TURN_MAX: usize = 20_000;

fn length(days: u32) -> Duration {
    Duration::from_hours(24 * u64::from(days))
}

/// Checks a number of days.
pub(super) fn days(asked: Option<u32>) -> Result<u32, Refusal> {
    let days = asked.unwrap_or(ROTATION_DAYS_DEFAULT);
    if days == 0 || days > ROTATION_DAYS_MAX {
        return Err(Refusal::field(
            "rotation_days",
            format!("must be from 1 to {ROTATION_DAYS_MAX}"),
            "30 suits most agents",
        ));
    }
    Ok(days)
}

/// What follows where an agent has changed and its credential is not rotated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum RotationPolicy {
    /// It is due, and said so.
    #[default]
    Warn,
    /// A day later it gets no tokens any more.
    Enforce,
}

impl RotationPolicy {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Warn => "warn",
            Self::Enforce => "enforce",
        }
    }

    /// The one that is written so.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Warn, Self::Enforce].into_iter().find(|policy| policy.as_str() == text)
    }
}

/// Changes an agent's schedule.
pub(super) fn set(agent: &mut Agent, asked: u32) -> Result<(), Refusal> {
    agent.rotation_days = days(Some(asked))?;
    Ok(())
}

/// Asks for rotation, because what the credential stands for has changed.
pub(super) fn ask(agent: &mut Agent, now: Time, because: &str) {
    agent.rotation_asked_at = Some(now);
    agent.rotation_asked_because = Some(because.to_owned());
}

/// An agent as it is at `now`: what was asked for is over once its credential for each use is newer.
pub(super) fn at(mut agent: Agent, now: Time) -> Agent {
    let made = agent.credential_made_at;
    if made.is_none() || made > agent.rotation_asked_at {
        agent.rotation_asked_at = None;
        agent.rotation_asked_because = None;
    }
    let by_schedule = made.map(|made| made.plus(length(agent.rotation_days)));
    agent.rotation_due_at = match (by_schedule, agent.rotation_asked_at) {
        (Some(due), Some(asked)) => Some(due.min(asked)),
        (due, _) => due,
    };
    let over = agent.state == AgentState::Decommissioned;
    agent.rotation_due = !over && agent.rotation_due_at.is_some_and(|due| due <= now);
    agent
}

/// That an agent was looked at.
#[derive(Clone, Copy, Debug)]
pub struct Looked {
    /// Which.
    pub agent: AgentId,
    /// Its row's version, as it was seen.
    pub version: i64,
    /// When it was to be looked at, as it was seen.
    pub was_due: Option<Time>,
    /// When it is to be looked at next; nothing until something about it changes.
    pub next: Option<Time>,
}

/// When an agent is to be looked at next. Whatever changes its due time has it looked at anew: a
/// change of the agent, a credential of its own.
fn next_look(agent: &Agent, now: Time) -> Option<Time> {
    let due = agent.rotation_due_at.filter(|_| can_be_due(agent))?;
    if agent.rotation_warned_for == Some(due) {
        return None;
    }
    Some(Time::from_micros(due.micros() - WARN_AHEAD.as_micros() as i64).max(now))
}

const fn can_be_due(agent: &Agent) -> bool {
    matches!(agent.state, AgentState::Active | AgentState::Suspended)
}

/// One turn of the job: looks at the agents whose time it is, until none is left or the turn has
/// had its share, and writes the warnings that are due. Returns how many it wrote.
pub async fn tick(cx: &Cx) -> Result<u64, Fault> {
    let (mut warned, mut seen) = (0, 0);
    while seen < AGENTS_IN_TURN_MAX {
        let due = cx.world.store.agents_due(cx.tenant.id, cx.now, AGENTS_AT_A_TIME_MAX).await?;
        let (count, mut looked) = (due.len(), Vec::with_capacity(due.len()));
        for agent in due.into_iter().map(|agent| at(agent, cx.now)) {
            let is_now = agent.rotation_due_at.is_some_and(|due| due <= cx.now.plus(WARN_AHEAD));
            let is_told = agent.rotation_warned_for == agent.rotation_due_at;
            if can_be_due(&agent) && is_now && !is_told {
                // The change has it looked at once more.
                warned += u64::from(warn(cx, agent).await?);
                continue;
            }
            let (next, was_due) = (next_look(&agent, cx.now), agent.look_at);
            looked.push(Looked { agent: agent.id, version: agent.version, was_due, next });
        }
        if !looked.is_empty() {
            cx.world.store.looked_at(cx.tenant.id, looked).await?;
        }
        seen += count;
        if count == 0 {
            break;
        }
    }
    Ok(warned)
}

/// Writes a warning; false where somebody changes the agent just now, and it is seen as it is then.
async fn warn(cx: &Cx, agent: Agent) -> Result<bool, Fault> {
    let Some(due) = agent.rotation_due_at else { return Ok(false) };
    let body = Body {
        agent: Some(agent.id),
        name: Some(agent.name.clone()),
        owner: agent.owner.map(accredit_wire::ids::PersonId::any),
        changes: [("rotation_due_at".into(), due.to_string())].into(),
        ..Body::default()
    };
    let event = cx.event(EventKind::CredentialRotationDue, body);
    let row = crate::ports::Row::Agent(Agent { rotation_warned_for: Some(due), ..agent });
    match commit(cx, vec![row], None, event).await {
        Ok(_) => Ok(true),
        Err(CommitError::Stale | CommitError::Taken(_) | CommitError::Reached(_)) => Ok(false),
        Err(CommitError::Fault(fault)) => Err(fault),
    }
}
