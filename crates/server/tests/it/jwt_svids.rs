//! SPIFFE JWT-SVID, draft-ietf-oauth-spiffe-client-auth-02: tokens that say who an instance is, what ends
//! them, and what is none.

use accredit_domain::issuance::jwt_svid::JWT_SVID_LIFETIME_MAX_SECONDS;
use accredit_testkit::{Answer, Ask, Client, Org, Scene, TestWorld};
use accredit_wire::ids::AnyId;
use accredit_wire::jose::b64url_encode;
use accredit_wire::jose::jws::SigningInput;
use accredit_wire::jwt_svid::JwtSvid;
use accredit_wire::jwt_svid::authorities::Authorities;
use accredit_wire::oauth::client_auth::{ASSERTION_TYPE, SVID_ASSERTION_TYPE};
use accredit_wire::x509::spiffe::TrustDomain;
use serde_json::{Value, json};

use crate::certificates::refused_while_stopped;
use crate::{claims, events};

const GRANT: (&str, &str) = ("grant_type", "client_credentials");
const READ: (&str, &str) = ("scope", "crm:read");

/// Asks for a JWT-SVID with a secret.
pub(crate) async fn ask(
    world: &TestWorld,
    org: &Org,
    client: &Client,
    form: &[(&str, &str)],
) -> Answer {
    world.ask(Ask::post(org.path("/oauth/jwt-svids")).basic(client).form(form)).await
}

/// A JWT-SVID of an instance for one audience.
pub(crate) async fn issue(world: &TestWorld, org: &Org, client: &Client, audience: &str) -> String {
    ask(world, org, client, &[("audience", audience)]).await.expect(200).member("svid")
}

/// Asks for a token with a JWT-SVID and with nothing else.
pub(crate) async fn by_svid(
    world: &TestWorld,
    org: &Org,
    svid: &str,
    more: &[(&str, &str)],
) -> Answer {
    world
        .ask(Ask::post(org.path("/oauth/token")).form(&shown(svid, &[&[GRANT], more].concat())))
        .await
}

/// A form in which a JWT-SVID is what proves the client.
fn shown<'a>(svid: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let kind = ("client_assertion_type", SVID_ASSERTION_TYPE);
    [&[kind, ("client_assertion", svid)], more].concat()
}

/// Whether it stands, to an administrator who knows what it is.
pub(crate) async fn stands(world: &TestWorld, org: &Org, svid: &str) -> bool {
    let form = [("token", svid), ("token_type_hint", "jwt_svid")];
    let ask = Ask::post(org.path("/oauth/introspect")).bearer(&org.admin).form(&form);
    world.ask(ask).await.expect(200).json()["active"] == true
}

/// Every id that it hangs on, as it says itself.
pub(crate) async fn lineage(world: &TestWorld, org: &Org, svid: &str) -> Vec<AnyId> {
    let tenant = world.tenant(org).await;
    JwtSvid::read(svid, tenant.keys().jwt_svid_jwks()).expect("ours").lineage()
}

async fn bundle(world: &TestWorld, org: &Org) -> Value {
    world.ask(Ask::get(org.path("/spiffe/bundle"))).await.expect(200).json()
}

/// What anybody says of it who has the bundle alone.
async fn checked(
    world: &TestWorld,
    org: &Org,
    svid: &str,
    audience: &str,
) -> Result<String, String> {
    let text = bundle(world, org).await.to_string();
    let authorities = Authorities::of_bundle(text.as_bytes()).expect("a bundle");
    let domain = TrustDomain::parse(&format!("{}.id.example", org.name)).expect("one");
    let checked = authorities.check(svid, (&domain, audience), world.now());
    checked.map(|it| it.spiffe_id.to_string()).map_err(|error| error.to_string())
}

fn header(token: &str) -> Value {
    let head = token.split('.').next().expect("a header");
    let head = accredit_wire::jose::b64url_decode(head).expect("base64url");
    serde_json::from_slice(&head).expect("JSON")
}

