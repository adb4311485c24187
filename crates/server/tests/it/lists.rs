//! `/v1` lists: bounds, cursors, and nothing of anybody else.

use std::collections::BTreeSet;

use accredit_server::caller::Requirement;
use accredit_server::endpoints::{ENDPOINTS, Verb};
use accredit_testkit::{Ask, Org, TestWorld};
use serde_json::{Value, json};

/// Every list of the table of endpoints, with an agent's name where it is of an agent.
fn lists(agent: &str) -> Vec<String> {
    let rows = ENDPOINTS.iter().filter(|row| row.operation.starts_with("list_"));
    rows.map(|row| row.path.replace("{key}", agent)).collect()
}

/// What answers in pages is called a list, and is in every test of lists.
#[test]
fn whatever_takes_a_cursor_is_a_list() {
    for row in ENDPOINTS {
        let is_list = row.operation.starts_with("list_");
        for name in ["limit", "cursor"] {
            assert_eq!(row.query.contains(&name), is_list, "{} and `{name}`", row.operation);
        }
    }
    assert!(lists("bot").len() >= 11);
}

/// Walks a list in pages of `limit` and returns the ids in the order they came.
async fn walk(world: &TestWorld, org: &Org, path: &str, limit: usize) -> Vec<String> {
    let (mut ids, mut cursor) = (Vec::new(), String::new());
    let joint = if path.contains('?') { '&' } else { '?' };
    loop {
        let page = format!("{path}{joint}limit={limit}&cursor={cursor}");
        let page = world.ask(Ask::get(page).bearer(&org.admin)).await.expect(200).json();
        let items = page["items"].as_array().expect("items");
        assert!(items.len() <= limit);
        ids.extend(items.iter().map(|item| item["id"].as_str().expect("an id").to_owned()));
        assert!(ids.len() < 1000, "{path} does not end");
        match page["next"].as_str() {
            Some(next) => next.clone_into(&mut cursor),
            None => return ids,
        }
    }
}

#[tokio::test]
async fn a_walk_returns_every_row_exactly_once_whatever_the_page() {
    let world = TestWorld::new(6).await;
    let org = world.found("acme").await;
    for n in 0..7 {
        world.advance(1);
        let name = format!("r{n}");
        world.resource(&org, &name, &["read"]).await;
        world.agent(&org, &format!("a{n}"), &[&format!("{name}:read")]).await;
        world.instance(&org, "a0", None).await;
        world.agent_secret(&org, &format!("a{n}"), None).await;
    }
    for n in 1..5 {
        world.revoke(&org, world.agent_id(&org, &format!("a{n}")).await).await.expect("revoked");
    }
    for (path, count) in [
        ("/v1/persons", 7),
        ("/v1/resources", 7),
        ("/v1/agents", 7),
        ("/v1/agents?state=suspended", 4),
        ("/v1/agents?state=active", 3),
        ("/v1/instances", 7),
        ("/v1/instances?agent=a0", 7),
        ("/v1/instances?agent=a1", 0),
        ("/v1/credentials", 15),
        ("/v1/credentials?agent=a3", 1),
        ("/v1/revocations", 4),
        ("/v1/events?type=agent.created", 7),
        ("/v1/events?type=agent", 11),
        ("/v1/events?newest=true&type=agent", 11),
    ] {
        let whole = walk(&world, &org, path, 200).await;
        assert_eq!(whole.len(), count, "{path}");
        assert_eq!(whole.iter().collect::<BTreeSet<_>>().len(), count, "{path}");
        for limit in [1, 2, 3, 7] {
            assert_eq!(walk(&world, &org, path, limit).await, whole, "{path} by {limit}");
        }
    }
}

