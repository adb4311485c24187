//! `times`: how long building, editing and testing take, written into `docs/performance.md`.
//!
//! A target folder of its own is built from nothing, with the sources of dependencies fetched
//! before. An edit is a file that looks changed; what then runs is one test that depends on it.

use std::path::Path;

use crate::ambient::{self, Stopwatch};
use crate::run::Outcome;
use crate::{Answer, bench, run};

const BEGIN: &str = "<!-- times: begin (written by `cargo xtask times`) -->\n";
const END: &str = "<!-- times: end -->\n";

/// Edits, and the test that somebody who made them runs.
const EDITS: [(&str, &str, &[&str]); 3] = [
    ("wire", "crates/wire/src/token/mod.rs", &["test", "-p", "accredit-wire", "--lib", "token"]),
    (
        "domain",
        "crates/domain/src/issuance/permit.rs",
        &["test", "-p", "accredit-server", "--test", "it", "token::"],
    ),
    (
        "server",
        "crates/server/src/http/oauth/tokens.rs",
        &["test", "-p", "accredit-server", "--test", "it", "token::"],
    ),
];

/// Measures, prints and writes.
pub(crate) fn run() -> Answer {
    let target = ambient::root().join("target/times");
    if target.exists() {
        std::fs::remove_dir_all(&target).map_err(|error| error.to_string())?;
    }
    run::run(&mut run::cargo(&["fetch", "--locked"]))?;
    let mut rows = Vec::new();
    let mut row = |what: &str, command: &str, seconds: f64| {
        rows.push(format!("| {what} | {seconds:.1} s | `{command}` |\n"));
    };
    let all = ["build", "--workspace", "--all-targets", "--locked"];
    row(
        "clean build of the workspace with its tests",
        "cargo build --all-targets",
        timed(&target, &all)?,
    );
    for (name, file, test) in EDITS {
        timed(&target, test)?;
        ambient::touch(&ambient::root().join(file)).map_err(|e| format!("{file}: {e}"))?;
        let what = format!("edit in `{name}` to its test's answer");
        row(&what, &format!("cargo {}", test.join(" ")), timed(&target, test)?);
    }
    timed(&target, &["test", "--workspace", "--no-run"])?;
    row("the test suite, built before", "cargo test", timed(&target, &["test", "--workspace"])?);
    let table = format!(
        "On {} cores, in the `dev` profile:\n\n| what | time | command |\n|---|---:|---|\n{}",
        std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
        rows.concat()
    );
    println!("{table}");
    bench::write_between((BEGIN, END), &table)?;
    std::fs::remove_dir_all(&target).map_err(|error| error.to_string())?;
    Ok(Outcome::Done)
}

/// Seconds that cargo takes with these arguments.
fn timed(target: &Path, args: &[&str]) -> Result<f64, String> {
    let mut command = run::cargo(args);
    command.env("CARGO_TARGET_DIR", target);
    let clock = Stopwatch::start();
    run::run(&mut command)?;
    Ok(clock.elapsed().as_secs_f64())
}
