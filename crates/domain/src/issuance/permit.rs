//! What may be granted: the meet of what the agent holds, what the resource knows and, where the
//! agent acts for somebody, what was passed on to it. Never more. Policy will speak here too; today
//! holding a permission is the whole rule.

use accredit_wire::authority::{Authority, Scope, ScopeToken, attenuate};

use super::admission::{AgentFacts, ResourceFacts};
use super::grants::{Origin, ProposedGrant};
use crate::refusal::{Error, Refusal, Rule};
use crate::registry::environment;

/// A grant that was checked against what its agent holds. Only [`permit`] makes one.
#[derive(Debug)]
pub struct PermittedGrant {
    pub(super) proposed: ProposedGrant,
    pub(super) scope: Scope,
    pub(super) delegable: Authority,
}

/// Scopes that a hint lists at most.
const HINT_SCOPES_MAX: usize = 16;

/// What the caller itself holds, as a hint.
pub(super) fn held_hint(agent: &AgentFacts) -> String {
    let mut tokens = agent.entitlements.authority.tokens().map(|token| token.to_string());
    let mut shown: Vec<String> = tokens.by_ref().take(HINT_SCOPES_MAX).collect();
    if tokens.next().is_some() {
        shown.push("and more".to_owned());
    }
    if shown.is_empty() {
        return "the agent holds no permission; an administrator can give it one".to_owned();
    }
    format!("the agent holds: {}", shown.join(" "))
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
    let granted = |token: &ScopeToken| {
        agent.entitlements.authority.allows(&token.resource, &token.action)
            && token.resource == resource.name
            && resource.actions.contains(&token.action)
    };
    if let Some(excess) = proposed.scope.tokens().find(|token| !granted(token)) {
        return Err(Refusal::new(
            Rule::ScopeNotHeld,
            format!("the agent does not hold `{excess}`"),
            held_hint(agent),
        )
        .into());
    }
    let delegable = if agent.may_delegate { passed_on(&proposed) } else { Authority::none() };
    let asked = std::mem::take(&mut proposed.scope);
    let scope = match &proposed.origin {
        None => asked,
        Some(origin) => passed_to(origin, &asked)?,
    };
    Ok(PermittedGrant { proposed, scope, delegable })
}

/// What of the scope asked for was passed on to the agent: all of it, or a refusal.
fn passed_to(origin: &Origin, asked: &Scope) -> Result<Scope, Error> {
    let granted = attenuate(&origin.ceiling, &Authority::from(asked)).map_err(|excess| {
        let held = origin.ceiling.scope().map(|scope| scope.to_string()).unwrap_or_default();
        let hint = format!("what was passed on: {held}");
        Refusal::new(Rule::DelegationExceeded, excess.to_string(), hint)
    })?;
    granted.scope().map_err(|error| crate::Fault::new("permit", error).into())
}

/// What the holder of the token may pass on: what the agent holds, at resources that it may meet
/// itself, and nothing that was not passed on to it.
fn passed_on(proposed: &ProposedGrant) -> Authority {
    let agent = &proposed.agent;
    let held = &agent.entitlements;
    let meets = |resource: &ResourceFacts| {
        resource.environment == agent.environment || held.across.contains(&resource.name)
    };
    let own = if held.resources.iter().all(|resource| meets(resource)) {
        held.authority.clone()
    } else {
        let names = held.resources.iter().filter(|resource| meets(resource));
        held.authority.at_any(names.map(|resource| &resource.name))
    };
    match &proposed.origin {
        None => own,
        Some(origin) => origin.ceiling.meet(&own),
    }
}
