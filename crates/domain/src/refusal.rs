//! Every no of the domain: a stable rule, what to say to the caller, and what to do about it.
//!
//! A [`Refusal`] is the caller's to mend, a [`Fault`] is ours: it is told as an opaque id and
//! logged in full. The list of rules is closed, so that a new one breaks every mapping to a
//! protocol at compile time; `docs/refusals.md` is generated from it.

use std::fmt;

/// What kind of no it is; each protocol maps it to its own codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The request itself is wrong.
    Invalid,
    /// Nobody proved who they are, or not well enough.
    Unauthenticated,
    /// Who asks is known, and may not.
    Denied,
    /// There is no such thing here.
    NotFound,
    /// It contradicts what is there.
    Conflict,
    /// The grant itself does not hold.
    Grant,
    /// The OAuth client may not use this grant now.
    UnauthorizedClient,
    /// The scope is more than the client holds.
    Scope,
    /// What is asked for within limits is more than the client holds.
    Details,
    /// The target is not one the client can have a token for.
    Target,
    /// The proof of possession is missing or does not hold.
    Proof,
    /// The proof of possession needs a nonce that is given with the answer.
    ProofNonce,
    /// The thing is not in the version that the request builds on.
    Precondition,
    /// The request is well formed and cannot be carried out as it is.
    Unprocessable,
    /// Too much in too short a time.
    TooMany,
    /// Nobody can have it now, whoever asks.
    Unavailable,
}

macro_rules! rules {
    ($($name:ident $code:literal $kind:ident $meaning:literal;)*) => {
        /// Why something was refused. The code is stable: programs branch on it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Rule { $(#[doc = $meaning] $name,)* }

        impl Rule {
            /// Every rule, in the order of `docs/refusals.md`.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The stable code, in kebab case.
            pub const fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// What kind of no it is.
            pub const fn kind(self) -> Kind {
                match self { $(Self::$name => Kind::$kind,)* }
            }

            /// What it means, one sentence.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$name => $meaning,)* }
            }
        }
    };
}

