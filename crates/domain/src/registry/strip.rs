//! Stripping: an agent that runs is narrowed to less, and what it holds that may be wider ends.
//!
//! One act and one entry of the revocation graph. What it is narrowed to must be part of what it
//! holds: stripping never adds, so whoever may stop an agent may strip it.

use std::collections::BTreeSet;

use accredit_wire::authority::{Authority, Permission, ScopeToken};
use serde::{Deserialize, Serialize};

use super::agent::{Agent, alive};
use super::{Versioned, commit, decide, ending, rotation_schedule, text};
use crate::audit::changes;
use crate::audit::event::{Body, EventKind};
use crate::context::Cx;
use crate::ports::Row;
use crate::refusal::{Error, Refusal};
use crate::registry::credential::AdminPermission;
use crate::revocation::{self, RevocationView};

/// A request to narrow an agent.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Strip {
    /// All that it may still do, as `resource:action`; each must be something that it may do now.
    pub allow: Vec<String>,
    /// Why.
    pub reason: String,
}

/// What came of it: the entry that ends its live tokens, and the agent as it is now.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Stripped {
    /// The entry, with the tokens that it ends at most.
    #[serde(flatten)]
    pub revocation: RevocationView,
    /// The agent.
    pub agent: Agent,
}

impl Versioned for Stripped {
    fn version(&self) -> i64 {
        self.agent.version
    }
}

/// Narrows an agent. Its live tokens end, and it asks again for what is left.
pub async fn strip(cx: &Cx, key: &str, asked: &Strip) -> Result<Stripped, Error> {
    cx.require(AdminPermission::Revoke)?;
    let reason = text("reason", &asked.reason)?;
    let wanted = asked
        .allow
        .iter()
        .map(|text| {
            text.parse::<ScopeToken>()
                .map_err(|error| Refusal::field("allow", error, "write it as `resource:action`"))
        })
        .collect::<Result<BTreeSet<_>, _>>()?;
    if wanted.is_empty() {
        return Err(Refusal::field(
            "allow",
            "is empty",
            "name what it may still do, or suspend it: `accredit kill agent`",
        )
        .into());
    }
    let agent = decide(|| async {
        let mut agent = alive(cx, key).await?;
        cx.terms.expected.check(agent.version)?;
        let before = agent.clone();
        agent.permissions = narrowed(&before.permissions, &wanted)?;
        if agent.permissions == before.permissions {
            return Err(super::already("agent", "as narrow as that").into());
        }
        let holds = |token: &ScopeToken| agent.permissions.allows(&token.resource, &token.action);
        if agent.default_scope.as_ref().is_some_and(|scope| !scope.tokens().all(holds)) {
            agent.default_scope = None;
        }
        let left: BTreeSet<_> =
            agent.permissions.permissions().iter().map(|held| held.resource.clone()).collect();
        agent.across_environments.retain(|resource| left.contains(resource));
        rotation_schedule::ask(&mut agent, cx.now, "it was stripped of permissions");
        let body = Body {
            agent: Some(agent.id),
            target: Some(agent.id.any()),
            reason: Some(reason.clone()),
            changes: changes::made_different(&before, &agent)?,
            ..Body::default()
        };
        let entry = Some(ending(cx, agent.id.any(), &reason));
        let event = cx.event(EventKind::AgentStripped, body);
        commit(cx, vec![Row::Agent(agent.clone())], entry, event).await?;
        agent.version += 1;
        Ok(rotation_schedule::at(agent, cx.now))
    })
    .await?;
    let revocation = revocation::of_tokens(cx, agent.id.any()).await?;
    Ok(Stripped { revocation, agent })
}

/// What is left of an Authority where only these may be done, within the limits that there are;
/// refused where one of them is not among what is held.
fn narrowed(held: &Authority, wanted: &BTreeSet<ScopeToken>) -> Result<Authority, Refusal> {
    let names = |held: &Permission, token: &ScopeToken| {
        held.resource == token.resource && held.actions.contains(&token.action)
    };
    let wider = |token: &&ScopeToken| !held.permissions().iter().any(|held| names(held, token));
    let excess: Vec<String> = wanted.iter().filter(wider).map(ToString::to_string).collect();
    if !excess.is_empty() {
        return Err(Refusal::field(
            "allow",
            format!("the agent does not hold {}", excess.join(", ")),
            "stripping never adds: name only what it may do now",
        ));
    }
    let left = held.permissions().iter().filter_map(|held| {
        let is_wanted = |action: &_| {
            wanted.iter().any(|token| token.resource == held.resource && token.action == *action)
        };
        let actions: BTreeSet<_> =
            held.actions.iter().filter(|action| is_wanted(*action)).cloned().collect();
        (!actions.is_empty()).then(|| Permission { actions, ..held.clone() })
    });
    Authority::new(left).map_err(|error| Refusal::field("allow", error, "name less"))
}
