//! Stripping: an agent that runs is narrowed to less, and what it holds that may be wider ends.
//!
//! One act and one entry of the revocation graph. What it is narrowed to must be part of what it
//! holds: stripping never adds, so whoever may stop an agent may strip it.
//!
//! The entry is the agent's: it ends every live token, those too that are no wider than what is left. A
//! verifier that asks nobody sees lineage and `rev`, and no difference between a wide and a narrow one;
//! the agent asks again at once.

use std::collections::BTreeSet;

use accredit_wire::authority::{Authority, Permission, ScopeToken, attenuate};
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
    /// All that it may still do, as `resource:action`, with limits in parentheses behind it; each must
    /// be something that it may do now. Without limits, the ones that there are stay.
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
    let hint = "write it as `resource:action`, and what limits it in parentheses behind it";
    let wanted = asked.allow.iter().map(|text| text.parse::<Permission>());
    let wanted = wanted.collect::<Result<Vec<_>, _>>();
    let wanted = wanted.map_err(|error| Refusal::field("allow", error, hint))?;
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

/// What is left of an Authority where only these may be done: within their limits, or within those
/// that there are where they have none. Refused where one of them is not among what is held.
fn narrowed(held: &Authority, wanted: &[Permission]) -> Result<Authority, Refusal> {
    let never_adds = "stripping never adds: name only what it may do now";
    let mut left = Vec::new();
    for asked in wanted {
        if asked.limits.is_some() {
            let one = Authority::new([asked.clone()]);
            let one = one.map_err(|error| Refusal::field("allow", error, "name less"))?;
            let kept = attenuate(held, &one)
                .map_err(|excess| Refusal::field("allow", excess, never_adds))?;
            left.extend(kept.permissions().iter().cloned());
            continue;
        }
        for action in &asked.actions {
            let of_it = |held: &&Permission| {
                held.resource == asked.resource && held.actions.contains(action)
            };
            let before = left.len();
            left.extend(held.permissions().iter().filter(of_it).map(|held| Permission {
                actions: BTreeSet::from([action.clone()]),
                ..held.clone()
            }));
            if left.len() == before {
                let why = format!("the agent does not hold {}:{action}", asked.resource);
                return Err(Refusal::field("allow", why, never_adds));
            }
        }
    }
    Authority::new(left).map_err(|error| Refusal::field("allow", error, "name less"))
}
