//! The schedule of rotation: after how many days an agent's credential is due, and who is told.
//!
//! Due runs from the newest live credential of the agent itself; what its instances hold is as
//! short-lived as they are. A warning is one event for each due time, written a week before.
//! Absent on purpose: rotating by ourselves, since a new secret has to be carried to its holder.

use std::time::Duration;

use accredit_wire::time::Time;

use super::agent::{Agent, AgentState};
use super::commit;
use crate::audit::event::{Body, EventKind};
use crate::context::Cx;
use crate::ports::{CommitError, Page};
use crate::refusal::{Fault, Refusal};

/// Days after which a credential is due where nobody said.
pub const ROTATION_DAYS_DEFAULT: u32 = 30;
/// The longest time between two rotations, days.
pub const ROTATION_DAYS_MAX: u32 = 366;
/// How long before the due time a warning is written.
pub const WARN_AHEAD: Duration = Duration::from_hours(7 * 24);
/// Agents that one turn of the job looks at, in each organization.
pub const AGENTS_LOOKED_AT_MAX: usize = 500;

/// When a credential made at `made` is to be rotated.
pub fn due_at(made: Time, days: u32) -> Time {
    made.plus(length(days))
}

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

/// Changes an agent's schedule, and with it the due time that runs.
pub(super) fn set(agent: &mut Agent, asked: u32, now: Time) -> Result<(), Refusal> {
    let days = days(Some(asked))?;
    let made = agent.rotation_due_at.map(|due| due.minus(length(agent.rotation_days)));
    agent.rotation_days = days;
    agent.rotation_due_at = made.map(|made| due_at(made, days));
    agent.rotation_due = is_due(agent, now);
    Ok(())
}

fn is_due(agent: &Agent, now: Time) -> bool {
    agent.state != AgentState::Decommissioned && agent.rotation_due_at.is_some_and(|due| due <= now)
}

/// An agent as it is at `now`.
pub(super) fn at(mut agent: Agent, now: Time) -> Agent {
    agent.rotation_due = is_due(&agent, now);
    agent
}

/// Where one organization's turns go on.
#[derive(Clone, Debug, Default)]
pub struct Progress(Option<String>);

/// One turn of the job: looks at the next agents and writes the warnings that are due. Returns how
/// many it wrote.
pub async fn tick(cx: &Cx, progress: &mut Progress) -> Result<u64, Fault> {
    let page = Page { cursor: progress.0.take(), limit: AGENTS_LOOKED_AT_MAX, ..Page::default() };
    let agents = cx.world.store.agents(cx.tenant.id, page).await?;
    if agents.len() == AGENTS_LOOKED_AT_MAX {
        progress.0 = agents.last().map(|agent| agent.id.to_string());
    }
    let mut warned = 0;
    for agent in agents {
        let Some(due) = agent.rotation_due_at else { continue };
        let is_live = matches!(agent.state, AgentState::Active | AgentState::Suspended);
        if !is_live || agent.rotation_warned_for == Some(due) || due > cx.now.plus(WARN_AHEAD) {
            continue;
        }
        let body = Body {
            agent: Some(agent.id),
            name: Some(agent.name.clone()),
            owner: agent.owner.map(accredit_wire::ids::PersonId::any),
            changes: [("rotation_due_at", due.to_string())].into(),
            ..Body::default()
        };
        let event = cx.event(EventKind::CredentialRotationDue, body);
        let row = crate::ports::Row::Agent(Agent { rotation_warned_for: Some(due), ..agent });
        match commit(cx, vec![row], None, event).await {
            Ok(_) => warned += 1,
            // Somebody changes the agent just now: the next turn sees it as it is then.
            Err(CommitError::Stale | CommitError::Taken(_)) => {}
            Err(CommitError::Fault(fault)) => return Err(fault),
        }
    }
    Ok(warned)
}
