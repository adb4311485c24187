//! JWT-SVIDs: what is written is read, as other libraries read it, and nothing else is believed.

use jsonwebtoken::{DecodingKey, Validation};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::authorities::{Authorities, NotBelieved, halves};
use super::*;
use crate::crypto::{PrivateKey, PublicKey};
use crate::ids::FederationId;
use crate::jose::b64url_encode;
use crate::jose::jwk::VerifyingKey;
use crate::jose::jws::SigningInput;
use crate::time::Time;
use crate::x509::spiffe::{SpiffeId, TrustDomain};

const NOW: i64 = 1_763_717_400;
const ID: &str = "spiffe://dev.id.example/agent/planner/instance/ins_1";

fn said() -> JwtSvid {
    JwtSvid {
        spiffe_id: ID.into(),
        audiences: vec!["https://a.example".into(), "b".into()],
        issued_at: NOW,
        expires_at: NOW + 300,
        id: TokenId::new(1, [1; 10]),
        key: KeyId::new(2, [2; 10]),
        organization: OrganizationId::new(3, [3; 10]),
        agent: AgentId::new(4, [4; 10]),
        instance: InstanceId::new(5, [5; 10]),
        credential: CredentialId::new(6, [6; 10]),
        owner: PersonId::new(7, [7; 10]),
        further: vec![FederationId::new(8, [8; 10]).any()],
        rev: 9,
    }
}

fn key() -> (PrivateKey, PublicKey) {
    let (private, _) = PrivateKey::generate(Algorithm::Es256).expect("a key");
    let public = private.public().expect("its public half");
    (private, public)
}

fn set(key: &PublicKey) -> JwkSet {
    let kid = said().key.to_string();
    JwkSet::new(vec![VerifyingKey { kid, key: key.clone() }]).expect("a set")
}

fn signed(private: &PrivateKey, header: &ProtectedHeader, payload: &[u8]) -> String {
    let input = SigningInput::new(header, payload).expect("an input");
    let signature = private.sign(input.bytes()).expect("signed");
    input.finish(&signature)
}

fn written(private: &PrivateKey) -> String {
    let header = JwtSvid::header(said().key).expect("a header");
    signed(private, &header, &said().to_payload().expect("a payload"))
}

/// A bundle as it is published, with a root and keys of other uses beside.
fn bundle(key: &PublicKey) -> String {
    let (x, y) = halves(key).expect("a point");
    let kid = said().key.to_string();
    let jwk = json!({"kty": "EC", "crv": "P-256", "x": x, "y": y, "use": "jwt-svid", "kid": kid});
    let root =
        json!({"kty": "EC", "crv": "P-256", "x": x, "y": y, "use": "x509-svid", "x5c": ["AA=="]});
    let rsa = json!({"kty": "RSA", "n": "AQAB", "e": "AQAB", "use": "jwt-svid", "kid": "rsa"});
    json!({"spiffe_sequence": 1, "keys": [root, rsa, jwk, {"use": "wit-svid"}]}).to_string()
}

fn domain() -> TrustDomain {
    TrustDomain::parse("dev.id.example").expect("a trust domain")
}

#[test]
fn what_is_written_is_read_and_another_library_reads_who_and_for_whom() {
    let (private, public) = key();
    let token = written(&private);
    assert_eq!(JwtSvid::read(&token, &set(&public)), Ok(said()));
    let lineage = said().lineage();
    assert_eq!(lineage.len(), 8);
    for id in [said().id.any(), said().key.any(), said().instance.any(), said().further[0]] {
        assert!(lineage.contains(&id), "{id}");
    }
    let (x, y) = halves(&public).expect("a point");
    let mut rules = Validation::new(jsonwebtoken::Algorithm::ES256);
    rules.set_audience(&["b"]);
    rules.validate_exp = false;
    let decoding = DecodingKey::from_ec_components(&x, &y).expect("a key");
    let read = jsonwebtoken::decode::<Value>(&token, &decoding, &rules).expect("a JWT");
    assert_eq!((&read.claims["sub"], &read.claims["exp"]), (&json!(ID), &json!(NOW + 300)));
    assert_eq!(read.header.kid, Some(said().key.to_string()));
    assert_eq!(read.header.typ.as_deref(), Some("JWT"));
}

