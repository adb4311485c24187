//! RFC 5280, RFC 2986: an authority of ours below a root that somebody else keeps, which may be off line.
//!
//! [`request`] says what is to be certified, [`Above`] is what comes back: the authority's own certificate,
//! those between, and the root. That one signed the other is not decided here: a path of an
//! instance's certificate up to the root is checked as any verifier does it, by rustls-webpki
//! ([`Above::carries`]), so that nothing is taken which nobody else would believe.

use std::fmt;
use std::time::Duration;

use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage as Usage, anchor_from_trusted_cert};
use x509_cert::der::asn1::{Any, UintRef};
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::der::{self, Decode as _, Encode as _, Reader as _, SliceReader, Tag};
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage, KeyUsages, SubjectKeyIdentifier};
use x509_cert::spki::SubjectPublicKeyInfoOwned;

use super::certificate::{
    Certificate, Named, PATH_BELOW_ROOT, authority, common_name, ecdsa, explicit, identified, info,
    names, sequence, signature, signs_certificates,
};
use super::request::LABEL as REQUEST;
use super::spiffe::TrustDomain;
use super::{EncodingError, all_decoded, pem};
use crate::crypto::PublicKey;
use crate::jose::b64url_encode;
use crate::time::Time;

/// Certificates of a chain, from the authority's own to the root's, at most.
pub const CHAIN_MAX: usize = 5;
/// The longest of them, bytes.
pub const CERTIFICATE_BYTES_MAX: usize = 8 * 1024;
/// The longest chain as text, bytes.
pub const CHAIN_TEXT_BYTES_MAX: usize = 48 * 1024;

const LABEL: &str = "CERTIFICATE";
/// RFC 2985 section 5.4.2: which extensions whoever asks would like to have.
const EXTENSION_REQUEST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.14");
const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
/// The curves that a root's key may be of, and what JOSE calls them (RFC 7518 section 6.2.1.1).
const CURVES: [(ObjectIdentifier, &str); 3] = [
    (ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7"), "P-256"),
    (ObjectIdentifier::new_unwrap("1.3.132.0.34"), "P-384"),
    (ObjectIdentifier::new_unwrap("1.3.132.0.35"), "P-521"),
];

/// A request that lacks its signature.
pub struct UnsignedRequest(Vec<u8>);

/// A request for the certificate of an authority that signs intermediates of its trust domain. What it
/// would like its certificate to say stands in it, for whoever copies extensions.
pub fn request(
    domain: &TrustDomain,
    authority: Named<'_>,
) -> Result<UnsignedRequest, EncodingError> {
    let key = info(authority.key)?;
    let wished = vec![
        self::authority(PATH_BELOW_ROOT)?,
        signs_certificates()?,
        identified(&key)?,
        names(&domain.id())?,
    ];
    let wished = Any::new(Tag::Set, wished.to_der()?)?.to_der()?;
    let attribute = sequence(&[EXTENSION_REQUEST.to_der()?, wished])?;
    let parts = [
        // Version 1.
        vec![0x02, 0x01, 0x00],
        common_name(authority.name)?.to_der()?,
        key.to_der()?,
        // [0] IMPLICIT SET OF: one attribute.
        explicit(0, attribute)?,
    ];
    Ok(UnsignedRequest(sequence(&parts)?))
}

impl UnsignedRequest {
    /// The bytes that are signed.
    pub fn signing_input(&self) -> &[u8] {
        &self.0
    }

    /// The request with its signature (ECDSA with SHA-256, `r || s`), as PEM.
    pub fn finish(self, signed: &[u8; 64]) -> Result<String, EncodingError> {
        Ok(pem(REQUEST, &sequence(&[self.0, ecdsa().to_der()?, signature(signed)?])?))
    }
}

/// Why a chain is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChainError {
    /// Not certificates in PEM, one after the other, and nothing else.
    Pem,
    /// Fewer than the authority's and the root's, or more than [`CHAIN_MAX`].
    Count,
    /// One of them is no certificate in DER, whole and in its one spelling; counted from 1.
    Malformed(usize),
    /// One of them does not name the next as its issuer, or the last is not a root's; counted from 1.
    Order(usize),
    /// One of them may not sign certificates; counted from 1.
    NoAuthority(usize),
    /// One of them may not have so many authorities below it; counted from 1.
    Length(usize),
    /// One of them is over, or does not hold yet; counted from 1.
    NotNow(usize),
    /// The first is of another key than the request.
    Key,
    /// The first names the authority otherwise than the request.
    Name,
    /// The root's key is of a kind that bundles have no word for.
    RootKey,
    /// A verifier does not believe what is signed below it; in its own words.
    Path(String),
}

