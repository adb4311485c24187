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
