//! An agent narrows its token and hands it on, and asks nobody (Biscuit v3): what was taken away is
//! gone, and only the one who was named can use what is left.

use std::time::Duration;

use accredit::{Narrowing, TokenHolder};
use accredit_wire::authority::{Authority, Permission};
use accredit_wire::secret::Secret;
use http::{Method, StatusCode};

use super::Stage;
use crate::commands::demo::clock;
use crate::commands::demo::registration::Actor;
use crate::commands::demo::report::{Promise, Proven, ScoreCard, shown};
use crate::errors::Failure;

/// Where the agents call.
const PATH: &str = "/customers";

/// A token, and what its holder made of it.
struct HandedOn {
    planner: Actor,
    worker: Actor,
    narrowed: Secret,
    took: Duration,
}

/// The chapter.
pub(super) async fn tell(stage: &mut Stage, card: &mut ScoreCard) -> Result<(), Failure> {
    card.chapter("A token is narrowed, and nobody is asked")?;
    let token = card.prove(Promise::NarrowsOffline, Box::pin(honoured(stage))).await?;
    stage.token_ids.extend(token);
    Ok(())
}

/// Gets a token for two things, takes one away and names who holds the rest.
async fn hand_on(stage: &Stage) -> Result<HandedOn, String> {
    let planner = stage.office.attenuating_instance("planner").await?;
    let worker = stage.office.bound_instance("worker").await?;
    let token = planner.agent.token("crm:read crm:update").await;
    let token = token.map_err(|error| error.to_string())?;
    let read: Permission = "crm:read".parse().map_err(|_| "no permission".to_owned())?;
    let thumbprint = worker.agent.thumbprint().unwrap_or_default();
    let holder = TokenHolder {
        agent: worker.agent_id.parse().map_err(|_| "no agent's id".to_owned())?,
        key: thumbprint.parse().map_err(|_| "no thumbprint".to_owned())?,
    };
    let narrowing = Narrowing {
        authority: Some(Authority::new([read]).map_err(|error| error.to_string())?),
        holder: Some(holder),
        ..Narrowing::default()
    };
    let begun = clock::now();
    let narrowed = planner.agent.narrow(token.text(), &narrowing);
    let took = clock::now().duration_since(begun);
    Ok(HandedOn { narrowed: narrowed.map_err(|error| error.to_string())?, planner, worker, took })
}

async fn honoured(stage: &Stage) -> Result<Proven<String>, String> {
    let HandedOn { planner, worker, narrowed, took } = hand_on(stage).await?;
    let call = async |method: Method, by: &Actor| {
        let url = format!("{}{PATH}", stage.caller.url());
        let headers = by.agent.headers_for_held(&narrowed, &method, &url);
        stage.caller.call_with(method, PATH, &headers.map_err(|error| error.to_string())?).await
    };
    let read = call(Method::GET, &worker).await?;
    let of_whom = [read.caller("agent"), read.caller("acts_for")];
    let expected = [Some(worker.agent_id.as_str()), Some(planner.agent_id.as_str())];
    let id = read.caller("token").unwrap_or_default().to_owned();
    if read.status != StatusCode::OK || of_whom != expected {
        return Err(read.seen());
    }
    let wider = call(Method::POST, &worker).await?;
    if wider.status != StatusCode::FORBIDDEN || wider.text("rule") != "scope-insufficient" {
        return Err(wider.seen());
    }
    let thief = call(Method::GET, &planner).await?;
    if thief.status != StatusCode::UNAUTHORIZED {
        return Err(thief.seen());
    }
    let said = wider.text("error_description").to_owned();
    let proof = format!(
        "narrowed in {} without a request; to read: 200; to update: 403, {said}; by another key: \
         401 {}",
        shown(took),
        thief.text("rule")
    );
    let story = format!(
        "An instance of `planner` may read and update. In its own process it takes updating away and \
         hands the token to `worker`, by name and key, in {}. The resource lets `worker` read, for \
         the planner, and refuses the rest: {said}. From anybody else it takes nothing.",
        shown(took)
    );
    Ok(Proven::new(id, proof).story(story).took(took))
}
