//! Task: one unit of work with a deadline. Tokens that are minted for it say so, are of no use in
//! another, and end with it.
//!
//! A task belongs to the agent that begins it; others come in by exchange, and stay in it. Its row
//! is asked when a token is minted in an agent's own name; what was derived from that carries the
//! task in its lineage, so that ending it is one entry of the revocation graph. It may hold what a
//! user granted ([`super::durable`]).

use accredit_wire::ids::{AgentId, Kind, TaskId, TokenId};
use accredit_wire::time::Time;
use serde::{Deserialize, Serialize};

use super::agent::alive;
use super::credential::AdminPermission;
use super::durable::{DurableGrant, GrantView};
use super::{
    DecideError, Listed, commit, commit_created, decide, ending, ends_after, find_agent, id,
    known_state, text,
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
    /// What a user granted for it.
    pub grant: Option<Box<DurableGrant>>,
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
    /// What a user granted for it.
    pub grant: Option<Box<DurableGrant>>,
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
    /// What a user granted for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grant: Option<GrantView>,
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
            grant: self.grant.as_ref().map(|grant| grant.view(now)),
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
        let task = Task::new(cx, agent.id, (&purpose, deadline), None);
        begin(cx, task, Vec::new()).await
    })
    .await
}

impl Task {
    /// A new one of an agent.
    pub(super) fn new(
        cx: &Cx,
        agent: AgentId,
        (purpose, deadline): (&str, Time),
        grant: Option<Box<DurableGrant>>,
    ) -> Self {
        let (millis, random) = cx.seed();
        Self {
            id: TaskId::new(millis, random),
            agent,
            purpose: purpose.to_owned(),
            state: TaskState::Active,
            created_at: cx.now,
            deadline,
            grant,
            version: 0,
        }
    }
}

/// Commits a new task, behind rows that it depends on.
pub(super) async fn begin(
    cx: &Cx,
    task: Task,
    mut rows: Vec<Row>,
) -> Result<TaskView, DecideError> {
    let mut view = task.view(cx.now);
    let grant = task.grant.as_deref();
    let mut body = Body {
        agent: Some(task.agent),
        expires_at: Some(task.deadline.micros()),
        federation: grant.map(|grant| grant.federation.any()),
        instance: grant.and_then(|grant| grant.instance),
        issuer: grant.map(|grant| grant.issuer.clone()),
        permissions: grant.map(|grant| grant.authority.texts().collect()),
        root: grant.map(|grant| grant.person.any()),
        subject: grant.map(|grant| grant.subject.clone()),
        target: Some(task.id.any()),
        task: Some(task.id),
        token: grant.map(|grant| grant.id),
        ..Body::default()
    };
    body.changes = changes::made(&view, &body)?;
    let event = cx.event(EventKind::TaskCreated, body);
    rows.push(Row::Task(task));
    commit_created(cx, rows, event, &view).await?;
    view.version = 1;
    Ok(view)
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
    end_where(cx, key, &text("reason", reason)?, |_| Ok(())).await
}

/// Ends a task, where whoever asks may end that one.
pub(super) async fn end_where(
    cx: &Cx,
    key: &str,
    reason: &str,
    may: impl Fn(&Task) -> Result<(), Refusal>,
) -> Result<TaskView, Error> {
    decide(|| async {
        let mut task = by_id(cx, key).await?;
        may(&task)?;
        cx.terms.expected.check(task.version)?;
        if task.state == TaskState::Ended {
            return Err(super::already("task", "ended").into());
        }
        task.state = TaskState::Ended;
        let body = Body {
            agent: Some(task.agent),
            reason: Some(reason.to_owned()),
            target: Some(task.id.any()),
            task: Some(task.id),
            ..Body::default()
        };
        let event = cx.event(EventKind::TaskEnded, body);
        let entry = Some(ending(cx, task.id.any(), reason));
        commit(cx, vec![Row::Task(task.clone())], entry, event).await?;
        task.version += 1;
        Ok(task.view(cx.now))
    })
    .await
}

/// Whoever asks has no such task.
pub(super) fn unknown(task: TaskId) -> Refusal {
    Refusal::new(
        Rule::TaskUnknown,
        format!("the client has no task `{task}`"),
        "use a task that was made for this agent, or by it: `accredit task create`",
    )
}

/// The row with which the revocation of an id ends the grant of a task, where it is that of one.
pub(crate) async fn without_grant(cx: &Cx, id: TokenId) -> Result<Option<Row>, Error> {
    let Some(mut task) = cx.world.store.task_with_grant(cx.tenant.id, id).await? else {
        return Ok(None);
    };
    let grant = task.grant.as_deref_mut().filter(|grant| !grant.revoked);
    Ok(grant.map(|grant| grant.revoked = true).map(|()| Row::Task(task)))
}

/// The task that an agent asks for a token for: its own, and not over.
pub(crate) async fn for_token(
    cx: &Cx,
    task: TaskId,
    agent: AgentId,
) -> Result<std::sync::Arc<TaskFacts>, Error> {
    let found = cx.world.store.task_facts(cx.tenant.id, task).await?;
    // Somebody else's task is as unknown as one that never was.
    let own = found.filter(|task| task.agent == agent).ok_or_else(|| unknown(task))?;
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
