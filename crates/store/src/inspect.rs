//! Looking at a store without taking it: for a check of the installation, also while it is served.
//!
//! Nothing is written, no migration is run and no lock is taken: the store may be older than this
//! program, so that only columns of the first schema are read, or those that the schema is asked for.
//! Absent on purpose: anything of an organization but its name.

use accredit_domain::Fault;
use accredit_domain::ca::listener::Roots;
use accredit_domain::keys::SigningKey;

use crate::driver::{Conn, DriverError, numbered};
use crate::installation::Founded;
use crate::place::Place;
use crate::{installation, keys, listener, migrations, page};

const OPERATION: &str = "inspect the store";
/// Names of organizations that are told.
pub const NAMES_MAX: usize = 200;
/// The first schema in which the listener may have roots.
const SCHEMA_WITH_LISTENER: i64 = 57;
/// The first schema in which issuing may be closed.
const SCHEMA_WITH_ISSUING: i64 = 11;

/// What was found.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// The newest migration that was run.
    pub schema: i64,
    /// The newest migration that this program knows.
    pub schema_known: i64,
    /// The migrations that this program would run, in their order: number and name.
    pub pending: Vec<(i64, &'static str)>,
    /// Whether programs of the schema that is there serve on while those are run; where there are
    /// none, whether this program may serve.
    pub is_online: bool,
    /// How many nodes hold a connection to the database, where that can be known.
    pub connections: Option<u64>,
    /// The version of the program that ran it.
    pub written_by: String,
    /// What it was founded with; nothing in a store that never was.
    pub installation: Option<Founded>,
    /// Names of its organizations, at most [`NAMES_MAX`].
    pub organizations: Vec<String>,
    /// Names of those that issue nothing since a backup was restored, at most [`NAMES_MAX`].
    pub closed: Vec<String>,
    /// Events in all logs.
    pub sequenced: u64,
    /// Events of them that a checkpoint covers.
    pub integrated: u64,
    /// Signing keys that are in a PKCS#11 token; none of a store of another schema.
    pub in_token: Vec<SigningKey>,
}

/// Looks at the store at `place`, which must exist.
pub fn inspect(place: &Place) -> Result<Inspection, Fault> {
    let mut conn = place.look().map_err(|error| error.fault(OPERATION))?;
    let known = match place {
        Place::File(_) => numbered::SQLITE,
        Place::Database(_) => numbered::POSTGRES,
    };
    look(&mut *conn, known).map_err(|error| error.fault(OPERATION))
}

/// The listener's roots of the store at `place`, which must exist, where it has any.
pub fn listener_roots(place: &Place) -> Result<Option<Roots>, Fault> {
    let roots = place.look().and_then(|mut conn| {
        let (schema, _) = migrations::newest(&mut *conn)?;
        if schema < SCHEMA_WITH_LISTENER { Ok(None) } else { listener::find(&mut *conn) }
    });
    roots.map_err(|error| error.fault(OPERATION))
}

fn look(
    conn: &mut dyn Conn,
    known: &[(i64, &'static str, &str)],
) -> Result<Inspection, DriverError> {
    let connections = conn.others()?;
    conn.begin_read()?;
    let (schema, written_by) = migrations::newest(conn)?;
    let own = known.last().map_or(0, |(version, ..)| *version);
    let newer = known.iter().filter(|(version, ..)| *version > schema);
    let pending: Vec<_> = newer.map(|(version, name, _)| (*version, *name)).collect();
    let is_online = if schema > own {
        migrations::served_from(conn, schema)? <= own
    } else {
        migrations::may_be_beside(schema, own)
    };
    let integrated = conn.number(
        "SELECT CAST(COALESCE(SUM(size), 0) AS BIGINT) FROM (SELECT MAX(size) AS size FROM checkpoint \
         GROUP BY org, lane) AS newest",
        &[],
    )?;
    let closed = if schema < SCHEMA_WITH_ISSUING {
        Vec::new()
    } else {
        conn.all(
            "SELECT name FROM organization WHERE issuing <> 'open' ORDER BY org LIMIT $1",
            &[page::rows(NAMES_MAX)],
            |row| Ok(row.text(0)?.to_owned()),
        )?
    };
    let found = Inspection {
        schema,
        schema_known: own,
        pending,
        is_online,
        connections,
        written_by,
        installation: installation::founded(conn)?,
        organizations: conn.all(
            "SELECT name FROM organization ORDER BY org LIMIT $1",
            &[page::rows(NAMES_MAX)],
            |row| Ok(row.text(0)?.to_owned()),
        )?,
        closed,
        sequenced: conn.number("SELECT CAST(COALESCE(SUM(next), 0) AS BIGINT) FROM lane", &[])?,
        integrated,
        in_token: if schema == own { keys::in_token(conn)? } else { Vec::new() },
    };
    conn.rollback()?;
    Ok(found)
}
