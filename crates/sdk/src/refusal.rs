//! RFC 6750 section 3: how a request that is not let through is answered.

use std::fmt;

use accredit_wire::authority::Scope;
use accredit_wire::oauth::errors::{ErrorBody, ErrorCode, www_authenticate_bearer};
use accredit_wire::verify::Rejection;
use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
};
use http::{Response, StatusCode};

/// The challenge's realm: a name for people, not a secret.
const REALM: &str = "accredit";

/// Why a request is not let through, and what to answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal(Box<Inner>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Inner {
    rejection: Rejection,
    body: ErrorBody,
    /// The scope that is needed.
    scope: Scope,
}

impl From<Rejection> for Refusal {
    fn from(rejection: Rejection) -> Self {
        // A request without a token is told so in words; only the challenge has no code then.
        let code = rejection.code().unwrap_or(ErrorCode::InvalidToken);
        let body = ErrorBody::new(code, &rejection.to_string())
            .with_rule(rejection.rule())
            .with_hint(rejection.hint());
        Self(Box::new(Inner { rejection, body, scope: Scope::default() }))
    }
}

impl Refusal {
    /// The same with the scope that the place asked for demands.
    #[must_use]
    pub(crate) fn at(mut self, scope: &Scope) -> Self {
        self.0.scope = scope.clone();
        self
    }

    /// Why, for programs and logs.
    pub fn rejection(&self) -> &Rejection {
        &self.0.rejection
    }

    /// The error as it is sent: code, words, rule, hint.
    pub fn body(&self) -> &ErrorBody {
        &self.0.body
    }

    /// The scope that is demanded there.
    pub fn scope(&self) -> &Scope {
        &self.0.scope
    }

    /// The HTTP status: 400, 401, 403 or 503.
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.0.body.error().status())
            .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The answer to a request with these headers: JSON, or a gRPC status where gRPC was spoken.
    pub fn response(&self, request: &HeaderMap) -> Response<Bytes> {
        let kind = request.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
        if kind.starts_with(b"application/grpc") {
            return self.grpc();
        }
        let body = serde_json::to_vec(&self.0.body).unwrap_or_default();
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
        let challenge = www_authenticate_bearer(REALM).scope(&self.0.scope);
        // RFC 6750 section 3.1: no error code where the request carried no token.
        match self.0.rejection.code() {
            None => challenge.to_string(),
            Some(code) => challenge.error(code, self.0.body.description()).to_string(),
        }
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
        let message = self.0.body.description().replace('%', "%25");
        if let Ok(message) = HeaderValue::try_from(message) {
            headers.insert("grpc-message", message);
        }
        response
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.body.fmt(f)
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;

    fn insufficient() -> Refusal {
        let scope: Scope = "crm:read crm:write".parse().expect("a scope");
        let held = "crm:read".parse().expect("a scope");
        Refusal::from(Rejection::InsufficientScope { needed: "crm:write".into(), held }).at(&scope)
    }

    #[test]
    fn a_missing_scope_is_named() {
        let response = insufficient().response(&HeaderMap::new());
        assert_eq!(response.status(), 403);
        let challenge = response.headers()[WWW_AUTHENTICATE].to_str().expect("text");
        assert!(challenge.starts_with("Bearer realm=\"accredit\", error=\"insufficient_scope\""));
        assert!(challenge.ends_with(", scope=\"crm:read crm:write\""), "{challenge}");
        let body: serde_json::Value = serde_json::from_slice(response.body()).expect("JSON");
        assert_eq!(body["error"], "insufficient_scope");
        assert_eq!(body["rule"], "scope-insufficient");
        assert!(body["hint"].as_str().is_some_and(|hint| !hint.is_empty()));
    }

    #[test]
    fn who_sent_no_token_is_challenged_without_a_code_and_an_outage_is_no_challenge() {
        let response = Refusal::from(Rejection::NoCredential).response(&HeaderMap::new());
        assert_eq!(response.status(), 401);
        assert_eq!(response.headers()[WWW_AUTHENTICATE], "Bearer realm=\"accredit\"");

        let outage = Refusal::from(Rejection::Behind { token: 2, state: 1 });
        let response = outage.response(&HeaderMap::new());
        assert_eq!(response.status(), 503);
        assert!(!response.headers().contains_key(WWW_AUTHENTICATE));
        assert!(response.headers().contains_key(RETRY_AFTER));
    }

    #[test]
    fn grpc_gets_a_status_of_its_own() {
        let mut request = HeaderMap::new();
        request.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc+proto"));
        for (refusal, code) in [(insufficient(), "7"), (Refusal::from(Rejection::UnknownKey), "16")]
        {
            let response = refusal.response(&request);
            assert_eq!(response.status(), 200);
            assert_eq!(response.headers()["grpc-status"], code);
            assert!(response.headers().contains_key("grpc-message"));
            assert!(response.body().is_empty());
        }
    }
}
