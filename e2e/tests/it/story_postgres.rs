//! An installation on PostgreSQL from the first day on: agents get tokens and lose them, the log is
//! whole, a backup is made while it runs, and the store moves to a file and is served there.

use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;

use serde_json::{Value, json};

use crate::cluster;
use crate::stage::binary::{self, Ran};
use crate::stage::cast::text;
use crate::stage::server::{Folder, free_port};
use crate::stage::{Cast, FOLLOWS_WITHIN, Server, until};

const PASSWORD: &str = "planted-1b7f0c52d1e94c6a";

/// A server that asks for a password on its port, and not on its socket.
struct Database {
    port: u16,
    folder: std::path::PathBuf,
}

static DATABASE: LazyLock<Database> = LazyLock::new(|| {
    let port = free_port();
    let options = ["-c", "listen_addresses=127.0.0.1", "-p", &port.to_string()];
    let folder = cluster::start_with(&options, &|folder| {
        let hba = "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n";
        cluster::give(&folder.join("data/pg_hba.conf"), hba);
    });
    let database = Database { port, folder };
    database.tell(&format!("ALTER ROLE accredit PASSWORD '{PASSWORD}'"));
    database
});

impl Database {
    fn tell(&self, sql: &str) {
        let port = self.port.to_string();
        // Beside the server's programs, or on the path where only those of clients are there.
        let beside = cluster::programs().join("psql");
        let psql = if beside.is_file() { beside } else { "psql".into() };
        let mut psql = Command::new(psql);
        psql.arg("-h").arg(&self.folder).args(["-p", &port, "-U", "accredit", "-d", "postgres"]);
        let done = psql.args(["-q", "-c", sql]).status().expect("psql runs");
        assert!(done.success(), "{sql}");
    }

    /// The URL of a new database.
    fn made(&self, name: &str) -> String {
        self.tell(&format!("CREATE DATABASE {name} TEMPLATE template0"));
        format!("postgres://accredit@127.0.0.1:{}/{name}", self.port)
    }
}

fn accredit(args: &[&str]) -> Ran {
    binary::run(binary::command(args))
}

/// A file with the password, in a folder of a story.
fn password(folder: &Folder) -> String {
    let file = folder.file("password");
    std::fs::write(&file, format!("{PASSWORD}\n")).expect("written");
    file
}

