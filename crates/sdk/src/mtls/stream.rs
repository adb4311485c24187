//! A connection with a peer, which lasts no longer than the standing of either side.
//!
//! It is looked at whenever the feed or the lists change, and every second. Once the standing of a side
//! has ended, reading and writing fail with [`Ended`], also those that are waiting, and the socket is
//! closed without the closing words of TLS: the other side sees a stream that was cut off, and takes no
//! half of an answer for a whole one.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio_rustls::TlsStream;

use super::authority::{Authority, Held, Peer, Side, Unfit};
use super::config::Mtls;
use super::peers::Peers;
use super::source::Standing;
use crate::ambient;

/// How long a connection goes unlooked at, where nothing changes: that something is over or too old is
/// noticed this late at most.
const RECHECK_MAX: Duration = Duration::from_secs(1);

/// Why there is no connection, or no longer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The peer may not go on.
    Peer(Unfit),
    /// This program itself may not.
    Own(Unfit),
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Peer(unfit) => write!(f, "no connection with this peer: {unfit}"),
            Self::Own(unfit) => write!(f, "no connection as this instance: {unfit}"),
        }
    }
}

impl std::error::Error for Ended {}

impl From<Ended> for io::Error {
    fn from(ended: Ended) -> Self {
        Self::new(io::ErrorKind::ConnectionAborted, ended)
    }
}

impl Ended {
    /// What ended a connection, where an error of reading or writing says so.
    pub fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }
}

type Ending = Pin<Box<dyn Future<Output = Ended> + Send>>;

/// A connection with a [`Peer`].
pub struct Stream<S> {
    /// Nothing once it has ended.
    open: Option<TlsStream<S>>,
    peer: Peer,
    over: Option<Ended>,
    /// One for whoever reads and one for whoever writes: both are woken.
    reading: Ending,
    writing: Ending,
    watching: AbortHandle,
}

impl<S> fmt::Debug for Stream<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Stream");
        shown.field("peer", &self.peer).field("over", &self.over).finish_non_exhaustive()
    }
}

impl<S> Drop for Stream<S> {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

impl<S> Stream<S> {
    /// Of an open connection with `peer`, which was judged.
    pub(super) fn new(stream: TlsStream<S>, watched: Watched, peer: Peer) -> Self {
        let (said, ended) = watch::channel(None);
        let watching = tokio::spawn(async move {
            let ended = watched.ended().await;
            tracing::info!(%ended, "a connection is closed");
            said.send_replace(Some(ended));
        });
        Self {
            open: Some(stream),
            peer,
            over: None,
            reading: ending(ended.clone()),
            writing: ending(ended),
            watching: watching.abort_handle(),
        }
    }

    /// With whom it is.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Closes it where its end has come.
    fn check(&mut self, half: Half, cx: &mut Context<'_>) -> Result<&mut TlsStream<S>, io::Error> {
        let ending = match half {
            Half::Reading => &mut self.reading,
            Half::Writing => &mut self.writing,
        };
        if self.over.is_none()
            && let Poll::Ready(ended) = ending.as_mut().poll(cx)
        {
            self.over = Some(ended);
            self.open = None;
        }
        match (&mut self.open, &self.over) {
            (Some(open), None) => Ok(open),
            (_, Some(ended)) => Err(ended.clone().into()),
            (None, None) => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

#[derive(Clone, Copy)]
enum Half {
    Reading,
    Writing,
}

/// Resolves with what the watching task says. Where that is gone, nobody looks any more.
fn ending(mut said: watch::Receiver<Option<Ended>>) -> Ending {
    Box::pin(async move {
        let ended = said.wait_for(Option::is_some).await;
        ended.ok().and_then(|ended| ended.clone()).unwrap_or(Ended::Own(Unfit::Stale))
    })
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Stream<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let open = self.get_mut().check(Half::Reading, cx)?;
        Pin::new(open).poll_read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Stream<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let open = self.get_mut().check(Half::Writing, cx)?;
        Pin::new(open).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let open = self.get_mut().check(Half::Writing, cx)?;
        Pin::new(open).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stream = self.get_mut();
        match stream.check(Half::Writing, cx) {
            Ok(open) => Poll::Ready(ready!(Pin::new(open).poll_shutdown(cx))),
            // It is closed.
            Err(_) => Poll::Ready(Ok(())),
        }
    }
}

/// What a side of a connection has shown.
#[derive(Clone)]
pub(super) struct Seen {
    chain: Vec<CertificateDer<'static>>,
    side: Side,
    /// Who it may be.
    peers: Arc<Peers>,
}

impl Seen {
    pub(super) fn new(chain: impl Iterator<Item = Vec<u8>>, side: Side, peers: Arc<Peers>) -> Self {
        Self { chain: chain.map(CertificateDer::from).collect(), side, peers }
    }

    /// Who it is, where everything holds.
    pub(super) fn judge(&self, authority: &Authority, held: &Held) -> Result<Judged, Unfit> {
        let peer = authority.judge(held, &self.chain, (self.side, &self.peers))?;
        Ok(Judged { seen: self.clone(), peer })
    }
}

/// A side of a connection that was judged.
pub(super) struct Judged {
    seen: Seen,
    peer: Peer,
}

impl Judged {
    /// Whether it still stands, by what it was judged by or by what is held since.
    fn check(&self, authority: &Authority, held: &Held, judged_by: &Held) -> Result<(), Unfit> {
        authority.standing(held, &self.peer)?;
        if !std::ptr::eq(held, judged_by) {
            self.seen.judge(authority, held)?;
        }
        Ok(())
    }
}

/// A connection, as it is watched.
pub(super) struct Watched {
    mtls: Mtls,
    /// This program's own side, where the authority is its own.
    own: Option<Judged>,
    other: Judged,
    /// What both were judged by.
    held: Arc<Held>,
}

impl Watched {
    /// A connection whose sides both stand, and with whom it is.
    pub(super) fn new(
        mtls: &Mtls,
        other: &Seen,
        own: Option<&Seen>,
    ) -> Result<(Self, Peer), Ended> {
        let (authority, held) = (mtls.authority(), mtls.authority().held());
        let own = own.map(|own| own.judge(authority, &held)).transpose();
        let own = own.map_err(|unfit| mtls.own_ended(unfit))?;
        let other = other.judge(authority, &held).map_err(Ended::Peer)?;
        let peer = other.peer.clone();
        Ok((Self { mtls: mtls.clone(), own, other, held }, peer))
    }

    /// Resolves when it may not go on.
    async fn ended(mut self) -> Ended {
        let authority = self.mtls.authority().clone();
        let (mut feed, mut trust) = (authority.verifier().changes(), authority.changes());
        let mut own = self.mtls.own().watch();
        let recheck = RECHECK_MAX.min(authority.verifier().age_max() / 4);
        loop {
            if let Err(ended) = self.go_on() {
                return ended;
            }
            tokio::select! {
                _ = feed.changed() => {}
                _ = trust.changed() => {}
                _ = own.changed() => {}
                () = ambient::sleep(recheck) => {}
            }
        }
    }

    /// Whether it may go on.
    fn go_on(&mut self) -> Result<(), Ended> {
        if matches!(self.mtls.own().standing(), Standing::Refused) {
            return Err(Ended::Own(Unfit::Revoked));
        }
        let authority = self.mtls.authority();
        let held = authority.held();
        if let Some(own) = &self.own {
            let own = own.check(authority, &held, &self.held);
            own.map_err(|unfit| self.mtls.own_ended(unfit))?;
        }
        self.other.check(authority, &held, &self.held).map_err(Ended::Peer)?;
        self.held = held;
        Ok(())
    }
}
