//! An agent gets a scoped token, and everybody who should can verify it: the server's own
//! introspection, our verifier offline, and a JWT library of somebody else.

use accredit::{Agent, PrivateJwk};
use accredit_wire::crypto::Algorithm;
use accredit_wire::jose::b64url_encode;
use accredit_wire::jose::jwk::JwkSet;
use accredit_wire::revocations::{Follower, Nonce, SignedMessage};
use accredit_wire::time::Time;
use accredit_wire::verify::{AudienceRule, Config, KeyRing, Standing, Verifier};
use jsonwebtoken::{DecodingKey, Validation};
use serde_json::{Value, json};

use crate::stage::cast::{CRM, text};
use crate::stage::keys::{ASSERTION, ClientKey};
use crate::stage::{Ask, Cast, Server, now};

/// The forms that scripts rely on, each as an object and as a table.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_forms_of_the_command_line_that_scripts_rely_on() {
    let server = Server::dev().await;
    let crm = ["resource", "create", "crm", "--audience", CRM, "--action", "read"];
    let crm = server.cli_json(&[&crm[..], &["--action", "update"]].concat());
    assert_eq!(crm["actions"], json!(["read", "update"]));
    let cms = ["resource", "create", "cms", "--audience", "https://cms.example/"];
    let cms = server.cli_json(&[&cms[..], &["--action", "read", "update"]].concat());
    assert_eq!(cms["actions"], json!(["read", "update"]), "several after one flag");
    let writer = ["agent", "create", "writer", "--owner", "mia@example.com", "--purpose", "writes"];
    let allow = ["--allow", "cms:read", "cms:update", "crm:read"];
    let writer = server.cli_json(&[&writer[..], &allow].concat());
    assert_eq!(writer["permissions"].as_array().map(Vec::len), Some(2), "{writer}");
    let planner = ["agent", "create", "planner", "--owner", "mia@example.com"];
    let rest = ["--purpose", "plans the week", "--allow", "crm:read", "--activate"];
    let agent = server.cli_json(&[&planner[..], &rest].concat());
    assert_eq!(agent["state"], "active");
    assert_eq!(agent["owner_email"], "mia@example.com");
    assert_eq!(agent["client_id"], agent["id"]);
    let secret_type = ["--type", "client-secret"];
    let create = ["credential", "create", "--agent", "planner"];
    let credential = server.cli_json(&[&create[..], &secret_type].concat());
    assert_eq!(credential["client_id"], agent["id"]);
    let create = ["credential", "create", "--resource", "crm"];
    let of_crm = server.cli_json(&[&create[..], &secret_type].concat());
    assert_eq!(of_crm["client_id"], crm["id"]);
    let instance = server.cli_json(&["instance", "create", "--agent", "planner"]);
    assert_eq!(instance["client_id"], agent["id"]);
    for (made, prefix) in
        [(&crm, "res_"), (&agent, "agt_"), (&credential, "crd_"), (&instance, "ins_")]
    {
        assert!(text(made, "id").starts_with(prefix), "{made}");
    }

    let client = text(&agent, "client_id");
    for (made, kind) in [(&credential, "agent"), (&instance, "instance"), (&of_crm, "resource")] {
        let secret = text(made, "client_secret");
        assert!(secret.starts_with(&format!("acr_{kind}_")), "the kind is in the secret");
        if kind != "resource" {
            server.token(&client, &secret, "crm:read").await.good();
        }
    }

    let ended =
        server.cli_json(&["revoke", &text(&instance, "id"), "--reason", "the week is over"]);
    assert_eq!(ended["target"], instance["id"]);
    assert_eq!(ended["reason"], "the week is over");
    assert_eq!(ended["blast"]["instances"], 1);
    let (export, key) = (server.folder().file("log.ndjson"), server.folder().file("log.pub"));
    server.cli(&["audit", "export", "-o", &export, "--output", "json"]).good();
    server.cli(&["audit", "key", "-o", &key]).good();
    let report = server.cli_json(&["audit", "verify", &export, "--key", &key]);
    assert_eq!((&report["ok"], &report["complete"]), (&json!(true), &json!(true)));

    // For people, the same things.
    let erp =
        ["resource", "create", "erp", "--audience", "https://erp.example/", "--action", "read"];
    assert!(server.cli(&erp).good().contains("https://erp.example/"));
    let worker = ["agent", "create", "worker", "--owner", "mia@example.com", "--purpose", "works"];
    let out = server.cli(&[&worker[..], &["--allow", "erp:read"]].concat()).good();
    assert!(out.contains("draft"), "without --activate it is not active: {out}");
    for holder in [["--agent", "worker"], ["--resource", "erp"]] {
        let out =
            server.cli(&[&["credential", "create"][..], &holder, &secret_type].concat()).good();
        assert!(out.contains("client_secret") && out.contains("acr_"), "{out}");
    }
    let out = server.cli(&["instance", "create", "--agent", "planner"]).good();
    assert!(out.contains("client_secret"), "{out}");
    let out = server.cli(&["revoke", &text(&agent, "id"), "--reason", "enough"]).good();
    assert!(out.contains("rvk_"), "{out}");
    let export = server.folder().file("again.ndjson");
    server.cli(&["audit", "export", "-o", &export]).good();
    let out = server.cli(&["audit", "verify", &export, "--key", &key]).good();
    assert!(out.contains("nothing was edited, dropped or reordered"), "{out}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_got_introspected_and_ended_by_its_client() {
    let cast = Cast::new().await;
    let server = &cast.server;
    let agent = cast.agent("planner").await;
    let path = server.at("/oauth/token");
    let form = [("grant_type", "client_credentials"), ("scope", "crm:read")];
    let by_basic = server.send(Ask::form(&path, &form).basic(&agent.id, &agent.secret)).await;
    assert_eq!(by_basic.header("cache-control"), Some("no-store"));
    let by_basic = by_basic.good();
    assert_eq!(by_basic["token_type"], "Bearer");
    assert_eq!((&by_basic["expires_in"], &by_basic["scope"]), (&json!(300), &json!("crm:read")));
    let proof = [("client_id", agent.id.as_str()), ("client_secret", agent.secret.as_str())];
    server.send(Ask::form(&path, &[&form[..], &proof].concat())).await.good();
    let shorter = [&form[..], &[("expires_in", "30")]].concat();
    let shorter = server.send(Ask::form(&path, &shorter).basic(&agent.id, &agent.secret)).await;
    assert_eq!(shorter.good()["expires_in"], 30);
    let longer = [&form[..], &[("expires_in", "86400")]].concat();
    let longer = server.send(Ask::form(&path, &longer).basic(&agent.id, &agent.secret)).await;
    assert_eq!(longer.good()["expires_in"], 300, "it only shortens");
    let by_resource = [("grant_type", "client_credentials"), ("resource", CRM)];
    let nothing = server.send(Ask::form(&path, &by_resource).basic(&agent.id, &agent.secret)).await;
    let nothing = nothing.good();
    assert!(nothing["scope"].as_str().unwrap_or("").is_empty(), "nothing asked is nothing granted");

    let token = text(&by_basic, "access_token");
    let introspect = Ask::form(&server.at("/oauth/introspect"), &[("token", &token)]);
    let active = introspect.clone().basic(&cast.resource, &cast.resource_secret);
    let active = server.send(active).await.good();
    assert_eq!(active["active"], true);
    for (name, value) in [
        ("iss", server.issuer.as_str()),
        ("sub", &agent.agent),
        ("client_id", &agent.agent),
        ("aud", CRM),
        ("scope", "crm:read"),
        ("token_type", "Bearer"),
    ] {
        assert_eq!(active[name], value, "{active}");
    }
    assert!(server.is_active(&token).await, "an administrator sees it too");

    let revoke = Ask::form(&server.at("/oauth/revoke"), &[("token", &token)]);
    for _ in 0..2 {
        let revoked = revoke.clone().basic(&agent.id, &agent.secret).send(server.address).await;
        assert_eq!((revoked.status, revoked.body.len()), (200, 0), "also the second time");
    }
    let dead = introspect.basic(&cast.resource, &cast.resource_secret);
    assert_eq!(server.send(dead).await.json(), json!({"active": false}));
    assert!(server.is_active(&text(&nothing, "access_token")).await, "the others go on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_proves_its_client_too() {
    let cast = Cast::new().await;
    let server = &cast.server;
    cast.bare_agent("planner").await;
    for (algorithm, kid) in
        [(Algorithm::Es256, Some("k1")), (Algorithm::EdDsa, Some("k2")), (Algorithm::Es256, None)]
    {
        let key = ClientKey::new(algorithm, kid);
        let file = server.folder().file("key.pub.json");
        std::fs::write(&file, key.jwk().to_string()).expect("a file");
        let create = ["credential", "create", "--agent", "planner", "--type", "public-key"];
        let made = server.cli_json(&[&create[..], &["--jwk", &file]].concat());
        assert!(made.get("client_secret").is_none_or(Value::is_null), "there is no secret: {made}");
        let client = text(&made, "client_id");
        let assertion = key.assertion(&client, &server.issuer);
        let form = [
            ("grant_type", "client_credentials"),
            ("scope", "crm:read"),
            ("client_assertion_type", ASSERTION),
            ("client_assertion", assertion.as_str()),
        ];
        let answer = server.send(Ask::form(&server.at("/oauth/token"), &form)).await;
        assert!(server.is_active(&text(&answer.good(), "access_token")).await);
        answer_again(server, &form).await;
    }

    // The library does the same by itself.
    let seed = [7; 32];
    let pair = accredit_wire::crypto::PrivateKey::ed25519_from_seed(&seed).expect("a key");
    let x = b64url_encode(pair.public().expect("a public half").bytes());
    let mut jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": x});
    let body = json!({"agent": "planner", "type": "public-key", "jwk": jwk});
    let client = text(&server.post("/v1/credentials", body).await, "client_id");
    jwk["d"] = b64url_encode(&seed).into();
    let key = PrivateJwk::parse(jwk.to_string().as_bytes()).expect("a private key");
    let agent = Agent::new(&server.issuer, &client, key).expect("an agent");
    let token = agent.token("crm:read").await.expect("a token");
    assert!(server.is_active(token.text().expose()).await);
}

/// An assertion is used once.
async fn answer_again(server: &Server, form: &[(&str, &str)]) {
    let again = server.send(Ask::form(&server.at("/oauth/token"), form)).await;
    again.refused(401, "invalid_client", "assertion-replayed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn anybody_verifies_a_token_from_the_published_keys() {
    let cast = Cast::new().await;
    let server = &cast.server;
    let agent = cast.agent("planner").await;
    let instance = cast.instance_of(&agent.agent).await;
    let token = cast.token(&instance).await;

    // Discovery: three places, one document, and the issuer that was asked for.
    let mut found = Vec::new();
    for path in [
        format!("/.well-known/oauth-authorization-server/o/{}", server.org),
        format!("/.well-known/openid-configuration/o/{}", server.org),
        server.at("/.well-known/openid-configuration"),
    ] {
        found.push(server.send(Ask::get(&path)).await.good());
    }
    assert_eq!(found[0], found[1]);
    assert_eq!(found[0], found[2]);
    assert_eq!(found[0]["issuer"], server.issuer);
    let jwks_uri = text(&found[0], "jwks_uri");
    let path = jwks_uri.strip_prefix(&server.url).expect("an endpoint of this server");
    let jwks = server.send(Ask::get(path)).await;

    // A library of somebody else.
    let set: jsonwebtoken::jwk::JwkSet = serde_json::from_slice(&jwks.body).expect("a key set");
    let header = jsonwebtoken::decode_header(&token).expect("a header");
    assert_eq!(header.typ.as_deref(), Some("at+jwt"));
    let key = set.find(header.kid.as_deref().expect("a kid")).expect("its key");
    let mut validation = Validation::new(header.alg);
    validation.set_audience(&[CRM]);
    validation.set_issuer(&[&server.issuer]);
    let key = DecodingKey::from_jwk(key).expect("a key");
    let decoded = jsonwebtoken::decode::<Value>(&token, &key, &validation).expect("verified");
    let claims = decoded.claims;
    assert_eq!(claims["sub"], agent.agent);
    assert_eq!(claims["client_id"], agent.agent);
    assert_eq!(claims["scope"], "crm:read");
    assert!(text(&claims, "jti").starts_with("tok_"));
    assert_eq!(claims["accredit"]["v"], 1);
    assert_eq!(claims["accredit"]["ins"], instance.id);
    assert_eq!(claims["accredit"]["depth"], 0);
    assert!(claims["accredit"].get("dlg").is_none(), "nothing may be passed on: {claims}");
    let lineage = claims["accredit"]["lin"].as_array().expect("a lineage");
    let kinds: Vec<&str> = lineage.iter().filter_map(|id| id.as_str()?.get(..4)).collect();
    assert_eq!(kinds, ["org_", "crd_", "usr_", "res_"]);
    validation.set_audience(&["https://crm.example"]);
    assert!(jsonwebtoken::decode::<Value>(&token, &key, &validation).is_err());

    // Our own, with nothing but what was fetched.
    let feed_keys = server.send(Ask::get(&server.at("/.well-known/feed-jwks.json"))).await;
    let feed_keys = JwkSet::parse(&feed_keys.body).expect("feed keys");
    let (nonce, time) = (Nonce::new([7; 16]), Time::from_seconds(now()));
    let snapshot = Ask::get(&server.at(&format!("/revocations?nonce={nonce}")));
    let snapshot = snapshot.bearer(&cast.resource_secret);
    let snapshot = server.send(snapshot).await.text();
    let signed = SignedMessage::verify(&snapshot, &feed_keys, &server.issuer).expect("signed");
    let mut follower = Follower::new(server.issuer.clone(), None);
    follower.ask(nonce, time);
    follower.apply(&signed, &[], time).expect("applied");
    let config = Config::new(&server.issuer, AudienceRule::Exact(CRM.to_owned()));
    let keys = KeyRing::new(&JwkSet::parse(&jwks.body).expect("keys"));
    let verifier = Verifier::new(config, keys);
    verifier.set_standing(Standing::of(&follower).expect("a standing"));
    let principal = verifier.verify_token(&token, time).expect("verified");
    assert_eq!(principal.client_id().to_string(), agent.agent);
    assert!(principal.scope().to_string() == "crm:read");
}
