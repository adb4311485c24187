//! RFC 7800: proof of possession, so that a stolen token is of no use to who lacks its key.
//!
//! [`dpop`] reads and makes the proofs, [`uri`] compares the place that a proof was made for,
//! [`nonce`] says how new it must be, [`replay`] that it was not seen before.
//!
//! Absent on purpose: mutual TLS (RFC 8705), and any decision of which token needs a proof, which
//! is [`crate::verify::bind`]'s.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::crypto::PublicKey;
use crate::jose::{b64url_decode_array, b64url_encode, jwk};

pub mod dpop;
pub mod nonce;
pub mod replay;
pub mod uri;

#[cfg(test)]
mod tests;

/// The RFC 7638 thumbprint of a key with SHA-256: the `jkt` of a token's `cnf` (RFC 9449 section
/// 6.1). As text 43 characters of base64url.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Thumbprint([u8; 32]);

impl Thumbprint {
    /// The thumbprint of a key.
    pub fn of(key: &PublicKey) -> Self {
        Self(jwk::thumbprint_bytes(key))
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl FromStr for Thumbprint {
    type Err = ThumbprintError;

    fn from_str(text: &str) -> Result<Self, ThumbprintError> {
        b64url_decode_array(text).map(Self).map_err(|_| ThumbprintError)
    }
}

impl fmt::Display for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&b64url_encode(&self.0))
    }
}

impl fmt::Debug for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Thumbprint({self})")
    }
}

impl Serialize for Thumbprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Thumbprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The text is not a thumbprint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThumbprintError;

impl fmt::Display for ThumbprintError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected an RFC 7638 thumbprint with SHA-256: 43 characters of base64url")
    }
}

impl std::error::Error for ThumbprintError {}
