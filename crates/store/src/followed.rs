//! Where agents' keys are followed, as rows apart from the agents': how it goes changes often, and
//! is no change of an agent.

use accredit_domain::registry::jwks::Followed;
use accredit_wire::ids::AgentId;
use accredit_wire::time::Time;

use crate::driver::{Conn, DriverError, Row};
use crate::failure::Failure;
use crate::page;

const OPERATION: &str = "write where keys are followed";

fn read(row: &dyn Row) -> Result<Followed, DriverError> {
    Ok(Followed {
        agent: row.parsed(0)?,
        url: row.text(1)?.to_owned(),
        due_at: row.time(2)?,
        fetched_at: row.opt_time(3)?,
        failing_since: row.opt_time(4)?,
        failure: row.opt_string(5)?,
        agent_version: row.int(6)?,
    })
}

/// Where one agent's keys are followed.
pub(crate) fn find(
    conn: &mut dyn Conn,
    org: &str,
    agent: AgentId,
) -> Result<Option<Followed>, DriverError> {
    let agent = agent.to_string();
    conn.first(
        "SELECT f.agent, f.url, f.due_at, f.fetched_at, f.failing_since, f.failure, \
         a.version FROM followed f JOIN agent a ON a.org = f.org AND a.id = f.agent \
         WHERE f.org = $1 AND f.agent = $2",
        &[org.into(), agent.as_str().into()],
        read,
    )
}

/// Sets that are to be fetched, the longest due first.
pub(crate) fn due(
    conn: &mut dyn Conn,
    org: &str,
    now: Time,
    limit: usize,
) -> Result<Vec<Followed>, DriverError> {
    conn.all(
        "SELECT f.agent, f.url, f.due_at, f.fetched_at, f.failing_since, f.failure, \
         a.version FROM followed f JOIN agent a ON a.org = f.org AND a.id = f.agent \
         WHERE f.org = $1 AND f.due_at <= $2 ORDER BY f.due_at LIMIT $3",
        &[org.into(), now.into(), page::rows(limit)],
        read,
    )
}

/// Refuses what came of a fetch where the agent has changed since, or follows another URL or none.
pub(crate) fn still(conn: &mut dyn Conn, org: &str, seen: &Followed) -> Result<(), Failure> {
    let agent = seen.agent.to_string();
    let found = conn
        .all(
            "SELECT f.agent FROM followed f JOIN agent a ON a.org = f.org AND a.id = f.agent \
             WHERE f.org = $1 AND f.agent = $2 AND f.url = $3 AND a.version = $4",
            &[org.into(), agent.as_str().into(), (&seen.url).into(), seen.agent_version.into()],
            |_| Ok(()),
        )
        .map_err(|error| Failure::of(OPERATION, error))?;
    Failure::unless_one(found.len())
}

/// Writes a row, whatever was there.
pub(crate) fn write(conn: &mut dyn Conn, org: &str, row: &Followed) -> Result<(), Failure> {
    let agent = row.agent.to_string();
    conn.execute(
        "INSERT INTO followed (org, agent, url, due_at, fetched_at, failing_since, failure) \
         VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (org, agent) DO UPDATE SET \
         url = excluded.url, due_at = excluded.due_at, fetched_at = excluded.fetched_at, \
         failing_since = excluded.failing_since, failure = excluded.failure",
        &[
            org.into(),
            agent.as_str().into(),
            (&row.url).into(),
            row.due_at.into(),
            row.fetched_at.into(),
            row.failing_since.into(),
            row.failure.as_deref().into(),
        ],
    )
    .map_err(|error| Failure::of(OPERATION, error))?;
    Ok(())
}

/// Notes how it goes, where the URL is still the same.
pub(crate) fn note(conn: &mut dyn Conn, org: &str, row: &Followed) -> Result<(), Failure> {
    let agent = row.agent.to_string();
    conn.execute(
        "UPDATE followed SET due_at = $1, fetched_at = $2, failing_since = $3, failure = $4 \
         WHERE org = $5 AND agent = $6 AND url = $7",
        &[
            row.due_at.into(),
            row.fetched_at.into(),
            row.failing_since.into(),
            row.failure.as_deref().into(),
            org.into(),
            agent.as_str().into(),
            (&row.url).into(),
        ],
    )
    .map_err(|error| Failure::of(OPERATION, error))?;
    Ok(())
}

/// Removes a row.
pub(crate) fn remove(conn: &mut dyn Conn, org: &str, agent: AgentId) -> Result<(), Failure> {
    let agent = agent.to_string();
    conn.execute(
        "DELETE FROM followed WHERE org = $1 AND agent = $2",
        &[org.into(), agent.as_str().into()],
    )
    .map_err(|error| Failure::of(OPERATION, error))?;
    Ok(())
}
