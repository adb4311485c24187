//! What a server says to anybody: whether it is ready, its clock, and its issuers.

use accredit_net::Client;
use accredit_wire::time::Time;
use bytes::Bytes;
use http::header::{ACCEPT, DATE};
use http::{Request, StatusCode};
use serde_json::Value;

use super::Checks;
use crate::api::ANSWER_BYTES_MAX;
use crate::errors::plain;

/// Seconds that two clocks may be apart without a remark.
const SKEW_WARN_SECONDS: i64 = 5;
/// Seconds from which tokens and assertions are refused for it.
const SKEW_FAIL_SECONDS: i64 = 60;

/// Asks the server at `url`, and for the issuers of organizations that it should have.
pub(super) async fn check(
    client: &Client,
    (url, organizations): (&str, &[String]),
    now: Time,
    checks: &mut Checks,
) {
    let answer = match get(client, &format!("{url}/readyz?verbose")).await {
        Ok(answer) => answer,
        Err(error) => {
            let hint = "start it with `accredit serve`; from another machine, look at name, \
                        firewall and proxy";
            return checks.fail("reachable", format!("{url}: {}", plain(&error)), hint);
        }
    };
    checks.ok("reachable", url);
    ready(answer.status(), answer.body(), checks);
    let date = answer.headers().get(DATE).and_then(|date| date.to_str().ok());
    clock(date, now, checks);
    if let Some(name) = organizations.first() {
        issuer(client, url, name, checks).await;
    }
}

async fn get(client: &Client, url: &str) -> Result<http::Response<Bytes>, String> {
    let request = Request::get(url).header(ACCEPT, "application/json").body(Bytes::new());
    let request = request.map_err(|error| error.to_string())?;
    client.send(request, ANSWER_BYTES_MAX).await.map_err(|error| error.to_string())
}

/// The degraded states that the server names.
pub(super) fn ready(status: StatusCode, body: &[u8], checks: &mut Checks) {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let Some(told) = body["checks"].as_array() else {
        let found = format!("`/readyz` answered {} and is not understood", status.as_u16());
        return checks.fail("ready", found, "does the URL name an Accredit server?");
    };
    let states: Vec<&Value> =
        told.iter().filter_map(|check| check["states"].as_array()).flatten().collect();
    for state in &states {
        let text = |name: &str| plain(state[name].as_str().unwrap_or_default());
        let found = format!("{} since {}", text("state"), text("since"));
        if state["blocks"] == true {
            checks.fail("ready", found, text("hint"));
        } else {
            checks.warn("ready", found, text("hint"));
        }
    }
    if states.is_empty() && status == StatusCode::OK {
        checks.ok("ready", "no degraded state");
    } else if states.is_empty() {
        let found = format!("`/readyz` answered {}", status.as_u16());
        checks.fail("ready", found, "look into the server's log");
    }
}

/// The server's clock beside ours (RFC 9110 section 6.6.1).
pub(super) fn clock(date: Option<&str>, now: Time, checks: &mut Checks) {
    let parse = |date| jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(date).ok();
    let Some(theirs) = date.and_then(parse) else {
        return checks.warn("clock", "the server does not say what time it has", "");
    };
    let apart = theirs.as_second() - now.seconds();
    let found = format!("the server's clock is {apart} s from this machine's");
    let hint = "let both machines take their time from a time server";
    match apart.abs() {
        0..=SKEW_WARN_SECONDS => checks.ok("clock", found),
        ..SKEW_FAIL_SECONDS => checks.warn("clock", found, hint),
        _ => checks.fail("clock", found, hint),
    }
}

/// Whether the server says that it is where it is reached (RFC 8414 section 3.3).
async fn issuer(client: &Client, url: &str, org: &str, checks: &mut Checks) {
    let expected = format!("{url}/o/{org}");
    let document = format!("{expected}/.well-known/openid-configuration");
    let hint = "compare `public_url`, and what a proxy in front does with paths";
    let answer = match get(client, &document).await {
        Ok(answer) => answer,
        Err(error) => return checks.fail("issuer", plain(&error), hint),
    };
    let body: Value = serde_json::from_slice(answer.body()).unwrap_or_default();
    match body["issuer"].as_str() {
        Some(issuer) if issuer == expected => checks.ok("issuer", expected),
        Some(issuer) => {
            let found = format!("{document} names `{}`, not `{expected}`", plain(issuer));
            checks.fail("issuer", found, hint);
        }
        None => {
            let found = format!("{document} answered {}", answer.status().as_u16());
            checks.fail("issuer", found, hint);
        }
    }
}
