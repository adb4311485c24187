//! A text that is sent is a value and nothing else: it finds nothing or is refused by name, it is
//! never a fault, it shows no other row, and everything is as it was.

use accredit_server::caller::Requirement;
use accredit_server::endpoints::{ENDPOINTS, Endpoint, Verb};
use accredit_testkit::{Answer, Ask, Engine, TestWorld};
use accredit_wire::crypto::sha256;
use accredit_wire::jose::{b64url_decode, b64url_encode};
use serde_json::{Value, json};

use super::{Whole, is_list, items, lists, names, texts};
use crate::access::Stage;

/// Bytes of a cursor that bind it to its list.
const BOUND_BYTES: usize = 8;

/// What a text in a parameter of a query must come to.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Comes {
    /// Refused, by the name of the parameter: it is no text.
    Refused,
    /// Refused by name, of nothing that is there, or a list without rows.
    Nothing,
    /// Of no account: it says something by being there, or is a name that means nothing to us.
    Free,
    /// Refused before anybody looks at it.
    NotKept,
}

fn comes(endpoint: &Endpoint, name: &str) -> Comes {
    match (endpoint.operation, name) {
        ("status_list", "time") => Comes::NotKept,
        ("ready", "verbose")
        | ("get_acknowledgements", "unfollowed")
        | ("revocations_feed", "gen" | "rev" | "name") => Comes::Free,
        (
            _,
            "limit" | "cursor" | "sort" | "state" | "environment" | "nonce" | "follower"
            | "age_max" | "from" | "to" | "index" | "size" | "rev" | "named" | "after"
            | "created_after" | "created_before" | "expires_after" | "expires_before"
            | "last_seen_after" | "last_seen_before" | "last_used_after" | "last_used_before"
            | "review_due_after" | "review_due_before",
        ) => Comes::Refused,
        (_, "q" | "type" | "owner" | "agent" | "instance" | "resource" | "target") => {
            Comes::Nothing
        }
        (operation, name) => {
            panic!("`{name}` of {operation} is new: say what a text in it must come to")
        }
    }
}

/// A value of a parameter that is taken.
fn good(stage: &Stage, name: &str) -> Option<String> {
    Some(match name {
        "limit" => "3".to_owned(),
        "state" => "active".to_owned(),
        "environment" => "prod".to_owned(),
        "q" => "p".to_owned(),
        "agent" => "planner".to_owned(),
        "owner" => stage.scene.planner.owner.expect("an owner").to_string(),
        "resource" => "crm".to_owned(),
        "target" => stage.scene.planner.id.to_string(),
        "type" => "agent".to_owned(),
        name if name.ends_with("_after") => "2020-01-01T00:00:00Z".to_owned(),
        name if name.ends_with("_before") => "2040-01-01T00:00:00Z".to_owned(),
        _ => return None,
    })
}

/// A request for a path, by somebody who may do everything.
fn by_admin(stage: &Stage, endpoint: &Endpoint, path: &str) -> Ask {
    let ask = Ask::new(endpoint.method.as_str(), path);
    match endpoint.caller {
        Requirement::Client => {
            ask.basic(&stage.scene.client).form(&[("grant_type", "client_credentials")])
        }
        Requirement::OperatorAlone | Requirement::Anyone => ask,
        Requirement::Admin(_) | Requirement::Verifier => {
            let ask = ask.bearer(&stage.acme.admin);
            let has_body = endpoint.method != Verb::Get && endpoint.body_max > 0;
            if has_body { ask.json(&stage.body(endpoint.operation)) } else { ask }
        }
    }
}

/// What an answer to a text must be, wherever it stood.
fn check(answer: &Answer, comes: Comes, name: &str, what: &str) {
    let (status, text) = (answer.status, String::from_utf8_lossy(&answer.body));
    let holds = match comes {
        Comes::Refused => names(answer, name),
        Comes::Nothing => {
            let is_empty = || answer.json()["items"].as_array().is_some_and(Vec::is_empty);
            names(answer, name) || status == 404 || status == 200 && is_empty()
        }
        Comes::Free => status == 200 || names(answer, name),
        Comes::NotKept => status == 501 || names(answer, name),
    };
    assert!(holds, "{what}, {comes:?}: {status} {text}");
}

