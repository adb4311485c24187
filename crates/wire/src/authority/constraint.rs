//! A constraint on one argument: the set of values that it may have.
//!
//! There are three shapes, each in one normal form, so that two constraints that allow the same
//! are equal: some values; all texts with a prefix; all integers of a range. The meet of any two
//! is one of the three or empty, exactly: nothing is lost and nothing approximated. Numbers are
//! integers; a decimal number is of no constraint.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use serde::de::Error as _;
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::arguments::{VALUE_BYTES_MAX, Value};
use super::read::{bounded, present};
use crate::token::INTEGER_MAX;

/// The most values of one constraint.
pub const VALUES_MAX: usize = 32;

/// Which values an argument may have. Never empty.
///
/// As JSON, one of `{"equals":v}`, `{"one_of":[v,…]}`, `{"prefix":"text"}`, `{"min":1,"max":9}`
/// with at least one of the two. An unknown member is refused: unknown means no.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Constraint(pub(crate) Shape);

/// The normal forms. Integers that follow each other without a gap are a range; a range of one is
/// a value.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Shape {
    /// 1 to [`VALUES_MAX`] values.
    Values(BTreeSet<Value>),
    /// Texts that begin so.
    Prefix(Arc<str>),
    /// Integers from and to, both included. Not both are open.
    Range(Option<i64>, Option<i64>),
}

/// Why something is not a constraint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConstraintError {
    /// There is no value that it would allow.
    Empty,
    /// More than [`VALUES_MAX`] values.
    TooManyValues,
    /// A text is longer than [`VALUE_BYTES_MAX`] or has control characters, or a number has more
    /// than 53 bits.
    Value,
    /// A range without an end, or not exactly one kind of constraint.
    Kind,
}

impl fmt::Display for ConstraintError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the constraint allows no value: leave the permission out"),
            Self::TooManyValues => write!(f, "a constraint has at most {VALUES_MAX} values"),
            Self::Value => write!(
                f,
                "a constraint's values are texts of at most {VALUE_BYTES_MAX} bytes without \
                 control characters, and integers of at most 53 bits"
            ),
            Self::Kind => f.write_str(
                "a constraint is exactly one of `equals`, `one_of`, `prefix`, and `min` with `max`",
            ),
        }
    }
}

impl std::error::Error for ConstraintError {}

impl Constraint {
    /// Exactly this value.
    pub fn equals(value: impl Into<Value>) -> Result<Self, ConstraintError> {
        Self::one_of([value.into()])
    }

    /// One of these values.
    pub fn one_of(values: impl IntoIterator<Item = Value>) -> Result<Self, ConstraintError> {
        let mut set = BTreeSet::new();
        for value in values {
            if !value.can_be_named() {
                return Err(ConstraintError::Value);
            }
            set.insert(value);
            if set.len() > VALUES_MAX {
                return Err(ConstraintError::TooManyValues);
            }
        }
        Self::of_values(set).ok_or(ConstraintError::Empty)
    }

    /// Texts that begin with `prefix`.
    pub fn prefix(prefix: &str) -> Result<Self, ConstraintError> {
        let value = Value::from(prefix);
        match value {
            Value::Text(text) if Value::from(&*text).can_be_named() => {
                Ok(Self(Shape::Prefix(text)))
            }
            Value::Text(_) | Value::Integer(_) => Err(ConstraintError::Value),
        }
    }

    /// Integers from `min` to `max`, both included; at least one is given.
    pub fn range(min: Option<i64>, max: Option<i64>) -> Result<Self, ConstraintError> {
        let ends = [min, max].into_iter().flatten();
        if ends.clone().next().is_none() {
            return Err(ConstraintError::Kind);
        }
        if !ends.into_iter().all(|end| (-INTEGER_MAX..=INTEGER_MAX).contains(&end)) {
            return Err(ConstraintError::Value);
        }
        Self::of_range(min, max).ok_or(ConstraintError::Empty)
    }

    /// Integers up to `max`.
    pub fn at_most(max: i64) -> Result<Self, ConstraintError> {
        Self::range(None, Some(max))
    }

    /// Whether an argument may have this value.
    pub fn allows(&self, value: &Value) -> bool {
        match (&self.0, value) {
            (Shape::Values(values), value) => values.contains(value),
            (Shape::Prefix(prefix), Value::Text(text)) => text.starts_with(&**prefix),
            (Shape::Range(min, max), Value::Integer(number)) => {
                min.is_none_or(|min| min <= *number) && max.is_none_or(|max| *number <= max)
            }
            (Shape::Prefix(_), Value::Integer(_)) | (Shape::Range(..), Value::Text(_)) => false,
        }
    }

