//! Typed identifiers: RFC 9562 UUIDv7 in lower-case base32 behind a prefix that names the kind.
//!
//! The text is `<prefix>_<26 characters>`, sorts by time of creation, and has exactly one
//! spelling: a second spelling of the same id would slip past a list of dead ones. One newtype
//! per kind, so that an agent's id cannot be passed where an instance's belongs; [`AnyId`] is
//! for the few places that take any of them, such as a lineage.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Crockford's base32 in lower case: no `i`, `l`, `o`, `u`.
pub(crate) const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// The value of each letter of [`ALPHABET`], and [`NO_VALUE`] for any other byte.
pub(crate) const VALUES: [u8; 256] = values();
/// What no letter stands for.
pub(crate) const NO_VALUE: u8 = u8::MAX;

const fn values() -> [u8; 256] {
    let mut values = [NO_VALUE; 256];
    let mut value = 0;
    while value < ALPHABET.len() {
        values[ALPHABET[value] as usize] = value as u8;
        value += 1;
    }
    values
}

/// Characters of an id after the prefix and the underscore.
pub const ID_TEXT_LEN: usize = 26;

/// What an id names. The number is part of [`AnyId::key`] and never changes meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// A tenant.
    Organization = 1,
    /// A human.
    Person = 2,
    /// A registered role, the OAuth client.
    Agent = 3,
    /// One running copy of an agent.
    Instance = 4,
    /// What is protected.
    Resource = 5,
    /// What somebody proves itself with.
    Credential = 6,
    /// A minted token.
    Token = 7,
    /// A unit of work.
    Task = 8,
    /// An entry of the revocation graph.
    Revocation = 9,
    /// An audit fact.
    Event = 10,
    /// A signing key of an organization.
    Key = 11,
    /// One HTTP request.
    Request = 12,
    /// An external issuer of persons' tokens.
    Federation = 13,
    /// A block of an attenuable token.
    Block = 14,
}

impl Kind {
    /// Every kind, in numeric order.
    pub const ALL: [Self; 14] = [
        Self::Organization,
        Self::Person,
        Self::Agent,
        Self::Instance,
        Self::Resource,
        Self::Credential,
        Self::Token,
        Self::Task,
        Self::Revocation,
        Self::Event,
        Self::Key,
        Self::Request,
        Self::Federation,
        Self::Block,
    ];

    /// The prefix without its underscore: three lower-case letters.
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Organization => "org",
            Self::Person => "usr",
            Self::Agent => "agt",
            Self::Instance => "ins",
            Self::Resource => "res",
            Self::Credential => "crd",
            Self::Token => "tok",
            Self::Task => "tsk",
            Self::Revocation => "rvk",
            Self::Event => "evt",
            Self::Key => "key",
            Self::Request => "req",
            Self::Federation => "fed",
            Self::Block => "blk",
        }
    }

    fn from_prefix(prefix: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.prefix() == prefix)
    }
}

/// Why a text is not an id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdError {
    expected: Option<Kind>,
}

impl fmt::Display for IdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.expected {
            Some(kind) => write!(f, "expected an id of the form `{}_` and 26 characters of lower-case base32", kind.prefix()),
            None => f.write_str("expected an id: a known three-letter prefix, `_` and 26 characters of lower-case base32"),
        }
    }
}

impl std::error::Error for IdError {}

/// The 128 bits of an RFC 9562 UUIDv7 from a time and random bytes.
///
/// `millis` is Unix time in milliseconds (48 bits are kept); of `random`, 74 bits are used.
pub fn uuid_v7(millis: u64, random: [u8; 10]) -> u128 {
    let mut low = [0u8; 16];
    low[6..].copy_from_slice(&random);
    let random = u128::from_be_bytes(low);
    let time = u128::from(millis & 0xffff_ffff_ffff) << 80;
    (time | (random & ((1 << 80) - 1))) & !(0xf << 76) & !(0b11 << 62) | (7 << 76) | (0b10 << 62)
}

fn is_uuid_v7(bits: u128) -> bool {
    (bits >> 76) & 0xf == 7 && (bits >> 62) & 0b11 == 0b10
}

/// Bytes of an id's whole text: prefix, underscore, 26 characters.
const TEXT_LEN: usize = 4 + ID_TEXT_LEN;

/// The text of an id. Ids are written a dozen times for each token, so this works on words of 60
/// bits, twelve characters each, rather than on 128 bits.
fn encode(kind: Kind, bits: u128) -> [u8; TEXT_LEN] {
    const TWELVE: u128 = (1 << 60) - 1;
    let mut text = [b'_'; TEXT_LEN];
    let (prefix, rest) = text.split_at_mut(4);
    prefix[..3].copy_from_slice(kind.prefix().as_bytes());
    let (two, rest) = rest.split_at_mut(2);
    let (high, low) = rest.split_at_mut(12);
    let words = [(two, bits >> 120), (high, (bits >> 60) & TWELVE), (low, bits & TWELVE)];
    for (slots, word) in words {
        let mut word = word as u64;
        for slot in slots.iter_mut().rev() {
            *slot = ALPHABET[(word & 31) as usize];
            word >>= 5;
        }
    }
    text
}

