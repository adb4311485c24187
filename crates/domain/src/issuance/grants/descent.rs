//! An instance that another agent brought into being has no more than was passed on to it, whatever
//! it asks for, and what it gets carries its whole lineage.
//!
//! In its own name it acts for the agent that began: `sub` is that one, `act` names the instance and
//! whoever stands between. What it gets by exchange is bounded by what it was born with, too.

use accredit_wire::authority::Authority;
use accredit_wire::ids::{AnyId, InstanceId, TaskId};
use accredit_wire::token::{Actor, LINEAGE_MAX, SubjectKind};

use super::token_exchange::OWN_IDS;
use super::{Origin, ProposedGrant};
use crate::context::Cx;
use crate::issuance::admission::{Descent, HolderFacts};
use crate::issuance::vouched;
use crate::refusal::{Error, Refusal, Rule};
use crate::registry::State;
use crate::registry::agent::AgentState;

/// What may come of an instance that was born.
pub(crate) struct Bound {
    /// Nothing beyond it.
    pub(crate) ceiling: Authority,
    /// Whoever answers for those before it, and by whose word the first of them is who it is.
    pub(crate) owners: Vec<AnyId>,
}

/// What those who stand before an instance leave it now; a refusal where one of them may not act.
pub(crate) async fn bound(cx: &Cx, descent: &Descent) -> Result<Bound, Error> {
    let mut ceiling = descent.authority.clone();
    let mut owners = Vec::with_capacity(descent.ancestors.len());
    for ancestor in &descent.ancestors {
        let facts = cx.world.store.agent_facts(cx.tenant.id, ancestor.agent).await?;
        let acts = facts.filter(|facts| facts.state == AgentState::Active && facts.may_delegate);
        let owned = acts.and_then(|facts| match facts.owner {
            Some((owner, State::Active)) => Some((facts, owner)),
            _ => None,
        });
        let Some((facts, owner)) = owned else {
            return Err(Refusal::new(
                Rule::InstanceNotActive,
                "an agent in the instance's lineage may not act, or passes nothing on any more",
                "an administrator can say why; another parent can bring a new instance into being",
            )
            .into());
        };
        ceiling = ceiling.meet(&facts.entitlements.authority);
        owners.push(owner.any());
    }
    if let Some(vouched) = &descent.vouched {
        owners.extend(vouched::lineage(cx, vouched).await?);
    }
    Ok(Bound { ceiling, owners })
}

/// The same proposal within what its instance was born with.
pub(in crate::issuance) async fn within(
    cx: &Cx,
    mut proposed: ProposedGrant,
) -> Result<ProposedGrant, Error> {
    let HolderFacts::Instance { id, descent: Some(descent), .. } = &proposed.credential.holder
    else {
        return Ok(proposed);
    };
    let bound = bound(cx, descent).await?;
    let held = proposed.origin.as_ref().and_then(|origin| origin.task());
    let named = proposed.task.as_ref().map(|task| task.id);
    if [held, named].into_iter().flatten().any(|task| task != descent.task) {
        return Err(another_task(descent.task).into());
    }
    let actor = Actor { agent: proposed.agent.id, instance: Some(*id) };
    let mut origin = match proposed.origin.take() {
        Some(origin) => Origin { ceiling: origin.ceiling.meet(&bound.ceiling), ..*origin },
        None => in_its_own_name(cx, descent, actor, bound.ceiling)?,
    };
    for ancestor in lineage(descent, bound.owners) {
        let is_named = origin.subject == ancestor
            || origin.further.contains(&ancestor)
            || origin.chain.iter().any(|actor| is_in(*actor, ancestor));
        if !is_named {
            origin.further.push(ancestor);
        }
    }
    if origin.further.len() + OWN_IDS > LINEAGE_MAX {
        return Err(Refusal::new(
            Rule::ChainTooDeep,
            format!("the token would hang on more than {LINEAGE_MAX} things"),
            "let an earlier party do this step",
        )
        .into());
    }
    origin.expires_at = origin.expires_at.min(descent.expires_at);
    // It is in the lineage already.
    proposed.task = None;
    proposed.origin = Some(Box::new(origin));
    Ok(proposed)
}

fn is_in(actor: Actor, id: AnyId) -> bool {
    actor.agent.any() == id || actor.instance.map(AnyId::from) == Some(id)
}

/// The origin of a token that an instance gets in its own name: the agent that began.
fn in_its_own_name(
    cx: &Cx,
    descent: &Descent,
    actor: Actor,
    ceiling: Authority,
) -> Result<Origin, Error> {
    let depth_max = cx.tenant.chain_depth_max();
    let Some((began, between)) = descent.ancestors.split_last() else {
        return Err(crate::Fault::new("descent", "nobody stands before it").into());
    };
    if between.len() >= depth_max {
        return Err(Refusal::new(
            Rule::ChainTooDeep,
            format!("the lineage has more than {depth_max} parties"),
            "let an earlier party do this step",
        )
        .into());
    }
    let mut chain = Vec::with_capacity(between.len() + 1);
    chain.push(actor);
    chain.extend_from_slice(between);
    Ok(Origin {
        kind: SubjectKind::Agent,
        subject: began.agent.any(),
        chain,
        further: vec![descent.task.any()],
        ceiling,
        impersonated: false,
        expires_at: descent.expires_at,
        parent: None,
        external: None,
    })
}

/// Everything by whose end an instance ends that was born.
pub(crate) fn lineage(descent: &Descent, owners: Vec<AnyId>) -> impl Iterator<Item = AnyId> + '_ {
    let parties = descent.ancestors.iter();
    let parties =
        parties.flat_map(|one: &Actor| [Some(one.agent.any()), one.instance.map(InstanceId::any)]);
    let credentials = descent.credentials.iter().map(|id| id.any());
    std::iter::once(descent.task.any()).chain(parties.flatten()).chain(credentials).chain(owners)
}

/// What was born in a task stays in it.
pub(crate) fn another_task(held: TaskId) -> Refusal {
    Refusal::new(
        Rule::TaskOther,
        format!("the instance was born into task `{held}`"),
        "leave `task` out: it carries over",
    )
}
