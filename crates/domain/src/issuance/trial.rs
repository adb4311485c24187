//! Whether a credential would get a token now, for somebody who had the secret: everything that
//! [`super::issue`] decides after the proof, and nothing of what it does.
//!
//! Nobody is given a token by it and nothing is recorded. It exists so that what is said to be gone
//! can be tried without the secrets, which nobody keeps.

use std::sync::Arc;

use accredit_wire::oauth::form::Form;
use accredit_wire::oauth::token_request::TokenRequest;

use super::admission::{CredentialFacts, HolderFacts};
use super::authenticate::{self, AuthenticatedClient};
use super::possession::Proved;
use super::{grants, permit};
use crate::context::Cx;
use crate::refusal::{Error, Fault};

/// Tries. What was refused says by which rule.
pub async fn would_issue(cx: &Cx, credential: &Arc<CredentialFacts>) -> Result<(), Error> {
    authenticate::usable(cx, credential)?;
    let client = AuthenticatedClient {
        // As if it held a key, too: that it shows none is not what is to refuse it.
        proved: Proved::of_key("A".repeat(43).parse().ok()),
        ..AuthenticatedClient::new(Arc::clone(credential), "none", cx.tenant.rev())
    };
    let request = request(cx, credential).await?;
    let proposed = grants::client_credentials::propose(cx, &client, &request).await?;
    let proposed = grants::descent::within(cx, proposed).await?;
    permit::permit(super::vouched::within(cx, proposed).await?)?;
    Ok(())
}

/// A request for one thing that the agent holds, so that it is not refused for asking too much.
async fn request(cx: &Cx, credential: &CredentialFacts) -> Result<TokenRequest, Error> {
    let agent = match &credential.holder {
        HolderFacts::Agent(agent) | HolderFacts::Instance { agent, .. } => Some(*agent),
        HolderFacts::Resource(_) | HolderFacts::Admin(_) => None,
    };
    let facts = match agent {
        Some(agent) => cx.world.store.agent_facts(cx.tenant.id, agent).await?,
        None => None,
    };
    let held = facts.as_ref().and_then(|facts| {
        let permission = facts.entitlements.authority.permissions().first()?;
        // Names are of letters that stand for themselves in a form.
        Some(format!("&scope={}%3A{}", permission.resource, permission.actions.first()?))
    });
    let text = format!("grant_type=client_credentials{}", held.unwrap_or_default());
    let form = Form::parse(text.as_bytes());
    let request = form.and_then(|form| TokenRequest::parse(&form));
    Ok(request.map_err(|error| Fault::new("try a credential", error))?)
}
