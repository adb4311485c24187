//! Fuzzes the readers of `accredit-edge`.
#![no_main]

#[path = "../edge.rs"]
mod edge;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| edge::run(bytes));
