//! SPIFFE Trust Domain and Bundle section 4, SPIFFE Federation section 5: the bundle of another trust domain,
//! as it is taken in.
//!
//! Whatever says whom to believe is read strictly: one thing in it that is not as the standard has it, and
//! the whole is refused, so that whoever holds an earlier one goes on with that. Keys of a kind or a use that is
//! not known here are left out, as the standard says. A bundle without keys is one: nobody of that
//! trust domain is to be believed any more. The document does not say whose it is; whoever asked for it
//! knows.
//!
//! What is kept and given on is written anew from what was read, so that nothing travels on that nobody
//! looked at.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use x509_cert::Certificate;
use x509_cert::der::{Decode as _, Encode as _};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage, SubjectAltName};

use super::base64;
use super::spiffe::TrustDomain;
use super::upstream::{CERTIFICATE_BYTES_MAX, RootKey, root_key};
use crate::jose::jwk::{JWK_SET_BYTES_MAX, JwkError, refuse_private_members};
use crate::json::Json;
use crate::jwt_svid::authorities::{Authorities, keys_of};

/// The longest bundle, bytes.
pub const BUNDLE_BYTES_MAX: usize = JWK_SET_BYTES_MAX;
/// The `use` of a root (X509-SVID section 6.1).
const X509_USE: &str = "x509-svid";

/// A bundle of one trust domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    /// Grows with each change, where whoever publishes it says so.
    pub sequence: Option<i64>,
    /// After how many seconds to look again, where it says.
    pub refresh_hint: Option<i64>,
    roots: Vec<Root>,
    authorities: Authorities,
}

/// A root: its certificate, DER, and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Root {
    der: Vec<u8>,
    key: RootKey,
}

/// Why a document is not taken as the bundle of a trust domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BundleError {
    /// No key set, or a key in it is malformed, private, or one of JWT-SVIDs without a name of its own.
    Keys(JwkError),
    /// A number that is none, or below zero.
    Number(&'static str),
    /// A root has not exactly one certificate.
    Count,
    /// A root's certificate is none, or too long.
    Certificate,
    /// A root may not sign certificates.
    NoAuthority,
    /// A root names another trust domain, more than one URI, or a workload.
    Names,
    /// A root's key is another than its certificate's.
    Key,
    /// A root is there twice.
    Twice,
}

impl fmt::Display for BundleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keys(error) => error.fmt(f),
            Self::Number(name) => write!(f, "`{name}` is no number from 0 on"),
            Self::Count => {
                f.write_str("`x5c` of a key for X.509-SVIDs is not exactly one certificate")
            }
            Self::Certificate => f.write_str(
                "`x5c` of a key for X.509-SVIDs is no certificate in base64, or too long a one",
            ),
            Self::NoAuthority => {
                f.write_str("a certificate for X.509-SVIDs is of none that may sign certificates")
            }
            Self::Names => f.write_str(
                "a certificate for X.509-SVIDs names another URI than the id of the trust domain",
            ),
            Self::Key => f.write_str("a key for X.509-SVIDs is another than its certificate's"),
            Self::Twice => f.write_str("a certificate for X.509-SVIDs is there twice"),
        }
    }
}

impl std::error::Error for BundleError {}

impl From<JwkError> for BundleError {
    fn from(error: JwkError) -> Self {
        Self::Keys(error)
    }
}

impl Bundle {
    /// Reads what is to be the bundle of `domain`, at most [`BUNDLE_BYTES_MAX`] bytes of JSON.
    pub fn parse(domain: &TrustDomain, text: &[u8]) -> Result<Self, BundleError> {
        let json = Json::parse(text, BUNDLE_BYTES_MAX).map_err(JwkError::Json)?;
        let keys = keys_of(&json)?;
        let mut roots: Vec<Root> = Vec::new();
        for key in keys.iter().filter(|key| is_root(key)) {
            refuse_private_members(key)?;
            let Some(root) = root(domain, key)? else { continue };
            if roots.iter().any(|known| known.der == root.der) {
                return Err(BundleError::Twice);
            }
            roots.push(root);
        }
        Ok(Self {
            sequence: number(&json, "spiffe_sequence")?,
            refresh_hint: number(&json, "spiffe_refresh_hint")?,
            roots,
            authorities: Authorities::of_keys(keys)?,
        })
    }

    /// The roots, DER.
    pub fn roots(&self) -> impl Iterator<Item = &[u8]> {
        self.roots.iter().map(|root| root.der.as_slice())
    }

    /// The keys of JWT-SVIDs.
    pub fn authorities(&self) -> &Authorities {
        &self.authorities
    }

    /// Whether both believe the same keys, whatever else they say.
    pub fn has_keys_of(&self, other: &Self) -> bool {
        self.roots == other.roots && self.authorities == other.authorities
    }

