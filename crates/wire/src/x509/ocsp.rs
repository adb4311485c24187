//! RFC 6960, RFC 5019: questions about single certificates, and answers that are signed ahead.
//!
//! An answer is the issuer's own and says nothing of the question but which certificates it named, so
//! that one is good for everybody who asks: a nonce (RFC 9654) is read and not answered, as section 4
//! of RFC 5019 has it, and who signed a question is not looked at. Absent on purpose: the status
//! `unknown`. Whoever asks about what was never issued is told in an error that nothing is known,
//! which needs no signature (RFC 5019 section 2.2.3).

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use x509_cert::der::asn1::{AnyRef, ObjectIdentifier, OctetString, OctetStringRef, UintRef};
use x509_cert::der::{self, Decode as _, Encode as _, Reader as _, SliceReader, Tag, TagNumber};
use x509_cert::ext::Extensions;

use super::EncodingError;
use super::certificate::{
    BACKDATED, Life, Named, SERIAL_BYTES, common_name, ecdsa, explicit, padded, sequence, signature,
};
use super::crl::{Revoked, generalized};
use crate::crypto::{PublicKey, sha1, sha256};

/// The longest request, bytes of DER. One with eight questions and a nonce has a quarter of it.
pub const REQUEST_BYTES_MAX: usize = 4096;
/// Certificates that one request may ask about.
pub const QUESTIONS_MAX: usize = 8;
/// The longest nonce (RFC 9654 section 2.1), bytes.
pub const NONCE_BYTES_MAX: usize = 128;
/// The media type of a request (RFC 6960 appendix A.1).
pub const REQUEST_MEDIA_TYPE: &str = "application/ocsp-request";
/// The media type of an answer.
pub const RESPONSE_MEDIA_TYPE: &str = "application/ocsp-response";

const SHA1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.14.3.2.26");
const SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");
const NONCE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.2");
const BASIC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.1");

/// An answer that says nothing of a certificate, and is not signed (RFC 6960 section 2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unanswered {
    /// The request is none.
    MalformedRequest,
    /// Ask again later.
    TryLater,
    /// Nothing is known of a certificate that was asked about.
    Unauthorized,
}

impl Unanswered {
    /// Its five bytes.
    pub const fn der(self) -> [u8; 5] {
        let code = match self {
            Self::MalformedRequest => 1,
            Self::TryLater => 3,
            Self::Unauthorized => 6,
        };
        [0x30, 0x03, 0x0a, 0x01, code]
    }
}

/// Why a request is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestError {
    /// Longer than [`REQUEST_BYTES_MAX`].
    TooLarge,
    /// Not a request in DER, whole.
    Malformed,
    /// It asks about nothing, or about more than [`QUESTIONS_MAX`] certificates.
    Questions,
    /// A certificate is named by a hash that is neither SHA-1 nor SHA-256.
    Hash,
    /// The nonce is empty or longer than [`NONCE_BYTES_MAX`].
    Nonce,
    /// It has a critical extension that is not known.
    Critical,
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge => write!(f, "is longer than {REQUEST_BYTES_MAX} bytes"),
            Self::Malformed => f.write_str("is no OCSP request (RFC 6960)"),
            Self::Questions => write!(f, "asks about none or more than {QUESTIONS_MAX}"),
            Self::Hash => f.write_str("names a certificate by neither SHA-1 nor SHA-256"),
            Self::Nonce => write!(f, "has a nonce that is empty or above {NONCE_BYTES_MAX} bytes"),
            Self::Critical => f.write_str("has a critical extension that is not known"),
        }
    }
}

impl std::error::Error for RequestError {}

impl From<der::Error> for RequestError {
    fn from(_: der::Error) -> Self {
        Self::Malformed
    }
}

/// How a certificate's issuer is named.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Hashed {
    Sha1 { name: [u8; 20], key: [u8; 20] },
    Sha256 { name: [u8; 32], key: [u8; 32] },
}

/// A certificate that is asked about (RFC 6960 section 4.1.1).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CertId {
    issuer: Hashed,
    /// Its serial number, where one of ours may have it.
    serial: Option<[u8; SERIAL_BYTES]>,
    /// As it was sent: the answer repeats it.
    der: Vec<u8>,
}

