//! Lists of revoked certificates and answers about single ones, read by other programs; questions that
//! others ask.

use std::path::PathBuf;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::{
    ALL_VERIFICATION_ALGS, CertRevocationList, EndEntityCert, KeyUsage, OwnedCertRevocationList,
    RevocationCheckDepth, RevocationOptionsBuilder, UnknownStatusPolicy, anchor_from_trusted_cert,
};

use super::{Authority, Duration, InstanceId, NOW, authority, life, now, p256};
use crate::x509::certificate::{Certificate, Life, Named, SERIAL_BYTES};
use crate::x509::crl::{Reason, Revoked, UnsignedList, numbers, text};
use crate::x509::ocsp::{
    CertId, NONCE_BYTES_MAX, QUESTIONS_MAX, REQUEST_BYTES_MAX, RequestError, Status, Unanswered,
    UnsignedAnswer, parse, parse_text,
};
use crate::x509::request;

/// The serial number of the certificate that was revoked, and of one that was not. Both begin with what
/// an integer in DER cannot: a bit that would make it negative, and zeros.
const DEAD: [u8; SERIAL_BYTES] = [0xff; SERIAL_BYTES];
const ALIVE: [u8; SERIAL_BYTES] = [0, 0, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3];

/// An authority with two certificates in a folder, which programs read.
struct Stage {
    one: Authority,
    dead: Certificate,
    alive: Certificate,
    folder: tempfile::TempDir,
}

impl Stage {
    fn new() -> Self {
        let one = authority("one");
        let key = request::parse(&p256()).expect("a key");
        let id = one.domain.instance("planner", InstanceId::new(1, [4; 10])).expect("an id");
        let [dead, alive] = [&DEAD, &ALIVE].map(|serial| one.numbered(&id, &key, serial));
        let folder = tempfile::tempdir().expect("a folder");
        let stage = Self { one, dead, alive, folder };
        for (name, certificate) in [
            ("root.pem", &stage.one.root),
            ("intermediate.pem", &stage.one.intermediate),
            ("dead.pem", &stage.dead),
            ("alive.pem", &stage.alive),
        ] {
            stage.put(name, certificate.pem());
        }
        stage
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn put(&self, name: &str, bytes: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), bytes).expect("written");
    }

    /// What OpenSSL comes to; nothing where there is none, and then others judge alone.
    fn openssl(&self, words: &[&str]) -> Option<(bool, String)> {
        let told = Command::new("openssl").args(words).current_dir(self.folder.path()).output();
        let told = told.ok()?;
        let text = [told.stdout, told.stderr].concat();
        Some((told.status.success(), String::from_utf8_lossy(&text).into_owned()))
    }

    /// The list of the intermediate.
    fn list(&self, life: Life, revoked: &[([u8; SERIAL_BYTES], Revoked)]) -> Vec<u8> {
        let unsigned = UnsignedList::new(self.one.named(), 7 << 64 | 5, life, revoked);
        let unsigned = unsigned.expect("a list");
        let signature = self.one.key.private.sign(unsigned.signing_input()).expect("signed");
        unsigned.finish(&signature).expect("a list")
    }

    /// The root's, with nothing on it.
    fn root_list(&self) -> Vec<u8> {
        let root = Named::new("root", &self.one.root_key.public);
        let unsigned = UnsignedList::new(root, 1, hour(), &[]).expect("a list");
        let signature = self.one.root_key.private.sign(unsigned.signing_input()).expect("signed");
        unsigned.finish(&signature).expect("a list")
    }

    fn answer(&self, said: &[(CertId, Status)]) -> Vec<u8> {
        let unsigned = UnsignedAnswer::new(&self.one.key.public, hour(), said).expect("an answer");
        let signature = self.one.key.private.sign(unsigned.signing_input()).expect("signed");
        unsigned.finish(&signature).expect("an answer")
    }

    /// What rustls says of a certificate with a list.
    fn rustls(&self, leaf: &Certificate, list: &[u8]) -> Result<(), String> {
        let list = OwnedCertRevocationList::from_der(list).map_err(|error| format!("{error:?}"))?;
        let list = CertRevocationList::from(list);
        let lists = [&list];
        let options = RevocationOptionsBuilder::new(&lists).expect("lists");
        let options = options
            .with_depth(RevocationCheckDepth::EndEntity)
            .with_status_policy(UnknownStatusPolicy::Deny)
            .with_expiration_policy(webpki::ExpirationPolicy::Enforce)
            .build();
        let root = CertificateDer::from(self.one.root.der());
        let mut anchor = anchor_from_trusted_cert(&root).expect("an anchor");
        anchor.name_constraints = None;
        let leaf = CertificateDer::from(leaf.der());
        let leaf = EndEntityCert::try_from(&leaf).map_err(|error| error.to_string())?;
        let (anchors, between) = ([anchor], [CertificateDer::from(self.one.intermediate.der())]);
        let (algorithms, at) =
            (ALL_VERIFICATION_ALGS, UnixTime::since_unix_epoch(Duration::from_secs(NOW as u64)));
        let usage = KeyUsage::client_auth();
        leaf.verify_for_usage(algorithms, &anchors, &between, at, usage, Some(options), None)
            .map(drop)
            .map_err(|error| format!("{error:?}"))
    }
}

