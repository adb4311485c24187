//! What a recording disk wrote down, and what of it is left after the power was cut.
//!
//! Only what was written before the beginning of a sync that ended is sure to be there. The rest
//! may be gone, be there in part, or be there out of order, sector by sector. A name is there once
//! its folder was synced.

use std::collections::{BTreeMap, HashMap};

/// What begins each record.
const MAGIC: u32 = 0x6b73_6964;
const HEAD_BYTES: usize = 40;
/// What a disk writes at once.
const SECTOR_BYTES: usize = 512;

/// One record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'t> {
    pub(super) kind: u8,
    pub(super) file: u64,
    offset: u64,
    extra: u64,
    pub(super) bytes: &'t [u8],
}

impl Record<'_> {
    /// Whether a file of this name is opened here.
    pub(super) fn opens(&self, name: &str) -> bool {
        self.kind == b'O' && name_of(self.bytes) == name
    }
}

/// All records of a trace, in order.
pub(super) fn records(trace: &[u8]) -> Vec<Record<'_>> {
    let (mut rest, mut records) = (trace, Vec::new());
    // The last record may have been cut off with its process.
    while let Some((head, after)) = rest.split_at_checked(HEAD_BYTES) {
        let int = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().expect("8 bytes"));
        let short = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().expect("4 bytes"));
        assert_eq!(short(0), MAGIC, "record {} is none", records.len());
        let length = usize::try_from(int(24)).expect("a length");
        let Some((bytes, after)) = after.split_at_checked(length) else { break };
        let kind = u8::try_from(short(4)).expect("a kind");
        records.push(Record { kind, file: int(8), offset: int(16), extra: int(32), bytes });
        rest = after;
    }
    records
}

/// Small, fast and the same every time.
#[derive(Clone, Debug)]
pub(super) struct Random(pub(super) u64);

impl Random {
    /// A number below `end`.
    pub(super) fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % end.max(1)
    }
}

#[derive(Clone, Copy)]
enum Change<'t> {
    Write(u64, &'t [u8]),
    Size(u64),
}

impl Change<'_> {
    fn apply(self, to: &mut Vec<u8>) {
        match self {
            Change::Write(at, bytes) => {
                let at = at as usize;
                if to.len() < at + bytes.len() {
                    to.resize(at + bytes.len(), 0);
                }
                to[at..at + bytes.len()].copy_from_slice(bytes);
            }
            Change::Size(size) => to.resize(size as usize, 0),
        }
    }
}

#[derive(Default)]
struct Content<'t> {
    durable: Vec<u8>,
    /// With the place of its record.
    pending: Vec<(usize, Change<'t>)>,
}

/// A sync that has begun.
struct Sync {
    file: u64,
    begun: usize,
    names: BTreeMap<String, usize>,
}

/// The disk as of a record.
#[derive(Default)]
pub(super) struct Replay<'t> {
    contents: Vec<Content<'t>>,
    by_file: HashMap<u64, usize>,
    folders: Vec<u64>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    syncs: HashMap<u64, Sync>,
}

fn name_of(path: &[u8]) -> String {
    let path = std::str::from_utf8(path).expect("a path in UTF-8");
    path.rsplit('/').next().expect("a name").to_owned()
}

impl<'t> Replay<'t> {
    /// Takes the next record, which is the `place`-th.
    pub(super) fn take(&mut self, place: usize, record: &Record<'t>) {
        match record.kind {
            b'O' => self.opened(record),
            b'D' if !self.folders.contains(&record.file) => self.folders.push(record.file),
            b'W' => self.change(place, record.file, Change::Write(record.offset, record.bytes)),
            b'T' => self.change(place, record.file, Change::Size(record.offset)),
            b's' => {
                let names = self.names.clone();
                self.syncs.insert(record.extra, Sync { file: record.file, begun: place, names });
            }
            b'S' => self.synced(record.extra),
            b'U' => drop(self.names.remove(&name_of(record.bytes))),
            b'R' => {
                let mut both = record.bytes.split(|byte| *byte == b'\n').map(name_of);
                let (from, to) = (both.next().expect("from"), both.next().expect("to"));
                let content = self.names.remove(&from).expect("a file that is renamed");
                self.names.insert(to, content);
            }
            _ => {}
        }
    }

    fn opened(&mut self, record: &Record<'t>) {
        if record.extra == 1 || !self.by_file.contains_key(&record.file) {
            assert_eq!(record.offset, 0, "the trace knows each file from its beginning");
            self.by_file.insert(record.file, self.contents.len());
            self.names.insert(name_of(record.bytes), self.contents.len());
            self.contents.push(Content::default());
        }
    }

    fn change(&mut self, place: usize, file: u64, change: Change<'t>) {
        self.contents[self.by_file[&file]].pending.push((place, change));
    }

    fn synced(&mut self, number: u64) {
        let sync = self.syncs.remove(&number).expect("a sync that began");
        if self.folders.contains(&sync.file) {
            self.durable_names = sync.names;
            return;
        }
        let content = &mut self.contents[self.by_file[&sync.file]];
        let covered = content.pending.partition_point(|(place, _)| *place < sync.begun);
        for (_, change) in content.pending.drain(..covered) {
            change.apply(&mut content.durable);
        }
    }

    /// Whether a sync is under way.
    pub(super) fn is_syncing(&self) -> bool {
        !self.syncs.is_empty()
    }

    /// Changes of a file that are not synced.
    pub(super) fn pending(&self, name: &str) -> usize {
        self.names.get(name).map_or(0, |content| self.contents[*content].pending.len())
    }

    /// The files as a cut now leaves them, one of many ways.
    pub(super) fn cut(&self, random: &mut Random) -> BTreeMap<String, Vec<u8>> {
        let mut names = self.durable_names.clone();
        for (name, content) in &self.names {
            if names.get(name) != Some(content) && random.below(2) == 0 {
                names.insert(name.clone(), *content);
            }
        }
        names.retain(|name, _| {
            // Its pages were never meant for the disk: it is made anew by whoever opens first.
            let is_kept = !name.ends_with("-shm");
            is_kept && (self.names.contains_key(name) || random.below(2) == 0)
        });
        let left = |content: &usize, random: &mut Random| left(&self.contents[*content], random);
        names.iter().map(|(name, content)| (name.clone(), left(content, random))).collect()
    }
}

/// What is left of a file.
fn left(content: &Content<'_>, random: &mut Random) -> Vec<u8> {
    let mut bytes = content.durable.clone();
    let pending = &content.pending;
    match random.below(4) {
        // Nothing of it reached the disk.
        0 => {}
        // All of it did.
        1 => pending.iter().for_each(|(_, change)| change.apply(&mut bytes)),
        // It did up to some byte.
        2 => {
            let whole = random.below(pending.len() + 1);
            pending[..whole].iter().for_each(|(_, change)| change.apply(&mut bytes));
            if let Some((_, Change::Write(at, torn))) = pending.get(whole) {
                Change::Write(*at, &torn[..random.below(torn.len())]).apply(&mut bytes);
            }
        }
        // Some sectors of it did.
        _ => {
            for (_, change) in pending {
                match change {
                    Change::Write(at, written) => {
                        for (sector, part) in written.chunks(SECTOR_BYTES).enumerate() {
                            if random.below(2) == 0 {
                                let at = at + (sector * SECTOR_BYTES) as u64;
                                Change::Write(at, part).apply(&mut bytes);
                            }
                        }
                    }
                    Change::Size(_) if random.below(2) == 0 => change.apply(&mut bytes),
                    Change::Size(_) => {}
                }
            }
        }
    }
    bytes
}
