//! Answers to creating requests, kept for their repetition (the `Idempotency-Key` header).

use accredit_domain::Fault;
use accredit_domain::registry::ANSWER_KEY;
use accredit_domain::terms::{KeptAnswer, Once};
use accredit_wire::time::Time;

use crate::driver::{Conn, DriverError, Value};
use crate::failure::Failure;
use crate::ledger::Expired;
use crate::page::READ_ROWS_MAX;

const OPERATION: &str = "keep an answer";

/// The caller's organization as it stands in the row: empty for the installation's operator.
fn org_of(once: &Once) -> String {
    once.org.map(|org| org.to_string()).unwrap_or_default()
}

/// Keeps an answer at `now`, unless a live one is kept under its key.
pub(crate) fn write(conn: &mut dyn Conn, row: &KeptAnswer, now: Time) -> Result<(), Failure> {
    let (org, caller) = (org_of(&row.once), row.once.caller.to_string());
    let changed = conn
        .execute(
            "INSERT INTO answer (org, caller, key, asked, object, until) \
             VALUES ($1, $2, $3, $4, $5, $6) \
             ON CONFLICT (org, caller, key) DO UPDATE \
             SET asked = excluded.asked, object = excluded.object, until = excluded.until \
             WHERE answer.until <= $7",
            &[
                org.as_str().into(),
                caller.as_str().into(),
                row.once.key.as_slice().into(),
                row.once.asked.as_slice().into(),
                (&row.object).into(),
                row.once.until.into(),
                now.into(),
            ],
        )
        .map_err(|error| Failure::of(OPERATION, error))?;
    if changed == 1 { Ok(()) } else { Err(Failure::Taken(ANSWER_KEY)) }
}

/// Puts the `rev` that a change made into the answer that tells of it.
pub(crate) fn complete(conn: &mut dyn Conn, row: &KeptAnswer, rev: u64) -> Result<(), Failure> {
    let wrong = |error| Failure::Fault(Fault::new(OPERATION, error));
    let mut object: serde_json::Value = serde_json::from_str(&row.object).map_err(wrong)?;
    let Some(member) = object.get_mut("rev") else { return Ok(()) };
    *member = rev.into();
    let (org, caller) = (org_of(&row.once), row.once.caller.to_string());
    let text = object.to_string();
    let changed = conn
        .execute(
            "UPDATE answer SET object = $1 WHERE org = $2 AND caller = $3 AND key = $4",
            &[
                text.as_str().into(),
                org.as_str().into(),
                caller.as_str().into(),
                row.once.key.as_slice().into(),
            ],
        )
        .map_err(|error| Failure::of(OPERATION, error))?;
    Failure::unless_one(changed)
}

/// The answer that is kept under a key, where its time is not over.
pub(crate) fn find(
    conn: &mut dyn Conn,
    once: &Once,
    now: Time,
) -> Result<Option<KeptAnswer>, DriverError> {
    let (org, caller) = (org_of(once), once.caller.to_string());
    conn.first(
        "SELECT asked, object, until FROM answer \
         WHERE org = $1 AND caller = $2 AND key = $3 AND until > $4",
        &[org.as_str().into(), caller.as_str().into(), once.key.as_slice().into(), now.into()],
        |row| {
            let once = Once { asked: row.bytes(0)?, until: row.time(2)?, ..once.clone() };
            Ok(KeptAnswer { once, object: row.text(1)?.to_owned() })
        },
    )
}

/// Some answers whose time is over. Few are kept at a time, so that no index by time is worth it.
pub(crate) fn over(conn: &mut dyn Conn, now: Time) -> Result<Vec<Expired>, DriverError> {
    conn.all(
        "SELECT org, caller, key FROM answer WHERE until < $1 LIMIT $2",
        &[now.into(), Value::Int(READ_ROWS_MAX as i64)],
        |row| {
            let (org, caller) = (row.text(0)?.to_owned(), row.text(1)?.to_owned());
            Ok(Expired::Answer { org, caller, key: row.bytes(2)? })
        },
    )
}

/// Forgets one answer whose time is over.
pub(crate) fn forget(
    conn: &mut dyn Conn,
    (org, caller, key): (&str, &str, &[u8; 32]),
    now: Time,
) -> Result<usize, DriverError> {
    conn.execute(
        "DELETE FROM answer WHERE org = $1 AND caller = $2 AND key = $3 AND until < $4",
        &[org.into(), caller.into(), key.as_slice().into(), now.into()],
    )
}
