//! The store through its ports, on files in a temporary folder.
#![expect(clippy::expect_used, reason = "a test that cannot go on says so")]

mod admissions;
mod answers;
mod certificates;
mod corpus;
mod engine;
mod fault_matrix;
mod faults;
mod file;
mod given;
mod health;
mod holdings;
mod issuance;
mod leases;
mod listener;
mod lists;
mod log;
mod older;
mod plans;
mod registry;
mod revocation;
mod rewrap;
mod roles;
mod status_lists;
mod words;
