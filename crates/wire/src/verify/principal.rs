//! Who makes a request and what they may do: the result of a verification, and its evidence.

use std::fmt;
use std::sync::Arc;

use super::Rejection;
use super::cache::Known;
use crate::authority::{Arguments, Scope};
use crate::binding::Confirmation;
use crate::biscuit::{Asked, Attenuable};
use crate::ids::{AgentId, AnyId, BlockId, InstanceId, ResourceId, TokenId};
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
    pub bound_to: Option<Confirmation>,
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

    /// What was added to it since it was issued, where it is an attenuable one. What none of that
    /// is in the vocabulary ([`Attenuable::uninterpreted`]) is exchanged for nothing.
    pub fn attenuable(&self) -> Option<&Attenuable> {
        self.0.as_attenuable()
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
    /// The agent that it was handed on to offline, the last one.
    pub handed_on_to: Option<AgentId>,
    /// The last of the blocks that were added to it: by its revocation this text ends, and what it
    /// was made from lives on.
    pub added: Option<BlockId>,
}

impl IssuedTo {
    pub(super) fn of(known: &Known) -> Self {
        let token = known.token();
        let (id, client, resource) = (token.id, token.client_id, token.resource);
        let instance = token.instance;
        match known.as_attenuable() {
            None => Self { id, client, instance, resource, handed_on_to: None, added: None },
            Some(attenuable) => {
                let minted_for = attenuable.minted_for();
                Self {
                    id,
                    client: minted_for.agent,
                    instance: minted_for.instance,
                    resource,
                    handed_on_to: (attenuable.named().next().is_some()).then_some(client),
                    added: attenuable.last_added(),
                }
            }
        }
    }
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

    /// Whether the token names nobody in `act` although somebody acts for its subject (RFC 8693
    /// section 1.1, impersonation): [`Self::chain`] tells who does.
    pub fn is_impersonation(&self) -> bool {
        self.token().impersonated
    }

    /// The key that whoever sent the request proved to hold; none where the token is a plain one,
    /// which whoever has it may send.
    pub fn bound_to(&self) -> Option<Confirmation> {
        self.evidence.bound_to
    }

    /// What was added to the token since it was issued, where it is an attenuable one.
    pub fn attenuable(&self) -> Option<&Attenuable> {
        self.known.as_attenuable()
    }

    /// How many times the token was narrowed at the end by somebody who did not say who holds it:
    /// the chain ends at whom it was minted for or handed on to by name, and somebody else may act.
    pub fn unnamed_narrowings(&self) -> usize {
        self.attenuable().map_or(0, Attenuable::unnamed_narrowings)
    }

    /// What the token allows here. Nothing where a block of an attenuable token is in words that are
    /// decided question by question: ask [`Self::may`].
    pub fn scope(&self) -> &Scope {
        &self.token().scope
    }

    /// Whether the token's scope has this token, `resource:action`. What is not one is not allowed.
    pub fn allows(&self, needed: &str) -> bool {
        let Some((resource, action)) = needed.split_once(':') else { return false };
        if let Some(attenuable) = self.questioned() {
            let asked = Asked {
                resource,
                action,
                object: None,
                arguments: &Arguments::none(),
                now: self.evidence.verified_at,
            };
            let plain = attenuable.held().plain();
            let holds = plain.allow((resource, action), None, asked.arguments, asked.now);
            return holds.is_ok() && attenuable.allows(&asked);
        }
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
        if let Some(attenuable) = self.questioned() {
            return Self::question(attenuable, action, object, arguments, now);
        }
        if self.allows(action) {
            return Ok(());
        }
        let asked = action.split_once(':').unwrap_or_default();
        let allowed = self.details().authority().allow(asked, object, arguments, now);
        allowed.map_err(|why| Rejection::NotAllowed { needed: action.to_owned(), why })
    }

    /// The token, where a block of it is decided question by question.
    fn questioned(&self) -> Option<&Attenuable> {
        self.attenuable().filter(|attenuable| attenuable.uninterpreted().next().is_some())
    }

    /// The lattice first: no Datalog allows what it does not.
    fn question(
        attenuable: &Attenuable,
        needed: &str,
        object: Option<&str>,
        arguments: &Arguments,
        now: Time,
    ) -> Result<(), Rejection> {
        let (resource, action) = needed.split_once(':').unwrap_or_default();
        let allowed = attenuable.held().allow((resource, action), object, arguments, now);
        allowed.map_err(|why| Rejection::NotAllowed { needed: needed.to_owned(), why })?;
        if attenuable.allows(&Asked { resource, action, object, arguments, now }) {
            Ok(())
        } else {
            Err(Rejection::NarrowedAway { needed: needed.to_owned() })
        }
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

/// Who acts for whom, and whether the chain may end too early.
impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.client_id())?;
        if self.subject() != self.client_id().any() {
            write!(f, " for {}", self.subject())?;
        }
        match self.unnamed_narrowings() {
            0 => Ok(()),
            1 => f.write_str(", or whoever narrowed the token since without saying so"),
            many => {
                write!(f, ", or whoever narrowed the token {many} times since without saying so")
            }
        }
    }
}
