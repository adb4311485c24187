//! A fault before and after each statement of each operation: one that goes by, and one that ends
//! the process. Afterwards all of the operation is there or nothing, told truly where it can be,
//! and the store goes on: at once after the first kind, opened again after the second.

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use accredit_domain::audit::event::{Body, Event, EventKind};
use accredit_domain::keys::{KeyPurpose, SigningKey};
use accredit_domain::ports::{
    Audited, Change, Installation, Integrated, Issuance, Leaf, LeafBody, Ledger as _, Log as _,
    Pruned, Registry as _, Row, SingleUse, Store as _, Tile, Use,
};
use accredit_domain::registry::agent::AgentState;
use accredit_domain::registry::credential::Holder;
use accredit_domain::registry::instance::InstanceState;
use accredit_domain::registry::{Agent, Credential, Instance, Organization, Person};
use accredit_domain::restoration::NewGeneration;
use accredit_domain::revocation::Revocation;
use accredit_store::driver::sqlite::SqliteDriver;
use accredit_store::driver::{Conn, Driver, DriverError, EachRow, Value};
use accredit_store::{Options, SqliteStore};
use accredit_wire::crypto::sha256_of;
use accredit_wire::ids::OrganizationId;

use crate::given::{
    self, NOW, agent, instance, organization, person, resource, secret, signing_key, single_use,
};
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
}

impl Fault {
    fn new(kind: Kind) -> Arc<Self> {
        let (was_hit, is_dead) = (AtomicBool::new(false), AtomicBool::new(false));
        Arc::new(Self { kind, left: AtomicI64::new(-1), was_hit, is_dead })
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

struct FaultyDriver(SqliteDriver, Arc<Fault>);

impl Driver for FaultyDriver {
    fn writer(&self) -> Result<Box<dyn Conn>, DriverError> {
        Ok(Box::new(FaultyConn(self.0.writer()?, Arc::clone(&self.1))))
    }

    fn reader(&self) -> Result<Box<dyn Conn>, DriverError> {
        self.0.reader()
    }

    fn migrations(&self) -> &'static [(i64, &'static str, &'static str)] {
        self.0.migrations()
    }
}

struct FaultyConn(Box<dyn Conn>, Arc<Fault>);

impl Conn for FaultyConn {
    fn execute(&mut self, sql: &'static str, params: &[Value<'_>]) -> Result<usize, DriverError> {
        self.1.run(|| self.0.execute(sql, params))
    }

    fn query(
        &mut self,
        sql: &'static str,
        params: &[Value<'_>],
        each: &mut EachRow<'_>,
    ) -> Result<(), DriverError> {
        self.1.run(|| self.0.query(sql, params, each))
    }

    fn script(&mut self, sql: &str) -> Result<(), DriverError> {
        self.1.run(|| self.0.script(sql))
    }

    fn begin_write(&mut self) -> Result<(), DriverError> {
        self.1.run(|| self.0.begin_write())
    }

    fn begin_read(&mut self) -> Result<(), DriverError> {
        self.0.begin_read()
    }

    fn commit(&mut self) -> Result<(), DriverError> {
        self.1.run(|| self.0.commit())
    }

    fn rollback(&mut self) -> Result<(), DriverError> {
        self.1.run(|| self.0.rollback())
    }

    fn savepoint(&mut self) -> Result<(), DriverError> {
        self.1.run(|| self.0.savepoint())
    }

    fn release(&mut self) -> Result<(), DriverError> {
        self.1.run(|| self.0.release())
    }

    fn undo(&mut self) -> Result<(), DriverError> {
        self.1.run(|| self.0.undo())
    }

    fn in_transaction(&self) -> bool {
        self.0.in_transaction()
    }

    fn checkpoint(&mut self) -> Result<u64, DriverError> {
        self.0.checkpoint()
    }
}

/// A store as it was before each operation, and the rows that operations write, always the same.
struct Base {
    folder: tempfile::TempDir,
    org: OrganizationId,
    agent: Agent,
    instance: Instance,
    of_instance: Credential,
    second: (Organization, SigningKey),
    newcomer: (Person, Agent, Credential),
    revocation: Revocation,
}

impl Base {
    async fn new() -> Self {
        let given::World { store, org, folder } = given::World::new().await;
        let world = given::World { store, org, folder };
        world.commit(vec![Row::Resource(resource("crm"))]).await.expect("committed");
        let bot = world.agent("bot").await;
        world.credential(Holder::Agent(bot.id)).await;
        let (copy, of_copy) = world.instance(bot.id).await;
        let (other, _) = instance(bot.id);
        world.revoke(other.id.any(), Vec::new()).await;
        let spent = SingleUse { until: NOW.minus(hours(3)), ..single_use(bot.id.any(), 9) };
        assert!(world.store.consume_once(org, spent).await.expect("consumed"));
        world.store.close();
        let second = organization("second");
        let key = signing_key(second.id, KeyPurpose::Token);
        let owner = person("newcomer@example.com");
        let newcomer = agent("newcomer", Some(&owner));
        let credential = secret(Holder::Agent(newcomer.id));
        Self {
            folder: world.folder,
            org,
            revocation: given::revocation(bot.id.any()),
            agent: bot,
            instance: copy,
            of_instance: of_copy,
            second: (second, key),
            newcomer: (owner, newcomer, credential),
        }
    }

