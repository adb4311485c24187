//! The control plane in process: the real router, store and vault under a settable clock.
#![expect(clippy::expect_used, reason = "the fixtures are tests too, and fail loudly")]

mod access;
mod access_log;
mod acknowledgements;
mod admin_key;
mod assertion;
mod attenuable;
mod bodies;
mod bootstrap;
mod born;
mod ca;
mod certificate_status;
mod certificates;
mod chain_depth;
mod checkpointed;
mod clock;
mod conformance;
mod defaults;
mod degraded;
mod details;
mod dns_names;
mod dpop;
mod drill;
mod durable;
mod environments;
mod events;
mod exchange;
mod federation;
mod feed;
mod feed_pieces;
mod for_a_time;
mod impersonation;
mod introspection;
mod jwks;
mod jwt_svids;
mod lanes;
mod level;
mod limits;
mod listener;
mod lists;
mod log;
mod metrics;
mod mtls;
mod nodes;
mod once;
mod overload;
mod own_instance;
mod parting;
mod permission;
mod probes;
mod quotas;
mod rates;
mod reading;
mod refusals;
mod registry;
mod restoration;
mod revocation;
mod root;
mod rotation;
mod same_work;
mod semantics;
mod status_list;
mod stolen_key;
mod task;
mod timing;
mod token;
mod trust_domains;
mod upstream;
mod uses;
mod versions;
mod wellknown;
mod workload;

use accredit_testkit::{Ask, Org, TestWorld};
use accredit_wire::jose::b64url_decode;
use serde_json::Value;

/// The claims of a token, unverified.
fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).expect("three segments");
    serde_json::from_slice(&b64url_decode(payload).expect("base64url")).expect("JSON")
}

/// The header of a token, unverified.
fn header(token: &str) -> Value {
    let header = token.split('.').next().expect("a segment");
    serde_json::from_slice(&b64url_decode(header).expect("base64url")).expect("JSON")
}

/// The events of a type, oldest first.
async fn events(world: &TestWorld, org: &Org, kind: &str) -> Vec<Value> {
    let path = format!("/v1/events?limit=200&type={kind}");
    let page = world.ask(Ask::get(path).bearer(&org.admin)).await.expect(200).json();
    page["items"].as_array().expect("items").clone()
}
