//! SPIFFE JWT-SVID: tokens that instances ask for themselves and that say who they are, in a form and with
//! the client authentication of the token endpoint.

use accredit_domain::issuance::{Outcome, jwt_svid};
use accredit_wire::oauth::client_auth::BearerKeys;
use accredit_wire::oauth::form::Form;
use accredit_wire::oauth::jwt_svid_request::JwtSvidRequest;
use http::StatusCode;
use http::header::CONTENT_TYPE;

use super::token::refused;
use crate::dispatch::{Call, Handled};
use crate::{rates, reply};

/// Issues a JWT-SVID.
pub fn issue(call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.cx(call.tenant().await?);
        let form = Form::from_request(call.header(&CONTENT_TYPE), call.raw_query(), &call.body)?;
        let auth = call.client_auth(&form, BearerKeys::Refused)?;
        let request = JwtSvidRequest::parse(&form)?;
        rates::may_try(&cx, &auth)?;
        match jwt_svid::issue(&cx, &auth, &request).await? {
            Outcome::Issued(issued) => {
                let standing = cx.world.limits.client_stands(issued.client, cx.now);
                call.server.metrics.issued(&cx.tenant);
                Ok(rates::told(reply::json(StatusCode::OK, &issued)?, standing))
            }
            Outcome::Refused(refusal) => {
                rates::note(&cx, &auth, &refusal);
                call.server.metrics.refused(&cx.tenant, refusal.rule.code());
                Ok(refused(&call, &auth, refusal))
            }
        }
    })
}
