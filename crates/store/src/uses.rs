//! When things were last used: apart from their rows, outside every decision.

use accredit_domain::ports::Use;

use crate::driver::Conn;
use crate::failure::Failure;

/// Use times that one member of a batch writes: a chunk small enough not to hold up the rest.
pub const USES_IN_CHUNK_MAX: usize = 250;

/// Writes times of use; an older one never replaces a newer.
pub(crate) fn write(conn: &mut dyn Conn, uses: &[Use]) -> Result<(), Failure> {
    for one in uses {
        let (org, id) = (one.org.to_string(), one.id.to_string());
        let source = one.source.map(|ip| ip.to_string());
        conn.execute(
            "INSERT INTO use_time (org, id, at, source) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (org, id) DO UPDATE SET at = excluded.at, source = excluded.source \
             WHERE excluded.at > use_time.at",
            &[org.as_str().into(), id.as_str().into(), one.at.into(), source.as_deref().into()],
        )
        .map_err(|error| Failure::of("write times of use", error))?;
    }
    Ok(())
}
