//! The lines of an audit export, written and read. What is read here was written here, byte for
//! byte: two readers that take a line differently would disagree about what was signed.

use std::fmt::{self, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::super::Hash;
use super::super::leaf::{SALT_LEN, is_kind, leaf_hash, payload_digest};
use super::super::note::is_key_name;
use super::super::succession::STATEMENTS_MAX;
use crate::ids::EventId;
use crate::time::Time;

/// The longest line, in bytes.
pub const LINE_LEN_MAX: usize = 1024 * 1024;

/// The highest number of a lane: what an event's id has room for.
pub const LANE_MAX: u16 = 0xfff;

/// The highest sequence number: what an event's id has room for.
pub const SEQUENCE_MAX: u64 = (1 << 62) - 1;

/// What a line of an export is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineError {
    /// It is longer than [`LINE_LEN_MAX`].
    TooLong,
    /// It is none of header, event, checkpoint and end, or it stands out of place.
    Unexpected,
    /// It begins like a header and is none.
    Header,
    /// It begins like an event and is not written as one.
    Event,
    /// It is an event that says what other lanes are like, and not as such a one says it.
    Claims,
    /// It begins like a checkpoint and is not written as one.
    Checkpoint,
    /// It is an event or a checkpoint of a lane that the header does not name.
    UnknownLane,
    /// It is a checkpoint that stands behind later events of its lane.
    LateCheckpoint,
    /// It begins like an end and is not written as one.
    End,
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong => "it is longer than 1 MiB",
            Self::Unexpected => "no such line may stand here",
            Self::Header => "it is not a header of version 1 with its lanes",
            Self::Event => "it is not written as an event",
            Self::Claims => "what it says of other lanes is not written as such",
            Self::Checkpoint => "it is not written as a checkpoint",
            Self::UnknownLane => "the header does not name its lane",
            Self::LateCheckpoint => "a checkpoint must stand before the first event it lacks",
            Self::End => "it is not written as an end",
        })
    }
}

/// The first line of an export.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// The version of the format: 1.
    pub accredit_export: u8,
    /// The organization's issuer, a URL.
    pub issuer: String,
    /// The logs in the file, by lane, each lane once.
    pub lanes: Vec<LaneHeader>,
    /// How the log's keys followed one another, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub statements: Vec<String>,
}

/// One log of an export.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LaneHeader {
    /// The lane's number, at most [`LANE_MAX`].
    pub lane: u16,
    /// The log's origin, under the issuer: `h/o/dev/log/g1l0`.
    pub origin: String,
    /// The first sequence number in the file.
    pub from: u64,
    /// The leaf hash before it, in hex; present exactly where `from` is not 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<String>,
}

impl Header {
    /// The header's line, without a line end.
    pub fn to_line(&self) -> String {
        // Strings and numbers always serialize; an empty line would be refused by every reader.
        serde_json::to_string(self).unwrap_or_default()
    }

    pub(super) fn read(line: &str) -> Option<Self> {
        let header: Self = serde_json::from_str(line).ok()?;
        let issuer = header.issuer.as_str();
        let issuer = issuer.strip_prefix("https://").or_else(|| issuer.strip_prefix("http://"))?;
        let ascending = header.lanes.windows(2).all(|pair| pair[0].lane < pair[1].lane);
        let good = header.accredit_export == 1
            && header.statements.len() <= STATEMENTS_MAX
            && ascending
            && header.lanes.iter().all(|lane| lane.is_under(issuer));
        good.then_some(header)
    }
}

impl LaneHeader {
    /// The leaf hash before the first event; `None` where it is missing, or present at 0.
    pub(super) fn previous(&self) -> Option<Hash> {
        match (self.from, &self.previous) {
            (0, None) => Some(Hash::ZERO),
            (1.., Some(hex)) => Hash::from_hex(hex),
            _ => None,
        }
    }

    fn is_under(&self, issuer: &str) -> bool {
        let path = self.origin.strip_prefix(issuer).and_then(|rest| rest.strip_prefix("/log/"));
        path.is_some_and(|name| !name.is_empty())
            && is_key_name(&self.origin)
            && self.lane <= LANE_MAX
            && self.from <= SEQUENCE_MAX
            && self.previous().is_some()
    }
}

/// An event of an export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventRecord<'a> {
    /// The lane it stands in.
    pub lane: u16,
    /// Its number in the lane.
    pub sequence: u64,
    /// Its type, such as `token.issued`.
    pub kind: &'a str,
    /// When it was written.
    pub at: Time,
    /// Its leaf hash.
    pub leaf: Hash,
    /// Its payload, or what is left of it.
    pub body: Body<'a>,
}

/// What an export holds of a payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body<'a> {
    /// The payload and its salt.
    Kept {
        /// The salt, 16 random bytes.
        salt: [u8; SALT_LEN],
        /// A JSON object in canonical form, exactly the bytes that were hashed.
        payload: &'a str,
    },
    /// The payload was erased; its digest is part of the leaf.
    Pruned(Hash),
}

