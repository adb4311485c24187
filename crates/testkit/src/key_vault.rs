//! The conformance suite of key vaults ([`KeyVault`]): each implementation calls it.

use std::sync::Arc;

use accredit_domain::audit::event::Body;
use accredit_domain::keys::held::Held;
use accredit_domain::keys::{KeyPurpose, SealedKey};
use accredit_domain::ports::KeyVault;
use accredit_domain::root::{Rewrapped, Rewrapping};
use accredit_domain::vault::{REPLACED_HELD, RootKey};
use accredit_wire::ids::{KeyId, OrganizationId};
use accredit_wire::time::Time;

use crate::SeededEntropy;

/// Signatures that are asked for at once.
const AT_ONCE: usize = 32;
const MESSAGE: &[u8] = b"what is signed";

/// A kind of vault, as the suite is shown it.
pub struct Kind {
    /// Opens another vault on the same keys, with nothing in its memory.
    pub open: Box<dyn Fn() -> Arc<dyn KeyVault>>,
    /// Where it makes new keys of a purpose.
    pub held: fn(KeyPurpose) -> Held,
}

/// Everything that is demanded of a key vault.
pub async fn suite(kind: &Kind) {
    let vault = (kind.open)();
    let mut made = Vec::new();
    for (place, purpose) in KeyPurpose::ALL.into_iter().enumerate() {
        made.push(generate(&*vault, place as u64, purpose).await);
    }
    for key in &made {
        assert_eq!(key.held(), (kind.held)(key.purpose), "{}", key.purpose.as_str());
        signs(&*vault, key).await;
        // Not from memory, either.
        signs(&*(kind.open)(), key).await;
        refuses_what_was_moved(kind, key, &made).await;
    }
    assert!(vault.absent(&made).await.expect("looked").is_empty());
    many_at_once(&vault, &made).await;
    macs(&*vault);
    under_another_root(&*vault, &made).await;
    destroys(kind, &made).await;
}

async fn generate(vault: &dyn KeyVault, place: u64, purpose: KeyPurpose) -> SealedKey {
    let (org, id) =
        (Some(OrganizationId::new(1, [7; 10])), KeyId::new(place + 1, [place as u8; 10]));
    let key = vault.generate(org, id, purpose, purpose.algorithm()).await.expect("a key");
    assert_eq!((key.org, key.id, key.purpose), (org, id, purpose));
    assert_eq!(key.algorithm, purpose.algorithm());
    assert_eq!(key.public.algorithm(), purpose.algorithm());
    key
}

async fn signs(vault: &dyn KeyVault, key: &SealedKey) {
    let signature = vault.sign(key, MESSAGE).await.expect("signed");
    assert!(key.public.verify(MESSAGE, &signature).is_ok(), "{}", key.purpose.as_str());
    assert!(key.public.verify(b"another", &signature).is_err());
}

/// A row whose key is another's, or that was changed, is refused by a vault that has nothing in memory.
async fn refuses_what_was_moved(kind: &Kind, key: &SealedKey, all: &[SealedKey]) {
    let other = all.iter().find(|other| other.id != key.id && other.algorithm == key.algorithm);
    let other = other.expect("another of the algorithm");
    let mut last_bit = key.wrapped.clone();
    *last_bit.last_mut().expect("bytes") ^= 1;
    let cut = key.wrapped[..key.wrapped.len() - 1].to_vec();
    let purpose = if key.purpose == KeyPurpose::Ca { KeyPurpose::CaRoot } else { KeyPurpose::Ca };
    let moved = [
        SealedKey { org: Some(OrganizationId::new(2, [7; 10])), ..key.clone() },
        SealedKey { org: None, ..key.clone() },
        SealedKey { id: KeyId::new(99, [9; 10]), ..key.clone() },
        SealedKey { id: other.id, ..key.clone() },
        SealedKey { purpose, ..key.clone() },
        SealedKey { wrapped: other.wrapped.clone(), ..key.clone() },
        SealedKey { wrapped: last_bit, ..key.clone() },
        SealedKey { wrapped: cut, ..key.clone() },
        SealedKey { wrapped: Vec::new(), ..key.clone() },
    ];
    for moved in moved {
        let vault = (kind.open)();
        assert!(vault.sign(&moved, MESSAGE).await.is_err(), "{moved:?}");
        assert_eq!(vault.absent(&[moved]).await.expect("looked").len(), 1);
    }
}

async fn many_at_once(vault: &Arc<dyn KeyVault>, keys: &[SealedKey]) {
    let mut tasks = tokio::task::JoinSet::new();
    for place in 0..AT_ONCE {
        let (vault, key) = (Arc::clone(vault), keys[place % keys.len()].clone());
        tasks.spawn(async move { signs(&*vault, &key).await });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.expect("signed");
    }
}

fn macs(vault: &dyn KeyVault) {
    let version = vault.pepper_version();
    let mac = vault.mac(version, b"a secret").expect("the version there is");
    assert_eq!(vault.mac(version, b"a secret"), Some(mac));
    assert_ne!(vault.mac(version, b"another"), Some(mac));
    assert_eq!(vault.mac(version + 1, b"a secret"), None);
}

/// The store comes under another root key: what was read before signs for a while, and what is read
/// afterwards from then on.
async fn under_another_root(vault: &dyn KeyVault, keys: &[SealedKey]) {
    let roots = vault.prepare(RootKey::new([0x5a; 32]));
    let [from, to] = [roots[0].number, roots[1].number];
    assert_eq!(to, from + 1);
    let at = Time::from_micros(1);
    let rewrapping = Rewrapping::new(roots, Arc::new(SeededEntropy::new(1)), at, Body::default());
    let after: Vec<_> = keys.iter().map(|key| rewrapping.key(key).expect("rewrapped")).collect();
    vault.rewrapped(&Rewrapped { root: to, at, keys: after.clone() });
    for (before, after) in keys.iter().zip(&after) {
        assert_eq!((after.root, after.held()), (to, before.held()));
        // What is in no wrapping is left alone.
        assert_eq!(before.wrapped == after.wrapped, before.held() == Held::Pkcs11);
        signs(vault, after).await;
        signs(vault, before).await;
    }
    let made = generate(vault, 40, KeyPurpose::Token).await;
    assert_eq!(made.root, to);
    vault.forget_replaced(at.plus(REPLACED_HELD));
    for after in &after {
        signs(vault, after).await;
    }
}

/// What is in a token is gone for good; what is wrapped is as long as its row.
async fn destroys(kind: &Kind, keys: &[SealedKey]) {
    let (vault, other) = ((kind.open)(), (kind.open)());
    for key in keys {
        signs(&*other, key).await;
        let is_inside = key.held() == Held::Pkcs11;
        assert_eq!(vault.destroy(key).await.expect("destroyed"), is_inside);
        assert!(!vault.destroy(key).await.expect("again"));
        // Also where it was in use.
        for vault in [&vault, &other, &(kind.open)()] {
            assert_eq!(vault.sign(key, MESSAGE).await.is_err(), is_inside, "{key:?}");
        }
        let absent = other.absent(std::slice::from_ref(key)).await.expect("looked");
        assert_eq!(
            absent.iter().map(|absent| absent.id).collect::<Vec<_>>(),
            [key.id][..usize::from(is_inside)]
        );
    }
}
