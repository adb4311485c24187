//! A driver that lets a test in around each call of SQLite's connections: what all such drivers have
//! in common, so that a test says only what it does where.

use std::sync::Arc;

use accredit_store::driver::sqlite::SqliteDriver;
use accredit_store::driver::{Conn, Driver, DriverError, EachRow, Value};

/// What a connection is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Execute,
    Query(&'static str),
    Script,
    BeginWrite,
    BeginRead,
    Commit,
    Rollback,
    Savepoint,
    Release,
    Undo,
    Checkpoint,
}

/// What a test does around a step, which it carries out by calling `run`.
pub(crate) trait Around: Send + Sync + 'static {
    /// Of the connection that writes.
    fn writing<T>(
        &self,
        _step: Step,
        run: impl FnOnce() -> Result<T, DriverError>,
    ) -> Result<T, DriverError> {
        run()
    }

    /// Of a connection that reads.
    fn reading<T>(
        &self,
        _step: Step,
        run: impl FnOnce() -> Result<T, DriverError>,
    ) -> Result<T, DriverError> {
        run()
    }
}

/// The driver.
pub(crate) struct DriverAround<A>(pub(crate) SqliteDriver, pub(crate) Arc<A>);

impl<A: Around> Driver for DriverAround<A> {
    fn writer(&self) -> Result<Box<dyn Conn>, DriverError> {
        let (conn, around) = (self.0.writer()?, Arc::clone(&self.1));
        Ok(Box::new(ConnAround { conn, around, writes: true }))
    }

    fn reader(&self) -> Result<Box<dyn Conn>, DriverError> {
        let (conn, around) = (self.0.reader()?, Arc::clone(&self.1));
        Ok(Box::new(ConnAround { conn, around, writes: false }))
    }

    fn migrations(&self) -> &'static [(i64, &'static str, &'static str)] {
        self.0.migrations()
    }
}

struct ConnAround<A> {
    conn: Box<dyn Conn>,
    around: Arc<A>,
    writes: bool,
}

impl<A: Around> ConnAround<A> {
    fn step<T>(
        &mut self,
        step: Step,
        run: impl FnOnce(&mut dyn Conn) -> Result<T, DriverError>,
    ) -> Result<T, DriverError> {
        let conn = &mut *self.conn;
        let run = || run(conn);
        if self.writes { self.around.writing(step, run) } else { self.around.reading(step, run) }
    }
}

impl<A: Around> Conn for ConnAround<A> {
    fn execute(&mut self, sql: &'static str, params: &[Value<'_>]) -> Result<usize, DriverError> {
        self.step(Step::Execute, |conn| conn.execute(sql, params))
    }

    fn query(
        &mut self,
        sql: &'static str,
        params: &[Value<'_>],
        each: &mut EachRow<'_>,
    ) -> Result<(), DriverError> {
        self.step(Step::Query(sql), |conn| conn.query(sql, params, each))
    }

    fn script(&mut self, sql: &str) -> Result<(), DriverError> {
        self.step(Step::Script, |conn| conn.script(sql))
    }

    fn begin_write(&mut self) -> Result<(), DriverError> {
        self.step(Step::BeginWrite, |conn| conn.begin_write())
    }

    fn begin_read(&mut self) -> Result<(), DriverError> {
        self.step(Step::BeginRead, |conn| conn.begin_read())
    }

    fn commit(&mut self) -> Result<(), DriverError> {
        self.step(Step::Commit, |conn| conn.commit())
    }

    fn rollback(&mut self) -> Result<(), DriverError> {
        self.step(Step::Rollback, |conn| conn.rollback())
    }

    fn savepoint(&mut self) -> Result<(), DriverError> {
        self.step(Step::Savepoint, |conn| conn.savepoint())
    }

    fn release(&mut self) -> Result<(), DriverError> {
        self.step(Step::Release, |conn| conn.release())
    }

    fn undo(&mut self) -> Result<(), DriverError> {
        self.step(Step::Undo, |conn| conn.undo())
    }

    fn in_transaction(&self) -> bool {
        self.conn.in_transaction()
    }

    fn checkpoint(&mut self) -> Result<u64, DriverError> {
        self.step(Step::Checkpoint, |conn| conn.checkpoint())
    }
}
