//! Kills for a time, stripping, and what is left of a decommissioned agent.

use accredit_domain::revocation::time_boxed::TIME_BOX_SECONDS_MAX;
use accredit_server::jobs;
use accredit_testkit::fixture::Scene;
use accredit_testkit::{Answer, TestWorld};
use accredit_wire::time::Time;
use serde_json::{Value, json};

const READ: (&str, &str) = ("scope", "crm:read");

async fn begin() -> (TestWorld, Scene) {
    let world = TestWorld::new(31).await;
    let scene = world.scene().await;
    (world, scene)
}

async fn kill(world: &TestWorld, scene: &Scene, target: impl ToString, seconds: u64) -> Answer {
    let body = json!({"target": target.to_string(), "reason": "to look", "expires_in": seconds});
    world.admin(&scene.org, "POST", "/v1/revocations", Some(body)).await
}

async fn undo(world: &TestWorld, scene: &Scene, revocation: &str) -> Answer {
    let body = json!({"revocation": revocation, "reason": "looked at"});
    world.admin(&scene.org, "POST", "/v1/revocations/undo", Some(body)).await
}

async fn gets_a_token(world: &TestWorld, scene: &Scene) -> bool {
    world.token(&scene.org, &scene.client, &[READ]).await.status == 200
}

/// The server has run for as long as it takes to know that its clock is right.
pub(crate) fn settle(world: &TestWorld) {
    world.server.look();
    world.advance(600);
    world.server.look();
}

/// As the job does, once the clock has been looked at.
pub(crate) async fn lift(world: &TestWorld) {
    world.server.look();
    jobs::lift_all(&world.server).await;
}

#[tokio::test]
async fn what_is_ended_for_a_time_goes_on_by_itself_and_its_old_tokens_stay_dead() {
    let (world, scene) = begin().await;
    let began = world.now();
    settle(&world);
    let token = world.token(&scene.org, &scene.client, &[READ]).await.member("access_token");
    let owner = scene.planner.owner.expect("an owner");
    let org = world.tenant(&scene.org).await.id;
    for target in
        [scene.planner.id.to_string(), owner.to_string(), scene.crm.id.to_string(), org.to_string()]
    {
        let killed = kill(&world, &scene, &target, 60).await.expect(201).json();
        assert_eq!(
            killed["ends_at"],
            world.now().plus(std::time::Duration::from_mins(1)).to_string()
        );
        assert!(!gets_a_token(&world, &scene).await, "{target}");
        world.advance(59);
        lift(&world).await;
        assert!(!gets_a_token(&world, &scene).await, "{target}: not yet");
        world.advance(2);
        lift(&world).await;
        assert!(gets_a_token(&world, &scene).await, "{target}: its time is over");
        let tenant = world.tenant(&scene.org).await;
        assert!(tenant.verifier.verify_token(&token, world.now()).is_err(), "{target}");
        // Once is enough: whoever suspends it now means it.
        lift(&world).await;
    }
    let lifted = crate::events(&world, &scene.org, "agent.activated").await;
    assert_eq!(lifted.len(), 1);
    assert_eq!(lifted[0]["payload"]["actor"]["kind"], "system");
    let ended = crate::events(&world, &scene.org, "agent.suspended").await;
    let told = ended[0]["payload"]["expires_at"].as_i64().map(Time::from_micros);
    let within = told.expect("an end").since(began).as_secs();
    assert!((600..=1200).contains(&within), "microseconds, as in every event: {ended:?}");
}

#[tokio::test]
async fn a_kill_for_a_time_is_undone_once_and_no_other_kill_is() {
    let (world, scene) = begin().await;
    let agent = scene.planner.id;
    let killed = kill(&world, &scene, agent, 600).await.expect(201).member("id");
    undo(&world, &scene, &killed).await.expect(200);
    assert!(gets_a_token(&world, &scene).await);
    undo(&world, &scene, &killed).await.problem(409, "state-forbids");
    // Ended again without an end: neither the undo nor the time of the first kill lifts that.
    let path = "/v1/agents/planner/suspend";
    world.admin(&scene.org, "POST", path, Some(json!({"reason": "for good"}))).await.expect(200);
    undo(&world, &scene, &killed).await.problem(409, "state-forbids");
    settle(&world);
    world.advance(700);
    lift(&world).await;
    assert!(!gets_a_token(&world, &scene).await);
    let without = json!({"target": scene.crm.id, "reason": "a test"});
    let without = world.admin(&scene.org, "POST", "/v1/revocations", Some(without)).await;
    undo(&world, &scene, &without.member("id")).await.problem(404, "not-found");
    undo(&world, &scene, "rvk_nonsense").await.problem(404, "not-found");
}

#[tokio::test]
async fn a_final_end_has_no_time_and_times_have_a_bound() {
    let (world, scene) = begin().await;
    let instance = world.instance(&scene.org, "planner", None).await;
    let token = accredit_wire::ids::TokenId::new(1, [1; 10]);
    for target in [
        instance.instance.expect("one").to_string(),
        scene.client.credential.clone(),
        token.to_string(),
    ] {
        kill(&world, &scene, &target, 60).await.problem(400, "field-invalid");
    }
    for seconds in [0, TIME_BOX_SECONDS_MAX + 1, u64::MAX] {
        kill(&world, &scene, scene.planner.id, seconds).await.problem(400, "field-invalid");
    }
    assert!(gets_a_token(&world, &scene).await, "nothing was ended");
    kill(&world, &scene, scene.planner.id, TIME_BOX_SECONDS_MAX).await.expect(201);
}

