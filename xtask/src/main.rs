//! The only task runner: `cargo xtask <task>` is what people and the pipeline both run.
//!
//! One file per task. Absent on purpose: an argument parser, because a task has hardly a flag,
//! and every crate of the product, so that the runner builds in seconds and judges from outside.
#![expect(clippy::print_stdout, reason = "a task runner talks to the terminal")]

mod ambient;
mod bench;
mod binary;
mod check;
mod ci;
mod deny;
mod interop;
mod openapi;
mod run;
mod standards;
mod test;
mod tidy;
mod times;

use std::process::ExitCode;

use run::{Mode, Outcome, Report};

const USAGE: &str = "\
usage: cargo xtask <task>

  check                 formatting, tidy, standards, clippy, dependencies, OpenAPI
  test                  every test of the workspace, then interop
  ci                    check and test; what the pipeline runs

  tidy                  crate edges, dependencies and source files against the architecture
  standards [--check]   writes docs/standards.md from the first doc line of each file
  openapi [--check]     writes api/openapi.json from the built binary
  deny                  licences, banned crates and sources of every dependency
  interop               third-party OAuth and JOSE clients against the built binary
  bench [--quick] [--registry FOLDER] [SCENARIO…]
                        the release binary against a bare limit; a full run writes
                        docs/performance.md; the million agents are kept in FOLDER
  times                 how long building, editing and testing take, into docs/performance.md

--check compares instead of writing. With CI=true in the environment a missing tool (python3,
node) is a failure; otherwise its step is skipped and says so.
exit code: 0 all passed, 1 a step failed, 2 usage
";

fn main() -> ExitCode {
    let args = ambient::args();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let mut report = Report::new();
    match words.as_slice() {
        ["check"] => check::run(&mut report),
        ["test"] => test::run(&mut report),
        ["ci"] => ci::run(&mut report),
        ["tidy"] => report.step("tidy", tidy::run),
        ["standards"] => report.step("standards", || standards::run(Mode::Write)),
        ["standards", "--check"] => report.step("standards", || standards::run(Mode::Check)),
        ["openapi"] => report.step("openapi", || openapi::run(Mode::Write)),
        ["openapi", "--check"] => report.step("openapi", || openapi::run(Mode::Check)),
        ["deny"] => report.step("deny", deny::run),
        ["interop"] => report.step("interop", interop::run),
        ["bench", words @ ..] => report.step("bench", || bench::run(words)),
        ["times"] => report.step("times", times::run),
        [] | ["help" | "-h" | "--help"] => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        other => {
            eprintln!("error: no task `{}`\n\n{USAGE}", other.join(" "));
            return ExitCode::from(2);
        }
    }
    report.finish()
}

/// What a task function answers: done or skipped, or why it failed.
type Answer = Result<Outcome, String>;
