//! Quotas: how much one organization may have, so that none of them fills the disk of all.
//!
//! The store counts, and looks at the count in the transaction that would add to it. Agents, persons,
//! resources and federations are never deleted, so that their names are never used twice: each counts for ever.
//! Instances, credentials and administrators' keys count while they are neither revoked nor expired.
//!
//! A rotation may go over the maximum by as much again: both credentials are live for a while, and
//! where the maximum is reached it must not be a reason to keep a secret that should be replaced.
//!
//! Absent on purpose: quotas on events (requests are limited by rate, see [`crate::limits`]), and a
//! maximum for where the server runs: whoever has that machine makes an owner's key when no other
//! is left.

use accredit_wire::ids::{AgentId, CredentialId, FederationId, InstanceId, TaskId};
use accredit_wire::time::Time;

use crate::refusal::{Refusal, Rule};

/// The largest maximum that can be set.
pub const QUOTA_MAX: u64 = 1_000_000_000;

/// What there is a maximum of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// Agents, decommissioned ones included.
    Agents,
    /// Persons.
    Persons,
    /// Resources.
    Resources,
    /// Live instances of all agents.
    Instances,
    /// Live secrets and public keys of agents, instances and resources.
    Credentials,
    /// Live keys of administrators.
    AdminKeys,
    /// Federations.
    Federations,
    /// Tasks that are not over.
    Tasks,
}

impl Counted {
    /// Each of them.
    pub const ALL: [Self; 8] = [
        Self::Agents,
        Self::Persons,
        Self::Resources,
        Self::Instances,
        Self::Credentials,
        Self::AdminKeys,
        Self::Federations,
        Self::Tasks,
    ];

    /// As stored, and in the name of the setting: `limits.<this>_max`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Agents => "agents",
            Self::Persons => "persons",
            Self::Resources => "resources",
            Self::Instances => "instances",
            Self::Credentials => "credentials",
            Self::AdminKeys => "admin_keys",
            Self::Federations => "federations",
            Self::Tasks => "tasks",
        }
    }

    const fn noun(self) -> &'static str {
        match self {
            Self::Agents => "agents",
            Self::Persons => "persons",
            Self::Resources => "resources",
            Self::Instances => "live instances",
            Self::Credentials => "live credentials",
            Self::AdminKeys => "live administrators' keys",
            Self::Federations => "federations",
            Self::Tasks => "tasks that are not over",
        }
    }

    const fn way_out(self) -> &'static str {
        match self {
            Self::Agents | Self::Persons | Self::Resources | Self::Federations => {
                "these are never deleted"
            }
            Self::Instances | Self::Credentials | Self::AdminKeys | Self::Tasks => {
                "end what nobody needs"
            }
        }
    }
}

/// How much one organization may have of each; 0 is no maximum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quotas([u64; Counted::ALL.len()]);

impl Default for Quotas {
    fn default() -> Self {
        Self::UNLIMITED
            .with(Counted::Agents, 2_000_000)
            .with(Counted::Persons, 1_000_000)
            .with(Counted::Resources, 10_000)
            .with(Counted::Instances, 2_000_000)
            .with(Counted::Credentials, 4_000_000)
            .with(Counted::AdminKeys, 1_000)
            .with(Counted::Federations, 100)
            .with(Counted::Tasks, 1_000_000)
    }
}

impl Quotas {
    /// No maximum of anything.
    pub const UNLIMITED: Self = Self([0; Counted::ALL.len()]);

    /// The maximum of something.
    pub fn of(&self, counted: Counted) -> u64 {
        self.0[counted as usize]
    }

    /// The same with another maximum of something.
    #[must_use]
    pub fn with(mut self, counted: Counted, max: u64) -> Self {
        self.0[counted as usize] = max;
        self
    }
}

/// One more would be more than the organization may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached {
    /// Of what.
    pub counted: Counted,
    /// How much it may have.
    pub max: u64,
}

impl From<Reached> for Refusal {
    fn from(reached: Reached) -> Self {
        let (counted, max) = (reached.counted, reached.max);
        Self::new(
            Rule::QuotaReached,
            format!("the organization would have more than {max} {}", counted.noun()),
            format!(
                "{}; whoever runs the server can raise `limits.{}_max`",
                counted.way_out(),
                counted.as_str()
            ),
        )
    }
}

/// Of what somebody may have so much, and no more.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// What is counted.
    pub of: RoomOf,
    /// When it is to be live; of births since when.
    pub at: Time,
    /// How many there may be; as many are counted at most.
    pub max: u64,
}

/// What is counted of somebody.
#[derive(Clone, Copy, Debug)]
pub enum RoomOf {
    /// Tasks of an agent that are not over.
    Tasks(AgentId),
    /// Instances that were born into a task and are not over.
    BornIn(TaskId),
    /// Instances that a rule brought into being since then.
    BirthsBy(CredentialId),
    /// Rules on a platform's tokens.
    RulesOf(FederationId),
    /// Rules on the processes that nodes of an agent vouch for.
    RulesOfNodes(AgentId),
    /// Certificates of an instance that are not over.
    CertificatesOf(InstanceId),
}
