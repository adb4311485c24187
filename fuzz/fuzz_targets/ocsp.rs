//! Fuzzes the reader of OCSP requests of `accredit-wire`.
#![no_main]

#[path = "../ocsp.rs"]
mod ocsp;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ocsp::run(bytes));
