//! The two forms of limits, what is refused in them, their bounds, and what an excess says.

use proptest::prelude::*;

use super::super::*;
use crate::time::Time;

fn permission(text: &str) -> Permission {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn authority(texts: &[&str]) -> Authority {
    Authority::new(texts.iter().map(|text| permission(text))).expect("within the bounds")
}

#[test]
fn the_text_and_the_json_of_each_limit() {
    for (text, json) in [
        ("crm:read", r#"[{"resource":"crm","actions":["read"]}]"#),
        (
            "crm:update(/customers/eu/*; amount<=100; currency in CHF,EUR)",
            r#"[{"resource":"crm","actions":["update"],"object":"/customers/eu/*","constraints":{"amount":{"max":100},"currency":{"one_of":["CHF","EUR"]}}}]"#,
        ),
        (
            "pay:send(amount in 1..100; memo starts \"inv 7\"; note=\"7\"; to=acme)",
            r#"[{"resource":"pay","actions":["send"],"constraints":{"amount":{"min":1,"max":100},"memo":{"prefix":"inv 7"},"note":{"equals":"7"},"to":{"equals":"acme"}}}]"#,
        ),
        (
            "pay:send(n>=-5; size in 1,3,big; from 2030-01-01T00:00:00Z; until 2030-12-31T23:59:59Z)",
            r#"[{"resource":"pay","actions":["send"],"constraints":{"n":{"min":-5},"size":{"one_of":[1,3,"big"]}},"not_before":1893456000,"not_after":1924991999}]"#,
        ),
        // Words of the grammar are names of arguments all the same.
        (
            "m:m(from=x; in in in,starts; starts starts until; until=7)",
            r#"[{"resource":"m","actions":["m"],"constraints":{"from":{"equals":"x"},"in":{"one_of":["in","starts"]},"starts":{"prefix":"until"},"until":{"equals":7}}}]"#,
        ),
    ] {
        let read = authority(&[text]);
        assert_eq!(serde_json::to_string(&read).expect("plain data"), json);
        assert_eq!(serde_json::from_str::<Authority>(json).expect("parses"), read);
        assert_eq!(read.texts().collect::<Vec<_>>(), [text]);
    }
    // Other spellings of the same.
    for (text, canonical) in [
        ("crm:update( amount  <=  100 ;/a/*)", "crm:update(/a/*; amount<=100)"),
        ("crm:update(a in 5)", "crm:update(a=5)"),
        ("crm:update(a in 1, 2 ,3)", "crm:update(a in 1..3)"),
        ("crm:update(a in 4..4)", "crm:update(a=4)"),
        ("crm:update(a = \"EUR\")", "crm:update(a=EUR)"),
        ("crm:update(a=\"x\\\"\\\\)(;\")", "crm:update(a=\"x\\\"\\\\)(;\")"),
        ("crm:update(a in EUR,EUR)", "crm:update(a=EUR)"),
    ] {
        assert_eq!(authority(&[text]).texts().collect::<Vec<_>>(), [canonical], "{text}");
    }
}

#[test]
fn texts_that_are_not_permissions_are_refused() {
    for wrong in [
        "crm:read()",
        "crm:read(",
        "crm:read)",
        "crm:read(/a",
        "crm:read(/a))",
        "crm:read(/a)x",
        "crm:read (/a)",
        "crm:read(/a;)",
        "crm:read(;/a)",
        "crm:read(/a; /b)",
        "crm:read(/a/../b)",
        "crm:read(/a/./b)",
        "crm:read(/a//b)",
        "crm:read(/a/)",
        "crm:read(/)",
        "crm:read(a/b)",
        "crm:read(/a/%2e)",
        "crm:read(/a*)",
        "crm:read(/*/a)",
        "crm:read(/a/**)",
        "crm:read(/a\\b)",
        "crm:read(/a?b)",
        "crm:read(/a#b)",
        "crm:read(/ä)",
        "crm:read(amount)",
        "crm:read(amount<100)",
        "crm:read(amount==100)",
        "crm:read(amount<=)",
        "crm:read(amount<=ten)",
        "crm:read(amount<=1.5)",
        "crm:read(amount<=100.0)",
        "crm:read(amount<=1e3)",
        "crm:read(amount<=007)",
        "crm:read(amount<=-0)",
        "crm:read(amount<=+1)",
        "crm:read(amount<=9007199254740992)",
        "crm:read(amount<=99999999999999999999)",
        "crm:read(amount in 5..1)",
        "crm:read(amount in a..b)",
        "crm:read(amount in)",
        "crm:read(amount in 1,)",
        "crm:read(amount inn 1)",
        "crm:read(amount<=1; amount>=0)",
        "crm:read(a=1; a=1)",
        "crm:read(a starts 5)",
        "crm:read(a=\"unended)",
        "crm:read(a=\"new\\nline\")",
        "crm:read(a=\"\\ud800\")",
        "crm:read(1a=5)",
        "crm:read(a.b=5)",
        "crm:read(from tomorrow)",
        "crm:read(from 2030-01-01)",
        "crm:read(from 2030-01-01T00:00:00.5Z)",
        "crm:read(from 2030-01-01T01:00:00+01:00)",
        "crm:read(from 2030-01-01T00:00:00Z; from 2031-01-01T00:00:00Z)",
        "crm:read(from 2031-01-01T00:00:00Z; until 2030-01-01T00:00:00Z)",
        "crm:read(from 1969-12-31T23:59:59Z)",
        "crm:*(/a)",
        "(/a)",
        "",
    ] {
        assert!(wrong.parse::<Permission>().is_err(), "{wrong}");
    }
    let long = format!("crm:read(a=\"{}\")", "x".repeat(PERMISSION_TEXT_BYTES_MAX));
    assert_eq!(long.parse::<Permission>(), Err(PermissionTextError::TooLong));
}

#[test]
fn json_with_anything_unknown_twice_null_or_of_another_type_is_refused() {
    let with = |members: &str| format!(r#"[{{"resource":"crm","actions":["read"],{members}}}]"#);
    assert!(serde_json::from_str::<Authority>(&with(r#""object":"/a""#)).is_ok());
    for wrong in [
        r#""objects":["/a"]"#,
        r#""object":["/a"]"#,
        r#""object":null"#,
        r#""object":"""#,
        r#""object":"/a","object":"/b""#,
        r#""until":"2030-01-01T00:00:00Z""#,
        r#""not_after":"1893456000""#,
        r#""not_after":"2030-01-01T00:00:00Z""#,
        r#""not_after":1893456000.0"#,
        r#""not_after":null"#,
        r#""not_after":-1"#,
        r#""not_after":253370764800"#,
        r#""not_before":2,"not_after":1"#,
        r#""constraints":{}"#,
        r#""constraints":null"#,
        r#""constraints":[]"#,
        r#""constraints":{"a":{}}"#,
        r#""constraints":{"a":null}"#,
        r#""constraints":{"a":5}"#,
        r#""constraints":{"a":{"max":"5"}}"#,
        r#""constraints":{"a":{"max":5.0}}"#,
        r#""constraints":{"a":{"max":5e0}}"#,
        r#""constraints":{"a":{"max":null}}"#,
        r#""constraints":{"a":{"max":null,"min":1}}"#,
        r#""constraints":{"a":{"max":9007199254740992}}"#,
        r#""constraints":{"a":{"min":6,"max":5}}"#,
        r#""constraints":{"a":{"max":5,"max":6}}"#,
        r#""constraints":{"a":{"max":5},"a":{"max":6}}"#,
        r#""constraints":{"a":{"max":5,"prefix":"x"}}"#,
        r#""constraints":{"a":{"maximum":5}}"#,
        r#""constraints":{"a":{"regex":".*"}}"#,
        r#""constraints":{"a":{"not":5}}"#,
        r#""constraints":{"a":{"max":5,"unless":1}}"#,
        r#""constraints":{"a":{"one_of":[]}}"#,
        r#""constraints":{"a":{"one_of":"x"}}"#,
        r#""constraints":{"a":{"one_of":[true]}}"#,
        r#""constraints":{"a":{"one_of":[1.5]}}"#,
        r#""constraints":{"a":{"equals":null}}"#,
        r#""constraints":{"a":{"equals":[1]}}"#,
        r#""constraints":{"a":{"equals":"\n"}}"#,
        r#""constraints":{"a":{"prefix":5}}"#,
        r#""constraints":{"":{"max":5}}"#,
        r#""constraints":{"a b":{"max":5}}"#,
        r#""constraints":{"ä":{"max":5}}"#,
    ] {
        let text = with(wrong);
        assert!(serde_json::from_str::<Authority>(&text).is_err(), "{wrong}");
        if let Ok(json) = crate::json::Json::parse(text.as_bytes(), 1 << 20) {
            assert!(<Authority as serde::Deserialize>::deserialize(&json).is_err(), "{wrong}");
        }
    }
}

#[test]
fn a_constrained_argument_that_is_missing_or_of_another_type_means_no() {
    let held = authority(&["pay:send(/eu/*; amount<=100; currency in EUR,CHF)"]);
    let now = Time::from_seconds(1);
    let ask = |object: Option<&str>, json: &str| {
        let json = crate::json::Json::parse(json.as_bytes(), 4096).expect("strict JSON");
        let arguments = Arguments::from_json(&json).expect("an object");
        held.allow(("pay", "send"), object, &arguments, now)
    };
    let eu = Some("/eu/7");
    let amount = || Denial::Argument(ArgumentName::new("amount").expect("a name"));
    let currency = || Denial::Argument(ArgumentName::new("currency").expect("a name"));
    assert_eq!(ask(eu, r#"{"amount":100,"currency":"EUR","more":[1.5]}"#), Ok(()));
    assert_eq!(ask(None, r#"{"amount":100,"currency":"EUR"}"#), Err(Denial::Object));
    assert_eq!(ask(Some("/us/7"), r#"{"amount":1,"currency":"EUR"}"#), Err(Denial::Object));
    for wrong in
        ["101", "1.5", "100.0", "1e1", "\"5\"", "null", "true", "[5]", "9223372036854775808"]
    {
        let json = format!(r#"{{"amount":{wrong},"currency":"EUR"}}"#);
        assert_eq!(ask(eu, &json), Err(amount()), "{wrong}");
    }
    assert_eq!(ask(eu, r#"{"currency":"EUR"}"#), Err(amount()));
    assert_eq!(ask(eu, r#"{"amount":-5,"currency":"eur"}"#), Err(currency()));
    assert_eq!(ask(eu, r#"{"amount":5,"Currency":"EUR"}"#), Err(currency()));
    assert!(Arguments::from_json(&crate::json::Json::Array(vec![])).is_none());

    let serde_json::Value::Object(members) = serde_json::json!({"amount": 5, "currency": "CHF"})
    else {
        panic!("an object");
    };
    let arguments = Arguments::from_members(&members);
    assert_eq!(held.allow(("pay", "send"), eu, &arguments, now), Ok(()));
    assert_eq!(held.allow(("pay", "Send"), eu, &arguments, now), Err(Denial::Action));
    assert_eq!(held.allow(("pa", "send"), eu, &arguments, now), Err(Denial::Action));
    let twice = Arguments::none().integer("amount", 5).integer("amount", 5).text("currency", "CHF");
    assert_eq!(held.allow(("pay", "send"), eu, &twice, now), Err(amount()));
}

#[test]
fn a_window_includes_both_of_its_seconds() {
    let held = authority(&["crm:read(from 2030-01-01T00:00:00Z; until 2030-01-01T00:00:10Z)"]);
    let start = 1_893_456_000_000_000;
    for (micros, expected) in [
        (start - 1, Err(Denial::Time)),
        (start, Ok(())),
        (start + 10_999_999, Ok(())),
        (start + 11_000_000, Err(Denial::Time)),
    ] {
        let now = Time::from_micros(micros);
        assert_eq!(held.allow(("crm", "read"), None, &Arguments::none(), now), expected);
    }
}

#[test]
fn an_excess_says_what_would_have_grown_and_by_how_much() {
    let held = authority(&[
        "pay:send(/eu/*; amount<=100; currency in EUR,CHF; until 2030-01-01T00:00:00Z)",
        "pay:read",
        "pay:refund(amount in 1..10)",
        "pay:note(text starts inv-)",
    ]);
    let limits = "/eu/*; amount<=100; currency in EUR,CHF; until 2030-01-01T00:00:00Z";
    for (asked, said) in [
        (
            format!("pay:send({})", limits.replace("<=100", "<=500")),
            "`pay:send` (`amount` up to 500, but only up to 100 is allowed)",
        ),
        (
            format!("pay:send({})", limits.replace("<=100", " in 50..500")),
            "`pay:send` (`amount` from 50 to 500, but only up to 100 is allowed)",
        ),
        (
            format!("pay:send({})", limits.replace("; amount<=100", "")),
            "`pay:send` (`amount` without limit, but only up to 100 is allowed)",
        ),
        (
            format!("pay:send({})", limits.replace("EUR,CHF", "CHF,USD,GBP")),
            "`pay:send` (`currency` of `GBP`, `USD`, which is not allowed)",
        ),
        (
            format!("pay:send({})", limits.replace("; currency in EUR,CHF", "")),
            "`pay:send` (`currency` without limit, and not every value is allowed)",
        ),
        (
            format!("pay:send({})", limits.replace("/eu", "")),
            "`pay:send` (on `/*`, and not all of that is allowed)",
        ),
        (
            format!("pay:send({})", limits.replace("until 2030", "until 2031")),
            "`pay:send` (until 2031-01-01T00:00:00Z, and only until 2030-01-01T00:00:00Z is allowed)",
        ),
        (
            "pay:send(amount<=500; currency=EUR)".to_owned(),
            "`pay:send` (on any object, and not all are allowed; `amount` up to 500, but only up \
             to 100 is allowed; without an end, and only until 2030-01-01T00:00:00Z is allowed)",
        ),
        (
            "pay:refund(amount=50)".to_owned(),
            "`pay:refund` (`amount` of 50, but only 1 to 10 is allowed)",
        ),
        (
            "pay:note(text starts in)".to_owned(),
            "`pay:note` (`text` starting `in`, and not all of that is allowed)",
        ),
        ("pay:drop(amount<=1)".to_owned(), "`pay:drop`"),
        ("crm:read".to_owned(), "`crm:read`"),
    ] {
        let excess = attenuate(&held, &authority(&[&asked])).expect_err("more than there is");
        let said = format!("{said} would exceed the authority it is derived from");
        assert_eq!(excess.to_string(), said, "{asked}");
    }
    // What is allowed and was not asked for is not told.
    let excess = attenuate(&held, &authority(&["pay:note(text=other)"])).expect_err("another");
    assert!(!excess.to_string().contains("inv-"), "{excess}");
}

#[test]
fn an_excess_is_bounded_whatever_was_asked_for() {
    let values: Vec<Value> = (0..7).map(|n| Value::from(&*"ä`\u{202e}".repeat(12 + n))).collect();
    let constraint = Constraint::one_of(values).expect("values");
    let name = |n| ArgumentName::new(&format!("{}{n}", "a".repeat(60))).expect("a name");
    let limits = |constraint: &Constraint| {
        let all = (0..2).map(|n| (name(n), constraint.clone())).collect();
        Limits::new(None, all, (None, None)).expect("limits")
    };
    let permissions = |constraint| {
        (0..9).map(move |n| {
            let resource = format!("r{n}").parse().expect("a name");
            let action = "x".parse().expect("a name");
            Permission::limited(resource, [action].into(), limits(constraint))
        })
    };
    let asked = Authority::new(permissions(&constraint)).expect("bounded");
    let one = Constraint::equals("one").expect("a value");
    let parent = Authority::new(permissions(&one)).expect("bounded");
    let text = attenuate(&parent, &asked).expect_err("more").to_string();
    assert!(text.len() < 4 * EXCESS_BYTES_MAX, "{}", text.len());
    assert!(text.contains(" more would exceed"), "{text}");
    assert!(!text.contains('\u{202e}'));
}

#[test]
fn limits_are_bounded_and_what_a_meet_has_beyond_is_left_out_never_widened() {
    let many = |n: usize| (0..n).map(|i| permission(&format!("crm:read(n={})", 2 * i)));
    assert!(Authority::new(many(LIMITED_MAX)).is_ok());
    let crm: ResourceName = "crm".parse().expect("a name");
    let beyond = Err(AuthorityError::TooManyLimited(crm.clone()));
    assert_eq!(Authority::new(many(LIMITED_MAX + 1)), beyond);

    let a =
        Authority::new((0..8).map(|i| permission(&format!("crm:read(a={})", 2 * i)))).expect("ok");
    let b =
        Authority::new((0..8).map(|i| permission(&format!("crm:read(b={})", 2 * i)))).expect("ok");
    let both = a.meet(&b);
    assert_eq!(both.permissions().len(), LIMITED_MAX);
    assert!(a.covers(&both) && b.covers(&both));
    assert_eq!(both, b.meet(&a));
    assert_eq!(a.try_meet(&b), beyond);
    assert!(attenuate(&a, &both).is_ok());

    let constrained = |names: std::ops::Range<usize>| {
        let parts: Vec<String> = names.map(|n| format!("a{n}=1")).collect();
        format!("crm:read({})", parts.join("; "))
    };
    let all = constrained(0..CONSTRAINTS_MAX);
    assert!(all.parse::<Permission>().is_ok());
    let error = constrained(0..CONSTRAINTS_MAX + 1).parse::<Permission>();
    assert_eq!(error, Err(PermissionTextError::Limits(LimitsError::TooManyConstraints)));
    let more = authority(&[&constrained(1..CONSTRAINTS_MAX + 1)]);
    let all = authority(&[&all]);
    assert_eq!(all.meet(&more), Authority::none(), "17 constraints are not 16");
    let error = AuthorityError::Limits(crm, LimitsError::TooManyConstraints);
    assert_eq!(all.try_meet(&more), Err(error));

    let long = |n: usize| Constraint::one_of((0..n).map(|i| Value::from(&*format!("{i:0>250}x"))));
    let of = |constraint: Constraint| {
        let name = ArgumentName::new("a").expect("a name");
        Limits::new(None, [(name, constraint)].into(), (None, None))
    };
    assert!(of(long(8).expect("values")).is_ok());
    assert_eq!(of(long(9).expect("values")), Err(LimitsError::TooLong));
    let values = |n: usize| Constraint::one_of((0..n).map(|i| Value::Integer(2 * i as i64)));
    assert!(values(VALUES_MAX).is_ok());
    assert_eq!(values(VALUES_MAX + 1), Err(ConstraintError::TooManyValues));
    assert_eq!(Constraint::one_of([]), Err(ConstraintError::Empty));
    assert_eq!(Constraint::range(None, None), Err(ConstraintError::Kind));
    assert!(Constraint::prefix(&"x".repeat(VALUE_BYTES_MAX)).is_ok());
    assert_eq!(Constraint::prefix(&"x".repeat(VALUE_BYTES_MAX + 1)), Err(ConstraintError::Value));

    let segments = |n: usize| "/a".repeat(n).parse::<ObjectPattern>();
    assert!(segments(PATTERN_SEGMENTS_MAX).is_ok());
    assert_eq!(segments(PATTERN_SEGMENTS_MAX + 1), Err(PatternError));
    let bytes = |n: usize| format!("/{}", "a".repeat(n - 1)).parse::<ObjectPattern>();
    assert!(bytes(PATTERN_BYTES_MAX).is_ok());
    assert_eq!(bytes(PATTERN_BYTES_MAX + 1), Err(PatternError));
    let all: ObjectPattern = "/*".parse().expect("a pattern");
    assert!(all.matches(&format!("/{}", "a".repeat(OBJECT_BYTES_MAX - 1))));
    assert!(!all.matches(&format!("/{}", "a".repeat(OBJECT_BYTES_MAX))));
}

#[test]
fn an_object_has_one_spelling() {
    let all: ObjectPattern = "/a/*".parse().expect("a pattern");
    for object in ["/a/b", "/a/b/c", "/a/B", "/a/~+@:=", "/a/...", "/a/.b"] {
        assert!(all.matches(object), "{object}");
    }
    for wrong in [
        "/a", "/a/", "/a//b", "/a/.", "/a/..", "/a/../b", "/a/./b", "/a/%62", "/a/b%2fc", "/a/*",
        "/a/b?c", "/a/b;c", "/a/b#c", "/a\\b", "/a/b c", "/a/b\0", "/a/b\n", "/a/ä", "/A/b", "a/b",
        "//a/b", "/b/a/c", "/ab/c", "", "/",
    ] {
        assert!(!all.matches(wrong), "{wrong:?}");
    }
}

#[test]
fn one_limit_within_another_is_one_permission_and_no_limit_takes_all() {
    let held = authority(&["a:x(n<=5)", "a:x(n<=9)", "a:y(n<=5)", "a:z(/q)", "a:z", "a:x(n<=5)"]);
    assert_eq!(
        held.texts().collect::<Vec<_>>(),
        ["a:z", "a:y(n<=5)", "a:x(n<=9)"],
        "in the order of the limits"
    );
    assert_eq!(held.scope().expect("small").to_string(), "a:z");
    assert_eq!(held.resources().count(), 1);
    assert!(!held.is_plain() && held.plain().is_plain());
    // What two give only together is asked for in two.
    let two = authority(&["a:x(n in 1..5)", "a:x(n in 6..9)"]);
    assert!(attenuate(&two, &authority(&["a:x(n in 1..9)"])).is_err());
    assert!(attenuate(&two, &authority(&["a:x(n in 2..5)", "a:x(n in 6..8)"])).is_ok());
}

proptest! {
    #[test]
    fn no_text_panics_and_what_is_read_is_written_so_that_it_is_read_again(
        text in r#"(a:b\()?[a-c/*;=<>.,"\\ 0-9inftsu:TZ-]{0,40}\)?|\PC{0,40}"#,
    ) {
        if let Ok(read) = text.parse::<Permission>() {
            let again: Vec<String> = read.texts().collect();
            prop_assert_eq!(again.len(), 1);
            prop_assert_eq!(again[0].parse::<Permission>(), Ok(read));
        }
    }

    #[test]
    fn every_value_survives_both_forms(text in "\\PC{0,60}", number in any::<i64>(), prefix in any::<bool>()) {
        let made = if prefix { Constraint::prefix(&text) } else {
            Constraint::one_of([Value::from(&*text), Value::Integer(number % (1 << 53))])
        };
        if let Ok(constraint) = made {
            let name = ArgumentName::new("a").expect("a name");
            let limits = Limits::new(None, [(name, constraint)].into(), (None, None)).expect("limits");
            let held = Permission::limited("r".parse().expect("r"), ["a".parse().expect("a")].into(), limits);
            let written: Vec<String> = held.texts().collect();
            prop_assert_eq!(written[0].parse::<Permission>(), Ok(held.clone()));
            let json = serde_json::to_string(&held).expect("plain data");
            prop_assert_eq!(serde_json::from_str::<Permission>(&json).expect("read again"), held);
        }
    }
}
