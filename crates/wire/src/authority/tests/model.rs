//! Limits against a brute-force model: every question of a small universe, answered naively from
//! what was written, without the types under test.

use proptest::prelude::*;

use super::super::*;
use crate::time::Time;

/// A constraint as somebody writes it.
#[derive(Clone, Debug)]
enum Said {
    OneOf(Vec<Value>),
    Prefix(&'static str),
    Range(Option<i64>, Option<i64>),
}

/// A permission as somebody writes it: action, object, two arguments, window.
type Wish = (&'static str, Option<&'static str>, [Option<Said>; 2], (Option<i64>, Option<i64>));

/// One question. An argument that is there and is neither text nor integer is `Some(None)`.
type Question = (&'static str, Option<&'static str>, [Option<Option<Value>>; 2], i64);

const ACTIONS: [&str; 2] = ["read", "update"];
const PATTERNS: [&str; 7] = ["/*", "/a", "/a/*", "/a/b", "/a/b/*", "/b", "/ab"];
const OBJECTS: [Option<&str>; 12] = [
    None,
    Some("/a"),
    Some("/a/b"),
    Some("/a/z"),
    Some("/a/b/z"),
    Some("/b"),
    Some("/ab"),
    Some("/z"),
    // No objects: each matches no pattern, and is no reason where there is none.
    Some("/a/../b"),
    Some("/a/%62"),
    Some("/a/"),
    Some("a/b"),
];
const TIMES: [i64; 5] = [5, 10, 15, 20, 25];

fn int(number: i64) -> Value {
    Value::Integer(number)
}

fn questions() -> Vec<Question> {
    let ints = [-9, 0, 1, 2, 3, 99].map(|number| Some(Some(int(number))));
    let texts = ["", "a", "ab", "az", "b", "1"].map(|text| Some(Some(Value::from(text))));
    let xs: Vec<_> = ints.into_iter().chain(texts).chain([None, Some(None)]).collect();
    let mut all = Vec::new();
    for action in ACTIONS {
        for object in OBJECTS {
            for x in &xs {
                for y in [None, Some(Some(int(1)))] {
                    all.extend(TIMES.map(|at| (action, object, [x.clone(), y.clone()], at)));
                }
            }
        }
    }
    all
}

fn naively(wish: &Wish, question: &Question) -> bool {
    let object = match (wish.1, question.1) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(pattern), Some(object)) => {
            let segments: Vec<&str> = object.split('/').collect();
            let sound = segments[0].is_empty()
                && segments[1..].iter().all(|s| !["", ".", ".."].contains(s) && !s.contains('%'));
            let wanted: Vec<&str> = pattern.split('/').collect();
            sound
                && match wanted.split_last() {
                    Some((&"*", stem)) => {
                        segments.len() > stem.len() && segments[..stem.len()] == *stem
                    }
                    _ => segments == wanted,
                }
        }
    };
    let argument = |said: &Option<Said>, given: &Option<Option<Value>>| match (said, given) {
        (None, _) => true,
        (Some(Said::OneOf(values)), Some(Some(given))) => values.contains(given),
        (Some(Said::Prefix(prefix)), Some(Some(Value::Text(text)))) => text.starts_with(prefix),
        (Some(Said::Range(min, max)), Some(Some(Value::Integer(number)))) => {
            *number >= min.unwrap_or(i64::MIN) && *number <= max.unwrap_or(i64::MAX)
        }
        (Some(_), None | Some(_)) => false,
    };
    wish.0 == question.0
        && object
        && argument(&wish.2[0], &question.2[0])
        && argument(&wish.2[1], &question.2[1])
        && wish.3.0.is_none_or(|from| from <= question.3)
        && wish.3.1.is_none_or(|to| question.3 <= to)
}

