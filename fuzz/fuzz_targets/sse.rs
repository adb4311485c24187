//! Fuzzes the event stream's parser of `accredit-net`.
#![no_main]

#[path = "../sse.rs"]
mod sse;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sse::run(bytes));