#[tokio::test]
async fn limits_and_cursors_are_bounded() {
    let world = TestWorld::new(6).await;
    let org = world.found("acme").await;
    world.resource(&org, "crm", &["read"]).await;
    world.agent(&org, "bot", &["crm:read"]).await;
    for path in lists("bot") {
        for limit in ["0", "201", "-1", "x", "1e2", "99999999999999999999"] {
            let page = format!("{path}?limit={limit}");
            let answer = world.ask(Ask::get(page).bearer(&org.admin)).await;
            answer.problem(400, "field-invalid");
        }
        for limit in ["1", "200"] {
            let page = format!("{path}?limit={limit}");
            world.ask(Ask::get(page).bearer(&org.admin)).await.expect(200);
        }
        // A cursor that we never gave is no fault of ours.
        for cursor in ["x", "%27%20OR%201=1", "%00", "zzzz", "-1", "18446744073709551615"] {
            let page = format!("{path}?cursor={cursor}");
            let answer = world.ask(Ask::get(page).bearer(&org.admin)).await;
            assert!([200, 400].contains(&answer.status), "{path} {cursor}: {}", answer.text());
        }
    }
    let answer = world.ask(Ask::get("/v1/agents?state=nonsense").bearer(&org.admin)).await;
    answer.problem(400, "field-invalid");
}

#[tokio::test]
async fn another_organizations_things_are_not_found_whatever_is_asked() {
    let world = TestWorld::new(6).await;
    let scene = world.scene().await;
    let instance = world.instance(&scene.org, "planner", None).await;
    world.token(&scene.org, &instance, &[("scope", "crm:read")]).await.expect(200);
    let owner = scene.planner.owner.expect("an owner").to_string();
    let revoked = world.revoke(&scene.org, &instance.credential).await.expect("revoked");
    let event = crate::events(&world, &scene.org, "token.issued").await;
    let (planner, crm) = (scene.planner.id.to_string(), scene.crm.id.to_string());
    let instance = instance.instance.expect("one").to_string();
    let event = event[0]["id"].as_str().expect("an id").to_owned();
    let other = world.found("other").await;
    // The other organization may administer itself; it may not create organizations.
    let key = world.admin_without_organizations(&other).await;
    let body = json!({});
    for endpoint in ENDPOINTS.iter().filter(|row| matches!(row.caller, Requirement::Admin(_))) {
        let id = match endpoint.path.split('/').nth(2) {
            Some("persons") => &owner,
            Some("resources") => &crm,
            Some("agents") => &planner,
            Some("instances") => &instance,
            Some("credentials") => &scene.client.credential,
            Some("events") => &event,
            Some("orgs") => &scene.org.name,
            _ => continue,
        };
        if !endpoint.path.contains("{key}") {
            continue;
        }
        let path = endpoint.path.replace("{key}", id).replace("{resource}", &crm);
        let ask = Ask::new(endpoint.method.as_str(), path.as_str()).bearer(&key);
        let ask = match (endpoint.method, endpoint.operation) {
            (Verb::Get | Verb::Delete, _) => ask,
            (_, "update_person") => ask.json(&json!({"name": "x"})),
            (_, "update_org") => ask.json(&json!({"display_name": "x"})),
            (_, "set_permission") => ask.json(&json!({"actions": ["read"]})),
            _ => ask.json(&body),
        };
        let answer = world.ask(ask).await;
        assert_eq!(answer.status, 404, "{} {path}: {}", endpoint.operation, answer.text());
        assert_eq!(answer.member("type"), "urn:accredit:problem:not-found", "{path}");
    }
    let ids = [&owner, &crm, &planner, &instance, &scene.client.credential];
    for target in ids {
        let body = json!({"target": target, "reason": "mischief"});
        let answer = world.ask(Ask::post("/v1/revocations").bearer(&key).json(&body)).await;
        answer.problem(404, "not-found");
    }
    // One of an agent of its own: another's is not found.
    let own = json!({"name": "own"});
    world.admin(&other, "POST", "/v1/agents", Some(own)).await.expect(201);
    for path in lists("own") {
        let page = world.ask(Ask::get(&path).bearer(&key)).await.expect(200);
        for id in ids.into_iter().chain([&revoked.id.to_string()]) {
            assert!(!page.text().contains(id.as_str()), "{path} shows {id}");
        }
    }
    let orgs = world.ask(Ask::get("/v1/orgs").bearer(&key)).await.expect(200).json();
    let names: Vec<&Value> =
        orgs["items"].as_array().expect("items").iter().map(|o| &o["name"]).collect();
    assert_eq!(names, ["other"]);
    // A token's id is no row: an entry for it is the other organization's own, and harmless.
    let read = [("scope", "crm:read")];
    let token = world.token(&scene.org, &scene.client, &read).await.member("access_token");
    let jti = crate::claims(&token)["jti"].as_str().expect("jti").to_owned();
    let body = json!({"target": jti, "reason": "mischief"});
    world.ask(Ask::post("/v1/revocations").bearer(&key).json(&body)).await.expect(201);
    let tenant = world.tenant(&scene.org).await;
    tenant.verifier.verify_token(&token, world.now()).expect("alive in its own organization");
}

