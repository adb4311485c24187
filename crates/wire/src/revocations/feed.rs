//! RFC 7515 in our own type `accredit-revocations+jwt`: signed snapshots, deltas and heartbeats of
//! the revocation graph.
//!
//! The server fills a [`Message`], writes [`Message::to_payload`] and signs it with the feed key,
//! once for all followers. A follower gets a [`SignedMessage`] from [`SignedMessage::verify`] and
//! from nowhere else, and hands it to [`super::Follower::apply`].
//!
//! The payload is read into typed members rather than into a tree, because a snapshot may have a
//! million entries; unknown and duplicate members are refused all the same.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::age::{Nonce, Reading};
use super::state::Entry;
use crate::ids::{AnyId, KeyId};
use crate::jose::jwk::JwkSet;
use crate::jose::jws::{JwsError, ProtectedHeader, SigningInput, TypRule, Unverified};
use crate::time::Time;
use crate::tlog::{Hash, lower_hex};
use crate::token::{push, push_string};

/// The `typ` of the header.
pub const FEED_TYPE: &str = "accredit-revocations+jwt";

/// The version of the payload.
pub const FEED_VERSION: u64 = 1;

/// The longest message, in bytes of its text: a snapshot of some two million entries.
pub const FEED_MESSAGE_BYTES_MAX: usize = 256 * 1024 * 1024;

/// The most lanes of a log.
pub const LANES_MAX: usize = 64;

/// The newest checkpoint of one lane of the audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneCheckpoint {
    /// The lane's number.
    pub lane: u16,
    /// The signed checkpoint, a C2SP note.
    pub note: String,
    /// The size from which `proof` proves; 0 where there is no proof.
    pub from: u64,
    /// The consistency proof.
    pub proof: Vec<Hash>,
}

/// What one message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The organization's issuer.
    pub issuer: String,
    /// The generation of the server's store, from 1.
    pub generation: u64,
    /// The counter after which the entries begin; 0 for a snapshot.
    pub from: u64,
    /// The counter up to which the entries are complete.
    pub to: u64,
    /// The server's time of day, which may be wrong: no age is reckoned from it.
    pub at: Time,
    /// What the monotonic clock of the signing process showed.
    pub reading: Reading,
    /// Which question it answers; nothing where it is for everybody.
    pub nonce: Option<Nonce>,
    /// Which keys are published, [`super::keys_hash`].
    pub keys: Hash,
    /// What ended after `from` up to `to`.
    pub entries: Vec<Entry>,
    /// The newest checkpoint of each lane.
    pub log: Vec<LaneCheckpoint>,
}

/// What a message is, by its counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageKind {
    /// Complete from the beginning.
    Snapshot,
    /// What was added.
    Delta,
    /// Nothing was added; only the time is newer.
    Heartbeat,
}

impl Message {
    /// What the message is.
    pub fn kind(&self) -> MessageKind {
        match (self.from, self.to) {
            (0, _) => MessageKind::Snapshot,
            (from, to) if from == to => MessageKind::Heartbeat,
            _ => MessageKind::Delta,
        }
    }

