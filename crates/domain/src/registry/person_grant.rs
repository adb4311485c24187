//! What a person may do by grant, and who they are at external issuers.
//!
//! A grant is a permission of the person's own, as an agent's is of the agent. Where a chain begins
//! with them, its tokens can do what both the person and the agent may. Taking a grant or an identity
//! away ends the tokens in whose chain the person stands.

use std::sync::Arc;

use accredit_wire::authority::{ActionName, Authority, Limits, Permission, ResourceName};
use serde::Deserialize;

use super::{Listed, Person, commit, decide, ending, find_person, permission};
use crate::audit::changes;
use crate::audit::event::{Body, EventKind};
use crate::context::Cx;
use crate::federation::registry::find_federation;
use crate::federation::{Identity, is_subject};
use crate::ports::{Page, Row};
use crate::refusal::{Error, Refusal, Rule};
use crate::registry::credential::AdminPermission;

/// Permissions of one person's grants. The rules of a federation may give as many: both together
/// are an Authority.
pub const GRANTED_MAX: usize = 128;
/// Identities of one person.
pub const IDENTITIES_MAX: usize = 32;
/// Permissions that one request names.
pub const ASKED_MAX: usize = 256;

/// Why tokens end.
const UNGRANTED: &str = "a grant of the person was taken away";
/// The same.
const UNLINKED: &str = "an identity of the person was taken away";

/// What is granted or taken away.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GrantPerson {
    /// What: `resource:action`, and what limits it in parentheses behind it. To take away,
    /// `resource:action` is that whatever limits it, and `resource` all there.
    pub allow: Vec<String>,
}

/// Who a person is at an external issuer.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LinkPerson {
    /// The federation, by name or id.
    pub federation: String,
    /// The external `sub`.
    pub subject: String,
}

/// What a person may do by grant, in order of the resources' names.
pub async fn list(cx: &Cx, person: &str, page: Page) -> Result<Listed<Permission>, Error> {
    cx.require(AdminPermission::Read)?;
    let person = find_person(cx, person).await?;
    let held = person.permissions.permissions().to_vec();
    let place = |held: &Permission| {
        let limits = held.limits.as_ref().map(ToString::to_string);
        format!("{}\u{1}{}", held.resource, limits.unwrap_or_default())
    };
    Ok(Listed::of(held, &page, place))
}

/// Gives a person what they may do besides what they may already.
pub async fn grant(cx: &Cx, key: &str, asked: &GrantPerson) -> Result<Person, Error> {
    cx.require(AdminPermission::Registry)?;
    bounded(&asked.allow)?;
    let given = asked.allow.iter().map(|text| text.parse::<Permission>());
    let hint = "write it as `resource:action`, and what limits it in parentheses behind it";
    let given = given.collect::<Result<Vec<_>, _>>();
    let given = given.map_err(|error| Refusal::field("allow", error, hint))?;
    let given = Authority::new(given).map_err(|error| too_much(&error))?;
    permission::known(cx, &given).await?;
    change(cx, key, EventKind::PersonGranted, |held| {
        let all = held.permissions().iter().chain(given.permissions()).cloned();
        let all = Authority::new(all).map_err(|error| too_much(&error))?;
        if all.permissions().len() > GRANTED_MAX {
            return Err(too_much(&format!("it would be more than {GRANTED_MAX} permissions")));
        }
        Ok(all)
    })
    .await
}

fn too_much(why: &dyn std::fmt::Display) -> Refusal {
    Refusal::field("allow", why, "let a federation's rules give what many persons share")
}

/// Takes away what a person may do. Ends the tokens in whose chain they stand.
pub async fn ungrant(cx: &Cx, key: &str, asked: &GrantPerson) -> Result<Person, Error> {
    cx.require(AdminPermission::Registry)?;
    bounded(&asked.allow)?;
    let taken: Vec<Taken> = asked.allow.iter().map(|text| taken(text)).collect::<Result<_, _>>()?;
    change(cx, key, EventKind::PersonUngranted, |held| {
        if let Some(absent) = taken.iter().find(|taken| !taken.is_held(held)) {
            return Err(Refusal::new(
                Rule::StateForbids,
                format!("the person was not granted `{}`", absent.text),
                "see what there is: `accredit person grants`",
            ));
        }
        let kept = held.permissions().iter().filter_map(|held| {
            let mut held = held.clone();
            let reaching: Vec<_> = taken.iter().filter(|taken| taken.reaches(&held)).collect();
            for taken in reaching {
                held.actions.retain(|held| taken.action.as_ref().is_some_and(|it| it != held));
            }
            (!held.actions.is_empty()).then_some(held)
        });
        Authority::new(kept).map_err(|error| too_much(&error))
    })
    .await
}

/// What is taken away: an action of a resource, or all of them.
struct Taken {
    text: String,
    resource: ResourceName,
    action: Option<ActionName>,
    /// Only what is limited so; whatever limits it, where nothing is said.
    limits: Option<Arc<Limits>>,
}

impl Taken {
    fn reaches(&self, held: &Permission) -> bool {
        held.resource == self.resource && (self.limits.is_none() || held.limits == self.limits)
    }

    fn is_held(&self, held: &Authority) -> bool {
        held.permissions().iter().filter(|held| self.reaches(held)).any(|held| {
            let has = |action: &ActionName| held.actions.contains(action);
            self.action.as_ref().is_none_or(has)
        })
    }
}

