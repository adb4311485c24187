//! Following the feed: gaps, tokens from the future, rotation, and an issuer that contradicts
//! itself.

use std::sync::atomic::Ordering;
use std::time::Duration;

use accredit::Verifier;
use accredit::verifier::Contradiction;
use accredit_wire::crypto::{Algorithm, PrivateKey};
use accredit_wire::ids::AgentId;
use accredit_wire::revocations::feed::Alarm;
use accredit_wire::tlog::succession::log_name;
use accredit_wire::verify::Rejection;

use crate::issuer::{Grant, Issuer, named, now, until};

fn agent(number: u8) -> AgentId {
    AgentId::new(now().millis(), [number; 10])
}

async fn rejection(verifier: &Verifier, token: &str) -> Option<Rejection> {
    let outcome = verifier.verify_token(token).await;
    outcome.err().map(|refusal| refusal.rejection().clone())
}

fn rev(verifier: &Verifier) -> u64 {
    verifier.status().expect("a state").rev
}

#[tokio::test]
async fn a_revocation_arrives_by_the_feed() {
    let issuer = Issuer::start().await;
    let verifier = issuer.verifier().await;
    let grant = Grant::default();
    let token = issuer.token(&grant);
    assert_eq!(rejection(&verifier, &token).await, None);
    let snapshots = issuer.inner().snapshots.load(Ordering::SeqCst);
    issuer.revoke(grant.agent);
    until("the revocation", || rev(&verifier) == 2).await;
    let expected = Rejection::Revoked { id: grant.agent.any() };
    assert_eq!(rejection(&verifier, &token).await, Some(expected));
    assert_eq!(issuer.inner().snapshots.load(Ordering::SeqCst), snapshots, "a delta was enough");
    assert!(issuer.inner().proofs.load(Ordering::SeqCst) > 0, "the log's growth was proved");
    assert_eq!(verifier.alarms(), []);
}

