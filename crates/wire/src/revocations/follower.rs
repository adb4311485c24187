//! One follower of one organization's feed: its state, its witness, and how they survive a restart.
//!
//! Every message that is signed adds its entries, whatever else is wrong with it: more entries can
//! only make more things dead. Its counter is taken only if it continues what is held and the audit
//! log it shows contains the log shown before, and its time only if it is known to be later as well
//! ([`super::age`]): it answers a question, or goes on from what did. So a server that contradicts
//! itself cannot keep the state young, and what depends on it soon refuses. Nothing counts that a
//! feed key signs which an earlier message revoked.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use serde::Deserialize;

use super::age::{Anchor, BACKWARDS_MAX, Nonce};
use super::feed::{Alarm, EntryJson, EntryWire, FeedError, Message, MessageKind, SignedMessage};
use super::state::{Entry, State};
use super::witness::{Held, LaneProof, LogWitness};
use crate::crypto;
use crate::time::Time;
use crate::tlog::Hash;
use crate::tlog::checkpoint::Checkpoint;
use crate::tlog::note::Vkey;
use crate::token::{push, push_string};

/// The version of [`Follower::to_bytes`].
pub const FOLLOWER_VERSION: u64 = 1;

/// Questions whose answers are waited for; beyond, the oldest is given up.
pub const ASKED_MAX: usize = 16;

