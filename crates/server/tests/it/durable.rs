//! What a user grants for a task outlasts their token, and nothing else of what stands behind it;
//! and tasks that agents make themselves.

use accredit_domain::registry::durable::GRANT_LIFETIME_MAX_SECONDS;
use accredit_domain::registry::own_task::TASKS_OF_AGENT_MAX;
use accredit_testkit::fixture::Scene;
use accredit_testkit::idp::Idp;
use accredit_testkit::{Answer, Ask, Client, Org, Signer, TestWorld};
use serde_json::{Value, json};

use crate::{claims, events};

const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
const TASK: &str = "urn:accredit:params:oauth:token-type:task";
const HOUR: u64 = 3600;

struct Case {
    world: TestWorld,
    scene: Scene,
    idp: Idp,
    key: Signer,
    /// An instance of the planner, which asks.
    planner: Client,
}

impl Case {
    /// Users of `corp` in the group `sales` may `crm:read`; the planner may update, too.
    async fn begin(seed: u64) -> Self {
        let world = TestWorld::new(seed).await;
        let scene = world.scene().await;
        let (idp, key) = world.idp().await;
        world.federation(&scene.org, &idp, "corp").await;
        let planner = world.instance(&scene.org, "planner", None).await;
        let case = Self { world, scene, idp, key, planner };
        case.rules(&["groups contains sales => crm:read"]).await;
        case
    }

    /// The same after a restart of the server.
    async fn restarted(self, seed: u64) -> Self {
        Self { world: self.world.reopened(seed).await, ..self }
    }

    fn org(&self) -> &Org {
        &self.scene.org
    }

    async fn admin(&self, method: &str, path: &str, body: Value) -> Value {
        let answer = self.world.admin(self.org(), method, path, Some(body)).await;
        assert!(answer.status < 300, "{path}: {}", answer.text());
        answer.json()
    }

    async fn rules(&self, rules: &[&str]) {
        self.admin("PATCH", "/v1/federations/corp", json!({"rules": rules})).await;
    }

    /// A token of the user's, for five minutes.
    fn users(&self, with: Value) -> String {
        let now = self.world.now().seconds();
        let issuer = format!("{}/corp", self.idp.issuer());
        let mut claims = json!({"iss": issuer, "sub": "user-1", "aud": "accredit", "iat": now,
            "exp": now + 300, "groups": ["sales"]});
        claims.as_object_mut().expect("an object").extend(with.as_object().expect("one").clone());
        self.key.sign(&json!({"alg": "ES256", "kid": "k1"}), &claims)
    }

    async fn post(&self, client: &Client, path: &str, form: &[(&str, &str)]) -> Answer {
        let path = self.org().path(&format!("/oauth/{path}"));
        self.world.ask(Ask::post(path).basic(client).form(form)).await
    }

    /// Asks for a task of the planner's that holds this of the user's.
    async fn ask_grant(&self, scope: &str, with: Value, seconds: u64) -> Answer {
        let (token, seconds) = (self.users(with), seconds.to_string());
        let form = [
            ("purpose", "plan the week"),
            ("subject_token", &*token),
            ("scope", scope),
            ("subject_token_type", JWT),
            ("expires_in", &*seconds),
        ];
        self.post(&self.planner, "tasks", &form).await
    }

    async fn granted(&self) -> Value {
        self.ask_grant("crm:read", json!({}), 10 * HOUR).await.expect(200).json()
    }

    /// Asks for a token for the task's user.
    async fn mint(&self, client: &Client, task: &str, scope: &str) -> Answer {
        let form = [
            ("grant_type", GRANT),
            ("subject_token", task),
            ("subject_token_type", TASK),
            ("scope", scope),
        ];
        self.post(client, "token", &form).await
    }

    async fn minted(&self, task: &str) -> String {
        self.mint(&self.planner, task, "crm:read").await.expect(200).member("access_token")
    }

    async fn is_active(&self, token: &str) -> bool {
        let ask = Ask::post(self.org().path("/oauth/introspect")).bearer(&self.org().admin);
        self.world.ask(ask.form(&[("token", token)])).await.expect(200).json()["active"] == true
    }

    async fn over(&self, task: &str, why: &str) {
        let answer = self.mint(&self.planner, task, "crm:read").await;
        assert_eq!(answer.status, 400, "{why}: {}", answer.text());
        answer.refused(400, "invalid_request", "grant-over");
    }
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("no `{name}` in {value}"))
}

