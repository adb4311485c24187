//! RFC 7517: the key by which whoever runs the command holds a token, in a file of their own.

use std::path::Path;

use accredit_domain::ports::Entropy as _;
use accredit_wire::binding::dpop::ProofKey;
use accredit_wire::crypto::PrivateKey;
use accredit_wire::jose::b64url_encode;
use accredit_wire::jose::jwk::PrivateJwk;
use zeroize::Zeroizing;

use crate::compose::SystemEntropy;
use crate::errors::Failure;
use crate::{input, secrecy};

/// The key in a file that holds a private JWK.
pub(super) fn read(file: &Path) -> Result<ProofKey, Failure> {
    let text = Zeroizing::new(input::text(file)?);
    let key = PrivateJwk::parse(text.as_bytes()).map_err(|error| error.to_string());
    let key = key.and_then(|jwk| ProofKey::new(jwk.into_key()).map_err(|error| error.to_string()));
    key.map_err(|error| {
        Failure::usage(
            &format!("`{}` does not hold your private key", file.display()),
            &error,
            "give the private JWK of the key that the token is bound to",
        )
    })
}

/// The same, where there is one; else a new key (Ed25519), written to a file that only its owner can
/// read.
pub(super) fn read_or_make(file: &Path) -> Result<ProofKey, Failure> {
    secrecy::write_new_key(file, new_jwk)?;
    read(file)
}

/// RFC 8037 section 2: a new Ed25519 key as a JWK.
fn new_jwk() -> Result<Zeroizing<String>, Failure> {
    let mut seed = Zeroizing::new([0u8; 32]);
    SystemEntropy.fill(seed.as_mut());
    let public = PrivateKey::ed25519_from_seed(&seed).and_then(|key| key.public());
    let public = public
        .map_err(|error| Failure::usage("no key could be made", &error.to_string(), "try again"))?;
    let d = Zeroizing::new(b64url_encode(seed.as_ref()));
    let x = b64url_encode(public.bytes());
    let (d, kind) = (d.as_str(), r#""kty":"OKP","crv":"Ed25519""#);
    Ok(Zeroizing::new(format!("{{{kind},\"x\":\"{x}\",\"d\":\"{d}\"}}\n")))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_key_is_made_once_and_is_its_owners_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("own.jwk");
        let missing = read(&file).expect_err("none").lines(false);
        assert!(missing.contains("own.jwk"), "{missing}");
        let made = read_or_make(&file).expect("made").thumbprint();
        assert_eq!(read_or_make(&file).expect("read").thumbprint(), made);
        assert_eq!(read(&file).expect("read").thumbprint(), made);
        let mode = std::fs::metadata(&file).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let other = read_or_make(&folder.path().join("other.jwk")).expect("made").thumbprint();
        assert_ne!(made, other);
        std::fs::write(&file, "{\"kty\":\"OKP\"}").expect("written");
        assert!(read_or_make(&file).is_err(), "what is there is never overwritten");
        assert!(read_or_make(&folder.path().join("no/such")).is_err());
    }
}
