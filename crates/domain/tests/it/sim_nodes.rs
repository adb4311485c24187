//! Several nodes on one store, from many seeds, and checkers that are shown to find what they look for.

use accredit_testkit::sim::nodes::{self, Flaw, Report};
use accredit_testkit::sim::{Broken, Invariant};

/// Seeds of one run.
const SEEDS: u64 = 200;
/// What happens in each.
const STEPS: usize = 50;

/// Runs a seed on a runtime of its own.
fn run(seed: u64, flaw: Option<Flaw>) -> Result<Report, Box<Broken>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.expect("a runtime");
    runtime.block_on(nodes::run(seed, STEPS, flaw))
}

#[test]
fn whatever_happens_on_whichever_node_the_invariants_hold() {
    if let Some(seed) = crate::sim::asked_for() {
        let report = run(seed, None).unwrap_or_else(|broken| panic!("{broken}"));
        println!("{}", report.told.join("\n"));
        return;
    }
    let reports = crate::sim::of_seeds(SEEDS, |seed| run(seed, None));
    // Worlds in which something happens.
    let sum = |count: fn(&Report) -> usize| reports.iter().map(count).sum::<usize>() as u64;
    let happened = [
        ("tokens", sum(|report| report.issued), 4 * SEEDS),
        ("of them ended", sum(|report| report.ended), SEEDS),
        ("revocations", sum(|report| report.revoked), 2 * SEEDS),
        ("refused as stale", sum(|report| report.stale), SEEDS),
        ("asked while cut off", sum(|report| report.cut), SEEDS),
        ("restarts", sum(|report| report.restarts), SEEDS),
        ("faults", sum(|report| report.faults), SEEDS / 4),
        ("overtaken", sum(|report| report.overtaken), SEEDS / 4),
        ("used values shown again", sum(|report| report.shown_again), SEEDS / 4),
        ("in lanes of a node's own", sum(|report| report.beside), 2 * SEEDS),
        ("slots lost while issuing", sum(|report| report.slots_lost), SEEDS / 4),
        ("messages heard", sum(|report| report.heard), SEEDS),
    ];
    println!("{happened:?}");
    for (what, count, least) in happened {
        assert!(count > least, "{count} {what}, not more than {least}");
    }
}

#[test]
fn the_same_seed_makes_the_same_of_all_nodes() {
    for seed in [3, 1003] {
        let once = run(seed, None).unwrap_or_else(|broken| panic!("{broken}"));
        let again = run(seed, None).unwrap_or_else(|broken| panic!("{broken}"));
        assert_eq!(once, again, "seed {seed}");
    }
}

/// A node with one thing broken on purpose is found out within a few seeds, by the checker of what was
/// broken, and the very same seed holds when it is whole.
fn found_out(flaw: Flaw, by: &[Invariant]) {
    const TRIES_MAX: u64 = 40;
    for seed in 0..TRIES_MAX {
        let Err(broken) = run(seed, Some(flaw)) else { continue };
        assert!(by.contains(&broken.invariant), "{broken}");
        run(seed, None).unwrap_or_else(|broken| panic!("{broken}"));
        return;
    }
    panic!("{flaw:?} was not found in {TRIES_MAX} seeds");
}

#[test]
fn a_node_that_does_not_hear_of_others_is_found_out() {
    found_out(Flaw::NobodyCatchesUp, &[Invariant::RevokedIsDead, Invariant::LogIsWhole]);
}

#[test]
fn a_node_that_does_not_look_at_its_age_is_found_out() {
    found_out(Flaw::AgeIsNoMatter, &[Invariant::StaleRefuses]);
}

#[test]
fn a_fence_that_does_not_see_other_nodes_is_found_out() {
    found_out(Flaw::FenceIsBlind, &[Invariant::RevokedIsDead, Invariant::LogIsWhole]);
}