fn built(wishes: &[Wish]) -> Authority {
    Authority::new(wishes.iter().map(|(action, object, said, window)| {
        let mut constraints = std::collections::BTreeMap::new();
        for (name, said) in ["x", "y"].into_iter().zip(said) {
            let Some(said) = said else { continue };
            let constraint = match said {
                Said::OneOf(values) => Constraint::one_of(values.clone()),
                Said::Prefix(prefix) => Constraint::prefix(prefix),
                Said::Range(min, max) => Constraint::range(*min, *max),
            };
            let name = ArgumentName::new(name).expect("a name");
            constraints.insert(name, constraint.expect("a constraint"));
        }
        let object = object.map(|object| object.parse().expect("a pattern"));
        let limits = Limits::new(object, constraints, *window).expect("limits");
        let resource = "crm".parse().expect("a name");
        Permission::limited(resource, [action.parse().expect("a name")].into(), limits)
    }))
    .expect("within the bounds")
}

fn answers(authority: &Authority, questions: &[Question]) -> Vec<bool> {
    let answer = |(action, object, given, at): &Question| {
        let mut arguments = Arguments::none();
        for (name, given) in ["x", "y"].into_iter().zip(given) {
            arguments = match given {
                None => arguments,
                Some(Some(Value::Integer(number))) => arguments.integer(name, *number),
                Some(Some(Value::Text(text))) => arguments.text(name, text),
                // Twice is nothing that could be allowed.
                Some(None) => arguments.integer(name, 1).integer(name, 1),
            };
        }
        let now = Time::from_seconds(*at);
        authority.allow(("crm", action), *object, &arguments, now).is_ok()
    };
    questions.iter().map(answer).collect()
}

fn is_subset(inner: &[bool], outer: &[bool]) -> bool {
    inner.iter().zip(outer).all(|(inner, outer)| !inner || *outer)
}

fn said() -> impl Strategy<Value = Said> {
    let value = prop_oneof![
        (0i64..4).prop_map(int),
        prop::sample::select(vec!["", "a", "ab", "b"]).prop_map(Value::from)
    ];
    let range = (prop::option::of(0i64..4), prop::option::of(0i64..4))
        .prop_filter("not both open, not empty", |(min, max)| {
            (min.is_some() || max.is_some()) && min.unwrap_or(0) <= max.unwrap_or(9)
        });
    prop_oneof![
        prop::collection::vec(value, 1..5).prop_map(Said::OneOf),
        prop::sample::select(vec!["", "a", "ab"]).prop_map(Said::Prefix),
        range.prop_map(|(min, max)| Said::Range(min, max)),
    ]
}

fn wish() -> impl Strategy<Value = Wish> {
    let end = || prop::sample::select(vec![None, None, Some(10i64), Some(20)]);
    let window =
        (end(), end()).prop_filter("not empty", |(from, to)| from.unwrap_or(0) <= to.unwrap_or(99));
    let y = prop::option::weighted(0.3, Just(Said::Range(Some(0), Some(5))));
    (
        prop::sample::select(ACTIONS.to_vec()),
        prop::option::of(prop::sample::select(PATTERNS.to_vec())),
        (prop::option::of(said()), y).prop_map(|(x, y)| [x, y]),
        window,
    )
}

