//! A credential and the signing key are rotated while somebody works with them, and not one call
//! fails.
//!
//! The worker knows nothing of it: for each call it gets a token and calls the resource, over and
//! over. Absent on purpose: a second try. What fails once has failed.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use accredit::AccessToken;
use accredit_wire::jose::jws::Unverified;
use http::{Method, StatusCode};

use super::{Stage, refusal_of};
use crate::commands::demo::clock;
use crate::commands::demo::registration::Held;
use crate::commands::demo::report::{Promise, Proven, ScoreCard, shown};
use crate::errors::Failure;

/// How long the old credential works beside the new one. A second is the least; both have to be
/// seen working within it, also where the machine is busy.
const OVERLAP: Duration = Duration::from_secs(3);
/// How long after the end of the overlap the old one is tried.
const OVERLAP_MARGIN: Duration = Duration::from_millis(100);
/// The resource may ask for keys that it does not know every two seconds, where no feed tells of them.
const KEYS_INTERVAL: Duration = Duration::from_millis(2100);
/// How many calls show that something works.
const CALLS_SEEN: usize = 10;
/// How long between two calls: without a pause they would take the processor from what is measured.
const CALL_EVERY: Duration = Duration::from_millis(5);
/// How long so many calls may take before it counts as not held.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// Returns the credential that the agent holds afterwards.
pub(super) async fn tell(stage: &mut Stage, card: &mut ScoreCard) -> Result<Option<Held>, Failure> {
    card.chapter("A credential and a signing key rotate under way")?;
    let old = match stage.office.credential("reporter").await {
        Ok(old) => old,
        Err(seen) => {
            card.prove::<()>(Promise::RotatesCredentials, async { Err(seen) }).await?;
            return Ok(None);
        }
    };
    card.tell(
        "`reporter` gets a token, calls GET /customers with it, and begins again, without an end.",
    )?;
    let work = Work::by(old.clone());
    let began = clock::now();
    let steps = async {
        let seen = steps(stage, &work, &old).await;
        work.stop();
        seen
    };
    let (seen, ()) = tokio::join!(steps, work.go_on(stage));
    let took = clock::now().duration_since(began);
    let rotated = async { credential_rotated(&seen, &old) };
    let held = card.prove(Promise::RotatesCredentials, rotated).await?;
    let followed = async { keys_followed(&seen) };
    let followed = card.prove(Promise::RotatesKeys, followed).await?;
    let none_failed = async { none_failed(&seen, &work, took) };
    card.prove(Promise::LosesNoCall, none_failed).await?;
    if held.is_some() {
        stage.event_types.push("credential.rotated");
    }
    if followed.is_some() {
        stage.event_types.push("key.rotated");
    }
    let calls = work.calls.into_inner();
    stage.token_ids.extend(calls.into_iter().map(|call| call.token));
    Ok(held)
}

/// A call that was answered as it should be.
struct Call {
    /// The credential that its token was got with.
    credential: String,
    /// The key that signed the token.
    key: String,
    /// The token's id, as the resource read it.
    token: String,
    /// When the answer was there.
    at: Instant,
}

/// Who works all the time, and how that goes.
struct Work {
    /// What tokens are got with, in turn; nothing once it is enough.
    with: RefCell<Vec<Held>>,
    calls: RefCell<Vec<Call>>,
    failures: RefCell<Vec<String>>,
}

impl Work {
    fn by(held: Held) -> Self {
        let with = RefCell::new(vec![held]);
        Self { with, calls: RefCell::default(), failures: RefCell::default() }
    }

    fn go_on_with(&self, with: &[&Held]) {
        self.with.replace(with.iter().map(|held| (*held).clone()).collect());
    }

    fn stop(&self) {
        self.go_on_with(&[]);
    }

    async fn go_on(&self, stage: &Stage) {
        loop {
            let with = self.with.borrow().clone();
            if with.is_empty() {
                return;
            }
            for held in &with {
                match call(stage, held).await {
                    Ok(call) => self.calls.borrow_mut().push(call),
                    Err(why) => self.failures.borrow_mut().push(why),
                }
                clock::pause(CALL_EVERY).await;
            }
        }
    }

