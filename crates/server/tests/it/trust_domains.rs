//! SPIFFE Federation: other trust domains, where their bundles come from, what is taken for one, and who is
//! told of them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use accredit_domain::trust_domains::follow::RETRY_AFTER;
use accredit_domain::trust_domains::{FOREIGN_DOMAINS_MAX, REFRESH_MAX, REFRESH_MIN};
use accredit_server::jobs;
use accredit_testkit::fixture::Scene;
use accredit_testkit::idp::Idp;
use accredit_testkit::{Answer, Ask, Client, Org, TestWorld};
use accredit_wire::jose::b64url_encode;
use accredit_wire::x509::bundle::BUNDLE_BYTES_MAX;
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData as _, SanType,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsAcceptor;

use crate::events;

const PARTNER: &str = "partner.example";
const ENDPOINT: &str = "spiffe://partner.example/bundle/server";

/// A trust domain as somebody else's program has it: an authority, and a key for JWT-SVIDs.
struct Authority {
    domain: String,
    root: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
    key: KeyPair,
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().expect("a name"))
}

impl Authority {
    fn of(domain: &str) -> Self {
        let (own, key) = (KeyPair::generate().expect("a key"), KeyPair::generate().expect("one"));
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.subject_alt_names = vec![uri(&format!("spiffe://{domain}"))];
        let root = params.self_signed(&own).expect("signed").der().to_vec();
        let issuer = Issuer::new(params, own);
        Self { domain: domain.to_owned(), root, issuer, key }
    }

    fn jwk(key: &KeyPair, more: Value) -> Value {
        let (x, y) = key.der_bytes()[1..].split_at(32);
        let mut jwk =
            json!({"kty": "EC", "crv": "P-256", "x": b64url_encode(x), "y": b64url_encode(y)});
        jwk.as_object_mut().expect("members").extend(more.as_object().expect("members").clone());
        jwk
    }

    fn root_jwk(&self) -> Value {
        let x5c = json!([accredit_wire::x509::base64(&self.root)]);
        Self::jwk(self.issuer.key(), json!({"use": "x509-svid", "x5c": x5c}))
    }

    fn jwt_jwk(&self) -> Value {
        Self::jwk(&self.key, json!({"use": "jwt-svid", "kid": "j1"}))
    }

    fn bundle(&self, sequence: i64) -> Value {
        let keys = [self.root_jwk(), self.jwt_jwk()];
        json!({"spiffe_sequence": sequence, "spiffe_refresh_hint": 60, "keys": keys})
    }

    /// A certificate that names `ids`, and its key, changed by `change`.
    fn leaf(
        &self,
        ids: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> (Vec<u8>, KeyPair) {
        let mut params = CertificateParams::default();
        params.subject_alt_names = ids.iter().map(|id| uri(id)).collect();
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        (params.signed_by(&key, &self.issuer).expect("signed").der().to_vec(), key)
    }
}

/// A server that shows one certificate and serves one document, both whatever they are told to be.
struct Endpoint {
    address: SocketAddr,
    shows: Arc<Mutex<Arc<rustls::ServerConfig>>>,
    says: Arc<Mutex<String>>,
}

fn showing((der, key): (Vec<u8>, KeyPair)) -> Arc<rustls::ServerConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![CertificateDer::from(der)], key);
    Arc::new(config.expect("a configuration"))
}

impl Endpoint {
    async fn start(shown: (Vec<u8>, KeyPair)) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let shows = Arc::new(Mutex::new(showing(shown)));
        let says = Arc::new(Mutex::new(String::new()));
        let (config, text) = (Arc::clone(&shows), Arc::clone(&says));
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let config = Arc::clone(&*config.lock().expect("whole"));
                let text = text.lock().expect("whole").clone();
                tokio::spawn(async move {
                    let Ok(mut tls) = TlsAcceptor::from(config).accept(tcp).await else { return };
                    let _ = tls.read(&mut [0; 4096]).await;
                    let answer = format!(
                        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\
                         content-length: {}\r\nconnection: close\r\n\r\n{text}",
                        text.len()
                    );
                    let _ = tls.write_all(answer.as_bytes()).await;
                    let _ = tls.shutdown().await;
                });
            }
        });
        Self { address, shows, says }
    }

    fn url(&self) -> String {
        format!("https://{}/bundle", self.address)
    }

    fn shows(&self, shown: (Vec<u8>, KeyPair)) {
        *self.shows.lock().expect("whole") = showing(shown);
    }

    fn says(&self, bundle: &Value) {
        *self.says.lock().expect("whole") = bundle.to_string();
    }
}

