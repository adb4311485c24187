use std::os::unix::fs::PermissionsExt as _;

use super::*;

const URL: &str = "http://127.0.0.1:8420";

struct Place {
    _folder: tempfile::TempDir,
    store: PathBuf,
    key: PathBuf,
}

/// An installation with one organization.
async fn founded() -> Place {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, key) = (folder.path().join("accredit.db"), folder.path().join("root.key"));
    compose::new_root_key(&key).expect("a root key");
    let composed = compose::compose(&store, &key, URL).await.expect("composed");
    compose::found_organization(&composed, "acme").await.expect("founded");
    composed.store.close();
    Place { _folder: folder, store, key }
}

fn begin(place: &Place) -> Rotation {
    Rotation::begin(&place.store, &place.key).expect("begun")
}

/// Which of the files open the store: current, next, previous.
async fn opening(rotation: &Rotation) -> [bool; 3] {
    let peppers = rotation.peppers().await.expect("peppers");
    let Files { current, next, previous } = &rotation.files;
    [current, next, previous]
        .map(|file| compose::root_key(file).is_ok_and(|root| SoftVault::opens(&root, &peppers)))
}

/// The store opens with the key in its place, and its signing keys do too.
async fn check_works(place: &Place) {
    let composed = compose::compose(&place.store, &place.key, URL).await.expect("opens");
    let now = composed.world.clock.now();
    let tenant = composed.server.tenants.get("acme", now).await.expect("read").expect("acme");
    for key in tenant.keys().all() {
        let signature = composed.world.vault.sign(&key.sealed, b"m").await.expect("signed");
        assert!(key.sealed.public.verify(b"m", &signature).is_ok());
    }
    composed.store.close();
}

#[tokio::test]
async fn a_new_root_key_takes_the_place_of_the_old_one() {
    let place = founded().await;
    let before = std::fs::read_to_string(&place.key).expect("a key");
    let rotation = begin(&place);
    let done = rotation.run().await.expect("rotated");
    assert_eq!((done.keys, done.finished_earlier), (5, false));
    assert_eq!(opening(&rotation).await, [true, false, false]);
    let Files { current, next, previous } = rotation.files.clone();
    drop(rotation);
    assert!(!next.exists());
    assert_eq!(std::fs::read_to_string(&previous).expect("kept"), before);
    assert_ne!(std::fs::read_to_string(&current).expect("a key"), before);
    for file in [current, previous] {
        let mode = std::fs::metadata(file).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    check_works(&place).await;
    // And once more: the previous one is replaced.
    let rotation = begin(&place);
    rotation.run().await.expect("rotated");
    drop(rotation);
    check_works(&place).await;
}

#[tokio::test]
async fn cut_off_after_any_step_exactly_one_key_opens_and_running_again_finishes() {
    for steps in 0..=3 {
        let place = founded().await;
        let rotation = begin(&place);
        let peppers = rotation.peppers().await.expect("peppers");
        let current = compose::root_key(&place.key).expect("a key");
        if steps > 0 {
            let next = rotation.write_next().expect("written");
            if steps > 1 {
                rotation.rewrap(&current, &next, &peppers).await.expect("rewrapped");
            }
            if steps > 2 {
                // Between the two renames.
                std::fs::copy(&rotation.files.current, &rotation.files.previous).expect("copied");
            }
        }
        let rewrapped = steps > 1;
        assert_eq!(opening(&rotation).await, [!rewrapped, rewrapped, false], "{steps}");
        drop(rotation);

        let composed = compose::compose(&place.store, &place.key, URL).await;
        match composed {
            Ok(composed) => {
                assert!(!rewrapped);
                composed.store.close();
            }
            Err(failure) => {
                assert!(rewrapped, "{failure:?}");
                assert!(failure.detail.contains("root.key.next"), "{failure:?}");
                assert!(failure.hint.contains("accredit root rotate"), "{failure:?}");
            }
        }
        let rotation = begin(&place);
        let done = rotation.run().await.expect("finished");
        assert_eq!(done.finished_earlier, rewrapped);
        assert_eq!(opening(&rotation).await, [true, false, false], "{steps}");
        drop(rotation);
        check_works(&place).await;
    }
}

#[tokio::test]
async fn a_wrong_root_key_changes_nothing_and_a_previous_one_is_named() {
    let place = founded().await;
    let previous = compose::root_key_beside(&place.key, "previous");
    std::fs::rename(&place.key, &previous).expect("renamed");
    compose::new_root_key(&place.key).expect("another");
    let rotation = begin(&place);
    let failure = rotation.run().await.expect_err("a wrong key");
    assert!(failure.detail.contains("root.key.previous"), "{failure:?}");
    assert_eq!(opening(&rotation).await, [false, false, true]);
    drop(rotation);
    let gone = Rotation::begin(&place.store.with_extension("gone"), &place.key);
    assert!(gone.is_err_and(|failure| failure.exit == Exit::NotFound));
}

#[tokio::test]
async fn a_store_in_use_is_left_alone() {
    let place = founded().await;
    let composed = compose::compose(&place.store, &place.key, URL).await.expect("composed");
    let refused = Rotation::begin(&place.store, &place.key);
    assert!(refused.is_err_and(|failure| failure.exit == Exit::Conflict));
    composed.store.close();
}
