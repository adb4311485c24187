//! The domain over the real store: invariants under random histories, faults and races.
#![expect(clippy::expect_used, reason = "the fixtures are tests too, and fail loudly")]

mod faults;
mod fence;
mod history;
mod key_vault;
mod ledger;
mod refusals_doc;
mod seeds;
mod sim;
mod sim_nodes;