impl<'a> EventRecord<'a> {
    /// The event's id, which follows from its time and place.
    pub fn id(&self) -> EventId {
        EventId::at(self.at.millis(), self.lane, self.sequence)
    }

    /// The digest that the leaf covers.
    pub fn digest(&self) -> Hash {
        match &self.body {
            Body::Kept { salt, payload } => payload_digest(salt, payload.as_bytes()),
            Body::Pruned(digest) => *digest,
        }
    }

    /// The leaf hash that follows from the event and the leaf before it.
    pub fn leaf_after(&self, previous: &Hash) -> Hash {
        leaf_hash(self.sequence, previous, self.kind, self.at, &self.digest())
    }

    /// The event's line, without a line end.
    pub fn to_line(&self) -> String {
        let Self { lane, sequence, kind, leaf, .. } = self;
        let (id, at) = (self.id(), self.at.micros());
        let mut line = format!(r#"{{"event":{{"lane":{lane},"seq":{sequence},"id":"{id}","#);
        // Writing to a `String` cannot fail.
        let _ = write!(line, r#""type":"{kind}","at":{at},"leaf":"{leaf}","#);
        let _ = match &self.body {
            Body::Kept { salt, payload } => {
                let salt = URL_SAFE_NO_PAD.encode(salt);
                write!(line, r#""salt":"{salt}","payload":{payload}}}}}"#)
            }
            Body::Pruned(digest) => write!(line, r#""digest":"{digest}"}}}}"#),
        };
        line
    }

    /// Reads an event's line, without a line end: the event, and the id that stands in it. Whether
    /// it is what was logged, an [`super::Auditor`] says.
    pub fn read(line: &'a str) -> Option<(Self, &'a str)> {
        let rest = line.strip_prefix(r#"{"event":{"lane":"#)?;
        let (lane, rest) = rest.split_once(r#","seq":"#)?;
        let (sequence, rest) = rest.split_once(r#","id":""#)?;
        let (id, rest) = rest.split_once(r#"","type":""#)?;
        let (kind, rest) = rest.split_once(r#"","at":"#)?;
        let (at, rest) = rest.split_once(r#","leaf":""#)?;
        let (leaf, rest) = rest.split_once(r#"",""#)?;
        let body = rest.strip_suffix("}}")?;
        let record = Self {
            lane: number(lane).filter(|lane| *lane <= LANE_MAX)?,
            sequence: number(sequence).filter(|sequence| *sequence <= SEQUENCE_MAX)?,
            kind: Some(kind).filter(|kind| is_kind(kind))?,
            at: Time::from_micros(number(at)?),
            leaf: Hash::from_hex(leaf)?,
            body: Body::read(body)?,
        };
        is_event_id(id).then_some((record, id))
    }
}

impl<'a> Body<'a> {
    fn read(text: &'a str) -> Option<Self> {
        if let Some(digest) = text.strip_prefix(r#"digest":""#) {
            return Hash::from_hex(digest.strip_suffix('"')?).map(Self::Pruned);
        }
        let (salt, payload) = text.strip_prefix(r#"salt":""#)?.split_once(r#"","payload":"#)?;
        let mut bytes = [0; SALT_LEN + 2];
        let length = URL_SAFE_NO_PAD.decode_slice(salt, &mut bytes).ok()?;
        let salt: [u8; SALT_LEN] = bytes.get(..length)?.try_into().ok()?;
        // One object and nothing around it, so that its bytes are the payload's bytes.
        let json: &RawValue = serde_json::from_str(payload).ok()?;
        let exact = payload.starts_with('{') && json.get().len() == payload.len();
        exact.then_some(Self::Kept { salt, payload })
    }
}

/// An integer in its one JSON spelling.
fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let first = digits.bytes().next()?;
    let canonical = first.is_ascii_digit() && (first != b'0' || text == "0");
    if canonical { text.parse().ok() } else { None }
}

/// Whether a text looks like an event's id: whether it is *the* event's id is a finding.
fn is_event_id(id: &str) -> bool {
    id.len() == 30
        && id
            .strip_prefix("evt_")
            .is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_lowercase()))
}

/// The line of a checkpoint, without a line end, from its signed note.
pub fn checkpoint_line(note: &str) -> String {
    serde_json::json!({ "checkpoint": note }).to_string()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CheckpointLine {
    checkpoint: String,
}

pub(super) fn read_checkpoint(line: &str) -> Option<String> {
    serde_json::from_str::<CheckpointLine>(line).ok().map(|line| line.checkpoint)
}

/// The last line, without a line end, from the number of events in the file.
pub fn end_line(events: u64) -> String {
    format!(r#"{{"end":{{"events":{events}}}}}"#)
}

pub(super) fn read_end(line: &str) -> Option<u64> {
    number(line.strip_prefix(r#"{"end":{"events":"#)?.strip_suffix("}}")?)
}
