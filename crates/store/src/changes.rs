//! What other nodes commit to the same store, told here as if this one had.
//!
//! A batch that has something to tell writes it as rows of `change`, each at the next place of one
//! order for the whole installation. The row that counts the places is taken last and held until the
//! commit, so places have no gap and are in the order of commits, whatever anybody's clock says. A node
//! reads on from the place up to which it has told its own caches and observers, and its writer tells
//! nothing of its own before it has told all that came before. A row says what is to be forgotten or
//! read again, never what it is: no secret is in it, and what is read may be newer, never older.
//!
//! Absent on purpose: notifications that must arrive (whoever misses one reads the table), clocks, and
//! rows that are kept for ever: a node that was away for more than [`CHANGES_KEPT`] of them forgets
//! everything instead.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use accredit_domain::ports::{Lookup, Notice};
use accredit_wire::ids::{CredentialId, OrganizationId};
use accredit_wire::time::Time;

use crate::cache::Tag;
use crate::driver::{Conn, DriverError, Row};
use crate::failure::Failure;
use crate::member::Done;
use crate::shared::Shared;
use crate::{keys, organizations, resources, revocations};

/// Changes that are kept for nodes that were away, the newest.
pub const CHANGES_KEPT: u64 = 100_000;
/// Changes that are read at a time.
const CHANGES_READ_MAX: i64 = 500;
/// How often a batch reads on before it is given up: this node is too far behind to write.
const READS_IN_BATCH_MAX: usize = 4;

/// What a change is of, a bit each.
const REVOCATION: i64 = 1;
const ORGANIZATION: i64 = 2;
const KEYS: i64 = 4;
const AGE: i64 = 8;
const NOTICE: i64 = 16;
const ANEW: i64 = 32;
const ROOT: i64 = 64;

/// How far this node has come in what all nodes commit.
pub(crate) struct Changes {
    /// Up to which place caches and observers were told. Held while they are.
    told: Mutex<u64>,
    /// The place of this node's own change of the root key, the last one.
    own_root: AtomicU64,
    /// Another node has changed the root key: this one opens nothing any more.
    root_is_other: AtomicBool,
}

/// A change as it was read, with what it is to be told with.
pub(crate) struct Change {
    place: u64,
    tags: Vec<Tag>,
    notice: Option<Notice>,
    what: i64,
}

/// The next changes after some place.
pub(crate) struct Next {
    /// The newest place when they were read.
    head: u64,
    changes: Vec<Change>,
}

/// What a batch tells, with what others told before it.
pub(crate) struct Telling {
    /// The place of the first of its own.
    first: u64,
    /// What others committed before it, and nobody here was told yet.
    before: Vec<Change>,
}

impl Changes {
    /// From here on: nothing is in memory yet.
    pub(crate) fn from_now_on(conn: &mut dyn Conn) -> Result<Self, DriverError> {
        Ok(Self {
            told: Mutex::new(head(conn)?),
            own_root: AtomicU64::new(0),
            root_is_other: AtomicBool::new(false),
        })
    }

    fn lock(&self) -> MutexGuard<'_, u64> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Up to which place everybody here was told.
    pub(crate) fn told(&self) -> u64 {
        *self.lock()
    }

    /// Whether another node has changed the root key.
    pub(crate) fn root_is_other(&self) -> bool {
        self.root_is_other.load(Ordering::SeqCst)
    }

    /// Tells what was read. Whether everybody was told up to what was the newest then.
    pub(crate) fn take(&self, shared: &Shared, next: Next) -> bool {
        let mut told = self.lock();
        let follows = next.changes.first().is_some_and(|change| change.place <= *told + 1);
        if next.head > *told && !follows {
            tracing::warn!(from = *told, to = next.head, "changes were missed: all is read anew");
            shared.lost();
            *told = next.head;
        }
        for change in &next.changes {
            self.tell(shared, &mut told, change);
        }
        *told >= next.head
    }

