//! One line a request, and no secret in any line whatever the request carries.

use std::io;
use std::sync::{Arc, Mutex};

use accredit_testkit::{Ask, Client, DiskTrouble, TestWorld};
use serde_json::{Value, json};
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::filter::LevelFilter;

/// What was logged on this thread.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("the lines").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Lines {
    /// Logs as `accredit serve` does off a terminal, from this level on.
    fn at(level: LevelFilter) -> (Self, DefaultGuard) {
        let lines = Self::default();
        let to = lines.clone();
        let log = tracing_subscriber::fmt()
            .with_max_level(level)
            .with_writer(move || to.clone())
            .with_target(false)
            .json()
            .flatten_event(true)
            .finish();
        (lines, tracing::subscriber::set_default(log))
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().expect("the lines").clone()).expect("text")
    }

    /// The lines of requests.
    fn requests(&self) -> Vec<Value> {
        let text = self.text();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        lines.filter(|line| line["message"] == "request").collect()
    }
}

#[tokio::test]
async fn each_request_has_a_line_with_debug_and_ours_alone_with_info() {
    let world = TestWorld::new(7).await;
    let scene = world.scene().await;
    let (lines, guard) = Lines::at(LevelFilter::DEBUG);
    let answer = world.token(&scene.org, &scene.client, &[("scope", "crm:read")]).await;
    world.admin(&scene.org, "GET", "/v1/agents", None).await.expect(200);
    world.token(&scene.org, &scene.client, &[("scope", "crm:delete")]).await.expect(400);
    let told = lines.requests();
    let [token, list, refused] = told.as_slice() else { panic!("three lines: {told:?}") };
    assert_eq!(token["request"], answer.header("request-id"));
    assert_eq!((&token["operation"], &token["status"]), (&json!("token"), &json!(200)));
    assert_eq!(token["org"], scene.org.name.as_str());
    assert!(token["ms"].is_u64());
    assert_eq!((&list["operation"], &list["org"]), (&json!("list_agents"), &token["org"]));
    assert_eq!(refused["status"], 400);
    drop(guard);

    let (lines, _guard) = Lines::at(LevelFilter::INFO);
    for _ in 0..20 {
        world.token(&scene.org, &scene.client, &[("scope", "crm:delete")]).await.expect(400);
    }
    world.token(&scene.org, &scene.client, &[("scope", "crm:read")]).await.expect(200);
    assert_eq!(lines.text(), "", "neither what went well nor a flood of refusals");
    world.faults.disk(Some(DiskTrouble::Full));
    world.token(&scene.org, &scene.client, &[("scope", "crm:read")]).await.expect(503);
    let told = lines.requests();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0]["status"], 503);
}

/// A change is found by its request's id in the answer, in the event and in the line.
#[tokio::test]
async fn a_change_has_a_line_with_info_and_a_refused_one_has_none() {
    let world = TestWorld::new(8).await;
    let scene = world.scene().await;
    let (lines, _guard) = Lines::at(LevelFilter::INFO);
    let ann = json!({"email": "ann@example.com"});
    let made = world.admin(&scene.org, "POST", "/v1/persons", Some(ann.clone())).await.expect(201);
    world.admin(&scene.org, "POST", "/v1/persons", Some(ann.clone())).await.expect(409);
    world.ask(Ask::post("/v1/persons").bearer("acr_admin_nobody").json(&ann)).await.expect(401);
    world.admin(&scene.org, "GET", "/v1/persons", None).await.expect(200);
    let told = lines.requests();
    let [line] = told.as_slice() else { panic!("one line: {told:?}") };
    assert_eq!((&line["operation"], &line["status"]), (&json!("create_person"), &json!(201)));
    assert_eq!(line["request"], made.header("request-id"));
    let events = crate::events(&world, &scene.org, "person.created").await;
    assert_eq!(events.last().expect("one")["payload"]["request"], line["request"]);
}

/// The operator's changes are told as well; what only asks is none, though it is asked by POST.
#[tokio::test]
async fn a_rotation_of_the_root_key_has_a_line_with_info_and_a_question_by_post_has_none() {
    let world = TestWorld::new(9).await;
    let scene = world.scene().await;
    let key = crate::root::operator(&world).await;
    let (lines, _guard) = Lines::at(LevelFilter::INFO);
    let secret = json!({"secret": scene.client.secret});
    let asked = world.admin(&scene.org, "POST", "/v1/credentials/identify", Some(secret)).await;
    asked.expect(200);
    world.admin(&scene.org, "POST", "/v1/log/fsck", None).await.expect(200);
    world.ask(Ask::post("/v1/root/rotate").bearer(&scene.org.admin)).await.expect(403);
    assert_eq!(lines.requests(), [] as [Value; 0]);
    let rotated = world.ask(Ask::post("/v1/root/rotate").bearer(&key)).await.expect(200);
    let told = lines.requests();
    let [line] = told.as_slice() else { panic!("one line: {told:?}") };
    assert_eq!((&line["operation"], &line["status"]), (&json!("rotate_root"), &json!(200)));
    assert_eq!(line["request"], rotated.header("request-id"));
}

#[tokio::test]
async fn planted_secrets_do_not_show_up() {
    let world = TestWorld::new(7).await;
    let scene = world.scene().await;
    let (lines, _guard) = Lines::at(LevelFilter::TRACE);
    let planted = "planted-s3cret";
    let wrong = Client { secret: planted.to_owned(), ..scene.client.clone() };
    let good = world.token(&scene.org, &scene.client, &[("scope", "crm:read")]).await;
    let token = good.expect(200).member("access_token");
    world.token(&scene.org, &wrong, &[("scope", "crm:read")]).await.expect(401);
    let form = [("client_id", &*wrong.id), ("client_secret", planted), ("grant_type", planted)];
    let path = scene.org.path("/oauth/token");
    world.ask(Ask::post(path.clone()).form(&form)).await;
    world.ask(Ask::post(format!("{path}?client_secret={planted}")).form(&form)).await;
    world.ask(Ask::get(format!("/v1/agents?token={planted}")).bearer(planted)).await;
    world.ask(Ask::get(format!("/v1/agents/{planted}")).bearer(&scene.org.admin)).await;
    world.ask(Ask::post(format!("/o/{}/oauth/token", scene.client.secret)).form(&form)).await;
    world.ask(Ask::get(format!("/{planted}")).header("cookie", planted)).await;
    let body = json!({ "name": planted, planted: planted });
    world.admin(&scene.org, "POST", "/v1/agents", Some(body)).await;
    let introspect = scene.org.path("/oauth/introspect");
    world.ask(Ask::post(introspect).basic(&wrong).form(&[("token", &*token)])).await;
    world.faults.disk(Some(DiskTrouble::ReadOnly));
    world.token(&scene.org, &scene.client, &[("scope", "crm:read")]).await.expect(503);
    let text = lines.text();
    assert!(lines.requests().len() >= 9, "{text}");
    for secret in [planted, &token, &scene.client.secret, &scene.org.admin] {
        assert!(!text.contains(secret), "{secret} in {text}");
        // Nor its part that only the holder knows.
        let tail = &secret[secret.len() - 12..];
        assert!(!text.contains(tail), "{tail} in {text}");
    }
}
