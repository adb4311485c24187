use std::time::Duration;

use proptest::prelude::*;

use super::dpop::{
    Expected, NonceRule, PROOF_BYTES_MAX, PROOF_WINDOW_MAX, Proof, ProofError, ProofKey, ToProve,
};
use super::nonce::{NONCE_LIFE_MAX, Nonces};
use super::replay::{Replays, Seen};
use super::uri::{BaseUri, Target, URI_BYTES_MAX};
use super::{Confirmation, PeerCertificate, Thumbprint};
use crate::crypto::{Algorithm, PrivateKey};
use crate::jose::b64url_encode;
use crate::oauth::errors::ErrorCode;
use crate::time::Time;

/// RFC 9449 section 4.1: a proof for the token endpoint.
const TOKEN_PROOF: &str = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwiaWF0IjoxNTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg";
/// RFC 9449 section 7.1: a proof for a resource.
const RESOURCE_PROOF: &str = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjoiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9wcm90ZWN0ZWRyZXNvdXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFFbyJ9.2oW9RP35yRqzhrtNP86L-Ey71EOptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA";
const RESOURCE_TOKEN: &str = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU";
const RFC_THUMBPRINT: &str = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";

const URL: &str = "https://crm.example/contacts";
const TOKEN: &str = "a.token.text";
const NOW: i64 = 1_763_717_400;

fn now() -> Time {
    Time::from_seconds(NOW)
}

fn nonces() -> Nonces {
    Nonces::new(&[1; 32])
}

fn target(uri: &str) -> Target {
    Target::parse(uri).expect("a URI")
}

/// What a proof that is made with [`claims`] must have been made for.
fn check_at(text: &str, at: Time) -> Result<Proof, ProofError> {
    let (nonces, target) = (nonces(), target(URL));
    let rule = NonceRule::Accepted(&nonces);
    let expected = Expected { method: "GET", target: &target, token: Some(TOKEN), nonces: rule };
    Proof::check([text.as_bytes()], &expected, at)
}

fn check(text: &str) -> Result<Proof, ProofError> {
    check_at(text, now())
}

fn private() -> PrivateKey {
    PrivateKey::ed25519_from_seed(&[9; 32]).expect("a key")
}

fn jwk() -> serde_json::Value {
    let x = private().public().expect("public");
    serde_json::json!({ "kty": "OKP", "crv": "Ed25519", "x": b64url_encode(x.bytes()) })
}

fn header() -> serde_json::Value {
    serde_json::json!({ "typ": "dpop+jwt", "alg": "EdDSA", "jwk": jwk() })
}

fn claims() -> serde_json::Value {
    let ath = b64url_encode(&crate::crypto::sha256(TOKEN.as_bytes()));
    serde_json::json!({ "jti": "one", "htm": "GET", "htu": URL, "iat": NOW, "ath": ath })
}

fn sign(header: &str, claims: &str) -> String {
    let input =
        format!("{}.{}", b64url_encode(header.as_bytes()), b64url_encode(claims.as_bytes()));
    let signature = private().sign(input.as_bytes()).expect("a signature");
    format!("{input}.{}", b64url_encode(&signature))
}

fn with_header(change: impl FnOnce(&mut serde_json::Value)) -> String {
    let mut header = header();
    change(&mut header);
    sign(&header.to_string(), &claims().to_string())
}

fn with_claims(change: impl FnOnce(&mut serde_json::Value)) -> String {
    let mut claims = claims();
    change(&mut claims);
    sign(&header().to_string(), &claims.to_string())
}

fn rule(text: &str) -> &'static str {
    check(text).expect_err("refused").rule()
}

// Published vectors.

