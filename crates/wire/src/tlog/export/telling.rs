//! Logs of several lanes that tell of each other: sample exports, and what is found where one of them
//! is left out, cut or built anew by whoever holds the key.

use proptest::prelude::*;

use super::super::Hash;
use super::super::claim::{CHECKPOINTED, Claim, GENERATION_STARTED};
use super::super::tree;
use super::vectors::{Written, checkpoint, key, leaves, line_of};
use super::*;

/// One event: its lane, and whether it tells of the others.
type Step = (u16, bool);

/// Each lane's newest claim about each other, as `Step`s say.
fn history(steps: &[Step]) -> Vec<Written> {
    let mut events: Vec<Written> = Vec::new();
    for (n, &(lane, tells)) in steps.iter().enumerate() {
        let claims = if tells { claims(&events, lane) } else { Vec::new() };
        let sequence = of(&events, lane).count() as u64;
        let (kind, payload) = if claims.is_empty() {
            ("token.issued", format!(r#"{{"rev":{n},"v":1}}"#))
        } else {
            (CHECKPOINTED, payload(&claims))
        };
        let at = 1_763_717_400_123_456 + 1_000_777 * n as i64;
        events.push(Written { lane, sequence, kind, at, payload, pruned: false });
    }
    events
}

fn of(events: &[Written], lane: u16) -> impl Iterator<Item = &Written> {
    events.iter().filter(move |event| event.lane == lane)
}

fn payload(claims: &[Claim]) -> String {
    let lines = Claim::lines(claims);
    serde_json::json!({ "changes": { "checkpoints": lines }, "v": 1 }).to_string()
}

/// What one lane can say of the others.
fn claims(events: &[Written], by: u16) -> Vec<Claim> {
    let others = (0..LANES).filter(|lane| *lane != by && of(events, *lane).next().is_some());
    let claim = |lane| {
        let leaves = leaves(events, lane);
        let (origin, size) = (key(lane, 1).1.name().to_owned(), leaves.len() as u64);
        Claim { origin, size, root: tree::root(&leaves) }
    };
    others.map(claim).collect()
}

/// How many lanes a log here has at most.
const LANES: u16 = 4;

/// The export of some lanes: each is signed before an event tells of it, and at the end, by its own key.
fn file(events: &[Written], lanes: &[u16]) -> Vec<String> {
    lines(events, lanes).into_iter().map(|(_, line)| line).collect()
}

/// The same with the lanes one after the other.
fn file_by_lane(events: &[Written], lanes: &[u16]) -> Vec<String> {
    let mut lines = lines(events, lanes);
    lines.sort_by_key(|(place, _)| *place);
    lines.into_iter().map(|(_, line)| line).collect()
}

fn lines(events: &[Written], lanes: &[u16]) -> Vec<(u32, String)> {
    let header = |lane: &u16| LaneHeader {
        lane: *lane,
        origin: key(*lane, 1).1.name().to_owned(),
        from: 0,
        previous: None,
    };
    let header = Header {
        accredit_export: 1,
        issuer: "https://id.example/o/dev".to_owned(),
        lanes: lanes.iter().map(header).collect(),
        statements: Vec::new(),
    };
    let mut lines = vec![(0, header.to_line())];
    let mut signed = vec![0; usize::from(LANES)];
    let mut sign = |before: &[Written], lines: &mut Vec<(u32, String)>| {
        for lane in lanes {
            let (size, signed) = (of(before, *lane).count(), &mut signed[usize::from(*lane)]);
            if size > *signed {
                *signed = size;
                lines.push((1 + u32::from(*lane), checkpoint(before, *lane, 1)));
            }
        }
    };
    let mut count = 0;
    for (n, event) in events.iter().enumerate().filter(|(_, event)| lanes.contains(&event.lane)) {
        if event.kind != "token.issued" {
            sign(&events[..n], &mut lines);
        }
        let leaf = leaves(&events[..=n], event.lane).pop().expect("a leaf");
        lines.push((1 + u32::from(event.lane), event.line(leaf)));
        count += 1;
    }
    sign(events, &mut lines);
    lines.push((u32::MAX, end_line(count)));
    lines
}

fn check(lines: &[String]) -> Report {
    let mut auditor = Auditor::new((0..LANES).map(|lane| key(lane, 1).1).collect());
    for line in lines {
        auditor.line(line);
    }
    auditor.finish()
}

/// Two lanes; the fourth event of lane 1 tells of lane 0, the fifth of lane 0 of lane 1.
fn two() -> Vec<Written> {
    let (zero, one) = ((0, false), (1, false));
    history(&[zero, one, zero, one, zero, one, (1, true), zero, (0, true), zero, one])
}

const BOTH: [u16; 2] = [0, 1];

/// Where lane 1 tells of lane 0.
const ONE_TELLS: usize = 6;
/// Where lane 0 tells of lane 1.
const ZERO_TELLS: usize = 8;

/// The history with one event changed: all that follows is computed and signed anew.
fn changed(at: usize, change: impl FnOnce(&mut Written)) -> Vec<Written> {
    let mut events = two();
    change(&mut events[at]);
    events
}

/// The history in which lane 1 says something else of lane 0; what lane 0 says of it is true.
fn said(change: impl FnOnce(&mut Written)) -> Vec<Written> {
    let mut events = changed(ONE_TELLS, change);
    events[ZERO_TELLS].payload = payload(&claims(&events[..ZERO_TELLS], 0));
    events
}

/// The log without what a lane holds from its event `from` on.
fn cut(events: &[Written], lane: u16, from: u64) -> Vec<Written> {
    let stays = |event: &&Written| event.lane != lane || event.sequence < from;
    events.iter().filter(stays).cloned().collect()
}

/// A claim about lane 0 with another root, signed as what lane 1 said.
fn forged(event: &mut Written) {
    let origin = key(0, 1).1.name().to_owned();
    event.payload = payload(&[Claim { origin, size: 3, root: Hash::new([9; 32]) }]);
}

/// The name and the lines of sample exports.
pub(super) fn files() -> Vec<(&'static str, Vec<String>)> {
    let malformed = |event: &mut Written| event.payload = payload(&[]);
    vec![
        ("lanes", file(&two(), &BOTH)),
        ("lanes-one-after-the-other", file_by_lane(&two(), &BOTH)),
        ("lane-dropped", file(&two(), &[0])),
        ("lane-cut", file(&cut(&two(), 0, 2), &BOTH)),
        ("lane-rebuilt", file(&changed(2, |event| event.payload = "{}".to_owned()), &BOTH)),
        ("claim-forged", file(&said(forged), &BOTH)),
        ("claim-erased", file(&said(|event| event.pruned = true), &BOTH)),
        ("claim-malformed", file(&said(malformed), &BOTH)),
    ]
}

fn only(lines: &[String]) -> Finding {
    let findings = check(lines).findings;
    assert_eq!(findings.len(), 1, "{findings:?}");
    findings[0].clone()
}

fn origin(lane: u16) -> String {
    key(lane, 1).1.name().to_owned()
}

#[test]
fn lanes_that_tell_of_each_other_are_compared_whatever_their_order_in_the_file() {
    let events = two();
    assert_eq!([&events[ONE_TELLS], &events[ZERO_TELLS]].map(|it| it.kind), [CHECKPOINTED; 2]);
    for lines in [file(&events, &BOTH), file_by_lane(&events, &BOTH)] {
        let report = check(&lines);
        assert!(report.ok && report.complete, "{report:?}");
        let claims = ClaimsReport { compared: 2, not_compared: 0, erased: 0 };
        assert_eq!(report.claims, claims);
    }
}

#[test]
fn a_lane_that_was_left_out_is_missed_by_the_others() {
    let missing =
        |lane, seq, of, size| Finding::LaneMissing { lane, seq, origin: origin(of), size };
    assert_eq!(only(&file(&two(), &[0])), missing(0, 4, 1, 4));
    assert_eq!(only(&file(&two(), &[1])), missing(1, 3, 0, 3));
}

#[test]
fn a_lane_whose_end_was_cut_off_and_signed_is_too_short_for_the_others() {
    for has in 0..3 {
        let (lane, seq, other, size) = (1, 3, 0, 3);
        let short = Finding::LaneShort { lane, seq, other, origin: origin(0), size, has };
        assert_eq!(only(&file(&cut(&two(), 0, has), &BOTH)), short);
    }
    assert!(check(&file(&cut(&two(), 0, 3), &BOTH)).ok, "nobody had told of more");
}

#[test]
fn a_lane_that_was_built_anew_and_signed_is_another_than_the_others_tell_of() {
    let (lane, seq, other, size) = (1, 3, 0, 3);
    let rewritten = Finding::LaneRewritten { lane, seq, other, origin: origin(0), size };
    for at in [0, 2, 4] {
        let events = changed(at, |event| event.payload = "{}".to_owned());
        assert_eq!(only(&file(&events, &BOTH)), rewritten, "event {at}");
        assert_eq!(only(&file_by_lane(&events, &BOTH)), rewritten, "event {at}");
    }
    let later = changed(7, |event| event.payload = "{}".to_owned());
    assert!(check(&file(&later, &BOTH)).ok, "nobody had told of it yet");
    assert_eq!(only(&file(&said(forged), &BOTH)), rewritten, "the claim itself");
}

#[test]
fn what_a_lane_told_of_the_others_is_neither_erased_nor_bent() {
    let erased = said(|event| event.pruned = true);
    assert_eq!(only(&file(&erased, &BOTH)), Finding::ClaimErased { lane: 1, seq: 3 });
    let lines = file(&two(), &BOTH);
    let line = line_of(&lines, 1, 3) as u64 + 1;
    for wrong in
        [payload(&[]), "{}".to_owned(), r#"{"changes":{"checkpoints":"x 1 y"}}"#.to_owned()]
    {
        let bent = said(|event| event.payload = wrong);
        let found = only(&file(&bent, &BOTH));
        assert!(matches!(found, Finding::Malformed { line: at, .. } if at == line), "{found:?}");
    }
}

#[test]
fn the_lanes_that_a_generation_closed_are_told_of_by_its_first_event() {
    let begins = |event: &mut Written| event.kind = GENERATION_STARTED;
    let began = said(begins);
    assert!(check(&file(&began, &BOTH)).complete);
    assert!(matches!(only(&file(&began, &[1])), Finding::LaneMissing { lane: 1, seq: 3, .. }));
    // Earlier versions pruned it.
    let pruned = said(|event| {
        begins(event);
        event.pruned = true;
    });
    let report = check(&file(&pruned, &BOTH));
    assert!(report.ok && report.complete, "{report:?}");
    assert_eq!((report.claims.compared, report.claims.erased), (1, 1));
}

/// A claim names a checkpoint. Where the file does not have that and went on, nothing can be compared,
/// and that is no verification.
#[test]
fn a_claim_that_cannot_be_compared_makes_a_report_incomplete() {
    let events = history(&[(0, false), (0, false), (1, false), (0, false), (1, true), (1, false)]);
    let mut late = events.clone();
    late[4].payload = payload(&claims(&events[..2], 1));
    let with = file(&late, &BOTH);
    let report = check(&with);
    assert!(report.ok && !report.complete, "lane 0 was not signed there: {report:?}");
    assert_eq!((report.claims.compared, report.claims.not_compared), (0, 1));
    let mut signed = with;
    signed.insert(line_of(&signed, 1, 0), checkpoint(&late[..2], 0, 1));
    assert!(check(&signed).complete);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// Whatever lanes tell of each other: nothing is found where nothing was done, and whoever leaves
    /// out, cuts or rebuilds a lane below what another has told of it is found, by both lanes' names.
    #[test]
    fn whoever_changes_a_lane_that_others_told_of_is_found(
        steps in prop::collection::vec((0..LANES, prop::bool::weighted(0.3)), 1..40),
        target in 0..LANES,
        place: prop::sample::Index,
    ) {
        let (events, all) = (history(&steps), [0, 1, 2, 3]);
        for lines in [file(&events, &all), file_by_lane(&events, &all)] {
            let report = check(&lines);
            prop_assert!(report.ok && report.complete, "{:?}", report);
        }
        let others = events.iter().filter(|it| it.lane != target && it.kind == CHECKPOINTED);
        let told = others.flat_map(|it| Claim::read(it.kind, &it.payload).expect("claims"));
        let told = told.filter(|claim| claim.origin == origin(target)).map(|it| it.size).max();
        let told = told.unwrap_or(0);

        let without: Vec<u16> = all.into_iter().filter(|lane| *lane != target).collect();
        let findings = check(&file(&events, &without)).findings;
        let is_named = |it: &Finding| {
            matches!(it, Finding::LaneMissing { origin: of, .. } if *of == origin(target))
        };
        prop_assert_eq!(findings.iter().filter(|it| is_named(it)).count(), usize::from(told > 0));

        let own = of(&events, target).count();
        prop_assume!(own > 0);
        let from = place.index(own) as u64;
        let findings = check(&file(&cut(&events, target, from), &all)).findings;
        let short = findings.iter().any(|it| {
            matches!(it, Finding::LaneShort { other, size, has, .. }
                if (*other, *size, *has) == (target, told, from))
        });
        prop_assert_eq!(short, from < told, "{:?}", findings);

        let mut rebuilt = events.clone();
        let event = rebuilt.iter_mut().filter(|it| it.lane == target).nth(from as usize);
        let event = event.expect("one of them");
        prop_assume!(event.kind != CHECKPOINTED);
        event.payload = r#"{"v":2}"#.to_owned();
        for lines in [file(&rebuilt, &all), file_by_lane(&rebuilt, &all)] {
            let findings = check(&lines).findings;
            let is_found = findings.iter().any(|it| {
                matches!(it, Finding::LaneRewritten { lane, other, .. }
                    if *other == target && *lane != target)
            });
            prop_assert_eq!(is_found, from < told, "{:?}", findings);
        }
    }
}
