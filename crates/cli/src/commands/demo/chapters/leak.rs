//! A secret lies in a log file: it is recognized by its form, its own administrator is told whose it
//! is, nobody else is, and it is ended.

use accredit::AgentError;
use accredit_wire::api_key::ApiKey;
use accredit_wire::oauth::errors::ErrorCode;

use super::Stage;
use crate::commands::demo::registration::Held;
use crate::commands::demo::report::{Promise, Proven, ScoreCard};
use crate::errors::Failure;

/// Tells it of a credential that the agent holds; nothing where there is none.
pub(super) async fn tell(
    stage: &Stage,
    held: Option<Held>,
    card: &mut ScoreCard,
) -> Result<(), Failure> {
    card.chapter("A secret lies where it should not")?;
    let Some(held) = held else { return Ok(()) };
    card.prove(Promise::Recognizes, async { recognize(&held) }).await?;
    card.prove(Promise::Identifies, identify(stage, &held)).await?;
    Ok(())
}

/// The secrets of ours in a text: what a scanner does, with no server at hand.
fn found_in(text: &str) -> Vec<&str> {
    let words = text.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'));
    words.filter(|word| ApiKey::parse(word).is_ok()).collect()
}

fn recognize(held: &Held) -> Result<Proven<()>, String> {
    let secret = held.secret.expose();
    let other = |letter: char| if letter == 'a' { 'b' } else { 'a' };
    let last = secret.chars().last().unwrap_or_default();
    let mistyped = format!("{}{}", &secret[..secret.len() - last.len_utf8()], other(last));
    let log = format!(
        "2026-01-01T09:30:00Z DEBUG sending Authorization: {secret}, retry=1\n\
         2026-01-01T09:30:01Z DEBUG tried {mistyped} and acr_agent_placeholder\n\
         2026-01-01T09:30:02Z DEBUG commit 4bf92f3577b34da6a3ce929d0e0e4736\n"
    );
    if found_in(&log) != [secret] {
        return Err(format!("{} secrets were found in a text with one", found_in(&log).len()));
    }
    let kind = ApiKey::parse(secret).map_err(|error| error.to_string())?.kind.name();
    let proof = "1 true secret among its lookalikes, by prefix and checksum, with no server".into();
    let story = format!(
        "A log file has the line `sending Authorization: acr_{kind}_…`. A scanner finds it by its \
         prefix and its checksum; the same text with one letter changed is none."
    );
    Ok(Proven::new((), proof).story(story))
}

async fn identify(stage: &Stage, held: &Held) -> Result<Proven<()>, String> {
    let told = stage.office.identify(&held.secret).await?;
    let (id, agent) = (told.credential, told.agent);
    if id != held.id || agent != stage.cast.reporter.agent_id || told.events == 0 {
        return Err(format!("it was told to be {id} of {agent}, with {} events", told.events));
    }
    let stranger = stage.office.stranger().await?;
    if let Ok(told) = stranger.identify(&held.secret).await {
        return Err(format!("another organization was told that it is {}", told.credential));
    }
    stage.office.revoke(&id, "it was found in a log file").await?;
    let refusal = match held.agent.token("crm:read").await {
        Err(AgentError::Refused(refusal)) if refusal.error() == ErrorCode::InvalidClient => refusal,
        Err(error) => return Err(error.to_string()),
        Ok(_) => return Err("it still gets tokens".to_owned()),
    };
    let proof = format!(
        "{} events name it; another organization's administrator is told nothing; revoked, it is \
         refused as {}",
        told.events,
        refusal.error()
    );
    let story = format!(
        "Asked with an administrator's key, the server says that it is {id} of {agent}, and what \
         it was used for: {} events. The administrator of another organization is told only that \
         it is none of theirs. It is revoked, and gets nothing any more: {}.",
        told.events,
        refusal.description()
    );
    Ok(Proven::new((), proof).story(story))
}
