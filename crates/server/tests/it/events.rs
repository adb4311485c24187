//! What events say of things that were made and changed: all that their objects show.

use accredit_testkit::{Answer, Org, TestWorld};
use serde_json::{Value, json};

use crate::events;

/// Members that no event repeats: the time of the event is that of the change, use is no change,
/// and what is due follows from the rest.
const NOT_TOLD: [&str; 19] = [
    "client_id",
    "client_secret",
    "admin_token",
    "organization",
    "created_at",
    "last_seen_at",
    "last_rotated_at",
    "last_used_at",
    "last_used_from",
    "rotation_due",
    "rotation_due_at",
    "jwks_fetched_at",
    "jwks_failing_since",
    "jwks_failure",
    "keys",
    "keys_fetched_at",
    "keys_failing_since",
    "keys_failure",
    "rev",
];

/// A value as an event has it: words of a list in one text.
fn as_text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(in_list).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}

fn in_list(value: &Value) -> String {
    let Some(resource) = value["resource"].as_str() else { return as_text(value) };
    let actions = value["actions"].as_array().expect("actions");
    let scope = actions.iter().map(|action| format!("{resource}:{}", as_text(action)));
    scope.collect::<Vec<_>>().join(" ")
}

/// Whether the payload says this of the thing, in whichever member.
fn says(payload: &Value, name: &str, value: &Value) -> bool {
    let text = as_text(value);
    let ids = ["target", "agent", "instance", "credential", "resource", "federation"];
    match name {
        "id" => ids.iter().any(|member| payload[member] == text.as_str()),
        // In microseconds.
        "expires_at" => payload["expires_at"].is_i64(),
        "created_by" => payload["actor"]["id"] == text.as_str(),
        _ => payload[name] == text.as_str() || payload["changes"][name] == text.as_str(),
    }
}

struct Case {
    world: TestWorld,
    org: Org,
}

impl Case {
    async fn begin() -> Self {
        let world = TestWorld::new(77).await;
        let org = world.found("acme").await;
        Self { world, org }
    }

    async fn ask(&self, method: &str, path: &str, body: Value) -> Answer {
        self.world.admin(&self.org, method, path, Some(body)).await
    }

    async fn newest(&self, kind: &str) -> Value {
        events(&self.world, &self.org, kind).await.pop().expect("an event")["payload"].clone()
    }

    /// Makes something and holds its event to its object.
    async fn made(&self, path: &str, body: Value, kind: &str) -> Value {
        let object = self.ask("POST", path, body).await.expect(201).json();
        let payload = self.newest(kind).await;
        for (name, value) in object.as_object().expect("an object") {
            if !NOT_TOLD.contains(&name.as_str()) && !value.is_null() {
                assert!(says(&payload, name, value), "{kind} leaves out {name}: {payload}");
            }
        }
        object
    }

    /// Changes something and holds its event to what differs.
    async fn changed(&self, (method, path): (&str, &str), body: Value, kind: &str) {
        let noun = path.split("/permissions").next().expect("a path");
        let before = self.world.admin(&self.org, "GET", noun, None).await.expect(200).json();
        let after = self.ask(method, path, body).await.expect(200).json();
        let payload = self.newest(kind).await;
        let mut differ = 0;
        for (name, value) in after.as_object().expect("an object") {
            if NOT_TOLD.contains(&name.as_str()) {
                continue;
            }
            let told = &payload["changes"][name];
            if before[name] == *value {
                assert!(told.is_null(), "{kind} tells of {name}, which is as it was: {payload}");
            } else {
                differ += 1;
                assert_eq!(*told, as_text(value), "{kind} leaves out {name}: {payload}");
            }
        }
        assert!(differ > 0, "{kind} changed nothing");
    }
}

