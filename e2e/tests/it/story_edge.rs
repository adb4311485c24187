//! A machine on which each process is an instance of its own: it joins with a token, processes are known by
//! what the kernel says of them, and each ends alone, with its node, or when the daemon does.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::stage::binary::{self, workspace};
use crate::stage::cast::{Cast, text};
use crate::stage::until;

/// How long something of another process may take on a loaded machine.
const SOON: Duration = Duration::from_secs(30);

/// How long what was ended may be given on: 20 seconds, and what a loaded machine needs.
const GIVEN_ON_MAX: Duration = Duration::from_secs(25);

/// A machine: programs, and the daemon.
pub(crate) struct Machine {
    pub(crate) cast: Cast,
    folder: tempfile::TempDir,
    daemon: Option<Daemon>,
}

struct Daemon {
    child: Child,
}

impl Daemon {
    fn stop(mut self) -> Option<i32> {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().expect("kill runs").success());
        self.child.wait().expect("ended").code()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Machine {
    /// With `planner`, a program that a rule makes the agent of that name, and `other`, which none does.
    pub(crate) async fn new() -> Self {
        let cast = Cast::new().await;
        for agent in ["planner", "node"] {
            cast.bare_agent(agent).await;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let run = folder.path().join("run");
        std::fs::create_dir(&run).expect("a folder");
        std::fs::set_permissions(&run, std::fs::Permissions::from_mode(0o755)).expect("set");
        let machine = Self { cast, folder, daemon: None };
        let source = workspace().join("e2e/shim/agent.c");
        let mut compiler = Command::new("cc");
        compiler.args(["-O1", "-o"]).arg(machine.file("planner")).arg(source);
        assert!(compiler.status().expect("cc runs").success());
        std::fs::copy(machine.file("planner"), machine.file("other")).expect("copied");
        machine.rule("planner", &machine.file("planner"));
        machine
    }

    /// Makes a program an agent.
    pub(crate) fn rule(&self, agent: &str, program: &Path) {
        let claim = format!("path={}", program.display());
        let rule = ["attest", "rule", "add", "--agent", agent, "--edge", "node", "--claim"];
        self.cast.server.cli(&[&rule[..], &[&claim]].concat()).good();
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.file("run").join("agent@localhost")
    }

    /// A join token in a file.
    fn invited(&self) -> PathBuf {
        let invited = self.cast.server.cli_json(&["edge", "invite", "--agent", "node"]);
        let file = self.file("join-token");
        std::fs::write(&file, text(&invited, "join_token")).expect("written");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("set");
        file
    }

    /// The daemon's command, which knows no administrator's key.
    fn command(&self, more: &[&str]) -> Command {
        let socket = self.socket().display().to_string();
        let words = ["edge", "run", "--org", "dev", "--output", "json", "--socket", &socket];
        let mut command = binary::command(&[&words[..], more].concat());
        command.env("ACCREDIT_URL", &self.cast.server.url);
        command
    }

    fn start(&mut self, more: &[&str]) -> String {
        let mut command = self.command(more);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the binary runs");
        let mut line = String::new();
        let out = child.stdout.take().expect("its output");
        BufReader::new(out).read_line(&mut line).expect("a line");
        let ready: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line:?}"));
        self.daemon = Some(Daemon { child });
        text(&ready, "instance")
    }

    pub(crate) fn join(&mut self) -> String {
        let file = self.invited().display().to_string();
        self.start(&["--join-token-file", &file])
    }

    fn process(&self, name: &str) -> Process {
        Process::new(&self.file(name), &self.socket())
    }

    fn state_of(&self, instance: &str) -> String {
        text(&self.cast.server.cli_json(&["instance", "get", instance]), "state")
    }

    async fn ends(&self, instance: &str) {
        until("it is ended at the server", SOON, async || self.state_of(instance) == "revoked")
            .await;
    }
}

struct Process {
    child: Child,
    to: Option<ChildStdin>,
    from: BufReader<ChildStdout>,
}

impl Process {
    fn new(program: &Path, socket: &Path) -> Self {
        let mut command = Command::new(program);
        let piped = command.arg(socket).env_clear().stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = piped.spawn().expect("it runs");
        let (to, from) = (child.stdin.take(), child.stdout.take().expect("its output"));
        Self { child, to, from: BufReader::new(from) }
    }

