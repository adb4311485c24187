//! What followers say that they have applied, and what an administrator is told of it.

use accredit_server::points::{ACKNOWLEDGEMENTS_PER_SECOND_MAX, AGE_TOLD_MAX};
use accredit_testkit::fixture::{Client, Scene};
use accredit_testkit::{Answer, Ask, Events, TestWorld};
use serde_json::{Value, json};

const ONE: &str = "11111111111111111111111111111111";
const TWO: &str = "22222222222222222222222222222222";

struct Stage {
    world: TestWorld,
    scene: Scene,
    crm: Client,
}

impl Stage {
    async fn new() -> Self {
        let world = TestWorld::new(21).await;
        let scene = world.scene().await;
        world.run_hub();
        let crm = world.resource_secret(&scene.org, "crm").await;
        Self { world, scene, crm }
    }

    /// A stream that has begun, and its first message.
    async fn follow(&self, by: &Client, query: &str) -> Events {
        let path = format!("/o/acme/revocations/feed{query}");
        let mut events = self.world.events(Ask::get(path).bearer(&by.secret)).await;
        events.next().await.expect("a first message");
        events
    }

    async fn say(&self, by: &str, follower: &str, rev: u64) -> Answer {
        let said = json!({"gen": 1, "rev": rev, "follower": follower, "waited": 0});
        let path = "/o/acme/revocations/acknowledgements";
        self.world.ask(Ask::post(path).bearer(by).json(&said)).await
    }

    async fn taken(&self, follower: &str, rev: u64) -> bool {
        let answer = self.say(&self.crm.secret, follower, rev).await.expect(200);
        answer.json()["taken"] == true
    }

    /// Ends something, and its counter.
    async fn end(&self) -> u64 {
        let secret = self.world.agent_secret(&self.scene.org, "planner", None).await;
        let body = json!({"target": secret.credential, "reason": "a test"});
        let made = self.world.admin(&self.scene.org, "POST", "/v1/revocations", Some(body)).await;
        made.expect(201).json()["rev"].as_u64().expect("a counter")
    }

    async fn told(&self, query: &str) -> Value {
        let path = format!("/v1/revocations/acknowledgements?{query}");
        self.world.admin(&self.scene.org, "GET", &path, None).await.expect(200).json()
    }

    /// Acknowledged, waiting, silent, gone.
    async fn counts(&self, rev: u64) -> [u64; 4] {
        let told = self.told(&format!("rev={rev}")).await;
        ["acknowledged", "waiting", "silent", "gone"].map(|name| told[name].as_u64().expect(name))
    }
}

#[tokio::test]
async fn nobody_acknowledges_what_they_do_not_follow() {
    let stage = Stage::new().await;
    stage.end().await;
    // Nobody follows.
    assert!(!stage.taken(ONE, 1).await);
    let _events = stage.follow(&stage.crm, &format!("?follower={ONE}")).await;
    // Not by another's id, nor with another credential, be it of the same resource.
    assert!(!stage.taken(TWO, 1).await);
    let second = stage.world.resource_secret(&stage.scene.org, "crm");
    let mail = stage.world.resource(&stage.scene.org, "mail", &["send"]);
    let (second, _) = (second.await, mail.await);
    let other = stage.world.resource_secret(&stage.scene.org, "mail").await;
    for by in [&second.secret, &other.secret, &stage.scene.org.admin] {
        assert_eq!(stage.say(by, ONE, 1).await.expect(200).json()["taken"], false);
    }
    let agent = stage.say(&stage.scene.client.secret, ONE, 1).await;
    agent.refused(403, "unauthorized_client", "not-entitled");
    assert_eq!(stage.counts(1).await, [0, 1, 0, 0]);
    assert!(stage.taken(ONE, 1).await);
    assert_eq!(stage.counts(1).await, [1, 0, 0, 0]);
}

#[tokio::test]
async fn what_was_never_there_cannot_be_applied_and_nothing_is_taken_back() {
    let stage = Stage::new().await;
    let _events = stage.follow(&stage.crm, &format!("?follower={ONE}")).await;
    let (first, second) = (stage.end().await, stage.end().await);
    let by = &stage.crm.secret;
    stage.say(by, ONE, second + 1).await.refused(400, "invalid_request", "field-invalid");
    for said in [
        json!({}),
        json!({"gen": 2, "rev": 1, "follower": ONE, "waited": 0}),
        json!({"gen": 0, "rev": 1, "follower": ONE, "waited": 0}),
        json!({"gen": 1, "rev": -1, "follower": ONE, "waited": 0}),
        json!({"gen": 1, "rev": 1, "follower": "x", "waited": 0}),
        json!({"gen": 1, "rev": 1, "follower": ONE, "waited": 0, "more": 1}),
    ] {
        let ask = Ask::post("/o/acme/revocations/acknowledgements").bearer(by).json(&said);
        stage.world.ask(ask).await.refused(400, "invalid_request", "field-invalid");
    }
    assert_eq!(stage.counts(first).await, [0, 1, 0, 0]);
    assert!(stage.taken(ONE, second).await);
    assert!(stage.taken(ONE, first).await, "an old word is heard, and changes nothing");
    assert_eq!(stage.counts(second).await, [1, 0, 0, 0]);
    let bad =
        stage.world.admin(&stage.scene.org, "GET", "/v1/revocations/acknowledgements?rev=9", None);
    bad.await.problem(400, "field-invalid");
}

