//! What the compose file's containers run, run here without containers: the keys are made once, a primary
//! and its synchronous standby talk TLS and believe nobody without a password, nodes go on with the
//! standby when the primary is lost.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::cluster;
use crate::stage::binary::{self, is_there, workspace};
use crate::stage::postgres::Machine;
use crate::stage::server::{Folder, free_port};
use crate::stage::{Ask, Cast, Server, until};
use crate::story_nodes::{node, says};

/// How long a server of the database may take to start.
const STARTS_WITHIN: Duration = Duration::from_mins(1);
/// How soon a token is given again once there is a primary.
const BACK_WITHIN: Duration = Duration::from_secs(15);

/// Runs a server until this process ends, and then removes all that was made.
const KEEPER: &str = r#"
place="$1" log="$2"
shift 2
"$@" >"$log" 2>&1 &
cat >/dev/null
kill -TERM $! 2>/dev/null # what has not become a server yet, and ignores the other
kill -QUIT $! 2>/dev/null
wait $!
rm -rf "$place"
"#;

fn script(name: &str) -> PathBuf {
    workspace().join("deploy/compose").join(name)
}

/// A folder in which both scripts keep what they make, and the environment that tells them.
struct Place {
    folder: PathBuf,
}

impl Place {
    fn new() -> Self {
        Self { folder: cluster::folder_in(&std::env::temp_dir()) }
    }

    /// `sh` as the user of the database, with what the scripts go by.
    fn shell(&self) -> Command {
        let mut shell = Command::new("sh");
        let path = std::env::var("PATH").expect("a path");
        shell.env("PATH", format!("{}:{path}", cluster::programs().display()));
        shell.env("LC_ALL", "C.UTF-8").env("HOME", &self.folder).current_dir(&self.folder);
        cluster::as_owner(&mut shell);
        shell
    }

    /// Makes the keys; what they are.
    fn keys(&self) -> Vec<(String, Vec<u8>)> {
        let keys = self.folder.join("keys");
        let mut make = self.shell();
        make.arg("-c").arg(r#"mkdir -p "$KEYS" && exec sh "$0""#).arg(script("keys.sh"));
        make.env("KEYS", &keys).stderr(Stdio::piped());
        let made = make.output().expect("sh runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let mut found = Vec::new();
        for folder in [keys.clone(), keys.join("postgres"), keys.join("accredit")] {
            for entry in std::fs::read_dir(&folder).expect("a folder") {
                let path = entry.expect("an entry").path();
                if path.is_file() {
                    let name = path.strip_prefix(&keys).expect("in it").display().to_string();
                    found.push((name, std::fs::read(&path).expect("a file")));
                }
            }
        }
        found.sort();
        found
    }

    /// Starts a server of the database.
    async fn server(&self, role: &str, port: u16, primary: u16) -> Machine {
        let folder = self.folder.join(role);
        let mut make = self.shell();
        let made = make.args(["-c", r#"mkdir -m 700 "$0""#]).arg(&folder).status();
        assert!(made.expect("sh runs").success());
        let mut keeper = self.shell();
        keeper.args(["-c", KEEPER, "sh"]).arg(&self.folder).arg(folder.join("log"));
        keeper.arg("sh").arg(script("postgres.sh")).arg(role).arg("-k").arg(&folder);
        keeper.env("KEYS", self.folder.join("keys/postgres")).env("PGDATA", folder.join("data"));
        keeper.env("PGPORT", port.to_string()).env("LISTEN", "127.0.0.1");
        keeper.env("PRIMARY_HOST", "localhost").env("PRIMARY_PORT", primary.to_string());
        let child = keeper.stdin(Stdio::piped()).spawn().expect("a server");
        // Its input is never closed by us: it ends with this process.
        std::mem::forget(child);
        until("it takes connections", STARTS_WITHIN, async || {
            let log = std::fs::read_to_string(folder.join("log")).unwrap_or_default();
            log.contains("ready to accept ")
        })
        .await;
        Machine::in_folder(folder, port)
    }
}

/// Whether a connection without a password, or one in the clear, gets anywhere.
fn is_let_in(port: u16, sslmode: &str) -> bool {
    let mut psql = Command::new("psql");
    psql.args(["-w", "-c", "SELECT 1"]).stdout(Stdio::null()).stderr(Stdio::null());
    psql.arg(format!("host=localhost port={port} user=accredit dbname=accredit sslmode={sslmode}"));
    psql.env("PGPASSWORD", "wrong").status().expect("psql runs").success()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_compose_file_starts_serves_and_outlives_its_primary() {
    if !is_there("openssl") {
        return;
    }
    let place = Place::new();
    let keys = place.keys();
    let names: Vec<&str> = keys.iter().map(|(name, _)| name.as_str()).collect();
    assert!(!names.contains(&"ca.key"), "nobody can sign anything more: {names:?}");
    assert_eq!(place.keys(), keys, "they are made once");
    let ports = [free_port(), free_port()];
    let primary = place.server("primary", ports[0], ports[0]).await;
    let _standby = place.server("standby", ports[1], ports[0]).await;
    for sslmode in ["disable", "require"] {
        assert!(!is_let_in(ports[0], sslmode), "{sslmode}");
    }

    let (folder, login) = (Folder::new(), place.folder.join("keys/accredit"));
    let [password, authorities] = ["password", "ca.pem"].map(|it| login.join(it));
    let show = |path: &Path| path.display().to_string();
    let store = format!(
        "postgres://accredit@localhost:{},localhost:{}/accredit?sslmode=verify-full",
        ports[0], ports[1]
    );
    let address = format!("127.0.0.1:{}", free_port());
    let (data, url) = (folder.file("data"), format!("http://{address}"));
    let place_args = ["init", "--data", &data, "--org", "acme", "--store", &store];
    let (password, authorities) = (show(&password), show(&authorities));
    let shown = ["--store-password-file", &password, "--store-ca-file", &authorities];
    let reached = ["--public-url", &url, "--listen", &address, "--output", "json"];
    let founded = [&place_args[..], &shown, &reached].concat();
    let founded = binary::run(binary::command(&founded)).json();
    let cast = Cast::at(Server::serve(Folder::new(), &founded).await, 3).await;
    let second = node(&founded, &store).await;
    let said = |node: &Server| std::fs::read_to_string(node.folder().file("log")).expect("its log");
    for node in [&cast.server, &second] {
        assert!(!said(node).contains("what no standby has yet"), "nothing can be lost");
    }
    let worker = cast.agent("worker").await;
    let before = cast.token(&worker).await;

    primary.kill();
    let mut promote = place.shell();
    promote.args(["-c", r#"exec pg_ctl promote --silent --pgdata "$0""#]);
    let promoted = promote.arg(place.folder.join("standby/data")).status();
    assert!(promoted.expect("pg_ctl runs").success());
    let form = [("grant_type", "client_credentials"), ("scope", "crm:read")];
    let ask = Ask::form(&cast.server.at("/oauth/token"), &form);
    let ask = ask.basic(&worker.agent, &worker.secret);
    let began = Instant::now();
    for node in [&cast.server, &second] {
        until("it gives tokens again", BACK_WITHIN, async || {
            ask.try_send(node.address).await.is_some_and(|answer| answer.status == 200)
        })
        .await;
        assert_eq!(says(node, &before).await, Some(true), "nothing was lost");
    }
    println!("both nodes gave tokens again {:?} after the promotion began", began.elapsed());
}
