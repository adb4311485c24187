use proptest::prelude::*;

use super::form;
use crate::oauth::form::{FORM_BYTES_MAX, FORM_PARAMETERS_MAX, content_type_is_form};
use crate::oauth::{ErrorCode, Form, Rejection};

fn refused(body: &[u8]) -> Rejection {
    Form::parse(body).expect_err("not a form")
}

#[test]
fn a_parameter_sent_twice_is_refused_whatever_its_value() {
    for body in [
        "scope=a:b&scope=a:c",
        "scope=a:b&scope=a:b",
        "scope=&scope=a:b",
        "scope&scope",
        "grant_type=client_credentials&x=1&grant_type=password",
        "sc%6fpe=a:b&scope=a:b",
        "token=a&token=b",
    ] {
        let rejection = refused(body.as_bytes());
        assert!(matches!(rejection, Rejection::ParameterTwice(Some(_))), "{body}");
        assert_eq!(rejection.code(), ErrorCode::InvalidRequest);
        assert_eq!(rejection.rule(), "parameter-twice");
    }
    assert_eq!(refused(b"x=1&x=2"), Rejection::ParameterTwice(None));
    let repeated = form("resource=https://a&resource=https://b&audience=x&audience=y");
    assert_eq!(repeated.all("resource").collect::<Vec<_>>(), ["https://a", "https://b"]);
    assert_eq!(repeated.all("audience").count(), 2);
}

#[test]
fn an_empty_value_is_absent() {
    let form = form("scope=&token&&resource=&resource=https://a&=x");
    assert_eq!((form.get("scope"), form.get("token")), (None, None));
    assert_eq!(form.all("resource").collect::<Vec<_>>(), ["https://a"]);
    assert_eq!(form.require("scope").err(), Some(Rejection::ParameterMissing("scope")));
}

#[test]
fn bad_encoding_is_refused_not_repaired() {
    for body in
        [&b"a=%"[..], b"a=%4", b"a=%zz", b"a=%+1", b"a=\xff", b"a=%ff", b"%c3=1", b"a=%ed%a0%80"]
    {
        assert_eq!(refused(body), Rejection::Encoding, "{body:?}");
    }
    assert_eq!(form("a=%C3%a9+%2B%26%3D").get("a"), Some("\u{e9} +&="));
    assert_eq!(form("a=b=c").get("a"), Some("b=c"));
}

#[test]
fn a_form_is_bounded() {
    let body = |n: usize| (0..n).map(|i| format!("p{i}=1")).collect::<Vec<_>>().join("&");
    assert!(Form::parse(body(FORM_PARAMETERS_MAX).as_bytes()).is_ok());
    let rejection = refused(body(FORM_PARAMETERS_MAX + 1).as_bytes());
    assert_eq!(rejection, Rejection::TooManyParameters);
    let fits = format!("a={}", "x".repeat(FORM_BYTES_MAX - 2));
    assert!(Form::parse(fits.as_bytes()).is_ok());
    assert_eq!(refused(format!("{fits}x").as_bytes()), Rejection::BodyTooLarge);
}

#[test]
fn only_a_form_body_is_read_and_never_the_query() {
    let kind = Some("application/x-www-form-urlencoded");
    assert!(Form::from_request(kind, None, b"a=1").is_ok());
    assert!(Form::from_request(kind, Some(""), b"a=1").is_ok());
    let refused = |kind, query| Form::from_request(kind, query, b"a=1").expect_err("refused");
    assert_eq!(refused(kind, Some("scope=a:b")), Rejection::Query);
    assert_eq!(refused(None, None), Rejection::ContentType);
    assert_eq!(refused(Some("application/json"), None), Rejection::ContentType);
    assert_eq!(refused(Some("application/json"), None).code(), ErrorCode::InvalidRequest);
}

#[test]
fn the_content_type_may_name_utf_8_and_nothing_else() {
    for good in [
        "application/x-www-form-urlencoded",
        "Application/X-WWW-Form-Urlencoded",
        "application/x-www-form-urlencoded; charset=utf-8",
        "application/x-www-form-urlencoded;charset=UTF-8",
        "application/x-www-form-urlencoded ; charset=\"utf-8\"",
    ] {
        assert!(content_type_is_form(good), "{good}");
    }
    for wrong in [
        "",
        "application/json",
        "multipart/form-data; boundary=x",
        "text/plain",
        "application/x-www-form-urlencoded; charset=utf-16",
        "application/x-www-form-urlencoded; charset=utf-8; x=y",
        "application/x-www-form-urlencoded, application/json",
        "application/x-www-form-urlencodedx",
    ] {
        assert!(!content_type_is_form(wrong), "{wrong}");
    }
}

#[test]
fn debug_shows_names_only() {
    let text = format!("{:?}", form("client_secret=hunter2&token=abc"));
    assert!(text.contains("client_secret") && !text.contains("hunter2") && !text.contains("abc"));
}

proptest! {
    #[test]
    fn random_bytes_never_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Form::parse(&body);
    }

    #[test]
    fn random_forms_never_panic(body in "[a-c=&%+0-9\\PC]{0,60}") {
        let _ = Form::parse(body.as_bytes());
    }

    #[test]
    fn valid_forms_are_read_as_form_urlencoded_reads_them(
        pairs in proptest::collection::btree_map("\\PC{1,8}", "[\\PC\n\t&=+%]{0,12}", 0..8)
    ) {
        let body: String =
            form_urlencoded::Serializer::new(String::new()).extend_pairs(&pairs).finish();
        let ours = Form::parse(body.as_bytes()).expect("valid");
        for (name, value) in form_urlencoded::parse(body.as_bytes()) {
            prop_assert_eq!(pairs.get(&*name).map(String::as_str), Some(&*value));
            prop_assert_eq!(ours.get(&name).unwrap_or_default(), &*value);
        }
    }

    #[test]
    fn whatever_is_accepted_is_read_as_form_urlencoded_reads_it(body in "[a-c=&%+0-9]{0,60}") {
        if let Ok(ours) = Form::parse(body.as_bytes()) {
            for (name, value) in form_urlencoded::parse(body.as_bytes()) {
                prop_assert_eq!(ours.get(&name).unwrap_or_default(), &*value);
            }
        }
    }
}
