//! Why a message of the feed is not applied, and what of that a person should look at.

use std::fmt;

use super::feed::FEED_MESSAGE_BYTES_MAX;
use super::piece::PieceError;
use crate::ids::KeyId;
use crate::jose::jws::JwsError;

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
    /// Signed, but not a message of a known version; says what is wrong.
    Malformed(&'static str),
    /// For another organization.
    Issuer,
    /// Messages are missing between the held state and this one: fetch a snapshot.
    NeedsSnapshot,
    /// It is the head of a snapshot in so many pieces, which were not all taken: take them, from the
    /// first on ([`Follower::take_piece`](super::Follower::take_piece)), and apply it again.
    NeedsPieces(usize),
    /// A piece is not the snapshot's next one: what was taken of it so far completes nothing.
    Piece(PieceError),
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
            Self::NeedsPieces(count) => {
                write!(f, "of the {count} pieces of the snapshot some are missing")
            }
            Self::Piece(error) => write!(f, "a piece of the snapshot is not accepted: {error}"),
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
