//! RFC 8707: Resource, what is protected: an API, a server, a database, another agent.
//!
//! A resource has one audience URI (one token is for one audience), the actions that can be
//! allowed on it, and credentials of its own with which it introspects and follows the feed.

use std::collections::BTreeSet;

use accredit_wire::authority::{ActionName, ResourceName};
use accredit_wire::ids::{AgentId, ResourceId};
use accredit_wire::oauth::resource_indicator::{self, RESOURCE_BYTES_MAX};
use accredit_wire::time::Time;
use serde::{Deserialize, Serialize};

use super::environment::{self, Environment};
use super::{
    Listed, PAGE_ROWS_MAX, STATES, State, commit, commit_created, decide, ending, find_agent,
    find_resource, known_state, text, turn,
};
use crate::audit::changes;
use crate::audit::event::{Body, EventKind};
use crate::context::Cx;
use crate::ports::{Page, Row};
use crate::refusal::{Error, Refusal};
use crate::registry::credential::AdminPermission;

/// Actions of one resource.
pub const ACTIONS_MAX: usize = 256;
/// Resources that are looked at to tell which nobody follows for: five pages.
pub const BESIDES_LOOKED_MAX: usize = 5 * PAGE_ROWS_MAX;
/// How old a verifier's revocation state may be, seconds, where the resource does not say.
pub const REVOCATIONS_AGE_DEFAULT_SECONDS: u32 = 60;
/// The smallest age bound, seconds: three heartbeats of one second.
pub const REVOCATIONS_AGE_MIN_SECONDS: u32 = 3;
/// The largest age bound, seconds.
pub const REVOCATIONS_AGE_MAX_SECONDS: u32 = 3600;

/// What is protected.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Resource {
    /// Its id, `res_`.
    #[schema(value_type = String)]
    pub id: ResourceId,
    /// Its name, the first half of a scope: immutable, never reused.
    #[schema(value_type = String)]
    pub name: ResourceName,
    /// The `aud` of its tokens: an absolute URI without a fragment.
    pub audience: String,
    /// What may be allowed on it, the second half of a scope.
    #[schema(value_type = Vec<String>)]
    pub actions: BTreeSet<ActionName>,
    /// Where it runs: immutable. Agents of other environments do not reach it unless a permission
    /// says so.
    pub environment: Environment,
    /// The agent that serves it, where it is one: that may exchange the tokens that are sent to it.
    #[schema(value_type = Option<String>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentId>,
    /// Suspended: no tokens for it.
    pub state: State,
    /// How old its verifiers' revocation state may be, seconds.
    pub revocations_age_max: u32,
    /// Whether there are tokens for it only that are bound to a key (RFC 9449).
    pub bound_only: bool,
    /// Whether its tokens name a status list, from which it reads that one was revoked.
    pub status_list: bool,
    /// When it was created.
    #[schema(value_type = String)]
    pub created_at: Time,
    /// The row's version.
    #[serde(skip)]
    pub version: i64,
}

/// A new resource.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateResource {
    /// Its name.
    pub name: String,
    /// The `aud` of its tokens.
    pub audience: String,
    /// What may be allowed on it.
    pub actions: Vec<String>,
    /// Where it runs: `dev` where not said, `staging` or `prod`.
    pub environment: Option<String>,
    /// How old its verifiers' revocation state may be, seconds.
    pub revocations_age_max: Option<u32>,
    /// The agent that serves it: its id or name.
    pub agent: Option<String>,
    /// Whether there are tokens for it only that are bound to a key (RFC 9449).
    #[serde(default)]
    pub bound_only: bool,
    /// Whether its tokens name a status list, from which it reads that one was revoked (Token Status
    /// List). For resource servers that follow no feed; see the guide for what it costs in time.
    #[serde(default)]
    pub status_list: bool,
}

