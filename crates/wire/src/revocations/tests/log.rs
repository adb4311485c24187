//! What a follower demands of the audit log that it is shown: whatever the generation, each lane
//! once shown stays and only grows, unless a person says that a backup was restored.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::feed::{Alarm, FeedError, LaneCheckpoint, Message};
use super::super::follower::{Applied, Follower};
use super::super::witness::{LaneProof, LogWitness, lane_origin};
use super::{ISSUER, NONCE, agent, applied, asking, at, entry, message, signed};
use crate::crypto::PrivateKey;
use crate::tlog::Hash;
use crate::tlog::checkpoint::Checkpoint;
use crate::tlog::note::Vkey;
use crate::tlog::proof::ConsistencyProof;
use crate::tlog::tree::{self, HashReader};

/// A lane of an audit log whose leaves are what we say.
pub(super) struct Log {
    leaves: Vec<Hash>,
    private: PrivateKey,
    vkey: Vkey,
    lane: u16,
}

struct Leaves<'a>(&'a [Hash]);

impl HashReader for Leaves<'_> {
    fn hash(&self, level: u8, index: u64) -> Option<Hash> {
        let width = 1usize << level;
        let start = index as usize * width;
        self.0.get(start..start + width).map(tree::root)
    }
}

impl Log {
    /// Lane 0 of generation 1.
    pub(super) fn new(leaf: u8, count: usize) -> Self {
        Self::of(1, 0, leaf, count)
    }

    fn of(generation: u64, lane: u16, leaf: u8, count: usize) -> Self {
        Self::signed_by(7, generation, lane, leaf, count)
    }

    fn signed_by(seed: u8, generation: u64, lane: u16, leaf: u8, count: usize) -> Self {
        let private = PrivateKey::ed25519_from_seed(&[seed; 32]).expect("a key");
        let origin = lane_origin(ISSUER, generation, lane);
        let vkey = Vkey::new(&origin, &private.public().expect("public")).expect("a name");
        let leaves = vec![tree::entry_hash(&[leaf]); count];
        Self { leaves, private, vkey, lane }
    }

    pub(super) fn append(&mut self, leaf: u8) {
        self.leaves.push(tree::entry_hash(&[leaf]));
    }

    pub(super) fn vkeys(&self) -> Vec<Vkey> {
        vec![self.vkey.clone()]
    }

    pub(super) fn checkpoint(&self, from: u64) -> LaneCheckpoint {
        let checkpoint = Checkpoint {
            origin: self.vkey.name().to_owned(),
            size: self.leaves.len() as u64,
            root: tree::root(&self.leaves),
        };
        let signature = self.private.sign(&checkpoint.bytes_to_sign()).expect("a signature");
        let note = checkpoint.note(&self.vkey, &signature);
        let proof = if from == 0 { Vec::new() } else { self.proof(from).hashes };
        LaneCheckpoint { lane: self.lane, note, from, proof }
    }

    fn proof(&self, from: u64) -> ConsistencyProof {
        ConsistencyProof::new(&Leaves(&self.leaves), from, self.leaves.len() as u64)
            .expect("a proof")
    }
}

/// A follower that has seen a log of five leaves, and that log.
fn watching() -> (Follower, Log) {
    let log = Log::new(b'a', 5);
    let follower = Follower::new(ISSUER.to_owned(), Some(LogWitness::new(log.vkeys())));
    let mut follower = asking(follower);
    let snapshot = Message { log: vec![log.checkpoint(0)], ..message(0, 1, 0, &[]) };
    assert_eq!(applied(&mut follower, &snapshot), Ok(Applied::Snapshot));
    (follower, log)
}

fn shown(follower: &mut Follower, seconds: i64, log: Vec<LaneCheckpoint>) -> Result<(), FeedError> {
    let heartbeat = Message { log, ..message(1, 1, seconds, &[]) };
    applied(follower, &heartbeat).map(|_| ())
}

