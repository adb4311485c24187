//! RFC 6749 section 5.2, RFC 9457: one no, said in the language of the endpoint.

use accredit_domain::refusal::Kind;
use accredit_domain::{Error, Fault, Refusal, Rule};
use accredit_wire::ids::RequestId;
use accredit_wire::oauth::errors::{ErrorBody, ErrorCode};
use accredit_wire::oauth::rejection::Rejection;
use http::StatusCode;
use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use serde::Serialize;

use crate::dispatch::REQUEST_ID;
use crate::rates::RATE_LIMIT;
use crate::reply::{self, Reply};

/// Seconds after which a client may try again what failed on our side.
const RETRY_AFTER_SECONDS: &str = "1";

/// Why there is no answer.
#[derive(Debug)]
pub enum Failure {
    /// The domain refuses.
    Refused(Refusal),
    /// An OAuth message is malformed.
    Message(Rejection),
    /// The request never reached a handler.
    Http {
        /// The status.
        status: StatusCode,
        /// A stable rule.
        rule: &'static str,
        /// What is wrong.
        detail: String,
        /// What to do.
        hint: String,
    },
    /// We failed.
    Fault(Fault),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Rejection> for Failure {
    fn from(rejection: Rejection) -> Self {
        Self::Message(rejection)
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Refused(refusal) => Self::Refused(refusal),
            Error::Fault(fault) => Self::Fault(fault),
        }
    }
}

/// In which language an endpoint says no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// RFC 6749 section 5.2.
    OAuth,
    /// RFC 9457.
    Problem,
}

/// RFC 9457.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Problem {
    /// `urn:accredit:problem:` and a stable rule.
    pub r#type: String,
    /// The status in words.
    pub title: String,
    /// The status.
    pub status: u16,
    /// What is wrong.
    pub detail: String,
    /// What to do.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub hint: String,
    /// The request, as our log calls it.
    pub request_id: String,
}

/// Renders a failure. A fault is logged in full and told as the request's id.
pub fn render(failure: Failure, language: Language, request: RequestId) -> Reply {
    if let Failure::Fault(fault) = &failure {
        tracing::error!(%request, %fault, "fault");
    }
    let wait = match &failure {
        Failure::Refused(refusal) => refusal.retry_after,
        _ => None,
    };
    let rendered = match language {
        Language::OAuth => oauth(failure, request),
        Language::Problem => problem(&failure, request),
    };
    let mut reply = rendered.unwrap_or_else(|_| reply::empty(StatusCode::INTERNAL_SERVER_ERROR));
    reply::set(&mut reply, REQUEST_ID, &request.to_string());
    if let Some(seconds) = wait {
        reply::set(&mut reply, RETRY_AFTER, &seconds.to_string());
        reply::set(&mut reply, RATE_LIMIT, &format!("\"minute\";r=0;t={seconds}"));
    }
    reply
}

fn oauth(failure: Failure, request: RequestId) -> Result<Reply, Fault> {
    let challenge = match &failure {
        Failure::Message(rejection) => rejection.www_authenticate("accredit"),
        _ => None,
    };
    let (status, body) = match failure {
        Failure::Message(rejection) => {
            (StatusCode::from_u16(rejection.code().status()), rejection.body())
        }
        Failure::Refused(refusal) => {
            let (code, status) = oauth_code(refusal.rule);
            let body = ErrorBody::new(code, &refusal.detail)
                .with_hint(&refusal.hint)
                .with_rule(refusal.rule.code());
            (StatusCode::from_u16(status.unwrap_or_else(|| code.status())), body)
        }
        Failure::Http { status, rule, detail, hint } => {
            let code = match status {
                StatusCode::SERVICE_UNAVAILABLE => ErrorCode::TemporarilyUnavailable,
                _ => ErrorCode::InvalidRequest,
            };
            let body = ErrorBody::new(code, &detail);
            (Ok(status), body.with_hint(&hint).with_rule(rule))
        }
        Failure::Fault(_) => {
            let detail = format!("we failed to answer; our log calls it {request}");
            let body = ErrorBody::new(ErrorCode::TemporarilyUnavailable, &detail)
                .with_hint("nothing was issued: try again in a moment")
                .with_rule("fault");
            (Ok(StatusCode::SERVICE_UNAVAILABLE), body)
        }
    };
    let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut reply = reply::json(status, &body)?;
    if status == StatusCode::SERVICE_UNAVAILABLE {
        reply::set(&mut reply, RETRY_AFTER, RETRY_AFTER_SECONDS);
    }
    if let Some(challenge) = challenge {
        reply::set(&mut reply, WWW_AUTHENTICATE, &challenge);
    }
    Ok(reply)
}

