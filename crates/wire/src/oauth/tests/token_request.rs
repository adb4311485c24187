use proptest::prelude::*;

use super::form;
use crate::authority::{Scope, ScopeError};
use crate::oauth::authorization_details::{DETAILS_BYTES_MAX, DETAILS_MAX};
use crate::oauth::resource_indicator::RESOURCE_BYTES_MAX;
use crate::oauth::token_request::{Grant, RESOURCES_MAX};
use crate::oauth::{ErrorCode, Rejection, TokenRequest};

fn parse(rest: &str) -> Result<TokenRequest, Rejection> {
    TokenRequest::parse(&form(&format!("grant_type=client_credentials{rest}")))
}

#[test]
fn a_full_request_is_read() {
    let request = parse(
        "&scope=crm:read+crm:write&resource=https%3A%2F%2Fcrm.example%2Fv1%3Fa=b&expires_in=300\
         &audience=ignored&client_id=agt_x&unknown=1",
    );
    let request = request.expect("a request");
    assert!(matches!(request.grant, Grant::ClientCredentials));
    assert_eq!(request.scope, Some("crm:write crm:read".parse::<Scope>().expect("a scope")));
    assert_eq!(request.resources, ["https://crm.example/v1?a=b"]);
    assert_eq!((request.expires_in, request.task), (Some(300), None));
    let least = parse("").expect("nothing but the grant");
    assert_eq!((least.scope, least.resources.len(), least.expires_in), (None, 0, None));
}

#[test]
fn an_unknown_grant_is_refused_and_told_what_is_known() {
    for name in ["password", "Client_Credentials", "client_credentials+", "implicit", "%00%1b[31m"]
    {
        let rejection = TokenRequest::parse(&form(&format!("grant_type={name}"))).expect_err(name);
        assert_eq!(rejection.code(), ErrorCode::UnsupportedGrantType, "{name}");
        let text = rejection.to_string();
        assert!(text.contains("`client_credentials` is"), "{text}");
        assert!(text.bytes().all(|byte| (0x20..0x7f).contains(&byte)), "{text:?}");
    }
    for body in ["", "grant_type=", "grant_type", "scope=a:b"] {
        let rejection = TokenRequest::parse(&form(body)).expect_err(body);
        assert_eq!(rejection, Rejection::ParameterMissing("grant_type"));
    }
}

#[test]
fn scope_tricks_are_invalid_scope() {
    for (scope, error) in [
        ("*", ScopeError::NotAToken("*".into())),
        ("crm:*", ScopeError::NotAToken("crm:*".into())),
        ("crm:read%C2%A0crm:write", ScopeError::Charset),
        ("crm:read%09crm:write", ScopeError::Charset),
        ("crm:read%0Acrm:write", ScopeError::Charset),
        ("crm:re%D0%B0d", ScopeError::Charset),
        ("crm:read++crm:write", ScopeError::Spaces),
        ("+", ScopeError::Spaces),
    ] {
        let rejection = parse(&format!("&scope={scope}")).expect_err(scope);
        assert_eq!(rejection, Rejection::Scope(error), "{scope}");
        assert_eq!(rejection.code(), ErrorCode::InvalidScope);
    }
    assert_eq!(parse("&scope=").expect("empty is absent").scope, None);
}

