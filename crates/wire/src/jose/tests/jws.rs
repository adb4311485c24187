//! Attacks on the compact serialization.

use proptest::prelude::*;

use super::super::jws::{JwsError, Segment, Unverified};
use super::*;
use crate::json::{Json, JsonError};

fn verify(token: &str, key: &VerifyingKey) -> Result<Vec<u8>, JwsError> {
    Ok(Unverified::parse(token)?.verify(key, AT)?.into_payload())
}

/// The header, validly signed, is refused by `wanted`, whatever the key.
fn check_header(header: impl Fn(&Signer) -> String, wanted: impl Fn(&JwsError) -> bool) {
    for signer in Signer::both() {
        let header = header(&signer);
        let error = verify(&signer.forge(&header, CLAIMS), &signer.verifying);
        let error = error.expect_err(&header);
        assert!(wanted(&error), "{header}: {error:?}");
        assert!(!error.to_string().ends_with('.'));
    }
}

#[test]
fn a_token_round_trips() {
    for signer in Signer::both() {
        let token = signer.token("at+jwt", CLAIMS.as_bytes());
        let unverified = Unverified::parse(&token).expect("a token");
        assert_eq!(unverified.peek_unverified_kid(), Some("key-1"));
        assert_eq!(unverified.peek_unverified_alg(), signer.alg());
        assert_eq!(unverified.peek_unverified_typ(), Some("at+jwt"));
        let issuer = unverified.peek_unverified_issuer();
        assert_eq!(issuer.as_deref(), Some("https://id.example/o/a"));
        assert_eq!(unverified.peek_unverified_subject().as_deref(), Some("agt_1"));
        let verified = unverified.verify(&signer.verifying, AT).expect("verified");
        assert_eq!(verified.text(), token);
        assert_eq!(verified.kid(), Some("key-1"));
        assert_eq!(verified.typ(), Some("at+jwt"));
        assert_eq!(verified.payload(), CLAIMS.as_bytes());
        assert_eq!(verified.claims().expect("claims").jti(), Some("tok_1"));
        let header = verified.header().expect("a header");
        assert_eq!(header.get("alg").and_then(Json::as_str), Some(signer.alg()));
    }
}