struct Case {
    world: TestWorld,
    scene: Scene,
    web: Idp,
    partner: Authority,
}

impl Case {
    async fn new(seed: u64) -> Self {
        let world = TestWorld::new(seed).await;
        let scene = world.scene().await;
        let web = Idp::start().await;
        world.outside.0.allow(&[web.address]).expect("allowed");
        Self { world, scene, web, partner: Authority::of(PARTNER) }
    }

    fn org(&self) -> &Org {
        &self.scene.org
    }

    async fn admin(&self, method: &str, path: &str, body: Option<Value>) -> Answer {
        self.world.admin(self.org(), method, path, body).await
    }

    fn url(&self) -> String {
        format!("{}/bundle", self.web.issuer())
    }

    fn serves(&self, bundle: &Value) {
        self.web.says("/bundle", "200 OK", "application/json", &bundle.to_string());
    }

    async fn add(&self, body: Value) -> Answer {
        self.admin("POST", "/v1/trust-domains", Some(body)).await
    }

    async fn followed(&self) -> Answer {
        self.add(json!({"name": PARTNER, "bundle_url": self.url()})).await
    }

    async fn shown(&self) -> Value {
        self.admin("GET", "/v1/trust-domains/partner.example", None).await.expect(200).json()
    }

    async fn refresh(&self, body: Value) -> Answer {
        let path = "/v1/trust-domains/partner.example/refresh";
        self.admin("POST", path, Some(body)).await
    }

    /// What a client is told.
    async fn told(&self, client: &Client) -> Answer {
        let ask = Ask::post(self.org().path("/oauth/federated-bundles")).basic(client).form(&[]);
        self.world.ask(ask).await
    }

    /// The names of those that a client is told of.
    async fn names(&self, client: &Client) -> Vec<String> {
        let told = self.told(client).await.expect(200).json();
        told["trust_domains"].as_object().expect("an object").keys().cloned().collect()
    }

    /// The job's turn, so much later.
    async fn later(&self, seconds: u64) {
        self.world.advance(seconds);
        jobs::follow_all(&self.world.server).await;
    }

    async fn told_in_log(&self, kind: &str) -> Vec<Value> {
        let events = events(&self.world, self.org(), kind).await;
        events.into_iter().map(|event| event["payload"].clone()).collect()
    }

    #[track_caller]
    fn wrong(answer: &Answer, field: &str, why: &str) {
        answer.problem(400, "field-invalid");
        let detail = answer.member("detail");
        assert!(detail.contains(&format!("`{field}`")) && detail.contains(why), "{detail}");
    }
}

