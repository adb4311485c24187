//! The record of what was issued and refused, and of what can be used once only.

use std::sync::atomic::Ordering;

use accredit_domain::Fault;
use accredit_domain::federation::KeptKeys;
use accredit_domain::ports::{
    Audited, BoxFuture, Issuance, Ledger, NotRecorded, SingleUse, Use, UsedUp,
};
use accredit_domain::registry::jwks::Followed;
use accredit_domain::registry::quota::Counted;
use accredit_domain::registry::rotation_schedule::Looked;
use accredit_domain::revocation::KEPT_LONGER;
use accredit_domain::trust_domains::ForeignDomain;
use accredit_wire::ids::OrganizationId;
use accredit_wire::jose::jwt::SKEW_MAX;
use accredit_wire::time::Time;

use crate::driver::{Conn, DriverError, Value};
use crate::failure::Failure;
use crate::member::Work;
use crate::page::READ_ROWS_MAX;
use crate::spent::over;
use crate::uses::USES_IN_CHUNK_MAX;
use crate::{SqlStore, answers, certificates, holdings, status_lists};

/// Rows that one member of a batch forgets: a chunk small enough not to hold up the rest.
pub const FORGOTTEN_IN_CHUNK_MAX: usize = 250;

/// A row whose time is over.
#[derive(Debug)]
pub(crate) enum Expired {
    Spent {
        org: String,
        seq: i64,
    },
    Revocation {
        org: String,
        rev: u64,
    },
    Answer {
        org: String,
        caller: String,
        key: [u8; 32],
    },
    Place {
        org: String,
        list: String,
        index: u32,
    },
    Certificate {
        org: String,
        id: String,
    },
    /// Not a row but a count, which is lowered by what has expired.
    Held {
        org: String,
        counted: Counted,
    },
}

impl Expired {
    /// In which organization, as its id is written.
    pub(crate) fn org(&self) -> &str {
        match self {
            Self::Spent { org, .. }
            | Self::Revocation { org, .. }
            | Self::Answer { org, .. }
            | Self::Place { org, .. }
            | Self::Certificate { org, .. }
            | Self::Held { org, .. } => org,
        }
    }
}

/// Forgets rows whose time is over at `now`.
pub(crate) fn forget(conn: &mut dyn Conn, rows: &[Expired], now: Time) -> Result<(), Failure> {
    for row in rows {
        let done = match row {
            Expired::Spent { org, seq } => conn.execute(
                "DELETE FROM spent WHERE org = $1 AND seq = $2 AND until < $3",
                &[org.into(), (*seq).into(), now.into()],
            ),
            Expired::Revocation { org, rev } => conn.execute(
                "DELETE FROM revocation WHERE org = $1 AND rev = $2 AND keep_until < $3",
                &[org.into(), (*rev).into(), now.into()],
            ),
            Expired::Answer { org, caller, key } => answers::forget(conn, (org, caller, key), now),
            Expired::Place { org, list, index } => {
                status_lists::forget(conn, (org, list, *index), now)
            }
            Expired::Certificate { org, id } => certificates::forget(conn, (org, id), now),
            Expired::Held { org, counted } => holdings::take_off(conn, org, *counted, now),
        };
        done.map_err(|error| Failure::of("forget what is over", error))?;
    }
    Ok(())
}

fn revocations_over(conn: &mut dyn Conn, now: Time) -> Result<Vec<Expired>, DriverError> {
    conn.all(
        "SELECT org, rev FROM revocation WHERE keep_until < $1 LIMIT $2",
        &[now.into(), Value::Int(READ_ROWS_MAX as i64)],
        |row| Ok(Expired::Revocation { org: row.text(0)?.to_owned(), rev: row.count(1)? }),
    )
}

/// Finds some rows whose time is over at a time.
type Over = fn(&mut dyn Conn, Time) -> Result<Vec<Expired>, DriverError>;

impl SqlStore {
    /// Whether it may have been used and forgotten.
    fn is_forgotten(&self, value: &SingleUse) -> bool {
        value.until.micros() < self.forgotten.load(Ordering::SeqCst)
    }

    async fn forget_rows(&self, mut rows: Vec<Expired>, now: Time) -> Result<(), Fault> {
        const OPERATION: &str = "forget what is over";
        while !rows.is_empty() {
            let rest = rows.split_off(rows.len().min(FORGOTTEN_IN_CHUNK_MAX));
            let chunk = std::mem::replace(&mut rows, rest);
            let done = self.write(OPERATION, Work::Forget(chunk, now)).await;
            done.map_err(|failure| failure.into_fault(OPERATION))?;
        }
        Ok(())
    }
}

