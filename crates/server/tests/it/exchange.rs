//! RFC 8693, delegation: what an agent gets with a token that was sent to it, and what it does not.

use accredit_domain::registry::agent::CreateAgent;
use accredit_testkit::{Answer, Ask, Client, Org, TestWorld};
use serde_json::{Value, json};

use crate::{claims, events};

const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

/// A planner calls a worker, which calls the CRM; a stranger holds as much as the worker.
pub(crate) struct Case {
    pub(crate) world: TestWorld,
    pub(crate) org: Org,
    pub(crate) planner: Client,
    pub(crate) worker: Client,
    stranger: Client,
}

/// An exchange as a client asks for it.
pub(crate) async fn ask(
    world: &TestWorld,
    org: &Org,
    client: &Client,
    form: &[(&str, &str)],
) -> Answer {
    let ask = Ask::post(org.path("/oauth/token")).basic(client);
    let mut all = vec![("grant_type", GRANT)];
    all.extend_from_slice(form);
    world.ask(ask.form(&all)).await
}

/// An exchange of one of our access tokens.
pub(crate) async fn exchange(
    world: &TestWorld,
    org: &Org,
    client: &Client,
    subject: &str,
    scope: &str,
) -> Answer {
    let form = [("subject_token", subject), ("subject_token_type", ACCESS_TOKEN), ("scope", scope)];
    ask(world, org, client, &form).await
}

impl Case {
    pub(crate) async fn begin(seed: u64) -> Self {
        let world = TestWorld::new(seed).await;
        let org = world.found("acme").await;
        world.resource(&org, "crm", &["read", "update", "delete"]).await;
        for name in ["worker", "helper", "last", "end"] {
            world.resource(&org, name, &["run"]).await;
        }
        let all = ["worker:run", "helper:run", "last:run", "end:run", "crm:read", "crm:update"];
        for name in ["planner", "worker", "helper", "last", "end", "stranger"] {
            let mut allow: Vec<String> = all.map(str::to_owned).to_vec();
            if name == "worker" {
                allow.push("crm:delete".to_owned());
            }
            let may_delegate = name != "end";
            let asked = CreateAgent {
                name: name.to_owned(),
                allow,
                may_delegate,
                ..CreateAgent::default()
            };
            world.agent_like(&org, asked).await;
        }
        for name in ["worker", "helper", "last", "end"] {
            let path = format!("/v1/resources/{name}");
            let served = world.admin(&org, "PATCH", &path, Some(json!({"agent": name}))).await;
            assert_eq!(
                served.expect(200).json()["agent"].as_str().map(|id| &id[..4]),
                Some("agt_")
            );
        }
        let planner = world.instance(&org, "planner", None).await;
        let worker = world.instance(&org, "worker", None).await;
        let stranger = world.instance(&org, "stranger", None).await;
        Self { world, org, planner, worker, stranger }
    }

    /// A token of a client in its own name.
    pub(crate) async fn own(&self, client: &Client, scope: &str) -> String {
        let answer = self.world.token(&self.org, client, &[("scope", scope)]).await;
        answer.expect(200).member("access_token")
    }

    async fn ask(&self, client: &Client, form: &[(&str, &str)]) -> Answer {
        ask(&self.world, &self.org, client, form).await
    }

    async fn exchange(&self, client: &Client, subject: &str, scope: &str) -> Answer {
        exchange(&self.world, &self.org, client, subject, scope).await
    }

    pub(crate) async fn exchanged(&self, client: &Client, subject: &str, scope: &str) -> String {
        self.exchange(client, subject, scope).await.expect(200).member("access_token")
    }

    async fn instance(&self, agent: &str) -> Client {
        self.world.instance(&self.org, agent, None).await
    }

    pub(crate) async fn is_active(&self, token: &str) -> bool {
        let ask = Ask::post(self.org.path("/oauth/introspect")).bearer(&self.org.admin);
        self.world.ask(ask.form(&[("token", token)])).await.expect(200).json()["active"] == true
    }
}

fn id(client: &Client) -> String {
    client.instance.expect("an instance").to_string()
}

