//! The log's port: what auditors and the integrator read, and the one thing they write.

use std::ops::Range;

use accredit_domain::Fault;
use accredit_domain::audit::checkpointed::OtherLanes;
use accredit_domain::ports::{Audited, BoxFuture, Integrated, LaneHead, Leaf, Log, Order, Pruned};
use accredit_domain::restoration::NewGeneration;
use accredit_wire::ids::OrganizationId;

use crate::SqlStore;
use crate::failure::Failure;
use crate::log::{self, Integration};
use crate::member::Work;

impl Log for SqlStore {
    fn lanes(&self, org: OrganizationId) -> BoxFuture<'_, Result<Vec<LaneHead>, Fault>> {
        self.read_in("read lanes", org, log::lanes)
    }

    fn leaves(
        &self,
        org: OrganizationId,
        lane: u16,
        from: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Leaf>, Fault>> {
        self.read_in("read leaves", org, move |conn, org| log::leaves(conn, org, lane, from, limit))
    }

    fn leaves_of(
        &self,
        org: OrganizationId,
        lane: u16,
        kinds: Vec<String>,
        places: Range<u64>,
        (order, limit): (Order, usize),
    ) -> BoxFuture<'_, Result<Vec<Leaf>, Fault>> {
        self.read_in("read leaves by type", org, move |conn, org| {
            log::leaves_of(conn, (org, lane), &kinds, places, (order, limit))
        })
    }

    fn leaf_hashes(
        &self,
        org: OrganizationId,
        lane: u16,
        from: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<[u8; 32]>, Fault>> {
        self.read_in("read leaf hashes", org, move |conn, org| {
            log::leaf_hashes(conn, org, lane, from, limit)
        })
    }

    fn begin_generation(
        &self,
        generation: Audited<NewGeneration>,
    ) -> BoxFuture<'_, Result<(), Fault>> {
        const OPERATION: &str = "begin a generation";
        Box::pin(async move {
            let work = Work::Generation(Box::new(generation.into_parts()));
            let done = self.write(OPERATION, work).await;
            done.map(drop).map_err(|failure| failure.into_fault(OPERATION))
        })
    }

    fn record_checkpoints(
        &self,
        others: Audited<OtherLanes>,
    ) -> BoxFuture<'_, Result<bool, Fault>> {
        const OPERATION: &str = "record checkpoints";
        Box::pin(async move {
            let (others, event) = others.into_parts();
            let event = event.seal(None).map_err(|error| Fault::new(OPERATION, error))?;
            match self.write(OPERATION, Work::Checkpoints(Box::new((others, event)))).await {
                Ok(_) => Ok(true),
                Err(Failure::Stale) => Ok(false),
                Err(failure) => Err(failure.into_fault(OPERATION)),
            }
        })
    }

    fn prune(
        &self,
        org: OrganizationId,
        lane: u16,
        pruned: Vec<Pruned>,
    ) -> BoxFuture<'_, Result<(), Fault>> {
        const OPERATION: &str = "prune the log";
        Box::pin(async move {
            let done = self.write(OPERATION, Work::Prune(org, lane, pruned)).await;
            done.map(drop).map_err(|failure| failure.into_fault(OPERATION))
        })
    }

    fn tile(
        &self,
        org: OrganizationId,
        lane: u16,
        level: u8,
        index: u64,
    ) -> BoxFuture<'_, Result<Option<Vec<u8>>, Fault>> {
        self.read_in("read a tile", org, move |conn, org| {
            log::tile(conn, org, lane, (level, index))
        })
    }

    fn integrate(
        &self,
        org: OrganizationId,
        lane: u16,
        from: u64,
        integrated: Integrated,
    ) -> BoxFuture<'_, Result<bool, Fault>> {
        const OPERATION: &str = "integrate the log";
        Box::pin(async move {
            let work = Work::Integrate(org, Integration { lane, from, integrated });
            match self.write(OPERATION, work).await {
                Ok(_) => Ok(true),
                Err(Failure::Stale) => Ok(false),
                Err(failure) => Err(failure.into_fault(OPERATION)),
            }
        })
    }

    fn checkpoints(
        &self,
        org: OrganizationId,
        lane: u16,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(u64, String)>, Fault>> {
        self.read_in("read checkpoints", org, move |conn, org| {
            log::checkpoints(conn, org, lane, after, limit)
        })
    }
}
