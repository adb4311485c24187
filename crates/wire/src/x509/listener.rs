//! RFC 5280, RFC 9525: the two certificates of a listener that speaks TLS by an authority of its own: of
//! the root that clients are given, and of the key that is shown to them.
//!
//! Each is for one host and for nothing else. The root says so by its name constraints, which every
//! verifier reads, rustls among them, since there is a name of a host or an address in them and no URI.
//! Absent on purpose: where revoked ones are told. What is shown is over within a day.

use std::fmt;
use std::net::IpAddr;

use x509_cert::der::asn1::{Ia5String, OctetString};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::constraints::name::GeneralSubtree;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{ExtendedKeyUsage, NameConstraints, SubjectAltName};

use super::EncodingError;
use super::certificate::{
    Life, Named, SERIAL_BYTES, SERVER_AUTH, Unsigned, authority, common_name, extension,
    identified, info, no_authority, signed_by, signs_certificates, signs_data,
};
use super::dns_name::DnsName;

/// Whom a listener is reached as: what a client compares a certificate with (RFC 9525 section 6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// A name, without a dot at its end.
    Name(DnsName),
    /// An address.
    Address(IpAddr),
}

/// A text is no host of a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAHost;

impl fmt::Display for NotAHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a host that a certificate can name: letters, digits, `-` and `.`")
    }
}

impl std::error::Error for NotAHost {}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name.as_str()),
            Self::Address(address) => address.fmt(f),
        }
    }
}

impl Host {
    /// That of a URL.
    pub fn of_url(url: &str) -> Result<Self, NotAHost> {
        let (_, rest) = url.split_once("://").ok_or(NotAHost)?;
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if let Some(address) = authority.strip_prefix('[') {
            let (address, _) = address.split_once(']').ok_or(NotAHost)?;
            return address.parse().map(|it| Self::Address(IpAddr::V6(it))).map_err(|_| NotAHost);
        }
        let host = authority.split(':').next().unwrap_or_default();
        if let Ok(address) = host.parse() {
            return Ok(Self::Address(IpAddr::V4(address)));
        }
        let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        DnsName::parse(&name).map(Self::Name).map_err(|_| NotAHost)
    }

    fn general_name(&self) -> Result<GeneralName, EncodingError> {
        Ok(match self {
            Self::Name(name) => GeneralName::DnsName(Ia5String::new(name.as_str())?),
            Self::Address(address) => octets(&bytes(*address))?,
        })
    }

    /// RFC 5280 section 4.2.1.10: this host alone; of the other kind of names none.
    fn constraints(&self) -> Result<Extension, EncodingError> {
        let (permitted, excluded) = match self {
            Self::Name(_) => {
                let all = [octets(&[0; 8])?, octets(&[0; 32])?];
                (self.general_name()?, all.to_vec())
            }
            Self::Address(address) => {
                let address = bytes(*address);
                let only = [address.clone(), vec![0xff; address.len()]].concat();
                (octets(&only)?, vec![GeneralName::DnsName(Ia5String::new("")?)])
            }
        };
        let subtree = |base| GeneralSubtree { base, minimum: 0, maximum: None };
        let constraints = NameConstraints {
            permitted_subtrees: Some(vec![subtree(permitted)]),
            excluded_subtrees: Some(excluded.into_iter().map(subtree).collect()),
        };
        extension(true, &constraints)
    }
}

fn bytes(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn octets(bytes: &[u8]) -> Result<GeneralName, EncodingError> {
    Ok(GeneralName::IpAddress(OctetString::new(bytes)?))
}

impl Unsigned {
    /// That of a listener's root, which signs itself and what the listener shows.
    pub fn listener_root(
        host: &Host,
        root: Named<'_>,
        serial: &[u8; SERIAL_BYTES],
        life: Life,
    ) -> Result<Self, EncodingError> {
        let key = info(root.key)?;
        let extensions =
            [authority(0)?, signs_certificates()?, identified(&key)?, host.constraints()?];
        let name = common_name(root.name)?;
        Self::new(serial, (&name, &name), life, &key, &extensions)
    }

    /// That which a listener shows.
    pub fn listener(
        host: &Host,
        (issuer, subject): (Named<'_>, Named<'_>),
        serial: &[u8; SERIAL_BYTES],
        life: Life,
    ) -> Result<Self, EncodingError> {
        let key = info(subject.key)?;
        let extensions = [
            no_authority()?,
            signs_data()?,
            extension(false, &ExtendedKeyUsage(vec![SERVER_AUTH]))?,
            identified(&key)?,
            signed_by(issuer)?,
            extension(false, &SubjectAltName(vec![host.general_name()?]))?,
        ];
        let names = (&common_name(issuer.name)?, &common_name(subject.name)?);
        Self::new(serial, names, life, &key, &extensions)
    }
}
