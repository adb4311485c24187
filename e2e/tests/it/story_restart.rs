//! An installation that starts, stops, is killed and starts again: what was answered stays true,
//! and what is unsafe does not start.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use accredit::{Agent, Secret};
use serde_json::Value;

use crate::stage::binary::{self, Ran};
use crate::stage::cast::{CRM, Client, text};
use crate::stage::server::{Folder, init};
use crate::stage::{Ask, Cast, FOLLOWS_WITHIN, Server, until};

/// `accredit serve`, which must not start. It is given a while to refuse.
fn refuses(founded: &Value, more: &[&str]) -> Ran {
    let config = text(founded, "config");
    let args = [&["serve", "--config", &config, "--output", "json"][..], more].concat();
    let mut command = binary::command(&args);
    let mut child = command
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("the binary starts");
    for _ in 0..100 {
        if child.try_wait().expect("its state").is_some() {
            let output = child.wait_with_output().expect("its output");
            let read = |bytes| String::from_utf8(bytes).expect("text");
            let (out, err) = (read(output.stdout), read(output.stderr));
            return Ran { code: output.status.code().unwrap_or(-1), out, err };
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    child.kill().expect("killed");
    panic!("it serves, and should not");
}

fn check_refuses(founded: &Value, more: &[&str], says: &str) {
    let ran = refuses(founded, more);
    assert!(ran.code > 0, "{ran:?}");
    assert!(ran.err.contains(says), "`{says}` is not in {ran:?}");
    assert!(ran.err.contains("hint"), "what to do? {ran:?}");
}

fn mode_of(file: &Path) -> u32 {
    std::fs::metadata(file).expect("a file").permissions().mode() & 0o777
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_installation_is_set_up_once_and_serves_from_its_configuration() {
    let folder = Folder::new();
    let founded = init(&folder, "http");
    let root_key = folder.data().join("root.key");
    assert_eq!(mode_of(&root_key), 0o600);
    let store = folder.data().join("accredit.db");
    assert_eq!(mode_of(&store) & 0o077, 0, "nobody else reads the store");
    let again = ["init", "--data", &folder.file("data")];
    assert_eq!(binary::run(binary::command(&again)).code, 6, "nothing is overwritten");

    let mut server = Server::serve(folder.clone(), &founded).await;
    assert_eq!(Ask::get("/livez").send(server.address).await.status, 200);
    check_refuses(&founded, &["--listen", "127.0.0.1:0"], "in use by another process");
    let cast = Cast::at(server, 60).await;
    let agent = cast.agent("planner").await;
    let token = cast.token(&agent).await;
    server = cast.server;
    assert_eq!(server.stop(), Some(0));
    drop(server);

    // The same again: keys, tokens and the administrator's key are those of before.
    let server = Server::serve(folder.clone(), &founded).await;
    assert!(server.is_active(&token).await);
    drop(server);

    check_refuses(&founded, &["--listen", "0.0.0.0:0"], "loopback");
    let config = folder.data().join("accredit.toml");
    let written = std::fs::read_to_string(&config).expect("a configuration");
    for (change, says) in [
        (format!("{written}\nlissten = \"127.0.0.1:1\"\n"), "lissten"),
        (written.replace("http://127.0.0.1", "http://id.example.com"), "https"),
        (written.replace("http://127.0.0.1:", "http://127.0.0.1:1"), "founded"),
    ] {
        std::fs::write(&config, change).expect("a file");
        check_refuses(&founded, &[], says);
    }
    std::fs::write(&config, written).expect("a file");
    drop(Server::serve(folder.clone(), &founded).await);
}

/// An installation that speaks TLS: what `init` printed, and its certificate.
pub(crate) fn with_certificate(folder: &Folder) -> (Value, PathBuf) {
    let founded = init(folder, "https");
    let certificate = write_certificate(folder);
    let config = text(&founded, "config");
    let tls = "\n[tls]\ncertificate_file = \"tls.pem\"\nkey_file = \"tls.key\"\n";
    let written = std::fs::read_to_string(&config).expect("a configuration");
    std::fs::write(&config, written + tls).expect("a file");
    (founded, certificate)
}

/// A certificate and its key in the folder of the data, as `tls.pem` and `tls.key`.
pub(crate) fn write_certificate(folder: &Folder) -> PathBuf {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
    let pem = made.cert.pem();
    let (certificate, key) = (folder.data().join("tls.pem"), folder.data().join("tls.key"));
    std::fs::write(&certificate, &pem).expect("a file");
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("a file");
    certificate
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_is_spoken_where_there_is_a_certificate() {
    let folder = Folder::new();
    let (founded, certificate) = with_certificate(&folder);
    let server = Server::serve(folder.clone(), &founded).await;
    let ca = certificate.to_str().expect("a path");
    let org = ["org", "list", "--ca-file", ca];
    until("it serves over TLS", Duration::from_secs(20), async || server.cli(&org).code == 0).await;
    let distrusts = server.cli(&["org", "list"]);
    assert_eq!(distrusts.code, 8, "a certificate that nobody vouches for: {distrusts:?}");
    let plain = Ask::get("/livez").try_send(server.address).await;
    assert!(plain.is_none_or(|answer| answer.status != 200), "no plain HTTP beside it");

    let create = |args: &[&str]| server.cli_json(&[args, &["--ca-file", ca]].concat());
    let resource = ["resource", "create", "crm", "--audience", CRM, "--action", "read"];
    create(&resource);
    let agent = ["agent", "create", "planner", "--owner", "mia@example.com", "--purpose", "plans"];
    let agent = create(&[&agent[..], &["--allow", "crm:read", "--activate"]].concat());
    let of_agent = create(&["credential", "create", "--agent", "planner"]);
    let of_crm = create(&["credential", "create", "--resource", "crm"]);
    let secret = Secret::new(text(&of_agent, "client_secret"));
    let id = text(&agent, "id");
    let client = Agent::builder(&server.issuer, &id, secret).authorities(&certificate);
    let client = client.bearer_tokens().build().expect("an agent");
    let token = client.token("crm:read").await.expect("a token");
    let verifier = accredit::Verifier::builder(&server.issuer, CRM)
        .credential(text(&of_crm, "client_secret"))
        .authorities(&certificate)
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

/// Clients at a server, who keep every token that they were given.
struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<tokio::task::JoinHandle<BTreeSet<String>>>,
}

impl Load {
    fn start(server: &Server, client: &Client, clients: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let form = [("grant_type", "client_credentials"), ("scope", "crm:read")];
        let ask = Ask::form(&server.at("/oauth/token"), &form).basic(&client.agent, &client.secret);
        let to = server.address;
        let run = |_| {
            let (stop, ask) = (Arc::clone(&stop), ask.clone());
            tokio::spawn(async move {
                let mut got = BTreeSet::new();
                while !stop.load(Ordering::Relaxed) {
                    match ask.try_send(to).await {
                        Some(answer) if answer.status == 200 => {
                            got.insert(jti(&text(&answer.json(), "access_token")));
                        }
                        // Refused, broken off, or told to come back: nothing was given.
                        Some(answer) => assert_eq!(answer.status, 503, "{}", answer.text()),
                        None => tokio::time::sleep(Duration::from_millis(5)).await,
                    }
                }
                got
            })
        };
        let clients = (0..clients).map(run).collect();
        Self { stop, clients }
    }

    /// Ends it; the ids of all tokens that were received.
    async fn end(self) -> BTreeSet<String> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = BTreeSet::new();
        for client in self.clients {
            all.extend(client.await.expect("a client"));
        }
        all
    }
}

fn jti(token: &str) -> String {
    let payload = token.split('.').nth(1).expect("a payload");
    let bytes = accredit_wire::jose::b64url_decode(payload).expect("base64url");
    text(&serde_json::from_slice(&bytes).expect("JSON"), "jti")
}

/// The ids of all tokens whose issuance stands in the log.
fn logged(server: &Server) -> BTreeSet<String> {
    let file = server.folder().file("log.ndjson");
    server.cli(&["audit", "export", "-o", &file]).good();
    server.cli(&["audit", "key", "-o", &server.folder().file("log.pub")]).good();
    let verify = ["audit", "verify", &file, "--key", &server.folder().file("log.pub")];
    assert_eq!(server.cli(&verify).code, 0);
    let export = std::fs::read_to_string(&file).expect("an export");
    let events = export.lines().filter(|line| line.contains("\"type\":\"token.issued\""));
    let parsed = events.map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    parsed.map(|line| text(&line["event"]["payload"], "token")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_and_killing_under_load_loses_no_token_that_was_given() {
    let mut cast = Cast::new().await;
    let agent = cast.agent("planner").await;
    let mut received = BTreeSet::new();
    for round in 0..6 {
        let load = Load::start(&cast.server, &agent, 8);
        tokio::time::sleep(Duration::from_millis(150 + 37 * round)).await;
        if round == 0 {
            assert_eq!(cast.server.stop(), Some(0), "told to stop, it finishes and ends well");
        } else {
            cast.server.kill();
        }
        let got = load.end().await;
        assert!(!got.is_empty(), "round {round} gave nothing");
        received.extend(got);
        cast.server = cast.server.again().await;
        let logged = logged(&cast.server);
        let lost: Vec<&String> = received.difference(&logged).collect();
        assert!(lost.is_empty(), "round {round}: {} given but not logged: {lost:?}", lost.len());
        let report = cast.server.cli_json(&["fsck"]);
        assert_eq!(report["ok"], true, "round {round}: {report}");
    }
}
