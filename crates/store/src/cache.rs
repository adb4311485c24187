//! A bounded cache whose entries are ended from afar, in constant time and without a lock.
//!
//! Each entry hangs on a few ids: what it is about and what it was made from. An id has a slot in
//! one array (several ids may share one, which ends an entry too often, never too seldom); a
//! committed change stamps the slots of what it touched. An entry is good while no slot of it
//! bears a stamp newer than the entry's own, which was taken *before* its facts were read: a fill
//! that raced with a change is born dead.
//!
//! The bound is in bytes by estimate. Two generations: what is found in the older one moves to
//! the younger, and when the younger is full the older is dropped. That keeps what is used, and
//! costs no list of who was used last.

use std::hash::{BuildHasher, Hash};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use accredit_wire::ids::AnyId;
use hashbrown::HashMap;

type Random = foldhash::fast::RandomState;

/// Slots that stamps are kept in: 128 KiB. With a million agents, one in 16,384 entries is ended
/// by a change that was not its own.
const SLOTS: usize = 16_384;
/// Shards of a cache, each with a lock of its own.
const SHARDS: usize = 32;
/// The most tags that one entry has.
pub(crate) const TAGS_MAX: usize = 4;

/// What an entry hangs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tag(u128);

impl Tag {
    /// The facts about `id`.
    pub(crate) const fn of(id: AnyId) -> Self {
        Self(id.key())
    }

    /// The list of public keys that `id` holds. Apart from [`Tag::of`], because new keys come
    /// often and change nothing else about their holder.
    pub(crate) const fn keys_of(id: AnyId) -> Self {
        Self(!id.key())
    }
}

/// When facts began to be read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticket(u64);

/// When each id was last touched.
pub(crate) struct Stamps {
    clock: AtomicU64,
    slots: Box<[AtomicU64]>,
    hasher: Random,
}

impl Stamps {
    pub(crate) fn new() -> Self {
        Self {
            clock: AtomicU64::new(0),
            slots: (0..SLOTS).map(|_| AtomicU64::new(0)).collect(),
            hasher: Random::default(),
        }
    }

    /// To be taken before the first fact is read.
    pub(crate) fn ticket(&self) -> Ticket {
        Ticket(self.clock.load(Ordering::SeqCst))
    }

    /// Ends every entry that hangs on `tag`. To be called after the commit.
    pub(crate) fn touch(&self, tag: Tag) {
        let now = self.clock.fetch_add(1, Ordering::SeqCst) + 1;
        self.slots[self.slot(tag)].fetch_max(now, Ordering::SeqCst);
    }

    fn slot(&self, tag: Tag) -> usize {
        self.hasher.hash_one(tag.0) as usize % SLOTS
    }

    fn slots_of(&self, tags: &[Tag]) -> [u16; TAGS_MAX] {
        debug_assert!(!tags.is_empty() && tags.len() <= TAGS_MAX, "an entry has 1 to 4 tags");
        let mut slots = [0; TAGS_MAX];
        for (index, slot) in slots.iter_mut().enumerate() {
            // Where there are fewer tags, the last one stands in for the rest.
            *slot = self.slot(tags[index.min(tags.len() - 1)]) as u16;
        }
        slots
    }

    fn good(&self, ticket: Ticket, slots: [u16; TAGS_MAX]) -> bool {
        slots.iter().all(|at| self.slots[usize::from(*at)].load(Ordering::SeqCst) <= ticket.0)
    }
}

struct Entry<V> {
    value: V,
    ticket: Ticket,
    slots: [u16; TAGS_MAX],
    bytes: usize,
}

struct Shard<K, V> {
    young: HashMap<K, Entry<V>, Random>,
    old: HashMap<K, Entry<V>, Random>,
    young_bytes: usize,
    hits: u64,
    misses: u64,
}

/// A cache of values that are cheap to clone.
pub(crate) struct Cache<K, V> {
    shards: Box<[Mutex<Shard<K, V>>]>,
    hasher: Random,
    /// Bytes of a generation of one shard.
    bytes_max: usize,
}

impl<K: Hash + Eq + Clone, V: Clone> Cache<K, V> {
    /// A cache of about `bytes` bytes.
    pub(crate) fn new(bytes: usize) -> Self {
        let shard = || Shard {
            young: HashMap::default(),
            old: HashMap::default(),
            young_bytes: 0,
            hits: 0,
            misses: 0,
        };
        Self {
            shards: (0..SHARDS).map(|_| Mutex::new(shard())).collect(),
            hasher: Random::default(),
            bytes_max: bytes / SHARDS / 2,
        }
    }

    /// The value under `key`, unless something it hangs on was touched since it was read.
    pub(crate) fn get(&self, stamps: &Stamps, key: &K) -> Option<V> {
        let mut shard = self.shard(key).lock().unwrap_or_else(PoisonError::into_inner);
        let found = self.look(&mut shard, stamps, key);
        match &found {
            Some(_) => shard.hits += 1,
            None => shard.misses += 1,
        }
        found
    }

