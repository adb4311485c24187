//! SPIFFE X509-SVID sections 2, 4 and 5.2: what a peer's certificate must be, beside having a path.
//!
//! Absent on purpose: the path to a root, whether it was revoked and the extended key usage, which are
//! the verifier's library's work, and names of hosts, which say nothing of a workload.

use std::fmt;

use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage, SubjectAltName};

use super::presented::{PRESENTED_BYTES_MAX, time};
use super::spiffe::ID_BYTES_MAX;
use crate::time::Time;

/// Why a certificate is no X509-SVID of a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAnSvid {
    /// Not a certificate of at most [`PRESENTED_BYTES_MAX`] bytes.
    Malformed,
    /// It does not name exactly one URI (section 2), or another one than a SPIFFE ID.
    Names,
    /// It is an authority's, or may sign certificates or lists (section 5.2).
    Signs,
    /// Its key may sign no handshake (section 4.3), or its usage is not said as critical.
    KeyUsage,
}

impl fmt::Display for NotAnSvid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "what was shown is not a certificate, or too long a one",
            Self::Names => "the certificate does not name exactly one URI that is a SPIFFE ID",
            Self::Signs => "the certificate is an authority's, or may sign others",
            Self::KeyUsage => "the certificate's key usage is not that of a workload",
        })
    }
}

impl std::error::Error for NotAnSvid {}

/// What a workload's certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// Whom it names, as it is spelt.
    pub spiffe_id: String,
    /// Until when it holds, that second included.
    pub until: Time,
}

/// Reads a workload's certificate, DER.
pub fn read(der: &[u8]) -> Result<Leaf, NotAnSvid> {
    if der.len() > PRESENTED_BYTES_MAX {
        return Err(NotAnSvid::Malformed);
    }
    let read = Certificate::from_der(der).map_err(|_| NotAnSvid::Malformed)?;
    let said = read.tbs_certificate();
    let constraints = said.get_extension::<BasicConstraints>().map_err(|_| NotAnSvid::Malformed)?;
    if constraints.is_some_and(|(_, constraints)| constraints.ca) {
        return Err(NotAnSvid::Signs);
    }
    let usage = said.get_extension::<KeyUsage>().map_err(|_| NotAnSvid::Malformed)?;
    let Some((is_critical, usage)) = usage else { return Err(NotAnSvid::KeyUsage) };
    if usage.key_cert_sign() || usage.crl_sign() {
        return Err(NotAnSvid::Signs);
    }
    if !is_critical || !usage.digital_signature() {
        return Err(NotAnSvid::KeyUsage);
    }
    let names = said.get_extension::<SubjectAltName>().map_err(|_| NotAnSvid::Malformed)?;
    let mut uris = names.iter().flat_map(|(_, names)| &names.0).filter_map(|name| match name {
        GeneralName::UniformResourceIdentifier(uri) => Some(uri.as_str()),
        _ => None,
    });
    match (uris.next(), uris.next()) {
        (Some(uri), None) if uri.starts_with("spiffe://") && uri.len() <= ID_BYTES_MAX => {
            Ok(Leaf { spiffe_id: uri.to_owned(), until: time(&said.validity().not_after) })
        }
        _ => Err(NotAnSvid::Names),
    }
}