impl fmt::Display for ChainError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pem => write!(f, "is not PEM blocks `{LABEL}` alone, one after the other"),
            Self::Count => write!(f, "has not two certificates to {CHAIN_MAX}"),
            Self::Malformed(at) => write!(f, "certificate {at} is none (RFC 5280)"),
            Self::Order(at) => {
                write!(f, "certificate {at} is not followed by its issuer's, up to a root's")
            }
            Self::NoAuthority(at) => {
                write!(f, "certificate {at} is of none that may sign certificates and lists")
            }
            Self::Length(at) => {
                write!(f, "certificate {at} may not have so many authorities below it")
            }
            Self::NotNow(at) => write!(f, "certificate {at} does not hold now"),
            Self::Key => f.write_str("the first certificate is of another key than the request"),
            Self::Name => f.write_str("the first certificate has another subject than the request"),
            Self::RootKey => {
                f.write_str("the root's key is neither of P-256, P-384, P-521 nor RSA")
            }
            Self::Path(why) => {
                write!(
                    f,
                    "rustls-webpki does not believe an instance's certificate below it: {why}"
                )
            }
        }
    }
}

impl std::error::Error for ChainError {}

/// A root's public key as a JWK has it (RFC 7518 section 6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RootKey {
    /// Of a curve.
    Ec {
        /// Which.
        curve: &'static str,
        /// Base64url.
        x: String,
        /// Base64url.
        y: String,
    },
    /// RSA.
    Rsa {
        /// The modulus, base64url.
        n: String,
        /// The exponent, base64url.
        e: String,
    },
}

/// What stands above an authority of ours: its certificate as somebody else signed it, and those up to the
/// root, in the order in which a path is built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Above {
    certificates: Vec<Vec<u8>>,
    until: Time,
    identifier: Option<Vec<u8>>,
    root: RootKey,
}

impl Above {
    /// Reads what came back for a request of `authority`, PEM.
    pub fn parse(text: &str, authority: Named<'_>, now: Time) -> Result<Self, ChainError> {
        if text.len() > CHAIN_TEXT_BYTES_MAX {
            return Err(ChainError::Count);
        }
        let found = all_decoded(LABEL, text).ok_or(ChainError::Pem)?;
        let above = Self::read(found)?;
        let first = certificate(&above.certificates, 0)?;
        let said = first.tbs_certificate();
        let own = info(authority.key).map_err(|_| ChainError::Key)?;
        if *said.subject_public_key_info() != own {
            return Err(ChainError::Key);
        }
        let name = common_name(authority.name).and_then(|name| Ok(name.to_der()?));
        let name = name.map_err(|_| ChainError::Name)?;
        if said.subject().to_der().ok() != Some(name) {
            return Err(ChainError::Name);
        }
        for at in 0..above.certificates.len() {
            let life = *certificate(&above.certificates, at)?.tbs_certificate().validity();
            let [from, until] = [life.not_before, life.not_after].map(|time| seconds(&time));
            if now < from || until < now {
                return Err(ChainError::NotNow(at + 1));
            }
        }
        Ok(above)
    }

    /// Reads what was taken before.
    pub fn read(certificates: Vec<Vec<u8>>) -> Result<Self, ChainError> {
        if !(2..=CHAIN_MAX).contains(&certificates.len()) {
            return Err(ChainError::Count);
        }
        let (mut until, mut issuer) = (Time::from_seconds(i64::MAX / 1_000_000), None);
        let (mut identifier, mut root) = (None, None);
        for at in 0..certificates.len() {
            let malformed = |_: der::Error| ChainError::Malformed(at + 1);
            let read = certificate(&certificates, at)?;
            let said = read.tbs_certificate();
            let subject = said.subject().to_der().map_err(malformed)?;
            if issuer.is_some_and(|issuer| issuer != subject) {
                return Err(ChainError::Order(at));
            }
            let may = said.get_extension::<BasicConstraints>().map_err(malformed)?;
            let usage = said.get_extension::<KeyUsage>().map_err(malformed)?;
            let signs = usage.is_none_or(|(_, usage)| {
                usage.0.contains(KeyUsages::KeyCertSign)
                    && (at > 0 || usage.0.contains(KeyUsages::CRLSign))
            });
            let may = may.map(|(_, may)| may).filter(|may| may.ca && signs);
            let may = may.ok_or(ChainError::NoAuthority(at + 1))?;
            // Verifiers do not agree on whether a root's own limit counts.
            if may.path_len_constraint.is_some_and(|most| usize::from(most) <= at) {
                return Err(ChainError::Length(at + 1));
            }
            if at == 0 {
                let known = said.get_extension::<SubjectKeyIdentifier>().map_err(malformed)?;
                identifier = known.map(|(_, known)| known.0.as_bytes().to_vec());
            }
            until = until.min(seconds(&said.validity().not_after));
            if at + 1 == certificates.len() {
                if said.issuer() != said.subject() {
                    return Err(ChainError::Order(at + 1));
                }
                root = root_key(said.subject_public_key_info());
            }
            issuer = Some(said.issuer().to_der().map_err(malformed)?);
        }
        let root = root.ok_or(ChainError::RootKey)?;
        Ok(Self { certificates, until, identifier, root })
    }

