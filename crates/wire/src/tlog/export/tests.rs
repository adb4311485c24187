use proptest::prelude::*;

use super::vectors::*;
use super::*;
use crate::ids::EventId;
use crate::tlog::note::{NoteError, Vkey};
use crate::tlog::{Hash, tree};

fn first(lines: &[String]) -> Finding {
    let report = check(lines, None);
    assert!(!report.ok && !report.findings.is_empty());
    report.findings[0].clone()
}

fn only(lines: &[String]) -> Finding {
    let report = check(lines, None);
    assert_eq!(report.findings.len(), 1, "{:?}", report.findings);
    report.findings[0].clone()
}

fn id_of(lane: u16, sequence: u64) -> EventId {
    let events = events();
    let event = events.iter().find(|event| (event.lane, event.sequence) == (lane, sequence));
    EventId::at(event.expect("the event").at as u64 / 1000, lane, sequence)
}

fn edited(seq: u64) -> Finding {
    Finding::Edited { lane: 0, seq, id: id_of(0, seq).to_string() }
}

/// Lane 0 has checkpoints at these sizes.
const SIZES: [u64; 3] = [3, 6, 10];

#[test]
fn an_untouched_export_is_found_good_and_complete() {
    let report = check(&lines(&events()), Some(&kept_note()));
    assert_eq!(report.findings, []);
    assert!(report.ok && report.complete);
    assert_eq!((report.events, report.checkpoints), (14, 6));
    assert_eq!(report.lanes[0].size, 10);
    assert_eq!(report.lanes[0].proven, 10);
    assert_eq!(report.lanes[0].root, Some(tree::root(&leaves(&events(), 0)).to_string()));
    assert_eq!((report.lanes[1].lane, report.lanes[1].size), (1, 4));
}

#[test]
fn an_edit_of_any_part_of_any_event_is_named_exactly() {
    for seq in 0..10 {
        let at = |lines: &[String]| line_of(lines, 0, seq);
        let edits: [(&str, &str); 4] = [
            ("\"type\":\"", "\"type\":\"x"),
            ("\"at\":17", "\"at\":16"),
            ("\"rev\":", "\"rev\":1"),
            ("\"salt\":\"", ""),
        ];
        for (from, to) in edits {
            if seq == 2 && (from.contains("rev") || from.contains("salt")) {
                continue; // its payload is erased
            }
            let lines = with(at, |line| match to {
                "" => {
                    let letter = if line.contains("\"salt\":\"A") { "B" } else { "A" };
                    let salt = line.find(from).expect("a salt") + from.len();
                    format!("{}{letter}{}", &line[..salt], &line[salt + 1..])
                }
                _ => line.replace(from, to),
            });
            assert_eq!(only(&lines), edited(seq), "{from}");
        }
        // The recorded leaf hash alone: the event is named, and the rest is still proven.
        let lines = with(at, |line| other_hex(line, "\"leaf\":\""));
        assert_eq!(only(&lines), edited(seq));
    }
    let lines = with(|lines| line_of(lines, 0, 2), |line| other_hex(line, "\"digest\":\""));
    assert_eq!(only(&lines), edited(2), "the digest of an erased payload");
}

#[test]
fn an_edit_whose_own_hash_was_recomputed_is_named_by_the_broken_link() {
    let lines = own_leaf_recomputed(&lines(&events()));
    let findings = check(&lines, None).findings;
    assert_eq!(findings, [edited(4), Finding::RootMismatch { lane: 0, good: 3, bad: 6 }]);
}

#[test]
fn hashes_recomputed_to_the_end_are_caught_by_the_next_root() {
    for seq in 0..10_u64 {
        let lines = rehashed(|events| {
            let event = events.iter_mut().find(|event| (event.lane, event.sequence) == (0, seq));
            event.expect("the event").at += 1;
        });
        let bad = *SIZES.iter().find(|size| **size > seq).expect("a checkpoint");
        let good = SIZES.iter().rev().find(|size| **size <= seq).copied().unwrap_or(0);
        assert_eq!(only(&lines), Finding::RootMismatch { lane: 0, good, bad }, "{seq}");
    }
}

#[test]
fn two_edits_next_to_each_other_are_both_named() {
    let mut lines = lines(&events());
    for seq in [4, 5] {
        let at = line_of(&lines, 0, seq);
        lines[at] = lines[at].replace("\"rev\":", "\"rev\":1");
    }
    assert_eq!(check(&lines, None).findings, [edited(4), edited(5)]);
}

