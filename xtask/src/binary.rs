//! The built `accredit` binary, and examples of the library, that `openapi` and `interop` look at from outside.

use std::path::PathBuf;

use crate::{ambient, run};

/// Builds the binary with the development profile and returns its path.
pub(crate) fn build() -> Result<PathBuf, String> {
    built(&["--package", "accredit-cli"], "accredit")
}

/// Builds an example of the library, with everything in it, and returns its path.
pub(crate) fn example(name: &str) -> Result<PathBuf, String> {
    let features = ["--package", "accredit", "--features", "mtls", "--example", name];
    built(&features, &format!("examples/{name}"))
}

fn built(what: &[&str], path: &str) -> Result<PathBuf, String> {
    run::run(run::cargo(&["build", "--quiet"]).args(what))?;
    let metadata = cargo_metadata::MetadataCommand::new()
        .current_dir(ambient::root())
        .no_deps()
        .exec()
        .map_err(|error| format!("cargo metadata: {error}"))?;
    Ok(metadata.target_directory.join("debug").join(path).into_std_path_buf())
}
