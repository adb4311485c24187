//! RFC 6749 section 4.4 (client credentials), RFC 7523 section 2.1 (an assertion as the grant): what is
//! asked of the token endpoint.
//!
//! Who asks is read by [`super::client_auth`], also where an assertion says so that is the grant itself;
//! what an exchange has besides by [`super::token_exchange`]. Three additions of ours: `expires_in`, the longest life the client
//! wants, in seconds, which can only shorten what policy gives; `task`, the unit of work that
//! the token is for; and `requested_token_type` (RFC 8693 section 2.1) with every grant, which says in
//! which format.

use super::authorization_details::AskedDetail;
use super::form::Form;
use super::rejection::Rejection;
use super::resource_indicator;
use super::token_exchange::{IssuedTokenType, TokenExchange};
use crate::authority::Scope;
use crate::binding::Thumbprint;
use crate::ids::TaskId;

/// The most `resource` parameters in one request.
pub const RESOURCES_MAX: usize = 8;

/// How much of an unknown grant type an error repeats, in characters.
const GRANT_TYPE_SHOWN_MAX: usize = 64;

/// The `grant_type` of [`Grant::ClientCredentials`].
const CLIENT_CREDENTIALS: &str = "client_credentials";

/// The `grant_type` of [`Grant::TokenExchange`].
pub const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";

/// The `grant_type` of [`Grant::JwtBearer`].
pub const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// On what grounds a token is asked for.
#[derive(Clone, Debug, Default)]
pub enum Grant {
    /// For the client itself (RFC 6749 section 4.4).
    #[default]
    ClientCredentials,
    /// For whom another token speaks, by the client (RFC 8693 section 2.1).
    TokenExchange(TokenExchange),
    /// For whom an assertion speaks that another issuer signed (RFC 7523 section 2.1). It is read where
    /// it is found out who asks.
    JwtBearer,
}

impl Grant {
    /// The `grant_type` of every grant.
    pub const NAMES: [&'static str; 3] = [CLIENT_CREDENTIALS, TOKEN_EXCHANGE, JWT_BEARER];

    fn parse(form: &Form) -> Result<Self, Rejection> {
        match form.require("grant_type")? {
            CLIENT_CREDENTIALS => Ok(Self::ClientCredentials),
            TOKEN_EXCHANGE => TokenExchange::parse(form).map(Self::TokenExchange),
            JWT_BEARER => Ok(Self::JwtBearer),
            unknown => Err(Rejection::GrantType(shown(unknown))),
        }
    }
}

/// A request for a token, well formed and not yet judged.
#[derive(Clone, Debug, Default)]
pub struct TokenRequest {
    /// The grant.
    pub grant: Grant,
    /// The scope asked for, where one is named; never empty.
    pub scope: Option<Scope>,
    /// What is asked for within limits (RFC 9396); empty where nothing is.
    pub details: Vec<AskedDetail>,
    /// The resources named, as sent: resource indicators, at most [`RESOURCES_MAX`].
    pub resources: Vec<String>,
    /// The longest life wanted, in seconds; above 0.
    pub expires_in: Option<u32>,
    /// The task that it is for.
    pub task: Option<TaskId>,
    /// What is to be issued, where the request says.
    pub requested_token_type: Option<IssuedTokenType>,
    /// The values of its `DPoP` headers (RFC 9449 section 5), unread; none where it has none.
    pub proofs: Vec<Vec<u8>>,
    /// The certificate of its connection (RFC 8705 section 3); none where it has none.
    pub certificate: Option<Thumbprint>,
}

impl TokenRequest {
    /// Reads the parameters; unknown ones are ignored (RFC 6749 section 3.2).
    pub fn parse(form: &Form) -> Result<Self, Rejection> {
        let grant = Grant::parse(form)?;
        let scope = form.get("scope").map(str::parse::<Scope>).transpose()?;
        let details = form.get("authorization_details").map(AskedDetail::parse_all).transpose()?;
        let expires_in = form.get("expires_in").map(seconds).transpose()?;
        let task = form.get("task").map(|task| task.parse().map_err(|_| Rejection::Task));
        let (details, task) = (details.unwrap_or_default(), task.transpose()?);
        let (resources, proofs) = (resources(form)?, Vec::new());
        let requested_token_type = IssuedTokenType::requested(form)?;
        Ok(Self {
            grant,
            scope,
            details,
            resources,
            expires_in,
            task,
            requested_token_type,
            proofs,
            certificate: None,
        })
    }

    /// What the answer says was issued: always in that of an exchange (RFC 8693 section 2.2.1), else
    /// where the request says what it wants.
    pub fn told_token_type(&self) -> Option<IssuedTokenType> {
        let exchanged = || matches!(self.grant, Grant::TokenExchange(_));
        self.requested_token_type.or_else(|| exchanged().then(IssuedTokenType::default))
    }

    /// The same with the values of *all* its `DPoP` headers.
    #[must_use]
    pub fn with_proofs<'v>(self, values: impl IntoIterator<Item = &'v [u8]>) -> Self {
        // Of more than two, two are as wrong.
        let proofs = values.into_iter().take(2).map(<[u8]>::to_vec).collect();
        Self { proofs, ..self }
    }

    /// The same where it came over a connection whose client has proved to hold the key of this
    /// certificate.
    #[must_use]
    pub fn with_certificate(self, certificate: Option<Thumbprint>) -> Self {
        Self { certificate, ..self }
    }
}

/// An unknown grant type as an error may repeat it: short, printable ASCII.
fn shown(name: &str) -> String {
    let plain = name.chars().map(|letter| if letter.is_ascii_graphic() { letter } else { '?' });
    plain.take(GRANT_TYPE_SHOWN_MAX).collect()
}

fn resources(form: &Form) -> Result<Vec<String>, Rejection> {
    let mut resources = Vec::new();
    for resource in form.all("resource") {
        if !resource_indicator::is_one(resource) {
            return Err(Rejection::Resource);
        }
        if resources.len() == RESOURCES_MAX {
            return Err(Rejection::TooManyResources);
        }
        resources.push(resource.to_owned());
    }
    Ok(resources)
}

pub(super) fn seconds(text: &str) -> Result<u32, Rejection> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = text.parse().map_err(|_| Rejection::ExpiresIn)?;
    if digits && seconds > 0 { Ok(seconds) } else { Err(Rejection::ExpiresIn) }
}
