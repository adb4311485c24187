//! Bundles of other trust domains: what of one is read, and that nothing near one is.

use jsonwebtoken::{Algorithm as Alg, EncodingKey, Header, encode};
use proptest::prelude::*;
use rcgen::{
    BasicConstraints, IsCa, KeyUsagePurpose, PKCS_ECDSA_P384_SHA384, PKCS_RSA_SHA256,
    PublicKeyData as _, SanType,
};
use serde_json::{Value, json};

use super::{NOW, authority, now};
use crate::jose::b64url_encode;
use crate::jwt_svid::authorities::{NotBelieved, named_by};
use crate::time::Time;
use crate::x509::base64;
use crate::x509::bundle::{BUNDLE_BYTES_MAX, Bundle, BundleError};
use crate::x509::spiffe::TrustDomain;
use crate::x509::upstream::root_key;

const DOMAIN: &str = "other.example";
const ID: &str = "spiffe://other.example/ns/prod/sa/api";

fn domain() -> TrustDomain {
    TrustDomain::parse(DOMAIN).expect("a trust domain")
}

fn read(keys: &Value) -> Result<Bundle, BundleError> {
    Bundle::parse(&domain(), json!({ "keys": keys }).to_string().as_bytes())
}

/// A certificate that may sign, as somebody else's program makes it, changed by `change`.
fn root_with(key: &rcgen::KeyPair, change: impl FnOnce(&mut rcgen::CertificateParams)) -> Vec<u8> {
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let id = "spiffe://other.example".try_into().expect("a name");
    params.subject_alt_names = vec![SanType::URI(id)];
    change(&mut params);
    params.self_signed(key).expect("signed").der().to_vec()
}

/// A root in a bundle, its certificate with the members of its own key.
fn jwk(der: &[u8]) -> Value {
    use x509_cert::der::Decode as _;
    let read = x509_cert::Certificate::from_der(der).expect("a certificate");
    let key = root_key(read.tbs_certificate().subject_public_key_info()).expect("a known key");
    let mut jwk = match key {
        crate::x509::upstream::RootKey::Ec { curve, x, y } => {
            json!({"kty": "EC", "crv": curve, "x": x, "y": y})
        }
        crate::x509::upstream::RootKey::Rsa { n, e } => json!({"kty": "RSA", "n": n, "e": e}),
    };
    jwk["use"] = "x509-svid".into();
    jwk["x5c"] = json!([base64(der)]);
    jwk
}

/// A key of JWT-SVIDs in a bundle, and with what its owner signs.
fn signer(pair: &rcgen::KeyPair, kid: &str) -> Value {
    let raw = pair.der_bytes();
    if raw.first() == Some(&4) {
        let (x, y) = raw[1..].split_at(raw.len() / 2);
        let curve = if raw.len() == 65 { "P-256" } else { "P-384" };
        let (x, y) = (b64url_encode(x), b64url_encode(y));
        return json!({"kty": "EC", "crv": curve, "x": x, "y": y, "use": "jwt-svid", "kid": kid});
    }
    let mut own = jwk(&root_with(pair, |_| {}));
    own["use"] = "jwt-svid".into();
    own["kid"] = kid.into();
    own.as_object_mut().expect("members").remove("x5c");
    own
}

/// RFC 5958 section 2: the key inside.
fn pkcs1(pkcs8: &[u8]) -> Vec<u8> {
    use x509_cert::der::asn1::{AnyRef, OctetString};
    use x509_cert::der::{self, Decode as _, Reader as _, SliceReader};
    let mut reader = SliceReader::new(pkcs8).expect("bytes");
    let inner = reader.sequence(|inner| {
        u8::decode(inner)?;
        AnyRef::decode(inner)?;
        OctetString::decode(inner)
    });
    let inner: der::Result<OctetString> = inner;
    inner.expect("a private key").as_bytes().to_vec()
}