#[tokio::test]
async fn a_bundle_is_followed_and_each_change_is_taken_whole_and_recorded() {
    let case = Case::new(7500).await;
    case.serves(&case.partner.bundle(7));
    let added = case.followed().await.expect(201).json();
    assert_eq!((&added["name"], &added["profile"]), (&json!(PARTNER), &json!("https_web")));
    assert_eq!((&added["sequence"], &added["refresh_seconds"]), (&json!(7), &json!(60)));
    assert_eq!((&added["jwt_keys"], &added["bundle_age"]), (&json!(["j1"]), &json!(0)));
    assert_eq!(added["roots"].as_array().expect("roots").len(), 1);
    let events = case.told_in_log("trust_domain.added").await;
    assert_eq!(
        (&events[0]["name"], &events[0]["changes"]["jwt_keys"]),
        (&json!(PARTNER), &json!("j1"))
    );
    assert_eq!(events[0]["changes"]["bundle_url"], case.url());

    // The same again is no event, and not asked for before it is due.
    let asked = case.web.count();
    case.later(59).await;
    assert_eq!(case.web.count(), asked);
    case.later(1).await;
    assert_eq!((case.web.count(), &case.shown().await["bundle_age"]), (asked + 1, &json!(0)));
    assert_eq!(case.told_in_log("trust_domain.bundle_changed").await.len(), 0);

    // Another one takes its place whole.
    let next = Authority::of(PARTNER);
    let mut both = case.partner.bundle(8);
    both["keys"] = json!([next.root_jwk()]);
    case.serves(&both);
    case.later(60).await;
    let shown = case.shown().await;
    assert_eq!((&shown["sequence"], &shown["jwt_keys"]), (&json!(8), &json!([])));
    assert_ne!(shown["roots"], added["roots"]);
    let changed = case.told_in_log("trust_domain.bundle_changed").await;
    assert_eq!(changed.len(), 1);
    assert_eq!(
        (&changed[0]["changes"]["sequence"], &changed[0]["actor"]["kind"]),
        (&json!("8"), &json!("system"))
    );

    // One that was published before is none, and neither is what is no bundle: what is held stays, and the
    // failure is told once, with its age.
    case.serves(&case.partner.bundle(7));
    case.later(60).await;
    case.web.says("/bundle", "200 OK", "application/json", "{}");
    case.later(RETRY_AFTER.as_secs()).await;
    let failing = case.shown().await;
    assert_eq!((&failing["sequence"], &failing["roots"]), (&json!(8), &shown["roots"]));
    assert_eq!(failing["bundle_age"], 60 + RETRY_AFTER.as_secs());
    assert!(failing["bundle_failing_since"].is_string(), "{failing}");
    assert!(failing["bundle_failure"].as_str().expect("why").contains("`keys`"), "{failing}");
    let failures = case.told_in_log("trust_domain.bundle_failing").await;
    assert_eq!(failures.len(), 1);
    assert!(failures[0]["reason"].as_str().expect("why").contains("7 after 8"), "{failures:?}");
    assert_eq!(case.names(&case.scene.client).await, [PARTNER], "it is believed on");

    // A number that stands still while the keys do not is told.
    case.serves(&case.partner.bundle(8));
    case.later(RETRY_AFTER.as_secs()).await;
    let back = case.shown().await;
    assert_eq!((&back["bundle_failure"], &back["roots"]), (&Value::Null, &added["roots"]));
    let changed = case.told_in_log("trust_domain.bundle_changed").await;
    let changes = &changed[1]["changes"];
    assert_eq!(
        (&changes["recovered"], &changes["sequence_stood_still"]),
        (&json!("true"), &json!("true"))
    );

    // Nobody is believed any more: that is said, too.
    case.serves(&json!({"spiffe_sequence": 9, "keys": []}));
    case.later(60).await;
    let empty = case.shown().await;
    assert_eq!((&empty["roots"], &empty["refresh_seconds"]), (&json!([]), &json!(300)));
    let told = case.told(&case.scene.client).await.expect(200).json();
    assert_eq!(told["trust_domains"][PARTNER]["bundle"]["keys"], json!([]));

    // It is forgotten, and its name is free.
    let path = "/v1/trust-domains/partner.example";
    case.admin("DELETE", path, None).await.expect(200);
    case.admin("GET", path, None).await.problem(404, "not-found");
    case.admin("DELETE", path, None).await.problem(404, "not-found");
    assert_eq!(case.told_in_log("trust_domain.removed").await.len(), 1);
    assert_eq!(case.names(&case.scene.client).await, [""; 0]);
    let asked = case.web.count();
    case.later(600).await;
    assert_eq!(case.web.count(), asked);
    case.followed().await.expect(201);
}

#[tokio::test]
async fn what_a_bundle_says_of_its_refresh_is_held_within_bounds() {
    for (seed, hint, seconds) in [
        (7501, json!(0), REFRESH_MIN.as_secs()),
        (7502, json!(i64::MAX), REFRESH_MAX.as_secs()),
        (7503, json!(90), 90),
    ] {
        let case = Case::new(seed).await;
        let mut bundle = case.partner.bundle(1);
        bundle["spiffe_refresh_hint"] = hint;
        case.serves(&bundle);
        assert_eq!(case.followed().await.expect(201).json()["refresh_seconds"], seconds);
        let asked = case.web.count();
        case.later(seconds - 1).await;
        assert_eq!(case.web.count(), asked);
        case.later(1).await;
        assert_eq!(case.web.count(), asked + 1);
    }
}

