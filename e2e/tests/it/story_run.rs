//! A process with an instance of its own and no secret: what it finds, what others find at its socket, and
//! how both end.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::stage::cast::text;
use crate::stage::{Cast, Server, binary, until};

/// How long something of another process may take on a loaded machine.
const SOON: Duration = Duration::from_secs(30);

/// How long what was ended may be given on: 20 seconds, and what a loaded machine needs.
const GIVEN_ON_MAX: Duration = Duration::from_secs(25);

/// An agent as anybody writes one: it knows HTTP and nothing of ours. It asks what it reads, a JSON array
/// of method, path, body and headers for each line, and says how each was answered.
const AGENT: &str = r#"
import http.client, json, os, signal, socket, sys

class Local(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(20)
        self.sock.connect(os.environ["ACCREDIT_SOCKET"])

def ask(method, path, body=None, headers={"workload.spiffe.io": "true"}):
    try:
        local = Local("localhost")
        local.request(method, path, body, headers)
        answer = local.getresponse()
        return [answer.status, json.loads(answer.read()), dict(answer.getheaders())]
    except OSError as error:
        return [0, {"error": type(error).__name__}, {}]

def told(number, frame):
    print(json.dumps(["signal", number]), flush=True)
    sys.exit(40 + number)

for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
    signal.signal(number, told)
print(json.dumps([os.getpid(), dict(os.environ)]), flush=True)
for line in sys.stdin:
    print(json.dumps(ask(*json.loads(line))), flush=True)
sys.exit(7)
"#;

/// The same, as the grandchild of a process that is over: an orphan in a session of its own.
const ORPHAN: &str = "import os, sys\n\
                      if os.fork(): os.wait(); sys.exit(0)\n\
                      os.setsid()\n\
                      if os.fork(): os._exit(0)\n";

/// `accredit run`, and the conversation with what it runs.
struct Run {
    child: Child,
    to: Option<ChildStdin>,
    from: BufReader<ChildStdout>,
    /// What the agent found in its environment.
    environment: Value,
}

impl Run {
    fn new(server: &Server, words: &[&str]) -> Self {
        Self::of(server.command(&[&["run", "--agent", "planner", "--"], words].concat()))
    }

    fn of(mut command: Command) -> Self {
        command.env("PATH", std::env::var_os("PATH").expect("a path"));
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = piped.spawn().expect("the binary runs");
        let (to, from) = (child.stdin.take(), child.stdout.take().expect("its output"));
        let mut run = Self { child, to, from: BufReader::new(from), environment: Value::Null };
        run.environment = run.hears()[1].clone();
        run
    }

    fn hears(&mut self) -> Value {
        let mut line = String::new();
        self.from.read_line(&mut line).expect("a line");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    /// What the socket answers the agent: status, body, headers.
    fn asks(&mut self, question: &Value) -> (u64, Value, Value) {
        writeln!(self.to.as_mut().expect("its input"), "{question}").expect("written");
        let answer = self.hears();
        (answer[0].as_u64().expect("a status"), answer[1].clone(), answer[2].clone())
    }

    fn gets(&mut self, path: &str) -> (u64, Value, Value) {
        self.asks(&json!(["GET", path]))
    }

    fn socket(&self) -> String {
        text(&self.environment, "ACCREDIT_SOCKET")
    }

    /// Lets it come to its own end; its exit code.
    fn ends(mut self) -> Option<i32> {
        drop(self.to.take());
        self.child.wait().expect("ended").code()
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn instances(server: &Server) -> Vec<(String, String)> {
    let listed = server.cli_json(&["instance", "list", "--agent", "planner"]);
    let rows = listed["items"].as_array().expect("items").iter();
    rows.map(|row| (text(row, "id"), text(row, "state"))).collect()
}

/// The one instance that there is.
fn instance(server: &Server, state: &str) -> String {
    let all = instances(server);
    assert!(matches!(&all[..], [(_, is)] if is == state), "{all:?}");
    all[0].0.clone()
}

/// What a stranger is answered at a socket.
fn stranger(socket: &str, more: &[&str]) -> String {
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--max-time", "20", "--unix-socket", socket, "http://localhost/token"]);
    binary::run({
        curl.args(more);
        curl
    })
    .out
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_has_an_instance_and_no_secret_and_both_end_together() {
    let cast = Cast::new().await;
    let server = &cast.server;
    cast.bare_agent("planner").await;
    let mut run = Run::new(server, &["python3", "-c", AGENT]);
    let id = instance(server, "active");

    // Nothing of what the administrator's command was started with, and nothing else that is one of ours.
    let shown = run.environment.to_string();
    assert!(!shown.contains("acr_") && !shown.contains(&server.admin), "a secret: {shown}");
    assert!(run.environment.get("ACCREDIT_TOKEN").is_none());
    let socket = run.socket();
    assert_eq!(text(&run.environment, "SPIFFE_ENDPOINT_SOCKET"), format!("unix://{socket}"));

    let (status, said, _) = run.gets("/status");
    assert_eq!((status, text(&said, "standing")), (200, "live".into()));
    assert!(text(&said, "spiffe_id").ends_with(&format!("/agent/planner/instance/{id}")));

    // A plain token, which the server knows, of this instance.
    let (status, got, headers) = run.gets("/token?scope=crm:read&token_type=bearer");
    assert_eq!((status, text(&got, "token_type")), (200, "Bearer".into()), "{got}");
    assert_eq!(text(&headers, "cache-control"), "no-store");
    let plain = text(&got, "access_token");
    assert!(server.is_active(&plain).await);
    let payload = plain.split('.').nth(1).expect("a payload");
    let payload = accredit_wire::jose::b64url_decode(payload).expect("base64url");
    let payload: Value = serde_json::from_slice(&payload).expect("JSON");
    assert_eq!(text(&payload["accredit"], "ins"), id);

    // A bound one with a proof that a resource takes, once, and for this request alone.
    let (_, got, _) = run.gets("/token?resource=https%3A%2F%2Fcrm.example%2F");
    assert_eq!(text(&got, "token_type"), "DPoP", "{got}");
    let bound = text(&got, "access_token");
    let url = "https://crm.example/customers";
    let asked = json!({"method": "GET", "url": url, "access_token": bound}).to_string();
    let (status, got, _) = run.asks(&json!(["POST", "/proof", asked]));
    assert_eq!(status, 200, "{got}");
    let verifier = cast.connected().await;
    let head = |url: &str, proof: &str| {
        let request =
            axum::http::Request::get(url).header("authorization", format!("DPoP {bound}"));
        request.header("dpop", proof).body(()).expect("a request").into_parts().0
    };
    let proof = text(&got, "proof");
    let other = verifier.verify_request(&head("https://crm.example/other", &proof)).await;
    assert!(other.is_err(), "a proof for another request");
    let principal = verifier.verify_request(&head(url, &proof)).await.expect("taken");
    assert_eq!(principal.client_id().to_string(), text(&payload, "client_id"));

    // Whoever did not mean to ask is told so, whoever is no descendant is nobody.
    let (status, said, _) = run.asks(&json!(["GET", "/token", null, {}]));
    assert_eq!((status, text(&said, "rule")), (400, "edge-header".into()));
    for wrong in ["/token?scope=crm:read&scope=x", "/token?secret=x", "/token?token_type=mac"] {
        assert_eq!(run.gets(wrong).0, 400, "{wrong}");
    }
    assert_eq!(run.gets("/../etc/passwd").0, 404);
    for wrong in ["{", "{}", r#"{"method":"GET","url":"x","access_token":"y"}"#] {
        assert_eq!(run.asks(&json!(["POST", "/proof", wrong])).0, 400, "{wrong}");
    }
    let denied = stranger(&socket, &["-H", "workload.spiffe.io: true"]);
    assert!(denied.contains("edge-no-identity") && !denied.contains("access_token"), "{denied}");
    assert!(stranger(&socket, &[]).contains("edge-header"));
    let more = run.gets("/token?scope=crm:update+vault:read");
    assert!([400, 403].contains(&more.0), "what the agent does not hold: {more:?}");

    assert_eq!(run.ends(), Some(7), "the command's own code");
    assert_eq!(instance(server, "revoked"), id);
    assert!(!server.is_active(&plain).await);
    assert!(!std::path::Path::new(&socket).exists());
    let export = server.folder().file("log.ndjson");
    server.cli(&["audit", "export", "-o", &export, "--output", "json"]).good();
    let log = std::fs::read_to_string(&export).expect("an export");
    assert!(log.contains("its command is over"), "why it ended is in the log");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn descendants_share_the_instance_and_another_runs_do_not() {
    let cast = Cast::new().await;
    let server = &cast.server;
    cast.bare_agent("planner").await;
    let mut shell = Run::new(server, &["sh", "-c", &format!("python3 -c '{AGENT}'; exit $?")]);
    let orphan = format!("{ORPHAN}{AGENT}");
    let mut orphan = Run::new(server, &["sh", "-c", &format!("python3 -c '{orphan}'; sleep 600")]);
    let ids = |run: &mut Run| text(&run.gets("/status").1, "spiffe_id");
    let (one, two) = (ids(&mut shell), ids(&mut orphan));
    assert_ne!(one, two, "each run has its own");
    assert_eq!(instances(server).len(), 2);
    // One run is a stranger at the socket of another.
    let to = orphan.socket();
    let ask = "curl -sS --unix-socket $0 -H workload.spiffe.io:true http://localhost/token";
    let words = ["run", "--agent", "planner", "--", "sh", "-c", ask, &to];
    let mut third = server.command(&words);
    third.env("PATH", std::env::var_os("PATH").expect("a path"));
    let said = binary::run(third);
    assert!(said.out.contains("edge-no-identity"), "{said:?}");
    assert_eq!(shell.ends(), Some(7));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signals_reach_the_command_and_its_end_is_told() {
    let cast = Cast::new().await;
    let server = &cast.server;
    cast.bare_agent("planner").await;
    for (name, number) in [("-TERM", 15), ("-HUP", 1), ("-USR1", 10)] {
        let mut run = Run::new(server, &["python3", "-c", AGENT]);
        let told = Command::new("kill").args([name, &run.child.id().to_string()]).status();
        assert!(told.expect("kill runs").success());
        assert_eq!(run.hears(), json!(["signal", number]));
        assert_eq!(run.child.wait().expect("ended").code(), Some(40 + number));
    }
    assert!(instances(server).iter().all(|(_, state)| state == "revoked"));
    // A command that a signal ended, and one that there is not.
    let ran = server.cli(&["run", "--agent", "planner", "--", "/bin/sh", "-c", "kill -KILL $$"]);
    assert_eq!(ran.code, 128 + 9, "{ran:?}");
    let none = server.cli(&["run", "--agent", "planner", "--", "/no/such"]);
    assert_eq!(none.code, 3, "{none:?}");
    let nobody = server.cli(&["run", "--agent", "nobody", "--", "/bin/true"]);
    assert_eq!(nobody.code, 3, "{nobody:?}");
    // What stands behind `--` is another program's.
    let ran = server.cli(&["run", "--agent", "planner", "--", "/bin/echo", "--token", "x"]);
    assert_eq!(ran.good(), "--token x\n");
    assert!(instances(server).iter().all(|(_, state)| state == "revoked"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_ends_what_is_given_out_and_an_outage_does_not() {
    let cast = Cast::new().await;
    cast.bare_agent("planner").await;
    let mut run = Run::new(&cast.server, &["python3", "-c", AGENT]);
    let first = run.gets("/token?scope=crm:read&token_type=bearer");
    assert_eq!(first.0, 200, "{first:?}");

    // The server is away: what was got is given on, and it is said that it is from before.
    let mut server = cast.server;
    server.kill();
    let unknown = run.gets("/token?scope=crm:update&token_type=bearer");
    assert_eq!((unknown.0, text(&unknown.1, "rule")), (503, "edge-server-silent".into()));
    let (status, again, headers) = run.gets("/token?scope=crm:read&token_type=bearer");
    assert_eq!((status, &again["access_token"]), (200, &first.1["access_token"]));
    assert!(headers.get("accredit-server-silent-for").is_some(), "{headers}");
    let said = run.gets("/status").1;
    assert_eq!(text(&said, "standing"), "live");
    assert!(said["server_silent_for"].is_u64(), "{said}");

    // It is back, and the instance is ended: nothing is given on any more.
    let server = server.again().await;
    let id = instance(&server, "active");
    server.revoke(&id).await;
    let refused = run.gets("/token?scope=crm:update&token_type=bearer");
    assert_eq!(refused.0, 403, "{refused:?}");
    until("what was got before is not given on", SOON, async || {
        run.gets("/token?scope=crm:read&token_type=bearer").0 == 403
    })
    .await;
    assert_eq!(text(&run.gets("/status").1, "standing"), "refused");
    assert_eq!(run.ends(), Some(7), "the process goes on and ends as it likes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_ended_is_given_on_for_seconds_though_nobody_asks_the_server() {
    const CACHED: &str = "/token?scope=crm:read&token_type=bearer";
    let cast = Cast::new().await;
    cast.bare_agent("planner").await;
    let run = || Run::new(&cast.server, &["python3", "-c", AGENT]);
    let (mut one, mut two) = (run(), run());
    let id = |run: &mut Run| {
        let id = text(&run.gets("/status").1, "spiffe_id");
        id.rsplit('/').next().expect("an id").to_owned()
    };
    let (first, second) = (id(&mut one), id(&mut two));
    let kept = two.gets(CACHED).1;
    assert_eq!(one.gets(CACHED).0, 200);
    cast.server.revoke(&first).await;
    until("what was got before is not given on", GIVEN_ON_MAX, async || one.gets(CACHED).0 == 403)
        .await;
    assert_eq!(text(&one.gets("/status").1, "standing"), "refused");
    // Whose agent was only narrowed has lost what it had, and gets its own anew.
    assert_eq!(two.gets(CACHED).1["access_token"], kept["access_token"], "its sibling goes on");
    let body = json!({"owner_email": "another@example.com"});
    assert_eq!(cast.server.api("PATCH", "/v1/agents/planner", body).await.status, 200);
    until("it has another token", GIVEN_ON_MAX, async || {
        let (status, got, _) = two.gets(CACHED);
        status == 200 && got["access_token"] != kept["access_token"]
    })
    .await;
    until("it is live again", SOON, async || text(&two.gets("/status").1, "standing") == "live")
        .await;
    assert_eq!(id(&mut two), second);

    // The server is away: nobody asks it, and it is said all the same.
    let kept = two.gets(CACHED).1;
    let mut server = cast.server;
    server.kill();
    until("it is said", GIVEN_ON_MAX, async || two.gets("/status").1["server_silent_for"].is_u64())
        .await;
    let (status, got, headers) = two.gets(CACHED);
    assert_eq!((status, &got["access_token"]), (200, &kept["access_token"]));
    assert!(headers.get("accredit-server-silent-for").is_some(), "{headers}");
    let _server = server.again().await;
    until("it is not said any more", SOON, async || {
        two.gets("/status").1["server_silent_for"].is_null()
    })
    .await;
    assert_eq!(text(&two.gets("/status").1, "standing"), "live");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_runs_another_with_its_own_secret() {
    let cast = Cast::new().await;
    let server = &cast.server;
    let parent = cast.agent("orchestrator").await;
    let planner = cast.bare_agent("planner").await;
    let body = json!({"name": "planning", "audience": "https://planning.example/",
        "actions": ["spawn"], "agent": planner});
    server.post("/v1/resources", body).await;
    for (method, path, body) in [
        ("PUT", "/v1/agents/orchestrator/permissions/planning", json!({"actions": ["spawn"]})),
        ("PATCH", "/v1/agents/orchestrator", json!({"may_delegate": true})),
    ] {
        let answer = server.api(method, path, body).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let body = json!({"agent": "orchestrator", "purpose": "a story", "expires_in": 600});
    let task = text(&server.post("/v1/tasks", body).await, "id");
    let secret = server.folder().file("orchestrator.secret");
    std::fs::write(&secret, &parent.secret).expect("written");
    let words =
        ["run", "--agent", "planner", "--client-id", &parent.agent, "--secret-file", &secret];
    let for_task = ["--org", &server.org, "--task", &task, "--allow", "crm:read", "--"];
    let words = [&words[..], &for_task, &["python3", "-c", AGENT]].concat();
    let mut command = server.command(&words);
    command.env_remove("ACCREDIT_TOKEN");
    let mut run = Run::of(command);
    let (status, got, _) = run.gets("/token?scope=crm:read&token_type=bearer");
    assert_eq!(status, 200, "{got}");
    let token = text(&got, "access_token");
    assert!(server.is_active(&token).await);
    let more = run.gets("/token?scope=crm:update&token_type=bearer");
    assert!([400, 403].contains(&more.0), "what was not passed on: {more:?}");
    assert_eq!(run.ends(), Some(7));
    assert!(!server.is_active(&token).await);
}
