//! RFC 5280 section 5, RFC 6960: lists of revoked certificates and answers about single ones, for whoever
//! knows X.509 alone.

use std::time::Duration;

use accredit_domain::ca::INTERMEDIATE_LIFE;
use accredit_domain::ca::revoked::{
    CACHED_SECONDS, KNOWN_WITHIN_SECONDS, REMADE_EVERY, SERVED_MAX,
};
use accredit_server::certificate_status::SIGNED_PER_SECOND_MAX;
use accredit_server::jobs;
use accredit_testkit::{Answer, Ask, Org, Scene, TestWorld};
use accredit_wire::crypto::sha256;
use accredit_wire::x509::decoded;
use accredit_wire::x509::ocsp::QUESTIONS_MAX;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use x509_cert::Certificate;
use x509_cert::crl::{CertificateList, RevokedCert};
use x509_cert::der::asn1::{Any, ObjectIdentifier, OctetString};
use x509_cert::der::{Decode as _, Encode as _};
use x509_cert::ext::pkix::crl::CrlDistributionPoints;
use x509_cert::ext::pkix::name::{DistributionPointName, GeneralName};
use x509_cert::ext::pkix::{AuthorityInfoAccessSyntax, CrlNumber, CrlReason};

use crate::certificates::issue;

const SHA256: [u8; 11] = [0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01];

/// The certificates of an answer: an instance's and the intermediate's.
fn chain(issued: &Value) -> [Certificate; 2] {
    let text = issued["certificate"].as_str().expect("a certificate");
    let blocks = text.split_inclusive("-----END CERTIFICATE-----\n");
    let blocks = blocks.map(|block| {
        Certificate::from_der(&decoded("CERTIFICATE", block).expect("PEM")).expect("one")
    });
    blocks.collect::<Vec<_>>().try_into().expect("two of them")
}

fn path_of(url: &str) -> String {
    url.strip_prefix("https://id.example").expect("under the public URL").to_owned()
}

fn uri(name: &GeneralName) -> String {
    let GeneralName::UniformResourceIdentifier(uri) = name else { panic!("{name:?}") };
    path_of(uri.as_str())
}

/// The path of the list that a certificate names.
fn list_of(certificate: &Certificate) -> String {
    let points = certificate.tbs_certificate().get_extension::<CrlDistributionPoints>();
    let (critical, points) = points.expect("read").expect("points");
    assert!(!critical);
    let [point] = &points.0[..] else { panic!("{points:?}") };
    let Some(DistributionPointName::FullName(names)) = &point.distribution_point else {
        panic!("{point:?}")
    };
    let [name] = &names[..] else { panic!("{names:?}") };
    uri(name)
}

/// The path where a certificate's issuer answers, and that of the issuer's own certificate.
fn access(certificate: &Certificate) -> [String; 2] {
    let access = certificate.tbs_certificate().get_extension::<AuthorityInfoAccessSyntax>();
    let (_, access) = access.expect("read").expect("access");
    let access: Vec<_> = access.0.iter().map(|one| uri(&one.access_location)).collect();
    access.try_into().expect("two of them")
}

fn read(answer: &Answer) -> CertificateList {
    CertificateList::from_der(&answer.body).expect("a list")
}

fn entries(list: &CertificateList) -> Vec<RevokedCert> {
    list.tbs_cert_list.revoked_certificates.clone().unwrap_or_default()
}

fn number(list: &CertificateList) -> Vec<u8> {
    let extensions = list.tbs_cert_list.crl_extensions.as_ref().expect("extensions");
    let number = ObjectIdentifier::new_unwrap("2.5.29.20");
    let found = extensions.iter().find(|one| one.extn_id == number).expect("a number");
    let number = CrlNumber::from_der(found.extn_value.as_bytes()).expect("a number");
    let bytes = number.0.as_bytes();
    [vec![0; 20 - bytes.len()], bytes.to_vec()].concat()
}

