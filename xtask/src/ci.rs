//! `ci`: what the pipeline runs, and what to run before pushing: check, then test.

use crate::run::Report;
use crate::{check, test};

/// Runs all checks and all tests, also where a check failed, so that one run tells everything.
pub(crate) fn run(report: &mut Report) {
    check::run(report);
    test::run(report);
}
