//! SPIFFE X509-SVID: certificates that instances ask for, judged by another library, and how each ends.

use std::time::Duration;

use accredit_domain::ca::INTERMEDIATE_LIFE;
use accredit_domain::issuance::certificate::{
    CERTIFICATE_LIFETIME_MAX_SECONDS, CERTIFICATES_OF_INSTANCE_MAX,
};
use accredit_domain::registry::keep_for;
use accredit_server::jobs;
use accredit_testkit::{Answer, Ask, Client, Org, Scene, TestWorld};
use accredit_wire::crypto::{Algorithm, PrivateKey, sha256};
use accredit_wire::jose::jwt::SKEW_MAX;
use accredit_wire::time::Time;
use accredit_wire::tlog::Hash;
use accredit_wire::x509::{decoded, request};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use serde_json::{Value, json};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use x509_cert::der::Decode as _;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage, SubjectAltName};

/// Asks for the name of another organization's instance and of a host, and to be an authority.
const GREEDY: &str = include_str!("../../../../fuzz/corpus/csr/p256.pem");

/// A certification request for a new key.
pub(crate) fn csr() -> String {
    let (key, _) = PrivateKey::generate(Algorithm::Es256).expect("a key");
    request::write(&key).expect("a request")
}

/// Asks for a certificate with a secret.
pub(crate) async fn ask(
    world: &TestWorld,
    org: &Org,
    client: &Client,
    form: &[(&str, &str)],
) -> Answer {
    world.ask(Ask::post(org.path("/oauth/certificates")).basic(client).form(form)).await
}

/// A certificate of an instance.
pub(crate) async fn issue(world: &TestWorld, org: &Org, client: &Client) -> Value {
    ask(world, org, client, &[("csr", &csr())]).await.expect(200).json()
}

/// An instance of `planner` is refused while whoever it hangs on is suspended, and is not afterwards.
pub(crate) async fn refused_while_stopped(
    world: &TestWorld,
    org: &Org,
    asks: impl AsyncFn() -> Answer,
) {
    let reason = json!({"reason": "a test"});
    for (noun, key, rule) in [
        ("agents", "planner", "agent-not-active"),
        ("persons", "planner-owner@example.com", "owner-not-active"),
        ("orgs", "acme", "organization-not-active"),
    ] {
        let at = |verb: &str| format!("/v1/{noun}/{key}/{verb}");
        world.admin(org, "POST", &at("suspend"), Some(reason.clone())).await.expect(200);
        asks().await.refused(400, "unauthorized_client", rule);
        world.admin(org, "POST", &at("activate"), Some(reason.clone())).await.expect(200);
        asks().await.expect(200);
    }
}

/// Whether a certificate is `valid`, `revoked` or `expired`, to whoever looks it up.
pub(crate) async fn standing(world: &TestWorld, org: &Org, id: &str) -> String {
    let path = format!("/v1/certificates/{id}");
    world.admin(org, "GET", &path, None).await.expect(200).member("standing")
}

async fn listed(world: &TestWorld, org: &Org, query: &str) -> Vec<Value> {
    let path = format!("/v1/certificates{query}");
    let page = world.admin(org, "GET", &path, None).await.expect(200).json();
    page["items"].as_array().expect("items").clone()
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_else(|| panic!("`{name}` of {value}")).to_owned()
}

/// The certificate and its intermediate, DER.
pub(crate) fn chain(issued: &Value) -> [Vec<u8>; 2] {
    let text = text(issued, "certificate");
    let blocks = text.split_inclusive("-----END CERTIFICATE-----\n");
    let blocks = blocks.map(|block| decoded("CERTIFICATE", block).expect("PEM"));
    blocks.collect::<Vec<_>>().try_into().expect("two of them")
}

fn read(der: &[u8]) -> x509_cert::Certificate {
    x509_cert::Certificate::from_der(der).expect("a certificate")
}

