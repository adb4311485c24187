//! Attacks on claims.

use std::time::Duration;

use proptest::prelude::*;

use super::super::jwt::{
    AUDIENCES_MAX, Claims, ClaimsError, JTI_BYTES_MAX, NAME_BYTES_MAX, SKEW_MAX,
};
use crate::json::{Json, JsonError};
use crate::time::Time;

fn parse(text: &str) -> Result<Claims<'_>, ClaimsError> {
    Claims::parse(text.as_bytes())
}

fn check_refused(text: &str, wanted: &ClaimsError) {
    let error = parse(text).expect_err(text);
    assert_eq!(error, *wanted, "{text}");
}

#[test]
fn registered_claims_have_their_types() {
    let claims = parse(
        r#"{"iss":"i","sub":"s","aud":["a","b"],"exp":1700000000.5,"nbf":1,"iat":2e9,"jti":"j","x":[1]}"#,
    )
    .expect("claims");
    assert_eq!((claims.iss(), claims.sub(), claims.jti()), (Some("i"), Some("s"), Some("j")));
    assert_eq!(claims.aud().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(claims.exp(), Some(Time::from_micros(1_700_000_000_500_000)));
    assert_eq!(claims.nbf(), Some(Time::from_seconds(1)));
    assert_eq!(claims.iat(), Some(Time::from_seconds(2_000_000_000)));
    assert_eq!(claims.get("x"), Some(&Json::Array(vec![Json::Integer(1)])));
    assert_eq!(claims.members().len(), 8);
    let none = parse("{}").expect("no claims");
    assert_eq!((none.iss(), none.sub(), none.jti(), none.exp()), (None, None, None, None));
    assert_eq!(none.aud().count(), 0);
}

#[test]
fn text_claims_are_bounded_strings() {
    for (name, bytes_max) in
        [("iss", NAME_BYTES_MAX), ("sub", NAME_BYTES_MAX), ("jti", JTI_BYTES_MAX)]
    {
        let long = format!("\"{}\"", "a".repeat(bytes_max));
        assert!(parse(&format!(r#"{{"{name}":{long}}}"#)).is_ok());
        for wrong in ["\"\"", "1", "null", "[\"a\"]", "{}", "true", &long.replace("aa\"", "aaa\"")]
        {
            check_refused(
                &format!(r#"{{"{name}":{wrong}}}"#),
                &ClaimsError::Text { name, bytes_max },
            );
        }
    }
}

#[test]
fn audiences_are_compared_exactly() {
    for text in [r#"{"aud":"https://api.example"}"#, r#"{"aud":["https://api.example"]}"#] {
        let claims = parse(text).expect("claims");
        assert!(claims.is_for("https://api.example"));
        assert_eq!(claims.sole_audience(), Some("https://api.example"));
        for other in [
            "https://api.example/",
            "https://api.example.evil",
            "https://api",
            "HTTPS://api.example",
            "",
        ] {
            assert!(!claims.is_for(other), "{other}");
        }
    }
    let two = parse(r#"{"aud":["https://api.example","https://evil.example"]}"#).expect("claims");
    assert!(two.is_for("https://api.example"));
    assert_eq!(two.sole_audience(), None);
    let twice = parse(r#"{"aud":["a","a"]}"#).expect("claims");
    assert_eq!(twice.sole_audience(), None);
    assert_eq!(parse("{}").expect("claims").sole_audience(), None);
    let many = |count: usize| format!(r#"{{"aud":[{}]}}"#, vec!["\"a\""; count].join(","));
    assert!(parse(&many(AUDIENCES_MAX)).is_ok());
    for wrong in [
        r#"{"aud":[]}"#,
        r#"{"aud":""}"#,
        r#"{"aud":[""]}"#,
        r#"{"aud":["a",1]}"#,
        r#"{"aud":[["a"]]}"#,
        r#"{"aud":null}"#,
        r#"{"aud":{"a":1}}"#,
        &many(AUDIENCES_MAX + 1),
    ] {
        check_refused(wrong, &ClaimsError::Audience);
    }
}

#[test]
fn numeric_dates_are_positive_numbers_that_any_reader_holds() {
    for name in ["exp", "nbf", "iat"] {
        for wrong in [
            "\"2000000000\"",
            "-1",
            "0",
            "-0",
            "0.0",
            "-1.5",
            "null",
            "[]",
            "true",
            "9007199254740992",
            "9223372036854775807",
            "9223372036854775808",
            "18446744073709551616",
            "1e16",
            "1e300",
        ] {
            check_refused(&format!(r#"{{"{name}":{wrong}}}"#), &ClaimsError::NumericDate(name));
        }
        let infinite = format!(r#"{{"{name}":1e400}}"#);
        assert!(matches!(parse(&infinite), Err(ClaimsError::Json(JsonError::Syntax { .. }))));
    }
    let last = parse(r#"{"exp":9007199254740991}"#).expect("the last one");
    assert_eq!(last.exp(), Some(Time::from_seconds(i64::MAX)));
}

#[test]
fn claims_are_strict_json_objects() {
    for (text, name) in [
        (r#"{"aud":"a","aud":"b"}"#, "aud"),
        (r#"{"aud":"a","\u0061ud":"b"}"#, "aud"),
        (r#"{"sub":"a","s\u0075b":"a"}"#, "sub"),
        (r#"{"cnf":{"jkt":"a","jkt":"b"}}"#, "jkt"),
    ] {
        check_refused(text, &ClaimsError::Json(JsonError::DuplicateMember(name.into())));
    }
    let deep = format!(r#"{{"act":{}1{}}}"#, "[".repeat(40), "]".repeat(40));
    check_refused(&deep, &ClaimsError::Json(JsonError::TooDeep));
    for text in ["[]", "null", "\"a\"", "1"] {
        check_refused(text, &ClaimsError::NotAnObject);
    }
    assert!(matches!(parse(r#"{"sub":"\ud800"}"#), Err(ClaimsError::Json(_))));
}

#[test]
fn times_are_checked_to_the_microsecond_and_skew_is_capped() {
    let claims = parse(r#"{"exp":2000,"nbf":1000,"iat":1000}"#).expect("claims");
    let at = |seconds: i64, skew: u64| {
        claims.check_times(Time::from_seconds(seconds), Duration::from_secs(skew))
    };
    assert_eq!(at(1000, 0), Ok(()));
    assert_eq!(at(1999, 0), Ok(()));
    assert!(matches!(at(2000, 0), Err(ClaimsError::Expired { .. })));
    assert_eq!(at(2029, 30), Ok(()));
    assert!(matches!(at(2030, 30), Err(ClaimsError::Expired { .. })));
    assert!(matches!(at(999, 0), Err(ClaimsError::NotYetValid { .. })));
    assert_eq!(at(970, 30), Ok(()));
    assert!(matches!(at(2060, 86_400), Err(ClaimsError::Expired { .. })), "capped");
    assert_eq!(at(2059, 86_400), Ok(()));
    let just_before = Time::from_micros(2_000_000_000 - 1);
    assert_eq!(claims.check_times(just_before, Duration::ZERO), Ok(()));
    let issued_later = parse(r#"{"exp":2000,"iat":1500}"#).expect("claims");
    let error = issued_later.check_times(Time::from_seconds(1000), SKEW_MAX);
    assert!(matches!(error, Err(ClaimsError::IssuedInTheFuture { .. })));
    let immortal = parse(r#"{"iat":1500}"#).expect("claims");
    let error = immortal.check_times(Time::from_seconds(1500), SKEW_MAX);
    assert_eq!(error, Err(ClaimsError::Missing("exp")));
}

#[test]
fn a_life_has_a_longest_length() {
    let now = Time::from_seconds(1_700_000_000);
    let life_max = Duration::from_mins(5);
    let check = |exp: i64| {
        let text = format!(r#"{{"exp":{exp}}}"#);
        parse(&text).expect("claims").check_life(now, life_max, Duration::ZERO)
    };
    assert_eq!(check(1_700_000_300), Ok(()));
    assert!(matches!(check(1_700_000_301), Err(ClaimsError::LivesTooLong { .. })));
    assert!(matches!(check(9_007_199_254_740_991), Err(ClaimsError::LivesTooLong { .. })));
    let none = parse("{}").expect("claims").check_life(now, life_max, SKEW_MAX);
    assert_eq!(none, Err(ClaimsError::Missing("exp")));
    let message = check(9_007_199_254_740_991).expect_err("too long").to_string();
    assert!(message.contains("300 s"), "{message}");
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Claims::parse(&bytes);
    }

    #[test]
    fn no_times_make_it_panic(exp: f64, nbf: i64, now: i64, skew: u64) {
        let text = format!(r#"{{"exp":{exp:e},"nbf":{nbf}}}"#);
        if let Ok(claims) = Claims::parse(text.as_bytes()) {
            let _ = claims.check_times(Time::from_micros(now), Duration::from_micros(skew));
            let _ = claims.check_life(Time::from_micros(now), Duration::from_micros(skew), SKEW_MAX);
        }
    }
}
