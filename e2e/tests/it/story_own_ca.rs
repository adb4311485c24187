//! A server that speaks TLS by an authority of its own: what `accredit tls bundle` prints is all that a client
//! needs, whoever made that client, and it is good through other certificates, other roots, another root
//! key, a backup and a second node. Who does not have it, or asks for another host, is not served.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use accredit::{Agent, Secret, Verifier};
use serde_json::{Value, json};

use crate::stage::binary::{self, Ran, is_there};
use crate::stage::cast::{CRM, text};
use crate::stage::postgres::{Machine, url_of};
use crate::stage::server::{Folder, free_port, init};
use crate::stage::{FOLLOWS_WITHIN, Server, until};
use crate::story_nodes;

const SERVES_WITHIN: Duration = Duration::from_secs(20);
/// Nodes look every ten seconds whether another root signs.
const TAKEN_WITHIN: Duration = Duration::from_secs(30);
/// The host of an installation that is reached by name.
const HOST: &str = "id.accredit.test";

const PYTHON: &str = "import socket, ssl, sys\n\
    trusted = ssl.create_default_context(cafile=sys.argv[1])\n\
    trusted.verify_flags |= ssl.VERIFY_X509_STRICT\n\
    plain = socket.create_connection(('127.0.0.1', int(sys.argv[2])), timeout=10)\n\
    trusted.wrap_socket(plain, server_hostname=sys.argv[3]).close()\n";

/// Adds to the configuration that the listener has an authority of its own.
fn by_own_ca(founded: &Value) {
    let config = text(founded, "config");
    let written = std::fs::read_to_string(&config).expect("a configuration");
    std::fs::write(&config, written + "\n[tls]\nown_ca = true\n").expect("written");
}

fn run(program: &str, args: &[&str]) -> Ran {
    let mut command = Command::new(program);
    command.args(args).stdin(std::process::Stdio::null());
    binary::run(command)
}

fn tls(founded: &Value, args: &[&str]) -> Ran {
    let config = text(founded, "config");
    binary::run(binary::command(&[&["tls"], args, &["--config", &config]].concat()))
}

/// The roots in a file.
fn bundle(founded: &Value, folder: &Folder, name: &str) -> String {
    let file = folder.file(name);
    tls(founded, &["bundle", "-o", &file]).good();
    file
}

/// It has the store, and its socket.
async fn listens(server: &Server) {
    let log = server.folder().file("log");
    until("it serves", SERVES_WITHIN, async || {
        std::fs::read_to_string(&log).is_ok_and(|log| log.contains("\"serving\""))
    })
    .await;
}