#[test]
fn a_log_that_grows_is_believed_with_a_proof() {
    let (mut follower, mut log) = watching();
    assert_eq!(shown(&mut follower, 1, vec![log.checkpoint(0)]), Ok(()), "the same");
    log.append(b'b');
    log.append(b'c');
    assert_eq!(shown(&mut follower, 2, vec![log.checkpoint(5)]), Ok(()));
    let held = follower.witness().expect("a witness").held()[&0].checkpoint.clone();
    assert_eq!(held.size, 7);
    log.append(b'd');
    let needs = FeedError::NeedsProof { lane: 0, from: 7, to: 8 };
    let late = Message { log: vec![log.checkpoint(5)], ..message(1, 1, 3, &[]) };
    assert_eq!(applied(&mut follower, &late), Err(needs));
    assert_eq!(follower.state().server_time(), at(2), "not younger without the proof");
    let proofs = [LaneProof { lane: 0, proof: log.proof(7) }];
    assert_eq!(follower.apply(&signed(&late), &proofs, at(4)), Ok(Applied::Heartbeat));
    assert_eq!(follower.state().server_time(), at(3));
}

#[test]
fn a_rebuilt_log_is_refused_whatever_its_size() {
    let (mut follower, _) = watching();
    for size in [5, 6, 9] {
        // The same key and origin, other leaves.
        let rebuilt = Log::new(b'x', size);
        let from = if size > 5 { 5 } else { 0 };
        let forked = Alarm::LogForked { lane: 0, held: 5, offered: size as u64 };
        let result = shown(&mut follower, 10, vec![rebuilt.checkpoint(from)]);
        assert_eq!(result, Err(FeedError::Alarm(forked)), "{size}");
    }
    let shrunk = Alarm::LogShrunk { lane: 0, held: 5, offered: 4 };
    let result = shown(&mut follower, 11, vec![Log::new(b'a', 4).checkpoint(0)]);
    assert_eq!(result, Err(FeedError::Alarm(shrunk)));
    assert_eq!(follower.state().server_time(), at(0), "so the Verifier soon refuses");
    assert_eq!(follower.anchor().expect("an anchor").at(), at(0));
}

#[test]
fn a_lane_that_is_no_longer_shown_or_not_the_lanes_own_is_an_alarm() {
    let (mut follower, log) = watching();
    let withheld = FeedError::Alarm(Alarm::LogWithheld { lane: 0 });
    assert_eq!(shown(&mut follower, 1, Vec::new()), Err(withheld));
    let garbage = LaneCheckpoint { note: "nothing".to_owned(), ..log.checkpoint(0) };
    let foreign = FeedError::Alarm(Alarm::LogForeign { lane: 0 });
    assert_eq!(shown(&mut follower, 2, vec![garbage]), Err(foreign));
    // The checkpoint of lane 0 offered as that of lane 1.
    let moved = LaneCheckpoint { lane: 1, ..log.checkpoint(0) };
    let foreign = FeedError::Alarm(Alarm::LogForeign { lane: 1 });
    assert_eq!(shown(&mut follower, 3, vec![log.checkpoint(0), moved]), Err(foreign));
}

/// A lane begins while nodes serve: the key that signs the others is known for it, another one is not.
#[test]
fn a_further_lane_under_a_known_key_waits_for_nobody_and_one_under_another_key_does() {
    let (mut follower, log) = watching();
    let own = Log::signed_by(7, 1, 1, b'b', 3);
    let strange = Log::signed_by(9, 1, 2, b'c', 3);
    let own_and = |further: LaneCheckpoint| vec![log.checkpoint(0), own.checkpoint(0), further];
    let needs = FeedError::NeedsLogKey { lane: 2 };
    assert_eq!(shown(&mut follower, 1, own_and(strange.checkpoint(0))), Err(needs));
    let two = vec![log.checkpoint(0), own.checkpoint(0)];
    assert_eq!(shown(&mut follower, 2, two), Ok(()));
    // A known key vouches for the lane that it names alone.
    let moved = LaneCheckpoint { lane: 2, ..own.checkpoint(0) };
    assert!(shown(&mut follower, 3, own_and(moved)).is_err());
}

