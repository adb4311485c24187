//! Many small worlds from many seeds, and checkers that are shown to find what they look for.

use accredit_testkit::sim::{self, Broken, Flaw, Invariant, Plan, Report};

/// Seeds of one run.
const SEEDS: u64 = 200;
/// What happens in each.
const STEPS: usize = 80;

fn plan(seed: u64, flaw: Option<Flaw>) -> Plan {
    Plan { seed, steps: STEPS, flaw }
}

/// Runs a plan on a runtime of its own.
fn run(plan: Plan) -> Result<Report, Box<Broken>> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(sim::run(plan))
}

/// The one seed that somebody wants to see again: `ACCREDIT_SIM_SEED=17 cargo test`.
#[expect(clippy::disallowed_methods, reason = "whoever repeats a failure says which")]
pub(crate) fn asked_for() -> Option<u64> {
    let text = std::env::var("ACCREDIT_SIM_SEED").ok()?;
    Some(text.parse().expect("a seed is a number"))
}

/// What came of each seed below `seeds`, on both cores.
pub(crate) fn of_seeds<R: Send>(
    seeds: u64,
    run: impl Fn(u64) -> Result<R, Box<Broken>> + Sync,
) -> Vec<R> {
    let next = std::sync::atomic::AtomicU64::new(0);
    let worker = || {
        let mut reports = Vec::new();
        loop {
            let seed = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            if seed >= seeds {
                return reports;
            }
            reports.push(run(seed).unwrap_or_else(|broken| panic!("{broken}")));
        }
    };
    std::thread::scope(|scope| {
        let workers = [scope.spawn(worker), scope.spawn(worker)];
        workers.into_iter().flat_map(|worker| worker.join().expect("no panic")).collect()
    })
}

#[test]
fn whatever_happens_in_whatever_order_the_invariants_hold() {
    if let Some(seed) = asked_for() {
        let report = run(plan(seed, None)).unwrap_or_else(|broken| panic!("{broken}"));
        println!("{}", report.told.join("\n"));
        return;
    }
    let reports = of_seeds(SEEDS, |seed| run(plan(seed, None)));
    // Worlds in which something happens.
    let sum = |count: fn(&Report) -> usize| reports.iter().map(count).sum::<usize>() as u64;
    assert!(sum(|report| report.issued) > 5 * SEEDS, "{} tokens", sum(|report| report.issued));
    assert!(sum(|report| report.revoked) > SEEDS, "{} revoked", sum(|report| report.revoked));
    assert!(sum(|report| report.heard) > 5 * SEEDS, "{} messages", sum(|report| report.heard));
    assert!(sum(|report| report.faults) > SEEDS / 2, "{} faults", sum(|report| report.faults));
    assert!(sum(|report| report.restarts) > SEEDS / 2, "{} starts", sum(|report| report.restarts));
    assert!(sum(|report| report.rotated) > SEEDS / 2, "{} keys", sum(|report| report.rotated));
    assert!(sum(|report| report.log_keys) > SEEDS / 2, "{} log", sum(|report| report.log_keys));
    assert!(sum(|report| report.clocks) > SEEDS / 2, "{} clocks", sum(|report| report.clocks));
    assert!(sum(|report| report.back) > SEEDS / 4, "{} back", sum(|report| report.back));
    assert!(sum(|report| report.overtaken) > SEEDS / 4, "{} races", sum(|report| report.overtaken));
    assert!(sum(|report| report.shared) > 2 * SEEDS, "{} batches", sum(|report| report.shared));
}

#[test]
fn the_same_seed_gives_the_same_decisions_and_the_same_events() {
    for seed in [7, 1007, 2007] {
        let once = run(plan(seed, None)).unwrap_or_else(|broken| panic!("{broken}"));
        let again = run(plan(seed, None)).unwrap_or_else(|broken| panic!("{broken}"));
        assert_eq!(once.told, again.told, "seed {seed}");
        assert_eq!(once.digest, again.digest, "seed {seed}");
        let other = run(plan(seed + 1, None)).unwrap_or_else(|broken| panic!("{broken}"));
        assert_ne!(once.digest, other.digest, "another seed, another world");
    }
}

/// Whether the checkers can fail: a world with one thing broken on purpose is found out within a
/// few seeds, by the checker of what was broken, and the very same seed holds when it is whole.
fn found_out(flaw: Flaw, by: Invariant) {
    const TRIES_MAX: u64 = 40;
    for seed in 0..TRIES_MAX {
        let Err(broken) = run(plan(seed, Some(flaw))) else { continue };
        assert_eq!(broken.invariant, by, "{broken}");
        assert!(broken.to_string().contains(&format!("seed {seed}")), "{broken}");
        let again = run(plan(seed, Some(flaw))).expect_err("a failing seed fails again");
        assert_eq!((again.step, again.what), (broken.step, broken.what));
        run(plan(seed, None)).unwrap_or_else(|broken| panic!("{broken}"));
        return;
    }
    panic!("{flaw:?} was not found in {TRIES_MAX} seeds");
}

#[test]
fn a_follower_that_forgets_what_it_hears_is_found_out() {
    found_out(Flaw::FollowerForgets, Invariant::RevokedIsDead);
}

#[test]
fn a_follower_that_does_not_look_at_the_age_is_found_out() {
    found_out(Flaw::FollowerNeverAges, Invariant::StaleRefuses);
}

#[test]
fn a_fence_that_holds_nothing_back_is_found_out() {
    found_out(Flaw::FenceIsBlind, Invariant::LogIsWhole);
}

#[test]
fn a_permit_that_grants_more_is_found_out() {
    found_out(Flaw::PermitGrantsMore, Invariant::AuthorityNeverGrows);
}

#[test]
fn a_token_that_leaves_without_its_event_is_found_out() {
    found_out(Flaw::TokenWithoutEvent, Invariant::EveryTokenHasItsEvent);
}

#[test]
fn a_secret_that_is_written_is_found_out() {
    found_out(Flaw::SecretIsWritten, Invariant::NoSecretInClear);
}

#[test]
fn a_server_that_does_not_look_at_the_clock_is_found_out() {
    found_out(Flaw::NobodyLooksAtTheClock, Invariant::NothingIsIssuedBack);
}

#[test]
fn a_log_key_that_nobody_named_is_found_out() {
    found_out(Flaw::LogKeyIsNotNamed, Invariant::LogIsWhole);
}

#[test]
fn a_point_that_believes_any_key_is_found_out() {
    found_out(Flaw::PointBelievesAnyKey, Invariant::UnknownIsNo);
}
