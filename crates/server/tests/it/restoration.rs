//! After a restore: what the old log ended is ended again, and only the old log is believed.

use accredit_domain::Refusal;
use accredit_domain::registry::operator::renew;
use accredit_domain::restoration::reconcile::{Ends, OldLog, Reconciled, reconcile};
use accredit_testkit::fixture::{Client, Scene};
use accredit_testkit::{Ask, TestWorld};
use accredit_wire::api_key::ApiKey;
use accredit_wire::crypto::Algorithm;
use serde_json::json;

use crate::for_a_time::{lift, settle};

const READ: (&str, &str) = ("scope", "crm:read");

/// A world with an agent, its secret, and a copy of it that was restored as another generation.
struct Twice {
    old: TestWorld,
    scene: Scene,
    secret: Client,
}

impl Twice {
    async fn begin() -> Self {
        let old = TestWorld::new(11).await;
        let scene = old.scene().await;
        let secret = old.agent_secret(&scene.org, "planner", None).await;
        Self { old, scene, secret }
    }

    async fn restored(&self) -> TestWorld {
        self.old.copied(12).await.restored(&self.scene.org, 13).await
    }

    async fn export(&self) -> String {
        export(&self.old, &self.scene).await
    }
}

async fn export(world: &TestWorld, scene: &Scene) -> String {
    let exported = world.admin(&scene.org, "GET", "/v1/events/export", None).await.expect(200);
    exported.text().to_owned()
}

async fn read(world: &TestWorld, scene: &Scene, export: &str) -> Result<Ends, Refusal> {
    let cx = world.cx(&scene.org).await;
    let mut log = OldLog::new(&cx).await.expect("a restored store");
    for line in export.lines() {
        log.line(line).await.expect("a readable store");
    }
    log.finish()
}

async fn reconciled(world: &TestWorld, scene: &Scene, export: &str) -> Reconciled {
    let ends = read(world, scene, export).await.expect("the old log");
    let mut done = Reconciled::default();
    reconcile(&world.cx(&scene.org).await, &ends, &mut done).await.expect("reconciled");
    done
}

async fn check_refused(world: &TestWorld, scene: &Scene, export: &str, says: &str) {
    let refusal = read(world, scene, export).await.expect_err(says);
    assert!(refusal.detail.contains(says), "`{says}` is not in {refusal}");
}

#[tokio::test]
async fn nothing_is_issued_and_nothing_of_before_lives_until_somebody_says_so() {
    let twice = Twice::begin().await;
    let Twice { old, scene, secret } = &twice;
    let token = old.token(&scene.org, secret, &[READ]).await.expect(200).member("access_token");
    let world = twice.restored().await;
    let answer = world.token(&scene.org, secret, &[READ]).await;
    assert_eq!((answer.status, &*answer.member("rule")), (503, "issuing-closed"));
    // So for a stranger: it is said to all, and recorded for none.
    let stranger = Client { secret: "nothing".to_owned(), ..secret.clone() };
    assert_eq!(world.token(&scene.org, &stranger, &[READ]).await.status, 503);
    let introspect = Ask::post(scene.org.path("/oauth/introspect")).bearer(&scene.org.admin);
    let told = world.ask(introspect.form(&[("token", &token)])).await.expect(200);
    assert_eq!(told.json()["active"], false);
    let org = world.admin(&scene.org, "GET", "/v1/orgs/acme", None).await.expect(200).json();
    assert_eq!(
        (&org["issuing"], &org["generation"], &org["rev"]),
        (&json!("closed"), &json!(2), &json!(2u64 << 40))
    );
    // Registering goes on.
    world.agent_secret(&scene.org, "planner", None).await;
    let waive = Some(json!({"reason": "a test"}));
    world.admin(&scene.org, "POST", "/v1/restore/waive", waive.clone()).await.expect(200);
    world.token(&scene.org, secret, &[READ]).await.expect(200);
    assert_eq!(world.admin(&scene.org, "POST", "/v1/restore/waive", waive).await.status, 409);
    assert_eq!(crate::events(&world, &scene.org, "restore.waived").await.len(), 1);
    // The old server knows nothing of all this.
    assert_eq!(old.token(&scene.org, secret, &[READ]).await.status, 200);
}

