//! RFC 6749 section 5.1: the answer of the token endpoint.
//!
//! It is sent with `Cache-Control: no-store`. Absent on purpose: a refresh token; a machine
//! client asks again with its own credential (RFC 6749 section 4.4.3).

use std::borrow::Cow;
use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::authorization_details::AuthorizationDetails;
use super::token_exchange::IssuedTokenType;
use crate::authority::Scope;
use crate::binding::Confirmation;
use crate::secret::Secret;

/// How an access token is used. A client that does not know the type must not use the token
/// (RFC 6749 section 7.1), so an unknown one is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenType {
    /// Whoever has it may use it (RFC 6750), or whoever has the certificate that it is bound to (RFC
    /// 8705 section 3).
    Bearer,
    /// Whoever holds its key may use it, with a proof for each request (RFC 9449 section 5).
    Dpop,
}

impl TokenType {
    /// The type of a token that is bound to this, or to nothing.
    pub const fn of(cnf: Option<Confirmation>) -> Self {
        match cnf {
            None | Some(Confirmation::Certificate(_)) => Self::Bearer,
            Some(Confirmation::Key(_)) => Self::Dpop,
        }
    }

    /// The type as it travels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bearer => "Bearer",
            Self::Dpop => "DPoP",
        }
    }
}

impl Serialize for TokenType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for TokenType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // RFC 6749 section 5.1: "Value is case insensitive."
        let text = Cow::<str>::deserialize(deserializer)?;
        [Self::Bearer, Self::Dpop]
            .into_iter()
            .find(|known| text.eq_ignore_ascii_case(known.name()))
            .ok_or_else(|| D::Error::custom("expected the token type `Bearer` or `DPoP`"))
    }
}

/// An issued token. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenResponse {
    /// The token.
    pub access_token: String,
    /// How it is used.
    pub token_type: TokenType,
    /// Its life from now, in seconds.
    pub expires_in: u32,
    /// What was granted; always said, since it may differ from what was asked. Left out where it
    /// is nothing.
    #[serde(default, skip_serializing_if = "Scope::is_empty")]
    pub scope: Scope,
    /// What was granted within limits, of which the scope does not tell (RFC 9396 section 7).
    #[serde(default, skip_serializing_if = "AuthorizationDetails::is_empty")]
    pub authorization_details: AuthorizationDetails,
    /// What was issued, where it was by an exchange (RFC 8693 section 2.2.1) or the request says what
    /// it wants.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issued_token_type: Option<String>,
}

impl fmt::Debug for TokenResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenResponse")
            .field("access_token", &"[redacted]")
            .field("token_type", &self.token_type)
            .field("expires_in", &self.expires_in)
            .field("scope", &self.scope)
            .field("issued_token_type", &self.issued_token_type)
            .field("authorization_details", &self.authorization_details)
            .finish()
    }
}

/// [`TokenResponse`] as JSON, written by hand: the token is most of it, and no character of a
/// compact JWS or of a scope needs escaping, so nobody looks at each again.
pub fn json(
    token: &Secret,
    (token_type, issued): (TokenType, Option<IssuedTokenType>),
    expires_in: u32,
    (scope, details): (&Scope, &AuthorizationDetails),
) -> String {
    let token = token.expose();
    let mut text = String::with_capacity(token.len() + 128);
    text.push_str("{\"access_token\":\"");
    text.push_str(token);
    text.push_str("\",\"token_type\":\"");
    text.push_str(token_type.name());
    text.push_str("\",\"expires_in\":");
    text.push_str(&expires_in.to_string());
    if !scope.is_empty() {
        text.push_str(",\"scope\":\"");
        text.push_str(&scope.to_string());
        text.push('"');
    }
    // Plain data, which cannot fail to be written; if it did, less would be said.
    if !details.is_empty()
        && let Ok(details) = serde_json::to_string(details)
    {
        text.push_str(",\"authorization_details\":");
        text.push_str(&details);
    }
    if let Some(issued) = issued {
        text.push_str(",\"issued_token_type\":\"");
        text.push_str(issued.uri());
        text.push('"');
    }
    text.push('}');
    text
}
