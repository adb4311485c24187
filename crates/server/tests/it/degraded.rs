//! The degraded states as `/readyz` names them: entered, told, and left without a restart.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use accredit_domain::ports::Clock as _;
use accredit_server::jobs;
use accredit_server::probe::KEPT;
use accredit_testkit::{Ask, Client, DiskTrouble, TestWorld};
use futures_util::FutureExt as _;
use serde_json::{Value, json};

/// What a check says: status of the answer, `ok`, and its states.
async fn check(world: &TestWorld, name: &str) -> (u16, bool, Value) {
    let answer = world.ask(Ask::get("/readyz?verbose")).await;
    let body = answer.json();
    let checks = body["checks"].as_array().expect("checks");
    let found = checks.iter().find(|check| check["name"] == name).expect("the check");
    (answer.status, found["ok"] == true, found["states"].clone())
}

#[tokio::test]
async fn a_disk_that_is_full_or_read_only_stops_issuing_and_nothing_else_is_needed_to_go_on() {
    let world = TestWorld::new(6).await;
    let scene = world.scene().await;
    let scope = &[("scope", "crm:read")];
    for (trouble, name) in
        [(DiskTrouble::Full, "store-full"), (DiskTrouble::ReadOnly, "store-read-only")]
    {
        world.faults.disk(Some(trouble));
        let refused = world.token(&scene.org, &scene.client, scope).await;
        assert_eq!(refused.status, 503, "{}", refused.text());
        assert_eq!(refused.header("retry-after"), "1");
        assert!(!refused.text().contains("disk"), "the cause is ours alone");
        let (status, ok, states) = check(&world, "store").await;
        assert_eq!((status, ok), (503, false));
        assert_eq!(states[0]["state"], name);
        assert_eq!(states[0]["blocks"], true);
        assert_eq!(states[0]["since"], world.now().to_string());
        assert!(states[0]["hint"].as_str().expect("a hint").contains("disk"));
        // Without a request a job finds out that it is over.
        world.faults.disk(None);
        jobs::try_again(&world.server).await;
        assert!(world.server.look().is_empty());
        assert_eq!(check(&world, "store").await, (200, true, Value::Null));
        world.token(&scene.org, &scene.client, scope).await.expect(200);
    }
}

#[tokio::test]
async fn a_clock_that_went_back_is_named_until_it_is_right() {
    let world = TestWorld::new(6).await;
    assert_eq!(check(&world, "clock").await, (200, true, Value::Null));
    let before = world.clock.now();
    world.advance(3600);
    world.server.look();
    world.clock.set(before);
    let (status, ok, states) = check(&world, "clock").await;
    assert_eq!((status, ok), (503, false));
    assert_eq!(states[0]["state"], "clock-back");
    assert_eq!(states[0]["since"], before.to_string());
    world.clock.set(before.plus(Duration::from_hours(1)));
    assert_eq!(check(&world, "clock").await, (200, true, Value::Null));
}

#[tokio::test]
async fn a_clock_that_is_back_stops_issuing_and_nothing_else_and_goes_on_by_itself() {
    let world = TestWorld::new(6).await;
    let scene = world.scene().await;
    let scope = &[("scope", "crm:read")];
    world.server.look();
    let beginning = world.now();
    let back = |by: u64| world.clock.set(beginning.minus(Duration::from_secs(by)));
    back(5);
    world.token(&scene.org, &scene.client, scope).await.expect(200);
    // Before a job has looked.
    back(6);
    let refused = world.token(&scene.org, &scene.client, scope).await;
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert_eq!(refused.member("error"), "temporarily_unavailable");
    assert!(refused.text().contains("clock-back"), "{}", refused.text());
    assert_eq!(refused.header("retry-after"), "1");
    // A right secret is not told from a wrong one meanwhile; what ends things goes on.
    let wrong = Client { secret: "wrong".to_owned(), ..scene.client.clone() };
    assert_eq!(world.token(&scene.org, &wrong, scope).await.status, 503);
    let second = world.agent_secret(&scene.org, "planner", None).await;
    world.revoke(&scene.org, &second.credential).await.expect("revoked");
    world.clock.set(beginning);
    world.token(&scene.org, &scene.client, scope).await.expect(200);
    // Or it stays as it is, and is believed in the end.
    back(3600);
    assert_eq!(check(&world, "clock").await.2[0]["state"], "clock-back");
    world.advance(599);
    assert_eq!(check(&world, "clock").await.2[0]["state"], "clock-back");
    assert_eq!(world.token(&scene.org, &scene.client, scope).await.status, 503);
    world.advance(1);
    assert_eq!(check(&world, "clock").await, (200, true, Value::Null));
    world.token(&scene.org, &scene.client, scope).await.expect(200);
}

#[tokio::test]
async fn a_clock_that_went_ahead_is_named_and_stops_nothing() {
    let world = TestWorld::new(6).await;
    let scene = world.scene().await;
    world.server.look();
    let before = world.now();
    world.clock.set(before.plus(Duration::from_hours(3)));
    let (status, ok, states) = check(&world, "clock").await;
    assert_eq!((status, ok), (200, false), "no reason to send work elsewhere");
    assert_eq!(states[0]["state"], "clock-ahead");
    assert_eq!(states[0]["blocks"], false);
    world.token(&scene.org, &scene.client, &[("scope", "crm:read")]).await.expect(200);
    world.clock.set(before);
    assert_eq!(check(&world, "clock").await, (200, true, Value::Null), "and not back");
    world.token(&scene.org, &scene.client, &[("scope", "crm:read")]).await.expect(200);
    // Time that goes by is no jump, also where nobody looked.
    world.advance(100_000);
    assert_eq!(check(&world, "clock").await, (200, true, Value::Null));
}

