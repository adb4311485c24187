//! Numbered, forward-only changes of the schema, each held to the hash of its text.
//!
//! A migration that was run is never edited: a store remembers what it ran. A store that a newer
//! version has written is refused, since this one does not know what it must not break.

use accredit_domain::Fault;
use accredit_wire::crypto::sha256;

use crate::driver::{Conn, Driver, DriverError};

const OPERATION: &str = "migrate the store";

struct Applied {
    version: i64,
    hash: Vec<u8>,
    written_by: String,
}

/// Brings the schema to where this version of the program wants it.
pub(crate) fn apply(driver: &dyn Driver, conn: &mut dyn Conn) -> Result<(), Fault> {
    let failed = |error: DriverError| error.fault(OPERATION);
    let known = driver.migrations();
    let applied = applied(conn).map_err(failed)?;
    for row in &applied {
        check(row, known)?;
    }
    let newest = applied.last().map_or(0, |row| row.version);
    for (version, name, sql) in known.iter().filter(|(version, ..)| *version > newest) {
        run(conn, *version, name, sql).map_err(failed)?;
    }
    Ok(())
}

fn applied(conn: &mut dyn Conn) -> Result<Vec<Applied>, DriverError> {
    conn.script(
        "CREATE TABLE IF NOT EXISTS schema_migration (\
         version BIGINT NOT NULL PRIMARY KEY, name TEXT NOT NULL, hash TEXT NOT NULL, \
         written_by TEXT NOT NULL)",
    )?;
    conn.all(
        "SELECT version, hash, written_by FROM schema_migration ORDER BY version",
        &[],
        |row| {
            Ok(Applied {
                version: row.int(0)?,
                hash: row.text(1)?.as_bytes().to_vec(),
                written_by: row.text(2)?.to_owned(),
            })
        },
    )
}

/// The newest version of a store's schema and the program that wrote it, by a connection that only
/// looks.
pub(crate) fn newest(conn: &mut dyn Conn) -> Result<(i64, String), DriverError> {
    let newest = conn.first(
        "SELECT version, written_by FROM schema_migration ORDER BY version DESC LIMIT 1",
        &[],
        |row| Ok((row.int(0)?, row.text(1)?.to_owned())),
    )?;
    Ok(newest.unwrap_or_default())
}

fn check(row: &Applied, known: &[(i64, &str, &str)]) -> Result<(), Fault> {
    let Some((_, _, sql)) = known.iter().find(|(version, ..)| *version == row.version) else {
        return Err(Fault::new(
            OPERATION,
            format!(
                "the store was written by version {} of this program, which is newer than {}; \
                 run that one",
                row.written_by,
                env!("CARGO_PKG_VERSION")
            ),
        ));
    };
    if row.hash != hash_of(sql).as_bytes() {
        return Err(Fault::new(
            OPERATION,
            format!(
                "migration {} was run with another text by version {}; this program does not \
                 know that schema",
                row.version, row.written_by
            ),
        ));
    }
    Ok(())
}

fn run(conn: &mut dyn Conn, version: i64, name: &str, sql: &str) -> Result<(), DriverError> {
    conn.begin_write()?;
    let done = conn.script(sql).and_then(|()| {
        conn.execute(
            "INSERT INTO schema_migration (version, name, hash, written_by) \
             VALUES ($1, $2, $3, $4)",
            &[
                version.into(),
                name.into(),
                hash_of(sql).as_str().into(),
                env!("CARGO_PKG_VERSION").into(),
            ],
        )
    });
    match done {
        Ok(_) => conn.commit(),
        Err(error) => {
            conn.rollback()?;
            Err(error)
        }
    }
}

fn hash_of(sql: &str) -> String {
    accredit_wire::tlog::Hash::new(sha256(sql.as_bytes())).to_string()
}
