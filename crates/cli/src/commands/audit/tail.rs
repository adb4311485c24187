//! `accredit audit tail`: the newest events, and those that come.

use std::collections::VecDeque;
use std::time::Duration;

use accredit_wire::ids::EventId;
use serde_json::Value;
use serde_json::value::RawValue;

use super::{Tail, all, event};
use crate::api::{Api, PAGE_ITEMS_MAX};
use crate::context::Context;
use crate::errors::Failure;
use crate::exit::Exit;
use crate::output;
use crate::request_path::RequestPath;

/// How often a follower asks for new events.
const POLL_EVERY: Duration = Duration::from_secs(1);

/// Prints the newest events, and with `--follow` those that come until the keyboard ends it.
pub(super) async fn run(args: Tail, cx: &Context) -> Result<(), Failure> {
    let api = cx.api()?;
    let mut reader = Reader { api: &api, kind: args.filter.kind, after: None };
    let newest = reader.newest(args.lines as usize).await?;
    print(&newest, cx)?;
    if args.follow { follow(&mut reader, cx).await } else { Ok(()) }
}

#[expect(clippy::disallowed_methods, reason = "a follower waits between two questions")]
async fn follow(reader: &mut Reader<'_>, cx: &Context) -> Result<(), Failure> {
    loop {
        // Of all types: a search for a rare one would look through the whole log each time.
        match reader.page(false).await {
            Ok(events) if events.is_empty() => tokio::time::sleep(POLL_EVERY).await,
            Ok(mut events) => {
                events.retain(|event| reader.is_wanted(event));
                print(&events, cx)?;
            }
            Err(failure) if failure.exit == Exit::Unreachable => {
                cx.out.warn(&format!("{}; still trying", failure.title));
                tokio::time::sleep(5 * POLL_EVERY).await;
            }
            Err(failure) => return Err(failure),
        }
    }
}

fn print(events: &[Box<RawValue>], cx: &Context) -> Result<(), Failure> {
    for raw in events {
        let text = if cx.out.is_json() {
            crate::json_text::compact(raw.get())
        } else {
            event::line(&parsed(raw))
        };
        output::line(&text)?;
    }
    Ok(())
}

fn parsed(event: &RawValue) -> Value {
    serde_json::from_str(event.get()).unwrap_or_default()
}

/// Reads the log forwards from a place.
struct Reader<'a> {
    api: &'a Api,
    kind: Option<String>,
    after: Option<String>,
}

impl Reader<'_> {
    /// The events behind the last one that was read, at most a page of them.
    async fn page(&mut self, of_the_type: bool) -> Result<Vec<Box<RawValue>>, Failure> {
        let kind = self.kind.as_deref().filter(|_| of_the_type);
        let path = all().query_opt("after", self.after.as_deref()).query_opt("type", kind);
        let page = self.api.list(path, PAGE_ITEMS_MAX, None).await?;
        if let Some(last) = page.items.last() {
            let last = parsed(last).get("id").and_then(Value::as_str).map(str::to_owned);
            self.after =
                Some(last.ok_or_else(|| {
                    Failure::not_understood(self.api.url(), "an event has no id")
                })?);
        }
        Ok(page.items)
    }

    /// Whether an event is of the type that was asked for, or of one below it.
    fn is_wanted(&self, event: &RawValue) -> bool {
        let Some(wanted) = &self.kind else { return true };
        let event = parsed(event);
        let kind = event.get("type").and_then(Value::as_str).unwrap_or_default();
        kind.strip_prefix(wanted.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }

    /// The newest `lines` events; the reader then stands behind the log's end as it was.
    async fn newest(&mut self, lines: usize) -> Result<Vec<Box<RawValue>>, Failure> {
        let end = self.end().await?;
        if let (None, Some((lane, size))) = (&self.kind, end) {
            self.after = place_before(lane, size, lines as u64 + 1);
        }
        let mut newest = VecDeque::new();
        loop {
            let events = self.page(true).await?;
            if events.is_empty() {
                break;
            }
            newest.extend(events);
            newest.drain(..newest.len().saturating_sub(lines));
        }
        if let Some((lane, size)) = end {
            let place = self.after.as_ref().and_then(|id| id.parse::<EventId>().ok());
            // Events of other types that were passed over need not be looked at again.
            if place.is_none_or(|id| id.place().0 < lane || id.place().1 + 1 < size) {
                self.after = place_before(lane, size, 1);
            }
        }
        Ok(newest.into())
    }

    /// The lane that is written to, the last one, and its size.
    async fn end(&self) -> Result<Option<(u16, u64)>, Failure> {
        let log = self.api.get(RequestPath::new("/v1/log")).await?;
        let lanes = log.value.get("lanes").and_then(Value::as_array);
        let Some(lane) = lanes.and_then(|lanes| lanes.last()) else { return Ok(None) };
        let number = |name: &str| lane.get(name).and_then(Value::as_u64);
        let lane = number("lane").and_then(|lane| u16::try_from(lane).ok());
        Ok(lane.zip(number("size")))
    }
}

/// The id of an event's place so many before the end, to read on behind it; nothing for the
/// beginning. An event's id is its place in the log, so one can be made up.
fn place_before(lane: u16, size: u64, count: u64) -> Option<String> {
    Some(EventId::at(0, lane, size.checked_sub(count)?).to_string())
}
