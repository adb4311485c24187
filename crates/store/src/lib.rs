//! The domain's ports on SQLite, in one file, and on PostgreSQL, in a database on a server.
//!
//! Reading order: [`driver`] is the seam to the engine; the writer's thread commits members in
//! batches (`writer`, `member`, `queue`); one file for each noun holds its rows, as SQL that is
//! written once; `admissions` and `cache` serve what issuing reads from memory.
//!
//! Absent on purpose: a clock and randomness (times and ids come with what is written), a row type
//! outside this crate, an object mapper, a second way to write.

mod admissions;
mod agents;
mod answers;
pub mod backup;
mod cache;
mod certificates;
mod changes;
pub mod copy;
mod credentials;
mod descent;
pub mod driver;
mod failure;
mod federations;
mod followed;
mod foreign_domains;
mod generations;
mod holdings;
mod holds;
mod identities;
pub mod inspect;
mod installation;
mod instances;
mod keys;
mod leases;
mod ledger;
mod lineage;
mod listener;
mod log;
mod log_port;
mod maintenance;
mod member;
mod migrations;
mod nodes;
mod operators;
mod organizations;
mod page;
mod persons;
pub mod place;
mod queue;
mod readers;
mod registry;
mod resources;
mod revocations;
mod rewrap;
mod shared;
mod spent;
mod status_lists;
mod tasks;
mod uses;
mod vouched;
mod workloads;
mod writer;

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use accredit_domain::Fault;
use accredit_domain::ports::{
    BoxFuture, CommitError, Committed, Installation, Observer, Store, StoreHealth,
};
use accredit_domain::root::Rewrapping;
use accredit_domain::view::Loss;
use accredit_wire::ids::OrganizationId;
use tokio::sync::oneshot;

use admissions::Caches;
use cache::Stamps;
use changes::{Changes, Taken};
use driver::sqlite::SqliteDriver;
use driver::{Conn, Driver, DriverError};
use failure::Failure;
use member::{Member, Work};
use queue::{NotQueued, Queue};
use readers::{Length, Readers};
use shared::Shared;
use spent::Spent;
use writer::{Counters, Writer};

pub use changes::CHANGES_KEPT;
pub use installation::Founded;
pub use ledger::FORGOTTEN_IN_CHUNK_MAX;
pub use member::KINDS;
pub use page::READ_ROWS_MAX;
pub use queue::QUEUE_MAX;
pub use revocations::EVENTS_SEARCHED_MAX;
pub use spent::SPENT_MAX;
pub use uses::USES_IN_CHUNK_MAX;
pub use writer::{BATCH_MAX, HEADS_MAX, LINGER, Stats};

/// Bytes of all caches together where nobody says: room for [`AGENTS_CACHED`] agents with a secret each.
pub const CACHE_BYTES_MAX: usize = 160 * 1024 * 1024;
/// So many agents are to be active at a time without a look at the store for each request.
pub const AGENTS_CACHED: usize = 200_000;
/// Connections that read at the same time where nobody says.
pub const READERS_MAX: usize = 4;

/// How a store is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// Connections that read at the same time.
    pub readers: usize,
    /// Bytes of all caches together, by estimate.
    pub cache_bytes: usize,
    /// How long the writer waits for company, where it has lately had some.
    pub linger: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { readers: READERS_MAX, cache_bytes: CACHE_BYTES_MAX, linger: LINGER }
    }
}