#[tokio::test]
async fn an_instance_gets_a_token_that_says_who_it_is_and_no_more() {
    let world = TestWorld::new(7301).await;
    let Scene { org, planner, .. } = world.scene().await;
    let one = world.instance(&org, "planner", None).await;
    let instance = one.instance.expect("one");
    let form = [("audience", "https://crm.example/"), ("audience", "billing")];
    let answer = ask(&world, &org, &one, &form).await.expect(200);
    assert_eq!(answer.header("cache-control"), "no-store");
    let (issued, svid) = (answer.json(), answer.member("svid"));
    let id = format!("spiffe://acme.id.example/agent/planner/instance/{instance}");
    assert_eq!(issued["spiffe_id"], id);
    assert_eq!(issued["expires_in"], JWT_SVID_LIFETIME_MAX_SECONDS);
    assert_eq!(issued["audience"], json!(["https://crm.example/", "billing"]));
    let said = claims(&svid);
    assert_eq!((&said["sub"], &said["aud"]), (&json!(id), &issued["audience"]));
    assert_eq!((&said["jti"], &said["iat"]), (&issued["id"], &json!(world.now().seconds())));
    assert!(said.get("iss").is_none() && said.get("scope").is_none(), "{said}");

    // Its key is in the bundle for this alone, and nowhere else.
    let head = header(&svid);
    assert_eq!((&head["alg"], &head["typ"]), (&json!("ES256"), &json!("JWT")));
    let published = bundle(&world, &org).await;
    let keys = published["keys"].as_array().expect("keys");
    let uses: Vec<_> = keys.iter().map(|key| key["use"].as_str().expect("a use")).collect();
    assert_eq!(uses, ["x509-svid", "x509-svid", "jwt-svid", "jwt-svid"], "and the next of each");
    let its = keys.iter().find(|key| key["kid"] == head["kid"]).expect("its key");
    assert!(its.get("x5c").is_none() && keys[0].get("kid").is_none());
    for path in ["jwks", "feed-jwks", "biscuit-jwks"] {
        let path = org.path(&format!("/.well-known/{path}.json"));
        let answer = world.ask(Ask::get(path)).await.expect(200);
        let set = answer.text();
        assert!(!set.contains(head["kid"].as_str().expect("a kid")), "{set}");
    }
    for audience in ["https://crm.example/", "billing"] {
        assert_eq!(checked(&world, &org, &svid, audience).await, Ok(id.clone()));
    }
    assert!(checked(&world, &org, &svid, "crm").await.is_err());

    let issued_events = events(&world, &org, "token.issued").await;
    let payload = &issued_events.last().expect("an event")["payload"];
    assert_eq!((&payload["token"], &payload["format"]), (&issued["id"], &json!("jwt-svid")));
    assert_eq!(
        (&payload["subject"], &payload["audience"]),
        (&json!(id), &json!("https://crm.example/ billing"))
    );
    assert_eq!(payload["actor"]["id"], planner.id.to_string());
    assert_eq!(payload["credential"], one.credential);
    assert!(!payload.to_string().contains(&svid));
    for form in [
        &[][..],
        &[("audience", "")],
        &[("audience", "a"), ("audience", "a")],
        &[("audience", "a b")],
        &[
            ("audience", "a"),
            ("audience", "b"),
            ("audience", "c"),
            ("audience", "d"),
            ("audience", "e"),
        ],
        &[("audience", "a"), ("expires_in", "0")],
        &[("audience", "a"), ("task", "x")],
    ] {
        let answer = ask(&world, &org, &one, form).await;
        assert_eq!(
            (answer.status, answer.member("error")),
            (400, "invalid_request".into()),
            "{form:?}"
        );
    }
}

