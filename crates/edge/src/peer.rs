//! unix(7) SO_PEERCRED and SO_PEERPIDFD: which process is at the other end of a connection.
//!
//! The kernel's word, not the process's. The process is held by a descriptor, so that its id cannot come
//! to mean another one while it is looked at: whatever was read of it counts only where it is still there
//! afterwards. Kernels before 6.5 give no such descriptor with the connection; there one is opened by the
//! id, and a process that began after the connection was taken is refused.

use std::fmt;
use std::io;

use tokio::net::UnixStream;

/// Why a process cannot be told.
#[derive(Debug)]
pub enum PeerError {
    /// The kernel does not say.
    Unknown(io::Error),
    /// It is over, or its id means another process by now.
    Gone,
    /// This system has no way to hold a process.
    Unsupported,
}

impl fmt::Display for PeerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(error) => {
                write!(f, "the kernel does not say which process asks: {error}")
            }
            Self::Gone => f.write_str("the process that asks is over"),
            Self::Unsupported => f.write_str("which process asks can be told on Linux alone"),
        }
    }
}

impl std::error::Error for PeerError {}

#[cfg(target_os = "linux")]
pub use linux::{Held, Peer};
#[cfg(not(target_os = "linux"))]
pub use other::{Held, Peer};

#[cfg(target_os = "linux")]
mod linux {
    use std::os::fd::{AsFd as _, OwnedFd};

    use rustix::event::{PollFd, PollFlags, poll};
    use rustix::process::{Pid, PidfdFlags, pidfd_open};
    use rustix::time::{ClockId, Timespec, clock_gettime};
    use tokio::io::Interest;
    use tokio::io::unix::AsyncFd;

    use super::{PeerError, UnixStream, io};
    use crate::process::Stat;

    /// Clock ticks of the kernel's in a second (USER_HZ), which are the same on every architecture that
    /// is built for.
    const TICKS_IN_SECOND: u64 = 100;

    /// A process at the other end of a connection.
    #[derive(Debug)]
    pub struct Peer {
        /// Its id, as this process sees it.
        pub pid: i32,
        /// Its user when it connected.
        pub uid: u32,
        /// Its group when it connected.
        pub gid: u32,
        /// When it began, ticks after the machine did.
        pub started: u64,
        held: Held,
    }

    /// A process by a descriptor, which means it and no later one of the same id.
    #[derive(Debug)]
    pub struct Held(AsyncFd<OwnedFd>);

