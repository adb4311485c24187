//! The readers of a peer's certificate and of its authority's list, of `accredit-wire`, apart from the
//! other targets because they are behind a feature.

use accredit_wire::x509::crl;
use accredit_wire::x509::presented::Presented;
use accredit_wire::x509::spiffe::TrustDomain;
use accredit_wire::x509::svid;

/// A peer is named as whoever reads certificates that clients show names it, and by one agent.
pub(crate) fn run(bytes: &[u8]) {
    if let Ok(head) = crl::head(bytes) {
        let made_at = head.made_at.micros();
        assert!(made_at >= 0, "{made_at}");
        assert!(svid::read(bytes).is_err(), "a list is no certificate");
    }
    let Ok(leaf) = svid::read(bytes) else { return };
    let presented = Presented::read(bytes).expect("a certificate");
    assert_eq!(presented.spiffe_id.as_ref(), Some(&leaf.spiffe_id));
    assert_eq!(presented.until, leaf.until);
    let Some(domain) = TrustDomain::of_id(&leaf.spiffe_id) else { return };
    let Some((agent, instance)) = domain.named_by(&leaf.spiffe_id) else { return };
    let again = domain.instance(agent, instance).expect("an id");
    assert_eq!(again.as_str(), leaf.spiffe_id, "one spelling");
}

/// Whether the seed is a certificate that names somebody.
pub(crate) fn is_named(bytes: &[u8]) -> bool {
    svid::read(bytes).is_ok()
}

/// The counter up to which the seed knows what has ended.
pub(crate) fn counter(bytes: &[u8]) -> Option<u64> {
    crl::head(bytes).ok().map(|head| head.counter)
}
