//! The text of a permission, as people write it: `crm:update(/customers/eu/*; amount<=100)`.
//!
//! In the words of RFC 5234:
//!
//! ```text
//! permission = resource ":" action [ "(" limit *( ";" limit ) ")" ]
//! limit      = pattern                            ; at most once
//!            / name "=" value
//!            / name "<=" integer / name ">=" integer
//!            / name "in" integer ".." integer     ; both included
//!            / name "in" value *( "," value )
//!            / name "starts" value                ; a text that begins so
//!            / "from" time / "until" time         ; RFC 3339, whole seconds in UTC, included
//! value      = integer / word / string            ; a word has no ".."
//! word       = ( ALPHA / "_" ) *( ALPHA / DIGIT / "_" / "." / ":" / "@" / "/" / "+" / "-" )
//! string     = JSON string                        ; whatever is no word, and digits as a text
//! ```
//!
//! White space may stand around every part of a limit. Each limit stands once: what is said twice
//! is refused, not combined.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use super::arguments::Value;
use super::constraint::{Constraint, ConstraintError, Shape};
use super::limits::{LIMITS_BYTES_MAX, Limits, LimitsError};
use super::{
    ArgumentName, Authority, NameError, ObjectPattern, PatternError, Permission, ScopeToken,
};
use crate::time::Time;
use crate::token::push_string;

/// The longest text of a permission, in bytes: room for the largest limits with everything quoted.
pub const PERMISSION_TEXT_BYTES_MAX: usize = 4 * LIMITS_BYTES_MAX;

/// Why a text is not a permission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PermissionTextError {
    /// Longer than [`PERMISSION_TEXT_BYTES_MAX`].
    TooLong,
    /// What stands before the limits is not `resource:action`.
    Token(NameError),
    /// At this byte something else is expected.
    Expected(usize, &'static str),
    /// The pattern is not one.
    Pattern(PatternError),
    /// What stands for an argument is not the name of one.
    Name(NameError),
    /// The constraint at this byte is not one.
    Constraint(usize, ConstraintError),
    /// This limit stands twice: the name of an argument, or what it is.
    Twice(String),
    /// The limits, together, are not well formed.
    Limits(LimitsError),
}

impl fmt::Display for PermissionTextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => {
                write!(f, "a permission is written in at most {PERMISSION_TEXT_BYTES_MAX} bytes")
            }
            Self::Token(error) | Self::Name(error) => fmt::Display::fmt(error, f),
            Self::Expected(at, what) => write!(f, "expected {what} at character {}", at + 1),
            Self::Pattern(error) => fmt::Display::fmt(error, f),
            Self::Constraint(at, error) => write!(f, "at character {}: {error}", at + 1),
            Self::Twice(what) => write!(f, "`{what}` is limited twice"),
            Self::Limits(error) => fmt::Display::fmt(error, f),
        }
    }
}

impl std::error::Error for PermissionTextError {}

impl Authority {
    /// The texts of all that is allowed, one for each action, in canonical order.
    pub fn texts(&self) -> impl Iterator<Item = String> {
        self.permissions().iter().flat_map(Permission::texts)
    }
}

impl Permission {
    /// The texts of it, one for each action.
    pub fn texts(&self) -> impl Iterator<Item = String> {
        let limits = self.limits.as_ref().map_or_else(String::new, |limits| format!("({limits})"));
        self.actions.iter().map(move |action| format!("{}:{action}{limits}", self.resource))
    }
}

impl FromStr for Permission {
    type Err = PermissionTextError;

    /// Reads the text of one action.
    fn from_str(text: &str) -> Result<Self, PermissionTextError> {
        if text.len() > PERMISSION_TEXT_BYTES_MAX {
            return Err(PermissionTextError::TooLong);
        }
        let (head, limits) = match text.find('(') {
            None => (text, Limits::default()),
            Some(at) => {
                let body = text.strip_suffix(')').filter(|body| body.len() > at);
                let body = body.ok_or(PermissionTextError::Expected(text.len(), "`)`"))?;
                (&text[..at], Reader { text: body, at: at + 1 }.limits()?)
            }
        };
        let token: ScopeToken = head.parse().map_err(PermissionTextError::Token)?;
        Ok(Self::limited(token.resource, BTreeSet::from([token.action]), limits))
    }
}