/// What may be changed.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateResource {
    /// All its actions from now on.
    pub actions: Option<Vec<String>>,
    /// How old its verifiers' revocation state may be, seconds.
    pub revocations_age_max: Option<u32>,
    /// The agent that serves it from now on: its id or name, or nothing.
    pub agent: Option<String>,
    /// Whether there are tokens for it only that are bound to a key (RFC 9449). From then on, the
    /// live tokens for it end.
    pub bound_only: Option<bool>,
    /// Whether its tokens name a status list (Token Status List). Said of tokens that are issued from
    /// then on.
    pub status_list: Option<bool>,
}

fn actions(asked: &[String]) -> Result<BTreeSet<ActionName>, Refusal> {
    if asked.is_empty() || asked.len() > ACTIONS_MAX {
        return Err(Refusal::field(
            "actions",
            format!("must be from 1 to {ACTIONS_MAX}"),
            "name what can be done, such as `read` and `update`",
        ));
    }
    asked
        .iter()
        .map(|action| {
            ActionName::new(action).map_err(|error| {
                Refusal::field("actions", error, "name what can be done, such as `read`")
            })
        })
        .collect()
}

/// What a client can ask for with `resource` (RFC 8707 section 2).
fn audience(value: &str) -> Result<String, Refusal> {
    if resource_indicator::is_one(value) {
        return Ok(value.to_owned());
    }
    Err(Refusal::field(
        "audience",
        format!("must be an absolute URI without a fragment, at most {RESOURCE_BYTES_MAX} bytes"),
        "write it as `https://crm.example/`, anything unusual in it as `%20`",
    ))
}

fn age(asked: Option<u32>) -> Result<u32, Refusal> {
    let age = asked.unwrap_or(REVOCATIONS_AGE_DEFAULT_SECONDS);
    if !(REVOCATIONS_AGE_MIN_SECONDS..=REVOCATIONS_AGE_MAX_SECONDS).contains(&age) {
        return Err(Refusal::field(
            "revocations_age_max",
            format!(
                "must be from {REVOCATIONS_AGE_MIN_SECONDS} to {REVOCATIONS_AGE_MAX_SECONDS} seconds"
            ),
            "60 suits most services",
        ));
    }
    Ok(age)
}

/// The agent that is to serve a resource: of its environment, or none for an empty text.
async fn server(cx: &Cx, asked: &str, environment: Environment) -> Result<Option<AgentId>, Error> {
    if asked.is_empty() {
        return Ok(None);
    }
    let agent = find_agent(cx, asked).await?;
    if agent.environment != environment {
        return Err(Refusal::field(
            "agent",
            format!("`{}` is in another environment than the resource", agent.name),
            "name an agent of the resource's own environment",
        )
        .into());
    }
    Ok(Some(agent.id))
}

/// Registers a resource.
pub async fn create(cx: &Cx, asked: &CreateResource) -> Result<Resource, Error> {
    cx.require(AdminPermission::Registry)?;
    let name = ResourceName::new(&asked.name).map_err(|error| {
        Refusal::field("name", error, "use lower-case letters, digits, `.`, `_` and `-`")
    })?;
    let audience = audience(&asked.audience)?;
    let actions = actions(&asked.actions)?;
    let environment = asked.environment.as_deref().map(environment::asked).transpose()?;
    let environment = environment.unwrap_or_default();
    let revocations_age_max = age(asked.revocations_age_max)?;
    let agent = server(cx, asked.agent.as_deref().unwrap_or(""), environment).await?;
    decide(|| async {
        let (millis, random) = cx.seed();
        let mut resource = Resource {
            id: ResourceId::new(millis, random),
            name: name.clone(),
            audience: audience.clone(),
            actions: actions.clone(),
            environment,
            agent,
            state: State::Active,
            revocations_age_max,
            bound_only: asked.bound_only,
            status_list: asked.status_list,
            created_at: cx.now,
            version: 0,
        };
        let mut body = Body {
            target: Some(resource.id.any()),
            name: Some(name.to_string()),
            audience: Some(audience.clone()),
            ..Body::default()
        };
        body.changes = changes::made(&resource, &body)?;
        let event = cx.event(EventKind::ResourceCreated, body);
        commit_created(cx, vec![Row::Resource(resource.clone())], event, &resource).await?;
        resource.version = 1;
        Ok(resource)
    })
    .await
}

