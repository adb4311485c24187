//! Faults: power loss, crashes, disks that are full, read-only, slow or broken, clocks that jump,
//! and more load than the machine can bear.
//!
//! What is promised is always the same: what a client was given stands in the log, what could not
//! be recorded was not given, and the server goes on by itself once the cause is gone.

#![expect(clippy::print_stdout, reason = "says what was measured")]

mod disk;
mod kill;
mod load;
mod overload;
mod power;
mod root_rotation;
mod root_wrong;
mod shim;
mod trace;
