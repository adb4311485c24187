use std::os::unix::fs::PermissionsExt as _;

use accredit_domain::ports::{RootKeyPlace as _, Store as _};
use accredit_domain::root::{Rewrapped, Rewrapping};
use accredit_domain::vault::{SoftVault, WrappedPepper};
use accredit_store::{Options, SqlStore};

use super::*;
use crate::compose::Composed;

const URL: &str = "http://127.0.0.1:8420";

struct Place {
    _folder: tempfile::TempDir,
    store: PathBuf,
    files: Files,
}

/// An installation with one organization.
async fn founded() -> Place {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, key) = (folder.path().join("accredit.db"), folder.path().join("root.key"));
    root_key::make(&key).expect("a root key");
    let place = Place { store, files: Files::of(&key), _folder: folder };
    let composed = place.compose().await;
    compose::found_organization(&composed, "acme").await.expect("founded");
    composed.store.close();
    place
}

async fn peppers(composed: &Composed) -> Vec<WrappedPepper> {
    composed.world.store.installation().await.expect("read").expect("founded").peppers
}

impl Place {
    async fn compose(&self) -> Composed {
        compose::compose(&self.store.clone().into(), &self.files.current, URL, None)
            .await
            .expect("it opens")
    }

    async fn rotate(&self) -> Result<Option<RotatedRoot>, Failure> {
        rotate_here(&self.store.clone().into(), &self.files, URL).await
    }

    async fn peppers(&self) -> Vec<WrappedPepper> {
        let store = SqlStore::open(&self.store, &Options::default()).expect("a store");
        let installation = store.installation().await.expect("read").expect("founded");
        store.close();
        installation.peppers
    }

    /// Which of the files open the store: current, next, previous.
    async fn opening(&self) -> [bool; 3] {
        let peppers = self.peppers().await;
        let Files { current, next, previous } = &self.files;
        [current, next, previous]
            .map(|file| root_key::read(file).is_ok_and(|root| SoftVault::opens(&root, &peppers)))
    }

    /// The store opens with the key in its place, and its signing keys do too.
    async fn check_works(&self) {
        let composed = self.compose().await;
        let now = composed.world.clock.now();
        composed.server.tenants.load_all(now).await.expect("read");
        for tenant in composed.server.tenants.all() {
            for key in tenant.keys().all() {
                let signature = composed.world.vault.sign(&key.sealed, b"m").await.expect("signed");
                assert!(key.sealed.public.verify(b"m", &signature).is_ok());
            }
        }
        composed.store.close();
    }

    /// Does the first steps of a rotation and no more.
    async fn cut_off_after(&self, steps: usize) {
        let composed = self.compose().await;
        let world = &composed.world;
        if steps > 0 {
            let next = self.files.make_next(peppers(&composed).await).await.expect("written");
            if steps > 1 {
                let roots = world.vault.prepare(next);
                let (now, entropy) = (world.clock.now(), Arc::clone(&world.entropy));
                let rewrapping = Rewrapping::new(roots, entropy, now, Body::default());
                world.store.rewrap(rewrapping).await.expect("rewrapped");
            }
            if steps > 2 {
                // Between the two renames.
                std::fs::copy(&self.files.current, &self.files.previous).expect("copied");
            }
        }
        composed.store.close();
    }
}

