//! The degraded states of this process: named, with the time since when, and what to do.
//!
//! A state is entered and left by looking: a job looks several times a second, and so does
//! whoever asks `/readyz`. Nothing here needs a restart to recover. Absent on purpose: deciding.
//! What cannot be recorded is not issued whatever stands here; this tells people and their tools
//! why.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use accredit_domain::issuance::clock::LatestTime;
use accredit_domain::ports::{StoreHealth, StoreTrouble};
use accredit_domain::view::VIEW_AGE_MAX;
use accredit_wire::time::Time;

use crate::course::{Course, Off};

/// A write that takes longer than this is slow.
pub const WRITE_SLOW: Duration = Duration::from_millis(500);
/// How long a job that panicked has to run well to be taken as well.
pub const JOB_SETTLED: Duration = Duration::from_mins(10);
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
    /// The store has lost what it had answered, and nobody has declared that yet.
    StoreLost,
    /// Writes take long.
    StoreSlow,
    /// The time of day is less than it was.
    ClockBack,
    /// The time of day went on by more than has passed.
    ClockAhead,
    /// The log's tree is not kept up.
    LogBehind,
    /// An organization of a restored backup issues no tokens yet.
    IssuingClosed,
    /// It has not taken over for too long what other nodes wrote.
    ViewStale,
    /// It was started a moment ago, and has not taken over yet what other nodes wrote.
    Starting,
    /// The process was told to stop.
    Stopping,
    /// A background job panicked lately, and was started again.
    JobFailing,
    /// There is no root key, so that the server does not begin ([`crate::waiting`]).
    RootKeyMissing,
    /// The file of the root key cannot be used.
    RootKeyUnusable,
    /// The root key is not the store's.
    RootKeyWrong,
}

impl State {
    /// Every state.
    pub const ALL: &'static [Self] = &[
        Self::StoreFull,
        Self::StoreReadOnly,
        Self::StoreFailing,
        Self::StoreLost,
        Self::StoreSlow,
        Self::ClockBack,
        Self::ClockAhead,
        Self::LogBehind,
        Self::IssuingClosed,
        Self::ViewStale,
        Self::Starting,
        Self::Stopping,
        Self::JobFailing,
        Self::RootKeyMissing,
        Self::RootKeyUnusable,
        Self::RootKeyWrong,
    ];

    /// The stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::StoreFull => "store-full",
            Self::StoreReadOnly => "store-read-only",
            Self::StoreFailing => "store-failing",
            Self::StoreLost => "store-lost",
            Self::StoreSlow => "store-slow",
            Self::ClockBack => "clock-back",
            Self::ClockAhead => "clock-ahead",
            Self::LogBehind => "log-behind",
            Self::IssuingClosed => "issuing-closed",
            Self::ViewStale => "view-stale",
            Self::Starting => "starting",
            Self::Stopping => "stopping",
            Self::JobFailing => "job-failing",
            Self::RootKeyMissing => "root-key-missing",
            Self::RootKeyUnusable => "root-key-unusable",
            Self::RootKeyWrong => "root-key-wrong",
        }
    }

    /// The check of `/readyz` that it fails.
    pub const fn check(self) -> &'static str {
        match self {
            Self::StoreFull | Self::StoreReadOnly | Self::StoreFailing | Self::StoreLost => "store",
            Self::StoreSlow => "speed",
            Self::ClockBack | Self::ClockAhead => "clock",
            Self::LogBehind => "log",
            Self::IssuingClosed => "issuing",
            Self::ViewStale | Self::Starting => "view",
            Self::Stopping => "serving",
            Self::JobFailing => "jobs",
            Self::RootKeyMissing | Self::RootKeyUnusable | Self::RootKeyWrong => "root-key",
        }
    }

    /// Whether no more work should be sent here.
    pub const fn blocks(self) -> bool {
        match self {
            Self::StoreFull
            | Self::StoreReadOnly
            | Self::StoreFailing
            | Self::StoreLost
            | Self::ClockBack
            | Self::ViewStale
            | Self::Starting
            | Self::Stopping
            | Self::RootKeyMissing
            | Self::RootKeyUnusable
            | Self::RootKeyWrong => true,
            // Administration has to reach it: that is how issuing is opened. A clock that went
            // ahead has most likely been put right: what was issued before seems older, and ends
            // earlier.
            Self::StoreSlow
            | Self::ClockAhead
            | Self::LogBehind
            | Self::IssuingClosed
            | Self::JobFailing => false,
        }
    }

    /// What to do about it.
    pub const fn hint(self) -> &'static str {
        match self {
            Self::RootKeyMissing => {
                "put the root key where `root_key_file` says; the server goes on by itself"
            }
            Self::RootKeyUnusable => {
                "let the root key be a file of 64 hexadecimal digits that its owner alone can \
                 read; the log says what is wrong, and the server goes on by itself"
            }
            Self::RootKeyWrong => {
                "put back the root key that opens this store; `accredit doctor` looks whether one \
                 beside it does, and the server goes on by itself"
            }
            Self::StoreFull => {
                "make room on the disk of the data folder; nothing is issued meanwhile, and \
                 writing goes on by itself"
            }
            Self::StoreReadOnly => {
                "mount the disk of the data folder for writing and look at the modes of its files"
            }
            Self::StoreFailing => "look for `a batch was not committed` in the log of the server",
            Self::StoreLost => {
                "a server without all that was answered took the place of the database's primary: put \
                 the lost one back if it is whole, or declare the loss with `accredit store \
                 declare-loss`; nothing is answered meanwhile"
            }
            Self::StoreSlow => "look at what else uses the disk of the data folder",
            Self::ClockBack => {
                "set the clock right; where it had been ahead by mistake, this ends by itself in \
                 ten minutes; no token is issued while it is back by more than five seconds"
            }
            Self::ClockAhead => {
                "look whether the clock is right; where it had been behind, or was stopped with the \
                 machine, this ends by itself in ten minutes; nothing is deleted meanwhile"
            }
            Self::LogBehind => {
                "look for `log not integrated` in the log of the server; no event is lost"
            }
            Self::IssuingClosed => {
                "a backup was restored: run `accredit backup reconcile` or `accredit backup waive` \
                 for each organization whose `issuing` is `closed`"
            }
            Self::ViewStale => {
                "look whether the database answers this node, and for `not taken over` in its log; \
                 nothing is answered meanwhile, and it goes on by itself"
            }
            Self::Starting => {
                "wait: the node asks the database what other nodes wrote, and answers nothing before it \
                 knows; where that takes longer than two seconds it is `view-stale`"
            }
            Self::JobFailing => {
                "look for `a job panicked` in the log of the server and report it: it is a mistake \
                 in the program; the job was started again, and this ends by itself ten minutes \
                 after the last time"
            }
            Self::Stopping => "send work to another node, or start this one again",
        }
    }
}

