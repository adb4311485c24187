//! Organizations as rows. The revocation counter in the row is written by [`crate::revocations`]
//! alone; a new organization's first lane begins with it.

use accredit_domain::ports::{Lookup, Page, Span};
use accredit_domain::registry::rotation_schedule::RotationPolicy;
use accredit_domain::registry::{Listed, Organization, State};
use accredit_domain::restoration::Issuing;
use accredit_wire::ids::{Kind, OrganizationId};

use crate::driver::{Conn, DriverError, Row};
use crate::failure::Failure;
use crate::log;
use crate::page::{self, Ends, Given, Key};

const OPERATION: &str = "write an organization";

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT org, name, display_name, issuer, state, rev, generation, created_at, version, \
             rotation_policy, issuing, chain_depth_max FROM organization ",
            $rest
        )
    };
}

fn read(row: &dyn Row) -> Result<Organization, DriverError> {
    Ok(Organization {
        id: row.parsed(0)?,
        name: row.text(1)?.to_owned(),
        display_name: row.opt_string(2)?,
        issuer: row.text(3)?.to_owned(),
        state: row.word(4, State::parse)?,
        rev: row.count(5)?,
        generation: row.count(6)?,
        created_at: row.time(7)?,
        version: row.int(8)?,
        rotation_policy: row.word(9, RotationPolicy::parse)?,
        issuing: row.word(10, Issuing::parse)?,
        chain_depth_max: u8::try_from(row.small(11)?)
            .map_err(|error| DriverError::unreadable(11, error))?,
    })
}

/// One organization.
pub(crate) fn find(
    conn: &mut dyn Conn,
    key: &Lookup<OrganizationId>,
) -> Result<Option<Organization>, DriverError> {
    match key {
        Lookup::Id(id) => {
            conn.first(select!("WHERE org = $1"), &[id.to_string().as_str().into()], read)
        }
        Lookup::Name(name) => conn.first(select!("WHERE name = $1"), &[name.into()], read),
    }
}

/// A page of organizations.
pub(crate) fn list(conn: &mut dyn Conn, page: &Page) -> Result<Listed<Organization>, DriverError> {
    macro_rules! by {
        ($direction:literal) => {
            page::by_text!(
                select!("WHERE "),
                "FROM organization WHERE ",
                "TRUE",
                "org" $direction,
                ["$1" "$2" "$3"],
                " AND CAST($3 AS BIGINT) IS NOT NULL AND CAST($4 AS BIGINT) IS NOT NULL \
                 AND created_at >= $5 AND created_at < $6 AND ($7 = '' OR state = $7)",
                "$8"
            )
        };
    }
    let order = page.order.without_name().without_due();
    let statements = if order.is_backwards() { by!(" DESC") } else { by!("") };
    let state = [page.state.as_deref().unwrap_or("").into()];
    let given = Given {
        page,
        ends: Ends::of(page, order, Kind::Organization, Span::default()),
        head: &[],
        tail: &[page::created(page).as_slice(), &state].concat(),
        filters: usize::from(page.state.is_some()),
    };
    page::read(conn, given, &statements, read, |row| Key::at(order, row.id.to_string(), "", 0))
}

/// Writes one row.
pub(crate) fn write(conn: &mut dyn Conn, row: &Organization) -> Result<(), Failure> {
    let org = row.id.to_string();
    let failed = |error| Failure::of(OPERATION, error);
    if row.version == 0 {
        conn.execute(
            "INSERT INTO organization (org, name, display_name, issuer, state, rev, generation, \
             created_at, rotation_policy, chain_depth_max, version) \
             VALUES ($1, $2, $3, $4, $5, 0, $6, $7, $8, $9, 1)",
            &[
                org.as_str().into(),
                (&row.name).into(),
                row.display_name.as_deref().into(),
                (&row.issuer).into(),
                row.state.as_str().into(),
                row.generation.into(),
                row.created_at.into(),
                row.rotation_policy.as_str().into(),
                u32::from(row.chain_depth_max).into(),
            ],
        )
        .map_err(failed)?;
        return log::begin_lane(conn, &org, (row.generation, None), 0).map_err(failed);
    }
    let changed = conn
        .execute(
            "UPDATE organization SET display_name = $1, state = $2, rotation_policy = $3, \
             issuing = $4, chain_depth_max = $5, version = version + 1 \
             WHERE org = $6 AND version = $7",
            &[
                row.display_name.as_deref().into(),
                row.state.as_str().into(),
                row.rotation_policy.as_str().into(),
                row.issuing.as_str().into(),
                u32::from(row.chain_depth_max).into(),
                org.as_str().into(),
                row.version.into(),
            ],
        )
        .map_err(failed)?;
    Failure::unless_one(changed)
}
