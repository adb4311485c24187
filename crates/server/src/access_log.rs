//! One line a request: what an administrator or the operator changed, and where we failed or took
//! long; everything else with `debug`.
//!
//! A change is an event as well, which bears the same request's id. Absent on purpose: headers,
//! queries, bodies and paths, which may hold secrets; what was refused, which a flood of it would
//! turn into a full disk; and tokens, of which there are too many: both are counted, and stand in
//! the audit log.

use std::time::Duration;

use accredit_wire::ids::RequestId;
use accredit_wire::trace::TraceId;
use http::StatusCode;

use crate::endpoints::Endpoint;

/// An answer that takes longer than this is worth a line.
pub(crate) const SLOW: Duration = Duration::from_secs(1);

/// Writes the line of a request that was answered.
pub(crate) fn line(
    request: RequestId,
    endpoint: &Endpoint,
    (status, took): (StatusCode, Duration),
    org: Option<&str>,
    trace: Option<TraceId>,
) {
    let may_change = endpoint.caller.is_checked_first() && endpoint.semantics.changes_something();
    let has_changed = may_change && status.is_success();
    let operation = endpoint.operation;
    let (status, ms) = (status.as_u16(), took.as_millis() as u64);
    let trace = trace.map(tracing::field::display);
    if has_changed || status >= 500 || took > SLOW {
        tracing::info!(%request, operation, status, ms, org, trace, "request");
    } else {
        tracing::debug!(%request, operation, status, ms, org, trace, "request");
    }
}
