//! What the writer's thread and the callers of the store share.

use std::sync::{Arc, RwLock};
use std::time::Duration;

use accredit_domain::ports::Observer;

use crate::cache::Stamps;
use crate::member::Member;
use crate::queue::Queue;
use crate::writer::Counters;

/// Shared between the writer and everybody else.
pub(crate) struct Shared {
    pub(crate) queue: Queue<Member>,
    pub(crate) stamps: Stamps,
    pub(crate) observers: RwLock<Vec<Arc<dyn Observer>>>,
    pub(crate) stats: Counters,
    pub(crate) linger: Duration,
}
