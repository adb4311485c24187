//! C2SP tlog-witness, in spirit: every follower keeps the last checkpoint of each lane of the
//! audit log and demands that the next one contains it.
//!
//! Whoever holds the server's database and keys can rebuild a log; but not one that is consistent
//! with what was already shown. Absent on purpose: cosignatures. A follower answers with an alarm,
//! not with a signature.

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
    /// The generation in which the lane was shown; another generation begins another log.
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

    /// Compares the checkpoints of a message with those that are held; changes nothing.
    pub(super) fn check(
        &self,
        message: &Message,
        proofs: &[LaneProof],
    ) -> Result<Consistent, FeedError> {
        let mut next = self.held.clone();
        for lane in &message.log {
            let offered = self.open(message, lane)?;
            let proof = proofs.iter().find(|proof| proof.lane == lane.lane);
            // Another generation begins another log, of which nothing is held.
            match self.held.get(&lane.lane) {
                Some(held) if held.generation == message.generation => {
                    let proof = proof.map(|proof| &proof.proof);
                    check_lane(lane, &held.checkpoint, &offered, proof)?;
                }
                _ => {}
            }
            let held = Held { generation: message.generation, checkpoint: offered };
            next.insert(lane.lane, held);
        }
        let shown = |lane: &u16| message.log.iter().any(|shown| shown.lane == *lane);
        let current = |held: &Held| held.generation == message.generation;
        match self.held.iter().find(|(lane, held)| current(held) && !shown(lane)) {
            Some((&lane, _)) => Err(FeedError::Alarm(Alarm::LogWithheld { lane })),
            None => Ok(Consistent(next)),
        }
    }

    /// Holds what was found consistent.
    pub(super) fn hold(&mut self, consistent: Consistent) {
        self.held = consistent.0;
    }

    fn open(&self, message: &Message, lane: &LaneCheckpoint) -> Result<Checkpoint, FeedError> {
        let foreign = FeedError::Alarm(Alarm::LogForeign { lane: lane.lane });
        let opened = match checkpoint::open(lane.note.as_bytes(), &self.keys) {
            Ok(opened) => opened,
            Err(NoteError::UnknownKey) => return Err(FeedError::NeedsLogKey { lane: lane.lane }),
            Err(_) => return Err(foreign),
        };
        if opened.origin == lane_origin(&message.issuer, message.generation, lane.lane) {
            Ok(opened)
        } else {
            Err(foreign)
        }
    }
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