    fn count(&self, of: impl Fn(&Call) -> bool) -> usize {
        self.calls.borrow().iter().filter(|call| of(call)).count()
    }

    /// Waits until enough such calls were answered since `since`: when the first one was. Where
    /// one fails meanwhile, nobody waits.
    async fn seen(&self, since: Instant, of: impl Fn(&Call) -> bool) -> Result<Instant, String> {
        let such = |call: &Call| call.at >= since && of(call);
        let before = self.failures.borrow().len();
        let failed = || self.failures.borrow().get(before).cloned();
        let enough = || self.count(such) >= CALLS_SEEN || failed().is_some();
        clock::until(WAIT_MAX, "enough answered calls", enough).await?;
        if let Some(why) = failed() {
            return Err(format!("a call failed: {why}"));
        }
        let calls = self.calls.borrow();
        let first = calls.iter().find(|call| such(call)).map(|call| call.at);
        first.ok_or_else(|| "no call was answered".to_owned())
    }
}

/// Gets a token and calls.
async fn call(stage: &Stage, held: &Held) -> Result<Call, String> {
    let token = held.agent.token("crm:read").await.map_err(|error| error.to_string())?;
    // The next call is to ask for another.
    held.agent.forget(&token);
    let answer = stage.caller.call(Method::GET, "/customers", &token).await?;
    match (answer.status, answer.caller("token")) {
        (StatusCode::OK, Some(id)) => Ok(Call {
            credential: held.id.clone(),
            key: key_of(&token)?,
            token: id.to_owned(),
            at: clock::now(),
        }),
        _ => Err(answer.seen()),
    }
}

/// The id of the key that signed a token.
fn key_of(token: &AccessToken) -> Result<String, String> {
    let parsed = Unverified::parse(token.text().expose()).map_err(|error| error.to_string())?;
    Ok(parsed.peek_unverified_kid().ok_or("the token names no key")?.to_owned())
}

/// What was seen, each by itself, so that one thing that fails does not hide the others.
struct Seen {
    credential: Result<Succeeded, String>,
    /// How the old credential was refused when its time was over.
    ended: Result<(String, String), String>,
    keys: Result<Keys, String>,
}

/// A credential and its successor.
struct Succeeded {
    new: Held,
    until: String,
    /// When the server's answer was there: the overlap is over so long after it at the latest.
    at: Instant,
    /// From the request to the first answered call with the new one.
    took: Duration,
    /// The calls with either while both worked.
    calls: [usize; 2],
}

/// The keys that signed, one after the other.
struct Keys {
    first: String,
    /// Each later one: its id, and how long from the request to the first answered call.
    later: [(String, Duration); 2],
}

async fn steps(stage: &Stage, work: &Work, old: &Held) -> Seen {
    let began = clock::now();
    let credential = succeed(stage, work, old).await;
    let keys = rotate_keys(stage, work, began).await;
    let ended = match &credential {
        Ok(succeeded) => end(work, old, succeeded).await,
        Err(why) => Err(why.clone()),
    };
    Seen { credential, ended, keys }
}

/// Rotates the credential. The worker uses the old one, then both in turn, then the new one.
async fn succeed(stage: &Stage, work: &Work, old: &Held) -> Result<Succeeded, String> {
    let sent = clock::now();
    work.seen(sent, |call| call.credential == old.id).await?;
    let sent = clock::now();
    let (new, until) = stage.office.rotate_credential(&old.id, OVERLAP).await?;
    let at = clock::now();
    work.go_on_with(&[old, &new]);
    let first = work.seen(at, |call| call.credential == new.id).await?;
    work.seen(at, |call| call.credential == old.id).await?;
    work.go_on_with(&[&new]);
    let calls = [old, &new].map(|held| work.count(|c| c.at >= at && c.credential == held.id));
    Ok(Succeeded { until, at, took: first.duration_since(sent), calls, new })
}

