//! What can be used once only, such as the `jti` of an assertion (RFC 7523 section 3): kept in memory
//! to be asked, and as rows to be there after the next start.
//!
//! The rows stand in the order in which they were written, so that all of a batch share a page; a
//! table in the order of the values would change one page for each. Nobody but the writer asks, and
//! where one process has the store, memory knows all there is. It follows the transaction: what a
//! member that failed had used up is unused again.
//!
//! Where processes share a store, the rows alone know. The place of a row is then made from the
//! value, so that two equal values have one place: whoever writes the second finds it taken, once
//! the first one's transaction has ended, whichever process it is.

use std::collections::BTreeMap;

use accredit_domain::ports::SingleUse;
use accredit_wire::crypto::sha256_of;
use accredit_wire::ids::{AnyId, OrganizationId};
use accredit_wire::time::Time;
use hashbrown::{HashMap, HashSet};

use crate::driver::{Conn, DriverError, Value};
use crate::failure::Failure;
use crate::page::READ_ROWS_MAX;

/// Values remembered at a time: some 100 MB. Assertions that live a minute come to this at 30,000 a
/// second.
pub const SPENT_MAX: usize = 4_000_000;

const OPERATION: &str = "consume a single-use value";
const MINUTE_MICROS: i64 = 60_000_000;

type Random = foldhash::fast::RandomState;

/// A value that was used: half a digest of whose it is and of itself. Finding another one like it
/// would make its finder's own proof be refused, and nothing else.
type Key = u128;

/// Every value that was used up and may still come again.
pub(crate) struct Spent {
    /// By the minute in which they end.
    minutes: BTreeMap<i64, HashSet<Key, Random>>,
    /// How many there are.
    len: usize,
    /// Those of the transaction under way.
    fresh: Vec<Fresh>,
    /// The place of the next row of each organization that has any.
    next: HashMap<OrganizationId, u64, Random>,
}

/// A value that the transaction under way has used up, and the place of its row.
struct Fresh {
    minute: i64,
    key: Key,
    org: OrganizationId,
    seq: u64,
}

/// The place of a value's row where processes share a store: 62 bits, so that what counts on from
/// there after a move to an engine of one process never overflows.
fn place(key: Key) -> u64 {
    (key >> 66) as u64
}

fn key(org: OrganizationId, client: AnyId, hash: &[u8; 32]) -> Key {
    let (org, client) = (org.any().key().to_be_bytes(), client.key().to_be_bytes());
    let digest = sha256_of(&[&org, &client, hash]);
    digest.first_chunk().copied().map_or(0, u128::from_be_bytes)
}

fn minute(until: Time) -> i64 {
    until.micros().div_euclid(MINUTE_MICROS)
}

impl Spent {
    /// Reads the rows of earlier processes.
    pub(crate) fn load(conn: &mut dyn Conn) -> Result<Self, DriverError> {
        let mut spent =
            Self { minutes: BTreeMap::new(), len: 0, fresh: Vec::new(), next: HashMap::default() };
        if conn.is_shared() {
            return Ok(spent);
        }
        conn.query("SELECT org, seq, client, hash, until FROM spent", &[], &mut |row| {
            let (org, seq) = (row.parsed(0)?, row.count(1)?);
            let next = spent.next.entry(org).or_insert(0);
            *next = (*next).max(seq + 1);
            let key = key(org, row.parsed(2)?, &row.bytes(3)?);
            let minute = spent.minutes.entry(minute(row.time(4)?)).or_default();
            spent.len += usize::from(minute.insert(key));
            Ok(())
        })?;
        Ok(spent)
    }

    /// Uses a value up; false where it was. Part of the transaction under way.
    pub(crate) fn spend(
        &mut self,
        conn: &mut dyn Conn,
        (org, org_text): (OrganizationId, &str),
        value: &SingleUse,
    ) -> Result<bool, Failure> {
        let key = key(org, value.client, &value.hash);
        if conn.is_shared() {
            let (seq, minute) = (place(key), minute(value.until));
            let first = write(conn, org_text, seq, value)?;
            if first {
                self.fresh.push(Fresh { minute, key, org, seq });
            }
            return Ok(first);
        }
        // Whatever it says of its end: the value is the same.
        if self.minutes.values().any(|minute| minute.contains(&key)) {
            return Ok(false);
        }
        if self.len >= SPENT_MAX {
            return Err(Failure::wrong(OPERATION, "too many single-use values are remembered"));
        }
        let minute = minute(value.until);
        self.minutes.entry(minute).or_default().insert(key);
        self.len += 1;
        let next = self.next.entry(org).or_insert(0);
        let seq = *next;
        *next += 1;
        self.fresh.push(Fresh { minute, key, org, seq });
        if write(conn, org_text, seq, value)? {
            return Ok(true);
        }
        Err(Failure::wrong(OPERATION, "its place is taken"))
    }

    /// Where the transaction stands; see [`Self::undo_to`].
    pub(crate) fn mark(&self) -> usize {
        self.fresh.len()
    }

    /// What was used up since `mark` was not.
    pub(crate) fn undo_to(&mut self, mark: usize) {
        for Fresh { minute, key, org, .. } in self.fresh.drain(mark.min(self.fresh.len())..) {
            let removed = self.minutes.get_mut(&minute).is_some_and(|keys| keys.remove(&key));
            self.len -= usize::from(removed);
            if let Some(next) = self.next.get_mut(&org) {
                *next -= 1;
            }
        }
    }

    /// The row of the last value that was used up in the transaction under way.
    pub(crate) fn last_used(&self) -> Option<(OrganizationId, u64)> {
        self.fresh.last().map(|last| (last.org, last.seq))
    }

