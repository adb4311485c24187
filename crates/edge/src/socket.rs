//! RFC 9112 and RFC 9113 over unix(7): the socket at which processes ask.
//!
//! Each connection is of one process, told by the kernel when it is taken, and ends with that process.
//! Absent on purpose: TCP, where nobody can tell who asks, and a socket in a place where another user
//! could put a file of the same name.

use std::fmt;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

use crate::ambient;
use crate::door::Door;
use crate::http_face;
use crate::peer::Peer;

/// What the socket's file is called. Half of all gRPC clients (those on its C core) take the path of the
/// socket for the name of the host, with `%2F` for each `/`, which is no host's name (RFC 3986 section
/// 3.2.2) and is refused by HTTP/2 servers that look. With an `@` in the last part the path becomes
/// the user's name before it, where a `%` may stand, and the host is this one.
pub const FILE_NAME: &str = "agent@localhost";
/// Connections at a time. A process that wants more than there are waits.
pub const CONNECTIONS_MAX: usize = 4096;
/// Questions at a time on one connection.
const STREAMS_MAX: u32 = 64;
/// The longest head of a question, bytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// How long a head may take.
const HEAD_TIME_MAX: Duration = Duration::from_secs(10);
/// How long the socket waits where the system has no room for another connection.
const PAUSE: Duration = Duration::from_millis(100);

/// Why there is no socket.
#[derive(Debug)]
pub enum SocketError {
    /// The folder, or the socket, could not be made or looked at.
    Io(PathBuf, io::Error),
    /// Somebody else may change what is in the folder.
    Folder(PathBuf),
}

impl fmt::Display for SocketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Folder(path) => {
                write!(f, "{}: others than its owner may change what is in it", path.display())
            }
        }
    }
}

impl std::error::Error for SocketError {}

/// A socket; its file is gone when it is dropped.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

impl Socket {
    /// A new socket at `path`, which only its owner may connect to. The folder must be its owner's alone
    /// to change, and hold nothing of that name.
    pub fn bind(path: &Path) -> Result<Self, SocketError> {
        let failed = |error| SocketError::Io(path.to_owned(), error);
        let folder = path.parent().unwrap_or(Path::new("/"));
        let found = std::fs::metadata(folder).map_err(failed)?;
        let is_ours = found.uid() == rustix::process::geteuid().as_raw();
        if !is_ours || found.mode() & 0o022 != 0 {
            return Err(SocketError::Folder(folder.to_owned()));
        }
        let listener = UnixListener::bind(path).map_err(failed)?;
        let socket = Self { listener, path: path.to_owned() };
        let mode = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(path, mode).map_err(failed)?;
        Ok(socket)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Answers whoever `door` knows, for as long as the future is polled.
    pub async fn serve(&self, door: Arc<dyn Door>) {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut connections = tokio::task::JoinSet::new();
        loop {
            while connections.try_join_next().is_some() {}
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let door = Arc::clone(&door);
                    connections.spawn(async move {
                        let _place = place;
                        converse(stream, door).await;
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be taken");
                    ambient::sleep(PAUSE).await;
                }
            }
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Answers one process until it has no more questions or is over.
async fn converse(stream: UnixStream, door: Arc<dyn Door>) {
    let peer = match Peer::of(&stream) {
        Ok(peer) => Arc::new(peer),
        Err(error) => {
            tracing::debug!(%error, "a connection was closed");
            return;
        }
    };
    let service = TowerToHyperService::new(http_face::router(Arc::clone(&peer), door));
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME_MAX)
        .max_buf_size(HEAD_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEAD_BYTES_MAX as u32);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        ended = connection => {
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection broke off");
            }
        }
        () = peer.ended() => {}
    }
}