impl fmt::Display for Limits {
    /// As it stands in parentheses behind an action; empty where there is no limit.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut first = true;
        let mut separate = |f: &mut fmt::Formatter<'_>| {
            f.write_str(if std::mem::take(&mut first) { "" } else { "; " })
        };
        if let Some(object) = &self.object {
            separate(f)?;
            write!(f, "{object}")?;
        }
        for (name, constraint) in &self.constraints {
            separate(f)?;
            write!(f, "{name}{constraint}")?;
        }
        for (word, second) in [("from", self.window.not_before), ("until", self.window.not_after)] {
            if let Some(second) = second {
                separate(f)?;
                write!(f, "{word} {}", Time::from_seconds(second))?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Constraint {
    /// As it stands behind the name of an argument.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Shape::Values(values) => {
                let several = values.len() > 1;
                f.write_str(if several { " in " } else { "=" })?;
                for (index, value) in values.iter().enumerate() {
                    f.write_str(if index == 0 { "" } else { "," })?;
                    write_value(f, value)?;
                }
                Ok(())
            }
            Shape::Prefix(prefix) => {
                f.write_str(" starts ")?;
                write_value(f, &Value::Text(prefix.clone()))
            }
            Shape::Range(None, None) => Ok(()),
            Shape::Range(Some(min), None) => write!(f, ">={min}"),
            Shape::Range(None, Some(max)) => write!(f, "<={max}"),
            Shape::Range(Some(min), Some(max)) => write!(f, " in {min}..{max}"),
        }
    }
}

fn write_value(f: &mut fmt::Formatter<'_>, value: &Value) -> fmt::Result {
    match value {
        Value::Integer(number) => write!(f, "{number}"),
        Value::Text(text) if is_word(text) => f.write_str(text),
        Value::Text(text) => {
            let mut quoted = String::with_capacity(text.len() + 2);
            push_string(&mut quoted, text);
            f.write_str(&quoted)
        }
    }
}

fn starts_word(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_'
}

fn in_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b':' | b'@' | b'/' | b'+' | b'-')
}

fn is_word(text: &str) -> bool {
    text.bytes().next().is_some_and(starts_word)
        && text.bytes().all(in_word)
        && !text.contains("..")
}

/// Reads limits; `at` is a byte of `text`, always between two characters.
struct Reader<'t> {
    text: &'t str,
    at: usize,
}

