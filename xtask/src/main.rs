//! The only task runner: check, test, ci, tidy, openapi, standards, bench, interop.
fn main() {}