    fn look(&self, shard: &mut Shard<K, V>, stamps: &Stamps, key: &K) -> Option<V> {
        if let Some(entry) = shard.young.get(key) {
            return stamps.good(entry.ticket, entry.slots).then(|| entry.value.clone());
        }
        let entry = shard.old.remove(key)?;
        if !stamps.good(entry.ticket, entry.slots) {
            return None;
        }
        let value = entry.value.clone();
        self.put(shard, key.clone(), entry);
        Some(value)
    }

    /// How often a value was found, and how often not, since the start.
    pub(crate) fn used(&self) -> (u64, u64) {
        self.shards.iter().fold((0, 0), |(hits, misses), shard| {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            (hits + shard.hits, misses + shard.misses)
        })
    }

    /// Keeps a value whose facts were read after `ticket` and which hangs on `tags`; `bytes` is
    /// its size by estimate, without the key.
    pub(crate) fn fill(
        &self,
        stamps: &Stamps,
        ticket: Ticket,
        (key, value): (K, V),
        tags: &[Tag],
        bytes: usize,
    ) {
        let slots = stamps.slots_of(tags);
        if !stamps.good(ticket, slots) {
            return;
        }
        let bytes = bytes + size_of::<K>() + size_of::<Entry<V>>();
        let mut shard = self.shard(&key).lock().unwrap_or_else(PoisonError::into_inner);
        self.put(&mut shard, key, Entry { value, ticket, slots, bytes });
    }

    fn put(&self, shard: &mut Shard<K, V>, key: K, entry: Entry<V>) {
        if entry.bytes > self.bytes_max {
            return;
        }
        if shard.young_bytes + entry.bytes > self.bytes_max {
            shard.old = std::mem::take(&mut shard.young);
            shard.young_bytes = 0;
        }
        shard.young_bytes += entry.bytes;
        if let Some(before) = shard.young.insert(key, entry) {
            shard.young_bytes -= before.bytes;
        }
    }

    fn shard(&self, key: &K) -> &Mutex<Shard<K, V>> {
        // The high bits: the low ones choose the bucket inside.
        let hash = self.hasher.hash_one(key);
        &self.shards[(hash >> 32) as usize % SHARDS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use accredit_wire::ids::{AgentId, OrganizationId};

    fn agent(n: u8) -> Tag {
        Tag::of(AgentId::new(u64::from(n), [n; 10]).any())
    }

    #[test]
    fn a_touched_id_ends_what_hangs_on_it() {
        let (stamps, cache) = (Stamps::new(), Cache::new(1 << 20));
        let org = Tag::of(OrganizationId::new(1, [1; 10]).any());
        for n in 1..=3 {
            cache.fill(&stamps, stamps.ticket(), (n, n), &[org, agent(n)], 10);
        }
        assert_eq!(cache.get(&stamps, &1), Some(1));
        stamps.touch(agent(1));
        assert_eq!(cache.get(&stamps, &1), None);
        assert_eq!(cache.get(&stamps, &2), Some(2));
        stamps.touch(org);
        assert_eq!(cache.get(&stamps, &2), None);
        assert_eq!(cache.get(&stamps, &3), None);
        cache.fill(&stamps, stamps.ticket(), (3, 4), &[org, agent(3)], 10);
        assert_eq!(cache.get(&stamps, &3), Some(4), "a fresh one is good again");
        assert_eq!(cache.used(), (3, 3));
    }

    #[test]
    fn a_fill_that_raced_with_a_change_is_not_kept() {
        let (stamps, cache) = (Stamps::new(), Cache::new(1 << 20));
        let ticket = stamps.ticket();
        stamps.touch(agent(1));
        cache.fill(&stamps, ticket, (1, "before the change"), &[agent(1)], 10);
        assert_eq!(cache.get(&stamps, &1), None);
    }

    #[test]
    fn the_bound_holds_and_what_is_used_stays() {
        let (stamps, cache) = (Stamps::new(), Cache::new(64 * 1024));
        let ticket = stamps.ticket();
        cache.fill(&stamps, ticket, (0, 0), &[agent(0)], 100);
        for n in 1u32..50_000 {
            cache.fill(&stamps, ticket, (n, n), &[agent(1)], 100);
            assert_eq!(cache.get(&stamps, &0), Some(0), "used before each of the others");
        }
        let kept = (0..50_000).filter(|n| cache.get(&stamps, n).is_some()).count();
        assert!(kept <= 64 * 1024 / 100, "{kept} entries of 100 bytes in 64 KiB");
        assert!(kept > 10);
    }

    #[test]
    fn what_is_larger_than_the_bound_is_not_kept() {
        let (stamps, cache) = (Stamps::new(), Cache::new(64 * 1024));
        cache.fill(&stamps, stamps.ticket(), (1, 1), &[agent(1)], 64 * 1024);
        assert_eq!(cache.get(&stamps, &1), None);
    }
}