impl Ledger for SqlStore {
    fn record_issuance(
        &self,
        issuance: Audited<Issuance>,
    ) -> BoxFuture<'_, Result<(), NotRecorded>> {
        const OPERATION: &str = "record an issuance";
        Box::pin(async move {
            let (issuance, event) = issuance.into_parts();
            let is_forgotten = |value: &Option<SingleUse>| {
                value.as_ref().is_some_and(|value| self.is_forgotten(value))
            };
            if is_forgotten(&issuance.used_up.assertion) {
                return Err(NotRecorded::Replayed);
            }
            if is_forgotten(&issuance.used_up.possession) {
                return Err(NotRecorded::ProofReplayed);
            }
            // Sealed here, on the caller's thread: the writer only gives it its place.
            let event = event
                .seal(None)
                .map_err(|error| NotRecorded::Fault(Fault::new(OPERATION, error)))?;
            self.write(OPERATION, Work::Issue(issuance, event)).await?;
            Ok(())
        })
    }

    fn record_event(
        &self,
        event: Audited<(OrganizationId, UsedUp)>,
    ) -> BoxFuture<'_, Result<(), Fault>> {
        const OPERATION: &str = "record an event";
        Box::pin(async move {
            let ((org, used_up), event) = event.into_parts();
            let event = event.seal(None).map_err(|error| Fault::new(OPERATION, error))?;
            let done = self.write(OPERATION, Work::Event(org, used_up, event)).await;
            done.map(drop).map_err(|failure| failure.into_fault(OPERATION))
        })
    }

    fn consume_once(
        &self,
        org: OrganizationId,
        value: SingleUse,
    ) -> BoxFuture<'_, Result<bool, Fault>> {
        const OPERATION: &str = "consume a single-use value";
        Box::pin(async move {
            if self.is_forgotten(&value) {
                return Ok(false);
            }
            match self.write(OPERATION, Work::Consume(org, value)).await {
                Ok(_) => Ok(true),
                Err(Failure::Replayed) => Ok(false),
                Err(failure) => Err(failure.into_fault(OPERATION)),
            }
        })
    }

    fn record_uses(&self, uses: Vec<Use>) -> BoxFuture<'_, Result<(), Fault>> {
        const OPERATION: &str = "write times of use";
        Box::pin(async move {
            for chunk in uses.chunks(USES_IN_CHUNK_MAX) {
                let done = self.write(OPERATION, Work::Uses(chunk.to_vec())).await;
                done.map_err(|failure| failure.into_fault(OPERATION))?;
            }
            Ok(())
        })
    }

    fn note_followed(
        &self,
        org: OrganizationId,
        followed: Followed,
    ) -> BoxFuture<'_, Result<(), Fault>> {
        const OPERATION: &str = "note where keys are followed";
        Box::pin(async move {
            let done = self.write(OPERATION, Work::Followed(org, Box::new(followed))).await;
            done.map(drop).map_err(|failure| failure.into_fault(OPERATION))
        })
    }

    fn note_foreign_domain(
        &self,
        org: OrganizationId,
        domain: ForeignDomain,
    ) -> BoxFuture<'_, Result<(), Fault>> {
        const OPERATION: &str = "note how it goes with another trust domain";
        Box::pin(async move {
            let done = self.write(OPERATION, Work::ForeignDomain(org, Box::new(domain))).await;
            done.map(drop).map_err(|failure| failure.into_fault(OPERATION))
        })
    }

    fn note_federation_keys(
        &self,
        org: OrganizationId,
        kept: KeptKeys,
    ) -> BoxFuture<'_, Result<(), Fault>> {
        const OPERATION: &str = "note how it goes with a federation's keys";
        Box::pin(async move {
            let done = self.write(OPERATION, Work::FederationKeys(org, Box::new(kept))).await;
            done.map(drop).map_err(|failure| failure.into_fault(OPERATION))
        })
    }

    fn looked_at(
        &self,
        org: OrganizationId,
        looked: Vec<Looked>,
    ) -> BoxFuture<'_, Result<(), Fault>> {
        const OPERATION: &str = "note when agents are looked at";
        Box::pin(async move {
            let done = self.write(OPERATION, Work::Looked(org, looked)).await;
            done.map(drop).map_err(|failure| failure.into_fault(OPERATION))
        })
    }

    fn forget_before(&self, now: Time) -> BoxFuture<'_, Result<(), Fault>> {
        const OPERATION: &str = "find what is over";
        Box::pin(async move {
            self.forgotten.fetch_max(now.micros(), Ordering::SeqCst);
            let mut from = Some((String::new(), -1));
            while let Some(key) = from {
                // Each page is a snapshot of its own.
                let (rows, last) = self.read(OPERATION, move |conn| over(conn, &key, now)).await?;
                let rows = rows.into_iter().map(|(org, seq)| Expired::Spent { org, seq });
                self.forget_rows(rows.collect(), now).await?;
                from = last;
            }
            let kinds: [(Over, Time); 5] = [
                (holdings::over, now),
                (status_lists::over, now),
                // A verifier's clock may be behind.
                (certificates::over, now.minus(SKEW_MAX)),
                (revocations_over, now.minus(KEPT_LONGER)),
                (answers::over, now),
            ];
            for (over, now) in kinds {
                loop {
                    let rows = self.read(OPERATION, move |conn| over(conn, now)).await?;
                    if rows.is_empty() {
                        break;
                    }
                    self.forget_rows(rows, now).await?;
                }
            }
            Ok(())
        })
    }
}
