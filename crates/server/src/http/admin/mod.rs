//! The admin API: one file per noun, one line per step.

pub mod admin_keys;
pub mod agents;
pub mod credentials;
pub mod events;
pub mod instances;
pub mod organizations;
pub mod persons;
pub mod resources;
pub mod revocations;
pub mod root;

use accredit_domain::Cx;
use accredit_domain::Refusal;
use accredit_domain::ports::{Order, Page};
use accredit_domain::registry::agent::Reason;
use accredit_domain::registry::{PAGE_ROWS_DEFAULT, PAGE_ROWS_MAX, Versioned};
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

/// What a list is asked for: `limit` and `cursor`, and `state`, `q` and `sort` where the endpoint
/// takes them.
fn page(call: &Call) -> Result<Page, Failure> {
    let taken = |name| call.query(name).filter(|_| call.endpoint.query.contains(&name));
    let prefix = taken("q");
    let order = order(taken("sort").as_deref(), prefix.is_some())?;
    let (cursor, limit) = (call.query("cursor"), limit(call)?);
    Ok(Page { cursor, limit, state: taken("state"), order, prefix, ..Page::default() })
}

/// The order that `sort` names. A search by name is answered by name.
fn order(sort: Option<&str>, by_name: bool) -> Result<Order, Refusal> {
    match sort {
        None if by_name => Ok(Order::Name),
        None => Ok(Order::Oldest),
        Some("name") => Ok(Order::Name),
        Some("-name") => Ok(Order::NameBackwards),
        Some("created_at") if !by_name => Ok(Order::Oldest),
        Some("-created_at") if !by_name => Ok(Order::Newest),
        Some("created_at" | "-created_at") => Err(Refusal::field(
            "sort",
            "does not go with `q`, which is answered in order of name",
            "leave out `sort`, or use `name` or `-name`",
        )),
        Some(_) => Err(Refusal::field(
            "sort",
            "is no order that we know",
            "use `created_at`, `-created_at`, `name` or `-name`",
        )),
    }
}

fn limit(call: &Call) -> Result<usize, Failure> {
    let Some(text) = call.query("limit") else { return Ok(PAGE_ROWS_DEFAULT) };
    match text.parse() {
        Ok(limit) if (1..=PAGE_ROWS_MAX).contains(&limit) => Ok(limit),
        _ => Err(Refusal::field(
            "limit",
            format!("must be from 1 to {PAGE_ROWS_MAX}"),
            "follow `next` for more",
        )
        .into()),
    }
}

/// The reason that a change of life needs.
fn reason(call: &Call) -> Result<String, Failure> {
    let asked: Reason = call.json()?;
    Ok(asked.reason.unwrap_or_else(|| "no reason given".to_owned()))
}
