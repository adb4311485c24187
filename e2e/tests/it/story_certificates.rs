//! Two instances know each other by certificates that OpenSSL checks, one by a request of OpenSSL's own
//! and one by the command line; a kill of one is told, and it gets no more of them.

use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::stage::binary::{self, Ran, is_there};
use crate::stage::cast::{Client, text};
use crate::stage::server::{Folder, free_port, init_at};
use crate::stage::{Ask, Cast, Server, until};

/// What an agent asks for that is not its own to have.
const GREEDY: [&str; 6] = [
    "-subj",
    "/CN=evil.example",
    "-addext",
    "subjectAltName=DNS:evil.example,URI:spiffe://evil.example/agent/a/instance/b",
    "-addext",
    "basicConstraints=critical,CA:TRUE",
];

fn openssl(args: &[&str]) -> Ran {
    let mut command = Command::new("openssl");
    command.args(args).stdin(Stdio::null());
    binary::run(command)
}

/// A TLS server of OpenSSL's that wants its clients' certificates; ended when nobody needs it.
struct Peer(Child, u16);

impl Peer {
    fn new(args: &[&str]) -> Self {
        let port = free_port();
        let child = Command::new("openssl")
            .args(["s_server", "-accept", &format!("127.0.0.1:{port}"), "-quiet"])
            .args(["-Verify", "3", "-verify_return_error"])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Self(child.expect("openssl runs"), port)
    }

