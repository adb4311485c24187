//! The reader of what stands above an authority, of `accredit-wire`, apart from the other targets because it
//! is behind a feature.

use accredit_wire::x509::all_decoded;
use accredit_wire::x509::upstream::{Above, CHAIN_MAX};

fn read(bytes: &[u8]) -> Option<Above> {
    let certificates = all_decoded("CERTIFICATE", std::str::from_utf8(bytes).ok()?)?;
    Above::read(certificates).ok()
}

/// What is read is bounded, is what was given, and is read again.
pub(crate) fn run(bytes: &[u8]) {
    let Some(above) = read(bytes) else { return };
    let all: Vec<Vec<u8>> = above.certificates().map(<[u8]>::to_vec).collect();
    assert!((2..=CHAIN_MAX).contains(&all.len()));
    assert!(all[0] == above.own() && all[all.len() - 1] == above.root());
    assert_eq!(above.between().count() + 1, all.len());
    assert_eq!(Above::read(all), Ok(above), "read again");
}

/// Whether a seed is read.
pub(crate) fn is_read(bytes: &[u8]) -> bool {
    read(bytes).is_some()
}
