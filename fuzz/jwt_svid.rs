//! The readers of JWT-SVIDs and of bundles of `accredit-wire`, apart from the other targets because they
//! are behind a feature.

use accredit_wire::ids::KeyId;
use accredit_wire::jwt_svid::JwtSvid;
use accredit_wire::jwt_svid::authorities::Authorities;
use accredit_wire::x509::spiffe::SpiffeId;

fn key() -> KeyId {
    KeyId::new(1, [1; 10])
}

/// Claims are written as they are read, of a bundle the same keys are given on, and an id has one
/// spelling.
pub(crate) fn run(bytes: &[u8]) {
    if let Ok(said) = JwtSvid::parse(bytes, key())
        && said.issued_at > 0
        && said.expires_at > 0
    {
        let written = said.to_payload().expect("what was read is no longer than what is written");
        assert_eq!(JwtSvid::parse(&written, key()), Ok(said));
    }
    if let Ok(authorities) = Authorities::of_bundle(bytes) {
        let document = authorities.document();
        assert_eq!(Authorities::of_bundle(document.as_bytes()), Ok(authorities));
    }
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(id) = SpiffeId::parse(text)
    {
        assert_eq!(id.as_str(), text);
    }
}

/// Whether the seed is claims that are read.
pub(crate) fn is_read(bytes: &[u8]) -> bool {
    JwtSvid::parse(bytes, key()).is_ok()
}
