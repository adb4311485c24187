//! Another root key, while everything goes on: no request fails, no signing key is lost, and only
//! the installation's operator may ask for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use accredit_domain::keys::{KeyPurpose, KeyState, SigningKey};
use accredit_domain::registry::operator::OperatorKey;
use accredit_domain::vault::{REPLACED_HELD, SoftVault};
use accredit_testkit::fixture::Scene;
use accredit_testkit::{Answer, Ask, TestWorld};
use serde_json::json;
use tokio::task::JoinHandle;

use crate::events;

const READ: [(&str, &str); 1] = [("scope", "crm:read")];

/// A key of the installation's operator.
pub(crate) async fn operator(world: &TestWorld) -> String {
    use accredit_domain::audit::event::{Body, Event, EventKind};
    use accredit_domain::ports::{Audited, Change, Row};
    let now = world.now();
    let org = world.found("operators").await;
    let until = now.plus(Duration::from_hours(1));
    let (key, secret) = OperatorKey::new(&world.world, now, until).expect("a key");
    let rows = vec![Row::Operator(key)];
    let salt = world.world.random();
    let event = Event::new(EventKind::CredentialCreated, now, salt, Body::default());
    let quotas = accredit_domain::registry::quota::Quotas::default();
    let change =
        Change { org: world.tenant(&org).await.id, at: now, rows, revocation: None, quotas };
    world.world.store.commit(Audited::new(change, event)).await.expect("committed");
    secret.expose().to_owned()
}

async fn rotate(world: &TestWorld, key: &str) -> Answer {
    world.ask(Ask::post("/v1/root/rotate").bearer(key)).await
}

/// Every signing key of every organization in memory signs, and opens with the root key in its
/// place and no memory of it.
async fn check_opens(world: &TestWorld) {
    let installation = world.world.store.installation().await.expect("read").expect("founded");
    let entropy = Arc::clone(&world.world.entropy);
    for tenant in world.server.tenants.all() {
        for key in tenant.keys().all() {
            let fresh = SoftVault::open(world.root.current(), Arc::clone(&entropy), &installation);
            let fresh: Arc<dyn accredit_domain::ports::KeyVault> = Arc::new(fresh.expect("opens"));
            for vault in [&world.world.vault, &fresh] {
                let signature = vault.sign(&key.sealed, b"m").await.expect("signed");
                assert!(key.sealed.public.verify(b"m", &signature).is_ok());
            }
        }
    }
}

#[tokio::test]
async fn only_the_operator_rotates_the_root_key_and_it_is_recorded_in_every_log() {
    let world = TestWorld::new(60).await;
    let Scene { org, client, .. } = world.scene().await;
    let key = operator(&world).await;
    let before = world.root.current().name();
    rotate(&world, &org.admin).await.problem(403, "not-entitled");
    rotate(&world, &client.secret).await.problem(401, "admin-key");
    world.ask(Ask::post("/v1/root/rotate")).await.problem(401, "admin-key");
    assert_eq!(world.root.current().name(), before, "nothing was changed");
    // That an administrator tried is in the log.
    let refused = events(&world, &org, "access.refused").await;
    assert_eq!(refused.last().expect("an event")["payload"]["rule"], "not-entitled");

    world.token(&org, &client, &READ).await.expect(200);
    let rotated = rotate(&world, &key).await.expect(200).json();
    assert_eq!(rotated["root"], 2);
    assert_eq!((&rotated["keys"], &rotated["peppers"]), (&json!(28), &json!(1)));
    assert_eq!(rotated["in_place"], true);
    assert_ne!(world.root.current().name(), before);
    check_opens(&world).await;
    let told = events(&world, &org, "root_key.rotated").await;
    let [event] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!(event["payload"]["actor"]["kind"], "operator");
    assert!(event["payload"]["request"].as_str().is_some_and(|id| id.starts_with("req_")));

    // Proved under the pepper as before, signed as before; also by a server that knows nothing.
    world.token(&org, &client, &READ).await.expect(200);
    let world = world.reopened(61).await;
    world.token(&org, &client, &READ).await.expect(200);
    rotate(&world, &key).await.expect(200);
    world.token(&org, &client, &READ).await.expect(200);
    assert_eq!(events(&world, &org, "root_key.rotated").await.len(), 2);
}

#[tokio::test]
async fn where_the_key_cannot_be_replaced_nothing_is_touched() {
    let world = TestWorld::new(62).await;
    let Scene { org, client, .. } = world.scene().await;
    let key = operator(&world).await;
    world.root.may_be_replaced(false);
    rotate(&world, &key).await.problem(409, "state-forbids");
    let installation = world.world.store.installation().await.expect("read").expect("founded");
    assert_eq!(installation.root, 1);
    assert!(events(&world, &org, "root_key.rotated").await.is_empty());
    world.token(&org, &client, &READ).await.expect(200);
    // It was not the last word.
    world.root.may_be_replaced(true);
    rotate(&world, &key).await.expect(200);
    check_opens(&world).await;
}

#[tokio::test]
async fn a_file_that_keeps_its_name_is_told_and_finished_by_the_next_start_or_rotation() {
    let world = TestWorld::new(63).await;
    let Scene { org, client, .. } = world.scene().await;
    let key = operator(&world).await;
    let before = world.root.current().name();
    world.root.moves(false);
    let rotated = rotate(&world, &key).await.expect(200).json();
    assert_eq!((&rotated["root"], &rotated["in_place"]), (&json!(2), &json!(false)));
    assert_eq!(world.root.current().name(), before, "the file did not move");
    world.token(&org, &client, &READ).await.expect(200);
    let world = world.reopened(64).await;
    assert_ne!(world.root.current().name(), before);
    check_opens(&world).await;
    world.token(&org, &client, &READ).await.expect(200);

    let second = world.root.current().name();
    rotate(&world, &key).await.expect(200);
    world.root.moves(true);
    let rotated = rotate(&world, &key).await.expect(200).json();
    assert_eq!((&rotated["root"], &rotated["in_place"]), (&json!(4), &json!(true)));
    assert_ne!(world.root.current().name(), second);
    check_opens(&world).await;
}

