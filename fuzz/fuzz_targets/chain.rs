//! Fuzzes the reader of certificate chains of `accredit-wire`.
#![no_main]

#[path = "../chain.rs"]
mod chain;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| chain::run(bytes));
