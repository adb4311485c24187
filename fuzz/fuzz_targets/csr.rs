//! Fuzzes the reader of certification requests of `accredit-wire`.
#![no_main]

#[path = "../csr.rs"]
mod csr;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| csr::run(bytes));
