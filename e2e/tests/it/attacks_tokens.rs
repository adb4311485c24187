//! Access tokens that are not ours, or not any more,
//! at introspection and at a verifier whose memory is warm.

use accredit::Verifier;
use accredit_wire::crypto::Algorithm;
use accredit_wire::jose::{b64url_decode, b64url_encode};
use serde_json::{Value, json};

use crate::stage::cast::CRM;
use crate::stage::keys::ClientKey;
use crate::stage::{Ask, Cast, now};

/// The three parts of a token.
struct Parts {
    header: Value,
    claims: Value,
    signature: Vec<u8>,
}

impl Parts {
    fn of(token: &str) -> Self {
        let parts: Vec<Vec<u8>> =
            token.split('.').map(|part| b64url_decode(part).expect("base64url")).collect();
        let json = |place: usize| serde_json::from_slice(&parts[place]).expect("JSON");
        Self { header: json(0), claims: json(1), signature: parts[2].clone() }
    }

    fn join(header: &Value, claims: &Value, signature: &[u8]) -> String {
        let (header, claims) = (header.to_string(), claims.to_string());
        let input =
            format!("{}.{}", b64url_encode(header.as_bytes()), b64url_encode(claims.as_bytes()));
        format!("{input}.{}", b64url_encode(signature))
    }
}

