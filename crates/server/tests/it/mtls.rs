//! RFC 8705: clients that are known by the certificate of their connection, and tokens that are bound to
//! it. The handshake itself is tried with the real binary; here a connection is what it has proved.

use accredit_domain::registry::agent::CreateAgent;
use accredit_server::certificates::ClientCertificates;
use accredit_testkit::fixture::{Client, Org, Scene};
use accredit_testkit::{Answer, Ask, TestWorld};
use accredit_wire::binding::Thumbprint;
use accredit_wire::binding::dpop::{ProofKey, ToProve};
use accredit_wire::client_cert::TrustedCertificates;
use accredit_wire::crypto::{Algorithm, PrivateKey};
use accredit_wire::jose::b64url_encode;
use accredit_wire::tlog::Hash;
use accredit_wire::verify::Rejection;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, SanType};
use serde_json::{Value, json};

use crate::certificates::{chain, issue};
use crate::{claims, events};

const GRANT: (&str, &str) = ("grant_type", "client_credentials");
const READ: (&str, &str) = ("scope", "crm:read");
const EXCHANGE: (&str, &str) = ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange");
const ACCESS_TOKEN: (&str, &str) =
    ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token");

/// A key pair, and the certificate that it signed for itself.
pub(crate) struct Own {
    pair: KeyPair,
    pub(crate) der: Vec<u8>,
}

impl Own {
    pub(crate) fn new() -> Self {
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
        Self::of(pair, |_| ())
    }

    fn of(pair: KeyPair, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut params = CertificateParams::default();
        change(&mut params);
        let der = params.self_signed(&pair).expect("a certificate").der().to_vec();
        Self { pair, der }
    }

    /// Another certificate of the same key.
    fn again(self, change: impl FnOnce(&mut CertificateParams)) -> Self {
        Self::of(self.pair, change)
    }

    pub(crate) fn jwk(&self) -> Value {
        let point = self.pair.public_key_raw();
        let (x, y) = (b64url_encode(&point[1..33]), b64url_encode(&point[33..]));
        json!({"kty": "EC", "crv": "P-256", "x": x, "y": y})
    }

    fn thumbprint(&self) -> String {
        thumbprint(&self.der)
    }
}

fn thumbprint(der: &[u8]) -> String {
    Thumbprint::of_certificate(der).to_string()
}

/// Registers its key for an agent; the credential.
pub(crate) async fn register(world: &TestWorld, org: &Org, agent: &str, own: &Own) -> String {
    let body = json!({"agent": agent, "type": "public-key", "jwk": own.jwk()});
    world.admin(org, "POST", "/v1/credentials", Some(body)).await.expect(201).member("id")
}

/// Asks for a token over a connection with a certificate and with nothing else.
pub(crate) async fn over(
    world: &TestWorld,
    org: &Org,
    (client, der): (&str, &[u8]),
    more: &[(&str, &str)],
) -> Answer {
    let form = [&[GRANT, ("client_id", client)], more].concat();
    world.ask(Ask::post(org.path("/oauth/token")).over(der).form(&form)).await
}

/// A certificate of an instance, and its row's id.
pub(crate) async fn svid(world: &TestWorld, org: &Org, client: &Client) -> (Vec<u8>, Value) {
    let issued = issue(world, org, client).await;
    let [leaf, _] = chain(&issued);
    (leaf, issued)
}

async fn told(world: &TestWorld, org: &Org, token: &str) -> Value {
    let crm = world.resource_secret(org, "crm").await;
    let ask = Ask::post(org.path("/oauth/introspect")).basic(&crm);
    world.ask(ask.form(&[("token", token)])).await.expect(200).json()
}

fn unknown(answer: &Answer) {
    answer.refused(401, "invalid_client", "client-authentication");
}

