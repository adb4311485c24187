//! The nouns: who and what there is, and how each may change.
//!
//! Every change is decided here from current rows, and committed as rows plus one event in one
//! transaction. A row that has moved on meanwhile makes the decision run again, a few times.

pub mod admin_key;
pub mod agent;
pub mod born;
pub mod credential;
pub mod credential_use;
pub(crate) mod dns_names;
pub mod durable;
pub mod environment;
pub mod ghosts;
pub mod identification;
pub mod impersonation;
pub mod instance;
pub mod jwks;
pub mod keyed;
pub mod node;
pub mod operator;
pub mod organization;
pub mod own_instance;
pub mod own_task;
pub mod permission;
pub mod person;
pub mod person_grant;
pub mod quota;
pub mod resource;
pub mod rotation;
pub mod rotation_schedule;
pub mod strip;
pub mod task;

pub use agent::Agent;
pub use credential::Credential;
pub use instance::Instance;
pub use organization::Organization;
pub use person::Person;
pub use resource::Resource;
pub use task::Task;

use std::time::Duration;

use accredit_wire::ids::{AgentId, AnyId, Kind, PersonId, ResourceId};
use accredit_wire::jose::jwt::SKEW_MAX;
use accredit_wire::time::Time;
use accredit_wire::verify::fresh::TOKEN_LIFE_MAX;
use serde::Serialize;

use crate::audit::event::{Body, Event, EventKind};
use crate::context::Cx;
use crate::ports::{Audited, Change, CommitError, Committed, Lookup, Page, Row};
use crate::refusal::{Error, Fault, Refusal, Rule};
use crate::revocation::Revocation;
use crate::terms::{KeptAnswer, Once};

/// Rows of a list page at most.
pub const PAGE_ROWS_MAX: usize = 200;
/// Rows of a list page where the caller does not say.
pub const PAGE_ROWS_DEFAULT: usize = 50;
/// Characters of a text that a person writes: a purpose, a reason, a display name.
pub const TEXT_CHARS_MAX: usize = 500;
/// How often a decision is run again because something changed under it.
pub const DECISION_TRIES_MAX: usize = 5;

/// What is taken where an answer is kept under a key already ([`CommitError::Taken`]).
pub const ANSWER_KEY: &str = "idempotency key";

/// Whether something may act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It may.
    Active,
    /// Somebody stopped it, and may let it go on.
    Suspended,
}

impl State {
    /// As stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
        }
    }

    /// From how it is stored.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Active, Self::Suspended].into_iter().find(|state| state.as_str() == text)
    }
}

/// One page of a list.
#[derive(Clone, Debug, Serialize)]
pub struct Listed<T> {
    /// The rows.
    pub items: Vec<T>,
    /// Where the next page starts, or nothing where this was the last. A page may have fewer rows
    /// than were asked for, or none, and yet a next one: as many rows were looked at as one page
    /// may.
    pub next: Option<String>,
}

impl<T> Listed<T> {
    /// A page of what is held in memory and was read whole, in any order; `key` is what it is
    /// ordered by.
    pub(crate) fn of(mut rows: Vec<T>, page: &Page, key: impl Fn(&T) -> String) -> Self {
        let backwards = page.order.is_backwards();
        rows.sort_by_cached_key(&key);
        if backwards {
            rows.reverse();
        }
        if let Some(cursor) = &page.cursor {
            rows.retain(|row| if backwards { key(row) < *cursor } else { key(row) > *cursor });
        }
        let more = rows.len() > page.limit;
        rows.truncate(page.limit);
        let next = if more { rows.last().map(key) } else { None };
        Self { items: rows, next }
    }

    /// The same page with its rows as they are shown.
    pub(crate) fn shown<V>(self, view: impl Fn(T) -> V) -> Listed<V> {
        Listed { items: self.items.into_iter().map(view).collect(), next: self.next }
    }
}

