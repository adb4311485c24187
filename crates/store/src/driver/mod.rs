//! The seam between the store's operations and a database engine.
//!
//! Operations are written once against [`Conn`], in SQL that SQLite and PostgreSQL both read:
//! parameters `$1`, `$2`, … numbered in the order of their first appearance, `ON CONFLICT`,
//! `RETURNING`. Where the dialects differ there is a named method here; an operation never asks
//! which engine it is on. Absent on purpose: a query builder, row types.

mod added;
pub mod around;
pub(crate) mod numbered;
pub mod postgres;
pub mod sqlite;
pub mod target;
mod tls;
pub mod waking;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use accredit_domain::Fault;
use accredit_wire::time::Time;

use waking::Wakes;

/// A value on its way into a statement.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    /// Nothing.
    Null,
    /// A number, a truth value or a time in microseconds.
    Int(i64),
    /// Text: ids, names, JSON.
    Text(&'a str),
    /// Hashes and wrapped keys.
    Blob(&'a [u8]),
}

impl From<i64> for Value<'_> {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<u64> for Value<'_> {
    fn from(value: u64) -> Self {
        Self::Int(value as i64)
    }
}

impl From<u32> for Value<'_> {
    fn from(value: u32) -> Self {
        Self::Int(i64::from(value))
    }
}

impl From<u16> for Value<'_> {
    fn from(value: u16) -> Self {
        Self::Int(i64::from(value))
    }
}

impl From<bool> for Value<'_> {
    fn from(value: bool) -> Self {
        Self::Int(i64::from(value))
    }
}

impl From<Time> for Value<'_> {
    fn from(value: Time) -> Self {
        Self::Int(value.micros())
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(value: &'a str) -> Self {
        Self::Text(value)
    }
}

impl<'a> From<&'a String> for Value<'a> {
    fn from(value: &'a String) -> Self {
        Self::Text(value)
    }
}

impl<'a> From<&'a [u8]> for Value<'a> {
    fn from(value: &'a [u8]) -> Self {
        Self::Blob(value)
    }
}

impl<T: Into<Self>> From<Option<T>> for Value<'_> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// Why a statement failed. The text is the engine's own and holds no parameter's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DriverError {
    /// A value is taken; the last column of the constraint says which.
    Unique(String),
    /// The disk takes nothing more.
    Disk(DiskTrouble, String),
    /// Another transaction was in the way and this one was undone: run again, it may succeed.
    Conflict(String),
    /// The engine is not there, or takes too long: nothing of the transaction happened, unless it was
    /// its end that was not answered.
    Unavailable(String),
    /// Anything else.
    Failed(String),
}

/// Why a disk takes nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskTrouble {
    /// It is full.
    Full,
    /// It, or the file, is read-only.
    ReadOnly,
}

impl DriverError {
    /// Of a row that is not what it was written as.
    pub fn unreadable(column: usize, why: impl fmt::Display) -> Self {
        Self::Failed(format!("column {column} of the answer is unreadable: {why}"))
    }

    /// As a failure of `operation`.
    pub fn fault(self, operation: &'static str) -> Fault {
        Fault::new(operation, self)
    }
}

