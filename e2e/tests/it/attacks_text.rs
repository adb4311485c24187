//! Text that would forge a line of a log, drive a terminal, turn
//! itself around, or be run by who opens it. It is refused, or shown so that it does nothing.

use serde_json::{Value, json};

use crate::stage::cast::Client;
use crate::stage::{Ask, Cast};

/// What no line of a log, a table or an error may contain as it stands.
const FORBIDDEN: [char; 12] = [
    '\r', '\u{7}', '\u{8}', '\u{1b}', '\u{7f}', '\u{9b}', '\u{202e}', '\u{2066}', '\u{200f}',
    '\u{2028}', '\u{2029}', '\u{61c}',
];

/// Texts that do something elsewhere.
const TEXTS: [&str; 12] = [
    "good\r\n{\"level\":\"INFO\",\"message\":\"forged\"}",
    "good\nforged",
    "\u{1b}[2J\u{1b}[31mred\u{7}",
    "\u{9b}31mred",
    "\u{202e}gnp.exe",
    "\u{2066}isolated\u{2069}",
    "line\u{2028}separator",
    "mark\u{61c}mark",
    "=cmd|' /C calc'!A0",
    "<script>alert(1)</script>",
    "\"}],\"rule\":\"allowed",
    "CEF:0|a=b]c\\|d",
];

fn check(place: &str, text: &str) {
    let found = text.chars().find(|letter| FORBIDDEN.contains(letter));
    assert!(found.is_none(), "{found:?} stands in {place}: {text:?}");
}