fn token(pair: &rcgen::KeyPair, (alg, kid): (Alg, &str), claims: &Value) -> String {
    let pkcs8 = pair.serialize_der();
    let key = match alg {
        Alg::ES256 | Alg::ES384 => EncodingKey::from_ec_der(&pkcs8),
        _ => EncodingKey::from_rsa_der(&pkcs1(&pkcs8)),
    };
    let header = Header { kid: Some(kid.to_owned()), ..Header::new(alg) };
    encode(&header, claims, &key).expect("signed")
}

fn p256() -> rcgen::KeyPair {
    rcgen::KeyPair::generate().expect("a key")
}

fn p384() -> rcgen::KeyPair {
    rcgen::KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).expect("a key")
}

fn rsa() -> rcgen::KeyPair {
    rcgen::KeyPair::generate_for(&PKCS_RSA_SHA256).expect("a key")
}

#[test]
fn a_bundle_of_somebody_elses_is_read_and_reads_back_as_the_same() {
    let (ours, theirs, rsa) = (authority("acme"), p384(), rsa());
    let roots = [root_with(&theirs, |_| {}), root_with(&rsa, |_| {})];
    let mut text = json!({
        "spiffe_sequence": 7,
        "spiffe_refresh_hint": 60,
        "more": {"of": "somebody's own"},
        "keys": [
            jwk(&roots[0]),
            jwk(&roots[1]),
            signer(&theirs, "a"),
            signer(&rsa, "b"),
            {"kty": "OKP", "crv": "Ed25519", "use": "x509-svid", "x5c": ["AA=="]},
            {"kty": "OKP", "crv": "Ed25519", "use": "jwt-svid"},
            {"kty": "EC", "crv": "P-521", "use": "jwt-svid", "kid": "c"},
            {"kty": "EC", "use": "wit-svid"},
            {"kty": "EC"},
        ],
    });
    text["keys"].as_array_mut().expect("keys")[7]["kid"] = "w".into();
    // One whose kind is not known is left out, whatever else it lacks, but for a name of its own.
    text["keys"].as_array_mut().expect("keys")[5]["kid"] = "o".into();
    let read = Bundle::parse(&domain(), text.to_string().as_bytes()).expect("a bundle");
    assert_eq!((read.sequence, read.refresh_hint), (Some(7), Some(60)));
    assert_eq!(read.roots().collect::<Vec<_>>(), [&roots[0][..], &roots[1]]);
    assert_eq!(read.authorities().names().collect::<Vec<_>>(), ["a", "b"]);
    let kept = read.document();
    assert_eq!(kept["keys"].as_array().expect("keys").len(), 4);
    assert_eq!(Bundle::parse(&domain(), kept.to_string().as_bytes()).as_ref(), Ok(&read));

    // Ours is one, too, and is nobody else's.
    let own = json!([jwk(ours.root.der())]).to_string();
    let own = format!(r#"{{"keys":{own}}}"#);
    assert!(Bundle::parse(&ours.domain, own.as_bytes()).is_ok());
    assert_eq!(Bundle::parse(&domain(), own.as_bytes()), Err(BundleError::Names));

    // Nobody is believed any more: that is said, too.
    let nobody = Bundle::parse(&domain(), br#"{"keys":[]}"#).expect("a bundle");
    assert_eq!((nobody.roots().count(), nobody.authorities().names().count()), (0, 0));
    assert!(!nobody.has_keys_of(&read) && read.has_keys_of(&read));
}

#[test]
fn nothing_near_a_bundle_is_one() {
    let pair = p256();
    let good = root_with(&pair, |_| {});
    let other = jwk(&root_with(&p256(), |_| {}));
    assert!(read(&json!([jwk(&good)])).is_ok());
    let unnamed = root_with(&pair, |params| params.subject_alt_names.clear());
    assert!(read(&json!([jwk(&unnamed)])).is_ok(), "a root need not have a name");

    let uri = |text: &str| SanType::URI(text.try_into().expect("a name"));
    let leaf = root_with(&pair, |params| params.is_ca = IsCa::ExplicitNoCa);
    let plain = root_with(&pair, |params| params.is_ca = IsCa::NoCa);
    let no_usage =
        root_with(&pair, |params| params.key_usages = vec![KeyUsagePurpose::DigitalSignature]);
    for wrong in [leaf, plain, no_usage] {
        assert_eq!(read(&json!([jwk(&wrong)])), Err(BundleError::NoAuthority));
    }
    for names in [
        &["spiffe://other.example/ca"][..],
        &["spiffe://another.example"],
        &["https://other.example"],
        &["spiffe://other.example", "spiffe://other.example/x"],
    ] {
        let names: Vec<_> = names.iter().map(|name| uri(name)).collect();
        let wrong = root_with(&pair, |params| params.subject_alt_names = names);
        assert_eq!(read(&json!([jwk(&wrong)])), Err(BundleError::Names));
    }
    let with = |name: &str, value: Value| {
        let mut key = jwk(&good);
        key[name] = value;
        json!([key])
    };
    let der = base64(&good);
    for x5c in [json!([]), json!([der, der]), json!(der), json!(null)] {
        assert_eq!(read(&with("x5c", x5c)), Err(BundleError::Count));
    }
    let mut longer = good.clone();
    longer.push(0);
    for x5c in ["?", "", "AA==", &base64(&longer), &base64(&good[1..]), &base64(&[0; 9000])] {
        assert_eq!(read(&with("x5c", json!([x5c]))), Err(BundleError::Certificate), "{x5c}");
    }
    for (name, value) in [("x", &other["x"]), ("crv", &json!("P-384")), ("kty", &json!("RSA"))] {
        assert_eq!(read(&with(name, value.clone())), Err(BundleError::Key), "{name}");
    }
    assert!(matches!(read(&with("d", json!("AA"))), Err(BundleError::Keys(_))));
    assert!(matches!(read(&with("kty", json!(1))), Err(BundleError::Keys(_))));
    assert_eq!(read(&json!([jwk(&good), jwk(&good)])), Err(BundleError::Twice));

    let named = signer(&pair, "k");
    let bent = |name: &str, value: Value| {
        let mut key = named.clone();
        key[name] = value;
        json!([key])
    };
    for wrong in [
        bent("kid", json!(null)),
        bent("kid", json!("")),
        bent("kid", json!("k".repeat(257))),
        bent("x", json!("AA")),
        bent("y", other["y"].clone()),
        bent("d", json!("AA")),
        bent("alg", json!("EdDSA")),
        bent("alg", json!("none")),
        bent("alg", json!("ES384")),
        json!([named, named]),
        json!(vec![named.clone(); 65]),
        json!({}),
    ] {
        assert!(matches!(read(&wrong), Err(BundleError::Keys(_))), "{wrong}");
    }
    for (name, value) in [
        ("spiffe_sequence", json!(-1)),
        ("spiffe_sequence", json!("1")),
        ("spiffe_refresh_hint", json!(1.5)),
        ("spiffe_refresh_hint", json!(null)),
    ] {
        let text = json!({"keys": [], name: value}).to_string();
        let read = Bundle::parse(&domain(), text.as_bytes());
        assert_eq!(read, Err(BundleError::Number(name)), "{text}");
    }
    let long = format!(r#"{{"keys":[],"x":"{}"}}"#, "x".repeat(BUNDLE_BYTES_MAX));
    for text in ["", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":[],"keys":[]}"#, &long] {
        let read = Bundle::parse(&domain(), text.as_bytes());
        assert!(matches!(read, Err(BundleError::Keys(_))), "{}", &text[..text.len().min(40)]);
    }
}

#[test]
fn jwt_svids_of_others_are_believed_by_the_algorithms_of_the_standard_alone() {
    let (small, large, rsa) = (p256(), p384(), rsa());
    let mut only = signer(&rsa, "only");
    only["alg"] = "PS256".into();
    let keys = json!([signer(&small, "p"), signer(&large, "q"), signer(&rsa, "r"), only]);
    let bundle = read(&keys).expect("a bundle");
    let again = bundle.document().to_string();
    let again = Bundle::parse(&domain(), again.as_bytes()).expect("a bundle");
    let claims = json!({"sub": ID, "aud": ["b"], "exp": NOW + 60});
    let check = |bundle: &Bundle, token: &str| {
        bundle.authorities().check(token, (&domain(), "b"), now()).map(|it| it.spiffe_id)
    };
    for (pair, alg, kid) in [
        (&small, Alg::ES256, "p"),
        (&large, Alg::ES384, "q"),
        (&rsa, Alg::RS256, "r"),
        (&rsa, Alg::RS384, "r"),
        (&rsa, Alg::RS512, "r"),
        (&rsa, Alg::PS256, "r"),
        (&rsa, Alg::PS384, "r"),
        (&rsa, Alg::PS512, "r"),
        (&rsa, Alg::PS256, "only"),
    ] {
        let token = token(pair, (alg, kid), &claims);
        for bundle in [&bundle, &again] {
            assert_eq!(check(bundle, &token).expect("believed").as_str(), ID, "{alg:?}");
        }
        assert_eq!(named_by(&token), Some(domain()));
        let (signed, signature) = token.rsplit_once('.').expect("a token");
        for wrong in ["", "AAAA", &signature[..signature.len() - 4]] {
            assert!(check(&bundle, &format!("{signed}.{wrong}")).is_err(), "{alg:?} {wrong}");
        }
        // No later than it says, for nobody else, and by nobody else's key.
        let late = Time::from_seconds(NOW + 200);
        let late = bundle.authorities().check(&token, (&domain(), "b"), late);
        assert!(matches!(late, Err(NotBelieved::Claims(_))), "{late:?}");
        let other = TrustDomain::parse("third.example").expect("one");
        let foreign = bundle.authorities().check(&token, (&other, "b"), now());
        assert_eq!(foreign, Err(NotBelieved::TrustDomain));
    }
    let strangers = [
        token(&small, (Alg::ES256, "q"), &claims),
        token(&large, (Alg::ES384, "p"), &claims),
        token(&rsa, (Alg::RS256, "only"), &claims),
        token(&rsa, (Alg::PS512, "only"), &claims),
        token(&rsa, (Alg::RS256, "s"), &claims),
        token(&p256(), (Alg::ES256, "p"), &claims),
    ];
    for token in &strangers {
        assert!(matches!(check(&bundle, token), Err(NotBelieved::Signature(_))), "{token}");
    }
    let body = b64url_encode(claims.to_string().as_bytes());
    for alg in ["none", "HS256", "EdDSA", "ES512", "es256", "RS1", ""] {
        let head = b64url_encode(json!({"alg": alg, "kid": "r"}).to_string().as_bytes());
        for signature in ["", "AAAA"] {
            let token = format!("{head}.{body}.{signature}");
            assert!(matches!(check(&bundle, &token), Err(NotBelieved::Signature(_))), "{alg}");
        }
    }
    assert_eq!(named_by("a.b.c"), None);
}

proptest! {
    /// Whatever the members are, what is read reads back, and no text makes the reader panic.
    #[test]
    fn what_is_read_reads_back(
        text in ".{0,300}",
        sequence in prop::option::of(0_i64..),
        hint in prop::option::of(0_i64..),
        members in prop::collection::vec(("kty|use|x5c|kid|x|y|n|e|crv|alg", "[A-Za-z0-9-]{0,9}"), 0..8),
    ) {
        let _ = Bundle::parse(&domain(), text.as_bytes());
        let mut key = json!({"kty": "EC"});
        for (name, value) in members {
            key[name.as_str()] = if value.len() > 6 { json!([value]) } else { json!(value) };
        }
        let mut bundle = json!({"keys": [key]});
        for (name, number) in [("spiffe_sequence", sequence), ("spiffe_refresh_hint", hint)] {
            if let Some(number) = number {
                bundle[name] = number.into();
            }
        }
        if let Ok(read) = Bundle::parse(&domain(), bundle.to_string().as_bytes()) {
            let kept = read.document().to_string();
            prop_assert_eq!(Bundle::parse(&domain(), kept.as_bytes()), Ok(read));
        }
    }
}
