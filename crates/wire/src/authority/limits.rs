//! Limits of a permission: which objects, which arguments, and when. Together they are one term of
//! the lattice: the product of three sets, each of which meets exactly.

use std::collections::BTreeMap;
use std::fmt;

use super::arguments::{ARGUMENT_NAME_BYTES_MAX, ArgumentName, Arguments};
use super::constraint::Constraint;
use super::object::ObjectPattern;
use crate::time::Time;

/// The most arguments that one permission constrains.
pub const CONSTRAINTS_MAX: usize = 16;

/// The most bytes of the names and values in the limits of one permission: they travel in headers.
pub const LIMITS_BYTES_MAX: usize = 2048;

/// The last second that a window can name, in year 9998: every reader of times knows it.
pub const WINDOW_SECONDS_MAX: i64 = 253_370_764_799;

const _: () = assert!(CONSTRAINTS_MAX * (ARGUMENT_NAME_BYTES_MAX + 1) < LIMITS_BYTES_MAX);

/// When: from `not_before` to `not_after`, seconds of Unix time, both seconds included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub(super) struct Window {
    pub(super) not_before: Option<i64>,
    pub(super) not_after: Option<i64>,
}

/// What a permission is limited to. The default is no limit: any object or none, any arguments,
/// at any time.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Limits {
    pub(super) object: Option<ObjectPattern>,
    pub(super) constraints: BTreeMap<ArgumentName, Constraint>,
    pub(super) window: Window,
}

/// Why limits are not well formed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitsError {
    /// More than [`CONSTRAINTS_MAX`] arguments.
    TooManyConstraints,
    /// More than [`LIMITS_BYTES_MAX`] bytes.
    TooLong,
    /// The window ends before it begins, or a time is not one of years 1970 to 9998.
    Window,
}

impl fmt::Display for LimitsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooManyConstraints => {
                write!(f, "a permission constrains at most {CONSTRAINTS_MAX} arguments")
            }
            Self::TooLong => write!(
                f,
                "the names and values in the limits of a permission have at most \
                 {LIMITS_BYTES_MAX} bytes"
            ),
            Self::Window => f.write_str(
                "a permission's time window is in seconds of Unix time and ends after it begins",
            ),
        }
    }
}

impl std::error::Error for LimitsError {}

/// Why limits do not allow what was asked. It names what was looked at and never what is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denial {
    /// The action is held for no object, or not at all.
    Action,
    /// The object is none of those allowed, no object was named, or it is not spelled as one.
    Object,
    /// This argument is missing, of another type, or has a value that is not allowed.
    Argument(ArgumentName),
    /// It is too early or too late.
    Time,
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Action => f.write_str("the action is not allowed"),
            Self::Object => f.write_str("the action is not allowed on this object"),
            Self::Argument(name) => {
                write!(f, "the action is not allowed with this `{name}`, or without one")
            }
            Self::Time => f.write_str("the action is not allowed at this time"),
        }
    }
}

impl Limits {
    /// Limits of these parts.
    pub fn new(
        object: Option<ObjectPattern>,
        constraints: BTreeMap<ArgumentName, Constraint>,
        (not_before, not_after): (Option<i64>, Option<i64>),
    ) -> Result<Self, LimitsError> {
        let window = Window::new(not_before, not_after)?;
        let limits = Self { object, constraints, window };
        if limits.constraints.len() > CONSTRAINTS_MAX {
            Err(LimitsError::TooManyConstraints)
        } else if limits.bytes() > LIMITS_BYTES_MAX {
            Err(LimitsError::TooLong)
        } else {
            Ok(limits)
        }
    }

    /// The objects, where they are limited.
    pub fn object(&self) -> Option<&ObjectPattern> {
        self.object.as_ref()
    }

    /// The constraints on arguments, by their names.
    pub fn constraints(&self) -> &BTreeMap<ArgumentName, Constraint> {
        &self.constraints
    }

    /// The first second at which it is allowed, where that is limited.
    pub fn not_before(&self) -> Option<i64> {
        self.window.not_before
    }

    /// The last second at which it is allowed, where that is limited.
    pub fn not_after(&self) -> Option<i64> {
        self.window.not_after
    }

