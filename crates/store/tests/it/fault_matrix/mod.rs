//! A fault before and after each statement of each operation: one that goes by, and one that ends
//! the process. Afterwards all of the operation is there or nothing, told truly where it can be,
//! and the store goes on: at once after the first kind, opened again after the second. The same for
//! each statement of reads, and for moving the journal.
//!
//! Which operations there are to be is not said here: every kind of work that the writer knows is
//! written by one, and every kind of row.

mod operations;

use std::collections::BTreeSet;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use accredit_domain::Fault as StoreFault;
use accredit_domain::audit::event::EventKind;
use accredit_domain::ports::{
    Admissions as _, Audited, Issuance, KeysWanted, Ledger as _, Log as _, Lookup, Order, Page,
    Registry as _, Revocations as _, Store as _, UsedUp,
};
use accredit_store::driver::DriverError;
use accredit_store::driver::around::{Around, DriverAround, Step};
use accredit_store::driver::sqlite::SqliteDriver;
use accredit_store::{KINDS, Options, SqlStore};

use self::operations::{
    Base, LISTENER, OPERATIONS, Operation, REWRAP, ROWS, WRITTEN, event, hours,
};
use crate::given::{self, NOW};
use crate::log::check_chain;

/// The store's file.
const FILE: &str = "accredit.db";
/// Statements of one operation, at most; a sweep that gets here has gone wrong.
const STATEMENTS_MAX: i64 = 60;

/// What happens at the chosen statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    FailsBefore,
    FailsAfter,
    CrashesBefore,
    CrashesAfter,
}

impl Kind {
    fn is_after(self) -> bool {
        matches!(self, Self::FailsAfter | Self::CrashesAfter)
    }

    fn is_crash(self) -> bool {
        matches!(self, Self::CrashesBefore | Self::CrashesAfter)
    }
}

/// A statement of the writer, counted from when it was armed, and what happens there.
struct Fault {
    kind: Kind,
    left: AtomicI64,
    was_hit: AtomicBool,
    is_dead: AtomicBool,
    /// The same for connections that read.
    reads_left: AtomicI64,
    /// Whether the journal cannot be moved; how often it was not, and how often it was.
    is_stuck: AtomicBool,
    stuck: AtomicU64,
    moved: AtomicU64,
}

impl Fault {
    fn new(kind: Kind) -> Arc<Self> {
        let (was_hit, is_dead) = (AtomicBool::new(false), AtomicBool::new(false));
        Arc::new(Self {
            kind,
            left: AtomicI64::new(-1),
            was_hit,
            is_dead,
            reads_left: AtomicI64::new(-1),
            is_stuck: AtomicBool::new(false),
            stuck: AtomicU64::new(0),
            moved: AtomicU64::new(0),
        })
    }

    /// A statement of a connection that reads.
    fn read<T>(
        &self,
        statement: impl FnOnce() -> Result<T, DriverError>,
    ) -> Result<T, DriverError> {
        if self.reads_left.fetch_sub(1, Ordering::SeqCst) != 0 {
            return statement();
        }
        self.was_hit.store(true, Ordering::SeqCst);
        if self.kind.is_after() {
            statement()?;
        }
        Err(DriverError::Failed("a fault that the test asked for".to_owned()))
    }

    /// The journal is moved.
    fn checkpoint<T>(
        &self,
        checkpoint: impl FnOnce() -> Result<T, DriverError>,
    ) -> Result<T, DriverError> {
        if self.is_stuck.load(Ordering::SeqCst) {
            self.stuck.fetch_add(1, Ordering::SeqCst);
            return Err(DriverError::Failed("a fault that the test asked for".to_owned()));
        }
        let left = checkpoint()?;
        self.moved.fetch_add(1, Ordering::SeqCst);
        Ok(left)
    }

    fn arm(&self, statement: i64) {
        self.left.store(statement, Ordering::SeqCst);
    }

    fn was_hit(&self) -> bool {
        self.was_hit.load(Ordering::SeqCst)
    }

    fn run<T>(&self, statement: impl FnOnce() -> Result<T, DriverError>) -> Result<T, DriverError> {
        let gone = || Err(DriverError::Failed("a fault that the test asked for".to_owned()));
        if self.is_dead.load(Ordering::SeqCst) {
            return gone();
        }
        if self.left.fetch_sub(1, Ordering::SeqCst) != 0 {
            return statement();
        }
        self.was_hit.store(true, Ordering::SeqCst);
        if self.kind.is_after() {
            statement()?;
        }
        self.is_dead.store(self.kind.is_crash(), Ordering::SeqCst);
        gone()
    }
}

