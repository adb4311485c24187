//! RFC 7662, RFC 7009: whether a token is alive, and ending one's own.
//!
//! Introspection runs the same Verifier as every resource. Whoever may not know gets the same
//! answer as for a token that never was: `{"active":false}`.

use accredit_wire::ids::{AgentId, BlockId, InstanceId};
use accredit_wire::oauth::introspection::{ActiveToken, Introspection, IntrospectionRequest};
use accredit_wire::oauth::revocation::TokenTypeHint;
use accredit_wire::oauth::token_response::TokenType;
use accredit_wire::secret::Secret;
use accredit_wire::token::AccessToken;
use accredit_wire::verify::Rejection;

use crate::context::Cx;
use crate::issuance::admission::HolderFacts;
use crate::issuance::authenticate::AuthenticatedClient;
use crate::issuance::jwt_svid;
use crate::refusal::{Error, Fault, Refusal, Rule};
use crate::registry::credential::AdminPermission;
use crate::revocation;

/// Answers a resource about an access token, or where it says so a JWT-SVID, for it, or an administrator about any of the organization.
pub async fn introspect(
    cx: &Cx,
    client: Option<&AuthenticatedClient>,
    asked: &IntrospectionRequest,
) -> Result<Introspection, Fault> {
    let token = &asked.token;
    // Only to who knows that it is no access token: it says who somebody is, and grants nothing.
    if asked.hint == Some(TokenTypeHint::JwtSvid) {
        return Box::pin(jwt_svid::introspect(cx, client, token.expose())).await;
    }
    let verifier = &cx.tenant.verifier;
    let Ok(issued) = verifier.issued_to(token.expose(), cx.now) else {
        return Ok(Introspection::Inactive);
    };
    let entitled = match client.map(|client| &client.credential.holder) {
        Some(HolderFacts::Resource(resource)) => resource.id == issued.resource,
        Some(HolderFacts::Agent(_) | HolderFacts::Instance { .. } | HolderFacts::Admin(_)) => false,
        None => cx.require(AdminPermission::Read).is_ok(),
    };
    if !entitled {
        return Ok(Introspection::Inactive);
    }
    come_up_to(cx, token.expose()).await?;
    let now = cx.world.latest.judged_at(cx.now);
    Ok(match verifier.alive(token.expose(), now) {
        // The token's end was set by this clock: nothing is forgiven, as a resource would.
        Ok(alive) if now < alive.expires_at() => {
            Introspection::Active(Box::new(active(alive.token())))
        }
        Ok(_) | Err(_) => Introspection::Inactive,
    })
}

/// Takes over what other nodes wrote where one of them decided a token by more than is known here: as
/// it was a moment ago this node would take a living token for one of an unknown state.
pub(crate) async fn come_up_to(cx: &Cx, token: &str) -> Result<(), Fault> {
    if cx.world.store.is_shared()
        && let Err(Rejection::Behind { .. }) = cx.tenant.verifier.alive(token, cx.now)
    {
        cx.world.store.catch_up().await?;
    }
    Ok(())
}

fn active(claims: &AccessToken) -> ActiveToken {
    let mut payload: Option<serde_json::Value> = serde_json::from_slice(&claims.to_payload()).ok();
    let mut stands = |name: &str| payload.as_mut()?.get_mut(name).map(std::mem::take);
    ActiveToken {
        scope: claims.scope.clone(),
        authorization_details: claims.details.clone(),
        client_id: claims.client_id.to_string(),
        token_type: TokenType::of(claims.cnf),
        cnf: claims.cnf,
        exp: claims.expires_at,
        iat: claims.issued_at,
        sub: claims.subject.to_string(),
        aud: claims.audience.clone(),
        iss: claims.issuer.clone(),
        jti: claims.id.to_string(),
        act: stands("act"),
        accredit: stands("accredit"),
    }
}

/// Ends a token at its client's wish. A token that is none, or over, needs nothing done; one that is
/// over only because somebody has set the clock ahead, or is not valid yet because it was ahead when
/// the token was issued, is ended. Of an attenuable token that was narrowed, what was sent ends and
/// whatever it was narrowed to further, and not what it was made from.
///
/// RFC 7009 section 2.1: the server "verifies whether the token was issued to the client making
/// the revocation request. If this validation fails, the request is refused". That is said of dead
/// tokens as of live ones, so that nobody learns by asking whether another's token is alive.
pub async fn revoke_own(
    cx: &Cx,
    client: &AuthenticatedClient,
    token: &Secret,
) -> Result<(), Error> {
    let verifier = &cx.tenant.verifier;
    let Ok(issued) = verifier.issued_to(token.expose(), cx.now) else {
        return Box::pin(revoke_own_svid(cx, client, token)).await;
    };
    let to = (issued.client, issued.instance);
    issued_to_them(&client.credential.holder, to, issued.handed_on_to)?;
    come_up_to(cx, token.expose()).await?;
    // Also in the minute after its end, in which a resource with another clock still takes it.
    let over = |at| match verifier.alive(token.expose(), at) {
        Ok(_) | Err(Rejection::NotYetValid { .. }) => false,
        Err(_) => true,
    };
    if over(cx.now) && over(cx.world.latest.latest_or(cx.now)) {
        return Ok(());
    }
    // Of a token that was narrowed, the wider ones live on.
    let target = issued.added.map_or(issued.id.any(), BlockId::any);
    revocation::token(cx, target, Some(issued.client), "revoked by its client").await?;
    Ok(())
}

/// The same of a JWT-SVID, which any instance's own credential ends for that instance.
async fn revoke_own_svid(
    cx: &Cx,
    client: &AuthenticatedClient,
    token: &Secret,
) -> Result<(), Error> {
    let Some(said) = jwt_svid::of_own(cx, token.expose()) else { return Ok(()) };
    issued_to_them(&client.credential.holder, (said.agent, Some(said.instance)), None)?;
    if jwt_svid::is_alive(cx, &said).await? {
        revocation::token(cx, said.id.any(), Some(said.agent), "revoked by its client").await?;
    }
    Ok(())
}

/// Refuses a token that was issued to somebody else, and was not handed on to them either. An
/// instance's credential ends only that instance's tokens: its siblings go on. Which copy of an agent
/// a token was handed on to, nobody has said.
fn issued_to_them(
    holder: &HolderFacts,
    (client, instance): (AgentId, Option<InstanceId>),
    handed_on_to: Option<AgentId>,
) -> Result<(), Refusal> {
    let another = match holder {
        HolderFacts::Agent(agent) | HolderFacts::Instance { agent, .. }
            if handed_on_to == Some(*agent) =>
        {
            None
        }
        HolderFacts::Agent(agent) => (*agent != client).then_some("client"),
        HolderFacts::Instance { agent, .. } if *agent != client => Some("client"),
        HolderFacts::Instance { id, .. } => (instance != Some(*id)).then_some("instance"),
        HolderFacts::Resource(_) | HolderFacts::Admin(_) => Some("client"),
    };
    let Some(another) = another else { return Ok(()) };
    Err(Refusal::new(
        Rule::TokenNotYours,
        format!("the token was issued to another {another}"),
        format!(
            "here only the {another} that a token was issued to ends it; an administrator does \
             so with `accredit revoke`"
        ),
    ))
}