/// The store of an installation: in one file that this process holds alone, or in a database.
pub struct SqlStore {
    shared: Arc<Shared>,
    caches: Arc<Caches>,
    readers: Readers,
    /// Up to when single-use values were forgotten, microseconds: one that ended before cannot be
    /// shown to be unused, even where the clock has gone back since.
    forgotten: AtomicI64,
    /// Whether this process declares a loss: it alone writes while one is not declared.
    declares: AtomicBool,
    driver: Arc<dyn Driver>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl SqlStore {
    /// Opens the store at `path`, which is made where there is none, and brings its schema up to
    /// date. Fails where another process has it, or a newer version has written it.
    pub fn open(path: &Path, options: &Options) -> Result<Arc<Self>, Fault> {
        let driver = SqliteDriver::open(path).map_err(|error| error.fault("open the store"))?;
        Self::open_on(Arc::new(driver), options)
    }

    /// Opens a store on a driver: how a test puts faults between the store and its engine.
    pub fn open_on(driver: Arc<dyn Driver>, options: &Options) -> Result<Arc<Self>, Fault> {
        let failed = |error: DriverError| error.fault("open the store");
        let mut conn = driver.writer().map_err(failed)?;
        migrations::apply(&*driver, &mut *conn)?;
        let mut mover = driver.writer().map_err(failed)?;
        let changes = conn.is_shared().then(|| Changes::from_now_on(&mut *conn)).transpose();
        let shared = Arc::new(Shared {
            queue: Queue::new(),
            stamps: Stamps::new(),
            observers: RwLock::new(Vec::new()),
            stats: Counters::default(),
            linger: options.linger,
            changes: changes.map_err(failed)?,
            slot: Mutex::new(None),
        });
        let (journal, maintenance) = maintenance::pair();
        let spent = Spent::load(&mut *conn).map_err(failed)?;
        let spent_before = generations::spent_before(&mut *conn).map_err(failed)?;
        let check = shared.changes.is_some().then(|| {
            let shared = Arc::clone(&shared);
            Arc::new(move |conn: &mut dyn Conn| match &shared.changes {
                Some(changes) => changes.check(conn),
                None => Ok(()),
            }) as readers::Check
        });
        let writer = Writer::new(conn, Arc::clone(&shared), journal, spent);
        let threads = vec![
            thread("store-writer", move || writer.run())?,
            thread("store-journal", move || maintenance.run(&mut *mover))?,
        ];
        Ok(Arc::new(Self {
            shared,
            caches: Arc::new(Caches::new(options.cache_bytes)),
            readers: Readers::new(Arc::clone(&driver), options.readers, check),
            forgotten: AtomicI64::new(spent_before),
            declares: AtomicBool::new(false),
            driver,
            threads: Mutex::new(threads),
        }))
    }

    /// Takes no more writes, waits until those that wait are durable, and lets go of the file.
    /// What comes later is answered with a fault. Blocks for as long as a batch takes.
    pub fn close(&self) {
        self.shared.queue.close();
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            // A thread that panicked has said so, and its members were told.
            let _ = thread.join();
        }
        self.readers.close();
        // Observers hold the store themselves: without this neither would ever be dropped.
        let observers = self.shared.observers.write();
        observers.unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// What the writer has done since the store was opened.
    pub fn stats(&self) -> Stats {
        self.shared.stats.read()
    }

    /// Holds the writer before its next batch: how a test says which writes share one.
    pub fn hold_writer(&self) {
        self.shared.queue.hold(Some(0));
    }

    /// Lets a writer that is held take all that waits, as one batch, and returns when it has. Blocks
    /// until then: something must be waiting.
    pub fn step_writer(&self) {
        self.shared.queue.hold(Some(1));
        while self.shared.queue.waiting() > 0 {
            std::thread::yield_now();
        }
    }

    /// Lets the writer go on by itself.
    pub fn release_writer(&self) {
        self.shared.queue.hold(None);
    }

    /// Puts work into the next batch and waits for it to be durable.
    async fn write(&self, operation: &'static str, work: Work) -> Result<Committed, Failure> {
        if self.is_lost() && !self.declares.load(Ordering::SeqCst) {
            return Err(Failure::wrong(operation, changes::LOST));
        }
        if self.shared.stats.is_stalled() {
            return Err(Failure::wrong(operation, "the store takes too long to write"));
        }
        let (reply, answer) = oneshot::channel();
        if let Err((_, why)) = self.shared.queue.push(Member { work, reply }) {
            return Err(Failure::wrong(
                operation,
                match why {
                    NotQueued::Full => "too many writes are waiting",
                    NotQueued::Closed => "the store is closed",
                },
            ));
        }
        match answer.await {
            Ok(outcome) => outcome,
            Err(_) => Err(Failure::wrong(operation, "the writer has ended")),
        }
    }

    /// Whether the store was found to have lost what it had answered.
    fn is_lost(&self) -> bool {
        self.shared.changes.as_ref().is_some_and(|changes| changes.loss.is_found())
    }

    /// Says that the store has lost what it had answered: from here on no node answers anything, and
    /// this process alone writes. To be followed by a new generation of each organization, and
    /// [`Self::loss_declared`].
    pub async fn declare_loss(&self) -> Result<(), Fault> {
        self.declares.store(true, Ordering::SeqCst);
        self.write_aside("begin to declare a loss", changes::write_begun).await
    }

    /// Ends that: the nodes forget what they knew and go on.
    pub async fn loss_declared(&self) -> Result<(), Fault> {
        self.write_aside("declare a loss", changes::write_declared).await
    }

    /// Writes on a connection of its own: the writer writes nothing where something is lost.
    async fn write_aside(
        &self,
        operation: &'static str,
        write: impl FnOnce(&mut dyn Conn) -> Result<(), DriverError> + Send + 'static,
    ) -> Result<(), Fault> {
        let driver = Arc::clone(&self.driver);
        let written = tokio::task::spawn_blocking(move || {
            let mut conn = driver.writer()?;
            conn.begin_write()?;
            write(&mut *conn)?;
            conn.commit()
        });
        let written = written.await.map_err(|error| Fault::new(operation, error))?;
        written.map_err(|error| error.fault(operation))
    }

    /// Reads on one snapshot.
    async fn read<T, F>(&self, operation: &'static str, read: F) -> Result<T, Fault>
    where
        T: Send + 'static,
        F: FnOnce(&mut dyn Conn) -> Result<T, DriverError> + Send + 'static,
    {
        self.readers.read((operation, Length::Any), read).await
    }

    /// Runs a read of a few rows by their keys, which may share its snapshot with others.
    async fn read_short<T, F>(&self, operation: &'static str, read: F) -> Result<T, Fault>
    where
        T: Send + 'static,
        F: FnOnce(&mut dyn Conn) -> Result<T, DriverError> + Send + 'static,
    {
        self.readers.read((operation, Length::Short), read).await
    }

    /// Reads on one snapshot, within one organization.
    fn read_in<'a, T, F>(
        &'a self,
        operation: &'static str,
        org: OrganizationId,
        read: F,
    ) -> BoxFuture<'a, Result<T, Fault>>
    where
        T: Send + 'static,
        F: FnOnce(&mut dyn Conn, &str) -> Result<T, DriverError> + Send + 'static,
    {
        Box::pin(self.read(operation, move |conn| read(conn, &org.to_string())))
    }
}

fn thread(
    name: &'static str,
    body: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, Fault> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(body)
        .map_err(|error| Fault::new("open the store", error))
}

impl Drop for SqlStore {
    fn drop(&mut self) {
        self.close();
    }
}

impl Store for SqlStore {
    fn installation(&self) -> BoxFuture<'_, Result<Option<Installation>, Fault>> {
        Box::pin(self.read("read the installation", installation::find))
    }

    fn found(&self, installation: Installation) -> BoxFuture<'_, Result<(), Fault>> {
        const OPERATION: &str = "found the installation";
        Box::pin(async move {
            let done = self.write(OPERATION, Work::Found(installation)).await;
            done.map(drop).map_err(|failure| failure.into_fault(OPERATION))
        })
    }