impl Reader<'_> {
    fn limits(mut self) -> Result<Limits, PermissionTextError> {
        let mut object = None;
        let mut constraints = BTreeMap::new();
        let mut window = (None, None);
        loop {
            self.space();
            if self.peek() == Some(b'/') {
                let text = self.take(|byte| byte != b';' && !byte.is_ascii_whitespace());
                let pattern = ObjectPattern::new(text).map_err(PermissionTextError::Pattern)?;
                once(object.replace(pattern).is_none(), || "object".to_owned())?;
            } else {
                self.named(&mut constraints, &mut window)?;
            }
            self.space();
            match self.peek() {
                None => break,
                Some(b';') => self.at += 1,
                Some(_) => return Err(self.expected("`;` or `)`")),
            }
        }
        Limits::new(object, constraints, window).map_err(PermissionTextError::Limits)
    }

    /// A limit that begins with a word: the name of an argument, or an end of the window.
    fn named(
        &mut self,
        constraints: &mut BTreeMap<ArgumentName, Constraint>,
        window: &mut (Option<i64>, Option<i64>),
    ) -> Result<(), PermissionTextError> {
        let word = self.take(|byte| starts_word(byte) || byte.is_ascii_digit() || byte == b'-');
        if word.is_empty() {
            return Err(self.expected("an object pattern, an argument, `from` or `until`"));
        }
        let word = word.to_owned();
        self.space();
        let is_time = self.peek().is_some_and(|byte| byte.is_ascii_digit());
        if is_time && (word == "from" || word == "until") {
            let second = Some(self.second()?);
            let end = if word == "from" { &mut window.0 } else { &mut window.1 };
            return once(std::mem::replace(end, second).is_none(), || word);
        }
        let name = ArgumentName::new(&word).map_err(PermissionTextError::Name)?;
        let constraint = self.constraint()?;
        once(constraints.insert(name, constraint).is_none(), || word)
    }

    fn constraint(&mut self) -> Result<Constraint, PermissionTextError> {
        let at = self.at;
        let constraint = if self.skip("<=") {
            Constraint::range(None, Some(self.number()?))
        } else if self.skip(">=") {
            Constraint::range(Some(self.number()?), None)
        } else if self.skip("=") {
            Constraint::equals(self.value()?)
        } else if self.skip_word("in") {
            match self.value()? {
                Value::Integer(min) if self.skip("..") => {
                    Constraint::range(Some(min), Some(self.number()?))
                }
                first => Constraint::one_of(self.values(first)?),
            }
        } else if self.skip_word("starts") {
            match self.value()? {
                Value::Text(prefix) => Constraint::prefix(&prefix),
                Value::Integer(_) => return Err(self.expected("a text in quotes")),
            }
        } else {
            return Err(self.expected("`=`, `<=`, `>=`, `in` or `starts`"));
        };
        constraint.map_err(|error| PermissionTextError::Constraint(at, error))
    }

    /// The values of a list of which one was read.
    fn values(&mut self, first: Value) -> Result<Vec<Value>, PermissionTextError> {
        let mut values = vec![first];
        loop {
            self.space();
            if !self.skip(",") {
                return Ok(values);
            }
            values.push(self.value()?);
        }
    }

    fn number(&mut self) -> Result<i64, PermissionTextError> {
        match self.value()? {
            Value::Integer(number) => Ok(number),
            Value::Text(_) => Err(self.expected("an integer")),
        }
    }

    fn value(&mut self) -> Result<Value, PermissionTextError> {
        self.space();
        match self.peek() {
            Some(b'"') => self.string().map(|text| Value::from(&*text)),
            Some(byte) if starts_word(byte) => {
                let at = self.at;
                let word = self.take(in_word);
                // It would read as a range.
                let is_one = is_word(word).then(|| Value::from(word));
                is_one.ok_or(PermissionTextError::Expected(at, "a word without `..`"))
            }
            Some(byte) if byte.is_ascii_digit() || byte == b'-' => {
                let at = self.at;
                let digits = self.take(|byte| byte.is_ascii_digit() || byte == b'-');
                let number = digits.parse::<i64>().ok();
                // One spelling: no leading zeros, no `-0`.
                let number = number.filter(|number| number.to_string() == digits);
                number.map(Value::Integer).ok_or(PermissionTextError::Expected(at, "an integer"))
            }
            _ => Err(self.expected("a value: an integer, a word, or a text in quotes")),
        }
    }

    /// A JSON string.
    fn string(&mut self) -> Result<String, PermissionTextError> {
        let from = self.at;
        let mut escaped = false;
        let inner = self.text.as_bytes().iter().skip(from + 1);
        let len = inner.take_while(|byte| {
            let ends = **byte == b'"' && !escaped;
            escaped = **byte == b'\\' && !escaped;
            !ends
        });
        let to = from + 1 + len.count() + 1;
        let quoted = self.text.get(from..to).unwrap_or_default();
        let text = serde_json::from_str(quoted);
        let text = text.map_err(|_| PermissionTextError::Expected(from, "a text in quotes"))?;
        self.at = to;
        Ok(text)
    }

    fn second(&mut self) -> Result<i64, PermissionTextError> {
        let at = self.at;
        let text = self.take(|byte| byte != b';' && !byte.is_ascii_whitespace());
        let time = text.parse::<Time>().ok();
        // One spelling, which has whole seconds of UTC.
        let time = time.filter(|time| time.to_string() == text && time.micros() % 1_000_000 == 0);
        time.map(Time::seconds)
            .ok_or(PermissionTextError::Expected(at, "a time such as `2030-01-31T00:00:00Z`"))
    }

    fn expected(&self, what: &'static str) -> PermissionTextError {
        PermissionTextError::Expected(self.at, what)
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        self.take(|byte| byte == b' ');
    }

    /// What follows as long as its bytes are such. Stops before the first byte of no ASCII.
    fn take(&mut self, is_such: impl Fn(u8) -> bool) -> &str {
        let from = self.at;
        let rest = self.text.as_bytes().get(from..).unwrap_or_default();
        self.at += rest.iter().take_while(|byte| byte.is_ascii() && is_such(**byte)).count();
        self.text.get(from..self.at).unwrap_or_default()
    }

    fn skip(&mut self, sign: &str) -> bool {
        let is_next = self.text.get(self.at..).is_some_and(|rest| rest.starts_with(sign));
        self.at += if is_next { sign.len() } else { 0 };
        is_next
    }

    /// A word of the grammar, which is not the beginning of a longer one.
    fn skip_word(&mut self, word: &str) -> bool {
        let from = self.at;
        let ends = self.skip(word) && !self.peek().is_some_and(in_word);
        self.at = if ends { self.at } else { from };
        ends
    }
}

fn once(is_first: bool, what: impl FnOnce() -> String) -> Result<(), PermissionTextError> {
    if is_first { Ok(()) } else { Err(PermissionTextError::Twice(what())) }
}
