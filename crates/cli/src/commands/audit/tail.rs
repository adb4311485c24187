//! `accredit audit tail`: the newest events, and those that come.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

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
    let mut reader = Reader { api: &api, kind: args.filter.kind, next: BTreeMap::new() };
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

/// Reads the log forwards.
struct Reader<'a> {
    api: &'a Api,
    kind: Option<String>,
    /// Of each lane, the sequence number that comes next. A lane that is not among them began later.
    next: BTreeMap<u16, u64>,
}

impl Reader<'_> {
    /// The events behind those that were read, at most a page of them.
    async fn page(&mut self, of_the_type: bool) -> Result<Vec<Box<RawValue>>, Failure> {
        let kind = self.kind.as_deref().filter(|_| of_the_type);
        let path = all().query_opt("after", self.after().as_deref()).query_opt("type", kind);
        let page = self.api.list(path, PAGE_ITEMS_MAX, None).await?;
        for event in &page.items {
            let (lane, sequence) = place(&parsed(event)).ok_or_else(|| {
                Failure::not_understood(self.api.url(), "an event has no lane or number")
            })?;
            self.next.insert(lane, sequence + 1);
        }
        Ok(page.items)
    }

    /// The cursor that stands for what was read; nothing for the beginning.
    fn after(&self) -> Option<String> {
        let parts: Vec<_> = self.next.iter().map(|(lane, next)| format!("{lane}.{next}")).collect();
        (!parts.is_empty()).then(|| parts.join("-"))
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
        let sizes = self.sizes().await?;
        let back = if self.kind.is_none() { lines as u64 } else { u64::MAX };
        self.next = sizes.iter().map(|(lane, size)| (*lane, size.saturating_sub(back))).collect();
        let mut newest = VecDeque::new();
        loop {
            let events = self.page(true).await?;
            if events.is_empty() {
                break;
            }
            newest.extend(events);
            newest.drain(..newest.len().saturating_sub(lines));
        }
        for (lane, size) in sizes {
            // Events of other types that were passed over need not be looked at again.
            let next = self.next.entry(lane).or_default();
            *next = size.max(*next);
        }
        Ok(newest.into())
    }

    /// The lanes of the log and how long each is.
    async fn sizes(&self) -> Result<BTreeMap<u16, u64>, Failure> {
        let log = self.api.get(RequestPath::new("/v1/log")).await?;
        let lanes = log.value.get("lanes").and_then(Value::as_array);
        let size = |lane: &Value| {
            let number = lane.get("lane").and_then(Value::as_u64)?;
            Some((u16::try_from(number).ok()?, lane.get("size").and_then(Value::as_u64)?))
        };
        Ok(lanes.map(|lanes| lanes.iter().filter_map(size).collect()).unwrap_or_default())
    }
}

/// The lane and the sequence number of an event.
fn place(event: &Value) -> Option<(u16, u64)> {
    let lane = u16::try_from(event.get("lane")?.as_u64()?).ok()?;
    Some((lane, event.get("seq")?.as_u64()?))
}
