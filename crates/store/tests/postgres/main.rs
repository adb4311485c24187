//! The store through its ports on PostgreSQL: the cases are those of the embedded engine, from the
//! same files. What is about a file, or about how one engine plans, is not among them.
#![expect(clippy::expect_used, reason = "a test that cannot go on says so")]

#[path = "../it/admissions.rs"]
mod admissions;
#[path = "../it/answers.rs"]
mod answers;
#[path = "../it/certificates.rs"]
mod certificates;
mod cluster;
mod copied;
mod engine;
#[path = "../it/given.rs"]
mod given;
#[path = "../it/holdings.rs"]
mod holdings;
#[path = "../it/issuance.rs"]
mod issuance;
mod lanes;
#[path = "../it/leases.rs"]
mod leases;
#[path = "../it/listener.rs"]
mod listener;
#[path = "../it/lists.rs"]
mod lists;
#[path = "../it/log.rs"]
mod log;
mod nodes;
#[path = "../it/registry.rs"]
mod registry;
#[path = "../it/revocation.rs"]
mod revocation;
mod schema;
mod server;
mod shared;
mod statements;
#[path = "../it/status_lists.rs"]
mod status_lists;
mod tls;
mod trouble;
mod turns;
mod waking;
#[path = "../it/words.rs"]
mod words;
