//! Biscuit v3 back at its issuer: what its holders added offline, judged before it is exchanged.
//!
//! The signatures hold and the authority was met when it was read; here is decided what only the
//! issuer can say. A block that is not of the published vocabulary narrows by rules that nobody
//! here can carry over into another token, so that it is not exchanged at all. Whom a holder named
//! when handing the token on enters the chain, which says the issuer's word of every party: each is
//! an agent of the organization, active, and acts once.

use accredit_wire::biscuit::{Attenuable, Foreign};
use accredit_wire::ids::AgentId;
use accredit_wire::token::{AccessToken, Actor};

use super::token_exchange::not_accepted;
use crate::context::Cx;
use crate::refusal::{Error, Refusal, Rule};
use crate::registry::agent::AgentState;

/// Refuses what was added where it cannot be carried over.
pub(super) async fn check(cx: &Cx, added: &Attenuable) -> Result<(), Error> {
    if let Some(block) = added.foreign().first() {
        return Err(foreign(block).into());
    }
    for party in added.named().filter_map(|id| AgentId::try_from(id).ok()) {
        is_ours(cx, party).await?;
    }
    acts_once(added.token()).map_err(Error::from)
}

fn foreign(Foreign { block, words }: &Foreign) -> Refusal {
    let which = match words.as_slice() {
        [] => "it has known words in another form".to_owned(),
        words => format!("it has `{}`", words.join("`, `")),
    };
    Refusal::new(
        Rule::BlockForeign,
        format!("block {block} of the subject token is not of the published vocabulary: {which}"),
        "narrow a token that is to be exchanged with `accredit token narrow`, or with the checks \
         that docs/formats.md lists, and with nothing else",
    )
}

/// Whoever handed the token on says who holds it: such an agent there must be.
async fn is_ours(cx: &Cx, named: AgentId) -> Result<(), Error> {
    let facts = cx.world.store.agent_facts(cx.tenant.id, named).await?;
    if facts.is_some_and(|agent| agent.state == AgentState::Active) {
        return Ok(());
    }
    Err(not_accepted(&format!("it was handed on to `{named}`, which is no active agent")).into())
}

/// Of two parties that are the same agent nobody can tell that they are different copies of it,
/// since who hands a token on names no instance.
fn acts_once(token: &AccessToken) -> Result<(), Refusal> {
    let again = |(index, party): (usize, &Actor)| {
        let earlier = token.chain.iter().skip(index + 1);
        let acted = earlier.filter(|other| other.agent == party.agent);
        let handed = party.instance.is_none() && acted.count() > 0;
        handed || token.subject == party.agent.any()
    };
    if token.chain.iter().enumerate().any(again) {
        return Err(Refusal::new(
            Rule::ChainCycle,
            "the token was handed on to an agent that had acted in its chain before",
            "each agent acts once in a chain; let the earlier one exchange the token it held",
        ));
    }
    Ok(())
}

/// Whether a token was handed on, and each of those who did so proved by its key that they held it.
/// Whoever had a plain token could name themselves.
pub(super) fn is_handed_on(added: &Attenuable) -> bool {
    let named = added.named().count();
    named > 0 && added.holders().len() > named
}

/// The chain of a token that its holder exchanges, who is named by the agent alone where it was
/// handed on: now it is known which copy of it that is.
pub(super) fn chain_of_holder(token: &AccessToken, holder: Actor) -> Vec<Actor> {
    let mut chain = token.chain.clone();
    if let Some(first) = chain.first_mut() {
        *first = holder;
    }
    chain
}
