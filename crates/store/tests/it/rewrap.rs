//! Another root key: all of what is wrapped is replaced, or nothing; and what was wrapped before is
//! not written afterwards.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use accredit_domain::audit::event::Body;
use accredit_domain::ca::listener::{ListenerRoot, Roots};
use accredit_domain::keys::{KeyPurpose, SealedKey, SigningKey};
use accredit_domain::ports::{
    CommitError, Entropy, Installation, KeyVault, ListenerRoots as _, Log as _, Notice, Observer,
    Registry as _, Replaced, Row, Store as _,
};
use accredit_domain::root::{Rewrapped, Rewrapping};
use accredit_domain::vault::{RootKey, SoftVault};
use accredit_store::driver::DriverError;
use accredit_store::driver::around::{Around, DriverAround, Step};
use accredit_store::driver::sqlite::SqliteDriver;
use accredit_store::{Options, SqlStore};
use accredit_wire::crypto::sha256_of;
use accredit_wire::ids::{KeyId, OrganizationId};

use crate::given::{
    NOW, World, commit, found_organization, issue, listener_root, signing_key, unique,
};
use crate::log::check_chain;

/// The same bytes for the same seed, in the order in which they are asked for.
struct Seeded(u64, AtomicU64);

impl Seeded {
    fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self(seed, AtomicU64::new(0)))
    }
}

impl Entropy for Seeded {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(32) {
            let drawn = self.1.fetch_add(1, Ordering::SeqCst);
            let block = sha256_of(&[&self.0.to_be_bytes(), &drawn.to_be_bytes()]);
            chunk.copy_from_slice(&block[..chunk.len()]);
        }
    }
}

/// A vault under the first root key, and what the store is founded with.
pub(crate) fn vault() -> (SoftVault, Installation) {
    let root = RootKey::new([1; 32]);
    let entropy = Seeded::new(5);
    let peppers = [1, 2]
        .map(|version| SoftVault::new_pepper(&root, entropy.as_ref(), version).expect("a pepper"));
    let public_url = "https://id.example".to_owned();
    let installation = Installation { peppers: peppers.to_vec(), root: 1, public_url };
    let vault = SoftVault::open(root, entropy, &installation).expect("a vault");
    (vault, installation)
}

/// To the root key that follows, made of this byte. The same bytes each time.
pub(crate) fn rewrapping(vault: &SoftVault, byte: u8) -> Rewrapping {
    let entropy = Seeded::new(u64::from(byte));
    Rewrapping::new(vault.prepare(RootKey::new([byte; 32])), entropy, NOW, Body::default())
}

/// A signing key that the vault has wrapped.
pub(crate) async fn wrapped(
    vault: &SoftVault,
    org: OrganizationId,
    purpose: KeyPurpose,
) -> SigningKey {
    let key = signing_key(org, purpose);
    let sealed = vault.generate(Some(org), key.sealed.id, purpose, purpose.algorithm()).await;
    SigningKey { sealed: sealed.expect("a key"), ..key }
}

/// A root of the listener's that the vault has wrapped.
async fn listener(vault: &SoftVault, serial: u8) -> ListenerRoot {
    let id = KeyId::new(NOW.millis(), unique());
    let purpose = KeyPurpose::CaRoot;
    let key = vault.generate(None, id, purpose, purpose.algorithm()).await.expect("a key");
    listener_root(key, serial)
}

/// A founded world with two organizations, their keys and the listener's.
async fn founded() -> (World, [OrganizationId; 2], Arc<SoftVault>) {
    let world = World::new().await;
    let (vault, installation) = vault();
    world.store.found(installation).await.expect("founded");
    let orgs = [world.org, found_organization(&world.store, "other").await];
    for org in orgs {
        let mut rows = Vec::new();
        for purpose in KeyPurpose::ALL {
            rows.push(Row::Key(wrapped(&vault, org, purpose).await));
        }
        commit(&world.store, org, rows, None).await.expect("committed");
    }
    let by = Roots { active: listener(&vault, 1).await, next: listener(&vault, 2).await };
    let made = world.store.replace_listener_roots(Replaced { seen: None, by }).await;
    made.expect("committed");
    (world, orgs, Arc::new(vault))
}

/// Everything that is wrapped in a store.
async fn at_rest(world: &World, orgs: &[OrganizationId]) -> (Installation, Vec<SealedKey>) {
    let installation = world.store.installation().await.expect("read").expect("founded");
    let mut keys = Vec::new();
    for org in orgs {
        let of_org = world.store.signing_keys(*org).await.expect("read");
        keys.extend(of_org.into_iter().map(|key| key.sealed));
    }
    let roots = world.store.listener_roots().await.expect("read").expect("there");
    keys.extend([roots.active.key, roots.next.key]);
    (installation, keys)
}

