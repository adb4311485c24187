//! Nodes: who becomes one, for which processes they vouch, what is refused, and what ends what they
//! vouched for.

use std::time::Duration;

use accredit_domain::registry::agent::CreateAgent;
use accredit_domain::registry::node::{
    JOIN_TOKEN_LIFETIME_DEFAULT_SECONDS, JOIN_TOKEN_LIFETIME_MAX_SECONDS,
};
use accredit_testkit::fixture::Scene;
use accredit_testkit::{Answer, Ask, Org, Signer, TestWorld};
use accredit_wire::crypto::Algorithm;
use accredit_wire::oauth::client_auth::ASSERTION_TYPE;
use serde_json::{Value, json};

use crate::certificates::standing;
use crate::workload::{Platform, add_rule, rule};
use crate::{claims, events};

const READ: (&str, &str) = ("scope", "crm:read");
/// What a node says of the program that most tests are about.
pub(crate) const PLANNER: &str = r#"{"path":"/opt/planner/bin/planner","uid":"1200","gid":"1200"}"#;

/// A key that nobody has registered yet.
fn key(world: &TestWorld) -> Signer {
    let random: [u8; 32] = world.world.random();
    let kid = accredit_wire::jose::b64url_encode(&random[..9]);
    Signer::new(Algorithm::EdDsa, &kid, random)
}

/// The signer as what an answer says that it is.
fn known(mut signer: Signer, org: &Org, answer: &Answer) -> Signer {
    signer.client = answer.member("client_id");
    signer.credential = answer.member("key_credential");
    signer.issuer.clone_from(&org.issuer);
    signer
}

pub(crate) fn assertion(world: &TestWorld, signer: &Signer) -> String {
    let nonce: [u8; 9] = world.world.random();
    signer.assertion(world.now(), &accredit_wire::jose::b64url_encode(&nonce))
}

/// Asks as a signer.
pub(crate) async fn asked(
    world: &TestWorld,
    org: &Org,
    (path, signer): (&str, &Signer),
    more: &[(&str, &str)],
) -> Answer {
    let assertion = assertion(world, signer);
    let form = [("client_assertion_type", ASSERTION_TYPE), ("client_assertion", &assertion)];
    world.ask(Ask::post(org.path(path)).form(&[&form[..], more].concat())).await
}

/// A join token of an agent.
pub(crate) async fn invite(world: &TestWorld, org: &Org, other: &Value) -> Answer {
    let mut body = json!({"agent": "node", "type": "join-token"});
    let members = body.as_object_mut().expect("an object");
    members.extend(other.as_object().expect("an object").clone());
    world.admin(org, "POST", "/v1/credentials", Some(body)).await
}

pub(crate) async fn join(world: &TestWorld, org: &Org, token: &str, jwk: &str) -> Answer {
    let form = [("join_token", token), ("jwk", jwk)];
    world.ask(Ask::post(org.path("/oauth/instances/join")).form(&form)).await
}

/// A node and its key.
pub(crate) struct Node {
    pub(crate) id: String,
    pub(crate) signer: Signer,
}

/// A node that joined with a token, of the agent `node`.
pub(crate) async fn node(world: &TestWorld, org: &Org) -> Node {
    let token = invite(world, org, &json!({})).await.expect(201).member("join_token");
    let signer = key(world);
    let answer = join(world, org, &token, &signer.public_jwk()).await.expect(200);
    Node { id: answer.member("id"), signer: known(signer, org, &answer) }
}

/// A rule on the processes of nodes.
pub(crate) fn process_rule(claims: &Value, other: &Value) -> Value {
    let mut rule = json!({"edge": "node", "claims": claims});
    let members = rule.as_object_mut().expect("an object");
    members.extend(other.as_object().expect("an object").clone());
    rule
}

pub(crate) fn planner_rule() -> Value {
    process_rule(&json!({"path": "/opt/planner/bin/planner", "uid": "1200"}), &json!({}))
}

/// What a node says of a process.
pub(crate) async fn vouch(
    world: &TestWorld,
    org: &Org,
    node: &Signer,
    (selectors, process): (&str, &str),
    jwk: &str,
) -> Answer {
    let form = [("selectors", selectors), ("process", process), ("jwk", jwk)];
    asked(world, org, ("/oauth/instances/attested", node), &form).await
}

/// A process of `planner`.
pub(crate) async fn process(world: &TestWorld, org: &Org, node: &Signer, name: &str) -> Node {
    let signer = key(world);
    let answer = vouch(world, org, node, (PLANNER, name), &signer.public_jwk()).await.expect(200);
    Node { id: answer.member("id"), signer: known(signer, org, &answer) }
}

async fn token(world: &TestWorld, org: &Org, signer: &Signer) -> Answer {
    world.token_by(org, &assertion(world, signer), &[READ]).await
}

async fn is_active(world: &TestWorld, org: &Org, token: &str) -> bool {
    let ask = Ask::post(org.path("/oauth/introspect")).bearer(&org.admin);
    world.ask(ask.form(&[("token", token)])).await.expect(200).json()["active"] == true
}