#[tokio::test]
async fn each_point_is_named_with_what_it_said_or_with_the_bound_that_holds() {
    let stage = Stage::new().await;
    let query = format!("?follower={ONE}&name=crm-1&age_max=20");
    let _first = stage.follow(&stage.crm, &query).await;
    let _second = stage.follow(&stage.crm, &format!("?follower={TWO}&age_max=99999")).await;
    let _silent = stage.follow(&stage.crm, "").await;
    let rev = stage.end().await;
    stage.world.advance(2);
    assert!(stage.taken(ONE, rev).await);
    let told = stage.told(&format!("rev={rev}&unfollowed=true")).await;
    let points = told["points"].as_array().expect("points");
    // Those without a word come first.
    let status: Vec<&Value> = points.iter().map(|point| &point["status"]).collect();
    assert_eq!(status, ["waiting", "silent", "acknowledged"]);
    let [waiting, silent, done] = [&points[0], &points[1], &points[2]];
    assert_eq!((&done["name"], &done["resource"]), (&json!("crm-1"), &json!("crm")));
    assert_eq!((&done["follower"], &done["applied"]), (&json!(ONE), &json!(rev)));
    let micros = done["microseconds"].as_u64().expect("a time");
    assert!((2_000_000..2_500_000).contains(&micros), "{micros}");
    assert_eq!(done["bound_seconds"], Value::Null);
    // What it says of its bound is believed up to the longest life of a token.
    assert_eq!(waiting["bound_seconds"], AGE_TOLD_MAX.as_secs());
    assert_eq!((&silent["bound_seconds"], &silent["follower"]), (&json!(60), &Value::Null));
    assert_eq!(told["bound_seconds"], AGE_TOLD_MAX.as_secs());
    assert_eq!(told["microseconds_max"], micros);
    assert_eq!(told["unfollowed"]["resources"], json!([]));
    stage.world.resource(&stage.scene.org, "mail", &["send"]).await;
    let told = stage.told("unfollowed=true&named=1").await;
    assert_eq!(told["unfollowed"]["resources"], json!(["mail"]));
    assert_eq!(told["points"].as_array().map(Vec::len), Some(1));
    // Names are not what somebody could drive a terminal with.
    for query in ["?name=a%1b[2J", "?follower=x", "?age_max=-1"] {
        let ask = Ask::get(format!("/o/acme/revocations/feed{query}")).bearer(&stage.crm.secret);
        stage.world.ask(ask).await.refused(400, "invalid_request", "field-invalid");
    }
}

#[tokio::test]
async fn who_leaves_is_named_until_their_state_is_too_old_and_comes_back_with_what_they_hold() {
    let stage = Stage::new().await;
    let rev = stage.end().await;
    let query = format!("?follower={ONE}&age_max=20");
    let events = stage.follow(&stage.crm, &query).await;
    assert!(stage.taken(ONE, rev).await);
    drop(events);
    let rev = stage.end().await;
    assert_eq!(stage.counts(rev).await, [0, 0, 0, 1]);
    assert!(!stage.taken(ONE, rev).await, "it follows no longer");
    // It says what it holds where it goes on, here the state before.
    let again = stage.follow(&stage.crm, &format!("{query}&gen=1&rev=1")).await;
    assert_eq!(stage.counts(rev).await, [0, 1, 0, 0]);
    drop(again);
    let again = stage.follow(&stage.crm, &format!("{query}&gen=1&rev={rev}")).await;
    assert_eq!(stage.counts(rev).await, [1, 0, 0, 0]);
    drop(again);
    let rev = stage.end().await;
    stage.world.advance(20);
    stage.world.server.hub.tick(stage.world.now()).await;
    assert_eq!(stage.counts(rev).await, [0, 0, 0, 1]);
    stage.world.advance(1);
    assert_eq!(stage.counts(rev).await, [0, 0, 0, 0], "it refuses everything by now");
}

#[tokio::test]
async fn who_says_too_much_is_told_to_come_later() {
    let stage = Stage::new().await;
    let _events = stage.follow(&stage.crm, &format!("?follower={ONE}")).await;
    for _ in 0..ACKNOWLEDGEMENTS_PER_SECOND_MAX {
        assert!(stage.taken(ONE, 0).await);
    }
    let answer = stage.say(&stage.crm.secret, ONE, 0).await;
    answer.refused(429, "temporarily_unavailable", "rate-limited");
    assert_eq!(answer.header("retry-after"), "1");
    stage.world.advance(1);
    assert!(stage.taken(ONE, 0).await);
}

#[tokio::test]
async fn the_time_from_writing_to_acknowledgement_is_a_metric() {
    let stage = Stage::new().await;
    let _events = stage.follow(&stage.crm, &format!("?follower={ONE}")).await;
    for _ in 0..3 {
        stage.end().await;
    }
    stage.world.advance(3);
    assert!(stage.taken(ONE, 2).await);
    assert!(stage.taken(ONE, 3).await);
    assert!(stage.taken(ONE, 3).await);
    let text = accredit_server::metrics::render(&stage.world.server).await.expect("text");
    let line =
        |start: &str| text.lines().find_map(|line| line.strip_prefix(start)).expect("a line");
    assert_eq!(line("accredit_revocation_propagation_seconds_count "), "3");
    assert_eq!(line("accredit_revocation_propagation_seconds_bucket{le=\"1.0\"} "), "0");
    assert_eq!(line("accredit_revocation_propagation_seconds_bucket{le=\"5.0\"} "), "3");
}
