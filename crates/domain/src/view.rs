//! How old what this node knows may be, where others write to the same store.
//!
//! What a node has in memory is as new as its last [`Store::catch_up`]. Where that is too long ago it
//! cannot know what has ended since, and answers nobody: it may have been cut off from the store, or
//! have stood still. A process that has its store alone is always up to date. Absent on purpose: the
//! time of day, and any other node's word for it.
//!
//! A store that has lost what it had answered ([`Loss`]) is not known at all: a standby took the place
//! of a primary without having all of it. Nothing is answered until a person has declared the loss.
//!
//! [`Store::catch_up`]: crate::ports::Store::catch_up

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::ports::{Clock, Store};
use crate::refusal::{Refusal, Rule};

/// How old it may be where nobody says.
pub const VIEW_AGE_MAX: Duration = Duration::from_secs(2);
/// After how many seconds whoever was refused may come again.
const RETRY_AFTER_SECONDS: u32 = 1;
/// The same where a person has to do something first.
const RETRY_AFTER_LOSS_SECONDS: u32 = 30;

/// Whether the store was found to have lost what it had answered, and nobody has declared that yet.
#[derive(Debug, Default)]
pub struct Loss(AtomicBool);

impl Loss {
    /// It was. Whether nobody knew.
    pub fn found(&self) -> bool {
        !self.0.swap(true, Ordering::SeqCst)
    }

    /// It was declared.
    pub fn declared(&self) {
        self.0.store(false, Ordering::SeqCst);
    }

    /// Whether it was found.
    pub fn is_found(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// The age of what this node knows.
#[derive(Debug)]
pub struct View {
    is_alone: bool,
    loss: Arc<Loss>,
    /// When it was last up to date, by the monotonic clock, microseconds and one more; 0 for never.
    confirmed: AtomicU64,
    /// How old it may be: [`VIEW_AGE_MAX`], where it is not set.
    pub age_max: OnceLock<Duration>,
}

impl View {
    /// Of what is known of a store: nothing yet, where others write to it.
    pub fn of(store: &dyn Store) -> Self {
        Self {
            is_alone: !store.is_shared(),
            loss: store.loss(),
            confirmed: AtomicU64::new(0),
            age_max: OnceLock::new(),
        }
    }

    /// It has taken over what was durable when the monotonic clock showed `began`.
    pub fn confirmed(&self, began: Duration) {
        let micros = u64::try_from(began.as_micros()).unwrap_or(u64::MAX - 1);
        self.confirmed.fetch_max(micros + 1, Ordering::SeqCst);
    }

    /// Everything that was durable before this, of the monotonic clock, is known here; nothing where
    /// nothing is known.
    pub fn known_at(&self) -> Option<Duration> {
        self.confirmed.load(Ordering::SeqCst).checked_sub(1).map(Duration::from_micros)
    }

    /// Whether it is young enough to decide by.
    pub fn is_current(&self, clock: &dyn Clock) -> bool {
        if self.loss.is_found() {
            return false;
        }
        if self.is_alone {
            return true;
        }
        let Some(micros) = self.confirmed.load(Ordering::SeqCst).checked_sub(1) else {
            return false;
        };
        let age_max = self.age_max.get().copied().unwrap_or(VIEW_AGE_MAX);
        clock.elapsed() <= Duration::from_micros(micros) + age_max
    }

    /// Refuses where it is too old.
    pub fn check(&self, clock: &dyn Clock) -> Result<(), Refusal> {
        if self.is_current(clock) {
            return Ok(());
        }
        if self.loss.is_found() {
            let refusal = Refusal::new(
                Rule::StoreLost,
                "the store has lost what it had answered: nobody knows what has ended",
                "the operator declares the loss with `accredit store declare-loss`",
            );
            return Err(Refusal { retry_after: Some(RETRY_AFTER_LOSS_SECONDS), ..refusal });
        }
        let refusal = Refusal::new(
            Rule::ViewStale,
            "this node has not heard from the store for too long: it does not know what has ended",
            "ask another node, or this one again in a moment",
        );
        Err(Refusal { retry_after: Some(RETRY_AFTER_SECONDS), ..refusal })
    }
}
