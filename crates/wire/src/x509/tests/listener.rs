//! A listener's certificates, judged by another library: for one host, under the constraints of the root.

use rustls_pki_types::ServerName;

use super::*;
use crate::x509::listener::{Host, NotAHost};

fn host(url: &str) -> Host {
    Host::of_url(url).expect("a host")
}

/// A root for one host.
fn root(of: &Host, key: &Key) -> Certificate {
    let named = Named::new("Accredit root", &key.public);
    sign(key, Unsigned::listener_root(of, named, &[9; 16], life(10_000)).expect("a root"))
}

/// What a root signs for a host, as a library on rustls judges it that is given the root.
fn check(root: &Certificate, by: &Key, of: &Host, asked: &str) -> Result<(), String> {
    let own = key();
    let names = (Named::new("Accredit root", &by.public), Named::new("Accredit", &own.public));
    let leaf = sign(by, Unsigned::listener(of, names, &[3; 16], life(24)).expect("a leaf"));
    let (root, leaf) = (CertificateDer::from(root.der()), CertificateDer::from(leaf.der()));
    let anchor = anchor_from_trusted_cert(&root).expect("an anchor");
    let leaf = EndEntityCert::try_from(&leaf).expect("a leaf");
    let at = UnixTime::since_unix_epoch(Duration::from_secs(NOW as u64));
    let verified = |usage| {
        leaf.verify_for_usage(
            ALL_VERIFICATION_ALGS,
            std::slice::from_ref(&anchor),
            &[],
            at,
            usage,
            None,
            None,
        )
        .map(drop)
    };
    assert!(verified(KeyUsage::client_auth()).is_err(), "it is a server's");
    verified(KeyUsage::server_auth()).map_err(|error| format!("{error:?}"))?;
    let asked = ServerName::try_from(asked).expect("a name");
    leaf.verify_is_valid_for_subject_name(&asked).map_err(|error| format!("{error:?}"))
}

const HOSTS: [(&str, &str); 4] = [
    ("https://id.acme.test", "id.acme.test"),
    ("https://localhost:8420", "localhost"),
    ("https://127.0.0.1:8420/x", "127.0.0.1"),
    ("https://[2001:db8::7]:8420", "2001:db8::7"),
];

#[test]
fn a_listener_is_known_by_its_host_under_its_roots_constraints() {
    for (url, asked) in HOSTS {
        let (of, by) = (host(url), key());
        let root = root(&of, &by);
        check(&root, &by, &of, asked).unwrap_or_else(|error| panic!("{url}: {error}"));
        for (_, other) in HOSTS.iter().filter(|(_, other)| *other != asked) {
            let refused = check(&root, &by, &of, other).expect_err(other);
            assert!(refused.contains("NotValidForName"), "{url} {other}: {refused}");
        }
    }
}

#[test]
fn what_a_root_signs_for_another_host_is_refused_of_either_kind() {
    for (url, _) in HOSTS {
        let (of, by) = (host(url), key());
        let root = root(&of, &by);
        let others = ["https://acme.test", "https://id.acme.test.evil.test", "https://10.0.0.1"];
        let others = others.into_iter().chain(["https://[2001:db8::8]"]);
        let of_table = HOSTS.iter().map(|(other, _)| *other).filter(|other| *other != url);
        for other in others.chain(of_table) {
            let other = host(other);
            let refused = check(&root, &by, &other, &other.to_string()).expect_err(url);
            assert!(refused.contains("NameConstraintViolation"), "{url} {other}: {refused}");
        }
    }
}

#[test]
fn a_root_signs_no_other_authority_and_what_another_key_signed_is_none_of_its() {
    let (of, by) = (host("https://id.acme.test"), key());
    let own_root = root(&of, &by);
    let refused = check(&own_root, &key(), &of, "id.acme.test").expect_err("of another key");
    assert!(refused.contains("InvalidSignature"), "{refused}");
    let read = x509_cert::der::Decode::from_der(own_root.der());
    let read: x509_cert::Certificate = read.expect("a certificate");
    let constraints = read.tbs_certificate();
    let constraints = constraints.get_extension::<x509_cert::ext::pkix::BasicConstraints>();
    let (is_critical, constraints) = constraints.expect("read").expect("there");
    assert!(is_critical && constraints.ca && constraints.path_len_constraint == Some(0));
}

#[test]
fn a_host_is_read_from_a_url_in_one_spelling_or_not_at_all() {
    for (url, read) in [
        ("https://ID.Acme.Test./o/x", "id.acme.test"),
        ("https://a-1.b:1?x", "a-1.b"),
        ("https://[::1]", "::1"),
        ("https://xn--bcher-kva.test#x", "xn--bcher-kva.test"),
    ] {
        assert_eq!(host(url).to_string(), read, "{url}");
    }
    let long = format!("https://{}", "a".repeat(64));
    let longer = format!("https://{}", ["a".repeat(60).as_str(); 5].join("."));
    for wrong in [
        "id.acme.test",
        "https://",
        "https://:1",
        "https://a..b",
        "https://-a.test",
        "https://a-.test",
        "https://a_b.test",
        "https://*.acme.test",
        "https://b\u{fc}cher.test",
        "https://1.2.3",
        "https://256.0.0.1",
        "https://[::1",
        "https://[id.acme.test]",
        "https://user@host.test",
        &long,
        &longer,
    ] {
        assert_eq!(Host::of_url(wrong), Err(NotAHost), "{wrong}");
    }
}