impl CertId {
    /// Whether it names this issuer.
    pub fn is_of(&self, issuer: Named<'_>) -> Result<bool, EncodingError> {
        let (asked_name, asked_key) = (common_name(issuer.name)?.to_der()?, issuer.key.bytes());
        Ok(match &self.issuer {
            Hashed::Sha1 { name, key } => *name == sha1(&asked_name) && *key == sha1(asked_key),
            Hashed::Sha256 { name, key } => {
                *name == sha256(&asked_name) && *key == sha256(asked_key)
            }
        })
    }

    /// The serial number; nothing where none of ours has such a one.
    pub const fn serial(&self) -> Option<&[u8; SERIAL_BYTES]> {
        self.serial.as_ref()
    }

    fn read(reader: &mut SliceReader<'_>) -> Result<Self, RequestError> {
        let whole = AnyRef::decode(reader)?;
        let mut inner = SliceReader::new(whole.value())?;
        if der::Tagged::tag(&whole) != Tag::Sequence {
            return Err(RequestError::Malformed);
        }
        let hash = hash(&mut inner)?;
        let name = <&OctetStringRef>::decode(&mut inner)?.as_bytes();
        let key = <&OctetStringRef>::decode(&mut inner)?.as_bytes();
        let serial = UintRef::decode(&mut inner)?;
        inner.finish()?;
        let wrong = |_: std::array::TryFromSliceError| RequestError::Malformed;
        let issuer = if hash == SHA1 {
            Hashed::Sha1 {
                name: name.try_into().map_err(wrong)?,
                key: key.try_into().map_err(wrong)?,
            }
        } else {
            Hashed::Sha256 {
                name: name.try_into().map_err(wrong)?,
                key: key.try_into().map_err(wrong)?,
            }
        };
        Ok(Self { issuer, serial: padded(serial.as_bytes()), der: whole.to_der()? })
    }
}

/// An AlgorithmIdentifier of a hash, without parameters or with NULL.
fn hash(reader: &mut SliceReader<'_>) -> Result<ObjectIdentifier, RequestError> {
    let (oid, bare) = reader.sequence(|inner| {
        let oid = ObjectIdentifier::decode(inner)?;
        let bare = inner.is_finished() || AnyRef::decode(inner)?.is_null();
        Ok::<_, der::Error>((oid, bare))
    })?;
    if bare && (oid == SHA1 || oid == SHA256) { Ok(oid) } else { Err(RequestError::Hash) }
}

/// Reads the certificates that a request asks about, in its order.
pub fn parse(der: &[u8]) -> Result<Vec<CertId>, RequestError> {
    if der.len() > REQUEST_BYTES_MAX {
        return Err(RequestError::TooLarge);
    }
    let mut whole = SliceReader::new(der)?;
    let mut request = inside(&mut whole, Tag::Sequence)?;
    whole.finish()?;
    let mut asked = inside(&mut request, Tag::Sequence)?;
    // [0] EXPLICIT: its signature, which nobody asks for.
    skip(&mut request, 0)?;
    request.finish()?;
    // Version 1 is the default, which DER leaves out; some write it.
    if let Some(version) = tagged(&mut asked, 0)?
        && version != [0x02, 0x01, 0x00]
    {
        return Err(RequestError::Malformed);
    }
    skip(&mut asked, 1)?;
    let mut list = inside(&mut asked, Tag::Sequence)?;
    let mut questions = Vec::new();
    while !list.is_finished() {
        if questions.len() == QUESTIONS_MAX {
            return Err(RequestError::Questions);
        }
        let mut one = inside(&mut list, Tag::Sequence)?;
        questions.push(CertId::read(&mut one)?);
        if let Some(extensions) = tagged(&mut one, 0)? {
            check(extensions)?;
        }
        one.finish()?;
    }
    if let Some(extensions) = tagged(&mut asked, 2)? {
        check(extensions)?;
    }
    asked.finish()?;
    if questions.is_empty() { Err(RequestError::Questions) } else { Ok(questions) }
}

