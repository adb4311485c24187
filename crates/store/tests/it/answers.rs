//! Answers that are kept for a repetition: with their change or not at all, and for a day.

use accredit_domain::ports::{CommitError, Ledger as _, Registry as _, Row};
use accredit_domain::terms::{KeptAnswer, Once};
use accredit_wire::ids::CredentialId;
use std::time::Duration;

use crate::given::{NOW, World, person};

fn once(world: &World, key: &str, body: &str) -> Once {
    let who = (Some(world.org), CredentialId::new(1, [9; 10]));
    let asked = [b"POST".as_slice(), b"/v1/persons", body.as_bytes()];
    Once::new(who, key, asked, NOW).expect("a key")
}

fn kept(once: &Once, object: &str) -> Row {
    Row::Answer(Box::new(KeptAnswer { once: once.clone(), object: object.to_owned() }))
}

#[tokio::test]
async fn an_answer_is_there_with_its_change_and_ends_after_a_day() {
    let world = World::new().await;
    let once = once(&world, "k", "{}");
    assert_eq!(world.store.kept_answer(once.clone(), NOW).await.expect("read"), None);
    let rows = vec![kept(&once, "{\"id\":\"a\"}"), Row::Person(person("ann@example.com"))];
    world.commit(rows).await.expect("committed");
    let found = world.store.kept_answer(once.clone(), NOW).await.expect("read").expect("there");
    assert_eq!((found.object.as_str(), found.once.asked), ("{\"id\":\"a\"}", once.asked));
    let over = NOW.plus(Duration::from_hours(24));
    assert_eq!(world.store.kept_answer(once.clone(), over).await.expect("read"), None);
    // Forgotten when its time is over, and not before.
    world.store.forget_before(NOW).await.expect("forgotten");
    assert!(world.store.kept_answer(once.clone(), NOW).await.expect("read").is_some());
    world.store.forget_before(over.plus(Duration::from_secs(1))).await.expect("forgotten");
    assert!(world.store.kept_answer(once, NOW).await.expect("read").is_none());
}

#[tokio::test]
async fn a_key_that_is_in_use_keeps_the_whole_change_out() {
    let world = World::new().await;
    let once = once(&world, "k", "{}");
    world.commit(vec![kept(&once, "{\"id\":\"a\"}")]).await.expect("committed");
    let again = vec![kept(&once, "{\"id\":\"b\"}"), Row::Person(person("ann@example.com"))];
    let outcome = world.commit(again).await;
    assert!(matches!(outcome, Err(CommitError::Taken("idempotency key"))), "{outcome:?}");
    let key = accredit_domain::ports::Lookup::Name("ann@example.com".to_owned());
    assert!(world.store.person(world.org, key).await.expect("read").is_none());
    let found = world.store.kept_answer(once, NOW).await.expect("read").expect("there");
    assert_eq!(found.object, "{\"id\":\"a\"}");
}

#[tokio::test]
async fn a_change_that_fails_leaves_no_answer() {
    let world = World::new().await;
    world.commit(vec![Row::Person(person("ann@example.com"))]).await.expect("committed");
    let once = once(&world, "k", "{}");
    let rows = vec![kept(&once, "{\"id\":\"b\"}"), Row::Person(person("ann@example.com"))];
    let outcome = world.commit(rows).await;
    assert!(matches!(outcome, Err(CommitError::Taken("email"))), "{outcome:?}");
    assert!(world.store.kept_answer(once, NOW).await.expect("read").is_none());
}

#[tokio::test]
async fn the_rev_that_a_change_makes_stands_in_its_answer() {
    let world = World::new().await;
    let ann = person("ann@example.com");
    world.commit(vec![Row::Person(ann.clone())]).await.expect("committed");
    let once = once(&world, "k", "{}");
    let answer = kept(&once, "{\"id\":\"x\",\"rev\":0}");
    let rev = world.revoke(ann.id.any(), vec![answer]).await.rev;
    let found = world.store.kept_answer(once, NOW).await.expect("read").expect("there");
    let object: serde_json::Value = serde_json::from_str(&found.object).expect("JSON");
    assert_eq!((object["rev"].as_u64(), object["id"].as_str()), (Some(rev), Some("x")));
}
