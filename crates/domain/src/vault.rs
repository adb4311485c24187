//! NIST SP 800-38D: the software key vault. Private keys are wrapped with AES-256-GCM under a root
//! key that is kept outside the database, and unwrapped only in this process's memory.
//!
//! The additional data of each wrapping is the organization, or the installation, the record and the version of the
//! wrapping: a ciphertext moved to another row does not open there.
//!
//! Root keys of a store are counted, and what is wrapped says under which. While another one takes
//! the place of the one in use ([`crate::root`]) the vault holds both, and the replaced one for as
//! long as somebody may still have a key in hand that was read before.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use accredit_wire::crypto::{Algorithm, CryptoError, MacKey, PrivateKey, open, seal};
use accredit_wire::ids::{KeyId, OrganizationId};
use accredit_wire::time::Time;
use std::collections::HashMap;
use zeroize::Zeroizing;

use crate::keys::held::Held;
use crate::keys::{KeyPurpose, SealedKey};
use crate::ports::{Absent, BoxFuture, Entropy, Installation, KeyVault, Notice, Observer};
use crate::refusal::Fault;
use crate::root::Rewrapped;

/// Unwrapped keys kept in memory; beyond, keys are unwrapped again for each use.
pub const KEYS_IN_MEMORY_MAX: usize = 4096;
/// How long a replaced root key is held: longer than any request holds a key that it read before.
pub const REPLACED_HELD: Duration = Duration::from_mins(1);
/// The version of the wrapping.
const WRAPPING: u8 = 1;

/// The root key: 256 random bits, wiped when dropped.
pub struct RootKey(Zeroizing<[u8; 32]>);

impl RootKey {
    /// From its bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// A name that tells one root key from another, and nothing of either.
    pub fn name(&self) -> [u8; 8] {
        let mac = MacKey::new(&self.0).mac(b"accredit/root-key/name/1");
        let mut name = [0; 8];
        name.copy_from_slice(&mac[..8]);
        name
    }

    /// The key of the backup with this salt. Each file has its own.
    pub fn backup_key(&self, salt: &[u8; 32]) -> Zeroizing<[u8; 32]> {
        let text = [b"accredit/backup/1/".as_slice(), salt].concat();
        Zeroizing::new(MacKey::new(&self.0).mac(&text))
    }
}

/// A pepper as it is kept.
#[derive(Clone, Debug)]
pub struct WrappedPepper {
    /// Its version.
    pub version: u32,
    /// The 32 bytes, wrapped.
    pub wrapped: Vec<u8>,
}

/// A root key and which of the store's it is, counted from 1.
#[derive(Clone)]
pub struct NumberedRoot {
    /// Which it is.
    pub number: u32,
    /// The key.
    pub key: Arc<RootKey>,
}

/// The root keys in memory.
struct Roots {
    /// What is made is wrapped under this one.
    current: NumberedRoot,
    /// It takes the place of the current one when the store is rewrapped.
    next: Option<NumberedRoot>,
    /// Its place was taken at this time.
    replaced: Option<(NumberedRoot, Time)>,
}

impl Roots {
    fn numbered(&self, number: u32) -> Option<&RootKey> {
        let replaced = self.replaced.as_ref().map(|(root, _)| root);
        let root = [Some(&self.current), replaced].into_iter().flatten();
        root.into_iter().find(|root| root.number == number).map(|root| &*root.key)
    }
}

/// Keys in this process's memory.
pub struct SoftVault {
    roots: RwLock<Roots>,
    entropy: Arc<dyn Entropy>,
    peppers: Vec<(u32, MacKey)>,
    keys: RwLock<HashMap<KeyId, Arc<PrivateKey>>>,
}

fn pepper_aad(version: u32) -> String {
    format!("accredit/pepper/{version}/{WRAPPING}")
}

fn key_aad(org: Option<OrganizationId>, id: KeyId, purpose: KeyPurpose) -> String {
    let whose = org.map_or("installation".to_owned(), |org| org.to_string());
    format!("accredit/{whose}/{id}/{}/{WRAPPING}", purpose.as_str())
}