    /// Whether every value of `other` is allowed here.
    pub fn covers(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (_, Shape::Values(values)) => values.iter().all(|value| self.allows(value)),
            (Shape::Prefix(own), Shape::Prefix(theirs)) => theirs.starts_with(&**own),
            (Shape::Range(min, max), Shape::Range(from, to)) => {
                min.is_none_or(|min| from.is_some_and(|from| min <= from))
                    && max.is_none_or(|max| to.is_some_and(|to| to <= max))
            }
            (Shape::Values(values), Shape::Range(Some(from), Some(to))) => {
                to.saturating_sub(*from) < VALUES_MAX as i64
                    && (*from..=*to).all(|number| values.contains(&Value::Integer(number)))
            }
            (Shape::Values(_), Shape::Range(..) | Shape::Prefix(_))
            | (Shape::Prefix(_), Shape::Range(..))
            | (Shape::Range(..), Shape::Prefix(_)) => false,
        }
    }

    /// The values that both allow; none where there is no such value.
    #[must_use]
    pub fn meet(&self, other: &Self) -> Option<Self> {
        match (&self.0, &other.0) {
            (Shape::Values(values), _) => Self::of_values(
                values.iter().filter(|value| other.allows(value)).cloned().collect(),
            ),
            (_, Shape::Values(_)) => other.meet(self),
            (Shape::Prefix(own), Shape::Prefix(theirs)) => {
                let (short, long) =
                    if own.len() < theirs.len() { (own, theirs) } else { (theirs, own) };
                long.starts_with(&**short).then(|| Self(Shape::Prefix(Arc::clone(long))))
            }
            (Shape::Range(min, max), Shape::Range(from, to)) => {
                let min = [*min, *from].into_iter().flatten().max();
                let max = [*max, *to].into_iter().flatten().min();
                Self::of_range(min, max)
            }
            (Shape::Prefix(_), Shape::Range(..)) | (Shape::Range(..), Shape::Prefix(_)) => None,
        }
    }

    /// Bytes of its values, by which limits are bounded.
    pub(super) fn bytes(&self) -> usize {
        match &self.0 {
            Shape::Values(values) => values
                .iter()
                .map(|value| match value {
                    Value::Integer(_) => size_of::<i64>(),
                    Value::Text(text) => text.len() + 1,
                })
                .sum(),
            Shape::Prefix(prefix) => prefix.len() + 1,
            Shape::Range(..) => 2 * size_of::<i64>(),
        }
    }

    fn of_values(values: BTreeSet<Value>) -> Option<Self> {
        let ends = (values.first()?, values.last()?);
        if let (Value::Integer(from), Value::Integer(to)) = ends
            && values.len() > 1
            && to.saturating_sub(*from) == values.len() as i64 - 1
        {
            return Some(Self(Shape::Range(Some(*from), Some(*to))));
        }
        Some(Self(Shape::Values(values)))
    }

    fn of_range(min: Option<i64>, max: Option<i64>) -> Option<Self> {
        match (min, max) {
            (Some(min), Some(max)) if min > max => None,
            (Some(min), Some(max)) if min == max => {
                Some(Self(Shape::Values(BTreeSet::from([Value::Integer(min)]))))
            }
            _ => Some(Self(Shape::Range(min, max))),
        }
    }
}

impl Serialize for Constraint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match &self.0 {
            Shape::Values(values) => match (values.len(), values.first()) {
                (1, Some(value)) => map.serialize_entry("equals", value)?,
                _ => map.serialize_entry("one_of", values)?,
            },
            Shape::Prefix(prefix) => map.serialize_entry("prefix", &**prefix)?,
            Shape::Range(min, max) => {
                if let Some(min) = min {
                    map.serialize_entry("min", min)?;
                }
                if let Some(max) = max {
                    map.serialize_entry("max", max)?;
                }
            }
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Constraint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Members {
            #[serde(default, deserialize_with = "present")]
            equals: Option<Value>,
            #[serde(default, deserialize_with = "values")]
            one_of: Option<Vec<Value>>,
            #[serde(default, deserialize_with = "present")]
            prefix: Option<String>,
            #[serde(default, deserialize_with = "present")]
            min: Option<i64>,
            #[serde(default, deserialize_with = "present")]
            max: Option<i64>,
        }

        let members = Members::deserialize(deserializer)?;
        let constraint = match members {
            Members { equals: Some(value), one_of: None, prefix: None, min: None, max: None } => {
                Self::equals(value)
            }
            Members { equals: None, one_of: Some(values), prefix: None, min: None, max: None } => {
                Self::one_of(values)
            }
            Members { equals: None, one_of: None, prefix: Some(text), min: None, max: None } => {
                Self::prefix(&text)
            }
            Members { equals: None, one_of: None, prefix: None, min, max } => Self::range(min, max),
            _ => Err(ConstraintError::Kind),
        };
        constraint.map_err(D::Error::custom)
    }
}

fn values<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<Value>>, D::Error> {
    bounded(deserializer, VALUES_MAX).map(Some)
}