    /// Whether a verifier that holds to the root believes `leaf`, which `intermediate` signed, as a client's
    /// and as a server's.
    pub fn carries(
        &self,
        leaf: &Certificate,
        intermediate: &Certificate,
        now: Time,
    ) -> Result<(), ChainError> {
        let failed = |error: webpki::Error| ChainError::Path(format!("{error:?}"));
        let root = CertificateDer::from(self.root());
        let anchor = anchor_from_trusted_cert(&root).map_err(failed)?;
        let mut between = vec![CertificateDer::from(intermediate.der())];
        between.extend(self.between().map(CertificateDer::from));
        let leaf = CertificateDer::from(leaf.der());
        let leaf = EndEntityCert::try_from(&leaf).map_err(failed)?;
        let at = u64::try_from(now.seconds()).unwrap_or_default();
        let at = UnixTime::since_unix_epoch(Duration::from_secs(at));
        for usage in [Usage::client_auth(), Usage::server_auth()] {
            let anchors = [anchor.clone()];
            let path = leaf.verify_for_usage(
                ALL_VERIFICATION_ALGS,
                &anchors,
                &between,
                at,
                usage,
                None,
                None,
            );
            path.map_err(failed)?;
        }
        Ok(())
    }

    /// Each of them, DER: the authority's own first, the root's last.
    pub fn certificates(&self) -> impl Iterator<Item = &[u8]> {
        self.certificates.iter().map(Vec::as_slice)
    }

    /// The authority's own certificate, DER.
    pub fn own(&self) -> &[u8] {
        self.certificates.first().map(Vec::as_slice).unwrap_or_default()
    }

    /// The root's, DER.
    pub fn root(&self) -> &[u8] {
        self.certificates.last().map(Vec::as_slice).unwrap_or_default()
    }

    /// What goes with an intermediate of the authority to whoever knows the root alone, DER.
    pub fn between(&self) -> impl Iterator<Item = &[u8]> {
        let between = self.certificates.split_last().map(|(_, between)| between);
        between.unwrap_or_default().iter().map(Vec::as_slice)
    }

    /// When the first of them is over.
    pub const fn until(&self) -> Time {
        self.until
    }

    /// How the authority's key is identified in its own certificate, which may be otherwise than ours
    /// (RFC 5280 section 4.2.1.1: what it signs names it so).
    pub fn identifier(&self) -> Option<&[u8]> {
        self.identifier.as_deref()
    }

    /// The root's key.
    pub const fn root_key(&self) -> &RootKey {
        &self.root
    }
}

fn certificate(all: &[Vec<u8>], at: usize) -> Result<x509_cert::Certificate, ChainError> {
    let malformed = ChainError::Malformed(at + 1);
    let der = all.get(at).filter(|der| der.len() <= CERTIFICATE_BYTES_MAX);
    let der = der.ok_or(malformed.clone())?;
    let read = x509_cert::Certificate::from_der(der).map_err(|_| malformed.clone())?;
    // Two spellings of one certificate would be two to whoever compares digests.
    if read.to_der().ok().as_ref() == Some(der) { Ok(read) } else { Err(malformed) }
}

fn seconds(time: &x509_cert::time::Time) -> Time {
    let seconds = time.to_unix_duration().as_secs();
    Time::from_seconds(i64::try_from(seconds).unwrap_or(i64::MAX / 1_000_000))
}

pub(super) fn root_key(info: &SubjectPublicKeyInfoOwned) -> Option<RootKey> {
    let key = info.subject_public_key.as_bytes()?;
    if info.algorithm.oid == RSA {
        let mut reader = SliceReader::new(key).ok()?;
        let read = reader.sequence(|inner| {
            Ok::<_, der::Error>((UintRef::decode(inner)?, UintRef::decode(inner)?))
        });
        let (n, e) = read.ok()?;
        reader.finish().ok()?;
        let [n, e] = [n, e].map(|number| b64url_encode(number.as_bytes()));
        return Some(RootKey::Rsa { n, e });
    }
    if info.algorithm.oid != EC_PUBLIC_KEY {
        return None;
    }
    let curve = info.algorithm.parameters.as_ref()?.decode_as::<ObjectIdentifier>().ok()?;
    let (_, curve) = CURVES.into_iter().find(|(known, _)| *known == curve)?;
    // SEC 1 section 2.3.3: a point that is not compressed.
    let point = key.strip_prefix(&[4]).filter(|point| point.len() % 2 == 0)?;
    let (x, y) = point.split_at(point.len() / 2);
    Some(RootKey::Ec { curve, x: b64url_encode(x), y: b64url_encode(y) })
}

impl RootKey {
    /// That of a root of ours.
    pub fn of(key: &PublicKey) -> Option<Self> {
        root_key(&info(key).ok()?)
    }
}