#[tokio::test]
async fn a_new_root_key_takes_the_place_of_the_old_one() {
    let place = founded().await;
    let Files { current, next, previous } = place.files.clone();
    let before = std::fs::read_to_string(&current).expect("a key");
    let done = place.rotate().await.expect("rotated").expect("a new one");
    assert_eq!((done.keys, done.root, done.in_place), (14, 2, true));
    assert_eq!(place.opening().await, [true, false, false]);
    assert!(!next.exists());
    assert_eq!(std::fs::read_to_string(&previous).expect("kept"), before);
    assert_ne!(std::fs::read_to_string(&current).expect("a key"), before);
    for file in [&current, &previous] {
        let mode = std::fs::metadata(file).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    place.check_works().await;
    // And once more: the previous one is replaced.
    place.rotate().await.expect("rotated").expect("a new one");
    place.check_works().await;
    let names = std::fs::read_dir(current.parent().expect("a folder")).expect("a folder");
    let names = names.map(|name| name.expect("a name").file_name());
    let keys = names.filter(|name| name.to_string_lossy().starts_with("root.key"));
    assert_eq!(keys.count(), 2, "the key and the one before it, and no other copy");
}

#[tokio::test]
async fn cut_off_after_any_step_exactly_one_key_opens_and_running_again_finishes() {
    for steps in 0..=3 {
        let place = founded().await;
        place.cut_off_after(steps).await;
        let rewrapped = steps > 1;
        assert_eq!(place.opening().await, [!rewrapped, rewrapped, false], "{steps}");
        let done = place.rotate().await.expect("finished");
        assert_eq!(done.is_none(), rewrapped, "{steps}");
        assert_eq!(place.opening().await, [true, false, false], "{steps}");
        place.check_works().await;
    }
}

#[tokio::test]
async fn cut_off_after_any_step_whoever_opens_the_store_next_finishes() {
    for steps in 0..=3 {
        let place = founded().await;
        place.cut_off_after(steps).await;
        place.check_works().await;
        assert_eq!(place.opening().await, [true, false, false], "{steps}");
        place.rotate().await.expect("rotated").expect("a new one");
        place.check_works().await;
    }
}

#[tokio::test]
async fn a_wrong_root_key_changes_nothing_and_a_previous_one_is_named() {
    let place = founded().await;
    std::fs::rename(&place.files.current, &place.files.previous).expect("renamed");
    root_key::make(&place.files.current).expect("another");
    let failure = place.rotate().await.expect_err("a wrong key");
    assert!(failure.detail.contains("root.key.previous"), "{failure:?}");
    assert_eq!(place.opening().await, [false, false, true]);
    let gone = rotate_here(&place.store.with_extension("gone").into(), &place.files, URL).await;
    assert!(gone.is_err_and(|failure| failure.exit == Exit::NotFound));
}

#[tokio::test]
async fn a_store_in_use_is_left_alone() {
    let place = founded().await;
    let composed = place.compose().await;
    let refused = place.rotate().await;
    assert!(refused.is_err_and(|failure| failure.exit == Exit::Conflict));
    composed.store.close();
}

#[tokio::test]
async fn a_key_that_something_else_puts_there_is_refused_before_anything_is_touched() {
    let place = founded().await;
    let Files { current, next, .. } = &place.files;
    let elsewhere = current.with_extension("elsewhere");
    std::fs::rename(current, &elsewhere).expect("renamed");
    std::os::unix::fs::symlink(&elsewhere, current).expect("a link");
    let failure = place.rotate().await.expect_err("a link");
    assert!(failure.detail.contains("it is a link"), "{failure:?}");
    assert!(!next.exists());
    assert!(current.is_symlink());
    place.check_works().await;

    // What was left by a rotation that ended early is no root key of anything.
    std::fs::remove_file(current).expect("removed");
    std::fs::rename(&elsewhere, current).expect("renamed");
    root_key::make(next).expect("left behind");
    place.rotate().await.expect("rotated").expect("a new one");
    place.check_works().await;
}

#[tokio::test]
async fn a_copy_of_the_store_opens_with_the_key_of_its_moment() {
    let place = founded().await;
    let before = place.peppers().await;
    place.cut_off_after(2).await;
    let after = place.peppers().await;
    let Files { current, next, previous } = &place.files;
    let opening = || {
        [&before, &after].map(|peppers| place.files.opening_copy(peppers).expect("one of them").1)
    };
    assert_eq!(opening(), [current.clone(), next.clone()]);
    place.rotate().await.expect("finished");
    assert_eq!(opening(), [previous.clone(), current.clone()]);
}

#[tokio::test]
async fn what_is_prepared_and_never_rewrapped_is_not_used() {
    let place = founded().await;
    let composed = place.compose().await;
    let next = place.files.make_next(peppers(&composed).await).await.expect("made");
    composed.world.vault.prepare(next);
    compose::found_organization(&composed, "later").await.expect("founded");
    let at = composed.world.clock.now();
    composed.world.vault.rewrapped(&Rewrapped { root: 7, at, keys: Vec::new() });
    compose::found_organization(&composed, "last").await.expect("founded");
    composed.store.close();
    drop(composed);
    place.check_works().await;
    assert_eq!(place.opening().await, [true, false, false]);
}
