//! RFC 5280: an organization's root below one that somebody else keeps, whose certificates another library
//! makes and judges.

use std::time::Duration;

use accredit_domain::keys::rotation::KEY_PUBLISH_AHEAD;
use accredit_domain::registry::keep_for;
use accredit_server::jobs;
use accredit_testkit::{Answer, Ask, Client, Org, TestWorld};
use accredit_wire::x509::{all_decoded, pem};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyIdMethod,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PublicKeyData,
    SignatureAlgorithm,
};
use rustls_pki_types::{CertificateDer, UnixTime};
use serde_json::{Value, json};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use x509_cert::der::Decode as _;
use x509_cert::request::CertReq;

use crate::certificates::{csr, issue};
use crate::events;

/// What a certification request asks for: a key, and what it is called.
struct Asked {
    point: Vec<u8>,
    name: String,
}

impl PublicKeyData for Asked {
    fn der_bytes(&self) -> &[u8] {
        &self.point
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl Asked {
    /// The request for the next root of an organization.
    async fn of(world: &TestWorld, org: &Org) -> Self {
        let told = world.admin(org, "GET", "/v1/ca/csr", None).await.expect(200).json();
        let der = all_decoded("CERTIFICATE REQUEST", told["csr"].as_str().expect("text"));
        let read = CertReq::from_der(&der.expect("PEM")[0]).expect("a request");
        let point = read.info.public_key.subject_public_key.raw_bytes().to_vec();
        let name = format!("Accredit {}", told["key"].as_str().expect("a key"));
        assert_eq!(read.info.subject.to_string(), format!("CN={name}"));
        Self { point, name }
    }

    /// As a careful authority certifies it.
    fn params(&self) -> CertificateParams {
        authority(&self.name, BasicConstraints::Constrained(1))
    }
}

fn authority(name: &str, below: BasicConstraints) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(below);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    // Not as we call keys: whoever looks for an issuer goes by what its certificate says.
    params.key_identifier_method = KeyIdMethod::PreSpecified(vec![7; 20]);
    params
}

/// A root that is kept elsewhere.
struct Outside {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Outside {
    fn new() -> Self {
        Self::of(authority("Acme Root", BasicConstraints::Unconstrained))
    }

    fn of(params: CertificateParams) -> Self {
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).expect("a key");
        let pem = params.self_signed(&pair).expect("a root").pem();
        Self { issuer: Issuer::new(params, pair), pem }
    }

    /// What it makes of a request, and itself behind it.
    fn chain(&self, params: &CertificateParams, asked: &Asked) -> String {
        let signed = params.signed_by(asked, &self.issuer).expect("a certificate");
        format!("{}{}", signed.pem(), self.pem)
    }