#[test]
fn a_checkpoint_by_an_unknown_key_waits_for_that_key() {
    let (mut follower, _) = watching();
    let other = Log::signed_by(9, 1, 0, b'a', 5);
    let needs = FeedError::NeedsLogKey { lane: 0 };
    assert_eq!(shown(&mut follower, 1, vec![other.checkpoint(0)]), Err(needs));
    follower.set_log_keys(other.vkeys());
    assert_eq!(shown(&mut follower, 2, vec![other.checkpoint(0)]), Ok(()), "same leaves, new key");
}

// Generations.

/// The keys of four lanes in four generations.
fn keys() -> Vec<Vkey> {
    let keys = (1..5).flat_map(|generation| (0..4).map(move |lane| (generation, lane)));
    keys.flat_map(|(generation, lane)| Log::of(generation, lane, 0, 0).vkeys()).collect()
}

/// A follower that has seen five leaves of lane 0 in generation 1, that log, and its successor's
/// first lane.
fn before_a_restore() -> (Follower, Log, Log) {
    let (mut follower, old) = watching();
    follower.set_log_keys(keys());
    (follower, old, Log::of(2, 1, b'n', 1))
}

/// A snapshot of a generation.
fn restored(generation: u64, seconds: i64, log: &[&Log]) -> Message {
    let log = log.iter().map(|log| log.checkpoint(0)).collect();
    let to = generation << 40;
    Message { generation, log, ..message(0, to, seconds, &[entry(9, 1)]) }
}

fn alarm(follower: &mut Follower, message: &Message) -> Alarm {
    let before = follower.witness().expect("a witness").held().clone();
    match applied(follower, message) {
        Err(FeedError::Alarm(alarm)) => {
            assert_eq!(follower.state().generation(), 1);
            assert_eq!(follower.state().server_time(), at(0), "not younger");
            assert_eq!(follower.anchor().expect("an anchor").at(), at(0));
            assert_eq!(follower.state().is_dead([agent(9)], 0), Some(agent(9)), "the union");
            assert_eq!(follower.witness().expect("a witness").held(), &before);
            alarm
        }
        other => panic!("no alarm: {other:?}"),
    }
}

#[test]
fn a_new_generation_keeps_the_old_lanes_and_opens_its_own() {
    let (mut follower, old, mut new) = before_a_restore();
    assert_eq!(applied(&mut follower, &restored(2, 5, &[&old, &new])), Ok(Applied::Snapshot));
    let held = follower.witness().expect("a witness").held();
    assert_eq!(held[&0].generation, 1);
    assert_eq!((held[&1].generation, held[&1].checkpoint.size), (2, 1));
    new.append(b'o');
    let rev = 2 << 40;
    let log = vec![old.checkpoint(0), new.checkpoint(1)];
    let heartbeat = Message { generation: 2, log, ..message(rev, rev, 6, &[]) };
    assert_eq!(applied(&mut follower, &heartbeat), Ok(Applied::Heartbeat));
    // The old lane is closed: what grows in it is said to be older than it is.
    let mut later = Log::new(b'a', 5);
    later.append(b'z');
    let log = vec![later.checkpoint(5), new.checkpoint(0)];
    let grown = Message { generation: 2, log, ..message(rev, rev, 7, &[]) };
    let reopened = FeedError::Alarm(Alarm::LogReopened { lane: 0 });
    assert_eq!(applied(&mut follower, &grown), Err(reopened));
    assert_eq!(follower.state().server_time(), at(6), "not younger");
    // One that lags behind sees it grow to its end with the first message of the next generation.
    let (mut behind, _, new) = before_a_restore();
    let log = vec![later.checkpoint(5), new.checkpoint(0)];
    let first = Message { log, ..restored(2, 5, &[]) };
    assert_eq!(applied(&mut behind, &first), Ok(Applied::Snapshot));
    // One that was away for a whole generation sees two new lanes at once.
    let (mut away, old, _) = before_a_restore();
    let third = Log::of(3, 2, b'p', 1);
    let both = restored(3, 9, &[&old, &new, &third]);
    assert_eq!(applied(&mut away, &both), Ok(Applied::Snapshot));
}

