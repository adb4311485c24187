//! The set of what has ended, in memory: an immutable hash table in shards.
//!
//! A million entries are of use only where they are small and where a change copies little of them.
//! So rows are ordered by a hash of their ids and cut into shards by its leading bits; a change
//! makes anew the shards that it touches, and all others are shared with the table of before. Of an
//! entry 16 bytes of id are kept, and what its two numbers are above the smallest of the shard: four
//! bytes each, unless they lie further apart.
//!
//! The shards are found through a directory with a power of two of places, in which a shard stands
//! as often as its bits are fewer (extendible hashing).

use std::sync::Arc;

use super::state::Entry;
use crate::ids::{
    AgentId, AnyId, BlockId, CredentialId, EventId, FederationId, InstanceId, KeyId, Kind,
    OrganizationId, PersonId, RequestId, ResourceId, RevocationId, TaskId, TokenId,
};

/// Rows that a shard has at most, before it is cut in two.
pub(super) const SHARD_ROWS_MAX: usize = 2 * 1024;

/// Bits by which shards are told apart at most: a directory of a megabyte or two.
const DEPTH_MAX: u32 = 17;

/// Where a row stands: by the hash of its key, then by the key.
pub(super) type Order = (u64, u128);

/// Mixes the 128 bits of a key. Fixed, because the keys are made and signed by the server, and
/// pieces of a snapshot are in this order; ids share their leading bits when made at one time, so
/// that they must be mixed.
pub(super) fn hash(key: u128) -> u64 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let folded = ((key >> 64) as u64).wrapping_mul(0xd6e8_feb8_6659_fd93) ^ (key as u64);
    let wide = u128::from(folded) * u128::from(ODD);
    let mixed = (wide >> 64) as u64 ^ wide as u64;
    mixed.wrapping_mul(0xff51_afd7_ed55_8ccd) ^ (mixed >> 32)
}

fn order(key: u128) -> Order {
    (hash(key), key)
}

fn tag(hash: u64) -> u8 {
    hash as u8
}

/// The leading `bits` of a hash, as a number.
fn leading(hash: u64, bits: u32) -> usize {
    // In two steps: by 64 nothing can be shifted.
    ((hash >> 1) >> (63 - bits)) as usize
}

/// One entry as it is kept: the target's [`AnyId::key`], `below`, `keep_until`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) key: u128,
    pub(super) below: u64,
    pub(super) keep_until: i64,
}

impl Row {
    pub(super) fn order(&self) -> Order {
        order(self.key)
    }

    fn joined(self, other: Self) -> Self {
        Self {
            key: self.key,
            below: self.below.max(other.below),
            keep_until: self.keep_until.max(other.keep_until),
        }
    }

    /// Whether another row of the same id adds nothing to this one.
    fn covers(&self, other: &Self) -> bool {
        self.below >= other.below && self.keep_until >= other.keep_until
    }

    pub(super) fn entry(self) -> Option<Entry> {
        let target = id_of_key(self.key)?;
        Some(Entry { target, below: self.below, keep_until: self.keep_until })
    }
}

impl From<&Entry> for Row {
    fn from(entry: &Entry) -> Self {
        Self { key: entry.target.key(), below: entry.below, keep_until: entry.keep_until }
    }
}

/// Entries as rows in their order.
pub(super) fn sorted<'e>(entries: impl IntoIterator<Item = &'e Entry>) -> Vec<Row> {
    let mut rows: Vec<Row> = entries.into_iter().map(Row::from).collect();
    rows.sort_unstable_by_key(Row::order);
    rows
}