/// Rotates the signing key twice: to a key that the resource has known since it started, and to
/// one that it has never heard of.
async fn rotate_keys(stage: &Stage, work: &Work, began: Instant) -> Result<Keys, String> {
    let first = key_of(&stage.tokens.sibling)?;
    let known = rotate_key(stage, work).await?;
    // Until now, the resource may have asked for keys a moment ago.
    clock::pause(KEYS_INTERVAL.saturating_sub(clock::now().duration_since(began))).await;
    let unknown = rotate_key(stage, work).await?;
    if first == known.0 || first == unknown.0 || known.0 == unknown.0 {
        return Err(format!("`{first}`, `{}` and `{}` are not three keys", known.0, unknown.0));
    }
    let answer = stage.caller.call(Method::GET, "/customers", &stage.tokens.sibling).await?;
    if answer.status != StatusCode::OK {
        return Err(format!("a token of the first key: {}", answer.seen()));
    }
    Ok(Keys { first, later: [known, unknown] })
}

async fn rotate_key(stage: &Stage, work: &Work) -> Result<(String, Duration), String> {
    let sent = clock::now();
    let key = stage.office.rotate_signing_key().await?;
    let first = work.seen(sent, |call| call.key == key).await?;
    Ok((key, first.duration_since(sent)))
}

/// Waits for the end of the overlap and tries the old credential.
async fn end(work: &Work, old: &Held, succeeded: &Succeeded) -> Result<(String, String), String> {
    let over = succeeded.at + OVERLAP + OVERLAP_MARGIN;
    clock::pause(over.saturating_duration_since(clock::now())).await;
    let refusal = refusal_of(&old.agent, "crm:read").await?;
    if refusal.rule() != Some("credential-expired") {
        return Err(format!("the old credential was refused otherwise: {refusal}"));
    }
    work.seen(clock::now(), |call| call.credential == succeeded.new.id).await?;
    Ok((refusal.error().to_string(), refusal.description().to_owned()))
}

fn credential_rotated(seen: &Seen, old: &Held) -> Result<Proven<Held>, String> {
    let succeeded = seen.credential.as_ref().map_err(Clone::clone)?;
    let (error, description) = seen.ended.as_ref().map_err(Clone::clone)?;
    let [with_old, with_new] = succeeded.calls;
    let proof = format!(
        "first call with the new one answered {} after the request to rotate; {with_old} calls \
         with the old one and {with_new} with the new one while both worked; after {} s the old \
         one is refused, {error}",
        shown(succeeded.took),
        OVERLAP.as_secs()
    );
    let story = format!(
        "Its credential {} is rotated: {} takes its place, and until {} both work. Then the old \
         one ends by itself: {error}: {description}.",
        old.id, succeeded.new.id, succeeded.until
    );
    Ok(Proven::new(succeeded.new.clone(), proof).story(story).took(succeeded.took))
}

fn keys_followed(seen: &Seen) -> Result<Proven<()>, String> {
    let keys = seen.keys.as_ref().map_err(Clone::clone)?;
    let [(known, known_took), (new, new_took)] = &keys.later;
    let proof = format!(
        "tokens of the next key were answered 200 {} after the request to rotate, those of a key \
         made after the resource had started {} after, and one of the first key still is",
        shown(*known_took),
        shown(*new_took)
    );
    let story = format!(
        "The key that signs tokens is rotated at once, from {} to {known}, and again, to {new}, \
         which was made after the resource had started. The resource answers tokens of all three; \
         the first of the last key {} after the request to rotate.",
        keys.first,
        shown(*new_took)
    );
    Ok(Proven::new((), proof).story(story).took(*new_took))
}

fn none_failed(seen: &Seen, work: &Work, took: Duration) -> Result<Proven<()>, String> {
    let (calls, failures) = (work.calls.borrow().len(), work.failures.borrow());
    if let Some(first) = failures.first() {
        let all = calls + failures.len();
        return Err(format!("{} of {all} calls failed, the first: {first}", failures.len()));
    }
    if seen.ended.is_err() || seen.keys.is_err() {
        return Err(format!("{calls} calls were made, but not everything was rotated"));
    }
    let proof = format!(
        "{calls} calls, each with a new token, 0 failed: with the old credential, with both, with \
         the new one, and under three signing keys"
    );
    let story = format!("All the while `reporter` worked: {calls} calls, and not one failed.");
    Ok(Proven::new((), proof).story(story).took(took))
}
