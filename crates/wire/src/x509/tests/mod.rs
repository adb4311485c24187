//! Requests that others made, and chains that another library checks.

mod bundle;
mod hosts;
mod listener;
mod peers;
mod revoked;

use std::collections::BTreeSet;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519,
};
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use crate::crypto::{Algorithm, PrivateKey, PublicKey};
use crate::ids::{InstanceId, OrganizationId};
use crate::time::Time;
use crate::x509::certificate::{Certificate, Life, Named, Pointers, Unsigned, info};
use crate::x509::presented::{NotACertificate, PRESENTED_BYTES_MAX, Presented};
use crate::x509::request::{REQUEST_TEXT_BYTES_MAX, RequestError, SubjectKey, parse, write};
use crate::x509::spiffe::{SpiffeId, TrustDomain};
use crate::x509::{decoded, pem};

const NOW: i64 = 1_795_000_000;

fn now() -> Time {
    Time::from_seconds(NOW)
}

struct Key {
    private: PrivateKey,
    public: PublicKey,
}

fn key() -> Key {
    let (private, _) = PrivateKey::generate(Algorithm::Es256).expect("a key");
    let public = private.public().expect("its public half");
    Key { private, public }
}

fn sign(key: &Key, unsigned: Unsigned) -> Certificate {
    let signature = key.private.sign(unsigned.signing_input()).expect("a signature");
    unsigned.finish(&signature).expect("a certificate")
}

fn life(hours: u64) -> Life {
    Life { from: now(), until: now().plus(Duration::from_hours(hours)) }
}

/// Where certificates say that their issuer tells of them.
fn pointers() -> Pointers {
    Pointers {
        crl: "https://id.acme.test/o/x/ca/key/crl".to_owned(),
        ocsp: "https://id.acme.test/o/x/ocsp".to_owned(),
        issuer: "https://id.acme.test/o/x/ca/key/certificate".to_owned(),
    }
}

/// An organization's authority: its root, its intermediate and their certificates.
struct Authority {
    domain: TrustDomain,
    root: Certificate,
    root_key: Key,
    key: Key,
    intermediate: Certificate,
}

fn authority(name: &str) -> Authority {
    let id = OrganizationId::new(1, [1; 10]);
    let domain = TrustDomain::of(name, id, "https://id.acme.test/o/x").expect("a domain");
    let (root_key, key) = (key(), key());
    let root = Named::new("root", &root_key.public);
    let unsigned = Unsigned::root(&domain, root, &[0xff; 16], life(10_000)).expect("a root");
    let root_certificate = sign(&root_key, unsigned);
    let own = Named::new("intermediate", &key.public);
    let unsigned = Unsigned::intermediate(&domain, (root, own), &pointers(), &[2; 16], life(100));
    let intermediate = sign(&root_key, unsigned.expect("an intermediate"));
    Authority { domain, root: root_certificate, root_key, key, intermediate }
}

impl Authority {
    /// As it is called where it signs.
    fn named(&self) -> Named<'_> {
        Named::new("intermediate", &self.key.public)
    }

    fn leaf(&self, id: &SpiffeId, key: &SubjectKey) -> Certificate {
        self.numbered(id, key, &[3; 16])
    }

    fn numbered(&self, id: &SpiffeId, key: &SubjectKey, serial: &[u8; 16]) -> Certificate {
        let issuer = (self.named(), &pointers());
        let named = (id, &BTreeSet::new());
        let unsigned = Unsigned::instance(named, issuer, ("ins", key), serial, life(1));
        sign(&self.key, unsigned.expect("a leaf"))
    }

    fn check(&self, leaf: &Certificate, constrained: bool, usage: KeyUsage) -> Result<(), String> {
        let root = CertificateDer::from(self.root.der());
        let anchor = anchor_from_trusted_cert(&root).expect("an anchor");
        assert!(anchor.name_constraints.is_some());
        let anchor =
            if constrained { anchor } else { TrustAnchor { name_constraints: None, ..anchor } };
        let leaf = CertificateDer::from(leaf.der());
        let leaf = EndEntityCert::try_from(&leaf).map_err(|error| error.to_string())?;
        let between = [CertificateDer::from(self.intermediate.der())];
        let at = UnixTime::since_unix_epoch(Duration::from_secs(NOW as u64));
        leaf.verify_for_usage(ALL_VERIFICATION_ALGS, &[anchor], &between, at, usage, None, None)
            .map(drop)
            .map_err(|error| format!("{error:?}"))
    }
}

fn request(pair: &KeyPair) -> String {
    let params = CertificateParams::new(vec!["evil.example".to_owned()]).expect("parameters");
    params.serialize_request(pair).expect("a request").pem().expect("PEM")
}

