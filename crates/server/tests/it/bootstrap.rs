//! The first administrator's key ends by itself.

use accredit_domain::registry::organization::BOOTSTRAP_LIFETIME_SECONDS;
use accredit_testkit::TestWorld;

#[tokio::test]
async fn the_first_administrators_key_ends_by_itself() {
    let world = TestWorld::new(910).await;
    let org = world.found("acme").await;
    world.advance(BOOTSTRAP_LIFETIME_SECONDS - 1);
    assert_eq!(world.admin(&org, "GET", "/v1/agents", None).await.status, 200);
    world.advance(1);
    for (method, path) in [("GET", "/v1/agents"), ("POST", "/v1/agents"), ("GET", "/v1/events")] {
        let answer = world.admin(&org, method, path, None).await;
        assert_eq!(answer.status, 401, "{}", answer.text());
        assert_eq!(answer.json()["type"], "urn:accredit:problem:credential-expired");
    }
}
