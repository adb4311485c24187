//! The same seed gives the same decisions and the same events.

use accredit_domain::audit::flush::{self, Which};
use accredit_testkit::Client;

use crate::history::History;
use crate::ledger::{self, Written};

async fn run(seed: u64) -> (Vec<String>, Vec<Written>) {
    let mut history = History::begin(seed).await;
    for _ in 0..60 {
        history.step().await;
    }
    // Counters of strangers become events in one order too.
    for n in 0..8 {
        let (id, secret) = (format!("stranger-{}", (n * 5) % 8), "acr_x".to_owned());
        let stranger = Client { id, secret, credential: String::new(), instance: None };
        let answer = history.world.token(&history.org, &stranger, &[]).await;
        assert_eq!(answer.status, 401);
    }
    let tenant = history.world.tenant(&history.org).await;
    flush::flush(&history.world.world, &tenant, (Which::All, history.world.now()))
        .await
        .expect("flushed");
    let events = ledger::events(&history.world, &history.org).await;
    (history.told, events)
}

#[tokio::test]
async fn the_same_seed_gives_the_same_decisions_and_events() {
    let (told, events) = run(400).await;
    let (told_again, events_again) = run(400).await;
    assert_eq!(told, told_again);
    assert_eq!(events.len(), events_again.len());
    for (event, again) in events.iter().zip(&events_again) {
        assert_eq!(event, again);
    }
    let (other, _) = run(401).await;
    assert_ne!(told, other, "another seed, another history");
}
