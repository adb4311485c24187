//! RFC 9112, RFC 9113 section 3.4: how long a peer is waited for that opens a connection and says
//! nothing, or asks and takes no answer.
//!
//! Which version of HTTP is spoken shows in the first 24 bytes; until then the HTTP library has no
//! clock running, and neither has it for an answer that cannot be written. Both are bounded here,
//! below it. Heads, bodies and the pings of HTTP/2 have bounds of their own ([`crate::serve`]).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use accredit_domain::ports::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::jobs;

/// How long a connection may say nothing, or not enough to know which version of HTTP it speaks.
pub const FIRST_TIME_MAX: Duration = Duration::from_secs(10);
/// How long a peer may take nothing of what is written to it.
pub const WRITE_TIME_MAX: Duration = Duration::from_secs(30);

/// What a client of HTTP/2 says first (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

type Wait = BoxFuture<'static, ()>;

/// A stream whose peer is not waited for longer than that.
pub(crate) struct Patient<S> {
    stream: S,
    /// Until the version is known: the end of patience, and the bytes of the preface seen.
    first: Option<(Wait, usize)>,
    /// While nothing can be written.
    stalled: Option<Wait>,
}

impl<S> Patient<S> {
    pub(crate) fn new(stream: S) -> Self {
        let first = Some((Box::pin(jobs::pause(FIRST_TIME_MAX)) as Wait, 0));
        Self { stream, first, stalled: None }
    }

    /// Lets a write that waits go on waiting, for a while.
    fn written<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let wait = self.stalled.get_or_insert_with(|| Box::pin(jobs::pause(WRITE_TIME_MAX)));
        wait.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buffer);
        let Some((wait, seen)) = &mut this.first else { return read };
        let new = &buffer.filled()[before..];
        let goes_on = read.is_pending() || (!new.is_empty() && PREFACE[*seen..].starts_with(new));
        *seen += new.len();
        if !goes_on || *seen == PREFACE.len() {
            this.first = None;
            return read;
        }
        match wait.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => read,
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.written(cx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(cx, slices);
        this.written(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.stream).poll_flush(cx);
        this.written(cx, flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let shut = Pin::new(&mut this.stream).poll_shutdown(cx);
        this.written(cx, shut)
    }
}