#[test]
fn pentest_21_authorization_details_are_read_strictly_and_not_as_text() {
    let asks = |json: &str| {
        let encoded: String = form_urlencoded::byte_serialize(json.as_bytes()).collect();
        parse(&format!("&authorization_details={encoded}"))
    };
    let one = |members: &str| {
        format!(r#"[{{"type":"accredit","resource":"crm","actions":["update"],{members}}}]"#)
    };
    let read = asks(&one(r#""constraints":{"amount":{"max":100},"to":{"one_of":["b","a"]}}"#));
    let same = asks(
        r#"[ {"constraints":{"to":{"one_of":["a","b","a"]},"amount":{"max":100}},
            "actions":["update","update"],"resource":"crm","type":"\u0061ccredit"} ]"#,
    );
    assert_eq!(read.expect("details").details, same.expect("the same").details);
    let located = asks(
        r#"[{"type":"accredit","locations":["https://crm.example/"],"actions":["a"],"object":"/x"}]"#,
    );
    let located = located.expect("details").details.remove(0);
    assert_eq!(located.location.as_deref(), Some("https://crm.example/"));
    assert_eq!(located.resource, None);
    assert_eq!(asks("").expect("empty is absent").details, []);

    let limited = one(r#""object":"/a""#);
    let many = vec![limited.trim_matches(['[', ']']); DETAILS_MAX + 1].join(",");
    for wrong in [
        "{}".to_owned(),
        "[]".to_owned(),
        "[1]".to_owned(),
        "null".to_owned(),
        "accredit".to_owned(),
        limited.trim_matches(['[', ']']).to_owned(),
        format!("[{many}]"),
        format!("{limited} []"),
        limited.replace("accredit", "Accredit"),
        limited.replace("accredit", "payment_initiation"),
        limited.replace("\"accredit\"", "1"),
        limited.replace("\"type\":\"accredit\",", ""),
        limited.replace("\"resource\":\"crm\",", ""),
        limited.replace("\"crm\"", "null"),
        limited.replace("\"update\"", ""),
        limited.replace("\"update\"", "\"*\""),
        limited.replace("[\"update\"]", "\"update\""),
        one(r#""locations":[],"object":"/a""#),
        one(r#""locations":["https://a/","https://b/"],"object":"/a""#),
        one(r#""locations":["crm"],"object":"/a""#),
        one(r#""locations":"https://a/","object":"/a""#),
        one(r#""identifier":"7","object":"/a""#),
        one(r#""privileges":["admin"],"object":"/a""#),
        one(r#""datatypes":["contacts"],"object":"/a""#),
        one(r#""object":"/a","object":"/b""#),
        one(r#""object":"/a","limit":5"#),
        one(r#""object":null"#),
        one(r#""constraints":{"amount":{"max":"100"}}"#),
        one(r#""constraints":{"amount":{"max":1e2}}"#),
        one(r#""constraints":{"amount":{"max":100.0}}"#),
        one(r#""constraints":{"amount":{"limit":100}}"#),
        one(r#""constraints":{"amount":{}}"#),
        one(r#""constraints":{"amount":{"max":1},"\u0061mount":{"max":9}}"#),
        one(r#""not_after":"2030-01-01T00:00:00Z""#),
        // Without a limit: it is a scope, and an absent limit is not a wide one.
        r#"[{"type":"accredit","resource":"crm","actions":["update"]}]"#.to_owned(),
        one(&format!(r#""object":"/a"{}"#, " ".repeat(DETAILS_BYTES_MAX))),
    ] {
        let rejection = asks(&wrong).expect_err(&wrong);
        assert_eq!(rejection.code(), ErrorCode::InvalidAuthorizationDetails, "{wrong}");
        assert!(matches!(rejection, Rejection::Details(_)), "{wrong}");
    }
}

#[test]
fn a_resource_is_an_absolute_uri_without_fragment() {
    for good in ["https://a", "https://a/b?c=d", "urn:example:x", "mcp+http://h:1/%2541"] {
        let encoded: String = form_urlencoded::byte_serialize(good.as_bytes()).collect();
        let request = parse(&format!("&resource={encoded}")).expect(good);
        assert_eq!(request.resources, [good]);
    }
    for wrong in [
        "crm",
        "/crm",
        "//crm",
        "https:",
        ":x",
        "1a:x",
        "h\u{e9}:x",
        "https://a#",
        "https://a#b",
        "https://a b",
        "https://a\n",
        "https://\u{430}",
        "https://a/%",
        "https://a/%4",
        "https://a/%zz",
        "https://a/%4%41",
        "https://a\\b",
        "https://\"",
        "https://a/<x>",
        "https://a/\u{0}",
    ] {
        let encoded: String = form_urlencoded::byte_serialize(wrong.as_bytes()).collect();
        let rejection = parse(&format!("&resource={encoded}")).expect_err(wrong);
        assert_eq!(rejection, Rejection::Resource, "{wrong:?}");
        assert_eq!(rejection.code(), ErrorCode::InvalidTarget);
    }
    let long = |n: usize| format!("&resource=https:{}", "x".repeat(n - 6));
    assert!(parse(&long(RESOURCE_BYTES_MAX)).is_ok());
    assert_eq!(parse(&long(RESOURCE_BYTES_MAX + 1)).expect_err("long"), Rejection::Resource);
}

#[test]
fn resources_are_counted() {
    let many =
        |n: usize| (0..n).map(|i| format!("&resource=https://r{i}")).collect::<Vec<_>>().concat();
    assert_eq!(parse(&many(RESOURCES_MAX)).expect("few").resources.len(), RESOURCES_MAX);
    let rejection = parse(&many(RESOURCES_MAX + 1)).expect_err("many");
    assert_eq!(rejection, Rejection::TooManyResources);
    assert_eq!(rejection.code(), ErrorCode::InvalidTarget);
}

#[test]
fn expires_in_is_a_positive_whole_number() {
    assert_eq!(parse("&expires_in=1").expect("one").expires_in, Some(1));
    assert_eq!(parse("&expires_in=4294967295").expect("largest").expires_in, Some(u32::MAX));
    for wrong in ["0", "00", "-1", "%2B5", "1.5", "1e3", "4294967296", "x", "+1", "0x10", "%D9%A1"]
    {
        let rejection = parse(&format!("&expires_in={wrong}")).expect_err(wrong);
        assert_eq!(rejection, Rejection::ExpiresIn, "{wrong}");
        assert_eq!(rejection.code(), ErrorCode::InvalidRequest);
    }
}

#[test]
fn a_task_is_named_by_its_id() {
    let task = crate::ids::TaskId::new(1, [1; 10]);
    assert_eq!(parse(&format!("&task={task}")).expect("a request").task, Some(task));
    for wrong in ["x", "agt_01hzy3v7q4e8r9t0w1x2y3z4a5", "TSK_x", "tsk_"] {
        let rejection = parse(&format!("&task={wrong}")).expect_err(wrong);
        assert_eq!(rejection, Rejection::Task, "{wrong}");
        assert_eq!(rejection.code(), ErrorCode::InvalidRequest);
    }
    assert_eq!(parse("&task=").expect("empty is absent").task, None);
}

proptest! {
    #[test]
    fn no_values_make_it_panic(scope in "\\PC{0,30}", resource in "\\PC{0,30}", expires_in in "\\PC{0,12}") {
        let body: String = form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "client_credentials")
            .append_pair("scope", &scope)
            .append_pair("resource", &resource)
            .append_pair("expires_in", &expires_in)
            .finish();
        if let Err(rejection) = TokenRequest::parse(&form(&body)) {
            let text = rejection.body().description().to_owned();
            prop_assert!(text.bytes().all(|byte| (0x20..0x7f).contains(&byte) && byte != b'"' && byte != b'\\'));
        }
    }
}
