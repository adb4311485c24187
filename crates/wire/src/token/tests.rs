use proptest::prelude::*;

use super::*;
use crate::ids::TaskId;
use crate::jose::b64url_encode;

const KEY: [u8; 10] = [1; 10];

fn sample() -> AccessToken {
    let agent = AgentId::new(5, [5; 10]);
    AccessToken {
        issuer: "https://id.example/o/dev".to_owned(),
        subject: agent.any(),
        kind: SubjectKind::Agent,
        client_id: agent,
        audience: "https://crm.example/".to_owned(),
        issued_at: 1_763_717_400,
        not_before: None,
        expires_at: 1_763_717_700,
        id: TokenId::new(7, [7; 10]),
        scope: "crm:read crm:write".parse().expect("a scope"),
        details: AuthorizationDetails::default(),
        key: KeyId::new(1, KEY),
        instance: Some(InstanceId::new(6, [6; 10])),
        organization: OrganizationId::new(1, [1; 10]),
        credential: CredentialId::new(2, [2; 10]),
        owner: PersonId::new(3, [3; 10]),
        resource: ResourceId::new(4, [4; 10]),
        further: Vec::new(),
        rev: 17,
        delegable: Authority::none(),
        chain: Vec::new(),
        impersonated: false,
        cnf: None,
        status: None,
    }
}

fn parse(json: &serde_json::Value) -> Result<AccessToken, ClaimsError> {
    AccessToken::parse(json.to_string().as_bytes(), KeyId::new(1, KEY))
}

fn json() -> serde_json::Value {
    serde_json::from_slice(&sample().to_payload()).expect("our own payload")
}

#[test]
fn the_payload_is_what_the_formats_say() {
    let token = sample();
    let expected = format!(
        concat!(
            r#"{{"iss":"https://id.example/o/dev","sub":"{agent}","client_id":"{agent}","#,
            r#""aud":"https://crm.example/","iat":1763717400,"exp":1763717700,"jti":"{id}","#,
            r#""scope":"crm:read crm:write","accredit":{{"v":1,"kind":"agent","ins":"{ins}","#,
            r#""lin":["{org}","{crd}","{usr}","{res}"],"rev":17,"depth":0}}}}"#
        ),
        agent = token.client_id,
        id = token.id,
        ins = token.instance.expect("an instance"),
        org = token.organization,
        crd = token.credential,
        usr = token.owner,
        res = token.resource,
    );
    assert_eq!(String::from_utf8(token.to_payload()).expect("text"), expected);
}

#[test]
fn the_lineage_has_every_id() {
    let mut token = sample();
    let person = PersonId::new(30, [30; 10]);
    let first = Actor { agent: token.client_id, instance: token.instance };
    let second =
        Actor { agent: AgentId::new(31, [31; 10]), instance: Some(InstanceId::new(32, [32; 10])) };
    token.subject = person.any();
    token.kind = SubjectKind::User;
    token.chain = vec![first, second];
    token.further = vec![TaskId::new(33, [33; 10]).any()];
    let lineage: Vec<AnyId> = token.lineage().collect();
    // Everything that looks like an id in what travels, and the key.
    let payload = String::from_utf8(token.to_payload()).expect("text");
    let ids = payload.split('"').filter_map(|text| text.parse::<AnyId>().ok());
    let mut count = 0;
    for id in ids.chain([token.key.any()]) {
        assert!(lineage.contains(&id), "{id}");
        count += 1;
    }
    assert_eq!(count, 14);
}

#[test]
fn every_claim_of_ours_is_required_and_typed() {
    assert_eq!(parse(&json()), Ok(sample()));
    for claim in ["iss", "sub", "client_id", "aud", "iat", "exp", "jti", "accredit"] {
        let mut without = json();
        without.as_object_mut().expect("an object").remove(claim);
        assert_eq!(parse(&without), Err(ClaimsError::Missing(claim)), "{claim}");
        for wrong in [
            serde_json::json!(null),
            serde_json::json!(true),
            serde_json::json!([]),
            serde_json::json!(["a", "b"]),
            serde_json::json!(-1),
            serde_json::json!(1.5),
            serde_json::json!(1_u64 << 63),
        ] {
            let mut bent = json();
            bent[claim] = wrong.clone();
            assert!(parse(&bent).is_err(), "{claim} {wrong}");
        }
    }
    for member in ["v", "kind", "lin", "rev", "depth"] {
        let mut without = json();
        without["accredit"].as_object_mut().expect("an object").remove(member);
        assert_eq!(parse(&without), Err(ClaimsError::Missing(member)), "{member}");
    }
}

