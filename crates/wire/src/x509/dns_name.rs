//! RFC 1123 section 2.1, RFC 5280 section 4.2.1.6: names of hosts that certificates of instances carry.
//!
//! Each is below the organization's trust domain: that is what the root's constraints permit. One spelling,
//! nothing folded. Absent on purpose: wildcards, and the trust domain itself, which is the server's own.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::spiffe::{TrustDomain, is_label};

/// The longest name, bytes (RFC 1035 section 2.3.4: 255 with its lengths and its root).
pub const DNS_NAME_BYTES_MAX: usize = 253;
/// Names of one agent, and so of one certificate, at most.
pub const DNS_NAMES_MAX: usize = 16;
/// Where the third and fourth letters of a label are these, it stands for another alphabet's or is reserved
/// (RFC 5890 section 2.3.1).
const RESERVED: &str = "--";

/// A host's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DnsName(String);

/// Why a text is no name of a host that an instance may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotADnsName {
    /// It is too long, or not lower-case labels between single dots.
    Spelling,
    /// It ends as an address does.
    Address,
    /// A label stands for one in another alphabet, or is reserved for that.
    Reserved,
    /// It is not below the trust domain.
    Outside,
    /// There are too many.
    TooMany,
}

impl fmt::Display for NotADnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Spelling => write!(
                f,
                "not the name of a host: labels of lower-case letters, digits and `-` between single dots, \
                 without `*`, at most {DNS_NAME_BYTES_MAX} bytes"
            ),
            Self::Address => f.write_str("it ends in a number, as an IP address does"),
            Self::Reserved => {
                f.write_str("a label has `--` in third place, as names in other alphabets have")
            }
            Self::Outside => f.write_str("it is not below the organization's trust domain"),
            Self::TooMany => write!(f, "more than {DNS_NAMES_MAX} names"),
        }
    }
}

impl std::error::Error for NotADnsName {}

impl DnsName {
    /// From its text, as it is written and no other way.
    pub fn parse(text: &str) -> Result<Self, NotADnsName> {
        if text.len() > DNS_NAME_BYTES_MAX || !text.split('.').all(is_label) {
            return Err(NotADnsName::Spelling);
        }
        // URL Standard, "ends in a number": such a host is an IPv4 address or nothing.
        let last = text.rsplit('.').next().unwrap_or_default();
        let is_number = last.bytes().all(|byte| byte.is_ascii_digit()) || last.starts_with("0x");
        if is_number { Err(NotADnsName::Address) } else { Ok(Self(text.to_owned())) }
    }

    /// Whether an authority of `domain` may certify it for an instance.
    pub fn is_below(&self, domain: &TrustDomain) -> Result<(), NotADnsName> {
        let rest = self.0.strip_suffix(domain.as_str()).and_then(|rest| rest.strip_suffix('.'));
        let labels = rest.ok_or(NotADnsName::Outside)?;
        let is_reserved = |label: &str| label.get(2..4) == Some(RESERVED);
        if labels.split('.').any(is_reserved) { Err(NotADnsName::Reserved) } else { Ok(()) }
    }

    /// Names between single blanks; none where there is nothing.
    pub fn parse_all(text: &str) -> Result<BTreeSet<Self>, NotADnsName> {
        let mut all = BTreeSet::new();
        for one in text.split(' ').filter(|_| !text.is_empty()) {
            all.insert(Self::parse(one)?);
            if all.len() > DNS_NAMES_MAX {
                return Err(NotADnsName::TooMany);
            }
        }
        Ok(all)
    }

