use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use proptest::prelude::*;

use super::form;
use crate::api_key::{ApiKey, ApiKeyError, SecretKind};
use crate::binding::PeerCertificate;
use crate::ids::CredentialId;
use crate::oauth::client_auth::{
    ASSERTION_BYTES_MAX, ASSERTION_TYPE, BASIC_BYTES_MAX, BearerKeys, CLIENT_ID_BYTES_MAX,
    SECRET_BYTES_MAX, authorization_basic,
};
use crate::oauth::token_request::JWT_BEARER;
use crate::oauth::{ClientAuth, ErrorCode, Rejection};
use crate::secret::Secret;

fn read(headers: &[&str], body: &str) -> Result<ClientAuth, Rejection> {
    let headers: Vec<&[u8]> = headers.iter().map(|header| header.as_bytes()).collect();
    ClientAuth::from_request(&headers, &form(body), BearerKeys::Refused)
}

fn refused(headers: &[&str], body: &str) -> Rejection {
    read(headers, body).expect_err("refused")
}

fn basic(pair: &[u8]) -> String {
    format!("Basic {}", STANDARD.encode(pair))
}

fn typed(assertion: &str) -> String {
    format!("client_assertion_type={ASSERTION_TYPE}&client_assertion={assertion}")
}

fn key() -> Secret {
    let credential = CredentialId::new(1_763_717_400_000, [5; 10]);
    ApiKey::new(SecretKind::Resource, credential, [7; 32])
}

/// What is read at the token endpoint.
fn asked(headers: &[&str], body: &str) -> Result<ClientAuth, Rejection> {
    let headers: Vec<&[u8]> = headers.iter().map(|header| header.as_bytes()).collect();
    ClientAuth::from_token_request(&headers, &form(body))
}

/// Why nothing is read there.
fn unasked(headers: &[&str], body: &str) -> Rejection {
    asked(headers, body).expect_err("refused")
}

#[test]
fn an_assertion_that_is_the_grant_is_the_only_proof() {
    let grant = format!("grant_type={JWT_BEARER}");
    let auth = asked(&[], &format!("{grant}&assertion=a.b.c")).expect("a grant");
    let ClientAuth::Grant { client_id, assertion } = &auth else { panic!("{auth:?}") };
    assert_eq!((client_id.as_deref(), assertion.as_str()), (None, "a.b.c"));
    assert_eq!((auth.method(), auth.challenge("i")), ("jwt_bearer", None));
    assert!(!format!("{auth:?}").contains("a.b.c"));
    let named = asked(&[], &format!("{grant}&assertion=a.b.c&client_id=agt_x"));
    assert_eq!(named.expect("a grant").client_id(), Some("agt_x"));
    let good = format!("{grant}&assertion=a.b.c");
    let two = Rejection::TwoClientAuthentications;
    assert_eq!(unasked(&[&basic(b"agt_x:s")], &good), two);
    assert_eq!(unasked(&["Bearer x"], &good), two);
    for beside in ["client_id=a&client_secret=s", &typed("d.e.f"), "client_assertion=d.e.f"] {
        assert_eq!(unasked(&[], &format!("{good}&{beside}")), two, "{beside}");
    }
    assert_eq!(unasked(&[], &grant), Rejection::ParameterMissing("assertion"));
    let long = format!("{grant}&assertion={}", "a".repeat(ASSERTION_BYTES_MAX + 1));
    assert_eq!(unasked(&[], &long), Rejection::ParameterMalformed("assertion"));
    let malformed = Rejection::ParameterMalformed("client_id");
    assert_eq!(unasked(&[], &format!("{good}&client_id=%00")), malformed);
    // With another grant it says nothing, and nowhere else either.
    let other = "grant_type=client_credentials&assertion=a.b.c";
    assert_eq!(unasked(&[], other), Rejection::Unauthenticated);
    assert_eq!(refused(&[], &good), Rejection::Unauthenticated);
}

