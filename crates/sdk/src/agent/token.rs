//! RFC 6749 sections 5.1 and 5.2: what the token endpoint answers.

use std::fmt;
use std::time::{Duration, Instant};

use accredit_wire::authority::Scope;
use accredit_wire::binding::uri::UriError;
use accredit_wire::jose::TOKEN_BYTES_MAX;
use accredit_wire::oauth::authorization_details::AuthorizationDetails;
use accredit_wire::oauth::token_response::TokenType;
use accredit_wire::oauth::{ErrorBody, TokenResponse};
use accredit_wire::secret::Secret;
use accredit_wire::time::Time;
use http::StatusCode;
use http::header::HeaderValue;

use crate::issuer::IssuerError;
use crate::principal::Ended;

/// The longest life that is believed; a token that says more is renewed after this.
const LIFE_MAX: Duration = Duration::from_hours(24);

/// An access token.
#[derive(Debug)]
pub struct AccessToken {
    text: Secret,
    authorization: HeaderValue,
    token_type: TokenType,
    scope: Scope,
    details: AuthorizationDetails,
    expires_at: Time,
    ends: Instant,
    renew: Instant,
}

impl AccessToken {
    /// The token itself.
    pub fn text(&self) -> &Secret {
        &self.text
    }

    /// Whether it is bound to the key of this process: then each request that it goes with needs a
    /// proof, see [`Agent::authorize`](super::Agent::authorize).
    pub fn is_bound(&self) -> bool {
        self.token_type == TokenType::Dpop
    }

    /// The value of an `Authorization` header, `DPoP …` or `Bearer …`, marked as sensitive. For a
    /// bound token it does not do alone.
    pub fn authorization(&self) -> HeaderValue {
        self.authorization.clone()
    }

    /// The scope that was granted; empty where it was nothing.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// What was granted within limits, of which the scope does not tell.
    pub fn details(&self) -> &AuthorizationDetails {
        &self.details
    }

    /// When it ends, by this machine's clock.
    pub fn expires_at(&self) -> Time {
        self.expires_at
    }

    /// When it ends, in monotonic time.
    pub fn ends(&self) -> Instant {
        self.ends
    }

    pub(super) fn is_alive(&self, now: Instant) -> bool {
        now < self.ends
    }

    pub(super) fn is_fresh(&self, now: Instant) -> bool {
        now < self.renew
    }

    /// Reads the answer to a request for a token of this type. Another one is refused: a plain token
    /// where one was to be bound would be of use to whoever steals it.
    pub(super) fn read(
        body: &[u8],
        wanted: TokenType,
        asked_at: Instant,
        now: Time,
    ) -> Result<Self, AgentError> {
        let malformed = |reason: &str| IssuerError::malformed("token answer", reason);
        let answer: TokenResponse = serde_json::from_slice(body)
            .map_err(|_| malformed("it is not an answer with a bearer or DPoP token"))?;
        match (wanted, answer.token_type) {
            (TokenType::Bearer, TokenType::Bearer) | (TokenType::Dpop, TokenType::Dpop) => {}
            (TokenType::Bearer, TokenType::Dpop) => {
                return Err(malformed("the token is bound to a key, and no key was offered").into());
            }
            (TokenType::Dpop, TokenType::Bearer) => {
                return Err(malformed(
                    "the token is not bound to the key that was offered; an issuer that binds \
                     none needs an agent with `bearer_tokens`",
                )
                .into());
            }
        }
        let text = Secret::new(answer.access_token);
        if !(1..=TOKEN_BYTES_MAX).contains(&text.expose().len()) || answer.expires_in == 0 {
            return Err(malformed("the token is empty, too long or has no life").into());
        }
        let life = Duration::from_secs(u64::from(answer.expires_in)).min(LIFE_MAX);
        let mut authorization =
            HeaderValue::try_from(format!("{} {}", wanted.name(), text.expose()))
                .map_err(|_| malformed("`access_token` cannot stand in a header"))?;
        authorization.set_sensitive(true);
        Ok(Self {
            text,
            authorization,
            token_type: wanted,
            scope: answer.scope,
            details: answer.authorization_details,
            expires_at: now.plus(life),
            ends: asked_at + life,
            renew: asked_at + life * 2 / 3,
        })
    }
}