/// The OAuth code of a refusal, and its status where it is not the code's own.
fn oauth_code(rule: Rule) -> (ErrorCode, Option<u16>) {
    match rule.kind() {
        Kind::Unauthenticated => (ErrorCode::InvalidClient, None),
        Kind::Grant => (ErrorCode::InvalidGrant, None),
        Kind::UnauthorizedClient => (ErrorCode::UnauthorizedClient, None),
        Kind::Denied => (ErrorCode::UnauthorizedClient, Some(403)),
        Kind::Scope => (ErrorCode::InvalidScope, None),
        Kind::Details => (ErrorCode::InvalidAuthorizationDetails, None),
        Kind::Target => (ErrorCode::InvalidTarget, None),
        Kind::Proof => (ErrorCode::InvalidDpopProof, None),
        Kind::ProofNonce => (ErrorCode::UseDpopNonce, None),
        Kind::NotFound => (ErrorCode::InvalidRequest, Some(404)),
        Kind::Invalid | Kind::Conflict => (ErrorCode::InvalidRequest, None),
        Kind::Precondition => (ErrorCode::InvalidRequest, Some(412)),
        Kind::Unprocessable => (ErrorCode::InvalidRequest, Some(422)),
        Kind::TooMany => (ErrorCode::TemporarilyUnavailable, Some(429)),
        Kind::Unavailable => (ErrorCode::TemporarilyUnavailable, Some(503)),
    }
}

fn problem(failure: &Failure, request: RequestId) -> Result<Reply, Fault> {
    let (status, rule, detail, hint) = match failure {
        Failure::Refused(refusal) => (
            problem_status(refusal.rule),
            refusal.rule.code(),
            refusal.detail.clone(),
            refusal.hint.clone(),
        ),
        Failure::Message(rejection) => (
            StatusCode::BAD_REQUEST,
            rejection.rule(),
            rejection.to_string(),
            rejection.hint().to_owned(),
        ),
        Failure::Http { status, rule, detail, hint } => {
            (*status, *rule, detail.clone(), hint.clone())
        }
        Failure::Fault(_) => (
            StatusCode::SERVICE_UNAVAILABLE,
            "fault",
            format!("we failed to answer; our log calls it {request}"),
            "nothing was changed: try again in a moment".to_owned(),
        ),
    };
    let body = Problem {
        r#type: format!("urn:accredit:problem:{rule}"),
        title: status.canonical_reason().unwrap_or("Error").to_owned(),
        status: status.as_u16(),
        detail,
        hint,
        request_id: request.to_string(),
    };
    let mut reply = reply::json(status, &body)?;
    reply::set(&mut reply, CONTENT_TYPE, "application/problem+json");
    if status == StatusCode::UNAUTHORIZED {
        reply::set(&mut reply, WWW_AUTHENTICATE, "Bearer realm=\"accredit\"");
    }
    if status == StatusCode::SERVICE_UNAVAILABLE {
        reply::set(&mut reply, RETRY_AFTER, RETRY_AFTER_SECONDS);
    }
    Ok(reply)
}

fn problem_status(rule: Rule) -> StatusCode {
    match rule.kind() {
        Kind::Invalid
        | Kind::Grant
        | Kind::Scope
        | Kind::Details
        | Kind::Target
        | Kind::Proof
        | Kind::ProofNonce => StatusCode::BAD_REQUEST,
        Kind::Unauthenticated => StatusCode::UNAUTHORIZED,
        Kind::Denied | Kind::UnauthorizedClient => StatusCode::FORBIDDEN,
        Kind::NotFound => StatusCode::NOT_FOUND,
        Kind::Conflict => StatusCode::CONFLICT,
        Kind::Precondition => StatusCode::PRECONDITION_FAILED,
        Kind::Unprocessable => StatusCode::UNPROCESSABLE_ENTITY,
        Kind::TooMany => StatusCode::TOO_MANY_REQUESTS,
        Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// The path is known, the method is not.
pub fn method_not_allowed(allowed: &str, request: RequestId) -> Reply {
    let failure = Failure::Http {
        status: StatusCode::METHOD_NOT_ALLOWED,
        rule: "method-not-allowed",
        detail: format!("this path takes {allowed}"),
        hint: "see `/openapi.json`".to_owned(),
    };
    let mut reply = render(failure, Language::Problem, request);
    reply::set(&mut reply, ALLOW, allowed);
    reply
}

/// There is no such path.
pub fn no_such_path(request: RequestId) -> Reply {
    let failure = Failure::Http {
        status: StatusCode::NOT_FOUND,
        rule: "no-such-path",
        detail: "there is nothing at this path".to_owned(),
        hint: "see `/openapi.json`".to_owned(),
    };
    render(failure, Language::Problem, request)
}
