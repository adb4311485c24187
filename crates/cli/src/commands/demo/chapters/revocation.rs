//! One instance is revoked while it reads a stream, and everything is timed from the moment at
//! which the request to revoke it was sent.

use std::time::{Duration, Instant};

use accredit::AccessToken;
use accredit_wire::x509::certificate::Certificate;
use http::{Method, StatusCode};

use super::connections::Connections;
use super::{Stage, refusal_of};
use crate::commands::demo::caller::{Answered, Following};
use crate::commands::demo::report::{Promise, Proven, ScoreCard, shown};
use crate::commands::demo::{clock, resource};
use crate::errors::Failure;

/// How many lines each stream has before the revocation, and the sibling's again after it.
const LINES_SEEN: u64 = 5;
/// How long any of this may take before it counts as not held. The promise is milliseconds; this
/// only ends the waiting.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// How long between two looks at the lists.
const LIST_EVERY: Duration = Duration::from_millis(100);

/// How long between two calls of the instance that is being revoked.
const CALL_EVERY: Duration = Duration::from_millis(1);

/// What was seen, each by itself, so that one thing that fails does not hide the others.
struct Seen {
    /// When the request to revoke it was sent.
    sent: Instant,
    /// How long until the server had answered.
    answered: Result<Duration, String>,
    /// What each enforcement point said of it.
    acknowledged: Result<Vec<(String, Duration)>, String>,
    /// How long until the client saw its stream break off.
    cut: Result<Duration, String>,
    /// How long until the first refusal, and how many calls passed before it.
    refused: Result<(Duration, u32), String>,
}

/// Returns the sibling's stream, which goes on.
pub(super) async fn tell(
    stage: &Stage,
    card: &mut ScoreCard,
) -> Result<Option<Following>, Failure> {
    card.chapter("One instance is revoked in the middle of its stream")?;
    let streams = match open(stage).await {
        Ok(streams) => streams,
        Err(seen) => {
            card.prove::<()>(Promise::EndsStreams, async { Err(seen) }).await?;
            return Ok(None);
        }
    };
    let (mut first, sibling) = streams;
    let certificates = certified(stage).await;
    let connections = Box::pin(Connections::open(stage)).await;
    card.tell(&format!(
        "Both instances of `planner` read GET /stream: a line every {} ms. Now {} is revoked.",
        resource::LINE_EVERY.as_millis(),
        stage.cast.planner.instance_id
    ))?;
    let seen = revoke(stage, &mut first).await;
    card.prove(Promise::EndsStreams, async { stream_ended(&seen, &first) }).await?;
    card.prove(Promise::EndsCalls, calls_ended(&seen, stage)).await?;
    card.prove(Promise::SparesSiblings, spared(stage, &sibling)).await?;
    let closed = Box::pin(async { connections?.closed(seen.sent).await });
    card.prove(Promise::EndsConnections, closed).await?;
    card.prove(Promise::EndsCertificates, listed(stage, certificates, seen.sent)).await?;
    Ok(Some(sibling))
}

/// A certificate of each.
async fn certified(stage: &Stage) -> Result<[Certificate; 2], String> {
    let office = &stage.office;
    let first = office.certificate(&stage.cast.planner).await?;
    Ok([first, office.certificate(&stage.cast.sibling).await?])
}

/// Opens both streams and waits until each has lines.
async fn open(stage: &Stage) -> Result<(Following, Following), String> {
    let first = stage.caller.follow(&stage.tokens.planner).await?;
    let sibling = stage.caller.follow(&stage.tokens.sibling).await?;
    let both = || first.lines().min(sibling.lines()) >= LINES_SEEN;
    clock::until(WAIT_MAX, "the lines of both streams", both).await?;
    Ok((first, sibling))
}

async fn revoke(stage: &Stage, stream: &mut Following) -> Seen {
    let sent = clock::now();
    let answered = async {
        let target = &stage.cast.planner.instance_id;
        let answer = stage.office.revoke(target, "reads more than it was asked to").await?;
        let took = clock::now().duration_since(sent);
        let rev = answer.value.get("rev").and_then(serde_json::Value::as_u64);
        match rev.filter(|_| answer.member("target") == Some(target)) {
            Some(rev) => Ok((took, rev)),
            None => Err(format!("the server answered {}", answer.text)),
        }
    };
    let cut = async {
        let end = clock::within(WAIT_MAX, "the end of the stream", stream.end()).await??;
        match end.broken {
            Some(_) => Ok(end.at.duration_since(sent)),
            None => Err("the stream ended as if it were complete".to_owned()),
        }
    };
    let refused = first_refusal(stage, &stage.tokens.planner, sent);
    let (answered, cut, refused) = tokio::join!(answered, cut, refused);
    let acknowledged = match &answered {
        Ok((_, rev)) => acknowledged(stage, *rev).await,
        Err(error) => Err(error.clone()),
    };
    Seen { sent, answered: answered.map(|(took, _)| took), acknowledged, cut, refused }
}

/// Asks until every enforcement point has acknowledged.
pub(super) async fn acknowledged(
    stage: &Stage,
    rev: u64,
) -> Result<Vec<(String, Duration)>, String> {
    let all = async {
        loop {
            let points = stage.office.acknowledged(rev).await?;
            let said = points.into_iter().map(|(name, took)| Some((name, took?)));
            match said.collect::<Option<Vec<_>>>() {
                Some(said) if !said.is_empty() => return Ok(said),
                _ => clock::pause(CALL_EVERY).await,
            }
        }
    };
    clock::within(WAIT_MAX, "the acknowledgement of every enforcement point", all).await?
}

