//! When things were last used: kept in memory, flushed at most once a minute, never in the
//! issuance transaction. Where they are many they wait for longer: what comes and goes all the time is
//! written once then, and not once a minute.
//!
//! Packed, because there may be one for every agent and credential of a large registry: 32 bytes
//! each, with the addresses in a table of their own.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Mutex;
use std::time::Duration;

use accredit_wire::ids::{AnyId, OrganizationId};
use accredit_wire::time::Time;

use crate::ports::Use;

/// Uses of one organization remembered between two flushes: those of 200,000 agents, each with a
/// credential and an instance, in some 35 MB. Beyond, the newest are not noted.
pub const USES_MAX: usize = 600_000;
/// Addresses among them. A use from a further one is noted without.
pub const USE_SOURCES_MAX: usize = 65_536;

/// Uses that are written each time, however lately it was done.
pub const USES_SOON_MAX: usize = 10_000;
/// How long more of them wait, unless so many wait that the next might not be noted.
pub const USES_WAIT_MAX: Duration = Duration::from_mins(5);
/// So many.
const USES_WAITING_MAX: usize = USES_MAX / 4 * 3;

/// The number of no address.
const NOWHERE: u32 = u32::MAX;

/// The last use of each thing of an organization since the last flush.
#[derive(Default)]
pub struct Uses(Mutex<Noted>);

#[derive(Default)]
struct Noted {
    /// By [`AnyId::key`]: when, and the number of the address.
    uses: HashMap<u128, (Time, u32)>,
    sources: Vec<IpAddr>,
    numbers: HashMap<IpAddr, u32>,
    /// When any were taken last, because they were due.
    taken_at: Option<Time>,
}

impl Noted {
    fn is_due(&self, now: Time) -> bool {
        let waits = self.taken_at.is_some_and(|at| now.since(at) < USES_WAIT_MAX);
        !waits || !(USES_SOON_MAX..USES_WAITING_MAX).contains(&self.uses.len())
    }

    fn note(&mut self, id: AnyId, at: Time, source: Option<IpAddr>) {
        let key = id.key();
        match self.uses.get(&key) {
            Some((held, _)) if at < *held => return,
            None if self.uses.len() >= USES_MAX => return,
            _ => {}
        }
        let source = source.map_or(NOWHERE, |source| self.number(source));
        self.uses.insert(key, (at, source));
    }

    fn number(&mut self, source: IpAddr) -> u32 {
        if let Some(number) = self.numbers.get(&source) {
            return *number;
        }
        let number = self.sources.len();
        if number >= USE_SOURCES_MAX {
            return NOWHERE;
        }
        let number = number as u32;
        self.sources.push(source);
        self.numbers.insert(source, number);
        number
    }
}

/// What was taken to be written.
#[derive(Default)]
pub struct Taken {
    uses: Vec<(u128, Time, u32)>,
    sources: Vec<IpAddr>,
}

impl Taken {
    fn of(noted: Noted) -> Self {
        let Noted { uses, sources, .. } = noted;
        let mut uses: Vec<_> =
            uses.into_iter().map(|(key, (at, source))| (key, at, source)).collect();
        // By kind first, as their texts are ordered.
        uses.sort_unstable_by_key(|(key, ..)| ((key >> 76) & 0xf, *key));
        Self { uses, sources }
    }

    /// Whether all of it is written.
    pub const fn is_empty(&self) -> bool {
        self.uses.is_empty()
    }

    /// At most so many uses that come next, as uses in `org`.
    pub fn next(&self, most: usize, org: OrganizationId) -> Vec<Use> {
        let from = self.uses.len().saturating_sub(most);
        let uses = self.uses[from..].iter();
        uses.filter_map(|use_| self.unpacked(use_, org)).collect()
    }

    /// So many are written.
    pub fn written(&mut self, count: usize) {
        self.uses.truncate(self.uses.len().saturating_sub(count));
    }

    fn unpacked(&self, (key, at, source): &(u128, Time, u32), org: OrganizationId) -> Option<Use> {
        let source = self.sources.get(*source as usize).copied();
        Some(Use { org, id: AnyId::from_key(*key)?, at: *at, source })
    }
}

impl Uses {
    /// Notes a use.
    pub fn note(&self, id: AnyId, at: Time, source: Option<IpAddr>) {
        let Ok(mut noted) = self.0.lock() else { return };
        noted.note(id, at, source);
    }

    /// Notes again what was taken and could not be written; a later use of the same thing stays.
    pub fn put_back(&self, taken: &Taken, org: OrganizationId) {
        let Ok(mut noted) = self.0.lock() else { return };
        for one in taken.uses.iter().filter_map(|use_| taken.unpacked(use_, org)) {
            noted.note(one.id, one.at, one.source);
        }
    }