#[tokio::test]
async fn the_event_of_a_new_thing_says_all_that_its_object_shows() {
    let case = Case::begin().await;
    let person = json!({"email": "ann@example.com", "name": "Ann"});
    case.made("/v1/persons", person, "person.created").await;
    let (idp, _) = case.world.idp().await;
    let corp = json!({"name": "corp", "issuer": idp.issuer(), "jwks_url": idp.jwks_url(),
        "audiences": ["accredit", "another"], "provision": false});
    case.made("/v1/federations", corp, "federation.created").await;
    let crm = json!({"name": "crm", "audience": "https://crm.example/", "environment": "prod",
        "actions": ["read", "update"], "revocations_age_max": 20});
    case.made("/v1/resources", crm, "resource.created").await;
    let planner = json!({"name": "planner", "owner_email": "ann@example.com", "purpose": "plans",
        "environment": "prod", "allow": ["crm:read", "crm:update"], "default_scope": "crm:read",
        "may_delegate": true, "token_lifetime": 120, "certificate_lifetime": 600,
        "dns_names": ["b.acme.id.example", "a.acme.id.example"], "review_due_at": "2026-03-01T00:00:00Z",
        "rotation_days": 7, "jwks_url": "https://keys.example/jwks", "activate": true});
    case.made("/v1/agents", planner, "agent.created").await;
    case.made("/v1/agents", json!({"name": "draft"}), "agent.created").await;
    let instance = json!({"agent": "planner", "name": "one", "expires_in": 60});
    case.made("/v1/instances", instance, "instance.created").await;
    let secret = json!({"agent": "planner", "type": "client-secret", "expires_in": 60});
    case.made("/v1/credentials", secret, "credential.created").await;
    let jwk = accredit_testkit::Signer::new(accredit_wire::crypto::Algorithm::Es256, "k", [1; 32]);
    let jwk: Value = serde_json::from_str(&jwk.public_jwk()).expect("JSON");
    let key = json!({"resource": "crm", "type": "public-key", "jwk": jwk});
    case.made("/v1/credentials", key, "credential.created").await;
    let admin = json!({"role": "security", "purpose": "pager", "permissions": ["read"]});
    case.made("/v1/admin-keys", admin, "credential.created").await;
    // An organization's birth is in its own log.
    let shown = case.world.admin(&case.org, "GET", "/v1/orgs/acme", None).await.json();
    let payload = case.newest("organization.created").await;
    for (name, value) in shown.as_object().expect("an object") {
        if !NOT_TOLD.contains(&name.as_str()) && !value.is_null() {
            assert!(says(&payload, name, value), "leaves out {name}: {payload}");
        }
    }
}

#[tokio::test]
async fn the_event_of_a_change_says_all_that_differs_and_nothing_else() {
    let case = Case::begin().await;
    let crm = json!({"name": "crm", "audience": "https://crm.example/", "actions": ["read"]});
    case.ask("POST", "/v1/resources", crm).await.expect(201);
    let agent = json!({"name": "planner", "owner_email": "ann@example.com", "purpose": "plans",
        "allow": ["crm:read"], "activate": true});
    case.ask("POST", "/v1/agents", agent).await.expect(201);
    // With a credential, so that a rotation can be asked for.
    let secret = json!({"agent": "planner", "type": "client-secret"});
    case.ask("POST", "/v1/credentials", secret).await.expect(201);
    let person = ("PATCH", "/v1/persons/ann@example.com");
    case.changed(person, json!({"name": "Ann"}), "person.updated").await;
    for (verb, kind) in [("grant", "person.granted"), ("ungrant", "person.ungranted")] {
        let path = format!("/v1/persons/ann@example.com/{verb}");
        let payload = case.ask("POST", &path, json!({"allow": ["crm:read"]})).await.expect(200);
        let held = as_text(&payload.json()["permissions"]);
        assert_eq!(case.newest(kind).await["changes"]["permissions"], held);
    }
    let (idp, _) = case.world.idp().await;
    case.world.federation(&case.org, &idp, "corp").await;
    let corp = ("PATCH", "/v1/federations/corp");
    case.changed(corp, json!({"audiences": ["x", "y"]}), "federation.updated").await;
    case.changed(corp, json!({"jwks_url": "", "provision": false}), "federation.updated").await;
    let crm = json!({"actions": ["read", "update"], "revocations_age_max": 30, "bound_only": true});
    case.changed(("PATCH", "/v1/resources/crm"), crm, "resource.updated").await;
    let org = json!({"display_name": "Acme", "rotation_policy": "enforce"});
    case.changed(("PATCH", "/v1/orgs/acme"), org, "organization.updated").await;
    let path = "/v1/agents/planner/permissions/crm";
    let more = json!({"actions": ["read", "update"]});
    case.changed(("PUT", path), more, "permission.set").await;
    for body in [
        json!({"default_scope": "crm:update", "may_delegate": true, "token_lifetime": 60, "certificate_lifetime": 900}),
        json!({"bound_only": true}),
        json!({"dns_names": ["a.acme.id.example"]}),
        json!({"dns_names": []}),
        json!({"default_scope": "", "rotation_days": 3, "purpose": "plans more"}),
        json!({"reviewed": true, "review_due_at": "2026-05-01T00:00:00Z"}),
        json!({"owner_email": "bob@example.com"}),
        json!({"jwks_url": "https://keys.example/jwks"}),
        json!({"jwks_url": ""}),
    ] {
        case.changed(("PATCH", "/v1/agents/planner"), body, "agent.updated").await;
    }
    // Narrowed, it also loses the default scope that it no longer holds.
    let scope = json!({"default_scope": "crm:update"});
    case.changed(("PATCH", "/v1/agents/planner"), scope, "agent.updated").await;
    let fewer = json!({"actions": ["read"]});
    case.changed(("PUT", path), fewer, "permission.set").await;
    let moved = json!({"environment": "staging"});
    case.changed(("PATCH", "/v1/agents/planner"), moved, "agent.updated").await;
    let across = json!({"actions": ["read"], "across_environments": true});
    case.changed(("PUT", path), across, "permission.set").await;
}

