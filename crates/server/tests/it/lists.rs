//! `/v1` lists: bounds, cursors, and nothing of anybody else.

use std::collections::BTreeSet;

use accredit_server::caller::Requirement;
use accredit_server::endpoints::{ENDPOINTS, Endpoint, Verb};
use accredit_server::{jobs, openapi};
use accredit_testkit::{Ask, Org, TestWorld};
use serde_json::{Value, json};

/// Every list of the table of endpoints, with an agent's name where it is of an agent.
fn lists(agent: &str) -> Vec<String> {
    let rows = ENDPOINTS.iter().filter(|row| row.operation.starts_with("list_"));
    rows.map(|row| path(row, agent)).collect()
}

/// The path of a row of this agent, or of its owner.
fn path(row: &Endpoint, agent: &str) -> String {
    let owner = format!("{agent}-owner@example.com");
    let is_of_person = row.path.starts_with("/v1/persons/");
    row.path.replace("{key}", if is_of_person { &owner } else { agent })
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

/// What an item of a list has, by its schema in the OpenAPI document.
fn members(operation: &str) -> BTreeSet<String> {
    let document = openapi::document();
    let paths = document["paths"].as_object().expect("paths");
    let mut verbs = paths.values().flat_map(|path| path.as_object().expect("verbs").values());
    let list = verbs.find(|verb| verb["operationId"] == operation).expect("it is there");
    let schema = &list["responses"]["200"]["content"]["application/json"]["schema"];
    let item = schema["properties"]["items"]["items"]["$ref"].as_str().expect("a type");
    let (_, name) = item.rsplit_once('/').expect("a name");
    let item = &document["components"]["schemas"][name];
    let parts = item["allOf"].as_array().map_or(vec![item], |parts| parts.iter().collect());
    let parts = parts.into_iter().filter_map(|part| part["properties"].as_object());
    let members: BTreeSet<String> = parts.flat_map(|part| part.keys().cloned()).collect();
    assert!(!members.is_empty(), "{name} has members");
    members
}

/// Times by which a list is filtered.
const TIMES: [&str; 5] = ["created", "expires", "review_due", "last_seen", "last_used"];

/// A list is filtered and ordered by what its rows have: a new one without that fails here.
#[test]
fn every_list_takes_the_filters_and_orders_of_what_its_rows_have() {
    for row in ENDPOINTS.iter().filter(|row| row.operation.starts_with("list_")) {
        let (members, operation) = (members(row.operation), row.operation);
        let takes = |name: &str| row.query.contains(&name);
        assert!(takes("sort"), "{operation} has an order");
        // Each order has its opposite.
        for sort in row.sorts {
            let other = sort.strip_prefix('-').map_or(format!("-{sort}"), str::to_owned);
            assert!(row.sorts.contains(&&*other), "{operation}: `{sort}` and `{other}`");
        }
        // Permissions and identities are a part of their agent or person, and have no time of their
        // own by which anybody looks for them.
        let created = !operation.ends_with("_permissions") && !operation.ends_with("_identities");
        assert_eq!(row.sorts.contains(&"created_at"), created, "{operation}");
        assert_eq!(takes("state"), members.contains("state"), "{operation} and `state`");
        for name in TIMES {
            // Of a revocation the time is `revoked_at`, which is when it was created.
            let is_there = members.contains(&format!("{name}_at"))
                || (name == "created" && operation == "list_revocations");
            for end in ["after", "before"] {
                let filter = format!("{name}_{end}");
                assert_eq!(takes(&filter), is_there, "{operation} and `{filter}`");
            }
        }
        // When something was last used is written all the time, and is no order.
        let unsorted = ["list_instances", "list_tasks", "list_certificates"];
        for (name, is_order) in
            [("expires_at", !unsorted.contains(&operation)), ("review_due_at", true)]
        {
            let is_order = is_order && members.contains(name);
            assert_eq!(row.sorts.contains(&name), is_order, "{operation} by `{name}`");
        }
    }
}

/// A world with some of everything that is listed.
async fn full() -> (TestWorld, Org) {
    let world = TestWorld::new(6).await;
    let org = world.found("acme").await;
    for n in 0..4 {
        world.advance(60);
        let name = format!("r{n}");
        world.resource(&org, &name, &["read"]).await;
        world.agent(&org, &format!("a{n}"), &[&format!("{name}:read")]).await;
        world.instance(&org, "a0", Some(3600 - 60 * n)).await;
        world.agent_secret(&org, &format!("a{n}"), None).await;
        let key = json!({"role": "auditor", "purpose": "to look"});
        world.admin(&org, "POST", "/v1/admin-keys", Some(key)).await.expect(201);
        let permission = format!("/v1/agents/a0/permissions/{name}");
        let actions = json!({"actions": ["read"]});
        world.admin(&org, "PUT", &permission, Some(actions)).await.expect(200);
        let domain = json!({"name": format!("a{}.example", 3 * n % 4), "bundle": r#"{"keys":[]}"#});
        world.admin(&org, "POST", "/v1/trust-domains", Some(domain)).await.expect(201);
    }
    let holder = world.instance(&org, "a0", None).await;
    for _ in 0..4 {
        crate::certificates::issue(&world, &org, &holder).await;
    }
    for n in 0..4 {
        let task = json!({"agent": "a0", "purpose": format!("to be listed {n}")});
        world.admin(&org, "POST", "/v1/tasks", Some(task)).await.expect(201);
    }
    for n in 1..4 {
        world.revoke(&org, world.agent_id(&org, &format!("a{n}")).await).await.expect("revoked");
    }
    let (idp, _) = world.idp().await;
    let owner = "/v1/persons/a0-owner@example.com";
    for n in 0..5 {
        let name = format!("f{n}");
        world.federation(&org, &idp, &name).await;
        let link = json!({"federation": name, "subject": format!("s{}", 7 * n % 5)});
        world.admin(&org, "POST", &format!("{owner}/link"), Some(link)).await.expect(200);
    }
    let held = world.admin(&org, "GET", "/v1/agents/a0", None).await.expect(200).json();
    let held = held["permissions"].as_array().expect("permissions").iter();
    let held = held.map(|held| format!("{}:read", held["resource"].as_str().expect("a name")));
    let allow = json!({"allow": held.collect::<Vec<_>>()});
    world.admin(&org, "POST", &format!("{owner}/grant"), Some(allow)).await.expect(200);
    (world, org)
}

/// A page of a list of [`full`].
async fn page_of(world: &TestWorld, org: &Org, path: &str) -> (Vec<Value>, Option<String>) {
    let page = world.ask(Ask::get(path).bearer(&org.admin)).await.expect(200).json();
    let items = page["items"].as_array().expect("items").clone();
    (items, page["next"].as_str().map(str::to_owned))
}

#[tokio::test]
async fn every_order_of_every_list_is_the_other_one_backwards_whatever_the_page() {
    let (world, org) = full().await;
    let mut tried = 0;
    for row in ENDPOINTS.iter().filter(|row| row.operation.starts_with("list_")) {
        // What is recorded while it is read would not be there the other way.
        let only = if row.operation == "list_events" { "&type=agent" } else { "" };
        let path = path(row, "a0");
        for sort in row.sorts.iter().filter(|sort| !sort.starts_with('-')) {
            let (rows, _) =
                page_of(&world, &org, &format!("{path}?limit=200&sort={sort}{only}")).await;
            let values = rows.iter().map(|row| row[*sort].as_str()).collect::<Vec<_>>();
            assert!(values.is_sorted(), "{path} by {sort}: {values:?}");
            for (sort, rows) in [
                ((*sort).to_owned(), rows.clone()),
                (format!("-{sort}"), rows.iter().rev().cloned().collect()),
            ] {
                let (mut walked, mut next) = (Vec::new(), Some(String::new()));
                while let Some(cursor) = next {
                    let page = format!("{path}?limit=3&sort={sort}{only}&cursor={cursor}");
                    let (items, more) = page_of(&world, &org, &page).await;
                    walked.extend(items);
                    next = more;
                }
                assert_eq!(walked, rows, "{path} by {sort}");
                tried += 1;
            }
        }
    }
    assert!(tried >= 30, "{tried}");
}

#[tokio::test]
async fn a_cursor_holds_for_its_order_and_its_filters_alone() {
    let (world, org) = full().await;
    let mut given = Vec::new();
    for row in ENDPOINTS.iter().filter(|row| row.operation.starts_with("list_")) {
        let path = path(row, "a0");
        let (_, next) = page_of(&world, &org, &format!("{path}?limit=1")).await;
        // An administrator sees one organization.
        let Some(next) = next else {
            assert_eq!(path, "/v1/orgs");
            continue;
        };
        let refused = async |what: String| {
            let answer = world.ask(Ask::get(&what).bearer(&org.admin)).await;
            answer.problem(400, "field-invalid");
            assert!(answer.member("detail").starts_with("`cursor`: "), "{what}: {}", answer.text());
        };
        let again = format!("{path}?limit=2&cursor={next}");
        // The order that holds where none is named may be named.
        page_of(&world, &org, &format!("{again}&sort={}", row.sorts[0])).await;
        for sort in &row.sorts[1..] {
            refused(format!("{again}&sort={sort}")).await;
        }
        for (name, value) in [
            ("state", "active"),
            ("q", "a"),
            ("created_after", "2020-01-01T00:00:00Z"),
            ("last_seen_before", "2030-01-01T00:00:00Z"),
            ("agent", "a0"),
            ("environment", "dev"),
            ("type", "agent"),
        ] {
            if row.query.contains(&name) {
                refused(format!("{again}&{name}={value}")).await;
            }
        }
        given.push((path, next));
    }
    assert!(given.len() >= 10);
    for (path, _) in &given {
        for (other, cursor) in given.iter().filter(|(other, _)| other != path) {
            let page = format!("{path}?cursor={cursor}");
            let answer = world.ask(Ask::get(&page).bearer(&org.admin)).await;
            assert_eq!(answer.status, 400, "{path} took a cursor of {other}");
        }
    }
}

#[tokio::test]
async fn what_no_list_takes_is_refused_by_name() {
    let (world, org) = full().await;
    let said = async |path: String, name: &str| {
        let answer = world.ask(Ask::get(&path).bearer(&org.admin)).await;
        answer.problem(400, "field-invalid");
        let detail = answer.member("detail");
        assert!(detail.starts_with(&format!("`{name}`: ")), "{path}: {detail}");
        answer
    };
    for row in ENDPOINTS
        .iter()
        .filter(|row| matches!(row.caller, Requirement::Admin(_)) && row.method == Verb::Get)
    {
        let path = path(row, "a0");
        let answer = said(format!("{path}?stat=active"), "stat").await;
        for name in row.query {
            assert!(answer.member("hint").contains(name), "it says what there is: {name}");
        }
        // What is no name is not repeated, nor is any value.
        for wrong in ["%1b[2J", &"a".repeat(65), "a%20b", ""] {
            let answer = said(format!("{path}?{wrong}=s3cret"), "query").await;
            assert!(!answer.text().contains("s3cret"));
        }
        for name in row.query {
            if name.ends_with("_after") || name.ends_with("_before") {
                for wrong in ["yesterday", "2026-01-01", "1763717400", "2026-01-01T00:00:00"] {
                    said(format!("{path}?{name}={wrong}"), name).await;
                }
            }
            said(format!("{path}?{name}=1&{name}=1"), name).await;
        }
        if row.query.contains(&"sort") {
            for wrong in ["last_seen_at", "Created_at", "--created_at", "id"] {
                let answer = said(format!("{path}?sort={wrong}"), "sort").await;
                for sort in row.sorts {
                    assert!(answer.member("hint").contains(sort), "{path}: {sort}");
                }
            }
        }
    }
    said("/v1/revocations?target=nonsense".to_owned(), "target").await;
}

#[tokio::test]
async fn rows_are_found_by_their_times() {
    let world = TestWorld::new(6).await;
    let org = world.found("acme").await;
    world.resource(&org, "crm", &["read"]).await;
    let mut made = Vec::new();
    for (n, due) in ["2027-03-01", "2027-01-01", "2027-02-01"].into_iter().enumerate() {
        world.advance(60);
        let name = format!("a{n}");
        world.agent(&org, &name, &["crm:read"]).await;
        let due = json!({"review_due_at": format!("{due}T00:00:00Z")});
        world.admin(&org, "PATCH", &format!("/v1/agents/{name}"), Some(due)).await.expect(200);
        made.push(world.now());
    }
    let seen = world.agent_secret(&org, "a1", None).await;
    world.token(&org, &seen, &[("scope", "crm:read")]).await.expect(200);
    jobs::flush_all(&world.server).await;
    let (first, second) = (made[0], made[1]);
    let after = world.now().plus(std::time::Duration::from_secs(1));
    for (query, expected) in [
        ("review_due_before=2027-02-01T00:00:00Z".to_owned(), "a1"),
        ("review_due_before=2027-02-01T00:00:01Z&sort=review_due_at".to_owned(), "a1 a2"),
        ("review_due_after=2027-02-01T01:00:00%2B01:00&sort=-review_due_at".to_owned(), "a0 a2"),
        (format!("created_before={second}"), "a0"),
        (format!("created_after={second}"), "a1 a2"),
        (format!("created_after={first}&created_before={second}&sort=name"), "a0"),
        (format!("created_after={second}&q=a&sort=-name"), "a2 a1"),
        (format!("created_after={second}&review_due_before=2027-02-01T00:00:00Z"), "a1"),
        (format!("last_seen_before={first}"), "a0 a2"),
        (format!("last_seen_after={first}"), "a1"),
        (format!("last_seen_before={after}"), "a0 a1 a2"),
        (format!("last_seen_after={after}"), ""),
    ] {
        for limit in [1, 2, 200] {
            let listed = named(&world, &org, &format!("/v1/agents?{query}"), limit).await;
            assert_eq!(listed.join(" "), expected, "{query} by {limit}");
        }
    }
    let short = world.instance(&org, "a0", Some(600)).await;
    let long = world.instance(&org, "a0", Some(6000)).await;
    let between = world.now().plus(std::time::Duration::from_mins(50));
    let ids = |client: &accredit_testkit::Client| client.instance.expect("one").to_string();
    for (query, expected) in [
        (format!("/v1/instances?expires_before={between}"), ids(&short)),
        (format!("/v1/instances?expires_after={between}&sort=-created_at"), ids(&long)),
        (format!("/v1/credentials?expires_before={between}"), short.credential.clone()),
        (
            format!(
                "/v1/credentials?expires_before={between}&sort=expires_at&agent=a0&state=active"
            ),
            short.credential.clone(),
        ),
        (format!("/v1/credentials?last_used_after={first}&agent=a1"), seen.credential.clone()),
        (format!("/v1/admin-keys?expires_before={between}"), String::new()),
        (format!("/v1/orgs?created_after={after}"), String::new()),
    ] {
        assert_eq!(walk(&world, &org, &query, 1).await.join(" "), expected, "{query}");
    }
    let ended = world.agent_id(&org, "a2").await;
    let one = world.revoke(&org, ended).await.expect("revoked").id.to_string();
    world.revoke(&org, world.agent_id(&org, "a1").await).await.expect("revoked");
    let of_target = format!("/v1/revocations?target={ended}");
    assert_eq!(walk(&world, &org, &of_target, 1).await, [one]);
    let path = format!("/v1/revocations?created_before={first}");
    assert!(walk(&world, &org, &path, 1).await.is_empty());
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
        ("/v1/events?sort=-created_at&type=agent", 11),
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
            answer.problem(400, "field-invalid");
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
    let certificate = crate::certificates::issue(&world, &scene.org, &instance).await;
    let certificate = certificate["id"].as_str().expect("an id").to_owned();
    let owner = scene.planner.owner.expect("an owner").to_string();
    let revoked = world.revoke(&scene.org, &instance.credential).await.expect("revoked");
    let event = crate::events(&world, &scene.org, "token.issued").await;
    let (planner, crm) = (scene.planner.id.to_string(), scene.crm.id.to_string());
    let instance = instance.instance.expect("one").to_string();
    let event = event[0]["id"].as_str().expect("an id").to_owned();
    let (idp, _) = world.idp().await;
    let federation = world.federation(&scene.org, &idp, "corp").await.id.to_string();
    let other = world.found("other").await;
    // The other organization may administer itself; it may not create organizations.
    let key = world.admin_without_organizations(&other).await;
    let body = json!({});
    for endpoint in ENDPOINTS.iter().filter(|row| matches!(row.caller, Requirement::Admin(_))) {
        let id = match endpoint.path.split('/').nth(2) {
            Some("persons") => &owner,
            Some("federations") => &federation,
            Some("resources") => &crm,
            Some("agents") => &planner,
            Some("instances") => &instance,
            Some("certificates") => &certificate,
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
            (_, "grant_person" | "ungrant_person") => ask.json(&json!({"allow": ["crm:read"]})),
            (_, "link_person" | "unlink_person") => {
                ask.json(&json!({"federation": federation, "subject": "x"}))
            }
            (_, "update_org") => ask.json(&json!({"display_name": "x"})),
            (_, "strip_agent") => ask.json(&json!({"allow": ["crm:read"], "reason": "x"})),
            (_, "allow_impersonation" | "end_impersonation") => {
                ask.json(&json!({"subject": owner, "reason": "x"}))
            }
            (_, "set_permission") => ask.json(&json!({"actions": ["read"]})),
            _ => ask.json(&body),
        };
        let answer = world.ask(ask).await;
        assert_eq!(answer.status, 404, "{} {path}: {}", endpoint.operation, answer.text());
        assert_eq!(answer.member("type"), "urn:accredit:problem:not-found", "{path}");
    }
    let ids = [&owner, &crm, &planner, &instance, &scene.client.credential, &federation];
    for target in ids {
        let body = json!({"target": target, "reason": "mischief"});
        let answer = world.ask(Ask::post("/v1/revocations").bearer(&key).json(&body)).await;
        answer.problem(404, "not-found");
    }
    // One of an agent of its own: another's is not found.
    let own = json!({"name": "own", "owner_email": "own-owner@example.com"});
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
