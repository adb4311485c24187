//! RFC 7517 section 5, RFC 7591 section 2 (`jwks_uri`): an agent's keys, followed at its URL.
//!
//! Keys of the set become credentials of the agent, as if somebody had registered them: a key that
//! is or was another's is refused, and so is one of its own that was revoked. A key that has left
//! the set ends after an overlap; one that stays lives on. Where the set cannot be had, or holds
//! nothing that can be used, the keys that there are stay until they expire, and that is told once.
//! To end a key at once it is revoked, not taken out of the set.
//!
//! Sets are fetched by a job, and once more where an assertion names a key that is not known, at
//! most once a minute for each agent: nobody can make us send more than that. Absent on purpose:
//! `jku` and `x5u` in an assertion. The one who asks does not say where the keys are.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use accredit_wire::ids::AgentId;
use accredit_wire::jose::jwk::{Jwk, JwkSet};
use accredit_wire::time::Time;
use futures_util::future::join_all;
use serde::Serialize;

use super::commit;
use super::credential::{
    CREDENTIAL_LIFETIME_DEFAULT_SECONDS, Credential, Holder, KID_BYTES_MAX, Proof, described,
    new_key,
};
use super::credential_use::UseName;
use super::rotation::OVERLAP_DEFAULT_SECONDS;
use crate::audit::event::{Body, Event, EventKind};
use crate::context::{Caller, Cx};
use crate::ports::{CommitError, Row};
use crate::refusal::{Fault, Refusal};

/// Keys of one set.
pub const FOLLOWED_KEYS_MAX: usize = 16;
/// Live keys of one agent that came from its URL, those in their overlap too: so many may be
/// registered in the time of an overlap.
pub const FOLLOWED_LIVE_MAX: usize = 32;
/// Agents whose sets are fetched at the same time, in one organization.
pub const FETCHES_AT_A_TIME_MAX: usize = 8;
/// Sets that one turn of the job fetches, in each organization; the next one goes on.
pub const FETCHES_IN_TURN_MAX: usize = 400;
/// The time between two fetches of a set.
pub const FETCH_EVERY: Duration = Duration::from_hours(1);
/// The time until a set that could not be had is tried again.
pub const RETRY_AFTER: Duration = Duration::from_mins(10);
/// The time between two fetches because an assertion named an unknown key.
pub const ASKED_FOR_EVERY: Duration = Duration::from_mins(1);
/// Agents of which it is remembered when their set was last asked for so.
pub const ASKED_FOR_AGENTS_MAX: usize = 10_000;
/// Characters of the reason why a set could not be had.
const FAILURE_CHARS_MAX: usize = 300;

/// An agent's URL, and how it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Followed {
    /// Whose.
    pub agent: AgentId,
    /// Where the set is.
    pub url: String,
    /// When it is fetched next.
    pub due_at: Time,
    /// When it was last had.
    pub fetched_at: Option<Time>,
    /// Since when it cannot be had, or not be used whole.
    pub failing_since: Option<Time>,
    /// Why.
    pub failure: Option<String>,
    /// The version of the agent's row as it was seen; what comes of a fetch is written where the
    /// agent is still so ([`Row::StillFollows`]).
    pub agent_version: i64,
}

/// Where an agent's keys are followed, as the agent shows it.
#[derive(Clone, Debug, Default, Serialize, utoipa::ToSchema)]
pub struct FollowedView {
    /// The URL of a JWK set whose keys are its credentials.
    pub jwks_url: Option<String>,
    /// When the set was last had.
    #[schema(value_type = Option<String>)]
    pub jwks_fetched_at: Option<Time>,
    /// Since when it cannot be had, or not be used whole; the keys that there are stay until they
    /// expire.
    #[schema(value_type = Option<String>)]
    pub jwks_failing_since: Option<Time>,
    /// Why.
    pub jwks_failure: Option<String>,
}

impl Followed {
    /// A URL that was set just now.
    pub fn new(agent: AgentId, url: String, now: Time) -> Self {
        let (fetched_at, failing_since, failure) = (None, None, None);
        Self { agent, url, due_at: now, fetched_at, failing_since, failure, agent_version: 0 }
    }
}

/// Checks a URL that somebody asks to be followed; empty for none.
pub(super) fn url(cx: &Cx, asked: &str) -> Result<Option<String>, Refusal> {
    if asked.is_empty() {
        return Ok(None);
    }
    cx.world.outbound.check(asked).map_err(|error| {
        let hint = "give the https URL of a JWK set on the public internet";
        Refusal::field("jwks_url", error, hint)
    })?;
    Ok(Some(asked.to_owned()))
}