async fn in_queries(stage: &Stage) -> usize {
    let mut tried = 0;
    for endpoint in ENDPOINTS.iter().filter(|row| row.method == Verb::Get) {
        let path = stage.filled(endpoint, endpoint.path);
        for name in endpoint.query {
            let comes = comes(endpoint, name);
            let beside: Vec<String> = stage
                .query(endpoint)
                .into_iter()
                .filter(|(other, _)| other != name)
                .map(|(other, value)| format!("{other}={value}&"))
                .collect();
            for text in texts::sent() {
                let target = format!("{path}?{}{name}={text}", beside.concat());
                let ask = by_admin(stage, endpoint, &target);
                if comes == Comes::Free {
                    // The feed has no end.
                    let status = stage.world.status(ask).await;
                    assert!(status == 200 || status == 400, "{target}: {status}");
                } else {
                    check(&stage.world.ask(ask).await, comes, name, &target);
                }
                tried += 1;
            }
            for number in texts::numbers() {
                let number = texts::encoded(&number);
                let target = format!("{path}?{}{name}={number}", beside.concat());
                let status = stage.world.status(by_admin(stage, endpoint, &target)).await;
                assert!(status < 500 || comes == Comes::NotKept, "{target}: {status}");
                tried += 1;
            }
        }
    }
    tried
}

/// What reaches a statement does so in another one for each order, and beside each other filter.
async fn in_filters_beside_others(stage: &Stage) -> usize {
    let mut tried = 0;
    for endpoint in ENDPOINTS.iter().filter(|row| is_list(row)) {
        let path = stage.filled(endpoint, endpoint.path);
        for name in endpoint.query.iter().filter(|name| comes(endpoint, name) == Comes::Nothing) {
            let others = endpoint.query.iter().filter(|other| *other != name);
            let others = others.filter_map(|other| Some((*other, good(stage, other)?)));
            let sorts = endpoint.sorts.iter().map(|sort| ("sort", (*sort).to_owned()));
            for (other, value) in others.chain(sorts) {
                for text in texts::sent() {
                    let target = format!("{path}?{other}={value}&{name}={text}");
                    let answer = stage.world.ask(by_admin(stage, endpoint, &target)).await;
                    // A search by name is answered by name.
                    if !(other == "sort" && names(&answer, "sort")) {
                        check(&answer, Comes::Nothing, name, &target);
                    }
                    tried += 1;
                }
            }
        }
    }
    tried
}

/// The cursor of a place in a list, as the server makes them; it is no secret how.
fn forged(endpoint: &Endpoint, path: &str, sort: &str, place: &str) -> String {
    let mut list = format!("{path}\n{sort}");
    for name in endpoint.query {
        if !["limit", "cursor", "sort", "after"].contains(name) {
            list.extend(["\n", name, " 0 "]);
        }
    }
    let hash = sha256(format!("accredit cursor\n{place}\n{list}").as_bytes());
    b64url_encode(&[&hash[..BOUND_BYTES], place.as_bytes()].concat())
}

async fn in_cursors(stage: &Stage, whole: &Whole) -> usize {
    let (mut tried, mut proven) = (0, 0);
    for endpoint in ENDPOINTS.iter().filter(|row| is_list(row)) {
        let path = stage.filled(endpoint, endpoint.path);
        for sort in endpoint.sorts {
            let asked = format!("{path}?sort={sort}");
            let first = by_admin(stage, endpoint, &format!("{asked}&limit=1"));
            let first = stage.world.ask(first).await.expect(200);
            if let Some(next) = first.json()["next"].as_str() {
                let bytes = b64url_decode(next).expect("base64url");
                let place = std::str::from_utf8(&bytes[BOUND_BYTES..]).expect("a place");
                assert_eq!(forged(endpoint, &path, sort, place), next, "made as they are made");
                proven += 1;
            }
            let texts = texts::texts().into_iter().chain(texts::numbers());
            let due = texts.clone().map(|text| format!("0:{text}"));
            for place in texts.chain(due) {
                let cursor = forged(endpoint, &path, sort, &place);
                let target = format!("{asked}&cursor={cursor}");
                let answer = stage.world.ask(by_admin(stage, endpoint, &target)).await;
                tried += 1;
                if endpoint.operation == "list_events" {
                    let known = names(&answer, "after") || names(&answer, "cursor");
                    assert!(known || answer.status == 200, "{place:?}: {}", answer.text());
                    continue;
                }
                if !names(&answer, "cursor") {
                    assert_eq!(answer.status, 200, "{path} {place:?}: {}", answer.text());
                    let own = &whole.listed[&path];
                    let foreign = items(&answer).into_iter().find(|item| !own.contains(item));
                    assert_eq!(foreign, None, "{path} {place:?}");
                }
            }
        }
    }
    assert!(proven > 20, "{proven} cursors");
    tried
}

