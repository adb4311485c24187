//! Token Status List: what a resource server reads that follows no feed, with nothing of ours but the
//! published keys.

use std::collections::BTreeSet;

use accredit_domain::status_list::{
    CACHED_SECONDS, KNOWN_WITHIN_SECONDS, REMADE_EVERY, SERVED_MAX, TTL_SECONDS,
};
use accredit_testkit::{Answer, Ask, Client, Org, Scene, TestWorld};
use accredit_wire::jose::jwk::JwkSet;
use accredit_wire::status_list::{Reference, Status, StatusList};
use serde_json::{Value, json};

use crate::{claims, header};

const READ: (&str, &str) = ("scope", "crm:read");

/// Has a resource's tokens placed in lists.
pub(crate) async fn opt_in(world: &TestWorld, org: &Org, resource: &str) {
    let path = format!("/v1/resources/{resource}");
    let body = Some(json!({"status_list": true}));
    let changed = world.admin(org, "PATCH", &path, body).await.expect(200);
    assert_eq!(changed.json()["status_list"], true);
}

async fn token(world: &TestWorld, org: &Org, client: &Client) -> String {
    world.token(org, client, &[READ]).await.expect(200).member("access_token")
}

/// Where a token says that its status is.
pub(crate) fn place(token: &str) -> Reference {
    let said = &claims(token)["status"]["status_list"];
    let uri = said["uri"].as_str().expect("a URI").to_owned();
    let index = said["idx"].as_u64().expect("an index");
    Reference { uri, index: u32::try_from(index).expect("an index") }
}

fn path_of(uri: &str) -> &str {
    uri.strip_prefix("https://id.example").expect("under the public URL")
}

async fn fetch(world: &TestWorld, uri: &str) -> Answer {
    world.ask(Ask::get(path_of(uri))).await
}

/// What the list says of a token now, to who checks it as the standard says.
pub(crate) async fn status(world: &TestWorld, org: &Org, token: &str) -> Status {
    let place = place(token);
    let keys = world.ask(Ask::get(org.path("/.well-known/jwks.json"))).await.expect(200).body;
    let keys = JwkSet::parse(&keys).expect("a key set");
    let text = fetch(world, &place.uri).await.expect(200);
    let list = StatusList::read(text.text(), &keys, &place.uri, world.now()).expect("believed");
    list.status(&place, world.now()).expect("an entry")
}

#[tokio::test]
async fn only_a_resource_that_asks_for_it_has_its_tokens_in_a_list() {
    let world = TestWorld::new(701).await;
    let Scene { org, client, .. } = world.scene().await;
    let plain = token(&world, &org, &client).await;
    assert!(claims(&plain).get("status").is_none());
    let none = world.ask(Ask::get(org.path("/status-lists"))).await.expect(200).json();
    assert_eq!(none["status_lists"], json!([]));

    opt_in(&world, &org, "crm").await;
    let listed = token(&world, &org, &client).await;
    assert_eq!(status(&world, &org, &listed).await, Status::Valid);
    let metadata = Ask::get(org.path("/.well-known/openid-configuration"));
    let metadata = world.ask(metadata).await.expect(200).json();
    let endpoint = metadata["status_list_aggregation_endpoint"].as_str().expect("an endpoint");
    let named = world.ask(Ask::get(path_of(endpoint))).await.expect(200).json();
    assert_eq!(named["status_lists"], json!([place(&listed).uri]));
    // An attenuable token is for our Verifier, which follows the feed.
    let wanted = ("requested_token_type", accredit_wire::biscuit::TOKEN_TYPE);
    let biscuit = world.token(&org, &client, &[READ, wanted]).await.expect(200);
    let biscuit = biscuit.member("access_token");
    let told = crate::attenuable::read(&world, &org, "biscuit-jwks", &biscuit);
    assert!(told.await.expect("ours").token().status.is_none());

    let body = Some(json!({"status_list": false}));
    world.admin(&org, "PATCH", "/v1/resources/crm", body).await.expect(200);
    assert!(claims(&token(&world, &org, &client).await).get("status").is_none());
    assert_eq!(status(&world, &org, &listed).await, Status::Valid, "those that live go on");
}

