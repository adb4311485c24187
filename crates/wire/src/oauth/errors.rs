//! RFC 6749 section 5.2 error responses, and RFC 6750 section 3 and RFC 7617 challenges.
//!
//! The body has two members of our own beside the standard's: `hint`, what to do about it, and
//! `rule`, a stable name of the rule that was broken, for programs. All text in it is printable
//! ASCII, because it ends up in headers, logs and terminals of others.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

use super::token_response::TokenType;
use crate::authority::Scope;
use crate::binding::dpop::PROOF_ALGORITHMS;

/// The longest text in an error body or a challenge, in bytes; what is beyond is cut off.
pub const ERROR_TEXT_BYTES_MAX: usize = 1024;

/// An `error` code, with the standard that defines it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The request is malformed (RFC 6749 section 5.2).
    InvalidRequest,
    /// The client is unknown or did not prove itself (RFC 6749 section 5.2).
    InvalidClient,
    /// The grant is invalid, expired or revoked (RFC 6749 section 5.2).
    InvalidGrant,
    /// This client may not use this grant (RFC 6749 section 5.2).
    UnauthorizedClient,
    /// Nobody can use this grant here (RFC 6749 section 5.2).
    UnsupportedGrantType,
    /// The scope is malformed or more than there is to give (RFC 6749 section 5.2).
    InvalidScope,
    /// The resource is malformed, unknown or not for this client (RFC 8707 section 2).
    InvalidTarget,
    /// The authorization details are malformed, unknown or more than there is to give (RFC 9396
    /// section 5).
    InvalidAuthorizationDetails,
    /// Somebody, or policy, said no (RFC 6749 section 4.1.2.1, RFC 8628 section 3.5).
    AccessDenied,
    /// Overloaded or closed for now (RFC 6749 section 4.1.2.1).
    TemporarilyUnavailable,
    /// We failed (RFC 6749 section 4.1.2.1).
    ServerError,
    /// Tokens of this type cannot be revoked here (RFC 7009 section 2.2.1).
    UnsupportedTokenType,
    /// The access token is not accepted (RFC 6750 section 3.1).
    InvalidToken,
    /// The access token does not carry enough scope (RFC 6750 section 3.1).
    InsufficientScope,
    /// The proof of possession is missing or does not hold (RFC 9449 section 5).
    InvalidDpopProof,
    /// The proof of possession needs the nonce that the answer gives (RFC 9449 sections 8 and 9).
    UseDpopNonce,
}

impl ErrorCode {
    /// Whether it refuses the client that asks, whatever it asks for: its credential or itself was ended, or
    /// its agent, owner or organization suspended.
    pub const fn is_of_the_client(self) -> bool {
        matches!(self, Self::InvalidClient | Self::UnauthorizedClient)
    }

    /// Every code.
    pub const ALL: [Self; 16] = [
        Self::InvalidRequest,
        Self::InvalidClient,
        Self::InvalidGrant,
        Self::UnauthorizedClient,
        Self::UnsupportedGrantType,
        Self::InvalidScope,
        Self::InvalidTarget,
        Self::InvalidAuthorizationDetails,
        Self::AccessDenied,
        Self::TemporarilyUnavailable,
        Self::ServerError,
        Self::UnsupportedTokenType,
        Self::InvalidToken,
        Self::InsufficientScope,
        Self::InvalidDpopProof,
        Self::UseDpopNonce,
    ];

