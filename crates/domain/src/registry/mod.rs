//! The nouns: who and what there is, and how each may change.
//!
//! Every change is decided here from current rows, and committed as rows plus one event in one
//! transaction. A row that has moved on meanwhile makes the decision run again, a few times.

pub mod agent;
pub mod credential;
pub mod instance;
pub mod organization;
pub mod permission;
pub mod person;
pub mod resource;

pub use agent::Agent;
pub use credential::Credential;
pub use instance::Instance;
pub use organization::Organization;
pub use person::Person;
pub use resource::Resource;

use std::future::Future;
use std::time::Duration;

use accredit_wire::ids::{AgentId, AnyId, Kind, PersonId, ResourceId};
use accredit_wire::jose::jwt::SKEW_MAX;
use accredit_wire::time::Time;
use serde::Serialize;

use crate::audit::event::{Body, Event, EventKind};
use crate::context::Cx;
use crate::ports::{Audited, Change, CommitError, Committed, Lookup, Page, Row};
use crate::refusal::{Error, Fault, Refusal, Rule};
use crate::revocation::Revocation;

/// Rows of a list page at most.
pub const PAGE_ROWS_MAX: usize = 200;
/// Rows of a list page where the caller does not say.
pub const PAGE_ROWS_DEFAULT: usize = 50;
/// Characters of a text that a person writes: a purpose, a reason, a display name.
pub const TEXT_CHARS_MAX: usize = 500;
/// How often a decision is run again because something changed under it.
pub const DECISION_TRIES_MAX: usize = 5;

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
    /// Where the next page starts, or nothing where this was the last.
    pub next: Option<String>,
}

/// Reads one page, and one row more, to know whether there is a next one.
pub(crate) async fn listed<T, R, F>(
    mut page: Page,
    read: impl FnOnce(Page) -> F,
    cursor: impl Fn(&R) -> String,
    view: impl Fn(R) -> T,
) -> Result<Listed<T>, Error>
where
    F: Future<Output = Result<Vec<R>, Fault>>,
{
    let limit = page.limit;
    page.limit += 1;
    let mut rows = read(page).await?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = if more { rows.last().map(cursor) } else { None };
    Ok(Listed { items: rows.into_iter().map(view).collect(), next })
}

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

/// Characters that change the direction of the text around them and can disguise it.
fn is_bidi(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Commits rows with their event, and translates why not.
pub(crate) async fn commit(
    cx: &Cx,
    rows: Vec<Row>,
    revocation: Option<Revocation>,
    event: Event,
) -> Result<Committed, CommitError> {
    let change = Change { org: cx.tenant.id, at: cx.now, rows, revocation };
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
    let body = Body { target: Some(target), reason: Some(reason.to_owned()), ..Body::default() };
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

fn taken(what: &str) -> Refusal {
    if what == "key" {
        return Refusal::new(
            Rule::KeyTaken,
            "this public key is or was registered in this organization",
            "make a new key pair: a key identifies one holder, for ever",
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
        keep_until: cx.now.plus(keep_for()),
    }
}

/// How long an entry is kept: the longest token life plus twice the skew.
pub fn keep_for() -> Duration {
    Duration::from_secs(u64::from(crate::issuance::TOKEN_LIFETIME_MAX_SECONDS)) + 2 * SKEW_MAX
}

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
    let found = cx.world.store.agent(cx.tenant.id, lookup::<AgentId>(key)).await?;
    Ok(found.ok_or_else(|| Refusal::not_found("agent", key))?)
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