/// Whether a certificate is on its issuer's list, whose signature is the issuer's.
async fn is_listed(world: &TestWorld, certificate: &Certificate, issuer: &Certificate) -> bool {
    let list = world.ask(Ask::get(list_of(certificate))).await.expect(200);
    signed(&list.body, issuer);
    let serial = certificate.tbs_certificate().serial_number();
    entries(&read(&list)).iter().any(|entry| entry.serial_number == *serial)
}

/// That another library takes what an authority signed to be by it.
fn signed(list: &[u8], issuer: &Certificate) {
    let list = read_list(list);
    let info = issuer.tbs_certificate().subject_public_key_info();
    let key = accredit_wire::crypto::EcdsaKind::P256Sha256;
    let point = info.subject_public_key.as_bytes().expect("a point");
    let message = list.tbs_cert_list.to_der().expect("DER");
    let signature = list.signature.as_bytes().expect("bytes");
    accredit_wire::crypto::verify_ecdsa_asn1(key, point, &message, signature).expect("signed");
}

fn read_list(list: &[u8]) -> CertificateList {
    CertificateList::from_der(list).expect("a list")
}

fn tlv(tag: u8, inner: &[u8]) -> Vec<u8> {
    let head = match inner.len() {
        short @ 0..0x80 => vec![tag, short as u8],
        middle @ 0x80..0x100 => vec![tag, 0x81, middle as u8],
        long => [&[tag, 0x82][..], &(long as u16).to_be_bytes()].concat(),
    };
    [head, inner.to_vec()].concat()
}

/// The part of a request that asks about one certificate, by SHA-256.
fn question(issuer: &Certificate, serial: &[u8]) -> Vec<u8> {
    let issuer = issuer.tbs_certificate();
    let name = sha256(&issuer.subject().to_der().expect("DER"));
    let key = sha256(issuer.subject_public_key_info().subject_public_key.raw_bytes());
    let parts = [tlv(0x30, &SHA256), tlv(4, &name), tlv(4, &key), tlv(2, serial)];
    tlv(0x30, &tlv(0x30, &parts.concat()))
}

fn request(questions: &[Vec<u8>]) -> Vec<u8> {
    tlv(0x30, &tlv(0x30, &tlv(0x30, &questions.concat())))
}

fn serial(certificate: &Certificate) -> Vec<u8> {
    certificate.tbs_certificate().serial_number().as_bytes().to_vec()
}

/// A request about a certificate of an authority, as others ask.
pub(crate) fn asks_about(issued: &Value) -> Vec<u8> {
    let [leaf, between] = chain(issued);
    request(&[question(&between, &serial(&leaf))])
}

async fn post(world: &TestWorld, org: &Org, request: &[u8]) -> Answer {
    world.ask(Ask::post(org.path("/ocsp")).body("application/ocsp-request", request)).await
}

/// What an answer says: `good`, `revoked` or the name of an error, for each certificate.
fn said(answer: &Answer) -> Vec<&'static str> {
    assert_eq!(answer.header("content-type"), "application/ocsp-response");
    let status = match answer.body.as_ref() {
        [0x30, 3, 0x0a, 1, 1] => return vec!["malformed"],
        [0x30, 3, 0x0a, 1, 3] => return vec!["later"],
        [0x30, 3, 0x0a, 1, 6] => return vec!["unauthorized"],
        signed => signed,
    };
    // OCSPResponse { successful, [0] { id-pkix-ocsp-basic, OCTET STRING } }
    let whole: Vec<Any> = Vec::from_der(status).expect("a sequence");
    let inner: Vec<Any> = Vec::from_der(whole[1].value()).expect("a sequence");
    let basic = OctetString::from_der(&inner[1].to_der().expect("DER")).expect("bytes");
    let basic: Vec<Any> = Vec::from_der(basic.as_bytes()).expect("a sequence");
    let data: Vec<Any> = Vec::from_der(&basic[0].to_der().expect("DER")).expect("data");
    let answers: Vec<Any> = Vec::from_der(&data[2].to_der().expect("DER")).expect("answers");
    let status = |answer: &Any| {
        let parts: Vec<Any> = Vec::from_der(&answer.to_der().expect("DER")).expect("an answer");
        match parts[1].to_der().expect("DER")[0] {
            0x80 => "good",
            0xa1 => "revoked",
            other => panic!("{other:#x}"),
        }
    };
    answers.iter().map(status).collect()
}

