//! Who persons are at external issuers, as rows, and as the facts that exchange reads.

use std::sync::Arc;

use accredit_domain::federation::{Identity, PersonFacts};
use accredit_domain::registry::State;
use accredit_wire::ids::{FederationId, PersonId};

use crate::driver::{Conn, DriverError};
use crate::failure::Failure;
use crate::page;

const OPERATION: &str = "write an identity";

/// The person who is called so by a federation, as exchange sees them.
pub(crate) fn facts(
    conn: &mut dyn Conn,
    org: &str,
    federation: FederationId,
    subject: &str,
) -> Result<Option<Arc<PersonFacts>>, DriverError> {
    let federation = federation.to_string();
    conn.first(
        "SELECT p.id, p.state, p.permissions, p.suspensions FROM person_identity i \
         JOIN person p ON p.org = i.org AND p.id = i.person \
         WHERE i.org = $1 AND i.federation = $2 AND i.subject = $3",
        &[org.into(), federation.as_str().into(), subject.into()],
        |row| {
            Ok(Arc::new(PersonFacts {
                id: row.parsed(0)?,
                state: row.word(1, State::parse)?,
                granted: serde_json::from_str(row.text(2)?)
                    .map_err(|error| DriverError::unreadable(2, error))?,
                suspensions: row.small(3)?,
            }))
        },
    )
}

/// Who a person is.
pub(crate) fn of_person(
    conn: &mut dyn Conn,
    org: &str,
    person: PersonId,
    limit: usize,
) -> Result<Vec<Identity>, DriverError> {
    let id = person.to_string();
    conn.all(
        "SELECT federation, subject, created_at FROM person_identity \
         WHERE org = $1 AND person = $2 ORDER BY federation, subject LIMIT $3",
        &[org.into(), id.as_str().into(), page::rows(limit)],
        |row| {
            Ok(Identity {
                person,
                federation: row.parsed(0)?,
                subject: row.text(1)?.to_owned(),
                created_at: row.time(2)?,
            })
        },
    )
}

/// Writes a new one.
pub(crate) fn write(conn: &mut dyn Conn, org: &str, row: &Identity) -> Result<(), Failure> {
    let (federation, person) = (row.federation.to_string(), row.person.to_string());
    conn.execute(
        "INSERT INTO person_identity (org, federation, subject, person, created_at) \
         VALUES ($1, $2, $3, $4, $5)",
        &[
            org.into(),
            federation.as_str().into(),
            (&row.subject).into(),
            person.as_str().into(),
            row.created_at.into(),
        ],
    )
    .map_err(|error| Failure::of(OPERATION, error))?;
    Ok(())
}

/// Removes one: the subject may become another person's.
pub(crate) fn remove(conn: &mut dyn Conn, org: &str, row: &Identity) -> Result<(), Failure> {
    let (federation, person) = (row.federation.to_string(), row.person.to_string());
    let removed = conn.execute(
        "DELETE FROM person_identity WHERE org = $1 AND federation = $2 AND subject = $3 \
         AND person = $4",
        &[org.into(), federation.as_str().into(), (&row.subject).into(), person.as_str().into()],
    );
    Failure::unless_one(removed.map_err(|error| Failure::of(OPERATION, error))?)
}