    /// Whether there is no limit.
    pub fn is_none(&self) -> bool {
        self.object.is_none() && self.constraints.is_empty() && self.window == Window::default()
    }

    /// Whether this object and these arguments are allowed at this time; else why not.
    ///
    /// A constrained argument that is missing means no.
    pub fn allow(
        &self,
        object: Option<&str>,
        arguments: &Arguments,
        now: Time,
    ) -> Result<(), Denial> {
        if let Some(pattern) = &self.object
            && !object.is_some_and(|object| pattern.matches(object))
        {
            return Err(Denial::Object);
        }
        for (name, constraint) in &self.constraints {
            let value = arguments.get(name.as_str());
            if !value.is_some_and(|value| constraint.allows(value)) {
                return Err(Denial::Argument(name.clone()));
            }
        }
        if self.window.includes(now.seconds()) { Ok(()) } else { Err(Denial::Time) }
    }

    /// Whether all that `other` allows is allowed here.
    pub fn covers(&self, other: &Self) -> bool {
        let object = match (&self.object, &other.object) {
            (None, _) => true,
            (Some(own), Some(theirs)) => own.covers(theirs),
            (Some(_), None) => false,
        };
        object
            && self.window.covers(other.window)
            && self.constraints.iter().all(|(name, own)| {
                other.constraints.get(name).is_some_and(|theirs| own.covers(theirs))
            })
    }

    /// What both allow; none where that is nothing, and an error where it is beyond the bounds.
    pub fn meet(&self, other: &Self) -> Result<Option<Self>, LimitsError> {
        let object = match (&self.object, &other.object) {
            (None, object) | (object, None) => object.clone(),
            (Some(own), Some(theirs)) => match own.meet(theirs) {
                None => return Ok(None),
                both => both,
            },
        };
        let Some(window) = self.window.meet(other.window) else { return Ok(None) };
        let mut constraints = self.constraints.clone();
        for (name, theirs) in &other.constraints {
            let both = match self.constraints.get(name) {
                Some(own) => own.meet(theirs),
                None => Some(theirs.clone()),
            };
            let Some(both) = both else { return Ok(None) };
            constraints.insert(name.clone(), both);
        }
        Self::new(object, constraints, (window.not_before, window.not_after)).map(Some)
    }

    /// Bytes of its names and values.
    pub fn bytes(&self) -> usize {
        let object = self.object.as_ref().map_or(0, |object| object.as_str().len());
        let constraints = self.constraints.iter();
        object + constraints.map(|(name, one)| name.as_str().len() + 1 + one.bytes()).sum::<usize>()
    }
}

impl Window {
    fn new(not_before: Option<i64>, not_after: Option<i64>) -> Result<Self, LimitsError> {
        let ends = [not_before, not_after].into_iter().flatten();
        let in_years = ends.into_iter().all(|end| (0..=WINDOW_SECONDS_MAX).contains(&end));
        let window = Self { not_before, not_after };
        if in_years && window.is_some() { Ok(window) } else { Err(LimitsError::Window) }
    }

    fn is_some(self) -> bool {
        match (self.not_before, self.not_after) {
            (Some(from), Some(to)) => from <= to,
            (None, _) | (_, None) => true,
        }
    }

    fn includes(self, second: i64) -> bool {
        self.not_before.is_none_or(|from| from <= second)
            && self.not_after.is_none_or(|to| second <= to)
    }

    pub(super) fn covers_start(self, other: Self) -> bool {
        self.not_before.is_none_or(|own| other.not_before.is_some_and(|theirs| own <= theirs))
    }

    pub(super) fn covers_end(self, other: Self) -> bool {
        self.not_after.is_none_or(|own| other.not_after.is_some_and(|theirs| theirs <= own))
    }

    fn covers(self, other: Self) -> bool {
        self.covers_start(other) && self.covers_end(other)
    }

    fn meet(self, other: Self) -> Option<Self> {
        let not_before = [self.not_before, other.not_before].into_iter().flatten().max();
        let not_after = [self.not_after, other.not_after].into_iter().flatten().min();
        let both = Self { not_before, not_after };
        both.is_some().then_some(both)
    }
}
