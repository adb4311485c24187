//! Rotation: credentials and signing keys that change while everything goes on.

use std::time::Duration;

use accredit_domain::audit::event::{Body, EventKind};
use accredit_domain::keys::rotation::{
    FEED_KEY_RETIRING, KEY_PUBLISH_AHEAD, RETIRING_KEYS_MAX, RETIRING_LOG_KEYS_MAX,
};
use accredit_domain::keys::{KeyPurpose, KeyState, SigningKey};
use accredit_domain::ports::{Audited, Change, Row};
use accredit_domain::registry::identification::EVENTS_TOLD_MAX;
use accredit_domain::registry::keep_for;
use accredit_domain::registry::quota::Quotas;
use accredit_domain::registry::rotation::{OVERLAP_DEFAULT_SECONDS, OVERLAP_MAX_SECONDS};
use accredit_domain::registry::rotation_schedule::{self, AGENTS_AT_A_TIME_MAX};
use accredit_domain::revocation::REVOKED_FEED_KEY_KEPT;
use accredit_server::jobs;
use accredit_testkit::fixture::Scene;
use accredit_testkit::{Answer, Ask, Client, Org, Signer, TestWorld};
use accredit_wire::crypto::Algorithm;
use accredit_wire::jose::jwk::JwkSet;
use accredit_wire::revocations::SignedMessage;
use accredit_wire::verify::{AudienceRule, Config, KeyRing, Standing, Verifier};
use serde_json::{Value, json};

use crate::events;

const READ: [(&str, &str); 1] = [("scope", "crm:read")];
const DAY: Duration = Duration::from_hours(24);

async fn rotate(world: &TestWorld, org: &Org, credential: &str, body: Value) -> Answer {
    let path = format!("/v1/credentials/{credential}/rotate");
    world.admin(org, "POST", &path, Some(body)).await
}

/// The successor, as a client.
fn successor(answer: &Answer, of: &Client) -> Client {
    Client {
        id: of.id.clone(),
        secret: answer.member("client_secret"),
        credential: answer.member("id"),
        instance: of.instance,
    }
}

async fn state_of(world: &TestWorld, org: &Org, credential: &str) -> Value {
    let path = format!("/v1/credentials/{credential}");
    world.admin(org, "GET", &path, None).await.expect(200).json()
}

#[tokio::test]
async fn both_secrets_work_until_the_overlap_is_over() {
    let world = TestWorld::new(40).await;
    let Scene { org, client, .. } = world.scene().await;
    let rotated = rotate(&world, &org, &client.credential, json!({})).await.expect(201);
    assert_eq!(rotated.member("replaces"), client.credential);
    let new = successor(&rotated, &client);
    assert_ne!(new.secret, client.secret);
    for both in [&client, &new] {
        world.token(&org, both, &READ).await.expect(200);
    }
    let old = state_of(&world, &org, &client.credential).await;
    let shown = (&old["state"], &old["expires_at"], &old["successor"]);
    let until = rotated.json()["replaced_until"].clone();
    assert_eq!(shown, (&json!("active"), &until, &json!(new.credential)));

    world.clock.advance(Duration::from_secs(OVERLAP_DEFAULT_SECONDS - 1));
    world.token(&org, &client, &READ).await.expect(200);
    world.clock.advance(Duration::from_secs(1));
    world.token(&org, &client, &READ).await.refused(401, "invalid_client", "credential-expired");
    world.token(&org, &new, &READ).await.expect(200);

    // One event names both, and nothing secret.
    let told = events(&world, &org, "credential.rotated").await;
    let [event] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!(event["payload"]["credential"], new.credential);
    assert_eq!(event["payload"]["target"], client.credential);
    assert!(!event.to_string().contains("acr_"), "{event}");
    assert_eq!(events(&world, &org, "credential.created").await.len(), 1);
}

#[tokio::test]
async fn an_instance_and_a_resource_rotate_too() {
    let world = TestWorld::new(41).await;
    let Scene { org, .. } = world.scene().await;
    let instance = world.instance(&org, "planner", None).await;
    let rotated = rotate(&world, &org, &instance.credential, json!({"overlap": 60})).await;
    let new = successor(&rotated.expect(201), &instance);
    let token = world.token(&org, &new, &READ).await.expect(200).member("access_token");
    let id = instance.instance.expect("an instance").to_string();
    assert_eq!(crate::claims(&token)["accredit"]["ins"], json!(id));
    world.clock.advance(Duration::from_mins(1));
    world.token(&org, &instance, &READ).await.refused(401, "invalid_client", "credential-expired");
    world.token(&org, &new, &READ).await.expect(200);

    let crm = world.resource_secret(&org, "crm").await;
    let rotated = rotate(&world, &org, &crm.credential, json!({})).await.expect(201);
    let ask = Ask::post("/o/acme/oauth/introspect").basic(&successor(&rotated, &crm));
    world.ask(ask.form(&[("token", &*token)])).await.expect(200);

    // What is over has no successor.
    world.revoke(&org, &id).await.expect("revoked");
    rotate(&world, &org, &new.credential, json!({})).await.problem(409, "state-forbids");
}

