//! The lattice against a set of pairs of strings, which is what it must behave like.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

mod forms;
mod model;

type Model = BTreeSet<(String, String)>;

const RESOURCES: [&str; 4] = ["crm", "crm.eu", "crm-eu", "mail"];
const ACTIONS: [&str; 5] = ["read", "readwrite", "Read", "write", "delete"];

fn permission(resource: &str, actions: &[&str]) -> Permission {
    Permission::plain(
        resource.parse().expect("a resource name"),
        actions.iter().map(|action| action.parse().expect("an action name")).collect(),
    )
}

fn authority(model: &Model) -> Authority {
    Authority::new(model.iter().map(|(resource, action)| permission(resource, &[action])))
        .expect("within the bounds")
}

fn model(authority: &Authority) -> Model {
    authority.tokens().map(|t| (t.resource.to_string(), t.action.to_string())).collect()
}

fn scope(text: &str) -> Scope {
    text.parse().expect("a scope")
}

fn models() -> impl Strategy<Value = Model> {
    proptest::collection::btree_set((0usize..4, 0usize..5), 0..20).prop_map(|pairs| {
        pairs.into_iter().map(|(r, a)| (RESOURCES[r].to_owned(), ACTIONS[a].to_owned())).collect()
    })
}

proptest! {
    #[test]
    fn an_authority_is_the_set_of_its_pairs(a in models()) {
        let built = authority(&a);
        prop_assert_eq!(model(&built), a.clone());
        for resource in RESOURCES {
            for action in ACTIONS {
                let (r, c) = (resource.parse().expect("name"), action.parse().expect("name"));
                let expected = a.contains(&(resource.to_owned(), action.to_owned()));
                prop_assert_eq!(built.allows(&r, &c), expected);
            }
        }
        prop_assert!(built.permissions().is_sorted_by(|x, y| x.resource < y.resource));
    }

    #[test]
    fn order_of_construction_does_not_matter(pairs in models().prop_map(|m| m.into_iter().collect::<Vec<_>>()).prop_shuffle()) {
        let shuffled = Authority::new(pairs.iter().map(|(r, a)| permission(r, &[a]))).expect("bounded");
        prop_assert_eq!(shuffled, authority(&pairs.into_iter().collect()));
    }

    #[test]
    fn meet_is_intersection_and_a_lattice_operation(a in models(), b in models(), c in models()) {
        let (x, y, z) = (authority(&a), authority(&b), authority(&c));
        prop_assert_eq!(model(&x.meet(&y)), a.intersection(&b).cloned().collect::<Model>());
        prop_assert_eq!(x.meet(&y), y.meet(&x));
        prop_assert_eq!(x.meet(&y).meet(&z), x.meet(&y.meet(&z)));
        prop_assert_eq!(x.meet(&x), x.clone());
        prop_assert!(x.covers(&x.meet(&y)) && y.covers(&x.meet(&y)));
        prop_assert_eq!(x.covers(&y), b.is_subset(&a));
        prop_assert_eq!(x.covers(&y), x.meet(&y) == y);
    }

    #[test]
    fn attenuate_never_enlarges_and_names_every_excess(a in models(), b in models()) {
        let (parent, asked) = (authority(&a), authority(&b));
        let excess: Model = b.difference(&a).cloned().collect();
        match attenuate(&parent, &asked) {
            Ok(derived) => {
                prop_assert!(excess.is_empty());
                prop_assert!(parent.covers(&derived));
                prop_assert_eq!(derived, asked);
            }
            Err(refused) => {
                let named: Model = refused.tokens()
                    .map(|t| (t.resource.to_string(), t.action.to_string())).collect();
                prop_assert!(!named.is_empty());
                prop_assert_eq!(named, excess);
            }
        }
    }

    #[test]
    fn authority_grows_nowhere_along_a_chain(root in models(), hops in proptest::collection::vec(models(), 0..6)) {
        let root = authority(&root);
        let mut held = root.clone();
        for hop in hops {
            let next = attenuate(&held, &held.meet(&authority(&hop))).expect("a meet is covered");
            prop_assert!(held.covers(&next) && root.covers(&next));
            held = next;
        }
    }

    #[test]
    fn scope_and_authority_are_two_forms_of_one_set(a in models(), b in models()) {
        let (x, y) = (authority(&a), authority(&b));
        let (s, t) = (x.scope().expect("small"), y.scope().expect("small"));
        prop_assert_eq!(Authority::from(&s), x.clone());
        prop_assert_eq!(s.is_subset(&t), y.covers(&x));
        prop_assert_eq!(Authority::from(&s.intersection(&t)), x.meet(&y));
        prop_assert_eq!(s.resources().len(), x.permissions().len());
    }

    #[test]
    fn text_and_json_round_trip(a in models()) {
        let built = authority(&a);
        let json = serde_json::to_string(&built).expect("serializes");
        prop_assert_eq!(serde_json::from_str::<Authority>(&json).expect("parses"), built.clone());
        let scope = built.scope().expect("small");
        if !scope.is_empty() {
            prop_assert_eq!(scope.to_string().parse::<Scope>(), Ok(scope.clone()));
            let json = serde_json::to_string(&scope).expect("serializes");
            prop_assert_eq!(serde_json::from_str::<Scope>(&json).expect("parses"), scope);
        }
    }

    #[test]
    fn no_text_makes_a_scope_panic_and_each_set_has_one_spelling(text in "[a-c:. *\\PC]{0,40}") {
        if let Ok(scope) = text.parse::<Scope>() {
            let mut sorted: Vec<&str> = text.split(' ').collect();
            sorted.sort_unstable();
            let own = scope.to_string();
            let mut again: Vec<&str> = own.split(' ').collect();
            again.sort_unstable();
            prop_assert_eq!(again, sorted);
        }
    }
}