#[tokio::test]
async fn jwt_svids_are_for_instances_that_prove_who_they_are_and_may_act() {
    let world = TestWorld::new(7302).await;
    let Scene { org, client, .. } = world.scene().await;
    let form = [("audience", "a")];
    let one = world.instance(&org, "planner", None).await;
    let nobody = world.ask(Ask::post(org.path("/oauth/jwt-svids")).form(&form)).await;
    nobody.refused(401, "invalid_client", "client-unauthenticated");
    let liar = Client { secret: format!("{}x", one.secret), ..one.clone() };
    ask(&world, &org, &liar, &form).await.refused(401, "invalid_client", "client-authentication");
    let crm = world.resource_secret(&org, "crm").await;
    for not in [&client, &crm] {
        let answer = ask(&world, &org, not, &form).await;
        answer.refused(400, "unauthorized_client", "grant-not-for-client");
    }
    refused_while_stopped(&world, &org, async || ask(&world, &org, &one, &form).await).await;
    let refused = events(&world, &org, "token.refused").await;
    assert!(refused.iter().all(|event| event["payload"]["format"] == "jwt-svid"), "{refused:?}");
}

#[tokio::test]
async fn a_jwt_svid_outlives_nothing_that_it_hangs_on() {
    let world = TestWorld::new(7303).await;
    let Scene { org, .. } = world.scene().await;
    let one = world.instance(&org, "planner", None).await;
    let life = async |client: &Client, more: &[(&str, &str)]| {
        let answer = ask(&world, &org, client, &[&[("audience", "a")], more].concat()).await;
        let answer = answer.expect(200);
        let said = claims(&answer.member("svid"));
        let shown = answer.json()["expires_in"].as_u64().expect("seconds");
        assert_eq!(said["exp"].as_u64().expect("one"), world.now().seconds() as u64 + shown);
        shown
    };
    assert_eq!(life(&one, &[]).await, 300);
    assert_eq!(life(&one, &[("expires_in", "90")]).await, 90);
    assert_eq!(life(&one, &[("expires_in", "86400")]).await, 300);
    let brief = world.instance(&org, "planner", Some(60)).await;
    assert_eq!(life(&brief, &[]).await, 60);
    let task = json!({"agent": "planner", "purpose": "a test", "expires_in": 120});
    let task = world.admin(&org, "POST", "/v1/tasks", Some(task)).await.expect(201).member("id");
    assert_eq!(life(&one, &[("task", &task)]).await, 120);

    // With a certificate it is got, too, and hangs on that.
    let (der, row) = crate::mtls::svid(&world, &org, &one).await;
    world.advance(3600 - 30);
    let spiffe = row["spiffe_id"].as_str().expect("an id");
    let form = [("audience", "a"), ("client_id", spiffe)];
    let over = || Ask::post(org.path("/oauth/jwt-svids")).over(&der).form(&form);
    let answer = world.ask(over()).await.expect(200);
    assert_eq!(answer.json()["expires_in"], 30);
    let svid = answer.member("svid");
    let hangs_on = lineage(&world, &org, &svid).await;
    let certificate: AnyId = row["id"].as_str().expect("an id").parse().expect("an id");
    assert!(hangs_on.contains(&certificate), "{hangs_on:?}");
    assert!(stands(&world, &org, &svid).await);
    world.revoke(&org, &certificate.to_string()).await.expect("revoked");
    assert!(!stands(&world, &org, &svid).await);
    world.ask(over()).await.refused(401, "invalid_client", "certificate-revoked");
}