/// What a list answers for a query, by its names or addresses.
async fn named(world: &TestWorld, org: &Org, path: &str, limit: usize) -> Vec<String> {
    let key = if path.starts_with("/v1/persons") { "email" } else { "name" };
    let (mut names, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = format!("{path}&limit={limit}&cursor={cursor}");
        let page = world.ask(Ask::get(page).bearer(&org.admin)).await.expect(200).json();
        let items = page["items"].as_array().expect("items");
        names.extend(items.iter().map(|item| item[key].as_str().expect("a name").to_owned()));
        match page["next"].as_str() {
            Some(next) => next.clone_into(&mut cursor),
            None => return names,
        }
    }
}

#[tokio::test]
async fn filters_and_orders_hold_over_all_pages() {
    let world = TestWorld::new(6).await;
    let org = world.found("acme").await;
    world.resource(&org, "crm", &["read"]).await;
    let names = ["crm-b", "crm", "crm.a", "mail", "crm_0", "crm-", "zebra", "crm-a", "cr"];
    for name in names {
        world.advance(1);
        world.agent(&org, name, &["crm:read"]).await;
        if name != "crm" {
            world.resource(&org, name, &["read"]).await;
        }
    }
    for name in ["crm-a", "mail"] {
        let reason = json!({"reason": "a test"});
        for path in [format!("/v1/agents/{name}"), format!("/v1/resources/{name}")] {
            let path = format!("{path}/suspend");
            world.admin(&org, "POST", &path, Some(reason.clone())).await.expect(200);
        }
    }
    let mut sorted = names.map(str::to_owned).to_vec();
    sorted.sort();
    for (noun, suffix) in [("agents", ""), ("resources", ""), ("persons", "-owner@example.com")] {
        let mut sorted: Vec<String> = sorted.iter().map(|name| format!("{name}{suffix}")).collect();
        sorted.sort();
        let backwards: Vec<String> = sorted.iter().rev().cloned().collect();
        let begins = |prefix: &str| -> Vec<String> {
            sorted.iter().filter(|name| name.starts_with(prefix)).cloned().collect()
        };
        let oldest = named(&world, &org, &format!("/v1/{noun}?sort=created_at"), 200).await;
        let newest: Vec<String> = oldest.iter().rev().cloned().collect();
        let found = begins("crm-");
        let reversed: Vec<String> = found.iter().rev().cloned().collect();
        for limit in [1, 2, 3, 200] {
            for (query, expected) in [
                ("sort=name", &sorted),
                ("sort=-name", &backwards),
                ("sort=-created_at", &newest),
                ("q=crm", &begins("crm")),
                ("q=crm-", &found),
                ("q=crm-&sort=name", &found),
                ("q=crm-&sort=-name", &reversed),
                ("q=none", &Vec::new()),
                ("q=%25", &Vec::new()),
            ] {
                let listed = named(&world, &org, &format!("/v1/{noun}?{query}"), limit).await;
                assert_eq!(&listed, expected, "{noun}?{query} by {limit}");
            }
            if suffix.is_empty() {
                let path = format!("/v1/{noun}?q=crm&state=suspended");
                assert_eq!(named(&world, &org, &path, limit).await, ["crm-a"], "{noun}");
                let path = format!("/v1/{noun}?sort=-name&state=suspended");
                assert_eq!(named(&world, &org, &path, limit).await, ["mail", "crm-a"], "{noun}");
            }
        }
    }
    let upper = named(&world, &org, "/v1/persons?q=ZEBRA", 200).await;
    assert_eq!(upper, ["zebra-owner@example.com"]);
}