#[tokio::test]
async fn a_delegated_token_names_both_and_what_may_be_passed_on() {
    let case = Case::begin(401).await;
    let first = case.own(&case.planner, "worker:run").await;
    let answer = case.exchange(&case.worker, &first, "crm:read").await.expect(200);
    assert_eq!(answer.header("cache-control"), "no-store");
    let answer = answer.json();
    assert_eq!(answer["issued_token_type"], ACCESS_TOKEN);
    assert_eq!(answer["token_type"], "Bearer");
    assert_eq!(answer["scope"], "crm:read");
    let second = answer["access_token"].as_str().expect("a token");
    let (parent, child) = (claims(&first), claims(second));
    assert_eq!(child["sub"], case.planner.id, "for whom");
    assert_eq!(child["client_id"], case.worker.id, "by whom");
    assert_eq!(child["aud"], "https://crm.example/");
    let act = json!({"iss": case.org.issuer, "sub": case.worker.id, "ins": id(&case.worker)});
    assert_eq!(child["act"], act);
    assert_eq!(child["accredit"]["depth"], 1);
    assert_eq!(child["accredit"]["kind"], "agent");
    assert!(child["exp"].as_i64() <= parent["exp"].as_i64());
    let dlg = child["accredit"]["dlg"].to_string();
    assert!(!dlg.contains("delete"), "the worker holds it, the planner does not: {dlg}");
    let event = events(&case.world, &case.org, "token.issued").await.pop().expect("an event");
    let said = &event["payload"];
    assert_eq!(said["parent"], parent["jti"], "{event}");
    assert_eq!(said["root"], case.planner.id);
    assert_eq!(said["chain"], format!("{}/{}", case.worker.id, id(&case.worker)));
}

#[tokio::test]
async fn nothing_grows() {
    let case = Case::begin(402).await;
    let first = case.own(&case.planner, "worker:run").await;
    // The worker holds it, and nobody passed it on.
    let wide = case.exchange(&case.worker, &first, "crm:read crm:delete").await;
    wide.refused(400, "invalid_scope", "delegation-exceeded");
    let said = wide.json()["error_description"].to_string();
    assert!(said.contains("`crm:delete`") && !said.contains("`crm:read`"), "{said}");
    // It was passed on, and the one who asks does not hold it.
    let poor = CreateAgent {
        name: "poor".to_owned(),
        allow: vec!["worker:run".to_owned(), "crm:read".to_owned()],
        ..CreateAgent::default()
    };
    case.world.agent_like(&case.org, poor).await;
    let agent = Some(json!({"agent": "poor"}));
    case.world.admin(&case.org, "PATCH", "/v1/resources/worker", agent).await.expect(200);
    let poor = case.instance("poor").await;
    case.exchange(&poor, &first, "crm:update").await.refused(
        400,
        "invalid_scope",
        "scope-not-held",
    );
    case.exchange(&poor, &first, "crm:read").await.expect(200);
    for scope in ["crm:*", "crm:read\u{a0}crm:update", "crm:READ ", "crm"] {
        case.exchange(&poor, &first, scope).await.refused(400, "invalid_scope", "scope-malformed");
    }
    let form = [("subject_token", first.as_str()), ("subject_token_type", ACCESS_TOKEN)];
    case.ask(&poor, &form).await.refused(400, "invalid_scope", "scope-missing");
}

