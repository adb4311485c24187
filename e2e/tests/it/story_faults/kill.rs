//! `kill -9` under load, fifty times: every token that was received has its event, and the server
//! is back at once.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::load::Load;
use crate::stage::cast::text;
use crate::stage::{Ask, Cast};

/// How often it is killed.
const KILLS: u32 = 50;
/// How long a restart may take, in the middle, until it is ready.
const RESTART_TIME_MAX: Duration = Duration::from_millis(200);

/// The ids of all tokens whose issuance stands in the store.
fn logged(store: &Path) -> BTreeSet<String> {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let conn = rusqlite::Connection::open_with_flags(store, flags).expect("the store");
    let sql = "SELECT payload FROM event WHERE kind = 'token.issued'";
    let mut events = conn.prepare(sql).expect("the log");
    let payloads = events.query_map([], |row| row.get::<_, String>(0)).expect("its events");
    let parse = |text: String| serde_json::from_str::<Value>(&text).expect("JSON");
    payloads.map(|payload| text(&parse(payload.expect("a payload")), "token")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_kills_under_load_lose_no_token_that_was_given() {
    let mut cast = Cast::new().await;
    let agent = cast.agent("planner").await;
    let mut received = BTreeSet::new();
    let mut restarts = Vec::new();
    for round in 0..KILLS {
        let load = Load::start(&cast.server, &agent, 8);
        while load.given() == 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        // Each time a little later: somewhere in the life of a batch.
        tokio::time::sleep(Duration::from_micros(10_000 + 1_700 * u64::from(round))).await;
        cast.server.kill();
        received.extend(load.end().await);
        let start = Instant::now();
        cast.server = cast.server.again().await;
        restarts.push(start.elapsed());
        if round % 10 == 9 {
            let logged = logged(&cast.server.folder().data().join("accredit.db"));
            let lost: Vec<&String> = received.difference(&logged).collect();
            assert!(lost.is_empty(), "round {round}: given but not logged: {lost:?}");
            let report = cast.server.cli_json(&["fsck"]);
            assert_eq!(report["ok"], true, "round {round}: {report}");
        }
    }
    restarts.sort_unstable();
    let (middle, longest) = (restarts[restarts.len() / 2], restarts[restarts.len() - 1]);
    println!("{} tokens; a restart takes {middle:?}, at most {longest:?}", received.len());
    assert!(middle < RESTART_TIME_MAX, "a restart takes {middle:?}");
    assert_eq!(cast.server.send(Ask::get("/readyz")).await.status, 200);
}
