//! Permission: which actions of a resource an agent may ask for, and within which limits.

use std::collections::{BTreeMap, BTreeSet};

use accredit_wire::authority::{ActionName, Authority, Permission, ResourceName, ScopeToken};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::agent::{Agent, AgentState, alive};
use super::environment::{Environment, apart};
use super::{
    Listed, Resource, commit, decide, ending, find_agent, find_resource, rotation_schedule,
};
use crate::audit::changes;
use crate::audit::event::{Body, EventKind};
use crate::context::Cx;
use crate::ports::{Lookup, Page, Row};
use crate::refusal::{Error, Refusal, Rule};
use crate::registry::credential::AdminPermission;

/// A permission as it is shown.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct PermissionView {
    /// The resource's name.
    pub resource: String,
    /// What may be done.
    pub actions: Vec<String>,
    /// On which objects, where that is limited: a path, whose last segment may be `*`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// With which arguments, where that is limited: by the argument's name, one of `equals`,
    /// `one_of`, `prefix`, and `min` with `max`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub constraints: Option<Map<String, Value>>,
    /// From which second of Unix time on, where that is limited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_before: Option<i64>,
    /// Until which second of Unix time, where that is limited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_after: Option<i64>,
}

/// Actions within limits: a permission without its resource.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct LimitedActions {
    /// What may be done.
    pub actions: Vec<String>,
    /// On which objects, where that is limited: a path, whose last segment may be `*`.
    pub object: Option<String>,
    /// With which arguments, where that is limited: by the argument's name, one of `equals`,
    /// `one_of`, `prefix`, and `min` with `max`.
    #[schema(value_type = Option<Object>)]
    pub constraints: Option<Map<String, Value>>,
    /// From which second of Unix time on, where that is limited.
    pub not_before: Option<i64>,
    /// Until which second of Unix time, where that is limited.
    pub not_after: Option<i64>,
}

/// All that may be done at a resource from now on.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetPermission {
    /// What may be done without limits.
    #[serde(default)]
    pub actions: Vec<String>,
    /// What may be done within limits.
    #[serde(default)]
    #[schema(value_type = Vec<LimitedActions>)]
    pub limited: Vec<Map<String, Value>>,
    /// Whether the agent may reach the resource although they are in different environments.
    #[serde(default)]
    pub across_environments: bool,
}

/// Turns `resource:action` texts into an Authority over resources and actions that exist, in the
/// agent's own environment.
pub(super) async fn resolve(
    cx: &Cx,
    agent: (&str, Environment),
    allow: &[String],
) -> Result<Authority, Error> {
    let mut wanted: BTreeMap<ResourceName, Vec<Permission>> = BTreeMap::new();
    for text in allow {
        let permission: Permission = text.parse().map_err(|error| {
            Refusal::field(
                "allow",
                error,
                "write it as `resource:action`, with limits as \
                 `resource:action(/objects/*; amount<=100)`",
            )
        })?;
        wanted.entry(permission.resource.clone()).or_default().push(permission);
    }
    let mut permissions = Vec::with_capacity(allow.len());
    for (name, wanted) in wanted {
        let found = cx.world.store.resource(cx.tenant.id, Lookup::Name(name.to_string())).await?;
        let resource = found.ok_or_else(|| Refusal::not_found("resource", &name))?;
        if resource.environment != agent.1 {
            return Err(apart(agent, (name.as_str(), resource.environment)).into());
        }
        for one in &wanted {
            knows(&resource, &one.actions)?;
        }
        permissions.extend(wanted);
    }
    Authority::new(permissions)
        .map_err(|error| Refusal::field("allow", error, "split the work among more agents").into())
}

/// Refuses permissions on what there is not.
pub(crate) async fn known(cx: &Cx, asked: &Authority) -> Result<(), Error> {
    for held in asked.permissions() {
        let name = held.resource.to_string();
        let found = cx.world.store.resource(cx.tenant.id, Lookup::Name(name)).await?;
        let resource = found.ok_or_else(|| Refusal::not_found("resource", &held.resource))?;
        knows(&resource, &held.actions)?;
    }
    Ok(())
}

/// Whether a resource has all these actions.
fn knows(resource: &Resource, actions: &BTreeSet<ActionName>) -> Result<(), Refusal> {
    if let Some(unknown) = actions.iter().find(|action| !resource.actions.contains(*action)) {
        return Err(Refusal::field(
            "actions",
            format!("resource `{}` has no action `{unknown}`", resource.name),
            format!(
                "it has: {}",
                resource.actions.iter().map(ActionName::as_str).collect::<Vec<_>>().join(", ")
            ),
        ));
    }
    Ok(())
}

/// Reads actions within limits at a resource.
fn limited(resource: &Resource, asked: &Map<String, Value>) -> Result<Permission, Refusal> {
    let wrong = |detail: String| {
        Refusal::field(
            "limited",
            detail,
            "each has `actions` and at least one of `object`, `constraints`, `not_before`, \
             `not_after`; amounts are integers",
        )
    };
    let mut members = asked.clone();
    if members.insert("resource".to_owned(), resource.name.as_str().into()).is_some() {
        return Err(wrong("names a resource, which is the one in the path".to_owned()));
    }
    let read = Permission::deserialize(Value::Object(members));
    let permission = read.map_err(|error| wrong(error.to_string()))?;
    if permission.limits.is_none() {
        return Err(wrong("has no limit: name the actions in `actions` instead".to_owned()));
    }
    Ok(permission)
}

