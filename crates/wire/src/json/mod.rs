//! RFC 8259 JSON as RFC 7493 (I-JSON) restricts it: the strict reader for what strangers send.
//!
//! Ordinary readers keep the last of two members with one name, so that two programs can read
//! two different meanings out of one signed text. This reader refuses such a text instead, at
//! any depth and after unescaping, together with nesting beyond [`JSON_DEPTH_MAX`], numbers that
//! are not finite, lone surrogates, bytes after the value and input over the caller's bound.
//!
//! Absent on purpose: a canonical writer, comments, any repair of what is broken, and a map that
//! forgets the order of members.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt::{self, Write as _};

use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap as _, SerializeSeq as _, Serializer};

mod deserialize;

#[cfg(test)]
mod tests;

/// How deep arrays and objects may nest; the outermost one is at depth 1.
pub const JSON_DEPTH_MAX: usize = 32;

/// Characters of a stranger's text that an error message repeats.
pub const QUOTED_CHARS_MAX: usize = 64;

/// Up to this many members, names are compared pairwise; above it, they are sorted once, so that
/// an object with thousands of members costs no quadratic time.
const PAIRWISE_MEMBERS_MAX: usize = 16;

/// Members reserved at once when an object has its first: most claims sets fit without growing.
const MEMBERS_RESERVED: usize = 8;

/// One JSON value. Strings borrow from the input where it has no escapes.
#[derive(Clone, Debug, PartialEq)]
pub enum Json<'a> {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number without fraction and exponent that fits 64 bits with a sign.
    Integer(i64),
    /// Any other number; always finite. An integer beyond 64 bits becomes one too and loses its
    /// last digits, so never compare limits by it.
    Float(f64),
    /// A string, unescaped.
    String(Cow<'a, str>),
    /// An array.
    Array(Vec<Json<'a>>),
    /// The members of an object in the order of the text; no two have one name.
    Object(Vec<(Cow<'a, str>, Json<'a>)>),
}

impl<'a> Json<'a> {
    /// Reads exactly one value from at most `bytes_max` bytes.
    pub fn parse(input: &'a [u8], bytes_max: usize) -> Result<Self, JsonError> {
        if input.len() > bytes_max {
            return Err(JsonError::TooLong { bytes: input.len(), bytes_max });
        }
        let refused = RefCell::new(None);
        let mut reader = serde_json::Deserializer::from_slice(input);
        let value = Reader { refused: &refused, depth: 1 }
            .deserialize(&mut reader)
            .and_then(|value| reader.end().map(|()| value));
        value.map_err(|error| refused.into_inner().unwrap_or_else(|| JsonError::syntax(&error)))
    }

    /// The value of the member `name`; `None` where there is none or this is not an object.
    pub fn get(&self, name: &str) -> Option<&Self> {
        self.as_object()?.iter().find(|(found, _)| found == name).map(|(_, value)| value)
    }

    /// The string, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The integer, if it is one. `1.0` and `1e3` are not.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Self::Integer(number) => Some(*number),
            _ => None,
        }
    }

    /// The truth value, if it is one.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// The elements, if it is an array.
    pub fn as_array(&self) -> Option<&[Self]> {
        match self {
            Self::Array(elements) => Some(elements),
            _ => None,
        }
    }

    /// The members, if it is an object.
    pub fn as_object(&self) -> Option<&[(Cow<'a, str>, Self)]> {
        match self {
            Self::Object(members) => Some(members),
            _ => None,
        }
    }

    /// What it is, for messages: `null`, `a string`, `an object` and so on.
    pub fn what(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a truth value",
            Self::Integer(_) | Self::Float(_) => "a number",
            Self::String(_) => "a string",
            Self::Array(_) => "an array",
            Self::Object(_) => "an object",
        }
    }

    /// The same value without a borrow of the input.
    pub fn into_owned(self) -> Json<'static> {
        fn own(text: Cow<'_, str>) -> Cow<'static, str> {
            Cow::Owned(text.into_owned())
        }
        match self {
            Self::Null => Json::Null,
            Self::Bool(value) => Json::Bool(value),
            Self::Integer(number) => Json::Integer(number),
            Self::Float(number) => Json::Float(number),
            Self::String(text) => Json::String(own(text)),
            Self::Array(elements) => {
                Json::Array(elements.into_iter().map(Json::into_owned).collect())
            }
            Self::Object(members) => Json::Object(
                members.into_iter().map(|(name, value)| (own(name), value.into_owned())).collect(),
            ),
        }
    }
}

/// Writes the value as it was read: members in their order, nothing canonical.
impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Integer(number) => serializer.serialize_i64(*number),
            Self::Float(number) => serializer.serialize_f64(*number),
            Self::String(text) => serializer.serialize_str(text),
            Self::Array(elements) => {
                let mut seq = serializer.serialize_seq(Some(elements.len()))?;
                for element in elements {
                    seq.serialize_element(element)?;
                }
                seq.end()
            }
            Self::Object(members) => {
                let mut map = serializer.serialize_map(Some(members.len()))?;
                for (name, value) in members {
                    map.serialize_entry(name, value)?;
                }
                map.end()
            }
        }
    }
}

