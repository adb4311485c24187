//! Instances as rows.

use accredit_domain::ports::Page;
use accredit_domain::registry::born::Born;
use accredit_domain::registry::{Instance, Listed, instance::InstanceState};
use accredit_wire::ids::{AgentId, InstanceId, Kind};

use crate::driver::{Conn, DriverError, Row};
use crate::failure::Failure;
use crate::page::{self, Ends, Given, Key};

const OPERATION: &str = "write an instance";

macro_rules! select {
    ($rest:expr) => {
        concat!(
            "SELECT i.id, i.agent, i.name, i.state, i.credential, i.created_at, i.expires_at, \
             u.at, i.version, i.parent, i.task, i.born_by, i.permissions, i.vouched_by \
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
        born: read_born(row)?.map(Box::new),
        vouched_by: row.opt_parsed(13)?,
    })
}

fn read_born(row: &dyn Row) -> Result<Option<Born>, DriverError> {
    let Some(parent) = row.opt_parsed(9)? else { return Ok(None) };
    Ok(Some(Born {
        parent,
        task: row.parsed(10)?,
        credential: row.opt_parsed(11)?,
        authority: serde_json::from_str(row.text(12)?)
            .map_err(|error| DriverError::unreadable(12, error))?,
    }))
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

/// A page of instances. One filter leads, so that an index answers it in the order of the page: the
/// agent, or the state.
pub(crate) fn list(
    conn: &mut dyn Conn,
    org: &str,
    page: &Page,
) -> Result<Listed<Instance>, DriverError> {
    macro_rules! by {
        ($lead:literal, $direction:literal) => {
            page::by_text!(
                select!("WHERE i.org = $1 AND "),
                "FROM instance i WHERE i.org = $1 AND ",
                $lead,
                "i.id" $direction,
                ["$3" "$4" "$5"],
                " AND coalesce(i.expires_at, 9223372036854775806) >= $5 \
                 AND coalesce(i.expires_at, 9223372036854775806) < $6 \
                 AND i.created_at >= $7 AND i.created_at < $8 \
                 AND coalesce(u.at, -1) >= $9 AND coalesce(u.at, -1) < $10 \
                 AND ($11 = '' OR i.state = $11)",
                "$12"
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
        (led!("i.agent = $2"), agent.as_str(), usize::from(!state.is_empty()))
    } else if !state.is_empty() {
        (led!("i.state = $2"), state, 0)
    } else {
        (led!("$2 = ''"), "", 0)
    };
    let times = [page::created(page), page::used(page)].concat();
    let tail = [times.as_slice(), &[state.into()]].concat();
    let given = Given {
        page,
        ends: Ends::of(page, order, Kind::Instance, due),
        head: &[org.into(), lead.into()],
        tail: &tail,
        filters,
    };
    page::read(conn, given, &statements, read, |row| Key::at(order, row.id.to_string(), "", 0))
}

/// Ends one instance.
pub(crate) fn end(conn: &mut dyn Conn, org: &str, instance: InstanceId) -> Result<(), Failure> {
    let instance = instance.to_string();
    conn.execute(
        "UPDATE instance SET state = 'revoked', version = version + 1 \
         WHERE org = $1 AND id = $2 AND state = 'active'",
        &[org.into(), instance.as_str().into()],
    )
    .map_err(|error| Failure::of(OPERATION, error))?;
    Ok(())
}

/// Ends all live instances of an agent, and says how many there were.
pub(crate) fn end_of_agent(conn: &mut dyn Conn, org: &str, agent: AgentId) -> Result<u64, Failure> {
    let agent = agent.to_string();
    let ended = conn
        .execute(
            "UPDATE instance SET state = 'revoked', version = version + 1 \
             WHERE org = $1 AND agent = $2 AND agent > '' AND state = 'active'",
            &[org.into(), agent.as_str().into()],
        )
        .map_err(|error| Failure::of(OPERATION, error))?;
    Ok(ended as u64)
}

/// Writes one row.
pub(crate) fn write(conn: &mut dyn Conn, org: &str, row: &Instance) -> Result<(), Failure> {
    let failed = |error| Failure::of(OPERATION, error);
    let id = row.id.to_string();
    let vouched_by = row.vouched_by.map(|id| id.to_string());
    if row.version == 0 {
        let agent = row.agent.to_string();
        let credential = row.credential.to_string();
        let born = row.born.as_deref();
        let [parent, task, by] = [
            born.map(|born| born.parent.to_string()),
            born.map(|born| born.task.to_string()),
            born.and_then(|born| born.credential).map(|id| id.to_string()),
        ];
        let permissions = born.map(|born| serde_json::to_string(&born.authority)).transpose();
        let permissions =
            permissions.map_err(|error| failed(DriverError::Failed(error.to_string())))?;
        conn.execute(
            "INSERT INTO instance (org, id, agent, name, state, credential, created_at, \
             expires_at, parent, task, born_by, permissions, vouched_by, version) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, 1)",
            &[
                org.into(),
                id.as_str().into(),
                agent.as_str().into(),
                row.name.as_deref().into(),
                row.state.as_str().into(),
                credential.as_str().into(),
                row.created_at.into(),
                row.expires_at.into(),
                parent.as_deref().into(),
                task.as_deref().into(),
                by.as_deref().into(),
                permissions.as_deref().into(),
                vouched_by.as_deref().into(),
            ],
        )
        .map_err(failed)?;
        return Ok(());
    }
    let changed = conn
        .execute(
            "UPDATE instance SET name = $1, state = $2, expires_at = $3, vouched_by = $4, \
             version = version + 1 WHERE org = $5 AND id = $6 AND version = $7",
            &[
                row.name.as_deref().into(),
                row.state.as_str().into(),
                row.expires_at.into(),
                vouched_by.as_deref().into(),
                org.into(),
                id.as_str().into(),
                row.version.into(),
            ],
        )
        .map_err(failed)?;
    Failure::unless_one(changed)
}
