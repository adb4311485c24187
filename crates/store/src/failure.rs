//! Why one member of a batch was not written, before it is told in the words of its port.

use accredit_domain::Fault;
use accredit_domain::ports::{CommitError, NotRecorded};
use accredit_domain::registry::quota::Reached;
use accredit_wire::ids::AnyId;

use crate::driver::DriverError;

/// Why a member was not written. Nothing of it was.
#[derive(Debug)]
pub(crate) enum Failure {
    /// This id was revoked since the member was decided.
    Overtaken(AnyId),
    /// Its single-use value was used before.
    Replayed,
    /// The proof of possession that came with it was used before.
    ProofReplayed,
    /// An instance has as many certificates as it may.
    NoRoom,
    /// A row is not as it was read.
    Stale,
    /// A value that must be unique is taken.
    Taken(&'static str),
    /// The organization would have more than it may.
    Reached(Reached),
    /// The engine was not there, or another transaction was in the way: all of the batch is undone.
    Engine(&'static str, DriverError),
    /// The engine failed, or the member contradicts itself.
    Fault(Fault),
}

impl Failure {
    /// A driver's error in `operation`.
    pub(crate) fn of(operation: &'static str, error: DriverError) -> Self {
        match &error {
            DriverError::Unique(column) => match column.as_str() {
                "name" => Self::Taken("name"),
                "email" => Self::Taken("email"),
                "audience" => Self::Taken("audience"),
                "issuer" => Self::Taken("issuer"),
                "subject" => Self::Taken("identity"),
                "thumbprint" => Self::Taken("key"),
                // The place of a leaf: somebody else has moved the head of the lane.
                "seq" => {
                    let why = "somebody else has added to the log".to_owned();
                    Self::Engine(operation, DriverError::Conflict(why))
                }
                _ => Self::Fault(error.fault(operation)),
            },
            DriverError::Conflict(_) | DriverError::Unavailable(_) => {
                Self::Engine(operation, error)
            }
            DriverError::Disk(..) | DriverError::Failed(_) => Self::Fault(error.fault(operation)),
        }
    }

    /// Of a member that contradicts itself or the store.
    pub(crate) fn wrong(operation: &'static str, why: &'static str) -> Self {
        Self::Fault(Fault::new(operation, why))
    }

    /// One row must have changed: the one that was read.
    pub(crate) fn unless_one(changed: usize) -> Result<(), Self> {
        if changed == 1 { Ok(()) } else { Err(Self::Stale) }
    }

    /// Where only a fault can come of it.
    pub(crate) fn into_fault(self, operation: &'static str) -> Fault {
        match self {
            Self::Fault(fault) => fault,
            Self::Engine(at, error) => error.fault(at),
            Self::Overtaken(_) => Fault::new(operation, "was overtaken by a revocation"),
            Self::Replayed | Self::ProofReplayed => Fault::new(operation, "was written before"),
            Self::NoRoom => Fault::new(operation, "there is no room for one more"),
            Self::Stale => Fault::new(operation, "a row has changed meanwhile"),
            Self::Taken(what) => Fault::new(operation, format_args!("the {what} is taken")),
            Self::Reached(reached) => {
                let what = reached.counted.as_str();
                Fault::new(operation, format_args!("there are too many {what}"))
            }
        }
    }
}

impl From<Failure> for CommitError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Stale => Self::Stale,
            Failure::Taken(what) => Self::Taken(what),
            Failure::Reached(reached) => Self::Reached(reached),
            Failure::Overtaken(_)
            | Failure::Replayed
            | Failure::ProofReplayed
            | Failure::NoRoom
            | Failure::Engine(..)
            | Failure::Fault(_) => Self::Fault(failure.into_fault("commit a change")),
        }
    }
}

impl From<Failure> for NotRecorded {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Overtaken(id) => Self::Overtaken(id),
            Failure::Replayed => Self::Replayed,
            Failure::ProofReplayed => Self::ProofReplayed,
            Failure::NoRoom => Self::NoRoom,
            Failure::Stale
            | Failure::Taken(_)
            | Failure::Reached(_)
            | Failure::Engine(..)
            | Failure::Fault(_) => Self::Fault(failure.into_fault("record an issuance")),
        }
    }
}
