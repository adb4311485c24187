//! A server of the real binary on loopback, with a folder of its own, killed when dropped.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::binary::{self, Ran};
use super::http::{Answer, Ask};
use super::until;

/// How long a server may take to be ready: long, for a machine with other work.
const START_TIME_MAX: Duration = Duration::from_secs(20);

/// A running server.
pub(crate) struct Server {
    child: Child,
    /// Kept open: a server whose standard output is closed is another story.
    _out: Option<BufReader<ChildStdout>>,
    pub(crate) address: SocketAddr,
    pub(crate) url: String,
    pub(crate) issuer: String,
    pub(crate) org: String,
    /// The bootstrap administrator's key.
    pub(crate) admin: String,
    folder: Folder,
}

/// Where a server keeps its things.
#[derive(Clone, Debug)]
pub(crate) struct Folder {
    _temporary: std::sync::Arc<tempfile::TempDir>,
    path: PathBuf,
}

impl Folder {
    pub(crate) fn new() -> Self {
        let temporary = tempfile::tempdir().expect("a folder");
        let path = temporary.path().to_owned();
        Self { _temporary: std::sync::Arc::new(temporary), path }
    }

    /// The path of a file in it.
    pub(crate) fn file(&self, name: &str) -> String {
        self.path.join(name).to_str().expect("a path in UTF-8").to_owned()
    }

    /// Its data: store, root key, configuration.
    pub(crate) fn data(&self) -> PathBuf {
        self.path.join("data")
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Server {
    /// `accredit dev` in a new folder.
    pub(crate) async fn dev() -> Self {
        Self::dev_in(Folder::new(), 0).await
    }

    /// `accredit dev` in a folder, perhaps of an earlier one, which then had the same port.
    pub(crate) async fn dev_in(folder: Folder, port: u16) -> Self {
        Self::started(Self::dev_command(&folder, port), folder).await
    }

    /// The command that [`Self::dev_in`] starts.
    pub(crate) fn dev_command(folder: &Folder, port: u16) -> Command {
        let data = folder.file("data");
        let listen = format!("127.0.0.1:{port}");
        binary::command(&["dev", "--data", &data, "--listen", &listen, "--output", "json"])
    }

    /// A command that says of itself what `accredit dev` does.
    pub(crate) async fn started(mut command: Command, folder: Folder) -> Self {
        command.stdout(Stdio::piped()).stderr(log_of(&folder));
        let mut child = command.spawn().expect("the binary starts");
        let mut out = BufReader::new(child.stdout.take().expect("its output"));
        let mut line = String::new();
        out.read_line(&mut line).expect("a line");
        let ready: Value = serde_json::from_str(&line).unwrap_or_else(|_| {
            panic!(
                "not ready: {line} {}",
                std::fs::read_to_string(folder.file("log")).expect("a log")
            )
        });
        let text = |name: &str| ready[name].as_str().expect("text").to_owned();
        let url = text("url");
        let server = Self {
            child,
            _out: Some(out),
            address: address_of(&url),
            issuer: text("issuer"),
            org: text("org"),
            admin: text("admin_token"),
            url,
            folder,
        };
        server.ready().await;
        server
    }

    /// `accredit serve` over a configuration. `founded` is what `accredit init` printed.
    pub(crate) async fn serve(folder: Folder, founded: &Value) -> Self {
        let config = founded["config"].as_str().expect("a path");
        let command = binary::command(&["serve", "--config", config]);
        Self::serve_by(command, folder, founded).await
    }

    /// The same, also where it is not ready: for want of a root key, say.
    pub(crate) fn serve_unready(folder: Folder, founded: &Value) -> Self {
        let config = founded["config"].as_str().expect("a path");
        Self::spawned(binary::command(&["serve", "--config", config]), folder, founded)
    }

    /// A command that does what `accredit serve` does, over what `accredit init` printed.
    pub(crate) async fn serve_by(command: Command, folder: Folder, founded: &Value) -> Self {
        let server = Self::spawned(command, folder, founded);
        if !server.url.starts_with("https:") {
            server.ready().await;
        }
        server
    }

    /// The same, also where it is not ready.
    pub(crate) fn spawned(mut command: Command, folder: Folder, founded: &Value) -> Self {
        let text = |name: &str| founded[name].as_str().expect("text").to_owned();
        command.stdout(Stdio::null()).stderr(log_of(&folder));
        let child = command.spawn().expect("the binary starts");
        let url = text("url");
        Self {
            child,
            _out: None,
            address: address_of(&url),
            issuer: text("issuer"),
            org: text("org"),
            admin: text("admin_token"),
            url,
            folder,
        }
    }

    async fn ready(&self) {
        until("the server is ready", START_TIME_MAX, async || {
            let answer = Ask::get("/readyz").try_send(self.address).await;
            answer.is_some_and(|answer| answer.status == 200)
        })
        .await;
    }

    pub(crate) fn folder(&self) -> &Folder {
        &self.folder
    }

    /// The path of an endpoint of the organization.
    pub(crate) fn at(&self, path: &str) -> String {
        format!("/o/{}{path}", self.org)
    }

    pub(crate) async fn send(&self, ask: Ask) -> Answer {
        ask.send(self.address).await
    }

    /// Asks the admin API with the bootstrap key.
    pub(crate) async fn api(&self, method: &str, path: &str, body: Value) -> Answer {
        let ask = match body {
            Value::Null => Ask::new(method, path),
            body => Ask::json(method, path, &body),
        };
        self.send(ask.bearer(&self.admin)).await
    }

    /// Creates or does something that must work.
    pub(crate) async fn post(&self, path: &str, body: Value) -> Value {
        self.api("POST", path, body).await.good()
    }

    /// Reads something that must be there.
    pub(crate) async fn get(&self, path: &str) -> Value {
        self.api("GET", path, Value::Null).await.good()
    }

    /// `accredit revoke ID`, over the API.
    pub(crate) async fn revoke(&self, target: &str) -> Value {
        let body = serde_json::json!({"target": target, "reason": "a story"});
        self.post("/v1/revocations", body).await
    }

    /// A token request that authenticates with a secret.
    pub(crate) async fn token(&self, id: &str, secret: &str, scope: &str) -> Answer {
        let form = [("grant_type", "client_credentials"), ("scope", scope)];
        self.send(Ask::form(&self.at("/oauth/token"), &form).basic(id, secret)).await
    }

    /// Introspection by the administrator.
    pub(crate) async fn is_active(&self, token: &str) -> bool {
        let ask = Ask::form(&self.at("/oauth/introspect"), &[("token", token)]);
        self.send(ask.bearer(&self.admin)).await.good()["active"] == true
    }

    /// A command of the binary that speaks to this server as its administrator.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = binary::command(args);
        command.env("ACCREDIT_URL", &self.url).env("ACCREDIT_TOKEN", &self.admin);
        command
    }

    pub(crate) fn cli(&self, args: &[&str]) -> Ran {
        binary::run(self.command(args))
    }

    /// Like [`Self::cli`], with `--output json`; the API's object.
    pub(crate) fn cli_json(&self, args: &[&str]) -> Value {
        self.cli(&[args, &["--output", "json"]].concat()).json()
    }

    /// Ends it at once, as a crash would.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("ended");
    }

