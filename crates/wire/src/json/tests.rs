use super::*;
use proptest::prelude::*;

const MAX: usize = 64 * 1024;

fn parse(text: &str) -> Result<Json<'_>, JsonError> {
    Json::parse(text.as_bytes(), MAX)
}

fn check_syntax(text: &[u8]) {
    let result = Json::parse(text, MAX);
    assert!(
        matches!(result, Err(JsonError::Syntax { .. })),
        "{}: {result:?}",
        String::from_utf8_lossy(text)
    );
}

fn check_duplicate(text: &str, name: &str) {
    assert_eq!(parse(text), Err(JsonError::DuplicateMember(name.to_owned())), "{text}");
}

#[test]
fn every_kind_of_value_is_read() {
    let value = parse(r#"{"a":[null,true,-7,1.5,"x\n"],"b":{}}"#).expect("JSON");
    let array = value.get("a").and_then(Json::as_array).expect("an array");
    assert_eq!(array[0], Json::Null);
    assert_eq!(array[1].as_bool(), Some(true));
    assert_eq!(array[2].as_i64(), Some(-7));
    assert_eq!(array[3], Json::Float(1.5));
    assert_eq!(array[4].as_str(), Some("x\n"));
    assert_eq!(value.get("b").and_then(Json::as_object).map(<[_]>::len), Some(0));
    assert_eq!(value.get("c"), None);
    assert_eq!(value.clone().into_owned(), value);
    let written = serde_json::to_string(&value).expect("written");
    assert_eq!(written, r#"{"a":[null,true,-7,1.5,"x\n"],"b":{}}"#);
}

#[test]
fn strings_without_escapes_borrow() {
    let value = parse(r#"["plain","esc\u0061ped"]"#).expect("JSON");
    let [Json::String(plain), Json::String(escaped)] = value.as_array().expect("an array") else {
        panic!("two strings")
    };
    assert!(matches!(plain, Cow::Borrowed("plain")));
    assert_eq!(escaped, "escaped");
}

#[test]
fn duplicate_members_are_refused_at_any_depth_and_however_spelled() {
    check_duplicate(r#"{"aud":"a","aud":"b"}"#, "aud");
    check_duplicate(r#"{"aud":"a","aud":"a"}"#, "aud");
    check_duplicate(r#"{"aud":"a","\u0061ud":"b"}"#, "aud");
    check_duplicate(r#"{"\u0061\u0075d":1,"x":2,"a\u0075d":3}"#, "aud");
    check_duplicate(r#"{"x":[{"y":{"z":1,"z":2}}]}"#, "z");
    check_duplicate(r#"{"":1,"":2}"#, "");
    check_duplicate(r#"{"😀":1,"\ud83d\ude00":2}"#, "😀");
    assert!(parse(r#"{"aud":1,"AUD":2,"x":{"aud":3}}"#).is_ok(), "different names or objects");
}

#[test]
fn a_duplicate_among_many_members_is_found() {
    for count in [15, 16, 17, 18, 500] {
        let mut names: Vec<String> = (0..count).map(|n| format!("\"n{n}\":{n}")).collect();
        assert!(parse(&format!("{{{}}}", names.join(","))).is_ok(), "{count}");
        names.push("\"\\u006e0\":9".to_owned());
        check_duplicate(&format!("{{{}}}", names.join(",")), "n0");
    }
}

#[test]
fn names_that_mean_something_elsewhere_mean_nothing_here() {
    let value = parse(r#"{"__proto__":{"a":1},"constructor":2}"#).expect("JSON");
    assert_eq!(value.get("a"), None);
    let raw = parse(r#"{"$serde_json::private::RawValue":"1"}"#).expect("JSON");
    assert!(raw.get("$serde_json::private::RawValue").is_some());
}

#[test]
fn nesting_stops_at_the_bound() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let nested = |depth: usize| {
            let inner = if open == "[" { "" } else { "0" };
            format!("{}{inner}{}", open.repeat(depth), close.repeat(depth))
        };
        assert!(parse(&nested(JSON_DEPTH_MAX)).is_ok());
        assert_eq!(parse(&nested(JSON_DEPTH_MAX + 1)), Err(JsonError::TooDeep));
        assert_eq!(parse(&nested(5_000)), Err(JsonError::TooDeep));
    }
    assert_eq!(parse(&"[".repeat(60_000)), Err(JsonError::TooDeep));
}

#[test]
fn numbers_are_finite_and_integers_exact() {
    for wrong in ["1e400", "-1e400", "NaN", "Infinity", "-Infinity", "01", "1.", ".5", "+1", "0x1"]
    {
        check_syntax(wrong.as_bytes());
    }
    assert_eq!(parse("9223372036854775807"), Ok(Json::Integer(i64::MAX)));
    assert_eq!(parse("-9223372036854775808"), Ok(Json::Integer(i64::MIN)));
    for large in ["9223372036854775808", "18446744073709551616", "1e300", "1.0"] {
        assert_eq!(parse(large).expect("a number").as_i64(), None, "{large}");
    }
}

#[test]
fn strings_are_unicode() {
    check_syntax(br#""\ud800""#);
    check_syntax(br#""\udc00""#);
    check_syntax(br#""\ud800\u0041""#);
    check_syntax(br#"{"\udfff":1}"#);
    check_syntax(b"\"\xff\"");
    check_syntax(b"\"\xed\xa0\x80\"");
    check_syntax(b"\"\xc0\xaf\"");
    check_syntax(b"\"a\nb\"");
    check_syntax(b"\xef\xbb\xbf{}");
    assert_eq!(parse(r#""\ud83d\ude00""#).expect("a pair").as_str(), Some("😀"));
}

#[test]
fn only_one_value_and_nothing_else_is_read() {
    for wrong in ["", " ", "{} {}", "{}x", "[1,]", "{\"a\":1,}", "{a:1}", "'a'", "[1 2]", "// c\n1"]
    {
        check_syntax(wrong.as_bytes());
    }
    check_syntax(b"{}\0");
    assert!(parse(" {} \n").is_ok());
}

#[test]
fn input_over_the_bound_is_refused_before_it_is_read() {
    assert!(Json::parse(b"[1]", 3).is_ok());
    let error = Json::parse(b"[1] ", 3).expect_err("four bytes");
    assert_eq!(error, JsonError::TooLong { bytes: 4, bytes_max: 3 });
}

#[test]
fn errors_say_what_and_where_and_quote_little() {
    assert_eq!(parse("[1,\n x]").expect_err("x").to_string(), "not JSON at line 2, byte 2");
    let long = "n".repeat(1_000);
    let text = format!(r#"{{"{long}":1,"{long}":2}}"#);
    let message = parse(&text).expect_err("a duplicate").to_string();
    assert!(message.contains("nnn…`") && message.len() < 200, "{message}");
    assert_eq!(quoted("a`b\n\u{202e}"), "a\\u{60}b\\n\\u{202e}");
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Json::parse(&bytes, MAX);
    }

    #[test]
    fn nothing_that_looks_like_json_makes_it_panic(text in r#"[\[\]{}",:0-9a-u\\.eE \-]{0,80}"#) {
        let _ = Json::parse(text.as_bytes(), MAX);
    }

    #[test]
    fn a_name_twice_is_refused_whatever_it_is(name: String, escaped: bool) {
        let plain = serde_json::to_string(&name).expect("written");
        let second = if escaped {
            let units = name.encode_utf16().map(|unit| format!("\\u{unit:04x}"));
            format!("\"{}\"", units.collect::<String>())
        } else {
            plain.clone()
        };
        let text = format!("{{{plain}:1,{second}:2}}");
        prop_assert_eq!(parse(&text), Err(JsonError::DuplicateMember(quoted(&name))));
    }

    #[test]
    fn what_is_accepted_means_what_others_read(text in r#"[\[{]("[a-c]":)?[0-9]{1,3}(,("[a-c]":)?(-?[0-9]\.[1-9]|"x"|null|true)){0,3}[\]}]"#) {
        if let Ok(value) = parse(&text) {
            let other: serde_json::Value = serde_json::from_str(&text).expect("accepted by us");
            prop_assert_eq!(serde_json::to_value(&value).expect("written"), other);
        }
    }
}
