//! Person: a human who owns, approves, administers, audits, or for whom an agent works.

use accredit_wire::authority::Authority;
use accredit_wire::ids::PersonId;
use accredit_wire::time::Time;
use serde::{Deserialize, Serialize};

use super::{
    Listed, STATES, State, commit, commit_created, decide, find_person, known_state, text, turn,
};
use crate::audit::changes;
use crate::audit::event::{Body, EventKind};
use crate::context::Cx;
use crate::ports::{Lookup, Page, Row};
use crate::refusal::{Error, Fault, Refusal};
use crate::registry::credential::AdminPermission;

/// Bytes of an e-mail address (RFC 5321 section 4.5.3.1.3).
pub const EMAIL_BYTES_MAX: usize = 254;

/// A human.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Person {
    /// Its id, `usr_`.
    #[schema(value_type = String)]
    pub id: PersonId,
    /// The e-mail address, unique in the organization, in lower case; nothing where an external
    /// issuer's user was made known by a token.
    pub email: Option<String>,
    /// What people call them.
    pub name: Option<String>,
    /// Suspended: nothing they own is issued anything, and nothing in their name.
    pub state: State,
    /// What they may do by grant. What rules of a federation give depends on their tokens.
    #[schema(value_type = Vec<Object>)]
    pub permissions: Authority,
    /// When it was created.
    #[schema(value_type = String)]
    pub created_at: Time,
    /// The row's version.
    #[serde(skip)]
    pub version: i64,
}

/// A new person.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreatePerson {
    /// The e-mail address.
    pub email: String,
    /// What people call them.
    pub name: Option<String>,
}

/// What may be changed.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdatePerson {
    /// What people call them.
    pub name: String,
}

/// Checks an e-mail address as far as we rely on it, and lowers its case.
pub(crate) fn email(field: &str, value: &str) -> Result<String, Refusal> {
    let wrong = |why: &str| Refusal::field(field, why, "write it as `mia@example.com`");
    let value = value.trim();
    let (local, domain) = value.split_once('@').ok_or_else(|| wrong("is no e-mail address"))?;
    let plain = value.bytes().all(|b| b.is_ascii_graphic() && !b"<>()[]\\,;:\"".contains(&b));
    if value.len() > EMAIL_BYTES_MAX || local.is_empty() || domain.is_empty() || !plain {
        return Err(wrong("is no e-mail address"));
    }
    if domain.contains('@') {
        return Err(wrong("has two `@`"));
    }
    Ok(value.to_ascii_lowercase())
}

/// A person that is not stored yet.
pub(crate) fn new(cx: &Cx, email: Option<String>, name: Option<String>) -> Person {
    let (millis, random) = cx.seed();
    Person {
        id: PersonId::new(millis, random),
        email,
        name,
        state: State::Active,
        permissions: Authority::none(),
        created_at: cx.now,
        version: 0,
    }
}

/// What an event says about a new person.
pub(crate) fn described(person: &Person) -> Result<Body, Fault> {
    let (target, name) = (Some(person.id.any()), person.email.clone());
    let mut body = Body { name, target, ..Body::default() };
    body.changes = changes::made(person, &body)?;
    Ok(body)
}

/// Registers a person.
pub async fn create(cx: &Cx, asked: &CreatePerson) -> Result<Person, Error> {
    cx.require(AdminPermission::Registry)?;
    let address = email("email", &asked.email)?;
    let name = asked.name.as_deref().map(|name| text("name", name)).transpose()?;
    decide(|| async {
        let mut person = new(cx, Some(address.clone()), name.clone());
        let event = cx.event(EventKind::PersonCreated, described(&person)?);
        commit_created(cx, vec![Row::Person(person.clone())], event, &person).await?;
        person.version = 1;
        Ok(person)
    })
    .await
}

/// Persons of the organization.
pub async fn list(cx: &Cx, page: Page) -> Result<Listed<Person>, Error> {
    cx.require(AdminPermission::Read)?;
    known_state(&page, &STATES)?;
    let prefix = page.prefix.map(|prefix| prefix.to_ascii_lowercase());
    let page = Page { prefix, ..page };
    Ok(cx.world.store.persons(cx.tenant.id, page).await?)
}

/// One person.
pub async fn find(cx: &Cx, key: &str) -> Result<Person, Error> {
    cx.require(AdminPermission::Read)?;
    find_person(cx, key).await
}

/// Changes what may be changed.
pub async fn update(cx: &Cx, key: &str, asked: &UpdatePerson) -> Result<Person, Error> {
    cx.require(AdminPermission::Registry)?;
    let name = text("name", &asked.name)?;
    decide(|| async {
        let mut person = find_person(cx, key).await?;
        cx.terms.expected.check(person.version)?;
        let before = person.clone();
        person.name = Some(name.clone());
        let changes = changes::made_different(&before, &person)?;
        let body = Body { target: Some(person.id.any()), changes, ..Body::default() };
        let event = cx.event(EventKind::PersonUpdated, body);
        commit(cx, vec![Row::Person(person.clone())], None, event).await?;
        person.version += 1;
        Ok(person)
    })
    .await
}

/// Suspends or activates a person. Suspending ends the live tokens of every agent they own and
/// those in whose chain they stand, and those agents are issued nothing until they have another owner or the person is active again.
pub async fn set_state(cx: &Cx, key: &str, to: State, reason: &str) -> Result<Person, Error> {
    cx.require(AdminPermission::Revoke)?;
    let reason = text("reason", reason)?;
    let kinds = [EventKind::PersonSuspended, EventKind::PersonActivated];
    decide(|| async {
        let mut person = find_person(cx, key).await?;
        cx.terms.expected.check(person.version)?;
        let (event, revocation) = turn(cx, person.id.any(), &mut person.state, to, &reason, kinds)?;
        commit(cx, vec![Row::Person(person.clone())], revocation, event).await?;
        person.version += 1;
        Ok(person)
    })
    .await
}

/// The person with this e-mail address; where there is none, one that is to be stored with what
/// names them. The flag says which.
pub(crate) async fn find_or_new(cx: &Cx, address: &str) -> Result<(Person, bool), Error> {
    let address = email("owner_email", address)?;
    let found = cx.world.store.person(cx.tenant.id, Lookup::Name(address.clone())).await?;
    Ok(match found {
        Some(person) => (person, false),
        None => (new(cx, Some(address), None), true),
    })
}
