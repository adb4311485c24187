//! RFC 5280 section 4, SPIFFE X509-SVID: certificates of three kinds, of a root, of an intermediate
//! and of an instance.
//!
//! Each is rebuilt from what the issuer knows. The root alone carries name constraints: whoever
//! holds the root to its trust domain needs no more, and whoever cannot read constraints of URIs
//! (rustls) takes the root's name and key as its anchor and compares the whole SPIFFE ID.

use std::collections::BTreeSet;
use std::time::Duration;

use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::der::asn1::{Any, BitString, Ia5String, OctetString, UintRef, Utf8StringRef};
use x509_cert::der::oid::{AssociatedOid, ObjectIdentifier};
use x509_cert::der::{DateTime, Decode as _, Encode, Tag, TagNumber};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::constraints::name::GeneralSubtree;
use x509_cert::ext::pkix::crl::dp::DistributionPoint;
use x509_cert::ext::pkix::name::{DistributionPointName, GeneralName};
use x509_cert::ext::pkix::{
    AccessDescription, AuthorityInfoAccessSyntax, AuthorityKeyIdentifier, BasicConstraints,
    CrlDistributionPoints, ExtendedKeyUsage, KeyUsage, KeyUsages, NameConstraints, SubjectAltName,
    SubjectKeyIdentifier,
};
use x509_cert::name::{RdnSequence, RelativeDistinguishedName};
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};
use x509_cert::time::{Time as X509Time, Validity};

use super::dns_name::DnsName;
use super::request::SubjectKey;
use super::spiffe::{SpiffeId, TrustDomain};
use super::{EncodingError, pem};
use crate::crypto::{Algorithm, PublicKey, sha256};
use crate::time::Time;

/// The media type of a certificate (RFC 5280 section 4.2.2.1).
pub const CERTIFICATE_MEDIA_TYPE: &str = "application/pkix-cert";
/// How long before its making a certificate says that it holds: verifiers' clocks may be behind.
pub const BACKDATED: Duration = Duration::from_mins(1);
/// Bytes of a serial number, 80 bits of which at least are random: RFC 5280 asks for a positive number of at most 20.
pub const SERIAL_BYTES: usize = 16;
/// Bytes of a key's identifier (RFC 7093 section 2, method 1).
const KEY_IDENTIFIER_BYTES: usize = 20;
/// Intermediates below a root, and certificates of authorities below an intermediate.
pub(super) const PATH_BELOW_ROOT: u8 = 1;

const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const ECDSA_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
pub(super) const SERVER_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1");
const CLIENT_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2");
const OCSP: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1");
const CA_ISSUERS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.2");

/// From when until when a certificate holds.
#[derive(Clone, Copy, Debug)]
pub struct Life {
    /// When it was made; it says [`BACKDATED`] before.
    pub from: Time,
    /// When it is over.
    pub until: Time,
}

/// An authority that signs or is signed: what it is called and its key.
#[derive(Clone, Copy, Debug)]
pub struct Named<'a> {
    /// Its common name, at most 64 letters.
    pub name: &'a str,
    /// Its key, of P-256.
    pub key: &'a PublicKey,
    /// How its key is identified, where its certificate says otherwise than ours do
    /// (RFC 5280 section 4.2.1.1).
    pub identifier: Option<&'a [u8]>,
}

impl<'a> Named<'a> {
    /// One whose certificate is of ours.
    pub const fn new(name: &'a str, key: &'a PublicKey) -> Self {
        Self { name, key, identifier: None }
    }
}

/// Where whoever has a certificate finds what its issuer says of it: URLs.
#[derive(Clone, Debug)]
pub struct Pointers {
    /// The issuer's list of revoked certificates (RFC 5280 section 4.2.1.13).
    pub crl: String,
    /// Where it is asked about one (section 4.2.2.1).
    pub ocsp: String,
    /// The issuer's own certificate (section 4.2.2.1).
    pub issuer: String,
}

/// A certificate that lacks its signature.
pub struct Unsigned(Vec<u8>);