    fn x5c(&self) -> String {
        STANDARD.encode(&all_decoded("CERTIFICATE", &self.pem).expect("PEM")[0])
    }
}

/// What a new root outside makes of an organization's next root.
pub(crate) async fn certified(world: &TestWorld, org: &Org) -> String {
    let asked = Asked::of(world, org).await;
    Outside::new().chain(&asked.params(), &asked)
}

/// An organization, and an instance of one of its agents.
async fn given(world: &TestWorld) -> (Org, Client) {
    let org = world.scene().await.org;
    let client = world.instance(&org, "planner", None).await;
    (org, client)
}

async fn import(world: &TestWorld, org: &Org, chain: &str) -> Answer {
    world.admin(org, "POST", "/v1/ca/certificate", Some(json!({"chain": chain}))).await
}

async fn rotate(world: &TestWorld, org: &Org) -> Answer {
    let asked = json!({"purpose": "ca-root", "now": true});
    world.admin(org, "POST", "/v1/signing-keys/rotate", Some(asked)).await
}

async fn bundle(world: &TestWorld, org: &Org) -> Value {
    world.ask(Ask::get(org.path("/spiffe/bundle"))).await.expect(200).json()
}

fn roots(bundle: &Value) -> Vec<String> {
    let keys = bundle["keys"].as_array().expect("keys").iter();
    keys.filter_map(|key| key["x5c"][0].as_str().map(str::to_owned)).collect()
}

/// What another library says of an instance's certificate, that knows the root outside alone.
fn believed(world: &TestWorld, outside: &Outside, issued: &Value) -> Result<(), String> {
    let chain = all_decoded("CERTIFICATE", issued["certificate"].as_str().expect("PEM"));
    let chain: Vec<CertificateDer<'_>> =
        chain.expect("PEM").into_iter().map(CertificateDer::from).collect();
    let root = all_decoded("CERTIFICATE", &outside.pem).expect("PEM").remove(0);
    let root = CertificateDer::from(root);
    let anchors = [anchor_from_trusted_cert(&root).expect("an anchor")];
    let at = Duration::from_secs(u64::try_from(world.now().seconds()).expect("after 1970"));
    let leaf = EndEntityCert::try_from(&chain[0]).expect("a leaf");
    let path = leaf.verify_for_usage(
        ALL_VERIFICATION_ALGS,
        &anchors,
        &chain[1..],
        UnixTime::since_unix_epoch(at),
        KeyUsage::server_auth(),
        None,
        None,
    );
    path.map(drop).map_err(|error| format!("{error:?}"))
}

#[tokio::test]
async fn a_root_outside_takes_the_place_of_ours_without_a_failed_handshake() {
    let world = TestWorld::new(671).await;
    let (org, client) = given(&world).await;
    let (org, outside) = (&org, Outside::new());
    let before = bundle(&world, org).await;
    let first = issue(&world, org, &client).await;
    believed(&world, &outside, &first).expect_err("it signed nothing yet");

    let asked = Asked::of(&world, org).await;
    let shown = import(&world, org, &outside.chain(&asked.params(), &asked)).await;
    let shown = shown.expect(201).json();
    let told = events(&world, org, "key.certified").await;
    assert_eq!(told.len(), 1);
    // Both are published, and the old one signs until every copy of the bundle is new.
    let then = bundle(&world, org).await;
    assert_eq!(roots(&then), [roots(&before)[0].clone(), outside.x5c()]);
    assert_eq!(then["keys"][1]["crv"], "P-384");
    assert!(then["spiffe_sequence"].as_u64() > before["spiffe_sequence"].as_u64());
    let next =
        shown["roots"].as_array().expect("roots").iter().find(|root| root["state"] == "next");
    assert_eq!(next.expect("next")["anchor"], pem_of(&outside));
    jobs::rotate_all(&world.server).await;
    believed(&world, &outside, &issue(&world, org, &client).await).expect_err("not yet");
    import(&world, org, &outside.chain(&asked.params(), &asked))
        .await
        .problem(409, "state-forbids");

    // Then it signs by itself, and whoever knows the root outside alone believes it.
    world.clock.advance(KEY_PUBLISH_AHEAD);
    jobs::rotate_all(&world.server).await;
    let second = issue(&world, org, &client).await;
    believed(&world, &outside, &second).expect("believed");
    let blocks = all_decoded("CERTIFICATE", second["certificate"].as_str().expect("PEM"));
    assert_eq!(blocks.expect("PEM").len(), 3, "the leaf, the intermediate, the root of ours");

    // What the old one signed is believed until it is over; then the root outside is alone.
    assert_eq!(roots(&bundle(&world, org).await), [outside.x5c(), roots(&before)[0].clone()]);
    world.clock.advance(keep_for());
    jobs::rotate_all(&world.server).await;
    assert_eq!(roots(&bundle(&world, org).await), [outside.x5c()]);
    assert_eq!(pem_of(&outside), ca_bundle(&world, org).await);
}

fn pem_of(outside: &Outside) -> String {
    pem("CERTIFICATE", &all_decoded("CERTIFICATE", &outside.pem).expect("PEM")[0])
}

/// The roots that an administrator is told to trust.
async fn ca_bundle(world: &TestWorld, org: &Org) -> String {
    let shown = world.admin(org, "GET", "/v1/ca", None).await.expect(200).json();
    let roots = shown["roots"].as_array().expect("roots").iter();
    roots.filter_map(|root| root["anchor"].as_str().map(str::to_owned)).collect()
}

/// An organization whose roots are below one outside.
async fn below(world: &TestWorld, org: &Org, outside: &Outside) {
    let asked = Asked::of(world, org).await;
    import(world, org, &outside.chain(&asked.params(), &asked)).await.expect(201);
    rotate(world, org).await.expect(201);
    world.clock.advance(keep_for());
    jobs::rotate_all(&world.server).await;
}

#[tokio::test]
async fn who_trusts_a_root_outside_never_comes_to_trust_one_of_ours() {
    let world = TestWorld::new(672).await;
    let (org, _) = given(&world).await;
    let (org, outside) = (&org, Outside::new());
    below(&world, org, &outside).await;
    let only = [outside.x5c()];
    assert_eq!(roots(&bundle(&world, org).await), only, "the next one is not published");
    rotate(&world, org).await.problem(409, "state-forbids");
    world.clock.advance(Duration::from_hours(10 * 365 * 24));
    jobs::rotate_all(&world.server).await;
    assert_eq!(roots(&bundle(&world, org).await), only, "not where the old one is over, either");

    // A stolen key is believed no more, and nothing that nobody outside certified takes its place.
    let world = TestWorld::new(673).await;
    let (org, client) = given(&world).await;
    let (org, outside) = (&org, Outside::new());
    below(&world, org, &outside).await;
    let shown = world.admin(org, "GET", "/v1/ca", None).await.expect(200).json();
    let stolen = shown["roots"][0]["id"].as_str().expect("an id").to_owned();
    world.revoke(org, &stolen).await.expect("revoked");
    for _ in 0..3 {
        jobs::rotate_all(&world.server).await;
    }
    assert_eq!(roots(&bundle(&world, org).await), [""; 0]);
    let form = [("csr", &*csr())];
    crate::certificates::ask(&world, org, &client, &form).await.expect(503);
    let keys = async || {
        let path = "/v1/signing-keys?limit=200";
        let all = world.admin(org, "GET", path, None).await.expect(200).json();
        all["items"].as_array().expect("items").len()
    };
    let had = keys().await;
    jobs::rotate_all(&world.server).await;
    assert_eq!(keys().await, had, "nothing is made while nothing may sign");

    // It goes on with one that is certified.
    let asked = Asked::of(&world, org).await;
    import(&world, org, &outside.chain(&asked.params(), &asked)).await.expect(201);
    rotate(&world, org).await.expect(201);
    believed(&world, &outside, &issue(&world, org, &client).await).expect("believed");
    assert_eq!(roots(&bundle(&world, org).await), [outside.x5c()]);
}

#[tokio::test]
async fn a_chain_that_a_verifier_would_not_believe_is_refused_with_what_is_wrong() {
    let world = TestWorld::new(674).await;
    let (org, _) = given(&world).await;
    let (org, outside) = (&org, Outside::new());
    let asked = Asked::of(&world, org).await;
    let before = bundle(&world, org).await;
    let good = outside.chain(&asked.params(), &asked);
    let (own, root) = good.split_at(good.find("-----END").expect("PEM") + 26);
    let other = Outside::new();
    let made = |change: &dyn Fn(&mut CertificateParams)| {
        let mut params = asked.params();
        change(&mut params);
        outside.chain(&params, &asked)
    };
    let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
    let stranger = Asked { point: pair.public_key_raw().to_vec(), name: asked.name.clone() };
    let small = Outside::of(authority("Acme Root", BasicConstraints::Constrained(1)));
    let forged =
        good.replace(&own[200..204], if &own[200..204] == "AAAA" { "BBBB" } else { "AAAA" });
    for (why, chain, says) in [
        ("nothing", String::new(), "PEM"),
        ("no root", own.to_owned(), "two certificates"),
        ("the wrong way round", format!("{root}{own}"), "followed by its issuer's"),
        ("a text behind", format!("{good}x"), "PEM"),
        ("another key", outside.chain(&asked.params(), &stranger), "another key"),
        (
            "another name",
            made(&|params| params.distinguished_name.push(DnType::OrganizationName, "Acme")),
            "another subject",
        ),
        ("no authority", made(&|params| params.is_ca = IsCa::NoCa), "may sign"),
        (
            "no intermediates below it",
            made(&|params| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0))),
            "so many authorities",
        ),
        (
            "may not sign lists",
            made(&|params| params.key_usages = vec![KeyUsagePurpose::KeyCertSign]),
            "may sign",
        ),
        (
            "over",
            made(&|params| params.not_after = rcgen::date_time_ymd(2001, 1, 1)),
            "does not hold now",
        ),
        (
            "not yet",
            made(&|params| params.not_before = rcgen::date_time_ymd(3000, 1, 1)),
            "does not hold now",
        ),
        ("a root of the same name", format!("{own}{}", other.pem), "does not believe"),
        ("a root with too little below", small.chain(&asked.params(), &asked), "certificate 2"),
        ("not as it was signed", forged, ""),
    ] {
        let answer = import(&world, org, &chain).await;
        let told = answer.text();
        assert!(told.contains(says), "{why}: {told}");
        let is_key = why == "another key";
        let told = if is_key { (409, "state-forbids") } else { (400, "field-invalid") };
        answer.problem(told.0, told.1);
    }
    assert_eq!(bundle(&world, org).await, before, "nothing has changed");
    import(&world, org, &good).await.expect(201);
    // Another organization's request is not this one's.
    let other_org = world.found("other").await;
    import(&world, &other_org, &good).await.problem(409, "state-forbids");
}