    /// What a client came to, once the server listens.
    async fn meets(&self, args: &[&str]) -> Ran {
        let listens = async || tokio::net::TcpStream::connect(("127.0.0.1", self.1)).await.is_ok();
        until("a TLS server listens", Duration::from_secs(20), listens).await;
        let address = format!("127.0.0.1:{}", self.1);
        let connect = ["s_client", "-connect", &address, "-verify_return_error", "-verify", "3"];
        openssl(&[&connect[..], args].concat())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The secret of an instance in a file, as a command reads it.
fn secret_file(server: &Server, client: &Client, name: &str) -> String {
    let file = server.folder().file(name);
    std::fs::write(&file, &client.secret).expect("written");
    file
}

/// The words with which an instance asks for a certificate.
fn issue<'a>(server: &'a Server, client: &'a Client, files: [&'a str; 3]) -> Vec<&'a str> {
    let [secret, key, certificate] = files;
    let who = ["--org", &*server.org, "--client-id", &*client.agent, "--secret-file", secret];
    let to = ["--key", key, "--certificate", certificate];
    [&["certificate", "issue"][..], &who, &to].concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_instances_know_each_other_and_a_kill_ends_one() {
    if !is_there("openssl") {
        return;
    }
    let cast = Cast::new().await;
    let server = &cast.server;
    let agent = cast.bare_agent("planner").await;
    let (one, two) = (cast.instance_of(&agent).await, cast.instance_of(&agent).await);
    let file = |name: &str| server.folder().file(name);
    let (bundle, own_key, own_csr, own) =
        (file("bundle.pem"), file("own.key"), file("own.csr"), file("own.pem"));

    // OpenSSL's own request, which asks for much, by HTTP.
    let new = ["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
    let out = ["-keyout", &own_key, "-out", &own_csr];
    openssl(&[&new[..], &GREEDY, &out].concat()).good();
    let csr = std::fs::read_to_string(&own_csr).expect("a request");
    let ask = Ask::form(&server.at("/oauth/certificates"), &[("csr", &csr)]);
    let answer = server.send(ask.basic(&one.agent, &one.secret)).await;
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let issued = answer.good();
    std::fs::write(&own, text(&issued, "certificate")).expect("written");
    let shown = openssl(&["x509", "-in", &own, "-noout", "-text"]).good();
    for has in [&*text(&issued, "spiffe_id"), "CA:FALSE", "TLS Web Client", "TLS Web Server"] {
        assert!(shown.contains(has), "{has}: {shown}");
    }
    for lacks in ["evil.example", "CA:TRUE", "DNS:"] {
        assert!(!shown.contains(lacks), "{lacks}: {shown}");
    }

    // The command line's, whose key is in a file of its owner's alone.
    let (key, certificate) = (file("key.pem"), file("certificate.pem"));
    let secret = secret_file(server, &two, "two.secret");
    let words = issue(server, &two, [&secret, &key, &certificate]);
    let told = server.cli_json(&words);
    let second = text(&told, "id");
    let mode = std::fs::metadata(&key).expect("a key").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let private = std::fs::read_to_string(&key).expect("a key");
    let private = private.lines().nth(1).expect("a line of it").to_owned();
    assert!(!told.to_string().contains(&private));

    // A stock verifier, strictly, for both purposes.
    std::fs::write(&bundle, server.cli(&["ca", "bundle"]).good()).expect("written");
    for chain in [&own, &certificate] {
        for purpose in ["sslclient", "sslserver"] {
            let by = ["verify", "-x509_strict", "-purpose", purpose, "-CAfile", &bundle];
            openssl(&[&by[..], &["-untrusted", chain, chain]].concat()).good();
        }
    }
    let trusts = ["-CAfile", &bundle];
    let as_two = ["-cert", &certificate, "-cert_chain", &certificate, "-key", &key];
    let as_one = ["-cert", &own, "-cert_chain", &own, "-key", &own_key];
    let peer = Peer::new(&[&as_two[..], &trusts].concat());
    let met = peer.meets(&[&as_one[..], &trusts].concat()).await;
    assert!(met.out.contains("Verify return code: 0 (ok)"), "{met:?}");
    met.good();
    // In TLS 1.2 a client hears of it before it is done.
    let stranger = peer.meets(&[&["-tls1_2"], &trusts[..]].concat()).await;
    assert_ne!(stranger.code, 0, "without a certificate: {stranger:?}");
    let elsewhere = peer.meets(&as_one).await;
    assert_ne!(elsewhere.code, 0, "who trusts nobody's root: {elsewhere:?}");
    drop(peer);

    // Both are listed; a kill of one is told of it, and of nobody else.
    let standing = || {
        let listed = server.cli_json(&["certificate", "list", "--agent", "planner"]);
        let rows = listed["items"].as_array().expect("items").clone();
        rows.into_iter().map(|row| (text(&row, "id"), text(&row, "standing"))).collect::<Vec<_>>()
    };
    let first = text(&issued, "id");
    let both = |one: &str| vec![(first.clone(), "valid".into()), (second.clone(), one.to_owned())];
    assert_eq!(standing(), both("valid"));
    server.cli(&["revoke", &two.id, "--reason", "a story"]).good();
    assert_eq!(standing(), both("revoked"));
    let refused = server.cli(&words);
    assert_eq!(refused.code, 4, "{refused:?}");
    let table = server.cli(&["certificate", "list", "--instance", &two.id]).good();
    assert!(table.contains("revoked") && !table.contains(&first), "{table}");
    let again = Ask::form(&server.at("/oauth/certificates"), &[("csr", &csr)]);
    server.send(again.basic(&one.agent, &one.secret)).await.good();

    // All of it is in the log, and no key is, there or at rest.
    let export = file("log.ndjson");
    server.cli(&["audit", "export", "-o", &export, "--output", "json"]).good();
    let log = std::fs::read_to_string(&export).expect("an export");
    assert_eq!(log.matches("\"type\":\"certificate.issued\"").count(), 3);
    assert!(log.contains(&second) && !log.contains(&private));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_is_certified_by_policy_and_openssl_knows_it_by_that_name_alone() {
    if !is_there("openssl") {
        return;
    }
    let (folder, host) = (Folder::new(), "planner.acme.localhost");
    let founded = init_at(&folder, "http", "localhost");
    let cast = Cast::at(Server::serve(folder, &founded).await, 60).await;
    let server = &cast.server;
    let agent = cast.bare_agent("planner").await;
    let one = cast.instance_of(&agent).await;
    let [secret, key, certificate, bundle] =
        ["one.secret", "key.pem", "certificate.pem", "bundle.pem"]
            .map(|name| server.folder().file(name));
    std::fs::write(&secret, &one.secret).expect("written");
    let words = issue(server, &one, [&secret, &key, &certificate]);
    let named = [&words[..], &["--dns-name", host]].concat();
    let none = server.cli(&named);
    assert!(none.code == 5 && none.err.contains("may not name"), "{none:?}");
    let grant = |names: &[&str]| {
        let names: Vec<&str> = names.iter().flat_map(|name| ["--dns-name", name]).collect();
        server.cli(&[&["agent", "update", "planner"][..], &names].concat())
    };
    for wrong in ["acme.localhost", "localhost", "planner.other.localhost", "*.acme.localhost"] {
        let refused = grant(&[wrong]);
        assert!(refused.code == 2 && refused.err.contains("dns_names"), "{wrong}: {refused:?}");
    }
    grant(&[host, "eu.planner.acme.localhost"]).good();
    let told = server.cli_json(&named);
    assert_eq!(told["dns_names"], serde_json::json!([host]));

    std::fs::write(&bundle, server.cli(&["ca", "bundle"]).good()).expect("written");
    let verify = |name: &str| {
        let by = ["verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", &bundle];
        let of = ["-verify_hostname", name, "-untrusted", &certificate, &certificate];
        openssl(&[&by[..], &of].concat())
    };
    verify(host).good();
    for other in ["eu.planner.acme.localhost", "acme.localhost", "x.planner.acme.localhost"] {
        assert_ne!(verify(other).code, 0, "{other}");
    }
    // One that is taken away ends the certificate.
    grant(&["eu.planner.acme.localhost"]).good();
    let shown = server.cli_json(&["certificate", "get", &text(&told, "id")]);
    assert_eq!(
        (text(&shown, "standing"), &shown["dns_names"]),
        ("revoked".into(), &told["dns_names"])
    );
    assert_eq!(server.cli(&named).code, 5);
    server.cli(&["agent", "update", "planner", "--no-dns-names"]).good();
    assert_eq!(server.cli_json(&["agent", "get", "planner"])["dns_names"], serde_json::json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_and_their_standing_outlast_a_crash() {
    let cast = Cast::new().await;
    let agent = cast.bare_agent("planner").await;
    let (dying, living) = (cast.instance_of(&agent).await, cast.instance_of(&agent).await);
    let mut ids = Vec::new();
    for (client, name) in [(&dying, "dying"), (&living, "living")] {
        let server = &cast.server;
        let file = |ending: &str| server.folder().file(&format!("{name}.{ending}"));
        let secret = secret_file(server, client, &format!("{name}.secret"));
        let told = server.cli_json(&issue(server, client, [&secret, &file("key"), &file("pem")]));
        ids.push(text(&told, "id"));
    }
    cast.server.cli(&["revoke", &dying.id, "--reason", "a story"]).good();
    let mut server = cast.server;
    server.kill();
    let server = server.again().await;
    for (id, expected) in ids.iter().zip(["revoked", "valid"]) {
        let shown = server.cli_json(&["certificate", "get", id]);
        assert_eq!(text(&shown, "standing"), expected);
    }
    let none = server.cli(&["certificate", "get", "tok_00000000000000000000000000"]);
    assert_eq!(none.code, 3, "{none:?}");
}

/// A root of RSA that is kept elsewhere, an authority below it, and what that one signs of ours: OpenSSL
/// believes an instance by the root alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_trusts_a_root_of_their_own_believes_what_is_below_it() {
    if !is_there("openssl") {
        return;
    }
    let cast = Cast::new().await;
    let server = &cast.server;
    let agent = cast.bare_agent("planner").await;
    let one = cast.instance_of(&agent).await;
    let file = |name: &str| server.folder().file(name);
    let [root, root_key, office, office_key, csr] =
        ["root.pem", "root.key", "office.pem", "office.key", "office.csr"].map(file);
    let (next_csr, next, chain) = (file("next.csr"), file("next.pem"), file("chain.pem"));

    let signs = ["-addext", "keyUsage=critical,keyCertSign,cRLSign"];
    let new = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=Acme Root"];
    let out = ["-keyout", &root_key, "-out", &root];
    openssl(&[&new[..], &signs, &out].concat()).good();
    let new = ["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384", "-nodes"];
    let out = ["-subj", "/CN=Acme Office", "-keyout", &office_key, "-out", &csr];
    let ca = ["-addext", "basicConstraints=critical,CA:TRUE"];
    openssl(&[&new[..], &signs, &ca, &out].concat()).good();
    let sign = |request: &str, by: &str, key: &str, to: &str| {
        let words = ["x509", "-req", "-in", request, "-CA", by, "-CAkey", key, "-out", to];
        openssl(&[&words[..], &["-copy_extensions", "copyall", "-days", "30"]].concat()).good();
    };
    sign(&csr, &root, &root_key, &office);

    server.cli(&["ca", "export-csr", "-o", &next_csr]).good();
    sign(&next_csr, &office, &office_key, &next);
    let read = |file: &String| std::fs::read_to_string(file).expect("written");
    // The root is missing.
    std::fs::write(&chain, format!("{}{}", read(&next), read(&office))).expect("written");
    let refused = server.cli(&["ca", "import-certificate", &chain]);
    assert!(refused.code != 0 && refused.err.contains("up to a root's"), "{refused:?}");
    std::fs::write(&chain, format!("{}{}{}", read(&next), read(&office), read(&root)))
        .expect("written");
    let shown = server.cli_json(&["ca", "import-certificate", &chain]);
    assert!(shown["roots"].as_array().expect("roots").len() == 2, "{shown}");
    server.cli(&["signing-key", "rotate", "--purpose", "ca-root", "--now"]).good();

    let (key, certificate) = (file("key.pem"), file("certificate.pem"));
    let secret = secret_file(server, &one, "one.secret");
    server.cli(&issue(server, &one, [&secret, &key, &certificate])).good();
    for purpose in ["sslclient", "sslserver"] {
        let by = ["verify", "-x509_strict", "-purpose", purpose, "-CAfile", &root];
        openssl(&[&by[..], &["-untrusted", &certificate, &certificate]].concat()).good();
    }
    let bundle = server.cli(&["ca", "bundle"]).good();
    assert!(bundle.contains(read(&root).lines().nth(3).expect("a line of it")), "{bundle}");
    let again = server.cli(&["signing-key", "rotate", "--purpose", "ca-root", "--now"]);
    assert!(again.code != 0 && again.err.contains("export-csr"), "{again:?}");
}
