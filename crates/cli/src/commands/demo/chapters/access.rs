//! Who may do what: registering, getting tokens, calling, and being refused.

use std::path::Path;
use std::sync::Arc;

use accredit::{AccessToken, AgentError};
use accredit_wire::oauth::errors::ErrorCode;
use accredit_wire::time::Time;
use http::{Method, StatusCode};

use super::{Stage, Tokens};
use crate::commands::demo::caller::{Answered, Caller};
use crate::commands::demo::idp::Idp;
use crate::commands::demo::registration::{Actor, Cast, OWNER, Office};
use crate::commands::demo::report::{Promise, Proven, ScoreCard};
use crate::commands::demo::resource::ResourceServer;
use crate::commands::demo::server::{Ready, ServerProcess};
use crate::errors::Failure;

/// The first half of the story; nothing where there is nothing to go on with.
pub(super) async fn tell(folder: &Path, card: &mut ScoreCard) -> Result<Option<Stage>, Failure> {
    card.chapter("A server, an owner, two agents")?;
    let Some((server, ready, idp)) = card.prove(Promise::Starts, start(folder)).await? else {
        return Ok(None);
    };
    let Some((office, cast)) = card.prove(Promise::Registers, register(&ready)).await? else {
        return Ok(None);
    };
    card.chapter("Tokens, and a resource that reads them")?;
    let Some(tokens) = card.prove(Promise::Issues, issue(&cast)).await? else {
        return Ok(None);
    };
    let known = know(&ready, folder, &cast, &tokens);
    let Some((resource, caller, token_ids)) = card.prove(Promise::Knows, known).await? else {
        return Ok(None);
    };
    card.chapter("Too much is refused, and told why")?;
    card.prove(Promise::Limits, limit(&caller, &tokens)).await?;
    card.prove(Promise::Withholds, withhold(&cast)).await?;
    let event_types = vec!["token.refused"];
    Ok(Some(Stage { server, idp, office, cast, resource, caller, tokens, token_ids, event_types }))
}

async fn start(folder: &Path) -> Result<Proven<(ServerProcess, Ready, Idp)>, String> {
    let idp = Idp::start().await?;
    let (server, ready) = ServerProcess::start(folder, idp.address).await?;
    let proof = format!("it listens at {}, with its store on disk", ready.url);
    let story = format!("`accredit dev` runs at {}; its issuer is {}.", ready.url, ready.issuer);
    Ok(Proven::new((server, ready, idp), proof).story(story))
}

async fn register(ready: &Ready) -> Result<Proven<(Office, Cast)>, String> {
    let office = Office::new(ready)?;
    let cast = office.register().await?;
    let proof = format!("{OWNER} answers for planner (2 instances) and reporter (1 instance)");
    let story = format!(
        "{OWNER} ({}) owns two agents: `planner` may crm:read and crm:update and runs twice, as {} \
         and {}; `reporter` may crm:read and runs once.",
        cast.owner_id, cast.planner.instance_id, cast.sibling.instance_id
    );
    Ok(Proven::new((office, cast), proof).story(story))
}

async fn issue(cast: &Cast) -> Result<Proven<Tokens>, String> {
    let tokens = Tokens {
        planner: token(&cast.planner, "crm:read crm:update").await?,
        sibling: token(&cast.sibling, "crm:read").await?,
        reporter: token(&cast.reporter, "crm:read").await?,
    };
    let ends = Time::from_seconds(tokens.planner.expires_at().seconds());
    let proof = format!("3 tokens over HTTP, the first for `{}`", tokens.planner.scope());
    let story = format!(
        "Each instance gets a token of its own with its own secret, the first for `{}` until \
         {ends}.",
        tokens.planner.scope()
    );
    Ok(Proven::new(tokens, proof).story(story))
}

async fn token(actor: &Actor, scope: &str) -> Result<Arc<AccessToken>, String> {
    let token = actor.agent.token(scope).await.map_err(|error| error.to_string())?;
    if token.scope().to_string() == scope {
        return Ok(token);
    }
    Err(format!("`{scope}` was asked for, and `{}` was granted", token.scope()))
}

/// Starts the resource and calls it with each token.
async fn know(
    ready: &Ready,
    folder: &Path,
    cast: &Cast,
    tokens: &Tokens,
) -> Result<Proven<(ResourceServer, Caller, Vec<String>)>, String> {
    let credential = cast.resource_credential.expose();
    let resource = ResourceServer::start(&ready.issuer, credential, folder.join("verifier"));
    let resource = resource.await?;
    let caller = Caller::new(&resource.url)?;
    let mut token_ids = Vec::new();
    for (actor, token, method) in [
        (&cast.planner, &tokens.planner, Method::POST),
        (&cast.sibling, &tokens.sibling, Method::GET),
        (&cast.reporter, &tokens.reporter, Method::GET),
    ] {
        let answer = caller.call(method, "/customers", token).await?;
        let of_whom = [answer.caller("agent"), answer.caller("instance"), answer.caller("owner")];
        let expected = [&actor.agent_id, &actor.instance_id, &cast.owner_id];
        if answer.status != StatusCode::OK || of_whom != expected.map(|id| Some(id.as_str())) {
            return Err(answer.seen());
        }
        token_ids.push(answer.caller("token").unwrap_or_default().to_owned());
    }
    let proof = "3 calls were answered 200, each with the right agent, instance and owner".into();
    let story = format!(
        "A guarded resource runs at {}. To its handler, the first call comes from agent {}, \
         instance {}, owner {}.",
        caller.url(),
        cast.planner.agent_id,
        cast.planner.instance_id,
        cast.owner_id
    );
    Ok(Proven::new((resource, caller, token_ids), proof).story(story))
}

async fn limit(caller: &Caller, tokens: &Tokens) -> Result<Proven<()>, String> {
    let answer = caller.call(Method::POST, "/customers", &tokens.reporter).await?;
    let refused = answer.status == StatusCode::FORBIDDEN
        && answer.text("error") == "insufficient_scope"
        && answer.text("rule") == "scope-insufficient"
        && answer.text("error_description").contains("crm:update")
        && !answer.text("hint").is_empty();
    if !refused {
        return Err(answer.seen());
    }
    let proof = format!("403 insufficient_scope by rule {}", answer.text("rule"));
    let story = format!("`reporter` tries to update with its token for crm:read. {}", why(&answer));
    Ok(Proven::new((), proof).story(story))
}

/// A refusal as the caller reads it.
fn why(answer: &Answered) -> String {
    format!(
        "The resource answers {} {}: {}. Rule: {}. Hint: {}.",
        answer.status.as_u16(),
        answer.text("error"),
        answer.text("error_description"),
        answer.text("rule"),
        answer.text("hint")
    )
}

async fn withhold(cast: &Cast) -> Result<Proven<()>, String> {
    let refusal = match cast.reporter.agent.token("crm:update").await {
        Err(AgentError::Refused(refusal)) => refusal,
        Err(error) => return Err(error.to_string()),
        Ok(token) => return Err(format!("a token for `{}` was issued", token.scope())),
    };
    let hint = refusal.hint().unwrap_or_default();
    if refusal.error() != ErrorCode::InvalidScope || !hint.contains("crm:read") {
        return Err(format!("it was refused otherwise: {refusal}"));
    }
    let rule = refusal.rule().unwrap_or("-");
    let proof = format!("{} by rule {rule}: {hint}", refusal.error());
    let story = format!(
        "`reporter` asks the server for crm:update. It answers {}: {}. Rule: {rule}. Hint: {hint}.",
        refusal.error(),
        refusal.description()
    );
    Ok(Proven::new((), proof).story(story))
}