    fn gets(&mut self, path: &str) -> (u64, Value) {
        writeln!(self.to.as_mut().expect("open"), "{path}").expect("written");
        let mut line = String::new();
        self.from.read_line(&mut line).expect("a line");
        let (status, body) = line.split_once(' ').expect("two parts");
        (status.parse().unwrap_or_default(), serde_json::from_str(body).unwrap_or(json!(null)))
    }

    /// Which instance it is.
    fn is(&mut self) -> String {
        let (status, said) = self.gets("/status");
        assert_eq!(status, 200, "{said}");
        let id = text(&said, "spiffe_id");
        id.rsplit('/').next().expect("an id").to_owned()
    }

    fn token(&mut self) -> (u64, Value) {
        self.gets("/token?scope=crm:read&token_type=bearer")
    }

    fn ends(mut self) {
        drop(self.to.take());
        self.child.wait().expect("over");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_is_an_instance_by_what_it_is_and_ends_as_one() {
    let mut machine = Machine::new().await;
    let node = machine.join();
    let (mut one, mut two) = (machine.process("planner"), machine.process("planner"));
    let (first, second) = (one.is(), two.is());
    assert_ne!(first, second, "two processes of one program are two");
    let (status, got) = one.token();
    assert_eq!(status, 200, "{got}");
    let plain = text(&got, "access_token");
    let server = &machine.cast.server;
    assert!(server.is_active(&plain).await);
    let born = server.cli_json(&["instance", "get", &first]);
    assert_eq!(text(&born, "vouched_by"), node, "{born}");

    // Another program is nobody, whatever it holds.
    let mut other = machine.process("other");
    for path in ["/status", "/token?scope=crm:read"] {
        let (status, said) = other.gets(path);
        assert_eq!((status, text(&said, "rule")), (403, "edge-no-identity".into()));
    }

    // One is revoked, and the other works on.
    server.revoke(&first).await;
    assert!(!server.is_active(&plain).await);
    until("it is refused", SOON, async || one.gets("/token?scope=crm:update").0 == 403).await;
    assert_eq!(two.token().0, 200);
    assert_eq!(two.is(), second);
    one.ends();

    // One is over, and so is its instance.
    let (_, got) = two.token();
    let plain = text(&got, "access_token");
    two.ends();
    machine.ends(&second).await;
    assert!(!machine.cast.server.is_active(&plain).await);
    assert_eq!(machine.state_of(&node), "active");

    // The daemon is stopped, and what it vouched for is over, itself among it.
    let mut three = machine.process("planner");
    let third = three.is();
    assert_eq!(machine.daemon.take().expect("runs").stop(), Some(0));
    assert_eq!(
        (machine.state_of(&third), machine.state_of(&node)),
        ("revoked".into(), "revoked".into())
    );
    assert!(!machine.socket().exists());
    assert_eq!(three.gets("/status").0, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_join_token_is_of_use_once_and_no_secret_is_told() {
    let mut machine = Machine::new().await;
    let file = machine.invited();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).expect("set");
    let file = file.display().to_string();
    let open = binary::run(machine.command(&["--join-token-file", &file]));
    assert!(open.code == 2 && open.err.contains("others can read it"), "{open:?}");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("set");
    machine.start(&["--join-token-file", &file]);
    let token = std::fs::read_to_string(&file).expect("there");
    let daemon = machine.daemon.as_ref().expect("runs");
    for name in ["cmdline", "environ"] {
        let shown =
            std::fs::read(format!("/proc/{}/{name}", daemon.child.id())).unwrap_or_default();
        assert!(!String::from_utf8_lossy(&shown).contains("acr_"), "{name}");
    }
    let elsewhere = machine.file("run").join("second").display().to_string();
    let again = ["--join-token-file", &file, "--socket", &elsewhere];
    let mut again = binary::command(&[&["edge", "run", "--org", "dev"][..], &again].concat());
    again.env("ACCREDIT_URL", &machine.cast.server.url);
    let again = binary::run(again);
    assert!(again.code == 5 && again.err.contains("join-token-used"), "{again:?}");
    assert!(!again.err.contains(token.trim()), "a secret is told");
    // Where somebody answers already, no second one takes the place.
    let taken = binary::run(machine.command(&["--join-token-file", &file]));
    assert!(taken.code == 1 && taken.err.contains("somebody answers there"), "{taken:?}");
    let none = binary::run({
        let mut none = binary::command(&["edge", "run", "--org", "dev", "--socket", &elsewhere]);
        none.env("ACCREDIT_URL", &machine.cast.server.url);
        none
    });
    assert!(none.code == 2 && none.err.contains("accredit edge invite"), "{none:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_node_gives_nothing_out_and_another_one_does() {
    let mut machine = Machine::new().await;
    let node = machine.join();
    let mut one = machine.process("planner");
    let first = one.is();
    let plain = text(&one.token().1, "access_token");
    machine.cast.server.revoke(&node).await;
    assert!(!machine.cast.server.is_active(&plain).await, "it was born on that node");
    // The daemon is told so by the next birth.
    let mut two = machine.process("planner");
    assert_eq!(two.gets("/status").0, 403);
    until("all is taken back", SOON, async || one.gets("/status").0 == 403).await;
    assert_eq!(one.token().0, 403);
    machine.daemon.take().expect("runs").stop();
    machine.join();
    assert_ne!(one.is(), first, "on another node it is another");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_ended_is_taken_back_within_seconds_though_no_process_is_born() {
    let mut machine = Machine::new().await;
    let node = machine.join();
    let (mut one, mut two) = (machine.process("planner"), machine.process("planner"));
    let (first, second) = (one.is(), two.is());
    let kept = two.token().1;
    assert_eq!(one.token().0, 200);
    machine.cast.server.revoke(&first).await;
    let began = std::time::Instant::now();
    until("what it had is not given on", GIVEN_ON_MAX, async || one.token().0 == 403).await;
    println!("taken back after {:?}", began.elapsed());
    assert_eq!(two.token().1["access_token"], kept["access_token"], "its sibling goes on");
    assert_eq!(two.is(), second);
    // The node's end takes back all that was born there.
    machine.cast.server.revoke(&node).await;
    until("what it had is not given on", GIVEN_ON_MAX, async || two.token().0 == 403).await;
    assert_eq!(two.gets("/status").0, 403);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_comes_back_where_its_key_is_kept() {
    let mut machine = Machine::new().await;
    let file = machine.invited().display().to_string();
    let state = machine.file("state").display().to_string();
    let node = machine.start(&["--join-token-file", &file, "--state-dir", &state]);
    let mode = |path: &str| std::fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!((mode(&state), mode(&format!("{state}/node.json"))), (0o700, 0o600));
    let (mut one, mut two) = (machine.process("planner"), machine.process("planner"));
    let (first, second) = (one.is(), two.is());
    assert_eq!(machine.daemon.take().expect("runs").stop(), Some(0));
    assert_eq!(machine.state_of(&first), "active");
    two.ends();
    assert_eq!(machine.start(&["--state-dir", &state]), node, "without a token");
    assert_eq!(one.is(), first, "the same process is the same instance");
    machine.ends(&second).await;
    assert_eq!(one.token().0, 200);
    // Killed, it leaves its socket, which the next one replaces.
    let mut daemon = machine.daemon.take().expect("runs");
    daemon.child.kill().expect("killed");
    daemon.child.wait().expect("over");
    assert!(machine.socket().exists());
    assert_eq!(machine.start(&["--state-dir", &state]), node);
    assert_eq!(one.is(), first);
}