#[test]
fn each_way_is_read() {
    let auth = read(&[&basic(b"agt_x:s%2Bx%3A+y")], "client_id=agt_x").expect("basic");
    let ClientAuth::SecretBasic { client_id, secret } = &auth else { panic!("{auth:?}") };
    assert_eq!((client_id.as_str(), secret.expose()), ("agt_x", "s+x: y"));
    assert_eq!(auth.method(), "client_secret_basic");

    let auth = read(&["bAsIc YTpiOmM="], "").expect("any case; the first colon divides");
    let ClientAuth::SecretBasic { secret, .. } = &auth else { panic!("{auth:?}") };
    assert_eq!(secret.expose(), "b:c");

    let auth = read(&[], "client_id=agt_x&client_secret=s").expect("post");
    let ClientAuth::SecretPost { client_id, secret } = &auth else { panic!("{auth:?}") };
    assert_eq!((client_id.as_str(), secret.expose()), ("agt_x", "s"));
    assert_eq!(auth.challenge("https://i"), None);

    let auth = read(&[], &typed("a.b.c")).expect("assertion");
    let ClientAuth::Assertion { client_id, assertion } = &auth else { panic!("{auth:?}") };
    assert_eq!((client_id.as_deref(), assertion.as_str()), (None, "a.b.c"));
    let auth = read(&[], &format!("{}&client_id=agt_x", typed("a.b.c"))).expect("with id");
    assert_eq!(auth.client_id(), Some("agt_x"));
}

#[test]
fn two_ways_at_once_are_refused() {
    let header = basic(b"agt_x:s");
    let both = format!("client_id=agt_x&client_secret=s&{}", typed("a.b.c"));
    for (headers, body) in [
        (vec![header.as_str()], "client_secret=s".to_owned()),
        (vec![header.as_str()], "client_id=agt_x&client_secret=s".to_owned()),
        (vec![header.as_str()], typed("a.b.c")),
        (vec![header.as_str()], "client_assertion=a.b.c".to_owned()),
        (vec![header.as_str()], format!("client_assertion_type={ASSERTION_TYPE}")),
        (vec!["Bearer x"], typed("a.b.c")),
        (vec!["Negotiate x"], "client_id=agt_x&client_secret=s".to_owned()),
        (vec![], both),
    ] {
        let rejection = refused(&headers, &body);
        assert_eq!(rejection, Rejection::TwoClientAuthentications, "{body}");
        assert_eq!(rejection.rule(), "two-client-authentications");
        assert_eq!(rejection.code(), ErrorCode::InvalidRequest);
        assert_eq!(rejection.www_authenticate("https://i"), None);
    }
    assert_eq!(refused(&[&header, &header], ""), Rejection::AuthorizationTwice);
    let with_empty = read(&[&header], "client_secret=&client_assertion=");
    assert!(with_empty.is_ok(), "empty is absent");
}

#[test]
fn a_body_that_names_another_client_is_refused() {
    for other in ["agt_y", "AGT_X", "agt_x%20", "agt_xx", "agt_"] {
        let rejection = refused(&[&basic(b"agt_x:s")], &format!("client_id={other}"));
        assert_eq!(rejection, Rejection::ClientIdDiffers, "{other}");
        assert_eq!(rejection.code(), ErrorCode::InvalidRequest);
    }
}

#[test]
fn badly_encoded_basic_credentials_are_an_invalid_client() {
    let unpadded = format!("Basic {}", STANDARD_NO_PAD.encode("agt_x:s1"));
    let id = "i".repeat(CLIENT_ID_BYTES_MAX + 1);
    let secret = "s".repeat(SECRET_BYTES_MAX + 1);
    for header in [
        "Basic ",
        "Basic !!!!",
        "Basic YTpi Yg==",
        "Basic  YTpi",
        "Basic YTpi ",
        "Basic YTpiYh==",
        "Basic YTpi_w==",
        &unpadded,
        &basic(b"agt_x"),
        &basic(b":s"),
        &basic(b"agt_x:"),
        &basic(b"agt_x:\xff"),
        &basic(b"agt_x:%ff"),
        &basic(b"agt_x:%z"),
        &basic(b"agt_x:s\n"),
        &basic(b"agt_x:%00"),
        &basic("agt_\u{445}:s".as_bytes()),
        &basic(format!("{id}:s").as_bytes()),
        &basic(format!("agt_x:{secret}").as_bytes()),
        &format!("Basic {}", "YTpi".repeat(BASIC_BYTES_MAX / 4 + 1)),
    ] {
        let rejection = refused(&[header], "");
        assert_eq!(rejection, Rejection::Basic, "{header}");
        assert_eq!((rejection.code(), rejection.code().status()), (ErrorCode::InvalidClient, 401));
        let challenge = rejection.www_authenticate("https://i").expect("the header was used");
        assert_eq!(challenge, "Basic realm=\"https://i\", charset=\"UTF-8\"");
    }
    let longest = format!("{}:{}", &id[1..], &secret[1..]);
    assert!(read(&[&basic(longest.as_bytes())], "").is_ok());
}