/// Opens a ciphertext under the old root key and seals it under the new one.
fn rewrapped(
    (old, new): (&RootKey, &RootKey),
    entropy: &dyn Entropy,
    aad: &str,
    wrapped: &[u8],
) -> Result<Vec<u8>, CryptoError> {
    let plain = Zeroizing::new(open(&old.0, aad.as_bytes(), wrapped)?);
    let mut nonce = [0u8; 12];
    entropy.fill(&mut nonce);
    seal(&new.0, nonce, aad.as_bytes(), &plain)
}

impl SoftVault {
    /// A new pepper, wrapped under `root`.
    pub fn new_pepper(
        root: &RootKey,
        entropy: &dyn Entropy,
        version: u32,
    ) -> Result<WrappedPepper, Fault> {
        let mut pepper = Zeroizing::new([0u8; 32]);
        entropy.fill(pepper.as_mut());
        let mut nonce = [0u8; 12];
        entropy.fill(&mut nonce);
        let wrapped = seal(&root.0, nonce, pepper_aad(version).as_bytes(), pepper.as_ref())
            .map_err(|error| Fault::new("wrap pepper", error))?;
        Ok(WrappedPepper { version, wrapped })
    }

    /// Opens the vault: the root key must open every pepper, which also proves that it is the
    /// right one.
    pub fn open(
        root: RootKey,
        entropy: Arc<dyn Entropy>,
        installation: &Installation,
    ) -> Result<Self, Fault> {
        let peppers = &installation.peppers;
        let wrong = || Fault::new("key vault", "the root key does not open this store");
        let mut opened = Vec::with_capacity(peppers.len());
        for pepper in peppers {
            let bytes = open(&root.0, pepper_aad(pepper.version).as_bytes(), &pepper.wrapped)
                .map_err(|_| wrong())?;
            let bytes: &[u8; 32] = bytes.as_slice().try_into().map_err(|_| wrong())?;
            opened.push((pepper.version, MacKey::new(bytes)));
        }
        if opened.is_empty() {
            return Err(Fault::new("key vault", "the store has no pepper"));
        }
        let current = NumberedRoot { number: installation.root, key: Arc::new(root) };
        let roots = RwLock::new(Roots { current, next: None, replaced: None });
        Ok(Self { roots, entropy, peppers: opened, keys: RwLock::new(HashMap::new()) })
    }

    /// Wraps a pepper again, under another root key.
    pub(crate) fn rewrap_pepper(
        (old, new): (&RootKey, &RootKey),
        entropy: &dyn Entropy,
        pepper: &WrappedPepper,
    ) -> Result<WrappedPepper, Fault> {
        let aad = pepper_aad(pepper.version);
        let wrapped = rewrapped((old, new), entropy, &aad, &pepper.wrapped)
            .map_err(|error| Fault::new("rewrap pepper", error))?;
        Ok(WrappedPepper { version: pepper.version, wrapped })
    }

    /// Wraps a signing key again, under another root key. One in a token is under none.
    pub(crate) fn rewrap_key(
        (old, new): (&NumberedRoot, &NumberedRoot),
        entropy: &dyn Entropy,
        key: &SealedKey,
    ) -> Result<SealedKey, Fault> {
        if key.held() == Held::Pkcs11 {
            return Ok(SealedKey { root: new.number, ..key.clone() });
        }
        let aad = key_aad(key.org, key.id, key.purpose);
        let wrapped = rewrapped((&old.key, &new.key), entropy, &aad, &key.wrapped)
            .map_err(|error| Fault::new("rewrap key", format!("{}: {error}", key.id)))?;
        Ok(SealedKey { root: new.number, wrapped, ..key.clone() })
    }

    /// Whether a root key opens every pepper: whether it is the store's.
    pub fn opens(root: &RootKey, peppers: &[WrappedPepper]) -> bool {
        let opens = |pepper: &WrappedPepper| {
            open(&root.0, pepper_aad(pepper.version).as_bytes(), &pepper.wrapped).is_ok()
        };
        !peppers.is_empty() && peppers.iter().all(opens)
    }

    fn roots(&self) -> std::sync::RwLockReadGuard<'_, Roots> {
        self.roots.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn roots_mut(&self) -> std::sync::RwLockWriteGuard<'_, Roots> {
        self.roots.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Which of the store's root keys is in use.
    pub fn root(&self) -> u32 {
        self.roots().current.number
    }

