//! One follower of one organization's feed: its state, its witness, and what a message does to them.
//!
//! Every message that is signed adds its entries, whatever else is wrong with it: more entries can
//! only make more things dead. Its counter is taken only if it continues what is held and the audit
//! log it shows contains the log shown before, and its time only if it is known to be later as well
//! ([`super::age`]): it answers a question, or goes on from what did. So a server that contradicts
//! itself cannot keep the state young, and what depends on it soon refuses. Nothing counts that a
//! feed key signs which an earlier message revoked.
//!
//! Of a snapshot in pieces the same holds: each piece that its signed head names adds its entries as
//! it comes, and the head counts once all of them have come, in their order, and not before. What is
//! cut off in the middle has made more things dead and nothing younger.
//!
//! How it survives a restart is [`super::kept`].

use std::collections::VecDeque;

use super::age::{Anchor, BACKWARDS_MAX, Nonce};
use super::feed::{Alarm, FeedError, Message, MessageKind, SignedMessage};
use super::piece::{Piece, PieceError};
use super::state::State;
use super::table::{Order, Row};
use super::witness::{LaneProof, LogWitness};
use crate::time::Time;
use crate::tlog::Hash;
use crate::tlog::note::Vkey;

/// Questions whose answers are waited for; beyond, the oldest is given up.
pub const ASKED_MAX: usize = 16;

/// A question that was put.
#[derive(Clone, Copy, Debug)]
struct Asked {
    nonce: Nonce,
    number: u64,
    at: Time,
}

/// What was taken of one snapshot in pieces.
#[derive(Clone, Debug, Default)]
struct Gathered {
    /// Which pieces it has.
    pieces: Vec<Hash>,
    /// How many of them were taken: the first ones.
    taken: usize,
    /// Where the last entry of those stands.
    last: Option<Order>,
}

/// What a message did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// The state is now complete up to the snapshot.
    Snapshot,
    /// The state is now complete up to the delta.
    Delta,
    /// The state is as it was, and younger.
    Heartbeat,
    /// The message is older than what is held. Nothing moved.
    Old,
}

/// Follows one organization's revocations.
#[derive(Clone, Debug)]
pub struct Follower {
    pub(super) issuer: String,
    pub(super) state: State,
    pub(super) witness: Option<LogWitness>,
    pub(super) anchor: Option<Anchor>,
    /// The latest local time known to this follower.
    pub(super) seen: Time,
    /// The newest questions, in the order in which they were put.
    asked: VecDeque<Asked>,
    /// The number of the last of them.
    questions: u64,
    /// The generation whose beginning a person said was a restored backup.
    restored: Option<u64>,
    gathered: Gathered,
}

impl Follower {
    /// A follower of `issuer` that knows nothing yet: the first message must be a snapshot.
    /// Without a witness it does not look at the audit log.
    pub fn new(issuer: String, witness: Option<LogWitness>) -> Self {
        Self {
            issuer,
            state: State::unknown(),
            witness,
            anchor: None,
            seen: Time::from_micros(0),
            asked: VecDeque::new(),
            questions: 0,
            restored: None,
            gathered: Gathered::default(),
        }
    }

    /// The issuer.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// What has ended, as far as is known.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// When the state was signed and when it came; none before the first answer.
    pub fn anchor(&self) -> Option<Anchor> {
        self.anchor
    }

    /// The latest local time that the follower knows of: of the last message, or of the writing
    /// of the file it was read from.
    pub fn seen(&self) -> Time {
        self.seen
    }

    /// The witness.
    pub fn witness(&self) -> Option<&LogWitness> {
        self.witness.as_ref()
    }

    /// Replaces the log's keys, where the log is watched.
    pub fn set_log_keys(&mut self, keys: Vec<Vkey>) {
        if let Some(witness) = &mut self.witness {
            witness.set_keys(keys);
        }
    }

    /// A person's word that `generation` began with a restored backup, which may lack events that
    /// this follower saw. The first accepted message of that generation or a later one then need
    /// not contain the checkpoints of lanes that began before it: those are forgotten, once, and
    /// the ones that are shown are held from then on. Entries stay. Says nothing to a follower that
    /// is in that generation already.
    pub fn accept_restored(&mut self, generation: u64) {
        self.restored = Some(generation);
    }

    /// A question is put with `nonce` at the local time `now`: drawn for it alone, and before it is
    /// sent. Only an answer makes the state young, or what goes on from one.
    pub fn ask(&mut self, nonce: Nonce, now: Time) {
        self.questions += 1;
        if self.asked.len() == ASKED_MAX {
            self.asked.pop_front();
        }
        self.asked.push_back(Asked { nonce, number: self.questions, at: now });
    }

    /// Takes the next piece of the snapshot whose head is `signed`, and says how many are missing
    /// then. With a piece of another snapshot the one before is given up.
    ///
    /// Publish [`Follower::state`] afterwards; once none is missing, apply the head. Applied before,
    /// it begins with its first piece again.
    pub fn take_piece(&mut self, signed: &SignedMessage, text: &str) -> Result<usize, FeedError> {
        self.check_source(signed)?;
        let head = signed.message();
        if self.gathered.pieces != head.pieces {
            let pieces = head.pieces.clone();
            self.gathered = Gathered { pieces, taken: 0, last: None };
        }
        let Gathered { pieces, taken, last } = &mut self.gathered;
        let named = pieces.get(*taken).ok_or(FeedError::Piece(PieceError::Foreign))?;
        let piece = Piece::parse(text).map_err(FeedError::Piece)?;
        if piece.hash() != *named {
            return Err(FeedError::Piece(PieceError::Foreign));
        }
        let rows = piece.rows(*last).map_err(FeedError::Piece)?;
        drop(piece);
        // As of a message's own entries.
        if rows.iter().any(|row| row.below > head.to) {
            return Err(FeedError::Piece(PieceError::Above));
        }
        self.state = self.state.with_rows(&rows);
        *last = rows.last().map(Row::order);
        *taken += 1;
        Ok(pieces.len() - *taken)
    }