    fn tell(&self, shared: &Shared, told: &mut u64, change: &Change) {
        if change.place != *told + 1 {
            return;
        }
        if change.what & ROOT != 0 && change.place != self.own_root.load(Ordering::SeqCst) {
            self.root_is_other.store(true, Ordering::SeqCst);
        }
        if change.what & ANEW != 0 {
            shared.lost();
        }
        change.tags.iter().for_each(|tag| shared.stamps.touch(*tag));
        if let Some(notice) = &change.notice {
            shared.each_observer(|observer| observer.committed(notice));
        }
        *told = change.place;
    }

    /// Tells what this node has committed itself, and before it what others did.
    pub(crate) fn tell_own<'d>(
        &self,
        shared: &Shared,
        telling: &Telling,
        own: impl Iterator<Item = &'d Done>,
    ) {
        let mut told = self.lock();
        for change in &telling.before {
            self.tell(shared, &mut told, change);
        }
        for (place, done) in (telling.first..).zip(own) {
            // Where it was read from the table meanwhile, it was told from there.
            if place == *told + 1 {
                done.touched.iter().for_each(|tag| shared.stamps.touch(*tag));
                if done.anew {
                    shared.lost();
                }
                if let Some(notice) = &done.notice {
                    shared.each_observer(|observer| observer.committed(notice));
                }
                *told = place;
            }
        }
    }

    /// Writes what a batch tells, and reads what others told before. Nothing where it tells nothing.
    /// To be called last in its transaction: from here on no other node's batch that tells anything
    /// comes to its end before this one.
    pub(crate) fn write(
        &self,
        conn: &mut dyn Conn,
        outcomes: &[Result<Done, Failure>],
    ) -> Result<Option<Telling>, DriverError> {
        let own = || outcomes.iter().flatten().filter(|done| done.tells());
        let count = own().count() as u64;
        if count == 0 {
            return Ok(None);
        }
        let last = conn.first(
            "UPDATE change_head SET place = place + $1 WHERE id = 1 RETURNING place",
            &[count.into()],
            |row| row.count(0),
        )?;
        let last = last.ok_or_else(|| DriverError::Failed("changes have no head".to_owned()))?;
        let first = last - count + 1;
        for (place, done) in (first..).zip(own()) {
            write_one(conn, place, done)?;
            if done.rewrapped.is_some() {
                self.own_root.store(place, Ordering::SeqCst);
            }
        }
        let (mut before, mut after) = (Vec::new(), self.told());
        for _ in 0..READS_IN_BATCH_MAX {
            if after + 1 >= first {
                return Ok(Some(Telling { first, before }));
            }
            let changes = read(conn, after, first)?;
            if changes.first().is_none_or(|change| change.place != after + 1) {
                break;
            }
            after = changes.last().map_or(after, |change| change.place);
            before.extend(changes);
        }
        Err(DriverError::Failed("this node has missed too much of what others wrote".to_owned()))
    }
}

fn head(conn: &mut dyn Conn) -> Result<u64, DriverError> {
    conn.number("SELECT place FROM change_head WHERE id = 1", &[])
}

