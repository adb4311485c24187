//! No secret stands anywhere in clear: not in a log, the store, an export, an error or a help text,
//! whatever went well or wrong before.

use std::net::SocketAddr;

use accredit_wire::crypto::Algorithm;
use accredit_wire::jose::b64url_encode;
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::stage::binary;
use crate::stage::cast::text;
use crate::stage::keys::{ASSERTION, ClientKey};
use crate::stage::planted::Planted;
use crate::stage::server::Folder;
use crate::stage::{Ask, Cast, Server};
use crate::story_backup::Content;
use crate::story_operating::installation;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_stands_anywhere_in_clear() {
    // The log tells all it can, and metrics are on.
    let folder = Folder::new();
    let (founded, metrics) = installation(&folder);
    let metrics: SocketAddr = metrics.parse().expect("an address");
    let server = Server::serve(folder, &founded).await;
    let mut cast = Cast::at(server, 60).await;
    let agent = cast.agent("planner").await;
    let instance = cast.instance_of(&agent.agent).await;
    let server = &cast.server;
    let mut planted = Planted::new();
    planted.secret("the administrator's key", &server.admin);
    planted.secret("an agent's secret", &agent.secret);
    planted.secret("an instance's secret", &instance.secret);
    planted.secret("a resource's secret", &cast.resource_secret);
    planted.secret("the operator's key", &text(&founded, "operator_token"));
    let root_key = std::fs::read_to_string(text(&founded, "root_key_file")).expect("a root key");
    planted.bytes("the text of the root key", root_key.trim().as_bytes());
    let path = format!("/v1/credentials/{}/rotate", agent.credential);
    let rotated = server.post(&path, json!({})).await;
    planted.secret("a successor's secret", &text(&rotated, "client_secret"));

    // What goes well.
    let token = cast.token(&agent).await;
    planted.signed("a token", &token);
    let key = ClientKey::new(Algorithm::Es256, None);
    let register = json!({"agent": agent.agent, "type": "public-key", "jwk": key.jwk()});
    server.post("/v1/credentials", register).await;
    let assertion = key.assertion(&agent.agent, &server.issuer);
    planted.signed("an assertion", &assertion);
    let path = server.at("/oauth/token");
    let asserts = [
        ("grant_type", "client_credentials"),
        ("scope", "crm:read"),
        ("client_assertion_type", ASSERTION),
        ("client_assertion", assertion.as_str()),
    ];
    let by_key = server.send(Ask::form(&path, &asserts)).await.good();
    planted.signed("a token by key", &text(&by_key, "access_token"));
    assert!(server.is_active(&token).await);

    // What goes wrong, with the secrets in all the wrong places.
    let secret = agent.secret.as_str();
    let near = format!("{}x", &secret[..secret.len() - 1]);
    let grant = ("grant_type", "client_credentials");
    let basic = |ask: Ask| ask.basic(&agent.id, secret);
    let wrong = [
        Ask::form(&path, &asserts),
        Ask::form(&path, &[grant]).basic(&agent.id, &near),
        Ask::form(&path, &[grant]).basic(secret, &agent.id),
        Ask::form(&path, &[(secret, "1"), (secret, "2"), grant]),
        Ask::form(&path, &[("grant_type", secret)]).basic(&agent.id, secret),
        Ask::form(&path, &[grant, ("client_id", secret), ("client_secret", secret)]),
        basic(Ask::form(&path, &[grant, ("resource", &format!("https://x/{secret}"))])),
        basic(Ask::form(&path, &[grant, ("expires_in", secret)])),
        basic(Ask::form(&path, &[grant, ("client_secret", secret)])),
        basic(Ask::raw_form(&format!("{path}?client_secret={secret}"), "grant_type=x")),
        Ask::form(&path, &[grant]).bearer(secret),
        Ask::form(&path, &[grant]).header("authorization", secret),
        Ask::form(&path, &[grant, ("client_assertion_type", secret), ("client_assertion", secret)]),
        Ask::form(&server.at("/oauth/introspect"), &[("token", &token)]),
        Ask::form(&server.at("/oauth/introspect"), &[("token", &token)]).bearer(&near),
        basic(Ask::form(&server.at("/oauth/introspect"), &[("token", secret)])),
        basic(Ask::form(&server.at("/oauth/revoke"), &[("token_type_hint", &token)])),
        Ask::get(&format!("/v1/agents?access_token={}", server.admin)),
        Ask::get("/v1/agents").bearer(secret),
        Ask::get("/v1/agents").bearer(&token),
        Ask::json("POST", "/v1/agents", &json!({secret: secret})).bearer(secret),
        Ask::get(&server.at("/revocations")).bearer(secret),
    ];
    for ask in wrong {
        let answer = server.send(ask.clone()).await;
        assert!(answer.status >= 400, "{}: {}", ask.sent(), answer.text());
        planted.check(&format!("the answer {}", answer.text()), &answer.body);
        planted.check("the headers of an answer", format!("{:?}", answer.headers).as_bytes());
    }
    let told = Ask::get("/metrics").send(metrics).await;
    assert!(told.status == 200 && told.text().contains("accredit_"), "{}", told.text());
    planted.check("metrics", &told.body);
    // Nothing that is listed or shown again has a secret.
    for list in ["credentials", "instances", "agents", "events?limit=200", "signing-keys", "log"] {
        let shown = server.get(&format!("/v1/{list}")).await;
        planted.check(list, shown.to_string().as_bytes());
    }
    let created = server.post("/v1/instances", json!({"agent": agent.agent})).await;
    planted.secret("another instance's secret", &text(&created, "client_secret"));
    let shown = server.get(&format!("/v1/instances/{}", text(&created, "id"))).await;
    assert!(shown.get("client_secret").is_none_or(Value::is_null), "shown once: {shown}");

    // The command line: what it prints where it fails, and what it takes as an argument.
    for args in [
        vec!["agent", "get", secret],
        vec!["revoke", secret, "--reason", "x"],
        vec!["agent", "create", "other", "--purpose", secret, "--surprise"],
        vec!["org", "list", "--token-file", secret],
    ] {
        let ran = server.cli(&args);
        assert_ne!(ran.code, 0, "{args:?}");
        planted.check(&format!("what `{}` prints", args[..2].join(" ")), ran.err.as_bytes());
    }
    let mut agent_help = server.command(&["agent", "--help"]);
    agent_help.env("ACCREDIT_CLIENT_SECRET", secret);
    for command in
        [server.command(&["--help"]), agent_help, server.command(&["token", "get", "--help"])]
    {
        let ran = binary::run(command);
        assert!(ran.out.contains("Usage"), "{ran:?}");
        planted.check("a help text", ran.out.as_bytes());
    }

    let export = server.folder().file("log.ndjson");
    server.cli(&["audit", "export", "-o", &export]).good();
    let backup = server.folder().file("whole.backup");
    let config = text(&founded, "config");
    let create = ["backup", "create", "--config", &config, "-o", &backup];
    binary::run(binary::command(&create)).good();
    // The process's arguments are everybody's to read.
    if let Ok(arguments) = std::fs::read(format!("/proc/{}/cmdline", server.id())) {
        planted.check("the server's arguments", &arguments);
    }
    let seen = check_files(&cast, &planted);
    assert!(seen.iter().any(|name| name == "accredit.db-wal"), "its journal: {seen:?}");
    assert_eq!(cast.server.stop(), Some(0));
    check_files(&cast, &planted);
    // Private keys and peppers are known to whoever has the root key: now that nobody has the store
    // open, everything is searched for them too, the log of this run and the backup among it.
    let file = cast.server.folder().data().join("accredit.db");
    let store = Connection::open(&file).expect("a store");
    let (peppers, keys) = planted.wrapped(&root_key, &store);
    assert!(peppers >= 1 && keys >= 3, "{peppers} peppers, {keys} keys");
    drop(store);
    check_files(&cast, &planted);
    let opened = Content::read(&backup, &text(&founded, "root_key_file"));
    planted.check("the store in the backup", &opened.store);
    planted.check("the manifest of the backup", opened.manifest.to_string().as_bytes());
    // That the search finds what is there: a thing that is no secret.
    let store = std::fs::read(cast.server.folder().data().join("accredit.db")).expect("a store");
    let mut known = Planted::new();
    known.bytes("an id", agent.agent.as_bytes());
    let finds = |bytes: &[u8]| known.found(bytes).is_some();
    assert!(finds(&store) && finds(&opened.store), "an id stands in the store");
    assert!(planted.found(root_key.as_bytes()).is_some(), "the root key stands in its file");
    assert!(planted.found(agent.secret.as_bytes()).is_some(), "a secret stands in its text");
    // So is a secret within the user and password of HTTP's basic authentication.
    let basic = b64url_encode(format!("x:{}:y", agent.agent).as_bytes());
    assert!(finds(basic.as_bytes()), "{basic}");
}

/// Every file that the server and the command line wrote: the store with its journal, the log on
/// standard error, the export. Only the root key's own file holds the root key.
fn check_files(cast: &Cast, planted: &Planted) -> Vec<String> {
    let folder = cast.server.folder();
    let mut seen = Vec::new();
    for folder in [folder.path().to_owned(), folder.data()] {
        for file in std::fs::read_dir(folder).expect("a folder") {
            let path = file.expect("a file").path();
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            if path.is_file() && name != "root.key" {
                planted.check(&name, &std::fs::read(&path).expect("readable"));
                seen.push(name);
            }
        }
    }
    for wanted in ["accredit.db", "log", "log.ndjson", "whole.backup"] {
        assert!(seen.iter().any(|name| name == wanted), "{wanted} is not among {seen:?}");
    }
    seen
}
