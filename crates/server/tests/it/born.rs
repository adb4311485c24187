//! Instances that an agent brings into being have no more than is passed on to them, and end with
//! whoever stands before them.

use accredit_domain::registry::agent::CreateAgent;
use accredit_domain::registry::born::BORN_IN_TASK_MAX;
use accredit_testkit::{Answer, Ask, Client, Org, TestWorld};
use serde_json::{Value, json};

use crate::{claims, events};

const HOUR: u64 = 3600;
const AGENTS: [&str; 6] = ["planner", "worker", "helper", "third", "fourth", "fifth"];

struct Case {
    world: TestWorld,
    org: Org,
    planner: Client,
    task: String,
}

impl Case {
    /// Agents that may bring one another into being and read the CRM; the worker may erase, too.
    async fn begin(seed: u64) -> Self {
        let world = TestWorld::new(seed).await;
        let org = world.found("acme").await;
        world.resource(&org, "crm", &["read", "update", "delete"]).await;
        for name in AGENTS {
            world.resource(&org, name, &["run", "spawn"]).await;
        }
        for name in AGENTS {
            let at = |it: &&str| [format!("{it}:run"), format!("{it}:spawn")];
            let mut allow: Vec<String> = AGENTS.iter().flat_map(at).collect();
            allow.extend(["crm:read", "crm:update"].map(str::to_owned));
            if name == "worker" {
                allow.push("crm:delete".to_owned());
            }
            let asked = CreateAgent {
                name: name.to_owned(),
                allow,
                may_delegate: true,
                ..CreateAgent::default()
            };
            world.agent_like(&org, asked).await;
        }
        for name in AGENTS {
            let path = format!("/v1/resources/{name}");
            world.admin(&org, "PATCH", &path, Some(json!({"agent": name}))).await.expect(200);
        }
        let planner = world.instance(&org, "planner", None).await;
        let task = Self::new_task(&world, &org, "planner").await;
        Self { world, org, planner, task }
    }

    async fn new_task(world: &TestWorld, org: &Org, agent: &str) -> String {
        let asked = json!({"agent": agent, "purpose": "to be tested", "expires_in": 10 * HOUR});
        world.admin(org, "POST", "/v1/tasks", Some(asked)).await.expect(201).member("id")
    }

    async fn restarted(self, seed: u64) -> Self {
        Self { world: self.world.reopened(seed).await, ..self }
    }

    async fn post(&self, client: &Client, path: &str, form: &[(&str, &str)]) -> Answer {
        let path = self.org.path(&format!("/oauth/{path}"));
        self.world.ask(Ask::post(path).basic(client).form(form)).await
    }

    async fn ask(&self, parent: &Client, agent: &str, scope: &str) -> Answer {
        let form = [("agent", agent), ("task", &*self.task), ("scope", scope)];
        self.post(parent, "instances", &form).await
    }

    /// Asks where the parent was born into a task itself.
    async fn ask_below(&self, parent: &Client, agent: &str, scope: &str) -> Answer {
        self.post(parent, "instances", &[("agent", agent), ("scope", scope)]).await
    }

    async fn child(&self, parent: &Client, agent: &str, scope: &str) -> Client {
        client(&self.ask(parent, agent, scope).await)
    }

    async fn below(&self, parent: &Client, agent: &str, scope: &str) -> Client {
        client(&self.ask_below(parent, agent, scope).await)
    }

    async fn token(&self, client: &Client, scope: &str) -> Answer {
        self.world.token(&self.org, client, &[("scope", scope)]).await
    }

    async fn gets(&self, client: &Client, scope: &str) -> String {
        self.token(client, scope).await.expect(200).member("access_token")
    }

    async fn is_active(&self, token: &str) -> bool {
        let ask = Ask::post(self.org.path("/oauth/introspect")).bearer(&self.org.admin);
        self.world.ask(ask.form(&[("token", token)])).await.expect(200).json()["active"] == true
    }

