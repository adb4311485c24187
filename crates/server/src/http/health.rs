//! Is the process alive, may it be sent work, and what does it offer.

use accredit_domain::Fault;
use accredit_wire::time::Time;
use http::StatusCode;
use serde::Serialize;

use crate::dispatch::{Call, Handled};
use crate::reply::Reply;
use crate::watch::{CHECKS, State};
use crate::{openapi, reply};

#[derive(Serialize)]
struct Readiness {
    ready: bool,
    checks: Vec<Check>,
}

#[derive(Serialize)]
struct Check {
    name: &'static str,
    ok: bool,
    /// The degraded states that fail it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    states: Vec<Degraded>,
}

#[derive(Serialize)]
struct Degraded {
    state: &'static str,
    /// No more work should be sent here.
    blocks: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'static str>,
}

/// The process answers.
pub fn live(_call: Call) -> Handled {
    Box::pin(async { Ok(reply::bytes("text/plain; charset=utf-8", "ok\n")) })
}

/// Every check by name, and the degraded states behind one that fails; with `verbose` since when,
/// and what to do. The cause is in our log, not in the answer.
pub fn ready(call: Call) -> Handled {
    Box::pin(async move {
        // A write, as a request would do it: readiness is not what was true a while ago.
        // Not where it is known that the store does not answer, so that this does.
        let world = &call.server.world;
        let writes = !world.view.is_current(&*world.clock) || call.server.probe.writes(world).await;
        let mut states = call.server.look();
        if !writes && !states.iter().any(|(state, _)| state.check() == "store") {
            states.push((State::StoreFailing, call.now));
        }
        Ok(readiness(&states, call.raw_query())?)
    })
}

/// The answer in these states, to a query.
pub(crate) fn readiness(states: &[(State, Time)], query: Option<&str>) -> Result<Reply, Fault> {
    let verbose = query.is_some_and(|query| query.starts_with("verbose"));
    let ready = !states.iter().any(|(state, _)| state.blocks());
    let degraded = |(state, since): &(State, Time)| Degraded {
        state: state.name(),
        blocks: state.blocks(),
        since: verbose.then_some(*since),
        hint: verbose.then(|| state.hint()),
    };
    let checks = CHECKS
        .iter()
        .map(|name| {
            let failing = states.iter().filter(|(state, _)| state.check() == *name);
            let states: Vec<Degraded> = failing.map(degraded).collect();
            Check { name, ok: states.is_empty(), states }
        })
        .collect();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    reply::json(status, &Readiness { ready, checks })
}

/// The OpenAPI document.
pub fn openapi(_call: Call) -> Handled {
    Box::pin(async { Ok(reply::public_json(&openapi::document())?) })
}
