//! How old what this node knows may be, where others write to the same store.
//!
//! What a node has in memory is as new as its last [`Store::catch_up`]. Where that is too long ago it
//! cannot know what has ended since, and answers nobody: it may have been cut off from the store, or
//! have stood still. A process that has its store alone is always up to date. Absent on purpose: the
//! time of day, and any other node's word for it.
//!
//! [`Store::catch_up`]: crate::ports::Store::catch_up

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::ports::{Clock, Store};
use crate::refusal::{Refusal, Rule};

/// How old it may be where nobody says.
pub const VIEW_AGE_MAX: Duration = Duration::from_secs(2);
/// After how many seconds whoever was refused may come again.
const RETRY_AFTER_SECONDS: u32 = 1;

/// The age of what this node knows.
#[derive(Debug)]
pub struct View {
    is_alone: bool,
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
            confirmed: AtomicU64::new(0),
            age_max: OnceLock::new(),
        }
    }

    /// It has taken over what was durable when the monotonic clock showed `began`.
    pub fn confirmed(&self, began: Duration) {
        let micros = u64::try_from(began.as_micros()).unwrap_or(u64::MAX - 1);
        self.confirmed.fetch_max(micros + 1, Ordering::SeqCst);
    }

    /// Whether it is young enough to decide by.
    pub fn is_current(&self, clock: &dyn Clock) -> bool {
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
        let refusal = Refusal::new(
            Rule::ViewStale,
            "this node has not heard from the store for too long: it does not know what has ended",
            "ask another node, or this one again in a moment",
        );
        Err(Refusal { retry_after: Some(RETRY_AFTER_SECONDS), ..refusal })
    }
}
