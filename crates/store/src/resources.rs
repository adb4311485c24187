//! Resources as rows, and as the facts that issuing reads.

use std::sync::Arc;

use accredit_domain::issuance::admission::ResourceFacts;
use accredit_domain::ports::{Lookup, Order, Page, Span};
use accredit_domain::registry::environment::Environment;
use accredit_domain::registry::{Listed, Resource, State};
use accredit_wire::ids::{Kind, ResourceId};

use crate::driver::{Conn, DriverError, Row};
use crate::failure::Failure;
use crate::page::{self, Ends, Given, Key};

const OPERATION: &str = "write a resource";

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, name, audience, actions, state, revocations_age_max, created_at, version, \
             environment, agent, bound_only, status_list FROM resource ",
            $rest
        )
    };
}

fn read(row: &dyn Row) -> Result<Resource, DriverError> {
    Ok(Resource {
        id: row.parsed(0)?,
        name: row.parsed(1)?,
        audience: row.text(2)?.to_owned(),
        actions: serde_json::from_str(row.text(3)?)
            .map_err(|error| DriverError::unreadable(3, error))?,
        state: row.word(4, State::parse)?,
        revocations_age_max: row.small(5)?,
        created_at: row.time(6)?,
        version: row.int(7)?,
        environment: row.word(8, Environment::parse)?,
        agent: row.opt_parsed(9)?,
        bound_only: row.int(10)? != 0,
        status_list: row.int(11)? != 0,
    })
}

/// One resource.
pub(crate) fn find(
    conn: &mut dyn Conn,
    org: &str,
    key: &Lookup<ResourceId>,
) -> Result<Option<Resource>, DriverError> {
    match key {
        Lookup::Id(id) => {
            let id = id.to_string();
            conn.first(
                select!("WHERE org = $1 AND id = $2"),
                &[org.into(), id.as_str().into()],
                read,
            )
        }
        Lookup::Name(name) => {
            conn.first(select!("WHERE org = $1 AND name = $2"), &[org.into(), name.into()], read)
        }
    }
}

/// One resource as issuing sees it.
pub(crate) fn facts(
    conn: &mut dyn Conn,
    org: &str,
    key: &Lookup<ResourceId>,
) -> Result<Option<Arc<ResourceFacts>>, DriverError> {
    let found = find(conn, org, key)?;
    Ok(found.map(|row| {
        Arc::new(ResourceFacts {
            id: row.id,
            name: row.name,
            audience: row.audience,
            actions: row.actions,
            state: row.state,
            bound_only: row.bound_only,
            status_list: row.status_list,
            environment: row.environment,
            agent: row.agent,
        })
    }))
}

/// A page of resources.
pub(crate) fn list(
    conn: &mut dyn Conn,
    org: &str,
    page: &Page,
) -> Result<Listed<Resource>, DriverError> {
    let order = page.order.without_due();
    let statements = page::by_id_or_name!(page, order, select, "resource", "name");
    let given = Given {
        page,
        ends: Ends::of(page, order, Kind::Resource, Span::default()),
        head: &[org.into(), page.state.as_deref().unwrap_or("").into()],
        tail: &page::created(page),
        filters: 0,
    };
    page::read(conn, given, &statements, read, |row| {
        Key::at(order, row.id.to_string(), row.name.as_str(), 0)
    })
}

/// The smallest age bound of the active resources, seconds.
pub(crate) fn revocations_age_min(
    conn: &mut dyn Conn,
    org: &str,
) -> Result<Option<u32>, DriverError> {
    let found = conn.first(
        "SELECT min(revocations_age_max) FROM resource WHERE org = $1 AND state = 'active'",
        &[org.into()],
        |row| row.opt_int(0),
    )?;
    Ok(found.flatten().and_then(|seconds| u32::try_from(seconds).ok()))
}

/// Writes one row.
pub(crate) fn write(conn: &mut dyn Conn, org: &str, row: &Resource) -> Result<(), Failure> {
    let id = row.id.to_string();
    let failed = |error| Failure::of(OPERATION, error);
    let agent = row.agent.map(|agent| agent.to_string());
    let actions = serde_json::to_string(&row.actions)
        .map_err(|error| failed(DriverError::Failed(error.to_string())))?;
    if row.version == 0 {
        conn.execute(
            "INSERT INTO resource (org, id, name, audience, actions, state, \
             revocations_age_max, created_at, environment, agent, bound_only, status_list, \
             version) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, 1)",
            &[
                org.into(),
                id.as_str().into(),
                row.name.as_str().into(),
                (&row.audience).into(),
                (&actions).into(),
                row.state.as_str().into(),
                row.revocations_age_max.into(),
                row.created_at.into(),
                row.environment.as_str().into(),
                agent.as_deref().into(),
                row.bound_only.into(),
                row.status_list.into(),
            ],
        )
        .map_err(failed)?;
        return Ok(());
    }
    let changed = conn
        .execute(
            "UPDATE resource SET actions = $1, state = $2, revocations_age_max = $3, agent = $4, \
             bound_only = $5, status_list = $6, version = version + 1 \
             WHERE org = $7 AND id = $8 AND version = $9",
            &[
                (&actions).into(),
                row.state.as_str().into(),
                row.revocations_age_max.into(),
                agent.as_deref().into(),
                row.bound_only.into(),
                row.status_list.into(),
                org.into(),
                id.as_str().into(),
                row.version.into(),
            ],
        )
        .map_err(failed)?;
    Failure::unless_one(changed)
}
