//! RFC 9396: what an agent may do within limits, from the registry to the token and its readers.

use accredit_domain::registry::agent::CreateAgent;
use accredit_testkit::{Answer, Ask, Client, Org, TestWorld};
use serde_json::{Value, json};

use crate::{claims, events};

const HELD: &str = "crm:update(/customers/eu/*; amount<=100; currency in CHF,EUR)";

struct Case {
    world: TestWorld,
    org: Org,
    client: Client,
}

impl Case {
    /// An agent that may read, and update within limits.
    async fn begin(seed: u64) -> Self {
        let world = TestWorld::new(seed).await;
        let org = world.found("acme").await;
        world.resource(&org, "crm", &["read", "update", "delete"]).await;
        world.resource(&org, "mail", &["send"]).await;
        world.agent(&org, "planner", &["crm:read", HELD, "mail:send"]).await;
        let client = world.agent_secret(&org, "planner", None).await;
        Self { world, org, client }
    }

    async fn ask(&self, details: &Value) -> Answer {
        self.ask_with(details, &[]).await
    }

    async fn ask_with(&self, details: &Value, more: &[(&str, &str)]) -> Answer {
        let details = details.to_string();
        let mut form = vec![("authorization_details", details.as_str())];
        form.extend_from_slice(more);
        self.world.token(&self.org, &self.client, &form).await
    }

    async fn permission(&self, body: Value) -> Answer {
        let path = "/v1/agents/planner/permissions/crm";
        self.world.admin(&self.org, "PUT", path, Some(body)).await
    }
}

/// One detail at `crm`, with these members.
fn detail(object: &str, amount: i64, currency: &[&str]) -> Value {
    json!({"type": "accredit", "resource": "crm", "actions": ["update"], "object": object,
        "constraints": {"amount": {"max": amount}, "currency": {"one_of": currency}}})
}

#[tokio::test]
async fn what_is_held_within_limits_is_granted_within_them_and_in_no_scope() {
    let case = Case::begin(1).await;
    let asked = detail("/customers/eu/*", 50, &["EUR", "CHF"]);
    let answer = case.ask(&json!([asked])).await.expect(200).json();
    let granted = json!([detail("/customers/eu/*", 50, &["CHF", "EUR"])]);
    assert_eq!(answer["authorization_details"], granted);
    assert!(answer.get("scope").is_none(), "{answer}");
    let token = answer["access_token"].as_str().expect("a token");
    let said = claims(token);
    assert_eq!(said["authorization_details"], granted);
    assert_eq!(said["aud"], "https://crm.example/");
    assert!(said.get("scope").is_none(), "{said}");

    // Introspection tells the resource the same, and no more.
    let crm = case.world.resource_secret(&case.org, "crm").await;
    let ask = Ask::post(case.org.path("/oauth/introspect")).basic(&crm).form(&[("token", token)]);
    let told = case.world.ask(ask).await.expect(200).json();
    assert_eq!(told["authorization_details"], granted);
    assert!(told.get("scope").is_none(), "{told}");

    // Beside a scope, and by the audience in place of the name.
    let mut located = detail("/customers/eu/7", 1, &["EUR"]);
    located.as_object_mut().expect("an object").remove("resource");
    located["locations"] = json!(["https://crm.example/"]);
    let both = case.ask_with(&json!([located]), &[("scope", "crm:read")]).await.expect(200).json();
    assert_eq!(both["scope"], "crm:read");
    assert_eq!(both["authorization_details"][0]["object"], "/customers/eu/7");
    assert_eq!(both["authorization_details"][0]["resource"], "crm");

    let events = events(&case.world, &case.org, "token.issued").await;
    let texts = json!(["crm:update(/customers/eu/*; amount<=50; currency in CHF,EUR)"]);
    assert_eq!(events[0]["payload"]["permissions"], texts, "{}", events[0]);
}

