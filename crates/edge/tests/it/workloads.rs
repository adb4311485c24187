//! A daemon with real processes before it: which instance each is, what they share, and how all of it ends.

use std::collections::HashSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use accredit_edge::workloads::Hosts;
use accredit_edge::{Door, FILE_NAME, Socket, SocketError, Workloads};
use serde_json::{Value, json};

use crate::issuer::{BROKEN, GOOD, Issuer};

/// How long something may take on a loaded machine.
const SOON: Duration = Duration::from_secs(30);

/// A program that does what it reads: asks at the socket, has a child ask, becomes another program.
const PROGRAM: &str = r#"
import http.client, json, os, socket, subprocess, sys, threading
class Local(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(40)
        self.sock.connect(sys.argv[1])
def ask(path="/status", headers={"workload.spiffe.io": "true"}):
    try:
        local = Local("localhost")
        local.request("GET", path, None, headers)
        answer = local.getresponse()
        return [answer.status, json.loads(answer.read())]
    except (OSError, http.client.HTTPException) as error:
        return [0, {"error": type(error).__name__}]
def many(count):
    said = []
    threads = [threading.Thread(target=lambda: said.append(ask())) for _ in range(count)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    return said
def child(*words):
    ran = subprocess.run([*words, "-c", sys.argv[2], sys.argv[1], sys.argv[2], "once"],
                         stdout=subprocess.PIPE)
    return json.loads(ran.stdout or "null")
def forked():
    read, write = os.pipe()
    if not os.fork():
        os.write(write, json.dumps(ask()).encode()); os._exit(0)
    os.close(write); os.wait()
    return json.loads(os.read(read, 9999))
def become(path):
    os.execv(path, [path, "-c", sys.argv[2], *sys.argv[1:3]])
if sys.argv[3:] == ["once"]:
    print(json.dumps(ask())); sys.exit(0)
print(json.dumps(os.getpid()), flush=True)
for line in sys.stdin:
    verb, *words = json.loads(line)
    print(json.dumps(globals()[verb](*words)), flush=True)
"#;

/// A daemon, and programs of several names.
struct Local {
    issuer: Issuer,
    workloads: Arc<Workloads>,
    folder: tempfile::TempDir,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Local {
    /// With programs, each of which is the agent of its name, but `stranger`.
    async fn new() -> Self {
        Self::with(Hosts::new()).await
    }

    /// The same, whose certificates name hosts.
    async fn with(hosts: Hosts) -> Self {
        let issuer = Issuer::start(Duration::from_hours(1)).await;
        let folder = tempfile::tempdir().expect("a folder");
        let python = Command::new("python3")
            .args(["-c", "import os; print(os.path.realpath('/proc/self/exe'))"])
            .output()
            .expect("python3 runs");
        let python = String::from_utf8(python.stdout).expect("a path");
        for name in ["crm", "mail", "stranger"] {
            let path = folder.path().join(name);
            std::fs::copy(python.trim(), &path).expect("copied");
            if name != "stranger" {
                let path = path.display().to_string();
                issuer.nodes().rules.insert(path, format!("agt_{name}"));
            }
        }
        let node = Arc::new(issuer.node().await);
        let workloads = Arc::new(Workloads::new(node, hosts).expect("a name of this start"));
        let mut local = Self { issuer, workloads, folder, tasks: Vec::new() };
        local.serve().await;
        local
    }

    async fn serve(&mut self) {
        let socket = Socket::bind_for_all(&self.socket()).await.expect("a socket");
        let door: Arc<dyn Door> = Arc::clone(&self.workloads) as _;
        self.tasks.push(tokio::spawn(async move { socket.serve(door).await }));
        let workloads = Arc::clone(&self.workloads);
        self.tasks.push(tokio::spawn(async move { workloads.keep().await }));
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join(FILE_NAME)
    }

    fn program(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn start(&self, name: &str) -> Program {
        Program::new(Command::new(self.program(name)), &self.socket())
    }

    fn asked(&self) -> usize {
        self.issuer.nodes().asked.len()
    }

    /// Waits until these instances, and no others, were ended.
    async fn ended(&self, expected: &[&str]) {
        let done = tokio::time::timeout(SOON, async {
            loop {
                let ended: HashSet<String> = self.issuer.nodes().ended.iter().cloned().collect();
                if expected.iter().all(|one| ended.contains(*one)) {
                    return ended;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        let ended = done.await.unwrap_or_else(|_| panic!("ended: {:?}", self.issuer.nodes().ended));
        assert_eq!(ended.len(), expected.len(), "{ended:?}");
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

struct Program {
    child: Child,
    to: Option<ChildStdin>,
    from: Option<BufReader<ChildStdout>>,
    pid: u64,
}

impl Program {
    fn new(mut command: Command, socket: &Path) -> Self {
        command.args(["-c", PROGRAM]).arg(socket).arg(PROGRAM);
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = piped.spawn().expect("it runs");
        let (to, from) = (child.stdin.take(), child.stdout.take().map(BufReader::new));
        let mut program = Self { child, to, from, pid: 0 };
        let mut line = String::new();
        program.from.as_mut().expect("open").read_line(&mut line).expect("a line");
        program.pid = line.trim().parse().expect("a pid");
        program
    }

    async fn does(&mut self, verb: &Value) -> Value {
        writeln!(self.to.as_mut().expect("open"), "{verb}").expect("written");
        let mut from = self.from.take().expect("open");
        let heard = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            from.read_line(&mut line).expect("a line");
            (from, line)
        });
        let (from, line) = heard.await.expect("no panic");
        self.from = Some(from);
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    /// Which instance it is; what it is told, where it is none.
    async fn is(&mut self) -> String {
        instance(&self.does(&json!(["ask"])).await)
    }

    fn ends(&mut self) {
        drop(self.to.take());
        self.child.wait().expect("over");
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn instance(said: &Value) -> String {
    match said[1]["spiffe_id"].as_str().and_then(|id| id.rsplit('/').next()) {
        Some(instance) => instance.to_owned(),
        None => format!("{} {}", said[0], said[1]["rule"].as_str().unwrap_or("-")),
    }
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self").expect("this process").uid() == 0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_process_is_an_instance_that_ends_with_it() {
    let local = Local::new().await;
    let (mut one, mut two) = (local.start("crm"), local.start("crm"));
    let (first, second) = (one.is().await, two.is().await);
    assert!(first.starts_with("ins_") && second.starts_with("ins_"), "{first} {second}");
    assert_ne!(first, second, "two processes of one program are two");
    assert_eq!((one.is().await, local.asked()), (first.clone(), 2), "it is known by now");
    let (told, process) = local.issuer.nodes().asked[0].clone();
    assert_eq!(told["path"], local.program("crm"));
    assert_eq!(told["sha256"].as_str().map(str::len), Some(64));
    assert!(process.contains(&format!(":{}:", one.pid)) && told["uid"].is_string(), "{told}");

    one.ends();
    local.ended(&[&first]).await;
    assert_eq!(two.is().await, second);
    assert_eq!(local.workloads.count(), 1);
    local.workloads.end("a test").await;
    local.ended(&[&first, &second]).await;
    assert_eq!(local.issuer.ended.load(std::sync::atomic::Ordering::SeqCst), 1, "the node itself");
    assert_eq!(two.is().await, "503 edge-not-now");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hosts_are_asked_for_by_the_agent_whose_they_are_and_by_no_other() {
    let names = ["a.dev.id.example".to_owned(), "b.dev.id.example".to_owned()];
    let hosts = Hosts::from([("agt_crm".to_owned(), names.to_vec())]);
    let local = Local::with(hosts).await;
    let (mut crm, mut mail) = (local.start("crm"), local.start("mail"));
    let of = [crm.is().await, mail.is().await];
    let asked = local.issuer.nodes().hosts.clone();
    for (instance, hosts) in of.iter().zip(["a.dev.id.example b.dev.id.example", ""]) {
        let named = asked.iter().find(|(id, _)| id.ends_with(&format!("/{instance}")));
        assert_eq!(named.expect("asked for").1, hosts);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_no_rule_names_is_nobody_and_the_server_is_asked_once() {
    let local = Local::new().await;
    let mut stranger = local.start("stranger");
    for _ in 0..20 {
        assert_eq!(stranger.is().await, "403 edge-no-identity");
    }
    let mut other = local.start("stranger");
    assert_eq!(other.is().await, "403 edge-no-identity");
    assert_eq!(local.asked(), 1, "a no holds for whoever looks the same");
    // Nor is whoever did not mean to ask.
    let said = local.start("crm").does(&json!(["ask", "/status", {}])).await;
    assert_eq!(instance(&said), "400 edge-header");
    assert_eq!(local.asked(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_process_is_born_once_however_often_it_asks_at_once() {
    let local = Local::new().await;
    local.issuer.nodes().delay = Duration::from_millis(300);
    let mut crm = local.start("crm");
    let said = crm.does(&json!(["many", 12])).await;
    let all: HashSet<String> = said.as_array().expect("answers").iter().map(instance).collect();
    assert_eq!(all, HashSet::from(["ins_0".to_owned()]));
    assert_eq!(local.asked(), 1);
    // Too many births are not a no.
    local.issuer.nodes().too_many = 1;
    let mut mail = local.start("mail");
    for _ in 0..5 {
        assert_eq!(mail.is().await, "503 edge-not-now");
    }
    assert_eq!(local.asked(), 2, "it is not asked again before its time");
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(mail.is().await, "ins_1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn children_share_unless_they_are_agents_of_their_own() {
    let local = Local::new().await;
    let mut crm = local.start("crm");
    // A child that asks before its parent is attested for itself.
    let child = instance(&crm.does(&json!(["forked"])).await);
    let own = crm.is().await;
    assert!(child.starts_with("ins_") && child != own, "{child} {own}");
    local.ended(&[&child]).await;
    assert_eq!(instance(&crm.does(&json!(["forked"])).await), own, "the same program");
    let words = |name: &str| json!(["child", local.program(name)]);
    assert_eq!(instance(&crm.does(&words("crm")).await), own);
    assert_eq!(instance(&crm.does(&words("stranger")).await), own, "one that no rule names");
    let other = instance(&crm.does(&words("mail")).await);
    assert!(other.starts_with("ins_") && other != own, "an agent of its own: {other} {own}");
    local.ended(&[&child, &other]).await;
    if is_root() {
        // Another user never shares, whatever it runs.
        let other = ["setpriv", "--reuid=12345", "--regid=12345", "--clear-groups"];
        let words =
            |name: &str| json!([&["child"][..], &other[..], &[&local.program(name)]].concat());
        open_to_all(local.folder.path());
        assert_eq!(instance(&crm.does(&words("stranger")).await), "403 edge-no-identity");
        let of_other = instance(&crm.does(&words("crm")).await);
        assert!(of_other.starts_with("ins_") && of_other != own, "{of_other}");
        let told = local.issuer.nodes().asked.last().expect("asked").0.clone();
        assert_eq!(told["uid"], "12345");
        // One that has two users at once is nobody.
        let mixed = ["setpriv", "--ruid=12345"];
        let words = json!([&["child"][..], &mixed[..], &[&local.program("crm")]].concat());
        assert_eq!(instance(&crm.does(&words).await), "403 edge-no-identity");
    } else {
        println!("not run: only root can start processes of another user");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_that_is_an_agent_of_its_own_and_is_refused_is_not_its_parent() {
    let local = Local::new().await;
    local.issuer.nodes().suspended.push("agt_mail".to_owned());
    let mut crm = local.start("crm");
    let own = crm.is().await;
    let words = |name: &str| json!(["child", local.program(name)]);
    for _ in 0..3 {
        assert_eq!(instance(&crm.does(&words("mail")).await), "403 edge-no-identity");
    }
    assert_eq!(local.asked(), 2, "the server is asked once");
    assert_eq!(instance(&crm.does(&words("stranger")).await), own, "one that no rule names");
}

fn open_to_all(folder: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).expect("set");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_becomes_another_program_is_another_instance() {
    let local = Local::new().await;
    let mut crm = local.start("crm");
    let own = crm.is().await;
    crm.does(&json!(["become", local.program("mail")])).await;
    let other = crm.is().await;
    assert!(other.starts_with("ins_") && other != own, "{other}");
    local.ended(&[&own]).await;
    crm.does(&json!(["become", local.program("stranger")])).await;
    assert_eq!(crm.is().await, "403 edge-no-identity");
    local.ended(&[&own, &other]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_ends_while_it_is_born_leaves_no_instance() {
    let local = Local::new().await;
    local.issuer.nodes().delay = Duration::from_secs(2);
    let mut crm = local.start("crm");
    writeln!(crm.to.as_mut().expect("open"), "[\"ask\"]").expect("written");
    let begun = tokio::time::timeout(SOON, async {
        while local.asked() == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    begun.await.expect("a birth");
    crm.child.kill().expect("killed");
    crm.child.wait().expect("over");
    local.ended(&["ins_0"]).await;
    assert_eq!(local.workloads.count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_is_outlived_by_those_who_are_known() {
    let local = Local::new().await;
    let (mut crm, mut mail) = (local.start("crm"), local.start("mail"));
    let own = crm.is().await;
    local.issuer.is(BROKEN);
    assert_eq!(mail.is().await, "503 edge-not-now");
    let said = crm.does(&json!(["ask"])).await;
    assert_eq!(instance(&said), own);
    assert!(said[1]["server_silent_for"].is_u64(), "it is said: {said}");
    let asked = local.asked();
    for _ in 0..5 {
        assert_eq!(mail.is().await, "503 edge-not-now");
    }
    assert_eq!(local.asked(), asked);
    // What ends meanwhile is ended when the server is back.
    crm.ends();
    local.issuer.is(GOOD);
    local.ended(&[&own]).await;
    let back = tokio::time::timeout(SOON, async {
        while !mail.is().await.starts_with("ins_") {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    back.await.expect("the server is back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_refused_node_vouched_for_is_taken_back_at_once() {
    let local = Local::new().await;
    let (mut crm, mut mail) = (local.start("crm"), local.start("mail"));
    crm.is().await;
    local.issuer.nodes().is_node_refused = true;
    // Nobody asks the server for the first one: it is told by what the second is answered.
    assert_eq!(mail.is().await, "403 edge-no-identity");
    let taken = tokio::time::timeout(SOON, async {
        while crm.is().await != "403 edge-no-identity" {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    taken.await.expect("taken back");
    assert_eq!(local.workloads.count(), 0);
    let asked = local.asked();
    assert_eq!(crm.is().await, "403 edge-no-identity");
    assert_eq!(local.asked(), asked);
    local.issuer.nodes().is_node_refused = false;
    let given = tokio::time::timeout(SOON, async {
        while !crm.is().await.starts_with("ins_") {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    given.await.expect("given again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_is_revoked_stays_so_and_its_sibling_works_on() {
    let local = Local::new().await;
    local.issuer.life(Duration::from_secs(3));
    let (mut one, mut two) = (local.start("crm"), local.start("crm"));
    let (first, second) = (one.is().await, two.is().await);
    local.issuer.nodes().revoked.push(first.clone());
    let refused = tokio::time::timeout(SOON, async {
        while one.is().await == first {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    refused.await.expect("refused");
    for _ in 0..5 {
        let said = one.does(&json!(["ask"])).await;
        assert_eq!(said[1]["standing"], "refused", "{said}");
    }
    assert_eq!(two.is().await, second);
    // A new one of the same program is no worse for it.
    let mut three = local.start("crm");
    assert!(three.is().await.starts_with("ins_"));
    let own = format!(":{}:", one.pid);
    let asked = local.issuer.nodes().asked.iter().filter(|(_, of)| of.contains(&own)).count();
    assert!(asked <= 3, "a refused process floods nobody: {asked}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_path_is_told_only_of_the_file_that_lies_there() {
    let local = Local::new().await;
    let crm = local.program("crm");
    // Removed, replaced, called so in another mount namespace.
    let mut removed = local.start("crm");
    std::fs::rename(&crm, local.program("before")).expect("moved");
    std::fs::copy(local.program("before"), &crm).expect("copied");
    assert_eq!(removed.is().await, "403 edge-no-identity", "moved away");
    std::fs::remove_file(local.program("before")).expect("removed");
    assert_eq!(removed.is().await, "403 edge-no-identity", "removed");
    for (told, _) in &local.issuer.nodes().asked {
        assert_ne!(told["path"], crm.as_str(), "{told}");
        assert_eq!(told["sha256"].as_str().map(str::len), Some(64), "what runs is told: {told}");
    }
    let script = format!("mount --bind {} {crm} && exec {crm} \"$@\"", local.program("stranger"));
    let mut elsewhere = Command::new("unshare");
    elsewhere.args(["-m", "sh", "-c", &script, "sh"]);
    let can = Command::new("unshare").args(["-m", "true"]).status();
    if can.is_ok_and(|status| status.success()) {
        let mut elsewhere = Program::new(elsewhere, &local.socket());
        assert_eq!(elsewhere.is().await, "403 edge-no-identity");
        let told = local.issuer.nodes().asked.last().expect("asked").0.clone();
        assert_ne!(told["path"], crm.as_str(), "{told}");
    } else {
        println!("not run: no mount namespace can be made here");
    }
    assert!(local.start("crm").is().await.starts_with("ins_"), "the file that is there is named");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_daemon_leaves_is_ended_when_its_process_is() {
    let mut local = Local::new().await;
    let (mut crm, mut mail) = (local.start("crm"), local.start("mail"));
    let (first, second) = (crm.is().await, mail.is().await);
    let left = local.workloads.leave().await;
    assert_eq!(left.len(), 2);
    let boot = local.workloads.boot().to_owned();
    local.tasks.drain(..).for_each(|task| task.abort());
    crm.ends();
    assert!(local.issuer.nodes().ended.is_empty());
    let node = Arc::new(local.issuer.node().await);
    local.workloads = Arc::new(Workloads::new(node, Hosts::new()).expect("a name of this start"));
    local.workloads.take_over(&boot, left);
    let _ = std::fs::remove_file(local.socket());
    local.serve().await;
    local.ended(&[&first]).await;
    assert_eq!(mail.is().await, second, "the same process is the same instance");
    mail.ends();
    local.ended(&[&first, &second]).await;
}

#[tokio::test]
async fn a_socket_for_all_lies_where_nobody_else_can_put_one() {
    use std::os::unix::fs::PermissionsExt as _;
    let above = tempfile::tempdir().expect("a folder");
    let folder = above.path().join("run");
    std::fs::create_dir(&folder).expect("made");
    let path = folder.join(FILE_NAME);
    let set = |folder: &Path, mode: u32| {
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(mode)).expect("set");
    };
    let socket = Socket::bind_for_all(&path).await.expect("a socket");
    let mode = std::fs::metadata(&path).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o666);
    let taken = Socket::bind_for_all(&path).await;
    assert!(matches!(taken, Err(SocketError::Taken(_))), "somebody answers there");
    drop(socket);
    // What an earlier daemon left, which was killed.
    drop(std::os::unix::net::UnixListener::bind(&path).expect("a socket"));
    drop(Socket::bind_for_all(&path).await.expect("replaced"));
    std::fs::write(&path, "").expect("a file");
    assert!(Socket::bind_for_all(&path).await.is_err(), "what is no socket is left alone");
    std::fs::remove_file(&path).expect("removed");
    std::os::unix::fs::symlink("/dev/null", &path).expect("a link");
    assert!(Socket::bind_for_all(&path).await.is_err(), "nor is a link followed");
    std::fs::remove_file(&path).expect("removed");
    for open in [0o777, 0o775, 0o757, 0o1777] {
        set(&folder, open);
        let refused = Socket::bind_for_all(&path).await;
        assert!(matches!(refused, Err(SocketError::Folder(_))), "{open:o}");
    }
    set(&folder, 0o755);
    // Whoever may rename the folder may put another in its place.
    set(above.path(), 0o777);
    assert!(matches!(Socket::bind_for_all(&path).await, Err(SocketError::Folder(_))));
    set(above.path(), 0o1777);
    drop(Socket::bind_for_all(&path).await.expect("a sticky one above will do"));
}
