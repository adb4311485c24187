//! Names of Resources and Actions: short ASCII, compared as bytes.
//!
//! They are cheap to clone, since the same few names stand in very many permissions.

use std::borrow::{Borrow, Cow};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::arguments::ARGUMENT_NAME_BYTES_MAX;

/// The longest name of a Resource, in bytes.
pub const RESOURCE_NAME_BYTES_MAX: usize = 63;

/// The longest name of an Action, in bytes.
pub const ACTION_NAME_BYTES_MAX: usize = 64;

/// Why a text is not a name. It says what a name is and does not repeat the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameError {
    /// Not the name of a Resource.
    Resource,
    /// Not the name of an Action.
    Action,
    /// Not the name of an argument that can be constrained.
    Argument,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resource => write!(
                f,
                "expected a resource name: 1 to {RESOURCE_NAME_BYTES_MAX} of `a-z 0-9 . _ -`, \
                 first a letter or digit"
            ),
            Self::Action => write!(
                f,
                "expected an action name: 1 to {ACTION_NAME_BYTES_MAX} of `A-Z a-z 0-9 . _ -`, \
                 first a letter or digit"
            ),
            Self::Argument => write!(
                f,
                "expected the name of an argument: 1 to {ARGUMENT_NAME_BYTES_MAX} of \
                 `A-Z a-z 0-9 _ -`, first a letter or `_`"
            ),
        }
    }
}

impl std::error::Error for NameError {}

fn is_resource_name(text: &str) -> bool {
    let letter = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    text.len() <= RESOURCE_NAME_BYTES_MAX
        && text.as_bytes().first().is_some_and(letter)
        && text.bytes().all(|byte| letter(&byte) || matches!(byte, b'.' | b'_' | b'-'))
}

fn is_action_name(text: &str) -> bool {
    text.len() <= ACTION_NAME_BYTES_MAX
        && text.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric)
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

macro_rules! name {
    ($name:ident, $check:ident, $error:ident, $what:literal) => {
        #[doc = $what]
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name in this text, which must be one as it stands: nothing is trimmed or
            /// folded.
            pub fn new(text: &str) -> Result<Self, NameError> {
                if $check(text) { Ok(Self(Arc::from(text))) } else { Err(NameError::$error) }
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = Cow::<str>::deserialize(deserializer)?;
                Self::new(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

name!(
    ResourceName,
    is_resource_name,
    Resource,
    "The name of a Resource: `[a-z0-9][a-z0-9._-]{0,62}`. Immutable and never reused."
);
name!(
    ActionName,
    is_action_name,
    Action,
    "The name of an Action of a Resource, such as an MCP tool: `[A-Za-z0-9][A-Za-z0-9._-]{0,63}`. \
     Case-sensitive: tools are named by others, and `Get` and `get` may be two of them."
);
