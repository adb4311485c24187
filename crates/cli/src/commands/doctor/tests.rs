use accredit_wire::time::Time;
use http::StatusCode;
use serde_json::json;

use super::*;

fn now() -> Time {
    "2026-06-01T00:00:00Z".parse().expect("a time")
}

/// Check, level and what was found of everything.
fn told(check: impl FnOnce(&mut Checks)) -> Vec<(&'static str, Level)> {
    let mut checks = Checks::default();
    check(&mut checks);
    for check in &checks.0 {
        assert!(!check.found.is_empty());
        assert!(check.level != Level::Fail || !check.hint.is_empty(), "{check:?}");
    }
    checks.0.iter().map(|check| (check.name, check.level)).collect()
}

#[test]
fn a_servers_clock_is_compared_with_ours() {
    for (date, level) in [
        (Some("Mon, 01 Jun 2026 00:00:03 GMT"), Level::Ok),
        (Some("Sun, 31 May 2026 23:59:30 GMT"), Level::Warn),
        (Some("Mon, 01 Jun 2026 00:01:00 GMT"), Level::Fail),
        (Some("Mon, 01 Jun 2015 00:01:00 GMT"), Level::Fail),
        (Some("today"), Level::Warn),
        (None, Level::Warn),
    ] {
        assert_eq!(told(|to| probe::clock(date, now(), to)), [("clock", level)], "{date:?}");
    }
}

#[test]
fn degraded_states_are_repeated_with_what_to_do() {
    let ready = |status: StatusCode, body: serde_json::Value| {
        told(|to| probe::ready(status, body.to_string().as_bytes(), to))
    };
    let state = |blocks: bool| {
        json!({"ready": !blocks, "checks": [{"name": "x", "ok": false, "states":
            [{"state": "store-full", "blocks": blocks, "since": "t", "hint": "make room"}]}]})
    };
    assert_eq!(ready(StatusCode::SERVICE_UNAVAILABLE, state(true)), [("ready", Level::Fail)]);
    assert_eq!(ready(StatusCode::OK, state(false)), [("ready", Level::Warn)]);
    let well = json!({"ready": true, "checks": [{"name": "x", "ok": true}]});
    assert_eq!(ready(StatusCode::OK, well), [("ready", Level::Ok)]);
    assert_eq!(ready(StatusCode::OK, json!("hello")), [("ready", Level::Fail)]);
    let silent = json!({"checks": []});
    assert_eq!(ready(StatusCode::BAD_GATEWAY, silent), [("ready", Level::Fail)]);
}

#[test]
fn organizations_that_issue_nothing_are_named() {
    let org = |name: &str, issuing: &str| json!({"name": name, "issuing": issuing});
    let rows = [org("acme", "open"), org("other", "closed")];
    assert_eq!(told(|to| online::issuing(&rows[..1], to)), [("issuing", Level::Ok)]);
    assert_eq!(told(|to| online::issuing(&rows, to)), [("issuing", Level::Warn)]);
    let mut checks = Checks::default();
    let many: Vec<String> = (0..7).map(|n| format!("org{n}")).collect();
    offline::issuing(&many, &mut checks);
    let found = &checks.0[0].found;
    assert!(found.ends_with("org4 and 2 more"), "{found}");
    assert!(checks.0[0].hint.contains("reconcile"));
}

#[test]
fn agents_and_credentials_that_need_somebody_are_named() {
    let agent = |name: &str, state: &str, owner: Option<&str>, due: &str| json!({"name": name, "state": state, "owner": owner, "review_due_at": due});
    let later = "2027-01-01T00:00:00Z";
    let well = [agent("a", "active", Some("usr_1"), later)];
    let gone = [agent("a", "decommissioned", None, "2020-01-01T00:00:00Z")];
    for rows in [&well[..], &gone, &[]] {
        let expected = [("owners", Level::Ok), ("reviews", Level::Ok)];
        assert_eq!(told(|to| online::agents(rows, now(), to)), expected);
    }
    let ill: Vec<_> = (0..7)
        .map(|n| agent(&format!("agent-{n}"), "active", None, "2026-05-31T00:00:00Z"))
        .collect();
    let mut checks = Checks::default();
    online::agents(&ill, now(), &mut checks);
    assert_eq!(
        checks.0[0].found,
        "7 without an owner: agent-0, agent-1, agent-2, agent-3, agent-4 and 2 more"
    );
    assert_eq!(checks.0[1].level, Level::Warn);

    let credential = |state: &str, instance: Option<&str>, end: &str| json!({"id": "crd_1", "state": state, "instance": instance, "expires_at": end});
    for (row, level) in [
        (credential("active", None, "2026-06-10T00:00:00Z"), Level::Warn),
        (credential("active", None, later), Level::Ok),
        (credential("active", Some("ins_1"), "2026-06-10T00:00:00Z"), Level::Ok),
        (credential("revoked", None, "2026-06-10T00:00:00Z"), Level::Ok),
    ] {
        let rows = [row];
        assert_eq!(told(|to| online::credentials(&rows, now(), to)), [("credentials", level)]);
    }
}

