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
    /// What the caller thinks it is. Never a reason not to look further for an access token; only who
    /// says that it is a JWT-SVID is told of one, since nobody else may take it for what it is not.
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
    /// It is a JWT-SVID that stands: it says who somebody is, and lets nobody do anything.
    Svid(Box<StandingSvid>),
}

/// What a JWT-SVID says that stands. Times are seconds of Unix time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StandingSvid {
    /// No type of access token (RFC 8693 section 2.2.1).
    pub token_type: NotAvailable,
    /// When it expires.
    pub exp: i64,
    /// When it was issued.
    pub iat: i64,
    /// The instance's SPIFFE ID.
    pub sub: String,
    /// For whom it is.
    pub aud: Vec<String>,
    /// The issuer.
    pub iss: String,
    /// Its id.
    pub jti: String,
}

/// `N_A`: what it is about is no access token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum NotAvailable {
    /// The one value.
    #[serde(rename = "N_A")]
    NotAvailable,
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
        matches!(self, Self::Active(_) | Self::Svid(_))
    }
}

impl Serialize for Introspection {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Answer<'a, T> {
            active: bool,
            #[serde(flatten)]
            token: Option<&'a T>,
        }

        match self {
            Self::Inactive => {
                Answer::<ActiveToken> { active: false, token: None }.serialize(serializer)
            }
            Self::Active(token) => {
                Answer { active: true, token: Some(&**token) }.serialize(serializer)
            }
            Self::Svid(svid) => Answer { active: true, token: Some(&**svid) }.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Introspection {
    /// Reads an answer about an access token: one about anything else is none. Without `"active": true`,
    /// nothing else in it is looked at (RFC 7662 section 2.2).
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
            Self::Svid(svid) => write!(f, "active, `{}` of `{}`", svid.jti, svid.sub),
        }
    }
}