#[tokio::test]
async fn whether_it_stands_is_told_to_whom_it_is_for_and_who_knows_what_it_is() {
    let world = TestWorld::new(7304).await;
    let Scene { org, client, .. } = world.scene().await;
    world.resource(&org, "mail", &["send"]).await;
    let crm = world.resource_secret(&org, "crm").await;
    let mail = world.resource_secret(&org, "mail").await;
    let audience =
        world.admin(&org, "GET", "/v1/resources/crm", None).await.expect(200).member("audience");
    let one = world.instance(&org, "planner", None).await;
    let sibling = world.instance(&org, "planner", None).await;
    let svid = issue(&world, &org, &one, &audience).await;
    let siblings = issue(&world, &org, &sibling, &audience).await;
    let told = async |by: &Client, svid: &str, hint: Option<&str>| {
        let mut form = vec![("token", svid)];
        form.extend(hint.map(|hint| ("token_type_hint", hint)));
        world.ask(Ask::post(org.path("/oauth/introspect")).basic(by).form(&form)).await
    };
    let hint = Some("jwt_svid");
    let answer = told(&crm, &svid, hint).await.expect(200).json();
    let said = claims(&svid);
    assert_eq!((&answer["active"], &answer["token_type"]), (&json!(true), &json!("N_A")));
    for name in ["sub", "aud", "exp", "iat", "jti"] {
        assert_eq!(answer[name], said[name], "{name}");
    }
    assert_eq!(answer["iss"], org.issuer);
    assert!(answer.get("scope").is_none() && answer.get("client_id").is_none(), "{answer}");
    let inactive = json!({"active": false});
    // Who takes it for an access token is not told that it is one, nor who it is not for.
    for (by, hint) in [(&crm, None), (&crm, Some("access_token")), (&mail, hint)] {
        assert_eq!(told(by, &svid, hint).await.expect(200).json(), inactive, "{hint:?}");
    }
    told(&client, &svid, hint).await.expect(403);
    // An access token is no JWT-SVID.
    let token = world.token(&org, &one, &[READ]).await.expect(200).member("access_token");
    assert_eq!(told(&crm, &token, hint).await.expect(200).json(), inactive);

    // Its instance ends it; a sibling does not, and does not learn whether it was alive.
    let end = async |by: &Client, svid: &str| {
        world.ask(Ask::post(org.path("/oauth/revoke")).basic(by).form(&[("token", svid)])).await
    };
    let anothers = end(&sibling, &svid).await;
    assert_eq!(anothers.status, 403, "{}", anothers.text());
    assert!(stands(&world, &org, &svid).await);
    end(&one, &svid).await.expect(200);
    assert!(!stands(&world, &org, &svid).await);
    assert_eq!(told(&crm, &svid, hint).await.expect(200).json(), inactive);
    end(&one, &svid).await.expect(200);
    assert_eq!(end(&sibling, &svid).await.status, 403);

    // The end of the instance ends all of them, and its sibling's lives on until it is over.
    let next = issue(&world, &org, &one, &audience).await;
    world.revoke(&org, &one.instance.expect("one").to_string()).await.expect("revoked");
    assert!(!stands(&world, &org, &next).await);
    assert!(stands(&world, &org, &siblings).await);
    assert!(
        checked(&world, &org, &next, &audience).await.is_ok(),
        "the bundle alone does not tell"
    );
    world.advance(i64::from(JWT_SVID_LIFETIME_MAX_SECONDS) as u64);
    assert!(
        !stands(&world, &org, &siblings).await,
        "nothing is forgiven: the end was set by this clock"
    );
}