async fn served(server: &Server, bundle: &str) {
    let org = ["org", "list", "--ca-file", bundle];
    until("it serves over TLS", SERVES_WITHIN, async || server.cli(&org).code == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_others_believe_the_printed_roots_for_the_host_and_for_no_other() {
    if ["openssl", "curl", "python3"].iter().any(|program| !is_there(program)) {
        return;
    }
    let (folder, port) = (Folder::new(), free_port().to_string());
    let (data, listen) = (folder.file("data"), format!("127.0.0.1:{port}"));
    let url = format!("https://{HOST}:{port}");
    let args = ["init", "--data", &data, "--org", "acme", "--public-url", &url, "--own-ca"];
    let args = [&args[..], &["--listen", &listen, "--output", "json"]].concat();
    let mut founded = binary::run(binary::command(&args)).json();
    founded["url"] = format!("https://{listen}").into();

    let plain = ["init", "--data", &folder.file("plain"), "--own-ca"];
    let refused = binary::run(binary::command(&plain));
    assert!(refused.code == 2 && refused.err.contains("https"), "{refused:?}");

    // Before there was ever a server; and again, the same.
    let printed = tls(&founded, &["bundle"]).good();
    assert_eq!(printed.matches("BEGIN CERTIFICATE").count(), 2);
    let trusted = bundle(&founded, &folder, "ca.pem");
    assert_eq!(std::fs::read_to_string(&trusted).expect("written"), printed);
    let told = tls(&founded, &["bundle", "--output", "json"]).json();
    let roots = told["roots"].as_array().expect("roots");
    assert_eq!((&roots[0]["state"], &roots[1]["state"]), (&json!("active"), &json!("next")));

    let server = Server::serve(folder.clone(), &founded).await;
    let resolve = format!("{HOST}:{port}:127.0.0.1");
    let ready = format!("{url}/readyz");
    let curl = |more: &[&str]| {
        let args = ["-s", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "10"];
        run("curl", &[&args[..], more].concat())
    };
    let good = ["--cacert", &trusted, "--resolve", &resolve, &ready];
    until("curl is served", SERVES_WITHIN, async || curl(&good).out == "200").await;
    // CURLE_PEER_FAILED_VERIFICATION.
    assert_eq!(curl(&["--resolve", &resolve, &ready]).code, 60, "nobody vouches for it");
    let by_address = format!("https://{listen}/readyz");
    assert_eq!(curl(&["--cacert", &trusted, &by_address]).code, 60, "it is for its host");

    let openssl = |host: &str, more: &[&str]| {
        let args = ["s_client", "-connect", &listen, "-servername", HOST, "-x509_strict"];
        let name = ["-verify_return_error", "-verify_hostname", host];
        run("openssl", &[&args[..], &name, more].concat())
    };
    let believes = ["-CAfile", &*trusted];
    let ran = openssl(HOST, &believes);
    assert!(ran.code == 0 && ran.out.contains("Verify return code: 0 (ok)"), "{ran:?}");
    for ran in [openssl("other.test", &believes), openssl(HOST, &[])] {
        assert!(ran.code != 0 && ran.err.contains("verify error"), "{ran:?}");
    }
    let python = |host: &str| run("python3", &["-c", PYTHON, &trusted, &port, host]);
    assert_eq!(python(HOST).code, 0, "{:?}", python(HOST));
    let refused = python("127.0.0.1");
    assert!(refused.err.contains("IP address mismatch"), "{refused:?}");
    // Ours, which speaks to the address here.
    assert_eq!(server.cli(&["org", "list", "--ca-file", &trusted]).code, 8);

    bundle_is_fetched_by_its_own_roots(&server, (&trusted, &port), &curl);

    // The key of what is shown is nowhere: neither in the folder nor in the log is one.
    for file in std::fs::read_dir(folder.data()).expect("a folder") {
        let bytes = std::fs::read(file.expect("a file").path()).expect("read");
        assert!(!String::from_utf8_lossy(&bytes).contains("PRIVATE KEY"));
    }
}

/// SPIFFE Federation, profile `https_spiffe`: whoever has the roots of an organization gets its bundle by
/// them alone, from the trust domain's own name.
fn bundle_is_fetched_by_its_own_roots(
    server: &Server,
    (trusted, port): (&str, &str),
    curl: &dyn Fn(&[&str]) -> Ran,
) {
    let domain = format!("acme.{HOST}");
    let resolve = [HOST, &domain].map(|host| format!("{host}:{port}:127.0.0.1"));
    let resolve = ["--resolve", &resolve[0], "--resolve", &resolve[1]];
    let ask = |args: &[&str]| {
        let ran = run("curl", &[&["-sS", "--max-time", "10"][..], &resolve, args].concat());
        serde_json::from_str::<Value>(&ran.good()).expect("JSON")
    };
    let (key, ca) =
        (format!("authorization: Bearer {}", server.admin), server.folder().file("org.pem"));
    let shown = ask(&["--cacert", trusted, "-H", &key, &format!("https://{HOST}:{port}/v1/ca")]);
    let roots = shown["roots"].as_array().expect("roots");
    let roots: String = roots.iter().map(|root| text(root, "anchor")).collect();
    std::fs::write(&ca, roots).expect("written");

    let url = text(&shown, "bundle_endpoint_url");
    assert_eq!(url, format!("https://{domain}:{port}/o/acme/spiffe/bundle"));
    let bundle = ask(&["--cacert", &ca, &url]);
    assert!(bundle["keys"].as_array().is_some_and(|keys| !keys.is_empty()), "{bundle}");
    // The roots of the listener's own authority are for another host, and these are not for that one.
    let by_host = format!("https://{HOST}:{port}/o/acme/spiffe/bundle");
    for wrong in [["--cacert", trusted, &url], ["--cacert", &ca, &by_host]] {
        assert_eq!(curl(&[&resolve[..], &wrong].concat()).code, 60, "{wrong:?}");
    }
    let to = format!("127.0.0.1:{port}");
    let args =
        ["s_client", "-connect", &to, "-servername", &domain, "-x509_strict", "-CAfile", &ca];
    let name = ["-verify_return_error", "-verify_hostname", &domain];
    let ran = run("openssl", &[&args[..], &name].concat());
    assert!(ran.code == 0 && ran.out.contains("Verify return code: 0 (ok)"), "{ran:?}");
    let python = run("python3", &["-c", PYTHON, &ca, port, &domain]);
    assert_eq!(python.code, 0, "{python:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_printed_once_is_good_through_all_that_follows() {
    let folder = Folder::new();
    let founded = init(&folder, "https");
    by_own_ca(&founded);
    let config = text(&founded, "config");
    let doctor = || {
        let ran =
            binary::run(binary::command(&["doctor", "--config", &config, "--output", "json"]));
        let told: Value =
            serde_json::from_str(ran.out.lines().next().expect("a line")).expect("JSON");
        let checks = told["items"].as_array().expect("checks").clone();
        let found = checks.into_iter().find(|check| check["check"] == "listener-roots");
        found.expect("it is looked at")["level"].clone()
    };
    assert_eq!(doctor(), json!("warn"), "there are none yet");
    let mut server = Server::serve(folder.clone(), &founded).await;
    // Beside the server, which made them.
    listens(&server).await;
    let trusted = bundle(&founded, &folder, "ca.pem");
    served(&server, &trusted).await;
    assert_eq!(doctor(), json!("ok"));
    let refused = server.cli(&["org", "list"]);
    assert_eq!(refused.code, 8, "a certificate that nobody vouches for: {refused:?}");
    let refused = tls(&founded, &["rotate"]);
    assert!(refused.code == 6 && refused.err.contains("stop the server"), "{refused:?}");
    is_used(&server, Path::new(&trusted)).await;

    // Another root signs.
    assert_eq!(server.stop(), Some(0));
    drop(server);
    tls(&founded, &["rotate"]).good();
    let after = bundle(&founded, &folder, "after.pem");
    let read = |file: &str| std::fs::read_to_string(file).expect("read");
    assert_ne!(read(&after), read(&trusted));
    let mut server = Server::serve(folder.clone(), &founded).await;
    served(&server, &trusted).await;
    served(&server, &after).await;

    // Another root key, and the store of a backup.
    let file = folder.file("backup");
    let create = ["backup", "create", "--config", &config, "-o", &file];
    assert_eq!(server.stop(), Some(0));
    drop(server);
    binary::run(binary::command(&create)).good();
    binary::run(binary::command(&["root", "rotate", "--config", &config])).good();
    let mut server = Server::serve(folder.clone(), &founded).await;
    served(&server, &trusted).await;
    assert_eq!(server.stop(), Some(0));
    drop(server);
    let restored = Folder::new();
    let data = restored.file("data");
    std::fs::create_dir(&data).expect("a folder");
    let root_key = format!("{}.previous", text(&founded, "root_key_file"));
    let restore = ["backup", "restore", &file, "--data", &data, "--root-key", &root_key];
    binary::run(binary::command(&restore)).good();
    for (from, to) in [(&*config, "accredit.toml"), (&*root_key, "root.key")] {
        std::fs::copy(from, restored.data().join(to)).expect("copied");
    }
    let mut founded = founded.clone();
    founded["config"] = restored.data().join("accredit.toml").to_str().expect("a path").into();
    assert_eq!(tls(&founded, &["bundle"]).good(), read(&after));
    let server = Server::serve(restored, &founded).await;
    served(&server, &trusted).await;
}

/// An agent of our library and a Verifier believe it, and the Verifier follows the feed over it.
async fn is_used(server: &Server, trusted: &Path) {
    let ca = trusted.to_str().expect("a path");
    let create = |args: &[&str]| server.cli_json(&[args, &["--ca-file", ca]].concat());
    create(&["resource", "create", "crm", "--audience", CRM, "--action", "read"]);
    let agent = ["agent", "create", "planner", "--owner", "mia@example.com", "--purpose", "plans"];
    let agent = create(&[&agent[..], &["--allow", "crm:read", "--activate"]].concat());
    let of_agent = create(&["credential", "create", "--agent", "planner"]);
    let of_crm = create(&["credential", "create", "--resource", "crm"]);
    let (id, secret) = (text(&agent, "id"), Secret::new(text(&of_agent, "client_secret")));
    let client = Agent::builder(&server.issuer, &id, secret);
    let distrusts = client.bearer_tokens().build().expect("an agent");
    distrusts.token("crm:read").await.expect_err("nobody vouches for the server");
    let secret = Secret::new(text(&of_agent, "client_secret"));
    let client = Agent::builder(&server.issuer, &id, secret).authorities(trusted);
    let client = client.bearer_tokens().build().expect("an agent");
    let token = client.token("crm:read").await.expect("a token");
    let verifier = Verifier::builder(&server.issuer, CRM)
        .credential(text(&of_crm, "client_secret"))
        .authorities(trusted)
        .connect()
        .await
        .expect("a verifier");
    verifier.verify_token(token.text().expose()).await.expect("alive");
    server.cli(&["revoke", &id, "--reason", "enough", "--ca-file", ca]).good();
    until("the verifier follows over TLS", FOLLOWS_WITHIN, async || {
        verifier.verify_token(token.text().expose()).await.is_err()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_start_together_have_one_authority_and_take_another_root_while_they_serve() {
    let database = Machine::primary().await;
    let (folder, store) = (Folder::new(), url_of(&[&database]));
    let founded = story_nodes::init_at(&folder, &store, "https");
    by_own_ca(&founded);
    let first = Server::serve(Folder::new(), &founded).await;
    let second = story_nodes::node(&founded, &store).await;
    listens(&first).await;
    let trusted = bundle(&founded, &folder, "ca.pem");
    served(&first, &trusted).await;
    served(&second, &trusted).await;

    // By a command beside them; whoever has both roots sees no difference, and soon the first is not shown.
    tls(&founded, &["rotate"]).good();
    let alone = folder.file("next.pem");
    let told = tls(&founded, &["bundle", "--output", "json"]).json();
    std::fs::write(&alone, text(&told["roots"][0], "certificate")).expect("written");
    for node in [&first, &second] {
        until("it shows what the other root signed", TAKEN_WITHIN, async || {
            assert_eq!(node.cli(&["org", "list", "--ca-file", &trusted]).code, 0, "all the while");
            node.cli(&["org", "list", "--ca-file", &alone]).code == 0
        })
        .await;
    }
}
