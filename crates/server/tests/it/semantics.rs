//! `Idempotency-Key` and `If-Match` over every row of the table of endpoints: what a row says of
//! itself is what it does, so that a new one cannot be forgotten.

use accredit_domain::audit::event::EventKind;
use accredit_server::caller::Requirement;
use accredit_server::endpoints::{ENDPOINTS, Endpoint, Semantics, Verb};
use accredit_testkit::{Answer, Ask, Org};
use serde_json::Value;

use crate::access::Stage;

/// Members that are told once, and in no repetition.
const TOLD_ONCE: [&str; 3] = ["client_secret", "admin_token", "blast"];

/// The rows of the admin API that do more than read.
fn doing() -> impl Iterator<Item = &'static Endpoint> {
    ENDPOINTS.iter().filter(|row| row.path.starts_with("/v1/") && row.method != Verb::Get)
}

/// What may call a row that would be let in: an administrator's key and, where the row says so, the
/// installation's operator's.
async fn keys(stage: &Stage, endpoint: &Endpoint) -> Vec<String> {
    let mut keys = Vec::new();
    if endpoint.caller != Requirement::OperatorAlone {
        keys.push(stage.acme.admin.clone());
    }
    if endpoint.operator {
        keys.push(stage.operator(3600, false).await.secret);
    }
    keys
}

async fn ask(stage: &Stage, endpoint: &Endpoint, key: &str) -> Ask {
    let instance = stage.world.instance(&stage.acme, "planner", None).await;
    let instance = instance.instance.expect("an instance").to_string();
    stage.ask(endpoint, &instance).await.bearer(key)
}

/// The types of the events since `from`.
async fn kinds_since(stage: &Stage, org: &Org, from: u64) -> Vec<String> {
    let org = stage.world.tenant(org).await.id;
    let leaves = stage.world.world.store.leaves(org, 0, from, 200).await.expect("leaves");
    leaves.into_iter().map(|leaf| leaf.kind).collect()
}

async fn sequenced(stage: &Stage, org: &Org) -> u64 {
    let org = stage.world.tenant(org).await.id;
    let lanes = stage.world.world.store.lanes(org).await.expect("lanes");
    lanes.iter().map(|lane| lane.sequenced).sum()
}

fn is_replay(answer: &Answer) -> bool {
    answer.header("idempotent-replayed") == "true"
}

/// The thing whose version a row builds on.
fn thing(stage: &Stage, endpoint: &Endpoint) -> String {
    match endpoint.operation {
        "revoke_id" => "/v1/agents/planner".to_owned(),
        "waive_restore" => "/v1/orgs/acme".to_owned(),
        _ => stage.path(endpoint).split('/').take(4).collect::<Vec<_>>().join("/"),
    }
}

#[tokio::test]
async fn what_creates_does_so_once_under_a_key_and_nothing_else_creates() {
    for endpoint in doing() {
        let (name, creates) = (endpoint.operation, endpoint.semantics.creates());
        for place in 0..=usize::from(endpoint.operator) {
            let stage = Stage::new().await;
            let mut keys = keys(&stage, endpoint).await;
            if place >= keys.len() {
                continue;
            }
            let key = keys.swap_remove(place);
            let first = ask(&stage, endpoint, &key).await.header("idempotency-key", "once");
            let again = first.clone();
            let from = sequenced(&stage, &stage.acme).await;
            let first = stage.world.ask(first).await;
            let kinds = kinds_since(&stage, &stage.acme, from).await;
            // Nobody is given a root key: done again, another one has taken its place.
            let is_new = |kind: &String| {
                kind.ends_with(".created")
                    || kind.ends_with(".rotated") && kind != EventKind::RootKeyRotated.as_str()
            };
            if !creates {
                assert!([200, 409].contains(&first.status), "{name}: {}", first.text());
                assert!(
                    !kinds.iter().any(is_new),
                    "{name} says that it creates nothing: {kinds:?}"
                );
                assert!(!is_replay(&stage.world.ask(again).await), "{name}");
                continue;
            }
            let first = first.expect(201);
            let after = sequenced(&stage, &stage.acme).await;
            stage.world.advance(60);
            let again = stage.world.ask(again).await.expect(201);
            assert!(!is_replay(&first) && is_replay(&again), "{name} was done twice");
            assert!(!again.text().contains("acr_"), "{name}: {}", again.text());
            assert_eq!(sequenced(&stage, &stage.acme).await, after, "{name} was done twice");
            let mut expected = first.json();
            for member in TOLD_ONCE {
                expected.as_object_mut().expect("an object").remove(member);
            }
            assert_eq!(again.json(), expected, "{name}");
            let at_rest = stage.world.bytes_at_rest();
            for member in TOLD_ONCE {
                let told = first.json()[member].as_str().map(str::to_owned);
                let kept = told.is_some_and(|secret| {
                    at_rest.windows(secret.len()).any(|bytes| bytes == secret.as_bytes())
                });
                assert!(!kept, "{name} keeps its {member}");
            }
        }
    }
}