#[tokio::test]
async fn an_agent_acts_for_a_user_whose_token_is_gone() {
    let case = Case::begin(7300).await;
    let task = case.granted().await;
    let (id, grant) = (text(&task, "id"), &task["grant"]);
    assert_eq!((&grant["allow"], &grant["state"]), (&json!(["crm:read"]), &json!("active")));
    case.world.advance(9 * HOUR);
    let token = case.minted(id).await;
    let said = claims(&token);
    assert_eq!((&said["sub"], &said["accredit"]["kind"]), (&grant["user"], &json!("user")));
    assert_eq!(said["act"]["sub"], case.planner.id);
    assert_eq!(said["accredit"]["depth"], 1);
    let lineage = said["accredit"]["lin"].to_string();
    for ancestor in [id, text(grant, "id"), text(grant, "federation")] {
        assert!(lineage.contains(ancestor), "{ancestor} is not in {lineage}");
    }
    let issued = events(&case.world, case.org(), "token.issued").await.pop().expect("an event");
    let issued = &issued["payload"];
    assert_eq!((&issued["task"], &issued["parent"]), (&task["id"], &grant["id"]));
    assert_eq!((&issued["root"], &issued["subject"]), (&grant["user"], &json!("user-1")));
    let made = events(&case.world, case.org(), "task.created").await.pop().expect("an event");
    assert_eq!(made["payload"]["token"], grant["id"]);
    assert_eq!(made["payload"]["actor"]["id"], case.planner.id);
    // Another copy of the agent does the work when the first has ended by itself.
    let other = case.world.instance(case.org(), "planner", None).await;
    let token = case.mint(&other, id, "crm:read").await.expect(200).member("access_token");
    let lineage = claims(&token)["accredit"]["lin"].to_string();
    assert!(lineage.contains(&case.planner.instance.expect("one").to_string()), "{lineage}");
    // It neither outlives its time nor survives it.
    case.world.advance(HOUR - 60);
    let last = claims(&case.minted(id).await);
    assert_eq!(last["exp"].as_i64().expect("exp") - last["iat"].as_i64().expect("iat"), 60);
    case.world.advance(60);
    let late = case.mint(&case.planner, id, "crm:read").await;
    late.refused(400, "invalid_request", "task-over");
    let long = case.ask_grant("crm:read", json!({}), 60 * 24 * HOUR).await.expect(200).json();
    case.world.advance(GRANT_LIFETIME_MAX_SECONDS);
    let case = case.restarted(7390).await;
    let later = case.world.instance(case.org(), "planner", None).await;
    let answer = case.mint(&later, text(&long, "id"), "crm:read").await;
    answer.refused(400, "invalid_request", "grant-over");
}

#[tokio::test]
async fn a_grant_is_the_meet_of_all_three_and_of_what_holds_now() {
    let case = Case::begin(7301).await;
    // The agent may update and the user may not; the user may erase and the agent may not.
    let wide = case.ask_grant("crm:read crm:update", json!({}), HOUR).await;
    wide.refused(400, "invalid_scope", "delegation-exceeded");
    assert!(wide.text().contains("crm:update") && !wide.text().contains("`crm:read`"));
    case.rules(&["groups contains sales => crm:read crm:update crm:delete"]).await;
    let wide = case.ask_grant("crm:read crm:delete", json!({}), HOUR).await;
    wide.refused(400, "invalid_scope", "scope-not-held");
    let task = case.ask_grant("crm:read", json!({}), HOUR).await.expect(200).json();
    let task = text(&task, "id");
    let more = case.mint(&case.planner, task, "crm:update").await;
    more.refused(400, "invalid_scope", "delegation-exceeded");
    // A rule that is gone gives nothing; what the person holds by grant goes on.
    case.rules(&["groups contains staff => crm:read"]).await;
    let gone = case.mint(&case.planner, task, "crm:read").await;
    gone.refused(400, "invalid_scope", "delegation-none");
    let shown = case.world.admin(case.org(), "GET", &format!("/v1/tasks/{task}"), None).await;
    let user = shown.expect(200).json()["grant"]["user"].as_str().expect("a user").to_owned();
    let path = format!("/v1/persons/{user}/grant");
    case.admin("POST", &path, json!({"allow": ["crm:read", "crm:update"]})).await;
    case.minted(task).await;
    let more = case.mint(&case.planner, task, "crm:update").await;
    more.refused(400, "invalid_scope", "delegation-exceeded");
    // And the agent's own: what was taken from it, it has for nobody.
    let path = "/v1/agents/planner/permissions/crm";
    case.admin("PUT", path, json!({"actions": ["update"]})).await;
    let taken = case.mint(&case.planner, task, "crm:read").await;
    taken.refused(400, "invalid_scope", "scope-not-held");
}

