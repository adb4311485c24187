//! RFC 7662: token introspection.
//!
//! An answer is either everything a Resource may know of a token made for it, or exactly
//! `{"active":false}`: unknown, expired, revoked, malformed and not-for-you are one answer, so
//! that the endpoint cannot be used to search for tokens.

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::authorization_details::AuthorizationDetails;
use super::form::Form;
use super::rejection::Rejection;
use super::revocation::TokenTypeHint;
use super::token_response::TokenType;
use crate::authority::Scope;
use crate::binding::Confirmation;
use crate::secret::Secret;

/// What is asked about.
#[derive(Clone, Debug)]
pub struct IntrospectionRequest {
    /// The token, unread. Whatever is wrong with it makes the answer inactive, not an error.
    pub token: Secret,
    /// What the caller thinks it is. Never a reason not to look further.
    pub hint: Option<TokenTypeHint>,
}

impl IntrospectionRequest {
    /// Reads the parameters; unknown ones are ignored.
    pub fn parse(form: &Form) -> Result<Self, Rejection> {
        let token = Secret::new(form.require("token")?.to_owned());
        Ok(Self { token, hint: TokenTypeHint::from_form(form) })
    }
}

/// The answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Introspection {
    /// The token is of no use to this caller, for whatever reason.
    Inactive,
    /// The token is good at this caller, now.
    Active(Box<ActiveToken>),
}

/// What a good token says. Times are seconds of Unix time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ActiveToken {
    /// What may be done at the audience; left out where it is nothing.
    #[serde(default, skip_serializing_if = "Scope::is_empty")]
    pub scope: Scope,
    /// What may be done there within limits (RFC 9396 section 9.2).
    #[serde(default, skip_serializing_if = "AuthorizationDetails::is_empty")]
    pub authorization_details: AuthorizationDetails,
    /// The acting Agent.
    pub client_id: String,
    /// How the token is used.
    pub token_type: TokenType,
    /// What its holder must prove to hold (RFC 9449 section 6.2, RFC 8705 section 3.2). Whoever
    /// introspects the token checks the proof, or the certificate of the connection, themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cnf: Option<Confirmation>,
    /// When it expires.
    pub exp: i64,
    /// When it was issued.
    pub iat: i64,
    /// Whom it speaks for.
    pub sub: String,
    /// The one audience.
    pub aud: String,
    /// The issuer.
    pub iss: String,
    /// Its id.
    pub jti: String,
    /// The acting party of a delegated token, as it stands in the token (RFC 8693 section 4.1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub act: Option<Value>,
    /// Our own claims, as they stand in the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accredit: Option<Value>,
}

impl Introspection {
    /// Whether the token is good.
    pub const fn is_active(&self) -> bool {
        matches!(self, Self::Active(_))
    }
}

impl Serialize for Introspection {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Answer<'a> {
            active: bool,
            #[serde(flatten)]
            token: Option<&'a ActiveToken>,
        }

        let token = match self {
            Self::Inactive => None,
            Self::Active(token) => Some(&**token),
        };
        Answer { active: token.is_some(), token }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Introspection {
    /// Reads an answer. Without `"active": true`, nothing else in it is looked at (RFC 7662
    /// section 2.2).
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Answer {
            active: bool,
            #[serde(flatten)]
            rest: serde_json::Map<String, Value>,
        }

        let answer = Answer::deserialize(deserializer)?;
        if !answer.active {
            return Ok(Self::Inactive);
        }
        let token = ActiveToken::deserialize(Value::Object(answer.rest));
        Ok(Self::Active(Box::new(token.map_err(D::Error::custom)?)))
    }
}

impl fmt::Display for Introspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inactive => f.write_str("inactive"),
            Self::Active(token) => write!(f, "active, `{}` of `{}`", token.jti, token.client_id),
        }
    }
}
