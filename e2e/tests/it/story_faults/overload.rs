//! Many times more is asked for at once than the server takes, and floods of requests that lead to
//! nothing: what is too much is told to come back, memory and log stay bounded, work goes on.
//!
//! How fast it is then is printed, not asserted: speed is measured by the benchmark, on a machine
//! that does nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use accredit_wire::api_key::{ApiKey, SecretKind};
use accredit_wire::ids::CredentialId;
use tokio::sync::Semaphore;

use super::load::{Load, check_shed, request};
use crate::stage::cast::Client;
use crate::stage::{Ask, Cast, Server};

/// Clients whose speed is the limit.
const CLIENTS: usize = 32;
/// How long the limit is measured.
const MEASURED: Duration = Duration::from_secs(2);
/// How long too much is asked for.
const OVERLOADED: Duration = Duration::from_secs(3);
/// Requests that wait for an answer at a time: several times what the server takes at once.
const WAITING_MAX: usize = 3_000;
/// What the process may grow by, KiB.
const GROWTH_KIB_MAX: u64 = 100 * 1024;

/// Resident memory of a server, KiB.
fn resident(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.id())).expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("its memory");
    line.split_whitespace().nth(1).expect("a number").parse().expect("a number")
}

/// Tokens that some clients get in a second, one after the other.
async fn speed(server: &Server, client: &Client, time: Duration) -> f64 {
    let load = Load::start(server, client, CLIENTS);
    let start = Instant::now();
    tokio::time::sleep(time).await;
    let speed = load.given() as f64 / start.elapsed().as_secs_f64();
    load.end().await;
    speed
}

/// Some clients ask for as much as the server takes: whatever was not answered with a token.
async fn refused_after(server: &Server, client: &Client) -> Vec<String> {
    /// Requests of each client, one after the other.
    const REQUESTS: usize = 30;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..CLIENTS {
        let (ask, to) = (request(server, client), server.address);
        tasks.spawn(async move {
            let mut refused = Vec::new();
            for _ in 0..REQUESTS {
                match ask.clone().try_send(to).await {
                    Some(answer) if answer.status == 200 => {}
                    Some(answer) => refused.push(format!("{}: {}", answer.status, answer.text())),
                    None => refused.push("no answer".to_owned()),
                }
            }
            refused
        });
    }
    tasks.join_all().await.concat()
}

/// What came of asking for too much.
#[derive(Default)]
struct Outcome {
    given: AtomicU64,
    shed: AtomicU64,
    unanswered: AtomicU64,
    /// The longest that anybody waited for a no, microseconds.
    shed_after_max: AtomicU64,
}