#[tokio::test]
async fn an_assertion_of_before_the_restore_is_not_used_again_after_it() {
    let twice = Twice::begin().await;
    let Twice { old, scene, .. } = &twice;
    let signer = old.agent_key(&scene.org, "planner", "k1", Algorithm::EdDsa).await;
    let world = twice.restored().await;
    // Used after the backup: the restored store does not know of it.
    let assertion = signer.assertion(old.now(), "once");
    old.token_by(&scene.org, &assertion, &[READ]).await.expect(200);
    let waive = Some(json!({"reason": "a test"}));
    world.admin(&scene.org, "POST", "/v1/restore/waive", waive).await.expect(200);
    let answer = world.token_by(&scene.org, &assertion, &[READ]).await;
    assert_eq!((answer.status, &*answer.member("rule")), (401, "assertion-replayed"));
    let world = world.reopened(14).await;
    let answer = world.token_by(&scene.org, &assertion, &[READ]).await;
    assert_eq!(&*answer.member("rule"), "assertion-replayed", "nor after the next start");
    // Ten minutes later no assertion of before is alive.
    world.advance(600);
    let assertion = signer.assertion(world.now(), "later");
    world.token_by(&scene.org, &assertion, &[READ]).await.expect(200);
}

#[tokio::test]
async fn whatever_the_old_log_ended_is_ended_again() {
    let twice = Twice::begin().await;
    let Twice { old, scene, secret } = &twice;
    let org = &scene.org;
    let erp = old.resource(org, "erp", &["read"]).await;
    for name in ["owned", "paused", "moved"] {
        old.agent(org, name, &["crm:read"]).await;
    }
    let [owned, paused, moved] = [
        old.agent_secret(org, "owned", None).await,
        old.agent_secret(org, "paused", None).await,
        old.agent_secret(org, "moved", None).await,
    ];
    let keys = old.admin(org, "GET", "/v1/signing-keys", None).await.expect(200).json();
    let is_active =
        |key: &&serde_json::Value| key["purpose"] == "token" && key["state"] == "active";
    let key = keys["items"].as_array().expect("items").iter().find(is_active).expect("a key");
    let key = key["id"].as_str().expect("an id").to_owned();
    let tenant = old.tenant(org).await;
    let operator = renew(&old.world, &tenant, old.now()).await.expect("an operator's key");
    let world = twice.restored().await;
    let orgs = || Ask::get("/v1/orgs").bearer(operator.expose());
    world.ask(orgs()).await.expect(200);
    renew(&old.world, &tenant, old.now()).await.expect("another");

    let person = old.admin(org, "GET", "/v1/persons/owned-owner@example.com", None).await;
    old.revoke(org, person.expect(200).json()["id"].as_str().expect("an id")).await.expect("done");
    old.revoke(org, erp.id).await.expect("done");
    old.revoke(org, &key).await.expect("done");
    let reason = Some(json!({"reason": "a test"}));
    // Suspended and activated again: it is as it was.
    for verb in ["suspend", "activate"] {
        let path = format!("/v1/agents/paused/{verb}");
        old.admin(org, "POST", &path, reason.clone()).await.expect(200);
    }
    let moving = Some(json!({"environment": "staging"}));
    old.admin(org, "PATCH", "/v1/agents/moved", moving).await.expect(200);
    // Made and ended since: there is nothing to be ended.
    let since = old.agent_secret(org, "planner", None).await;
    old.revoke(org, &since.credential).await.expect("done");
    // The owner's key that the backup knows is replaced, and ended.
    let asked = Some(json!({"role": "owner", "purpose": "a test"}));
    let owner = old.admin(org, "POST", "/v1/admin-keys", asked).await.expect(201).json();
    let owner = owner["admin_token"].as_str().expect("a key").to_owned();
    let first = ApiKey::parse(&org.admin).expect("a key").credential.to_string();
    let body = json!({"target": first, "reason": "a test"});
    old.ask(Ask::post("/v1/revocations").bearer(&owner).json(&body)).await.expect(201);
    let exported = old.ask(Ask::get("/v1/events/export").bearer(&owner)).await.expect(200);

    let done = reconciled(&world, scene, exported.text()).await;
    assert_eq!((done.ended, done.changed, done.passed_over), (4, 1, 1), "{done:?}");
    let new = done.owner_key.as_ref().expect("somebody must be able to go on").expose().to_owned();
    let refused = world.admin(org, "GET", "/v1/agents", None).await;
    assert_eq!(refused.status, 401, "{}", refused.text());
    world.ask(Ask::get("/v1/agents").bearer(&new)).await.expect(200);

    assert_eq!(world.ask(orgs()).await.status, 401, "the operator's key was replaced");
    let rule = async |client: &Client| {
        let answer = world.token(org, client, &[READ]).await;
        (answer.status, answer.member("rule"))
    };
    assert_eq!(rule(&owned).await.1, "owner-not-active");
    assert_eq!(rule(&moved).await.1, "agent-not-active");
    assert_eq!(rule(&paused).await.0, 200);
    assert_eq!(rule(secret).await.0, 200);
    let keys = world.ask(Ask::get("/v1/signing-keys").bearer(&new)).await.expect(200).json();
    let state = |wanted: &str| {
        let mut keys = keys["items"].as_array().expect("items").iter();
        keys.find(|key| key["id"] == wanted).expect("a key")["state"].clone()
    };
    assert_eq!(state(&key), "revoked");
    let told = world.ask(Ask::get("/v1/resources/erp").bearer(&new)).await.expect(200).json();
    assert_eq!(told["state"], "suspended");
    let report = world.ask(Ask::post("/v1/log/fsck").bearer(&new)).await.expect(200).json();
    assert_eq!(report["ok"], true, "{report}");
}