/// The rows by which an agent follows this URL from now on, or none: what came from another ends
/// after the overlap.
pub(super) async fn turn(cx: &Cx, agent: AgentId, to: Option<&str>) -> Result<Vec<Row>, Fault> {
    let held = cx.world.store.followed_keys(cx.tenant.id, agent, cx.now, FOLLOWED_LIVE_MAX).await?;
    let mut rows: Vec<Row> =
        held.into_iter().filter_map(|key| ending(key, cx.now)).map(Row::Credential).collect();
    rows.push(match to {
        Some(url) => Row::Follow(Box::new(Followed::new(agent, url.to_owned(), cx.now))),
        None => Row::Unfollow(agent),
    });
    Ok(rows)
}

/// A key that has left the set, with the end of its overlap; nothing where it ends before.
fn ending(key: Credential, now: Time) -> Option<Credential> {
    let end = now.plus(Duration::from_secs(OVERLAP_DEFAULT_SECONDS));
    (key.expires_at > end).then_some(Credential { expires_at: end, ..key })
}

/// A key that stays, with a new end; nothing where it has still half of its life, or where somebody
/// has rotated it: then it ends as they said.
fn renewed(key: &Credential, now: Time) -> Option<Credential> {
    let life = Duration::from_secs(CREDENTIAL_LIFETIME_DEFAULT_SECONDS);
    let is_old = key.expires_at < now.plus(life / 2);
    let stays = is_old && key.successor.is_none();
    stays.then(|| Credential { expires_at: now.plus(life), ..key.clone() })
}

/// The keys of a set, or why it is none that can be used.
fn keys_in(text: &[u8]) -> Result<Vec<Jwk>, String> {
    let set = JwkSet::parse(text).map_err(|error| format!("the key set: {error}"))?;
    if set.keys().is_empty() {
        return Err("the key set has no key that can be used: P-256 or Ed25519".to_owned());
    }
    if set.keys().len() > FOLLOWED_KEYS_MAX {
        return Err(format!("the key set has more than {FOLLOWED_KEYS_MAX} keys"));
    }
    if set.keys().iter().any(|key| key.kid.len() > KID_BYTES_MAX) {
        return Err(format!("the key set: a `kid` is longer than {KID_BYTES_MAX} bytes"));
    }
    let keys = set.keys().iter().map(|key| Jwk::new(key.key.clone(), Some(key.kid.clone())));
    keys.collect::<Result<_, _>>().map_err(|error| format!("the key set: {error}"))
}

/// Fetches an agent's set and follows it. Whether it could be had; false where that is under way.
pub async fn refresh(cx: &Cx, followed: Followed) -> Result<bool, Fault> {
    let Some(_under_way) = cx.tenant.follows.begin(followed.agent) else { return Ok(false) };
    let fetched = cx.world.outbound.fetch_jwks(&followed.url).await;
    let outcome = match fetched.and_then(|text| keys_in(&text)) {
        Ok(keys) => follow(cx, followed, &keys).await,
        Err(why) => failed(cx, followed, why).await.map(|()| false),
    };
    let was_had = match outcome {
        Ok(was_had) => was_had,
        // A fetch takes seconds. Somebody changed one of the keys, the agent or its URL meanwhile,
        // and what an agent no longer follows says nothing about it: the next turn sees it.
        Err(CommitError::Stale | CommitError::Taken(_) | CommitError::Reached(_)) => {
            return Ok(false);
        }
        Err(CommitError::Fault(fault)) => return Err(fault),
    };
    cx.tenant.follows.count(was_had);
    Ok(was_had)
}

/// Fetches the sets that are due, a few at a time, until none is. Returns how many it was.
pub async fn tick(cx: &Cx, _turn: Turn<'_>) -> Result<usize, Fault> {
    let mut fetched = 0;
    loop {
        let due = cx.world.store.followed_due(cx.tenant.id, cx.now, FETCHES_AT_A_TIME_MAX).await?;
        let (count, before) = (due.len(), fetched);
        let turns = due.into_iter().map(|followed| refresh(cx, followed));
        for turn in join_all(turns).await {
            turn?;
            fetched += 1;
        }
        // Each has got another due time, unless it is fetched for an assertion just now or its agent
        // has changed meanwhile.
        if count < FETCHES_AT_A_TIME_MAX || fetched == before || fetched >= FETCHES_IN_TURN_MAX {
            return Ok(fetched);
        }
    }
}

/// Commits what came of a fetch, where the agent is as it was seen and follows the same URL.
async fn commit_fetched(
    cx: &Cx,
    followed: &Followed,
    mut rows: Vec<Row>,
    event: Event,
) -> Result<(), CommitError> {
    rows.insert(0, Row::StillFollows(Box::new(followed.clone())));
    commit(cx, rows, None, event).await.map(drop)
}