#[test]
fn a_dropped_event_is_named_wherever_it_stood() {
    for seq in 0..10 {
        let mut lines = lines(&events());
        let at = line_of(&lines, 0, seq);
        lines.remove(at);
        assert_eq!(first(&lines), Finding::Dropped { lane: 0, seq, until: seq });
        lines.remove(if seq < 9 { line_of(&lines, 0, seq + 1) } else { continue });
        let until = seq + 1;
        let found = first(&lines);
        // Where a checkpoint stands between the two, it already shows that the first is missing.
        let until = if SIZES.contains(&until) { seq } else { until };
        assert_eq!(found, Finding::Dropped { lane: 0, seq, until });
    }
}

#[test]
fn a_dropped_event_whose_successors_were_renumbered_is_caught() {
    let lines = rehashed(|events| {
        events.remove(6);
        events.iter_mut().filter(|e| e.lane == 0 && e.sequence > 4).for_each(|e| e.sequence -= 1);
        events.push(Written { sequence: 9, ..events[12].clone() });
    });
    assert!(matches!(first(&lines), Finding::RootMismatch { lane: 0, good: 3, .. }));
}

#[test]
fn swapped_moved_and_repeated_events_are_named() {
    let good = lines(&events());
    for seq in 0..9 {
        let mut swapped = good.clone();
        let (a, b) = (line_of(&good, 0, seq), line_of(&good, 0, seq + 1));
        if checkpoints(&good).iter().any(|at| (a..b).contains(at)) {
            continue; // a swap across a checkpoint is looked at below
        }
        swapped.swap(a, b);
        let reordered = Finding::Reordered { lane: 0, seq, id: id_of(0, seq), after: seq + 1 };
        assert_eq!(only(&swapped), reordered);
    }
    let mut moved = good.clone();
    let line = moved.remove(line_of(&good, 0, 4));
    moved.insert(line_of(&moved, 0, 9) + 1, line);
    assert_eq!(first(&moved), Finding::Reordered { lane: 0, seq: 4, id: id_of(0, 4), after: 9 });
    let mut across = good.clone();
    across.swap(line_of(&good, 0, 5), line_of(&good, 0, 6));
    assert!(matches!(first(&across), Finding::Reordered { lane: 0, seq: 5, .. }));
    let mut repeated = good.clone();
    repeated.insert(line_of(&good, 0, 4) + 1, good[line_of(&good, 0, 4)].clone());
    let twice = Finding::Reordered { lane: 0, seq: 4, id: id_of(0, 4), after: 4 };
    assert_eq!(first(&repeated), twice);
}

#[test]
fn payloads_swapped_between_events_are_two_edits() {
    let mut lines = lines(&events());
    let (a, b) = (line_of(&lines, 0, 3), line_of(&lines, 0, 4));
    let split = |line: &str| {
        let at = line.find("\"salt\"").expect("a salt");
        (line[..at].to_owned(), line[at..].to_owned())
    };
    let ((head_a, tail_a), (head_b, tail_b)) = (split(&lines[a]), split(&lines[b]));
    (lines[a], lines[b]) = (head_a + &tail_b, head_b + &tail_a);
    assert_eq!(check(&lines, None).findings, [edited(3), edited(4)]);
}

#[test]
fn an_id_that_is_not_that_of_its_place_is_named() {
    let lines = with(|lines| line_of(lines, 0, 4), |line| line.replace("evt_0", "evt_1"));
    let id = id_of(0, 4).to_string().replace("evt_0", "evt_1");
    assert_eq!(only(&lines), Finding::WrongId { lane: 0, seq: 4, id, expected: id_of(0, 4) });
    let lines = with(|lines| line_of(lines, 0, 4), |line| line.replace("\"lane\":0", "\"lane\":1"));
    assert!(matches!(first(&lines), Finding::WrongId { lane: 1, seq: 4, .. }));
    let lines = with(|lines| line_of(lines, 0, 4), |line| line.replace("\"seq\":4", "\"seq\":7"));
    assert!(matches!(first(&lines), Finding::WrongId { lane: 0, seq: 7, .. }));
}

#[test]
fn a_file_cut_anywhere_is_not_ok() {
    let good = lines(&events());
    for length in 0..good.len() {
        let findings = check(&good[..length], None).findings;
        assert_eq!(findings[0], Finding::MissingEnd { lines: length as u64 }, "{length}");
    }
}

#[test]
fn events_behind_the_last_checkpoint_are_named() {
    let good = lines(&events());
    let cut = cut(good.clone(), good.len() - 3);
    let findings = check(&cut, None).findings;
    let tail = |lane, seq| Finding::UnsignedTail { lane, seq };
    assert_eq!(findings, [tail(0, 6), tail(1, 3)]);
}

