use super::*;
use AdminPermission::{Administrators, Audit, Organizations, Read, Registry, Revoke};

const NOW: Time = Time::from_seconds(1_763_717_400);

fn id(n: u8) -> CredentialId {
    CredentialId::new(1, [n; 10])
}

fn caller(permissions: &[AdminPermission]) -> Caller {
    Caller::Admin { credential: id(1), permissions: permissions.to_vec() }
}

fn key(permissions: &[AdminPermission]) -> Administrator {
    Administrator::first(permissions.to_vec())
}

fn rule(outcome: Result<(), Refusal>) -> Option<Rule> {
    outcome.err().map(|refusal| refusal.rule)
}

/// A year from now.
fn year() -> Time {
    NOW.plus(Duration::from_hours(365 * 24))
}

#[test]
fn only_an_owner_manages_keys() {
    for role in AdminRole::ALL {
        let by = caller(role.permissions());
        for act in [Act::Create, Act::Revoke(id(2)), Act::Rotate(id(2))] {
            // The least there is, which every role holds.
            let said = rule(separate(&by, act, &key(&[Read]), Some(year()), NOW));
            let expected = (role != AdminRole::Owner).then_some(Rule::NotEntitled);
            assert_eq!(said, expected, "{role:?} {act:?}");
        }
    }
    let credential = id(1);
    for by in [
        Caller::Anyone,
        Caller::Client { id: credential.any(), credential },
        Caller::Operator { credential },
    ] {
        let said = rule(separate(&by, Act::Create, &key(&[Read]), Some(year()), NOW));
        assert_eq!(said, Some(Rule::NotEntitled), "{by:?}");
    }
}

#[test]
fn nobody_gives_away_what_they_do_not_hold() {
    let narrow = caller(&[Read, Administrators]);
    for more in [Registry, Revoke, Audit, Organizations] {
        for act in [Act::Create, Act::Rotate(id(2)), Act::Rotate(id(1))] {
            let said = rule(separate(&narrow, act, &key(&[Read, more]), Some(year()), NOW));
            assert_eq!(said, Some(Rule::SeparationOfDuties), "{more:?} {act:?}");
        }
        // To end a mightier key is no grant.
        let said =
            rule(separate(&narrow, Act::Revoke(id(2)), &key(&[Read, more]), Some(year()), NOW));
        assert_eq!(said, None, "{more:?}");
    }
    let owner = caller(AdminRole::Owner.permissions());
    for role in AdminRole::ALL {
        let said = rule(separate(&owner, Act::Create, &key(role.permissions()), None, NOW));
        assert_eq!(said, None, "{role:?}");
    }
}

#[test]
fn a_key_does_not_revoke_itself_and_may_be_rotated_by_itself() {
    let owner = AdminRole::Owner.permissions();
    let said = rule(separate(&caller(owner), Act::Revoke(id(1)), &key(owner), Some(year()), NOW));
    assert_eq!(said, Some(Rule::StateForbids));
    let said = rule(separate(&caller(owner), Act::Rotate(id(1)), &key(owner), Some(year()), NOW));
    assert_eq!(said, None);
}

#[test]
fn an_organization_keeps_an_owner_for_a_day_at_least() {
    let owner = AdminRole::Owner.permissions();
    let late = NOW.plus(OWNER_LEFT_MIN);
    let early = late.minus(Duration::from_micros(1));
    for by in [caller(owner), Caller::System] {
        for act in [Act::Revoke(id(2)), Act::Rotate(id(2))] {
            for (left, expected) in [
                (None, Some(Rule::LastOwner)),
                (Some(early), Some(Rule::LastOwner)),
                (Some(late), None),
            ] {
                let said = rule(separate(&by, act, &key(owner), left, NOW));
                assert_eq!(said, expected, "{by:?} {act:?} {left:?}");
            }
            // The others' keys may all be gone.
            let said = rule(separate(&by, act, &key(&[Read, Audit]), None, NOW));
            assert_eq!(said, None, "{by:?} {act:?}");
        }
    }
}

#[test]
fn a_role_is_what_it_is_called_and_a_narrowed_key_is_part_of_it() {
    for role in AdminRole::ALL {
        assert_eq!(AdminRole::parse(role.as_str()), Some(role));
        assert!(role.permissions().contains(&Read), "{role:?}");
        assert!(!role.permissions().contains(&Organizations), "{role:?}");
        assert_eq!(role.permissions().contains(&Administrators), role == AdminRole::Owner);
    }
    let ask = |role: &str, permissions: Option<&[&str]>| {
        asked_for(&CreateAdminKey {
            role: role.to_owned(),
            purpose: "a test".to_owned(),
            permissions: permissions.map(|names| names.iter().map(ToString::to_string).collect()),
            expires_in: None,
        })
    };
    assert_eq!(ask("security", Some(&["audit"])).expect("fewer").1, [Audit]);
    assert_eq!(ask("auditor", None).expect("all").1, [Read, Audit]);
    for (role, permissions) in [
        ("Owner", None),
        ("root", None),
        ("auditor", Some(&["registry"][..])),
        ("auditor", Some(&["read", "read"][..])),
        ("auditor", Some(&[][..])),
        ("owner", Some(&["organizations"][..])),
        ("owner", Some(&["everything"][..])),
    ] {
        let refusal = ask(role, permissions).expect_err(role);
        assert_eq!(refusal.rule, Rule::FieldInvalid, "{role} {permissions:?}");
    }
}
