//! Authority: what may be done, as a set that can be compared, met and narrowed, never widened.
//!
//! A [`Permission`] is a Resource, some of its Actions, and the [`Limits`] under which they are
//! allowed: an object pattern, constraints on arguments, a time window. An [`Authority`] is a set
//! of those. It is a lattice: [`Authority::meet`] is what two of them share, and [`attenuate`] is
//! the only way to derive one from another. [`Scope`] is the part without limits in the words of
//! RFC 6749; the rest travels as RFC 9396 has it ([`crate::oauth::authorization_details`]).
//!
//! Names are compared as bytes. Absent on purpose: wildcards among names, case folding and
//! Unicode, each of which is a way for two readers to see two different sets; and counts and
//! spend, which copies would multiply.

mod arguments;
mod attenuate;
mod constraint;
mod limits;
mod names;
mod object;
mod permission;
pub(crate) mod read;
mod scope;
mod set;
mod text;

#[cfg(test)]
mod tests;

pub use arguments::{ARGUMENT_NAME_BYTES_MAX, ArgumentName, Arguments, VALUE_BYTES_MAX, Value};
pub use attenuate::{
    EXCESS_BYTES_MAX, EXCESS_SHOWN_MAX, Excess, GROWTHS_SHOWN_MAX, Grown, Growth, attenuate,
};
pub(crate) use constraint::Shape;
pub use constraint::{Constraint, ConstraintError, VALUES_MAX};
pub use limits::{
    CONSTRAINTS_MAX, Denial, LIMITS_BYTES_MAX, Limits, LimitsError, WINDOW_SECONDS_MAX,
};
pub use names::{
    ACTION_NAME_BYTES_MAX, ActionName, NameError, RESOURCE_NAME_BYTES_MAX, ResourceName,
};
pub use object::{
    OBJECT_BYTES_MAX, ObjectPattern, PATTERN_BYTES_MAX, PATTERN_SEGMENTS_MAX, PatternError,
    is_object,
};
pub(crate) use permission::PERMISSION_MEMBERS;
pub use permission::{ACTIONS_MAX, Permission};
pub use scope::{SCOPE_BYTES_MAX, SCOPE_TOKENS_MAX, Scope, ScopeError, ScopeToken};
pub use set::{Authority, AuthorityError, LIMITED_MAX, PERMISSIONS_MAX};
pub use text::{PERMISSION_TEXT_BYTES_MAX, PermissionTextError};
