//! SQLite, bundled: one file in WAL mode, every commit synced.
//!
//! `synchronous=FULL` syncs the journal at each commit, which is what makes a commit durable. The
//! journal is never moved into the file by a commit that happens to be the unlucky one: that is
//! asked for, off the request path (see [`crate::maintenance`]).

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{CachedStatement, Connection, OpenFlags, ffi};

use super::{Conn, DiskTrouble, Driver, DriverError, EachRow, Hold, Row, Value, numbered};

/// How long a connection waits for another's lock. There is one writer, so it waits only for the
/// moment in which the journal starts anew.
const BUSY_WAIT: Duration = Duration::from_secs(5);
/// Statements that each connection keeps prepared: more than there are in the store.
const STATEMENTS_PREPARED_MAX: usize = 256;
/// Page cache of the writer, KiB; negative is SQLite's way of saying KiB. Enough for what batches
/// add to and for the inner pages of all trees: the kernel keeps the rest.
const WRITER_PAGES_KIB: i64 = -24_576;
/// Page cache of each reader, KiB.
const READER_PAGES_KIB: i64 = -8_192;

/// A store in one file, held by this process alone.
pub struct SqliteDriver {
    path: PathBuf,
    /// Held while this lives; the system lets go of it when the process ends, however it ends.
    _lock: File,
}

impl SqliteDriver {
    /// Takes the file at `path`, which is made where there is none. Fails where another process
    /// has it: two servers on one file would each keep a memory of their own.
    pub fn open(path: &Path) -> Result<Self, DriverError> {
        let mut name = path.as_os_str().to_owned();
        name.push(".lock");
        let lock = private_file(Path::new(&name)).map_err(|error| io("open the lock", &error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let why = "the store is in use by another process; stop that one first";
                return Err(DriverError::Failed(why.to_owned()));
            }
            Err(TryLockError::Error(error)) => return Err(io("lock the store", &error)),
        }
        private_file(path).map_err(|error| io("open the store", &error))?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// A connection that only reads the file at `path`, whoever has it.
    pub(crate) fn look(path: &Path) -> Result<Box<dyn Conn>, DriverError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = Connection::open_with_flags(path, flags).map_err(failed)?;
        conn.busy_timeout(BUSY_WAIT).map_err(failed)?;
        conn.pragma_update(None, "query_only", true).map_err(failed)?;
        Ok(Box::new(SqliteConn(conn)))
    }

    /// An empty store that is gone with its connection.
    pub(crate) fn in_memory() -> Result<Box<dyn Conn>, DriverError> {
        Ok(Box::new(SqliteConn(Connection::open_in_memory().map_err(failed)?)))
    }

    /// Writes a copy of the file at `path`, as of one moment and whoever has it, into the empty
    /// file `to`. What was deleted is not in it.
    pub(crate) fn copy(path: &Path, to: &Path) -> Result<(), DriverError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = Connection::open_with_flags(path, flags).map_err(failed)?;
        conn.busy_timeout(BUSY_WAIT).map_err(failed)?;
        let Some(to) = to.to_str() else {
            return Err(DriverError::Failed("the name of the copy is not UTF-8".to_owned()));
        };
        conn.execute("VACUUM INTO ?1", [to]).map(drop).map_err(failed)
    }

    fn connect(&self, pages_kib: i64) -> Result<Connection, DriverError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = Connection::open_with_flags(&self.path, flags).map_err(failed)?;
        conn.busy_timeout(BUSY_WAIT).map_err(failed)?;
        conn.set_prepared_statement_cache_capacity(STATEMENTS_PREPARED_MAX);
        // A plan depends on the statement alone. Otherwise the engine plans a statement anew whenever
        // a value is bound that could have led to another plan, which costs more than most reads.
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map_err(failed)?;
        conn.pragma_update(None, "foreign_keys", true).map_err(failed)?;
        conn.pragma_update(None, "cache_size", pages_kib).map_err(failed)?;
        Ok(conn)
    }
}

impl Driver for SqliteDriver {
    fn writer(&self) -> Result<Box<dyn Conn>, DriverError> {
        let conn = self.connect(WRITER_PAGES_KIB)?;
        let mode: String = conn
            .pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))
            .map_err(failed)?;
        if mode != "wal" {
            let why = "the file system cannot hold a write-ahead log; use a local disk";
            return Err(DriverError::Failed(why.to_owned()));
        }
        conn.pragma_update(None, "synchronous", "full").map_err(failed)?;
        // What a savepoint would be undone by: a batch of pages, which a file would cost a call each.
        conn.pragma_update(None, "temp_store", "memory").map_err(failed)?;
        conn.query_row("PRAGMA wal_autocheckpoint = 0", [], |_| Ok(())).map_err(failed)?;
        Ok(Box::new(SqliteConn(conn)))
    }

    fn reader(&self) -> Result<Box<dyn Conn>, DriverError> {
        let conn = self.connect(READER_PAGES_KIB)?;
        conn.pragma_update(None, "query_only", true).map_err(failed)?;
        Ok(Box::new(SqliteConn(conn)))
    }

    fn migrations(&self) -> &'static [(i64, &'static str, &'static str)] {
        numbered::SQLITE
    }
}

