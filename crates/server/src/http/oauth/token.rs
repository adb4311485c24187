//! RFC 6749 section 3.2, RFC 7523 section 2, RFC 8705, RFC 9449 section 5: the token endpoint.

use accredit_domain::issuance::{self, IssuedToken, Outcome, possession};
use accredit_wire::binding::PeerCertificate;
use accredit_wire::binding::dpop::NONCE_HEADER;
use accredit_wire::oauth::client_auth::ClientAuth;
use accredit_wire::oauth::form::Form;
use accredit_wire::oauth::token_request::TokenRequest;
use accredit_wire::oauth::token_response::{self, TokenType};
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderName, WWW_AUTHENTICATE};

use crate::dispatch::{Call, Handled};
use crate::failure::{self, Failure, Language};
use crate::rates;
use crate::reply::{self, Reply};
use accredit_domain::refusal::Kind;
use accredit_domain::{Cx, Refusal, Rule};

/// Issues a token.
pub fn token(call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.cx(call.tenant().await?);
        let form = Form::from_request(call.header(&CONTENT_TYPE), call.raw_query(), &call.body)?;
        let auth = call.token_auth(&form)?;
        let certificate = call.certificate().map(PeerCertificate::thumbprint);
        let request = TokenRequest::parse(&form)?.with_proofs(call.proofs());
        let request = request.with_certificate(certificate);
        rates::may_try(&cx, &auth)?;
        match issuance::issue(&cx, &auth, &request).await? {
            Outcome::Issued(issued) => {
                let standing = cx.world.limits.client_stands(issued.client.any(), cx.now);
                call.server.metrics.issued(&cx.tenant);
                let IssuedToken { token, token_type, expires_in, scope, details, .. } = &issued;
                let kind = (*token_type, request.told_token_type());
                let body = token_response::json(token, kind, *expires_in, (scope, details));
                let mut reply = reply::json_text(StatusCode::OK, body);
                if *token_type == TokenType::Dpop && possession::are_nonces_required(&cx) {
                    give_nonce(&mut reply, &cx);
                }
                Ok(rates::told(reply, standing))
            }
            Outcome::Refused(refusal) => {
                rates::note(&cx, &auth, &refusal);
                call.server.metrics.refused(&cx.tenant, refusal.rule.code());
                let wants_nonce = refusal.rule == Rule::DpopNonce;
                let mut reply = refused(&call, &auth, refusal);
                if wants_nonce {
                    give_nonce(&mut reply, &cx);
                }
                Ok(reply)
            }
        }
    })
}

/// RFC 9449 section 8: the nonce that the next proof is to have.
fn give_nonce(reply: &mut Reply, cx: &Cx) {
    if let Some(nonce) = possession::nonce(cx) {
        reply::set(reply, HeaderName::from_static(NONCE_HEADER), &nonce);
    }
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
