//! A database that fails at the n-th statement of its writer, before or after doing it.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use accredit_store::driver::around::{Around, Step};
use accredit_store::driver::{DiskTrouble, DriverError};

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

/// How the writer asks what was revoked since a decision.
const FENCE_SQL: &str =
    "SELECT rev, target FROM revocation WHERE org = $1 AND rev > $2 ORDER BY rev";

impl Around for Faults {
    fn writing<T: Default>(
        &self,
        step: Step,
        run: impl FnOnce() -> Result<T, DriverError>,
    ) -> Result<T, DriverError> {
        match step {
            Step::Execute
            | Step::Add
            | Step::BeginWrite
            | Step::Hold
            | Step::Wake
            | Step::Savepoint
            | Step::Release => {
                self.called()?;
                run()
            }
            Step::Query(sql) => {
                self.called()?;
                self.looks()?;
                let is_blind = self.blind.load(Ordering::SeqCst) && sql == FENCE_SQL;
                if is_blind { Ok(T::default()) } else { run() }
            }
            Step::Commit => {
                self.called()?;
                let disk = *self.disk.lock().expect("no thread panics with it");
                if let Some(trouble) = disk {
                    let why = "a disk as the test wants it".to_owned();
                    return Err(DriverError::Disk(trouble, why));
                }
                let commit = self.commits.fetch_add(1, Ordering::SeqCst) + 1;
                self.fails(|at| at == FailAt::BeforeCommit(commit))?;
                let committed = run()?;
                let after = [FailAt::AfterCommit(commit), FailAt::AfterCommitBlindly(commit)];
                self.fails(|at| after.contains(&at))?;
                Ok(committed)
            }
            Step::Script | Step::BeginRead | Step::Rollback | Step::Undo | Step::Checkpoint => {
                run()
            }
        }
    }
}