    /// Tells it to stop, as an operator would, and waits; its exit code.
    pub(crate) fn stop(&mut self) -> Option<i32> {
        let id = self.child.id().to_string();
        let told = Command::new("kill").args(["-TERM", &id]).status().expect("kill runs");
        assert!(told.success());
        self.child.wait().expect("ended").code()
    }

    /// Starts it again in its folder and at its address. It must have ended.
    pub(crate) async fn again(mut self) -> Self {
        assert!(self.child.try_wait().expect("its state").is_some(), "it still runs");
        let (folder, port) = (self.folder.clone(), self.address.port());
        Self::dev_in(folder, port).await
    }

    /// The process, for what it should not be told through a socket.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn log_of(folder: &Folder) -> Stdio {
    let file = File::options().create(true).append(true).open(folder.file("log"));
    file.expect("a log").into()
}

/// The address in a URL such as `http://127.0.0.1:1234`.
pub(crate) fn address_of(url: &str) -> SocketAddr {
    let (_, authority) = url.split_once("://").expect("a URL");
    authority.replace("localhost", "127.0.0.1").parse().expect("an address")
}

/// `accredit init` in a folder, for a port that nobody has.
pub(crate) fn init(folder: &Folder, scheme: &str) -> Value {
    init_at(folder, scheme, "127.0.0.1")
}

/// The same, known to the world as `host` of this machine.
pub(crate) fn init_at(folder: &Folder, scheme: &str, host: &str) -> Value {
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let (data, url) = (folder.file("data"), format!("{scheme}://{host}:{port}"));
    let args = ["init", "--data", &data, "--org", "acme", "--public-url", &url, "--listen"];
    binary::run(binary::command(&[&args[..], &[&address, "--output", "json"]].concat())).json()
}

/// A port that nobody has now.
pub(crate) fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a socket");
    listener.local_addr().expect("an address").port()
}
