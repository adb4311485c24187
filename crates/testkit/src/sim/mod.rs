//! Deterministic simulation: from one seed a small world in which everything happens, and checkers
//! of what must hold whatever happens (ARCHITECTURE.md, invariants).
//!
//! Two organizations, each with resources, agents and enforcement points that follow its feed over
//! a network that delays, repeats, reorders and loses. What happens in which order is drawn from
//! the seed, and so are ids and secrets; the clock is set; the database fails when it is told to.
//! One request at a time runs, to its end or until its write waits for the writer, which is then let
//! go batch by batch: so neither the runtime nor the store's own thread has a say in the order. The
//! same seed therefore gives the same decisions and the same event payloads.
//!
//! Reading order: [`model`] is what ought to be, kept apart from the code under test; [`steps`] is
//! what happens, [`together`] what happens at once, [`strangers`] what comes from nobody, [`day`] how the
//! clock is set; [`network`] are the enforcement points; [`log`] reads what was recorded; [`check`] compares; [`nodes`] is a world of its own, of several nodes on one store. A [`Flaw`] breaks one thing on purpose, to show that its checker can fail.

mod check;
mod day;
mod issue;
mod log;
mod model;
mod network;
pub mod nodes;
mod secrets;
mod steps;
mod strangers;
mod together;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use accredit_wire::crypto::sha256_of;

use crate::TestWorld;
use crate::entropy::Chance;
use day::Day;
use model::Side;

/// An invariant of ARCHITECTURE.md, as a checker names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invariant {
    /// 1. A token says no more than what its agent held.
    AuthorityNeverGrows,
    /// 2. A token that left has one durable event.
    EveryTokenHasItsEvent,
    /// 3. No token is accepted where the revocation that covers it is known.
    RevokedIsDead,
    /// 4. An enforcement point that has heard nothing for too long refuses.
    StaleRefuses,
    /// 5. The log is one chain and one tree, and in the order in which things happened.
    LogIsWhole,
    /// 6. Organizations never meet.
    OrganizationsNeverMeet,
    /// 7. No secret stands in an event or in the store.
    NoSecretInClear,
    /// 8. What is kept of what anybody may send has a named bound.
    BoundsHold,
    /// 9. What nobody knows is refused: a client, a secret, a name, a key.
    UnknownIsNo,
    /// No token is issued while the time of day is back.
    NothingIsIssuedBack,
    /// What is alive is accepted: without it, the others could hold by refusing everything.
    AliveIsAccepted,
    /// A step ended otherwise than it may: a fault that nobody asked for, or none where one was.
    StepEndsWell,
}

/// What is broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// An enforcement point counts the messages it hears, and forgets what they revoke.
    FollowerForgets,
    /// An enforcement point does not look at the age of what it knows.
    FollowerNeverAges,
    /// The write of an issuance does not see what was revoked since its decision.
    FenceIsBlind,
    /// What is permitted is more than what is held.
    PermitGrantsMore,
    /// A token leaves for which no event was written.
    TokenWithoutEvent,
    /// An enforcement point takes whatever key it is shown.
    PointBelievesAnyKey,
    /// The event of a revocation holds a client's secret.
    SecretIsWritten,
    /// The server does not look whether its time of day was set.
    NobodyLooksAtTheClock,
    /// A key of the log comes without the statement by which the one before it names it.
    LogKeyIsNotNamed,
}

/// What a simulation does.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Everything is drawn from it.
    pub seed: u64,
    /// So many things happen.
    pub steps: usize,
    /// What is broken on purpose.
    pub flaw: Option<Flaw>,
}

/// What came of a simulation in which everything held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// What happened, one line each.
    pub told: Vec<String>,
    /// SHA-256 of what happened and of every event's type, time and payload. Keys and signatures
    /// stand in none of them.
    pub digest: [u8; 32],
    /// Tokens that left.
    pub issued: usize,
    /// Tokens that a revocation covers.
    pub revoked: usize,
    /// Messages that enforcement points took.
    pub heard: usize,
    /// Faults of the database.
    pub faults: usize,
    /// Restarts of the server.
    pub restarts: usize,
    /// Signing keys of tokens and of the feed, and secrets, that rotated.
    pub rotated: usize,
    /// Keys of the log that rotated.
    pub log_keys: usize,
    /// How often the clock was set to a time that is not the right one.
    pub clocks: usize,
    /// Tokens that were asked for while the time of day was back.
    pub back: usize,
    /// Decisions that a revocation overtook.
    pub overtaken: usize,
    /// Batches in which several requests shared a commit.
    pub shared: usize,
}

