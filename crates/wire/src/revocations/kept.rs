//! What a follower writes to disk, so that a restart needs no server.
//!
//! A file is lines, so that neither its writer nor its reader holds more than one of them beside the
//! state: a header in JSON, the pieces of the state as they travel ([`super::piece`]), and a line with
//! a checksum over all before it, against torn writes. Files of version 1, whose entries are JSON, are
//! read as well.
//!
//! Whoever can change the file can bring the dead back to life: keep it as private as keys.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;

use super::age::Anchor;
use super::feed::EntryWire;
use super::follower::Follower;
use super::piece::{PIECE_TEXT_BYTES_MAX, Piece, Pieces};
use super::state::{Entry, State};
use super::table::{Order, Row, sorted};
use super::witness::{Held, LogWitness};
use crate::crypto::Sha256;
use crate::time::Time;
use crate::tlog::Hash;
use crate::tlog::checkpoint::Checkpoint;
use crate::tlog::note::Vkey;
use crate::token::{push, push_string};

/// The version of what is written.
pub const FOLLOWER_VERSION: u64 = 2;

/// The longest line, its end included.
pub const KEPT_LINE_BYTES_MAX: usize = PIECE_TEXT_BYTES_MAX + 1;

/// Entries of a file of version 1 that are taken at a time.
const TAKEN_AT_ONCE: usize = 8192;

/// The lines of a file, each with its end.
#[derive(Debug)]
pub struct Lines {
    header: Option<String>,
    pieces: Pieces,
    /// Over what was written; nothing once that itself is.
    checksum: Option<Sha256>,
}

impl Iterator for Lines {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        let text = self.header.take().or_else(|| self.pieces.next().map(|piece| piece.text()));
        let Some(text) = text else {
            let digest = Hash::new(self.checksum.take()?.finish());
            return Some(format!("{{\"sha256\":\"{digest}\"}}\n"));
        };
        let line = text + "\n";
        self.checksum.as_mut()?.update(line.as_bytes());
        Some(line)
    }
}

impl Follower {
    /// What to write to disk, line by line. `now` is the local time. `None` before the first
    /// snapshot.
    pub fn lines(&self, now: Time) -> Option<Lines> {
        let header = Some(self.header(now)?);
        let (pieces, checksum) = (Pieces::of(self.state.clone()), Some(Sha256::new()));
        Some(Lines { header, pieces, checksum })
    }

    fn header(&self, now: Time) -> Option<String> {
        let anchor = self.anchor?;
        let mut out = String::with_capacity(512);
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
        out.push_str("]}");
        Some(out)
    }

    /// [`Follower::lines`] in one, where there is room for all.
    pub fn to_bytes(&self, now: Time) -> Option<Vec<u8>> {
        Some(self.lines(now)?.collect::<String>().into_bytes())
    }

    /// Reads what [`Follower::lines`] wrote for the same issuer, where all of it is at hand. With
    /// `log_keys`, the log is watched on from what was held.
    pub fn from_bytes(
        bytes: &[u8],
        issuer: &str,
        log_keys: Option<Vec<Vkey>>,
    ) -> Result<Self, RestoreError> {
        let text = std::str::from_utf8(bytes).map_err(|_| RestoreError::Malformed)?;
        let mut restoring = Restoring::new(issuer, log_keys);
        text.split_inclusive('\n').try_for_each(|line| restoring.line(line))?;
        restoring.finish()
    }
}

/// A file as it is read, line by line.
#[derive(Debug)]
pub struct Restoring {
    issuer: String,
    log_keys: Option<Vec<Vkey>>,
    checksum: Sha256,
    begun: Option<Begun>,
    whole: bool,
}

/// What was read behind the header.
#[derive(Debug)]
struct Begun {
    header: Header,
    state: State,
    last: Option<Order>,
    /// Of version 1: what waits to be taken, and how many came.
    waiting: Vec<Entry>,
    count: usize,
}

impl Restoring {
    /// Of a file for `issuer`.
    pub fn new(issuer: &str, log_keys: Option<Vec<Vkey>>) -> Self {
        let (issuer, checksum) = (issuer.to_owned(), Sha256::new());
        Self { issuer, log_keys, checksum, begun: None, whole: false }
    }