#[tokio::test]
async fn a_token_is_exchanged_by_its_holder_and_by_whom_it_was_sent_to_alone() {
    let case = Case::begin(403).await;
    let first = case.own(&case.planner, "worker:run").await;
    let theft = case.exchange(&case.stranger, &first, "crm:read").await;
    theft.refused(400, "invalid_request", "subject-token-not-yours");
    // Another instance of the agent that holds it is not the one that holds it.
    let sibling = case.instance("planner").await;
    let borrowed = case.exchange(&sibling, &first, "crm:read").await;
    borrowed.refused(400, "invalid_request", "subject-token-not-yours");
    // The holder narrows it, and adds nobody to the chain.
    let own = case.exchanged(&case.planner, &first, "crm:read").await;
    assert_eq!(claims(&own)["accredit"]["depth"], 0);
    assert!(claims(&own).get("act").is_none());
    // What was sent to the worker is not for the CRM; what the worker has for the CRM is not for
    // anybody to exchange but the worker.
    let second = case.exchanged(&case.worker, &first, "crm:read").await;
    for other in [&case.planner, &case.stranger] {
        let answer = case.exchange(other, &second, "crm:read").await;
        answer.refused(400, "invalid_request", "subject-token-not-yours");
    }
    let narrowed = case.exchanged(&case.worker, &second, "crm:read").await;
    assert_eq!(claims(&narrowed)["accredit"]["depth"], 1, "the holder adds no hop");
    assert_eq!(claims(&narrowed)["act"], claims(&second)["act"]);
    // A resource server's own credential gets nothing.
    let resource = case.world.resource_secret(&case.org, "worker").await;
    let answer = case.exchange(&resource, &first, "crm:read").await;
    answer.refused(400, "unauthorized_client", "grant-not-for-client");
}

#[tokio::test]
async fn a_chain_is_as_long_as_it_may_be_and_never_comes_back() {
    let case = Case::begin(404).await;
    let mut token = case.own(&case.planner, "worker:run").await;
    token = case.exchanged(&case.worker, &token, "helper:run").await;
    let helper = case.instance("helper").await;
    token = case.exchanged(&helper, &token, "worker:run").await;
    // The same instance again, and an instance-less one of which nobody knows.
    let again = case.exchange(&case.worker, &token, "crm:read").await;
    again.refused(400, "invalid_request", "chain-cycle");
    let bare = case.world.agent_secret(&case.org, "worker", None).await;
    let bare = case.exchange(&bare, &token, "crm:read").await;
    bare.refused(400, "invalid_request", "chain-cycle");
    // Another instance of the same agent is another party.
    let other = case.instance("worker").await;
    token = case.exchanged(&other, &token, "last:run").await;
    let last = case.instance("last").await;
    token = case.exchanged(&last, &token, "end:run").await;
    assert_eq!(claims(&token)["accredit"]["depth"], 4);
    let parties = claims(&token)["act"]["act"]["act"]["act"]["sub"].clone();
    assert_eq!(parties, case.worker.id, "the first to act is innermost");
    let end = case.instance("end").await;
    let deep = case.exchange(&end, &token, "crm:read").await;
    deep.refused(400, "invalid_request", "chain-too-deep");
    // Who began the chain does not act for itself.
    let first = case.own(&case.planner, "worker:run").await;
    let served = Some(json!({"agent": "planner"}));
    case.world.admin(&case.org, "PATCH", "/v1/resources/helper", served).await.expect(200);
    let second = case.exchanged(&case.worker, &first, "helper:run").await;
    let itself = case.exchange(&case.planner, &second, "crm:read").await;
    itself.refused(400, "invalid_request", "chain-cycle");
}

#[tokio::test]
async fn what_may_not_be_passed_on_is_not() {
    let case = Case::begin(405).await;
    let end = case.instance("end").await;
    let token = case.own(&end, "worker:run").await;
    assert!(claims(&token)["accredit"].get("dlg").is_none());
    let answer = case.exchange(&case.worker, &token, "crm:read").await;
    answer.refused(400, "invalid_scope", "delegation-none");
}

#[tokio::test]
async fn a_derived_token_never_outlives_its_parent_nor_does_exchanging_it_again_help() {
    let case = Case::begin(406).await;
    let asked = [("scope", "worker:run"), ("expires_in", "100")];
    let first = case.world.token(&case.org, &case.planner, &asked).await;
    let first = first.expect(200).member("access_token");
    case.world.advance(60);
    let second = case.exchanged(&case.worker, &first, "crm:read").await;
    assert_eq!(claims(&second)["exp"], claims(&first)["exp"]);
    case.world.advance(30);
    let third = case.exchanged(&case.worker, &second, "crm:read").await;
    assert_eq!(claims(&third)["exp"], claims(&first)["exp"]);
    case.world.advance(10);
    for token in [&first, &second, &third] {
        let answer = case.exchange(&case.worker, token, "crm:read").await;
        answer.refused(400, "invalid_request", "subject-token");
    }
}

