//! RFC 8693 section 1.1: an agent that is not named in `act`, for whom an owner allowed it alone.

use accredit_domain::registry::credential::AdminPermission;
use accredit_domain::registry::impersonation::IMPERSONATIONS_MAX;
use accredit_testkit::{Answer, Ask};
use serde_json::{Value, json};

use crate::exchange::{Case, Users, ask};
use crate::{claims, events};

const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
const UNNAMED: (&str, &str) = ("impersonation", "true");

async fn turn(case: &Case, verb: &str, subject: &str) -> Answer {
    let body = json!({"subject": subject, "reason": "an old mail server"});
    let path = format!("/v1/agents/planner/{verb}-impersonation");
    case.world.admin(&case.org, "POST", &path, Some(body)).await
}

/// The planner asks for a token of a user, unnamed.
async fn unnamed(users: &Users, token: &str) -> Answer {
    let form =
        [("subject_token", token), ("subject_token_type", JWT), ("scope", "worker:run"), UNNAMED];
    ask(&users.case.world, &users.case.org, &users.case.planner, &form).await
}

#[tokio::test]
async fn nobody_impersonates_until_an_owner_names_the_pair_and_then_that_pair_alone() {
    let users = Users::begin(4401).await;
    let (case, mia) = (&users.case, users.token(json!({})));
    let refused = unnamed(&users, &mia).await;
    refused.refused(400, "invalid_request", "impersonation");
    let told = events(&case.world, &case.org, "token.refused").await;
    assert_eq!(told.last().expect("an event")["payload"]["rule"], "impersonation");
    let made = events(&case.world, &case.org, "person.created").await;
    let person = made.last().expect("mia")["payload"]["target"].as_str().expect("an id").to_owned();
    let shown = turn(case, "allow", &person).await.expect(200).json();
    assert_eq!(shown["impersonates"][0]["subject"], person, "{shown}");
    assert_eq!(shown["impersonates"][0]["reason"], "an old mail server");
    let token = unnamed(&users, &mia).await.expect(200).member("access_token");
    let said = claims(&token);
    assert_eq!((&said["sub"], said.get("act")), (&json!(person), None), "{said}");
    assert_eq!(said["client_id"], case.planner.id, "RFC 9068: whoever asked");
    assert_eq!(said["accredit"]["by"][0]["sub"], case.planner.id);
    assert_eq!(said["accredit"]["depth"], 1);
    let event = events(&case.world, &case.org, "token.issued").await.pop().expect("an event");
    assert_eq!(event["payload"]["impersonation"], true, "{event}");
    assert!(event["payload"]["chain"].as_str().expect("it").starts_with(&case.planner.id));
    // No more than by delegation; and whoever does not ask for it is named, as ever.
    let form =
        [("subject_token", &*mia), ("subject_token_type", JWT), ("scope", "crm:update"), UNNAMED];
    let wide = ask(&case.world, &case.org, &case.planner, &form).await;
    wide.refused(400, "invalid_scope", "delegation-exceeded");
    let named = ask(&case.world, &case.org, &case.planner, &form[..2]).await;
    named.refused(400, "invalid_scope", "scope-missing");
    let form = [("subject_token", &*mia), ("subject_token_type", JWT), ("scope", "crm:read")];
    let named = ask(&case.world, &case.org, &case.planner, &form).await.expect(200);
    let named = named.member("access_token");
    assert_eq!(claims(&named)["act"]["sub"], case.planner.id);
    let event = events(&case.world, &case.org, "token.issued").await.pop().expect("an event");
    assert!(event["payload"].get("impersonation").is_none());
    // What names who acts by its nature is not to be had unnamed.
    let biscuit = ("requested_token_type", accredit_wire::biscuit::TOKEN_TYPE);
    let form = [
        ("subject_token", &*mia),
        ("subject_token_type", JWT),
        ("scope", "crm:read"),
        UNNAMED,
        biscuit,
    ];
    let refused = ask(&case.world, &case.org, &case.planner, &form).await;
    refused.refused(400, "invalid_request", "impersonation");
    // Another subject of the same agent, and another agent of the same subject.
    let tom = users.token(json!({"sub": "tom"}));
    unnamed(&users, &tom).await.refused(400, "invalid_request", "impersonation");
    let form =
        [("subject_token", &*mia), ("subject_token_type", JWT), ("scope", "crm:read"), UNNAMED];
    let other = ask(&case.world, &case.org, &case.worker, &form).await;
    other.refused(400, "invalid_request", "impersonation");
    // Who goes on from it names everybody.
    let onward = case.exchanged(&case.worker, &token, "crm:read").await;
    let said = claims(&onward);
    assert_eq!(said["act"]["sub"], case.worker.id);
    assert_eq!(said["act"]["act"]["sub"], case.planner.id);
    assert!(said["accredit"].get("by").is_none());
}

