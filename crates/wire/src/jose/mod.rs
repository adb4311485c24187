//! JOSE: signed tokens, their keys and their claims. RFC 4648 section 5: base64url, strictly.
//!
//! [`jws`] signs and verifies the compact serialization, [`jwk`] reads and writes keys, [`jwt`]
//! reads the registered claims. The way of a token in is
//! `Unverified::parse` → choose the key → `verify` → `Verified::claims` → `check_times`; there
//! is no other door to a payload. The way out is `ProtectedHeader` (once per key) →
//! `SigningInput::new` → the key vault signs → `finish`.
//!
//! [`issuer_keys`] are those of others' issuers, which may be RSA keys; they verify what says who a
//! user is and nothing else. [`foreign_keys`] are those of other trust domains, which say who a workload is.
//!
//! Absent on purpose: JWE, the JSON serialization, HMAC algorithms, RSA for anything of our own,
//! `none`, unencoded payloads (RFC 7797), and any key that a token brings along.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::crypto::Algorithm;

pub mod foreign_keys;
pub mod issuer_keys;
pub mod jwk;
pub mod jws;
pub mod jwt;

#[cfg(test)]
mod tests;

/// The longest token accepted or made, in bytes of its text.
pub const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// The longest `kid`, in bytes.
pub const KID_BYTES_MAX: usize = 256;

/// The `alg` we write for keys of this algorithm (RFC 7518 section 3.1, RFC 8037 section 3.1).
///
/// For Ed25519 it is the older `EdDSA`, which all libraries know; RFC 9864's `Ed25519` is read
/// as the same.
pub const fn alg_name(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::Es256 => "ES256",
        Algorithm::EdDsa => "EdDSA",
    }
}

/// Whether `alg`, compared exactly, names what keys of this algorithm verify.
pub fn alg_is(algorithm: Algorithm, alg: &str) -> bool {
    match algorithm {
        Algorithm::Es256 => alg == "ES256",
        Algorithm::EdDsa => alg == "EdDSA" || alg == "Ed25519",
    }
}

/// The text is not base64url in its only accepted spelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Base64UrlError;

impl fmt::Display for Base64UrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "not base64url: use only A-Z a-z 0-9 - _, no padding, no whitespace, unused bits zero",
        )
    }
}

impl std::error::Error for Base64UrlError {}

/// `bytes` in base64url without padding.
pub fn b64url_encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Appends `bytes` in base64url to `out`.
fn b64url_append(bytes: &[u8], out: &mut String) {
    URL_SAFE_NO_PAD.encode_string(bytes, out);
}

/// Characters that `bytes` bytes take in base64url without padding.
pub const fn b64url_len(bytes: usize) -> usize {
    bytes / 3 * 4 + (bytes % 3 * 8).div_ceil(6)
}

/// The bytes behind `text`. Each byte string has exactly one accepted spelling: padding,
/// whitespace, the other alphabet and unused bits that are not zero are refused.
pub fn b64url_decode(text: &str) -> Result<Vec<u8>, Base64UrlError> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| Base64UrlError)
}

/// [`b64url_decode`] of exactly `N` bytes, at most 66 (a P-521 coordinate), without allocation.
pub fn b64url_decode_array<const N: usize>(text: &str) -> Result<[u8; N], Base64UrlError> {
    const { assert!(N <= 66) };
    if text.len() != b64url_len(N) {
        return Err(Base64UrlError);
    }
    // The decoder asks for room in whole blocks of three bytes.
    let mut block = [0u8; 69];
    let length = URL_SAFE_NO_PAD.decode_slice(text, &mut block).map_err(|_| Base64UrlError)?;
    block[..length].try_into().map_err(|_| Base64UrlError)
}
