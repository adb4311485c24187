//! A bounded cache whose entries are ended from afar, in constant time and without a lock.
//!
//! Each entry hangs on a few ids: what it is about and what it was made from. An id has a slot in
//! one array (several ids may share one, which ends an entry too often, never too seldom); a
//! committed change stamps the slots of what it touched. An entry is good while no slot of it
//! bears a stamp newer than the entry's own, which was taken *before* its facts were read: a fill
//! that raced with a change is born dead.
//!
//! The bound is in bytes by estimate. When it is reached a hand goes round the entries: one that
//! was found since the hand last came may stay, any other goes (the clock algorithm). That keeps
//! what is used, in one bit for each entry.

use std::hash::{BuildHasher, Hash};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use accredit_wire::ids::{AnyId, OrganizationId};
use hashbrown::HashTable;

// Its bits in the middle say which shard: the faster one is a single multiplication, of which some
// factors (one process in a thousand draws such a one) put keys that follow one another into a few
// shards, and what would fit does not.
type Random = foldhash::quality::RandomState;

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

impl Tag {
    /// As it is written down for other nodes.
    pub(crate) const fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// As it was written down.
    pub(crate) const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }

    /// Everything by whose end an instance of the organization ends that was born. One for all, as one
    /// party may stand before many.
    pub(crate) const fn births_in(org: OrganizationId) -> Self {
        Self(org.any().key().rotate_left(64))
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

    /// Ends every entry.
    pub(crate) fn touch_all(&self) {
        let now = self.clock.fetch_add(1, Ordering::SeqCst) + 1;
        for slot in &self.slots {
            slot.fetch_max(now, Ordering::SeqCst);
        }
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

/// An entry, and what it takes to end it.
struct Slot<K, V> {
    key: K,
    value: V,
    ticket: Ticket,
    stamps: [u16; TAGS_MAX],
    bytes: u32,
    /// Whether it was found since the hand last passed.
    used: bool,
}

/// What an entry costs besides its value: its slot, room for the slots to grow, and its place in
/// the index.
pub(crate) const fn slot_bytes<K, V>() -> usize {
    size_of::<Slot<K, V>>() / 8 * 9 + 12
}

struct Shard<K, V> {
    /// Where in `slots` the entry of a key is.
    index: HashTable<u32>,
    /// All entries, without gaps.
    slots: Vec<Slot<K, V>>,
    /// The next entry that may have to go.
    hand: usize,
    bytes: usize,
    hits: u64,
    misses: u64,
}

/// A cache of values that are cheap to clone.
pub(crate) struct Cache<K, V> {
    shards: Box<[Mutex<Shard<K, V>>]>,
    hasher: Random,
    /// Bytes of a shard.
    bytes_max: usize,
}

impl<K: Hash + Eq, V: Clone> Cache<K, V> {
    /// A cache of about `bytes` bytes.
    pub(crate) fn new(bytes: usize) -> Self {
        let shard = || Shard {
            index: HashTable::new(),
            slots: Vec::new(),
            hand: 0,
            bytes: 0,
            hits: 0,
            misses: 0,
        };
        Self {
            shards: (0..SHARDS).map(|_| Mutex::new(shard())).collect(),
            hasher: Random::default(),
            bytes_max: bytes / SHARDS,
        }
    }

    /// The value under `key`, unless something it hangs on was touched since it was read.
    pub(crate) fn get(&self, stamps: &Stamps, key: &K) -> Option<V> {
        let hash = self.hasher.hash_one(key);
        let mut shard = self.shard(hash);
        let Some(at) = shard.find(hash, key) else {
            shard.misses += 1;
            return None;
        };
        let slot = &mut shard.slots[at];
        if stamps.good(slot.ticket, slot.stamps) {
            slot.used = true;
            let value = slot.value.clone();
            shard.hits += 1;
            return Some(value);
        }
        shard.remove(at, &self.hasher);
        shard.misses += 1;
        None
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
        let bytes = bytes + slot_bytes::<K, V>();
        if !stamps.good(ticket, slots) || bytes > self.bytes_max {
            return;
        }
        let hash = self.hasher.hash_one(&key);
        let mut shard = self.shard(hash);
        if let Some(at) = shard.find(hash, &key) {
            shard.remove(at, &self.hasher);
        }
        while shard.bytes + bytes > self.bytes_max {
            shard.make_room(&self.hasher);
        }
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let slot = Slot { key, value, ticket, stamps: slots, bytes, used: false };
        shard.insert(hash, slot, &self.hasher);
    }

    fn shard(&self, hash: u64) -> MutexGuard<'_, Shard<K, V>> {
        // Bits in the middle: the index inside uses those at both ends.
        let shard = &self.shards[(hash >> 32) as usize % SHARDS];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Hash + Eq, V> Shard<K, V> {
    fn find(&self, hash: u64, key: &K) -> Option<usize> {
        self.index.find(hash, |at| self.slots[*at as usize].key == *key).map(|at| *at as usize)
    }

    fn insert(&mut self, hash: u64, slot: Slot<K, V>, hasher: &Random) {
        let Ok(at) = u32::try_from(self.slots.len()) else { return };
        if self.slots.len() == self.slots.capacity() {
            // An eighth more, not twice as much: the bound is on memory.
            self.slots.reserve_exact(self.slots.len() / 8 + 8);
        }
        self.bytes += slot.bytes as usize;
        self.slots.push(slot);
        let slots = &self.slots;
        self.index.insert_unique(hash, at, |at| hasher.hash_one(&slots[*at as usize].key));
    }

    /// Takes an entry out; the last one takes its place.
    fn remove(&mut self, at: usize, hasher: &Random) {
        let last = self.slots.len() - 1;
        self.forget(at, hasher);
        if at != last {
            let hash = hasher.hash_one(&self.slots[last].key);
            if let Some(moved) = self.index.find_mut(hash, |place| *place as usize == last) {
                *moved = at as u32;
            }
        }
        let slot = self.slots.swap_remove(at);
        self.bytes -= slot.bytes as usize;
    }

    /// Takes an entry out of the index.
    fn forget(&mut self, at: usize, hasher: &Random) {
        let hash = hasher.hash_one(&self.slots[at].key);
        if let Ok(entry) = self.index.find_entry(hash, |place| *place as usize == at) {
            entry.remove();
        }
    }

    /// Moves the hand on by one: an entry that was not used since it last came is dropped.
    fn make_room(&mut self, hasher: &Random) {
        if self.hand >= self.slots.len() {
            self.hand = 0;
        }
        if std::mem::take(&mut self.slots[self.hand].used) {
            self.hand += 1;
        } else {
            self.remove(self.hand, hasher);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use accredit_wire::ids::AgentId;
    use proptest::prelude::*;

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
    fn all_of_what_fits_is_kept() {
        let (stamps, cache) = (Stamps::new(), Cache::new(64 * 1024 * 1024));
        let ticket = stamps.ticket();
        for round in 0..3 {
            for n in 0u32..200_000 {
                let found = cache.get(&stamps, &n);
                assert_eq!(found, (round > 0).then_some(n));
                if found.is_none() {
                    cache.fill(&stamps, ticket, (n, n), &[agent(1)], 100);
                }
            }
        }
    }

    #[test]
    fn an_entry_that_ended_gives_its_room_back() {
        let (stamps, cache) = (Stamps::new(), Cache::new(1024 * 1024));
        for n in 0u32..1_000 {
            cache.fill(&stamps, stamps.ticket(), (n, n), &[agent(1)], 100);
            cache.fill(&stamps, stamps.ticket(), (n, n + 1), &[agent(1)], 100);
        }
        let held = |cache: &Cache<u32, u32>| {
            let shards = cache.shards.iter().map(|shard| shard.lock().expect("no panic"));
            shards.fold((0, 0, 0), |sum, shard| {
                (sum.0 + shard.bytes, sum.1 + shard.slots.len(), sum.2 + shard.index.len())
            })
        };
        let each = 100 + slot_bytes::<u32, u32>();
        assert_eq!(held(&cache), (1_000 * each, 1_000, 1_000));
        stamps.touch(agent(1));
        assert!((0..1_000).all(|n| cache.get(&stamps, &n).is_none()));
        assert_eq!(held(&cache), (0, 0, 0));
    }

    proptest! {
        /// Whatever is done: what is found is what was last filled, and the bound holds.
        #[test]
        fn it_is_a_map_that_forgets(steps in prop::collection::vec((0u8..3, 0u16..300), 1..2_000)) {
            let (stamps, cache) = (Stamps::new(), Cache::new(SHARDS * 1024));
            let mut model = std::collections::HashMap::new();
            for (number, (what, key)) in steps.into_iter().enumerate() {
                match what {
                    0 => {
                        let value = number as u32;
                        let entry = (key, value);
                        cache.fill(&stamps, stamps.ticket(), entry, &[agent(key as u8)], 100);
                        model.insert(key, value);
                    }
                    1 => {
                        if let Some(found) = cache.get(&stamps, &key) {
                            prop_assert_eq!(Some(&found), model.get(&key));
                        }
                    }
                    _ => {
                        stamps.touch(agent(key as u8));
                        model.retain(|held, _| *held as u8 != key as u8);
                    }
                }
            }
            for shard in &cache.shards {
                let shard = shard.lock().expect("no panic");
                let sum: usize = shard.slots.iter().map(|slot| slot.bytes as usize).sum();
                prop_assert_eq!(sum, shard.bytes);
                prop_assert_eq!(shard.index.len(), shard.slots.len());
                prop_assert!(shard.bytes <= 1024);
            }
        }
    }

    #[test]
    fn what_is_larger_than_the_bound_is_not_kept() {
        let (stamps, cache) = (Stamps::new(), Cache::new(64 * 1024));
        cache.fill(&stamps, stamps.ticket(), (1, 1), &[agent(1)], 64 * 1024);
        assert_eq!(cache.get(&stamps, &1), None);
    }
}
