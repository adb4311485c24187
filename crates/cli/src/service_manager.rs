//! sd_notify(3): tells the service manager that started this process when it serves, and when it stops.
//!
//! One datagram for each, to the socket that `NOTIFY_SOCKET` names: nothing is linked, and nothing is
//! waited for. Without the variable nobody wants to know.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixDatagram;

/// It serves: what depends on it may start.
pub(crate) const READY: &str = "READY=1";
/// It was told to stop, and finishes what is in flight.
pub(crate) const STOPPING: &str = "STOPPING=1";

/// Tells one state. What goes wrong is logged: the manager notices what it is not told.
pub(crate) fn tell(socket: &OsStr, state: &str) {
    if let Err(error) = send(socket, state) {
        tracing::warn!(%error, state, "the service manager was not told");
    }
}

fn send(socket: &OsStr, state: &str) -> io::Result<()> {
    let from = UnixDatagram::unbound()?;
    from.set_nonblocking(true)?;
    match socket.as_bytes().strip_prefix(b"@") {
        None => from.send_to(state.as_bytes(), socket),
        Some(name) => send_abstract(&from, name, state),
    }
    .map(drop)
}

/// A name in Linux's abstract namespace, which is no file.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn send_abstract(from: &UnixDatagram, name: &[u8], state: &str) -> io::Result<usize> {
    use std::os::linux::net::SocketAddrExt as _;
    let to = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
    from.send_to_addr(state.as_bytes(), &to)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn send_abstract(_: &UnixDatagram, _: &[u8], _: &str) -> io::Result<usize> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_told_to_whoever_is_named_and_to_nobody_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).expect("a socket");
        send(path.as_os_str(), READY).expect("told");
        let mut told = [0u8; 64];
        let length = manager.recv(&mut told).expect("a state");
        assert_eq!(told.get(..length), Some(READY.as_bytes()));
        // That ends no server.
        tell(folder.path().join("gone").as_os_str(), STOPPING);
        assert!(send(folder.path().join("gone").as_os_str(), STOPPING).is_err());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_name_that_is_no_file_is_found() {
        use std::os::linux::net::SocketAddrExt as _;
        let name = format!("accredit-test-{}", std::process::id());
        let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).expect("a name");
        let manager = UnixDatagram::bind_addr(&address).expect("a socket");
        send(OsStr::new(&format!("@{name}")), STOPPING).expect("told");
        let mut told = [0u8; 64];
        let length = manager.recv(&mut told).expect("a state");
        assert_eq!(told.get(..length), Some(STOPPING.as_bytes()));
    }
}
