//! Where the stores of these tests are: each in a database of its own, on one server for all of them.

use std::sync::Arc;

use accredit_store::driver::Driver;
use accredit_store::driver::postgres::PostgresDriver;

use crate::server;

/// The store that belongs to a folder: the database is called like it.
pub(crate) fn driver(folder: &tempfile::TempDir) -> Arc<dyn Driver> {
    Arc::new(PostgresDriver::new(server::database_of(folder)).expect("a driver"))
}

/// Runs statements beside whoever has the store open.
pub(crate) fn script(folder: &tempfile::TempDir, sql: &str) {
    let mut conn = driver(folder).writer().expect("a connection");
    conn.script(sql).expect("carried out");
}

/// The number that a statement answers, whoever has the store open.
pub(crate) fn number(folder: &tempfile::TempDir, sql: &'static str, of: [&str; 2]) -> u64 {
    let mut conn = driver(folder).reader().expect("a connection");
    conn.number(sql, &of.map(Into::into)).expect("a number")
}