#[tokio::test]
async fn a_job_that_panics_is_named_and_started_again() {
    let world = TestWorld::new(6).await;
    let (mut jobs, runs) = (tokio::task::JoinSet::new(), Arc::new(AtomicUsize::new(0)));
    let (said, mut told) = tokio::sync::mpsc::unbounded_channel();
    jobs::keep(&mut jobs, &world.server, "planted", move |_| {
        let (runs, said) = (Arc::clone(&runs), said.clone());
        async move {
            let run = runs.fetch_add(1, Ordering::SeqCst);
            said.send(run).expect("somebody listens");
            assert!(run > 1, "planted");
        }
    });
    assert_eq!(told.recv().await, Some(0));
    assert_eq!(told.recv().await, Some(1), "started again");
    let (status, ok, states) = check(&world, "jobs").await;
    assert_eq!((status, ok), (200, false), "the others go on");
    assert_eq!(states[0]["state"], "job-failing");
    assert_eq!(told.recv().await, Some(2), "and again");
    jobs.join_next().await.expect("a job").expect("it ended well");
    world.advance(599);
    assert_eq!(check(&world, "jobs").await.2[0]["state"], "job-failing");
    world.advance(1);
    assert_eq!(check(&world, "jobs").await, (200, true, Value::Null));
}

#[tokio::test]
async fn the_hub_goes_on_after_its_job_was_started_again() {
    let world = TestWorld::new(6).await;
    let scene = world.scene().await;
    let hub = Arc::clone(&world.server.hub);
    let first = tokio::spawn(async move { hub.run().await });
    tokio::task::yield_now().await;
    first.abort();
    assert!(first.await.is_err());
    world.run_hub();
    let secret = world.resource_secret(&scene.org, "crm").await;
    let mut events =
        world.events(Ask::get("/o/acme/revocations/feed").bearer(&secret.secret)).await;
    events.next().await.expect("the first message");
    world.revoke(&scene.org, &scene.client.credential).await.expect("revoked");
    assert_eq!(events.next().await.expect("a delta").0, "1.1");
}

#[tokio::test]
async fn a_log_that_cannot_be_integrated_is_named_and_stops_nothing() {
    let world = TestWorld::new(6).await;
    let scene = world.scene().await;
    world.faults.disk(Some(DiskTrouble::Full));
    jobs::integrate_all(&world.server).await;
    world.faults.disk(None);
    let (status, ok, states) = check(&world, "log").await;
    assert_eq!((status, ok), (200, false), "no reason to send work elsewhere");
    assert_eq!(states[0]["state"], "log-behind");
    world.token(&scene.org, &scene.client, &[("scope", "crm:read")]).await.expect(200);
    jobs::integrate_all(&world.server).await;
    assert_eq!(check(&world, "log").await, (200, true, Value::Null));
}

#[tokio::test]
async fn since_and_hint_are_told_to_who_asks_for_them() {
    let world = TestWorld::new(6).await;
    world.server.stopping.store(true, std::sync::atomic::Ordering::SeqCst);
    let terse = world.ask(Ask::get("/readyz")).await.expect(503).json();
    let serving = &terse["checks"][6];
    assert_eq!(
        *serving,
        json!({"name": "serving", "ok": false, "states": [{"state": "stopping", "blocks": true}]})
    );
    let verbose = world.ask(Ask::get("/readyz?verbose")).await.expect(503).json();
    assert!(verbose["checks"][6]["states"][0]["hint"].is_string());
    let names: Vec<&str> = terse["checks"]
        .as_array()
        .expect("checks")
        .iter()
        .filter_map(|check| check["name"].as_str())
        .collect();
    let all = ["store", "speed", "clock", "log", "issuing", "view", "serving", "jobs", "root-key"];
    assert_eq!(names, all);
}

#[tokio::test]
async fn a_thousand_questions_at_one_time_are_one_write() {
    let world = TestWorld::new(6).await;
    let writes = || world.world.store.health().members;
    let many = async |count: usize| {
        let asked = (0..count).map(|_| world.ask(Ask::get("/readyz")));
        let answers = futures_util::future::join_all(asked).await;
        answers.iter().map(|answer| answer.status).collect::<std::collections::BTreeSet<_>>()
    };
    let before = writes();
    assert_eq!(many(1000).await, [200].into());
    assert_eq!(writes() - before, 1);
    let nearly = Duration::from_millis(249);
    world.clock.advance(nearly);
    assert_eq!(many(10).await, [200].into());
    assert_eq!(writes() - before, 1, "it is good for a while");
    world.clock.advance(KEPT.saturating_sub(nearly));
    assert_eq!(many(10).await, [200].into());
    assert_eq!(writes() - before, 2, "and not for longer");
    // Whoever asks and hangs up does not make the next one ask the store again.
    world.clock.advance(KEPT);
    for _ in 0..100 {
        assert!(world.ask(Ask::get("/readyz")).now_or_never().is_none(), "it writes");
    }
    assert_eq!(many(1).await, [200].into());
    assert_eq!(writes() - before, 3);
    // What the disk says counts at once where a request finds out, else when the time is over.
    world.faults.disk(Some(DiskTrouble::Full));
    assert_eq!(many(10).await, [200].into());
    world.clock.advance(KEPT);
    assert_eq!(many(10).await, [503].into());
    world.faults.disk(None);
    jobs::try_again(&world.server).await;
    assert_eq!(many(10).await, [200].into());
}
