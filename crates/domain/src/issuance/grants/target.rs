//! RFC 8707: the one resource that a token is for. It is the one named, or the one that the scopes
//! belong to.

use std::collections::BTreeSet;
use std::sync::Arc;

use accredit_wire::authority::Scope;
use accredit_wire::oauth::authorization_details::AskedDetail;

use crate::issuance::admission::{AgentFacts, ResourceFacts};
use crate::issuance::permit::held_hint;
use crate::refusal::{Refusal, Rule};
use crate::registry::State;

/// The audience URIs that an exchange names: by `resource`, and by `audience`, where the name under
/// which a resource is registered will do as well (RFC 8693 section 2.1).
pub fn named(agent: &AgentFacts, resources: &[String], audiences: &[String]) -> Vec<String> {
    let mut named = resources.to_vec();
    for audience in audiences {
        let held = agent.entitlements.resources.iter();
        let by_name = held.into_iter().find(|resource| resource.name.as_str() == audience);
        let uri = by_name.map_or(audience, |resource| &resource.audience);
        if !named.contains(uri) {
            named.push(uri.clone());
        }
    }
    named
}

/// The one resource that the token is for.
pub fn target(
    agent: &AgentFacts,
    (scope, details): (&Scope, &[AskedDetail]),
    named: &[String],
) -> Result<Arc<ResourceFacts>, Refusal> {
    let held = || {
        let audiences: Vec<&str> =
            agent.entitlements.resources.iter().map(|r| r.audience.as_str()).collect();
        format!("the agent can have a token for: {}", audiences.join(" "))
    };
    let mut by_scope = scope.resources();
    by_scope.extend(details.iter().filter_map(|detail| detail.resource.as_ref()));
    let mut uris: BTreeSet<&str> = named.iter().map(String::as_str).collect();
    uris.extend(details.iter().filter_map(|detail| detail.location.as_deref()));
    if named.len() > 1 || uris.len() > 1 || by_scope.len() > 1 {
        return Err(Refusal::new(
            Rule::TargetTwo,
            "the request reaches two resources",
            "ask for one token for each resource",
        ));
    }
    let by_name = match uris.first() {
        Some(uri) => Some(
            agent.entitlements.resources.iter().find(|r| r.audience == **uri).ok_or_else(|| {
                Refusal::new(
                    Rule::TargetUnknown,
                    "the agent holds no permission on the resource that was named",
                    held(),
                )
            })?,
        ),
        None => None,
    };
    let by_scope = match by_scope.into_iter().next() {
        Some(name) => Some(
            agent.entitlements.resources.iter().find(|r| r.name == *name).ok_or_else(|| {
                Refusal::new(
                    Rule::ScopeNotHeld,
                    format!("the agent holds no permission on `{name}`"),
                    held_hint(agent),
                )
            })?,
        ),
        None => None,
    };
    let resource = match (by_name, by_scope) {
        (Some(a), Some(b)) if a.id != b.id => {
            return Err(Refusal::new(
                Rule::TargetMismatch,
                format!("the scopes belong to `{}`, `resource` names `{}`", b.name, a.name),
                "leave `resource` out: it follows from the scopes",
            ));
        }
        (Some(resource), _) | (None, Some(resource)) => resource,
        (None, None) => {
            return Err(Refusal::new(
                Rule::ScopeMissing,
                "neither `scope` nor `resource` was given, and the agent has no default scope",
                held_hint(agent),
            ));
        }
    };
    if resource.state != State::Active {
        return Err(Refusal::new(
            Rule::TargetNotActive,
            format!("resource `{}` is suspended", resource.name),
            "an administrator can activate it: `accredit resource activate`",
        ));
    }
    Ok(Arc::clone(resource))
}