#[tokio::test]
async fn a_derived_token_dies_with_all_that_ends_its_parent() {
    let case = Case::begin(407).await;
    let rounds = ["token", "instance", "credential", "owner", "agent"];
    for what in rounds {
        let planner = case.instance("planner").await;
        let first = case.own(&planner, "worker:run").await;
        let second = case.exchanged(&case.worker, &first, "helper:run").await;
        let helper = case.instance("helper").await;
        let third = case.exchanged(&helper, &second, "crm:read").await;
        let apart = case.own(&case.worker, "crm:read").await;
        let parent = claims(&first);
        let target = match what {
            "token" => parent["jti"].as_str().expect("an id").to_owned(),
            "instance" => id(&planner),
            "credential" => planner.credential.clone(),
            "owner" => parent["accredit"]["lin"][2].as_str().expect("an owner").to_owned(),
            _ => planner.id.clone(),
        };
        assert!(case.is_active(&third).await);
        let ended = case.world.revoke(&case.org, &target).await.expect("revoked");
        let counted = ended.blast.expect("counted").tokens_at_most;
        assert!(counted >= 3, "all three hang on the {what}: {counted}");
        for token in [&first, &second, &third] {
            assert!(!case.is_active(token).await, "{what}");
        }
        assert!(case.is_active(&apart).await, "what the worker has for itself goes on: {what}");
        let answer = case.exchange(&case.worker, &first, "crm:read").await;
        answer.refused(400, "invalid_request", "subject-token");
        if what == "owner" {
            let body = Some(json!({"reason": "a test"}));
            let path = format!("/v1/persons/{target}/activate");
            case.world.admin(&case.org, "POST", &path, body).await.expect(200);
        }
    }
    // In the middle: what was there before goes on, what came after does not.
    let case = Case::begin(408).await;
    let first = case.own(&case.planner, "worker:run").await;
    let second = case.exchanged(&case.worker, &first, "helper:run").await;
    let helper = case.instance("helper").await;
    let third = case.exchanged(&helper, &second, "crm:read").await;
    case.world
        .revoke(&case.org, claims(&second)["jti"].as_str().expect("an id"))
        .await
        .expect("ok");
    assert!(case.is_active(&first).await);
    assert!(!case.is_active(&second).await && !case.is_active(&third).await);
}

#[tokio::test]
async fn a_decommission_ends_the_chains_that_an_agent_began_and_those_that_went_through_it() {
    for (ended, alive) in [("planner", 0), ("worker", 1), ("helper", 2)] {
        let case = Case::begin(413).await;
        let first = case.own(&case.planner, "worker:run").await;
        let second = case.exchanged(&case.worker, &first, "helper:run").await;
        let helper = case.instance("helper").await;
        let third = case.exchanged(&helper, &second, "crm:read").await;
        let chain = [first, second, third];
        let apart = case.own(&case.stranger, "crm:read").await;
        let reason = Some(json!({"reason": "a test"}));
        let path = format!("/v1/agents/{ended}/decommission");
        let before = case.world.tenant(&case.org).await.rev();
        case.world.admin(&case.org, "POST", &path, reason).await.expect(200);
        // One entry: what was derived dies by derivation, whoever holds it by now.
        assert_eq!(case.world.tenant(&case.org).await.rev(), before + 1);
        for (at, token) in chain.iter().enumerate() {
            assert_eq!(case.is_active(token).await, at < alive, "{ended}: hop {at}");
        }
        assert!(case.is_active(&apart).await);
        // What is left of it is of no use to whoever was sent it.
        if ended != "helper" {
            let again = case.exchange(&helper, &chain[1], "crm:read").await;
            again.refused(400, "invalid_request", "subject-token");
        }
        let path = format!("/v1/agents/{ended}/ghosts");
        let ghosts = case.world.admin(&case.org, "GET", &path, None).await.expect(200).json();
        assert_eq!(ghosts["gone"], true, "{ghosts}");
    }
}