/// Why there is no token, by blame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentError {
    /// The issuer said no: code, words, the rule that refused and a hint what to do. The same
    /// request will be refused again until somebody changes something.
    Refused(ErrorBody),
    /// The issuer could not be asked, or its answer not be understood.
    Issuer(IssuerError),
    /// This machine could not make the proof: no randomness, or a key or client id that cannot be
    /// used.
    Signing,
    /// The request that is to be authorized has no URL of the right kind.
    Url(UriError),
    /// The caller on whose behalf it would be may no longer go on.
    CallerEnded(Ended),
}

impl AgentError {
    pub(super) fn from_answer(status: StatusCode, body: &[u8]) -> Self {
        let what = "the token request";
        if status.is_server_error() {
            return Self::Issuer(IssuerError::Status { what, status });
        }
        match serde_json::from_slice(body) {
            Ok(refusal) => Self::Refused(refusal),
            Err(_) => Self::Issuer(IssuerError::Status { what, status }),
        }
    }
}

impl From<IssuerError> for AgentError {
    fn from(error: IssuerError) -> Self {
        Self::Issuer(error)
    }
}

impl fmt::Display for AgentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => match refusal.rule() {
                Some(rule) => write!(f, "the issuer refused by rule `{rule}`: {refusal}"),
                None => write!(f, "the issuer refused: {refusal}"),
            },
            Self::Issuer(error) => error.fmt(f),
            Self::Url(error) => error.fmt(f),
            Self::CallerEnded(ended) => ended.fmt(f),
            Self::Signing => f.write_str(
                "cannot make the client's proof; check the key, the `client_id`, and that the \
                 system has randomness",
            ),
        }
    }
}

impl std::error::Error for AgentError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &str) -> Result<AccessToken, AgentError> {
        #[expect(clippy::disallowed_methods, reason = "an `Instant` has no other origin")]
        let asked_at = Instant::now();
        AccessToken::read(body.as_bytes(), TokenType::Bearer, asked_at, Time::from_seconds(100))
    }

    #[test]
    fn an_answer_becomes_a_token_that_is_renewed_at_two_thirds() {
        let body =
            r#"{"access_token":"abc","token_type":"bearer","expires_in":30,"scope":"crm:read"}"#;
        let token = check(body).expect("a token");
        assert_eq!(token.expires_at(), Time::from_seconds(130));
        assert_eq!(token.scope().to_string(), "crm:read");
        assert_eq!(token.text().expose(), "abc");
        assert_eq!(token.ends - token.renew, Duration::from_secs(10));
        assert!(!format!("{token:?}").contains("abc"));
    }

    #[test]
    fn a_token_that_was_to_be_bound_is_bound() {
        let read = |token_type: &str| {
            let body =
                format!(r#"{{"access_token":"abc","token_type":"{token_type}","expires_in":30}}"#);
            #[expect(clippy::disallowed_methods, reason = "an `Instant` has no other origin")]
            let asked_at = Instant::now();
            AccessToken::read(body.as_bytes(), TokenType::Dpop, asked_at, Time::from_seconds(100))
        };
        let token = read("dpop").expect("a token");
        assert!(token.is_bound());
        assert_eq!(token.authorization(), "DPoP abc");
        assert!(matches!(read("Bearer"), Err(AgentError::Issuer(_))));
    }

    #[test]
    fn an_answer_without_a_usable_token_is_an_error() {
        for body in [
            "",
            "{}",
            r#"{"access_token":"a","token_type":"DPoP","expires_in":30}"#,
            r#"{"access_token":"a","token_type":"Bearer"}"#,
            r#"{"access_token":"a","token_type":"Bearer","expires_in":0}"#,
            r#"{"access_token":"","token_type":"Bearer","expires_in":30}"#,
            r#"{"access_token":"a\nb","token_type":"Bearer","expires_in":30}"#,
            r#"{"access_token":"a","access_token":"b","token_type":"Bearer","expires_in":30}"#,
        ] {
            assert!(matches!(check(body), Err(AgentError::Issuer(_))), "{body}");
        }
    }

    #[test]
    fn a_refusal_says_rule_and_hint_and_nothing_that_moves_the_cursor() {
        let body = br#"{"error":"invalid_scope","error_description":"no\u001b[2J","rule":"scope-ceiling","hint":"ask for crm:read"}"#;
        let error = AgentError::from_answer(StatusCode::BAD_REQUEST, body);
        let expected = "the issuer refused by rule `scope-ceiling`: invalid_scope: no?[2J; \
                        ask for crm:read";
        assert_eq!(error.to_string(), expected);
        let error = AgentError::from_answer(StatusCode::BAD_GATEWAY, b"<html>");
        assert!(matches!(error, AgentError::Issuer(IssuerError::Status { .. })));
    }
}