fn init(folder: &Folder, store: &str, password: &str) -> Ran {
    let address = format!("127.0.0.1:{}", free_port());
    let (data, url) = (folder.file("data"), format!("http://{address}"));
    let place = ["--store", store, "--store-password-file", password, "--output", "json"];
    let args = ["init", "--data", &data, "--org", "acme", "--public-url", &url, "--listen"];
    accredit(&[&args[..], &[&address], &place].concat())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_installation_lives_on_postgresql_and_moves_with_everything_it_knows() {
    let folder = Folder::new();
    let (store, password) = (DATABASE.made("story"), password(&folder));
    let founded = init(&folder, &store, &password).json();
    let again = init(&Folder::new(), &store, &password);
    assert_ne!(again.code, 0, "it holds an installation: {again:?}");
    let config = text(&founded, "config");
    let root_key = text(&founded, "root_key_file");
    assert!(!Path::new(&folder.file("data")).join("accredit.db").exists());

    let cast = Cast::at(Server::serve(folder.clone(), &founded).await, 60).await;
    let (planner, worker) = (cast.agent("planner").await, cast.agent("worker").await);
    let (dead, alive) = (cast.token(&planner).await, cast.token(&worker).await);
    let verifier = cast.connected().await;
    for token in [&dead, &alive] {
        verifier.verify_token(token).await.expect("alive");
        assert!(cast.server.is_active(token).await);
    }
    cast.server.cli(&["kill", "agent", "planner", "--reason", "a story"]).good();
    assert!(!cast.server.is_active(&dead).await);
    until("the verifier knows", FOLLOWS_WITHIN, async || {
        verifier.verify_token(&dead).await.is_err()
    })
    .await;
    verifier.verify_token(&alive).await.expect("its sibling lives");
    let (export, key) = (folder.file("log.ndjson"), folder.file("log.pub"));
    cast.server.cli(&["audit", "export", "-o", &export, "--output", "json"]).good();
    cast.server.cli(&["audit", "key", "-o", &key]).good();
    let report = cast.server.cli_json(&["audit", "verify", &export, "--key", &key]);
    assert_eq!((&report["ok"], &report["complete"]), (&json!(true), &json!(true)));

    let backup = folder.file("whole.backup");
    accredit(&["backup", "create", "--config", &config, "-o", &backup]).good();
    let held = ["backup", "verify", &backup, "--root-key", &root_key, "--output", "json"];
    let held = accredit(&held).json();
    assert_eq!((&held["ok"], &held["agents"]), (&json!(true), &json!(2)), "{held}");

    let mut cast = cast;
    assert_eq!(cast.server.stop(), Some(0));
    accredit(&["fsck", "--config", &config]).good();
    let (file, url) = (format!("sqlite:{}", folder.file("moved.db")), cast.server.url.clone());
    let copy = ["store", "copy", "--from", &store, "--to", &file, "--password-file", &password];
    let checked = [&copy[..], &["--root-key", &root_key, "--output", "json"]].concat();
    let told = accredit(&checked).json();
    assert_eq!(
        (&told["logs_checked"], &told["findings"], &told["tables"]["agent"]),
        (&json!(true), &json!([]), &json!(2)),
        "{told}"
    );
    let full = accredit(&copy);
    assert!(full.code != 0 && full.err.contains("must be empty"), "{full:?}");

    // What was written before is known there, and what ended stays so. A password is of no use.
    let text_of = std::fs::read_to_string(&config).expect("the configuration");
    let rest: Vec<_> = text_of.lines().filter(|line| !line.starts_with("store")).collect();
    let moved = format!("store = \"{file}\"\n{}\n", rest.join("\n"));
    std::fs::write(&config, moved).expect("written");
    let moved = Server::serve(folder.clone(), &founded).await;
    assert_eq!(moved.url, url);
    assert!(moved.is_active(&alive).await && !moved.is_active(&dead).await);
    moved.token(&worker.agent, &worker.secret, "crm:read").await.good();
    let refused = moved.token(&planner.agent, &planner.secret, "crm:read").await;
    assert_ne!(refused.status, 200);

    for told in [folder.file("log"), config] {
        let told = std::fs::read_to_string(told).expect("a text");
        assert!(!told.contains(PASSWORD), "the password is told: {told}");
    }
}

#[test]
fn a_database_that_is_not_to_be_had_is_told_with_what_to_do() {
    let folder = Folder::new();
    let (store, good) = (DATABASE.made("unused"), password(&folder));
    let wrong = folder.file("wrong");
    std::fs::write(&wrong, "not-it").expect("written");
    let with = |store: &str, password: &str| init(&Folder::new(), store, password);
    for (ran, word) in [
        (with(&store, &wrong), "password authentication failed"),
        (with(&store.replace("accredit@", "accredit:x@"), &good), "holds a password"),
        (with(&format!("{store}?sslmode=verify-full"), &good), "does not support TLS"),
        (with(&format!("{store}?sslmode=prefer"), &good), "is not taken"),
        (with("postgres://accredit@db.example/x?sslmode=disable", &good), "in the clear"),
        (with(&format!("postgres://accredit@127.0.0.1:{}/x", free_port()), &good), "refused"),
    ] {
        let said: Value = serde_json::from_str(&ran.err).unwrap_or(Value::Null);
        assert_ne!(ran.code, 0, "{ran:?}");
        assert!(ran.err.contains(word), "`{word}`: {ran:?}");
        assert!(!text(&said, "hint").is_empty(), "what to do? {ran:?}");
    }
}
