//! Keys of the installation's operator as rows: the one table of keys outside organizations.

use accredit_domain::registry::operator::OperatorKey;
use accredit_wire::ids::CredentialId;

use crate::driver::{Conn, DriverError};
use crate::failure::Failure;

const OPERATION: &str = "write an operator's key";

/// One key.
pub(crate) fn find(
    conn: &mut dyn Conn,
    id: CredentialId,
) -> Result<Option<OperatorKey>, DriverError> {
    let text = id.to_string();
    conn.first(
        "SELECT pepper, mac, state, created_at, expires_at FROM operator_key WHERE id = $1",
        &[text.as_str().into()],
        |row| {
            Ok(OperatorKey {
                id,
                pepper: row.small(0)?,
                mac: row.bytes(1)?,
                revoked: row.text(2)? != "active",
                created_at: row.time(3)?,
                expires_at: row.time(4)?,
            })
        },
    )
}

/// Writes a new key.
pub(crate) fn write(conn: &mut dyn Conn, row: &OperatorKey) -> Result<(), Failure> {
    let id = row.id.to_string();
    let state = if row.revoked { "revoked" } else { "active" };
    conn.execute(
        "INSERT INTO operator_key (id, pepper, mac, state, created_at, expires_at) \
         VALUES ($1, $2, $3, $4, $5, $6)",
        &[
            id.as_str().into(),
            row.pepper.into(),
            row.mac.as_slice().into(),
            state.into(),
            row.created_at.into(),
            row.expires_at.into(),
        ],
    )
    .map(drop)
    .map_err(|error| Failure::of(OPERATION, error))
}

/// Ends all live keys, and says how many there were.
pub(crate) fn end(conn: &mut dyn Conn) -> Result<u64, Failure> {
    let ended = conn
        .execute("UPDATE operator_key SET state = 'revoked' WHERE state = 'active'", &[])
        .map_err(|error| Failure::of(OPERATION, error))?;
    Ok(ended as u64)
}
