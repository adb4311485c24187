//! Authority: what may be done, as a set that can be compared, met and narrowed, never widened.
//!
//! A [`Permission`] is a Resource and some of its Actions; an [`Authority`] is a set of those. It
//! is a lattice: [`Authority::meet`] is what two of them share, and [`attenuate`] is the only way
//! to derive one from another. [`Scope`] is the same thing in the words of RFC 6749.
//!
//! Names are compared as bytes. Absent on purpose: wildcards, prefixes, hierarchies, case
//! folding and Unicode; each of them is a way for two readers to see two different sets.

mod attenuate;
mod names;
mod permission;
mod scope;

#[cfg(test)]
mod tests;

pub use attenuate::{EXCESS_SHOWN_MAX, Excess, attenuate};
pub use names::{
    ACTION_NAME_BYTES_MAX, ActionName, NameError, RESOURCE_NAME_BYTES_MAX, ResourceName,
};
pub use permission::{ACTIONS_MAX, Authority, AuthorityError, PERMISSIONS_MAX, Permission};
pub use scope::{SCOPE_BYTES_MAX, SCOPE_TOKENS_MAX, Scope, ScopeError, ScopeToken};
