//! Signing keys as rows: the public half in clear, the private half as the vault wrapped it.

use accredit_domain::keys::held::LEAD;
use accredit_domain::keys::{KeyPurpose, KeyState, SealedKey, SigningKey};
use accredit_wire::crypto::{Algorithm, PublicKey};
use accredit_wire::ids::OrganizationId;
use accredit_wire::jose::alg_name;

use crate::driver::{Conn, DriverError, Row};
use crate::failure::Failure;
use crate::rewrap;

const OPERATION: &str = "write a signing key";

fn read(org: OrganizationId, row: &dyn Row) -> Result<SigningKey, DriverError> {
    let algorithm = row.word(2, |text| {
        [Algorithm::Es256, Algorithm::EdDsa].into_iter().find(|known| alg_name(*known) == text)
    })?;
    let public = match algorithm {
        Algorithm::Es256 => PublicKey::p256(&row.bytes(3)?),
        Algorithm::EdDsa => PublicKey::ed25519(&row.bytes(3)?),
    };
    let sealed = SealedKey {
        org: Some(org),
        id: row.parsed(0)?,
        purpose: row.word(1, KeyPurpose::parse)?,
        algorithm,
        public: public.map_err(|error| DriverError::unreadable(3, error))?,
        root: row.small(9)?,
        wrapped: row.blob(4)?.to_vec(),
    };
    Ok(SigningKey {
        sealed,
        state: row.word(5, KeyState::parse)?,
        created_at: row.time(6)?,
        version: row.int(7)?,
        changed_at: row.opt_time(8)?,
        statement: row.opt_string(10)?,
    })
}

/// What is read of each row, and then of which.
macro_rules! select {
    ($more:literal) => {
        concat!(
            "SELECT id, purpose, algorithm, public, wrapped, state, created_at, version, changed_at, ",
            "COALESCE((SELECT root FROM installation WHERE id = 1), 1), statement",
            $more
        )
    };
}

/// The signing keys of an organization, all states, oldest first.
pub(crate) fn all(
    conn: &mut dyn Conn,
    org: OrganizationId,
) -> Result<Vec<SigningKey>, DriverError> {
    let text = org.to_string();
    let sql = select!(" FROM signing_key WHERE org = $1 ORDER BY id");
    conn.all(sql, &[text.as_str().into()], |row| read(org, row))
}

/// Those of all organizations that are in a token, all states: every row is looked at.
pub(crate) fn in_token(conn: &mut dyn Conn) -> Result<Vec<SigningKey>, DriverError> {
    const _: () = assert!(LEAD.len() == 16);
    let sql = select!(", org FROM signing_key WHERE substr(wrapped, 1, 16) = $1 ORDER BY org, id");
    conn.all(sql, &[LEAD.as_slice().into()], |row| read(row.parsed(11)?, row))
}

/// A slot has one key: of two nodes that make the next key at the same time, one comes too late.
fn has_place(conn: &mut dyn Conn, org: &str, row: &SigningKey) -> Result<(), Failure> {
    if row.state != KeyState::Next {
        return Ok(());
    }
    let taken = conn
        .number(
            "SELECT count(*) FROM signing_key WHERE org = $1 AND purpose = $2 AND state = $3",
            &[org.into(), row.sealed.purpose.as_str().into(), row.state.as_str().into()],
        )
        .map_err(|error| Failure::of(OPERATION, error))?;
    if taken == 0 { Ok(()) } else { Err(Failure::Stale) }
}

/// Writes one row. It must have been wrapped, or read, under the root key that the store is under:
/// what is told of it to observers is how it is wrapped.
pub(crate) fn write(conn: &mut dyn Conn, org: &str, row: &SigningKey) -> Result<(), Failure> {
    let failed = |error| Failure::of(OPERATION, error);
    rewrap::check(conn, row.sealed.root)?;
    let id = row.sealed.id.to_string();
    if row.version == 0 {
        has_place(conn, org, row)?;
        conn.execute(
            "INSERT INTO signing_key (org, id, purpose, algorithm, public, wrapped, state, \
             created_at, changed_at, statement, version) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 1)",
            &[
                org.into(),
                id.as_str().into(),
                row.sealed.purpose.as_str().into(),
                alg_name(row.sealed.algorithm).into(),
                row.sealed.public.bytes().into(),
                row.sealed.wrapped.as_slice().into(),
                row.state.as_str().into(),
                row.created_at.into(),
                row.changed_at.into(),
                row.statement.as_deref().into(),
            ],
        )
        .map_err(failed)?;
        return Ok(());
    }
    let changed = conn
        .execute(
            "UPDATE signing_key SET state = $1, changed_at = $2, statement = $3, \
             version = version + 1 WHERE org = $4 AND id = $5 AND version = $6",
            &[
                row.state.as_str().into(),
                row.changed_at.into(),
                row.statement.as_deref().into(),
                org.into(),
                id.as_str().into(),
                row.version.into(),
            ],
        )
        .map_err(failed)?;
    Failure::unless_one(changed)
}
