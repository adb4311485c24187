//! Persons as rows.

use accredit_domain::ports::{Lookup, Order, Page, Span};
use accredit_domain::registry::{Listed, Person, State};
use accredit_wire::ids::{Kind, PersonId};

use crate::driver::{Conn, DriverError, Row};
use crate::failure::Failure;
use crate::page::{self, Ends, Given, Key};

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
) -> Result<Listed<Person>, DriverError> {
    let order = page.order.without_due();
    let statements = page::by_id_or_name!(page, order, select, "person", "email");
    let given = Given {
        page,
        ends: Ends::of(page, order, Kind::Person, Span::default()),
        head: &[org.into(), page.state.as_deref().unwrap_or("").into()],
        tail: &page::created(page),
        filters: 0,
    };
    page::read(conn, given, &statements, read, |row| {
        Key::at(order, row.id.to_string(), &row.email, 0)
    })
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
