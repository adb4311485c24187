//! RFC 6750 section 3: how a request that is not let through is answered.

use std::fmt;

use accredit_wire::authority::Scope;
use accredit_wire::oauth::errors::{ErrorBody, ErrorCode, www_authenticate_bearer};
use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
};
use http::{Response, StatusCode};

/// The challenge's realm: a name for people, not a secret.
const REALM: &str = "accredit";

/// Why a request is not let through, and what to answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Nothing is told about a request that carried no token (RFC 6750 section 3.1).
    pub(crate) told: bool,
    pub(crate) body: ErrorBody,
    /// The scope that is needed.
    pub(crate) scope: Scope,
}

impl Refusal {
    pub(crate) fn new(code: ErrorCode, rule: &str, description: &str, hint: &str) -> Self {
        let body = ErrorBody::new(code, description).with_rule(rule).with_hint(hint);
        Self { told: true, body, scope: Scope::default() }
    }

    /// The error as it is sent: code, words, rule, hint.
    pub fn body(&self) -> &ErrorBody {
        &self.body
    }

    /// The scope that the token would have to hold, where that is the reason.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// The HTTP status: 400, 401, 403 or 503.
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.body.error().status())
            .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The answer to a request with these headers: JSON, or a gRPC status where gRPC was spoken.
    pub fn response(&self, request: &HeaderMap) -> Response<Bytes> {
        let kind = request.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
        if kind.starts_with(b"application/grpc") {
            return self.grpc();
        }
        let body = serde_json::to_vec(&self.body).unwrap_or_default();
        let mut response = Response::new(Bytes::from(body));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        match self.status() {
            StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
            }
            _ => {
                if let Ok(challenge) = HeaderValue::try_from(self.challenge()) {
                    headers.insert(WWW_AUTHENTICATE, challenge);
                }
            }
        }
        response
    }

    fn challenge(&self) -> String {
        let challenge = www_authenticate_bearer(REALM).scope(&self.scope);
        if self.told {
            return challenge.error(self.body.error(), self.body.description()).to_string();
        }
        challenge.to_string()
    }

    /// gRPC over HTTP/2, "Trailers-Only": the status stands in the headers, which are the end.
    fn grpc(&self) -> Response<Bytes> {
        let code = match self.status() {
            StatusCode::UNAUTHORIZED => "16",
            StatusCode::FORBIDDEN => "7",
            StatusCode::BAD_REQUEST => "3",
            _ => "14",
        };
        let mut response = Response::new(Bytes::new());
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert("grpc-status", HeaderValue::from_static(code));
        // The texts of an error body are printable ASCII; `%` alone has a meaning here.
        let message = self.body.description().replace('%', "%25");
        if let Ok(message) = HeaderValue::try_from(message) {
            headers.insert("grpc-message", message);
        }
        response
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.body.fmt(f)
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_scope_is_named_and_an_outage_is_no_challenge() {
        let mut refusal =
            Refusal::new(ErrorCode::InsufficientScope, "scope", "not enough", "ask for it");
        refusal.scope = "crm:read crm:write".parse().expect("a scope");
        let response = refusal.response(&HeaderMap::new());
        assert_eq!(response.status(), 403);
        let challenge = response.headers()[WWW_AUTHENTICATE].to_str().expect("text");
        let expected = "Bearer realm=\"accredit\", error=\"insufficient_scope\", \
                        error_description=\"not enough\", scope=\"crm:read crm:write\"";
        assert_eq!(challenge, expected);
        let body: serde_json::Value = serde_json::from_slice(response.body()).expect("JSON");
        assert_eq!(body["rule"], "scope");
        assert_eq!(body["hint"], "ask for it");

        let outage = Refusal::new(ErrorCode::TemporarilyUnavailable, "stale", "stale", "wait");
        let response = outage.response(&HeaderMap::new());
        assert_eq!(response.status(), 503);
        assert!(!response.headers().contains_key(WWW_AUTHENTICATE));
        assert!(response.headers().contains_key(RETRY_AFTER));
    }

    #[test]
    fn grpc_gets_a_status_of_its_own() {
        let mut request = HeaderMap::new();
        request.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc+proto"));
        let refusal = Refusal::new(ErrorCode::InvalidToken, "revoked", "100% dead", "ask anew");
        let response = refusal.response(&request);
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["grpc-status"], "16");
        assert_eq!(response.headers()["grpc-message"], "100%25 dead");
        assert!(response.body().is_empty());
    }
}
