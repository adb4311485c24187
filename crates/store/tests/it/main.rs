//! The store through its ports, on files in a temporary folder.

mod admissions;
mod faults;
mod file;
mod given;
mod issuance;
mod log;
mod registry;
mod revocation;
