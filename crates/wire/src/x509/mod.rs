//! RFC 5280, SPIFFE X509-SVID: certificates of organizations and of their agents' instances.
//!
//! [`spiffe`] and [`dns_name`] say what they are called, [`request`] reads what somebody wants one for,
//! [`certificate`] writes them, [`crl`] and [`ocsp`] say which of them were revoked, [`presented`] reads what a client shows,
//! [`svid`] what a peer does, [`bundle`] what another trust domain publishes, [`listener`] writes what a server itself shows, and [`upstream`] reads what stands above an authority that somebody else's root has signed.
//! What is written here is signed elsewhere: no private key comes near.
//! Absent on purpose: building paths, which is rustls-webpki's work and the verifier's.

pub mod bundle;
pub mod certificate;
pub mod crl;
pub mod dns_name;
pub mod listener;
pub mod ocsp;
pub mod presented;
mod published;
pub mod request;
pub mod spiffe;
pub mod svid;
pub mod upstream;

#[cfg(test)]
mod tests;

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use x509_cert::der;
use zeroize::Zeroizing;

/// Columns of base64 in a PEM file (RFC 7468 section 2).
const PEM_COLUMNS: usize = 64;
/// Bytes of the first line, or of the last, beside its label: at most.
const FRAME_BYTES: usize = 17;

/// Something could not be written as DER.
#[derive(Clone, Debug)]
pub struct EncodingError(String);

impl fmt::Display for EncodingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not written as DER: {}", self.0)
    }
}

impl std::error::Error for EncodingError {}

impl From<der::Error> for EncodingError {
    fn from(error: der::Error) -> Self {
        Self(error.to_string())
    }
}

/// RFC 7468: bytes as text under a label. No copy of it is left behind, since it may be a private key.
pub fn pem(label: &str, der: &[u8]) -> String {
    let text = Zeroizing::new(STANDARD.encode(der));
    let lines = text.len().div_ceil(PEM_COLUMNS);
    let mut out = String::with_capacity(text.len() + lines + 2 * (label.len() + FRAME_BYTES));
    out.push_str("-----BEGIN ");
    out.push_str(label);
    out.push_str("-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(PEM_COLUMNS));
        out.push_str(line);
        out.push('\n');
        rest = after;
    }
    out.push_str("-----END ");
    out.push_str(label);
    out.push_str("-----\n");
    out
}

/// A certificate's bytes in base64, as a JWK's `x5c` holds them (RFC 7517 section 4.7).
pub fn base64(der: &[u8]) -> String {
    STANDARD.encode(der)
}

/// The bytes of a text that is one PEM block under a label and nothing else.
pub fn decoded(label: &str, text: &str) -> Option<Vec<u8>> {
    let inner = text.trim().strip_prefix(&format!("-----BEGIN {label}-----"))?;
    let inner = inner.strip_suffix(&format!("-----END {label}-----"))?;
    from_base64(inner)
}

/// The bytes of each block of a text that is PEM blocks under a label, one after the other, and nothing
/// else; at least one.
pub fn all_decoded(label: &str, text: &str) -> Option<Vec<Vec<u8>>> {
    let end = format!("-----END {label}-----");
    let (mut all, mut rest) = (Vec::new(), text.trim());
    while !rest.is_empty() {
        let (block, after) = rest.split_at(rest.find(&end)? + end.len());
        all.push(decoded(label, block).filter(|der| !der.is_empty())?);
        rest = after.trim_start();
    }
    (!all.is_empty()).then_some(all)
}

/// The bytes of base64 in lines.
fn from_base64(text: &str) -> Option<Vec<u8>> {
    let mut base64 = Zeroizing::new(String::with_capacity(text.len()));
    base64.extend(text.split_ascii_whitespace());
    STANDARD.decode(base64.as_bytes()).ok()
}
