//! Why a text is no attenuable token that is accepted here.

use std::fmt;

use super::{BLOCKS_MAX, VOCABULARY_VERSION};
use crate::jose::TOKEN_BYTES_MAX;
use crate::token::{CHAIN_DEPTH_MAX, ClaimsError};

/// Why an attenuable token is not accepted. It repeats nothing of the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BiscuitError {
    /// Longer than [`TOKEN_BYTES_MAX`].
    TooLong,
    /// Not base64url.
    NotBase64,
    /// Not a Biscuit in its only encoding.
    Malformed,
    /// A block is in another version than Datalog 3.0 to 3.3, or not signed in payload version 1.
    Version,
    /// The authority block is not in this version of the vocabulary.
    Vocabulary,
    /// More than [`BLOCKS_MAX`] blocks were added.
    TooManyBlocks,
    /// A key of the chain is not an Ed25519 key.
    NotEd25519,
    /// A third party signed a block, for anything but handing the token on.
    ThirdParty,
    /// It names no current key of the issuer.
    UnknownKey,
    /// A signature does not hold.
    Signature,
    /// The authority block does not say what our tokens say.
    Claims(ClaimsError),
    /// This block, counted from 1, names a holder and is not signed by the key of the one before.
    NotHandedOn(usize),
    /// It was handed on more often than a chain is long.
    TooDeep,
    /// This block, counted from 1, has words that are not of the vocabulary, and is beyond what is
    /// evaluated here.
    Uninterpreted(usize),
    /// It is sealed: no block can be added.
    Sealed,
}

impl fmt::Display for BiscuitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(f, "the token is longer than {TOKEN_BYTES_MAX} bytes"),
            Self::NotBase64 => f.write_str("the token is neither a JWT nor base64url"),
            Self::Malformed => f.write_str("the token is neither a JWT nor a Biscuit"),
            Self::Version => f.write_str(
                "a block of the token is not of Datalog 3.0 to 3.3 in signature version 1",
            ),
            Self::Vocabulary => write!(
                f,
                "the token's authority block is not in version {VOCABULARY_VERSION} of the \
                 vocabulary"
            ),
            Self::TooManyBlocks => write!(f, "more than {BLOCKS_MAX} blocks were added"),
            Self::NotEd25519 => f.write_str("a block of the token names a key of no Ed25519"),
            Self::ThirdParty => f.write_str(
                "a third party signed a block of the token, which is taken for handing on alone",
            ),
            Self::UnknownKey => f.write_str("the token is signed by no current key of the issuer"),
            Self::Signature => f.write_str("a signature of the token does not hold"),
            Self::Claims(error) => error.fmt(f),
            Self::NotHandedOn(block) => write!(
                f,
                "block {block} of the token names a holder, and the one before did not sign it"
            ),
            Self::TooDeep => {
                write!(f, "the token's chain is longer than {CHAIN_DEPTH_MAX}")
            }
            Self::Uninterpreted(block) => write!(
                f,
                "block {block} of the token is not in the vocabulary, and beyond what is \
                 evaluated here"
            ),
            Self::Sealed => f.write_str("the token is sealed: nothing can be added"),
        }
    }
}

impl std::error::Error for BiscuitError {}
