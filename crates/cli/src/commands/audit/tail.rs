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
        match reader.next_page().await {
            Ok(events) if events.is_empty() => tokio::time::sleep(POLL_EVERY).await,
            Ok(events) => print(&events, cx)?,
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
            event::line(&serde_json::from_str(raw.get()).unwrap_or_default())
        };
        output::line(&text)?;
    }
    Ok(())
}

/// Reads the log forwards from a place.
struct Reader<'a> {
    api: &'a Api,
    kind: Option<String>,
    after: Option<String>,
}

impl Reader<'_> {
    /// The events behind the last one that was read, at most a page of them.
    async fn next_page(&mut self) -> Result<Vec<Box<RawValue>>, Failure> {
        let path =
            all().query_opt("after", self.after.as_deref()).query_opt("type", self.kind.as_deref());
        let page = self.api.list(path, PAGE_ITEMS_MAX, None).await?;
        if let Some(last) = page.items.last() {
            self.after =
                Some(event_id(last).ok_or_else(|| {
                    Failure::not_understood(self.api.url(), "an event has no id")
                })?);
        }
        Ok(page.items)
    }

    /// The newest `lines` events; the reader then stands behind them.
    async fn newest(&mut self, lines: usize) -> Result<Vec<Box<RawValue>>, Failure> {
        if self.kind.is_none() {
            self.after = self.place_before_newest(lines).await?;
        }
        let mut newest = VecDeque::new();
        loop {
            let events = self.next_page().await?;
            if events.is_empty() {
                return Ok(newest.into());
            }
            newest.extend(events);
            newest.drain(..newest.len().saturating_sub(lines));
        }
    }

    /// An id to begin behind so that little more than `lines` events follow; nothing where only
    /// the beginning is known. An event's id is its place in the log, so one can be made up.
    async fn place_before_newest(&self, lines: usize) -> Result<Option<String>, Failure> {
        let log = self.api.get(RequestPath::new("/v1/log")).await?;
        let lanes = log.value.get("lanes").and_then(Value::as_array);
        let Some([lane]) = lanes.map(Vec::as_slice) else { return Ok(None) };
        let number = |name: &str| lane.get(name).and_then(Value::as_u64);
        let (Some(size), Some(lane)) = (number("size"), number("lane")) else { return Ok(None) };
        let Some(before) = size.checked_sub(lines as u64 + 1) else { return Ok(None) };
        let lane = u16::try_from(lane).unwrap_or_default();
        Ok(Some(EventId::at(0, lane, before).to_string()))
    }
}

fn event_id(event: &RawValue) -> Option<String> {
    let event: Value = serde_json::from_str(event.get()).ok()?;
    event.get("id").and_then(Value::as_str).map(str::to_owned)
}
