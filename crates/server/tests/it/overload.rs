//! A full server and who comes to stop something: a right key gets in, invented ones are in nobody's
//! way.

use accredit_server::room::{Place, REQUESTS_MAX, STOPS_MAX, STRANGERS_AT_DOOR_MAX};
use accredit_testkit::{Answer, Ask, TestWorld};
use accredit_wire::api_key::{ApiKey, SecretKind};
use accredit_wire::ids::CredentialId;
use serde_json::json;

/// Well formed, and nobody's.
fn invented(n: u64) -> String {
    let id = CredentialId::new(n, [7; 10]);
    ApiKey::new(SecretKind::Admin, id, [3; 32]).expose().to_owned()
}

async fn revoke(world: &TestWorld, key: &str, target: &str) -> Answer {
    let body = json!({"target": target, "reason": "a test"});
    world.ask(Ask::post("/v1/revocations").bearer(key).json(&body)).await
}

fn all(count: usize, enter: impl Fn() -> Option<Place>) -> Vec<Place> {
    (0..count).map(|_| enter().expect("a place")).collect()
}

#[tokio::test]
async fn who_shows_a_right_key_stops_something_in_a_full_server() {
    let world = TestWorld::new(4).await;
    let scene = world.scene().await;
    let room = &world.server.room;
    let admin = &scene.org.admin;
    let instances = [(); 3].map(|()| world.instance(&scene.org, "planner", None));
    let targets = futures_util::future::join_all(instances).await;
    let target = |n: usize| targets[n].instance.expect("one").to_string();

    let full = room.fill();
    assert_eq!(full.len(), REQUESTS_MAX);
    assert_eq!(world.admin(&scene.org, "GET", "/v1/agents", None).await.status, 503);
    revoke(&world, &invented(1), &target(0)).await.problem(401, "admin-key");
    // Nobody knows this one yet, and there is room to ask.
    revoke(&world, admin, &target(0)).await.expect(201);

    // A flood of invented keys: it waits at the door, and nowhere else.
    let flood = all(STRANGERS_AT_DOOR_MAX, || room.knock(false).ok());
    revoke(&world, &invented(2), &target(1)).await.problem(503, "overloaded");
    revoke(&world, admin, &target(1)).await.expect(201);
    // A wrong secret under an id that is known is no right key.
    let id = format!("crd_{}", admin.split('_').nth(2).expect("a credential"));
    let guessed = ApiKey::new(SecretKind::Admin, id.parse().expect("an id"), [9; 32]);
    revoke(&world, guessed.expose(), &target(2)).await.problem(401, "admin-key");
    // However many failed, the places for who may come are all there.
    for n in 0..200 {
        let status = revoke(&world, &invented(n), &target(2)).await.status;
        assert_eq!(status, 503);
    }
    let stops = all(STOPS_MAX, || room.enter_to_stop().ok());
    revoke(&world, admin, &target(2)).await.problem(503, "overloaded");
    drop((stops, flood, full));
    revoke(&world, admin, &target(2)).await.expect(201);
}
