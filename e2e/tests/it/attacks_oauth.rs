//! What an attacker tries first at the OAuth endpoints, each with the answer it must get.

use accredit_wire::crypto::Algorithm;
use serde_json::{Value, json};

use crate::stage::cast::{CRM, Client, text};
use crate::stage::http::encoded;
use crate::stage::keys::{ASSERTION, ClientKey, claims};
use crate::stage::{Answer, Ask, Cast, now};

const GRANT: (&str, &str) = ("grant_type", "client_credentials");

/// A raw body at the token endpoint, by the agent with Basic.
async fn body(cast: &Cast, client: &Client, body: &str) -> Answer {
    let ask = Ask::raw_form(&cast.server.at("/oauth/token"), body);
    cast.server.send(ask.basic(&client.id, &client.secret)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_proves_itself_in_exactly_one_way() {
    let cast = Cast::new().await;
    let agent = cast.agent("planner").await;
    let other = cast.agent("worker").await;
    let (id, secret) = (agent.id.as_str(), agent.secret.as_str());
    let path = cast.server.at("/oauth/token");
    let send = async |ask: Ask| cast.server.send(ask).await;
    let form =
        |more: &[(&str, &str)]| Ask::form(&path, &[&[GRANT, ("scope", "crm:read")], more].concat());
    let posted = [("client_id", id), ("client_secret", secret)];

    send(form(&posted).basic(id, secret)).await.refused(
        400,
        "invalid_request",
        "two-client-authentications",
    );
    let asserts = [("client_assertion_type", ASSERTION), ("client_assertion", "a.b.c")];
    send(form(&asserts).basic(id, secret)).await.refused(
        400,
        "invalid_request",
        "two-client-authentications",
    );
    send(form(&[&posted[..], &asserts].concat())).await.refused(
        400,
        "invalid_request",
        "two-client-authentications",
    );
    send(form(&[]).basic(id, secret).basic(id, secret)).await.refused(
        400,
        "invalid_request",
        "authorization-twice",
    );
    send(form(&[("client_id", &other.id)]).basic(id, secret)).await.refused(
        400,
        "invalid_request",
        "client-id-differs",
    );
    send(form(&[])).await.refused(401, "invalid_client", "client-unauthenticated");
    let bearer = send(form(&[]).bearer(secret)).await;
    bearer.refused(401, "invalid_client", "authorization-scheme");
    for bad in ["Basic", "Basic !!!", "Basic Og==", "Basic YTpi\u{e9}", "Digest x"] {
        let answer = send(form(&[]).header("authorization", bad)).await;
        assert_eq!(
            (answer.status, &answer.json()["error"]),
            (401, &json!("invalid_client")),
            "{bad}"
        );
        let challenge = answer.header("www-authenticate").expect("RFC 6749 section 5.2");
        assert!(challenge.starts_with("Basic "), "{challenge}");
    }
    // The secret of another client, of a resource, of an administrator.
    for wrong in [&other.secret, &cast.resource_secret, &cast.server.admin] {
        let answer = send(form(&[]).basic(id, wrong)).await;
        answer.refused(401, "invalid_client", "client-authentication");
    }
    let answer = send(form(&[]).basic(&cast.resource, &cast.resource_secret)).await;
    answer.refused(400, "unauthorized_client", "grant-not-for-client");
}

/// Item 47: who the client is is not told to whom does not prove it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_client_and_a_wrong_secret_get_the_same_answer() {
    let cast = Cast::new().await;
    let agent = cast.agent("planner").await;
    let suspended = cast.agent("suspended").await;
    cast.server.revoke(&suspended.agent).await;
    let revoked = cast.agent("revoked").await;
    cast.server.revoke(&revoked.credential).await;
    let good = Ask::form(&cast.server.at("/oauth/token"), &[GRANT, ("scope", "crm:read")]);
    let strip = |answer: Answer| {
        let headers = answer.headers.clone().into_iter();
        let kept = headers.filter(|(name, _)| !["request-id", "date"].contains(&name.as_str()));
        (answer.status, kept.collect::<Vec<_>>(), answer.body)
    };
    let unknown = agent.id.replace(&agent.id[20..], &"0".repeat(agent.id.len() - 20));
    // A well-formed secret of nobody: another server's.
    let strange = Cast::new().await.agent("stranger").await;
    let mut answers = Vec::new();
    for (id, secret) in [
        (agent.id.as_str(), strange.secret.as_str()),
        (unknown.as_str(), strange.secret.as_str()),
        (strange.id.as_str(), strange.secret.as_str()),
        (unknown.as_str(), agent.secret.as_str()),
        ("nobody", "nothing"),
        (agent.id.as_str(), "nothing"),
        (suspended.id.as_str(), strange.secret.as_str()),
        (revoked.id.as_str(), strange.secret.as_str()),
    ] {
        let answer = cast.server.send(good.clone().basic(id, secret)).await;
        answer.refused(401, "invalid_client", "client-authentication");
        answers.push(strip(answer));
    }
    for answer in &answers {
        assert_eq!(answer, &answers[0]);
    }
    // The same with keys: an unknown client, and a key that is not the client's.
    let (known, stranger) =
        (ClientKey::new(Algorithm::Es256, None), ClientKey::new(Algorithm::Es256, None));
    let register = json!({"agent": agent.agent, "type": "public-key", "jwk": known.jwk()});
    cast.server.post("/v1/credentials", register).await;
    let mut answers = Vec::new();
    for (client, key) in
        [(agent.id.as_str(), &stranger), (unknown.as_str(), &stranger), (unknown.as_str(), &known)]
    {
        let answer = assert_with(&cast, &key.assertion(client, &cast.server.issuer)).await;
        answer.refused(401, "invalid_client", "client-authentication");
        answers.push(strip(answer));
    }
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[0], answers[2]);
}

