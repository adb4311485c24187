//! One line a request: who failed us or took long stands in the log, everything else with `debug`.
//!
//! Absent on purpose: headers, queries, bodies and paths, which may hold secrets; and what was
//! refused, which a flood of it would turn into a full disk.

use std::time::Duration;

use accredit_wire::ids::RequestId;
use accredit_wire::trace::TraceId;
use http::StatusCode;

/// An answer that takes longer than this is worth a line.
pub(crate) const SLOW: Duration = Duration::from_secs(1);

/// Writes the line of a request that was answered.
pub(crate) fn line(
    request: RequestId,
    operation: &'static str,
    (status, took): (StatusCode, Duration),
    org: Option<&str>,
    trace: Option<TraceId>,
) {
    let (status, ms) = (status.as_u16(), took.as_millis() as u64);
    let trace = trace.map(tracing::field::display);
    if status >= 500 || took > SLOW {
        tracing::info!(%request, operation, status, ms, org, trace, "request");
    } else {
        tracing::debug!(%request, operation, status, ms, org, trace, "request");
    }
}
