//! The keys by which one issuer's tokens are verified, looked up by id and by nothing else.

use std::collections::BTreeMap;

use crate::crypto::PublicKey;
use crate::ids::KeyId;
use crate::jose::jwk::{JwkSet, VerifyingKey};

/// One issuer's token keys, by `kid`: those of JWTs, and apart from them those of attenuable tokens.
/// No key of one verifies the other. Keys of other purposes (feed, log) do not belong here.
#[derive(Clone, Debug, Default)]
pub struct KeyRing {
    keys: BTreeMap<KeyId, VerifyingKey>,
    biscuit: BTreeMap<KeyId, VerifyingKey>,
}

impl KeyRing {
    /// The ring of a published key set. A key whose `kid` is not the id of a signing key is left
    /// out: no token of ours can name it.
    pub fn new(set: &JwkSet) -> Self {
        Self { keys: by_id(set), biscuit: BTreeMap::new() }
    }

    /// The same with the published keys of attenuable tokens.
    #[must_use]
    pub fn with_biscuit(self, set: &JwkSet) -> Self {
        Self { biscuit: by_id(set), ..self }
    }

    /// The key of JWTs with this id.
    pub fn find(&self, kid: KeyId) -> Option<&VerifyingKey> {
        self.keys.get(&kid)
    }

    /// The keys of attenuable tokens.
    pub fn biscuit(&self) -> impl Iterator<Item = (KeyId, &PublicKey)> {
        self.biscuit.iter().map(|(kid, key)| (*kid, &key.key))
    }

    /// Whether there is a key with this id, of either.
    pub fn contains(&self, kid: KeyId) -> bool {
        self.keys.contains_key(&kid) || self.biscuit.contains_key(&kid)
    }

    /// The ring without this key.
    #[must_use]
    pub fn without(mut self, kid: KeyId) -> Self {
        self.keys.remove(&kid);
        self.biscuit.remove(&kid);
        self
    }

    /// The ids of all keys.
    pub fn ids(&self) -> impl Iterator<Item = KeyId> + '_ {
        self.keys.keys().chain(self.biscuit.keys()).copied()
    }
}

fn by_id(set: &JwkSet) -> BTreeMap<KeyId, VerifyingKey> {
    let key = |key: &VerifyingKey| Some((key.kid.parse().ok()?, key.clone()));
    set.keys().iter().filter_map(key).collect()
}

impl PartialEq for KeyRing {
    fn eq(&self, other: &Self) -> bool {
        are_equal(&self.keys, &other.keys) && are_equal(&self.biscuit, &other.biscuit)
    }
}

fn are_equal(one: &BTreeMap<KeyId, VerifyingKey>, other: &BTreeMap<KeyId, VerifyingKey>) -> bool {
    let bare = |key: &VerifyingKey| (key.key.algorithm(), key.key.bytes().to_vec());
    let mut pairs = one.iter().zip(other);
    one.len() == other.len() && pairs.all(|((a, x), (b, y))| a == b && bare(x) == bare(y))
}
