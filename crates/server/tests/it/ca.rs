//! RFC 5280, SPIFFE: an organization's certificate authority and how its keys follow one another.

use std::time::Duration;

use accredit_domain::ca::{INTERMEDIATE_LIFE, INTERMEDIATE_SIGNS, ROOT_LIFE, bundle};
use accredit_domain::keys::rotation::KEY_PUBLISH_AHEAD;
use accredit_domain::registry::keep_for;
use accredit_server::jobs;
use accredit_testkit::{Answer, Ask, Org, TestWorld};
use serde_json::{Value, json};

async fn published(world: &TestWorld) -> Value {
    world.ask(Ask::get("/o/acme/spiffe/bundle")).await.expect(200).json()
}

/// The published roots, as a bundle has them.
fn roots(bundle: &Value) -> Vec<String> {
    let keys = bundle["keys"].as_array().expect("keys");
    let of_x509 = keys.iter().filter(|key| key["use"] == "x509-svid");
    of_x509.map(|key| key["x5c"][0].as_str().expect("a certificate").to_owned()).collect()
}

/// As an administrator is shown it, whatever became of their key meanwhile.
async fn ca(world: &TestWorld, org: &Org) -> Value {
    let shown = bundle::show(&world.cx(org).await).expect("shown");
    serde_json::to_value(shown).expect("JSON")
}

async fn rotate(world: &TestWorld, org: &Org, body: Value) -> Answer {
    world.admin(org, "POST", "/v1/signing-keys/rotate", Some(body)).await
}

/// The id and the root of the intermediate that signs.
fn signing(ca: &Value) -> (String, String) {
    let found = ca["intermediates"].as_array().expect("intermediates").iter();
    let mut active = found.filter(|one| one["state"] == "active");
    let one = active.next().expect("an intermediate that signs");
    assert!(active.next().is_none(), "one signs");
    let text = |name: &str| one[name].as_str().expect("text").to_owned();
    (text("id"), text("root"))
}

#[tokio::test]
async fn each_organization_has_a_root_of_its_own_and_anybody_may_have_it() {
    let world = TestWorld::new(601).await;
    let org = world.found("acme").await;
    let told = world.ask(Ask::get("/o/acme/spiffe/bundle")).await.expect(200);
    assert_eq!(told.header("content-type"), "application/json");
    let told = told.json();
    assert_eq!(told["spiffe_refresh_hint"], 300);
    // Of the one that signs, and of the one that will.
    let own = roots(&told);
    assert_eq!(own.len(), 2);
    for key in told["keys"].as_array().expect("keys") {
        let is_root = key["use"] == "x509-svid";
        assert_eq!((&key["kty"], &key["crv"]), (&json!("EC"), &json!("P-256")));
        assert_eq!((key.get("x5c").is_some(), key.get("kid").is_none()), (is_root, is_root));
    }
    let shown = world.admin(&org, "GET", "/v1/ca", None).await.expect(200).json();
    assert_eq!(shown["trust_domain"], "acme.id.example");
    assert_eq!(shown["bundle_url"], format!("{}/spiffe/bundle", org.issuer));
    let (_, root) = signing(&shown);
    assert_eq!(shown["roots"][0]["id"], root.as_str());
    assert_eq!(shown["roots"][0]["state"], "active");
    assert_eq!(shown["roots"][1]["state"], "next");

    world.found("other").await;
    let other = world.ask(Ask::get("/o/other/spiffe/bundle")).await.expect(200).json();
    assert!(roots(&other).iter().all(|root| !own.contains(root)));
    world.ask(Ask::get("/o/nobody/spiffe/bundle")).await.expect(404);
}

