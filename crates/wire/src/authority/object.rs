//! Objects at a Resource, and patterns of them: paths of literal segments, compared as bytes.
//!
//! An object is `/segment/segment…`; a pattern is an object, or one whose last segment is `*`: all
//! that lies below, at any depth, and not the stem itself. A segment is made of the unreserved
//! characters of RFC 3986 section 2.3 and of `! $ & + , : = @`; it is not `.` or `..`. So there is
//! no second spelling of an object: nothing is decoded, folded or resolved.
//!
//! Absent on purpose: percent-encoding, a `*` anywhere else, parameters (`;`), alternatives. A
//! Resource whose objects have other characters has no pattern for them, and an object that is
//! not one matches no pattern.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The longest pattern, in bytes.
pub const PATTERN_BYTES_MAX: usize = 256;

/// The most segments of a pattern.
pub const PATTERN_SEGMENTS_MAX: usize = 16;

/// The longest object that a pattern is compared with, in bytes: paths are shorter, and a longer
/// one is somebody's trick.
pub const OBJECT_BYTES_MAX: usize = 1024;

/// Whether `text` is an object: `/`-separated segments, none empty, within [`OBJECT_BYTES_MAX`].
pub fn is_object(text: &str) -> bool {
    text.len() <= OBJECT_BYTES_MAX
        && text.strip_prefix('/').is_some_and(|rest| rest.split('/').all(is_segment))
}

fn is_segment(text: &str) -> bool {
    let is_plain = |byte: u8| {
        byte.is_ascii_alphanumeric()
            || matches!(byte, b'-' | b'.' | b'_' | b'~')
            || matches!(byte, b'!' | b'$' | b'&' | b'+' | b',' | b':' | b'=' | b'@')
    };
    !matches!(text, "" | "." | "..") && text.bytes().all(is_plain)
}

/// A text is not a pattern. It says what one is and does not repeat the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PatternError;

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "expected an object pattern such as `/customers/eu/*`: at most {PATTERN_BYTES_MAX} \
             bytes and {PATTERN_SEGMENTS_MAX} segments of `A-Z a-z 0-9 - . _ ~ ! $ & + , : = @`, \
             none of them empty, `.` or `..`, and `*` only as the last"
        )
    }
}

impl std::error::Error for PatternError {}

/// Which objects: exactly one, or all below a stem. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectPattern(Arc<str>);

impl ObjectPattern {
    /// The pattern in this text, which must be one as it stands.
    pub fn new(text: &str) -> Result<Self, PatternError> {
        let fits = text.len() <= PATTERN_BYTES_MAX
            && text.bytes().filter(|byte| *byte == b'/').count() <= PATTERN_SEGMENTS_MAX;
        // What stands before `/*` is an object, or nothing.
        let is_one = match text.strip_suffix("/*") {
            Some("") => true,
            Some(stem) => is_object(stem),
            None => is_object(text),
        };
        if fits && is_one { Ok(Self(Arc::from(text))) } else { Err(PatternError) }
    }

    /// The pattern as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is of this object. What is not an object is of no pattern.
    pub fn matches(&self, object: &str) -> bool {
        is_object(object) && self.is_of(object)
    }

    /// Whether every object of `other` is one of this.
    pub fn covers(&self, other: &Self) -> bool {
        self.is_of(&other.0)
    }

    /// The objects of both; none where there is no such object.
    #[must_use]
    pub fn meet(&self, other: &Self) -> Option<Self> {
        if self.covers(other) {
            Some(other.clone())
        } else {
            other.covers(self).then(|| self.clone())
        }
    }

    /// Of an object, or of all that a pattern stands for: its `*` is a segment like others here.
    fn is_of(&self, text: &str) -> bool {
        match self.0.strip_suffix('*') {
            Some(stem) => text.len() > stem.len() && text.starts_with(stem),
            None => *self.0 == *text,
        }
    }
}

impl fmt::Display for ObjectPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ObjectPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ObjectPattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        Self::new(text)
    }
}

impl Serialize for ObjectPattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ObjectPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        Self::new(&text).map_err(serde::de::Error::custom)
    }
}
