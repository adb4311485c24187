//! RFC 6749 section 5.2: why a request is not accepted before anything is looked up.
//!
//! One exhaustive enum, so that every rule has its code, its stable name and its hint on one
//! page. It repeats no value of a parameter except an unknown grant type or scope token, which are
//! cut short and printable ASCII.

use std::fmt;

use super::authorization_details::DetailsError;
use super::client_auth::{ASSERTION_TYPE, BASIC_BYTES_MAX, SVID_ASSERTION_TYPE};
use super::errors::{ErrorBody, ErrorCode, www_authenticate_basic};
use super::form::{FORM_BYTES_MAX, FORM_PARAMETERS_MAX};
use super::resource_indicator::RESOURCE_BYTES_MAX;
use super::token_request::RESOURCES_MAX;
use crate::api_key::ApiKeyError;
use crate::authority::ScopeError;
use crate::x509::dns_name::NotADnsName;

/// What is wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// The content type is not `application/x-www-form-urlencoded`.
    ContentType,
    /// The URL has a query.
    Query,
    /// The body is longer than [`FORM_BYTES_MAX`].
    BodyTooLarge,
    /// The body has more than [`FORM_PARAMETERS_MAX`] parameters.
    TooManyParameters,
    /// A `%` is not followed by two hexadecimal digits, or the result is not UTF-8.
    Encoding,
    /// This parameter stands twice. Only a known parameter is named.
    ParameterTwice(Option<&'static str>),
    /// This parameter is required and is absent or empty.
    ParameterMissing(&'static str),
    /// This parameter is longer than it can be, or has characters it cannot have.
    ParameterMalformed(&'static str),
    /// Nobody can use this grant type here. Short, printable ASCII.
    GrantType(String),
    /// The scope is not one.
    Scope(ScopeError),
    /// The authorization details are none that are known here.
    Details(DetailsError),
    /// A resource is not an absolute URI without fragment.
    Resource,
    /// There are more than [`RESOURCES_MAX`] resources.
    TooManyResources,
    /// `expires_in` is not a positive whole number of seconds.
    ExpiresIn,
    /// `task` is not the id of one.
    Task,
    /// `dns_names` are no names of hosts that an instance could have.
    DnsNames(NotADnsName),
    /// An exchange names an actor beside the client that authenticates.
    ActorToken,
    /// This parameter names a token type that is not taken, or not issued, here.
    TokenType(&'static str),
    /// There are two `Authorization` headers.
    AuthorizationTwice,
    /// The `Authorization` header has a scheme that is not taken here.
    AuthorizationScheme,
    /// The `Basic` credentials are not base64 of a form-encoded id, a colon and a secret.
    Basic,
    /// The `Bearer` credential is not a key of ours.
    Bearer(ApiKeyError),
    /// The client authenticates in two ways at once.
    TwoClientAuthentications,
    /// `client_id` in the body is not the client that authenticates.
    ClientIdDiffers,
    /// The client assertion is of a type that is not taken here.
    AssertionType,
    /// The client does not authenticate.
    Unauthenticated,
}

impl Rejection {
    /// The `error` code.
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::GrantType(_) => ErrorCode::UnsupportedGrantType,
            Self::Scope(_) => ErrorCode::InvalidScope,
            Self::Details(_) => ErrorCode::InvalidAuthorizationDetails,
            Self::Resource | Self::TooManyResources => ErrorCode::InvalidTarget,
            Self::AuthorizationScheme
            | Self::Basic
            | Self::Bearer(_)
            | Self::AssertionType
            | Self::Unauthenticated => ErrorCode::InvalidClient,
            Self::ContentType
            | Self::Query
            | Self::BodyTooLarge
            | Self::TooManyParameters
            | Self::Encoding
            | Self::ParameterTwice(_)
            | Self::ParameterMissing(_)
            | Self::ParameterMalformed(_)
            | Self::ExpiresIn
            | Self::Task
            | Self::DnsNames(_)
            | Self::ActorToken
            | Self::TokenType(_)
            | Self::AuthorizationTwice
            | Self::TwoClientAuthentications
            | Self::ClientIdDiffers => ErrorCode::InvalidRequest,
        }
    }

    /// The stable name of the rule.
    pub const fn rule(&self) -> &'static str {
        match self {
            Self::ContentType => "content-type-not-form",
            Self::Query => "query-not-allowed",
            Self::BodyTooLarge => "body-too-large",
            Self::TooManyParameters => "too-many-parameters",
            Self::Encoding => "form-encoding",
            Self::ParameterTwice(_) => "parameter-twice",
            Self::ParameterMissing(_) => "parameter-missing",
            Self::ParameterMalformed(_) => "parameter-malformed",
            Self::GrantType(_) => "grant-type-unsupported",
            Self::Scope(_) => "scope-malformed",
            Self::Details(_) => "authorization-details-malformed",
            Self::Resource => "resource-malformed",
            Self::TooManyResources => "too-many-resources",
            Self::ExpiresIn => "expires-in-malformed",
            Self::Task => "task-malformed",
            Self::DnsNames(_) => "dns-names-malformed",
            Self::ActorToken => "actor-token-not-taken",
            Self::TokenType(_) => "token-type-unsupported",
            Self::AuthorizationTwice => "authorization-twice",
            Self::AuthorizationScheme => "authorization-scheme",
            Self::Basic => "basic-malformed",
            Self::Bearer(_) => "bearer-not-a-key",
            Self::TwoClientAuthentications => "two-client-authentications",
            Self::ClientIdDiffers => "client-id-differs",
            Self::AssertionType => "assertion-type-unsupported",
            Self::Unauthenticated => "client-unauthenticated",
        }
    }

    /// What the caller can do about it.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::ContentType => {
                "send the parameters in the body as `application/x-www-form-urlencoded`"
            }
            Self::Query => "move the parameters from the URL into the body",
            Self::BodyTooLarge | Self::TooManyParameters => "send only the parameters you need",
            Self::Encoding => "encode every parameter as UTF-8 and `%XX`",
            Self::ParameterTwice(_) => {
                "send each parameter once; only `resource` and `audience` may repeat"
            }
            Self::ParameterMissing(_) => "add the parameter with a value",
            Self::ParameterMalformed(_) => "send the value as it was given to you, unchanged",
            Self::GrantType(_) => {
                "use `client_credentials`, or `urn:ietf:params:oauth:grant-type:token-exchange`"
            }
            Self::Scope(_) => "list `resource:action` tokens separated by single spaces",
            Self::Details(DetailsError::Unlimited) => "ask for it with `scope`: it has no limit",
            Self::Details(_) => {
                "send a list of objects of `type` `accredit` with `resource`, `actions` and \
                 at least one of `object`, `constraints`, `not_before`, `not_after`; amounts are \
                 integers"
            }
            Self::Resource => "send the audience of a registered resource, unchanged",
            Self::TooManyResources => "ask for one token for each resource",
            Self::ExpiresIn => "send a whole number of seconds above 0, or leave it out",
            Self::Task => "send the task's id as it was given to you, or leave it out",
            Self::DnsNames(_) => {
                "send whole names of hosts in lower case, with single blanks between"
            }
            Self::ActorToken => "leave it out: the actor is the client that authenticates",
            Self::TokenType(_) => {
                "name one of RFC 8693 section 3: `access_token` or `jwt`, each in full, or \
                 `urn:accredit:params:oauth:token-type:biscuit`; a user's token may also be an \
                 `id_token`"
            }
            Self::AuthorizationTwice => "send one `Authorization` header",
            Self::AuthorizationScheme => "use `Basic`, or a signed client assertion in the body",
            Self::Basic => "form-encode client id and secret, join them with `:`, then base64",
            Self::Bearer(_) => "send the key as it was shown when it was made",
            Self::TwoClientAuthentications => {
                "use one of `client_secret_basic`, `client_secret_post`, `private_key_jwt`"
            }
            Self::ClientIdDiffers => "leave `client_id` out of the body",
            Self::AssertionType => {
                "sign with the client's key and name the type that RFC 7523 section 2.2 defines"
            }
            Self::Unauthenticated => {
                "send the client's id and secret, or a client assertion signed with its key"
            }
        }
    }

    /// The body to answer with.
    pub fn body(&self) -> ErrorBody {
        ErrorBody::new(self.code(), &self.to_string()).with_rule(self.rule()).with_hint(self.hint())
    }

    /// The `WWW-Authenticate` value to answer with: present where the client failed in the
    /// `Authorization` header (RFC 6749 section 5.2). `realm` is the issuer.
    pub fn www_authenticate(&self, realm: &str) -> Option<String> {
        matches!(self, Self::AuthorizationScheme | Self::Basic | Self::Bearer(_))
            .then(|| www_authenticate_basic(realm))
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ContentType => f.write_str("the body is not a form"),
            Self::Query => f.write_str("this endpoint takes no parameters in the URL"),
            Self::BodyTooLarge => write!(f, "the body is longer than {FORM_BYTES_MAX} bytes"),
            Self::TooManyParameters => {
                write!(f, "the body has more than {FORM_PARAMETERS_MAX} parameters")
            }
            Self::Encoding => f.write_str("the body is not percent-encoded UTF-8"),
            Self::ParameterTwice(Some(name)) => write!(f, "the parameter `{name}` is sent twice"),
            Self::ParameterTwice(None) => f.write_str("a parameter is sent twice"),
            Self::ParameterMissing(name) => write!(f, "the parameter `{name}` is missing"),
            Self::ParameterMalformed(name) => {
                write!(f, "the parameter `{name}` is too long or has characters it cannot have")
            }
            Self::GrantType(name) => {
                write!(f, "the grant type `{name}` is not supported; `client_credentials` is")
            }
            Self::Scope(error) => fmt::Display::fmt(error, f),
            Self::Details(error) => fmt::Display::fmt(error, f),
            Self::Resource => write!(
                f,
                "`resource` must be an absolute URI without fragment, at most \
                 {RESOURCE_BYTES_MAX} bytes"
            ),
            Self::TooManyResources => write!(f, "at most {RESOURCES_MAX} resources can be named"),
            Self::ExpiresIn => {
                f.write_str("`expires_in` is not a positive whole number of seconds")
            }
            Self::Task => f.write_str("`task` is not the id of a task"),
            Self::DnsNames(error) => write!(f, "`dns_names`: {error}"),
            Self::ActorToken => f.write_str("an exchange here takes no `actor_token`"),
            Self::TokenType(name) => {
                write!(f, "the parameter `{name}` names a token type that is not supported")
            }
            Self::AuthorizationTwice => f.write_str("there are two `Authorization` headers"),
            Self::AuthorizationScheme => {
                f.write_str("this endpoint does not take that `Authorization` scheme")
            }
            Self::Basic => write!(
                f,
                "the `Basic` credentials are not base64 of `id:secret` within \
                 {BASIC_BYTES_MAX} bytes"
            ),
            Self::Bearer(error) => fmt::Display::fmt(error, f),
            Self::TwoClientAuthentications => {
                f.write_str("the client authenticates in more than one way")
            }
            Self::ClientIdDiffers => {
                f.write_str("`client_id` in the body is not the client that authenticates")
            }
            Self::AssertionType => {
                write!(
                    f,
                    "`client_assertion_type` must be `{ASSERTION_TYPE}` or `{SVID_ASSERTION_TYPE}`"
                )
            }
            Self::Unauthenticated => f.write_str("the client does not authenticate"),
        }
    }
}

impl std::error::Error for Rejection {}

impl From<ScopeError> for Rejection {
    fn from(error: ScopeError) -> Self {
        Self::Scope(error)
    }
}

impl From<NotADnsName> for Rejection {
    fn from(error: NotADnsName) -> Self {
        Self::DnsNames(error)
    }
}

impl From<DetailsError> for Rejection {
    fn from(error: DetailsError) -> Self {
        Self::Details(error)
    }
}

impl From<&Rejection> for ErrorBody {
    fn from(rejection: &Rejection) -> Self {
        rejection.body()
    }
}
