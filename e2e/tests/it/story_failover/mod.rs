//! The database's primary is lost under load, and a standby takes its place. Where the standby is
//! synchronous nothing is lost; where it is not, what was lost is noticed and declared.

pub(crate) mod load;
mod lost;
mod parted;
mod synchronous;

use std::time::Duration;

/// How soon a node serves again when there is a primary.
const BACK_WITHIN: Duration = Duration::from_secs(20);