    /// The same as [`Self::take`], unless they can wait; nothing then.
    pub fn take_due(&self, now: Time) -> Taken {
        let Ok(mut noted) = self.0.lock() else { return Taken::default() };
        if !noted.is_due(now) {
            return Taken::default();
        }
        let taken = std::mem::take(&mut *noted);
        noted.taken_at = Some(now);
        drop(noted);
        Taken::of(taken)
    }

    /// Takes what was noted since the last call, in the order of ids: so that neighbours are
    /// written together, to one page.
    pub fn take(&self) -> Taken {
        let Ok(mut noted) = self.0.lock() else { return Taken::default() };
        let taken = std::mem::take(&mut *noted);
        drop(noted);
        Taken::of(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use accredit_wire::ids::{AgentId, CredentialId};

    fn ip(n: u32) -> IpAddr {
        IpAddr::from(n.to_be_bytes())
    }

    #[test]
    fn the_latest_use_of_each_thing_is_taken_once() {
        let (uses, org) = (Uses::default(), OrganizationId::new(1, [1; 10]));
        let (agent, credential) =
            (AgentId::new(5, [2; 10]).any(), CredentialId::new(4, [2; 10]).any());
        uses.note(agent, Time::from_seconds(2), Some(ip(7)));
        uses.note(credential, Time::from_seconds(3), None);
        uses.note(agent, Time::from_seconds(9), Some(ip(8)));
        uses.note(agent, Time::from_seconds(1), Some(ip(9)));
        let mut taken = uses.take();
        assert!(uses.take().is_empty());
        let all = taken.next(10, org);
        let told: Vec<_> = all.iter().map(|one| (one.id, one.at.seconds(), one.source)).collect();
        assert_eq!(told, [(agent, 9, Some(ip(8))), (credential, 3, None)]);
        assert_eq!(taken.next(1, org)[0].id, credential);
        taken.written(1);
        assert_eq!(taken.next(10, org).len(), 1);
        // What comes back yields to what came since.
        uses.note(agent, Time::from_seconds(10), Some(ip(1)));
        uses.put_back(&taken, org);
        uses.put_back(
            &Taken { uses: vec![(credential.key(), Time::from_seconds(3), 0)], sources: vec![] },
            org,
        );
        let again = uses.take().next(10, org);
        let told: Vec<_> = again.iter().map(|one| (one.id, one.at.seconds(), one.source)).collect();
        assert_eq!(told, [(agent, 10, Some(ip(1))), (credential, 3, None)]);
    }

    #[test]
    fn many_uses_wait_and_few_do_not_and_none_waits_until_there_is_no_room() {
        let uses = Uses::default();
        let at = |minutes: i64| Time::from_seconds(minutes * 60);
        let note = |count: usize| {
            for n in 0..count as u64 {
                uses.note(CredentialId::new(n, [1; 10]).any(), at(0), None);
            }
        };
        let org = OrganizationId::new(1, [1; 10]);
        let due = |minutes| uses.take_due(at(minutes)).next(usize::MAX, org).len();
        note(USES_SOON_MAX);
        assert_eq!(due(0), USES_SOON_MAX, "nothing was written lately");
        note(USES_SOON_MAX - 1);
        assert_eq!(due(1), USES_SOON_MAX - 1);
        note(USES_SOON_MAX);
        assert_eq!([due(2), due(5)], [0, 0]);
        note(USES_SOON_MAX + 5);
        assert_eq!([due(6), due(6)], [USES_SOON_MAX + 5, 0]);
        note(USES_WAITING_MAX - 1);
        assert_eq!(due(7), 0);
        note(USES_WAITING_MAX);
        assert_eq!(due(7), USES_WAITING_MAX);
        note(USES_SOON_MAX);
        assert_eq!(
            uses.take().next(usize::MAX, org).len(),
            USES_SOON_MAX,
            "all of them at the end"
        );
    }

    #[test]
    fn addresses_and_things_are_bounded() {
        let (uses, org) = (Uses::default(), OrganizationId::new(1, [1; 10]));
        for n in 0..=USE_SOURCES_MAX as u32 {
            uses.note(
                AgentId::new(u64::from(n), [1; 10]).any(),
                Time::from_seconds(1),
                Some(ip(n)),
            );
        }
        for n in 0..USES_MAX as u64 {
            uses.note(CredentialId::new(n, [1; 10]).any(), Time::from_seconds(1), Some(ip(3)));
        }
        let all = uses.take().next(usize::MAX, org);
        assert_eq!(all.len(), USES_MAX);
        let without = all.iter().filter(|one| one.source.is_none()).count();
        assert_eq!(without, 1, "the address that was one too many");
    }
}