impl Around for Fault {
    fn writing<T: Default>(
        &self,
        step: Step,
        run: impl FnOnce() -> Result<T, DriverError>,
    ) -> Result<T, DriverError> {
        match step {
            Step::BeginRead => run(),
            Step::Checkpoint => self.checkpoint(run),
            _ => self.run(run),
        }
    }

    /// What writes is not asked of a connection that reads.
    fn reading<T: Default>(
        &self,
        step: Step,
        run: impl FnOnce() -> Result<T, DriverError>,
    ) -> Result<T, DriverError> {
        match step {
            Step::Query(_) | Step::BeginRead | Step::Rollback => self.read(run),
            _ => run(),
        }
    }
}

/// Everything that stands in a store.
fn dump(file: &Path) -> String {
    let conn = rusqlite::Connection::open(file).expect("the store");
    let texts = |sql: &str| -> Vec<String> {
        let mut statement = conn.prepare(sql).expect("a statement");
        let columns = statement.column_count();
        let mut rows = statement.query([]).expect("rows");
        let mut texts = Vec::new();
        while let Some(row) = rows.next().expect("a row") {
            let value = |column| match row.get_ref(column).expect("a value") {
                rusqlite::types::ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
                other => format!("{other:?}"),
            };
            texts.push((0..columns).map(value).collect::<Vec<_>>().join(" "));
        }
        texts
    };
    let is_whole = texts("PRAGMA integrity_check");
    assert!(is_whole.len() == 1 && texts("PRAGMA foreign_key_check").is_empty(), "{is_whole:?}");
    let names = "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name";
    let mut statement = conn.prepare(names).expect("a statement");
    let names = statement.query_map([], |row| row.get::<_, String>(0)).expect("names");
    let names: Vec<String> = names.map(|name| name.expect("a name")).collect();
    let table = |name: &String| {
        let mut rows = texts(&format!("SELECT * FROM \"{name}\""));
        rows.sort_unstable();
        format!("{name}:\n{}\n", rows.join("\n"))
    };
    names.iter().map(table).collect()
}

/// Copies what a crash leaves: the file and its journal.
fn copy(from: &Path) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for name in [FILE.to_owned(), format!("{FILE}-wal")] {
        if from.join(&name).exists() {
            std::fs::copy(from.join(&name), folder.path().join(&name)).expect("copied");
        }
    }
    folder
}

/// Each state that an operation may leave: as before, what the pieces leave of work that is done in
/// several, and done.
struct Allowed {
    before: String,
    between: Vec<String>,
    done: String,
}

impl Allowed {
    async fn of(base: &Base, name: &str, operation: Operation) -> Self {
        let before = dump(&copy(base.folder.path()).path().join(FILE));
        let pieces = match name {
            "take off what has expired too" => &["forget single-use values"][..],
            "forget revocations too" => {
                &["forget single-use values", "take off what has expired too"]
            }
            REWRAP | LISTENER => &["found the installation"],
            _ => &[],
        };
        let mut between = Vec::new();
        for (_, piece) in OPERATIONS.iter().filter(|(name, _)| pieces.contains(name)) {
            between.push(Self::after(base, *piece).await);
        }
        let done = Self::after(base, operation).await;
        assert_ne!(before, done, "{name} does something");
        Self { before, between, done }
    }

    async fn after(base: &Base, operation: Operation) -> String {
        let folder = copy(base.folder.path());
        let store = given::open(&folder);
        assert!(operation(base, &store).await, "without a fault it is done");
        dump(&folder.path().join(FILE))
    }
}

