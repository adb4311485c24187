//! How much an organization has, held to what it may have.
//!
//! The counts are rows that triggers keep (see the migration), so that they are right whoever writes.
//! What has expired is taken off by a job, in the transactions of [`take_off`]: until then, a minute
//! or so, it counts.

use accredit_domain::ports::{Change, Row};
use accredit_domain::registry::credential::Holder;
use accredit_domain::registry::quota::{Counted, Reached};
use accredit_wire::time::Time;

use crate::driver::{Conn, DriverError, Value};
use crate::failure::Failure;
use crate::ledger::Expired;
use crate::page::READ_ROWS_MAX;

/// Lowers a count by the live rows of a table that have expired.
macro_rules! expired {
    ($table:literal, $which:literal) => {
        concat!(
            "UPDATE holding SET (held, expired_to) = (SELECT held - count(*), \
             coalesce(max(row.expires_at), expired_to) FROM ",
            $table,
            " row WHERE row.org = $1 AND row.state = 'active' ",
            $which,
            "AND row.expires_at > expired_to AND row.expires_at <= $2) \
             WHERE org = $1 AND noun = $3",
        )
    };
}

/// Refuses a change that, with its rows written, makes for more than its organization may have.
pub(crate) fn check(conn: &mut dyn Conn, org: &str, change: &Change) -> Result<(), Failure> {
    for counted in Counted::ALL {
        let (quota, made) = (change.quotas.of(counted), made(change, counted));
        if quota == 0 || made == 0 {
            continue;
        }
        let succeeded = change.rows.iter().filter(|row| is_succeeded(row, counted)).count();
        let max = if succeeded < made { quota } else { quota.saturating_mul(2) };
        if held(conn, org, counted)? > max {
            return Err(Failure::Reached(Reached { counted, max: quota }));
        }
    }
    Ok(())
}

fn held(conn: &mut dyn Conn, org: &str, counted: Counted) -> Result<u64, Failure> {
    const OPERATION: &str = "count what an organization has";
    let held = conn.first(
        "SELECT held FROM holding WHERE org = $1 AND noun = $2",
        &[org.into(), counted.as_str().into()],
        |row| row.count(0),
    );
    let held = held.map_err(|error| Failure::of(OPERATION, error))?;
    held.ok_or_else(|| Failure::wrong(OPERATION, "it is not counted"))
}

/// How many rows of a change are new ones of a kind.
fn made(change: &Change, counted: Counted) -> usize {
    let is_new = |row: &&Row| match row {
        Row::Agent(row) => row.version == 0 && counted == Counted::Agents,
        Row::Person(row) => row.version == 0 && counted == Counted::Persons,
        Row::Resource(row) => row.version == 0 && counted == Counted::Resources,
        Row::Instance(row) => row.version == 0 && counted == Counted::Instances,
        Row::Credential(row) => row.version == 0 && counted == credential(&row.holder),
        Row::Organization(_)
        | Row::Key(_)
        | Row::Operator(_)
        | Row::EndOperators
        | Row::EndAgent(_)
        | Row::EndInstance(_)
        | Row::StillFollows(_)
        | Row::Follow(_)
        | Row::Unfollow(_)
        | Row::Event(_)
        | Row::Answer(_) => false,
    };
    change.rows.iter().filter(is_new).count()
}

/// Whether a row is a credential of a kind that is given its successor.
fn is_succeeded(row: &Row, counted: Counted) -> bool {
    match row {
        Row::Credential(row) => {
            row.version > 0 && row.successor.is_some() && counted == credential(&row.holder)
        }
        _ => false,
    }
}

fn credential(holder: &Holder) -> Counted {
    match holder {
        Holder::Admin(_) => Counted::AdminKeys,
        Holder::Agent(_) | Holder::Instance(..) | Holder::Resource(_) => Counted::Credentials,
    }
}

/// Counts from which something has expired since it was last taken off.
pub(crate) fn over(conn: &mut dyn Conn, now: Time) -> Result<Vec<Expired>, DriverError> {
    conn.all(
        "SELECT h.org, h.noun FROM holding h WHERE CASE h.noun \
         WHEN 'instances' THEN EXISTS (SELECT 1 FROM instance i WHERE i.org = h.org \
         AND i.state = 'active' AND i.expires_at > h.expired_to AND i.expires_at <= $1) \
         WHEN 'credentials' THEN EXISTS (SELECT 1 FROM credential c WHERE c.org = h.org \
         AND c.state = 'active' AND c.permissions IS NULL \
         AND c.expires_at > h.expired_to AND c.expires_at <= $1) \
         WHEN 'admin_keys' THEN EXISTS (SELECT 1 FROM credential c WHERE c.org = h.org \
         AND c.state = 'active' AND c.permissions IS NOT NULL \
         AND c.expires_at > h.expired_to AND c.expires_at <= $1) \
         ELSE 0 END LIMIT $2",
        &[now.into(), Value::Int(READ_ROWS_MAX as i64)],
        |row| {
            let (org, noun) = (row.text(0)?.to_owned(), row.text(1)?.to_owned());
            Ok(Expired::Held { org, noun })
        },
    )
}

/// Takes off a count what has expired at `now`. A clock that goes back adds nothing again.
pub(crate) fn take_off(
    conn: &mut dyn Conn,
    (org, noun): (&str, &str),
    now: Time,
) -> Result<usize, DriverError> {
    let sql = match noun {
        "instances" => expired!("instance", ""),
        "credentials" => expired!("credential", "AND row.permissions IS NULL "),
        _ => expired!("credential", "AND row.permissions IS NOT NULL "),
    };
    conn.execute(sql, &[org.into(), now.into(), noun.into()])
}
