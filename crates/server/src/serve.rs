//! RFC 9112, RFC 8446: listening, with or without TLS, and draining when told to stop.
//!
//! Plain HTTP is spoken on loopback only. A connection has a place ([`crate::connections`]) and a
//! bound on each thing that its peer is waited for: the handshake, the first bytes
//! ([`crate::patience`]), the head of a request and the time between two, an answer to a ping, and
//! taking what is written. What has no bound: a connection of HTTP/2 that answers every ping keeps
//! its place.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use accredit_wire::binding::PeerCertificate;
use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tower::Service as _;

use crate::Server;
use crate::certificates;
use crate::connections::Connections;
use crate::dispatch::{self, Peer};
use crate::patience::Patient;
use crate::tls::Tls;
use crate::waiting::{self, Waiting};
use crate::{jobs, metrics, nodes, slots, turns};

/// How long the head of a request may take, and in HTTP/1.1 the time from an answer to the next.
pub const HEADER_TIME_MAX: Duration = Duration::from_secs(10);
/// How long a TLS handshake may take.
pub const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(10);
/// How long a connection of HTTP/2 is quiet before it is asked whether it is still there (RFC 9113
/// section 6.7).
pub const PING_EVERY: Duration = Duration::from_secs(20);
/// How long the answer may take.
pub const PING_TIME_MAX: Duration = Duration::from_secs(10);
/// Requests of one connection of HTTP/2 at a time.
pub const STREAMS_MAX: u32 = 256;
/// How long requests in flight may take after the process was told to stop.
pub const DRAIN_TIME_MAX: Duration = Duration::from_secs(10);

/// Why the server does not listen.
#[derive(Debug)]
pub enum ServeError {
    /// Plain HTTP was asked for on an address that others reach.
    PlainOffLoopback(SocketAddr),
    /// The certificate or its key cannot be used.
    Tls(String),
    /// The socket.
    Io(io::Error),
}

impl std::fmt::Display for ServeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::PlainOffLoopback(address) => {
                write!(f, "plain HTTP is spoken on loopback only, and `{address}` is not")
            }
            Self::Tls(why) => write!(f, "TLS: {why}"),
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ServeError {}

impl From<io::Error> for ServeError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A socket that is bound, and how it speaks.
pub struct Listening {
    listener: TcpListener,
    tls: Option<Tls>,
}

impl Listening {
    /// Binds an address. Without TLS it must be loopback.
    pub async fn bind(address: SocketAddr, tls: Option<Tls>) -> Result<Self, ServeError> {
        if tls.is_none() && !address.ip().is_loopback() {
            return Err(ServeError::PlainOffLoopback(address));
        }
        Ok(Self { listener: TcpListener::bind(address).await?, tls })
    }

    /// The address that was bound; with port 0 asked for, the one given.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Says that it does not serve yet, until `look` finds that it can: it is called every
    /// [`waiting::LOOK_EVERY`]. Nothing where `stop` became true before. Connections end with
    /// their answers, so that none of them is left to this when serving begins.
    pub async fn wait<T>(
        &self,
        waiting: &Arc<Waiting>,
        mut look: impl FnMut() -> Option<T>,
        mut stop: watch::Receiver<bool>,
    ) -> Option<T> {
        let (router, graceful) = (waiting::router(waiting), GracefulShutdown::new());
        let looking = async {
            loop {
                jobs::pause(waiting::LOOK_EVERY).await;
                if let Some(found) = look() {
                    return found;
                }
            }
        };
        let connections = Arc::new(Connections::default());
        let found = tokio::select! {
            found = looking => Some(found),
            () = self.accept((&router, None), &connections, &graceful) => None,
            _ = stop.wait_for(|stop| *stop) => None,
        };
        // Not waited for: new connections are served meanwhile.
        tokio::spawn(tokio::time::timeout(DRAIN_TIME_MAX, graceful.shutdown()));
        found
    }