#[tokio::test]
async fn a_client_is_known_by_its_registered_key_and_its_token_is_bound_to_the_certificate() {
    let world = TestWorld::new(7100).await;
    let Scene { org, planner, .. } = world.scene().await;
    let (own, agent) = (Own::new(), planner.id.to_string());
    let credential = register(&world, &org, "planner", &own).await;
    let answer = over(&world, &org, (&agent, &own.der), &[READ]).await.expect(200).json();
    assert_eq!(answer["token_type"], "Bearer", "RFC 8705 section 3");
    let token = answer["access_token"].as_str().expect("a token");
    assert_eq!(claims(token)["cnf"], json!({ "x5t#S256": own.thumbprint() }));
    assert!(claims(token)["accredit"]["lin"].to_string().contains(&credential));
    let issued = events(&world, &org, "token.issued").await;
    let payload = &issued.last().expect("an event")["payload"];
    assert_eq!(payload["method"], "self_signed_tls_client_auth");
    assert_eq!(payload["bound_to_certificate"], own.thumbprint());
    assert_eq!((payload.get("bound_to"), payload.get("certificate")), (None, None));

    let told = told(&world, &org, token).await;
    assert_eq!((&told["active"], &told["token_type"]), (&json!(true), &json!("Bearer")));
    assert_eq!(told["cnf"], json!({ "x5t#S256": own.thumbprint() }));
    // Who takes tokens without looking at connections does not take this one.
    let plain = world.tenant(&org).await.verifier.verify_token(token, world.now());
    assert_eq!(plain.expect_err("refused"), Rejection::Certificate { is_presented: false });

    // Any certificate of the key does, and each binds to itself.
    let other = own.again(|params| params.subject_alt_names.clear());
    let answer = over(&world, &org, (&agent, &other.der), &[READ]).await.expect(200);
    let bound = claims(&answer.member("access_token"))["cnf"].clone();
    assert_eq!(bound, json!({ "x5t#S256": other.thumbprint() }));
    // Its client ends a token over the same connection.
    let form = [("client_id", agent.as_str()), ("token", token)];
    world.ask(Ask::post(org.path("/oauth/revoke")).over(&other.der).form(&form)).await.expect(200);
    assert_eq!(self::told(&world, &org, token).await, json!({"active": false}));
}

#[tokio::test]
async fn nobody_is_known_by_a_certificate_of_another_key_agent_or_organization() {
    let world = TestWorld::new(7101).await;
    let Scene { org, planner, .. } = world.scene().await;
    let other = world.agent(&org, "other", &["crm:read"]).await.id.to_string();
    let elsewhere = world.found("elsewhere").await;
    let (own, agent) = (Own::new(), planner.id.to_string());
    let credential = register(&world, &org, "planner", &own).await;
    for (org, client, der) in [
        (&org, agent.as_str(), &Own::new().der),
        (&org, &other, &own.der),
        (&elsewhere, &agent, &own.der),
        (&org, "agt_00000000000000000000000000", &own.der),
        (&org, "planner", &own.der),
        (&org, "spiffe://acme.id.test/agent/planner/instance/x", &own.der),
        (&org, &agent, &Vec::new()),
        (&org, &agent, &b"\x30\x82no certificate".to_vec()),
    ] {
        unknown(&over(&world, org, (client, der), &[READ]).await);
    }
    let p384 = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).expect("a key");
    let kind = over(&world, &org, (&agent, &Own::of(p384, |_| ()).der), &[READ]).await;
    unknown(&kind);
    assert!(kind.member("error_description").contains("kind"));
    // Who says nothing of who they are is nobody: the id is not in the certificate.
    let form = [GRANT, READ];
    let unnamed = Ask::post(org.path("/oauth/token")).over(&own.der).form(&form);
    world.ask(unnamed).await.refused(401, "invalid_client", "client-unauthenticated");
    let without = Ask::post(org.path("/oauth/token")).form(&[GRANT, READ, ("client_id", &agent)]);
    world.ask(without).await.refused(401, "invalid_client", "client-unauthenticated");
    assert!(events(&world, &org, "token.issued").await.is_empty());

    over(&world, &org, (&agent, &own.der), &[READ]).await.expect(200);
    let own = own.again(|params| params.not_after = rcgen::date_time_ymd(2001, 1, 1));
    let over_since = over(&world, &org, (&agent, &own.der), &[READ]).await;
    over_since.refused(401, "invalid_client", "certificate-lifetime");
    let own = own.again(|params| params.not_before = rcgen::date_time_ymd(2200, 1, 1));
    let early = over(&world, &org, (&agent, &own.der), &[READ]).await;
    early.refused(401, "invalid_client", "certificate-lifetime");
    let own = own.again(|_| ());
    world.revoke(&org, &credential).await.expect("revoked");
    let ended = over(&world, &org, (&agent, &own.der), &[READ]).await;
    ended.refused(401, "invalid_client", "credential-revoked");
}

