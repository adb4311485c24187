//! RFC 5280 section 4.2.1.6: names of hosts in certificates, as OpenSSL and rustls-webpki take them.

use std::collections::BTreeSet;

use rustls_pki_types::ServerName;

use super::*;
use crate::x509::dns_name::DnsName;
use crate::x509::svid;

fn hosts(names: &[&str]) -> BTreeSet<DnsName> {
    names.iter().map(|name| DnsName::parse(name).expect("a name")).collect()
}

/// A certificate of an instance that names hosts too, signed whatever they are.
fn leaf(one: &Authority, names: &[&str]) -> Certificate {
    let id = one.domain.instance("planner", InstanceId::new(1, [4; 10])).expect("an id");
    let key = parse(&p256()).expect("a key");
    let issuer = (one.named(), &pointers());
    let subject = ("ins", &key);
    let unsigned = Unsigned::instance((&id, &hosts(names)), issuer, subject, &[3; 16], life(1));
    sign(&one.key, unsigned.expect("a leaf"))
}

#[test]
fn a_host_is_known_by_its_own_name_and_no_other() {
    let one = authority("one");
    let (own, other) = ("crm.one.id.acme.test", "api.one.id.acme.test");
    let leaf = leaf(&one, &[own, "eu.crm.one.id.acme.test"]);
    for usage in [KeyUsage::client_auth(), KeyUsage::server_auth()] {
        assert_eq!(one.check(&leaf, false, usage), Ok(()));
    }
    let der = CertificateDer::from(leaf.der());
    let read = EndEntityCert::try_from(&der).expect("a certificate");
    let names = |name: &str| {
        read.verify_is_valid_for_subject_name(&ServerName::try_from(name).expect("a name")).is_ok()
    };
    assert!(names(own) && names("eu.crm.one.id.acme.test"));
    for wrong in [other, "one.id.acme.test", "id.acme.test", "x.crm.one.id.acme.test"] {
        assert!(!names(wrong), "{wrong}");
    }
    // Whom it names is read as before: hosts say nothing of a workload.
    let id = one.domain.instance("planner", InstanceId::new(1, [4; 10])).expect("an id");
    let presented = Presented::read(leaf.der()).expect("a certificate");
    assert_eq!(presented.spiffe_id.as_deref(), Some(id.as_str()));
    assert_eq!(svid::read(leaf.der()).expect("a peer's").spiffe_id, id.as_str());
    for (host, is_taken) in [(own, true), (other, false), ("one.id.acme.test", false)] {
        let Some((accepted, text)) = openssl_at(&one, &leaf, "sslserver", Some(host)) else {
            return;
        };
        assert_eq!(accepted, is_taken, "{host}: {text}");
    }
}

#[test]
fn a_host_outside_the_trust_domain_is_refused_by_the_roots_constraints() {
    let one = authority("one");
    for alien in ["crm.two.id.acme.test", "id.acme.test", "crm.example", "evilone.id.acme.test"] {
        let leaf = leaf(&one, &[alien]);
        let refused = one.check(&leaf, true, KeyUsage::server_auth());
        assert_eq!(refused, Err("NameConstraintViolation".to_owned()), "{alien}");
        let Some((accepted, text)) = openssl_at(&one, &leaf, "sslserver", Some(alien)) else {
            return;
        };
        assert!(!accepted && text.contains("permitted subtree violation"), "{alien}: {text}");
    }
}
