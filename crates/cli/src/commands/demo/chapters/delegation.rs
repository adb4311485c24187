//! A user asks an agent, which calls another, which goes on in the user's name: with no more than was
//! passed on, for no longer than what it came from, and until somebody kills the chain.

use std::time::{Duration, Instant};

use accredit_wire::jose::b64url_decode;
use accredit_wire::secret::Secret;
use http::{Method, StatusCode};
use serde_json::Value;

use super::Stage;
use super::revocation::acknowledged;
use crate::commands::demo::clock;
use crate::commands::demo::registration::{Party, told};
use crate::commands::demo::report::{Promise, Proven, ScoreCard, shown};
use crate::errors::Failure;

/// How long the end of a chain may take before it counts as not held.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// How long between two calls.
const CALL_EVERY: Duration = Duration::from_millis(1);

/// What was made of one user's token, hop by hop.
struct Chain {
    /// Who the user is here.
    user: String,
    /// What `lead` got for the user's token, and sent to `worker`; its id.
    sent: Secret,
    sent_id: String,
    /// What `worker` got for that.
    onward: Secret,
}

/// Two users of the same two agents.
struct Chains {
    lead: Party,
    worker: Party,
    first: Chain,
    other: Chain,
}

/// The chapter.
pub(super) async fn tell(stage: &mut Stage, card: &mut ScoreCard) -> Result<(), Failure> {
    card.chapter("A user asks an agent, which calls another, which goes on in the user's name")?;
    let chains = match begin(stage).await {
        Ok(chains) => chains,
        Err(seen) => {
            card.prove::<()>(Promise::Delegates, async { Err(seen) }).await?;
            return Ok(());
        }
    };
    card.prove(Promise::Delegates, delegated(stage, &chains)).await?;
    card.prove(Promise::NarrowsOnly, narrowed(stage, &chains)).await?;
    card.prove(Promise::EndsChains, Box::pin(ended(stage, &chains))).await?;
    Ok(())
}

/// Registers the users' provider, a worker that is called and an agent that calls it, and lets both
/// work for two users.
async fn begin(stage: &mut Stage) -> Result<Chains, String> {
    stage.office.federate(&stage.idp).await?;
    let [worker, lead] = stage.office.register_chain().await?;
    let mut chains = Vec::with_capacity(2);
    for user in ["mia", "tom"] {
        chains.push(chain(stage, (&lead, &worker), user).await?);
    }
    let [first, other] = <[Chain; 2]>::try_from(chains).map_err(|_| "not two chains".to_owned())?;
    stage.event_types.push("federation.created");
    Ok(Chains { lead, worker, first, other })
}

async fn chain(
    stage: &mut Stage,
    (lead, worker): (&Party, &Party),
    user: &str,
) -> Result<Chain, String> {
    let logged_in = stage.idp.token(user)?;
    let sent = exchange(stage, lead, (&logged_in, "jwt"), "worker:run").await;
    let sent = sent.map_err(|why| told(&why))?;
    let onward = exchange(stage, worker, (&sent, "access_token"), "crm:read").await;
    let onward = onward.map_err(|why| told(&why))?;
    let (sent_id, user) = (claim(&sent, "jti")?, claim(&sent, "sub")?);
    stage.token_ids.extend([sent_id.clone(), claim(&onward, "jti")?]);
    Ok(Chain { user, sent, sent_id, onward })
}

/// What a party gets for a token that it was sent.
async fn exchange(
    stage: &Stage,
    party: &Party,
    (token, kind): (&Secret, &str),
    scope: &str,
) -> Result<Secret, Failure> {
    let kind = format!("urn:ietf:params:oauth:token-type:{kind}");
    let form = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("subject_token_type", &kind),
        ("subject_token", token.expose()),
        ("scope", scope),
    ];
    stage.office.ask_token(party, &form).await
}

