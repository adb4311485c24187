//! What may be granted: the meet of what the agent holds, what the resource knows and, where the
//! agent acts for somebody, what was passed on to it. Never more. Policy will speak here too; today
//! holding a permission is the whole rule.

use accredit_wire::authority::{Authority, Permission, Scope, ScopeToken, attenuate};
use accredit_wire::oauth::authorization_details::AuthorizationDetails;

use super::admission::{AgentFacts, ResourceFacts};
use super::grants::{Origin, ProposedGrant};
use crate::refusal::{Error, Refusal, Rule};
use crate::registry::environment;

/// A grant that was checked against what its agent holds. Only [`permit`] makes one.
#[derive(Debug)]
pub struct PermittedGrant {
    pub(super) proposed: ProposedGrant,
    pub(super) scope: Scope,
    pub(super) details: AuthorizationDetails,
    pub(super) delegable: Authority,
}

/// Permissions that a hint lists at most.
const HINT_SCOPES_MAX: usize = 16;

/// What the caller itself holds, as a hint.
pub(crate) fn held_hint(agent: &AgentFacts) -> String {
    if agent.entitlements.authority.is_empty() {
        return "the agent holds no permission; an administrator can give it one".to_owned();
    }
    format!("the agent holds: {}", listed(&agent.entitlements.authority))
}

/// The texts of an Authority, as many as a hint lists.
pub(crate) fn listed(authority: &Authority) -> String {
    let mut texts = authority.texts();
    let mut shown: Vec<String> = texts.by_ref().take(HINT_SCOPES_MAX).collect();
    if texts.next().is_some() {
        shown.push("and more".to_owned());
    }
    shown.join(" ")
}

/// Permits a proposal whose every scope the agent holds and the resource knows, where the two may
/// meet at all.
pub fn permit(mut proposed: ProposedGrant) -> Result<PermittedGrant, Error> {
    let (agent, resource) = (&proposed.agent, &proposed.resource);
    let meet = agent.environment == resource.environment
        || agent.entitlements.across.contains(&resource.name);
    if !meet {
        let (agent, resource) =
            ((&*agent.name, agent.environment), (resource.name.as_str(), resource.environment));
        return Err(environment::apart(agent, resource).into());
    }
    if (agent.bound_only || resource.bound_only) && proposed.binds.is_none() {
        let what = if agent.bound_only {
            format!("agent `{}`", agent.name)
        } else {
            format!("resource `{}`", resource.name)
        };
        return Err(Refusal::new(
            Rule::DpopRequired,
            format!("{what} takes tokens only that are bound to a key, and no proof came"),
            "send a `DPoP` header with a proof for this request (RFC 9449), as the library's agents do; \
             or use TLS with a certificate (RFC 8705)",
        )
        .into());
    }
    let granted = |token: &ScopeToken| {
        agent.entitlements.authority.allows(&token.resource, &token.action)
            && token.resource == resource.name
            && resource.actions.contains(&token.action)
    };
    if let Some(excess) = proposed.scope.tokens().find(|token| !granted(token)) {
        let within = agent.entitlements.authority.at(&resource.name).limited();
        let within = within.permissions().iter().any(|held| held.actions.contains(&excess.action));
        let limits = if within { " without limits" } else { "" };
        return Err(Refusal::new(
            Rule::ScopeNotHeld,
            format!("the agent does not hold `{excess}`{limits}"),
            held_hint(agent),
        )
        .into());
    }
    let details = details(&proposed)?;
    let delegable = if agent.may_delegate { passed_on(&proposed) } else { Authority::none() };
    let asked = std::mem::take(&mut proposed.scope);
    let scope = match &proposed.origin {
        None => asked,
        Some(origin) => passed_to(origin, &asked)?,
    };
    Ok(PermittedGrant { proposed, scope, details, delegable })
}

/// What is granted within limits: what is asked for, where the agent holds all of it, the resource
/// knows it and, where the agent acts for somebody, it was passed on. What the scope grants without
/// limits is not said again.
fn details(proposed: &ProposedGrant) -> Result<AuthorizationDetails, Refusal> {
    let (agent, resource) = (&proposed.agent, &proposed.resource);
    if proposed.details.is_empty() {
        return Ok(AuthorizationDetails::default());
    }
    let too_much = |detail: String| Refusal::new(Rule::DetailsNotHeld, detail, held_hint(agent));
    let asked = Authority::new(proposed.details.iter().map(|detail| {
        Permission::limited(resource.name.clone(), detail.actions.clone(), detail.limits.clone())
    }));
    let asked = asked.map_err(|error| too_much(error.to_string()))?;
    let held = known(&agent.entitlements.authority, resource);
    let mut granted = attenuate(&held, &asked).map_err(|excess| too_much(excess.to_string()))?;
    if let Some(origin) = &proposed.origin {
        granted = attenuate(&origin.ceiling, &granted).map_err(|excess| {
            let hint = format!("what was passed on: {}", listed(&origin.ceiling));
            Refusal::new(Rule::DetailsNotHeld, excess.to_string(), hint)
        })?;
    }
    let plain = Authority::from(&proposed.scope);
    let all = granted.permissions().iter().chain(plain.permissions()).cloned();
    let all = Authority::new(all).map_err(|error| too_much(error.to_string()))?;
    Ok(AuthorizationDetails::of(&all))
}

/// What of an Authority is at this resource, of the actions that it still has.
fn known(authority: &Authority, resource: &ResourceFacts) -> Authority {
    let known = Permission::plain(resource.name.clone(), resource.actions.clone());
    // A resource with more actions than a permission can name is no reason to grant one.
    let known = Authority::new([known]).unwrap_or_default();
    authority.at(&resource.name).meet(&known)
}

/// What of the scope asked for was passed on to the agent: all of it, or a refusal.
fn passed_to(origin: &Origin, asked: &Scope) -> Result<Scope, Error> {
    let granted = attenuate(&origin.ceiling, &Authority::from(asked)).map_err(|excess| {
        let hint = format!("what was passed on: {}", listed(&origin.ceiling));
        Refusal::new(Rule::DelegationExceeded, excess.to_string(), hint)
    })?;
    granted.scope().map_err(|error| crate::Fault::new("permit", error).into())
}

/// What the holder of the token may pass on: what the agent holds, at resources that it may meet
/// itself, and nothing that was not passed on to it.
fn passed_on(proposed: &ProposedGrant) -> Authority {
    let own = own(&proposed.agent);
    match &proposed.origin {
        None => own,
        Some(origin) => origin.ceiling.meet(&own),
    }
}

/// What an agent holds at resources that it may meet itself.
pub(crate) fn own(agent: &AgentFacts) -> Authority {
    let held = &agent.entitlements;
    let meets = |resource: &ResourceFacts| {
        resource.environment == agent.environment || held.across.contains(&resource.name)
    };
    if held.resources.iter().all(|resource| meets(resource)) {
        held.authority.clone()
    } else {
        let names = held.resources.iter().filter(|resource| meets(resource));
        held.authority.at_any(names.map(|resource| &resource.name))
    }
}