#[test]
fn other_schemes_are_an_invalid_client() {
    let key = key();
    let bearer = format!("Bearer {}", key.expose());
    for header in ["", "Basic", "Basic\tYTpi", "Digest x", "DPoP x", &bearer, " Basic YTpi"] {
        let rejection = refused(&[header], "");
        assert_eq!(rejection, Rejection::AuthorizationScheme, "{header}");
        assert_eq!(rejection.code(), ErrorCode::InvalidClient);
        assert!(rejection.www_authenticate("https://i").is_some());
    }
    let raw = ClientAuth::from_request(&[b"\xff\xff \xff"], &form(""), BearerKeys::Taken);
    assert_eq!(raw.expect_err("refused"), Rejection::AuthorizationScheme);
}

#[test]
fn nothing_is_an_invalid_client_without_challenge() {
    for body in ["", "client_id=agt_x", "client_id=agt_x&client_secret=", "token=x"] {
        let rejection = refused(&[], body);
        assert_eq!(rejection, Rejection::Unauthenticated, "{body}");
        assert_eq!((rejection.code(), rejection.code().status()), (ErrorCode::InvalidClient, 401));
        assert_eq!(rejection.www_authenticate("https://i"), None);
    }
}

#[test]
fn half_an_authentication_in_the_body_is_refused() {
    let missing = Rejection::ParameterMissing;
    assert_eq!(refused(&[], "client_secret=s"), missing("client_id"));
    assert_eq!(refused(&[], "client_assertion=a.b.c"), missing("client_assertion_type"));
    assert_eq!(refused(&[], &typed("")), missing("client_assertion"));
    for kind in [
        "urn:ietf:params:oauth:client-assertion-type:saml2-bearer",
        "urn:ietf:params:oauth:client-assertion-type:JWT-bearer",
        "jwt-bearer",
    ] {
        let body = format!("client_assertion=a.b.c&client_assertion_type={kind}");
        assert_eq!(refused(&[], &body), Rejection::AssertionType);
    }
}

#[test]
fn lengths_and_characters_are_bounded() {
    let malformed = Rejection::ParameterMalformed;
    let secret = |n: usize| format!("client_id=a&client_secret={}", "s".repeat(n));
    assert!(read(&[], &secret(SECRET_BYTES_MAX)).is_ok());
    assert_eq!(refused(&[], &secret(SECRET_BYTES_MAX + 1)), malformed("client_secret"));
    let id = |n: usize| format!("client_secret=s&client_id={}", "i".repeat(n));
    assert!(read(&[], &id(CLIENT_ID_BYTES_MAX)).is_ok());
    assert_eq!(refused(&[], &id(CLIENT_ID_BYTES_MAX + 1)), malformed("client_id"));
    assert!(read(&[], &typed(&"a".repeat(ASSERTION_BYTES_MAX))).is_ok());
    let long = refused(&[], &typed(&"a".repeat(ASSERTION_BYTES_MAX + 1)));
    assert_eq!(long, malformed("client_assertion"));
    assert_eq!(refused(&[], "client_id=a%0a&client_secret=s"), malformed("client_id"));
    assert_eq!(refused(&[], "client_id=a&client_secret=%7f"), malformed("client_secret"));
    assert_eq!(refused(&[], &typed("%C3%A9")), malformed("client_assertion"));
}

