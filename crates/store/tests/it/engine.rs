//! Where the stores of these tests are: each in a file of its own, on the embedded engine.

use std::sync::Arc;
use std::time::Duration;

use accredit_store::driver::Driver;
use accredit_store::driver::sqlite::SqliteDriver;

/// The store that belongs to a folder.
pub(crate) fn driver(folder: &tempfile::TempDir) -> Arc<dyn Driver> {
    Arc::new(SqliteDriver::open(&folder.path().join("accredit.db")).expect("a store"))
}

/// Runs statements beside whoever has the store open.
pub(crate) fn script(folder: &tempfile::TempDir, sql: &str) {
    let conn = rusqlite::Connection::open(folder.path().join("accredit.db")).expect("the file");
    conn.busy_timeout(Duration::from_secs(5)).expect("set");
    conn.execute_batch(sql).expect("carried out");
}

/// The number that a statement answers, whoever has the store open.
pub(crate) fn number(folder: &tempfile::TempDir, sql: &'static str, of: [&str; 2]) -> u64 {
    let conn = rusqlite::Connection::open(folder.path().join("accredit.db")).expect("the file");
    let number: i64 = conn.query_row(sql, of, |row| row.get(0)).expect("a number");
    u64::try_from(number).expect("a count")
}
