//! RFC 6750 section 3.1, RFC 8705 section 3, RFC 9449 section 7.1: why a request is not accepted, for the caller, its developer and the log.

use std::fmt;
use std::time::Duration;

use crate::authority::{Denial, Scope};
use crate::binding::dpop::ProofError;
use crate::biscuit::BiscuitError;
use crate::ids::AnyId;
use crate::jose::jws::JwsError;
use crate::json::quoted;
use crate::oauth::errors::ErrorCode;
use crate::time::Time;
use crate::token::ClaimsError;

/// Why the Verifier says no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejection {
    // What the request is.
    /// There is no `Authorization` header.
    NoCredential,
    /// The header's scheme is neither `Bearer` nor `DPoP`.
    NotBearer,
    /// There is more than one `Authorization` header.
    SeveralCredentials,
    /// The query has an `access_token`.
    TokenInQuery,
    /// The header is `Bearer` without a token, or with what cannot be one.
    MalformedHeader,
    // What the token is.
    /// Not a signed token of the right type, or its signature does not hold.
    Token(JwsError),
    /// Signed by a key that is not among the issuer's current ones.
    UnknownKey,
    /// Its claims are not those of our access tokens.
    Claims(ClaimsError),
    /// Not an attenuable token that is accepted.
    Biscuit(BiscuitError),
    /// An attenuable token that was minted for nobody's key, whoever was named as its holder since.
    Unheld,
    /// It is bound to a key, and was sent as if it were not.
    Binding,
    /// It is bound to no key, and was sent as if it were.
    NotBound,
    /// It is bound to a key, and no proof is checked here.
    ProofsUnchecked,
    /// The proof that it demands is missing or does not hold.
    Proof(ProofError),
    /// It is bound to a certificate, and the connection is not its holder's.
    Certificate {
        /// Whether the connection has a certificate, which is then another one.
        is_presented: bool,
    },
    /// `exp` has passed.
    Expired {
        /// The claim.
        expires_at: Time,
    },
    /// `nbf` or `iat` has not come.
    NotYetValid {
        /// The later of the two.
        begins: Time,
    },
    /// From `iat` to `exp` is longer than any token of ours lives.
    LivesTooLong,
    /// Of another issuer.
    Issuer,
    /// For another audience.
    Audience,
    /// An id of its lineage was revoked.
    Revoked {
        /// The id. The token names it, so its holder knows it.
        id: AnyId,
    },
    /// The token does not allow what was asked.
    InsufficientScope {
        /// What it would take.
        needed: String,
        /// What it allows.
        held: Scope,
    },
    /// The token does not allow this action on this object with these arguments, now.
    NotAllowed {
        /// What it would take: `resource:action`.
        needed: String,
        /// What of it is not allowed.
        why: Denial,
    },
    /// A block that was added to the token does not allow it.
    NarrowedAway {
        /// What it would take: `resource:action`.
        needed: String,
    },
    // What the request is part of.
    /// No user is at the root of its chain.
    NoUser,
    /// Its chain has come further from its root than is taken here.
    ChainTooDeep {
        /// Hops.
        depth: usize,
        /// Hops that are taken.
        max: usize,
    },
    /// It speaks for a user, and the request does not say which user it is about.
    UserUnsaid,
    /// It speaks for another user than the request is about.
    OtherUser,
    /// It is for another task than the request, or for none.
    OtherTask,
    // What we do not know.
    /// The revocation state is too old, or there is none, so nobody knows whether it is revoked.
    Stale {
        /// How old it is; `None` where there is none or the local clock was set back.
        age: Option<Duration>,
        /// How old it may be.
        age_max: Duration,
    },
    /// The token is newer than the revocation state: catch up and try again.
    Behind {
        /// The counter that the token's decision saw.
        token: u64,
        /// The counter of the state.
        state: u64,
    },
}

