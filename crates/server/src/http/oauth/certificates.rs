//! SPIFFE X509-SVID, RFC 2986: certificates that instances ask for themselves, in a form and with the
//! client authentication of the token endpoint.

use accredit_domain::issuance::{Outcome, certificate};
use accredit_wire::oauth::certificate_request::CertificateRequest;
use accredit_wire::oauth::client_auth::BearerKeys;
use accredit_wire::oauth::form::Form;
use http::StatusCode;
use http::header::CONTENT_TYPE;

use super::token::refused;
use crate::dispatch::{Call, Handled};
use crate::{rates, reply};

/// Issues a certificate.
pub fn issue(call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.cx(call.tenant().await?);
        let form = Form::from_request(call.header(&CONTENT_TYPE), call.raw_query(), &call.body)?;
        let auth = call.client_auth(&form, BearerKeys::Refused)?;
        let request = CertificateRequest::parse(&form)?;
        rates::may_try(&cx, &auth)?;
        match certificate::issue(&cx, &auth, &request).await? {
            Outcome::Issued(svid) => {
                let standing = cx.world.limits.client_stands(svid.client, cx.now);
                call.server.metrics.certified(&cx.tenant);
                Ok(rates::told(reply::json(StatusCode::OK, &svid)?, standing))
            }
            Outcome::Refused(refusal) => {
                rates::note(&cx, &auth, &refusal);
                call.server.metrics.refused(&cx.tenant, refusal.rule.code());
                Ok(refused(&call, &auth, refusal))
            }
        }
    })
}