#[tokio::test]
async fn a_version_that_there_is_not_stops_whatever_does_something() {
    for endpoint in doing() {
        let stage = Stage::new().await;
        for key in keys(&stage, endpoint).await {
            for tag in ["\"else\"", "\"g1v0\"", "\"g0v0\""] {
                let stale = ask(&stage, endpoint, &key).await.header("if-match", tag);
                let before = sequenced(&stage, &stage.acme).await;
                let answer = stage.world.ask(stale).await;
                answer.problem(412, "precondition-failed");
                let after = sequenced(&stage, &stage.acme).await;
                assert_eq!(after, before, "{}: {tag}", endpoint.operation);
            }
        }
    }
}

#[tokio::test]
async fn whatever_changes_a_thing_takes_its_version_and_tells_the_new_one() {
    let building = doing().filter(|row| row.semantics.builds_on_a_version());
    for endpoint in building {
        let (name, stage) = (endpoint.operation, Stage::new().await);
        let thing = thing(&stage, endpoint);
        let tag = async || {
            let read = stage.world.admin(&stage.acme, "GET", &thing, None).await.expect(200);
            read.header("etag").to_owned()
        };
        let before = tag().await;
        assert!(before.starts_with('"') && before.len() > 2, "{name}: {thing} has no tag");
        let asked = ask(&stage, endpoint, &stage.acme.admin).await.header("if-match", &before);
        let answer = stage.world.ask(asked).await;
        let after = tag().await;
        match (answer.status, endpoint.semantics) {
            // It is in that state already.
            (409, Semantics::Changes) => assert_eq!(after, before, "{name}"),
            (200, Semantics::Changes) => {
                assert_ne!(after, before, "{name}");
                assert_eq!(answer.header("etag"), after, "{name}");
            }
            (201, Semantics::CreatesFrom) => assert_ne!(after, before, "{name}"),
            (status, _) => panic!("{name}: {status}: {}", answer.text()),
        }
    }
}

/// Whatever is made can be changed on the version that its answer told.
#[tokio::test]
async fn what_was_made_tells_its_version() {
    for endpoint in doing().filter(|row| row.semantics.creates()) {
        let stage = Stage::new().await;
        let asked = ask(&stage, endpoint, &stage.acme.admin).await;
        let made = stage.world.ask(asked).await.expect(201);
        let noun = endpoint.path.split('/').nth(2).expect("a noun");
        match noun {
            "signing-keys" => {
                check_key_is_listed(&stage, &made).await;
                continue;
            }
            "revocations" => {
                check_is_ended(&stage, &made).await;
                continue;
            }
            // Of the authority there is one, which tells no version.
            "ca" => continue,
            "drills" => {
                check_is_gone(&stage, &made).await;
                continue;
            }
            _ => {}
        }
        let key = if noun == "trust-domains" { "name" } else { "id" };
        let path = format!("/v1/{noun}/{}", made.member(key));
        let read = stage.world.admin(&stage.acme, "GET", &path, None).await.expect(200);
        let told: Value = read.header("etag").into();
        assert_eq!(Value::from(made.header("etag")), told, "{}", endpoint.operation);
    }
}

/// A signing key that was made is not read one by one and tells no version: it stands in the list
/// as it was told, in the place of the one before it.
async fn check_key_is_listed(stage: &Stage, made: &Answer) {
    let get = async |path: &str| stage.world.admin(&stage.acme, "GET", path, None).await;
    assert_eq!(made.header("etag"), "");
    let (active, retiring) = (&made.json()["active"], &made.json()["retiring"]);
    let path = format!("/v1/signing-keys/{}", active["id"].as_str().expect("an id"));
    assert_eq!(get(&path).await.status, 404, "signing keys are read one by one now");
    let listed = get("/v1/signing-keys").await.expect(200).json();
    let listed = listed["items"].as_array().expect("keys");
    for (told, state) in [(active, "active"), (retiring, "retiring")] {
        assert_eq!(told["state"], state, "{told}");
        assert!(listed.contains(told), "{told} is not in {listed:?}");
    }
    let of_tokens = |key: &&Value| key["purpose"] == active["purpose"] && key["state"] == "active";
    assert_eq!(listed.iter().filter(of_tokens).count(), 1, "{listed:?}");
}

/// Nor is a drill: the agent that was made for it is gone.
async fn check_is_gone(stage: &Stage, made: &Answer) {
    assert_eq!(made.header("etag"), "");
    let path = format!("/v1/agents/{}", made.member("agent"));
    let agent = stage.world.admin(&stage.acme, "GET", &path, None).await.expect(200).json();
    assert_eq!(agent["state"], "decommissioned", "{agent}");
}

/// Nor is a revocation: what it ended says so.
async fn check_is_ended(stage: &Stage, made: &Answer) {
    let get = async |path: &str| stage.world.admin(&stage.acme, "GET", path, None).await;
    assert_eq!(made.header("etag"), "");
    let (revocation, agent) = (made.member("id"), made.member("target"));
    assert!(revocation.starts_with("rvk_") && agent.starts_with("agt_"), "{}", made.text());
    let path = format!("/v1/revocations/{revocation}");
    assert_eq!(get(&path).await.status, 404, "revocations are read one by one now");
    let ended = get(&format!("/v1/agents/{agent}")).await.expect(200).json();
    assert_eq!(ended["state"], "suspended", "{ended}");
}
