//! Is the process alive, may it be sent work, and what does it offer.

use std::sync::atomic::Ordering;

use http::StatusCode;
use serde::Serialize;

use crate::dispatch::{Call, Handled};
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
}

/// The process answers.
pub fn live(_call: Call) -> Handled {
    Box::pin(async { Ok(reply::bytes("text/plain; charset=utf-8", "ok\n")) })
}

/// Every check by name; what failed is in our log, not in the answer.
pub fn ready(call: Call) -> Handled {
    Box::pin(async move {
        let store = call.server.world.store.check().await;
        if let Err(fault) = &store {
            tracing::error!(%fault, "not ready");
        }
        let stopping = call.server.stopping.load(Ordering::Relaxed);
        let checks = vec![
            Check { name: "store", ok: store.is_ok() },
            Check { name: "serving", ok: !stopping },
        ];
        let ready = checks.iter().all(|check| check.ok);
        let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        Ok(reply::json(status, &Readiness { ready, checks })?)
    })
}

/// The OpenAPI document.
pub fn openapi(_call: Call) -> Handled {
    Box::pin(async { Ok(reply::public_json(&openapi::document())?) })
}