fn p256() -> String {
    request(&KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key"))
}

#[test]
fn a_request_is_its_key_alone() {
    for algorithm in [&PKCS_ECDSA_P256_SHA256, &PKCS_ECDSA_P384_SHA384] {
        let pair = KeyPair::generate_for(algorithm).expect("a key");
        let read = parse(&request(&pair)).expect("a request");
        assert_eq!(
            read.digest(),
            crate::crypto::sha256(&rcgen::PublicKeyData::subject_public_key_info(&pair))
        );
    }
}

#[test]
fn a_request_is_read_in_each_form_in_which_clients_have_it() {
    let text = p256();
    let digest = parse(&text).expect("PEM").digest();
    let der = decoded("CERTIFICATE REQUEST", &text).expect("DER");
    let base64 = STANDARD.encode(&der);
    let lines = base64.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line));
    let lines = lines.collect::<Vec<_>>().join("\r\n");
    for form in [pem("NEW CERTIFICATE REQUEST", &der), base64, lines] {
        assert_eq!(parse(&form).expect("a request").digest(), digest, "{form:.30}");
    }
}

#[test]
fn a_request_of_ours_is_one_to_us_and_to_openssl() {
    let Key { private, public } = key();
    let text = write(&private).expect("a request");
    let read = parse(&text).expect("a request");
    assert_eq!(read.info, info(&public).expect("its key"));
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("csr.pem");
    std::fs::write(&path, text).expect("written");
    let told = std::process::Command::new("openssl")
        .args(["req", "-verify", "-noout", "-in"])
        .arg(path)
        .output();
    // Where there is none, the reader above judges alone.
    let Ok(told) = told else { return };
    let text = [told.stdout, told.stderr].concat();
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&text));
    let (other, _) = PrivateKey::generate(Algorithm::EdDsa).expect("a key");
    assert!(write(&other).is_err(), "no certificate is issued for such a key");
}

#[test]
fn a_request_is_refused_unless_its_own_key_signed_it() {
    let text = p256();
    let der = decoded("CERTIFICATE REQUEST", &text).expect("DER");
    let mut refused = 0;
    for at in 0..der.len() {
        let mut other = der.clone();
        other[at] ^= 1;
        let read = parse(&pem("CERTIFICATE REQUEST", &other));
        assert!(read.is_err(), "byte {at} makes no difference");
        refused += usize::from(read.err() == Some(RequestError::Signature));
    }
    assert!(refused > 64, "most are refused because of the signature");
}

#[test]
fn what_is_no_request_is_refused() {
    let text = p256();
    let der = decoded("CERTIFICATE REQUEST", &text).expect("DER");
    let trailing = [der.as_slice(), &[0]].concat();
    // 0x30 0x81: the length in one byte more than it needs.
    let longer = "x".repeat(REQUEST_TEXT_BYTES_MAX + 1);
    let ed25519 = request(&KeyPair::generate_for(&PKCS_ED25519).expect("a key"));
    for (sent, error) in [
        (String::new(), RequestError::Pem),
        ("garbage".to_owned(), RequestError::Pem),
        (format!("{text}{text}"), RequestError::Pem),
        (format!("Certificate Request:\n{text}"), RequestError::Pem),
        (pem("CERTIFICATE", &der), RequestError::Pem),
        (pem("CERTIFICATE REQUEST", &trailing), RequestError::Malformed),
        (pem("CERTIFICATE REQUEST", &der[..der.len() - 1]), RequestError::Malformed),
        (pem("CERTIFICATE REQUEST", &[]), RequestError::Malformed),
        (longer, RequestError::TooLarge),
        (ed25519, RequestError::Key),
    ] {
        assert_eq!(parse(&sent).err(), Some(error), "{sent:.60}");
    }
}

#[test]
fn a_key_that_everybody_has_is_certified_for_nobody() {
    // RFC 9500 section 2.3.
    let made = include_str!("../../../../../fuzz/corpus/csr/published.pem");
    assert_eq!(parse(made).err(), Some(RequestError::Published));
    // RFC 7515 appendix A.3.
    let part = |text| crate::jose::b64url_decode(text).expect("base64url");
    let x = part("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU");
    let y = part("x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0");
    let d = part("jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI");
    let point = [&[4], x.as_slice(), &y].concat().try_into().expect("65 bytes");
    let key =
        PrivateKey::p256_from_scalar(&d.try_into().expect("32 bytes"), &point).expect("a key");
    let asked = write(&key).expect("a request");
    assert_eq!(parse(&asked).err(), Some(RequestError::Published));
}

