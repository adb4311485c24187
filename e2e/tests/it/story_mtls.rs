//! Agents prove to each other who they are, over the real binary and the library: both sides ours, and on
//! the other side OpenSSL and Python's `ssl`. What is ended loses its open connections, and its sibling
//! works on.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use accredit::mtls::{Authority, Ended, Mtls, Peers, Stream, Unfit, X509Source};
use accredit::{Agent, Secret, Verifier};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::stage::binary::is_there;
use crate::stage::cast::{Cast, Client, text};
use crate::stage::server::free_port;
use crate::stage::{FOLLOWS_WITHIN, until};
use crate::story_revoked_certificates::{Holder, SAYS_WITHIN, holder};

#[path = "../../../crates/sdk/examples/two_agents.rs"]
#[expect(dead_code, reason = "what only the example itself does")]
mod two_agents;

use two_agents::{Handing, instance, serve};

const STARTS_WITHIN: Duration = Duration::from_secs(20);

/// A server, what follows it, and two agents with instances.
struct Stage {
    cast: Cast,
    verifier: Verifier,
    planner: String,
    worker: String,
}

impl Stage {
    async fn new() -> Self {
        let cast = Cast::new().await;
        let verifier = cast.connected().await;
        let planner = cast.bare_agent("planner").await;
        let worker = cast.bare_agent("worker").await;
        Self { cast, verifier, planner, worker }
    }

    /// An instance of an agent, and what it talks with to instances of another.
    async fn instance(&self, agent: &str, peers: Peers) -> (Client, Mtls) {
        let client = self.cast.instance_of(agent).await;
        let held = (&*client.agent, Secret::new(client.secret.clone()));
        let at = (&*self.cast.server.issuer, &self.verifier);
        let mtls = instance(at, held, peers).await.expect("an instance");
        (client, mtls)
    }

    /// The same, with its certificate in files for other programs.
    async fn holder(&self, agent: &str, name: &str) -> Holder {
        holder(&self.cast.server, self.cast.instance_of(agent).await, name)
    }

    fn bundle(&self) -> String {
        let file = self.cast.server.folder().file("bundle.pem");
        std::fs::write(&file, self.cast.server.cli(&["ca", "bundle"]).good()).expect("written");
        file
    }
}

async fn listening() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let at = listener.local_addr().expect("an address");
    (listener, at)
}

