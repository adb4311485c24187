//! RFC 9110 section 13.1.1: `ETag` and `If-Match` over the whole admin API, and no lost update.

use std::sync::Arc;

use accredit_testkit::{Answer, Ask, Org, Scene, TestWorld};
use serde_json::{Value, json};

async fn change(world: &TestWorld, org: &Org, ask: (&str, &str, Value), tag: &str) -> Answer {
    let (method, path, body) = ask;
    let ask = Ask::new(method, path).bearer(&org.admin).header("if-match", tag);
    world.ask(if body.is_null() { ask } else { ask.json(&body) }).await
}

async fn tag_of(world: &TestWorld, org: &Org, path: &str) -> String {
    world.admin(org, "GET", path, None).await.expect(200).header("etag").to_owned()
}

/// Method, path and body.
type Change = (&'static str, String, Value);

/// Each thing, with everything that may be done to it in turn.
fn changes(scene: &Scene) -> Vec<(String, Vec<Change>)> {
    let reason = json!({"reason": "a test"});
    let owner = format!("/v1/persons/{}", scene.planner.owner.expect("an owner"));
    let (agent, crm) = ("/v1/agents/planner".to_owned(), "/v1/resources/crm".to_owned());
    let org = "/v1/orgs/acme".to_owned();
    let turns = |path: &str| {
        vec![
            ("POST", format!("{path}/suspend"), reason.clone()),
            ("POST", format!("{path}/activate"), reason.clone()),
        ]
    };
    let mut of_agent = turns(&agent);
    of_agent.extend([
        ("PATCH", agent.clone(), json!({"purpose": "another"})),
        ("PUT", format!("{agent}/permissions/crm"), json!({"actions": ["read", "delete"]})),
        ("DELETE", format!("{agent}/permissions/mail"), Value::Null),
        ("POST", format!("{agent}/decommission"), reason.clone()),
    ]);
    let mut of_crm = turns(&crm);
    of_crm.push(("PATCH", crm.clone(), json!({"revocations_age_max": 30})));
    let mut of_owner = turns(&owner);
    let allow = json!({"allow": ["crm:read"]});
    let link = json!({"federation": "corp", "subject": "user-1"});
    of_owner.extend([
        ("PATCH", owner.clone(), json!({"name": "Ann"})),
        ("POST", format!("{owner}/grant"), allow.clone()),
        ("POST", format!("{owner}/ungrant"), allow),
        ("POST", format!("{owner}/link"), link.clone()),
        ("POST", format!("{owner}/unlink"), link),
    ]);
    let corp = "/v1/federations/corp".to_owned();
    let mut of_corp = turns(&corp);
    of_corp.push(("PATCH", corp.clone(), json!({"provision": false})));
    let mut of_org = turns(&org);
    of_org.push(("PATCH", org.clone(), json!({"display_name": "Acme"})));
    vec![(owner, of_owner), (corp, of_corp), (crm, of_crm), (agent, of_agent), (org, of_org)]
}

#[tokio::test]
async fn every_change_demands_the_version_that_was_named_and_tells_the_new_one() {
    let world = TestWorld::new(61).await;
    let scene = world.scene().await;
    let org = &scene.org;
    world.resource(org, "mail", &["send"]).await;
    let (idp, _) = world.idp().await;
    world.federation(org, &idp, "corp").await;
    let put = ("PUT", "/v1/agents/planner/permissions/mail", json!({"actions": ["send"]}));
    change(&world, org, put, "*").await.expect(200);
    for (thing, changes) in changes(&scene) {
        for (method, path, body) in changes {
            let tag = tag_of(&world, org, &thing).await;
            assert!(tag.starts_with('"') && tag.len() > 2, "{thing} has no strong tag: {tag}");
            let ask = || (method, path.as_str(), body.clone());
            let newer = tag.replacen('v', "v9", 1);
            let weak = format!("W/{tag}");
            for stale in ["\"g1v0\"", "\"else\"", newer.as_str(), weak.as_str()] {
                let answer = change(&world, org, ask(), stale).await;
                answer.problem(412, "precondition-failed");
                assert!(!answer.member("hint").is_empty());
            }
            change(&world, org, ask(), "no tag").await.problem(400, "field-invalid");
            assert_eq!(tag_of(&world, org, &thing).await, tag, "{method} {path} was not refused");
            let answer = change(&world, org, ask(), &format!("\"x\", {tag}")).await.expect(200);
            assert_ne!(answer.header("etag"), tag, "{method} {path}");
            assert_eq!(answer.header("etag"), tag_of(&world, org, &thing).await, "{path}");
        }
    }
}

#[tokio::test]
async fn what_is_made_or_revoked_has_versions_too() {
    let world = TestWorld::new(62).await;
    let scene = world.scene().await;
    let org = &scene.org;
    let asked = json!({"agent": "planner"});
    let made = world.admin(org, "POST", "/v1/instances", Some(asked)).await.expect(201);
    let path = format!("/v1/instances/{}", made.member("id"));
    let tag = tag_of(&world, org, &path).await;
    assert_eq!(made.header("etag"), tag);
    let revoke =
        |target: String| ("POST", "/v1/revocations", json!({"target": target, "reason": "a test"}));
    let target = made.member("id");
    change(&world, org, revoke(target.clone()), "\"g1v7\"")
        .await
        .problem(412, "precondition-failed");
    change(&world, org, revoke(target), &tag).await.expect(201);
    assert_ne!(tag_of(&world, org, &path).await, tag);
    let credential = format!("/v1/credentials/{}", scene.client.credential);
    let tag = tag_of(&world, org, &credential).await;
    let target = scene.client.credential.clone();
    change(&world, org, revoke(target.clone()), "\"\"").await.problem(412, "precondition-failed");
    change(&world, org, revoke(target), &tag).await.expect(201);
    // What has no version is in none.
    let keys = world.admin(org, "GET", "/v1/signing-keys", None).await.expect(200).json();
    let key = keys["items"][0]["id"].as_str().expect("an id").to_owned();
    change(&world, org, revoke(key), "\"g1v1\"").await.problem(412, "precondition-failed");
    let person = ("POST", "/v1/persons", json!({"email": "ann@example.com"}));
    change(&world, org, person.clone(), "\"g1v1\"").await.problem(412, "precondition-failed");
    change(&world, org, person, "*").await.expect(201);
    let event = world.admin(org, "GET", "/v1/events/0", None).await.expect(200);
    assert_eq!(event.header("etag"), format!("\"{}\"", event.member("leaf")));
}

/// Sixteen writers each append to a text by reading, adding and writing back with `If-Match`, and
/// try again on 412. Every addition is there at the end, which it would not be had one been lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn writers_that_name_their_version_lose_no_update() {
    const WRITERS: usize = 16;
    let world = Arc::new(TestWorld::new(63).await);
    let scene = world.scene().await;
    let org = scene.org.clone();
    let first = json!({"purpose": "-"});
    world.admin(&org, "PATCH", "/v1/agents/planner", Some(first)).await.expect(200);
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let (world, org) = (Arc::clone(&world), org.clone());
        writers.spawn(async move {
            let mut lost = 0;
            loop {
                let read = world.admin(&org, "GET", "/v1/agents/planner", None).await.expect(200);
                let purpose = format!("{}{writer:x}", read.member("purpose"));
                let ask = ("PATCH", "/v1/agents/planner", json!({ "purpose": purpose }));
                let answer = change(&world, &org, ask, read.header("etag")).await;
                match answer.status {
                    200 => return lost,
                    412 => lost += 1,
                    _ => panic!("{}", answer.text()),
                }
            }
        });
    }
    let refused: usize = writers.join_all().await.into_iter().sum();
    assert!(refused > 0, "nobody ever met anybody: the race was not run");
    let purpose = world.admin(&org, "GET", "/v1/agents/planner", None).await.member("purpose");
    let mut letters: Vec<char> = purpose.chars().skip(1).collect();
    letters.sort_unstable();
    assert_eq!(letters.into_iter().collect::<String>(), "0123456789abcdef");
}