async fn end(world: &TestWorld, org: &Org, by: &Signer, more: &[(&str, &str)]) -> Answer {
    asked(world, org, ("/oauth/instances/end", by), more).await
}

pub(crate) struct Case {
    pub(crate) world: TestWorld,
    pub(crate) scene: Scene,
    pub(crate) rule: String,
}

impl Case {
    /// The agents `node` and `planner`, with a rule between them.
    pub(crate) async fn begin(seed: u64) -> Self {
        let world = TestWorld::new(seed).await;
        let scene = world.scene().await;
        world.agent(&scene.org, "node", &["crm:delete"]).await;
        let made = add_rule(&world, &scene.org, "planner", planner_rule()).await;
        let rule = made.expect(201).member("id");
        Self { world, scene, rule }
    }
}

#[tokio::test]
async fn whoever_shows_a_join_token_first_is_the_node_and_nobody_after() {
    let Case { world, scene, .. } = Case::begin(7600).await;
    let org = &scene.org;
    let made = invite(&world, org, &json!({"node": {"name": "host-7"}})).await.expect(201);
    let token = made.member("join_token");
    assert!(token.starts_with("acr_join_"), "what it is, is seen");
    assert_eq!(made.member("type"), "join-token");
    let path = format!("/v1/credentials/{}", made.member("id"));
    let shown = world.admin(org, "GET", &path, None).await.expect(200);
    assert!(!shown.text().contains("acr_join_"), "it is told once: {}", shown.text());
    let minutes = JOIN_TOKEN_LIFETIME_DEFAULT_SECONDS;
    let ends = world.now().plus(Duration::from_secs(minutes)).to_string();
    assert_eq!(shown.member("expires_at"), ends);

    let (signer, thief) = (key(&world), key(&world));
    let answer = join(&world, org, &token, &signer.public_jwk()).await.expect(200);
    assert_eq!(
        (answer.member("agent_name").as_str(), answer.member("name").as_str()),
        ("node", "host-7")
    );
    assert_eq!(answer.member("client_id"), answer.member("agent"));
    assert!(answer.member("id").starts_with("ins_") && !answer.member("expires_at").is_empty());
    let signer = known(signer, org, &answer);
    // It is an instance of its agent like any other.
    world.token_by(org, &assertion(&world, &signer), &[("scope", "crm:delete")]).await.expect(200);
    let listed = world.admin(org, "GET", "/v1/instances?agent=node", None).await.expect(200);
    assert!(listed.text().contains(&answer.member("id")));
    // The token was used: by whomever and with whichever key, once more is once too often, and seen.
    for jwk in [thief.public_jwk(), signer.public_jwk()] {
        let again = join(&world, org, &token, &jwk).await;
        again.refused(401, "invalid_client", "join-token-used");
    }
    let refused = events(&world, org, "access.refused").await;
    let mine = refused.iter().filter(|event| event["payload"]["rule"] == "join-token-used");
    let mine: Vec<_> = mine.map(|event| &event["payload"]["credential"]).collect();
    assert_eq!(mine, [made.member("id").as_str(), made.member("id").as_str()]);
    let used = world.admin(org, "GET", &path, None).await.expect(200);
    assert_eq!(used.member("state"), "revoked");
    assert_eq!(used.member("successor"), answer.member("key_credential"), "who has used it");
    let born = events(&world, org, "instance.created").await;
    let born = &born.last().expect("a birth")["payload"];
    assert_eq!(born["changes"]["join_token"], made.member("id").as_str());
    assert_eq!(born["method"], "join-token");
    assert!(!born.to_string().contains(&token), "no secret is in the log");
}

#[tokio::test]
async fn of_two_who_show_a_join_token_at_once_one_joins() {
    let Case { world, scene, .. } = Case::begin(7601).await;
    let org = &scene.org;
    let token = invite(&world, org, &json!({})).await.expect(201).member("join_token");
    let keys: Vec<_> = (0..4).map(|_| key(&world).public_jwk()).collect();
    let joins = keys.iter().map(|jwk| join(&world, org, &token, jwk));
    let answers = futures_util::future::join_all(joins).await;
    let joined = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(joined, 1, "{answers:?}");
    let listed = world.admin(org, "GET", "/v1/instances?agent=node", None).await.expect(200).json();
    assert_eq!(listed["items"].as_array().expect("items").len(), 1, "{listed}");
}