/// What is said of a certificate to whoever knows X.509 alone: whether its issuer's list or its root's
/// ends it, and what is answered about it.
pub(crate) async fn status(world: &TestWorld, org: &Org, issued: &Value) -> (bool, &'static str) {
    world.advance(REMADE_EVERY.as_secs());
    let [leaf, between] = chain(issued);
    let ends = async |certificate: &Certificate| {
        let list = world.ask(Ask::get(list_of(certificate))).await;
        // Whoever finds no list takes nothing once the last one is over.
        list.status == 404 || {
            let list = read(&list.expect(200));
            let serial = certificate.tbs_certificate().serial_number();
            entries(&list).iter().any(|entry| entry.serial_number == *serial)
        }
    };
    let ended = ends(&leaf).await || ends(&between).await;
    let answer = post(world, org, &asks_about(issued)).await.expect(200);
    (ended, said(&answer)[0])
}

async fn revoke(world: &TestWorld, org: &Org, target: &str) {
    let body = json!({"target": target, "reason": "a test"});
    world.admin(org, "POST", "/v1/revocations", Some(body)).await.expect(201);
}

#[tokio::test]
async fn a_kill_is_on_the_list_and_in_the_answer_within_the_bound_and_its_sibling_is_not() {
    let world = TestWorld::new(631).await;
    let Scene { org, .. } = world.scene().await;
    let (one, two) =
        (world.instance(&org, "planner", None).await, world.instance(&org, "planner", None).await);
    let [first, second] = [issue(&world, &org, &one).await, issue(&world, &org, &two).await];
    let ([dying, between], [living, _]) = (chain(&first), chain(&second));
    for certificate in [&dying, &living] {
        assert!(!is_listed(&world, certificate, &between).await);
    }
    for issued in [&first, &second] {
        assert_eq!(status(&world, &org, issued).await, (false, "good"));
    }
    let at = world.now();
    revoke(&world, &org, &one.instance.expect("one").to_string()).await;
    world.advance(REMADE_EVERY.as_secs());
    assert_eq!(status(&world, &org, &first).await, (true, "revoked"));
    assert_eq!(status(&world, &org, &second).await, (false, "good"));
    assert!(is_listed(&world, &dying, &between).await);
    assert!(!is_listed(&world, &living, &between).await);

    // When it was, and why.
    let list = read(&world.ask(Ask::get(list_of(&dying))).await.expect(200));
    let [entry] = &entries(&list)[..] else { panic!("one is on it") };
    assert_eq!(entry.revocation_date.to_unix_duration().as_secs(), at.seconds() as u64);
    let reason = &entry.crl_entry_extensions.as_ref().expect("a reason")[0];
    let reason = CrlReason::from_der(reason.extn_value.as_bytes()).expect("a reason");
    assert_eq!(reason, CrlReason::PrivilegeWithdrawn);

    // What was said of it stays, whatever else ends it.
    world.advance(60);
    let agent = world.agent_id(&org, "planner").await.to_string();
    revoke(&world, &org, &agent).await;
    world.advance(REMADE_EVERY.as_secs());
    let later = read(&world.ask(Ask::get(list_of(&dying))).await.expect(200));
    let found = entries(&later);
    let same = found.iter().find(|other| other.serial_number == entry.serial_number);
    assert_eq!(same, Some(entry));
    assert_eq!(found.len(), 2, "its sibling ended with the agent");
    assert!(number(&later) > number(&list));
    // A suspension that is lifted brings no certificate back.
    let path = format!("/v1/agents/{agent}/activate");
    world.admin(&org, "POST", &path, Some(json!({"reason": "a test"}))).await.expect(200);
    assert_eq!(status(&world, &org, &second).await, (true, "revoked"));
    // A new process says the same.
    let world = world.reopened(632).await;
    assert_eq!(status(&world, &org, &first).await, (true, "revoked"));
    let again = read(&world.ask(Ask::get(list_of(&dying))).await.expect(200));
    assert!(number(&again) > number(&later));
    let mut dates: Vec<_> = entries(&again).iter().map(|entry| entry.revocation_date).collect();
    dates.sort_by_key(|date| date.to_unix_duration());
    assert_eq!(dates.first().expect("one").to_unix_duration().as_secs(), at.seconds() as u64);
}

