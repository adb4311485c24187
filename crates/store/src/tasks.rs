//! Tasks as rows, and as the facts that issuing reads.

use std::sync::Arc;

use accredit_domain::ports::Page;
use accredit_domain::registry::Listed;
use accredit_domain::registry::task::{Task, TaskFacts, TaskState};
use accredit_wire::ids::{AgentId, Kind, TaskId};

use crate::driver::{Conn, DriverError, Row};
use crate::failure::Failure;
use crate::page::{self, Ends, Given, Key};

const OPERATION: &str = "write a task";

macro_rules! select {
    ($rest:expr) => {
        concat!(
            "SELECT id, agent, purpose, state, created_at, expires_at, version FROM task ",
            $rest
        )
    };
}

fn read(row: &dyn Row) -> Result<Task, DriverError> {
    Ok(Task {
        id: row.parsed(0)?,
        agent: row.parsed(1)?,
        purpose: row.text(2)?.to_owned(),
        state: row.word(3, TaskState::parse)?,
        created_at: row.time(4)?,
        deadline: row.time(5)?,
        version: row.int(6)?,
    })
}

/// One task.
pub(crate) fn find(
    conn: &mut dyn Conn,
    org: &str,
    id: TaskId,
) -> Result<Option<Task>, DriverError> {
    let id = id.to_string();
    conn.first(select!("WHERE org = $1 AND id = $2"), &[org.into(), id.as_str().into()], read)
}

/// One task as issuing sees it.
pub(crate) fn facts(
    conn: &mut dyn Conn,
    org: &str,
    id: TaskId,
) -> Result<Option<Arc<TaskFacts>>, DriverError> {
    let found = find(conn, org, id)?;
    Ok(found.map(|row| {
        let Task { id, agent, state, deadline, .. } = row;
        Arc::new(TaskFacts { id, agent, state, deadline })
    }))
}

/// A page of tasks. One filter leads, so that an index answers it in the order of the page: the
/// agent, or the state.
pub(crate) fn list(
    conn: &mut dyn Conn,
    org: &str,
    page: &Page,
) -> Result<Listed<Task>, DriverError> {
    macro_rules! by {
        ($lead:literal, $direction:literal) => {
            page::by_text!(
                select!("WHERE org = $1 AND "),
                "FROM task WHERE org = $1 AND ",
                $lead,
                "id" $direction,
                ["$3" "$4" "$5"],
                " AND expires_at >= $5 AND expires_at < $6 AND created_at >= $7 \
                 AND created_at < $8 AND ($9 = '' OR state = $9)",
                "$10"
            )
        };
    }
    let order = page.order.without_name().without_due();
    macro_rules! led {
        ($lead:literal) => {
            if order.is_backwards() { by!($lead, " DESC") } else { by!($lead, "") }
        };
    }
    let agent = page.agent.map_or_else(String::new, |agent| agent.to_string());
    let (state, due) = page::expiring(page);
    let (statements, lead, filters) = if !agent.is_empty() {
        (led!("agent = $2"), agent.as_str(), usize::from(!state.is_empty()))
    } else if !state.is_empty() {
        (led!("state = $2"), state, 0)
    } else {
        (led!("$2 = ''"), "", 0)
    };
    let times = page::created(page);
    let tail = [times.as_slice(), &[state.into()]].concat();
    let given = Given {
        page,
        ends: Ends::of(page, order, Kind::Task, due),
        head: &[org.into(), lead.into()],
        tail: &tail,
        filters,
    };
    page::read(conn, given, &statements, read, |row| Key::at(order, row.id.to_string(), "", 0))
}

/// Ends all tasks of an agent that are not over.
pub(crate) fn end_of_agent(conn: &mut dyn Conn, org: &str, agent: AgentId) -> Result<u64, Failure> {
    let agent = agent.to_string();
    let ended = conn
        .execute(
            "UPDATE task SET state = 'ended', version = version + 1 \
             WHERE org = $1 AND agent = $2 AND state = 'active'",
            &[org.into(), agent.as_str().into()],
        )
        .map_err(|error| Failure::of(OPERATION, error))?;
    Ok(ended as u64)
}

/// Writes one row.
pub(crate) fn write(conn: &mut dyn Conn, org: &str, row: &Task) -> Result<(), Failure> {
    let failed = |error| Failure::of(OPERATION, error);
    let id = row.id.to_string();
    if row.version == 0 {
        let agent = row.agent.to_string();
        conn.execute(
            "INSERT INTO task (org, id, agent, purpose, state, created_at, expires_at, version) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, 1)",
            &[
                org.into(),
                id.as_str().into(),
                agent.as_str().into(),
                (&row.purpose).into(),
                row.state.as_str().into(),
                row.created_at.into(),
                row.deadline.into(),
            ],
        )
        .map_err(failed)?;
        return Ok(());
    }
    let changed = conn
        .execute(
            "UPDATE task SET state = $1, version = version + 1 \
             WHERE org = $2 AND id = $3 AND version = $4",
            &[row.state.as_str().into(), org.into(), id.as_str().into(), row.version.into()],
        )
        .map_err(failed)?;
    Failure::unless_one(changed)
}
