//! The audit log: what happened, proved by a Merkle tree that others can check.
//!
//! [`event`] is what is recorded, in the transaction of the change, and [`changes`] what it says of
//! the thing; [`kept`] is the log as a store keeps it; [`integrate`] builds the tree
//! behind it, and [`checkpointed`] has lanes tell of each other; [`read`] shows and exports it, [`merged`] several lanes as one list; [`prune`] forgets
//! what old events said; [`refusals`] and [`uses`] are what is counted rather
//! than recorded one by one.

pub mod changes;
pub mod checkpointed;
pub mod event;
pub mod flush;
pub mod fsck;
pub mod integrate;
pub mod kept;
pub mod merged;
pub mod prune;
pub mod read;
pub mod reads;
pub mod refusals;
pub mod uses;

use std::time::Duration;

use accredit_wire::time::Time;

/// Whether a window that ends at `ends` is over, or ends later than one that begins now would: then
/// the clock was set back.
fn window_is_over(ends: Time, window: Duration, now: Time) -> bool {
    ends <= now || ends > now.plus(window)
}
