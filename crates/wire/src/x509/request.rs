//! RFC 2986: a certification request, of which the key counts and nothing else.
//!
//! Whoever asks proves that it holds the key by signing the request with it. Names, extensions and
//! attributes of a request are not looked at: what a certificate says is decided by who asked, so
//! that no request can ask for more. [`write`] makes one that names nothing.

use std::fmt;

use x509_cert::der::asn1::{AnyRef, UintRef};
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::der::{self, Decode as _, Encode as _, Reader as _, SliceReader};
use x509_cert::request::CertReq;
use x509_cert::spki::SubjectPublicKeyInfoOwned;

use super::certificate::{ecdsa, info, sequence, signature};
use super::published::is_published;
use super::{EncodingError, decoded, from_base64, pem};
use crate::crypto::{EcdsaKind, PrivateKey, RsaAlgorithm, RsaPublicKey, sha256, verify_ecdsa_asn1};

/// The longest request as text, bytes: one with an RSA key of 4096 bits has a fifth of it.
pub const REQUEST_TEXT_BYTES_MAX: usize = 16 * 1024;

/// The label of a request (RFC 7468 section 7).
pub(super) const LABEL: &str = "CERTIFICATE REQUEST";
/// The same as older programs write it, Java's `keytool` among them.
const LABEL_BEFORE: &str = "NEW CERTIFICATE REQUEST";

const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const ECDSA_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
const ECDSA_SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3");
const RSA_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.11");

/// Why a request is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestError {
    /// Longer than [`REQUEST_TEXT_BYTES_MAX`].
    TooLarge,
    /// Neither one PEM block of a request nor base64.
    Pem,
    /// Not a request in DER, whole and in its one spelling.
    Malformed,
    /// The key is of no kind or size that certificates are issued for.
    Key,
    /// Everybody has the private half of the key.
    Published,
    /// It is signed in no way that goes with its key.
    Algorithm,
    /// The signature is not by the key in it.
    Signature,
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge => write!(f, "is longer than {REQUEST_TEXT_BYTES_MAX} bytes"),
            Self::Pem => {
                write!(f, "is neither one PEM block `{LABEL}` nor base64 of its DER, alone")
            }
            Self::Malformed => f.write_str("is no certification request (RFC 2986)"),
            Self::Key => f.write_str(
                "has a key that is not of P-256, P-384 or RSA with 2048 to 4096 bits and the \
                 exponent 65537",
            ),
            Self::Published => f.write_str(
                "has a key whose private half is printed in a standard, so that everybody has it",
            ),
            Self::Algorithm => f.write_str(
                "is not signed by ECDSA with SHA-256 or SHA-384, or by RSA (PKCS #1) with SHA-256",
            ),
            Self::Signature => f.write_str("is not signed by the key in it"),
        }
    }
}

impl std::error::Error for RequestError {}

/// A public key whose holder proved that it holds it.
#[derive(Clone, Debug)]
pub struct SubjectKey {
    pub(super) info: SubjectPublicKeyInfoOwned,
    der: Vec<u8>,
}

impl SubjectKey {
    /// SHA-256 of its SubjectPublicKeyInfo.
    pub fn digest(&self) -> [u8; 32] {
        sha256(&self.der)
    }
}

/// Reads a request, as PEM or as its DER in base64 (RFC 7030 section 4.2.1), and checks its signature.
pub fn parse(text: &str) -> Result<SubjectKey, RequestError> {
    if text.len() > REQUEST_TEXT_BYTES_MAX {
        return Err(RequestError::TooLarge);
    }
    let der = [LABEL, LABEL_BEFORE].iter().find_map(|label| decoded(label, text));
    let der = der.or_else(|| from_base64(text).filter(|der| !der.is_empty()));
    let der = der.ok_or(RequestError::Pem)?;
    let malformed = |_: der::Error| RequestError::Malformed;
    let request = CertReq::from_der(&der).map_err(malformed)?;
    // What was signed is what was read: anything else would be a second spelling.
    if request.to_der().map_err(malformed)? != der {
        return Err(RequestError::Malformed);
    }
    let message = request.info.to_der().map_err(malformed)?;
    let signature = request.signature.as_bytes().ok_or(RequestError::Malformed)?;
    let algorithm = &request.algorithm;
    let info = request.info.public_key;
    let key = info.subject_public_key.as_bytes().ok_or(RequestError::Key)?;
    let parameters = info.algorithm.parameters.as_ref();
    if info.algorithm.oid == EC_PUBLIC_KEY {
        let curve = parameters.and_then(|curve| curve.decode_as::<ObjectIdentifier>().ok());
        let kind = match (curve, algorithm.oid) {
            (Some(P256), ECDSA_SHA256) => EcdsaKind::P256Sha256,
            (Some(P256), ECDSA_SHA384) => EcdsaKind::P256Sha384,
            (Some(P384), ECDSA_SHA256) => EcdsaKind::P384Sha256,
            (Some(P384), ECDSA_SHA384) => EcdsaKind::P384Sha384,
            (Some(P256 | P384), _) => return Err(RequestError::Algorithm),
            _ => return Err(RequestError::Key),
        };
        if !kind.is_point(key) {
            return Err(RequestError::Key);
        }
        // RFC 5758 section 3.2: "the encoding MUST omit the parameters field".
        if algorithm.parameters.is_some() {
            return Err(RequestError::Algorithm);
        }
        verify_ecdsa_asn1(kind, key, &message, signature).map_err(|_| RequestError::Signature)?;
    } else if info.algorithm.oid == RSA {
        if !parameters.is_some_and(|any| AnyRef::from(any).is_null()) {
            return Err(RequestError::Key);
        }
        let key = rsa(key).ok_or(RequestError::Key)?;
        let is_null = algorithm.parameters.as_ref().is_some_and(|any| AnyRef::from(any).is_null());
        if algorithm.oid != RSA_SHA256 || !is_null {
            return Err(RequestError::Algorithm);
        }
        key.verify(&message, signature).map_err(|_| RequestError::Signature)?;
    } else {
        return Err(RequestError::Key);
    }
    let key = SubjectKey { der: info.to_der().map_err(malformed)?, info };
    if is_published(&key.digest()) { Err(RequestError::Published) } else { Ok(key) }
}

/// A request for a certificate of a key of P-256, as PEM. It names nothing and asks for nothing.
pub fn write(key: &PrivateKey) -> Result<String, EncodingError> {
    let unsigned = |error: crate::crypto::CryptoError| EncodingError(error.to_string());
    let asked = sequence(&[
        // Version 1; no name.
        vec![0x02, 0x01, 0x00, 0x30, 0x00],
        info(&key.public().map_err(unsigned)?)?.to_der()?,
        // [0] IMPLICIT SET OF, empty: no attributes.
        vec![0xa0, 0x00],
    ])?;
    let signed = signature(&key.sign(&asked).map_err(unsigned)?)?;
    Ok(pem(LABEL, &sequence(&[asked, ecdsa().to_der()?, signed])?))
}

/// RFC 8017 appendix A.1.1: modulus and exponent.
fn rsa(bytes: &[u8]) -> Option<RsaPublicKey> {
    let mut reader = SliceReader::new(bytes).ok()?;
    let (modulus, exponent) = reader
        .sequence(|inner| {
            let modulus = UintRef::decode(inner)?;
            let exponent = UintRef::decode(inner)?;
            Ok::<_, der::Error>((modulus, exponent))
        })
        .ok()?;
    reader.finish().ok()?;
    RsaPublicKey::new(RsaAlgorithm::Rs256, modulus.as_bytes(), exponent.as_bytes()).ok()
}
