//! An event on one line: when, what, by whom, about what, and how it was decided.

use serde_json::Value;

use crate::errors::one_line;
use crate::output::{Column, shown};

/// The columns of a list of events.
pub(super) const COLUMNS: [Column; 5] = [
    Column::new("TIME", "time"),
    Column::new("TYPE", "type"),
    Column::made("ACTOR", actor),
    Column::new("ID", "id"),
    Column::made("ABOUT", about),
];

/// The members of a payload that tell what it is about, in the order in which they are read.
const ABOUT: [&str; 15] = [
    "decision",
    "error",
    "rule",
    "name",
    "target",
    "agent",
    "instance",
    "resource",
    "credential",
    "owner",
    "scope",
    "audience",
    "count",
    "rev",
    "reason",
];

/// The width of the longest type of event.
const TYPE_WIDTH: usize = 22;

fn payload<'e>(event: &'e Value, name: &str) -> Option<&'e Value> {
    event.get("payload")?.get(name)
}

/// Who did it.
fn actor(event: &Value) -> String {
    let actor = payload(event, "actor");
    let member = |name: &str| actor.and_then(|actor| actor.get(name)).and_then(Value::as_str);
    member("id").or_else(|| member("kind")).unwrap_or("-").to_owned()
}

/// What it is about, as `name=value`.
fn about(event: &Value) -> String {
    let pairs = ABOUT.iter().filter_map(|name| {
        let text = shown(payload(event, name)?);
        Some(if text.contains(' ') {
            format!("{name}=\"{text}\"")
        } else {
            format!("{name}={text}")
        })
    });
    pairs.collect::<Vec<_>>().join(" ")
}

/// One line of a tail.
pub(super) fn line(event: &Value) -> String {
    let text = |name: &str| one_line(event.get(name).and_then(Value::as_str).unwrap_or("-"));
    let (time, kind, id) = (text("time"), text("type"), text("id"));
    let actor = one_line(&actor(event));
    let line = format!("{time}  {id}  {kind:TYPE_WIDTH$}  {actor}  {}", about(event));
    line.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_event_is_one_line_that_cannot_drive_the_terminal() {
        let event = json!({"id": "evt_1", "type": "token.refused", "time": "2025-11-21T09:30:00Z",
            "payload": {"actor": {"id": "agt_1", "kind": "agent"}, "decision": "deny",
                "rule": "scope.not_granted", "reason": "a\nb\u{1b}", "v": 1}});
        assert_eq!(
            line(&event),
            "2025-11-21T09:30:00Z  evt_1  token.refused           agt_1  decision=deny \
             rule=scope.not_granted reason=\"a b\\u{1b}\""
        );
    }

    #[test]
    fn an_erased_payload_leaves_the_rest() {
        let event = json!({"id": "evt_1", "type": "token.issued", "time": "t"});
        assert_eq!(line(&event), "t  evt_1  token.issued            -");
    }
}
