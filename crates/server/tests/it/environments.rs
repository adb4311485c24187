//! Environments are a boundary: an agent and a resource of different ones meet in a token where a
//! permission says so, and nowhere else.

use accredit_testkit::{Answer, Client, Org, TestWorld};
use serde_json::{Value, json};

use crate::events;

struct Case {
    world: TestWorld,
    org: Org,
}

impl Case {
    /// A resource in production, one in development, and an agent in development for the latter.
    async fn begin(seed: u64) -> (Self, Client) {
        let world = TestWorld::new(seed).await;
        let org = world.found("acme").await;
        let case = Self { world, org };
        for (name, environment) in [("crm", "prod"), ("lab", "dev")] {
            let resource = json!({
                "name": name, "audience": format!("https://{name}.example/"), "actions": ["read"],
                "environment": environment,
            });
            case.post("/v1/resources", resource).await.expect(201);
        }
        case.world.agent(&case.org, "planner", &["lab:read"]).await;
        let client = case.world.agent_secret(&case.org, "planner", None).await;
        (case, client)
    }

    async fn post(&self, path: &str, body: Value) -> Answer {
        self.world.admin(&self.org, "POST", path, Some(body)).await
    }

    async fn allow(&self, body: Value) -> Answer {
        let path = "/v1/agents/planner/permissions/crm";
        self.world.admin(&self.org, "PUT", path, Some(body)).await
    }

    async fn moves(&self, to: &str) -> Answer {
        let body = json!({"environment": to});
        self.world.admin(&self.org, "PATCH", "/v1/agents/planner", Some(body)).await
    }

    async fn token(&self, client: &Client, scope: &str) -> Answer {
        self.world.token(&self.org, client, &[("scope", scope)]).await
    }

    async fn is_active(&self, token: &str) -> bool {
        let form = [("token", token)];
        let ask = accredit_testkit::Ask::post(self.org.path("/oauth/introspect"));
        let answer = self.world.ask(ask.bearer(&self.org.admin).form(&form)).await.expect(200);
        answer.json()["active"] == true
    }
}

#[tokio::test]
async fn no_permission_reaches_across_unless_it_says_so() {
    let (case, client) = Case::begin(301).await;
    let agent = json!({"name": "other", "owner_email": "m@example.com", "allow": ["crm:read"]});
    case.post("/v1/agents", agent).await.problem(400, "environment-boundary");
    case.allow(json!({"actions": ["read"]})).await.problem(400, "environment-boundary");
    let told = case.token(&client, "crm:read").await;
    told.refused(400, "invalid_scope", "scope-not-held");
    let body = json!({"actions": ["read"], "across_environments": true});
    let agent = case.allow(body).await.expect(200).json();
    assert_eq!(agent["across_environments"], json!(["crm"]));
    case.token(&client, "crm:read").await.expect(200);
    let event = &events(&case.world, &case.org, "permission.set").await[0]["payload"];
    assert_eq!(event["changes"]["across_environments"], "crm");
    // Taken back, it ends what it let through.
    let token = case.token(&client, "crm:read").await.member("access_token");
    assert!(case.is_active(&token).await);
    case.allow(json!({"actions": ["read"]})).await.problem(400, "environment-boundary");
    assert!(case.is_active(&token).await, "refused, and nothing changed");
    let path = "/v1/agents/planner/permissions/crm";
    case.world.admin(&case.org, "DELETE", path, None).await.expect(200);
    assert!(!case.is_active(&token).await);
    let agent = case.world.admin(&case.org, "GET", "/v1/agents/planner", None).await.json();
    assert_eq!(agent["across_environments"], json!([]));
}

#[tokio::test]
async fn an_agent_that_moves_loses_what_it_reached_from_where_it_was() {
    let (case, client) = Case::begin(302).await;
    let body = json!({"actions": ["read"], "across_environments": true});
    case.allow(body.clone()).await.expect(200);
    let token = case.token(&client, "lab:read").await.member("access_token");
    let moved = case.moves("prod").await.expect(200).json();
    assert_eq!(
        (&moved["environment"], &moved["across_environments"]),
        (&json!("prod"), &json!([]))
    );
    assert!(!case.is_active(&token).await, "its live tokens end");
    // It holds the permission still, and may not use it.
    let told = case.token(&client, "lab:read").await;
    told.refused(400, "invalid_target", "environment-boundary");
    assert!(told.text().contains("`prod`") && told.text().contains("`dev`"), "{}", told.text());
    case.token(&client, "crm:read").await.expect(200);
    let token = case.token(&client, "crm:read").await.member("access_token");
    case.moves("prod").await.expect(200);
    assert!(case.is_active(&token).await, "where it was already");
    case.moves("dev").await.expect(200);
    case.token(&client, "lab:read").await.expect(200);
    let told = case.token(&client, "crm:read").await;
    told.refused(400, "invalid_target", "environment-boundary");
}

#[tokio::test]
async fn there_are_three_environments_and_dev_is_where_nobody_says() {
    let (case, _) = Case::begin(303).await;
    let agent = case.post("/v1/agents", json!({"name": "plain"})).await.expect(201).json();
    assert_eq!(agent["environment"], "dev");
    let resource = json!({"name": "x", "audience": "https://x.example/", "actions": ["read"]});
    let resource = case.post("/v1/resources", resource).await.expect(201).json();
    assert_eq!(resource["environment"], "dev");
    for wrong in ["production", "Prod", "", "dev ", "*"] {
        let agent = json!({"name": "wrong", "environment": wrong});
        case.post("/v1/agents", agent).await.problem(400, "field-invalid");
        case.moves(wrong).await.problem(400, "field-invalid");
    }
}
