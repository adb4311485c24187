//! RFC 8705: a machine joins by a certificate that it has already, whose key is registered for an instance;
//! nobody joins by another's, by one that is over, or with a key that others can read.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Stdio};
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use serde_json::Value;

use crate::stage::binary::{self, Ran};
use crate::stage::cast::text;
use crate::stage::server::Folder;
use crate::stage::{Server, until};
use crate::story_restart::with_certificate;

/// How long something of another process may take on a loaded machine.
const SOON: Duration = Duration::from_secs(30);

/// A server that asks its clients for certificates, and a machine.
struct Stage {
    server: Server,
    ca: String,
}

/// A running daemon, killed when nobody needs it.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whose certificate it is, and until which year it holds.
struct Own<'a> {
    key: &'a KeyPair,
    until: i32,
}

impl Stage {
    async fn new() -> Self {
        let folder = Folder::new();
        let (founded, certificate) = with_certificate(&folder);
        let config = text(&founded, "config");
        let written = std::fs::read_to_string(&config).expect("a configuration");
        std::fs::write(&config, written + "client_certificates = \"asked\"\n").expect("a file");
        let server = Server::serve(folder, &founded).await;
        let ca = certificate.to_str().expect("a path").to_owned();
        let org = ["org", "list", "--ca-file", &ca];
        until("it serves over TLS", SOON, async || server.cli(&org).code == 0).await;
        let stage = Self { server, ca };
        stage.tells(&[
            "resource",
            "create",
            "crm",
            "--audience",
            "https://crm.example/",
            "--action",
            "read",
        ]);
        stage
    }

    fn tells(&self, words: &[&str]) -> Value {
        self.server.cli_json(&[words, &["--ca-file", &self.ca]].concat())
    }

    fn file(&self, name: &str) -> String {
        self.server.folder().file(name)
    }

    /// An agent for machines; its id.
    fn agent(&self, name: &str) -> String {
        let who = ["agent", "create", name, "--owner", "ops@example.com", "--purpose", "machines"];
        text(&self.tells(&[&who[..], &["--allow", "crm:read", "--activate"]].concat()), "id")
    }

    /// An instance of an agent with this key; its id.
    fn registered(&self, agent: &str, key: &KeyPair) -> String {
        let instance = text(&self.tells(&["instance", "create", "--agent", agent]), "id");
        self.writes("registered", &Own { key, until: 2090 });
        let file = self.file("registered.pem");
        let whose = ["credential", "create", "--instance", &instance, "--type", "public-key"];
        self.tells(&[&whose[..], &["--jwk", &file]].concat());
        instance
    }

    /// A certificate and its key in files of the machine.
    fn writes(&self, name: &str, own: &Own<'_>) {
        let mut params = CertificateParams::new(vec!["host-7.example".to_owned()]).expect("names");
        params.not_before = date_time_ymd(2019, 1, 1);
        params.not_after = date_time_ymd(own.until, 1, 1);
        let made = params.self_signed(own.key).expect("a certificate");
        std::fs::write(self.file(&format!("{name}.pem")), made.pem()).expect("written");
        let key = self.file(&format!("{name}.key"));
        std::fs::write(&key, own.key.serialize_pem()).expect("written");
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).expect("set");
    }

    /// The daemon's words, with a certificate and a key of these names.
    fn words(&self, agent: &str, [certificate, key]: [&str; 2]) -> Vec<String> {
        let run = self.file("run");
        let _ = std::fs::create_dir(&run);
        std::fs::set_permissions(&run, std::fs::Permissions::from_mode(0o755)).expect("set");
        let files = (self.file(&format!("{certificate}.pem")), self.file(&format!("{key}.key")));
        let words = ["edge", "run", "--org", &self.server.org, "--url", &self.server.url];
        let by = ["--client-id", agent, "--tls-certificate", &files.0, "--tls-key", &files.1];
        let socket = format!("{run}/agent@localhost");
        let rest = ["--ca-file", &self.ca, "--socket", &socket, "--output", "json"];
        [&words[..], &by, &rest].concat().into_iter().map(str::to_owned).collect()
    }

    fn refused(&self, agent: &str, files: [&str; 2]) -> Ran {
        let words = self.words(agent, files);
        binary::run(binary::command(&words.iter().map(String::as_str).collect::<Vec<_>>()))
    }

    fn joins(&self, agent: &str, name: &str) -> (Daemon, String) {
        let words = self.words(agent, [name, name]);
        let mut command = binary::command(&words.iter().map(String::as_str).collect::<Vec<_>>());
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the binary runs");
        let mut line = String::new();
        let out = child.stdout.take().expect("its output");
        BufReader::new(out).read_line(&mut line).expect("a line");
        let ready: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line:?}"));
        (Daemon(child), text(&ready, "instance"))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_joins_by_a_certificate_that_its_machine_has_and_by_no_other() {
    let stage = Stage::new().await;
    let (node, other) = (stage.agent("node"), stage.agent("other"));
    let [own, others, strangers] = [(); 3].map(|()| KeyPair::generate().expect("a key"));
    let instance = stage.registered("node", &own);
    stage.registered("other", &others);
    stage.writes("own", &Own { key: &own, until: 2090 });
    stage.writes("over", &Own { key: &own, until: 2020 });
    stage.writes("others", &Own { key: &others, until: 2090 });
    stage.writes("strangers", &Own { key: &strangers, until: 2090 });

    for (agent, files, code, says) in [
        (&node, ["strangers", "strangers"], 5, "client-authentication"),
        (&node, ["others", "others"], 5, "client-authentication"),
        (&other, ["own", "own"], 5, "client-authentication"),
        (&node, ["over", "over"], 5, "certificate-lifetime"),
        (&node, ["own", "others"], 5, "own.pem"),
        (&node, ["none", "own"], 5, "none.pem"),
        (&node, ["own", "none"], 3, "none.key"),
    ] {
        let refused = stage.refused(agent, files);
        assert!(refused.code == code && refused.err.contains(says), "{files:?}: {refused:?}");
        assert!(!refused.err.contains("PRIVATE KEY"), "{refused:?}");
    }
    let key = stage.file("own.key");
    for open in [0o644, 0o640, 0o604] {
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(open)).expect("set");
        let refused = stage.refused(&node, ["own", "own"]);
        assert!(refused.code == 2 && refused.err.contains("others can read it"), "{refused:?}");
    }
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).expect("set");

    let (daemon, joined) = stage.joins(&node, "own");
    assert_eq!(joined, instance, "it is the instance whose key it is");
    drop(daemon);
    // Renewed in its place, with the same key.
    stage.writes("own", &Own { key: &own, until: 2091 });
    let (daemon, joined) = stage.joins(&node, "own");
    assert_eq!(joined, instance);
    // What was ended joins no more.
    drop(daemon);
    stage.tells(&["revoke", &instance, "--reason", "a story"]);
    let refused = stage.refused(&node, ["own", "own"]);
    assert!(refused.code == 5 && refused.err.contains("revoked"), "{refused:?}");
}