#[tokio::test]
async fn a_certificate_binds_whatever_is_got_over_its_connection_and_a_proof_goes_first() {
    let world = TestWorld::new(7102).await;
    let Scene { org, client, .. } = world.scene().await;
    let anybodys = Own::new();
    let ask = || Ask::post(org.path("/oauth/token")).basic(&client).over(&anybodys.der);
    let answer = world.ask(ask().form(&[GRANT, READ])).await.expect(200);
    let bound = claims(&answer.member("access_token"))["cnf"].clone();
    assert_eq!(bound, json!({ "x5t#S256": anybodys.thumbprint() }), "RFC 8705 section 4");

    let (private, _) = PrivateKey::generate(Algorithm::Es256).expect("a key");
    let key = ProofKey::new(private).expect("a key");
    let url = format!("{}/oauth/token", org.issuer);
    let proof = |jti| {
        let request = ToProve { method: "POST", url: &url, token: None, nonce: None };
        key.prove(&request, [jti; 16], world.now()).expect("a proof")
    };
    let answer = world.ask(ask().header("dpop", &proof(1)).form(&[GRANT, READ])).await.expect(200);
    assert_eq!(answer.member("token_type"), "DPoP");
    let bound = claims(&answer.member("access_token"))["cnf"].clone();
    assert_eq!(bound, json!({ "jkt": key.thumbprint().to_string() }), "to one of them alone");

    // An attenuable token names a key as its holder's, and never a certificate.
    let biscuit = ("requested_token_type", accredit_wire::biscuit::TOKEN_TYPE);
    let refused = world.ask(ask().form(&[GRANT, READ, biscuit])).await;
    refused.refused(400, "invalid_dpop_proof", "dpop-required");
    world.ask(ask().header("dpop", &proof(2)).form(&[GRANT, READ, biscuit])).await.expect(200);

    // Who takes bound tokens only is content with a certificate.
    let policy = Some(json!({"bound_only": true}));
    world.admin(&org, "PATCH", "/v1/agents/planner", policy).await.expect(200);
    world.ask(ask().form(&[GRANT, READ])).await.expect(200);
    let plain = Ask::post(org.path("/oauth/token")).basic(&client).form(&[GRANT, READ]);
    world.ask(plain).await.refused(400, "invalid_dpop_proof", "dpop-required");
}