/// Refuses a filter by a state that there is not.
pub(crate) fn known_state(page: &Page, known: &[&str]) -> Result<(), Refusal> {
    match &page.state {
        Some(state) if !known.contains(&state.as_str()) => Err(Refusal::field(
            "state",
            "is none that these have",
            format!("use one of: {}", known.join(", ")),
        )),
        _ => Ok(()),
    }
}

/// The states of what has two.
pub(crate) const STATES: [&str; 2] = [State::Active.as_str(), State::Suspended.as_str()];
/// The states of what may expire.
pub(crate) const EXPIRING_STATES: [&str; 3] = ["active", "expired", "revoked"];

/// A key as written in a path or a request: an id of its kind, else a name.
pub fn lookup<I: TryFrom<AnyId>>(text: &str) -> Lookup<I> {
    match text.parse::<AnyId>().ok().and_then(|id| I::try_from(id).ok()) {
        Some(id) => Lookup::Id(id),
        None => Lookup::Name(text.to_owned()),
    }
}

/// Checks a text that a person wrote: bounded, not blank, no control characters.
pub(crate) fn text(field: &str, value: &str) -> Result<String, Refusal> {
    let trimmed = value.trim();
    if trimmed.is_empty() {
        return Err(Refusal::field(field, "is empty", "say something a colleague understands"));
    }
    if trimmed.chars().count() > TEXT_CHARS_MAX {
        return Err(Refusal::field(
            field,
            format!("is longer than {TEXT_CHARS_MAX} characters"),
            "shorten it",
        ));
    }
    if trimmed.chars().any(|c| c.is_control() || is_bidi(c)) {
        return Err(Refusal::field(
            field,
            "has control or text-direction characters",
            "write it on one line, in plain text",
        ));
    }
    Ok(trimmed.to_owned())
}

