//! The revocation graph as it travels and as a follower holds it.
//!
//! [`state`] is the set of what has ended, `table` how that lies in memory; [`feed`] the signed
//! messages that carry it, and [`piece`] what a large one is cut into; [`witness`] holds the audit
//! log's checkpoints that come with them; [`age`] tells how old the state is, whatever the clocks
//! say; [`published`] which keys there are; [`follower`] puts these together, and survives a restart
//! by [`kept`]; [`acknowledgement`] is what it says back. Absent on purpose: fetching and streaming,
//! which belong to the SDK.

pub mod acknowledgement;
pub mod age;
mod error;
pub mod feed;
pub mod follower;
pub mod kept;
pub mod piece;
pub mod published;
pub mod state;
mod table;
pub mod witness;

pub use acknowledgement::{Acknowledgement, FollowerId, FollowerName};
pub use age::{Anchor, Nonce, Reading};
pub use feed::{Message, SignedMessage};
pub use follower::{Applied, Follower};
pub use piece::Pieces;
pub use published::keys_hash;
pub use state::{Entry, State};

#[cfg(test)]
mod tests;