#[test]
fn a_raised_generation_does_not_excuse_another_log() {
    let (mut follower, old, new) = before_a_restore();
    let foreign = |lane| Alarm::LogForeign { lane };
    // Rebuilt in its place, whatever its length.
    for size in [5, 6] {
        let mut message = restored(2, 5, &[&Log::new(b'x', size), &new]);
        let fetched = [LaneProof { lane: 0, proof: Log::new(b'x', size).proof(5) }];
        let forked = Alarm::LogForked { lane: 0, held: 5, offered: size as u64 };
        message.at = at(5);
        let result = follower.apply(&signed(&message), &fetched, message.at);
        assert_eq!(result, Err(FeedError::Alarm(forked)), "{size}");
    }
    let shrunk = Alarm::LogShrunk { lane: 0, held: 5, offered: 4 };
    assert_eq!(alarm(&mut follower, &restored(2, 5, &[&Log::new(b'a', 4), &new])), shrunk);
    // Left out, or begun again under the new generation's name, though with the same leaves.
    let withheld = Alarm::LogWithheld { lane: 0 };
    assert_eq!(alarm(&mut follower, &restored(2, 5, &[])), withheld);
    assert_eq!(alarm(&mut follower, &restored(2, 5, &[&new])), withheld);
    assert_eq!(alarm(&mut follower, &restored(2, 5, &[&Log::of(2, 0, b'a', 5)])), foreign(0));
    // Under another number, or two lanes that changed places.
    let moved = restored(2, 5, &[&Log::of(1, 1, b'a', 5), &Log::of(2, 0, b'n', 1)]);
    assert_eq!(alarm(&mut follower, &moved), foreign(0));
    // A lane of a generation that is still to come.
    let early = restored(2, 5, &[&old, &Log::of(3, 1, b'n', 1)]);
    assert_eq!(alarm(&mut follower, &early), foreign(1));
    // The honest one is still accepted.
    assert_eq!(applied(&mut follower, &restored(2, 6, &[&old, &new])), Ok(Applied::Snapshot));
    // And after it nothing that is said to have begun before it, or out of order.
    let back = restored(3, 7, &[&old, &new, &Log::of(1, 2, b'n', 1)]);
    assert_eq!(applied(&mut follower, &back), Err(FeedError::Alarm(foreign(2))));
    let (mut follower, old, _) = before_a_restore();
    let swapped = restored(3, 5, &[&old, &Log::of(3, 1, b'n', 1), &Log::of(2, 2, b'n', 1)]);
    assert_eq!(alarm(&mut follower, &swapped), foreign(2));
}

#[test]
fn what_a_restore_lost_is_forgotten_only_when_a_person_says_so() {
    let (mut follower, _, new) = before_a_restore();
    let kill = Message { log: vec![Log::new(b'a', 5).checkpoint(0)], ..message(1, 2, 1, &[]) };
    let kill = Message { entries: vec![entry(1, 2)], ..kill };
    assert_eq!(applied(&mut follower, &kill), Ok(Applied::Delta));
    let older = Log::new(b'a', 3);
    let shrunk = FeedError::Alarm(Alarm::LogShrunk { lane: 0, held: 5, offered: 3 });
    let snapshot = restored(2, 5, &[&older, &new]);
    assert_eq!(applied(&mut follower, &snapshot), Err(shrunk.clone()));
    // Not for a message of a generation below the one that was named, and not within one.
    follower.accept_restored(3);
    assert_eq!(applied(&mut follower, &snapshot), Err(shrunk.clone()));
    follower.accept_restored(1);
    assert_eq!(applied(&mut follower, &snapshot), Err(shrunk.clone()));
    // What was kept on disk goes on in the same way.
    let bytes = follower.to_bytes(at(6)).expect("bytes");
    let again = Follower::from_bytes(&bytes, ISSUER, Some(keys())).expect("again");
    for mut follower in [follower, again] {
        follower.ask(NONCE, at(0));
        assert_eq!(applied(&mut follower, &snapshot), Err(shrunk.clone()));
        follower.accept_restored(2);
        let garbage = LaneCheckpoint { note: "nothing".to_owned(), ..older.checkpoint(0) };
        let bad = Message { log: vec![garbage], ..snapshot.clone() };
        assert!(applied(&mut follower, &bad).is_err());
        assert_eq!(follower.witness().expect("a witness").held()[&0].checkpoint.size, 5);
        assert_eq!(applied(&mut follower, &snapshot), Ok(Applied::Snapshot));
        assert_eq!(follower.state().is_dead([agent(1)], 1), Some(agent(1)), "entries stay");
        // Once: from here on it holds what it was shown.
        let rev = 2 << 40;
        let log = vec![Log::new(b'a', 2).checkpoint(0), new.checkpoint(0)];
        let again = Message { generation: 2, log, ..message(rev, rev, 8, &[]) };
        let shrunk = FeedError::Alarm(Alarm::LogShrunk { lane: 0, held: 3, offered: 2 });
        assert_eq!(applied(&mut follower, &again), Err(shrunk.clone()));
        let bytes = follower.to_bytes(at(9)).expect("bytes");
        let mut started = Follower::from_bytes(&bytes, ISSUER, Some(keys())).expect("started");
        started.accept_restored(2);
        started.ask(NONCE, at(0));
        assert_eq!(applied(&mut started, &again), Err(shrunk));
    }
}