fn hour() -> Life {
    life(1)
}

fn withdrawn() -> Revoked {
    Revoked { at: now(), reason: Some(Reason::PrivilegeWithdrawn) }
}

#[test]
fn a_list_ends_what_is_on_it_to_other_libraries_and_nothing_else() {
    let stage = Stage::new();
    let list = stage.list(hour(), &[(DEAD, withdrawn())]);
    assert_eq!(stage.rustls(&stage.dead, &list), Err("CertRevoked".to_owned()));
    assert_eq!(stage.rustls(&stage.alive, &list), Ok(()));
    let none = stage.list(hour(), &[]);
    assert_eq!(stage.rustls(&stage.dead, &none), Ok(()), "nothing is on it");
    let over = Life { from: now().minus(Duration::from_mins(10)), until: now() };
    let over = stage.rustls(&stage.alive, &stage.list(over, &[]));
    assert!(over.expect_err("over").starts_with("CrlExpired"));
    let others = Stage::new().list(hour(), &[]);
    assert_eq!(
        stage.rustls(&stage.alive, &others),
        Err("InvalidCrlSignatureForPublicKey".to_owned())
    );

    stage.put("crls.pem", [text(&list), text(&stage.root_list())].concat());
    let at = NOW.to_string();
    let verify = |name: &str| {
        let by = ["verify", "-x509_strict", "-attime", &at, "-crl_check_all", "-CAfile"];
        let with = ["root.pem", "-CRLfile", "crls.pem", "-untrusted", "intermediate.pem", name];
        stage.openssl(&[&by[..], &with].concat())
    };
    let Some((accepted, told)) = verify("alive.pem") else { return };
    assert!(accepted, "{told}");
    let (accepted, told) = verify("dead.pem").expect("told");
    assert!(!accepted && told.contains("certificate revoked"), "{told}");
    stage.put("crls.pem", text(&list));
    let (accepted, told) = verify("alive.pem").expect("told");
    assert!(!accepted && told.contains("unable to get certificate CRL"), "the root's: {told}");
}

#[test]
fn a_list_says_what_it_is_to_openssl() {
    let stage = Stage::new();
    let of_issuer = Revoked { at: now(), reason: Some(Reason::CaCompromise) };
    let bare = Revoked { at: now(), reason: None };
    let on_it = [(DEAD, withdrawn()), ([1; 16], of_issuer), ([2; 16], bare)];
    stage.put("list.pem", text(&stage.list(hour(), &on_it)));
    let show = ["crl", "-in", "list.pem", "-noout", "-text", "-CAfile", "intermediate.pem"];
    let Some((accepted, told)) = stage.openssl(&show) else { return };
    assert!(accepted && told.contains("verify OK"), "{told}");
    for has in [
        "Version 2 (0x1)",
        "Issuer: CN = intermediate",
        "X509v3 CRL Number",
        "X509v3 Authority Key Identifier",
        "Privilege Withdrawn",
        "CA Compromise",
        &"FF".repeat(SERIAL_BYTES),
    ] {
        let (has, told) = (has.replace(" = ", "="), told.replace(" = ", "="));
        assert!(told.contains(&has), "{has}: {told}");
    }
    assert_eq!(told.matches("Serial Number").count(), 3);
    assert_eq!(told.matches("Reason Code").count(), 2, "where nothing is known none is told");
}

/// The questions that OpenSSL asks about a certificate.
fn ask(stage: &Stage, more: &[&str], names: &[&str]) -> Option<Vec<u8>> {
    let mut words = vec!["ocsp"];
    words.extend(more);
    words.extend(["-issuer", "intermediate.pem"]);
    for name in names {
        words.extend(["-cert", name]);
    }
    words.extend(["-reqout", "request.der"]);
    let (accepted, told) = stage.openssl(&words)?;
    assert!(accepted, "{told}");
    Some(std::fs::read(stage.path("request.der")).expect("a request"))
}

