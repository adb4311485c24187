//! What a person should look at: the issuer contradicts what it said before.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use accredit_wire::revocations::feed;
use accredit_wire::time::Time;

/// The most alarms kept; the oldest go first. All were logged when they came up.
pub const ALARMS_MAX: usize = 64;

/// What to do about an alarm of the log that has an innocent cause.
const RESTORED_HINT: &str = "; if the operator says that a backup was restored and names the \
                             generation that began with it, make the verifier with \
                             `accept_restored(<generation>)`";

/// A contradiction, and when it was first noticed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alarm {
    /// What contradicts what.
    pub what: Contradiction,
    /// When this verifier first noticed it, by its own clock.
    pub at: Time,
}

/// What an issuer can contradict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Contradiction {
    /// Its revocations or its audit log, as it signed them before. The state no longer grows
    /// younger, so that everything is refused once it is too old.
    Feed(feed::Alarm),
    /// This lane of the audit log is under none but keys that no known one named as its successor.
    /// What is known of it stays.
    LogKeyChanged {
        /// The lane's origin.
        origin: String,
    },
    /// None of the feed keys known from before is among those published now. They are used: a
    /// verifier that was away for long sees the same.
    FeedKeysReplaced,
}

impl fmt::Display for Contradiction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Feed(alarm) => {
                alarm.fmt(f)?;
                match alarm {
                    feed::Alarm::RolledBack { .. } | feed::Alarm::LogReopened { .. } => Ok(()),
                    feed::Alarm::LogShrunk { .. }
                    | feed::Alarm::LogForked { .. }
                    | feed::Alarm::LogWithheld { .. }
                    | feed::Alarm::LogForeign { .. } => f.write_str(RESTORED_HINT),
                }
            }
            Self::LogKeyChanged { origin } => write!(
                f,
                "the key of the log `{origin}` is another than before, and no known one named it: if \
                 the operator says that this is right, remove the verifier's state folder"
            ),
            Self::FeedKeysReplaced => f.write_str(
                "none of the known feed keys is published any more: ask the operator whether they \
                 were replaced",
            ),
        }
    }
}

impl fmt::Display for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.what)
    }
}

/// The alarms of one verifier.
#[derive(Debug, Default)]
pub(super) struct Alarms(Mutex<VecDeque<Alarm>>);

impl Alarms {
    /// Keeps and logs a contradiction, once.
    pub(super) fn raise(&self, issuer: &str, what: Contradiction, at: Time) {
        let mut alarms = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if alarms.iter().any(|alarm| alarm.what == what) {
            return;
        }
        tracing::error!(issuer, alarm = %what, "the issuer contradicts itself");
        if alarms.len() == ALARMS_MAX {
            alarms.pop_front();
        }
        alarms.push_back(Alarm { what, at });
    }

    /// All, oldest first.
    pub(super) fn all(&self) -> Vec<Alarm> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alarm_is_kept_once_and_their_number_is_bounded() {
        let alarms = Alarms::default();
        let shrunk =
            |held| Contradiction::Feed(feed::Alarm::LogShrunk { lane: 0, held, offered: 0 });
        for held in [1, 1, 2] {
            alarms.raise("https://id.example", shrunk(held), Time::from_seconds(1));
        }
        assert_eq!(alarms.all().len(), 2);
        for held in 0..2 * ALARMS_MAX as u64 {
            alarms.raise("https://id.example", shrunk(held), Time::from_seconds(2));
        }
        assert_eq!(alarms.all().len(), ALARMS_MAX);
        assert_eq!(alarms.all().last().map(|alarm| alarm.what.clone()), Some(shrunk(127)));
    }
}
