//! draft-ietf-httpapi-ratelimit-headers: `RateLimit-Policy` and `RateLimit`, told with every
//! answer that a limit counts.

use accredit_domain::limits::{Claim, LIMIT_WINDOW_SECONDS, Standing};
use accredit_domain::refusal::Kind;
use accredit_domain::{Cx, Refusal};
use accredit_wire::oauth::client_auth::ClientAuth;
use http::header::HeaderName;

use crate::reply::{self, Reply};

/// What is left of a limit.
pub(crate) const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
/// The limit itself.
pub(crate) const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// Refuses who has failed too often under this claim, before any proof is looked at.
pub(crate) fn may_try(cx: &Cx, auth: &ClientAuth) -> Result<(), Refusal> {
    cx.world.limits.may_try(&Claim::new(cx.tenant.id, auth.client_id(), cx.source), cx.now)
}

/// Counts a refusal, where it is to somebody who proved nothing.
pub(crate) fn note(cx: &Cx, auth: &ClientAuth, refusal: &Refusal) {
    if matches!(refusal.rule.kind(), Kind::Unauthenticated | Kind::Grant) {
        cx.world.limits.failed(&Claim::new(cx.tenant.id, auth.client_id(), cx.source), cx.now);
    }
}

/// An answer that tells how its caller stands; as it was, where nothing is limited.
pub(crate) fn told(mut reply: Reply, standing: Option<Standing>) -> Reply {
    if let Some(standing) = standing {
        let Standing { quota, remaining, reset, .. } = standing;
        let policy = format!("\"minute\";q={quota};w={LIMIT_WINDOW_SECONDS}");
        reply::set(&mut reply, RATE_LIMIT_POLICY, &policy);
        reply::set(&mut reply, RATE_LIMIT, &format!("\"minute\";r={remaining};t={reset}"));
    }
    reply
}
