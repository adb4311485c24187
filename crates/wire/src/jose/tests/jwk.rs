//! Attacks on keys and key sets.

use proptest::prelude::*;

use super::super::jwk::{JWK_SET_KEYS_MAX, Jwk, JwkError, JwkSet, PrivateJwk};
use super::*;
use crate::json::JsonError;

const EC: &str = r#""kty":"EC","crv":"P-256","x":"l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs","y":"9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA""#;
const OKP: &str =
    r#""kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo""#;
const SEED: &str = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A";
const RSA: &str = r#""kty":"RSA","n":"AQAB","e":"AQAB""#;

fn parse(members: &str) -> Result<Jwk, JwkError> {
    Jwk::parse(format!("{{{members}}}").as_bytes())
}

fn check_refused(members: &str, wanted: impl Fn(&JwkError) -> bool) {
    let error = parse(members).expect_err(members);
    assert!(wanted(&error), "{members}: {error:?}");
}

fn set(keys: &[&str]) -> Result<JwkSet, JwkError> {
    JwkSet::parse(format!(r#"{{"keys":[{{{}}}]}}"#, keys.join("},{")).as_bytes())
}

#[test]
fn public_keys_are_read_and_written() {
    for (members, alg) in [(EC, "ES256"), (OKP, "EdDSA")] {
        let jwk = parse(&format!(
            r#"{members},"kid":"k","use":"sig","key_ops":["verify"],"x5t":"ignored""#
        ))
        .expect("a key");
        assert_eq!(jwk.kid(), Some("k"));
        let written = serde_json::to_string(&jwk).expect("written");
        assert_eq!(written, format!(r#"{{{members},"alg":"{alg}","use":"sig","kid":"k"}}"#));
        let again = Jwk::parse(written.as_bytes()).expect("our own");
        assert_eq!(again.thumbprint(), jwk.thumbprint());
        let unnamed = parse(members).expect("a key");
        let thumbprint = unnamed.thumbprint();
        assert_eq!(unnamed.into_verifying_key().kid, thumbprint);
        assert_eq!(jwk.into_verifying_key().kid, "k");
    }
    assert!(parse(&format!(r#"{OKP},"alg":"Ed25519""#)).is_ok());
}

#[test]
fn keys_made_here_are_read_back() {
    for signer in Signer::both() {
        let jwk = Jwk::new(signer.verifying.key.clone(), Some("a\"b".into())).expect("a JWK");
        let text = serde_json::to_string(&jwk).expect("written");
        let again = Jwk::parse(text.as_bytes()).expect("read");
        assert_eq!(again.key().bytes(), signer.verifying.key.bytes());
        assert_eq!(again.kid(), Some("a\"b"));
        let wrong = Jwk::new(signer.verifying.key.clone(), Some(String::new()));
        assert!(matches!(wrong, Err(JwkError::Member { name: "kid", .. })));
    }
}

#[test]
fn private_members_are_refused_wherever_a_public_key_belongs() {
    for name in ["d", "p", "q", "dp", "dq", "qi", "oth", "k"] {
        for members in [EC, OKP, RSA] {
            let members = format!(r#"{members},"{name}":"AAAA""#);
            check_refused(&members, |error| *error == JwkError::PrivateMember(name));
            assert_eq!(set(&[&members]).err(), Some(JwkError::PrivateMember(name)));
        }
    }
    check_refused(&format!(r#"{EC},"\u0064":null"#), |error| {
        *error == JwkError::PrivateMember("d")
    });
    check_refused(r#""kty":"oct","k":"AAAA""#, |error| *error == JwkError::PrivateMember("k"));
}

#[test]
fn other_types_are_refused_with_those_that_are_accepted() {
    for members in [RSA, r#""kty":"oct""#, r#""kty":"ec""#, r#""kty":"AKP""#] {
        check_refused(members, |error| {
            matches!(error, JwkError::Unsupported { name: "kty", .. })
                && error.to_string().contains("`EC` with `P-256`")
        });
    }
    for (from, to) in [
        ("P-256", "P-384"),
        ("P-256", "secp256k1"),
        ("P-256", "Ed25519"),
        ("Ed25519", "X25519"),
        ("Ed25519", "P-256"),
    ] {
        let members = if EC.contains(from) { EC } else { OKP }.replace(from, to);
        check_refused(&members, |error| matches!(error, JwkError::Unsupported { name: "crv", .. }));
    }
    for members in ["", r#""kty":7"#, r#""kty":"EC""#, r#""kty":["EC"]"#] {
        check_refused(members, |error| matches!(error, JwkError::Member { .. }));
    }
}

#[test]
fn coordinates_have_one_length_and_spelling_and_lie_on_the_curve() {
    for (from, to) in [
        ("AWBFs\"", "AWBFs=\""),
        ("AWBFs\"", "AWBFt\""),
        ("\"l8tF", "\"AAl8tF"),
        ("\"l8tF", "\""),
        ("l8tFrhx-", "l8tFrhx+"),
        ("\"l8tF", "\" l8tF"),
    ] {
        let members = EC.replacen(from, to, 1);
        assert_ne!(members, EC);
        check_refused(&members, |error| matches!(error, JwkError::Member { name: "x", .. }));
    }
    check_refused(&EC.replace("\"y\":", "\"z\":"), |error| {
        matches!(error, JwkError::Member { name: "y", .. })
    });
    check_refused(&EC.replace("\"l8tF", "\"m8tF"), |error| *error == JwkError::Point);
    let zero = "A".repeat(43);
    let origin = format!(r#""kty":"EC","crv":"P-256","x":"{zero}","y":"{zero}""#);
    check_refused(&origin, |error| *error == JwkError::Point);
    let small = format!(r#""kty":"OKP","crv":"Ed25519","x":"{zero}""#);
    check_refused(&small, |error| *error == JwkError::Point);
}

#[test]
fn a_key_has_one_algorithm_and_one_purpose() {
    for (members, alg) in
        [(EC, "EdDSA"), (EC, "es256"), (EC, "ES384"), (EC, "none"), (OKP, "ES256"), (OKP, "HS256")]
    {
        let members = format!(r#"{members},"alg":"{alg}""#);
        check_refused(&members, |error| matches!(error, JwkError::Alg { .. }));
    }
    check_refused(&format!(r#"{EC},"alg":null"#), |error| matches!(error, JwkError::Member { .. }));
    for purpose in [
        r#""use":"enc""#,
        r#""use":null"#,
        r#""use":["sig"]"#,
        r#""key_ops":[]"#,
        r#""key_ops":["sign"]"#,
        r#""key_ops":"verify""#,
        r#""use":"sig","key_ops":["deriveKey"]"#,
    ] {
        check_refused(&format!("{EC},{purpose}"), |error| *error == JwkError::NotForSignatures);
    }
    let long = "k".repeat(KID_BYTES_MAX + 1);
    for kid in ["\"\"", "1", "null", &format!("\"{long}\"")] {
        let members = format!(r#"{EC},"kid":{kid}"#);
        check_refused(&members, |error| matches!(error, JwkError::Member { name: "kid", .. }));
    }
}

#[test]
fn keys_are_strict_json() {
    check_refused(&format!(r#"{EC},"\u006bty":"EC""#), |error| {
        *error == JwkError::Json(JsonError::DuplicateMember("kty".into()))
    });
    for wrong in ["[]", "null", "\"EC\""] {
        assert_eq!(Jwk::parse(wrong.as_bytes()).err(), Some(JwkError::NotAnObject));
        assert_eq!(JwkSet::parse(wrong.as_bytes()).err(), Some(JwkError::NotAnObject));
        assert_eq!(PrivateJwk::parse(wrong.as_bytes()).err(), Some(JwkError::NotAnObject));
    }
}

#[test]
fn sets_ignore_what_they_do_not_know_and_count_it() {
    let named = |members: &str, kid: &str| format!(r#"{members},"kid":"{kid}""#);
    let (a, b) = (named(EC, "a"), named(OKP, "b"));
    let encryption = format!(r#"{},"use":"enc""#, named(EC, "c"));
    let p384 = named(EC, "d").replace("P-256", "P-384");
    let found =
        set(&[&a, RSA, &b, r#""kty":"AKP","alg":"ML-DSA-44""#, &encryption, &p384]).expect("a set");
    assert_eq!((found.keys().len(), found.ignored()), (2, 4));
    assert_eq!(found.find(Some("b")).map(|key| key.key.algorithm()), Some(Algorithm::EdDsa));
    assert_eq!(found.find(Some("B")).map(|key| &key.kid), None);
    assert_eq!(found.find(Some("c")).map(|key| &key.kid), None);
    assert_eq!(found.find(None).map(|key| &key.kid), None, "two keys could be meant");
    let only = set(&[RSA, &a]).expect("a set");
    assert_eq!(only.find(None).map(|key| key.kid.as_str()), Some("a"));
    let written = serde_json::to_string(&found).expect("written");
    let again = JwkSet::parse(written.as_bytes()).expect("our own");
    assert_eq!((again.keys().len(), again.ignored()), (2, 0));
    assert!(written.starts_with(r#"{"keys":[{"kty":"EC","#), "{written}");
}

#[test]
fn sets_refuse_what_is_ambiguous_malformed_or_too_much() {
    let named = |members: &str| format!(r#"{members},"kid":"a""#);
    let duplicate = Some(JwkError::DuplicateKid("a".into()));
    assert_eq!(set(&[&named(EC), &named(OKP)]).err(), duplicate);
    assert_eq!(set(&[&named(EC), &named(RSA)]).err(), duplicate, "even beside an ignored key");
    assert!(matches!(set(&[EC, EC]), Err(JwkError::DuplicateKid(_))), "one key twice");
    assert!(matches!(set(&[&EC.replace("l8tF", "m8tF")]), Err(JwkError::Point)));
    assert!(matches!(set(&[""]), Err(JwkError::Member { name: "kty", .. })));
    assert_eq!(JwkSet::parse(br#"{"keys":[7]}"#).err(), Some(JwkError::NotAnObject));
    for wrong in ["{}", r#"{"keys":{}}"#, r#"{"keys":null}"#] {
        let error = JwkSet::parse(wrong.as_bytes()).expect_err(wrong);
        assert!(matches!(error, JwkError::Member { name: "keys", .. }), "{error:?}");
    }
    assert!(set(&vec![RSA; JWK_SET_KEYS_MAX]).is_ok());
    let error = set(&vec![RSA; JWK_SET_KEYS_MAX + 1]).expect_err("one more");
    assert_eq!(error, JwkError::TooManyKeys(JWK_SET_KEYS_MAX + 1));
    let key = Signer::new(Algorithm::EdDsa).verifying;
    assert!(matches!(JwkSet::new(vec![key.clone(), key.clone()]), Err(JwkError::DuplicateKid(_))));
    assert_eq!(JwkSet::new(vec![key]).map(|set| set.keys().len()), Ok(1));
}

#[test]
fn private_keys_are_read_only_whole_and_never_printed() {
    let text = format!(r#"{{{OKP},"d":"{SEED}","kid":"mine","alg":"EdDSA"}}"#);
    let private = PrivateJwk::parse(text.as_bytes()).expect("a private key");
    assert_eq!(private.kid(), Some("mine"));
    assert_eq!(format!("{private:?}"), "PrivateJwk { kid: Some(\"mine\"), .. }");
    let public = serde_json::to_string(&private.public().expect("public")).expect("written");
    assert_eq!(public, format!(r#"{{{OKP},"alg":"EdDSA","use":"sig","kid":"mine"}}"#));
    assert_eq!(private.into_key().algorithm(), Algorithm::EdDsa);
    for wrong in [
        format!("{{{OKP}}}"),
        format!(r#"{{{OKP},"d":"{SEED}="}}"#),
        format!(r#"{{{OKP},"d":"{}"}}"#, SEED.replace("nWG", "mWG")),
        format!(r#"{{{OKP},"d":"{SEED}","alg":"ES256"}}"#),
        format!(r#"{{{OKP},"d":"{SEED}","use":"enc"}}"#),
        format!(r#"{{{OKP},"d":"{SEED}","key_ops":["verify"]}}"#),
        format!(r#"{{{EC},"d":"{SEED}"}}"#),
        format!(r#"{{{EC},"d":"{}"}}"#, "A".repeat(43)),
        format!(r#"{{{EC},"d":"__________________________________________8"}}"#),
        format!(r#"{{{RSA},"d":"AAAA"}}"#),
    ] {
        let error = PrivateJwk::parse(wrong.as_bytes()).expect_err(&wrong);
        assert!(!error.to_string().contains(SEED), "{error}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_parsers_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = (Jwk::parse(&bytes), JwkSet::parse(&bytes), PrivateJwk::parse(&bytes));
    }

    #[test]
    fn no_coordinates_make_them_panic(x: [u8; 32], y: [u8; 32]) {
        let (x, y) = (b64url_encode(&x), b64url_encode(&y));
        let _ = parse(&format!(r#""kty":"OKP","crv":"Ed25519","x":"{x}""#));
        let random = parse(&format!(r#""kty":"EC","crv":"P-256","x":"{x}","y":"{y}""#));
        prop_assert_eq!(random.err(), Some(JwkError::Point), "a random point is on no curve");
    }
}