#[test]
fn numbers_in_text_and_out_of_range_are_refused() {
    for (claim, wrong) in [
        ("exp", serde_json::json!("1763717700")),
        ("exp", serde_json::json!(-1)),
        ("exp", serde_json::json!(9_223_372_036_854_775_807_i64)),
        ("exp", serde_json::json!(1e300)),
        ("iat", serde_json::json!("now")),
        ("nbf", serde_json::json!("now")),
        ("nbf", serde_json::json!(null)),
    ] {
        let mut bent = json();
        bent[claim] = wrong.clone();
        assert_eq!(parse(&bent), Err(ClaimsError::Malformed(claim)), "{wrong}");
    }
    let text = String::from_utf8(sample().to_payload()).expect("text");
    let huge = text.replace("1763717700", "1e400");
    assert_eq!(AccessToken::parse(huge.as_bytes(), sample().key), Err(ClaimsError::NotJson));
}

#[test]
fn two_members_of_one_name_are_refused() {
    let text = String::from_utf8(sample().to_payload()).expect("text");
    for (one, two) in [
        (r#""aud":"#, r#""aud":"https://evil.example/","aud":"#),
        (r#""rev":17"#, r#""rev":17,"rev":99"#),
        (r#""sub":"#, r#""sub":"agt_x","s\u0075b":"#),
    ] {
        let twice = text.replacen(one, two, 1);
        assert_ne!(twice, text);
        let parsed = AccessToken::parse(twice.as_bytes(), sample().key);
        assert_eq!(parsed, Err(ClaimsError::NotJson), "{two}");
    }
}

#[test]
fn what_is_not_known_in_our_object_is_refused_and_at_top_level_ignored() {
    let mut more = json();
    more["auth_time"] = serde_json::json!(1);
    more["__proto__"] = serde_json::json!({"scope": "crm:admin"});
    assert_eq!(parse(&more), Ok(sample()));
    more["accredit"]["only_on"] = serde_json::json!("tuesday");
    assert_eq!(parse(&more), Err(ClaimsError::UnknownMember("accredit")));
    more["accredit"]["v"] = serde_json::json!(2);
    assert_eq!(parse(&more), Err(ClaimsError::Version));

    let mut delegable = json();
    let permission = serde_json::json!({"resource": "crm", "actions": ["read"], "until": 5});
    delegable["accredit"]["dlg"] = serde_json::json!([permission]);
    assert_eq!(parse(&delegable), Err(ClaimsError::UnknownMember("dlg")));
}

#[test]
fn a_lineage_out_of_order_or_too_long_is_refused() {
    let ids = json()["accredit"]["lin"].as_array().expect("ids").clone();
    for lineage in [
        Vec::new(),
        ids[..3].to_vec(),
        ids.iter().rev().cloned().collect(),
        [ids.clone(), vec!["agt_what".into()]].concat(),
        [ids.clone(), vec![1.into()]].concat(),
        [ids.clone(), vec![ids[0].clone(); LINEAGE_MAX]].concat(),
    ] {
        let mut bent = json();
        bent["accredit"]["lin"] = lineage.clone().into();
        assert_eq!(parse(&bent), Err(ClaimsError::Malformed("lin")), "{lineage:?}");
    }
}

#[test]
fn claims_that_contradict_each_other_are_refused() {
    let person = PersonId::new(1, [1; 10]).to_string();
    let other = AgentId::new(8, [8; 10]).to_string();
    let iss = sample().issuer;
    for (pointer, wrong) in [
        ("/sub", serde_json::json!(person)),
        ("/sub", serde_json::json!(other)),
        ("/client_id", serde_json::json!(other)),
        ("/accredit/kind", serde_json::json!("user")),
        ("/accredit/depth", serde_json::json!(1)),
    ] {
        let mut bent = json();
        *bent.pointer_mut(pointer).expect("a member") = wrong;
        assert!(matches!(parse(&bent), Err(ClaimsError::Inconsistent(_))), "{pointer}");
    }
    for act in [
        serde_json::json!({"iss": iss, "sub": other}),
        serde_json::json!({"iss": "https://evil.example", "sub": sample().client_id}),
    ] {
        let mut bent = json();
        bent["act"] = act;
        bent["accredit"]["depth"] = 1.into();
        assert!(matches!(parse(&bent), Err(ClaimsError::Inconsistent(_))));
    }
}

#[test]
fn an_actor_with_more_than_is_known_is_refused() {
    let mut bent = json();
    let (iss, sub) = (sample().issuer, sample().client_id);
    bent["act"] = serde_json::json!({"iss": iss, "sub": sub, "tsk": "tsk_1"});
    bent["accredit"]["depth"] = 1.into();
    assert_eq!(parse(&bent), Err(ClaimsError::UnknownMember("act")));
    bent["act"] = serde_json::json!({"iss": iss, "sub": PersonId::new(1, [1; 10])});
    assert_eq!(parse(&bent), Err(ClaimsError::Malformed("act")));
}

#[test]
fn a_chain_is_as_deep_as_the_bound_and_no_deeper() {
    let mut token = sample();
    let actor = Actor { agent: token.client_id, instance: None };
    token.chain = vec![actor; CHAIN_DEPTH_MAX];
    assert_eq!(AccessToken::parse(&token.to_payload(), token.key), Ok(token.clone()));
    token.chain.push(actor);
    let parsed = AccessToken::parse(&token.to_payload(), token.key);
    assert_eq!(parsed, Err(ClaimsError::TooDeep));
}

#[test]
fn a_confirmation_is_a_thumbprint_and_nothing_beside_it() {
    let jkt = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";
    let mut bound = json();
    bound["cnf"] = serde_json::json!({ "jkt": jkt });
    let thumbprint = jkt.parse().expect("a thumbprint");
    assert_eq!(parse(&bound).expect("claims").cnf, Some(Confirmation::Key(thumbprint)));
    bound["cnf"] = serde_json::json!({ "x5t#S256": jkt });
    assert_eq!(parse(&bound).expect("claims").cnf, Some(Confirmation::Certificate(thumbprint)));
    for wrong in [
        serde_json::json!({}),
        serde_json::json!(null),
        serde_json::json!([]),
        serde_json::json!(jkt),
        serde_json::json!({ "jkt": 1 }),
        serde_json::json!({ "jkt": "" }),
        serde_json::json!({ "jkt": &jkt[1..] }),
        serde_json::json!({ "jkt": format!("{jkt}=") }),
        serde_json::json!({ "x5t#S256": &jkt[1..] }),
        serde_json::json!({ "x5t#S256": null }),
        serde_json::json!({ "x5t#s256": jkt }),
        serde_json::json!({ "x5t": jkt }),
        serde_json::json!({ "jkt": jkt, "x5t#S256": jkt }),
        serde_json::json!({ "jkt": jkt, "jwk": {} }),
    ] {
        bound["cnf"] = wrong.clone();
        assert!(parse(&bound).is_err(), "{wrong}");
    }
}

prop_compose! {
    fn any_actor()(a: [u8; 10], i: [u8; 10], with: bool) -> Actor {
        let instance = with.then(|| InstanceId::new(9, i));
        Actor { agent: AgentId::new(9, a), instance }
    }
}

fn any_authority() -> impl Strategy<Value = Authority> {
    let limits = prop::sample::select(vec![
        "",
        "(/a/*)",
        "(n<=5; to=\"é\\\"x\")",
        "(until 2030-01-01T00:00:00Z)",
    ]);
    let permission = (
        "[a-z0-9][a-z0-9._-]{0,9}",
        prop::collection::btree_set("[A-Za-z0-9._]{1,9}", 1..4),
        limits,
    )
        .prop_filter_map("names", |(resource, actions, limits)| {
            let actions: Result<_, _> = actions.iter().map(|action| action.parse()).collect();
            let limited: Permission = format!("a:a{limits}").parse().expect("a permission");
            Some(Permission { resource: resource.parse().ok()?, actions: actions.ok()?, ..limited })
        });
    prop::collection::vec(permission, 0..4)
        .prop_map(|permissions| Authority::new(permissions).expect("within the bounds"))
}

prop_compose! {
    fn any_token()(
        ids: [[u8; 10]; 8],
        chain in prop::collection::vec(any_actor(), 0..=CHAIN_DEPTH_MAX),
        further in prop::collection::vec(any::<[u8; 10]>(), 0..8),
        texts in ("\\PC{1,40}", "[ -~]{1,40}"),
        numbers in (0..=INTEGER_MAX, 0..=INTEGER_MAX, 0..=INTEGER_MAX as u64),
        not_before in prop::option::of(0..=INTEGER_MAX),
        (user, delegable, scoped) in (any::<bool>(), any_authority(), any::<bool>()),
        (bound, by_key, seed) in any::<(bool, bool, [u8; 32])>(),
        listed in prop::option::of(("\\PC{1,40}", any::<u32>())),
    ) -> AccessToken {
        let agent = AgentId::new(1, ids[0]);
        let person = PersonId::new(2, ids[1]);
        let cnf = b64url_encode(&seed).parse().expect("a thumbprint");
        let cnf = if by_key { Confirmation::Key(cnf) } else { Confirmation::Certificate(cnf) };
        // A person's chain has an actor.
        let kind = if user && !chain.is_empty() { SubjectKind::User } else { SubjectKind::Agent };
        let subject = if kind == SubjectKind::User { person.any() } else { agent.any() };
        let client_id = chain.first().map_or(agent, |actor| actor.agent);
        let details = AuthorizationDetails::of(&delegable);
        let scope = if scoped { delegable.scope().unwrap_or_default() } else { Scope::default() };
        AccessToken {
            issuer: texts.0,
            subject,
            kind,
            client_id,
            audience: texts.1,
            issued_at: numbers.0,
            not_before,
            expires_at: numbers.1,
            id: TokenId::new(3, ids[2]),
            scope,
            details,
            key: KeyId::new(4, ids[3]),
            instance: scoped.then(|| InstanceId::new(5, ids[4])),
            organization: OrganizationId::new(5, ids[4]),
            credential: CredentialId::new(6, ids[5]),
            owner: person,
            resource: ResourceId::new(7, ids[6]),
            further: further.into_iter().map(|id| TaskId::new(8, id).any()).collect(),
            rev: numbers.2,
            delegable,
            chain,
            impersonated: false,
            cnf: bound.then_some(cnf),
            status: listed.map(|(uri, index)| Box::new(Reference { uri, index })),
        }
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(token in any_token()) {
        let payload = token.to_payload();
        prop_assert_eq!(AccessToken::parse(&payload, token.key), Ok(token));
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = AccessToken::parse(&bytes, KeyId::new(1, KEY));
    }

    #[test]
    fn a_text_survives_any_json_reader(text in any::<String>()) {
        let mut out = String::new();
        push_string(&mut out, &text);
        prop_assert_eq!(serde_json::from_str::<String>(&out).ok(), Some(text));
    }
}

#[test]
fn whoever_impersonates_is_kept_out_of_act_and_named_in_our_own_claim_all_the_same() {
    let (subject, agent) = (PersonId::new(9, [9; 10]), sample().client_id);
    let acting = Actor { agent, instance: sample().instance };
    let earlier = Actor { agent: AgentId::new(8, [8; 10]), instance: None };
    let token = AccessToken {
        subject: subject.any(),
        kind: SubjectKind::User,
        chain: vec![acting, earlier],
        impersonated: true,
        ..sample()
    };
    let payload = token.to_payload();
    assert_eq!(AccessToken::parse(&payload, token.key).as_ref(), Ok(&token));
    let json: serde_json::Value = serde_json::from_slice(&payload).expect("JSON");
    assert!(json.get("act").is_none(), "{json}");
    assert_eq!(json["accredit"]["by"][0]["sub"], agent.to_string());
    assert_eq!(json["accredit"]["depth"], 2);
    let lineage: Vec<_> = token.lineage().collect();
    for id in [agent.any(), earlier.agent.any(), subject.any()] {
        assert!(lineage.contains(&id), "{id}");
    }
    // Nobody is acting, in two places, more than there may be, or not as a party is written.
    let iss = &token.issuer;
    let party = serde_json::json!({"sub": agent});
    for (by, act) in [
        (serde_json::json!([]), None),
        (serde_json::json!({}), None),
        (serde_json::json!([{"sub": agent, "iss": iss}]), None),
        (serde_json::json!([{"ins": sample().instance}]), None),
        (serde_json::json!([{"sub": subject}]), None),
        (serde_json::json!(vec![party.clone(); CHAIN_DEPTH_MAX + 1]), None),
        (serde_json::json!([party]), Some(serde_json::json!({"iss": iss, "sub": agent}))),
    ] {
        let mut bent = json.clone();
        bent["accredit"]["depth"] = by.as_array().map_or(0, Vec::len).into();
        bent["accredit"]["by"] = by.clone();
        if let Some(act) = act {
            bent["act"] = act;
        }
        assert!(parse(&bent).is_err(), "{by}");
    }
}
