//! What the installation was founded with, and the row that the readiness check writes.

use accredit_domain::ports::Installation;
use accredit_domain::vault::WrappedPepper;

use crate::driver::{Conn, DriverError};
use crate::failure::Failure;

const OPERATION: &str = "found the installation";

/// What a store of any schema was founded with, read without bringing it up to date.
#[derive(Clone, Debug)]
pub struct Founded {
    /// Its peppers as they are wrapped, the oldest first.
    pub peppers: Vec<WrappedPepper>,
    /// The address at which it is reached.
    pub public_url: String,
}

/// What it was founded with; nothing in a new store. Reads only what the first schema has.
pub(crate) fn founded(conn: &mut dyn Conn) -> Result<Option<Founded>, DriverError> {
    let found = conn.first("SELECT public_url FROM installation WHERE id = 1", &[], |row| {
        Ok(row.text(0)?.to_owned())
    })?;
    let Some(public_url) = found else { return Ok(None) };
    Ok(Some(Founded { peppers: peppers(conn)?, public_url }))
}

/// The same in a store that is up to date, and under which of its root keys it is.
pub(crate) fn find(conn: &mut dyn Conn) -> Result<Option<Installation>, DriverError> {
    let Some(Founded { peppers, public_url }) = founded(conn)? else { return Ok(None) };
    Ok(Some(Installation { peppers, root: root(conn)?, public_url }))
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
        DriverError::Disk(..)
        | DriverError::Conflict(_)
        | DriverError::Unavailable(_)
        | DriverError::Failed(_) => Failure::of(OPERATION, error),
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
