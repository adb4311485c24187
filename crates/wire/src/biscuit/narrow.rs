//! What a holder does offline: read its own token, and narrow it.

use std::fmt;

use super::attenuable::{decode, read};
use super::datalog::Content;
use super::envelope::{Envelope, Proof};
use super::symbols::{Adding, Symbols};
use super::{Attenuable, BLOCKS_MAX, BiscuitError, Narrowing};
use crate::authority::{Authority, Excess, attenuate};
use crate::binding::{Confirmation, Thumbprint};
use crate::crypto::{CryptoError, PublicKey};
use crate::jose::{TOKEN_BYTES_MAX, b64url_encode};
use crate::time::Time;

/// Signs by a private key: 64 bytes.
pub type Sign<'k> = dyn Fn(&[u8]) -> Result<[u8; 64], CryptoError> + 'k;

/// The key that a token is bound to, in the hands of its holder.
#[derive(Clone, Copy)]
pub struct HolderKey<'k> {
    /// The public half.
    pub public: &'k PublicKey,
    /// Signs by the private half: 64 bytes.
    pub sign: &'k Sign<'k>,
}

/// A token in the hands of its holder. Its signatures were not checked: the holder has it from who
/// issued it or narrowed it, and whoever takes it checks it.
pub struct Held {
    bytes: Vec<u8>,
    says: Attenuable,
}

/// Why a token is not narrowed so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NarrowError {
    /// The token is none of ours, or takes no more blocks.
    Token(BiscuitError),
    /// Nothing would be narrowed.
    Nothing,
    /// It would be widened: by this.
    Excess(Excess),
    /// It would end later than the token does, or at no time that can be written.
    Later {
        /// When the token ends.
        ends: Time,
    },
    /// The token is bound to a key, and whoever hands it on signs by that key, which was not given.
    KeyMissing,
    /// The key is not the one that the token is bound to.
    OtherKey,
    /// The key did not sign.
    Key,
}

impl fmt::Display for NarrowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(error) => error.fmt(f),
            Self::Nothing => f.write_str("nothing would be narrowed"),
            Self::Excess(excess) => excess.fmt(f),
            Self::Later { ends } => {
                write!(f, "the token ends at {ends}, and a narrowing does not end later")
            }
            Self::KeyMissing => f.write_str(
                "the token is bound to a key: to hand it on, sign with that key, so that nobody \
                 can who has stolen the token",
            ),
            Self::OtherKey => f.write_str("this is not the key that the token is bound to"),
            Self::Key => f.write_str("the key did not sign"),
        }
    }
}

impl std::error::Error for NarrowError {}

impl From<BiscuitError> for NarrowError {
    fn from(error: BiscuitError) -> Self {
        Self::Token(error)
    }
}

impl Held {
    /// Reads a token without checking its signatures.
    pub fn read(text: &str) -> Result<Self, BiscuitError> {
        let bytes = decode(text)?;
        let (says, _) = read(&Envelope::read(&bytes)?, None)?;
        Ok(Self { bytes, says })
    }

    /// What it says.
    pub fn says(&self) -> &Attenuable {
        &self.says
    }

    /// What can be narrowed: what it allows at its audience, and what it can pass on.
    pub fn authority(&self) -> Authority {
        let held = self.says.held().permissions().iter();
        let delegable = self.says.token().delegable.permissions().iter();
        let all = Authority::new(held.chain(delegable).cloned());
        // Beyond the bounds, what it allows counts alone: less, and never more.
        all.unwrap_or_else(|_| self.says.held().clone())
    }

    /// Adds a block. `random` is fresh: the seed of the key by which the next holder narrows
    /// further. `key` is needed where the token is bound to one and a holder is named.
    pub fn narrow(
        &self,
        narrowing: &Narrowing,
        random: &[u8; 32],
        key: Option<HolderKey<'_>>,
    ) -> Result<String, NarrowError> {
        let narrowing = self.permitted(narrowing)?;
        let envelope = Envelope::read(&self.bytes)?;
        if matches!(envelope.proof, Proof::Seal(_)) {
            return Err(NarrowError::Token(BiscuitError::Sealed));
        }
        if envelope.added.len() == BLOCKS_MAX {
            return Err(NarrowError::Token(BiscuitError::TooManyBlocks));
        }
        let content = Content { facts: Vec::new(), checks: narrowing.to_checks() };
        let bound_to = narrowing.holder.and(self.says.token().cnf.and_then(Confirmation::key));
        let bytes = match bound_to {
            None => {
                let (_, symbols) = read(&envelope, None)?;
                let block = content.to_block(&mut Adding::behind(symbols));
                envelope.with_block(&block, random, None)?
            }
            Some(bound_to) => {
                let key = key.ok_or(NarrowError::KeyMissing)?;
                if Thumbprint::of(key.public) != bound_to {
                    return Err(NarrowError::OtherKey);
                }
                let block = content.to_block(&mut Adding::behind(Symbols::default()));
                let message = envelope.external_message(&block);
                let signature = (key.sign)(&message).map_err(|_| NarrowError::Key)?;
                envelope.with_block(&block, random, Some((key.public, signature)))?
            }
        };
        let text = b64url_encode(&bytes);
        if text.len() > TOKEN_BYTES_MAX {
            return Err(NarrowError::Token(BiscuitError::TooLong));
        }
        Ok(text)
    }

    /// The narrowing, where it widens nothing.
    fn permitted(&self, narrowing: &Narrowing) -> Result<Narrowing, NarrowError> {
        if narrowing.is_none() {
            return Err(NarrowError::Nothing);
        }
        let ends = self.says.token().expires_at;
        if narrowing.expires_at.is_some_and(|end| !(0..=ends).contains(&end)) {
            return Err(NarrowError::Later { ends: Time::from_seconds(ends) });
        }
        let mut narrowing = narrowing.clone();
        if let Some(asked) = &narrowing.authority {
            let held = self.authority();
            let permitted = attenuate(&held, asked).map_err(NarrowError::Excess)?;
            narrowing.authority = Some(permitted);
        }
        Ok(narrowing)
    }
}
