//! Tokens and keys of an independent library, both ways.

use jsonwebtoken as other;
use serde::{Deserialize, Serialize};

use super::super::jwk::{Jwk, JwkSet};
use super::super::jws::Unverified;
use super::*;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct OtherClaims {
    sub: String,
    aud: String,
    exp: u64,
}

fn claims() -> OtherClaims {
    OtherClaims { sub: "agt_1".into(), aud: "https://api.example".into(), exp: 4_000_000_000 }
}

fn algorithms() -> [(Algorithm, other::Algorithm); 2] {
    [(Algorithm::Es256, other::Algorithm::ES256), (Algorithm::EdDsa, other::Algorithm::EdDSA)]
}

#[test]
fn what_we_sign_another_library_verifies_with_the_key_we_publish() {
    for (ours, theirs) in algorithms() {
        let signer = Signer::new(ours);
        let payload = serde_json::to_vec(&claims()).expect("written");
        let token = signer.token("at+jwt", &payload);
        let set = JwkSet::new(vec![signer.verifying.clone()]).expect("a set");
        let published = serde_json::to_string(&set).expect("written");
        let set: other::jwk::JwkSet = serde_json::from_str(&published).expect("their set");
        let key =
            other::DecodingKey::from_jwk(set.find("key-1").expect("a key")).expect("their key");
        let mut validation = other::Validation::new(theirs);
        validation.set_audience(&["https://api.example"]);
        let data = other::decode::<OtherClaims>(&token, &key, &validation).expect("verified");
        assert_eq!(data.claims, claims());
        assert_eq!(data.header.kid.as_deref(), Some("key-1"));
        assert_eq!(data.header.typ.as_deref(), Some("at+jwt"));
        let thumbprint = set.keys[0].thumbprint(other::jwk::ThumbprintHash::SHA256);
        let ours = Jwk::new(signer.verifying.key.clone(), None).expect("a JWK").thumbprint();
        assert_eq!(thumbprint.expect("their thumbprint"), ours);
    }
}

#[test]
fn what_another_library_signs_we_verify_with_the_key_it_publishes() {
    for (ours, theirs) in algorithms() {
        let (_, der) = PrivateKey::generate(ours).expect("a key");
        let key = match ours {
            Algorithm::Es256 => other::EncodingKey::from_ec_der(&der),
            Algorithm::EdDsa => other::EncodingKey::from_ed_der(&der),
        };
        let mut header = other::Header::new(theirs);
        header.typ = Some("at+jwt".into());
        header.kid = Some("theirs".into());
        let token = other::encode(&header, &claims(), &key).expect("their token");
        let mut jwk = other::jwk::Jwk::from_encoding_key(&key, theirs).expect("their JWK");
        jwk.common.key_id = Some("theirs".into());
        let set = serde_json::to_string(&other::jwk::JwkSet { keys: vec![jwk] }).expect("written");
        let set = JwkSet::parse(set.as_bytes()).expect("our set");
        let unverified = Unverified::parse(&token).expect("a token");
        let key = set.find(unverified.peek_unverified_kid()).expect("a key");
        let verified = unverified.verify(key, AT).expect("verified");
        let claims = verified.claims().expect("claims");
        assert_eq!(claims.sub(), Some("agt_1"));
        assert_eq!(claims.sole_audience(), Some("https://api.example"));
        assert_eq!(claims.exp().map(crate::time::Time::seconds), Some(4_000_000_000));
    }
}