#[test]
fn a_file_that_ends_early_is_caught_by_a_kept_checkpoint() {
    let good = lines(&events());
    let cut = cut(good.clone(), checkpoints(&good)[3] + 1);
    assert!(check(&cut, None).ok, "the shorter file alone is in order");
    let origin = "id.example/o/dev/log/g1l0".to_owned();
    let truncated = Finding::Truncated { lane: Some(0), seq: 6, kept: 8, origin };
    assert_eq!(check(&cut, Some(&kept_note())).findings, [truncated]);
    let mut without_lane = cut;
    let second = without_lane[0].find(",{\"lane\":1").expect("the second lane");
    let first_lane = without_lane[0].find("{\"lane\":0").expect("the first lane");
    without_lane[0].replace_range(first_lane..=second, "");
    let findings = check(&without_lane, Some(&kept_note())).findings;
    let gone = |f: &Finding| matches!(f, Finding::Truncated { lane: None, seq: 0, kept: 8, .. });
    assert!(findings.iter().any(gone), "{findings:?}");
}

#[test]
fn a_history_rewritten_and_signed_again_is_caught_by_a_kept_checkpoint() {
    let mut changed = events();
    changed[6].payload = "{}".to_owned();
    let resigned = lines(&changed);
    assert!(check(&resigned, None).ok, "whoever has the key can sign anything");
    let findings = check(&resigned, Some(&kept_note())).findings;
    assert_eq!(findings, [Finding::Rewritten { lane: 0, good: 6, bad: 8 }]);
}

#[test]
fn a_kept_note_must_itself_be_signed() {
    let root = tree::root(&leaves(&events(), 0)[..8]);
    let mut auditor = Auditor::new(vkeys());
    assert_eq!(auditor.against(note(0, 8, root, 9).as_bytes()), Err(NoteError::UnknownKey));
    assert!(auditor.against(note(0, 8, root, 1).as_bytes()).is_ok());
}

#[test]
fn a_checkpoint_of_another_key_or_altered_is_named() {
    let forged = checkpoint(&events(), 0, 9);
    let lines = with(|lines| lines.len() - 3, |_| forged.clone());
    let Finding::BadSignature { lane, line, .. } = first(&lines) else { panic!("not found") };
    assert_eq!((lane, line), (Some(0), lines.len() as u64 - 2));
    for (from, to) in [("\\n6\\n", "\\n7\\n"), ("g1l0\\n6", "g1l1\\n6")] {
        let bent = with(|lines| checkpoints(lines)[2], |line| line.replace(from, to));
        assert!(matches!(first(&bent), Finding::BadSignature { .. }), "{from}");
    }
    let own_keys_only: Vec<Vkey> = vkeys().into_iter().take(1).collect();
    let mut auditor = Auditor::new(own_keys_only);
    for line in super::vectors::lines(&events()) {
        auditor.line(&line);
    }
    let report = auditor.finish();
    assert!(matches!(report.findings[0], Finding::BadSignature { lane: Some(1), .. }));
}

#[test]
fn a_log_whose_key_was_rotated_verifies_with_the_first_key_or_any_that_signed_it_all() {
    let said = vec![statement(1, 2)];
    let report = check(&rotated(said.clone()), None);
    assert!(report.ok && report.complete, "{report:?}");
    let signed_by = |report: &Report| -> Vec<(String, bool)> {
        let signers = report.lanes[0].signed_by.iter();
        signers.map(|signer| (signer.key.clone(), signer.given)).collect()
    };
    let last = key(0, 2).1.to_string();
    assert_eq!(signed_by(&report), [(last.clone(), false)], "by whom the first one named");
    // Both keys need no statement; the new one alone does not vouch for what it did not sign.
    let with_keys = |seeds: &[u8], lines: &[String]| {
        let own = seeds.iter().map(|&seed| key(0, seed).1);
        let mut auditor = Auditor::new(own.chain([key(1, 1).1]).collect());
        for line in lines {
            auditor.line(line);
        }
        auditor.finish()
    };
    let report = with_keys(&[2, 1], &rotated(Vec::new()));
    assert!(report.ok && signed_by(&report) == [(last.clone(), true)], "{report:?}");
    // A key that is given twice is one key.
    let report = with_keys(&[1, 1], &rotated(said.clone()));
    assert!(report.ok && report.complete, "{report:?}");
    let findings = with_keys(&[2], &rotated(said.clone())).findings;
    assert!(matches!(findings[..], [Finding::BadSignature { lane: Some(0), .. }]), "{findings:?}");
    let report = with_keys(&[9], &rotated(said.clone()));
    assert_eq!(signed_by(&report), [], "nobody whom this one knows");
    // A chain; broken, out of order, of a stranger, for another log.
    let chain = vec![statement(1, 5), statement(5, 2)];
    assert!(check(&rotated(chain.clone()), None).ok);
    let swapped = chain.iter().rev().cloned().collect();
    let other = vec![statement_of("id.example/o/other/log", 1, 2)];
    for wrong in [Vec::new(), chain[1..].to_vec(), swapped, vec![statement(9, 2)], other] {
        let Finding::BadSignature { lane, .. } = first(&rotated(wrong)) else {
            panic!("not found")
        };
        assert_eq!(lane, Some(0));
    }
    let many = vec![said[0].clone(); 65];
    assert!(matches!(first(&rotated(many)), Finding::Malformed { line: 1, .. }));
    // A second signature that is forged, of a key that is believed.
    let mut forged = rotated(said);
    let at = checkpoints(&forged)[0];
    let line = key(0, 2).1.signature_line(&[7; 64]);
    let note = note(0, 3, tree::root(&leaves(&events(), 0)[..3]), 1) + &line;
    forged[at] = checkpoint_line(&note);
    assert!(matches!(first(&forged), Finding::BadSignature { lane: Some(0), .. }));
}

