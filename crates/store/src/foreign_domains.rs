//! Other trust domains as rows, each with its bundle as text.

use accredit_domain::trust_domains::{FOREIGN_DOMAINS_MAX, ForeignDomain, Source};
use accredit_wire::time::Time;
use accredit_wire::x509::bundle::Bundle;
use accredit_wire::x509::spiffe::{SpiffeId, TrustDomain};

use crate::driver::{Conn, DriverError, Row};
use crate::failure::Failure;
use crate::page;

const OPERATION: &str = "write another trust domain";

/// A statement on other trust domains.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT name, bundle_url, endpoint_id, agents, due_at, fetched_at, failing_since, \
             failure, created_at, version, bundle FROM foreign_domain ",
            $rest
        )
    };
}

fn read(row: &dyn Row) -> Result<ForeignDomain, DriverError> {
    let name = row.word(0, |text| TrustDomain::parse(text).ok())?;
    let endpoint = row.opt_text(2)?.map(SpiffeId::parse).transpose();
    let endpoint = endpoint.map_err(|error| DriverError::unreadable(2, error))?;
    let source = match (row.opt_string(1)?, endpoint) {
        (None, _) => Source::ByHand,
        (Some(url), None) => Source::Web { url },
        (Some(url), Some(endpoint)) => Source::Spiffe { url, endpoint },
    };
    let agents = serde_json::from_str(row.text(3)?);
    let bundle = Bundle::parse(&name, row.text(10)?.as_bytes());
    Ok(ForeignDomain {
        source,
        agents: agents.map_err(|error| DriverError::unreadable(3, error))?,
        due_at: row.opt_time(4)?,
        fetched_at: row.time(5)?,
        failing_since: row.opt_time(6)?,
        failure: row.opt_string(7)?,
        created_at: row.time(8)?,
        version: row.int(9)?,
        bundle: bundle.map_err(|error| DriverError::unreadable(10, error))?,
        name,
    })
}

/// One of them.
pub(crate) fn find(
    conn: &mut dyn Conn,
    org: &str,
    name: &TrustDomain,
) -> Result<Option<ForeignDomain>, DriverError> {
    conn.first(select!("WHERE org = $1 AND name = $2"), &[org.into(), name.as_str().into()], read)
}

/// All of an organization, which are few, by name.
pub(crate) fn all(conn: &mut dyn Conn, org: &str) -> Result<Vec<ForeignDomain>, DriverError> {
    conn.all(
        select!("WHERE org = $1 ORDER BY name LIMIT $2"),
        &[org.into(), page::rows(FOREIGN_DOMAINS_MAX)],
        read,
    )
}

/// Those whose bundle is to be fetched, the longest due first.
pub(crate) fn due(
    conn: &mut dyn Conn,
    org: &str,
    now: Time,
    limit: usize,
) -> Result<Vec<ForeignDomain>, DriverError> {
    conn.all(
        select!("WHERE org = $1 AND due_at <= $2 ORDER BY due_at LIMIT $3"),
        &[org.into(), now.into(), page::rows(limit)],
        read,
    )
}

/// Writes a row: a new one where there is none of its name and room for it, or one that is as it was read.
pub(crate) fn write(conn: &mut dyn Conn, org: &str, row: &ForeignDomain) -> Result<(), Failure> {
    let failed = |error| Failure::of(OPERATION, error);
    let bundle = row.bundle.document().to_string();
    if row.version > 0 {
        // What an administrator said of it stays as it is.
        let changed = conn.execute(
            "UPDATE foreign_domain SET due_at = $1, fetched_at = $2, failing_since = $3, \
             failure = $4, bundle = $5, version = version + 1 \
             WHERE org = $6 AND name = $7 AND version = $8",
            &[
                row.due_at.into(),
                row.fetched_at.into(),
                row.failing_since.into(),
                row.failure.as_deref().into(),
                (&bundle).into(),
                org.into(),
                row.name.as_str().into(),
                row.version.into(),
            ],
        );
        return Failure::unless_one(changed.map_err(failed)?);
    }
    let unwritten = |error: serde_json::Error| failed(DriverError::Failed(error.to_string()));
    let agents = serde_json::to_string(&row.agents).map_err(unwritten)?;
    let made = conn.execute(
        "INSERT INTO foreign_domain (org, name, bundle_url, endpoint_id, agents, due_at, \
         fetched_at, failing_since, failure, created_at, bundle, version) \
         SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 1 \
         WHERE (SELECT COUNT(*) FROM foreign_domain WHERE org = $1) < $12 \
         ON CONFLICT (org, name) DO NOTHING",
        &[
            org.into(),
            row.name.as_str().into(),
            row.source.url().into(),
            row.source.endpoint().map(SpiffeId::as_str).into(),
            (&agents).into(),
            row.due_at.into(),
            row.fetched_at.into(),
            row.failing_since.into(),
            row.failure.as_deref().into(),
            row.created_at.into(),
            (&bundle).into(),
            page::rows(FOREIGN_DOMAINS_MAX),
        ],
    );
    Failure::unless_one(made.map_err(failed)?)
}

/// Notes how it goes with a bundle that is the same as before, where the row is as it was read.
pub(crate) fn note(conn: &mut dyn Conn, org: &str, row: &ForeignDomain) -> Result<(), Failure> {
    conn.execute(
        "UPDATE foreign_domain SET due_at = $1, fetched_at = $2, failing_since = $3, failure = $4 \
         WHERE org = $5 AND name = $6 AND version = $7",
        &[
            row.due_at.into(),
            row.fetched_at.into(),
            row.failing_since.into(),
            row.failure.as_deref().into(),
            org.into(),
            row.name.as_str().into(),
            row.version.into(),
        ],
    )
    .map_err(|error| Failure::of(OPERATION, error))?;
    Ok(())
}

/// Removes a row that is as it was read.
pub(crate) fn remove(conn: &mut dyn Conn, org: &str, row: &ForeignDomain) -> Result<(), Failure> {
    let removed = conn.execute(
        "DELETE FROM foreign_domain WHERE org = $1 AND name = $2 AND version = $3",
        &[org.into(), row.name.as_str().into(), row.version.into()],
    );
    Failure::unless_one(removed.map_err(|error| Failure::of(OPERATION, error))?)
}