/// Why a text is refused as JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JsonError {
    /// The input exceeds the caller's bound.
    TooLong {
        /// Length of the input.
        bytes: usize,
        /// The bound.
        bytes_max: usize,
    },
    /// Arrays and objects nest beyond [`JSON_DEPTH_MAX`].
    TooDeep,
    /// Two members of one object have this name (shortened by [`quoted`]).
    DuplicateMember(String),
    /// A number is not finite.
    NotFinite,
    /// Not JSON: a wrong or missing character, a lone surrogate, a number out of range, invalid
    /// UTF-8, or bytes after the value.
    Syntax {
        /// The line, from 1.
        line: usize,
        /// The byte in the line, from 1.
        column: usize,
    },
}

impl JsonError {
    /// Only the place is kept: serde_json's own messages can repeat the input.
    fn syntax(error: &serde_json::Error) -> Self {
        Self::Syntax { line: error.line(), column: error.column() }
    }
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { bytes, bytes_max } => {
                write!(f, "the JSON text has {bytes} bytes; at most {bytes_max} are accepted")
            }
            Self::TooDeep => {
                write!(f, "arrays and objects nest deeper than {JSON_DEPTH_MAX} levels")
            }
            Self::DuplicateMember(name) => {
                write!(f, "the member `{name}` occurs twice in one object; send it once")
            }
            Self::NotFinite => f.write_str("a number is not finite"),
            Self::Syntax { line, column } => write!(f, "not JSON at line {line}, byte {column}"),
        }
    }
}

impl std::error::Error for JsonError {}

/// A stranger's text as an error message may repeat it: control characters escaped, at most
/// [`QUOTED_CHARS_MAX`] characters, and no backtick that would end the quotation.
pub fn quoted(text: &str) -> String {
    let mut out = String::new();
    for (index, character) in text.chars().enumerate() {
        if index == QUOTED_CHARS_MAX {
            out.push('…');
            break;
        }
        if character == '`' {
            out.push_str("\\u{60}");
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "{}", character.escape_debug());
        }
    }
    out
}

/// Reads one value at `depth`; what it refuses itself, it leaves in `refused`.
#[derive(Clone, Copy)]
struct Reader<'r> {
    refused: &'r RefCell<Option<JsonError>>,
    depth: usize,
}

impl Reader<'_> {
    fn refuse<T, E: serde::de::Error>(self, error: JsonError) -> Result<T, E> {
        *self.refused.borrow_mut() = Some(error);
        Err(E::custom("refused"))
    }

    /// The reader for what is inside an array or an object at this depth.
    fn inside<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth > JSON_DEPTH_MAX {
            return self.refuse(JsonError::TooDeep);
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = Json<'de>;

    fn deserialize<D: serde::Deserializer<'de>>(self, from: D) -> Result<Json<'de>, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = Json<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json<'de>, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json<'de>, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json<'de>, E> {
        Ok(Json::Integer(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json<'de>, E> {
        Ok(i64::try_from(value).map_or(Json::Float(value as f64), Json::Integer))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Json<'de>, E> {
        if !value.is_finite() {
            return self.refuse(JsonError::NotFinite);
        }
        Ok(Json::Float(value))
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Json<'de>, E> {
        Ok(Json::String(Cow::Borrowed(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Json<'de>, E> {
        Ok(Json::String(Cow::Owned(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Json<'de>, A::Error> {
        let inside = self.inside()?;
        let mut elements = Vec::new();
        while let Some(element) = seq.next_element_seed(inside)? {
            elements.push(element);
        }
        Ok(Json::Array(elements))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json<'de>, A::Error> {
        let inside = self.inside()?;
        let mut members: Vec<(Cow<'de, str>, Json<'de>)> = Vec::new();
        while let Some(name) = map.next_key_seed(Name)? {
            let few = members.len() < PAIRWISE_MEMBERS_MAX;
            if few && members.iter().any(|(other, _)| *other == name) {
                return self.refuse(JsonError::DuplicateMember(quoted(&name)));
            }
            let value = map.next_value_seed(inside)?;
            if members.is_empty() {
                members.reserve(MEMBERS_RESERVED);
            }
            members.push((name, value));
        }
        if members.len() > PAIRWISE_MEMBERS_MAX
            && let Some(name) = name_that_occurs_twice(&members)
        {
            return self.refuse(JsonError::DuplicateMember(quoted(name)));
        }
        Ok(Json::Object(members))
    }
}

fn name_that_occurs_twice<'m>(members: &'m [(Cow<'_, str>, Json<'_>)]) -> Option<&'m str> {
    let mut names: Vec<&str> = members.iter().map(|(name, _)| name.as_ref()).collect();
    names.sort_unstable();
    names.array_windows().find(|[a, b]| a == b).map(|[name, _]| *name)
}

/// Reads a member's name, borrowed where it has no escapes.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;

    fn deserialize<D: serde::Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member's name")
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(value.to_owned()))
    }
}
