//! An agent calls another, which goes on in its name: with no more than was passed on, and for no
//! longer than what it came from.

use std::time::{Duration, Instant};

use accredit_wire::jose::b64url_decode;
use accredit_wire::secret::Secret;
use http::{Method, StatusCode};
use serde_json::Value;

use super::Stage;
use crate::commands::demo::clock;
use crate::commands::demo::registration::{Party, told};
use crate::commands::demo::report::{Promise, Proven, ScoreCard, shown};
use crate::errors::Failure;

/// How long the end of a chain may take before it counts as not held.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// How long between two calls.
const CALL_EVERY: Duration = Duration::from_millis(1);

/// A token that somebody sent to the worker, and what the worker made of it.
struct Chain {
    first: Party,
    sent: Secret,
    onward: Secret,
}

/// Two callers of one worker.
struct Chains {
    worker: Party,
    lead: Chain,
    other: Chain,
}

/// The chapter.
pub(super) async fn tell(stage: &mut Stage, card: &mut ScoreCard) -> Result<(), Failure> {
    card.chapter("One agent calls another, which goes on in its name")?;
    let chains = match begin(stage).await {
        Ok(chains) => chains,
        Err(seen) => {
            card.prove::<()>(Promise::Delegates, async { Err(seen) }).await?;
            return Ok(());
        }
    };
    card.prove(Promise::Delegates, delegated(stage, &chains)).await?;
    card.prove(Promise::NarrowsOnly, narrowed(stage, &chains)).await?;
    card.prove(Promise::EndsChains, ended(stage, &chains)).await?;
    Ok(())
}

/// Registers a worker that is called and two that call it, each of which sends it a token.
async fn begin(stage: &mut Stage) -> Result<Chains, String> {
    let [worker, lead, other] = stage.office.register_chain().await?;
    let mut chains = Vec::with_capacity(2);
    for first in [lead, other] {
        let own = [("grant_type", "client_credentials"), ("scope", "worker:run")];
        let sent = stage.office.ask_token(&first, &own).await.map_err(|why| told(&why))?;
        let onward = exchange(stage, &worker, &sent, "crm:read").await;
        let onward = onward.map_err(|why| told(&why))?;
        stage.token_ids.extend([id_of(&sent)?, id_of(&onward)?]);
        chains.push(Chain { first, sent, onward });
    }
    let [lead, other] = <[Chain; 2]>::try_from(chains).map_err(|_| "not two chains".to_owned())?;
    Ok(Chains { worker, lead, other })
}

/// What the worker gets for a token that it was sent.
async fn exchange(
    stage: &Stage,
    worker: &Party,
    sent: &Secret,
    scope: &str,
) -> Result<Secret, Failure> {
    let form = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token"),
        ("subject_token", sent.expose()),
        ("scope", scope),
    ];
    stage.office.ask_token(worker, &form).await
}

fn id_of(token: &Secret) -> Result<String, String> {
    let payload = token.expose().split('.').nth(1).unwrap_or_default();
    let payload = b64url_decode(payload).map_err(|error| error.to_string())?;
    let claims: Value = serde_json::from_slice(&payload).map_err(|error| error.to_string())?;
    Ok(claims["jti"].as_str().ok_or("a token without an id")?.to_owned())
}

async fn delegated(stage: &Stage, chains: &Chains) -> Result<Proven<()>, String> {
    let Chain { first, sent, onward } = &chains.lead;
    let answer = stage.caller.call_bearing(Method::GET, "/customers", onward).await?;
    let of_whom = [answer.caller("agent"), answer.caller("acts_for")];
    let expected = [Some(chains.worker.id.as_str()), Some(first.id.as_str())];
    if answer.status != StatusCode::OK || of_whom != expected {
        return Err(answer.seen());
    }
    let passed_on = stage.caller.call_bearing(Method::GET, "/customers", sent).await?;
    if passed_on.text("rule") != "token-audience" {
        return Err(passed_on.seen());
    }
    let proof = "the resource reads that `worker` acts for `lead`; the token that `lead` sent is \
                 refused there: token-audience"
        .to_owned();
    let story = format!(
        "`lead` ({}) calls `worker`, which exchanges the token that it was sent for one of its own \
         and calls the resource. To its handler, agent {} acts for {}. Passed on as it came, the \
         first token is refused: {}.",
        first.id,
        chains.worker.id,
        first.id,
        passed_on.text("error_description")
    );
    Ok(Proven::new((), proof).story(story))
}

async fn narrowed(stage: &Stage, chains: &Chains) -> Result<Proven<()>, String> {
    let refused = exchange(stage, &chains.worker, &chains.lead.sent, "crm:read crm:update").await;
    let Err(refusal) = refused else {
        return Err("the worker got more than was passed on to it".to_owned());
    };
    let is_named = refusal.detail.contains("`crm:update`") && !refusal.detail.contains("crm:read");
    if !refusal.kind.ends_with(":delegation-exceeded") || !is_named {
        return Err(told(&refusal));
    }
    let proof = format!("invalid_scope by rule delegation-exceeded: {}", refusal.detail);
    let story = format!(
        "`worker` itself may crm:update, `lead` may not, so in its name nobody can. It answers: \
         {}. Hint: {}.",
        refusal.detail, refusal.hint
    );
    Ok(Proven::new((), proof).story(story))
}

async fn ended(stage: &Stage, chains: &Chains) -> Result<Proven<()>, String> {
    let sent_at = clock::now();
    let ending = async {
        stage.office.revoke(&chains.lead.first.id, "calls what it should not").await.map(drop)
    };
    let refused = clock::within(WAIT_MAX, "a refusal", first_refusal(stage, chains, sent_at));
    let (ended, refused) = tokio::join!(ending, refused);
    ended?;
    let took = refused??;
    let answer = stage.caller.call_bearing(Method::GET, "/customers", &chains.other.onward).await?;
    if answer.status != StatusCode::OK {
        return Err(answer.seen());
    }
    let proof = format!(
        "first 401 token-revoked {} after the request to end `lead` was sent; the chain of another \
         caller of the same worker is answered 200",
        shown(took)
    );
    let story = format!(
        "`lead` is stopped. {} later the resource refuses what `worker` made of its token. What the \
         same worker does for another caller goes on.",
        shown(took)
    );
    Ok(Proven::new((), proof).story(story).took(took))
}

/// Calls with what was derived until it is refused.
async fn first_refusal(
    stage: &Stage,
    chains: &Chains,
    sent_at: Instant,
) -> Result<Duration, String> {
    loop {
        let token = &chains.lead.onward;
        let answer = stage.caller.call_bearing(Method::GET, "/customers", token).await;
        match answer {
            Ok(answer) if answer.text("rule") == "token-revoked" => {
                return Ok(clock::now().duration_since(sent_at));
            }
            Ok(answer) if answer.status == StatusCode::OK => clock::pause(CALL_EVERY).await,
            Ok(answer) => return Err(answer.seen()),
            // The one answer that the end met on its way is broken off.
            Err(_) => {}
        }
    }
}
