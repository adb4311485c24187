//! RFC 7662, RFC 7009: whether a token is alive, and ending one's own.
//!
//! Introspection runs the same Verifier as every resource. Whoever may not know gets the same
//! answer as for a token that never was: `{"active":false}`.

use accredit_wire::ids::AgentId;
use accredit_wire::oauth::introspection::{ActiveToken, Introspection};
use accredit_wire::oauth::token_response::TokenType;
use accredit_wire::secret::Secret;
use accredit_wire::token::AccessToken;

use crate::context::Cx;
use crate::issuance::admission::HolderFacts;
use crate::issuance::authenticate::AuthenticatedClient;
use crate::refusal::{Error, Refusal, Rule};
use crate::registry::credential::AdminPermission;
use crate::revocation;

/// Answers a resource about a token for it, or an administrator about any of the organization.
pub fn introspect(cx: &Cx, client: Option<&AuthenticatedClient>, token: &Secret) -> Introspection {
    let Ok(principal) = cx.tenant.verifier.verify_token(token.expose(), cx.now) else {
        return Introspection::Inactive;
    };
    let claims = principal.token();
    let entitled = match client.map(|client| &client.credential.holder) {
        Some(HolderFacts::Resource(resource)) => {
            resource.id == claims.resource && resource.audience == claims.audience
        }
        Some(HolderFacts::Agent(_) | HolderFacts::Instance { .. } | HolderFacts::Admin(_)) => false,
        None => cx.require(AdminPermission::Read).is_ok(),
    };
    if entitled { Introspection::Active(Box::new(active(claims))) } else { Introspection::Inactive }
}

fn active(claims: &AccessToken) -> ActiveToken {
    let payload: Option<serde_json::Value> = serde_json::from_slice(&claims.to_payload()).ok();
    ActiveToken {
        scope: claims.scope.clone(),
        client_id: claims.client_id.to_string(),
        token_type: TokenType::Bearer,
        exp: claims.expires_at,
        iat: claims.issued_at,
        sub: claims.subject.to_string(),
        aud: claims.audience.clone(),
        iss: claims.issuer.clone(),
        jti: claims.id.to_string(),
        accredit: payload.and_then(|mut payload| payload.get_mut("accredit").map(std::mem::take)),
    }
}

/// Ends a token at its client's wish. A token that is none, or over, needs nothing done.
pub async fn revoke_own(
    cx: &Cx,
    client: &AuthenticatedClient,
    token: &Secret,
) -> Result<(), Error> {
    let Ok(principal) = cx.tenant.verifier.verify_token(token.expose(), cx.now) else {
        return Ok(());
    };
    let claims = principal.token();
    let holder: Option<AgentId> = match &client.credential.holder {
        HolderFacts::Agent(agent) | HolderFacts::Instance { agent, .. } => Some(*agent),
        HolderFacts::Resource(_) | HolderFacts::Admin(_) => None,
    };
    if holder != Some(claims.client_id) {
        return Err(Refusal::new(
            Rule::TokenNotYours,
            "the token was issued to another client",
            "here only the client that a token was issued to ends it; an administrator does so \
             with `accredit revoke`",
        )
        .into());
    }
    // An instance's credential ends only that instance's tokens: its siblings go on.
    if let HolderFacts::Instance { id, .. } = &client.credential.holder
        && claims.instance != Some(*id)
    {
        return Err(Refusal::new(
            Rule::TokenNotYours,
            "the token was issued to another instance",
            "here only the instance that a token was issued to ends it; an administrator does so \
             with `accredit revoke`",
        )
        .into());
    }
    let reason = "revoked by its client";
    revocation::token(cx, claims.id, Some(claims.client_id), reason).await?;
    Ok(())
}
