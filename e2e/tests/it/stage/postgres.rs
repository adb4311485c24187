//! A PostgreSQL server on a port of its own, a standby of it, and a way to either that can be cut.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::server::free_port;
use crate::cluster;

/// Starts a server that lives as long as this process; its port.
pub(crate) async fn start() -> u16 {
    let port = free_port();
    let started = tokio::task::spawn_blocking(move || {
        let options = ["-c", "listen_addresses=127.0.0.1", "-p", &port.to_string()];
        cluster::start_with(&options, &|_| {})
    });
    started.await.expect("a server");
    port
}

/// A server that can be lost: a primary, or a standby that may take its place. It waits for its disk,
/// as one does of which it is said what is lost with it.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    pub(crate) port: u16,
    folder: PathBuf,
}

impl Machine {
    /// A primary without a standby.
    pub(crate) async fn primary() -> Self {
        let port = free_port();
        let started = tokio::task::spawn_blocking(move || {
            let port = port.to_string();
            cluster::start_with(&Self::options(&port), &|_| {})
        });
        Self { port, folder: started.await.expect("a server") }
    }

    /// A standby of the primary that is reached at a port.
    pub(crate) async fn standby_of(primary: u16) -> Self {
        let port = free_port();
        let started = tokio::task::spawn_blocking(move || {
            let folder = cluster::folder_in(&std::env::temp_dir());
            let mut copy = client("pg_basebackup");
            copy.args(["-h", "127.0.0.1", "-p", &primary.to_string(), "-U", "accredit", "-R"]);
            copy.args(["-X", "stream", "-c", "fast", "--no-sync", "-D"]).arg(folder.join("data"));
            copy.current_dir(&folder);
            cluster::as_owner(&mut copy);
            assert!(copy.status().expect("pg_basebackup runs").success(), "no copy was made");
            cluster::keep(&folder, &Self::options(&port.to_string()));
            folder
        });
        Self { port, folder: started.await.expect("a server") }
    }

    fn options(port: &str) -> [&str; 6] {
        ["-c", "listen_addresses=127.0.0.1", "-c", "fsync=on", "-p", port]
    }

    /// One that somebody else has started, with its data in `data` below a folder.
    pub(crate) fn in_folder(folder: PathBuf, port: u16) -> Self {
        Self { port, folder }
    }

    /// What it answers to a statement.
    pub(crate) fn tell(&self, sql: &str) -> String {
        let told = self.command(sql).output().expect("psql runs");
        assert!(told.status.success(), "{sql}: {told:?}");
        String::from_utf8(told.stdout).expect("text").trim().to_owned()
    }

    /// A command that tells it a statement.
    pub(crate) fn command(&self, sql: &str) -> Command {
        let mut psql = client("psql");
        psql.args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", "accredit"]);
        psql.args(["-d", "postgres", "-qAtc", sql]);
        psql
    }

    /// Lets each commit wait for a standby from now on.
    pub(crate) fn wait_for_standbys(&self) {
        self.tell("ALTER SYSTEM SET synchronous_standby_names = '*'");
        self.tell("SELECT pg_reload_conf()");
    }

    /// Ends all of its processes at once, as the loss of its machine would.
    pub(crate) fn kill(&self) {
        let file = self.folder.join("data/postmaster.pid");
        let text = std::fs::read_to_string(file).expect("it runs");
        let first: u32 = text.lines().next().expect("a line").trim().parse().expect("an id");
        let children = std::fs::read_to_string(format!("/proc/{first}/task/{first}/children"));
        let children = children.unwrap_or_default();
        let kill = |ids: &mut dyn Iterator<Item = &str>| {
            let killed = Command::new("kill").arg("-KILL").args(ids).status();
            killed.expect("kill runs").success()
        };
        assert!(kill(&mut std::iter::once(&*first.to_string())), "it runs");
        // Some of its children may have ended by themselves since they were listed.
        kill(&mut children.split_whitespace());
    }

    /// Makes a standby the primary.
    pub(crate) fn promote(&self) {
        assert_eq!(self.tell("SELECT pg_promote(true, 30)"), "t");
    }
}

/// A program of clients: beside the server's, or on the path where only those of clients are there.
fn client(name: &str) -> Command {
    let beside = cluster::programs().join(name);
    Command::new(if beside.is_file() { beside } else { name.into() })
}

/// The database of several servers, of which one at a time takes writes.
pub(crate) fn url_of(machines: &[&Machine]) -> String {
    let hosts: Vec<_> = machines.iter().map(|it| format!("127.0.0.1:{}", it.port)).collect();
    format!("postgres://accredit@{}/postgres?sslmode=disable", hosts.join(","))
}

/// The database of a server, reached at a port of this machine.
pub(crate) fn url_at(port: u16) -> String {
    format!("postgres://accredit@127.0.0.1:{port}/postgres?sslmode=disable")
}

/// A way to a server on this machine. While it is cut it carries nothing and closes nothing; what was
/// open then is closed when it is mended.
pub(crate) struct Way {
    pub(crate) port: u16,
    cut: watch::Sender<bool>,
}

impl Way {
    pub(crate) async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
        let address = listener.local_addr().expect("an address");
        let (cut, is_cut) = watch::channel(false);
        let to = SocketAddr::from(([127, 0, 0, 1], port));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(carry(stream, to, is_cut.clone()));
            }
        });
        Self { port: address.port(), cut }
    }

    pub(crate) fn cut(&self) {
        self.cut.send_replace(true);
    }

    pub(crate) fn mend(&self) {
        self.cut.send_replace(false);
    }
}

async fn carry(mut from: TcpStream, to: SocketAddr, mut is_cut: watch::Receiver<bool>) {
    let mended = |is_cut: &bool| !is_cut;
    if is_cut.wait_for(mended).await.is_err() {
        return;
    }
    let Ok(mut to) = TcpStream::connect(to).await else { return };
    let is_over = tokio::select! {
        _ = copy_bidirectional(&mut from, &mut to) => true,
        cut = is_cut.wait_for(|is_cut| *is_cut) => cut.is_err(),
    };
    if !is_over {
        drop(is_cut.wait_for(mended).await);
    }
}
