//! The reader of certificates that clients show, of `accredit-wire`, apart from the other targets
//! because it is behind a feature.

use accredit_wire::ids::OrganizationId;
use accredit_wire::x509::presented::{PRESENTED_BYTES_MAX, Presented};
use accredit_wire::x509::spiffe::TrustDomain;

/// One certificate is read in one way, and names an instance only in the one spelling of its id.
pub(crate) fn run(bytes: &[u8]) {
    let Ok(read) = Presented::read(bytes) else { return };
    assert!(bytes.len() <= PRESENTED_BYTES_MAX, "a bound that holds");
    assert!(Presented::read(&[bytes, b"\0"].concat()).is_err(), "nothing stands behind it");
    let Some(id) = read.spiffe_id else { return };
    assert!(id.starts_with("spiffe://"), "of that scheme alone: {id}");
    let org = OrganizationId::new(1, [1; 10]);
    let domain = TrustDomain::of("main", org, "https://127.0.0.1/o/main").expect("a domain");
    if let Some(instance) = domain.instance_of(&id) {
        assert!(id.ends_with(&instance.to_string()), "{instance} is not in {id}");
    }
}

/// Whether the seed is a certificate with a key that clients register, and whom it names.
pub(crate) fn is_read(bytes: &[u8]) -> Option<(bool, Option<String>)> {
    let read = Presented::read(bytes).ok()?;
    Some((read.key.is_some(), read.spiffe_id))
}