#[tokio::test]
async fn a_public_key_needs_another_one_and_a_secret_takes_none() {
    let world = TestWorld::new(42).await;
    let Scene { org, client, .. } = world.scene().await;
    let old = world.agent_key(&org, "planner", "old", Algorithm::EdDsa).await;
    let keys = world.admin(&org, "GET", "/v1/credentials", None).await.json();
    let found = keys["items"].as_array().expect("items").iter().find(|c| c["kid"] == "old");
    let id = found.expect("the key")["id"].as_str().expect("an id").to_owned();
    rotate(&world, &org, &id, json!({})).await.problem(400, "field-invalid");
    let jwk =
        |signer: &Signer| -> Value { serde_json::from_str(&signer.public_jwk()).expect("a key") };
    // The same key again is taken, as a key always is.
    rotate(&world, &org, &id, json!({"jwk": jwk(&old)})).await.problem(409, "key-taken");
    let new = Signer::new(Algorithm::Es256, "new", [7; 32]);
    let answer = rotate(&world, &org, &id, json!({"jwk": jwk(&new)})).await.expect(201);
    assert_eq!(answer.member("kid"), "new");
    assert!(answer.json().get("client_secret").is_none());
    let asked = rotate(&world, &org, &client.credential, json!({"jwk": jwk(&new)})).await;
    asked.problem(400, "field-invalid");
}

#[tokio::test]
async fn a_rotation_is_bounded_and_happens_once() {
    let world = TestWorld::new(43).await;
    let Scene { org, client, .. } = world.scene().await;
    for overlap in [json!(0), json!(OVERLAP_MAX_SECONDS + 1), json!(-1), json!("1d")] {
        let asked = rotate(&world, &org, &client.credential, json!({"overlap": overlap})).await;
        asked.problem(400, "field-invalid");
    }
    let first = rotate(&world, &org, &client.credential, json!({})).await.expect(201);
    let again = rotate(&world, &org, &client.credential, json!({})).await;
    again.problem(409, "state-forbids");
    assert!(again.text().contains(&first.member("id")), "it names the successor");

    // A short-lived one never lives longer by being rotated, and its successor as long as it.
    let short = world.agent_secret(&org, "planner", Some(600)).await;
    let ends = state_of(&world, &org, &short.credential).await["expires_at"].clone();
    world.clock.advance(Duration::from_mins(5));
    let rotated = rotate(&world, &org, &short.credential, json!({})).await.expect(201).json();
    assert_eq!(rotated["replaced_until"], ends);
    assert_ne!(rotated["expires_at"], ends);
    let new = rotated["id"].as_str().expect("an id");
    world.clock.advance(Duration::from_mins(10));
    rotate(&world, &org, new, json!({})).await.problem(409, "state-forbids");
    assert_eq!(state_of(&world, &org, new).await["state"], "expired");

    // A revoked one, a foreign one, and an administrator's.
    world.revoke(&org, &first.member("id")).await.expect("revoked");
    rotate(&world, &org, &first.member("id"), json!({})).await.problem(409, "state-forbids");
    let other = world.found("other").await;
    rotate(&world, &other, &client.credential, json!({})).await.problem(404, "not-found");
    let admin = org.admin.split('_').nth(2).expect("the credential's part");
    let asked = rotate(&world, &org, &format!("crd_{admin}"), json!({})).await;
    asked.problem(409, "state-forbids");
}

async fn signing_keys(world: &TestWorld, org: &Org) -> Vec<(String, String)> {
    keys_of(world, org, "token").await
}

/// The keys of a purpose, with their states.
async fn keys_of(world: &TestWorld, org: &Org, purpose: &str) -> Vec<(String, String)> {
    let keys = world.admin(org, "GET", "/v1/signing-keys", None).await.expect(200).json();
    let keys = keys["items"].as_array().expect("items");
    let tokens = keys.iter().filter(|key| key["purpose"] == purpose);
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    tokens.map(|key| (text(&key["id"]), text(&key["state"]))).collect()
}

async fn kids(world: &TestWorld) -> Vec<String> {
    kids_at(world, "jwks.json").await
}

async fn feed_kids(world: &TestWorld) -> Vec<String> {
    kids_at(world, "feed-jwks.json").await
}

async fn kids_at(world: &TestWorld, set: &str) -> Vec<String> {
    let set = world.ask(Ask::get(format!("/o/acme/.well-known/{set}"))).await.expect(200).json();
    let keys = set["keys"].as_array().expect("keys");
    keys.iter().map(|key| key["kid"].as_str().expect("a kid").to_owned()).collect()
}

async fn rotate_key(world: &TestWorld, org: &Org, body: Value) -> Answer {
    world.admin(org, "POST", "/v1/signing-keys/rotate", Some(body)).await
}