#[tokio::test]
async fn what_is_served_at_a_url_is_a_bundle_or_nothing_is_taken_in() {
    let case = Case::new(7504).await;
    let good = case.partner.bundle(1);
    let says = |status: &str, kind: &str, body: &str| case.web.says("/bundle", status, kind, body);
    let with = |key: Value| json!({"keys": [key]}).to_string();
    let mut two = case.partner.root_jwk();
    two["x5c"] = json!([two["x5c"][0], two["x5c"][0]]);
    let (leaf, key) = case.partner.leaf(&[PARTNER, ENDPOINT], |_| {});
    let x5c = json!([accredit_wire::x509::base64(&leaf)]);
    let leaf = Authority::jwk(&key, json!({"use": "x509-svid", "x5c": x5c}));
    let unnamed = Authority::jwk(&case.partner.key, json!({"use": "jwt-svid"}));
    let foreign = Authority::of("other.example").root_jwk();
    let long = json!({"keys": [], "x": "x".repeat(BUNDLE_BYTES_MAX)}).to_string();
    let json_type = "application/json";
    for (status, kind, body, why) in [
        ("302 Found", json_type, good.to_string(), "no redirect"),
        ("404 Not Found", json_type, good.to_string(), "404"),
        ("200 OK", "text/html", good.to_string(), "another type"),
        ("200 OK", "application/jwk-set+json", good.to_string(), "another type"),
        ("200 OK", json_type, long, "longer than"),
        ("200 OK", json_type, String::new(), "the bundle:"),
        ("200 OK", json_type, with(two), "exactly one"),
        ("200 OK", json_type, with(leaf), "may sign"),
        ("200 OK", json_type, with(unnamed), "`kid`"),
        ("200 OK", json_type, with(foreign), "names another URI"),
    ] {
        says(status, kind, &body);
        let answer = case.followed().await;
        Case::wrong(&answer, "bundle_url", "");
        let detail = answer.member("detail");
        assert!(
            detail.contains(why) || why == "longer than" && detail.contains("bytes"),
            "{detail}"
        );
    }
    let list = case.admin("GET", "/v1/trust-domains", None).await.expect(200).json();
    assert_eq!(list["items"], json!([]));
    assert_eq!(case.told_in_log("trust_domain.added").await.len(), 0);
}

#[tokio::test]
async fn what_is_asked_for_is_one_of_three_sources_of_somebody_elses_trust_domain() {
    let case = Case::new(7505).await;
    case.serves(&case.partner.bundle(1));
    let (url, text) = (case.url(), case.partner.bundle(1).to_string());
    let https = "https://bundle.partner.example/";
    for (body, field) in [
        (json!({"name": "acme.id.example", "bundle_url": url}), "name"),
        (json!({"name": "spiffe://partner.example", "bundle_url": url}), "name"),
        (json!({"name": "Partner.example", "bundle_url": url}), "name"),
        (json!({"name": "", "bundle_url": url}), "name"),
        (json!({"name": PARTNER}), "bundle_url"),
        (json!({"name": PARTNER, "bundle": text, "profile": "https_web"}), "bundle_url"),
        (json!({"name": PARTNER, "bundle": text, "endpoint_id": ENDPOINT}), "bundle_url"),
        (json!({"name": PARTNER, "bundle_url": "http://bundle.partner.example/"}), "bundle_url"),
        (json!({"name": PARTNER, "bundle_url": "https://127.0.0.1/b"}), "bundle_url"),
        (json!({"name": PARTNER, "bundle_url": "https://169.254.169.254/b"}), "bundle_url"),
        (json!({"name": PARTNER, "bundle_url": url, "bundle": text}), "bundle"),
        (json!({"name": PARTNER, "bundle_url": url, "endpoint_id": ENDPOINT}), "endpoint_id"),
        (json!({"name": PARTNER, "bundle": "{}"}), "bundle"),
        (json!({"name": "other.example", "bundle": text}), "bundle"),
        (
            json!({"name": PARTNER, "profile": "https_spiffe", "bundle_url": url, "bundle": text,
                "endpoint_id": ENDPOINT}),
            "bundle_url",
        ),
        (
            json!({"name": PARTNER, "profile": "https_spiffe", "bundle_url": https,
                "bundle": text}),
            "endpoint_id",
        ),
        (
            json!({"name": PARTNER, "profile": "https_spiffe", "bundle_url": https,
                "bundle": text, "endpoint_id": "spiffe://other.example/bundle/server"}),
            "endpoint_id",
        ),
        (
            json!({"name": PARTNER, "profile": "https_spiffe", "bundle_url": https,
                "endpoint_id": ENDPOINT}),
            "bundle",
        ),
    ] {
        Case::wrong(&case.add(body).await, field, "");
    }
    let nobody = json!({"name": PARTNER, "bundle": text, "agents": ["nobody"]});
    case.add(nobody).await.problem(404, "not-found");
    for (name, value) in [("profile", json!("https")), ("more", json!(1))] {
        let mut body = json!({"name": PARTNER, "bundle": text});
        body[name] = value;
        assert_eq!(case.add(body).await.status, 400, "{name}");
    }
    // What is given by hand is taken as it is, and kept until somebody gives another.
    let added = case.add(json!({"name": PARTNER, "bundle": text})).await.expect(201).json();
    assert_eq!((&added["bundle_url"], &added["refresh_seconds"]), (&Value::Null, &Value::Null));
    case.add(json!({"name": PARTNER, "bundle": text})).await.problem(409, "name-taken");
    case.later(2 * REFRESH_MAX.as_secs()).await;
    assert_eq!(case.shown().await["bundle_age"], 2 * REFRESH_MAX.as_secs());
    Case::wrong(&case.refresh(json!({})).await, "bundle", "missing");
    let newer = case.partner.bundle(3).to_string();
    assert_eq!(case.refresh(json!({"bundle": newer})).await.expect(200).json()["sequence"], 3);
    Case::wrong(&case.refresh(json!({"bundle": text})).await, "bundle", "1 after 3");
    assert_eq!(case.shown().await["sequence"], 3);
}

