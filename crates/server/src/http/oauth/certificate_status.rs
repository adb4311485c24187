//! RFC 5280 sections 4.2.1.13 and 4.2.2.1, RFC 6960 appendix A, RFC 5019 section 6: what authorities say
//! of the certificates that they signed, for anybody.

use std::sync::Arc;

use accredit_domain::ca::revoked::{CACHED_SECONDS, certificate};
use accredit_domain::keys::rotation::KEY_SET_MAX_AGE_SECONDS;
use accredit_domain::tenant::Tenant;
use accredit_domain::{Refusal, Rule};
use accredit_wire::ids::KeyId;
use accredit_wire::x509::certificate::CERTIFICATE_MEDIA_TYPE;
use accredit_wire::x509::crl::CRL_MEDIA_TYPE;
use accredit_wire::x509::ocsp::{
    CertId, REQUEST_MEDIA_TYPE, RESPONSE_MEDIA_TYPE, RequestError, Unanswered, parse, parse_text,
};
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, EXPIRES, LAST_MODIFIED};

use crate::certificate_status::{Served, tag_of};
use crate::dispatch::{Call, Handled};
use crate::failure::Failure;
use crate::reply::{self, Reply};

/// As PEM files are mostly called (none is registered for lists).
const LISTS_MEDIA_TYPE: &str = "application/x-pem-file";

/// The list of revoked certificates of an authority.
pub fn list(call: Call) -> Handled {
    Box::pin(async move {
        let tenant = call.tenant().await?;
        let (world, lists) = (&call.server.world, &call.server.certificate_status);
        let served = match call.path("authority").parse::<KeyId>() {
            Ok(id) => lists.list(world, &tenant, id).await?,
            Err(_) => None,
        };
        Ok(told(&call, CRL_MEDIA_TYPE, &served.ok_or_else(missing)?))
    })
}

/// The lists of all authorities, PEM: as a program reads them that is given them in a file.
pub fn lists(call: Call) -> Handled {
    Box::pin(async move {
        let tenant = call.tenant().await?;
        let lists = call.server.certificate_status.lists(&call.server.world, &tenant).await?;
        let text: String = lists.into_iter().map(|list| list.crl).collect();
        let tag = tag_of(text.as_bytes());
        let mut reply = if reply::is_known(call.headers(), &tag) {
            reply::empty(StatusCode::NOT_MODIFIED)
        } else {
            reply::bytes(LISTS_MEDIA_TYPE, text)
        };
        reply::keep(&mut reply, CACHED_SECONDS);
        reply::set(&mut reply, ETAG, &tag);
        Ok(reply)
    })
}

/// The certificate of an authority.
pub fn authority(call: Call) -> Handled {
    Box::pin(async move {
        let tenant = call.tenant().await?;
        let found = match call.path("authority").parse::<KeyId>() {
            Ok(id) => certificate(&tenant, id, call.now)?,
            Err(_) => None,
        };
        let mut reply = reply::bytes(CERTIFICATE_MEDIA_TYPE, found.ok_or_else(missing)?);
        reply::keep(&mut reply, KEY_SET_MAX_AGE_SECONDS);
        Ok(reply)
    })
}

/// What is said of certificates that a body asks about.
pub fn asked(call: Call) -> Handled {
    Box::pin(async move {
        let tenant = call.tenant().await?;
        let kind = call.header(&CONTENT_TYPE).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        if !kind.eq_ignore_ascii_case(REQUEST_MEDIA_TYPE) {
            return Err(Failure::Http {
                status: StatusCode::UNSUPPORTED_MEDIA_TYPE,
                rule: "content-type",
                detail: "the body must be an OCSP request".to_owned(),
                hint: format!("send `Content-Type: {REQUEST_MEDIA_TYPE}`"),
            });
        }
        answer(&call, &tenant, parse(&call.body)).await
    })
}

/// What is said of certificates that a path asks about: the request in base64.
pub fn asked_in_path(call: Call) -> Handled {
    Box::pin(async move {
        let tenant = call.tenant().await?;
        answer(&call, &tenant, parse_text(call.path("request"))).await
    })
}

async fn answer(
    call: &Call,
    tenant: &Tenant,
    asked: Result<Vec<CertId>, RequestError>,
) -> Result<Reply, Failure> {
    let metrics = &call.server.metrics;
    let Ok(questions) = asked else {
        metrics.asked_about("malformed");
        return Ok(error(Unanswered::MalformedRequest));
    };
    let answers = &call.server.certificate_status;
    Ok(match answers.answer(&call.server.world, tenant, questions).await? {
        Ok(served) => {
            metrics.asked_about("answered");
            told(call, RESPONSE_MEDIA_TYPE, &served)
        }
        Err(why) => {
            metrics.asked_about(if why == Unanswered::TryLater { "later" } else { "unknown" });
            error(why)
        }
    })
}

/// RFC 5019 section 6.2: what was signed ahead, and how long whoever is on the way may keep it.
fn told<M>(call: &Call, media_type: &'static str, served: &Arc<Served<M>>) -> Reply {
    let mut reply = if reply::is_known(call.headers(), &served.tag) {
        reply::empty(StatusCode::NOT_MODIFIED)
    } else {
        reply::bytes(media_type, served.bytes.clone())
    };
    let kept = format!("public, max-age={CACHED_SECONDS}, no-transform, must-revalidate");
    reply::set(&mut reply, CACHE_CONTROL, &kept);
    reply::set(&mut reply, ETAG, &served.tag);
    reply::set(&mut reply, LAST_MODIFIED, &served.life.from.http_date());
    reply::set(&mut reply, EXPIRES, &served.life.until.http_date());
    reply
}

/// An error of the protocol is an answer of HTTP like any other (RFC 6960 appendix A.2), except where
/// the request is none.
fn error(why: Unanswered) -> Reply {
    let mut reply = reply::bytes(RESPONSE_MEDIA_TYPE, why.der().to_vec());
    if why == Unanswered::MalformedRequest {
        *reply.status_mut() = StatusCode::BAD_REQUEST;
    }
    reply
}

fn missing() -> Refusal {
    Refusal::new(
        Rule::NotFound,
        "there is no such authority, or nothing that it says is believed",
        "use the URL in a certificate that is not over",
    )
}