#[test]
fn a_checkpoint_signed_over_another_root_is_named() {
    let lie = checkpoint_line(&note(0, 6, Hash::new([1; 32]), 1));
    let lines = with(|lines| checkpoints(lines)[2], |_| lie.clone());
    assert_eq!(only(&lines), Finding::RootMismatch { lane: 0, good: 3, bad: 6 });
}

#[test]
fn a_checkpoint_may_be_missing_but_not_late() {
    let mut fewer = lines(&events());
    fewer.remove(checkpoints(&fewer)[2]);
    assert!(check(&fewer, None).ok, "the next one covers the same events");
    let mut late = lines(&events());
    let at = checkpoints(&late)[2];
    let line = late.remove(at);
    late.insert(line_of(&late, 0, 6) + 1, line);
    assert!(matches!(first(&late), Finding::Malformed { .. }));
}

#[test]
fn a_file_that_does_not_begin_at_the_beginning_is_checked_as_a_chain_and_says_so() {
    let mut partial = lines(&events());
    let leaf = leaves(&events(), 0)[2];
    partial[0] =
        partial[0].replacen("\"from\":0", &format!("\"from\":3,\"previous\":\"{leaf}\""), 1);
    for seq in 0..3 {
        partial.remove(line_of(&partial, 0, seq));
    }
    partial.remove(checkpoints(&partial)[0]);
    let partial: Vec<String> = partial.iter().map(|line| line.replace(":14}", ":11}")).collect();
    let report = check(&partial, None);
    assert_eq!(report.findings, []);
    assert!(!report.complete);
    assert_eq!((report.lanes[0].from, report.lanes[0].root.clone()), (3, None));
    let kept = check(&partial, Some(&kept_note()));
    assert_eq!(kept.findings, [Finding::NotComparable { lane: 0, seq: 3 }]);
    let mut bent = partial.clone();
    let at = line_of(&bent, 0, 5);
    bent[at] = bent[at].replace("\"rev\":", "\"rev\":1");
    assert_eq!(first(&bent), edited(5));
    bent[0] = bent[0].replace(&leaf.to_string(), &Hash::ZERO.to_string());
    assert_eq!(first(&bent), edited(3), "the link to what came before");
    bent[0] = partial[0].replace(&format!(",\"previous\":\"{leaf}\""), "");
    assert!(matches!(first(&bent), Finding::Malformed { line: 1, .. }));
}

