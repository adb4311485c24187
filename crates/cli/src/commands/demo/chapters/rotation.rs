//! A credential and a signing key are rotated while somebody works with them, and not one call
//! fails.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use accredit::Agent;
use http::{Method, StatusCode};

use super::Stage;
use crate::commands::demo::clock;
use crate::commands::demo::registration::Held;
use crate::commands::demo::report::{Promise, Proven, ScoreCard};
use crate::errors::Failure;

/// Calls between two steps, each with a token of its own.
const CALLS_BETWEEN: usize = 10;
/// How long so many calls may take before it counts as not held.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// Who works all the time, and how that goes.
struct Work {
    /// With which credential the next token is got.
    agent: Mutex<Agent>,
    calls: AtomicUsize,
    done: AtomicBool,
}

/// Returns the credential that the agent holds afterwards.
pub(super) async fn tell(stage: &mut Stage, card: &mut ScoreCard) -> Result<Option<Held>, Failure> {
    card.chapter("A credential and a signing key rotate under way")?;
    let rotated = card.prove(Promise::Rotates, rotate(stage)).await?;
    let Some((held, mut token_ids)) = rotated else { return Ok(None) };
    stage.token_ids.append(&mut token_ids);
    Ok(Some(held))
}

async fn rotate(stage: &Stage) -> Result<Proven<(Held, Vec<String>)>, String> {
    let old = stage.office.credential("reporter").await?;
    let work = Work {
        agent: Mutex::new(old.agent.clone()),
        calls: AtomicUsize::new(0),
        done: AtomicBool::new(false),
    };
    let steps = async {
        let outcome = turn(stage, &old, &work).await;
        work.done.store(true, Ordering::Relaxed);
        outcome
    };
    let (worked, turned) = tokio::join!(call_on_and_on(stage, &work), steps);
    let token_ids = worked?;
    let (new, ends, key) = turned?;
    let calls = token_ids.len();
    let proof = format!(
        "{calls} calls, each with a new token: by the old secret, by both, by the new one, and \
         under the new signing key; all were answered 200"
    );
    let story = format!(
        "`reporter` works without a pause, each call with a token of its own. Its secret is \
         rotated: {} takes the place of {}, which still works until {ends}. Then the signing key \
         is: {key} signs from now on, and the resource knows it already. {calls} calls, none \
         refused.",
        new.id, old.id
    );
    Ok(Proven::new((new, token_ids), proof).story(story))
}

/// The steps, with calls before, between and after them. What the agent holds then, when its old
/// secret ends, and which key signs.
async fn turn(stage: &Stage, old: &Held, work: &Work) -> Result<(Held, String, String), String> {
    some_calls(work).await?;
    let (new, ends) = stage.office.rotate_credential(&old.id).await?;
    some_calls(work).await?;
    new.agent.clone_into(&mut work.agent.lock().unwrap_or_else(PoisonError::into_inner));
    some_calls(work).await?;
    let key = stage.office.rotate_signing_key().await?;
    some_calls(work).await?;
    some_calls(work).await?;
    Ok((new, ends, key))
}

async fn some_calls(work: &Work) -> Result<(), String> {
    let calls = || work.calls.load(Ordering::Relaxed);
    let wanted = calls() + CALLS_BETWEEN;
    let reached = || calls() >= wanted || work.done.load(Ordering::Relaxed);
    clock::until(WAIT_MAX, "more calls", reached).await
}

/// Gets a token and calls, until told that it is enough; the tokens' ids.
async fn call_on_and_on(stage: &Stage, work: &Work) -> Result<Vec<String>, String> {
    let mut token_ids = Vec::new();
    while !work.done.load(Ordering::Relaxed) {
        let called = call(stage, work).await;
        if called.is_err() {
            // Nobody is to wait for more calls.
            work.done.store(true, Ordering::Relaxed);
        }
        token_ids.push(called.map_err(|why| format!("call {}: {why}", token_ids.len() + 1))?);
        work.calls.fetch_add(1, Ordering::Relaxed);
    }
    Ok(token_ids)
}

async fn call(stage: &Stage, work: &Work) -> Result<String, String> {
    let agent = work.agent.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let token = agent.token("crm:read").await.map_err(|error| error.to_string())?;
    let answer = stage.caller.call(Method::GET, "/customers", &token).await?;
    agent.forget(&token);
    match (answer.status, answer.caller("token")) {
        (StatusCode::OK, Some(id)) => Ok(id.to_owned()),
        _ => Err(answer.seen()),
    }
}
