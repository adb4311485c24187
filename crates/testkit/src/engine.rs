//! The engines that a world can stand on, so that one test runs on each of them: SQLite in the folder
//! of the world, and PostgreSQL on a server of this process's own.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use accredit_store::driver::Driver;
use accredit_store::driver::postgres::PostgresDriver;
use accredit_store::driver::target::Target;

use crate::{SettableClock, TestWorld, cluster};

/// How old what a world knows may be where no other node writes to its database: older than any test
/// sets its clock.
const ALONE: Duration = Duration::from_hours(24 * 365);

/// An engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// One file.
    Sqlite,
    /// A database of its own, on a server that lives as long as this process.
    Postgres,
}

impl Engine {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Sqlite, Self::Postgres];

    /// Asks for the names of all tables.
    const fn tables(self) -> &'static str {
        match self {
            Self::Sqlite => {
                "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
            }
            Self::Postgres => {
                "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'"
            }
        }
    }
}

static SERVER: LazyLock<PathBuf> =
    LazyLock::new(|| cluster::start_with(&["-c", "listen_addresses="], &|_| {}));
/// Databases are made one at a time: two at once would wait for the template.
static MAKING: Mutex<()> = Mutex::new(());
static MADE: AtomicU64 = AtomicU64::new(0);

fn database(name: &str) -> PostgresDriver {
    let url = format!("postgres://accredit@/{name}?host={}", SERVER.display());
    let target: Target = url.parse().expect("a target");
    PostgresDriver::at(&target).expect("a driver")
}

/// A new database; nothing is in it.
fn new_database() -> PostgresDriver {
    let name = format!("world{}", MADE.fetch_add(1, Ordering::Relaxed));
    let _one = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    let mut conn = database("postgres").writer().expect("a connection");
    conn.script(&format!("CREATE DATABASE {name} TEMPLATE template0")).expect("a database");
    database(&name)
}

impl TestWorld {
    /// A new world on an engine; the same seed makes the same ids and secrets.
    pub async fn new_on(engine: Engine, seed: u64) -> Self {
        let world = match engine {
            Engine::Sqlite => Self::new(seed).await,
            Engine::Postgres => {
                let folder = tempfile::tempdir().expect("a temporary folder");
                let driver: Arc<dyn Driver> = Arc::new(new_database());
                let clock = Arc::new(SettableClock::default());
                Self::open_with(folder, clock, (seed, None), |_| driver).await
            }
        };
        assert_eq!(world.world.store.is_shared(), engine == Engine::Postgres, "it stands on it");
        // No job looks what others wrote: nobody else writes.
        world.world.view.age_max.set(ALONE).expect("a new world");
        world
    }

    /// One more node on the database of a world, at the same time.
    pub async fn another_node(&self, seed: u64) -> Self {
        assert!(self.world.store.is_shared(), "a file is held by one");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (clock, driver) = (Arc::clone(&self.clock), Arc::clone(&self.driver));
        let root = Some(Arc::clone(&self.root));
        let node = Self::open_with(folder, clock, (seed, root), |_| driver).await;
        node.world.view.age_max.set(ALONE).expect("a new world");
        node
    }

    /// What somebody does who has the database and nothing else: statements that no program of ours makes.
    pub fn tampered_with(&self, sql: &str) {
        let mut conn = self.driver.writer().expect("a connection");
        conn.script(sql).expect("the engine takes it");
    }

    /// How many rows each table has, as the engine counts them.
    pub fn rows(&self, engine: Engine) -> BTreeMap<String, u64> {
        let mut conn = self.driver.reader().expect("a connection");
        let tables = conn.all(engine.tables(), &[], |row| Ok(row.text(0)?.to_owned()));
        let counted = tables.expect("the tables").into_iter().map(|name| {
            // The seam takes texts that live for ever, so that nobody puts values into them.
            let sql: &'static str = format!("SELECT count(*) FROM \"{name}\"").leak();
            let count = conn.number(sql, &[]).expect("the table is there");
            (name, count)
        });
        counted.collect()
    }
}