/// Reads a request from base64, as it stands in a path (RFC 6960 appendix A.1.1).
pub fn parse_text(text: &str) -> Result<Vec<CertId>, RequestError> {
    // Longer than any that is read: it need not be decoded.
    if text.len() > REQUEST_BYTES_MAX.div_ceil(3) * 4 {
        return Err(RequestError::TooLarge);
    }
    parse(&STANDARD.decode(text).map_err(|_| RequestError::Malformed)?)
}

/// What is in a value with this tag.
fn inside<'a>(reader: &mut SliceReader<'a>, tag: Tag) -> Result<SliceReader<'a>, RequestError> {
    let any = AnyRef::decode(reader)?;
    if der::Tagged::tag(&any) != tag {
        return Err(RequestError::Malformed);
    }
    Ok(SliceReader::new(any.value())?)
}

/// What is in a value of this context-specific number, where it is the next one.
fn tagged<'a>(reader: &mut SliceReader<'a>, number: u32) -> Result<Option<&'a [u8]>, RequestError> {
    let tag = Tag::ContextSpecific { constructed: true, number: TagNumber(number) };
    if reader.is_finished() || Tag::peek(reader)? != tag {
        return Ok(None);
    }
    Ok(Some(AnyRef::decode(reader)?.value()))
}

fn skip(reader: &mut SliceReader<'_>, number: u32) -> Result<(), RequestError> {
    tagged(reader, number).map(drop)
}

/// Of extensions a nonce is known, and the others are passed over where they may be.
fn check(extensions: &[u8]) -> Result<(), RequestError> {
    for extension in Extensions::from_der(extensions)? {
        if extension.extn_id == NONCE {
            let nonce = OctetString::from_der(extension.extn_value.as_bytes())
                .map_err(|_| RequestError::Nonce)?;
            if !(1..=NONCE_BYTES_MAX).contains(&nonce.as_bytes().len()) {
                return Err(RequestError::Nonce);
            }
        } else if extension.critical {
            return Err(RequestError::Critical);
        }
    }
    Ok(())
}

/// What is said of a certificate that was issued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It was not revoked.
    Good,
    /// It was.
    Revoked(Revoked),
}

/// An answer that lacks its signature.
pub struct UnsignedAnswer(Vec<u8>);

impl UnsignedAnswer {
    /// What the key of an issuer says of some of its certificates, from when until when.
    pub fn new(
        issuer: &PublicKey,
        life: Life,
        said: &[(CertId, Status)],
    ) -> Result<Self, EncodingError> {
        let mut answers = Vec::with_capacity(said.len());
        for (id, status) in said {
            answers.push(sequence(&[
                id.der.clone(),
                certified(status)?,
                generalized(life.from.minus(BACKDATED))?,
                explicit(0, generalized(life.until)?)?,
            ])?);
        }
        // byKey is always a SHA-1 (RFC 6960 section 4.2.1).
        let by = OctetString::new(sha1(issuer.bytes()))?.to_der()?;
        let parts = [explicit(2, by)?, generalized(life.from)?, sequence(&answers)?];
        Ok(Self(sequence(&parts)?))
    }

    /// The bytes that are signed.
    pub fn signing_input(&self) -> &[u8] {
        &self.0
    }

    /// The answer with its signature, DER: ECDSA with SHA-256, `r || s`.
    pub fn finish(self, signed: &[u8; 64]) -> Result<Vec<u8>, EncodingError> {
        let basic = sequence(&[self.0, ecdsa().to_der()?, signature(signed)?])?;
        let bytes = sequence(&[BASIC.to_der()?, OctetString::new(basic)?.to_der()?])?;
        // ENUMERATED: successful.
        sequence(&[vec![0x0a, 0x01, 0x00], explicit(0, bytes)?])
    }
}

/// RFC 6960 section 4.2.1: CertStatus.
fn certified(status: &Status) -> Result<Vec<u8>, EncodingError> {
    let Status::Revoked(Revoked { at, reason }) = status else {
        // [0] IMPLICIT NULL.
        return Ok(vec![0x80, 0x00]);
    };
    let mut inner = generalized(*at)?;
    if let Some(reason) = reason {
        inner.extend(explicit(0, reason.code().to_der()?)?);
    }
    // [1] IMPLICIT SEQUENCE.
    explicit(1, inner)
}