    fn private(&self, key: &SealedKey) -> Result<Arc<PrivateKey>, Fault> {
        if key.held() == Held::Pkcs11 {
            let why = format!("{} is in a PKCS#11 token, and this process was given none", key.id);
            return Err(Fault::new("unwrap key", why));
        }
        let lost = || Fault::new("key vault", "a thread panicked with the key table");
        if let Some(private) = self.keys.read().map_err(|_| lost())?.get(&key.id) {
            return Ok(Arc::clone(private));
        }
        let aad = key_aad(key.org, key.id, key.purpose);
        let opened = {
            let roots = self.roots();
            let root = roots.numbered(key.root).ok_or_else(|| {
                let why = format!("{} is under root key {}, which is not here", key.id, key.root);
                Fault::new("unwrap key", why)
            })?;
            open(&root.0, aad.as_bytes(), &key.wrapped)
        };
        let der =
            opened.map_err(|_| Fault::new("unwrap key", format!("{} does not open", key.id)))?;
        let private = PrivateKey::from_pkcs8(key.algorithm, &der)
            .map_err(|error| Fault::new("unwrap key", error))?;
        let private = Arc::new(private);
        let mut keys = self.keys.write().map_err(|_| lost())?;
        if keys.len() < KEYS_IN_MEMORY_MAX {
            keys.insert(key.id, Arc::clone(&private));
        }
        Ok(private)
    }
}

impl KeyVault for SoftVault {
    fn generate(
        &self,
        org: Option<OrganizationId>,
        id: KeyId,
        purpose: KeyPurpose,
        algorithm: Algorithm,
    ) -> BoxFuture<'_, Result<SealedKey, Fault>> {
        Box::pin(async move {
            let failed = |error| Fault::new("generate key", error);
            let (private, der) = PrivateKey::generate(algorithm).map_err(failed)?;
            let mut nonce = [0u8; 12];
            self.entropy.fill(&mut nonce);
            let root = self.roots().current.clone();
            let wrapped = seal(&root.key.0, nonce, key_aad(org, id, purpose).as_bytes(), &der)
                .map_err(failed)?;
            let public = private.public().map_err(failed)?;
            Ok(SealedKey { org, id, purpose, algorithm, public, root: root.number, wrapped })
        })
    }

    fn sign<'a>(
        &'a self,
        key: &'a SealedKey,
        message: &'a [u8],
    ) -> BoxFuture<'a, Result<[u8; 64], Fault>> {
        Box::pin(async move {
            self.private(key)?.sign(message).map_err(|error| Fault::new("sign", error))
        })
    }

    fn absent<'a>(&'a self, keys: &'a [SealedKey]) -> BoxFuture<'a, Result<Vec<Absent>, Fault>> {
        let why = |key: &SealedKey| self.private(key).err().map(|fault| fault.to_string());
        let absent = keys.iter().filter_map(|key| Some(Absent { id: key.id, why: why(key)? }));
        Box::pin(std::future::ready(Ok(absent.collect())))
    }

    fn destroy<'a>(&'a self, key: &'a SealedKey) -> BoxFuture<'a, Result<bool, Fault>> {
        self.keys.write().unwrap_or_else(PoisonError::into_inner).remove(&key.id);
        Box::pin(std::future::ready(Ok(false)))
    }

    fn mac(&self, version: u32, secret: &[u8]) -> Option<[u8; 32]> {
        let (_, key) = self.peppers.iter().find(|(known, _)| *known == version)?;
        Some(key.mac(secret))
    }

    fn pepper_version(&self) -> u32 {
        self.peppers.iter().map(|(version, _)| *version).max().unwrap_or(0)
    }

    fn prepare(&self, next: RootKey) -> [NumberedRoot; 2] {
        let mut roots = self.roots_mut();
        let current = roots.current.clone();
        let next = NumberedRoot { number: current.number + 1, key: Arc::new(next) };
        roots.next = Some(next.clone());
        [current, next]
    }

    fn forget_replaced(&self, now: Time) {
        let mut roots = self.roots_mut();
        roots.replaced.take_if(|(_, at)| at.plus(REPLACED_HELD) <= now);
    }
}

impl Observer for SoftVault {
    fn committed(&self, _notice: &Notice) {}