#[tokio::test]
async fn there_are_as_many_as_there_may_be_and_a_list_of_them() {
    let case = Case::new(7506).await;
    let given = |name: &str| json!({"name": name, "bundle": r#"{"keys":[]}"#});
    for n in 0..FOREIGN_DOMAINS_MAX {
        case.add(given(&format!("n{n:02}.example"))).await.expect(201);
    }
    case.add(given("z.example")).await.problem(409, "quota-reached");
    let path = "/v1/trust-domains?limit=2&sort=-name";
    let page = case.admin("GET", path, None).await.expect(200).json();
    let names = |page: &Value| {
        let items = page["items"].as_array().expect("items").iter();
        items.map(|item| item["name"].as_str().expect("a name").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&page), ["n63.example", "n62.example"]);
    let path = format!("{path}&cursor={}", page["next"].as_str().expect("more"));
    let page = case.admin("GET", &path, None).await.expect(200).json();
    assert_eq!(names(&page), ["n61.example", "n60.example"]);
    assert_eq!(case.names(&case.scene.client).await.len(), FOREIGN_DOMAINS_MAX);
}

#[tokio::test]
async fn instances_are_told_of_what_is_for_their_agent_and_nobody_else_is() {
    let case = Case::new(7507).await;
    let world = &case.world;
    world.agent(case.org(), "worker", &["crm:read"]).await;
    let worker = world.instance(case.org(), "worker", None).await;
    let planner = world.instance(case.org(), "planner", None).await;
    let text = case.partner.bundle(1).to_string();
    let some = json!({"name": PARTNER, "bundle": text, "agents": ["planner", "planner"]});
    assert_eq!(case.add(some).await.expect(201).json()["agents"], json!(["planner"]));
    case.add(json!({"name": "all.example", "bundle": r#"{"keys":[]}"#})).await.expect(201);
    assert_eq!(case.names(&planner).await, ["all.example", PARTNER]);
    assert_eq!(case.names(&case.scene.client).await, ["all.example", PARTNER]);
    assert_eq!(case.names(&worker).await, ["all.example"]);
    let told = case.told(&planner).await.expect(200);
    assert_eq!(told.header("cache-control"), "no-store");
    let keys = &told.json()["trust_domains"][PARTNER]["bundle"]["keys"];
    assert_eq!(keys, &json!([case.partner.root_jwk(), case.partner.jwt_jwk()]));

    // Nobody, somebody with another's secret, a resource, an administrator, an instance that was ended.
    let path = case.org().path("/oauth/federated-bundles");
    let anyone = world.ask(Ask::post(path.clone()).form(&[])).await;
    anyone.refused(401, "invalid_client", "client-unauthenticated");
    let stranger = Client { secret: worker.secret.clone(), ..planner.clone() };
    assert_eq!(case.told(&stranger).await.status, 401);
    let crm = world.resource_secret(case.org(), "crm").await;
    case.told(&crm).await.refused(400, "unauthorized_client", "grant-not-for-client");
    let admin = world.ask(Ask::post(path).bearer(&case.org().admin).form(&[])).await;
    assert_eq!(admin.status, 401);
    let id = planner.instance.expect("one").to_string();
    world.revoke(case.org(), &id).await.expect("revoked");
    assert_eq!(case.told(&planner).await.status, 401);

    // Another organization of the same server has its own, and may be one of the other's.
    let other = world.found("other").await;
    world.resource(&other, "crm", &["read"]).await;
    world.agent(&other, "planner", &["crm:read"]).await;
    let theirs = world.agent_secret(&other, "planner", None).await;
    let ask = || Ask::post(other.path("/oauth/federated-bundles")).basic(&theirs).form(&[]);
    let told = world.ask(ask()).await.expect(200).json();
    assert_eq!(told["trust_domains"], json!({}));
    let missing = world.admin(&other, "GET", "/v1/trust-domains/partner.example", None).await;
    missing.problem(404, "not-found");
    let own = world.ask(Ask::get(case.org().path("/spiffe/bundle"))).await.expect(200);
    let body = json!({"name": "acme.id.example", "bundle": own.text()});
    world.admin(&other, "POST", "/v1/trust-domains", Some(body)).await.expect(201);
    let told = world.ask(ask()).await.expect(200).json();
    assert_eq!(told["trust_domains"]["acme.id.example"]["bundle"]["keys"], own.json()["keys"]);
}

#[tokio::test]
async fn a_server_is_known_by_its_id_and_the_bundle_that_is_held() {
    let case = Case::new(7508).await;
    let (partner, other) = (&case.partner, Authority::of("other.example"));
    let endpoint = Endpoint::start(partner.leaf(&[ENDPOINT], |_| {})).await;
    case.world.outside.0.allow(&[endpoint.address]).expect("allowed");
    endpoint.says(&partner.bundle(2));
    let add = async |bundle: &Value| {
        let body = json!({"name": PARTNER, "profile": "https_spiffe",
            "bundle_url": endpoint.url(), "endpoint_id": ENDPOINT, "bundle": bundle.to_string()});
        case.add(body).await
    };
    // Somebody else, whatever they show: nothing is taken in.
    let impostor = Authority::of(PARTNER);
    let expired =
        |params: &mut CertificateParams| params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let signs = |params: &mut CertificateParams| {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    };
    for shown in [
        partner.leaf(&["spiffe://partner.example/bundle/other"], |_| {}),
        partner.leaf(&["spiffe://partner.example/bundle/server/"], |_| {}),
        partner.leaf(&[ENDPOINT, "spiffe://partner.example/second"], |_| {}),
        partner.leaf(&[], |_| {}),
        other.leaf(&[ENDPOINT], |_| {}),
        other.leaf(&["spiffe://other.example/bundle/server"], |_| {}),
        impostor.leaf(&[ENDPOINT], |_| {}),
        partner.leaf(&[ENDPOINT], expired),
        partner.leaf(&[ENDPOINT], signs),
    ] {
        endpoint.shows(shown);
        Case::wrong(&add(&partner.bundle(1)).await, "bundle_url", "");
    }
    endpoint.shows(partner.leaf(&[ENDPOINT], |_| {}));
    let nobody = json!({"keys": []});
    Case::wrong(&add(&nobody).await, "bundle_url", "");
    Case::wrong(&add(&partner.bundle(3)).await, "bundle_url", "2 after 3");
    let added = add(&partner.bundle(1)).await.expect(201).json();
    assert_eq!((&added["sequence"], &added["profile"]), (&json!(2), &json!("https_spiffe")));
    assert_eq!(added["endpoint_id"], ENDPOINT);

    // Each bundle vouches for whoever serves the next: the next root is published before it signs.
    let next = Authority::of(PARTNER);
    let mut both = partner.bundle(3);
    both["keys"] = json!([partner.root_jwk(), next.root_jwk()]);
    endpoint.says(&both);
    case.later(60).await;
    endpoint.shows(next.leaf(&[ENDPOINT], |_| {}));
    endpoint.says(&next.bundle(4));
    case.later(60).await;
    assert_eq!(case.shown().await["sequence"], 4);
    // The first one's word counts for nothing any more.
    endpoint.shows(partner.leaf(&[ENDPOINT], |_| {}));
    endpoint.says(&partner.bundle(5));
    case.later(60).await;
    let failing = case.shown().await;
    assert_eq!(failing["sequence"], 4);
    assert!(failing["bundle_failing_since"].is_string(), "{failing}");
    Case::wrong(&case.refresh(json!({})).await, "bundle_url", "");
    // A bundle that came another way is a new beginning.
    let text = partner.bundle(5).to_string();
    let taken = case.refresh(json!({"bundle": text})).await.expect(200).json();
    assert_eq!((&taken["sequence"], &taken["bundle_failure"]), (&json!(5), &Value::Null));
    assert_eq!(case.refresh(json!({})).await.expect(200).json()["sequence"], 5);
    assert_eq!(partner.domain, PARTNER);
}
