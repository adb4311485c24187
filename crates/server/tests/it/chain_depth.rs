//! How long a chain may be is the organization's to say, up to what a token can hold.

use accredit_domain::registry::agent::CreateAgent;
use accredit_testkit::{Client, Org, TestWorld};
use accredit_wire::jose::TOKEN_BYTES_MAX;
use accredit_wire::token::{CHAIN_DEPTH_MAX, LINEAGE_MAX};
use serde_json::{Value, json};

use crate::claims;
use crate::exchange::{ask, exchange};

const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

/// As many agents as make the longest chain and one more: each serves a resource, and may call any.
struct Line {
    world: TestWorld,
    org: Org,
    agents: Vec<Client>,
}

impl Line {
    async fn begin(seed: u64) -> Self {
        let world = TestWorld::new(seed).await;
        let org = world.found("acme").await;
        let names: Vec<String> = (0..=CHAIN_DEPTH_MAX).map(|at| format!("a{at}")).collect();
        for name in &names {
            world.resource(&org, name, &["run"]).await;
        }
        let allow: Vec<String> = names.iter().map(|name| format!("{name}:run")).collect();
        let mut agents = Vec::new();
        for name in &names {
            let (name, allow) = (name.clone(), allow.clone());
            let asked = CreateAgent { name, allow, may_delegate: true, ..CreateAgent::default() };
            let made = world.agent_like(&org, asked).await;
            let path = format!("/v1/resources/{}", made.name);
            let served = Some(json!({"agent": made.name}));
            world.admin(&org, "PATCH", &path, served).await.expect(200);
            agents.push(world.instance(&org, &made.name, None).await);
        }
        Self { world, org, agents }
    }

    async fn depth_max(&self, depth: Value) -> accredit_testkit::Answer {
        let body = Some(json!({ "chain_depth_max": depth }));
        self.world.admin(&self.org, "PATCH", "/v1/orgs/acme", body).await
    }

    /// What the agent at a place gets with what was sent to it, for the next one.
    async fn step(&self, token: &str, at: usize) -> accredit_testkit::Answer {
        let scope = format!("a{}:run", (at + 1) % self.agents.len());
        exchange(&self.world, &self.org, &self.agents[at], token, &scope).await
    }
}

#[tokio::test]
async fn the_longest_chain_of_a_user_in_a_task_is_issued_verified_and_ended() {
    let line = Line::begin(4301).await;
    let (world, org) = (&line.world, &line.org);
    line.depth_max(json!(CHAIN_DEPTH_MAX)).await.expect(200);
    let (idp, key) = world.idp().await;
    let rules: Vec<String> =
        (0..=CHAIN_DEPTH_MAX).map(|at| format!("groups contains sales => a{at}:run")).collect();
    let corp = json!({"name": "corp", "issuer": idp.issuer(), "jwks_url": idp.jwks_url(),
        "audiences": ["accredit"], "rules": rules});
    world.admin(org, "POST", "/v1/federations", Some(corp)).await.expect(201);
    let task = json!({"agent": "a0", "purpose": "a long way"});
    let task = world.admin(org, "POST", "/v1/tasks", Some(task)).await.expect(201).member("id");
    let now = world.now().seconds();
    let mia = json!({"iss": idp.issuer(), "sub": "mia", "aud": "accredit", "iat": now,
        "exp": now + 200, "groups": ["sales"]});
    let mia = key.sign(&json!({"alg": "ES256", "kid": "k1"}), &mia);
    let form = [
        ("subject_token", mia.as_str()),
        ("subject_token_type", JWT),
        ("scope", "a1:run"),
        ("task", &task),
    ];
    let first = ask(world, org, &line.agents[0], &form).await.expect(200);
    let mut token = first.member("access_token");
    for at in 1..CHAIN_DEPTH_MAX {
        // The worst case: each hop is signed by another key, which the lineage names too.
        let rotated = json!({"purpose": "token", "now": true});
        world.admin(org, "POST", "/v1/signing-keys/rotate", Some(rotated)).await.expect(201);
        token = line.step(&token, at).await.expect(200).member("access_token");
    }
    let said = claims(&token);
    assert_eq!(said["accredit"]["depth"], json!(CHAIN_DEPTH_MAX));
    assert_eq!(said["accredit"]["kind"], "user");
    let ids = said["accredit"]["lin"].as_array().expect("ids").len();
    assert!((75..=LINEAGE_MAX).contains(&ids), "{ids} ids");
    assert!(token.len() < TOKEN_BYTES_MAX, "{} bytes", token.len());
    let verifier = &world.tenant(org).await.verifier;
    let principal = verifier.verify_token(&token, world.now()).expect("whoever gets it reads it");
    assert_eq!(principal.chain().len(), CHAIN_DEPTH_MAX);
    // One more is more than any organization may allow.
    let deeper = line.step(&token, CHAIN_DEPTH_MAX).await;
    deeper.refused(400, "invalid_request", "chain-too-deep");
    // What ends the first ends the last.
    let end = json!({"reason": "done"});
    world.admin(org, "POST", &format!("/v1/tasks/{task}/end"), Some(end)).await.expect(200);
    assert!(verifier.verify_token(&token, world.now()).is_err());
}

#[tokio::test]
async fn an_organization_says_how_long_chains_are_and_is_obeyed_at_once() {
    let line = Line::begin(4302).await;
    let org = line.world.admin(&line.org, "GET", "/v1/orgs/acme", None).await.expect(200);
    assert_eq!(org.json()["chain_depth_max"], 4, "where nobody said");
    for wrong in [json!(0), json!(17), json!(-1), json!(256), json!("4"), json!(1.5)] {
        line.depth_max(wrong).await.problem(400, "field-invalid");
    }
    let first = line.world.token(&line.org, &line.agents[0], &[("scope", "a1:run")]).await;
    let first = first.expect(200).member("access_token");
    line.depth_max(json!(1)).await.expect(200);
    let second = line.step(&first, 1).await.expect(200).member("access_token");
    line.step(&second, 2).await.refused(400, "invalid_request", "chain-too-deep");
    line.depth_max(json!(2)).await.expect(200);
    let third = line.step(&second, 2).await.expect(200).member("access_token");
    line.step(&third, 3).await.refused(400, "invalid_request", "chain-too-deep");
    // Fewer from now on: what there is ends with its tokens, and its holder may still narrow it.
    line.depth_max(json!(1)).await.expect(200);
    line.step(&second, 2).await.refused(400, "invalid_request", "chain-too-deep");
    let narrowed = exchange(&line.world, &line.org, &line.agents[2], &third, "a3:run").await;
    assert_eq!(claims(&narrowed.expect(200).member("access_token"))["accredit"]["depth"], 2);
    // Somebody else's organization is another matter, and the change stands in the log.
    let other = line.world.found("other").await;
    let theirs = line.world.admin(&other, "GET", "/v1/orgs/other", None).await.expect(200);
    assert_eq!(theirs.json()["chain_depth_max"], 4);
    let told = crate::events(&line.world, &line.org, "organization.updated").await;
    let depths: Vec<_> =
        told.iter().map(|event| event["payload"]["changes"]["chain_depth_max"].clone()).collect();
    assert_eq!(depths, [json!("1"), json!("2"), json!("1")]);
}