/// One of each purpose in either organization.
const OF_ORGANIZATIONS: usize = 2 * KeyPurpose::ALL.len();
/// And two of the listener's.
const KEYS: usize = OF_ORGANIZATIONS + 2;

/// A root key opens everything that is wrapped, by itself.
async fn check_opens(byte: u8, (installation, keys): &(Installation, Vec<SealedKey>)) {
    let entropy = Seeded::new(1);
    let vault = SoftVault::open(RootKey::new([byte; 32]), entropy, installation).expect("opens");
    for key in keys {
        let signature = vault.sign(key, b"m").await.expect("opens");
        assert!(key.public.verify(b"m", &signature).is_ok());
    }
}

#[tokio::test]
async fn everything_is_rewrapped_in_all_organizations_with_an_event_in_each() {
    let (world, orgs, vault) = founded().await;
    let before = at_rest(&world, &orgs).await;
    assert_eq!((before.0.root, before.1.len()), (1, KEYS));
    check_opens(1, &before).await;
    let keys = world.store.rewrap(rewrapping(&vault, 2)).await.expect("rewrapped");
    assert_eq!(keys, KEYS as u64);
    let world = world.reopened();
    let after = at_rest(&world, &orgs).await;
    assert_eq!(after.0.root, 2);
    assert!(after.1.iter().all(|key| key.root == 2));
    check_opens(2, &after).await;
    for (old, new) in before.1.iter().zip(&after.1) {
        assert_eq!((old.id, old.public.bytes()), (new.id, new.public.bytes()));
        assert_ne!(old.wrapped, new.wrapped);
    }
    assert!(!SoftVault::opens(&RootKey::new([1; 32]), &after.0.peppers));
    for org in orgs {
        let leaves = world.store.leaves(org, 0, 0, 100).await.expect("read");
        let rotated = leaves.iter().filter(|leaf| leaf.kind == "root_key.rotated");
        assert_eq!(rotated.count(), 1);
        check_chain(&world.store, org).await;
    }
}

#[tokio::test]
async fn where_one_row_does_not_open_nothing_is_rewrapped_and_the_log_goes_on() {
    let (world, orgs, vault) = founded().await;
    // The last that is read: the events of the organizations before it were begun.
    let alien = signing_key(orgs[1], KeyPurpose::Token);
    commit(&world.store, orgs[1], vec![Row::Key(alien)], None).await.expect("committed");
    let before = at_rest(&world, &orgs).await;
    let texts = |all: &(Installation, Vec<SealedKey>)| {
        all.1.iter().map(|key| key.wrapped.clone()).collect::<Vec<_>>()
    };
    world.store.hold_writer();
    let step = async {
        while world.store.health().waiting < 2 {
            tokio::task::yield_now().await;
        }
        world.store.step_writer();
        world.store.release_writer();
    };
    let rewrap = world.store.rewrap(rewrapping(&vault, 2));
    let issuing = issue(&world.store, orgs[0], Vec::new(), 0, None);
    let (failed, issued, ()) = tokio::join!(rewrap, issuing, step);
    assert!(matches!(failed, Err(CommitError::Fault(_))), "{failed:?}");
    issued.expect("others in its batch are issued");
    let after = at_rest(&world, &orgs).await;
    assert_eq!(after.0.root, 1);
    assert_eq!(texts(&after), texts(&before));
    for org in orgs {
        issue(&world.store, org, Vec::new(), 0, None).await.expect("issued");
        let leaves = check_chain(&world.store, org).await;
        assert!(leaves.iter().all(|leaf| leaf.kind != "root_key.rotated"));
    }
}

#[tokio::test]
async fn a_key_that_was_wrapped_or_read_before_is_stale_and_a_second_rewrapping_is_too() {
    let (world, orgs, vault) = founded().await;
    let late = wrapped(&vault, orgs[0], KeyPurpose::Token).await;
    let read = world.store.signing_keys(orgs[0]).await.expect("read").remove(0);
    let second = rewrapping(&vault, 3);
    world.store.rewrap(rewrapping(&vault, 2)).await.expect("rewrapped");
    for row in [late.clone(), read] {
        let refused = commit(&world.store, orgs[0], vec![Row::Key(row)], None).await;
        assert!(matches!(refused, Err(CommitError::Stale)), "{refused:?}");
    }
    let refused = world.store.rewrap(second).await;
    assert!(matches!(refused, Err(CommitError::Stale)), "{refused:?}");
    let after = at_rest(&world, &orgs).await;
    assert_eq!(after.1.len(), KEYS);
    check_opens(2, &after).await;
    // Wrapped by a vault that was told, it is written.
    let keys = Vec::new();
    vault.prepare(RootKey::new([2; 32]));
    vault.rewrapped(&Rewrapped { root: 2, at: NOW, keys });
    let again = wrapped(&vault, orgs[0], KeyPurpose::Token).await;
    commit(&world.store, orgs[0], vec![Row::Key(again)], None).await.expect("committed");
    check_opens(2, &at_rest(&world, &orgs).await).await;
}

