//! Project Wycheproof's vectors against each primitive that is used, with our own strictness on
//! top: where the vectors merely allow something, we say here whether we do.

use accredit_wire::crypto::{
    MacKey, PublicKey, RsaAlgorithm, RsaPublicKey, equal_in_constant_time, open, seal,
};
use accredit_wire::jose::b64url_encode;
use accredit_wire::jose::jwk::Jwk;
use wycheproof::TestResult;

/// What each suite is to hold at least, so that an empty file does not pass.
const VECTORS_MIN: usize = 60;

fn decided(accepted: bool, result: TestResult, what: &str) {
    match result {
        TestResult::Valid => assert!(accepted, "{what}: valid and refused"),
        TestResult::Invalid => assert!(!accepted, "{what}: invalid and accepted"),
        TestResult::Acceptable => panic!("{what}: neither valid nor invalid, decide which"),
    }
}

/// FIPS 186-5 ECDSA on P-256 with SHA-256, signatures as IEEE P1363 writes them. Every key is
/// also read from a JWK, which must give the same key.
#[test]
fn ecdsa_p256_accepts_what_is_valid_and_nothing_else() {
    let set =
        wycheproof::ecdsa::TestSet::load(wycheproof::ecdsa::TestName::EcdsaSecp256r1Sha256P1363);
    let (mut valid, mut refused) = (0, 0);
    for group in set.expect("vectors").test_groups {
        let point: &[u8; 65] = group.key.key.as_ref().try_into().expect("an uncompressed point");
        let key = PublicKey::p256(point).expect("a point on the curve");
        let (x, y) = (b64url_encode(&point[1..33]), b64url_encode(&point[33..]));
        let jwk = format!(r#"{{"kty":"EC","crv":"P-256","x":"{x}","y":"{y}"}}"#);
        let jwk = Jwk::parse(jwk.as_bytes()).expect("a JWK");
        assert_eq!(jwk.key().bytes(), point);
        for test in group.tests {
            let accepted = key.verify(&test.msg, &test.sig).is_ok();
            decided(accepted, test.result, &format!("{}: {}", test.tc_id, test.comment));
            assert!(!accepted || test.sig.len() == 64, "{}", test.tc_id);
            *if accepted { &mut valid } else { &mut refused } += 1;
        }
    }
    assert!(valid > VECTORS_MIN && refused > VECTORS_MIN, "{valid} valid, {refused} refused");
}

/// RFC 8032 Ed25519, and the same key from a JWK (RFC 8037).
#[test]
fn ed25519_accepts_what_is_valid_and_nothing_else() {
    let set = wycheproof::eddsa::TestSet::load(wycheproof::eddsa::TestName::Ed25519);
    let (mut valid, mut refused) = (0, 0);
    for group in set.expect("vectors").test_groups {
        let bytes: &[u8; 32] = group.key.pk.as_ref().try_into().expect("32 bytes");
        let Ok(key) = PublicKey::ed25519(bytes) else {
            let invalid = group.tests.iter().all(|test| test.result == TestResult::Invalid);
            assert!(invalid, "a key of valid signatures was refused");
            refused += group.tests.len();
            continue;
        };
        let x = b64url_encode(bytes);
        let jwk = format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}"}}"#);
        assert_eq!(Jwk::parse(jwk.as_bytes()).expect("a JWK").key().bytes(), bytes);
        for test in group.tests {
            let accepted = key.verify(&test.msg, &test.sig).is_ok();
            decided(accepted, test.result, &format!("{}: {}", test.tc_id, test.comment));
            assert!(!accepted || test.sig.len() == 64, "{}", test.tc_id);
            *if accepted { &mut valid } else { &mut refused } += 1;
        }
    }
    assert!(valid > VECTORS_MIN && refused > VECTORS_MIN, "{valid} valid, {refused} refused");
}

/// RFC 8017 RSASSA-PKCS1-v1_5 with SHA-256, keys of 2048 to 4096 bits. The one thing that vectors
/// merely allow, a hash identifier without its NULL, is refused.
#[test]
fn rs256_accepts_what_is_valid_and_nothing_else() {
    use wycheproof::rsa_pkcs1_verify::{TestName, TestSet};
    let (mut valid, mut refused) = (0, 0);
    for name in [TestName::Rsa2048Sha256, TestName::Rsa3072Sha256, TestName::Rsa4096Sha256] {
        for group in TestSet::load(name).expect("vectors").test_groups {
            let (n, e) = (without_zeros(&group.key.n), without_zeros(&group.key.e));
            let Ok(key) = RsaPublicKey::new(RsaAlgorithm::Rs256, n, e) else {
                assert_ne!(e, [1, 0, 1], "a usual key is refused");
                continue;
            };
            for test in group.tests {
                let accepted = key.verify(&test.msg, &test.sig).is_ok();
                let what = format!("{name:?} {}: {}", test.tc_id, test.comment);
                if test.result == TestResult::Acceptable {
                    assert!(!accepted, "{what}: allowed, and not by us");
                } else {
                    decided(accepted, test.result, &what);
                }
                *if accepted { &mut valid } else { &mut refused } += 1;
            }
        }
    }
    assert!(valid > 10 && refused > VECTORS_MIN, "{valid} valid, {refused} refused");
}

