//! RFC 5280 section 5: the list of an authority's certificates that were revoked before they were over.
//!
//! Complete for its issuer and of version 2: no deltas, no parts, no other reasons apart. Absent on
//! purpose: `certificateHold`, since nothing that was revoked comes back.

use x509_cert::Version;
use x509_cert::certificate::Rfc5280;
use x509_cert::crl::{CertificateList, RevokedCert};
use x509_cert::der::asn1::{Any, GeneralizedTime};
use x509_cert::der::oid::AssociatedOid as _;
use x509_cert::der::{Decode as _, Encode as _, Tag};
use x509_cert::ext::pkix::{CrlNumber, CrlReason};
use x509_cert::serial_number::SerialNumber;
use x509_cert::time::Time as X509Time;

use super::certificate::{
    BACKDATED, Life, Named, SERIAL_BYTES, common_name, ecdsa, explicit, extension, padded,
    sequence, signature, signed_by, time,
};
use super::{EncodingError, pem};
use crate::time::Time;

/// Its media type (RFC 5280 section 4.2.1.13).
pub const CRL_MEDIA_TYPE: &str = "application/pkix-crl";

/// Why a certificate was revoked (section 5.3.1): what its issuer knows of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Nothing that its issuer signed is believed.
    CaCompromise,
    /// Whoever holds it, or is answerable for it, may act no more.
    PrivilegeWithdrawn,
}

impl Reason {
    pub(super) const fn code(self) -> CrlReason {
        match self {
            Self::CaCompromise => CrlReason::CaCompromise,
            Self::PrivilegeWithdrawn => CrlReason::PrivilegeWithdrawn,
        }
    }
}

/// A certificate that was revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revoked {
    /// When.
    pub at: Time,
    /// Why; nothing where nobody said more than that it is (`unspecified` is left out).
    pub reason: Option<Reason>,
}

/// A list that lacks its signature.
pub struct UnsignedList(Vec<u8>);

impl UnsignedList {
    /// The list of an issuer, under a number that only grows: it says what holds from `life.from` on,
    /// and is not to be gone by after `life.until`.
    pub fn new(
        issuer: Named<'_>,
        number: u128,
        life: Life,
        revoked: &[([u8; SERIAL_BYTES], Revoked)],
    ) -> Result<Self, EncodingError> {
        let extensions = vec![signed_by(issuer)?, extension(false, &CrlNumber::try_from(number)?)?];
        let mut parts = vec![
            Version::V2.to_der()?,
            ecdsa().to_der()?,
            common_name(issuer.name)?.to_der()?,
            time(life.from.minus(BACKDATED))?.to_der()?,
            time(life.until)?.to_der()?,
        ];
        // Section 5.1.2.6: where there are none, the list is absent.
        if !revoked.is_empty() {
            let mut entries = Vec::new();
            for (serial, revoked) in revoked {
                entry(serial, revoked)?.encode_to_vec(&mut entries)?;
            }
            parts.push(Any::new(Tag::Sequence, entries)?.to_der()?);
        }
        parts.push(explicit(0, extensions.to_der()?)?);
        Ok(Self(sequence(&parts)?))
    }

    /// The bytes that are signed.
    pub fn signing_input(&self) -> &[u8] {
        &self.0
    }

    /// The list with its signature, DER: ECDSA with SHA-256, `r || s`.
    pub fn finish(self, signed: &[u8; 64]) -> Result<Vec<u8>, EncodingError> {
        sequence(&[self.0, ecdsa().to_der()?, signature(signed)?])
    }
}

fn entry(serial: &[u8; SERIAL_BYTES], revoked: &Revoked) -> Result<RevokedCert, EncodingError> {
    let extensions = match revoked.reason {
        Some(reason) => Some(vec![extension(false, &reason.code())?]),
        None => None,
    };
    Ok(RevokedCert {
        serial_number: SerialNumber::new(serial)?,
        revocation_date: time(revoked.at)?,
        crl_entry_extensions: extensions,
    })
}

/// A time as OCSP has all of them (RFC 6960 section 4.2.1).
pub(super) fn generalized(at: Time) -> Result<Vec<u8>, EncodingError> {
    let at = match time(at)? {
        X509Time::UtcTime(time) => GeneralizedTime::from_date_time(time.to_date_time()),
        X509Time::GeneralTime(time) => time,
    };
    Ok(at.to_der()?)
}

/// The number of a list that says what had ended at a revocation counter, and is made at `now`. It only
/// grows: no list of a higher number knows of less, whichever node made it.
pub fn number(counter: u64, now: Time) -> u128 {
    u128::from(counter) << 64 | u128::from(now.micros().max(0).unsigned_abs())
}

/// What a list of ours says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The revocation counter up to which it says what has ended.
    pub counter: u64,
    /// When it was made.
    pub made_at: Time,
    /// Until when it says anything (section 5.1.2.5).
    pub until: Time,
}

/// Reads what a list of ours says of itself, DER. Who signed it is not looked at.
pub fn head(der: &[u8]) -> Result<Head, EncodingError> {
    let wrong = |why: &str| EncodingError(why.to_owned());
    let list = CertificateList::<Rfc5280>::from_der(der)?;
    let said = &list.tbs_cert_list;
    let mut extensions = said.crl_extensions.iter().flatten();
    let number = extensions.find(|extension| extension.extn_id == CrlNumber::OID);
    let number = number.ok_or_else(|| wrong("the list has no number"))?;
    let number = CrlNumber::from_der(number.extn_value.as_bytes())?;
    let number = padded(number.0.as_bytes()).map(u128::from_be_bytes);
    let number = number.ok_or_else(|| wrong("the number is none of ours"))?;
    let micros = i64::try_from(number & u128::from(u64::MAX));
    let until = said.next_update.ok_or_else(|| wrong("the list has no end"))?;
    let until = i64::try_from(until.to_unix_duration().as_secs()).unwrap_or(i64::MAX);
    Ok(Head {
        counter: (number >> 64) as u64,
        made_at: Time::from_micros(micros.map_err(|_| wrong("the number is none of ours"))?),
        until: Time::from_seconds(until),
    })
}

/// The serial numbers on a list of ours, DER. Who signed it is not looked at.
pub fn numbers(der: &[u8]) -> Result<Vec<[u8; SERIAL_BYTES]>, EncodingError> {
    let list = CertificateList::<Rfc5280>::from_der(der)?;
    let revoked = list.tbs_cert_list.revoked_certificates.unwrap_or_default();
    let numbers = revoked.iter().map(|entry| padded(entry.serial_number.as_bytes()));
    let numbers: Option<Vec<_>> = numbers.collect();
    numbers.ok_or_else(|| EncodingError("a serial number is none of ours".to_owned()))
}

/// A list as text (RFC 7468 section 6).
pub fn text(der: &[u8]) -> String {
    pem("X509 CRL", der)
}
