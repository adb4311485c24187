//! Two organizations with something of everything: whatever one's administrator asks with the other's
//! ids, names, cursors and filters, nothing of the other is found, and none of it is told.

use std::collections::BTreeSet;

use accredit_server::caller::Requirement;
use accredit_server::endpoints::{ENDPOINTS, Endpoint, Verb};
use accredit_server::jobs;
use accredit_testkit::idp::Idp;
use accredit_testkit::{Answer, Ask, Engine, Org, TestWorld};
use accredit_wire::ids::AnyId;
use serde_json::{Value, json};

use super::{Whole, is_list, items, names, texts};

/// What stands in every name of the other organization and in nothing else.
const MARK: &str = "umbra";

/// An organization and what is its own.
struct Side {
    org: Org,
    /// A key that may do all that one organization may.
    key: String,
    /// The ids, names and secrets of its things, the longest first.
    own: Vec<String>,
}

impl Side {
    /// Something of everything, called `name` or beginning with it, and things called `twin`, as in
    /// the other.
    async fn new(world: &TestWorld, idp: &Idp, name: &str) -> Self {
        let org = world.found(name).await;
        let called = |what: &str| format!("{name}-{what}");
        let mut own = BTreeSet::from([name.to_owned()]);
        for resource in [called("crm"), called("mail"), "twin".to_owned()] {
            world.resource(&org, &resource, &["read"]).await;
        }
        let allow = format!("{}:read", called("crm"));
        for agent in [called("planner"), called("worker"), "twin".to_owned()] {
            world.advance(1);
            let asked = accredit_domain::registry::agent::CreateAgent {
                name: agent.clone(),
                allow: vec![allow.clone()],
                owner_email: Some(format!("{agent}@{name}.example")),
                purpose: Some(format!("to be of {name}")),
                ..Default::default()
            };
            world.agent_like(&org, asked).await;
            let secret = world.agent_secret(&org, &agent, None).await;
            let instance = world.instance(&org, &agent, None).await;
            crate::certificates::issue(world, &org, &instance).await;
            world.token(&org, &secret, &[("scope", &*allow)]).await.expect(200);
            own.insert(secret.secret);
        }
        let owner = format!("{}@{name}.example", called("planner"));
        for federation in [called("corp"), called("partner")] {
            world.federation(&org, idp, &federation).await;
            let link = json!({"federation": federation, "subject": called("user")});
            let path = format!("/v1/persons/{owner}/link");
            world.admin(&org, "POST", &path, Some(link)).await.expect(200);
        }
        for domain in [called("here.example"), called("there.example")] {
            let body = json!({"name": domain, "bundle": r#"{"keys":[]}"#});
            world.admin(&org, "POST", "/v1/trust-domains", Some(body)).await.expect(201);
        }
        for (verb, path, body, status) in [
            ("POST", format!("/v1/persons/{owner}/grant"), json!({"allow": [allow]}), 200),
            (
                "PUT",
                format!("/v1/agents/{}/permissions/{}", called("planner"), called("mail")),
                json!({"actions": ["read"]}),
                200,
            ),
            (
                "POST",
                "/v1/tasks".to_owned(),
                json!({"agent": called("planner"), "purpose": called("task")}),
                201,
            ),
            (
                "POST",
                "/v1/tasks".to_owned(),
                json!({"agent": called("planner"), "purpose": called("errand")}),
                201,
            ),
            (
                "POST",
                "/v1/admin-keys".to_owned(),
                json!({"role": "auditor", "purpose": called("audit")}),
                201,
            ),
        ] {
            world.admin(&org, verb, &path, Some(body)).await.expect(status);
        }
        for agent in [called("worker"), "twin".to_owned()] {
            let id = world.agent_id(&org, &agent).await;
            let body = json!({"target": id, "reason": called("reason")});
            world.admin(&org, "POST", "/v1/revocations", Some(body)).await.expect(201);
        }
        let key = world.admin_without_organizations(&org).await;
        // As one who sees no organization but their own.
        let mut side = Self { org, key, own: Vec::new() };
        for row in ENDPOINTS.iter().filter(|row| is_list(row)) {
            let path = side.path(row, &called("planner"), &owner);
            let ask = Ask::get(format!("{path}?limit=200")).bearer(&side.key);
            for item in items(&world.ask(ask).await.expect(200)) {
                note(&item, name, &mut own);
            }
        }
        side.own = own.into_iter().collect();
        side.own.sort_by_key(|text| std::cmp::Reverse(text.len()));
        side
    }

    /// The path of a row, of one of its own.
    fn path(&self, row: &Endpoint, agent: &str, owner: &str) -> String {
        let key = if row.path.starts_with("/v1/persons/") { owner } else { agent };
        row.path.replace("{key}", key).replace("{org}", &self.org.name)
    }

    /// What of its own an answer tells whoever asked for `sent`.
    fn told<'a>(&'a self, answer: &Answer, sent: &str) -> Option<&'a str> {
        let mut text = String::from_utf8_lossy(&answer.body).into_owned();
        if !sent.is_empty() {
            text = text.replace(sent, "");
        }
        self.own.iter().find(|own| text.contains(own.as_str())).map(String::as_str)
    }
}