impl fmt::Display for DriverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unique(column) => write!(f, "another row has the same `{column}`"),
            Self::Disk(_, why)
            | Self::Conflict(why)
            | Self::Unavailable(why)
            | Self::Failed(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for DriverError {}

/// One row of an answer, while it is being read. Columns count from 0.
pub trait Row {
    /// A number, or nothing.
    fn opt_int(&self, column: usize) -> Result<Option<i64>, DriverError>;
    /// A text, or nothing.
    fn opt_text(&self, column: usize) -> Result<Option<&str>, DriverError>;
    /// Bytes, or nothing.
    fn opt_blob(&self, column: usize) -> Result<Option<&[u8]>, DriverError>;
}

impl dyn Row + '_ {
    /// A number.
    pub fn int(&self, column: usize) -> Result<i64, DriverError> {
        self.opt_int(column)?.ok_or_else(|| DriverError::unreadable(column, "is null"))
    }

    /// A counter: never negative.
    pub fn count(&self, column: usize) -> Result<u64, DriverError> {
        u64::try_from(self.int(column)?).map_err(|error| DriverError::unreadable(column, error))
    }

    /// A small counter.
    pub fn small(&self, column: usize) -> Result<u32, DriverError> {
        u32::try_from(self.int(column)?).map_err(|error| DriverError::unreadable(column, error))
    }

    /// A text.
    pub fn text(&self, column: usize) -> Result<&str, DriverError> {
        self.opt_text(column)?.ok_or_else(|| DriverError::unreadable(column, "is null"))
    }

    /// Bytes.
    pub fn blob(&self, column: usize) -> Result<&[u8], DriverError> {
        self.opt_blob(column)?.ok_or_else(|| DriverError::unreadable(column, "is null"))
    }

    /// Exactly `N` bytes.
    pub fn bytes<const N: usize>(&self, column: usize) -> Result<[u8; N], DriverError> {
        let bytes = self.blob(column)?;
        bytes.try_into().map_err(|error| DriverError::unreadable(column, error))
    }

    /// A time.
    pub fn time(&self, column: usize) -> Result<Time, DriverError> {
        self.int(column).map(Time::from_micros)
    }

    /// A time, or nothing.
    pub fn opt_time(&self, column: usize) -> Result<Option<Time>, DriverError> {
        Ok(self.opt_int(column)?.map(Time::from_micros))
    }

    /// A text of our own, or nothing.
    pub fn opt_string(&self, column: usize) -> Result<Option<String>, DriverError> {
        Ok(self.opt_text(column)?.map(str::to_owned))
    }

    /// What a text stands for.
    pub fn parsed<T: FromStr<Err: fmt::Display>>(&self, column: usize) -> Result<T, DriverError> {
        self.text(column)?.parse().map_err(|error| DriverError::unreadable(column, error))
    }

    /// What a text stands for, or nothing.
    pub fn opt_parsed<T>(&self, column: usize) -> Result<Option<T>, DriverError>
    where
        T: FromStr<Err: fmt::Display>,
    {
        let text = self.opt_text(column)?;
        text.map(str::parse).transpose().map_err(|error| DriverError::unreadable(column, error))
    }

    /// One of the words of a closed list.
    pub fn word<T>(
        &self,
        column: usize,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<T, DriverError> {
        parse(self.text(column)?)
            .ok_or_else(|| DriverError::unreadable(column, "is a word this version does not know"))
    }
}

/// What a transaction holds for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold<'a> {
    /// An organization's own row.
    Organization(&'a str),
    /// All lanes of an organization, in their order.
    Lanes(&'a str),
    /// One lane of an organization.
    Lane(&'a str, u16),
}

/// What is done with each row of an answer.
pub type EachRow<'a> = dyn FnMut(&dyn Row) -> Result<(), DriverError> + 'a;

/// One connection. It is used by one thread at a time and may block it.
pub trait Conn: Send {
    /// Runs a statement that answers no rows, and says how many it changed.
    fn execute(&mut self, sql: &'static str, params: &[Value<'_>]) -> Result<usize, DriverError>;

    /// Adds a row by an `INSERT … VALUES ($1, …, $n)` and nothing more but an `ON CONFLICT` without
    /// parameters; two rows of one key are not added beside each other then. An engine that is a network away
    /// may take several with one statement, before the next thing that is asked of it: a row that it
    /// does not take fails that one.
    fn add(&mut self, sql: &'static str, params: &[Value<'_>]) -> Result<(), DriverError> {
        self.execute(sql, params).map(drop)
    }

    /// Has every row that was [added](Self::add) taken: what is added after it is by another statement.
    fn end_rows(&mut self) -> Result<(), DriverError> {
        Ok(())
    }

    /// Runs a statement and hands over its rows one by one.
    fn query(
        &mut self,
        sql: &'static str,
        params: &[Value<'_>],
        each: &mut EachRow<'_>,
    ) -> Result<(), DriverError>;

    /// Runs the statements of a migration, one after the other.
    fn script(&mut self, sql: &str) -> Result<(), DriverError>;

    /// Begins a transaction that will write.
    fn begin_write(&mut self) -> Result<(), DriverError>;

    /// Begins a transaction that will change the schema. It waits for nobody for long, since whoever
    /// came later would wait behind it: then it fails as a conflict.
    fn begin_migration(&mut self) -> Result<(), DriverError> {
        self.begin_write()
    }

    /// Begins a transaction whose reads all see one state.
    fn begin_read(&mut self) -> Result<(), DriverError>;

    /// Ends the transaction: all of it is durable.
    fn commit(&mut self) -> Result<(), DriverError>;

    /// Whether the last [`Conn::commit`], where it failed, may have happened all the same. Not where the
    /// engine was not asked for it.
    fn is_in_doubt(&self) -> bool {
        true
    }

    /// Ends the transaction: nothing of it happened. Without one it does nothing.
    fn rollback(&mut self) -> Result<(), DriverError>;

    /// Begins a part of the transaction that can be undone by itself. They do not nest.
    fn savepoint(&mut self) -> Result<(), DriverError>;

    /// Ends that part: it stands or falls with the transaction.
    fn release(&mut self) -> Result<(), DriverError>;

    /// Ends that part: nothing of it happened.
    fn undo(&mut self) -> Result<(), DriverError>;

    /// Whether there still is a transaction; some errors end it without being asked.
    fn in_transaction(&self) -> bool;

    /// Holds a row, or several, until the transaction ends: whoever else holds them is waited for, and
    /// what is read from here on is as they left it. An engine with one writer has nothing to do.
    fn hold(&mut self, what: Hold<'_>) -> Result<(), DriverError>;

    /// Whether other processes may write to the same store, so that what this one remembers is not
    /// all there is.
    fn is_shared(&self) -> bool;

    /// Wakes other processes once the transaction is committed, where the engine can: a hint, by which
    /// nothing goes ([`Driver::listen`]).
    fn wake(&mut self) -> Result<(), DriverError> {
        Ok(())
    }

    /// How many other connections of this program there are to the same store, where the engine says.
    fn others(&mut self) -> Result<Option<u64>, DriverError> {
        Ok(None)
    }

    /// How many sessions this connection has had: with each further one the server may be another.
    fn session(&self) -> u64 {
        1
    }

    /// Lets the engine look at a table that was filled from empty, where it plans by what it has seen.
    fn analyze(&mut self, _table: &'static str) -> Result<(), DriverError> {
        Ok(())
    }

    /// Moves what was committed from the journal to its final place, without waiting for
    /// anybody, and says how many pages are left to move. An engine that does so by itself
    /// answers 0.
    fn checkpoint(&mut self) -> Result<u64, DriverError>;
}

impl dyn Conn + '_ {
    /// The first row of an answer, as `read` understands it.
    pub fn first<T>(
        &mut self,
        sql: &'static str,
        params: &[Value<'_>],
        read: impl Fn(&dyn Row) -> Result<T, DriverError>,
    ) -> Result<Option<T>, DriverError> {
        let mut found = None;
        self.query(sql, params, &mut |row| {
            if found.is_none() {
                found = Some(read(row)?);
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// All rows of an answer, as `read` understands them. The statement itself is bounded.
    pub fn all<T>(
        &mut self,
        sql: &'static str,
        params: &[Value<'_>],
        read: impl Fn(&dyn Row) -> Result<T, DriverError>,
    ) -> Result<Vec<T>, DriverError> {
        let mut found = Vec::new();
        self.query(sql, params, &mut |row| {
            found.push(read(row)?);
            Ok(())
        })?;
        Ok(found)
    }

    /// The number that a statement answers.
    pub fn number(&mut self, sql: &'static str, params: &[Value<'_>]) -> Result<u64, DriverError> {
        Ok(self.first(sql, params, |row| row.count(0))?.unwrap_or(0))
    }
}

/// An engine with one store in it.
pub trait Driver: Send + Sync {
    /// A connection that writes.
    fn writer(&self) -> Result<Box<dyn Conn>, DriverError>;

    /// A connection that cannot write.
    fn reader(&self) -> Result<Box<dyn Conn>, DriverError>;

    /// The numbered migrations in this engine's dialect, ascending: number, name, statements.
    fn migrations(&self) -> &'static [(i64, &'static str, &'static str)];

    /// What is heard of other processes' changes, from the first call on; nothing where the engine tells
    /// nobody of them.
    fn listen(&self) -> Option<Arc<Wakes>> {
        None
    }
}
