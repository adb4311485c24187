//! Fuzzes the readers of a peer's certificate and of its authority's list of `accredit-wire`.
#![no_main]

#[path = "../peer.rs"]
mod peer;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| peer::run(bytes));