#[tokio::test]
async fn an_agent_is_stripped_to_less_and_never_to_more() {
    let (world, scene) = begin().await;
    let strip = async |allow: Value| {
        let body = json!({"allow": allow, "reason": "writes oddly"});
        world.admin(&scene.org, "POST", "/v1/agents/planner/strip", Some(body)).await
    };
    for wider in
        [json!(["crm:delete"]), json!(["crm:read", "mail:send"]), json!([]), json!(["crm"])]
    {
        strip(wider).await.problem(400, "field-invalid");
    }
    let (update, read) = (("scope", "crm:update"), READ);
    let wide = world.token(&scene.org, &scene.client, &[update]).await.member("access_token");
    let told = strip(json!(["crm:read"])).await.expect(200).json();
    assert_eq!(told["agent"]["permissions"][0]["actions"], json!(["read"]), "{told}");
    assert_eq!((&told["rev"], &told["reason"]), (&json!(1), &json!("writes oddly")));
    assert_eq!((&told["blast"]["agents"], &told["blast"]["credentials"]), (&json!(0), &json!(0)));
    assert!(told["blast"]["tokens_at_most"].as_u64() >= Some(1), "{told}");
    let tenant = world.tenant(&scene.org).await;
    assert!(tenant.verifier.verify_token(&wide, world.now()).is_err());
    world.token(&scene.org, &scene.client, &[update]).await.refused(
        400,
        "invalid_scope",
        "scope-not-held",
    );
    world.token(&scene.org, &scene.client, &[read]).await.expect(200);
    strip(json!(["crm:read"])).await.problem(409, "state-forbids");
    assert_eq!(crate::events(&world, &scene.org, "agent.stripped").await.len(), 1);
}

#[tokio::test]
async fn an_agent_is_stripped_to_limits_and_to_none_that_are_wider_than_those_it_has() {
    let (world, scene) = begin().await;
    let strip = async |allow: Value| {
        let body = json!({"allow": allow, "reason": "pays too much"});
        world.admin(&scene.org, "POST", "/v1/agents/planner/strip", Some(body)).await
    };
    let wide = world.token(&scene.org, &scene.client, &[("scope", "crm:update")]).await;
    let wide = wide.member("access_token");
    let told = strip(json!(["crm:read", "crm:update(amount<=100)"])).await.expect(200).json();
    assert_eq!(told["agent"]["permissions"].as_array().map(Vec::len), Some(2), "{told}");
    let tenant = world.tenant(&scene.org).await;
    assert!(tenant.verifier.verify_token(&wide, world.now()).is_err(), "the wider one is dead");
    let detail = |max: u32| {
        json!([{"type": "accredit", "locations": ["https://crm.example/"], "actions": ["update"],
            "constraints": {"amount": {"max": max}}}])
        .to_string()
    };
    let within = async |max: u32| {
        let detail = detail(max);
        world.token(&scene.org, &scene.client, &[("authorization_details", &detail)]).await
    };
    within(100).await.expect(200);
    assert_eq!(within(101).await.status, 400);
    world.token(&scene.org, &scene.client, &[("scope", "crm:update")]).await.refused(
        400,
        "invalid_scope",
        "scope-not-held",
    );
    // Wider than what is left, or without a limit that there is: nothing, or the limit stays.
    for wider in ["crm:update(amount<=101)", "crm:update(note=\"x\")", "crm:delete(amount<=1)"] {
        strip(json!([wider])).await.problem(400, "field-invalid");
    }
    strip(json!(["crm:update", "crm:read"])).await.problem(409, "state-forbids");
    strip(json!(["crm:update(amount<=10)"])).await.expect(200);
    assert_eq!(within(11).await.status, 400);
    within(10).await.expect(200);
}

#[tokio::test]
async fn nothing_of_a_decommissioned_agent_is_let_in_and_of_another_it_is_said() {
    let (world, scene) = begin().await;
    let org = &scene.org;
    world.instance(org, "planner", None).await;
    world.agent_key(org, "planner", "k", accredit_wire::crypto::Algorithm::EdDsa).await;
    world.token(org, &scene.client, &[READ]).await.expect(200);
    let ghosts = async || {
        world.admin(org, "GET", "/v1/agents/planner/ghosts", None).await.expect(200).json()
    };
    let alive = ghosts().await;
    // The tokens, three credentials and an instance.
    assert_eq!(
        (&alive["gone"], &alive["tried"], &alive["alive"]),
        (&json!(false), &json!(5), &json!(5))
    );
    // Suspended: its credentials are refused by its state, and its copy is still there.
    let reason = Some(json!({"reason": "a test"}));
    world.admin(org, "POST", "/v1/agents/planner/suspend", reason.clone()).await.expect(200);
    let stopped = ghosts().await;
    assert_eq!((&stopped["gone"], &stopped["alive"]), (&json!(false), &json!(1)), "{stopped}");
    assert_eq!(stopped["items"][0]["what"], "instance");
    world.admin(org, "POST", "/v1/agents/planner/decommission", reason).await.expect(200);
    let gone = ghosts().await;
    assert_eq!(
        (&gone["gone"], &gone["tried"], &gone["alive"]),
        (&json!(true), &json!(5), &json!(0)),
        "{gone}"
    );
    for item in gone["items"].as_array().expect("items") {
        let expected = match item["what"].as_str() {
            Some("tokens") => "token-revoked",
            Some("credential") => "credential-revoked",
            _ => "instance-not-active",
        };
        assert_eq!(item["refused_by"], expected, "{item}");
    }
    // Long after, when the entry is forgotten.
    world.advance(2 * 86_400);
    jobs::flush_all(&world.server).await;
    assert_eq!(ghosts().await["gone"], true);
}
