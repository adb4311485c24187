//! A revoked signing key in its thief's hands is of no use at the server either, and its end does
//! not depend on a successor.

use accredit_domain::audit::event::{Body, EventKind};
use accredit_domain::keys::KeyState;
use accredit_domain::ports::{Audited, Change, Row};
use accredit_domain::registry::quota::Quotas;
use accredit_domain::revocation::Revocation;
use accredit_domain::tenant::ActiveKey;
use accredit_testkit::fixture::Scene;
use accredit_testkit::{Ask, Client, Org, TestWorld};
use accredit_wire::ids::RevocationId;
use accredit_wire::jose::jws::SigningInput;
use accredit_wire::token::AccessToken;
use serde_json::json;

const READ: [(&str, &str); 1] = [("scope", "crm:read")];

/// A good token, and what a thief of the key makes of it who writes the newest `rev`.
async fn forged(world: &TestWorld, org: &Org, good: &str, key: &ActiveKey) -> String {
    let payload = serde_json::to_vec(&crate::claims(good)).expect("JSON");
    let mut token = AccessToken::parse(&payload, key.id).expect("claims");
    token.rev = world.tenant(org).await.rev();
    let input = SigningInput::new(&key.header, &token.to_payload()).expect("an input");
    let signature = world.world.vault.sign(&key.sealed, input.bytes()).await.expect("signed");
    input.finish(&signature)
}

async fn is_active(world: &TestWorld, org: &Org, crm: &Client, token: &str) -> bool {
    let ask = Ask::post(org.path("/oauth/introspect")).basic(crm).form(&[("token", token)]);
    world.ask(ask).await.expect(200).json()["active"] == true
}

async fn published(world: &TestWorld, org: &Org) -> String {
    world.ask(Ask::get(org.path("/.well-known/jwks.json"))).await.expect(200).text().to_owned()
}

#[tokio::test]
async fn what_a_thief_signs_as_newer_than_the_revocation_is_refused() {
    let world = TestWorld::new(53).await;
    let Scene { org, client, .. } = world.scene().await;
    let crm = world.resource_secret(&org, "crm").await;
    let good = world.token(&org, &client, &READ).await.expect(200).member("access_token");
    let key = world.tenant(&org).await.token_key();
    let before = forged(&world, &org, &good, &key).await;
    assert!(is_active(&world, &org, &crm, &before).await, "the forgery is a good one");
    let body = json!({"target": key.id.to_string(), "reason": "stolen"});
    world.admin(&org, "POST", "/v1/revocations", Some(body)).await.expect(201);
    for token in [&good, &before, &forged(&world, &org, &good, &key).await] {
        assert!(!is_active(&world, &org, &crm, token).await);
    }
    let successor = world.token(&org, &client, &READ).await.expect(200).member("access_token");
    assert!(is_active(&world, &org, &crm, &successor).await);
}

#[tokio::test]
async fn a_revoked_key_is_believed_no_more_where_nothing_follows_it() {
    let world = TestWorld::new(54).await;
    let Scene { org, client, .. } = world.scene().await;
    let crm = world.resource_secret(&org, "crm").await;
    let good = world.token(&org, &client, &READ).await.expect(200).member("access_token");
    let cx = world.cx(&org).await;
    let held = cx.tenant.keys();
    let key = cx.tenant.token_key();
    // No decision writes this: the active key ends, and none becomes active.
    let row = held.all().iter().find(|row| row.sealed.id == key.id).expect("its row").clone();
    let entry = Revocation {
        id: RevocationId::new(world.now().millis(), [1; 10]),
        target: key.id.any(),
        rev: 0,
        reason: "stolen".to_owned(),
        revoked_at: world.now(),
        keep_until: world.now().plus(std::time::Duration::from_hours(1)),
        ends_at: None,
    };
    let rows = vec![Row::Key(row.turned(KeyState::Revoked, cx.now))];
    let change = Change {
        org: cx.tenant.id,
        at: cx.now,
        rows,
        revocation: Some(entry),
        quotas: Quotas::default(),
    };
    let event = cx.event(EventKind::KeyRevoked, Body::default());
    world.world.store.commit(Audited::new(change, event)).await.expect("committed");

    let newer = forged(&world, &org, &good, &key).await;
    for token in [&good, &newer] {
        assert!(!is_active(&world, &org, &crm, token).await);
    }
    assert!(!published(&world, &org).await.contains(&key.id.to_string()));
}