/// Two runs of rows in their order as one in which each id stands once; without those whose
/// `keep_until` lies before `over`.
pub(super) fn union(
    left: impl Iterator<Item = Row>,
    right: impl Iterator<Item = Row>,
    over: i64,
) -> impl Iterator<Item = Row> {
    let (mut left, mut right) = (left.peekable(), right.peekable());
    let mut next = move || match (left.peek(), right.peek()) {
        (Some(x), Some(y)) if x.order() <= y.order() => left.next(),
        (Some(_), None) => left.next(),
        _ => right.next(),
    };
    let mut ahead = next();
    let joined = std::iter::from_fn(move || {
        let mut row = ahead.take()?;
        ahead = next();
        while let Some(same) = ahead.filter(|other| other.key == row.key) {
            row = row.joined(same);
            ahead = next();
        }
        Some(row)
    });
    joined.filter(move |row| row.keep_until >= over)
}

/// Numbers of one kind, of all rows of a shard.
#[derive(Debug)]
enum Column {
    /// What each is above the smallest.
    Narrow(u64, Box<[u32]>),
    /// As they are, because they lie too far apart.
    Wide(Box<[u64]>),
}

impl Column {
    fn new(values: impl Iterator<Item = u64> + Clone) -> Self {
        let least = values.clone().min().unwrap_or(0);
        let above = values.clone().map(|value| u32::try_from(value - least));
        match above.collect() {
            Ok(above) => Self::Narrow(least, above),
            Err(_) => Self::Wide(values.collect()),
        }
    }

    fn get(&self, place: usize) -> Option<u64> {
        match self {
            Self::Narrow(least, above) => above.get(place).map(|&above| least + u64::from(above)),
            Self::Wide(values) => values.get(place).copied(),
        }
    }

    /// Not above the smallest.
    fn least(&self) -> u64 {
        match self {
            Self::Narrow(least, _) => *least,
            Self::Wide(_) => 0,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Narrow(_, above) => above.len() * 4,
            Self::Wide(values) => values.len() * 8,
        }
    }
}

/// A time as a number in the same order.
fn time_to_number(time: i64) -> u64 {
    (time as u64) ^ (1 << 63)
}

fn number_to_time(number: u64) -> i64 {
    (number ^ (1 << 63)) as i64
}

/// Rows whose hashes begin with the same bits, in their order, and where each bucket starts.
///
/// A look-up that finds nothing, which is nearly each, reads a bucket and one or two tags and
/// seldom a key.
#[derive(Debug)]
pub(super) struct Shard {
    /// How many leading bits they have in common.
    depth: u32,
    /// `starts[b]..starts[b + 1]` are the rows whose hash goes on with the bits `b`.
    starts: Box<[u32]>,
    /// How many bits those are.
    bits: u32,
    tags: Box<[u8]>,
    keys: Box<[u128]>,
    below: Column,
    keep_until: Column,
}

impl Default for Shard {
    fn default() -> Self {
        Self::new(0, &[])
    }
}

