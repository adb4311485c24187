//! Several lanes as one list of events, and cursors into it.
//!
//! Each generation has a lane that all nodes share, and where several serve it lanes of their own, which
//! grow beside each other. A list shows generation after generation, and within one by time, then lane,
//! then sequence number; times never go back in a lane, so a few leaves of each are all that is in memory.
//!
//! A cursor holds a place for each lane, because no one place says how far the others were read: an event
//! of another lane may be written later and be older. A lane that began after the cursor was given is
//! read from its start. A place of one lane alone, such as an event's id, stands for all that comes
//! after that event in the order of the list.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use accredit_wire::ids::EventId;
use accredit_wire::time::Time;

use super::read::READ_LEAVES_MAX;
use crate::context::Cx;
use crate::ports::{LaneHead, Leaf, Order};
use crate::refusal::{Fault, Refusal};

/// Lanes that a cursor names at most: as many as a log has.
pub const CURSOR_LANES_MAX: usize = 64;

/// A place in the log: lane and sequence number.
pub type Place = (u16, u64);

/// Where a list goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cursor {
    /// Behind an event, or before it where the newest come first.
    Event(Place),
    /// Of each lane, the sequence number that comes next; or, where the newest come first, the one below
    /// which it goes on.
    Lanes(BTreeMap<u16, u64>),
}

impl Cursor {
    /// Reads one: an event's id, a sequence number of lane 0, or `lane.next-lane.next`.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        if let Ok(id) = text.parse::<EventId>() {
            return Ok(Self::Event(id.place()));
        }
        if let Ok(sequence) = text.parse() {
            return Ok(Self::Event((0, sequence)));
        }
        let place = |part: &str| {
            let (lane, next) = part.split_once('.')?;
            Some((lane.parse().ok()?, next.parse().ok()?))
        };
        let parts: Option<Vec<(u16, u64)>> =
            text.split('-').take(CURSOR_LANES_MAX + 1).map(place).collect();
        let lanes = parts.filter(|parts| parts.len() <= CURSOR_LANES_MAX).and_then(|parts| {
            let count = parts.len();
            let lanes: BTreeMap<_, _> = parts.into_iter().collect();
            (lanes.len() == count).then_some(lanes)
        });
        lanes.map(Self::Lanes).ok_or_else(|| {
            Refusal::field(
                "after",
                "must be an event's id or number, or a cursor",
                "take an event's `id` or `seq`, or the `next` of a page",
            )
        })
    }
}

/// A place for each lane as a cursor.
fn text_of(lanes: impl Iterator<Item = Place>) -> String {
    let parts: Vec<_> = lanes.map(|(lane, next)| format!("{lane}.{next}")).collect();
    parts.join("-")
}

/// A place of one lane as a cursor: a number in lane 0, else an id that holds it.
fn text_of_one((lane, sequence): Place) -> String {
    if lane == 0 { sequence.to_string() } else { EventId::at(0, lane, sequence).to_string() }
}

/// One lane while it is read.
struct Course {
    lane: u16,
    generation: u64,
    /// What is left of it.
    left: Range<u64>,
    /// The place of the last leaf that was handed out.
    last: Option<u64>,
    /// Leaves that were read and not handed out, the next one first.
    read: VecDeque<Leaf>,
}

/// The lanes of a log as one list, from some place on.
pub(super) struct Merged {
    newest: bool,
    /// In the order in which generations are read.
    courses: Vec<Course>,
}

impl Merged {
    /// From a cursor on, in this order.
    pub(super) async fn new(
        cx: &Cx,
        lanes: &[LaneHead],
        after: Option<&Cursor>,
        order: Order,
    ) -> Result<Self, Fault> {
        let (mut courses, newest) = (Vec::with_capacity(lanes.len()), order == Order::Newest);
        let pivot = match after {
            Some(Cursor::Event(place)) => Some(Pivot::of(cx, lanes, *place).await?),
            Some(Cursor::Lanes(_)) | None => None,
        };
        for head in lanes {
            let all = 0..head.sequenced;
            let left = match (after, &pivot) {
                (Some(Cursor::Lanes(lanes)), _) => left_by(lanes, head, newest),
                (_, Some(pivot)) => pivot.left(cx, head, newest).await?,
                (_, None) => all,
            };
            courses.push(Course {
                lane: head.lane,
                generation: head.generation,
                left,
                last: None,
                read: VecDeque::new(),
            });
        }
        courses.sort_by_key(|course| (course.generation, course.lane));
        if newest {
            courses.reverse();
        }
        Ok(Self { newest, courses })
    }

    /// What is left of each lane, in the order in which generations are read.
    pub(super) fn left(&self) -> Vec<(u64, u16, Range<u64>)> {
        let left = |course: &Course| (course.generation, course.lane, course.left.clone());
        self.courses.iter().map(left).collect()
    }

