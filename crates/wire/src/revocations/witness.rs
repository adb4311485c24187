//! C2SP tlog-witness, in spirit: every follower keeps the last checkpoint of each lane of the
//! audit log and demands that the next one contains it.
//!
//! Whoever holds the server's database and keys can rebuild a log; but not one that is consistent
//! with what was already shown. So a lane once shown is shown for ever and only grows, and a new
//! generation of the store excuses nothing: it opens further lanes, of its own, beside the old ones.
//! Absent on purpose: cosignatures. A follower answers with an alarm, not with a signature.

use std::collections::BTreeMap;

use super::feed::{Alarm, FeedError, LaneCheckpoint, Message};
use crate::tlog::checkpoint::{self, Checkpoint};
use crate::tlog::note::{NoteError, Vkey};
use crate::tlog::proof::ConsistencyProof;

/// A consistency proof that was fetched because of [`FeedError::NeedsProof`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneProof {
    /// The lane.
    pub lane: u16,
    /// The proof.
    pub proof: ConsistencyProof,
}

/// The last checkpoint of each lane, and the keys that sign them.
#[derive(Clone, Debug)]
pub struct LogWitness {
    keys: Vec<Vkey>,
    held: BTreeMap<u16, Held>,
}

/// A checkpoint that was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The generation in which the lane began; it stands in the lane's origin.
    pub generation: u64,
    /// What was signed.
    pub checkpoint: Checkpoint,
}

/// What [`LogWitness::check`] found: the checkpoints to hold from now on.
#[derive(Debug)]
pub(super) struct Consistent(BTreeMap<u16, Held>);

/// The origin of a lane's log: the issuer without its scheme, then `/log/g<generation>l<lane>`.
pub fn lane_origin(issuer: &str, generation: u64, lane: u16) -> String {
    let name = issuer.split_once("://").map_or(issuer, |(_, rest)| rest);
    format!("{name}/log/g{generation}l{lane}")
}

impl LogWitness {
    /// A witness that has seen nothing: it holds the first checkpoint of each lane that it is
    /// shown. `keys` are the log's note verifier keys.
    pub fn new(keys: Vec<Vkey>) -> Self {
        Self { keys, held: BTreeMap::new() }
    }

    /// A witness that goes on from what it held.
    pub fn resume(keys: Vec<Vkey>, held: BTreeMap<u16, Held>) -> Self {
        Self { keys, held }
    }

    /// Replaces the log's keys, such as after [`FeedError::NeedsLogKey`].
    pub fn set_keys(&mut self, keys: Vec<Vkey>) {
        self.keys = keys;
    }

    /// What is held, by lane.
    pub fn held(&self) -> &BTreeMap<u16, Held> {
        &self.held
    }

    /// What is held without the lanes that began before `generation`: what a person said is gone
    /// with a store that was restored.
    pub(super) fn without_before(&self, generation: u64) -> Self {
        let mut rest = self.clone();
        rest.held.retain(|_, held| held.generation >= generation);
        rest
    }

    /// Compares the checkpoints of a message with those that are held; changes nothing.
    ///
    /// Every lane that is held must be there, under its own origin, and contain what is held; and
    /// be just that where it began before `generation`, in which the follower is. A lane that is not held yet began in the newest generation that is held or later, up to the
    /// message's, and lanes are numbered in the order of their generations.
    pub(super) fn check(
        &self,
        message: &Message,
        proofs: &[LaneProof],
        generation: u64,
    ) -> Result<Consistent, FeedError> {
        let shown = |lane: u16| message.log.iter().any(|shown| shown.lane == lane);
        if let Some(&lane) = self.held.keys().find(|&&lane| !shown(lane)) {
            return Err(FeedError::Alarm(Alarm::LogWithheld { lane }));
        }
        let newest = self.held.values().map(|held| held.generation).max().unwrap_or(0);
        let mut next = BTreeMap::new();
        for lane in &message.log {
            let offered = self.open(message, lane)?;
            let own = match self.held.get(&lane.lane) {
                Some(held) if held.checkpoint.origin == offered.checkpoint.origin => {
                    let proof = proofs.iter().find(|proof| proof.lane == lane.lane);
                    let proof = proof.map(|proof| &proof.proof);
                    check_lane(lane, &held.checkpoint, &offered.checkpoint, proof)?;
                    let has_grown = offered.checkpoint.size > held.checkpoint.size;
                    if has_grown && held.generation < generation {
                        return Err(FeedError::Alarm(Alarm::LogReopened { lane: lane.lane }));
                    }
                    true
                }
                Some(_) => false,
                None => offered.generation >= newest,
            };
            if !own {
                return Err(foreign(lane.lane));
            }
            next.insert(lane.lane, offered);
        }
        let mut latest = 0;
        for (&lane, held) in &next {
            if held.generation < latest {
                return Err(foreign(lane));
            }
            latest = held.generation;
        }
        Ok(Consistent(next))
    }