/// Notes whatever in a value is an id or bears a name.
fn note(value: &Value, name: &str, own: &mut BTreeSet<String>) {
    match value {
        Value::String(text) if text.contains(name) || text.parse::<AnyId>().is_ok() => {
            own.insert(text.clone());
        }
        Value::Array(items) => items.iter().for_each(|item| note(item, name, own)),
        Value::Object(members) => members.values().for_each(|item| note(item, name, own)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// One organization's administrator, and the other organization.
struct Stranger<'a> {
    world: &'a TestWorld,
    here: &'a Side,
    there: &'a Side,
    tried: usize,
}

impl Stranger<'_> {
    /// Asks with something of the other organization; it is not told anything else of it.
    async fn ask(&mut self, target: &str, sent: &str) -> Answer {
        let ask = Ask::get(target).bearer(&self.here.key);
        let answer = self.world.ask(ask).await;
        self.tried += 1;
        assert!(answer.status < 500, "{target}: {}", answer.text());
        assert_eq!(self.there.told(&answer, sent), None, "{target}: {}", answer.text());
        answer
    }

    /// Reads whatever can be read, with every id and name of the other in place of one's own.
    async fn by_path(&mut self) {
        for row in ENDPOINTS.iter().filter(|row| row.method == Verb::Get) {
            if !row.path.contains("{key}") {
                continue;
            }
            for own in &self.there.own {
                let key = texts::encoded(own);
                let answer = self.ask(&row.path.replace("{key}", &key), own).await;
                assert_eq!(answer.status, 404, "{} of {own}: {}", row.path, answer.text());
            }
        }
        // Under the other's issuer there is nothing for a stranger but what is for anyone.
        for row in ENDPOINTS.iter().filter(|row| row.caller == Requirement::Verifier) {
            if row.method != Verb::Get {
                continue;
            }
            let path = row.path.replace("{org}", MARK).replace("{log}", "g1l0");
            let path = path.replace("{*tile}", "0/000.p/1");
            let answer = self.ask(&format!("{path}?from=1&to=1&index=0&size=1"), MARK).await;
            assert!([401, 403, 404].contains(&answer.status), "{path}: {}", answer.status);
        }
    }

    /// Filters by every id and name of the other.
    async fn by_filter(&mut self) {
        for row in ENDPOINTS.iter().filter(|row| row.method == Verb::Get) {
            if !matches!(row.caller, Requirement::Admin(_)) {
                continue;
            }
            let path = self.here.path(row, "acme-planner", "acme-planner@acme.example");
            if path.contains('{') || row.operation.starts_with("get_") && path.contains("acme-") {
                continue;
            }
            for name in row.query {
                for own in &self.there.own {
                    let target = format!("{path}?{name}={}", texts::encoded(own));
                    let answer = self.ask(&target, own).await;
                    // An event's id is a place in any log; what is shown from there on is one's own.
                    let is_flag = ["unfollowed", "after"].contains(name);
                    let is_empty = answer.status == 200 && items(&answer).is_empty();
                    assert!(
                        is_flag || names(&answer, name) || answer.status == 404 || is_empty,
                        "{target}: {} {}",
                        answer.status,
                        answer.text()
                    );
                }
            }
        }
    }

    /// Goes on from the places of the other's lists.
    async fn by_cursor(&mut self, own: &Whole) -> usize {
        let mut cursors = 0;
        for row in ENDPOINTS.iter().filter(|row| is_list(row)) {
            let here = self.here.path(row, "acme-planner", "acme-planner@acme.example");
            let there = self.there.path(row, "umbra-planner", "umbra-planner@umbra.example");
            for sort in row.sorts {
                let asked = Ask::get(format!("{there}?limit=1&sort={sort}"));
                let page = self.world.ask(asked.bearer(&self.there.org.admin)).await.expect(200);
                let page = page.json();
                // Of organizations a stranger sees one.
                let Some(next) = page["next"].as_str() else { continue };
                cursors += 1;
                let target = format!("{here}?limit=200&sort={sort}&cursor={next}");
                let answer = self.ask(&target, next).await;
                if here != there {
                    assert!(names(&answer, "cursor"), "{target}: {}", answer.text());
                } else if row.operation != "list_events" {
                    assert_eq!(answer.status, 200, "{target}: {}", answer.text());
                    let foreign = items(&answer).into_iter().find(|item| {
                        !own.listed.get(&here).is_some_and(|listed| listed.contains(item))
                    });
                    assert_eq!(foreign, None, "{target}");
                }
            }
        }
        cursors
    }
}

async fn probe(engine: Engine) {
    let world = TestWorld::new_on(engine, 6).await;
    let (idp, _) = world.idp().await;
    let here = Side::new(&world, &idp, "acme").await;
    let there = Side::new(&world, &idp, MARK).await;
    jobs::integrate_all(&world.server).await;
    // Something of every list.
    assert!(there.own.len() > 40, "{:?}", there.own);
    let common: Vec<_> = there.own.iter().filter(|own| here.own.contains(own)).collect();
    assert!(common.is_empty(), "{common:?} is nobody's own");
    let paths: Vec<String> = ENDPOINTS
        .iter()
        .filter(|row| is_list(row) && row.operation != "list_events")
        .map(|row| there.path(row, "umbra-planner", "umbra-planner@umbra.example"))
        .collect();
    let before = Whole::of(&world, engine, &there.org, &paths).await;
    let own_paths: Vec<String> = ENDPOINTS
        .iter()
        .filter(|row| is_list(row) && row.operation != "list_events")
        .map(|row| here.path(row, "acme-planner", "acme-planner@acme.example"))
        .collect();
    let own = Whole::of(&world, engine, &here.org, &own_paths).await;

    // What looks for leaks finds them: the other's own administrator is told.
    for path in &paths {
        let page = world.ask(Ask::get(path).bearer(&there.org.admin)).await.expect(200);
        assert!(there.told(&page, "").is_some(), "{path}: {}", page.text());
    }

    let mut stranger = Stranger { world: &world, here: &here, there: &there, tried: 0 };
    for row in ENDPOINTS.iter().filter(|row| row.method == Verb::Get && is_list(row)) {
        let path = here.path(row, "acme-planner", "acme-planner@acme.example");
        let answer = stranger.ask(&path, "").await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    }
    let export = stranger.ask("/v1/events/export", "").await;
    assert_eq!(export.status, 200);
    let cursors = stranger.by_cursor(&own).await;
    assert!(cursors > 20, "{cursors} cursors");
    stranger.by_path().await;
    stranger.by_filter().await;
    assert!(stranger.tried > 4_000, "{} asked", stranger.tried);
    // What is called the same in both is one's own.
    for (side, other) in [(&here, &there), (&there, &here)] {
        for path in ["/v1/agents/twin", "/v1/resources/twin"] {
            let answer = world.ask(Ask::get(path).bearer(&side.key)).await.expect(200);
            assert!(side.told(&answer, "").is_some(), "{path}");
            assert_eq!(other.told(&answer, ""), None, "{path}");
        }
    }
    assert_eq!(before, Whole::of(&world, engine, &there.org, &paths).await);
    assert_eq!(own, Whole::of(&world, engine, &here.org, &own_paths).await);
}

#[tokio::test]
async fn nothing_of_another_organization_is_found_or_told_on_sqlite() {
    probe(Engine::Sqlite).await;
}

#[tokio::test]
async fn nothing_of_another_organization_is_found_or_told_on_postgresql() {
    probe(Engine::Postgres).await;
}