/// What it names, beside its subject.
fn names(certificate: &x509_cert::Certificate) -> Vec<GeneralName> {
    let found = certificate.tbs_certificate().get_extension::<SubjectAltName>();
    found.expect("read").expect("names").1.0
}

/// What another library says of it, by the published bundle.
async fn check(
    world: &TestWorld,
    org: &Org,
    issued: &Value,
    usage: KeyUsage,
) -> Result<(), String> {
    let bundle = world.ask(Ask::get(org.path("/spiffe/bundle"))).await.expect(200).json();
    let roots = bundle["keys"].as_array().expect("keys").iter();
    let roots = roots.filter(|key| key["use"] == "x509-svid");
    let roots: Vec<Vec<u8>> = roots
        .map(|key| STANDARD.decode(key["x5c"][0].as_str().expect("text")).expect("base64"))
        .collect();
    let roots: Vec<CertificateDer<'_>> = roots.iter().map(|der| der.as_slice().into()).collect();
    let anchor = |root| {
        let anchor = anchor_from_trusted_cert(root).expect("an anchor");
        // It reads no constraints of URIs: whoever goes by it compares the whole id.
        TrustAnchor { name_constraints: None, ..anchor }
    };
    let anchors: Vec<TrustAnchor<'_>> = roots.iter().map(anchor).collect();
    let [leaf, between] = chain(issued);
    let leaf = CertificateDer::from(leaf);
    let leaf = EndEntityCert::try_from(&leaf).map_err(|error| error.to_string())?;
    let between = [CertificateDer::from(between)];
    let at = Duration::from_secs(world.now().seconds() as u64);
    let at = UnixTime::since_unix_epoch(at);
    leaf.verify_for_usage(ALL_VERIFICATION_ALGS, &anchors, &between, at, usage, None, None)
        .map(drop)
        .map_err(|error| format!("{error:?}"))
}

#[tokio::test]
async fn an_instance_gets_a_certificate_that_says_who_it_is_and_no_more() {
    let world = TestWorld::new(611).await;
    let Scene { org, planner, .. } = world.scene().await;
    let one = world.instance(&org, "planner", None).await;
    let instance = one.instance.expect("one");
    let answer = ask(&world, &org, &one, &[("csr", &csr())]).await.expect(200);
    assert_eq!(answer.header("cache-control"), "no-store");
    let issued = answer.json();
    let id = format!("spiffe://acme.id.example/agent/planner/instance/{instance}");
    assert_eq!(text(&issued, "spiffe_id"), id);
    assert_eq!(issued["expires_in"], CERTIFICATE_LIFETIME_MAX_SECONDS);
    for usage in [KeyUsage::client_auth(), KeyUsage::server_auth()] {
        assert_eq!(check(&world, &org, &issued, usage).await, Ok(()));
    }
    let [leaf, between] = chain(&issued);
    let leaf_read = read(&leaf);
    let [GeneralName::UniformResourceIdentifier(uri)] = &names(&leaf_read)[..] else {
        panic!("{:?}", names(&leaf_read))
    };
    assert_eq!(uri.as_str(), id);
    let uses = leaf_read.tbs_certificate().get_extension::<ExtendedKeyUsage>();
    assert_eq!(uses.expect("read").expect("uses").1.0.len(), 2);

    // It is found by its id and by whose it is, and its event says which one it was.
    let shown = listed(&world, &org, "?agent=planner").await;
    let [shown] = &shown[..] else { panic!("{shown:?}") };
    assert_eq!((&shown["id"], &shown["spiffe_id"]), (&issued["id"], &issued["spiffe_id"]));
    assert_eq!(text(shown, "standing"), "valid");
    assert_eq!(text(shown, "sha256"), Hash::new(sha256(&leaf)).to_string());
    assert_eq!(shown["expires_at"], issued["expires_at"]);
    let event = crate::events(&world, &org, "certificate.issued").await;
    let [event] = &event[..] else { panic!("{event:?}") };
    let said = &event["payload"];
    assert_eq!((&said["token"], &said["subject"]), (&issued["id"], &issued["spiffe_id"]));
    assert_eq!((&said["certificate"], &said["key"]), (&shown["sha256"], &shown["key"]));
    assert_eq!(said["actor"]["id"], planner.id.to_string());
    assert_eq!(said["instance"], instance.to_string());

    // The next one is another: neither serial nor id comes twice.
    let next = issue(&world, &org, &one).await;
    assert_ne!(next["id"], issued["id"]);
    let [second, again] = chain(&next);
    assert_eq!(again, between);
    let serial = |certificate: &x509_cert::Certificate| {
        certificate.tbs_certificate().serial_number().as_bytes().to_vec()
    };
    assert_ne!(serial(&read(&second)), serial(&leaf_read));
}

