//! RFC 7800: proof of possession, so that a stolen token is of no use to who lacks its key.
//!
//! A token is bound to a key, whose holder makes a proof for each request (RFC 9449), or to a
//! certificate, whose holder proves that by the TLS connection itself (RFC 8705 section 3):
//! [`Confirmation`]. [`dpop`] reads and makes the proofs, [`uri`] compares the place that a proof was
//! made for, [`nonce`] says how new it must be, [`replay`] that it was not seen before.
//!
//! Absent on purpose: TLS, which whoever listens speaks, and any decision of which token needs a
//! proof, which is [`crate::verify::bind`]'s.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::crypto::{PublicKey, sha256};
use crate::jose::{b64url_decode_array, b64url_encode, jwk};

pub mod dpop;
pub mod nonce;
pub mod replay;
pub mod uri;

#[cfg(test)]
mod tests;

/// SHA-256 of a key (RFC 7638, the `jkt` of RFC 9449 section 6.1) or of a certificate (the `x5t#S256`
/// of RFC 8705 section 3.1). As text 43 characters of base64url.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Thumbprint([u8; 32]);

impl Thumbprint {
    /// The thumbprint of a key.
    pub fn of(key: &PublicKey) -> Self {
        Self(jwk::thumbprint_bytes(key))
    }

    /// The thumbprint of a certificate, from its DER.
    pub fn of_certificate(der: &[u8]) -> Self {
        Self(sha256(der))
    }

    /// The thumbprint that is this digest.
    pub const fn of_digest(digest: [u8; 32]) -> Self {
        Self(digest)
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

/// RFC 8705: the certificate whose key the client of a TLS connection has proved to hold. Whoever
/// speaks TLS makes one for each connection; it is cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct PeerCertificate {
    der: Arc<[u8]>,
    thumbprint: Thumbprint,
}

impl PeerCertificate {
    /// From the DER of the client's own certificate, the first of its chain.
    pub fn new(der: &[u8]) -> Self {
        Self { der: der.into(), thumbprint: Thumbprint::of_certificate(der) }
    }

    /// Its DER.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// Its thumbprint.
    pub const fn thumbprint(&self) -> Thumbprint {
        self.thumbprint
    }
}

impl fmt::Debug for PeerCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerCertificate({})", self.thumbprint)
    }
}

/// RFC 7800 section 3.1, the member `cnf`: what whoever sends a token must prove to hold. As JSON an
/// object of one member; any other is not read, since it may demand more than is checked here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Confirmation {
    /// The private key with this thumbprint, by a proof in each request (RFC 9449 section 6).
    #[serde(rename = "jkt")]
    Key(Thumbprint),
    /// That of the certificate with this thumbprint, by the TLS connection (RFC 8705 section 3.1).
    #[serde(rename = "x5t#S256")]
    Certificate(Thumbprint),
}

impl Confirmation {
    /// The key, where it is one.
    pub const fn key(self) -> Option<Thumbprint> {
        match self {
            Self::Key(key) => Some(key),
            Self::Certificate(_) => None,
        }
    }

    /// The certificate, where it is one.
    pub const fn certificate(self) -> Option<Thumbprint> {
        match self {
            Self::Certificate(certificate) => Some(certificate),
            Self::Key(_) => None,
        }
    }

    /// The name of the member.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Key(_) => "jkt",
            Self::Certificate(_) => "x5t#S256",
        }
    }

    /// Its value.
    pub const fn thumbprint(self) -> Thumbprint {
        match self {
            Self::Key(thumbprint) | Self::Certificate(thumbprint) => thumbprint,
        }
    }
}