    /// The next leaf.
    pub(super) async fn next(&mut self, cx: &Cx) -> Result<Option<Leaf>, Fault> {
        let is_left = |course: &Course| !course.left.is_empty();
        let Some(current) = self.courses.iter().find(|course| is_left(course)) else {
            return Ok(None);
        };
        let generation = current.generation;
        let (newest, mut best) = (self.newest, None);
        for (place, course) in self.courses.iter_mut().enumerate() {
            if course.generation != generation || course.left.is_empty() {
                continue;
            }
            if course.read.is_empty() {
                course.fill(cx, newest).await?;
            }
            let Some(leaf) = course.read.front() else {
                // The lane says that it has leaves which are not there: `fsck` tells.
                course.left = 0..0;
                continue;
            };
            let key = (leaf.at, leaf.lane, leaf.sequence);
            let is_before = |(_, other): &(usize, (Time, u16, u64))| {
                if newest { key > *other } else { key < *other }
            };
            if best.as_ref().is_none_or(is_before) {
                best = Some((place, key));
            }
        }
        let Some((place, _)) = best else { return Ok(None) };
        Ok(self.courses.get_mut(place).and_then(|course| course.hand_out(newest)))
    }

    /// Takes note that leaves were handed out by somebody else who read them in this order.
    pub(super) fn pass(&mut self, leaf: &Leaf) {
        let newest = self.newest;
        if let Some(course) = self.courses.iter_mut().find(|course| course.lane == leaf.lane) {
            course.passed(leaf.sequence, newest);
        }
    }

    /// Whether anything is left.
    fn is_over(&self) -> bool {
        self.courses.iter().all(|course| course.left.is_empty())
    }

    /// Where a list that was read so far goes on; nothing at its end.
    pub(super) fn cursor(&self) -> Option<String> {
        if self.is_over() {
            return None;
        }
        let newest = self.newest;
        // The generation in which the last leaf was; all before it were read to their ends.
        let at = self.courses.iter().rev().find(|course| course.last.is_some())?;
        let generation = at.generation;
        let mut of_it: Vec<_> =
            self.courses.iter().filter(|course| course.generation == generation).collect();
        if let ([only], Some(last)) = (&of_it[..], at.last) {
            return Some(text_of_one((only.lane, last)));
        }
        of_it.sort_unstable_by_key(|course| course.lane);
        let place = |course: &&Course| {
            (course.lane, if newest { course.left.end } else { course.left.start })
        };
        Some(text_of(of_it.iter().map(place)))
    }
}

impl Course {
    async fn fill(&mut self, cx: &Cx, newest: bool) -> Result<(), Fault> {
        let count = (self.left.end - self.left.start).min(READ_LEAVES_MAX as u64);
        let from = if newest { self.left.end - count } else { self.left.start };
        let leaves = cx.world.store.leaves(cx.tenant.id, self.lane, from, count as usize).await?;
        self.read.extend(leaves);
        if newest {
            self.read.make_contiguous().reverse();
        }
        Ok(())
    }

    fn hand_out(&mut self, newest: bool) -> Option<Leaf> {
        let leaf = self.read.pop_front()?;
        self.passed(leaf.sequence, newest);
        Some(leaf)
    }

    fn passed(&mut self, sequence: u64, newest: bool) {
        self.last = Some(sequence);
        if newest {
            self.left.end = sequence;
        } else {
            self.left.start = sequence + 1;
        }
    }
}

/// What a cursor that names lanes leaves of one. One that it does not name is of another generation, or
/// began later.
fn left_by(lanes: &BTreeMap<u16, u64>, head: &LaneHead, newest: bool) -> Range<u64> {
    let end = head.sequenced;
    let is_before = lanes.keys().next().is_some_and(|first| head.lane < *first);
    match lanes.get(&head.lane) {
        Some(before) if newest => 0..(*before).min(end),
        Some(next) => (*next).min(end)..end,
        None if is_before == newest => 0..end,
        None => 0..0,
    }
}

/// An event behind or before which a list goes on.
struct Pivot {
    place: Place,
    /// The generation of its lane; nothing where there is no such lane.
    generation: Option<u64>,
    /// When it was, where it is there.
    at: Option<Time>,
}

impl Pivot {
    async fn of(cx: &Cx, lanes: &[LaneHead], (lane, sequence): Place) -> Result<Self, Fault> {
        let leaves = cx.world.store.leaves(cx.tenant.id, lane, sequence, 1).await?;
        let leaf = leaves.first().filter(|leaf| leaf.sequence == sequence);
        Ok(Self {
            place: (lane, sequence),
            generation: lanes.iter().find(|head| head.lane == lane).map(|head| head.generation),
            at: leaf.map(|leaf| leaf.at),
        })
    }

    /// What it leaves of a lane.
    async fn left(&self, cx: &Cx, head: &LaneHead, newest: bool) -> Result<Range<u64>, Fault> {
        let (lane, sequence) = self.place;
        let end = head.sequenced;
        if head.lane == lane {
            let before = 0..sequence.min(end);
            return Ok(if newest { before } else { sequence.saturating_add(1).min(end)..end });
        }
        let beside = self.generation == Some(head.generation);
        let Some(at) = self.at.filter(|_| beside) else {
            // By the order of lanes, as where there is one after the other.
            let is_left = if newest { head.lane < lane } else { head.lane > lane };
            return Ok(if is_left { 0..end } else { 0..0 });
        };
        // The first leaf of this lane that comes behind the event.
        let (mut low, mut high) = (0, end);
        while low < high {
            let middle = low + (high - low) / 2;
            let leaves = cx.world.store.leaves(cx.tenant.id, head.lane, middle, 1).await?;
            let is_behind = leaves.first().is_none_or(|leaf| (leaf.at, head.lane) > (at, lane));
            if is_behind { high = middle } else { low = middle + 1 }
        }
        Ok(if newest { 0..low } else { low..end })
    }
}