/// A verifier with the key set as it is published now, as a third party caches it.
async fn caching_verifier(world: &TestWorld, org: &Org) -> Verifier {
    let set = world.ask(Ask::get("/o/acme/.well-known/jwks.json")).await;
    let ring = KeyRing::new(&JwkSet::parse(&set.body).expect("a key set"));
    let verifier = Verifier::new(Config::new(&org.issuer, AudienceRule::Any), ring);
    let tenant = world.tenant(org).await;
    verifier.set_standing(Standing::current((*tenant.revoked()).clone(), world.now()));
    verifier
}

#[tokio::test]
async fn a_key_is_published_before_it_signs_and_after_it_signed() {
    let world = TestWorld::new(44).await;
    let Scene { org, client, .. } = world.scene().await;
    let token = async || world.token(&org, &client, &READ).await.expect(200).member("access_token");
    let [active, next] = kids(&world).await.try_into().expect("two keys");
    let first = token().await;

    // Too early: somebody may still keep a copy without the next key.
    rotate_key(&world, &org, json!({})).await.problem(409, "state-forbids");
    world.clock.advance(KEY_PUBLISH_AHEAD);
    let cached = caching_verifier(&world, &org).await;
    let answer = rotate_key(&world, &org, json!({"purpose": "token"})).await.expect(201).json();
    assert_eq!(answer["active"]["id"], next.as_str());
    assert_eq!(answer["retiring"]["id"], active.as_str());
    let published = kids(&world).await;
    assert_eq!(published[0], next);
    assert_eq!(published[2], active);
    assert_eq!(answer["next"]["id"], published[1].as_str());

    // Who cached the keys before the rotation verifies what is signed after it.
    let second = token().await;
    assert_eq!(crate::header(&second)["kid"], next.as_str());
    cached.verify_token(&second, world.now()).expect("known ahead");
    drop(first);
    let told = events(&world, &org, "key.rotated").await;
    assert_eq!(told.len(), 1);
    assert_eq!(told[0]["payload"]["key"], next.as_str());
    assert_eq!(told[0]["payload"]["target"], active.as_str());

    // It stays published until everything it signed has expired, and no longer.
    world.clock.advance(keep_for().checked_sub(Duration::from_secs(1)).expect("longer"));
    jobs::rotate_all(&world.server).await;
    assert!(kids(&world).await.contains(&active));
    world.clock.advance(Duration::from_secs(1));
    jobs::rotate_all(&world.server).await;
    assert!(!kids(&world).await.contains(&active));
    let retired = signing_keys(&world, &org).await;
    assert!(retired.contains(&(active, "retired".to_owned())), "{retired:?}");
    jobs::rotate_all(&world.server).await;
    assert_eq!(events(&world, &org, "key.retired").await.len(), 1);
}

#[tokio::test]
async fn a_key_of_the_feed_is_published_for_a_week_after_its_last_message() {
    let world = TestWorld::new(55).await;
    let Scene { org, .. } = world.scene().await;
    let tokens = signing_keys(&world, &org).await;
    let [active, next] = feed_kids(&world).await.try_into().expect("two keys");
    let feed = json!({"purpose": "feed"});
    rotate_key(&world, &org, feed.clone()).await.problem(409, "state-forbids");
    world.clock.advance(KEY_PUBLISH_AHEAD);
    let before = world.tenant(&org).await.keys().hash();
    let answer = rotate_key(&world, &org, feed).await.expect(201).json();
    assert_eq!(
        (&answer["active"]["id"], &answer["active"]["purpose"]),
        (&json!(next), &json!("feed"))
    );
    let kids = feed_kids(&world).await;
    assert_eq!((kids.len(), &kids[0], &kids[2]), (3, &next, &active));
    assert_ne!(world.tenant(&org).await.keys().hash(), before, "followers are told");
    assert_eq!(signing_keys(&world, &org).await, tokens, "nothing of tokens changes");

    world.clock.advance(FEED_KEY_RETIRING.checked_sub(Duration::from_secs(1)).expect("longer"));
    jobs::rotate_all(&world.server).await;
    assert!(feed_kids(&world).await.contains(&active));
    world.clock.advance(Duration::from_secs(1));
    jobs::rotate_all(&world.server).await;
    assert!(!feed_kids(&world).await.contains(&active));
    let all = keys_of(&world, &org, "feed").await;
    assert!(all.contains(&(active, "retired".to_owned())), "{all:?}");
}

