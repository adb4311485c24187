//! Biscuit v3: tokens that their holder narrows offline, as the server issues them and takes them
//! back.

use accredit_testkit::{Ask, Org, Scene, TestWorld};
use accredit_wire::biscuit::{self, Attenuable, BiscuitError};
use accredit_wire::jose::jwk::JwkSet;
use accredit_wire::verify::KeyRing;
use serde_json::json;

use crate::{claims, events};

const READ: (&str, &str) = ("scope", "crm:read");
const WANTED: (&str, &str) = ("requested_token_type", biscuit::TOKEN_TYPE);

/// A published key set of the organization.
async fn published(world: &TestWorld, org: &Org, name: &str) -> JwkSet {
    let path = org.path(&format!("/.well-known/{name}.json"));
    JwkSet::parse(&world.ask(Ask::get(path)).await.expect(200).body).expect("a key set")
}

/// What a third party reads of a token with nothing but a published key set.
async fn read(
    world: &TestWorld,
    org: &Org,
    set: &str,
    text: &str,
) -> Result<Attenuable, BiscuitError> {
    let set = published(world, org, set).await;
    let keys = set.keys().iter().filter_map(|key| Some((key.kid.parse().ok()?, &key.key)));
    biscuit::verify(text, keys)
}

#[tokio::test]
async fn a_client_that_asks_for_one_gets_it_and_the_published_keys_verify_it() {
    let world = TestWorld::new(601).await;
    let Scene { org, client, planner, .. } = world.scene().await;
    let answer = world.token(&org, &client, &[READ, WANTED]).await.expect(200).json();
    assert_eq!(answer["issued_token_type"], biscuit::TOKEN_TYPE);
    assert_eq!((&answer["token_type"], &answer["scope"]), (&json!("Bearer"), &json!("crm:read")));
    let text = answer["access_token"].as_str().expect("a token");
    let said = read(&world, &org, "biscuit-jwks", text).await.expect("signed by a published key");
    let token = said.token();
    assert_eq!((token.issuer.as_str(), token.client_id), (org.issuer.as_str(), planner.id));
    assert_eq!(token.scope.to_string(), "crm:read");
    assert_eq!(token.expires_at - token.issued_at, answer["expires_in"].as_i64().expect("life"));
    assert_eq!(said.minted_for(), planner.id);
    assert_eq!((said.narrowings().len(), said.unnamed_narrowings()), (0, 0));

    let event = events(&world, &org, "token.issued").await.pop().expect("an event");
    let told = &event["payload"];
    assert_eq!((&told["format"], &told["token"]), (&json!("biscuit"), &json!(token.id)));
    assert_eq!(told["key"], json!(token.key));
    let block = told["block"].as_str().expect("its first block").to_owned();
    assert!(token.lineage().any(|id| id.to_string() == block), "{block}");

    // Who asks for nothing gets what it always got, and is told no more.
    let answer = world.token(&org, &client, &[READ]).await.expect(200).json();
    assert!(answer.get("issued_token_type").is_none(), "{answer}");
    let jwt = answer["access_token"].as_str().expect("a token");
    assert_eq!(claims(jwt)["scope"], "crm:read");
    let event = events(&world, &org, "token.issued").await.pop().expect("an event");
    assert!(event["payload"].get("format").is_none() && event["payload"].get("block").is_none());
    for named in ["access_token", "jwt"] {
        let named = format!("urn:ietf:params:oauth:token-type:{named}");
        let form = [READ, ("requested_token_type", &named)];
        let answer = world.token(&org, &client, &form).await.expect(200).json();
        assert_eq!(answer["issued_token_type"], named);
        claims(answer["access_token"].as_str().expect("a token"));
    }
}

#[tokio::test]
async fn a_type_that_is_not_known_is_refused_by_name() {
    let world = TestWorld::new(602).await;
    let Scene { org, client, .. } = world.scene().await;
    for named in ["biscuit", "urn:ietf:params:oauth:token-type:biscuit", "", "URN:accredit"] {
        let form = [READ, ("requested_token_type", named)];
        let answer = world.token(&org, &client, &form).await;
        if named.is_empty() {
            // RFC 6749 section 3.2: sent without a value, it is as if it were not sent.
            answer.expect(200);
            continue;
        }
        answer.refused(400, "invalid_request", "token-type-unsupported");
        assert!(answer.member("hint").contains(biscuit::TOKEN_TYPE));
    }
    let twice = [READ, WANTED, WANTED];
    assert_eq!(world.token(&org, &client, &twice).await.status, 400);
}

/// STANDARDS 15, item 8: a key of one format, or of another purpose, verifies nothing of the other.
#[tokio::test]
async fn no_key_of_another_purpose_verifies_one() {
    let world = TestWorld::new(603).await;
    let Scene { org, client, .. } = world.scene().await;
    let text = world.token(&org, &client, &[READ, WANTED]).await.expect(200);
    let text = text.member("access_token");
    for set in ["jwks", "feed-jwks"] {
        let said = read(&world, &org, set, &text).await;
        assert_eq!(said.err(), Some(BiscuitError::UnknownKey), "{set}");
    }
    let jwt = world.token(&org, &client, &[READ]).await.expect(200).member("access_token");
    assert!(read(&world, &org, "biscuit-jwks", &jwt).await.is_err(), "a JWT is none");
    let tokens = KeyRing::new(&published(&world, &org, "jwks").await);
    let biscuits = KeyRing::new(&published(&world, &org, "biscuit-jwks").await);
    assert!(tokens.ids().all(|id| !biscuits.contains(id)));
    // A rotated key's tokens are still believed, a revoked one's are not.
    let rotate = json!({"purpose": "biscuit", "now": true});
    world.admin(&org, "POST", "/v1/signing-keys/rotate", Some(rotate)).await.expect(201);
    let key = read(&world, &org, "biscuit-jwks", &text).await.expect("retiring").token().key;
    world.revoke(&org, &key.to_string()).await.expect("revoked");
    let said = read(&world, &org, "biscuit-jwks", &text).await;
    assert_eq!(said.err(), Some(BiscuitError::UnknownKey));
    let new = world.token(&org, &client, &[READ, WANTED]).await.expect(200);
    read(&world, &org, "biscuit-jwks", &new.member("access_token")).await.expect("another signs");
}
