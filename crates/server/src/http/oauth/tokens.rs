//! RFC 7662, RFC 7009: introspection and revocation.

use accredit_domain::audit::refusals;
use accredit_domain::issuance::admission::HolderFacts;
use accredit_domain::issuance::authenticate::{self, AuthenticatedClient, NotAuthenticated};
use accredit_domain::{Cx, Refusal, Rule, introspection};
use accredit_wire::oauth::client_auth::{BearerKeys, ClientAuth};
use accredit_wire::oauth::form::Form;
use accredit_wire::oauth::introspection::IntrospectionRequest;
use accredit_wire::oauth::revocation::RevocationRequest;
use http::StatusCode;
use http::header::CONTENT_TYPE;

use super::token::refused;
use crate::dispatch::{Call, Handled};
use crate::failure::Failure;
use crate::{rates, reply};

/// Tells a resource whether a token for it is alive.
pub fn introspect(call: Call) -> Handled {
    Box::pin(async move {
        let mut cx = call.cx(call.tenant().await?);
        let form = Form::from_request(call.header(&CONTENT_TYPE), call.raw_query(), &call.body)?;
        let auth = call.client_auth(&form, BearerKeys::Taken)?;
        let request = IntrospectionRequest::parse(&form)?;
        let operation = call.endpoint.operation;
        let client = match authenticated(&mut cx, &auth, operation).await {
            Ok(client) => client,
            Err(Failure::Refused(refusal)) => return Ok(refused(&call, &auth, refusal)),
            Err(failure) => return Err(failure),
        };
        let client = match &client.credential.holder {
            HolderFacts::Admin(_) => None,
            HolderFacts::Resource(_) => Some(&client),
            HolderFacts::Agent(_) | HolderFacts::Instance { .. } => {
                return Err(Refusal::new(
                    Rule::NotEntitled,
                    "an agent does not introspect tokens",
                    "introspect with the credential of the resource that the token is for",
                )
                .into());
            }
        };
        let standing = client.and_then(|it| cx.world.limits.client_stands(it.id(), cx.now));
        let answer = introspection::introspect(&cx, client, &request).await?;
        Ok(rates::told(reply::json(StatusCode::OK, &answer)?, standing))
    })
}

/// Ends a token at its client's wish.
pub fn revoke(call: Call) -> Handled {
    Box::pin(async move {
        let mut cx = call.cx(call.tenant().await?);
        let form = Form::from_request(call.header(&CONTENT_TYPE), call.raw_query(), &call.body)?;
        let auth = call.client_auth(&form, BearerKeys::Taken)?;
        let request = RevocationRequest::parse(&form)?;
        let operation = call.endpoint.operation;
        let client = match authenticated(&mut cx, &auth, operation).await {
            Ok(client) => client,
            Err(Failure::Refused(refusal)) => return Ok(refused(&call, &auth, refusal)),
            Err(failure) => return Err(failure),
        };
        introspection::revoke_own(&cx, &client, &request.token).await?;
        let standing = cx.world.limits.client_stands(client.id(), cx.now);
        Ok(rates::told(reply::empty(StatusCode::OK), standing))
    })
}

/// Authenticates the client, counts where it fails, and consumes what its proof used up.
pub(super) async fn authenticated(
    cx: &mut Cx,
    auth: &ClientAuth,
    operation: &str,
) -> Result<AuthenticatedClient, Failure> {
    rates::may_try(cx, auth)?;
    let proved = authenticate::client(cx, auth).await;
    admitted(cx, (auth, operation), proved).await
}

/// The same of whoever wants to be known by a key of their own.
pub(super) async fn joining(
    cx: &mut Cx,
    auth: &ClientAuth,
    operation: &str,
) -> Result<AuthenticatedClient, Failure> {
    rates::may_try(cx, auth)?;
    let proved = authenticate::joining(cx, auth).await;
    admitted(cx, (auth, operation), proved).await
}

async fn admitted(
    cx: &mut Cx,
    (auth, operation): (&ClientAuth, &str),
    proved: Result<AuthenticatedClient, NotAuthenticated>,
) -> Result<AuthenticatedClient, Failure> {
    let client = match proved {
        Ok(client) => client,
        Err(NotAuthenticated::Refused(refusal)) => {
            rates::note(cx, auth, &refusal);
            cx.tenant.refusals.count(cx, auth.client_id(), &refusal);
            return Err(refusal.into());
        }
        Err(NotAuthenticated::Ended(client, refusal)) => {
            rates::note(cx, auth, &refusal);
            cx.caller = client.caller();
            refusals::record(cx, client.credential.id, operation, &refusal).await?;
            return Err(refusal.into());
        }
        Err(NotAuthenticated::Fault(fault)) => return Err(fault.into()),
    };
    if let Some(value) = client.used_up.assertion.clone()
        && !cx.world.store.consume_once(cx.tenant.id, value).await?
    {
        return Err(Refusal::new(
            Rule::AssertionReplayed,
            "this client assertion was used before",
            "sign a new assertion, with a new `jti`, for each request",
        )
        .into());
    }
    if let Some(standing) = cx.world.limits.client(client.id(), cx.now) {
        standing.refusal()?;
    }
    cx.tenant.uses.note(client.credential.id.any(), cx.now, cx.source);
    cx.caller = client.caller();
    Ok(client)
}
