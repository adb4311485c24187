//! Minting: the authority block of a token, signed by the issuer's key wherever that is.

use zeroize::Zeroizing;

use super::claims;
use super::datalog::Content;
use super::envelope;
use super::symbols::Adding;
use super::{BiscuitError, Narrowing};
use crate::ids::{BlockId, KeyId};
use crate::jose::{TOKEN_BYTES_MAX, b64url_encode};
use crate::token::{AccessToken, ClaimsError};

/// The number by which a token names its root key: the lowest 32 bits of the key's id, which are
/// random. Two keys may share one; then each is tried.
pub const fn root_key_id(key: KeyId) -> u32 {
    key.bits() as u32
}

/// A token that the issuer has not signed yet: `Unsigned::new` → the key vault signs
/// [`Unsigned::signing_input`] → [`Unsigned::finish`].
///
/// ```
/// # use accredit_wire::{biscuit::Unsigned, crypto::PrivateKey, token::AccessToken};
/// # fn mint(token: &AccessToken, key: &PrivateKey, random: &[u8; 32]) -> Option<String> {
/// let unsigned = Unsigned::new(token, random).ok()?;
/// let signature = key.sign(unsigned.signing_input()).ok()?;
/// unsigned.finish(&signature).ok().map(|minted| minted.text)
/// # }
/// ```
pub struct Unsigned {
    root_key_id: u32,
    block: Vec<u8>,
    next_seed: Zeroizing<[u8; 32]>,
    message: Vec<u8>,
}

/// A token that was minted.
pub struct Minted {
    /// What travels: base64url without padding.
    pub text: String,
    /// The id by whose revocation it ends, and everything that was added to it.
    pub block: BlockId,
}

impl Unsigned {
    /// The authority block that says what `token` says. `random` is fresh: the seed of the key by
    /// which the holder narrows it. [`AccessToken::key`] is the Ed25519 key that will sign.
    pub fn new(token: &AccessToken, random: &[u8; 32]) -> Result<Self, BiscuitError> {
        let bounds = Narrowing::of_token(token);
        let content = Content { facts: claims::facts(token), checks: bounds.to_checks() };
        // What would not be read back as it is, is not written.
        if claims::read(&content, Some(token.key))? != *token {
            return Err(BiscuitError::Claims(ClaimsError::Malformed("authorization_details")));
        }
        let block = content.to_block(&mut Adding::default());
        let message = envelope::authority_message(&block, random)?;
        let next_seed = Zeroizing::new(*random);
        Ok(Self { root_key_id: root_key_id(token.key), block, next_seed, message })
    }

    /// The authority block.
    pub fn block(&self) -> &[u8] {
        &self.block
    }

    /// What the key [`AccessToken::key`] signs.
    pub fn signing_input(&self) -> &[u8] {
        &self.message
    }

    /// The token, with this signature.
    pub fn finish(self, signature: &[u8; 64]) -> Result<Minted, BiscuitError> {
        let token = envelope::minted(self.root_key_id, (&self.block, signature), &self.next_seed)?;
        let text = b64url_encode(&token);
        if text.len() > TOKEN_BYTES_MAX {
            return Err(BiscuitError::TooLong);
        }
        Ok(Minted { text, block: BlockId::of_signature(signature) })
    }
}