#[test]
fn the_proofs_of_the_rfc_hold() {
    let nonces = nonces();
    let expected = |method, target, token| Expected {
        method,
        target,
        token,
        nonces: NonceRule::Accepted(&nonces),
    };
    let server = target("https://server.example.com/token");
    let resource = target("https://resource.example.org/protectedresource");
    let at = Time::from_seconds(1_562_262_616);
    let proof = Proof::check_text(TOKEN_PROOF, &expected("POST", &server, None), at);
    let proof = proof.expect("it holds");
    assert_eq!(proof.key().to_string(), RFC_THUMBPRINT);
    assert_eq!(proof.issued_at(), at);
    let token = Some(RESOURCE_TOKEN);
    let used = Proof::check_text(RESOURCE_PROOF, &expected("GET", &resource, token), at);
    assert_eq!(used.expect("it holds").key(), proof.key());

    let swapped = Proof::check_text(TOKEN_PROOF, &expected("POST", &server, token), at);
    assert_eq!(swapped, Err(ProofError::Missing("ath")), "of the token endpoint, at a resource");
    let other = Proof::check_text(RESOURCE_PROOF, &expected("GET", &resource, Some("x")), at);
    assert_eq!(other, Err(ProofError::Token));
    let method = Proof::check_text(RESOURCE_PROOF, &expected("POST", &resource, token), at);
    assert_eq!(method, Err(ProofError::Method));
    let uri = Proof::check_text(RESOURCE_PROOF, &expected("GET", &server, token), at);
    assert_eq!(uri, Err(ProofError::Uri));
    let late = Proof::check_text(RESOURCE_PROOF, &expected("GET", &resource, token), now());
    assert!(matches!(late, Err(ProofError::Time { .. })));
}

// What a proof is.

#[test]
fn a_request_has_one_proof() {
    let (nonces, target, good) = (nonces(), target(URL), with_claims(|_| ()));
    let rule = NonceRule::Accepted(&nonces);
    let expected = Expected { method: "GET", target: &target, token: Some(TOKEN), nonces: rule };
    let check = |values: &[&str]| {
        Proof::check(values.iter().map(|value| value.as_bytes()), &expected, now())
    };
    assert!(check(&[&good]).is_ok());
    assert_eq!(check(&[]), Err(ProofError::Absent));
    assert_eq!(check(&[&good, &good]), Err(ProofError::Several));
    assert_eq!(check(&[&good, ""]), Err(ProofError::Several));
    assert!(check(&[&format!("{good}, {good}")]).is_err(), "two in one line");
    let bytes = Proof::check([&b"\xff"[..]], &expected, now());
    assert_eq!(bytes.expect_err("refused").rule(), "dpop-malformed");
}

#[test]
fn the_header_brings_a_public_key_of_its_own_algorithm() {
    assert!(check(&with_header(|_| ())).is_ok());
    let typ = |typ: &'static str| with_header(move |header| header["typ"] = typ.into());
    assert!(check(&typ("DPOP+JWT")).is_ok() && check(&typ("application/dpop+jwt")).is_ok());
    for wrong in ["JWT", "at+jwt", "dpop", "", "client-authentication+jwt"] {
        assert_eq!(rule(&typ(wrong)), "dpop-malformed", "{wrong}");
    }
    for alg in ["none", "None", "ES256", "HS256", "eddsa", "", "RS256"] {
        assert_eq!(rule(&with_header(|header| header["alg"] = alg.into())), "dpop-malformed");
    }
    for private in ["d", "p", "q", "dp", "dq", "qi", "oth", "k"] {
        let text = with_header(|header| header["jwk"][private] = "AA".into());
        assert_eq!(rule(&text), "dpop-key", "{private}");
    }
    let oct = serde_json::json!({ "kty": "oct", "k": "AAAA" });
    let rsa = serde_json::json!({ "kty": "RSA", "n": "AQAB", "e": "AQAB" });
    let mut small = jwk();
    small["x"] = b64url_encode(&[0; 32]).into();
    for key in [oct, rsa, small, serde_json::json!(null), serde_json::json!("x")] {
        assert_eq!(rule(&with_header(|header| header["jwk"] = key.clone())), "dpop-key", "{key}");
    }
    let without = |name: &'static str| {
        with_header(move |header| {
            header.as_object_mut().expect("an object").remove(name);
        })
    };
    for name in ["jwk", "typ", "alg"] {
        assert_eq!(rule(&without(name)), "dpop-malformed", "{name}");
    }
    for name in ["crit", "b64"] {
        let text = with_header(|header| header[name] = serde_json::json!([]));
        assert_eq!(rule(&text), "dpop-malformed", "{name}");
    }
    // Another's key: the signature is not by it.
    let (other, _) = PrivateKey::generate(Algorithm::EdDsa).expect("a key");
    let x = b64url_encode(other.public().expect("public").bytes());
    assert_eq!(rule(&with_header(|header| header["jwk"]["x"] = x.into())), "dpop-malformed");
    let twice = format!(r#"{{"typ":"dpop+jwt","alg":"EdDSA","jwk":{},"jwk":{}}}"#, jwk(), jwk());
    assert_eq!(rule(&sign(&twice, &claims().to_string())), "dpop-malformed");
}

