//! The audit export: one file that an auditor takes away, and its offline verifier.
//!
//! The file is UTF-8 text, one JSON value a line, each line ending in `\n`:
//!
//! 1. a header, once:
//!    `{"accredit_export":1,"issuer":"https://h/o/dev","lanes":[{"lane":0,"origin":"h/o/dev/log/g1l0","from":0}]}`.
//!    Each lane is a log; its origin lies under the issuer. `from` is the first sequence number in
//!    the file; where it is not 0, the lane also has `"previous"`, the leaf hash (hex) before it.
//!    Where the log's key was rotated, the header also has `"statements"`, oldest first, by which one
//!    key names the next ([`super::succession`]): so the key that the auditor has verifies what later
//!    ones signed.
//! 2. events, in each lane by sequence, lanes mixed at will. These lines are written exactly so,
//!    without white space, and the payload's bytes are the bytes that were hashed:
//!    `{"event":{"lane":0,"seq":7,"id":"evt_…","type":"token.issued","at":1763717400123456,"leaf":"<hex>","salt":"<base64url>","payload":{…}}}`;
//!    where the payload was erased, `"digest":"<hex>"` stands in place of `salt` and `payload`.
//!    `leaf` is the leaf hash over sequence, previous leaf, type, time and digest
//!    ([`super::leaf`]); the digest is SHA-256(salt, payload); the id is a function of time, lane
//!    and sequence.
//! 3. checkpoints, `{"checkpoint":"<signed note>"}`: one of size n stands behind event n - 1 of its
//!    lane and before event n. The last one of each lane covers all its events.
//! 4. an end, once: `{"end":{"events":N}}`.
//!
//! [`Auditor`] reads it line by line in memory of the logarithm of its length, and says of the first
//! alteration exactly where it is. What a file alone cannot show is a history rewritten *and signed
//! again*, or one that ends early: for these, keep checkpoints elsewhere and hand them to
//! [`Auditor::against`]. Where a log has several lanes they tell of each other ([`super::claim`]), so
//! that whoever does this to one of them has to do it to all. A file that does not begin at 0 is checked
//! as a chain only.

mod auditor;
mod claims;
mod finding;
mod lane;
mod line;

pub use auditor::Auditor;
pub use claims::{CLAIMS_WAITING_MAX, ROOTS_KEPT_MAX};
pub use finding::{ClaimsReport, FINDINGS_MAX, Finding, LaneReport, Report, Signer};
pub use line::{
    Body, EventRecord, Header, LANE_MAX, LINE_LEN_MAX, LaneHeader, LineError, SEQUENCE_MAX,
    checkpoint_line, end_line,
};

#[cfg(test)]
mod telling;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;