    impl Held {
        fn new(descriptor: OwnedFd) -> Result<Self, PeerError> {
            #[expect(
                deprecated,
                reason = "what takes its place is unsafe, and an OwnedFd keeps the promise by itself"
            )]
            let held = AsyncFd::with_interest(descriptor, Interest::READABLE);
            held.map(Self).map_err(PeerError::Unknown)
        }

        /// A process that was seen before, if it is there still.
        pub fn again(pid: i32, started: u64) -> Result<Self, PeerError> {
            let held = Self::new(opened(pid)?)?;
            let is_it = Stat::of(pid).is_ok_and(|stat| stat.started == started);
            if is_it && held.is_alive() { Ok(held) } else { Err(PeerError::Gone) }
        }

        /// Whether it still runs.
        pub fn is_alive(&self) -> bool {
            let fd = self.0.get_ref().as_fd();
            let mut polled = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
            matches!(poll(&mut polled, Some(&Timespec::default())), Ok(0))
        }

        /// Waits until it is over.
        pub async fn ended(&self) {
            // A descriptor of a process becomes readable when the process ends.
            let _ = self.0.readable().await;
        }
    }

    impl Peer {
        /// Who is at the other end.
        pub fn of(stream: &UnixStream) -> Result<Self, PeerError> {
            let taken = clock_gettime(ClockId::Boottime);
            let credentials = stream.peer_cred().map_err(PeerError::Unknown)?;
            // A process that this one's namespace does not have is told as 0.
            let pid = credentials.pid().filter(|pid| *pid > 0).ok_or(PeerError::Gone)?;
            let (held, is_exact) = match given(stream)? {
                Some(held) => (held, true),
                None => (opened(pid)?, false),
            };
            let held = Held::new(held)?;
            let stat = Stat::of(pid).map_err(|_| PeerError::Gone)?;
            if !is_exact && stat.started > ticks(taken) {
                return Err(PeerError::Gone);
            }
            let (uid, gid) = (credentials.uid(), credentials.gid());
            let peer = Self { pid, uid, gid, started: stat.started, held };
            // What was read of the id was of this process only where it is still there.
            if peer.is_alive() { Ok(peer) } else { Err(PeerError::Gone) }
        }

        /// Whether it still runs.
        pub fn is_alive(&self) -> bool {
            self.held.is_alive()
        }

        /// Waits until it is over.
        pub async fn ended(&self) {
            self.held.ended().await;
        }
    }

    /// The descriptor that the kernel gives with the connection; none where it is too old for that.
    fn given(stream: &UnixStream) -> Result<Option<OwnedFd>, PeerError> {
        use nix::errno::Errno;
        use nix::sys::socket::{getsockopt, sockopt::PeerPidfd};
        match getsockopt(&stream.as_fd(), PeerPidfd) {
            Ok(held) => Ok(Some(held)),
            Err(Errno::ENOPROTOOPT | Errno::EOPNOTSUPP | Errno::EINVAL) => Ok(None),
            // The process was over before it was asked after.
            Err(Errno::ESRCH | Errno::ENODATA) => Err(PeerError::Gone),
            Err(error) => Err(PeerError::Unknown(error.into())),
        }
    }

    fn opened(pid: i32) -> Result<OwnedFd, PeerError> {
        let pid = Pid::from_raw(pid).ok_or(PeerError::Gone)?;
        pidfd_open(pid, PidfdFlags::empty()).map_err(|error| match error {
            rustix::io::Errno::SRCH => PeerError::Gone,
            error => PeerError::Unknown(io::Error::from(error)),
        })
    }

    fn ticks(time: Timespec) -> u64 {
        let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
        let nanos = u64::try_from(time.tv_nsec).unwrap_or_default();
        seconds * TICKS_IN_SECOND + nanos / (1_000_000_000 / TICKS_IN_SECOND)
    }

    #[cfg(test)]
    mod tests {
        use std::process::{Command, Stdio};
        use std::time::Duration;

        use super::*;
        use crate::attest::{ProcFolder, Unattested};

        /// Who is seen at a socket to which `program` connects.
        async fn seen(program: &str) -> (std::process::Child, UnixStream) {
            let folder = tempfile::tempdir().expect("a folder");
            let path = folder.path().join("socket");
            let listener = tokio::net::UnixListener::bind(&path).expect("a socket");
            let child = Command::new("python3")
                .args(["-c", program])
                .arg(&path)
                .stdin(Stdio::piped())
                .spawn()
                .expect("python3 runs");
            let taken = tokio::time::timeout(Duration::from_secs(20), listener.accept()).await;
            (child, taken.expect("in time").expect("a connection").0)
        }

        const WAITS: &str = "import socket, sys; s = socket.socket(socket.AF_UNIX); \
                             s.connect(sys.argv[1]); sys.stdin.read()";

        #[tokio::test]
        async fn the_kernel_tells_which_process_asks_and_when_it_is_over() {
            let (mut child, stream) = seen(WAITS).await;
            let peer = Peer::of(&stream).expect("a process");
            assert_eq!(u32::try_from(peer.pid).expect("a pid"), child.id());
            assert_eq!(peer.uid, rustix::process::getuid().as_raw());
            assert!(peer.is_alive());
            drop(child.stdin.take());
            let ended = tokio::time::timeout(Duration::from_secs(20), peer.ended()).await;
            assert!(ended.is_ok() && !peer.is_alive());
            child.wait().expect("over");
            assert!(!peer.is_alive(), "its id may mean another by now");
        }

        #[tokio::test]
        async fn a_process_is_held_again_and_read_only_while_it_is_that_one() {
            let (mut child, stream) = seen(WAITS).await;
            let peer = Peer::of(&stream).expect("a process");
            assert!(Held::again(peer.pid, peer.started).is_ok());
            for other in [peer.started + 1, peer.started - 1, 0] {
                assert!(matches!(Held::again(peer.pid, other), Err(PeerError::Gone)), "{other}");
            }
            assert!(ProcFolder::of(&peer).is_ok());
            drop(child.stdin.take());
            // Over, with its folder still there, since nobody has looked yet.
            tokio::time::timeout(Duration::from_secs(20), peer.ended()).await.expect("in time");
            assert!(matches!(ProcFolder::of(&peer), Err(Unattested::Gone)));
            assert!(matches!(Held::again(peer.pid, peer.started), Err(PeerError::Gone)));
            child.wait().expect("over");
        }

        #[tokio::test]
        async fn a_process_that_handed_its_connection_on_and_ended_is_nobody() {
            // The connection lives on in a child, and so does what the kernel says of who made it.
            let program = "import os, socket, sys\n\
                           s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])\n\
                           if os.fork(): os._exit(0)\n\
                           sys.stdin.read()";
            let (mut child, stream) = seen(program).await;
            // It is over, and its parent has not looked yet: its id means nobody else, and its files are
            // still there to be read.
            let stat = format!("/proc/{}/stat", child.id());
            while !std::fs::read_to_string(&stat).expect("there").contains(") Z ") {
                tokio::task::yield_now().await;
            }
            assert!(matches!(Peer::of(&stream), Err(PeerError::Gone)));
            let stdin = child.stdin.take();
            child.wait().expect("over");
            assert!(matches!(Peer::of(&stream), Err(PeerError::Gone)));
            drop(stdin);
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod other {
    use super::{PeerError, UnixStream};

    /// A process at the other end of a connection: nobody can be told here.
    #[derive(Debug)]
    pub struct Peer {
        /// Its id.
        pub pid: i32,
        /// Its user.
        pub uid: u32,
        /// Its group.
        pub gid: u32,
        /// When it began.
        pub started: u64,
    }

    /// A process by a descriptor: there is none here.
    #[derive(Debug)]
    pub struct Held;

    impl Held {
        /// Refused.
        pub fn again(_: i32, _: u64) -> Result<Self, PeerError> {
            Err(PeerError::Unsupported)
        }

        /// It is not waited for.
        pub async fn ended(&self) {}
    }

    impl Peer {
        /// Refused.
        pub fn of(_: &UnixStream) -> Result<Self, PeerError> {
            Err(PeerError::Unsupported)
        }

        /// It is not held.
        pub fn is_alive(&self) -> bool {
            false
        }

        /// It is not waited for.
        pub async fn ended(&self) {}
    }
}