#[tokio::test]
async fn an_instance_is_known_by_its_svid_and_what_it_gets_hangs_on_that() {
    let world = TestWorld::new(7103).await;
    let Scene { org, planner, .. } = world.scene().await;
    let one = world.instance(&org, "planner", None).await;
    let (der, row) = svid(&world, &org, &one).await;
    let agent = planner.id.to_string();
    let spiffe = row["spiffe_id"].as_str().expect("an id").to_owned();
    for client in [&agent, &spiffe] {
        let answer = over(&world, &org, (client, &der), &[READ]).await.expect(200);
        let said = claims(&answer.member("access_token"));
        assert_eq!(said["client_id"], agent);
        assert_eq!(said["accredit"]["ins"], one.instance.expect("one").to_string());
        assert_eq!(said["cnf"], json!({ "x5t#S256": thumbprint(&der) }));
        let lineage = said["accredit"]["lin"].to_string();
        for id in [row["id"].as_str().expect("an id"), &one.credential] {
            assert!(lineage.contains(id), "{id} is not in {lineage}");
        }
        assert_eq!(lineage.matches("key_").count(), 2, "the keys of the authority: {lineage}");
    }
    let issued = events(&world, &org, "token.issued").await;
    let payload = &issued.last().expect("an event")["payload"];
    // The last said its SPIFFE ID.
    assert_eq!(payload["method"], "spiffe_x509");
    let first = &issued[issued.len() - 2]["payload"];
    assert_eq!(first["method"], "tls_client_auth");
    assert_eq!(payload["credential"], one.credential);
    let digest = accredit_wire::crypto::sha256(&der);
    assert_eq!(payload["certificate"], Hash::new(digest).to_string());

    // Neither the certificate of another, nor one of another organization, nor a forged one.
    let other = world.agent(&org, "other", &["crm:read"]).await.id.to_string();
    let sibling = world.instance(&org, "planner", None).await;
    let (_, siblings) = svid(&world, &org, &sibling).await;
    for client in [other.as_str(), siblings["spiffe_id"].as_str().expect("an id"), &one.id[..3]] {
        unknown(&over(&world, &org, (client, &der), &[READ]).await);
    }
    let elsewhere = world.found("elsewhere").await;
    unknown(&over(&world, &elsewhere, (&agent, &der), &[READ]).await);
    unknown(&over(&world, &elsewhere, (&spiffe, &der), &[READ]).await);
    let named = |id: &str| SanType::URI(id.try_into().expect("a name"));
    let forged = Own::new().again(|params| params.subject_alt_names = vec![named(&spiffe)]);
    for client in [&agent, &spiffe] {
        unknown(&over(&world, &org, (client, &forged.der), &[READ]).await);
    }
    // Nor where the key is registered: a certificate that names an instance is one of ours or nobody's.
    register(&world, &org, "planner", &forged).await;
    unknown(&over(&world, &org, (&agent, &forged.der), &[READ]).await);
    let forged = forged.again(|_| ());
    over(&world, &org, (&agent, &forged.der), &[READ]).await.expect(200);
}

#[tokio::test]
async fn a_certificate_ends_what_was_got_with_it() {
    let world = TestWorld::new(7104).await;
    let Scene { org, planner, .. } = world.scene().await;
    let agent = planner.id.to_string();
    let one = world.instance(&org, "planner", None).await;
    let (der, row) = svid(&world, &org, &one).await;
    let (sibling, _) = svid(&world, &org, &one).await;
    let token = async |der: &[u8]| {
        over(&world, &org, (&agent, der), &[READ]).await.expect(200).member("access_token")
    };
    let (first, second) = (token(&der).await, token(&sibling).await);
    world.revoke(&org, row["id"].as_str().expect("an id")).await.expect("revoked");
    let refused = over(&world, &org, (&agent, &der), &[READ]).await;
    refused.refused(401, "invalid_client", "certificate-revoked");
    let recorded = events(&world, &org, "token.refused").await;
    assert_eq!(recorded.last().expect("an event")["payload"]["method"], "tls_client_auth");
    assert_eq!(told(&world, &org, &first).await, json!({"active": false}));
    assert_eq!(told(&world, &org, &second).await["active"], true, "its sibling goes on");
    token(&sibling).await;

    // It gets nothing for longer than it is there itself, and nothing once it is over.
    let issued = [("csr", crate::certificates::csr()), ("expires_in", "60".to_owned())];
    let issued = issued.each_ref().map(|(name, value)| (*name, value.as_str()));
    let brief = crate::certificates::ask(&world, &org, &one, &issued).await.expect(200).json();
    let [brief, _] = chain(&brief);
    let answer = over(&world, &org, (&agent, &brief), &[READ]).await.expect(200).json();
    assert_eq!(answer["expires_in"], 60);
    world.advance(60);
    let late = over(&world, &org, (&agent, &brief), &[READ]).await;
    late.refused(401, "invalid_client", "certificate-lifetime");
    world.advance(3600);
    let late = over(&world, &org, (&agent, &brief), &[READ]).await;
    late.refused(401, "invalid_client", "certificate-lifetime");
    let (der, _) = svid(&world, &org, &one).await;
    token(&der).await;
    world.revoke(&org, one.instance.expect("one")).await.expect("revoked");
    let dead = over(&world, &org, (&agent, &der), &[READ]).await;
    assert_eq!(dead.status, 401, "{dead:?}");
}

