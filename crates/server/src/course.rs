//! The time of day against the monotonic clock: whether somebody set it, and which time has surely
//! come.
//!
//! Between two looks the time of day should go on as the monotonic clock does. Where it does not it
//! was set, and this process cannot know whether it was wrong before or is now: it says so until
//! it is put right or has stayed as it is for [`CLOCK_SETTLED`]. What has once been deleted does
//! not come back, so that deleting waits for [`Course::surely`], which no jump moves forwards.
//!
//! What is not noticed: a time of day that was wrong when the process started, and one that creeps
//! away, by less than the bounds from look to look.

use std::time::Duration;

use accredit_wire::time::Time;

/// A time of day that went back by no more than this is not remarked upon.
pub const CLOCK_BACK_MIN: Duration = Duration::from_secs(1);
/// One that went ahead by no more than this is not remarked upon: as far as clocks may differ
/// before tokens suffer, with room for a process that was stopped between two readings.
pub const CLOCK_AHEAD_MIN: Duration = Duration::from_secs(5);
/// One that has kept its course this long after it was set is taken as right.
pub const CLOCK_SETTLED: Duration = Duration::from_mins(10);

/// How the time of day was set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Off {
    /// It is earlier than it was.
    Back,
    /// It went on by more than has passed.
    Ahead,
}

/// The course of the time of day since the first look.
#[derive(Debug, Default)]
pub struct Course {
    held: Option<Held>,
}

#[derive(Debug)]
struct Held {
    /// The time of day less the monotonic clock, microseconds, as it is taken for right.
    right: i64,
    /// The smallest such difference that surely is not ahead.
    surely: i64,
    /// The latest time of day that was taken for right.
    latest: Time,
    /// The first look, by the monotonic clock.
    began: Duration,
    /// Since when the course is as it is, by the monotonic clock, and the difference then.
    since: Duration,
    difference: i64,
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

impl Course {
    /// Looks: the time of day is `now`, the monotonic clock shows `elapsed`.
    pub fn look(&mut self, now: Time, elapsed: Duration) -> Option<Off> {
        let difference = now.micros().saturating_sub(micros(elapsed));
        let held = self.held.get_or_insert(Held {
            right: difference,
            surely: difference,
            latest: now,
            began: elapsed,
            since: elapsed,
            difference,
        });
        held.surely = held.surely.min(difference);
        let moved = difference.saturating_sub(held.difference);
        if moved < -micros(CLOCK_BACK_MIN) || moved > micros(CLOCK_AHEAD_MIN) {
            held.since = elapsed;
        }
        held.difference = difference;
        if elapsed.saturating_sub(held.since) >= CLOCK_SETTLED {
            // What is slewed is followed, too.
            (held.right, held.surely, held.latest) = (difference, difference, now);
            return None;
        }
        if now.plus(CLOCK_BACK_MIN) < held.latest {
            return Some(Off::Back);
        }
        if difference > held.right.saturating_add(micros(CLOCK_AHEAD_MIN)) {
            return Some(Off::Ahead);
        }
        held.latest = held.latest.max(now);
        None
    }

    /// The latest time of day that was taken for right; the beginning of time before the first look.
    pub fn latest(&self) -> Time {
        self.held.as_ref().map_or(Time::default(), |held| held.latest)
    }

    /// A time that has come, whatever the time of day was set to since. Nothing while the process
    /// has not yet run for [`CLOCK_SETTLED`]: it may have started with a clock that is ahead.
    pub fn surely(&self, elapsed: Duration) -> Option<Time> {
        let held = self.held.as_ref()?;
        let is_settled = elapsed.saturating_sub(held.began) >= CLOCK_SETTLED;
        is_settled.then(|| Time::from_micros(held.surely.saturating_add(micros(elapsed))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Time {
        Time::from_seconds(1_767_225_600 + seconds)
    }

    /// Looks at the times of day, seconds, each when so many seconds have passed.
    fn looks(course: &mut Course, looks: &[(i64, u64, Option<Off>)]) {
        for &(now, elapsed, off) in looks {
            let told = course.look(at(now), Duration::from_secs(elapsed));
            assert_eq!(told, off, "{now} after {elapsed}");
        }
    }

    fn surely(course: &Course, elapsed: u64) -> Option<Time> {
        course.surely(Duration::from_secs(elapsed))
    }

    const BACK: Option<Off> = Some(Off::Back);
    const AHEAD: Option<Off> = Some(Off::Ahead);

    #[test]
    fn a_clock_that_goes_back_is_noticed_until_it_is_right_or_has_settled() {
        let mut course = Course::default();
        looks(
            &mut course,
            &[
                (1000, 0, None),
                (999, 0, None), // A second is nothing.
                (900, 1, BACK),
                (901, 2, BACK),
                (1002, 2, None), // It was set right,
                (900, 3, BACK),
                (1001, 104, None), // or it has come to where it was.
                (-9000, 105, BACK),
                (-8401, 704, BACK),
                (-8400, 705, None), // Ten minutes on its new way.
                (-8900, 706, BACK),
            ],
        );
    }

    #[test]
    fn a_clock_that_goes_ahead_is_noticed_and_is_not_back_when_it_is_put_right() {
        let mut course = Course::default();
        looks(
            &mut course,
            &[
                (0, 0, None),
                (64, 60, None), // Four seconds are nothing.
                (7260, 60, AHEAD),
                (7300, 100, AHEAD),
                (101, 101, None),
                (7302, 102, AHEAD),
                (7901, 701, AHEAD),
                (7902, 702, None), // Ten minutes on its new way,
                (703, 703, BACK),  // which it now has left.
            ],
        );
        assert_eq!(course.latest(), at(7902));
    }

    #[test]
    fn what_is_slewed_is_followed() {
        let mut course = Course::default();
        for second in 0..100_000 {
            let slewed = i64::try_from(second).expect("small") / 1000;
            looks(&mut course, &[(slewed + second as i64, second, None)]);
        }
        assert_eq!(surely(&course, 99_999), Some(at(99_999 + 99)));
    }

    #[test]
    fn no_jump_makes_a_time_come_and_neither_does_a_start_with_a_clock_that_is_ahead() {
        let mut course = Course::default();
        assert_eq!(surely(&course, 5), None);
        looks(&mut course, &[(86_400, 0, None)]);
        assert_eq!(surely(&course, 599), None);
        looks(&mut course, &[(599, 599, BACK), (600, 600, BACK)]);
        assert_eq!(surely(&course, 600), Some(at(600)));
        looks(&mut course, &[(1300, 1300, None), (90_000, 1301, AHEAD), (90_500, 1801, AHEAD)]);
        assert_eq!(surely(&course, 1801), Some(at(1801)));
        looks(&mut course, &[(1802, 1802, None), (90_503, 1803, AHEAD), (91_103, 2403, None)]);
        assert_eq!(surely(&course, 2403), Some(at(91_103)), "who keeps it up is believed");
    }
}
