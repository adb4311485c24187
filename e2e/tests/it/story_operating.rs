//! Operating an installation: its configuration is checked and shown, a doctor looks at it while
//! it serves and afterwards, its metrics and its log tell what happened, and neither tells secrets.

use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::stage::binary::{self, Ran};
use crate::stage::cast::text;
use crate::stage::server::{Folder, address_of, free_port};
use crate::stage::{Ask, Server};

fn accredit(args: &[&str]) -> Ran {
    binary::run(binary::command(args))
}

/// An installation with metrics and a talkative log: what `init` printed, and where metrics are.
pub(crate) fn installation(folder: &Folder) -> (Value, String) {
    let listen = format!("127.0.0.1:{}", free_port());
    let metrics = format!("127.0.0.1:{}", free_port());
    let (data, url) = (folder.file("data"), format!("http://{listen}"));
    let founded = accredit(&[
        "init",
        "--data",
        &data,
        "--org",
        "acme",
        "--public-url",
        &url,
        "--listen",
        &listen,
        "--output",
        "json",
    ])
    .json();
    let config = text(&founded, "config");
    let written = std::fs::read_to_string(&config).expect("a configuration");
    let more = format!("metrics_listen = \"{metrics}\"\nlog_level = \"debug\"\n{written}");
    std::fs::write(&config, more).expect("written");
    (founded, metrics)
}

/// How a check of the doctor went.
fn level<'a>(report: &'a Value, check: &str) -> &'a str {
    let items = report["items"].as_array().expect("checks");
    let found = items.iter().find(|item| item["check"] == check);
    found.and_then(|item| item["level"].as_str()).unwrap_or_else(|| panic!("{check}: {report}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_installation_is_checked_watched_and_mended() {
    let folder = Folder::new();
    let (founded, metrics) = installation(&folder);
    let config = text(&founded, "config");

    // The configuration, without starting anything.
    assert!(accredit(&["config", "check", "--config", &config]).good().ends_with(": ok\n"));
    let mut show =
        binary::command(&["config", "show", "--config", &config, "--sources", "--output", "json"]);
    show.env("ACCREDIT_LOG_LEVEL", "warn");
    let shown = binary::run(show).json();
    let from = |key: &str| {
        let items = shown["items"].as_array().expect("settings");
        let found = items.iter().find(|item| item["setting"] == key).expect("the setting");
        (text(found, "value"), text(found, "from"))
    };
    assert_eq!(from("log_level"), ("warn".to_owned(), "environment".to_owned()));
    assert_eq!(from("metrics_listen"), (metrics.clone(), "file".to_owned()));
    assert_eq!(from("tls.key_file").1, "default");

    // While it serves.
    let mut server = Server::serve(folder.clone(), &founded).await;
    let agent = json!({"name": "planner", "owner_email": "jo@example.com", "purpose": "plans"});
    let agent = server.post("/v1/agents", agent).await;
    let body = json!({"agent": "planner", "type": "client-secret"});
    let secret = text(&server.post("/v1/credentials", body).await, "client_secret");
    let refused = server.token(&text(&agent, "id"), &secret, "crm:read").await;
    assert!(refused.status >= 400);
    let doctor = server.cli_json(&["doctor", "--config", &config]);
    for check in [
        "configuration",
        "modes",
        "schema",
        "root-key",
        "reachable",
        "ready",
        "clock",
        "issuer",
        "owners",
        "reviews",
        "credentials",
        "log",
    ] {
        assert_eq!(level(&doctor, check), "ok", "{doctor}");
    }
    // The key that `init` printed is not yet replaced by one of somebody's own.
    assert_eq!(level(&doctor, "owner-keys"), "warn", "{doctor}");

    // Its metrics, apart from its API.
    let address = address_of(&format!("http://{metrics}"));
    let told = Ask::get("/metrics").send(address).await;
    assert_eq!(told.status, 200);
    assert!(told.text().contains("accredit_tokens_refused_total{org=\"acme\",rule="));
    assert!(told.text().contains("accredit_store_batches_total"));
    assert_eq!(Ask::get("/v1/agents").send(address).await.status, 404);
    assert_eq!(Ask::get("/metrics").send(server.address).await.status, 404);

    // Its log: a JSON object a line, with one for each request, and no secret in any.
    assert_eq!(server.stop(), Some(0));
    let log = std::fs::read_to_string(folder.file("log")).expect("a log");
    let lines: Vec<Value> =
        log.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let request = lines.iter().find(|line| line["operation"] == "token").expect("its line");
    assert_eq!((&request["org"], request["ms"].is_u64()), (&json!("acme"), true));
    assert_eq!(request["status"], refused.status);
    for hidden in [secret.as_str(), &server.admin] {
        let part = hidden.split('_').nth(3).expect("the secret part");
        assert!(!log.contains(part) && !told.text().contains(part), "a secret is told");
    }

    // What is wrong is found while nothing runs, and each finding says what to do.
    let root_key = folder.data().join("root.key");
    std::fs::set_permissions(&root_key, PermissionsExt::from_mode(0o644)).expect("opened up");
    let ran = accredit(&["doctor", "--config", &config, "--output", "json"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    let doctor: Value = serde_json::from_str(&ran.out).expect("JSON");
    for (check, expected) in
        [("modes", "fail"), ("root-key", "fail"), ("reachable", "fail"), ("schema", "ok")]
    {
        assert_eq!(level(&doctor, check), expected, "{doctor}");
    }
    assert!(ran.out.contains("chmod 600"), "{ran:?}");
    std::fs::set_permissions(&root_key, PermissionsExt::from_mode(0o600)).expect("mended");
    let key = std::fs::read_to_string(&root_key).expect("a key");
    std::fs::write(&root_key, key.chars().rev().collect::<String>().trim()).expect("another key");
    let ran = accredit(&["doctor", "--config", &config]);
    assert!(ran.out.contains("does not open this store"), "{ran:?}");

    // A mistyped setting is told with its line and with what was meant.
    let text = std::fs::read_to_string(&config).expect("a configuration");
    std::fs::write(&config, format!("metrics_lisen = \"x\"\n{text}")).expect("written");
    let ran = accredit(&["config", "check", "--config", &config]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.err.contains("line 1") && ran.err.contains("did you mean `metrics_listen`?"));
}

#[test]
fn shells_and_manuals_are_given_what_they_want() {
    for (shell, word) in [
        ("bash", "complete"),
        ("zsh", "#compdef"),
        ("fish", "complete -c"),
        ("powershell", "Register"),
    ] {
        assert!(accredit(&["completions", shell]).good().contains(word), "{shell}");
    }
    assert!(accredit(&["man"]).good().contains(".TH accredit 1"));
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().to_str().expect("a path");
    accredit(&["man", "--dir", dir]).good();
    assert!(folder.path().join("accredit-doctor.1").exists());
}
