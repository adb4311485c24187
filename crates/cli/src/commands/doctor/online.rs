//! What an organization's administrator can see: agents, credentials and the log.

use accredit_wire::time::Time;
use serde_json::Value;

use super::{Checks, NAMES_SHOWN_MAX, offline, owner_keys};
use crate::api::Api;
use crate::args::LIST_ITEMS_MAX;
use crate::errors::one_line;
use crate::output::counted;
use crate::request_path::RequestPath;

/// Days before the end of a credential in which it is remarked upon.
pub(super) const EXPIRES_SOON_DAYS: i64 = 14;
/// Seconds of a day.
pub(super) const SECONDS_PER_DAY: i64 = 86_400;

/// Asks about the organization of the key.
pub(super) async fn check(api: &Api, now: Time, checks: &mut Checks) {
    match all(api, "/v1/orgs").await {
        Ok(rows) => issuing(&rows, checks),
        Err(failure) => checks.failed("issuing", &failure),
    }
    match all(api, "/v1/agents").await {
        Ok(rows) => agents(&rows, now, checks),
        Err(failure) => checks.failed("agents", &failure),
    }
    match all(api, "/v1/credentials").await {
        Ok(rows) => credentials(&rows, now, checks),
        Err(failure) => checks.failed("credentials", &failure),
    }
    match all(api, "/v1/admin-keys").await {
        Ok(rows) => owner_keys::check(&rows, now, checks),
        Err(failure) => checks.failed(owner_keys::NAME, &failure),
    }
    match api.get(RequestPath::new("/v1/log")).await {
        Ok(answer) => log(&answer.value, checks),
        Err(failure) => checks.failed("log", &failure),
    }
}

async fn all(api: &Api, path: &'static str) -> Result<Vec<Value>, crate::errors::Failure> {
    let page = api.list(RequestPath::new(path), LIST_ITEMS_MAX as usize, None).await?;
    let rows = page.items.iter();
    Ok(rows.map(|item| serde_json::from_str(item.get()).unwrap_or_default()).collect())
}

pub(super) fn text<'a>(row: &'a Value, name: &str) -> &'a str {
    row[name].as_str().unwrap_or_default()
}

pub(super) fn time(row: &Value, name: &str) -> Option<Time> {
    text(row, name).parse().ok()
}

/// The first few names of rows, and how many more there are.
fn named<'a>(rows: &[&'a Value], name: &str) -> String {
    let few: Vec<&'a str> = rows.iter().take(NAMES_SHOWN_MAX).map(|row| text(row, name)).collect();
    let more = rows.len().saturating_sub(NAMES_SHOWN_MAX);
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    one_line(&format!("{}{rest}", few.join(", ")))
}

/// Organizations that issue nothing since a backup was restored.
pub(super) fn issuing(rows: &[Value], checks: &mut Checks) {
    let closed = rows.iter().filter(|row| text(row, "issuing") != "open");
    let names: Vec<String> = closed.map(|row| one_line(text(row, "name"))).collect();
    offline::issuing(&names, checks);
}

/// Agents that nobody answers for, and whose review is overdue.
pub(super) fn agents(rows: &[Value], now: Time, checks: &mut Checks) {
    let live: Vec<&Value> =
        rows.iter().filter(|row| text(row, "state") != "decommissioned").collect();
    let of = |test: &dyn Fn(&Value) -> bool| -> Vec<&Value> {
        live.iter().copied().filter(|row| test(row)).collect()
    };
    let unowned = of(&|row| row["owner"].is_null());
    if unowned.is_empty() {
        checks.ok(
            "owners",
            format!("{}, none without an owner", counted(live.len() as u64, "agent")),
        );
    } else {
        let found = format!("{} without an owner: {}", unowned.len(), named(&unowned, "name"));
        checks.warn("owners", found, "accredit agent update NAME --owner EMAIL");
    }
    let overdue = of(&|row| time(row, "review_due_at").is_some_and(|due| due < now));
    if overdue.is_empty() {
        checks.ok("reviews", "none is overdue");
    } else {
        let found = format!("{} overdue: {}", overdue.len(), named(&overdue, "name"));
        checks.warn("reviews", found, "look at it, then `accredit agent review NAME`");
    }
}

/// Credentials that end soon.
pub(super) fn credentials(rows: &[Value], now: Time, checks: &mut Checks) {
    let soon = now.seconds() + EXPIRES_SOON_DAYS * SECONDS_PER_DAY;
    let ending: Vec<&Value> = rows
        .iter()
        .filter(|row| text(row, "state") == "active")
        // What belongs to an instance ends with it, and what was rotated is meant to end.
        .filter(|row| row["instance"].is_null() && row["successor"].is_null())
        .filter(|row| time(row, "expires_at").is_some_and(|end| end.seconds() <= soon))
        .collect();
    if ending.is_empty() {
        checks.ok("credentials", format!("none ends within {EXPIRES_SOON_DAYS} days"));
        return;
    }
    let count = ending.len();
    let found = format!("{count} end within {EXPIRES_SOON_DAYS} days: {}", named(&ending, "id"));
    checks.warn("credentials", found, "create new ones and give them out before");
}

/// Whether the log can be brought up to now: the server does so before it answers.
pub(super) fn log(answer: &Value, checks: &mut Checks) {
    let lanes = answer["lanes"].as_array().map(Vec::as_slice).unwrap_or_default();
    if lanes.is_empty() || lanes.iter().any(|lane| lane["checkpoint"].is_null()) {
        let hint = "look for `log not integrated` in the server's log";
        return checks.fail("log", "there is no signed checkpoint", hint);
    }
    let covered: u64 = lanes.iter().filter_map(|lane| lane["size"].as_u64()).sum();
    checks.ok("log", format!("{}, all covered by a signed checkpoint", counted(covered, "event")));
}