#[tokio::test]
async fn keys_of_attenuable_tokens_rotate_by_themselves_and_end_as_those_of_tokens_do() {
    let world = TestWorld::new(57).await;
    let Scene { org, .. } = world.scene().await;
    let [tokens, feed] = [signing_keys(&world, &org).await, keys_of(&world, &org, "feed").await];
    let kids = async || kids_at(&world, "biscuit-jwks.json").await;
    let [active, next] = kids().await.try_into().expect("two keys");
    let asked = json!({"purpose": "biscuit"});
    rotate_key(&world, &org, asked.clone()).await.problem(409, "state-forbids");
    world.clock.advance(KEY_PUBLISH_AHEAD);
    let before = world.tenant(&org).await.keys().hash();
    let told = rotate_key(&world, &org, asked).await.expect(201).json();
    assert_eq!(
        (&told["active"]["id"], &told["active"]["purpose"]),
        (&json!(next), &json!("biscuit"))
    );
    assert_ne!(world.tenant(&org).await.keys().hash(), before, "followers are told");
    assert_eq!(signing_keys(&world, &org).await, tokens, "nothing of tokens changes");
    assert_eq!(keys_of(&world, &org, "feed").await, feed, "nor of the feed");

    // Until everything that it signed is over.
    world.clock.advance(keep_for().checked_sub(Duration::from_secs(1)).expect("longer"));
    jobs::rotate_all(&world.server).await;
    assert!(kids().await.contains(&active));
    world.clock.advance(Duration::from_secs(1));
    jobs::rotate_all(&world.server).await;
    assert!(!kids().await.contains(&active));

    // What is revoked is published no more, and where nothing follows it may be believed as long.
    let body = json!({"target": next, "reason": "stolen"});
    let told = world.admin(&org, "POST", "/v1/revocations", Some(body)).await.expect(201).json();
    assert!(told["elsewhere"]["believed_until"].is_string(), "{told}");
    let left = kids().await;
    assert!(left.len() == 2 && !left.contains(&next), "{left:?}");
}

#[tokio::test]
async fn the_end_of_a_feed_key_is_told_by_the_next_one_and_it_signs_no_more() {
    let world = TestWorld::new(56).await;
    let Scene { org, .. } = world.scene().await;
    let crm = world.resource_secret(&org, "crm").await;
    let [active, next] = feed_kids(&world).await.try_into().expect("two keys");
    let set = world.ask(Ask::get("/o/acme/.well-known/feed-jwks.json")).await;
    let set = JwkSet::parse(&set.body).expect("a key set");
    let body = json!({"target": active, "reason": "stolen"});
    let answer = world.admin(&org, "POST", "/v1/revocations", Some(body.clone())).await;
    let answer = answer.expect(201).json();
    // It verifies no token anywhere.
    assert!(answer.get("elsewhere").is_none(), "{answer}");
    let told = world.ask(Ask::get("/o/acme/revocations").bearer(&crm.secret)).await.expect(200);
    // Whoever had the key set before knows the key that tells it.
    let signed = SignedMessage::verify(told.text(), &set, &org.issuer).expect("known ahead");
    assert_eq!(signed.signer().map(|key| key.to_string()), Some(next.clone()));
    let entry = signed.message().entries.iter().find(|entry| entry.target.to_string() == active);
    let kept = world.now().plus(REVOKED_FEED_KEY_KEPT).seconds();
    assert!(entry.expect("its end").keep_until >= kept);
    let kids = feed_kids(&world).await;
    assert_eq!((kids.len(), &kids[0]), (2, &next));
    world.admin(&org, "POST", "/v1/revocations", Some(body)).await.problem(409, "state-forbids");
    // The next one, too, is replaced where it leaked before it signed.
    let body = json!({"target": kids[1], "reason": "stolen"});
    world.admin(&org, "POST", "/v1/revocations", Some(body)).await.expect(201);
    let then = feed_kids(&world).await;
    assert_eq!((then.len(), &then[0]), (2, &next));
    assert_ne!(then[1], kids[1]);
}

#[tokio::test]
async fn the_slots_survive_a_restart() {
    let world = TestWorld::new(45).await;
    let Scene { org, .. } = world.scene().await;
    rotate_key(&world, &org, json!({"now": true})).await.expect(201);
    let (before, published) = (signing_keys(&world, &org).await, kids(&world).await);
    let world = world.reopened(46).await;
    assert_eq!(signing_keys(&world, &org).await, before);
    assert_eq!(kids(&world).await, published);
}