#[tokio::test]
async fn a_kill_is_in_the_list_within_the_bound_and_nobody_elses_token_is() {
    let world = TestWorld::new(702).await;
    let Scene { org, client, .. } = world.scene().await;
    opt_in(&world, &org, "crm").await;
    let other = world.instance(&org, "planner", None).await;
    let (mine, others) = (token(&world, &org, &client).await, token(&world, &org, &other).await);
    assert_eq!(status(&world, &org, &mine).await, Status::Valid);
    world.revoke(&org, &client.credential).await.expect("revoked");
    // What was just made is served for a moment, and no longer.
    world.advance(REMADE_EVERY.as_secs());
    assert_eq!(status(&world, &org, &mine).await, Status::Invalid);
    assert_eq!(status(&world, &org, &others).await, Status::Valid);
    let kept = REMADE_EVERY.as_secs() as u32 + CACHED_SECONDS + TTL_SECONDS;
    assert_eq!(KNOWN_WITHIN_SECONDS, kept, "nobody has to be believed for longer");

    // Dead is dead: also once whatever was suspended goes on.
    let id = claims(&others)["client_id"].as_str().expect("an agent").to_owned();
    world.revoke(&org, &id).await.expect("suspended");
    let path = format!("/v1/agents/{id}/activate");
    world.admin(&org, "POST", &path, Some(json!({"reason": "a test"}))).await.expect(200);
    world.advance(REMADE_EVERY.as_secs());
    assert_eq!(status(&world, &org, &others).await, Status::Invalid);
    let again = token(&world, &org, &other).await;
    assert_eq!(status(&world, &org, &again).await, Status::Valid);
}

#[tokio::test]
async fn a_list_is_served_as_the_standard_says() {
    let world = TestWorld::new(703).await;
    let Scene { org, client, .. } = world.scene().await;
    opt_in(&world, &org, "crm").await;
    let uri = place(&token(&world, &org, &client).await).uri;
    let first = fetch(&world, &uri).await.expect(200);
    assert_eq!(first.header("content-type"), "application/statuslist+jwt");
    assert_eq!(first.header("cache-control"), format!("public, max-age={CACHED_SECONDS}"));
    assert_eq!(first.header("access-control-allow-origin"), "*");
    let (head, said) = (header(first.text()), claims(first.text()));
    assert_eq!((&head["typ"], &head["alg"]), (&json!("statuslist+jwt"), &json!("ES256")));
    assert_eq!((&said["sub"], &said["ttl"]), (&json!(uri), &json!(TTL_SECONDS)));
    assert_eq!(said["status_list"]["bits"], 1);
    let (iat, exp) = (said["iat"].as_i64().expect("iat"), said["exp"].as_i64().expect("exp"));
    assert!(iat <= world.now().seconds() && exp >= world.now().seconds() + i64::from(TTL_SECONDS));

    let tag = first.header("etag").to_owned();
    for known in [tag.clone(), format!("W/{tag}"), format!("\"other\", {tag}"), "*".to_owned()] {
        let ask = Ask::get(path_of(&uri)).header("if-none-match", &known);
        let again = world.ask(ask).await.expect(304);
        assert_eq!((again.header("etag"), again.body.len()), (&*tag, 0));
    }
    let ask = Ask::get(path_of(&uri)).header("if-none-match", "\"other\"");
    assert_eq!(world.ask(ask).await.expect(200).body, first.body);
    // It is signed anew before its `ttl` could outlast it.
    world.advance(60);
    let later = fetch(&world, &uri).await.expect(200);
    let end = claims(later.text())["exp"].as_i64().expect("exp");
    assert!(end >= world.now().seconds() + i64::from(TTL_SECONDS));

    world.ask(Ask::get(format!("{}?time=1763717400", path_of(&uri)))).await.expect(501);
}

#[tokio::test]
async fn a_list_that_is_not_or_is_another_organizations_is_not_found() {
    let world = TestWorld::new(704).await;
    let Scene { org, client, .. } = world.scene().await;
    opt_in(&world, &org, "crm").await;
    let uri = place(&token(&world, &org, &client).await).uri;
    let other = world.found("other").await;
    let id = uri.rsplit('/').next().expect("an id");
    for path in [
        other.path(&format!("/status-lists/{id}")),
        org.path(&format!("/status-lists/{}", id.replacen("g1", "g2", 1))),
        org.path(&format!("/status-lists/{}", id.to_uppercase())),
        org.path("/status-lists/g1-0000000000000000"),
        org.path("/status-lists/nothing"),
        "/o/nobody/status-lists".to_owned(),
        format!("/o/nobody/status-lists/{id}"),
    ] {
        assert_eq!(world.ask(Ask::get(&path)).await.status, 404, "{path}");
    }
    assert_eq!(world.server.status_lists.kept(), 0, "nothing is kept of what is not there");
    let none = world.ask(Ask::get(other.path("/status-lists"))).await.expect(200).json();
    assert_eq!(none["status_lists"], json!([]));
}

