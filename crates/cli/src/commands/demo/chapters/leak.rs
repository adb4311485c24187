//! A secret lies in a log file: it is recognized by its form, its own administrator is told whose it
//! is, nobody else is, and it is ended.

use std::path::Path;
use std::sync::Arc;

use accredit::AccessToken;
use accredit_wire::secret::Secret;
use http::{Method, StatusCode};
use serde_json::Value;

use super::{Stage, refusal_of, revocation};
use crate::commands::demo::clock;
use crate::commands::demo::registration::{Held, told};
use crate::commands::demo::report::{Promise, Proven, ScoreCard, shown};
use crate::commands::demo::scan::{changed, masked, scan};
use crate::errors::Failure;
use crate::exit::Exit;

/// The log of a service, in the demo's folder. The secret in it has ended when the demo has.
const LOG_FILE_NAME: &str = "service.log";
/// The line of it in which the secret stands.
const SECRET_LINE: usize = 3;
/// The line in which it stands with one character changed.
const CHANGED_LINE: usize = 4;

/// Tells it of a credential that the agent holds; nothing where there is none.
pub(super) async fn tell(
    folder: &Path,
    stage: &mut Stage,
    held: Option<Held>,
    card: &mut ScoreCard,
) -> Result<(), Failure> {
    card.chapter("A secret lies where it should not")?;
    let Some(held) = held else { return Ok(()) };
    let mistyped = mistyped(&held.secret);
    let recognized = async { recognize(folder, &held, &mistyped) };
    card.prove(Promise::Recognizes, recognized).await?;
    card.prove(Promise::Dismisses, async { dismiss(folder, &held) }).await?;
    // Whoever finds a secret may use it.
    let used = use_it(stage, &held).await;
    let used = used.map(|(token, id)| {
        stage.token_ids.push(id);
        token
    });
    if card.prove(Promise::TellsOwn, identify(stage, &held)).await?.is_some() {
        stage.event_types.push("credential.identified");
    }
    card.prove(Promise::TellsNoOther, ask_elsewhere(stage, &held, &mistyped)).await?;
    if card.prove(Promise::EndsLeaks, end(stage, &held, used)).await?.is_some() {
        stage.event_types.push("credential.revoked");
    }
    Ok(())
}

/// The secret with its last character changed.
fn mistyped(secret: &Secret) -> Secret {
    let mut text = secret.expose().to_owned();
    let last = text.pop();
    text.push(if last == Some('a') { 'b' } else { 'a' });
    Secret::new(text)
}

/// Writes the log, and looks through it as a scanner does, which has nothing but the text.
fn recognize(folder: &Path, held: &Held, mistyped: &Secret) -> Result<Proven<()>, String> {
    let log = Secret::new(format!(
        "09:30:00 INFO  reporter has started, commit 4bf92f3577b34da6a3ce929d0e0e4736\n\
         09:30:00 DEBUG the secret has the form acr_<kind>_<credential>_<secret>_<checksum>\n\
         09:30:01 DEBUG POST /oauth/token client_secret={}&scope=crm%3Aread\n\
         09:30:02 WARN  invalid_client for client_secret={}&scope=crm%3Aread\n\
         09:30:03 INFO  see acr_agent_placeholder in the manual\n",
        held.secret.expose(),
        mistyped.expose()
    ));
    let path = folder.join(LOG_FILE_NAME);
    let unwritten = |error: std::io::Error| format!("`{LOG_FILE_NAME}`: {error}");
    std::fs::write(&path, log.expose()).map_err(unwritten)?;
    let log = Secret::new(std::fs::read_to_string(&path).map_err(unwritten)?);
    let begun = clock::now();
    let found = scan(log.expose());
    let took = clock::now().duration_since(begun);
    let true_ones = found.iter().filter_map(|one| Some((one.line, one.verdict.ok()?)));
    let true_ones: Vec<_> = true_ones.collect();
    let [(line, key)] = true_ones[..] else {
        return Err(format!("{} secrets were found in a text with one", true_ones.len()));
    };
    if line != SECRET_LINE || key.credential.to_string() != held.id {
        return Err(format!("`{}` was found in line {line}", key.credential));
    }
    let candidates = found.len();
    let (kind, mask) = (key.kind.name(), masked(&key));
    let proof = format!(
        "1 of {candidates} candidates is true, in line {line}: the secret of an {kind}, {}; no \
         server was asked",
        key.credential
    );
    let story = format!(
        "A service wrote too much into {LOG_FILE_NAME}. A scanner that has nothing but this text \
         finds {candidates} candidates by their beginning, and by form and checksum one that is \
         true, in line {line}: {mask}, the secret of an {kind}."
    );
    Ok(Proven::new((), proof).story(story).took(took))
}