fn wishes() -> impl Strategy<Value = Vec<Wish>> {
    prop::collection::vec(wish(), 0..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn an_authority_allows_what_its_permissions_say(a in wishes()) {
        let questions = questions();
        let naive: Vec<bool> =
            questions.iter().map(|one| a.iter().any(|wish| naively(wish, one))).collect();
        prop_assert_eq!(answers(&built(&a), &questions), naive);
    }

    #[test]
    fn meet_is_what_both_allow_and_a_lattice_operation(a in wishes(), b in wishes(), c in wishes()) {
        let (x, y, z) = (built(&a), built(&b), built(&c));
        let both = x.meet(&y);
        let questions = questions();
        let (of_x, of_y) = (answers(&x, &questions), answers(&y, &questions));
        let expected: Vec<bool> = of_x.iter().zip(&of_y).map(|(x, y)| *x && *y).collect();
        prop_assert_eq!(answers(&both, &questions), expected);
        prop_assert_eq!(&both, &y.meet(&x));
        prop_assert_eq!(x.try_meet(&y), Ok(both.clone()));
        prop_assert_eq!(both.meet(&z), x.meet(&y.meet(&z)));
        prop_assert_eq!(&x.meet(&x), &x);
        prop_assert_eq!(&both.meet(&x), &both, "absorbed");
        prop_assert!(x.covers(&both) && y.covers(&both));
        prop_assert_eq!(x.covers(&y), x.meet(&y) == y);
    }

    #[test]
    fn covers_is_a_partial_order(a in wishes(), b in wishes(), c in wishes()) {
        let (x, y, z) = (built(&a), built(&b), built(&c));
        prop_assert!(x.covers(&x) && x.covers(&Authority::none()));
        if x.covers(&y) {
            let questions = questions();
            prop_assert!(is_subset(&answers(&y, &questions), &answers(&x, &questions)));
            prop_assert!(!y.covers(&x) || x == y, "antisymmetric");
            prop_assert!(!y.covers(&z) || x.covers(&z), "transitive");
        }
        // Along a chain of meets, where it is not vacuous.
        let (xy, xyz) = (x.meet(&y), x.meet(&y).meet(&z));
        prop_assert!(x.covers(&xy) && xy.covers(&xyz) && x.covers(&xyz));
    }

    #[test]
    fn of_single_permissions_covers_is_exactly_inclusion(a in wish(), b in wish()) {
        let (x, y) = (built(&[a]), built(&[b]));
        let questions = questions();
        let (of_x, of_y) = (answers(&x, &questions), answers(&y, &questions));
        prop_assert_eq!(x.covers(&y), is_subset(&of_y, &of_x));
        prop_assert_eq!(x == y, of_x == of_y, "one set, one form");
    }

    #[test]
    fn attenuate_is_ok_exactly_where_covered(a in wishes(), b in wishes()) {
        let (parent, asked) = (built(&a), built(&b));
        match attenuate(&parent, &asked) {
            Ok(derived) => {
                prop_assert!(parent.covers(&asked));
                prop_assert_eq!(&derived, &asked);
            }
            Err(excess) => {
                prop_assert!(!parent.covers(&asked));
                prop_assert!(!excess.grown().is_empty());
                for token in excess.tokens() {
                    prop_assert!(b.iter().any(|wish| wish.0 == token.action.as_str()));
                }
                let text = excess.to_string();
                prop_assert!(text.len() < 2 * EXCESS_BYTES_MAX && text.contains("would exceed"));
            }
        }
        // What both allow can always be had.
        let both = parent.meet(&asked);
        prop_assert_eq!(attenuate(&parent, &both), Ok(both));
    }

    #[test]
    fn json_and_text_round_trip_and_equal_sets_have_equal_json(
        a in wishes().prop_flat_map(|a| (Just(a.clone()), Just(a).prop_shuffle())),
    ) {
        let (x, shuffled) = (built(&a.0), built(&a.1));
        prop_assert_eq!(&x, &shuffled);
        let json = serde_json::to_string(&x).expect("plain data");
        prop_assert_eq!(&json, &serde_json::to_string(&shuffled).expect("plain data"));
        prop_assert_eq!(&serde_json::from_str::<Authority>(&json).expect("what was written"), &x);
        let strict = crate::json::Json::parse(json.as_bytes(), 1 << 20).expect("strict JSON");
        prop_assert_eq!(&<Authority as serde::Deserialize>::deserialize(&strict).expect("the same"), &x);
        let texts: Vec<String> = x.texts().collect();
        let read = texts.iter().map(|text| text.parse::<Permission>().expect("what was written"));
        prop_assert_eq!(&Authority::new(read).expect("bounded"), &x);
    }

    #[test]
    fn what_has_limits_is_in_no_scope(a in wishes()) {
        let x = built(&a);
        let scope = x.scope().expect("small");
        prop_assert_eq!(&Authority::from(&scope), &x.plain());
        let parts = x.plain().permissions().iter().chain(x.limited().permissions()).cloned().collect::<Vec<_>>();
        prop_assert_eq!(&Authority::new(parts).expect("bounded"), &x);
        let questions = questions();
        prop_assert!(is_subset(&answers(&Authority::from(&scope), &questions), &answers(&x, &questions)));
        prop_assert!(x.limited().tokens().next().is_none());
    }
}