#[tokio::test]
async fn a_list_and_an_answer_are_served_as_their_standards_say() {
    let world = TestWorld::new(633).await;
    let Scene { org, .. } = world.scene().await;
    let one = world.instance(&org, "planner", None).await;
    let issued = issue(&world, &org, &one).await;
    let [leaf, between] = chain(&issued);
    let list = world.ask(Ask::get(list_of(&leaf))).await.expect(200);
    assert_eq!(list.header("content-type"), "application/pkix-crl");
    let kept = format!("public, max-age={CACHED_SECONDS}, no-transform, must-revalidate");
    let asked = asks_about(&issued);
    let answer = post(&world, &org, &asked).await.expect(200);
    for served in [&list, &answer] {
        assert_eq!(served.header("cache-control"), kept);
        let [from, until] = ["last-modified", "expires"].map(|name| served.header(name));
        assert_eq!(from, world.now().http_date());
        let over = world.now().plus(Duration::from_secs(u64::from(KNOWN_WITHIN_SECONDS)));
        assert_eq!(until, over.http_date());
    }
    let said_of = &read(&list).tbs_cert_list;
    assert_eq!(said_of.issuer, *between.tbs_certificate().subject());
    let next = said_of.next_update.expect("an end").to_unix_duration().as_secs();
    assert_eq!(next, world.now().seconds() as u64 + u64::from(KNOWN_WITHIN_SECONDS));
    let again = Ask::get(list_of(&leaf)).header("if-none-match", list.header("etag"));
    assert!(world.ask(again).await.expect(304).body.is_empty());

    // The same question in a path is answered with the same bytes.
    let [ocsp, issuer] = access(&leaf);
    assert_eq!(ocsp, org.path("/ocsp"));
    let text = STANDARD.encode(&asked);
    let escaped = text.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
    for form in [text, escaped] {
        let got = world.ask(Ask::get(format!("{ocsp}/{form}"))).await.expect(200);
        assert_eq!(got.body, answer.body);
        assert_eq!(said(&got), ["good"]);
    }
    // The issuer's own certificate, and what is said of that one in turn.
    let told = world.ask(Ask::get(issuer)).await.expect(200);
    assert_eq!(told.header("content-type"), "application/pkix-cert");
    assert_eq!(Certificate::from_der(&told.body).expect("one"), between);
    let [ocsp, issuer] = access(&between);
    let root = world.ask(Ask::get(issuer)).await.expect(200);
    let root = Certificate::from_der(&root.body).expect("a root");
    assert_eq!(root.tbs_certificate().subject(), between.tbs_certificate().issuer());
    assert!(!is_listed(&world, &between, &root).await);
    let of_between = request(&[question(&root, &serial(&between))]);
    assert_eq!(ocsp, org.path("/ocsp"));
    assert_eq!(said(&post(&world, &org, &of_between).await), ["good"]);

    // It is made anew before half of it is over.
    world.advance(SERVED_MAX.as_secs());
    let later = world.ask(Ask::get(list_of(&leaf))).await.expect(200);
    assert!(number(&read(&later)) > number(&read(&list)));
}

