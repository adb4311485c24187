//! A disk that is full, read-only, slow or broken under a server that goes on running: nothing is
//! given that is not recorded, the state has a name, and it ends with its cause.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::load::{Load, check_shed, request};
use super::shim::{Disk, State};
use crate::stage::cast::text;
use crate::stage::server::{Folder, init};
use crate::stage::{Ask, Cast, Server, binary, until};

/// How soon a state must be seen, and be over again: it is looked for several times a second.
const NOTICED_WITHIN: Duration = Duration::from_secs(5);
/// How long a fault lasts under load.
const FAULT_LASTS: Duration = Duration::from_millis(1200);

/// What `/readyz` says.
async fn readiness(server: &Server) -> (u16, Value) {
    let answer = server.send(Ask::get("/readyz?verbose")).await;
    (answer.status, answer.json())
}

/// The degraded states that it names.
fn states(readiness: &Value) -> BTreeSet<String> {
    let checks = readiness["checks"].as_array().expect("checks").iter();
    let failing = checks.filter(|check| check["ok"] == false);
    let named = failing.flat_map(|check| check["states"].as_array().expect("states").iter());
    named.map(|state| text(state, "state")).collect()
}

/// A server on a disk of its own.
async fn on_a_disk() -> (Disk, Cast) {
    let folder = Folder::new();
    let disk = Disk::new(&folder, false);
    let mut command = Server::dev_command(&folder, 0);
    disk.under(&mut command);
    (disk, Cast::at(Server::started(command, folder).await, 60).await)
}

/// The ids of all tokens whose issuance stands in the log, which is what was signed.
fn logged(server: &Server) -> BTreeSet<String> {
    let report = server.cli_json(&["fsck"]);
    assert_eq!(report["ok"], true, "{report}");
    let file = server.folder().file("log.ndjson");
    server.cli(&["audit", "export", "-o", &file]).good();
    let export = std::fs::read_to_string(&file).expect("an export");
    let events = export.lines().filter(|line| line.contains("\"type\":\"token.issued\""));
    let parsed = events.map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    parsed.map(|line| text(&line["event"]["payload"], "token")).collect()
}

/// Whether it names one of these.
fn names(readiness: &Value, named: &[&str]) -> bool {
    states(readiness).iter().any(|state| named.contains(&state.as_str()))
}

/// Breaks the disk under load, and mends it.
async fn breaks(state: State, named: &[&str]) {
    let (disk, mut cast) = on_a_disk().await;
    let agent = cast.agent("planner").await;
    let process = cast.server.id();
    let load = Load::start(&cast.server, &agent, 4);
    until("tokens are given", NOTICED_WITHIN, async || load.given() > 20).await;

    disk.become_(state);
    until("it is noticed", NOTICED_WITHIN, async || {
        let (status, body) = readiness(&cast.server).await;
        status == 503 && body["ready"] == false && names(&body, named)
    })
    .await;
    // What was under way is answered by now.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let (given, shed) = (load.given(), load.shed());
    let broken = Instant::now();
    while broken.elapsed() < FAULT_LASTS {
        check_shed(&cast.server.send(request(&cast.server, &agent)).await);
        let body = json!({"agent": agent.agent, "type": "client-secret"});
        cast.server.api("POST", "/v1/credentials", body).await.problem(503, "fault");
        let (status, body) = readiness(&cast.server).await;
        assert_eq!((status, names(&body, named)), (503, true), "{body}");
        assert_eq!(cast.server.send(Ask::get("/livez")).await.status, 200, "it lives");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(load.given(), given, "nothing is issued without a record");
    assert!(load.shed() > shed, "and everybody is told");

    disk.become_(State::Good);
    let recovers = until("it recovers by itself", NOTICED_WITHIN, async || {
        let (status, body) = readiness(&cast.server).await;
        status == 200 && states(&body).is_empty()
    })
    .await;
    until("tokens are given again", NOTICED_WITHIN, async || load.given() > given + 20).await;
    assert_eq!(cast.server.id(), process);
    let received = load.end().await;
    // Exactly: what was refused for want of room left nothing behind either.
    assert_eq!(logged(&cast.server), received);
    println!("{named:?}: {given} tokens, recovered within {recovers:?}");

    // What it says after a crash is the same.
    cast.server.kill();
    cast.server = cast.server.again().await;
    assert_eq!(logged(&cast.server), received);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_stops_issuing_until_there_is_room() {
    breaks(State::Full, &["store-full"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_only_disk_stops_issuing_until_it_can_be_written() {
    // What is read-only from the start says so; what becomes so under open files fails to be
    // written, and no more can be told.
    breaks(State::ReadOnly, &["store-read-only", "store-failing"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_does_not_sync_stops_issuing_until_it_does() {
    breaks(State::SyncsFail, &["store-failing"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_disk_makes_issuing_slow_and_says_so() {
    let delay = Duration::from_millis(700);
    let (disk, cast) = on_a_disk().await;
    let agent = cast.agent("planner").await;
    disk.delay(delay);
    let load = Load::start(&cast.server, &agent, 16);
    until("it is noticed", NOTICED_WITHIN, async || {
        states(&readiness(&cast.server).await.1).contains("store-slow")
    })
    .await;
    let start = Instant::now();
    let answer = cast.server.send(request(&cast.server, &agent)).await;
    assert_eq!(answer.status, 200, "slow is not broken: {}", answer.text());
    assert!(start.elapsed() >= delay, "not before it is synced: {:?}", start.elapsed());
    let before = load.given();
    tokio::time::sleep(4 * delay).await;
    // At most a batch for each sync, and all who wait share it.
    assert!(load.given() - before >= 16, "one sync serves all who wait");

    disk.delay(Duration::ZERO);
    until("it recovers by itself", NOTICED_WITHIN, async || {
        let (status, body) = readiness(&cast.server).await;
        status == 200 && states(&body).is_empty()
    })
    .await;
    let mut received = load.end().await;
    received.insert(super::load::jti(&text(&answer.json(), "access_token")));
    assert_eq!(logged(&cast.server), received);
}

fn execute(store: &Path, sql: &str) {
    let conn = rusqlite::Connection::open(store).expect("the store");
    conn.execute_batch(sql).expect("changed");
}

#[test]
fn a_newer_schema_is_refused_with_the_version_that_wrote_it() {
    let folder = Folder::new();
    let founded = init(&folder, "http");
    let config = text(&founded, "config");
    let store = folder.data().join("accredit.db");
    execute(&store, "INSERT INTO schema_migration VALUES (9001, 'later', 'ff', '7.8.9')");
    for command in [["serve", "--config", &config], ["fsck", "--config", &config]] {
        let ran = binary::run(binary::command(&command));
        assert_eq!(ran.code, 1, "{ran:?}");
        assert!(ran.err.contains("version 7.8.9"), "{ran:?}");
    }
    // It was not touched: the version that wrote it goes on from there.
    execute(&store, "DELETE FROM schema_migration WHERE version = 9001");
    binary::run(binary::command(&["fsck", "--config", &config])).good();
}