/// The set could not be had: told where that is new.
async fn failed(cx: &Cx, followed: Followed, why: String) -> Result<(), CommitError> {
    let why: String = why.chars().take(FAILURE_CHARS_MAX).collect();
    let is_new = followed.failing_since.is_none();
    let due_at = cx.now.plus(RETRY_AFTER);
    let failing_since = followed.failing_since.or(Some(cx.now));
    let failure = Some(why.clone());
    let followed = Followed { due_at, failing_since, failure, ..followed };
    if !is_new {
        return Ok(cx.world.store.note_followed(cx.tenant.id, followed).await?);
    }
    let body = Body { agent: Some(followed.agent), reason: Some(why), ..Body::default() };
    let event = cx.event(EventKind::AgentJwksFailing, body);
    commit_fetched(cx, &followed, vec![Row::Follow(Box::new(followed.clone()))], event).await
}

/// Makes the agent's keys those of the set.
async fn follow(cx: &Cx, followed: Followed, keys: &[Jwk]) -> Result<bool, CommitError> {
    let (org, agent) = (cx.tenant.id, followed.agent);
    let held = cx.world.store.followed_keys(org, agent, cx.now, FOLLOWED_LIVE_MAX).await?;
    let mut live = held.len();
    let of = |thumbprint: &str| held.iter().find(|key| thumbprint_of(key) == thumbprint);
    let mut refused = 0;
    for key in keys.iter().filter(|key| of(&key.thumbprint()).is_none()) {
        if live >= FOLLOWED_LIVE_MAX || !add(cx, &followed, key).await? {
            refused += 1;
        } else {
            live += 1;
        }
    }
    let is_there = |key: &&Credential| keys.iter().any(|it| it.thumbprint() == thumbprint_of(key));
    let gone = held.iter().filter(|key| !is_there(key)).cloned();
    let gone: Vec<Credential> = gone.filter_map(|key| ending(key, cx.now)).collect();
    let stay = held.iter().filter(is_there).filter_map(|key| renewed(key, cx.now));
    let stay: Vec<Credential> = stay.collect();
    if refused > 0 {
        let why = format!(
            "{refused} keys of the set were not taken: they are or were registered, or are too \
             many"
        );
        turned(cx, &followed, (gone, stay), false).await?;
        failed(cx, Followed { fetched_at: Some(cx.now), ..followed }, why).await?;
        return Ok(true);
    }
    let has_recovered = followed.failing_since.is_some();
    let (due_at, fetched_at) = (cx.now.plus(FETCH_EVERY), Some(cx.now));
    let followed = Followed { due_at, fetched_at, failing_since: None, failure: None, ..followed };
    if !turned(cx, &followed, (gone, stay), has_recovered).await? {
        cx.world.store.note_followed(org, followed).await?;
    }
    Ok(true)
}

fn thumbprint_of(key: &Credential) -> String {
    match &key.proof {
        Proof::Key(jwk) => jwk.thumbprint(),
        Proof::Secret { .. } | Proof::Workload(_) | Proof::Process(_) | Proof::Join { .. } => {
            String::new()
        }
    }
}

/// Registers a key of the set; false where it is or was registered.
async fn add(cx: &Cx, followed: &Followed, key: &Jwk) -> Result<bool, CommitError> {
    let expires_at = cx.now.plus(Duration::from_secs(CREDENTIAL_LIFETIME_DEFAULT_SECONDS));
    let holder = (Holder::Agent(followed.agent), UseName::DEFAULT);
    let made = Credential { followed: true, ..new_key(cx, holder, key.clone(), expires_at) };
    let event = cx.event(EventKind::CredentialCreated, described(&made));
    match commit_fetched(cx, followed, vec![Row::Credential(made)], event).await {
        Ok(()) => Ok(true),
        Err(CommitError::Taken(_) | CommitError::Reached(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Commits what has left the set, what lives on, and that the set can be had again; false where
/// there is nothing of it.
async fn turned(
    cx: &Cx,
    followed: &Followed,
    (gone, stay): (Vec<Credential>, Vec<Credential>),
    has_recovered: bool,
) -> Result<bool, CommitError> {
    if gone.is_empty() && stay.is_empty() && !has_recovered {
        return Ok(false);
    }
    let ids = |keys: &[Credential]| {
        keys.iter().map(|key| key.id.to_string()).collect::<Vec<_>>().join(" ")
    };
    let mut body = Body { agent: Some(followed.agent), ..Body::default() };
    if let Some(first) = gone.first() {
        body.changes.insert("ending".into(), ids(&gone));
        body.changes.insert("ending_until".into(), first.expires_at.to_string());
    }
    if !stay.is_empty() {
        body.changes.insert("renewed".into(), ids(&stay));
    }
    if has_recovered {
        body.changes.insert("recovered".into(), "true".to_owned());
    }
    let event = cx.event(EventKind::AgentJwksFollowed, body);
    let mut rows: Vec<Row> = gone.into_iter().chain(stay).map(Row::Credential).collect();
    rows.push(Row::Follow(Box::new(followed.clone())));
    commit_fetched(cx, followed, rows, event).await?;
    Ok(true)
}

/// Fetches an agent's set because an assertion names a key that is not known; whether it was
/// fetched. At most once a minute for each agent, and a few at a time.
pub(crate) async fn asked_for(cx: &Cx, agent: AgentId) -> Result<bool, Fault> {
    if !cx.tenant.follows.may_ask(agent, cx.now) {
        return Ok(false);
    }
    match cx.world.store.followed(cx.tenant.id, agent).await? {
        Some(followed) => refresh(&Cx { caller: Caller::System, ..cx.clone() }, followed).await,
        None => Ok(false),
    }
}

/// What is remembered of fetches, and counted.
#[derive(Default)]
pub struct Follows {
    remembered: Mutex<Remembered>,
    /// Whether a turn of the job is under way.
    turn: AtomicBool,
    had: AtomicU64,
    failed: AtomicU64,
}

#[derive(Default)]
struct Remembered {
    /// When assertions last asked for an agent's set.
    asked: HashMap<AgentId, Time>,
    /// Whose sets are being fetched.
    under_way: HashSet<AgentId>,
}

/// An agent's set is being fetched.
struct UnderWay<'f>(&'f Follows, AgentId);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.lock().under_way.remove(&self.1);
    }
}

/// A turn of the job is under way in an organization.
pub struct Turn<'f>(&'f Follows);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.turn.store(false, Ordering::Release);
    }
}