#[tokio::test]
async fn a_certificate_gets_no_certificate_and_nothing_that_would_outlive_it() {
    let world = TestWorld::new(7105).await;
    let Scene { org, planner, .. } = world.scene().await;
    let agent = planner.id.to_string();
    let one = world.instance(&org, "planner", None).await;
    let (der, _) = svid(&world, &org, &one).await;
    let csr = crate::certificates::csr();
    for (path, more) in [
        ("/oauth/certificates", &[("csr", csr.as_str())][..]),
        ("/oauth/tasks", &[("purpose", "a test")]),
        ("/oauth/instances", &[("agent", "planner"), READ]),
    ] {
        let form = [&[("client_id", agent.as_str())], more].concat();
        let answer = world.ask(Ask::post(org.path(path)).over(&der).form(&form)).await;
        assert_eq!(answer.member("rule"), "grant-not-for-client", "{path}: {answer:?}");
    }
    // A registered key in another form is that credential, and gets what it gets.
    let own = Own::new();
    register(&world, &org, "planner", &own).await;
    let form = [("client_id", agent.as_str()), ("purpose", "a test")];
    world.ask(Ask::post(org.path("/oauth/tasks")).over(&own.der).form(&form)).await.expect(200);
}

#[tokio::test]
async fn a_certificate_that_is_for_a_task_gets_tokens_for_that_task() {
    let world = TestWorld::new(7106).await;
    let Scene { org, planner, .. } = world.scene().await;
    let agent = planner.id.to_string();
    let one = world.instance(&org, "planner", None).await;
    let make = async || {
        let task = json!({"agent": "planner", "purpose": "a test"});
        world.admin(&org, "POST", "/v1/tasks", Some(task)).await.expect(201).member("id")
    };
    let (task, other) = (make().await, make().await);
    let csr = crate::certificates::csr();
    let form = [("csr", csr.as_str()), ("task", &task)];
    let issued = crate::certificates::ask(&world, &org, &one, &form).await.expect(200).json();
    let [der, _] = chain(&issued);
    for more in [&[READ][..], &[READ, ("task", &task)]] {
        let answer = over(&world, &org, (&agent, &der), more).await.expect(200);
        let lineage = claims(&answer.member("access_token"))["accredit"]["lin"].to_string();
        assert_eq!(lineage.matches(&task).count(), 1, "{lineage}");
    }
    let elsewhere = over(&world, &org, (&agent, &der), &[READ, ("task", &other)]).await;
    elsewhere.refused(400, "invalid_request", "task-other");
    world.revoke(&org, &task).await.expect("ended");
    let ended = over(&world, &org, (&agent, &der), &[READ]).await;
    ended.refused(401, "invalid_client", "certificate-revoked");
}

#[tokio::test]
async fn a_bound_token_is_exchanged_by_who_holds_its_certificate_and_by_no_thief() {
    let world = TestWorld::new(7107).await;
    let Scene { org, .. } = world.scene().await;
    let allow = vec!["crm:read".to_owned()];
    let asked = CreateAgent {
        name: "passer".to_owned(),
        allow,
        may_delegate: true,
        ..CreateAgent::default()
    };
    let agent = world.agent_like(&org, asked).await.id.to_string();
    let own = Own::new();
    register(&world, &org, "passer", &own).await;
    let stolen = world.agent_secret(&org, "passer", None).await;
    let token = over(&world, &org, (&agent, &own.der), &[READ]).await.expect(200);
    let token = token.member("access_token");
    let form = [EXCHANGE, ("subject_token", &token), ACCESS_TOKEN, READ];
    let ask = || Ask::post(org.path("/oauth/token")).basic(&stolen).form(&form);
    for thief in [ask(), ask().over(&Own::new().der)] {
        let refused = world.ask(thief).await;
        refused.refused(400, "invalid_dpop_proof", "dpop-required");
    }
    let answer = world.ask(ask().over(&own.der)).await.expect(200);
    let bound = claims(&answer.member("access_token"))["cnf"].clone();
    assert_eq!(bound, json!({ "x5t#S256": own.thumbprint() }));
}