#[tokio::test]
async fn what_a_request_asks_for_beside_its_key_is_not_looked_at() {
    let world = TestWorld::new(612).await;
    let Scene { org, .. } = world.scene().await;
    let one = world.instance(&org, "planner", None).await;
    let asked = [
        ("csr", GREEDY),
        ("spiffe_id", "spiffe://other.example/agent/a/instance/b"),
        ("instance", "ins_00000000000000000000000000"),
        ("dns_name", "evil.example"),
    ];
    let issued = ask(&world, &org, &one, &asked).await.expect(200).json();
    let [leaf, _] = chain(&issued);
    let leaf = read(&leaf);
    let own = text(&issued, "spiffe_id");
    let instance = one.instance.expect("one").to_string();
    assert!(own.ends_with(&instance), "{own}");
    assert_eq!(names(&leaf).len(), 1, "{:?}", names(&leaf));
    assert!(
        matches!(&names(&leaf)[0], GeneralName::UniformResourceIdentifier(uri) if uri.as_str() == own)
    );
    let constraints = leaf.tbs_certificate().get_extension::<BasicConstraints>();
    assert!(!constraints.expect("read").expect("there").1.ca);
    assert_eq!(leaf.tbs_certificate().subject().to_string(), format!("CN={instance}"));
    assert_eq!(check(&world, &org, &issued, KeyUsage::client_auth()).await, Ok(()));
}

#[tokio::test]
async fn a_request_that_its_own_good_key_did_not_sign_gets_nothing() {
    let world = TestWorld::new(613).await;
    let Scene { org, .. } = world.scene().await;
    let one = world.instance(&org, "planner", None).await;
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/csr");
    for (name, why) in [
        ("forged.pem", "is not signed by the key in it"),
        ("rsa1024.pem", "has a key that is not of"),
        ("p521.pem", "has a key that is not of"),
        ("ed25519.pem", "has a key that is not of"),
        ("published.pem", "everybody has it"),
    ] {
        let sent = std::fs::read_to_string(folder.join(name)).expect("a request");
        let answer = ask(&world, &org, &one, &[("csr", &sent)]).await;
        answer.refused(400, "invalid_request", "certificate-request");
        assert!(answer.text().contains(why), "{name}: {}", answer.text());
    }
    let good = csr();
    let long = format!("{good}{}", "\n".repeat(request::REQUEST_TEXT_BYTES_MAX));
    // Where `+` was sent as it is, a form says that it is a blank.
    let blanks = GREEDY.replace('+', " ");
    assert_ne!(blanks, GREEDY);
    for sent in ["x", "AAAA", &good[..good.len() - 40], &good.repeat(2), &long, &blanks] {
        let answer = ask(&world, &org, &one, &[("csr", sent)]).await;
        answer.refused(400, "invalid_request", "certificate-request");
    }
    ask(&world, &org, &one, &[]).await.refused(400, "invalid_request", "parameter-missing");
    let path = org.path("/oauth/certificates");
    let twice = Ask::post(&path).basic(&one).form(&[("csr", &good), ("csr", &good)]);
    world.ask(twice).await.refused(400, "invalid_request", "parameter-twice");
    let huge = Ask::post(&path).basic(&one).form(&[("csr", &*"x".repeat(70_000))]);
    assert_eq!(world.ask(huge).await.status, 413);
    let in_url = Ask::post(format!("{path}?csr=x")).basic(&one).form(&[("csr", &good)]);
    world.ask(in_url).await.refused(400, "invalid_request", "query-not-allowed");
    assert_eq!(listed(&world, &org, "").await.len(), 0, "none of them left a row");
    assert!(crate::events(&world, &org, "certificate.issued").await.is_empty());
    // Who asked is known, so that it is recorded, with what it was about.
    let refused = crate::events(&world, &org, "token.refused").await;
    assert_eq!(refused[0]["payload"]["format"], "x509-svid");
    assert_eq!(refused[0]["payload"]["rule"], "certificate-request");
}

