//! The degraded states of this process: named, with the time since when, and what to do.
//!
//! A state is entered and left by looking: a job looks several times a second, and so does
//! whoever asks `/readyz`. Nothing here needs a restart to recover. Absent on purpose: deciding.
//! What cannot be recorded is not issued whatever stands here; this tells people and their tools
//! why.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use accredit_domain::ports::{StoreHealth, StoreTrouble};
use accredit_wire::time::Time;

/// A write that takes longer than this is slow.
pub const WRITE_SLOW: Duration = Duration::from_millis(500);
/// A clock that went back by no more than this is not remarked upon.
pub const CLOCK_BACK_MIN: Duration = Duration::from_secs(1);
/// A clock that has run this long after it went back is taken as right.
pub const CLOCK_SETTLED: Duration = Duration::from_mins(10);
/// Events that may wait for a checkpoint.
pub const LOG_BEHIND_MAX: u64 = 100_000;

/// One way to be less than well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// The store's disk is full.
    StoreFull,
    /// The store's disk or file is read-only.
    StoreReadOnly,
    /// The store cannot write for another reason.
    StoreFailing,
    /// Writes take long.
    StoreSlow,
    /// The time of day is less than it was.
    ClockBack,
    /// The log's tree is not kept up.
    LogBehind,
    /// An organization of a restored backup issues no tokens yet.
    IssuingClosed,
    /// The process was told to stop.
    Stopping,
}

impl State {
    /// Every state.
    pub const ALL: &'static [Self] = &[
        Self::StoreFull,
        Self::StoreReadOnly,
        Self::StoreFailing,
        Self::StoreSlow,
        Self::ClockBack,
        Self::LogBehind,
        Self::IssuingClosed,
        Self::Stopping,
    ];

    /// The stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::StoreFull => "store-full",
            Self::StoreReadOnly => "store-read-only",
            Self::StoreFailing => "store-failing",
            Self::StoreSlow => "store-slow",
            Self::ClockBack => "clock-back",
            Self::LogBehind => "log-behind",
            Self::IssuingClosed => "issuing-closed",
            Self::Stopping => "stopping",
        }
    }

    /// The check of `/readyz` that it fails.
    pub const fn check(self) -> &'static str {
        match self {
            Self::StoreFull | Self::StoreReadOnly | Self::StoreFailing => "store",
            Self::StoreSlow => "speed",
            Self::ClockBack => "clock",
            Self::LogBehind => "log",
            Self::IssuingClosed => "issuing",
            Self::Stopping => "serving",
        }
    }

    /// Whether no more work should be sent here.
    pub const fn blocks(self) -> bool {
        match self {
            Self::StoreFull
            | Self::StoreReadOnly
            | Self::StoreFailing
            | Self::ClockBack
            | Self::Stopping => true,
            // Administration has to reach it: that is how issuing is opened.
            Self::StoreSlow | Self::LogBehind | Self::IssuingClosed => false,
        }
    }

    /// What to do about it.
    pub const fn hint(self) -> &'static str {
        match self {
            Self::StoreFull => {
                "make room on the disk of the data folder; nothing is issued meanwhile, and \
                 writing goes on by itself"
            }
            Self::StoreReadOnly => {
                "mount the disk of the data folder for writing and look at the modes of its files"
            }
            Self::StoreFailing => "look for `a batch was not committed` in the log of the server",
            Self::StoreSlow => "look at what else uses the disk of the data folder",
            Self::ClockBack => {
                "set the clock right; where it had been ahead by mistake, this ends by itself in \
                 ten minutes"
            }
            Self::LogBehind => {
                "look for `log not integrated` in the log of the server; no event is lost"
            }
            Self::IssuingClosed => {
                "a backup was restored: run `accredit backup reconcile` or `accredit backup waive` \
                 for each organization whose `issuing` is `closed`"
            }
            Self::Stopping => "send work to another node, or start this one again",
        }
    }
}

/// The checks of `/readyz`, in the order in which they are told.
pub const CHECKS: [&str; 6] = ["store", "speed", "clock", "log", "issuing", "serving"];

/// What is remembered from look to look.
#[derive(Debug, Default)]
struct Held {
    since: BTreeMap<State, Time>,
    /// The latest time ever seen.
    latest: Time,
}

/// The states that the process is in.
#[derive(Debug, Default)]
pub struct Watch {
    held: Mutex<Held>,
    log_behind: AtomicBool,
    issuing_closed: AtomicBool,
}

impl Watch {
    /// How the last integration of all logs went.
    pub fn integrated(&self, failed: bool, behind: u64) {
        self.log_behind.store(failed || behind > LOG_BEHIND_MAX, Ordering::Relaxed);
    }

    /// Whether an organization issues no tokens, because a backup was restored.
    pub fn issuing(&self, closed: bool) {
        self.issuing_closed.store(closed, Ordering::Relaxed);
    }

