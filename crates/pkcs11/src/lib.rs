//! PKCS#11 (OASIS, version 2.40 and later; sections are those of 3.1): keys that are made in a token and
//! never leave it.
//!
//! Reading order: [`vault`] is the key vault, which decides what is asked of the token and what of the
//! software vault around which it is; [`token`] are the threads that wait for the token, so that
//! nobody else does; `link` is one session and how it is opened; `object` what is made, looked for and
//! signed with in it; `module` the library that is loaded; [`trouble`] what can go wrong.
//!
//! A crate of its own because it loads somebody else's code into the process: nothing else here does,
//! and whoever does not name this crate cannot. Absent on purpose: peppers and whatever else is
//! wrapped, which stay with the software vault; keys that were made elsewhere; making or changing a
//! token, which is its owner's with its vendor's tools.

mod link;
mod module;
mod object;
pub mod token;
pub mod trouble;
pub mod vault;

pub use token::{Options, Token};
pub use trouble::{Trouble, What};
pub use vault::Pkcs11Vault;
