//! A database that fails at the n-th statement of its writer, before or after doing it.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use accredit_store::driver::{Conn, DiskTrouble, Driver, DriverError, EachRow, Value};

/// Where the writer is to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailAt {
    /// Any call of the writer, counted from 1.
    Call(i64),
    /// A commit, counted from 1, before it happens.
    BeforeCommit(i64),
    /// A commit, counted from 1, after it happened: the answer is lost.
    AfterCommit(i64),
    /// The same, and the next `query` after it fails as well.
    AfterCommitBlindly(i64),
}

#[derive(Default)]
struct Plan {
    at: Option<FailAt>,
    failed: bool,
    /// The next question fails.
    is_blind: bool,
}

/// What a test tells the database.
#[derive(Default)]
pub struct Faults {
    plan: Mutex<Plan>,
    calls: AtomicI64,
    commits: AtomicI64,
    disk: Mutex<Option<DiskTrouble>>,
    blind: AtomicBool,
}

impl Faults {
    /// Fails once, counted from now.
    pub fn arm(&self, at: FailAt) {
        self.calls.store(0, Ordering::SeqCst);
        self.commits.store(0, Ordering::SeqCst);
        *self.plan.lock().expect("no thread panics with it") =
            Plan { at: Some(at), ..Plan::default() };
    }

    /// From now on the disk takes nothing, or takes everything again.
    pub fn disk(&self, trouble: Option<DiskTrouble>) {
        *self.disk.lock().expect("no thread panics with it") = trouble;
    }

    /// From now on the writer does not see, or sees again, what was revoked since a decision: a
    /// fence that holds nothing back.
    pub fn blind_fence(&self, blind: bool) {
        self.blind.store(blind, Ordering::SeqCst);
    }

    /// Whether it has failed since it was armed.
    pub fn has_failed(&self) -> bool {
        self.plan.lock().expect("no thread panics with it").failed
    }

    /// Whether it has failed since it was armed; disarms it.
    pub fn disarm(&self) -> bool {
        std::mem::take(&mut *self.plan.lock().expect("no thread panics with it")).failed
    }

    fn fails(&self, here: impl Fn(FailAt) -> bool) -> Result<(), DriverError> {
        let mut plan = self.plan.lock().expect("no thread panics with it");
        if !plan.failed && plan.at.is_some_and(here) {
            plan.failed = true;
            plan.is_blind = matches!(plan.at, Some(FailAt::AfterCommitBlindly(_)));
            return Err(DriverError::Failed("a fault that the test asked for".to_owned()));
        }
        Ok(())
    }

    fn looks(&self) -> Result<(), DriverError> {
        let mut plan = self.plan.lock().expect("no thread panics with it");
        if std::mem::take(&mut plan.is_blind) {
            return Err(DriverError::Failed("a fault that the test asked for".to_owned()));
        }
        Ok(())
    }

    fn called(&self) -> Result<(), DriverError> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        self.fails(|at| at == FailAt::Call(call))
    }
}

/// A driver whose writers fail as told.
pub struct FaultyDriver {
    driver: Arc<dyn Driver>,
    faults: Arc<Faults>,
}

impl FaultyDriver {
    /// Around a driver that works.
    pub fn new(driver: Arc<dyn Driver>, faults: Arc<Faults>) -> Self {
        Self { driver, faults }
    }
}

impl Driver for FaultyDriver {
    fn writer(&self) -> Result<Box<dyn Conn>, DriverError> {
        let conn = self.driver.writer()?;
        Ok(Box::new(FaultyConn { conn, faults: Arc::clone(&self.faults) }))
    }

    fn reader(&self) -> Result<Box<dyn Conn>, DriverError> {
        self.driver.reader()
    }

    fn migrations(&self) -> &'static [(i64, &'static str, &'static str)] {
        self.driver.migrations()
    }
}

/// How the writer asks what was revoked since a decision.
const FENCE_SQL: &str =
    "SELECT rev, target FROM revocation WHERE org = $1 AND rev > $2 ORDER BY rev";

struct FaultyConn {
    conn: Box<dyn Conn>,
    faults: Arc<Faults>,
}

impl Conn for FaultyConn {
    fn execute(&mut self, sql: &'static str, params: &[Value<'_>]) -> Result<usize, DriverError> {
        self.faults.called()?;
        self.conn.execute(sql, params)
    }

    fn query(
        &mut self,
        sql: &'static str,
        params: &[Value<'_>],
        each: &mut EachRow<'_>,
    ) -> Result<(), DriverError> {
        self.faults.called()?;
        self.faults.looks()?;
        if self.faults.blind.load(Ordering::SeqCst) && sql == FENCE_SQL {
            return Ok(());
        }
        self.conn.query(sql, params, each)
    }

    fn script(&mut self, sql: &str) -> Result<(), DriverError> {
        self.conn.script(sql)
    }

    fn begin_write(&mut self) -> Result<(), DriverError> {
        self.faults.called()?;
        self.conn.begin_write()
    }

    fn begin_read(&mut self) -> Result<(), DriverError> {
        self.conn.begin_read()
    }

    fn commit(&mut self) -> Result<(), DriverError> {
        self.faults.called()?;
        let disk = *self.faults.disk.lock().expect("no thread panics with it");
        if let Some(trouble) = disk {
            return Err(DriverError::Disk(trouble, "a disk as the test wants it".to_owned()));
        }
        let commit = self.faults.commits.fetch_add(1, Ordering::SeqCst) + 1;
        self.faults.fails(|at| at == FailAt::BeforeCommit(commit))?;
        self.conn.commit()?;
        let after = [FailAt::AfterCommit(commit), FailAt::AfterCommitBlindly(commit)];
        self.faults.fails(|at| after.contains(&at))
    }

    fn rollback(&mut self) -> Result<(), DriverError> {
        self.conn.rollback()
    }

    fn savepoint(&mut self) -> Result<(), DriverError> {
        self.faults.called()?;
        self.conn.savepoint()
    }

    fn release(&mut self) -> Result<(), DriverError> {
        self.faults.called()?;
        self.conn.release()
    }

    fn undo(&mut self) -> Result<(), DriverError> {
        self.conn.undo()
    }

    fn in_transaction(&self) -> bool {
        self.conn.in_transaction()
    }

    fn checkpoint(&mut self) -> Result<u64, DriverError> {
        self.conn.checkpoint()
    }
}
