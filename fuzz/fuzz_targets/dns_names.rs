//! Fuzzes the reader of hosts' names of `accredit-wire`.
#![no_main]

#[path = "../dns_names.rs"]
mod dns_names;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dns_names::run(bytes));