#[tokio::test]
async fn certificates_are_for_instances_that_prove_who_they_are_and_may_act() {
    let world = TestWorld::new(614).await;
    let Scene { org, client, .. } = world.scene().await;
    let csr = csr();
    let form = [("csr", csr.as_str())];
    let one = world.instance(&org, "planner", None).await;
    let nobody = world.ask(Ask::post(org.path("/oauth/certificates")).form(&form)).await;
    nobody.refused(401, "invalid_client", "client-unauthenticated");
    let liar = Client { secret: format!("{}x", one.secret), ..one.clone() };
    let wrong = ask(&world, &org, &liar, &form).await;
    wrong.refused(401, "invalid_client", "client-authentication");
    assert!(!wrong.header("www-authenticate").is_empty());

    // Neither the agent itself, nor a resource, nor another agent's instance under this one's name.
    let agents_own = ask(&world, &org, &client, &form).await;
    agents_own.refused(400, "unauthorized_client", "grant-not-for-client");
    let crm = world.resource_secret(&org, "crm").await;
    ask(&world, &org, &crm, &form).await.refused(
        400,
        "unauthorized_client",
        "grant-not-for-client",
    );
    world.agent(&org, "other", &["crm:read"]).await;
    let other = world.instance(&org, "other", None).await;
    let posing = Client { secret: other.secret.clone(), ..one.clone() };
    ask(&world, &org, &posing, &form).await.refused(401, "invalid_client", "client-authentication");
    let own = ask(&world, &org, &other, &[form[0], ("client_id", &one.id)]).await;
    own.refused(400, "invalid_request", "client-id-differs");
    let elsewhere = world.found("elsewhere").await;
    ask(&world, &elsewhere, &one, &form).await.refused(
        401,
        "invalid_client",
        "client-authentication",
    );
    // Nor whoever is stopped, for as long as that is so.
    refused_while_stopped(&world, &org, async || ask(&world, &org, &one, &form).await).await;
    let brief = world.instance(&org, "planner", Some(60)).await;
    ask(&world, &org, &brief, &form).await.expect(200);
    world.advance(61);
    let over = ask(&world, &org, &brief, &form).await;
    assert_eq!((over.status, over.member("error")), (401, "invalid_client".to_owned()));
}

#[tokio::test]
async fn an_assertion_gets_one_certificate() {
    let world = TestWorld::new(615).await;
    let Scene { org, .. } = world.scene().await;
    let one = world.instance(&org, "planner", None).await.instance.expect("one").to_string();
    let signer = world.short_key(&org, "planner", Some(one.clone()), "k1", 3600).await;
    let assertion = signer.assertion(world.now(), "n1");
    let csr = csr();
    let form = [
        ("csr", csr.as_str()),
        ("client_assertion_type", accredit_wire::oauth::client_auth::ASSERTION_TYPE),
        ("client_assertion", &assertion),
    ];
    let ask = || Ask::post(org.path("/oauth/certificates")).form(&form);
    let issued = world.ask(ask()).await.expect(200).json();
    assert!(text(&issued, "spiffe_id").ends_with(&one));
    world.ask(ask()).await.refused(401, "invalid_client", "assertion-replayed");
    // What was used up at one endpoint is used up at the other.
    let form = [("scope", "crm:read")];
    let token = world.token_by(&org, &assertion, &form).await;
    token.refused(401, "invalid_client", "assertion-replayed");
    assert_eq!(listed(&world, &org, "").await.len(), 1);
}