    /// Takes the next line, with its end.
    pub fn line(&mut self, line: &str) -> Result<(), RestoreError> {
        let text = line.strip_suffix('\n').ok_or(RestoreError::Malformed)?;
        if self.whole || line.len() > KEPT_LINE_BYTES_MAX {
            return Err(RestoreError::Malformed);
        }
        if text.starts_with("{\"sha256\"") {
            let last: Last<'_> = serde_json::from_str(text).map_err(|_| RestoreError::Malformed)?;
            let checksum = std::mem::take(&mut self.checksum).finish();
            if Hash::from_hex(last.sha256) != Some(Hash::new(checksum)) {
                return Err(RestoreError::Checksum);
            }
            self.whole = true;
            return Ok(());
        }
        self.checksum.update(line.as_bytes());
        if let Some(begun) = &mut self.begun {
            return begun.line(text);
        }
        self.begun = Some(Begun::new(text, &self.issuer)?);
        Ok(())
    }

    /// The follower, where all lines came.
    pub fn finish(self) -> Result<Follower, RestoreError> {
        let begun = self.begun.filter(|_| self.whole).ok_or(RestoreError::Malformed)?;
        let (header, state) = begun.finish()?;
        let received_at = Time::from_micros(header.received_at);
        let signed_after = Time::from_micros(header.signed_after);
        let held = header.lanes.into_iter().map(LaneHeld::read).collect::<Option<_>>();
        let held: BTreeMap<u16, Held> = held.ok_or(RestoreError::Malformed)?;
        let witness = self.log_keys.map(|keys| LogWitness::resume(keys, held));
        let anchor = Anchor::from_parts(state.server_time(), received_at, signed_after);
        let mut follower = Follower::new(header.iss, witness);
        (follower.state, follower.anchor) = (state, Some(anchor));
        follower.seen = Time::from_micros(header.seen);
        Ok(follower)
    }
}

impl Begun {
    fn new(line: &str, issuer: &str) -> Result<Self, RestoreError> {
        let header: Header = serde_json::from_str(line).map_err(|_| RestoreError::Malformed)?;
        if !(1..=FOLLOWER_VERSION).contains(&header.accredit_follower) {
            return Err(RestoreError::Version);
        }
        if header.iss != issuer {
            return Err(RestoreError::Issuer);
        }
        let at = Time::from_micros(header.at);
        let state = State::new(header.generation, header.rev, at, &[]);
        Ok(Self { header, state, last: None, waiting: Vec::new(), count: 0 })
    }

    fn line(&mut self, line: &str) -> Result<(), RestoreError> {
        if self.header.accredit_follower == FOLLOWER_VERSION {
            let rows = Piece::parse(line).and_then(|piece| piece.rows(self.last));
            let rows = rows.map_err(|_| RestoreError::Malformed)?;
            self.last = rows.last().map(Row::order);
            self.state = self.state.with_rows(&rows);
            return Ok(());
        }
        let entry = serde_json::from_str::<EntryWire>(line).map(Entry::from);
        self.waiting.push(entry.map_err(|_| RestoreError::Malformed)?);
        self.count += 1;
        if self.waiting.len() >= TAKEN_AT_ONCE {
            self.take_waiting();
        }
        Ok(())
    }

    fn take_waiting(&mut self) {
        self.state = self.state.with_rows(&sorted(&self.waiting));
        self.waiting.clear();
    }

    fn finish(mut self) -> Result<(Header, State), RestoreError> {
        self.take_waiting();
        // What is cut off has no checksum; version 1 counts besides.
        let counted = (self.header.accredit_follower == 1).then_some(self.count);
        if self.header.entries != counted {
            return Err(RestoreError::Malformed);
        }
        Ok((self.header, self.state))
    }
}

#[derive(Debug, Deserialize)]
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
    /// How many, in version 1.
    #[serde(default)]
    entries: Option<usize>,
}

#[derive(Debug, Deserialize)]
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
