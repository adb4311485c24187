//! Task: one unit of work with a deadline. Tokens that are minted for it say so, are of no use in
//! another, and end with it.
//!
//! A task belongs to the agent that begins it; others come in by exchange, and stay in it. Its row
//! is asked when a token is minted in an agent's own name; what was derived from that carries the
//! task in its lineage, so that ending it is one entry of the revocation graph.

use accredit_wire::ids::{AgentId, Kind, TaskId};
use accredit_wire::time::Time;
use serde::{Deserialize, Serialize};

use super::agent::alive;
use super::credential::AdminPermission;
use super::{
    Listed, commit, commit_created, decide, ending, ends_after, find_agent, id, known_state, text,
};
use crate::audit::changes;
use crate::audit::event::{Body, EventKind};
use crate::context::Cx;
use crate::ports::{Page, Row};
use crate::refusal::{Error, Refusal, Rule};

/// The life of a task where nobody says, seconds: a day.
pub const TASK_LIFETIME_DEFAULT_SECONDS: u64 = 24 * 3600;
/// The longest life of a task, seconds: 90 days.
pub const TASK_LIFETIME_MAX_SECONDS: u64 = 90 * 24 * 3600;

/// The states by which tasks are listed.
const TASK_STATES: [&str; 3] = ["active", "expired", "ended"];

/// Whether it goes on. That its deadline has come is a matter of the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskState {
    /// Until its deadline.
    Active,
    /// Somebody ended it.
    Ended,
}

impl TaskState {
    /// As stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Ended => "ended",
        }
    }

    /// From how it is stored.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Active, Self::Ended].into_iter().find(|state| state.as_str() == text)
    }
}

/// One unit of work.
#[derive(Clone, Debug)]
pub struct Task {
    /// Its id, `tsk_`.
    pub id: TaskId,
    /// The agent that begins it.
    pub agent: AgentId,
    /// What it is for.
    pub purpose: String,
    /// Whether it goes on.
    pub state: TaskState,
    /// When it was made.
    pub created_at: Time,
    /// When it ends by itself.
    pub deadline: Time,
    /// The row's version.
    pub version: i64,
}

/// A task as issuing sees it.
#[derive(Debug)]
pub struct TaskFacts {
    /// Its id.
    pub id: TaskId,
    /// The agent that begins it.
    pub agent: AgentId,
    /// Whether it goes on.
    pub state: TaskState,
    /// When it ends by itself.
    pub deadline: Time,
}

/// A task as it is shown.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct TaskView {
    /// Its id, `tsk_`.
    #[schema(value_type = String)]
    pub id: TaskId,
    /// The agent that begins it.
    #[schema(value_type = String)]
    pub agent: AgentId,
    /// What it is for.
    pub purpose: String,
    /// `active`, `expired` or `ended`.
    pub state: &'static str,
    /// When it was made.
    #[schema(value_type = String)]
    pub created_at: Time,
    /// Its deadline: when it ends by itself.
    #[schema(value_type = String)]
    pub expires_at: Time,
    /// The row's version.
    #[serde(skip)]
    pub version: i64,
}

impl Task {
    /// As it is shown at `now`.
    pub fn view(&self, now: Time) -> TaskView {
        TaskView {
            id: self.id,
            agent: self.agent,
            purpose: self.purpose.clone(),
            state: match self.state {
                TaskState::Ended => "ended",
                TaskState::Active if self.deadline <= now => "expired",
                TaskState::Active => "active",
            },
            created_at: self.created_at,
            expires_at: self.deadline,
            version: self.version,
        }
    }
}

/// A new task.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateTask {
    /// The agent that begins it, by id or name.
    pub agent: String,
    /// What it is for.
    pub purpose: String,
    /// When it ends by itself, seconds from now; a day where not said, 90 days at most.
    pub expires_in: Option<u64>,
}

