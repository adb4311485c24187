//! A generation of an organization's store begins: after a restore, in one transaction for each
//! organization.

use accredit_domain::Fault;
use accredit_domain::audit::event::Event;
use accredit_domain::restoration::{NewGeneration, first_rev};
use accredit_wire::time::Time;

use crate::driver::{Conn, DriverError};
use crate::failure::Failure;
use crate::{keys, log, revocations};

const OPERATION: &str = "begin a generation";

/// Writes the counter, the entry that ends all tokens, the signing keys that change, closed issuing, and the new lane with its
/// first event. The lanes that are there get no further event.
pub(crate) fn begin(
    conn: &mut dyn Conn,
    new: &NewGeneration,
    event: &Event,
) -> Result<(), Failure> {
    let failed = |error: DriverError| Failure::of(OPERATION, error);
    let (org, rev) = (new.org.to_string(), first_rev(new.generation));
    // The entry counts one up itself.
    let changed = conn
        .execute(
            "UPDATE organization SET generation = $1, rev = $2, issuing = 'closed', \
             version = version + 1 WHERE org = $3 AND generation < $1 AND rev < $2",
            &[new.generation.into(), (rev - 1).into(), org.as_str().into()],
        )
        .map_err(failed)?;
    Failure::unless_one(changed)?;
    let entry = revocations::write(conn, &org, &new.revocation, Time::default())?;
    if entry.rev != rev {
        return Err(Failure::wrong(OPERATION, "the counter is not where the generation begins"));
    }
    for key in &new.keys {
        keys::write(conn, &org, key)?;
    }
    log::begin_lane(conn, &org, (new.generation, None), rev).map_err(failed)?;
    let sealed = event.clone().seal(Some(rev));
    let sealed = sealed.map_err(|error| Failure::Fault(Fault::new(OPERATION, error)))?;
    let head = log::head(conn, &org).map_err(failed)?;
    let mut head = head.ok_or_else(|| Failure::wrong(OPERATION, "there is no lane"))?;
    log::append(conn, &org, &mut head, &sealed).map_err(failed)?;
    if !log::advance(conn, &org, &head).map_err(failed)? {
        return Err(Failure::wrong(OPERATION, "the lane was moved by somebody else"));
    }
    conn.execute(
        "UPDATE installation SET spent_before = $1 WHERE id = 1",
        &[new.spent_before.into()],
    )
    .map(drop)
    .map_err(failed)
}

/// Up to when single-use values may have been used up in what a restore lost, microseconds.
pub(crate) fn spent_before(conn: &mut dyn Conn) -> Result<i64, DriverError> {
    let found = conn
        .first("SELECT spent_before FROM installation WHERE id = 1", &[], |row| row.opt_int(0))?;
    Ok(found.flatten().unwrap_or(i64::MIN))
}