    fn rewrap(&self, rewrapping: Rewrapping) -> BoxFuture<'_, Result<u64, CommitError>> {
        Box::pin(async move {
            let done = self.write("rewrap the store", Work::Rewrap(Box::new(rewrapping))).await?;
            Ok(done.ended)
        })
    }

    fn observe(&self, observer: Arc<dyn Observer>) {
        let observers = &self.shared.observers;
        observers.write().unwrap_or_else(PoisonError::into_inner).push(observer);
    }

    fn is_shared(&self) -> bool {
        self.shared.changes.is_some()
    }

    fn woken(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            match self.driver.listen() {
                Some(wakes) => wakes.heard().await,
                None => std::future::pending().await,
            }
        })
    }

    fn catch_up(&self) -> BoxFuture<'_, Result<(), Fault>> {
        const OPERATION: &str = "take over what other nodes wrote";
        Box::pin(async move {
            let Some(changes) = &self.shared.changes else { return Ok(()) };
            loop {
                let after = changes.told();
                let next = self.read_short(OPERATION, move |conn| changes::next(conn, after));
                let taken = next.await.map(|next| changes.take(&self.shared, next));
                if let Some(before) = changes.to_be_told() {
                    let write = move |conn: &mut dyn Conn| changes::write_found(conn, before);
                    self.write_aside("tell of a loss", write).await?;
                }
                let is_done = match taken? {
                    Taken::All => true,
                    Taken::Some => false,
                    Taken::Anew(spent_before) => {
                        self.forgotten.fetch_max(spent_before, Ordering::SeqCst);
                        false
                    }
                    Taken::Lost => return Err(Fault::new(OPERATION, changes::LOST)),
                };
                if changes.root_is_other() {
                    let why = "another node has changed the root key: start this one with the new";
                    return Err(Fault::new(OPERATION, why));
                }
                if is_done {
                    return Ok(());
                }
            }
        })
    }

    fn loss(&self) -> Arc<Loss> {
        self.shared.changes.as_ref().map(|changes| Arc::clone(&changes.loss)).unwrap_or_default()
    }

    fn check(&self) -> BoxFuture<'_, Result<(), Fault>> {
        const OPERATION: &str = "check the store";
        Box::pin(async move {
            let done = self.write(OPERATION, Work::Beat).await;
            done.map(drop).map_err(|failure| failure.into_fault(OPERATION))
        })
    }

    fn health(&self) -> StoreHealth {
        let (cache_hits, cache_misses) = self.caches.used();
        let waiting = self.shared.queue.waiting() as u64;
        StoreHealth { waiting, cache_hits, cache_misses, ..self.shared.stats.health() }
    }
}