#[tokio::test]
async fn rotating_is_bounded_for_each_purpose_by_itself() {
    let world = TestWorld::new(47).await;
    let Scene { org, .. } = world.scene().await;
    let asked = rotate_key(&world, &org, json!({"purpose": "x", "now": true})).await;
    asked.problem(400, "field-invalid");
    for _ in 0..RETIRING_KEYS_MAX {
        rotate_key(&world, &org, json!({"now": true})).await.expect(201);
    }
    rotate_key(&world, &org, json!({"now": true})).await.problem(409, "state-forbids");
    // Each purpose has room of its own.
    rotate_key(&world, &org, json!({"purpose": "feed", "now": true})).await.expect(201);
    assert_eq!(kids(&world).await.len(), RETIRING_KEYS_MAX + 2);
    assert_eq!(feed_kids(&world).await.len(), 3);
    let log = json!({"purpose": "log", "now": true});
    for _ in 0..RETIRING_LOG_KEYS_MAX {
        rotate_key(&world, &org, log.clone()).await.expect(201);
    }
    rotate_key(&world, &org, log).await.problem(409, "state-forbids");
    // Which an administrator cannot end over the feed.
    let active = keys_of(&world, &org, "log").await.pop().expect("a key").0;
    let body = json!({"target": active, "reason": "leaked"});
    let asked = world.admin(&org, "POST", "/v1/revocations", Some(body)).await;
    asked.problem(409, "state-forbids");
    world.clock.advance(keep_for());
    jobs::rotate_all(&world.server).await;
    assert_eq!(kids(&world).await.len(), 2);
    rotate_key(&world, &org, json!({})).await.expect(201);
}

#[tokio::test]
async fn a_revoked_key_is_followed_by_the_one_that_verifiers_know() {
    let world = TestWorld::new(48).await;
    let Scene { org, client, .. } = world.scene().await;
    let [active, next] = kids(&world).await.try_into().expect("two keys");
    let cached = caching_verifier(&world, &org).await;
    let body = json!({"target": active, "reason": "leaked"});
    let answer = world.admin(&org, "POST", "/v1/revocations", Some(body)).await.expect(201).json();
    let elsewhere = &answer["elsewhere"];
    assert_eq!(elsewhere["key_set_max_age"], 60);
    assert_eq!(elsewhere["token_lifetime_max"], 3600);
    let believed_until = world.now().plus(Duration::from_mins(61)).to_string();
    assert_eq!(elsewhere["believed_until"], believed_until);
    let token = world.token(&org, &client, &READ).await.expect(200).member("access_token");
    assert_eq!(crate::header(&token)["kid"], next.as_str());
    let tenant = world.tenant(&org).await;
    cached.set_standing(Standing::current((*tenant.revoked()).clone(), world.now()));
    cached.verify_token(&token, world.now()).expect("known ahead");
    let published = kids(&world).await;
    assert_eq!((published.len(), &published[0]), (2, &next));

    // The next one can leak too: it is replaced, and what signs goes on.
    let body = json!({"target": published[1], "reason": "leaked"});
    world.admin(&org, "POST", "/v1/revocations", Some(body)).await.expect(201);
    let after = kids(&world).await;
    assert_eq!((after.len(), &after[0]), (2, &next));
    assert_ne!(after[1], published[1]);
    // Of anything else no word about copies of the key set.
    let body = json!({"target": client.credential, "reason": "x"});
    let answer = world.admin(&org, "POST", "/v1/revocations", Some(body)).await.expect(201);
    assert!(answer.json().get("elsewhere").is_none());
}

async fn agent(world: &TestWorld, org: &Org) -> Value {
    world.admin(org, "GET", "/v1/agents/planner", None).await.expect(200).json()
}

/// One turn sees all that are due, and looks at nobody else.
#[tokio::test]
async fn a_turn_goes_on_until_nobody_is_due() {
    let world = TestWorld::new(53).await;
    let org = world.found("acme").await;
    world.resource(&org, "crm", &["read"]).await;
    let many = AGENTS_AT_A_TIME_MAX + 20;
    for n in 0..many {
        let name = format!("bot-{n}");
        world.agent(&org, &name, &["crm:read"]).await;
        world.agent_secret(&org, &name, None).await;
    }
    let tenant = world.tenant(&org).await;
    let due = async || {
        let found = world.world.store.agents_due(tenant.id, world.now(), 10_000).await;
        found.expect("a readable store").len()
    };
    // Nobody is looked at before there is something to see.
    assert_eq!(due().await, 0);
    world.clock.advance(22 * DAY);
    assert_eq!(due().await, 0);
    world.clock.advance(DAY);
    assert_eq!(due().await, many);
    let cx = world.cx(&org).await;
    assert_eq!(rotation_schedule::tick(&cx).await.expect("a turn"), many as u64);
    assert_eq!(due().await, 0);
    // What changes when it is due has an agent looked at: its schedule, its credentials, its life.
    let patch = |body: Value| world.admin(&org, "PATCH", "/v1/agents/bot-0", Some(body));
    patch(json!({"rotation_days": 300})).await.expect(200);
    assert_eq!(due().await, 1);
    assert_eq!(rotation_schedule::tick(&cx).await.expect("a turn"), 0);
    assert_eq!(due().await, 0);
    world.clock.advance(269 * DAY);
    assert_eq!(due().await, 0);
    world.clock.advance(DAY);
    assert_eq!(due().await, 1);
    let cx = world.cx(&org).await;
    assert_eq!(rotation_schedule::tick(&cx).await.expect("a turn"), 1);
    let fresh = world.agent_secret(&org, "bot-0", None).await;
    assert_eq!(rotation_schedule::tick(&cx).await.expect("a turn"), 0);
    // Without the newest the older one counts again.
    world.revoke(&org, &fresh.credential).await.expect("revoked");
    assert_eq!(due().await, 1);
    rotation_schedule::tick(&cx).await.expect("a turn");
    assert_eq!(due().await, 0);
}

