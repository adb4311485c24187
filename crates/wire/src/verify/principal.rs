//! Who makes a request and what they may do: the result of a verification, and its evidence.

use std::sync::Arc;

use super::Rejection;
use super::cache::Known;
use crate::authority::{Arguments, Scope};
use crate::binding::Thumbprint;
use crate::ids::{AgentId, AnyId, InstanceId, ResourceId, TokenId};
use crate::oauth::authorization_details::AuthorizationDetails;
use crate::time::Time;
use crate::token::{AccessToken, Actor, SubjectKind};

/// On what a [`Principal`] rests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// The local time of the verification.
    pub verified_at: Time,
    /// The organization's counter up to which revocations were known.
    pub rev: u64,
    /// The generation of that counter.
    pub generation: u64,
    /// The key that whoever sent the request proved to hold, where the token is bound to one.
    pub bound_to: Option<Thumbprint>,
}

/// What a token says that is alive. It is no [`Principal`]: who sent it proved nothing.
#[derive(Clone, Debug)]
pub struct Alive(Arc<Known>);

impl Alive {
    pub(super) fn new(known: Arc<Known>) -> Self {
        Self(known)
    }

    /// All its claims.
    pub fn token(&self) -> &AccessToken {
        self.0.token()
    }

    /// When it ends.
    pub fn expires_at(&self) -> Time {
        Time::from_seconds(self.token().expires_at)
    }
}

/// Who got a token and for what; says nothing of whether it is alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IssuedTo {
    /// The token.
    pub id: TokenId,
    /// The agent that it was issued to.
    pub client: AgentId,
    /// The instance that it was issued to, where one authenticated.
    pub instance: Option<InstanceId>,
    /// The resource that it is for.
    pub resource: ResourceId,
}

/// A verified caller. Only the Verifier makes one. Cheap to clone.
///
/// It is true for the moment of its verification; whoever keeps one longer than a request asks
/// [`super::Verifier::standing_of`] again.
#[derive(Clone, Debug)]
pub struct Principal {
    known: Arc<Known>,
    evidence: Evidence,
}

impl Principal {
    pub(super) fn new(known: Arc<Known>, evidence: Evidence) -> Self {
        Self { known, evidence }
    }

    pub(super) fn known(&self) -> &Known {
        &self.known
    }

    /// All claims of the token.
    pub fn token(&self) -> &AccessToken {
        self.known.token()
    }

    /// On what this rests.
    pub fn evidence(&self) -> Evidence {
        self.evidence
    }

    /// For whom the chain acts: the agent itself, the first agent, or a person.
    pub fn subject(&self) -> AnyId {
        self.token().subject
    }

    /// What the subject is.
    pub fn subject_kind(&self) -> SubjectKind {
        self.token().kind
    }

    /// The acting agent.
    pub fn client_id(&self) -> AgentId {
        self.token().client_id
    }

    /// The acting agent's instance, where one authenticated.
    pub fn instance(&self) -> Option<InstanceId> {
        self.token().instance
    }

    /// The acting parties, newest first. Empty where the agent acts for itself.
    ///
    /// RFC 8693 section 4.1: prior actors "are informational only and are not to be considered in
    /// access control decisions".
    pub fn chain(&self) -> &[Actor] {
        &self.token().chain
    }

    /// The key that whoever sent the request proved to hold; none where the token is a plain one,
    /// which whoever has it may send.
    pub fn bound_to(&self) -> Option<Thumbprint> {
        self.evidence.bound_to
    }

    /// What the token allows here.
    pub fn scope(&self) -> &Scope {
        &self.token().scope
    }

    /// Whether the token's scope has this token, `resource:action`. What is not one is not allowed.
    pub fn allows(&self, needed: &str) -> bool {
        let Some((resource, action)) = needed.split_once(':') else { return false };
        let mut held = self.token().scope.tokens();
        held.any(|held| held.resource.as_str() == resource && held.action.as_str() == action)
    }

    /// Refuses where the scope lacks this token, `resource:action`.
    pub fn require(&self, needed: &str) -> Result<(), Rejection> {
        if self.allows(needed) {
            return Ok(());
        }
        let held = self.token().scope.clone();
        Err(Rejection::InsufficientScope { needed: needed.to_owned(), held })
    }

    /// What the token allows here within limits; none of it is in [`Self::scope`].
    pub fn details(&self) -> &AuthorizationDetails {
        &self.token().details
    }

    /// Refuses unless the token allows this: the action, as `resource:action`, on this object, with
    /// these arguments, at the time `now`. It may be allowed without limits, by the scope, or
    /// within the limits of an authorization detail.
    ///
    /// The object is spelled as [`crate::authority::is_object`] wants it; where a resource has no
    /// objects it is none. An argument that a limit names and that is not given means no.
    pub fn may(
        &self,
        action: &str,
        object: Option<&str>,
        arguments: &Arguments,
        now: Time,
    ) -> Result<(), Rejection> {
        if self.allows(action) {
            return Ok(());
        }
        let asked = action.split_once(':').unwrap_or_default();
        let allowed = self.details().authority().allow(asked, object, arguments, now);
        allowed.map_err(|why| Rejection::NotAllowed { needed: action.to_owned(), why })
    }

    /// When the token ends.
    pub fn expires_at(&self) -> Time {
        Time::from_seconds(self.token().expires_at)
    }

    /// The organization's counter as the token's decision saw it.
    pub fn rev(&self) -> u64 {
        self.token().rev
    }

    /// The token's id.
    pub fn token_id(&self) -> TokenId {
        self.token().id
    }

    /// Every id whose revocation ends this.
    pub fn lineage(&self) -> impl Iterator<Item = AnyId> + '_ {
        self.token().lineage()
    }
}
