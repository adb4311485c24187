//! Where a store is: in a file of this machine, or in a database on a server.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use accredit_domain::Fault;

use crate::driver::postgres::PostgresDriver;
use crate::driver::sqlite::SqliteDriver;
use crate::driver::target::Target;
use crate::driver::{Conn, Driver, DriverError};
use crate::{Options, SqlStore};

const OPERATION: &str = "look for the store";

/// The place of a store.
#[derive(Clone, Debug)]
pub enum Place {
    /// A file that one process holds alone.
    File(PathBuf),
    /// A database that any number of processes share.
    Database(Box<Target>),
}

impl Place {
    /// The file, where it is one.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Database(_) => None,
        }
    }

    /// Whether there is a store. Fails where nobody can tell, because the server is not reached.
    pub fn holds_store(&self) -> Result<bool, Fault> {
        match self {
            Self::File(path) => Ok(path.exists()),
            Self::Database(_) => {
                let found = self.look().and_then(|mut conn| {
                    conn.number(
                        "SELECT count(*) FROM information_schema.tables \
                         WHERE table_name = 'schema_migration' AND table_schema = 'public'",
                        &[],
                    )
                });
                Ok(found.map_err(|error| error.fault(OPERATION))? > 0)
            }
        }
    }

    /// Opens the store, which is made where there is none, and brings its schema up to date.
    pub fn open(&self, options: &Options) -> Result<Arc<SqlStore>, Fault> {
        SqlStore::open_on(self.driver().map_err(|error| error.fault("open the store"))?, options)
    }

    /// What the server says of what a commit survives; nothing of a file, whose commits are synced to
    /// its disk.
    pub fn durability(&self) -> Result<Option<Durability>, Fault> {
        if self.file().is_some() {
            return Ok(None);
        }
        let failed = |error: DriverError| error.fault("ask how durable a commit is");
        let mut conn = self.look().map_err(failed)?;
        let found = conn.first(
            "SELECT current_setting('fsync', true), current_setting('synchronous_commit', true), \
             current_setting('synchronous_standby_names', true)",
            &[],
            |row| {
                let setting = |column| Ok::<_, DriverError>(row.opt_text(column)?.unwrap_or(""));
                Ok(Durability::of(setting(0)?, setting(1)?, setting(2)?))
            },
        );
        found.map_err(failed)
    }

    /// The engine with the store in it.
    pub(crate) fn driver(&self) -> Result<Arc<dyn Driver>, DriverError> {
        Ok(match self {
            Self::File(path) => Arc::new(SqliteDriver::open(path)?),
            Self::Database(target) => Arc::new(PostgresDriver::at(target)?),
        })
    }

    /// A connection that only reads, whoever has the store open.
    pub(crate) fn look(&self) -> Result<Box<dyn Conn>, DriverError> {
        match self {
            Self::File(path) => SqliteDriver::look(path),
            Self::Database(target) => PostgresDriver::at(target)?.reader(),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Database(target) => target.fmt(f),
        }
    }
}

impl From<PathBuf> for Place {
    fn from(path: PathBuf) -> Self {
        Self::File(path)
    }
}

/// What a commit survives, as far as the server's settings say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The loss of the server's machine: a standby has it too.
    Standby,
    /// A crash of the server, and no loss of its disk.
    Disk,
    /// Not even a crash: commits are answered before they are written.
    Nothing,
    /// Nobody knows: the engine has no such settings.
    Unknown,
}

impl Durability {
    fn of(fsync: &str, commit: &str, standbys: &str) -> Self {
        match (fsync, commit, standbys) {
            ("", _, _) | (_, "", _) => Self::Unknown,
            ("off", _, _) | (_, "off", _) => Self::Nothing,
            (_, "local", _) | (_, _, "") => Self::Disk,
            // The standby has it on its disk; `remote_write` trusts its operating system.
            (_, "on" | "remote_apply", _) => Self::Standby,
            _ => Self::Disk,
        }
    }

    /// What may be lost when the server's machine is, in a few words.
    pub const fn recovery_point(self) -> &'static str {
        match self {
            Self::Standby => "nothing: a synchronous standby has every commit on its disk",
            Self::Disk => {
                "what no standby has yet: with the disk of the server go tokens and revocations that \
                 were answered"
            }
            Self::Nothing => "what was answered shortly before a crash: commits are not waited for",
            Self::Unknown => "unknown: the engine does not say what a commit survives",
        }
    }

    /// What to set, where something may be lost.
    pub const fn hint(self) -> Option<&'static str> {
        match self {
            Self::Standby => None,
            Self::Disk => Some("set synchronous_standby_names, and synchronous_commit = on"),
            Self::Nothing => Some("set fsync = on and synchronous_commit = on"),
            Self::Unknown => Some("see what the engine promises when a node is lost"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recovery_point_of_zero_is_claimed_with_a_synchronous_standby_alone() {
        for (fsync, commit, standbys, found) in [
            ("on", "on", "FIRST 1 (b)", Durability::Standby),
            ("on", "remote_apply", "*", Durability::Standby),
            ("on", "remote_write", "*", Durability::Disk),
            ("on", "local", "*", Durability::Disk),
            ("on", "on", "", Durability::Disk),
            ("on", "off", "*", Durability::Nothing),
            ("off", "on", "*", Durability::Nothing),
            ("", "", "", Durability::Unknown),
            ("on", "", "*", Durability::Unknown),
        ] {
            let seen = Durability::of(fsync, commit, standbys);
            assert_eq!(seen, found, "{fsync} {commit} {standbys}");
            assert_eq!(seen.hint().is_none(), found == Durability::Standby);
        }
    }
}
