//! How the store says it is doing, and what can be seen of it from outside.

use accredit_domain::ports::{Admissions as _, Installation, Store as _, StoreTrouble};
use accredit_domain::vault::WrappedPepper;
use accredit_store::driver::around::{Around, DriverAround, Step};
use accredit_store::driver::sqlite::SqliteDriver;
use accredit_store::driver::{DiskTrouble, Driver as _, DriverError};
use accredit_store::inspect::inspect;
use accredit_store::{Options, SqlStore};
use std::sync::{Arc, Mutex};

use crate::given::{World, found_organization};

/// A disk that takes nothing while a test says so.
struct Disk(Mutex<Option<DiskTrouble>>);

impl Around for Disk {
    fn writing<T: Default>(
        &self,
        step: Step,
        run: impl FnOnce() -> Result<T, DriverError>,
    ) -> Result<T, DriverError> {
        match *self.0.lock().expect("the disk") {
            Some(trouble) if step == Step::Commit => {
                Err(DriverError::Disk(trouble, "nothing is taken".to_owned()))
            }
            _ => run(),
        }
    }
}

#[tokio::test]
async fn writes_and_looks_into_the_cache_are_counted() {
    let world = World::new().await;
    let before = world.store.health();
    assert!(before.batches > 0 && before.members >= before.batches);
    let agent = world.agent("a").await;
    for _ in 0..3 {
        world.store.agent_facts(world.org, agent.id).await.expect("read").expect("there");
    }
    let after = world.store.health();
    assert_eq!((after.batches, after.members), (before.batches + 1, before.members + 1));
    assert_eq!((after.cache_hits, after.cache_misses), (2, 1), "read once");
    assert_eq!((after.waiting, after.trouble), (0, None));
}

#[tokio::test]
async fn a_disk_that_takes_nothing_is_named_until_it_takes_something() {
    let folder = tempfile::tempdir().expect("a folder");
    let driver = SqliteDriver::open(&folder.path().join("accredit.db")).expect("a database");
    let disk = Arc::new(Disk(Mutex::new(None)));
    let driver = Arc::new(DriverAround::new(Arc::new(driver), Arc::clone(&disk)));
    let store = SqlStore::open_on(driver, &Options::default()).expect("a store");
    found_organization(&store, "dev").await;
    for (trouble, named) in
        [(DiskTrouble::Full, StoreTrouble::Full), (DiskTrouble::ReadOnly, StoreTrouble::ReadOnly)]
    {
        *disk.0.lock().expect("the disk") = Some(trouble);
        assert!(store.check().await.is_err());
        assert_eq!(store.health().trouble, Some(named));
        *disk.0.lock().expect("the disk") = None;
        store.check().await.expect("it goes on by itself");
        assert_eq!(store.health().trouble, None);
    }
}

#[tokio::test]
async fn a_full_or_read_only_file_is_recognized_by_what_the_engine_says() {
    let folder = tempfile::tempdir().expect("a folder");
    let driver = SqliteDriver::open(&folder.path().join("accredit.db")).expect("a database");
    let mut conn = driver.writer().expect("a writer");
    conn.script("CREATE TABLE t (x BLOB)").expect("a table");
    conn.script("PRAGMA max_page_count = 3").expect("a bound");
    let large = conn.execute("INSERT INTO t VALUES (zeroblob(100000))", &[]);
    assert!(matches!(large, Err(DriverError::Disk(DiskTrouble::Full, _))), "{large:?}");
    let mut reader = driver.reader().expect("a reader");
    let refused = reader.execute("INSERT INTO t VALUES (1)", &[]);
    assert!(matches!(refused, Err(DriverError::Disk(DiskTrouble::ReadOnly, _))), "{refused:?}");
}

#[tokio::test]
async fn a_store_can_be_looked_at_while_it_is_served() {
    let world = World::new().await;
    let file = world.folder.path().join("accredit.db");
    let seen = inspect(&file.clone().into()).expect("seen");
    assert_eq!(seen.schema, seen.schema_known);
    assert_eq!(seen.written_by, env!("CARGO_PKG_VERSION"));
    assert!(seen.installation.is_none());
    assert_eq!(seen.organizations, ["dev"]);
    assert!(seen.sequenced > 0);
    assert_eq!(seen.integrated, 0);
    let peppers = vec![WrappedPepper { version: 1, wrapped: vec![1; 60] }];
    let public_url = "https://id.example".to_owned();
    world.store.found(Installation { peppers, root: 1, public_url }).await.expect("founded");
    let founded = inspect(&file.clone().into()).expect("seen").installation.expect("founded");
    assert_eq!(founded.public_url, "https://id.example");
    assert!(inspect(&world.folder.path().join("none.db").into()).is_err());
    assert!(!world.folder.path().join("none.db").exists(), "looking makes nothing");
}
