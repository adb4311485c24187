//! Leases of what one node does for all: a row for each, moved on where it is as it was seen.
//!
//! The row is of the installation, under the organization that none is called. A change that names a
//! lease holds its row until the commit: whoever takes it over waits for that, or was first.

use std::sync::PoisonError;

use accredit_domain::Fault;
use accredit_domain::ports::{BoxFuture, Fence, Job, Lease, Leases, OwnSlot};

use crate::SqlStore;
use crate::driver::{Conn, DriverError};
use crate::failure::Failure;
use crate::member::Work;

const OPERATION: &str = "move a lease";

/// A lease that is to be written, where it still is as it was seen.
#[derive(Debug)]
pub(crate) struct Move {
    pub(crate) job: Job,
    pub(crate) seen: Option<Lease>,
    pub(crate) to: Lease,
}

fn find(conn: &mut dyn Conn, job: Job) -> Result<Option<Lease>, DriverError> {
    conn.first(
        "SELECT holder, lease, beat FROM job_lease WHERE org = '' AND job = $1",
        &[job.as_str().into()],
        |row| Ok(Lease { holder: row.opt_string(0)?, lease: row.count(1)?, beat: row.count(2)? }),
    )
}

/// Writes one; stale where it is not as it was seen.
pub(crate) fn write(conn: &mut dyn Conn, Move { job, seen, to }: &Move) -> Result<(), Failure> {
    let (job, holder) = (job.as_str(), to.holder.as_deref());
    let moved = match seen {
        None => conn.execute(
            "INSERT INTO job_lease (org, job, holder, lease, beat) VALUES ('', $1, $2, $3, $4) \
             ON CONFLICT (org, job) DO NOTHING",
            &[job.into(), holder.into(), to.lease.into(), to.beat.into()],
        ),
        Some(seen) => conn.execute(
            "UPDATE job_lease SET holder = $1, lease = $2, beat = $3 \
             WHERE org = '' AND job = $4 AND lease = $5 AND beat = $6",
            &[
                holder.into(),
                to.lease.into(),
                to.beat.into(),
                job.into(),
                seen.lease.into(),
                seen.beat.into(),
            ],
        ),
    };
    moved.map_err(|error| Failure::of(OPERATION, error)).and_then(Failure::unless_one)
}

/// Holds a lease until the transaction ends; refused where it has another number.
pub(crate) fn still(conn: &mut dyn Conn, fence: Fence) -> Result<(), Failure> {
    const OPERATION: &str = "write under a lease";
    let held = conn.execute(
        "UPDATE job_lease SET lease = lease \
         WHERE org = '' AND job = $1 AND lease = $2 AND holder IS NOT NULL",
        &[fence.job.as_str().into(), fence.lease.into()],
    );
    match held.map_err(|error| Failure::of(OPERATION, error))? {
        1 => Ok(()),
        _ => Err(Failure::wrong(OPERATION, "another node does this by now")),
    }
}

impl Leases for SqlStore {
    fn lease(&self, job: Job) -> BoxFuture<'_, Result<Option<Lease>, Fault>> {
        Box::pin(self.read_short("read a lease", move |conn| find(conn, job)))
    }

    fn move_lease(
        &self,
        job: Job,
        seen: Option<Lease>,
        to: Lease,
    ) -> BoxFuture<'_, Result<bool, Fault>> {
        Box::pin(async move {
            match self.write(OPERATION, Work::Lease(Box::new(Move { job, seen, to }))).await {
                Ok(_) => Ok(true),
                Err(Failure::Stale) => Ok(false),
                Err(failure) => Err(failure.into_fault(OPERATION)),
            }
        })
    }

    fn write_in(&self, own: Option<OwnSlot>) {
        if self.shared.changes.is_some() {
            *self.shared.slot.lock().unwrap_or_else(PoisonError::into_inner) = own;
        }
    }
}