    /// The code as it travels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::InvalidClient => "invalid_client",
            Self::InvalidGrant => "invalid_grant",
            Self::UnauthorizedClient => "unauthorized_client",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::InvalidScope => "invalid_scope",
            Self::InvalidTarget => "invalid_target",
            Self::InvalidAuthorizationDetails => "invalid_authorization_details",
            Self::AccessDenied => "access_denied",
            Self::TemporarilyUnavailable => "temporarily_unavailable",
            Self::ServerError => "server_error",
            Self::UnsupportedTokenType => "unsupported_token_type",
            Self::InvalidToken => "invalid_token",
            Self::InsufficientScope => "insufficient_scope",
            Self::InvalidDpopProof => "invalid_dpop_proof",
            Self::UseDpopNonce => "use_dpop_nonce",
        }
    }

    /// The HTTP status it is sent with; a resource answers 401 where proofs are concerned (RFC 9449
    /// section 7.1), see [`crate::verify::Rejection::status`].
    pub const fn status(self) -> u16 {
        match self {
            Self::InvalidRequest
            | Self::InvalidGrant
            | Self::UnauthorizedClient
            | Self::UnsupportedGrantType
            | Self::InvalidScope
            | Self::InvalidTarget
            | Self::InvalidAuthorizationDetails
            | Self::AccessDenied
            | Self::UnsupportedTokenType
            | Self::InvalidDpopProof
            | Self::UseDpopNonce => 400,
            Self::InvalidClient | Self::InvalidToken => 401,
            Self::InsufficientScope => 403,
            Self::ServerError => 500,
            Self::TemporarilyUnavailable => 503,
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The JSON body of an error.
///
/// Reading one cleans its texts too, so that a client can print what a server sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    error: ErrorCode,
    #[serde(default, deserialize_with = "cleaned")]
    error_description: String,
    #[serde(default, deserialize_with = "cleaned_some", skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    #[serde(default, deserialize_with = "cleaned_some", skip_serializing_if = "Option::is_none")]
    rule: Option<String>,
}

impl ErrorBody {
    /// A body without hint and rule.
    pub fn new(error: ErrorCode, description: &str) -> Self {
        Self { error, error_description: clean(description), hint: None, rule: None }
    }

    /// The same with what the caller can do about it.
    #[must_use]
    pub fn with_hint(self, hint: &str) -> Self {
        Self { hint: Some(clean(hint)), ..self }
    }

    /// The same with the stable kebab-case name of the rule that was broken.
    #[must_use]
    pub fn with_rule(self, rule: &str) -> Self {
        Self { rule: Some(clean(rule)), ..self }
    }

    /// The code.
    pub fn error(&self) -> ErrorCode {
        self.error
    }

    /// What is wrong, in words.
    pub fn description(&self) -> &str {
        &self.error_description
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// The name of the rule.
    pub fn rule(&self) -> Option<&str> {
        self.rule.as_deref()
    }
}

impl fmt::Display for ErrorBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.error, self.error_description)?;
        match &self.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for ErrorBody {}

/// RFC 6749 section 5.2: "Values for the "error_description" parameter MUST NOT include
/// characters outside the set %x20-21 / %x23-5B / %x5D-7E." White space becomes a space, a quote
/// an apostrophe, anything else `?`.
fn clean(text: &str) -> String {
    let plain = text.chars().map(|letter| match letter {
        ' '..='!' | '#'..='[' | ']'..='~' => letter,
        '"' => '\'',
        '\t' | '\n' | '\r' => ' ',
        _ => '?',
    });
    plain.take(ERROR_TEXT_BYTES_MAX).collect()
}

fn cleaned<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(clean(&String::deserialize(deserializer)?))
}

fn cleaned_some<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    Ok(text.map(|text| clean(&text)))
}

/// A `WWW-Authenticate` value for a request that needs an access token. See [`TokenChallenge`].
pub fn www_authenticate_bearer(realm: &str) -> TokenChallenge<'_> {
    TokenChallenge::new(TokenType::Bearer, realm)
}

/// The same for a token that is bound to a key (RFC 9449 section 7.1): it says by which algorithms
/// proofs may be signed.
pub fn www_authenticate_dpop(realm: &str) -> TokenChallenge<'_> {
    TokenChallenge::new(TokenType::Dpop, realm)
}

/// A `WWW-Authenticate` value for a client that tried to authenticate by the `Authorization`
/// header and failed (RFC 6749 section 5.2, RFC 7617 section 2).
pub fn www_authenticate_basic(realm: &str) -> String {
    format!("Basic realm=\"{}\", charset=\"UTF-8\"", clean(realm))
}

/// RFC 6750 section 3, RFC 9449 section 7.1: the `WWW-Authenticate` value, rendered by `Display`.
///
/// No value can end its quoted string or the header: every character that could is replaced.
#[derive(Clone, Debug)]
pub struct TokenChallenge<'a> {
    token_type: TokenType,
    realm: &'a str,
    error: Option<(ErrorCode, String)>,
    scope: Option<&'a Scope>,
    resource_metadata: Option<&'a str>,
}

impl<'a> TokenChallenge<'a> {
    const fn new(token_type: TokenType, realm: &'a str) -> Self {
        Self { token_type, realm, error: None, scope: None, resource_metadata: None }
    }

    /// The same with why the token was refused. Leave it out where no token was sent (RFC 6750
    /// section 3.1).
    #[must_use]
    pub fn error(self, code: ErrorCode, description: &str) -> Self {
        Self { error: Some((code, clean(description))), ..self }
    }

    /// The same with the scope that is needed.
    #[must_use]
    pub fn scope(self, scope: &'a Scope) -> Self {
        Self { scope: Some(scope), ..self }
    }

    /// The same with the address of the resource's metadata (RFC 9728 section 5.1).
    #[must_use]
    pub fn resource_metadata(self, url: &'a str) -> Self {
        Self { resource_metadata: Some(url), ..self }
    }
}

impl fmt::Display for TokenChallenge<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} realm=\"{}\"", self.token_type.name(), clean(self.realm))?;
        if let Some((code, description)) = &self.error {
            write!(f, ", error=\"{code}\", error_description=\"{description}\"")?;
        }
        if let Some(scope) = self.scope.filter(|scope| !scope.is_empty()) {
            write!(f, ", scope=\"{scope}\"")?;
        }
        if self.token_type == TokenType::Dpop {
            write!(f, ", algs=\"{}\"", PROOF_ALGORITHMS.join(" "))?;
        }
        if let Some(url) = self.resource_metadata {
            write!(f, ", resource_metadata=\"{}\"", clean(url))?;
        }
        Ok(())
    }
}
