//! Sample exports, good and tampered with: for the tests here, and as files under `vectors/tlog`
//! for other verifiers. Keys, times and salts are fixed, so the files are the same on each run.

use std::fs;
use std::path::PathBuf;

use serde_json::json;

use super::super::checkpoint::Checkpoint;
use super::super::leaf::SALT_LEN;
use super::super::note::Vkey;
use super::super::succession;
use super::super::tree;
use super::*;
use crate::crypto::PrivateKey;
use crate::time::Time;
use crate::tlog::Hash;

const ISSUER: &str = "https://id.example/o/dev";

/// An event as the writer knows it.
#[derive(Clone)]
pub(super) struct Written {
    pub(super) lane: u16,
    pub(super) sequence: u64,
    pub(super) kind: &'static str,
    pub(super) at: i64,
    pub(super) payload: String,
    pub(super) pruned: bool,
}

impl Written {
    fn salt(&self) -> [u8; SALT_LEN] {
        [self.sequence as u8 + 16 * self.lane as u8; SALT_LEN]
    }

    fn record(&self, leaf: Hash) -> EventRecord<'_> {
        let kept = Body::Kept { salt: self.salt(), payload: &self.payload };
        let mut record = EventRecord {
            lane: self.lane,
            sequence: self.sequence,
            kind: self.kind,
            at: Time::from_micros(self.at),
            leaf,
            body: kept,
        };
        if self.pruned {
            record.body = Body::Pruned(record.digest());
        }
        record
    }

    /// Its line under this leaf.
    pub(super) fn line(&self, leaf: Hash) -> String {
        self.record(leaf).to_line()
    }
}

/// The key of a lane's log: `seed` 1 is the real one.
pub(super) fn key(lane: u16, seed: u8) -> (PrivateKey, Vkey) {
    let mut bytes = [seed; 32];
    bytes[0] = lane as u8;
    let key = PrivateKey::ed25519_from_seed(&bytes).expect("a key");
    let name = format!("id.example/o/dev/log/g1l{lane}");
    let vkey = Vkey::new(&name, &key.public().expect("public")).expect("a verifier key");
    (key, vkey)
}

pub(super) fn vkeys() -> Vec<Vkey> {
    (0..2).map(|lane| key(lane, 1).1).collect()
}

pub(super) fn note(lane: u16, size: u64, root: Hash, seed: u8) -> String {
    let (private, vkey) = key(lane, seed);
    let checkpoint = Checkpoint { origin: vkey.name().to_owned(), size, root };
    let signature = private.sign(&checkpoint.bytes_to_sign()).expect("a signature");
    checkpoint.note(&vkey, &signature)
}