#[tokio::test]
async fn agents_are_found_by_owner_and_environment_with_every_other_filter() {
    let world = TestWorld::new(6).await;
    let org = world.found("acme").await;
    for (name, owner, environment) in [
        ("a-1", "mia@example.com", "dev"),
        ("b-1", "mia@example.com", "prod"),
        ("a-2", "nora@example.com", "prod"),
        ("a-3", "mia@example.com", "prod"),
        ("c-1", "nora@example.com", "dev"),
    ] {
        world.advance(1);
        let body = json!({"name": name, "owner_email": owner, "environment": environment});
        world.admin(&org, "POST", "/v1/agents", Some(body)).await.expect(201);
    }
    for name in ["a-3", "c-1"] {
        let path = format!("/v1/agents/{name}/decommission");
        let reason = json!({"reason": "a test"});
        world.admin(&org, "POST", &path, Some(reason)).await.expect(200);
    }
    let mia = world.admin(&org, "GET", "/v1/persons/mia@example.com", None).await.member("id");
    for (query, expected) in [
        ("owner=mia@example.com".to_owned(), "a-1 b-1 a-3"),
        (format!("owner={mia}&sort=-name"), "b-1 a-3 a-1"),
        (format!("owner={mia}&environment=prod"), "b-1 a-3"),
        (format!("owner={mia}&environment=prod&state=draft"), "b-1"),
        ("environment=prod".to_owned(), "b-1 a-2 a-3"),
        ("environment=prod&sort=-created_at".to_owned(), "a-3 a-2 b-1"),
        ("environment=prod&q=a-".to_owned(), "a-2 a-3"),
        ("environment=prod&state=draft&sort=name".to_owned(), "a-2 b-1"),
        ("environment=dev&state=decommissioned".to_owned(), "c-1"),
        ("state=decommissioned&q=a".to_owned(), "a-3"),
        ("environment=staging".to_owned(), ""),
        ("environment=dev&state=active".to_owned(), ""),
    ] {
        for limit in [1, 2, 200] {
            let listed = named(&world, &org, &format!("/v1/agents?{query}"), limit).await;
            assert_eq!(listed.join(" "), expected, "{query} by {limit}");
        }
    }
    for (query, status, rule) in
        [("environment=moon", 400, "field-invalid"), ("owner=nobody@example.com", 404, "not-found")]
    {
        let path = format!("/v1/agents?{query}");
        world.admin(&org, "GET", &path, None).await.problem(status, rule);
    }
    // Another organization's person is nobody here.
    let other = world.found("other").await;
    let path = format!("/v1/agents?owner={mia}");
    world.admin(&other, "GET", &path, None).await.problem(404, "not-found");
}

#[tokio::test]
async fn a_state_is_what_is_shown_also_where_it_comes_of_time() {
    let world = TestWorld::new(6).await;
    let scene = world.scene().await;
    let org = &scene.org;
    let short = world.instance(org, "planner", Some(60)).await;
    let long = world.instance(org, "planner", None).await;
    let gone = world.instance(org, "planner", Some(60)).await;
    world.revoke(org, gone.instance.expect("one")).await.expect("revoked");
    world.advance(61);
    let ids = |client: &accredit_testkit::Client| client.instance.expect("one").to_string();
    for (state, expected) in
        [("active", ids(&long)), ("expired", ids(&short)), ("revoked", ids(&gone))]
    {
        for agent in ["", "&agent=planner"] {
            let path = format!("/v1/instances?state={state}{agent}");
            assert_eq!(walk(&world, org, &path, 1).await.join(" "), expected, "{path}");
            let path = format!("/v1/credentials?state={state}{agent}");
            for id in walk(&world, org, &path, 1).await {
                let one = world.admin(org, "GET", &format!("/v1/credentials/{id}"), None).await;
                assert_eq!(one.member("state"), state, "{path}");
            }
        }
    }
    let all = walk(&world, org, "/v1/credentials", 200).await.len();
    let mut counted = 0;
    for state in ["active", "expired", "revoked"] {
        counted += walk(&world, org, &format!("/v1/credentials?state={state}"), 2).await.len();
    }
    assert_eq!(counted, all);
    for path in [
        "/v1/persons?state=revoked",
        "/v1/resources?state=x",
        "/v1/instances?state=suspended",
        "/v1/credentials?state=Active",
        "/v1/orgs?state=draft",
        "/v1/persons?sort=email",
        "/v1/agents?q=a&sort=created_at",
    ] {
        let answer = world.ask(Ask::get(path).bearer(&org.admin)).await;
        answer.problem(400, "field-invalid");
    }
}
