//! The admin API: one file per noun, one line per step.

pub mod admin_keys;
pub mod agents;
pub mod ca;
pub mod certificates;
pub mod credentials;
pub mod drills;
pub mod events;
pub mod federations;
pub mod instances;
mod lists;
pub mod organizations;
pub mod persons;
pub mod resources;
pub mod revocations;
pub mod root;
pub mod tasks;
pub mod trust_domains;

use accredit_domain::Cx;
use accredit_domain::registry::Versioned;
use accredit_domain::registry::agent::Reason;
use http::StatusCode;
use http::header::ETAG;
use serde::Serialize;

use crate::conditions;
use crate::dispatch::Call;
use crate::failure::Failure;
use crate::reply::{self, Reply};

fn ok<T: Serialize>(value: &T) -> Result<Reply, Failure> {
    Ok(reply::json(StatusCode::OK, value)?)
}

fn created<T: Serialize>(value: &T) -> Result<Reply, Failure> {
    Ok(reply::json(StatusCode::CREATED, value)?)
}

/// One thing, with the entity tag of its version.
fn shown<T: Serialize + Versioned>(cx: &Cx, value: &T) -> Result<Reply, Failure> {
    Ok(tagged(cx.tenant.generation, ok(value)?, value))
}

/// One thing that was made, with the entity tag of its version.
fn made<T: Serialize + Versioned>(cx: &Cx, value: &T) -> Result<Reply, Failure> {
    Ok(tagged(cx.tenant.generation, created(value)?, value))
}

fn tagged<T: Versioned>(generation: u64, mut reply: Reply, value: &T) -> Reply {
    let tag = conditions::entity_tag(generation, value.version());
    reply::set(&mut reply, ETAG, &tag);
    reply
}

/// The reason that a change of life needs.
fn reason(call: &Call) -> Result<String, Failure> {
    let asked: Reason = call.json()?;
    Ok(asked.reason.unwrap_or_else(|| "no reason given".to_owned()))
}
