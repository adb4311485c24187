//! Token Status List (draft-ietf-oauth-status-list-20): whether a token was revoked, for resource
//! servers that follow no feed.
//!
//! A token names a list and its place in it ([`Reference`]); the list is a signed array of bits
//! ([`token`]), compressed ([`statuses`]), that anybody may fetch and keep for a while. What it says
//! comes after everything else that a token is checked for: an expired token is expired, whatever
//! its bit is. Absent on purpose: CWT, statuses of more than one bit of our own making, history
//! (section 8.4).

pub mod statuses;
pub mod token;

#[cfg(test)]
mod tests;

use std::fmt;

use crate::jose::jws::JwsError;
use crate::json::JsonError;
use crate::time::Time;

pub use statuses::{Status, Statuses};
pub use token::StatusList;

/// The `typ` of a Status List Token's header (section 5.1).
pub const STATUS_LIST_TYPE: &str = "statuslist+jwt";

/// The media type that it is served as (section 8.2).
pub const STATUS_LIST_MEDIA_TYPE: &str = "application/statuslist+jwt";

/// The most entries of a list that is read: a larger one would only cost.
pub const ENTRIES_MAX: usize = 1 << 20;

/// The most bytes of a list that are inflated: [`ENTRIES_MAX`] entries of a byte each.
pub const INFLATED_BYTES_MAX: usize = ENTRIES_MAX;

/// The most bytes of a Status List Token's text: a list of [`ENTRIES_MAX`] single bits that nothing
/// compresses, twice in base64url.
pub const STATUS_LIST_TOKEN_BYTES_MAX: usize = 256 * 1024;

/// The longest `uri` of a list, in bytes.
pub const URI_BYTES_MAX: usize = 1024;

/// Where a token's status stands (section 6.2): the value of `status.status_list`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// `uri`: which list, byte for byte its `sub`.
    pub uri: String,
    /// `idx`: which entry of it, from 0.
    pub index: u32,
}

/// Why a list is not believed, or says nothing of a token. Each is a no: nobody knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StatusListError {
    /// Longer than [`STATUS_LIST_TOKEN_BYTES_MAX`].
    TooLong,
    /// Not a signed token of this type, or the signature does not hold.
    Jws(JwsError),
    /// Its `kid` names no key of the issuer.
    KeyUnknown,
    /// Its claims are not acceptable JSON.
    Json(JsonError),
    /// This claim is missing, or is not what the standard says.
    Malformed(&'static str),
    /// `sub` is another list's.
    AnotherList,
    /// `exp` has passed.
    Expired {
        /// The claim.
        expires_at: Time,
    },
    /// `iat` has not come.
    FromTheFuture {
        /// The claim.
        issued_at: Time,
    },
    /// `lst` is not base64url of a zlib stream.
    Compression,
    /// Inflated, it has more than [`INFLATED_BYTES_MAX`] bytes or [`ENTRIES_MAX`] entries.
    TooLarge,
    /// The list has no such entry.
    OutOfRange {
        /// The entry that was asked for.
        index: u32,
    },
}

impl fmt::Display for StatusListError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => {
                write!(f, "the list has more than {STATUS_LIST_TOKEN_BYTES_MAX} bytes")
            }
            Self::Jws(error) => write!(f, "the list's token: {error}"),
            Self::KeyUnknown => f.write_str("the list is signed by no key of the issuer"),
            Self::Json(error) => write!(f, "in the list's claims: {error}"),
            Self::Malformed(claim) => {
                write!(f, "the list's `{claim}` is missing or not what the standard says")
            }
            Self::AnotherList => f.write_str("the list's `sub` is not the `uri` of the token"),
            Self::Expired { expires_at } => write!(f, "the list expired: `exp` is {expires_at}"),
            Self::FromTheFuture { issued_at } => {
                write!(f, "the list is from the future: `iat` is {issued_at}")
            }
            Self::Compression => f.write_str("the list's `lst` is no base64url of a zlib stream"),
            Self::TooLarge => write!(
                f,
                "the list has more than {ENTRIES_MAX} entries or {INFLATED_BYTES_MAX} bytes"
            ),
            Self::OutOfRange { index } => write!(f, "the list has no entry {index}"),
        }
    }
}

impl std::error::Error for StatusListError {}
