//! A verifier says what it has applied, after requests are judged by it.

use std::time::Duration;

use accredit::verifier::ConnectError;
use accredit_wire::ids::AgentId;

use crate::issuer::{Grant, Issuer, now, until};

fn agent(number: u8) -> AgentId {
    AgentId::new(now().millis(), [number; 10])
}

#[tokio::test]
async fn each_state_is_said_once_requests_are_judged_by_it() {
    let issuer = Issuer::start().await;
    let verifier = issuer.builder().name("crm-1").connect().await.expect("a verifier");
    let grant = Grant::default();
    let token = issuer.token(&grant);
    until("the stream", || !issuer.inner().introduced.lock().expect("text").is_empty()).await;
    issuer.revoke(grant.agent);
    until("the word", || issuer.acknowledged().contains(&2)).await;
    assert!(verifier.verify_token(&token).await.is_err(), "it was applied before it was said");
    let said = issuer.inner().said.lock().expect("text").last().copied().expect("a word");
    assert_eq!(said.generation, 1);
    let asked = issuer.inner().introduced.lock().expect("text").last().cloned().expect("a query");
    let with = format!("&follower={}&age_max=1&name=crm-1", said.follower);
    assert!(asked.ends_with(&with), "{asked}");
    // Heartbeats change nothing, and are not acknowledged.
    let before = issuer.acknowledged();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(issuer.acknowledged(), before);
}

#[tokio::test]
async fn a_burst_is_said_in_few_words_and_the_last_one_is_always_said() {
    let issuer = Issuer::start().await;
    let verifier = issuer.verifier().await;
    for number in 0..40 {
        issuer.revoke(agent(number));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    until("the last word", || issuer.acknowledged().contains(&41)).await;
    let words = issuer.acknowledged();
    assert!(words.len() <= 5, "{words:?}");
    assert!(words.windows(2).all(|pair| pair[0] < pair[1]), "{words:?}");
    let all = issuer.inner().said.lock().expect("text").clone();
    assert!(all.iter().any(|said| said.waited > 0), "what is said late says how late: {all:?}");
    drop(verifier);
}

#[tokio::test]
async fn an_issuer_that_does_not_hear_holds_up_nothing_and_is_told_again() {
    let issuer = Issuer::start().await;
    let verifier = issuer.verifier().await;
    issuer.set_deaf(true);
    let grant = Grant::default();
    let token = issuer.token(&grant);
    issuer.revoke(grant.agent);
    until("the revocation", || verifier.status().is_some_and(|status| status.rev == 2)).await;
    assert!(verifier.verify_token(&token).await.is_err());
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!issuer.acknowledged().contains(&2));
    issuer.set_deaf(false);
    until("the word", || issuer.acknowledged().contains(&2)).await;
}

#[tokio::test]
async fn a_name_that_cannot_stand_in_a_table_is_refused() {
    let issuer = Issuer::start().await;
    for name in ["", "a b", "a\u{1b}[2J"] {
        let outcome = issuer.builder().name(name).connect().await.err();
        assert!(matches!(outcome, Some(ConnectError::Name(_))), "{name:?}: {outcome:?}");
    }
}
