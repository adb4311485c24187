//! The standards' own examples, from `vectors/jose`.

use super::super::jwk::{Jwk, JwkError, PrivateJwk};
use super::super::jws::{JwsError, Unverified};
use super::*;
use crate::json::Json;

const THUMBPRINTS: &[u8] = include_bytes!("../../../vectors/jose/thumbprints.json");
const TOKENS: &[u8] = include_bytes!("../../../vectors/jose/tokens.json");

fn vectors(bytes: &'static [u8]) -> Vec<Json<'static>> {
    let json = Json::parse(bytes, 64 * 1024).expect("strict JSON");
    json.as_array().expect("an array").to_vec()
}

fn text<'j>(vector: &'j Json<'_>, name: &str) -> &'j str {
    vector.get(name).and_then(Json::as_str).expect(name)
}

#[test]
fn thumbprints_are_those_of_the_standards() {
    let vectors = vectors(THUMBPRINTS);
    assert_eq!(vectors.len(), 3);
    for vector in vectors {
        let jwk = Jwk::from_json(vector.get("jwk").expect("jwk")).expect("a key");
        assert_eq!(jwk.thumbprint(), text(&vector, "thumbprint"), "{}", text(&vector, "source"));
    }
}

/// Headers of the older examples have no `typ`, so the signature is checked under the rule that
/// allows that, and the strict rule must refuse.
#[test]
fn tokens_of_the_standards_verify() {
    let vectors = vectors(TOKENS);
    assert_eq!(vectors.len(), 4);
    for vector in vectors {
        let source = text(&vector, "source");
        let jwk = vector.get("key").expect("key");
        let private = jwk.get("d").is_some();
        let written = serde_json::to_string(jwk).expect("written");
        let public = if private {
            assert_eq!(Jwk::from_json(jwk).err(), Some(JwkError::PrivateMember("d")));
            PrivateJwk::parse(written.as_bytes()).expect(source).public().expect(source)
        } else {
            Jwk::from_json(jwk).expect(source)
        };
        let key = public.into_verifying_key();
        let token = text(&vector, "token");
        let rule = match vector.get("typ").and_then(Json::as_str) {
            Some("dpop+jwt") => TypRule::Required("dpop+jwt"),
            _ => TypRule::RequiredOrAbsent("JWT"),
        };
        let unverified = Unverified::parse(token).expect(source);
        let verified = unverified.verify(&key, rule).expect(source);
        assert_eq!(verified.payload(), text(&vector, "payload").as_bytes(), "{source}");
        let strict = Unverified::parse(token).expect(source).verify(&key, AT);
        assert!(matches!(strict, Err(JwsError::Typ { .. })), "{source}");
    }
}

#[test]
fn the_ed25519_example_is_reproduced() {
    let vectors = vectors(TOKENS);
    let vector = vectors.iter().find(|vector| text(vector, "source").starts_with("RFC 8037"));
    let vector = vector.expect("the example");
    let written = serde_json::to_string(vector.get("key").expect("key")).expect("written");
    let private = PrivateJwk::parse(written.as_bytes()).expect("a private key");
    let (signed, signature) = text(vector, "token").rsplit_once('.').expect("a token");
    let made = private.key().sign(signed.as_bytes()).expect("a signature");
    assert_eq!(b64url_encode(&made), signature);
}