fn write_one(conn: &mut dyn Conn, place: u64, done: &Done) -> Result<(), DriverError> {
    let mut what = if done.anew { ANEW } else { 0 };
    what |= if done.rewrapped.is_some() { ROOT } else { 0 };
    let (mut org, mut rev, mut at, mut credentials) = (None, 0, Time::default(), Vec::new());
    if let Some(notice) = done.notice.as_deref() {
        what |= NOTICE;
        what |= if notice.revocation.is_some() { REVOCATION } else { 0 };
        what |= if notice.organization.is_some() { ORGANIZATION } else { 0 };
        what |= if notice.keys.is_empty() { 0 } else { KEYS };
        what |= if notice.revocations_age_min.is_some() { AGE } else { 0 };
        (org, rev, at) = (Some(notice.org.to_string()), notice.rev, notice.at);
        let ends = notice.credentials.iter();
        credentials = ends.map(|(id, end)| (id.to_string(), end.micros())).collect();
    }
    let tags: Vec<u8> = done.touched.iter().flat_map(|tag| tag.to_bytes()).collect();
    let credentials = serde_json::to_string(&credentials)
        .map_err(|error| DriverError::Failed(error.to_string()))?;
    conn.execute(
        "INSERT INTO change (place, org, rev, at, what, tags, credentials) \
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
        &[
            place.into(),
            org.as_deref().into(),
            rev.into(),
            at.into(),
            what.into(),
            tags.as_slice().into(),
            (&credentials).into(),
        ],
    )?;
    let over = place.saturating_sub(CHANGES_KEPT);
    conn.execute("DELETE FROM change WHERE place = $1", &[over.into()]).map(drop)
}

/// The next changes after a place. All of those up to the newest, unless they are many.
pub(crate) fn next(conn: &mut dyn Conn, after: u64) -> Result<Next, DriverError> {
    // First: what is read then is at least as new.
    let head = head(conn)?;
    let changes = if head > after { read(conn, after, u64::MAX >> 1)? } else { Vec::new() };
    Ok(Next { head, changes })
}

/// A row of `change`.
struct Written {
    change: Change,
    about: Option<(OrganizationId, u64, Time)>,
    credentials: Vec<(CredentialId, Time)>,
}

fn written(row: &dyn Row) -> Result<Written, DriverError> {
    let unreadable = |column, why: &dyn std::fmt::Display| DriverError::unreadable(column, why);
    let tags = row.blob(5)?.as_chunks::<16>();
    if !tags.1.is_empty() {
        return Err(unreadable(5, &"is cut off"));
    }
    let tags = tags.0.iter().map(|tag| Tag::from_bytes(*tag)).collect();
    let (rev, at) = (row.count(2)?, row.time(3)?);
    let ends: Vec<(CredentialId, i64)> =
        serde_json::from_str(row.text(6)?).map_err(|error| unreadable(6, &error))?;
    Ok(Written {
        change: Change { place: row.count(0)?, tags, notice: None, what: row.int(4)? },
        about: row.opt_parsed(1)?.map(|org| (org, rev, at)),
        credentials: ends.into_iter().map(|(id, end)| (id, Time::from_micros(end))).collect(),
    })
}

fn read(conn: &mut dyn Conn, after: u64, below: u64) -> Result<Vec<Change>, DriverError> {
    let rows = conn.all(
        "SELECT place, org, rev, at, what, tags, credentials FROM change \
         WHERE place > $1 AND place < $2 ORDER BY place LIMIT $3",
        &[after.into(), below.into(), CHANGES_READ_MAX.into()],
        written,
    )?;
    rows.into_iter().map(|row| with_notice(conn, row)).collect()
}

/// A change with what observers are told of it, as it is now.
fn with_notice(conn: &mut dyn Conn, written: Written) -> Result<Change, DriverError> {
    let Written { mut change, about, credentials } = written;
    let has = |bit: i64| change.what & bit != 0;
    let Some((org, rev, at)) = about.filter(|_| has(NOTICE)) else { return Ok(change) };
    let text = org.to_string();
    change.notice = Some(Notice {
        org,
        rev,
        at,
        revocation: if has(REVOCATION) { revocations::at(conn, &text, rev)? } else { None },
        organization: if has(ORGANIZATION) {
            organizations::find(conn, &Lookup::Id(org))?
        } else {
            None
        },
        keys: if has(KEYS) { keys::all(conn, org)? } else { Vec::new() },
        revocations_age_min: if has(AGE) {
            resources::revocations_age_min(conn, &text)?
        } else {
            None
        },
        credentials,
    });
    Ok(change)
}
