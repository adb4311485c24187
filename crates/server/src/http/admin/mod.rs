//! The admin API: one file per noun, one line per step.

pub mod agents;
pub mod credentials;
pub mod events;
pub mod instances;
pub mod organizations;
pub mod persons;
pub mod resources;
pub mod revocations;

use accredit_domain::Refusal;
use accredit_domain::ports::Page;
use accredit_domain::registry::agent::Reason;
use accredit_domain::registry::{PAGE_ROWS_DEFAULT, PAGE_ROWS_MAX};
use http::StatusCode;
use serde::Serialize;

use crate::dispatch::Call;
use crate::failure::Failure;
use crate::reply::{self, Reply};

fn ok<T: Serialize>(value: &T) -> Result<Reply, Failure> {
    Ok(reply::json(StatusCode::OK, value)?)
}

fn created<T: Serialize>(value: &T) -> Result<Reply, Failure> {
    Ok(reply::json(StatusCode::CREATED, value)?)
}

/// `limit` and `cursor` of the query.
fn page(call: &Call) -> Result<Page, Failure> {
    Ok(Page { cursor: call.query("cursor"), limit: limit(call)?, ..Page::default() })
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