    /// As it is kept and given on. It reads back as the same bundle.
    pub fn document(&self) -> Value {
        let roots = self.roots.iter().map(Root::to_json);
        let keys: Vec<Value> = roots.chain(self.authorities.jwks()).collect();
        let mut document = json!({ "keys": keys });
        for (name, number) in
            [("spiffe_sequence", self.sequence), ("spiffe_refresh_hint", self.refresh_hint)]
        {
            if let Some(number) = number {
                document[name] = number.into();
            }
        }
        document
    }
}

impl Root {
    fn to_json(&self) -> Value {
        let mut jwk = match &self.key {
            RootKey::Ec { curve, x, y } => json!({"kty": "EC", "crv": curve, "x": x, "y": y}),
            RootKey::Rsa { n, e } => json!({"kty": "RSA", "n": n, "e": e}),
        };
        jwk["use"] = X509_USE.into();
        jwk["x5c"] = json!([base64(&self.der)]);
        jwk
    }
}

fn is_root(key: &Json<'_>) -> bool {
    key.get("use").and_then(Json::as_str) == Some(X509_USE)
}

fn number(json: &Json<'_>, name: &'static str) -> Result<Option<i64>, BundleError> {
    let Some(value) = json.get(name) else { return Ok(None) };
    let number = value.as_i64().filter(|number| *number >= 0);
    number.map(Some).ok_or(BundleError::Number(name))
}

/// A root, or nothing where its key is of a kind that is not known.
fn root(domain: &TrustDomain, key: &Json<'_>) -> Result<Option<Root>, BundleError> {
    let kty = key.get("kty").and_then(Json::as_str);
    let kty = kty.ok_or(JwkError::Member { name: "kty", rule: "a string" })?;
    if kty != "EC" && kty != "RSA" {
        return Ok(None);
    }
    let x5c = key.get("x5c").and_then(Json::as_array);
    let Some([certificate]) = x5c else { return Err(BundleError::Count) };
    let der = certificate.as_str().and_then(|text| STANDARD.decode(text).ok());
    let der = der.filter(|der| der.len() <= CERTIFICATE_BYTES_MAX);
    let der = der.ok_or(BundleError::Certificate)?;
    let read = Certificate::from_der(&der).map_err(|_| BundleError::Certificate)?;
    // Two spellings of one certificate would be two to whoever compares them.
    if read.to_der().ok().as_ref() != Some(&der) {
        return Err(BundleError::Certificate);
    }
    may_sign(&read)?;
    if !names_at_most(&read, domain)? {
        return Err(BundleError::Names);
    }
    let Some(own) = root_key(read.tbs_certificate().subject_public_key_info()) else {
        return Ok(None);
    };
    // RFC 7517 section 4.7: "The key in the first certificate MUST match the public key represented
    // by other members of the JWK."
    let said = |name: &str| key.get(name).and_then(Json::as_str);
    let is_same = match &own {
        RootKey::Ec { curve, x, y } => {
            let is_point = said("x") == Some(x) && said("y") == Some(y);
            kty == "EC" && said("crv") == Some(curve) && is_point
        }
        RootKey::Rsa { n, e } => kty == "RSA" && said("n") == Some(n) && said("e") == Some(e),
    };
    if is_same { Ok(Some(Root { der, key: own })) } else { Err(BundleError::Key) }
}

/// X509-SVID section 4: a certificate that signs says so, and so does its key's usage.
fn may_sign(certificate: &Certificate) -> Result<(), BundleError> {
    let said = certificate.tbs_certificate();
    let malformed = |_| BundleError::Certificate;
    let may = said.get_extension::<BasicConstraints>().map_err(malformed)?;
    let usage = said.get_extension::<KeyUsage>().map_err(malformed)?;
    let is_authority = may.is_some_and(|(_, may)| may.ca);
    if is_authority && usage.is_none_or(|(_, usage)| usage.key_cert_sign()) {
        Ok(())
    } else {
        Err(BundleError::NoAuthority)
    }
}

/// X509-SVID section 3.2: a certificate that signs names the trust domain, without a path, or nobody.
fn names_at_most(certificate: &Certificate, domain: &TrustDomain) -> Result<bool, BundleError> {
    let names = certificate.tbs_certificate().get_extension::<SubjectAltName>();
    let names = names.map_err(|_| BundleError::Certificate)?;
    let mut uris = names.iter().flat_map(|(_, names)| &names.0).filter_map(|name| match name {
        GeneralName::UniformResourceIdentifier(uri) => Some(uri.as_str()),
        _ => None,
    });
    let own = domain.id();
    Ok(match (uris.next(), uris.next()) {
        (None, _) => true,
        (Some(uri), None) => uri == own.as_str(),
        (Some(_), Some(_)) => false,
    })
}