#[tokio::test]
async fn a_grant_dies_with_whatever_it_hangs_on_and_for_good() {
    let case = Case::begin(7302).await;
    let reason = json!({"reason": "a test"});
    let ended = async |what: &str, end: &dyn Fn(&Value) -> (String, Value), back: Option<&str>| {
        let task = case.granted().await;
        let (id, token) = (text(&task, "id").to_owned(), case.minted(text(&task, "id")).await);
        assert!(case.is_active(&token).await, "{what}");
        let (path, body) = end(&task);
        case.admin("POST", &path, body).await;
        assert!(!case.is_active(&token).await, "{what}: the token lives");
        case.over(&id, what).await;
        if let Some(back) = back {
            case.admin("POST", &path.replace("suspend", back), reason.clone()).await;
            case.over(&id, what).await;
        }
        id
    };
    let kill =
        |id: &Value| ("/v1/revocations".to_owned(), json!({"target": id, "reason": "a test"}));
    ended("the grant", &|task| kill(&task["grant"]["id"]), None).await;
    let person = |task: &Value| {
        (format!("/v1/persons/{}/suspend", text(&task["grant"], "user")), reason.clone())
    };
    let of_person = ended("the person", &person, Some("activate")).await;
    let federation = |_: &Value| ("/v1/federations/corp/suspend".to_owned(), reason.clone());
    let of_federation = ended("the federation", &federation, Some("activate")).await;
    let unlinked = |task: &Value| {
        let path = format!("/v1/persons/{}/unlink", text(&task["grant"], "user"));
        (path, json!({"federation": "corp", "subject": "user-1"}))
    };
    ended("the identity", &unlinked, None).await;
    // The instance that was given it: for every other one, too.
    let task = case.granted().await;
    let other = case.world.instance(case.org(), "planner", None).await;
    let token = case.mint(&other, text(&task, "id"), "crm:read").await.expect(200);
    let token = token.member("access_token");
    case.world.revoke(case.org(), case.planner.instance.expect("one")).await.expect("revoked");
    assert!(!case.is_active(&token).await);
    let case = case.restarted(7391).await;
    for id in [text(&task, "id"), &of_person, &of_federation] {
        let answer = case.mint(&other, id, "crm:read").await;
        answer.refused(400, "invalid_request", "grant-over");
    }
}

#[tokio::test]
async fn a_grant_dies_with_its_task_and_its_agent() {
    let case = Case::begin(7303).await;
    let task = case.granted().await;
    let (id, token) = (text(&task, "id"), case.minted(text(&task, "id")).await);
    case.post(&case.planner, "tasks/end", &[("task", id)]).await.expect(200);
    assert!(!case.is_active(&token).await);
    let answer = case.mint(&case.planner, id, "crm:read").await;
    answer.refused(400, "invalid_request", "task-over");
    let task = case.granted().await;
    let id = text(&task, "id");
    let token = case.minted(id).await;
    case.admin("POST", "/v1/agents/planner/suspend", json!({"reason": "a test"})).await;
    assert!(!case.is_active(&token).await);
    let answer = case.mint(&case.planner, id, "crm:read").await;
    answer.refused(400, "unauthorized_client", "agent-not-active");
}

