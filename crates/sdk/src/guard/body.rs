//! A body, of a request or of a response, that ends with its principal.
//!
//! A stream outlives the check at its beginning. So the principal is looked at before each frame,
//! and while there is no frame, its end wakes the reader. The body then ends with an *error*, so
//! that a service does not take part of an upload for the whole, and so that the transport breaks
//! off an answer and the other side cannot either.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;

use crate::principal::{Ended, Principal};

/// The error type of a [`GuardedBody`].
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// A body that ends, with the error [`Ended`], when the request's principal is revoked or
/// expires.
pub struct GuardedBody<B>(Kind<B>);

enum Kind<B> {
    /// What the client sends, or what the service answers.
    Guarded {
        body: Pin<Box<B>>,
        principal: Principal,
        /// Made when a reader first has to wait: most bodies are there at once.
        end: Option<Pin<Box<dyn Future<Output = Ended> + Send>>>,
    },
    /// What the guard itself answers.
    Refusal(Full<Bytes>),
    /// Broken off.
    Over,
}

impl<B> GuardedBody<B> {
    pub(super) fn new(body: B, principal: Principal) -> Self {
        Self(Kind::Guarded { body: Box::pin(body), principal, end: None })
    }

    pub(super) fn refusal(body: Bytes) -> Self {
        Self(Kind::Refusal(Full::new(body)))
    }
}

impl<B> std::fmt::Debug for GuardedBody<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GuardedBody").finish_non_exhaustive()
    }
}

impl<B> Body for GuardedBody<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BodyError>,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let (body, principal, end) = match &mut this.0 {
            Kind::Guarded { body, principal, end } => (body, principal, end),
            Kind::Refusal(body) => {
                return Pin::new(body).poll_frame(cx).map_err(|never| match never {});
            }
            Kind::Over => return Poll::Ready(None),
        };
        if let Err(ended) = principal.check() {
            return this.break_off(ended);
        }
        match body.as_mut().poll_frame(cx) {
            Poll::Ready(frame) => return Poll::Ready(frame.map(|frame| frame.map_err(Into::into))),
            Poll::Pending => {}
        }
        let end = end.get_or_insert_with(|| {
            let principal = principal.clone();
            Box::pin(async move { principal.revoked().await })
        });
        match end.as_mut().poll(cx) {
            Poll::Ready(ended) => this.break_off(ended),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Guarded { body, .. } => body.is_end_stream(),
            Kind::Refusal(body) => body.is_end_stream(),
            Kind::Over => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Guarded { body, .. } => body.size_hint(),
            Kind::Refusal(body) => body.size_hint(),
            Kind::Over => SizeHint::with_exact(0),
        }
    }
}

impl<B> GuardedBody<B> {
    fn break_off(&mut self, ended: Ended) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.0 = Kind::Over;
        Poll::Ready(Some(Err(Box::new(ended))))
    }
}
