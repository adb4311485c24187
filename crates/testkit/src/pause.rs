//! Something else happens between a decision and its write: the vault that signs the token is
//! where a test gets in.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use accredit_domain::Fault;
use accredit_domain::keys::{KeyPurpose, SealedKey};
use accredit_domain::ports::{Absent, BoxFuture, KeyVault, Notice, Observer};
use accredit_domain::root::Rewrapped;
use accredit_domain::vault::{NumberedRoot, RootKey, SoftVault};
use accredit_wire::crypto::Algorithm;
use accredit_wire::ids::{KeyId, OrganizationId};
use accredit_wire::time::Time;

/// What happens in the pause.
pub type Meanwhile = BoxFuture<'static, ()>;

/// A vault that signs, and before it signs a token or a certificate lets something happen.
pub struct PausingVault {
    vault: SoftVault,
    meanwhile: Mutex<Vec<Meanwhile>>,
    macs: AtomicU64,
}

impl PausingVault {
    /// A vault that pauses when it is told to.
    pub fn new(vault: SoftVault) -> Arc<Self> {
        Arc::new(Self { vault, meanwhile: Mutex::new(Vec::new()), macs: AtomicU64::new(0) })
    }

    /// How many secrets it has been asked for the MAC of.
    pub fn macs(&self) -> u64 {
        self.macs.load(Ordering::SeqCst)
    }

    /// Before the next token is signed, `meanwhile` happens; told twice, the next two tokens have
    /// one pause each, in the order in which they were told.
    pub fn before_next_token(&self, meanwhile: Meanwhile) {
        self.meanwhile.lock().expect("no thread panics with it").insert(0, meanwhile);
    }

    /// What was to happen and has not happened will not.
    pub fn forget(&self) {
        self.meanwhile.lock().expect("no thread panics with it").clear();
    }
}

impl KeyVault for PausingVault {
    fn generate(
        &self,
        org: Option<OrganizationId>,
        id: KeyId,
        purpose: KeyPurpose,
        algorithm: Algorithm,
    ) -> BoxFuture<'_, Result<SealedKey, Fault>> {
        self.vault.generate(org, id, purpose, algorithm)
    }

    fn sign<'a>(
        &'a self,
        key: &'a SealedKey,
        message: &'a [u8],
    ) -> BoxFuture<'a, Result<[u8; 64], Fault>> {
        Box::pin(async move {
            if matches!(key.purpose, KeyPurpose::Token | KeyPurpose::Ca | KeyPurpose::JwtSvid) {
                let next = self.meanwhile.lock().expect("no thread panics with it").pop();
                if let Some(meanwhile) = next {
                    meanwhile.await;
                }
            }
            self.vault.sign(key, message).await
        })
    }

    fn absent<'a>(&'a self, keys: &'a [SealedKey]) -> BoxFuture<'a, Result<Vec<Absent>, Fault>> {
        self.vault.absent(keys)
    }

    fn destroy<'a>(&'a self, key: &'a SealedKey) -> BoxFuture<'a, Result<bool, Fault>> {
        self.vault.destroy(key)
    }

    fn mac(&self, version: u32, secret: &[u8]) -> Option<[u8; 32]> {
        self.macs.fetch_add(1, Ordering::SeqCst);
        self.vault.mac(version, secret)
    }

    fn pepper_version(&self) -> u32 {
        self.vault.pepper_version()
    }

    fn prepare(&self, next: RootKey) -> [NumberedRoot; 2] {
        self.vault.prepare(next)
    }

    fn forget_replaced(&self, now: Time) {
        self.vault.forget_replaced(now);
    }
}

impl Observer for PausingVault {
    fn committed(&self, notice: &Notice) {
        self.vault.committed(notice);
    }

    fn rewrapped(&self, rewrapped: &Rewrapped) {
        self.vault.rewrapped(rewrapped);
    }
}
