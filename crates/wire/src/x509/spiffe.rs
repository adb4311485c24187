//! SPIFFE-ID: what an organization and an agent's instance are called in a certificate.
//!
//! A trust domain is the organization's label under the host that the installation is reached at.
//! Both never change. Absent on purpose: folding what is spelt otherwise; there is one spelling.

use std::fmt;

use crate::ids::{InstanceId, OrganizationId};

/// The longest trust domain, bytes (SPIFFE-ID section 2.1).
pub const TRUST_DOMAIN_BYTES_MAX: usize = 255;
/// The longest id, bytes (SPIFFE-ID section 2.3).
pub const ID_BYTES_MAX: usize = 2048;
/// What every id begins with.
const SCHEME: &str = "spiffe://";
/// The longest label of a domain name (RFC 1035 section 2.3.4).
const LABEL_BYTES_MAX: usize = 63;

/// What an organization's certificates are under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustDomain(String);

/// A text is no name of a trust domain, or makes none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotATrustDomain;

impl fmt::Display for NotATrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not the name of a trust domain: lower-case letters, digits, `.`, `-` and `_`")
    }
}

impl std::error::Error for NotATrustDomain {}

impl TrustDomain {
    /// From its name.
    pub fn parse(text: &str) -> Result<Self, NotATrustDomain> {
        let known = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_');
        let is_one = text.len() <= TRUST_DOMAIN_BYTES_MAX
            && text.bytes().all(known)
            && text.split('.').all(|label| !label.is_empty());
        if is_one { Ok(Self(text.to_owned())) } else { Err(NotATrustDomain) }
    }

    /// That of a SPIFFE ID.
    pub fn of_id(id: &str) -> Option<Self> {
        let rest = id.strip_prefix("spiffe://")?;
        Self::parse(rest.split('/').next()?).ok()
    }

    /// That of an organization, from what never changes: its name, its id and its issuer. A name
    /// that is a label of a domain name is the label; of any other the id is, so that no
    /// organization's domain is below another's.
    pub fn of(name: &str, id: OrganizationId, issuer: &str) -> Result<Self, NotATrustDomain> {
        let id = id.to_string();
        let label = if is_label(name) { name } else { id.as_str() };
        Self::parse(&format!("{label}.{}", host(issuer).ok_or(NotATrustDomain)?))
    }

    /// Its name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id of the trust domain itself, which its authority's certificates carry: it has no path.
    pub fn id(&self) -> SpiffeId {
        SpiffeId(format!("spiffe://{}", self.0))
    }

    /// The id of an agent's instance. The agent's name never changes and is never given again.
    pub fn instance(&self, agent: &str, instance: InstanceId) -> Result<SpiffeId, NotATrustDomain> {
        let id = format!("{SCHEME}{}/agent/{agent}/instance/{instance}", self.0);
        let is_one = is_segment(agent) && id.len() <= ID_BYTES_MAX;
        if is_one { Ok(SpiffeId(id)) } else { Err(NotATrustDomain) }
    }

    /// The id of what serves its bundle (SPIFFE Federation section 5.2.2).
    pub fn bundle_endpoint(&self) -> SpiffeId {
        SpiffeId(format!("{SCHEME}{}/accredit/bundle-endpoint", self.0))
    }

    /// The label of a trust domain that is below the host of a URL.
    pub fn label_below<'a>(url: &str, domain: &'a str) -> Option<&'a str> {
        let (label, rest) = domain.split_once('.')?;
        (host(url).as_deref() == Some(rest)).then_some(label)
    }

    /// The agent's name and the instance that an id of this trust domain names, where it is an instance's,
    /// spelt as it is written here.
    pub fn named_by<'a>(&self, id: &'a str) -> Option<(&'a str, InstanceId)> {
        let path = id.strip_prefix("spiffe://")?.strip_prefix(&self.0)?.strip_prefix("/agent/")?;
        let (agent, instance) = path.split_once("/instance/")?;
        let instance = instance.parse().ok()?;
        let is_written_so = self.instance(agent, instance).is_ok_and(|own| own.as_str() == id);
        is_written_so.then_some((agent, instance))
    }

    /// The instance that an id of this trust domain names ([`Self::named_by`]). Which agent it says is
    /// looked at by nobody.
    pub fn instance_of(&self, id: &str) -> Option<InstanceId> {
        self.named_by(id).map(|(_, instance)| instance)
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A SPIFFE ID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpiffeId(String);

impl SpiffeId {
    /// From its text, as it is written and no other way: a trust domain and a path of one segment or more
    /// (SPIFFE-ID section 2).
    pub fn parse(text: &str) -> Result<Self, NotASpiffeId> {
        let rest = text.strip_prefix(SCHEME).filter(|_| text.len() <= ID_BYTES_MAX);
        let (domain, path) = rest.and_then(|rest| rest.split_once('/')).ok_or(NotASpiffeId)?;
        TrustDomain::parse(domain).map_err(|_| NotASpiffeId)?;
        if path.split('/').all(is_segment) { Ok(Self(text.to_owned())) } else { Err(NotASpiffeId) }
    }

    /// The name of its trust domain.
    pub fn trust_domain(&self) -> &str {
        let rest = self.0.strip_prefix(SCHEME).unwrap_or_default();
        rest.split('/').next().unwrap_or_default()
    }

    /// The URI.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text is no SPIFFE ID of a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotASpiffeId;

impl fmt::Display for NotASpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "not a SPIFFE ID: `spiffe://TRUST-DOMAIN/PATH`, and nothing in it to be unescaped",
        )
    }
}

impl std::error::Error for NotASpiffeId {}

/// Whether a text is one segment of an id's path (SPIFFE-ID section 2.2).
fn is_segment(text: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    !matches!(text, "" | "." | "..") && text.bytes().all(known)
}

/// Whether a text is one label of a host's name (RFC 1123 section 2.1).
pub(super) fn is_label(text: &str) -> bool {
    let known = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
    (1..=LABEL_BYTES_MAX).contains(&text.len())
        && text.bytes().all(known)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// The host of a URL, in letters that a trust domain may have: an IPv6 address has dashes for its
/// colons.
fn host(url: &str) -> Option<String> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = match authority.strip_prefix('[') {
        Some(address) => address.split(']').next()?.replace(':', "-"),
        None => authority.split(':').next()?.to_owned(),
    };
    Some(host.to_ascii_lowercase())
}