#[test]
fn scope_tricks_are_refused() {
    for (wrong, error) in [
        ("", ScopeError::Empty),
        (" ", ScopeError::Spaces),
        ("crm:read ", ScopeError::Spaces),
        (" crm:read", ScopeError::Spaces),
        ("crm:read  crm:write", ScopeError::Spaces),
        ("crm:read\tcrm:write", ScopeError::Charset),
        ("crm:read\ncrm:write", ScopeError::Charset),
        ("crm:read\r\ncrm:write", ScopeError::Charset),
        ("crm:read\u{a0}crm:write", ScopeError::Charset),
        ("crm:re\u{430}d", ScopeError::Charset),
        ("\u{ff43}rm:read", ScopeError::Charset),
        ("crm:read\u{200b}", ScopeError::Charset),
        ("crm:read\0", ScopeError::Charset),
        ("crm:\"read\"", ScopeError::Charset),
        ("crm:re\\ad", ScopeError::Charset),
        ("*", ScopeError::NotAToken("*".into())),
        ("crm:*", ScopeError::NotAToken("crm:*".into())),
        ("*:read", ScopeError::NotAToken("*:read".into())),
        ("crm:read*", ScopeError::NotAToken("crm:read*".into())),
        ("crm", ScopeError::NotAToken("crm".into())),
        ("crm:", ScopeError::NotAToken("crm:".into())),
        (":read", ScopeError::NotAToken(":read".into())),
        ("crm:read:all", ScopeError::NotAToken("crm:read:all".into())),
        ("CRM:read", ScopeError::NotAToken("CRM:read".into())),
        ("crm:.read", ScopeError::NotAToken("crm:.read".into())),
        ("crm:read crm:read", ScopeError::Duplicate("crm:read".parse().expect("a token"))),
    ] {
        assert_eq!(wrong.parse::<Scope>(), Err(error), "{wrong:?}");
    }
}

#[test]
fn a_prefix_or_another_case_is_another_action() {
    let readwrite = Authority::from(&scope("crm:readwrite"));
    for asked in ["crm:read", "crm:write", "crm:READWRITE", "crm.eu:readwrite"] {
        let refused = attenuate(&readwrite, &Authority::from(&scope(asked)));
        assert_eq!(refused.expect_err("not covered").tokens().len(), 1, "{asked}");
    }
    let read = Authority::from(&scope("crm:read"));
    assert!(attenuate(&read, &readwrite).is_err());
}

#[test]
fn a_scope_is_bounded_in_tokens_and_in_bytes() {
    let names: Vec<String> = (0..=SCOPE_TOKENS_MAX).map(|n| format!("r:a{n}")).collect();
    assert_eq!(scope(&names[1..].join(" ")).len(), SCOPE_TOKENS_MAX);
    assert_eq!(names.join(" ").parse::<Scope>(), Err(ScopeError::TooMany));
    let all = names.iter().map(|name| name.parse().expect("a token"));
    assert_eq!(Scope::new(all), Err(ScopeError::TooMany));

    let long = |n: usize| format!("{}:{n:064}", "r".repeat(63));
    let texts: Vec<String> = (0..16).map(long).collect();
    let exact = &texts[..15].join(" ");
    let fill = SCOPE_BYTES_MAX - exact.len() - 1;
    let fits = format!("{exact} {}:{}", "x".repeat(fill - 65), "y".repeat(64));
    assert_eq!(fits.len(), SCOPE_BYTES_MAX);
    assert_eq!(scope(&fits).to_string().len(), SCOPE_BYTES_MAX);
    assert_eq!(format!("{fits}y").parse::<Scope>(), Err(ScopeError::TooLong));
    let tokens = texts.iter().map(|text| text.parse().expect("a token"));
    assert_eq!(Scope::new(tokens), Err(ScopeError::TooLong));
    let tokens = fits.split(' ').map(|text| text.parse().expect("a token"));
    assert_eq!(Scope::new(tokens), Ok(scope(&fits)));
}