#[test]
fn a_chain_is_accepted_by_another_library_and_only_within_its_trust_domain() {
    let (one, two) = (authority("one"), authority("two"));
    let key = parse(&p256()).expect("a key");
    let id = one.domain.instance("planner", InstanceId::new(1, [4; 10])).expect("an id");
    let leaf = one.leaf(&id, &key);
    for usage in [KeyUsage::client_auth(), KeyUsage::server_auth()] {
        assert_eq!(one.check(&leaf, false, usage), Ok(()));
        // It reads no constraints of URIs, and says no to all of them.
        assert_eq!(one.check(&leaf, true, usage), Err("NameConstraintViolation".to_owned()));
        assert!(two.check(&leaf, false, usage).is_err());
    }
    let alien = two.domain.instance("planner", InstanceId::new(1, [4; 10])).expect("an id");
    let alien = one.leaf(&alien, &key);
    let refused = one.check(&alien, true, KeyUsage::client_auth());
    assert_eq!(refused, Err("NameConstraintViolation".to_owned()));
}

#[test]
fn a_leaf_signs_nothing_and_is_over_when_it_says() {
    let one = authority("one");
    let key = parse(&p256()).expect("a key");
    let id = one.domain.instance("planner", InstanceId::new(1, [4; 10])).expect("an id");
    let leaf = one.leaf(&id, &key);
    assert_eq!(leaf.until(), now().plus(Duration::from_hours(1)));
    assert_eq!(Certificate::parse(leaf.der()).expect("the same"), leaf);
    assert!(leaf.pem().starts_with("-----BEGIN CERTIFICATE-----\n"));
}

#[test]
fn no_trust_domain_is_below_another_or_spelt_twice() {
    let id = OrganizationId::new(1, [1; 10]);
    let of = |name: &str, issuer: &str| {
        TrustDomain::of(name, id, issuer).map(|domain| domain.to_string())
    };
    assert_eq!(of("acme", "https://ID.acme.test:8443/o/acme"), Ok("acme.id.acme.test".into()));
    assert_eq!(of("a.b", "https://x.test/o/a.b"), Ok(format!("{id}.x.test")));
    assert_eq!(of("a_b", "https://x.test/o/a_b"), Ok(format!("{id}.x.test")));
    assert_eq!(of("-a", "https://x.test/o/-a"), Ok(format!("{id}.x.test")));
    assert_eq!(of("acme", "http://[2001:db8::1]:8080/o/acme"), Ok("acme.2001-db8--1".into()));
    assert!(of("acme", "nothing").is_err());
    for text in ["", "A.test", "a..b", "a/b", "a:1", "a%2e", &"a".repeat(256)] {
        assert!(TrustDomain::parse(text).is_err(), "{text}");
    }
    let domain = TrustDomain::parse("acme.test").expect("a domain");
    let instance = InstanceId::new(1, [4; 10]);
    for agent in ["", ".", "..", "a/b", "a%", "é"] {
        assert!(domain.instance(agent, instance).is_err(), "{agent}");
    }
    let id = domain.instance("planner", instance).expect("an id");
    assert_eq!(id.as_str(), format!("spiffe://acme.test/agent/planner/instance/{instance}"));
}

/// What OpenSSL says of a leaf under an organization's root, which it is given with its constraints.
fn openssl(one: &Authority, leaf: &Certificate, purpose: &str) -> Option<(bool, String)> {
    openssl_at(one, leaf, purpose, None)
}

/// The same of a leaf that is to be a host's.
fn openssl_at(
    one: &Authority,
    leaf: &Certificate,
    purpose: &str,
    host: Option<&str>,
) -> Option<(bool, String)> {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, certificate: &Certificate| {
        let path = folder.path().join(name);
        std::fs::write(&path, certificate.pem()).expect("written");
        path
    };
    let told = std::process::Command::new("openssl")
        .args(["verify", "-x509_strict", "-attime", &NOW.to_string(), "-purpose", purpose])
        .args(host.iter().flat_map(|host| ["-verify_hostname", host]))
        .arg("-CAfile")
        .arg(write("root.pem", &one.root))
        .arg("-untrusted")
        .arg(write("intermediate.pem", &one.intermediate))
        .arg(write("leaf.pem", leaf))
        .output();
    // Where there is none, the library above judges alone.
    let told = told.ok()?;
    let text = [told.stdout, told.stderr].concat();
    Some((told.status.success(), String::from_utf8_lossy(&text).into_owned()))
}

#[test]
fn openssl_accepts_a_chain_for_both_purposes_and_refuses_an_id_of_another_organization() {
    let (one, two) = (authority("one"), authority("two"));
    let key = parse(&p256()).expect("a key");
    let instance = InstanceId::new(1, [4; 10]);
    let own = one.leaf(&one.domain.instance("planner", instance).expect("an id"), &key);
    let alien = one.leaf(&two.domain.instance("planner", instance).expect("an id"), &key);
    for purpose in ["sslclient", "sslserver"] {
        let Some((accepted, text)) = openssl(&one, &own, purpose) else { return };
        assert!(accepted, "{text}");
        let (accepted, text) = openssl(&one, &alien, purpose).expect("told");
        assert!(!accepted && text.contains("permitted subtree violation"), "{text}");
        let (accepted, text) = openssl(&two, &own, purpose).expect("told");
        assert!(!accepted, "{text}");
    }
}

