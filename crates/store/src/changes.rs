//! What other nodes commit to the same store, told here as if this one had.
//!
//! A batch that has something to tell writes it as rows of `change`, each at the next place of one
//! order for the whole installation. The row that counts the places is taken last and held until the
//! commit, so places have no gap and are in the order of commits, whatever anybody's clock says. A node
//! reads on from the place up to which it has told its own caches and observers, and its writer tells
//! nothing of its own before it has told all that came before. A row says what is to be forgotten or
//! read again, never what it is: no secret is in it, and what is read may be newer, never older.
//!
//! So a node also knows when the store has lost what it had answered, since a standby that did not have
//! all of it took the place of the primary: what this node was told last is not there, or another in
//! its place, or one of the last leaves that it has added is not. It is asked of every session that is made
//! anew, and of every change. Whoever finds that says so in the row that counts the places, and no
//! node answers anything until a person has declared the loss.
//!
//! Absent on purpose: notifications that must arrive (whoever misses one reads the table), clocks, and
//! rows that are kept for ever: a node that was away for more than [`CHANGES_KEPT`] of them forgets
//! everything instead.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use accredit_domain::ports::{Lookup, Notice};
use accredit_domain::view::Loss;
use accredit_wire::crypto::sha256;
use accredit_wire::ids::{CredentialId, OrganizationId};
use accredit_wire::time::Time;

use crate::cache::Tag;
use crate::driver::{Conn, DriverError, Row};
use crate::failure::Failure;
use crate::log::{self, Head};
use crate::member::Done;
use crate::shared::Shared;
use crate::{generations, keys, organizations, resources, revocations};

/// What is said of a store that has lost what it had answered.
pub(crate) const LOST: &str =
    "the store has lost what it had answered: declare that, or put back what has it";

/// Changes that are kept for nodes that were away, the newest.
pub const CHANGES_KEPT: u64 = 100_000;
/// Changes that are read at a time.
const CHANGES_READ_MAX: i64 = 500;
/// Leaves that a node remembers to have added, to ask a new session for them: those of the lanes that it
/// has added to last.
const ADDED_MAX: usize = 8;
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
    told: Mutex<Mark>,
    /// The last leaves that this node has added, of each lane one, with the lanes' organizations; the
    /// newest last.
    added: Mutex<Vec<(String, Head)>>,
    /// Whether the store has lost what it had answered.
    pub(crate) loss: Arc<Loss>,
    /// The place of this node's own change of the root key, the last one.
    own_root: AtomicU64,
    /// Another node has changed the root key: this one opens nothing any more.
    root_is_other: AtomicBool,
}

/// How far a node has come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    /// The place of the last change that everybody here was told.
    pub(crate) place: u64,
    /// The hash of its row, where that was seen.
    row: Option<[u8; 32]>,
    /// How many losses were found and declared by then.
    losses: u64,
}

/// What came of reading on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// Everybody was told up to what was the newest then.
    All,
    /// There is more.
    Some,
    /// A loss was declared: everything was forgotten. Single-use values that end before this, in
    /// microseconds, may have been used up.
    Anew(i64),
    /// The store has lost what it had answered.
    Lost,
}

/// A change as it was read, with what it is to be told with.
pub(crate) struct Change {
    place: u64,
    /// The hash of its row.
    row: [u8; 32],
    tags: Vec<Tag>,
    notice: Option<Notice>,
    what: i64,
}

/// The next changes after some place.
pub(crate) struct Next {
    /// The newest place when they were read.
    head: u64,
    losses: u64,
    /// Whether what the node knows is not there.
    is_lost: bool,
    /// Up to when single-use values may have been used up, where a loss was declared.
    spent_before: Option<i64>,
    changes: Vec<Change>,
}

/// What a batch tells, with what others told before it.
pub(crate) struct Telling {
    /// The place of the first of its own.
    first: u64,
    /// The hashes of its rows.
    rows: Vec<[u8; 32]>,
    /// What others committed before it, and nobody here was told yet.
    before: Vec<Change>,
}