    async fn admin(&self, path: &str, body: Value) -> Answer {
        self.world.admin(&self.org, "POST", path, Some(body)).await
    }

    async fn is_over(&self, client: &Client, why: &str) {
        let answer = self.token(client, "crm:read").await;
        assert!([400, 401].contains(&answer.status), "{why}: {}", answer.text());
        let rule = answer.member("rule");
        let known = ["instance-not-active", "credential-revoked", "credential-expired"];
        assert!(known.contains(&&*rule), "{why}: {rule}");
    }
}

/// What was born, as a client.
fn client(answer: &Answer) -> Client {
    assert!((200..202).contains(&answer.status), "{}", answer.text());
    let made = answer.json();
    let text = |name: &str| made[name].as_str().expect(name).to_owned();
    Client {
        id: text("client_id"),
        secret: text("client_secret"),
        credential: text("credential"),
        instance: Some(text("id").parse().expect("an id")),
    }
}

fn id(client: &Client) -> String {
    client.instance.expect("an instance").to_string()
}

#[tokio::test]
async fn a_child_acts_for_whoever_began_with_what_was_passed_on() {
    let case = Case::begin(7400).await;
    let made = case.ask(&case.planner, "worker", "crm:read helper:run helper:spawn").await;
    let shown = made.json();
    assert_eq!(shown["parent"], id(&case.planner));
    assert_eq!(shown["task"], case.task);
    let worker = client(&made);
    let token = case.gets(&worker, "crm:read").await;
    let said = claims(&token);
    assert_eq!((&said["sub"], &said["client_id"]), (&json!(case.planner.id), &json!(worker.id)));
    assert_eq!(said["act"]["ins"], id(&worker));
    assert_eq!(said["accredit"]["depth"], 1);
    let lineage = said["accredit"]["lin"].to_string();
    for ancestor in [&case.task, &id(&case.planner), &case.planner.credential] {
        assert!(lineage.contains(ancestor), "{ancestor} is not in {lineage}");
    }
    // What was not passed on it does not get, though its agent holds it.
    case.token(&worker, "crm:update").await.refused(400, "invalid_scope", "delegation-exceeded");
    // A child of the child, by the child's own credential.
    let helper = case.below(&worker, "helper", "crm:read").await;
    let said = claims(&case.gets(&helper, "crm:read").await);
    assert_eq!(said["sub"], case.planner.id);
    assert_eq!(said["act"]["act"]["ins"], id(&worker));
    assert_eq!(said["accredit"]["depth"], 2);
    let event = events(&case.world, &case.org, "instance.created").await.pop().expect("an event");
    assert_eq!(event["payload"]["actor"]["id"], worker.id);
    assert_eq!(event["payload"]["task"], case.task);
    // It neither outlives its task nor enters another one.
    let other = Case::new_task(&case.world, &case.org, "worker").await;
    let form = [("scope", "crm:read"), ("task", &*other)];
    case.world.token(&case.org, &worker, &form).await.refused(400, "invalid_request", "task-other");
    let tasks = case.post(&worker, "tasks", &[("purpose", "my own")]).await;
    tasks.refused(400, "invalid_request", "task-other");
    case.world.advance(10 * HOUR);
    case.is_over(&worker, "its task").await;
}

