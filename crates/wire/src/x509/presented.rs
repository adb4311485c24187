//! RFC 8705 section 2, SPIFFE X509-SVID: a certificate that came with a TLS connection.
//!
//! Whoever listens has seen to it that the client holds its key. Read here is what decides whose it
//! is: the key, from when until when it holds, and the one SPIFFE ID that it names. Whether anybody
//! believes it is not asked: a certificate of ours is found by its digest, and one that signed itself
//! is its key in another form.
//!
//! Absent on purpose: its subject and its issuer, by which nobody is known here, and paths.

use std::fmt;

use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::spki::SubjectPublicKeyInfoOwned;
use x509_cert::time::Time as X509Time;

use crate::crypto::PublicKey;
use crate::time::Time;

/// The longest certificate, bytes: one with an RSA key of 4096 bits has a tenth of it.
pub const PRESENTED_BYTES_MAX: usize = 16 * 1024;

const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const SPIFFE: &str = "spiffe://";

/// What a certificate says.
#[derive(Clone, Debug)]
pub struct Presented {
    /// Its key, where it is of a kind that clients register: of P-256 or Ed25519.
    pub key: Option<PublicKey>,
    /// From when on it holds.
    pub from: Time,
    /// Until when, that second included (RFC 5280 section 4.1.2.5).
    pub until: Time,
    /// Whom it names, as it is spelt, where that is one URI of the scheme `spiffe` and no other URI
    /// (X509-SVID section 2: "MUST contain exactly one URI SAN").
    pub spiffe_id: Option<String>,
}

/// Not a certificate, or one that is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotACertificate;

impl fmt::Display for NotACertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not a certificate (RFC 5280) of at most {PRESENTED_BYTES_MAX} bytes")
    }
}

impl std::error::Error for NotACertificate {}

impl Presented {
    /// Reads a certificate from its DER.
    pub fn read(der: &[u8]) -> Result<Self, NotACertificate> {
        if der.len() > PRESENTED_BYTES_MAX {
            return Err(NotACertificate);
        }
        let read = Certificate::from_der(der).map_err(|_| NotACertificate)?;
        let said = read.tbs_certificate();
        let names = said.get_extension::<SubjectAltName>().map_err(|_| NotACertificate)?;
        let mut uris = names.iter().flat_map(|(_, names)| &names.0).filter_map(|name| match name {
            GeneralName::UniformResourceIdentifier(uri) => Some(uri.as_str()),
            _ => None,
        });
        let spiffe_id = match (uris.next(), uris.next()) {
            (Some(uri), None) if uri.starts_with(SPIFFE) => Some(uri.to_owned()),
            _ => None,
        };
        let life = said.validity();
        Ok(Self {
            key: key(said.subject_public_key_info()),
            from: time(&life.not_before),
            until: time(&life.not_after),
            spiffe_id,
        })
    }

    /// Whether it holds at `now`, where clocks may differ by `skew`.
    pub fn holds(&self, now: Time, skew: std::time::Duration) -> bool {
        self.from <= now.plus(skew) && now <= self.until.plus(skew)
    }
}

pub(super) fn time(time: &X509Time) -> Time {
    Time::from_seconds(i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX))
}

fn key(info: &SubjectPublicKeyInfoOwned) -> Option<PublicKey> {
    let bytes = info.subject_public_key.as_bytes()?;
    let parameters = info.algorithm.parameters.as_ref();
    if info.algorithm.oid == EC_PUBLIC_KEY {
        let curve = parameters?.decode_as::<ObjectIdentifier>().ok()?;
        let point = bytes.try_into().ok().filter(|_| curve == P256)?;
        PublicKey::p256(point).ok()
    } else if info.algorithm.oid == ED25519 && parameters.is_none() {
        PublicKey::ed25519(bytes.try_into().ok()?).ok()
    } else {
        None
    }
}
