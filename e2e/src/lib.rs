//! The stories are in `tests/it`, one a file; nothing is here.