/// Remembers what it was told.
#[derive(Default)]
struct Told(AtomicU32, Mutex<usize>);

impl Observer for Told {
    fn committed(&self, _: &Notice) {}

    fn rewrapped(&self, rewrapped: &Rewrapped) {
        *self.1.lock().expect("held") = rewrapped.keys.len();
        self.0.store(rewrapped.root, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn who_is_told_that_a_key_is_stale_finds_the_new_root_key_in_use() {
    let (world, orgs, vault) = founded().await;
    let told = Arc::new(Told::default());
    world.store.observe(Arc::clone(&vault) as Arc<dyn Observer>);
    world.store.observe(Arc::clone(&told) as Arc<dyn Observer>);
    // In one batch: a key before it, the rewrapping, and a key after it.
    let before = wrapped(&vault, orgs[0], KeyPurpose::Token).await;
    let after = wrapped(&vault, orgs[0], KeyPurpose::Token).await;
    let rewrapping = rewrapping(&vault, 2);
    world.store.hold_writer();
    let (store, org) = (&world.store, orgs[0]);
    let again = async {
        let refused = commit(store, org, vec![Row::Key(after)], None).await;
        assert!(matches!(refused, Err(CommitError::Stale)), "{refused:?}");
        assert_eq!(told.0.load(Ordering::SeqCst), 2, "told before it was answered");
        let again = wrapped(&vault, org, KeyPurpose::Token).await;
        assert_eq!(again.sealed.root, 2);
        commit(store, org, vec![Row::Key(again)], None).await
    };
    let step = async {
        while store.health().waiting < 3 {
            tokio::task::yield_now().await;
        }
        store.step_writer();
        store.release_writer();
    };
    let first = commit(store, org, vec![Row::Key(before)], None);
    let (first, rewrapped, again, ()) = tokio::join!(first, store.rewrap(rewrapping), again, step);
    first.expect("committed");
    assert_eq!(rewrapped.expect("rewrapped"), KEYS as u64 + 1);
    again.expect("committed");
    let told = *told.1.lock().expect("held");
    assert_eq!(told, OF_ORGANIZATIONS + 1, "the key of its own batch is among them");
    check_opens(2, &at_rest(&world, &orgs).await).await;
}

/// A disk that fails to say that it has committed, once.
#[derive(Default)]
struct Unsaid(AtomicBool);

impl Around for Unsaid {
    fn writing<T: Default>(
        &self,
        step: Step,
        run: impl FnOnce() -> Result<T, DriverError>,
    ) -> Result<T, DriverError> {
        let done = run()?;
        if step == Step::Commit && self.0.swap(false, Ordering::SeqCst) {
            return Err(DriverError::Failed("committed, and not said".to_owned()));
        }
        Ok(done)
    }
}

/// With organizations a lane says whether a commit happened; without any, the root key itself does.
#[tokio::test]
async fn a_rewrapping_that_was_committed_and_not_said_is_told_with_organizations_and_without() {
    for organizations in [0, 1] {
        let folder = tempfile::tempdir().expect("a folder");
        let driver = SqliteDriver::open(&folder.path().join("accredit.db")).expect("a driver");
        let unsaid = Arc::new(Unsaid::default());
        let driver = Arc::new(DriverAround::new(Arc::new(driver), Arc::clone(&unsaid)));
        let store = SqlStore::open_on(driver, &Options::default()).expect("a store");
        let (vault, installation) = vault();
        store.found(installation).await.expect("founded");
        for number in 0..organizations {
            found_organization(&store, &format!("org-{number}")).await;
        }
        let told = Arc::new(Told::default());
        store.observe(Arc::clone(&told) as Arc<dyn Observer>);
        unsaid.0.store(true, Ordering::SeqCst);
        let failed = store.rewrap(rewrapping(&vault, 2)).await;
        assert!(matches!(failed, Err(CommitError::Fault(_))), "{failed:?}");
        assert_eq!(told.0.load(Ordering::SeqCst), 2, "with {organizations} organizations");
        let founded = store.installation().await.expect("read").expect("founded");
        assert_eq!(founded.root, 2);
    }
}