impl Rejection {
    /// The OAuth error code. `None` where the request has no bearer token at all: RFC 6750 section
    /// 3.1, "the resource server SHOULD NOT include an error code".
    pub const fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::NoCredential | Self::NotBearer => None,
            Self::SeveralCredentials | Self::TokenInQuery | Self::MalformedHeader => {
                Some(ErrorCode::InvalidRequest)
            }
            Self::Token(_)
            | Self::UnknownKey
            | Self::Claims(_)
            | Self::Biscuit(_)
            | Self::Unheld
            | Self::Binding
            | Self::NotBound
            | Self::ProofsUnchecked
            | Self::Certificate { .. }
            | Self::Expired { .. }
            | Self::NotYetValid { .. }
            | Self::LivesTooLong
            | Self::Issuer
            | Self::Audience
            | Self::Revoked { .. } => Some(ErrorCode::InvalidToken),
            Self::Proof(error) => Some(error.code()),
            // A new token of the same kind would not help: RFC 6750 section 3.1, "higher privileges
            // than provided by the access token".
            Self::NoUser
            | Self::ChainTooDeep { .. }
            | Self::UserUnsaid
            | Self::OtherUser
            | Self::OtherTask
            | Self::InsufficientScope { .. }
            | Self::NotAllowed { .. }
            | Self::NarrowedAway { .. } => Some(ErrorCode::InsufficientScope),
            Self::Stale { .. } | Self::Behind { .. } => Some(ErrorCode::TemporarilyUnavailable),
        }
    }

    /// The HTTP status.
    pub const fn status(&self) -> u16 {
        match self.code() {
            // RFC 9449 sections 7.1 and 9: at a resource, a proof that does not do is a 401.
            None | Some(ErrorCode::InvalidDpopProof | ErrorCode::UseDpopNonce) => 401,
            Some(code) => code.status(),
        }
    }

    /// The stable name of the rule that was broken.
    pub const fn rule(&self) -> &'static str {
        match self {
            Self::NoCredential => "credential-missing",
            Self::NotBearer => "credential-not-bearer",
            Self::NotBound => "token-not-bound",
            Self::ProofsUnchecked => "dpop-unchecked",
            Self::Proof(error) => error.rule(),
            Self::Certificate { .. } => "token-certificate",
            Self::SeveralCredentials => "credential-not-single",
            Self::TokenInQuery => "token-in-query",
            Self::MalformedHeader => "authorization-malformed",
            Self::Token(_) => "token-not-accepted",
            Self::UnknownKey => "token-key-unknown",
            Self::Claims(_) => "token-claims",
            Self::Biscuit(_) => "token-not-attenuable",
            Self::Unheld => "token-holder-missing",
            Self::Binding => "token-bound",
            Self::Expired { .. } => "token-expired",
            Self::NotYetValid { .. } => "token-not-yet-valid",
            Self::LivesTooLong => "token-lives-too-long",
            Self::Issuer => "token-issuer",
            Self::Audience => "token-audience",
            Self::Revoked { .. } => "token-revoked",
            Self::InsufficientScope { .. } => "scope-insufficient",
            Self::NotAllowed { .. } => "authorization-details-insufficient",
            Self::NarrowedAway { .. } => "token-narrowed",
            Self::NoUser => "user-missing",
            Self::ChainTooDeep { .. } => "chain-too-deep-here",
            Self::UserUnsaid => "user-context-missing",
            Self::OtherUser => "user-context-other",
            Self::OtherTask => "task-context-other",
            Self::Stale { .. } => "revocations-stale",
            Self::Behind { .. } => "revocations-behind",
        }
    }

    /// What the caller or its developer can do.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::NoCredential | Self::NotBearer | Self::MalformedHeader => {
                "send `Authorization: Bearer`, or `DPoP` and a proof, and an access token"
            }
            Self::SeveralCredentials => "send exactly one `Authorization` header",
            Self::TokenInQuery => "send the token in the `Authorization` header only",
            Self::Token(_) | Self::Claims(_) => {
                "send the access token exactly as the token endpoint answered it"
            }
            Self::Biscuit(_) => {
                "send the token exactly as it was issued or narrowed, with `accredit token narrow` or \
                 in the vocabulary of docs/formats.md"
            }
            Self::Unheld => {
                "ask for one with a proof of your key (`accredit token get --attenuable --key FILE`), \
                 and send it, or what was made of it, with a proof of its holder's key"
            }
            Self::UnknownKey | Self::Expired { .. } => "get a new token",
            Self::Binding => "send it with the scheme `DPoP`, and a proof in the `DPoP` header",
            Self::NotBound => {
                "send it with the scheme `Bearer`, or get one with a proof of your key"
            }
            Self::ProofsUnchecked => {
                "the resource's operator configures its public URL; or get a token without a proof"
            }
            Self::Proof(error) => error.hint(),
            Self::Certificate { .. } => {
                "send it over TLS with the certificate that it was got with, to a resource that asks \
                 for one"
            }
            Self::NotYetValid { .. } => "check the clocks of the issuer and of this resource",
            Self::LivesTooLong => "get a token with a shorter life",
            Self::Issuer => "get a token from the issuer that this resource trusts",
            Self::Audience => "get a token whose `resource` is this resource's audience",
            Self::Revoked { .. } => {
                "do not retry: what this token rests on was ended; ask the agent's owner"
            }
            Self::InsufficientScope { .. } => "get a token with the scope that is needed",
            Self::NotAllowed { .. } => {
                "stay within the token's `scope` and `authorization_details`, or get a token \
                 with more"
            }
            Self::NarrowedAway { .. } => {
                "ask whoever handed the token on: it was narrowed after it was issued"
            }
            Self::NoUser => "let a user begin the chain: exchange the user's token",
            Self::ChainTooDeep { .. } => "let an earlier party of the chain make this request",
            Self::UserUnsaid => {
                "the resource server says whose context a request is: `Guard::context`, or it waives \
                 that"
            }
            Self::OtherUser => "use the token of the user whose request this is",
            Self::OtherTask => "get a token for this task",
            Self::Stale { .. } => {
                "retry soon: this resource cannot learn at the moment what was revoked"
            }
            Self::Behind { .. } => "retry: this resource is catching up with the issuer",
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCredential => f.write_str("the request has no credential"),
            Self::NotBearer => {
                f.write_str("the `Authorization` header is of neither scheme, `Bearer` nor `DPoP`")
            }
            Self::SeveralCredentials => f.write_str("the request has more than one credential"),
            Self::TokenInQuery => f.write_str("the request has a token in its query"),
            Self::MalformedHeader => f.write_str("the `Authorization` header has no token"),
            Self::Token(error) => error.fmt(f),
            Self::UnknownKey => f.write_str("the token is signed by no current key of the issuer"),
            Self::Claims(error) => error.fmt(f),
            Self::Biscuit(error) => error.fmt(f),
            Self::Unheld => f.write_str("the attenuable token was minted for nobody's key"),
            Self::Binding => f.write_str("the token is bound to a key, and was sent without proof"),
            Self::NotBound => {
                f.write_str("the token is bound to no key, and was sent as if it were")
            }
            Self::ProofsUnchecked => {
                f.write_str("the token is bound to a key, and this resource checks no proofs")
            }
            Self::Proof(error) => error.fmt(f),
            Self::Certificate { is_presented: true } => {
                f.write_str("the token is bound to another certificate than that of the connection")
            }
            Self::Certificate { is_presented: false } => f.write_str(
                "the token is bound to a certificate, and none came with the connection",
            ),
            Self::Expired { expires_at } => write!(f, "the token expired at {expires_at}"),
            Self::NotYetValid { begins } => write!(f, "the token is valid from {begins} on"),
            Self::LivesTooLong => f.write_str("the token lives longer than is accepted"),
            Self::Issuer => f.write_str("the token is of another issuer"),
            Self::Audience => f.write_str("the token is for another audience"),
            Self::Revoked { id } => write!(f, "`{id}`, on which the token rests, was revoked"),
            Self::InsufficientScope { needed, held } if held.is_empty() => {
                write!(f, "this needs the scope `{needed}` and the token has none")
            }
            Self::InsufficientScope { needed, held } => {
                write!(f, "this needs the scope `{needed}` and the token has `{held}`")
            }
            Self::NotAllowed { needed, why } => write!(f, "`{}`: {why}", quoted(needed)),
            Self::NarrowedAway { needed } => {
                write!(f, "`{}`: a block that was added to the token forbids it", quoted(needed))
            }
            Self::NoUser => f.write_str("the token speaks for no user"),
            Self::ChainTooDeep { depth, max } => {
                write!(f, "the token is {depth} hops from its root, and {max} are taken here")
            }
            Self::UserUnsaid => {
                f.write_str("the token speaks for a user, and nobody said whose request this is")
            }
            Self::OtherUser => f.write_str("the token speaks for another user"),
            Self::OtherTask => f.write_str("the token is not for this task"),
            Self::Stale { age: Some(age), age_max } => write!(
                f,
                "what is known of revocations is {} s old; at most {} s are allowed",
                age.as_secs(),
                age_max.as_secs()
            ),
            Self::Stale { age: None, .. } => {
                f.write_str("nothing of known age is known of revocations")
            }
            Self::Behind { token, state } => write!(
                f,
                "the token was decided at revocation {token}, and only {state} are known here"
            ),
        }
    }
}

impl std::error::Error for Rejection {}
