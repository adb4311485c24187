//! `test`: every test of the workspace with plain cargo, then the third-party clients.

use crate::interop;
use crate::run::{self, Report};

/// Runs all tests; one failing test binary does not hide the others.
pub(crate) fn run(report: &mut Report) {
    report.step("test", || run::run(&mut run::cargo(&["test", "--workspace", "--no-fail-fast"])));
    report.step("interop", interop::run);
}
