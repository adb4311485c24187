//! What a peer's certificate must be, and what a list says of itself.

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, SanType};

use super::*;
use crate::x509::crl::{self, Head, Reason, Revoked, UnsignedList};
use crate::x509::svid::{self, Leaf, NotAnSvid};

const ID: &str = "spiffe://x.id.acme.test/agent/planner/instance/ins_1";

fn named(ids: &[&str]) -> CertificateParams {
    let mut params = CertificateParams::default();
    let uri = |id: &&str| SanType::URI((*id).try_into().expect("a URI"));
    params.subject_alt_names = ids.iter().map(uri).collect();
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
}

fn read(params: &CertificateParams) -> Result<Leaf, NotAnSvid> {
    let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
    svid::read(params.self_signed(&pair).expect("a certificate").der())
}

#[test]
fn a_peers_certificate_names_one_workload_and_signs_no_others() {
    let one = authority("x");
    let instance = InstanceId::new(7, [7; 10]);
    let id = one.domain.instance("planner", instance).expect("an id");
    let leaf = one.leaf(&id, &parse(&p256()).expect("a key"));
    let read_leaf = svid::read(leaf.der()).expect("an SVID");
    let until = Time::from_seconds(leaf.until().seconds());
    assert_eq!(read_leaf, Leaf { spiffe_id: id.to_string(), until });
    for authority in [&one.root, &one.intermediate] {
        assert_eq!(svid::read(authority.der()), Err(NotAnSvid::Signs));
    }
    assert_eq!(read(&named(&[ID])).map(|leaf| leaf.spiffe_id), Ok(ID.to_owned()));
    let long = format!("spiffe://x/{}", "a".repeat(2048));
    for wrong in [
        &[][..],
        &[ID, ID],
        &[ID, "https://id.acme.test/"],
        &["https://id.acme.test/"],
        &["SPIFFE://x/agent"],
        &[&long],
    ] {
        assert_eq!(read(&named(wrong)), Err(NotAnSvid::Names), "{wrong:?}");
    }
    // Other kinds of names may stand beside it (section 2).
    let mut hosts = named(&[ID]);
    hosts.subject_alt_names.push(SanType::DnsName("a.example".try_into().expect("a name")));
    assert!(read(&hosts).is_ok());

    let mut unused = named(&[ID]);
    unused.key_usages.clear();
    assert_eq!(read(&unused), Err(NotAnSvid::KeyUsage));
    unused.key_usages = vec![KeyUsagePurpose::KeyEncipherment];
    assert_eq!(read(&unused), Err(NotAnSvid::KeyUsage));
    for usage in [KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign] {
        let mut signs = named(&[ID]);
        signs.key_usages.push(usage);
        assert_eq!(read(&signs), Err(NotAnSvid::Signs), "{usage:?}");
    }
    let mut signs = named(&[ID]);
    signs.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    assert_eq!(read(&signs), Err(NotAnSvid::Signs));

    let behind = [leaf.der(), &[0]].concat();
    let long = vec![0x30; PRESENTED_BYTES_MAX + 1];
    for wrong in [&[][..], &[0x30, 0], &behind, &leaf.der()[1..], &long] {
        assert_eq!(svid::read(wrong), Err(NotAnSvid::Malformed));
    }
}

#[test]
fn a_trust_domain_is_below_the_host_of_a_url_or_of_another() {
    let below = |domain| TrustDomain::label_below("https://ID.acme.test:8420/o/x", domain);
    assert_eq!(below("x.id.acme.test"), Some("x"));
    for other in ["id.acme.test", "a.x.id.acme.test", "x.acme.test", "x.id.acme.test.", "x", ""] {
        assert_eq!(below(other), None, "{other}");
    }
    let domain = TrustDomain::parse("x.id.acme.test").expect("a domain");
    assert_eq!(
        domain.bundle_endpoint().as_str(),
        "spiffe://x.id.acme.test/accredit/bundle-endpoint"
    );
    // What serves a bundle is no instance.
    assert_eq!(domain.named_by(domain.bundle_endpoint().as_str()), None);
}

#[test]
fn an_id_names_an_agent_and_an_instance_or_nothing() {
    let domain = TrustDomain::parse("x.id.acme.test").expect("a domain");
    let instance = InstanceId::new(7, [7; 10]);
    let id = domain.instance("planner", instance).expect("an id").to_string();
    assert_eq!(domain.named_by(&id), Some(("planner", instance)));
    assert_eq!(TrustDomain::of_id(&id), Some(domain.clone()));
    let other = TrustDomain::parse("y.id.acme.test").expect("a domain");
    assert_eq!(other.named_by(&id), None);
    for wrong in [
        String::new(),
        domain.id().to_string(),
        format!("{id}/"),
        format!("{id}/more"),
        id.replace("planner", ""),
        id.replace("planner", "a/b"),
        id.replace("/agent/", "/agents/"),
        id.to_uppercase(),
    ] {
        assert_eq!(domain.named_by(&wrong), None, "{wrong}");
    }
    for wrong in ["", "spiffe://", "spiffe:///a", "https://x/", "spiffe://X/a"] {
        assert_eq!(TrustDomain::of_id(wrong), None, "{wrong}");
    }
}

fn list(number: u128, entries: &[([u8; 16], Revoked)]) -> Vec<u8> {
    let one = authority("x");
    let unsigned = UnsignedList::new(one.named(), number, life(1), entries).expect("a list");
    let signature = one.key.private.sign(unsigned.signing_input()).expect("signed");
    unsigned.finish(&signature).expect("a list")
}

#[test]
fn a_list_says_up_to_which_counter_it_knows_when_it_was_made_and_until_when_it_holds() {
    let until = Time::from_seconds(life(1).until.seconds());
    let said = [([9; 16], Revoked { at: now(), reason: Some(Reason::PrivilegeWithdrawn) })];
    for counter in [0, 1, 7, u64::MAX] {
        for entries in [&said[..], &[]] {
            let head = crl::head(&list(crl::number(counter, now()), entries)).expect("a head");
            assert_eq!(head, Head { counter, made_at: now(), until });
        }
    }
    // The number of a later counter is a higher one, whatever the clocks say.
    assert!(crl::number(8, Time::from_seconds(0)) > crl::number(7, now()));
    // A number that is no time, or longer than ours, is not one of ours.
    assert!(crl::head(&list(u128::MAX, &[])).is_err());
    assert!(crl::head(&[0x30, 0]).is_err());
    assert!(crl::head(authority("x").root.der()).is_err());
}
