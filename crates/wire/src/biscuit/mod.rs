//! Biscuit v3: access tokens that their holder narrows offline, and nobody widens.
//!
//! The authority block says what an [`AccessToken`] says, in a published vocabulary (`docs/formats.md`).
//! Whoever holds the token may add blocks; each can only narrow what is before it. Where a block
//! uses the vocabulary ([`Narrowing`]), it is read back as what it means, exactly, and met with the
//! authority of the token: what comes out is an [`AccessToken`] like any other. Any other block,
//! which somebody wrote in Datalog, is evaluated at each question (feature `biscuit`), and where
//! that feature is not compiled in, the token is refused.
//!
//! Who is named by a narrowing (`holder`) is the acting party from there on, with a key of its own.
//! Whoever holds a token that is bound to a key hands it on by signing the block with that key:
//! Biscuit's third-party signature. Without it, a thief of a bound token would name a key of their
//! own.
//!
//! The envelope, its signatures and the vocabulary are read and written by own code on the one
//! cryptographic back end, and compared with the crate `biscuit-auth` in tests. Absent on purpose:
//! secp256r1 in the chain of blocks, payload version 0, external functions, and third-party blocks
//! for anything but handing on.

mod attenuable;
mod checks;
mod claims;
mod datalog;
mod envelope;
mod error;
mod evaluate;
mod mint;
mod narrow;
mod proto;
#[cfg(feature = "biscuit")]
mod run;
mod signature;
mod symbols;

#[cfg(test)]
mod tests;

pub use attenuable::{Attenuable, FOREIGN_WORDS_MAX, Foreign, verify};
pub use claims::{DELEGABLE_MAX, VOCABULARY_VERSION};
pub use error::BiscuitError;
pub(crate) use evaluate::Asked;
pub use evaluate::{
    ARGUMENTS_MAX, CHECKS_MAX, EXPRESSIONS_MAX, FACTS_MAX, ITERATIONS_MAX, OPERATIONS_MAX,
    RULES_MAX, TIME_MAX, WORK_MAX,
};
pub use mint::{Minted, Unsigned, root_key_id};
pub use narrow::{Held, HolderKey, NarrowError, Sign};

use crate::authority::Authority;
use crate::binding::Thumbprint;
use crate::ids::AgentId;
#[cfg(doc)]
use crate::token::AccessToken;

/// RFC 8693 section 3: what `requested_token_type`, `subject_token_type` and `issued_token_type`
/// say of such a token.
pub const TOKEN_TYPE: &str = "urn:accredit:params:oauth:token-type:biscuit";

/// The most blocks that are added to one token.
pub const BLOCKS_MAX: usize = 16;

/// What one block narrows a token to. The default narrows nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Narrowing {
    /// What may be done, at the audience and by passing on; met with what was allowed before.
    pub authority: Option<Authority>,
    /// From this second on, of Unix time.
    pub not_before: Option<i64>,
    /// Until before this second, of Unix time.
    pub expires_at: Option<i64>,
    /// By whom, from here on.
    pub holder: Option<Holder>,
}

impl Narrowing {
    /// Whether it narrows nothing.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// Who holds a token from a block on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The agent. Its name is the word of whoever handed the token on.
    pub agent: AgentId,
    /// The key by which it proves that it holds the token.
    pub key: Thumbprint,
}

/// Whether a token's text is that of a Biscuit: base64url of a message whose first field is the number
/// of its root key, where a JWT is base64url of a `{`.
pub fn is_biscuit(text: &str) -> bool {
    text.starts_with('C')
}
