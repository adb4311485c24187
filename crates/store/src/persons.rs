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
        concat!(
            "SELECT id, email, name, state, created_at, version, permissions FROM person ",
            $rest
        )
    };
}

fn read(row: &dyn Row) -> Result<Person, DriverError> {
    let email = row.text(1)?;
    let email = (email != row.text(0)?).then(|| email.to_owned());
    Ok(Person {
        id: row.parsed(0)?,
        email,
        name: row.opt_string(2)?,
        state: row.word(3, State::parse)?,
        created_at: row.time(4)?,
        version: row.int(5)?,
        permissions: serde_json::from_str(row.text(6)?)
            .map_err(|error| DriverError::unreadable(6, error))?,
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
        let id = row.id.to_string();
        let name = row.email.clone().unwrap_or_else(|| id.clone());
        Key::at(order, id, &name, 0)
    })
}

/// Writes one row.
pub(crate) fn write(conn: &mut dyn Conn, org: &str, row: &Person) -> Result<(), Failure> {
    let id = row.id.to_string();
    let failed = |error| Failure::of(OPERATION, error);
    let permissions = serde_json::to_string(&row.permissions)
        .map_err(|error| failed(DriverError::Failed(error.to_string())))?;
    if row.version == 0 {
        conn.execute(
            "INSERT INTO person (org, id, email, name, state, created_at, permissions, version) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, 1)",
            &[
                org.into(),
                id.as_str().into(),
                // No address is an id, and no id has an `@`.
                row.email.as_deref().unwrap_or(&id).into(),
                row.name.as_deref().into(),
                row.state.as_str().into(),
                row.created_at.into(),
                (&permissions).into(),
            ],
        )
        .map_err(failed)?;
        return Ok(());
    }
    let changed = conn
        .execute(
            "UPDATE person SET name = $1, state = $2, permissions = $3, version = version + 1, \
             suspensions = suspensions + CASE WHEN state = 'active' AND $2 = 'suspended' \
             THEN 1 ELSE 0 END \
             WHERE org = $4 AND id = $5 AND version = $6",
            &[
                row.name.as_deref().into(),
                row.state.as_str().into(),
                (&permissions).into(),
                org.into(),
                id.as_str().into(),
                row.version.into(),
            ],
        )
        .map_err(failed)?;
    Failure::unless_one(changed)
}