#[tokio::test]
async fn good_is_said_of_nothing_that_is_not_known() {
    let world = TestWorld::new(634).await;
    let Scene { org, .. } = world.scene().await;
    let one = world.instance(&org, "planner", None).await;
    let issued = issue(&world, &org, &one).await;
    let [leaf, between] = chain(&issued);
    let own = serial(&leaf);
    let about = |serial: &[u8]| question(&between, serial);
    let ask = async |questions: &[Vec<u8>]| said(&post(&world, &org, &request(questions)).await);
    assert_eq!(ask(&[about(&own)]).await, ["good"]);
    let mut next = own.clone();
    *next.last_mut().expect("a byte") ^= 1;
    for unknown in [&next[..], &[1], &[0x7f; 16], &[0x7f; 20]] {
        assert_eq!(ask(&[about(unknown)]).await, ["unauthorized"]);
        assert_eq!(ask(&[about(&own), about(unknown)]).await, ["unauthorized"]);
    }
    assert_eq!(ask(&[about(&own), about(&own)]).await, ["good", "good"]);
    // One authority does not answer for another, nor an organization for one beside it.
    let root = world.ask(Ask::get(access(&between)[1].clone())).await.expect(200);
    let root = Certificate::from_der(&root.body).expect("a root");
    let of_root = question(&root, &serial(&between));
    assert_eq!(ask(std::slice::from_ref(&of_root)).await, ["good"]);
    assert_eq!(ask(&[of_root, about(&own)]).await, ["unauthorized"]);
    assert_eq!(ask(&[question(&root, &own)]).await, ["unauthorized"]);
    let other = world.found("other").await;
    let elsewhere = post(&world, &other, &request(&[about(&own)])).await;
    assert_eq!(said(&elsewhere), ["unauthorized"]);
    let path = list_of(&leaf).replace("/o/acme/", "/o/other/");
    world.ask(Ask::get(path)).await.expect(404);
    for wrong in ["x", "key_00000000000000000000000000", "ins_00000000000000000000000000"] {
        for what in ["crl", "certificate"] {
            let path = org.path(&format!("/ca/{wrong}/{what}"));
            world.ask(Ask::get(path)).await.expect(404);
        }
    }
    // What is no request is told so, whatever it is.
    let good = request(&[about(&own)]);
    for wrong in [&b""[..], b"x", &good[1..], &[good.clone(), vec![0]].concat()] {
        assert_eq!(said(&post(&world, &org, wrong).await), ["malformed"]);
    }
    for wrong in ["x", "MAMKAQY=", "a//b", "%00", "..%2f..%2fv1%2fca"] {
        let path = org.path(&format!("/ocsp/{wrong}"));
        let told = world.ask(Ask::get(path)).await.expect(400);
        assert_eq!(said(&told), ["malformed"], "{wrong}");
        assert_eq!(told.header("cache-control"), "no-store");
    }
    let ask = Ask::post(org.path("/ocsp")).body("application/json", good.clone());
    assert_eq!(world.ask(ask).await.status, 415);
    assert_eq!(post(&world, &org, &[0x30; 5000]).await.status, 413);

    // What is over is not known any more once its row is gone.
    world.advance(3600 + 61);
    let surely = accredit_wire::time::Time::from_seconds(world.now().seconds());
    world.world.store.forget_before(surely).await.expect("forgotten");
    let told = post(&world, &org, &good).await;
    assert_eq!(said(&told), ["unauthorized"]);
}