#[test]
fn every_claim_is_there_and_of_its_type() {
    for name in ["jti", "htm", "htu", "iat", "ath"] {
        let text = with_claims(|claims| {
            claims.as_object_mut().expect("an object").remove(name);
        });
        assert_eq!(check(&text), Err(ProofError::Missing(name)));
        for wrong in [serde_json::json!(null), serde_json::json!([]), serde_json::json!("")] {
            let text = with_claims(|claims| claims[name] = wrong.clone());
            assert!(check(&text).is_err(), "{name}: {wrong}");
        }
    }
    let text = with_claims(|claims| claims["jti"] = "x".repeat(257).into());
    assert_eq!(rule(&text), "dpop-malformed");
    let text = with_claims(|claims| claims["iat"] = NOW.to_string().into());
    assert_eq!(rule(&text), "dpop-malformed");
    let twice = claims().to_string().replacen('{', r#"{"htu":"https://other.example/","#, 1);
    assert_eq!(rule(&sign(&header().to_string(), &twice)), "dpop-malformed");
    let long = with_claims(|claims| claims["more"] = "x".repeat(PROOF_BYTES_MAX).into());
    assert!(matches!(check(&long), Err(ProofError::TooLong { .. })));
    let fine = with_claims(|claims| claims["more"] = "x".into());
    assert!(check(&fine).is_ok(), "further claims are not ours to know");
}

#[test]
fn it_is_for_one_method_one_url_and_one_token() {
    for method in ["POST", "get", "GET ", "HEAD"] {
        let text = with_claims(|claims| claims["htm"] = method.into());
        assert_eq!(check(&text), Err(ProofError::Method), "{method}");
    }
    for same in [
        "https://crm.example/contacts?x=1",
        "https://crm.example/contacts#x",
        "HTTPS://CRM.example:443/contacts",
        "https://crm.example:/contact%73",
    ] {
        assert!(check(&with_claims(|claims| claims["htu"] = same.into())).is_ok(), "{same}");
    }
    for other in [
        "http://crm.example/contacts",
        "https://crm.example:8443/contacts",
        "https://crm.example/contacts/",
        "https://crm.example/Contacts",
        "https://crm.example//contacts",
        "https://crm.example/x/../contacts",
        "https://crm.example/contacts%2F",
        "https://crm.example.evil.example/contacts",
        "https://user@crm.example/contacts",
        "https://crm.example@evil.example/contacts",
        "https://evil.example/?https://crm.example/contacts",
        "//crm.example/contacts",
        "/contacts",
        "contacts",
        "ftp://crm.example/contacts",
    ] {
        let text = with_claims(|claims| claims["htu"] = other.into());
        assert_eq!(check(&text), Err(ProofError::Uri), "{other}");
    }
    let ath = b64url_encode(&crate::crypto::sha256(b"another"));
    for wrong in [ath.as_str(), "x", TOKEN] {
        let text = with_claims(|claims| claims["ath"] = wrong.into());
        assert_eq!(check(&text), Err(ProofError::Token), "{wrong}");
    }
}

#[test]
fn it_is_new_by_a_minute_on_either_side() {
    let text = with_claims(|_| ());
    assert!(PROOF_WINDOW_MAX <= Duration::from_mins(1));
    let (second, past) = (Duration::from_secs(1), Duration::from_secs(61));
    for near in [now().plus(PROOF_WINDOW_MAX), now().minus(PROOF_WINDOW_MAX), now().plus(second)] {
        assert!(check_at(&text, near).is_ok());
    }
    for far in [now().plus(past), now().minus(past), Time::from_seconds(NOW * 2)] {
        assert!(matches!(check_at(&text, far), Err(ProofError::Time { .. })));
    }
    for (name, value) in [("exp", NOW - 60), ("nbf", NOW + 61)] {
        let text = with_claims(|claims| claims[name] = value.into());
        assert!(matches!(check(&text), Err(ProofError::Time { .. })), "{name}");
    }
}

// Nonces.

#[test]
fn a_nonce_is_of_its_server_and_of_its_time() {
    let (ours, theirs) = (nonces(), Nonces::new(&[2; 32]));
    let nonce = ours.at(now());
    assert!(ours.takes(&nonce, now()) && !theirs.takes(&nonce, now()));
    assert!(ours.takes(&nonce, now().plus(NONCE_LIFE_MAX / 2)));
    assert!(!ours.takes(&nonce, now().plus(NONCE_LIFE_MAX)));
    assert!(!ours.takes(&nonce, now().minus(NONCE_LIFE_MAX)));
    for wrong in ["", "x", &nonce[1..], &format!("{nonce}="), &nonce.to_uppercase()] {
        assert!(!ours.takes(wrong, now()), "{wrong}");
    }
    assert!(!format!("{ours:?}").contains('1'));
}

#[test]
fn a_nonce_that_is_there_is_one_of_ours_whether_it_is_asked_for_or_not() {
    let (ours, theirs, target) = (nonces(), Nonces::new(&[2; 32]), target(URL));
    let with = |nonce: String| with_claims(|claims| claims["nonce"] = nonce.into());
    let without = with_claims(|_| ());
    let check = |text: &str, nonces| {
        let expected = Expected { method: "GET", target: &target, token: Some(TOKEN), nonces };
        Proof::check_text(text, &expected, now()).map(|_| ())
    };
    let (accepted, required) = (NonceRule::Accepted(&ours), NonceRule::Required(&ours));
    assert_eq!(check(&without, accepted), Ok(()));
    assert_eq!(check(&without, required), Err(ProofError::Nonce));
    for rule in [accepted, required] {
        assert_eq!(check(&with(ours.at(now())), rule), Ok(()));
        assert_eq!(check(&with(theirs.at(now())), rule), Err(ProofError::Nonce));
        assert_eq!(check(&with(String::new()), rule), Err(ProofError::Nonce));
        let number = with_claims(|claims| claims["nonce"] = 1.into());
        assert_eq!(check(&number, rule), Err(ProofError::Nonce));
    }
    assert_eq!(ProofError::Nonce.code(), ErrorCode::UseDpopNonce);
}

// Replay.

fn proof(jti: &str, iat: i64) -> Proof {
    let text = with_claims(|claims| {
        claims["jti"] = jti.into();
        claims["iat"] = iat.into();
    });
    check_at(&text, Time::from_seconds(iat)).expect("it holds")
}

#[test]
fn a_proof_is_taken_once_for_as_long_as_it_would_hold() {
    let replays = Replays::new(1000);
    let one = proof("one", NOW);
    assert_eq!(replays.see(&one, now()), Seen::First);
    for later in [0, 1, 30, 60] {
        assert_eq!(replays.see(&one, now().plus(Duration::from_secs(later))), Seen::Before);
    }
    assert_eq!(replays.see(&proof("one", NOW + 1), now()), Seen::Before, "whatever its `iat`");
    assert_eq!(replays.see(&proof("two", NOW), now()), Seen::First);
    let ahead = proof("ahead", NOW + 60);
    assert_eq!(replays.see(&ahead, now()), Seen::First);
    assert_eq!(replays.see(&ahead, now().plus(Duration::from_mins(2))), Seen::Before);
    assert!(replays.len() < 3, "what shares a part with it and is over was forgotten");
    // The clock is set back: what was forgotten is not taken again.
    assert_eq!(replays.see(&one, now()), Seen::Before);
    assert_eq!(
        replays.see(&proof("one", NOW + 400), now().plus(PROOF_WINDOW_MAX * 6)),
        Seen::First
    );
}

#[test]
fn where_no_more_can_be_remembered_none_is_taken_until_some_are_over() {
    let replays = Replays::new(16);
    let seen: Vec<Seen> =
        (0..400).map(|n| replays.see(&proof(&n.to_string(), NOW), now())).collect();
    assert!(replays.len() <= 16 && seen.contains(&Seen::Full));
    let full = seen.iter().position(|seen| *seen == Seen::Full).expect("one");
    let again = proof(&full.to_string(), NOW);
    assert_eq!(replays.see(&again, now()), Seen::Full);
    let later = NOW + 71;
    assert_eq!(replays.see(&proof("late", later), Time::from_seconds(later)), Seen::First);
    assert_eq!(ProofError::Full.code(), ErrorCode::TemporarilyUnavailable);
}

// URIs.

#[test]
fn a_base_is_joined_with_the_path_that_was_sent_and_nothing_else_of_it() {
    let at = |base: &str, sent: &str| {
        let base = BaseUri::parse(base).expect("a base");
        base.at(sent).map(|target| target.as_str().to_owned())
    };
    let same = [
        ("https://crm.example", "/", "https://crm.example/"),
        ("https://crm.example/", "/a?b=/c", "https://crm.example/a"),
        ("https://CRM.example:443/api/", "/a", "https://crm.example/api/a"),
        ("https://crm.example", "https://evil.example/a?x", "https://crm.example/a"),
        ("https://crm.example", "https://evil.example", "https://crm.example/"),
        ("http://[::1]:8080", "/%7euser/%2f%c3%a9", "http://[::1]:8080/~user/%2F%C3%A9"),
        ("http://h", "//x", "http://h//x"),
    ];
    for (base, sent, expected) in same {
        assert_eq!(at(base, sent).as_deref(), Ok(expected), "{base} {sent}");
    }
    let long = format!("/{}", "x".repeat(URI_BYTES_MAX));
    for sent in ["*", "a", "/\u{e9}", "/ ", "/%", "/%4", "/%zz", long.as_str()] {
        assert!(at("https://crm.example", sent).is_err(), "{sent}");
    }
    for wrong in [
        "",
        "crm.example",
        "https://",
        "https:///x",
        "https://a?b",
        "https://a#b",
        "https://a:b",
        "https://a:123456",
        "https://u@a",
        "https://[::1",
        "https://[]",
        "https://[x]",
        "mailto:a",
        "https://a b",
        "https://a\\b",
    ] {
        assert!(BaseUri::parse(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_thumbprint_has_one_spelling() {
    let thumbprint: Thumbprint = RFC_THUMBPRINT.parse().expect("a thumbprint");
    assert_eq!(thumbprint.to_string(), RFC_THUMBPRINT);
    for wrong in ["", "x", &RFC_THUMBPRINT[1..], &format!("{RFC_THUMBPRINT}=")] {
        assert!(wrong.parse::<Thumbprint>().is_err(), "{wrong}");
    }
}

#[test]
fn every_error_has_a_sentence_and_a_hint() {
    for error in [
        ProofError::Absent,
        ProofError::Several,
        ProofError::TooLong { bytes: 9000 },
        ProofError::Missing("jti"),
        ProofError::Method,
        ProofError::Uri,
        ProofError::Time { issued_at: now(), now: now() },
        ProofError::Token,
        ProofError::OtherKey,
        ProofError::Nonce,
        ProofError::Replayed,
        ProofError::Full,
    ] {
        assert!(error.to_string().len() > 10 && error.hint().len() > 10, "{error}");
        assert!(error.rule().starts_with("dpop-"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_made_holds_for_its_request_and_for_no_other(
        jti: [u8; 16],
        es256: bool,
        path in "/[a-z0-9/%~._-]{0,20}",
        (other_path, other_method, other_token, other_time) in
            (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>()),
    ) {
        let algorithm = if es256 { Algorithm::Es256 } else { Algorithm::EdDsa };
        let (private, _) = PrivateKey::generate(algorithm).expect("a key");
        let key = ProofKey::new(private).expect("a key");
        let url = format!("https://crm.example{path}?page=2");
        let base = BaseUri::parse("https://crm.example").expect("a base");
        let request = ToProve { method: "GET", url: &url, token: Some(TOKEN), nonce: None };
        let Ok(made) = key.prove(&request, jti, now()) else {
            prop_assert!(base.at(&path).is_err());
            return Ok(());
        };
        let sent = if other_path { format!("{path}x") } else { path };
        let (target, nonces) = (base.at(&sent).expect("a path"), nonces());
        let expected = Expected {
            method: if other_method { "POST" } else { "GET" },
            target: &target,
            token: Some(if other_token { "x" } else { TOKEN }),
            nonces: NonceRule::Accepted(&nonces),
        };
        let at = if other_time { now().plus(Duration::from_secs(62)) } else { now() };
        let checked = Proof::check_text(&made, &expected, at);
        let differs = other_path || other_method || other_token || other_time;
        prop_assert_eq!(checked.is_err(), differs);
        if let Ok(proof) = checked {
            prop_assert_eq!(proof.key(), key.thumbprint());
        }
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let text = String::from_utf8_lossy(&bytes);
        prop_assert!(check(&text).is_err());
        prop_assert!(check(&sign(&text, &text)).is_err());
        let _ = Target::parse(&format!("https://{text}"));
        let base = BaseUri::parse("https://crm.example").expect("a base");
        if let Ok(target) = base.at(&text) {
            let again = Target::parse(target.as_str());
            prop_assert_eq!(again.as_ref(), Ok(&target), "one URI, one spelling");
        }
    }
}

#[test]
fn a_certificates_thumbprint_is_that_of_the_standards_example() {
    // RFC 8705 appendix A.
    let der = "MIIBBjCBrAIBAjAKBggqhkjOPQQDAjAPMQ0wCwYDVQQDDARtdGxzMB4XDTE4MTAx\
               ODEyMzcwOVoXDTIyMDUwMjEyMzcwOVowDzENMAsGA1UEAwwEbXRsczBZMBMGByqG\
               SM49AgEGCCqGSM49AwEHA0IABNcnyxwqV6hY8QnhxxzFQ03C7HKW9OylMbnQZjjJ\
               /Au08/coZwxS7LfA4vOLS9WuneIXhbGGWvsDSb0tH6IxLm8wCgYIKoZIzj0EAwID\
               SQAwRgIhAP0RC1E+vwJD/D1AGHGzuri+hlV/PpQEKTWUVeORWz83AiEA5x2eXZOV\
               bUlJSGQgjwD5vaUaKlLR50Q2DmFfQj1L+SY=";
    let der = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, der);
    let der = der.expect("base64");
    let thumbprint = "A4DtL2JmUMhAsvJj5tKyn64SqzmuXbMrJa0n761y5v0";
    assert_eq!(Thumbprint::of_certificate(&der).to_string(), thumbprint);
    let shown = PeerCertificate::new(&der);
    assert_eq!((shown.der(), shown.thumbprint().to_string().as_str()), (&*der, thumbprint));
    assert!(format!("{shown:?}").len() < 80);
}

#[test]
fn a_confirmation_is_one_member_and_no_other() {
    let key: Thumbprint = RFC_THUMBPRINT.parse().expect("a thumbprint");
    for (confirmation, name) in
        [(Confirmation::Key(key), "jkt"), (Confirmation::Certificate(key), "x5t#S256")]
    {
        let text = format!("{{\"{name}\":\"{key}\"}}");
        assert_eq!(serde_json::to_string(&confirmation).expect("text"), text);
        assert_eq!(serde_json::from_str::<Confirmation>(&text).expect("one"), confirmation);
        assert_eq!((confirmation.name(), confirmation.thumbprint()), (name, key));
        assert_ne!(confirmation.key().is_some(), confirmation.certificate().is_some());
    }
    let both = format!("{{\"jkt\":\"{key}\",\"x5t#S256\":\"{key}\"}}");
    for wrong in ["{}", "\"jkt\"", "{\"jwk\":{}}", "{\"jkt\":null}", &both] {
        assert!(serde_json::from_str::<Confirmation>(wrong).is_err(), "{wrong}");
    }
}
