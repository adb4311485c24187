//! A drill makes something, uses it, kills it, measures that, and leaves nothing behind.

use std::time::Duration;

use accredit_domain::registry::quota::{Counted, Quotas};
use accredit_server::{drill, jobs};
use accredit_testkit::{Answer, Ask, TestWorld};
use serde_json::{Value, json};

const ONE: &str = "11111111111111111111111111111111";

async fn run(world: &TestWorld, org: &accredit_testkit::fixture::Org) -> Answer {
    world.admin(org, "POST", "/v1/drills", Some(json!({"wait": 0}))).await
}

#[tokio::test]
async fn a_drill_that_nobody_follows_proves_nothing_and_one_that_is_heard_passes() {
    let world = TestWorld::new(41).await;
    let scene = world.scene().await;
    world.run_hub();
    let told = run(&world, &scene.org).await.expect(201).json();
    assert_eq!((&told["passed"], &told["resource"]), (&json!(false), &json!("crm")));
    // Of whoever follows and says nothing it is said.
    let crm = world.resource_secret(&scene.org, "crm").await;
    let path = format!("/o/acme/revocations/feed?follower={ONE}");
    let mut events = world.events(Ask::get(path).bearer(&crm.secret)).await;
    events.next().await.expect("a first message");
    let told = run(&world, &scene.org).await.expect(201).json();
    assert_eq!((&told["passed"], &told["acknowledgements"]["waiting"]), (&json!(false), &json!(1)));
    // And of whoever says that they have applied it, while it is waited for.
    let wait = json!({"wait": 20});
    let drilled = world.admin(&scene.org, "POST", "/v1/drills", Some(wait));
    let heard = async {
        loop {
            let rev = world.tenant(&scene.org).await.rev();
            let said = json!({"gen": 1, "rev": rev, "follower": ONE, "waited": 0});
            let path = "/o/acme/revocations/acknowledgements";
            world.ask(Ask::post(path).bearer(&crm.secret).json(&said)).await;
            world.clock.advance(Duration::from_millis(100));
            tokio::task::yield_now().await;
        }
    };
    let told = tokio::select! {
        told = drilled => told.expect(201).json(),
        () = heard => unreachable!("it goes on"),
    };
    assert_eq!(told["passed"], true, "{told}");
    assert_eq!(told["acknowledgements"]["acknowledged"], 1);
    // What it made is gone, and three drills are in the log.
    let agent = told["agent"].as_str().expect("an agent");
    let path = format!("/v1/agents/{agent}/ghosts");
    let ghosts = world.admin(&scene.org, "GET", &path, None).await.expect(200).json();
    assert_eq!(ghosts["gone"], true);
    let drills = crate::events(&world, &scene.org, "drill.finished").await;
    let outcomes: Vec<&Value> = drills.iter().map(|event| &event["payload"]["decision"]).collect();
    assert_eq!(outcomes, ["failed", "failed", "passed"]);
    assert_eq!(drills[0]["payload"]["actor"]["kind"], "admin");
    // The agent that was there is as it was.
    world.token(&scene.org, &scene.client, &[("scope", "crm:read")]).await.expect(200);
}

#[tokio::test]
async fn a_drill_has_bounds_and_one_is_under_way_at_a_time() {
    let world = TestWorld::new(42).await;
    let scene = world.scene().await;
    let wait = Some(json!({"wait": drill::WAIT_SECONDS_MAX + 1}));
    world.admin(&scene.org, "POST", "/v1/drills", wait).await.problem(400, "field-invalid");
    let held = world.server.drilling.lock().await;
    run(&world, &scene.org).await.problem(409, "state-forbids");
    drop(held);
    let bare = world.found("bare").await;
    run(&world, &bare).await.problem(409, "state-forbids");
}

#[tokio::test]
async fn drills_use_up_no_quota_and_no_request_makes_an_agent_of_a_drill() {
    let mut world = TestWorld::new(44).await;
    let scene = world.scene().await;
    // One agent is there; one more may be, for as long as a drill takes.
    let quotas = Quotas::UNLIMITED.with(Counted::Agents, 2);
    world.world.limits.set_quotas(quotas);
    for _ in 0..3 {
        run(&world, &scene.org).await.expect(201);
    }
    world = world.reopened(45).await;
    world.world.limits.set_quotas(quotas);
    run(&world, &scene.org).await.expect(201);
    let asked = json!({"name": "mine", "owner_email": "a@example.com", "drill": true});
    world.admin(&scene.org, "POST", "/v1/agents", Some(asked)).await.problem(400, "field-invalid");
    let asked = |name: &str| Some(json!({"name": name, "owner_email": "a@example.com"}));
    world.admin(&scene.org, "POST", "/v1/agents", asked("one")).await.expect(201);
    // Anybody else's tombstone counts, and a drill needs room for one.
    let reason = Some(json!({"reason": "a test"}));
    let path = "/v1/agents/one/decommission";
    world.admin(&scene.org, "POST", path, reason).await.expect(200);
    world.admin(&scene.org, "POST", "/v1/agents", asked("two")).await.problem(409, "quota-reached");
    run(&world, &scene.org).await.problem(409, "quota-reached");
}

#[tokio::test]
async fn the_clock_drills_where_somebody_follows() {
    let world = TestWorld::new(43).await;
    let scene = world.scene().await;
    world.run_hub();
    jobs::drill_all(&world.server).await;
    assert_eq!(crate::events(&world, &scene.org, "drill.finished").await.len(), 0);
    let crm = world.resource_secret(&scene.org, "crm").await;
    let _events = world.events(Ask::get("/o/acme/revocations/feed").bearer(&crm.secret)).await;
    jobs::drill_all(&world.server).await;
    let drills = crate::events(&world, &scene.org, "drill.finished").await;
    assert_eq!(drills.len(), 1);
    assert_eq!(drills[0]["payload"]["decision"], "failed");
    assert_eq!(drills[0]["payload"]["changes"]["silent"], "1");
    assert_eq!(drills[0]["payload"]["actor"]["kind"], "system");
}
