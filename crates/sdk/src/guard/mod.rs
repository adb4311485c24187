//! RFC 6750, RFC 8705 and RFC 9449 at the door of a service: a tower layer for axum, hyper and tonic.
//!
//! `verifier.guard().require("crm:read")` lets a request through when its token is good and holds
//! that scope, and puts the [`Principal`](crate::Principal) into the request's extensions. Everything else is
//! answered here, with the rule that refused and what to do.
//!
//! A token that is bound to a certificate is let through where the request's extensions have the
//! [`PeerCertificate`](crate::PeerCertificate) of its connection, and it is that one. Whoever accepts
//! connections puts it there; the guard believes no header.
//!
//! The guard breaks off both bodies when the principal is revoked or expires: a service that is sent
//! a long upload reads an error, a client that is sent a long answer sees that a part is missing. So
//! the service behind it takes requests with a [`GuardedBody`]; axum's and tonic's take any. The
//! guard breaks off no handler and no connection that a handler took over (a WebSocket): only they
//! know where they may stop. They should watch [`Principal::revoked`](crate::Principal::revoked)
//! themselves.

mod body;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use accredit_wire::authority::{Scope, ScopeError};
use accredit_wire::binding::Confirmation;
use accredit_wire::binding::dpop::NONCE_HEADER;
use accredit_wire::verify::{Context as RequestContext, Demands};
use bytes::Bytes;
use http::header::{AUTHORIZATION, HeaderValue};
use http::{Request, Response};
use http_body::Body;

use crate::refusal::Refusal;
use crate::verifier::Verifier;
pub use body::{BodyError, GuardedBody};

/// A tower layer that lets only good tokens through. Cheap to clone.
#[derive(Clone)]
pub struct Guard {
    verifier: Verifier,
    required: Arc<Scope>,
    demands: Demands,
    context: Option<Arc<ContextOf>>,
}

/// Says what a request is part of.
type ContextOf = dyn Fn(&http::request::Parts) -> RequestContext + Send + Sync;

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard")
            .field("required", &self.required)
            .field("demands", &self.demands)
            .field("context", &self.context.is_some())
            .finish_non_exhaustive()
    }
}

impl Guard {
    pub(crate) fn new(verifier: Verifier) -> Self {
        let (required, demands) = (Arc::new(Scope::default()), Demands::default());
        Self { verifier, required, demands, context: None }
    }

    /// Also demands `scope`, one or more `resource:action`, in addition to what was demanded.
    ///
    /// # Panics
    /// If `scope` is not a scope: a program whose guard cannot be built must not serve. Use
    /// [`Guard::try_require`] for a scope that is not written in the program.
    #[must_use]
    #[track_caller]
    pub fn require(self, scope: &str) -> Self {
        match self.try_require(scope) {
            Ok(guard) => guard,
            Err(error) => panic!("`{scope}` cannot be required: {error}"),
        }
    }

    /// Like [`Guard::require`], for a scope that comes from configuration.
    pub fn try_require(self, scope: &str) -> Result<Self, ScopeError> {
        let more: Scope = scope.parse()?;
        let all = self.required.tokens().chain(more.tokens()).cloned();
        Ok(Self { required: Arc::new(Scope::new(all)?), ..self })
    }

    /// Whose request it is and for which task, from the service's own session or route. A token that
    /// speaks for a user is let through where that user is named here, and nowhere else: so one
    /// instance that serves two users does not mix them.
    #[must_use]
    pub fn context(
        self,
        of: impl Fn(&http::request::Parts) -> RequestContext + Send + Sync + 'static,
    ) -> Self {
        Self { context: Some(Arc::new(of)), ..self }
    }

    /// Takes a user's token also where nobody says whose request it is. For services that keep
    /// nothing of users, and ask [`Principal::subject`](crate::Principal::subject) for everything.
    #[must_use]
    pub fn waive_user_context(self) -> Self {
        Self { demands: Demands { user_unsaid: true, ..self.demands }, ..self }
    }

    /// Demands that a user is at the root of the chain.
    #[must_use]
    pub fn require_user(self) -> Self {
        Self { demands: Demands { user_at_root: true, ..self.demands }, ..self }
    }

    /// Demands at most so many hops from the root of the chain: 0 takes no delegated token of an
    /// agent.
    #[must_use]
    pub fn require_depth_at_most(self, hops: usize) -> Self {
        Self { demands: Demands { depth_max: Some(hops), ..self.demands }, ..self }
    }
}

impl<S> tower::Layer<S> for Guard {
    type Service = GuardService<S>;

    fn layer(&self, inner: S) -> GuardService<S> {
        GuardService { inner, guard: self.clone() }
    }
}

/// A service behind a [`Guard`].
#[derive(Clone, Debug)]
pub struct GuardService<S> {
    inner: S,
    guard: Guard,
}

impl<S, B, R> tower::Service<Request<B>> for GuardService<S>
where
    S: tower::Service<Request<GuardedBody<B>>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BodyError>,
    R: Body<Data = Bytes> + Send + 'static,
    R::Error: Into<BodyError>,
{
    type Response = Response<GuardedBody<R>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // The clone that `poll_ready` made ready is the one to call.
        let spare = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, spare);
        let guard = self.guard.clone();
        Box::pin(async move {
            let (mut head, body) = request.into_parts();
            // Whoever logs this request from here on shall not log the token.
            if let Some(token) = head.headers.get_mut(AUTHORIZATION) {
                token.set_sensitive(true);
            }
            let verified = guard.verifier.verify_request(&head).await;
            let verified = verified.and_then(|principal| {
                principal.demand(&guard.required)?;
                let context = guard.context.as_ref().map(|of| of(&head)).unwrap_or_default();
                principal.fits(guard.demands, context)?;
                Ok(principal)
            });
            let principal = match verified {
                Ok(principal) => principal,
                Err(refusal) => return Ok(answer(refusal.at(&guard.required), &head)),
            };
            let body = GuardedBody::new(body, principal.clone());
            let mut request = Request::from_parts(head, body);
            request.extensions_mut().insert(principal.clone());
            let by_key = principal.bound_to().and_then(Confirmation::key);
            let nonce = by_key.and_then(|_| guard.verifier.next_nonce());
            let mut response = inner.call(request).await?;
            if let Some(nonce) = nonce.and_then(|nonce| HeaderValue::try_from(nonce).ok()) {
                response.headers_mut().insert(NONCE_HEADER, nonce);
            }
            Ok(response.map(|body| GuardedBody::new(body, principal)))
        })
    }
}

fn answer<R>(refusal: Refusal, head: &http::request::Parts) -> Response<GuardedBody<R>> {
    let response: Response<Bytes> = refusal.response(&head.headers);
    response.map(GuardedBody::refusal)
}
