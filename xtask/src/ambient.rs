//! The runner's only look at the world around it: arguments, environment and a stopwatch.
//!
//! Everything else in the repository is given these things; a task runner is where they come from.
#![expect(clippy::disallowed_methods, reason = "the runner's composition root")]

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The words after `cargo xtask`.
pub(crate) fn args() -> Vec<String> {
    std::env::args().skip(1).collect()
}

/// Whether this runs in a pipeline, where a step that cannot run is a failure.
pub(crate) fn in_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true" || value == "1")
}

/// The cargo that started this runner.
pub(crate) fn cargo() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// The repository's root folder.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// Makes a file look changed.
pub(crate) fn touch(file: &Path) -> std::io::Result<()> {
    std::fs::File::options().append(true).open(file)?.set_modified(std::time::SystemTime::now())
}

/// A running measurement of wall-clock time.
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts now.
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    /// The time since the start.
    pub(crate) fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}
