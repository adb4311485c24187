//! RFC 7523 section 2, OpenID Connect Discovery 1.0: workloads that prove where they run with a token of
//! their platform, or by the word of the node that they run on, so that nobody has to plant a secret.
//!
//! A platform is a federation; which agent one of its workloads is, says a [`rule`], which is a
//! credential of that agent: it expires, is revoked and is in the lineage of what is got with it like
//! any other. [`stable`] refuses rules on names that somebody else can take over, [`verify`] checks a
//! token, [`birth`] finds the instance that it speaks for or brings it into being.
//!
//! A node is an instance like any other, of an agent that [`process_rule`]s name: by these it vouches for
//! [`process`]es of its machine ([decision 14](../../../docs/decisions/0014-a-node-is-an-instance.md)).
//!
//! Absent on purpose: patterns. A rule compares whole texts, so that no repository, branch or service
//! account is let in that nobody thought of.

pub mod birth;
pub mod process;
pub mod process_rule;
pub mod rule;
pub mod stable;
pub mod verify;

pub use birth::{Born, Voucher, Workload, Workloads};
pub use process_rule::{ProcessRule, ProcessRuleFacts};
pub use rule::{CreateWorkloadRule, RuleFacts, WorkloadRule};