fn claim(token: &Secret, name: &str) -> Result<String, String> {
    let payload = token.expose().split('.').nth(1).unwrap_or_default();
    let payload = b64url_decode(payload).map_err(|error| error.to_string())?;
    let claims: Value = serde_json::from_slice(&payload).map_err(|error| error.to_string())?;
    let claim = claims.get(name).and_then(Value::as_str);
    Ok(claim.ok_or_else(|| format!("a token without `{name}`"))?.to_owned())
}

async fn delegated(stage: &Stage, chains: &Chains) -> Result<Proven<()>, String> {
    let Chain { user, sent, onward, .. } = &chains.first;
    let answer = stage.caller.call_bearing(Method::GET, "/customers", onward).await?;
    let of_whom = [answer.caller("agent"), answer.caller("acts_for")];
    let expected = [Some(chains.worker.id.as_str()), Some(user.as_str())];
    if answer.status != StatusCode::OK || of_whom != expected || !user.starts_with("usr_") {
        return Err(answer.seen());
    }
    let passed_on = stage.caller.call_bearing(Method::GET, "/customers", sent).await?;
    if passed_on.text("rule") != "token-audience" {
        return Err(passed_on.seen());
    }
    let proof =
        "the resource reads that `worker` acts for the user; the token that `lead` sent is \
                 refused there: token-audience"
            .to_owned();
    let story = format!(
        "A user logs in elsewhere. `lead` ({}) exchanges their token and calls `worker`, which \
         exchanges the token that it was sent for one of its own and calls the resource. To its \
         handler, agent {} acts for {user}. Passed on as it came, the token of `lead` is refused: {}.",
        chains.lead.id,
        chains.worker.id,
        passed_on.text("error_description")
    );
    Ok(Proven::new((), proof).story(story))
}

async fn narrowed(stage: &Stage, chains: &Chains) -> Result<Proven<()>, String> {
    let sent = (&chains.first.sent, "access_token");
    let refused = exchange(stage, &chains.worker, sent, "crm:read crm:update").await;
    let Err(refusal) = refused else {
        return Err("the worker got more than was passed on to it".to_owned());
    };
    let is_named = refusal.detail.contains("`crm:update`") && !refusal.detail.contains("crm:read");
    if !refusal.kind.ends_with(":delegation-exceeded") || !is_named {
        return Err(told(&refusal));
    }
    let proof = format!("invalid_scope by rule delegation-exceeded: {}", refusal.detail);
    let story = format!(
        "`worker` itself may crm:update, the user may not, so in their name nobody can. It answers: \
         {}. Hint: {}.",
        refusal.detail, refusal.hint
    );
    Ok(Proven::new((), proof).story(story))
}

/// `accredit kill chain`: one act, and what each enforcement point says of it.
async fn ended(stage: &Stage, chains: &Chains) -> Result<Proven<()>, String> {
    let sent_at = clock::now();
    let killing = async {
        let answer = stage.office.revoke(&chains.first.sent_id, "does what the user did not ask");
        let rev = answer.await?.value.get("rev").and_then(Value::as_u64);
        acknowledged(stage, rev.ok_or("the server's answer has no `rev`")?).await
    };
    let refused = clock::within(WAIT_MAX, "a refusal", first_refusal(stage, chains, sent_at));
    let (points, refused) = tokio::join!(killing, refused);
    let (points, took) = (points?, refused??);
    let answer = stage.caller.call_bearing(Method::GET, "/customers", &chains.other.onward).await?;
    if answer.status != StatusCode::OK {
        return Err(answer.seen());
    }
    let points = points.iter().map(|(name, took)| format!("`{name}` after {}", shown(*took)));
    let points = points.collect::<Vec<_>>().join(", ");
    let proof = format!(
        "acknowledged by {points}; first 401 token-revoked {} after the request to kill the chain \
         was sent; what the same two agents do for another user is answered 200",
        shown(took)
    );
    let story = format!(
        "`accredit kill chain {}` ends what `lead` got for the user and whatever was made of it. Each \
         enforcement point acknowledges: {points}. {} after the request the resource refuses what \
         `worker` made of it. The chain of another user, by the same agents, works on.",
        chains.first.sent_id,
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
        let token = &chains.first.onward;
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
