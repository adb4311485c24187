//! A driver that lets somebody in around each call of another one's connections: what fails on
//! purpose, counts or listens has this in common, and says only what it does where. For tests; the
//! product itself opens its databases without it.

use std::sync::Arc;

use super::waking::Wakes;
use super::{Conn, Driver, DriverError, EachRow, Hold, Value};

/// What a connection is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// [`Conn::execute`].
    Execute,
    /// [`Conn::add`].
    Add,
    /// [`Conn::query`], of this text.
    Query(&'static str),
    /// [`Conn::script`].
    Script,
    /// [`Conn::begin_write`].
    BeginWrite,
    /// [`Conn::begin_read`].
    BeginRead,
    /// [`Conn::commit`].
    Commit,
    /// [`Conn::rollback`].
    Rollback,
    /// [`Conn::savepoint`].
    Savepoint,
    /// [`Conn::release`].
    Release,
    /// [`Conn::undo`].
    Undo,
    /// [`Conn::hold`].
    Hold,
    /// [`Conn::wake`].
    Wake,
    /// [`Conn::checkpoint`].
    Checkpoint,
}

/// What is done around a step, which is carried out by calling `run`. A step that is left out has
/// the empty answer.
pub trait Around: Send + Sync + 'static {
    /// Of the connection that writes.
    fn writing<T: Default>(
        &self,
        _step: Step,
        run: impl FnOnce() -> Result<T, DriverError>,
    ) -> Result<T, DriverError> {
        run()
    }

    /// Of a connection that reads.
    fn reading<T: Default>(
        &self,
        _step: Step,
        run: impl FnOnce() -> Result<T, DriverError>,
    ) -> Result<T, DriverError> {
        run()
    }

    /// What [`Conn::is_shared`] says, where the engine says `is_shared`: several stores of one process
    /// may share an engine that no other process can.
    fn is_shared(&self, is_shared: bool) -> bool {
        is_shared
    }
}

/// The driver.
pub struct DriverAround<A> {
    driver: Arc<dyn Driver>,
    around: Arc<A>,
}

impl<A: Around> DriverAround<A> {
    /// Around a driver.
    pub fn new(driver: Arc<dyn Driver>, around: Arc<A>) -> Self {
        Self { driver, around }
    }
}

impl<A: Around> Driver for DriverAround<A> {
    fn writer(&self) -> Result<Box<dyn Conn>, DriverError> {
        let (conn, around) = (self.driver.writer()?, Arc::clone(&self.around));
        Ok(Box::new(ConnAround { conn, around, writes: true }))
    }

    fn reader(&self) -> Result<Box<dyn Conn>, DriverError> {
        let (conn, around) = (self.driver.reader()?, Arc::clone(&self.around));
        Ok(Box::new(ConnAround { conn, around, writes: false }))
    }

    fn migrations(&self) -> &'static [(i64, &'static str, &'static str)] {
        self.driver.migrations()
    }

    fn listen(&self) -> Option<Arc<Wakes>> {
        self.driver.listen()
    }
}

struct ConnAround<A> {
    conn: Box<dyn Conn>,
    around: Arc<A>,
    writes: bool,
}

impl<A: Around> ConnAround<A> {
    fn step<T: Default>(
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

    fn add(&mut self, sql: &'static str, params: &[Value<'_>]) -> Result<(), DriverError> {
        self.step(Step::Add, |conn| conn.add(sql, params))
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

    fn begin_migration(&mut self) -> Result<(), DriverError> {
        self.step(Step::BeginWrite, |conn| conn.begin_migration())
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

    fn is_in_doubt(&self) -> bool {
        self.conn.is_in_doubt()
    }

    fn in_transaction(&self) -> bool {
        self.conn.in_transaction()
    }

    fn hold(&mut self, what: Hold<'_>) -> Result<(), DriverError> {
        self.step(Step::Hold, |conn| conn.hold(what))
    }

    fn is_shared(&self) -> bool {
        self.around.is_shared(self.conn.is_shared())
    }

    fn wake(&mut self) -> Result<(), DriverError> {
        self.step(Step::Wake, |conn| conn.wake())
    }

    fn session(&self) -> u64 {
        self.conn.session()
    }

    fn end_rows(&mut self) -> Result<(), DriverError> {
        self.step(Step::Add, |conn| conn.end_rows())
    }

    fn analyze(&mut self, table: &'static str) -> Result<(), DriverError> {
        self.step(Step::Script, |conn| conn.analyze(table))
    }

    fn checkpoint(&mut self) -> Result<u64, DriverError> {
        self.step(Step::Checkpoint, |conn| conn.checkpoint())
    }
}