#[tokio::test]
async fn metadata_tells_of_it_where_clients_are_asked() {
    let world = TestWorld::new(7108).await;
    let Scene { org, .. } = world.scene().await;
    let told = async || {
        let path = org.path("/.well-known/openid-configuration");
        world.ask(Ask::get(path)).await.expect(200).json()
    };
    let before = told().await;
    assert_eq!(before.get("tls_client_certificate_bound_access_tokens"), None);
    assert!(!before.to_string().contains("tls_client_auth"));
    world.server.client_certificates.set(ClientCertificates::Asked).expect("not set before");
    let after = told().await;
    assert_eq!(after["tls_client_certificate_bound_access_tokens"], true);
    assert_eq!(after.get("mtls_endpoint_aliases"), None, "at the same addresses");
    for endpoint in ["token", "revocation"] {
        let methods = after[format!("{endpoint}_endpoint_auth_methods_supported")].to_string();
        for method in ["\"tls_client_auth\"", "\"self_signed_tls_client_auth\""] {
            assert!(methods.contains(method), "{methods}");
        }
    }
}

/// RFC 9440: who ends TLS before us is believed by its own certificate, and nobody else is.
#[tokio::test]
async fn a_header_is_a_certificate_only_where_a_proxy_sends_it_that_has_proved_itself() {
    let world = TestWorld::new(7109).await;
    let Scene { org, planner, .. } = world.scene().await;
    let (own, agent) = (Own::new(), planner.id.to_string());
    register(&world, &org, "planner", &own).await;
    let (proxy, stranger) = (Own::new(), Own::new());
    let header = |der: &[u8]| format!(":{}:", STANDARD.encode(der));
    let said = header(&own.der);
    let ask = |over: Option<&Own>, lines: &[&str]| {
        let form = [GRANT, READ, ("client_id", agent.as_str())];
        let ask = Ask::post(org.path("/oauth/token")).form(&form);
        let ask = match over {
            Some(over) => ask.over(&over.der),
            None => ask,
        };
        lines.iter().fold(ask, |ask, line| ask.header("client-cert", line))
    };
    let nobody = |answer: Answer| {
        answer.refused(401, "invalid_client", "client-unauthenticated");
    };
    // By default nobody is believed, whoever they are.
    nobody(world.ask(ask(None, &[&said])).await);
    unknown(&world.ask(ask(Some(&proxy), &[&said])).await);
    let fingerprint = Hash::new(accredit_wire::crypto::sha256(&proxy.der)).to_string();
    let trusted = TrustedCertificates::parse(&fingerprint).expect("a fingerprint");
    world.server.certified_proxies.set(trusted).expect("not set before");
    nobody(world.ask(ask(None, &[&said])).await);
    unknown(&world.ask(ask(Some(&stranger), &[&said])).await);

    let answer = world.ask(ask(Some(&proxy), &[&said])).await.expect(200);
    let bound = claims(&answer.member("access_token"))["cnf"].clone();
    assert_eq!(bound, json!({ "x5t#S256": own.thumbprint() }), "its client's, not its own");
    // Over it a client without a certificate has none: the proxy is not its client.
    nobody(world.ask(ask(Some(&proxy), &[])).await);
    register(&world, &org, "planner", &proxy).await;
    nobody(world.ask(ask(Some(&proxy), &[])).await);
    let secret = world.agent_secret(&org, "planner", None).await;
    let plain = Ask::post(org.path("/oauth/token")).basic(&secret).over(&proxy.der);
    let plain = world.ask(plain.form(&[GRANT, READ])).await.expect(200);
    assert_eq!(claims(&plain.member("access_token")).get("cnf"), None);
    // What it passes through in place of writing it is refused.
    let pem = "-----BEGIN CERTIFICATE-----";
    let empty = header(b"");
    let other = header(b"no certificate");
    for lines in [&[&*said, &*said][..], &[pem], &[&empty], &[&other], &["::", &said], &[""]] {
        let answer = world.ask(ask(Some(&proxy), lines)).await;
        assert_eq!((answer.status, answer.member("rule")), (400, "client-cert-malformed".into()));
    }
    // Other headers, and other spellings of this one, are read from nobody.
    for name in ["client_cert", "x-forwarded-client-cert", "x-ssl-client-cert", "ssl-client-cert"] {
        let answer = world.ask(ask(Some(&proxy), &[]).header(name, &said)).await;
        nobody(answer);
    }
}
