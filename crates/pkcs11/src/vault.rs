//! The key vault that has some of its keys in a token and all else in software.
//!
//! A purpose says where its new keys are made; a row says where its key is. So a key that was made
//! before in software goes on there until it is rotated.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use accredit_domain::Fault;
use accredit_domain::keys::held::{Held, reference};
use accredit_domain::keys::{KeyPurpose, SealedKey};
use accredit_domain::ports::{Absent, BoxFuture, KeyVault, Notice, Observer};
use accredit_domain::root::Rewrapped;
use accredit_domain::vault::{NumberedRoot, RootKey, SoftVault};
use accredit_wire::crypto::Algorithm;
use accredit_wire::ids::{KeyId, OrganizationId};
use accredit_wire::time::Time;

use crate::object::Wanted;
use crate::token::Token;

/// Keys that are remembered to be destroyed; beyond, the token is asked again.
const DESTROYED_MAX: usize = 65_536;

/// The software vault and a token.
pub struct Pkcs11Vault {
    soft: SoftVault,
    token: Token,
    /// What need not be looked for again to be destroyed.
    destroyed: Mutex<HashSet<KeyId>>,
}

impl Pkcs11Vault {
    /// Keys in this token, and all else in this vault.
    pub fn new(soft: SoftVault, token: Token) -> Self {
        Self { soft, token, destroyed: Mutex::default() }
    }

    /// The token.
    pub fn token(&self) -> &Token {
        &self.token
    }

    fn destroyed(&self) -> std::sync::MutexGuard<'_, HashSet<KeyId>> {
        self.destroyed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KeyVault for Pkcs11Vault {
    fn generate(
        &self,
        org: Option<OrganizationId>,
        id: KeyId,
        purpose: KeyPurpose,
        algorithm: Algorithm,
    ) -> BoxFuture<'_, Result<SealedKey, Fault>> {
        if !self.token.is_for(purpose) {
            return self.soft.generate(org, id, purpose, algorithm);
        }
        Box::pin(async move {
            let wanted = Wanted { org, id, purpose, algorithm };
            let (name, public) = self.token.generate(wanted).await?;
            let (root, wrapped) = (self.soft.root(), reference(&name));
            Ok(SealedKey { org, id, purpose, algorithm, public, root, wrapped })
        })
    }

    fn sign<'a>(
        &'a self,
        key: &'a SealedKey,
        message: &'a [u8],
    ) -> BoxFuture<'a, Result<[u8; 64], Fault>> {
        match key.held() {
            Held::Software => self.soft.sign(key, message),
            Held::Pkcs11 => Box::pin(async move { Ok(self.token.sign(key, message).await?) }),
        }
    }

    fn absent<'a>(&'a self, keys: &'a [SealedKey]) -> BoxFuture<'a, Result<Vec<Absent>, Fault>> {
        Box::pin(async move {
            let (inside, outside): (Vec<SealedKey>, Vec<SealedKey>) =
                keys.iter().cloned().partition(|key| key.held() == Held::Pkcs11);
            let mut absent = self.soft.absent(&outside).await?;
            if !inside.is_empty() {
                let found = self.token.absent(&inside).await?;
                absent.extend(found.into_iter().map(|(id, why)| Absent { id, why }));
            }
            Ok(absent)
        })
    }

    fn destroy<'a>(&'a self, key: &'a SealedKey) -> BoxFuture<'a, Result<bool, Fault>> {
        if key.held() == Held::Software {
            return self.soft.destroy(key);
        }
        Box::pin(async move {
            if self.destroyed().contains(&key.id) {
                return Ok(false);
            }
            let was_there = self.token.destroy(key).await?;
            let mut destroyed = self.destroyed();
            if destroyed.len() < DESTROYED_MAX {
                destroyed.insert(key.id);
            }
            Ok(was_there)
        })
    }

    fn mac(&self, version: u32, secret: &[u8]) -> Option<[u8; 32]> {
        self.soft.mac(version, secret)
    }

    fn pepper_version(&self) -> u32 {
        self.soft.pepper_version()
    }

    fn prepare(&self, next: RootKey) -> [NumberedRoot; 2] {
        self.soft.prepare(next)
    }

    fn forget_replaced(&self, now: Time) {
        self.soft.forget_replaced(now);
    }
}

impl Observer for Pkcs11Vault {
    fn committed(&self, notice: &Notice) {
        self.soft.committed(notice);
    }

    fn rewrapped(&self, rewrapped: &Rewrapped) {
        self.soft.rewrapped(rewrapped);
    }
}
