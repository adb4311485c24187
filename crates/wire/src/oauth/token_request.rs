//! RFC 6749 section 4.4 (client credentials): what is asked of the token endpoint.
//!
//! Who asks is read by [`super::client_auth`]. One addition of ours: `expires_in`, the longest
//! life the client wants, in seconds; it can only shorten what policy gives.

use super::form::Form;
use super::rejection::Rejection;
use super::resource_indicator;
use crate::authority::Scope;

/// The most `resource` parameters in one request.
pub const RESOURCES_MAX: usize = 8;

/// How much of an unknown grant type an error repeats, in characters.
const GRANT_TYPE_SHOWN_MAX: usize = 64;

/// What a token is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// For the client itself (RFC 6749 section 4.4).
    ClientCredentials,
}

impl Grant {
    /// Every grant.
    pub const ALL: [Self; 1] = [Self::ClientCredentials];

    /// Its `grant_type`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ClientCredentials => "client_credentials",
        }
    }
}

/// A request for a token, well formed and not yet judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRequest {
    /// The grant.
    pub grant: Grant,
    /// The scope asked for, where one is named; never empty.
    pub scope: Option<Scope>,
    /// The resources named, as sent: resource indicators, at most [`RESOURCES_MAX`].
    pub resources: Vec<String>,
    /// The longest life wanted, in seconds; above 0.
    pub expires_in: Option<u32>,
}

impl TokenRequest {
    /// Reads the parameters; unknown ones are ignored (RFC 6749 section 3.2).
    pub fn parse(form: &Form) -> Result<Self, Rejection> {
        let name = form.require("grant_type")?;
        let grant = Grant::ALL.into_iter().find(|grant| grant.name() == name);
        let grant = grant.ok_or_else(|| Rejection::GrantType(shown(name)))?;
        let scope = form.get("scope").map(str::parse::<Scope>).transpose()?;
        let expires_in = form.get("expires_in").map(seconds).transpose()?;
        Ok(Self { grant, scope, resources: resources(form)?, expires_in })
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

fn seconds(text: &str) -> Result<u32, Rejection> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = text.parse().map_err(|_| Rejection::ExpiresIn)?;
    if digits && seconds > 0 { Ok(seconds) } else { Err(Rejection::ExpiresIn) }
}
