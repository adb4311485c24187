//! Whose keys were right lately: who is asked for theirs first where there is room for few.
//!
//! An id proves nothing and is no secret, so being here gives nobody anything but a turn: the key
//! is checked all the same. What is not here is what a flood of invented keys is made of. The bound
//! is in two generations: when the younger is full the older is forgotten.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use accredit_wire::ids::CredentialId;

/// Keys that are remembered at least, the latest ones; twice as many at most.
pub const ACQUAINTED_MAX: usize = 4096;

/// Administrators' and operators' keys that were right.
#[derive(Debug, Default)]
pub struct Acquainted(Mutex<[HashSet<CredentialId>; 2]>);

impl Acquainted {
    /// A key was right.
    pub fn note(&self, key: CredentialId) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let [young, old] = &mut *held;
        if young.len() >= ACQUAINTED_MAX && !young.contains(&key) {
            *old = std::mem::take(young);
        }
        young.insert(key);
    }

    /// Whether it was right lately.
    pub fn has(&self, key: CredentialId) -> bool {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.iter().any(|keys| keys.contains(&key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_are_remembered_and_the_bound_holds() {
        let acquainted = Acquainted::default();
        let key = |n: usize| CredentialId::new(n as u64, [1; 10]);
        for n in 0..5 * ACQUAINTED_MAX {
            acquainted.note(key(n));
            acquainted.note(key(0));
            assert!(acquainted.has(key(n)) && acquainted.has(key(0)));
        }
        let remembered = (0..5 * ACQUAINTED_MAX).filter(|n| acquainted.has(key(*n))).count();
        assert!((ACQUAINTED_MAX..=2 * ACQUAINTED_MAX).contains(&remembered), "{remembered}");
    }
}