#[tokio::test]
async fn a_join_token_is_good_for_nothing_but_joining_its_own_organization_in_time() {
    let Case { world, scene, .. } = Case::begin(7602).await;
    let org = &scene.org;
    let jwk = key(&world).public_jwk();
    let made = invite(&world, org, &json!({"expires_in": 60})).await.expect(201);
    let token = made.member("join_token");
    // Elsewhere nobody knows it.
    let other = world.found("other").await;
    let answer = join(&world, &other, &token, &jwk).await;
    answer.refused(401, "invalid_client", "client-authentication");
    // At no other door it is a proof.
    let form = [("grant_type", "client_credentials"), READ];
    let client = made.member("client_id");
    for ask in [
        Ask::post(org.path("/oauth/token")).form(&form).bearer(&token),
        Ask::post(org.path("/oauth/token"))
            .form(&[&form[..], &[("client_id", &*client), ("client_secret", &*token)]].concat()),
        Ask::post(org.path("/oauth/introspect")).form(&[("token", "x")]).bearer(&token),
        Ask::get("/v1/agents").bearer(&token),
        Ask::get(org.path("/revocations")).bearer(&token),
    ] {
        let answer = world.ask(ask).await;
        assert!([400, 401, 404].contains(&answer.status), "{} {}", answer.status, answer.text());
    }
    // Nothing that is not quite it.
    let last = if token.ends_with('0') { "1" } else { "0" };
    let bent = format!("{}{last}", &token[..token.len() - 1]);
    for wrong in [bent.as_str(), "acr_join_x", "", scene.client.secret.as_str()] {
        let answer = join(&world, org, wrong, &jwk).await;
        assert!([400, 401].contains(&answer.status), "{wrong}: {}", answer.text());
    }
    // Not beside another proof: which of them counts?
    let form = [("join_token", &*token), ("jwk", &*jwk)];
    let ask = Ask::post(org.path("/oauth/instances/join")).basic(&scene.client).form(&form);
    assert_eq!(world.ask(ask).await.status, 400);
    // A private key is none that leaves its machine.
    let private = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"}"#;
    let answer = join(&world, org, &token, private).await;
    answer.refused(400, "invalid_request", "field-invalid");
    assert!(!answer.text().contains("nWGxne"));
    // None of this has used it up; its time has.
    world.advance(60);
    let answer = join(&world, org, &token, &jwk).await;
    answer.refused(401, "invalid_client", "credential-expired");
    let long = json!({"expires_in": JOIN_TOKEN_LIFETIME_MAX_SECONDS + 1});
    invite(&world, org, &long).await.problem(400, "field-invalid");
    for wrong in [
        json!({"type": "client-secret", "node": {}}),
        json!({"agent": null, "resource": "crm"}),
        json!({"node": {"name": "Host 7"}}),
        json!({"node": {"expires_in": 0}}),
        json!({"node": {"uid": "0"}}),
    ] {
        assert_eq!(invite(&world, org, &wrong).await.status, 400, "{wrong}");
    }
}

#[tokio::test]
async fn a_join_token_of_what_was_ended_joins_nobody() {
    let Case { world, scene, .. } = Case::begin(7603).await;
    let org = &scene.org;
    let jwk = key(&world).public_jwk();
    let ended = invite(&world, org, &json!({})).await.expect(201);
    world.revoke(org, ended.member("id")).await.expect("revoked");
    let answer = join(&world, org, &ended.member("join_token"), &jwk).await;
    answer.refused(401, "invalid_client", "join-token-used");
    let token = invite(&world, org, &json!({})).await.expect(201).member("join_token");
    let reason = Some(json!({"reason": "a test"}));
    world.admin(org, "POST", "/v1/agents/node/suspend", reason.clone()).await.expect(200);
    let answer = join(&world, org, &token, &jwk).await;
    answer.refused(400, "unauthorized_client", "agent-not-active");
    world.admin(org, "POST", "/v1/agents/node/decommission", reason).await.expect(200);
    let answer = join(&world, org, &token, &jwk).await;
    answer.refused(401, "invalid_client", "join-token-used");
    let listed = world.admin(org, "GET", "/v1/instances?agent=node", None).await.expect(200).json();
    assert!(listed["items"].as_array().expect("items").is_empty(), "{listed}");
}

#[tokio::test]
async fn a_process_is_an_instance_of_the_agent_that_a_rule_says() {
    let Case { world, scene, rule } = Case::begin(7604).await;
    let org = &scene.org;
    let node = node(&world, org).await;
    let signer = key(&world);
    let (told, jwk) = ((PLANNER, "boot.1.2"), signer.public_jwk());
    let answer = vouch(&world, org, &node.signer, told, &jwk).await.expect(200);
    assert_eq!(answer.member("agent"), scene.planner.id.to_string());
    assert_eq!(answer.member("agent_name"), "planner");
    assert_eq!(answer.member("vouched_by"), node.id);
    assert_eq!(answer.member("credential"), rule);
    let signer = known(signer, org, &answer);
    let token = token(&world, org, &signer).await.expect(200).member("access_token");
    let read = claims(&token);
    assert_eq!(read["sub"], scene.planner.id.to_string());
    assert!(read.get("act").is_none(), "a node vouches and does not act: {read}");
    let text = read.to_string();
    let agent = world.agent_id(org, "node").await.to_string();
    for needed in [&node.id, &rule, &agent] {
        assert!(text.contains(needed), "{needed} is not in {text}");
    }
    // It has its own agent's authority and nothing of the node's.
    let more = [("scope", "crm:delete")];
    let answer = world.token_by(org, &assertion(&world, &signer), &more).await;
    answer.refused(400, "invalid_scope", "scope-not-held");
    let born = events(&world, org, "instance.created").await;
    let born = &born.last().expect("a birth")["payload"];
    assert_eq!(born["actor"]["id"], agent);
    assert_eq!(born["changes"]["vouched_by"], node.id.as_str());
    assert_eq!(born["changes"]["process"], "boot.1.2");
    assert_eq!(born["credential"], rule.as_str());
}