/// The checks of `/readyz`, in the order in which they are told.
pub const CHECKS: [&str; 9] =
    ["store", "speed", "clock", "log", "issuing", "view", "serving", "jobs", "root-key"];

/// How long a node that has not taken over anything yet is taken to be starting.
pub const STARTING_MAX: Duration = VIEW_AGE_MAX;

/// What this node knows of what others write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Known {
    /// Enough to decide by.
    #[default]
    Current,
    /// Nothing yet.
    Nothing,
    /// Too little, for too long.
    Stale,
}

/// What is remembered from look to look.
#[derive(Debug, Default)]
struct Held {
    since: BTreeMap<State, Time>,
    course: Course,
    /// When a job panicked last, by the monotonic clock.
    panicked: Option<Duration>,
    /// What is known of what other nodes write.
    known: Known,
    /// When it was first looked and nothing was known of it, by the monotonic clock.
    began: Option<Duration>,
}

/// The states that the process is in.
#[derive(Debug, Default)]
pub struct Watch {
    held: Mutex<Held>,
    log_behind: AtomicBool,
    issuing_closed: AtomicBool,
    store_lost: AtomicBool,
    /// [`Course::latest`] at the last look, for whoever issues.
    latest: Arc<LatestTime>,
}

impl Watch {
    /// A watch that tells which time of day was the latest that was right.
    pub fn new(latest: Arc<LatestTime>) -> Self {
        Self { latest, ..Self::default() }
    }

    /// How the last integration of all logs went.
    pub fn integrated(&self, failed: bool, behind: u64) {
        self.log_behind.store(failed || behind > LOG_BEHIND_MAX, Ordering::Relaxed);
    }

    /// Whether an organization issues no tokens, because a backup was restored.
    pub fn issuing(&self, closed: bool) {
        self.issuing_closed.store(closed, Ordering::Relaxed);
    }