#[tokio::test]
async fn nothing_is_passed_on_that_is_wider_than_the_parent_or_the_child() {
    let case = Case::begin(7401).await;
    let wide = case.ask(&case.planner, "worker", "crm:read crm:delete").await;
    wide.refused(400, "invalid_scope", "delegation-exceeded");
    let said = wide.json()["error_description"].to_string();
    assert!(said.contains("`crm:delete`") && !said.contains("`crm:read`"), "{said}");
    let worker = case.child(&case.planner, "worker", "crm:read helper:spawn").await;
    let wide = case.ask_below(&worker, "helper", "crm:update").await;
    wide.refused(400, "invalid_scope", "delegation-exceeded");
    let form = [("agent", "worker"), ("task", &*case.task)];
    let nothing = case.post(&case.planner, "instances", &form).await;
    nothing.refused(400, "invalid_scope", "scope-missing");
    // What is taken from the parent's agent, its children have no more.
    case.gets(&worker, "crm:read").await;
    let taken = json!({"actions": ["update"]});
    let path = "/v1/agents/planner/permissions/crm";
    case.world.admin(&case.org, "PUT", path, Some(taken)).await.expect(200);
    case.token(&worker, "crm:read").await.refused(400, "invalid_scope", "delegation-exceeded");
    // An agent that may not delegate has no children, nor goes on through those it has.
    let no = Some(json!({"may_delegate": false}));
    case.world.admin(&case.org, "PATCH", "/v1/agents/planner", no).await.expect(200);
    case.is_over(&worker, "its parent passes nothing on").await;
    let none = case.ask(&case.planner, "worker", "crm:update").await;
    none.refused(400, "invalid_scope", "delegation-none");
}

#[tokio::test]
async fn who_may_bring_whom_into_being_is_an_administrators_word() {
    let case = Case::begin(7402).await;
    let poor = CreateAgent {
        name: "poor".to_owned(),
        allow: ["worker:run", "crm:read"].map(str::to_owned).to_vec(),
        may_delegate: true,
        ..CreateAgent::default()
    };
    case.world.agent_like(&case.org, poor).await;
    let poor = case.world.instance(&case.org, "poor", None).await;
    let own = Case::new_task(&case.world, &case.org, "poor").await;
    let ask = async |agent: &str, task: &str| {
        let form = [("agent", agent), ("task", task), ("scope", "crm:read")];
        case.post(&poor, "instances", &form).await
    };
    // It may run the worker and not bring it into being; and does not learn who there is.
    let refused = ask("worker", &own).await;
    refused.refused(403, "unauthorized_client", "spawn-not-held");
    let unknown = ask("nobody", &own).await;
    unknown.refused(403, "unauthorized_client", "spawn-not-held");
    let same = |answer: &Answer, name: &str| {
        answer.json()["error_description"].to_string().replace(name, "X")
    };
    assert_eq!(same(&refused, "worker"), same(&unknown, "nobody"));
    // Nobody's task but the parent's own.
    let others = case.ask(&poor, "worker", "crm:read").await;
    assert_eq!(others.status, 403);
    let other = Case::new_task(&case.world, &case.org, "worker").await;
    let form = [("agent", "worker"), ("task", &*other), ("scope", "crm:read")];
    let others = case.post(&case.planner, "instances", &form).await;
    others.refused(400, "invalid_request", "task-unknown");
    let none = case.post(&case.planner, "instances", &form[..1]).await;
    assert_eq!(none.status, 400);
    // A child's child is born into the child's task alone.
    let worker = case.child(&case.planner, "worker", "crm:read helper:spawn").await;
    let form = [("agent", "helper"), ("task", &*other), ("scope", "crm:read")];
    let elsewhere = case.post(&worker, "instances", &form).await;
    elsewhere.refused(400, "invalid_request", "task-other");
    let crm = case.world.resource_secret(&case.org, "crm").await;
    let form = [("agent", "worker"), ("task", &*case.task), ("scope", "crm:read")];
    let resource = case.post(&crm, "instances", &form).await;
    resource.refused(400, "unauthorized_client", "grant-not-for-client");
}