/// Ten events of lane 0 and four of lane 1, mixed, one of them pruned.
pub(super) fn events() -> Vec<Written> {
    const KINDS: [&str; 3] = ["token.issued", "agent.registered", "revocation.made"];
    let place = [0, 1, 0, 0, 1, 0, 0, 1, 0, 0, 0, 1, 0, 0_u16];
    let mut next = [0, 0];
    place
        .iter()
        .enumerate()
        .map(|(n, &lane)| {
            let sequence = next[usize::from(lane)];
            next[usize::from(lane)] += 1;
            let payload =
                format!(r#"{{"note":"\"payload\":é{n}","rev":{n},"what":{{"n":[{n}]}}}}"#);
            Written {
                lane,
                sequence,
                kind: KINDS[n % KINDS.len()],
                at: 1_763_717_400_123_456 + 1_000_777 * n as i64,
                payload,
                pruned: n == 3,
            }
        })
        .collect()
}

/// The leaf hashes of one lane's events.
pub(super) fn leaves(events: &[Written], lane: u16) -> Vec<Hash> {
    let mut previous = Hash::ZERO;
    let own = events.iter().filter(|event| event.lane == lane);
    own.map(|event| {
        previous = event.record(Hash::ZERO).leaf_after(&previous);
        previous
    })
    .collect()
}

/// The file's lines: a checkpoint of each lane behind the fifth, the ninth and the last event.
pub(super) fn lines(events: &[Written]) -> Vec<String> {
    let lanes: Vec<LaneHeader> = (0..2)
        .map(|lane| LaneHeader {
            lane,
            origin: key(lane, 1).1.name().to_owned(),
            from: 0,
            previous: None,
        })
        .collect();
    let issuer = ISSUER.to_owned();
    let header = Header { accredit_export: 1, issuer, lanes, statements: Vec::new() };
    let mut lines = vec![header.to_line()];
    for (n, event) in events.iter().enumerate() {
        let leaves = leaves(&events[..=n], event.lane);
        lines.push(event.record(*leaves.last().expect("a leaf")).to_line());
        if [5, 9, events.len()].contains(&(n + 1)) {
            lines.extend((0..2).map(|lane| checkpoint(&events[..=n], lane, 1)));
        }
    }
    lines.push(end_line(events.len() as u64));
    lines
}

/// In which the key `by` of lane 0 names `successor`.
pub(super) fn statement(by: u8, successor: u8) -> String {
    statement_of("id.example/o/dev/log", by, successor)
}

pub(super) fn statement_of(name: &str, by: u8, successor: u8) -> String {
    let ((private, old), (_, new)) = (key(0, by), key(0, successor));
    let text = succession::text(name, new.key()).expect("a text");
    let signature = private.sign(text.as_bytes()).expect("a signature");
    succession::statement(name, old.key(), new.key(), &signature).expect("a statement")
}

/// The good export with the key of lane 0 rotated: the first checkpoint is signed by key 1, the
/// second by both, the third by key 2 alone.
pub(super) fn rotated(statements: Vec<String>) -> Vec<String> {
    let mut lines = lines(&events());
    let mut header = Header::read(&lines[0]).expect("a header");
    header.statements = statements;
    lines[0] = header.to_line();
    let at = checkpoints(&lines);
    let both = {
        let leaves = &leaves(&events(), 0)[..6];
        let (private, vkey) = key(0, 2);
        let root = tree::root(leaves);
        let checkpoint = Checkpoint { origin: vkey.name().to_owned(), size: 6, root };
        let signature = private.sign(&checkpoint.bytes_to_sign()).expect("a signature");
        note(0, 6, root, 1) + &vkey.signature_line(&signature)
    };
    lines[at[2]] = checkpoint_line(&both);
    lines[at[4]] = checkpoint(&events(), 0, 2);
    lines
}

/// The line of a checkpoint over all of these events of a lane.
pub(super) fn checkpoint(events: &[Written], lane: u16, seed: u8) -> String {
    let leaves = leaves(events, lane);
    checkpoint_line(&note(lane, leaves.len() as u64, tree::root(&leaves), seed))
}

/// Where the line of an event stands.
pub(super) fn line_of(lines: &[String], lane: u16, sequence: u64) -> usize {
    let start = format!(r#"{{"event":{{"lane":{lane},"seq":{sequence},"#);
    lines.iter().position(|line| line.starts_with(&start)).expect("the event's line")
}

pub(super) fn checkpoints(lines: &[String]) -> Vec<usize> {
    (0..lines.len()).filter(|n| lines[*n].starts_with(r#"{"checkpoint""#)).collect()
}

/// The good export with one line changed.
pub(super) fn with(
    at: impl Fn(&[String]) -> usize,
    change: impl Fn(&str) -> String,
) -> Vec<String> {
    let mut lines = lines(&events());
    let at = at(&lines);
    let changed = change(&lines[at]);
    assert_ne!(lines[at], changed, "the change changes something");
    lines[at] = changed;
    lines
}

/// The export of a changed history under the checkpoints of the good one.
pub(super) fn rehashed(change: impl Fn(&mut Vec<Written>)) -> Vec<String> {
    let good = lines(&events());
    let mut changed = events();
    change(&mut changed);
    let mut lines = lines(&changed);
    for at in checkpoints(&good) {
        lines[at].clone_from(&good[at]);
    }
    lines
}

/// The file cut behind a number of lines, with an end that fits.
pub(super) fn cut(mut lines: Vec<String>, at: usize) -> Vec<String> {
    lines.truncate(at);
    let events = lines.iter().filter(|line| line.starts_with(r#"{"event""#)).count();
    lines.push(end_line(events as u64));
    lines
}

/// The note over the first eight events of lane 0, which somebody kept.
pub(super) fn kept_note() -> String {
    note(0, 8, tree::root(&leaves(&events(), 0)[..8]), 1)
}

/// The event of lane 0 whose tampering the files show.
const TARGET: u64 = 4;

fn target(lines: &[String]) -> usize {
    line_of(lines, 0, TARGET)
}

/// Name, lines, and whether it is checked against the kept note.
fn files() -> Vec<(&'static str, Vec<String>, bool)> {
    let good = lines(&events());
    let edited_history = |events: &mut Vec<Written>| {
        let event = events.iter_mut().find(|event| (event.lane, event.sequence) == (0, TARGET));
        event.expect("the event").payload = r#"{"rev":99}"#.to_owned();
    };
    let mut resigned = events();
    edited_history(&mut resigned);
    let mut dropped = good.clone();
    dropped.remove(target(&good));
    let mut swapped = good.clone();
    swapped.swap(target(&good), line_of(&good, 0, TARGET + 1));
    let mut moved = good.clone();
    let line = moved.remove(target(&good));
    moved.insert(line_of(&moved, 0, 9) + 1, line);
    let mut repeated = good.clone();
    repeated.insert(target(&good) + 1, good[target(&good)].clone());
    let last = checkpoints(&good);
    let third = checkpoint(&events(), 0, 9);
    vec![
        ("good", good.clone(), false),
        ("good-against", good.clone(), true),
        ("payload-edited", with(target, |line| line.replace("\"rev\":", "\"rev\":1")), false),
        ("type-edited", with(target, |line| line.replace("\"type\":\"", "\"type\":\"x")), false),
        ("time-edited", with(target, |line| line.replace("\"at\":17", "\"at\":16")), false),
        ("leaf-edited", with(target, |line| other_hex(line, "\"leaf\":\"")), false),
        ("payload-edited-and-own-leaf", own_leaf_recomputed(&good), false),
        ("all-hashes-recomputed", rehashed(edited_history), false),
        ("dropped", dropped, false),
        ("swapped", swapped, false),
        ("moved", moved, false),
        ("repeated", repeated, false),
        ("id-edited", with(target, |line| line.replace("evt_0", "evt_1")), false),
        ("lane-edited", with(target, |line| line.replace("\"lane\":0", "\"lane\":1")), false),
        ("unsigned-tail", cut(good.clone(), good.len() - 3), false),
        ("cut-at-checkpoint", cut(good.clone(), last[3] + 1), false),
        ("cut-at-checkpoint-against", cut(good.clone(), last[3] + 1), true),
        ("no-end", good[..good.len() - 1].to_vec(), false),
        ("wrong-count", with(|lines| lines.len() - 1, |line| line.replace("14", "13")), false),
        ("forged-checkpoint", with(|lines| lines.len() - 3, move |_| third.clone()), false),
        ("bent-checkpoint", with(|_| last[2], |line| line.replace("\\n6\\n", "\\n7\\n")), false),
        ("resigned", lines(&resigned), false),
        ("resigned-against", lines(&resigned), true),
        ("rotated", rotated(vec![statement(1, 2)]), false),
        ("rotated-by-a-stranger", rotated(vec![statement(9, 2)]), false),
        ("malformed", with(target, |line| line.replace(",\"id\"", ", \"id\"")), false),
    ]
}

/// The good export with the target's payload and its own leaf hash changed, nothing after it.
pub(super) fn own_leaf_recomputed(good: &[String]) -> Vec<String> {
    let changed = rehashed(|events| {
        let event = events.iter_mut().find(|event| (event.lane, event.sequence) == (0, TARGET));
        event.expect("the event").payload = r#"{"rev":99}"#.to_owned();
    });
    let mut lines = good.to_vec();
    lines[target(good)].clone_from(&changed[target(good)]);
    lines
}

/// The line with the first hex digit behind `key` changed.
pub(super) fn other_hex(line: &str, key: &str) -> String {
    let (before, after) = line.split_once(key).expect("the key");
    let digit = if after.starts_with('0') { '1' } else { '0' };
    format!("{before}{key}{digit}{}", &after[1..])
}

pub(super) fn check(lines: &[String], kept: Option<&str>) -> Report {
    let mut auditor = Auditor::new(vkeys());
    if let Some(note) = kept {
        auditor.against(note.as_bytes()).expect("a kept note");
    }
    for line in lines {
        auditor.line(line);
    }
    auditor.finish()
}

/// What another verifier is to say of a file.
fn verdict(report: &Report) -> serde_json::Value {
    let finding = report.findings.first().map(|finding| {
        let finding = serde_json::to_value(finding).expect("JSON");
        json!({ "kind": finding["kind"], "lane": finding["lane"], "seq": finding["seq"] })
    });
    json!({ "ok": report.ok, "events": report.events, "finding": finding })
}

#[test]
fn the_vectors_on_disk_are_what_this_code_writes_and_finds() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("vectors/tlog");
    let keys: Vec<String> = vkeys().iter().map(Vkey::to_string).collect();
    let mut contents = vec![
        ("keys.txt".to_owned(), format!("# one verifier key a line\n{}\n", keys.join("\n"))),
        ("older.note".to_owned(), kept_note()),
    ];
    let mut expected = String::new();
    let telling = telling::files().into_iter().map(|(name, lines)| (name, lines, false));
    for (name, lines, against) in files().into_iter().chain(telling) {
        let kept = kept_note();
        let report = check(&lines, against.then_some(kept.as_str()));
        let (file, verdict) = (format!("{name}.ndjson"), verdict(&report));
        let older = against.then_some("older.note");
        let line = json!({ "file": file, "older": older, "verdict": verdict });
        expected += &line.to_string();
        expected.push('\n');
        contents.push((file, format!("{}\n", lines.join("\n"))));
    }
    contents.push(("expected.ndjson".to_owned(), expected));
    let mut written = Vec::new();
    for (name, content) in contents {
        let path = folder.join(&name);
        if let Ok(stored) = fs::read_to_string(&path) {
            assert!(stored == content, "{name} differs: delete it to have it written anew");
        } else {
            fs::write(&path, content).expect("a file");
            written.push(name);
        }
    }
    assert!(written.is_empty(), "missing files were written, run the test again: {written:?}");
}