#[tokio::test]
async fn pentest_21_whatever_is_wider_is_refused_with_what_would_have_grown() {
    let case = Case::begin(2).await;
    let wide = |asked: Value, said: &'static str| (json!([asked]), said);
    let without = |name: &str| {
        let mut asked = detail("/customers/eu/*", 100, &["EUR"]);
        let object = asked.as_object_mut().expect("an object");
        if object.remove(name).is_none() {
            object["constraints"].as_object_mut().expect("constraints").remove(name);
        }
        asked
    };
    let delete = json!({"type": "accredit", "resource": "crm", "actions": ["delete"],
        "object": "/customers/eu/*"});
    for (asked, said) in [
        wide(
            detail("/customers/eu/*", 500, &["EUR"]),
            "`crm:update` (`amount` up to 500, but only up to 100 is allowed)",
        ),
        wide(without("amount"), "`amount` without limit, but only up to 100 is allowed"),
        wide(without("currency"), "`currency` without limit, and not every value is allowed"),
        wide(without("object"), "on any object, and not all are allowed"),
        wide(detail("/customers/*", 100, &["EUR"]), "on `/customers/*`, and not all of that"),
        wide(detail("/customers/eu/*", 100, &["EUR", "USD"]), "`currency` of `USD`"),
        wide(delete, "`crm:delete` would exceed"),
        // The second of two.
        (
            json!([
                detail("/customers/eu/*", 1, &["EUR"]),
                detail("/customers/eu/*", 101, &["EUR"])
            ]),
            "`amount` up to 101",
        ),
    ] {
        let answer = case.ask(&asked).await;
        let body = answer.json();
        answer.refused(400, "invalid_authorization_details", "authorization-details-not-held");
        let description = body["error_description"].as_str().expect("a description");
        assert!(description.contains(said), "{description}\n{said}");
    }
    // Without limits it is not held, and the hint says how it is.
    let answer = case.world.token(&case.org, &case.client, &[("scope", "crm:update")]).await;
    let body = answer.json();
    answer.refused(400, "invalid_scope", "scope-not-held");
    let description = body["error_description"].as_str().expect("a description");
    assert!(description.ends_with("`crm:update` without limits"), "{description}");
    assert!(body["hint"].as_str().is_some_and(|hint| hint.contains(HELD)), "{body}");
    let events = events(&case.world, &case.org, "token.refused").await;
    assert_eq!(events[0]["payload"]["rule"], "authorization-details-not-held");
}

#[tokio::test]
async fn pentest_21_details_are_of_one_resource_of_our_type_and_strict() {
    let case = Case::begin(3).await;
    let good = detail("/customers/eu/*", 1, &["EUR"]);
    let with = |name: &str, value: Value| {
        let mut changed = good.clone();
        changed[name] = value;
        changed
    };
    for (wrong, more, error, rule) in [
        (
            with("type", json!("openid_credential")),
            None,
            "invalid_authorization_details",
            "authorization-details-malformed",
        ),
        (
            with("privileges", json!(["admin"])),
            None,
            "invalid_authorization_details",
            "authorization-details-malformed",
        ),
        (
            with("constraints", json!({"amount": {"max": "1"}})),
            None,
            "invalid_authorization_details",
            "authorization-details-malformed",
        ),
        (
            with("object", Value::Null),
            None,
            "invalid_authorization_details",
            "authorization-details-malformed",
        ),
        (
            with("resource", json!("mail")),
            Some(("scope", "crm:read")),
            "invalid_target",
            "target-two",
        ),
        (
            with("locations", json!(["https://mail.example/"])),
            None,
            "invalid_target",
            "target-mismatch",
        ),
        (
            with("locations", json!(["https://else.example/"])),
            None,
            "invalid_target",
            "target-unknown",
        ),
        (with("resource", json!("else")), None, "invalid_scope", "scope-not-held"),
        (
            good.clone(),
            Some(("resource", "https://mail.example/")),
            "invalid_target",
            "target-mismatch",
        ),
    ] {
        let more: Vec<_> = more.into_iter().collect();
        case.ask_with(&json!([wrong]), &more).await.refused(400, error, rule);
    }
    case.ask(&json!([good])).await.expect(200);
    let metadata = case.world.ask(Ask::get("/.well-known/oauth-authorization-server/o/acme")).await;
    let metadata = metadata.expect(200).json();
    assert_eq!(metadata["authorization_details_types_supported"], json!(["accredit"]));
}