#[tokio::test]
async fn an_owner_who_is_new_has_an_event_of_their_own() {
    let case = Case::begin().await;
    let agent = |name: &str, owner: &str| json!({"name": name, "owner_email": owner});
    case.ask("POST", "/v1/agents", agent("one", "ann@example.com")).await.expect(201);
    case.ask("POST", "/v1/agents", agent("two", "ann@example.com")).await.expect(201);
    let bob = json!({"owner_email": "bob@example.com"});
    case.ask("PATCH", "/v1/agents/two", bob).await.expect(200);
    let born = events(&case.world, &case.org, "person.created").await;
    let names: Vec<_> = born.iter().map(|event| &event["payload"]["name"]).collect();
    assert_eq!(names, ["ann@example.com", "bob@example.com"]);
    for event in &born {
        let key = event["payload"]["name"].as_str().expect("an address");
        let path = format!("/v1/persons/{key}");
        let person = case.world.admin(&case.org, "GET", &path, None).await.expect(200).json();
        assert_eq!(event["payload"]["target"], person["id"]);
        assert_eq!(event["payload"]["actor"]["kind"], "admin");
    }
    // The birth stands right before what it came with, and both or neither are there.
    let one = &events(&case.world, &case.org, "agent.created").await[0];
    assert_eq!(one["seq"].as_u64(), born[0]["seq"].as_u64().map(|seq| seq + 1));
    case.world.faults.arm(accredit_testkit::fault::FailAt::BeforeCommit(1));
    let failed = case.ask("POST", "/v1/agents", agent("three", "eve@example.com")).await;
    assert!(case.world.faults.disarm() && failed.status >= 500, "{}", failed.text());
    assert_eq!(events(&case.world, &case.org, "person.created").await.len(), 2);
}

#[tokio::test]
async fn why_an_agent_was_activated_is_recorded() {
    let case = Case::begin().await;
    let crm = json!({"name": "crm", "audience": "https://crm.example/", "actions": ["read"]});
    case.ask("POST", "/v1/resources", crm).await.expect(201);
    let agent = json!({"name": "planner", "owner_email": "ann@example.com", "purpose": "plans",
        "allow": ["crm:read"]});
    case.ask("POST", "/v1/agents", agent).await.expect(201);
    let path = "/v1/agents/planner/activate";
    let bad = json!({"reason": "a\u{202e}b"});
    case.ask("POST", path, bad).await.problem(400, "field-invalid");
    case.ask("POST", path, json!({"reason": "reviewed by Ann"})).await.expect(200);
    assert_eq!(case.newest("agent.activated").await["reason"], "reviewed by Ann");
}
