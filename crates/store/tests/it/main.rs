//! The store through its ports, on files in a temporary folder.
#![expect(clippy::expect_used, reason = "a test that cannot go on says so")]

mod admissions;
mod faults;
mod file;
mod given;
mod issuance;
mod log;
mod registry;
mod revocation;