/// Parts of paths, one at a time; the others are good, and so is the body.
async fn in_paths(stage: &Stage) -> usize {
    const PARTS: [&str; 8] =
        ["{org}", "{log}", "{list}", "{*tile}", "{key}", "{resource}", "{authority}", "{*request}"];
    let mut tried = 0;
    for endpoint in ENDPOINTS {
        let parts = endpoint.path.split('/').filter(|part| part.starts_with('{'));
        for part in parts {
            assert!(PARTS.contains(&part), "{part} of {} is new", endpoint.path);
            for text in texts::sent() {
                let path = stage.filled(endpoint, &endpoint.path.replace(part, &text));
                let query: Vec<_> = stage.query(endpoint);
                let query = query.iter().map(|(name, value)| format!("{name}={value}"));
                let query = query.collect::<Vec<_>>().join("&");
                let target = if query.is_empty() { path } else { format!("{path}?{query}") };
                let answer = stage.world.ask(by_admin(stage, endpoint, &target)).await;
                let text = String::from_utf8_lossy(&answer.body);
                let what = format!("{} {target}: {} {text}", endpoint.operation, answer.status);
                assert!(answer.status == 404 || answer.status == 400, "{what}");
                tried += 1;
            }
        }
    }
    tried
}

/// Parameters of the forms of OAuth that name or are something; those that are free text are tried in
/// the stories about text.
fn parameters(operation: &str) -> &'static [&'static str] {
    match operation {
        "token" => &[
            "grant_type",
            "scope",
            "resource",
            "authorization_details",
            "client_id",
            "client_assertion",
        ],
        "introspect" | "revoke" => &["token", "token_type_hint", "client_id"],
        "spawn_instance" => &["agent", "task", "scope", "expires_in"],
        "create_own_task" => &["expires_in", "subject_token_type", "scope"],
        "own_tasks" => &["cursor"],
        // A reason, which is free text.
        "end_own_instance" => &["instance"],
        "join_instance" => &["join_token", "jwk"],
        "attested_instance" => &["selectors", "process", "jwk"],
        "issue_certificate" => &["csr", "task", "expires_in"],
        "issue_jwt_svid" => &["audience", "task", "expires_in"],
        "end_own_task" => &["task"],
        "federated_bundles" => &[],
        operation => panic!("{operation} is new: say which of its parameters name something"),
    }
}

async fn in_forms(stage: &Stage, instance: &accredit_testkit::Client) -> usize {
    let (world, client) = (&stage.world, &stage.scene.client);
    let mut tried = 0;
    for endpoint in ENDPOINTS.iter().filter(|row| row.caller == Requirement::Client) {
        let path = stage.filled(endpoint, endpoint.path);
        for name in parameters(endpoint.operation) {
            for text in texts::texts().iter().chain(&texts::numbers()) {
                // A form in which nothing else is missing comes as far as this one.
                let others: &[(&str, &str)] = match endpoint.operation {
                    "token" => &[("grant_type", "client_credentials"), ("scope", "crm:read")],
                    "introspect" | "revoke" => &[("token", "x")],
                    "spawn_instance" => &[("agent", "worker"), ("scope", "crm:read")],
                    "create_own_task" => &[("subject_token", "x")],
                    "issue_certificate" => &[("csr", "x")],
                    "join_instance" => &[("jwk", "{}")],
                    "attested_instance" => &[
                        ("selectors", "{\"path\":\"/opt/worker\"}"),
                        ("process", "x"),
                        ("jwk", "{}"),
                    ],
                    "issue_jwt_svid" => &[("audience", "a")],
                    _ => &[],
                };
                let others = others.iter().filter(|(other, _)| other != name).copied();
                let form: Vec<_> = others.chain([(*name, text.as_str())]).collect();
                let ask = Ask::post(&path).form(&form);
                // An agent introspects nothing.
                let ask = match endpoint.operation {
                    "introspect" => ask.bearer(&stage.acme.admin),
                    // Two proofs are one too many; and an agent is no node.
                    "join_instance" if *name == "join_token" => ask,
                    "attested_instance" => ask.basic(instance),
                    _ => ask.basic(client),
                };
                let answer = world.ask(ask).await;
                let (status, said) = (answer.status, answer.text());
                // RFC 7009 section 2.2 and RFC 7662 section 2.2: what nobody knows is no error.
                let is_fine = status == 200
                    && match endpoint.operation {
                        "revoke" => true,
                        "introspect" => answer.json()["active"] == json!(false),
                        _ => false,
                    };
                let is_refused = [400, 401, 403].contains(&status);
                let what = endpoint.operation;
                assert!(is_fine || is_refused, "{what} `{name}` {text:?}: {status} {said}");
                tried += 1;
            }
        }
        for text in texts::texts() {
            for (id, secret) in [(&text, &client.secret), (&client.id, &text)] {
                let liar = accredit_testkit::Client {
                    id: id.clone(),
                    secret: secret.clone(),
                    ..client.clone()
                };
                let answer = world.ask(Ask::post(&path).basic(&liar).form(&[("token", "x")])).await;
                let (status, said) = (answer.status, answer.text());
                assert!([400, 401, 429].contains(&status), "{text:?}: {status} {said}");
                tried += 1;
            }
        }
    }
    tried
}