    /// Accepts connections and speaks with each, for ever.
    async fn accept(
        &self,
        (router, server): (&Router, Option<&Arc<Server>>),
        places: &Arc<Connections>,
        graceful: &GracefulShutdown,
    ) {
        loop {
            let (stream, peer) = match self.listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of descriptors, most likely: let some connections end first.
                    if places.is_told(metrics::begin()) {
                        tracing::warn!(%error, "connection not accepted");
                    }
                    jobs::pause(jobs::ACCEPT_PAUSE).await;
                    continue;
                }
            };
            // An IPv4 address is told as one, on whichever socket it comes.
            let peer = peer.ip().to_canonical();
            let place = match places.enter(peer) {
                Ok(place) => place,
                Err(why) => {
                    if places.is_told(metrics::begin()) {
                        let (open, why) = (places.count(), why.name());
                        tracing::warn!(open, why, "connections are refused");
                    }
                    continue;
                }
            };
            let watcher = graceful.watcher();
            let server = server.cloned();
            let connection = Connection { router: router.clone(), server, peer, watcher };
            let tls = self.tls.clone();
            tokio::spawn(async move {
                connection.run(stream, tls).await;
                drop(place);
            });
        }
    }

    /// Makes the certificate that it shows, where that is of the installation's own authority.
    pub async fn begin(&self, server: &Server) -> Result<(), ServeError> {
        let Some(tls) = &self.tls else { return Ok(()) };
        tls.look(server).await.map(drop)
    }

    /// Keeps its certificate as it is to be; never ready.
    async fn renew(&self, server: &Server) {
        match &self.tls {
            Some(tls) => tls.renew(server).await,
            None => std::future::pending().await,
        }
    }

    /// Serves until `stop` becomes true, then finishes what is in flight.
    pub async fn serve(self, server: Arc<Server>, mut stop: watch::Receiver<bool>) {
        if server.world.store.is_shared()
            && let Err(fault) = nodes::tell(&server).await
        {
            tracing::warn!(%fault, "other nodes do not know of this one yet");
        }
        let jobs = jobs::start(&server);
        let router = dispatch::router(&server);
        let graceful = GracefulShutdown::new();
        tokio::select! {
            () = self.accept((&router, Some(&server)), &server.connections, &graceful) => {}
            () = self.renew(&server) => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
        drop(self.listener);
        server.stopping.store(true, Ordering::Relaxed);
        server.hub.close();
        if tokio::time::timeout(DRAIN_TIME_MAX, graceful.shutdown()).await.is_err() {
            tracing::warn!("some requests did not end in time and were broken off");
        }
        drop(jobs);
        // What was counted in memory is not lost with it.
        jobs::flush_all(&server).await;
        jobs::integrate_all(&server).await;
        if let Err(fault) = nodes::end(&server).await {
            tracing::warn!(%fault, "other nodes name this one as not heard from");
        }
        if let Err(fault) = slots::give_back(&server).await {
            tracing::warn!(%fault, "other nodes take over this one's lanes when they miss it");
        }
        if let Err(fault) = turns::give_back(&server).await {
            tracing::warn!(%fault, "other nodes take over what this one did when they miss it");
        }
    }
}

/// One accepted connection.
struct Connection {
    router: Router,
    /// What it is with, once that serves.
    server: Option<Arc<Server>>,
    peer: IpAddr,
    watcher: hyper_util::server::graceful::Watcher,
}

impl Connection {
    async fn run(self, stream: TcpStream, tls: Option<Tls>) {
        let _ = stream.set_nodelay(true);
        match tls {
            None => self.speak(stream, None).await,
            Some(tls) => {
                let accepted = tls.accept(stream, self.server.as_deref());
                let handshake = tokio::time::timeout(HANDSHAKE_TIME_MAX, accepted).await;
                if let Ok(Ok(stream)) = handshake {
                    let certificate = certificates::shown(stream.get_ref().1);
                    self.speak(stream, certificate).await;
                }
            }
        }
    }

    async fn speak<S>(self, stream: S, certificate: Option<PeerCertificate>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (router, peer) = (self.router, Peer(self.peer));
        let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer);
            if let Some(certificate) = &certificate {
                request.extensions_mut().insert(certificate.clone());
            }
            router.clone().call(request)
        });
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIME_MAX);
        builder
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_TIME_MAX)
            .max_concurrent_streams(STREAMS_MAX);
        let stream = TokioIo::new(Patient::new(stream));
        let connection = builder.serve_connection(stream, service).into_owned();
        // A peer that breaks off is its own affair.
        let _ = self.watcher.watch(connection).await;
    }
}
