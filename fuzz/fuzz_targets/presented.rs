//! Fuzzes the reader of certificates that clients show of `accredit-wire`.
#![no_main]

#[path = "../presented.rs"]
mod presented;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| presented::run(bytes));
