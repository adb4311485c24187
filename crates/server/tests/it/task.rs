//! Tasks: tokens that are minted for one stay in it, and end with it.

use accredit_domain::registry::agent::CreateAgent;
use accredit_testkit::{Answer, Ask, Client, Org, TestWorld};
use serde_json::json;

use crate::{claims, events};

struct Case {
    world: TestWorld,
    org: Org,
    planner: Client,
    worker: Client,
}

impl Case {
    async fn begin(seed: u64) -> Self {
        let world = TestWorld::new(seed).await;
        let org = world.found("acme").await;
        for name in ["crm", "worker"] {
            world.resource(&org, name, &["read", "run"]).await;
        }
        for name in ["planner", "worker"] {
            let asked = CreateAgent {
                name: name.to_owned(),
                allow: ["worker:run", "crm:read"].map(str::to_owned).to_vec(),
                may_delegate: true,
                ..CreateAgent::default()
            };
            world.agent_like(&org, asked).await;
        }
        let served = Some(json!({"agent": "worker"}));
        world.admin(&org, "PATCH", "/v1/resources/worker", served).await.expect(200);
        let planner = world.instance(&org, "planner", None).await;
        let worker = world.instance(&org, "worker", None).await;
        Self { world, org, planner, worker }
    }

    /// A task of an agent, for so many seconds.
    async fn task(&self, agent: &str, seconds: u64) -> String {
        let asked = json!({"agent": agent, "purpose": "to be tested", "expires_in": seconds});
        let made = self.world.admin(&self.org, "POST", "/v1/tasks", Some(asked)).await;
        made.expect(201).member("id")
    }

    async fn end(&self, task: &str) -> Answer {
        let reason = Some(json!({"reason": "a test"}));
        self.world.admin(&self.org, "POST", &format!("/v1/tasks/{task}/end"), reason).await
    }

    async fn token(&self, client: &Client, more: &[(&str, &str)]) -> Answer {
        self.world.token(&self.org, client, more).await
    }

    async fn exchange(&self, subject: &str, more: &[(&str, &str)]) -> Answer {
        let mut form = vec![
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("subject_token", subject),
            ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token"),
            ("scope", "crm:read"),
        ];
        form.extend_from_slice(more);
        let ask = Ask::post(self.org.path("/oauth/token")).basic(&self.worker);
        self.world.ask(ask.form(&form)).await
    }

    async fn is_active(&self, token: &str) -> bool {
        let ask = Ask::post(self.org.path("/oauth/introspect")).bearer(&self.org.admin);
        self.world.ask(ask.form(&[("token", token)])).await.expect(200).json()["active"] == true
    }
}

const RUN: (&str, &str) = ("scope", "worker:run");

#[tokio::test]
async fn ending_a_task_ends_its_tokens_and_what_was_derived_from_them_and_nothing_else() {
    let case = Case::begin(501).await;
    let (task, other) = (case.task("planner", 3600).await, case.task("planner", 3600).await);
    let of = async |task: &str| {
        case.token(&case.planner, &[RUN, ("task", task)]).await.expect(200).member("access_token")
    };
    let (first, apart) = (of(&task).await, of(&other).await);
    let own = case.token(&case.planner, &[RUN]).await.expect(200).member("access_token");
    assert!(claims(&first)["accredit"]["lin"].to_string().contains(&task));
    let second = case.exchange(&first, &[]).await.expect(200).member("access_token");
    assert!(claims(&second)["accredit"]["lin"].to_string().contains(&task), "it carries over");
    let issued = events(&case.world, &case.org, "token.issued").await.pop().expect("an event");
    assert_eq!(issued["payload"]["task"], task);
    let ended = case.end(&task).await.expect(200).json();
    assert_eq!(ended["state"], "ended");
    for token in [&first, &second] {
        assert!(!case.is_active(token).await);
    }
    assert!(case.is_active(&apart).await && case.is_active(&own).await);
    case.exchange(&first, &[]).await.refused(400, "invalid_request", "subject-token");
    let late = case.token(&case.planner, &[RUN, ("task", &task)]).await;
    late.refused(400, "invalid_request", "task-over");
    assert_eq!(case.end(&task).await.status, 409, "it is over");
    assert_eq!(events(&case.world, &case.org, "task.ended").await.len(), 1);
}