#[test]
fn nothing_near_one_is_one() {
    let (private, public) = key();
    let (other, _) = key();
    let keys = set(&public);
    let good: Value = serde_json::from_slice(&said().to_payload().expect("one")).expect("JSON");
    let header =
        |typ: &str, alg, kid: Option<&str>| ProtectedHeader::new(typ, alg, kid).expect("one");
    let kid = said().key.to_string();
    let es256 = |typ: &str| header(typ, Algorithm::Es256, Some(&kid));
    let payload = good.to_string();
    for typ in ["JWT", "JOSE", "jwt", "application/jose"] {
        let token = signed(&private, &es256(typ), payload.as_bytes());
        assert!(JwtSvid::read(&token, &keys).is_ok(), "{typ}");
    }
    for typ in ["at+jwt", "client-authentication+jwt", "statuslist+jwt", ""] {
        let token = signed(&private, &es256(typ), payload.as_bytes());
        assert!(JwtSvid::read(&token, &keys).is_err(), "{typ}");
    }
    for (key, header) in [
        (&other, es256("JWT")),
        (&private, header("JWT", Algorithm::Es256, None)),
        (&private, header("JWT", Algorithm::Es256, Some("key_x"))),
        (&private, header("JWT", Algorithm::EdDsa, Some(&kid))),
    ] {
        assert!(JwtSvid::read(&signed(key, &header, payload.as_bytes()), &keys).is_err());
    }
    // By a key that is believed, of an algorithm that no JWT-SVID has.
    let (private_ed, _) = PrivateKey::generate(Algorithm::EdDsa).expect("a key");
    let keys_ed = set(&private_ed.public().expect("its public half"));
    let token =
        signed(&private_ed, &header("JWT", Algorithm::EdDsa, Some(&kid)), payload.as_bytes());
    let refused = JwtSvid::read(&token, &keys_ed);
    assert!(matches!(refused, Err(JwtSvidError::Signature(JwsError::Alg { .. }))), "{refused:?}");
    for alg in ["none", "HS256", "EdDSA", "RS256", "ES384"] {
        let head =
            b64url_encode(json!({"alg": alg, "typ": "JWT", "kid": kid}).to_string().as_bytes());
        let token = written(&private);
        let (_, rest) = token.split_once('.').expect("a token");
        assert!(JwtSvid::read(&format!("{head}.{rest}"), &keys).is_err(), "{alg}");
    }
    for (name, value) in [
        ("accredit", json!(null)),
        ("accredit", json!({"v": 2, "lin": good["accredit"]["lin"], "rev": 1})),
        ("accredit", json!({"v": 1, "lin": good["accredit"]["lin"], "rev": 1, "more": 1})),
        ("accredit", json!({"v": 1, "lin": good["accredit"]["lin"], "rev": -1})),
        ("accredit", json!({"v": 1, "lin": [], "rev": 1})),
        ("accredit", json!({"v": 1, "lin": ["x", "y"], "rev": 1})),
        ("accredit", json!({"v": 1, "lin": vec![said().owner; LINEAGE_MAX + 1], "rev": 1})),
        ("aud", json!([])),
        ("aud", json!(["a", "b", "c", "d", "e"])),
        ("aud", json!(null)),
        ("exp", json!("1")),
        ("iat", json!(null)),
        ("jti", json!("one")),
        ("sub", json!(7)),
    ] {
        let mut bent = good.clone();
        bent[name] = value;
        let token = signed(&private, &es256("JWT"), bent.to_string().as_bytes());
        assert!(JwtSvid::read(&token, &keys).is_err(), "{bent}");
    }
    let much = JwtSvid { further: vec![said().owner.any(); LINEAGE_MAX], ..said() };
    assert_eq!(much.to_payload(), None, "it is not written what would not be read");
}

