//! prctl(2) PR_SET_THP_DISABLE: what a daemon takes that has little to do is what it uses.
//!
//! The allocator asks the kernel for pages of two megabytes, which is good for a server with much in memory and a
//! waste here. What was taken in them is not given back, so that it is said first of all; and what a
//! process starts has it from that one, so that whoever is no such daemon takes it back.

/// Takes memory in small pages from now on, or as usual again. Where the kernel knows no others, nothing is
/// to be done.
pub fn in_small_pages(small: bool) {
    #[cfg(target_os = "linux")]
    let _ = nix::sys::prctl::set_thp_disable(small);
    #[cfg(not(target_os = "linux"))]
    let _ = small;
}
