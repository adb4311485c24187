//! What a list is asked for, in the words that all lists share: `limit`, `cursor`, `sort`, `q`,
//! `state`, and for a time `x_at` of its rows `x_after` (at that time or later) and `x_before`.
//!
//! Which of them a list takes stands in the table of endpoints. A cursor holds for the list, the
//! order and the filters that it was given for: it is bound to them by a hash, so that one in
//! another place is refused and does not silently leave rows out. It is a bookmark and no secret;
//! whoever makes one up reads what they may read anyway.

use accredit_domain::Refusal;
use accredit_domain::ports::{Order, Page, Span};
use accredit_domain::registry::{Listed, PAGE_ROWS_DEFAULT, PAGE_ROWS_MAX};
use accredit_wire::crypto::sha256;
use accredit_wire::jose::{b64url_decode, b64url_encode};
use accredit_wire::time::Time;
use serde::Serialize;

use super::ok;
use crate::dispatch::Call;
use crate::failure::Failure;
use crate::reply::Reply;

/// Bytes of the hash that binds a cursor: it catches mistakes, and is no authentication.
const BOUND_BYTES: usize = 8;

/// A page that is asked for, and what its cursors are bound to.
pub(super) struct Asked {
    /// The page.
    pub(super) page: Page,
    list: String,
}

impl Asked {
    /// What the query asks for.
    pub(super) fn of(call: &Call) -> Result<Self, Failure> {
        let given = |name| call.query(name).filter(|_| call.endpoint.query.contains(&name));
        let prefix = given("q");
        let sort = sort(call.endpoint.sorts, given("sort").as_deref(), prefix.is_some())?;
        let list = list(call, sort);
        let cursor = given("cursor").map(|cursor| unbound(&list, &cursor)).transpose()?;
        let page = Page {
            cursor,
            order: order(sort),
            prefix,
            limit: limit(given("limit").as_deref())?,
            state: given("state"),
            created: span(call, &["created"])?,
            due: span(call, &["expires", "review_due"])?,
            used: span(call, &["last_seen", "last_used"])?,
            ..Page::default()
        };
        Ok(Self { page, list })
    }

    /// A page as an answer: what comes next is bound to what was asked.
    pub(super) fn answer<T: Serialize>(&self, mut page: Listed<T>) -> Result<Reply, Failure> {
        page.next = page.next.map(|place| bound(&self.list, &place));
        ok(&page)
    }
}

/// A list with its order and its filters, as a text.
fn list(call: &Call, sort: &str) -> String {
    let mut text = format!("{}\n{sort}", call.uri_path());
    for name in call.endpoint.query {
        if !["limit", "cursor", "sort", "after"].contains(name) {
            let value = call.query(name).unwrap_or_default();
            // With its length, so that no value looks like two.
            text.extend(["\n", name, " ", &value.len().to_string(), " ", &value]);
        }
    }
    text
}

fn hash(list: &str, place: &str) -> [u8; 32] {
    sha256(format!("accredit cursor\n{place}\n{list}").as_bytes())
}

fn bound(list: &str, place: &str) -> String {
    let hash = hash(list, place);
    b64url_encode(&[&hash[..BOUND_BYTES], place.as_bytes()].concat())
}

fn unbound(list: &str, cursor: &str) -> Result<String, Refusal> {
    let place = b64url_decode(cursor).ok().and_then(|bytes| {
        let (hashed, place) = bytes.split_at_checked(BOUND_BYTES)?;
        let place = std::str::from_utf8(place).ok()?;
        (hashed == &hash(list, place)[..BOUND_BYTES]).then(|| place.to_owned())
    });
    place.ok_or_else(|| {
        Refusal::field(
            "cursor",
            "was not given for this list with this `sort` and these filters",
            "take it from `next` and leave `sort` and the filters as they were, or begin without it",
        )
    })
}

/// The order that `sort` names, of those that the list has, the first where nothing is named. A
/// search by name is answered by name.
fn sort(
    known: &[&'static str],
    asked: Option<&str>,
    by_name: bool,
) -> Result<&'static str, Refusal> {
    let is_name = |sort: &&str| !by_name || order(sort).is_by_name();
    let Some(asked) = asked else {
        return Ok(known.iter().copied().find(is_name).unwrap_or_default());
    };
    let Some(found) = known.iter().copied().find(|sort| *sort == asked) else {
        let hint = format!("use one of: {}", known.join(", "));
        return Err(Refusal::field("sort", "is no order that this list has", hint));
    };
    if !is_name(&found) {
        return Err(Refusal::field(
            "sort",
            "does not go with `q`, which is answered in order of name",
            "leave out `sort`, or use `name` or `-name`",
        ));
    }
    Ok(found)
}

/// The order behind its name.
fn order(sort: &str) -> Order {
    match sort {
        "-created_at" => Order::Newest,
        "name" | "resource" | "subject" => Order::Name,
        "-name" | "-resource" | "-subject" => Order::NameBackwards,
        "expires_at" | "review_due_at" => Order::Due,
        "-expires_at" | "-review_due_at" => Order::DueBackwards,
        _ => Order::Oldest,
    }
}

/// Between which times of one of these names, of which a list has one at most.
fn span(call: &Call, names: &[&str]) -> Result<Span, Refusal> {
    let mut span = Span::default();
    for parameter in call.endpoint.query {
        let Some((name, end)) = parameter.rsplit_once('_') else { continue };
        if !names.contains(&name) {
            continue;
        }
        let wrong = |error| {
            let hint = "write the offset as `Z`, or a `+` of it as `%2B`";
            Refusal::field(parameter, error, hint)
        };
        let time = call.query(parameter).map(|text| text.parse::<Time>());
        let time = time.transpose().map_err(wrong)?;
        match end {
            "after" => span.from = time,
            _ => span.before = time,
        }
    }
    Ok(span)
}

fn limit(text: Option<&str>) -> Result<usize, Refusal> {
    let Some(text) = text else { return Ok(PAGE_ROWS_DEFAULT) };
    match text.parse() {
        Ok(limit) if (1..=PAGE_ROWS_MAX).contains(&limit) => Ok(limit),
        _ => Err(Refusal::field(
            "limit",
            format!("must be from 1 to {PAGE_ROWS_MAX}"),
            "follow `next` for more",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_holds_for_its_list_alone() {
        let cursor = bound("agents by name", "bot");
        assert!(unbound("agents by name", &cursor).is_ok_and(|place| place == "bot"));
        assert!(unbound("agents", &cursor).is_err());
        for wrong in ["", "x", "bot", "=", "AAAA", &cursor[1..], &cursor[..cursor.len() - 1]] {
            assert!(unbound("agents by name", wrong).is_err(), "{wrong}");
        }
        // What names and ids may hold goes into a query as it is.
        let cursor = bound("persons", "jo+x@example.com&limit=1 \u{10ffff}");
        assert!(cursor.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
    }
}