#[tokio::test]
async fn a_permission_is_limited_listed_told_and_narrowed_and_what_is_wider_ends() {
    let case = Case::begin(4).await;
    let asked = json!([detail("/customers/eu/*", 100, &["EUR"])]);
    let token = case.ask(&asked).await.expect(200).member("access_token");
    let crm = case.world.resource_secret(&case.org, "crm").await;
    let alive = async |token: &str| {
        let ask =
            Ask::post(case.org.path("/oauth/introspect")).basic(&crm).form(&[("token", token)]);
        case.world.ask(ask).await.expect(200).json()["active"] == true
    };
    let limited = |max: i64| {
        json!({"actions": ["update"], "object": "/customers/eu/*",
            "constraints": {"amount": {"max": max}, "currency": {"one_of": ["CHF", "EUR"]}}})
    };
    // Wider: nothing ends.
    let body = json!({"actions": ["read"], "limited": [limited(200), {"actions": ["delete"], "not_after": 4_102_444_800_i64}]});
    case.permission(body).await.expect(200);
    assert!(alive(&token).await);
    let list = case.world.admin(&case.org, "GET", "/v1/agents/planner/permissions", None).await;
    let list = list.expect(200).json();
    let items = list["items"].as_array().expect("items");
    let mut of_crm = limited(200);
    of_crm["resource"] = json!("crm");
    assert_eq!(items.len(), 4, "{list}");
    assert_eq!(items[0], json!({"resource": "crm", "actions": ["read"]}));
    assert!(items.contains(&of_crm), "{list}");
    // One by one it is the same list.
    let (mut paged, mut cursor) = (Vec::new(), String::new());
    loop {
        let path = format!("/v1/agents/planner/permissions?limit=1{cursor}");
        let page = case.world.admin(&case.org, "GET", &path, None).await.expect(200).json();
        paged.extend(page["items"].as_array().expect("items").iter().cloned());
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(&paged, items);
    let events = events(&case.world, &case.org, "permission.set").await;
    let told = events[0]["payload"]["changes"]["permissions"].as_str().expect("permissions");
    assert!(told.contains(r#""max":200"#), "a limit is told, never left out: {told}");

    // Narrower by one number: the live tokens end, and what is too wide is refused from now on.
    case.permission(json!({"actions": ["read"], "limited": [limited(99)]})).await.expect(200);
    assert!(!alive(&token).await);
    case.ask(&asked).await.refused(
        400,
        "invalid_authorization_details",
        "authorization-details-not-held",
    );
    case.ask(&json!([detail("/customers/eu/*", 99, &["EUR"])])).await.expect(200);

    for wrong in [
        json!({}),
        json!({"actions": []}),
        json!({"limited": [{"actions": ["update"]}]}),
        json!({"limited": [{"actions": [], "object": "/a"}]}),
        json!({"limited": [{"actions": ["fly"], "object": "/a"}]}),
        json!({"limited": [{"actions": ["update"], "object": "/a/../b"}]}),
        json!({"limited": [{"actions": ["update"], "object": null}]}),
        json!({"limited": [{"actions": ["update"], "object": "/a", "resource": "mail"}]}),
        json!({"limited": [{"actions": ["update"], "constraints": {"amount": {"max": 1.5}}}]}),
        json!({"limited": [{"actions": ["update"], "constraints": {"amount": {"regex": "."}}}]}),
        json!({"limited": [{"actions": ["update"], "unless": "x"}]}),
        json!({"limited": (0..17).map(|n| json!({"actions": ["update"],
            "constraints": {"n": {"equals": 2 * n}}})).collect::<Vec<_>>()}),
    ] {
        case.permission(wrong.clone()).await.problem(400, "field-invalid");
    }
}

#[tokio::test]
async fn a_default_scope_is_not_granted_beside_what_is_asked_for_within_limits() {
    let case = Case::begin(5).await;
    let asked = CreateAgent {
        name: "worker".to_owned(),
        allow: vec!["crm:read".to_owned(), HELD.to_owned()],
        default_scope: Some("crm:read".to_owned()),
        ..CreateAgent::default()
    };
    case.world.agent_like(&case.org, asked).await;
    let client = case.world.agent_secret(&case.org, "worker", None).await;
    let default = case.world.token(&case.org, &client, &[]).await.expect(200).json();
    assert_eq!(default["scope"], "crm:read");
    let details = json!([detail("/customers/eu/*", 1, &["EUR"])]).to_string();
    let form = [("authorization_details", details.as_str())];
    let answer = case.world.token(&case.org, &client, &form).await.expect(200).json();
    assert!(answer.get("scope").is_none(), "{answer}");
    // What is held within limits is no default scope.
    let path = "/v1/agents/worker";
    let body = json!({"default_scope": "crm:update"});
    case.world.admin(&case.org, "PATCH", path, Some(body)).await.problem(400, "field-invalid");
}

#[tokio::test]
async fn limits_narrow_along_a_chain_and_what_was_passed_on_bounds_what_is_exchanged() {
    const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
    let world = TestWorld::new(6).await;
    let org = world.found("acme").await;
    world.resource(&org, "crm", &["read", "update"]).await;
    world.resource(&org, "worker", &["run"]).await;
    for (name, allow) in [
        ("planner", ["worker:run", "crm:update(/eu/*; amount<=100)"]),
        ("worker", ["worker:run", "crm:update(amount<=500; currency=EUR)"]),
    ] {
        let asked = CreateAgent {
            name: name.to_owned(),
            allow: allow.map(str::to_owned).to_vec(),
            may_delegate: true,
            ..CreateAgent::default()
        };
        world.agent_like(&org, asked).await;
    }
    let served = json!({"agent": "worker"});
    world.admin(&org, "PATCH", "/v1/resources/worker", Some(served)).await.expect(200);
    let planner = world.agent_secret(&org, "planner", None).await;
    let worker = world.agent_secret(&org, "worker", None).await;
    let sent = world.token(&org, &planner, &[("scope", "worker:run")]).await.expect(200);
    let sent = sent.member("access_token");
    assert!(claims(&sent)["accredit"]["dlg"].to_string().contains(r#""max":100"#));
    let exchange = async |object: &str, amount: i64, currency: &str| {
        let details = json!([{"type": "accredit", "resource": "crm", "actions": ["update"],
            "object": object, "constraints": {"amount": {"max": amount},
            "currency": {"equals": currency}}}])
        .to_string();
        let form = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("subject_token", sent.as_str()),
            ("subject_token_type", ACCESS_TOKEN),
            ("authorization_details", details.as_str()),
        ];
        world.ask(Ask::post(org.path("/oauth/token")).basic(&worker).form(&form)).await
    };
    let answer = exchange("/eu/7", 100, "EUR").await.expect(200);
    let token = claims(&answer.member("access_token"));
    assert_eq!(token["authorization_details"], answer.json()["authorization_details"]);
    assert!(token.get("scope").is_none(), "{token}");
    assert_eq!(token["accredit"]["depth"], 1);
    // What may be passed on from here is within both.
    let passed_on = &token["accredit"]["dlg"];
    let both = json!({"resource": "crm", "actions": ["update"], "object": "/eu/*",
        "constraints": {"amount": {"max": 100}, "currency": {"equals": "EUR"}}});
    assert!(passed_on.as_array().expect("a list").contains(&both), "{passed_on}");
    for (object, amount, currency, said) in [
        ("/eu/7", 101, "EUR", "`amount` up to 101, but only up to 100 is allowed"),
        ("/us/7", 100, "EUR", "on `/us/7`, and not all of that is allowed"),
        ("/eu/7", 100, "CHF", "`currency` of `CHF`, which is not allowed"),
    ] {
        let answer = exchange(object, amount, currency).await;
        let body = answer.json();
        answer.refused(400, "invalid_authorization_details", "authorization-details-not-held");
        let description = body["error_description"].as_str().expect("a description");
        assert!(description.contains(said), "{description}");
    }
}