/// Makes a task.
pub async fn create(cx: &Cx, asked: &CreateTask) -> Result<TaskView, Error> {
    cx.require(AdminPermission::Registry)?;
    let purpose = text("purpose", &asked.purpose)?;
    let deadline = ends_after(
        "expires_in",
        cx.now,
        asked.expires_in,
        TASK_LIFETIME_DEFAULT_SECONDS,
        TASK_LIFETIME_MAX_SECONDS,
    )?;
    decide(|| async {
        let agent = alive(cx, &asked.agent).await?;
        let (millis, random) = cx.seed();
        let task = Task {
            id: TaskId::new(millis, random),
            agent: agent.id,
            purpose: purpose.clone(),
            state: TaskState::Active,
            created_at: cx.now,
            deadline,
            version: 0,
        };
        let mut view = task.view(cx.now);
        let mut body = Body {
            agent: Some(agent.id),
            expires_at: Some(deadline.micros()),
            target: Some(task.id.any()),
            task: Some(task.id),
            ..Body::default()
        };
        body.changes = changes::made(&view, &body)?;
        let event = cx.event(EventKind::TaskCreated, body);
        commit_created(cx, vec![Row::Task(task)], event, &view).await?;
        view.version = 1;
        Ok(view)
    })
    .await
}

/// Tasks of the organization or of one agent.
pub async fn list(cx: &Cx, mut page: Page, agent: Option<&str>) -> Result<Listed<TaskView>, Error> {
    cx.require(AdminPermission::Read)?;
    if let Some(agent) = agent {
        page.agent = Some(find_agent(cx, agent).await?.id);
    }
    known_state(&page, &TASK_STATES)?;
    page.at = cx.now;
    let found = cx.world.store.tasks(cx.tenant.id, page).await?;
    Ok(found.shown(|row| row.view(cx.now)))
}

/// One task.
pub async fn find(cx: &Cx, key: &str) -> Result<TaskView, Error> {
    cx.require(AdminPermission::Read)?;
    Ok(by_id(cx, key).await?.view(cx.now))
}

async fn by_id(cx: &Cx, key: &str) -> Result<Task, Error> {
    let task = id::<TaskId>(Kind::Task, "task", key)?;
    let found = cx.world.store.task(cx.tenant.id, task).await?;
    Ok(found.ok_or_else(|| Refusal::not_found("task", key))?)
}

/// Ends a task for ever, with every token that was minted for it or derived from one.
pub async fn end(cx: &Cx, key: &str, reason: &str) -> Result<TaskView, Error> {
    cx.require(AdminPermission::Revoke)?;
    let reason = text("reason", reason)?;
    decide(|| async {
        let mut task = by_id(cx, key).await?;
        cx.terms.expected.check(task.version)?;
        if task.state == TaskState::Ended {
            return Err(super::already("task", "ended").into());
        }
        task.state = TaskState::Ended;
        let body = Body {
            agent: Some(task.agent),
            reason: Some(reason.clone()),
            target: Some(task.id.any()),
            task: Some(task.id),
            ..Body::default()
        };
        let event = cx.event(EventKind::TaskEnded, body);
        let entry = Some(ending(cx, task.id.any(), &reason));
        commit(cx, vec![Row::Task(task.clone())], entry, event).await?;
        task.version += 1;
        Ok(task.view(cx.now))
    })
    .await
}

/// The task that an agent asks for a token for: its own, and not over.
pub(crate) async fn for_token(
    cx: &Cx,
    task: TaskId,
    agent: AgentId,
) -> Result<std::sync::Arc<TaskFacts>, Error> {
    let found = cx.world.store.task_facts(cx.tenant.id, task).await?;
    // Somebody else's task is as unknown as one that never was.
    let own = found.filter(|task| task.agent == agent).ok_or_else(|| {
        Refusal::new(
            Rule::TaskUnknown,
            format!("the client has no task `{task}`"),
            "ask for tokens of a task that was made for this agent: `accredit task create`",
        )
    })?;
    if own.state == TaskState::Ended || own.deadline <= cx.now {
        return Err(Refusal::new(
            Rule::TaskOver,
            format!("task `{task}` was ended, or its deadline has come"),
            "make another one: `accredit task create`",
        )
        .into());
    }
    Ok(own)
}
