//! RFC 6750 section 3, RFC 9449 section 7.1: how a request that is not let through is answered.

use std::fmt;

use accredit_wire::authority::Scope;
use accredit_wire::binding::dpop::{NONCE_HEADER, ProofError};
use accredit_wire::oauth::errors::{
    ErrorBody, ErrorCode, www_authenticate_bearer, www_authenticate_dpop,
};
use accredit_wire::verify::{Rejection, Scheme};
use bytes::Bytes;
use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER,
    WWW_AUTHENTICATE,
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
    /// Where proofs of possession are checked, the nonce to give.
    nonce: Option<String>,
}

impl From<Rejection> for Refusal {
    fn from(rejection: Rejection) -> Self {
        // A request without a token is told so in words; only the challenge has no code then.
        let code = rejection.code().unwrap_or(ErrorCode::InvalidToken);
        let body = ErrorBody::new(code, &rejection.to_string())
            .with_rule(rejection.rule())
            .with_hint(rejection.hint());
        Self(Box::new(Inner { rejection, body, scope: Scope::default(), nonce: None }))
    }
}

impl Refusal {
    /// The same with the scope that the place asked for demands.
    #[must_use]
    pub(crate) fn at(mut self, scope: &Scope) -> Self {
        self.0.scope = scope.clone();
        self
    }

    /// The same where proofs of possession are checked, with the nonce to give to who needs one.
    #[must_use]
    pub(crate) fn with_proofs(mut self, nonce: String) -> Self {
        self.0.nonce = Some(nonce);
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
        StatusCode::from_u16(self.0.rejection.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
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
                for challenge in self.challenges(scheme(request)) {
                    if let Ok(challenge) = HeaderValue::try_from(challenge) {
                        headers.append(WWW_AUTHENTICATE, challenge);
                    }
                }
            }
        }
        self.give_nonce(headers);
        response
    }

    /// One for each way in which the request may be sent again (RFC 9449 section 7.1): all there are,
    /// where it had no token; otherwise that in which the token is good.
    fn challenges(&self, sent: Option<Scheme>) -> Vec<String> {
        let bearer = || www_authenticate_bearer(REALM).scope(&self.0.scope);
        let dpop = || www_authenticate_dpop(REALM).scope(&self.0.scope);
        // RFC 6750 section 3.1: no error code where the request carried no token.
        let Some(code) = self.0.rejection.code() else {
            let mut all = vec![bearer().to_string()];
            all.extend(self.0.nonce.is_some().then(|| dpop().to_string()));
            return all;
        };
        let is_dpop = match self.0.rejection {
            Rejection::Binding | Rejection::Proof(_) => true,
            Rejection::NotBound => false,
            _ => sent == Some(Scheme::Dpop),
        };
        let challenge = if is_dpop { dpop() } else { bearer() };
        vec![challenge.error(code, self.0.body.description()).to_string()]
    }

    /// RFC 9449 section 9: the nonce that the next proof is to have.
    fn give_nonce(&self, headers: &mut HeaderMap) {
        let is_wanted = self.0.rejection == Rejection::Proof(ProofError::Nonce);
        if let Some(nonce) = self.0.nonce.as_deref().filter(|_| is_wanted)
            && let Ok(nonce) = HeaderValue::try_from(nonce)
        {
            headers.insert(NONCE_HEADER, nonce);
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
        self.give_nonce(headers);
        response
    }
}

/// How a request presents its token.
fn scheme(request: &HeaderMap) -> Option<Scheme> {
    let value = request.get(AUTHORIZATION)?.to_str().ok()?;
    Scheme::named(value.split(' ').next()?)
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