/// One fault in one operation; whether there was a statement to fail at.
async fn strike(
    base: &Base,
    (name, operation): (&str, Operation),
    allowed: &Allowed,
    (kind, statement): (Kind, i64),
) -> bool {
    let folder = copy(base.folder.path());
    let fault = Fault::new(kind);
    let driver = SqliteDriver::open(&folder.path().join(FILE)).expect("a driver");
    let driver = Arc::new(DriverAround::new(Arc::new(driver), Arc::clone(&fault)));
    let store = SqlStore::open_on(driver, &Options::default()).expect("a store");
    fault.arm(statement);
    let said_yes = operation(base, &store).await;
    let was_hit = fault.was_hit();
    let place = format!("{name}, {kind:?} at statement {statement}");

    // After a crash, only what lies on the disk is left of it.
    let (folder, store) = if kind.is_crash() && was_hit {
        let left = copy(folder.path());
        drop(store);
        let store = given::open(&left);
        (left, store)
    } else {
        fault.arm(-1);
        (folder, store)
    };
    let file = folder.path().join(FILE);
    let found = dump(&file);
    let is_done = found == allowed.done;
    if said_yes {
        assert!(is_done, "{place}: it was said to be done");
    } else {
        let is_undone = found == allowed.before || allowed.between.contains(&found);
        // The answer to a commit that happened can be lost; it is never a yes that did not.
        assert!(
            is_undone || (is_done && kind.is_after()),
            "{place}: half of it is there:\n{found}"
        );
    }
    assert_eq!(said_yes, !was_hit, "{place}: a fault is not hidden, and nothing else fails");

    // Nothing was learned from what did not happen: it can be done now, and so can anything else.
    if !is_done {
        assert!(operation(base, &store).await, "{place}: cannot be done again");
        assert_eq!(dump(&file), allowed.done, "{place}: done again, it is something else");
    }
    let head = base.org;
    let rev = store.organization(Lookup::Id(head)).await.expect("read");
    let rev = rev.expect("there").rev;
    let issuance = Issuance {
        org: head,
        lineage: Vec::new(),
        rev,
        used_up: UsedUp::NOTHING,
        status: None,
        certificate: None,
    };
    let issuance = Audited::new(issuance, event(EventKind::TokenIssued));
    store.record_issuance(issuance).await.unwrap_or_else(|error| panic!("{place}: {error:?}"));
    check_chain(&store, head).await;
    was_hit
}

#[tokio::test]
async fn every_kind_of_work_and_of_row_is_in_the_matrix() {
    let base = Base::new().await;
    let mut kinds = 0;
    for (name, operation) in OPERATIONS {
        let folder = copy(base.folder.path());
        let store = given::open(&folder);
        assert!(operation(&base, &store).await, "{name}");
        kinds |= store.stats().kinds;
    }
    assert_eq!(kinds, (1 << KINDS) - 1, "the kinds of `Work` that an operation writes, as bits");
    let written = WRITTEN.lock().expect("the kinds");
    let all: BTreeSet<&str> = ROWS.iter().copied().collect();
    let missing: Vec<_> = all.difference(&written).collect();
    assert!(missing.is_empty(), "no operation writes a row of {missing:?}");
}

type Told<'a> = Pin<Box<dyn Future<Output = Result<String, StoreFault>> + 'a>>;
/// Reads something, and tells what it was.
type Reading = for<'a> fn(&'a Base, &'a SqlStore) -> Told<'a>;

macro_rules! reading {
    ($base:ident, $store:ident, $read:expr) => {
        |$base, $store| Box::pin(async move { Ok(format!("{:?}", $read.await?)) })
    };
}

/// One read of each port, and those that read in several statements.
const READS: &[(&str, Reading)] = &[
    ("organization", reading!(base, store, store.organization(Lookup::Id(base.org)))),
    ("agent", reading!(base, store, store.agent(base.org, Lookup::Id(base.agent.id), NOW))),
    ("agents", reading!(base, store, store.agents(base.org, page()))),
    ("agents due", reading!(base, store, store.agents_due(base.org, NOW.plus(hours(900)), 9))),
    ("credentials", reading!(base, store, store.credentials(base.org, page()))),
    ("followed", reading!(base, store, store.followed(base.org, base.agent.id))),
    ("signing keys", reading!(base, store, store.signing_keys(base.org))),
    ("facts", |base, store| {
        Box::pin(async {
            let facts = store.agent_facts(base.org, base.agent.id).await?;
            Ok(facts.map_or(String::new(), |facts| facts.name.to_string()))
        })
    }),
    ("public keys", |base, store| {
        Box::pin(async {
            let wanted = KeysWanted { kid: None, live: 8, ended: 4, now: NOW };
            let found = store.agent_keys(base.org, base.agent.id, wanted).await?.found;
            Ok(format!("{} {}", found.keys.len(), found.are_followed))
        })
    }),
    ("revocations", reading!(base, store, store.revocations_after(base.org, 0, NOW))),
    ("below", reading!(base, store, store.rows_below(base.org, base.agent.id.any()))),
    ("kills for a time", reading!(base, store, store.time_boxed(base.org))),
    ("lanes", reading!(base, store, store.lanes(base.org))),
    ("leaves", reading!(base, store, store.leaves(base.org, 0, 0, 9))),
    ("leaves of", |base, store| {
        let kinds = vec![EventKind::AgentUpdated.as_str().to_owned()];
        let read = store.leaves_of(base.org, 0, kinds, 0..99, (Order::Oldest, 9));
        Box::pin(async { Ok(format!("{:?}", read.await?)) })
    }),
    ("installation", reading!(_base, store, store.installation())),
];

