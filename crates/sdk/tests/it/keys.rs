//! The issuer's token keys: one that is revoked is dead in its thief's hands, whatever key set can
//! be fetched; and however fast one follows another, verifiers know it in time.

use std::sync::atomic::Ordering;
use std::time::Duration;

use accredit::{ConnectError, Verifier};
use accredit_wire::ids::{KeyId, Kind};
use accredit_wire::revocations::Follower;
use accredit_wire::verify::Rejection;

use crate::issuer::{Grant, Issuer, until};

async fn rejection(verifier: &Verifier, token: &str) -> Option<Rejection> {
    let outcome = verifier.verify_token(token).await;
    outcome.err().map(|refusal| refusal.rejection().clone())
}

async fn connect(issuer: &Issuer, folder: &tempfile::TempDir) -> Result<Verifier, ConnectError> {
    let builder = issuer.builder().age_max(Duration::from_secs(20));
    builder.state_dir(folder.path()).connect().await
}

fn kept_kids(folder: &tempfile::TempDir) -> String {
    let file = std::fs::read(folder.path().join("keys.json")).expect("the kept keys");
    let file: serde_json::Value = serde_json::from_slice(&file).expect("JSON");
    file["tokens"].to_string()
}

/// Revokes the key of a running verifier that cannot fetch another.
async fn revoke_while_keys_are_down(issuer: &Issuer, verifier: &Verifier, kept: i64) -> KeyId {
    let old = issuer.token(&Grant::default());
    assert_eq!(rejection(verifier, &old).await, None);
    issuer.set_keys_down(true);
    let kid = issuer.revoke_token_key(kept);
    until("the revocation", || verifier.status().is_some_and(|status| status.rev == 2)).await;
    assert_eq!(rejection(verifier, &old).await, Some(Rejection::UnknownKey), "from before");
    kid
}

/// What a thief signs as if it had been decided after the revocation.
async fn thief_is_refused(issuer: &Issuer, verifier: &Verifier) {
    let token = issuer.stolen_token(&Grant::default());
    assert_eq!(rejection(verifier, &token).await, Some(Rejection::UnknownKey));
}

/// Within the time of a few attempts to fetch the keys.
async fn successor_is_accepted(issuer: &Issuer, verifier: &Verifier) {
    let token = issuer.token(&Grant::default());
    for _ in 0..200 {
        match rejection(verifier, &token).await {
            None => return,
            Some(Rejection::UnknownKey) => tokio::time::sleep(Duration::from_millis(50)).await,
            Some(other) => panic!("{other}"),
        }
    }
    panic!("the successor is not known");
}

#[tokio::test]
async fn a_thief_with_a_revoked_key_is_refused_while_the_key_set_cannot_be_fetched() {
    let issuer = Issuer::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let verifier = connect(&issuer, &folder).await.expect("a verifier");
    let kid = revoke_while_keys_are_down(&issuer, &verifier, 3600).await;
    thief_is_refused(&issuer, &verifier).await;
    assert!(!kept_kids(&folder).contains(&kid.to_string()), "gone from the file as well");

    // Nor after a restart from the files, with nobody to ask.
    issuer.set_down(true);
    drop(verifier);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let verifier = connect(&issuer, &folder).await.expect("from what is stored");
    thief_is_refused(&issuer, &verifier).await;

    // When the key set can be fetched again, it is, without anybody asking for it.
    issuer.set_down(false);
    issuer.set_keys_down(false);
    successor_is_accepted(&issuer, &verifier).await;
    thief_is_refused(&issuer, &verifier).await;
}

#[tokio::test]
async fn an_old_copy_of_the_key_set_brings_a_revoked_key_not_back() {
    let issuer = Issuer::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let verifier = connect(&issuer, &folder).await.expect("a verifier");
    revoke_while_keys_are_down(&issuer, &verifier, 2).await;
    issuer.set_keys_stale(true);
    issuer.set_keys_down(false);
    successor_is_accepted(&issuer, &verifier).await;
    thief_is_refused(&issuer, &verifier).await;

    // Nor when everybody has forgotten the entry, and the verifier starts anew.
    tokio::time::sleep(Duration::from_secs(4)).await;
    drop(verifier);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let state = std::fs::read(folder.path().join("revocations")).expect("the state");
    let state = Follower::from_bytes(&state, issuer.url(), None).expect("the state");
    let mut kinds = state.state().entries().map(|entry| entry.target.kind());
    assert!(kinds.all(|kind| kind != Kind::Key));
    let verifier = connect(&issuer, &folder).await.expect("a verifier");
    successor_is_accepted(&issuer, &verifier).await;
    thief_is_refused(&issuer, &verifier).await;

    // It is asked for anew until the copy is.
    let fetches = || issuer.inner().key_fetches.load(Ordering::SeqCst);
    let before = fetches();
    until("another fetch", || fetches() > before).await;
    issuer.set_keys_stale(false);
}

#[tokio::test]
async fn a_revoked_key_ends_what_is_open() {
    let issuer = Issuer::start().await;
    let verifier = issuer.verifier().await;
    let principal = verifier.verify_token(&issuer.token(&Grant::default())).await.expect("good");
    issuer.set_keys_down(true);
    issuer.revoke_token_key(3600);
    tokio::time::timeout(Duration::from_secs(2), principal.revoked()).await.expect("ended");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_follow_each_other_at_once_fail_no_verification() {
    let issuer = Issuer::start().await;
    let verifier = issuer.verifier().await;
    let calls = (0..8).map(|_| {
        let (issuer, verifier) = (issuer.clone(), verifier.clone());
        tokio::spawn(async move {
            let mut accepted = 0;
            let end = tokio::time::Instant::now() + Duration::from_secs(4);
            while tokio::time::Instant::now() < end {
                let token = issuer.token(&Grant::default());
                assert_eq!(rejection(&verifier, &token).await, None, "after {accepted}");
                accepted += 1;
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            accepted
        })
    });
    let calls: Vec<_> = calls.collect();
    for wait in [500, 0, 10, 100, 300, 700, 0, 0] {
        tokio::time::sleep(Duration::from_millis(wait)).await;
        issuer.rotate_token_key_now();
    }
    for outcome in futures_util::future::join_all(calls).await {
        assert!(outcome.expect("no refusal") > 0);
    }
    // A made-up key makes nobody ask the issuer without end.
    let fetches = || issuer.inner().key_fetches.load(Ordering::SeqCst);
    let before = fetches();
    let stranger = Issuer::start().await.token(&Grant::default());
    for _ in 0..8 {
        assert_eq!(rejection(&verifier, &stranger).await, Some(Rejection::UnknownKey));
    }
    assert!(fetches() <= before + 2, "{} of {before}", fetches());
}
