//! Numbered, forward-only changes of the schema, each held to the hash of its text.
//!
//! A migration that was run is never edited: a store remembers what it ran. From [`ADDITIVE_FROM`] on
//! each only adds, in a transaction of its own with one statement about the schema or none, so that programs of
//! the version before serve on while it runs, and one that is cut off goes on where it was. A store
//! that a newer version has written says beside which programs it is served (`schema_beside`); one
//! that does not say so is refused, since this version does not know what it must not break.

use accredit_domain::Fault;
use accredit_wire::crypto::sha256;

use crate::driver::{Conn, Driver, DriverError};

const OPERATION: &str = "migrate the store";
/// The first migration that only adds. A test reads them all.
pub(crate) const ADDITIVE_FROM: i64 = 33;
/// The oldest schema whose programs may serve beside this version. Raised where this version writes what those
/// before it cannot read, or must not do as they did: since 37 a log has lanes that are one node's, and an
/// organization has the keys of its certificate authority; since 38 a credential may be a workload's rule; since 55
/// a rule may be on what nodes say, and an instance hang on a node in what it gets; since 56 a signing key may be for JWT-SVIDs; since 57
/// there are roots of the listener's that are wrapped under the root key, too.
const SERVED_FROM: i64 = 57;
/// The first schema that says beside which programs it is served.
const SCHEMA_WITH_BESIDE: i64 = 35;
/// How often a migration is begun, where others use its table each time.
const TRIES_MAX: usize = 30;

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
    let own = known.last().map_or(0, |(version, ..)| *version);
    for row in &applied {
        if row.version > own && served_from(conn, row.version).map_err(failed)? <= own {
            tracing::warn!(
                schema = row.version,
                written_by = row.written_by,
                "the store was brought up to date by a newer version, beside which this one may serve"
            );
            continue;
        }
        check(row, known)?;
    }
    let newest = applied.last().map_or(0, |row| row.version);
    for migration in known.iter().filter(|(version, ..)| *version > newest) {
        run_surely(conn, migration).map_err(failed)?;
    }
    Ok(())
}

/// The oldest schema whose programs may serve beside this version of it; the newest there can be where
/// it does not say so.
pub(crate) fn served_from(conn: &mut dyn Conn, version: i64) -> Result<i64, DriverError> {
    if version < SCHEMA_WITH_BESIDE {
        return Ok(version);
    }
    let found = conn.first(
        "SELECT served_from FROM schema_beside WHERE version = $1",
        &[version.into()],
        |row| row.int(0),
    )?;
    Ok(found.unwrap_or(i64::MAX))
}

/// Runs a migration, unless another process does so meanwhile; again where others used its table.
fn run_surely(conn: &mut dyn Conn, migration: &(i64, &str, &str)) -> Result<(), DriverError> {
    let (version, name, sql) = *migration;
    for _ in 1..TRIES_MAX {
        match run(conn, version, name, sql) {
            Ok(()) => return Ok(()),
            Err(error) => {
                if applied(conn)?.iter().any(|row| row.version == version) {
                    return Ok(());
                }
                if !matches!(error, DriverError::Conflict(_)) {
                    return Err(error);
                }
                tracing::warn!(version, %error, "a migration lets others pass");
            }
        }
    }
    run(conn, version, name, sql)
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
    conn.begin_migration()?;
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
        )?;
        if version < SCHEMA_WITH_BESIDE {
            return Ok(0);
        }
        conn.execute(
            "INSERT INTO schema_beside (version, served_from) VALUES ($1, $2)",
            &[version.into(), beside(version).into()],
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

/// The oldest schema whose programs may serve beside a version of it that this program writes.
fn beside(version: i64) -> i64 {
    if version < SERVED_FROM { ADDITIVE_FROM - 1 } else { SERVED_FROM }
}

/// Whether programs of a schema may serve beside this one, whose own schema is `own`.
pub(crate) fn may_be_beside(schema: i64, own: i64) -> bool {
    schema >= beside(own)
}

fn hash_of(sql: &str) -> String {
    accredit_wire::tlog::Hash::new(sha256(sql.as_bytes())).to_string()
}
