//! A clock that jumps, back and forth: nothing that is dead comes to life, nothing that was used
//! up can be used again, the log's times do not go back, and all goes on once the clock is right.

use std::time::Duration;

use accredit_domain::audit::fsck::fsck;
use accredit_domain::issuance::clock::CLOCK_BACK_ISSUING_MAX;
use accredit_server::jobs;
use accredit_testkit::{Ask, TestWorld};
use accredit_wire::crypto::Algorithm;
use accredit_wire::time::Time;
use accredit_wire::tlog::succession;
use serde_json::{Value, json};

/// Issuing goes on where the clock is back by no more than this many seconds.
const BACK_MAX: i64 = CLOCK_BACK_ISSUING_MAX.as_secs() as i64;
/// Where the clock jumps to, in seconds from the beginning.
const JUMPS: [i64; 8] = [7_200, -3_600, 0, 40 * 86_400, -86_400, 60, -1, 30];

async fn is_active(world: &TestWorld, org: &accredit_testkit::Org, token: &str) -> bool {
    let ask = Ask::post(org.path("/oauth/introspect")).bearer(&org.admin);
    world.ask(ask.form(&[("token", token)])).await.expect(200).json()["active"] == true
}

#[tokio::test]
async fn a_clock_that_jumps_brings_nothing_back_to_life() {
    let world = TestWorld::new(77).await;
    let scene = world.scene().await;
    let (org, beginning) = (&scene.org, world.now());
    world.server.look();
    let key = world.agent_key(org, "planner", "k", Algorithm::EdDsa).await;
    let gone = world.agent_secret(org, "planner", None).await;
    world.revoke(org, &gone.credential).await.expect("revoked");
    let issue =
        async || world.token(org, &scene.client, &[("scope", "crm:read")]).await.expect(200).json();
    let token = |body: &Value| body["access_token"].as_str().expect("a token").to_owned();
    let (dead, alive) = (token(&issue().await), token(&issue().await));
    let jti = crate::claims(&dead)["jti"].as_str().expect("its id").to_owned();
    world.revoke(org, &jti).await.expect("revoked");
    let assertion = key.assertion(beginning, "once");
    world.token_by(org, &assertion, &[("scope", "crm:read")]).await.expect(200);

    for jump in JUMPS {
        let by = Duration::from_secs(jump.unsigned_abs());
        let now = if jump < 0 { beginning.minus(by) } else { beginning.plus(by) };
        world.clock.set(now);
        jobs::integrate_all(&world.server).await;
        jobs::flush_all(&world.server).await;
        // Issuing stops exactly where it is back: a jump ahead that was mended is not believed.
        let may_issue = world.world.latest.may_issue(now);
        assert_eq!(may_issue.is_err(), jump < -BACK_MAX, "at {jump}: {may_issue:?}");
        let (good, bad) = match may_issue {
            Err(_) => (503, 503),
            // By then the secret has expired.
            Ok(()) if jump > 30 * 86_400 => (401, 401),
            Ok(()) => (200, 401),
        };
        for _ in 0..3 {
            for answer in [
                world.token(org, &gone, &[("scope", "crm:read")]).await,
                world.token_by(org, &assertion, &[("scope", "crm:read")]).await,
            ] {
                assert_eq!(answer.status, bad, "at {jump}: {}", answer.text());
            }
            world.advance(1);
        }
        let answer = world.token(org, &scene.client, &[("scope", "crm:read")]).await;
        assert_eq!(answer.status, good, "at {jump}: {}", answer.text());
        let refused = world.token(org, &gone, &[("scope", "crm:read")]).await;
        assert_eq!(refused.status, bad, "at {jump}: a revoked secret: {}", refused.text());
        let again = world.token_by(org, &assertion, &[("scope", "crm:read")]).await;
        assert_eq!(again.status, bad, "at {jump}: used up: {}", again.text());
        assert!(!is_active(&world, org, &dead).await, "at {jump}: a revoked token");
        let tenant = world.tenant(org).await;
        let report = fsck(&world.world, &tenant).await.expect("readable");
        assert!(report.ok, "at {jump}: {report:?}");
    }

    world.clock.set(beginning.plus(Duration::from_secs(90)));
    issue().await;
    assert!(is_active(&world, org, &alive).await, "what lives lives on");
    let lanes = world.world.store.leaves(world.tenant(org).await.id, 0, 0, 1000).await;
    let leaves = lanes.expect("leaves");
    assert!(leaves.windows(2).all(|two| two[0].at <= two[1].at), "the log's times do not go back");
}

#[tokio::test]
async fn a_jump_ahead_deletes_nothing_that_the_next_start_needs() {
    let world = TestWorld::new(78).await;
    let scene = world.scene().await;
    let org = &scene.org;
    let key = world.agent_key(org, "planner", "k", Algorithm::EdDsa).await;
    let scope = &[("scope", "crm:read")];
    // The process has run for long enough to delete at all.
    world.server.look();
    world.advance(900);
    let token = world.token(org, &scene.client, scope).await.expect(200).member("access_token");
    let jti = crate::claims(&token)["jti"].as_str().expect("its id").to_owned();
    world.revoke(org, &jti).await.expect("revoked");
    let assertion = key.assertion(world.now(), "once");
    world.token_by(org, &assertion, scope).await.expect(200);

    let right = world.now();
    for days in [1, 3, 400] {
        world.clock.set(right.plus(Duration::from_hours(24 * days)));
        jobs::flush_all(&world.server).await;
    }
    world.clock.set(right);
    let (world, org) = (world.reopened(79).await, org.clone());
    assert!(!is_active(&world, &org, &token).await, "its revocation is there");
    world.token_by(&org, &assertion, scope).await.expect(401);
}