/// A question that was put.
#[derive(Clone, Copy, Debug)]
struct Asked {
    nonce: Nonce,
    number: u64,
    at: Time,
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
    issuer: String,
    state: State,
    witness: Option<LogWitness>,
    anchor: Option<Anchor>,
    /// The latest local time known to this follower.
    seen: Time,
    /// The newest questions, in the order in which they were put.
    asked: VecDeque<Asked>,
    /// The number of the last of them.
    questions: u64,
    /// The generation whose beginning a person said was a restored backup.
    restored: Option<u64>,
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
        let message = signed.message();
        if message.issuer != self.issuer {
            return Err(FeedError::Issuer);
        }
        // Before its entries are taken: those of a thief could not be taken back.
        if let Some(key) = signed.signer().filter(|&key| self.state.has_key(key)) {
            return Err(FeedError::RevokedKey(key));
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

    /// What to write to disk, so that a restart needs no server: NDJSON of a header, the entries
    /// and a checksum against torn writes. `now` is the local time. `None` before the first
    /// snapshot.
    ///
    /// Whoever can change the file can bring the dead back to life: keep it as private as keys.
    pub fn to_bytes(&self, now: Time) -> Option<Vec<u8>> {
        let anchor = self.anchor?;
        let entries = self.state.entries();
        let mut out = String::with_capacity(512 + 72 * entries.len());
        push(&mut out, format_args!("{{\"accredit_follower\":{FOLLOWER_VERSION},\"iss\":"));
        push_string(&mut out, &self.issuer);
        let (generation, rev) = (self.state.generation(), self.state.rev());
        push(&mut out, format_args!(",\"gen\":{generation},\"rev\":{rev}"));
        let (at, received_at) = (anchor.at().micros(), anchor.received_at().micros());
        push(&mut out, format_args!(",\"at\":{at},\"received_at\":{received_at}"));
        let (after, seen) = (anchor.signed_after().micros(), self.seen.max(now).micros());
        push(&mut out, format_args!(",\"signed_after\":{after},\"seen\":{seen},\"lanes\":["));
        let held = self.witness.iter().flat_map(LogWitness::held);
        for (index, (lane, held)) in held.enumerate() {
            let comma = if index == 0 { "" } else { "," };
            let Held { generation, checkpoint } = held;
            push(
                &mut out,
                format_args!("{comma}{{\"lane\":{lane},\"gen\":{generation},\"origin\":"),
            );
            push_string(&mut out, &checkpoint.origin);
            let (size, root) = (checkpoint.size, checkpoint.root);
            push(&mut out, format_args!(",\"size\":{size},\"root\":\"{root}\"}}"));
        }
        push(&mut out, format_args!("],\"entries\":{}}}\n", entries.len()));
        for entry in &entries {
            push(&mut out, format_args!("{}\n", EntryJson(entry)));
        }
        let digest = Hash::new(crypto::sha256(out.as_bytes()));
        push(&mut out, format_args!("{{\"sha256\":\"{digest}\"}}\n"));
        Some(out.into_bytes())
    }

    /// Reads what [`Follower::to_bytes`] wrote for the same issuer. With `log_keys`, the log is
    /// watched on from what was held.
    pub fn from_bytes(
        bytes: &[u8],
        issuer: &str,
        log_keys: Option<Vec<Vkey>>,
    ) -> Result<Self, RestoreError> {
        let text = std::str::from_utf8(bytes).map_err(|_| RestoreError::Malformed)?;
        let body = text.strip_suffix('\n').ok_or(RestoreError::Malformed)?;
        let end = body.rfind('\n').ok_or(RestoreError::Malformed)? + 1;
        let (body, last) = body.split_at(end);
        let last: Last<'_> = serde_json::from_str(last).map_err(|_| RestoreError::Malformed)?;
        if Hash::from_hex(last.sha256) != Some(Hash::new(crypto::sha256(body.as_bytes()))) {
            return Err(RestoreError::Checksum);
        }
        let (first, rest) = body.split_once('\n').ok_or(RestoreError::Malformed)?;
        let header: Header = serde_json::from_str(first).map_err(|_| RestoreError::Malformed)?;
        if header.accredit_follower != FOLLOWER_VERSION {
            return Err(RestoreError::Version);
        }
        if header.iss != issuer {
            return Err(RestoreError::Issuer);
        }
        let entry = |line| serde_json::from_str::<EntryWire>(line).map(Entry::from);
        let entries: Result<Vec<_>, _> = rest.lines().map(entry).collect();
        let entries = entries.map_err(|_| RestoreError::Malformed)?;
        if entries.len() != header.entries {
            return Err(RestoreError::Malformed);
        }
        let at = Time::from_micros(header.at);
        let received_at = Time::from_micros(header.received_at);
        let signed_after = Time::from_micros(header.signed_after);
        let held = header.lanes.into_iter().map(LaneHeld::read).collect::<Option<_>>();
        let held: BTreeMap<u16, Held> = held.ok_or(RestoreError::Malformed)?;
        Ok(Self {
            issuer: header.iss,
            state: State::new(header.generation, header.rev, at, &entries),
            witness: log_keys.map(|keys| LogWitness::resume(keys, held)),
            anchor: Some(Anchor::from_parts(at, received_at, signed_after)),
            seen: Time::from_micros(header.seen),
            asked: VecDeque::new(),
            questions: 0,
            restored: None,
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    accredit_follower: u64,
    iss: String,
    #[serde(rename = "gen")]
    generation: u64,
    rev: u64,
    at: i64,
    received_at: i64,
    signed_after: i64,
    seen: i64,
    lanes: Vec<LaneHeld>,
    entries: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LaneHeld {
    lane: u16,
    #[serde(rename = "gen")]
    generation: u64,
    origin: String,
    size: u64,
    root: String,
}

impl LaneHeld {
    fn read(self) -> Option<(u16, Held)> {
        let root = Hash::from_hex(&self.root)?;
        let checkpoint = Checkpoint { origin: self.origin, size: self.size, root };
        Some((self.lane, Held { generation: self.generation, checkpoint }))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Last<'a> {
    sha256: &'a str,
}

/// Why a follower's file is not used. Start without it, from a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestoreError {
    /// Not such a file, or cut off.
    Malformed,
    /// The checksum does not fit.
    Checksum,
    /// Written by another version.
    Version,
    /// Of another issuer.
    Issuer,
}

impl fmt::Display for RestoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "the stored revocation state is malformed or cut off",
            Self::Checksum => "the stored revocation state does not fit its checksum",
            Self::Version => "the stored revocation state is of another version",
            Self::Issuer => "the stored revocation state is of another issuer",
        })
    }
}

impl std::error::Error for RestoreError {}
