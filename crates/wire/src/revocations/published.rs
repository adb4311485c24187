//! Which keys an organization publishes, as one hash that every message of the feed carries.
//!
//! A verifier that fetched other keys than these fetches them again, at once: so it knows a key
//! before the first token is signed with it, however soon after another the key came. The hash
//! says only that the keys are others; what they are is fetched from the issuer itself, so that
//! the key of the feed introduces no key for tokens.

use crate::crypto::{self, PublicKey};
use crate::jose::jwk::JwkSet;
use crate::tlog::Hash;
use crate::token::push;

/// The hash of what is published: SHA-256 of the lines `token <kid>`, `feed <kid>`, `biscuit <kid>`
/// and `log <64 hexadecimal digits of the key>`, each once and ended by a line feed, in their byte
/// order.
pub fn keys_hash<'k>(
    tokens: &JwkSet,
    feed: &JwkSet,
    biscuit: &JwkSet,
    log: impl IntoIterator<Item = &'k PublicKey>,
) -> Hash {
    let of = |word: &'static str, set: &JwkSet| -> Vec<String> {
        set.keys().iter().map(|key| format!("{word} {}\n", key.kid)).collect()
    };
    let mut lines = of("token", tokens);
    lines.extend(of("feed", feed));
    lines.extend(of("biscuit", biscuit));
    for key in log {
        let mut line = "log ".to_owned();
        key.bytes().iter().for_each(|byte| push(&mut line, format_args!("{byte:02x}")));
        lines.push(line + "\n");
    }
    lines.sort_unstable();
    lines.dedup();
    Hash::new(crypto::sha256(lines.concat().as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::PrivateKey;
    use crate::jose::jwk::VerifyingKey;

    fn key(seed: u8) -> PublicKey {
        let key = PrivateKey::ed25519_from_seed(&[seed; 32]).expect("a key");
        key.public().expect("its public half")
    }

    fn set(kids: &[&str]) -> JwkSet {
        let key = |kid: &&str| VerifyingKey { kid: (*kid).to_owned(), key: key(1) };
        JwkSet::new(kids.iter().map(key).collect()).expect("a set")
    }

    #[test]
    fn the_hash_depends_on_the_keys_and_not_on_their_order() {
        let (one, two) = (key(2), key(3));
        let hash_of = |tokens: &[&str], feed: &[&str], biscuit: &[&str], log: &[&PublicKey]| {
            keys_hash(&set(tokens), &set(feed), &set(biscuit), log.iter().copied())
        };
        let hash = hash_of(&["a", "b"], &["c"], &["e"], &[&one, &two]);
        assert_eq!(hash, hash_of(&["b", "a"], &["c"], &["e"], &[&two, &one, &one]));
        for other in [
            hash_of(&["a"], &["c"], &["e"], &[&one, &two]),
            hash_of(&["a", "b"], &["d"], &["e"], &[&one, &two]),
            hash_of(&["a", "b", "c"], &[], &["e"], &[&one, &two]),
            hash_of(&["a", "b"], &["c"], &["e"], &[&one]),
            hash_of(&["a", "b"], &["c"], &[], &[&one, &two]),
            hash_of(&["a", "b", "e"], &["c"], &[], &[&one, &two]),
        ] {
            assert_ne!(hash, other);
        }
        let public = Hash::from_slice(one.bytes()).expect("32 bytes");
        let text = format!("biscuit e\nfeed c\nlog {public}\ntoken a\ntoken b\n");
        let expected = Hash::new(crypto::sha256(text.as_bytes()));
        assert_eq!(hash_of(&["a", "b"], &["c"], &["e"], &[&one]), expected);
    }
}