rules! {
    ClientAuthentication "client-authentication" Unauthenticated "The client is unknown or its proof is wrong; which of the two is not told.";
    CredentialExpired "credential-expired" Unauthenticated "The proof is right, but its credential has expired.";
    CredentialRevoked "credential-revoked" Unauthenticated "The proof is right, but its credential was revoked.";
    AssertionInvalid "assertion-invalid" Unauthenticated "The client assertion breaks RFC 7523 or our limits.";
    AssertionAudience "assertion-audience" Unauthenticated "The client assertion's audience is not the issuer alone, or not that of the workload's rule.";
    AssertionLifetime "assertion-lifetime" Unauthenticated "The client assertion lives longer than five minutes, or is over; a platform's token is older than its rule allows.";
    CertificateLifetime "certificate-lifetime" Unauthenticated "The client's certificate is over, or does not hold yet.";
    CertificateRevoked "certificate-revoked" Unauthenticated "The proof is right, but its certificate was revoked, or what it rests on was ended.";
    SvidRevoked "svid-revoked" Unauthenticated "The proof is right, but the JWT-SVID was revoked, or what it rests on was ended.";
    AssertionReplayed "assertion-replayed" Unauthenticated "The client assertion was used before.";
    GrantAssertionUnknown "grant-assertion-unknown" Grant "The assertion is of an issuer that is not believed here, or not as that one signed it; which of the two is not told.";
    GrantAssertionInvalid "grant-assertion-invalid" Grant "The assertion breaks RFC 7523 or our limits, or does not name the copy that runs.";
    GrantAssertionAudience "grant-assertion-audience" Grant "The assertion is not for us alone.";
    GrantAssertionLifetime "grant-assertion-lifetime" Grant "The assertion is over, or older than its rule allows, or lives longer than a day.";
    GrantAssertionReplayed "grant-assertion-replayed" Grant "The assertion was used before.";
    WorkloadAgent "workload-agent" UnauthorizedClient "No rule, or rules of several agents, match what is claimed of the workload.";
    BirthsTooMany "births-too-many" TooMany "The rule has brought as many instances into being within an hour as it may.";
    JoinTokenUsed "join-token-used" Unauthenticated "The join token was used before, or was ended.";
    NodeNot "node-not" UnauthorizedClient "The client is no instance that could be a node.";
    AdminKey "admin-key" Unauthenticated "The administrator's key is absent or unknown.";
    SeparationOfDuties "separation-of-duties" Denied "Nobody makes an administrator's key with more than they hold themselves.";
    LastOwner "last-owner" Conflict "An organization keeps an owner's key that lives for a day at least.";
    NotEntitled "not-entitled" Denied "The caller's credential does not allow this operation.";
    AgentNotActive "agent-not-active" UnauthorizedClient "The agent is not active.";
    InstanceNotActive "instance-not-active" UnauthorizedClient "The instance has expired or was revoked.";
    OwnerNotActive "owner-not-active" UnauthorizedClient "The agent's owner is suspended.";
    OrganizationNotActive "organization-not-active" UnauthorizedClient "The organization is suspended.";
    RotationRequired "rotation-required" UnauthorizedClient "The agent has changed, and its credential was not rotated since; the organization enforces that.";
    GrantNotForClient "grant-not-for-client" UnauthorizedClient "This kind of client cannot use this grant.";
    ScopeNotHeld "scope-not-held" Scope "The agent does not hold a scope that was asked for.";
    SubjectToken "subject-token" Invalid "The subject token of an exchange is none, or is over.";
    SubjectTokenNotYours "subject-token-not-yours" Invalid "The subject token was neither issued to the client nor sent to a resource that it serves.";
    MayAct "may-act" Invalid "The user's token names who may act for them, and the client is not among these.";
    Impersonation "impersonation" Invalid "The client may act for this subject by delegation alone, named in `act`.";
    ChainTooDeep "chain-too-deep" Invalid "The chain of acting parties has as many as it may have.";
    ChainCycle "chain-cycle" Invalid "The client is in the chain already, or may be.";
    DelegationNone "delegation-none" Scope "The subject token lets its holder pass nothing on.";
    DelegationExceeded "delegation-exceeded" Scope "More was asked for than was passed on.";
    DetailsNotHeld "authorization-details-not-held" Details "The agent does not hold what was asked for, within these limits.";
    TaskUnknown "task-unknown" Invalid "The task is none of the client's.";
    TaskOver "task-over" Invalid "The task was ended, or its deadline has come.";
    GrantNone "grant-none" Invalid "The task holds nothing that a user granted.";
    GrantOver "grant-over" Invalid "What a user granted for the task was revoked, has expired, or hung on what was ended since.";
    TaskOther "task-other" Invalid "The subject token is for another task than the one that was named.";
    SpawnNotHeld "spawn-not-held" Denied "The client may bring no instance of this agent into being.";
    ScopeMissing "scope-missing" Scope "Nothing was asked for, and the agent has no default scope.";
    TargetTwo "target-two" Target "The request reaches two resources; a token is for one.";
    TargetUnknown "target-unknown" Target "The resource is none that the agent holds a permission on.";
    TargetNotActive "target-not-active" Target "The resource is suspended.";
    EnvironmentBoundary "environment-boundary" Target "Agent and resource are in different environments, and no permission lets them meet.";
    TargetMismatch "target-mismatch" Target "The scopes belong to another resource than the one named.";
    NotFound "not-found" NotFound "There is no such thing in this organization.";
    FieldInvalid "field-invalid" Invalid "A member of the request is not acceptable.";
    NameTaken "name-taken" Conflict "The name is taken; names are never reused.";
    KeyTaken "key-taken" Conflict "The public key is or was registered in this organization.";
    UseTaken "use-taken" Conflict "The holder has a live secret for this use, or as many as one may have.";
    QuotaReached "quota-reached" Conflict "The organization would have more of these than it may.";
    StateForbids "state-forbids" Conflict "The state of the thing does not allow this.";
    AgentIncomplete "agent-incomplete" Conflict "An agent needs an owner, a purpose and a permission to be active.";
    ChangedMeanwhile "changed-meanwhile" Conflict "The thing was changed by somebody else at the same time.";
    PreconditionFailed "precondition-failed" Precondition "The thing is not in the version that `If-Match` names.";
    IdempotencyKeyReused "idempotency-key-reused" Unprocessable "The idempotency key came with another request before.";
    IdempotencyKeyInUse "idempotency-key-in-use" Conflict "A request with this idempotency key was carried out at the same time.";
    RateLimited "rate-limited" TooMany "More requests than the limit allows.";
    IssuingClosed "issuing-closed" Unavailable "A backup was restored, and nobody has said yet what was ended since it was made.";
    ClockBack "clock-back" Unavailable "The server's time of day was set back, and nobody knows what is over.";
    ViewStale "view-stale" Unavailable "This node has not heard from the store for longer than it may, so it does not know what has ended since.";
    StoreLost "store-lost" Unavailable "The store does not have any more what it had answered: nobody knows what has ended, until the loss is declared.";
    DpopProof "dpop-proof" Proof "The proof of possession is malformed, or was made for another request.";
    DpopReplayed "dpop-replayed" Proof "The proof of possession was used before.";
    DpopRequired "dpop-required" Proof "A proof of possession is needed: the agent, the resource or the subject token is for holders of a key only.";
    DpopNonce "dpop-nonce" ProofNonce "The proof of possession needs a current nonce of this server, which the answer gives.";
    FederationUnknown "federation-unknown" Invalid "The issuer of the user's token is none that is registered here.";
    FederationNotActive "federation-not-active" Invalid "The federation of the user's token is suspended.";
    FederationKeys "federation-keys" Unavailable "The keys of the token's issuer cannot be had.";
    SubjectTokenInvalid "subject-token-invalid" Invalid "The user's token breaks RFC 7519 or our limits, or its signature does not hold.";
    SubjectTokenExpired "subject-token-expired" Invalid "The user's token is over.";
    SubjectTokenAudience "subject-token-audience" Invalid "The user's token is not for us alone.";
    PersonUnknown "person-unknown" Invalid "The user is not known here, and the federation makes nobody known.";
    PersonNotActive "person-not-active" Invalid "The user is suspended here.";
    AuthorityTooLarge "authority-too-large" Conflict "What grants and rules give together is more than an authority can hold.";
    FormatNotReady "format-not-ready" Unavailable "The organization's first key for attenuable tokens is just being made.";
    FormatTooSmall "format-too-small" Invalid "What the token would say is more than an attenuable token can hold.";
    CertificateRequest "certificate-request" Invalid "The certification request is none, its key is of no kind that certificates are issued for, or that key did not sign it.";
    DnsNameNotHeld "dns-name-not-held" Denied "No policy lets certificates of this agent's instances name a host that was asked for.";
    CaNotReady "ca-not-ready" Unavailable "The organization's certificate authority has no intermediate that signs now: the first is just being made, or its time is over.";
    BlockForeign "block-foreign" Invalid "A block of the subject token is not of the published vocabulary: what it means to exchange it, nobody knows.";
    TokenNotYours "token-not-yours" Denied "The token was issued to another client.";
}