#[tokio::test]
async fn an_instance_is_known_by_its_jwt_svid_and_what_it_gets_hangs_on_that() {
    let world = TestWorld::new(7305).await;
    let Scene { org, planner, .. } = world.scene().await;
    let one = world.instance(&org, "planner", None).await;
    let answer = ask(&world, &org, &one, &[("audience", &*org.issuer)]).await.expect(200);
    let (svid, spiffe) = (answer.member("svid"), answer.member("spiffe_id"));
    let agent = planner.id.to_string();
    // It is kept and shown again: it is no proof that is used up.
    for client_id in [None, Some(spiffe.as_str()), Some(&agent)] {
        let mut more = vec![READ];
        more.extend(client_id.map(|id| ("client_id", id)));
        let answer = by_svid(&world, &org, &svid, &more).await.expect(200);
        let said = claims(&answer.member("access_token"));
        assert_eq!(said["client_id"], agent);
        assert_eq!(said["accredit"]["ins"], one.instance.expect("one").to_string());
        let hangs_on = said["accredit"]["lin"].to_string();
        for id in lineage(&world, &org, &svid).await {
            let is_there =
                hangs_on.contains(&id.to_string()) || said.to_string().contains(&id.to_string());
            assert!(is_there, "{id} is not in {said}");
        }
    }
    let issued = events(&world, &org, "token.issued").await;
    let payload = &issued.last().expect("an event")["payload"];
    assert_eq!(
        (&payload["method"], &payload["credential"]),
        (&json!("spiffe_jwt"), &json!(one.credential))
    );

    // Not for longer than it.
    world.advance(200);
    let token = by_svid(&world, &org, &svid, &[READ]).await.expect(200);
    assert_eq!(token.json()["expires_in"], 100);
    let token = token.member("access_token");
    let is_alive = async |token: &str| {
        let ask = Ask::post(org.path("/oauth/introspect")).bearer(&org.admin);
        world.ask(ask.form(&[("token", token)])).await.expect(200).json()["active"] == true
    };
    assert!(is_alive(&token).await);
    // And nothing that would outlive it, nor one of its kind for somebody else.
    let csr = crate::certificates::csr();
    for (path, form) in [
        ("/oauth/certificates", &[("csr", csr.as_str())][..]),
        ("/oauth/tasks", &[("purpose", "a test")]),
        ("/oauth/instances", &[("agent", "planner"), READ]),
        ("/oauth/jwt-svids", &[("audience", "https://elsewhere.example")]),
    ] {
        let answer = world.ask(Ask::post(org.path(path)).form(&shown(&svid, form))).await;
        answer.refused(400, "unauthorized_client", "grant-not-for-client");
    }
    let other = world.agent(&org, "other", &["crm:read"]).await.id.to_string();
    for wrong in [other.as_str(), "planner", "spiffe://acme.id.example/agent/planner"] {
        let answer = by_svid(&world, &org, &svid, &[READ, ("client_id", wrong)]).await;
        answer.refused(401, "invalid_client", "assertion-invalid");
    }
    let id = claims(&svid)["jti"].as_str().expect("an id").to_owned();
    world.revoke(&org, &id).await.expect("revoked");
    by_svid(&world, &org, &svid, &[READ]).await.refused(401, "invalid_client", "svid-revoked");
    assert!(!is_alive(&token).await, "what was got with it has ended with it");
    let fresh = issue(&world, &org, &one, &org.issuer).await;
    by_svid(&world, &org, &fresh, &[READ]).await.expect(200);
    world.advance(300);
    by_svid(&world, &org, &fresh, &[READ]).await.refused(
        401,
        "invalid_client",
        "assertion-lifetime",
    );
    let fresh = issue(&world, &org, &one, &org.issuer).await;
    world.revoke(&org, &one.instance.expect("one").to_string()).await.expect("revoked");
    let ended = by_svid(&world, &org, &fresh, &[READ]).await;
    ended.refused(401, "invalid_client", "credential-revoked");
}

