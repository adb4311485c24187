//! Somebody who looks for a way through the API into the database, or from one organization into
//! another: every path, every parameter of every query, every cursor and every filter, by the table of
//! endpoints, and on both engines.
//!
//! What is new in the table is tried from then on; where its parameter has a name that nobody has
//! thought about yet, these tests fail until [`injection`] says what a text in it must come to.

mod apart;
mod injection;
mod texts;

use std::collections::BTreeMap;

use accredit_server::endpoints::{ENDPOINTS, Endpoint};
use accredit_testkit::{Answer, Ask, Engine, Org, TestWorld};
use serde_json::Value;

use crate::access::Stage;

/// Tables that grow by being asked, since reading the log is recorded, and so are refusals.
const GROWING: [&str; 6] = ["change", "checkpoint", "event", "heartbeat", "spent", "tile"];

/// Whether a row of the table answers in pages.
fn is_list(endpoint: &Endpoint) -> bool {
    endpoint.query.contains(&"cursor")
}

/// All there is of an organization, as its lists show it, but for events.
async fn listed(world: &TestWorld, org: &Org, paths: &[String]) -> BTreeMap<String, Vec<Value>> {
    let mut all = BTreeMap::new();
    for path in paths {
        let (mut items, mut cursor) = (Vec::new(), String::new());
        loop {
            let ask = Ask::get(format!("{path}?limit=200&cursor={cursor}")).bearer(&org.admin);
            let page = world.ask(ask).await.expect(200).json();
            items.extend(page["items"].as_array().expect("items").iter().cloned());
            let Some(next) = page["next"].as_str() else { break };
            next.clone_into(&mut cursor);
        }
        all.insert(path.clone(), items);
    }
    all
}

/// The paths of all lists but that of events, on a stage.
fn lists(stage: &Stage) -> Vec<String> {
    let rows = ENDPOINTS.iter().filter(|row| is_list(row) && row.operation != "list_events");
    rows.map(|row| stage.filled(row, row.path)).collect()
}

/// What an attack must leave as it was.
#[derive(Debug, PartialEq)]
struct Whole {
    rows: BTreeMap<String, u64>,
    listed: BTreeMap<String, Vec<Value>>,
}

impl Whole {
    async fn of(world: &TestWorld, engine: Engine, org: &Org, paths: &[String]) -> Self {
        let mut rows = world.rows(engine);
        let grown = GROWING.map(|name| rows.remove(name).expect("there is such a table"));
        assert!(grown.iter().sum::<u64>() > 0 && rows.len() > 20, "{rows:?}");
        Self { rows, listed: listed(world, org, paths).await }
    }
}

/// The items of a page.
fn items(answer: &Answer) -> Vec<Value> {
    answer.json()["items"].as_array().cloned().unwrap_or_default()
}

/// Whether an answer is a refusal that names a parameter.
fn names(answer: &Answer, name: &str) -> bool {
    let said = answer.json();
    let detail = said["detail"].as_str().or_else(|| said["error_description"].as_str());
    answer.status == 400 && detail.is_some_and(|detail| detail.starts_with(&format!("`{name}`: ")))
}
