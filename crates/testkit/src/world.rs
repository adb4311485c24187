//! A world in a temporary folder: everything real but time and chance.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use accredit_domain::World;
use accredit_domain::limits::Limits;
use accredit_domain::ports::{Clock as _, Entropy, Installation, Log as _, Store};
use accredit_domain::restoration::{self, Because};
use accredit_domain::root::Root;
use accredit_domain::vault::SoftVault;
use accredit_domain::view::View;
use accredit_net::JwkSets;
use accredit_server::{Server, dispatch, jobs};
use accredit_store::driver::Driver;
use accredit_store::driver::around::{Around, DriverAround};
use accredit_store::driver::sqlite::SqliteDriver;
use accredit_store::{Options, SqlStore};
use accredit_wire::time::Time;
use axum::Router;
use tempfile::TempDir;

use crate::clock::SettableClock;
use crate::entropy::SeededEntropy;
use crate::fault::Faults;
use crate::fixture::Org;
use crate::outbound::Outside;
use crate::pause::PausingVault;
use crate::root::RootPlace;

/// Where every world says that it is reached.
pub const PUBLIC_URL: &str = "https://id.example";

/// A world and the server over it. Dropped, it closes the store and removes the folder.
pub struct TestWorld {
    /// What is set instead of given.
    pub clock: Arc<SettableClock>,
    /// What the domain is given.
    pub world: Arc<World>,
    /// The server over it; none of its jobs run unless the test runs them.
    pub server: Arc<Server>,
    /// The vault, which can be made to pause.
    pub vault: Arc<PausingVault>,
    /// Where the root key is kept.
    pub root: Arc<RootPlace>,
    /// Which loopback addresses documents may be fetched from: none, unless a test allows them.
    pub outside: Arc<Outside>,
    /// How the database is made to fail.
    pub faults: Arc<Faults>,
    pub(crate) router: Router,
    pub(crate) store: Arc<SqlStore>,
    /// What the store stands on, without the faults.
    pub(crate) driver: Arc<dyn Driver>,
    folder: TempDir,
}