#[test]
fn a_bearer_key_is_taken_only_where_allowed_and_only_if_it_is_ours() {
    let key = key();
    let header = format!("Bearer {}", key.expose());
    let read = |header: &str, body| {
        ClientAuth::from_request(&[header.as_bytes()], &form(body), BearerKeys::Taken)
    };
    let auth = read(&header, "token=x").expect("a key");
    let ClientAuth::Bearer(text) = &auth else { panic!("{auth:?}") };
    assert_eq!(text.expose(), key.expose());
    assert_eq!(auth.client_id(), None);
    assert_eq!(auth.challenge("https://i").as_deref(), Some("Bearer realm=\"https://i\""));
    for (wrong, error) in [
        ("Bearer eyJhbGciOiJFUzI1NiJ9.e30.c2ln", ApiKeyError::NotOurs),
        ("Bearer ", ApiKeyError::NotOurs),
        ("Bearer acr_resource", ApiKeyError::Malformed),
        (&format!("{header} "), ApiKeyError::Malformed),
        (&header.replacen("_0", "_1", 1), ApiKeyError::Checksum),
    ] {
        let rejection = read(wrong, "token=x").expect_err(wrong);
        assert_eq!(rejection, Rejection::Bearer(error), "{wrong}");
        assert_eq!(rejection.code(), ErrorCode::InvalidClient);
        assert!(!rejection.to_string().contains(wrong));
    }
    let named = read(&header, "client_id=agt_x").expect_err("two names");
    assert_eq!(named, Rejection::ClientIdDiffers);
}

#[test]
fn debug_shows_no_secret() {
    let key = key();
    let bearer = format!("Bearer {}", key.expose());
    let shown = [
        read(&[&basic(b"agt_x:hunter2")], ""),
        read(&[], "client_id=agt_x&client_secret=hunter2"),
        read(&[], &typed("hunter2")),
        ClientAuth::from_request(&[bearer.as_bytes()], &form(""), BearerKeys::Taken),
        read(&[&basic(b"hunter2")], ""),
    ];
    let shown = format!("{shown:?}");
    assert!(!shown.contains("hunter2") && !shown.contains(key.expose()), "{shown}");
}

proptest! {
    #[test]
    fn what_a_client_sends_is_what_is_read(id in "[ -~]{1,60}", secret in "[ -~]{1,60}") {
        let header = authorization_basic(&id, &Secret::new(secret.clone()));
        match read(&[header.expose()], "") {
            Ok(ClientAuth::SecretBasic { client_id, secret: read }) => {
                prop_assert_eq!(client_id, id);
                prop_assert_eq!(read.expose(), secret);
            }
            other => prop_assert!(false, "{:?}", other),
        }
    }

    #[test]
    fn random_headers_never_panic(
        scheme in "(Basic|Bearer|bearer|)",
        rest in proptest::collection::vec(any::<u8>(), 0..80),
    ) {
        let header = [scheme.as_bytes(), b" ", &rest].concat();
        let _ = ClientAuth::from_request(&[&header], &form(""), BearerKeys::Taken);
        let encoded = basic(&rest);
        let _ = ClientAuth::from_request(&[encoded.as_bytes()], &form(""), BearerKeys::Taken);
    }
}

#[test]
fn a_connection_authenticates_where_the_request_itself_has_nothing_but_an_id() {
    let shown = PeerCertificate::new(b"a certificate");
    let over = |headers: &[&str], body: &str, certificate| {
        ClientAuth::or_certificate(read(headers, body), &form(body), certificate)
    };
    match over(&[], "client_id=agt_1", Some(&shown)) {
        Ok(auth @ ClientAuth::Certificate { .. }) => {
            assert_eq!((auth.client_id(), auth.method()), (Some("agt_1"), "tls_client_auth"));
            assert_eq!(auth.challenge("x"), None);
        }
        other => panic!("not by its certificate: {other:?}"),
    }
    let none = over(&[], "client_id=agt_1", None);
    assert!(matches!(none, Err(Rejection::Unauthenticated)));
    let unnamed = over(&[], "a=1", Some(&shown));
    assert!(matches!(unnamed, Err(Rejection::Unauthenticated)), "RFC 8705 section 2");
    // Whoever says more is who that says, with whatever connection.
    let secret = over(&[], "client_id=agt_1&client_secret=x", Some(&shown));
    assert!(matches!(secret, Ok(ClientAuth::SecretPost { .. })));
    for wrong in ["client_id=agt_1&client_assertion=x", "client_id=%00", "client_secret=x"] {
        assert!(over(&[], wrong, Some(&shown)).is_err(), "{wrong}");
    }
    let basic = over(&["Basic eA=="], "client_id=agt_1", Some(&shown));
    assert!(basic.is_err(), "what was sent and is wrong is not passed over");
}