    fn rewrapped(&self, rewrapped: &Rewrapped) {
        let mut roots = self.roots_mut();
        let Some(next) = roots.next.take_if(|next| next.number == rewrapped.root) else { return };
        let replaced = std::mem::replace(&mut roots.current, next);
        roots.replaced = Some((replaced, rewrapped.at));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Counting;
    impl Entropy for Counting {
        fn fill(&self, bytes: &mut [u8]) {
            for (index, byte) in bytes.iter_mut().enumerate() {
                *byte = index as u8;
            }
        }
    }

    fn vault(root: u8, pepper: &WrappedPepper) -> Result<SoftVault, Fault> {
        let peppers = vec![pepper.clone()];
        let installation = Installation { peppers, root: 1, public_url: String::new() };
        SoftVault::open(RootKey::new([root; 32]), Arc::new(Counting), &installation)
    }

    #[test]
    fn a_wrong_root_key_does_not_open_the_vault() {
        let pepper = SoftVault::new_pepper(&RootKey::new([1; 32]), &Counting, 1).expect("a pepper");
        assert!(vault(1, &pepper).is_ok());
        assert!(vault(2, &pepper).is_err());
    }

    #[test]
    fn names_and_backup_keys_of_root_keys_differ() {
        let [one, two] = [1, 2].map(|byte| RootKey::new([byte; 32]));
        assert_ne!(one.name(), two.name());
        assert_ne!(one.backup_key(&[0; 32]), two.backup_key(&[0; 32]));
        assert_ne!(one.backup_key(&[0; 32]), one.backup_key(&[1; 32]));
        assert!(!one.backup_key(&[0; 32]).starts_with(&one.name()));
    }

    #[test]
    fn a_wrapped_key_opens_only_in_its_own_row() {
        let pepper = SoftVault::new_pepper(&RootKey::new([1; 32]), &Counting, 1).expect("a pepper");
        let first = vault(1, &pepper).expect("a vault");
        let org = OrganizationId::new(1, [1; 10]);
        let id = KeyId::new(1, [2; 10]);
        let made = first.generate(Some(org), id, KeyPurpose::Token, Algorithm::Es256);
        let sealed = futures_util::FutureExt::now_or_never(made).expect("ready").expect("a key");
        // A second vault has nothing in memory and must unwrap.
        let sign = |key: &SealedKey| {
            let second = vault(1, &pepper).expect("a vault");
            futures_util::FutureExt::now_or_never(second.sign(key, b"m")).expect("ready")
        };
        let signature = sign(&sealed).expect("a signature");
        assert!(sealed.public.verify(b"m", &signature).is_ok());
        for moved in [
            SealedKey { org: Some(OrganizationId::new(2, [1; 10])), ..sealed.clone() },
            SealedKey { org: None, ..sealed.clone() },
            SealedKey { id: KeyId::new(2, [2; 10]), ..sealed.clone() },
            SealedKey { purpose: KeyPurpose::Log, ..sealed.clone() },
        ] {
            assert!(sign(&moved).is_err());
        }
    }

    /// What was freed cannot be looked at without `unsafe`: held is the type that wipes, or this
    /// does not compile.
    fn wipes<T: zeroize::ZeroizeOnDrop>(_: &T) {}

    #[test]
    fn a_root_key_is_held_in_what_wipes_itself() {
        let mut key = RootKey::new([7; 32]);
        wipes(&key.0);
        zeroize::Zeroize::zeroize(&mut key.0);
        assert_eq!(*key.0, [0; 32]);
    }

    /// Beyond these bytes a key is the cryptographic library's, which wipes what it frees.
    #[test]
    fn bytes_of_peppers_and_private_keys_are_held_in_what_wipes_itself() {
        let root = RootKey::new([7; 32]);
        wipes(&root.backup_key(&[1; 32]));
        let sealed = seal(&root.0, [0; 12], b"aad", b"a pepper").expect("sealed");
        let mut opened = open(&root.0, b"aad", &sealed).expect("opened");
        wipes(&opened);
        assert_eq!(opened.as_slice(), b"a pepper");
        zeroize::Zeroize::zeroize(&mut opened);
        assert!(opened.is_empty());
        for algorithm in [Algorithm::Es256, Algorithm::EdDsa] {
            let (_, mut der) = PrivateKey::generate(algorithm).expect("a key");
            wipes(&der);
            zeroize::Zeroize::zeroize(&mut der);
            assert!(der.is_empty());
        }
        // A key in memory has no copy of its bytes, and its end runs what the library does at it.
        assert!(std::mem::needs_drop::<MacKey>() && std::mem::needs_drop::<PrivateKey>());
    }
}
