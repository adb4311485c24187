//! What the installation was founded with, and the row that the readiness check writes.

use accredit_domain::ports::Installation;
use accredit_domain::vault::WrappedPepper;

use crate::driver::{Conn, DriverError};
use crate::failure::Failure;

const OPERATION: &str = "found the installation";

/// What it was founded with; nothing in a new store.
pub(crate) fn find(conn: &mut dyn Conn) -> Result<Option<Installation>, DriverError> {
    let found =
        conn.first("SELECT public_url, root FROM installation WHERE id = 1", &[], |row| {
            Ok((row.text(0)?.to_owned(), row.small(1)?))
        })?;
    let Some((public_url, root)) = found else { return Ok(None) };
    Ok(Some(Installation { peppers: peppers(conn)?, root, public_url }))
}

/// Its peppers, the oldest first.
pub(crate) fn peppers(conn: &mut dyn Conn) -> Result<Vec<WrappedPepper>, DriverError> {
    conn.all("SELECT version, wrapped FROM pepper ORDER BY version", &[], |row| {
        Ok(WrappedPepper { version: row.small(0)?, wrapped: row.blob(1)?.to_vec() })
    })
}

/// Under which of its root keys it is; a new store under its first.
pub(crate) fn root(conn: &mut dyn Conn) -> Result<u32, DriverError> {
    let found =
        conn.first("SELECT root FROM installation WHERE id = 1", &[], |row| row.small(0))?;
    Ok(found.unwrap_or(1))
}

/// Founds it, once.
pub(crate) fn found(conn: &mut dyn Conn, installation: &Installation) -> Result<(), Failure> {
    conn.execute(
        "INSERT INTO installation (id, public_url, root) VALUES (1, $1, $2)",
        &[(&installation.public_url).into(), installation.root.into()],
    )
    .map_err(|error| match error {
        DriverError::Unique(_) => Failure::wrong(OPERATION, "it is founded already"),
        DriverError::Disk(..) | DriverError::Failed(_) => Failure::of(OPERATION, error),
    })?;
    for pepper in &installation.peppers {
        conn.execute(
            "INSERT INTO pepper (version, wrapped) VALUES ($1, $2)",
            &[pepper.version.into(), pepper.wrapped.as_slice().into()],
        )
        .map_err(|error| Failure::of(OPERATION, error))?;
    }
    Ok(())
}

/// Writes one row, as a request would.
pub(crate) fn beat(conn: &mut dyn Conn) -> Result<(), Failure> {
    let failed = |error| Failure::of("check the store", error);
    conn.execute("UPDATE heartbeat SET beats = beats + 1 WHERE id = 1", &[])
        .map_err(failed)
        .and_then(Failure::unless_one)
}
