//! When things were last used: apart from their rows, outside every decision.

use std::collections::BTreeMap;

use accredit_domain::ports::Use;

use crate::driver::Conn;
use crate::failure::Failure;

/// Use times that one member of a batch writes: a chunk small enough not to hold up the rest.
pub const USES_IN_CHUNK_MAX: usize = 256;

/// Writes times of use; an older one never replaces a newer. Always in one order, so that two nodes
/// that write some of the same wait for each other once.
pub(crate) fn write(conn: &mut dyn Conn, uses: &[Use]) -> Result<(), Failure> {
    let mut last = BTreeMap::new();
    for one in uses {
        let kept = last.entry((one.org.to_string(), one.id.to_string())).or_insert(one);
        if kept.at < one.at {
            *kept = one;
        }
    }
    let failed = |error| Failure::of("write times of use", error);
    for ((org, id), one) in &last {
        let source = one.source.map(|ip| ip.to_string());
        conn.add(
            "INSERT INTO use_time (org, id, at, source) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (org, id) DO UPDATE SET at = excluded.at, source = excluded.source \
             WHERE excluded.at > use_time.at",
            &[org.into(), id.into(), one.at.into(), source.as_deref().into()],
        )
        .map_err(failed)?;
    }
    // The next ones may be of the same holders, which one statement does not take twice.
    conn.end_rows().map_err(failed)
}
