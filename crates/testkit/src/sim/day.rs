//! The time of day as the server has it, which somebody sets back and forth, and what ought to
//! follow: nothing is issued while it is back, and everything else goes on.
//!
//! Enforcement points stand elsewhere and have the right time, so that they tell what a token is
//! worth to others.

use std::time::Duration;

use accredit_domain::Rule;
use accredit_domain::issuance::Outcome;
use accredit_wire::time::Time;

use super::{Broke, Flaw, Invariant, Simulation, must};
use crate::TestWorld;

/// Where the server's time of day is set to, seconds beside the right one. Every second time it is
/// put right.
const OFF: [i64; 8] = [-200_000, -7_200, -600, -30, -3, 30, 7_200, 100_000];
/// Back by more than this, no token is issued, microseconds.
const BACK_MAX: i64 = 5_000_000;
/// Ahead by more than this, a time is not taken for right before it has stayed, microseconds.
const AHEAD_MAX: i64 = 5_000_000;
/// By so much, microseconds, a clock may be put right without anybody remarking upon it.
const NOT_REMARKED: std::ops::RangeInclusive<i64> = -1_000_000..=AHEAD_MAX;
/// How long a time of day stays as it was set until it is taken for right.
const SETTLES_AFTER: Duration = Duration::from_mins(10);

/// What ought to be known of the time of day, from how it was set.
pub(super) struct Day {
    /// By how much it is taken to be beside the right time and yet right, microseconds.
    taken: i64,
    /// By how much it was beside the right time when somebody looked last, microseconds.
    seen: i64,
    /// Since when it is as it is, by a clock that nobody sets.
    since: Duration,
    /// The latest time that was taken for right, microseconds.
    latest: i64,
}

impl Day {
    /// Of a process that starts now: it cannot know better than what it sees.
    pub(super) fn begin(world: &TestWorld) -> Self {
        let (off, since) = (off(world), world.clock.passed());
        Self { taken: off, seen: off, since, latest: world.now().micros() }
    }

    /// The server looks, which it does several times a second.
    fn look(&mut self, world: &TestWorld) {
        let (off, now) = (off(world), world.now().micros());
        let moved = off - std::mem::replace(&mut self.seen, off);
        if !NOT_REMARKED.contains(&moved) {
            self.since = world.clock.passed();
        }
        if world.clock.passed().saturating_sub(self.since) >= SETTLES_AFTER {
            (self.taken, self.latest) = (off, now);
        } else if off <= self.taken + AHEAD_MAX {
            self.latest = self.latest.max(now);
        }
    }

    /// The time by which the server must judge what it is shown.
    pub(super) fn judged_at(&self, now: Time) -> Time {
        now.max(Time::from_micros(self.latest))
    }

    fn is_back(&self, now: Time) -> bool {
        now.micros() + BACK_MAX < self.latest
    }
}

/// By how much the server's time of day is beside the right one, microseconds.
fn off(world: &TestWorld) -> i64 {
    world.now().micros() - world.clock.right().micros()
}

impl Simulation {
    /// Somebody sets the server's time of day, or puts it right; perhaps it stays so for a while.
    pub(super) fn a_clock_is_set(&mut self, world: &TestWorld) {
        self.look(world);
        let seconds = if self.chance.once_in(2) { 0 } else { OFF[self.chance.below(OFF.len())] };
        let by = Duration::from_secs(seconds.unsigned_abs());
        let right = world.clock.right();
        world.clock.set(if seconds < 0 { right.minus(by) } else { right.plus(by) });
        self.report.clocks += usize::from(seconds != 0);
        self.tell(format!("the clock is set to {seconds} s beside the right time"));
        self.look(world);
        if self.chance.once_in(6) {
            let stays = SETTLES_AFTER + Duration::from_secs(self.chance.below(100) as u64);
            world.clock.advance(stays);
            self.tell(format!("{} s pass", stays.as_secs()));
            self.look(world);
        }
    }

    pub(super) fn look(&mut self, world: &TestWorld) {
        self.day.look(world);
        if self.plan.flaw != Some(Flaw::NobodyLooksAtTheClock) {
            world.server.look();
        }
    }

    /// What a client was answered that asked at `now`; nothing where the database failed.
    pub(super) fn check_answer(
        &mut self,
        now: Time,
        outcome: Option<&Outcome>,
    ) -> Result<(), Broke> {
        let is_back = self.day.is_back(now);
        self.report.back += usize::from(is_back);
        match outcome {
            Some(Outcome::Issued(_)) => must(!is_back, Invariant::NothingIsIssuedBack, || {
                let latest = Time::from_micros(self.day.latest);
                format!("a token was issued at {now}, after {latest} had been")
            }),
            Some(Outcome::Refused(refusal)) => {
                let says_so = refusal.rule == Rule::ClockBack;
                must(!says_so || is_back, Invariant::AliveIsAccepted, || {
                    format!("refused at {now} because the clock is back, which it is not")
                })
            }
            None => Ok(()),
        }
    }
}