/// Calls again and again until it is refused: how long that took since `sent`, and how many calls
/// passed before. The one answer that the end may meet on its way is broken off, as every answer to
/// somebody whose authority has ended; the next call must be refused.
pub(super) async fn first_refusal(
    stage: &Stage,
    token: &AccessToken,
    sent: Instant,
) -> Result<(Duration, u32), String> {
    let (mut passed, mut cut) = (0, false);
    let refused = async {
        loop {
            let answered = stage.caller.call_while_ending(Method::GET, "/customers", token).await?;
            let answer = match answered {
                Ok(answer) if cut && !is_revoked(&answer) => return Err(answer.seen()),
                Ok(answer) => answer,
                Err(broken) if cut => return Err(broken.to_string()),
                Err(_) => {
                    cut = true;
                    continue;
                }
            };
            let took = clock::now().duration_since(sent);
            match answer.status {
                StatusCode::OK => {
                    passed += 1;
                    // Calls without a pause would take the processor from what is measured.
                    clock::pause(CALL_EVERY).await;
                }
                _ if is_revoked(&answer) => return Ok((took, passed)),
                _ => return Err(answer.seen()),
            }
        }
    };
    clock::within(WAIT_MAX, "a refusal", refused).await?
}

fn is_revoked(answer: &Answered) -> bool {
    answer.status == StatusCode::UNAUTHORIZED
        && answer.text("error") == "invalid_token"
        && answer.text("rule") == "token-revoked"
}

fn stream_ended(seen: &Seen, stream: &Following) -> Result<Proven<()>, String> {
    let (answered, cut) = (seen.answered.clone()?, seen.cut.clone()?);
    let said = seen.acknowledged.clone()?;
    let said = said.iter().map(|(name, took)| format!("`{name}` after {}", shown(*took)));
    let said = said.collect::<Vec<_>>().join(", ");
    let proof = format!(
        "broken off after {} lines, {} after the revoke request was sent (answered after {}; \
         acknowledged by {said})",
        stream.lines(),
        shown(cut),
        shown(answered)
    );
    let story = format!(
        "The server answers after {}, and each enforcement point acknowledges: {said}. The stream of \
         the revoked instance breaks off after {}, counted at its reader from the moment the request \
         was sent.",
        shown(answered),
        shown(cut)
    );
    Ok(Proven::new((), proof).story(story).took(cut))
}

async fn calls_ended(seen: &Seen, stage: &Stage) -> Result<Proven<()>, String> {
    let (took, passed) = seen.refused.clone()?;
    let answer = stage.caller.call(Method::GET, "/customers", &stage.tokens.planner).await?;
    if !is_revoked(&answer) {
        return Err(format!("after a first refusal, {}", answer.seen()));
    }
    let planner = &stage.cast.planner.agent;
    planner.forget(&stage.tokens.planner);
    let refusal = refusal_of(planner, "crm:read crm:update").await?;
    let proof = format!(
        "first 401 token-revoked {} after the revoke request was sent; the server says {}",
        shown(took),
        refusal.error()
    );
    let story = format!(
        "It calls on and on meanwhile: {passed} calls pass, and after {} the first is refused: \
         {}. Hint: {}. It asks for a new token: {}: {}.",
        shown(took),
        answer.text("error_description"),
        answer.text("hint"),
        refusal.error(),
        refusal.description()
    );
    Ok(Proven::new((), proof).story(story).took(took))
}

async fn spared(stage: &Stage, sibling: &Following) -> Result<Proven<()>, String> {
    let before = sibling.lines();
    let came = || sibling.lines() >= before + LINES_SEEN || !sibling.goes_on();
    clock::until(WAIT_MAX, "the sibling's next lines", came).await?;
    let after = sibling.lines() - before;
    if !sibling.goes_on() {
        return Err(format!("the sibling's stream ended too, after {after} more lines"));
    }
    let answer = stage.caller.call(Method::GET, "/customers", &stage.tokens.sibling).await?;
    if answer.status != StatusCode::OK {
        return Err(answer.seen());
    }
    let proof = format!(
        "{after} more lines of its stream after the other's broke off, and its next call is answered 200"
    );
    let story =
        format!("The other instance's stream has had {after} more lines since then and goes on.");
    Ok(Proven::new((), proof).story(story))
}

/// That the lists which TLS libraries read have the one certificate and not the other. Somebody asked
/// for them before, so that they are made anew a few seconds later.
async fn listed(
    stage: &Stage,
    certificates: Result<[Certificate; 2], String>,
    sent: Instant,
) -> Result<Proven<()>, String> {
    let [ended, other] = certificates?;
    let says_so = async {
        loop {
            let listed = stage.office.listed().await?;
            if listed.contains(ended.serial()) {
                return Ok::<_, String>(listed);
            }
            clock::pause(LIST_EVERY).await;
        }
    };
    let listed = clock::within(WAIT_MAX, "a list with its certificate", says_so).await??;
    let took = clock::now().duration_since(sent);
    if listed.contains(other.serial()) {
        return Err("its sibling's certificate is on a list as well".to_owned());
    }
    let proof = format!(
        "of two certificates the list (RFC 5280) has one, {} after the revoke request was sent",
        shown(took)
    );
    let story = "Both instances had certificates (X.509-SVID). The list that OpenSSL, nginx and HAProxy \
                 read has that of the revoked one.";
    Ok(Proven::new((), proof).story(story).took(took))
}
