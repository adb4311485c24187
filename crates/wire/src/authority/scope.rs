//! RFC 6749 section 3.3: access token scope, where every scope token is `resource:action`.
//!
//! Stricter than the standard in what a token may be, so that an up-scoped request cannot hide
//! behind a second spelling: no wildcard, no prefix match, no Unicode, no duplicate. Every
//! [`Scope`] is within the bounds, so each has a text that parses back to it.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{ACTION_NAME_BYTES_MAX, ActionName, NameError, RESOURCE_NAME_BYTES_MAX, ResourceName};

/// The most scope tokens in one scope. A token's `scope` speaks of one audience, so this is the
/// most Actions of one Resource that one token can carry.
pub const SCOPE_TOKENS_MAX: usize = 64;

/// The longest scope, in bytes of its text.
pub const SCOPE_BYTES_MAX: usize = 2048;

/// One scope token, `resource:action`. Neither name can hold a colon.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ScopeToken {
    /// The Resource.
    pub resource: ResourceName,
    /// What may be done there.
    pub action: ActionName,
}

impl ScopeToken {
    fn len(&self) -> usize {
        self.resource.as_str().len() + 1 + self.action.as_str().len()
    }
}

impl fmt::Display for ScopeToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.resource, self.action)
    }
}

impl fmt::Debug for ScopeToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ScopeToken {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let (resource, action) = text.split_once(':').ok_or(NameError::Action)?;
        Ok(Self { resource: resource.parse()?, action: action.parse()? })
    }
}

/// Why a text is not a scope, or a set too large for one. In OAuth, `invalid_scope`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScopeError {
    /// There is no scope token.
    Empty,
    /// The text is longer than [`SCOPE_BYTES_MAX`].
    TooLong,
    /// There are more than [`SCOPE_TOKENS_MAX`] scope tokens.
    TooMany,
    /// A byte outside %x20-21 / %x23-5B / %x5D-7E: a tab, a newline, a quote, anything not ASCII.
    Charset,
    /// Scope tokens must be separated by exactly one space, with none at either end.
    Spaces,
    /// This is not `resource:action`. Holds at most as many bytes as a scope token can have.
    NotAToken(String),
    /// This scope token stands twice.
    Duplicate(ScopeToken),
}

impl fmt::Display for ScopeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the scope is empty"),
            Self::TooLong => write!(f, "the scope is longer than {SCOPE_BYTES_MAX} bytes"),
            Self::TooMany => write!(f, "the scope has more than {SCOPE_TOKENS_MAX} tokens"),
            Self::Charset => f.write_str(
                "the scope has a character that scopes cannot have: only printable ASCII without \
                 quotes and backslashes, separated by single spaces",
            ),
            Self::Spaces => f.write_str("scope tokens are separated by exactly one space"),
            Self::NotAToken(text) => write!(
                f,
                "`{text}` is not a scope token: each is `resource:action`, and there are no \
                 wildcards"
            ),
            Self::Duplicate(token) => write!(f, "the scope names `{token}` twice"),
        }
    }
}

impl std::error::Error for ScopeError {}

/// A set of scope tokens, sorted, within [`SCOPE_TOKENS_MAX`] and [`SCOPE_BYTES_MAX`].
///
/// The empty one is a value but has no text: a `scope` member that would be empty is left out.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Scope(BTreeSet<ScopeToken>);

impl Scope {
    /// The scope of these tokens; a token given twice counts once.
    pub fn new(tokens: impl IntoIterator<Item = ScopeToken>) -> Result<Self, ScopeError> {
        let mut set = BTreeSet::new();
        let mut bytes = 0;
        for token in tokens {
            let len = token.len();
            if set.insert(token) {
                bytes += len + 1;
            }
            if set.len() > SCOPE_TOKENS_MAX {
                return Err(ScopeError::TooMany);
            }
        }
        if bytes > SCOPE_BYTES_MAX + 1 {
            return Err(ScopeError::TooLong);
        }
        Ok(Self(set))
    }

    /// The tokens in order.
    pub fn tokens(&self) -> impl Iterator<Item = &ScopeToken> {
        self.0.iter()
    }

    /// How many tokens there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this token is in it, exactly.
    pub fn contains(&self, token: &ScopeToken) -> bool {
        self.0.contains(token)
    }

    /// Whether every token is in `other` too.
    pub fn is_subset(&self, other: &Self) -> bool {
        self.0.is_subset(&other.0)
    }

    /// What is in both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        Self(self.0.intersection(&other.0).cloned().collect())
    }

    /// What it says of one Resource.
    #[must_use]
    pub fn at(&self, resource: &ResourceName) -> Self {
        Self(self.0.iter().filter(|token| token.resource == *resource).cloned().collect())
    }

    /// The Resources it names.
    pub fn resources(&self) -> BTreeSet<&ResourceName> {
        self.0.iter().map(|token| &token.resource).collect()
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, token) in self.0.iter().enumerate() {
            let space = if index == 0 { "" } else { " " };
            write!(f, "{space}{token}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{self}`")
    }
}

impl FromStr for Scope {
    type Err = ScopeError;

    /// RFC 6749 section 3.3: `scope = scope-token *( SP scope-token )`,
    /// `scope-token = 1*( %x21 / %x23-5B / %x5D-7E )`.
    fn from_str(text: &str) -> Result<Self, ScopeError> {
        if text.is_empty() {
            return Err(ScopeError::Empty);
        }
        if text.len() > SCOPE_BYTES_MAX {
            return Err(ScopeError::TooLong);
        }
        if !text.bytes().all(|byte| matches!(byte, 0x20..=0x21 | 0x23..=0x5b | 0x5d..=0x7e)) {
            return Err(ScopeError::Charset);
        }
        let mut set = BTreeSet::new();
        for piece in text.split(' ') {
            if piece.is_empty() {
                return Err(ScopeError::Spaces);
            }
            if set.len() == SCOPE_TOKENS_MAX {
                return Err(ScopeError::TooMany);
            }
            let token: ScopeToken = piece.parse().map_err(|_| not_a_token(piece))?;
            if !set.insert(token.clone()) {
                return Err(ScopeError::Duplicate(token));
            }
        }
        Ok(Self(set))
    }
}

fn not_a_token(piece: &str) -> ScopeError {
    let len_max = RESOURCE_NAME_BYTES_MAX + 1 + ACTION_NAME_BYTES_MAX;
    ScopeError::NotAToken(piece.chars().take(len_max).collect())
}

impl Serialize for Scope {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Scope {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
