//! `check`: everything that can be judged without running a test, the quick steps first.

use crate::run::{self, Mode, Report};
use crate::{deny, openapi, standards, tidy};

/// Runs every check.
pub(crate) fn run(report: &mut Report) {
    report.step("fmt", || run::run(&mut run::cargo(&["fmt", "--all", "--check"])));
    report.step("tidy", tidy::run);
    report.step("standards", || standards::run(Mode::Check));
    report.step("deny", deny::run);
    report.step("clippy", || {
        let args = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
        run::run(&mut run::cargo(&args))
    });
    report.step("openapi", || openapi::run(Mode::Check));
}
