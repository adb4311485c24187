//! A token is stolen that is bound to a key (RFC 9449): it is of no use to the thief.

use http::{HeaderMap, HeaderValue, Method, StatusCode};

use super::Stage;
use crate::commands::demo::report::{Promise, Proven, ScoreCard};
use crate::errors::Failure;

/// Where the agent calls.
const PATH: &str = "/customers";

/// Tells it of an instance that holds a key.
pub(super) async fn tell(stage: &mut Stage, card: &mut ScoreCard) -> Result<(), Failure> {
    card.chapter("A token is stolen")?;
    let seen = card.prove(Promise::Binds, call(stage)).await?;
    let Some((headers, id)) = seen else { return Ok(()) };
    stage.token_ids.push(id);
    card.prove(Promise::RefusesThieves, steal(stage, &headers)).await?;
    Ok(())
}

/// Calls with a token and a proof: all that a thief could see of the request, and the token's id.
async fn call(stage: &Stage) -> Result<Proven<(HeaderMap, String)>, String> {
    let actor = stage.office.bound_instance("planner").await?;
    let url = format!("{}{PATH}", stage.caller.url());
    let headers = actor.agent.authorize("crm:read", &Method::GET, &url).await;
    let headers = headers.map_err(|error| error.to_string())?;
    let answer = stage.caller.call_with(Method::GET, PATH, &headers).await?;
    let thumbprint = actor.agent.thumbprint().unwrap_or_default();
    match (answer.status, answer.caller("token"), answer.caller("bound_to")) {
        (StatusCode::OK, Some(id), Some(bound_to)) if bound_to == thumbprint => {
            let proof = format!("{id} is bound to {thumbprint}; a proof by that key came with it");
            let story = format!(
                "An instance makes a key that never leaves its process, and gets {id} with it. \
                 With each call goes a proof, signed for that call alone; the resource says to \
                 which key the caller is bound: {thumbprint}."
            );
            Ok(Proven::new((headers.clone(), id.to_owned()), proof).story(story))
        }
        _ => Err(answer.seen()),
    }
}

/// Sends what was seen once more, in every way that a thief without the key has.
async fn steal(stage: &Stage, seen: &HeaderMap) -> Result<Proven<()>, String> {
    let without = |name: &str| {
        let mut headers = seen.clone();
        headers.remove(name);
        headers
    };
    let mut bearer = without("dpop");
    let token = seen["authorization"].to_str().map_err(|error| error.to_string())?;
    let plain = HeaderValue::try_from(token.replacen("DPoP", "Bearer", 1));
    bearer.insert("authorization", plain.map_err(|error| error.to_string())?);
    let tries = [
        (Method::GET, seen.clone(), "dpop-replayed"),
        (Method::POST, seen.clone(), "dpop-method"),
        (Method::GET, without("dpop"), "dpop-absent"),
        (Method::GET, bearer, "token-bound"),
    ];
    let mut rules = Vec::new();
    for (method, headers, expected) in tries {
        let answer = stage.caller.call_with(method, PATH, &headers).await?;
        let rule = answer.text("rule").to_owned();
        if answer.status != StatusCode::UNAUTHORIZED || rule != expected {
            return Err(answer.seen());
        }
        rules.push(rule);
    }
    let rules = rules.join(", ");
    let proof = format!("401 each time: {rules}");
    let story = format!(
        "Somebody saw all of that request and sends it again: as it was, to change something, \
         without the proof, and as a plain token. The resource refuses each: {rules}."
    );
    Ok(Proven::new((), proof).story(story))
}
