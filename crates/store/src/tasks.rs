//! Tasks with what users granted for them as rows, and as the facts that issuing reads.

use std::sync::Arc;

use accredit_domain::federation::Suspensions;
use accredit_domain::ports::Page;
use accredit_domain::registry::Listed;
use accredit_domain::registry::durable::DurableGrant;
use accredit_domain::registry::task::{Task, TaskFacts, TaskState};
use accredit_wire::ids::{AgentId, Kind, TaskId, TokenId};

use crate::driver::{Conn, DriverError, Row};
use crate::failure::Failure;
use crate::page::{self, Ends, Given, Key};

const OPERATION: &str = "write a task";

macro_rules! select {
    ($rest:expr) => {
        concat!(
            "SELECT t.id, t.agent, t.purpose, t.state, t.created_at, t.expires_at, t.version, \
             g.id, g.person, g.federation, g.issuer, g.subject, g.rules, g.permissions, \
             g.instance, g.person_suspensions, g.federation_suspensions, g.revoked, \
             g.granted_at, g.expires_at \
             FROM task t LEFT JOIN task_grant g ON g.org = t.org AND g.task = t.id ",
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
        grant: read_grant(row)?.map(Box::new),
        version: row.int(6)?,
    })
}

fn read_grant(row: &dyn Row) -> Result<Option<DurableGrant>, DriverError> {
    let Some(id) = row.opt_parsed(7)? else { return Ok(None) };
    let unreadable = |at| move |error: serde_json::Error| DriverError::unreadable(at, error);
    Ok(Some(DurableGrant {
        id,
        person: row.parsed(8)?,
        federation: row.parsed(9)?,
        issuer: row.text(10)?.to_owned(),
        subject: row.text(11)?.to_owned(),
        rules: serde_json::from_str(row.text(12)?).map_err(unreadable(12))?,
        authority: serde_json::from_str(row.text(13)?).map_err(unreadable(13))?,
        instance: row.opt_parsed(14)?,
        suspensions: Suspensions { person: row.small(15)?, federation: row.small(16)? },
        revoked: row.int(17)? != 0,
        granted_at: row.time(18)?,
        expires_at: row.time(19)?,
    }))
}

/// One task.
pub(crate) fn find(
    conn: &mut dyn Conn,
    org: &str,
    id: TaskId,
) -> Result<Option<Task>, DriverError> {
    let id = id.to_string();
    conn.first(select!("WHERE t.org = $1 AND t.id = $2"), &[org.into(), id.as_str().into()], read)
}

/// The task that holds this of a user's.
pub(crate) fn with_grant(
    conn: &mut dyn Conn,
    org: &str,
    grant: TokenId,
) -> Result<Option<Task>, DriverError> {
    let found = conn.first(
        "SELECT task FROM task_grant WHERE org = $1 AND id = $2",
        &[org.into(), grant.to_string().as_str().into()],
        |row| row.parsed(0),
    )?;
    match found {
        Some(task) => find(conn, org, task),
        None => Ok(None),
    }
}

/// One task as issuing sees it.
pub(crate) fn facts(
    conn: &mut dyn Conn,
    org: &str,
    id: TaskId,
) -> Result<Option<Arc<TaskFacts>>, DriverError> {
    let found = find(conn, org, id)?;
    Ok(found.map(|row| {
        let Task { id, agent, state, deadline, grant, .. } = row;
        Arc::new(TaskFacts { id, agent, state, deadline, grant })
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
                select!("WHERE t.org = $1 AND "),
                "FROM task t WHERE t.org = $1 AND ",
                $lead,
                "t.id" $direction,
                ["$3" "$4" "$5"],
                " AND t.expires_at >= $5 AND t.expires_at < $6 AND t.created_at >= $7 \
                 AND t.created_at < $8 AND ($9 = '' OR t.state = $9)",
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
        (led!("t.agent = $2"), agent.as_str(), usize::from(!state.is_empty()))
    } else if !state.is_empty() {
        (led!("t.state = $2"), state, 0)
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
        return match &row.grant {
            Some(grant) => write_grant(conn, org, &id, grant),
            None => Ok(()),
        };
    }
    let changed = conn
        .execute(
            "UPDATE task SET state = $1, version = version + 1 \
             WHERE org = $2 AND id = $3 AND version = $4",
            &[row.state.as_str().into(), org.into(), id.as_str().into(), row.version.into()],
        )
        .map_err(failed)?;
    Failure::unless_one(changed)?;
    if row.grant.as_ref().is_some_and(|grant| grant.revoked) {
        conn.execute(
            "UPDATE task_grant SET revoked = 1 WHERE org = $1 AND task = $2",
            &[org.into(), id.as_str().into()],
        )
        .map_err(failed)?;
    }
    Ok(())
}

/// Writes what a user granted for a new task.
fn write_grant(
    conn: &mut dyn Conn,
    org: &str,
    task: &str,
    row: &DurableGrant,
) -> Result<(), Failure> {
    let failed = |error| Failure::of(OPERATION, error);
    let unwritten = |error: serde_json::Error| failed(DriverError::Failed(error.to_string()));
    let (id, instance) = (row.id.to_string(), row.instance.map(|id| id.to_string()));
    let (person, federation) = (row.person.to_string(), row.federation.to_string());
    let rules = serde_json::to_string(&row.rules).map_err(unwritten)?;
    let permissions = serde_json::to_string(&row.authority).map_err(unwritten)?;
    conn.execute(
        "INSERT INTO task_grant (org, task, id, person, federation, issuer, subject, rules, \
         permissions, instance, person_suspensions, federation_suspensions, revoked, granted_at, \
         expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)",
        &[
            org.into(),
            task.into(),
            id.as_str().into(),
            person.as_str().into(),
            federation.as_str().into(),
            (&row.issuer).into(),
            (&row.subject).into(),
            (&rules).into(),
            (&permissions).into(),
            instance.as_deref().into(),
            i64::from(row.suspensions.person).into(),
            i64::from(row.suspensions.federation).into(),
            i64::from(row.revoked).into(),
            row.granted_at.into(),
            row.expires_at.into(),
        ],
    )
    .map_err(failed)?;
    Ok(())
}
