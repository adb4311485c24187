//! RFC 8693: OAuth 2.0 Token Exchange, what is asked of the token endpoint.
//!
//! The actor is always the client that authenticates, and what comes back is delegation, a token that
//! names both, also where RFC 8693 section 1.1 would leave it open. So there is no `actor_token` here:
//! whoever sends one means somebody else, or says the same thing twice. Impersonation is asked for in so
//! many words, by a parameter of ours: `impersonation=true`.
//!
//! In the place of the subject token may stand the id of a task that holds what a user granted, for
//! when the user's own token is gone. The id is no secret: the client that authenticates is what
//! entitles, as with a refresh token of a client that has a secret (RFC 6749 section 6).
//!
//! The target is named by `resource` (RFC 8707) or by `audience`: the audience URI, or the name
//! under which the resource is registered.

use super::form::Form;
use super::rejection::Rejection;
use super::resource_indicator::RESOURCE_BYTES_MAX;
use super::token_request::RESOURCES_MAX;
use crate::biscuit;
use crate::secret::Secret;

/// What a subject token is said to be (RFC 8693 section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubjectTokenType {
    /// An access token of the issuer that is asked.
    AccessToken,
    /// A JWT: of the issuer that is asked, or a user's of an issuer that it trusts.
    Jwt,
    /// A user's ID token of an issuer that it trusts.
    IdToken,
    /// An attenuable token of the issuer that is asked, narrowed or not.
    Biscuit,
    /// The id of a task that holds a user's grant: no token, and so an identifier of ours
    /// (RFC 8693 section 3 leaves room for others than its own).
    Task,
}

impl SubjectTokenType {
    /// Every type that is taken.
    pub const ALL: [Self; 5] =
        [Self::AccessToken, Self::Jwt, Self::IdToken, Self::Biscuit, Self::Task];

    /// Its identifier.
    pub const fn uri(self) -> &'static str {
        match self {
            Self::AccessToken => "urn:ietf:params:oauth:token-type:access_token",
            Self::Jwt => "urn:ietf:params:oauth:token-type:jwt",
            Self::IdToken => "urn:ietf:params:oauth:token-type:id_token",
            Self::Biscuit => biscuit::TOKEN_TYPE,
            Self::Task => "urn:accredit:params:oauth:token-type:task",
        }
    }
}

/// What is to be issued (RFC 8693 section 2.1, `requested_token_type`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IssuedTokenType {
    /// An access token, whatever its form.
    #[default]
    AccessToken,
    /// A JWT, which is what our access tokens are where nothing else is asked for.
    Jwt,
    /// An attenuable token: a Biscuit, which its holder narrows offline.
    Biscuit,
}

impl IssuedTokenType {
    /// Every type that is issued.
    pub const ALL: [Self; 3] = [Self::AccessToken, Self::Jwt, Self::Biscuit];

    /// What a request asks for by `requested_token_type`; nothing where it does not say.
    pub(super) fn requested(form: &Form) -> Result<Option<Self>, Rejection> {
        let Some(named) = form.get("requested_token_type") else { return Ok(None) };
        let known = Self::ALL.into_iter().find(|known| known.uri() == named);
        known.map(Some).ok_or(Rejection::TokenType("requested_token_type"))
    }

    /// Its identifier, the `issued_token_type` of the answer.
    pub const fn uri(self) -> &'static str {
        match self {
            Self::AccessToken => SubjectTokenType::AccessToken.uri(),
            Self::Jwt => SubjectTokenType::Jwt.uri(),
            Self::Biscuit => biscuit::TOKEN_TYPE,
        }
    }
}

/// The parameters that only an exchange has.
#[derive(Clone, Debug)]
pub struct TokenExchange {
    /// The token of the party on whose behalf the request is made, unread.
    pub subject_token: Secret,
    /// What it is said to be.
    pub subject_token_type: SubjectTokenType,
    /// The targets named by `audience`, as sent: at most [`RESOURCES_MAX`].
    pub audiences: Vec<String>,
    /// Whether the client is to be kept out of `act`.
    pub impersonation: bool,
}

impl TokenExchange {
    /// Reads the parameters.
    ///
    /// RFC 8693 section 2.1: `actor_token_type` "MUST NOT be included when the `actor_token`
    /// parameter is not present"; with one or without, neither is taken here.
    pub fn parse(form: &Form) -> Result<Self, Rejection> {
        if form.get("actor_token").is_some() || form.get("actor_token_type").is_some() {
            return Err(Rejection::ActorToken);
        }
        let impersonation = match form.get("impersonation") {
            None => false,
            Some("true") => true,
            Some(_) => return Err(Rejection::ParameterMalformed("impersonation")),
        };
        let subject_token = form.require("subject_token")?;
        let named = form.require("subject_token_type")?;
        let subject_token_type =
            SubjectTokenType::ALL.into_iter().find(|known| known.uri() == named);
        Ok(Self {
            subject_token: Secret::new(subject_token.to_owned()),
            subject_token_type: subject_token_type
                .ok_or(Rejection::TokenType("subject_token_type"))?,
            audiences: audiences(form)?,
            impersonation,
        })
    }
}

