//! RFC 8414, RFC 7517, OpenAPI 3.1: what we say about ourselves, and what is not there.

use accredit_server::caller::Requirement;
use accredit_server::endpoints::ENDPOINTS;
use accredit_testkit::{Ask, TestWorld};
use serde_json::Value;

#[tokio::test]
async fn the_metadata_is_the_same_in_three_places_and_from_configuration_alone() {
    let world = TestWorld::new(4).await;
    let org = world.found("acme").await;
    let mut told = Vec::new();
    for path in [
        "/.well-known/oauth-authorization-server/o/acme",
        "/.well-known/openid-configuration/o/acme",
        "/o/acme/.well-known/openid-configuration",
    ] {
        let ask = Ask::get(path)
            .header("host", "evil.example")
            .header("x-forwarded-host", "evil.example")
            .header("forwarded", "host=evil.example;proto=http");
        let answer = world.ask(ask).await.expect(200);
        assert_eq!(answer.header("content-type"), "application/json");
        assert!(!answer.text().contains("evil"), "{}", answer.text());
        told.push(answer.body);
    }
    assert!(told.iter().all(|body| *body == told[0]));
    let metadata: Value = serde_json::from_slice(&told[0]).expect("JSON");
    assert_eq!(metadata["issuer"], org.issuer);
    assert_eq!(metadata["token_endpoint"], format!("{}/oauth/token", org.issuer));
    assert!(metadata.get("authorization_endpoint").is_none());
    // Every address in it is one that answers.
    for (member, method) in [
        ("jwks_uri", "GET"),
        ("token_endpoint", "POST"),
        ("introspection_endpoint", "POST"),
        ("revocation_endpoint", "POST"),
    ] {
        let url = metadata[member].as_str().expect(member);
        let path = url.strip_prefix("https://id.example").expect("under the public URL");
        let answer = world.ask(Ask::new(method, path)).await;
        assert!(![404, 405].contains(&answer.status), "{member}: {}", answer.status);
    }
    let none = world.ask(Ask::get("/o/nobody/.well-known/openid-configuration")).await;
    assert_eq!(none.status, 404);
}

#[tokio::test]
async fn keys_of_each_purpose_are_published_apart_and_public_halves_alone() {
    let world = TestWorld::new(4).await;
    world.found("acme").await;
    let mut kids = Vec::new();
    // The next one too, before it signs.
    for (path, alg) in [("jwks", "ES256"), ("feed-jwks", "EdDSA"), ("biscuit-jwks", "EdDSA")] {
        let path = format!("/o/acme/.well-known/{path}.json");
        let set = world.ask(Ask::get(path)).await.expect(200).json();
        let keys = set["keys"].as_array().expect("keys");
        assert_eq!(keys.len(), 2);
        for key in keys {
            assert_eq!(key["alg"], alg);
            assert!(key.get("d").is_none());
        }
        kids.extend(keys.iter().map(|key| key["kid"].to_string()));
    }
    kids.sort_unstable();
    kids.dedup();
    assert_eq!(kids.len(), 6, "no key is in two sets");
}

#[tokio::test]
async fn a_revoked_signing_key_is_gone_with_its_tokens_and_another_signs() {
    let world = TestWorld::new(4).await;
    let scene = world.scene().await;
    let read = [("scope", "crm:read")];
    let old = world.token(&scene.org, &scene.client, &read).await.member("access_token");
    let jwks = Ask::get("/o/acme/.well-known/jwks.json");
    let kid = world.ask(jwks).await.json()["keys"][0]["kid"].as_str().expect("kid").to_owned();
    world.revoke(&scene.org, &kid).await.expect("revoked");
    let jwks = Ask::get("/o/acme/.well-known/jwks.json");
    let set = world.ask(jwks).await.json();
    let keys = set["keys"].as_array().expect("keys");
    assert_eq!(keys.len(), 2);
    assert!(keys.iter().all(|key| key["kid"] != kid));
    let new = world.token(&scene.org, &scene.client, &read).await.member("access_token");
    let crm = world.resource_secret(&scene.org, "crm").await;
    for (token, active) in [(old, false), (new, true)] {
        let ask = Ask::post("/o/acme/oauth/introspect").basic(&crm).form(&[("token", &*token)]);
        assert_eq!(world.ask(ask).await.expect(200).json()["active"], active);
    }
    // The log is held to its key by its followers: that one not over the feed.
    let keys = world.admin(&scene.org, "GET", "/v1/signing-keys", None).await.json();
    for key in keys["items"].as_array().expect("items") {
        if key["purpose"] == "log" {
            let id = key["id"].as_str().expect("an id");
            assert!(world.revoke(&scene.org, id).await.is_err());
        }
    }
}