#[tokio::test]
async fn places_are_drawn_and_a_list_is_gone_with_its_tokens() {
    let world = TestWorld::new(705).await;
    let Scene { org, client, .. } = world.scene().await;
    opt_in(&world, &org, "crm").await;
    let mut given = Vec::new();
    for _ in 0..40 {
        given.push(place(&token(&world, &org, &client).await));
    }
    let lists: BTreeSet<&str> = given.iter().map(|place| &*place.uri).collect();
    let indexes: Vec<u32> = given.iter().map(|place| place.index).collect();
    let distinct: BTreeSet<u32> = indexes.iter().copied().collect();
    assert_eq!((lists.len(), distinct.len()), (1, 40));
    let steps = indexes.windows(2).filter(|pair| pair[1] > pair[0]).count();
    assert!((5..35).contains(&steps), "in no order: {indexes:?}");
    assert!(indexes.windows(2).all(|pair| pair[0].abs_diff(pair[1]) != 1), "{indexes:?}");

    let uri = given[0].uri.clone();
    fetch(&world, &uri).await.expect(200);
    // As long as a verifier whose clock is behind takes one.
    let life = i64::from(accredit_domain::issuance::TOKEN_LIFETIME_DEFAULT_SECONDS);
    let end = world.now().plus(std::time::Duration::from_secs(life as u64 + 60));
    world.world.store.forget_before(end).await.expect("forgotten");
    world.advance(life as u64);
    fetch(&world, &uri).await.expect(200);
    world.advance(61);
    world.world.store.forget_before(world.now()).await.expect("forgotten");
    // What was made just before is served for a while, and no longer.
    world.advance(SERVED_MAX.as_secs());
    fetch(&world, &uri).await.expect(404);
    let named = world.ask(Ask::get(org.path("/status-lists"))).await.expect(200).json();
    assert_eq!((&named["status_lists"], world.server.status_lists.kept()), (&json!([]), 0));
}

#[tokio::test]
async fn a_list_outlives_its_process_and_no_generation() {
    let world = TestWorld::new(706).await;
    let Scene { org, client, .. } = world.scene().await;
    opt_in(&world, &org, "crm").await;
    let before = token(&world, &org, &client).await;
    let world = world.reopened(7060).await;
    let after = token(&world, &org, &client).await;
    assert_ne!(place(&before).uri, place(&after).uri, "no two processes give places of one list");
    assert_eq!(status(&world, &org, &before).await, Status::Valid);
    world.revoke(&org, &client.credential).await.expect("revoked");
    world.advance(REMADE_EVERY.as_secs());
    assert_eq!(status(&world, &org, &before).await, Status::Invalid);
    assert_eq!(status(&world, &org, &after).await, Status::Invalid);
    // After a restore, rows may be missing: the list is not there, and so nobody takes its tokens.
    let world = world.restored(&org, 7061).await;
    for token in [before, after] {
        fetch(&world, &place(&token).uri).await.expect(404);
    }
}

#[tokio::test]
async fn a_list_is_signed_by_a_key_that_is_believed() {
    let world = TestWorld::new(707).await;
    let Scene { org, client, .. } = world.scene().await;
    opt_in(&world, &org, "crm").await;
    let old = token(&world, &org, &client).await;
    let uri = place(&old).uri;
    let kid = |answer: &Answer| header(answer.text())["kid"].clone();
    let first = kid(&fetch(&world, &uri).await.expect(200));
    assert_eq!(first, header(&old)["kid"]);
    world.revoke(&org, first.as_str().expect("a kid")).await.expect("revoked");
    // At once: what the revoked key signed is believed no more.
    assert_ne!(kid(&fetch(&world, &uri).await.expect(200)), first);
    assert_eq!(status(&world, &org, &old).await, Status::Invalid);
}

#[tokio::test]
async fn a_list_is_no_access_token() {
    let world = TestWorld::new(708).await;
    let Scene { org, client, .. } = world.scene().await;
    opt_in(&world, &org, "crm").await;
    let token = token(&world, &org, &client).await;
    let list = fetch(&world, &place(&token).uri).await.expect(200).text().to_owned();
    let tenant = world.tenant(&org).await;
    assert!(tenant.verifier.alive(&list, world.now()).is_err());
    let ask =
        Ask::post(org.path("/oauth/introspect")).bearer(&org.admin).form(&[("token", &*list)]);
    assert_eq!(world.ask(ask).await.expect(200).json(), json!({"active": false}));
    // Nor is a token a list.
    let keys = tenant.keys();
    let uri = place(&token).uri;
    assert!(StatusList::read(&token, keys.token_jwks(), &uri, world.now()).is_err());
    let said: Value = claims(&list);
    assert!(said.get("aud").is_none() && said.get("accredit").is_none());
}
