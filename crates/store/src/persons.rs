//! Persons as rows.

use accredit_domain::ports::{Lookup, Order, Page};
use accredit_domain::registry::{Person, State};
use accredit_wire::ids::PersonId;

use crate::driver::{Conn, DriverError, Row};
use crate::failure::Failure;
use crate::page;

const OPERATION: &str = "write a person";

macro_rules! select {
    ($rest:literal) => {
        concat!("SELECT id, email, name, state, created_at, version FROM person ", $rest)
    };
}

fn read(row: &dyn Row) -> Result<Person, DriverError> {
    Ok(Person {
        id: row.parsed(0)?,
        email: row.text(1)?.to_owned(),
        name: row.opt_string(2)?,
        state: row.word(3, State::parse)?,
        created_at: row.time(4)?,
        version: row.int(5)?,
    })
}

/// One person.
pub(crate) fn find(
    conn: &mut dyn Conn,
    org: &str,
    key: &Lookup<PersonId>,
) -> Result<Option<Person>, DriverError> {
    match key {
        Lookup::Id(id) => {
            let id = id.to_string();
            conn.first(
                select!("WHERE org = $1 AND id = $2"),
                &[org.into(), id.as_str().into()],
                read,
            )
        }
        Lookup::Name(email) => {
            conn.first(select!("WHERE org = $1 AND email = $2"), &[org.into(), email.into()], read)
        }
    }
}

/// A page of persons.
pub(crate) fn list(
    conn: &mut dyn Conn,
    org: &str,
    page: &Page,
) -> Result<Vec<Person>, DriverError> {
    // A state that is asked for leads, so that an index answers it in the order of the page.
    macro_rules! by {
        ($column:literal, $direction:literal) => {
            if page.state.is_some() {
                by!(" AND state = $4", $column, $direction)
            } else {
                by!(" AND $4 = ''", $column, $direction)
            }
        };
        ($filter:literal, $column:literal, $direction:literal) => {
            concat!(
                select!("WHERE org = $1 AND "),
                $column,
                " >= $2 AND ",
                $column,
                " < $3",
                $filter,
                " ORDER BY ",
                $column,
                $direction,
                " LIMIT $5"
            )
        };
    }
    let sql = match page.order {
        Order::Oldest => by!("id", ""),
        Order::Newest => by!("id", " DESC"),
        Order::Name => by!("email", ""),
        Order::NameBackwards => by!("email", " DESC"),
    };
    let (first, end) = page::bounds(page);
    let bounds = [first.as_str(), end.as_str()];
    conn.all(
        sql,
        &[org.into(), bounds[0].into(), bounds[1].into(), page::state(page), page::limit(page)],
        read,
    )
}

/// Writes one row.
pub(crate) fn write(conn: &mut dyn Conn, org: &str, row: &Person) -> Result<(), Failure> {
    let id = row.id.to_string();
    let failed = |error| Failure::of(OPERATION, error);
    if row.version == 0 {
        conn.execute(
            "INSERT INTO person (org, id, email, name, state, created_at, version) \
             VALUES ($1, $2, $3, $4, $5, $6, 1)",
            &[
                org.into(),
                id.as_str().into(),
                (&row.email).into(),
                row.name.as_deref().into(),
                row.state.as_str().into(),
                row.created_at.into(),
            ],
        )
        .map_err(failed)?;
        return Ok(());
    }
    let changed = conn
        .execute(
            "UPDATE person SET name = $1, state = $2, version = version + 1 \
             WHERE org = $3 AND id = $4 AND version = $5",
            &[
                row.name.as_deref().into(),
                row.state.as_str().into(),
                org.into(),
                id.as_str().into(),
                row.version.into(),
            ],
        )
        .map_err(failed)?;
    Failure::unless_one(changed)
}