    /// The payload to be signed: compact JSON.
    pub fn to_payload(&self) -> Vec<u8> {
        let mut out = String::with_capacity(256 + 72 * self.entries.len() + 512 * self.log.len());
        out.push_str("{\"iss\":");
        push_string(&mut out, &self.issuer);
        let (generation, from, to, at) = (self.generation, self.from, self.to, self.at.micros());
        push(&mut out, format_args!(",\"v\":{FEED_VERSION},\"gen\":{generation},\"from\":{from}"));
        let (keys, Reading { clock, up }) = (self.keys, self.reading);
        push(&mut out, format_args!(",\"to\":{to},\"at\":{at},\"clock\":\"{clock:016x}\""));
        push(&mut out, format_args!(",\"up\":{up}"));
        if let Some(nonce) = self.nonce {
            push(&mut out, format_args!(",\"nonce\":\"{nonce}\""));
        }
        push(&mut out, format_args!(",\"keys\":\"{keys}\",\"entries\":["));
        for (index, entry) in self.entries.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            push(&mut out, format_args!("{comma}{}", EntryJson(entry)));
        }
        out.push_str("],\"log\":[");
        for (index, lane) in self.log.iter().enumerate() {
            out.push_str(if index == 0 { "" } else { "," });
            lane.push_json(&mut out);
        }
        out.push_str("]}");
        out.into_bytes()
    }

    /// What the feed key signs to make a message of this; [`SigningInput::finish`] is its text.
    pub fn signing_input(&self, header: &ProtectedHeader) -> SigningInput {
        SigningInput::new_unbounded(header, &self.to_payload())
    }

    fn parse(payload: &[u8]) -> Result<Self, FeedError> {
        let payload: Payload<'_> = serde_json::from_slice(payload)
            .map_err(|_| FeedError::Malformed("its payload is not of the form of version 1"))?;
        if payload.v != FEED_VERSION {
            return Err(FeedError::Malformed("its version is not known here"));
        }
        if payload.log.len() > LANES_MAX {
            return Err(FeedError::Malformed("it has too many lanes"));
        }
        let log: Option<Vec<_>> = payload.log.into_iter().map(LaneJson::read).collect();
        let message = Self {
            issuer: payload.iss.into_owned(),
            generation: payload.generation,
            from: payload.from,
            to: payload.to,
            at: Time::from_micros(payload.at),
            reading: Reading {
                clock: lower_hex(payload.clock)
                    .map(u64::from_be_bytes)
                    .ok_or(FeedError::Malformed("the name of its clock is malformed"))?,
                up: payload.up,
            },
            nonce: payload
                .nonce
                .map(str::parse)
                .transpose()
                .map_err(|_| FeedError::Malformed("its nonce is malformed"))?,
            keys: Hash::from_hex(payload.keys)
                .ok_or(FeedError::Malformed("the hash of its keys is malformed"))?,
            entries: payload.entries.into_iter().map(Entry::from).collect(),
            log: log.ok_or(FeedError::Malformed("a hash in a proof is malformed"))?,
        };
        message.check()?;
        Ok(message)
    }

    fn check(&self) -> Result<(), FeedError> {
        if self.generation == 0 {
            return Err(FeedError::Malformed("generations begin at 1"));
        }
        if self.from > self.to {
            return Err(FeedError::Malformed("`from` is above `to`"));
        }
        if self.kind() == MessageKind::Heartbeat && !self.entries.is_empty() {
            return Err(FeedError::Malformed("a heartbeat has entries"));
        }
        // A counter from the future would kill what is decided later and cannot be taken back.
        if self.entries.iter().any(|entry| entry.below > self.to) {
            return Err(FeedError::Malformed("an entry is above `to`"));
        }
        let lanes: BTreeSet<u16> = self.log.iter().map(|lane| lane.lane).collect();
        if lanes.len() < self.log.len() {
            return Err(FeedError::Malformed("it has a lane twice"));
        }
        Ok(())
    }
}

impl LaneCheckpoint {
    fn push_json(&self, out: &mut String) {
        push(out, format_args!("{{\"lane\":{},\"note\":", self.lane));
        push_string(out, &self.note);
        if self.from > 0 {
            push(out, format_args!(",\"from\":{},\"proof\":[", self.from));
            for (index, hash) in self.proof.iter().enumerate() {
                let comma = if index == 0 { "" } else { "," };
                push(out, format_args!("{comma}\"{}\"", STANDARD.encode(hash.bytes())));
            }
            out.push(']');
        }
        out.push('}');
    }
}

/// An entry as it is written in messages and in a follower's file.
pub(super) struct EntryJson<'a>(pub(super) &'a Entry);