#[tokio::test]
async fn a_lineage_has_no_circle_and_an_end() {
    let case = Case::begin(7403).await;
    let all =
        "crm:read planner:spawn worker:spawn helper:spawn third:spawn fourth:spawn fifth:spawn";
    let circle = case.ask(&case.planner, "planner", "crm:read").await;
    circle.refused(400, "invalid_request", "chain-cycle");
    let worker = case.child(&case.planner, "worker", all).await;
    for again in ["planner", "worker"] {
        let circle = case.ask_below(&worker, again, "crm:read").await;
        circle.refused(400, "invalid_request", "chain-cycle");
    }
    let helper = case.below(&worker, "helper", all).await;
    let third = case.below(&helper, "third", all).await;
    let fourth = case.below(&third, "fourth", all).await;
    assert_eq!(claims(&case.gets(&fourth, "crm:read").await)["accredit"]["depth"], 4);
    let deep = case.ask_below(&fourth, "fifth", "crm:read").await;
    deep.refused(400, "invalid_request", "chain-too-deep");
}

#[tokio::test]
async fn a_child_ends_with_whoever_stands_before_it() {
    let case = Case::begin(7404).await;
    let spawn = "crm:read helper:spawn";
    let line = async |parent: &Client| {
        let worker = case.child(parent, "worker", spawn).await;
        let helper = case.below(&worker, "helper", "crm:read").await;
        let token = case.gets(&helper, "crm:read").await;
        (worker, helper, token)
    };
    let apart = case.world.instance(&case.org, "planner", None).await;
    let (other_worker, other_helper, other_token) = line(&apart).await;
    let check = async |what: &str, (worker, helper, token): &(Client, Client, String)| {
        assert!(!case.is_active(token).await, "{what}: the token lives");
        case.is_over(helper, what).await;
        let born = case.ask_below(helper, "third", "crm:read").await;
        assert!(born.status >= 400, "{what}: it still has children: {}", born.text());
        let _ = worker;
    };
    // The parent.
    let first = line(&case.planner).await;
    let killed = json!({"target": id(&first.0), "reason": "a test"});
    let blast = case.admin("/v1/revocations", killed).await.expect(201).json()["blast"].clone();
    assert_eq!((&blast["instances"], &blast["credentials"]), (&json!(2), &json!(2)), "{blast}");
    check("the parent", &first).await;
    // The parent's parent.
    let second = line(&case.planner).await;
    case.world.revoke(&case.org, id(&case.planner)).await.expect("revoked");
    check("the grandparent", &second).await;
    let listed = case.world.admin(&case.org, "GET", "/v1/instances?state=active", None).await;
    assert_eq!(
        listed.expect(200).json()["items"].as_array().expect("items").len(),
        3,
        "the rows too"
    );
    // The credential that asked.
    let own = case.world.agent_secret(&case.org, "planner", None).await;
    let third = line(&own).await;
    case.world.revoke(&case.org, &own.credential).await.expect("revoked");
    check("the credential", &third).await;
    // What has another parent goes on.
    case.gets(&other_helper, "crm:read").await;
    case.gets(&other_worker, "crm:read").await;
    assert!(case.is_active(&other_token).await);
    // The agent, and after a restart; activated, the child goes on, as its parent does.
    case.admin("/v1/agents/planner/suspend", json!({"reason": "a test"})).await.expect(200);
    check("the agent", &(other_worker.clone(), other_helper.clone(), other_token)).await;
    case.admin("/v1/agents/planner/activate", json!({"reason": "a test"})).await.expect(200);
    case.gets(&other_helper, "crm:read").await;
    // The task.
    let token = case.gets(&other_helper, "crm:read").await;
    let path = format!("/v1/tasks/{}/end", case.task);
    case.admin(&path, json!({"reason": "done"})).await.expect(200);
    check("the task", &(other_worker, other_helper.clone(), token)).await;
    let listed = case.world.admin(&case.org, "GET", "/v1/instances?state=active", None).await;
    assert_eq!(listed.expect(200).json()["items"].as_array().expect("items").len(), 1);
    let case = case.restarted(7490).await;
    for over in [&first.1, &second.1, &third.1, &other_helper] {
        case.is_over(over, "after a restart").await;
    }
}

