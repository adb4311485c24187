//! The issuer is away: verification goes on within the age bound, also over a restart, and then
//! refuses.

use std::time::Duration;

use accredit::verifier::Contradiction;
use accredit::{ConnectError, Verifier};
use accredit_wire::verify::Rejection;

use crate::issuer::{AUDIENCE, Grant, Issuer, until};

async fn rejection(verifier: &Verifier, token: &str) -> Option<Rejection> {
    let outcome = verifier.verify_token(token).await;
    outcome.err().map(|refusal| refusal.rejection().clone())
}

#[tokio::test]
async fn verification_goes_on_for_the_age_bound_and_comes_back_with_the_issuer() {
    let issuer = Issuer::start().await;
    let verifier = issuer.verifier().await;
    let token = issuer.token(&Grant::default());
    let stream = verifier.verify_token(&token).await.expect("a principal");
    issuer.set_down(true);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(rejection(&verifier, &token).await, None, "within the bound");
    tokio::time::sleep(Duration::from_secs(1)).await;
    let late = rejection(&verifier, &token).await;
    assert!(matches!(late, Some(Rejection::Stale { .. })), "{late:?}");
    let ended = tokio::time::timeout(Duration::from_secs(1), stream.revoked()).await;
    assert!(matches!(ended.expect("streams end too").0, Rejection::Stale { .. }));
    issuer.set_down(false);
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(rejection(&verifier, &token).await, None, "back again");
}

#[tokio::test]
async fn a_restart_needs_no_issuer_and_forgets_no_revocation() {
    let issuer = Issuer::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let connect = || {
        let builder = issuer.builder().age_max(Duration::from_secs(3));
        builder.state_dir(folder.path().join("state")).connect()
    };
    let dead = Grant::default();
    let alive = Grant {
        agent: accredit_wire::ids::AgentId::new(1_763_717_400_000, [8; 10]),
        ..Grant::default()
    };
    let (dead_token, alive_token) = (issuer.token(&dead), issuer.token(&alive));
    let first = connect().await.expect("a verifier");
    issuer.revoke(dead.agent);
    until("the revocation", || first.status().is_some_and(|status| status.rev == 2)).await;
    let locked = connect().await.err();
    assert!(matches!(locked, Some(ConnectError::StateDir { .. })), "{locked:?}");
    // A heartbeat or two, so that the state is written.
    tokio::time::sleep(Duration::from_millis(500)).await;
    issuer.set_down(true);
    drop(first);
    tokio::time::sleep(Duration::from_millis(100)).await;

    let second = connect().await.expect("from what is stored");
    assert!(matches!(rejection(&second, &dead_token).await, Some(Rejection::Revoked { .. })));
    assert_eq!(rejection(&second, &alive_token).await, None);
    tokio::time::sleep(Duration::from_millis(3200)).await;
    let late = rejection(&second, &alive_token).await;
    assert!(matches!(late, Some(Rejection::Stale { .. })), "{late:?}");
}

#[tokio::test]
async fn what_a_restart_finds_is_as_old_as_when_it_was_known() {
    let issuer = Issuer::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let age_max = Duration::from_secs(3);
    let connect = || issuer.builder().age_max(age_max).state_dir(folder.path()).connect();
    let token = issuer.token(&Grant::default());
    let first = connect().await.expect("a verifier");
    assert_eq!(rejection(&first, &token).await, None);
    // A heartbeat or two, so that the state is written.
    tokio::time::sleep(Duration::from_secs(1)).await;
    issuer.set_down(true);
    drop(first);
    // No process runs, for a part of the bound, then for more than all of it.
    tokio::time::sleep(age_max / 6).await;
    let second = connect().await.expect("from what is stored");
    assert_eq!(rejection(&second, &token).await, None, "still younger than the bound");
    drop(second);
    tokio::time::sleep(age_max).await;
    let third = connect().await.expect("from what is stored");
    let late = rejection(&third, &token).await;
    assert!(matches!(late, Some(Rejection::Stale { .. })), "a start makes nothing young: {late:?}");
}

#[tokio::test]
async fn the_log_is_remembered_over_a_restart() {
    let issuer = Issuer::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let connect = || issuer.builder().state_dir(folder.path()).connect();
    let first = connect().await.expect("a verifier");
    tokio::time::sleep(Duration::from_millis(300)).await;
    drop(first);
    tokio::time::sleep(Duration::from_millis(100)).await;
    issuer.rewrite_log();
    let second = connect().await.expect("a verifier");
    let alarms: Vec<_> = second.alarms().into_iter().map(|alarm| alarm.what).collect();
    assert!(matches!(alarms[..], [Contradiction::Feed(_)]), "{alarms:?}");
    drop(second);
    tokio::time::sleep(Duration::from_millis(100)).await;
    issuer.change_log_key();
    let third = connect().await.expect("a verifier");
    let alarms: Vec<_> = third.alarms().into_iter().map(|alarm| alarm.what).collect();
    assert!(alarms.iter().any(|alarm| matches!(alarm, Contradiction::LogKeyChanged { .. })));
}

#[tokio::test]
async fn without_issuer_and_without_memory_there_is_no_verifier() {
    let issuer = Issuer::start().await;
    issuer.set_down(true);
    let outcome = issuer.builder().connect().await.err();
    assert!(matches!(outcome, Some(ConnectError::Unknown { .. })), "{outcome:?}");
}

#[tokio::test]
async fn wrong_settings_are_told_apart_before_anything_is_sent() {
    let connect = |issuer: &str, credential: Option<String>| {
        let mut builder = Verifier::builder(issuer, AUDIENCE);
        if let Some(text) = credential {
            builder = builder.credential(text);
        }
        builder.connect()
    };
    let good = Some(Issuer::credential());
    let outcome = connect("https://id.example/o/dev/", good).await.err();
    assert!(matches!(outcome, Some(ConnectError::Issuer(_))), "{outcome:?}");
    let outcome = connect("https://id.example/o/dev", None).await.err();
    assert_eq!(outcome, Some(ConnectError::Credential(None)));
    let outcome = connect("https://id.example/o/dev", Some("acr_resource_x".into())).await.err();
    assert!(matches!(outcome, Some(ConnectError::Credential(Some(_)))), "{outcome:?}");
    let id = accredit_wire::ids::CredentialId::new(1, [1; 10]);
    let agent = accredit_wire::api_key::SecretKind::Agent;
    let text = accredit_wire::api_key::ApiKey::new(agent, id, [1; 32]);
    let outcome = connect("https://id.example/o/dev", Some(text.expose().to_owned())).await.err();
    assert_eq!(outcome, Some(ConnectError::CredentialNotOfResource));
}