impl Changes {
    /// From here on: nothing is in memory yet.
    pub(crate) fn from_now_on(conn: &mut dyn Conn) -> Result<Self, DriverError> {
        let (place, losses) = head(conn)?;
        let row = row_at(conn, place)?;
        let loss = Arc::<Loss>::default();
        if is_open(losses) {
            loss.found();
        }
        Ok(Self {
            told: Mutex::new(Mark { place, row, losses }),
            added: Mutex::default(),
            loss,
            own_root: AtomicU64::new(0),
            root_is_other: AtomicBool::new(false),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Mark> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Up to which place everybody here was told.
    pub(crate) fn told(&self) -> Mark {
        *self.lock()
    }

    /// The last leaf that this node has added to a lane, in a batch that was committed.
    pub(crate) fn added(&self, org: &str, head: Head) {
        let mut added = self.added.lock().unwrap_or_else(PoisonError::into_inner);
        added.retain(|(other, was)| other != org || was.lane != head.lane);
        if added.len() >= ADDED_MAX {
            added.remove(0);
        }
        added.push((org.to_owned(), head));
    }

    /// Asks a session that was made anew whether all is there that this node knows: to be called
    /// first in a transaction. Fails where it is not.
    pub(crate) fn check(&self, conn: &mut dyn Conn) -> Result<(), DriverError> {
        let mark = self.told();
        let added = self.added.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (place, losses) = head(conn)?;
        if losses != mark.losses {
            // Whoever reads on is told what to do.
            return Ok(());
        }
        let mut is_there = place >= mark.place && mark.is_in(conn)?;
        for (org, head) in &added {
            is_there = is_there && log::is_written(conn, org, head)?;
        }
        if is_there {
            return Ok(());
        }
        self.find(place, &mark);
        Err(DriverError::Failed(LOST.to_owned()))
    }

    /// The store has lost what it had answered.
    fn find(&self, place: u64, mark: &Mark) {
        if self.loss.found() {
            tracing::error!(place, known = mark.place, "{LOST}");
        }
    }

    /// What is to be written into the store so that every node knows of the loss: how many there were
    /// before it. Nothing where none was found, or it stands there already.
    pub(crate) fn to_be_told(&self) -> Option<u64> {
        let losses = self.told().losses;
        (self.loss.is_found() && !is_open(losses)).then_some(losses)
    }

    /// Whether another node has changed the root key.
    pub(crate) fn root_is_other(&self) -> bool {
        self.root_is_other.load(Ordering::SeqCst)
    }

    /// Tells what was read.
    pub(crate) fn take(&self, shared: &Shared, next: Next) -> Taken {
        let mut told = self.lock();
        if next.losses != told.losses {
            told.losses = next.losses;
            let Some(spent_before) = next.spent_before else {
                self.find(next.head, &told);
                return Taken::Lost;
            };
            tracing::warn!(losses = next.losses, "a loss was declared: all is read anew");
            self.added.lock().unwrap_or_else(PoisonError::into_inner).clear();
            *told = Mark { place: next.head, row: None, losses: next.losses };
            shared.reverted();
            self.loss.declared();
            return Taken::Anew(spent_before);
        }
        if next.is_lost {
            self.find(next.head, &told);
        }
        if self.loss.is_found() {
            return Taken::Lost;
        }
        let follows = next.changes.first().is_some_and(|change| change.place <= told.place + 1);
        if next.head > told.place && !follows {
            tracing::warn!(
                from = told.place,
                to = next.head,
                "changes were missed: all is read anew"
            );
            shared.lost();
            (told.place, told.row) = (next.head, None);
        }
        for change in &next.changes {
            self.tell(shared, &mut told, change);
        }
        if told.place >= next.head { Taken::All } else { Taken::Some }
    }

    fn tell(&self, shared: &Shared, told: &mut Mark, change: &Change) {
        if change.place != told.place + 1 {
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
        (told.place, told.row) = (change.place, Some(change.row));
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
        let own = (telling.first..).zip(&telling.rows).zip(own);
        for ((place, row), done) in own {
            // Where it was read from the table meanwhile, it was told from there.
            if place == told.place + 1 {
                done.touched.iter().for_each(|tag| shared.stamps.touch(*tag));
                if done.anew {
                    shared.lost();
                }
                if let Some(notice) = &done.notice {
                    let notice = Notice { place, ..Notice::clone(notice) };
                    shared.each_observer(|observer| observer.committed(&notice));
                }
                (told.place, told.row) = (place, Some(*row));
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
        let mut rows = Vec::new();
        for (place, done) in (first..).zip(own()) {
            rows.push(write_one(conn, place, done)?);
            if done.rewrapped.is_some() {
                self.own_root.store(place, Ordering::SeqCst);
            }
        }
        let (mut before, mut after) = (Vec::new(), self.told().place);
        for _ in 0..READS_IN_BATCH_MAX {
            if after + 1 >= first {
                conn.wake()?;
                return Ok(Some(Telling { first, rows, before }));
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

impl Mark {
    /// Whether the change that it names is in the store, or so long ago that it is kept no more.
    fn is_in(&self, conn: &mut dyn Conn) -> Result<bool, DriverError> {
        let Some(row) = self.row else { return Ok(true) };
        Ok(row_at(conn, self.place)?.is_none_or(|there| there == row))
    }
}

/// Whether a loss was found and not declared.
const fn is_open(losses: u64) -> bool {
    losses % 2 == 1
}

/// The newest place, and how many losses were found and declared.
fn head(conn: &mut dyn Conn) -> Result<(u64, u64), DriverError> {
    let found = conn.first("SELECT place, losses FROM change_head WHERE id = 1", &[], |row| {
        Ok((row.count(0)?, row.count(1)?))
    })?;
    found.ok_or_else(|| DriverError::Failed("changes have no head".to_owned()))
}

/// Writes that a loss was found, where that many were found and declared before.
pub(crate) fn write_found(conn: &mut dyn Conn, before: u64) -> Result<(), DriverError> {
    conn.execute(
        "UPDATE change_head SET losses = losses + 1 WHERE id = 1 AND losses = $1",
        &[before.into()],
    )
    .map(drop)
}

/// Writes that a loss was found, whoever has found it.
pub(crate) fn write_begun(conn: &mut dyn Conn) -> Result<(), DriverError> {
    let sql = "UPDATE change_head SET losses = losses + 1 - losses % 2 WHERE id = 1";
    conn.execute(sql, &[]).map(drop)
}

/// Writes that a loss was declared.
pub(crate) fn write_declared(conn: &mut dyn Conn) -> Result<(), DriverError> {
    let sql = "UPDATE change_head SET losses = losses + losses % 2 WHERE id = 1";
    conn.execute(sql, &[]).map(drop)
}

fn write_one(conn: &mut dyn Conn, place: u64, done: &Done) -> Result<[u8; 32], DriverError> {
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
    conn.execute("DELETE FROM change WHERE place = $1", &[over.into()])?;
    Ok(hash_of((place, rev, at, what), org.as_deref(), &tags, &credentials))
}

/// The hash of a row of `change`: of two histories that have come equally far, the rows at one place
/// differ at least in the time.
fn hash_of(
    (place, rev, at, what): (u64, u64, Time, i64),
    org: Option<&str>,
    tags: &[u8],
    credentials: &str,
) -> [u8; 32] {
    let mut bytes = Vec::with_capacity(64 + tags.len() + credentials.len());
    for number in [place as i64, rev as i64, at.micros(), what, tags.len() as i64] {
        bytes.extend_from_slice(&number.to_be_bytes());
    }
    bytes.extend_from_slice(tags);
    bytes.extend_from_slice(org.unwrap_or_default().as_bytes());
    bytes.extend_from_slice(credentials.as_bytes());
    sha256(&bytes)
}

/// The hash of the row at a place, where it is there.
fn row_at(conn: &mut dyn Conn, place: u64) -> Result<Option<[u8; 32]>, DriverError> {
    conn.first(
        "SELECT place, org, rev, at, what, tags, credentials FROM change WHERE place = $1",
        &[place.into()],
        hash_of_row,
    )
}

fn hash_of_row(row: &dyn Row) -> Result<[u8; 32], DriverError> {
    let numbers = (row.count(0)?, row.count(2)?, row.time(3)?, row.int(4)?);
    Ok(hash_of(numbers, row.opt_text(1)?, row.blob(5)?, row.text(6)?))
}

/// The next changes after a mark, which is older than the transaction. All of those up to the newest,
/// unless they are many.
pub(crate) fn next(conn: &mut dyn Conn, after: Mark) -> Result<Next, DriverError> {
    // First: what is read then is at least as new.
    let (head, losses) = head(conn)?;
    let mut next =
        Next { head, losses, is_lost: head < after.place, spent_before: None, changes: Vec::new() };
    if losses != after.losses {
        if !is_open(losses) {
            next.spent_before = Some(generations::spent_before(conn)?);
        }
        return Ok(next);
    }
    if head > after.place {
        next.is_lost = !after.is_in(conn)?;
        next.changes = read(conn, after.place, u64::MAX >> 1)?;
    }
    Ok(next)
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
        change: Change {
            place: row.count(0)?,
            row: hash_of_row(row)?,
            tags,
            notice: None,
            what: row.int(4)?,
        },
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
        place: change.place,
        is_elsewhere: true,
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