fn page() -> Page {
    Page { limit: 9, at: NOW, ..Page::default() }
}

/// What cannot be read is a fault and never an answer, and the next read is whole.
#[tokio::test]
async fn a_read_that_fails_at_any_statement_is_told_and_the_next_one_is_whole() {
    let base = Base::new().await;
    for kind in [Kind::FailsBefore, Kind::FailsAfter] {
        for (name, read) in READS {
            let folder = copy(base.folder.path());
            let store = given::open(&folder);
            let whole = read(&base, &store).await.expect("without a fault it is read");
            let (mut statement, mut refused) = (0, 0);
            loop {
                let folder = copy(base.folder.path());
                let fault = Fault::new(kind);
                let driver = SqliteDriver::open(&folder.path().join(FILE)).expect("a driver");
                let driver = Arc::new(DriverAround::new(Arc::new(driver), Arc::clone(&fault)));
                let store = SqlStore::open_on(driver, &Options::default()).expect("a store");
                fault.reads_left.store(statement, Ordering::SeqCst);
                let told = read(&base, &store).await;
                let place = format!("{name}, {kind:?} at statement {statement}");
                fault.reads_left.store(-1, Ordering::SeqCst);
                match told {
                    Err(_) => {
                        assert!(fault.was_hit(), "{place}");
                        refused += 1;
                    }
                    // What had been read whole when its snapshot could not be ended was told.
                    Ok(told) => assert_eq!(told, whole, "{place}"),
                }
                let again = read(&base, &store).await;
                assert_eq!(again.expect("it goes on"), whole, "{place}");
                if !fault.was_hit() {
                    break;
                }
                statement += 1;
                assert!(statement < STATEMENTS_MAX, "{name} has fewer statements");
            }
            // All but the end of the snapshot, which comes after the answer and may be too late to
            // be hit.
            assert!(refused >= 2 && refused + 1 >= statement, "{name}: {refused} of {statement}");
        }
    }
}

/// A journal that cannot be moved grows and is tried again; nothing that is written waits for it.
#[tokio::test]
async fn a_journal_that_cannot_be_moved_keeps_nobody_from_writing() {
    /// Writes, one after the other, after which the journal is long.
    const WRITES: usize = 600;
    let base = Base::new().await;
    let fault = Fault::new(Kind::FailsBefore);
    let driver = SqliteDriver::open(&base.folder.path().join(FILE)).expect("a driver");
    let driver = Arc::new(DriverAround::new(Arc::new(driver), Arc::clone(&fault)));
    let store = SqlStore::open_on(driver, &Options::default()).expect("a store");
    let write = async || {
        for _ in 0..WRITES {
            let refused = Audited::new((base.org, UsedUp::NOTHING), event(EventKind::TokenRefused));
            store.record_event(refused).await.expect("recorded");
        }
    };
    let seen = |counter: &AtomicU64| counter.load(Ordering::SeqCst);
    fault.is_stuck.store(true, Ordering::SeqCst);
    write().await;
    while seen(&fault.stuck) == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(seen(&fault.moved), 0);
    fault.is_stuck.store(false, Ordering::SeqCst);
    write().await;
    while seen(&fault.moved) == 0 {
        tokio::task::yield_now().await;
    }
    check_chain(&store, base.org).await;
}

async fn sweep(kind: Kind) {
    let base = Base::new().await;
    for (name, operation) in OPERATIONS {
        let allowed = Allowed::of(&base, name, *operation).await;
        let mut statement = 0;
        while strike(&base, (name, *operation), &allowed, (kind, statement)).await {
            statement += 1;
            assert!(statement < STATEMENTS_MAX, "{name} has fewer statements");
        }
        // At least: begin, one that writes, commit.
        assert!(statement >= 3, "{name} has only {statement} statements");
    }
}

#[tokio::test]
async fn a_statement_that_fails_before_it_is_done_leaves_all_or_nothing() {
    sweep(Kind::FailsBefore).await;
}

#[tokio::test]
async fn a_statement_that_fails_after_it_was_done_leaves_all_or_nothing() {
    sweep(Kind::FailsAfter).await;
}

#[tokio::test]
async fn a_crash_before_a_statement_leaves_all_or_nothing() {
    sweep(Kind::CrashesBefore).await;
}

#[tokio::test]
async fn a_crash_after_a_statement_leaves_all_or_nothing() {
    sweep(Kind::CrashesAfter).await;
}