/// RFC 8017 RSASSA-PSS with SHA-256, MGF1 with SHA-256 and a salt of exactly 32 bytes.
#[test]
fn ps256_accepts_what_is_valid_and_nothing_else() {
    use wycheproof::rsa_pss_verify::{TestName, TestSet};
    let (mut valid, mut refused) = (0, 0);
    for (name, is_ours) in [
        (TestName::RsaPss2048Sha256Mgf1SaltLen32, true),
        (TestName::RsaPss3072Sha256Mgf1SaltLen32, true),
        (TestName::RsaPss4096Sha256Mgf1SaltLen32, true),
        // Another salt and another hash: valid there, and nothing for us.
        (TestName::RsaPss2048Sha256Mgf1SaltLen0, false),
        (TestName::RsaPss2048Sha384Mgf1SaltLen48, false),
    ] {
        for group in TestSet::load(name).expect("vectors").test_groups {
            let (n, e) = (without_zeros(&group.key.n), without_zeros(&group.key.e));
            let key = RsaPublicKey::new(RsaAlgorithm::Ps256, n, e).expect("a key");
            for test in group.tests {
                let accepted = key.verify(&test.msg, &test.sig).is_ok();
                let what = format!("{name:?} {}: {}", test.tc_id, test.comment);
                if name == TestName::RsaPss2048Sha256Mgf1SaltLen0
                    && test.comment == "s_len changed to 32"
                {
                    // Wrong there is right here: it is what PS256 is.
                    assert!(accepted, "{what}");
                } else if is_ours && test.result != TestResult::Acceptable {
                    decided(accepted, test.result, &what);
                } else {
                    assert!(!accepted, "{what}: not what PS256 is");
                }
                *if accepted { &mut valid } else { &mut refused } += 1;
            }
        }
    }
    assert!(valid > VECTORS_MIN && refused > VECTORS_MIN, "{valid} valid, {refused} refused");
}

fn without_zeros(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    &bytes[zeros..]
}

/// RFC 2104 HMAC with SHA-256: keys of 32 bytes, and whole tags only.
#[test]
fn hmac_sha256_makes_the_tags_that_are_valid_and_no_other() {
    let set = wycheproof::mac::TestSet::load(wycheproof::mac::TestName::HmacSha256);
    let (mut valid, mut refused) = (0, 0);
    for group in set.expect("vectors").test_groups {
        for test in group.tests {
            let Ok(key) = <&[u8; 32]>::try_from(test.key.as_ref()) else {
                continue;
            };
            let made = MacKey::new(key).mac(&test.msg);
            let accepted = equal_in_constant_time(&made, &test.tag);
            let what = format!("{}: {}", test.tc_id, test.comment);
            if group.tag_size == 256 {
                decided(accepted, test.result, &what);
            } else {
                let start = made.starts_with(&test.tag);
                assert_eq!(start, test.result == TestResult::Valid, "{what}");
                assert!(!accepted, "{what}: a tag cut short is no tag");
            }
            *if accepted { &mut valid } else { &mut refused } += 1;
        }
    }
    // A third of the vectors have keys of 32 bytes; half of those have whole tags.
    assert!(valid > 20 && refused > VECTORS_MIN, "{valid} valid, {refused} refused");
}

/// NIST SP 800-38D AES-256-GCM with nonces of 12 bytes and tags of 16, and nothing else of it.
#[test]
fn aes_256_gcm_opens_what_is_valid_and_nothing_else() {
    let set = wycheproof::aead::TestSet::load(wycheproof::aead::TestName::AesGcm);
    let (mut valid, mut refused) = (0, 0);
    for group in set.expect("vectors").test_groups {
        if (group.key_size, group.nonce_size, group.tag_size) != (256, 96, 128) {
            continue;
        }
        for test in group.tests {
            let key: &[u8; 32] = test.key.as_ref().try_into().expect("32 bytes");
            let nonce: [u8; 12] = test.nonce.as_ref().try_into().expect("12 bytes");
            let sealed = [nonce.as_slice(), &test.ct, &test.tag].concat();
            let opened = open(key, &test.aad, &sealed);
            decided(opened.is_ok(), test.result, &format!("{}: {}", test.tc_id, test.comment));
            if let Ok(plain) = opened {
                assert_eq!(plain.as_slice(), test.pt.as_ref());
                let again = seal(key, nonce, &test.aad, &test.pt).expect("sealed");
                assert_eq!(again, sealed, "{}", test.tc_id);
                valid += 1;
            } else {
                refused += 1;
            }
        }
    }
    // Of those with these sizes, most are valid.
    assert!(valid > 30 && refused > 20, "{valid} valid, {refused} refused");
}

/// Beyond the vectors: the eight points of small order, in each of their spellings. Under such a
/// key, anybody can write a signature of some messages.
#[test]
fn an_ed25519_key_of_small_order_is_no_key_in_any_spelling() {
    let at = |first: u8, middle: u8, last: u8| {
        let mut bytes = [middle; 32];
        (bytes[0], bytes[31]) = (first, last);
        bytes
    };
    let hex = |text: &str| -> [u8; 32] {
        std::array::from_fn(|n| u8::from_str_radix(&text[2 * n..2 * n + 2], 16).expect("hex"))
    };
    let ys = [
        at(0, 0, 0),
        at(1, 0, 0),
        at(0xec, 0xff, 0x7f),
        at(0xed, 0xff, 0x7f),
        at(0xee, 0xff, 0x7f),
        hex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
        hex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
    ];
    for mut key in ys {
        for sign in [0, 0x80] {
            key[31] = key[31] & 0x7f | sign;
            assert!(PublicKey::ed25519(&key).is_err(), "{key:02x?}");
            let x = b64url_encode(&key);
            let jwk = format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}"}}"#);
            assert!(Jwk::parse(jwk.as_bytes()).is_err(), "{jwk}");
        }
    }
}
