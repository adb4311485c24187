//! RFC 6749 section 3.2: the token endpoint.

use accredit_domain::issuance::{self, Outcome};
use accredit_wire::oauth::client_auth::{BearerKeys, ClientAuth};
use accredit_wire::oauth::form::Form;
use accredit_wire::oauth::token_request::{Grant, TokenRequest};
use accredit_wire::oauth::token_response;
use http::StatusCode;
use http::header::{CONTENT_TYPE, WWW_AUTHENTICATE};

use crate::dispatch::{Call, Handled};
use crate::failure::{self, Failure, Language};
use crate::rates;
use crate::reply::{self, Reply};
use accredit_domain::Refusal;
use accredit_domain::refusal::Kind;

/// Issues a token.
pub fn token(call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.cx(call.tenant().await?);
        let form = Form::from_request(call.header(&CONTENT_TYPE), call.raw_query(), &call.body)?;
        let auth = ClientAuth::from_request(&call.authorization(), &form, BearerKeys::Refused)?;
        let request = TokenRequest::parse(&form)?;
        rates::may_try(&cx, &auth)?;
        match issuance::issue(&cx, &auth, &request).await? {
            Outcome::Issued(issued) => {
                let standing = cx.world.limits.client_stands(issued.client.any(), cx.now);
                call.server.metrics.issued(&cx.tenant);
                let exchanged = match &request.grant {
                    Grant::ClientCredentials => None,
                    Grant::TokenExchange(exchange) => Some(exchange.requested_token_type),
                };
                let (token, life) = (&issued.token, issued.expires_in);
                let body = token_response::json(token, life, &issued.scope, exchanged);
                Ok(rates::told(reply::json_text(StatusCode::OK, body), standing))
            }
            Outcome::Refused(refusal) => {
                rates::note(&cx, &auth, &refusal);
                call.server.metrics.refused(&cx.tenant, refusal.rule.code());
                Ok(refused(&call, &auth, refusal))
            }
        }
    })
}

/// A refusal, with a challenge where the client used the `Authorization` header (RFC 6749
/// section 5.2).
pub(super) fn refused(call: &Call, auth: &ClientAuth, refusal: Refusal) -> Reply {
    let unauthenticated = refusal.rule.kind() == Kind::Unauthenticated;
    let mut reply = failure::render(Failure::Refused(refusal), Language::OAuth, call.request);
    if unauthenticated && let Some(challenge) = auth.challenge("accredit") {
        reply::set(&mut reply, WWW_AUTHENTICATE, &challenge);
    }
    reply
}
