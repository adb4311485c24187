//! Attenuation: the only constructor of an Authority that is derived from another.

use std::fmt;
use std::sync::Arc;

use super::arguments::Value;
use super::constraint::{Constraint, Shape};
use super::limits::Limits;
use super::set::covered;
use super::{ArgumentName, Authority, ObjectPattern, Permission, ScopeToken};
use crate::json::quoted;
use crate::time::Time;

/// How many permissions of an [`Excess`] its message names; the rest are counted.
pub const EXCESS_SHOWN_MAX: usize = 8;

/// How many ways in which one permission would have grown a message names.
pub const GROWTHS_SHOWN_MAX: usize = 4;

/// Where a message ends that would grow longer: it travels in an `error_description`.
pub const EXCESS_BYTES_MAX: usize = 800;

/// The Authority `asked`, where `parent` covers it; else what it would have had beyond `parent`.
///
/// The result is built as a meet, so it cannot exceed `parent` even if the comparison above it
/// were wrong.
pub fn attenuate(parent: &Authority, asked: &Authority) -> Result<Authority, Excess> {
    if parent.covers(asked) {
        return Ok(parent.meet(asked));
    }
    let grown = asked.permissions().iter().flat_map(|asked| {
        let own = parent.run(&asked.resource);
        let beyond =
            asked.actions.iter().filter(|action| !covered(own, action, asked.limits.as_deref()));
        beyond.map(|action| {
            let token = ScopeToken { resource: asked.resource.clone(), action: action.clone() };
            let held = own.iter().filter(|own| own.actions.contains(action));
            Grown { token, growths: growths(held, asked) }
        })
    });
    Err(Excess(grown.collect()))
}

/// What was asked for beyond what there was to give: at least one action, in order.
///
/// It names only what the caller itself asked for, and of what is allowed no more than the
/// numbers and times that were exceeded and the names of arguments that must be limited; so it
/// cannot be used to learn what exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excess(Vec<Grown>);

/// One action that would have grown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grown {
    /// The action.
    pub token: ScopeToken,
    /// In which ways it exceeds the permission that comes closest; none where there is no
    /// permission for it at all.
    pub growths: Vec<Growth>,
}

/// One way in which a permission would have grown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Growth {
    /// Objects: what was asked for, none meaning any.
    Object(Option<ObjectPattern>),
    /// The values of an argument: what was asked for, none meaning any; and what is allowed.
    Argument(ArgumentName, Option<Constraint>, Constraint),
    /// The first second: what was asked for, and what is allowed.
    NotBefore(Option<i64>, i64),
    /// The last second: what was asked for, and what is allowed.
    NotAfter(Option<i64>, i64),
}

impl Excess {
    /// What would have grown.
    pub fn grown(&self) -> &[Grown] {
        &self.0
    }

    /// The actions that would have grown, as scope tokens.
    pub fn tokens(&self) -> impl ExactSizeIterator<Item = &ScopeToken> {
        self.0.iter().map(|grown| &grown.token)
    }
}

/// How the limits asked for exceed those of the permission that is exceeded in the fewest ways.
fn growths<'a>(held: impl Iterator<Item = &'a Permission>, asked: &Permission) -> Vec<Growth> {
    let none = Arc::default();
    let asked = asked.limits.as_ref().unwrap_or(&none);
    let each = held.filter_map(|held| held.limits.as_ref()).map(|held| beyond(held, asked));
    each.min_by_key(Vec::len).unwrap_or_default()
}

fn beyond(held: &Limits, asked: &Limits) -> Vec<Growth> {
    let mut growths = Vec::new();
    if let Some(own) = &held.object
        && !asked.object.as_ref().is_some_and(|asked| own.covers(asked))
    {
        growths.push(Growth::Object(asked.object.clone()));
    }
    for (name, own) in &held.constraints {
        let asked = asked.constraints.get(name);
        if !asked.is_some_and(|asked| own.covers(asked)) {
            growths.push(Growth::Argument(name.clone(), asked.cloned(), own.clone()));
        }
    }
    if let Some(own) = held.window.not_before
        && !held.window.covers_start(asked.window)
    {
        growths.push(Growth::NotBefore(asked.window.not_before, own));
    }
    if let Some(own) = held.window.not_after
        && !held.window.covers_end(asked.window)
    {
        growths.push(Growth::NotAfter(asked.window.not_after, own));
    }
    growths
}

impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        let mut shown = 0;
        for grown in self.0.iter().take(EXCESS_SHOWN_MAX) {
            let one = grown.to_string();
            if shown > 0 && text.len() + one.len() > EXCESS_BYTES_MAX {
                break;
            }
            text.push_str(if shown == 0 { "" } else { ", " });
            text.push_str(&one);
            shown += 1;
        }
        f.write_str(&text)?;
        let unnamed = self.0.len().saturating_sub(shown);
        if unnamed > 0 {
            write!(f, " and {unnamed} more")?;
        }
        f.write_str(" would exceed the authority it is derived from")
    }
}

impl std::error::Error for Excess {}

impl fmt::Display for Grown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.token)?;
        for (index, growth) in self.growths.iter().take(GROWTHS_SHOWN_MAX).enumerate() {
            write!(f, "{}{growth}", if index == 0 { " (" } else { "; " })?;
        }
        let unnamed = self.growths.len().saturating_sub(GROWTHS_SHOWN_MAX);
        if unnamed > 0 {
            write!(f, "; and {unnamed} more")?;
        }
        f.write_str(if self.growths.is_empty() { "" } else { ")" })
    }
}

impl fmt::Display for Growth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = |second: i64| Time::from_seconds(second);
        match self {
            Self::Object(None) => f.write_str("on any object, and not all are allowed"),
            Self::Object(Some(asked)) => {
                write!(f, "on `{asked}`, and not all of that is allowed")
            }
            Self::Argument(name, asked, allowed) => argument(f, name, asked.as_ref(), allowed),
            Self::NotBefore(None, own) => {
                write!(f, "from any time, and only from {} is allowed", at(*own))
            }
            Self::NotBefore(Some(asked), own) => {
                write!(f, "from {}, and only from {} is allowed", at(*asked), at(*own))
            }
            Self::NotAfter(None, own) => {
                write!(f, "without an end, and only until {} is allowed", at(*own))
            }
            Self::NotAfter(Some(asked), own) => {
                write!(f, "until {}, and only until {} is allowed", at(*asked), at(*own))
            }
        }
    }
}

/// How an argument would have grown, and by how much where that is a number.
fn argument(
    f: &mut fmt::Formatter<'_>,
    name: &ArgumentName,
    asked: Option<&Constraint>,
    allowed: &Constraint,
) -> fmt::Result {
    write!(f, "`{name}` ")?;
    match (asked.map(|asked| &asked.0), &allowed.0) {
        (Some(Shape::Values(values)), _) => {
            f.write_str("of ")?;
            let wrong = values.iter().filter(|value| !allowed.allows(value));
            for (index, value) in wrong.clone().take(GROWTHS_SHOWN_MAX).enumerate() {
                f.write_str(if index == 0 { "" } else { ", " })?;
                match value {
                    Value::Integer(number) => write!(f, "{number}")?,
                    Value::Text(text) => write!(f, "`{}`", quoted(text))?,
                }
            }
            let unnamed = wrong.count().saturating_sub(GROWTHS_SHOWN_MAX);
            if unnamed > 0 {
                write!(f, " and {unnamed} more values")?;
            }
            match &allowed.0 {
                Shape::Range(min, max) => bounds(f, *min, *max),
                Shape::Values(_) | Shape::Prefix(_) => f.write_str(", which is not allowed"),
            }
        }
        (Some(Shape::Range(asked_min, asked_max)), Shape::Range(min, max)) => {
            match (asked_min, asked_max) {
                (Some(from), Some(to)) => write!(f, "from {from} to {to}")?,
                (Some(from), None) => write!(f, "from {from}")?,
                (None, Some(to)) => write!(f, "up to {to}")?,
                (None, None) => {}
            }
            bounds(f, *min, *max)
        }
        (Some(Shape::Range(..)), Shape::Values(_) | Shape::Prefix(_)) => {
            f.write_str("in that range, and not all of it is allowed")
        }
        (Some(Shape::Prefix(prefix)), _) => {
            write!(f, "starting `{}`, and not all of that is allowed", quoted(prefix))
        }
        (None, Shape::Range(min, max)) => {
            f.write_str("without limit")?;
            bounds(f, *min, *max)
        }
        (None, Shape::Values(_) | Shape::Prefix(_)) => {
            f.write_str("without limit, and not every value is allowed")
        }
    }
}

fn bounds(f: &mut fmt::Formatter<'_>, min: Option<i64>, max: Option<i64>) -> fmt::Result {
    match (min, max) {
        (Some(min), Some(max)) => write!(f, ", but only {min} to {max} is allowed"),
        (Some(min), None) => write!(f, ", but only from {min} is allowed"),
        (None, Some(max)) => write!(f, ", but only up to {max} is allowed"),
        (None, None) => Ok(()),
    }
}
