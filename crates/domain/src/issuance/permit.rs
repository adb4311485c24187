//! What may be granted: the meet of what the agent holds and what the resource knows, and never
//! more. Policy will speak here too; today holding a permission is the whole rule.

use accredit_wire::authority::{Authority, Scope, ScopeToken};

use super::admission::AgentFacts;
use super::grants::client_credentials::ProposedGrant;
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
    let delegable =
        if agent.may_delegate { agent.entitlements.authority.clone() } else { Authority::none() };
    let scope = std::mem::take(&mut proposed.scope);
    Ok(PermittedGrant { proposed, scope, delegable })
}