#[tokio::test]
async fn a_certificate_outlives_nothing_that_it_hangs_on() {
    let world = TestWorld::new(616).await;
    let Scene { org, .. } = world.scene().await;
    let one = world.instance(&org, "planner", None).await;
    let csr = csr();
    let life = async |client: &Client, more: &[(&str, &str)]| {
        let form = [&[("csr", csr.as_str())], more].concat();
        let answer = ask(&world, &org, client, &form).await.expect(200).json();
        let [leaf, _] = chain(&answer);
        let validity = *read(&leaf).tbs_certificate().validity();
        let until = validity.not_after.to_unix_duration().as_secs();
        let shown = answer["expires_in"].as_u64().expect("seconds");
        assert_eq!(until, world.now().seconds() as u64 + shown, "what is told is what it says");
        shown
    };
    assert_eq!(life(&one, &[]).await, 3600);
    assert_eq!(life(&one, &[("expires_in", "90")]).await, 90);
    assert_eq!(life(&one, &[("expires_in", "86400")]).await, 3600);
    let brief = world.instance(&org, "planner", Some(600)).await;
    assert_eq!(life(&brief, &[]).await, 600);
    let task = json!({"agent": "planner", "purpose": "a test", "expires_in": 300});
    let task = world.admin(&org, "POST", "/v1/tasks", Some(task)).await.expect(201).member("id");
    assert_eq!(life(&one, &[("task", &task)]).await, 300);
    let nobodys = accredit_wire::ids::TaskId::new(1, [1; 10]).to_string();
    let unknown = [("csr", csr.as_str()), ("task", nobodys.as_str())];
    ask(&world, &org, &one, &unknown).await.refused(400, "invalid_request", "task-unknown");

    let policy = json!({"certificate_lifetime": 120});
    world.admin(&org, "PATCH", "/v1/agents/planner", Some(policy)).await.expect(200);
    assert_eq!(life(&one, &[]).await, 120, "as the agent says");
    assert_eq!(life(&one, &[("expires_in", "3600")]).await, 120, "and no longer");
    assert_eq!(life(&one, &[("expires_in", "60")]).await, 60);
    for wrong in [0, 3601] {
        let policy = json!({"certificate_lifetime": wrong});
        let told = world.admin(&org, "PATCH", "/v1/agents/planner", Some(policy)).await;
        told.problem(400, "field-invalid");
    }
    let policy = json!({"certificate_lifetime": 3600});
    world.admin(&org, "PATCH", "/v1/agents/planner", Some(policy)).await.expect(200);

    // Nor the intermediate, should nobody rotate it.
    let client = world.instance(&org, "planner", Some(30 * 24 * 3600)).await;
    world.clock.advance(INTERMEDIATE_LIFE.saturating_sub(Duration::from_mins(20)));
    assert_eq!(life(&client, &[]).await, 1200);
    world.advance(1200);
    let none = ask(&world, &org, &client, &[("csr", &csr)]).await;
    none.refused(503, "temporarily_unavailable", "ca-not-ready");
    assert_eq!(none.header("retry-after"), "60");
    jobs::rotate_all(&world.server).await;
    assert_eq!(life(&client, &[]).await, 3600);
}