    /// The place of a row, by its columns, where processes share a store.
    pub(crate) fn place_of(org: &str, client: &str, hash: &[u8]) -> Option<u64> {
        Some(place(key(org.parse().ok()?, client.parse().ok()?, hash.try_into().ok()?)))
    }

    /// Whether a row is there.
    pub(crate) fn is_written(
        conn: &mut dyn Conn,
        org: OrganizationId,
        seq: u64,
    ) -> Result<bool, DriverError> {
        let row = conn.first(
            "SELECT 1 FROM spent WHERE org = $1 AND seq = $2",
            &[org.to_string().as_str().into(), seq.into()],
            |row| row.int(0),
        )?;
        Ok(row.is_some())
    }

    /// The transaction was committed.
    pub(crate) fn keep(&mut self) {
        self.fresh.clear();
    }

    /// Forgets values that ended before `now`; whoever asks for one is refused before it comes here.
    pub(crate) fn forget_before(&mut self, now: Time) {
        let kept = self.minutes.split_off(&minute(now));
        let over = std::mem::replace(&mut self.minutes, kept);
        self.len -= over.values().map(HashSet::len).sum::<usize>();
    }
}

/// Writes a row; false where its place is taken.
fn write(conn: &mut dyn Conn, org: &str, seq: u64, value: &SingleUse) -> Result<bool, Failure> {
    let written = conn.execute(
        "INSERT INTO spent (org, seq, client, hash, until) VALUES ($1, $2, $3, $4, $5) \
         ON CONFLICT (org, seq) DO NOTHING",
        &[
            org.into(),
            seq.into(),
            value.client.to_string().as_str().into(),
            value.hash.as_slice().into(),
            value.until.into(),
        ],
    );
    Ok(written.map_err(|error| Failure::of(OPERATION, error))? == 1)
}

/// A row: its organization and its place.
pub(crate) type SpentKey = (String, i64);

/// One page of rows: those whose time is over, and the last one where there may be more.
///
/// There is no index by time: it would cost every issuance that proves itself by a signature, to
/// spare a scan that nobody waits for.
pub(crate) fn over(
    conn: &mut dyn Conn,
    from: &SpentKey,
    now: Time,
) -> Result<(Vec<SpentKey>, Option<SpentKey>), DriverError> {
    let (mut expired, mut last, mut seen) = (Vec::new(), None, 0);
    conn.query(
        "SELECT org, seq, until FROM spent WHERE (org, seq) > ($1, $2) ORDER BY org, seq LIMIT $3",
        &[(&from.0).into(), Value::Int(from.1), Value::Int(READ_ROWS_MAX as i64)],
        &mut |row| {
            seen += 1;
            let key = (row.text(0)?.to_owned(), row.int(1)?);
            if seen == READ_ROWS_MAX {
                last = Some(key.clone());
            }
            if row.time(2)? < now {
                expired.push(key);
            }
            Ok(())
        },
    )?;
    Ok((expired, last))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::Driver as _;
    use crate::driver::sqlite::SqliteDriver;
    use std::time::Duration;

    fn value(client: u8, hash: u8, until_minutes: u64) -> SingleUse {
        let client = accredit_wire::ids::AgentId::new(1, [client; 10]).any();
        let until = Time::from_seconds(0).plus(Duration::from_mins(until_minutes));
        SingleUse { client, hash: [hash; 32], until }
    }

    /// What earlier versions kept by value is known to the new table, and goes on from there.
    #[test]
    fn memory_follows_the_transaction_and_is_there_again_after_a_start() {
        let folder = tempfile::tempdir().expect("a folder");
        let driver = SqliteDriver::open(&folder.path().join("store.db")).expect("a store");
        let mut conn = driver.writer().expect("a connection");
        let org = OrganizationId::new(1, [1; 10]);
        let text = org.to_string();
        for (_, _, sql) in driver.migrations().iter().filter(|(version, ..)| *version < 5) {
            conn.script(sql).expect("an earlier schema");
        }
        let old = value(1, 1, 5);
        conn.execute(
            "INSERT INTO spent (org, client, hash, until) VALUES ($1, $2, $3, $4)",
            &[
                text.as_str().into(),
                old.client.to_string().as_str().into(),
                old.hash.as_slice().into(),
                old.until.into(),
            ],
        )
        .expect("written");
        let newest = driver.migrations().iter().find(|(version, ..)| *version == 5);
        conn.script(newest.expect("this one").2).expect("migrated");

        let mut spent = Spent::load(&mut *conn).expect("loaded");
        let mut spend = |spent: &mut Spent, value| {
            spent.spend(&mut *conn, (org, &text), &value).expect("answered")
        };
        assert!(!spend(&mut spent, value(1, 1, 5)), "used before the migration");
        assert!(!spend(&mut spent, value(1, 1, 6)), "whatever it says of its end");
        assert!(spend(&mut spent, value(2, 1, 5)), "another client's");
        spent.keep();
        let mark = spent.mark();
        assert!(spend(&mut spent, value(1, 2, 5)));
        assert!(!spend(&mut spent, value(1, 2, 5)), "twice in one transaction");
        spent.undo_to(mark);
        assert_eq!((spent.len, spent.next.get(&org)), (2, Some(&2)));
        spent.forget_before(Time::from_seconds(5 * 60));
        assert_eq!(spent.len, 2, "they end in that minute");
        spent.forget_before(Time::from_seconds(6 * 60));
        assert_eq!((spent.len, spent.minutes.len()), (0, 0));
        conn.execute(
            "DELETE FROM spent WHERE org = $1 AND seq = $2",
            &[(&text).into(), Value::Int(2)],
        )
        .expect("as the rollback did");
        let again = Spent::load(&mut *conn).expect("loaded");
        assert_eq!((again.len, again.next.get(&org)), (2, Some(&2)));
    }
}
