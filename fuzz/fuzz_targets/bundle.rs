//! Fuzzes the reader of other trust domains' bundles of `accredit-wire`.
#![no_main]

#[path = "../bundle.rs"]
mod bundle;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bundle::run(bytes));