#[tokio::test]
async fn a_subject_token_is_a_live_access_token_of_this_issuer_and_nothing_else() {
    let case = Case::begin(409).await;
    let token = case.own(&case.planner, "worker:run").await;
    let other = case.world.found("other").await;
    case.world.resource(&other, "worker", &["run"]).await;
    let asked = CreateAgent {
        name: "planner".to_owned(),
        allow: vec!["worker:run".to_owned()],
        may_delegate: true,
        ..CreateAgent::default()
    };
    case.world.agent_like(&other, asked).await;
    let theirs = case.world.agent_secret(&other, "planner", None).await;
    let foreign = case.world.token(&other, &theirs, &[("scope", "worker:run")]).await;
    let foreign = foreign.expect(200).member("access_token");
    let (head, rest) = token.split_once('.').expect("segments");
    let unsigned = format!("eyJhbGciOiJub25lIn0.{}", rest.rsplit_once('.').expect("segments").0);
    let (payload, signature) = rest.split_once('.').expect("segments");
    let tampered = format!("{head}.{}.{signature}", payload.replacen('c', "d", 1));
    for wrong in ["x", "a.b.c", &foreign, &unsigned, &tampered, &case.worker.secret] {
        for kind in [ACCESS_TOKEN, JWT] {
            let form =
                [("subject_token", wrong), ("subject_token_type", kind), ("scope", "crm:read")];
            let answer = case.ask(&case.worker, &form).await;
            // What is not ours may be a user's, and is told so.
            assert_eq!((answer.status, answer.member("error").as_str()), (400, "invalid_request"));
            let rule = answer.member("rule");
            assert!(rule.starts_with("subject-token") || rule == "federation-unknown", "{rule}");
            assert!(!answer.text().contains(&case.worker.secret));
        }
    }
    let form =
        [("subject_token", token.as_str()), ("subject_token_type", JWT), ("scope", "crm:read")];
    case.ask(&case.worker, &form).await.expect(200);
    let actor = [("actor_token", token.as_str()), ("actor_token_type", ACCESS_TOKEN)];
    let answer = case.ask(&case.worker, &[&form[..], &actor].concat()).await;
    answer.refused(400, "invalid_request", "actor-token-not-taken");
    let refresh = [("requested_token_type", "urn:ietf:params:oauth:token-type:refresh_token")];
    let answer = case.ask(&case.worker, &[&form[..], &refresh].concat()).await;
    answer.refused(400, "invalid_request", "token-type-unsupported");
    for (name, value) in [("audience", "crm"), ("audience", "https://crm.example/")] {
        let answer = case.ask(&case.worker, &[&form[..], &[(name, value)]].concat()).await;
        answer.expect(200);
    }
    let two = [("audience", "crm"), ("resource", "https://helper.example/")];
    let answer = case.ask(&case.worker, &[&form[..], &two].concat()).await;
    answer.refused(400, "invalid_target", "target-two");
}

#[tokio::test]
async fn an_introspected_token_says_who_acts_for_whom() {
    let case = Case::begin(410).await;
    let first = case.own(&case.planner, "worker:run").await;
    let second = case.exchanged(&case.worker, &first, "crm:read").await;
    let crm = case.world.resource_secret(&case.org, "crm").await;
    let ask = Ask::post(case.org.path("/oauth/introspect")).basic(&crm);
    let answer = case.world.ask(ask.form(&[("token", &second)])).await.expect(200).json();
    assert_eq!(answer["active"], true);
    assert_eq!(answer["sub"], case.planner.id);
    assert_eq!(answer["act"]["sub"], case.worker.id);
    let ask = Ask::post(case.org.path("/oauth/introspect")).basic(&crm);
    let other = case.world.ask(ask.form(&[("token", &first)])).await.expect(200).json();
    assert_eq!(other, json!({"active": false}), "what was sent to the worker is not for the CRM");
}