#[tokio::test]
async fn an_issuer_whose_time_of_day_was_ahead_makes_nobody_stale() {
    let issuer = Issuer::start().await;
    let verifier = issuer.verifier().await;
    let token = issuer.token(&Grant::default());
    let ahead = Duration::from_hours(1);
    let signed = || verifier.status().expect("a state").signed_at;
    issuer.set_ahead(ahead);
    until("a message that is ahead", || signed() > now().plus(ahead / 2)).await;
    issuer.set_ahead(Duration::ZERO);
    until("a message that is right", || signed() < now().plus(ahead / 2)).await;
    // Far beyond the age bound.
    for _ in 0..20 {
        assert_eq!(rejection(&verifier, &token).await, None);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(verifier.alarms(), []);
}

#[tokio::test]
async fn where_another_process_answers_it_is_asked_anew() {
    let issuer = Issuer::start().await;
    let verifier = issuer.verifier().await;
    let (grant, signed) = (Grant::default(), || verifier.status().expect("a state").signed_at);
    let token = issuer.token(&grant);
    // Its streams go on, and what they say under another name refreshes nothing.
    issuer.change_clock();
    let changed = now().plus(Duration::from_millis(300));
    until("an answer by the other process", || signed() > changed).await;
    assert_eq!(rejection(&verifier, &token).await, None);
    issuer.revoke(grant.agent);
    until("the revocation", || rev(&verifier) == 2).await;
    assert_eq!(verifier.alarms(), []);
}

#[tokio::test]
async fn a_gap_in_the_feed_is_filled_by_a_snapshot() {
    let issuer = Issuer::start().await;
    let verifier = issuer.verifier().await;
    let (first, second) = (agent(1), agent(2));
    let tokens = [first, second].map(|agent| issuer.token(&Grant { agent, ..Grant::default() }));
    issuer.fall_silent(true);
    let snapshots = issuer.inner().snapshots.load(Ordering::SeqCst);
    issuer.revoke_in_secret(first);
    issuer.revoke(second);
    until("both revocations", || rev(&verifier) == 3).await;
    assert_eq!(issuer.inner().snapshots.load(Ordering::SeqCst), snapshots + 1);
    for token in &tokens {
        let rejection = rejection(&verifier, token).await;
        assert!(matches!(rejection, Some(Rejection::Revoked { .. })), "{rejection:?}");
    }
}

#[tokio::test]
async fn a_token_ahead_of_the_feed_makes_the_verifier_catch_up() {
    let issuer = Issuer::start().await;
    let verifier = issuer.verifier().await;
    issuer.fall_silent(true);
    let victim = agent(1);
    let old = issuer.token(&Grant { agent: victim, ..Grant::default() });
    issuer.revoke_in_secret(victim);
    let new = issuer.token(&Grant { agent: agent(2), ..Grant::default() });
    let snapshots = issuer.inner().snapshots.load(Ordering::SeqCst);
    let calls = (0..10).map(|_| rejection(&verifier, &new));
    let outcomes = futures_util::future::join_all(calls).await;
    assert_eq!(outcomes, vec![None; 10], "caught up");
    assert_eq!(issuer.inner().snapshots.load(Ordering::SeqCst), snapshots + 1, "by one snapshot");
    assert!(matches!(rejection(&verifier, &old).await, Some(Rejection::Revoked { .. })));
}

#[tokio::test]
async fn a_rotated_feed_key_is_learned_and_reported() {
    let issuer = Issuer::start().await;
    let verifier = issuer.verifier().await;
    issuer.rotate_feed_key();
    let grant = Grant::default();
    issuer.revoke(grant.agent);
    until("the revocation", || rev(&verifier) == 2).await;
    let alarms: Vec<_> = verifier.alarms().into_iter().map(|alarm| alarm.what).collect();
    assert_eq!(alarms, [Contradiction::FeedKeysReplaced]);
}

#[tokio::test]
async fn feed_keys_that_follow_one_another_at_once_cost_no_state_and_raise_no_alarm() {
    let issuer = Issuer::start().await;
    let verifier = issuer.verifier().await;
    let snapshots = issuer.inner().snapshots.load(Ordering::SeqCst);
    for number in 1..=3 {
        issuer.rotate_feed_key_now();
        let victim = agent(number);
        let token = issuer.token(&Grant { agent: victim, ..Grant::default() });
        assert_eq!(rejection(&verifier, &token).await, None);
        issuer.revoke(victim);
        until("the revocation", || rev(&verifier) == 1 + u64::from(number)).await;
        assert!(matches!(rejection(&verifier, &token).await, Some(Rejection::Revoked { .. })));
    }
    assert_eq!(verifier.alarms(), []);
    assert_eq!(issuer.inner().snapshots.load(Ordering::SeqCst), snapshots, "nothing was lost");
}

#[tokio::test]
async fn what_a_revoked_feed_key_signs_ends_nothing_and_makes_nothing_younger() {
    let issuer = Issuer::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let builder = || issuer.builder().state_dir(folder.path());
    issuer.publish_feed_key();
    let verifier = builder().connect().await.expect("a verifier");
    issuer.set_keys_down(true);
    let kid = issuer.revoke_feed_key();
    until("the revocation", || rev(&verifier) == 2).await;
    let grant = Grant::default();
    let token = issuer.token(&grant);
    let kept = || std::fs::read_to_string(folder.path().join("keys.json")).unwrap_or_default();
    let fed = |file: &str| {
        serde_json::from_str(file).map(|file: serde_json::Value| file["feed"].to_string())
    };
    until("the file", || fed(&kept()).is_ok_and(|feed| !feed.contains(&kid.to_string()))).await;

    // A thief who can write into the stream gets nowhere, and cannot hold up the true issuer.
    for _ in 0..3 {
        issuer.send_stolen(grant.agent);
        let before = verifier.status().expect("a state").signed_at;
        until("a true message", || verifier.status().expect("a state").signed_at > before).await;
        assert_eq!((rev(&verifier), rejection(&verifier, &token).await), (2, None));
    }
    assert_eq!(verifier.alarms(), []);

    // Nor with a copy of the key set that still names it, after a restart.
    issuer.set_keys_stale(true);
    issuer.set_keys_down(false);
    drop(verifier);
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    let verifier = builder().connect().await.expect("a verifier");
    issuer.send_stolen(grant.agent);
    let before = verifier.status().expect("a state").signed_at;
    until("a true message", || verifier.status().expect("a state").signed_at > before).await;
    assert_eq!((rev(&verifier), rejection(&verifier, &token).await), (2, None));
    // Alone with the thief it believes nobody.
    issuer.fall_silent(true);
    for _ in 0..8 {
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        issuer.send_stolen(grant.agent);
    }
    issuer.set_down(true);
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    let rejection = rejection(&verifier, &token).await;
    assert!(matches!(rejection, Some(Rejection::Stale { .. })), "{rejection:?}");
}

#[tokio::test]
async fn a_log_rewritten_under_the_same_key_is_an_alarm_and_then_a_refusal() {
    let issuer = Issuer::start().await;
    let verifier = issuer.verifier().await;
    let token = issuer.token(&Grant::default());
    issuer.rewrite_log();
    until("an alarm", || !verifier.alarms().is_empty()).await;
    let alarm = verifier.alarms()[0].what.clone();
    assert!(matches!(alarm, Contradiction::Feed(Alarm::LogForked { lane: 0, .. })), "{alarm:?}");
    // Heartbeats go on, but none makes the state younger.
    tokio::time::sleep(std::time::Duration::from_millis(1300)).await;
    let rejection = rejection(&verifier, &token).await;
    assert!(matches!(rejection, Some(Rejection::Stale { .. })), "{rejection:?}");
}

/// Whether a raised generation goes with another log or with none, it is noticed.
#[tokio::test]
async fn a_log_rewritten_under_a_raised_generation_is_an_alarm_and_then_a_refusal() {
    let issuer = Issuer::start().await;
    let verifier = issuer.verifier().await;
    let token = issuer.token(&Grant::default());
    issuer.rewrite_log();
    issuer.raise_generation();
    until("an alarm", || !verifier.alarms().is_empty()).await;
    let alarm = verifier.alarms()[0].what.clone();
    assert!(matches!(alarm, Contradiction::Feed(Alarm::LogForked { lane: 0, .. })), "{alarm:?}");
    assert_eq!(verifier.status().expect("a state").generation, 1);
    tokio::time::sleep(std::time::Duration::from_millis(1300)).await;
    let rejection = rejection(&verifier, &token).await;
    assert!(matches!(rejection, Some(Rejection::Stale { .. })), "{rejection:?}");
}

#[tokio::test]
async fn a_restore_that_lost_nothing_is_followed() {
    let issuer = Issuer::start().await;
    let verifier = issuer.verifier().await;
    issuer.restore(0);
    let generation = || verifier.status().expect("a state").generation;
    until("the new generation", || generation() == 2).await;
    // Its lane grows, and proofs are asked for under its own name.
    let victim = agent(1);
    issuer.revoke(victim);
    until("the revocation", || rev(&verifier) == (2 << 40) + 1).await;
    assert_eq!(verifier.alarms(), []);
}

#[tokio::test]
async fn a_restore_that_lost_events_is_followed_once_a_person_says_so() {
    let issuer = Issuer::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let builder = || issuer.builder().state_dir(folder.path());
    let verifier = builder().connect().await.expect("a verifier");
    let grant = Grant::default();
    let dead = issuer.token(&grant);
    issuer.revoke(grant.agent);
    until("the revocation", || rev(&verifier) == 2).await;
    let kept = || std::fs::read(folder.path().join("revocations")).unwrap_or_default();
    until("a file", || String::from_utf8_lossy(&kept()).contains("\"rev\":2")).await;
    issuer.restore(1);
    until("an alarm", || !verifier.alarms().is_empty()).await;
    let alarm = verifier.alarms()[0].clone();
    assert!(matches!(alarm.what, Contradiction::Feed(Alarm::LogShrunk { .. })), "{alarm}");
    assert!(alarm.to_string().contains("accept_restored"), "it says what to do: {alarm}");
    drop(verifier);
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;

    // Started again without a word, it is where it was; with the word, it goes on.
    let verifier = builder().connect().await.expect("a verifier");
    until("the alarm again", || !verifier.alarms().is_empty()).await;
    drop(verifier);
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    let verifier = builder().accept_restored(2).connect().await.expect("a verifier");
    until("the new generation", || rev(&verifier) == 2 << 40).await;
    assert_eq!(verifier.alarms(), []);
    let fresh = issuer.token(&Grant { agent: agent(4), ..Grant::default() });
    assert_eq!(rejection(&verifier, &fresh).await, None);
    let expected = Rejection::Revoked { id: grant.agent.any() };
    assert_eq!(rejection(&verifier, &dead).await, Some(expected), "no revocation is forgotten");
    // The word is spent: the next loss is an alarm again.
    issuer.rewrite_log();
    until("an alarm", || !verifier.alarms().is_empty()).await;
}

#[tokio::test]
async fn another_log_key_under_the_same_name_is_an_alarm() {
    let issuer = Issuer::start().await;
    let verifier = issuer.verifier().await;
    issuer.change_log_key();
    until("an alarm", || !verifier.alarms().is_empty()).await;
    let alarm = verifier.alarms()[0].what.clone();
    assert!(matches!(alarm, Contradiction::LogKeyChanged { .. }), "{alarm:?}");
}

/// The next message that counts: what is signed by unknown keys makes nothing younger.
async fn goes_on(verifier: &Verifier) {
    let before = verifier.status().expect("a state").signed_at;
    until("a message", || verifier.status().expect("a state").signed_at > before).await;
}

#[tokio::test]
async fn log_keys_that_name_one_another_are_followed_without_an_alarm() {
    let issuer = Issuer::start().await;
    let verifier = issuer.verifier().await;
    for retired in [false, true, true, false] {
        issuer.rotate_log_key(retired);
        issuer.revoke(agent(1));
        goes_on(&verifier).await;
        goes_on(&verifier).await;
    }
    assert_eq!((rev(&verifier), verifier.alarms()), (5, Vec::new()));
}

#[tokio::test]
async fn a_verifier_that_was_off_follows_the_statements_and_not_back() {
    let issuer = Issuer::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let builder = || issuer.builder().state_dir(folder.path());
    let verifier = builder().connect().await.expect("a verifier");
    let old = issuer.log_keys();
    let kept = || folder.path().join("revocations").exists();
    until("a file", kept).await;
    drop(verifier);
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    for _ in 0..3 {
        issuer.rotate_log_key(true);
    }
    issuer.revoke(agent(1));
    let verifier = builder().connect().await.expect("a verifier");
    goes_on(&verifier).await;
    assert_eq!((rev(&verifier), verifier.alarms()), (2, Vec::new()));
    drop(verifier);
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;

    // The keys that it followed away from do not come back, with or without the statements.
    let (_, statements) = issuer.log_keys();
    for statements in [Vec::new(), statements] {
        issuer.set_log_keys((old.0.clone(), statements));
        issuer.revoke(agent(2));
        let verifier = builder().connect().await.expect("from what is stored");
        let alarms = || verifier.alarms().into_iter().map(|alarm| alarm.what);
        until("an alarm", || {
            alarms().any(|what| matches!(what, Contradiction::LogKeyChanged { .. }))
        })
        .await;
        drop(verifier);
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn a_statement_that_no_known_key_made_about_this_log_is_an_alarm() {
    let stranger = PrivateKey::generate(Algorithm::EdDsa).expect("a key").0;
    for case in 0..3 {
        let issuer = Issuer::start().await;
        let verifier = issuer.verifier().await;
        let name = log_name(issuer.url());
        issuer.pretend_log_key(|old, new| match case {
            0 => named(&name, &stranger, new),
            1 => named(&name.replace("dev", "other"), old, new),
            _ => named(&name, new, new),
        });
        until("an alarm", || !verifier.alarms().is_empty()).await;
        let alarm = verifier.alarms()[0].what.clone();
        assert!(matches!(alarm, Contradiction::LogKeyChanged { .. }), "{case}: {alarm:?}");
        let token = issuer.token(&Grant::default());
        tokio::time::sleep(std::time::Duration::from_millis(1300)).await;
        let rejection = rejection(&verifier, &token).await;
        assert!(matches!(rejection, Some(Rejection::Stale { .. })), "{case}: {rejection:?}");
    }
}

#[tokio::test]
async fn revocations_that_are_taken_back_stay_and_are_an_alarm() {
    let issuer = Issuer::start().await;
    let grant = Grant::default();
    let token = issuer.token(&grant);
    issuer.revoke(grant.agent);
    let verifier = issuer.verifier().await;
    assert_eq!(rev(&verifier), 2);
    issuer.roll_back();
    until("an alarm", || !verifier.alarms().is_empty()).await;
    let alarm = verifier.alarms()[0].what.clone();
    assert!(matches!(alarm, Contradiction::Feed(Alarm::RolledBack { .. })), "{alarm:?}");
    assert!(matches!(rejection(&verifier, &token).await, Some(Rejection::Revoked { .. })));
}
