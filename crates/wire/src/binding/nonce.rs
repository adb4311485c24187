//! RFC 9449 sections 8 and 9: nonces that a server gives, so that proofs cannot be made in advance.
//!
//! Nothing is kept: a nonce is the number of a time bucket and a MAC of it. Each server has a key of
//! its own, so the nonce of one is no nonce of another.

use std::fmt;
use std::time::Duration;

use crate::crypto::{MacKey, equal_in_constant_time};
use crate::jose::{b64url_decode_array, b64url_encode};
use crate::time::Time;

/// How long a nonce is taken at the longest.
pub const NONCE_LIFE_MAX: Duration = Duration::from_mins(5);

/// The longest `nonce` that a client keeps or a proof may have, in bytes; others' may be longer than
/// ours.
pub const NONCE_BYTES_MAX: usize = 256;

/// A nonce is of one bucket, and taken in this and the next: for half its longest life at least.
const BUCKET_SECONDS: i64 = NONCE_LIFE_MAX.as_secs() as i64 / 2;

/// Bytes of the MAC that stand in a nonce.
const MAC_BYTES: usize = 16;

/// What is authenticated beside the bucket, so that the key may have other uses.
const LABEL: &[u8] = b"accredit dpop nonce 1";

/// Gives and takes the nonces of one server.
pub struct Nonces(MacKey);

impl fmt::Debug for Nonces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Nonces([redacted])")
    }
}

impl Nonces {
    /// Those under a secret key, which must be random and of this server alone.
    pub fn new(key: &[u8; 32]) -> Self {
        Self(MacKey::new(key))
    }

    /// The nonce to give at `now`.
    pub fn at(&self, now: Time) -> String {
        b64url_encode(&self.of(now.seconds().div_euclid(BUCKET_SECONDS)))
    }

    /// Whether a nonce is one of ours and not over at `now`.
    pub fn takes(&self, nonce: &str, now: Time) -> bool {
        let Ok(bytes) = b64url_decode_array::<{ 8 + MAC_BYTES }>(nonce) else { return false };
        let bucket = now.seconds().div_euclid(BUCKET_SECONDS);
        // One bucket ahead is that of another node whose clock is a little before ours.
        [bucket, bucket - 1, bucket + 1]
            .into_iter()
            .any(|bucket| equal_in_constant_time(&self.of(bucket), &bytes))
    }

    fn of(&self, bucket: i64) -> [u8; 8 + MAC_BYTES] {
        let bucket = bucket.to_be_bytes();
        let mac = self.0.mac(&[LABEL, &bucket[..]].concat());
        let mut out = [0; 8 + MAC_BYTES];
        out[..8].copy_from_slice(&bucket);
        out[8..].copy_from_slice(&mac[..MAC_BYTES]);
        out
    }
}
