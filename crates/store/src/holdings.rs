//! How much an organization has, held to what it may have.
//!
//! The counts are rows that triggers keep (see the migration), so that they are right whoever writes.
//! What has expired is taken off by a job, in the transactions of [`take_off`]: until then, a minute
//! or so, it counts.

use accredit_domain::ports::{Change, Room, RoomOf, Row};
use accredit_domain::registry::credential::Holder;
use accredit_domain::registry::quota::{Counted, Reached};
use accredit_wire::time::Time;

use crate::driver::{Conn, DriverError, Value};
use crate::failure::Failure;
use crate::ledger::Expired;
use crate::page::READ_ROWS_MAX;

/// The live rows of a table that have expired at `$1` and were not taken off the count yet.
macro_rules! expired {
    ($table:literal, $which:literal) => {
        concat!(
            $table,
            " row WHERE row.org = holding.org AND row.state = 'active' ",
            $which,
            "AND row.expires_at > holding.expired_to AND row.expires_at <= $1",
        )
    };
}

/// How it is found out that something of a count, `$2`, has expired at `$1`, and how that is taken
/// off.
struct Expiring {
    /// Organizations of whom something has, at most `$3`.
    found: &'static str,
    /// Lowers the count of the organization `$3`.
    taken_off: &'static str,
}

macro_rules! expiring {
    ($table:literal, $which:literal) => {
        Some(Expiring {
            found: concat!(
                "SELECT org FROM holding WHERE EXISTS (SELECT 1 FROM ",
                expired!($table, $which),
                ") AND noun = $2 LIMIT $3"
            ),
            taken_off: concat!(
                "UPDATE holding SET (held, expired_to) = (SELECT held - count(*), \
                 coalesce(max(row.expires_at), expired_to) FROM ",
                expired!($table, $which),
                ") WHERE noun = $2 AND org = $3"
            ),
        })
    };
}

/// Nothing of what counts for ever.
const fn expiring(counted: Counted) -> Option<Expiring> {
    match counted {
        Counted::Agents | Counted::Persons | Counted::Resources | Counted::Federations => None,
        Counted::Instances => expiring!("instance", ""),
        Counted::Tasks => expiring!("task", ""),
        Counted::Credentials => expiring!("credential", "AND row.permissions IS NULL "),
        Counted::AdminKeys => expiring!("credential", "AND row.permissions IS NOT NULL "),
    }
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
        Row::Federation(row) => row.version == 0 && counted == Counted::Federations,
        Row::Instance(row) => row.version == 0 && counted == Counted::Instances,
        Row::Credential(row) => row.version == 0 && counted == credential(&row.holder),
        Row::Task(row) => row.version == 0 && counted == Counted::Tasks,
        Row::Organization(_)
        | Row::Key(_)
        | Row::Operator(_)
        | Row::EndOperators
        | Row::EndAgent(_)
        | Row::EndInstance(_)
        | Row::FederationKeys(_)
        | Row::Identity(_)
        | Row::Workload(_)
        | Row::EndIdentity(_)
        | Row::StillFollows(_)
        | Row::Leased(_)
        | Row::Room(_)
        | Row::Follow(_)
        | Row::Unfollow(_)
        | Row::ForeignDomain(_)
        | Row::EndForeignDomain(_)
        | Row::Event(_)
        | Row::Answer(_) => false,
    };
    change.rows.iter().filter(is_new).count()
}

/// Whether a row is a credential of a kind that is given its successor.
fn is_succeeded(row: &Row, counted: Counted) -> bool {
    let Row::Credential(row) = row else { return false };
    row.version > 0 && row.successor.is_some() && counted == credential(&row.holder)
}

fn credential(holder: &Holder) -> Counted {
    match holder {
        Holder::Admin(_) => Counted::AdminKeys,
        Holder::Agent(_) | Holder::Instance(..) | Holder::Resource(_) => Counted::Credentials,
    }
}

/// How many there are of what somebody may have so much of; as many as that at most.
pub(crate) fn held_of(conn: &mut dyn Conn, org: &str, room: Room) -> Result<u64, DriverError> {
    let (sql, of) = match room.of {
        RoomOf::Tasks(agent) => (
            "SELECT count(*) FROM (SELECT 1 FROM task WHERE org = $1 AND agent = $2 \
             AND state = 'active' AND expires_at > $3 LIMIT $4) live",
            agent.any(),
        ),
        RoomOf::BornIn(task) => (
            "SELECT count(*) FROM (SELECT 1 FROM instance WHERE org = $1 AND task = $2 \
             AND state = 'active' AND expires_at > $3 LIMIT $4) live",
            task.any(),
        ),
        RoomOf::BirthsBy(rule) => (
            "SELECT count(*) FROM (SELECT 1 FROM workload WHERE org = $1 AND credential = $2 \
             AND born_at > $3 UNION ALL SELECT 1 FROM process WHERE org = $1 AND credential = $2 \
             AND born_at > $3 LIMIT $4) born",
            rule.any(),
        ),
        RoomOf::RulesOf(federation) => (
            "SELECT count(*) FROM (SELECT 1 FROM workload_rule w \
             JOIN credential c ON c.org = w.org AND c.id = w.credential \
             WHERE w.org = $1 AND w.federation = $2 AND c.state = 'active' \
             AND c.expires_at > $3 LIMIT $4) live",
            federation.any(),
        ),
        RoomOf::RulesOfNodes(edge) => (
            "SELECT count(*) FROM (SELECT 1 FROM process_rule w \
             JOIN credential c ON c.org = w.org AND c.id = w.credential \
             WHERE w.org = $1 AND w.edge = $2 AND c.state = 'active' \
             AND c.expires_at > $3 LIMIT $4) live",
            edge.any(),
        ),
        RoomOf::CertificatesOf(instance) => (
            "SELECT count(*) FROM (SELECT 1 FROM certificate WHERE org = $1 AND instance = $2 \
             AND expires_at > $3 LIMIT $4) live",
            instance.any(),
        ),
    };
    let (of, most) = (of.to_string(), Value::Int(i64::try_from(room.max).unwrap_or(i64::MAX)));
    conn.number(sql, &[org.into(), of.as_str().into(), room.at.into(), most])
}

/// Refuses a change where there is no room for one more.
pub(crate) fn has_room(conn: &mut dyn Conn, org: &str, room: Room) -> Result<(), Failure> {
    let held = held_of(conn, org, room).map_err(|error| Failure::of("look for room", error))?;
    if held < room.max { Ok(()) } else { Err(Failure::Stale) }
}

/// Counts from which something has expired since it was last taken off.
pub(crate) fn over(conn: &mut dyn Conn, now: Time) -> Result<Vec<Expired>, DriverError> {
    let mut over = Vec::new();
    for counted in Counted::ALL {
        let Some(expiring) = expiring(counted) else { continue };
        let values = [now.into(), counted.as_str().into(), Value::Int(READ_ROWS_MAX as i64)];
        over.extend(conn.all(expiring.found, &values, |row| {
            Ok(Expired::Held { org: row.text(0)?.to_owned(), counted })
        })?);
    }
    Ok(over)
}

/// Takes off a count what has expired at `now`. A clock that goes back adds nothing again.
pub(crate) fn take_off(
    conn: &mut dyn Conn,
    org: &str,
    counted: Counted,
    now: Time,
) -> Result<usize, DriverError> {
    let Some(expiring) = expiring(counted) else { return Ok(0) };
    conn.execute(expiring.taken_off, &[now.into(), counted.as_str().into(), org.into()])
}