/// Members of bodies that name something, by operation.
const NAMING: [(&str, &str); 19] = [
    ("create_org", "name"),
    ("create_admin_key", "role"),
    ("create_person", "email"),
    ("grant_person", "allow"),
    ("ungrant_person", "allow"),
    ("link_person", "federation"),
    ("unlink_person", "federation"),
    ("create_federation", "name"),
    ("create_resource", "name"),
    ("create_agent", "owner_email"),
    ("create_instance", "agent"),
    ("create_task", "agent"),
    ("create_credential", "agent"),
    ("create_credential", "type"),
    ("revoke_id", "target"),
    ("undo_revocation", "revocation"),
    ("strip_agent", "allow"),
    ("allow_impersonation", "subject"),
    ("end_impersonation", "subject"),
];

async fn in_bodies(stage: &Stage) -> usize {
    let mut tried = 0;
    for (operation, name) in NAMING {
        let endpoint = ENDPOINTS.iter().find(|row| row.operation == operation).expect("a row");
        let path = stage.filled(endpoint, endpoint.path);
        for text in texts::texts() {
            let mut body = stage.body(operation);
            let is_list = body[name].is_array();
            assert!(is_list || body[name].is_string(), "{operation} has no `{name}`");
            body[name] = if is_list { json!([text]) } else { Value::from(text.as_str()) };
            let ask = Ask::new(endpoint.method.as_str(), &path).bearer(&stage.acme.admin);
            let answer = stage.world.ask(ask.json(&body)).await;
            let (status, said) = (answer.status, answer.text());
            let is_refused = [400, 404, 409].contains(&status);
            assert!(is_refused, "{operation} `{name}` {text:?}: {status} {said}");
            tried += 1;
        }
    }
    tried
}

async fn probe(engine: Engine) {
    let stage = Stage::on(TestWorld::new_on(engine, 88).await).await;
    let paths = lists(&stage);
    let instance = stage.world.instance(&stage.acme, "planner", None).await;
    let before = Whole::of(&stage.world, engine, &stage.acme, &paths).await;
    let after = async |tried: (usize, usize), what: &str| {
        assert!(tried.0 >= tried.1, "{} texts were sent {what}", tried.0);
        let after = Whole::of(&stage.world, engine, &stage.acme, &paths).await;
        assert_eq!(before, after, "{what}");
    };
    after((in_queries(&stage).await, 5_000), "in queries").await;
    after((in_filters_beside_others(&stage).await, 3_000), "beside other filters").await;
    after((in_cursors(&stage, &before).await, 3_000), "in cursors").await;
    after((in_paths(&stage).await, 2_000), "in paths").await;
    after((in_forms(&stage, &instance).await, 1_000), "in forms").await;
    after((in_bodies(&stage).await, 700), "in bodies").await;
}

#[tokio::test]
async fn a_text_is_a_value_and_nothing_else_on_sqlite() {
    probe(Engine::Sqlite).await;
}

#[tokio::test]
async fn a_text_is_a_value_and_nothing_else_on_postgresql() {
    probe(Engine::Postgres).await;
}
