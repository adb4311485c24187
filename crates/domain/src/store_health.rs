//! How a store is doing, for readiness and metrics: counts and lengths of time, and why it takes
//! nothing more.

use std::time::Duration;

/// How a store is doing, from what it has counted since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreHealth {
    /// Groups of writes; each is one sync.
    pub batches: u64,
    /// Writes in all groups.
    pub members: u64,
    /// Writes that wait now.
    pub waiting: u64,
    /// How long all groups took together.
    pub writing: Duration,
    /// How long the last group took, or the one under way has taken until now.
    pub last_write: Duration,
    /// Groups that were written again, because the engine was gone for a moment or undid them.
    pub retries: u64,
    /// Set while writes fail: what the last one failed of.
    pub trouble: Option<StoreTrouble>,
    /// Facts that issuing found in memory.
    pub cache_hits: u64,
    /// Facts that had to be read.
    pub cache_misses: u64,
}

/// Why nothing can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreTrouble {
    /// The disk is full.
    Full,
    /// The disk or the file is read-only.
    ReadOnly,
    /// Anything else; our log says what.
    Failing,
}