#[test]
fn the_first_owners_key_is_remarked_upon_until_it_has_ended() {
    let key = |id: &str, by: Option<&str>, state: &str, end: &str| {
        json!({"id": id, "role": "owner", "created_by": by, "state": state, "expires_at": end,
        "permissions": ["read", "administrators"]})
    };
    let later = "2026-08-01T00:00:00Z";
    let first = |state: &str| key("crd_first", None, state, later);
    let own = |state: &str, end: &str| key("crd_own", Some("crd_first"), state, end);
    let auditor = json!({"id": "crd_a", "created_by": "crd_first", "state": "active", "expires_at": later,
            "role": "auditor", "permissions": ["read", "audit"]});
    for (rows, level, found, hint) in [
        (vec![first("active")], Level::Warn, "only owner's key, until 2026-08-01", "create --role"),
        // No auditor and no owner of yesterday stands in for an owner.
        (vec![auditor.clone(), first("active")], Level::Warn, "crd_first is the only", "create"),
        (vec![own("expired", later), first("active")], Level::Warn, "is the only owner", "create"),
        (
            vec![own("active", later), first("active")],
            Level::Warn,
            "crd_first still works until 2026-08-01T00:00:00Z, beside 1 other owner's key",
            "accredit admin-key revoke crd_first",
        ),
        (vec![own("active", later), first("revoked")], Level::Ok, "1 owner's key", ""),
        (vec![own("active", later), first("expired"), auditor.clone()], Level::Ok, "1 owner", ""),
        (vec![own("active", "2026-06-14T00:00:00Z")], Level::Warn, "ends at 2026-06-14", "rotate"),
        (vec![auditor, first("revoked")], Level::Fail, "no owner's key works", "organization"),
    ] {
        let mut checks = Checks::default();
        owner_keys::check(&rows, now(), &mut checks);
        let [check] = &checks.0[..] else { panic!("{checks:?}") };
        assert_eq!((check.name, check.level), ("owner-keys", level), "{check:?}");
        assert!(check.found.contains(found) && check.hint.contains(hint), "{check:?}");
    }
}

#[test]
fn a_log_that_is_not_kept_up_is_remarked_upon() {
    assert_eq!(told(|to| offline::log(1000, 990, to)), [("log", Level::Ok)]);
    assert_eq!(told(|to| offline::log(200_000, 990, to)), [("log", Level::Warn)]);
    let online = |answer: serde_json::Value| told(|to| online::log(&answer, to));
    let signed = json!({"lanes": [{"size": 7, "checkpoint": "note"}]});
    assert_eq!(online(signed), [("log", Level::Ok)]);
    let unsigned = json!({"lanes": [{"size": 0, "checkpoint": null}]});
    assert_eq!(online(unsigned), [("log", Level::Fail)]);
    assert_eq!(online(json!({})), [("log", Level::Fail)]);
}

#[test]
fn a_schema_is_compared_with_the_one_that_is_known() {
    let inspection = |schema: i64, is_online| accredit_store::inspect::Inspection {
        schema,
        schema_known: 3,
        pending: Vec::new(),
        is_online,
        connections: None,
        written_by: "0.9.0".to_owned(),
        installation: None,
        organizations: Vec::new(),
        closed: Vec::new(),
        sequenced: 0,
        in_token: Vec::new(),
        integrated: 0,
    };
    for (schema, is_online, level) in [
        (2, true, Level::Warn),
        (3, true, Level::Ok),
        (4, true, Level::Warn),
        (4, false, Level::Fail),
    ] {
        let told = told(|to| offline::schema(&inspection(schema, is_online), to));
        assert_eq!(told, [("schema", level)]);
    }
}

#[test]
fn a_certificate_is_held_to_its_end_and_its_name() {
    let certified = rcgen::generate_simple_self_signed(vec!["id.example".to_owned()]);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("tls.pem");
    std::fs::write(&file, certified.expect("a certificate").cert.pem()).expect("written");
    let check = |url: &str, at: Time| {
        let told = told(|to| offline::tls(&file, url, at, to));
        [told[0].1, told[1].1]
    };
    // rcgen's own end, far away: GeneralizedTime.
    assert_eq!(check("https://id.example", now()), [Level::Ok, Level::Ok]);
    assert_eq!(check("https://other.example", now()), [Level::Ok, Level::Warn]);
    let mut params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("names");
    params.not_after = rcgen::date_time_ymd(2026, 6, 11);
    let key = rcgen::KeyPair::generate().expect("a key");
    std::fs::write(&file, params.self_signed(&key).expect("signed").pem()).expect("written");
    let loopback = "http://127.0.0.1:8420";
    assert_eq!(check(loopback, now()), [Level::Warn, Level::Ok]);
    let after = "2026-06-11T00:00:01Z".parse().expect("a time");
    assert_eq!(check(loopback, after), [Level::Fail, Level::Ok]);
    std::fs::write(&file, "nothing").expect("written");
    assert_eq!(told(|to| offline::tls(&file, loopback, now(), to)), [("certificate", Level::Fail)]);
}