    fn issuance(&self, single_use: Option<SingleUse>) -> Audited<Issuance> {
        let lineage = vec![self.agent.id.any()];
        let issuance = Issuance { org: self.org, lineage, rev: 1, single_use };
        Audited::new(issuance, event(EventKind::TokenIssued))
    }
}

fn change(org: OrganizationId, rows: Vec<Row>, revocation: Option<Revocation>) -> Audited<Change> {
    Audited::new(Change { org, at: NOW, rows, revocation }, event(EventKind::AgentUpdated))
}

fn hours(hours: u64) -> Duration {
    Duration::from_hours(hours)
}

/// The same bytes each time.
fn event(kind: EventKind) -> Event {
    Event::new(kind, NOW, [5; 16], Body::default())
}

type Done<'a> = Pin<Box<dyn Future<Output = bool> + 'a>>;
/// Does something, always the same, and tells whether it was said to be done.
type Operation = for<'a> fn(&'a Base, &'a SqliteStore) -> Done<'a>;

const OPERATIONS: &[(&str, Operation)] = &[
    ("issue", |base, store| {
        Box::pin(async { store.record_issuance(base.issuance(None)).await.is_ok() })
    }),
    ("issue by a proof", |base, store| {
        let value = single_use(base.agent.id.any(), 1);
        Box::pin(async { store.record_issuance(base.issuance(Some(value))).await.is_ok() })
    }),
    ("record an event", |base, store| {
        let value = single_use(base.agent.id.any(), 2);
        let refused = Audited::new((base.org, Some(value)), event(EventKind::TokenRefused));
        Box::pin(async { store.record_event(refused).await.is_ok() })
    }),
    ("consume", |base, store| {
        let value = single_use(base.agent.id.any(), 3);
        Box::pin(async { store.consume_once(base.org, value).await.is_ok_and(|first| first) })
    }),
    ("found an organization", |base, store| {
        let (org, key) = base.second.clone();
        let (id, rows) = (org.id, vec![Row::Organization(org), Row::Key(key)]);
        Box::pin(async move { store.commit(change(id, rows, None)).await.is_ok() })
    }),
    ("register an agent", |base, store| {
        let (owner, agent, credential) = base.newcomer.clone();
        let rows = vec![Row::Person(owner), Row::Agent(agent), Row::Credential(credential)];
        Box::pin(async move { store.commit(change(base.org, rows, None)).await.is_ok() })
    }),
    ("decommission an agent", |base, store| {
        let over = Agent { state: AgentState::Decommissioned, ..base.agent.clone() };
        let rows = vec![Row::Agent(over), Row::EndAgent(base.agent.id)];
        let change = change(base.org, rows, Some(base.revocation.clone()));
        Box::pin(async { store.commit(change).await.is_ok() })
    }),
    ("revoke an instance", |base, store| {
        let over = Instance { state: InstanceState::Revoked, ..base.instance.clone() };
        let rows = vec![Row::Instance(over), Row::EndInstance(base.instance.id)];
        let target = base.of_instance.id.any();
        let revocation = Revocation { target, ..base.revocation.clone() };
        let change = change(base.org, rows, Some(revocation));
        Box::pin(async { store.commit(change).await.is_ok() })
    }),
    ("integrate", |base, store| {
        let tile = |level| Tile { level, index: 0, hashes: vec![level; 32] };
        let note = "a note".to_owned();
        let integrated = Integrated { tiles: vec![tile(0), tile(1)], size: 2, note };
        Box::pin(async {
            store.integrate(base.org, 0, 0, integrated).await.is_ok_and(|first| first)
        })
    }),
    ("begin a generation", |base, store| {
        let revocation = Revocation { target: base.org.any(), ..base.revocation.clone() };
        let spent_before = NOW.plus(hours(1));
        let new = NewGeneration { org: base.org, generation: 2, revocation, spent_before };
        let new = Audited::new(new, event(EventKind::LogGenerationStarted));
        Box::pin(async { store.begin_generation(new).await.is_ok() })
    }),
    ("prune the log", |base, store| {
        Box::pin(async move {
            let Ok(leaves) = store.leaves(base.org, 0, 0, 2).await else { return false };
            let pruned = |leaf: &Leaf| match &leaf.body {
                LeafBody::Kept { salt, payload } => Some(Pruned {
                    sequence: leaf.sequence,
                    digest: sha256_of(&[salt, payload.as_bytes()]),
                }),
                LeafBody::Pruned { .. } => None,
            };
            let pruned = leaves.iter().filter_map(pruned).collect();
            store.prune(base.org, 0, pruned).await.is_ok()
        })
    }),
    ("record uses", |base, store| {
        let (org, ids) = (base.org, [base.agent.id.any(), base.of_instance.id.any()]);
        let uses = ids.map(|id| Use { org, id, at: NOW.plus(hours(1)), source: None });
        Box::pin(async move { store.record_uses(uses.to_vec()).await.is_ok() })
    }),
    ("forget single-use values", |_, store| {
        Box::pin(async { store.forget_before(NOW.minus(hours(2))).await.is_ok() })
    }),
    ("forget revocations too", |_, store| {
        Box::pin(async { store.forget_before(NOW.plus(hours(26))).await.is_ok() })
    }),
    ("found the installation", |_, store| {
        let public_url = "https://id.example".to_owned();
        let installation = Installation { peppers: Vec::new(), public_url };
        Box::pin(async { store.found(installation).await.is_ok() })
    }),
];

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

/// Each state that an operation may leave: as before, half of a piece of work that is done in two,
/// and done.
struct Allowed {
    before: String,
    between: Option<String>,
    done: String,
}

impl Allowed {
    async fn of(base: &Base, name: &str, operation: Operation) -> Self {
        let before = dump(&copy(base.folder.path()).path().join(FILE));
        let between = match name {
            "forget revocations too" => {
                let (_, first) = OPERATIONS[OPERATIONS.len() - 3];
                Some(Self::after(base, first).await)
            }
            _ => None,
        };
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
    let driver = Arc::new(FaultyDriver(driver, Arc::clone(&fault)));
    let store = SqliteStore::open_on(driver, &Options::default()).expect("a store");
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
        let is_undone = found == allowed.before || allowed.between.as_ref() == Some(&found);
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
    let rev = store.organization(accredit_domain::ports::Lookup::Id(head)).await.expect("read");
    let rev = rev.expect("there").rev;
    let issuance = Issuance { org: head, lineage: Vec::new(), rev, single_use: None };
    let issuance = Audited::new(issuance, event(EventKind::TokenIssued));
    store.record_issuance(issuance).await.unwrap_or_else(|error| panic!("{place}: {error:?}"));
    check_chain(&store, head).await;
    was_hit
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