#[test]
fn what_openssl_asks_is_read_and_what_is_answered_is_believed() {
    let stage = Stage::new();
    for hash in ["-sha1", "-sha256"] {
        let Some(asked) = ask(&stage, &[hash], &["dead.pem", "alive.pem"]) else { return };
        let questions = parse(&asked).expect("a request");
        assert_eq!(parse_text(&STANDARD.encode(&asked)), Ok(questions.clone()));
        let serials: Vec<_> = questions.iter().filter_map(CertId::serial).collect();
        assert_eq!(serials, [&DEAD, &ALIVE]);
        let root = Named::new("root", &stage.one.root_key.public);
        for question in &questions {
            assert_eq!(question.is_of(stage.one.named()).ok(), Some(true), "{hash}");
            assert_eq!(question.is_of(root).ok(), Some(false));
            let posing = Named::new("intermediate", root.key);
            assert_eq!(question.is_of(posing).ok(), Some(false));
        }
        let said = [Status::Revoked(withdrawn()), Status::Good];
        let said: Vec<_> = questions.into_iter().zip(said).collect();
        stage.put("response.der", stage.answer(&said));
        let mut words = vec!["ocsp", "-respin", "response.der", "-CAfile", "root.pem"];
        let at = NOW.to_string();
        words.extend(["-attime", &at, "-no_nonce", "-reqin", "request.der"]);
        words.extend(["-issuer", "intermediate.pem", hash, "-cert", "dead.pem"]);
        words.extend([hash, "-cert", "alive.pem"]);
        let (_, told) = stage.openssl(&words).expect("told");
        // It holds the times to its own clock, whatever it was told.
        for has in ["Response verify OK", "dead.pem: ", "revoked", "Revocation Time", "good"] {
            assert!(told.contains(has), "{has}: {told}");
        }
    }
    // One that another key signed is believed by nobody.
    let asked = ask(&stage, &[], &["alive.pem"]).expect("asked");
    let questions = parse(&asked).expect("a request");
    let said: Vec<_> = questions.into_iter().map(|id| (id, Status::Good)).collect();
    let unsigned = UnsignedAnswer::new(&stage.one.key.public, hour(), &said).expect("an answer");
    let forged = stage.one.root_key.private.sign(unsigned.signing_input()).expect("signed");
    stage.put("response.der", unsigned.finish(&forged).expect("an answer"));
    let words = ["ocsp", "-respin", "response.der", "-CAfile", "root.pem", "-no_nonce"];
    let of = ["-issuer", "intermediate.pem", "-cert", "alive.pem"];
    let (_, told) = stage.openssl(&[&words[..], &of].concat()).expect("told");
    assert!(told.contains("Response Verify Failure"), "{told}");
}

/// DER of a value with a tag.
fn tlv(tag: u8, inner: &[u8]) -> Vec<u8> {
    let length = u16::try_from(inner.len()).expect("short");
    let head = match inner.len() {
        0..=0x7f => vec![tag, inner.len() as u8],
        0x80..=0xff => vec![tag, 0x81, inner.len() as u8],
        _ => [&[tag, 0x82][..], &length.to_be_bytes()].concat(),
    };
    [head, inner.to_vec()].concat()
}

const SHA1: [u8; 7] = [0x06, 0x05, 0x2b, 0x0e, 0x03, 0x02, 0x1a];
const MD5: [u8; 10] = [0x06, 0x08, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x02, 0x05];
const NONCE: [u8; 11] = [0x06, 0x09, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x02];

fn cert_id(hash: &[u8], digest: usize, serial: &[u8]) -> Vec<u8> {
    let digest = tlv(0x04, &vec![9; digest]);
    tlv(0x30, &[tlv(0x30, hash), digest.clone(), digest, tlv(0x02, serial)].concat())
}

/// One question, with what may follow it and the list.
fn request_of(id: &[u8], of_one: &[u8], of_all: &[u8]) -> Vec<u8> {
    let list = tlv(0x30, &tlv(0x30, &[id, of_one].concat()));
    tlv(0x30, &tlv(0x30, &[&list, of_all].concat()))
}

fn extension(oid: &[u8], critical: bool, value: &[u8]) -> Vec<u8> {
    let critical: &[u8] = if critical { &[0x01, 0x01, 0xff] } else { &[] };
    tlv(0x30, &tlv(0x30, &[oid, critical, &tlv(0x04, value)].concat()))
}

