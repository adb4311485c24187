//! An instance that came into being by somebody's word ends with whoever gave it: the node with its agent
//! and owner, the platform, and the rules by which they vouched.
//!
//! They stand in the lineage of what it gets, so that revoking one of them ends all of it, and they are
//! looked at before it gets anything. They do not act: no chain names them, and nothing of what they hold
//! is passed on.

use accredit_wire::ids::{AnyId, InstanceId};
use accredit_wire::token::LINEAGE_MAX;

use super::admission::{HolderFacts, Vouched};
use super::grants::ProposedGrant;
use super::grants::token_exchange::OWN_IDS;
use crate::context::Cx;
use crate::refusal::{Error, Refusal, Rule};
use crate::registry::State;
use crate::registry::agent::AgentState;

/// Ids that one word adds to a lineage at most: node, its agent and owner, the platform and two rules.
pub(super) const IDS_MAX: usize = 6;

/// Everything by whose end an instance ends that was vouched for; a refusal where one of them may not act.
pub(crate) async fn lineage(cx: &Cx, vouched: &Vouched) -> Result<Vec<AnyId>, Error> {
    let mut ids: Vec<AnyId> = vouched.rules.iter().map(|rule| rule.any()).collect();
    if let Some((federation, issuer)) = &vouched.federation {
        let facts = cx.world.store.federation_facts(cx.tenant.id, issuer).await?;
        let is_it = facts.is_some_and(|it| it.id == *federation && it.state == State::Active);
        if !is_it {
            return Err(over("the platform that vouched for it is suspended").into());
        }
        ids.push(federation.any());
    }
    if let Some((agent, node)) = vouched.node {
        let facts = cx.world.store.agent_facts(cx.tenant.id, agent).await?;
        let active = facts.filter(|facts| facts.state == AgentState::Active);
        let owner =
            active.and_then(|facts| facts.owner.filter(|(_, state)| *state == State::Active));
        let Some((owner, _)) = owner else {
            return Err(over("the agent of the node that vouched for it may not act").into());
        };
        ids.extend([agent.any(), node.any(), owner.any()]);
    }
    Ok(ids)
}

fn over(why: &str) -> Refusal {
    Refusal::new(
        Rule::InstanceNotActive,
        why,
        "an administrator can say why; another node or platform can vouch for a new instance",
    )
}

/// The same proposal with what its instance hangs on.
pub(super) async fn within(cx: &Cx, mut proposed: ProposedGrant) -> Result<ProposedGrant, Error> {
    let HolderFacts::Instance { vouched: Some(vouched), .. } = &proposed.credential.holder else {
        return Ok(proposed);
    };
    proposed.hangs_on = lineage(cx, vouched).await?;
    Ok(proposed)
}

/// Adds to a token's lineage what does not stand in it yet: beside what it is derived from, the acting
/// parties and its own ids.
pub(super) fn add(
    ids: &[AnyId],
    (further, own): (&mut Vec<AnyId>, &[AnyId]),
    chain: &[accredit_wire::token::Actor],
) -> Result<(), Refusal> {
    let is_in = |id: &AnyId| {
        chain
            .iter()
            .any(|one| one.agent.any() == *id || one.instance.map(InstanceId::any) == Some(*id))
    };
    for id in ids {
        if !own.contains(id) && !further.contains(id) && !is_in(id) {
            further.push(*id);
        }
    }
    if further.len() + OWN_IDS <= LINEAGE_MAX {
        return Ok(());
    }
    Err(Refusal::new(
        Rule::ChainTooDeep,
        format!("the token would hang on more than {LINEAGE_MAX} things"),
        "let an earlier party do this step",
    ))
}