fn decode(text: &[u8]) -> Option<u128> {
    if text.len() != ID_TEXT_LEN {
        return None;
    }
    let mut bits: u128 = 0;
    for (index, byte) in text.iter().enumerate() {
        let value = VALUES[usize::from(*byte)];
        // 26 characters hold 130 bits: the first may carry only three.
        if value == NO_VALUE || (index == 0 && value > 7) {
            return None;
        }
        bits = (bits << 5) | u128::from(value);
    }
    is_uuid_v7(bits).then_some(bits)
}

/// An id of any kind.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AnyId {
    kind: Kind,
    bits: u128,
}

impl AnyId {
    /// What the id names.
    pub const fn kind(self) -> Kind {
        self.kind
    }

    /// The UUID's 128 bits.
    pub const fn bits(self) -> u128 {
        self.bits
    }

    /// The id and its kind in 128 bits: the UUID's version nibble, always 7, holds the kind.
    ///
    /// This is the form in which sets of dead ids are kept.
    pub const fn key(self) -> u128 {
        (self.bits & !(0xf << 76)) | ((self.kind as u128) << 76)
    }

    /// The id whose [`AnyId::key`] this is.
    pub fn from_key(key: u128) -> Option<Self> {
        let number = (key >> 76) as u8 & 0xf;
        let kind = Kind::ALL.into_iter().find(|kind| *kind as u8 == number)?;
        let bits = (key & !(0xf << 76)) | (7 << 76);
        is_uuid_v7(bits).then_some(Self { kind, bits })
    }
}

impl fmt::Display for AnyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = encode(self.kind, self.bits);
        f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for AnyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for AnyId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let wrong = IdError { expected: None };
        let (prefix, rest) = text.split_once('_').ok_or(wrong.clone())?;
        let kind = Kind::from_prefix(prefix).ok_or(wrong.clone())?;
        let bits = decode(rest.as_bytes()).ok_or(wrong)?;
        Ok(Self { kind, bits })
    }
}

impl Serialize for AnyId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = encode(self.kind, self.bits);
        serializer.serialize_str(std::str::from_utf8(&text).map_err(serde::ser::Error::custom)?)
    }
}

