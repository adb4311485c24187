//! RFC 6749 section 4.4, RFC 8707: an agent asks for a token in its own name.
//!
//! What is granted is what was asked, at most what the agent holds; nothing asked means its
//! default scope, or nothing. The resource is the one named, or the one the scopes belong to.

use std::sync::Arc;

use accredit_wire::authority::Scope;
use accredit_wire::ids::PersonId;
use accredit_wire::oauth::token_request::TokenRequest;

use crate::context::Cx;
use crate::issuance::admission::{AgentFacts, CredentialFacts, HolderFacts, ResourceFacts};
use crate::issuance::authenticate::AuthenticatedClient;
use crate::refusal::{Error, Refusal, Rule};
use crate::registry::State;
use crate::registry::agent::AgentState;
use crate::registry::rotation_schedule::{ENFORCED_AFTER, RotationPolicy};

/// What a grant proposes: who would get what, where and for how long. Not yet permitted.
#[derive(Debug)]
pub struct ProposedGrant {
    pub(in crate::issuance) agent: Arc<AgentFacts>,
    pub(in crate::issuance) credential: Arc<CredentialFacts>,
    pub(in crate::issuance) resource: Arc<ResourceFacts>,
    pub(in crate::issuance) scope: Scope,
    pub(in crate::issuance) owner: PersonId,
    pub(in crate::issuance) lifetime: u32,
    pub(in crate::issuance) rev: u64,
}

/// Proposes what the request asks for, where the agent may act at all.
pub async fn propose(
    cx: &Cx,
    client: &AuthenticatedClient,
    request: &TokenRequest,
) -> Result<ProposedGrant, Error> {
    let id = match &client.credential.holder {
        HolderFacts::Agent(agent) | HolderFacts::Instance { agent, .. } => *agent,
        HolderFacts::Resource(_) | HolderFacts::Admin(_) => {
            return Err(Refusal::new(
                Rule::GrantNotForClient,
                "a resource's credential gets no tokens",
                "use an agent's credential; a resource's is for introspection and the feed",
            )
            .into());
        }
    };
    let facts = cx.world.store.agent_facts(cx.tenant.id, id).await?;
    let agent =
        facts.ok_or_else(|| crate::Fault::new("agent facts", "credential without agent"))?;
    let owner = may_act(cx, &agent)?;
    is_rotated(cx, &agent, &client.credential)?;
    let scope = match &request.scope {
        Some(scope) => scope.clone(),
        None => agent.entitlements.default_scope.clone().unwrap_or_default(),
    };
    let resource = target(&agent, &scope, &request.resources)?;
    let lifetime = request.expires_in.unwrap_or(agent.token_lifetime).min(agent.token_lifetime);
    Ok(ProposedGrant {
        credential: Arc::clone(&client.credential),
        rev: client.rev,
        agent,
        resource,
        owner,
        scope,
        lifetime,
    })
}

/// Whether the organization, the agent and its owner may act; the owner.
fn may_act(cx: &Cx, agent: &AgentFacts) -> Result<PersonId, Refusal> {
    if cx.tenant.state() != State::Active {
        return Err(Refusal::new(
            Rule::OrganizationNotActive,
            "the organization is suspended",
            "an administrator can activate it: `accredit org activate`",
        ));
    }
    if agent.state != AgentState::Active {
        return Err(Refusal::new(
            Rule::AgentNotActive,
            format!("agent `{}` is {}", agent.name, agent.state.as_str()),
            "an administrator can activate it: `accredit agent activate`, unless it is \
             decommissioned",
        ));
    }
    match agent.owner {
        Some((owner, State::Active)) => Ok(owner),
        _ => Err(Refusal::new(
            Rule::OwnerNotActive,
            format!("the owner of agent `{}` is suspended", agent.name),
            "give the agent another owner: `accredit agent update --owner`",
        )),
    }
}

/// Whether the agent's own credential is newer than what asked for its rotation, where that is
/// enforced and its time is over.
fn is_rotated(cx: &Cx, agent: &AgentFacts, credential: &CredentialFacts) -> Result<(), Refusal> {
    let Some(asked_at) = agent.rotation_asked_at else { return Ok(()) };
    let is_own = matches!(credential.holder, HolderFacts::Agent(_));
    let is_older = credential.id.millis() <= asked_at.millis();
    let over = cx.now >= asked_at.plus(ENFORCED_AFTER);
    if !(is_own && is_older && over && cx.tenant.rotation_policy() == RotationPolicy::Enforce) {
        return Ok(());
    }
    Err(Refusal::new(
        Rule::RotationRequired,
        format!("credential `{}` is older than the last change of its agent", credential.id),
        "an administrator rotates it: `accredit credential rotate`",
    ))
}

/// The one resource that the token is for.
fn target(
    agent: &AgentFacts,
    scope: &Scope,
    named: &[String],
) -> Result<Arc<ResourceFacts>, Refusal> {
    let held = || {
        let audiences: Vec<&str> =
            agent.entitlements.resources.iter().map(|r| r.audience.as_str()).collect();
        format!("the agent can have a token for: {}", audiences.join(" "))
    };
    let by_scope = scope.resources();
    if named.len() > 1 || by_scope.len() > 1 {
        return Err(Refusal::new(
            Rule::TargetTwo,
            "the request reaches two resources",
            "ask for one token for each resource",
        ));
    }
    let by_name = match named.first() {
        Some(uri) => Some(
            agent.entitlements.resources.iter().find(|r| r.audience == *uri).ok_or_else(|| {
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
                    super::super::permit::held_hint(agent),
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
                super::super::permit::held_hint(agent),
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