fn taken(text: &str) -> Result<Taken, Refusal> {
    let hint = "write it as it was granted, as `resource:action`, or `resource` for all there";
    let text = text.to_owned();
    if !text.contains(':') {
        let resource = ResourceName::new(&text);
        let resource = resource.map_err(|error| Refusal::field("allow", error, hint))?;
        return Ok(Taken { text, resource, action: None, limits: None });
    }
    let permission: Permission =
        text.parse().map_err(|error| Refusal::field("allow", error, hint))?;
    let Permission { resource, actions, limits } = permission;
    Ok(Taken { text, resource, action: actions.into_iter().next(), limits })
}

fn bounded(asked: &[String]) -> Result<(), Refusal> {
    if (1..=ASKED_MAX).contains(&asked.len()) {
        return Ok(());
    }
    let why = format!("must name 1 to {ASKED_MAX} permissions");
    Err(Refusal::field("allow", why, "ask in several requests"))
}

/// Changes what a person may do. What narrows it ends tokens.
async fn change(
    cx: &Cx,
    key: &str,
    kind: EventKind,
    turned: impl Fn(&Authority) -> Result<Authority, Refusal>,
) -> Result<Person, Error> {
    decide(|| async {
        let mut person = find_person(cx, key).await?;
        cx.terms.expected.check(person.version)?;
        let before = person.clone();
        person.permissions = turned(&before.permissions)?;
        let is_narrower = !person.permissions.covers(&before.permissions);
        let revocation = is_narrower.then(|| ending(cx, person.id.any(), UNGRANTED));
        let body = Body {
            target: Some(person.id.any()),
            changes: changes::made_different(&before, &person)?,
            ..Body::default()
        };
        let rows = vec![Row::Person(person.clone())];
        commit(cx, rows, revocation, cx.event(kind, body)).await?;
        person.version += 1;
        Ok(person)
    })
    .await
}

/// Who a person is at external issuers.
pub async fn identities(cx: &Cx, key: &str, page: Page) -> Result<Listed<Identity>, Error> {
    cx.require(AdminPermission::Read)?;
    let person = find_person(cx, key).await?;
    let found = cx.world.store.identities(cx.tenant.id, person.id, IDENTITIES_MAX).await?;
    // No subject has a control character in it.
    Ok(Listed::of(found, &page, |one| format!("{}\u{1}{}", one.subject, one.federation)))
}

/// Says who a person is at an external issuer. A subject is one person's.
pub async fn link(cx: &Cx, key: &str, asked: &LinkPerson) -> Result<Person, Error> {
    cx.require(AdminPermission::Registry)?;
    let subject = subject(asked)?;
    decide(|| async {
        let mut person = find_person(cx, key).await?;
        cx.terms.expected.check(person.version)?;
        let federation = find_federation(cx, &asked.federation).await?;
        let (org, store) = (cx.tenant.id, &cx.world.store);
        if store.identities(org, person.id, IDENTITIES_MAX).await?.len() >= IDENTITIES_MAX {
            return Err(Refusal::new(
                Rule::StateForbids,
                format!("a person has at most {IDENTITIES_MAX} identities"),
                "unlink one that is not used: `accredit person unlink`",
            )
            .into());
        }
        let identity = Identity {
            person: person.id,
            federation: federation.id,
            subject: subject.clone(),
            created_at: cx.now,
        };
        let body = Body {
            federation: Some(federation.id.any()),
            issuer: Some(federation.issuer),
            subject: Some(subject.clone()),
            target: Some(person.id.any()),
            ..Body::default()
        };
        let event = cx.event(EventKind::PersonLinked, body);
        let rows = vec![Row::Person(person.clone()), Row::Identity(Box::new(identity))];
        commit(cx, rows, None, event).await?;
        person.version += 1;
        Ok(person)
    })
    .await
}

/// Says that a person is that no more. Ends the tokens in whose chain they stand.
pub async fn unlink(cx: &Cx, key: &str, asked: &LinkPerson) -> Result<Person, Error> {
    cx.require(AdminPermission::Registry)?;
    let subject = subject(asked)?;
    decide(|| async {
        let mut person = find_person(cx, key).await?;
        cx.terms.expected.check(person.version)?;
        let federation = find_federation(cx, &asked.federation).await?;
        let (org, store) = (cx.tenant.id, &cx.world.store);
        let held = store.identities(org, person.id, IDENTITIES_MAX).await?;
        let is_it = |one: &Identity| one.federation == federation.id && one.subject == subject;
        let identity = held.into_iter().find(is_it);
        let identity = identity.ok_or_else(|| {
            Refusal::new(
                Rule::StateForbids,
                format!("the person is not `{subject}` there"),
                "see who they are: `accredit person identities`",
            )
        })?;
        let body = Body {
            federation: Some(federation.id.any()),
            issuer: Some(federation.issuer),
            subject: Some(subject.clone()),
            target: Some(person.id.any()),
            ..Body::default()
        };
        let event = cx.event(EventKind::PersonUnlinked, body);
        let revocation = ending(cx, person.id.any(), UNLINKED);
        let rows = vec![Row::Person(person.clone()), Row::EndIdentity(Box::new(identity))];
        commit(cx, rows, Some(revocation), event).await?;
        person.version += 1;
        Ok(person)
    })
    .await
}

fn subject(asked: &LinkPerson) -> Result<String, Refusal> {
    if is_subject(&asked.subject) {
        return Ok(asked.subject.clone());
    }
    Err(Refusal::field(
        "subject",
        "must be 1 to 255 bytes without control characters",
        "take it from `sub` of one of the user's tokens, byte for byte",
    ))
}
