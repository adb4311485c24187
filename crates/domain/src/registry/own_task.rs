//! Tasks that an agent makes itself, by its own credential. It lists and ends those that are its
//! own, whoever made them, and nobody else's.
//!
//! Absent on purpose: tasks made by an instance that works inside one already. It ends with that
//! one, and what it makes would not.

use accredit_wire::oauth::task_request::{TaskEnd, TaskList, TaskRequest};

use super::task::{
    self, TASK_LIFETIME_DEFAULT_SECONDS, TASK_LIFETIME_MAX_SECONDS, Task, TaskState, TaskView,
};
use super::{Listed, PAGE_ROWS_DEFAULT, decide, durable, ends_after, text};
use crate::context::Cx;
use crate::issuance::admission::{AgentFacts, HolderFacts};
use crate::issuance::authenticate::AuthenticatedClient;
use crate::issuance::grants::actor::acting;
use crate::issuance::grants::descent::another_task;
use crate::issuance::grants::token_exchange::instance_of;
use crate::issuance::svid::not_by_own;
use crate::ports::{Page, Room, RoomOf, Row};
use crate::refusal::{Error, Refusal, Rule};

/// Tasks of one agent that are not over, at most, for it to make a further one itself.
pub const TASKS_OF_AGENT_MAX: u64 = 1000;

/// Makes a task of the agent that asks, with what a user grants for it.
pub async fn create(
    cx: &Cx,
    client: &AuthenticatedClient,
    asked: &TaskRequest,
) -> Result<TaskView, Error> {
    not_by_own(client)?;
    let (agent, _) = acting(cx, client).await?;
    if let HolderFacts::Instance { descent: Some(descent), .. } = &client.credential.holder {
        return Err(another_task(descent.task).into());
    }
    let purpose = text("purpose", &asked.purpose)?;
    let deadline = ends_after(
        "expires_in",
        cx.now,
        asked.expires_in.map(u64::from),
        TASK_LIFETIME_DEFAULT_SECONDS,
        TASK_LIFETIME_MAX_SECONDS,
    )?;
    let grant = match &asked.user {
        Some(user) => {
            let by = (&*agent, instance_of(client));
            Some(Box::new(durable::granted(cx, by, user, deadline).await?))
        }
        None => None,
    };
    let room = Room { of: RoomOf::Tasks(agent.id), at: cx.now, max: TASKS_OF_AGENT_MAX };
    decide(|| async {
        if cx.world.store.held_of(cx.tenant.id, room).await? >= room.max {
            return Err(full(&agent).into());
        }
        let task = Task::new(cx, agent.id, (&purpose, deadline), grant.clone());
        task::begin(cx, task, vec![Row::Room(room)]).await
    })
    .await
}

fn full(agent: &AgentFacts) -> Refusal {
    Refusal::new(
        Rule::QuotaReached,
        format!("agent `{}` has {TASKS_OF_AGENT_MAX} tasks that are not over", agent.name),
        "end those that are done",
    )
}

/// A page of the asking agent's tasks that are not over, the oldest first.
pub async fn list(
    cx: &Cx,
    client: &AuthenticatedClient,
    asked: &TaskList,
) -> Result<Listed<TaskView>, Error> {
    let (agent, _) = acting(cx, client).await?;
    let page = Page {
        agent: Some(agent.id),
        cursor: asked.after.map(|task| task.to_string()),
        limit: PAGE_ROWS_DEFAULT,
        state: Some(TaskState::Active.as_str().to_owned()),
        at: cx.now,
        ..Page::default()
    };
    let found = cx.world.store.tasks(cx.tenant.id, page).await?;
    Ok(found.shown(|row| row.view(cx.now)))
}

/// Ends a task of the agent that asks, with every token that was minted for it.
pub async fn end(
    cx: &Cx,
    client: &AuthenticatedClient,
    asked: &TaskEnd,
) -> Result<TaskView, Error> {
    let (agent, _) = acting(cx, client).await?;
    let reason = text("reason", &asked.reason)?;
    task::end_where(cx, &asked.task.to_string(), &reason, |task| {
        // Somebody else's is as unknown as one that never was.
        if task.agent == agent.id { Ok(()) } else { Err(task::unknown(asked.task)) }
    })
    .await
}