/// The permissions of an agent, in order of the resources' names.
pub async fn list(cx: &Cx, agent: &str, page: Page) -> Result<Listed<Permission>, Error> {
    cx.require(AdminPermission::Read)?;
    let agent = find_agent(cx, agent).await?;
    Ok(Listed::of(keyed(&agent.permissions), &page, |(key, _)| key.clone()).shown(|(_, held)| held))
}

/// Permissions with what they are ordered by: the resource's name; with a number behind it where
/// there are several, which sorts before every longer name.
fn keyed(held: &Authority) -> Vec<(String, Permission)> {
    let runs = held.permissions().chunk_by(|a, b| a.resource == b.resource);
    let keyed = runs.flat_map(|run| {
        run.iter().enumerate().map(|(place, one)| match place {
            0 => (one.resource.to_string(), one.clone()),
            _ => (format!("{} {place:03}", one.resource), one.clone()),
        })
    });
    keyed.collect()
}

/// Sets what an agent may do at a resource. Taking an action away ends the agent's live tokens.
pub async fn set(
    cx: &Cx,
    agent: &str,
    resource: &str,
    asked: &SetPermission,
) -> Result<Agent, Error> {
    cx.require(AdminPermission::Registry)?;
    let actions = asked
        .actions
        .iter()
        .map(|action| {
            ActionName::new(action)
                .map_err(|error| Refusal::field("actions", error, "name what may be done"))
        })
        .collect::<Result<BTreeSet<_>, _>>()?;
    if actions.is_empty() && asked.limited.is_empty() {
        return Err(Refusal::field("actions", "is empty", "delete the permission instead").into());
    }
    let resource = find_resource(cx, resource).await?;
    let limited = asked.limited.iter().map(|asked| limited(&resource, asked));
    let mut permissions = limited.collect::<Result<Vec<_>, Refusal>>()?;
    if !actions.is_empty() {
        permissions.push(Permission::plain(resource.name.clone(), actions));
    }
    for permission in &permissions {
        knows(&resource, &permission.actions)?;
    }
    let wanted = Wanted {
        permissions,
        environment: resource.environment,
        across: asked.across_environments,
    };
    change(cx, agent, &resource.name, Some(&wanted), EventKind::PermissionSet).await
}

/// Takes from an agent all it may do at a resource. Ends the agent's live tokens.
pub async fn delete(cx: &Cx, agent: &str, resource: &str) -> Result<Agent, Error> {
    cx.require(AdminPermission::Registry)?;
    let resource = find_resource(cx, resource).await?;
    change(cx, agent, &resource.name, None, EventKind::PermissionDeleted).await
}

/// What an agent is to hold at a resource.
struct Wanted {
    permissions: Vec<Permission>,
    /// The resource's.
    environment: Environment,
    /// Whether they may meet all the same, where the agent's is another.
    across: bool,
}

async fn change(
    cx: &Cx,
    agent: &str,
    resource: &ResourceName,
    wanted: Option<&Wanted>,
    kind: EventKind,
) -> Result<Agent, Error> {
    decide(|| async {
        let mut agent = alive(cx, agent).await?;
        cx.terms.expected.check(agent.version)?;
        let (agent_before, before) = (agent.clone(), agent.permissions.clone());
        let kept = before.permissions().iter().filter(|held| held.resource != *resource);
        let added = wanted.map(|wanted| wanted.permissions.clone()).unwrap_or_default();
        agent.permissions = Authority::new(kept.cloned().chain(added))
            .map_err(|error| Refusal::field("actions", error, "split the work"))?;
        if agent.permissions == before && wanted.is_none() {
            return Err(Refusal::not_found("permission", resource).into());
        }
        if agent.state == AgentState::Active && agent.permissions.is_empty() {
            return Err(Refusal::new(
                Rule::AgentIncomplete,
                "an active agent needs at least one permission",
                "suspend or decommission the agent, or give it another permission first",
            )
            .into());
        }
        let was_across = agent.across_environments.remove(resource);
        let mut across = false;
        if let Some(wanted) = wanted.filter(|wanted| wanted.environment != agent.environment) {
            across = wanted.across;
            if !across {
                let named = (resource.as_str(), wanted.environment);
                return Err(apart((&agent.name, agent.environment), named).into());
            }
            agent.across_environments.insert(resource.clone());
        }
        let narrowed = !agent.permissions.covers(&before) || (was_across && !across);
        if narrowed && let Some(scope) = &agent.default_scope {
            let held =
                |token: &ScopeToken| agent.permissions.allows(&token.resource, &token.action);
            if !scope.tokens().all(held) {
                agent.default_scope = None;
            }
        }
        if agent.permissions != before || across != was_across {
            rotation_schedule::ask(&mut agent, cx.now, "its permissions changed");
        }
        let body = Body {
            agent: Some(agent.id),
            name: Some(resource.to_string()),
            changes: changes::made_different(&agent_before, &agent)?,
            ..Body::default()
        };
        let revocation =
            narrowed.then(|| ending(cx, agent.id.any(), "a permission was taken away"));
        commit(cx, vec![Row::Agent(agent.clone())], revocation, cx.event(kind, body)).await?;
        agent.version += 1;
        Ok(rotation_schedule::at(agent, cx.now))
    })
    .await
}