#[tokio::test]
async fn nobody_is_known_by_what_is_no_jwt_svid_for_us_alone() {
    let world = TestWorld::new(7306).await;
    let Scene { org, .. } = world.scene().await;
    let one = world.instance(&org, "planner", None).await;
    let elsewhere = world.found("elsewhere").await;
    world.resource(&elsewhere, "crm", &["read"]).await;
    world.agent(&elsewhere, "planner", &["crm:read"]).await;
    let other = world.instance(&elsewhere, "planner", None).await;
    let audience = async |form: &[(&str, &str)]| {
        let answer = ask(&world, &org, &one, form).await.expect(200).member("svid");
        by_svid(&world, &org, &answer, &[READ]).await
    };
    let token_endpoint = format!("{}/oauth/token", org.issuer);
    for wrong in [
        &[("audience", "https://crm.example/")][..],
        &[("audience", token_endpoint.as_str())],
        &[("audience", org.issuer.as_str()), ("audience", "https://crm.example/")],
        &[("audience", elsewhere.issuer.as_str())],
    ] {
        audience(wrong).await.refused(401, "invalid_client", "assertion-audience");
    }
    // That of another trust domain, whatever it says for whom it is.
    for aud in [&org.issuer, &elsewhere.issuer] {
        let foreign = issue(&world, &elsewhere, &other, aud).await;
        let answer = by_svid(&world, &org, &foreign, &[READ]).await;
        answer.refused(401, "invalid_client", "client-authentication");
    }
    let good = issue(&world, &org, &one, &org.issuer).await;
    by_svid(&world, &org, &good, &[READ]).await.expect(200);
    let kid = header(&good)["kid"].clone();
    let (_, rest) = good.split_once('.').expect("a token");
    let (signed, _) = good.rsplit_once('.').expect("a token");
    for head in [
        json!({"alg": "none", "typ": "JWT", "kid": kid}),
        json!({"alg": "HS256", "typ": "JWT", "kid": kid}),
        json!({"alg": "EdDSA", "typ": "JWT", "kid": kid}),
        json!({"alg": "ES256", "typ": "at+jwt", "kid": kid}),
        json!({"alg": "ES256", "typ": "JWT"}),
        json!({"alg": "ES256", "typ": "JWT", "kid": kid, "crit": ["x"]}),
        json!({"alg": "ES256", "typ": "JOSE", "kid": kid}),
    ] {
        let bent = format!("{}.{rest}", b64url_encode(head.to_string().as_bytes()));
        let answer = by_svid(&world, &org, &bent, &[READ]).await;
        assert_eq!(
            (answer.status, answer.member("error")),
            (401, "invalid_client".into()),
            "{head}"
        );
    }
    for bent in [signed.to_owned(), format!("{signed}."), format!("{signed}.AAAA"), "x".into()] {
        let answer = by_svid(&world, &org, &bent, &[READ]).await;
        assert_eq!(
            (answer.status, answer.member("error")),
            (401, "invalid_client".into()),
            "{bent}"
        );
    }

    // What is signed for one purpose is nothing for another.
    let token = world.token(&org, &one, &[READ]).await.expect(200).member("access_token");
    let (idp, key) = world.idp().await;
    let id_token = key.sign(
        &json!({"alg": "ES256", "kid": "k1", "typ": "JWT"}),
        &json!({"iss": idp.issuer(), "sub": claims(&good)["sub"], "aud": org.issuer,
            "iat": world.now().seconds(), "exp": world.now().seconds() + 60}),
    );
    let signer = world.short_key(&org, "planner", None, "k1", 3600).await;
    let assertion = signer.assertion(world.now(), "n1");
    for not in [&token, &id_token, &assertion] {
        let answer = by_svid(&world, &org, not, &[READ]).await;
        assert_eq!(
            (answer.status, answer.member("error")),
            (401, "invalid_client".into()),
            "{not}"
        );
    }
    let tenant = world.tenant(&org).await;
    assert!(tenant.verifier.verify_token(&good, world.now()).is_err(), "it is no access token");
    let as_assertion =
        [GRANT, READ, ("client_assertion_type", ASSERTION_TYPE), ("client_assertion", &good)];
    let answer = world.ask(Ask::post(org.path("/oauth/token")).form(&as_assertion)).await;
    assert_eq!((answer.status, answer.member("error")), (401, "invalid_client".into()));
    let as_grant =
        [("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"), READ, ("assertion", &good)];
    let answer = world.ask(Ask::post(org.path("/oauth/token")).form(&as_grant)).await;
    assert_eq!(answer.status, 400, "{}", answer.text());
    for kind in ["access_token", "jwt"] {
        let kind = format!("urn:ietf:params:oauth:token-type:{kind}");
        let form = [("subject_token", good.as_str()), ("subject_token_type", &kind), READ];
        let answer = crate::exchange::ask(&world, &org, &one, &form).await;
        assert_eq!(
            (answer.status, answer.member("error")),
            (400, "invalid_request".into()),
            "{kind}"
        );
    }
}

