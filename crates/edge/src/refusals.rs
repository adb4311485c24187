//! What the server said no to, for a while: a process that asks in a loop is not a question in a loop.
//!
//! Rules look at selectors alone, so that a no holds for every process of the same selectors. Whoever makes
//! up new selectors (another program each time) uses up what its user has, and nobody else's.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::attest::Told;
use crate::door::Denied;

/// How long a no is remembered. A rule that is made meanwhile is seen after it.
pub(crate) const REMEMBERED: Duration = Duration::from_secs(10);
/// How many are.
const REFUSALS_MAX: usize = 4096;
/// How often one user is refused in that time before it is told to wait.
const OF_USER_MAX: u32 = 32;
/// Users who are counted.
const USERS_MAX: usize = 4096;

/// What was refused lately.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    /// Until when, and what.
    of: HashMap<Told, (Instant, Known)>,
    users: HashMap<u32, (Instant, u32)>,
}

/// What is known before the server is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// Nothing: it is worth asking.
    Nothing,
    /// It said no, and this one.
    Refused(Denied),
    /// It said that there were too many, or no to this user so often that it is not asked for now.
    NotNow,
}

impl Refusals {
    /// What is known of a process of which this is told, and of its user.
    pub(crate) fn known(&self, of: &Told, user: u32, now: Instant) -> Known {
        let is_recent = |at: &Instant| now.saturating_duration_since(*at) < REMEMBERED;
        if let Some((_, known)) = self.of.get(of).filter(|(until, _)| now < *until) {
            return *known;
        }
        match self.users.get(&user) {
            Some((since, count)) if is_recent(since) && *count >= OF_USER_MAX => Known::NotNow,
            None if self.users.len() >= USERS_MAX => Known::NotNow,
            _ => Known::Nothing,
        }
    }

    /// Remembers a no.
    pub(crate) fn note(&mut self, of: Told, denied: Denied, user: u32, now: Instant) {
        let is_recent = |at: &Instant| now.saturating_duration_since(*at) < REMEMBERED;
        self.keep(of, (now + REMEMBERED, Known::Refused(denied)), now);
        if self.users.len() >= USERS_MAX {
            self.users.retain(|_, (since, _)| is_recent(since));
        }
        if self.users.len() >= USERS_MAX && !self.users.contains_key(&user) {
            return;
        }
        let counted = self.users.entry(user).or_insert((now, 0));
        if !is_recent(&counted.0) {
            *counted = (now, 0);
        }
        counted.1 += 1;
    }
}

impl Refusals {
    /// Remembers that there were too many, until then.
    pub(crate) fn wait(&mut self, of: Told, until: Instant, now: Instant) {
        self.keep(of, (until, Known::NotNow), now);
    }

    fn keep(&mut self, of: Told, what: (Instant, Known), now: Instant) {
        if self.of.len() >= REFUSALS_MAX {
            self.of.retain(|_, (until, _)| now < *until);
        }
        if self.of.len() < REFUSALS_MAX {
            self.of.insert(of, what);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attest::Selector;

    fn of(path: u32) -> Told {
        let mut told = Told::default();
        told.tell(Selector::Path, format!("/usr/bin/{path}"));
        told
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "an `Instant` has no other origin")]
    fn a_no_is_remembered_for_a_while_and_of_one_user_no_more_than_its_own() {
        let (mut refusals, now) = (Refusals::default(), Instant::now());
        refusals.note(of(0), Denied::Unruled, 7, now);
        assert_eq!(refusals.known(&of(0), 8, now), Known::Refused(Denied::Unruled));
        assert_eq!(refusals.known(&of(1), 7, now), Known::Nothing);
        for path in 1..OF_USER_MAX {
            refusals.note(of(path), Denied::Unruled, 7, now);
        }
        assert_eq!(refusals.known(&of(99), 7, now), Known::NotNow);
        assert_eq!(refusals.known(&of(99), 8, now), Known::Nothing);
        let later = now + REMEMBERED;
        assert_eq!(refusals.known(&of(0), 7, later), Known::Nothing);
        refusals.note(of(0), Denied::Unruled, 7, later);
        assert_eq!(refusals.known(&of(99), 7, later), Known::Nothing);
        refusals.wait(of(5), now + REMEMBERED * 2, now);
        assert_eq!(refusals.known(&of(5), 9, later), Known::NotNow);
        for number in 0..20_000 {
            refusals.note(of(number), Denied::Unruled, number, now);
        }
        assert!(refusals.of.len() <= REFUSALS_MAX && refusals.users.len() <= USERS_MAX);
    }
}
