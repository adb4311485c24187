//! Reading the log is recorded in it: at most one event a minute for each reader, with a count.
//!
//! A reader's first read is an event at once. What it reads within the next minute is counted, and
//! told by the event of its next read after that, or by the next flush.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use accredit_wire::ids::CredentialId;
use accredit_wire::time::Time;

use super::window_is_over;
use crate::audit::event::{Actor, Body, Event, EventKind};
use crate::context::{Caller, Cx};
use crate::ports::{Audited, UsedUp};
use crate::refusal::Fault;

/// The time between two events of one reader.
pub const READ_WINDOW: Duration = Duration::from_mins(1);
/// Readers remembered one by one; beyond, every read is an event of its own.
pub const READERS_MAX: usize = 1_000;

#[derive(Clone, Copy, Default)]
struct Reader {
    window_ends: Time,
    counted: u64,
}

impl Reader {
    /// Whether its minute is over.
    fn is_over(&self, now: Time) -> bool {
        window_is_over(self.window_ends, READ_WINDOW, now)
    }
}

/// Who read lately, and how often since its last event.
#[derive(Default)]
pub struct Reads(Mutex<HashMap<CredentialId, Reader>>);

impl Reads {
    /// Counts a read. Says how many are to be recorded now, this one included, if any are.
    pub fn count(&self, reader: CredentialId, now: Time) -> Option<u64> {
        let mut readers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if readers.len() >= READERS_MAX && !readers.contains_key(&reader) {
            readers.retain(|_, reader| !reader.is_over(now) || reader.counted > 0);
            if readers.len() >= READERS_MAX {
                return Some(1);
            }
        }
        let held = readers.entry(reader).or_default();
        held.counted += 1;
        if !held.is_over(now) {
            return None;
        }
        held.window_ends = now.plus(READ_WINDOW);
        Some(std::mem::take(&mut held.counted))
    }

    /// Takes what was counted and not recorded by readers whose minute is over, in one order.
    pub fn take(&self, now: Time) -> Vec<(CredentialId, u64)> {
        let mut readers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut taken: Vec<_> = readers
            .iter()
            .filter(|(_, reader)| reader.is_over(now) && reader.counted > 0)
            .map(|(id, reader)| (*id, reader.counted))
            .collect();
        readers.retain(|_, reader| !reader.is_over(now));
        taken.sort_by_key(|(id, _)| id.to_string());
        taken
    }

    /// Counts again what was taken and could not be recorded.
    pub fn put_back(&self, taken: impl Iterator<Item = (CredentialId, u64)>) {
        let mut readers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (reader, count) in taken {
            readers.entry(reader).or_default().counted += count;
        }
    }
}

/// Records that the caller has read the log; to be called before the answer leaves.
pub async fn record(cx: &Cx) -> Result<(), Fault> {
    let Caller::Admin { credential, .. } = &cx.caller else { return Ok(()) };
    let Some(count) = cx.tenant.reads.count(*credential, cx.now) else { return Ok(()) };
    let event = cx.event(EventKind::LogRead, Body { count: Some(count), ..Body::default() });
    cx.world.store.record_event(Audited::new((cx.tenant.id, UsedUp::NOTHING), event)).await
}

/// The event of reads that were counted and that no further read has told of.
pub(crate) fn late(reader: CredentialId, count: u64, now: Time, salt: [u8; 16]) -> Event {
    let actor = Some(Actor { id: Some(reader.any()), kind: "admin" });
    let body = Body { actor, count: Some(count), ..Body::default() };
    Event::new(EventKind::LogRead, now, salt, body)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(n: u64) -> CredentialId {
        CredentialId::new(n, [1; 10])
    }

    #[test]
    fn a_reader_makes_one_event_a_minute_and_no_read_is_lost() {
        let reads = Reads::default();
        let start = Time::from_seconds(1000);
        let mut recorded = Vec::new();
        for second in 0..150 {
            let now = start.plus(Duration::from_secs(second));
            recorded.extend(reads.count(reader(1), now));
            assert!(reads.take(now).is_empty(), "its minute is not over");
        }
        assert_eq!(recorded, [1, 60, 60]);
        let later = start.plus(Duration::from_mins(3));
        assert_eq!(reads.take(later), [(reader(1), 29)]);
        assert!(reads.take(later).is_empty());
        assert_eq!(reads.count(reader(1), later), Some(1));
    }

    #[test]
    fn a_clock_that_is_set_back_makes_neither_silence_nor_flood() {
        let reads = Reads::default();
        assert_eq!(reads.count(reader(1), Time::from_seconds(1000)), Some(1));
        assert_eq!(reads.count(reader(1), Time::from_seconds(500)), Some(1));
        assert_eq!(reads.count(reader(1), Time::from_seconds(501)), None);
    }

    #[test]
    fn many_readers_do_not_grow_memory_and_are_recorded_all_the_same() {
        let reads = Reads::default();
        let now = Time::from_seconds(1000);
        for n in 0..(READERS_MAX as u64 + 100) {
            assert_eq!(reads.count(reader(n), now), Some(1));
        }
        assert_eq!(reads.0.lock().expect("lock").len(), READERS_MAX);
    }
}
