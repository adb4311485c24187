//! The control plane over HTTP: OAuth, the admin API, the feed and the log.