#[tokio::test]
async fn what_is_over_is_deleted_once_it_surely_is() {
    let world = TestWorld::new(80).await;
    let scene = world.scene().await;
    let second = world.agent_secret(&scene.org, "planner", None).await;
    world.revoke(&scene.org, &second.credential).await.expect("revoked");
    world.server.look();
    let org = world.tenant(&scene.org).await.id;
    let entries = async || {
        let all = world.world.store.revocations_after(org, 0, accredit_wire::time::Time::default());
        all.await.expect("entries").len()
    };
    world.advance(3_720 + 86_400);
    jobs::flush_all(&world.server).await;
    assert_eq!(entries().await, 1, "a day longer than it has to be");
    world.advance(2);
    jobs::flush_all(&world.server).await;
    assert_eq!(entries().await, 0);
}

/// Until when the newest entry of the revocation graph is kept.
async fn kept_until(world: &TestWorld, org: &accredit_testkit::Org) -> Time {
    let id = world.tenant(org).await.id;
    let entries = world.world.store.revocations_after(id, 0, Time::default()).await;
    entries.expect("entries").last().expect("one").keep_until
}

#[tokio::test]
async fn what_ends_while_the_clock_is_back_is_not_forgotten_when_it_is_right_again() {
    let world = TestWorld::new(81).await;
    let scene = world.scene().await;
    let (org, right) = (&scene.org, world.now());
    for back in [7_200, 3 * 86_400] {
        world.clock.set(right);
        let gone = world.agent_secret(org, "planner", None).await;
        world.token(org, &gone, &[("scope", "crm:read")]).await.expect(200);
        world.clock.set(right.minus(Duration::from_secs(back)));
        world.revoke(org, &gone.credential).await.expect("revoked");
        let kept = kept_until(&world, org).await;
        assert!(kept >= right.plus(Duration::from_hours(1)), "back by {back} s: {kept}");
    }
}

#[tokio::test]
async fn a_clock_that_was_ahead_leaves_nobody_without_an_answer_when_it_is_right_again() {
    let world = TestWorld::new(82).await;
    let scene = world.scene().await;
    let (org, right) = (&scene.org, world.now());
    let issue =
        async || world.token(org, &scene.client, &[("scope", "crm:read")]).await.expect(200);
    let alive = issue().await.member("access_token");
    // What is revoked meanwhile is of a time that has not come.
    world.clock.set(right.plus(Duration::from_hours(2)));
    world.server.look();
    let gone = world.agent_secret(org, "planner", None).await;
    world.revoke(org, &gone.credential).await.expect("revoked");
    let ahead = issue().await.member("access_token");
    world.clock.set(right.plus(Duration::from_secs(2)));
    world.server.look();
    assert!(is_active(&world, org, &alive).await, "what lives lives on");
    assert!(!is_active(&world, org, &ahead).await, "its time has not come");
    // Its client ends it all the same, and for as long as it would have lived.
    let revoke = Ask::post(org.path("/oauth/revoke")).basic(&scene.client);
    world.ask(revoke.form(&[("token", &ahead)])).await.expect(200);
    let kept = kept_until(&world, org).await;
    assert!(kept >= right.plus(Duration::from_hours(3)), "{kept}");
    world.clock.set(right.plus(Duration::from_hours(2)));
    assert!(!is_active(&world, org, &ahead).await, "nor is it alive when its time has come");
}

#[tokio::test]
async fn a_token_that_has_expired_stays_so_where_the_clock_is_set_back() {
    let world = TestWorld::new(83).await;
    let scene = world.scene().await;
    let (org, right) = (&scene.org, world.now());
    let token = world.token(org, &scene.client, &[("scope", "crm:read")]).await.expect(200);
    let token = token.member("access_token");
    world.advance(600);
    world.server.look();
    assert!(!is_active(&world, org, &token).await);
    world.clock.set(right);
    world.server.look();
    assert!(!is_active(&world, org, &token).await, "set back to when it was issued");
}

#[tokio::test]
async fn a_clock_that_is_ahead_takes_away_no_key_whose_tokens_live() {
    let world = TestWorld::new(84).await;
    let scene = world.scene().await;
    let (org, right) = (&scene.org, world.now());
    world.advance(700);
    jobs::flush_all(&world.server).await;
    let token = world.token(org, &scene.client, &[("scope", "crm:read")]).await.expect(200);
    let token = token.member("access_token");
    let now = json!({ "now": true });
    world.admin(org, "POST", "/v1/signing-keys/rotate", Some(now)).await.expect(201);
    world.clock.set(right.plus(Duration::from_hours(48)));
    jobs::rotate_all(&world.server).await;
    world.clock.set(right.plus(Duration::from_secs(701)));
    jobs::rotate_all(&world.server).await;
    assert!(is_active(&world, org, &token).await, "its key is published");
}

#[tokio::test]
async fn keys_of_the_log_are_told_in_their_order_also_where_the_clock_was_set_back() {
    let world = TestWorld::new(85).await;
    let org = world.found("acme").await;
    let right = world.now();
    let first = world.tenant(&org).await.log_key().sealed.public.clone();
    for back in [0, 3_600, 7_200, 86_400] {
        world.clock.set(right.minus(Duration::from_secs(back)));
        let now = json!({ "purpose": "log", "now": true });
        world.admin(&org, "POST", "/v1/signing-keys/rotate", Some(now)).await.expect(201);
    }
    world.clock.set(right);
    let world = world.reopened(86).await;
    let tenant = world.tenant(&org).await;
    let name = succession::log_name(&org.issuer);
    let believed = succession::follow(&name, [first], &tenant.keys().log_statements());
    assert_eq!(believed.len(), 6, "the first, four that signed, and the next");
    assert!(succession::is_among(&tenant.log_key().sealed.public, &believed));
}
