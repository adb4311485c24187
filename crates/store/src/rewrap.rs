//! Another root key: everything that is wrapped is read and written under it, in one transaction
//! with an event for each organization.
//!
//! One transaction however many rows there are: a store half of whose keys open under one root
//! key and half under another would be of no use to anybody. It reads what it writes, so that no
//! row is missed; and it counts the installation's root key up, so that a key which was wrapped
//! before and is written afterwards is told from the others ([`check`]). Other writes wait
//! meanwhile: some ten microseconds for each signing key that there ever was.

use accredit_domain::Fault;
use accredit_domain::audit::event::SealedEvent;
use accredit_domain::keys::held::Held;
use accredit_domain::root::{Rewrapped, Rewrapping};
use accredit_wire::ids::OrganizationId;

use crate::driver::{Conn, DriverError};
use crate::failure::Failure;
use crate::{installation, listener};

const OPERATION: &str = "rewrap the store";

/// What was rewrapped, and what is to be recorded of it.
pub(crate) struct Written {
    /// For whoever keeps something wrapped.
    pub(crate) rewrapped: Rewrapped,
    /// How many keys are wrapped, the listener's among them.
    pub(crate) keys: u64,
    /// An event for each organization.
    pub(crate) events: Vec<(OrganizationId, SealedEvent)>,
}

/// Whether the store is under this one of its root keys. One that was never founded is under its
/// first.
pub(crate) fn check(conn: &mut dyn Conn, root: u32) -> Result<(), Failure> {
    let found = installation::root(conn).map_err(|error| Failure::of(OPERATION, error))?;
    if found == root { Ok(()) } else { Err(Failure::Stale) }
}

/// Whose rows it writes: every organization, as its id is written, in their order.
pub(crate) fn organizations(conn: &mut dyn Conn) -> Result<Vec<String>, DriverError> {
    conn.all("SELECT org FROM organization ORDER BY org", &[], |row| Ok(row.text(0)?.to_owned()))
}

/// Writes all of it.
pub(crate) fn write(conn: &mut dyn Conn, rewrapping: &Rewrapping) -> Result<Written, Failure> {
    let failed = |error: DriverError| Failure::of(OPERATION, error);
    let changed = conn
        .execute(
            "UPDATE installation SET root = $1 WHERE id = 1 AND root = $2",
            &[rewrapping.to().into(), rewrapping.from().into()],
        )
        .map_err(failed)?;
    Failure::unless_one(changed)?;
    for pepper in installation::peppers(conn).map_err(failed)? {
        let pepper = rewrapping.pepper(&pepper).map_err(Failure::Fault)?;
        let changed = conn
            .execute(
                "UPDATE pepper SET wrapped = $1 WHERE version = $2",
                &[pepper.wrapped.as_slice().into(), pepper.version.into()],
            )
            .map_err(failed)?;
        Failure::unless_one(changed)?;
    }
    let rewrapped = Rewrapped { root: rewrapping.to(), at: rewrapping.at(), keys: Vec::new() };
    let keys = listener::rewrap(conn, rewrapping)?;
    let mut written = Written { rewrapped, keys, events: Vec::new() };
    for org in organizations(conn).map_err(failed)? {
        let org: OrganizationId =
            org.parse().map_err(|error| Failure::Fault(Fault::new(OPERATION, error)))?;
        for key in crate::keys::all(conn, org).map_err(failed)? {
            let key = rewrapping.key(&key.sealed).map_err(Failure::Fault)?;
            let (org, id) = (org.to_string(), key.id.to_string());
            let changed = conn
                .execute(
                    "UPDATE signing_key SET wrapped = $1 WHERE org = $2 AND id = $3",
                    &[key.wrapped.as_slice().into(), org.as_str().into(), id.as_str().into()],
                )
                .map_err(failed)?;
            Failure::unless_one(changed)?;
            written.keys += u64::from(key.held() == Held::Software);
            written.rewrapped.keys.push(key);
        }
        let event = rewrapping.event(org).seal(None);
        let event = event.map_err(|error| Failure::Fault(Fault::new(OPERATION, error)))?;
        written.events.push((org, event));
    }
    Ok(written)
}
