//! RFC 3339 times: one instant, in integer microseconds of Unix time.
//!
//! Nothing here reads a clock. Whoever needs the time is given `now`.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An instant: microseconds since 1970-01-01T00:00:00Z. As text and in JSON, RFC 3339 in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Time(i64);

/// The largest time accepted anywhere, in seconds: 9999-12-31T23:59:59Z.
pub const TIME_SECONDS_MAX: i64 = 253_402_300_799;

impl Time {
    /// The instant at `micros` microseconds of Unix time.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// The instant at `seconds` of Unix time (a JWT NumericDate, RFC 7519 section 2).
    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1_000_000))
    }

    /// Microseconds of Unix time.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Milliseconds of Unix time, rounded down; 0 before 1970.
    pub const fn millis(self) -> u64 {
        if self.0 < 0 { 0 } else { self.0 as u64 / 1000 }
    }

    /// Seconds of Unix time, rounded down.
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// The instant `by` later.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        let by = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(by))
    }

    /// The instant `by` earlier.
    #[must_use]
    pub fn minus(self, by: Duration) -> Self {
        let by = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
        Self(self.0.saturating_sub(by))
    }

    /// How long after `earlier` this is; zero if it is not after.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// As headers of HTTP have it (RFC 9110 section 5.6.7).
    pub fn http_date(self) -> String {
        let at = jiff::Timestamp::from_second(self.seconds()).unwrap_or_default();
        at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(time) => fmt::Display::fmt(&time, f),
            Err(_) => write!(f, "{} us of Unix time", self.0),
        }
    }
}

impl std::str::FromStr for Time {
    type Err = TimeError;

    fn from_str(text: &str) -> Result<Self, TimeError> {
        let time: jiff::Timestamp = text.parse().map_err(|_| TimeError)?;
        Ok(Self(time.as_microsecond()))
    }
}

/// The text is not an RFC 3339 time with an offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeError;

impl fmt::Display for TimeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected an RFC 3339 time such as `2026-11-21T09:30:00Z`")
    }
}

impl std::error::Error for TimeError {}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_has_a_time_as_http_writes_it() {
        let at = Time::from_seconds(784_111_777);
        assert_eq!(at.http_date(), "Sun, 06 Nov 1994 08:49:37 GMT");
    }

    #[test]
    fn text_is_rfc_3339_in_utc() {
        let time = Time::from_seconds(1_763_717_400);
        assert_eq!(time.to_string(), "2025-11-21T09:30:00Z");
        assert_eq!("2025-11-21T10:30:00+01:00".parse(), Ok(time));
        assert_eq!(Time::from_micros(1_500_001).to_string(), "1970-01-01T00:00:01.500001Z");
        assert!("2025-11-21T09:30:00".parse::<Time>().is_err(), "an offset is required");
    }

    #[test]
    fn arithmetic_saturates() {
        assert_eq!(Time::from_micros(i64::MAX).plus(Duration::from_secs(1)).micros(), i64::MAX);
        assert_eq!(Time::from_seconds(1).since(Time::from_seconds(2)), Duration::ZERO);
        assert_eq!(Time::from_micros(-1).seconds(), -1);
    }
}