/// Nobody takes it: the server answers as for nothing, a verifier with a rule and a hint.
async fn check_refused(cast: &Cast, verifier: &Verifier, token: &str, why: &str) {
    let ask = Ask::form(&cast.server.at("/oauth/introspect"), &[("token", token)]);
    let answer = cast.server.send(ask.basic(&cast.resource, &cast.resource_secret)).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, r#"{"active":false}"#), "{why}");
    let refusal = verifier.verify_token(token).await.expect_err(why);
    assert!([400, 401].contains(&refusal.status().as_u16()), "{why}: {refusal}");
    let said = serde_json::to_value(refusal.body()).expect("JSON");
    assert!(said["rule"].is_string() && said["hint"].is_string(), "{why}: {said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_we_did_not_sign_is_not_ours() {
    let cast = Cast::new().await;
    let agent = cast.agent("planner").await;
    let verifier = cast.connected().await;
    let token = cast.token(&agent).await;
    for _ in 0..3 {
        verifier.verify_token(&token).await.expect("alive, and remembered");
    }
    let good = Parts::of(&token);
    let altered = |name: &str, value: Value| {
        let mut claims = good.claims.clone();
        claims[name] = value;
        Parts::join(&good.header, &claims, &good.signature)
    };
    let headed = |change: Value, signature: &[u8]| {
        let mut header = good.header.clone();
        for (name, value) in change.as_object().expect("an object") {
            header[name] = value.clone();
        }
        Parts::join(&header, &good.claims, signature)
    };
    let kid = good.header["kid"].as_str().expect("a kid");
    let attacker = ClientKey::new(Algorithm::Es256, Some(kid));
    let eddsa = ClientKey::new(Algorithm::EdDsa, Some(kid));
    let (claims, now) = (good.claims.to_string(), now());
    let jwks = cast.server.send(Ask::get(&cast.server.at("/.well-known/jwks.json"))).await.text();
    let mac = accredit_wire::crypto::MacKey::new(&accredit_wire::crypto::sha256(jwks.as_bytes()));
    let (head, body) =
        token.rsplit_once('.').and_then(|(input, _)| input.split_once('.')).expect("three");
    let zeros = [0u8; 64];
    let mut flipped = good.signature.clone();
    flipped[40] ^= 1;
    let flip_last = |text: &str| {
        // The last character of 86 has four bits that mean nothing: another spelling of it.
        let last = text.chars().last().expect("a character");
        let other = if last == 'A' { 'B' } else { char::from(u32::from(last) as u8 + 1) };
        format!("{}{other}", &text[..text.len() - 1])
    };
    for (token, why) in [
        (headed(json!({"alg": "none"}), b""), "none, no signature"),
        (headed(json!({"alg": "none"}), &good.signature), "none, with a signature"),
        (headed(json!({"alg": "nOnE"}), b""), "none in other letters"),
        (headed(json!({"alg": ""}), b""), "no algorithm"),
        (headed(json!({"alg": "HS256"}), &mac.mac(format!("{head}.{body}").as_bytes())), "a MAC"),
        (headed(json!({"alg": "RS256"}), &good.signature), "another algorithm"),
        (headed(json!({"kid": "../../x"}), &good.signature), "a path for a kid"),
        (headed(json!({"kid": "key_' OR 1=1"}), &good.signature), "SQL for a kid"),
        (headed(json!({"kid": "k".repeat(5000)}), &good.signature), "a long kid"),
        (headed(json!({"jku": "https://evil.example/k"}), &good.signature), "jku"),
        (headed(json!({"crit": ["exp"]}), &good.signature), "crit"),
        (headed(json!({"typ": "JWT"}), &good.signature), "another type"),
        (attacker.sign_as("at+jwt", claims.as_bytes()), "our kid, another key"),
        (eddsa.sign_as("at+jwt", claims.as_bytes()), "our kid, another algorithm"),
        (
            attacker.sign_under(
                &json!({"alg": "ES256", "typ": "at+jwt", "kid": kid, "jwk": attacker.jwk()})
                    .to_string(),
                &claims,
            ),
            "a key of its own",
        ),
        (Parts::join(&good.header, &good.claims, &zeros), "r = s = 0"),
        (Parts::join(&good.header, &good.claims, &flipped), "a bit of the signature"),
        (Parts::join(&good.header, &good.claims, &good.signature[..63]), "a cut signature"),
        (Parts::join(&good.header, &good.claims, b""), "no signature"),
        (altered("scope", json!("crm:read crm:update")), "more scope"),
        (altered("exp", json!(now + 86_400)), "more time"),
        (altered("exp", json!("9999999999")), "a time that is text"),
        (altered("aud", json!([CRM, "https://evil.example/"])), "two audiences"),
        (altered("sub", json!("agt_00000000000000000000000000")), "another subject"),
        (altered("accredit", json!({"v": 1})), "no lineage"),
        (format!("{token}="), "padding"),
        (format!("{token} "), "a blank"),
        (format!("{token}\n"), "a line break"),
        (token.replace('.', ".."), "empty parts"),
        (format!("{token}.{token}"), "six parts"),
        (flip_last(&token), "another spelling of the last bits"),
        (token.to_uppercase(), "upper case"),
        (String::new(), "nothing"),
        ("a".repeat(30_000), "much"),
        (agent.secret.clone(), "a secret for a token"),
        (cast.server.admin.clone(), "an administrator's key for a token"),
    ] {
        if token.is_empty() {
            verifier.verify_token(&token).await.expect_err(why);
            continue;
        }
        check_refused(&cast, &verifier, &token, why).await;
    }
    verifier.verify_token(&token).await.expect("the good one still is");
}

/// Item 8: what is signed with our keys, or by our clients, for another purpose.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_signed_for_another_purpose_is_no_token() {
    let cast = Cast::new().await;
    let agent = cast.agent("planner").await;
    let verifier = cast.connected().await;
    let token = cast.token(&agent).await;
    let snapshot = Ask::get(&cast.server.at("/revocations")).bearer(&cast.resource_secret);
    let snapshot = cast.server.send(snapshot).await.text();
    assert_eq!(snapshot.split('.').count(), 3, "a compact JWS");
    check_refused(&cast, &verifier, &snapshot, "a message of the feed").await;
    let key = ClientKey::new(Algorithm::Es256, None);
    let register = json!({"agent": agent.agent, "type": "public-key", "jwk": key.jwk()});
    cast.server.post("/v1/credentials", register).await;
    let assertion = key.assertion(&agent.id, &cast.server.issuer);
    check_refused(&cast, &verifier, &assertion, "a client's assertion").await;
    let form = [
        ("grant_type", "client_credentials"),
        ("client_assertion_type", crate::stage::keys::ASSERTION),
        ("client_assertion", &token),
    ];
    let answer = cast.server.send(Ask::form(&cast.server.at("/oauth/token"), &form)).await;
    answer.refused(401, "invalid_client", &answer.rule());
    // And no feed key signs tokens, no token key the feed.
    let keys = async |path: &str| {
        let set = cast.server.send(Ask::get(&cast.server.at(path))).await.good();
        let keys = set["keys"].as_array().expect("keys").clone();
        keys.iter().map(|key| key["kid"].to_string()).collect::<Vec<_>>()
    };
    let (tokens, feed) =
        (keys("/.well-known/jwks.json").await, keys("/.well-known/feed-jwks.json").await);
    assert!(!tokens.is_empty() && !feed.is_empty());
    assert!(tokens.iter().all(|kid| !feed.contains(kid)), "{tokens:?} {feed:?}");
}

