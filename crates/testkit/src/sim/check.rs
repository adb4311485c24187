//! The checkers over tokens: who accepts what, against what ought to be.

use std::time::Duration;

use accredit_wire::time::Time;

use super::model::{Left, Side};
use super::network::Point;
use super::{Broke, Flaw, Invariant, Simulation, must};

/// Beyond this age of what it knows an enforcement point refuses, in seconds: the default bound.
const AGE_MAX: i64 = 60;
/// By so much clocks may differ, in seconds.
const SKEW: i64 = 60;

impl Simulation {
    /// Every token of an organization is accepted where it is alive and nowhere else.
    pub(super) async fn check_side(&self, place: usize) -> Result<(), Broke> {
        let world = self.world();
        let (side, other) = (&self.sides[place], &self.sides[1 - place]);
        let (tenant, now) = (world.tenant(&side.org).await, world.now());
        let right = world.clock.right();
        // What has expired does not come to life where the time is set back.
        let judged = self.day.judged_at(now);
        let looked = self.plan.flaw != Some(Flaw::NobodyLooksAtTheClock);
        let asked_at = if looked { world.world.latest.judged_at(now) } else { judged };
        must(tenant.rev() == side.rev(), Invariant::LogIsWhole, || {
            format!("the counter is {} after {} revocations", tenant.rev(), side.rev())
        })?;
        for left in &side.tokens {
            let verified = tenant.verifier.verify_token(&left.text, asked_at);
            let here = verified.is_ok();
            must(!here || left.ended.is_none(), Invariant::RevokedIsDead, || {
                format!("the issuer accepts {}", left.told())
            })?;
            must(!here || !left.is_over(judged), Invariant::RevokedIsDead, || {
                format!("the issuer accepts at {now}, too late: {}", left.told())
            })?;
            must(
                here || left.ended.is_some() || left.is_over(judged) || left.is_to_come(judged),
                Invariant::AliveIsAccepted,
                || format!("the issuer refuses {}: {:?}", left.told(), verified.err()),
            )?;
            for point in &side.points {
                check_point(left, point, right)?;
            }
        }
        self.check_apart(side, other).await
    }

    /// What is one organization's is nothing to the other's issuer and enforcement points.
    async fn check_apart(&self, side: &Side, other: &Side) -> Result<(), Broke> {
        let world = self.world();
        let (there, now) = (world.tenant(&other.org).await, world.now());
        let right = world.clock.right();
        for left in side.tokens.iter().rev().take(2) {
            let issuer = [(&there.verifier, now)].into_iter();
            let points = other.points.iter().map(|point| (point.verifier(), right));
            for (verifier, at) in issuer.chain(points) {
                let accepted = verifier.verify_token(&left.text, at).is_ok();
                must(!accepted, Invariant::OrganizationsNeverMeet, || {
                    format!("the other organization accepts {}", left.told())
                })?;
            }
        }
        Ok(())
    }
}

/// One token at one enforcement point, which has the right time.
pub(super) fn check_point(left: &Left, point: &Point, now: Time) -> Result<(), Broke> {
    let verified = point.verifier().verify_token(&left.text, now);
    let accepted = verified.is_ok();
    let meant = left.token.audience == point.audience();
    let age = point.at.map(|at| now.micros() - at.micros());
    let judged = point.judges_at(now);
    let stale = age.is_none_or(|age| age > AGE_MAX * 1_000_000);
    let told =
        || format!("a point that knows {} and is {age:?} us old: {}", point.rev, left.told());
    if accepted {
        let known = left.ended.is_some_and(|rev| rev <= point.rev);
        must(!known, Invariant::RevokedIsDead, || format!("accepted by {}", told()))?;
        must(!stale, Invariant::StaleRefuses, || format!("accepted by {}", told()))?;
        let in_time = !left.is_over(judged) && !left.is_to_come(judged);
        return must(meant && in_time, Invariant::AuthorityNeverGrows, || {
            format!("for another, too early or too late: accepted by {}", told())
        });
    }
    // What was decided later than what the point knows, it must ask about first.
    let known = left.token.rev <= point.rev && left.ended.is_none();
    let alive = meant && known && !stale && !left.is_over(judged) && !left.is_to_come(judged);
    must(!alive, Invariant::AliveIsAccepted, || {
        format!("refused ({:?}) by {}", verified.err(), told())
    })
}

impl Left {
    /// Whether its time is over, also with a clock that is behind.
    pub(super) fn is_over(&self, now: Time) -> bool {
        now.seconds() >= self.token.expires_at + SKEW
    }

    /// Whether it was issued at a time that has not come, also with a clock that is ahead.
    fn is_to_come(&self, now: Time) -> bool {
        Time::from_seconds(self.token.issued_at) > now.plus(Duration::from_secs(SKEW as u64))
    }

    /// As a report names it.
    pub(super) fn told(&self) -> String {
        format!("{} of rev {}, ended at {:?}", self.token.id, self.token.rev, self.ended)
    }
}