#[tokio::test]
async fn nobody_has_more_signed_than_there_are_certificates() {
    let world = TestWorld::new(635).await;
    let Scene { org, .. } = world.scene().await;
    let one = world.instance(&org, "planner", None).await;
    let issued = issue(&world, &org, &one).await;
    let asked = asks_about(&issued);
    let kept = || world.server.certificate_status.answers_kept();
    let first = post(&world, &org, &asked).await.expect(200);
    for _ in 0..20 {
        assert_eq!(post(&world, &org, &asked).await.body, first.body);
    }
    let [_, between] = chain(&issued);
    for made_up in 1..50 {
        let asked = request(&[question(&between, &[made_up])]);
        assert_eq!(said(&post(&world, &org, &asked).await), ["unauthorized"]);
    }
    assert_eq!(kept(), 1, "of what is not known nothing is kept");
    // Many ways of asking about the same ones are signed as fast as the bound allows, and no faster.
    let more = issue(&world, &org, &one).await;
    let [second, _] = chain(&more);
    let [one, two] = [&chain(&issued)[0], &second].map(|leaf| question(&between, &serial(leaf)));
    let mut ways = Vec::new();
    for count in 1..=QUESTIONS_MAX {
        let pick = |way: usize, at: usize| if way >> at & 1 == 0 { &one } else { &two };
        let way = |way| (0..count).map(|at| pick(way, at).clone()).collect::<Vec<_>>();
        ways.extend((0..1 << count).map(way));
    }
    assert!(ways.len() as u64 > SIGNED_PER_SECOND_MAX);
    let (mut answered, mut later) = (0, Vec::new());
    for way in ways {
        let told = post(&world, &org, &request(&way)).await;
        if said(&told) == ["later"] { later.push(way) } else { answered += 1 }
    }
    // One of them was signed before.
    assert_eq!(answered, SIGNED_PER_SECOND_MAX);
    world.advance(1);
    for way in later {
        let told = post(&world, &org, &request(&way)).await;
        assert_eq!(said(&told), vec!["good"; way.len()]);
    }
}

#[tokio::test]
async fn an_authority_that_was_revoked_is_on_its_roots_list_and_has_none_itself() {
    let world = TestWorld::new(636).await;
    let Scene { org, .. } = world.scene().await;
    let one = world.instance(&org, "planner", None).await;
    let issued = issue(&world, &org, &one).await;
    let [leaf, between] = chain(&issued);
    let [_, issuer] = access(&between);
    let root = world.ask(Ask::get(issuer)).await.expect(200);
    let root = Certificate::from_der(&root.body).expect("a root");
    let key = world.world.store.certificates(
        world.tenant(&org).await.id,
        accredit_domain::ports::Page { limit: 1, ..Default::default() },
    );
    let key = key.await.expect("a page").items[0].key.to_string();
    revoke(&world, &org, &key).await;
    assert_eq!(status(&world, &org, &issued).await, (true, "revoked"));
    world.ask(Ask::get(list_of(&leaf))).await.expect(404);
    world.ask(Ask::get(access(&leaf)[1].clone())).await.expect(404);
    assert!(is_listed(&world, &between, &root).await);
    let of_between = request(&[question(&root, &serial(&between))]);
    assert_eq!(said(&post(&world, &org, &of_between).await), ["revoked"]);

    // The next one signs, and is believed.
    let next = issue(&world, &org, &one).await;
    assert_eq!(status(&world, &org, &next).await, (false, "good"));
    // A root's end is of everything below it.
    let roots = world.admin(&org, "GET", "/v1/ca", None).await.expect(200).json();
    let root = roots["roots"][0]["id"].as_str().expect("a root").to_owned();
    revoke(&world, &org, &root).await;
    assert_eq!(status(&world, &org, &next).await, (true, "revoked"));
    let [leaf, _] = chain(&next);
    assert!(is_listed(&world, &leaf, &chain(&next)[1]).await, "its intermediate still says so");
}