#[tokio::test]
async fn what_was_ended_for_a_time_is_ended_again_until_that_time() {
    let twice = Twice::begin().await;
    let Twice { old, scene, secret } = &twice;
    let (org, planner) = (&scene.org, scene.planner.id);
    let other = old.agent(org, "other", &["crm:read"]).await;
    let theirs = old.agent_secret(org, "other", None).await;
    let world = twice.restored().await;
    for (agent, seconds) in [(other.id, 10), (planner, 1800)] {
        let body = json!({"target": agent, "reason": "a test", "expires_in": seconds});
        old.admin(org, "POST", "/v1/revocations", Some(body)).await.expect(201);
    }
    let ends_at = old.now().plus(std::time::Duration::from_mins(30));
    settle(&world);
    let done = reconciled(&world, scene, &twice.export().await).await;
    // The one would go on by now; the other goes on when it would have.
    assert_eq!((done.ended, done.passed_over), (1, 1), "{done:?}");
    world.token(org, &theirs, &[READ]).await.expect(200);
    let refused = world.token(org, secret, &[READ]).await;
    refused.refused(400, "unauthorized_client", "agent-not-active");
    let path = format!("/v1/revocations?target={planner}");
    let entries = world.admin(org, "GET", &path, None).await.expect(200).json();
    let told = entries["items"][0]["ends_at"].as_str().expect("an end").to_owned();
    assert_eq!(told, ends_at.plus(std::time::Duration::from_secs(1)).to_string());
    let left = ends_at.since(world.now()).as_secs();
    for (seconds, status) in [(left, 400), (2, 200)] {
        world.advance(seconds);
        lift(&world).await;
        assert_eq!(world.token(org, secret, &[READ]).await.status, status);
    }
}