/// Sends the text through every field that takes text.
async fn send_everywhere(cast: &Cast, client: &Client, n: usize, evil: &str) {
    let server = &cast.server;
    let (agent, credential) = (&client.agent, &client.credential);
    let name = format!("agent{n}");
    let asks: Vec<(&str, String, Value)> = vec![
        ("POST", "/v1/agents".to_owned(), json!({"name": evil, "owner_email": "m@example.com"})),
        (
            "POST",
            "/v1/agents".to_owned(),
            json!({"name": name, "owner_email": "m@example.com", "purpose": evil}),
        ),
        ("POST", "/v1/agents".to_owned(), json!({"name": format!("o{n}"), "owner_email": evil})),
        (
            "POST",
            "/v1/agents".to_owned(),
            json!({"name": format!("e{n}"), "owner_email": "m@example.com", "environment": evil}),
        ),
        (
            "POST",
            "/v1/agents".to_owned(),
            json!({"name": format!("p{n}"), "owner_email": "m@example.com", "allow": [evil]}),
        ),
        ("PATCH", format!("/v1/agents/{agent}"), json!({"purpose": evil})),
        (
            "POST",
            "/v1/persons".to_owned(),
            json!({"email": format!("p{n}@example.com"), "name": evil}),
        ),
        ("POST", "/v1/persons".to_owned(), json!({"email": evil})),
        ("POST", "/v1/persons".to_owned(), json!({"email": format!("{evil}@example.com")})),
        (
            "POST",
            "/v1/resources".to_owned(),
            json!({"name": format!("r{n}"),
            "audience": format!("https://r{n}.example/{evil}"), "actions": ["read"]}),
        ),
        (
            "POST",
            "/v1/resources".to_owned(),
            json!({"name": format!("s{n}"),
            "audience": format!("https://s{n}.example/"), "actions": [evil]}),
        ),
        ("POST", "/v1/instances".to_owned(), json!({"agent": agent, "name": evil})),
        ("PATCH", format!("/v1/orgs/{}", server.org), json!({"display_name": evil})),
        ("POST", "/v1/orgs".to_owned(), json!({"name": format!("org{n}"), "display_name": evil})),
        ("POST", "/v1/revocations".to_owned(), json!({"target": credential, "reason": evil})),
        ("POST", "/v1/revocations".to_owned(), json!({"target": evil, "reason": "x"})),
        ("POST", format!("/v1/agents/{agent}/suspend"), json!({"reason": evil})),
    ];
    for (method, path, body) in asks {
        let answer = server.api(method, &path, body.clone()).await;
        assert!(answer.status < 500, "{method} {path} {body}: {}", answer.text());
        for (name, value) in &answer.headers {
            check(&format!("the header {name}"), value);
        }
        // JSON escapes what is below a space; what is above must have been refused.
        check(&format!("the answer to {method} {path} {body}"), &answer.text());
    }
    let _ = server.api("POST", &format!("/v1/agents/{agent}/activate"), json!({})).await;
    // Strangers, who claim to be whoever they like.
    let path = server.at("/oauth/token");
    let grant = ("grant_type", "client_credentials");
    for ask in [
        Ask::form(&path, &[grant]).basic(evil, evil),
        Ask::form(&path, &[grant, ("client_id", evil), ("client_secret", "x")]),
        Ask::form(&path, &[("grant_type", evil)]),
        Ask::form(&path, &[grant, (evil, "1"), (evil, "2")]),
        Ask::form(&path, &[grant, ("scope", evil)]).basic(&client.agent, &client.secret),
        Ask::form(&path, &[grant, ("resource", evil)]).basic(&client.agent, &client.secret),
        Ask::form(&server.at("/oauth/revoke"), &[("token", evil)]).bearer(&server.admin),
    ] {
        let answer = server.send(ask.clone()).await;
        check(&format!("the answer to {}", ask.sent()), &answer.text());
        for (name, value) in &answer.headers {
            check(&format!("the header {name}"), value);
        }
    }
    let one_line: String = evil.chars().filter(|letter| !letter.is_control()).collect();
    let agent_header = Ask::get("/v1/agents").header("user-agent", &one_line);
    server.send(agent_header.bearer(&server.admin)).await;
    let traced =
        Ask::get("/v1/agents").header("request-id", &one_line).header("traceparent", &one_line);
    let answer = server.send(traced.bearer(&server.admin)).await;
    check("the request's id", answer.header("request-id").unwrap_or_default());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn text_of_others_forges_no_line_and_drives_no_terminal() {
    let cast = Cast::new().await;
    let client = cast.agent("planner").await;
    for (n, evil) in TEXTS.into_iter().enumerate() {
        send_everywhere(&cast, &client, n, evil).await;
    }
    let server = &cast.server;

    // The log: one object a line, and nothing that moves a cursor.
    let log = std::fs::read_to_string(server.folder().file("log")).expect("a log");
    check("the log", &log);
    for line in log.lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
        assert_ne!(line["message"], "forged");
    }

    // What people see.
    for args in [
        vec!["agent", "list"],
        vec!["agent", "show", "planner"],
        vec!["person", "list"],
        vec!["resource", "list"],
        vec!["instance", "list"],
        vec!["org", "list"],
        vec!["revocation", "list"],
        vec!["audit", "list"],
        vec!["audit", "tail", "-n", "200"],
    ] {
        for output in [&[][..], &["--output", "json"]] {
            let ran = server.cli(&[args.as_slice(), output].concat());
            check(&format!("{args:?} {output:?}"), &ran.out.replace("\r\n", "\n"));
            check(&format!("the errors of {args:?}"), &ran.err);
            assert_eq!(ran.code, 0, "{ran:?}");
        }
    }
    // What failed, and tells so.
    for evil in TEXTS {
        let ran = server.cli(&["agent", "show", evil]);
        assert_ne!(ran.code, 0);
        check("an error of the command line", &ran.err);
    }

    // The export: an event a line, and true.
    let file = server.folder().file("export.ndjson");
    server.cli(&["audit", "export", "-o", &file]).good();
    let export = std::fs::read_to_string(&file).expect("an export");
    check("the export", &export);
    let lines = export.lines().map(serde_json::from_str::<Value>);
    let lines: Vec<Value> = lines.collect::<Result<_, _>>().expect("an object a line");
    let end = lines.last().expect("an end");
    let events = lines.iter().filter(|line| line.get("event").is_some()).count();
    assert_eq!(end["end"]["events"], events, "{end}");
    assert!(events > 10, "{events} events");
    // No value of it is run by a program that shows tables: a cell does not begin with `=`, `+`,
    // `-` or `@` where a line of ours does not begin with `{`.
    assert!(export.lines().all(|line| line.starts_with('{')));
    let key = server.folder().file("log.key");
    server.cli(&["audit", "key", "-o", &key]).good();
    server.cli(&["audit", "verify", &file, "--key", &key]).good();
}