/// One lane of a message: number, generation, leaf, size.
type Lane = (u16, u64, u8, usize);

fn any_message() -> impl Strategy<Value = (u64, u64, bool, Vec<Lane>)> {
    // Mostly what an honest server would show, so that sequences get somewhere.
    let honest = |(lane, size): (u16, usize)| (lane, u64::from(lane) + 1, 0, size);
    let lane = prop_oneof![
        8 => (0u16..3, 1usize..6).prop_map(honest),
        1 => (0u16..3, 1u64..5, 0u8..2, 1usize..6),
    ];
    (1u64..5, 0u64..4, any::<bool>(), prop::collection::vec(lane, 0..4))
}

proptest! {
    #[test]
    fn no_messages_make_a_follower_forget_a_checkpoint(
        messages in prop::collection::vec(any_message(), 1..24),
    ) {
        let follower = Follower::new(ISSUER.to_owned(), Some(LogWitness::new(keys())));
        let mut follower = asking(follower);
        let log = |(lane, generation, leaf, size): Lane| Log::of(generation, lane, leaf, size);
        for ((generation, rev, snapshot, lanes), seconds) in messages.into_iter().zip(1..) {
            let lanes: BTreeMap<u16, Lane> = lanes.into_iter().map(|lane| (lane.0, lane)).collect();
            let to = (generation << 40) + rev;
            let from = if snapshot { 0 } else { follower.state().rev().min(to) };
            let shown = lanes.values().map(|lane| log(*lane).checkpoint(0)).collect();
            let message = Message { generation, log: shown, ..message(from, to, seconds, &[]) };
            let before = follower.clone();
            let mut proofs = Vec::new();
            let result = loop {
                match follower.apply(&signed(&message), &proofs, message.at) {
                    Err(FeedError::NeedsProof { lane, from, .. }) => {
                        proofs.push(LaneProof { lane, proof: log(lanes[&lane]).proof(from) });
                    }
                    result => break result,
                }
            };
            let [before, after] = [&before, &follower].map(|follower| {
                (follower.anchor(), follower.witness().expect("a witness").held())
            });
            if result.is_err() {
                prop_assert_eq!(before, after);
            }
            for (lane, held) in before.1 {
                let now = after.1.get(lane).map(|now| &now.checkpoint);
                let now = now.expect("it is held still");
                prop_assert_eq!(&now.origin, &held.checkpoint.origin);
                prop_assert!(now.size >= held.checkpoint.size);
                let same = |leaf: u8| {
                    let root = |size: u64| tree::root(&vec![tree::entry_hash(&[leaf]); size as usize]);
                    root(held.checkpoint.size) == held.checkpoint.root && root(now.size) == now.root
                };
                prop_assert!(same(0) || same(1), "lane {} contains what was held", lane);
            }
        }
    }
}
