//! Another root key: what is wrapped under it is replaced, all of it or nothing.
//!
//! One transaction however many rows there are: a store half of whose keys open under one root
//! key and half under another would be of no use to anybody.

use accredit_domain::Fault;
use accredit_domain::keys::SealedKey;
use accredit_domain::vault::WrappedPepper;

use crate::driver::{Conn, DriverError};
use crate::failure::Failure;
use crate::member::Work;
use crate::{SqliteStore, keys};

const OPERATION: &str = "rewrap the store";

/// Everything that is wrapped under the root key.
#[derive(Clone, Debug)]
pub struct Rewrapped {
    /// The peppers.
    pub peppers: Vec<WrappedPepper>,
    /// The signing keys of all organizations, whatever their state.
    pub keys: Vec<SealedKey>,
}

impl SqliteStore {
    /// The signing keys of all organizations, whatever their state.
    pub async fn all_signing_keys(&self) -> Result<Vec<SealedKey>, Fault> {
        self.read("read all signing keys", |conn| {
            let orgs =
                conn.all("SELECT org FROM organization ORDER BY org", &[], |row| row.parsed(0))?;
            let mut all = Vec::new();
            for org in orgs {
                all.extend(keys::all(conn, org)?.into_iter().map(|key| key.sealed));
            }
            Ok(all)
        })
        .await
    }

    /// Puts what is wrapped under another root key in the place of what there is, in one
    /// transaction. Fails, and changes nothing, where that is not exactly what there is.
    pub async fn rewrap(&self, rewrapped: Rewrapped) -> Result<(), Fault> {
        let done = self.write(OPERATION, Work::Rewrap(rewrapped)).await;
        done.map(drop).map_err(|failure| failure.into_fault(OPERATION))
    }
}

/// Writes all of it.
pub(crate) fn write(conn: &mut dyn Conn, rewrapped: &Rewrapped) -> Result<(), Failure> {
    let failed = |error: DriverError| Failure::of(OPERATION, error);
    let count = |conn: &mut dyn Conn, sql| conn.number(sql, &[]).map_err(failed);
    let peppers = count(conn, "SELECT count(*) FROM pepper")?;
    let keys = count(conn, "SELECT count(*) FROM signing_key")?;
    if (peppers, keys) != (rewrapped.peppers.len() as u64, rewrapped.keys.len() as u64) {
        return Err(Failure::wrong(OPERATION, "the store has changed meanwhile"));
    }
    for pepper in &rewrapped.peppers {
        let changed = conn
            .execute(
                "UPDATE pepper SET wrapped = $1 WHERE version = $2",
                &[pepper.wrapped.as_slice().into(), pepper.version.into()],
            )
            .map_err(failed)?;
        Failure::unless_one(changed)?;
    }
    for key in &rewrapped.keys {
        let (org, id) = (key.org.to_string(), key.id.to_string());
        let changed = conn
            .execute(
                "UPDATE signing_key SET wrapped = $1 WHERE org = $2 AND id = $3",
                &[key.wrapped.as_slice().into(), org.as_str().into(), id.as_str().into()],
            )
            .map_err(failed)?;
        Failure::unless_one(changed)?;
    }
    Ok(())
}
