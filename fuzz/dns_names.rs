//! The reader of hosts' names of `accredit-wire`, apart from the other targets because it is behind a feature.

use std::collections::BTreeSet;

use accredit_wire::x509::dns_name::{DNS_NAMES_MAX, DnsName};
use accredit_wire::x509::spiffe::TrustDomain;

/// Names are read back as the same, and what a trust domain may name is below it, letter by letter.
pub(crate) fn run(bytes: &[u8]) {
    let Some(names) = read(bytes) else { return };
    assert!(names.len() <= DNS_NAMES_MAX, "{}", names.len());
    assert_eq!(DnsName::parse_all(&DnsName::join(&names)).as_ref(), Ok(&names));
    let domain = TrustDomain::parse("acme.id.example").expect("a trust domain");
    for name in &names {
        if name.is_below(&domain).is_ok() {
            let rest = name.as_str().strip_suffix(".acme.id.example").expect("below it");
            assert!(rest.split('.').all(|label| label.get(2..4) != Some("--")), "{rest}");
        }
    }
}

/// The names in some bytes.
pub(crate) fn read(bytes: &[u8]) -> Option<BTreeSet<DnsName>> {
    DnsName::parse_all(std::str::from_utf8(bytes).ok()?).ok()
}