/// Resources of the organization.
pub async fn list(cx: &Cx, page: Page) -> Result<Listed<Resource>, Error> {
    cx.require(AdminPermission::Read)?;
    known_state(&page, &STATES)?;
    Ok(cx.world.store.resources(cx.tenant.id, page).await?)
}

/// The names of active resources that are not among `these`, and whether there may be more: of so
/// many as [`BESIDES_LOOKED_MAX`] says.
pub async fn besides(
    cx: &Cx,
    these: &BTreeSet<ResourceId>,
) -> Result<(Vec<ResourceName>, bool), Error> {
    cx.require(AdminPermission::Read)?;
    let (mut names, mut looked, mut cursor) = (Vec::new(), 0, None);
    loop {
        let page = Page { cursor, limit: PAGE_ROWS_MAX, at: cx.now, ..Page::default() };
        let found = cx.world.store.resources(cx.tenant.id, page).await?;
        looked += found.items.len();
        let other = |row: &Resource| row.state == State::Active && !these.contains(&row.id);
        names.extend(found.items.into_iter().filter(other).map(|row| row.name));
        cursor = found.next;
        if cursor.is_none() || looked >= BESIDES_LOOKED_MAX {
            return Ok((names, cursor.is_some()));
        }
    }
}

/// One resource.
pub async fn find(cx: &Cx, key: &str) -> Result<Resource, Error> {
    cx.require(AdminPermission::Read)?;
    find_resource(cx, key).await
}

/// Changes what may be changed. Taking an action away ends the live tokens for the resource.
pub async fn update(cx: &Cx, key: &str, asked: &UpdateResource) -> Result<Resource, Error> {
    cx.require(AdminPermission::Registry)?;
    let new_actions = asked.actions.as_deref().map(actions).transpose()?;
    let new_age = asked.revocations_age_max.map(|age_max| age(Some(age_max))).transpose()?;
    decide(|| async {
        let mut resource = find_resource(cx, key).await?;
        cx.terms.expected.check(resource.version)?;
        let before = resource.clone();
        if let Some(actions) = &new_actions {
            resource.actions.clone_from(actions);
        }
        if let Some(age) = new_age {
            resource.revocations_age_max = age;
        }
        if let Some(agent) = asked.agent.as_deref() {
            resource.agent = server(cx, agent, resource.environment).await?;
        }
        if let Some(only) = asked.bound_only {
            resource.bound_only = only;
        }
        if let Some(listed) = asked.status_list {
            resource.status_list = listed;
        }
        let ends = if !before.actions.is_subset(&resource.actions) {
            Some("an action was taken away")
        } else if resource.bound_only && !before.bound_only {
            Some("there are bound tokens only for it")
        } else {
            None
        };
        let changes = changes::made_different(&before, &resource)?;
        let body = Body { target: Some(resource.id.any()), changes, ..Body::default() };
        let revocation = ends.map(|why| ending(cx, resource.id.any(), why));
        let event = cx.event(EventKind::ResourceUpdated, body);
        commit(cx, vec![Row::Resource(resource.clone())], revocation, event).await?;
        resource.version += 1;
        Ok(resource)
    })
    .await
}

/// Suspends or activates a resource. Suspending ends the live tokens for it.
pub async fn set_state(cx: &Cx, key: &str, to: State, reason: &str) -> Result<Resource, Error> {
    cx.require(AdminPermission::Revoke)?;
    let reason = text("reason", reason)?;
    let kinds = [EventKind::ResourceSuspended, EventKind::ResourceActivated];
    decide(|| async {
        let mut resource = find_resource(cx, key).await?;
        cx.terms.expected.check(resource.version)?;
        let (event, revocation) =
            turn(cx, resource.id.any(), &mut resource.state, to, &reason, kinds)?;
        commit(cx, vec![Row::Resource(resource.clone())], revocation, event).await?;
        resource.version += 1;
        Ok(resource)
    })
    .await
}