/// Opens a file that only its owner may read, and makes it where there is none. SQLite gives its
/// journal the same permissions.
fn private_file(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn io(what: &str, error: &std::io::Error) -> DriverError {
    DriverError::Failed(format!("cannot {what}: {error}"))
}

fn failed(error: rusqlite::Error) -> DriverError {
    if let rusqlite::Error::SqliteFailure(code, Some(message)) = &error
        && matches!(
            code.extended_code,
            ffi::SQLITE_CONSTRAINT_UNIQUE | ffi::SQLITE_CONSTRAINT_PRIMARYKEY
        )
    {
        // `UNIQUE constraint failed: person.org, person.email`
        let column = message.rsplit('.').next().unwrap_or_default();
        return DriverError::Unique(column.to_owned());
    }
    match error.sqlite_error_code() {
        Some(ffi::ErrorCode::DiskFull) => {
            return DriverError::Disk(DiskTrouble::Full, error.to_string());
        }
        Some(ffi::ErrorCode::ReadOnly) => {
            return DriverError::Disk(DiskTrouble::ReadOnly, error.to_string());
        }
        _ => {}
    }
    DriverError::Failed(error.to_string())
}

struct SqliteConn(Connection);

impl SqliteConn {
    fn prepared(
        &self,
        sql: &'static str,
        params: &[Value<'_>],
    ) -> Result<CachedStatement<'_>, DriverError> {
        let mut statement = self.0.prepare_cached(sql).map_err(failed)?;
        if statement.parameter_count() != params.len() {
            return Err(DriverError::Failed(format!(
                "a statement with {} parameters was given {}",
                statement.parameter_count(),
                params.len()
            )));
        }
        for (index, value) in params.iter().enumerate() {
            // SQLite numbers `$n` by first appearance, PostgreSQL by `n`: they must agree.
            debug_assert_eq!(
                statement.parameter_name(index + 1),
                Some(format!("${}", index + 1).as_str()),
                "parameters out of order in {sql}"
            );
            let value = ToSqlOutput::Borrowed(match value {
                Value::Null => ValueRef::Null,
                Value::Int(number) => ValueRef::Integer(*number),
                Value::Text(text) => ValueRef::Text(text.as_bytes()),
                Value::Blob(bytes) => ValueRef::Blob(bytes),
            });
            statement.raw_bind_parameter(index + 1, value).map_err(failed)?;
        }
        Ok(statement)
    }
}

impl Conn for SqliteConn {
    fn execute(&mut self, sql: &'static str, params: &[Value<'_>]) -> Result<usize, DriverError> {
        self.prepared(sql, params)?.raw_execute().map_err(failed)
    }

    fn query(
        &mut self,
        sql: &'static str,
        params: &[Value<'_>],
        each: &mut EachRow<'_>,
    ) -> Result<(), DriverError> {
        let mut statement = self.prepared(sql, params)?;
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next().map_err(failed)? {
            each(&SqliteRow(row))?;
        }
        Ok(())
    }

    fn script(&mut self, sql: &str) -> Result<(), DriverError> {
        self.0.execute_batch(sql).map_err(failed)
    }

    fn begin_write(&mut self) -> Result<(), DriverError> {
        self.execute("BEGIN IMMEDIATE", &[]).map(drop)
    }

    fn begin_read(&mut self) -> Result<(), DriverError> {
        self.execute("BEGIN DEFERRED", &[]).map(drop)
    }

    fn commit(&mut self) -> Result<(), DriverError> {
        self.execute("COMMIT", &[]).map(drop)
    }

    fn rollback(&mut self) -> Result<(), DriverError> {
        if self.in_transaction() { self.execute("ROLLBACK", &[]).map(drop) } else { Ok(()) }
    }

    fn savepoint(&mut self) -> Result<(), DriverError> {
        self.execute("SAVEPOINT member", &[]).map(drop)
    }

    fn release(&mut self) -> Result<(), DriverError> {
        self.execute("RELEASE member", &[]).map(drop)
    }

    fn undo(&mut self) -> Result<(), DriverError> {
        self.execute("ROLLBACK TO member", &[])?;
        self.release()
    }

    fn in_transaction(&self) -> bool {
        !self.0.is_autocommit()
    }

    fn hold(&mut self, _what: Hold<'_>) -> Result<(), DriverError> {
        // There is no other writer.
        Ok(())
    }

    fn is_shared(&self) -> bool {
        // The file is locked for this process.
        false
    }

    fn checkpoint(&mut self) -> Result<u64, DriverError> {
        let mut left = 0;
        self.query("PRAGMA wal_checkpoint(PASSIVE)", &[], &mut |row| {
            let (pages, moved) = (row.int(1)?, row.int(2)?);
            left = u64::try_from(pages - moved).unwrap_or(0);
            Ok(())
        })?;
        Ok(left)
    }
}

struct SqliteRow<'r, 's>(&'r rusqlite::Row<'s>);

impl SqliteRow<'_, '_> {
    fn value(&self, column: usize) -> Result<ValueRef<'_>, DriverError> {
        self.0.get_ref(column).map_err(failed)
    }
}

fn wrong_type(column: usize, value: ValueRef<'_>) -> DriverError {
    DriverError::unreadable(column, format_args!("its type is {}", value.data_type()))
}

impl Row for SqliteRow<'_, '_> {
    fn opt_int(&self, column: usize) -> Result<Option<i64>, DriverError> {
        match self.value(column)? {
            ValueRef::Null => Ok(None),
            ValueRef::Integer(number) => Ok(Some(number)),
            other => Err(wrong_type(column, other)),
        }
    }

    fn opt_text(&self, column: usize) -> Result<Option<&str>, DriverError> {
        match self.value(column)? {
            ValueRef::Null => Ok(None),
            ValueRef::Text(bytes) => std::str::from_utf8(bytes)
                .map(Some)
                .map_err(|error| DriverError::unreadable(column, error)),
            other => Err(wrong_type(column, other)),
        }
    }

    fn opt_blob(&self, column: usize) -> Result<Option<&[u8]>, DriverError> {
        match self.value(column)? {
            ValueRef::Null => Ok(None),
            ValueRef::Blob(bytes) => Ok(Some(bytes)),
            other => Err(wrong_type(column, other)),
        }
    }
}