#[tokio::test]
async fn a_process_has_one_key_and_comes_back_as_itself() {
    let Case { world, scene, .. } = Case::begin(7605).await;
    let org = &scene.org;
    let node = node(&world, org).await;
    let (first, second) = (key(&world), key(&world));
    let told = (PLANNER, "boot.1.2");
    let one = vouch(&world, org, &node.signer, told, &first.public_jwk()).await.expect(200);
    // The same again, as after an answer that was lost.
    let same = vouch(&world, org, &node.signer, told, &first.public_jwk()).await.expect(200);
    assert_eq!(
        (one.member("id"), one.member("key_credential")),
        (same.member("id"), same.member("key_credential"))
    );
    let first = known(first, org, &one);
    let old = token(&world, org, &first).await.expect(200).member("access_token");
    // Another key, as after the node began anew: the same instance, and the first key is over.
    let again = vouch(&world, org, &node.signer, told, &second.public_jwk()).await.expect(200);
    assert_eq!(again.member("id"), one.member("id"));
    let second = known(second, org, &again);
    token(&world, org, &second).await.expect(200);
    token(&world, org, &first).await.refused(401, "invalid_client", "credential-revoked");
    assert!(!is_active(&world, org, &old).await, "what was got with it is over, too");
    // A key that is somebody's is nobody else's.
    let answer = vouch(&world, org, &node.signer, (PLANNER, "boot.3.4"), &first.public_jwk()).await;
    answer.refused(400, "invalid_request", "key-taken");
    // What was revoked does not come back, whatever it brings.
    world.revoke(org, one.member("id")).await.expect("revoked");
    for jwk in [second.public_jwk(), key(&world).public_jwk()] {
        let answer = vouch(&world, org, &node.signer, told, &jwk).await;
        answer.refused(400, "unauthorized_client", "instance-not-active");
    }
}

#[tokio::test]
async fn what_no_rule_is_about_is_nobody() {
    let Case { world, scene, .. } = Case::begin(7606).await;
    let org = &scene.org;
    let node = node(&world, org).await;
    let jwk = key(&world).public_jwk();
    let interpreter = r#"{"path":"/opt/planner/bin/planner","uid":"1200","interpreter":"python"}"#;
    for wrong in [
        r#"{"path":"/opt/planner/bin/planner"}"#,
        r#"{"path":"/opt/planner/bin/planner","uid":"0"}"#,
        r#"{"path":"/opt/planner/bin/planner2","uid":"1200"}"#,
        r#"{"uid":"1200"}"#,
        r#"{"systemd_unit":"planner.service"}"#,
        interpreter,
    ] {
        let answer = vouch(&world, org, &node.signer, (wrong, "p"), &jwk).await;
        answer.refused(400, "unauthorized_client", "workload-agent");
    }
    for wrong in [
        "",
        "{}",
        "[]",
        r#"{"uid":1200}"#,
        r#"{"user":"planner"}"#,
        r#"{"path":"/opt/../opt/planner/bin/planner","uid":"1200"}"#,
        r#"{"uid":"1200","uid":"1200","path":"/opt/planner/bin/planner"}"#,
    ] {
        let answer = vouch(&world, org, &node.signer, (wrong, "p"), &jwk).await;
        assert_eq!(answer.status, 400, "{wrong}: {}", answer.text());
    }
    // Rules of two agents: nobody guesses.
    world.agent(org, "writer", &["crm:read"]).await;
    let both = process_rule(&json!({"path": "/opt/planner/bin/planner"}), &json!({}));
    add_rule(&world, org, "writer", both).await.expect(201);
    let answer = vouch(&world, org, &node.signer, (PLANNER, "p"), &jwk).await;
    answer.refused(400, "unauthorized_client", "workload-agent");
}

