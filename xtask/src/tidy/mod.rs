//! `tidy`: what the compiler does not refuse but the architecture does.
//!
//! Three judges: [`edges`] reads the manifests, [`packages`] the dependency trees, [`sources`] the
//! files. Each returns every finding, as a sentence that says what to do.

mod edges;
mod packages;
mod sources;

use crate::Answer;
use crate::run::Outcome;

/// Runs the three judges and fails with all their findings.
pub(crate) fn run() -> Answer {
    let mut findings = edges::findings()?;
    findings.extend(packages::findings()?);
    findings.extend(sources::findings()?);
    if findings.is_empty() { Ok(Outcome::Done) } else { Err(findings.join("\n")) }
}
