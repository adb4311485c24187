//! How old a revocation state is: by a question, two monotonic clocks, and no time of day
//! (`docs/decisions/0007-an-age-runs-from-a-question.md`).
//!
//! The rule: *whatever a clock says, a state may look older than it is and never younger.* An
//! attacker on the network may hold messages back, repeat them, mix those of different days and
//! streams, and leave any out. What they cannot do is sign.
//!
//! - **A question dates its answer.** A follower puts a question with a [`Nonce`] at a local time
//!   and whoever signs the answer names it. So the answer was signed *after the question was put*:
//!   a fact of causality that no clock has a part in. Its age is at most the time since then.
//! - **One clock carries that on.** Each message has a [`Reading`] of the signing process's
//!   monotonic clock, under a name that no other process has. Of two messages under one name the
//!   later was signed as much later as the readings are apart, so what is known of the answer is
//!   known of whatever follows it, and heartbeats can be signed once for everybody. The two
//!   clocks may run at different speeds, by [`DRIFT`] at most, which is taken off.
//! - **Nothing is signed after it came.** So a message dates from its arrival at the latest.
//! - **Another name dates nothing**, unless it answers a question that was put later than the one
//!   answered last. So messages of a server's earlier life, or answers held back since then, are
//!   told from new ones without any order between the names.
//!
//! What follows: the server's time of day may be set forwards and backwards as it likes; it is
//! told ([`Anchor::at`]), and no age depends on it. The local clock may be wrong by any amount.
//! Where it is set *forwards* while a state is held, the state looks older by as much, until the
//! next answer. A message that was held back looks as old as it is. All of that ends with one
//! answer in time: a follower asks again where what comes looks late.
//!
//! What remains: where the local clock is *set back*, nobody knows the age until a question was
//! put and answered since; a time that does not jump (the later of the time of day and the one at
//! the start plus a monotonic clock since) avoids this. And after a restart the age of what was
//! kept is told by the time of day alone, until the first answer: who sets it back while the
//! process is down, by just as long as that was, makes it look younger for so long.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::time::Time;
use crate::tlog::lower_hex;

/// How far the local time may go backwards between two looks at it without being taken for a
/// clock that was set back: requests read the clock once and may overtake each other.
pub const BACKWARDS_MAX: Duration = Duration::from_secs(5);

/// The part of the time by which two monotonic clocks may come apart: a 512th of it, 1953 in a
/// million. One is corrected by NTP by at most 500 in a million, and a crystal is off by 100.
pub const DRIFT: u64 = 512;

/// What makes a question one that was never put before: 16 random bytes, 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nonce([u8; 16]);

impl Nonce {
    /// Of random bytes.
    pub const fn new(random: [u8; 16]) -> Self {
        Self(random)
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Nonce {
    type Err = NonceError;

    fn from_str(text: &str) -> Result<Self, NonceError> {
        lower_hex(text).map(Self).ok_or(NonceError)
    }
}

/// The text is not 32 hexadecimal digits in lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NonceError;

impl fmt::Display for NonceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected a nonce of 32 hexadecimal digits in lower case")
    }
}

impl std::error::Error for NonceError {}

/// What the monotonic clock of one process of the server showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Which process: drawn at random when it starts.
    pub clock: u64,
    /// Microseconds since some moment of its own. Of two messages the later has the larger one.
    pub up: u64,
}

/// What is known of when a message was signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anchor {
    at: Time,
    received_at: Time,
    signed_after: Time,
    /// Nothing where it was read from a file: no message goes on from that.
    reading: Option<Reading>,
    /// The number of the question that was answered last.
    question: u64,
}

impl Anchor {
    /// Of a message that answers the question number `question`, which was put at the local time
    /// `asked_at`. `at` is the server's time of day in it.
    pub fn answer(
        at: Time,
        reading: Reading,
        (question, asked_at): (u64, Time),
        received_at: Time,
    ) -> Self {
        let signed_after = asked_at.min(received_at);
        Self { at, received_at, signed_after, reading: Some(reading), question }
    }

    /// Of what is read from its source at `now`, whose clock is ours.
    pub fn current(now: Time) -> Self {
        Self { at: now, received_at: now, signed_after: now, reading: None, question: 0 }
    }

    /// Of a message whose anchor was written to a file.
    pub fn from_parts(at: Time, received_at: Time, signed_after: Time) -> Self {
        Self { at, received_at, signed_after, reading: None, question: 0 }
    }

    /// Of a later message under the same clock; nothing where it is another's, or not later.
    #[must_use]
    pub fn later(self, at: Time, reading: Reading, received_at: Time) -> Option<Self> {
        let held = self.reading.filter(|held| held.clock == reading.clock)?;
        let apart = reading.up.checked_sub(held.up).filter(|apart| *apart > 0)?;
        // Rounded so that the state looks older.
        let surely = Duration::from_micros(apart.saturating_sub(apart / DRIFT + 1));
        let signed_after = self.signed_after.plus(surely).min(received_at);
        Some(Self { at, received_at, signed_after, reading: Some(reading), ..self })
    }

    /// The server's time of day, as it signed it; it may be wrong.
    pub fn at(self) -> Time {
        self.at
    }

    /// The local time at which the message came.
    pub fn received_at(self) -> Time {
        self.received_at
    }

    /// The local time before which the message was not signed.
    pub fn signed_after(self) -> Time {
        self.signed_after
    }

    /// What the signing process's clock showed; nothing where that is not known any more.
    pub fn reading(self) -> Option<Reading> {
        self.reading
    }

    /// The number of the question that was answered last; 0 where none was.
    pub fn question(self) -> u64 {
        self.question
    }

    /// The age at the local time `now`, at most, where `latest` is the latest local time seen
    /// since the message came. `None` where the local clock was set back, so that nobody knows.
    pub fn age(self, now: Time, latest: Time) -> Option<Duration> {
        if now.plus(BACKWARDS_MAX) < latest.max(self.received_at) {
            return None;
        }
        Some(now.since(self.signed_after))
    }

    /// The server's time of day at the local time `now`, at most: never before `now`, never
    /// before the last signed time.
    pub fn server_time(self, now: Time) -> Time {
        self.at.plus(now.since(self.signed_after)).max(now)
    }
}