impl Unsigned {
    /// That of a root, which signs itself and whatever is below it in its trust domain.
    pub fn root(
        domain: &TrustDomain,
        root: Named<'_>,
        serial: &[u8; SERIAL_BYTES],
        life: Life,
    ) -> Result<Self, EncodingError> {
        let key = info(root.key)?;
        let extensions = [
            authority(PATH_BELOW_ROOT)?,
            signs_certificates()?,
            identified(&key)?,
            names(&domain.id())?,
            constraints(domain)?,
        ];
        let name = common_name(root.name)?;
        Self::new(serial, (&name, &name), life, &key, &extensions)
    }

    /// That of an intermediate, which signs instances' alone.
    pub fn intermediate(
        domain: &TrustDomain,
        (issuer, subject): (Named<'_>, Named<'_>),
        at: &Pointers,
        serial: &[u8; SERIAL_BYTES],
        life: Life,
    ) -> Result<Self, EncodingError> {
        let key = info(subject.key)?;
        let extensions = [
            authority(0)?,
            signs_certificates()?,
            identified(&key)?,
            signed_by(issuer)?,
            names(&domain.id())?,
            lists(at)?,
            answers(at)?,
        ];
        let names = (&common_name(issuer.name)?, &common_name(subject.name)?);
        Self::new(serial, names, life, &key, &extensions)
    }

    /// That of an instance: an X509-SVID, with which it is a client and a server, at `hosts` if any.
    pub fn instance(
        (id, hosts): (&SpiffeId, &BTreeSet<DnsName>),
        (issuer, at): (Named<'_>, &Pointers),
        (name, key): (&str, &SubjectKey),
        serial: &[u8; SERIAL_BYTES],
        life: Life,
    ) -> Result<Self, EncodingError> {
        let extensions = [
            no_authority()?,
            signs_data()?,
            extension(false, &ExtendedKeyUsage(vec![SERVER_AUTH, CLIENT_AUTH]))?,
            identified(&key.info)?,
            signed_by(issuer)?,
            names_and_hosts(id, hosts)?,
            lists(at)?,
            answers(at)?,
        ];
        let names = (&common_name(issuer.name)?, &common_name(name)?);
        Self::new(serial, names, life, &key.info, &extensions)
    }

    /// That of what serves a trust domain's bundle: an X509-SVID with the domain's name as a host beside its id.
    pub fn bundle_endpoint(
        domain: &TrustDomain,
        (issuer, at): (Named<'_>, &Pointers),
        subject: Named<'_>,
        serial: &[u8; SERIAL_BYTES],
        life: Life,
    ) -> Result<Self, EncodingError> {
        let key = info(subject.key)?;
        let id = domain.bundle_endpoint();
        let names = vec![url(id.as_str())?, GeneralName::DnsName(Ia5String::new(domain.as_str())?)];
        let extensions = [
            no_authority()?,
            signs_data()?,
            // X509-SVID section 4.4: both, though it is no client.
            extension(false, &ExtendedKeyUsage(vec![SERVER_AUTH, CLIENT_AUTH]))?,
            identified(&key)?,
            signed_by(issuer)?,
            extension(false, &SubjectAltName(names))?,
            // OCSP says nothing of it: it has no row.
            lists(at)?,
        ];
        let names = (&common_name(issuer.name)?, &common_name(subject.name)?);
        Self::new(serial, names, life, &key, &extensions)
    }

    pub(super) fn new(
        serial: &[u8; SERIAL_BYTES],
        (issuer, subject): (&RdnSequence, &RdnSequence),
        life: Life,
        key: &SubjectPublicKeyInfoOwned,
        extensions: &[Extension],
    ) -> Result<Self, EncodingError> {
        let validity = Validity::<x509_cert::certificate::Rfc5280>::new(
            time(life.from.minus(BACKDATED))?,
            time(life.until)?,
        );
        let parts = [
            // [0] EXPLICIT, version 3.
            vec![0xa0, 0x03, 0x02, 0x01, 0x02],
            SerialNumber::<x509_cert::certificate::Rfc5280>::new(serial)?.to_der()?,
            ecdsa().to_der()?,
            issuer.to_der()?,
            validity.to_der()?,
            subject.to_der()?,
            key.to_der()?,
            explicit(3, extensions.to_vec().to_der()?)?,
        ];
        Ok(Self(sequence(&parts)?))
    }

    /// The bytes that are signed.
    pub fn signing_input(&self) -> &[u8] {
        &self.0
    }

    /// The certificate with its signature: ECDSA with SHA-256, `r || s`.
    pub fn finish(self, signature: &[u8; 64]) -> Result<Certificate, EncodingError> {
        Certificate::parse(&sequence(&[self.0, ecdsa().to_der()?, self::signature(signature)?])?)
    }
}

/// A certificate of ours, as it was signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    der: Vec<u8>,
    serial: [u8; SERIAL_BYTES],
    until: Time,
}

impl Certificate {
    /// Reads one of ours from its bytes.
    pub fn parse(der: &[u8]) -> Result<Self, EncodingError> {
        let read = x509_cert::Certificate::from_der(der)?;
        let until = read.tbs_certificate().validity().not_after.to_unix_duration();
        let until = Time::from_seconds(i64::try_from(until.as_secs()).unwrap_or(i64::MAX));
        let serial = read.tbs_certificate().serial_number().as_bytes();
        let serial = padded(serial)
            .ok_or_else(|| EncodingError("the serial number is none of ours".to_owned()))?;
        Ok(Self { der: der.to_vec(), serial, until })
    }

