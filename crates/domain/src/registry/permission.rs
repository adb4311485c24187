//! Permission: which actions of a resource an agent may ask for.

use std::collections::{BTreeMap, BTreeSet};

use accredit_wire::authority::{ActionName, Authority, Permission, ResourceName, ScopeToken};
use serde::{Deserialize, Serialize};

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
}

/// All actions from now on.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetPermission {
    /// What may be done.
    pub actions: Vec<String>,
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
    let mut wanted: BTreeMap<ResourceName, BTreeSet<ActionName>> = BTreeMap::new();
    for text in allow {
        let token: ScopeToken = text
            .parse()
            .map_err(|error| Refusal::field("allow", error, "write it as `resource:action`"))?;
        wanted.entry(token.resource).or_default().insert(token.action);
    }
    let mut permissions = Vec::with_capacity(wanted.len());
    for (name, actions) in wanted {
        let found = cx.world.store.resource(cx.tenant.id, Lookup::Name(name.to_string())).await?;
        let resource = found.ok_or_else(|| Refusal::not_found("resource", &name))?;
        if resource.environment != agent.1 {
            return Err(apart(agent, (name.as_str(), resource.environment)).into());
        }
        permissions.push(permission(&resource, actions)?);
    }
    Authority::new(permissions)
        .map_err(|error| Refusal::field("allow", error, "split the work among more agents").into())
}

fn permission(resource: &Resource, actions: BTreeSet<ActionName>) -> Result<Permission, Refusal> {
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
    Ok(Permission::plain(resource.name.clone(), actions))
}

/// The permissions of an agent, in order of the resources' names.
pub async fn list(cx: &Cx, agent: &str, page: Page) -> Result<Listed<Permission>, Error> {
    cx.require(AdminPermission::Read)?;
    let agent = find_agent(cx, agent).await?;
    let held = agent.permissions.permissions().to_vec();
    Ok(Listed::of(held, &page, |held| held.resource.to_string()))
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
    if actions.is_empty() {
        return Err(Refusal::field("actions", "is empty", "delete the permission instead").into());
    }
    let resource = find_resource(cx, resource).await?;
    let wanted = Wanted {
        permission: permission(&resource, actions)?,
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
    permission: Permission,
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
        let added = wanted.map(|wanted| wanted.permission.clone());
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