async fn assert_with(cast: &Cast, assertion: &str) -> Answer {
    let form = [
        GRANT,
        ("scope", "crm:read"),
        ("client_assertion_type", ASSERTION),
        ("client_assertion", assertion),
    ];
    cast.server.send(Ask::form(&cast.server.at("/oauth/token"), &form)).await
}

/// Items 1, 2, 5, 6, 7, 9, 10 and 14 in the assertions of a client that is otherwise good.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_assertion_says_exactly_what_it_must() {
    let cast = Cast::new().await;
    let agent = cast.bare_agent("planner").await;
    let key = ClientKey::new(Algorithm::Es256, Some("k1"));
    let register = json!({"agent": agent, "type": "public-key", "jwk": key.jwk()});
    cast.server.post("/v1/credentials", register).await;
    let issuer = cast.server.issuer.clone();
    let good = || claims(&agent, &issuer);
    assert_with(&cast, &key.sign(&good())).await.good();

    let with = |name: &str, value: Value| {
        let mut claims = good();
        claims[name] = value;
        claims
    };
    let token_endpoint = format!("{issuer}/oauth/token");
    for (claims, rule) in [
        (with("aud", json!(token_endpoint)), "assertion-audience"),
        (with("aud", json!([issuer, "https://other.example/"])), "assertion-audience"),
        (with("aud", json!(format!("{issuer}/"))), "assertion-audience"),
        (with("aud", json!(issuer.to_uppercase())), "assertion-audience"),
        (with("aud", Value::Null), "assertion-"),
        (with("iss", json!("somebody")), "assertion-invalid"),
        (with("exp", json!(now() + 3600)), "assertion-lifetime"),
        (with("exp", json!(now() - 3600)), "assertion-lifetime"),
        (with("exp", json!("9999999999")), "assertion-"),
        (with("exp", json!(-1)), "assertion-"),
        (with("exp", json!(u64::MAX)), "assertion-"),
        (with("nbf", json!(now() + 3600)), "assertion-lifetime"),
        (with("iat", json!(now() + 3600)), "assertion-lifetime"),
        (with("jti", Value::Null), "assertion-invalid"),
        (with("jti", json!("")), "assertion-invalid"),
        (with("sub", Value::Null), "assertion-invalid"),
    ] {
        let mut claims = claims;
        claims.as_object_mut().expect("an object").retain(|_, value| !value.is_null());
        let answer = assert_with(&cast, &key.sign(&claims)).await;
        assert!(answer.rule().starts_with(rule), "{claims}: {}", answer.text());
        answer.refused(401, "invalid_client", &answer.rule());
    }

    let payload = good().to_string();
    let twice = payload.replacen('{', "{\"sub\":\"somebody\",", 1);
    let header = |json: &str| key.sign_under(json, &good().to_string());
    for (assertion, why) in [
        (key.sign_under(r#"{"alg":"ES256"}"#, &twice), "a claim twice"),
        (header(r#"{"alg":"none"}"#), "none"),
        (header(r#"{"alg":"nOnE"}"#), "none in other letters"),
        (header(r#"{"alg":""}"#), "no algorithm"),
        (header(r#"{"alg":"HS256","kid":"k1"}"#), "a MAC with the public key"),
        (header(r#"{"alg":"EdDSA","kid":"k1"}"#), "the algorithm of another key"),
        (header(r#"{"alg":"ES256","alg":"ES256"}"#), "a header twice"),
        (header(r#"{"alg":"ES256","crit":["exp"]}"#), "crit"),
        (header(r#"{"alg":"ES256","b64":false,"crit":["b64"]}"#), "an unencoded payload"),
        (header(r#"{"alg":"ES256","typ":"at+jwt"}"#), "another type"),
        (header(r#"{"alg":"ES256","kid":"../../etc/passwd"}"#), "a path for a kid"),
        (header(r#"{"alg":"ES256","kid":"k1' OR '1'='1"}"#), "SQL for a kid"),
        (header(r#"{"alg":"ES256","kid":"k1\u0000"}"#), "a null in the kid"),
        (header(&format!(r#"{{"alg":"ES256","kid":"{}"}}"#, "k".repeat(4000))), "a long kid"),
        (format!("{}=", key.sign(&good())), "padding"),
        (format!(" {}", key.sign(&good())), "a blank"),
        ("a.b".to_owned(), "two parts"),
        (format!("{}.e30", key.sign(&good())), "four parts"),
        (String::from("{}"), "no JWS"),
    ] {
        let answer = assert_with(&cast, &assertion).await;
        assert_eq!(answer.status, 401, "{why}: {}", answer.text());
        answer.refused(401, "invalid_client", &answer.rule());
    }

    // Item 6: a key that the header brings along is ignored.
    let attacker = ClientKey::new(Algorithm::Es256, Some("k1"));
    for member in ["jwk", "jku", "x5u", "x5c"] {
        let value = if member == "jwk" { attacker.jwk() } else { json!("https://evil.example/k") };
        let header = json!({"alg": "ES256", "kid": "k1", member: value});
        let assertion = attacker.sign_under(&header.to_string(), &good().to_string());
        let answer = assert_with(&cast, &assertion).await;
        assert_eq!(
            (answer.status, &answer.json()["error"]),
            (401, &json!("invalid_client")),
            "{member}"
        );
    }

    // Item 3: a signature that is absent, all zeros, or of another length.
    let signed = key.sign(&good());
    let (input, _) = signed.rsplit_once('.').expect("a signature");
    for signature in ["", &"A".repeat(86), &"A".repeat(43), &"A".repeat(85)] {
        let answer = assert_with(&cast, &format!("{input}.{signature}")).await;
        answer.refused(401, "invalid_client", &answer.rule());
    }
    // The client named beside it is the one that signed.
    let form = [
        GRANT,
        ("client_id", "agt_somebody"),
        ("client_assertion_type", ASSERTION),
        ("client_assertion", &signed),
    ];
    let answer = cast.server.send(Ask::form(&cast.server.at("/oauth/token"), &form)).await;
    answer.refused(401, "invalid_client", "assertion-invalid");
    let form = [GRANT, ("client_assertion_type", "urn:x"), ("client_assertion", &signed)];
    let answer = cast.server.send(Ask::form(&cast.server.at("/oauth/token"), &form)).await;
    answer.refused(401, "invalid_client", "assertion-type-unsupported");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_assertion_without_a_kid_has_eight_keys_tried_and_no_more() {
    let cast = Cast::new().await;
    let agent = cast.bare_agent("planner").await;
    let mut keys = Vec::new();
    for place in 0..9 {
        let key = ClientKey::new(Algorithm::EdDsa, None);
        let mut jwk = key.jwk();
        jwk["kid"] = json!(format!("k{place}"));
        let body = json!({"agent": agent, "type": "public-key", "jwk": jwk});
        cast.server.post("/v1/credentials", body).await;
        keys.push(key);
        let first = assert_with(&cast, &keys[0].assertion(&agent, &cast.server.issuer)).await;
        if place < 8 {
            first.good();
        } else {
            first.refused(401, "invalid_client", "client-authentication");
        }
    }
    assert_with(&cast, &keys[8].assertion(&agent, &cast.server.issuer)).await.good();
    let named = ClientKey { key: keys.swap_remove(0).key, kid: Some("k0".to_owned()) };
    assert_with(&cast, &named.assertion(&agent, &cast.server.issuer)).await.good();
}

/// Item 19.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_cannot_be_read_in_two_ways() {
    let cast = Cast::new().await;
    let agent = cast.agent("planner").await;
    let path = cast.server.at("/oauth/token");
    for (text, error, rule) in [
        (
            "grant_type=client_credentials&scope=crm:read&scope=crm:update",
            "invalid_request",
            "parameter-twice",
        ),
        ("grant_type=client_credentials&grant_type=password", "invalid_request", "parameter-twice"),
        (
            "grant_type=client_credentials&surprise=1&surprise=2",
            "invalid_request",
            "parameter-twice",
        ),
        ("scope=crm:read", "invalid_request", "parameter-missing"),
        (
            "grant_type=password&username=a&password=b",
            "unsupported_grant_type",
            "grant-type-unsupported",
        ),
        ("grant_type=CLIENT_CREDENTIALS", "unsupported_grant_type", "grant-type-unsupported"),
        ("grant_type=client_credentials&scope=%ff", "invalid_request", "form-encoding"),
        ("grant_type=client_credentials&scope=%zz", "invalid_request", "form-encoding"),
        ("grant_type=client_credentials&expires_in=0", "invalid_request", "expires-in-malformed"),
        ("grant_type=client_credentials&expires_in=-1", "invalid_request", "expires-in-malformed"),
        ("grant_type=client_credentials&expires_in=1e3", "invalid_request", "expires-in-malformed"),
    ] {
        let answer = body(&cast, &agent, text).await;
        assert_eq!(answer.rule(), rule, "{text}: {}", answer.text());
        answer.refused(400, error, rule);
    }
    let good = "grant_type=client_credentials&scope=crm:read";
    let by = |ask: Ask| ask.basic(&agent.id, &agent.secret);
    let query = by(Ask::raw_form(&format!("{path}?scope=crm:update"), good));
    cast.server.send(query).await.refused(400, "invalid_request", "query-not-allowed");
    let body = json!({"grant_type": "client_credentials"});
    let as_json = by(Ask::json("POST", &path, &body));
    cast.server.send(as_json).await.refused(400, "invalid_request", "content-type-not-form");
    let untyped = by(Ask::new("POST", &path).body(good));
    cast.server.send(untyped).await.refused(400, "invalid_request", "content-type-not-form");
    let get = by(Ask::get(&path));
    cast.server.send(get).await.problem(405, "method-not-allowed");
    cast.server.send(by(Ask::raw_form(&path, good))).await.good();

    // Bounds: of the body, of the parameters.
    let large = format!("{good}&x={}", "a".repeat(70_000));
    let large = cast.server.send(by(Ask::raw_form(&path, large))).await;
    large.refused(413, "invalid_request", "body-too-large");
    let many: Vec<String> = (0..65).map(|place| format!("p{place}=1")).collect();
    let many = cast.server.send(by(Ask::raw_form(&path, many.join("&")))).await;
    many.refused(400, "invalid_request", "too-many-parameters");
}

/// Item 20, the scope's part, and RFC 8707.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scope_is_compared_byte_by_byte() {
    let cast = Cast::new().await;
    let erp = json!({"name": "erp", "audience": "https://erp.example/", "actions": ["read"]});
    cast.server.post("/v1/resources", erp).await;
    let create = json!({"name": "narrow", "owner_email": "mia@example.com", "purpose": "reads",
        "allow": ["crm:read", "erp:read"], "activate": true});
    let agent = text(&cast.server.post("/v1/agents", create).await, "id");
    let agent = cast.secret_of(&agent).await;
    let ask = async |more: &[(&str, &str)]| {
        let ask = Ask::form(&cast.server.at("/oauth/token"), &[&[GRANT], more].concat());
        cast.server.send(ask.basic(&agent.id, &agent.secret)).await
    };
    for (scope, rule) in [
        ("crm:update", "scope-not-held"),
        ("crm:readwrite", "scope-not-held"),
        ("crm:rea", "scope-not-held"),
        ("crm:READ", "scope-not-held"),
        ("crm:read crm:update", "scope-not-held"),
        ("hr:read", "scope-not-held"),
        ("crm:*", "scope-malformed"),
        ("*", "scope-malformed"),
        ("crm:", "scope-malformed"),
        (":read", "scope-malformed"),
        ("crm", "scope-malformed"),
        ("crm:read:update", "scope-malformed"),
        ("crm:r\u{435}ad", "scope-malformed"),
        ("crm:read\u{a0}crm:update", "scope-malformed"),
        ("crm:read\tcrm:update", "scope-malformed"),
        ("crm:read\ncrm:update", "scope-malformed"),
        ("crm:read\"", "scope-malformed"),
        ("crm:read\\", "scope-malformed"),
        ("crm:read  crm:read", "scope-malformed"),
        (" crm:read", "scope-malformed"),
    ] {
        let answer = ask(&[("scope", scope)]).await;
        assert_eq!(answer.rule(), rule, "{scope:?}: {}", answer.text());
        answer.refused(400, "invalid_scope", rule);
    }
    let long = format!("crm:{}", "a".repeat(20_000));
    let answer = ask(&[("scope", &long)]).await;
    answer.refused(400, "invalid_scope", "scope-malformed");
    ask(&[]).await.refused(400, "invalid_scope", "scope-missing");
    for (more, rule) in [
        (&[("scope", "crm:read erp:read")][..], "target-two"),
        (&[("resource", CRM), ("resource", "https://erp.example/")], "target-two"),
        (&[("scope", "crm:read"), ("resource", "https://erp.example/")], "target-mismatch"),
        (&[("resource", "https://crm.example")], "target-unknown"),
        (&[("resource", "https://CRM.example/")], "target-unknown"),
        (&[("resource", "https://crm.example.evil/")], "target-unknown"),
        (&[("resource", "crm")], "resource-malformed"),
        (&[("resource", "https://crm.example/#x")], "resource-malformed"),
    ] {
        let answer = ask(more).await;
        assert_eq!(answer.rule(), rule, "{more:?}: {}", answer.text());
        answer.refused(400, "invalid_target", rule);
    }
    // A hint names what the agent holds, and nothing else that there is.
    let hint = text(&ask(&[("scope", "hr:read")]).await.json(), "hint");
    assert!(hint.contains("crm:read") && !hint.contains("update"), "{hint}");
}

/// Item 29.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn introspection_and_revocation_are_no_oracles() {
    let cast = Cast::new().await;
    let server = &cast.server;
    let (agent, other) = (cast.agent("planner").await, cast.agent("worker").await);
    let sibling = cast.instance_of(&agent.agent).await;
    let token = cast.token(&agent).await;
    let erp = json!({"name": "erp", "audience": "https://erp.example/", "actions": ["read"]});
    let erp = text(&server.post("/v1/resources", erp).await, "id");
    let body = json!({"resource": "erp", "type": "client-secret"});
    let of_erp = text(&server.post("/v1/credentials", body).await, "client_secret");

    let introspect = |token: &str| Ask::form(&server.at("/oauth/introspect"), &[("token", token)]);
    server.send(introspect(&token)).await.refused(401, "invalid_client", "client-unauthenticated");
    let wrong = introspect(&token).basic(&cast.resource, &of_erp);
    server.send(wrong).await.refused(401, "invalid_client", "client-authentication");
    for client in [&agent, &sibling] {
        let by_agent = introspect(&token).basic(&client.agent, &client.secret);
        server.send(by_agent).await.refused(403, "unauthorized_client", "not-entitled");
    }
    // Another resource's token, nonsense, and a token that never was: one answer.
    let (signed, _) = token.rsplit_once('.').expect("a signature");
    let forged = format!("{signed}.{}", "A".repeat(86));
    let mut answers = Vec::new();
    for asked in [token.as_str(), "nonsense", &forged, &agent.secret] {
        let answer = server.send(introspect(asked).basic(&erp, &of_erp)).await;
        answers.push((answer.status, answer.text()));
    }
    assert!(
        answers.iter().all(|answer| *answer == (200, r#"{"active":false}"#.to_owned())),
        "{answers:?}"
    );
    let own = introspect(&token).basic(&cast.resource, &cast.resource_secret);
    assert_eq!(server.send(own).await.json()["active"], true);
    let missing = Ask::form(&server.at("/oauth/introspect"), &[]);
    server.send(missing.bearer(&server.admin)).await.refused(
        400,
        "invalid_request",
        "parameter-missing",
    );

    // Nobody ends the token of another.
    let revoke = |token: &str| Ask::form(&server.at("/oauth/revoke"), &[("token", token)]);
    for thief in [&other, &sibling] {
        let answer = server.send(revoke(&token).basic(&thief.agent, &thief.secret)).await;
        answer.refused(403, "unauthorized_client", "token-not-yours");
    }
    server.send(revoke(&token)).await.refused(401, "invalid_client", "client-unauthenticated");
    let resource = revoke(&token).basic(&cast.resource, &cast.resource_secret);
    assert!(server.send(resource).await.status >= 400, "nor does the resource");
    let nothing = server.send(revoke("nonsense").basic(&other.id, &other.secret)).await;
    assert_eq!((nothing.status, nothing.body.len()), (200, 0), "RFC 7009 section 2.2");
    assert!(server.is_active(&token).await);
    // Nor is anybody told by that whether it is alive: of a dead one it is said in the same words.
    let thief = |token: &str| revoke(token).basic(&other.agent, &other.secret);
    let while_alive = server.send(thief(&token)).await;
    let own = revoke(&token).basic(&agent.agent, &agent.secret);
    assert_eq!(server.send(own).await.status, 200);
    let when_dead = server.send(thief(&token)).await;
    when_dead.refused(403, "unauthorized_client", "token-not-yours");
    assert_eq!(while_alive.json(), when_dead.json());
    let by_erp = server.send(introspect(&token).basic(&erp, &of_erp)).await;
    assert_eq!((by_erp.status, by_erp.text()), answers[0], "as while it was alive");
}

/// Items 30 and 31.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_header_of_a_request_says_who_we_are() {
    let cast = Cast::new().await;
    let server = &cast.server;
    let agent = cast.agent("planner").await;
    let paths = [
        format!("/.well-known/oauth-authorization-server/o/{}", server.org),
        format!("/.well-known/openid-configuration/o/{}", server.org),
        server.at("/.well-known/openid-configuration"),
        server.at("/.well-known/jwks.json"),
    ];
    for path in paths {
        let clean = server.send(Ask::get(&path)).await.good();
        let poisoned = Ask::get(&path)
            .host("evil.example")
            .header("x-forwarded-host", "evil.example")
            .header("x-forwarded-proto", "https")
            .header("x-forwarded-prefix", "/evil")
            .header("forwarded", "host=evil.example;proto=https")
            .header("x-original-url", "/evil")
            .header("origin", "https://evil.example");
        let poisoned = server.send(poisoned).await;
        assert_eq!(poisoned.good(), clean, "{path}");
        let opens = poisoned.headers.iter().any(|(name, _)| name.starts_with("access-control-"));
        assert!(!opens, "no page of another origin reads this: {:?}", poisoned.headers);
    }
    let form = [GRANT, ("scope", "crm:read")];
    let ask = Ask::form(&server.at("/oauth/token"), &form).basic(&agent.id, &agent.secret);
    let ask = ask.host("evil.example").header("x-forwarded-host", "evil.example");
    let token = text(&server.send(ask).await.good(), "access_token");
    let payload = token.split('.').nth(1).expect("a payload");
    let payload = accredit_wire::jose::b64url_decode(payload).expect("base64url");
    let claims: Value = serde_json::from_slice(&payload).expect("JSON");
    assert_eq!(claims["iss"], server.issuer);
    // And the address in the log is the peer's, whatever it says of itself.
    let ask = Ask::form(&server.at("/oauth/token"), &form).basic(&agent.id, &agent.secret);
    server.send(ask.header("x-forwarded-for", "203.0.113.7")).await.good();
    let events = server.get("/v1/events?type=token.issued").await.to_string();
    assert!(events.contains("127.0.0.1") && !events.contains("203.0.113.7"), "{events}");

    let unknown =
        server.send(Ask::get(&format!("/o/{}/.well-known/jwks.json", encoded("nö")))).await;
    assert_eq!(unknown.status, 404);
    let unknown = server.send(Ask::form("/o/nobody/oauth/token", &form)).await;
    unknown.refused(404, "invalid_request", "not-found");
}