#[tokio::test]
async fn an_impersonation_ends_with_whoever_acts_and_with_the_pair() {
    for what in ["agent", "instance", "pair"] {
        let users = Users::begin(4402).await;
        let (case, mia) = (&users.case, users.token(json!({})));
        unnamed(&users, &mia).await.refused(400, "invalid_request", "impersonation");
        let made = events(&case.world, &case.org, "person.created").await;
        let person = made[made.len() - 1]["payload"]["target"].as_str().expect("an id").to_owned();
        turn(case, "allow", &person).await.expect(200);
        let token = unnamed(&users, &mia).await.expect(200).member("access_token");
        let onward = case.exchanged(&case.worker, &token, "crm:read").await;
        assert!(case.is_active(&token).await && case.is_active(&onward).await);
        let target = match what {
            "agent" => case.planner.id.clone(),
            _ => case.planner.instance.expect("an instance").to_string(),
        };
        if what == "pair" {
            turn(case, "end", &person).await.expect(200);
            turn(case, "end", &person).await.problem(409, "state-forbids");
            unnamed(&users, &mia).await.refused(400, "invalid_request", "impersonation");
            let ended = events(&case.world, &case.org, "agent.impersonation_ended").await;
            assert_eq!(ended[0]["payload"]["root"], person);
            assert_eq!(ended[0]["payload"]["reason"], "an old mail server");
        } else {
            case.world.revoke(&case.org, &target).await.expect("revoked");
        }
        assert!(!case.is_active(&token).await, "{what}");
        assert!(!case.is_active(&onward).await, "{what}: what was derived from it");
    }
}

#[tokio::test]
async fn an_agent_may_be_impersonated_too_and_introspection_names_who_does() {
    let case = Case::begin(4403).await;
    let body = json!({"subject": "planner", "reason": "a test"});
    let path = "/v1/agents/worker/allow-impersonation";
    case.world.admin(&case.org, "POST", path, Some(body)).await.expect(200);
    let first = case.own(&case.planner, "worker:run").await;
    let access = "urn:ietf:params:oauth:token-type:access_token";
    let form = [
        ("subject_token", &*first),
        ("subject_token_type", access),
        ("scope", "crm:read"),
        UNNAMED,
    ];
    let token = ask(&case.world, &case.org, &case.worker, &form).await.expect(200);
    let token = token.member("access_token");
    let introspect = Ask::post(case.org.path("/oauth/introspect")).bearer(&case.org.admin);
    let told = case.world.ask(introspect.form(&[("token", &token)])).await.expect(200).json();
    assert_eq!((&told["sub"], told.get("act")), (&json!(case.planner.id), None), "{told}");
    assert_eq!(told["accredit"]["by"][0]["sub"], case.worker.id);
    let verifier = &case.world.tenant(&case.org).await.verifier;
    let principal = verifier.verify_token(&token, case.world.now()).expect("alive");
    assert!(principal.is_impersonation());
    assert_eq!(principal.chain()[0].agent.to_string(), case.worker.id);
    // Its holder, narrowing it, is unnamed only where it asks to be.
    let again = case.exchanged(&case.worker, &token, "crm:read").await;
    assert_eq!(claims(&again)["act"]["sub"], case.worker.id);
    // Nobody is kept out of a chain in which nobody acts.
    let own = [
        ("subject_token", &*first),
        ("subject_token_type", access),
        ("scope", "crm:read"),
        UNNAMED,
    ];
    let own = ask(&case.world, &case.org, &case.planner, &own).await;
    own.refused(400, "invalid_request", "impersonation");
}

#[tokio::test]
async fn a_pair_is_named_by_an_owner_with_a_reason_and_there_are_few() {
    let case = Case::begin(4404).await;
    let path = "/v1/agents/planner/allow-impersonation";
    for wrong in [
        json!({"subject": "worker"}),
        json!({"subject": "worker", "reason": " "}),
        json!({"subject": "planner", "reason": "itself"}),
        json!({"reason": "nobody"}),
        json!({"subject": "worker", "reason": "x", "all": true}),
    ] {
        let answer = case.world.admin(&case.org, "POST", path, Some(wrong)).await;
        answer.problem(400, "field-invalid");
    }
    for unknown in ["nobody", "no@example.com", "usr_00000000000000000000000000", "crm"] {
        turn(&case, "allow", unknown).await.problem(404, "not-found");
    }
    // Whoever administers the registry is not enough; whoever may stop an agent may end a pair.
    let body = json!({"subject": "worker", "reason": "x"});
    let registry = case.world.admin_with(&case.org, &[AdminPermission::Registry]).await;
    let asked = Ask::post(path).bearer(&registry).json(&body);
    case.world.ask(asked).await.problem(403, "not-entitled");
    turn(&case, "allow", "worker").await.expect(200);
    turn(&case, "allow", "worker").await.problem(409, "state-forbids");
    let revoke = case.world.admin_with(&case.org, &[AdminPermission::Revoke]).await;
    let ending = Ask::post("/v1/agents/planner/end-impersonation").bearer(&revoke).json(&body);
    case.world.ask(ending).await.expect(200);
    for number in 0..=IMPERSONATIONS_MAX {
        let person = json!({"email": format!("p{number}@example.com")});
        case.world.admin(&case.org, "POST", "/v1/persons", Some(person)).await.expect(201);
        let answer = turn(&case, "allow", &format!("p{number}@example.com")).await;
        if number < IMPERSONATIONS_MAX {
            answer.expect(200);
        } else {
            answer.problem(400, "field-invalid");
        }
    }
    let shown: Value = case.world.admin(&case.org, "GET", "/v1/agents/planner", None).await.json();
    assert_eq!(shown["impersonates"].as_array().map(Vec::len), Some(IMPERSONATIONS_MAX));
}
