//! What an auditor finds: each kind of alteration with its place, and a sentence for people.

use std::fmt;

use serde::Serialize;

use super::line::LineError;
use crate::ids::EventId;

/// The most findings in a report. The first one says where to look; the rest often follow from it.
pub const FINDINGS_MAX: usize = 64;

/// What is wrong with an export, and where. In JSON, `kind` and the fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Finding {
    /// An event's payload, type, time, salt or leaf hash was changed.
    Edited {
        /// The lane.
        lane: u16,
        /// The event's sequence number.
        seq: u64,
        /// The event's id.
        id: String,
    },
    /// Events are missing.
    Dropped {
        /// The lane.
        lane: u16,
        /// The sequence number of the first missing event.
        seq: u64,
        /// The sequence number of the last missing event.
        until: u64,
    },
    /// An event stands behind later ones, or twice.
    Reordered {
        /// The lane.
        lane: u16,
        /// The sequence number of the event that stands too late.
        seq: u64,
        /// Its id.
        id: EventId,
        /// The sequence number of the event it stands behind.
        after: u64,
    },
    /// An event's id is not that of its time and place: the id, the lane or the number was changed.
    WrongId {
        /// The lane.
        lane: u16,
        /// The sequence number.
        seq: u64,
        /// The id that stands in the file.
        id: String,
        /// The id that belongs there.
        expected: EventId,
    },
    /// The events do not give a checkpoint's root: leaf hashes were changed along with the events,
    /// or the checkpoint is of another history.
    RootMismatch {
        /// The lane.
        lane: u16,
        /// The events before this sequence number are those that were signed.
        good: u64,
        /// The size of the checkpoint that does not fit.
        bad: u64,
    },
    /// A checkpoint's signature does not hold, or is not of a given key with the log's name.
    BadSignature {
        /// The lane, where the checkpoint names one of the file's logs.
        lane: Option<u16>,
        /// The line, counted from 1.
        line: u64,
        /// Why it is not accepted.
        reason: String,
    },
    /// Events stand behind the last checkpoint of their lane: nothing vouches for them.
    UnsignedTail {
        /// The lane.
        lane: u16,
        /// The sequence number of the first unsigned event.
        seq: u64,
    },
    /// The file ends before a checkpoint that was kept elsewhere.
    Truncated {
        /// The lane, where the file has this log at all.
        lane: Option<u16>,
        /// How many events the file has, counted from 0.
        seq: u64,
        /// How many the kept checkpoint vouches for.
        kept: u64,
        /// The log.
        origin: String,
    },
    /// The events do not give the root of a checkpoint that was kept elsewhere.
    Rewritten {
        /// The lane.
        lane: u16,
        /// The events before this sequence number are those that were signed.
        good: u64,
        /// The size of the kept checkpoint.
        bad: u64,
    },
    /// A checkpoint that was kept elsewhere cannot be compared, since the file lacks the beginning
    /// of its log.
    NotComparable {
        /// The lane.
        lane: u16,
        /// The first sequence number in the file.
        seq: u64,
    },
    /// An event of one lane tells of another that the file does not have.
    LaneMissing {
        /// The lane that tells.
        lane: u16,
        /// The sequence number of its event.
        seq: u64,
        /// The log that is missing.
        origin: String,
        /// How many events that one had by then.
        size: u64,
    },
    /// An event of one lane tells of more events of another than the file has.
    LaneShort {
        /// The lane that tells.
        lane: u16,
        /// The sequence number of its event.
        seq: u64,
        /// The lane that has too few.
        other: u16,
        /// Its log.
        origin: String,
        /// How many events that one had by then.
        size: u64,
        /// How many the file has, counted from 0.
        has: u64,
    },
    /// The events of one lane do not give the root that an event of another tells of.
    LaneRewritten {
        /// The lane that tells.
        lane: u16,
        /// The sequence number of its event.
        seq: u64,
        /// The lane that is told of.
        other: u16,
        /// Its log.
        origin: String,
        /// The number of events that the root is of.
        size: u64,
    },
    /// What an event says of other lanes was erased, which no pruning does.
    ClaimErased {
        /// The lane that told.
        lane: u16,
        /// The sequence number of its event.
        seq: u64,
    },
    /// The file has no end: it was cut off.
    MissingEnd {
        /// How many lines it has.
        lines: u64,
    },
    /// The end states another number of events than there are.
    WrongCount {
        /// What the end states.
        stated: u64,
        /// What was counted.
        counted: u64,
    },
    /// A line is not what the format says.
    Malformed {
        /// The line, counted from 1.
        line: u64,
        /// What is wrong with it.
        reason: String,
    },
}

impl Finding {
    pub(super) fn malformed(line: u64, error: LineError) -> Self {
        Self::Malformed { line, reason: error.to_string() }
    }
}

