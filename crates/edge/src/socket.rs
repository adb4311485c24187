//! RFC 9112 and RFC 9113 over unix(7): the socket at which processes ask.
//!
//! Each connection is of one process, told by the kernel when it is taken, and ends with that process.
//! Absent on purpose: TCP, where nobody can tell who asks, and a socket in a place where another user
//! could put a file of the same name.

use std::fmt;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::{UnixListener, UnixStream};

use crate::ambient;
use crate::door::Door;
use crate::http_face;
use crate::peer::Peer;
use crate::turns::{Turn, Turns};

/// What the socket's file is called. Half of all gRPC clients (those on its C core) take the path of the
/// socket for the name of the host, with `%2F` for each `/`, which is no host's name (RFC 3986 section
/// 3.2.2) and is refused by HTTP/2 servers that look. With an `@` in the last part the path becomes
/// the user's name before it, where a `%` may stand, and the host is this one.
pub const FILE_NAME: &str = "agent@localhost";
/// Connections at a time. A process that wants more than there are waits.
pub const CONNECTIONS_MAX: usize = 4096;
/// Connections of one user at a time, where processes of several ask. What is beyond that is closed.
pub const CONNECTIONS_OF_USER_MAX: usize = CONNECTIONS_MAX / 2;
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
    /// Another daemon answers there.
    Taken(PathBuf),
}

impl fmt::Display for SocketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Folder(path) => {
                write!(f, "{}: others than its owner may change what is in it", path.display())
            }
            Self::Taken(path) => write!(f, "{}: somebody answers there already", path.display()),
        }
    }
}

impl std::error::Error for SocketError {}

/// A socket; its file is gone when it is dropped.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
    turns: Turns,
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
        Self::bound(path, 0o600, CONNECTIONS_MAX)
    }

    /// A new socket at `path`, which every process of the machine may connect to. Nobody but root and this
    /// process's user may be able to put another one there: no folder above may be another's to change. What
    /// an earlier daemon left is replaced, if nobody answers there.
    pub async fn bind_for_all(path: &Path) -> Result<Self, SocketError> {
        let failed = |error| SocketError::Io(path.to_owned(), error);
        let folder = path.parent().unwrap_or(Path::new("/"));
        let folder = std::fs::canonicalize(folder).map_err(failed)?;
        guarded(&folder)?;
        let path = folder.join(path.file_name().ok_or_else(|| {
            SocketError::Io(path.to_owned(), io::ErrorKind::InvalidFilename.into())
        })?);
        let failed = |error| SocketError::Io(path.clone(), error);
        match std::fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
            Ok(found) if found.file_type().is_socket() => match UnixStream::connect(&path).await {
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    std::fs::remove_file(&path).map_err(failed)?;
                }
                _ => return Err(SocketError::Taken(path)),
            },
            Ok(_) => return Err(failed(io::ErrorKind::AlreadyExists.into())),
        }
        Self::bound(&path, 0o666, CONNECTIONS_OF_USER_MAX)
    }

    fn bound(path: &Path, mode: u32, of_user_max: usize) -> Result<Self, SocketError> {
        let failed = |error| SocketError::Io(path.to_owned(), error);
        let listener = UnixListener::bind(path).map_err(failed)?;
        let turns = Turns::new(CONNECTIONS_MAX, of_user_max);
        let socket = Self { listener, path: path.to_owned(), turns };
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(path, mode).map_err(failed)?;
        Ok(socket)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Answers whoever `door` knows, for as long as the future is polled.
    pub async fn serve(&self, door: Arc<dyn Door>) {
        let mut connections = tokio::task::JoinSet::new();
        loop {
            while connections.try_join_next().is_some() {}
            self.turns.wait().await;
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    if let Some((peer, turn)) = self.admitted(&stream) {
                        let door = Arc::clone(&door);
                        connections.spawn(async move {
                            let _turn = turn;
                            converse(stream, peer, door).await;
                        });
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be taken");
                    ambient::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Which process it is, where its user has room for one more.
    fn admitted(&self, stream: &UnixStream) -> Option<(Arc<Peer>, Turn)> {
        let peer = match Peer::of(stream) {
            Ok(peer) => peer,
            Err(error) => {
                tracing::debug!(%error, "a connection was closed");
                return None;
            }
        };
        let turn = self.turns.take_now(peer.uid);
        if turn.is_none() {
            tracing::warn!(uid = peer.uid, "a connection was closed: its user has too many");
        }
        Some((Arc::new(peer), turn?))
    }
}

/// Whether nobody but root and this process's user may change what lies in a folder, or above it. In one
/// that everybody may write to, a name is its owner's where the folder is sticky.
fn guarded(folder: &Path) -> Result<(), SocketError> {
    let own = rustix::process::geteuid().as_raw();
    for (above, folder) in folder.ancestors().enumerate() {
        let found = std::fs::metadata(folder);
        let found = found.map_err(|error| SocketError::Io(folder.to_owned(), error))?;
        let is_owned = [0, own].contains(&found.uid());
        let is_sticky = above > 0 && found.mode() & 0o1000 != 0;
        if !is_owned || found.mode() & 0o022 != 0 && !is_sticky {
            return Err(SocketError::Folder(folder.to_owned()));
        }
    }
    Ok(())
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Answers one process until it has no more questions or is over.
async fn converse(stream: UnixStream, peer: Arc<Peer>, door: Arc<dyn Door>) {
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

#[cfg(test)]
mod tests {
    use futures_util::future::BoxFuture;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::door::Denied;
    use crate::identity::Identity;

    /// A door at which nobody is known.
    struct Shut;

    impl Door for Shut {
        fn identity<'a>(
            &'a self,
            _: &'a Arc<Peer>,
        ) -> BoxFuture<'a, Result<Arc<Identity>, Denied>> {
            Box::pin(std::future::ready(Err(Denied::Stranger)))
        }
    }

    /// Whether a connection is answered, or closed without a word.
    async fn is_answered(stream: &mut UnixStream) -> bool {
        let ask = b"GET /status HTTP/1.1\r\nhost: localhost\r\n\r\n";
        // One that is closed by now takes no question.
        let _ = stream.write_all(ask).await;
        let mut said = [0; 64];
        let read = tokio::time::timeout(Duration::from_secs(20), stream.read(&mut said)).await;
        read.expect("in time").is_ok_and(|count| count > 0)
    }

    #[tokio::test]
    async fn one_user_has_so_many_connections_and_another_when_one_is_over() {
        const OF_USER_MAX: usize = 2;
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(FILE_NAME);
        let socket = Socket::bound(&path, 0o600, OF_USER_MAX).expect("a socket");
        let serving = tokio::spawn(async move { socket.serve(Arc::new(Shut)).await });
        let mut held = Vec::new();
        for _ in 0..OF_USER_MAX {
            let mut stream = UnixStream::connect(&path).await.expect("a connection");
            assert!(is_answered(&mut stream).await);
            held.push(stream);
        }
        let mut more = UnixStream::connect(&path).await.expect("a connection");
        assert!(!is_answered(&mut more).await, "its user has as many as it may");
        held.pop();
        let again = async {
            let mut stream = UnixStream::connect(&path).await.expect("a connection");
            while !is_answered(&mut stream).await {
                stream = UnixStream::connect(&path).await.expect("a connection");
            }
        };
        tokio::time::timeout(Duration::from_secs(20), again).await.expect("there is room again");
        serving.abort();
    }
}
