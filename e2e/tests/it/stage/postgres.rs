//! A PostgreSQL server of a story's own, in a temporary folder, ended when dropped or with this
//! process; and a way to it that can be cut.

use std::net::SocketAddr;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::server::free_port;
use super::until;

/// Whom the server runs as where this runs as root, which it refuses: `nobody`.
const NOBODY: u32 = 65_534;
/// How long it may take to start.
const START_TIME_MAX: Duration = Duration::from_mins(1);

/// It ends with its input, which is ours as long as this process lives.
const KEEPER: &str = r#"
"$1/postgres" -D "$2/data" -k "$2" -h 127.0.0.1 -p "$3" -c fsync=off >"$2/log" 2>&1 &
cat >/dev/null
kill -QUIT $!
wait $!
"#;

pub(crate) struct Postgres {
    folder: tempfile::TempDir,
    keeper: Child,
    pub(crate) port: u16,
}

impl Postgres {
    pub(crate) async fn start() -> Self {
        let programs = programs();
        let folder = tempfile::Builder::new().prefix("accredit-pg").tempdir().expect("a folder");
        let is_root = std::fs::metadata("/proc/self").is_ok_and(|this| {
            use std::os::unix::fs::MetadataExt as _;
            this.uid() == 0
        });
        if is_root {
            chown(folder.path(), Some(NOBODY), Some(NOBODY)).expect("given away");
        }
        let as_user = |command: &mut Command| {
            if is_root {
                command.uid(NOBODY).gid(NOBODY);
            }
        };
        let mut init = Command::new(programs.join("initdb"));
        init.arg("-D").arg(folder.path().join("data"));
        init.args(["-U", "accredit", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]);
        init.current_dir(folder.path()).stdout(Stdio::null());
        as_user(&mut init);
        assert!(init.status().expect("initdb runs").success(), "initdb failed");
        let port = free_port();
        let mut keeper = Command::new("sh");
        keeper.args(["-c", KEEPER, "sh"]).arg(&programs).arg(folder.path()).arg(port.to_string());
        keeper.current_dir("/").stdin(Stdio::piped());
        as_user(&mut keeper);
        let server = Self { keeper: keeper.spawn().expect("a server"), folder, port };
        until("the database is ready", START_TIME_MAX, async || {
            let log = std::fs::read_to_string(server.folder.path().join("log"));
            log.is_ok_and(|log| log.contains("ready to accept connections"))
        })
        .await;
        server
    }

    /// The database, reached at a port of this machine.
    pub(crate) fn url_at(port: u16) -> String {
        format!("postgres://accredit@127.0.0.1:{port}/postgres?sslmode=disable")
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// Where `initdb` and `postgres` are: on the path, or where Debian puts them.
fn programs() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    if let Ok(versions) = std::fs::read_dir("/usr/lib/postgresql") {
        folders.extend(versions.flatten().map(|version| version.path().join("bin")));
    }
    let has = |folder: &Path| ["initdb", "postgres"].iter().all(|it| folder.join(it).is_file());
    folders.into_iter().find(|folder| has(folder)).expect(
        "PostgreSQL's `initdb` and `postgres`: install them, on Debian `apt-get install postgresql`",
    )
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