#[tokio::test]
async fn after_a_restore_no_certificate_of_before_is_good_also_where_its_row_was_lost() {
    let world = TestWorld::new(637).await;
    let Scene { org, .. } = world.scene().await;
    let one = world.instance(&org, "planner", None).await;
    let kept = issue(&world, &org, &one).await;
    let shown = world.admin(&org, "GET", "/v1/ca", None).await.expect(200).json();
    let before = shown["intermediates"].as_array().expect("intermediates").len();
    let world = world.restored(&org, 638).await;
    let [leaf, between] = chain(&kept);
    let root = world.ask(Ask::get(access(&between)[1].clone())).await.expect(200);
    let root = Certificate::from_der(&root.body).expect("a root");
    // The intermediate of before may have signed what nobody knows of: its root says that it is over.
    assert!(is_listed(&world, &between, &root).await);
    world.ask(Ask::get(list_of(&leaf))).await.expect(404);
    assert_eq!(status(&world, &org, &kept).await, (true, "revoked"));
    let lost = request(&[question(&between, &[0x5a; 16])]);
    assert_eq!(said(&post(&world, &org, &lost).await), ["unauthorized"]);
    let event = crate::events(&world, &org, "log.generation_started").await;
    let named = event[0]["payload"]["changes"]["intermediates"].as_str().expect("named");
    assert_eq!(named.split(' ').count(), before + 1, "those that signed, and the next: {named}");

    // Others sign what comes after, under the same root.
    let reason = Some(json!({"reason": "a test"}));
    world.admin(&org, "POST", "/v1/restore/waive", reason).await.expect(200);
    let next = issue(&world, &org, &one).await;
    assert_eq!(status(&world, &org, &next).await, (false, "good"));
    let [_, signs] = chain(&next);
    assert_ne!(signs.tbs_certificate().subject(), between.tbs_certificate().subject());
    let keys =
        |certificate: &Certificate| certificate.tbs_certificate().subject_public_key_info().clone();
    assert_ne!(keys(&signs), keys(&between));
}

#[tokio::test]
async fn an_intermediate_that_gave_its_place_to_another_tells_of_what_it_signed_until_it_is_over() {
    let world = TestWorld::new(639).await;
    let Scene { org, .. } = world.scene().await;
    let one = world.instance(&org, "planner", None).await;
    let issued = issue(&world, &org, &one).await;
    let body = Some(json!({"purpose": "ca"}));
    world.admin(&org, "POST", "/v1/signing-keys/rotate", body).await.expect(201);
    assert_eq!(status(&world, &org, &issued).await, (false, "good"));
    revoke(&world, &org, issued["id"].as_str().expect("an id")).await;
    assert_eq!(status(&world, &org, &issued).await, (true, "revoked"));
    let [leaf, between] = chain(&issued);
    // Nothing but the certificate itself ended: no more is known of why.
    let list = read(&world.ask(Ask::get(list_of(&leaf))).await.expect(200));
    assert_eq!(entries(&list)[0].crl_entry_extensions, None);
    // A while after it is over it leaves the list.
    world.advance(3600);
    assert!(is_listed(&world, &leaf, &between).await);
    world.advance(61);
    let surely = accredit_wire::time::Time::from_seconds(world.now().seconds());
    world.world.store.forget_before(surely).await.expect("forgotten");
    assert!(!is_listed(&world, &leaf, &between).await);
    world.clock.advance(INTERMEDIATE_LIFE);
    jobs::rotate_all(&world.server).await;
    world.ask(Ask::get(list_of(&leaf))).await.expect(404);
}

#[tokio::test]
async fn the_lists_are_sent_again_only_where_they_are_others() {
    let world = TestWorld::new(648).await;
    let Scene { org, .. } = world.scene().await;
    let one = world.instance(&org, "planner", None).await;
    let issued = issue(&world, &org, &one).await;
    let lists = |tag: &str| Ask::get(org.path("/ca/crls")).header("if-none-match", tag);
    let first = world.ask(lists("\"other\"")).await.expect(200);
    let tag = first.header("etag").to_owned();
    let same = world.ask(lists(&tag)).await.expect(304);
    assert!(same.body.is_empty() && same.header("etag") == tag);
    revoke(&world, &org, issued["id"].as_str().expect("an id")).await;
    world.advance(KNOWN_WITHIN_SECONDS.into());
    let other = world.ask(lists(&tag)).await.expect(200);
    assert_ne!((other.header("etag"), &other.body), (&*tag, &first.body));
}