#[tokio::test]
async fn keys_of_jwt_svids_follow_one_another_and_a_revoked_one_takes_all_it_signed_along() {
    let world = TestWorld::new(7307).await;
    let Scene { org, .. } = world.scene().await;
    let one = world.instance(&org, "planner", None).await;
    let first = issue(&world, &org, &one, &org.issuer).await;
    let sequence = async || bundle(&world, &org).await["spiffe_sequence"].as_u64().expect("one");
    let before = sequence().await;
    let rotate = json!({"purpose": "jwt-svid"});
    world
        .admin(&org, "POST", "/v1/signing-keys/rotate", Some(rotate.clone()))
        .await
        .problem(409, "state-forbids");
    world.advance(1800);
    world.admin(&org, "POST", "/v1/signing-keys/rotate", Some(rotate)).await.expect(201);
    assert!(sequence().await > before);
    let second = issue(&world, &org, &one, &org.issuer).await;
    assert_ne!(header(&first)["kid"], header(&second)["kid"]);
    let kids: Vec<_> = bundle(&world, &org).await["keys"]
        .as_array()
        .expect("keys")
        .iter()
        .filter_map(|key| key["kid"].as_str().map(str::to_owned))
        .collect();
    assert_eq!(kids.len(), 3, "what signed last is published still: {kids:?}");
    by_svid(&world, &org, &second, &[READ]).await.expect(200);
    let kid = header(&second)["kid"].as_str().expect("a kid").to_owned();
    world.revoke(&org, &kid).await.expect("revoked");
    by_svid(&world, &org, &second, &[READ]).await.refused(
        401,
        "invalid_client",
        "client-authentication",
    );
    assert!(!stands(&world, &org, &second).await);
    assert!(
        checked(&world, &org, &second, &org.issuer).await.is_err(),
        "the bundle has it no more"
    );
    let third = issue(&world, &org, &one, &org.issuer).await;
    by_svid(&world, &org, &third, &[READ]).await.expect(200);
}

#[tokio::test]
async fn the_metadata_says_that_instances_are_known_by_their_svids() {
    let world = TestWorld::new(7308).await;
    let org = world.found("acme").await;
    let path = "/.well-known/oauth-authorization-server/o/acme";
    let said = world.ask(Ask::get(path)).await.expect(200).json();
    let methods = |of: &str| said[format!("{of}_endpoint_auth_methods_supported")].to_string();
    assert!(
        methods("token").contains("spiffe_jwt") && methods("revocation").contains("spiffe_jwt")
    );
    assert!(!methods("introspection").contains("spiffe_jwt"), "agents do not introspect");
    assert!(!methods("token").contains("spiffe_x509"), "nobody is asked for a certificate");
    let _ = org;
}

/// As if the key had signed what we never write.
async fn bent(world: &TestWorld, org: &Org, svid: &str, bend: impl Fn(&mut JwtSvid)) -> String {
    let tenant = world.tenant(org).await;
    let mut said = JwtSvid::read(svid, tenant.keys().jwt_svid_jwks()).expect("ours");
    bend(&mut said);
    let key = tenant.jwt_svid_key().expect("a key");
    let payload = said.to_payload().expect("a payload");
    let input = SigningInput::new(&key.header, &payload).expect("an input");
    let signature = world.world.vault.sign(&key.sealed, input.bytes()).await.expect("signed");
    input.finish(&signature)
}

#[tokio::test]
async fn nobody_is_known_by_what_our_own_key_never_signs() {
    let world = TestWorld::new(7310).await;
    let Scene { org, .. } = world.scene().await;
    let (one, other) =
        (world.instance(&org, "planner", None).await, world.instance(&org, "planner", None).await);
    let svid = issue(&world, &org, &one, &org.issuer).await;
    let same = bent(&world, &org, &svid, |_| {}).await;
    by_svid(&world, &org, &same, &[READ]).await.expect(200);

    // What says that it was decided by more than is known here: what ended since, nobody knows.
    let ahead = bent(&world, &org, &svid, |said| said.rev += 1).await;
    by_svid(&world, &org, &ahead, &[READ]).await.refused(401, "invalid_client", "svid-revoked");
    assert!(!stands(&world, &org, &ahead).await);
    // What names another than it hangs on.
    let others = other.instance.expect("one");
    let named = bent(&world, &org, &svid, |said| {
        let before = said.instance.to_string();
        said.spiffe_id = said.spiffe_id.replace(&before, &others.to_string());
    });
    let hangs = bent(&world, &org, &svid, |said| said.instance = others);
    for wrong in [named.await, hangs.await] {
        let refused = by_svid(&world, &org, &wrong, &[READ]).await;
        refused.refused(401, "invalid_client", "assertion-invalid");
        assert!(!stands(&world, &org, &wrong).await);
    }
}