    /// Names between single blanks, as [`DnsName::parse_all`] reads them.
    pub fn join(all: &BTreeSet<Self>) -> String {
        all.iter().map(Self::as_str).collect::<Vec<_>>().join(" ")
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for DnsName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for DnsName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn domain(text: &str) -> TrustDomain {
        TrustDomain::parse(text).expect("a trust domain")
    }

    fn judged(text: &str) -> Result<(), NotADnsName> {
        DnsName::parse(text)?.is_below(&domain("acme.id.example"))
    }

    #[test]
    fn a_name_is_below_the_trust_domain_and_spelt_in_one_way() {
        for good in ["a.acme.id.example", "crm-7.eu.acme.id.example", "0.acme.id.example"] {
            assert_eq!(judged(good), Ok(()), "{good}");
        }
        for spelt in [
            "",
            ".",
            "A.acme.id.example",
            "a.Acme.id.example",
            "*.acme.id.example",
            "a*.acme.id.example",
            "a.acme.id.example.",
            ".acme.id.example",
            "a..acme.id.example",
            "-a.acme.id.example",
            "a-.acme.id.example",
            "a_b.acme.id.example",
            "a b.acme.id.example",
            "a\0.acme.id.example",
            "b.example\0.acme.id.example",
            "ä.acme.id.example",
            "a.acme.id.example:443",
            "a.acme.id.example/",
            "[::1]",
            "::1",
            "a\n.acme.id.example",
        ] {
            assert_eq!(judged(spelt), Err(NotADnsName::Spelling), "{spelt:?}");
        }
        for address in ["127.0.0.1", "1", "a.acme.127.0.0.1", "a.0x7f", "0x7f000001"] {
            assert_eq!(judged(address), Err(NotADnsName::Address), "{address}");
        }
        for outside in [
            "acme.id.example",
            "id.example",
            "example",
            "evilacme.id.example",
            "a.evilacme.id.example",
            "a.other.id.example",
            "acme.id.example.evil.example",
            "a.acme.id.exampl",
            "a.id.example",
        ] {
            assert_eq!(judged(outside), Err(NotADnsName::Outside), "{outside}");
        }
        for reserved in [
            "xn--80ak6aa92e.acme.id.example",
            "a.xn--bcher-kva.acme.id.example",
            "ab--c.acme.id.example",
        ] {
            assert_eq!(judged(reserved), Err(NotADnsName::Reserved), "{reserved}");
        }
        // Of the installation's own host we say nothing: it was given to us.
        let name = DnsName::parse("a.acme.xn--bcher-kva.example").expect("a name");
        assert_eq!(name.is_below(&domain("acme.xn--bcher-kva.example")), Ok(()));
    }

    #[test]
    fn names_are_as_long_and_as_many_as_they_may_be() {
        let label = "a".repeat(63);
        assert_eq!(judged(&format!("{label}.acme.id.example")), Ok(()));
        assert_eq!(judged(&format!("{label}a.acme.id.example")), Err(NotADnsName::Spelling));
        let rest = format!("{label}.{label}.{label}.");
        let fill = "b".repeat(DNS_NAME_BYTES_MAX - rest.len() - ".acme.id.example".len());
        let longest = format!("{rest}{fill}.acme.id.example");
        assert_eq!((longest.len(), judged(&longest)), (DNS_NAME_BYTES_MAX, Ok(())));
        assert_eq!(judged(&format!("c{longest}")), Err(NotADnsName::Spelling));

        let many =
            |count: usize| (0..count).map(|n| format!("h{n}.x.y")).collect::<Vec<_>>().join(" ");
        let read = DnsName::parse_all(&many(DNS_NAMES_MAX)).expect("names");
        assert_eq!(read.len(), DNS_NAMES_MAX);
        assert_eq!(DnsName::parse_all(&DnsName::join(&read)), Ok(read));
        for too_many in [DNS_NAMES_MAX + 1, 1000] {
            assert_eq!(DnsName::parse_all(&many(too_many)), Err(NotADnsName::TooMany));
        }
        assert_eq!(DnsName::parse_all(""), Ok(BTreeSet::new()));
        for spelt in [" ", "a.b ", " a.b", "a.b  c.d", "a.b\tc.d", "a.b,c.d"] {
            assert_eq!(DnsName::parse_all(spelt), Err(NotADnsName::Spelling), "{spelt:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_taken_is_a_host_below_the_trust_domain(text in "[a-zA-Z0-9.*_\\-\0 ]{0,24}(acme\\.id\\.example)?[.a]{0,2}") {
            if judged(&text).is_ok() {
                prop_assert!(text.ends_with(".acme.id.example"));
                prop_assert!(text.split('.').count() > 3);
                let known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
                prop_assert!(text.bytes().all(known));
            }
        }
    }
}
