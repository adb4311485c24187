//! Whether anything of an agent still authenticates, found by trying.
//!
//! Nobody keeps secrets, so none is shown: each credential row is put, as if its proof had been
//! right, through the very decisions that a request for a token meets ([`crate::issuance::trial`]);
//! tokens are judged by the state that verifiers hold. What is told is the rule that refused, and
//! what was not refused is a ghost.

use accredit_wire::ids::{AgentId, AnyId};
use serde::Serialize;

use super::agent::{Agent, AgentState};
use super::{PAGE_ROWS_MAX, find_agent, keep_for};
use crate::context::Cx;
use crate::issuance::trial;
use crate::ports::Page;
use crate::refusal::Error;
use crate::registry::credential::AdminPermission;
use crate::registry::instance::InstanceState;

/// Rows that are tried of one agent, of each kind: ten pages. Where there are more, it is said.
pub const TRIED_MAX: usize = 10 * PAGE_ROWS_MAX;
/// Of those that were refused, so many are named; all that were not are.
pub const REFUSED_SHOWN_MAX: usize = 200;

/// What came of trying.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Ghosts {
    /// The agent.
    #[schema(value_type = String)]
    pub agent: AgentId,
    /// Its name.
    pub name: String,
    /// Where it is in its life.
    pub state: AgentState,
    /// Whether it is decommissioned and nothing of it was let in.
    pub gone: bool,
    /// How many were tried.
    pub tried: usize,
    /// How many were let in.
    pub alive: usize,
    /// Whether there are more than were tried: then nothing is proved.
    pub more: bool,
    /// What was tried: first what was let in, then those that were refused, at most
    /// [`REFUSED_SHOWN_MAX`] of them.
    pub items: Vec<Tried>,
}

/// One thing that was tried.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Tried {
    /// The credential or instance, or the agent for its tokens.
    #[schema(value_type = String)]
    pub id: AnyId,
    /// `credential`, `instance`, `tokens` or `key set`.
    pub what: &'static str,
    /// Whether it was let in.
    pub alive: bool,
    /// The rule that refused it.
    pub refused_by: Option<String>,
}

/// Tries all that an agent has or had.
pub async fn ghosts(cx: &Cx, key: &str) -> Result<Ghosts, Error> {
    cx.require(AdminPermission::Read)?;
    let agent = find_agent(cx, key).await?;
    let mut items = vec![tokens(cx, agent.id).await?];
    if agent.jwks.jwks_url.is_some() {
        items.push(found(agent.id.any(), "key set", None));
    }
    let (credentials, more_credentials) = credentials(cx, agent.id).await?;
    let (instances, more_instances) = instances(cx, agent.id).await?;
    items.extend(credentials.into_iter().chain(instances));
    let (tried, more) = (items.len(), more_credentials || more_instances);
    let alive = items.iter().filter(|item| item.alive).count();
    items.sort_by_key(|item| !item.alive);
    items.truncate(alive + REFUSED_SHOWN_MAX);
    let gone = agent.state == AgentState::Decommissioned && alive == 0 && !more;
    let Agent { name, state, .. } = &agent;
    Ok(Ghosts {
        agent: agent.id,
        name: name.clone(),
        state: *state,
        gone,
        tried,
        alive,
        more,
        items,
    })
}

/// What was tried, and by which rule it was refused; nothing where it was not.
fn found(id: AnyId, what: &'static str, refused_by: Option<&str>) -> Tried {
    Tried { id, what, alive: refused_by.is_none(), refused_by: refused_by.map(str::to_owned) }
}

/// The tokens: the last that can have been decided before the agent was ended is judged by what
/// verifiers hold.
async fn tokens(cx: &Cx, agent: AgentId) -> Result<Tried, Error> {
    let entry = cx.world.store.newest_revocation(cx.tenant.id, agent.any()).await?;
    let state = cx.tenant.revoked();
    let refused = if let Some(entry) = entry {
        let last = entry.rev.saturating_sub(1);
        let ended = state.ended_at([agent.any()], last).is_some();
        // An entry is forgotten once nothing that it ended can live.
        let over = entry.revoked_at.plus(keep_for()) < cx.now;
        (ended || over).then_some(if ended { "token-revoked" } else { "token-expired" })
    } else {
        // No entry: it was never ended, or so long ago that all of it has expired.
        let found = find_agent(cx, &agent.to_string()).await?;
        (found.state == AgentState::Decommissioned).then_some("token-expired")
    };
    Ok(found(agent.any(), "tokens", refused))
}

/// Every credential of the agent and of its instances, as if its proof had been right.
async fn credentials(cx: &Cx, agent: AgentId) -> Result<(Vec<Tried>, bool), Error> {
    let (mut tried, mut cursor) = (Vec::new(), None);
    loop {
        let rows = cx.world.store.credentials(cx.tenant.id, page(cx, agent, cursor)).await?;
        for row in &rows.items {
            let facts = cx.world.store.credential_facts(cx.tenant.id, row.id).await?.found;
            let refused = match facts {
                None => Some("client-authentication".to_owned()),
                Some(facts) => match trial::would_issue(cx, &facts).await {
                    Ok(()) => None,
                    Err(Error::Refused(refusal)) => Some(refusal.rule.code().to_owned()),
                    Err(fault) => return Err(fault),
                },
            };
            tried.push(found(row.id.any(), "credential", refused.as_deref()));
        }
        cursor = rows.next;
        if cursor.is_none() || tried.len() >= TRIED_MAX {
            return Ok((tried, cursor.is_some()));
        }
    }
}

/// Every instance: whether it may still act.
async fn instances(cx: &Cx, agent: AgentId) -> Result<(Vec<Tried>, bool), Error> {
    let (mut tried, mut cursor) = (Vec::new(), None);
    loop {
        let rows = cx.world.store.instances(cx.tenant.id, page(cx, agent, cursor)).await?;
        for row in &rows.items {
            let over = row.expires_at.is_some_and(|end| end <= cx.now);
            let ended = row.state == InstanceState::Revoked || over;
            tried.push(found(row.id.any(), "instance", ended.then_some("instance-not-active")));
        }
        cursor = rows.next;
        if cursor.is_none() || tried.len() >= TRIED_MAX {
            return Ok((tried, cursor.is_some()));
        }
    }
}

fn page(cx: &Cx, agent: AgentId, cursor: Option<String>) -> Page {
    Page { cursor, agent: Some(agent), limit: PAGE_ROWS_MAX, at: cx.now, ..Page::default() }
}