#[tokio::test]
async fn a_child_that_exchanges_stays_within_what_it_was_born_with() {
    let case = Case::begin(7405).await;
    let worker = case.child(&case.planner, "worker", "crm:read").await;
    let sibling = case.world.instance(&case.org, "worker", None).await;
    let sent = case.gets(&case.planner, "worker:run").await;
    let exchange = async |client: &Client, scope: &str| {
        let form = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("subject_token", &*sent),
            ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token"),
            ("scope", scope),
        ];
        case.post(client, "token", &form).await
    };
    exchange(&sibling, "crm:update").await.expect(200);
    exchange(&worker, "crm:update").await.refused(400, "invalid_scope", "delegation-exceeded");
    let token = exchange(&worker, "crm:read").await.expect(200).member("access_token");
    assert!(claims(&token)["accredit"]["lin"].to_string().contains(&case.task));
    let path = format!("/v1/tasks/{}/end", case.task);
    case.admin(&path, json!({"reason": "done"})).await.expect(200);
    assert!(!case.is_active(&token).await, "it dies with the child's task");
}

#[tokio::test]
async fn an_administrator_gives_an_instance_its_parent() {
    let case = Case::begin(7406).await;
    let make = async |with: Value| {
        let mut body = json!({"agent": "worker", "parent": id(&case.planner), "task": case.task,
            "allow": ["crm:read"]});
        body.as_object_mut().expect("an object").extend(with.as_object().expect("one").clone());
        case.admin("/v1/instances", body).await
    };
    let worker = client(&make(json!({})).await.expect(201));
    assert_eq!(claims(&case.gets(&worker, "crm:read").await)["sub"], case.planner.id);
    let below = json!({"agent": "helper", "parent": id(&worker), "allow": ["crm:read"]});
    let below = case.admin("/v1/instances", below).await.expect(201);
    assert_eq!(below.json()["task"], case.task);
    let by_agent = client(&make(json!({"parent": "planner"})).await.expect(201));
    case.gets(&by_agent, "crm:read").await;
    for (with, status) in [
        (json!({"allow": ["crm:delete"]}), 400),
        (json!({"allow": []}), 400),
        (json!({"agent": "planner"}), 400),
        (json!({"parent": "nobody"}), 404),
        (json!({"task": "tsk_01kdvdna00e00800000000000t"}), 400),
        (json!({"task": Value::Null}), 400),
        (json!({"parent": Value::Null}), 400),
    ] {
        let answer = make(with.clone()).await;
        assert_eq!(answer.status, status, "{with}: {}", answer.text());
    }
    case.world.revoke(&case.org, id(&case.planner)).await.expect("revoked");
    case.is_over(&worker, "its parent").await;
    case.gets(&by_agent, "crm:read").await;
    assert_eq!(make(json!({})).await.status, 409, "a parent that is over has no children");
}

#[tokio::test]
async fn so_many_are_born_into_a_task_and_no_more() {
    let case = Case::begin(7407).await;
    let mut last = None;
    for _ in 0..BORN_IN_TASK_MAX {
        last = Some(case.child(&case.planner, "worker", "crm:read helper:spawn").await);
    }
    let last = last.expect("one");
    case.ask(&case.planner, "worker", "crm:read").await.refused(
        400,
        "invalid_request",
        "quota-reached",
    );
    let below = case.ask_below(&last, "helper", "crm:read").await;
    below.refused(400, "invalid_request", "quota-reached");
    case.world.revoke(&case.org, id(&last)).await.expect("revoked");
    case.child(&case.planner, "worker", "crm:read").await;
    // The end of the task is the end of them all, in one change.
    let kill = json!({"target": case.task, "reason": "a test"});
    let blast = case.admin("/v1/revocations", kill).await.expect(201).json()["blast"].clone();
    assert_eq!(blast["instances"], BORN_IN_TASK_MAX);
}