    /// Whether every piece of a snapshot was taken.
    fn has_all(&self, head: &Message) -> bool {
        let Gathered { pieces, taken, .. } = &self.gathered;
        head.pieces.is_empty() || (*pieces == head.pieces && *taken == pieces.len())
    }

    /// Refuses what is another issuer's, or signed by a key that was revoked.
    fn check_source(&self, signed: &SignedMessage) -> Result<(), FeedError> {
        if signed.message().issuer != self.issuer {
            return Err(FeedError::Issuer);
        }
        // Before its entries are taken: those of a thief could not be taken back.
        match signed.signer().filter(|&key| self.state.has_key(key)) {
            Some(key) => Err(FeedError::RevokedKey(key)),
            None => Ok(()),
        }
    }

    /// Applies a message that came at the local time `received_at`. `proofs` are those that an
    /// earlier attempt asked for; usually none.
    ///
    /// Publish [`Follower::state`] afterwards in any case: its entries may have grown even where
    /// the result is an error.
    pub fn apply(
        &mut self,
        signed: &SignedMessage,
        proofs: &[LaneProof],
        received_at: Time,
    ) -> Result<Applied, FeedError> {
        self.check_source(signed)?;
        let message = signed.message();
        if !self.has_all(message) {
            // Begun anew: where they come from, they come from the first on.
            self.gathered = Gathered::default();
            return Err(FeedError::NeedsPieces(message.pieces.len()));
        }
        let anchor = self.anchored(message, received_at);
        let continues = self.continues(message, anchor.is_some());
        self.state = self.state.with(&message.entries);
        if !continues? {
            return Ok(Applied::Old);
        }
        let held = self.state.generation();
        let restored = self.restored.filter(|restored| held < *restored);
        let restored = restored.filter(|restored| *restored <= message.generation);
        if let Some(witness) = &mut self.witness {
            let consistent = match restored {
                None => witness.check(message, proofs, held)?,
                Some(from) => witness.without_before(from).check(message, proofs, held)?,
            };
            witness.hold(consistent);
        }
        self.move_to(message, anchor);
        Ok(match message.kind() {
            MessageKind::Snapshot => Applied::Snapshot,
            MessageKind::Delta => Applied::Delta,
            MessageKind::Heartbeat => Applied::Heartbeat,
        })
    }

    /// What is known of when a message was signed, where it is known to be later than what is held.
    fn anchored(&self, message: &Message, received_at: Time) -> Option<Anchor> {
        let (at, reading) = (message.at, message.reading);
        let nonce = message.nonce;
        let asked = self.asked.iter().find(|asked| nonce == Some(asked.nonce));
        let asked = asked.filter(|asked| asked.at <= received_at);
        let held = self.anchor;
        let newer = asked.filter(|asked| held.is_none_or(|held| asked.number > held.question()));
        let same = held.filter(|held| held.reading().is_some_and(|r| r.clock == reading.clock));
        let later = same.and_then(|held| held.later(at, reading, received_at));
        match newer {
            // Of one clock the readings say which is later, whatever was asked when.
            Some(asked) if same.is_none() || later.is_some() => {
                Some(Anchor::answer(at, reading, (asked.number, asked.at), received_at))
            }
            Some(_) => None,
            // The local clock was set back: only a question that was put since says anything.
            None => later.filter(|_| received_at.plus(BACKWARDS_MAX) >= self.seen),
        }
    }

    /// Whether a message continues what is held; `false` where it is an old one, told again, or
    /// may be one.
    fn continues(&self, message: &Message, is_later: bool) -> Result<bool, FeedError> {
        let held = (self.state.generation(), self.state.rev());
        let offered = (message.generation, message.to);
        let rolled_back = FeedError::Alarm(Alarm::RolledBack { held, offered });
        if offered < held {
            // Replaying an old message proves nothing against the server, and refreshes nothing.
            return if is_later { Err(rolled_back) } else { Ok(false) };
        }
        if offered.0 > held.0 {
            // A new generation starts above any counter seen, and only with all it knows.
            return match message.kind() {
                _ if offered.1 < held.1 => Err(rolled_back),
                MessageKind::Snapshot => Ok(true),
                MessageKind::Delta | MessageKind::Heartbeat => Err(FeedError::NeedsSnapshot),
            };
        }
        if message.from > held.1 {
            return Err(FeedError::NeedsSnapshot);
        }
        Ok(offered.1 > held.1 || is_later)
    }

    /// Newer by its counter and not known to be by its time, it leaves the age as it is.
    fn move_to(&mut self, message: &Message, anchor: Option<Anchor>) {
        let state = self.state.clone();
        let state = state.moved_to(message.generation, message.to, anchor.map(Anchor::at));
        self.state = match anchor {
            // Either clock may be ahead; entries that both take for over are.
            Some(anchor) => state.forgetting(anchor.at().min(anchor.received_at())),
            None => state,
        };
        if let Some(anchor) = anchor {
            self.anchor = Some(anchor);
            self.seen = anchor.received_at();
        }
    }
}