impl Shard {
    /// Of rows in their order, each id once.
    pub(super) fn new(depth: u32, rows: &[Row]) -> Self {
        // Between a quarter of a bucket and half of one for each row, at least two.
        let bits = (usize::BITS - (rows.len() / 4).leading_zeros()).max(1);
        let buckets = 1usize << bits;
        let mut starts = Vec::with_capacity(buckets + 1);
        let mut tags = Vec::with_capacity(rows.len());
        for (place, row) in rows.iter().enumerate() {
            let hash = hash(row.key);
            while starts.len() <= leading(hash << depth, bits) {
                starts.push(place as u32);
            }
            tags.push(tag(hash));
        }
        starts.resize(buckets + 1, rows.len() as u32);
        Self {
            depth,
            starts: starts.into_boxed_slice(),
            bits,
            tags: tags.into_boxed_slice(),
            keys: rows.iter().map(|row| row.key).collect(),
            below: Column::new(rows.iter().map(|row| row.below)),
            keep_until: Column::new(rows.iter().map(|row| time_to_number(row.keep_until))),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    fn row(&self, place: usize) -> Option<Row> {
        let (key, below) = (*self.keys.get(place)?, self.below.get(place)?);
        Some(Row { key, below, keep_until: number_to_time(self.keep_until.get(place)?) })
    }

    fn place(&self, hash: u64, key: u128) -> Option<usize> {
        let bucket = leading(hash << self.depth, self.bits);
        let start = *self.starts.get(bucket)? as usize;
        let end = *self.starts.get(bucket + 1)? as usize;
        let tags = self.tags.get(start..end)?;
        let mut found = tags.iter().enumerate().filter(|&(_, &other)| other == tag(hash));
        let hit = found.find(|&(offset, _)| self.keys.get(start + offset) == Some(&key))?;
        Some(start + hit.0)
    }

    /// The `below` of a key.
    pub(super) fn below(&self, hash: u64, key: u128) -> Option<u64> {
        self.place(hash, key).and_then(|place| self.below.get(place))
    }

    /// The rows behind a place in the order.
    pub(super) fn rows_after(&self, after: Option<Order>) -> impl Iterator<Item = Row> {
        let start = after.map_or(0, |after| self.keys.partition_point(|&key| order(key) <= after));
        (start..self.len()).map_while(|place| self.row(place))
    }

    /// These rows and more, where that is not what is here already.
    fn with(&self, rows: &[Row], over: i64) -> Option<Vec<Row>> {
        let covered = |row: &Row| {
            let held = self.place(hash(row.key), row.key).and_then(|place| self.row(place));
            held.is_some_and(|held| held.covers(row))
        };
        // Where the least is not known, what is over is looked for by making the shard anew.
        let is_over = self.keep_until.least() < time_to_number(over) && self.len() > 0;
        if !is_over && rows.iter().all(covered) {
            return None;
        }
        Some(union(self.rows_after(None), rows.iter().copied(), over).collect())
    }

    pub(super) fn bytes(&self) -> usize {
        let numbers = self.below.bytes() + self.keep_until.bytes();
        self.starts.len() * 4 + self.keys.len() * (1 + 16) + numbers
    }
}

/// Rows of all hashes.
#[derive(Clone, Debug)]
pub(super) struct Table {
    /// How many bits of a hash say where in `places` to look.
    depth: u32,
    places: Box<[Arc<Shard>]>,
}

impl Default for Table {
    fn default() -> Self {
        Self { depth: 0, places: Box::new([Arc::default()]) }
    }
}

impl Table {
    /// Adds rows in their order; of the shards that get some, rows that are past their `keep_until`
    /// at `over` go.
    pub(super) fn add(&mut self, rows: &[Row], over: i64) {
        let mut rest = rows;
        while let Some(first) = rest.first() {
            let (shard, count) = self.first_of(rest, first);
            let (own, others) = rest.split_at(count);
            if let Some(all) = shard.with(own, over) {
                self.put(shard.depth, hash(first.key), &all);
            }
            rest = others;
        }
    }

    /// The shard of the first of some rows, and how many of the first are its own.
    fn first_of(&self, rows: &[Row], first: &Row) -> (Arc<Shard>, usize) {
        let hash_of_first = hash(first.key);
        let shard = self.places.get(leading(hash_of_first, self.depth)).cloned();
        let shard = shard.unwrap_or_default();
        let prefix = leading(hash_of_first, shard.depth);
        let own = rows.partition_point(|row| leading(hash(row.key), shard.depth) <= prefix);
        (shard, own)
    }

    /// Puts a shard of these rows where hashes begin with the first `depth` bits of `hash`: two
    /// where they are too many for one.
    fn put(&mut self, depth: u32, hash: u64, rows: &[Row]) {
        if rows.len() > SHARD_ROWS_MAX && depth < DEPTH_MAX {
            let bit = 1 << (63 - depth);
            let middle = rows.partition_point(|row| self::hash(row.key) & bit == 0);
            let (low, high) = rows.split_at(middle);
            self.put(depth + 1, hash & !bit, low);
            self.put(depth + 1, hash | bit, high);
            return;
        }
        while self.depth < depth {
            self.places = self.places.iter().flat_map(|s| [Arc::clone(s), Arc::clone(s)]).collect();
            self.depth += 1;
        }
        let shard = Arc::new(Shard::new(depth, rows));
        let width = 1 << (self.depth - depth);
        let start = leading(hash, depth) * width;
        if let Some(places) = self.places.get_mut(start..start + width) {
            places.fill(shard);
        }
    }

    /// Of some rows in their order the run that is the longest of those that belong to one shard.
    pub(super) fn longest_run(&self, rows: &[Row]) -> std::ops::Range<usize> {
        let (mut longest, mut start) = (0..0, 0);
        while let Some(first) = rows.get(start) {
            let (_, own) = self.first_of(rows.get(start..).unwrap_or_default(), first);
            if own > longest.len() {
                longest = start..start + own;
            }
            start += own.max(1);
        }
        longest
    }

    pub(super) fn below(&self, hash: u64, key: u128) -> Option<u64> {
        self.places.get(leading(hash, self.depth))?.below(hash, key)
    }

    /// The shards from the one on in which a hash would be, each once.
    fn shards_from(&self, hash: u64) -> impl Iterator<Item = &Shard> {
        let mut place = leading(hash, self.depth);
        std::iter::from_fn(move || {
            let shard = self.places.get(place)?;
            let width = 1 << (self.depth - shard.depth);
            place = (place / width + 1) * width;
            Some(&**shard)
        })
    }

    /// The rows behind a place in the order.
    pub(super) fn rows_after(&self, after: Option<Order>) -> impl Iterator<Item = Row> {
        let shards = self.shards_from(after.map_or(0, |(hash, _)| hash));
        shards.flat_map(move |shard| shard.rows_after(after))
    }

    /// Lets go of the shards before the one in which a place of the order would be.
    pub(super) fn let_go_before(&mut self, (hash, _): Order) {
        let place = leading(hash, self.depth);
        let width = self.places.get(place).map_or(1, |shard| 1 << (self.depth - shard.depth));
        let nothing = Arc::default();
        for before in self.places.iter_mut().take(place / width * width) {
            *before = Arc::clone(&nothing);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.shards_from(0).map(Shard::len).sum()
    }

    #[cfg(test)]
    pub(super) fn is_shared_with(&self, other: &Self) -> bool {
        self.places.iter().zip(&other.places).all(|(own, other)| Arc::ptr_eq(own, other))
    }

    pub(super) fn bytes(&self) -> usize {
        let shards: usize = self.shards_from(0).map(Shard::bytes).sum();
        shards + self.places.len() * size_of::<Arc<Shard>>()
    }
}

/// The id that has this [`AnyId::key`].
pub(super) fn id_of_key(key: u128) -> Option<AnyId> {
    let number = ((key >> 76) & 0xf) as u8;
    let bits = key & !(0xf << 76) | (7 << 76);
    let kind = Kind::ALL.into_iter().find(|&kind| kind as u8 == number)?;
    match kind {
        Kind::Organization => OrganizationId::from_bits(bits).map(AnyId::from),
        Kind::Person => PersonId::from_bits(bits).map(AnyId::from),
        Kind::Agent => AgentId::from_bits(bits).map(AnyId::from),
        Kind::Instance => InstanceId::from_bits(bits).map(AnyId::from),
        Kind::Resource => ResourceId::from_bits(bits).map(AnyId::from),
        Kind::Credential => CredentialId::from_bits(bits).map(AnyId::from),
        Kind::Token => TokenId::from_bits(bits).map(AnyId::from),
        Kind::Task => TaskId::from_bits(bits).map(AnyId::from),
        Kind::Revocation => RevocationId::from_bits(bits).map(AnyId::from),
        Kind::Event => EventId::from_bits(bits).map(AnyId::from),
        Kind::Key => KeyId::from_bits(bits).map(AnyId::from),
        Kind::Request => RequestId::from_bits(bits).map(AnyId::from),
        Kind::Federation => FederationId::from_bits(bits).map(AnyId::from),
        Kind::Block => BlockId::from_bits(bits).map(AnyId::from),
    }
}
