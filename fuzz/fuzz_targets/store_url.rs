//! Fuzzes the parser of a store's URL of `accredit-store`.
#![no_main]

#[path = "../store_url.rs"]
mod store_url;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| store_url::run(bytes));
