//! External issuers as rows, and as the facts that exchange reads; their keys are rows apart.

use std::sync::Arc;

use accredit_domain::federation::{Federation, FederationFacts, KeptKeys};
use accredit_domain::ports::{Lookup, Order, Page, Span};
use accredit_domain::registry::{Listed, State};
use accredit_wire::ids::{FederationId, Kind};
use accredit_wire::time::Time;

use crate::driver::{Conn, DriverError, Row};
use crate::failure::Failure;
use crate::page::{self, Ends, Given, Key};
use crate::workloads;

const OPERATION: &str = "write a federation";

/// A statement on federations; the columns of the keys stand behind those of the row.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, name, issuer, federation.jwks_url, audiences, rules, provision, state, \
             created_at, version, k.keys, k.due_at, k.fetched_at, k.failing_since, k.failure, suspensions \
             FROM federation LEFT JOIN federation_keys k \
             ON k.org = federation.org AND k.federation = federation.id ",
            $rest
        )
    };
}

/// The same behind what a list demands.
macro_rules! listed {
    ("WHERE org = $1 AND ") => {
        select!("WHERE federation.org = $1 AND ")
    };
}

fn read_with_keys(row: &dyn Row) -> Result<(Federation, KeptKeys, u32), DriverError> {
    let json =
        |at, text: &str| serde_json::from_str(text).map_err(|e| DriverError::unreadable(at, e));
    let id: FederationId = row.parsed(0)?;
    let version = row.int(9)?;
    let kept = KeptKeys {
        federation: id,
        keys: row.opt_string(10)?,
        due_at: row.opt_time(11)?.unwrap_or_default(),
        fetched_at: row.opt_time(12)?,
        failing_since: row.opt_time(13)?,
        failure: row.opt_string(14)?,
        federation_version: version,
    };
    let federation = Federation {
        id,
        name: row.text(1)?.to_owned(),
        issuer: row.text(2)?.to_owned(),
        jwks_url: row.opt_string(3)?,
        audiences: json(4, row.text(4)?)?,
        rules: serde_json::from_str(row.text(5)?)
            .map_err(|error| DriverError::unreadable(5, error))?,
        provision: row.int(6)? != 0,
        state: row.word(7, State::parse)?,
        keys: Box::new(kept.view()),
        created_at: row.time(8)?,
        version,
    };
    Ok((federation, kept, row.small(15)?))
}

fn read(row: &dyn Row) -> Result<Federation, DriverError> {
    read_with_keys(row).map(|(federation, ..)| federation)
}

/// One federation.
pub(crate) fn find(
    conn: &mut dyn Conn,
    org: &str,
    key: &Lookup<FederationId>,
) -> Result<Option<Federation>, DriverError> {
    match key {
        Lookup::Id(id) => {
            let id = id.to_string();
            conn.first(
                select!("WHERE federation.org = $1 AND id = $2"),
                &[org.into(), id.as_str().into()],
                read,
            )
        }
        Lookup::Name(name) => conn.first(
            select!("WHERE federation.org = $1 AND name = $2"),
            &[org.into(), name.into()],
            read,
        ),
    }
}

/// The federation of an issuer, as exchange sees it.
pub(crate) fn facts(
    conn: &mut dyn Conn,
    org: &str,
    issuer: &str,
) -> Result<Option<Arc<FederationFacts>>, DriverError> {
    let found = conn.first(
        select!("WHERE federation.org = $1 AND issuer = $2"),
        &[org.into(), issuer.into()],
        read_with_keys,
    )?;
    let Some((row, kept, suspensions)) = found else { return Ok(None) };
    Ok(Some(Arc::new(FederationFacts {
        id: row.id,
        name: row.name,
        issuer: row.issuer,
        audiences: row.audiences,
        rules: row.rules,
        provision: row.provision,
        state: row.state,
        suspensions,
        workloads: workloads::rules(conn, org, row.id)?,
        keys: kept.set(),
        keys_fetched_at: kept.fetched_at,
    })))
}

/// A page of federations.
pub(crate) fn list(
    conn: &mut dyn Conn,
    org: &str,
    page: &Page,
) -> Result<Listed<Federation>, DriverError> {
    let order = page.order.without_due();
    let statements = page::by_id_or_name!(page, order, listed, "federation", "name");
    let given = Given {
        page,
        ends: Ends::of(page, order, Kind::Federation, Span::default()),
        head: &[org.into(), page.state.as_deref().unwrap_or("").into()],
        tail: &page::created(page),
        filters: 0,
    };
    page::read(conn, given, &statements, read, |row| {
        Key::at(order, row.id.to_string(), &row.name, 0)
    })
}