/// Characters that change the direction of the text around them and can disguise it, or end a line
/// for some readers.
fn is_bidi(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Something whose versions are told apart, so that a change can say on which one it builds.
pub trait Versioned {
    /// The version of its row, from 1.
    fn version(&self) -> i64;
}

macro_rules! versioned {
    ($($noun:ty),*) => {
        $(impl Versioned for $noun {
            fn version(&self) -> i64 {
                self.version
            }
        })*
    };
}

versioned!(
    admin_key::AdminKeyView,
    Organization,
    Person,
    Resource,
    Agent,
    instance::InstanceView,
    task::TaskView,
    credential::CredentialView
);

/// Commits rows with their event. Where the request is to be done once, what is kept of its
/// answer is the revocation that it makes, else the id of the first new row.
pub(crate) async fn commit(
    cx: &Cx,
    rows: Vec<Row>,
    revocation: Option<Revocation>,
    event: Event,
) -> Result<Committed, CommitError> {
    let kept = match (&cx.terms.once, &revocation) {
        (None, _) => None,
        (Some(once), Some(entry)) => Some(answer(once.clone(), &entry.view())?),
        (Some(once), None) => {
            let id = serde_json::json!({ "id": rows.iter().find_map(new_id) });
            Some(answer(once.clone(), &id)?)
        }
    };
    commit_keeping(cx, rows, revocation, event, kept).await
}

/// Commits what a request creates. `object` is its answer without secrets, which is kept where
/// the request is to be done once.
pub(crate) async fn commit_created<T: Serialize>(
    cx: &Cx,
    rows: Vec<Row>,
    event: Event,
    object: &T,
) -> Result<Committed, CommitError> {
    let kept = cx.terms.once.clone().map(|once| answer(once, object)).transpose()?;
    commit_keeping(cx, rows, None, event, kept).await
}

/// The row that keeps an answer.
pub(crate) fn answer<T: Serialize>(once: Once, object: &T) -> Result<Row, Fault> {
    let object =
        serde_json::to_string(object).map_err(|error| Fault::new("keep an answer", error))?;
    Ok(Row::Answer(Box::new(KeptAnswer { once, object })))
}

/// The id of a row that is new.
fn new_id(row: &Row) -> Option<AnyId> {
    match row {
        Row::Organization(row) if row.version == 0 => Some(row.id.any()),
        Row::Person(row) if row.version == 0 => Some(row.id.any()),
        Row::Resource(row) if row.version == 0 => Some(row.id.any()),
        Row::Federation(row) if row.version == 0 => Some(row.id.any()),
        Row::Agent(row) if row.version == 0 => Some(row.id.any()),
        Row::Instance(row) if row.version == 0 => Some(row.id.any()),
        Row::Task(row) if row.version == 0 => Some(row.id.any()),
        Row::Credential(row) if row.version == 0 => Some(row.id.any()),
        Row::Key(row) if row.version == 0 => Some(row.sealed.id.any()),
        _ => None,
    }
}

async fn commit_keeping(
    cx: &Cx,
    mut rows: Vec<Row>,
    revocation: Option<Revocation>,
    event: Event,
    kept: Option<Row>,
) -> Result<Committed, CommitError> {
    let leased = cx.terms.lease.map(Row::Leased);
    rows.splice(0..0, leased.into_iter().chain(kept));
    let quotas = cx.world.limits.quotas();
    let change = Change { org: cx.tenant.id, at: cx.now, rows, revocation, quotas };
    cx.world.store.commit(Audited::new(change, event)).await
}

/// Suspends or activates something: its new state, the event, and for suspending the entry that
/// ends what hangs on it. `kinds` are the events of suspending and of activating.
pub(crate) fn turn(
    cx: &Cx,
    target: AnyId,
    state: &mut State,
    to: State,
    reason: &str,
    kinds: [EventKind; 2],
) -> Result<(Event, Option<Revocation>), Refusal> {
    if *state == to {
        let noun = kinds[0].as_str().split('.').next().unwrap_or("thing");
        return Err(already(noun, to.as_str()));
    }
    *state = to;
    let body = Body {
        target: Some(target),
        reason: Some(reason.to_owned()),
        expires_at: cx.terms.ends_at.map(Time::micros),
        ..Body::default()
    };
    let [suspended, activated] = kinds;
    Ok(match to {
        State::Suspended => (cx.event(suspended, body), Some(ending(cx, target, reason))),
        State::Active => (cx.event(activated, body), None),
    })
}

/// The thing already is what it was asked to become.
pub(crate) fn already(noun: &str, state: &str) -> Refusal {
    Refusal::new(
        Rule::StateForbids,
        format!("the {noun} is already {state}"),
        "nothing needs to be done",
    )
}

/// Runs a decision until it commits on the rows it was made from.
pub(crate) async fn decide<T, F, R>(mut decision: F) -> Result<T, Error>
where
    F: FnMut() -> R,
    R: Future<Output = Result<T, DecideError>>,
{
    for _ in 0..DECISION_TRIES_MAX {
        match decision().await {
            Ok(value) => return Ok(value),
            Err(DecideError::Commit(CommitError::Stale)) => {}
            Err(DecideError::Commit(CommitError::Taken(what))) => return Err(taken(what).into()),
            Err(DecideError::Commit(CommitError::Reached(reached))) => {
                return Err(Refusal::from(reached).into());
            }
            Err(DecideError::Commit(CommitError::Fault(fault))) => return Err(fault.into()),
            Err(DecideError::Error(error)) => return Err(error),
        }
    }
    Err(Refusal::new(
        Rule::ChangedMeanwhile,
        "it kept changing while this was decided",
        "read it again, and repeat the request if it still makes sense",
    )
    .into())
}

/// Why one run of a decision did not commit.
pub(crate) enum DecideError {
    Commit(CommitError),
    Error(Error),
}

impl From<CommitError> for DecideError {
    fn from(error: CommitError) -> Self {
        Self::Commit(error)
    }
}

impl<E: Into<Error>> From<E> for DecideError {
    fn from(error: E) -> Self {
        Self::Error(error.into())
    }
}

pub(crate) fn taken(what: &str) -> Refusal {
    if what == ANSWER_KEY {
        return Refusal::new(
            Rule::IdempotencyKeyInUse,
            "a request with this idempotency key was carried out at the same time",
            "repeat the request: it is answered with what the other one made",
        );
    }
    if what == "key" {
        return Refusal::new(
            Rule::KeyTaken,
            "this public key is or was registered in this organization",
            "make a new key pair: a key identifies one holder, for ever",
        );
    }
    if what == "use" {
        return Refusal::new(
            Rule::UseTaken,
            "a secret for this use was made at the same time",
            "list what there is: `accredit credential list`",
        );
    }
    if what == "identity" {
        return Refusal::new(
            Rule::NameTaken,
            "this subject of the federation is somebody's already",
            "see whose: `accredit person list`; unlink it there first",
        );
    }
    Refusal::new(
        Rule::NameTaken,
        format!("this {what} is taken"),
        "choose another: names are never reused, also not after their holder is gone",
    )
}

/// The revocation entry that ends what hangs on `target` now; `rev` is given when it is written.
pub(crate) fn ending(cx: &Cx, target: AnyId, reason: &str) -> Revocation {
    let (millis, random) = cx.seed();
    Revocation {
        id: accredit_wire::ids::RevocationId::new(millis, random),
        target,
        rev: 0,
        reason: reason.to_owned(),
        revoked_at: cx.now,
        keep_until: cx.now.plus(keep_for()).max(cx.terms.ends_at.unwrap_or(cx.now)),
        ends_at: cx.terms.ends_at,
    }
}

/// How long an entry is kept: the longest token life plus twice the skew.
pub const fn keep_for() -> Duration {
    Duration::from_secs(TOKEN_LIFE_MAX.as_secs() + 2 * SKEW_MAX.as_secs())
}

/// No verifier accepts a token for longer than the entry that ended it is kept: at its issue the
/// clocks may differ by the skew, at its end once more.
const _: () = assert!(
    keep_for().as_secs() >= TOKEN_LIFE_MAX.as_secs() + 2 * SKEW_MAX.as_secs()
        && crate::issuance::TOKEN_LIFETIME_MAX_SECONDS as u64 <= TOKEN_LIFE_MAX.as_secs()
);

/// Checks a wish for a lifetime in seconds against a bound and turns it into an end.
pub(crate) fn ends_after(
    field: &str,
    now: Time,
    asked: Option<u64>,
    default: u64,
    max: u64,
) -> Result<Time, Refusal> {
    let seconds = asked.unwrap_or(default);
    if seconds == 0 || seconds > max {
        return Err(Refusal::field(
            field,
            format!("must be from 1 to {max} seconds"),
            "everything here expires; choose a shorter life and rotate",
        ));
    }
    Ok(now.plus(Duration::from_secs(seconds)))
}

/// Finds an agent by id or name, or says that there is none.
pub async fn find_agent(cx: &Cx, key: &str) -> Result<Agent, Error> {
    let found = cx.world.store.agent(cx.tenant.id, lookup::<AgentId>(key), cx.now).await?;
    let agent = found.ok_or_else(|| Refusal::not_found("agent", key))?;
    Ok(rotation_schedule::at(agent, cx.now))
}

/// Finds a resource by id or name, or says that there is none.
pub async fn find_resource(cx: &Cx, key: &str) -> Result<Resource, Error> {
    let found = cx.world.store.resource(cx.tenant.id, lookup::<ResourceId>(key)).await?;
    Ok(found.ok_or_else(|| Refusal::not_found("resource", key))?)
}

/// Finds a person by id or e-mail address, or says that there is none.
pub async fn find_person(cx: &Cx, key: &str) -> Result<Person, Error> {
    let found = cx.world.store.person(cx.tenant.id, lookup::<PersonId>(key)).await?;
    Ok(found.ok_or_else(|| Refusal::not_found("person", key))?)
}

/// Parses an id of one kind out of a path, or says that there is no such thing.
pub fn id<I: TryFrom<AnyId>>(kind: Kind, noun: &str, text: &str) -> Result<I, Refusal> {
    text.parse::<AnyId>()
        .ok()
        .filter(|id| id.kind() == kind)
        .and_then(|id| I::try_from(id).ok())
        .ok_or_else(|| Refusal::not_found(noun, text))
}
