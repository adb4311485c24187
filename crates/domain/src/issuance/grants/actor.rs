//! Who acts: the agent behind a client, and whether it may act at all.

use std::sync::Arc;

use accredit_wire::ids::PersonId;

use crate::context::Cx;
use crate::issuance::admission::{AgentFacts, CredentialFacts, HolderFacts, ProofFacts};
use crate::issuance::authenticate::AuthenticatedClient;
use crate::refusal::{Error, Refusal, Rule};
use crate::registry::State;
use crate::registry::agent::AgentState;
use crate::registry::rotation_schedule::{ENFORCED_AFTER, RotationPolicy};

/// The agent that a client is, where it may act, and the person who answers for it.
pub async fn acting(
    cx: &Cx,
    client: &AuthenticatedClient,
) -> Result<(Arc<AgentFacts>, PersonId), Error> {
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
    Ok((agent, owner))
}

/// Whether the organization, the agent and its owner may act; the owner.
pub(crate) fn may_act(cx: &Cx, agent: &AgentFacts) -> Result<PersonId, Refusal> {
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
    // A rule has no secret that could be replaced, and a join token is used once.
    let is_own = matches!(credential.holder, HolderFacts::Agent(_))
        && !matches!(credential.proof, ProofFacts::Workload | ProofFacts::Join { .. });
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
