//! PKCS#11: where the private half of a signing key is: wrapped in the store, or in a token that
//! never gives it out.
//!
//! What stands in the row of a key in a token, in the place of what is wrapped, says so in a form of
//! its own: it begins as no ciphertext does and is shorter than any. It names the object by
//! organization, id and purpose, so that a row that was moved names another object than its own.

use accredit_wire::crypto::sha256;
use accredit_wire::ids::{KeyId, OrganizationId};

use super::{KeyPurpose, SealedKey};
use crate::refusal::Fault;

/// What a row begins with whose key is in a token. A ciphertext begins with 12 random bytes.
pub const LEAD: &[u8; 16] = b"accredit/pkcs11/";
/// The version of what follows: the name of the object.
const VERSION: u8 = 1;
/// Bytes of the name of an object (`CKA_ID`): as many as are customary, which small tokens expect.
pub const OBJECT_NAME_BYTES: usize = 20;

/// The name of an object in a token (`CKA_ID`).
pub type ObjectName = [u8; OBJECT_NAME_BYTES];

/// Where the private half of a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// Wrapped, in the store.
    Software,
    /// In a token.
    Pkcs11,
}

impl Held {
    /// As it is shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Software => "software",
            Self::Pkcs11 => "pkcs11",
        }
    }
}

/// How the object of a key in a token is called by people (`CKA_LABEL`).
pub fn object_label(org: Option<OrganizationId>, id: KeyId, purpose: KeyPurpose) -> String {
    let whose = org.map_or("installation".to_owned(), |org| org.to_string());
    format!("accredit/{whose}/{id}/{}", purpose.as_str())
}

/// How the object of a key in a token is found.
pub fn object_name(org: Option<OrganizationId>, id: KeyId, purpose: KeyPurpose) -> ObjectName {
    let whole = sha256(object_label(org, id, purpose).as_bytes());
    let mut name = [0; OBJECT_NAME_BYTES];
    name.copy_from_slice(&whole[..OBJECT_NAME_BYTES]);
    name
}

/// What stands in the row of a key in a token.
pub fn reference(name: &ObjectName) -> Vec<u8> {
    [LEAD.as_slice(), &[VERSION], name].concat()
}

impl SealedKey {
    /// Where the private half is.
    pub fn held(&self) -> Held {
        if self.wrapped.starts_with(LEAD) { Held::Pkcs11 } else { Held::Software }
    }

    /// The object of a key in a token. A fault where the row names another one than its own.
    pub fn object_name(&self) -> Result<ObjectName, Fault> {
        let own = object_name(self.org, self.id, self.purpose);
        if self.wrapped == reference(&own) {
            return Ok(own);
        }
        let why = format!("{}: the row does not name its own object in a token", self.id);
        Err(Fault::new("find a key in a token", why))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use accredit_wire::crypto::{Algorithm, PrivateKey};

    fn key() -> SealedKey {
        let (org, id) = (Some(OrganizationId::new(1, [1; 10])), KeyId::new(1, [2; 10]));
        let (private, _) = PrivateKey::generate(Algorithm::Es256).expect("a key");
        let wrapped = reference(&object_name(org, id, KeyPurpose::CaRoot));
        let (purpose, algorithm) = (KeyPurpose::CaRoot, Algorithm::Es256);
        let public = private.public().expect("a public half");
        SealedKey { org, id, purpose, algorithm, public, root: 1, wrapped }
    }

    #[test]
    fn a_row_names_its_own_object_alone() {
        let key = key();
        assert_eq!(key.held(), Held::Pkcs11);
        assert!(key.object_name().is_ok());
        let mut newer = key.wrapped.clone();
        newer[LEAD.len()] += 1;
        for moved in [
            SealedKey { org: Some(OrganizationId::new(2, [1; 10])), ..key.clone() },
            SealedKey { org: None, ..key.clone() },
            SealedKey { id: KeyId::new(2, [2; 10]), ..key.clone() },
            SealedKey { purpose: KeyPurpose::Ca, ..key.clone() },
            SealedKey { wrapped: newer, ..key.clone() },
            SealedKey { wrapped: LEAD.to_vec(), ..key.clone() },
            SealedKey { wrapped: [&*key.wrapped, b"x"].concat(), ..key.clone() },
        ] {
            assert_eq!(moved.held(), Held::Pkcs11);
            assert!(moved.object_name().is_err(), "{:?}", moved.wrapped);
        }
    }

    #[test]
    fn what_is_wrapped_is_longer_than_any_reference() {
        let reference = key().wrapped.len();
        for algorithm in [Algorithm::Es256, Algorithm::EdDsa] {
            let (_, der) = PrivateKey::generate(algorithm).expect("a key");
            // A nonce and a tag come on top.
            assert!(der.len() > reference, "{}", der.len());
        }
    }
}