/// What ends a connection that somebody reads from.
async fn ended(stream: &mut Stream<TcpStream>, within: Duration) -> Ended {
    let mut rest = Vec::new();
    let read = tokio::time::timeout(within, stream.read_to_end(&mut rest)).await;
    let error = read.expect("it ends in time").expect_err("it does not end well");
    Ended::of(&error).unwrap_or_else(|| panic!("{error:?}")).clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_agents_authenticate_each_other_before_a_task_flows_and_a_kill_closes_what_is_open() {
    let stage = Stage::new().await;
    let server = &stage.cast.server;
    let (_, worker) = stage.instance(&stage.worker, Peers::agent("planner")).await;
    let (dying, planner) = stage.instance(&stage.planner, Peers::agent("worker")).await;
    let (_, sibling) = stage.instance(&stage.planner, Peers::agent("worker")).await;
    let (_, stranger) = stage.instance(&stage.worker, Peers::agent("worker")).await;
    let (listener, at) = listening().await;
    tokio::spawn(serve(listener, worker));
    let mut hands = Handing::begin(&planner, at).await.expect("connected");
    let mut siblings = Handing::begin(&sibling, at).await.expect("connected");
    assert!(hands.peer.spiffe_id().contains("/agent/worker/instance/ins_"), "{:?}", hands.peer);
    for handing in [&mut hands, &mut siblings] {
        assert_eq!(handing.hand("count").await.expect("done"), "count: done for planner");
    }
    // An instance of ours that is not expected there gets no answer.
    let refused = async {
        match Handing::begin(&stranger, at).await {
            Ok(mut handing) => handing.hand("count").await.map(drop),
            Err(error) => Err(error),
        }
    };
    refused.await.expect_err("a worker is no planner");

    server.revoke(&dying.id).await;
    let took = until("its connection is closed", FOLLOWS_WITHIN, async || {
        hands.hand("count").await.is_err()
    });
    println!("an open connection was closed {:?} after a kill", took.await);
    Handing::begin(&planner, at).await.err().expect("nor does it get another");
    assert_eq!(siblings.hand("count").await.expect("done"), "count: done for planner");
    Handing::begin(&sibling, at).await.expect("and new ones are made");
}

/// Connects one to the other: the client's end and the server's.
async fn connected(client: &Mtls, server: &Mtls) -> (Stream<TcpStream>, Stream<TcpStream>) {
    let (listener, at) = listening().await;
    let connect = async { client.connect(TcpStream::connect(at).await.expect("there")).await };
    let accept = async { server.accept(listener.accept().await.expect("one").0).await };
    let (here, there) = tokio::join!(connect, accept);
    (here.expect("connected"), there.expect("accepted"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_a_certificate_hangs_on_ends_its_open_connection_and_no_other() {
    let stage = Stage::new().await;
    let server = &stage.cast.server;
    let (_, worker) = stage.instance(&stage.worker, Peers::trust_domain()).await;
    let (_, sibling) = stage.instance(&stage.planner, Peers::agent("worker")).await;
    let (mut here, mut there) = connected(&sibling, &worker).await;
    for what in ["instance", "credential", "certificate", "task", "agent", "owner"] {
        // An agent of its own, with an owner of its own.
        let agent = stage.cast.bare_agent(&format!("by-{what}")).await;
        let owner = server.get(&format!("/v1/agents/{agent}")).await;
        let client = stage.cast.instance_of(&agent).await;
        let task = server.post("/v1/tasks", json!({"agent": agent, "purpose": "a story"})).await;
        let task = text(&task, "id");
        let own = Agent::new(&server.issuer, &client.agent, Secret::new(client.secret.clone()));
        let own = own.expect("an agent").in_task(task.parse().expect("a task"));
        let own = X509Source::begin(own).await.expect("a certificate");
        let authority = Authority::connect(&stage.verifier, &own.trust_domain()).await;
        let mtls = Mtls::new(own, authority.expect("an authority"), Peers::agent("worker"));
        let (_dying, mut at) = connected(&mtls, &worker).await;
        let listed = server.get(&format!("/v1/certificates?instance={}", client.id)).await;
        let target = match what {
            "instance" => client.id,
            "credential" => client.credential,
            "certificate" => text(&listed["items"][0], "id"),
            "task" => task,
            "agent" => client.agent,
            _ => text(&owner, "owner"),
        };
        server.revoke(&target).await;
        let began = std::time::Instant::now();
        assert_eq!(ended(&mut at, SAYS_WITHIN).await, Ended::Peer(Unfit::Revoked), "{what}");
        println!("by its {what}: closed after {:?}", began.elapsed());
        here.write_all(b"task").await.expect("written");
        here.flush().await.expect("sent");
        let mut read = [0; 4];
        there.read_exact(&mut read).await.expect("read");
        assert_eq!(&read, b"task");
    }
    // What signed all of them ends all of them, and everybody gets another by itself.
    let ca = server.get("/v1/ca").await;
    server.revoke(&text(&ca["intermediates"][0], "id")).await;
    // It has no list any more, and a few seconds later its root's says that it was revoked.
    let (Ended::Peer(why) | Ended::Own(why)) = ended(&mut there, SAYS_WITHIN).await;
    assert!(matches!(why, Unfit::Revoked | Unfit::Unlisted), "{why:?}");
    until("they are connected again", 2 * SAYS_WITHIN, async || {
        let (listener, at) = listening().await;
        let connect = async { sibling.connect(TcpStream::connect(at).await.expect("there")).await };
        let accept = async { worker.accept(listener.accept().await.expect("one").0).await };
        let (here, there) = tokio::join!(connect, accept);
        here.is_ok() && there.is_ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_organizations_instances_are_strangers() {
    let stage = Stage::new().await;
    let (_, worker) = stage.instance(&stage.worker, Peers::trust_domain()).await;
    let abroad = Stage::new().await;
    let (_, planner) = abroad.instance(&abroad.planner, Peers::trust_domain()).await;
    let (listener, at) = listening().await;
    let connect = async { planner.connect(TcpStream::connect(at).await.expect("there")).await };
    let accept = async { worker.accept(listener.accept().await.expect("one").0).await };
    let (here, there) = tokio::join!(connect, accept);
    assert!(here.is_err() && there.is_err(), "two installations of one name are two");
    // Nor is one of ours anything to whoever trusts another domain, whatever is configured.
    let client = stage.cast.instance_of(&stage.planner).await;
    let agent = Agent::new(&stage.cast.server.issuer, &client.agent, Secret::new(client.secret));
    let own = X509Source::begin(agent.expect("an agent")).await.expect("a certificate");
    let elsewhere = Authority::connect(&stage.verifier, "elsewhere.example").await;
    let planner = Mtls::new(own, elsewhere.expect("an authority"), Peers::trust_domain());
    let (listener, at) = listening().await;
    let connect = async { planner.connect(TcpStream::connect(at).await.expect("there")).await };
    let accept = async { worker.accept(listener.accept().await.expect("one").0).await };
    let (here, _) = tokio::join!(connect, accept);
    let why = here.expect_err("refused").to_string();
    assert!(why.contains("no instance of the expected trust domain"), "{why}");
}

/// A program on the other side, whose lines are read; ended when nobody needs it.
struct Program(Child);

impl Program {
    fn start(program: &str, args: &[&str]) -> Self {
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        Self(command.spawn().expect("it runs"))
    }

    fn write(&mut self, line: &str) {
        let input = self.0.stdin.as_mut().expect("its input");
        input.write_all(format!("{line}\n").as_bytes()).expect("written");
    }

    /// The next line that it writes.
    async fn line(&mut self) -> String {
        let output = self.0.stdout.take().expect("its output");
        let read = tokio::task::spawn_blocking(move || {
            let (mut reader, mut line) = (BufReader::new(output), String::new());
            let read = reader.read_line(&mut line);
            (reader.into_inner(), read.map(|_| line.trim().to_owned()))
        });
        let read = tokio::time::timeout(STARTS_WITHIN, read).await.expect("in time");
        let (output, line) = read.expect("no panic");
        self.0.stdout = Some(output);
        line.expect("a line")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Takes one connection, sends back what comes, and then says how it ends.
async fn echo(worker: &Mtls, listener: &TcpListener) -> Stream<TcpStream> {
    let (io, _) = listener.accept().await.expect("one");
    let mut stream = worker.accept(io).await.expect("a peer");
    let mut line = [0; 5];
    stream.read_exact(&mut line).await.expect("a line");
    stream.write_all(&line).await.expect("written");
    stream.flush().await.expect("sent");
    stream
}

/// Connects, and whatever it sends comes back.
const PYTHON_CLIENT: &str = r#"
import socket, ssl, sys
port, cert, key, bundle = sys.argv[1:]
context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=bundle)
context.check_hostname = False
context.verify_flags |= ssl.VERIFY_X509_STRICT
context.load_cert_chain(cert, key)
with socket.create_connection(("127.0.0.1", int(port))) as plain:
    with context.wrap_socket(plain, suppress_ragged_eofs=False) as tls:
        names = dict(tls.getpeercert()["subjectAltName"])
        tls.sendall(b"task\n")
        print(tls.recv(5).decode().strip(), names["URI"], flush=True)
        try:
            rest = tls.recv(5)
            print("ended well" if rest == b"" else "more", flush=True)
        except (ssl.SSLError, ConnectionError) as error:
            print("cut off", flush=True)
"#;

/// Takes one connection, and turns a line around.
const PYTHON_SERVER: &str = r#"
import socket, ssl, sys
port, cert, key, bundle = sys.argv[1:]
context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=bundle)
context.verify_mode = ssl.CERT_REQUIRED
context.load_cert_chain(cert, key)
with socket.create_server(("127.0.0.1", int(port))) as listener:
    print("listens", flush=True)
    while True:
        plain, _ = listener.accept()
        with context.wrap_socket(plain, server_side=True) as tls:
            tls.sendall(tls.recv(5).strip()[::-1] + b"\n")
            tls.recv(1)
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_programs_are_peers_by_their_certificates_and_a_kill_closes_on_them() {
    if !is_there("openssl") || !is_there("python3") {
        return;
    }
    let stage = Stage::new().await;
    let (server, bundle) = (&stage.cast.server, stage.bundle());
    let (_, worker) = stage.instance(&stage.worker, Peers::agent("planner")).await;
    let (_, planner) = stage.instance(&stage.planner, Peers::agent("worker")).await;

    // They are clients.
    let (listener, at) = listening().await;
    let port = at.port().to_string();
    let holder = stage.holder(&stage.planner, "client").await;
    let args = ["-c", PYTHON_CLIENT, &port, &holder.chain, &holder.key, &bundle];
    let mut python = Program::start("python3", &args);
    let mut stream = echo(&worker, &listener).await;
    assert_eq!(stream.peer().agent(), "planner");
    let said = python.line().await;
    assert!(said.starts_with("task spiffe://") && said.contains("/agent/worker/"), "{said}");
    server.revoke(&holder.client.id).await;
    assert_eq!(ended(&mut stream, FOLLOWS_WITHIN).await, Ended::Peer(Unfit::Revoked));
    assert_eq!(python.line().await, "cut off");

    let holder = stage.holder(&stage.planner, "openssl").await;
    let address = at.to_string();
    let shows = ["-cert", &*holder.leaf, "-key", &*holder.key, "-cert_chain", &*holder.issuer];
    let to = ["s_client", "-quiet", "-connect", &*address, "-CAfile", &*bundle];
    let strict = ["-verify_return_error", "-x509_strict"];
    let mut openssl = Program::start("openssl", &[&to[..], &strict, &shows].concat());
    openssl.write("task");
    let mut stream = echo(&worker, &listener).await;
    assert_eq!(openssl.line().await, "task");
    server.revoke(&holder.client.id).await;
    assert_eq!(ended(&mut stream, FOLLOWS_WITHIN).await, Ended::Peer(Unfit::Revoked));
    // Without a certificate there is no connection.
    let nobody = Program::start("openssl", &to);
    let (io, _) = listener.accept().await.expect("one");
    assert!(worker.accept(io).await.is_err());
    drop(nobody);

    // They are servers.
    let holder = stage.holder(&stage.worker, "server").await;
    let port = free_port();
    let ports = port.to_string();
    let args = ["-c", PYTHON_SERVER, &ports, &holder.chain, &holder.key, &bundle];
    let mut python = Program::start("python3", &args);
    assert_eq!(python.line().await, "listens");
    turned(&planner, port).await;
    drop(python);

    let port = free_port();
    let ports = port.to_string();
    let shows = ["-cert", &*holder.leaf, "-key", &*holder.key, "-cert_chain", &*holder.issuer];
    let asks = ["s_server", "-rev", "-accept", &*ports, "-CAfile", &*bundle, "-Verify", "2"];
    let _openssl = Program::start("openssl", &[&asks[..], &strict, &shows].concat());
    let listens = async || TcpStream::connect(("127.0.0.1", port)).await.is_ok();
    until("openssl listens", STARTS_WITHIN, listens).await;
    let mut stream = turned(&planner, port).await;
    server.revoke(&holder.client.id).await;
    assert_eq!(ended(&mut stream, FOLLOWS_WITHIN).await, Ended::Peer(Unfit::Revoked));
}

/// A connection to a server that turns lines around.
async fn turned(planner: &Mtls, port: u16) -> Stream<TcpStream> {
    let io = TcpStream::connect(("127.0.0.1", port)).await.expect("there");
    let mut stream = planner.connect(io).await.expect("connected");
    assert_eq!(stream.peer().agent(), "worker");
    stream.write_all(b"task\n").await.expect("written");
    stream.flush().await.expect("sent");
    let mut line = [0; 4];
    stream.read_exact(&mut line).await.expect("a line");
    assert_eq!(&line, b"ksat");
    stream
}