/// Item 12: two servers, two organizations, the same names everywhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_of_another_issuer_is_nobodys() {
    let (ours, theirs) = (Cast::new().await, Cast::new().await);
    let agent = theirs.agent("planner").await;
    ours.agent("planner").await;
    let verifier = ours.connected().await;
    let token = theirs.token(&agent).await;
    check_refused(&ours, &verifier, &token, "of another server").await;
    theirs.connected().await.verify_token(&token).await.expect("good at home");
    // A verifier for one resource takes no token for another.
    let erp = json!({"name": "erp", "audience": "https://erp.example/", "actions": ["read"]});
    ours.server.post("/v1/resources", erp).await;
    let create = json!({"name": "reader", "owner_email": "mia@example.com", "purpose": "reads",
        "allow": ["erp:read"], "activate": true});
    let made = ours.server.post("/v1/agents", create).await;
    let reader = ours.secret_of(made["id"].as_str().expect("an id")).await;
    let token = ours.server.token(&reader.id, &reader.secret, "erp:read").await.good();
    let token = token["access_token"].as_str().expect("a token");
    let refusal = verifier.verify_token(token).await.expect_err("for another");
    assert_eq!(refusal.body().rule(), Some("token-audience"));
    let ask = Ask::form(&ours.server.at("/oauth/introspect"), &[("token", token)]);
    let ask = ask.basic(&ours.resource, &ours.resource_secret);
    assert_eq!(ours.server.send(ask).await.json(), json!({"active": false}));
}

/// Item 52: who can write the database, but has no root key, cannot exchange what is wrapped in it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrapped_keys_that_were_exchanged_in_the_store_open_nowhere() {
    let mut cast = Cast::new().await;
    let agent = cast.agent("planner").await;
    cast.token(&agent).await;
    assert_eq!(cast.server.stop(), Some(0));
    let file = cast.server.folder().data().join("accredit.db");
    let store = rusqlite::Connection::open(file).expect("a store");
    let mut select = store.prepare("SELECT id, wrapped FROM signing_key ORDER BY id").expect("SQL");
    let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect("rows");
    let rows: Vec<(String, Vec<u8>)> = rows.collect::<Result<_, _>>().expect("rows");
    assert!(rows.len() > 2, "keys for several purposes");
    for (place, (id, _)) in rows.iter().enumerate() {
        let (_, other) = &rows[(place + 1) % rows.len()];
        let change = "UPDATE signing_key SET wrapped = ?1 WHERE id = ?2";
        assert_eq!(store.execute(change, (other, id)).expect("changed"), 1);
    }
    drop(select);
    drop(store);
    // It starts, and signs nothing: neither tokens nor the feed nor the log.
    cast.server = cast.server.again().await;
    let fault = cast.server.token(&agent.id, &agent.secret, "crm:read").await;
    fault.refused(503, "temporarily_unavailable", "fault");
    assert!(!fault.text().contains("wrapped") && !fault.text().contains("key_"), "{fault:?}");
    assert!(fault.header("retry-after").is_some());
    let snapshot = Ask::get(&cast.server.at("/revocations")).bearer(&cast.resource_secret);
    cast.server.send(snapshot).await.refused(503, "temporarily_unavailable", "fault");
}
