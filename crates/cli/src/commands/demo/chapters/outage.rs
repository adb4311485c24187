//! The server is away: what is known goes on being true for a while, and nothing new is given.

use std::time::Duration;

use accredit::{AgentError, IssuerError};
use accredit_wire::time::Time;
use accredit_wire::verify::REVOCATIONS_AGE_MAX;
use http::{Method, StatusCode};

use super::Stage;
use crate::commands::demo::caller::Following;
use crate::commands::demo::clock;
use crate::commands::demo::report::{Promise, Proven, ScoreCard, shown};
use crate::errors::Failure;

/// How long the sibling's next line may take.
const LINE_TIME_MAX: Duration = Duration::from_secs(5);

/// Stops the server and looks at what still works.
pub(super) async fn tell(
    stage: &mut Stage,
    sibling: Option<Following>,
    card: &mut ScoreCard,
) -> Result<(), Failure> {
    card.chapter("The server is stopped")?;
    if card.prove(Promise::Stops, stop(stage)).await?.is_none() {
        // What follows is about a server that is not there.
        return Ok(());
    }
    card.prove(Promise::VerifiesAlone, verify_alone(stage, sibling.as_ref())).await?;
    card.prove(Promise::FailsClosed, fail_closed(stage)).await?;
    Ok(())
}

async fn stop(stage: &mut Stage) -> Result<Proven<()>, String> {
    let (took, status) = stage.server.stop().await?;
    if !status.success() {
        return Err(format!("the server ended with {status}"));
    }
    let proof = format!("SIGTERM, {} later it had ended with {status}", shown(took));
    let story = format!("SIGTERM: the server finishes its work and ends after {}.", shown(took));
    Ok(Proven::new((), proof).story(story).took(took))
}

async fn verify_alone(stage: &Stage, sibling: Option<&Following>) -> Result<Proven<()>, String> {
    let answer = stage.caller.call(Method::GET, "/customers", &stage.tokens.sibling).await?;
    if answer.status != StatusCode::OK {
        return Err(answer.seen());
    }
    let revoked = stage.caller.call(Method::GET, "/customers", &stage.tokens.planner).await?;
    if revoked.status != StatusCode::UNAUTHORIZED {
        return Err(format!("what is revoked must stay so, but {}", revoked.seen()));
    }
    if let Some(stream) = sibling {
        let before = stream.lines();
        let more = || stream.lines() > before;
        clock::until(LINE_TIME_MAX, "the next line of the sibling's stream", more).await?;
    }
    let status = stage.resource.status().ok_or("the resource knows nothing of revocations")?;
    let until = Time::from_seconds(status.signed_at.plus(REVOCATIONS_AGE_MAX).seconds());
    let bound = REVOCATIONS_AGE_MAX.as_secs();
    let proof = format!(
        "the sibling's call is answered 200, the revoked instance's 401; until {until} at the \
         latest ({bound} s)"
    );
    let story = format!(
        "The resource answers the sibling 200 and the revoked instance 401, as before. It may do \
         so until {until}: its bound is {bound} s after the server's last signed word."
    );
    Ok(Proven::new((), proof).story(story))
}

async fn fail_closed(stage: &Stage) -> Result<Proven<()>, String> {
    match stage.cast.sibling.agent.token("crm:update").await {
        Err(AgentError::Issuer(IssuerError::Net(error))) => {
            let story = format!("The sibling asks for one more token: error: {error}.");
            Ok(Proven::new((), error.to_string()).story(story))
        }
        Err(error) => Err(format!("it is not said that the server is away: {error}")),
        Ok(token) => Err(format!("a token for `{}` came from nowhere", token.scope())),
    }
}