/// Looks at what differs from the secret in one character.
fn dismiss(folder: &Path, held: &Held) -> Result<Proven<()>, String> {
    let log = std::fs::read_to_string(folder.join(LOG_FILE_NAME)).map(Secret::new);
    let log = log.map_err(|error| format!("`{LOG_FILE_NAME}`: {error}"))?;
    let found = scan(log.expose());
    let verdict = found.iter().find(|one| one.line == CHANGED_LINE).map(|one| one.verdict);
    let why = match verdict {
        Some(Err(why)) => why,
        Some(Ok(key)) => {
            return Err(format!("line {CHANGED_LINE} passed for `{}`", key.credential));
        }
        None => return Err(format!("line {CHANGED_LINE} was not looked at")),
    };
    let (tried, taken) = changed(held.secret.expose());
    if taken > 0 {
        return Err(format!("{taken} of {tried} texts with one character changed passed for true"));
    }
    let proof = format!("{tried} texts that differ from it in one character: none passed for true");
    let story = format!(
        "Line {CHANGED_LINE} has it with one character changed, and is none: {why}. So are all \
         {tried} texts that differ from it in one character."
    );
    Ok(Proven::new((), proof).story(story))
}

/// Gets a token with the secret and calls: the token, and its id.
async fn use_it(stage: &Stage, held: &Held) -> Result<(Arc<AccessToken>, String), String> {
    let token = held.agent.token("crm:read").await.map_err(|error| error.to_string())?;
    let answer = stage.caller.call(Method::GET, "/customers", &token).await?;
    match (answer.status, answer.caller("token")) {
        (StatusCode::OK, Some(id)) => Ok((token, id.to_owned())),
        _ => Err(answer.seen()),
    }
}

async fn identify(stage: &Stage, held: &Held) -> Result<Proven<()>, String> {
    let answer = stage.office.identify(held.secret.expose()).await;
    let answer = answer.map_err(|failure| told(&failure))?;
    let text = |pointer: &str| answer.value.pointer(pointer).and_then(Value::as_str).unwrap_or("-");
    let (id, agent, state) =
        (text("/credential/id"), text("/credential/agent"), text("/credential/state"));
    let events = answer.value["events"].as_array().map_or(&[][..], Vec::as_slice);
    if (id, agent, state) != (held.id.as_str(), stage.cast.reporter.agent_id.as_str(), "active") {
        return Err(format!("it was told to be `{id}` of `{agent}`, {state}"));
    }
    let newest = text("/events/0/type");
    let tokens = answer.value["tokens_issued"].as_u64().unwrap_or(0);
    let last = text("/last_issued/time");
    let strange = events.iter().any(|event| !event.to_string().contains(id));
    if events.is_empty() || strange || tokens == 0 || last == "-" {
        return Err(format!(
            "{} events were told, the newest of them `{newest}`, and {tokens} tokens",
            events.len()
        ));
    }
    if answer.text.contains(held.secret.expose()) {
        return Err("the answer repeats the secret".to_owned());
    }
    let proof = format!("{id} of {agent}, {state}, with its events and the {tokens} tokens it got");
    let story = format!(
        "Its administrator asks the server and is told: it is {id} of `reporter`, {agent}, \
         {state}; the newest event that names it is {newest}, and of the {tokens} tokens that it \
         got the last was at {last}."
    );
    Ok(Proven::new((), proof).story(story))
}

/// Asks as the administrator of another organization, of the secret and of what never was one.
async fn ask_elsewhere(
    stage: &Stage,
    held: &Held,
    mistyped: &Secret,
) -> Result<Proven<()>, String> {
    let stranger = stage.office.stranger().await?;
    let mut words = Vec::new();
    for secret in [&held.secret, mistyped] {
        let Err(failure) = stranger.identify(secret.expose()).await else {
            return Err("another organization's administrator was told whose it is".to_owned());
        };
        if failure.exit != Exit::NotFound {
            return Err(told(&failure));
        }
        words.push(told(&failure));
    }
    let [real, none] = words.as_slice() else { return Err("nothing was asked".to_owned()) };
    if real != none {
        return Err(format!("it is told apart from what is no secret: {real}; but: {none}"));
    }
    let names = [&held.id, &stage.cast.reporter.agent_id];
    if let Some(name) = names.into_iter().find(|name| real.contains(name.as_str())) {
        return Err(format!("`{name}` was named: {real}"));
    }
    let proof = "404 not-found, in the same words as for a text that never was a secret".to_owned();
    let story = format!(
        "The administrator of another organization on the same server is told, in the same words \
         as of a text that never was a secret: {real}."
    );
    Ok(Proven::new((), proof).story(story))
}

/// Revokes it while a token that was got with it is used on and on.
async fn end(
    stage: &Stage,
    held: &Held,
    used: Result<Arc<AccessToken>, String>,
) -> Result<Proven<()>, String> {
    let token = used?;
    let sent = clock::now();
    let (answered, refused) = tokio::join!(
        stage.office.revoke(&held.id, "it was found in a log file"),
        revocation::first_refusal(stage, &token, sent)
    );
    answered?;
    let (took, _) = refused?;
    held.agent.forget(&token);
    let refusal = refusal_of(&held.agent, "crm:read").await?;
    if refusal.rule() != Some("credential-revoked") {
        return Err(format!("it was refused otherwise: {refusal}"));
    }
    let proof = format!(
        "the token that was got with it meets 401 token-revoked {} after the revoke request was \
         sent; the server says {} to the secret",
        shown(took),
        refusal.error()
    );
    let story = format!(
        "It is revoked. The resource refuses the token that was got with it {} after the request \
         was sent, and the server the secret: {}: {}.",
        shown(took),
        refusal.error(),
        refusal.description()
    );
    Ok(Proven::new((), proof).story(story).took(took))
}