#[tokio::test]
async fn a_request_that_read_its_key_before_signs_with_it_afterwards() {
    let world = Arc::new(TestWorld::new(65).await);
    let Scene { org, client, .. } = world.scene().await;
    let key = operator(&world).await;
    // A vault without a memory of the key: it was never used, and has to be unwrapped.
    let meanwhile = Arc::clone(&world);
    world.vault.before_next_token(Box::pin(async move {
        rotate(&meanwhile, &key).await.expect(200);
    }));
    world.token(&org, &client, &READ).await.expect(200);
    check_opens(&world).await;
}

#[tokio::test]
async fn while_the_root_key_rotates_another_rotation_is_refused_and_touches_nothing() {
    let world = Arc::new(TestWorld::new(68).await);
    let Scene { org, client, .. } = world.scene().await;
    let key = operator(&world).await;
    let before = world.root.current().name();
    let (meanwhile, asked) = (Arc::clone(&world), key.clone());
    let (told, refused) = tokio::sync::oneshot::channel();
    world.root.while_next_is_made(Box::pin(async move {
        let answer = rotate(&meanwhile, &asked).await;
        drop(told.send((answer, meanwhile.root.current().name())));
    }));
    let rotated = rotate(&world, &key).await.expect(200).json();
    let (refused, then) = refused.await.expect("another one came meanwhile");
    refused.problem(409, "state-forbids");
    assert_eq!(then, before, "the one that is refused has replaced nothing");
    assert_eq!(rotated["root"], 2);
    assert_eq!(events(&world, &org, "root_key.rotated").await.len(), 1);
    check_opens(&world).await;
    world.token(&org, &client, &READ).await.expect(200);
    // And it does not keep out the next one.
    assert_eq!(rotate(&world, &key).await.expect(200).json()["root"], 3);
}

#[tokio::test]
async fn a_replaced_root_key_is_forgotten_after_a_minute() {
    let world = TestWorld::new(66).await;
    let Scene { org, .. } = world.scene().await;
    let key = operator(&world).await;
    // The feed's key was not used yet: nothing has it unwrapped.
    let old = world.tenant(&org).await.feed_key().sealed.clone();
    rotate(&world, &key).await.expect(200);
    world.world.vault.forget_replaced(world.now());
    world.world.vault.sign(&old, b"m").await.expect("still held");
    let next = world.tenant(&org).await.keys().all().to_vec();
    let is_unused =
        |key: &SigningKey| key.sealed.purpose == KeyPurpose::Feed && key.state == KeyState::Next;
    let mut unused = next.into_iter().find(is_unused).expect("a key").sealed;
    unused.root = 1;
    world.clock.advance(REPLACED_HELD);
    world.world.vault.forget_replaced(world.now());
    let gone = world.world.vault.sign(&unused, b"m").await.expect_err("forgotten");
    assert!(gone.to_string().contains("root key 1"), "{gone}");
    check_opens(&world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_rotations_under_load_fail_no_request() {
    let world = Arc::new(TestWorld::new(67).await);
    let Scene { org, client, .. } = world.scene().await;
    let key = operator(&world).await;
    let over = Arc::new(AtomicBool::new(false));
    let (issued, turned) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let mut running = Vec::new();
    for _ in 0..8 {
        let (world, over, issued) = (Arc::clone(&world), Arc::clone(&over), Arc::clone(&issued));
        let (org, client) = (org.clone(), client.clone());
        running.push(tokio::spawn(async move {
            while !over.load(Ordering::Relaxed) {
                world.token(&org, &client, &READ).await.expect(200);
                issued.fetch_add(1, Ordering::Relaxed);
            }
        }));
    }
    {
        // Signing keys that are made all through it, and organizations with theirs.
        let (world, over, turned) = (Arc::clone(&world), Arc::clone(&over), Arc::clone(&turned));
        let org = org.clone();
        running.push(tokio::spawn(async move {
            let asked = json!({"now": true});
            while !over.load(Ordering::Relaxed) {
                let count = turned.fetch_add(1, Ordering::Relaxed);
                world.found(&format!("more-{count}")).await;
                if count < 20 {
                    let path = "/v1/signing-keys/rotate";
                    world.admin(&org, "POST", path, Some(asked.clone())).await.expect(201);
                }
            }
        }));
    }
    let past = async |counter: &AtomicU64, more: u64| {
        let from = counter.load(Ordering::Relaxed);
        while counter.load(Ordering::Relaxed) < from + more {
            assert!(!running.iter().any(JoinHandle::is_finished), "somebody was refused");
            tokio::task::yield_now().await;
        }
    };
    for number in 2..=4 {
        past(&issued, 20).await;
        past(&turned, 2).await;
        let rotated = rotate(&world, &key).await.expect(200).json();
        assert_eq!(rotated["root"], number);
    }
    past(&issued, 20).await;
    past(&turned, 2).await;
    over.store(true, Ordering::Relaxed);
    for one in running {
        one.await.expect("not one failure");
    }
    check_opens(&world).await;
}
