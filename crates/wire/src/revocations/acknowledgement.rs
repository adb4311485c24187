//! RFC 8259: what a follower says to the server once it has applied a message of the feed.
//!
//! It is a follower's word and signed by nobody: it tells an administrator how far a revocation has
//! come, and decides nothing. A follower draws an [`FollowerId`] when it starts and says it with
//! every question, so that the followers of one credential are told apart.

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::tlog::lower_hex;

/// The longest name of a follower: a host name fits (RFC 1035 section 2.3.4), and a line of a table.
pub const FOLLOWER_NAME_BYTES_MAX: usize = 64;

/// What tells the followers of one credential apart: 16 random bytes, 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FollowerId([u8; 16]);

impl FollowerId {
    /// Of random bytes.
    pub const fn new(random: [u8; 16]) -> Self {
        Self(random)
    }
}

impl fmt::Display for FollowerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for FollowerId {
    type Err = FollowerInvalid;

    fn from_str(text: &str) -> Result<Self, FollowerInvalid> {
        lower_hex(text).map(Self).ok_or(FollowerInvalid::Id)
    }
}

impl Serialize for FollowerId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for FollowerId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

/// What a person calls a follower: letters, digits, `.`, `_`, `-` and `:`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FollowerName(Box<str>);

impl FollowerName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for FollowerName {
    type Err = FollowerInvalid;

    fn from_str(text: &str) -> Result<Self, FollowerInvalid> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:".contains(&byte);
        let is_short = (1..=FOLLOWER_NAME_BYTES_MAX).contains(&text.len());
        if is_short && text.bytes().all(is_plain) {
            return Ok(Self(text.into()));
        }
        Err(FollowerInvalid::Name)
    }
}

/// Why a text is no id or no name of a follower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FollowerInvalid {
    /// It is not an id.
    Id,
    /// It is not a name.
    Name,
}

impl fmt::Display for FollowerInvalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id => f.write_str("expected 32 hexadecimal digits in lower case"),
            Self::Name => write!(
                f,
                "expected 1 to {FOLLOWER_NAME_BYTES_MAX} letters, digits, `.`, `_`, `-` or `:`"
            ),
        }
    }
}

impl std::error::Error for FollowerInvalid {}

/// Up to where a follower has applied the feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Acknowledgement {
    /// The generation of the server's store.
    #[serde(rename = "gen")]
    pub generation: u64,
    /// The counter up to which all is applied.
    pub rev: u64,
    /// Which follower says so.
    pub follower: FollowerId,
    /// How long ago it applied the last of it, microseconds: it does not say each at once.
    pub waited: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_one_spelling() {
        let id = FollowerId::new([0xab; 16]);
        assert_eq!(id.to_string().parse(), Ok(id));
        for wrong in ["", "ab", &"AB".repeat(16), &"ab".repeat(17), &"zz".repeat(16)] {
            assert_eq!(wrong.parse::<FollowerId>(), Err(FollowerInvalid::Id), "{wrong}");
        }
    }

    #[test]
    fn a_name_is_short_and_plain() {
        for good in ["crm-1", "pod:7f.eu_west", &"x".repeat(FOLLOWER_NAME_BYTES_MAX)] {
            assert_eq!(good.parse::<FollowerName>().expect(good).as_str(), good);
        }
        let long = "x".repeat(FOLLOWER_NAME_BYTES_MAX + 1);
        for wrong in ["", "a b", "a\nb", "é", "a\u{1b}[2J", "<b>", &long] {
            assert_eq!(wrong.parse::<FollowerName>(), Err(FollowerInvalid::Name), "{wrong}");
        }
    }

    #[test]
    fn an_unknown_or_missing_member_is_refused() {
        let read = |text: &str| serde_json::from_str::<Acknowledgement>(text);
        let id = FollowerId::new([7; 16]);
        let good = Acknowledgement { generation: 1, rev: 7, follower: id, waited: 9 };
        let text = serde_json::to_string(&good).expect("JSON");
        assert_eq!(text, format!(r#"{{"gen":1,"rev":7,"follower":"{id}","waited":9}}"#));
        assert_eq!(read(&text).expect("an acknowledgement"), good);
        for wrong in [
            "{}",
            r#"{"gen":1,"rev":7,"waited":9}"#,
            r#"{"gen":1,"rev":7,"follower":"x","waited":9}"#,
            &text.replace(":7,", ":-7,"),
            &text.replace("{\"gen\"", "{\"at\":1,\"gen\""),
            &text.replace("{\"gen\"", "{\"gen\":1,\"gen\""),
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