#[tokio::test]
async fn an_agent_of_another_environment_serves_nothing_here() {
    let case = Case::begin(411).await;
    let asked = CreateAgent {
        name: "elsewhere".to_owned(),
        environment: Some("prod".to_owned()),
        allow: vec!["shop:read".to_owned()],
        ..CreateAgent::default()
    };
    let shop = json!({"name": "shop", "audience": "https://shop.example/", "actions": ["read"],
        "environment": "prod"});
    case.world.admin(&case.org, "POST", "/v1/resources", Some(shop)).await.expect(201);
    case.world.agent_like(&case.org, asked).await;
    let body: Option<Value> = Some(json!({"agent": "elsewhere"}));
    let answer = case.world.admin(&case.org, "PATCH", "/v1/resources/worker", body).await;
    assert_eq!(answer.expect(400).json()["type"], "urn:accredit:problem:field-invalid");
    // Nor does one that has moved away since.
    let first = case.own(&case.planner, "worker:run").await;
    case.exchange(&case.worker, &first, "crm:read").await.expect(200);
    for (environment, serves) in [("prod", false), ("dev", true)] {
        let moved = Some(json!({"environment": environment}));
        case.world.admin(&case.org, "PATCH", "/v1/agents/worker", moved).await.expect(200);
        let answer = case.exchange(&case.worker, &first, "crm:read").await;
        if serves {
            answer.expect(200);
        } else {
            answer.refused(400, "invalid_request", "subject-token-not-yours");
        }
    }
    let body = Some(json!({"agent": ""}));
    case.world.admin(&case.org, "PATCH", "/v1/resources/worker", body).await.expect(200);
    let first = case.own(&case.planner, "worker:run").await;
    let answer = case.exchange(&case.worker, &first, "crm:read").await;
    answer.refused(400, "invalid_request", "subject-token-not-yours");
}

#[tokio::test]
async fn exchanging_again_and_again_ends() {
    let case = Case::begin(412).await;
    let mut token = case.own(&case.planner, "worker:run").await;
    let refused = loop {
        let answer = case.exchange(&case.planner, &token, "crm:read").await;
        if answer.status != 200 {
            break answer;
        }
        token = answer.member("access_token");
        assert!(token.len() < 16 * 1024, "a token that nobody would read");
    };
    refused.refused(400, "invalid_request", "chain-too-deep");
}

/// An identity provider whose user `mia` may run the worker and read the CRM.
pub(crate) struct Users {
    pub(crate) case: Case,
    idp: accredit_testkit::idp::Idp,
    key: accredit_testkit::Signer,
}

impl Users {
    pub(crate) async fn begin(seed: u64) -> Self {
        let case = Case::begin(seed).await;
        let (idp, key) = case.world.idp().await;
        let corp = json!({
            "name": "corp", "issuer": idp.issuer(), "jwks_url": idp.jwks_url(),
            "audiences": ["accredit"],
            "rules": ["groups contains sales => worker:run", "groups contains sales => crm:read"],
        });
        case.world.admin(&case.org, "POST", "/v1/federations", Some(corp)).await.expect(201);
        Self { case, idp, key }
    }

    pub(crate) fn token(&self, with: Value) -> String {
        let now = self.case.world.now().seconds();
        let mut claims = json!({
            "iss": self.idp.issuer(), "sub": "mia", "aud": "accredit", "iat": now,
            "exp": now + 200, "groups": ["sales"],
        });
        let members = claims.as_object_mut().expect("an object");
        members.extend(with.as_object().expect("an object").clone());
        self.key.sign(&json!({"alg": "ES256", "kid": "k1"}), &claims)
    }

    async fn exchange(&self, client: &Client, token: &str, scope: &str) -> Answer {
        let form = [("subject_token", token), ("subject_token_type", JWT), ("scope", scope)];
        self.case.ask(client, &form).await
    }
}

