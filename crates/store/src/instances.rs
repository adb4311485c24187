//! Instances as rows.

use accredit_domain::ports::Page;
use accredit_domain::registry::{Instance, instance::InstanceState};
use accredit_wire::ids::{AgentId, InstanceId};

use crate::driver::{Conn, DriverError, Row};
use crate::failure::Failure;
use crate::page;

const OPERATION: &str = "write an instance";

macro_rules! select {
    ($rest:expr) => {
        concat!(
            "SELECT i.id, i.agent, i.name, i.state, i.credential, i.created_at, i.expires_at, \
             u.at, i.version \
             FROM instance i LEFT JOIN use_time u ON u.org = i.org AND u.id = i.id ",
            $rest
        )
    };
}

fn read(row: &dyn Row) -> Result<Instance, DriverError> {
    Ok(Instance {
        id: row.parsed(0)?,
        agent: row.parsed(1)?,
        name: row.opt_string(2)?,
        state: row.word(3, InstanceState::parse)?,
        credential: row.parsed(4)?,
        created_at: row.time(5)?,
        expires_at: row.opt_time(6)?,
        last_seen_at: row.opt_time(7)?,
        version: row.int(8)?,
    })
}

/// One instance.
pub(crate) fn find(
    conn: &mut dyn Conn,
    org: &str,
    id: InstanceId,
) -> Result<Option<Instance>, DriverError> {
    let id = id.to_string();
    conn.first(select!("WHERE i.org = $1 AND i.id = $2"), &[org.into(), id.as_str().into()], read)
}

/// A page of instances, of one agent where the page says so.
pub(crate) fn list(
    conn: &mut dyn Conn,
    org: &str,
    page: &Page,
) -> Result<Vec<Instance>, DriverError> {
    macro_rules! of {
        ($agent:literal) => {
            match page.state.as_deref() {
                Some("active") => in_state!(
                    $agent,
                    "i.state = 'active' AND (i.expires_at IS NULL OR i.expires_at > $4)"
                ),
                Some("expired") => in_state!($agent, "i.state = 'active' AND i.expires_at <= $4"),
                Some("revoked") => {
                    in_state!($agent, "i.state = 'revoked' AND CAST($4 AS BIGINT) IS NOT NULL")
                }
                _ => in_state!($agent, "CAST($4 AS BIGINT) IS NOT NULL"),
            }
        };
    }
    macro_rules! in_state {
        ($agent:literal, $state:literal) => {
            select!(concat!(
                "WHERE i.org = $1 AND ",
                $agent,
                " AND i.id > $3 AND ",
                $state,
                " ORDER BY i.id LIMIT $5"
            ))
        };
    }
    let agent = page.agent.map_or_else(String::new, |agent| agent.to_string());
    let sql = if agent.is_empty() { of!("$2 = ''") } else { of!("i.agent = $2") };
    let (cursor, limit) = (page::cursor(page), page::limit(page));
    conn.all(sql, &[org.into(), agent.as_str().into(), cursor, page.at.into(), limit], read)
}

/// Ends all live instances of an agent, and says how many there were.
pub(crate) fn end_of_agent(conn: &mut dyn Conn, org: &str, agent: AgentId) -> Result<u64, Failure> {
    let agent = agent.to_string();
    let ended = conn
        .execute(
            "UPDATE instance SET state = 'revoked', version = version + 1 \
             WHERE org = $1 AND agent = $2 AND state = 'active'",
            &[org.into(), agent.as_str().into()],
        )
        .map_err(|error| Failure::of(OPERATION, error))?;
    Ok(ended as u64)
}

/// Writes one row.
pub(crate) fn write(conn: &mut dyn Conn, org: &str, row: &Instance) -> Result<(), Failure> {
    let failed = |error| Failure::of(OPERATION, error);
    let id = row.id.to_string();
    if row.version == 0 {
        let agent = row.agent.to_string();
        let credential = row.credential.to_string();
        conn.execute(
            "INSERT INTO instance (org, id, agent, name, state, credential, created_at, \
             expires_at, version) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 1)",
            &[
                org.into(),
                id.as_str().into(),
                agent.as_str().into(),
                row.name.as_deref().into(),
                row.state.as_str().into(),
                credential.as_str().into(),
                row.created_at.into(),
                row.expires_at.into(),
            ],
        )
        .map_err(failed)?;
        return Ok(());
    }
    let changed = conn
        .execute(
            "UPDATE instance SET name = $1, state = $2, expires_at = $3, version = version + 1 \
             WHERE org = $4 AND id = $5 AND version = $6",
            &[
                row.name.as_deref().into(),
                row.state.as_str().into(),
                row.expires_at.into(),
                org.into(),
                id.as_str().into(),
                row.version.into(),
            ],
        )
        .map_err(failed)?;
    Failure::unless_one(changed)
}