#[tokio::test]
async fn an_agent_is_warned_of_before_it_is_due_and_due_until_it_rotates() {
    let world = TestWorld::new(49).await;
    let Scene { org, client, .. } = world.scene().await;
    let warnings = async || {
        jobs::rotate_all(&world.server).await;
        events(&world, &org, "credential.rotation_due").await.len()
    };
    let made = agent(&world, &org).await;
    assert_eq!((&made["rotation_days"], &made["rotation_due"]), (&json!(30), &json!(false)));
    assert!(made["rotation_due_at"].is_string());
    world.clock.advance(22 * DAY);
    assert_eq!(warnings().await, 0);
    world.clock.advance(DAY);
    assert_eq!(warnings().await, 1);
    assert_eq!(warnings().await, 1, "once");
    assert_eq!(agent(&world, &org).await["rotation_due"], false);

    rotate(&world, &org, &client.credential, json!({})).await.expect(201);
    world.clock.advance(8 * DAY);
    assert_eq!(agent(&world, &org).await["rotation_due"], false);
    assert_eq!(warnings().await, 1);
    world.clock.advance(15 * DAY);
    assert_eq!(warnings().await, 2, "for the successor");
    world.clock.advance(7 * DAY);
    assert_eq!(agent(&world, &org).await["rotation_due"], true);
    let listed = world.admin(&org, "GET", "/v1/agents", None).await.expect(200).json();
    assert_eq!(listed["items"][0]["rotation_due"], true);
    assert_eq!(warnings().await, 2);
}

/// A secret for a further use is no rotation of the first.
#[tokio::test]
async fn an_agent_is_due_when_any_of_its_uses_is() {
    let world = TestWorld::new(54).await;
    let Scene { org, client, .. } = world.scene().await;
    let due_at = async || agent(&world, &org).await["rotation_due_at"].clone();
    let first = due_at().await;
    world.clock.advance(10 * DAY);
    let ci = json!({
        "agent": "planner", "type": "client-secret", "use": "ci", "expires_in": 25 * 86_400,
    });
    let ci = world.admin(&org, "POST", "/v1/credentials", Some(ci)).await.expect(201);
    assert_eq!(due_at().await, first, "the new use does not stand for the old one");
    world.clock.advance(13 * DAY);
    jobs::rotate_all(&world.server).await;
    assert_eq!(events(&world, &org, "credential.rotation_due").await.len(), 1);
    // A change of the agent asks for both.
    let owner = json!({"owner_email": "new@example.com"});
    world.admin(&org, "PATCH", "/v1/agents/planner", Some(owner)).await.expect(200);
    world.advance(1);
    rotate(&world, &org, &client.credential, json!({})).await.expect(201);
    let half = agent(&world, &org).await;
    assert!(half["rotation_asked_at"].is_string() && half["rotation_due"] == true, "{half}");
    // What was made to end before it would be due is over, and not to be rotated.
    world.clock.advance(13 * DAY);
    let path = format!("/v1/credentials/{}", ci.member("id"));
    assert_eq!(world.admin(&org, "GET", &path, None).await.member("state"), "expired");
    let whole = agent(&world, &org).await;
    assert!(whole["rotation_asked_at"].is_null() && whole["rotation_due"] == false, "{whole}");
    assert_ne!(whole["rotation_due_at"], first);
    // What lived until it was due and was not rotated stays due, whatever else there is.
    world.clock.advance(16 * DAY);
    world.agent_secret(&org, "planner", None).await;
    assert_eq!(agent(&world, &org).await["rotation_due"], false);
    world.clock.advance(2 * DAY);
    assert_eq!(agent(&world, &org).await["rotation_due"], true);
}

#[tokio::test]
async fn a_schedule_is_an_agents_own_and_bounded() {
    let world = TestWorld::new(50).await;
    let Scene { org, .. } = world.scene().await;
    let patch = async |days: Value| {
        let body = Some(json!({"rotation_days": days}));
        world.admin(&org, "PATCH", "/v1/agents/planner", body).await
    };
    for days in [json!(0), json!(367), json!(-1), json!("30")] {
        patch(days).await.problem(400, "field-invalid");
    }
    world.clock.advance(10 * DAY);
    let changed = patch(json!(10)).await.expect(200).json();
    assert_eq!((&changed["rotation_days"], &changed["rotation_due"]), (&json!(10), &json!(true)));
    let shown = agent(&world, &org).await;
    assert_eq!(changed["rotation_due_at"], shown["rotation_due_at"]);
    assert_eq!(shown["rotation_due"], true);
    // Who has no credential of its own has nothing to rotate.
    world.agent(&org, "bare", &["crm:read"]).await;
    world.instance(&org, "bare", None).await;
    let bare = world.admin(&org, "GET", "/v1/agents/bare", None).await.expect(200).json();
    assert_eq!(bare["rotation_due_at"], Value::Null);
}

