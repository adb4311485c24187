//! The keys by which one issuer's tokens are verified, looked up by id and by nothing else.

use std::collections::BTreeMap;

use crate::ids::KeyId;
use crate::jose::jwk::{JwkSet, VerifyingKey};

/// One issuer's token keys, by `kid`. Keys of other purposes (feed, log) do not belong here.
#[derive(Clone, Debug, Default)]
pub struct KeyRing {
    keys: BTreeMap<KeyId, VerifyingKey>,
}

impl KeyRing {
    /// The ring of a published key set. A key whose `kid` is not the id of a signing key is left
    /// out: no token of ours can name it.
    pub fn new(set: &JwkSet) -> Self {
        let key = |key: &VerifyingKey| Some((key.kid.parse().ok()?, key.clone()));
        Self { keys: set.keys().iter().filter_map(key).collect() }
    }

    /// The key with this id.
    pub fn find(&self, kid: KeyId) -> Option<&VerifyingKey> {
        self.keys.get(&kid)
    }

    /// Whether there is a key with this id.
    pub fn contains(&self, kid: KeyId) -> bool {
        self.keys.contains_key(&kid)
    }

    /// The ring without this key.
    #[must_use]
    pub fn without(mut self, kid: KeyId) -> Self {
        self.keys.remove(&kid);
        self
    }

    /// The ids of all keys.
    pub fn ids(&self) -> impl Iterator<Item = KeyId> + '_ {
        self.keys.keys().copied()
    }
}

impl PartialEq for KeyRing {
    fn eq(&self, other: &Self) -> bool {
        let bare = |key: &VerifyingKey| (key.key.algorithm(), key.key.bytes().to_vec());
        self.keys.len() == other.keys.len()
            && self
                .keys
                .iter()
                .zip(&other.keys)
                .all(|((a, x), (b, y))| a == b && bare(x) == bare(y))
    }
}