#[test]
fn alg_is_the_keys_and_nothing_else() {
    for alg in ["none", "None", "nOnE", "NONE", "HS256", "RS256", "ES384", "es256", "eddsa"] {
        check_header(
            |_| format!(r#"{{"alg":"{alg}","typ":"at+jwt"}}"#),
            |error| matches!(error, JwsError::Alg { found, .. } if found == alg),
        );
    }
    for alg in [" ES256", "ES256 ", "EdDSA\\u0000", "EDDSA", "ed25519"] {
        check_header(
            |_| format!(r#"{{"alg":"{alg}","typ":"at+jwt"}}"#),
            |error| matches!(error, JwsError::Alg { .. }),
        );
    }
    for header in [
        r#"{"alg":"","typ":"at+jwt"}"#,
        r#"{"typ":"at+jwt"}"#,
        r#"{"alg":null}"#,
        r#"{"alg":["ES256","EdDSA"],"typ":"at+jwt"}"#,
        r#"{"ALG":"ES256"}"#,
    ] {
        check_header(|_| header.to_owned(), |error| *error == JwsError::AlgMissing);
    }
    let [es256, eddsa] = Signer::both();
    for (header, key) in [("EdDSA", &es256), ("Ed25519", &es256), ("ES256", &eddsa)] {
        let token = key.forge(&format!(r#"{{"alg":"{header}","typ":"at+jwt"}}"#), CLAIMS);
        let error = verify(&token, &key.verifying).expect_err(header);
        assert!(matches!(error, JwsError::Alg { .. }), "{error:?}");
    }
    let token = eddsa.forge(r#"{"alg":"Ed25519","typ":"at+jwt"}"#, CLAIMS);
    assert!(verify(&token, &eddsa.verifying).is_ok(), "RFC 9864's name");
}

#[test]
fn unsecured_and_mac_tokens_are_refused_with_and_without_a_signature() {
    for signer in Signer::both() {
        for alg in ["none", "nOnE"] {
            let header = b64url_encode(format!(r#"{{"alg":"{alg}","typ":"at+jwt"}}"#).as_bytes());
            let token = format!("{header}.{}.", b64url_encode(CLAIMS.as_bytes()));
            let error = verify(&token, &signer.verifying).expect_err("no signature");
            assert!(matches!(error, JwsError::Alg { .. }), "{error:?}");
        }
        // The public key as HMAC secret, in the two forms that libraries have mistaken for one.
        let point = signer.verifying.key.bytes();
        for secret in [crate::crypto::sha256(point), point[..32].try_into().expect("32 bytes")] {
            let header = b64url_encode(br#"{"alg":"HS256","typ":"at+jwt"}"#);
            let signed = format!("{header}.{}", b64url_encode(CLAIMS.as_bytes()));
            let mac = crate::crypto::MacKey::new(&secret).mac(signed.as_bytes());
            let token = format!("{signed}.{}", b64url_encode(&mac));
            let error = verify(&token, &signer.verifying).expect_err("a MAC");
            assert!(matches!(error, JwsError::Alg { .. }), "{error:?}");
        }
    }
}

#[test]
fn signatures_that_nobody_made_are_refused() {
    for signer in Signer::both() {
        let token = signer.token("at+jwt", CLAIMS.as_bytes());
        let (signed, signature) = token.rsplit_once('.').expect("a signature");
        let signature = b64url_decode(signature).expect("base64url");
        let with =
            |bytes: &[u8]| verify(&format!("{signed}.{}", b64url_encode(bytes)), &signer.verifying);
        let mut s_is_zero = signature.clone();
        s_is_zero[32..].fill(0);
        let mut r_is_zero = signature.clone();
        r_is_zero[..32].fill(0);
        for wrong in [vec![0; 64], vec![0xff; 64], s_is_zero, r_is_zero] {
            assert_eq!(with(&wrong), Err(JwsError::Signature), "{wrong:?}");
        }
        // ECDSA in DER, a truncated one, one with something behind it, none.
        for wrong in [&[0x30; 70][..], &signature[..63], &[&signature[..], &[0]].concat(), &[]] {
            assert_eq!(with(wrong), Err(JwsError::SignatureLength), "{wrong:?}");
        }
        assert!(with(&signature).is_ok());
        let other = Signer::new(signer.private.algorithm());
        assert_eq!(verify(&token, &other.verifying), Err(JwsError::Signature));
    }
}

/// The order of edwards25519's base point, little-endian.
const L: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

/// RFC 8032 section 5.1.7 demands s < L; s + L is another spelling of the same number.
#[test]
fn an_ed25519_signature_has_one_spelling() {
    let signer = Signer::new(Algorithm::EdDsa);
    let token = signer.token("at+jwt", CLAIMS.as_bytes());
    let (signed, signature) = token.rsplit_once('.').expect("a signature");
    let mut signature = b64url_decode(signature).expect("base64url");
    let mut carry = 0;
    for (byte, addend) in signature[32..].iter_mut().zip(L) {
        let sum = u16::from(*byte) + u16::from(addend) + carry;
        *byte = sum as u8;
        carry = sum >> 8;
    }
    let token = format!("{signed}.{}", b64url_encode(&signature));
    assert_eq!(verify(&token, &signer.verifying), Err(JwsError::Signature));
}

#[test]
fn kid_is_an_opaque_bounded_string() {
    for kid in ["../../etc/passwd", "' or 1=1 --", "a\\u0000b", "http://evil.example/k", "KEY-1"] {
        for signer in Signer::both() {
            let token = signer.forge(&signer.header_with(&format!(r#","kid":"{kid}""#)), CLAIMS);
            let unverified = Unverified::parse(&token).expect(kid);
            assert_ne!(unverified.peek_unverified_kid(), Some("key-1"), "{kid}");
        }
    }
    let long = format!(r#","kid":"{}""#, "k".repeat(KID_BYTES_MAX));
    let signer = Signer::new(Algorithm::EdDsa);
    assert!(verify(&signer.forge(&signer.header_with(&long), CLAIMS), &signer.verifying).is_ok());
    for wrong in [
        long.replace("kk\"", "kkk\""),
        r#","kid":"""#.into(),
        r#","kid":7"#.into(),
        r#","kid":null"#.into(),
        r#","kid":["key-1"]"#.into(),
    ] {
        check_header(|signer| signer.header_with(&wrong), |error| *error == JwsError::Kid);
    }
}

#[test]
fn crit_and_b64_are_refused_in_any_form() {
    for crit in ["[]", r#"["exp"]"#, r#"["b64"]"#, "null", r#""exp""#, "{}", "0"] {
        check_header(
            |signer| signer.header_with(&format!(r#","crit":{crit}"#)),
            |error| *error == JwsError::Crit,
        );
    }
    for b64 in ["false", "true", "null"] {
        check_header(
            |signer| signer.header_with(&format!(r#","b64":{b64}"#)),
            |error| *error == JwsError::UnencodedPayload,
        );
    }
    check_header(
        |signer| signer.header_with(r#","\u0063rit":["x"]"#),
        |error| *error == JwsError::Crit,
    );
}

#[test]
fn keys_that_a_token_brings_along_are_ignored() {
    for (signer, attacker) in Signer::both().into_iter().zip(Signer::both()) {
        let jwk = super::super::jwk::Jwk::new(attacker.verifying.key.clone(), None).expect("a JWK");
        for member in [
            format!(r#","jwk":{}"#, jwk.bare_json()),
            r#","jku":"https://evil.example/keys""#.to_owned(),
            r#","x5u":"https://evil.example/chain""#.to_owned(),
            r#","x5c":["AAAA"]"#.to_owned(),
            r#","jku":{"any":["shape"]},"x5c":7"#.to_owned(),
        ] {
            let header = signer.header_with(&member);
            let forged = verify(&attacker.forge(&header, CLAIMS), &signer.verifying);
            assert_eq!(forged, Err(JwsError::Signature), "{member}");
            assert!(verify(&signer.forge(&header, CLAIMS), &signer.verifying).is_ok(), "{member}");
        }
    }
}

#[test]
fn headers_are_strict_json() {
    let duplicate = |name: &str| JwsError::HeaderJson(JsonError::DuplicateMember(name.to_owned()));
    for (members, wanted) in [
        (r#","alg":"none""#, duplicate("alg")),
        (r#","\u0061lg":"ES256""#, duplicate("alg")),
        (r#","typ":"at+jwt""#, duplicate("typ")),
        (r#","x":{"y":1,"\u0079":2}"#, duplicate("y")),
        (
            &format!(r#","x":{}1{}"#, "[".repeat(40), "]".repeat(40)),
            JwsError::HeaderJson(JsonError::TooDeep),
        ),
    ] {
        check_header(|signer| signer.header_with(members), |error| *error == wanted);
    }
    for members in [r#","x":1e400"#, r#","x":NaN"#, r#","x":"\ud800""#, r#","x":1,"#, r"} {"] {
        check_header(
            |signer| signer.header_with(members),
            |error| matches!(error, JwsError::HeaderJson(JsonError::Syntax { .. })),
        );
    }
    for header in ["[]", "\"ES256\"", "null", "1"] {
        check_header(|_| header.to_owned(), |error| *error == JwsError::HeaderNotAnObject);
    }
}

#[test]
fn typ_keeps_tokens_of_one_kind_from_passing_as_another() {
    for typ in [
        "JWT",
        "dpop+jwt",
        "at+jwt ",
        "at+jw",
        "application/",
        "application/at+jwt;q=1",
        "x/at+jwt",
        "application/application/at+jwt",
        "",
        "ſt+jwt",
    ] {
        check_header(
            |signer| format!(r#"{{"alg":"{}","typ":"{typ}"}}"#, signer.alg()),
            |error| matches!(error, JwsError::Typ { found: Some(_), expected: "at+jwt" }),
        );
    }
    check_header(
        |signer| format!(r#"{{"alg":"{}"}}"#, signer.alg()),
        |error| matches!(error, JwsError::Typ { found: None, .. }),
    );
    check_header(
        |signer| format!(r#"{{"alg":"{}","typ":["at+jwt"]}}"#, signer.alg()),
        |error| *error == JwsError::TypNotText,
    );
    let signer = Signer::new(Algorithm::EdDsa);
    for typ in ["AT+JWT", "application/at+jwt", "Application/At+Jwt"] {
        assert!(verify(&signer.token(typ, b"{}"), &signer.verifying).is_ok(), "{typ}");
    }
}

#[test]
fn client_assertions_may_be_untyped_but_not_mistyped() {
    const RULE: TypRule = TypRule::RequiredOrAbsent("client-authentication+jwt");
    let signer = Signer::new(Algorithm::EdDsa);
    let accepts = |header: &str| {
        let token = signer.forge(header, CLAIMS);
        Unverified::parse(&token).expect("a token").verify(&signer.verifying, RULE).is_ok()
    };
    for header in [
        r#"{"alg":"EdDSA"}"#,
        r#"{"alg":"EdDSA","typ":"JWT"}"#,
        r#"{"alg":"EdDSA","typ":"jwt"}"#,
        r#"{"alg":"EdDSA","typ":"application/Client-Authentication+jwt"}"#,
    ] {
        assert!(accepts(header), "{header}");
    }
    for typ in ["at+jwt", "dpop+jwt", "", "JOSE"] {
        assert!(!accepts(&format!(r#"{{"alg":"EdDSA","typ":"{typ}"}}"#)), "{typ}");
    }
}

#[test]
fn only_the_compact_serialization_in_its_one_spelling_is_read() {
    for signer in Signer::both() {
        let token = signer.token("at+jwt", CLAIMS.as_bytes());
        let [header, payload, signature] =
            token.split('.').collect::<Vec<_>>().try_into().expect("three segments");
        for wrong in [
            String::new(),
            ".".to_owned(),
            header.to_owned(),
            format!("{header}.{payload}"),
            format!("{token}."),
            format!("{token}.{signature}"),
            format!("{header}.{payload}..{signature}.{signature}"),
            format!(
                r#"{{"protected":"{header}","payload":"{payload}","signature":"{signature}"}}"#
            ),
        ] {
            assert_eq!(
                verify(&wrong, &signer.verifying),
                Err(JwsError::NotThreeSegments),
                "{wrong}"
            );
        }
        for (wrong, segment) in [
            (format!(" {token}"), Segment::Header),
            (format!("{token} "), Segment::Signature),
            (format!("{token}\n"), Segment::Signature),
            (format!("{token}="), Segment::Signature),
            (format!("{token}=="), Segment::Signature),
            (format!("{header}=.{payload}.{signature}"), Segment::Header),
            (format!("{header}.{payload}=.{signature}"), Segment::Payload),
            (format!("{header}.{payload}\r\n.{signature}"), Segment::Payload),
            (format!("{header}..{signature}"), Segment::Payload),
            (format!(".{payload}.{signature}"), Segment::Header),
            (format!("Bearer {token}"), Segment::Header),
            (
                format!("{header}.{payload}.{}", signature.replace(['-', '_'], "+")),
                Segment::Signature,
            ),
            (
                // An RFC 7515 section 7.2.1 general serialization that happens to hold two dots.
                r#"{"payload":".","signatures":[{"signature":"."}]}"#.to_owned(),
                Segment::Header,
            ),
        ] {
            if wrong != token {
                let error = verify(&wrong, &signer.verifying);
                assert_eq!(error, Err(JwsError::Encoding(segment)), "{wrong}");
            }
        }
        // 64 bytes leave four unused bits in the last character: 15 other spellings.
        let last = token.chars().last().expect("a character");
        let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let mut spellings = 0;
        for other in alphabet.chars().filter(|other| *other != last) {
            let wrong = format!("{}{other}", &token[..token.len() - 1]);
            let error = verify(&wrong, &signer.verifying).expect_err("another last character");
            spellings += usize::from(error == JwsError::Encoding(Segment::Signature));
        }
        assert_eq!(spellings, 60, "only four last characters have their unused bits at zero");
    }
}

#[test]
fn tokens_have_a_longest_length_in_both_directions() {
    let signer = Signer::new(Algorithm::EdDsa);
    let text = "a".repeat(TOKEN_BYTES_MAX + 1);
    assert!(matches!(verify(&text, &signer.verifying), Err(JwsError::TooLong { .. })));
    let header = ProtectedHeader::new("at+jwt", Algorithm::EdDsa, None).expect("a header");
    let room = (TOKEN_BYTES_MAX - 300) / 4 * 3;
    let input = SigningInput::new(&header, &vec![b' '; room]).expect("fits");
    let token = input.finish(&[0; 64]);
    assert!(token.len() <= TOKEN_BYTES_MAX && token.capacity() == token.len(), "one buffer");
    let input = SigningInput::new(&header, &[b' '; TOKEN_BYTES_MAX]);
    assert!(matches!(input, Err(JwsError::TooLong { .. })));
}

#[test]
fn headers_we_write_are_headers_we_read() {
    let signer = Signer::new(Algorithm::EdDsa);
    for kid in ["key-1", "a\"b", "a\\b", "new\nline\0", "é😀"] {
        let header = ProtectedHeader::new("at+jwt", Algorithm::EdDsa, Some(kid)).expect(kid);
        let input = SigningInput::new(&header, b"{}").expect("short");
        let signature = signer.private.sign(input.bytes()).expect("a signature");
        let token = input.finish(&signature);
        let unverified = Unverified::parse(&token).expect(kid);
        assert_eq!(unverified.peek_unverified_kid(), Some(kid));
    }
    let long = "k".repeat(KID_BYTES_MAX + 1);
    for wrong in ["", &long] {
        let header = ProtectedHeader::new("at+jwt", Algorithm::EdDsa, Some(wrong));
        assert_eq!(header.err(), Some(JwsError::Kid));
    }
    let jwk =
        super::super::jwk::Jwk::new(signer.verifying.key.clone(), Some("x".into())).expect("a JWK");
    let header = ProtectedHeader::with_jwk("dpop+jwt", &jwk).expect("a header");
    let token = SigningInput::new(&header, b"{}").expect("short").finish(&[0; 64]);
    let unverified = Unverified::parse(&token).expect("a token");
    let json = Json::parse(unverified.peek_unverified_header(), TOKEN_BYTES_MAX).expect("JSON");
    let carried = super::super::jwk::Jwk::from_json(json.get("jwk").expect("jwk")).expect("a key");
    assert_eq!(carried.thumbprint(), jwk.thumbprint());
    assert_eq!(carried.kid(), None);
}

#[test]
fn peeking_is_harmless() {
    let signer = Signer::new(Algorithm::EdDsa);
    for payload in
        ["[]", "1", "{", r#"{"iss":1}"#, r#"{"iss":"a","iss":"b"}"#, "\u{0}", "{\"sub\":\"x\"}"]
    {
        let token = signer.forge(&signer.header_with(""), payload);
        let unverified = Unverified::parse(&token).expect("a token");
        assert_eq!(unverified.peek_unverified_issuer(), None, "{payload}");
    }
    let token = signer.forge(&signer.header_with(""), r#"{"iss":"https:\/\/a.example","x":[{}]}"#);
    let unverified = Unverified::parse(&token).expect("a token");
    assert_eq!(unverified.peek_unverified_issuer().as_deref(), Some("https://a.example"));
}

#[test]
fn every_flipped_bit_of_a_token_is_noticed() {
    for signer in Signer::both() {
        let token = signer.token("at+jwt", br#"{"sub":"a"}"#);
        for index in 0..token.len() {
            for bit in 0..7 {
                let mut bytes = token.clone().into_bytes();
                bytes[index] ^= 1 << bit;
                let bent = String::from_utf8(bytes).expect("ASCII");
                assert!(verify(&bent, &signer.verifying).is_err(), "byte {index}, bit {bit}");
            }
        }
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text: String) {
        let _ = Unverified::parse(&text);
    }

    #[test]
    fn nothing_that_looks_like_a_token_makes_it_panic(
        header in proptest::collection::vec(any::<u8>(), 0..60),
        payload in proptest::collection::vec(any::<u8>(), 0..60),
        signature in proptest::collection::vec(any::<u8>(), 0..80),
    ) {
        let token = [&header, &payload, &signature].map(|part| b64url_encode(part)).join(".");
        if let Ok(unverified) = Unverified::parse(&token) {
            let _ = unverified.peek_unverified_issuer();
            prop_assert_eq!(unverified.peek_unverified_header(), &header);
        }
    }

    #[test]
    fn any_payload_round_trips(payload in proptest::collection::vec(any::<u8>(), 1..400), ed: bool) {
        let signer = Signer::new(if ed { Algorithm::EdDsa } else { Algorithm::Es256 });
        prop_assert_eq!(verify(&signer.token("at+jwt", &payload), &signer.verifying), Ok(payload));
    }
}