/// One sentence for a person.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Edited { lane, seq, id } => write!(
                f,
                "event {seq} of lane {lane} (`{id}`) was edited: its content does not give its \
                 leaf hash"
            ),
            Self::Dropped { lane, seq, until } if seq == until => {
                write!(f, "event {seq} of lane {lane} is missing")
            }
            Self::Dropped { lane, seq, until } => {
                write!(f, "events {seq} to {until} of lane {lane} are missing")
            }
            Self::Reordered { lane, seq, id, after } => {
                write!(f, "event {seq} of lane {lane} (`{id}`) stands behind event {after}")
            }
            Self::WrongId { lane, seq, id, expected } => write!(
                f,
                "event {seq} of lane {lane} has the id `{id}`, but its time and place give \
                 `{expected}`"
            ),
            Self::RootMismatch { lane, good, bad } => write!(
                f,
                "the events of lane {lane} do not give the root signed at size {bad}: \
                 something in {good}..{bad} was changed together with its hashes"
            ),
            Self::BadSignature { line, reason, .. } => {
                write!(f, "the checkpoint on line {line} is not accepted: {reason}")
            }
            Self::UnsignedTail { lane, seq } => write!(
                f,
                "the events of lane {lane} from {seq} on stand behind its last checkpoint: \
                 nothing vouches for them"
            ),
            Self::Truncated { seq, kept, origin, .. } => write!(
                f,
                "the file has {seq} events of the log `{origin}`, but a checkpoint kept \
                 elsewhere vouches for {kept}: the end was cut off"
            ),
            Self::Rewritten { lane, good, bad } => write!(
                f,
                "the events of lane {lane} do not give the root kept elsewhere for size \
                 {bad}: something in {good}..{bad} was rewritten"
            ),
            Self::NotComparable { lane, seq } => write!(
                f,
                "lane {lane} begins at event {seq}, so that a kept checkpoint cannot be \
                 compared: export it from 0"
            ),
            Self::LaneMissing { lane, seq, origin, size } => write!(
                f,
                "event {seq} of lane {lane} says that the log `{origin}` had {size} events, and the \
                 file does not have that log: it was dropped"
            ),
            Self::LaneShort { lane, seq, other, origin, size, has } => write!(
                f,
                "event {seq} of lane {lane} says that lane {other} (`{origin}`) had {size} events, \
                 and the file has {has}: its end was cut off"
            ),
            Self::LaneRewritten { lane, seq, other, origin, size } => write!(
                f,
                "event {seq} of lane {lane} says another root of the first {size} events of lane \
                 {other} (`{origin}`) than they give: one of the two lanes was rewritten"
            ),
            Self::ClaimErased { lane, seq } => write!(
                f,
                "what event {seq} of lane {lane} said of the other lanes was erased, which pruning \
                 does not do"
            ),
            Self::MissingEnd { lines } => {
                write!(f, "the file was cut off: it has no end behind line {lines}")
            }
            Self::WrongCount { stated, counted } => {
                write!(f, "the file's end states {stated} events, but {counted} were counted")
            }
            Self::Malformed { line, reason } => {
                write!(f, "line {line} does not follow the format: {reason}")
            }
        }
    }
}

/// What an auditor says of an export.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether nothing was found.
    pub ok: bool,
    /// Whether each log is there from its first event on and ends in a signed root that was
    /// recomputed, and all that lanes say of each other could be compared. Where not, only the chain from
    /// event to event was checked, which whoever wrote the file could have computed anew.
    pub complete: bool,
    /// How many events there are.
    pub events: u64,
    /// How many checkpoints were accepted.
    pub checkpoints: u64,
    /// What the lanes say of each other.
    pub claims: ClaimsReport,
    /// The logs, by lane.
    pub lanes: Vec<LaneReport>,
    /// What was found, in the file's order, at most [`FINDINGS_MAX`].
    pub findings: Vec<Finding>,
    /// How many more findings there were.
    pub findings_left_out: u64,
}

/// How many claims of lanes about each other there were ([`Claim`](super::super::claim::Claim)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ClaimsReport {
    /// Those that were compared with the lane that they are about.
    pub compared: u64,
    /// Those that could not be: the root at that size was not known any more, or never.
    pub not_compared: u64,
    /// Events that began a generation and whose payload was pruned, and with it what they claimed.
    pub erased: u64,
}

/// What an auditor says of one log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LaneReport {
    /// The lane.
    pub lane: u16,
    /// The log's origin.
    pub origin: String,
    /// The first sequence number in the file. Where it is not 0, only the chain from event to event
    /// was checked, and no root.
    pub from: u64,
    /// How many events the log has by the end of the file, counted from 0.
    pub size: u64,
    /// How many of them a signed root vouches for; 0 where no root could be checked.
    pub proven: u64,
    /// Which keys signed that root, in the order of the note; none where no root could be checked.
    pub signed_by: Vec<Signer>,
    /// The root in hex, where everything from 0 on was there to compute it.
    pub root: Option<String>,
}

/// A key that signed the root that vouches for a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Signer {
    /// The verifier key, `name+id+base64`.
    pub key: String,
    /// Whether it is one that the auditor was given. Where not, a chain of statements in the file
    /// leads to it from one that was.
    pub given: bool,
}

/// Findings up to their bound.
#[derive(Default)]
pub(super) struct Findings {
    list: Vec<Finding>,
    left_out: u64,
}

impl Findings {
    /// Adds a finding; says where, so that it can be made more precise by what follows.
    pub(super) fn add(&mut self, finding: Finding) -> Option<usize> {
        if self.list.len() >= FINDINGS_MAX {
            self.left_out += 1;
            return None;
        }
        self.list.push(finding);
        Some(self.list.len() - 1)
    }

    pub(super) fn replace(&mut self, place: usize, finding: Finding) {
        if let Some(slot) = self.list.get_mut(place) {
            *slot = finding;
        }
    }

    pub(super) fn take(self) -> (Vec<Finding>, u64) {
        (self.list, self.left_out)
    }
}
