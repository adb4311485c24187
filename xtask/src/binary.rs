//! The built `accredit` binary that `openapi` and `interop` look at from outside.

use std::path::PathBuf;

use crate::{ambient, run};

/// Builds the binary with the development profile and returns its path.
pub(crate) fn build() -> Result<PathBuf, String> {
    run::run(&mut run::cargo(&["build", "--quiet", "--package", "accredit-cli"]))?;
    let metadata = cargo_metadata::MetadataCommand::new()
        .current_dir(ambient::root())
        .no_deps()
        .exec()
        .map_err(|error| format!("cargo metadata: {error}"))?;
    Ok(metadata.target_directory.join("debug/accredit").into_std_path_buf())
}