impl TestWorld {
    /// A new world; the same seed makes the same ids and secrets.
    pub async fn new(seed: u64) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Self::open(folder, Arc::new(SettableClock::default()), seed).await
    }

    /// The same store, opened again by a new server: what was in memory is gone.
    pub async fn reopened(self, seed: u64) -> Self {
        let Self { clock, store, folder, world, server, router, root, driver, .. } = self;
        store.close();
        drop((router, server, world, store, driver));
        Self::open_with(folder, clock, (seed, Some(root)), |driver| Arc::new(driver)).await
    }

    /// A world of its own at the same time, whose store is a copy of this one's: what a backup gives
    /// back.
    pub async fn copied(&self, seed: u64) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let to = folder.path().join("store.db");
        std::fs::File::create_new(&to).expect("a file");
        accredit_store::backup::copy(&self.folder.path().join("store.db"), &to).expect("a copy");
        let clock = SettableClock::default();
        clock.set(self.now());
        let root = Arc::clone(&self.root);
        let clock = Arc::new(clock);
        Self::open_with(folder, clock, (seed, Some(root)), |driver| Arc::new(driver)).await
    }

    /// A new generation of one organization's store, as a restore begins it, and a new server.
    pub async fn restored(self, org: &Org, seed: u64) -> Self {
        self.begun(org, seed, Because::Restored).await
    }

    /// A new generation of one organization's store, as a declared loss begins it, and a new server.
    pub async fn loss_declared(self, org: &Org, seed: u64) -> Self {
        self.begun(org, seed, Because::LossDeclared("a test")).await
    }

    async fn begun(self, org: &Org, seed: u64, because: Because<'_>) -> Self {
        let tenant = self.tenant(org).await;
        let begun = restoration::begin(&self.world, &tenant, (2, because), self.now()).await;
        let begun = begun.expect("a generation");
        self.store.begin_generation(begun).await.expect("written");
        self.reopened(seed).await
    }

    /// A new world whose store other nodes may share, as far as its node knows.
    pub async fn shared(seed: u64) -> Self {
        struct Shared;
        impl Around for Shared {
            fn is_shared(&self, _is_shared: bool) -> bool {
                true
            }
        }
        let folder = tempfile::tempdir().expect("a temporary folder");
        let world = Self::open_with(folder, Arc::default(), (seed, None), |driver| {
            Arc::new(DriverAround::new(Arc::new(driver), Arc::new(Shared)))
        });
        let world = world.await;
        assert!(jobs::catch_up(&world.server).await, "nothing is there yet");
        world
    }

    /// A new world in a folder below `within`, on a driver of the test's own making.
    pub async fn on(
        within: &Path,
        seed: u64,
        wrap: impl FnOnce(SqliteDriver) -> Arc<dyn Driver>,
    ) -> Self {
        let folder = tempfile::tempdir_in(within).expect("a temporary folder");
        Self::open_with(folder, Arc::new(SettableClock::default()), (seed, None), wrap).await
    }

    async fn open(folder: TempDir, clock: Arc<SettableClock>, seed: u64) -> Self {
        Self::open_with(folder, clock, (seed, None), |driver| Arc::new(driver)).await
    }

    pub(crate) async fn open_with(
        folder: TempDir,
        clock: Arc<SettableClock>,
        (seed, root): (u64, Option<Arc<RootPlace>>),
        wrap: impl FnOnce(SqliteDriver) -> Arc<dyn Driver>,
    ) -> Self {
        let faults = Arc::new(Faults::default());
        let file = folder.path().join("store.db");
        let driver = wrap(SqliteDriver::open(&file).expect("a database"));
        let store = open_store(&driver, &faults);
        let entropy: Arc<dyn Entropy> = Arc::new(SeededEntropy::new(seed));
        let root = root.unwrap_or_else(|| Arc::new(RootPlace::new(Arc::clone(&entropy))));
        let founded = store.installation().await.expect("a readable store");
        let installation = if let Some(installation) = founded {
            installation
        } else {
            let pepper = SoftVault::new_pepper(&root.current(), entropy.as_ref(), 1);
            let public_url = PUBLIC_URL.to_owned();
            let installation =
                Installation { peppers: vec![pepper.expect("a pepper")], root: 1, public_url };
            store.found(installation.clone()).await.expect("a new store");
            installation
        };
        let vault = SoftVault::open(
            root.opening(&installation.peppers),
            Arc::clone(&entropy),
            &installation,
        );
        let vault = PausingVault::new(vault.expect("the root key"));
        let outside = Arc::new(Outside(JwkSets::new().expect("an outbound client")));
        let world = Arc::new(World {
            outbound: Arc::clone(&outside) as Arc<_>,
            root: Root::new(Arc::clone(&root) as Arc<_>),
            clock: Arc::clone(&clock) as Arc<_>,
            latest: Arc::default(),
            entropy,
            vault: Arc::clone(&vault) as Arc<_>,
            view: View::of(&*store),
            store: Arc::clone(&store) as Arc<dyn Store>,
            public_url: installation.public_url,
            limits: Limits::default(),
            nonces: std::sync::OnceLock::new(),
        });
        let server = Server::new(Arc::clone(&world));
        // As jobs do at once.
        server.look();
        jobs::catch_up(&server).await;
        let router = dispatch::router(&server);
        Self { clock, world, server, vault, root, outside, faults, router, store, driver, folder }
    }

    /// The time.
    pub fn now(&self) -> Time {
        self.clock.now()
    }

    /// Moves the time forwards by whole seconds.
    pub fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// Every byte that lies in the folder of the store, joined.
    pub fn bytes_at_rest(&self) -> Vec<u8> {
        let files = std::fs::read_dir(self.folder.path()).expect("the folder");
        files
            .flat_map(|file| std::fs::read(file.expect("a file").path()).expect("its bytes"))
            .collect()
    }

    /// Runs the job that signs deltas for followers, until the test ends.
    pub fn run_hub(&self) {
        let hub = Arc::clone(&self.server.hub);
        tokio::spawn(async move { hub.run().await });
    }
}

fn open_store(driver: &Arc<dyn Driver>, faults: &Arc<Faults>) -> Arc<SqlStore> {
    let driver = Arc::new(DriverAround::new(Arc::clone(driver), Arc::clone(faults)));
    SqlStore::open_on(driver, &Options::default()).expect("a store")
}
