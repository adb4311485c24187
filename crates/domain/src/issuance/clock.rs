//! Whether the time of day is fit to issue by: not while it is back.
//!
//! What had expired would be believed again, and tokens would be dated back. What ends things goes
//! on meanwhile, and so does introspection, by the latest time that was taken for right. Absent on purpose: how it is known that the time of day was set, which takes a
//! monotonic clock and somebody who looks.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use accredit_wire::time::Time;

use crate::refusal::{Refusal, Rule};

/// Where the time of day is back by more than this, no token is issued.
pub const CLOCK_BACK_ISSUING_MAX: Duration = Duration::from_secs(5);

/// The latest time of day that was taken for right, microseconds; the beginning of time until
/// somebody has looked.
#[derive(Debug, Default)]
pub struct LatestTime(AtomicI64);

impl LatestTime {
    /// Takes a time for the latest that was right, also one before that which was taken for it.
    pub fn set(&self, latest: Time) {
        self.0.store(latest.micros(), Ordering::Relaxed);
    }

    /// The time by which a token is judged at `now`: no earlier than one that had come already, so
    /// that a clock that is set back brings nothing to life that had expired.
    pub fn judged_at(&self, now: Time) -> Time {
        now.max(Time::from_micros(self.0.load(Ordering::Relaxed)))
    }

    /// The latest time that was taken for right, whatever the clock says now; `now` where nobody has
    /// looked yet.
    pub fn latest_or(&self, now: Time) -> Time {
        match self.0.load(Ordering::Relaxed) {
            0 => now,
            latest => Time::from_micros(latest),
        }
    }

    /// Refuses to issue at a time that is before it by more than [`CLOCK_BACK_ISSUING_MAX`].
    pub fn may_issue(&self, now: Time) -> Result<(), Refusal> {
        if now.plus(CLOCK_BACK_ISSUING_MAX) >= Time::from_micros(self.0.load(Ordering::Relaxed)) {
            return Ok(());
        }
        Err(Refusal::new(
            Rule::ClockBack,
            "no tokens are issued: the server's time of day was set back",
            "ask again; the operator sets the clock right, or waits until it has settled",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_token_is_issued_where_the_time_of_day_is_back_by_more_than_five_seconds() {
        let (at, latest) = (|seconds| Time::from_seconds(seconds), LatestTime::default());
        assert!(latest.may_issue(at(0)).is_ok(), "before the first look");
        latest.set(at(1000));
        assert_eq!(latest.may_issue(at(994)).expect_err("back").rule, Rule::ClockBack);
        assert!(latest.may_issue(at(995)).is_ok());
        latest.set(at(900));
        assert!(latest.may_issue(at(895)).is_ok(), "it is not back when it is put right");
        assert_eq!((latest.judged_at(at(3)), latest.judged_at(at(901))), (at(900), at(901)));
    }
}