#[tokio::test]
async fn a_kill_ends_it_for_whoever_looks_and_its_siblings_go_on() {
    let world = TestWorld::new(617).await;
    let Scene { org, .. } = world.scene().await;
    let (one, sibling) =
        (world.instance(&org, "planner", None).await, world.instance(&org, "planner", None).await);
    let [first, second] = [issue(&world, &org, &one).await, issue(&world, &org, &one).await];
    let others = issue(&world, &org, &sibling).await;
    let [first, second, others] = [first, second, others].map(|issued| text(&issued, "id"));
    // One of them, by its id: as any token.
    let body = json!({"target": first, "reason": "a test"});
    world.admin(&org, "POST", "/v1/revocations", Some(body)).await.expect(201);
    for (id, expected) in [(&first, "revoked"), (&second, "valid"), (&others, "valid")] {
        assert_eq!(standing(&world, &org, id).await, expected);
    }
    let instance = one.instance.expect("one").to_string();
    let told = world.revoke(&org, &instance).await.expect("revoked");
    let ended = told.blast.expect("counted");
    assert_eq!((ended.instances, ended.tokens_at_most), (1, 2), "with its certificates");
    for (id, expected) in [(&first, "revoked"), (&second, "revoked"), (&others, "valid")] {
        assert_eq!(standing(&world, &org, id).await, expected);
    }
    let over = ask(&world, &org, &one, &[("csr", &csr())]).await;
    over.refused(401, "invalid_client", "credential-revoked");
    issue(&world, &org, &sibling).await;

    // A suspension ends what there was, and nothing that comes after.
    let agent = world.agent_id(&org, "planner").await.to_string();
    world.revoke(&org, &agent).await.expect("suspended");
    let reason = Some(json!({"reason": "a test"}));
    let path = format!("/v1/agents/{agent}/activate");
    world.admin(&org, "POST", &path, reason).await.expect(200);
    assert_eq!(standing(&world, &org, &others).await, "revoked");
    let again = text(&issue(&world, &org, &sibling).await, "id");
    assert_eq!(standing(&world, &org, &again).await, "valid");
    // A new process says the same.
    let world = world.reopened(618).await;
    assert_eq!(standing(&world, &org, &others).await, "revoked");
    assert_eq!(standing(&world, &org, &again).await, "valid");
}

#[tokio::test]
async fn what_is_revoked_while_a_certificate_is_made_ends_it_or_keeps_it_from_being_made() {
    let world = TestWorld::new(619).await;
    let Scene { org, .. } = world.scene().await;
    let (one, other) =
        (world.instance(&org, "planner", None).await, world.instance(&org, "planner", None).await);
    let cx = world.cx(&org).await;
    let target = one.instance.expect("one").to_string();
    world.vault.before_next_token(Box::pin(async move {
        let reason = "a test".to_owned();
        let asked = accredit_domain::revocation::Revoke { target, reason, expires_in: None };
        accredit_domain::revocation::revoke(&cx, &asked).await.expect("revoked");
    }));
    let overtaken = ask(&world, &org, &one, &[("csr", &csr())]).await;
    overtaken.refused(401, "invalid_client", "credential-revoked");
    assert!(crate::events(&world, &org, "certificate.issued").await.is_empty());
    // What does not concern it is no reason.
    let (cx, target) = (world.cx(&org).await, one.credential.clone());
    world.vault.before_next_token(Box::pin(async move {
        let token = accredit_wire::ids::TokenId::new(1, [9; 10]).to_string();
        let asked =
            accredit_domain::revocation::Revoke { target: token, reason: target, expires_in: None };
        accredit_domain::revocation::revoke(&cx, &asked).await.expect("revoked");
    }));
    let issued = issue(&world, &org, &other).await;
    assert_eq!(standing(&world, &org, &text(&issued, "id")).await, "valid");
}