#[test]
fn a_request_is_read_within_bounds_and_in_its_one_spelling() {
    let plain = cert_id(&SHA1, 20, &[5]);
    let null = [SHA1.as_slice(), &[0x05, 0x00]].concat();
    let serial = |bytes: &[u8]| parse(&request_of(&cert_id(&null, 20, bytes), &[], &[]));
    for good in [request_of(&plain, &[], &[]), request_of(&cert_id(&null, 20, &[5]), &[], &[])] {
        let read = parse(&good).expect("a request");
        assert_eq!(read[0].serial().map(|serial| serial[SERIAL_BYTES - 1]), Some(5));
    }
    // A number that is longer than any of ours is nobody's, and one below zero or with zeros is none.
    assert_eq!(serial(&[1; 20]).expect("read")[0].serial(), None);
    for wrong in [&[0xff][..], &[0, 5], &[]] {
        assert_eq!(serial(wrong), Err(RequestError::Malformed), "{wrong:?}");
    }
    let nonce = |bytes: usize| {
        let inner = tlv(0x04, &vec![7; bytes]);
        parse(&request_of(&plain, &[], &tlv(0xa2, &extension(&NONCE, false, &inner)))).err()
    };
    assert_eq!([1, 32, NONCE_BYTES_MAX].map(nonce), [None; 3]);
    for bytes in [0, NONCE_BYTES_MAX + 1, 3000] {
        assert_eq!(nonce(bytes), Some(RequestError::Nonce), "{bytes}");
    }
    let bare = tlv(0xa2, &extension(&NONCE, false, &[7; 8]));
    assert_eq!(parse(&request_of(&plain, &[], &bare)), Err(RequestError::Nonce));
    let unknown = |critical| extension(&[0x06, 0x03, 0x2a, 0x03, 0x04], critical, &[]);
    assert!(parse(&request_of(&plain, &tlv(0xa0, &unknown(false)), &[])).is_ok());
    for (of_one, of_all) in
        [(tlv(0xa0, &unknown(true)), vec![]), (vec![], tlv(0xa2, &unknown(true)))]
    {
        let asked = request_of(&plain, &of_one, &of_all);
        assert_eq!(parse(&asked), Err(RequestError::Critical));
    }
    let many = |count| {
        let list = tlv(0x30, &tlv(0x30, &plain).repeat(count));
        parse(&tlv(0x30, &tlv(0x30, &list))).map(|asked| asked.len())
    };
    assert_eq!(many(QUESTIONS_MAX), Ok(QUESTIONS_MAX));
    assert_eq!([many(0), many(QUESTIONS_MAX + 1)], [Err(RequestError::Questions); 2]);
    for (hash, digest, error) in [
        (&MD5[..], 16, RequestError::Hash),
        (&SHA1, 19, RequestError::Malformed),
        (&SHA1, 32, RequestError::Malformed),
    ] {
        assert_eq!(parse(&request_of(&cert_id(hash, digest, &[5]), &[], &[])), Err(error));
    }
    let parameters = [SHA1.as_slice(), &[0x04, 0x00]].concat();
    let asked = request_of(&cert_id(&parameters, 20, &[5]), &[], &[]);
    assert_eq!(parse(&asked), Err(RequestError::Hash));
    let good = request_of(&plain, &[], &[]);
    assert_eq!(parse(&[good.as_slice(), &[0]].concat()), Err(RequestError::Malformed));
    let indefinite = [&[0x30, 0x80][..], &good[2..], &[0, 0]].concat();
    assert_eq!(parse(&indefinite), Err(RequestError::Malformed));
    assert_eq!(parse(&vec![0x30; REQUEST_BYTES_MAX + 1]), Err(RequestError::TooLarge));
    assert_eq!(parse_text(&"A".repeat(2 * REQUEST_BYTES_MAX)), Err(RequestError::TooLarge));
    for text in ["", "!", "MA", "MA=="] {
        assert_eq!(parse_text(text), Err(RequestError::Malformed), "{text}");
    }
    for cut in 0..good.len() {
        assert!(parse(&good[..cut]).is_err(), "{cut}");
    }
    assert_eq!(Unanswered::Unauthorized.der(), [0x30, 3, 0x0a, 1, 6]);
}

proptest! {
    #[test]
    fn whatever_is_sent_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(asked) = parse(&bytes) {
            prop_assert!((1..=QUESTIONS_MAX).contains(&asked.len()));
        }
    }

    #[test]
    fn a_list_has_exactly_what_was_put_on_it(
        serials in prop::collection::btree_set(any::<[u8; SERIAL_BYTES]>(), 0..20),
    ) {
        let stage = Stage::new();
        let entries: Vec<_> = serials.iter().map(|serial| (*serial, withdrawn())).collect();
        let list = stage.list(hour(), &entries);
        let expected = if serials.contains(&DEAD) { "CertRevoked" } else { "" };
        let told = stage.rustls(&stage.dead, &list).err().unwrap_or_default();
        prop_assert_eq!(told, expected);
        let read = numbers(&list).expect("a list");
        prop_assert!(read.iter().eq(&serials), "{read:?}");
    }
}