#[tokio::test]
async fn a_token_does_not_outlive_the_deadline_of_its_task() {
    let case = Case::begin(502).await;
    let task = case.task("planner", 100).await;
    let asked = [RUN, ("task", task.as_str())];
    let token = case.token(&case.planner, &asked).await.expect(200).member("access_token");
    let said = claims(&token);
    assert_eq!(said["exp"].as_i64().expect("exp") - said["iat"].as_i64().expect("iat"), 100);
    case.world.advance(99);
    case.token(&case.planner, &asked).await.expect(200);
    case.world.advance(1);
    let late = case.token(&case.planner, &asked).await;
    late.refused(400, "invalid_request", "task-over");
    let path = format!("/v1/tasks/{task}");
    let shown = case.world.admin(&case.org, "GET", &path, None).await.expect(200).json();
    assert_eq!(shown["state"], "expired");
}

#[tokio::test]
async fn a_task_is_its_agents_alone_and_no_token_leaves_it_for_another() {
    let case = Case::begin(503).await;
    let (task, theirs) = (case.task("planner", 3600).await, case.task("worker", 3600).await);
    let unknown = "tsk_01kdvdna00e00800000000000t".to_owned();
    let other = case.world.found("other").await;
    case.world.resource(&other, "crm", &["read"]).await;
    case.world.agent(&other, "bot", &["crm:read"]).await;
    let asked = json!({"agent": "bot", "purpose": "to be tested"});
    let foreign = case.world.admin(&other, "POST", "/v1/tasks", Some(asked)).await;
    let foreign = foreign.expect(201).member("id");
    for wrong in [&theirs, &unknown, &foreign] {
        let answer = case.token(&case.planner, &[RUN, ("task", wrong)]).await;
        answer.refused(400, "invalid_request", "task-unknown");
        let path = format!("/v1/tasks/{wrong}");
        let seen = case.world.admin(&case.org, "GET", &path, None).await.status;
        assert_eq!(seen, if *wrong == theirs { 200 } else { 404 });
    }
    let first = case.token(&case.planner, &[RUN, ("task", &task)]).await;
    let first = first.expect(200).member("access_token");
    // What is in a task stays there; what is in none may enter one of the agent that asks.
    let same = case.exchange(&first, &[("task", &task)]).await;
    same.expect(200);
    let leaves = case.exchange(&first, &[("task", &theirs)]).await;
    leaves.refused(400, "invalid_request", "task-other");
    let free = case.token(&case.planner, &[RUN]).await.expect(200).member("access_token");
    let entered = case.exchange(&free, &[("task", &theirs)]).await.expect(200);
    let entered = entered.member("access_token");
    case.end(&theirs).await.expect(200);
    assert!(!case.is_active(&entered).await && case.is_active(&free).await);
    let barred = case.exchange(&free, &[("task", &task)]).await;
    barred.refused(400, "invalid_request", "task-unknown");
}

#[tokio::test]
async fn tasks_are_listed_by_agent_and_state() {
    let case = Case::begin(504).await;
    let mut made = Vec::new();
    for (agent, seconds) in
        [("planner", 100), ("planner", 3600), ("worker", 3600), ("worker", 3600)]
    {
        made.push(case.task(agent, seconds).await);
        case.world.advance(1);
    }
    let [short, long, theirs, over] = <[String; 4]>::try_from(made).expect("four");
    case.end(&over).await.expect(200);
    case.world.advance(100);
    let listed = async |query: &str| {
        let path = format!("/v1/tasks?{query}");
        let found = case.world.admin(&case.org, "GET", &path, None).await.expect(200).json();
        let rows = found["items"].as_array().expect("rows").iter();
        rows.map(|row| row["id"].as_str().expect("an id").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(listed("agent=planner").await, [short.clone(), long.clone()]);
    assert_eq!(listed("state=active").await, [long.clone(), theirs.clone()]);
    assert_eq!(listed("state=expired").await, [short]);
    assert_eq!(listed("state=ended&agent=worker").await, [over]);
    assert_eq!(listed("sort=-created_at&limit=2&state=active").await, [theirs, long]);
    let wrong = case.world.admin(&case.org, "GET", "/v1/tasks?state=revoked", None).await;
    assert_eq!(wrong.status, 400);
}

#[tokio::test]
async fn the_end_of_an_agent_is_the_end_of_its_tasks() {
    let case = Case::begin(505).await;
    let task = case.task("planner", 3600).await;
    let reason = Some(json!({"reason": "a test"}));
    let path = "/v1/agents/planner/decommission";
    case.world.admin(&case.org, "POST", path, reason).await.expect(200);
    let path = format!("/v1/tasks/{task}");
    let shown = case.world.admin(&case.org, "GET", &path, None).await.expect(200).json();
    assert_eq!(shown["state"], "ended");
    assert_eq!(case.end(&task).await.status, 409);
    let asked = json!({"agent": "planner", "purpose": "too late"});
    let made = case.world.admin(&case.org, "POST", "/v1/tasks", Some(asked)).await;
    assert_eq!(made.status, 409, "{made:?}");
}