#[tokio::test]
async fn a_grant_is_of_use_to_its_agent_alone_and_by_name() {
    let case = Case::begin(7304).await;
    case.world.agent(case.org(), "stranger", &["crm:read"]).await;
    let stranger = case.world.instance(case.org(), "stranger", None).await;
    let task = case.granted().await;
    let id = text(&task, "id");
    case.mint(&stranger, id, "crm:read").await.refused(400, "invalid_request", "task-unknown");
    // In its own name the agent gets what it always got, and no user's token.
    let own = [("grant_type", "client_credentials"), ("task", id), ("scope", "crm:read")];
    let own = case.post(&case.planner, "token", &own).await.expect(200).member("access_token");
    assert_eq!(claims(&own)["accredit"]["kind"], "agent");
    let bare = case.post(&case.planner, "tasks", &[("purpose", "x")]).await.expect(200).json();
    assert!(bare["grant"].is_null());
    let none = case.mint(&case.planner, text(&bare, "id"), "crm:read").await;
    none.refused(400, "invalid_request", "grant-none");
    let wrong = case.mint(&case.planner, text(&task["grant"], "id"), "crm:read").await;
    wrong.refused(400, "invalid_request", "subject-token");
    // A user's token that names who may act for them names who may be granted something.
    let may_act = json!({"may_act": {"iss": case.org().issuer, "sub": stranger.id}});
    case.ask_grant("crm:read", may_act, HOUR).await.refused(400, "invalid_request", "may-act");
    // One that is over grants nothing, and one of ours is no user's own word.
    let late = json!({"exp": case.world.now().seconds() - 120});
    let late = case.ask_grant("crm:read", late, HOUR).await;
    late.refused(400, "invalid_request", "subject-token-expired");
    let derived = [
        ("purpose", "x"),
        ("subject_token", &*case.minted(id).await),
        ("subject_token_type", JWT),
        ("scope", "crm:read"),
    ]
    .map(|(k, v)| (k, v.to_owned()));
    let derived: Vec<(&str, &str)> = derived.iter().map(|(k, v)| (*k, &**v)).collect();
    assert_eq!(case.post(&case.planner, "tasks", &derived).await.status, 400);
    assert_eq!(events(&case.world, case.org(), "task.created").await.len(), 2, "and no others");
    assert!(!events(&case.world, case.org(), "access.refused").await.is_empty());
}

#[tokio::test]
async fn an_agent_makes_lists_and_ends_its_own_tasks_and_nobody_elses() {
    let case = Case::begin(7305).await;
    case.world.agent(case.org(), "stranger", &["crm:read"]).await;
    let stranger = case.world.instance(case.org(), "stranger", None).await;
    let crm = case.world.resource_secret(case.org(), "crm").await;
    let make = async |client: &Client, purpose: &str| {
        case.post(client, "tasks", &[("purpose", purpose)]).await
    };
    let mine = make(&case.planner, "mine").await.expect(200).member("id");
    case.world.advance(1);
    let theirs = make(&stranger, "theirs").await.expect(200).member("id");
    let of_admin = json!({"agent": "planner", "purpose": "given"});
    let of_admin = text(&case.admin("POST", "/v1/tasks", of_admin).await, "id").to_owned();
    let listed = async || {
        let found = case.post(&case.planner, "tasks/list", &[]).await.expect(200).json();
        let items = found["items"].as_array().expect("items").clone();
        items.iter().map(|task| text(task, "id").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(listed().await, [mine.clone(), of_admin.clone()]);
    let end = async |client: &Client, task: &str| {
        case.post(client, "tasks/end", &[("task", task), ("reason", "done")]).await
    };
    end(&case.planner, &theirs).await.refused(400, "invalid_request", "task-unknown");
    let nobodys = "tsk_01kdvdna00e00800000000000t";
    let unknown = end(&case.planner, nobodys).await;
    assert_eq!(unknown.status, 404, "{}", unknown.text());
    assert_eq!(end(&case.planner, &mine).await.expect(200).member("state"), "ended");
    assert_eq!(listed().await, [of_admin]);
    end(&stranger, &theirs).await.expect(200);
    let event = events(&case.world, case.org(), "task.ended").await.pop().expect("an event");
    assert_eq!(event["payload"]["actor"]["id"], stranger.id);
    for path in ["tasks", "tasks/list", "tasks/end"] {
        let form = [("purpose", "x"), ("task", nobodys)];
        let answer = case.post(&crm, path, &form).await;
        answer.refused(400, "unauthorized_client", "grant-not-for-client");
        let ask = Ask::post(case.org().path(&format!("/oauth/{path}")));
        assert_eq!(case.world.status(ask.bearer(&case.org().admin).form(&form)).await, 401);
    }
}

#[tokio::test]
async fn an_agent_has_so_many_tasks_and_no_more() {
    let case = Case::begin(7306).await;
    let made = async || case.post(&case.planner, "tasks", &[("purpose", "one more")]).await;
    let mut last = String::new();
    for _ in 0..TASKS_OF_AGENT_MAX {
        last = made().await.expect(200).member("id");
    }
    made().await.refused(400, "invalid_request", "quota-reached");
    // Another agent's are counted apart; one that is over makes room.
    case.world.agent(case.org(), "stranger", &["crm:read"]).await;
    let stranger = case.world.instance(case.org(), "stranger", None).await;
    case.post(&stranger, "tasks", &[("purpose", "x")]).await.expect(200);
    case.post(&case.planner, "tasks/end", &[("task", &last)]).await.expect(200);
    made().await.expect(200);
    made().await.refused(400, "invalid_request", "quota-reached");
    case.world.advance(25 * HOUR);
    made().await.expect(200);
}
