//! RFC 6749 section 4.4, RFC 7523 section 2.1: an agent asks for a token in its own name.
//!
//! What is granted is what was asked, at most what the agent holds; nothing asked means its
//! default scope, or nothing.

use std::sync::Arc;

use accredit_wire::authority::Scope;
use accredit_wire::oauth::token_request::TokenRequest;

use super::ProposedGrant;
use super::actor::acting;
use super::target::target;
use crate::context::Cx;
use crate::issuance::authenticate::AuthenticatedClient;
use crate::refusal::Error;
use crate::registry::task;

/// Proposes what the request asks for, where the agent may act at all.
pub async fn propose(
    cx: &Cx,
    client: &AuthenticatedClient,
    request: &TokenRequest,
) -> Result<ProposedGrant, Error> {
    let (agent, owner) = acting(cx, client).await?;
    let scope = match &request.scope {
        Some(scope) => scope.clone(),
        // Who asks for something within limits has said what it needs.
        None if !request.details.is_empty() => Scope::default(),
        None => agent.entitlements.default_scope.clone().unwrap_or_default(),
    };
    let task = match request.task {
        // Boxed: it is asked for seldom, and every request would carry the room that it needs.
        Some(task) => Some(Box::pin(task::for_token(cx, task, agent.id)).await?),
        None => None,
    };
    let resource = target(&agent, (&scope, &request.details), &request.resources)?;
    let lifetime = request.expires_in.unwrap_or(agent.token_lifetime).min(agent.token_lifetime);
    Ok(ProposedGrant {
        credential: Arc::clone(&client.credential),
        rev: client.rev,
        binds: client.proved.binds(),
        agent,
        resource,
        owner,
        scope,
        details: request.details.clone(),
        lifetime,
        task,
        origin: None,
        attested: client.attested.clone(),
        svid: client.svid.clone(),
        hangs_on: Vec::new(),
    })
}