/// A certificate that another library made for its own key.
fn self_signed(
    algorithm: &'static rcgen::SignatureAlgorithm,
    names: &[&str],
) -> (Vec<u8>, KeyPair) {
    let pair = KeyPair::generate_for(algorithm).expect("a key");
    let mut params = CertificateParams::default();
    params.subject_alt_names =
        names.iter().map(|name| rcgen::SanType::URI((*name).try_into().expect("a name"))).collect();
    let made = params.self_signed(&pair).expect("a certificate");
    (made.der().to_vec(), pair)
}

#[test]
fn a_presented_certificate_is_its_key_its_life_and_one_name() {
    for (algorithm, is_read) in
        [(&PKCS_ECDSA_P256_SHA256, true), (&PKCS_ED25519, true), (&PKCS_ECDSA_P384_SHA384, false)]
    {
        let (der, pair) = self_signed(algorithm, &[]);
        let read = Presented::read(&der).expect("a certificate");
        assert_eq!(read.key.is_some(), is_read);
        if let Some(key) = read.key {
            assert_eq!(key.bytes(), pair.public_key_raw());
        }
        assert_eq!(read.spiffe_id, None);
    }
    let id = "spiffe://acme.id.test/agent/a/instance/b";
    for (names, named) in [
        (&[id][..], Some(id)),
        (&[id, "spiffe://other.test/x"], None),
        (&[id, "https://acme.test/"], None),
        (&["https://acme.test/"], None),
    ] {
        let (der, _) = self_signed(&PKCS_ECDSA_P256_SHA256, names);
        let read = Presented::read(&der).expect("a certificate");
        assert_eq!(read.spiffe_id.as_deref(), named, "{names:?}");
    }
}

#[test]
fn a_certificate_of_ours_is_read_as_it_was_written() {
    let one = authority("acme");
    let instance = InstanceId::new(1, [7; 10]);
    let spiffe = one.domain.instance("planner", instance).expect("an id");
    let leaf = one.leaf(&spiffe, &parse(&p256()).expect("a key"));
    let read = Presented::read(leaf.der()).expect("a certificate");
    assert_eq!(read.spiffe_id.as_deref(), Some(spiffe.as_str()));
    assert_eq!(read.until, leaf.until());
    assert_eq!(one.domain.instance_of(spiffe.as_str()), Some(instance));
    let skew = Duration::from_mins(1);
    assert!(read.holds(now(), Duration::ZERO) && read.holds(read.until, Duration::ZERO));
    assert!(read.holds(read.until.plus(skew), skew) && read.holds(read.from.minus(skew), skew));
    assert!(!read.holds(read.until.plus(skew * 2), skew));
    assert!(!read.holds(read.from.minus(skew * 2), skew));
}

#[test]
fn only_an_id_that_is_spelt_as_ours_names_an_instance_of_ours() {
    let one = authority("acme");
    let instance = InstanceId::new(1, [7; 10]);
    let id = one.domain.instance("planner", instance).expect("an id").as_str().to_owned();
    assert_eq!(one.domain.instance_of(&id), Some(instance));
    let other = authority("other").domain.instance("planner", instance).expect("an id");
    for wrong in [
        other.as_str(),
        &id.to_uppercase(),
        &id.replacen("spiffe", "SPIFFE", 1),
        &format!("{id}/"),
        &format!("{id}?x"),
        &id.replacen("planner", "..", 1),
        &id.replacen("planner", "a/b", 1),
        &id.replacen("planner", "", 1),
        &id.replacen("/agent/", "x/agent/", 1),
        &id.replacen("/agent/", ".evil/agent/", 1),
        &id.replacen("/agent", ":443/agent", 1),
        &id.replacen("//", "//u@", 1),
        "spiffe://",
        "",
    ] {
        assert_eq!(one.domain.instance_of(wrong), None, "{wrong}");
    }
}

#[test]
fn what_is_no_certificate_is_not_presented() {
    let (der, _) = self_signed(&PKCS_ECDSA_P256_SHA256, &[]);
    for cut in [0, 1, der.len() / 2, der.len() - 1] {
        assert_eq!(Presented::read(&der[..cut]).err(), Some(NotACertificate), "{cut}");
    }
    assert!(Presented::read(&[&der[..], b"x"].concat()).is_err());
    assert!(Presented::read(&vec![0x30; PRESENTED_BYTES_MAX + 1]).is_err());
    // A byte that is wrong anywhere is refused or changes nothing that would panic.
    for at in 0..der.len() {
        let mut wrong = der.clone();
        wrong[at] ^= 0x55;
        let _ = Presented::read(&wrong);
    }
}