#[tokio::test]
async fn only_a_node_of_the_named_agent_vouches() {
    let Case { world, scene, .. } = Case::begin(7607).await;
    let org = &scene.org;
    let jwk = key(&world).public_jwk();
    let form = [("selectors", PLANNER), ("process", "p"), ("jwk", &*jwk)];
    let path = || Ask::post(org.path("/oauth/instances/attested")).form(&form);
    // The agent itself is no machine.
    let own = world.agent_secret(org, "node", None).await;
    let answer = world.ask(path().basic(&own)).await;
    answer.refused(400, "unauthorized_client", "node-not");
    // An instance of an agent that no rule names.
    let other = world.instance(org, "planner", None).await;
    let answer = world.ask(path().basic(&other)).await;
    answer.refused(400, "unauthorized_client", "workload-agent");
    // Nobody.
    assert_eq!(world.ask(path()).await.status, 401);
    let resource = world.resource_secret(org, "crm").await;
    let answer = world.ask(path().basic(&resource)).await;
    answer.refused(400, "unauthorized_client", "grant-not-for-client");
    // An instance by whatever proves it, where a rule names its agent.
    let plain = world.instance(org, "node", None).await;
    world.ask(path().basic(&plain)).await.expect(200);
    // A process for which a node vouched is none itself, even where a rule would let it.
    let node = node(&world, org).await;
    let process = process(&world, org, &node.signer, "q").await;
    world.agent(org, "worker", &["crm:read"]).await;
    let nested = json!({"edge": "planner", "claims": {"path": "/opt/worker"}});
    add_rule(&world, org, "worker", nested).await.expect(201);
    let said = (r#"{"path":"/opt/worker"}"#, "r");
    let answer = vouch(&world, org, &process.signer, said, &key(&world).public_jwk()).await;
    answer.refused(400, "unauthorized_client", "node-not");
    let way = ("/oauth/instances/join", &process.signer);
    asked(&world, org, way, &[("jwk", &jwk)]).await.refused(400, "unauthorized_client", "node-not");
}

#[tokio::test]
async fn births_are_bounded_by_their_rule() {
    let Case { world, scene, rule } = Case::begin(7608).await;
    let org = &scene.org;
    world.revoke(org, rule).await.expect("revoked");
    let claims = json!({"path": "/opt/planner/bin/planner"});
    let few = process_rule(&claims, &json!({"births_per_hour": 2, "instance_lifetime": 120}));
    add_rule(&world, org, "planner", few).await.expect(201);
    let node = node(&world, org).await;
    process(&world, org, &node.signer, "1").await;
    let second = process(&world, org, &node.signer, "2").await;
    let jwk = key(&world).public_jwk();
    let answer = vouch(&world, org, &node.signer, (PLANNER, "3"), &jwk).await;
    assert_eq!(answer.status, 429, "{}", answer.text());
    assert!(answer.text().contains("births-too-many"));
    // Who is there already comes again.
    vouch(&world, org, &node.signer, (PLANNER, "2"), &jwk).await.expect(200);
    // An instance whose time is over makes room for another, with the hour.
    world.advance(3600);
    assert_eq!(token(&world, org, &second.signer).await.status, 401);
    let next = process(&world, org, &node.signer, "2").await;
    assert_ne!(next.id, second.id);
}

#[tokio::test]
async fn revoking_a_node_ends_what_was_born_there_and_nothing_else() {
    let Case { world, scene, .. } = Case::begin(7609).await;
    let org = &scene.org;
    let (here, there) = (node(&world, org).await, node(&world, org).await);
    let mine = process(&world, org, &here.signer, "1").await;
    let other = process(&world, org, &there.signer, "1").await;
    assert_ne!(mine.id, other.id, "what a node calls a process is its own");
    let token_of = async |signer: &Signer| token(&world, org, signer).await;
    let access = token_of(&mine.signer).await.expect(200).member("access_token");
    let others = token_of(&other.signer).await.expect(200).member("access_token");
    let form = [("csr", &*crate::certificates::csr())];
    let svid = asked(&world, org, ("/oauth/certificates", &mine.signer), &form).await.expect(200);
    assert_eq!(standing(&world, org, &svid.member("id")).await, "valid");
    let preview = format!("/v1/revocations/preview?target={}", here.id);
    let effect = world.admin(org, "GET", &preview, None).await.expect(200).json();
    assert_eq!(effect["blast"]["instances"], 2, "{effect}");

    world.revoke(org, &here.id).await.expect("revoked");
    assert!(!is_active(&world, org, &access).await);
    assert_eq!(standing(&world, org, &svid.member("id")).await, "revoked");
    assert_eq!(token_of(&mine.signer).await.status, 401);
    let shown = world.admin(org, "GET", &format!("/v1/instances/{}", mine.id), None).await;
    assert_eq!(shown.expect(200).member("state"), "revoked");
    assert_eq!(vouch(&world, org, &here.signer, (PLANNER, "2"), "{}").await.status, 401);
    // The other machine, and the other processes of the agent, go on.
    assert!(is_active(&world, org, &others).await);
    token_of(&other.signer).await.expect(200);
    world.token(org, &scene.client, &[READ]).await.expect(200);
}

#[tokio::test]
async fn what_a_process_brings_into_being_hangs_on_its_node_too() {
    let Case { world, scene, .. } = Case::begin(7616).await;
    let org = &scene.org;
    world.resource(org, "worker", &["spawn"]).await;
    for (name, allow) in [("boss", &["worker:spawn", "crm:read"][..]), ("worker", &["crm:read"])] {
        let allow = allow.iter().map(ToString::to_string).collect();
        let name = name.to_owned();
        let asked = CreateAgent { name, allow, may_delegate: true, ..CreateAgent::default() };
        world.agent_like(org, asked).await;
    }
    let served = json!({"agent": "worker"});
    world.admin(org, "PATCH", "/v1/resources/worker", Some(served)).await.expect(200);
    let rule = process_rule(&json!({"path": "/opt/boss"}), &json!({}));
    add_rule(&world, org, "boss", rule).await.expect(201);
    let node = node(&world, org).await;
    let boss = key(&world);
    let said = (r#"{"path":"/opt/boss"}"#, "1");
    let answer = vouch(&world, org, &node.signer, said, &boss.public_jwk()).await.expect(200);
    let boss = known(boss, org, &answer);
    let task = asked(&world, org, ("/oauth/tasks", &boss), &[("purpose", "a test")]).await;
    let task = task.expect(200).member("id");
    let form = [("agent", "worker"), ("task", &*task), READ];
    let made = asked(&world, org, ("/oauth/instances", &boss), &form).await.expect(200);
    let child = accredit_testkit::Client {
        id: made.member("client_id"),
        secret: made.member("client_secret"),
        credential: made.member("credential"),
        instance: None,
    };
    let access = world.token(org, &child, &[READ]).await.expect(200).member("access_token");
    assert!(claims(&access).to_string().contains(&node.id));
    // An administrator gives no children to what is known by a rule, which is its agent's.
    let body = json!({"agent": "worker", "parent": answer.member("id"), "task": task,
        "allow": ["crm:read"]});
    let refused = world.admin(org, "POST", "/v1/instances", Some(body)).await;
    refused.problem(400, "field-invalid");
    world.revoke(org, &node.id).await.expect("revoked");
    assert!(!is_active(&world, org, &access).await);
    let answer = world.token(org, &child, &[READ]).await;
    assert!([400, 401].contains(&answer.status), "{}", answer.text());
    let path = format!("/v1/instances/{}", made.member("id"));
    let shown = world.admin(org, "GET", &path, None).await.expect(200);
    assert_eq!(shown.member("state"), "revoked");
}

#[tokio::test]
async fn each_of_those_by_whose_word_a_process_is_ends_it() {
    for what in ["rule", "agent", "owner", "process", "planner"] {
        let Case { world, scene, rule } = Case::begin(7610).await;
        let org = &scene.org;
        let node = node(&world, org).await;
        let mine = process(&world, org, &node.signer, "1").await;
        let access = token(&world, org, &mine.signer).await.expect(200).member("access_token");
        let found = world.admin(org, "GET", "/v1/agents/node", None).await.expect(200);
        let target = match what {
            "rule" => rule,
            "agent" => found.member("id"),
            "owner" => found.member("owner"),
            "process" => mine.id.clone(),
            _ => scene.planner.id.to_string(),
        };
        world.revoke(org, &target).await.expect("revoked");
        assert!(!is_active(&world, org, &access).await, "{what}");
        let answer = token(&world, org, &mine.signer).await;
        assert!([400, 401].contains(&answer.status), "{what}: {}", answer.text());
        // Only the agent's own kill, or the process's, leaves the node alone.
        let form = [("scope", "crm:delete")];
        let nodes = world.token_by(org, &assertion(&world, &node.signer), &form).await;
        assert_eq!(nodes.status == 200, !["agent", "owner"].contains(&what), "{what}");
    }
}

#[tokio::test]
async fn a_process_whose_rule_was_ended_is_another_instance_under_the_next() {
    let Case { world, scene, rule } = Case::begin(7611).await;
    let org = &scene.org;
    let node = node(&world, org).await;
    let mine = process(&world, org, &node.signer, "1").await;
    let next = process_rule(&json!({"path": "/opt/planner/bin/planner"}), &json!({}));
    add_rule(&world, org, "planner", next).await.expect(201);
    let same = process(&world, org, &node.signer, "1").await;
    assert_eq!(same.id, mine.id, "while its rule stands it is the same");
    world.revoke(org, rule).await.expect("revoked");
    token(&world, org, &same.signer).await.refused(
        400,
        "unauthorized_client",
        "instance-not-active",
    );
    let other = process(&world, org, &node.signer, "1").await;
    assert_ne!(other.id, mine.id);
    token(&world, org, &other.signer).await.expect(200);
    token(&world, org, &same.signer).await.refused(
        400,
        "unauthorized_client",
        "instance-not-active",
    );
}

#[tokio::test]
async fn a_node_ends_what_it_vouched_for_and_a_process_itself() {
    let Case { world, scene, .. } = Case::begin(7612).await;
    let org = &scene.org;
    let (here, there) = (node(&world, org).await, node(&world, org).await);
    let mine = process(&world, org, &here.signer, "1").await;
    let sibling = process(&world, org, &here.signer, "2").await;
    // Not by another node, another process, or the agent of the process.
    for by in [&there.signer, &sibling.signer] {
        let answer = end(&world, org, by, &[("instance", &mine.id)]).await;
        assert!(answer.text().contains("not-found"), "{}", answer.text());
    }
    let plain = world.instance(org, "planner", None).await;
    let ask = Ask::post(org.path("/oauth/instances/end")).basic(&plain);
    let answer = world.ask(ask.form(&[("instance", &mine.id)])).await;
    assert!(answer.text().contains("not-found"), "{}", answer.text());
    // What there is not, and what is not its own, are one answer but for the id.
    let none = accredit_wire::ids::InstanceId::new(1, [1; 10]).to_string();
    let absent = end(&world, org, &there.signer, &[("instance", &none)]).await;
    let foreign = end(&world, org, &there.signer, &[("instance", &mine.id)]).await;
    assert_eq!(absent.text().replace(&none, "X"), foreign.text().replace(&mine.id, "X"));
    token(&world, org, &mine.signer).await.expect(200);
    let ended =
        end(&world, org, &here.signer, &[("instance", &mine.id), ("reason", "exited")]).await;
    assert_eq!(ended.expect(200).member("state"), "revoked");
    assert_eq!(token(&world, org, &mine.signer).await.status, 401);
    // The sibling of the same program goes on, until it ends itself.
    token(&world, org, &sibling.signer).await.expect(200);
    end(&world, org, &sibling.signer, &[]).await.expect(200);
    assert_eq!(token(&world, org, &sibling.signer).await.status, 401);
    let told = events(&world, org, "instance.revoked").await;
    assert!(told.iter().any(|event| event["payload"]["reason"] == "exited"));
}

/// A node that joined by the word of a platform.
async fn platform_node(
    world: &TestWorld,
    org: &Org,
    platform: &Platform,
    other: &Value,
) -> (Answer, Signer) {
    joined(world, org, &platform.token(world, org, other)).await
}

/// What comes of joining with a platform's token, and the key.
pub(crate) async fn joined(world: &TestWorld, org: &Org, token: &str) -> (Answer, Signer) {
    let signer = key(world);
    let jwk = signer.public_jwk();
    let form =
        [("client_assertion_type", ASSERTION_TYPE), ("client_assertion", token), ("jwk", &*jwk)];
    let answer = world.ask(Ask::post(org.path("/oauth/instances/join")).form(&form)).await;
    let signer = if answer.status == 200 { known(signer, org, &answer) } else { signer };
    (answer, signer)
}

#[tokio::test]
async fn a_platform_vouches_for_a_node_and_what_is_born_there_hangs_on_it() {
    let Case { world, scene, .. } = Case::begin(7613).await;
    let org = &scene.org;
    let platform = Platform::begin(&world, org, "k8s").await;
    let made = add_rule(&world, org, "node", rule("k8s", &json!({}))).await.expect(201);
    let (answer, signer) = platform_node(&world, org, &platform, &json!({})).await;
    let answer = answer.expect(200);
    let federation = world.admin(org, "GET", "/v1/federations/k8s", None).await.expect(200);
    assert_eq!(answer.member("vouched_by"), federation.member("id"));
    // The same pod again: the same node, with its new key alone.
    let (again, next) = platform_node(&world, org, &platform, &json!({})).await;
    assert_eq!(again.expect(200).member("id"), answer.member("id"));
    let mine = process(&world, org, &next, "1").await;
    let jwk = key(&world).public_jwk();
    let old = vouch(&world, org, &signer, (PLANNER, "2"), &jwk).await;
    old.refused(401, "invalid_client", "credential-revoked");
    // A token that was used, or is for somebody else, proves nothing.
    let used = platform.token(&world, org, &json!({}));
    let form = |token: &'static str| {
        [("client_assertion_type", ASSERTION_TYPE), ("client_assertion", token), ("jwk", "{}")]
    };
    let used: &'static str = Box::leak(used.into_boxed_str());
    let path = org.path("/oauth/instances/join");
    world.ask(Ask::post(&path).form(&form(used))).await.refused(
        400,
        "invalid_request",
        "field-invalid",
    );
    let replayed = world.ask(Ask::post(&path).form(&form(used))).await;
    replayed.refused(401, "invalid_client", "assertion-replayed");
    let (other, _) = platform_node(&world, org, &platform, &json!({"aud": "other"})).await;
    other.refused(401, "invalid_client", "assertion-audience");

    let access = token(&world, org, &mine.signer).await.expect(200).member("access_token");
    for needed in [federation.member("id"), made.member("id"), answer.member("id")] {
        assert!(claims(&access).to_string().contains(&needed), "{needed}");
    }
    let reason = Some(json!({"reason": "a test"}));
    world.admin(org, "POST", "/v1/federations/k8s/suspend", reason.clone()).await.expect(200);
    assert!(!is_active(&world, org, &access).await);
    token(&world, org, &mine.signer).await.refused(
        400,
        "unauthorized_client",
        "instance-not-active",
    );
    let form = [("scope", "crm:delete")];
    let nodes = world.token_by(org, &assertion(&world, &next), &form).await;
    nodes.refused(400, "unauthorized_client", "instance-not-active");
    let answer = vouch(&world, org, &next, (PLANNER, "3"), &jwk).await;
    answer.refused(400, "unauthorized_client", "instance-not-active");
    world.admin(org, "POST", "/v1/federations/k8s/activate", reason).await.expect(200);
    token(&world, org, &mine.signer).await.expect(200);
    // The platform's rule, in the end.
    world.revoke(org, made.member("id")).await.expect("revoked");
    token(&world, org, &mine.signer).await.refused(
        400,
        "unauthorized_client",
        "instance-not-active",
    );
}

#[tokio::test]
async fn an_instance_joins_by_what_it_proves_itself_with_and_never_outlives_that() {
    let Case { world, scene, .. } = Case::begin(7614).await;
    let org = &scene.org;
    let old = world.instance(org, "node", None).await;
    let of = old.instance.expect("an instance").to_string();
    let short = world.short_key(org, "node", Some(of.clone()), "short", 600).await;
    let signer = key(&world);
    let jwk = signer.public_jwk();
    let form = [("jwk", &*jwk)];
    let answer = asked(&world, org, ("/oauth/instances/join", &short), &form).await.expect(200);
    assert_eq!(answer.member("id"), of);
    let ends = world.now().plus(Duration::from_mins(10)).to_string();
    assert_eq!(answer.member("key_expires_at"), ends, "no longer than the key that proved it");
    process(&world, org, &known(signer, org, &answer), "1").await;
    // A certificate of ours would be renewed by itself for ever.
    let (der, _) = crate::mtls::svid(&world, org, &old).await;
    let over = async |der: &[u8], jwk: &str| {
        let form = [("client_id", &*old.id), ("jwk", jwk)];
        world.ask(Ask::post(org.path("/oauth/instances/join")).over(der).form(&form)).await
    };
    over(&der, &key(&world).public_jwk()).await.refused(
        400,
        "unauthorized_client",
        "grant-not-for-client",
    );
    // A key that was registered, as a certificate of the connection, is that key.
    let own = crate::mtls::Own::new();
    let register = json!({"instance": of, "type": "public-key", "jwk": own.jwk()});
    world.admin(org, "POST", "/v1/credentials", Some(register)).await.expect(201);
    let by_key = over(&own.der, &key(&world).public_jwk()).await;
    assert_eq!(by_key.expect(200).member("id"), of);
}

#[tokio::test]
async fn rules_on_processes_are_narrow_or_refused() {
    let Case { world, scene, .. } = Case::begin(7615).await;
    let org = &scene.org;
    let digest = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    for (claims, says) in [
        (json!({"path": "/usr/bin/python3.12", "uid": "1200"}), "systemd_unit"),
        (json!({"path": "/usr/bin/node", "sha256": digest}), "systemd_unit"),
        (json!({"interpreter": "python", "uid": "1200"}), "systemd_unit"),
        (json!({"uid": "1200", "gid": "1200"}), "many programs"),
        (json!({"path": "/opt/planner", "uid": "0"}), "user of its own"),
        (json!({"path": "/opt/planner", "uid": "65534"}), "user of its own"),
        (json!({"path": "/opt/*"}), ""),
        (json!({"path": "planner"}), "attest rule"),
        (json!({"exe": "/opt/planner"}), "attest rule"),
        (json!({"sha256": digest.to_uppercase()}), "attest rule"),
        (json!({}), "attest rule"),
    ] {
        let answer = add_rule(&world, org, "planner", process_rule(&claims, &json!({}))).await;
        if claims["path"] == "/opt/*" {
            // A `*` is a letter like any other: nothing is a pattern.
            answer.expect(201);
            continue;
        }
        answer.problem(400, "field-invalid");
        let hint = answer.member("hint");
        assert!(hint.contains(says), "{claims}: {hint}");
    }
    let claims = json!({"path": "/opt/planner"});
    for other in [
        json!({"audience": "api://x"}),
        json!({"instance_by": ["jti"]}),
        json!({"age_max": 60}),
        json!({"births_per_hour": 0}),
        json!({"edge": null}),
        json!({"edge": "planner"}),
    ] {
        let answer = add_rule(&world, org, "planner", process_rule(&claims, &other)).await;
        answer.problem(400, "field-invalid");
    }
    let nobody = process_rule(&claims, &json!({"edge": "nobody"}));
    add_rule(&world, org, "planner", nobody).await.problem(404, "not-found");
    let rehearsal = json!({"name": "rehearsal", "audience": "https://rehearsal.example/",
        "actions": ["read"], "environment": "staging"});
    world.admin(org, "POST", "/v1/resources", Some(rehearsal)).await.expect(201);
    // A machine of one environment vouches for nothing of another.
    let asked = CreateAgent {
        name: "live".to_owned(),
        environment: Some("staging".to_owned()),
        allow: vec!["rehearsal:read".to_owned()],
        ..CreateAgent::default()
    };
    world.agent_like(org, asked).await;
    let answer = add_rule(&world, org, "live", process_rule(&claims, &json!({}))).await;
    answer.problem(400, "environment-boundary");
    // What is stored is shown.
    let listed = world.admin(org, "GET", "/v1/credentials?agent=planner", None).await.expect(200);
    let listed = listed.json();
    let shown =
        listed["items"].as_array().expect("items").iter().find(|row| row["type"] == "workload");
    let agent = world.agent_id(org, "node").await.to_string();
    assert_eq!(shown.expect("the rule")["workload"]["edge"], agent.as_str());
}