    /// Its serial number.
    pub const fn serial(&self) -> &[u8; SERIAL_BYTES] {
        &self.serial
    }

    /// Its bytes.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// When it is over.
    pub const fn until(&self) -> Time {
        self.until
    }

    /// Its text (RFC 7468 section 5).
    pub fn pem(&self) -> String {
        pem("CERTIFICATE", &self.der)
    }

    /// SHA-256 of its bytes.
    pub fn digest(&self) -> [u8; 32] {
        sha256(&self.der)
    }
}

/// A serial number as we give them out; nothing where it is a longer one. As an integer in DER it has
/// no zeros in front, or one where it would be negative without.
pub(super) fn padded(serial: &[u8]) -> Option<[u8; SERIAL_BYTES]> {
    let begins = serial.iter().position(|byte| *byte != 0).unwrap_or(serial.len());
    let serial = &serial[begins..];
    let zeros = SERIAL_BYTES.checked_sub(serial.len())?;
    let mut padded = [0; SERIAL_BYTES];
    padded[zeros..].copy_from_slice(serial);
    Some(padded)
}

/// RFC 3279 section 2.2.3: `r || s` as a certificate or a request has it.
pub(super) fn signature(fixed: &[u8; 64]) -> Result<Vec<u8>, EncodingError> {
    let (r, s) = fixed.split_at(32);
    let both = sequence(&[UintRef::new(r)?.to_der()?, UintRef::new(s)?.to_der()?])?;
    Ok(BitString::from_bytes(&both)?.to_der()?)
}

pub(super) fn sequence(parts: &[Vec<u8>]) -> Result<Vec<u8>, EncodingError> {
    Ok(Any::new(Tag::Sequence, parts.concat())?.to_der()?)
}

pub(super) fn explicit(number: u32, inner: Vec<u8>) -> Result<Vec<u8>, EncodingError> {
    let tag = Tag::ContextSpecific { constructed: true, number: TagNumber(number) };
    Ok(Any::new(tag, inner)?.to_der()?)
}

pub(super) fn time(time: Time) -> Result<X509Time, EncodingError> {
    let seconds = u64::try_from(time.seconds()).unwrap_or(0);
    Ok(X509Time::from(DateTime::from_unix_duration(Duration::from_secs(seconds))?))
}

pub(super) fn ecdsa() -> AlgorithmIdentifierOwned {
    AlgorithmIdentifierOwned { oid: ECDSA_SHA256, parameters: None }
}

pub(super) fn info(key: &PublicKey) -> Result<SubjectPublicKeyInfoOwned, EncodingError> {
    if key.algorithm() != Algorithm::Es256 {
        return Err(EncodingError("the key is not of P-256".to_owned()));
    }
    let algorithm =
        AlgorithmIdentifierOwned { oid: EC_PUBLIC_KEY, parameters: Some(Any::encode_from(&P256)?) };
    let subject_public_key = BitString::from_bytes(key.bytes())?;
    Ok(SubjectPublicKeyInfoOwned { algorithm, subject_public_key })
}

pub(super) fn key_identifier(key: &SubjectPublicKeyInfoOwned) -> [u8; KEY_IDENTIFIER_BYTES] {
    let bytes = key.subject_public_key.raw_bytes();
    let mut identifier = [0; KEY_IDENTIFIER_BYTES];
    identifier.copy_from_slice(&sha256(bytes)[..KEY_IDENTIFIER_BYTES]);
    identifier
}

pub(super) fn common_name(text: &str) -> Result<RdnSequence, EncodingError> {
    let value = Any::encode_from(&Utf8StringRef::new(text)?)?;
    let mut one = RelativeDistinguishedName::default();
    one.insert(AttributeTypeAndValue { oid: COMMON_NAME, value })?;
    let mut name = RdnSequence::default();
    name.push(one);
    Ok(name)
}

pub(super) fn extension<E: Encode + AssociatedOid>(
    critical: bool,
    value: &E,
) -> Result<Extension, EncodingError> {
    let extn_value = OctetString::new(value.to_der()?)?;
    Ok(Extension { extn_id: E::OID, critical, extn_value })
}

pub(super) fn authority(below: u8) -> Result<Extension, EncodingError> {
    extension(true, &BasicConstraints { ca: true, path_len_constraint: Some(below) })
}

pub(super) fn signs_certificates() -> Result<Extension, EncodingError> {
    extension(true, &KeyUsage(KeyUsages::KeyCertSign | KeyUsages::CRLSign))
}

pub(super) fn no_authority() -> Result<Extension, EncodingError> {
    extension(true, &BasicConstraints { ca: false, path_len_constraint: None })
}

pub(super) fn signs_data() -> Result<Extension, EncodingError> {
    extension(true, &KeyUsage(KeyUsages::DigitalSignature.into()))
}

/// RFC 5280 section 4.2.1.2: how the key in a certificate is called.
pub(super) fn identified(key: &SubjectPublicKeyInfoOwned) -> Result<Extension, EncodingError> {
    extension(false, &SubjectKeyIdentifier(OctetString::new(key_identifier(key))?))
}

pub(super) fn signed_by(issuer: Named<'_>) -> Result<Extension, EncodingError> {
    let identifier = match issuer.identifier {
        Some(identifier) => OctetString::new(identifier)?,
        None => OctetString::new(key_identifier(&info(issuer.key)?))?,
    };
    let identifier =
        AuthorityKeyIdentifier { key_identifier: Some(identifier), ..Default::default() };
    extension(false, &identifier)
}

pub(super) fn names(id: &SpiffeId) -> Result<Extension, EncodingError> {
    names_and_hosts(id, &BTreeSet::new())
}

/// X509-SVID section 2: one URI, which is the SPIFFE ID, and names of hosts beside it.
fn names_and_hosts(id: &SpiffeId, hosts: &BTreeSet<DnsName>) -> Result<Extension, EncodingError> {
    let mut names = vec![url(id.as_str())?];
    for host in hosts {
        names.push(GeneralName::DnsName(Ia5String::new(host.as_str())?));
    }
    extension(false, &SubjectAltName(names))
}

fn url(text: &str) -> Result<GeneralName, EncodingError> {
    Ok(GeneralName::UniformResourceIdentifier(Ia5String::new(text)?))
}

fn lists(at: &Pointers) -> Result<Extension, EncodingError> {
    let point = DistributionPoint {
        distribution_point: Some(DistributionPointName::FullName(vec![url(&at.crl)?])),
        reasons: None,
        crl_issuer: None,
    };
    extension(false, &CrlDistributionPoints(vec![point]))
}

fn answers(at: &Pointers) -> Result<Extension, EncodingError> {
    let described = |access_method, text| {
        Ok::<_, EncodingError>(AccessDescription { access_method, access_location: url(text)? })
    };
    let both = vec![described(OCSP, &at.ocsp)?, described(CA_ISSUERS, &at.issuer)?];
    extension(false, &AuthorityInfoAccessSyntax(both))
}

/// RFC 5280 section 4.2.1.10: nothing outside the trust domain, neither a URI nor a host.
fn constraints(domain: &TrustDomain) -> Result<Extension, EncodingError> {
    let only = |base| GeneralSubtree { base, minimum: 0, maximum: None };
    let name = || Ia5String::new(domain.as_str());
    let permitted = vec![
        only(GeneralName::UniformResourceIdentifier(name()?)),
        only(GeneralName::DnsName(name()?)),
    ];
    let constraints =
        NameConstraints { permitted_subtrees: Some(permitted), excluded_subtrees: None };
    extension(true, &constraints)
}