    /// What this node knows of what others write.
    pub fn view(&self, known: Known) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).known = known;
    }

    /// Whether the store has lost what it had answered.
    pub fn store(&self, lost: bool) {
        self.store_lost.store(lost, Ordering::Relaxed);
    }

    /// A job has panicked, when the monotonic clock showed `elapsed`.
    pub fn panicked(&self, elapsed: Duration) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).panicked = Some(elapsed);
    }

    /// A time that has come, whatever the time of day was set to; nothing where none is known.
    pub fn surely(&self, elapsed: Duration) -> Option<Time> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).course.surely(elapsed)
    }

    /// Looks: which states hold now, each with the time since when. `elapsed` is what the monotonic
    /// clock shows.
    pub fn look(
        &self,
        (now, elapsed): (Time, Duration),
        store: &StoreHealth,
        stopping: bool,
    ) -> Vec<(State, Time)> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let off = held.course.look(now, elapsed);
        let is_late = |panicked: Duration| elapsed.saturating_sub(panicked) < JOB_SETTLED;
        let job_failing = held.panicked.is_some_and(is_late);
        let is_starting = held.is_starting(elapsed);
        let is_stale = held.known != Known::Current && !is_starting;
        self.latest.set(held.course.latest());
        let trouble = store.trouble;
        for (state, holds) in [
            (State::StoreFull, trouble == Some(StoreTrouble::Full)),
            (State::StoreReadOnly, trouble == Some(StoreTrouble::ReadOnly)),
            (State::StoreFailing, trouble == Some(StoreTrouble::Failing)),
            (State::StoreLost, self.store_lost.load(Ordering::Relaxed)),
            (State::StoreSlow, store.last_write > WRITE_SLOW),
            (State::ClockBack, off == Some(Off::Back)),
            (State::ClockAhead, off == Some(Off::Ahead)),
            (State::LogBehind, self.log_behind.load(Ordering::Relaxed)),
            (State::IssuingClosed, self.issuing_closed.load(Ordering::Relaxed)),
            (State::ViewStale, is_stale),
            (State::Starting, is_starting),
            (State::Stopping, stopping),
            (State::JobFailing, job_failing),
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
    /// Whether nothing is known yet, and for no longer than a start takes.
    fn is_starting(&mut self, elapsed: Duration) -> bool {
        if self.known != Known::Nothing {
            return false;
        }
        let began = *self.began.get_or_insert(elapsed);
        elapsed.saturating_sub(began) <= STARTING_MAX
    }

    fn set(&mut self, state: State, holds: bool, now: Time) {
        let name = state.name();
        if !holds {
            if self.since.remove(&state).is_some() {
                // A start is no trouble.
                if state != State::Starting {
                    tracing::info!(state = name, "recovered");
                }
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
                if state == State::Starting {
                    tracing::info!(
                        "it is asked what other nodes wrote; nothing is answered before"
                    );
                } else {
                    tracing::warn!(state = name, hint = state.hint(), "degraded");
                }
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
        assert!(watch.look((at(0), Duration::from_secs(7)), &well, false).is_empty());
        for (trouble, name) in [
            (StoreTrouble::Full, "store-full"),
            (StoreTrouble::ReadOnly, "store-read-only"),
            (StoreTrouble::Failing, "store-failing"),
        ] {
            let ill = StoreHealth { trouble: Some(trouble), ..well };
            let begin = at(0);
            let later = begin.plus(Duration::from_secs(1));
            assert_eq!(names(&watch.look((begin, Duration::from_secs(7)), &ill, false)), [name]);
            assert_eq!(
                watch.look((later, Duration::from_secs(7)), &ill, false)[0].1,
                begin,
                "since the first time"
            );
            assert!(watch.look((later, Duration::from_secs(7)), &well, false).is_empty());
        }
        let slow = StoreHealth { last_write: Duration::from_secs(1), ..well };
        assert_eq!(
            names(&watch.look((at(4), Duration::from_secs(8)), &slow, true)),
            ["store-slow", "stopping"]
        );
        watch.integrated(true, 0);
        assert_eq!(
            names(&watch.look((at(5), Duration::from_secs(8)), &well, false)),
            ["log-behind"]
        );
        watch.integrated(false, LOG_BEHIND_MAX + 1);
        assert_eq!(
            names(&watch.look((at(5), Duration::from_secs(8)), &well, false)),
            ["log-behind"]
        );
        watch.integrated(false, 3);
        assert!(watch.look((at(6), Duration::from_secs(9)), &well, false).is_empty());
        assert!(watch.states().is_empty());
    }

    #[test]
    fn a_node_that_knows_nothing_yet_is_starting_for_a_moment_and_stale_after_it() {
        let (watch, well) = (Watch::default(), StoreHealth::default());
        let look = |known: Known, millis: u64| {
            watch.view(known);
            names(&watch.look((at(0), Duration::from_millis(millis)), &well, false))
        };
        // However long ago the process began.
        assert_eq!(look(Known::Nothing, 60_000), ["starting"]);
        assert_eq!(look(Known::Nothing, 62_000), ["starting"]);
        assert_eq!(look(Known::Nothing, 62_001), ["view-stale"]);
        assert!(look(Known::Current, 62_100).is_empty());
        assert_eq!(look(Known::Stale, 65_000), ["view-stale"]);
        assert!(State::Starting.blocks(), "nobody sends it work");
    }

    #[test]
    fn a_clock_that_was_set_is_named_and_stops_issuing_where_it_is_back() {
        let (latest, well) = (Arc::<LatestTime>::default(), StoreHealth::default());
        let watch = Watch::new(Arc::clone(&latest));
        let is_clock_back = |now| latest.may_issue(now).is_err();
        let look = |now: i64, elapsed: u64| {
            names(&watch.look((at(now), Duration::from_secs(elapsed)), &well, false))
        };
        assert!(!is_clock_back(at(0)), "before the first look");
        assert!(look(1000, 0).is_empty());
        assert_eq!(look(5000, 1), ["clock-ahead"]);
        assert!(!is_clock_back(at(1001)), "it is not back when it is put right");
        assert!(look(1002, 2).is_empty());
        assert_eq!(look(900, 3), ["clock-back"]);
        assert_eq!(watch.states(), [(State::ClockBack, at(900))]);
        assert!(is_clock_back(at(996)) && !is_clock_back(at(997)));
        assert!(look(1499, 602).is_empty(), "it has come to where it was");
        assert!(!is_clock_back(at(1499)));
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