#[test]
fn names_are_bounded_ascii() {
    for good in ["a", "0", "a.b_c-d", &"r".repeat(63)] {
        assert!(good.parse::<ResourceName>().is_ok(), "{good}");
    }
    for wrong in ["", "A", "-a", ".a", "_a", "a b", "a:b", "a/b", "ä", &"r".repeat(64)] {
        assert_eq!(wrong.parse::<ResourceName>(), Err(NameError::Resource), "{wrong}");
    }
    for good in ["getWeather", "0", &"r".repeat(64)] {
        assert!(good.parse::<ActionName>().is_ok(), "{good}");
    }
    for wrong in ["", "*", "-a", "a b", "a:b", "a/b", "\u{ff41}", "a\u{a0}", &"r".repeat(65)] {
        assert_eq!(wrong.parse::<ActionName>(), Err(NameError::Action), "{wrong}");
    }
}

#[test]
fn an_unknown_constraint_means_no() {
    for wrong in [
        r#"[{"resource":"crm","actions":["read"],"until":"2030-01-01T00:00:00Z"}]"#,
        r#"[{"resource":"crm","actions":["read"],"objects":["a/*"]}]"#,
        r#"[{"resource":"crm","resource":"mail","actions":["read"]}]"#,
        r#"[{"resource":"crm","actions":["read"],"actions":["write"]}]"#,
        r#"[{"resource":"crm","actions":[]}]"#,
        r#"[{"resource":"crm"}]"#,
        r#"[{"actions":["read"]}]"#,
        r#"[{"resource":"crm","actions":["*"]}]"#,
        r#"[{"resource":"crm","actions":"read"}]"#,
        r#"{"resource":"crm","actions":["read"]}"#,
        "[null]",
        "null",
    ] {
        assert!(serde_json::from_str::<Authority>(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn json_is_canonical_and_merges() {
    let text = r#"[{"actions":["write"],"resource":"mail"},{"resource":"crm","actions":["write","read"]},{"resource":"mail","actions":["read","write"]}]"#;
    let read: Authority = serde_json::from_str(text).expect("parses");
    assert_eq!(
        serde_json::to_string(&read).expect("serializes"),
        r#"[{"resource":"crm","actions":["read","write"]},{"resource":"mail","actions":["read","write"]}]"#
    );
    let crm: ResourceName = "crm".parse().expect("a name");
    assert_eq!(read.at(&crm).scope().expect("small"), scope("crm:read crm:write"));
    assert_eq!(scope("mail:read crm:read").at(&crm), scope("crm:read"));
}

#[test]
fn an_authority_is_bounded() {
    let many =
        |n: usize| (0..n).map(|i| permission(&format!("r{i}"), &["read"])).collect::<Vec<_>>();
    assert!(Authority::new(many(PERMISSIONS_MAX)).is_ok());
    let error = Authority::new(many(PERMISSIONS_MAX + 1));
    assert_eq!(error, Err(AuthorityError::TooManyPermissions));
    let json = serde_json::to_string(&many(PERMISSIONS_MAX + 1)).expect("serializes");
    assert!(serde_json::from_str::<Authority>(&json).is_err());

    let actions: Vec<String> = (0..=ACTIONS_MAX).map(|i| format!("a{i}")).collect();
    let actions: Vec<&str> = actions.iter().map(String::as_str).collect();
    assert!(Authority::new([permission("crm", &actions[1..])]).is_ok());
    let halves = [permission("crm", &actions[..10]), permission("crm", &actions[10..])];
    let crm = "crm".parse().expect("a name");
    assert_eq!(Authority::new(halves), Err(AuthorityError::TooManyActions(crm)));
    let json = serde_json::to_string(&[permission("crm", &actions)]).expect("serializes");
    assert!(serde_json::from_str::<Authority>(&json).is_err());
    let empty = Authority::new([permission("crm", &[])]);
    assert!(matches!(empty, Err(AuthorityError::NoActions(_))));
}

#[test]
fn a_long_excess_is_counted_not_listed() {
    let names: Vec<String> = (0..10).map(|n| format!("crm:a{n}")).collect();
    let asked = Authority::from(&scope(&names.join(" ")));
    let excess = attenuate(&Authority::none(), &asked).expect_err("nothing to give");
    let text = excess.to_string();
    assert!(text.starts_with("`crm:a0`, `crm:a1`"), "{text}");
    assert!(text.contains("`crm:a7` and 2 more would exceed"), "{text}");
    assert_eq!(excess.tokens().len(), 10);
}
