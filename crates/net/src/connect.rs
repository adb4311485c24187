//! From a URI to a connection: resolve once, judge every answer, connect to a judged address,
//! prove the name.
//!
//! The name is never resolved a second time between the judgement and the connection, which is
//! what DNS rebinding needs.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::egress::{self, Egress};
use crate::error::{NetError, Phase};

/// The most addresses of one name that are tried.
const ADDRESSES_MAX: usize = 8;

pub(crate) type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Resolves a host name and a port to addresses.
pub(crate) type Resolve =
    Arc<dyn Fn(String, u16) -> BoxFuture<io::Result<Vec<IpAddr>>> + Send + Sync>;

/// The operating system's resolver.
pub(crate) fn system_resolver() -> Resolve {
    Arc::new(|host, port| {
        Box::pin(async move {
            let found = tokio::net::lookup_host((host.as_str(), port)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    })
}

/// Makes connections for hyper's pool.
#[derive(Clone)]
pub(crate) struct Connector {
    pub(crate) egress: Egress,
    /// What a stranger may name although it is loopback.
    pub(crate) loopback: Arc<[SocketAddr]>,
    pub(crate) resolve: Resolve,
    pub(crate) tls: Arc<ClientConfig>,
    pub(crate) connect_timeout: Duration,
}

impl Connector {
    async fn connect(self, uri: Uri) -> Result<Stream, NetError> {
        let host = host_of(&uri);
        match tokio::time::timeout(self.connect_timeout, self.connect_unbounded(&uri)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(NetError::TimedOut { host, phase: Phase::Connect }),
        }
    }

    async fn connect_unbounded(&self, uri: &Uri) -> Result<Stream, NetError> {
        let target = Target::of(uri)?;
        let mut addresses = self.addresses(&target).await?;
        if !target.is_allowed(&self.loopback, &addresses)
            && let Err(rule) = egress::vet(self.egress, target.encrypted, &addresses)
        {
            return Err(NetError::Refused { host: target.authority, rule });
        }
        addresses.truncate(ADDRESSES_MAX);
        let tcp = dial(&target, &addresses).await?;
        if !target.encrypted {
            return Ok(Stream::Plain(TokioIo::new(tcp)));
        }
        let name = ServerName::try_from(target.name.clone()).map_err(|_| NetError::Unsendable {
            host: target.authority.clone(),
            rule: "the host is neither a DNS name nor an address",
        })?;
        match TlsConnector::from(Arc::clone(&self.tls)).connect(name, tcp).await {
            Ok(stream) => Ok(Stream::Tls(Box::new(TokioIo::new(stream)))),
            Err(error) => Err(handshake_error(target.authority, &error)),
        }
    }

    async fn addresses(&self, target: &Target) -> Result<Vec<IpAddr>, NetError> {
        if let Ok(address) = target.name.parse::<IpAddr>() {
            return Ok(vec![address]);
        }
        let unresolved = || NetError::Unresolved { host: target.authority.clone() };
        let found =
            (self.resolve)(target.name.clone(), target.port).await.map_err(|_| unresolved())?;
        if found.is_empty() { Err(unresolved()) } else { Ok(found) }
    }
}

/// A TLS failure is a proof that failed, unless the connection itself broke.
fn handshake_error(host: String, error: &io::Error) -> NetError {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(reason) => NetError::Untrusted { host, reason: reason.to_string() },
        None => NetError::Unreachable { host, reason: error.kind() },
    }
}

async fn dial(target: &Target, addresses: &[IpAddr]) -> Result<TcpStream, NetError> {
    let mut reason = io::ErrorKind::NotFound;
    for address in addresses {
        match TcpStream::connect(SocketAddr::new(*address, target.port)).await {
            Ok(stream) => {
                // Small requests should not wait for a full segment; without it, it only is slower.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(error) => reason = error.kind(),
        }
    }
    Err(NetError::Unreachable { host: target.authority.clone(), reason })
}

/// Where a URI leads.
pub(crate) struct Target {
    /// Host and port as the URI has them, for errors.
    authority: String,
    /// The host without the brackets of an IPv6 address.
    name: String,
    port: u16,
    encrypted: bool,
}

impl Target {
    pub(crate) fn of(uri: &Uri) -> Result<Self, NetError> {
        let wrong = |rule| NetError::Unsendable { host: host_of(uri), rule };
        let encrypted = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(wrong("the URI must be absolute and start with https:// or http://")),
        };
        let authority = uri.authority().ok_or_else(|| wrong("the URI has no host"))?;
        if authority.as_str().contains('@') {
            return Err(wrong("the URI must not carry a user name or a password"));
        }
        let host = authority.host();
        let name = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if name.is_empty() {
            return Err(wrong("the URI has no host"));
        }
        let port = uri.port_u16().unwrap_or(if encrypted { 443 } else { 80 });
        Ok(Self { authority: authority.to_string(), name: name.to_owned(), port, encrypted })
    }

    /// Whether it is encrypted.
    pub(crate) const fn is_encrypted(&self) -> bool {
        self.encrypted
    }

    /// Whether each of these addresses is, with the port, among the loopback addresses that whoever
    /// runs the program has named.
    fn is_allowed(&self, loopback: &[SocketAddr], addresses: &[IpAddr]) -> bool {
        let named = |address: &IpAddr| loopback.contains(&SocketAddr::new(*address, self.port));
        !addresses.is_empty() && addresses.iter().all(|at| at.is_loopback() && named(at))
    }

    /// Judges the host where it is an address itself, for a destination that a stranger named; the
    /// address, where it is one that was allowed.
    pub(crate) fn judge_literal(
        &self,
        loopback: &[SocketAddr],
    ) -> Result<Option<IpAddr>, NetError> {
        let Ok(address) = self.name.parse::<IpAddr>() else { return Ok(None) };
        if self.is_allowed(loopback, &[address]) {
            return Ok(Some(address));
        }
        match egress::vet(Egress::Public, self.encrypted, &[address]) {
            Ok(()) => Ok(None),
            Err(rule) => Err(NetError::Refused { host: self.authority.clone(), rule }),
        }
    }
}

/// Host and port of `uri` without its user information: what errors name.
pub(crate) fn host_of(uri: &Uri) -> String {
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    authority.rsplit_once('@').map_or(authority, |(_, host)| host).to_owned()
}

impl tower::Service<Uri> for Connector {
    type Response = Stream;
    type Error = NetError;
    type Future = BoxFuture<Result<Stream, NetError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), NetError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}

/// A connection, encrypted or (to loopback) plain.
pub(crate) enum Stream {
    Plain(TokioIo<TcpStream>),
    Tls(Box<TokioIo<TlsStream<TcpStream>>>),
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_read(cx, buffer),
            Self::Tls(io) => Pin::new(io).poll_read(cx, buffer),
        }
    }
}

impl Write for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_write(cx, bytes),
            Self::Tls(io) => Pin::new(io).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_flush(cx),
            Self::Tls(io) => Pin::new(io).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_shutdown(cx),
            Self::Tls(io) => Pin::new(io).poll_shutdown(cx),
        }
    }
}
