//! Fuzzes the reader of JWT-SVIDs of `accredit-wire`.
#![no_main]

#[path = "../jwt_svid.rs"]
mod jwt_svid;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| jwt_svid::run(bytes));
