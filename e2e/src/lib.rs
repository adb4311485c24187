//! End-to-end stories; see tests/.
