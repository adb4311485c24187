//! The story, chapter by chapter. Each proves its promises by what it sees.

mod access;
mod attenuation;
mod connections;
mod delegation;
mod leak;
pub(super) mod log;
mod outage;
mod revocation;
mod rotation;
mod stolen;

use std::path::Path;
use std::sync::Arc;

use accredit::{AccessToken, Agent, AgentError};
use accredit_wire::oauth::errors::{ErrorBody, ErrorCode};

use super::caller::Caller;
use super::idp::Idp;
use super::registration::{Cast, Office};
use super::report::ScoreCard;
use super::resource::ResourceServer;
use super::server::ServerProcess;
use crate::errors::Failure;

/// Everything that runs, and everybody who takes part.
struct Stage {
    server: ServerProcess,
    idp: Idp,
    office: Office,
    cast: Cast,
    resource: ResourceServer,
    caller: Caller,
    tokens: Tokens,
    /// The ids of the tokens, as the resource read them.
    token_ids: Vec<String>,
    /// The types of the events that what was seen must have left in the log.
    event_types: Vec<&'static str>,
}

/// The tokens of the instances.
struct Tokens {
    planner: Arc<AccessToken>,
    sibling: Arc<AccessToken>,
    reporter: Arc<AccessToken>,
}

/// Tells the whole story, with its files in `folder`. An error is one of the output: a promise
/// that does not hold stands in the card.
pub(super) async fn tell(folder: &Path, card: &mut ScoreCard) -> Result<(), Failure> {
    let Some(mut stage) = Box::pin(access::tell(folder, card)).await? else { return Ok(()) };
    let before = log::visit(&stage).await;
    let sibling = Box::pin(revocation::tell(&stage, card)).await?;
    delegation::tell(&mut stage, card).await?;
    Box::pin(attenuation::tell(&mut stage, card)).await?;
    let held = rotation::tell(&mut stage, card).await?;
    leak::tell(folder, &mut stage, held, card).await?;
    stolen::tell(&mut stage, card).await?;
    let kept = log::keep(folder, &stage, before, card).await?;
    outage::tell(&mut stage, sibling, card).await?;
    match kept {
        Some(kept) => log::verify(&kept, &stage.resource, card).await,
        None => Ok(()),
    }
}

/// How the server refuses an agent's credential, which it must.
async fn refusal_of(agent: &Agent, scope: &str) -> Result<ErrorBody, String> {
    match agent.token(scope).await {
        Err(AgentError::Refused(refusal)) if refusal.error() == ErrorCode::InvalidClient => {
            Ok(refusal)
        }
        Err(error) => Err(error.to_string()),
        Ok(_) => Err("it still gets tokens".to_owned()),
    }
}