#[test]
fn lines_near_the_format_are_refused() {
    let header = |from: &str, to: &str| with(|_| 0, |line| line.replacen(from, to, 1));
    for (from, to) in [
        ("\"accredit_export\":1", "\"accredit_export\":2"),
        ("https://", "ftp://"),
        ("o/dev\"", "o/prod\""),
        ("\"lane\":1", "\"lane\":0"),
        ("\"lane\":1", "\"lane\":4096"),
        ("\"from\":0", "\"from\":3"),
        ("\"from\":0", "\"from\":0,\"previous\":\"00\""),
        ("\"lanes\"", "\"more\":1,\"lanes\""),
    ] {
        let found = first(&header(from, to));
        assert!(matches!(found, Finding::Malformed { line: 1, .. }), "{to}: {found:?}");
    }
    for (from, to) in [
        ("\"seq\":4", "\"seq\":04"),
        ("\"seq\":4", "\"seq\":4.0"),
        ("\"seq\":4", "\"seq\":-4"),
        ("\"seq\":4", "\"seq\":+4"),
        ("\"seq\":4", "\"seq\": 4"),
        ("\"seq\":4", "\"seq\":4611686018427387904"),
        ("\"lane\":0", "\"lane\":7"),
        ("token.issued", "token issued"),
        ("token.issued", ""),
        ("\"payload\":{", "\"payload\": {"),
        ("}}}", "}} }"),
        ("}}}", "}}} "),
        ("}}}", "}},\"x\":1}"),
        ("\"payload\":{", "\"payload\":1,\"payload\":{"),
        ("{\"note\"", "{note"),
        ("\"salt\":\"", "\"salt\":\"A"),
        ("\"salt\"", "\"pepper\""),
        ("evt_", "evt-"),
        ("{\"event\":{", "{\"event\": {"),
        ("{\"event\"", "{\"Event\""),
    ] {
        let lines = with(|lines| line_of(lines, 0, 4), |line| line.replacen(from, to, 1));
        let at = line_of(&super::vectors::lines(&events()), 0, 4) as u64 + 1;
        let found = first(&lines);
        assert!(matches!(found, Finding::Malformed { line, .. } if line == at), "{to}: {found:?}");
    }
    let good = super::vectors::lines(&events());
    let again = [good.clone(), vec![good[1].clone()]].concat();
    assert!(matches!(only(&again), Finding::Malformed { .. }), "an event behind the end");
    let headless = good[1..].to_vec();
    assert!(matches!(first(&headless), Finding::Malformed { line: 1, .. }));
    let long = with(|lines| line_of(lines, 0, 4), |_| "x".repeat(LINE_LEN_MAX + 1));
    assert!(matches!(first(&long), Finding::Malformed { .. }));
    let miscounted = with(|lines| lines.len() - 1, |line| line.replace("14", "15"));
    assert_eq!(only(&miscounted), Finding::WrongCount { stated: 15, counted: 14 });
}

#[test]
fn findings_are_bounded() {
    let mut auditor = Auditor::new(vkeys());
    (0..1000).for_each(|_| auditor.line("x"));
    let report = auditor.finish();
    assert_eq!(report.findings.len(), FINDINGS_MAX);
    assert_eq!(report.findings_left_out, 1001 - FINDINGS_MAX as u64);
}

#[test]
fn each_finding_is_a_sentence_that_names_its_place() {
    let dropped = Finding::Dropped { lane: 3, seq: 7, until: 9 };
    assert_eq!(dropped.to_string(), "events 7 to 9 of lane 3 are missing");
    let json = serde_json::to_string(&dropped).expect("JSON");
    assert_eq!(json, r#"{"kind":"dropped","lane":3,"seq":7,"until":9}"#);
    let text = edited(4).to_string();
    assert!(text.starts_with("event 4 of lane 0 (`evt_01"), "{text}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_changed_character_is_found(
        line: prop::sample::Index, at: prop::sample::Index, to in "[ -~\\n]",
    ) {
        let mut lines = lines(&events());
        let line = line.index(lines.len());
        let (at, old) = {
            let text = &lines[line];
            text.char_indices().nth(at.index(text.chars().count())).expect("a character")
        };
        prop_assume!(!to.starts_with(old));
        lines[line].replace_range(at..at + old.len_utf8(), &to);
        // A line end in the last place is a line end.
        prop_assume!(!lines[line].ends_with('\n'));
        let report = check(&lines, None);
        prop_assert!(!report.ok, "{} at {at}: {old:?} became {to:?}", lines[line]);
    }

    #[test]
    fn lines_are_written_as_they_are_read(lane in 0u16..=LANE_MAX, sequence in 0..=SEQUENCE_MAX,
        at in 0i64..253_402_300_799_000_000, leaf: [u8; 32], salt: [u8; 16], pruned: bool) {
        let body = if pruned {
            Body::Pruned(Hash::new(leaf))
        } else {
            Body::Kept { salt, payload: r#"{"a":[1,{"b":"}}"}]}"# }
        };
        let (at, leaf) = (crate::time::Time::from_micros(at), Hash::new(leaf));
        let record = EventRecord { lane, sequence, kind: "a.b", at, leaf, body };
        let line = record.to_line();
        let id = record.id().to_string();
        prop_assert_eq!(EventRecord::read(&line), Some((record, id.as_str())));
    }

    #[test]
    fn arbitrary_lines_are_survived(junk in prop::collection::vec("\\PC{0,80}", 0..20)) {
        let report = check(&junk, None);
        prop_assert!(!report.ok);
    }
}
