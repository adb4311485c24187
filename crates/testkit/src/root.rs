//! Where a test's root key is kept: in memory, as two files would keep it.

use std::sync::{Mutex, PoisonError};

use accredit_domain::ports::{BoxFuture, Entropy, RootKeyPlace};
use accredit_domain::vault::{RootKey, SoftVault, WrappedPepper};
use accredit_domain::{Error, Fault, Refusal, Rule};
use std::sync::Arc;

use crate::pause::Meanwhile;

/// The root key of a new world.
const FIRST: [u8; 32] = [7; 32];

/// The keys in their places.
struct Held {
    current: [u8; 32],
    next: Option<[u8; 32]>,
    may_be_replaced: bool,
    moves: bool,
    meanwhile: Option<Meanwhile>,
}

/// A place for root keys, of which a test says whether it can be written.
pub struct RootPlace {
    entropy: Arc<dyn Entropy>,
    held: Mutex<Held>,
}

impl RootPlace {
    /// With the first key in it.
    pub fn new(entropy: Arc<dyn Entropy>) -> Self {
        let (next, meanwhile) = (None, None);
        let held = Held { current: FIRST, next, may_be_replaced: true, moves: true, meanwhile };
        Self { entropy, held: Mutex::new(held) }
    }

    /// Whether the key may be replaced at all.
    pub fn may_be_replaced(&self, may: bool) {
        self.held().may_be_replaced = may;
    }

    /// Whether the other key comes into its place.
    pub fn moves(&self, moves: bool) {
        self.held().moves = moves;
    }

    /// While the next rotation makes its key, `meanwhile` happens.
    pub fn while_next_is_made(&self, meanwhile: Meanwhile) {
        self.held().meanwhile = Some(meanwhile);
    }

    /// The key that opens these peppers: the one in its place or, where a rotation was cut off, the
    /// other one, which takes its place.
    pub fn opening(&self, peppers: &[WrappedPepper]) -> RootKey {
        let mut held = self.held();
        if !SoftVault::opens(&RootKey::new(held.current), peppers) {
            held.current = held.next.take().expect("one of both opens the store");
        }
        RootKey::new(held.current)
    }

    /// The key in its place.
    pub fn current(&self) -> RootKey {
        RootKey::new(self.held().current)
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RootKeyPlace for RootPlace {
    fn make_next(&self, peppers: Vec<WrappedPepper>) -> BoxFuture<'_, Result<RootKey, Error>> {
        Box::pin(async move {
            let meanwhile = self.held().meanwhile.take();
            if let Some(meanwhile) = meanwhile {
                meanwhile.await;
            }
            drop(self.opening(&peppers));
            let mut held = self.held();
            if !held.may_be_replaced {
                let why = "the root key cannot be replaced here";
                return Err(Refusal::new(Rule::StateForbids, why, "keep it elsewhere").into());
            }
            let mut next = [0; 32];
            self.entropy.fill(&mut next);
            held.next = Some(next);
            Ok(RootKey::new(next))
        })
    }

    fn put_in_place(&self) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(async move {
            let mut held = self.held();
            if !held.moves {
                return Err(Fault::new("put the root key in place", "the test wants it so"));
            }
            held.current = held.next.take().expect("another key was made");
            Ok(())
        })
    }
}