impl fmt::Display for EntryJson<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Entry { target, below, keep_until } = self.0;
        write!(f, "{{\"t\":\"{target}\",\"b\":{below},\"k\":{keep_until}}}")
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Payload<'a> {
    #[serde(borrow)]
    iss: Cow<'a, str>,
    v: u64,
    #[serde(rename = "gen")]
    generation: u64,
    from: u64,
    to: u64,
    at: i64,
    clock: &'a str,
    up: u64,
    #[serde(default)]
    nonce: Option<&'a str>,
    keys: &'a str,
    entries: Vec<EntryWire>,
    #[serde(default)]
    log: Vec<LaneJson>,
}

/// An entry as it is read.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EntryWire {
    t: AnyId,
    b: u64,
    k: i64,
}

impl From<EntryWire> for Entry {
    fn from(wire: EntryWire) -> Self {
        Self { target: wire.t, below: wire.b, keep_until: wire.k }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LaneJson {
    lane: u16,
    note: String,
    #[serde(default)]
    from: u64,
    #[serde(default)]
    proof: Vec<String>,
}

impl LaneJson {
    fn read(self) -> Option<LaneCheckpoint> {
        let hash = |text: String| Hash::from_slice(&STANDARD.decode(text).ok()?);
        let proof = self.proof.into_iter().map(hash).collect::<Option<_>>()?;
        Some(LaneCheckpoint { lane: self.lane, note: self.note, from: self.from, proof })
    }
}

/// A message whose signature by the organization's feed key holds.
#[derive(Clone, Debug)]
pub struct SignedMessage {
    message: Message,
    /// The key that signed it, where its `kid` is the id of one.
    signer: Option<KeyId>,
}

impl SignedMessage {
    /// Checks a message's text against the feed keys of `issuer` and reads it.
    pub fn verify(text: &str, keys: &JwkSet, issuer: &str) -> Result<Self, FeedError> {
        if text.len() > FEED_MESSAGE_BYTES_MAX {
            return Err(FeedError::TooLong);
        }
        let unverified = Unverified::parse_unbounded(text).map_err(FeedError::Jws)?;
        // Always by name: "the only key" would take a message that names another.
        let kid = unverified.peek_unverified_kid().ok_or(FeedError::UnknownKey)?.to_owned();
        let key = keys.find(Some(&kid)).ok_or(FeedError::UnknownKey)?;
        let verified =
            unverified.verify(key, TypRule::Required(FEED_TYPE)).map_err(FeedError::Jws)?;
        let message = Message::parse(verified.payload())?;
        if message.issuer != issuer {
            return Err(FeedError::Issuer);
        }
        Ok(Self { message, signer: kid.parse().ok() })
    }

    /// What it says.
    pub fn message(&self) -> &Message {
        &self.message
    }

    /// The key that signed it; nothing where its `kid` is no id of ours.
    pub fn signer(&self) -> Option<KeyId> {
        self.signer
    }
}

/// Why a message was not applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FeedError {
    /// Longer than [`FEED_MESSAGE_BYTES_MAX`].
    TooLong,
    /// The signature, its algorithm or its type does not hold.
    Jws(JwsError),
    /// Signed by a key that is not among the feed keys: fetch them anew.
    UnknownKey,
    /// Signed by a feed key that was revoked: nothing of it counts.
    RevokedKey(KeyId),
    /// Signed, but not a message of version 1; says what is wrong.
    Malformed(&'static str),
    /// For another organization.
    Issuer,
    /// Messages are missing between the held state and this one: fetch a snapshot.
    NeedsSnapshot,
    /// The lane's checkpoint cannot be compared with the held one: fetch a consistency proof from
    /// `from` to `to` and apply the message again with it.
    NeedsProof {
        /// The lane.
        lane: u16,
        /// The size of the held checkpoint.
        from: u64,
        /// The size of the offered one.
        to: u64,
    },
    /// The checkpoint of this lane is signed by no key that is known here: fetch the log's keys.
    NeedsLogKey {
        /// The lane.
        lane: u16,
    },
    /// The server contradicts what it signed before.
    Alarm(Alarm),
}

/// The server contradicts what it signed before: a person should look.
///
/// After an alarm the state keeps the union of all entries, but its time stands still, so that
/// the Verifier soon refuses everything rather than trust a server that lost its memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Alarm {
    /// An older state with a newer time: the store was rolled back without a new generation.
    RolledBack {
        /// Generation and counter that were held.
        held: (u64, u64),
        /// Generation and counter that were offered.
        offered: (u64, u64),
    },
    /// The log has fewer leaves than it had.
    LogShrunk {
        /// The lane.
        lane: u16,
        /// Leaves that it had.
        held: u64,
        /// Leaves that it says it has.
        offered: u64,
    },
    /// The log's leaves are not those that it had: the same size with another root, or a proof
    /// that does not hold.
    LogForked {
        /// The lane.
        lane: u16,
        /// Leaves that it had.
        held: u64,
        /// Leaves that it says it has.
        offered: u64,
    },
    /// A lane that a later generation of the store has closed has grown.
    LogReopened {
        /// The lane.
        lane: u16,
    },
    /// The message leaves out a lane whose checkpoint is held.
    LogWithheld {
        /// The lane.
        lane: u16,
    },
    /// A lane's checkpoint is no checkpoint of that lane: malformed, of another origin than the
    /// lane had, or of a generation in which the lane cannot have begun.
    LogForeign {
        /// The lane.
        lane: u16,
    },
}

impl fmt::Display for FeedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => {
                write!(f, "the feed message is longer than {FEED_MESSAGE_BYTES_MAX} bytes")
            }
            Self::Jws(error) => write!(f, "the feed message is not accepted: {error}"),
            Self::UnknownKey => f.write_str("the feed message names no known feed key"),
            Self::RevokedKey(key) => {
                write!(f, "the feed message is signed by `{key}`, which was revoked")
            }
            Self::Malformed(what) => write!(f, "the feed message is malformed: {what}"),
            Self::Issuer => f.write_str("the feed message is of another issuer"),
            Self::NeedsSnapshot => f.write_str("messages are missing: fetch a snapshot"),
            Self::NeedsProof { lane, from, to } => {
                write!(f, "lane {lane} needs a consistency proof from size {from} to {to}")
            }
            Self::NeedsLogKey { lane } => {
                write!(f, "the checkpoint of lane {lane} is signed by no known log key")
            }
            Self::Alarm(alarm) => alarm.fmt(f),
        }
    }
}

impl fmt::Display for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RolledBack { held, offered } => write!(
                f,
                "the server went back from revocation {} of generation {} to revocation {} of \
                 generation {}: its store was restored without starting a new generation, or \
                 somebody removed revocations",
                held.1, held.0, offered.1, offered.0
            ),
            Self::LogShrunk { lane, held, offered } => write!(
                f,
                "lane {lane} of the audit log had {held} events and now shows {offered}: events \
                 were removed"
            ),
            Self::LogForked { lane, held, offered } => write!(
                f,
                "lane {lane} of the audit log with {offered} events does not contain the {held} \
                 events that it had: events were changed or the log was rebuilt"
            ),
            Self::LogReopened { lane } => write!(
                f,
                "lane {lane} of the audit log has grown, though a later generation of the store \
                 has closed it: events were written as if they were older"
            ),
            Self::LogWithheld { lane } => {
                write!(f, "the server no longer shows the checkpoint of lane {lane} of its log")
            }
            Self::LogForeign { lane } => {
                write!(
                    f,
                    "what the server shows as checkpoint of lane {lane} is not that lane's: \
                     malformed, or of another origin"
                )
            }
        }
    }
}

impl std::error::Error for FeedError {}
impl std::error::Error for Alarm {}
