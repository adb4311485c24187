//! What an action is done with: the named arguments of a request, as constraints look at them.
//!
//! A value is a text or an integer. Whatever else an argument may be (a decimal number, a truth
//! value, null, a list, an object) is there and equals nothing: a constraint on it says no. Amounts
//! are integers of the smallest unit, such as cents: no two readers see two numbers in one.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::NameError;
use crate::json::Json;
use crate::token::INTEGER_MAX;

/// The longest name of an argument that can be constrained, in bytes.
pub const ARGUMENT_NAME_BYTES_MAX: usize = 64;

/// The longest text in a constraint, in bytes.
pub const VALUE_BYTES_MAX: usize = 256;

/// A text or an integer. Sorted: integers first.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Value {
    /// An integer.
    Integer(i64),
    /// A text, compared as bytes.
    Text(Arc<str>),
}

impl Value {
    /// Whether a constraint can name it: a text within [`VALUE_BYTES_MAX`] without control
    /// characters, or an integer that is exact in every reader of JSON (RFC 7493 section 2.2).
    pub(super) fn can_be_named(&self) -> bool {
        match self {
            Self::Integer(number) => (-INTEGER_MAX..=INTEGER_MAX).contains(number),
            Self::Text(text) => {
                text.len() <= VALUE_BYTES_MAX && !text.chars().any(char::is_control)
            }
        }
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Integer(number) => serializer.serialize_i64(*number),
            Self::Text(text) => serializer.serialize_str(text),
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reads;

        impl Visitor<'_> for Reads {
            type Value = Value;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or an integer (amounts in the smallest unit)")
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Value, E> {
                Ok(Value::Integer(number))
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Value, E> {
                let fits = i64::try_from(number).map(Value::Integer);
                fits.map_err(|_| E::invalid_value(Unexpected::Unsigned(number), &self))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
                Ok(Value::from(text))
            }
        }

        deserializer.deserialize_any(Reads)
    }
}

/// The name of an argument that is constrained: `[A-Za-z_][A-Za-z0-9_-]{0,63}`. Case-sensitive.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ArgumentName(Arc<str>);

impl ArgumentName {
    /// The name in this text, which must be one as it stands.
    pub fn new(text: &str) -> Result<Self, NameError> {
        let letter = |byte: &u8| byte.is_ascii_alphabetic() || *byte == b'_';
        let is_one = text.len() <= ARGUMENT_NAME_BYTES_MAX
            && text.as_bytes().first().is_some_and(letter)
            && text.bytes().all(|byte| letter(&byte) || byte.is_ascii_digit() || byte == b'-');
        if is_one { Ok(Self(Arc::from(text))) } else { Err(NameError::Argument) }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ArgumentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ArgumentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for ArgumentName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ArgumentName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        Self::new(&text).map_err(D::Error::custom)
    }
}

/// The arguments of one request. A name that is given twice has no value that could be allowed.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Arguments(BTreeMap<String, Option<Value>>);

impl Arguments {
    /// No arguments.
    pub const fn none() -> Self {
        Self(BTreeMap::new())
    }

    /// The same with a text.
    #[must_use]
    pub fn text(self, name: &str, text: &str) -> Self {
        self.with(name, Some(text.into()))
    }

    /// The same with an integer.
    #[must_use]
    pub fn integer(self, name: &str, number: i64) -> Self {
        self.with(name, Some(number.into()))
    }

    /// The members of a JSON object, which must be one. Only those at its top can be constrained.
    pub fn from_json(json: &Json<'_>) -> Option<Self> {
        let members = json.as_object()?.iter().map(|(name, value)| {
            let value = match value {
                Json::Integer(number) => Some(Value::Integer(*number)),
                Json::String(text) => Some(Value::from(&**text)),
                Json::Null | Json::Bool(_) | Json::Float(_) | Json::Array(_) | Json::Object(_) => {
                    None
                }
            };
            (name.as_ref().to_owned(), value)
        });
        Some(Self(members.collect()))
    }

    /// The members of a JSON object that was read already. Prefer [`Self::from_json`]: this reader
    /// cannot tell any more whether a name stood there twice.
    pub fn from_members(members: &serde_json::Map<String, serde_json::Value>) -> Self {
        let members = members.iter().map(|(name, value)| {
            let number = value.as_i64().map(Value::Integer);
            (name.clone(), number.or_else(|| value.as_str().map(Value::from)))
        });
        Self(members.collect())
    }

    /// The value of `name`, where it is there once and a text or an integer.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)?.as_ref()
    }

    /// Whether `name` is there, whatever it is.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Those that are there once and a text or an integer, by their names.
    #[cfg_attr(not(feature = "biscuit"), expect(dead_code, reason = "only Datalog asks for all"))]
    pub(crate) fn values(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().filter_map(|(name, value)| Some((name.as_str(), value.as_ref()?)))
    }

    fn with(mut self, name: &str, value: Option<Value>) -> Self {
        let value = if self.has(name) { None } else { value };
        self.0.insert(name.to_owned(), value);
        self
    }
}
