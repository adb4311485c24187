//! RFC 8693: an agent on behalf of whoever another token speaks for.
//!
//! The subject token goes to the issuer's token endpoint and nowhere else: what a resource is sent is
//! always a token of the agent's own, which names both and is bound to the agent's key. Held tokens are
//! told apart by the digest of the subject token, so that no user is ever served with what was got for
//! another. They are not renewed ahead of time: they end with the subject token at the latest.

use std::sync::Arc;

use accredit_wire::crypto::sha256;
use accredit_wire::ids::TaskId;
use accredit_wire::oauth::authorization_details::AuthorizationDetails;
use accredit_wire::oauth::token_exchange::SubjectTokenType;
use accredit_wire::oauth::token_request::TOKEN_EXCHANGE;
use accredit_wire::secret::Secret;
use http::Method;
use http::header::HeaderMap;

use super::cache::Wanted;
use super::token::{AccessToken, AgentError};
use super::{Agent, text_of};
use crate::principal::Principal;

/// What tells subjects apart in the cache: the digest of the token that speaks for them, and whether
/// the agent is kept out of `act`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct SubjectKey([u8; 32], bool);

/// The token that speaks for somebody, on its way to the issuer.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    token: Arc<Secret>,
    token_type: SubjectTokenType,
    key: SubjectKey,
    /// Whether the agent is to be kept out of `act`.
    unnamed: bool,
    /// Whose request it is for, where it came with one.
    caller: Option<Principal>,
}

impl Subject {
    fn new(token: Arc<Secret>, token_type: SubjectTokenType) -> Self {
        let key = SubjectKey(sha256(token.expose().as_bytes()), false);
        Self { token, token_type, key, unnamed: false, caller: None }
    }

    pub(super) fn received(caller: &Principal) -> Self {
        let subject = Self::new(caller.received().secret(), SubjectTokenType::AccessToken);
        Self { caller: Some(caller.clone()), ..subject }
    }

    pub(super) fn user(token: Secret) -> Self {
        Self::new(Arc::new(token), SubjectTokenType::Jwt)
    }

    pub(super) fn own(token: &AccessToken) -> Self {
        Self::new(Arc::new(token.text().clone()), SubjectTokenType::AccessToken)
    }

    /// Refuses where the caller, of whom it is known, may no longer go on.
    fn check(&self) -> Result<(), AgentError> {
        let ended = self.caller.as_ref().map_or(Ok(()), Principal::check);
        ended.map_err(AgentError::CallerEnded)
    }

    /// The parameters that only an exchange has.
    pub(super) fn write(&self, form: &mut form_urlencoded::Serializer<'_, String>) {
        form.append_pair("grant_type", TOKEN_EXCHANGE);
        form.append_pair("subject_token", self.token.expose());
        form.append_pair("subject_token_type", self.token_type.uri());
        if self.unnamed {
            form.append_pair("impersonation", "true");
        }
    }
}

/// An agent at work on behalf of somebody: whoever sent it a request, or a user. Cheap to clone; made
/// anew for each request, it finds what was got for the same subject token before.
///
/// It is no [`Agent`], so that what acts for one user is not kept where something acts for all.
#[derive(Clone, Debug)]
#[must_use = "ask it for the headers of a request"]
pub struct Acting {
    agent: Agent,
    subject: Subject,
}

impl Acting {
    pub(super) fn new(agent: &Agent, subject: Subject) -> Self {
        Self { agent: agent.clone(), subject }
    }

    /// The same, for one task of this agent; what is derived from a token of a task stays in it anyway.
    pub fn in_task(self, task: TaskId) -> Self {
        Self { agent: self.agent.in_task(task), ..self }
    }

    /// The same, without being named in `act` (RFC 8693 section 1.1, impersonation): refused unless an
    /// owner of the organization has named this agent and the subject together. For resources that
    /// look at `sub` alone.
    pub fn unnamed(self) -> Self {
        let key = SubjectKey(self.subject.key.0, true);
        Self { subject: Subject { unnamed: true, key, ..self.subject }, ..self }
    }

    /// What goes into the headers of one request to a resource, as [`Agent::authorize`].
    pub async fn authorize(
        &self,
        scope: &str,
        method: &Method,
        url: &str,
    ) -> Result<HeaderMap, AgentError> {
        let token = self.token(scope).await?;
        self.agent.headers_for(&token, method, url)
    }

    /// A token for `scope`, of which all must have been passed on: what the next step needs, and no
    /// more.
    pub async fn token(&self, scope: &str) -> Result<Arc<AccessToken>, AgentError> {
        self.wanted(scope, String::new(), None).await
    }

    /// A token for `scope` at one resource, named by its audience (RFC 8707).
    pub async fn token_at(
        &self,
        scope: &str,
        resource: &str,
    ) -> Result<Arc<AccessToken>, AgentError> {
        self.wanted(scope, String::new(), Some(resource.to_owned())).await
    }

    /// A token for `scope`, which may be empty, and for what is allowed within limits.
    pub async fn token_within(
        &self,
        scope: &str,
        details: &AuthorizationDetails,
    ) -> Result<Arc<AccessToken>, AgentError> {
        self.wanted(scope, text_of(details)?, None).await
    }

    async fn wanted(
        &self,
        scope: &str,
        details: String,
        resource: Option<String>,
    ) -> Result<Arc<AccessToken>, AgentError> {
        // A token that is held is not handed out for a caller who is known to be over.
        self.subject.check()?;
        let scope = scope.to_owned();
        let (task, subject) = (self.agent.task, Some(self.subject.key));
        let wanted = Wanted { scope, details, resource, task, subject };
        let slot = self.agent.inner.cache.slot(&wanted);
        let (agent, subject) = (self.agent.clone(), self.subject.clone());
        // Boxed: whoever asks for several at once would carry the room of each.
        let fetch = async move { agent.fetch(&wanted, Some(&subject)).await };
        Box::pin(slot.get(fetch, false)).await
    }
}