#[tokio::test]
async fn what_is_not_there_and_what_is_not_taken_are_problems() {
    let world = TestWorld::new(4).await;
    let org = world.found("acme").await;
    for path in
        ["/", "/v1", "/v1/", "/v1/agents/", "/v2/agents", "/o/acme", "/o/acme/oauth", "/.env"]
    {
        world.ask(Ask::get(path).bearer(&org.admin)).await.problem(404, "no-such-path");
    }
    for (method, path, allowed) in [
        ("DELETE", "/v1/agents", "POST, GET"),
        ("PUT", "/v1/agents/x", "GET, PATCH"),
        ("GET", "/o/acme/oauth/token", "POST"),
        ("POST", "/livez", "GET"),
        ("OPTIONS", "/v1/orgs", "POST, GET"),
        ("TRACE", "/v1/orgs", "POST, GET"),
    ] {
        let answer = world.ask(Ask::new(method, path).bearer(&org.admin)).await;
        answer.problem(405, "method-not-allowed");
        let mut told: Vec<&str> = answer.header("allow").split(", ").collect();
        let mut expected: Vec<&str> = allowed.split(", ").collect();
        told.sort_unstable();
        expected.sort_unstable();
        assert_eq!(told, expected, "{method} {path}");
    }
    let answer = world.ask(Ask::new("OPTIONS", "/o/acme/oauth/token")).await;
    assert!(answer.headers.get("access-control-allow-origin").is_none(), "no CORS");
}

#[tokio::test]
async fn health_says_so() {
    let world = TestWorld::new(4).await;
    world.ask(Ask::get("/livez")).await.expect(200);
    world.ask(Ask::get("/readyz")).await.expect(200);
    world.server.stopping.store(true, std::sync::atomic::Ordering::SeqCst);
    let stopping = world.ask(Ask::get("/readyz")).await;
    assert_eq!(stopping.status, 503, "{}", stopping.text());
    world.ask(Ask::get("/livez")).await.expect(200);
}

/// Every `$ref` in a document.
fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(members) => {
            found.extend(members.get("$ref").and_then(Value::as_str));
            members.values().for_each(|member| references(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

#[tokio::test]
async fn the_openapi_document_has_every_row_of_the_table() {
    let world = TestWorld::new(4).await;
    let document = world.ask(Ask::get("/openapi.json")).await.expect(200).json();
    assert_eq!(document["openapi"], "3.1.0");
    let mut operations = std::collections::BTreeSet::new();
    for endpoint in ENDPOINTS {
        let path = endpoint.path.replace("{*", "{");
        let operation = &document["paths"][&path][endpoint.method.as_str().to_lowercase()];
        assert!(operation.is_object(), "{} {path} is missing", endpoint.method.as_str());
        let id = operation["operationId"].as_str().expect("operationId");
        assert!(operations.insert(id.to_owned()), "`{id}` twice");
        let declared: Vec<&str> = operation["parameters"]
            .as_array()
            .expect("parameters")
            .iter()
            .filter(|parameter| parameter["in"] == "path")
            .filter_map(|parameter| parameter["name"].as_str())
            .collect();
        let named: Vec<&str> =
            path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).collect();
        assert_eq!(declared, named, "{path}");
        assert!(operation["responses"].get("default").is_some());
        let security = operation["security"].as_array().expect("security");
        assert_eq!(security.is_empty(), endpoint.caller == Requirement::Anyone, "{path}");
    }
    let verbs: usize = document["paths"]
        .as_object()
        .expect("paths")
        .values()
        .map(|path| path.as_object().map_or(0, serde_json::Map::len))
        .sum();
    assert_eq!(verbs, ENDPOINTS.len(), "nothing but the table");
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(!found.is_empty());
    for reference in found {
        let pointer = reference.strip_prefix('#').expect("a local reference");
        assert!(
            document.pointer(pointer).is_some_and(Value::is_object),
            "{reference} leads nowhere"
        );
    }
}