impl Follows {
    /// Begins a turn of the job, where none is under way.
    pub fn turn(&self) -> Option<Turn<'_>> {
        (!self.turn.swap(true, Ordering::Acquire)).then(|| Turn(self))
    }

    fn lock(&self) -> MutexGuard<'_, Remembered> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a fetch, where none for this agent is under way.
    fn begin(&self, agent: AgentId) -> Option<UnderWay<'_>> {
        let is_first = self.lock().under_way.insert(agent);
        // Not made before it is known: where it is dropped, it ends the fetch that is under way.
        is_first.then(|| UnderWay(self, agent))
    }

    /// Whether an assertion may ask for this agent's set: within the last minute none did, and few
    /// are being fetched.
    fn may_ask(&self, agent: AgentId, now: Time) -> bool {
        let is_lately = |at: &Time| *at <= now && at.plus(ASKED_FOR_EVERY) > now;
        let mut remembered = self.lock();
        if remembered.asked.get(&agent).is_some_and(is_lately)
            || remembered.under_way.len() >= FETCHES_AT_A_TIME_MAX
        {
            return false;
        }
        if remembered.asked.len() >= ASKED_FOR_AGENTS_MAX {
            remembered.asked.retain(|_, at| is_lately(at));
            if remembered.asked.len() >= ASKED_FOR_AGENTS_MAX {
                return false;
            }
        }
        remembered.asked.insert(agent, now);
        true
    }

    fn count(&self, was_had: bool) {
        if was_had { &self.had } else { &self.failed }.fetch_add(1, Ordering::Relaxed);
    }

    /// How many sets were had since the start, and how many not.
    pub fn counted(&self) -> (u64, u64) {
        (self.had.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent(n: u64) -> AgentId {
        AgentId::new(n, [1; 10])
    }

    #[test]
    fn assertions_ask_for_a_set_once_a_minute_and_for_few_at_a_time() {
        let (follows, now) = (Follows::default(), Time::from_seconds(1000));
        assert!(follows.may_ask(agent(1), now));
        let soon = now.plus(Duration::from_secs(59));
        assert!(!follows.may_ask(agent(1), soon) && follows.may_ask(agent(2), soon));
        assert!(follows.may_ask(agent(1), now.plus(ASKED_FOR_EVERY)));
        assert!(follows.may_ask(agent(2), now), "a clock that was set back silences nobody");
        let one = follows.begin(agent(1));
        assert!(one.is_some() && follows.begin(agent(1)).is_none());
        let others: Vec<_> =
            (2..=FETCHES_AT_A_TIME_MAX as u64).map(|n| follows.begin(agent(n))).collect();
        assert!(!follows.may_ask(agent(100), now));
        drop((one, others));
        assert!(follows.may_ask(agent(100), now) && follows.begin(agent(1)).is_some());
    }

    #[test]
    fn a_flood_of_agents_does_not_grow_memory() {
        let (follows, now) = (Follows::default(), Time::from_seconds(1000));
        for n in 0..(ASKED_FOR_AGENTS_MAX as u64 + 100) {
            follows.may_ask(agent(n), now);
        }
        assert_eq!(follows.lock().asked.len(), ASKED_FOR_AGENTS_MAX);
        assert!(follows.may_ask(agent(1 << 40), now.plus(ASKED_FOR_EVERY)));
    }
}