#[tokio::test]
async fn a_root_is_published_before_it_signs_and_takes_its_intermediate_along() {
    let world = TestWorld::new(602).await;
    let org = world.found("acme").await;
    let (before, first) = (published(&world).await, signing(&ca(&world, &org).await));
    let asked = json!({"purpose": "ca-root"});
    rotate(&world, &org, asked.clone()).await.problem(409, "state-forbids");
    world.clock.advance(KEY_PUBLISH_AHEAD);
    let told = rotate(&world, &org, asked).await.expect(201).json();
    let then = published(&world).await;
    let (old, new) = (roots(&before), roots(&then));
    assert_eq!((new.len(), &new[0], &new[2]), (3, &old[1], &old[0]));
    let sequence = |bundle: &Value| bundle["spiffe_sequence"].as_u64().expect("a number");
    assert!(sequence(&then) > sequence(&before));
    let second = signing(&ca(&world, &org).await);
    assert_ne!(second.0, first.0);
    assert_eq!(told["active"]["id"], second.1.as_str());

    // What the old one signed is believed until it is surely over.
    world.clock.advance(keep_for());
    jobs::rotate_all(&world.server).await;
    let then = published(&world).await;
    assert!(!roots(&then).contains(&old[0]) && roots(&then).len() == 2);
}

#[tokio::test]
async fn intermediates_follow_one_another_by_themselves() {
    let world = TestWorld::new(603).await;
    let org = world.found("acme").await;
    let before = roots(&published(&world).await);
    let mut last = signing(&ca(&world, &org).await);
    jobs::rotate_all(&world.server).await;
    assert_eq!(signing(&ca(&world, &org).await), last);
    // The second time nobody rotated for longer than a certificate holds.
    for away in [INTERMEDIATE_SIGNS, INTERMEDIATE_LIFE + Duration::from_hours(1)] {
        world.clock.advance(away);
        jobs::rotate_all(&world.server).await;
        let then = signing(&ca(&world, &org).await);
        assert!(then.0 != last.0 && then.1 == last.1);
        last = then;
    }
    assert_eq!(roots(&published(&world).await), before, "the root is the same");
    rotate(&world, &org, json!({"purpose": "ca"})).await.expect(201);
    assert_ne!(signing(&ca(&world, &org).await).0, last.0);
}

#[tokio::test]
async fn a_root_gives_its_place_away_before_it_is_over() {
    let world = TestWorld::new(604).await;
    let org = world.found("acme").await;
    let (_, first) = signing(&ca(&world, &org).await);
    world.clock.advance(ROOT_LIFE.saturating_sub(Duration::from_hours(300 * 24)));
    for _ in 0..3 {
        jobs::rotate_all(&world.server).await;
        world.clock.advance(KEY_PUBLISH_AHEAD);
    }
    let shown = ca(&world, &org).await;
    let (_, root) = signing(&shown);
    assert_ne!(root, first);
    let active = &shown["roots"][0];
    assert_eq!(active["id"], root.as_str());
    let until = active["expires_at"].as_str().expect("a time");
    let least = world.now().plus(ROOT_LIFE).minus(Duration::from_hours(48));
    assert!(until > least.to_string().as_str(), "{until}");
}

#[tokio::test]
async fn a_revoked_key_of_the_authority_is_believed_no_more_and_has_a_successor() {
    let world = TestWorld::new(605).await;
    let org = world.found("acme").await;
    let before = roots(&published(&world).await);
    let (intermediate, root) = signing(&ca(&world, &org).await);
    world.revoke(&org, &intermediate).await.expect("revoked");
    let then = signing(&ca(&world, &org).await);
    assert!(then.0 != intermediate && then.1 == root);
    assert_eq!(roots(&published(&world).await), before);

    world.revoke(&org, &root).await.expect("revoked");
    let last = signing(&ca(&world, &org).await);
    assert!(last.0 != then.0 && last.1 != root);
    let left = roots(&published(&world).await);
    assert_eq!((left.len(), &left[0]), (2, &before[1]));
    let shown = ca(&world, &org).await;
    let known = shown["intermediates"].as_array().expect("intermediates");
    assert_eq!(known.len(), 1, "what the stolen root signed is not shown: {known:?}");
}

#[tokio::test]
async fn the_authority_survives_a_restart() {
    let world = TestWorld::new(606).await;
    let org = world.found("acme").await;
    let before = (published(&world).await, signing(&ca(&world, &org).await));
    let world = world.reopened(607).await;
    assert_eq!((published(&world).await, signing(&ca(&world, &org).await)), before);
}
