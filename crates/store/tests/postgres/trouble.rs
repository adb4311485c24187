//! A server that stalls, or is gone for a moment: writers are told soon, nobody queues behind it, and
//! afterwards all goes on.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use accredit_domain::ports::Store as _;
use accredit_store::driver::around::{Around, DriverAround, Step};
use accredit_store::driver::postgres::STATEMENT_TIME_MAX;
use accredit_store::driver::{Conn, Driver, DriverError};
use accredit_store::{Options, SqlStore};
use accredit_wire::ids::TokenId;

use crate::engine;
use crate::given::{World, commit, issue, revocation, unique};
use crate::log::check_chain;

/// Holds what every readiness check writes, until it is rolled back.
fn lock(folder: &tempfile::TempDir) -> Box<dyn Conn> {
    let mut conn = engine::driver(folder).writer().expect("a connection");
    conn.script("SET idle_in_transaction_session_timeout = 0").expect("for as long as it takes");
    conn.begin_write().expect("begun");
    conn.script("LOCK TABLE heartbeat IN ACCESS EXCLUSIVE MODE").expect("locked");
    conn
}

/// Ends every other connection to the database.
const CUT: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
     WHERE datname = current_database() AND pid <> pg_backend_pid() AND query NOT LIKE 'LOCK %'";

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[expect(clippy::disallowed_methods, reason = "how long an answer takes is what is tested")]
async fn a_server_that_stalls_sheds_and_never_queues() {
    let world = World::new().await;
    let mut held = lock(&world.folder);
    let store = Arc::clone(&world.store);
    let began = Instant::now();
    let first = tokio::spawn(async move { store.check().await });
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    for _ in 0..200 {
        let asked = Instant::now();
        let fault = world.store.check().await.expect_err("shed").to_string();
        assert!(fault.contains("takes too long"), "{fault}");
        assert!(asked.elapsed() < Duration::from_millis(500), "{:?}", asked.elapsed());
    }
    assert_eq!(world.store.health().waiting, 0);
    assert!(world.store.health().last_write > Duration::from_secs(2));
    first.await.expect("no panic").expect_err("given up");
    assert!(began.elapsed() < STATEMENT_TIME_MAX + Duration::from_secs(5), "{:?}", began.elapsed());
    assert!(world.store.health().trouble.is_some());
    held.rollback().expect("let go");
    world.store.check().await.expect("all goes on");
    assert_eq!(world.store.health().trouble, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn connections_that_are_lost_are_made_anew() {
    let world = World::new().await;
    for _ in 0..3 {
        world.store.check().await.expect("written");
        world.store.installation().await.expect("read");
        engine::script(&world.folder, CUT);
        world.store.installation().await.expect("read, on another connection");
        world.store.check().await.expect("written, on another connection");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[expect(clippy::disallowed_methods, reason = "a batch has to have begun")]
async fn a_batch_whose_connection_is_lost_is_written_on_the_next() {
    let world = World::new().await;
    let before = world.store.health().retries;
    let mut held = lock(&world.folder);
    let store = Arc::clone(&world.store);
    let waits = tokio::spawn(async move { store.check().await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    engine::script(
        &world.folder,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE datname = current_database() AND query LIKE 'UPDATE heartbeat%'",
    );
    tokio::time::sleep(Duration::from_millis(300)).await;
    held.rollback().expect("let go");
    waits.await.expect("no panic").expect("written");
    assert_eq!(world.store.health().retries, before + 1);
}

/// How long a client is given to hear that its session was ended.
const HEARD: Duration = Duration::from_millis(300);

/// Ends all sessions before one of the writer's steps.
struct CutAt {
    /// A connection of its own, which is not ended.
    conn: Mutex<Box<dyn Conn>>,
    left: AtomicI64,
    before: Mutex<Option<Step>>,
}

impl Around for CutAt {
    #[expect(clippy::disallowed_methods, reason = "the client has to have heard of it")]
    fn writing<T: Default>(
        &self,
        step: Step,
        run: impl FnOnce() -> Result<T, DriverError>,
    ) -> Result<T, DriverError> {
        if self.left.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.conn.lock().expect("the connection").script(CUT).expect("ended");
            std::thread::sleep(HEARD);
            *self.before.lock().expect("the step") = Some(step);
        }
        run()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_session_that_is_lost_before_its_commit_was_sent_is_an_error_for_nobody() {
    let world = World::new().await;
    let agent = world.agent("a").await.id.any();
    let cut = Arc::new(CutAt {
        conn: Mutex::new(engine::driver(&world.folder).writer().expect("a connection")),
        left: AtomicI64::new(0),
        before: Mutex::default(),
    });
    let driver: Arc<dyn Driver> =
        Arc::new(DriverAround::new(engine::driver(&world.folder), Arc::clone(&cut)));
    let store = SqlStore::open_on(driver, &Options::default()).expect("a node");
    let before = check_chain(&store, world.org).await.len() as u64;
    let (mut issued, mut rev, mut steps) = (0_u64, 0, Vec::new());
    for at in 1.. {
        cut.left.store(at, Ordering::SeqCst);
        if at % 2 == 0 {
            issue(&store, world.org, vec![TokenId::new(1, unique()).any()], rev, None)
                .await
                .expect("issued");
            issued += 1;
        } else {
            let entry = Some(revocation(agent));
            rev = commit(&store, world.org, Vec::new(), entry).await.expect("committed").rev;
        }
        match cut.before.lock().expect("the step").take() {
            Some(step) => steps.push(step),
            None if at % 2 == 1 => break,
            None => {}
        }
    }
    assert!(steps.contains(&Step::BeginWrite) && steps.contains(&Step::Commit), "{steps:?}");
    assert!(store.health().retries >= 5, "{}", store.health().retries);
    let leaves = check_chain(&store, world.org).await;
    let count = |kind: &str| leaves.iter().filter(|leaf| leaf.kind == kind).count() as u64;
    assert_eq!(count("token.issued"), issued, "each once");
    assert_eq!(leaves.len() as u64, before + issued + rev, "each once");
}
