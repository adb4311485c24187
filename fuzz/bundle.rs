//! The reader of other trust domains' bundles of `accredit-wire`, apart from the other targets because it is
//! behind a feature.

use accredit_wire::x509::bundle::{BUNDLE_BYTES_MAX, Bundle};
use accredit_wire::x509::spiffe::TrustDomain;

fn domain() -> TrustDomain {
    TrustDomain::parse("td.example").expect("a trust domain")
}

/// What is read is given on as the same bundle, no longer than one may be, and is nobody else's where it names
/// somebody.
pub(crate) fn run(bytes: &[u8]) {
    let Ok(bundle) = Bundle::parse(&domain(), bytes) else { return };
    let document = bundle.document().to_string();
    assert!(document.len() <= BUNDLE_BYTES_MAX, "{}", document.len());
    assert_eq!(Bundle::parse(&domain(), document.as_bytes()).as_ref(), Ok(&bundle));
    assert!(bundle.has_keys_of(&bundle));
    for root in bundle.roots() {
        assert!(!root.is_empty());
    }
}

/// How many roots and keys for JWT-SVIDs the seed has.
pub(crate) fn keys(bytes: &[u8]) -> Option<(usize, usize)> {
    let bundle = Bundle::parse(&domain(), bytes).ok()?;
    Some((bundle.roots().count(), bundle.authorities().names().count()))
}
