//! The caller of a guarded request, for as long as the request lasts.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use accredit_wire::authority::{Arguments, Scope};
use accredit_wire::secret::Secret;
use accredit_wire::verify::{self, Rejection};
use http::HeaderValue;

use crate::ambient;
use crate::refusal::Refusal;
use crate::verifier::Verifier;

/// How long a principal that is waited on goes unlooked at, where nothing changes: its expiry and
/// a state that grows too old are noticed this late at most.
const RECHECK_MAX: Duration = Duration::from_secs(1);

/// A verified caller: all that [`accredit_wire::verify::Principal`] says, and its end. Cheap to
/// clone. A guard puts it into the request's extensions.
#[derive(Clone, Debug)]
pub struct Principal {
    inner: verify::Principal,
    verifier: Verifier,
    received: Received,
}

/// The token that a principal was verified from. There is no way to it from outside: it is for this
/// service, and of no use to the next one (see [`crate::Agent::on_behalf_of`]).
#[derive(Clone, Debug)]
pub(crate) enum Received {
    /// The value of an `Authorization` header, scheme and all, which does not show itself.
    Header(HeaderValue),
    /// The token alone.
    Token(Arc<Secret>),
}

impl Received {
    /// The value of the one `Authorization` header of a request that was verified.
    pub(crate) fn header(value: &HeaderValue) -> Self {
        let mut value = value.clone();
        value.set_sensitive(true);
        Self::Header(value)
    }

    pub(crate) fn token(token: &str) -> Self {
        Self::Token(Arc::new(Secret::new(token.to_owned())))
    }

    /// The token.
    pub(crate) fn secret(&self) -> Arc<Secret> {
        match self {
            Self::Token(token) => Arc::clone(token),
            Self::Header(value) => {
                // What was verified is a scheme, a space and a token.
                let text = value.to_str().unwrap_or_default();
                let token = text.split_once(' ').map_or("", |(_, token)| token.trim());
                Arc::new(Secret::new(token.to_owned()))
            }
        }
    }
}

/// Why a principal that was good is good no longer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended(pub Rejection);

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the caller may no longer go on: {}", self.0)
    }
}

impl std::error::Error for Ended {}

impl Deref for Principal {
    type Target = verify::Principal;

    fn deref(&self) -> &verify::Principal {
        &self.inner
    }
}

impl Principal {
    pub(crate) fn new(inner: verify::Principal, verifier: Verifier, received: Received) -> Self {
        Self { inner, verifier, received }
    }

    pub(crate) fn received(&self) -> &Received {
        &self.received
    }

    /// Whether the caller may still go on: neither revoked nor expired, as far as is known, and
    /// known recently enough. Costs about a microsecond.
    pub fn check(&self) -> Result<(), Ended> {
        self.verifier.standing_of(&self.inner, ambient::now()).map_err(Ended)
    }

    /// Refuses unless the caller may do this now: the action, as `resource:action`, on this object,
    /// with these arguments.
    ///
    /// What is allowed without limits is in [`Self::scope`], and is all that [`Self::allows`] and
    /// [`Self::require`] look at; this looks at the limits of `authorization_details` too. Call it
    /// with the object and the arguments that the action is then done with, and answer the
    /// refusal's status.
    pub fn may(
        &self,
        action: &str,
        object: Option<&str>,
        arguments: &Arguments,
    ) -> Result<(), Rejection> {
        self.inner.may(action, object, arguments, ambient::now())
    }

    /// Resolves when the caller may no longer go on, with the reason.
    pub async fn revoked(&self) -> Ended {
        let mut changes = self.verifier.changes();
        let recheck = RECHECK_MAX.min(self.verifier.age_max() / 4);
        loop {
            if let Err(ended) = self.check() {
                return ended;
            }
            tokio::select! {
                // The sender lives as long as the verifier that this holds.
                _ = changes.changed() => {}
                () = ambient::sleep(recheck) => {}
            }
        }
    }

    /// Refuses where the token lacks a part of `required`.
    pub(crate) fn demand(&self, required: &Scope) -> Result<(), Refusal> {
        let missing = required.tokens().find(|token| !self.inner.scope().contains(token));
        let Some(missing) = missing else { return Ok(()) };
        let held = self.inner.scope().clone();
        Err(Rejection::InsufficientScope { needed: missing.to_string(), held }.into())
    }
}