fn audiences(form: &Form) -> Result<Vec<String>, Rejection> {
    let named: Vec<String> =
        form.all("audience").take(RESOURCES_MAX + 1).map(str::to_owned).collect();
    if named.len() > RESOURCES_MAX {
        return Err(Rejection::TooManyResources);
    }
    if named.iter().any(|name| name.len() > RESOURCE_BYTES_MAX) {
        return Err(Rejection::ParameterMalformed("audience"));
    }
    Ok(named)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oauth::token_request::TokenRequest;

    const PREFIX: &str = "urn:ietf:params:oauth:token-type:";
    const TOKEN: &str = "subject_token=a.b.c&subject_token_type=";

    fn parse(body: &str) -> Result<TokenExchange, Rejection> {
        TokenExchange::parse(&Form::parse(body.as_bytes()).expect("a form"))
    }

    fn refused(body: &str) -> Rejection {
        parse(body).expect_err(body)
    }

    #[test]
    fn an_exchange_names_its_subject_and_nobody_else() {
        let jwt = format!("{TOKEN}{PREFIX}jwt");
        let read = parse(&jwt).expect("an exchange");
        assert_eq!(read.subject_token.expose(), "a.b.c");
        assert_eq!(read.subject_token_type, SubjectTokenType::Jwt);
        for actor in ["actor_token=x", &format!("actor_token_type={PREFIX}jwt")] {
            assert_eq!(refused(&format!("{jwt}&{actor}")), Rejection::ActorToken);
        }
    }

    #[test]
    fn impersonation_is_asked_for_in_so_many_words_or_not_at_all() {
        let jwt = format!("{TOKEN}{PREFIX}jwt");
        assert!(!parse(&jwt).expect("an exchange").impersonation);
        assert!(parse(&format!("{jwt}&impersonation=true")).expect("an exchange").impersonation);
        for wrong in ["false", "1", "TRUE", "yes", "true%20"] {
            let answer = refused(&format!("{jwt}&impersonation={wrong}"));
            assert_eq!(answer, Rejection::ParameterMalformed("impersonation"), "{wrong}");
        }
        let twice = Form::parse(format!("{jwt}&impersonation=true&impersonation=true").as_bytes());
        assert!(twice.is_err() || TokenExchange::parse(&twice.expect("a form")).is_err());
    }

    #[test]
    fn a_type_that_is_not_known_is_refused() {
        for known in SubjectTokenType::ALL {
            assert!(parse(&format!("{TOKEN}{}", known.uri())).is_ok());
        }
        // For either grant, it is the same parameter.
        let asked = |named: &str| {
            let grant = "grant_type=client_credentials&requested_token_type=";
            let form = Form::parse(format!("{grant}{named}").as_bytes()).expect("a form");
            TokenRequest::parse(&form).map(|request| request.requested_token_type)
        };
        for known in IssuedTokenType::ALL {
            assert_eq!(asked(known.uri()), Ok(Some(known)));
        }
        for unknown in ["refresh_token", "saml2", "JWT", "jwt ", "n_a", "biscuit"] {
            let subject = refused(&format!("{TOKEN}{PREFIX}{unknown}"));
            assert_eq!(subject, Rejection::TokenType("subject_token_type"), "{unknown}");
            let requested = asked(&format!("{PREFIX}{unknown}"));
            let refused = Err(Rejection::TokenType("requested_token_type"));
            assert_eq!(requested, refused, "{unknown}");
        }
        assert_eq!(refused(TOKEN), Rejection::ParameterMissing("subject_token_type"));
        let bare = format!("subject_token_type={PREFIX}jwt");
        assert_eq!(refused(&bare), Rejection::ParameterMissing("subject_token"));
    }

    #[test]
    fn targets_are_counted_and_bounded() {
        let with = |many: usize| format!("{TOKEN}{PREFIX}jwt{}", "&audience=crm".repeat(many));
        assert_eq!(parse(&with(RESOURCES_MAX)).expect("few").audiences.len(), RESOURCES_MAX);
        assert_eq!(refused(&with(RESOURCES_MAX + 1)), Rejection::TooManyResources);
        let long = format!("{TOKEN}{PREFIX}jwt&audience={}", "x".repeat(RESOURCE_BYTES_MAX + 1));
        assert_eq!(refused(&long), Rejection::ParameterMalformed("audience"));
    }
}