#[tokio::test]
async fn an_instance_has_so_many_and_those_that_are_over_are_gone() {
    let world = TestWorld::new(620).await;
    let Scene { org, .. } = world.scene().await;
    let (one, other) =
        (world.instance(&org, "planner", None).await, world.instance(&org, "planner", None).await);
    let csr = csr();
    let form = [("csr", csr.as_str()), ("expires_in", "600")];
    let mut last = String::new();
    for _ in 0..CERTIFICATES_OF_INSTANCE_MAX {
        last = ask(&world, &org, &one, &form).await.expect(200).member("id");
    }
    let full = ask(&world, &org, &one, &form).await;
    full.refused(400, "invalid_request", "quota-reached");
    ask(&world, &org, &other, &form).await.expect(200);
    assert_eq!(listed(&world, &org, "?limit=200").await.len(), 65);
    world.advance(600);
    assert_eq!(standing(&world, &org, &last).await, "expired");
    ask(&world, &org, &one, &form).await.expect(200);
    // A verifier's clock may be behind: until then it is there.
    let forget = async || {
        let surely = Time::from_seconds(world.now().seconds());
        world.world.store.forget_before(surely).await.expect("forgotten");
    };
    forget().await;
    assert_eq!(listed(&world, &org, "?limit=200").await.len(), 66);
    world.advance(SKEW_MAX.as_secs() + 1);
    forget().await;
    let left = listed(&world, &org, "").await;
    assert_eq!(left.len(), 1, "{left:?}");
    let path = format!("/v1/certificates/{last}");
    world.admin(&org, "GET", &path, None).await.problem(404, "not-found");
    assert!(keep_for() > Duration::from_hours(1) + SKEW_MAX, "no row outlives what ended it");
}

#[tokio::test]
async fn certificates_are_listed_by_agent_and_instance_and_to_their_own_organization_alone() {
    let world = TestWorld::new(621).await;
    let Scene { org, .. } = world.scene().await;
    world.agent(&org, "other", &["crm:read"]).await;
    let (one, two) =
        (world.instance(&org, "planner", None).await, world.instance(&org, "other", None).await);
    for client in [&one, &one, &two] {
        issue(&world, &org, client).await;
        world.advance(1);
    }
    let instance = one.instance.expect("one").to_string();
    let of_two = two.instance.expect("one").to_string();
    for (query, count) in [
        (String::new(), 3),
        ("?agent=planner".into(), 2),
        ("?agent=other".into(), 1),
        (format!("?instance={instance}"), 2),
        (format!("?instance={of_two}&agent=planner"), 0),
        (format!("?instance={instance}&agent=planner&sort=-created_at"), 2),
        ("?expires_before=2000-01-01T00:00:00Z".into(), 0),
    ] {
        let found = listed(&world, &org, &query).await;
        assert_eq!(found.len(), count, "{query}: {found:?}");
    }
    let newest = listed(&world, &org, "?sort=-created_at&limit=1").await;
    assert_eq!(text(&newest[0], "instance"), of_two);
    let id = text(&newest[0], "id");

    let stranger = world.found("other").await;
    assert!(listed(&world, &stranger, "").await.is_empty());
    assert!(listed(&world, &stranger, &format!("?instance={instance}")).await.is_empty());
    for path in [format!("/v1/certificates/{id}"), "/v1/certificates?agent=planner".into()] {
        world.admin(&stranger, "GET", &path, None).await.problem(404, "not-found");
    }
    let crafted = world.admin(&org, "GET", "/v1/certificates/ins_x", None).await;
    crafted.problem(404, "not-found");
    world.admin(&org, "GET", "/v1/certificates?instance=x", None).await.problem(404, "not-found");
}

#[tokio::test]
async fn nothing_is_issued_while_nobody_knows_what_was_ended() {
    let world = TestWorld::new(622).await;
    let Scene { org, .. } = world.scene().await;
    let one = world.instance(&org, "planner", None).await;
    let before = text(&issue(&world, &org, &one).await, "id");
    let world = world.restored(&org, 623).await;
    let closed = ask(&world, &org, &one, &[("csr", &csr())]).await;
    closed.refused(503, "temporarily_unavailable", "issuing-closed");
    assert_eq!(standing(&world, &org, &before).await, "revoked", "as every token of before");
}
