//! What a forger would do to an exported log: change what was said, or leave out the end.

use accredit_wire::tlog::export::end_line;
use serde_json::Value;

/// A copy in which one event says something else.
#[derive(Debug)]
pub(super) struct Edited {
    /// The copy.
    pub(super) text: String,
    /// The number of the event.
    pub(super) seq: u64,
    /// Its id.
    pub(super) id: String,
}

/// A copy that ends early.
#[derive(Debug)]
pub(super) struct Cut {
    /// The copy.
    pub(super) text: String,
    /// How many events it has.
    pub(super) events: u64,
}

/// Changes the scope of the first issued token whose scope is `from`. Everything else, also that
/// event's own hash, stays as it is. `None` where there is no such event.
pub(super) fn change_scope(export: &str, from: &str, to: &str) -> Option<Edited> {
    let (line, event) = export.lines().find_map(|line| {
        let value: Value = serde_json::from_str(line).ok()?;
        let event = value.get("event")?;
        let scope = event.get("payload")?.get("scope")?.as_str()?;
        (event.get("type")?.as_str()? == "token.issued" && scope == from)
            .then(|| (line, event.clone()))
    })?;
    let said = |scope: &str| format!("\"scope\":\"{scope}\"");
    let changed = line.replacen(&said(from), &said(to), 1);
    Some(Edited {
        text: export.replacen(line, &changed, 1),
        seq: event.get("seq")?.as_u64()?,
        id: event.get("id")?.as_str()?.to_owned(),
    })
}

/// Ends the log at the last signed checkpoint before the first event of a type, with a matching
/// end, so that nothing inside the copy is wrong. `None` where there is no such event, or no
/// checkpoint before it.
pub(super) fn cut_before(export: &str, kind: &str) -> Option<Cut> {
    let sought = format!("\"type\":\"{kind}\"");
    let (mut events, mut checkpoint, mut found) = (0u64, None, false);
    for (number, line) in export.lines().enumerate() {
        if line.starts_with(r#"{"event":"#) {
            found = line.contains(&sought);
            events += 1;
        } else if line.starts_with(r#"{"checkpoint":"#) && events > 0 {
            checkpoint = Some((number, events));
        }
        if found {
            break;
        }
    }
    let (number, events) = checkpoint.filter(|_| found)?;
    let kept = export.lines().take(number + 1).map(str::to_owned);
    let lines: Vec<String> = kept.chain([end_line(events)]).collect();
    Some(Cut { text: lines.join("\n") + "\n", events })
}

#[cfg(test)]
mod tests {
    use super::*;
    use accredit_wire::ids::EventId;
    use accredit_wire::time::Time;
    use accredit_wire::tlog::Hash;
    use accredit_wire::tlog::export::{Body, EventRecord, Header, LaneHeader, checkpoint_line};

    fn event(sequence: u64, kind: &str, payload: &str) -> String {
        let record = EventRecord {
            lane: 0,
            sequence,
            kind,
            at: Time::from_seconds(1_763_717_400),
            leaf: Hash::ZERO,
            body: Body::Kept { salt: [7; 16], payload },
        };
        record.to_line()
    }

    fn export() -> String {
        let lane = LaneHeader {
            lane: 0,
            origin: "id.example/o/dev/log/g1l0".into(),
            from: 0,
            previous: None,
        };
        let header = Header {
            accredit_export: 1,
            issuer: "https://id.example/o/dev".into(),
            lanes: vec![lane],
            statements: Vec::new(),
        };
        let lines = [
            header.to_line(),
            event(0, "organization.created", r#"{"name":"dev"}"#),
            checkpoint_line("one"),
            event(1, "agent.created", r#"{"scope":"crm:read"}"#),
            event(2, "token.issued", r#"{"scope":"crm:update"}"#),
            checkpoint_line("three"),
            event(3, "token.issued", r#"{"agent":"a","scope":"crm:read"}"#),
            event(4, "instance.revoked", r#"{"agent":"b","scope":"crm:read"}"#),
            checkpoint_line("five"),
            end_line(5),
        ];
        lines.join("\n") + "\n"
    }

    #[test]
    fn one_word_of_one_event_is_changed_and_nothing_else() {
        let export = export();
        let edited = change_scope(&export, "crm:read", "crm:update").expect("an event");
        assert_eq!(edited.seq, 3);
        assert_eq!(edited.id, EventId::at(1_763_717_400_000, 0, 3).to_string());
        let pairs = export.lines().zip(edited.text.lines());
        let changed: Vec<(&str, &str)> = pairs.filter(|(was, is)| was != is).collect();
        let [(was, is)] = changed[..] else { panic!("{changed:?}") };
        assert_eq!(is, was.replace("crm:read", "crm:update"));
        assert_eq!(edited.text.lines().count(), export.lines().count());
        assert!(change_scope(&export, "crm:delete", "crm:read").is_none());
    }

    #[test]
    fn a_cut_copy_ends_at_the_last_checkpoint_before_what_is_to_be_hidden() {
        let export = export();
        let cut = cut_before(&export, "instance.revoked").expect("a checkpoint before it");
        assert_eq!(cut.events, 3);
        let lines: Vec<&str> = cut.text.lines().collect();
        assert_eq!(lines[lines.len() - 2..], [checkpoint_line("three"), end_line(3)]);
        assert!(export.starts_with(&lines[..lines.len() - 1].join("\n")));
        let earlier = cut_before(&export, "token.issued").expect("a checkpoint before it");
        assert_eq!(earlier.events, 1);
        assert!(cut_before(&export, "organization.created").is_none(), "nothing before it");
        assert!(cut_before(&export, "agent.deleted").is_none(), "no such event");
    }
}