impl<'de> Deserialize<'de> for AnyId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// One newtype per kind, all alike.
macro_rules! id {
    ($name:ident, $kind:ident, $what:literal) => {
        #[doc = $what]
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(u128);

        impl $name {
            /// A new id from a time (Unix milliseconds) and random bytes.
            pub fn new(millis: u64, random: [u8; 10]) -> Self {
                Self(uuid_v7(millis, random))
            }

            /// The id with these 128 bits, where they are a UUIDv7.
            pub fn from_bits(bits: u128) -> Option<Self> {
                is_uuid_v7(bits).then_some(Self(bits))
            }

            /// The id whose text, after the prefix and the underscore, this is.
            pub fn from_letters(letters: &str) -> Option<Self> {
                decode(letters.as_bytes()).map(Self)
            }

            /// The UUID's 128 bits.
            pub const fn bits(self) -> u128 {
                self.0
            }

            /// The time of creation, Unix milliseconds.
            pub const fn millis(self) -> u64 {
                (self.0 >> 80) as u64
            }

            /// The same id where any kind is taken.
            pub const fn any(self) -> AnyId {
                AnyId { kind: Kind::$kind, bits: self.0 }
            }
        }

        impl From<$name> for AnyId {
            fn from(id: $name) -> Self {
                id.any()
            }
        }

        impl TryFrom<AnyId> for $name {
            type Error = IdError;

            fn try_from(id: AnyId) -> Result<Self, IdError> {
                if id.kind() == Kind::$kind {
                    Ok(Self(id.bits()))
                } else {
                    Err(IdError { expected: Some(Kind::$kind) })
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.any(), f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.any(), f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let any: AnyId =
                    text.parse().map_err(|_| IdError { expected: Some(Kind::$kind) })?;
                Self::try_from(any)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.any().serialize(serializer)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

id!(OrganizationId, Organization, "The id of an Organization, `org_`.");
id!(PersonId, Person, "The id of a Person, `usr_`.");
id!(AgentId, Agent, "The id of an Agent, `agt_`; also its OAuth `client_id`.");
id!(InstanceId, Instance, "The id of an Instance, `ins_`.");
id!(ResourceId, Resource, "The id of a Resource, `res_`.");
id!(CredentialId, Credential, "The id of a Credential, `crd_`.");
id!(TokenId, Token, "The id of a Token, `tok_`; also its `jti`.");
id!(TaskId, Task, "The id of a Task, `tsk_`.");
id!(RevocationId, Revocation, "The id of a Revocation, `rvk_`.");
id!(EventId, Event, "The id of an Event, `evt_`.");
id!(KeyId, Key, "The id of a signing key, `key_`; also its `kid`.");
id!(RequestId, Request, "The id of one HTTP request, `req_`.");
id!(
    FederationId,
    Federation,
    "The id of a Federation, `fed_`: an external issuer of persons' tokens."
);

id!(
    BlockId,
    Block,
    "The id of a block of an attenuable token, `blk_`: it follows from the block's signature."
);

impl BlockId {
    /// The id of the block with this signature: the first 122 bits of its SHA-256 where a UUIDv7
    /// has its time and its random bits. [`Self::millis`] is no time.
    pub fn of_signature(signature: &[u8; 64]) -> Self {
        let hash = crate::crypto::sha256(signature);
        let (mut millis, mut random) = ([0u8; 8], [0u8; 10]);
        millis[2..].copy_from_slice(&hash[..6]);
        random.copy_from_slice(&hash[6..16]);
        Self::new(u64::from_be_bytes(millis), random)
    }
}

impl EventId {
    /// The id of the event at `sequence` of `lane`, written at `millis` (Unix milliseconds).
    ///
    /// RFC 9562 lets a UUIDv7 carry a counter in place of random bits: an event's id *is* its
    /// place in the log, so no index is needed to find it, and it is unique in its organization.
    pub fn at(millis: u64, lane: u16, sequence: u64) -> Self {
        let mut random = [0u8; 10];
        random[..2].copy_from_slice(&(lane & 0xfff).to_be_bytes());
        random[2..].copy_from_slice(&(sequence & ((1 << 62) - 1)).to_be_bytes());
        Self(uuid_v7(millis, random))
    }

    /// The lane and the sequence number that [`EventId::at`] put into the id.
    pub fn place(self) -> (u16, u64) {
        (((self.0 >> 64) & 0xfff) as u16, (self.0 as u64) & ((1 << 62) - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn text_round_trips_and_sorts_by_time(a in 0u64..1 << 48, b in 0u64..1 << 48, r: [u8; 10], s: [u8; 10]) {
            let (x, y) = (AgentId::new(a, r), AgentId::new(b, s));
            prop_assert_eq!(x.to_string().parse::<AgentId>(), Ok(x));
            prop_assert_eq!(x.millis(), a);
            if a != b {
                prop_assert_eq!(a < b, x.to_string() < y.to_string());
            }
        }

        #[test]
        fn no_two_texts_are_one_id(text in "[a-z]{3}_[0-9a-zA-Z]{26}") {
            if let Ok(id) = text.parse::<AnyId>() {
                prop_assert_eq!(id.to_string(), text);
            }
        }

        #[test]
        fn a_key_is_its_id_and_nothing_else_is_a_key(millis in 0u64..1 << 48, r: [u8; 10], key: u128) {
            for kind in Kind::ALL {
                let id = AnyId { kind, bits: AgentId::new(millis, r).bits() };
                prop_assert_eq!(AnyId::from_key(id.key()), Some(id));
            }
            prop_assert!(AnyId::from_key(key).is_none_or(|id| id.key() == key));
        }

        #[test]
        fn an_event_id_is_its_place(millis in 0u64..1 << 48, lane in 0u16..4096, sequence in 0u64..1 << 62) {
            let id = EventId::at(millis, lane, sequence);
            prop_assert_eq!(id.place(), (lane, sequence));
            prop_assert_eq!(id.millis(), millis);
            prop_assert_eq!(id.to_string().parse::<EventId>(), Ok(id));
        }
    }

    #[test]
    fn a_kind_is_never_taken_for_another() {
        let agent = AgentId::new(1, [7; 10]);
        let text = agent.to_string().replace("agt", "ins");
        assert!(text.parse::<AgentId>().is_err());
        let instance: InstanceId = text.parse().expect("an instance id");
        assert_ne!(agent.any().key(), instance.any().key());
    }

    #[test]
    fn other_spellings_are_refused() {
        let id = AgentId::new(1_700_000_000_000, [9; 10]).to_string();
        for wrong in [
            id.to_uppercase(),
            id.replace('_', "-"),
            format!("{id}0"),
            id[..id.len() - 1].to_owned(),
            format!(" {id}"),
            id.replacen("_0", "_8", 1),
            "agt_".to_owned(),
            String::new(),
        ] {
            assert!(wrong.parse::<AgentId>().is_err(), "{wrong}");
        }
    }
}