#[test]
fn whoever_has_the_bundle_checks_who_somebody_is() {
    let (private, public) = key();
    let token = written(&private);
    let authorities = Authorities::of_bundle(bundle(&public).as_bytes()).expect("a bundle");
    let at = |seconds| Time::from_seconds(seconds);
    let domain = domain();
    let checked = authorities.check(&token, (&domain, "b"), at(NOW)).expect("believed");
    assert_eq!(checked.spiffe_id.as_str(), ID);
    let claims: Value = serde_json::from_slice(&checked.claims).expect("JSON");
    assert_eq!(claims["aud"], json!(["https://a.example", "b"]));

    let check = |audience: &str, now| authorities.check(&token, (&domain, audience), at(now));
    for audience in ["a", "", "https://a.example/", "B"] {
        assert_eq!(check(audience, NOW), Err(NotBelieved::Audience), "{audience}");
    }
    assert!(matches!(check("b", NOW + 361), Err(NotBelieved::Claims(_))), "over");
    assert!(matches!(check("b", NOW - 61), Err(NotBelieved::Claims(_))), "before it is issued");
    let elsewhere = TrustDomain::parse("other.id.example").expect("one");
    let foreign = authorities.check(&token, (&elsewhere, "b"), at(NOW));
    assert_eq!(foreign, Err(NotBelieved::TrustDomain));
    let nobody = Authorities::of_bundle(br#"{"keys":[]}"#).expect("a bundle");
    assert!(matches!(
        nobody.check(&token, (&domain, "b"), at(NOW)),
        Err(NotBelieved::Signature(_))
    ));

    // One of somebody else's making: without our claims, with one audience and no type.
    let head = json!({"alg": "ES256", "kid": said().key.to_string()}).to_string();
    let of = |claims: Value| {
        let text = format!(
            "{}.{}",
            b64url_encode(head.as_bytes()),
            b64url_encode(claims.to_string().as_bytes())
        );
        let signature = private.sign(text.as_bytes()).expect("signed");
        format!("{text}.{}", b64url_encode(&signature))
    };
    let good = json!({"sub": "spiffe://dev.id.example/x", "aud": "b", "exp": NOW + 60});
    assert!(authorities.check(&of(good.clone()), (&domain, "b"), at(NOW)).is_ok());
    for (name, value) in [
        ("sub", json!("spiffe://dev.id.example")),
        ("sub", json!("spiffe://dev.id.example/")),
        ("sub", json!("spiffe://DEV.id.example/x")),
        ("sub", json!("https://dev.id.example/x")),
        ("exp", json!(null)),
        ("aud", json!("c")),
    ] {
        let mut bent = good.clone();
        bent[name] = value;
        assert!(authorities.check(&of(bent.clone()), (&domain, "b"), at(NOW)).is_err(), "{bent}");
    }
}

#[test]
fn of_a_bundle_the_keys_of_jwt_svids_are_read_and_given_on() {
    let (_, public) = key();
    let read = Authorities::of_bundle(bundle(&public).as_bytes()).expect("a bundle");
    let document: Value = serde_json::from_str(&read.document()).expect("JSON");
    let [one] = &document["keys"].as_array().expect("keys")[..] else { panic!("{document}") };
    assert_eq!(one["kid"], said().key.to_string());
    let again = Authorities::of_bundle(read.document().as_bytes()).expect("it reads back");
    assert_eq!(again.document(), read.document());

    let (x, y) = halves(&public).expect("a point");
    let key = |more: Value| {
        let mut key = json!({"kty": "EC", "crv": "P-256", "x": x, "y": y, "use": "jwt-svid"});
        for (name, value) in more.as_object().expect("members") {
            key[name] = value.clone();
        }
        key
    };
    let named = key(json!({"kid": "k"}));
    let off = b64url_encode(&[1; 32]);
    for wrong in [
        json!([key(json!({}))]),
        json!([key(json!({"kid": ""}))]),
        json!([named, named]),
        json!([key(json!({"kid": "k", "d": "AA"}))]),
        json!([key(json!({"kid": "k", "x": off}))]),
        json!([key(json!({"kid": "k", "alg": "ES384"}))]),
        json!({}),
        json!(vec![named.clone(); 65]),
    ] {
        let text = json!({"keys": wrong}).to_string();
        assert!(Authorities::of_bundle(text.as_bytes()).is_err(), "{text}");
    }
    let okp = json!([{"kty": "OKP", "crv": "Ed25519", "x": off, "use": "jwt-svid", "kid": "e"}]);
    let none = Authorities::of_bundle(json!({"keys": okp}).to_string().as_bytes()).expect("read");
    assert_eq!(none.document(), r#"{"keys":[]}"#, "the standard knows no EdDSA");
}

#[test]
fn an_audience_is_visible_text() {
    for good in ["a", "https://crm.example/", &"x".repeat(AUDIENCE_BYTES_MAX)] {
        assert!(is_audience(good), "{good}");
    }
    for wrong in ["", "a b", "a\n", "é", &"x".repeat(AUDIENCE_BYTES_MAX + 1)] {
        assert!(!is_audience(wrong), "{wrong}");
    }
}

#[test]
fn a_spiffe_id_is_spelt_in_one_way() {
    for good in ["spiffe://td/a", "spiffe://td.example/agent/A.b-c_d/1", ID] {
        assert_eq!(SpiffeId::parse(good).expect(good).as_str(), good);
    }
    let long = format!("spiffe://td/{}", "x".repeat(2048));
    for wrong in [
        "",
        "spiffe://",
        "spiffe://td",
        "spiffe://td/",
        "spiffe://td//a",
        "spiffe://td/a/",
        "spiffe://td/./a",
        "spiffe://td/..",
        "SPIFFE://td/a",
        "spiffe://TD/a",
        "spiffe://td:1/a",
        "spiffe://u@td/a",
        "spiffe://td/a?b",
        "spiffe://td/a#b",
        "spiffe://td/%61",
        "https://td/a",
        &long,
    ] {
        assert!(SpiffeId::parse(wrong).is_err(), "{wrong}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_readers_panic(text in ".{0,300}", bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let (_, public) = key();
        let authorities = Authorities::of_bundle(bundle(&public).as_bytes()).expect("a bundle");
        let _ = JwtSvid::read(&text, &set(&public));
        let _ = JwtSvid::parse(&bytes, said().key);
        let _ = (Authorities::of_bundle(&bytes).is_ok(), SpiffeId::parse(&text).is_ok());
        let _ = authorities.check(&text, (&domain(), "b"), Time::from_seconds(NOW));
    }
}