#[tokio::test]
async fn what_was_narrowed_since_the_backup_is_stopped_and_what_was_ended_stays_so() {
    let twice = Twice::begin().await;
    let Twice { old, scene, secret } = &twice;
    let org = &scene.org;
    let made = old.admin(org, "POST", "/v1/persons", Some(json!({"email": "u@example.com"}))).await;
    let user = made.expect(201).member("id");
    let allow = Some(json!({"allow": ["crm:read"]}));
    let grant = format!("/v1/persons/{user}/grant");
    old.admin(org, "POST", &grant, allow.clone()).await.expect(200);
    let task = json!({"agent": "planner", "purpose": "a test"});
    let task = old.admin(org, "POST", "/v1/tasks", Some(task)).await.expect(201).member("id");
    let world = twice.restored().await;
    let ungrant = format!("/v1/persons/{user}/ungrant");
    old.admin(org, "POST", &ungrant, allow).await.expect(200);
    let strip = Some(json!({"allow": ["crm:read"], "reason": "a test"}));
    old.admin(org, "POST", "/v1/agents/planner/strip", strip).await.expect(200);
    let end = Some(json!({"reason": "a test"}));
    old.admin(org, "POST", &format!("/v1/tasks/{task}/end"), end).await.expect(200);
    let done = reconciled(&world, scene, &twice.export().await).await;
    assert_eq!((done.ended, done.changed), (1, 2), "{done:?}");
    let state = async |path: String| {
        let shown = world.admin(org, "GET", &path, None).await.expect(200).json();
        shown["state"].as_str().expect("a state").to_owned()
    };
    assert_eq!(state(format!("/v1/persons/{user}")).await, "suspended");
    assert_eq!(state(format!("/v1/tasks/{task}")).await, "ended");
    assert_eq!(state("/v1/agents/planner".to_owned()).await, "suspended");
    let refused = world.token(org, secret, &[READ]).await;
    refused.refused(400, "unauthorized_client", "agent-not-active");
}

#[tokio::test]
async fn an_organization_that_was_stopped_stays_stopped() {
    let twice = Twice::begin().await;
    let Twice { old, scene, secret } = &twice;
    let world = twice.restored().await;
    let suspend = Some(json!({"reason": "a test"}));
    old.admin(&scene.org, "POST", "/v1/orgs/acme/suspend", suspend).await.expect(200);
    let done = reconciled(&world, scene, &twice.export().await).await;
    assert_eq!(done.ended, 1);
    let answer = world.token(&scene.org, secret, &[READ]).await;
    assert_eq!(&*answer.member("rule"), "organization-not-active");
}

#[tokio::test]
async fn only_the_whole_log_of_before_the_restore_is_believed() {
    let twice = Twice::begin().await;
    let Twice { old, scene, secret } = &twice;
    let earlier = twice.export().await;
    let world = twice.restored().await;
    old.revoke(&scene.org, &secret.credential).await.expect("done");
    let whole = twice.export().await;
    assert!(read(&world, scene, &whole).await.is_ok());

    check_refused(&world, scene, "", "empty").await;
    check_refused(&world, scene, &earlier, "continuation").await;
    check_refused(&world, scene, &whole.replace("a test", "a toast"), "continuation").await;
    let without = |part: &str| {
        let kept: Vec<&str> = whole.lines().filter(|line| !line.contains(part)).collect();
        kept.join("\n") + "\n"
    };
    check_refused(&world, scene, &without("credential.revoked"), "continuation").await;
    check_refused(&world, scene, &without("{\"checkpoint\""), "nothing vouches").await;
    check_refused(&world, scene, &without("{\"end\""), "continuation").await;
    // Another installation's, whose key is another; and another organization's.
    let stranger = TestWorld::new(21).await;
    let theirs = stranger.scene().await;
    check_refused(&world, scene, &export(&stranger, &theirs).await, "continuation").await;
    let other = old.found("other").await;
    let exported = old.admin(&other, "GET", "/v1/events/export", None).await.expect(200);
    check_refused(&world, scene, exported.text(), "/o/other").await;
    // What the restored store itself says of its log tells nothing of what was lost.
    check_refused(&world, scene, &export(&world, scene).await, "after the restore").await;
    assert_eq!(world.token(&scene.org, secret, &[READ]).await.status, 503, "closed all the while");

    // What an event said that ended something, and was pruned, is not known.
    old.advance(3 * 86_400);
    let prune = Some(json!({"older_than": 86_400}));
    old.admin(&scene.org, "POST", "/v1/log/prune", prune).await.expect(200);
    check_refused(&world, scene, &twice.export().await, "was pruned").await;
}

#[tokio::test]
async fn a_store_that_was_not_restored_has_nothing_to_be_reconciled() {
    let twice = Twice::begin().await;
    let Twice { old, scene, .. } = &twice;
    assert!(OldLog::new(&old.cx(&scene.org).await).await.is_err());
    let waive = Some(json!({"reason": "a test"}));
    let answer = old.admin(&scene.org, "POST", "/v1/restore/waive", waive).await;
    assert_eq!(answer.status, 409, "{}", answer.text());
}