/// A change that asks for rotation: what is sent, where to, and what is said of it.
fn changes() -> [(&'static str, &'static str, Value, &'static str); 3] {
    let permission = "/v1/agents/planner/permissions/crm";
    [
        ("PATCH", "/v1/agents/planner", json!({"owner_email": "new@example.com"}), "owner"),
        ("PATCH", "/v1/agents/planner", json!({"environment": "prod"}), "environment"),
        ("PUT", permission, json!({"actions": ["read"]}), "permissions"),
    ]
}

#[tokio::test]
async fn a_change_of_what_a_credential_stands_for_asks_for_its_rotation() {
    for (method, path, body, what) in changes() {
        let world = TestWorld::new(52).await;
        let Scene { org, client, .. } = world.scene().await;
        world.clock.advance(DAY);
        let changed = world.admin(&org, method, path, Some(body)).await.expect(200).json();
        let because = changed["rotation_asked_because"].as_str().unwrap_or_default();
        assert!(because.contains(what), "{what}: {changed}");
        assert_eq!(changed["rotation_due"], true, "at once");
        let shown = agent(&world, &org).await;
        assert_eq!(shown["rotation_asked_at"], changed["rotation_asked_at"]);
        assert_eq!(shown["rotation_due_at"], changed["rotation_asked_at"]);
        jobs::rotate_all(&world.server).await;
        assert_eq!(events(&world, &org, "credential.rotation_due").await.len(), 1, "{what}");
        // Nothing but a warning follows, unless the organization wants more.
        world.clock.advance(3 * DAY);
        if what != "environment" {
            world.token(&org, &client, &READ).await.expect(200);
        }
        rotate(&world, &org, &client.credential, json!({})).await.expect(201);
        let shown = agent(&world, &org).await;
        assert_eq!(
            (&shown["rotation_asked_at"], &shown["rotation_due"]),
            (&Value::Null, &json!(false))
        );
    }
}

#[tokio::test]
async fn where_rotation_is_enforced_an_older_credential_gets_nothing_a_day_after_a_change() {
    let world = TestWorld::new(53).await;
    let Scene { org, client, .. } = world.scene().await;
    let copy = world.instance(&org, "planner", None).await;
    let policy = async |policy: Value| {
        let body = Some(json!({"rotation_policy": policy}));
        world.admin(&org, "PATCH", "/v1/orgs/acme", body).await
    };
    policy(json!("always")).await.problem(400, "field-invalid");
    let told = policy(json!("enforce")).await.expect(200).json();
    assert_eq!(told["rotation_policy"], "enforce");
    world.clock.advance(DAY);
    world.token(&org, &client, &READ).await.expect(200);
    let body = Some(json!({"owner_email": "new@example.com"}));
    world.admin(&org, "PATCH", "/v1/agents/planner", body).await.expect(200);
    world.advance(86_399);
    world.token(&org, &client, &READ).await.expect(200);
    world.advance(1);
    let refused = world.token(&org, &client, &READ).await;
    refused.refused(400, "unauthorized_client", "rotation-required");
    world.token(&org, &copy, &READ).await.expect(200);
    policy(json!("warn")).await.expect(200);
    world.token(&org, &client, &READ).await.expect(200);
    policy(json!("enforce")).await.expect(200);
    world.token(&org, &client, &READ).await.expect(400);
    let rotated = rotate(&world, &org, &client.credential, json!({})).await.expect(201);
    let secret = rotated.member("client_secret");
    let new = Client { credential: rotated.member("id"), secret, ..client.clone() };
    world.token(&org, &new, &READ).await.expect(200);
    world.token(&org, &client, &READ).await.refused(
        400,
        "unauthorized_client",
        "rotation-required",
    );
}

async fn identify(world: &TestWorld, bearer: &str, secret: &str) -> Answer {
    let ask = Ask::post("/v1/credentials/identify").bearer(bearer);
    world.ask(ask.json(&json!({"secret": secret}))).await
}

#[tokio::test]
async fn a_found_secret_is_told_to_its_own_organization_only() {
    let world = TestWorld::new(51).await;
    let Scene { org, client, .. } = world.scene().await;
    world.token(&org, &client, &READ).await.expect(200);
    let answer = identify(&world, &org.admin, &client.secret).await.expect(200);
    let told = answer.json();
    assert_eq!(told["credential"]["id"], client.credential);
    assert_eq!(told["credential"]["agent"], client.id);
    assert_eq!(told["credential"]["state"], "active");
    let kinds: Vec<&str> = told["events"]
        .as_array()
        .expect("events")
        .iter()
        .map(|event| event["type"].as_str().expect("a type"))
        .collect();
    assert_eq!(kinds, ["credential.created"]);
    assert_eq!((&told["tokens_issued"], &told["looked_back_to"]), (&json!(1), &Value::Null));
    assert_eq!(told["last_issued"]["payload"]["credential"], client.credential);
    let secret = client.secret.split('_').nth(3).expect("the secret part").to_owned();
    assert!(!answer.text().contains(&secret));
    let told = events(&world, &org, "credential.identified").await;
    assert_eq!(told.len(), 1);
    assert_eq!(told[0]["payload"]["target"], client.credential);
    assert!(!told[0].to_string().contains(&secret));

    // Another organization's, a forged one and an unknown one look the same.
    let other = world.found("other").await;
    let foreign = identify(&world, &other.admin, &client.secret).await;
    foreign.problem(404, "not-found");
    let mut forged = client.secret.clone();
    forged.replace_range(forged.len() - 6.., "000000");
    let forged = identify(&world, &org.admin, &forged).await;
    let unknown = identify(&world, &org.admin, "acr_agent_x").await;
    let said = |answer: &Answer| answer.json()["detail"].clone();
    for answer in [&forged, &unknown] {
        answer.problem(404, "not-found");
        assert_eq!(said(answer), said(&foreign));
    }
    assert_eq!(events(&world, &other, "credential.identified").await.len(), 0);
    assert_eq!(events(&world, &org, "credential.identified").await.len(), 1);

    // What has ended is told as ended: that it leaked still matters.
    world.revoke(&org, &client.credential).await.expect("revoked");
    let told = identify(&world, &org.admin, &client.secret).await.expect(200).json();
    assert_eq!(told["credential"]["state"], "revoked");
    assert_eq!(told["events"][0]["type"], "credential.revoked");
}

#[tokio::test]
async fn what_a_busy_secret_did_is_not_all_that_is_told_of_it() {
    let world = TestWorld::new(52).await;
    let Scene { org, client, .. } = world.scene().await;
    for _ in 0..2 * EVENTS_TOLD_MAX {
        world.token(&org, &client, &READ).await.expect(200);
        world.advance(1);
    }
    world.token(&org, &client, &[("scope", "crm:delete")]).await.expect(400);
    world.revoke(&org, &client.credential).await.expect("revoked");
    let told = identify(&world, &org.admin, &client.secret).await.expect(200).json();
    let kinds: Vec<_> = told["events"].as_array().expect("events").iter().collect();
    let kinds: Vec<_> = kinds.iter().map(|event| event["type"].as_str().expect("a type")).collect();
    assert_eq!(kinds, ["credential.revoked", "token.refused", "credential.created"]);
    assert_eq!(told["tokens_issued"], 2 * EVENTS_TOLD_MAX);
    let last = told["last_issued"]["time"].as_str().expect("a time");
    assert!(last < world.now().to_string().as_str());
}

/// Takes the next key away, as if the store had been written before there were any.
async fn without_next(world: &TestWorld, org: &Org) {
    let cx = world.cx(org).await;
    let keys = world.world.store.signing_keys(cx.tenant.id).await.expect("read");
    let is_next =
        |key: &SigningKey| (key.sealed.purpose, key.state) == (KeyPurpose::Token, KeyState::Next);
    let next = keys.into_iter().find(is_next).expect("a next key");
    let rows = vec![Row::Key(next.turned(KeyState::Revoked, cx.now))];
    let change =
        Change { org: cx.tenant.id, at: cx.now, rows, revocation: None, quotas: Quotas::default() };
    let event = cx.event(EventKind::KeyRevoked, Body::default());
    world.world.store.commit(Audited::new(change, event)).await.expect("committed");
}

#[tokio::test]
async fn a_store_that_has_no_next_key_yet_gets_one_from_the_job() {
    let world = TestWorld::new(52).await;
    let Scene { org, client, .. } = world.scene().await;
    without_next(&world, &org).await;
    let [active] = kids(&world).await.try_into().expect("one key");
    world.clock.advance(KEY_PUBLISH_AHEAD);
    rotate_key(&world, &org, json!({})).await.problem(409, "state-forbids");
    jobs::rotate_all(&world.server).await;
    jobs::rotate_all(&world.server).await;
    let published = kids(&world).await;
    assert_eq!((published.len(), &published[0]), (2, &active));
    assert_eq!(events(&world, &org, "key.created").await.len(), 1);
    rotate_key(&world, &org, json!({})).await.problem(409, "state-forbids");
    world.clock.advance(KEY_PUBLISH_AHEAD);
    rotate_key(&world, &org, json!({})).await.expect(201);

    // Without one, at once: a new key signs, and another is the next.
    without_next(&world, &org).await;
    let answer = rotate_key(&world, &org, json!({"now": true})).await.expect(201).json();
    let token = world.token(&org, &client, &READ).await.expect(200).member("access_token");
    assert_eq!(crate::header(&token)["kid"], answer["active"]["id"]);
}
