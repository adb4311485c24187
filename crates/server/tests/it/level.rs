//! Whoever was shown a counter at one node is shown no less at another: [`jobs::level`].

use accredit_server::jobs;
use accredit_testkit::{Engine, TestWorld};

#[tokio::test]
async fn a_node_that_is_asked_for_no_less_asks_the_store_first() {
    let one = TestWorld::new_on(Engine::Postgres, 61).await;
    let scene = one.scene().await;
    let org = &scene.org;
    let secret = one.agent_secret(org, "planner", None).await;
    let other = one.another_node(62).await;
    let before = other.tenant(org).await;
    let known = before.rev();

    let rev = one.revoke(org, &secret.credential).await.expect("done").rev;
    assert!(rev > known);
    assert_eq!(other.tenant(org).await.rev(), known, "no job of this node has looked");
    jobs::level(&other.server, &before).await.expect("asked");
    assert_eq!(before.rev(), rev, "nor less than was answered when that was asked");
    // Nothing more has come: that is no reason to fail.
    jobs::level(&other.server, &before).await.expect("asked");
    assert_eq!(before.rev(), rev);

    // A later one, and a node that cannot ask: it does not say that it knows.
    one.revoke(org, scene.planner.id).await.expect("done");
    other.world.store.loss().found();
    let fault = jobs::level(&other.server, &before).await.expect_err("it cannot know");
    assert!(fault.to_string().contains("has lost what it had answered"), "{fault}");
    assert_eq!(before.rev(), rev);
}

#[tokio::test]
async fn a_process_that_has_its_store_alone_has_nothing_to_ask() {
    let world = TestWorld::new(63).await;
    let org = world.scene().await.org;
    let tenant = world.tenant(&org).await;
    let batches = world.world.store.health().batches;
    jobs::level(&world.server, &tenant).await.expect("at once");
    assert_eq!(world.world.store.health().batches, batches);
}