#[tokio::test]
async fn a_users_token_begins_a_chain_that_may_do_what_user_and_agents_all_may() {
    let users = Users::begin(420).await;
    let (case, mia) = (&users.case, users.token(json!({})));
    let first = users.exchange(&case.planner, &mia, "worker:run").await.expect(200);
    let first = first.member("access_token");
    let said = claims(&first);
    let person = said["sub"].as_str().expect("a subject").to_owned();
    assert!(person.starts_with("usr_"), "{said}");
    assert_eq!(said["accredit"]["kind"], "user");
    assert_eq!(said["accredit"]["depth"], 1);
    assert_eq!(said["act"]["sub"], case.planner.id);
    assert_eq!(said["client_id"], case.planner.id);
    let life = said["exp"].as_i64().expect("exp") - said["iat"].as_i64().expect("iat");
    assert_eq!(life, 200, "never longer than the user's token");
    let event = events(&case.world, &case.org, "token.issued").await.pop().expect("an event");
    let event = &event["payload"];
    assert_eq!(event["root"], person);
    assert_eq!((&event["issuer"], &event["subject"]), (&json!(users.idp.issuer()), &json!("mia")));
    let second = case.exchanged(&case.worker, &first, "crm:read").await;
    let said = claims(&second);
    assert_eq!((&said["sub"], &said["accredit"]["depth"]), (&json!(person), &json!(2)));
    assert_eq!(said["act"]["sub"], case.worker.id);
    assert_eq!(said["act"]["act"]["sub"], case.planner.id);
    // Both agents hold it; the user does not.
    let wide = case.exchange(&case.worker, &first, "crm:update").await;
    wide.refused(400, "invalid_scope", "delegation-exceeded");
    let wide = users.exchange(&case.planner, &mia, "crm:update").await;
    wide.refused(400, "invalid_scope", "delegation-exceeded");
    // A user who may do nothing has nothing to pass on.
    let tom = users.token(json!({"sub": "tom", "groups": []}));
    let none = users.exchange(&case.planner, &tom, "crm:read").await;
    none.refused(400, "invalid_scope", "delegation-none");
}

#[tokio::test]
async fn a_users_chain_dies_with_the_user_and_with_the_issuer_that_vouched() {
    for noun in ["person", "federation"] {
        let users = Users::begin(421).await;
        let (case, mia) = (&users.case, users.token(json!({})));
        let first = users.exchange(&case.planner, &mia, "worker:run").await.expect(200);
        let first = first.member("access_token");
        let second = case.exchanged(&case.worker, &first, "crm:read").await;
        let person = claims(&first)["sub"].as_str().expect("a person").to_owned();
        let path = match noun {
            "person" => format!("/v1/persons/{person}/suspend"),
            _ => "/v1/federations/corp/suspend".to_owned(),
        };
        assert!(case.is_active(&second).await);
        let reason = Some(json!({"reason": "a test"}));
        case.world.admin(&case.org, "POST", &path, reason).await.expect(200);
        assert!(!case.is_active(&first).await && !case.is_active(&second).await, "{noun}");
        let again = users.exchange(&case.planner, &mia, "worker:run").await;
        assert_eq!((again.status, again.member("error").as_str()), (400, "invalid_request"));
    }
}

#[tokio::test]
async fn who_may_act_for_a_user_is_whom_the_users_token_names() {
    let users = Users::begin(422).await;
    let case = &users.case;
    let naming = |iss: &str, sub: &str| users.token(json!({"may_act": {"iss": iss, "sub": sub}}));
    let good = naming(&case.org.issuer, &case.planner.id);
    users.exchange(&case.planner, &good, "crm:read").await.expect(200);
    let stranger = users.exchange(&case.stranger, &good, "crm:read").await;
    stranger.refused(400, "invalid_request", "may-act");
    for wrong in [
        naming(&users.idp.issuer(), &case.planner.id),
        naming(&case.org.issuer, &case.worker.id),
        naming(&case.org.issuer, "planner"),
        users.token(json!({"may_act": {"sub": case.planner.id}})),
    ] {
        let answer = users.exchange(&case.planner, &wrong, "crm:read").await;
        answer.refused(400, "invalid_request", "may-act");
    }
}
