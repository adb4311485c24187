//! RFC 7523 section 2, OpenID Connect Discovery 1.0: workloads that prove where they run with a token of
//! their platform, so that nobody has to plant a secret.
//!
//! A platform is a federation; which agent one of its workloads is, says a [`rule`], which is a
//! credential of that agent: it expires, is revoked and is in the lineage of what is got with it like
//! any other. [`stable`] refuses rules on names that somebody else can take over, [`verify`] checks a
//! token, [`birth`] finds the instance that it speaks for or brings it into being.
//!
//! Absent on purpose: patterns. A rule compares whole texts, so that no repository, branch or service
//! account is let in that nobody thought of.

pub mod birth;
pub mod rule;
pub mod stable;
pub mod verify;

pub use birth::{Born, Workload, Workloads};
pub use rule::{CreateWorkloadRule, RuleFacts, WorkloadRule};