/// Asks for more than is taken at once, whatever the answers are.
async fn overload(server: &Server, client: &Client) -> (Arc<Outcome>, u64) {
    const TICK: Duration = Duration::from_millis(5);
    let (ask, to) = (request(server, client), server.address);
    let outcome = Arc::new(Outcome::default());
    let waiting = Arc::new(Semaphore::new(WAITING_MAX));
    let (start, mut memory) = (Instant::now(), 0);
    let mut tasks = tokio::task::JoinSet::new();
    while start.elapsed() < OVERLOADED {
        while let Ok(place) = Arc::clone(&waiting).try_acquire_owned() {
            let (ask, outcome) = (ask.clone(), Arc::clone(&outcome));
            tasks.spawn(async move {
                let start = Instant::now();
                match ask.try_send(to).await {
                    Some(answer) if answer.status == 200 => &outcome.given,
                    Some(answer) => {
                        check_shed(&answer);
                        let waited = start.elapsed().as_micros() as u64;
                        outcome.shed_after_max.fetch_max(waited, Ordering::Relaxed);
                        &outcome.shed
                    }
                    None => &outcome.unanswered,
                }
                .fetch_add(1, Ordering::Relaxed);
                drop(place);
            });
        }
        while tasks.try_join_next().is_some_and(|ended| ended.map(|()| true).expect("no panic")) {}
        memory = memory.max(resident(server));
        tokio::time::sleep(TICK).await;
    }
    // Whoever still waits has given up by now.
    tasks.shutdown().await;
    (outcome, memory)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_much_is_shed_and_work_goes_on() {
    let cast = Cast::new().await;
    let agent = cast.agent("planner").await;
    let server = &cast.server;
    speed(server, &agent, MEASURED / 2).await;
    let limit = speed(server, &agent, MEASURED).await;
    let before = resident(server);
    let instance = cast.instance_of(&agent.agent).await;
    // A flood is when something most needs to be stopped: it takes its time, and is not refused.
    let stop = async {
        tokio::time::sleep(OVERLOADED / 3).await;
        server.revoke(&instance.id).await
    };
    let ((outcome, most), stopped) = tokio::join!(overload(server, &agent), stop);
    assert_eq!(stopped["target"], instance.id.as_str());
    tokio::time::sleep(Duration::from_secs(1)).await;
    let refused = refused_after(server, &agent).await;

    let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let (given, shed) = (read(&outcome.given), read(&outcome.shed));
    let goodput = given as f64 / OVERLOADED.as_secs_f64();
    println!(
        "limit {limit:.0}/s; asked for far more: {goodput:.0}/s given, {shed} shed after at \
         most {} ms, {} unanswered; memory grew by {} KiB",
        read(&outcome.shed_after_max) / 1000,
        read(&outcome.unanswered),
        most.saturating_sub(before),
    );
    assert!(shed > 0, "what is too much is told to come back");
    assert_eq!(read(&outcome.unanswered), 0, "nobody is left without an answer");
    assert!(given > 0, "it goes on working");
    assert!(most.saturating_sub(before) < GROWTH_KIB_MAX, "from {before} to {most} KiB");
    assert_eq!(refused, Vec::<String>::new(), "a second later nothing is shed any more");
    assert_eq!(cast.server.cli_json(&["fsck"])["ok"], true);
}

/// Events in the store, and the bytes of its files.
fn size(server: &Server) -> (u64, u64) {
    let data = server.folder().data();
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let conn = rusqlite::Connection::open_with_flags(data.join("accredit.db"), flags);
    let count = |row: &rusqlite::Row<'_>| row.get::<_, u32>(0);
    let events = conn.expect("the store").query_row("SELECT count(*) FROM event", [], count);
    let files = std::fs::read_dir(data).expect("a folder");
    let bytes = files.map(|file| file.expect("a file").metadata().expect("its size").len()).sum();
    (u64::from(events.expect("counted")), bytes)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_what_is_refused_fills_neither_disk_nor_log() {
    const FLOOD: usize = 6_000;
    /// Refusals of one client, and failed authentications of all together, that stand one by one
    /// in the log of a minute; the flood is over before a second one is.
    const EVENTS_MAX: u64 = 2 * (20 + 1_001);
    const BYTES_MAX: u64 = 4 << 20;

    let cast = Cast::new().await;
    let agent = cast.agent("planner").await;
    let server = &cast.server;
    let (target, to) = (server.at("/oauth/token"), server.address);
    let before = size(server);
    let mut tasks = tokio::task::JoinSet::new();
    let work = Arc::new(Semaphore::new(CLIENTS));
    for flood in 0..FLOOD {
        let scope = |scope| [("grant_type", "client_credentials"), ("scope", scope)];
        let ask = match flood % 4 {
            // A client that is known, and not allowed to.
            0 => Ask::form(&target, &scope("crm:delete")).basic(&agent.agent, &agent.secret),
            // The same with another secret; then somebody whom nobody knows, another each time.
            1 => Ask::form(&target, &scope("crm:read")).basic(&agent.agent, "wrong"),
            2 => Ask::form(&target, &scope("crm:read")).basic(&format!("agt_{flood}"), "wrong"),
            _ => Ask::get(&format!("/v1/agents/{flood}")).bearer(&format!("nothing-{flood}")),
        };
        let place = Arc::clone(&work).acquire_owned().await.expect("open");
        tasks.spawn(async move {
            let answer = ask.send(to).await;
            assert!((400..500).contains(&answer.status), "{}", answer.text());
            drop(place);
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.expect("refused");
    }
    let after = size(server);
    let (events, bytes) = (after.0 - before.0, after.1.saturating_sub(before.1));
    println!("{FLOOD} refused requests: {events} events, {} KiB", bytes / 1024);
    assert!(events > 0, "some of it is told");
    assert!(events <= EVENTS_MAX, "{events} events");
    assert!(bytes <= BYTES_MAX, "{bytes} bytes");
    let log = std::fs::metadata(server.folder().file("log")).expect("its own log").len();
    assert!(log <= BYTES_MAX, "{log} bytes of its own log");
    assert_eq!(server.send(request(server, &agent)).await.status, 200, "it goes on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_invented_keys_keeps_nobody_from_stopping_something() {
    /// Requests of the flood at a time.
    const FLOOD: usize = 600;
    const STOPS: usize = 10;

    let cast = Cast::new().await;
    let agent = cast.agent("planner").await;
    let server = &cast.server;
    let to = server.address;
    let mut instances = Vec::new();
    for _ in 0..STOPS {
        instances.push(cast.instance_of(&agent.agent).await);
    }
    let flood = async {
        let (mut tasks, work) = (tokio::task::JoinSet::new(), Arc::new(Semaphore::new(FLOOD)));
        let (mut sent, start) = (0, Instant::now());
        while start.elapsed() < OVERLOADED {
            let id = CredentialId::new(sent, [5; 10]);
            let key = ApiKey::new(SecretKind::Admin, id, [sent as u8; 32]);
            let body = serde_json::json!({"target": agent.credential, "reason": "a flood"});
            let ask = Ask::json("POST", "/v1/revocations", &body).bearer(key.expose());
            let place = Arc::clone(&work).acquire_owned().await.expect("open");
            tasks.spawn(async move {
                let status = ask.try_send(to).await.map(|answer| answer.status);
                drop(place);
                status
            });
            sent += 1;
        }
        tasks.join_all().await
    };
    let stops = async {
        for instance in &instances {
            tokio::time::sleep(OVERLOADED / (2 * STOPS as u32)).await;
            let target = serde_json::json!({"target": instance.id, "reason": "stopped"});
            let stopped = server.api("POST", "/v1/revocations", target).await;
            assert_eq!(stopped.status, 201, "{}", stopped.text());
        }
    };
    // At the same time more tokens are asked for than there are places.
    let (_, answers, ()) = tokio::join!(overload(server, &agent), flood, stops);
    let count = |status| answers.iter().filter(|answer| **answer == Some(status)).count();
    println!("{} invented keys: {} refused, {} shed", answers.len(), count(401), count(503));
    assert!(count(401) > 0 && count(503) > 0, "it was a flood, and some were looked at");
    assert_eq!(count(401) + count(503) + count(429), answers.len(), "and none did anything");
    assert_eq!(cast.server.cli_json(&["fsck"])["ok"], true);
}