    /// Holds what was found consistent.
    pub(super) fn hold(&mut self, consistent: Consistent) {
        self.held = consistent.0;
    }

    /// The checkpoint of a lane, under an origin that the lane can have in this message.
    fn open(&self, message: &Message, lane: &LaneCheckpoint) -> Result<Held, FeedError> {
        let checkpoint = match checkpoint::open(lane.note.as_bytes(), &self.keys) {
            Ok(checkpoint) => checkpoint,
            Err(NoteError::UnknownKey) => match self.open_by_own(message, lane) {
                Some(checkpoint) => checkpoint,
                None => return Err(FeedError::NeedsLogKey { lane: lane.lane }),
            },
            Err(_) => return Err(foreign(lane.lane)),
        };
        match generation_of(&checkpoint.origin, &message.issuer, lane.lane) {
            Some(generation) if generation <= message.generation => {
                Ok(Held { generation, checkpoint })
            }
            _ => Err(foreign(lane.lane)),
        }
    }
}

impl LogWitness {
    /// The checkpoint of a lane that is not known by name, where a key that signs this log's other lanes
    /// has signed it: lanes begin while nodes serve, and who follows need not ask for what it has.
    fn open_by_own(&self, message: &Message, lane: &LaneCheckpoint) -> Option<Checkpoint> {
        let origin = lane.note.lines().next()?;
        generation_of(origin, &message.issuer, lane.lane)?;
        if self.keys.iter().any(|vkey| vkey.name() == origin) {
            return None;
        }
        let log = lane_origin(&message.issuer, 0, 0);
        let log = log.strip_suffix("g0l0")?;
        let own = self.keys.iter().filter(|vkey| vkey.name().starts_with(log));
        let named: Vec<_> = own.filter_map(|vkey| Vkey::new(origin, vkey.key()).ok()).collect();
        checkpoint::open(lane.note.as_bytes(), &named).ok()
    }
}

fn foreign(lane: u16) -> FeedError {
    FeedError::Alarm(Alarm::LogForeign { lane })
}

/// The generation in an origin, where it is [`lane_origin`] of this issuer and lane, as we spell it.
fn generation_of(origin: &str, issuer: &str, lane: u16) -> Option<u64> {
    let (_, id) = origin.rsplit_once("/g")?;
    let generation = id.split_once('l')?.0.parse().ok()?;
    (generation > 0 && origin == lane_origin(issuer, generation, lane)).then_some(generation)
}

fn check_lane(
    lane: &LaneCheckpoint,
    held: &Checkpoint,
    offered: &Checkpoint,
    fetched: Option<&ConsistencyProof>,
) -> Result<(), FeedError> {
    let (number, from, to) = (lane.lane, held.size, offered.size);
    if to < from {
        let alarm = Alarm::LogShrunk { lane: number, held: from, offered: to };
        return Err(FeedError::Alarm(alarm));
    }
    let carried;
    let proof = if from == to || from == 0 {
        carried = ConsistencyProof { old: from, new: to, hashes: Vec::new() };
        &carried
    } else if lane.from == from {
        carried = ConsistencyProof { old: from, new: to, hashes: lane.proof.clone() };
        &carried
    } else {
        let fits = |proof: &&ConsistencyProof| proof.old == from && proof.new == to;
        let needs = FeedError::NeedsProof { lane: number, from, to };
        fetched.filter(fits).ok_or(needs)?
    };
    let alarm = Alarm::LogForked { lane: number, held: from, offered: to };
    proof.verify(&held.root, &offered.root).map_err(|_| FeedError::Alarm(alarm))
}