    /// Looks: which states hold now, each with the time since when.
    pub fn look(&self, now: Time, store: &StoreHealth, stopping: bool) -> Vec<(State, Time)> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let back = held.clock_is_back(now);
        let trouble = store.trouble;
        for (state, holds) in [
            (State::StoreFull, trouble == Some(StoreTrouble::Full)),
            (State::StoreReadOnly, trouble == Some(StoreTrouble::ReadOnly)),
            (State::StoreFailing, trouble == Some(StoreTrouble::Failing)),
            (State::StoreSlow, store.last_write > WRITE_SLOW),
            (State::ClockBack, back),
            (State::LogBehind, self.log_behind.load(Ordering::Relaxed)),
            (State::IssuingClosed, self.issuing_closed.load(Ordering::Relaxed)),
            (State::Stopping, stopping),
        ] {
            held.set(state, holds, now);
        }
        held.since.iter().map(|(state, since)| (*state, *since)).collect()
    }

    /// The states as they were last seen.
    pub fn states(&self) -> Vec<(State, Time)> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.since.iter().map(|(state, since)| (*state, *since)).collect()
    }
}

impl Held {
    fn clock_is_back(&mut self, now: Time) -> bool {
        let settled = self.since.get(&State::ClockBack).is_some_and(|since| {
            // What goes back once more begins anew.
            now >= since.plus(CLOCK_SETTLED)
        });
        if settled || now >= self.latest {
            self.latest = now;
            return false;
        }
        now.plus(CLOCK_BACK_MIN) < self.latest
    }

    fn set(&mut self, state: State, holds: bool, now: Time) {
        let name = state.name();
        if !holds {
            if self.since.remove(&state).is_some() {
                tracing::info!(state = name, "recovered");
            }
            return;
        }
        // Told once, and again where the clock makes nonsense of the first time.
        match self.since.get(&state) {
            Some(since) if *since <= now => {}
            Some(_) => {
                self.since.insert(state, now);
            }
            None => {
                tracing::warn!(state = name, hint = state.hint(), "degraded");
                self.since.insert(state, now);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(states: &[(State, Time)]) -> Vec<&'static str> {
        states.iter().map(|(state, _)| state.name()).collect()
    }

    fn at(seconds: i64) -> Time {
        Time::from_seconds(1_767_225_600 + seconds)
    }

    #[test]
    fn each_state_is_entered_and_left_by_looking() {
        let watch = Watch::default();
        let well = StoreHealth::default();
        assert!(watch.look(at(0), &well, false).is_empty());
        for (trouble, name) in [
            (StoreTrouble::Full, "store-full"),
            (StoreTrouble::ReadOnly, "store-read-only"),
            (StoreTrouble::Failing, "store-failing"),
        ] {
            let ill = StoreHealth { trouble: Some(trouble), ..well };
            let begin = watch.held.lock().expect("held").latest;
            let later = begin.plus(Duration::from_secs(1));
            assert_eq!(names(&watch.look(begin, &ill, false)), [name]);
            assert_eq!(watch.look(later, &ill, false)[0].1, begin, "since the first time");
            assert!(watch.look(later, &well, false).is_empty());
        }
        let slow = StoreHealth { last_write: Duration::from_secs(1), ..well };
        assert_eq!(names(&watch.look(at(4), &slow, true)), ["store-slow", "stopping"]);
        watch.integrated(true, 0);
        assert_eq!(names(&watch.look(at(5), &well, false)), ["log-behind"]);
        watch.integrated(false, LOG_BEHIND_MAX + 1);
        assert_eq!(names(&watch.look(at(5), &well, false)), ["log-behind"]);
        watch.integrated(false, 3);
        assert!(watch.look(at(6), &well, false).is_empty());
        assert!(watch.states().is_empty());
    }

    #[test]
    fn a_clock_that_goes_back_is_noticed_until_it_is_right_or_has_settled() {
        let (watch, well) = (Watch::default(), StoreHealth::default());
        assert!(watch.look(at(1000), &well, false).is_empty());
        assert!(watch.look(at(999), &well, false).is_empty(), "a second is nothing");
        assert_eq!(names(&watch.look(at(900), &well, false)), ["clock-back"]);
        assert_eq!(watch.look(at(901), &well, false), [(State::ClockBack, at(900))]);
        assert!(watch.look(at(1001), &well, false).is_empty(), "it was set right");
        assert_eq!(names(&watch.look(at(-9000), &well, false)), ["clock-back"]);
        assert_eq!(names(&watch.look(at(-8401), &well, false)), ["clock-back"]);
        assert!(watch.look(at(-8400), &well, false).is_empty(), "ten minutes on its new way");
        assert!(watch.look(at(-8399), &well, false).is_empty());
        assert_eq!(names(&watch.look(at(-8900), &well, false)), ["clock-back"]);
    }

    #[test]
    fn names_are_stable_words_and_every_check_exists() {
        for state in State::ALL {
            assert!(state.name().bytes().all(|b| b.is_ascii_lowercase() || b == b'-'));
            assert!(CHECKS.contains(&state.check()));
            assert!(!state.hint().is_empty());
        }
    }
}
