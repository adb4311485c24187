//! Whole commands against a server that remembers what it was asked.

use serde_json::{Value, json};

use super::run;
use crate::args::Cli;
use crate::client_settings::Surroundings;
use crate::context::Context;
use crate::errors::Failure;
use crate::exit::Exit;
use crate::fake_server::FakeServer;
use crate::output::Output;
use clap::Parser;

/// Runs a command line off a terminal, with an administrator's key in the environment.
async fn command(server: &FakeServer, line: &[&str]) -> Result<(), Failure> {
    let argv = ["accredit", "--url", &server.url, "--output", "json", "--quiet"];
    let cli = Cli::try_parse_from(argv.iter().chain(line)).expect("a command line");
    let around = Surroundings::read(|name| match name {
        "ACCREDIT_TOKEN" => Some("key".into()),
        "ACCREDIT_CLIENT_SECRET" => Some("secret".into()),
        _ => None,
    });
    let mut out = Output::new(&cli.flags, &around);
    out.interactive = false;
    let cx = Context::new(cli.flags, around, out);
    run(cli.command, &cx).await
}

/// What one command asks, as request line and body.
async fn check_asked(line: &[&str], expected: &[(&str, Value)]) {
    let server = FakeServer::start(|_| {
        (200, r#"{"id":"x","name":"planner","state":"active","items":[],"next":null}"#.into())
    })
    .await;
    command(&server, line).await.expect("it works");
    let asked: Vec<(String, Value)> = server
        .seen()
        .into_iter()
        .map(|asked| (asked.line, serde_json::from_str(&asked.body).unwrap_or(Value::Null)))
        .collect();
    let expected: Vec<(String, Value)> =
        expected.iter().map(|(line, body)| ((*line).to_owned(), body.clone())).collect();
    assert_eq!(asked, expected, "{line:?}");
}

#[tokio::test]
async fn each_noun_asks_what_the_api_says() {
    let agent = [
        "agent",
        "create",
        "planner",
        "--owner",
        "jo@example.com",
        "--purpose",
        "plans",
        "--allow",
        "crm:read",
        "--allow",
        "crm:write",
        "--default-scope",
        "crm:read",
        "--activate",
    ];
    let body = json!({"name": "planner", "owner_email": "jo@example.com", "purpose": "plans",
        "allow": ["crm:read", "crm:write"], "default_scope": "crm:read", "activate": true});
    check_asked(&agent, &[("POST /v1/agents", body)]).await;
    let agent = ["agent", "update", "planner", "--may-delegate", "false"];
    check_asked(&agent, &[("PATCH /v1/agents/planner", json!({"may_delegate": false}))]).await;
    let resource = [
        "resource",
        "create",
        "crm",
        "--audience",
        "https://crm.example",
        "--action",
        "read",
        "--revocations-age-max",
        "30s",
    ];
    let body = json!({"name": "crm", "audience": "https://crm.example", "actions": ["read"],
        "revocations_age_max": 30});
    check_asked(&resource, &[("POST /v1/resources", body)]).await;
    let instance = ["instance", "create", "--agent", "planner", "--expires-in", "15m"];
    let body = json!({"agent": "planner", "expires_in": 900});
    check_asked(&instance, &[("POST /v1/instances", body)]).await;
    let credential = ["credential", "create", "--resource", "crm", "--type", "client-secret"];
    let body = json!({"resource": "crm", "type": "client-secret"});
    check_asked(&credential, &[("POST /v1/credentials", body)]).await;
    let admin_key = [
        "admin-key",
        "create",
        "--role",
        "auditor",
        "--purpose",
        "a year's audit",
        "--permission",
        "audit",
        "--expires-in",
        "30d",
    ];
    let body = json!({"role": "auditor", "purpose": "a year's audit", "permissions": ["audit"],
        "expires_in": 2_592_000});
    check_asked(&admin_key, &[("POST /v1/admin-keys", body)]).await;
    let id = accredit_wire::ids::CredentialId::new(1, [5; 10]).to_string();
    let admin_key = ["admin-key", "rotate", &id, "--overlap", "15m"];
    let asked = format!("POST /v1/admin-keys/{id}/rotate");
    check_asked(&admin_key, &[(&asked, json!({"overlap": 900}))]).await;
    let admin_key = ["admin-key", "revoke", &id, "--reason", "left"];
    let body = json!({"target": id, "reason": "left"});
    check_asked(&admin_key, &[("POST /v1/revocations", body)]).await;
    let permission = ["permission", "set", "--agent", "a", "--resource", "crm", "--action", "read"];
    let limited = [
        "permission",
        "set",
        "--agent",
        "planner",
        "--allow",
        "crm:read",
        "crm:update(/eu/*; amount<=100)",
    ];
    let body = json!({"actions": ["read"], "limited": [{"actions": ["update"], "object": "/eu/*",
        "constraints": {"amount": {"max": 100}}}]});
    check_asked(&limited, &[("PUT /v1/agents/planner/permissions/crm", body)]).await;
    let body = json!({"actions": ["read"]});
    check_asked(&permission, &[("PUT /v1/agents/a/permissions/crm", body)]).await;
    let federation = [
        "federation",
        "add",
        "corp",
        "--issuer",
        "https://idp.example",
        "--discover",
        "--audience",
        "accredit",
        "--rule",
        "groups contains sales => crm:read",
    ];
    let body = json!({"name": "corp", "issuer": "https://idp.example", "audiences": ["accredit"],
        "rules": ["groups contains sales => crm:read"], "provision": true});
    check_asked(&federation, &[("POST /v1/federations", body)]).await;
    let platform = [
        "federation",
        "add",
        "prod",
        "--issuer",
        "https://oidc.example",
        "--discover",
        "--no-users",
    ];
    let body = json!({"name": "prod", "issuer": "https://oidc.example", "audiences": [],
        "rules": [], "provision": true});
    check_asked(&platform, &[("POST /v1/federations", body)]).await;
    let none = ["federation", "update", "corp", "--no-rules", "--discover"];
    let body = json!({"rules": [], "jwks_url": ""});
    check_asked(&none, &[("PATCH /v1/federations/corp", body)]).await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("bundle.json");
    std::fs::write(&file, r#"{"keys":[]}"#).expect("written");
    let file = file.display().to_string();
    let followed = ["trust-domain", "add", "a.example", "--bundle-url", "https://a.example/b"];
    let body = json!({"name": "a.example", "bundle_url": "https://a.example/b", "agents": []});
    check_asked(&followed, &[("POST /v1/trust-domains", body)]).await;
    let known = ["--profile", "https_spiffe", "--endpoint-id", "spiffe://a.example/b", "--bundle"];
    let spiffe = [&followed[..], &known, &[&file, "--agent", "planner"]].concat();
    let body = json!({"name": "a.example", "bundle_url": "https://a.example/b",
        "profile": "https_spiffe", "endpoint_id": "spiffe://a.example/b",
        "bundle": r#"{"keys":[]}"#, "agents": ["planner"]});
    check_asked(&spiffe, &[("POST /v1/trust-domains", body)]).await;
    let given = ["trust-domain", "refresh", "a.example", "--bundle", &file];
    let body = json!({"bundle": r#"{"keys":[]}"#});
    check_asked(&given, &[("POST /v1/trust-domains/a.example/refresh", body)]).await;
    let remove = ["trust-domain", "remove", "a.example"];
    check_asked(&remove, &[("DELETE /v1/trust-domains/a.example", Value::Null)]).await;
    let list = ["trust-domain", "list", "--sort", "-name", "--limit", "5"];
    check_asked(&list, &[("GET /v1/trust-domains?sort=-name&limit=5", Value::Null)]).await;
    let grant = ["person", "grant", "jo@example.com", "--allow", "crm:read", "crm:update"];
    let body = json!({"allow": ["crm:read", "crm:update"]});
    check_asked(&grant, &[("POST /v1/persons/jo@example.com/grant", body)]).await;
    let link = ["person", "link", "jo@example.com", "--federation", "corp", "--subject", "a b"];
    let body = json!({"federation": "corp", "subject": "a b"});
    check_asked(&link, &[("POST /v1/persons/jo@example.com/link", body)]).await;
    let person = ["person", "suspend", "jo@example.com", "--reason", "left"];
    let body = json!({"reason": "left"});
    check_asked(&person, &[("POST /v1/persons/jo@example.com/suspend", body)]).await;
    let list = ["audit", "list", "--type", "token.issued", "--limit", "5"];
    check_asked(&list, &[("GET /v1/events?type=token.issued&limit=5", Value::Null)]).await;
}

#[tokio::test]
async fn presets_name_a_workload_by_what_its_platform_keeps() {
    let add = ["attest", "rule", "add", "--agent", "planner", "--federation", "prod"];
    let asked = "POST /v1/credentials";
    let body =
        |workload: Value| json!({"agent": "planner", "type": "workload", "workload": workload});
    let pods = ["--kubernetes", "--namespace", "ns", "--service-account", "planner"];
    let workload = json!({"federation": "prod",
        "claims": {"sub": "system:serviceaccount:ns:planner"},
        "instance_by": ["/kubernetes.io/pod/uid"]});
    check_asked(&[&add[..], &pods].concat(), &[(asked, body(workload))]).await;
    let uid = ["--service-account-uid", "7f1e", "--instance-lifetime", "7d"];
    let workload = json!({"federation": "prod", "claims": {
        "sub": "system:serviceaccount:ns:planner", "/kubernetes.io/serviceaccount/uid": "7f1e"},
        "instance_by": ["/kubernetes.io/pod/uid"], "instance_lifetime": 604_800});
    check_asked(&[&add[..], &pods, &uid].concat(), &[(asked, body(workload))]).await;
    let runs = ["--github", "--repository-id", "74", "--environment", "prod"];
    let workload = json!({"federation": "prod",
        "claims": {"repository_id": "74", "environment": "prod"},
        "instance_by": ["run_id", "run_attempt"], "age_max": 600});
    check_asked(&[&add[..], &runs].concat(), &[(asked, body(workload))]).await;
    let own = ["--claim", "sub=0f=9d", "--audience", "api://accredit", "--births-per-hour", "5"];
    let workload = json!({"federation": "prod", "claims": {"sub": "0f=9d"}, "instance_by": [],
        "audience": "api://accredit", "births_per_hour": 5});
    check_asked(&[&add[..], &own].concat(), &[(asked, body(workload))]).await;
    for wrong in [
        &["--kubernetes", "--namespace", "ns"][..],
        &["--kubernetes", "--service-account", "planner"],
        &["--github"],
        &["--repository-id", "74"],
        &["--claim", "sub"],
        &[],
    ] {
        let line = [&["accredit"][..], &add, wrong].concat();
        assert!(Cli::try_parse_from(line).is_err(), "{wrong:?}");
    }
    let server = FakeServer::start(|_| (500, String::new())).await;
    let twice = ["--claim", "sub=a", "--claim", "sub=b"];
    assert!(command(&server, &[&add[..], &twice].concat()).await.is_err());
    assert!(server.lines().is_empty(), "nothing was asked");
}

#[tokio::test]
async fn a_rule_on_processes_names_nodes_and_nothing_of_tokens() {
    let add = ["attest", "rule", "add", "--agent", "planner", "--edge", "node"];
    let claims = ["--claim", "path=/opt/planner", "--claim", "uid=1200"];
    let workload = json!({"edge": "node", "claims": {"path": "/opt/planner", "uid": "1200"},
        "births_per_hour": 5, "instance_lifetime": 3600});
    let body = json!({"agent": "planner", "type": "workload", "workload": workload});
    let more = ["--births-per-hour", "5", "--instance-lifetime", "1h"];
    let line = [&add[..], &claims, &more].concat();
    check_asked(&line, &[("POST /v1/credentials", body)]).await;
    for wrong in [
        &[][..],
        &["--federation", "prod"],
        &["--audience", "x"],
        &["--age-max", "1h"],
        &["--instance-by", "jti"],
        &["--github", "--repository-id", "7"],
    ] {
        let claims = if wrong.is_empty() { &[][..] } else { &claims[..] };
        let line = [&["accredit"][..], &add, claims, wrong].concat();
        assert!(Cli::try_parse_from(line).is_err(), "{wrong:?}");
    }
}

#[tokio::test]
async fn a_machine_is_invited_for_minutes() {
    let body = json!({"agent": "node", "type": "join-token", "node": {}});
    let asked = "POST /v1/credentials";
    check_asked(&["edge", "invite", "--agent", "node"], &[(asked, body)]).await;
    let body = json!({"agent": "node", "type": "join-token", "expires_in": 3600,
        "node": {"name": "host-7", "expires_in": 7_776_000}});
    let more = ["--name", "host-7", "--expires-in", "1h", "--node-expires-in", "90d"];
    let line = [&["edge", "invite", "--agent", "node"][..], &more].concat();
    check_asked(&line, &[(asked, body)]).await;
}

#[tokio::test]
async fn only_a_rule_is_removed_as_one() {
    let id = accredit_wire::ids::CredentialId::new(1, [5; 10]).to_string();
    let remove = ["attest", "rule", "remove", &id, "--reason", "moved"];
    let server = FakeServer::start(|_| (200, r#"{"id":"x","type":"client-secret"}"#.into())).await;
    assert!(command(&server, &remove).await.is_err());
    assert_eq!(server.lines(), [format!("GET /v1/credentials/{id}")]);
    let server = FakeServer::start(|_| (200, r#"{"id":"x","type":"workload"}"#.into())).await;
    command(&server, &remove).await.expect("ended");
    let asked = [format!("GET /v1/credentials/{id}"), "POST /v1/revocations".to_owned()];
    assert_eq!(server.lines(), asked);
}

#[tokio::test]
async fn a_revocation_needs_no_consent_and_only_an_id() {
    let id = accredit_wire::ids::InstanceId::new(1, [5; 10]).to_string();
    let body = json!({"target": id, "reason": "done"});
    let line = ["revoke", &id, "--reason", "done"];
    check_asked(&line, &[("POST /v1/revocations", body)]).await;
    let server = FakeServer::start(|_| (200, "{}".into())).await;
    let failure = command(&server, &["revoke", "planner", "--reason", "x"]).await;
    assert_eq!(failure.expect_err("a name").exit, Exit::Usage);
    assert!(server.lines().is_empty());
}

#[tokio::test]
async fn a_destructive_verb_changes_nothing_without_consent() {
    let look = ("GET /v1/agents/planner", Value::Null);
    let act = ("POST /v1/agents/planner/decommission", json!({"reason": "old"}));
    let line = ["agent", "decommission", "planner", "--reason", "old", "--yes"];
    check_asked(&line, &[look, act]).await;
    let server = FakeServer::start(|_| (200, r#"{"name":"planner"}"#.into())).await;
    for line in [
        &["agent", "decommission", "planner"][..],
        &["org", "suspend", "acme", "--reason", "x"][..],
    ] {
        let failure = command(&server, line).await.expect_err("no consent");
        assert_eq!(failure.exit, Exit::Usage);
        assert!(failure.hint.contains("--yes"));
    }
    assert!(server.lines().iter().all(|line| line.starts_with("GET ")), "{:?}", server.lines());
}

#[tokio::test]
async fn a_dry_run_shows_what_would_end_and_sends_nothing_that_changes() {
    fn planner() -> String {
        accredit_wire::ids::AgentId::new(1, [5; 10]).to_string()
    }
    let id = planner();
    let preview = format!("/v1/revocations/preview?target={id}");
    let shown = |_: &str| (200, json!({"id": planner(), "name": "planner"}).to_string());
    let server = FakeServer::start(shown).await;
    for line in [
        &["revoke", &id, "--reason", "x", "--dry-run"][..],
        &["--dry-run", "agent", "suspend", "planner"][..],
        &["agent", "decommission", "planner", "--dry-run"][..],
        &["org", "suspend", "acme", "--reason", "x", "--dry-run"][..],
        &["person", "suspend", "jo@example.com", "--reason", "x", "--dry-run"][..],
        &["resource", "suspend", "crm", "--reason", "x", "--dry-run"][..],
    ] {
        command(&server, line).await.expect("a preview");
        let last = server.lines().last().cloned().expect("a request");
        assert!(last.starts_with(&format!("GET {preview}")), "{line:?}: {last}");
    }
    let asked = server.lines().len();
    // What cannot be shown before is not done.
    for line in [
        &["agent", "activate", "planner", "--dry-run"][..],
        &["person", "create", "jo@example.com", "--dry-run"][..],
        &[
            "permission",
            "set",
            "--agent",
            "a",
            "--resource",
            "crm",
            "--action",
            "read",
            "--dry-run",
        ],
        &["audit", "prune", "--older-than", "30d", "--dry-run"],
        &["root", "rotate", "--config", "accredit.toml", "--dry-run"],
    ] {
        let failure = command(&server, line).await.expect_err("nothing to show");
        assert_eq!(failure.exit, Exit::Usage, "{line:?}");
        assert!(failure.hint.contains("nothing was changed"), "{line:?}");
    }
    assert_eq!(server.lines().len(), asked);
    assert!(server.lines().iter().all(|line| line.starts_with("GET ")), "{:?}", server.lines());
}

#[tokio::test]
async fn an_export_is_either_complete_or_not_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("log.ndjson");
    let path = file.to_str().expect("a path").to_owned();
    let line = ["audit", "export", "-o", &path];
    let files = || std::fs::read_dir(folder.path()).expect("the folder").count();

    let cut = FakeServer::start(|_| (200, "{\"accredit_export\":1}\n{\"event\":{".into())).await;
    let failure = command(&cut, &line).await.expect_err("cut off");
    assert_eq!(&*failure.kind, "urn:accredit:cli:export-cut-off");
    assert_eq!(files(), 0, "nothing half-written is left");

    let whole = "{\"accredit_export\":1}\n{\"end\":{\"events\":0}}\n";
    let good =
        FakeServer::start(|_| (200, "{\"accredit_export\":1}\n{\"end\":{\"events\":0}}\n".into()));
    let good = good.await;
    command(&good, &line).await.expect("an export");
    assert_eq!(std::fs::read_to_string(&file).expect("the file"), whole);
    assert_eq!(good.lines(), ["GET /v1/events/export"]);

    let refused = FakeServer::start(|_| (403, "{}".into())).await;
    assert_eq!(command(&refused, &line).await.expect_err("refused").exit, Exit::Denied);
    assert_eq!(std::fs::read_to_string(&file).expect("the file"), whole, "the old one stays");
    assert_eq!(files(), 1);
}

#[tokio::test]
async fn a_token_is_got_at_the_organization_that_is_named_or_at_the_only_one() {
    fn answer(line: &str) -> (u16, String) {
        match line {
            "POST /o/dev/oauth/token" => (200, json!({"access_token": "t"}).to_string()),
            "GET /v1/orgs?limit=2" => {
                (200, json!({"items": [{"name": "dev"}], "next": null}).to_string())
            }
            _ => (404, "{}".into()),
        }
    }
    let server = FakeServer::start(answer).await;
    let form = "grant_type=client_credentials&scope=crm%3Aread+crm%3Awrite&expires_in=60";
    for named in [&["--org", "dev"][..], &[]] {
        let mut line = vec![
            "token",
            "get",
            "--client-id",
            "agt_1",
            "--scope",
            "crm:read crm:write",
            "--expires-in",
            "60s",
        ];
        line.extend(named);
        command(&server, &line).await.expect("a token");
        let last = server.seen().pop().expect("a request");
        assert_eq!((last.line.as_str(), last.body.as_str()), ("POST /o/dev/oauth/token", form));
        assert!(last.authorization.starts_with("Basic "), "the agent's secret, not the key");
    }
}

fn log_of_100(line: &str) -> (u16, String) {
    if line == "GET /v1/log" {
        return (200, json!({"lanes": [{"lane": 0, "size": 100}]}).to_string());
    }
    let event = |seq: u64, kind: &str| json!([{"lane": 0, "seq": seq, "type": kind}]);
    let items = match (line.contains("type="), line) {
        (true, line) if line.contains("after=0.0&") => event(40, "token.issued"),
        (false, line) if !line.contains("after=0.100&") => event(99, "x"),
        _ => json!([]),
    };
    (200, json!({"items": items, "next": null}).to_string())
}

#[tokio::test]
async fn a_tail_begins_near_the_end_of_the_log() {
    let server = FakeServer::start(log_of_100).await;
    command(&server, &["audit", "tail", "-n", "10"]).await.expect("a tail");
    assert_eq!(server.lines()[1], "GET /v1/events?after=0.90&limit=200");
    assert_eq!(server.lines().len(), 3, "until nothing follows");
}

#[tokio::test]
async fn a_follower_of_a_rare_type_does_not_search_the_whole_log_again() {
    let server = FakeServer::start(log_of_100).await;
    let line = ["audit", "tail", "--follow", "--type", "token"];
    let tail = command(&server, &line);
    let soon = std::time::Duration::from_millis(500);
    assert!(tokio::time::timeout(soon, tail).await.is_err(), "it follows");
    let lines = server.lines();
    assert_eq!(lines[1], "GET /v1/events?after=0.0&type=token&limit=200");
    assert_eq!(lines[3], "GET /v1/events?after=0.100&limit=200", "{lines:?}");
}

#[tokio::test]
async fn what_a_list_is_to_hold_is_asked_of_the_server() {
    let all = ["--limit", "5", "--state", "suspended", "--search", "a", "--sort", "-name"];
    for (list, path) in [
        (&["agent", "list", "--owner", "mia@example.com", "--environment", "prod"][..], "agents"),
        (&["person", "list"], "persons"),
        (&["federation", "list"], "federations"),
        (&["resource", "list"], "resources"),
    ] {
        let of_agent =
            if path == "agents" { "&owner=mia%40example.com&environment=prod" } else { "" };
        let asked = format!("GET /v1/{path}?state=suspended&sort=-name&q=a{of_agent}&limit=5");
        check_asked(&[list, &all].concat(), &[(&asked, Value::Null)]).await;
    }
    for (noun, path) in [
        ("instance", "instances"),
        ("task", "tasks"),
        ("credential", "credentials"),
        ("org", "orgs"),
        ("admin-key", "admin-keys"),
    ] {
        let asked = format!("GET /v1/{path}?state=active&limit=5");
        let list = [noun, "list", "--limit", "5", "--state", "active"];
        check_asked(&list, &[(&asked, Value::Null)]).await;
    }
}

/// A list of the server is a list here, and each of its parameters a flag of the same name.
#[test]
fn every_list_takes_what_the_server_takes() {
    use clap::CommandFactory as _;
    let command = crate::args::Cli::command();
    let mut lists = 0;
    for row in accredit_server::endpoints::ENDPOINTS {
        let Some(nouns) = row.operation.strip_prefix("list_") else { continue };
        let noun = nouns.strip_suffix('s').unwrap_or(nouns).replace('_', "-");
        let (noun, verb) = match &*noun {
            "event" => ("audit", "list"),
            "person-permission" => ("person", "grants"),
            "person-identitie" => ("person", "identities"),
            noun => (noun, "list"),
        };
        let list = command.find_subcommand(noun).and_then(|noun| noun.find_subcommand(verb));
        let list = list.unwrap_or_else(|| panic!("`{noun} {verb}`"));
        for name in row.query {
            let flag = if *name == "q" { "search".to_owned() } else { name.replace('_', "-") };
            let is_there = list.get_arguments().any(|arg| arg.get_long() == Some(&flag));
            assert!(is_there, "`{noun} {verb}` has no --{flag}");
        }
        lists += 1;
    }
    assert!(lists >= 11, "{lists}");
}

#[tokio::test]
async fn times_of_a_list_are_asked_of_the_server_in_utc() {
    let line = ["--review-due-before", "2027-01-01T01:00:00+01:00", "--sort", "-review_due_at"];
    let asked = "GET /v1/agents?sort=-review_due_at&review_due_before=2027-01-01T00%3A00%3A00Z";
    let server = FakeServer::start(|_| (200, json!({"items": [], "next": null}).to_string())).await;
    command(&server, &[&["agent", "list"][..], &line].concat()).await.expect("a list");
    let (line, wanted) = (server.lines().remove(0), asked.split(['?', '&']));
    assert!(wanted.clone().all(|part| line.contains(part)), "{line}");
}