/// What did not hold. Run the seed again to see it again.
#[derive(Clone, Debug)]
pub struct Broken {
    /// The seed.
    pub seed: u64,
    /// How many things had happened.
    pub step: usize,
    /// What did not hold.
    pub invariant: Invariant,
    /// How.
    pub what: String,
    /// What had happened.
    pub told: Vec<String>,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, step, invariant, what, told } = self;
        writeln!(f, "seed {seed}, after {step} steps: {invariant:?}: {what}")?;
        writeln!(
            f,
            "again: ACCREDIT_SIM_SEED={seed} cargo test -p accredit-domain whatever_happens"
        )?;
        told.iter().rev().take(12).rev().try_for_each(|line| writeln!(f, "  {line}"))
    }
}

/// An invariant that does not hold, before it is said where.
type Broke = (Invariant, String);

/// `Err` unless it holds.
fn must(holds: bool, invariant: Invariant, what: impl FnOnce() -> String) -> Result<(), Broke> {
    if holds { Ok(()) } else { Err((invariant, what())) }
}

/// One world and all that is known about it.
struct Simulation {
    world: Option<Arc<TestWorld>>,
    plan: Plan,
    chance: Chance,
    sides: [Side; 2],
    day: Day,
    report: Report,
}

/// Runs a plan to its end, or to the first thing that does not hold.
pub async fn run(plan: Plan) -> Result<Report, Box<Broken>> {
    let mut simulation = Simulation::begin(plan).await;
    let mut step = 0;
    let result = loop {
        if step == plan.steps {
            break simulation.finish().await;
        }
        step += 1;
        if let Err(broke) = simulation.step(step).await {
            break Err(broke);
        }
    };
    match result {
        Ok(()) => Ok(simulation.report),
        Err((invariant, what)) => {
            let told = simulation.report.told;
            Err(Box::new(Broken { seed: plan.seed, step, invariant, what, told }))
        }
    }
}

impl Simulation {
    async fn begin(plan: Plan) -> Self {
        let world = Arc::new(TestWorld::new(plan.seed).await);
        world.faults.blind_fence(plan.flaw == Some(Flaw::FenceIsBlind));
        let sides = [Side::new(&world, "acme", plan).await, Side::new(&world, "umbra", plan).await];
        let report = Report {
            told: Vec::new(),
            digest: [0; 32],
            issued: 0,
            revoked: 0,
            heard: 0,
            faults: 0,
            restarts: 0,
            rotated: 0,
            log_keys: 0,
            clocks: 0,
            back: 0,
            overtaken: 0,
            shared: 0,
        };
        let (day, chance) = (Day::begin(&world), Chance::new(plan.seed));
        let mut simulation =
            Self { world: Some(Arc::clone(&world)), plan, chance, sides, day, report };
        simulation.look(&world);
        simulation
    }

    fn world(&self) -> Arc<TestWorld> {
        Arc::clone(self.world.as_ref().expect("there is a world between restarts"))
    }

    fn tell(&mut self, what: String) {
        self.report.told.push(what);
    }

    /// The server stops and starts again: what was in memory is gone.
    async fn restart(&mut self) {
        let world = self.world.take().and_then(Arc::into_inner);
        let world = world.expect("nobody else holds the world between steps");
        // A seed of its own: what is made after a restart must not repeat what was made before.
        self.report.restarts += 1;
        let seed = (self.plan.seed << 16) + self.report.restarts as u64;
        let world = world.reopened(seed).await;
        world.faults.blind_fence(self.plan.flaw == Some(Flaw::FenceIsBlind));
        world.clock.advance(Duration::from_secs(1));
        self.day = Day::begin(&world);
        self.look(&world);
        self.world = Some(Arc::new(world));
        self.tell("restart".to_owned());
    }

    /// Everything was said and done: the log agrees with all of it.
    async fn finish(&mut self) -> Result<(), Broke> {
        let world = self.world();
        let mut parts: Vec<Vec<u8>> = Vec::new();
        for place in 0..2 {
            self.check_side(place).await?;
            let side = &self.sides[place];
            let events = log::events(&world, &side.org).await?;
            log::check(&world, side, &events).await?;
            log::check_apart(&events, side, &self.sides[1 - place])?;
            let written = events
                .iter()
                .map(|event| format!("{} {} {}\n", event.kind, event.at.micros(), event.masked()));
            let written: Vec<String> = written.collect();
            for side in &self.sides {
                written.iter().try_for_each(|line| secrets::check(side, "an event", line))?;
            }
            parts.extend(written.into_iter().map(String::into_bytes));
            self.report.issued += side.tokens.len();
            self.report.revoked += side.tokens.iter().filter(|left| left.ended.is_some()).count();
        }
        // It takes a while: not for every seed.
        if self.plan.seed.is_multiple_of(8) {
            let kept = world.bytes_at_rest();
            let kept = String::from_utf8_lossy(&kept);
            self.sides.iter().try_for_each(|side| secrets::check(side, "the store", &kept))?;
        }
        parts.extend(self.report.told.iter().map(|line| line.clone().into_bytes()));
        let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        self.report.digest = sha256_of(&parts);
        Ok(())
    }
}
