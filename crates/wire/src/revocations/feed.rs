//! RFC 7515 in our own type `accredit-revocations+jwt`: signed snapshots, deltas and heartbeats of
//! the revocation graph.
//!
//! The server fills a [`Message`], writes [`Message::to_payload`] and signs it with the feed key,
//! once for all followers. A follower gets a [`SignedMessage`] from [`SignedMessage::verify`] and
//! from nowhere else, and hands it to [`super::Follower::apply`].
//!
//! A message says all that it has to say, but for a snapshot of more than [`MESSAGE_ENTRIES_MAX`]
//! entries: that is the head of pieces ([`super::piece`]), which it names by their hashes. Unknown
//! and duplicate members are refused.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::age::{Nonce, Reading};
pub use super::error::{Alarm, FeedError};
use super::state::Entry;
use crate::ids::{AnyId, KeyId};
use crate::jose::jwk::JwkSet;
use crate::jose::jws::{ProtectedHeader, SigningInput, TypRule, Unverified};
use crate::time::Time;
use crate::tlog::{Hash, lower_hex};
use crate::token::{push, push_string};

/// The `typ` of the header.
pub const FEED_TYPE: &str = "accredit-revocations+jwt";

/// The version of the payload of a message that says all.
pub const FEED_VERSION: u64 = 1;

/// The version of the payload of the head of a snapshot in pieces.
pub const FEED_VERSION_PIECES: u64 = 2;

/// The longest message, in bytes of its text: with room for all that it may have.
pub const FEED_MESSAGE_BYTES_MAX: usize = 2 * 1024 * 1024;

/// The most entries of a message. A snapshot of more has them in pieces, and in place of a delta of
/// more there is a snapshot.
pub const MESSAGE_ENTRIES_MAX: usize = 4096;

/// The most pieces of a snapshot: of four million entries.
pub const SNAPSHOT_PIECES_MAX: usize = 512;

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
    /// What ended after `from` up to `to`; nothing where that is in pieces.
    pub entries: Vec<Entry>,
    /// The hashes of a snapshot's pieces, in their order; none where it has all entries itself.
    pub pieces: Vec<Hash>,
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

    fn version(&self) -> u64 {
        if self.pieces.is_empty() { FEED_VERSION } else { FEED_VERSION_PIECES }
    }

    /// The payload to be signed: compact JSON.
    pub fn to_payload(&self) -> Vec<u8> {
        let lists = 72 * self.entries.len() + 67 * self.pieces.len() + 512 * self.log.len();
        let mut out = String::with_capacity(256 + lists);
        out.push_str("{\"iss\":");
        push_string(&mut out, &self.issuer);
        let (generation, from, to, at) = (self.generation, self.from, self.to, self.at.micros());
        let version = self.version();
        push(&mut out, format_args!(",\"v\":{version},\"gen\":{generation},\"from\":{from}"));
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
        if !self.pieces.is_empty() {
            out.push_str("],\"pieces\":[");
        }
        for (index, piece) in self.pieces.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            push(&mut out, format_args!("{comma}\"{piece}\""));
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
            .map_err(|_| FeedError::Malformed("its payload is not of a known form"))?;
        if payload.log.len() > LANES_MAX {
            return Err(FeedError::Malformed("it has too many lanes"));
        }
        let pieces: Option<Vec<_>> = payload.pieces.into_iter().map(Hash::from_hex).collect();
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
            pieces: pieces.ok_or(FeedError::Malformed("the hash of a piece is malformed"))?,
            log: log.ok_or(FeedError::Malformed("a hash in a proof is malformed"))?,
        };
        if payload.v != message.version() {
            return Err(FeedError::Malformed("its version is not known here"));
        }
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
        if self.entries.len() > MESSAGE_ENTRIES_MAX || self.pieces.len() > SNAPSHOT_PIECES_MAX {
            return Err(FeedError::Malformed("it has too many entries or pieces"));
        }
        let is_whole = self.pieces.is_empty();
        if !is_whole && (self.kind() != MessageKind::Snapshot || !self.entries.is_empty()) {
            return Err(FeedError::Malformed("it has pieces and is no snapshot of pieces alone"));
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

/// An entry as it is written.
struct EntryJson<'a>(&'a Entry);

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
    pieces: Vec<&'a str>,
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