/// A no that the caller can mend.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// Which rule.
    pub rule: Rule,
    /// What is wrong, for the caller. Names only what the caller itself holds or sent.
    pub detail: String,
    /// What to do, for the developer.
    pub hint: String,
    /// Seconds after which the same request may be taken, where time is what is missing.
    pub retry_after: Option<u32>,
}

impl Refusal {
    /// A refusal by `rule`.
    pub fn new(rule: Rule, detail: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { rule, detail: detail.into(), hint: hint.into(), retry_after: None }
    }

    /// A member of a request is not acceptable.
    pub fn field(name: &str, detail: impl fmt::Display, hint: impl Into<String>) -> Self {
        Self::new(Rule::FieldInvalid, format!("`{name}`: {detail}"), hint)
    }

    /// There is no such thing here; also the answer for things of another organization.
    pub fn not_found(noun: &str, key: impl fmt::Display) -> Self {
        Self::new(
            Rule::NotFound,
            format!("no {noun} `{key}` in this organization"),
            format!("list what there is: `accredit {noun} list`"),
        )
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.detail, self.rule.code())
    }
}

/// A failure of ours. Outside it is one opaque sentence; the chain of causes goes to the log.
#[derive(Debug)]
pub struct Fault {
    operation: &'static str,
    cause: String,
}

impl Fault {
    /// `operation` failed because of `cause`.
    pub fn new(operation: &'static str, cause: impl fmt::Display) -> Self {
        Self { operation, cause: cause.to_string() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.operation, self.cause)
    }
}

impl std::error::Error for Fault {}

/// Either kind of no.
#[derive(Debug)]
pub enum Error {
    /// The caller's to mend.
    Refused(Refusal),
    /// Ours.
    Fault(Fault),
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Fault(fault) => fault.fmt(f),
        }
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_kebab_case() {
        let mut codes: Vec<_> = Rule::ALL.iter().map(|rule| rule.code()).collect();
        assert!(codes.iter().all(|code| code.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')));
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), Rule::ALL.len());
    }
}
