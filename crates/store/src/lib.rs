//! The domain's ports on SQLite.
