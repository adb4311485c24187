use std::path::PathBuf;

use super::*;

/// The published sample exports.
fn vector(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../wire/vectors/tlog").join(name)
}

fn check(export: &str, against: bool) -> (Report, Result<(), Failure>) {
    let checkpoint = if against { vec![vector("older.note")] } else { Vec::new() };
    let args = Verify { file: vector(export), key: vector("keys.txt"), checkpoint, partial: false };
    let report = report(&args, false).expect("a report");
    let verdict = verdict(&report, false);
    (report, verdict)
}

#[test]
fn a_good_export_is_verified_and_says_up_to_where() {
    let (report, verdict) = check("good.ndjson", true);
    assert!(verdict.is_ok());
    let words = words(&report);
    assert_eq!(words[0], "verified: nothing was edited, dropped or reordered");
    assert!(
        words.iter().any(|line| line.starts_with("log id.example/o/dev/log/g1l0:")),
        "{words:?}"
    );
    let keys = std::fs::read_to_string(vector("keys.txt")).expect("the keys");
    for key in keys.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let said = format!("  the root is signed by {key}");
        assert_eq!(words.iter().filter(|line| **line == said).count(), 1, "{words:?}");
    }
}

#[test]
fn the_key_that_signed_is_named_and_how_it_is_known() {
    let signer = |export: &str| {
        let (report, _) = check(export, false);
        let words = words(&report).join("\n");
        let signed_by = report.lanes[0].signed_by.clone();
        let shown = signed_by.iter().all(|signer| words.contains(&signer.key));
        assert!(shown, "{words}");
        (signed_by.len(), words.contains(", which a key before it named"))
    };
    assert_eq!(signer("good.ndjson"), (1, false));
    assert_eq!(signer("rotated.ndjson"), (1, true));
    assert_eq!(signer("all-hashes-recomputed.ndjson").0, 1, "the root before the alteration");
    assert_eq!(signer("rotated-by-a-stranger.ndjson"), (1, false), "the root before the stranger");
}

#[test]
fn each_alteration_ends_with_9_and_names_its_place() {
    for (export, against, said) in [
        ("payload-edited.ndjson", false, "event 4 of lane 0"),
        ("dropped.ndjson", false, "event 4 of lane 0 is missing"),
        ("swapped.ndjson", false, "stands behind event"),
        ("all-hashes-recomputed.ndjson", false, "do not give the root"),
        ("cut-at-checkpoint-against.ndjson", true, "was cut off"),
        ("resigned-against.ndjson", true, "was rewritten"),
        ("malformed.ndjson", false, ""),
        ("no-end.ndjson", false, "cut off"),
    ] {
        let (report, verdict) = check(export, against);
        let failure = verdict.expect_err(export);
        assert_eq!(failure.exit.code(), 9, "{export}");
        assert!(failure.detail.contains(said), "{export}: {}", failure.detail);
        assert_eq!(words(&report)[0], "NOT verified", "{export}");
    }
}

#[test]
fn an_export_that_proves_only_a_part_is_not_verified() {
    let (mut report, _) = check("good.ndjson", false);
    report.complete = false;
    assert_eq!(verdict(&report, false).expect_err("in part").exit, Exit::VerificationFailed);
    assert!(verdict(&report, true).is_ok(), "--partial accepts it");
    assert!(!words(&report)[0].starts_with("verified"));
}

#[test]
fn without_the_right_key_nothing_is_verified() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("keys");
    for text in ["", "# nothing\n\n", "not+a+key\n"] {
        std::fs::write(&path, text).expect("written");
        assert_eq!(keys(&path).expect_err(text).exit, Exit::Usage);
    }
    let all = std::fs::read_to_string(vector("keys.txt")).expect("the keys");
    std::fs::write(&path, format!("# the log of dev\n\n{all}")).expect("written");
    assert_eq!(keys(&path).expect("keys").len(), 2, "one for each lane");
    let one = all.lines().find(|line| line.contains("g1l0+")).expect("a key");
    std::fs::write(&path, one).expect("written");
    let args =
        Verify { file: vector("good.ndjson"), key: path, checkpoint: vec![], partial: false };
    let report = report(&args, false).expect("a report");
    assert!(verdict(&report, false).is_err(), "a lane without its key");
}

#[test]
fn a_line_without_end_does_not_fill_the_memory() {
    let mut auditor = Auditor::new(keys(&vector("keys.txt")).expect("keys"));
    let endless = std::io::repeat(b'x').take(3 * LINE_LEN_MAX as u64);
    feed(BufReader::new(endless), &mut auditor, &ProgressBar::hidden()).expect("read");
    let report = auditor.finish();
    assert!(!report.ok);
    assert_eq!(report.findings.len(), 2, "one bad line and no end: {:?}", report.findings);
}