/// Writes one row.
pub(crate) fn write(conn: &mut dyn Conn, org: &str, row: &Federation) -> Result<(), Failure> {
    let id = row.id.to_string();
    let failed = |error| Failure::of(OPERATION, error);
    let unwritten = |error: serde_json::Error| failed(DriverError::Failed(error.to_string()));
    let audiences = serde_json::to_string(&row.audiences).map_err(unwritten)?;
    let rules = serde_json::to_string(&row.rules).map_err(unwritten)?;
    if row.version == 0 {
        conn.execute(
            "INSERT INTO federation (org, id, name, issuer, jwks_url, audiences, rules, \
             provision, state, created_at, version) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 1)",
            &[
                org.into(),
                id.as_str().into(),
                (&row.name).into(),
                (&row.issuer).into(),
                row.jwks_url.as_deref().into(),
                (&audiences).into(),
                (&rules).into(),
                i64::from(row.provision).into(),
                row.state.as_str().into(),
                row.created_at.into(),
            ],
        )
        .map_err(failed)?;
        return Ok(());
    }
    let changed = conn
        .execute(
            "UPDATE federation SET jwks_url = $1, audiences = $2, rules = $3, provision = $4, \
             state = $5, version = version + 1, suspensions = suspensions + \
             CASE WHEN state = 'active' AND $5 = 'suspended' THEN 1 ELSE 0 END WHERE org = $6 AND id = $7 AND version = $8",
            &[
                row.jwks_url.as_deref().into(),
                (&audiences).into(),
                (&rules).into(),
                i64::from(row.provision).into(),
                row.state.as_str().into(),
                org.into(),
                id.as_str().into(),
                row.version.into(),
            ],
        )
        .map_err(failed)?;
    Failure::unless_one(changed)
}

macro_rules! select_keys {
    ($rest:literal) => {
        concat!(
            "SELECT k.federation, k.keys, k.due_at, k.fetched_at, k.failing_since, k.failure, \
             f.version FROM federation_keys k JOIN federation f \
             ON f.org = k.org AND f.id = k.federation ",
            $rest
        )
    };
}

fn read_keys(row: &dyn Row) -> Result<KeptKeys, DriverError> {
    Ok(KeptKeys {
        federation: row.parsed(0)?,
        keys: row.opt_string(1)?,
        due_at: row.time(2)?,
        fetched_at: row.opt_time(3)?,
        failing_since: row.opt_time(4)?,
        failure: row.opt_string(5)?,
        federation_version: row.int(6)?,
    })
}

/// The keys of a federation.
pub(crate) fn keys(
    conn: &mut dyn Conn,
    org: &str,
    federation: FederationId,
) -> Result<Option<KeptKeys>, DriverError> {
    let id = federation.to_string();
    conn.first(
        select_keys!("WHERE k.org = $1 AND k.federation = $2"),
        &[org.into(), id.as_str().into()],
        read_keys,
    )
}

/// Keys that are to be fetched, the longest due first.
pub(crate) fn keys_due(
    conn: &mut dyn Conn,
    org: &str,
    now: Time,
    limit: usize,
) -> Result<Vec<KeptKeys>, DriverError> {
    conn.all(
        select_keys!("WHERE k.org = $1 AND k.due_at <= $2 ORDER BY k.due_at LIMIT $3"),
        &[org.into(), now.into(), page::rows(limit)],
        read_keys,
    )
}

/// Writes keys and how it goes with them, where the federation is as it was seen.
pub(crate) fn write_keys(conn: &mut dyn Conn, org: &str, row: &KeptKeys) -> Result<(), Failure> {
    let id = row.federation.to_string();
    let changed = conn.execute(
        "INSERT INTO federation_keys (org, federation, keys, due_at, fetched_at, failing_since, \
         failure) SELECT org, id, $1, $2, $3, $4, $5 FROM federation \
         WHERE org = $6 AND id = $7 AND ($8 = 0 OR version = $8) \
         ON CONFLICT (org, federation) DO UPDATE SET keys = excluded.keys, \
         due_at = excluded.due_at, fetched_at = excluded.fetched_at, \
         failing_since = excluded.failing_since, failure = excluded.failure",
        &[
            row.keys.as_deref().into(),
            row.due_at.into(),
            row.fetched_at.into(),
            row.failing_since.into(),
            row.failure.as_deref().into(),
            org.into(),
            id.as_str().into(),
            row.federation_version.into(),
        ],
    );
    Failure::unless_one(changed.map_err(|error| Failure::of(OPERATION, error))?)
}

/// Notes how it goes with keys that are the same as before, where the federation is as it was seen.
pub(crate) fn note_keys(conn: &mut dyn Conn, org: &str, row: &KeptKeys) -> Result<(), Failure> {
    let id = row.federation.to_string();
    conn.execute(
        "UPDATE federation_keys SET due_at = $1, fetched_at = $2, failing_since = $3, \
         failure = $4 WHERE org = $5 AND federation = $6 AND EXISTS (SELECT 1 FROM federation f \
         WHERE f.org = $5 AND f.id = $6 AND f.version = $7)",
        &[
            row.due_at.into(),
            row.fetched_at.into(),
            row.failing_since.into(),
            row.failure.as_deref().into(),
            org.into(),
            id.as_str().into(),
            row.federation_version.into(),
        ],
    )
    .map_err(|error| Failure::of(OPERATION, error))?;
    Ok(())
}
